"""What processing a session would take: which stages run, how long, how much memory and disk; nothing runs."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..pipeline.costs import (
    AROUND_STAGES,
    INFLATING,
    MEASURED,
    READS_BAND,
    READS_RAW,
    WRITING_MEDIANS,
    Cost,
    Rate,
    Size,
    rates_of,
)
from ..pipeline.manifest import read_manifest
from ..pipeline.tasks import Task, TaskResult
from ..readers.raw_folder import open_bands
from ..recording import duration
from . import median_subtraction
from .session_checks import check_sessions
from .session_file import SessionFile, read_session_file
from .session_status import StageStatus, task_states
from .session_steps import session_tasks

Name = str | os.PathLike[str]


@dataclass(frozen=True)
class PlannedStage:
    """A stage that would run, and what it is expected to cost.

    Attributes
    ----------
    status
        Which, and why it would run.
    cost
        Seconds, bytes of memory and bytes that it leaves.
    """

    status: StageStatus
    cost: Cost


@dataclass(frozen=True)
class SessionPlan:
    """What processing some sessions would take.

    Attributes
    ----------
    stages
        Stages that would run, in order.
    n_done
        Stages that are done.
    seconds
        Expected until all is done, with `workers` processes.
    workers
        Processes that work at once.
    memory
        Bytes that the hungriest stages may need, as many as there are processes.
    disk
        Bytes that the stages leave.

    Examples
    --------
    >>> plan = SessionPlan(stages=(), n_done=20, seconds=0.0, workers=2, memory=2e9, disk=0.0)
    >>> plan.n_done, f"{plan.memory / 1e9:.0f} GB"
    (20, '2 GB')
    """

    stages: tuple[PlannedStage, ...]
    n_done: int
    seconds: float
    workers: int
    memory: float
    disk: float


class Remaining:
    """How long the rest of a plan takes, by what was expected and by how long what has run really took.

    Parameters
    ----------
    plan
        Made before anything ran.
    """

    def __init__(self, plan: SessionPlan) -> None:
        self._left = {stage.status.key: stage.cost.seconds for stage in plan.stages}
        self._workers = plan.workers
        # Until a quarter was spent, expectation counts for more than what the first stages happened to take.
        self._expected = self._spent = max(60.0, sum(self._left.values()) / 4)

    def after(self, result: TaskResult) -> float:
        """Return the seconds that are left once a stage has come to this result."""
        expected = self._left.pop(result.key, 0.0)
        if result.outcome == "done" and result.cost:
            self._expected += expected
            self._spent += float(result.cost["seconds"])
        return self._spent / self._expected * sum(self._left.values()) / self._workers


def plan_sessions(files: Sequence[Name], *, workers: int = 1, like: Sequence[Name] = ()) -> SessionPlan:
    """Tell what processing sessions would take, by what their own stages and those of other sessions cost.

    Parameters
    ----------
    files
        Files of the sessions.
    workers
        Processes that work at once.
    like
        Files of sessions that were processed on the same machine, whose records say what stages cost there.

    Raises
    ------
    MissingFileError, FileFormatError
        As :func:`.session_file.read_session_file`, and if raw data cannot be opened.
    InvalidValueError, FileFormatError, AccessError, AlreadyPresentError
        If the sessions would be refused, as :func:`.session_run.process_sessions` does.

    Examples
    --------
    >>> plan_sessions([]).seconds
    0.0
    """
    sessions = [read_session_file(path) for path in files]
    check_sessions(sessions)
    rates = known_rates([*sessions, *(read_session_file(path) for path in like)])
    tasks, planned, n_done = [], list[PlannedStage](), 0
    for session in sessions:
        sizes = probe_sizes(session)
        for task, status in task_states(session_tasks(session)):
            if status.state == "done":
                n_done += 1
                continue
            tasks.append(task)
            cost = _cost(task, sizes, rates, writes_medians=session.parameters.write_medians)
            planned.append(PlannedStage(status, cost))
    seconds = {task.key: stage.cost.seconds for task, stage in zip(tasks, planned, strict=True)}
    hungriest = heapq.nlargest(workers, (stage.cost.memory for stage in planned))
    return SessionPlan(
        stages=tuple(planned),
        n_done=n_done,
        seconds=until_done(tasks, seconds, workers) + (AROUND_STAGES if tasks else 0.0),
        workers=workers,
        memory=float(sum(hungriest)),
        disk=float(sum(stage.cost.disk for stage in planned)),
    )


def with_memory(session: SessionFile) -> list[Task]:
    """Return a session's tasks with the memory that each is expected to need."""
    rates, sizes = known_rates([session]), probe_sizes(session)
    return [
        replace(task, memory=int(rates[task.stage].of(_size(task, sizes)).memory)) for task in session_tasks(session)
    ]


