"""A probe's recording that is computed where it is read: any length, no disk, equal values whoever reads what when."""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections import OrderedDict
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import FileFormatError, in_words
from allen_ecephys.files import atomic_file, read_json

from ...ranges import check_positive, check_whole
from ...recording import Channels, checked_bounds
from ...timeline import Timeline
from ..raw.noise import hardware_high_pass
from ..raw.probe import NEUROPIXELS_1, recorded_probe
from ..raw.signal import PHASES, add_spikes, digitise
from ..raw.templates import PRE_SAMPLES, TEMPLATE_SAMPLES, local_channels, waveform
from ..raw.trains import TrainModel
from .movement import Movement
from .noise import Background, BackgroundBlocks
from .units import LivingUnits, Population

Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

#: Samples that are computed at a time, and how many such blocks are kept: about 100 MB of 384 channels.
BLOCK_SAMPLES: Final = 8192
KEPT_BLOCKS: Final = 16
#: Waveforms (of one unit at one place) that are kept: about 100 MB of 384 channels.
KEPT_WAVEFORMS: Final = 1200
#: A unit is left out of channels on which it is smaller (uV, peak to trough): a fifth of a converter's step.
LEAST_UV: Final = 0.5


@dataclass(frozen=True, eq=False)
class ComputedTruth:
    """What a sorter is to find.

    Attributes
    ----------
    samples, units
        int64 (n_spikes,): sample of each spike's trough, ascending, and its unit.
    sizes
        float32 (n_spikes,): relative to the unit's whole amplitude.
    background
        bool (n_units,): small units that need not be found.
    amplitude_uv, depth_um
        float64 (n_units,): peak-to-trough amplitude on the largest channel, and y.
    peak_channel
        int64 (n_units,), before anything moved.
    alive
        float64 (n_units, 2): seconds between which each unit fires.
    """

    samples: Int64
    units: Int64
    sizes: Float32
    background: npt.NDArray[np.bool_]
    amplitude_uv: Float64
    depth_um: Float64
    peak_channel: Int64
    alive: Float64


