"""Units that hold two neurons are cut in two, along the direction in which their spikes are most clearly bimodal."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from allen_ecephys.errors import InvalidContentsError

from .correlograms import checked_spikes, rows_by_unit, train_statistics

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

#: Spikes that a direction is fitted to, and spikes read at once where more are classified.
MOST_FITTED = 20_000
BLOCK = 65_536
#: SD of the running average that is taken off to remove drift, in fitted spikes.
DRIFT_SPIKES = 250
#: Components that a direction is sought in, at most, and spikes needed for each.
MOST_COMPONENTS, SPIKES_PER_COMPONENT = 12, 40
ROUNDS, FIRST_UPDATE = 50, 11
#: Vetoes: halves refractory to each other; halves of one shape and nearly one size. Least share of a half.
Q_REFRACTORY, R_REFRACTORY = 0.25, 0.05
ALIKE, SAME_SIZE = 0.9, 0.2
SMALLEST_SHARE = 0.05


@dataclass(frozen=True, eq=False)
class SplitUnits:
    """Units after splitting.

    Attributes
    ----------
    units
        int64 (n_spikes,): unit of each spike.
    parents
        int64 (n_units,): for each unit the one it was cut from, itself for those there were before. However often a
        unit is cut, the parent is the one it was in the beginning: features stay on that unit's channels.
    """

    units: Integers
    parents: Integers

    @property
    def is_new(self) -> NDArray[np.bool_]:
        """Tell of each unit (n_units,) whether it was not there before."""
        return np.asarray(self.parents != np.arange(self.parents.size))


def split_units(
    times_s: ArrayLike,
    unit: ArrayLike,
    features: NDArray[Any],
    feature_channels: ArrayLike,
    template: ArrayLike,
    basis: ArrayLike,
    *,
    n_channels: int,
    AUCsplit: float = 0.9,
    minimum_spikes: int = 300,
) -> SplitUnits:
    """Cut units in two wherever a direction is found in which their spikes are bimodal, as Kilosort 2 does.

    For each unit of `minimum_spikes` or more: features less their mean and a running average over time (Gaussian, SD
    250 spikes; it holds drift), projected on a direction that starts at the first principal component, or at the mean
    feature vector if the first finds nothing. 50 rounds of expectation-maximisation fit two Gaussians to the
    projections; from round 11 each odd round also moves the direction to ``S w = m``, with weights ``r_k / s_k`` of
    responsibilities and variances, ``S = X' diag(sum_k r_k / s_k) X`` and ``m = X' sum_k r_k mu_k / s_k``.

    The unit is cut if the smaller half has more than 5 % and both at least `minimum_spikes` spikes, if spikes of either
    half belong there with a mean probability above `AUCsplit`, unless the halves are refractory to each other
    (Q < 0.25 and R < 0.05), or their mean waveforms correlate above 0.9 and differ in norm by less than 20 %. Halves
    are tried again until none is cut. The largest part keeps the unit's number; others are numbered from n_templates.

    Kilosort 2 looks for the direction among all 96 features. There some direction is bimodal by chance: with 1,200
    spikes of one simulated neuron in 9 cases of 10, with 600 in all. Here it is sought among the first 12 principal
    components (one for every 40 spikes if fewer): none of these is cut, and two neurons 4 noise SDs apart still are.

    Units of more than 20,000 spikes are fitted on as many, evenly spaced, and then classified block by block.

    Parameters
    ----------
    times_s
        (n_spikes,) spike times (s).
    unit
        (n_spikes,) unit of each spike: the row, in `feature_channels`, of the template it keeps.
    features
        float32 (n_spikes, n_pcs, n_local), an array or memory map: projections of each spike on `basis`, noise SDs.
    feature_channels
        (n_templates, n_local) channels of features, for each template.
    template
        (n_spikes,) template that found each spike, and whose channels its features are on. Channels of the unit that
        are not among them say nothing: they get the unit's mean.
    basis
        (n_samples, n_pcs) waveform of each component.
    n_channels
        Number of channels.
    AUCsplit
        Least purity of both halves.
    minimum_spikes
        Fewest spikes of a half, and of a unit to be tried.

    Raises
    ------
    SpikeTrainError
        If times, units and templates do not fit together, or are not finite.
    InvalidContentsError
        If features, their channels and the basis do not fit together.
    """
    channels = np.ascontiguousarray(feature_channels, dtype=np.int64)
    waveforms = np.asarray(basis, dtype=np.float64)
    times, units = checked_spikes(times_s, unit, len(channels))
    _, templates = checked_spikes(times_s, template, len(channels))
    _check_features(features, channels, waveforms, times.size, n_channels)
    source = _Features(features, channels, templates, n_channels)
    labels, parents = units.copy(), list(range(len(channels)))
    for u, rows in enumerate(rows_by_unit(times, units, len(channels))):
        parts = _cut_repeatedly(rows, u, source, times, waveforms, AUCsplit, minimum_spikes)
        for part in parts[1:]:
            labels[part] = len(parents)
            parents.append(u)
    return SplitUnits(labels, np.array(parents, dtype=np.int64))


def _cut_repeatedly(
    rows: Integers, unit: int, source: _Features, times: Floats, basis: Floats, purity: float, minimum: int
) -> list[Integers]:
    """Return the spikes of each part of a unit, the largest part first."""
    waiting, parts = [rows], []
    while waiting:
        part = waiting.pop()
        half = None if part.size <= 2 * minimum else _first_half(part, unit, source, times, basis, purity, minimum)
        if half is None:
            parts.append(part)
        else:
            waiting += [part[half], part[~half]]
    return sorted(parts, key=lambda part: (-part.size, part[0] if part.size else 0))


def _first_half(
    rows: Integers, unit: int, source: _Features, times: Floats, basis: Floats, purity: float, minimum: int
) -> NDArray[np.bool_] | None:
    """Return which of a unit's spikes to cut off, or None if it is to stay whole."""
    fitted = np.arange(rows.size) if rows.size <= MOST_FITTED else np.arange(MOST_FITTED) * rows.size // MOST_FITTED
    points, fill = source.of(rows[fitted], unit)
    trend = _Trend.of(points, fitted)
    still = trend.removed_from(points)
    components = _principal_components(still)
    if components.shape[1] == 0:
        return None
    reduced = (still @ components).astype(np.float64)
    for start in (np.eye(components.shape[1])[0], points.mean(axis=0, dtype=np.float64) @ components):
        size = float(np.linalg.norm(start))
        if size == 0:
            continue
        direction, mixture = _pursue(reduced, start / size)
        along = components @ direction
        projections = _projections(rows, fitted, points, unit, source, fill, along) - trend.along(along, rows.size)
        likely = np.empty(rows.size)
        _expect(projections, mixture, likely)
        half = likely > 0.5
        if _is_bimodal(likely, half, purity, minimum) and not _is_one_neuron(times[rows], half, points, fitted, basis):
            return half
    return None