def probe_sizes(session: SessionFile) -> dict[str, Size]:
    """Return length and channels of each probe's recording."""
    found = {}
    for probe in session.told.probes:
        recording = open_bands(probe.recording, **probe.opened_with).spike_band
        compressed = getattr(recording, "compressed", None) is not None
        found[probe.name] = Size(duration(recording), recording.n_channels, compressed=compressed)
    return found


def known_rates(sessions: Sequence[SessionFile]) -> dict[str, Rate]:
    """Return what stages cost: as the records of these sessions say, else as was once measured."""
    return MEASURED | rates_of(record for session in sessions for record in _records(session))


def until_done(tasks: Sequence[Task], seconds: Mapping[str, float], workers: int) -> float:
    """Return when all tasks are done, if each free worker takes the first task whose turn it can be.

    Tasks that are waited for and have no entry in `seconds` are done.
    """
    turn = {task.key: number for number, task in enumerate(tasks)}
    waits = {task.key: {key for key in task.after if key in seconds} for task in tasks}
    readers: dict[str, list[str]] = {}
    for key, earlier in waits.items():
        for other in earlier:
            readers.setdefault(other, []).append(key)
    ready = [(turn[key], key) for key, earlier in waits.items() if not earlier]
    heapq.heapify(ready)
    running, now = list[tuple[float, str]](), 0.0
    while ready or running:
        while ready and len(running) < workers:
            key = heapq.heappop(ready)[1]
            heapq.heappush(running, (now + seconds[key], key))
        now, done = heapq.heappop(running)
        for key in readers.get(done, ()):
            waits[key].remove(done)
            if not waits[key]:
                heapq.heappush(ready, (turn[key], key))
    return now


def _cost(task: Task, sizes: Mapping[str, Size], rates: Mapping[str, Rate], *, writes_medians: bool) -> Cost:
    rate, size = rates[task.stage], _size(task, sizes)
    cost = rate.of(size)
    if rate is MEASURED[task.stage]:  # of plain files, and of sessions that do not write the band less its medians
        reads = READS_RAW if writes_medians else READS_RAW | READS_BAND
        if size.compressed:
            cost = replace(cost, seconds=cost.seconds + reads.get(task.stage, 0.0) * INFLATING.of(size).seconds)
        if writes_medians and task.stage == median_subtraction.STAGE.name:
            added = WRITING_MEDIANS.of(size)
            cost = replace(cost, seconds=cost.seconds + added.seconds, disk=cost.disk + added.disk)
    if task.stage == median_subtraction.STAGE.name and not writes_medians:
        cost = replace(cost, disk=0.0)
    return cost


def _size(task: Task, sizes: Mapping[str, Size]) -> Size:
    if task.probe:
        return sizes[task.probe]
    probes = sizes.values()
    return Size(
        max(probe.seconds for probe in probes),
        sum(probe.channels for probe in probes),
        compressed=any(probe.compressed for probe in probes),
    )


def _records(session: SessionFile) -> Iterator[tuple[str, Size, dict[str, Any]]]:
    manifests = [(task, read_manifest(task.place / task.stage)) for task in session_tasks(session)]
    if any(manifest is not None for _, manifest in manifests):
        sizes = probe_sizes(session)
        yield from ((task.stage, _size(task, sizes), manifest) for task, manifest in manifests if manifest is not None)
