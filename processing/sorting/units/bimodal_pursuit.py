"""The direction along which points are most clearly two Gaussians, in time order and free of drift.

All sums are made in one order, so that the bytes do not depend on the number of threads of any library.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from ..clusters.principal_subspace import REACH, clipped_scatter, leading_subspace

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Singles = NDArray[np.float32]
    Integers = NDArray[np.int64]

#: SD of the running average, in spikes, and the least number of SDs in all spikes; blocks in an SD.
DRIFT_SPIKES, FEWEST_SPREADS, BLOCKS = 250, 5, 10
#: Rounds of expectation-maximisation, and the first that moves the direction.
ROUNDS, FIRST_UPDATE = 50, 11
#: Orthogonal iteration: rounds, and axes kept beside those wanted, which makes these converge.
ITERATIONS, SPARE_AXES = 12, 4


class RunningAverage:
    """Gaussian running average of points over time, known at some places and interpolated between them."""

    def __init__(self, centres: Floats, values: Floats, places: Integers) -> None:
        self.centres, self.values, self.places = centres, values, places

    @classmethod
    def over(cls, points: Singles, places: Integers) -> RunningAverage:
        """Average points (n, d) that stand at ascending `places` (n,) of a longer series.

        The SD is 250 points, or a fifth of them; averages are made of blocks of a tenth of an SD.
        """
        n = len(points)
        spread = min(float(DRIFT_SPIKES), n / FEWEST_SPREADS)
        n_blocks = max(1, round(BLOCKS * n / spread))
        edges = np.arange(n_blocks + 1) * n // n_blocks
        edges = np.unique(edges)
        middles = (edges[:-1] + edges[1:] - 1) / 2
        values = _smoothed(points, edges, middles, spread)
        return cls(np.interp(middles, np.arange(n), places), values, places)

    def removed_from(self, points: Singles) -> Singles:
        """Return the averaged points less their average."""
        if len(self.centres) == 1:
            return np.asarray(points - self.values[0].astype(np.float32))
        after = np.clip(np.searchsorted(self.centres, self.places), 1, len(self.centres) - 1)
        left, right = self.centres[after - 1], self.centres[after]
        share = np.clip((self.places - left) / (right - left), 0.0, 1.0)
        return _less(points, self.values, after, share)

    def along(self, direction: Floats, n: int) -> Floats:
        """Return the average's projection on a direction at all n places of the series."""
        return np.interp(np.arange(n), self.centres, project(self.values, direction))


def leading_axes(points: Singles, n: int) -> Floats:
    """Return up to n directions (d, n) in which points about zero vary most, the largest first.

    Orthogonal iteration and a Rayleigh-Ritz step on the scatter of points, far ones drawn in (to 1.5 times the median
    distance), so that overlapped spikes do not take a direction each. Directions without variance are left out.
    """
    distances = np.sqrt(np.einsum("ij,ij->i", points, points, dtype=np.float64))
    lower = clipped_scatter(
        points, np.zeros(points.shape[1], np.float32), distances, REACH * float(np.median(distances))
    )
    scatter = lower + np.tril(lower, -1).T
    start = np.random.default_rng(0).standard_normal((len(scatter), min(n + SPARE_AXES, len(scatter))))
    axes = leading_subspace(lower, start, ITERATIONS)
    values, rotation = np.linalg.eigh(axes.T @ scatter @ axes)
    varying = int(np.count_nonzero(values > 1e-6 * max(float(values[-1]), 0.0)))
    return np.ascontiguousarray((axes @ rotation)[:, ::-1][:, : min(n, varying)])


def pursue(points: Floats, direction: Floats) -> tuple[Floats, Floats]:
    """Fit two Gaussians to projections of points, moving the direction so that it tells them apart.

    Returns the direction, of norm 1, and the mixture: means, variances and weight of the first Gaussian.
    """
    projected = project(points, direction)
    likely = (projected > projected.mean()).astype(np.float64)
    mixture = _mixture(projected, likely)
    for k in range(1, ROUNDS + 1):
        expect(projected, mixture, likely)
        mixture = _mixture(projected, likely)
        if k >= FIRST_UPDATE and k % 2 == 1:
            scatter, moment = _weighted_sums(points, likely, mixture)
            moved = np.linalg.solve(scatter, moment)
            direction = moved / np.linalg.norm(moved)
            projected = project(points, direction)
    return direction, mixture


