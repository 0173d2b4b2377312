"""Isolation metrics of every unit of a probe: which spikes to compare, drawn from the features in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from . import isolation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..sorted_spikes import SortedSpikes
    from .features import SpikeFeatures

#: How far from a unit's peak (um along the shank) features are compared: 13 channels of a Neuropixels 1.0 probe.
COMPARED_RANGE = 60.0
#: Spikes drawn from a unit; other units in proportion to their number of spikes.
MAX_SPIKES_FOR_UNIT = 500
#: Units with this many spikes or fewer are not measured.
MIN_SPIKES = 20
#: Spikes of other units held in memory at a time.
BLOCK = 65_536

ISOLATION_METRICS = ("isolation_distance", "l_ratio", "l_ratio_corrected", "d_prime", "nn_hit_rate", "nn_miss_rate")


def peak_sites(features: SpikeFeatures, rows: list[NDArray[np.int64]], max_spikes: int = 20_000) -> NDArray[np.int64]:
    """Return each unit's peak among the channels in use: where its mean first component is largest, (n_units,).

    At most `max_spikes` spikes, evenly spread, are averaged.
    """
    peaks = features.first_sites.copy()
    for unit, spikes in enumerate(rows):
        if spikes.size:
            chosen = spikes[:: max(1, spikes.size // max_spikes)]
            mean = np.asarray(features.pcs[chosen, 0], dtype=np.float64).mean(axis=0)
            mean[features.channels[peaks[unit] : peaks[unit] + features.n_sites] < 0] = -np.inf
            peaks[unit] += mean.argmax()
    return peaks


def isolation_metrics(
    features: SpikeFeatures,
    spikes: SortedSpikes,
    *,
    compared_range: float = COMPARED_RANGE,
    max_spikes_for_unit: int = MAX_SPIKES_FOR_UNIT,
    max_spikes_for_neighbors: int = isolation.MAX_NEIGHBOR_SPIKES,
    n_neighbors: int = isolation.N_NEIGHBORS,
    seed: int = 0,
    rows: list[NDArray[np.int64]] | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Compute all isolation metrics for every unit.

    A unit is compared with those that peak on the sites around its own peak, within 60 um along the shank, on the
    components of these sites. Of a unit with more than 500 spikes 500 are drawn, and of the others as many as keep the
    proportion; otherwise all spikes take part. Units whose sites do not hold all of these are left out.

    Parameters
    ----------
    features, spikes
        Features, and the spikes they belong to.
    compared_range
        How far from a unit's peak sites are compared, um.
    max_spikes_for_unit, max_spikes_for_neighbors, n_neighbors
        See above and :func:`.isolation.nearest_neighbor_rates`.
    seed
        For the draws; each unit has its own stream, by its id.
    rows
        For each unit, the rows of the spikes to use, by ascending time. Default: all.

    Returns
    -------
    dict
        float64 arrays (n_units,) for ``isolation_distance``, ``l_ratio`` (divided by the number of other spikes, as in
        the release), ``l_ratio_corrected`` (by that of own spikes, as published), ``d_prime``, ``nn_hit_rate`` and
        ``nn_miss_rate``; NaN with 20 spikes or fewer, and without others to compare with.
    """
    result = {name: np.full(spikes.n_units, np.nan) for name in ISOLATION_METRICS}
    rows = spikes.rows_by_unit() if rows is None else rows
    peaks = peak_sites(features, rows)
    for unit in range(spikes.n_units):
        distance = np.abs(features.places - features.places[peaks[unit]])
        around = (features.runs == features.runs[peaks[unit]]) & (distance <= compared_range + 1e-6)
        first, last = int(around.argmax()), int(np.flatnonzero(around)[-1])
        complete = (features.first_sites <= first) & (features.first_sites + features.n_sites > last)
        if not complete[unit]:
            continue
        near = np.flatnonzero((peaks >= first) & (peaks <= last) & complete)
        generator = np.random.default_rng((seed, int(spikes.unit_ids[unit]) & 0xFFFFFFFF))
        own, others = _draw(rows, unit, near, max_spikes_for_unit, generator)
        if own.size <= MIN_SPIKES or others.size == 0:
            continue
        reader = _Reader(features, spikes.unit_index, first, last - first + 1)
        values = _measure(reader, own, others, max_spikes_for_neighbors, n_neighbors)
        for name, value in zip(ISOLATION_METRICS, values, strict=True):
            result[name][unit] = value
    return result


