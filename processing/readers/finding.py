"""Finding the files of a recording in and below a folder, as labs keep them: with linked folders, and litter beside."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path


def files_below(folder: Path, pattern: str) -> list[Path]:
    """Return the files in or below a folder whose names fit a pattern such as ``*.bin``, sorted.

    Links to folders are followed, each folder is looked into once. Hidden files are left out: computers of Apple leave
    a ``._x.bin`` beside each ``x.bin`` on other systems' disks.
    """
    return sorted(_files(folder, pattern))


def called(name: str, known: Sequence[Collection[str]]) -> list[int]:
    """Return which of several things, each known by some names, is called `name`; its case counts only if it decides.

    Examples
    --------
    >>> called("probea", [{"ProbeA", "ProbeA-AP"}, {"ProbeB"}]), called("v1", [{"V1"}, {"v1"}])
    ([0], [1])
    """
    exactly = [i for i, names in enumerate(known) if name in names]
    wanted = name.lower()
    return exactly or [i for i, names in enumerate(known) if wanted in {other.lower() for other in names}]


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
