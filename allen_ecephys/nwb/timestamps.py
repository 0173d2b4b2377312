"""Timestamps of a long recording, searched and read in blocks instead of whole.

A probe's LFP has 12 million timestamps, compressed. Finding ten seconds among them takes the handful of blocks that a
binary search visits; the numbers stay exactly those of the file.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..errors import FileFormatError, MissingDataError
from .columns import check_numeric

if TYPE_CHECKING:
    from .reader import NwbReader

#: Timestamps a block where the file is not chunked (128 kB of them).
UNCHUNKED_BLOCK = 16_384

#: Blocks kept decoded: enough for neighbouring slices to cost nothing twice, a few MB.
KEPT_BLOCKS = 32


class Timestamps:
    """The ascending timestamps of one series, read in blocks as they are needed.

    Parameters
    ----------
    reader
        The file.
    path
        The dataset of times (s, float64, one dimension).

    Raises
    ------
    MissingDataError
        If the file has no such dataset.
    FileFormatError
        If it is no column of numbers; later, when a block is read in which time runs backwards.
    """

    def __init__(self, reader: NwbReader, path: str) -> None:
        if not reader.has(path):
            msg = f"{reader.name} holds no timestamps at {path!r}: this series cannot be placed in time"
            raise MissingDataError(msg)
        check_numeric(reader, path)
        dataset = reader.dataset(path)
        self.reader = reader
        self.path = path
        self.size = int(dataset.shape[0])
        self.block_size = int(dataset.chunks[0]) if dataset.chunks else UNCHUNKED_BLOCK
        self.blocks = -(-self.size // self.block_size)
        self._kept: OrderedDict[int, np.ndarray] = OrderedDict()
        self._firsts: dict[int, float] = {}
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return self.size

    def __getstate__(self) -> dict[str, Any]:
        return {"reader": self.reader, "path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["reader"], state["path"])  # type: ignore[misc]

    def __deepcopy__(self, memo: dict[int, Any]) -> Timestamps:
        return self  # unchanging: a copy of an array shares them

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return timestamps `start` to `stop` (s, float64, shape (stop - start,))."""
        start, stop = max(start, 0), min(stop, self.size)
        if stop <= start:
            return np.empty(0)
        first, last = start // self.block_size, (stop - 1) // self.block_size
        if last - first < KEPT_BLOCKS // 2:
            offset = first * self.block_size
            joined = np.concatenate([self._block(block) for block in range(first, last + 1)])
            return joined[start - offset : stop - offset]
        return np.asarray(self.reader.array(self.path, slice(start, stop)), dtype=np.float64)

    def take(self, indices: np.ndarray) -> np.ndarray:
        """Return the timestamps at `indices` (any order, repeats allowed)."""
        indices = np.asarray(indices, dtype=np.int64)
        times = np.empty(len(indices))
        blocks = indices // self.block_size
        for block in np.unique(blocks):
            here = blocks == block
            times[here] = self._block(int(block))[indices[here] - block * self.block_size]
        return times

    def search(self, values: np.ndarray, side: Literal["left", "right"] = "left") -> np.ndarray:
        """Return where `values` belong among the timestamps, as :func:`numpy.searchsorted` does.

        Parameters
        ----------
        values
            Times (s), one dimension, in any order.
        side
            ``left``: the first timestamp ``>= value``; ``right``: the first ``> value``.

        Returns
        -------
        ndarray of int64
            Shape of `values`, each from 0 to ``len(self)``.
        """
        values = np.asarray(values, dtype=np.float64)
        found = np.zeros(values.shape, dtype=np.int64)
        if self.size == 0:
            return found
        order = np.argsort(values, kind="stable")
        ascending = values[order]
        places = np.empty_like(found)
        done = 0
        while done < len(ascending):
            block = self._block_holding(float(ascending[done]), side)
            times = self._block(block)
            # All values up to the block's last timestamp have their place in it, and so has the one asked for.
            same = int(np.searchsorted(ascending, times[-1], side="right" if side == "left" else "left"))
            upto = len(ascending) if block == self.blocks - 1 else max(same, done + 1)
            places[done:upto] = block * self.block_size + np.searchsorted(times, ascending[done:upto], side=side)
            done = upto
        found[order] = places
        return found

    def _block_holding(self, value: float, side: Literal["left", "right"]) -> int:
        """Return the last block whose first timestamp is before `value` (or at it, for ``right``), or block 0."""
        low, high = 0, self.blocks  # blocks < low begin before the value, blocks >= high do not
        guess, step = self._guess(value), 1
        while low < high:
            if not low <= guess < high:
                guess = (low + high) // 2
            first = self._first(guess)
            if first < value or (side == "right" and first == value):
                low, guess = guess + 1, guess + step
            else:
                high, guess = guess, guess - step
            step *= 2
        return max(low - 1, 0)

    def _guess(self, value: float) -> int:
        """Return the block in which `value` lies if the timestamps are regular, which they nearly are."""
        begin = self._first(0)
        span = self._first(self.blocks - 1) - begin
        if not span > 0 or not np.isfinite(value):
            return 0
        return int(np.clip((value - begin) / span * (self.blocks - 1), 0, self.blocks - 1))

    def _first(self, block: int) -> float:
        if block not in self._firsts:
            self._firsts[block] = float(self._block(block)[0])
        return self._firsts[block]

    def _block(self, block: int) -> np.ndarray:
        with self._lock:
            if block in self._kept:
                self._kept.move_to_end(block)
                return self._kept[block]
            start = block * self.block_size
            times = self.reader.array(self.path, slice(start, min(start + self.block_size, self.size)))
            times = np.asarray(times, dtype=np.float64)
            if np.isnan(times[0]) or not np.all(times[1:] >= times[:-1]):  # also so where either is NaN
                at = start + int(np.argmin(times[1:] >= times[:-1]))
                msg = (
                    f"timestamps of {self.path} in {self.reader.name} are NaN or run backwards after sample {at:,} "
                    f"({times[at - start]:.4f} s): select by position (isel) instead of by time"
                )
                raise FileFormatError(msg)
            times.setflags(write=False)
            self._kept[block] = times
            if len(self._kept) > KEPT_BLOCKS:
                self._kept.popitem(last=False)
            return times
