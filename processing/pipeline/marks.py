"""Marks beside the folders of stages: which stage is running, and how the last attempt failed.

A mark is one small file, written whole. Finished stages have none: their manifest says all. What a killed process left
is told from what runs by the process's identity.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from allen_ecephys.errors import AllenEcephysError
from allen_ecephys.files import host, is_dead, this_process, write_atomically

MARKS: Final = ".marks"


@dataclass(frozen=True)
class Mark:
    """What a mark says.

    Attributes
    ----------
    state
        ``running``; ``elsewhere`` (running, as far as can be told from another machine); ``interrupted`` (it was
        stopped, or its process is gone) or ``failed``.
    message
        Of the error.
    since
        Seconds since 1970 at which it began to run, was stopped, or failed.
    process
        Which runs it.
    """

    state: Literal["running", "elsewhere", "interrupted", "failed"]
    message: str
    since: float
    process: Mapping[str, Any] | None = None


def mark_running(place: Path, stage: str) -> None:
    """Say that this process runs a stage, unless another one of this machine does."""
    if not _is_of_another(place, stage):
        _write(place, stage, {"state": "running", "process": this_process()})


def mark_failed(place: Path, stage: str, message: str) -> None:
    """Say how a stage failed, unless another process runs it."""
    if not _is_of_another(place, stage):
        _write(place, stage, {"state": "failed", "message": message})


def mark_interrupted(place: Path, stage: str) -> None:
    """Say that a stage was stopped, unless another process runs it."""
    if not _is_of_another(place, stage):
        _write(place, stage, {"state": "interrupted"})


def unmark(place: Path, stage: str) -> None:
    """Remove a stage's mark, unless another process runs it."""
    if not _is_of_another(place, stage):
        with contextlib.suppress(OSError):
            _file(place, stage).unlink()


def _is_of_another(place: Path, stage: str) -> bool:
    """Tell whether another process of this machine runs a stage: its mark is its own."""
    mark = read_mark(place, stage)
    return mark is not None and mark.state == "running" and mark.process != this_process()


def read_mark(place: str | os.PathLike[str], stage: str) -> Mark | None:
    """Return what a stage's mark says, or None where there is none."""
    try:
        told: dict[str, Any] = json.loads(_file(Path(place), stage).read_text(encoding="utf-8"))
        since = float(told["since"])
        if told["state"] == "failed":
            return Mark("failed", str(told["message"]), since)
        if told["state"] == "interrupted":
            return Mark("interrupted", "", since)
        process = dict(told["process"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if process.get("host") != host():
        return Mark("elsewhere", "", since, process)
    return Mark("interrupted" if is_dead(process) else "running", "", since, process)


def _write(place: Path, stage: str, told: dict[str, Any]) -> None:
    # A mark is for whoever watches: a disk that is full, or a folder that nobody may write, fails in the stage itself.
    with contextlib.suppress(AllenEcephysError, OSError):
        write_atomically(_file(place, stage), json.dumps(told | {"since": time.time()}), durable=False)


def _file(place: Path, stage: str) -> Path:
    return place / MARKS / f"{stage}.json"
