"""Recordings of SpikeInterface's generator (`generate_drifting_recording`), as hard as those of our simulator.

Waveforms, noise, drift and the placing of spikes are SpikeInterface's. Amplitudes, spike times (bursts, overlaps) and
amplitude factors (adaptation, jitter) are drawn as for our simulator, and the probe has the same geometry. Noise is
white in time with a covariance that falls off over 25 um, plus a part that all channels share, 10 uV rms in all. The
drift is a slow triangle of 26 um with jumps of 14 um at the top, 0.7 of that at the tip (ours is rigid: 25 + 12 um).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from datasets import RATE, Dataset, Design, noise_sd, write_dataset
from simulated import draw_overlapping_trains, draw_shapes

from allen_ecephys.processing.probes import neuropixels_1_geometry

UV_PER_BIT = 0.195
LOCAL_UV, COMMON_UV = 9.0, 4.0
MOTION = {
    "displacement_sampling_frequency": 5.0,
    "drift_start_um": [0, 20.0],
    "drift_stop_um": [0, -20.0],
    "drift_step_um": 1,
    "motion_list": [
        {"drift_mode": "zigzag", "amplitude_factor": 0.65, "non_rigid_gradient": 0.7, "period_s": 160},
        {"drift_mode": "bump", "amplitude_factor": 0.35, "non_rigid_gradient": 0.7, "bump_interval_s": (30, 60.0)},
    ],
}
STILL = {
    **MOTION,
    "drift_start_um": [0, 1.0],
    "drift_stop_um": [0, -1.0],
    "motion_list": [{"drift_mode": "zigzag", "amplitude_factor": 0.1}],
}
TEMPLATES = {"ms_before": 1.5, "ms_after": 3.0, "mode": "ellipsoid"}


def generate(design: Design, seed: int, folder: Path) -> Dataset:
    """Write one recording of SpikeInterface's generator and its ground truth to `folder`."""
    from spikeinterface.core import NumpySorting
    from spikeinterface.core.generate import _ensure_unit_params, generate_unit_locations
    from spikeinterface.generation import generate_drifting_recording

    geometry = neuropixels_1_geometry(design.n_channels)
    rng = np.random.default_rng([seed, 78, design.n_channels])
    shapes = draw_shapes(design, geometry, rng)
    n_units = len(shapes)
    places = generate_unit_locations(
        n_units, geometry, margin_um=10.0, minimum_z=10.0, maximum_z=40.0, minimum_distance=None, seed=seed
    )
    for axis, name in enumerate("xyz"):  # the trains' overlaps are drawn between units that are near each other
        getattr(shapes, name)[:] = places[:, axis]
    background = np.arange(n_units) >= design.n_units
    trains = draw_overlapping_trains(shapes, background, design, rng)
    samples = np.rint(trains.times).astype(np.int64)
    order = np.lexsort((trains.units, samples))
    samples, units, amplitudes = samples[order], trains.units[order], trains.amplitudes[order]
    sorting = NumpySorting.from_samples_and_labels([samples], [units], RATE, unit_ids=np.arange(n_units))
    vector = sorting.to_spike_vector()
    if not (np.array_equal(vector["sample_index"], samples) and np.array_equal(vector["unit_index"], units)):
        raise RuntimeError("spikeinterface orders spikes otherwise: the amplitudes would go to other spikes")
    ranges = {"alpha": 1.0, "spatial_decay": (20.0, 45.0)}
    parameters = _ensure_unit_params(ranges, n_units, seed)
    parameters["alpha"] = shapes.amplitude_uv / _sizes(geometry, places, parameters, seed).max(axis=1)
    still, drifting, _, more = generate_drifting_recording(
        num_units=n_units, duration=design.seconds, sampling_frequency=RATE, probe=_probe(geometry),
        unit_locations=places, generate_displacement_vector_kwargs=MOTION if design.drifting else STILL,
        generate_templates_kwargs={**TEMPLATES, "unit_params": parameters}, sorting=sorting,
        noise=_noise(geometry, design.seconds, seed), amplitude_factor=amplitudes, extra_outputs=True, seed=seed,
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    _write(drifting if design.drifting else still, folder / "recording.dat", design)
    data = np.memmap(folder / "recording.dat", np.int16, "r").reshape(-1, design.n_channels)
    moved = more["unit_displacements"][:, :, 1].mean(axis=1) if design.drifting else np.zeros(2)
    return write_dataset(
        folder, seed=seed, geometry=geometry, uv_per_bit=UV_PER_BIT, spike_samples=samples, spike_units=units,
        background=background, amplitude_uv=shapes.amplitude_uv, depth_um=places[:, 1],
        peak_channel=_sizes(geometry, places, parameters, seed).argmax(axis=1), noise_uv=noise_sd(data, UV_PER_BIT),
        drift_seconds=np.linspace(0.0, design.seconds, len(moved)), drift_um=moved, design=design,
    )  # fmt: skip


def _sizes(geometry: np.ndarray, places: np.ndarray, parameters: dict[str, np.ndarray], seed: int) -> np.ndarray:
    """Peak-to-trough amplitude of each unit on each channel."""
    from spikeinterface.core.generate import generate_templates

    templates = generate_templates(geometry, places, RATE, seed=seed, unit_params=parameters, **TEMPLATES)
    return np.ptp(templates, axis=1)


def _probe(geometry: np.ndarray) -> object:
    from probeinterface import Probe

    probe = Probe(ndim=2, si_units="um")
    probe.set_contacts(positions=geometry, shapes="square", shape_params={"width": 12})
    probe.set_device_channel_indices(np.arange(len(geometry)))
    return probe


def _noise(geometry: np.ndarray, seconds: float, seed: int) -> object:
    from spikeinterface.generation import NoiseGeneratorRecording

    distances = np.linalg.norm(geometry[:, None] - geometry[None, :], axis=2)
    noise = NoiseGeneratorRecording(
        num_channels=len(geometry), sampling_frequency=RATE, durations=[seconds], strategy="on_the_fly",
        noise_levels=1.0, cov_matrix=LOCAL_UV**2 * np.exp(-distances / 25.0) + COMMON_UV**2, seed=seed,
    )  # fmt: skip
    noise.set_probe(_probe(geometry))
    noise.probe = noise.get_probe()  # generate_drifting_recording of 0.105.3 reads an attribute that recordings lack
    return noise


def _write(recording: object, path: Path, design: Design) -> None:
    n_samples = round(design.seconds * RATE)
    with path.open("wb") as file:
        for start in range(0, n_samples, round(RATE)):
            traces = recording.get_traces(start_frame=start, end_frame=min(start + round(RATE), n_samples))
            np.rint(traces / UV_PER_BIT).astype(np.int16).tofile(file)
