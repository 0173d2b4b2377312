"""Quality metrics on simulated recordings: each responds, in the right direction, to what it is to detect."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from allen_ecephys.processing.quality_metrics import QUALITY_METRICS, QualitySettings, quality_metrics, spike_features
from allen_ecephys.processing.quality_metrics.features import SpikeFeatures
from allen_ecephys.processing.simulation.raw.noise import NoiseModel
from allen_ecephys.processing.simulation.raw.recording import RawGroundTruth, write_recording
from allen_ecephys.processing.simulation.raw.signal import ChannelFaults, DriftModel
from allen_ecephys.processing.simulation.raw.trains import TrainModel
from allen_ecephys.processing.sorted_spikes import SortedSpikes
from allen_ecephys.processing.waveforms import mean_waveforms, waveform_metrics

SETTINGS = QualitySettings(drift_interval=5.0)
UNITS = 10


@dataclass
class Measured:
    truth: RawGroundTruth
    spikes: SortedSpikes
    features: SpikeFeatures
    waveforms: pd.DataFrame
    quality: pd.DataFrame


def measure(truth: RawGroundTruth, spikes: SortedSpikes | None = None) -> Measured:
    recording = truth.recording()
    sorted_spikes = spikes or SortedSpikes.from_arrays(truth.spike_times, truth.spike_units, unit_ids=range(UNITS))
    masked = truth.faults.references
    means = mean_waveforms(recording, sorted_spikes)
    features = spike_features(recording, sorted_spikes, means, masked_channels=masked)
    return Measured(
        truth,
        sorted_spikes,
        features,
        waveform_metrics(means, recording.geometry, masked_channels=masked),
        quality_metrics(sorted_spikes, features, settings=SETTINGS),
    )


def simulate(folder: Path, **kwargs: object) -> RawGroundTruth:
    return write_recording(
        folder,
        duration=40.0,
        n_units=UNITS,
        n_channels=64,
        seed=3,
        amplitude_range=(80.0, 200.0),
        surface_channel=60,
        trains=TrainModel(rate_range=(8.0, 20.0), bursting_share=0.0, adaptation=0.0, amplitude_jitter=0.12),
        faults=ChannelFaults(references=(36,)),
        lfp=False,
        **kwargs,  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    return measure(simulate(tmp_path_factory.mktemp("raw") / "clean"))


def with_trains(measured: Measured, trains: dict[int, np.ndarray]) -> Measured:
    """Measure again with other spikes for some units, on the same recording."""
    spikes = measured.spikes
    others = ~np.isin(spikes.units, list(trains))
    samples = np.concatenate([spikes.samples[others], *trains.values()])
    units = np.concatenate([spikes.units[others], np.repeat(list(trains), [t.size for t in trains.values()])])
    return measure(measured.truth, SortedSpikes.from_arrays(samples, units, unit_ids=range(UNITS)))


def test_well_isolated_units_measure_well(clean: Measured) -> None:
    quality, truth = clean.quality, clean.truth.units
    assert list(quality.columns) == list(QUALITY_METRICS)
    assert (quality.dtypes == "float64").all()
    np.testing.assert_allclose(quality["firing_rate"], truth["firing_rate"], rtol=0.01)
    assert (quality["isi_violations"] == 0).all()
    assert (quality["presence_ratio"] > 0.9).all()
    assert (quality["presence_ratio"] <= 0.99).all()
    assert quality["amplitude_cutoff"].median() < 0.01
    assert quality["nn_hit_rate"].median() > 0.9
    assert quality["max_drift"].median() < 10


def test_waveforms_recover_the_simulated_templates(clean: Measured) -> None:
    """The loop closes: what was planted is what is measured."""
    truth, found = clean.truth.units, clean.waveforms
    assert (found["peak_channel"] == truth["peak_channel"]).mean() >= 0.8
    # By the release's definition channel 0 takes no part in the amplitude.
    inside = truth["peak_channel"] > 0
    np.testing.assert_allclose(found["amplitude"][inside], truth["amplitude"][inside], rtol=0.1)
    # Amplitudes vary from spike to spike, which the noise of the recording does not know of.
    ratio = found["snr"] / truth["snr"]
    assert ratio.between(0.5, 1.3).all()


def test_noise_lowers_snr_and_isolation(clean: Measured, tmp_path: Path) -> None:
    noisy = measure(simulate(tmp_path / "noisy", noise=NoiseModel(local_uv=25.0, white_uv=15.0)))
    assert (noisy.waveforms["snr"] < 0.7 * clean.waveforms["snr"]).all()
    for name in ("d_prime", "isolation_distance", "nn_hit_rate", "silhouette_score"):
        assert noisy.quality[name].median() < clean.quality[name].median(), name
    assert (noisy.quality["d_prime"] < clean.quality["d_prime"]).all()
    for name in ("l_ratio", "l_ratio_corrected", "nn_miss_rate"):
        assert noisy.quality[name].mean() > clean.quality[name].mean(), name


def test_missed_spikes_raise_the_amplitude_cutoff(clean: Measured) -> None:
    """A detection threshold at the 20th and 40th percentile of a unit's amplitudes."""
    cutoffs = [clean.quality["amplitude_cutoff"]]
    rows = clean.spikes.rows_by_unit()
    for share in (0.2, 0.4):
        trains = {}
        for unit, train in enumerate(rows):
            sizes = clean.features.amplitudes[train]
            trains[unit] = clean.spikes.samples[train[sizes > np.quantile(sizes, share)]]
        cutoffs.append(with_trains(clean, trains).quality["amplitude_cutoff"])
    assert (cutoffs[1] > cutoffs[0]).all()
    assert (cutoffs[2] > cutoffs[1]).mean() >= 0.8
    # The estimate is of the fraction missed.
    assert cutoffs[1].median() == pytest.approx(0.2, abs=0.08)


