"""How well a unit's spikes stand apart from others in the space of principal components.

Each function takes two arrays, the unit's own spikes and the others', one row a spike. :mod:`.unit_isolation` draws
them from a probe's features.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from allen_ecephys.errors import InvalidValueError, NonFiniteError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

#: Spikes among which nearest neighbours are sought, and neighbours counted, the spike itself included.
MAX_NEIGHBOR_SPIKES = 10_000
N_NEIGHBORS = 4
#: Distances looked at together when nearest ones are sought.
STRETCH = 64


def isolation_distance(own: ArrayLike, others: ArrayLike) -> float:
    """Return the squared Mahalanobis distance within which there are as many other spikes as own ones.

    Harris et al., Neuron 32, 141 (2001). With n the smaller of the two counts, the n-th smallest squared distance of
    other spikes to the own mean, in units of the own covariance. NaN if n < 2 or the covariance is singular, as it is
    with no more own spikes than features (where the release holds huge values of rounding). Unbounded: with few more
    the covariance is nearly singular and values explode. SpikeInterface's has this definition, on other features.
    """
    spikes, rest = _checked(own, others)
    distances = squared_mahalanobis(spikes, rest)
    return float("nan") if distances is None else nth_distance(distances, len(spikes))


def l_ratio(own: ArrayLike, others: ArrayLike, *, divide_by_others: bool = False) -> float:
    """Return the summed probability that other spikes belong to the unit, divided by its number of spikes.

    Schmitzer-Torbert et al., Neuroscience 131, 1 (2005): ``sum(1 - chi2_cdf(D^2, dof)) / n_own`` over other spikes,
    with as many degrees of freedom as features. The tables of the Allen release divide by the number of *other* spikes
    (`divide_by_others`). NaN if the covariance is singular. SpikeInterface's equals the default.
    """
    spikes, rest = _checked(own, others)
    distances = squared_mahalanobis(spikes, rest)
    if distances is None or len(rest) == 0:
        return float("nan")
    return tail_probability(distances, spikes.shape[1]) / (len(rest) if divide_by_others else len(spikes))


def squared_mahalanobis(own: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Return squared distances of points to the own mean by the own covariance (N - 1), or None if it is singular."""
    model = own_model(own)
    return None if model is None else distances_to(model, points)


