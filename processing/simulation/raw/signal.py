"""Making the samples of a simulated probe, one block after the other."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numba
import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import explains_unknown_names
from allen_ecephys.progress import progress_bar

from ...pipeline.outputs import SampleFile
from ...readers.compressed import CompressedFile, is_compressed
from ...recording import chunk_bounds
from ...shanks import ShankLines
from .formats import RawForm
from .noise import Float32, LfpBand, NoiseModel, SpikeBandNoise, hardware_high_pass
from .probe import RecordedProbe
from .templates import PRE_SAMPLES, TEMPLATE_SAMPLES, UnitShapes, local_channels, waveform
from .trains import Trains

#: A spike falls on a quarter of a sample; the probe moves by whole micrometers.
PHASES: Final = 4
#: The distance (um) of neighbouring channels of a 1.0 probe, in which the brain's surface is sharp.
SURFACE_UNIT: Final = 10.0
#: Samples are made in blocks of this many, so that no length of recording needs more memory.
BLOCK_SAMPLES: Final = 30_000
#: Far beyond the converter's range.
SATURATED_UV: Final = 1e5
CACHED_TEMPLATES: Final = 1500


@explains_unknown_names
@dataclass(frozen=True)
class DriftModel:
    """How the tissue moves along the probe, in um (positive: towards the surface).

    Attributes
    ----------
    linear_um
        Movement from the first to the last sample, at constant speed.
    step_um, n_steps
        Jumps of this size, evenly spaced, alternately up and down.
    stretch
        How unevenly the tissue moves: at the probe's tip by `1 - stretch`, at its top by `1 + stretch` times as much.

    Examples
    --------
    >>> DriftModel(linear_um=20.0).displacement(np.array([0.0, 5.0]), 10.0)
    array([ 0., 10.])
    """

    linear_um: float = 0.0
    step_um: float = 0.0
    n_steps: int = 0
    stretch: float = 0.0

    def displacement(
        self,
        seconds: npt.NDArray[np.float64],
        duration: float,
        height: float | npt.NDArray[np.float64] = 0.5,
    ) -> npt.NDArray[np.float64]:
        """Return the displacement in um at these times, and at this height along the probe (0 tip, 1 top).

        Examples
        --------
        >>> DriftModel(step_um=30.0, n_steps=1).displacement(np.array([1.0, 9.0]), duration=10.0)
        array([ 0., 30.])
        """
        step = np.floor(seconds / duration * (self.n_steps + 1)) % 2
        gain = 1.0 + self.stretch * (2.0 * np.asarray(height) - 1.0)
        return np.asarray((self.linear_um * seconds / duration + self.step_um * step) * gain)

    @property
    def reach(self) -> float:
        """Largest displacement that can occur, um.

        Examples
        --------
        >>> DriftModel(linear_um=20.0, step_um=30.0, n_steps=1).reach
        50.0
        """
        return (abs(self.linear_um) + abs(self.step_um)) * (1.0 + abs(self.stretch))


@explains_unknown_names
@dataclass(frozen=True)
class ChannelFaults:
    """Channels and moments that do not measure the brain.

    Attributes
    ----------
    dead, noisy, saturated
        Channels that are constant, carry 50 times the noise, or sit at the end of the converter's range.
    references
        Reference channels; by default those of the probe (for 1.0 probes those of a 3A probe, as in the release).
    saturation
        (start, stop) in seconds of events during which all channels sit at the end of the range.

    Examples
    --------
    >>> broken = write_recording("dead", duration=1.0, n_units=2, n_channels=16, faults=ChannelFaults(dead=(3,)))
    >>> np.ptp(broken.recording().read(0, 1_000), axis=0)[2:5]
    array([324,   0, 264], dtype=int16)
    """

    dead: tuple[int, ...] = ()
    noisy: tuple[int, ...] = ()
    saturated: tuple[int, ...] = ()
    references: tuple[int, ...] | None = None
    saturation: tuple[tuple[float, float], ...] = ()


@numba.njit(cache=True, nogil=True)
def add_spikes(
    block: Float32,
    starts: npt.NDArray[np.int64],
    amplitudes: Float32,
    phases: npt.NDArray[np.int64],
    template: Float32,
    channels: npt.NDArray[np.int64],
) -> None:
    """Add scaled copies of ``template[phase]`` (samples, local channels) to a block, cut at its ends."""
    for i in range(len(starts)):
        first = max(np.int64(0), -starts[i])
        last = min(np.int64(template.shape[1]), block.shape[0] - starts[i])
        for t in range(first, last):
            for k in range(len(channels)):
                block[starts[i] + t, channels[k]] += amplitudes[i] * template[phases[i], t, k]


@numba.njit(cache=True, nogil=True)
def digitise(
    microvolts: Float32,
    offsets: Float32,
    step: float,
    scale: float,
    columns: int,
    half_range: int,
    out: npt.NDArray[np.int16],
) -> None:
    """Quantise to steps of `step` microvolts, ``-half_range`` to ``half_range - 1``, in units of the file (`scale`)."""
    s = np.float32(step)
    lowest, highest = np.float32(-half_range), np.float32(half_range - 1)
    for t in range(microvolts.shape[0]):
        for c in range(columns):
            code = np.rint((microvolts[t, c] + offsets[c]) / s)
            code = min(max(code, lowest), highest)
            out[t, c] = np.int16(np.rint(code * scale))


def _new_file(path: Path, n_samples: int, columns: int, rate: float) -> SampleFile | CompressedFile:
    """Make the file of a band, compressed if its name says so."""
    return CompressedFile(path, columns, rate) if is_compressed(path) else SampleFile(path, 2 * n_samples * columns)


def _made_ahead(blocks: Iterator[tuple[int, Float32]]) -> Iterator[tuple[int, Float32]]:
    """Yield blocks, the next of which another thread makes while one is written."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, blocks, None)
        while (block := coming.result()) is not None:
            coming = pool.submit(next, blocks, None)
            yield block


