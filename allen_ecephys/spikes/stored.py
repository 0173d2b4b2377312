"""Spike times that stay in their file: the blocks that kernels need are read into a buffer, and nothing is kept.

A file may be cut, or written over, while its spikes are counted. Were it mapped into memory, touching a page past its
new end would end the process (SIGBUS); a read past the end is an answer that can be told from data. What is read is
looked at once more for its order, on which the kernels rely.

Every 512th spike time of a unit is remembered when its order is first checked (2 MB for 130 million spikes). So the
blocks that hold the spikes of some windows are known without searching the file.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numba import njit, types

from ..errors import ClosedSessionError, CorruptFileError, truncated_file
from .ragged import Floats, Integers, RaggedTimes, Windows, first_above, first_not_below

if TYPE_CHECKING:
    from ..nwb.reader import NwbReader

#: Spikes between two that are remembered: 4 kB of the file.
BLOCK = 512

#: Spikes in a buffer: 1 MB, which stays in a core's cache while a kernel looks at it.
BUFFER = 1 << 17

#: What the kernels below return beside 0.
_CUT, _CHANGED = 1, 2

#: ssize_t pread(int, void *, size_t, off_t) of the C library: reads at a place, whatever other threads read.
_pread: Any = types.ExternalFunction("pread", types.intp(types.int32, types.voidptr, types.uintp, types.int64))


@njit(cache=True, nogil=True)
def _read(descriptor: int, out: Floats, at: int, count: int, place: int) -> bool:
    """Read `count` values at byte `place` into ``out[at:]``; False where the file ends before."""
    done = 0
    while done < 8 * count:
        # A call gives at most 2 GiB, and less where a signal interrupts it.
        got = _pread(descriptor, out[at + done // 8 : at + count].ctypes, 8 * count - done, place + done)
        if got <= 0:
            return False
        done += got // 8 * 8
        if got % 8:
            return False
    return True


@njit(cache=True, nogil=True)
def _disorder(values: Floats) -> int:
    """Count the values that are below the one before them, and NaN; no early end, so that it runs in vectors."""
    found = 0
    for i in range(len(values) - 1):
        found += not values[i] <= values[i + 1]
    return found


@njit(cache=True, nogil=True)
def _scan(
    descriptor: int,
    offset: int,
    starts: Integers,
    stops: Integers,
    first_marks: Integers,
    marks: Floats,
    buffer: Floats,
    ascends: np.ndarray[Any, np.dtype[np.bool_]],
) -> int:
    """Read units through, note whether each ascends and its every 512th spike."""
    for unit in range(len(starts)):
        ascends[unit] = True
        before, mark, begin = -np.inf, first_marks[unit], starts[unit]
        while begin < stops[unit]:
            count = min(len(buffer), stops[unit] - begin)
            if not _read(descriptor, buffer, 0, count, offset + 8 * begin):
                return _CUT
            if _disorder(buffer[:count]) or not buffer[0] >= before:  # also so where either is NaN
                ascends[unit] = False
            before = buffer[count - 1]
            for i in range(0, count, BLOCK):
                marks[mark] = buffer[i]
                mark += 1
            begin += count
    return 0


@njit(cache=True, nogil=True)
def _blocks(marks: Floats, first: int, size: int, begin: float, end: float) -> tuple[int, int]:
    """Return where, within a unit, the blocks begin and end that hold its spikes from `begin` to `end`."""
    last = first + (size + BLOCK - 1) // BLOCK
    below = first_not_below(marks, first, last, begin) - first
    upto = first_above(marks, first, last, end) - first
    return max(below - 1, 0) * BLOCK, min(upto * BLOCK, size)


@njit(cache=True, nogil=True)
def _needed(
    starts: Integers,
    stops: Integers,
    first_marks: Integers,
    marks: Floats,
    begins: Floats,
    ends: Floats,
    out: Integers,
) -> None:
    """Count the spikes of each unit in the blocks that hold its spikes in some spans of time, which ascend."""
    for unit in range(len(starts)):
        done = 0
        for span in range(len(begins)):
            low, high = _blocks(marks, first_marks[unit], stops[unit] - starts[unit], begins[span], ends[span])
            low = max(low, done)
            if high > low:
                out[unit] += high - low
                done = high


@njit(cache=True, nogil=True)
def _gather(
    descriptor: int,
    offset: int,
    starts: Integers,
    stops: Integers,
    first_marks: Integers,
    marks: Floats,
    begins: Floats,
    ends: Floats,
    out: Floats,
    out_starts: Integers,
    out_stops: Integers,
) -> int:
    """Read these blocks, a unit behind the other; the same spikes that :func:`_needed` counts."""
    at = 0
    for unit in range(len(starts)):
        # The same place within a cache line as in the file: copying is several times slower otherwise.
        at = (at + 7) // 8 * 8 + (offset // 8 + starts[unit]) % 8
        out_starts[unit] = at
        done = 0
        for span in range(len(begins)):
            low, high = _blocks(marks, first_marks[unit], stops[unit] - starts[unit], begins[span], ends[span])
            low = max(low, done)
            if high <= low:
                continue
            if not _read(descriptor, out, at, high - low, offset + 8 * (starts[unit] + low)):
                return _CUT
            at += high - low
            done = high
        out_stops[unit] = at
        if _disorder(out[out_starts[unit] : at]):
            return _CHANGED
    return 0


class NamedFile(Protocol):
    """What messages need of a file whose spikes are read past HDF5."""

    @property
    def name(self) -> str:
        """The file's path."""
        ...

    @property
    def closed(self) -> bool:
        """Whether its owner closed it."""
        ...


