"""The description of a rig's folder: what it writes is read again, whatever lies in the folder."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from allen_ecephys.errors import FileFormatError
from allen_ecephys.processing import describe_folder, read_session_file


@pytest.fixture
def rig(tmp_path: Path) -> Path:
    """Give the folder of a rig that describes itself in part, as :func:`tell` may change."""
    folder = tmp_path / "n_0000"
    (folder / "a").mkdir(parents=True)
    (folder / "rig.sync").touch()
    (folder / "tables.csv").mkdir()
    return folder


def tell(folder: Path, /, **facts: Any) -> Path:
    told = {"session_id": 7, "probes": [{"name": "A", "recording": "a", "clock": "recorder"}]} | facts
    (folder / "rig.json").write_text(json.dumps(told))
    return folder


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"sync": 3}, "rig.json: sync is 3; needed is a text"),
        ({"probes": {"a": 1}}, "rig.json: probes is {'a': 1}; needed is a list"),
        ({"probes": [3]}, "rig.json: probes[0] is 3; needed is a table"),
        ({"monitor_lag": float("nan")}, "rig.json: monitor_lag is nan; needed is a finite number"),
        ({"institution": "\udc80"}, "rig.json: institution is '\\udc80'; needed is a text without NUL"),
        ({"experimenter": "x"}, "rig.json: experimenter is no key"),
        (
            {"invalid_times": [{"start_time": 1, "stop_time": 2, "type": "t", "id": None, "label": "l"}]},
            "rig.json: invalid_times[0].id is missing",
        ),
    ],
)
def test_what_a_rig_says_wrongly_is_told_by_its_key(rig: Path, facts: dict[str, Any], said: str) -> None:
    with pytest.raises(FileFormatError) as caught:
        describe_folder(tell(rig, **facts))
    assert said in str(caught.value)
    assert not (rig / "session.toml").exists()


def test_whatever_a_rig_says_is_read_again(rig: Path) -> None:
    stages = {"sorting": {"parameters": {"Th": [9, 4]}}, "mean_waveforms": {"epochs": {"first half": [0.0, 1e30]}}}
    path = describe_folder(tell(rig, sync=None, optotagging=None, stages=stages, institution='\x7f "quoted"\n'))
    session = read_session_file(path)
    assert session.told.metadata.institution == '\x7f "quoted"\n'
    assert session.parameters.sorter_parameters == {"Th": [9, 4]}
    assert session.parameters.units.epochs == {"first half": (0.0, 1e30)}
    assert session.told.sync is None


def test_paths_are_named_from_the_new_file(rig: Path) -> None:
    tell(rig, output="../done", cache="project", probes=[{"name": "A", "recording": "a", "clock": "recorder"}])
    told = read_session_file(describe_folder(rig, rig.parent / "elsewhere" / "session.toml"))
    assert told.output.resolve() == (rig.parent / "done").resolve()
    assert (told.cache or Path()).resolve() == (rig / "project").resolve()


def test_a_name_of_json_gets_json(rig: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        path = describe_folder(tell(rig), rig / "out.json")
    assert json.loads(path.read_text())["session_id"] == 7
    assert read_session_file(path).told.metadata.session_id == 7
    assert "not known from the files: no stimulus was found" in caplog.text


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("a.meta", "fileCreateTime=2024-13-45T00:00:00\n", "a.meta says '2024-13-45T00:00:00', which is no date"),
        ("settings.xml", "<DATE>1 Mai 2024 10:00:00</DATE>", "settings.xml says '1 Mai 2024 10:00:00', which is no"),
        ("settings.xml", "<DATE>1 May 2024 10:00:00</DATE>", "2024-05-01T10:00:00"),
        ("a.meta", "fileCreateTime=2024-05-01T10:00:00\n", "2024-05-01T10:00:00"),
    ],
)
def test_dates_of_recorders(rig: Path, name: str, text: str, why: str) -> None:
    (tell(rig) / name).write_text(text)
    (rig / "a" / "samples").touch()
    path = describe_folder(rig)
    assert why in path.read_text()
    read_session_file(path)


def test_what_cannot_be_processed_yet_is_said(rig: Path) -> None:
    text = describe_folder(tell(rig, session_id=None, stimulus="gone.pkl", sync="rig.sync")).read_text()
    assert "session_id = 0" not in text
    assert "#   session_type, the set of stimuli" in text
    assert "to be mended before it can be processed: " in text
    assert "stimulus names gone.pkl, and there is no" in text


def test_nothing_open_is_no_list(rig: Path) -> None:
    for name in ("stimulus.pkl", "eye.h5"):
        (rig / name).touch()
    places = ("monitor_position", "camera_position", "led_position", "monitor_rotation", "camera_rotation")
    told = {"sync": "rig.sync", "stimulus": "stimulus.pkl", "eye_ellipses": "eye.h5", "session_type": "gratings"}
    told |= {"subject": {"sex": "F"}, "rig": {"equipment": "x"} | {key: [0.0, 0.0, 0.0] for key in places}}
    assert "Not known" not in describe_folder(tell(rig, **told)).read_text()


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_a_folder_whose_name_is_no_text(rig: Path) -> None:
    strange = rig.with_name(os.fsdecode(b"rig\xff"))
    tell(rig).rename(strange)
    with pytest.raises(FileFormatError, match=r"probes\[0\]\.recording is 'rig.*/a'; needed is a text without NUL"):
        describe_folder(strange, rig.with_name("session.toml"))
