"""Waveforms and quality metrics of 200 units: this package, the published formulas in plain NumPy, SpikeInterface.

    python benchmarks/unit_metrics.py [--units 200] [--seconds 60] [--folder FOLDER]

All three read the same simulated recording of 384 channels and the same spikes. Each runs in a process of its own, on
one thread, and reports CPU seconds without imports and compilation. The plain NumPy twin follows the formulas the way
the original programs do: unit by unit, all channels of up to 1,000 spikes stacked in memory, ball trees for neighbours,
scikit-learn for discriminants and silhouettes of all pairs. SpikeInterface keeps its sparse waveforms (100 um), that is
it averages fewer channels.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

SINGLE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
Steps = dict[str, float]


def timed(steps: Steps, name: str, work: Callable[[], object]) -> object:
    start = time.process_time()
    result = work()
    steps[name] = time.process_time() - start
    return result


def load(folder: Path):
    from allen_ecephys.processing import SortedSpikes
    from allen_ecephys.processing.simulation.raw import read_ground_truth

    truth = read_ground_truth(folder)
    spikes = SortedSpikes.from_arrays(truth.spike_times, truth.spike_units, unit_ids=truth.units.index)
    return truth.recording(), spikes


def ours(folder: Path) -> Steps:
    from allen_ecephys.processing.quality_metrics import quality_metrics, spike_features
    from allen_ecephys.processing.waveforms import mean_waveforms, waveform_metrics

    recording, spikes = load(folder)
    masked = recording.reference_channels
    # Compile on a few spikes.
    few = spikes.keep(np.arange(len(spikes)) % 25 == 0)
    means = mean_waveforms(recording, few)
    quality_metrics(few, spike_features(recording, few, means, masked_channels=masked))
    steps: Steps = {}
    means = timed(steps, "mean waveforms", lambda: mean_waveforms(recording, spikes))
    timed(steps, "waveform metrics", lambda: waveform_metrics(means, recording.geometry, masked_channels=masked))
    features = timed(steps, "features", lambda: spike_features(recording, spikes, means, masked_channels=masked))
    timed(steps, "quality metrics", lambda: quality_metrics(spikes, features))
    return steps


def published(folder: Path) -> Steps:
    """Plain NumPy and scikit-learn, one unit after the other."""
    import warnings

    from allen_ecephys.processing.quality_metrics.features import learn_components

    warnings.simplefilter("ignore")
    recording, spikes = load(folder)
    samples = recording.memory_map()
    rng = np.random.default_rng(0)
    used = np.setdiff1d(np.arange(384), recording.reference_channels)
    trains = [spikes.samples[rows] for rows in spikes.rows_by_unit()]
    inside = [t[(t >= 20) & (t + 62 <= len(samples))] for t in trains]
    steps: Steps = {}

    def averages():
        found = []
        for times in inside:
            chosen = rng.permutation(times)[:1000]
            stack = np.full((chosen.size, 384, 82), np.nan)
            for i, t in enumerate(chosen):
                stack[i] = samples[t - 20 : t + 62].T * 0.195
            mean = np.nanmean(stack, axis=0)
            peak = np.ptp(mean, axis=1).argmax()
            noise = np.nanstd((stack[:, peak] - mean[peak]).ravel())
            found.append((mean, np.nanstd(stack, axis=0), noise, peak))
        return found

    means = timed(steps, "mean waveforms", averages)

    def shapes():
        from scipy.signal import resample

        from allen_ecephys.processing.shanks import ShankLines
        from allen_ecephys.processing.waveforms import propagation_metrics
        from allen_ecephys.processing.waveforms import shape as s

        times = np.linspace(0, 82 / 30000, 200)
        lines = ShankLines.of(recording.geometry).used(used)
        for mean, _sd, _noise, peak in means:
            wave = resample(mean[peak], 200)
            for metric in (s.waveform_duration, s.waveform_halfwidth, s.repolarization_slope, s.recovery_slope):
                metric(wave, times)
            propagation_metrics(mean[used], int(np.abs(used - peak).argmin()), lines)

    timed(steps, "waveform metrics", shapes)
    peaks = np.array([np.ptp(m[0][used], axis=1).argmax() for m in means])
    first = np.clip(peaks - 12, 0, used.size - 25)

    def features():
        offsets = np.median(samples[:: max(1, len(samples) // 50_000), used], axis=0)
        components = learn_components(recording, spikes, used[peaks], offsets[peaks]).astype(float)
        found = []
        for unit, times in enumerate(inside):
            sites = used[first[unit] : first[unit] + 25]
            pcs = np.zeros((times.size, 3, 25))
            for i, t in enumerate(times):
                pcs[i] = components @ (
                    (samples[t - 20 : t + 41][:, sites] - offsets[first[unit] : first[unit] + 25]) * 0.195
                )
            template = means[unit][0][sites, :61]
            sizes = (
                np.array([(samples[t - 20 : t + 41][:, sites].T * 0.195 * template).sum() for t in times])
                / (template**2).sum()
            )
            found.append((pcs, sizes))
        return found

    described = timed(steps, "features", features)
    timed(steps, "quality metrics", lambda: published_quality(inside, described, first, rng))
    return steps


def published_quality(trains, described, first, rng) -> None:
    from scipy.ndimage import gaussian_filter1d
    from scipy.spatial.distance import cdist
    from scipy.stats import chi2
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.metrics import silhouette_score
    from sklearn.neighbors import NearestNeighbors

    start, stop = min(t.min() for t in trains) / 30000, max(t.max() for t in trains) / 30000
    peaks = np.array([f + p[:, 0].mean(axis=0).argmax() for f, (p, _) in zip(first, described, strict=True)])
    for unit, samples in enumerate(trains):
        times, (pcs, sizes) = samples / 30000, described[unit]
        np.count_nonzero(np.histogram(times, np.linspace(start, stop, 100))[0]) / 100
        kept = np.delete(times, np.flatnonzero(np.diff(times) <= 0.000166) + 1)
        (np.diff(kept) < 0.0015).sum()
        density, _ = np.histogram(sizes, 500, density=True)
        gaussian_filter1d(density, 3)
        energy = np.maximum(pcs[:, 0], 0) ** 2
        depth = 10 * (energy * (first[unit] + np.arange(25))).sum(axis=1) / energy.sum(axis=1)
        for begin in np.arange(start, stop, 51):
            np.median(depth[(times > begin) & (times < begin + 51)])
        low, high = max(peaks[unit] - 6, 0), min(peaks[unit] + 6, first.max() + 24)
        whole = (first <= low) & (first + 25 > high)
        near = [u for u in range(len(trains)) if low <= peaks[u] <= high and u != unit and whole[u]]
        if not whole[unit]:
            continue
        share = min(1.0, 500 / times.size)

        def drawn(u, share=share, low=low, high=high):
            chosen = rng.permutation(len(described[u][0]))[: int(len(described[u][0]) * share)]
            return described[u][0][chosen][:, :, low - first[u] : high + 1 - first[u]].reshape(chosen.size, -1)

        own = drawn(unit)
        if len(own) <= 20 or not near:
            continue
        others = np.concatenate([drawn(u) for u in near])
        inverse = np.linalg.pinv(np.cov(own.T))
        squared = np.sort(cdist(own.mean(axis=0)[None], others, "mahalanobis", VI=inverse)[0] ** 2)
        (1 - chi2.cdf(squared, own.shape[1])).sum() / len(own)
        points, labels = np.concatenate((own, others)), np.repeat([1, 0], [len(own), len(others)])
        LinearDiscriminantAnalysis(n_components=1).fit_transform(points, labels)
        NearestNeighbors(n_neighbors=4, algorithm="ball_tree").fit(points).kneighbors(points)
    silhouettes(described, first, rng, silhouette_score)


def silhouettes(described, first, rng, score) -> None:
    total = sum(len(pcs) for pcs, _ in described)
    share = min(1.0, 10_000 / total)
    space = []
    for f, (pcs, _) in zip(first, described, strict=True):
        chosen = pcs[rng.random(len(pcs)) < share]
        wide = np.zeros((len(chosen), 3, first.max() + 25))
        wide[:, :, f : f + 25] = chosen
        space.append(wide.reshape(len(chosen), -1))
    for i in range(len(space)):
        for j in range(i):
            if len(space[i]) + len(space[j]) > 2 and len(space[i]) and len(space[j]):
                labels = np.repeat([0, 1], [len(space[i]), len(space[j])])
                score(np.concatenate((space[i], space[j])), labels)


def spikeinterface(folder: Path) -> Steps:
    import warnings

    import spikeinterface.core as si
    import spikeinterface.metrics
    import spikeinterface.postprocessing  # noqa: F401 - registers the extensions
    from probeinterface import Probe

    warnings.simplefilter("ignore")
    si.set_global_job_kwargs(n_jobs=1, progress_bar=False, chunk_duration="1s")
    recording, spikes = load(folder)
    probe = Probe(ndim=2)
    probe.set_contacts(recording.geometry, shapes="square", shape_params={"width": 12})
    probe.set_device_channel_indices(np.arange(384))
    raw = si.read_binary(recording.path, 30000.0, "int16", 384, gain_to_uV=0.195, offset_to_uV=0.0, is_filtered=True)
    raw.set_probe(probe)
    sorting = si.NumpySorting.from_samples_and_labels([spikes.samples], [spikes.units], 30000.0)
    steps: Steps = {}
    analyzer = timed(steps, "sparsity", lambda: si.create_sorting_analyzer(sorting, raw, sparse=True))
    timed(
        steps,
        "mean waveforms",
        lambda: analyzer.compute(
            {
                "random_spikes": {"max_spikes_per_unit": 1000},
                "waveforms": {"ms_before": 20 / 30, "ms_after": 62 / 30},
                "templates": {"operators": ["average", "std"]},
            }
        ),
    )
    timed(steps, "waveform metrics", lambda: analyzer.compute({"noise_levels": {}, "template_metrics": {}}))
    timed(
        steps,
        "features",
        lambda: analyzer.compute(
            {
                "spike_amplitudes": {},
                "spike_locations": {"method": "center_of_mass"},
                "principal_components": {"n_components": 3, "mode": "by_channel_local"},
            }
        ),
    )
    names = [
        "firing_rate", "presence_ratio", "isi_violation", "amplitude_cutoff", "drift", "snr",
        "mahalanobis", "d_prime", "nearest_neighbor", "silhouette",
    ]  # fmt: skip
    timed(steps, "quality metrics", lambda: analyzer.compute({"quality_metrics": {"metric_names": names}}))
    return steps


CONTENDERS = {"ours": ours, "published": published, "spikeinterface": spikeinterface}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--units", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--folder", type=Path, help="where the simulated recording is, or is made")
    parser.add_argument("--only", choices=CONTENDERS)
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(CONTENDERS[arguments.only](arguments.folder)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary) / "raw"
        if not (folder / "ground_truth.npz").exists():
            from allen_ecephys.processing.simulation.raw import TrainModel, write_recording

            write_recording(
                folder, duration=arguments.seconds, n_units=arguments.units, seed=1, lfp=False,
                trains=TrainModel(rate_range=(1.0, 20.0)),
            )  # fmt: skip
        spikes = load(folder)[1]
        print(f"{spikes.n_units} units, {len(spikes):,} spikes, 384 channels, one thread; CPU seconds")
        results = {}
        for name in CONTENDERS:
            command = [sys.executable, __file__, "--only", name, "--folder", str(folder)]
            done = subprocess.run(
                command, check=True, env=os.environ | SINGLE_THREAD, stdout=subprocess.PIPE, text=True
            )
            results[name] = json.loads(done.stdout.splitlines()[-1])
        report(results)


def report(results: dict[str, Steps]) -> None:
    steps = list(dict.fromkeys(step for found in results.values() for step in found))
    print(f"{'':18}" + "".join(f"{name:>16}" for name in results))
    for step in steps:
        print(f"{step:18}" + "".join(f"{found.get(step, 0.0):16.2f}" for found in results.values()))
    totals = {name: sum(found.values()) for name, found in results.items()}
    print(f"{'total':18}" + "".join(f"{total:16.2f}" for total in totals.values()))
    print(f"{'times ours':18}" + "".join(f"{total / totals['ours']:16.1f}" for total in totals.values()))


if __name__ == "__main__":
    main()