def own_model(own: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return mean and inverse covariance of a unit's spikes; None with fewer than two or a singular covariance."""
    if len(own) < 2:
        return None
    covariance = np.atleast_2d(np.cov(own.T))
    # An inversion notices an exact zero only: spikes fewer than features would give distances of either sign.
    sizes = np.linalg.eigvalsh(covariance)
    if not sizes[0] > sizes[-1] * len(sizes) * np.finfo(np.float64).eps:
        return None
    return np.asarray(own.mean(axis=0)), np.asarray(np.linalg.inv(covariance), dtype=np.float64)


def distances_to(
    model: tuple[NDArray[np.float64], NDArray[np.float64]], points: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return squared Mahalanobis distances of points (n, n_features) by :func:`own_model`."""
    centred = points - model[0]
    return np.asarray(np.einsum("ij,ij->i", centred @ model[1], centred))


def nth_distance(distances: NDArray[np.float64], n_own: int) -> float:
    """Return the n-th smallest of other spikes' distances, n = min(own, other); NaN if n < 2."""
    n = min(n_own, distances.size)
    return float(np.partition(distances, n - 1)[n - 1]) if n >= 2 else float("nan")


def tail_probability(distances: NDArray[np.float64], n_features: int) -> float:
    """Return the sum over spikes of the chi-square probability to lie farther out."""
    from scipy.special import chdtrc

    # Rounding of a nearly singular covariance can make a squared distance negative: certainly a member.
    return float(chdtrc(n_features, np.maximum(distances, 0.0)).sum())


def d_prime(own: ArrayLike, others: ArrayLike) -> float:
    """Return the distance of the two groups on Fisher's linear discriminant, in pooled SDs.

    ``(mean_own - mean_others) / sqrt((sd_own^2 + sd_others^2) / 2)`` of the projection on
    ``pinv(S_within) (mean_own - mean_others)``, population SDs (Hill et al., J. Neurosci. 31, 8699, 2011). Mean and
    covariance of the groups say it all: no projection is made. Equal to what scikit-learn's linear discriminant
    analysis, and so SpikeInterface, gives: directions in which the features, in SDs, hardly spread (below 1e-4) are
    left out, as they would make the distance any number. NaN if both projections have no spread.
    """
    spikes, rest = _checked(own, others)
    if len(spikes) == 0 or len(rest) == 0:
        return float("nan")
    return d_prime_of_moments(
        (len(spikes), spikes.mean(axis=0), np.atleast_2d(np.cov(spikes.T, bias=True))),
        (len(rest), rest.mean(axis=0), np.atleast_2d(np.cov(rest.T, bias=True))),
    )


#: Standard deviation of features, in units of their own SDs, below which a direction tells nothing (scikit-learn's).
FLAT_DIRECTION = 1e-4

Moments = tuple[int, "NDArray[np.float64]", "NDArray[np.float64]"]


def d_prime_of_moments(own: Moments, others: Moments) -> float:
    """Return :func:`d_prime` from count, mean and population covariance of both groups."""
    (n_own, mean_own, cov_own), (n_others, mean_others, cov_others) = own, others
    difference = mean_own - mean_others
    within = (n_own * cov_own + n_others * cov_others) / (n_own + n_others)
    scale = np.sqrt(np.diag(within))
    scale[scale == 0] = 1.0
    spread, axes = np.linalg.eigh(within / np.outer(scale, scale))
    n = n_own + n_others
    kept = spread * n / max(n - 2, 1) > FLAT_DIRECTION**2
    axes = axes[:, kept]
    direction = axes @ (axes.T @ (difference / scale) / spread[kept]) / scale
    variance = 0.5 * float(direction @ (cov_own + cov_others) @ direction)
    return float(direction @ difference) / variance**0.5 if variance > 0 else float("nan")


def nearest_neighbor_rates(
    own: ArrayLike,
    others: ArrayLike,
    *,
    max_spikes: int = MAX_NEIGHBOR_SPIKES,
    n_neighbors: int = N_NEIGHBORS,
) -> tuple[float, float]:
    """Return hit and miss rate of nearest neighbours.

    Chung et al., Neuron 95, 1381 (2017). Hit rate: fraction of the nearest neighbours of own spikes that are own
    spikes. Miss rate: the same fraction for other spikes. Beyond `max_spikes` rows every (rows / max_spikes)-th is
    taken. `n_neighbors` counts the spike itself, so that 3 are looked at; SpikeInterface looks at 4 or 5 others.

    Returns
    -------
    hit_rate, miss_rate
        NaN for a group without a spike, and where there are no more spikes than neighbours.
    """
    spikes, rest = _checked(own, others)
    rows = neighbor_rows(len(spikes) + len(rest), max_spikes)
    n_own = own_rows(len(spikes), len(rest), max_spikes)
    return neighbor_rates(np.concatenate((spikes, rest))[rows], n_own, n_neighbors)


def neighbor_rows(n_rows: int, max_spikes: int) -> NDArray[np.int64]:
    """Return which of own and other spikes, in that order, take part in the search for neighbours."""
    if n_rows <= max_spikes:
        return np.arange(n_rows)
    return np.arange(0, n_rows - 1, n_rows / max_spikes).astype(np.int64)


def own_rows(n_own: int, n_others: int, max_spikes: int) -> int:
    """Return how many of :func:`neighbor_rows` count as own."""
    total = n_own + n_others
    return n_own if total <= max_spikes else int(n_own * max_spikes / total)


def neighbor_rates(points: NDArray[np.float64], n_own: int, n_neighbors: int) -> tuple[float, float]:
    """Return hit and miss rate of points (n, n_features) of which the first `n_own` are own."""
    k = n_neighbors - 1
    n_points = len(points)
    if n_points <= k or k < 1:
        return float("nan"), float("nan")
    members = _count_own_neighbors(points - points.mean(axis=0), n_own, k)
    hit = members[:n_own].sum() / (n_own * k) if n_own else float("nan")
    miss = members[n_own:].sum() / ((n_points - n_own) * k) if n_own < n_points else float("nan")
    return float(hit), float(miss)


def _count_own_neighbors(points: NDArray[np.float64], n_own: int, k: int, block: int = 128) -> NDArray[np.int64]:
    """Count, for each point, how many of its k nearest other points are among the first `n_own`.

    Distances come from a single-precision matrix product; every point that its rounding error leaves in doubt is
    measured again in double precision, so that the neighbours are exact.
    """
    single = points.astype(np.float32)
    squares = np.einsum("ij,ij->i", single, single)
    norms = np.sqrt(squares)
    # Bound on the error of |x|^2 + |y|^2 - 2 x.y in single precision, and of rounding the points to it.
    slack = (points.shape[1] + 8) * 2.0**-23 * (norms + norms.max()) ** 2
    members = np.empty(len(points), dtype=np.int64)
    for first in range(0, len(points), block):
        last = min(first + block, len(points))
        products = single[first:last] @ single.T
        _nearest(products, squares, slack, points, first, n_own, k, members)
    return members


@njit(cache=True, nogil=True)
def _nearest(
    products: NDArray[np.float32],
    squares: NDArray[np.float32],
    slack: NDArray[np.float32],
    points: NDArray[np.float64],
    first: int,
    n_own: int,
    k: int,
    members: NDArray[np.int64],
) -> None:
    """Find the k nearest of each row of a block of inner products; ties go to the lower row."""
    n_points = points.shape[0]
    distances = np.empty(n_points, dtype=np.float32)
    approximate = np.empty(k, dtype=np.float32)
    best, place = np.empty(k), np.empty(k, dtype=np.int64)
    for row in range(products.shape[0]):
        i = first + row
        for j in range(n_points):
            distances[j] = squares[j] - np.float32(2) * products[row, j]
        distances[i] = np.inf
        approximate[:] = np.inf
        for start in range(0, n_points, STRETCH):
            stop = min(start + STRETCH, n_points)
            if _any_below(distances, start, stop, approximate[k - 1]):
                for j in range(start, stop):
                    if distances[j] < approximate[k - 1]:
                        _insert(approximate, distances[j])
        limit = approximate[k - 1] + slack[i]
        best[:] = np.inf
        place[:] = -1
        for start in range(0, n_points, STRETCH):
            stop = min(start + STRETCH, n_points)
            if _any_below(distances, start, stop, limit):
                for j in range(start, stop):
                    if distances[j] <= limit and j != i:
                        exact = _squared_distance(points, i, j)
                        if exact < best[k - 1]:
                            _insert_with(best, place, exact, j)
        own = 0
        for m in range(k):
            if 0 <= place[m] < n_own:
                own += 1
        members[i] = own


@njit(cache=True, nogil=True)
def _any_below(values: NDArray[np.float32], start: int, stop: int, limit: float) -> bool:
    """Tell whether any value of a stretch is at or below a limit, in a loop without branches."""
    count = np.int32(0)
    for j in range(start, stop):
        count += np.int32(values[j] <= limit)
    return bool(count > 0)


@njit(cache=True, nogil=True)
def _squared_distance(points: NDArray[np.float64], i: int, j: int) -> float:
    """Return the squared distance of two points."""
    total = 0.0
    for f in range(points.shape[1]):
        total += (points[i, f] - points[j, f]) ** 2
    return total


@njit(cache=True, nogil=True)
def _insert(values: NDArray[Any], value: float) -> None:
    """Put a value into an ascending list, whose last one drops out."""
    m = values.size - 1
    while m > 0 and values[m - 1] > value:
        values[m] = values[m - 1]
        m -= 1
    values[m] = value


@njit(cache=True, nogil=True)
def _insert_with(values: NDArray[np.float64], places: NDArray[np.int64], value: float, place: int) -> None:
    """Put a value and its place into two lists, ascending by value."""
    m = values.size - 1
    while m > 0 and values[m - 1] > value:
        values[m], places[m] = values[m - 1], places[m - 1]
        m -= 1
    values[m], places[m] = value, place


def _checked(own: ArrayLike, others: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    spikes, rest = np.asarray(own, dtype=np.float64), np.asarray(others, dtype=np.float64)
    if spikes.ndim != 2 or rest.ndim != 2 or spikes.shape[1] != rest.shape[1]:
        msg = f"own spikes have shape {spikes.shape} and others {rest.shape}: (spikes, features) with equal features"
        raise InvalidValueError(msg)
    if not (np.isfinite(spikes).all() and np.isfinite(rest).all()):
        msg = "features hold NaN or infinite values; leave those spikes out, or compute their features again"
        raise NonFiniteError(msg)
    return spikes, rest
