"""Spike trains with refractoriness, bursts, tuning and amplitude adaptation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import explains_unknown_names


@explains_unknown_names
@dataclass(frozen=True)
class TrainModel:
    """How units fire.

    Attributes
    ----------
    rate_range
        Smallest and largest mean rate in Hz; rates are log-normal around 4 Hz within it.
    refractory_ms
        Shortest interval between two spikes of a unit.
    bursting_share
        Share of units that fire bursts: one to three more spikes, 3-6 ms apart, follow three spikes in ten.
    adaptation
        Largest relative loss of amplitude right after a spike; it recovers with a time constant of 20 ms.
    amplitude_jitter
        Relative SD of the amplitudes of a unit's spikes.
    tuned_share
        Share of units tuned to the direction of gratings (2 s shown every 3 s, 8 directions).

    Examples
    --------
    >>> slow = TrainModel(rate_range=(0.5, 2.0))
    >>> few = write_recording("slow_units", duration=2.0, n_units=4, n_channels=16, trains=slow)
    >>> bool(few.units["firing_rate"].max() < 5)
    True
    """

    rate_range: tuple[float, float] = (0.3, 30.0)
    refractory_ms: float = 1.6
    bursting_share: float = 0.3
    adaptation: float = 0.25
    amplitude_jitter: float = 0.06
    tuned_share: float = 0.0


@dataclass(frozen=True)
class Trains:
    """Spikes of all units in time order.

    Attributes
    ----------
    times
        float64: sample number, with its fraction.
    units
        int64: unit of each spike, counted from 0.
    amplitudes
        float32: size of each spike relative to its unit's template.
    gratings
        (n, 3) float64: start and stop in seconds and direction in degrees of each grating shown; empty if none.
    preferred_direction
        float64 (n_units,): degrees, NaN for units that are not tuned.
    """

    times: npt.NDArray[np.float64]
    units: npt.NDArray[np.int64]
    amplitudes: npt.NDArray[np.float32]
    gratings: npt.NDArray[np.float64]
    preferred_direction: npt.NDArray[np.float64]


def draw_trains(
    n_units: int, duration: float, sampling_rate: float, rng: np.random.Generator, model: TrainModel | None = None
) -> Trains:
    """Draw the spikes of `n_units` units over `duration` seconds."""
    model = model or TrainModel()
    low, high = model.rate_range
    rates = np.clip(np.exp(rng.normal(np.log(4.0), 0.9, n_units)), low, high)
    bursting = rng.random(n_units) < model.bursting_share
    tuned = rng.random(n_units) < model.tuned_share
    gratings = _gratings(duration, rng) if tuned.any() else np.empty((0, 3))
    preferred = np.where(tuned, rng.integers(0, 8, n_units) * 45.0, np.nan)
    trains = []
    for unit in range(n_units):
        peak_rate = rates[unit] * (3.0 if tuned[unit] else 1.0)
        seconds = renewal_train(peak_rate, duration, model.refractory_ms / 1e3, rng)
        if tuned[unit]:
            seconds = seconds[rng.random(len(seconds)) < _tuning(seconds, gratings, preferred[unit])]
        if bursting[unit]:
            seconds = with_bursts(seconds, duration, model.refractory_ms / 1e3, rng)
        trains.append(seconds)
    return assemble_trains(trains, sampling_rate, rng, model, gratings=gratings, preferred_direction=preferred)


def assemble_trains(
    trains: list[npt.NDArray[np.float64]],
    sampling_rate: float,
    rng: np.random.Generator,
    model: TrainModel | None = None,
    *,
    gratings: npt.NDArray[np.float64] | None = None,
    preferred_direction: npt.NDArray[np.float64] | None = None,
) -> Trains:
    """Give spikes of known times (seconds, one sorted array a unit) their amplitudes and merge them in time order."""
    model = model or TrainModel()
    amplitudes = [_amplitudes(train, model, rng) for train in trains]
    times = np.concatenate([np.empty(0), *trains]) * sampling_rate
    units = np.repeat(np.arange(len(trains), dtype=np.int64), [len(train) for train in trains])
    order = np.lexsort((units, times))
    return Trains(
        times=times[order],
        units=units[order],
        amplitudes=np.concatenate([np.empty(0), *amplitudes])[order].astype(np.float32),
        gratings=np.empty((0, 3)) if gratings is None else gratings,
        preferred_direction=np.full(len(trains), np.nan) if preferred_direction is None else preferred_direction,
    )


def renewal_train(rate: float, duration: float, refractory: float, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Poisson with a dead time: intervals are the dead time plus an exponential, of mean 1 / rate in all."""
    mean = max(1.0 / rate - refractory, 1e-4)
    times = np.empty(0)
    last = -rng.exponential(mean)
    while last < duration:
        expected = (duration - last) * rate
        intervals = refractory + rng.exponential(mean, int(expected + 6 * np.sqrt(expected) + 10))
        more = last + np.cumsum(intervals)
        times, last = np.concatenate([times, more]), float(more[-1])
    return times[(times >= 0) & (times < duration)]


def with_bursts(
    seconds: npt.NDArray[np.float64], duration: float, refractory: float, rng: np.random.Generator, share: float = 0.3
) -> npt.NDArray[np.float64]:
    """Append one to three spikes, 3-6 ms apart, to a share of the spikes; drop what falls into a dead time."""
    extra = [seconds]
    current = seconds[rng.random(len(seconds)) < share]
    for _ in range(3):
        current = current + rng.uniform(0.003, 0.006, len(current))
        extra.append(current)
        current = current[rng.random(len(current)) < 0.5]
    merged = np.sort(np.concatenate(extra))
    merged = merged[merged < duration]
    kept = np.ones(len(merged), dtype=bool)
    last = -np.inf
    for i, time in enumerate(merged):
        kept[i] = time - last >= refractory
        last = time if kept[i] else last
    return merged[kept]


def _gratings(duration: float, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    starts = np.arange(1.0, max(duration - 2.0, 1.0), 3.0)
    return np.column_stack([starts, starts + 2.0, rng.integers(0, 8, len(starts)) * 45.0])


def _tuning(
    seconds: npt.NDArray[np.float64], gratings: npt.NDArray[np.float64], preferred: float
) -> npt.NDArray[np.float64]:
    """Probability that a spike survives: 0.15 in the grey, up to 1 during the preferred direction."""
    grating = np.searchsorted(gratings[:, 0], seconds, side="right") - 1
    shown = (grating >= 0) & (seconds < gratings[np.maximum(grating, 0), 1])
    angle = np.deg2rad(gratings[np.maximum(grating, 0), 2] - preferred)
    return np.where(shown, 0.15 + 0.85 * np.exp(2.0 * (np.cos(angle) - 1.0)), 0.15)


def _amplitudes(
    seconds: npt.NDArray[np.float64], model: TrainModel, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Amplitudes fall after a spike and recover within tens of milliseconds, and jitter."""
    intervals = np.diff(seconds, prepend=-np.inf)
    adapted = 1.0 - model.adaptation * np.exp(-intervals / 0.020)
    return np.asarray(adapted * np.maximum(1.0 + model.amplitude_jitter * rng.standard_normal(len(seconds)), 0.2))
