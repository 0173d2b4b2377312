"""Running, pupil, gaze, light pulses and rig: values, column order, and what a file without them says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest

from allen_ecephys.errors import FileFormatError, MissingDataError
from allen_ecephys.nwb import layout
from allen_ecephys.nwb.reader import NwbReader
from allen_ecephys.signals import behavior


@pytest.fixture
def session_file(tmp_path: Path) -> Path:
    """A file with five frames of eye tracking whose numbers say what they are."""
    path = tmp_path / "session.nwb"
    text = h5py.string_dtype("utf-8")
    frames = np.arange(3.0, 8.0)
    with h5py.File(path, "w") as file:
        file.attrs["nwb_version"] = "2.2.2"
        file.attrs["neurodata_type"] = "NWBFile"
        file["identifier"] = "1"
        for half_axis, table in enumerate(("pupil", "cr", "eye"), start=1):
            group = file.create_group(f"processing/eye_tracking/{table}_ellipse_fits")
            for column in ("center_x", "center_y", "height", "width", "phi"):
                group[column] = np.full(5, float(half_axis))
            group["id"] = np.arange(5)
        for module, shift in (("raw_gaze_mapping", 0.0), ("filtered_gaze_mapping", 100.0)):
            for series, values in (
                ("eye_area", np.full(5, 3.0)),
                ("pupil_area", np.full(5, 4.0)),
                ("screen_coordinates", np.tile([1.0, 2.0], (5, 1))),
                ("screen_coordinates_spherical", np.tile([5.0, 6.0], (5, 1))),
            ):
                file[f"processing/{module}/{series}/data"] = values + shift
                file[f"processing/{module}/{series}/timestamps"] = frames
        file["processing/filtered_gaze_mapping/eye_area/data"][2] = np.nan
        opto = file.create_group("processing/optotagging/optogenetic_stimulation")
        opto.attrs.create("colnames", ["start_time", "stop_time", "level", "name", "tags"], dtype=text)
        opto["id"], opto["start_time"], opto["stop_time"] = [7, 8], [0.0, 1.0], [0.5, 1.5]
        opto["level"] = [1.3, 2.0]
        opto.create_dataset("name", data=["pulse", "raised_cosine"], dtype=text)
        opto.create_dataset("tags", data=["optical_stimulation"] * 2, dtype=text)
        opto["tags_index"] = [1, 2]
        rig = file.create_group("processing/eye_tracking_rig_metadata/eye_tracking_rig_metadata")
        rig.attrs["equipment"] = "test_rig"
        for i, name in enumerate(layout.RIG_VECTORS):
            rig[name] = np.arange(3.0) + 3 * i + 1
            rig[name].attrs["unit"] = "mm" if name.endswith("position") else "deg"
        for i, name in enumerate(
            ("raw_running_wheel_rotation", "running_wheel_signal_voltage", "running_wheel_supply_voltage")
        ):
            file[f"acquisition/{name}/data"] = np.arange(4.0) + 10 * i
        file["acquisition/raw_running_wheel_rotation/timestamps"] = np.arange(4.0) / 60
        for i, name in enumerate(("running_speed", "running_wheel_rotation")):
            file[f"processing/running/{name}/data"] = np.array([0.0, 5, -5]) * (i + 1)
        file["processing/running/running_speed/timestamps"] = [0.0, 1, 2]
        file["processing/running/running_speed_end_times/timestamps"] = [1.0, 2, 3]
    return path


def test_running_speed(session_file: Path) -> None:
    reader = NwbReader(session_file)
    assert behavior.has_running(reader)
    speed = pd.DataFrame({"start_time": [0.0, 1, 2], "end_time": [1.0, 2, 3], "velocity": [0.0, 5, -5]})
    pd.testing.assert_frame_equal(behavior.read_running_speed(reader), speed)
    turned = behavior.read_running_speed(reader, include_rotation=True)
    pd.testing.assert_frame_equal(turned, speed.assign(net_rotation=[0.0, 10, -10]))
    raw = behavior.read_raw_running_data(reader)
    assert list(raw.columns) == ["frame_time", "net_rotation", "signal_voltage", "supply_voltage"]
    np.testing.assert_array_equal(raw.iloc[1], [1 / 60, 1, 11, 21])


def test_pupil_axes_are_whole_and_centres_unchanged(session_file: Path) -> None:
    pupil = behavior.read_pupil_data(NwbReader(session_file))
    assert pupil.index.name == "Time (s)"
    assert pupil.index.tolist() == [3, 4, 5, 6, 7]
    assert list(pupil.columns) == [
        f"{feature}_{column}"
        for feature in ("corneal_reflection", "pupil", "eye")
        for column in ("center_x", "center_y", "height", "width", "phi")
    ]
    assert pupil.iloc[0].tolist() == [2, 2, 4, 4, 2, 1, 1, 2, 2, 1, 3, 3, 6, 6, 3]


def test_gaze_is_stored_as_y_then_x(session_file: Path) -> None:
    reader = NwbReader(session_file)
    gaze = behavior.read_screen_gaze_data(reader)
    assert gaze.iloc[0].to_dict() == {
        "raw_eye_area": 3,
        "raw_pupil_area": 4,
        "raw_screen_coordinates_x_cm": 2,
        "raw_screen_coordinates_y_cm": 1,
        "raw_screen_coordinates_spherical_x_deg": 6,
        "raw_screen_coordinates_spherical_y_deg": 5,
    }
    both = behavior.read_screen_gaze_data(reader, include_filtered_data=True)
    assert list(both.columns[:6]) == list(gaze.columns)
    assert [c.removeprefix("filtered_") for c in both.columns[6:]] == [c.removeprefix("raw_") for c in gaze.columns]
    assert both["filtered_screen_coordinates_x_cm"].iloc[0] == 102
    assert np.isnan(both["filtered_eye_area"]).tolist() == [False, False, True, False, False]


def test_light_pulses(session_file: Path) -> None:
    epochs = behavior.read_optogenetic_stimulation_epochs(NwbReader(session_file))
    assert epochs.index.name == "id"
    assert epochs.index.tolist() == [7, 8]
    assert list(epochs.columns) == ["start_time", "stop_time", "level", "stimulus_name"]
    assert epochs["stimulus_name"].tolist() == ["pulse", "raised_cosine"]


def test_rig(session_file: Path) -> None:
    reader = NwbReader(session_file)
    rig = behavior.read_rig_geometry_data(reader)
    assert rig.index.tolist() == ["x", "y", "z"]
    assert rig.to_dict("list") == {
        "monitor_position_mm": [1, 2, 3],
        "camera_position_mm": [4, 5, 6],
        "led_position_mm": [7, 8, 9],
        "monitor_rotation_deg": [10, 11, 12],
        "camera_rotation_deg": [13, 14, 15],
    }
    assert behavior.read_rig_equipment_name(reader) == "test_rig"


READERS: list[tuple[Callable[[NwbReader], Any], str]] = [
    (behavior.read_running_speed, "no running speed.*lacks processing/running"),
    (behavior.read_raw_running_data, "no raw running data"),
    (behavior.read_pupil_data, "no eye tracking.*session.has_eye_tracking"),
    (behavior.read_screen_gaze_data, "no eye tracking.*session.has_eye_tracking"),
    (behavior.read_optogenetic_stimulation_epochs, "no optogenetic stimulation.*session.has_optotagging"),
    (behavior.read_rig_geometry_data, "no rig geometry"),
    (behavior.read_rig_equipment_name, "no rig metadata"),
]


@pytest.mark.parametrize(("read", "message"), READERS)
def test_a_missing_part_is_an_error_that_names_it(
    tmp_path: Path, read: Callable[[NwbReader], Any], message: str
) -> None:
    path = tmp_path / "bare.nwb"
    with h5py.File(path, "w") as file:
        file.attrs["nwb_version"] = "2.2.2"
        file["identifier"] = "1"
    reader = NwbReader(path)
    assert not any(f(reader) for f in (behavior.has_running, behavior.has_eye_tracking, behavior.has_optotagging))
    with pytest.raises(MissingDataError, match=message):
        read(reader)


@pytest.mark.parametrize(
    ("path", "values", "read", "message"),
    [
        ("processing/running/running_speed/data", [1.0], behavior.read_running_speed, "has 1 values; expected 3"),
        ("processing/eye_tracking/cr_ellipse_fits/phi", [1.0], behavior.read_pupil_data, "has 1 values; expected 5"),
        (
            "processing/raw_gaze_mapping/screen_coordinates/data",
            np.zeros((5, 3)),
            behavior.read_screen_gaze_data,
            r"shape \(5, 3\); expected 2",
        ),
    ],
)
def test_lengths_that_do_not_fit_are_refused(
    session_file: Path, path: str, values: Any, read: Callable[[NwbReader], Any], message: str
) -> None:
    with h5py.File(session_file, "r+") as file:
        del file[path]
        file[path] = values
    with pytest.raises(FileFormatError, match=message):
        read(NwbReader(session_file))


def test_filtered_gaze_may_be_absent(session_file: Path) -> None:
    with h5py.File(session_file, "r+") as file:
        del file["processing/filtered_gaze_mapping"]
    reader = NwbReader(session_file)
    assert behavior.has_eye_tracking(reader)
    assert len(behavior.read_screen_gaze_data(reader)) == 5
    with pytest.raises(MissingDataError, match="no filtered gaze data"):
        behavior.read_screen_gaze_data(reader, include_filtered_data=True)
