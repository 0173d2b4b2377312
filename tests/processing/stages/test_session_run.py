"""A session from one file to a project cache that serves it; run again, changed, looked at, broken."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from allen_ecephys.cache import EcephysProjectCache
from allen_ecephys.cli import main
from allen_ecephys.cli.serving import Served
from allen_ecephys.errors import AlreadyPresentError, FileFormatError
from allen_ecephys.processing import (
    Remaining,
    plan_sessions,
    process_sessions,
    read_session_file,
    session_outputs,
    session_status,
    write_session_page,
)
from allen_ecephys.processing.pipeline import Task, TaskResult, read_log
from allen_ecephys.processing.pipeline.costs import AROUND_STAGES
from allen_ecephys.processing.pipeline.tasks import run_here
from allen_ecephys.processing.simulation.raw.recording import read_ground_truth
from allen_ecephys.processing.simulation.rig import write_rig
from allen_ecephys.processing.sorting import sorters
from allen_ecephys.processing.sorting.spikes_to_result import result_from_spikes
from allen_ecephys.processing.stages import session_run
from allen_ecephys.processing.stages.session_steps import OF_A_PROBE, session_tasks

STAGES = """
[stages.sorting]
sorter = "truth"
[stages.noise_units]
min_spikes = 5
[stages.stimulus_metrics]
n_shuffles = 20
"""


def told(folder: Path, **changes: Any) -> str:
    """Write what the rig's JSON says as TOML."""
    facts = json.loads((folder / "session.json").read_text())
    plain = {name: value for name, value in facts.items() if isinstance(value, str | int)} | changes
    lines = [f"{name} = {json.dumps(value)}" for name, value in plain.items()]
    for table in ("subject", "rig"):
        lines += [f"[{table}]", *(f"{name} = {json.dumps(value)}" for name, value in facts[table].items())]
    for probe in facts["probes"]:
        lines += ["[[probes]]", *(f"{name} = {json.dumps(value)}" for name, value in probe.items())]
    return "\n".join(lines) + STAGES


@pytest.fixture(scope="module")
def truth_sorter() -> Iterator[None]:
    """Let ``truth`` be a sorter that knows the truth of the rig's folder beside the output."""

    def sort(recording: Any, folder: Path, _: Any) -> Any:
        probe, output = folder.parents[1].name, folder.parents[2]
        truth = read_ground_truth(output.parent / "rig" / probe)
        return result_from_spikes(recording, truth.spike_times, truth.spike_units, len(truth.units), folder)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sorters.SORTERS, "truth", sort)
        yield


