"""Blocks of samples that are made when they are wanted: those asked for last stay in memory, the first ones on disk.

Some passes look at the same part of a recording again. On disk the first so many blocks stay for all of them: the whole
of a short recording, a few parts in a hundred of one of hours, where each pass but the last looks at little.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from tempfile import TemporaryFile
from threading import Lock

import numpy as np
import numpy.typing as npt

from allen_ecephys.files import naming_a_full_disk

Int16 = npt.NDArray[np.int16]


def _bytes(block: Int16) -> memoryview:
    return block.reshape(-1).view(np.uint8).data


class BlockFile:
    """A file of blocks that vanishes with the process.

    Parameters
    ----------
    folder
        Where it is.
    n_blocks
        How many it takes; more are not kept.
    """

    def __init__(self, folder: Path, n_blocks: int) -> None:
        self._folder, self._n_blocks = folder, n_blocks
        self._file = TemporaryFile(dir=folder)  # noqa: SIM115 - closed, and so removed, with this object
        weakref.finalize(self, self._file.close)
        self._places: dict[int, tuple[int, tuple[int, ...]]] = {}
        self._end = 0
        self._lock = Lock()

    def get(self, number: int) -> Int16 | None:
        """Return a block, or None if it is not kept."""
        with self._lock:
            if number not in self._places:
                return None
            start, shape = self._places[number]
            block = np.empty(shape, np.int16)
            self._file.seek(start)
            self._file.readinto(_bytes(block))
            return block

    def put(self, number: int, block: Int16) -> None:
        """Keep a block while there is room.

        Raises
        ------
        DiskFullError
            If the disk is full.
        """
        with self._lock:
            if len(self._places) == self._n_blocks or number in self._places:
                return
            with naming_a_full_disk(self._folder):
                self._file.seek(self._end)
                self._file.write(_bytes(np.ascontiguousarray(block)))
                self._file.flush()
            self._places[number] = self._end, block.shape
            self._end += block.nbytes


class BlockCache:
    """The blocks that were asked for last.

    Threads that ask for the same block at the same time wait for the one that makes it.

    Parameters
    ----------
    make
        Returns the block of a number; it depends on nothing but the number.
    n_kept
        Blocks that are kept in memory.
    file
        Where others are kept.
    """

    def __init__(self, make: Callable[[int], Int16], n_kept: int, file: BlockFile | None = None) -> None:
        self._make, self._n_kept, self._file = make, n_kept, file
        self._blocks: OrderedDict[int, Future[Int16]] = OrderedDict()
        self._lock = Lock()

    def __call__(self, number: int) -> Int16:
        """Return a block, not to be changed."""
        with self._lock:
            known = self._blocks.get(number)
            block = self._blocks[number] = known or Future()
            self._blocks.move_to_end(number)
            while len(self._blocks) > self._n_kept:
                self._blocks.popitem(last=False)
        if known is None:
            try:
                block.set_result(self._found_or_made(number))
            except BaseException as error:
                with self._lock:
                    self._blocks.pop(number, None)
                block.set_exception(error)
        try:
            return block.result()
        finally:
            # An error knows the frames that it passed: one that knew the error would be a ring, and keep files open.
            del known, block

    def _found_or_made(self, number: int) -> Int16:
        if self._file is None:
            return self._make(number)
        block = self._file.get(number)
        if block is None:
            block = self._make(number)
            self._file.put(number, block)
        return block
