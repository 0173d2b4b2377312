"""Clusters of spikes without a number of clusters to be told: ISO-SPLIT, and its use on the features of a probe.

Magland & Barnett (2015), "Unimodal clustering using isotonic regression: ISO-SPLIT", arXiv:1508.04841: clusters need
only have one mode along the line that best tells them from a neighbour. Points are first cut into many parcels; then
the two nearest clusters are projected on their discriminant axis and either joined, if the projection has one mode, or
cut anew at its dip, until no pair changes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import InvalidContentsError, InvalidValueError, NonFiniteError

from .parcels import assign_nearest, discriminant_axis, make_parcels, settle
from .principal_subspace import clipped_scatter, project_on_subspace
from .unimodality import dip_of_sorted, unimodality_dip

__all__ = ["cluster_spikes", "is_separate", "isosplit", "unimodality_dip"]

Labels = npt.NDArray[np.int64]

# Points beyond this many are clustered by a random sample of them, and take the cluster of the nearest parcel of it.
_MOST_POINTS = 20_000
# Smallest mean number of points of a first parcel, and rounds of k-means that shape them.
_PARCEL_SIZE = 10
_PARCEL_ROUNDS = 2
# A burst leaves its last spikes no smaller than this share of the first.
_LEAST_SCALE = 0.5


def isosplit(
    points: npt.ArrayLike, *, seed: int = 0, threshold: float = 2.0, min_size: int = 20, n_parcels: int = 24
) -> Labels:
    """Cluster points into heaps of one mode each.

    Parameters
    ----------
    points
        (n, d) numbers, taken as float32. Of more than 20,000 a random sample is clustered and the others follow the
        nearest mean.
    seed
        Seed of the first parcels and of the sample.
    threshold
        Score of `unimodality_dip` from which two clusters are two.
    min_size
        A cluster of fewer points than this is joined to its nearest neighbour.
    n_parcels
        Parcels to begin with (fewer for few points); the most clusters that can be found.

    Returns
    -------
    numpy.ndarray
        int64 (n,) labels from 0, by falling size of the cluster.

    Raises
    ------
    InvalidContentsError
        If `points` has not two dimensions.
    NonFiniteError
        If one of them is NaN or infinite.
    InvalidValueError
        If `threshold`, `min_size` or `n_parcels` is not above 0.
    """
    table = _checked(points, threshold=threshold, min_size=min_size, n_parcels=n_parcels)
    n = len(table)
    if n == 0 or table.shape[1] == 0:
        return np.zeros(n, dtype=np.int64)
    rng = np.random.default_rng(seed)
    sample = table
    if n > _MOST_POINTS:
        sample = table[np.sort(rng.choice(n, _MOST_POINTS, replace=False))]
    k = max(1, min(n_parcels, len(sample) // _PARCEL_SIZE))
    labels = np.zeros(len(sample), dtype=np.int64)
    make_parcels(sample, rng.random(k), labels, _PARCEL_ROUNDS)
    parcels = labels.copy()
    settle(sample, labels, k, float(threshold), int(min_size))
    if n > _MOST_POINTS:
        labels = _follow(table, sample, parcels, labels)
    return _by_size(labels)


def is_separate(points_a: npt.ArrayLike, points_b: npt.ArrayLike, threshold: float = 2.0) -> bool:
    """Tell whether two clusters are two heaps along the axis that best discriminates them.

    Parameters
    ----------
    points_a, points_b
        (n, d) and (m, d) numbers.
    threshold
        Score of `unimodality_dip` from which they are two.

    Returns
    -------
    bool
        False if either is empty.

    Raises
    ------
    InvalidContentsError
        If they have not two dimensions, or not the same number of columns.
    NonFiniteError
        If a number is NaN or infinite.
    """
    a = _checked(points_a, threshold=threshold)
    b = _checked(points_b, threshold=threshold)
    if a.shape[1] != b.shape[1]:
        msg = f"points_a has {a.shape[1]} columns and points_b {b.shape[1]}; project both on the same features"
        raise InvalidContentsError(msg)
    if not (len(a) and len(b) and a.shape[1]):
        return False
    axis = discriminant_axis(*_moments(a), *_moments(b))
    return bool(dip_of_sorted(np.sort(np.concatenate([a @ axis, b @ axis])))[0] >= threshold)


def cluster_spikes(
    features: npt.ArrayLike,
    *,
    seed: int = 0,
    threshold: float = 1.7,
    min_size: int = 20,
    n_components: int = 12,
    n_parcels: int = 32,
    same_shape: float = 3.0,
) -> Labels:
    """Cluster the spikes of one neighbourhood of a probe into units.

    The features are projected on their principal components and clustered; each cluster is then looked at again in
    its own components, where a small difference is not drowned by the large ones, until none falls apart. Clusters that
    are one waveform at two amplitudes, as bursts leave them, are joined again.

    Parameters
    ----------
    features
        (n, d) waveform features of spikes, in units of the noise (SD 1 in every column), 0 where there is no signal.
    seed
        Seed of everything random: equal seeds give equal labels.
    threshold
        Score of `unimodality_dip` from which two clusters are two.
    min_size
        Fewest spikes of a unit.
    n_components
        Principal components to cluster in.
    n_parcels
        Parcels that each clustering begins with.
    same_shape
        Two clusters are joined if the median of one, scaled by 1/2 to 1, differs from that of the other by less than
        this (noise SDs, beyond what chance explains); 0 joins none.

    Returns
    -------
    numpy.ndarray
        int64 (n,) labels from 0, by falling size; -1 for spikes of no cluster of `min_size`.

    Raises
    ------
    InvalidContentsError
        If `features` has not two dimensions.
    NonFiniteError
        If one of them is NaN or infinite.
    InvalidValueError
        If a parameter is not above 0.
    """
    table = _checked(features, threshold=threshold, min_size=min_size, n_components=n_components, n_parcels=n_parcels)
    labels = np.full(len(table), -1, dtype=np.int64)
    waiting = [np.arange(len(table))]
    n_found = 0
    while waiting:
        rows = waiting.pop()
        if len(rows) < min_size:
            continue
        parts = _parted(table[rows], n_components, seed, threshold, min_size, n_parcels)
        n_parts = int(parts.max()) + 1
        if n_parts == 1:
            labels[rows] = n_found
            n_found += 1
        else:
            waiting.extend(rows[parts == part] for part in range(n_parts))
    return _by_size(_join_amplitudes(table, labels, n_found, same_shape) if same_shape > 0 else labels)


def _parted(
    table: npt.NDArray[np.float32], n_components: int, seed: int, threshold: float, min_size: int, n_parcels: int
) -> Labels:
    """Cluster in all components; what stays whole is looked at again in half as many, from other parcels."""
    labels = np.zeros(len(table), dtype=np.int64)
    for look, dimensions in enumerate((n_components, max(1, n_components // 2))):
        points = project_on_subspace(table, dimensions)
        labels = isosplit(points, seed=seed + look, threshold=threshold, min_size=min_size, n_parcels=n_parcels)
        if labels.any():
            break
    return labels


def _join_amplitudes(table: npt.NDArray[np.float32], labels: Labels, k: int, tolerance: float) -> Labels:
    """Join clusters whose medians are one direction from 0, the most alike first."""
    labels = labels.copy()
    d = table.shape[1]
    sizes = np.bincount(labels[labels >= 0], minlength=k).astype(np.float64)
    medians = [np.median(table[labels == c], axis=0).astype(np.float64) for c in range(k)]
    while len(medians) > 1:
        products = np.stack(medians) @ np.stack(medians).T
        energy = np.diag(products)
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = products / energy[:, None]
        # Energy of b that a, scaled, does not explain, less the variance of both medians (pi/2 of that of a mean).
        chance = np.pi / 2 * d * (1 / sizes[None, :] + scale**2 / sizes[:, None])
        excess = energy[None, :] - scale**2 * energy[:, None] - chance
        alike = np.where((scale >= _LEAST_SCALE) & (scale <= 1), excess, np.inf)
        np.fill_diagonal(alike, np.inf)
        a, b = sorted(int(c) for c in np.unravel_index(alike.argmin(), alike.shape))
        if not alike.min() < tolerance**2:
            break
        labels[labels == b] = a
        labels[labels > b] -= 1
        sizes[a] += sizes[b]
        sizes = np.delete(sizes, b)
        del medians[b]
        medians[a] = np.median(table[labels == a], axis=0).astype(np.float64)
    return labels


def _follow(table: npt.NDArray[np.float32], sample: npt.NDArray[np.float32], parcels: Labels, labels: Labels) -> Labels:
    """Give every point the cluster of the nearest mean of a parcel of a cluster of the sample."""
    pieces = np.unique(parcels * (labels.max() + 1) + labels, return_inverse=True)[1]
    counts = np.bincount(pieces)
    means = np.stack([np.bincount(pieces, weights=column) / counts for column in sample.T], axis=1).astype(np.float32)
    piece_label = np.empty(len(counts), dtype=np.int64)
    piece_label[pieces] = labels
    nearest = np.zeros(len(table), dtype=np.int64)
    assign_nearest(table, means, nearest)
    return piece_label[nearest]


def _moments(points: npt.NDArray[np.float32]) -> tuple[float, Any, Any]:
    """Count, mean and scatter, float64."""
    mean = points.mean(axis=0, dtype=np.float64)
    scatter = clipped_scatter(points, mean.astype(np.float32), np.zeros(len(points)), np.inf)
    return float(len(points)), mean, scatter


def _by_size(labels: Labels) -> Labels:
    """Renumber labels from 0 by falling size, the one that comes first before equals; those below 0 stay -1."""
    result = np.full(len(labels), -1, dtype=np.int64)
    kept = labels >= 0
    if kept.any():
        _, first, inverse, counts = np.unique(labels[kept], return_index=True, return_inverse=True, return_counts=True)
        rank = np.empty(len(counts), dtype=np.int64)
        rank[np.lexsort((first, -counts))] = np.arange(len(counts))
        result[kept] = rank[inverse]
    return result


def _checked(points: npt.ArrayLike, **positive: float) -> npt.NDArray[np.float32]:
    """Take points as contiguous float32, refusing what cannot be clustered."""
    for name, value in positive.items():
        if not value > 0:
            msg = f"{name} is {value!r}; it must be above 0"
            raise InvalidValueError(msg)
    table = np.ascontiguousarray(points, dtype=np.float32)
    if table.ndim != 2:
        msg = f"points have {table.ndim} dimensions; give one row per point"
        raise InvalidContentsError(msg)
    if not np.isfinite(table).all():
        bad = int((~np.isfinite(table).all(axis=1)).sum())
        msg = f"{bad} of {len(table)} points are NaN or infinite; leave them out before clustering"
        raise NonFiniteError(msg)
    return table
