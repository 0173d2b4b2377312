"""The journal of a part file: which of its bytes are on disk, and which process is at work on it.

One JSON value a line: a header (size, ETag, owner), then one ``[start, stop]`` for each range whose bytes are on disk,
or an object that changes the owner. Lines are only ever appended; one that was cut short is ignored.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..retrying.intervals import IntervalSet

JOURNAL_FORMAT = 1


@functools.cache
def _host() -> str:
    """Return a name for the set of processes whose ids can be compared: machine, boot and process namespace."""
    marks = [socket.gethostname()]
    with contextlib.suppress(OSError):
        marks.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    with contextlib.suppress(OSError):
        marks.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(marks)


def _started(pid: int) -> str | None:
    """Return the start time of a process where the system tells, so that a reused id is not taken for its owner."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except (OSError, IndexError):
        return None


def this_process() -> dict[str, Any]:
    """Return what identifies the running process in a journal."""
    pid = os.getpid()
    return {"host": _host(), "pid": pid, "started": _started(pid)}


def is_dead(owner: dict[str, Any]) -> bool:
    """Tell whether `owner` is known to run no longer; False where that cannot be known (another machine)."""
    if owner.get("host") != _host() or os.name != "posix":
        return False
    pid = owner.get("pid")
    if not isinstance(pid, int) or pid <= 0:
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False  # it runs, as somebody else
    return owner.get("started") is not None and _started(pid) != owner["started"]


@dataclass
class Journal:
    """What a journal tells about its part."""

    size: int | None = None
    etag: str | None = None
    url: str | None = None
    owner: dict[str, Any] | None = None
    idle: bool = False
    present: IntervalSet = field(default_factory=IntervalSet)


def read_journal(path: Path) -> Journal | None:
    """Return the contents of a journal; None where it is missing, cut before its header, or of another format."""
    try:
        lines = path.read_bytes().split(b"\n")[:-1]  # what follows the last line end was cut
        header = json.loads(lines[0])
        if header["format"] != JOURNAL_FORMAT:
            return None
        journal = Journal(header["size"], header["etag"], header.get("url"), header["owner"])
    except (OSError, ValueError, LookupError, TypeError):
        return None
    for line in lines[1:]:
        try:
            entry = json.loads(line)
            if isinstance(entry, dict):
                journal.owner = entry.get("owner", journal.owner)
                journal.idle = bool(entry.get("idle", journal.idle and "owner" not in entry))
                journal.etag = entry.get("etag", journal.etag)
                journal.size = entry.get("size", journal.size)
            else:
                start, stop = entry
                journal.present.add(int(start), int(stop))
        except (ValueError, KeyError, TypeError):
            continue
    return journal


def append_lines(journal: Path, entries: list[Any], create: int = 0) -> None:
    """Append one line for each entry; `create` holds flags of ``os.open`` that make the file."""
    text = "".join(json.dumps(entry) + "\n" for entry in entries)
    descriptor = os.open(journal, os.O_WRONLY | os.O_APPEND | create, 0o666)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def journal_of(part: Path) -> Path:
    """Return the path of the journal of `part`."""
    return part.with_name(part.name + ".json")
