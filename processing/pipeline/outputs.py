"""Outputs that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import DiskFullError


@contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary folder beside `path`; when the block ends well, flush it to disk and rename it to `path`.

    An error in the block removes the temporary folder. A process killed in the block leaves one named
    ``<name>.tmp-<8 hex>``, which nothing ever reads.

    Raises
    ------
    FileExistsError
        If there is something at `path` already, other than an empty folder.
    """
    target = Path(path)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        msg = f"{target} exists and is not empty; name a new folder, or delete that one first"
        raise FileExistsError(errno.EEXIST, msg)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{target.name}.tmp-{uuid4().hex[:8]}")
    temporary.mkdir()
    try:
        yield temporary
        flush_to_disk(temporary)
        temporary.replace(target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    flush_entry(target.parent)


def flush_to_disk(folder: Path) -> None:
    """Make every file and folder below `folder` survive a power cut."""
    for path in sorted(folder.rglob("*"), reverse=True):
        flush_entry(path)
    flush_entry(folder)


def flush_entry(path: Path) -> None:
    """Make one file, or one folder's list of names, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def reserve(descriptor: int, n_bytes: int, path: Path) -> None:
    """Take the disk space of a file before its first byte is written.

    A memory map or a buffered file on a full disk ends in SIGBUS or in an error at close, after hours; this refuses
    at the start.

    Raises
    ------
    DiskFullError
        If there is not enough room.
    """
    try:
        if n_bytes:
            os.posix_fallocate(descriptor, 0, n_bytes)
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            raise
        free = shutil.disk_usage(path.parent).free
        msg = f"{path} needs {n_bytes:,} bytes and {free:,} are free on that disk; free some space or write elsewhere"
        raise DiskFullError(msg, error.errno or errno.ENOSPC) from error


def new_npy(path: Path, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float32) -> npt.NDArray[Any]:
    """Make a ``.npy`` file, take its disk space, and return it as a memory map to write to.

    An array without values cannot be mapped: its file is written at once, and an empty array comes back.

    Raises
    ------
    DiskFullError
        If the disk has no room for it.
    """
    if 0 in shape:
        empty = np.zeros(shape, dtype)
        np.save(path, empty)
        return empty
    mapped = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    with path.open("r+b") as handle:
        reserve(handle.fileno(), path.stat().st_size, path)
    return mapped


class SampleFile:
    """A binary matrix of known size, written in pieces, in any order, from several threads.

    Parameters
    ----------
    path
        The file to make; it must not exist.
    n_bytes
        Its final size, which is reserved at once.

    Raises
    ------
    DiskFullError
        If the disk has no room for it.
    """

    def __init__(self, path: Path, n_bytes: int) -> None:
        self.path = path
        self.n_bytes = n_bytes
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            reserve(self._descriptor, n_bytes, path)
        except BaseException:
            os.close(self._descriptor)
            path.unlink()
            raise

    def write(self, piece: memoryview, position: int) -> None:
        """Write the bytes of `piece` at byte `position`."""
        while len(piece):
            written = os.pwrite(self._descriptor, piece, position)
            piece, position = piece[written:], position + written

    def __enter__(self) -> SampleFile:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)
