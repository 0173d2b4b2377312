"""Safe writing: what is written to a disk appears whole or not at all, and nothing else is touched."""

from __future__ import annotations

import errno
import os
import uuid
from pathlib import Path

from .errors import AccessError, DiskFullError


def write_atomically(path: Path, content: bytes) -> None:
    """Put `content` under its name in one step: readers see the old file or the whole new one.

    Raises
    ------
    AccessError, DiskFullError
        If the folder cannot be written.
    """
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise not_written(path.parent, error) from error


def not_written(folder: Path, error: OSError) -> OSError:
    """Return the error for a cache folder that cannot be written, or whose disk is full."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return DiskFullError(f"the disk of the cache folder {folder} is full: nothing was changed. Make room first")
    return AccessError(
        f"the cache folder {folder} cannot be written ({error.strerror}). Choose another with manifest=... or "
        "ALLEN_ECEPHYS_CACHE_DIR; what it already holds can be read with EcephysProjectCache.fixed(manifest=...)"
    )
