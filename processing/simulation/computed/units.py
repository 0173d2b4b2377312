"""Units that live as long as a recording, or less: their places, rates and spikes, minute by minute from the seed."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, fields
from threading import Lock
from typing import Final

import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import explains_unknown_names

from ..raw.templates import UnitShapes, draw_unit_shapes
from ..raw.trains import TrainModel, assemble_trains, renewal_train, with_bursts

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]

#: Spikes are drawn in stretches of so many seconds, each for itself. No unit fires in a stretch's last milliseconds, so
#: that none fires too soon after the last spike of the one before.
STRETCH_SECONDS: Final = 60.0
#: Stretches whose spikes are kept.
KEPT_STRETCHES: Final = 4
#: A unit that appears grows from this share of its size to the whole within so many seconds; one that vanishes shrinks.
LEAST_SIZE: Final = 0.3
RAMP_SECONDS: Final = 60.0
#: Amplitudes (uV, peak to trough) of background units.
BACKGROUND_UV: Final = (8.0, 28.0)
FIRING: Final = TrainModel(rate_range=(1.0, 30.0), bursting_share=0.4, adaptation=0.4, amplitude_jitter=0.08)


@explains_unknown_names
@dataclass(frozen=True)
class Population:
    """Who lives along the probe.

    Attributes
    ----------
    n_units, n_background
        Units that a sorter is to find, of 30 to 300 uV, and small ones of 8 to 28 uV that it need not.
    appearing_share, vanishing_share
        Of the units to find: those that come into the probe's sight, or leave it, while it records.
    rate_contrast, rate_seconds
        How much rates change, as the SD of their logarithm, and the period of these changes.
    synchronous_share
        Of the spikes of a unit: those that a neighbour's follows or precedes within half a millisecond.
    trains
        How units fire otherwise.
    """

    n_units: int = 200
    n_background: int = 400
    appearing_share: float = 0.1
    vanishing_share: float = 0.1
    rate_contrast: float = 0.5
    rate_seconds: float = 700.0
    synchronous_share: float = 0.1
    trains: TrainModel = FIRING


class LivingUnits:
    """The units of one recording and their spikes.

    Attributes
    ----------
    shapes
        Places and waveforms, units to find first.
    background
        bool (n,): small units that need not be found.
    alive
        float64 (n, 2): seconds between which each unit fires.
    """

    def __init__(
        self, population: Population, geometry: Float64, seconds: float, sampling_rate: float, seed: int
    ) -> None:
        p, self.seed, self.seconds, self.rate = population, seed, seconds, sampling_rate
        self.population = p
        rng = np.random.default_rng([seed, 20])
        found = draw_unit_shapes(p.n_units, geometry, rng, amplitude_range=(30.0, 300.0))
        small = draw_unit_shapes(p.n_background, geometry, rng, amplitude_range=BACKGROUND_UV)
        small.amplitude_uv[:] = rng.uniform(*BACKGROUND_UV, p.n_background)
        names = [field.name for field in fields(UnitShapes)]
        self.shapes = UnitShapes(**{n: np.concatenate([getattr(found, n), getattr(small, n)]) for n in names})
        n = len(self.shapes)
        self.background = np.arange(n) >= p.n_units
        self._rates = np.clip(np.exp(rng.normal(np.log(4.0), 0.9, n)), *p.trains.rate_range)
        self._bursting = rng.random(n) < p.trains.bursting_share
        self._phases = rng.uniform(0, 2 * np.pi, n)
        self.alive = np.tile([0.0, seconds], (n, 1))
        lot, moments = rng.random(n), rng.uniform(0.15, 0.85, n) * seconds
        comes = ~self.background & (lot < p.appearing_share)
        goes = ~self.background & (lot > 1.0 - p.vanishing_share)
        self.alive[comes, 0], self.alive[goes, 1] = moments[comes], moments[goes]
        self._partners = self._neighbours(rng)
        self._kept: OrderedDict[int, tuple[Float64, Int64, Float32]] = OrderedDict()
        self._lock = Lock()

    def _neighbours(self, rng: np.random.Generator) -> Int64:
        """Return for each unit the one nearby that fires with it, -1 for none."""
        partners = np.full(len(self.shapes), -1, np.int64)
        listed = np.flatnonzero(~self.background)
        for unit in listed:
            near = listed[(np.abs(self.shapes.y[listed] - self.shapes.y[unit]) < 80.0) & (listed != unit)]
            if len(near):
                partners[unit] = rng.choice(near)
        return partners

    @property
    def n_stretches(self) -> int:
        """Stretches that the recording has, the last perhaps shorter."""
        return int(np.ceil(self.seconds / STRETCH_SECONDS))

    def spikes(self, stretch: int) -> tuple[Float64, Int64, Float32]:
        """Return the spikes of a stretch in order of time: sample (with its fraction), unit and relative size."""
        with self._lock:
            if stretch in self._kept:
                return self._kept[stretch]
        drawn = self._draw(stretch)
        with self._lock:
            self._kept[stretch] = drawn
            while len(self._kept) > KEPT_STRETCHES:
                self._kept.popitem(last=False)
        return drawn

    def between(self, start: float, stop: float) -> tuple[Float64, Int64, Float32]:
        """Return the spikes at samples ``[start, stop)``, in order of time."""
        length = STRETCH_SECONDS * self.rate
        listed = range(max(int(start // length), 0), min(int(stop // length) + 1, self.n_stretches))
        parts = []
        for times, units, sizes in map(self.spikes, listed):
            a, b = np.searchsorted(times, [start, stop])
            parts.append((times[a:b], units[a:b], sizes[a:b]))
        if not parts:
            return np.empty(0), np.empty(0, np.int64), np.empty(0, np.float32)
        times, units, sizes = (np.concatenate(part) for part in zip(*parts, strict=True))
        return times, units, sizes

    def _draw(self, stretch: int) -> tuple[Float64, Int64, Float32]:
        rng, model = np.random.default_rng([self.seed, 21, stretch]), self.population.trains
        start = stretch * STRETCH_SECONDS
        dead = model.refractory_ms / 1e3
        length = min(STRETCH_SECONDS, self.seconds - start) - dead
        rates = self._rates * np.exp(
            self.population.rate_contrast
            * np.sqrt(2.0)
            * np.sin(2 * np.pi * start / self.population.rate_seconds + self._phases)
        )
        trains = [renewal_train(rate, length, dead, rng) if length > 0 else np.empty(0) for rate in rates]
        together: list[list[Float64]] = [[] for _ in trains]
        for unit, partner in enumerate(self._partners):
            chosen = trains[unit][rng.random(len(trains[unit])) < self.population.synchronous_share]
            offsets = rng.uniform(-5e-4, 5e-4, len(chosen))
            if partner >= 0:
                together[partner].append(chosen + offsets)
        for unit in range(len(trains)):
            added = np.sort(np.concatenate([trains[unit], *together[unit]]))
            # Bursts drop what falls into a dead time, of synchronous spikes too.
            share = 0.3 if self._bursting[unit] else 0.0
            train = with_bursts(added[(added >= 0) & (added < length)], length, dead, rng, share=share)
            since, until = self.alive[unit] - start
            trains[unit] = train[(train >= since) & (train < until)]
        drawn = assemble_trains(trains, self.rate, rng, model)
        sizes = drawn.amplitudes * self._sizes(drawn.times / self.rate + start, drawn.units)
        return drawn.times + start * self.rate, drawn.units, sizes.astype(np.float32)

    def _sizes(self, seconds: Float64, units: Int64) -> Float64:
        """Return how much of each unit is in sight."""
        since, until = self.alive[units].T
        comes = np.where(since > 0, (seconds - since) / RAMP_SECONDS, 1.0)
        goes = np.where(until < self.seconds, (until - seconds) / RAMP_SECONDS, 1.0)
        return np.asarray(LEAST_SIZE + (1.0 - LEAST_SIZE) * np.clip(np.minimum(comes, goes), 0.0, 1.0))
