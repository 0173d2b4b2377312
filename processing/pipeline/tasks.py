"""Tasks: single stages of single probes or sessions, in an order, that any process can run.

A task is told by its key; what it reads and writes are files, so that a process that runs it needs nothing of the one
that planned it. While it runs, and after it failed, a file beside the stage's folder says so (:mod:`.status`).
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from allen_ecephys.errors import AllenEcephysError, StageError, in_words

from .log import log_to
from .marks import mark_failed, mark_interrupted, mark_running, unmark
from .stage import StageResult

logger = logging.getLogger(__name__)

Outcome = Literal["done", "reused", "failed", "not reached"]


@dataclass(frozen=True)
class Task:
    """One stage of one probe or session.

    Attributes
    ----------
    session, probe, stage
        What it is: the session's id, the probe's name (empty for a stage of the whole session), the stage's name.
    place
        Folder that gets the stage's folder.
    output
        Folder of the session.
    after
        Keys of the tasks whose results it reads.
    run
        Runs the stage or reuses what is there. It must be picklable.
    memory
        Bytes that it is expected to need; 0 where nobody knows.
    reads
        Files and folders besides `output` that must be there where it runs.

    Examples
    --------
    >>> task = Task("7", "probeA", "units", Path("out/probeA"), Path("out"), ("7/probeA/sorting",), run=len)
    >>> task.key, task.after
    ('7/probeA/units', ('7/probeA/sorting',))
    """

    session: str
    probe: str
    stage: str
    place: Path
    output: Path
    after: tuple[str, ...]
    run: Callable[[], StageResult]
    memory: int = 0
    reads: tuple[Path, ...] = ()

    @property
    def key(self) -> str:
        """Session, probe and stage in one name.

        Examples
        --------
        >>> Task("7", "", "session_file", Path("out"), Path("out"), (), run=len).key
        '7/session_file'
        """
        return "/".join(part for part in (self.session, self.probe, self.stage) if part)


@dataclass(frozen=True)
class TaskResult:
    """What came of a task.

    Attributes
    ----------
    key, outcome
        The task, and whether its stage ran, was there already, failed, or waits for one that failed.
    message
        Of the error; for a task that was not reached, what it waits for.
    cost
        ``seconds``, ``cpu_seconds`` and ``peak_memory_bytes`` of a stage that ran.
    report
        What the stage counted.

    Examples
    --------
    >>> failed = TaskResult("7/probeA/sorting", "failed", message="the disk is full")
    >>> failed.ok, failed.message
    (False, 'the disk is full')
    """

    key: str
    outcome: Outcome
    message: str = ""
    cost: Mapping[str, Any] | None = None
    report: Mapping[str, Any] | None = None

    @property
    def ok(self) -> bool:
        """Whether the stage's results are there.

        Examples
        --------
        >>> [TaskResult("7/probeA/units", outcome).ok for outcome in ("done", "reused", "failed", "not reached")]
        [True, True, False, False]
        """
        return self.outcome in {"done", "reused"}


def perform(task: Task) -> TaskResult:
    """Run a task; an error becomes its result, and is marked and logged with its traceback."""
    with log_to(task.output, task.key) as log:
        mark_running(task.place, task.stage)
        log("started")
        try:
            done = task.run()
        except Exception as error:
            told = isinstance(error, AllenEcephysError | OSError)
            message = in_words(error) if told else f"it failed in a way that was not foreseen: {in_words(error)}"
            mark_failed(task.place, task.stage, message)
            log("failed", message=message, traceback=traceback.format_exc())
            return TaskResult(task.key, "failed", message)
        except BaseException:
            mark_interrupted(task.place, task.stage)
            log("interrupted")
            raise
        unmark(task.place, task.stage)
        if done.reused:
            log("reused")
            return TaskResult(task.key, "reused", report=done.report)
        log("finished", **done.manifest["cost"])
        return TaskResult(task.key, "done", cost=done.manifest["cost"], report=done.report)


def in_order(tasks: Iterable[Task]) -> list[Task]:
    """Return tasks so that each stands behind those it waits for, otherwise in their order.

    Raises
    ------
    StageError
        If a task waits for one that is not there, or for itself.
    """
    waiting, ordered = list(tasks), list[Task]()
    placed: set[str] = set()
    while waiting:
        ready = [task for task in waiting if set(task.after) <= placed]
        if not ready:
            msg = f"{waiting[0].key} waits for {', '.join(waiting[0].after)}, which never comes"
            raise StageError(msg)
        ordered.append(ready[0])
        placed.add(ready[0].key)
        waiting.remove(ready[0])
    return ordered


def run_here(tasks: Sequence[Task], tell: Callable[[TaskResult], None] = lambda _: None) -> list[TaskResult]:
    """Run tasks one after the other in this process; those that wait for a failed one are not reached.

    Parameters
    ----------
    tasks
        In any order.
    tell
        Is called with each result as it comes.
    """
    results: dict[str, TaskResult] = {}
    for task in in_order(tasks):
        results[task.key] = result = blocked(task, results) or perform(task)
        tell(result)
    return list(results.values())


def blocked(task: Task, results: Mapping[str, TaskResult]) -> TaskResult | None:
    """Return the result of a task that cannot run because what it reads is not there, or None."""
    missing = [key for key in task.after if key in results and not results[key].ok]
    return TaskResult(task.key, "not reached", f"waits for {missing[0]}") if missing else None


def seconds_of(results: Iterable[TaskResult]) -> float:
    """Return how long the stages ran that ran, added up."""
    return float(sum(result.cost["seconds"] for result in results if result.cost))
