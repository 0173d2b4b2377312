"""Whole sessions from their files: every stage of every probe, here or on workers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from allen_ecephys.config import THREADS
from allen_ecephys.errors import InvalidValueError

from ..pipeline.cluster import job_queue, local_workers, run_on, running_scheduler
from ..pipeline.digests import digest_of
from ..pipeline.tasks import TaskResult, run_here
from ..sorting.sorters import check_sorter
from . import sorting, stimulus_metrics, whole_session
from .session import SESSION_FILE
from .session_checks import check_sessions
from .session_file import SessionFile, Where, read_session_file
from .session_plan import with_memory
from .session_rig_files import check_rig_files
from .session_steps import session_tasks

Name = str | os.PathLike[str]


def process_sessions(
    files: Sequence[Name],
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    threads: int | None = None,
    tell: Callable[[TaskResult], None] = lambda _: None,
) -> list[TaskResult]:
    """Process sessions from the raw data of all their probes to session files and tables of metrics.

    Stages whose inputs and parameters did not change are reused; a run that was killed goes on where it was. A stage
    that fails holds up only those that read what it leaves.

    Parameters
    ----------
    files
        Files that describe the sessions, see :func:`.session_file.read_session_file`.
    workers, scheduler, threads
        Processes that work at once, or the address of a dask scheduler, and threads of each process; by default as the
        first file says, and one process where it says nothing.
    tell
        Is called with the result of each stage as it comes.

    Returns
    -------
    list of TaskResult
        One for each stage of each probe and session; ``ok`` tells whether its results are there.

    Raises
    ------
    MissingFileError, FileFormatError
        As :func:`.session_file.read_session_file`; or if a file that a session names holds something else.
    InvalidValueError
        If two sessions have one id, or write into one another's folders, or `scheduler` is empty.
    FileFormatError, AccessError, AlreadyPresentError
        If a folder cannot be written, or holds another session or what was made of another recording, before anything
        runs.
    UnknownNameError, MissingExtraError, SortingError
        If a sorter is not there, before anything runs.
    SchedulerError
        If workers cannot be had, or cannot do the work.

    Examples
    --------
    >>> process_sessions([])
    []
    """
    if scheduler is not None and not scheduler.strip():
        msg = "the address of the scheduler is empty; give one such as tcp://node1:8786, or none to work here"
        raise InvalidValueError(msg)
    sessions = [read_session_file(path) for path in files]
    check_sessions(sessions)
    for session in sessions:
        _check_sorter(session)
        check_rig_files(session)
    if not sessions:
        return []
    where = _where(sessions[0].where, Where(workers=workers, scheduler=scheduler, threads=threads))
    with _threads(where.threads), _client(where) as client:
        if client is None:
            return run_here([task for session in sessions for task in session_tasks(session)], tell)
        # Workers run in folders of their own, where a relative name is another folder's.
        named = [read_session_file(Path(path).absolute()) for path in files]
        tasks = [task for session in named for task in with_memory(session)]
        return run_on(client, tasks, tell, prepare=partial(_use_threads, where.threads) if where.threads else None)


@contextmanager
def _client(where: Where) -> Iterator[Any]:
    """Give a client of the workers that are asked for, or None for this process."""
    if where.scheduler:
        with running_scheduler(where.scheduler) as client:
            yield client
    elif where.cluster:
        told = dict(where.cluster)
        with job_queue(told["kind"], told.get("jobs", 1), told.get("options", {})) as client:
            yield client
    elif (where.workers or 1) > 1:
        with local_workers(int(where.workers or 1)) as client:
            yield client
    else:
        yield None


def _where(said: Where, asked: Where) -> Where:
    """Return where to run: what is asked for, else what the file says; a scheduler asked for replaces workers."""
    if asked.scheduler or asked.workers:
        said = replace(said, scheduler=asked.scheduler, workers=asked.workers, cluster=None)
    said = replace(said, threads=asked.threads or said.threads)
    if not said.threads and (said.workers or 1) > 1:
        # Workers of one machine share its cores.
        said = replace(said, threads=max(1, (os.cpu_count() or 1) // int(said.workers or 1)))
    return said


def _check_sorter(session: SessionFile) -> None:
    unsorted = [p for p in session.told.probes if not sorting.STAGE.is_finished(session.output / p.name)]
    if unsorted:
        chosen = session.parameters
        check_sorter(chosen.sorter, chosen.sorter_parameters, python=chosen.python)


@contextmanager
def _threads(number: int | None) -> Iterator[None]:
    """Let this process use so many threads in the block; what its environment says by default."""
    before = os.environ.get(THREADS.variable)
    if number is not None:
        os.environ[THREADS.variable] = str(number)
    try:
        yield
    finally:
        if number is not None:
            os.environ.pop(THREADS.variable)
            if before is not None:
                os.environ[THREADS.variable] = before


@dataclass(frozen=True)
class SessionOutputs:
    """What a processed session consists of.

    Attributes
    ----------
    session
        The session's NWB file.
    metrics
        Table (CSV) of stimulus metrics by unit id.
    lfp
        Id of each probe -> its LFP file, where there is one.
    digest
        Of all of these; equal files, equal digests.

    Examples
    --------
    >>> files = SessionOutputs(Path("session_7.nwb"), Path("metrics.csv"), lfp={70: Path("lfp.nwb")}, digest="")
    >>> files.session.name, list(files.lfp)
    ('session_7.nwb', [70])
    """

    session: Path
    metrics: Path
    lfp: dict[int, Path]
    digest: str


def _use_threads(number: int) -> None:
    os.environ[THREADS.variable] = str(number)


def session_outputs(session: SessionFile) -> SessionOutputs:
    """Return what a processed session consists of, as a project cache takes it.

    Raises
    ------
    StageError
        If it is not processed to its end.
    """
    packaged = whole_session.STAGE.finished(session.output)
    measured = stimulus_metrics.STAGE.finished(session.output)
    files = packaged.folder.glob("probe_*_lfp.nwb")
    return SessionOutputs(
        session=packaged.folder / SESSION_FILE,
        metrics=measured.folder / stimulus_metrics.TABLE,
        lfp={int(path.name.split("_")[1]): path for path in sorted(files)},
        digest=digest_of([packaged.manifest["outputs"], measured.manifest["outputs"]]),
    )
