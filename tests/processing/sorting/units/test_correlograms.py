"""Correlograms: golden numbers, a plain twin, trains whose contamination is known, and trains too short to tell."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from allen_ecephys.errors import SpikeTrainError
from allen_ecephys.processing.sorting.units import correlograms
from allen_ecephys.processing.sorting.units.correlograms import correlogram, correlogram_statistics


def golden_trains() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.RandomState(1)
    a = np.cumsum(0.003 + random.exponential(0.047, 10_000))
    return a, np.cumsum(0.003 + random.exponential(0.047, 10_000))


def neuron(rng: np.random.Generator, rate: float, duration: float, refractory: float = 0.003) -> np.ndarray:
    times = np.cumsum(refractory + rng.exponential(1 / rate - refractory, int(2 * rate * duration) + 20))
    return np.round(times[times < duration] * 30_000) / 30_000


def plain_correlogram(a: np.ndarray, b: np.ndarray | None, bin_s: float, n_bins: int) -> np.ndarray:
    counts = np.zeros(2 * n_bins + 1, dtype=np.int64)
    for i, time in enumerate(a):
        lags = np.delete(a, i) - time if b is None else b - time
        lags = lags[np.abs(lags) < bin_s * n_bins]
        halves_away = np.sign(lags) * np.floor(np.abs(lags) / bin_s + 0.5)
        np.add.at(counts, n_bins + halves_away.astype(np.int64), 1)
    return counts


def plain_statistics(a: np.ndarray, b: np.ndarray) -> tuple[float, float, float, float]:
    counts = plain_correlogram(a, None if a is b else b, 0.001, 500).astype(float)
    lag = np.arange(-500, 501)
    per_bin = 0.001 * len(a) * len(b) / (max(a.max(), b.max()) - min(a.min(), b.min()))
    far = counts[((lag >= -499) & (lag <= -251)) | ((lag >= 250) & (lag <= 499))].mean()
    near = max(counts[(lag >= -50) & (lag <= -11)].mean(), counts[(lag >= 11) & (lag <= 49)].mean())
    counts[500] = 0
    i = np.arange(1, 11)
    sums = np.array([counts[500 - k : 501 + k].sum() for k in i])
    expected = max(far, near) * i
    q = (sums / (2 * i * per_bin)).min() / (max(far, near) / per_bin)
    return q, norm.cdf((sums / 2 - expected) / np.sqrt(expected)).min(), far / per_bin, near / per_bin


def test_golden_statistics() -> None:
    a, b = golden_trains()
    own, pair, halves = correlogram_statistics(a), correlogram_statistics(a, b), correlogram_statistics(a[::2], a[1::2])
    assert (own.q, own.r) == (0.0, pytest.approx(0.0, abs=1e-4))
    assert own.q00 == pytest.approx(1.001, abs=5e-4)
    assert own.q01 == pytest.approx(1.013, abs=5e-4)
    assert pair.q == pytest.approx(0.949, abs=5e-4)
    assert pair.r == pytest.approx(0.228, abs=5e-4)
    assert halves.q == 0.0
    assert halves.q01 == pytest.approx(1.395, abs=5e-4)
    assert own.is_refractory(0.2, 0.05)
    assert halves.is_refractory(0.2, 0.05)
    assert not pair.is_refractory(0.2, 0.05)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("bin_s", "n_bins"), [(0.001, 500), (0.0005, 40), (1 / 30_000, 60)])
def test_counts_equal_the_plain_twin(seed: int, bin_s: float, n_bins: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = neuron(rng, 20, 20), neuron(rng, 7, 25, 0.001)
    np.testing.assert_array_equal(correlogram(a, b, bin_s=bin_s, n_bins=n_bins), plain_correlogram(a, b, bin_s, n_bins))
    np.testing.assert_array_equal(correlogram(a, bin_s=bin_s, n_bins=n_bins), plain_correlogram(a, None, bin_s, n_bins))
    np.testing.assert_array_equal(correlogram(a, b), correlogram(b, a)[::-1])
    np.testing.assert_array_equal(correlogram(rng.permutation(a), b), correlogram(a, b))


@pytest.mark.parametrize("seed", range(6))
def test_statistics_equal_the_plain_twin(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = neuron(rng, rng.uniform(3, 40), 60), neuron(rng, rng.uniform(3, 40), 60)
    for other in (a, b):
        found = correlogram_statistics(a, None if other is a else other)
        expected = plain_statistics(a, other)
        assert (found.q, found.r, found.q00, found.q01) == pytest.approx(expected, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3])
def test_q_is_the_share_of_coincidences_that_foreign_spikes_make(share: float) -> None:
    rng = np.random.default_rng(3)
    foreign = rng.uniform(0, 4000, int(share * 80_000))
    train = np.concatenate((neuron(rng, 20 * (1 - share), 4000, 0.004), foreign))
    # A pair is free to coincide unless both are the neuron's own.
    assert correlogram_statistics(train).q == pytest.approx(1 - (1 - share) ** 2, abs=0.02)


@pytest.mark.parametrize(("a", "b"), [([], None), ([], [1.0]), ([1.0], None), ([1.0], [1.0]), ([1.0, 3.0], [5.0])])
def test_too_little_to_tell_is_not_refractory(a: list[float], b: list[float] | None) -> None:
    found = correlogram_statistics(a, b)
    assert np.isnan([found.q, found.r]).all()
    assert not found.is_refractory(np.inf, np.inf)
    assert found.counts.shape == (1001,)


def test_spikes_found_twice_are_not_judged() -> None:
    a, _ = golden_trains()
    found = correlogram_statistics(a, a + 0.0003)
    assert found.counts[500] == a.size
    assert found.q == 0.0


def test_long_trains_are_thinned_without_changing_what_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    a = np.sort(np.concatenate((neuron(rng, 60, 1000), rng.uniform(0, 1000, 6_000))))
    b = neuron(rng, 30, 1000)
    assert a.size > 50_000 > b.size
    whole, pair = correlogram_statistics(a), correlogram_statistics(a, b)
    np.testing.assert_array_equal(whole.counts, correlogram(a))
    monkeypatch.setattr(correlograms, "MOST_PAIRS", 10_000)
    thin, thin_pair = correlogram_statistics(a), correlogram_statistics(a, b)
    assert thin.counts.sum() == pytest.approx(whole.counts.sum() * (50_000 / a.size) ** 2, rel=0.02)
    assert (thin.q, thin.q00, thin.q01) == pytest.approx((whole.q, whole.q00, whole.q01), abs=0.05)
    assert (thin_pair.q, thin_pair.q00) == pytest.approx((pair.q, pair.q00), abs=0.05)
    np.testing.assert_array_equal(thin.counts, correlogram_statistics(a).counts)
    # A short train keeps all its spikes, whatever the other's length.
    some = correlogram_statistics(a, b[:2000]).counts.sum()
    assert some == pytest.approx(correlogram(a, b[:2000]).sum() * 50_000 / a.size, rel=0.03)


def test_what_is_no_train_is_refused() -> None:
    with pytest.raises(SpikeTrainError, match="1 of 2 spike times are NaN"):
        correlogram_statistics([1.0, np.nan])
    with pytest.raises(SpikeTrainError, match="shape"):
        correlogram(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="bin_s"):
        correlogram([1.0], bin_s=0.0)