def sync_words(start: int, stop: int, rate: float, square_wave: tuple[float, float]) -> npt.NDArray[np.int16]:
    """Return what the imec card writes beside samples: a square wave of 1 Hz on bit 6, up for a second's latter half.

    The wave's clock shows `square_wave[0]` seconds at sample 0; the probe's is faster by `square_wave[1]` millionths.
    """
    began, ppm = square_wave
    seconds = began + np.arange(start, stop, dtype=np.float64) / (round(rate) * (1.0 + ppm * 1e-6))
    return np.where(np.floor(2.0 * seconds) % 2 == 1, 64, 0).astype(np.int16)


class ProbeSignal:
    """What a probe records; see :func:`.recording.write_recording` for the parameters."""

    def __init__(
        self,
        *,
        probe: RecordedProbe,
        sampling_rate: float,
        n_samples: int,
        shapes: UnitShapes,
        trains: Trains,
        noise: NoiseModel,
        drift: DriftModel,
        faults: ChannelFaults,
        surface_um: float,
        seed: int,
        square_wave: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        self.probe, self.geometry, self.square_wave = probe, probe.geometry, square_wave
        self.rate, self.n_samples, self.seed = sampling_rate, n_samples, seed
        geometry = probe.geometry
        self.shapes, self.drift, self.faults, self.surface_um = shapes, drift, faults, surface_um
        self.n_channels = len(geometry)
        self.delays = probe.adc.delays
        rng = np.random.default_rng([seed, 4])
        self.offsets_uv = rng.normal(0.0, 20.0, self.n_channels)
        places = ShankLines.of(geometry, probe.shanks).places
        above = np.clip((places - surface_um) / SURFACE_UNIT, 0, None)
        self.brain: Float32 = np.where(above > 0, 0.4 * np.exp(-above / 1.5), 1.0).astype(np.float32)
        self.noise = SpikeBandNoise(noise, probe, self.brain, sampling_rate, seed)
        quarter = np.rint(trains.times * PHASES).astype(np.int64)
        self.spike_times = (quarter + PHASES // 2) // PHASES
        self.phases = quarter - self.spike_times * PHASES + PHASES // 2
        self.units, self.amplitudes, self.trains = trains.units, trains.amplitudes, trains
        seconds = self.spike_times / sampling_rate
        low, high = geometry[:, 1].min(), geometry[:, 1].max()
        height = np.clip((shapes.y - low) / max(high - low, 1.0), 0.0, 1.0)[self.units]
        self.shifts = np.rint(drift.displacement(seconds, n_samples / sampling_rate, height)).astype(np.int64)
        self.reach = int(np.ceil(drift.reach))
        self.scale = np.array([self._scale(u) for u in range(len(shapes))])
        self.cached: dict[tuple[int, int], tuple[npt.NDArray[np.int64], Float32]] = {}
        self.squares = np.zeros(self.n_channels)

    def _filtered(self, unit: int) -> Float32:
        """Waveform of a unit as the amplifiers pass it, with unit trough at distance 0: (82, n_channels)."""
        chosen = local_channels(self.shapes, unit, self.geometry, self.reach)
        template = np.zeros((TEMPLATE_SAMPLES, self.n_channels), np.float32)
        template[:, chosen] = waveform(self.shapes, unit, self.geometry[chosen], self.rate, delays=self.delays[chosen])
        hardware_high_pass(template, self.rate, np.zeros((2, self.n_channels), np.float32))
        return template

    def _scale(self, unit: int) -> float:
        template = self._filtered(unit)
        return float(self.shapes.amplitude_uv[unit] / np.ptp(template, axis=0).max())

    def _local(self, unit: int, shift: int) -> tuple[npt.NDArray[np.int64], Float32]:
        """Channels and unfiltered waveforms (phases, samples, channels) of a unit, in uV, for one displacement."""
        key = (unit, shift)
        if key not in self.cached:
            if len(self.cached) >= CACHED_TEMPLATES:
                self.cached.pop(next(iter(self.cached)))
            chosen = local_channels(self.shapes, unit, self.geometry, self.reach)
            phases = [
                waveform(
                    self.shapes, unit, self.geometry[chosen], self.rate,
                    shift_um=shift, phase=(p - PHASES // 2) / PHASES, delays=self.delays[chosen],
                )
                for p in range(PHASES)
            ]  # fmt: skip
            self.cached[key] = chosen, (self.scale[unit] * np.stack(phases)).astype(np.float32)
        return self.cached[key]

    def _add_spikes(self, block: Float32, start: int) -> None:
        first, last = np.searchsorted(
            self.spike_times, [start - TEMPLATE_SAMPLES + PRE_SAMPLES, start + len(block) + PRE_SAMPLES], side="left"
        )
        chosen = np.arange(first, last)
        pairs = np.column_stack([self.units[chosen], self.shifts[chosen]])
        for unit, shift in np.unique(pairs, axis=0).tolist():
            mine = chosen[(pairs == (unit, shift)).all(axis=1)]
            channels, template = self._local(unit, shift)
            starts = self.spike_times[mine] - PRE_SAMPLES - start
            add_spikes(block, starts, self.amplitudes[mine], self.phases[mine], template, channels)

    def _ap_blocks(self) -> Iterator[tuple[int, Float32]]:
        """First sample and microvolts of each block of the spike band, before offsets, faults and quantisation."""
        noise_state = np.zeros((2, self.n_channels), np.float32)
        spike_state = np.zeros((2, self.n_channels), np.float32)
        noisy = np.asarray(self.faults.noisy, dtype=np.int64)
        for number, (start, stop) in enumerate(chunk_bounds(self.n_samples, BLOCK_SAMPLES)):
            noise = self.noise.biological(number, stop - start)
            hardware_high_pass(noise, self.rate, noise_state)
            noise += self.noise.electronic(number, stop - start)
            noise[:, noisy] *= np.float32(50.0)
            # Noise and spikes pass the (linear) filter apart, so that the noise alone can be measured.
            self.squares += np.einsum("tc,tc->c", noise, noise, dtype=np.float64)
            spikes = np.zeros_like(noise)
            self._add_spikes(spikes, start)
            spikes[:, self.silent] = 0.0
            hardware_high_pass(spikes, self.rate, spike_state)
            noise += spikes
            yield start, noise

    def _break(self, block: Float32, start: int, rate: float) -> None:
        """Apply dead and saturated channels, references and moments of saturation, in place."""
        block[:, list(self.faults.references or ())] *= np.float32(0.2)
        block[:, list(self.faults.dead)] = 0.0
        block[:, list(self.faults.saturated)] = SATURATED_UV
        for begin, end in self.faults.saturation:
            first, last = (min(max(round(s * rate) - start, 0), len(block)) for s in (begin, end))
            block[first:last] = SATURATED_UV

    def write_ap(self, path: Path, form: RawForm) -> None:
        """Write the spike band to a new file."""
        self._write(path, form, self._ap_blocks(), self.n_samples, self.rate, self.probe.ap_step_uv)

    def write_lfp(self, path: Path, form: RawForm, n_lfp: int) -> None:
        """Write the LFP band, a twelfth of the samples, to a new file."""
        band = LfpBand(self.geometry, self.brain, self.rate / 12, self.seed)
        bounds = enumerate(chunk_bounds(n_lfp, BLOCK_SAMPLES))
        blocks = ((start, band.block(number, stop - start)) for number, (start, stop) in bounds)
        self._write(path, form, blocks, n_lfp, self.rate / 12, self.probe.lfp_step_uv or self.probe.ap_step_uv)

    def _write(
        self,
        path: Path,
        form: RawForm,
        blocks: Iterator[tuple[int, Float32]],
        n_samples: int,
        rate: float,
        step: float,
    ) -> None:
        scale = 1.0 if form.uv_per_bit is None else step / form.uv_per_bit
        half_range = 2 ** (self.probe.bits - 1)
        columns = self.n_channels + form.sync_column
        offsets = self.offsets_uv.astype(np.float32)
        with (
            _new_file(path, n_samples, columns, rate) as file,
            progress_bar(total=n_samples / rate, desc=f"simulating {path.name}", unit="s") as bar,
        ):
            for start, block in _made_ahead(blocks):
                self._break(block, start, rate)
                counts = np.zeros((len(block), columns), np.int16)
                digitise(block, offsets, step, scale, self.n_channels, half_range, counts)
                if form.sync_column:
                    counts[:, -1] = sync_words(start, start + len(block), rate, self.square_wave)
                if isinstance(file, CompressedFile):
                    file.append(counts)
                else:
                    file.write(counts.reshape(-1).view(np.uint8).data, 2 * columns * start)
                bar.update(len(block) / rate)

    @property
    def silent(self) -> npt.NDArray[np.int64]:
        """Channels on which no spike can be seen."""
        faults = self.faults
        return np.unique(np.array([*faults.dead, *faults.saturated, *(faults.references or ())], dtype=np.int64))

    def templates(self) -> Float32:
        """Waveforms as recorded, float32 (n_units, 82, n_channels) in uV, zero on channels that do not record."""
        templates = np.zeros((len(self.shapes), TEMPLATE_SAMPLES, self.n_channels), np.float32)
        for unit in range(len(self.shapes)):
            templates[unit] = self.scale[unit] * self._filtered(unit)
        templates[:, :, self.silent] = 0.0
        return templates