def _projections(
    rows: Integers, fitted: Integers, points: Any, unit: int, source: _Features, fill: Any, along: Floats
) -> Floats:
    """Project all spikes of a unit, reading those that were not fitted block by block."""
    if fitted.size == rows.size:
        return np.asarray(points @ along)
    out = np.empty(rows.size)
    for first in range(0, rows.size, BLOCK):
        out[first : first + BLOCK] = source.of(rows[first : first + BLOCK], unit, fill)[0] @ along
    return out


def _is_bimodal(likely: Floats, half: NDArray[np.bool_], purity: float, minimum: int) -> bool:
    """Tell whether both halves are large enough, and their spikes belong where they are."""
    n_half = int(np.count_nonzero(half))
    smaller = min(n_half, half.size - n_half)
    if smaller <= max(minimum, SMALLEST_SHARE * half.size):
        return False
    return bool(min(likely[half].mean(), 1.0 - likely[~half].mean()) > purity)


def _is_one_neuron(
    times: Floats, half: NDArray[np.bool_], points: NDArray[np.float32], fitted: Integers, basis: Floats
) -> bool:
    """Tell whether two halves are refractory to each other, or have one shape and nearly one size."""
    if train_statistics(times[half], times[~half]).is_refractory(Q_REFRACTORY, R_REFRACTORY):
        return True
    chosen = half[fitted]
    if chosen.all() or not chosen.any():
        return False
    shapes = [
        basis @ points[rows].mean(axis=0, dtype=np.float64).reshape(basis.shape[1], -1) for rows in (chosen, ~chosen)
    ]
    sizes = [float(np.linalg.norm(shape)) for shape in shapes]
    if abs(sizes[0] - sizes[1]) >= SAME_SIZE * (sizes[0] + sizes[1]) / 2:
        return False
    return bool(np.corrcoef(shapes[0].ravel(), shapes[1].ravel())[0, 1] > ALIKE)


