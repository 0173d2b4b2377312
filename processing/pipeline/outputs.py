"""Large outputs, whose room on the disk is taken before the first byte is written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from allen_ecephys.files import NO_ROOM, disk_full


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
        if error.errno not in NO_ROOM:
            raise
        raise disk_full(path.parent, n_bytes, number=error.errno) from error


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
