"""Session descriptions: what they must say, and what is said wrongly."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from allen_ecephys.errors import FileFormatError, MissingFileError
from allen_ecephys.processing.packaging.session_description import read_session_description

TOLD: dict[str, Any] = {
    "session_id": 7,
    "session_start_time": "2019-01-19T08:54:18-08:00",
    "sync": "rig.sync",
    "probes": [{"name": "probeB", "recording": "b"}, {"name": "probeA", "recording": "a", "channels": "a.csv"}],
}

RIG = {name: [0, 0, 0] for name in ("monitor_rotation", "camera_rotation", "monitor_position", "camera_position")}
INVALID = {"start_time": 1, "stop_time": 3, "type": "EcephysSession", "id": 7, "label": "all_probes"}
RIG |= {"equipment": "NP.1"}  # type: ignore[dict-item]


def written(folder: Path, **changes: Any) -> Path:
    for name in ("a", "b"):
        (folder / name).mkdir(exist_ok=True)
    for name in ("rig.sync", "a.csv", "stimulus.pkl", "table.csv"):
        (folder / name).touch()
    told = {key: value for key, value in (TOLD | changes).items() if value is not None}
    (folder / "session.json").write_text(json.dumps(told))
    return folder / "session.json"


def test_what_is_not_said_is_not_known(tmp_path: Path) -> None:
    told = read_session_description(written(tmp_path))
    assert [probe.name for probe in told.probes] == ["probeA", "probeB"]
    assert told.probes[0].channels == tmp_path / "a.csv"
    assert told.metadata.session_start_time.utcoffset() == timedelta(hours=-8)
    unknown = (told.metadata.sex, told.metadata.age_in_days, told.metadata.species, told.metadata.institution)
    assert unknown == (None,) * 4
    assert told.rig is None
    assert told.stimulus is None
    assert told.files() == [tmp_path / "rig.sync", tmp_path / "a.csv"]
    facts = told.facts()
    assert [probe["channels"] for probe in facts["probes"]] == [True, False]  # what it holds is an input
    assert facts["metadata"]["session_start_time"] == "2019-01-19 08:54:18-08:00"
    assert "path" not in facts


def test_what_a_recording_does_not_say_of_its_probe_may_be_told(tmp_path: Path) -> None:
    probes = [
        {"name": "probeA", "recording": "a", "settings": "table.csv", "stream": "ProbeA"},
        {"name": "probeB", "recording": "b", "part_number": "NP2013"},
    ]
    told = read_session_description(written(tmp_path, probes=probes))
    settings = tmp_path / "table.csv"
    assert told.probes[0].opened_with == {"stream": "ProbeA", "settings": settings, "part_number": None}
    assert told.probes[1].opened_with == {"stream": None, "settings": None, "part_number": "NP2013"}
    assert settings in told.files()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"session_id": None}, "does not say session_id"),
        ({"probe": []}, "did you mean 'probes'"),
        ({"probes": []}, "names no probe"),
        ({"probes": [{"name": "p", "recording": "a"}, {"name": "p", "recording": "b"}]}, "the probe p twice"),
        ({"probes": [{"name": "p"}]}, "does not say recording"),
        ({"subject": {"gender": "F"}}, "'gender' is unknown"),
        ({"session_start_time": "2019-01-19T08:54:18"}, "no time zone"),
        ({"session_start_time": "yesterday"}, "is no time"),
        ({"stimulus": "stimulus.pkl", "presentations": "table.csv"}, "one of them says"),
        ({"invalid_times": [{"start_time": 1}]}, "does not say stop_time"),
        ({"session_id": "abc"}, "session.json: session_id is 'abc'; give a whole number"),
        ({"session_id": 1.5}, "session_id is 1.5"),
        ({"session_id": -3}, "session_id is -3"),
        ({"probes": {"a": 1}}, "probes is a dict, not a list"),
        ({"probes": [{"name": "../p", "recording": "a"}]}, "'../p' is no name of a probe"),
        ({"probes": [{"name": "", "recording": "a"}]}, "'' is no name of a probe"),
        ({"probes": [{"name": "p", "recording": "a", "start": "soon"}]}, "p: start is 'soon', not a number"),
        ({"subject": {"sex": "female"}}, "sex is 'female'; write M, F, O, or U"),
        ({"subject": {"age_in_days": "P118D"}}, "age_in_days is 'P118D', not a number, 0 or more"),
        ({"monitor_lag": "0.01"}, "monitor_lag is '0.01', not a number"),
        ({"invalid_times": 5}, "invalid_times is a int, not a list"),
        ({"invalid_times": [INVALID | {"start_time": "a"}]}, "start_time is 'a'"),
        ({"invalid_times": [INVALID | {"start_time": 5}]}, "stops at 3.0 s and starts at 5.0 s"),
        ({"rig": {"equipment": "NP.1"}}, "does not say monitor_position"),
        ({"rig": RIG | {"led_position": [1, 2]}}, "led_position is .* not three numbers"),
    ],
)  # fmt: skip
def test_what_is_said_wrongly(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(FileFormatError, match=message):
        read_session_description(written(tmp_path, **changes))


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"names none\.pkl"):
        read_session_description(written(tmp_path, stimulus="none.pkl"))
    with pytest.raises(MissingFileError, match="'a', which is a folder; name the file in it"):
        read_session_description(written(tmp_path, sync="a"))
    with pytest.raises(MissingFileError, match="'', which is a folder"):
        read_session_description(written(tmp_path, sync=""))
    with pytest.raises(MissingFileError, match="no session description"):
        read_session_description(tmp_path / "other.json")
    (tmp_path / "session.json").write_text("{")
    with pytest.raises(FileFormatError, match="no JSON"):
        read_session_description(tmp_path / "session.json")
