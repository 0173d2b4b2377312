"""The kernels of ISO-SPLIT clustering: many small parcels first, then pairs of them joined or cut anew.

Magland & Barnett (2015), "Unimodal clustering using isotonic regression: ISO-SPLIT", arXiv:1508.04841.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from .unimodality import dip_of_sorted

# A pair of clusters that are cut anew is compared again when either changes, this often at most.
_MOST_COMPARISONS = 8
# Means this many times the sum of both SDs apart are two clusters (halves of a uniform law are 1.7 apart).
_FAR = 4.0


@njit(cache=True, nogil=True)
def assign_nearest(
    points: npt.NDArray[np.float32], centroids: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]
) -> None:
    """Write the nearest centroid (the first of equals) of each point to `labels`."""
    n, d = points.shape
    k = len(centroids)
    columns = centroids.T.copy()
    distances = np.empty(k, dtype=np.float32)
    for i in range(n):
        distances[:] = 0
        for j in range(d):
            place = points[i, j]
            for c in range(k):
                step = place - columns[j, c]
                distances[c] += step * step
        labels[i] = np.argmin(distances)


@njit(cache=True, nogil=True)
def make_parcels(
    points: npt.NDArray[np.float32], draws: npt.NDArray[np.float64], labels: npt.NDArray[np.int64], n_rounds: int
) -> None:
    """Cluster by k-means from seeds drawn with probability proportional to the squared distance to earlier seeds."""
    n, d = points.shape
    k = len(draws)
    centroids = np.zeros((k, d), dtype=np.float32)
    distances = np.full(n, np.inf)
    chosen = min(int(draws[0] * n), n - 1)
    for c in range(k):
        centroids[c] = points[chosen]
        total = 0.0
        for i in range(n):
            distance = 0.0
            for j in range(d):
                step = points[i, j] - centroids[c, j]
                distance += step * step
            distances[i] = min(distances[i], distance)
            total += distances[i]
        if c + 1 < k:
            left = draws[c + 1] * total
            chosen = n - 1
            for i in range(n):
                left -= distances[i]
                if left < 0:
                    chosen = i
                    break
    assign_nearest(points, centroids, labels)
    for _ in range(n_rounds):
        sizes = np.zeros(k)
        sums = np.zeros((k, d))
        for i in range(n):
            sizes[labels[i]] += 1
            for j in range(d):
                sums[labels[i], j] += points[i, j]
        for c in range(k):
            if sizes[c] > 0:
                for j in range(d):
                    centroids[c, j] = sums[c, j] / sizes[c]
        assign_nearest(points, centroids, labels)


@njit(cache=True, nogil=True)
def settle(
    points: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], k: int, threshold: float, min_size: int
) -> None:
    """Compare pairs of nearest clusters, joining or cutting them anew in `labels`, until none changes."""
    n, d = points.shape
    size = np.zeros(k)
    mean = np.zeros((k, d))
    scatter = np.zeros((k, d, d))
    for c in range(k):
        _describe(points, labels, c, size, mean, scatter)
    # A pair is due if one of both changed after their last comparison.
    changed = np.ones(k, dtype=np.int64)
    compared = np.zeros((k, k), dtype=np.int64)
    times = np.zeros((k, k), dtype=np.int64)
    members = np.empty(n, dtype=np.int64)
    clock = 1
    while True:
        nearest = _nearest_due(size, mean, changed, compared, times)
        n_pairs = 0
        for a in range(k):
            b = nearest[a]
            if b <= a or nearest[b] != a:
                continue
            n_pairs += 1
            clock += 1
            times[a, b] += 1
            compared[a, b] = clock
            axis = discriminant_axis(size[a], mean[a], scatter[a], size[b], mean[b], scatter[b])
            small = min(size[a], size[b]) < min_size
            if not small and _far_apart(axis, size[a], mean[a], scatter[a], size[b], mean[b], scatter[b]):
                continue
            m = 0
            for i in range(n):
                if labels[i] == a or labels[i] == b:
                    members[m] = i
                    m += 1
            places = np.empty(m)
            for i in range(m):
                place = 0.0
                for j in range(d):
                    place += points[members[i], j] * axis[j]
                places[i] = place
            score, cut = dip_of_sorted(np.sort(places))
            joined = small or score < threshold
            moved = 0
            for i in range(m):
                label = a if joined or places[i] <= cut else b
                moved += labels[members[i]] != label
                labels[members[i]] = label
            if moved:
                _describe(points, labels, a, size, mean, scatter)
                _describe(points, labels, b, size, mean, scatter)
                changed[a] = changed[b] = clock
                if joined:
                    times[a, :] = 0
                    times[:, a] = 0
        if n_pairs == 0:
            return


@njit(cache=True, nogil=True)
def _far_apart(
    axis: npt.NDArray[np.float64],
    size_a: float,
    mean_a: npt.NDArray[np.float64],
    scatter_a: npt.NDArray[np.float64],
    size_b: float,
    mean_b: npt.NDArray[np.float64],
    scatter_b: npt.NDArray[np.float64],
) -> bool:
    """Tell whether the means lie so far apart along the axis that no test is needed."""
    d = len(axis)
    gap, spread_a, spread_b = 0.0, 0.0, 0.0
    for j in range(d):
        gap += (mean_b[j] - mean_a[j]) * axis[j]
        for h in range(j + 1):
            weight = axis[j] * axis[h] * (1.0 if h == j else 2.0)
            spread_a += weight * scatter_a[j, h]
            spread_b += weight * scatter_b[j, h]
    return gap > _FAR * (math.sqrt(max(spread_a, 0.0) / size_a) + math.sqrt(max(spread_b, 0.0) / size_b))


@njit(cache=True, nogil=True)
def _describe(
    points: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    cluster: int,
    size: npt.NDArray[np.float64],
    mean: npt.NDArray[np.float64],
    scatter: npt.NDArray[np.float64],
) -> None:
    """Count, mean and summed outer products about the mean of one cluster."""
    n, d = points.shape
    size[cluster] = 0
    mean[cluster] = 0
    scatter[cluster] = 0
    for i in range(n):
        if labels[i] == cluster:
            size[cluster] += 1
            for j in range(d):
                mean[cluster, j] += points[i, j]
    if size[cluster] == 0:
        return
    mean[cluster] /= size[cluster]
    off = np.empty(d)
    for i in range(n):
        if labels[i] == cluster:
            for j in range(d):
                off[j] = points[i, j] - mean[cluster, j]
            for j in range(d):
                for h in range(j + 1):
                    scatter[cluster, j, h] += off[j] * off[h]


@njit(cache=True, nogil=True)
def _nearest_due(
    size: npt.NDArray[np.float64],
    mean: npt.NDArray[np.float64],
    changed: npt.NDArray[np.int64],
    compared: npt.NDArray[np.int64],
    times: npt.NDArray[np.int64],
) -> Any:
    """For each cluster the nearest one that it is still to be compared with, -1 for none."""
    k, d = mean.shape
    nearest = np.full(k, -1, dtype=np.int64)
    least = np.full(k, np.inf)
    for a in range(k):
        for b in range(a + 1, k):
            if size[a] == 0 or size[b] == 0 or times[a, b] >= _MOST_COMPARISONS:
                continue
            if compared[a, b] >= max(changed[a], changed[b]):
                continue
            distance = 0.0
            for j in range(d):
                step = mean[a, j] - mean[b, j]
                distance += step * step
            if distance < least[a]:
                nearest[a], least[a] = b, distance
            if distance < least[b]:
                nearest[b], least[b] = a, distance
    return nearest


@njit(cache=True, nogil=True)
def discriminant_axis(
    size_a: float,
    mean_a: npt.NDArray[np.float64],
    scatter_a: npt.NDArray[np.float64],
    size_b: float,
    mean_b: npt.NDArray[np.float64],
    scatter_b: npt.NDArray[np.float64],
) -> Any:
    """Find the unit vector from a towards b after whitening by their pooled covariance (lower triangles).

    The covariance is drawn towards a sphere by as much as it has dimensions per point, lest few points in many
    dimensions seem far apart along an axis that was chosen to part them.
    """
    d = len(mean_a)
    n = size_a + size_b
    share = min(1.0, d / n)
    trace = 0.0
    for j in range(d):
        trace += (scatter_a[j, j] + scatter_b[j, j]) / n / d
    factor = np.zeros((d, d))
    axis = np.empty(d)
    for j in range(d):
        for h in range(j + 1):
            entry = (1 - share) * (scatter_a[j, h] + scatter_b[j, h]) / n
            if h == j:
                entry += (share + 1e-6) * trace
            for i in range(h):
                entry -= factor[j, i] * factor[h, i]
            factor[j, h] = (
                (math.sqrt(max(entry, 1e-12 * trace)) if h == j else entry / factor[h, h]) if trace > 0 else 0.0
            )
    for j in range(d):
        axis[j] = mean_b[j] - mean_a[j]
    if trace > 0:
        for j in range(d):
            for i in range(j):
                axis[j] -= factor[j, i] * axis[i]
            axis[j] /= factor[j, j]
        for j in range(d - 1, -1, -1):
            for i in range(j + 1, d):
                axis[j] -= factor[i, j] * axis[i]
            axis[j] /= factor[j, j]
    norm = math.sqrt((axis * axis).sum())
    return axis / norm if norm > 0 else axis
