"""What is done of a session, what is not and why: every stage is asked, none runs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from allen_ecephys.errors import AllenEcephysError

from ..pipeline.manifest import read_manifest
from ..pipeline.marks import read_mark
from ..pipeline.stage import StageNotCurrentError, StageResult, looking_only
from ..pipeline.tasks import Task, in_order
from .session_file import SessionFile, read_session_file
from .session_steps import session_tasks

State = Literal["done", "stale", "to do", "running", "elsewhere", "interrupted", "failed"]


@dataclass(frozen=True)
class StageStatus:
    """State of one stage of a session.

    Attributes
    ----------
    key, probe, stage
        Which; `probe` is empty for a stage of the whole session.
    state
        ``done``; ``stale`` (its inputs or parameters changed, it will run again); ``to do``; ``running``;
        ``elsewhere`` (running on another machine, as far as its mark tells); ``interrupted`` (what ran it is gone) or
        ``failed``.
    reason
        What has changed, the error it failed with, or which stage it waits for.
    cost
        What it cost when it ran, or None.

    Examples
    --------
    >>> status = StageStatus("7/probeA/units", "probeA", "units", "stale", reason="its parameters changed")
    >>> status.stage, status.state, status.reason
    ('units', 'stale', 'its parameters changed')
    """

    key: str
    probe: str
    stage: str
    state: State
    reason: str = ""
    cost: dict[str, Any] | None = None


def session_status(session: str | os.PathLike[str] | SessionFile) -> list[StageStatus]:
    """Tell the state of every stage of a session, in the order in which they run; nothing runs and nothing is written.

    Raises
    ------
    MissingFileError, FileFormatError
        As :func:`.session_file.read_session_file`.

    Examples
    --------
    >>> session_status("session.toml")
    Traceback (most recent call last):
    allen_ecephys.errors.MissingFileError: there is no session file session.toml; `allen-ecephys process describe` ...
    """
    told = session if isinstance(session, SessionFile) else read_session_file(session)
    return [status for _, status in task_states(session_tasks(told))]


def task_states(tasks: Sequence[Task]) -> Iterator[tuple[Task, StageStatus]]:
    """Yield each task, in an order in which they can run, with its state."""
    current: dict[str, bool] = {}
    for task in in_order(tasks):
        status = _state(task, [key for key in task.after if not current.get(key, True)])
        current[task.key] = status.state == "done"
        yield task, status


def _state(task: Task, waits_for: Sequence[str]) -> StageStatus:
    manifest = read_manifest(task.place / task.stage)
    mark = read_mark(task.place, task.stage)
    state: State = "to do" if manifest is None else "stale"
    reason, done = "", None
    if waits_for:
        reason = f"after {waits_for[-1].partition('/')[2]}"
    else:
        done, reason = _looked_at(task)
    if done is not None:
        state = "done"
    if mark is not None and (mark.state == "running" or (done is None and not waits_for)):
        state, reason = mark.state, mark.message or ("" if mark.state == "running" else reason)
    return StageStatus(task.key, task.probe, task.stage, state, reason, manifest.get("cost") if manifest else None)


def _looked_at(task: Task) -> tuple[StageResult | None, str]:
    try:
        with looking_only():
            return task.run(), ""
    except StageNotCurrentError as error:
        return None, error.reason
    except (AllenEcephysError, OSError) as error:
        return None, str(error)
