"""Running, eye tracking and lights of a simulated animal, and lines that do not fit."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from allen_ecephys.errors import FileFormatError, MissingDataError, SynchronizationError, UnknownNameError
from allen_ecephys.processing.behavior import (
    EyeRig,
    eye_tracking,
    optotagging_table,
    read_ellipses,
    running_speed,
)
from allen_ecephys.processing.behavior.eye_tracking import bad_reflections, camera_times, ellipse_area, pupil_area
from allen_ecephys.processing.simulation.rig import animal

RIG = EyeRig((11.86, 8.62, 3.16), (10.28, 7.47, 3.16), (24.6, 9.23, 5.26), camera_rotation=(0, 0, np.deg2rad(2.8)))


def test_speed_of_a_simulated_animal() -> None:
    rng = np.random.default_rng(4)
    onsets = 5.0 + np.cumsum(1 + (rng.random(3000) < 0.01)) * 0.01668
    wheel = animal.run(onsets, rng)
    running, raw = running_speed(onsets - 0.014, wheel.dx, signal_voltage=wheel.vsig)
    rows = np.searchsorted(onsets - 0.014, running["end_time"])
    assert np.abs(running["velocity"].to_numpy() - wheel.speed[rows]).max() < 0.02
    assert len(running) == (np.abs(wheel.dx[1:]) > 1e-6).sum() < len(onsets) - 1  # double reads are left out
    assert np.isnan(raw["supply_voltage"]).all()
    assert raw["net_rotation"].tolist() == wheel.dx.tolist()


def test_an_encoder_that_resets(caplog: pytest.LogCaptureFixture) -> None:
    times = np.arange(100) / 60
    dx = np.full(100, 1.0)
    dx[40] = -359.0
    running, _ = running_speed(times, dx)
    assert len(running) == 98
    assert running["velocity"].min() > 0
    assert "jumped 1 times" in caplog.text


def test_frames_and_encoder_differ(caplog: pytest.LogCaptureFixture) -> None:
    times = np.concatenate([np.arange(100) / 60, 50 + np.arange(3) / 60])
    assert len(running_speed(times, np.ones(100))[1]) == 100
    assert "3 pulses after" in caplog.text
    with pytest.raises(SynchronizationError, match="100 frames on the frame line, but 99 samples"):
        running_speed(times, np.ones(99))


def test_areas() -> None:
    assert pupil_area([1.0], [2.0]) == pytest.approx(4 * np.pi)
    assert ellipse_area([1.0], [4.0]) == pytest.approx(4 * np.pi)
    assert pupil_area([np.nan], [2.0]) == pytest.approx(4 * np.pi)
    assert np.isnan(ellipse_area([np.nan], [2.0]))


def test_eye_of_a_simulated_animal(tmp_path: Path) -> None:
    times, fits, blink = animal.eye_frames(2.0, 60.0, np.random.default_rng(1))
    animal.write_ellipses(tmp_path / "eye.h5", fits)
    read = read_ellipses(tmp_path / "eye.h5")
    pd.testing.assert_frame_equal(read["pupil"], fits["pupil"])
    eye, likely = eye_tracking(times, read, RIG)
    assert likely[blink > 0].all()
    assert likely.mean() < 0.05
    assert eye.raw_gaze["pupil_area"].isna().sum() == (blink > 0).sum()
    kept = eye.filtered_gaze.notna().all(axis=1)
    assert 0.9 < kept.mean() < 1
    assert np.allclose(eye.filtered_gaze[kept], eye.raw_gaze[kept])
    # The pupil moves left of the reflection in the image as the animal looks to the right.
    moved = np.corrcoef(eye.raw_gaze["screen_coordinates_x_cm"][kept], fits["pupil"]["center_x"].to_numpy()[kept])
    assert moved[0, 1] < -0.9


def test_reflections_that_jump() -> None:
    fits = pd.DataFrame(
        {"center_x": 300.0, "center_y": 200.0, "width": 5.0, "height": 5.0, "phi": 0.0}, index=range(200)
    )
    fits["center_x"] += np.random.default_rng(0).normal(0, 0.1, 200)
    fits.loc[50:52, "center_x"] += 40.0
    fits.loc[100, "width"] = np.nan
    fits.loc[120, ["width", "height"]] = 30.0
    bad = bad_reflections(fits)
    assert bad[51]
    assert bad[119:122].all()
    assert bad.sum() < 12


def test_table_format_and_bad_files(tmp_path: Path) -> None:
    path = tmp_path / "eye.h5"
    kind = b"(lp0\nVcenter_x\np1\naVcenter_y\np2\naVwidth\np3\naVheight\np4\naVphi\np5\na."
    rows = np.zeros(4, dtype=[("index", "<i8"), ("values_block_0", "<f8", (5,))])
    rows["values_block_0"] = np.arange(20).reshape(4, 5)
    with h5py.File(path, "w") as file:
        for name in ("cr", "eye", "pupil"):
            file[f"{name}/table"] = rows
            file[f"{name}/table"].attrs["values_block_0_kind"] = np.bytes_(kind)
    assert read_ellipses(path)["eye"]["height"].tolist() == [3, 8, 13, 18]
    with h5py.File(path, "a") as file:
        del file["cr/table"]
        file["cr/table"] = rows[:3]
        file["cr/table"].attrs["values_block_0_kind"] = np.bytes_(kind)
    with pytest.raises(FileFormatError, match="corneal_reflection 3"):
        read_ellipses(path)
    with h5py.File(path, "a") as file:
        del file["cr"]
    with pytest.raises(FileFormatError, match="cr is missing"):
        read_ellipses(path)


def test_camera_pulses(caplog: pytest.LogCaptureFixture) -> None:
    pulses = np.arange(100) / 30
    assert len(camera_times(pulses, 96)) == 96
    assert "pulsed 4 times after" in caplog.text
    for n_frames in (101, 84):
        with pytest.raises(SynchronizationError, match="it cannot be said which"):
            camera_times(pulses, n_frames)


def test_lights() -> None:
    contents = {"opto_conditions": [3, "1", 0], "opto_levels": [1.0, 2.5, 4.0]}
    table = optotagging_table([10.0, 12.0, 14.0], contents)
    assert table["stimulus_name"].tolist() == ["raised_cosine", "pulse", "fast_pulses"]
    assert table["stop_time"].tolist() == [11.0, 12.005, 15.0]
    assert table["condition"].tolist()[1] == "a single square pulse"
    with pytest.raises(SynchronizationError, match="went up 2 times"):
        optotagging_table([10.0, 12.0], contents)
    with pytest.raises(UnknownNameError, match="conditions 7"):
        optotagging_table([10.0], {"opto_conditions": [7], "opto_levels": [1.0]})
    with pytest.raises(MissingDataError, match="no opto_levels"):
        optotagging_table([10.0], {"opto_conditions": [1]})
