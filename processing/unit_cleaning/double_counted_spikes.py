"""Remove spikes that template matching counted twice, within a unit and between neighbouring units.

Template-matching sorters fit what a first template left over with the same or a neighbouring template, a few samples
off. Uncorrected, the pairs show as refractory-period violations and as sharp zero-lag peaks of cross-correlograms.

Rules (those of the Allen pipeline, 2019-2020; see :func:`find_double_counted_spikes` for the differences to others):

* within a unit, of two spikes less than the window apart the *earlier* goes;
* between two units whose peaks are less than 50 um apart along a shank (five channels of a Neuropixels 1.0 probe), the
  *later* goes, whatever the amplitudes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from allen_ecephys.errors import GeometryError, SpikeTrainError

from ..shanks import ShankLines
from ..sorted_spikes import SortedSpikes

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

#: Gap (s) below which two spikes are one. At 30 kHz this is 4 samples, so that pairs up to 3 samples apart count.
OVERLAP_WINDOW = 0.000166
#: Units whose peaks lie nearer to each other than this (um) along a shank are compared.
PEAK_DISTANCE = 50.0


@dataclass(frozen=True, eq=False)
class DoubleCountedSpikes:
    """Which spikes to keep, and how many each unit and pair lost.

    Attributes
    ----------
    keep
        True for spikes that stay, bool, shape (n_spikes,), in the order of the spikes given.
    overlap
        Removed spikes, int64, shape (n_units, n_units), upper triangular, units in order of depth: within a unit on the
        diagonal, between two units above it. A spike removed because of two units is counted for both.
    unit_ids
        Units in the order of `overlap`'s rows: shank by shank from the tip up, then by id.

    Examples
    --------
    >>> from allen_ecephys.processing import SortedSpikes
    >>> spikes = SortedSpikes.from_arrays([100, 102, 5_000], [1, 2, 2])
    >>> found = find_double_counted_spikes(spikes, [0, 1], [[0.0, 0.0], [0.0, 20.0]])
    >>> found.keep, found.overlap.tolist()
    (array([ True, False,  True]), [[0, 1], [0, 0]])
    """

    keep: NDArray[np.bool_]
    overlap: NDArray[np.int64]
    unit_ids: NDArray[np.int64]


def find_double_counted_spikes(
    spikes: SortedSpikes,
    peak_channels: ArrayLike,
    geometry: ArrayLike,
    *,
    shanks: ArrayLike | None = None,
    sampling_rate: float = 30000.0,
    within_window: float = OVERLAP_WINDOW,
    between_window: float = OVERLAP_WINDOW,
    peak_distance: float = PEAK_DISTANCE,
) -> DoubleCountedSpikes:
    """Find spikes counted twice.

    Within-unit pairs are resolved first; every pair of units is then compared on what that left, and all removals
    happen at once. Each spike is judged by its predecessors only, so the cost grows with the number of spikes and not
    with the number of pairs.

    Parameters
    ----------
    spikes
        Spikes of one probe, in any order.
    peak_channels
        Channel (number on the probe) on which each unit is largest, shape (n_units,), in the order of
        ``spikes.unit_ids``.
    geometry
        Position (um) of every channel of the probe, shape (n_channels, 2).
    shanks
        Shank of each channel, shape (n_channels,); told by position by default.
    sampling_rate
        Samples per second.
    within_window, between_window
        Windows (s); converted to whole samples by truncation, and a pair counts if its gap is smaller. Between units
        only a spike of the *other* unit counts as predecessor, which matters where `between_window` is the longer one.
    peak_distance
        um; units are compared if their peaks are on one shank and nearer to each other than this.

    Notes
    -----
    SpikeInterface's ``remove_duplicated_spikes`` works within units only, with 0.3 ms, and keeps the first spike;
    Kilosort 2's optional step compares templates within 100 um and keeps the larger template.

    Examples
    --------
    >>> spikes, band = recorded.sorted_spikes(), bands.spike_band
    >>> peaks = recorded.units["peak_channel"].to_numpy()
    >>> found = find_double_counted_spikes(spikes, peaks, band.geometry)
    >>> found.keep.mean() > 0.9
    np.True_
    """
    peaks = np.asarray(peak_channels)
    if peaks.shape != (spikes.n_units,):
        msg = f"{spikes.n_units} units but peak channels of shape {peaks.shape}: give one channel for each unit"
        raise SpikeTrainError(msg)
    lines = ShankLines.of(geometry, shanks)
    if len(peaks) and not (np.min(peaks) >= 0 and np.max(peaks) < len(lines.places)):
        msg = f"peak channels {np.min(peaks)} to {np.max(peaks)} are not all in the geometry of {len(lines.places)}"
        raise GeometryError(msg)
    peaks = peaks.astype(np.int64)
    place_in_order = np.argsort(lines.order)
    depth_order = np.lexsort((spikes.unit_ids, place_in_order[peaks])).astype(np.int64)
    rank = np.empty_like(depth_order)
    rank[depth_order] = np.arange(depth_order.size)
    spike_rank = rank[spikes.unit_index]
    # Equal times count in order of depth, as when the trains of two units are merged shallow-index first.
    order = np.lexsort((spike_rank, spikes.samples)).astype(np.int64)
    times, ranks = spikes.samples[order], spike_rank[order]
    kept, overlap = _mark(
        times,
        ranks,
        lines.places[peaks[depth_order]],
        lines.shanks[peaks[depth_order]],
        window_in_samples(within_window, sampling_rate),
        window_in_samples(between_window, sampling_rate),
        float(peak_distance) - 1e-6,
    )
    keep = np.empty(len(spikes), dtype=bool)
    keep[order] = kept
    return DoubleCountedSpikes(keep, overlap, spikes.unit_ids[depth_order])


def window_in_samples(window: float, sampling_rate: float) -> int:
    """Return a window (s) in whole samples, truncated as the original does: 0.000166 s at 30 kHz are 4."""
    return int(window * sampling_rate)


def within_unit_duplicates(times: ArrayLike, window: int) -> NDArray[np.int64]:
    """Return the indices to remove from one unit's ascending spike times (samples).

    A spike goes if the next one follows by less than `window` samples: the earlier of each close pair.
    """
    return np.flatnonzero(np.diff(np.asarray(times, dtype=np.int64)) < window)


def between_unit_duplicates(
    first: ArrayLike, second: ArrayLike, window: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the indices to remove from two units' ascending spike times (samples).

    In the merged train (equal times: first unit first) a spike goes if it follows its predecessor by less than
    `window` samples: the later of each close pair. :func:`find_double_counted_spikes` gives the same for all pairs.
    """
    one, two = np.asarray(first, dtype=np.int64), np.asarray(second, dtype=np.int64)
    merged = np.concatenate((one, two))
    order = np.argsort(merged, kind="stable")
    removed = order[1:][np.diff(merged[order]) < window]
    return np.sort(removed[removed < one.size]), np.sort(removed[removed >= one.size]) - one.size


