"""What a user is told where a cache folder cannot be written, or its disk has no room."""

from __future__ import annotations

from pathlib import Path

from allen_ecephys.errors import AccessError, DiskFullError
from allen_ecephys.files import NO_ROOM, disk_full, not_written

_ELSEWHERE = "choose another cache folder with ALLEN_ECEPHYS_CACHE_DIR (or manifest=)"


def refused(folder: Path, error: OSError, needed: int | None = None) -> AccessError | DiskFullError:
    """Return the error for a cache folder that the system does not let us write to.

    Parameters
    ----------
    folder
        The folder.
    error
        What the system said.
    needed
        Bytes that were to be written, where known.
    """
    if error.errno in NO_ROOM:
        return disk_full(folder, needed, number=error.errno, advice=_ELSEWHERE)
    readable = "What it holds can be read with EcephysProjectCache.fixed(manifest=...)"
    return not_written(folder, error, f"{_ELSEWHERE[0].upper()}{_ELSEWHERE[1:]}. {readable}")


def no_room(folder: Path, needed: int) -> DiskFullError:
    """Return the error for a disk that has less room than `needed` bytes."""
    return disk_full(folder, needed, advice=_ELSEWHERE)
