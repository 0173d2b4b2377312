"""The journal of a part file: which of its bytes are on disk, and which process is at work on it.

One JSON value a line: a header (size, ETag, owner), then one ``[start, stop]`` for each range whose bytes are on disk,
or an object that changes the owner. Lines are only ever appended; one that was cut short is ignored.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from allen_ecephys.files import read_regular

from ..retrying.intervals import IntervalSet

JOURNAL_FORMAT = 1


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
        lines = read_regular(path).split(b"\n")[:-1]  # what follows the last line end was cut
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
