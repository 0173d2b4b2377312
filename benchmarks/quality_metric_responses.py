"""How quality metrics respond when noise, missed spikes, contamination and drift are dialled up: a figure.

    python benchmarks/quality_metric_responses.py [responses.png]

One simulated probe of 64 channels with ten units is recorded again and again with one thing made worse at a time. Thin
lines are units, thick ones their median.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from allen_ecephys.processing import SortedSpikes
from allen_ecephys.processing.quality_metrics import QualitySettings, quality_metrics, spike_features
from allen_ecephys.processing.simulation.raw import (
    ChannelFaults,
    DriftModel,
    NoiseModel,
    RawGroundTruth,
    TrainModel,
    write_recording,
)
from allen_ecephys.processing.waveforms import mean_waveforms, waveform_metrics

UNITS = 10
PANELS = {
    "noise, SD of local noise (uV)": ("snr", "d_prime", "nn_hit_rate"),
    "missed spikes (fraction)": ("amplitude_cutoff", "firing_rate", "nn_hit_rate"),
    "spikes of a neighbouring unit (fraction)": ("isi_violations", "isi_violations_corrected", "nn_hit_rate"),
    "linear drift (um)": ("max_drift", "cumulative_drift", "d_prime"),
}


def simulate(folder: Path, noise: float = 8.0, drift: float = 0.0) -> RawGroundTruth:
    return write_recording(
        folder / f"noise{noise}_drift{drift}", duration=40.0, n_units=UNITS, n_channels=64, seed=3, lfp=False,
        amplitude_range=(80.0, 200.0), surface_channel=60, faults=ChannelFaults(references=(36,)),
        trains=TrainModel(rate_range=(8.0, 20.0), bursting_share=0.0, adaptation=0.0, amplitude_jitter=0.12),
        noise=NoiseModel(local_uv=noise), drift=DriftModel(linear_um=drift),
    )  # fmt: skip


def measure(truth: RawGroundTruth, spikes: SortedSpikes | None = None):
    recording = truth.recording()
    spikes = spikes or SortedSpikes.from_arrays(truth.spike_times, truth.spike_units, unit_ids=range(UNITS))
    means = mean_waveforms(recording, spikes)
    features = spike_features(recording, spikes, means, masked_channels=recording.reference_channels)
    table = quality_metrics(spikes, features, settings=QualitySettings(drift_interval=5.0))
    shapes = waveform_metrics(means, recording.geometry, masked_channels=recording.reference_channels)
    return spikes, features, table.join(shapes["snr"])


def respond(folder: Path) -> dict[str, dict[float, pd.DataFrame]]:
    clean = simulate(folder)
    spikes, features, base = measure(clean)
    rows = spikes.rows_by_unit()
    trains = [spikes.samples[row] for row in rows]
    noise, missed, mixed, drift = ({} for _ in range(4))
    for level in (4.0, 8.0, 16.0, 24.0, 32.0):
        noise[level] = base if level == 8.0 else measure(simulate(folder, noise=level))[2]
    for share in (0.0, 0.1, 0.2, 0.3, 0.4):
        kept = [row[features.amplitudes[row] >= np.quantile(features.amplitudes[row], share)] for row in rows]
        missed[share] = measure(clean, spikes.keep(np.isin(np.arange(len(spikes)), np.concatenate(kept))))[2]
    peaks = clean.units["peak_channel"].to_numpy()
    for share in (0.0, 0.05, 0.1, 0.2, 0.3):
        mixed[share] = contaminate(clean, trains, peaks, share) if share else base
    for um in (0.0, 10.0, 20.0, 30.0, 40.0):
        drift[um] = measure(simulate(folder, drift=um))[2] if um else base
    return dict(zip(PANELS, (noise, missed, mixed, drift), strict=True))


def contaminate(clean: RawGroundTruth, trains: list[np.ndarray], peaks: np.ndarray, share: float) -> pd.DataFrame:
    """Give each unit in turn spikes of its nearest neighbour until they make up `share` of its spikes."""
    rows = []
    for unit in range(UNITS):
        wanted = round(trains[unit].size * share / (1 - share))
        distance = np.abs(peaks - peaks[unit]).astype(float)
        # A neighbour keeps at least half of its spikes, or it would no longer be one.
        distance[[train.size < 2 * wanted for train in trains]] = np.inf
        distance[unit] = np.inf
        if np.isinf(distance).all():
            continue
        neighbor = int(distance.argmin())
        taken = np.zeros(trains[neighbor].size, dtype=bool)
        taken[np.random.default_rng(unit).choice(taken.size, wanted, replace=False)] = True
        changed = list(trains)
        changed[unit] = np.concatenate((trains[unit], trains[neighbor][taken]))
        changed[neighbor] = trains[neighbor][~taken]
        samples, labels = np.concatenate(changed), np.repeat(np.arange(UNITS), [t.size for t in changed])
        rows.append(measure(clean, SortedSpikes.from_arrays(samples, labels, unit_ids=range(UNITS)))[2].loc[[unit]])
    return pd.concat(rows).reindex(range(UNITS))


def draw(responses: dict[str, dict[float, pd.DataFrame]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(3, len(PANELS), figsize=(15, 8.5), sharex="col", layout="constrained")
    for column, (dial, tables) in enumerate(responses.items()):
        levels = list(tables)
        for row, name in enumerate(PANELS[dial]):
            axis = axes[row, column]
            values = np.array([tables[level][name].to_numpy() for level in levels])
            axis.plot(levels, values, color="0.75", linewidth=0.8)
            axis.plot(levels, np.nanmedian(values, axis=1), color="C0", linewidth=2.5, marker="o", markersize=5)
            axis.set_ylabel(name)
            axis.spines[["top", "right"]].set_visible(False)
            if name == "amplitude_cutoff":
                axis.plot(levels, levels, color="C3", linestyle=":", label="truth")
                axis.legend(frameon=False)
            if name == "isi_violations_corrected":
                axis.plot(levels, levels, color="C3", linestyle=":", label="truth")
                axis.legend(frameon=False)
        axes[-1, column].set_xlabel(dial)
    figure.suptitle("Quality metrics of ten simulated units as one thing gets worse at a time")
    figure.savefig(path, dpi=110)


def main() -> None:
    path = Path(sys.argv[1] if len(sys.argv) > 1 else "quality_metric_responses.png")
    with tempfile.TemporaryDirectory() as folder:
        responses = respond(Path(folder))
    draw(responses, path)
    for dial, tables in responses.items():
        table = pd.DataFrame({level: frame[list(PANELS[dial])].median() for level, frame in tables.items()})
        print(f"{dial} (medians)\n{table.round(3).to_string()}\n")


if __name__ == "__main__":
    main()
