"""Kernels that align spikes to windows: exact, without a row per spike, one pass over the spikes they need.

Arrays in, arrays out; no kernel validates or allocates what its caller can. Spikes come as :class:`RaggedTimes`: the
ascending spike times of several units, each a run of one flat array. Windows are visited in order of their start, so
the search for a window's first spike gallops forward from that of the window before it: the cost grows with the
logarithm of the gap, not with the number of spikes. Comparisons are the comparisons of NumPy: no tolerance anywhere.

Work is split over threads by units (the kernels release the GIL); each thread writes rows of its own, so any number of
threads gives the same result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from ..config import threads
from ..errors import InvalidValueError
from .ragged import Floats, Integers, RaggedTimes, UnitTimes, Windows, as_ragged, first_above, first_not_below, within

if TYPE_CHECKING:
    from .store import SpikeTimes


#: Fewer searches than this are not worth starting threads for (a pool costs about 0.1 ms).
_WORTH_THREADS = 50_000


# --- searching ---------------------------------------------------------------------------------------------------


# --- counting ----------------------------------------------------------------------------------------------------


@njit(cache=True, nogil=True)
def _count_windows(
    values: Floats,
    starts: Integers,
    stops: Integers,
    begins: Floats,
    ends: Floats,
    order: Integers,
    open_left: bool,
    out: np.ndarray[Any, Any],
) -> None:
    """Count spikes with ``begin <= t < end`` (or ``begin < t <= end`` if `open_left`) into ``out[unit, window]``."""
    for unit in range(len(starts)):
        hint, stop = starts[unit], stops[unit]
        for k in range(len(order)):
            window = order[k]
            hint, last = within(values, hint, stop, begins[window], ends[window], open_left)
            out[unit, window] = last - hint


@njit(cache=True, nogil=True)
def _count_even_bins(
    values: Floats,
    starts: Integers,
    stops: Integers,
    edges: Floats,
    order: Integers,
    out: np.ndarray[Any, Any],
) -> None:
    """Count spikes in half-open bins of about equal width into ``out[unit, row, bin]``, which holds zeros.

    A spike's bin is guessed by division and then corrected by comparing with the edges themselves, so the guess costs
    speed where it is wrong and never exactness.
    """
    n_bins = edges.shape[1] - 1
    for unit in range(len(starts)):
        hint, stop = starts[unit], stops[unit]
        for k in range(len(order)):
            row, counts = edges[order[k]], out[unit, order[k]]
            first, last = row[0], row[n_bins]
            scale = n_bins / (last - first)
            hint = first_not_below(values, hint, stop, first)
            for i in range(hint, stop):
                t = values[i]
                if t >= last:
                    break
                bin_ = min(int((t - first) * scale), n_bins - 1)
                while t < row[bin_]:
                    bin_ -= 1
                while t >= row[bin_ + 1]:
                    bin_ += 1
                counts[bin_] += 1


@njit(cache=True, nogil=True)
def _count_any_bins(
    values: Floats,
    starts: Integers,
    stops: Integers,
    edges: Floats,
    order: Integers,
    out: np.ndarray[Any, Any],
) -> None:
    """Count spikes in half-open bins of any widths into ``out[unit, row, bin]``."""
    n_bins = edges.shape[1] - 1
    for unit in range(len(starts)):
        hint, stop = starts[unit], stops[unit]
        for k in range(len(order)):
            row = order[k]
            hint = first_not_below(values, hint, stop, edges[row, 0])
            i = hint
            for bin_ in range(n_bins):
                j = first_not_below(values, i, stop, edges[row, bin_ + 1])
                out[unit, row, bin_] = j - i
                i = j


@njit(cache=True, nogil=True)
def _count_closed_bins(
    values: Floats,
    starts: Integers,
    stops: Integers,
    edges: Floats,
    order: Integers,
    out: np.ndarray[Any, Any],
) -> None:
    """Count spikes with ``edge <= t <= next edge`` (AllenSDK's bins) into ``out[unit, row, bin]``."""
    n_bins = edges.shape[1] - 1
    for unit in range(len(starts)):
        hint, stop = starts[unit], stops[unit]
        for k in range(len(order)):
            row = order[k]
            hint = first_not_below(values, hint, stop, edges[row, 0])
            i = hint
            for bin_ in range(n_bins):
                i = first_not_below(values, i, stop, edges[row, bin_])
                out[unit, row, bin_] = first_above(values, i, stop, edges[row, bin_ + 1]) - i


def count_in_windows(
    spike_times: UnitTimes | SpikeTimes | Sequence[Any] | Mapping[int, Any],
    starts: Any,
    stops: Any,
    *,
    open_left: bool = False,
) -> np.ndarray[Any, np.dtype[np.int32]]:
    """Count each unit's spikes in windows ``[start, stop)``.

    Parameters
    ----------
    spike_times
        Spike times (s): one array a unit, ``session.spike_times``, a mapping, or :class:`RaggedTimes`.
    starts, stops
        Begin and end of each window (s, float64, equal length), in any order; windows may overlap and be empty.
    open_left
        Count in ``(start, stop]`` instead, as AllenSDK assigns spikes to presentations.

    Returns
    -------
    ndarray of int32, shape (n_units, n_windows)

    Raises
    ------
    InvalidValueError
        If the bounds are not of equal length, hold NaN, or a window stops before it starts.
    """
    ragged = as_ragged(spike_times)
    begins = np.atleast_1d(np.asarray(starts, dtype=np.float64))
    ends = np.atleast_1d(np.asarray(stops, dtype=np.float64))
    if begins.shape != ends.shape or begins.ndim != 1:
        msg = f"starts and stops must be 1-dimensional and of equal length; got shapes {begins.shape} and {ends.shape}"
        raise InvalidValueError(msg)
    wrong = np.flatnonzero(~(begins <= ends))
    if len(wrong):
        at = int(wrong[0])
        msg = (
            f"{len(wrong)} of {len(begins)} windows are NaN or stop before they start; "
            f"the first is window {at}: {begins[at]} to {ends[at]}"
        )
        raise InvalidValueError(msg)
    order = np.argsort(begins, kind="stable")
    out = np.zeros((len(ragged), len(begins)), dtype=np.int32)

    def count(first: int, last: int, part: RaggedTimes) -> None:
        _count_windows(part.values, part.starts, part.stops, begins, ends, order, open_left, out[first:last])

    over_units(count, ragged, Windows(begins, ends), len(begins))
    return out


def count_in_bins(
    ragged: UnitTimes, edges: Floats, *, closed: bool = False, dtype: Any = np.int32, binarize: bool = False
) -> np.ndarray[Any, Any]:
    """Count each unit's spikes in bins given by their edges, a row of edges for each window.

    Parameters
    ----------
    ragged
        Spike times (s).
    edges
        Float64, shape (n_rows, n_bins + 1); no row descends (not checked here).
    closed
        Count in ``[edge, next edge]`` instead of ``[edge, next edge)``: a spike on an inner edge counts twice.
    dtype
        Type of the counts. Counts are made as int32, which no unit's number of spikes exceeds, a unit at a time.
    binarize
        Give 1 for one spike or more.

    Returns
    -------
    ndarray of `dtype`, shape (n_units, n_rows, n_bins)

    Raises
    ------
    InvalidValueError
        If `dtype` does not hold a count exactly.
    """
    rows, n_bins = edges.shape[0], edges.shape[1] - 1
    order = np.argsort(edges[:, 0], kind="stable")
    out = np.zeros((len(ragged), rows, n_bins), dtype=dtype)
    kernel = _count_closed_bins if closed else _count_even_bins if _about_even(edges) else _count_any_bins
    direct = out.dtype == np.int32 and not binarize

    def count(first: int, last: int, part: RaggedTimes) -> None:
        if direct:
            kernel(part.values, part.starts, part.stops, edges, order, out[first:last])
            return
        counts = np.zeros((1, rows, n_bins), dtype=np.int32)
        for unit in range(len(part)):
            counts.fill(0)
            kernel(part.values, part.starts[unit : unit + 1], part.stops[unit : unit + 1], edges, order, counts)
            out[first + unit] = np.minimum(counts[0], 1) if binarize else _exactly(counts[0], out.dtype)

    over_units(count, ragged, Windows(edges[:, 0], edges[:, -1]), rows * n_bins)
    return out


def _exactly(counts: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    with np.errstate(over="ignore"):
        cast = counts.astype(dtype)
    if not np.array_equal(cast, counts):
        msg = f"a bin holds {counts.max():,} spikes, which dtype {dtype} cannot hold exactly; leave dtype out for int32"
        raise InvalidValueError(msg)
    return cast


def _about_even(edges: Floats) -> bool:
    """Tell whether dividing finds each bin to within one: all edges lie within half a bin of even ones."""
    n_bins = edges.shape[1] - 1
    steps = np.arange(n_bins + 1)
    rows_at_once = max(1, 1_000_000 // len(steps))  # 8 MB, so that a check never costs memory that matters
    for first in range(0, len(edges), rows_at_once):
        relative = edges[first : first + rows_at_once] - edges[first : first + rows_at_once, :1]
        width = relative[:, -1:] / n_bins
        if not np.all((np.abs(relative - width * steps) <= 0.5 * width) & (width > 0)):
            return False
    return True


def over_units(
    work: Callable[[int, int, RaggedTimes], None], ragged: UnitTimes, windows: Windows, searches: int
) -> None:
    """Run ``work(first, last, spikes)`` over ranges of units, on several threads where that pays.

    Parameters
    ----------
    work
        Takes the spikes of units `first` to `last` (excluded), those in `windows` at least.
    ragged
        Spike times (s).
    windows
        What is looked at.
    searches
        How often each unit's spikes are searched.

    Notes
    -----
    Ranges hold about equal numbers of spikes; several a thread, as spikes in the windows may lie unevenly.
    """

    def run(first: int, last: int) -> None:
        for begin, end, part in ragged.pieces(first, last, windows):
            work(begin, end, part)

    n_units, workers = len(ragged), threads()
    if workers == 1 or n_units < 2 or n_units * searches < _WORTH_THREADS:
        run(0, n_units)
        return
    load = np.cumsum(ragged.stops - ragged.starts + searches)
    targets = np.linspace(0, load[-1], 4 * workers + 1)[1:-1]
    cuts = np.unique(np.concatenate(([0], np.searchsorted(load, targets, side="right"), [n_units])))
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(run, cuts[:-1].tolist(), cuts[1:].tolist()))
