"""Stages on files: complete or absent, reused or redone, killed at any moment."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from allen_ecephys.errors import StageError
from allen_ecephys.files import draft_of
from allen_ecephys.processing.pipeline import digests
from allen_ecephys.processing.pipeline.digests import NOTES, content_digest
from allen_ecephys.processing.pipeline.manifest import MANIFEST, read_manifest, verify_stage
from allen_ecephys.processing.pipeline.outputs import SampleFile
from allen_ecephys.processing.pipeline.stage import Stage, StageNotCurrentError, looking_only
from allen_ecephys.processing.readers import open_bands
from allen_ecephys.processing.simulation.raw.recording import RawGroundTruth, write_recording
from allen_ecephys.processing.spike_band.writing import WhiteningParameters, open_processed
from allen_ecephys.processing.stages.depth_estimation import run_depth_estimation
from allen_ecephys.processing.stages.spike_band import process_spike_band


class Counted:
    """A stage that writes two files and counts how often it ran."""

    def __init__(self, text: str = "result") -> None:
        self.runs = 0
        self.text = text

    def __call__(self, folder: Path) -> dict[str, int]:
        self.runs += 1
        (folder / "a.txt").write_text(self.text)
        (folder / "sub").mkdir()
        (folder / "sub" / "b.npy").write_bytes(b"12345")
        return {"n": 7}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "input.dat"
    path.write_bytes(b"raw")
    return path


def leftovers(folder: Path) -> list[str]:
    return [p.name for p in folder.iterdir() if p.name.endswith(".draft")]


def test_a_finished_stage_is_reused(tmp_path: Path, source: Path) -> None:
    work = Counted()
    first = Stage("filter").run(tmp_path / "probe", work, inputs=[source], parameters={"hz": 150, "range": (0, 1)})
    again = Stage("filter").run(tmp_path / "probe", work, inputs=[source], parameters={"range": (0, 1), "hz": 150})
    assert (first.reused, again.reused, work.runs) == (False, True, 1)
    assert again.report == {"n": 7}
    assert sorted(again.manifest["outputs"]) == ["a.txt", "sub/b.npy"]
    assert verify_stage(first.folder) == []
    assert leftovers(tmp_path / "probe") == []


def test_p4_changed_inputs_parameters_or_outputs_run_again(tmp_path: Path, source: Path) -> None:
    work = Counted()

    def run(hz: int = 150) -> bool:
        return Stage("filter").run(tmp_path, work, inputs=[source], parameters={"hz": hz}).reused

    assert [run(), run(), run(300), run(300), run()] == [False, True, False, True, False]
    os.utime(source, ns=(1, 1))  # a copy, or another machine's clock: the bytes are the same
    assert run()
    source.write_bytes(b"RAW")
    assert [run(), run()] == [False, True]
    (tmp_path / "filter" / "a.txt").write_text("cut")
    assert [run(), run()] == [False, True]
    (tmp_path / "filter" / "a.txt").write_text("RESULT")  # the same size: only the digest tells
    assert verify_stage(tmp_path / "filter") == ["a.txt"]
    assert leftovers(tmp_path) == []


def test_p4_a_stage_runs_again_when_the_one_before_it_changed(tmp_path: Path, source: Path) -> None:
    first, second = Counted(), Counted()

    def run(hz: int) -> tuple[int, int]:
        first.text = str(min(hz, 2))
        a = Stage("a").run(tmp_path, first, inputs=[source], parameters={"hz": hz})
        Stage("b").run(tmp_path, second, inputs=[a.folder], parameters={})
        return first.runs, second.runs

    assert [run(1), run(1), run(2)] == [(1, 1), (1, 1), (2, 2)]
    assert run(3) == (3, 2)  # what comes to the same bytes changes nothing downstream


def test_the_record_of_a_stage_names_no_machine_and_tells_its_cost(tmp_path: Path, source: Path) -> None:
    def work(folder: Path) -> dict[str, int]:
        time.sleep(0.05)
        np.ones(8_000_000)
        return {}

    manifest = Stage("filter").run(tmp_path, work, inputs=[source], parameters={}).manifest
    assert manifest["inputs"] == [{"name": "input.dat", "size": 3, "sha256": hashlib.sha256(b"raw").hexdigest()}]
    assert manifest["cost"]["seconds"] >= 0.05
    assert manifest["cost"]["peak_memory_bytes"] >= 64e6
    assert manifest["made_by"]["numpy"] == np.__version__
    text = (tmp_path / "filter" / MANIFEST).read_text()
    assert platform.node() not in text
    assert str(tmp_path) not in text


def test_an_input_that_changes_while_it_is_read(tmp_path: Path, source: Path) -> None:
    def work(folder: Path) -> dict[str, int]:
        source.write_bytes(b"more")
        return {}

    with pytest.raises(StageError, match=r"input\.dat changed while the stage filter read it"):
        Stage("filter").run(tmp_path / "probe", work, inputs=[source], parameters={})
    assert leftovers(tmp_path / "probe") == []
    assert not (tmp_path / "probe" / "filter").exists()


def test_looking_runs_nothing_and_says_what_changed(tmp_path: Path, source: Path) -> None:
    work = Counted()

    def run(**parameters: int) -> str:
        try:
            Stage("filter").run(tmp_path / "probe", work, inputs=[source], parameters=parameters)
        except StageNotCurrentError as error:
            return str(error)
        return ""

    with looking_only():
        assert run(hz=1) == "the stage filter has not run"
    assert not (tmp_path / "probe").exists()
    run(hz=1)
    with looking_only():
        assert run(hz=1) == ""
        assert run(hz=2, order=3) == "the stage filter is to run again: hz 1 -> 2, order None -> 3"
        source.write_bytes(b"new")
        assert run(hz=1) == "the stage filter is to run again: input input.dat"
        (tmp_path / "probe" / "filter" / "a.txt").unlink()
    assert work.runs == 1


def test_a_digest_is_read_once_as_long_as_the_file_stays(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = hashlib.sha256(b"raw").hexdigest()
    assert content_digest(source, tmp_path) == expected
    assert not (tmp_path / NOTES).exists()  # it was changed just now, and may be once more within a tick of its clock
    monkeypatch.setattr(digests, "_SETTLED_S", -1.0)
    assert content_digest(source, tmp_path) == expected
    (note,) = (tmp_path / NOTES).iterdir()
    note.write_text(note.read_text().replace(expected, "noted"))
    assert content_digest(source, tmp_path) == "noted"
    source.write_bytes(b"war")
    assert content_digest(source, tmp_path) == hashlib.sha256(b"war").hexdigest()
    note.write_text("[1")  # a damaged note is none
    assert content_digest(source, tmp_path) == hashlib.sha256(b"war").hexdigest()


def test_p2_without_its_manifest_a_stage_is_not_done(tmp_path: Path, source: Path) -> None:
    work = Counted()
    result = Stage("filter").run(tmp_path, work, inputs=[source], parameters={})
    manifest = result.folder / MANIFEST
    manifest.write_text(manifest.read_text()[:-20])
    assert read_manifest(result.folder) is None
    assert not Stage("filter").run(tmp_path, work, inputs=[source], parameters={}).reused
    manifest.unlink()
    with pytest.raises(StageError, match="no stage wrote it"):
        Stage("filter").run(tmp_path, work, inputs=[source], parameters={})
    with pytest.raises(StageError, match="no finished stage"):
        verify_stage(result.folder)


def test_an_error_leaves_the_old_outputs_and_nothing_else(tmp_path: Path, source: Path) -> None:
    Stage("filter").run(tmp_path, Counted("old"), inputs=[source], parameters={"v": 1})

    def broken(folder: Path) -> dict[str, int]:
        (folder / "a.txt").write_text("half")
        msg = "disk on fire"
        raise OSError(msg)

    with pytest.raises(OSError, match="on fire"):
        Stage("filter").run(tmp_path, broken, inputs=[source], parameters={"v": 2})
    assert (tmp_path / "filter" / "a.txt").read_text() == "old"
    assert leftovers(tmp_path) == []


def test_p3_the_same_stage_twice_at_once_gives_one_result(tmp_path: Path, source: Path) -> None:
    barrier = threading.Barrier(2)
    results = []

    def work(folder: Path) -> dict[str, int]:
        (folder / "a.txt").write_text("same")
        barrier.wait()
        return {}

    def run() -> None:
        results.append(Stage("filter").run(tmp_path, work, inputs=[source], parameters={}))

    both = [threading.Thread(target=run) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert len(results) == 2
    assert verify_stage(tmp_path / "filter") == []
    assert leftovers(tmp_path) == []


def draft_of_the_dead(path: Path) -> Path:
    """Return the name of a draft of a process that is gone."""
    script = (
        "import sys; from pathlib import Path; from allen_ecephys.files import draft_of; "
        "print(draft_of(Path(sys.argv[1])))"
    )
    gone = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True)
    return Path(gone.stdout.strip())


def edited(stage: Stage, place: Path) -> Path:
    """Label a cluster in the stage's folder, as phy does."""
    table = stage.file(place, "a.txt")
    table.write_text("decided by a person")
    return table


