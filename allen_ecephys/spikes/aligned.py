"""The session's aligned-spike calls: input checked, windows made, kernels run, results labelled."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..compatibility import Compatibility, is_compatible
from ..errors import InvalidTypeError, InvalidValueError
from ..stimulus.conditions import CONDITION
from ..stimulus.trials import require_columns
from .condition_statistics import condition_statistics
from .counting import count_in_bins
from .listing import spikes_in_windows
from .ragged import Floats, Integers, UnitSpikes
from .sparse_counts import SparseCounts, as_data_array, count_sparsely

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from numpy.typing import ArrayLike


#: Window (s) that is no longer one around a stimulus: edges in milliseconds, most likely. A shorter one is, too, if it
#: is longer than `FEW_SECONDS` and than so many trials that follow each other.
LONG_SECONDS, FEW_SECONDS, MANY_TRIALS = 1000.0, 100.0, 10


def refuse_swapped(bin_edges: object) -> None:
    """Raise InvalidTypeError for bin edges that are the name of a stimulus or a table: what to align to."""
    texts = isinstance(bin_edges, (list, tuple)) and bool(bin_edges) and all(isinstance(b, str) for b in bin_edges)
    if texts or isinstance(bin_edges, str) or hasattr(bin_edges, "columns"):
        given = "a table" if hasattr(bin_edges, "columns") else repr(bin_edges)
        msg = (
            f"bin_edges are numbers (seconds from stimulus onset); got {given}: are the two arguments swapped? A "
            "session takes (bin_edges, stimulus), a population (stimulus, bin_edges)"
        )
        raise InvalidTypeError(msg)


def checked_window(window: Any) -> tuple[float, float]:
    """Return begin and end (s) of a window from onset.

    Raises
    ------
    InvalidValueError
        Unless they are two finite numbers, the end after the begin.
    """
    try:
        begin, end = (float("nan"),) * 2 if isinstance(window, str) else (float(edge) for edge in window)
    except (TypeError, ValueError):
        begin = end = float("nan")
    if not -float("inf") < begin < end < float("inf"):
        msg = f"window must be two times (s from onset), the end after the begin; got {window!r:.80}"
        raise InvalidValueError(msg)
    return begin, end


def warn_of_long_edges(edges: Floats, starts: Floats | None = None, stacklevel: int = 3) -> None:
    """Warn where edges reach so far that they are hardly seconds."""
    reach = float(edges[-1] - edges[0])
    between = np.inf if starts is None or len(starts) < 2 else float(np.median(np.diff(np.sort(starts))))
    if reach > LONG_SECONDS or (reach > FEW_SECONDS and reach > MANY_TRIALS * between):
        every = f", around trials {between:.3g} s apart" if np.isfinite(between) else ""
        msg = f"bin_edges are seconds from stimulus onset; these span {reach:g} s{every}. Are they milliseconds?"
        warnings.warn(msg, UserWarning, stacklevel=stacklevel)


def warn_of_windows_outside(
    begins: Floats,
    ends: Floats,
    presentations: pd.DataFrame,
    spikes: Callable[[], tuple[float, float] | None],
    stacklevel: int = 3,
) -> None:
    """Warn once, with numbers, of windows before a session's first or after its last spike: their rates are 0.

    `spikes` tells their times (s), and is asked only about windows outside the session's presentations.
    """
    first = float(presentations["start_time"].min()) if len(presentations) else np.inf
    last = float(presentations["stop_time"].max()) if len(presentations) else -np.inf
    if not np.any((ends <= first) | (begins > last)):
        return
    span = spikes()
    if span is None:
        return
    first, last = min(first, span[0]), max(last, span[1])
    n = int(np.count_nonzero((ends <= first) | (begins > last)))
    if n:
        msg = (
            f"{n} of {len(begins)} time windows lie outside the recording ({first:.6g} to {last:.6g} s, from its first "
            "to its last spike or presentation): nothing was recorded there, and their counts are 0. Times are "
            "seconds on the session's clock"
        )
        warnings.warn(msg, UserWarning, stacklevel=stacklevel)


def checked_edges(bin_edges: ArrayLike) -> Floats:
    """Return bin edges as float64.

    Raises
    ------
    InvalidValueError
        Unless they are two or more finite numbers in strictly ascending order.
    """
    refuse_swapped(bin_edges)
    edges = np.asarray(bin_edges)
    if edges.ndim != 1 or len(edges) < 2 or edges.dtype.kind not in "iuf":
        msg = f"bin_edges must be two or more numbers (seconds from stimulus onset); got {bin_edges!r}"
        raise InvalidValueError(msg)
    edges = edges.astype(np.float64)
    if not np.all(np.isfinite(edges)):
        msg = f"bin_edges must be finite; edges {np.flatnonzero(~np.isfinite(edges)).tolist()[:5]} are not"
        raise InvalidValueError(msg)
    wrong = np.flatnonzero(np.diff(edges) <= 0)
    if len(wrong):
        at = int(wrong[0])
        msg = (
            f"bin_edges must ascend; {len(wrong)} of them do not: edge {at + 1} is {edges[at + 1]:g}, "
            f"after {edges[at]:g}. Sort them with numpy.unique"
        )
        raise InvalidValueError(msg)
    return edges


def time_domain(starts: Floats, edges: Floats, callback: Callable[[Any], Any] | None) -> Floats:
    """Return the bin edges of each presentation on the session clock: exactly ``start + edges``, then `callback`.

    Returns
    -------
    ndarray of float64, shape (n_presentations, n_edges)

    Raises
    ------
    InvalidValueError
        If the callback returns another shape, or edges that are not finite or descend.
    """
    domain = starts[:, None] + edges
    if callback is None:
        return domain
    changed = np.asarray(callback(domain), dtype=np.float64)
    if changed.shape != domain.shape:
        msg = f"time_domain_callback must keep the shape {domain.shape}; it returned {changed.shape}"
        raise InvalidValueError(msg)
    wrong = ~np.all(np.isfinite(changed), axis=1) | np.any(np.diff(changed, axis=1) < 0, axis=1)
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        msg = (
            f"time_domain_callback returned edges that descend or are not finite for {int(wrong.sum())} of "
            f"{len(wrong)} presentations, first for the one at position {at}"
        )
        raise InvalidValueError(msg)
    return np.ascontiguousarray(changed)


def warn_of_overlap(begins: Floats, ends: Floats) -> None:
    """Warn once, with numbers, where windows overlap: a spike in the overlap counts for each of them."""
    order = np.argsort(begins, kind="stable")
    before = np.maximum.accumulate(ends[order])[:-1] if len(order) else np.empty(0)
    overlap = before - begins[order][1:]
    # Contiguous presentations share an edge that rounding puts a hair to either side.
    n = int(np.count_nonzero(overlap > 1e-9))
    if n:
        msg = (
            f"{n} of {len(begins)} time windows overlap the one before them, by up to {overlap.max():.6g} s: "
            "a spike in the overlap is counted in each"
        )
        warnings.warn(msg, UserWarning, stacklevel=4)


def spike_counts(
    spike_times: UnitSpikes,
    unit_ids: Integers,
    presentations: pd.DataFrame,
    bin_edges: ArrayLike,
    *,
    binarize: bool,
    dtype: Any,
    large_bin_size_threshold: float,
    time_domain_callback: Callable[[Any], Any] | None,
    compat: Compatibility,
    sparse: bool,
) -> xr.DataArray | SparseCounts:
    """Count spikes of units in bins around presentations (see :meth:`EcephysSession.presentationwise_spike_counts`)."""
    closed = is_compatible(compat)
    edges = checked_edges(bin_edges)
    width = float(np.diff(edges).max())
    if binarize and width > large_bin_size_threshold:
        msg = f"binarizing bins of up to {width:g} s, above {large_bin_size_threshold:g} s, loses spikes"
        warnings.warn(msg, UserWarning, stacklevel=3)
    domain = time_domain(presentations["start_time"].to_numpy(np.float64), edges, time_domain_callback)
    warn_of_overlap(domain[:, 0], domain[:, -1])
    ids, label = presentations.index.to_numpy(np.int64), str(presentations.index.name)
    centres = (edges[:-1] + edges[1:]) / 2
    ragged = spike_times.ragged(unit_ids)
    if sparse:
        if binarize or dtype is not None:
            msg = "sparse=True gives int32 counts; it goes with neither binarize nor dtype"
            raise InvalidValueError(msg)
        return SparseCounts(ids, centres, unit_ids, count_sparsely(ragged, domain, closed), label)
    kind = np.dtype(dtype if dtype is not None else np.uint8 if binarize else np.int32)
    counts = count_in_bins(ragged, domain, closed=closed, dtype=kind, binarize=binarize)
    return as_data_array(counts, ids, centres, unit_ids, label)


def presentation_spike_times(
    spike_times: UnitSpikes,
    unit_ids: Integers,
    presentations: pd.DataFrame,
    *,
    start_offset: float,
    stop_offset: float,
    compat: Compatibility,
) -> pd.DataFrame:
    """List spikes of units during presentations (see :meth:`EcephysSession.presentationwise_spike_times`)."""
    import pandas as pd

    open_left = is_compatible(compat)
    require_columns(presentations, "stop_time")
    starts = presentations["start_time"].to_numpy(np.float64)
    begins, ends = starts + start_offset, presentations["stop_time"].to_numpy(np.float64) + stop_offset
    if not np.all(begins <= ends):
        n = int(np.count_nonzero(~(begins <= ends)))
        msg = (
            f"{n} of {len(begins)} windows are empty: start_offset {start_offset:g} s and stop_offset "
            f"{stop_offset:g} s make them stop before they start"
        )
        raise InvalidValueError(msg)
    warn_of_overlap(begins, ends)
    time, window, unit, since = spikes_in_windows(
        spike_times.ragged(unit_ids),
        begins,
        ends,
        starts,
        presentations.index.to_numpy(np.int64),
        unit_ids,
        open_left,
    )
    return pd.DataFrame(
        {
            str(presentations.index.name): window,
            "unit_id": unit,
            "time_since_stimulus_presentation_onset": since,
        },
        index=pd.Index(time, name="spike_time", copy=False),
        copy=False,
    )


def condition_spike_statistics(
    spike_times: UnitSpikes,
    unit_ids: Integers,
    presentations: pd.DataFrame,
    *,
    use_rates: bool,
    compat: Compatibility,
) -> pd.DataFrame:
    """Summarise spike counts by condition (see :meth:`EcephysSession.conditionwise_spike_statistics`)."""
    open_left = is_compatible(compat)
    if CONDITION not in presentations:
        msg = (
            f"statistics by condition need trials with {CONDITION}: ids, the name of a stimulus, or rows of a stimulus "
            "table. A table of other moments goes to responses, psth (by=...) or the presentationwise_ calls"
        )
        raise InvalidTypeError(msg)
    require_columns(presentations, "stop_time")
    return condition_statistics(spike_times.ragged(unit_ids), unit_ids, presentations, use_rates, open_left)
