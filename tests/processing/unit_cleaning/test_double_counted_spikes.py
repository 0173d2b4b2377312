"""Double-counted spikes: the published rule, against its golden cases and a pair-by-pair twin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allen_ecephys.errors import GeometryError, SpikeTrainError
from allen_ecephys.processing.probes import neuropixels_1_geometry
from allen_ecephys.processing.sorted_spikes import SortedSpikes
from allen_ecephys.processing.unit_cleaning.double_counted_spikes import (
    between_unit_duplicates,
    find_double_counted_spikes,
    window_in_samples,
    within_unit_duplicates,
)

GEOMETRY = neuropixels_1_geometry()


def pairwise_twin(spikes: SortedSpikes, peaks: np.ndarray, window: int, distance: int) -> tuple[np.ndarray, np.ndarray]:
    """Follow the published procedure to the letter: one unit after the other, then one pair after the other."""
    depth_order = np.lexsort((spikes.unit_ids, peaks))
    rows = spikes.rows_by_unit()
    keep = np.ones(len(spikes), dtype=bool)
    overlap = np.zeros((spikes.n_units, spikes.n_units), dtype=np.int64)
    trains = []
    for rank, unit in enumerate(depth_order):
        removed = within_unit_duplicates(spikes.samples[rows[unit]], window)
        keep[rows[unit][removed]] = False
        overlap[rank, rank] = removed.size
        trains.append(np.delete(rows[unit], removed))
    for i in range(spikes.n_units):
        for j in range(i + 1, spikes.n_units):
            if abs(int(peaks[depth_order[i]]) - int(peaks[depth_order[j]])) >= distance:
                continue
            first, second = between_unit_duplicates(spikes.samples[trains[i]], spikes.samples[trains[j]], window)
            keep[trains[i][first]] = False
            keep[trains[j][second]] = False
            overlap[i, j] = first.size + second.size
    return keep, overlap


def test_golden_within_unit() -> None:
    train = [10, 12, 14, 30, 34, 39]
    assert within_unit_duplicates(train, 4).tolist() == [0, 1]
    assert within_unit_duplicates(train, 5).tolist() == [0, 1, 3]


def test_golden_between_units() -> None:
    first, second = between_unit_duplicates([10, 50, 100], [12, 47, 104], 4)
    assert first.tolist() == [1]
    assert second.tolist() == [0]


def test_window_is_truncated_to_four_samples() -> None:
    assert window_in_samples(0.000166, 30000.0) == 4


def test_all_at_once_equals_golden_cases() -> None:
    spikes = SortedSpikes.from_arrays([10, 50, 100, 12, 47, 104], [0, 0, 0, 7, 7, 7])
    result = find_double_counted_spikes(spikes, [20, 24], GEOMETRY)
    assert result.keep.tolist() == [True, False, True, False, True, True]
    assert result.overlap.tolist() == [[0, 2], [0, 0]]
    assert result.unit_ids.tolist() == [0, 7]


def test_units_five_channels_apart_are_left_alone() -> None:
    spikes = SortedSpikes.from_arrays([10, 10], [1, 2])
    assert find_double_counted_spikes(spikes, [0, 5], GEOMETRY).keep.all()
    # Equal times: the unit nearer the tip counts as first.
    assert find_double_counted_spikes(spikes, [4, 0], GEOMETRY).keep.tolist() == [False, True]


def test_units_near_in_um_are_compared_whatever_their_channel_numbers() -> None:
    """Four shanks whose channels come in blocks: numbers next to each other on two shanks, far apart on one."""
    spikes = SortedSpikes.from_arrays([10, 11], [1, 2])
    shanks = np.repeat([0, 1, 0, 1], 48)
    rows = np.concatenate([np.arange(48) // 2, np.arange(48) // 2, 24 + np.arange(48) // 2, 24 + np.arange(48) // 2])
    blocks = np.column_stack([32.0 * (np.arange(192) % 2) + 250.0 * shanks, 15.0 * rows])
    assert find_double_counted_spikes(spikes, [47, 48], blocks).keep.all()  # other shanks
    assert not find_double_counted_spikes(spikes, [47, 96], blocks).keep.all()  # the rows below and above a block's end
    assert not find_double_counted_spikes(spikes, [20, 26], blocks, shanks=shanks).keep.all()  # 45 um
    assert find_double_counted_spikes(spikes, [20, 27], blocks, shanks=shanks).keep.all()  # 52.5 um


@settings(max_examples=60, deadline=None)
@given(
    data=st.lists(st.tuples(st.integers(0, 300), st.integers(0, 5)), max_size=120),
    peaks=st.lists(st.integers(0, 14), min_size=6, max_size=6),
    distance=st.integers(1, 6),
)
def test_linear_pass_equals_pairwise_procedure(data: list[tuple[int, int]], peaks: list[int], distance: int) -> None:
    times, units = [t for t, _ in data], [u for _, u in data]
    spikes = SortedSpikes.from_arrays(times, units, unit_ids=range(6))
    result = find_double_counted_spikes(spikes, peaks, GEOMETRY, peak_distance=10.0 * distance)
    keep, overlap = pairwise_twin(spikes, np.array(peaks), 4, distance)
    np.testing.assert_array_equal(result.keep, keep)
    np.testing.assert_array_equal(result.overlap, overlap)


def test_dense_trains_equal_pairwise_procedure() -> None:
    rng = np.random.default_rng(0)
    spikes = SortedSpikes.from_arrays(rng.integers(0, 60_000, 20_000), rng.integers(0, 40, 20_000))
    peaks = rng.integers(0, 60, 40)
    result = find_double_counted_spikes(spikes, peaks, GEOMETRY)
    keep, overlap = pairwise_twin(spikes, peaks, 4, 5)
    np.testing.assert_array_equal(result.keep, keep)
    np.testing.assert_array_equal(result.overlap, overlap)
    assert overlap.sum() > 1000


def test_planted_duplicates_are_found_and_nothing_else() -> None:
    rng = np.random.default_rng(1)
    true_times = np.arange(100, 300_000, 300)
    true_units = rng.integers(0, 3, true_times.size)
    doubled = rng.choice(true_times.size, 150, replace=False)
    times = np.concatenate((true_times, true_times[doubled] + rng.integers(1, 4, 150)))
    units = np.concatenate((true_units, (true_units[doubled] + 1) % 3))
    result = find_double_counted_spikes(SortedSpikes.from_arrays(times, units), [10, 11, 13], GEOMETRY)
    np.testing.assert_array_equal(result.keep, np.arange(times.size) < true_times.size)


def test_times_beyond_int32_are_exact() -> None:
    """P14: three hours at 30 kHz and far beyond."""
    late = 2**40
    spikes = SortedSpikes.from_arrays([late + 10, late + 12, late + 100], [0, 1, 0])
    assert find_double_counted_spikes(spikes, [0, 1], GEOMETRY).keep.tolist() == [True, False, True]


def test_no_spikes_no_units_and_one_spike() -> None:
    none = SortedSpikes.from_arrays([], [])
    assert find_double_counted_spikes(none, [], GEOMETRY).keep.shape == (0,)
    silent = SortedSpikes.from_arrays([], [], unit_ids=[3, 4])
    assert find_double_counted_spikes(silent, [1, 2], GEOMETRY).overlap.shape == (2, 2)
    one = SortedSpikes.from_arrays([5], [9])
    assert find_double_counted_spikes(one, [1], GEOMETRY).keep.tolist() == [True]


@pytest.mark.parametrize(
    ("samples", "units", "message"),
    [
        ([1, 2], [1], "2 spike times but 1 units"),
        ([1.5], [1], "no whole numbers"),
        ([float("nan")], [1], "no whole numbers"),
        ([-3, 5], [1, 1], "before the recording"),
        ([5, 100], [1, 1], "past the end of the recording"),
        ([[1, 2], [3, 4]], [1, 1], "shape"),
    ],
)
def test_bad_spikes_are_refused(samples: list[float], units: list[int], message: str) -> None:
    with pytest.raises(SpikeTrainError, match=message):
        SortedSpikes.from_arrays(samples, units, n_samples=100)


def test_unknown_unit_and_missing_peak_channel_are_refused() -> None:
    with pytest.raises(SpikeTrainError, match="unit 8"):
        SortedSpikes.from_arrays([1], [8], unit_ids=[1, 2])
    with pytest.raises(SpikeTrainError, match="unit 8"):
        SortedSpikes.from_arrays([1], [8], unit_ids=[])
    with pytest.raises(SpikeTrainError, match="peak channels"):
        find_double_counted_spikes(SortedSpikes.from_arrays([1], [8]), [1, 2], GEOMETRY)
    with pytest.raises(GeometryError, match="384"):
        find_double_counted_spikes(SortedSpikes.from_arrays([1], [8]), [384], GEOMETRY)


def test_column_vectors_and_whole_floats_are_accepted() -> None:
    spikes = SortedSpikes.from_arrays(np.array([[3.0], [1.0]]), np.array([[1], [0]], dtype=np.uint32))
    assert spikes.samples.dtype == np.int64
    assert [rows.tolist() for rows in spikes.rows_by_unit()] == [[1], [0]]
