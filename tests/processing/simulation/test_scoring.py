"""Scores of a sorting: by hand, and against spikeinterface."""

from __future__ import annotations

import numpy as np
import pytest

from allen_ecephys.errors import SpikeTrainError
from allen_ecephys.processing.simulation.scoring import score_sorting


def test_agreement_by_hand() -> None:
    # Unit 0: 4 true spikes, 3 found within 12 samples (0.4 ms), 1 at 13 samples is no match, 1 extra.
    score = score_sorting([100, 200, 300, 400, 150], [0, 0, 0, 0, 7], [112, 188, 300, 413, 150], [5, 5, 5, 5, 9])
    assert score.agreement.loc[0, 5] == 3 / (4 + 4 - 3)
    assert score.agreement.loc[7, 9] == 1.0
    row = score.units.loc[0]
    assert (row["sorted_unit"], row["n_matches"]) == (5, 3)
    assert (row["accuracy"], row["recall"], row["precision"]) == (0.6, 0.75, 0.75)
    assert score.units.loc[7, "miss_rate"] == 0.0
    assert score.n_well_found == 1


def test_one_spike_is_never_counted_twice() -> None:
    score = score_sorting([100, 105], [0, 0], [101, 102, 103], [1, 1, 1])
    assert score.matches.loc[0, 1] == 2
    score = score_sorting([100, 105, 110, 115], [0, 0, 0, 0], [107, 108], [1, 1])
    assert score.matches.loc[0, 1] == 2


def test_false_positive_redundant_and_missing_units() -> None:
    times = np.arange(1000, 101_000, 1000)
    found = np.concatenate([times, times[:40], times + 500])
    labels = np.repeat([1, 2, 3], [100, 40, 100])
    score = score_sorting(times, np.zeros(100, int), found, labels, n_true_units=2)
    assert score.units["sorted_unit"].tolist() == [1, -1]
    assert score.redundant_units == [2]
    assert score.false_positive_units == [3]
    assert score.units.loc[1, "recall"] == 0.0


def test_empty_sortings_score_zero() -> None:
    score = score_sorting([1, 2], [0, 1], [], [])
    assert score.units["accuracy"].tolist() == [0.0, 0.0]
    assert score.agreement.shape == (2, 0)
    assert score.false_positive_units == []
    score = score_sorting([], [], [1, 2], [3, 3])
    assert score.agreement.shape == (0, 1)
    assert score.false_positive_units == [3]
    with pytest.raises(SpikeTrainError, match="2 spike times but 1"):
        score_sorting([1, 2], [0], [], [])


@pytest.mark.parametrize("seed", range(4))
def test_equals_spikeinterface(seed: int) -> None:
    from spikeinterface.comparison import compare_sorter_to_ground_truth
    from spikeinterface.core import NumpySorting

    rng = np.random.default_rng(seed)
    times, units, found, labels = [], [], [], []
    for unit in range(8):
        train = np.cumsum(45 + rng.exponential(3000, 500).astype(np.int64))
        kept = train[rng.random(len(train)) < rng.uniform(0.3, 1.0)]
        extra = rng.integers(0, train[-1], rng.integers(0, 200))
        sorted_train = np.unique(np.concatenate([kept + rng.integers(-8, 9, len(kept)), extra]))
        sorted_train = sorted_train[np.r_[True, np.diff(sorted_train) > 24]]
        times.append(train), units.append(np.full(len(train), unit))
        found.append(sorted_train), labels.append(np.full(len(sorted_train), 10 + unit % 7))
    true_times, true_units = np.concatenate(times), np.concatenate(units)
    sorted_times, sorted_units = np.concatenate(found), np.concatenate(labels)
    ours = score_sorting(true_times, true_units, sorted_times, sorted_units)

    def sorting(t: np.ndarray, u: np.ndarray) -> NumpySorting:
        order = np.argsort(t, kind="stable")
        return NumpySorting.from_samples_and_labels([t[order]], [u[order]], 30_000.0)

    theirs = compare_sorter_to_ground_truth(
        sorting(true_times, true_units), sorting(sorted_times, sorted_units), exhaustive_gt=True
    )
    np.testing.assert_array_equal(ours.matches, theirs.match_event_count)
    np.testing.assert_allclose(ours.agreement, theirs.agreement_scores)
    assert ours.units["sorted_unit"].tolist() == theirs.hungarian_match_12.to_numpy().astype(int).tolist()
    performance = theirs.get_performance().astype(float)
    for name in ("accuracy", "recall", "precision"):
        np.testing.assert_allclose(ours.units[name], performance[name], err_msg=name)
    found_units = ours.units["sorted_unit"].to_numpy() >= 0  # SpikeInterface gives a unit that was not found no misses
    for name in ("miss_rate", "false_discovery_rate"):
        np.testing.assert_allclose(ours.units[name][found_units], performance[name][found_units], err_msg=name)
    assert ours.n_well_found == theirs.count_well_detected_units(0.8)
    assert set(ours.false_positive_units) == set(theirs.get_false_positive_units())
    assert set(ours.redundant_units) == set(theirs.get_redundant_units())