class ComputedRecording:
    """The spike band of a probe in moving tissue, as a :class:`~allen_ecephys.processing.recording.Recording`.

    Equal arguments give equal samples, in any process, on any platform with the same random numbers, whatever is read,
    in which order and by how many threads. Nothing is kept but a few blocks: an hour of 384 channels, 83 GB as a file,
    needs about 300 MB.

    Parameters
    ----------
    seconds
        Length of the recording.
    n_channels, probe
        How many of the lowest sites of which probe are recorded.
    population, movement, background
        Who lives along the probe, how the tissue moves, and what else is recorded.
    seed
        Of everything.
    sampling_rate
        Hz.

    Raises
    ------
    InvalidValueError
        If a number is out of range.
    UnknownNameError
        If there is no such probe.

    Examples
    --------
    >>> recording = ComputedRecording(2.0, n_channels=32, population=Population(n_units=4, n_background=8))
    >>> recording.read(30_000, 30_100).shape
    (100, 32)
    >>> truth = recording.truth()
    """

    #: int16, as of a file.
    dtype: np.dtype[Any] = np.dtype(np.int16)

    def __init__(
        self,
        seconds: float,
        *,
        n_channels: int = 384,
        probe: str = NEUROPIXELS_1,
        population: Population | None = None,
        movement: Movement | None = None,
        background: Background | None = None,
        seed: int = 0,
        sampling_rate: float = 30_000.0,
    ) -> None:
        check_whole("seed", seed)
        check_positive("seconds", seconds)
        check_positive("sampling_rate", sampling_rate)
        who, how, what = population or Population(), movement or Movement(), background or Background()
        self._arguments: dict[str, Any] = {
            "seconds": seconds, "n_channels": n_channels, "probe": probe, "population": who, "movement": how,
            "background": what, "seed": seed, "sampling_rate": sampling_rate,
        }  # fmt: skip
        self.probe = recorded_probe(probe, n_channels)
        self.n_samples, self.n_channels = round(seconds * sampling_rate), n_channels
        self.sampling_rate, self.movement = sampling_rate, how
        self.geometry, self.shanks, self.adc = self.probe.geometry, self.probe.shanks, self.probe.adc
        self.uv_per_bit = np.full(n_channels, self.probe.ap_step_uv)
        self.full_scale_uv = self.probe.ap_step_uv * 2 ** (self.probe.bits - 1)
        self.timeline = Timeline.unbroken(self.n_samples)
        self.reference_channels = np.empty(0, np.int64)
        self.units = LivingUnits(who, self.geometry, seconds, sampling_rate, seed)
        self._noise = BackgroundBlocks(what, self.probe, sampling_rate, BLOCK_SAMPLES, seed)
        self._offsets = np.random.default_rng([seed, 40]).normal(0.0, 20.0, n_channels).astype(np.float32)
        low, high = self.geometry[:, 1].min(), self.geometry[:, 1].max()
        self._heights = np.clip((self.units.shapes.y - low) / max(high - low, 1.0), 0.0, 1.0)
        self._scales, self._peaks = self._sizes_at_rest()
        self._blocks: OrderedDict[int, npt.NDArray[np.int16]] = OrderedDict()
        self._waveforms: OrderedDict[tuple[int, int], tuple[Int64, Float32]] = OrderedDict()
        self._lock = Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what the recording is made from."""
        return functools.partial(ComputedRecording, **self._arguments), ()

    def __repr__(self) -> str:
        """Say what is recorded."""
        return (
            f"ComputedRecording({self.n_samples / self.sampling_rate:g} s of {self.n_channels} channels, "
            f"{int((~self.units.background).sum())} units, seed {self._arguments['seed']})"
        )

    def as_text(self) -> str:
        """Return what the recording is made from, as JSON."""
        plain = {
            name: value if isinstance(value, int | float | str) else asdict(value)
            for name, value in self._arguments.items()
        }
        return json.dumps(plain, sort_keys=True, indent=1)

    @property
    def fingerprint(self) -> str:
        """What tells this recording from every other: work that was stopped may go on with an equal one."""
        return hashlib.sha256(self.as_text().encode()).hexdigest()

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write what the recording is made from to a small file, which stages can name as their input."""
        target = Path(path)
        with atomic_file(target) as file:
            file.write(self.as_text().encode())
        return target

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> ComputedRecording:
        """Return the recording that :meth:`save` described.

        Raises
        ------
        FileFormatError
            If the file describes none.
        """
        try:
            facts: dict[str, Any] = read_json(Path(path))
            who, how, what = (facts.pop(name) for name in ("population", "movement", "background"))
            fires = who.pop("trains")
            trains = TrainModel(**{**fires, "rate_range": tuple(fires["rate_range"])})
            jumps = tuple((float(second), float(um)) for second, um in how.pop("jumps"))
            return cls(
                **facts, population=Population(**who, trains=trains), movement=Movement(**how, jumps=jumps),
                background=Background(**{**what, "corners_hz": tuple(what["corners_hz"])}),
            )  # fmt: skip
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            msg = f"{path} describes no computed recording: {in_words(error)}"
            raise FileFormatError(msg) from error

    def read(self, start: int, stop: int, channels: Channels = None) -> npt.NDArray[np.int16]:
        """Return samples ``[start, stop)``, int16 (stop - start, channels)."""
        start, stop = checked_bounds(start, stop, self.n_samples, repr(self))
        out = np.empty((stop - start, self.n_channels), np.int16)
        for number in range(start // BLOCK_SAMPLES, -(-stop // BLOCK_SAMPLES)):
            first = number * BLOCK_SAMPLES
            low, high = max(start, first), min(stop, first + BLOCK_SAMPLES)
            out[low - start : high - start] = self._block(number)[low - first : high - first]
        return out if channels is None else out[:, channels]

    def read_uv(self, start: int, stop: int, channels: Channels = None) -> Float32:
        """Return samples ``[start, stop)`` in microvolts, float32."""
        steps = self.uv_per_bit if channels is None else self.uv_per_bit[channels]
        return self.read(start, stop, channels).astype(np.float32) * steps.astype(np.float32)

    def truth(self) -> ComputedTruth:
        """Return all true spikes, drawn stretch by stretch: some 16 bytes each."""
        parts = [self.units.spikes(stretch) for stretch in range(self.units.n_stretches)]
        samples = np.concatenate([_troughs(times)[0] for times, _, _ in parts])
        inside = samples < self.n_samples
        return ComputedTruth(
            samples=samples[inside],
            units=np.concatenate([units for _, units, _ in parts])[inside],
            sizes=np.concatenate([sizes for _, _, sizes in parts])[inside],
            background=self.units.background,
            amplitude_uv=self.units.shapes.amplitude_uv,
            depth_um=self.units.shapes.y,
            peak_channel=self._peaks,
            alive=self.units.alive,
        )

    def _block(self, number: int) -> npt.NDArray[np.int16]:
        with self._lock:
            if number in self._blocks:
                self._blocks.move_to_end(number)
                return self._blocks[number]
        made = self._compute(number)
        with self._lock:
            self._blocks[number] = made
            while len(self._blocks) > KEPT_BLOCKS:
                self._blocks.popitem(last=False)
        return made

    def _compute(self, number: int) -> npt.NDArray[np.int16]:
        start = number * BLOCK_SAMPLES
        n = min(BLOCK_SAMPLES, self.n_samples - start)
        microvolts = self._noise.block(number, n)
        times, units, sizes = self.units.between(start - TEMPLATE_SAMPLES, start + n + TEMPLATE_SAMPLES)
        samples, phases = _troughs(times)
        moved = self.movement.displacement(times / self.sampling_rate, self._heights[units])
        shifts = np.rint(moved).astype(np.int64)
        order = np.lexsort((samples, shifts, units))
        cut = np.flatnonzero((np.diff(units[order]) != 0) | (np.diff(shifts[order]) != 0)) + 1
        for mine in np.split(order, cut) if len(order) else ():
            channels, template = self._waveform(int(units[mine[0]]), int(shifts[mine[0]]))
            add_spikes(microvolts, samples[mine] - PRE_SAMPLES - start, sizes[mine], phases[mine], template, channels)
        counts = np.empty((n, self.n_channels), np.int16)
        half_range = 2 ** (self.probe.bits - 1)
        digitise(microvolts, self._offsets, self.probe.ap_step_uv, 1.0, self.n_channels, half_range, counts)
        return counts

    def _waveform(self, unit: int, shift: int) -> tuple[Int64, Float32]:
        """Return a unit's channels at one displacement, and its waveforms there (phases, samples, channels) in uV."""
        key = (unit, shift)
        with self._lock:
            if key in self._waveforms:
                self._waveforms.move_to_end(key)
                return self._waveforms[key]
        shapes = self.units.shapes
        channels = local_channels(shapes, unit, self.geometry, self.movement.reach)
        passed = np.stack([self._passed(unit, channels, shift, phase) for phase in range(PHASES)])
        seen = np.ptp(passed, axis=1).max(axis=0) >= LEAST_UV
        made = channels[seen], np.ascontiguousarray(passed[:, :, seen])
        with self._lock:
            self._waveforms[key] = made
            while len(self._waveforms) > KEPT_WAVEFORMS:
                self._waveforms.popitem(last=False)
        return made

    def _passed(self, unit: int, channels: Int64, shift: int = 0, phase: int = PHASES // 2) -> Float32:
        """Return the waveform that the amplifiers leave of a unit on some channels, float32 (samples, channels), uV."""
        template = waveform(
            self.units.shapes, unit, self.geometry[channels], self.sampling_rate, shift_um=shift,
            phase=(phase - PHASES // 2) / PHASES, delays=self.adc.delays[channels],
        ).astype(np.float32)  # fmt: skip
        hardware_high_pass(template, self.sampling_rate, np.zeros((2, len(channels)), np.float32))
        template *= np.float32(self._scales[unit])
        return template

    def _sizes_at_rest(self) -> tuple[Float64, Int64]:
        """Return by what each unit's waveform is scaled to have its amplitude at rest, and its largest channel."""
        self._scales = np.ones(len(self.units.shapes))
        sizes, peaks = np.empty(len(self._scales)), np.empty(len(self._scales), np.int64)
        for unit in range(len(sizes)):
            channels = local_channels(self.units.shapes, unit, self.geometry)
            spans = np.ptp(self._passed(unit, channels), axis=0)
            sizes[unit], peaks[unit] = spans.max(), channels[spans.argmax()]
        return self.units.shapes.amplitude_uv / sizes, peaks


def _troughs(times: Float64) -> tuple[Int64, Int64]:
    """Return the whole sample of each spike's trough, and the quarter of a sample that it lies off it."""
    quarters = np.rint(times * PHASES).astype(np.int64)
    samples = (quarters + PHASES // 2) // PHASES
    return samples, quarters - samples * PHASES + PHASES // 2
