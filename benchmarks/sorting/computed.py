"""Recordings of hours that are on no disk (:mod:`allen_ecephys.processing.simulation.computed`), and their truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from datasets import COMPUTED_FILE, RATE, Dataset, Design, noise_sd, write_dataset

from allen_ecephys.processing.simulation.computed import ComputedRecording, Movement, Population


def describe(design: Design, seed: int, folder: Path) -> Dataset:
    """Write what a recording is computed from, and its ground truth, to `folder`."""
    # Settling and wander as a probe's in its first hours, and a jump a third through.
    movement = Movement(jumps=((design.seconds / 3, 15.0),)) if design.drifting else Movement.still()
    recording = ComputedRecording(
        design.seconds, n_channels=design.n_channels, seed=seed, sampling_rate=RATE, movement=movement,
        population=Population(n_units=design.n_units, n_background=design.n_background),
    )  # fmt: skip
    truth = recording.truth()
    folder.mkdir(parents=True, exist_ok=True)
    recording.save(folder / COMPUTED_FILE)
    times = np.linspace(0.0, design.seconds, 201)
    uv_per_bit = float(recording.uv_per_bit[0])
    return write_dataset(
        folder, seed=seed, geometry=recording.geometry, uv_per_bit=uv_per_bit, spike_samples=truth.samples,
        spike_units=truth.units, background=truth.background, amplitude_uv=truth.amplitude_uv, depth_um=truth.depth_um,
        peak_channel=truth.peak_channel, noise_uv=noise_sd(recording.read(0, round(5 * RATE)), uv_per_bit),
        drift_seconds=times, drift_um=movement.displacement(times), design=design,
    )  # fmt: skip
