"""Local whitening: each channel is decorrelated from its 32 nearest neighbours and scaled to a common noise level.

As in Kilosort 2: with the covariance ``C = E D E'`` of a channel and its neighbours, the channel's weights are its
column of ``E diag((D + epsilon)^-1/2) E'``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numba
import numpy as np
import numpy.typing as npt

from ..shanks import shanks_by_position
from .tiles import sum_neighbors, to_int16

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]

N_NEIGHBORS: Final = 32
#: SD of the noise after whitening, in counts.
SCALE: Final = 200.0
#: Added to the variances (counts squared) before the inverse root: nothing in practice, but finite weights in a
#: direction without any signal.
EPSILON: Final = 1e-6
ROWS: Final = 256


@dataclass(frozen=True)
class LocalWeights:
    """A whitening matrix by its nonzero entries: each channel is a weighted sum of its neighbours.

    Attributes
    ----------
    neighbors
        int64 (n_channels, n): the channels that are summed, `n` a multiple of four.
    weights
        float32 (n_channels, n): their weights; zero for channels that are not good, and where there are fewer than `n`.
    """

    neighbors: Int64
    weights: Float32

    def dense(self) -> Float32:
        """Return the whole matrix, float32 (in, out): ``out = in @ matrix``."""
        n_channels = len(self.weights)
        matrix = np.zeros((n_channels, n_channels), np.float32)
        np.add.at(matrix, (self.neighbors, np.arange(n_channels)[:, None]), self.weights)
        return matrix


def depth_order(geometry: npt.NDArray[np.float64]) -> Int64:
    """Return channels in the order along the probe, which keeps neighbours close to each other.

    Shanks (told by position) one after the other, each from the tip up; a row keeps its channels' order.
    """
    shank = shanks_by_position(geometry)
    return np.lexsort((np.arange(len(geometry)), geometry[:, 1], shank)).astype(np.int64)


def nearest_channels(
    geometry: npt.NDArray[np.float64], good: npt.NDArray[np.bool_], n: int = N_NEIGHBORS
) -> list[Int64]:
    """Return, for each channel, its nearest good channels (itself first); empty for channels that are not good.

    Of channels equally far away the lowest is taken first, then the leftmost, whatever their numbers.
    """
    candidates = np.flatnonzero(good)
    neighbors = []
    for channel in range(len(geometry)):
        if not good[channel]:
            neighbors.append(np.empty(0, np.int64))
            continue
        distance = np.hypot(*(geometry[candidates] - geometry[channel]).T)
        distance[candidates == channel] = -1.0
        # Rounded: what is equal by symmetry need not be to the last bit.
        order = np.lexsort((*geometry[candidates].T, np.round(distance, 6)))
        neighbors.append(candidates[order[:n]].astype(np.int64))
    return neighbors


def local_weights(
    covariance: npt.NDArray[np.float64],
    geometry: npt.NDArray[np.float64],
    good: npt.NDArray[np.bool_],
    *,
    n_neighbors: int = N_NEIGHBORS,
    scale: float = SCALE,
    epsilon: float = EPSILON,
) -> LocalWeights:
    """Return the local whitening of channels with this covariance, to a noise SD of `scale`.

    Channels that are not good are neither used nor written: their weights are zero.

    Parameters
    ----------
    covariance
        float64 (n_channels, n_channels), counts squared; entries further apart than a neighbourhood are not used.
    epsilon
        Counts squared, added to the variances along the axes of each neighbourhood.
    """
    n_channels = len(geometry)
    width = -(-min(n_neighbors, max(int(good.sum()), 1)) // 4) * 4
    neighbors = np.repeat(np.arange(n_channels, dtype=np.int64)[:, None], width, axis=1)
    weights = np.zeros((n_channels, width), np.float32)
    for channel, near in enumerate(nearest_channels(geometry, good, n_neighbors)):
        if not len(near):
            continue
        values, vectors = np.linalg.eigh(covariance[np.ix_(near, near)])
        # A covariance has no negative eigenvalues; rounding makes some of a flat direction.
        inverse_root = 1.0 / np.sqrt(np.maximum(values, 0.0) + epsilon)
        neighbors[channel, : len(near)] = near
        weights[channel, : len(near)] = scale * (vectors * inverse_root) @ vectors[0]
    return LocalWeights(neighbors, weights)


@numba.njit(cache=True, nogil=True)
def add_products(samples: Float32, sums: npt.NDArray[np.float64]) -> None:
    """Add sum over t of ``x[t, i] * x[t, i + d]`` to ``sums[d, i]``; `samples` ends with ``len(sums)`` zero columns.

    Products are added in float32 over 256 samples, then in float64.
    """
    n_channels = sums.shape[1]
    part = np.empty(n_channels, np.float32)
    for start in range(0, samples.shape[0], ROWS):
        stop = min(start + ROWS, samples.shape[0])
        for d in range(sums.shape[0]):
            part[:] = 0
            for t in range(start, stop):
                row, shifted = samples[t, :n_channels], samples[t, d : d + n_channels]
                for i in range(n_channels):
                    part[i] += row[i] * shifted[i]
            for i in range(n_channels):
                sums[d, i] += part[i]


def covariance_band(
    blocks: Iterable[Float32], geometry: npt.NDArray[np.float64], good: npt.NDArray[np.bool_], n_neighbors: int
) -> npt.NDArray[np.float64]:
    """Return the mean of ``x' x`` over all samples, float64 (n_channels, n_channels), as far as neighbourhoods reach.

    Parameters
    ----------
    blocks
        Filtered samples, float32 (n_samples, n_channels) each.
    """
    order = depth_order(geometry)
    place = np.argsort(order)
    places = [place[near] for near in nearest_channels(geometry, good, n_neighbors) if len(near)]
    reach = max((int(np.ptp(p)) for p in places), default=0)
    sums = np.zeros((reach + 1, len(order)))
    n_samples = 0
    for block in blocks:
        padded = np.zeros((len(block), len(order) + reach), np.float32)
        padded[:, : len(order)] = block[:, order]
        add_products(padded, sums)
        n_samples += len(block)
    covariance = np.zeros((len(order), len(order)))
    for shift, diagonal in enumerate(sums):
        i = np.arange(len(order) - shift)
        covariance[order[i], order[i + shift]] = covariance[order[i + shift], order[i]] = diagonal[i] / max(
            n_samples, 1
        )
    return covariance


@numba.njit(cache=True, nogil=True)
def whiten_tile(
    columns: Float32,
    neighbors: Int64,
    weights: Float32,
    turn_neighbors: Int64,
    turn_weights: Float32,
    sums: Float32,
    turned: Float32,
    out: npt.NDArray[np.int16],
) -> int:
    """Write at most `TILE_ROWS` whitened samples as int16, saturating; return how many values were clipped.

    With `turn_neighbors` (n_out, n), what is written are weighted sums of the whitened channels. `columns`
    (n_channels, TILE_ROWS) are the samples (:mod:`.tiles`); `sums` and `turned` (n_out, TILE_ROWS) are working space.
    """
    sum_neighbors(columns, neighbors, weights, sums)
    if not turn_neighbors.shape[0]:
        return to_int16(sums, out)
    sum_neighbors(sums, turn_neighbors, turn_weights, turned)
    return to_int16(turned, out)
