"""Units that hold two neurons are cut in two, along the direction in which their spikes are most clearly bimodal."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from allen_ecephys.errors import InvalidContentsError

from .bimodal_pursuit import RunningAverage, expect, leading_axes, project, project_on, pursue
from .correlograms import checked_spikes, rows_by_unit, train_statistics
from .merging import PROOF, RefractoryEvidence, refractory_evidence

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

#: Spikes that a direction is fitted to, and spikes read at once where more are classified.
MOST_FITTED = 20_000
BLOCK = 65_536
#: Components that a direction is sought in, at most, and spikes needed for each.
MOST_COMPONENTS, SPIKES_PER_COMPONENT = 12, 40
#: Components that the search starts from.
STARTS = 2
#: Vetoes: halves refractory to each other; active in turns; of one shape and nearly one size; of one shape.
Q_REFRACTORY, R_REFRACTORY = 0.25, 0.05
TOGETHER = 0.25
ALIKE, SAME_SIZE = 0.9, 0.2
SAME_SHAPE = 0.98
#: Halves purer than this are no neuron's spikes in two places, and need only be of two shapes.
CLEARLY_APART = 0.95
#: Share of the coincidences of independent neurons that halves have at least if they are two, whatever their shapes.
AS_INDEPENDENT = 0.7
#: Spread of amplitudes of a neuron's spikes, and how much wider than noise and that its spikes may lie.
AMPLITUDE_SPREAD, COMPACT = 0.1, 1.3
#: Least share of a half.
SMALLEST_SHARE = 0.05


@dataclass(frozen=True, eq=False)
class SplitUnits:
    """Units after splitting.

    Attributes
    ----------
    labels
        int64 (n_spikes,): unit of each spike.
    parents
        int64 (n_units,): for each unit the one it was cut from, itself for those there were before. However often a
        unit is cut, the parent is the one it was in the beginning: features stay on that unit's channels.
    """

    labels: Integers
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
    minimum_spikes: int = 40,
) -> SplitUnits:
    """Cut units in two wherever a direction is found in which their spikes are bimodal, as Kilosort 2 does.

    For each unit of enough spikes: features less a running average over time (Gaussian, SD 250 spikes or a fifth of
    them; it holds drift), projected on a direction that starts at the first principal component, or, if that finds
    nothing, at the mean feature vector or the second component. 50 rounds of expectation-maximisation fit two Gaussians
    to the projections; from round 11 each odd round also moves the direction to ``S w = m``, with weights ``r_k / s_k``
    of responsibilities and variances, ``S = X' diag(sum_k r_k / s_k) X`` and ``m = X' sum_k r_k mu_k / s_k``.

    The unit is cut if the smaller half has more than 5 % and both more than `minimum_spikes` spikes, and if spikes of
    either half belong there with a mean probability above `AUCsplit`; unless the halves are refractory to each other
    (Q < 0.25 and R < 0.05), or their mean waveforms correlate above 0.9 and differ in norm by less than 20 %. Halves
    are tried again until none is cut. The largest part keeps the unit's number; others are numbered from n_templates.

    What differs from Kilosort 2, each because of simulated neurons that it would cut:

    * It looks for the direction among all 96 features, where some direction is bimodal by chance: with 1,200 spikes of
      one neuron in 9 cases of 10, with 600 in all. Here it is sought among the first 12 principal components (one for
      every 40 spikes if fewer). None of these is cut, and halves may be smaller than its 300 spikes.
    * Halves whose waveforms correlate above 0.98, whatever their norms, stay one unit: first and later spikes of
      bursts. Correlations are of waveforms without the noise that the mean of few spikes holds. Parts for which this
      holds after several cuts are joined again.
    * Halves of more than 95 % purity and correlations up to 0.98 are cut whatever their sizes, unless they coincide too
      seldom for two neurons: in simulated recordings five of five such units held two neurons near one another. Halves
      of any shapes are cut that coincide as often as two neurons do, where one neuron's would not (p < 0.001).
    * The smaller half must be compact: on the line to the other, its SD is at most 1.3 times that of noise and a tenth
      of its own norm together. Spikes that overlap others that were not found lie farther apart.
    * Halves that are active together less than a quarter as often as independent ones (Q00 and Q01 < 0.25) stay one
      unit, which drifted faster than the running average follows.

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
        Both halves must have more.

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
    spikes = UnitSpikes(times, features, channels, templates, waveforms, n_channels)
    labels, parents = units.copy(), list(range(len(channels)))
    for u, rows in enumerate(rows_by_unit(times, units, len(channels))):
        for part in _cut_repeatedly(rows, u, spikes, AUCsplit, minimum_spikes)[1:]:
            labels[part] = len(parents)
            parents.append(u)
    return SplitUnits(labels, np.array(parents, dtype=np.int64))


