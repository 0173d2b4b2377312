"""Tasks in an order, marks and logs of what happens to them, on stages that add numbers."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from allen_ecephys.errors import DiskFullError, StageError
from allen_ecephys.processing.pipeline.log import LOG, read_log
from allen_ecephys.processing.pipeline.marks import MARKS, mark_running, read_mark
from allen_ecephys.processing.pipeline.stage import Stage, StageResult
from allen_ecephys.processing.pipeline.tasks import Task, in_order, perform, run_here, seconds_of


def add(place: Path, name: str, sources: tuple[str, ...], fail: Exception | None = None) -> StageResult:
    """Write one more than the sum of the sources."""

    def work(folder: Path) -> dict[str, int]:
        logging.getLogger("allen_ecephys.test").warning("%s is being added", name)
        if fail is not None:
            raise fail
        total = 1 + sum(int((place / source / "sum").read_text()) for source in sources)
        (folder / "sum").write_text(str(total))
        return {"total": total}

    return Stage(name, outputs=("sum",)).run(place, work, inputs=[place / s for s in sources], parameters={})


def task(place: Path, name: str, *sources: str, fail: Exception | None = None) -> Task:
    keys = tuple(f"1/{source}" for source in sources)
    return Task("1", "", name, place, place, keys, partial(add, place, name, sources, fail))


def test_tasks_run_after_those_they_wait_for(tmp_path: Path) -> None:
    tasks = [task(tmp_path, "d", "b", "c"), task(tmp_path, "b", "a"), task(tmp_path, "a"), task(tmp_path, "c", "a")]
    assert [one.stage for one in in_order(tasks)] == ["a", "b", "c", "d"]
    told: list[Any] = []
    results = run_here(tasks, told.append)
    assert told == results
    assert [result.outcome for result in results] == ["done"] * 4
    assert results[-1].report == {"total": 5}
    took = [
        replace(result, cost=cost)
        for result, cost in zip(results, ({"seconds": 1.5}, {"seconds": 2.0}, {}), strict=False)
    ]
    assert seconds_of(took) == 3.5
    assert [result.outcome for result in run_here(tasks)] == ["reused"] * 4
    with pytest.raises(StageError, match=r"1/x waits for 1/y, which never comes"):
        in_order([task(tmp_path, "x", "y")])


@pytest.mark.parametrize("error", [DiskFullError("no room"), RuntimeError("bug"), MemoryError()])
def test_a_failure_holds_up_only_what_reads_it(tmp_path: Path, error: Exception) -> None:
    tasks = [
        task(tmp_path, "a"),
        task(tmp_path, "b", "a", fail=error),
        task(tmp_path, "c", "a"),
        task(tmp_path, "d", "b"),
    ]
    results = {result.key: result for result in run_here(tasks)}
    assert {key[2:]: result.outcome for key, result in results.items()} == {
        "a": "done", "b": "failed", "c": "done", "d": "not reached",
    }  # fmt: skip
    assert results["1/d"].message == "waits for 1/b"
    mark = read_mark(tmp_path, "b")
    assert mark is not None
    assert mark.state == "failed"
    assert mark.message == results["1/b"].message
    foreseen = isinstance(error, DiskFullError)
    assert mark.message.startswith("no room" if foreseen else "it failed in a way that was not foreseen: ")
    log = read_log(tmp_path)
    assert [line["event"] for line in log if line["task"] == "1/b"] == ["started", "warning", "failed"]
    assert any("Traceback" in line.get("traceback", "") for line in log)
    mended = [task(tmp_path, "a"), task(tmp_path, "b", "a"), task(tmp_path, "d", "b")]
    assert [result.outcome for result in run_here(mended)] == ["reused", "done", "done"]
    assert read_mark(tmp_path, "b") is None


def test_an_interrupt_goes_on_up_and_is_marked_and_logged(tmp_path: Path) -> None:
    stopped = Task("1", "", "a", tmp_path, tmp_path, (), partial(_interrupt))
    with pytest.raises(KeyboardInterrupt):
        perform(stopped)
    assert read_mark(tmp_path, "a").state == "interrupted"  # type: ignore[union-attr]
    assert [line["event"] for line in read_log(tmp_path)] == ["started", "interrupted"]
    assert perform(task(tmp_path, "a")).outcome == "done"
    assert read_mark(tmp_path, "a") is None


def _interrupt() -> StageResult:
    raise KeyboardInterrupt


@pytest.mark.parametrize("fail", [None, DiskFullError("no room"), KeyboardInterrupt()])
def test_a_second_run_leaves_the_mark_of_the_first(tmp_path: Path, fail: Any) -> None:
    code = (
        f"from allen_ecephys.processing.pipeline.marks import *; mark_running(Path({str(tmp_path)!r}), 'a'); "
        "print('marked', flush=True); input()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"marked\n"
        with contextlib.suppress(KeyboardInterrupt):
            perform(task(tmp_path, "a", fail=fail))
        assert read_mark(tmp_path, "a").state == "running"  # type: ignore[union-attr]
        first.communicate(b"\n")
    assert read_mark(tmp_path, "a").state == "interrupted"  # type: ignore[union-attr]
    perform(task(tmp_path, "a"))
    assert read_mark(tmp_path, "a") is None


def test_marks_tell_who_runs_and_who_is_gone(tmp_path: Path) -> None:
    mark_running(tmp_path, "a")
    assert read_mark(tmp_path, "a").state == "running"  # type: ignore[union-attr]
    code = f"from allen_ecephys.processing.pipeline.marks import *; mark_running(Path({str(tmp_path)!r}), 'b')"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert read_mark(tmp_path, "b").state == "interrupted"  # type: ignore[union-attr]
    file = tmp_path / MARKS / "b.json"
    told = json.loads(file.read_text())
    file.write_text(json.dumps(told | {"process": told["process"] | {"host": "another"}}))
    assert read_mark(tmp_path, "b").state == "elsewhere"  # type: ignore[union-attr]
    for damaged in ("", "[1]", '{"state": 1}'):
        file.write_text(damaged)
        assert read_mark(tmp_path, "b") is None
    assert read_mark(tmp_path, "never") is None


def test_a_log_line_that_was_cut_costs_one_line(tmp_path: Path) -> None:
    perform(task(tmp_path, "a"))
    log = tmp_path / LOG
    os.truncate(log, log.stat().st_size - 9)
    with log.open("ab") as file:
        file.write(b"\xff\xfe")
    n = len(read_log(tmp_path))
    perform(task(tmp_path, "a"))
    assert [line["event"] for line in read_log(tmp_path)][n:] == ["started", "reused"]
    assert read_log(tmp_path / "nowhere") == []