def _draw(
    rows: list[NDArray[np.int64]],
    unit: int,
    near: NDArray[np.int64],
    max_spikes: int,
    generator: np.random.Generator,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows of the unit's spikes, and of those of the units nearby, in proportion."""
    n_own = rows[unit].size
    others = [rows[other] for other in near if other != unit]
    if n_own <= max_spikes:
        return rows[unit], np.concatenate(others) if others else np.zeros(0, dtype=np.int64)
    own = generator.choice(rows[unit], max_spikes, replace=False)
    drawn = [
        generator.choice(train, min(int(train.size / n_own * max_spikes), train.size), replace=False)
        for train in others
    ]
    return own, np.concatenate(drawn) if drawn else np.zeros(0, dtype=np.int64)


class _Reader:
    """Reads the components of chosen spikes on chosen channels as a matrix of doubles."""

    def __init__(self, features: SpikeFeatures, units: NDArray[np.int64], first_site: int, n_sites: int) -> None:
        self.pcs = np.asarray(features.pcs)
        self.units = units
        self.columns = first_site - features.first_sites
        self.n_sites = n_sites

    def __call__(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return features of spikes (n, 3 * n_sites)."""
        found = np.empty((rows.size, self.pcs.shape[1] * self.n_sites))
        _gather(self.pcs, rows, self.columns[self.units[rows]], self.n_sites, found)
        return found

    def blocks(self, rows: NDArray[np.int64]) -> Iterator[NDArray[np.float64]]:
        """Yield features of many spikes, some at a time, in the order of the file."""
        ordered = np.sort(rows)
        for first in range(0, ordered.size, BLOCK):
            yield self(ordered[first : first + BLOCK])


@njit(cache=True, nogil=True)
def _gather(
    pcs: NDArray[Any], rows: NDArray[np.int64], columns: NDArray[np.int64], n_sites: int, found: NDArray[np.float64]
) -> None:
    """Copy `n_sites` columns of each row's components, from that row's own first column."""
    for i in range(rows.size):
        for c in range(pcs.shape[1]):
            for k in range(n_sites):
                found[i, c * n_sites + k] = pcs[rows[i], c, columns[i] + k]


def _measure(
    reader: _Reader, own: NDArray[np.int64], others: NDArray[np.int64], max_neighbors: int, n_neighbors: int
) -> tuple[float, ...]:
    """Return the metrics of one unit in the order of ISOLATION_METRICS."""
    spikes = reader(own)
    model = isolation.own_model(spikes)
    distances = []
    moments = _Moments(spikes.mean(axis=0))
    for block in reader.blocks(others):
        moments.add(block)
        if model is not None:
            distances.append(isolation.distances_to(model, block))
    own_moments = (len(spikes), spikes.mean(axis=0), np.atleast_2d(np.cov(spikes.T, bias=True)))
    d_prime = isolation.d_prime_of_moments(own_moments, moments.result())
    if model is None:
        distance = l_ratio = l_ratio_corrected = float("nan")
    else:
        far = np.concatenate(distances)
        tail = isolation.tail_probability(far, spikes.shape[1])
        distance = isolation.nth_distance(far, own.size)
        l_ratio, l_ratio_corrected = tail / others.size, tail / own.size
    chosen = isolation.neighbor_rows(own.size + others.size, max_neighbors)
    points = reader(np.concatenate((own, others))[chosen])
    n_own = isolation.own_rows(own.size, others.size, max_neighbors)
    hit, miss = isolation.neighbor_rates(points, n_own, n_neighbors)
    return distance, l_ratio, l_ratio_corrected, d_prime, hit, miss


class _Moments:
    """Count, mean and covariance of rows that come in blocks, measured from a point near their mean."""

    def __init__(self, origin: NDArray[np.float64]) -> None:
        self.origin = origin
        self.n = 0
        self.sum = np.zeros_like(origin)
        self.products = np.zeros((origin.size, origin.size))

    def add(self, block: NDArray[np.float64]) -> None:
        """Take in rows (n, n_features)."""
        centred = block - self.origin
        self.n += len(block)
        self.sum += centred.sum(axis=0)
        self.products += centred.T @ centred

    def result(self) -> isolation.Moments:
        """Return count, mean and population covariance."""
        mean = self.sum / self.n
        return self.n, mean + self.origin, self.products / self.n - np.outer(mean, mean)