def _cut_repeatedly(rows: Integers, unit: int, spikes: UnitSpikes, purity: float, minimum: int) -> list[Integers]:
    """Return the spikes of each part of a unit, the largest part first."""
    waiting, parts = [rows], []
    while waiting:
        part = waiting.pop()
        half = None if part.size <= 2 * minimum else _first_half(part, unit, spikes, purity, minimum)
        if half is None:
            parts.append(part)
        else:
            waiting += [part[half], part[~half]]
    while (pair := _pair_of_one_neuron(parts, unit, spikes)) is not None:
        joined = np.concatenate([parts[pair[0]], parts[pair[1]]])
        parts = [part for p, part in enumerate(parts) if p not in pair]
        parts.append(joined[np.argsort(spikes.times[joined], kind="stable")])
    return sorted(parts, key=lambda part: (-part.size, part[0] if part.size else 0))


def _pair_of_one_neuron(parts: list[Integers], unit: int, spikes: UnitSpikes) -> tuple[int, int] | None:
    """Return two parts, among three or more, that were cut apart only on the way to another cut."""
    if len(parts) < 3:
        return None
    points = [spikes.points(part[_evenly(part.size)], unit)[0] for part in parts]
    for second in range(1, len(parts)):
        for first in range(second):
            trains = spikes.times[parts[first]], spikes.times[parts[second]]
            # They were cut apart, however purely: only one shape, or spikes that never meet, join them.
            if _is_one_neuron(trains, (points[first], points[second]), spikes.basis, 1.0):
                return first, second
    return None


def _first_half(rows: Integers, unit: int, spikes: UnitSpikes, purity: float, minimum: int) -> NDArray[np.bool_] | None:
    """Return which of a unit's spikes to cut off, or None if it is to stay whole."""
    for halves in bimodal_halves(rows, unit, spikes):
        if (
            halves.n_smaller > max(minimum, SMALLEST_SHARE * rows.size)
            and halves.purity > purity
            and halves.is_compact
            and not _is_one_neuron(halves.trains(spikes.times[rows]), halves.parts, spikes.basis, halves.purity)
        ):
            return halves.first
    return None


@dataclass(frozen=True, eq=False)
class Halves:
    """A unit's spikes in two, by a direction along which they are bimodal.

    Attributes
    ----------
    first
        bool (n,): which spikes are in the first half.
    purity
        Mean probability of a half's spikes to belong there, the lower of both.
    parts
        float32 (n_first, d) and (n_second, d): features of spikes of each half, as many as were fitted.
    still
        The same without the drift of the whole unit.
    """

    first: NDArray[np.bool_]
    purity: float
    parts: tuple[NDArray[np.float32], NDArray[np.float32]]
    still: tuple[NDArray[np.float32], NDArray[np.float32]]

    @property
    def n_smaller(self) -> int:
        """Spikes of the smaller half."""
        n_first = int(np.count_nonzero(self.first))
        return min(n_first, self.first.size - n_first)

    @property
    def is_compact(self) -> bool:
        """Tell whether the smaller half spreads, on the line to the other, little more than noise and a neuron."""
        k = 0 if 2 * np.count_nonzero(self.first) <= self.first.size else 1
        towards = _mean(self.still[1 - k]) - _mean(self.still[k])
        spread = float(project(self.still[k], towards / np.linalg.norm(towards)).std())
        return spread < COMPACT * math.hypot(1.0, AMPLITUDE_SPREAD * float(np.linalg.norm(_mean(self.parts[k]))))

    def trains(self, times: Floats) -> tuple[Floats, Floats]:
        """Return the spike times of each half."""
        return times[self.first], times[~self.first]


