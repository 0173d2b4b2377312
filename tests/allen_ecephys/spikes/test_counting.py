"""Kernels against plain NumPy twins that share nothing with them, on random spikes, edges, orders and units."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allen_ecephys.spikes import counting as alignment
from allen_ecephys.spikes.condition_statistics import condition_statistics
from allen_ecephys.spikes.counting import count_in_bins, count_in_windows
from allen_ecephys.spikes.listing import spikes_in_windows
from allen_ecephys.spikes.ragged import RaggedTimes, are_ascending, is_ascending
from allen_ecephys.spikes.sparse_counts import count_sparsely

# The first call of a kernel compiles it.
compiled = settings(deadline=None)

# A coarse grid makes spikes fall on edges, edges coincide, and windows touch.
GRID = st.integers(-40, 80).map(lambda i: i / 8)
SPIKES = st.lists(st.lists(GRID, max_size=40).map(sorted), min_size=1, max_size=4)
WINDOWS = st.lists(st.tuples(GRID, st.integers(0, 24)), max_size=12)
OFFSETS = st.lists(st.integers(-16, 40), min_size=2, max_size=9, unique=True).map(sorted)
STARTS = st.lists(GRID, max_size=8)


def windows_of(drawn: list[tuple[float, int]]) -> tuple[np.ndarray, np.ndarray]:
    starts = np.array([start for start, _ in drawn], dtype=float)
    return starts, starts + np.array([width / 8 for _, width in drawn], dtype=float)


def all_spikes(ragged: RaggedTimes, starts: np.ndarray, stops: np.ndarray, open_left: bool = False) -> Any:
    """Return time, position of the window, position of the unit, and time since the window's start."""
    return spikes_in_windows(ragged, starts, stops, starts, np.arange(len(starts)), np.arange(len(ragged)), open_left)


def inside(times: np.ndarray, start: float, stop: float, open_left: bool) -> np.ndarray:
    return (start < times) & (times <= stop) if open_left else (start <= times) & (times < stop)


@compiled
@given(SPIKES, WINDOWS, st.booleans())
def test_counts_in_windows(spikes: list[list[float]], drawn: list[tuple[float, int]], open_left: bool) -> None:
    starts, stops = windows_of(drawn)
    expected = [
        [int(inside(np.array(t), a, b, open_left).sum()) for a, b in zip(starts, stops, strict=True)] for t in spikes
    ]
    found = count_in_windows(spikes, starts, stops, open_left=open_left)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, np.array(expected, dtype=int).reshape(len(spikes), len(starts)))


def twin_of_bins(times: Any, edges: np.ndarray, closed: bool) -> np.ndarray:
    t = np.asarray(times, dtype=float)[:, None, None]
    low, high = edges[None, :, :-1], edges[None, :, 1:]
    return ((low <= t) & ((t <= high) if closed else (t < high))).sum(axis=0)


@compiled
@given(SPIKES, STARTS, OFFSETS, st.booleans(), st.booleans())
def test_counts_in_bins(
    spikes: list[list[float]], starts: list[float], offsets: list[int], even: bool, closed: bool
) -> None:
    relative = np.linspace(offsets[0], offsets[-1], len(offsets)) / 7 if even else np.array(offsets) / 8
    edges = np.array(starts, dtype=float)[:, None] + relative
    ragged = RaggedTimes.from_arrays(spikes)
    expected = np.stack([twin_of_bins(t, edges, closed) for t in spikes])
    np.testing.assert_array_equal(count_in_bins(ragged, edges, closed=closed), expected)
    sparse = count_sparsely(ragged, edges, closed)
    np.testing.assert_array_equal(np.stack([m.toarray() for m in sparse]), expected)
    assert all((m.data > 0).all() for m in sparse)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([[1, 2, 3, 4], [1.1, 2.1, 3.1, 4.1]], [[[1, 1, 0], [1, 1, 0]], [[2, 0, 0], [2, 0, 0]]]),
        ([[1, 2, 3, 4], [1.6, 2.0, 4.0, 4.1]], [[[1, 1, 0], [0, 1, 0]], [[2, 0, 0], [0, 0, 0]]]),
    ],
)
def test_histograms_known_by_hand(rows: Any, expected: Any) -> None:
    ragged = RaggedTimes.from_arrays([[1.5, 2.5], [1.5, 1.55]])
    edges = np.array(rows, dtype=float)
    assert count_in_bins(ragged, edges).tolist() == expected
    binary = count_in_bins(ragged, edges, dtype=np.uint8, binarize=True)
    assert binary.tolist() == np.minimum(expected, 1).tolist()


