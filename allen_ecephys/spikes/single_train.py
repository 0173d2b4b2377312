"""What one unit's spikes tell by themselves: how they follow each other, and how they hold over the session.

NumPy alone: a look at one unit must not wait for numba to load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidValueError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Floats = np.ndarray[Any, np.dtype[np.float64]]
Integers = np.ndarray[Any, np.dtype[np.int64]]


def autocorrelogram(spike_times: ArrayLike, window: float = 0.05, bin_size: float = 0.001) -> tuple[Floats, Integers]:
    """Count the pairs of a unit's spikes by the time between them.

    Parameters
    ----------
    spike_times
        Times (s), ascending.
    window
        Longest time between two spikes (s).
    bin_size
        Width of a bin (s).

    Returns
    -------
    edges
        Borders of the bins (s), from 0 to the last whole bin within `window`.
    counts
        Pairs in each bin ``[edge, next edge)``, the earlier spike first; the other side is their mirror image. A spike
        is no pair with itself.

    Raises
    ------
    InvalidValueError
        If a width is not positive, or the window holds no bin.
    """
    n_bins = round(window / bin_size) if bin_size > 0 and np.isfinite(window) else 0
    if n_bins < 1:
        msg = f"the window ({window} s) must hold at least one bin, and a bin ({bin_size} s) must last; give both in s"
        raise InvalidValueError(msg)
    times = np.asarray(spike_times, dtype=np.float64)
    counts = np.zeros(n_bins, dtype=np.int64)
    first, lag = np.arange(max(len(times) - 1, 0)), 1
    while len(first):
        apart = times[first + lag] - times[first]
        near = apart < n_bins * bin_size
        counts += np.bincount((apart[near] / bin_size).astype(np.int64), minlength=n_bins)[:n_bins]
        first, lag = first[near], lag + 1  # whose next spike is too late has no later one in time
        first = first[first + lag < len(times)]
    edges: Floats = np.arange(n_bins + 1) * np.float64(bin_size)
    return edges, counts


def rate_over_time(spike_times: ArrayLike, edges: ArrayLike) -> Floats:
    """Return the firing rate (Hz) in bins ``[edge, next edge)`` (s)."""
    borders = np.asarray(edges, dtype=np.float64)
    return np.diff(np.searchsorted(np.asarray(spike_times), borders)) / np.diff(borders)


def amplitude_over_time(spike_times: ArrayLike, amplitudes: ArrayLike, edges: ArrayLike) -> tuple[Floats, Floats]:
    """Return the mean amplitude of the spikes in bins of time, and its standard deviation; NaN without spikes.

    Parameters
    ----------
    spike_times, amplitudes
        Times (s), ascending, and the amplitude of each spike; equally many.
    edges
        Ascending borders of the bins (s), half-open.

    Raises
    ------
    InvalidValueError
        If there are not as many amplitudes as spikes.
    """
    times, heights = np.asarray(spike_times, dtype=np.float64), np.asarray(amplitudes, dtype=np.float64)
    if times.shape != heights.shape:
        msg = f"each spike has an amplitude: there are {times.size:,} times and {heights.size:,} amplitudes"
        raise InvalidValueError(msg)
    borders = np.searchsorted(times, np.asarray(edges, dtype=np.float64))
    n = np.diff(borders)
    inside = heights[borders[0] : borders[-1]]
    in_bin = np.repeat(np.arange(len(n)), n)
    with np.errstate(invalid="ignore", divide="ignore"):  # a bin without spikes has no amplitude
        mean = np.bincount(in_bin, inside, len(n)) / n
        variance = np.bincount(in_bin, (inside - mean[in_bin]) ** 2, len(n)) / n
    return mean, np.sqrt(variance)
