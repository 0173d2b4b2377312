"""Fixtures of the tests of processing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from allen_ecephys.processing.packaging.session import EyeTracking, SessionContents, SessionMetadata
from allen_ecephys.processing.simulation.session import RIG

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt

    from allen_ecephys.processing.simulation.raw.recording import RawGroundTruth
    from allen_ecephys.processing.sorting.preparing.registration import PreparedRecording
    from allen_ecephys.processing.sorting.templates.template_bank import TemplateBank


@pytest.fixture(scope="session")
def example_session() -> SessionContents:
    """Give a session as small as one can be with everything in it."""
    rng = np.random.default_rng(0)
    probes = pd.DataFrame(
        {
            "description": ["probeA", "probeB"],
            "sampling_rate": [29999.9, 30000.1],
            "lfp_sampling_rate": [1249.9, 1250.1],
            "has_lfp_data": [True, False],
        },
        index=[1, 2],
    )
    channels = pd.DataFrame(
        {
            "probe_id": np.repeat([1, 2], 4),
            "probe_channel_number": np.tile(np.arange(4), 2),
            "probe_vertical_position": np.tile([20, 20, 40, 40], 2),
            "probe_horizontal_position": np.tile([43, 11, 59, 27], 2),
            "valid_data": [True, True, True, False] * 2,
            "structure_acronym": ["VISp", "VISp", "VISp", ""] * 2,
            "anterior_posterior_ccf_coordinate": [8000.0, 7999.0, 7998.0, np.nan] * 2,
            "dorsal_ventral_ccf_coordinate": [3000.0, 2999.0, 2998.0, np.nan] * 2,
            "left_right_ccf_coordinate": [7000.0, 7001.0, 7002.0, np.nan] * 2,
        },
        index=10 + np.arange(8),
    )
    units = pd.DataFrame(
        {
            "peak_channel_id": [10, 11, 14],
            "local_index": [0, 1, 0],
            "cluster_id": [3, 5, 8],
            "quality": ["good", "noise", "good"],
            "snr": [2.5, np.nan, 1.5],
            "L_ratio": [0.01, 0.02, 0.03],
            "waveform_amplitude": [100.0, 50.0, 75.0],
            "firing_rate": [1.5, 0.0, 0.3],
        },
        index=[101, 102, 201],
    )
    spikes = [np.sort(rng.uniform(0, 100, n)) for n in (50, 7, 0)]
    return SessionContents(
        metadata=SessionMetadata(
            session_id=42,
            session_start_time=datetime(2019, 1, 19, 8, 54, 18, tzinfo=UTC),
            session_type="brain_observatory_1.1",
            specimen_name="Sst-IRES-Cre;Ai32-1",
            subject_id="7",
            age_in_days=118.0,
            full_genotype="Sst-IRES-Cre/wt",
            sex="F",
            species="Mus musculus",
            strain="",
            institution="Allen Institute for Brain Science",
            file_create_date=datetime(2020, 5, 26, tzinfo=UTC),
        ),
        probes=probes,
        channels=channels,
        units=units,
        spike_times=spikes,
        spike_amplitudes=[rng.uniform(1e-5, 1e-4, len(times)) for times in spikes],
        mean_waveforms=[rng.normal(0, 10, (4, 82)) for _ in spikes],
        stimulus_presentations=presentations(),
        rig_geometry=RIG,
        running_speed=pd.DataFrame(
            {
                "start_time": np.arange(30) / 60,
                "end_time": np.arange(1, 31) / 60,
                "velocity": rng.normal(0, 5, 30),
                "net_rotation": rng.normal(0, 1, 30),
            }
        ),
        raw_running=pd.DataFrame(
            {
                "frame_time": np.arange(31) / 60,
                "net_rotation": rng.normal(0, 60, 31),
                "signal_voltage": rng.uniform(0, 5, 31),
                "supply_voltage": np.full(31, 5.0),
            }
        ),
        invalid_times=pd.DataFrame(
            {
                "start_time": [90.0, 3.0],
                "stop_time": [95.0, 4.0],
                "tags": [["EcephysProbe", "2", "probeB"], ["EcephysSession", "42", "all_probes"]],
            }
        ),
        optogenetic_stimulation_epochs=pd.DataFrame(
            {
                "start_time": [80.0, 82.0],
                "stop_time": [81.0, 82.005],
                "condition": ["half-period of a cosine wave", "a single square pulse"],
                "level": [1.0, 2.5],
                "stimulus_name": ["raised_cosine", "pulse"],
                "duration": [1.0, 0.005],
            }
        ),
        eye_tracking=eye_tracking(rng),
    )


def presentations() -> pd.DataFrame:
    """Presentations out of order, with parameters of every kind."""
    nan = np.nan
    grating = {"contrast": 0.8, "size": (250.0, 250.0), "units": "deg", "mask": "None", "opacity": 1.0}
    grating |= {"color": "white", "phase": "[0.0, 0.0]", "spatial_frequency": "0.04", "temporal_frequency": 2.0}
    rows = [
        {"stimulus_name": "drifting_gratings", "start_time": 20.0, "stop_time": 22.0, "orientation": 0.0, **grating},
        {"stimulus_name": "drifting_gratings", "start_time": 23.0, "stop_time": 25.0, "orientation": 90.0, **grating},
        {"stimulus_name": "drifting_gratings", "start_time": 26.0, "stop_time": 28.0},
        {"stimulus_name": "spontaneous", "start_time": 10.0, "stop_time": 20.0},
        {"stimulus_name": "natural_scenes", "start_time": 30.0, "stop_time": 30.25, "frame": -1.0},
        {"stimulus_name": "natural_scenes", "start_time": 30.25, "stop_time": 30.5, "frame": 117.0},
    ]
    blocks = {"drifting_gratings": 0.0, "natural_scenes": 1.0}
    return pd.DataFrame([{**row, "stimulus_block": blocks.get(str(row["stimulus_name"]), nan)} for row in rows])


def eye_tracking(rng: np.random.Generator) -> EyeTracking:
    """Ten frames of the eye camera, one of them a blink."""
    times = pd.Index(np.arange(10) / 30)

    def frame(*names: str) -> pd.DataFrame:
        table = pd.DataFrame(rng.uniform(1, 2, (10, len(names))), index=times, columns=list(names))
        table.iloc[3] = np.nan
        return table

    gaze = ("eye_area", "pupil_area", "screen_coordinates_x_cm", "screen_coordinates_y_cm")
    gaze += ("screen_coordinates_spherical_x_deg", "screen_coordinates_spherical_y_deg")
    ellipse = ("center_x", "center_y", "height", "width", "phi")
    return EyeTracking(
        {part: frame(*ellipse) for part in ("pupil", "eye", "corneal_reflection")}, frame(*gaze), frame(*gaze)
    )


@pytest.fixture(scope="session")
def example_bank() -> TemplateBank:
    """Give five templates of 14 to 40 noise SDs on 16 channels, spanning 12 each; the first two overlap most."""
    from allen_ecephys.processing.probes import neuropixels_1_geometry
    from allen_ecephys.processing.sorting.parameters import SortingParameters
    from allen_ecephys.processing.sorting.templates.template_bank import ProbeLayout, TemplateBank
    from allen_ecephys.processing.sorting.templates.waveform_basis import generic_waveforms, waveform_components

    parameters = SortingParameters()
    waves = generic_waveforms()
    basis = waveform_components(waves, parameters)
    layout = ProbeLayout.of(neuropixels_1_geometry(16), 12)
    main = np.array([2, 3, 7, 12, 13])
    weights = np.empty((5, 12, 6), np.float32)
    # Rows of `waves` are delays of -3 to 3 samples, four widths each.
    for i, (shape, reach, norm) in enumerate(
        zip((24, 27, 25, 24, 26), (25.0, 40.0, 30.0, 20.0, 35.0), (30.0, 20.0, 40.0, 14.0, 25.0), strict=True)
    ):
        distance = np.hypot(*(layout.positions[layout.local[main[i]]] - layout.positions[main[i]]).T)
        weights[i] = np.exp(-distance / reach)[:, None] * (waves[shape] @ basis)
        weights[i] *= norm / np.sqrt((weights[i] ** 2).sum())
    return TemplateBank(layout, basis, main, weights)


@pytest.fixture
def whitened(tmp_path_factory: pytest.TempPathFactory, example_bank: TemplateBank) -> Callable[..., PreparedRecording]:
    """Return what makes a prepared recording, without drift, of samples in noise SDs on the example's channels."""
    from allen_ecephys.processing.readers.binary import BinaryRecording
    from allen_ecephys.processing.sorting.preparing.drift import Drift
    from allen_ecephys.processing.sorting.preparing.front_end import FrontEnd
    from allen_ecephys.processing.sorting.preparing.registration import PreparedRecording
    from allen_ecephys.processing.spike_band.blocks import SpikeBandPlan
    from allen_ecephys.processing.spike_band.whitening import SCALE, LocalWeights

    def write(samples: npt.ArrayLike) -> PreparedRecording:
        path = tmp_path_factory.mktemp("whitened") / "whitened.dat"
        counts = np.rint(np.asarray(samples) * SCALE).astype(np.int16)
        counts.tofile(path)
        n_channels, positions = counts.shape[1], example_bank.layout.positions
        recording = BinaryRecording(
            path, n_columns=n_channels, sampling_rate=30_000.0, uv_per_bit=1.0, geometry=positions
        )
        # A front end that leaves counts as they are.
        nothing = SpikeBandPlan(
            None, np.tile(np.float32([1, 0, 0, 1, 0, 0]), (2, 1)), np.full(n_channels, np.inf, np.float32)
        )
        alone = np.tile(np.float32([1, 0, 0, 0]), (n_channels, 1))
        weights = LocalWeights(np.repeat(np.arange(n_channels)[:, None], 4, axis=1), alone)
        front = FrontEnd(recording, np.arange(n_channels), nothing, weights, SCALE**2 * np.eye(n_channels), 1)
        return PreparedRecording(front, Drift(np.zeros((1, 1)), np.array([100.0])))

    return write


