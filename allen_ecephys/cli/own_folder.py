"""Folders that a command makes anew at every run: it removes what it wrote there itself, and nothing else."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from allen_ecephys.errors import AlreadyPresentError
from allen_ecephys.files import write_atomically

MARKER = ".allen-ecephys-demo.json"


@contextmanager
def own_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder, and note at the end what was written into it, so that the next run may remove that.

    Raises
    ------
    AlreadyPresentError
        If the folder holds anything that an earlier run did not write: files without the run's marker, files that were
        added since, or changed. Nothing is removed then.
    """
    _remove_own(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _note(folder)
    try:
        yield folder
    finally:
        _note(folder)


def _note(folder: Path) -> None:
    written = {name: _facts(folder / name) for name in _files(folder)}
    write_atomically(folder / MARKER, json.dumps(written, indent=1))


def _remove_own(folder: Path) -> None:
    if not os.path.lexists(folder):
        return
    present = _files(folder)
    noted = _noted(folder)
    foreign = [name for name in present if noted.get(name) != _facts(folder / name)]
    if foreign or (noted == {} and not (folder / MARKER).is_file() and any(folder.iterdir())):
        listed = ", ".join(foreign[:3] or ["folders"]) + (", ..." if len(foreign) > 3 else "")
        msg = (
            f"{folder} holds what this command did not write ({listed}); nothing was removed. Move it away, or choose "
            "another folder"
        )
        raise AlreadyPresentError(msg)
    for name in present:
        (folder / name).unlink()
    (folder / MARKER).unlink(missing_ok=True)
    for inner, _, _ in os.walk(folder, topdown=False):
        if Path(inner) != folder:
            Path(inner).rmdir()  # only an empty one goes


def _files(folder: Path) -> list[str]:
    """Return every entry below `folder` that is no folder, links included and never followed; not the marker."""
    found = []
    for inner, folders, files in os.walk(folder):
        links = [name for name in folders if Path(inner, name).is_symlink()]
        found += [Path(inner, name).relative_to(folder).as_posix() for name in (*files, *links)]
    return sorted(name for name in found if PurePosixPath(name) != PurePosixPath(MARKER))


def _facts(path: Path) -> list[int]:
    facts = path.lstat()
    return [facts.st_size, facts.st_mtime_ns]


def _noted(folder: Path) -> dict[str, Any]:
    try:
        noted = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return noted if isinstance(noted, dict) else {}
