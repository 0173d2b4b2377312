"""A session's file: what it may say, and what is said about one that cannot be."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest

from allen_ecephys.errors import FileFormatError, InvalidValueError, MissingFileError
from allen_ecephys.processing import read_session_file, session_schema
from allen_ecephys.processing.packaging import session_description
from allen_ecephys.processing.packaging.contents import RigGeometry
from allen_ecephys.processing.stages import session_file
from allen_ecephys.processing.stages.session_checks import check_sessions
from allen_ecephys.processing.stages.session_file import check_session_files
from allen_ecephys.processing.stages.session_steps import OF_A_PROBE, OF_A_SESSION, session_tasks

TOLD = """
session_id = 7
session_start_time = 2019-01-19T08:54:18-08:00
sync = "rig.sync"
{more}
[[probes]]
name = "probeA"
recording = "probeA"
{tables}
"""


@pytest.fixture
def rig(tmp_path: Path) -> Path:
    for name in ("probeA", "probeB"):
        (tmp_path / name).mkdir()
    (tmp_path / "rig.sync").touch()
    return tmp_path


def write(rig: Path, more: str = "", tables: str = "", name: str = "session.toml") -> Path:
    (rig / name).write_text(TOLD.format(more=more, tables=tables))
    return rig / name


def test_what_is_not_said_is_the_default(rig: Path) -> None:
    session = read_session_file(write(rig))
    assert session.told.metadata.session_start_time.isoformat() == "2019-01-19T08:54:18-08:00"
    assert session.output == rig / "session_processed"
    assert session.cache is None
    chosen = session.parameters
    assert (chosen.sorter, chosen.lfp, chosen.units.seed, chosen.units.spikes_per_unit) == ("native", True, 0, 1000)
    assert not chosen.units.subtract_medians  # they are in the recording that was sorted
    assert session.where.workers is None


def test_parameters_of_every_stage(rig: Path) -> None:
    tables = """
    [subject]
    sex = "F"
    [stages.depth_estimation]
    start_s = 0
    [stages.sorting]
    sorter = "native"
    parameters = { Th = [9, 4], nblocks = 0 }
    [stages.mean_waveforms]
    spikes_per_unit = 200
    epochs = { first = [0, 10.5] }
    [stages.noise_units]
    min_spikes = 5
    template = { min_channels = 1, peak_time = [9, 31] }
    [stages.units]
    drift_interval = 20
    [stages.whole_session]
    lfp = false
    [stages.stimulus_metrics]
    n_shuffles = 10
    [run]
    workers = 3
    cluster = { kind = "slurm", jobs = 10, options = { queue = "ephys", cores = 4 } }
    """
    session = read_session_file(write(rig, 'output = "out"\ncache = "../project"\nseed = 5', tables))
    chosen = session.parameters
    assert session.told.metadata.sex == "F"
    assert (session.output, session.cache) == (rig / "out", rig / "../project")
    assert chosen.depth.start_s == 0.0
    assert isinstance(chosen.depth.start_s, float)
    assert chosen.sorter_parameters == {"Th": [9, 4], "nblocks": 0}
    assert chosen.units.epochs == {"first": (0.0, 10.5)}
    assert (chosen.units.noise.min_spikes, chosen.units.noise.template.peak_time) == (5, (9, 31))
    assert (chosen.units.quality.drift_interval, chosen.units.quality.seed) == (20.0, 5)
    assert not chosen.lfp
    assert chosen.stimulus_metrics == {"seed": 5, "n_shuffles": 10}
    assert session.where.cluster == {"kind": "slurm", "jobs": 10, "options": {"queue": "ephys", "cores": 4}}


@pytest.mark.parametrize(
    ("more", "tables", "said"),
    [
        ("sessionid = 3", "", "sessionid is no key; did you mean 'session_id'?"),
        ("monitor_lag = 'long'", "", "monitor_lag is 'long'; needed is a number (from a vsync to the screen"),
        ("seed = -1", "", "seed is -1; needed is 0 or more"),
        ("seed = ", "", "is no TOML: Invalid value"),
        ("output = 'probeA/out'", "", "output is {rig}/probeA/out, within the recording of probeA"),
        ("output = '.'", "", "output is {rig}, so that {rig}/probeA gets what is made of a probe"),
        ("stimulus = 'gone.pkl'", "", "names gone.pkl, and there is no {rig}/gone.pkl"),
        ("", "[[probes]]\nname = 'probea'\nrecording = 'probeB'", "probes[1].name is 'probea', as another probe's"),
        (
            "",
            "[[probes]]\nname = 'session'\nrecording = 'probeB'",
            "as a folder or file of the session; choose another",
        ),
        (
            "",
            "[[probes]]\nname = 'log.jsonl'\nrecording = 'probeB'",
            "as a folder or file of the session; choose another",
        ),
        (
            "",
            "[[probes]]\nname = 'session.HTML'\nrecording = 'probeB'",
            "as a folder or file of the session; choose another",
        ),
        (
            "",
            "[[probes]]\nname = '../x'\nrecording = 'probeB'",
            "probes[1].name is '../x'; needed is a text of letters, digits",
        ),
        ("", "[[probes]]\nname = 'B'\nrecording = './probeA'", "the probes B and probeA are of one recording, {rig}/"),
        ("", "[[probes]]\nname = 'B'\nrecording = 'probeA'\nstream = 'x'", "B and probeA are of one recording"),
        ("", "[[probes]]\nrecording = 'probeB'", "probes[1].name is missing: as probeA; each probe has a name of its"),
        ("", "[subject]\nsex = 'f'", "subject.sex is 'f'; needed is one of 'M', 'F', 'U', 'O'; did you mean 'F'? (M"),
        ("", "[stages.sortign]", "stages.sortign is no key; did you mean 'sorting'? Remove it, or correct its name"),
        (
            "",
            "[stages.sorting]\nparameters = { th = 3 }",
            ": stages.sorting.parameters: the native sorter has no parameter",
        ),
        ("", "[stages.sorting]\nparameters = { th = 3 }", "no parameter 'th'; did you mean 'Th'?"),
        ("", "[stages.sorting]\nparameters = { Th = [inf, 4] }", "sorting.parameters.Th[0] is inf; needed is a finite"),
        ("", f"[[probes]]\nname = '{'p' * 300}'\nrecording = 'probeB'", "needed is a text of 100 characters or fewer"),
        ("monitor_lag = inf", "", "monitor_lag is inf; needed is a finite number"),
        ('output = "a\\u0000b"', "", "output is 'a\\x00b'; needed is a text without NUL"),
        ('"a\\u0000" = 3', "", "'a\\x00' is no key"),
        (
            f"lines = {{ frames = {10**30} }}",
            "",
            "lines: frames is 1000000000000000000000000000000; give the name of a line",
        ),
        ("", "[stages.sorting]\nparameters = { Thh = 3 }", "no parameter 'Thh'; did you mean 'Th'?"),
        ("", "[stages.sorting]\nparameters = { Th = [4, 9] }", "Th is (4.0, 9.0); give (learning, extraction)"),
        ("", "[stages.mean_waveforms.epochs]\na = [9, 1]", "the epoch 'a' goes from 9.0 to 1.0 s"),
        ("", "[stages.units]\nn_neighbors = 2.5", "stages.units.n_neighbors is 2.5; needed is a whole number"),
        ("", "[run]\nworkers = 0", "run.workers is 0; needed is 1 or more"),
        ("", "[run.cluster]\nkind = 'slrum'", "run.cluster.kind is 'slrum'; needed is one of 'slurm'"),
    ],
)
def test_what_cannot_be(rig: Path, more: str, tables: str, said: str) -> None:
    path = write(rig, more, tables)
    with pytest.raises((FileFormatError, MissingFileError)) as caught:
        read_session_file(path)
    assert said.format(rig=rig) in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_file_that_is_none(rig: Path) -> None:
    with pytest.raises(MissingFileError, match="process describe"):
        read_session_file(rig / "session.toml")
    (rig / "session.json").write_text("[]")
    with pytest.raises(FileFormatError, match="needed is a table"):
        read_session_file(rig / "session.json")
    (rig / "session.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(FileFormatError, match="is no TOML"):
        read_session_file(rig / "session.toml")
    write(rig, "", "").write_text("session_id = 7")
    with pytest.raises(FileFormatError, match=r"session_start_time is missing: start of the session, as 2019-01-19T"):
        read_session_file(rig / "session.toml")
    write(rig).write_text(TOLD.format(more="", tables="").replace("-08:00", ""))
    with pytest.raises(FileFormatError, match="has no time zone"):
        read_session_file(rig / "session.toml")


def test_every_missing_file_is_told_at_once(rig: Path) -> None:
    path = write(rig, "stimulus = 'a.pkl'", "channels = 'b.csv'\n[[probes]]\nname = 'B'\nrecording = 'gone'")
    with pytest.raises(MissingFileError) as caught:
        read_session_file(path)
    assert str(caught.value).splitlines() == [
        f"{path}: stimulus names a.pkl, and there is no {rig / 'a.pkl'}",
        f"{path}: probes[0].channels names b.csv, and there is no {rig / 'b.csv'}",
        f"{path}: probes[1].recording names gone, and there is no {rig / 'gone'}",
    ]


def test_every_wrong_parameter_is_told_at_once(rig: Path) -> None:
    path = write(rig, "", "[stages.sorting.parameters]\nThh = 3\n[stages.mean_waveforms.epochs]\na = [9, 1]")
    with pytest.raises(FileFormatError) as caught:
        read_session_file(path)
    assert [line.split(": ")[1] for line in str(caught.value).splitlines()] == [
        "stages.sorting.parameters",
        "stages.mean_waveforms",
    ]


def test_json_as_other_programs_write_it(rig: Path) -> None:
    told = {"session_id": 7, "session_start_time": "2019-01-19T08:54:18-08:00", "sync": "rig.sync"}
    path = rig / "SESSION.JSON"
    path.write_text(json.dumps(told | {"probes": [{"name": "A", "recording": "probeA"}]}), encoding="utf-8-sig")
    assert read_session_file(path).told.probes[0].name == "A"
    path.write_text("[" * 100_000)
    with pytest.raises(FileFormatError, match="is nested too deeply to be read"):
        read_session_file(path)
    path.write_text('{"institution": "\\udc80", "rig": {"equipment": "\\udc80"}}')
    with pytest.raises(FileFormatError, match=r"institution is '.*'; needed is a text without NUL or halves") as caught:
        read_session_file(path)
    str(caught.value).encode()
    deep: list[object] = []
    for _ in range(700):
        deep = [deep]
    path.write_text(json.dumps({"stages": {"sorting": {"parameters": {"a": deep}}}}))
    with pytest.raises(FileFormatError):
        read_session_file(path)


def test_two_streams_of_one_folder_are_two_probes(rig: Path) -> None:
    path = write(rig, "", "stream = 'x'\n[[probes]]\nname = 'B'\nrecording = 'probeA'\nstream = 'y'")
    assert [probe.stream for probe in read_session_file(path).told.probes] == ["y", "x"]


def test_sessions_that_would_write_into_one_another(rig: Path) -> None:
    one = read_session_file(write(rig, "output = 'out'"))
    within = read_session_file(write(rig, "output = 'out/more'", name="other.toml"))
    with pytest.raises(InvalidValueError, match="one within the other; give each an `output` of its own"):
        check_session_files([one, within])
    same_id = read_session_file(write(rig, "output = 'more'", name="other.toml"))
    with pytest.raises(InvalidValueError, match="have the session_id 7; ids are unique"):
        check_session_files([one, same_id])
    check_session_files([one])


def test_a_start_that_no_clock_of_utc_has(rig: Path) -> None:
    path = write(rig)
    path.write_text(path.read_text().replace("2019-01-19T08:54:18-08:00", "0001-01-01T00:00:00+08:00"))
    with pytest.raises(FileFormatError, match=r"session_start_time 0001-01-01.* is before the year 1 in UTC"):
        check_sessions([read_session_file(path)])


def test_the_tasks_of_a_session(rig: Path) -> None:
    session = read_session_file(write(rig, "", "[[probes]]\nname = 'probeB'\nrecording = 'probeB'"))
    tasks = session_tasks(session)
    assert len({task.key for task in tasks}) == len(tasks) == 2 * len(OF_A_PROBE) + len(OF_A_SESSION)
    (packaging,) = [task for task in tasks if task.key == "7/whole_session"]
    assert {f"7/{probe}/units" for probe in ("probeA", "probeB")} <= set(packaging.after)


def test_the_schema_is_json_and_knows_all_that_a_session_can_say() -> None:
    schema = session_schema()
    assert json.loads(json.dumps(schema)) == schema
    known = schema["properties"]
    assert {*session_description._REQUIRED, *session_description._OPTIONAL} == set(known) - set(session_file._HOW)
    assert tuple(schema["required"]) == session_description._REQUIRED
    assert set(session_description._PROBE) == set(known["probes"]["items"]["properties"])
    assert set(session_description._SUBJECT) == set(known["subject"]["properties"])
    assert {field.name for field in fields(RigGeometry)} == set(known["rig"]["properties"])