def _principal_components(points: NDArray[np.float32]) -> Floats:
    """Return the directions of largest variance (n_features, n), the largest first; none where nothing varies."""
    values, vectors = np.linalg.eigh((points.T @ points).astype(np.float64))
    varying = int(np.count_nonzero(values > 1e-6 * max(values[-1], 0.0)))
    n = min(MOST_COMPONENTS, max(1, len(points) // SPIKES_PER_COMPONENT), varying)
    return np.ascontiguousarray(vectors[:, ::-1][:, :n])


class _Features:
    """Features of spikes on the channels of the unit they belong to."""

    def __init__(self, features: Any, channels: Integers, templates: Integers, n_channels: int) -> None:
        self.features, self.channels, self.templates = features, channels, templates
        self._place = np.empty(n_channels, dtype=np.int64)

    def of(self, rows: Integers, unit: int, fill: Any = None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return features (n_rows, n_pcs * n_local) of some spikes, and what stands where a channel has none.

        That is the mean of those that have the channel, unless `fill` (n_pcs, n_local) is given.
        """
        found = self.templates[rows]
        if (found == unit).all():
            points = np.asarray(self.features[rows], dtype=np.float32)
            return points.reshape(rows.size, -1), np.zeros(points.shape[1:], dtype=np.float32)
        points = np.zeros((rows.size, *self.features.shape[1:]), dtype=np.float32)
        present = np.zeros((rows.size, points.shape[2]), dtype=np.bool_)
        self._place[:] = -1
        self._place[self.channels[unit]] = np.arange(self.channels.shape[1])
        for template in np.unique(found):
            of_template = np.flatnonzero(found == template)
            to = self._place[self.channels[template]]
            shared = np.flatnonzero(to >= 0)
            values = np.asarray(self.features[rows[of_template]], dtype=np.float32)
            points[of_template[:, None], :, to[shared]] = values[:, :, shared].transpose(0, 2, 1)
            present[of_template[:, None], to[shared]] = True
        if fill is None:
            fill = points.sum(axis=0, dtype=np.float64) / np.maximum(present.sum(axis=0), 1)
        points += np.asarray(fill, dtype=np.float32) * ~present[:, None, :]
        return points.reshape(rows.size, -1), np.asarray(fill, dtype=np.float32)


class _Trend:
    """Running average of features over time, at some places among a unit's spikes."""

    def __init__(self, centres: Floats, values: Floats, fitted: Integers) -> None:
        self.centres, self.values, self.fitted = centres, values, fitted

    @classmethod
    def of(cls, points: NDArray[np.float32], fitted: Integers) -> _Trend:
        """Average with a Gaussian in time, over blocks of a tenth of its SD."""
        n_blocks = max(1, len(points) * 10 // DRIFT_SPIKES)
        edges = np.arange(n_blocks + 1) * len(points) // n_blocks
        sizes = np.diff(edges)
        middles = (edges[:-1] + edges[1:] - 1) / 2
        sums = np.add.reduceat(points, edges[:-1], axis=0, dtype=np.float64)
        weights = np.exp(-0.5 * ((middles[:, None] - middles) / DRIFT_SPIKES) ** 2)
        return cls(
            np.interp(middles, np.arange(len(points)), fitted), weights @ sums / (weights @ sizes)[:, None], fitted
        )

    def removed_from(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return fitted points less the trend, which is interpolated."""
        after = np.clip(np.searchsorted(self.centres, self.fitted), 1, max(self.centres.size - 1, 1))
        if self.centres.size == 1:
            return np.asarray(points - self.values[0].astype(np.float32))
        left, right = self.centres[after - 1], self.centres[after]
        share = np.clip((self.fitted - left) / (right - left), 0.0, 1.0).astype(np.float32)[:, None]
        values = self.values.astype(np.float32)
        return np.asarray(points - values[after - 1] * (1 - share) - values[after] * share)

    def along(self, direction: Floats, n: int) -> Floats:
        """Return the trend's projection on a direction for all n spikes of the unit."""
        return np.interp(np.arange(n), self.centres, self.values @ direction)


def _check_features(features: Any, channels: Integers, basis: Floats, n_spikes: int, n_channels: int) -> None:
    shape = tuple(features.shape)
    if channels.ndim != 2 or basis.ndim != 2 or shape != (n_spikes, basis.shape[1], channels.shape[1]):
        msg = (
            f"features have shape {shape}, feature_channels {channels.shape}, basis {basis.shape}: for {n_spikes:,} "
            "spikes (n_spikes, n_pcs, n_local), (n_templates, n_local) and (n_samples, n_pcs) are needed"
        )
        raise InvalidContentsError(msg)
    if channels.size and (channels.min() < 0 or channels.max() >= n_channels):
        msg = f"feature_channels range from {channels.min()} to {channels.max()}, but there are {n_channels} channels"
        raise InvalidContentsError(msg)


def _pursue(points: Floats, direction: Floats) -> tuple[Floats, Floats]:
    """Fit two Gaussians to projections of points, moving the direction so that it tells them apart.

    Returns the direction, of norm 1, and the mixture: means, variances and weight of the first Gaussian.
    """
    projected = points @ direction
    likely = (projected > projected.mean()).astype(np.float64)
    mixture = _mixture(projected, likely)
    for k in range(1, ROUNDS + 1):
        _expect(projected, mixture, likely)
        mixture = _mixture(projected, likely)
        if k >= FIRST_UPDATE and k % 2 == 1:
            scatter, moment = _weighted_sums(points, likely, mixture)
            moved = np.linalg.solve(scatter, moment)
            direction = moved / np.linalg.norm(moved)
            projected = points @ direction
    return direction, mixture


@njit(cache=True, nogil=True)
def _expect(values: Floats, mixture: Floats, likely: Floats) -> None:
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