@njit(cache=True, nogil=True)
def expect(values: Floats, mixture: Floats, likely: Floats) -> None:
    """Write the probability of each value to be of the first Gaussian."""
    weight = min(max(mixture[4], 1e-12), 1.0 - 1e-12)
    offset = math.log((1.0 - weight) / weight) + 0.5 * math.log(mixture[2] / mixture[3])
    one, two = 0.5 / mixture[2], 0.5 / mixture[3]
    for i in range(values.size):
        odds = offset + one * (values[i] - mixture[0]) ** 2 - two * (values[i] - mixture[1]) ** 2
        likely[i] = 1.0 / (1.0 + math.exp(min(max(odds, -700.0), 700.0)))


@njit(cache=True, nogil=True)
def _mixture(values: Floats, likely: Floats) -> Floats:
    """Return means, variances and the first's weight of two Gaussians, given each value's probability to be of it."""
    n, total, sum_all, sum_first = values.size, 0.0, 0.0, 0.0
    for i in range(n):
        total += likely[i]
        sum_all += values[i]
        sum_first += likely[i] * values[i]
    ones, rest = max(total, 1e-9), max(n - total, 1e-9)
    mean, first, second = sum_all / n, sum_first / ones, (sum_all - sum_first) / rest
    spread, spread_first, spread_second = 0.0, 0.0, 0.0
    for i in range(n):
        spread += (values[i] - mean) ** 2
        spread_first += likely[i] * (values[i] - first) ** 2
        spread_second += (1.0 - likely[i]) * (values[i] - second) ** 2
    least = 1e-6 * spread / n + 1e-300  # a Gaussian on a single value would draw all likelihood to it
    out = np.empty(5)
    out[0], out[1], out[4] = first, second, total / n
    out[2], out[3] = max(spread_first / ones, least), max(spread_second / rest, least)
    return out


@njit(cache=True, nogil=True)
def _weighted_sums(points: Floats, likely: Floats, mixture: Floats) -> tuple[Floats, Floats]:
    """Return S and m of the equation that the direction solves."""
    n, d = points.shape
    scatter, moment = np.zeros((d, d)), np.zeros(d)
    for i in range(n):
        one, two = likely[i] / mixture[2], (1.0 - likely[i]) / mixture[3]
        pull = one * mixture[0] + two * mixture[1]
        for a in range(d):
            value = (one + two) * points[i, a]
            moment[a] += pull * points[i, a]
            for b in range(a + 1):
                scatter[a, b] += value * points[i, b]
    for a in range(d):
        for b in range(a):
            scatter[b, a] = scatter[a, b]
    return scatter, moment


@njit(cache=True, nogil=True)
def project(points: NDArray[Any], direction: Floats) -> Floats:
    """Return the projection of each point on a direction."""
    n, d = points.shape
    out = np.empty(n)
    for i in range(n):
        total = 0.0
        for a in range(d):
            total += points[i, a] * direction[a]
        out[i] = total
    return out


@njit(cache=True, nogil=True)
def project_on(points: Singles, axes: Floats) -> Floats:
    """Return coordinates (n, k) of points (n, d) on some axes (d, k)."""
    n, d = points.shape
    out = np.zeros((n, axes.shape[1]))
    for i in range(n):
        for a in range(d):
            value = float(points[i, a])
            for k in range(axes.shape[1]):
                out[i, k] += value * axes[a, k]
    return out


@njit(cache=True, nogil=True)
def _smoothed(points: Singles, edges: Integers, middles: Floats, spread: float) -> Floats:
    """Return the Gaussian average (n_blocks, d) of points in blocks between edges."""
    n_blocks, d = middles.size, points.shape[1]
    sums = np.zeros((n_blocks, d))
    for block in range(n_blocks):
        for i in range(edges[block], edges[block + 1]):
            for a in range(d):
                sums[block, a] += points[i, a]
    out = np.zeros((n_blocks, d))
    for block in range(n_blocks):
        total = 0.0
        for other in range(n_blocks):
            far = (middles[other] - middles[block]) / spread
            if abs(far) > 5.0:
                continue
            weight = math.exp(-0.5 * far * far)
            total += weight * (edges[other + 1] - edges[other])
            for a in range(d):
                out[block, a] += weight * sums[other, a]
        for a in range(d):
            out[block, a] /= total
    return out


@njit(cache=True, nogil=True)
def _less(points: Singles, values: Floats, after: Integers, share: Floats) -> Singles:
    """Return points less values, interpolated between those before and after each."""
    out = np.empty_like(points)
    for i in range(len(points)):
        for a in range(points.shape[1]):
            between = values[after[i] - 1, a] * (1.0 - share[i]) + values[after[i], a] * share[i]
            out[i, a] = points[i, a] - between
    return out
