"""Finding the files of a recording in and below a folder, as labs keep them: with linked folders, and litter beside."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Final, Literal

from allen_ecephys.errors import InvalidTypeError, UnknownNameError

#: Public archives put a number of its own before the ending of each file's name.
ARCHIVED: Final = re.compile(r"\.[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$", re.IGNORECASE)


def files_below(folder: Path, pattern: str) -> list[Path]:
    """Return the files in or below a folder whose names fit a pattern such as ``*.bin``, sorted.

    Links to folders are followed, each folder is looked into once. Hidden files are left out: computers of Apple leave
    a ``._x.bin`` beside each ``x.bin`` on other systems' disks.
    """
    return sorted(_files(folder, pattern))


def in_any_case(path: Path) -> Path:
    """Return the file of that name, or else the one beside it whose name differs in case alone: disks change it."""
    if path.exists() or not path.parent.is_dir():
        return path
    alike = [other for other in path.parent.iterdir() if other.name.lower() == path.name.lower()]
    return alike[0] if len(alike) == 1 else path


def partner(path: Path, suffix: str) -> Path:
    """Return the file beside another that belongs to it: of its name in any case, but for ending and archive's number.

    Where there is none, the name that it would have.

    Examples
    --------
    >>> partner(Path("a_t0.imec0.ap.cbin"), ".ch").name
    'a_t0.imec0.ap.ch'
    """
    same = in_any_case(path.with_suffix(suffix))
    if same.exists() or not path.parent.is_dir():
        return same
    name = ARCHIVED.sub("", path.stem).lower()
    alike = [
        other
        for other in path.parent.iterdir()
        if other.suffix.lower() == suffix and ARCHIVED.sub("", other.stem).lower() == name
    ]
    return alike[0] if len(alike) == 1 else same


def called(name: object, known: Sequence[Collection[str]]) -> list[int]:
    """Return which of several things, each known by some names, is called `name`; its case counts only if it decides.

    Raises
    ------
    InvalidTypeError
        If `name` is no text.

    Examples
    --------
    >>> called("probea", [{"ProbeA", "ProbeA-AP"}, {"ProbeB"}]), called("v1", [{"V1"}, {"v1"}])
    ([0], [1])
    """
    if not isinstance(name, str):
        msg = f"{name!r} is no name of a probe or stream; give one as text, such as 'imec0' or 'ProbeA'"
        raise InvalidTypeError(msg)
    exactly = [i for i, names in enumerate(known) if name in names]
    wanted = name.lower()
    return exactly or [i for i, names in enumerate(known) if wanted in {other.lower() for other in names}]


def band_called(name: str) -> Literal["ap", "lfp"]:
    """Return which band is meant: ``ap``, or ``lfp``, which SpikeGLX calls ``lf``.

    Raises
    ------
    UnknownNameError
        If it is neither.
    """
    if name == "ap":
        return "ap"
    if name in {"lfp", "lf"}:
        return "lfp"
    msg = f"there is no band {name!r}; a probe has 'ap', the spike band, and 'lfp'"
    raise UnknownNameError(msg)


def _files(folder: Path, pattern: str) -> Iterator[Path]:
    seen: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        yield from (Path(place) / name for name in names if fnmatch(name, pattern) and not name.startswith("."))
