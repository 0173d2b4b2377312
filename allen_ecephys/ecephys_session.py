"""The session and what client code imports beside it, in a module of the name that it has in AllenSDK."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .session.session import EcephysSession
from .spikes.counting import count_in_bins
from .spikes.ragged import RaggedTimes
from .stimulus.conditions import NOT_OF_CONDITION
from .stimulus.epochs import without_unused

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike

__all__ = [
    "NON_STIMULUS_PARAMETERS",
    "EcephysSession",
    "array_intervals",
    "build_spike_histogram",
    "build_time_window_domain",
    "nan_intervals",
    "removed_unused_stimulus_presentation_columns",
]

#: Columns of a presentations table that are no parameters of a stimulus.
NON_STIMULUS_PARAMETERS = tuple(sorted(NOT_OF_CONDITION | {"stimulus_name"}))


def removed_unused_stimulus_presentation_columns(stimulus_presentations: pd.DataFrame) -> pd.DataFrame:
    """Return presentations without the columns in which every value is missing (or the text 'null').

    Parameters
    ----------
    stimulus_presentations
        Rows of ``session.stimulus_presentations``.

    Examples
    --------
    >>> table = pd.DataFrame({"orientation": [30.0, 60.0], "frame": [np.nan, np.nan]})
    >>> list(removed_unused_stimulus_presentation_columns(table))
    ['orientation']
    """
    return without_unused(stimulus_presentations)


def build_time_window_domain(
    bin_edges: ArrayLike, offsets: ArrayLike, callback: Callable[[np.ndarray[Any, Any]], ArrayLike] | None = None
) -> np.ndarray[Any, Any]:
    """Return the edges of bins around each of some moments, (moments, edges), in seconds.

    Parameters
    ----------
    bin_edges
        Edges from each moment (s).
    offsets
        The moments (s), such as start times of presentations.
    callback
        Takes the edges and returns those to use instead.
    """
    domain = np.asarray(offsets, dtype=np.float64)[:, None] + np.asarray(bin_edges, dtype=np.float64)
    return domain if callback is None else np.asarray(callback(domain))


def build_spike_histogram(
    time_domain: ArrayLike,
    spike_times: Mapping[int, ArrayLike],
    unit_ids: Iterable[int],
    dtype: DTypeLike | None = None,
    binarize: bool = False,
) -> np.ndarray[Any, Any]:
    """Return spike counts of units in bins, (presentations, bins, units), bins closed at both ends as in AllenSDK.

    Parameters
    ----------
    time_domain
        Edges (s) of the bins of each presentation, (presentations, edges): see :func:`build_time_window_domain`.
    spike_times
        Unit id -> its spike times (s), ascending.
    unit_ids
        Units, in the order wanted.
    dtype
        Of the counts; by default uint16, and uint8 if `binarize`. One that does not hold a count is an error.
    binarize
        Give 1 for one spike or more.

    Examples
    --------
    >>> build_spike_histogram([[1.0, 2.0, 3.0]], {7: [1.5, 2.0]}, [7])[0, :, 0].tolist()
    [2, 1]
    """
    edges = np.atleast_2d(np.asarray(time_domain, dtype=np.float64))
    trains = [np.sort(np.asarray(spike_times[unit], dtype=np.float64)) for unit in unit_ids]
    kind = np.dtype(dtype if dtype is not None else np.uint8 if binarize else np.uint16)
    counts = count_in_bins(RaggedTimes.from_arrays(trains), edges, binarize=binarize, dtype=kind, closed=True)
    return np.moveaxis(counts, 0, -1)


def nan_intervals(array: ArrayLike, nan_like: Iterable[Any] = ("null",)) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return where each run of equal values begins, and the length; missing values are equal to each other.

    Parameters
    ----------
    array
        Values.
    nan_like
        Further values that count as missing.

    Examples
    --------
    >>> nan_intervals([np.nan, np.nan, 4, 4, 4, 5, 5]).tolist()
    [0, 2, 5, 7]
    """
    values = pd.Series(np.asarray(array, dtype=object))
    codes = pd.factorize(values.where(~values.isin(list(nan_like)), np.nan))[0]
    return array_intervals(codes)


def array_intervals(array: ArrayLike) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return where each run of equal values begins, and the length.

    Examples
    --------
    >>> array_intervals([1, 1, 3]).tolist()
    [0, 2, 3]
    """
    values = np.asarray(array)
    changes = np.flatnonzero(values[1:] != values[:-1]) + 1
    return np.concatenate(([0], changes, [len(values)])).astype(np.int64)
