"""Quality metrics of spike times, amplitudes and depths: golden numbers, known answers, and SpikeInterface's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from allen_ecephys.errors import InvalidValueError
from allen_ecephys.processing.quality_metrics.amplitudes import amplitude_cutoff
from allen_ecephys.processing.quality_metrics.drift import drift_metrics, interval_medians, spike_depths
from allen_ecephys.processing.quality_metrics.spike_trains import (
    firing_rate,
    isi_violations,
    isi_violations_corrected,
    presence_ratio,
)

TRAIN = np.array([0, 0.0001, 0.001, 0.5, 0.5005, 1, 2, 2.0014, 2.0016, 10])


def test_golden_presence_ratio() -> None:
    every = np.arange(0, 100, 0.5)
    assert presence_ratio(every, 0, 100) == pytest.approx(0.99)
    assert presence_ratio(every[every < 50], 0, 100) == pytest.approx(0.5)
    assert presence_ratio([0, 100], 0, 100) == pytest.approx(0.02)


def test_golden_isi_violations() -> None:
    assert isi_violations(TRAIN, 10, min_isi=0) == pytest.approx(166.6667, abs=5e-5)
    assert isi_violations(TRAIN, 10, min_isi=0.000166) == pytest.approx(185.092639, abs=5e-7)


@pytest.mark.parametrize(
    ("smallest", "expected"), [(None, 1.2939e-5), (6, 0.025619), (7, 0.076430), (8, 0.196943), (9, 0.463824), (10, 0.5)]
)
def test_golden_amplitude_cutoff(smallest: float | None, expected: float) -> None:
    amplitudes = norm.ppf((np.arange(20_000) + 0.5) / 20_000, 10, 2)
    if smallest is not None:
        amplitudes = amplitudes[amplitudes >= smallest if smallest == 10 else amplitudes > smallest]
    assert amplitude_cutoff(amplitudes) == pytest.approx(expected, rel=5e-5)
    # The unit of amplitudes does not matter.
    assert amplitude_cutoff(amplitudes * 1e-5) == pytest.approx(amplitude_cutoff(amplitudes), rel=1e-6)


def test_firing_rate() -> None:
    assert firing_rate(TRAIN, 0, 20) == 0.5
    assert np.isnan(firing_rate([3.0], 3, 3))


def test_contamination_is_recovered() -> None:
    """A refractory unit with 10 % foreign spikes has a corrected fraction of 0.1, for many seeds."""
    found = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        duration = 4000.0
        own = np.cumsum(0.003 + rng.exponential(0.047, 76_000))
        own = own[own < duration]
        foreign = rng.uniform(0, duration, own.size // 9)
        train = np.sort(np.concatenate((own, foreign)))
        found.append(isi_violations_corrected(train, duration, min_isi=0.0))
    assert np.mean(found) == pytest.approx(0.1, abs=0.005)


def test_corrected_violations_twin() -> None:
    """V = 4 among N = 9 spikes: the formula by hand; NaN where no contamination explains the violations."""
    rare = np.concatenate((np.arange(1000) * 0.1, [0.0005, 0.3005]))
    rare.sort()
    expected = 1 - np.sqrt(1 - 2 * 100 / (1002**2 * (0.0015 - 0.000166)))
    assert isi_violations_corrected(rare, 100) == pytest.approx(expected, rel=1e-12)
    assert np.isnan(isi_violations_corrected(TRAIN, 10))


@pytest.mark.parametrize("times", [[], [3.0]])
def test_no_or_one_spike(times: list[float]) -> None:
    expected = 0.0 if times else float("nan")
    assert isi_violations(times, 10) == pytest.approx(expected, nan_ok=True)
    assert isi_violations_corrected(times, 10) == pytest.approx(expected, nan_ok=True)
    assert presence_ratio(times, 0, 10) == len(times) / 100
    assert np.isnan(presence_ratio(times, 3, 3))
    assert np.isnan(amplitude_cutoff(times))


def test_equal_and_missing_amplitudes_have_no_cutoff() -> None:
    assert np.isnan(amplitude_cutoff(np.full(100, 3.0)))
    rng = np.random.default_rng(0)
    amplitudes = rng.normal(10, 2, 3000)
    assert amplitude_cutoff(np.append(amplitudes, np.nan)) == amplitude_cutoff(amplitudes)


def test_depths_of_troughs_are_cut_off_as_their_sizes_are() -> None:
    """Amplitudes that count downwards miss the spikes nearest to zero, not the largest ones."""
    amplitudes = np.random.default_rng(0).normal(10, 2, 3000)
    cut = amplitudes[amplitudes > 8.5]
    assert amplitude_cutoff(-cut) == amplitude_cutoff(cut)
    assert amplitude_cutoff(-cut) > 0.1


@pytest.mark.parametrize("min_isi", [0.0015, 0.002, -0.001, float("nan")])
def test_a_censored_period_that_leaves_nothing_to_count_is_refused(min_isi: float) -> None:
    for metric in (isi_violations, isi_violations_corrected):
        with pytest.raises(InvalidValueError, match="min_isi"):
            metric([0.0, 0.5, 0.501], 1.0, min_isi=min_isi)


# --- drift -------------------------------------------------------------------------------------------------------


def depth_twin(components: np.ndarray, sites: np.ndarray) -> np.ndarray:
    energy = np.maximum(components.astype(np.float64), 0) ** 2
    return 10 * (energy * sites).sum(axis=1) / energy.sum(axis=1)


def test_spike_depth_is_the_energy_weighted_site() -> None:
    components = np.random.default_rng(0).normal(1, 2, (500, 25)).astype(np.float32)
    sites = 30 + np.arange(25)
    np.testing.assert_allclose(spike_depths(components, 10.0 * sites), depth_twin(components, sites), rtol=1e-12)
    one = np.zeros((2, 25), dtype=np.float32)
    one[0, 4] = 3
    one[1] = -1
    depths = spike_depths(one, 10.0 * (30 + np.arange(25)))
    assert depths[0] == 340
    assert np.isnan(depths[1])


def test_linear_drift_is_measured() -> None:
    times = np.arange(0, 510, 0.5) + 0.01
    depths = 100 + 0.1 * times
    largest, total = drift_metrics(times, depths, 0.0, 510.0)
    assert largest == pytest.approx(0.1 * 51 * 9, abs=0.06)
    assert total == pytest.approx(largest, abs=0.02)


def test_intervals_with_few_spikes_do_not_count() -> None:
    times = np.concatenate((np.linspace(1, 50, 20), np.linspace(60, 100, 9), np.linspace(103, 150, 20)))
    depths = np.concatenate((np.full(20, 100.0), np.full(9, 500.0), np.full(20, 130.0)))
    medians = interval_medians(times, depths, 0.0, 153.0)
    np.testing.assert_array_equal(medians, [100, np.nan, 130])
    # A change next to the gap vanishes from the sum.
    assert drift_metrics(times, depths, 0.0, 153.0) == (30.0, 0.0)
    assert np.isnan(drift_metrics(times[:5], depths[:5], 0.0, 153.0)).all()
    assert np.isnan(drift_metrics(times[:0], depths[:0], 0.0, 0.0)).all()


def test_interval_medians_equal_a_loop() -> None:
    rng = np.random.default_rng(4)
    times = np.sort(rng.uniform(0, 1000, 3000))
    depths = rng.normal(500, 10, 3000)
    depths[::7] = np.nan
    expected = []
    for begin in np.arange(0.0, 1000.0, 51):
        inside = depths[(times > begin) & (times < begin + 51) & ~np.isnan(depths)]
        expected.append(np.median(inside) if inside.size >= 10 else np.nan)
    np.testing.assert_array_equal(interval_medians(times, depths, 0.0, 1000.0), expected)


def test_spikes_on_the_edge_of_an_interval_are_outside() -> None:
    times = np.concatenate(([0.0], np.linspace(1, 50, 9), [51.0]))
    assert np.isnan(interval_medians(times, np.zeros(11), 0.0, 51.0)).all()


# --- SpikeInterface ----------------------------------------------------------------------------------------------


@pytest.mark.peers
def test_isi_violations_equal_spikeinterface() -> None:
    """Same formula where the censored period is 0 (SpikeInterface removes no duplicates)."""
    from spikeinterface.metrics.quality.misc_metrics import isi_violations as theirs

    rng = np.random.default_rng(0)
    train = np.sort(rng.uniform(0, 600, 20_000))
    ratio, _rate, _count = theirs([train], 600.0, 0.0015, 0.0)
    assert isi_violations(train, 600.0, min_isi=0.0) == pytest.approx(float(ratio), rel=1e-12)


@pytest.mark.peers
def test_presence_ratio_agrees_with_spikeinterface_on_the_same_bins() -> None:
    from spikeinterface.metrics.quality.misc_metrics import presence_ratio as theirs

    rng = np.random.default_rng(1)
    train = np.sort(rng.uniform(0, 400, 300))
    found = theirs(train, bin_edges=np.linspace(0, 1000, 100), bin_n_spikes_thres=0)
    assert presence_ratio(train, 0, 1000) * 100 / 99 == pytest.approx(float(found), rel=1e-12)


@pytest.mark.peers
def test_amplitude_cutoff_differs_from_spikeinterface_as_documented() -> None:
    """Same 500 bins; theirs pads with `nearest` and divides by found plus missing: f / (1 + f)."""
    from spikeinterface.metrics.quality.misc_metrics import amplitude_cutoff as theirs

    rng = np.random.default_rng(2)
    amplitudes = rng.normal(10, 2, 50_000)
    amplitudes = amplitudes[amplitudes > 8]
    ours = amplitude_cutoff(amplitudes)
    found = float(theirs(amplitudes, num_histogram_bins=500, histogram_smoothing_value=3))
    assert found == pytest.approx(ours / (1 + ours), rel=0.05)