class SpikeFile:
    """The spike times of a file in which they lie contiguously, and what is remembered of them.

    Parameters
    ----------
    reader
        The file.
    descriptor
        The same file, open for reading; closed with this object.
    offset
        Where the first spike lies (bytes).
    starts, stops
        Each unit's run of spikes.
    marks
        Every 512th spike of each unit, a unit behind the other, where all were read through before.
    """

    def __init__(
        self,
        reader: NamedFile,
        descriptor: int,
        offset: int,
        starts: Integers,
        stops: Integers,
        marks: Floats | None = None,
    ) -> None:
        self.reader = reader
        self._descriptor = descriptor
        weakref.finalize(self, os.close, descriptor)
        self.offset = offset
        self.starts = starts
        self.stops = stops
        counts = -(-(stops - starts) // BLOCK)
        self._first_marks = np.cumsum(counts) - counts
        self._marks: Floats = np.empty(int(counts.sum())) if marks is None else marks
        self._known: set[int] = set() if marks is None else set(range(len(starts)))
        self._idle: list[Floats] = []  # buffers that no thread uses; taking and giving back are atomic

    @classmethod
    def of(cls, reader: NwbReader, path: str, starts: Integers, stops: Integers) -> SpikeFile | None:
        """Return the spikes at `path`, or None where they cannot be read past HDF5.

        So it is with spikes that are compressed or not float64, files that are no local ones, and systems without
        ``pread``.
        """
        place = reader.contiguous(path)
        if place is None or reader.dataset(path).dtype != np.dtype(np.float64) or not hasattr(os, "pread"):
            return None
        offset, handle = place
        # Not a copy of HDF5's descriptor, with which its lock on the file would outlive the session.
        descriptor = os.open(str(reader.source), os.O_RDONLY)
        if not os.path.samestat(os.fstat(descriptor), os.fstat(handle)):
            os.close(descriptor)  # another file has taken the path since
            return None
        return cls(reader, descriptor, offset, starts, stops)

    @property
    def marks(self) -> Floats:
        """Every 512th spike of the units that were read through."""
        return self._marks

    @contextmanager
    def buffer(self, size: int) -> Iterator[Floats]:
        """Lend a buffer of at least `size` values; one of the usual size is kept for the next."""
        if size > BUFFER:
            yield _buffer(size)
            return
        try:
            lent = self._idle.pop()
        except IndexError:
            lent = _buffer(BUFFER)
        yield lent
        self._idle.append(lent)

    def knows(self, row: int) -> bool:
        """Tell whether a unit was read through."""
        return row in self._known

    def note(self, row: int, times: Floats) -> None:
        """Remember what is needed of a unit whose ascending spikes were read otherwise."""
        first = self._first_marks[row]
        marks = times[::BLOCK]
        self._marks[first : first + len(marks)] = marks
        self._known.add(row)

    def scan(self, rows: list[int]) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Read units through; tell of each whether its spikes ascend."""
        ascends = np.zeros(len(rows), dtype=np.bool_)
        where = (self.starts[rows], self.stops[rows], self._first_marks[rows])
        with self.buffer(BUFFER) as buffer:
            self._check(_scan(self._descriptor, self.offset, *where, self._marks, buffer, ascends))
        self._known.update(rows)
        return ascends

    def needed(self, rows: Integers, spans: Windows) -> Integers:
        """Return how many spikes of each unit are read to look at some spans."""
        out = np.zeros(len(rows), dtype=np.int64)
        where = (self.starts[rows], self.stops[rows], self._first_marks[rows])
        _needed(*where, self._marks, spans.begins, spans.ends, out)
        return out

    def gather(self, rows: Integers, spans: Windows, buffer: Floats) -> RaggedTimes:
        """Return the spikes of units in some spans (and a few around them), read into `buffer`."""
        starts, stops = np.empty(len(rows), dtype=np.int64), np.empty(len(rows), dtype=np.int64)
        where = (self.starts[rows], self.stops[rows], self._first_marks[rows])
        found = _gather(
            self._descriptor, self.offset, *where, self._marks, spans.begins, spans.ends, buffer, starts, stops
        )
        self._check(found)
        return RaggedTimes(buffer, starts, stops)

    def _check(self, outcome: int) -> None:
        if outcome == 0:
            return
        name = self.reader.name
        if self.reader.closed:
            msg = f"{name} was closed while its spikes were read"
            raise ClosedSessionError(msg)
        found, expected = os.fstat(self._descriptor).st_size, self.offset + 8 * int(self.stops.max())
        if outcome == _CUT and found < expected:
            raise truncated_file(name, found, expected)
        msg = f"{name} was changed while its spikes were read: open the session again, and check the file"
        raise CorruptFileError(msg)


class StoredTimes:
    """Spike times of several units of a file: what kernels need of them is read when they need it.

    Attributes
    ----------
    starts, stops
        Each unit's run of spikes in the file (int64).
    """

    def __init__(self, file: SpikeFile, rows: Integers) -> None:
        self._file = file
        self._rows = rows
        self.starts, self.stops = file.starts[self._rows], file.stops[self._rows]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, position: int) -> Floats:
        return self._gathered(self._rows[position : position + 1], Windows.always())[0]

    def __iter__(self) -> Iterator[Floats]:
        return (self[i] for i in range(len(self)))

    def part(self, first: int, last: int) -> StoredTimes:
        """Return units `first` to `last` (excluded)."""
        return StoredTimes(self._file, self._rows[first:last])

    def pieces(self, first: int, last: int, windows: Windows) -> Iterator[tuple[int, int, RaggedTimes]]:
        """Yield units `first` to `last` (excluded) by groups that share a buffer, with their spikes in `windows`."""
        spans = windows.joined()
        rows = self._rows[first:last]
        sizes = self._file.needed(rows, spans) + 16
        ends = np.cumsum(sizes)
        at = 0
        with self._file.buffer(int(sizes.max(initial=0))) as buffer:
            while at < len(rows):
                room = ends[at] - sizes[at] + len(buffer)
                upto = int(np.searchsorted(ends, room, side="right"))
                yield first + at, first + upto, self._file.gather(rows[at:upto], spans, buffer)
                at = upto

    def around(self, windows: Windows) -> RaggedTimes:
        """Return the spikes of all units in `windows` (and a few around them), in memory."""
        return self._gathered(self._rows, windows.joined())

    def _gathered(self, rows: Integers, spans: Windows) -> RaggedTimes:
        size = int(self._file.needed(rows, spans).sum()) + 16 * len(rows)
        return self._file.gather(rows, spans, _buffer(size))


def _buffer(size: int) -> Floats:
    """Return room for `size` values that begins with a cache line."""
    room = np.empty(size + 7)
    skipped = -(room.ctypes.data // 8) % 8
    return room[skipped : skipped + size]
