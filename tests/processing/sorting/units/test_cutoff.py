"""Cut-offs: a plain twin of the rule, neurons in a haze of small foreign spikes, and units that are never clean."""

from __future__ import annotations

import numpy as np
import pytest

from allen_ecephys.errors import SpikeTrainError
from allen_ecephys.processing.sorting.units.correlograms import correlogram_statistics
from allen_ecephys.processing.sorting.units.cutoff import set_cutoff


def neuron(rng: np.random.Generator, rate: float, duration: float) -> np.ndarray:
    times = np.cumsum(0.003 + rng.exponential(1 / rate - 0.003, int(2 * rate * duration) + 20))
    return times[times < duration]


def contaminated(
    seed: int, size: float, n_foreign: int, foreign_size: float = 5.0, duration: float = 600.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return times and `vexp` of a neuron's spikes and foreign ones, and which are foreign."""
    rng = np.random.default_rng(seed)
    own, foreign = neuron(rng, 15, duration), rng.uniform(0, duration, n_foreign)
    times = np.concatenate((own, foreign))
    vexp = np.concatenate((rng.normal(size, 1.0, own.size), rng.normal(foreign_size, 0.7, n_foreign)))
    order = np.argsort(times)
    return times[order], np.maximum(vexp, 4.01)[order], np.repeat([False, True], [own.size, n_foreign])[order]


def plain_cutoff(times: np.ndarray, vexp: np.ndarray, fcontam: float) -> tuple[bool, float, float]:
    good, bound, threshold = False, fcontam, 10.0
    while threshold >= 4:
        kept = times[vexp > threshold]
        if kept.size:
            found = correlogram_statistics(kept)
            if np.isnan(found.q) or found.q > bound or found.r > 0.05:
                break
            good = True
            if threshold == 10 and found.q < 0.05:
                bound = min(0.05, max(0.01, 2 * found.q))
        threshold -= 0.5
    threshold += 0.5
    q = correlogram_statistics(times[vexp > threshold]).q
    return good, threshold, 1.0 if np.isnan(q) else q


@pytest.mark.parametrize("fcontam", [0.02, 0.1, 0.3])
def test_the_rule_equals_its_plain_twin(fcontam: float) -> None:
    worlds = [contaminated(seed, 6.0 + seed, 700 * seed, duration=150.0) for seed in range(8)]
    times, vexp = np.concatenate([w[0] for w in worlds]), np.concatenate([w[1] for w in worlds])
    units = np.repeat(np.arange(8), [len(w[0]) for w in worlds])
    order = np.argsort(times)
    cut = set_cutoff(times[order], units[order], vexp[order], 8, fcontam=fcontam)
    expected = [plain_cutoff(w[0], w[1], fcontam) for w in worlds]
    assert cut.good.tolist() == [good for good, _, _ in expected]
    assert cut.threshold.tolist() == [threshold for _, threshold, _ in expected]
    assert cut.contamination.tolist() == pytest.approx([q for _, _, q in expected], rel=1e-12)
    np.testing.assert_array_equal(cut.keep, vexp[order] > cut.threshold[units[order]])
    assert len(set(cut.threshold)) > 2


def test_a_clean_neuron_keeps_everything() -> None:
    times, vexp, _ = contaminated(0, 12.0, 0)
    cut = set_cutoff(times, np.zeros(times.size, np.int64), vexp, 1)
    assert (cut.good[0], cut.threshold[0], cut.contamination[0]) == (True, 4.0, 0.0)
    assert cut.keep.all()


def test_foreign_spikes_are_cut_off() -> None:
    times, vexp, foreign = contaminated(1, 13.0, 6000)
    cut = set_cutoff(times, np.zeros(times.size, np.int64), vexp, 1)
    assert cut.good[0]
    assert 5.0 < cut.threshold[0] < 8.0
    assert cut.keep[~foreign].mean() > 0.999
    assert cut.keep[foreign].mean() < 0.1
    # The bound was tightened, because the neuron is clean at the first threshold.
    assert cut.contamination[0] <= 0.02
    assert cut.contamination[0] == correlogram_statistics(times[cut.keep]).q


def test_multi_unit_activity_loses_its_small_spikes_unless_it_is_kept() -> None:
    rng = np.random.default_rng(2)
    times, vexp = np.sort(rng.uniform(0, 300, 6000)), rng.uniform(4.1, 14, 6000)
    units = np.zeros(6000, np.int64)
    cut, kept = set_cutoff(times, units, vexp, 1), set_cutoff(times, units, vexp, 1, keep_mua=True)
    assert (cut.good[0], cut.threshold[0]) == (False, 10.5)
    np.testing.assert_array_equal(cut.keep, vexp > 10.5)
    assert (kept.good[0], kept.threshold[0]) == (False, 0.0)
    assert kept.keep.all()
    assert kept.contamination[0] == correlogram_statistics(times).q > 0.5


def test_keeping_multi_unit_activity_leaves_good_units_as_they_are() -> None:
    times, vexp, _ = contaminated(3, 13.0, 5000)
    units = np.zeros(times.size, np.int64)
    cut, kept = set_cutoff(times, units, vexp, 1), set_cutoff(times, units, vexp, 1, keep_mua=True)
    np.testing.assert_array_equal(cut.keep, kept.keep)
    assert 0 < cut.keep.sum() < times.size


def test_thresholds_without_spikes_are_passed_over() -> None:
    times, vexp, _ = contaminated(4, 13.0, 0)
    units = np.zeros(times.size, np.int64)
    small = set_cutoff(times, units, np.minimum(vexp, 6.2) - 0.001 * (np.arange(times.size) % 7), 1)
    assert (small.good[0], small.threshold[0]) == (True, 4.0)
    # Foreign spikes no larger than 6: it fails at the first threshold that has any, and all are lost.
    rng = np.random.default_rng(4)
    lost = set_cutoff(np.sort(rng.uniform(0, 300, 5000)), np.zeros(5000, np.int64), rng.uniform(4.1, 5.9, 5000), 1)
    assert (lost.good[0], lost.threshold[0], lost.keep.any(), lost.contamination[0]) == (False, 6.0, False, 1.0)


def test_too_few_spikes_prove_nothing() -> None:
    times = np.linspace(0.0, 60.0, 30)
    cut = set_cutoff(times, np.zeros(30, np.int64), np.full(30, 30.0), 3, keep_mua=True)
    assert cut.good.tolist() == [False, False, False]
    assert cut.keep.all()
    assert cut.contamination.tolist() == [1.0, 1.0, 1.0]
    np.testing.assert_array_equal(set_cutoff([], [], [], 2).contamination, [1.0, 1.0])


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(SpikeTrainError, match="vexp has shape"):
        set_cutoff([1.0, 2.0], [0, 0], [5.0], 1)
    with pytest.raises(SpikeTrainError, match="vexp"):
        set_cutoff([1.0], [0], [np.inf], 1)
    with pytest.raises(SpikeTrainError, match="units range from 0 to 1"):
        set_cutoff([1.0, 2.0], [0, 1], [5.0, 5.0], 1)
