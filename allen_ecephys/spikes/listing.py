"""Spike times around presentations, as a table with a row a spike: kernels that fill it in order of time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Lock

import numpy as np
from numba import njit

from ..config import threads
from ..errors import CorruptFileError
from .counting import over_units
from .ragged import Floats, Integers, RaggedTimes, UnitTimes, Windows, within

#: A bucket with more spikes than this is sorted by merging rather than by insertion.
_MOST_IN_BUCKET = 200


@njit(cache=True, nogil=True)
def _bounds(
    values: Floats,
    starts: Integers,
    stops: Integers,
    begin: float,
    end: float,
    open_left: bool,
    low: Integers,
    high: Integers,
) -> int:
    """Find each unit's spikes in one window, galloping on from `low`; return how many there are."""
    total = 0
    for unit in range(len(starts)):
        low[unit], high[unit] = within(values, low[unit], stops[unit], begin, end, open_left)
        total += high[unit] - low[unit]
    return total


@njit(cache=True, nogil=True)
def _totals(
    values: Floats,
    starts: Integers,
    stops: Integers,
    begins: Floats,
    ends: Floats,
    open_left: bool,
    totals: Integers,
) -> None:
    """Add each window's spikes to `totals`; windows ascend by their begin."""
    for unit in range(len(starts)):
        low, stop = starts[unit], stops[unit]
        for window in range(len(begins)):
            low, high = within(values, low, stop, begins[window], ends[window], open_left)
            totals[window] += high - low


@njit(cache=True, nogil=True)
def _fill(
    values: Floats,
    starts: Integers,
    stops: Integers,
    begins: Floats,
    ends: Floats,
    open_left: bool,
    offsets: Integers,
    unit_ids: Integers,
    out_time: Floats,
    out_unit: Integers,
    buckets: Integers,
) -> bool:
    """Write the spikes of each window, ascending in time; spikes at the same time in the order of the units.

    Spikes fall into as many buckets of equal width as there are spikes, and each bucket is sorted: linear in time for
    spikes that do not all fall together. False where there are not as many as `offsets` say.
    """
    low, high = starts.copy(), starts.copy()
    for window in range(len(begins)):
        begin, end, first = begins[window], ends[window], offsets[window]
        total = _bounds(values, starts, stops, begin, end, open_left, low, high)
        if total != offsets[window + 1] - first:
            return False
        if total == 0:
            continue
        scale = total / (end - begin)
        buckets[: total + 1] = 0
        for unit in range(len(starts)):
            for i in range(low[unit], high[unit]):
                buckets[min(int((values[i] - begin) * scale), total - 1) + 1] += 1
        most = 0
        for bucket in range(total):
            most = max(most, buckets[bucket + 1])
            buckets[bucket + 1] += buckets[bucket]
        for unit in range(len(starts)):
            for i in range(low[unit], high[unit]):
                bucket = min(int((values[i] - begin) * scale), total - 1)
                place = first + buckets[bucket]
                buckets[bucket] += 1
                out_time[place] = values[i]
                out_unit[place] = unit_ids[unit]
        _sort_within(out_time[first : first + total], out_unit[first : first + total], most > _MOST_IN_BUCKET)
    return True


@njit(cache=True, nogil=True)
def _sort_within(time: Floats, unit: Integers, merge: bool) -> None:
    """Sort an almost ascending run by time, stably."""
    if merge:
        order = np.argsort(time, kind="mergesort")
        time[:] = time[order]
        unit[:] = unit[order]
        return
    for i in range(1, len(time)):
        t, u = time[i], unit[i]
        j = i - 1
        while j >= 0 and time[j] > t:
            time[j + 1], unit[j + 1] = time[j], unit[j]
            j -= 1
        time[j + 1], unit[j + 1] = t, u


def spikes_in_windows(
    ragged: UnitTimes,
    begins: Floats,
    ends: Floats,
    onsets: Floats,
    window_ids: Integers,
    unit_ids: Integers,
    open_left: bool = False,
) -> tuple[Floats, Integers, Integers, Floats]:
    """Return all spikes in some windows, ascending in time.

    Parameters
    ----------
    ragged
        Spike times (s).
    begins, ends
        Windows ``[begin, end)``, or ``(begin, end]`` if `open_left`; in any order, and they may overlap.
    onsets
        Time (s) of each window from which its spikes are counted.
    window_ids, unit_ids
        What windows and units are called.

    Returns
    -------
    time, window, unit, since_onset
        One value a spike: its time (s), the ids of its window and its unit, its time since the onset (s). A spike in
        several windows comes as often. Equal times keep the order of windows by begin, then of units. Nothing of the
        size of these arrays is held beside them, unless windows overlap.
    """
    order = np.argsort(begins, kind="stable")
    sorted_begins, sorted_ends = begins[order], ends[order]
    totals = np.zeros(len(order), dtype=np.int64)
    cuts = np.unique(np.linspace(0, len(order), 4 * threads() + 1).astype(np.int64))
    lock = Lock()

    def count(first: int, last: int, part: RaggedTimes) -> None:
        of_units = np.zeros_like(totals)
        _totals(part.values, part.starts, part.stops, sorted_begins, sorted_ends, open_left, of_units)
        with lock:
            np.add(totals, of_units, out=totals)

    def fill(first: int, last: int) -> None:
        looked_at = Windows(sorted_begins[first:last], sorted_ends[first:last])
        part = ragged.around(looked_at)
        buckets = np.empty(totals[first:last].max() + 1, dtype=np.int64)
        complete = _fill(
            part.values,
            part.starts,
            part.stops,
            looked_at.begins,
            looked_at.ends,
            open_left,
            offsets[first : last + 1],
            unit_ids,
            time,
            unit,
            buckets,
        )
        if not complete:
            msg = "the file was changed while its spikes were read: open the session again, and check the file"
            raise CorruptFileError(msg)

    over_units(count, ragged, Windows(sorted_begins, sorted_ends), len(order))
    offsets = np.concatenate(([0], np.cumsum(totals)))
    time = np.empty(int(offsets[-1]), dtype=np.float64)
    unit = np.empty(len(time), dtype=np.int64)
    with ThreadPoolExecutor(threads()) as pool:
        list(pool.map(fill, cuts[:-1].tolist(), cuts[1:].tolist()))
    window = np.repeat(window_ids[order], totals)
    since = np.repeat(onsets[order], totals)
    np.subtract(time, since, out=since)
    if np.any(sorted_begins[1:] < np.maximum.accumulate(sorted_ends)[:-1]):
        by_time = np.argsort(time, kind="stable")
        return time[by_time], window[by_time], unit[by_time], since[by_time]
    return time, window, unit, since