@compiled
@given(st.lists(st.floats(0, 10, allow_nan=False), max_size=60), st.integers(1, 40), st.floats(0, 9))
def test_even_bins_are_exact_where_rounding_bites(times: list[float], n_bins: int, start: float) -> None:
    edges = start + np.linspace(0, 1, n_bins + 1)[None, :]
    # Spikes on the edges themselves, and one step of the last bit to either side.
    edge_spikes = [np.nextafter(edges[0], -1), edges[0], np.nextafter(edges[0], 99)]
    spikes = np.sort(np.concatenate([times, *edge_spikes]))
    found = count_in_bins(RaggedTimes.from_arrays([spikes]), edges)
    np.testing.assert_array_equal(found[0], twin_of_bins(spikes, edges, closed=False))


@compiled
@given(SPIKES, WINDOWS, st.booleans())
def test_spikes_in_windows(spikes: list[list[float]], drawn: list[tuple[float, int]], open_left: bool) -> None:
    starts, stops = windows_of(drawn)
    rows = [
        (t, window, unit)
        for window in np.argsort(starts, kind="stable")
        for unit, times in enumerate(spikes)
        for t in np.array(times)[inside(np.array(times, dtype=float), starts[window], stops[window], open_left)]
    ]
    expected = sorted(rows, key=lambda row: row[0])  # stable: then by window's start, then by unit
    time, window, unit, since = all_spikes(RaggedTimes.from_arrays(spikes), starts, stops, open_left)
    np.testing.assert_array_equal(since, time - starts[window])
    assert list(zip(time.tolist(), window.tolist(), unit.tolist(), strict=True)) == expected


def test_spikes_all_at_one_time_do_not_take_quadratic_time() -> None:
    spikes = [np.full(20_000, 0.5)] * 3
    time, _, unit, _ = all_spikes(RaggedTimes.from_arrays(spikes), np.array([0.0]), np.array([1000.0]))
    assert len(time) == 60_000
    np.testing.assert_array_equal(unit, np.repeat([0, 1, 2], 20_000))


@compiled
@given(SPIKES, st.lists(st.tuples(GRID, st.integers(1, 24), st.integers(0, 3)), min_size=1, max_size=12), st.booleans())
def test_condition_statistics(spikes: list[list[float]], drawn: list[tuple[float, int, int]], use_rates: bool) -> None:
    starts, stops = windows_of([(start, width) for start, width, _ in drawn])
    table = pd.DataFrame(
        {"start_time": starts, "stop_time": stops, "stimulus_condition_id": [10 * c for _, _, c in drawn]}
    )
    ids = np.arange(len(spikes))[::-1] + 5
    found = condition_statistics(RaggedTimes.from_arrays(spikes), ids, table, use_rates)
    counts = count_in_windows(spikes, starts, stops).astype(float)
    rows = []
    for condition in np.unique(table["stimulus_condition_id"]):
        chosen = np.flatnonzero(table["stimulus_condition_id"] == condition)
        for unit, of_unit in sorted(zip(ids, counts, strict=True), key=lambda pair: pair[0]):
            response = of_unit[chosen] / (stops - starts)[chosen] if use_rates else of_unit[chosen]
            std = np.std(response, ddof=1) if len(chosen) > 1 else np.nan
            rows.append((unit, condition, of_unit[chosen].sum(), len(chosen), response.mean(), std))
    assert list(found.index) == [(row[0], row[1]) for row in rows]
    if not use_rates:
        np.testing.assert_array_equal(found["spike_count"], [row[2] for row in rows])
    np.testing.assert_array_equal(found["stimulus_presentation_count"], [row[3] for row in rows])
    np.testing.assert_allclose(found["spike_mean"], [row[4] for row in rows], rtol=1e-14)
    np.testing.assert_allclose(found["spike_std"], [row[5] for row in rows], rtol=1e-12)
    sem = [row[5] / np.sqrt(row[3]) for row in rows]
    np.testing.assert_allclose(found["spike_sem"], sem, rtol=1e-12)


