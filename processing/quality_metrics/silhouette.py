"""Silhouette score: how much nearer a unit's spikes are to their own than to those of the nearest other unit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..sorted_spikes import SortedSpikes
    from .features import SpikeFeatures

#: Random spikes of the probe from which silhouettes are computed.
MAX_SPIKES = 10_000
#: Units whose peaks lie farther apart (um) than this are not compared.
MAX_DISTANCE = 200.0


def silhouette_scores(
    features: SpikeFeatures,
    spikes: SortedSpikes,
    depths: NDArray[np.float64],
    *,
    shanks: NDArray[np.int64] | None = None,
    max_spikes: int = MAX_SPIKES,
    max_distance: float = MAX_DISTANCE,
    seed: int = 0,
    rows: list[NDArray[np.int64]] | None = None,
) -> NDArray[np.float64]:
    """Return the smallest silhouette score of each unit with any unit nearby.

    Rousseeuw, J. Comput. Appl. Math. 20, 53 (1987), for each pair of units: the mean over their spikes of
    ``(b - a) / max(a, b)``, a and b the mean distances to a spike's own and to the other unit. Distances are Euclidean
    in the space of all components on all channels, where a spike is zero away from its own sites.

    Parameters
    ----------
    features, spikes
        Features, and the spikes they belong to.
    depths
        Depth (um) of each unit's peak, shape (n_units,).
    shanks
        Shank of each unit's peak, shape (n_units,): units of two shanks are not near each other. Default: one shank.
    max_spikes
        Spikes drawn at random from all.
    max_distance
        um; a unit with no other so near is compared with the one nearest in depth.
    seed
        For the draw.
    rows
        For each unit, the rows of the spikes to use. Default: all.

    Returns
    -------
    numpy.ndarray
        float64, shape (n_units,); NaN for units without a spike in the draw and for a single unit.

    Notes
    -----
    The release compares all pairs (`max_distance` infinite), where a unit of small spikes anywhere on the probe, near
    the origin of feature space, can score lower than any neighbour; and its tables hold NaN for some units by an error.
    SpikeInterface's default is the simplified (centroid) score.
    """
    drawn = np.arange(len(spikes)) if rows is None else np.sort(np.concatenate([*rows, np.zeros(0, dtype=np.int64)]))
    if drawn.size > max_spikes:
        drawn = np.sort(np.random.default_rng(seed).choice(drawn, max_spikes, replace=False))
    units = spikes.unit_index[drawn]
    members = [drawn[units == unit] for unit in range(spikes.n_units)]
    present = [unit for unit in range(spikes.n_units) if members[unit].size]
    points = {unit: np.asarray(features.pcs[members[unit]], dtype=np.float64) for unit in present}
    on = np.zeros(spikes.n_units, dtype=np.int64) if shanks is None else shanks
    pairs = _neighbor_pairs(np.asarray(present, dtype=np.int64), depths, on, max_distance)
    within = {unit: _mean_distance_within(points[unit]) for unit in present}
    scores = np.full(spikes.n_units, np.nan)
    for one, two in pairs:
        shift = int(features.first_sites[two] - features.first_sites[one])
        to_two, to_one = _mean_distances_between(points[one], points[two], shift)
        score = float(np.concatenate((_silhouette(within[one], to_two), _silhouette(within[two], to_one))).mean())
        scores[[one, two]] = np.fmin(scores[[one, two]], score)
    return scores


def _neighbor_pairs(
    units: NDArray[np.int64], depths: NDArray[np.float64], shanks: NDArray[np.int64], max_distance: float
) -> list[tuple[int, int]]:
    """Return pairs of units to compare, each once; a unit on its own is paired with the nearest, on its shank first."""
    pairs = set()
    for unit in units:
        others = units[units != unit]
        if others.size == 0:
            continue
        distance = np.abs(depths[others] - depths[unit])
        elsewhere = shanks[others] != shanks[unit]
        near = others[(distance < max_distance) & ~elsewhere]
        for other in near if near.size else others[[np.lexsort((distance, elsewhere))[0]]]:
            pairs.add((int(min(unit, other)), int(max(unit, other))))
    return sorted(pairs)


def _mean_distance_within(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each spike's mean distance to the other spikes of its unit; NaN for a unit of one spike."""
    flat = points.reshape(len(points), -1)
    if len(flat) == 1:
        return np.full(1, np.nan)
    distances = _distances(flat @ flat.T, np.square(flat).sum(axis=1), np.square(flat).sum(axis=1))
    np.fill_diagonal(distances, 0.0)
    return np.asarray(distances.sum(axis=1) / (len(flat) - 1))


def _mean_distances_between(
    one: NDArray[np.float64], two: NDArray[np.float64], shift: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean distances of the spikes of each unit to the other; the second's sites start `shift` sites later."""
    n_sites = one.shape[2]
    overlap = max(n_sites - abs(shift), 0)
    first, second = max(shift, 0), max(-shift, 0)
    shared_one = one[:, :, first : first + overlap].reshape(len(one), -1)
    shared_two = two[:, :, second : second + overlap].reshape(len(two), -1)
    squares_one, squares_two = np.square(one).sum(axis=(1, 2)), np.square(two).sum(axis=(1, 2))
    distances = _distances(shared_one @ shared_two.T, squares_one, squares_two)
    return distances.mean(axis=1), distances.mean(axis=0)


def _distances(
    products: NDArray[np.float64], squares_one: NDArray[np.float64], squares_two: NDArray[np.float64]
) -> NDArray[np.float64]:
    return np.sqrt(np.maximum(squares_one[:, None] + squares_two - 2 * products, 0.0))


def _silhouette(own: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return silhouettes of spikes; 0 by convention for the only spike of its unit."""
    largest = np.maximum(own, other)
    score = np.divide(other - own, largest, out=np.zeros_like(other), where=largest > 0)
    return np.where(np.isnan(own), 0.0, score)