def small_probe(folder: Path, step_um: float) -> RawGroundTruth:
    """Simulate 22 s of 15 units on 32 channels; half way the tissue jumps up by `step_um`."""
    from allen_ecephys.processing.simulation.raw.recording import ChannelFaults, DriftModel, write_recording
    from allen_ecephys.processing.simulation.raw.trains import TrainModel

    return write_recording(
        folder, duration=22.0, n_units=15, n_channels=32, form="binary", seed=4, lfp=False, surface_channel=32,
        amplitude_range=(80.0, 250.0), faults=ChannelFaults(references=()),
        trains=TrainModel(rate_range=(5.0, 20.0), adaptation=0.0, bursting_share=0.0),
        drift=DriftModel(step_um=step_um, n_steps=1),
    )  # fmt: skip


@pytest.fixture(scope="session")
def stepping_probe(tmp_path_factory: pytest.TempPathFactory) -> RawGroundTruth:
    """Give a recording in which the tissue jumps by 20 um."""
    return small_probe(tmp_path_factory.mktemp("probe") / "stepping", 20.0)


@pytest.fixture(scope="session")
def still_probe(tmp_path_factory: pytest.TempPathFactory) -> RawGroundTruth:
    """Give the same recording without the jump."""
    return small_probe(tmp_path_factory.mktemp("probe") / "still", 0.0)