def test_statistics_agree_with_pandas_on_many_presentations() -> None:
    rng = np.random.default_rng(3)
    spikes = [np.sort(rng.uniform(0, 500, n)) for n in (5000, 0, 300)]
    starts = np.arange(0, 480, 0.5)
    condition = rng.integers(0, 7, len(starts))
    table = pd.DataFrame({"start_time": starts, "stop_time": starts + 0.4, "stimulus_condition_id": condition})
    found = condition_statistics(RaggedTimes.from_arrays(spikes), np.array([4, 9, 2]), table)
    for unit, times in zip((4, 9, 2), spikes, strict=True):
        counts = pd.Series(
            [
                int(np.searchsorted(times, b) - np.searchsorted(times, a))
                for a, b in zip(starts, starts + 0.4, strict=True)
            ]
        )
        expected = counts.groupby(condition).agg(["sum", "count", "mean", "std", "sem"])
        of_unit = found.xs(unit, level="unit_id")
        np.testing.assert_allclose(of_unit.to_numpy(float), expected.to_numpy(float), rtol=1e-12)


@compiled
@given(st.lists(st.sampled_from([0.0, 1.0, 2.0, float("nan")]), max_size=6))
def test_ascending(values: list[float]) -> None:
    array = np.array(values, dtype=float)
    expected = not np.isnan(array).any() and bool(np.all(np.diff(array) >= 0))
    assert is_ascending(array) == expected
    padded = np.concatenate(([9.0], array, [-9.0]))
    assert are_ascending(padded, np.array([1]), np.array([1 + len(array)])).tolist() == [expected]


def test_any_number_of_threads_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    spikes = [np.sort(rng.uniform(0, 100, n)) for n in rng.integers(0, 3000, 37)]
    starts = rng.uniform(0, 100, 400)
    table = pd.DataFrame(
        {"start_time": starts, "stop_time": starts + 1, "stimulus_condition_id": rng.integers(0, 5, 400)}
    )
    monkeypatch.setattr(alignment, "_WORTH_THREADS", 0)
    results = []
    for workers in ("1", "2", "7"):
        monkeypatch.setenv("ALLEN_ECEPHYS_THREADS", workers)
        ragged = RaggedTimes.from_arrays(spikes)
        results.append(
            [
                count_in_windows(ragged, starts, starts + 1),
                count_in_bins(ragged, starts[:, None] + np.linspace(0, 1, 11)),
                np.stack(all_spikes(ragged, starts, starts + 1)),
                condition_statistics(ragged, np.arange(37), table).to_numpy(),
                np.stack([m.toarray() for m in count_sparsely(ragged, starts[:, None] + np.linspace(0, 1, 11))]),
            ]
        )
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(one, two)


def test_windows_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match=r"1 of 2 windows are NaN or stop before.*window 1: 3\.0 to 2\.0"):
        count_in_windows([[1.0]], [0.0, 3.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="NaN or stop"):
        count_in_windows([[1.0]], [np.nan], [1.0])
    with pytest.raises(ValueError, match="equal length"):
        count_in_windows([[1.0]], [0.0, 1.0], [1.0])


def test_unsorted_arrays_are_sorted_and_no_units_are_fine() -> None:
    assert count_in_windows([[3.0, 1.0, 2.0]], [0.5], [2.5]).tolist() == [[2]]
    assert count_in_windows({7: [1.0], 3: []}, [0.0], [2.0]).tolist() == [[1], [0]]
    assert count_in_windows([], [0.0], [2.0]).shape == (0, 1)
    assert count_in_windows([[1.0]], [], []).shape == (1, 0)


def test_counts_do_not_wrap() -> None:
    spikes = RaggedTimes.from_arrays([np.linspace(0, 0.9, 70_000)])
    edges = np.array([[0.0, 1.0]])
    assert count_in_bins(spikes, edges)[0, 0, 0] == 70_000
    assert count_in_bins(spikes, edges, dtype=np.uint32)[0, 0, 0] == 70_000
    assert count_in_bins(spikes, edges, dtype=np.uint8, binarize=True)[0, 0, 0] == 1
    for dtype in (np.uint16, np.int8, np.float16):
        with pytest.raises(ValueError, match=r"70,000 spikes, which dtype .* cannot hold"):
            count_in_bins(spikes, edges, dtype=dtype)


def test_ragged_times() -> None:
    ragged = RaggedTimes.from_arrays([[1.0, 2.0], [], [3.0]])
    assert [a.tolist() for a in ragged] == [[1.0, 2.0], [], [3.0]]
    assert [a.tolist() for a in ragged.part(1, 3)] == [[], [3.0]]
    assert len(RaggedTimes.from_arrays([])) == 0
