"""Recordings of this package's simulator, made harder than its defaults.

A third of the units is foreground (amplitudes from 30 uV peak to trough, log-normal around 90 uV); the rest are
background units of 8-28 uV, which fire like the others and make the noise non-Gaussian as a brain does. All units lose
up to 40 % of their amplitude within a burst, four in ten fire bursts, and one spike in ten of every foreground unit has
a neighbour's spike placed within 0.5 ms of it. Noise is about 10 uV rms with a local, a common and a converter part.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
from datasets import RATE, Dataset, Design, noise_sd, write_dataset

from allen_ecephys.processing.probes import neuropixels_1_geometry
from allen_ecephys.processing.simulation.raw import ChannelFaults, DriftModel, NoiseModel, TrainModel, write_recording
from allen_ecephys.processing.simulation.raw.formats import OPEN_EPHYS_UV
from allen_ecephys.processing.simulation.raw.templates import UnitShapes, draw_unit_shapes
from allen_ecephys.processing.simulation.raw.trains import Trains, assemble_trains, draw_trains

NOISE = NoiseModel(local_uv=7.0, common_uv=5.0, converter_uv=1.5, white_uv=5.0)
#: Local noise of a low corner loses most of its power to the amplifiers' high-pass: so much more is drawn.
COLOURED_NOISE = replace(NOISE, local_uv=14.0, common_uv=10.0)
FIRING = TrainModel(bursting_share=0.4, adaptation=0.4, amplitude_jitter=0.08)
#: 25 um over the whole recording and a jump of 12 um half way.
DRIFT = DriftModel(linear_um=25.0, step_um=12.0, n_steps=1)
SYNCHRONOUS_SHARE = 0.1
SYNCHRONOUS_MS = 0.5
NEIGHBOUR_UM = 80.0


def simulate(design: Design, seed: int, folder: Path) -> Dataset:
    """Write one recording of the simulator and its ground truth to `folder`."""
    geometry = neuropixels_1_geometry(design.n_channels)
    rng = np.random.default_rng([seed, 77, design.n_channels])
    shapes = draw_shapes(design, geometry, rng)
    background = np.arange(len(shapes)) >= design.n_units
    trains = draw_overlapping_trains(shapes, background, design, rng)
    raw = folder.with_name(f".{folder.name}-raw")
    shutil.rmtree(raw, ignore_errors=True)
    truth = write_recording(
        raw, duration=design.seconds, n_channels=design.n_channels, form="binary", seed=seed, lfp=False,
        noise=NOISE if design.corner_hz == NOISE.corner_hz else replace(COLOURED_NOISE, corner_hz=design.corner_hz),
        surface_channel=design.n_channels, shapes=shapes, trains=trains, faults=ChannelFaults(references=()),
        drift=DRIFT if design.drifting else None,
    )  # fmt: skip
    recording = truth.recording()
    folder.mkdir(parents=True, exist_ok=True)
    Path(recording.path).rename(folder / "recording.dat")
    shutil.rmtree(raw)
    peak = truth.units["peak_channel"].to_numpy()
    data = np.memmap(folder / "recording.dat", np.int16, "r").reshape(-1, design.n_channels)
    return write_dataset(
        folder, seed=seed, geometry=geometry, uv_per_bit=OPEN_EPHYS_UV,
        spike_samples=truth.spike_times, spike_units=truth.spike_units, background=background,
        amplitude_uv=truth.units["amplitude"].to_numpy(), depth_um=shapes.y, peak_channel=peak,
        noise_uv=noise_sd(data, OPEN_EPHYS_UV),
        drift_seconds=truth.drift_times, drift_um=truth.drift_um, design=design,
    )  # fmt: skip


def draw_shapes(design: Design, geometry: np.ndarray, rng: np.random.Generator) -> UnitShapes:
    """Foreground units first, then background units of uniform amplitude."""
    drawn = [
        draw_unit_shapes(count, geometry, rng, amplitude_range=amplitudes)
        for count, amplitudes in ((design.n_units, (30.0, 300.0)), (design.n_background, (8.0, 28.0)))
    ]
    columns = {name: np.concatenate([part, drawn[1].columns()[name]]) for name, part in drawn[0].columns().items()}
    columns["amplitude_uv"][design.n_units :] = rng.uniform(8.0, 28.0, design.n_background)
    return UnitShapes(**columns)


def draw_overlapping_trains(
    shapes: UnitShapes, background: np.ndarray, design: Design, rng: np.random.Generator
) -> Trains:
    """Spikes of all units; one in ten of a foreground unit's makes a near foreground unit fire within 0.5 ms."""
    seconds, model = design.seconds, replace(FIRING, rate_range=design.rate_range)
    drawn = draw_trains(len(shapes), seconds, RATE, rng, model)
    trains = [drawn.times[drawn.units == unit] / RATE for unit in range(len(shapes))]
    added: list[list[np.ndarray]] = [[] for _ in trains]
    foreground = np.flatnonzero(~background)
    for unit in foreground:
        near = foreground[(np.abs(shapes.y[foreground] - shapes.y[unit]) < NEIGHBOUR_UM) & (foreground != unit)]
        if len(near):
            chosen = trains[unit][rng.random(len(trains[unit])) < SYNCHRONOUS_SHARE]
            offsets = rng.uniform(-SYNCHRONOUS_MS, SYNCHRONOUS_MS, len(chosen)) / 1e3
            added[rng.choice(near)].append(chosen + offsets)
    together = [np.concatenate([train, *more]) for train, more in zip(trains, added, strict=True)]
    last = seconds - 1.0 / RATE
    return assemble_trains([refractory(train[(train >= 0) & (train < last)]) for train in together], RATE, rng, model)


def refractory(train: np.ndarray, dead_time: float = FIRING.refractory_ms / 1e3) -> np.ndarray:
    """Sort a train and drop what falls into the dead time of the spike before it."""
    kept: list[float] = []
    for time in np.sort(train).tolist():
        if not kept or time - kept[-1] >= dead_time:
            kept.append(time)
    return np.asarray(kept)
