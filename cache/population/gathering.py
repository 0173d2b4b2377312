"""Asking all sessions of a population, and saying which of them are not in the answer."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from allen_ecephys.errors import (
    AccessError,
    CorruptFileError,
    DownloadError,
    FileFormatError,
    MissingDataError,
    MissingFileError,
    OfflineError,
    RemoteNotFoundError,
    UnknownNameError,
    suggest,
)
from allen_ecephys.progress import progress_bar

from .answers import Answer, Stimulus

if TYPE_CHECKING:
    import pandas as pd

    from ..index.project_index import ProjectIndex

#: What is wrong with one session, and no reason to lose the answers of all others.
OF_ONE_SESSION = (
    AccessError,
    CorruptFileError,
    DownloadError,
    FileFormatError,
    MissingDataError,
    MissingFileError,
    OfflineError,
    RemoteNotFoundError,
)

Task = Callable[..., Answer[Any]]


def answers(
    project: ProjectIndex,
    units_of: Mapping[int, pd.DataFrame],
    executor: Executor | None,
    what: str,
    task: Task,
    stimulus: Stimulus,
    *arguments: Any,
) -> dict[int, Answer[Any]]:
    """Return what each session answers, by session id and in the order of `units_of`.

    Parameters
    ----------
    project
        Where the sessions are.
    units_of
        The population's units of each session.
    executor
        Where tasks run; None: here, one session after the other.
    what
        What is asked, for the progress bar.
    task
        Called with `project`, the session id, its units, `stimulus` and `arguments`.
    stimulus
        What the sessions are asked about.

    Raises
    ------
    UnknownNameError
        If sessions answered, and none shows the stimulus.
    MissingDataError
        If none could answer.

    Warns
    -----
    UserWarning
        Once, where sessions or units are not in the answer: which, and why.
    """
    found: dict[int, Answer[Any]] = {}
    with progress_bar(total=len(units_of), desc=what, unit="session") as bar:
        for session_id, answer in _asked(project, units_of, executor, task, stimulus, *arguments):
            found[session_id] = answer
            bar.update()
    _tell(found, units_of, stimulus)
    return {session_id: answer for session_id, answer in found.items() if answer.value is not None}


def _asked(
    project: ProjectIndex, units_of: Mapping[int, pd.DataFrame], executor: Executor | None, task: Task, *arguments: Any
) -> Iterator[tuple[int, Answer[Any]]]:
    if executor is None:
        said = SaidOnce()
        for session_id, units in units_of.items():
            with said.about(session_id):
                answer = asked_one(task, project, session_id, units, *arguments)
            yield session_id, answer
        return
    futures = {
        session_id: executor.submit(asked_one, task, project, session_id, units, *arguments)
        for session_id, units in units_of.items()
    }
    try:
        for session_id in list(futures):
            # Taken out, so that an answer is not held twice.
            yield session_id, futures.pop(session_id).result()
    finally:
        for future in futures.values():
            future.cancel()


def asked_one(task: Task, project: ProjectIndex, session_id: int, units: pd.DataFrame, *arguments: Any) -> Answer[Any]:
    """Return what one session answers; what is wrong with its file is an answer too."""
    try:
        return task(project, session_id, units, *arguments)
    except OF_ONE_SESSION as error:
        return Answer(None, failed=f"{error}")


def _tell(found: Mapping[int, Answer[Any]], units_of: Mapping[int, pd.DataFrame], stimulus: Stimulus) -> None:
    """Warn of what is not in the answer; raise where nothing is."""
    failed = {session_id: answer.failed for session_id, answer in found.items() if answer.failed is not None}
    without = {session_id: answer.shown for session_id, answer in found.items() if answer.shown is not None}
    if len(failed) == len(found) and failed:
        msg = f"none of the {len(failed)} sessions of this population could be read. {_reasons(failed)}"
        raise MissingDataError(msg)
    if len(failed) + len(without) == len(found) and found:
        known = list(dict.fromkeys(name for shown in without.values() for name in shown))
        names = stimulus.names if isinstance(stimulus.names, str) else next(iter(stimulus.names), "")
        msg = (
            f"none of the sessions of this population shows {stimulus}{suggest(names, known) or '.'} "
            f"They show: {', '.join(known)}" + (f". {_reasons(failed)}" if failed else "")
        )
        raise UnknownNameError(msg)
    told = []
    if without:
        told.append(f"{len(without)} do not show {stimulus} ({_listed(without)})")
    if failed:
        told.append(f"{len(failed)} could not be read. {_reasons(failed)}")
    lost = _lost(found, units_of)
    if told:
        n_units = sum(len(units_of[session_id]) for session_id in (*failed, *without))
        total = sum(map(len, units_of.values()))
        msg = (
            f"{len(failed) + len(without)} of {len(found)} sessions, with {n_units:,} of {total:,} units, are not in "
            f"this answer: {'; '.join(told)}"
        )
        warnings.warn(msg, UserWarning, stacklevel=_outside())
    if lost:
        msg = "units that the tables list and the session files do not hold are not in this answer: " + "; ".join(
            f"{_listed(ids)} of session {session_id}" for session_id, ids in lost.items()
        )
        warnings.warn(msg, UserWarning, stacklevel=_outside())


class SaidOnce:
    """What sessions warn of, one after the other: said of the first session that it holds for, and of no other.

    Warnings that differ in their numbers alone are one.
    """

    def __init__(self) -> None:
        self._said: set[str] = set()

    @contextmanager
    def about(self, session_id: int) -> Iterator[None]:
        """Name the session in what is warned of meanwhile, and pass on what was not said yet."""
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            yield
        for warning in told:
            kind = re.sub(r"\d+", "", f"{warning.message}")
            if kind not in self._said:
                self._said.add(kind)
                msg = f"session {session_id}: {warning.message} (said once, of whichever sessions it holds)"
                warnings.warn(msg, warning.category, stacklevel=_outside())


def _outside() -> int:
    """Return how many calls up the caller of the population stands, whose line a warning names."""
    frame, level = sys._getframe(1), 1  # noqa: SLF001  as warnings itself does
    between = ("contextlib", "collections.abc")  # what a mapping's views, and `with`, call in between
    while frame.f_back is not None and (
        frame.f_globals.get("__package__") == __package__ or frame.f_globals.get("__name__") in between
    ):
        frame, level = frame.f_back, level + 1
    return level


def _lost(found: Mapping[int, Answer[Any]], units_of: Mapping[int, pd.DataFrame]) -> dict[int, list[int]]:
    lost = {}
    for session_id, answer in found.items():
        if answer.value is not None and len(answer.unit_ids) < len(units_of[session_id]):
            lost[session_id] = np.setdiff1d(units_of[session_id].index.to_numpy(), answer.unit_ids).tolist()
    return lost


def _reasons(failed: Mapping[int, str | None]) -> str:
    shown = [f"{session_id}: {reason}" for session_id, reason in list(failed.items())[:3]]
    return "; ".join(shown) + (f"; and {len(failed) - 3} more" if len(failed) > 3 else "")


def _listed(ids: Any) -> str:
    listed = list(ids)
    return ", ".join(map(str, listed[:5])) + (f" and {len(listed) - 5} more" if len(listed) > 5 else "")
