"""Is a sample of numbers one heap or two? The test that ISO-SPLIT clustering asks of every pair of clusters.

Magland & Barnett (2015), "Unimodal clustering using isotonic regression: ISO-SPLIT", arXiv:1508.04841: the density of
the sorted numbers is estimated from their spacings, the closest density that rises and then falls is fitted by isotonic
regression, and the two distribution functions are compared as in a Kolmogorov-Smirnov test.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from allen_ecephys.errors import InvalidContentsError, NonFiniteError

# Spacings are pooled to 1/64 of the number of points between them and the nearer end, so that 20,000 points make about
# 800 intervals and a few points beside them are still seen one by one.
_POOLING = 64
# Fewest points of a window from either end in which the two distribution functions are compared.
_SMALLEST_WINDOW = 8
# The distance of n points is scaled by the root of n and this: without it a score of few points is below that of many
# from the same law (Stephens 1970 corrects the Kolmogorov-Smirnov statistic in the same way, by 0.12; a fitted
# distribution needs more: with 1 the 99 % quantiles of 20 to 20,000 normal or uniform numbers are 1.4 to 2.1).
_SMALL_SAMPLE = 1.0


def unimodality_dip(values: npt.ArrayLike) -> tuple[float, float]:
    """Measure how far numbers are from having a single mode, and where to cut them in two.

    The score is the largest distance between the empirical distribution function and that of the unimodal fit, times
    the root of the number of points, over windows of all points and of the first and last half, quarter, ... of them:
    so a small heap beside a large one counts as much as it would with a neighbour of its own size.

    Parameters
    ----------
    values
        (n,) numbers in any order.

    Returns
    -------
    score
        0 for fewer than 4 numbers or identical ones; above about 2 the numbers have two modes.
    cut
        Where the density is lowest against the unimodal fit; the smallest number where there is nothing to cut, NaN
        without any.

    Raises
    ------
    InvalidContentsError
        If `values` has not one dimension.
    NonFiniteError
        If one of them is NaN or infinite.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        msg = f"values has {array.ndim} dimensions; the test takes one row of numbers"
        raise InvalidContentsError(msg)
    if not np.isfinite(array).all():
        msg = f"{int((~np.isfinite(array)).sum())} of {len(array)} values are NaN or infinite; remove them first"
        raise NonFiniteError(msg)
    score, cut = dip_of_sorted(np.sort(array))
    return float(score), float(cut)


