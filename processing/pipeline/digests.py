"""Digests of what stages read and leave: contents decide whether a stage runs again, and are read once if files stay.

A raw file of hours is read in minutes, which is little beside its processing and too much for a look at what is done:
what was read is noted beside the stages, one note a file, with the file's size and times, and is read again when these
differ.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final

from allen_ecephys.errors import AllenEcephysError, StageError
from allen_ecephys.files import read_json, write_atomically

NOTES: Final = ".digests"
#: A file younger than this (s) may change once more without a change of its times: its digest is not noted.
_SETTLED_S: Final = 2.0

State = tuple[int, int, int]

#: Folder of the notes of all stages, where several have inputs in common: see :func:`notes_in`.
_shared: ContextVar[Path | None] = ContextVar("_shared", default=None)


@contextlib.contextmanager
def notes_in(folder: Path) -> Iterator[None]:
    """Keep the notes of all stages that run in this block in one folder: what several of them read is read once."""
    token = _shared.set(folder)
    try:
        yield
    finally:
        _shared.reset(token)


def file_state(path: Path) -> State:
    """Return what tells, without reading it, that a file is still the same: size and times of its last changes."""
    facts = path.stat()
    return facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


def content_digest(path: Path, place: Path | None = None) -> str:
    """Return the SHA-256 of a file, noted in the folder `place`, if that is there, or where :func:`notes_in` says.

    Raises
    ------
    StageError
        If the file changed while it was read.
    """
    state = file_state(path)
    name, note = _note_of(path, place)
    known = _read(note)
    if known.get("path") == name and known.get("state") == list(state):
        return str(known["sha256"])
    digest = sha256(path)
    if file_state(path) != state:
        msg = f"{path} changed while it was read; wait until it is complete, and run again"
        raise StageError(msg)
    if time.time() - max(state[1:]) / 1e9 > _SETTLED_S:
        note_digest(path, place, state, digest)
    return digest


def note_digest(path: Path, place: Path | None, state: State, digest: str) -> None:
    """Note the digest of a file that was in this state before it was read, where :func:`content_digest` looks."""
    name, note = _note_of(path, place)
    if note is None or not note.parents[1].is_dir():
        return
    # A note saves work only: where none can be written, the file is read again.
    with contextlib.suppress(AllenEcephysError, OSError):
        write_atomically(note, json.dumps({"path": name, "state": state, "sha256": digest}), durable=False)


def _note_of(path: Path, place: Path | None) -> tuple[str, Path | None]:
    """Return a file's absolute name and the file of its note, or None where nothing is noted."""
    name, folder = os.path.normpath(path.absolute()), _shared.get() or place
    return name, None if folder is None else folder / NOTES / f"{digest_of(name)[:24]}.json"


def sha256(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of(facts: Any) -> str:
    """Return the SHA-256 of what JSON can hold; the order of names does not matter."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _read(note: Path | None) -> dict[str, Any]:
    if note is None:
        return {}
    try:
        noted = read_json(note)
    except (OSError, ValueError):
        return {}
    return noted if isinstance(noted, dict) and "sha256" in noted else {}