def test_what_a_person_changes_while_the_stage_runs_stays(tmp_path: Path, source: Path) -> None:
    stage = Stage("filter", editable=("*.txt",))
    stage.run(tmp_path, Counted("old"), inputs=[source], parameters={"v": 1})

    def work(folder: Path) -> dict[str, int]:
        edited(stage, tmp_path)
        return Counted("new")(folder)

    with pytest.raises(StageError, match=r"was curated while .* outputs are in .*filter-2"):
        stage.run(tmp_path, work, inputs=[source], parameters={"v": 2})
    assert stage.file(tmp_path, "a.txt").read_text() == "decided by a person"
    assert (tmp_path / "filter-2" / "a.txt").read_text() == "new"
    assert verify_stage(tmp_path / "filter-2") == []
    assert leftovers(tmp_path) == []
    # The same again is refused before the work, and what is there is reused for what it was made with.
    with pytest.raises(StageError, match=r"was curated after it was made \(a.txt\)"):
        stage.run(tmp_path, work, inputs=[source], parameters={"v": 2})
    assert stage.run(tmp_path, work, inputs=[source], parameters={"v": 1}).reused


def test_what_a_person_changes_between_the_look_and_the_rename_stays(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage("filter", editable=("*.txt",))
    stage.run(tmp_path, Counted("old"), inputs=[source], parameters={"v": 1})
    replace = Path.replace

    def late(self: Path, target: Path) -> Path:
        if self == stage.folder(tmp_path):
            edited(stage, tmp_path)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", late)
    with pytest.raises(StageError, match="was curated while"):
        stage.run(tmp_path, Counted("new"), inputs=[source], parameters={"v": 2})
    assert stage.file(tmp_path, "a.txt").read_text() == "decided by a person"
    assert leftovers(tmp_path) == []


def test_curation_set_aside_by_a_process_that_was_killed_comes_back(tmp_path: Path, source: Path) -> None:
    stage = Stage("filter", editable=("*.txt",))
    stage.run(tmp_path, Counted("old"), inputs=[source], parameters={"v": 1})
    edited(stage, tmp_path)
    stage.folder(tmp_path).rename(draft_of_the_dead(stage.folder(tmp_path)))
    with pytest.raises(StageError, match="was curated"):
        stage.run(tmp_path, Counted("new"), inputs=[source], parameters={"v": 2})
    assert stage.file(tmp_path, "a.txt").read_text() == "decided by a person"


def test_an_output_that_is_declared_and_not_written_is_an_error(tmp_path: Path, source: Path) -> None:
    stage = Stage("filter", outputs=("a.txt", "c.npy"))
    with pytest.raises(StageError, match=r"filter did not write c\.npy"):
        stage.run(tmp_path, Counted(), inputs=[source], parameters={})
    assert not stage.folder(tmp_path).exists()


def test_what_a_killed_process_left_is_removed(tmp_path: Path, source: Path) -> None:
    dead = draft_of_the_dead(tmp_path / "filter")
    alive = draft_of(tmp_path / "filter")
    for folder in (dead, alive):
        folder.mkdir()
    Stage("filter").run(tmp_path, Counted(), inputs=[source], parameters={})
    assert [folder.exists() for folder in (dead, alive)] == [False, True]


def test_sample_files_are_written_in_any_order(tmp_path: Path) -> None:
    with SampleFile(tmp_path / "x", 8) as file:
        file.write(memoryview(b"5678"), 4)
        file.write(memoryview(b"1234"), 0)
    assert (tmp_path / "x").read_bytes() == b"12345678"
    with pytest.raises(FileExistsError):
        SampleFile(tmp_path / "x", 8)


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> RawGroundTruth:
    folder = tmp_path_factory.mktemp("stages") / "raw"
    return write_recording(folder, duration=2.0, n_units=5, n_channels=48, seed=1)


def test_spike_band_stages_resume_and_agree_with_the_short_way(truth: RawGroundTruth, tmp_path: Path) -> None:
    def run(folder: str, **how: object) -> tuple:
        result = process_spike_band(truth.recording(), tmp_path / folder, lfp=truth.recording("lfp"), **how)  # type: ignore[arg-type]
        stages = (result.depth, result.medians, result.whitening)
        return result, tuple(None if stage is None else stage.reused for stage in stages)

    first, reused = run("a", n_workers=1)
    assert reused == (False, False, False)
    assert run("a", n_workers=2, chunk_samples=5000)[1] == (True, True, True)
    assert run("a", whitening=WhiteningParameters(high_pass=300.0))[1] == (True, True, False)
    assert run("a")[1] == (True, True, False)
    short, reused = run("b", keep_median_subtracted=False)
    assert reused == (False, None, False)
    whitened = first.whitened()
    np.testing.assert_array_equal(short.whitened().read(0, 60_000), whitened.read(0, 60_000))
    assert whitened.uv_per_bit.tolist() == [1.0] * 48
    np.testing.assert_array_equal(whitened.geometry, truth.geometry)
    assert first.median_subtracted().uv_per_bit[0] == 0.195
    with pytest.raises(StageError, match="keep_median_subtracted"):
        short.median_subtracted()


KILLED = """
import os, signal, sys, threading, time
from allen_ecephys.processing.simulation.raw import read_ground_truth
from allen_ecephys.processing.readers import open_bands
from allen_ecephys.processing.stages.depth_estimation import run_depth_estimation
from allen_ecephys.processing.stages.spike_band import process_spike_band
from allen_ecephys.processing.pipeline import stage as stages
raw, out, moment = sys.argv[1:]
publish = stages.Stage._publish
def dying(stage, temporary, target, key, manifest):
    if moment == f"before {target.name}":
        os.kill(os.getpid(), signal.SIGKILL)
    result = publish(stage, temporary, target, key, manifest)
    if moment == f"after {target.name}":
        os.kill(os.getpid(), signal.SIGKILL)
    return result
stages.Stage._publish = dying
truth = read_ground_truth(raw)
process_spike_band(truth.recording(), out, lfp=truth.recording("lfp"))
"""


def test_p1_kill_9_at_each_stage_resumes_to_equal_bytes(truth: RawGroundTruth, tmp_path: Path) -> None:
    unbroken = process_spike_band(truth.recording(), tmp_path / "whole", lfp=truth.recording("lfp"))
    moments = ["before depth_estimation", "before median_subtraction", "after median_subtraction", "before whitening"]
    out = tmp_path / "killed"
    for moment in moments:
        done = subprocess.run([sys.executable, "-c", KILLED, str(truth.folder), str(out), moment], timeout=300)
        assert done.returncode == -signal.SIGKILL
        for stage in out.iterdir():  # the invariant: what has its final name is complete
            if not stage.name.endswith(".draft") and stage.name != NOTES:
                assert verify_stage(stage) == []
    resumed = process_spike_band(truth.recording(), out, lfp=truth.recording("lfp"))
    assert (resumed.depth.reused, resumed.medians is not None and resumed.medians.reused) == (True, True)
    assert not resumed.whitening.reused
    assert leftovers(out) == []
    for name in ("depth_estimation", "median_subtraction", "whitening"):
        for file in (tmp_path / "whole" / name).iterdir():
            if file.name != MANIFEST:
                assert file.read_bytes() == (out / name / file.name).read_bytes(), file
    assert unbroken.whitening.manifest["outputs"] == resumed.whitening.manifest["outputs"]


def test_command_line_goes_from_nothing_to_a_whitened_recording(tmp_path: Path) -> None:
    from allen_ecephys.cli.process import process

    run = CliRunner().invoke
    raw, out = str(tmp_path / "raw"), str(tmp_path / "out")
    made = run(process, ["simulate", raw, "--duration", "1.2", "--units", "3", "--channels", "48"])
    assert made.exit_code == 0, made.output
    assert "3 units" in made.output
    done = run(process, ["spike-band", raw, out])
    assert done.exit_code == 0, done.output
    assert "channels masked" in done.output
    assert open_processed(tmp_path / "out" / "whitening").n_samples == 36_000
    assert json.loads((tmp_path / "out" / "whitening" / MANIFEST).read_text())["stage"] == "whitening"


DAMAGED_MANIFESTS: dict[str, Any] = {
    "a list": [],
    "outputs that are a list": {"outputs": [1], "report": {}},
    "outputs that are numbers": {"outputs": {"a.txt": 5}, "report": {}},
    "an output without facts": {"outputs": {"a.txt": {}}, "report": {}},
    "no report": {"outputs": {}},
}


@pytest.mark.parametrize("damage", [*DAMAGED_MANIFESTS, "no JSON", "a folder", "a pipe"])
def test_a23_a_damaged_manifest_costs_a_run_and_is_never_believed(tmp_path: Path, damage: str) -> None:
    stage, runs = Stage("one", outputs=("a.txt",), editable=("b.txt",)), []

    def work(folder: Path) -> dict[str, Any]:
        runs.append(folder)
        (folder / "a.txt").write_text("1")
        return {"n": 1}

    stage.run(tmp_path, work, inputs=[], parameters={})
    manifest = tmp_path / "one" / "stage.json"
    manifest.unlink()
    if damage == "a folder":
        manifest.mkdir()
    elif damage == "a pipe":
        os.mkfifo(manifest)
    else:
        manifest.write_text("[" * 100_000 if damage == "no JSON" else json.dumps(DAMAGED_MANIFESTS[damage]))
    assert not stage.is_finished(tmp_path)
    with pytest.raises(StageError, match="holds no finished stage"):
        verify_stage(tmp_path / "one")
    assert stage.run(tmp_path, work, inputs=[], parameters={}).report == {"n": 1}
    assert len(runs) == 2


def test_what_headers_say_is_part_of_what_was_made(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Another gain makes other units in microvolts, from the same samples; a note in the header makes nothing."""
    truth = write_recording(tmp_path / "raw", duration=3.0, n_units=2, n_channels=32, form="spikeglx", lfp=True, seed=3)
    recording = open_bands(truth.folder)
    depth = run_depth_estimation(recording.spike_band, tmp_path / "out", lfp=recording.lfp)
    caplog.set_level("INFO")
    for name, (old, new), reused in (
        ("ap", ("typeThis=", "userNotes=a fine day\ntypeThis="), True),
        ("lf", ("appVersion=20190327", "appVersion=20190328"), True),
        ("ap", ("(0 0 0 500 250 1)", "(0 0 0 250 250 1)"), False),
    ):
        meta = next(truth.folder.rglob(f"*.{name}.meta"))
        text = meta.read_text()
        assert old in text
        meta.write_text(text.replace(old, new))
        bands = open_bands(truth.folder)
        again = run_depth_estimation(bands.spike_band, tmp_path / "out", lfp=bands.lfp)
        assert again.reused is reused, (name, new)
    (said,) = [record.getMessage() for record in caplog.records if "in place of" in record.getMessage()]
    assert said.endswith("depth_estimation: headers")
    assert depth.manifest["outputs"]["bands.json"] != again.manifest["outputs"]["bands.json"]
