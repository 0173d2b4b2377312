"""The log of a session: one line of JSON for each thing that happened, whichever process it happened in."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from .manifest import is_cost

LOG: Final = "log.jsonl"
#: Of the year 9999, beyond which nothing has a date (s since 1970).
_LAST_TIME: Final = 253_370_000_000

Line = dict[str, Any]


@contextmanager
def log_to(output: Path, key: str) -> Iterator[Callable[..., None]]:
    """Give a function that logs what happens to a task; warnings of the package in this block are logged, too.

    Parameters
    ----------
    output
        Folder of the session.
    key
        Of the task.
    """

    def log(event: str, **facts: Any) -> None:
        _append(output / LOG, {"time": round(time.time(), 3), "task": key, "event": event, **facts})

    handler = _Warnings(log)
    package = logging.getLogger("allen_ecephys")
    package.addHandler(handler)
    try:
        yield log
    finally:
        package.removeHandler(handler)


def read_log(output: str | os.PathLike[str]) -> list[Line]:
    """Return what happened to a session, in the order of time; lines that are damaged are left out.

    Examples
    --------
    >>> read_log("recording")
    []
    """
    try:
        text = (Path(output) / LOG).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    lines = []
    for line in text.splitlines():
        with contextlib.suppress(ValueError):
            told = json.loads(line)
            if _is_line(told):
                lines.append(told)
    return sorted(lines, key=lambda told: float(told["time"]))


def _is_line(told: Any) -> bool:
    """Tell whether a line is whole: its time is a date, its texts are texts, and its numbers are numbers."""
    if not isinstance(told, dict):
        return False
    moment = told.get("time")
    texts = (told.get("task"), told.get("event"), told.get("message", ""), told.get("traceback", ""))
    return (
        isinstance(moment, int | float)
        and 0 <= moment < _LAST_TIME
        and all(isinstance(text, str) for text in texts)
        and ("seconds" not in told or is_cost(told))
    )


class _Warnings(logging.Handler):
    """Hands warnings and errors on to the session's log."""

    def __init__(self, log: Callable[..., None]) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log(record.levelname.lower(), message=record.getMessage())


def _append(path: Path, line: Line) -> None:
    """Add a line in one write, which processes of one machine do not mix; where that fails, work goes on without."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        text = "\n" * _is_cut(path) + json.dumps(line) + "\n"
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)


def _is_cut(path: Path) -> bool:
    """Tell whether the last line lost its end, to a full disk or a kill."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"
    return False
