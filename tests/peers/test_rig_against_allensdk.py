"""AllenSDK's producing modules and ours make the same of one rig's folder, or differ by a correction that is named."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from allen_ecephys.processing.behavior import EyeRig, eye_tracking, optotagging_table, read_ellipses, running_speed
from allen_ecephys.processing.lfp_band import release_channels, subsampled_lfp
from allen_ecephys.processing.lfp_band.current_source_density import band_pass, second_difference
from allen_ecephys.processing.packaging.session_description import read_session_description
from allen_ecephys.processing.simulation.rig import RigTruth, write_rig
from allen_ecephys.processing.stimulus_table import (
    FrameTimes,
    monitor_frame_times,
    open_stimulus_pickle,
    presentations_of_pickle,
    read_restricted_pickle,
)
from allen_ecephys.processing.synchronization import (
    clock_from_barcodes,
    decode_barcodes,
    open_sync_file,
    read_probe_events,
)

pytestmark = pytest.mark.peers
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Both:
    """A rig's folder, its truth, and what AllenSDK made of it."""

    rig: RigTruth
    theirs: Path
    drop: float


@pytest.fixture(scope="module", params=[0.0, 0.01], ids=["no frame is late", "1 % of frames are late"])
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Both:
    python = os.environ.get("ALLEN_ECEPHYS_ALLENSDK_PYTHON")
    if not python:
        pytest.skip("ALLEN_ECEPHYS_ALLENSDK_PYTHON names no interpreter that has AllenSDK 2.16.2")
    folder = tmp_path_factory.mktemp("rig")
    rig = write_rig(folder / "rig", repeats=2, n_probes=1, n_units=2, n_channels=64, drop=request.param, seed=3)
    out = folder / "theirs"
    out.mkdir()
    truth = rig.probes[0].recording
    band = truth.recording("lfp")
    np.save(out / "lfp_raw.npy", band.read(0, band.n_samples))
    np.save(out / "surface.npy", truth.surface_channel)
    np.save(out / "trial.npy", band.read(20_000, 21_000).T.astype(float))
    done = subprocess.run(
        [python, HERE / "rig_with_allensdk.py", rig.folder, out], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return Both(rig, out, request.param)


def frames_of(both: Both) -> FrameTimes:
    return monitor_frame_times(open_sync_file(both.rig.folder / "rig.sync"))


def test_clock(both: Both) -> None:
    """Without the first barcode, which AllenSDK never uses."""
    sync = open_sync_file(both.rig.folder / "rig.sync")
    session = decode_barcodes(sync.rising("barcode"), sync.falling("barcode"), keep_first=False)
    events = read_probe_events(both.rig.folder / "probeA")
    clock = clock_from_barcodes(events, session, 30_000.0, keep_first=False)
    theirs = json.loads((both.theirs / "clock.json").read_text())
    assert clock.two_point is not None
    assert clock.two_point.shift == pytest.approx(theirs["total_time_shift"], abs=1e-9)
    assert clock.two_point.rate == pytest.approx(theirs["global_probe_sampling_rate"], rel=1e-12)
    assert clock.two_point.rate / 12 == pytest.approx(theirs["global_probe_lfp_sampling_rate"], rel=1e-12)
    samples = np.load(both.theirs / "samples.npy")
    aligned = np.load(both.theirs / "aligned.npy")
    assert np.abs(clock.two_point.seconds(samples) - aligned).max() < 1e-9
    # Named: between barcodes the time is interpolated; a straight line is as near as barcodes are exact.
    assert np.abs(clock.seconds(samples) - aligned).max() < 1e-4


def test_frame_times(both: Both) -> None:
    ours, theirs = frames_of(both), np.load(both.theirs / "frame_times.npy")
    truth = both.rig.shown.onsets[:-1]
    assert len(ours) == len(theirs)
    if both.drop == 0:
        assert np.abs(ours.starts - theirs).max() < 1e-9
    else:
        # Named: late frames bias AllenSDK's asymmetry of the photodiode, and all of an interval's go to one frame.
        assert 5e-3 < np.abs(theirs - truth).max() < 0.1
    assert np.abs(ours.starts - truth).max() < 1e-3


def test_stimulus_table(both: Both) -> None:
    """From one set of frame times, so that only the tables can differ."""
    theirs = pd.read_csv(both.theirs / "stimulus_table.csv")
    frames = FrameTimes(np.load(both.theirs / "frame_times.npy"), 1 / 60, 0, 0, 0, corrected=True)
    pickle = open_stimulus_pickle(both.rig.folder / "stimulus.pkl")
    ours = presentations_of_pickle(pickle, frames)
    assert ours["stimulus_name"].tolist() == theirs["stimulus_name"].tolist()
    # Named: constants in lower case are renamed like the parameters they stand for.
    theirs = theirs.rename(
        columns={"Start": "start_time", "End": "stop_time", "ori": "orientation", "sf": "spatial_frequency"}
    )
    assert set(ours.columns) == set(theirs.columns)
    for name in ("start_time", "stop_time", "stimulus_block", "stimulus_index", "temporal_frequency", "frame"):
        assert np.allclose(ours[name].astype(float), theirs[name], atol=1e-9, rtol=0, equal_nan=True), name
    for name in sorted(set(ours.columns) - {"stimulus_name"}):
        for mine, other in zip(ours[name], theirs[name], strict=True):
            assert _text(mine) == _text(other), name


def _text(value: Any) -> str:
    """Spell a value as it looks in a CSV: numbers as floats."""
    try:
        return str(round(float(value), 9))
    except (TypeError, ValueError):
        return str(value)


def test_running(both: Both) -> None:
    sync = open_sync_file(both.rig.folder / "rig.sync")
    dx = open_stimulus_pickle(both.rig.folder / "stimulus.pkl").encoder("dx")
    assert dx is not None
    ours, _ = running_speed(sync.rising("frames"), dx)
    theirs = pd.read_csv(both.theirs / "running.csv", index_col=0)
    for name in ("start_time", "end_time", "net_rotation"):
        assert np.abs(ours[name].to_numpy() - theirs[name].to_numpy()).max() < 1e-9
    ratio = theirs["velocity"].to_numpy() / ours["velocity"].to_numpy()
    # Named: the speed over a frame that stayed twice as long is twice too large in AllenSDK's.
    late = ratio > 1.5
    assert np.allclose(ratio[~late], 1, atol=1e-9)
    assert np.allclose(ratio[late], 2, atol=1e-9)
    assert late.any() == (both.drop > 0)


def test_lights(both: Both) -> None:
    sync = open_sync_file(both.rig.folder / "rig.sync")
    ours = optotagging_table(sync.rising("optotagging"), read_restricted_pickle(both.rig.folder / "optotagging.pkl"))
    theirs = pd.read_csv(both.theirs / "lights.csv")
    for name in ("start_time", "stop_time", "level", "duration"):
        assert np.abs(ours[name] - theirs[name]).max() < 1e-9
    for name in ("stimulus_name", "condition"):
        assert ours[name].tolist() == theirs[name].tolist()


def test_gaze(both: Both) -> None:
    told = read_session_description(both.rig.folder / "session.json").rig
    assert told is not None
    rig = EyeRig(
        *(tuple(v / 10 for v in getattr(told, f"{part}_position")) for part in ("monitor", "camera", "led")),
        *(tuple(np.radians(getattr(told, f"{part}_rotation"))) for part in ("monitor", "camera")),
    )  # fmt: skip
    sync = open_sync_file(both.rig.folder / "rig.sync")
    eye, _ = eye_tracking(sync.rising("eye_camera"), read_ellipses(both.rig.folder / "eye_ellipses.h5"), rig)
    theirs = np.load(both.theirs / "gaze.npz")
    for kind, gaze in (("raw", eye.raw_gaze), ("new", eye.filtered_gaze)):
        for name, columns in (
            ("pupil_areas", ["pupil_area"]),
            ("eye_areas", ["eye_area"]),
            ("pupil_on_monitor_cm", ["screen_coordinates_x_cm", "screen_coordinates_y_cm"]),
            ("pupil_on_monitor_deg", ["screen_coordinates_spherical_x_deg", "screen_coordinates_spherical_y_deg"]),
        ):
            other = theirs[f"{kind}_{name}"].reshape(len(gaze), -1)
            assert np.allclose(gaze[columns], other, rtol=1e-9, atol=1e-9, equal_nan=True), (kind, name)


def test_lfp(both: Both) -> None:
    truth = both.rig.probes[0].recording
    channels = release_channels(truth.n_channels, truth.surface_channel)
    assert channels.tolist() == np.load(both.theirs / "lfp_channels.npy").tolist()
    in_brain = np.arange(truth.n_channels) <= truth.surface_channel
    ours = subsampled_lfp(truth.recording("lfp"), channels, in_brain, definition="release")[:].astype(int)
    theirs = np.load(both.theirs / "lfp.npy").astype(int)
    assert ours.shape == theirs.shape
    # Fractions that lie on the edge of two counts may be cut either way; the versions of scipy differ.
    assert np.abs(ours - theirs).max() <= 1
    assert (ours != theirs).mean() < 1e-4


def test_current_source_density(both: Both) -> None:
    trial = np.load(both.theirs / "trial.npy")
    filtered = band_pass(trial, 2500.0)
    assert np.allclose(filtered, np.load(both.theirs / "filtered.npy"), rtol=1e-9, atol=1e-9)
    ours, theirs = second_difference(filtered, 0.01), np.load(both.theirs / "density.npy")
    assert np.allclose(ours, theirs, rtol=1e-9, atol=1e-9 * np.abs(theirs).max())
