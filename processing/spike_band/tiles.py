"""Tiles of a few samples of all channels, one channel after the other: the layout in which neighbours are summed.

Recordings, and filters with a memory, have the channels of a sample side by side. A sum over neighbouring channels, or
over a channel's own samples, has the samples of a channel side by side instead, so that they fill the processor's
vector registers whatever channels are summed. Between the two, 16 channels go at a time: a cache line of each row.
"""

from __future__ import annotations

from typing import Final

import numba
import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]

#: Samples of a tile.
TILE_ROWS: Final = 64
#: Channels that are moved at a time.
SQUARE: Final = 16


@numba.njit(cache=True, nogil=True)
def spread(samples: Float32, first: int, columns: Float32) -> None:
    """Write samples (n, n_channels) from `first` on to `columns` (n_channels, m); those that do not exist are 0."""
    start, stop = min(max(-first, 0), columns.shape[1]), min(max(samples.shape[0] - first, 0), columns.shape[1])
    columns[:, :start] = 0
    columns[:, stop:] = 0
    for a in range(0, columns.shape[0], SQUARE):
        b = min(a + SQUARE, columns.shape[0])
        for t in range(start, stop):
            row = samples[first + t]
            for c in range(a, b):
                columns[c, t] = row[c]


@numba.njit(cache=True, nogil=True)
def gather(columns: Float32, out: Float32) -> None:
    """Write the first samples of `columns` (n_channels, m) to `out` (n, n_channels)."""
    for a in range(0, out.shape[1], SQUARE):
        b = min(a + SQUARE, out.shape[1])
        for t in range(out.shape[0]):
            row = out[t]
            for c in range(a, b):
                row[c] = columns[c, t]


@numba.njit(cache=True, nogil=True)
def whole_eights(taps: Float32) -> Float32:
    """Return filters (n_taps, n_channels) with zeros after them, so that there are a multiple of eight."""
    padded = np.zeros((-(-taps.shape[0] // 8) * 8, taps.shape[1]), np.float32)
    padded[: taps.shape[0]] = taps
    return padded


@numba.njit(cache=True, nogil=True)
def filter_columns(columns: Float32, taps: Float32, out: Float32) -> None:
    """Write ``out[c, t] = sum over k of taps[k, c] * columns[c, t + k]``, summed in the order of `k`, eight at a time.

    Parameters
    ----------
    columns
        float32 (n_channels, n + n_taps - 1) or more.
    taps
        float32 (n_taps, n_channels), from :func:`whole_eights`.
    out
        float32 (n_channels, n).
    """
    n = out.shape[1]
    for c in range(out.shape[0]):
        total = out[c]
        total[:] = 0
        for k in range(0, taps.shape[0], 8):
            w0, w1, w2, w3 = taps[k, c], taps[k + 1, c], taps[k + 2, c], taps[k + 3, c]
            w4, w5, w6, w7 = taps[k + 4, c], taps[k + 5, c], taps[k + 6, c], taps[k + 7, c]
            x = columns[c, k : k + n + 7]
            for t in range(n):
                s = total[t] + w0 * x[t] + w1 * x[t + 1] + w2 * x[t + 2] + w3 * x[t + 3]
                total[t] = s + w4 * x[t + 4] + w5 * x[t + 5] + w6 * x[t + 6] + w7 * x[t + 7]


@numba.njit(cache=True, nogil=True)
def add_rows(samples: Float32, first: int, taps: Float32, out: Float32) -> None:
    """Add to ``out[c]`` the sum over k of ``taps[k, c] * samples[first + k, c]``, in the order of `k`, four at a time.

    For sums over a few samples that are wanted side by side in channels: nothing has to be moved.
    """
    whole = taps.shape[0] - taps.shape[0] % 4
    for k in range(0, whole, 4):
        x0, x1, x2, x3 = samples[first + k], samples[first + k + 1], samples[first + k + 2], samples[first + k + 3]
        w0, w1, w2, w3 = taps[k], taps[k + 1], taps[k + 2], taps[k + 3]
        for c in range(out.shape[0]):
            out[c] = out[c] + w0[c] * x0[c] + w1[c] * x1[c] + w2[c] * x2[c] + w3[c] * x3[c]
    for k in range(whole, taps.shape[0]):
        w, x = taps[k], samples[first + k]
        for c in range(out.shape[0]):
            out[c] += w[c] * x[c]


@numba.njit(cache=True, nogil=True)
def sum_neighbors(columns: Float32, neighbors: Int64, weights: Float32, sums: Float32) -> None:
    """Write to ``sums[j]`` the weighted sum of the rows ``columns[neighbors[j]]``, four rows at a time."""
    for j in range(neighbors.shape[0]):
        total = sums[j]
        total[:] = 0
        for k in range(0, neighbors.shape[1], 4):
            w0, w1, w2, w3 = weights[j, k], weights[j, k + 1], weights[j, k + 2], weights[j, k + 3]
            a, b = columns[neighbors[j, k]], columns[neighbors[j, k + 1]]
            c, d = columns[neighbors[j, k + 2]], columns[neighbors[j, k + 3]]
            for t in range(TILE_ROWS):
                total[t] += w0 * a[t] + w1 * b[t] + w2 * c[t] + w3 * d[t]


@numba.njit(cache=True, nogil=True)
def to_int16(columns: Float32, out: npt.NDArray[np.int16]) -> int:
    """Round and saturate the first samples of `columns` into `out` (n, n_channels); return how many were clipped."""
    clipped, n = 0, out.shape[0]
    whole = np.empty((SQUARE, TILE_ROWS), np.int16)
    for a in range(0, out.shape[1], SQUARE):
        b = min(a + SQUARE, out.shape[1])
        for c in range(a, b):
            values, rounded = columns[c], whole[c - a]
            for t in range(n):
                value = np.rint(values[t])
                bounded = min(max(value, np.float32(-32768.0)), np.float32(32767.0))
                clipped += bounded != value
                rounded[t] = np.int16(bounded)
        for t in range(n):
            row = out[t]
            for c in range(a, b):
                row[c] = whole[c - a, t]
    return clipped