def test_a_unit_that_falls_silent_loses_presence(clean: Measured) -> None:
    train = clean.spikes.samples[clean.spikes.unit_index == 4]
    half = with_trains(clean, {4: train[train < 20 * 30_000]}).quality
    assert half.loc[4, "presence_ratio"] == pytest.approx(0.5, abs=0.03)
    assert half.loc[5, "presence_ratio"] == clean.quality.loc[5, "presence_ratio"]


def test_contamination_raises_violations(clean: Measured) -> None:
    """Spikes of the nearest unit given to another one: violations up, isolation down."""
    peaks = clean.truth.units["peak_channel"].to_numpy()
    unit = 4
    neighbor = int(np.argsort(np.abs(peaks - peaks[unit]))[1])
    own = clean.spikes.samples[clean.spikes.unit_index == unit]
    foreign = clean.spikes.samples[clean.spikes.unit_index == neighbor]
    violations, corrected, isolation = [0.0], [0.0], [clean.quality.loc[unit, "nn_hit_rate"]]
    for share in (0.3, 0.9):
        taken = np.random.default_rng(0).random(foreign.size) < share
        mixed = with_trains(clean, {unit: np.concatenate((own, foreign[taken])), neighbor: foreign[~taken]}).quality
        violations.append(mixed.loc[unit, "isi_violations"])
        corrected.append(np.nan_to_num(mixed.loc[unit, "isi_violations_corrected"], nan=1.0))
        isolation.append(mixed.loc[unit, "nn_hit_rate"])
    assert violations[0] < violations[1] < violations[2]
    assert corrected[0] < corrected[1] < corrected[2]


def test_double_counting_raises_violations_only_if_not_censored(clean: Measured) -> None:
    train = clean.spikes.samples[clean.spikes.unit_index == 4]
    doubled = with_trains(clean, {4: np.concatenate((train, train[::5] + 3))}).quality
    assert doubled.loc[4, "isi_violations"] == 0
    apart = with_trains(clean, {4: np.concatenate((train, train[::5] + 30))}).quality
    assert apart.loc[4, "isi_violations"] > 0.1


def test_drift_is_measured(clean: Measured, tmp_path: Path) -> None:
    small = measure(simulate(tmp_path / "small", drift=DriftModel(linear_um=15.0)))
    large = measure(simulate(tmp_path / "large", drift=DriftModel(linear_um=40.0)))
    medians = [m.quality["max_drift"].median() for m in (clean, small, large)]
    assert medians[0] < medians[1] < medians[2]
    assert medians[2] > 15
    assert (large.quality["cumulative_drift"] >= large.quality["max_drift"]).all()


def test_an_epoch_counts_only_its_own_spikes(clean: Measured) -> None:
    """The same numbers as if the other spikes had never been sorted."""
    epoch = (10.0, 30.0)
    found = quality_metrics(clean.spikes, clean.features, epoch=epoch, settings=SETTINGS)
    seconds = clean.spikes.samples / 30_000
    mask = (seconds > 10) & (seconds < 30)
    kept = replace(clean.features, pcs=clean.features.pcs[mask], amplitudes=clean.features.amplitudes[mask])
    pd.testing.assert_frame_equal(found, quality_metrics(clean.spikes.keep(mask), kept, settings=SETTINGS))
    assert (found["firing_rate"] != clean.quality["firing_rate"]).any()


def test_order_of_spikes_does_not_matter_where_nothing_is_drawn(clean: Measured) -> None:
    order = np.random.default_rng(0).permutation(len(clean.spikes))
    shuffled = SortedSpikes.from_arrays(
        clean.spikes.samples[order], clean.spikes.units[order], unit_ids=clean.spikes.unit_ids
    )
    features = replace(clean.features, pcs=clean.features.pcs[order], amplitudes=clean.features.amplitudes[order])
    found = quality_metrics(shuffled, features, settings=SETTINGS)
    own = [n for n in QUALITY_METRICS if n in {"firing_rate", "presence_ratio", "isi_violations", "max_drift"}]
    pd.testing.assert_frame_equal(found[own], clean.quality[own])


def test_units_without_spikes_and_single_units(clean: Measured) -> None:
    """P9: zero spikes, one spike, one unit: a row without numbers, never a wrong one."""
    none = SortedSpikes.from_arrays([], [], unit_ids=[4, 5])
    empty = replace(
        clean.features, pcs=clean.features.pcs[:0], amplitudes=clean.features.amplitudes[:0],
        first_sites=np.zeros(2, dtype=np.int64),
    )  # fmt: skip
    assert quality_metrics(none, empty).isna().all(axis=None)
    one = clean.spikes.keep(np.arange(len(clean.spikes)) == 3)
    features = replace(clean.features, pcs=clean.features.pcs[3:4], amplitudes=clean.features.amplitudes[3:4])
    single = quality_metrics(one, features)
    assert single.drop(columns="firing_rate").isna().all(axis=None)
    nobody = SortedSpikes.from_arrays([], [])
    none_left = replace(
        clean.features, pcs=clean.features.pcs[:0], amplitudes=clean.features.amplitudes[:0],
        first_sites=np.zeros(0, dtype=np.int64),
    )  # fmt: skip
    assert quality_metrics(nobody, none_left).shape == (0, len(QUALITY_METRICS))