@pytest.fixture(scope="module")
def processed(truth_sorter: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the file of a processed session, which is served."""
    place = tmp_path_factory.mktemp("sessions")
    write_rig(place / "rig", repeats=1, n_units=3, n_channels=12)
    (place / "rig" / "session.toml").write_text(told(place / "rig", output="../done", cache="../project"))
    done = CliRunner().invoke(main, ["process", "session", str(place / "rig" / "session.toml")])
    assert done.exit_code == 0, done.output
    assert "is served: read it with" in done.output
    assert f"how it went: {place / 'rig' / '..' / 'done' / 'session.html'}" in done.output
    return place / "rig" / "session.toml"


@pytest.fixture
def session(processed: Path, tmp_path: Path) -> Path:
    """Give a copy of the processed session, to change."""
    shutil.copytree(processed.parent, tmp_path / "rig")
    shutil.copytree(processed.parents[1] / "done", tmp_path / "done")
    return tmp_path / "rig" / "session.toml"


def ran(path: Path) -> set[str]:
    results = process_sessions([path])
    assert all(result.ok for result in results)
    return {result.key.partition("/")[2] for result in results if result.outcome == "done"}


def states(path: Path) -> dict[str, str]:
    return {status.key.partition("/")[2]: status.state for status in session_status(path)}


def test_the_cache_serves_what_was_processed(processed: Path) -> None:
    cache = EcephysProjectCache.fixed(processed.parents[1] / "project")
    assert cache.get_session_table().index.tolist() == [700_000]
    session = cache.get_session_data(700_000)
    assert len(session.get_stimulus_table("drifting_gratings")) > 0
    assert len(cache.get_probes()) == 2
    made = session_outputs(read_session_file(processed))
    assert len(made.lfp) == 2


def test_a_page_says_how_it_went(session: Path) -> None:
    page = write_session_page(read_session_file(session)).read_text()
    assert page.count("data:image/png;base64,") == 2 * 5  # of each probe four figures and its clock
    assert re.search(r"<td>clock drift \(ppm\)</td><td>\+37\.0\d</td><td>-1[12]\.\d\d</td>", page)
    assert "truth leaves no estimate of drift." in page
    shutil.rmtree(session.parents[1] / "done" / "probeB" / "units")
    page = write_session_page(read_session_file(session)).read_text()
    assert re.search(r'probeB</a>.*word look">! look</span>.*\n.*>units is to do<', page)
    assert "<li>whole_session is stale: after probeB/units</li>" in page
    assert page.count("Nothing to show: the stage units is not done.") == 2
    assert "Every stage is done" not in page


def test_nothing_runs_twice_and_nothing_is_served_twice(session: Path) -> None:
    assert set(states(session).values()) == {"done"}
    assert ran(session) == set()  # another folder on another day: the bytes are the same
    served = CliRunner().invoke(main, ["process", "session", str(session)])
    again = CliRunner().invoke(main, ["process", "session", str(session)])
    for done in (served, again):
        assert done.exit_code == 0, done.output


def test_tasks_for_workers_in_other_folders_name_absolute_paths(session: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handed: list[Task] = []
    monkeypatch.setattr(session_run, "running_scheduler", lambda _: nullcontext("a client"))
    monkeypatch.setattr(session_run, "run_on", lambda _, tasks, *__, **___: handed.extend(tasks) or [])
    monkeypatch.chdir(session.parents[1])
    process_sessions([Path("rig/session.toml")], scheduler="tcp://node1:8786")
    assert ran(Path("rig/session.toml")) == set()
    elsewhere = session.parents[1] / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert {result.outcome for result in run_here(pickle.loads(pickle.dumps(handed)))} == {"reused"}
    assert list(elsewhere.iterdir()) == []
    read = {os.path.relpath(path, session.parent) for path in handed[0].reads}
    assert {"probeA", "probeB", json.loads((session.parent / "session.json").read_text())["sync"]} <= read


def test_a_changed_parameter_redoes_what_depends_on_it(session: Path) -> None:
    session.write_text(session.read_text().replace("min_spikes = 5", "min_spikes = 6\nmin_snr = 0.9"))
    before = states(session)
    assert {key for key, state in before.items() if state != "done"} == {
        *(f"{probe}/{stage}" for probe in ("probeA", "probeB") for stage in ("noise_units", "units")),
        "whole_session",
        "stimulus_metrics",
    }
    reasons = {status.key: status.reason for status in session_status(session)}
    assert reasons["700000/probeA/noise_units"] == "min_snr 1.0 -> 0.9, min_spikes 5 -> 6"
    assert reasons["700000/whole_session"] == "after probeB/units"
    # What the rules call the units did not change: nothing that reads the verdicts has anything to do.
    assert ran(session) == {"probeA/noise_units", "probeB/noise_units"}
    assert set(states(session).values()) == {"done"}


def test_an_output_that_was_changed_in_place_is_made_again(session: Path) -> None:
    done = session.parents[1] / "done"
    files = [done / "probeA" / "mean_waveforms" / "mean_waveforms.npy", done / "whole_session" / "session.nwb"]
    before = [file.read_bytes() for file in files]
    for file, held in zip(files, before, strict=True):
        file.write_bytes(held[:-8] + bytes(8 * [held[-1] ^ 1]))
    looked = {status.key.partition("/")[2]: (status.state, status.reason) for status in session_status(session)}
    assert looked["probeA/mean_waveforms"] == ("stale", "its output mean_waveforms.npy was changed since")
    assert looked["probeB/units"] == ("done", "")
    assert ran(session) == {"probeA/mean_waveforms", "whole_session"}
    assert [file.read_bytes() for file in files] == before


def test_the_log_of_a_session_to_which_nothing_happened_says_so(processed: Path, tmp_path: Path) -> None:
    shutil.copytree(processed.parent, tmp_path / "rig")
    told = CliRunner().invoke(main, ["process", "log", str(tmp_path / "rig" / "session.toml")])
    assert told.exit_code == 0
    assert "nothing has happened to this session yet" in told.output


def test_the_lfp_waits_for_the_first_look_only_and_is_there_once(session: Path) -> None:
    done = session.parents[1] / "done"
    tasks = {task.key: task.after for task in session_tasks(read_session_file(session))}
    assert tasks["700000/probeA/lfp"] == ("700000/probeA/depth_estimation",)
    assert "700000/probeA/lfp" in tasks["700000/whole_session"]
    shutil.rmtree(done / "probeB" / "lfp")  # as an older version left a session, which wrote it later
    assert {key for key, state in states(session).items() if state != "done"} == {
        "probeB/lfp", "whole_session", "stimulus_metrics",
    }  # fmt: skip
    assert ran(session) == {"probeB/lfp"}  # to the same bytes
    shutil.rmtree(done / "whole_session")
    assert ran(session) == {"whole_session"}
    (made,) = (done / "probeB" / "lfp").glob("*.nwb")
    assert made.samefile(done / "whole_session" / made.name)
    assert session_outputs(read_session_file(session)).lfp[7_000_001].samefile(made)


def test_without_lfp_there_is_no_such_stage(session: Path) -> None:
    session.write_text(session.read_text() + "[stages.whole_session]\nlfp = false\n")
    assert not [key for key in states(session) if key.endswith("/lfp")]
    assert ran(session) == {"whole_session", "stimulus_metrics"}
    assert session_outputs(read_session_file(session)).lfp == {}
    assert "No LFP file is written" in write_session_page(read_session_file(session)).read_text()


def test_where_a_session_is_described_from_changes_nothing(session: Path) -> None:
    names = re.compile(r'^((?:sync|stimulus|optotagging|eye_ellipses|recording|channels|events) = ")', re.M)
    above = session.parents[1] / "session.toml"
    above.write_text(
        names.sub(r"\1rig/", session.read_text().replace('"../done"', '"done"').replace('"../pro', '"pro'))
    )
    assert set(states(above).values()) == {"done"}
    # As earlier versions recorded it: files by their names.
    for stage, key in (("whole_session", "description"), ("probeB/lfp", "session")):
        record = session.parents[1] / "done" / stage / "stage.json"
        held = json.loads(record.read_text())
        held["parameters"][key] |= {"sync": "rig.sync", "stimulus": "stimulus.pkl"}
        held["parameters"][key]["probes"][-1] |= {"recording": "probeB", "channels": "probeB_channels.csv"}
        record.write_text(json.dumps(held))
    assert set(states(above).values()) == {"done"}
    session.write_text(session.read_text().replace('channels = "probeB_channels.csv"', ""))
    assert states(session)["whole_session"] == states(session)["probeB/lfp"] == "stale"


def test_an_edited_description_redoes_the_files_only(session: Path) -> None:
    session.write_text("# A comment changes nothing.\n" + session.read_text().replace("NP.sim", "NP.2"))
    assert ran(session) == {"whole_session", "stimulus_metrics"}


def test_a_damaged_recording_holds_up_its_session_and_not_the_other_probe(session: Path) -> None:
    shutil.rmtree(session.parents[1] / "done")
    raw = next((session.parent / "probeB").rglob("continuous.dat"))
    raw.write_bytes(raw.read_bytes()[:-24])
    done = CliRunner().invoke(main, ["process", "session", str(session)])
    assert done.exit_code == 1
    assert "700000/probeB/depth_estimation: failed:" in done.output
    assert "700000/whole_session: not reached: waits for 700000/probeB/depth_estimation" in done.output
    assert "9 of 20 stages are done" in done.output
    found = states(session)
    assert {found[f"probeA/{stage}"] for stage in OF_A_PROBE} == {"done"}
    assert found["probeB/depth_estimation"] == "failed"
    shown = CliRunner().invoke(main, ["process", "status", str(session)])
    assert shown.exit_code == 0
    assert "probeB/depth_estimation: failed: " in shown.output
    assert any(line["event"] == "failed" for line in read_log(session.parents[1] / "done"))
    log = CliRunner().invoke(main, ["process", "log", str(session), "--traceback", "--tail", "40"])
    assert "Traceback" in log.output


def test_a_sorter_that_is_not_there_is_told_before_anything_runs(session: Path) -> None:
    shutil.rmtree(session.parents[1] / "done")
    session.write_text(session.read_text().replace('"truth"', '"kilosrt4"'))
    done = CliRunner().invoke(main, ["process", "session", str(session)])
    assert done.exit_code == 1
    assert "kilosrt4" in done.output
    assert not (session.parents[1] / "done").exists()


def test_files_of_another_kind_are_told_before_anything_runs(session: Path) -> None:
    rig = session.parent
    (rig / "bad.csv").write_text("channel;structure_acronym\n0;VISp\n")
    text = told(rig, output="../other", stimulus="optotagging.pkl", optotagging="stimulus.pkl")
    session.write_text(text.replace("probeB_channels.csv", "bad.csv"))
    with pytest.raises(FileFormatError) as caught:
        process_sessions([session])
    stimulus, light, channels = str(caught.value).splitlines()
    assert stimulus.startswith(f"{session}: stimulus: {rig / 'optotagging.pkl'} has no 'fps'")
    assert light.startswith(f"{session}: optotagging: the light's pickle has no opto_conditions")
    assert channels.endswith("bad.csv has no column 'channel'; its columns are channel;structure_acronym; its values "
                             "are separated by semicolons: save it with commas")  # fmt: skip
    assert not (session.parents[1] / "other").exists()
    session.write_text(told(rig, output="../other", eye_ellipses="rig.sync"))
    with pytest.raises(FileFormatError, match=r"eye_ellipses: .*rig\.sync has the tables data, meta"):
        process_sessions([session])


def test_one_recording_by_two_folders_is_told_before_anything_runs(session: Path) -> None:
    band = next((session.parent / "probeA").rglob("continuous.dat")).relative_to(session.parent)
    text = told(session.parent, output="../other").replace('recording = "probeB"', f'recording = "{band.parents[1]}"')
    session.write_text(text)
    with pytest.raises(FileFormatError, match=r"session\.toml: the probes probeA and probeB are of one recording, /"):
        process_sessions([session])


def test_the_plan_scales_what_was_measured(session: Path) -> None:
    nothing = plan_sessions([session])
    assert (nothing.stages, nothing.n_done, nothing.seconds) == ((), 20, 0.0)
    shutil.copytree(session.parent, session.parents[1] / "other")
    other = session.parents[1] / "other" / "session.toml"
    other.write_text(other.read_text().replace("../done", "../elsewhere").replace("700000", "700001"))
    plan = plan_sessions([other], like=[session])
    assert (len(plan.stages), plan.n_done) == (20, 0)
    measured = {status.key[7:]: status.cost for status in session_status(session)}
    spent = sum(cost["seconds"] for cost in measured.values() if cost)
    assert plan.seconds - AROUND_STAGES == pytest.approx(spent, rel=0.1)
    two = plan_sessions([other], like=[session], workers=2)
    assert 0.4 * plan.seconds < two.seconds < plan.seconds
    assert two.memory > plan.memory
    assert plan.disk > 0.9 * sum(p.stat().st_size for p in (session.parents[1] / "done").rglob("*/*/*") if p.is_file())
    assert plan_sessions([other]).seconds > 0  # by what was measured elsewhere
    # While it runs, what is left follows from what stages really took: an hour for each, where a minute was expected.
    minutes = replace(plan, stages=tuple(replace(s, cost=replace(s.cost, seconds=60.0)) for s in plan.stages))
    remaining = Remaining(minutes)
    first, second, *others = (stage.status.key for stage in plan.stages)
    left = [remaining.after(TaskResult(first, "done", cost={"seconds": 3600.0}))]
    assert left == [pytest.approx(19 * 60 * (300 + 3600) / (300 + 60))]  # a quarter of what was expected weighs as much
    left.append(remaining.after(TaskResult(second, "reused")))
    assert left[1] == pytest.approx(left[0] * 18 / 19)
    for key in others:
        left.append(remaining.after(TaskResult(key, "not reached", "waits for another")))
    assert left[-1] == 0.0
    assert Remaining(replace(minutes, workers=2)).after(TaskResult(first, "reused")) == pytest.approx(19 * 60 / 2)
    shown = CliRunner().invoke(main, ["process", "plan", str(other), "--like", str(session), "--workers", "2"])
    assert "0 stages are done, 20 would run: about" in shown.output
    told = json.loads(CliRunner().invoke(main, ["process", "plan", str(other), "--json"]).output)
    assert told["stages"][0]["status"]["state"] == "to do"


def test_a_rig_describes_itself(session: Path) -> None:
    session.unlink()
    done = CliRunner().invoke(main, ["process", "describe", str(session.parent)])
    assert done.exit_code == 0, done.output
    found = read_session_file(session)
    told = read_session_file(session.with_suffix(".json"))
    assert found.told.facts() == told.told.facts()
    again = CliRunner().invoke(main, ["process", "describe", str(session.parent)])
    assert "is there already, and is not replaced" in again.output
    # Without the rig's own description, and from another folder.
    (session.parent / "session.json").unlink()
    path = session.parents[1] / "described" / "session.toml"
    done = CliRunner().invoke(main, ["process", "describe", str(session.parent), "-o", str(path)])
    assert done.exit_code == 0, done.output
    found = read_session_file(path)
    assert [probe.name for probe in found.told.probes] == ["probeA", "probeB"]
    assert [Path(p.channels or "").name for p in found.told.probes] == ["probeA_channels.csv", "probeB_channels.csv"]
    assert found.told.sync is not None
    assert found.told.stimulus is not None
    assert (found.told.sync.name, found.told.stimulus.name) == ("rig.sync", "stimulus.pkl")
    assert found.told.optotagging is not None
    assert found.told.optotagging.name == "optotagging.pkl"
    text = path.read_text()
    assert "who was recorded" in text
    assert "where monitor, camera and light stood" in text
    assert "NOT TOLD" in text


def test_status_as_json_and_schema(session: Path) -> None:
    shown = CliRunner().invoke(main, ["process", "status", "--json", str(session)])
    (rows,) = json.loads(shown.output).values()
    assert {row["state"] for row in rows} == {"done"}
    assert rows[0]["cost"]["seconds"] >= 0
    schema = json.loads(CliRunner().invoke(main, ["process", "schema"]).output)
    assert "probes" in schema["properties"]


def run(*args: object) -> Result:
    return CliRunner().invoke(main, ["process", "session", *map(str, args)])


def change(path: Path, *changes: tuple[str, str], name: str = "") -> Path:
    """Write a session's file that says something else, beside it or in its place."""
    text = path.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = path.with_name(name) if name else path
    path.write_text(text)
    return path


def serve(path: Path, *, replace: bool = False) -> str:
    session = read_session_file(path)
    assert session.cache is not None
    return Served(session, session.cache).put(replace=replace)


def test_what_a_project_lost_is_put_back(session: Path) -> None:
    project = session.parents[1] / "project"
    assert "session 700000 is put into" in serve(session)
    assert serve(session) == ""
    next(project.glob("session_*/session_*.nwb")).unlink()
    assert "was gone from" in serve(session)
    next(project.glob("session_*/probe_*_lfp.nwb")).unlink()
    assert "session 700000 is replaced in" in serve(session)
    assert len(list(project.glob("session_*/probe_*_lfp.nwb"))) == 2
    project.rename(project.with_name("away"))
    assert "session 700000 is put into" in serve(session)
    assert EcephysProjectCache.fixed(project).get_session_table().index.tolist() == [700_000]
    # Back with what is in its place, and with other projects in between; a note that is none is no fault.
    shutil.rmtree(project)
    project.with_name("away").rename(project)
    other = change(session, ("../project", "../other"), name="other.toml")
    assert [bool(serve(path)) for path in (session, other, session)] == [False, True, False]
    next(project.glob(".session_*_from.json")).write_text("[]")
    assert serve(session) != ""  # the bytes tell that it is this one, and the note is written anew
    assert serve(session) == ""


def test_another_session_of_the_same_id_is_replaced_only_where_told(session: Path) -> None:
    assert run(session).exit_code == 0
    project = session.parents[1] / "project"
    (held,) = project.glob("session_*/session_*.nwb")
    before = held.read_bytes()
    shutil.copytree(session.parents[1] / "done", session.parents[1] / "copy")
    copy = change(session, ("../done", "../copy"), ("T08:", "T09:"), name="copy.toml")
    log = session.parents[1] / "copy" / "log.jsonl"
    lines = log.read_text()
    plan = CliRunner().invoke(main, ["process", "plan", str(copy)])
    for done in (run(copy), plan):
        assert done.exit_code == 1
        assert str(copy) in done.output
        assert f"holds a session 700000 that {session.parents[1] / 'done'} put there" in done.output
        assert "another `session_id` or `cache`" in done.output
        assert "--replace" in done.output
    assert log.read_text() == lines  # nothing ran
    assert held.read_bytes() == before
    # Other sessions are served, and all have their page.
    fine = session.parents[1] / "fine" / "session.toml"
    shutil.copytree(session.parent, fine.parent)
    change(fine, ("../done", "../own"), ("700000", "700007"))
    shutil.copytree(session.parents[1] / "done", session.parents[1] / "own")
    shutil.rmtree(session.parents[1] / "own" / "whole_session")
    (session.parents[1] / "copy" / "session.html").unlink()
    both = run(copy, fine)
    assert both.exit_code == 1
    assert "session 700000 is not served: " in both.output
    assert "session 700007 is served" in both.output
    assert all((session.parents[1] / name / "session.html").is_file() for name in ("copy", "own"))
    assert held.read_bytes() == before
    done = CliRunner().invoke(main, ["process", "plan", str(copy), "--replace"])
    assert done.exit_code == 0
    assert "session 700000 is replaced in" in serve(copy, replace=True)
    assert serve(copy) == ""
    with pytest.raises(AlreadyPresentError, match=f"that {session.parents[1] / 'copy'} put there"):
        serve(session)
    # A file that somebody else put in its place is not this folder's any more.
    held.write_bytes(before + b"x")
    with pytest.raises(AlreadyPresentError, match="--replace"):
        serve(copy)


def test_what_is_wrong_is_told_before_anything_runs(session: Path) -> None:
    (session.parents[1] / "file").touch()
    (session.parents[1] / "broken").mkdir()
    (session.parents[1] / "broken" / "manifest.json").write_text("{}")
    for changes, said in (
        (("../project", "../file"), "`cache` needs the folder"),
        (("../project", "../file/below"), "file is a file; name another place"),
        (("../project", "probeA/project"), "probeA/project, within "),
        (("../project", "../done/probeB/project"), "name a folder outside of it"),
        (("../project", "../broken"), "`cache`: "),
        (("brain_observatory_1.1", "../x"), "`session_type`: "),
        (("../done", "../file"), "`output` needs the folder"),
        (("../done", "../file/below"), "file is a file; name another place"),
        (('session_type = "brain_observatory_1.1"\n', ""), "session_type is missing: set of stimuli"),
        (("700000", "700001"), "done holds session 700000, and"),
    ):
        path = change(session, changes, name="wrong.toml")
        for command in ("session", "plan"):
            done = CliRunner().invoke(main, ["process", command, str(path)])
            assert done.exit_code == 1
            assert said in done.output
            assert str(path) in done.output
            assert "failed" not in done.output
    assert "address of the scheduler is empty" in run(session, "--scheduler", "").output


def test_folders_that_cannot_be_written_are_told_before_anything_runs(
    session: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = session.parents[1] / "done"
    monkeypatch.setattr(os, "access", lambda path, _: path not in (done, session.parents[1] / "closed"))
    refused = run(session)
    assert refused.exit_code == 1
    assert f"{session}: `output` needs the folder" in refused.output
    assert "which cannot be written; name another place" in refused.output
    (session.parents[1] / "closed").mkdir()
    path = change(session, ("../done", "../new"), ("../project", "../closed/project"))
    refused = run(path)
    assert f"{session}: `cache` needs the folder" in refused.output
    assert f"cannot be made, as {session.parents[1] / 'closed'} cannot be written" in refused.output


def test_a_probe_of_another_recording_is_refused_before_anything_runs(session: Path) -> None:
    raw = next((session.parent / "probeB").rglob("continuous.dat"))
    raw.write_bytes(bytes(64) + raw.read_bytes()[64:])
    for command in ("session", "plan"):
        done = CliRunner().invoke(main, ["process", command, str(session)])
        assert done.exit_code == 1
        assert re.search(
            r"done/probeB holds the results of another recording: .*begins with other samples", done.output
        )
        assert re.search(r"Give .*session\.toml another `output`, or remove .*done/probeB", done.output)
        assert "--overwrite" not in done.output
        assert "would run" not in done.output
