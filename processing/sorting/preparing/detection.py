"""Spikes before there are templates: local maxima, in time and over neighbouring channels, of the waveform energy.

The energy of a channel at a time is the sum of its squared projections on the first components (three; a chi-square
variable in noise). Unlike a threshold on the samples it sees spikes of either sign and of any shape.
"""

from __future__ import annotations

from typing import Final

import numba
import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]

#: Components whose energy is a spike's.
ENERGY_COMPONENTS: Final = 3


def channels_within(positions: npt.NDArray[np.float64], radius: float) -> Int64:
    """Return, for each channel, the channels within `radius` um, nearest first, padded with -1.

    Returns
    -------
    ndarray
        int64 (n_channels, largest number of neighbours); the first entry is the channel itself.
    """
    distance = np.hypot(*(positions[:, None] - positions[None]).transpose(2, 0, 1))
    np.fill_diagonal(distance, -1.0)
    order = np.argsort(distance, axis=1, kind="stable").astype(np.int64)
    near = np.take_along_axis(distance, order, axis=1) <= radius
    width = int(near.sum(axis=1).max(initial=1))
    neighbors: Int64 = np.where(near, order, -1)[:, :width]
    return np.ascontiguousarray(neighbors)


@numba.njit(cache=True, nogil=True)
def waveform_energy(projections: Float32, energy: Float32, start: int, stop: int) -> None:
    """Write the energy of one channel's samples ``[start, stop)``, from its projections (K, n_times)."""
    row = energy[start:stop]
    row[:] = 0
    for k in range(min(ENERGY_COMPONENTS, projections.shape[0])):
        p = projections[k, start:stop]
        for t in range(row.shape[0]):
            row[t] += p[t] * p[t]


@numba.njit(cache=True, nogil=True)
def is_peak(energy: Float32, neighbors: Int64, c: int, t: int, reach: int) -> bool:
    """Tell whether no energy within `reach` samples on the neighbouring channels is larger; ties go to the first."""
    value = energy[c, t]
    first, last = max(t - reach, 0), min(t + reach + 1, energy.shape[1])
    row = energy[c]
    for u in range(first, t):
        if row[u] >= value:
            return False
    for u in range(t + 1, last):
        if row[u] > value:
            return False
    for j in range(1, neighbors.shape[1]):
        other = neighbors[c, j]
        if other < 0:
            break
        row = energy[other]
        for u in range(first, last):
            if row[u] > value or (row[u] == value and (u < t or (u == t and other < c))):
                return False
    return True


@numba.njit(cache=True, nogil=True)
def find_peaks(
    energy: Float32, neighbors: Int64, threshold: float, reach: int, start: int, stop: int, out: Int64
) -> int:
    """List local maxima of the energy above `threshold` in samples ``[start, stop)``, channel by channel.

    Parameters
    ----------
    out
        int64 (n, 2): time and channel of each; what does not fit is not listed.

    Returns
    -------
    int
        Number of peaks.
    """
    n = 0
    for c in range(energy.shape[0]):
        row = energy[c]
        for t in range(start, stop):
            if row[t] > threshold and is_peak(energy, neighbors, c, t, reach):
                if n == len(out):
                    return n
                out[n, 0], out[n, 1] = t, c
                n += 1
    return n


def list_peaks(energy: Float32, neighbors: Int64, threshold: float, reach: int, start: int, stop: int) -> Int64:
    """Return time and channel of all peaks that :func:`find_peaks` lists, int64 (n, 2)."""
    found = np.empty((most_peaks(energy.shape[0], stop - start, reach), 2), np.int64)
    return found[: find_peaks(energy, neighbors, threshold, reach, start, stop, found)]


def most_peaks(n_channels: int, n_times: int, reach: int) -> int:
    """Return how many local maxima there can be: no two of a channel lie within `reach` samples."""
    return n_channels * (max(n_times, 0) // (reach + 1) + 1)