@njit(cache=True, nogil=True)
def _mark(
    times: NDArray[np.int64],
    ranks: NDArray[np.int64],
    places: NDArray[np.float64],
    shanks: NDArray[np.int64],
    within: int,
    between: int,
    distance: float,
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Mark spikes to keep. `times` ascend; `ranks` index units in order of depth; places and shanks are per rank."""
    n, n_units = times.size, places.size
    overlap = np.zeros((n_units, n_units), dtype=np.int64)
    single = np.ones(n, dtype=np.bool_)
    last = np.full(n_units, -1, dtype=np.int64)
    for i in range(n):
        unit = ranks[i]
        previous = last[unit]
        if previous >= 0 and times[i] - times[previous] < within:
            single[previous] = False
            overlap[unit, unit] += 1
        last[unit] = i
    keep = single.copy()
    for i in range(n):
        if not single[i]:
            continue
        unit = ranks[i]
        j = i - 1
        while j >= 0 and times[i] - times[j] < between:
            other = ranks[j]
            near = shanks[other] == shanks[unit] and abs(places[other] - places[unit]) < distance
            if single[j] and other != unit and near:
                if _latest_of_its_unit(ranks, single, j, i):
                    overlap[min(unit, other), max(unit, other)] += 1
                keep[i] = False
            j -= 1
    return keep, overlap


@njit(cache=True, nogil=True)
def _latest_of_its_unit(ranks: NDArray[np.int64], single: NDArray[np.bool_], j: int, i: int) -> bool:
    """Tell whether `j` is the latest spike of its unit before `i`, so that a spike counts once for a pair."""
    for k in range(j + 1, i):  # noqa: SIM110 - numba compiles no generator
        if single[k] and ranks[k] == ranks[j]:
            return False
    return True