@njit(cache=True, nogil=True)
def dip_of_sorted(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Score and cut point of ascending finite numbers; see `unimodality_dip`."""
    n = len(values)
    if n == 0:
        return 0.0, np.nan
    extent = values[n - 1] - values[0]
    if n < 4 or not extent > 0:
        return 0.0, values[0]
    edges = _pooled_edges(n)
    n_bins = len(edges) - 1
    counts = np.empty(n_bins)
    widths = np.empty(n_bins)
    for i in range(n_bins):
        counts[i] = edges[i + 1] - edges[i]
        # Repeated numbers have no space between them; a density must stay finite.
        widths[i] = max(values[edges[i + 1]] - values[edges[i]], 1e-9 * extent)
    log_density = _log_density(counts, widths)
    fit = fit_unimodal(log_density, counts)
    top = fit.max()
    mass = np.empty(n_bins)
    for i in range(n_bins):
        mass[i] = math.exp(fit[i] - top) * widths[i]
    score, first, last = _largest_distance(counts, mass)
    residual = np.empty(last - first)
    for i in range(first, last):
        residual[i - first] = fit[i] - log_density[i]
    peak = fit_unimodal(residual, counts[first:last])
    low = int(np.argmax(peak))
    high = low
    while high + 1 < len(peak) and peak[high + 1] == peak[low]:
        high += 1
    return score, 0.5 * (values[edges[first + low]] + values[edges[first + high + 1]])


@njit(cache=True, nogil=True)
def _pooled_edges(n: int) -> Any:
    """Choose the sorted points that bound the intervals: every one near the ends, ever fewer inwards."""
    edges = np.empty(n, dtype=np.int64)
    half = n // 2
    count = 0
    at = 0
    while at < half:
        edges[count] = at
        count += 1
        at += max(1, at // _POOLING)
    n_left = count
    for i in range(n_left):
        mirrored = n - 1 - edges[n_left - 1 - i]
        if mirrored > edges[count - 1]:
            edges[count] = mirrored
            count += 1
    return edges[:count]


@njit(cache=True, nogil=True)
def _log_density(counts: npt.NDArray[np.float64], widths: npt.NDArray[np.float64]) -> Any:
    """Log of the density in each bin, without bias whatever its count."""
    n_bins = len(counts)
    log_density = np.empty(n_bins)
    for i in range(n_bins):
        k = counts[i]
        first, last = max(i - 1, 0), min(i + 1, n_bins - 1)
        nearby = 0.0
        for j in range(first, last + 1):
            nearby += widths[j] / counts[j] / (last - first + 1)
        # Two numbers that happen to lie very near each other would draw the mode to them: the log of a spacing has a
        # long lower tail. Less than a tenth of the spacing around is taken as a tenth.
        width = max(widths[i], 0.1 * k * nearby)
        # digamma(k) is the mean log of a sum of k unit exponentials.
        log_density[i] = math.log(k) - 0.5 / k - 1 / (12 * k * k) - math.log(width)
    return log_density


@njit(cache=True, nogil=True)
def _largest_distance(counts: npt.NDArray[np.float64], mass: npt.NDArray[np.float64]) -> tuple[float, int, int]:
    """Scaled Kolmogorov-Smirnov distance of two histograms, and the window of bins [first, last) it was found in."""
    n_bins = len(counts)
    total = counts.sum()
    best, best_first, best_last = -1.0, 0, n_bins
    for from_right in range(2):
        share = total
        while share >= _SMALLEST_WINDOW:
            size = 0
            n = 0.0
            fitted = 0.0
            while size < n_bins and n < share:
                i = n_bins - 1 - size if from_right else size
                n += counts[i]
                fitted += mass[i]
                size += 1
            a, b, largest = 0.0, 0.0, 0.0
            for j in range(size):
                i = n_bins - 1 - j if from_right else j
                a += counts[i]
                b += mass[i]
                largest = max(largest, abs(a / n - b / fitted))
            score = largest * (math.sqrt(n) + _SMALL_SAMPLE)
            if score > best:
                best = score
                best_first = n_bins - size if from_right else 0
                best_last = n_bins if from_right else size
            share /= 2
    return max(best, 0.0), best_first, best_last


@njit(cache=True, nogil=True)
def fit_unimodal(values: npt.NDArray[np.float64], weights: npt.NDArray[np.float64]) -> Any:
    """Closest sequence (weighted least squares) that rises up to some place and falls after it."""
    n = len(values)
    fit = np.empty(n)
    rising = np.zeros(n + 1)
    falling = np.zeros(n + 1)
    _pool_adjacent(values, weights, n, False, fit, rising)
    _pool_adjacent(values, weights, n, True, fit, falling)
    split, least = 0, np.inf
    for p in range(n + 1):
        if rising[p] + falling[n - p] < least:
            split, least = p, rising[p] + falling[n - p]
    _pool_adjacent(values, weights, split, False, fit, rising)
    _pool_adjacent(values, weights, n - split, True, fit, falling)
    return fit


@njit(cache=True, nogil=True)
def _pool_adjacent(
    values: npt.NDArray[np.float64],
    weights: npt.NDArray[np.float64],
    stop: int,
    backwards: bool,
    fit: npt.NDArray[np.float64],
    errors: npt.NDArray[np.float64],
) -> None:
    """Rising isotonic regression of the first `stop` values (from the last if `backwards`), written to `fit`.

    ``errors[i]`` becomes the squared error of the regression of the first i of them.
    """
    n = len(values)
    mean = np.empty(stop)
    weight = np.empty(stop)
    size = np.empty(stop, dtype=np.int64)
    top = -1
    error = 0.0
    for i in range(stop):
        at = n - 1 - i if backwards else i
        top += 1
        mean[top], weight[top], size[top] = values[at], weights[at], 1
        while top > 0 and mean[top - 1] >= mean[top]:
            joint = weight[top - 1] + weight[top]
            step = mean[top - 1] - mean[top]
            error += weight[top - 1] * weight[top] / joint * step * step
            mean[top - 1] -= weight[top] / joint * step
            weight[top - 1] = joint
            size[top - 1] += size[top]
            top -= 1
        errors[i + 1] = error
    i = 0
    for block in range(top + 1):
        for _ in range(size[block]):
            fit[n - 1 - i if backwards else i] = mean[block]
            i += 1