def bimodal_halves(rows: Integers, unit: int, spikes: UnitSpikes) -> Iterator[Halves]:
    """Yield the halves that a unit's spikes fall into along each direction that is found, if there are spikes in both.

    Parameters
    ----------
    rows
        int64 (n,): the unit's spikes, in order of time.
    """
    fitted = _evenly(rows.size)
    points, fill = spikes.points(rows[fitted], unit)
    drift = RunningAverage.over(points, fitted)
    still = drift.removed_from(points)
    axes = leading_axes(still, min(MOST_COMPONENTS, max(1, fitted.size // SPIKES_PER_COMPONENT)))
    reduced = project_on(still, axes)
    principal = np.eye(axes.shape[1])
    for start in (*principal[:1], points.mean(axis=0, dtype=np.float64) @ axes, *principal[1:STARTS]):
        size = float(np.linalg.norm(start))
        if size == 0:
            continue
        direction, mixture = pursue(reduced, start / size)
        projections = spikes.projections(rows, unit, fill, axes @ direction) - drift.along(axes @ direction, rows.size)
        likely = np.empty(rows.size)
        expect(projections, mixture, likely)
        half = likely > 0.5
        chosen = half[fitted]
        if chosen.any() and not chosen.all():
            purity = float(min(likely[half].mean(), 1.0 - likely[~half].mean()))
            yield Halves(half, purity, (points[chosen], points[~chosen]), (still[chosen], still[~chosen]))


def _evenly(n: int) -> Integers:
    """Return the places, among n spikes, of those that a fit uses."""
    n_fitted = min(n, MOST_FITTED)
    return np.arange(n_fitted) * n // max(n_fitted, 1)


def _mean(points: NDArray[np.float32]) -> Floats:
    return np.asarray(points.mean(axis=0, dtype=np.float64))


def fire_as_two(evidence: RefractoryEvidence) -> bool:
    """Tell whether two groups of spikes coincide as often as those of two neurons, which no one neuron's would."""
    return evidence.p_one_neuron < PROOF and evidence.observed > AS_INDEPENDENT * evidence.expected


def _is_one_neuron(
    trains: tuple[Floats, Floats],
    parts: tuple[NDArray[np.float32], NDArray[np.float32]],
    basis: Floats,
    purity: float,
) -> bool:
    """Tell whether two groups of spikes are refractory to each other, take turns, or have one shape."""
    statistics = train_statistics(*trains)
    if statistics.is_refractory(Q_REFRACTORY, R_REFRACTORY) or max(statistics.q00, statistics.q01) < TOGETHER:
        return True
    evidence = refractory_evidence(*trains)
    if fire_as_two(evidence):
        return False
    alike, sizes = likeness(parts, basis)
    same_size = abs(sizes[0] - sizes[1]) < SAME_SIZE * sizes.mean()
    apart = purity > CLEARLY_APART and evidence.verdict != "one neuron"
    return alike > SAME_SHAPE or (alike > ALIKE and same_size and not apart)


def likeness(parts: tuple[NDArray[np.float32], NDArray[np.float32]], basis: Floats) -> tuple[float, Floats]:
    """Return the correlation of two groups' mean waveforms, and their sizes, both without the noise in the means."""
    first, second = (basis @ _mean(part).reshape(basis.shape[1], -1) for part in parts)
    # Noise of SD 1 in each feature leaves this energy in each mean.
    noise = np.array([part.shape[1] / len(part) for part in parts])
    energies = np.array([(first**2).sum(), (second**2).sum()])
    sizes = np.sqrt(np.maximum(energies - noise, 0.01 * energies))
    return float((first * second).sum() / sizes.prod()), sizes


@dataclass(eq=False)
class UnitSpikes:
    """All spikes, and what is known of each."""

    times: Floats
    features: NDArray[Any]
    channels: Integers
    templates: Integers
    basis: Floats
    n_channels: int

    def points(self, rows: Integers, unit: int, fill: Any = None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return features (n_rows, n_pcs * n_local) of some spikes, and what stands where a channel has none.

        That is the mean of those that have the channel, unless `fill` (n_pcs, n_local) is given.
        """
        found = self.templates[rows]
        if (found == unit).all():
            points = np.asarray(self.features[rows], dtype=np.float32)
            return points.reshape(rows.size, -1), np.zeros(points.shape[1:], dtype=np.float32)
        points = np.zeros((rows.size, *self.features.shape[1:]), dtype=np.float32)
        present = np.zeros((rows.size, points.shape[2]), dtype=np.bool_)
        place = np.full(self.n_channels, -1)
        place[self.channels[unit]] = np.arange(self.channels.shape[1])
        for template in np.unique(found):
            of_template = np.flatnonzero(found == template)
            to = place[self.channels[template]]
            shared = np.flatnonzero(to >= 0)
            values = np.asarray(self.features[rows[of_template]], dtype=np.float32)
            points[of_template[:, None], :, to[shared]] = values[:, :, shared].transpose(0, 2, 1)
            present[of_template[:, None], to[shared]] = True
        if fill is None:
            fill = points.sum(axis=0, dtype=np.float64) / np.maximum(present.sum(axis=0), 1)
        points += np.asarray(fill, dtype=np.float32) * ~present[:, None, :]
        return points.reshape(rows.size, -1), np.asarray(fill, dtype=np.float32)

    def projections(self, rows: Integers, unit: int, fill: Any, direction: Floats) -> Floats:
        """Project spikes on a direction, reading them block by block."""
        out = np.empty(rows.size)
        for first in range(0, rows.size, BLOCK):
            out[first : first + BLOCK] = project(self.points(rows[first : first + BLOCK], unit, fill)[0], direction)
        return out


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
