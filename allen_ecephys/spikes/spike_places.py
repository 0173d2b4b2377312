"""Where the spikes of each unit lie in a session file, and reading them there without HDF5.

Released files store spike times as float64, end to end. Who knows where each unit's run begins reads it with one
request: of a local file by ``pread``, of a remote one by a range of bytes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..errors import InvalidValueError, UnknownIdError, truncated_file
from ..nwb import layout
from ..nwb.columns import whole_numbers
from .store import GAP_BYTES, Floats, Integers, RaggedColumn, order_of, runs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from typing_extensions import Buffer

    from ..nwb.reader import NwbReader
    from .ragged import UnitTimes
    from .stored import NamedFile

Flags = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class SpikePlaces:
    """Where the spike times of a file's units lie.

    Attributes
    ----------
    unit_ids
        The file's units, in its order.
    starts, stops
        Each unit's run of spikes (int64).
    offset
        Byte at which the first spike lies; None where spikes are not stored as float64, end to end.
    ascending
        Whether each unit's spikes ascend; None where they were not read through.
    marks
        Every 512th spike of each unit (:class:`.SpikeFile`), or None likewise.
    """

    unit_ids: Integers
    starts: Integers
    stops: Integers
    offset: int | None
    ascending: Flags | None = None
    marks: Floats | None = None

    @classmethod
    def of(cls, reader: NwbReader) -> SpikePlaces:
        """Return the places of a session file; a local one is read through, so that the order of its spikes is known.

        Raises
        ------
        FileFormatError
            If the file does not divide its spikes among its units.
        """
        from .stored import SpikeFile

        unit_ids = whole_numbers(reader, f"{layout.UNITS}/id")
        column = RaggedColumn(reader, "spike_times", len(unit_ids))
        file = SpikeFile.of(reader, column.path, column.starts, column.stops)
        if file is None:
            plain = reader.dataset(column.path).dtype == np.dtype(np.float64)
            return cls(unit_ids, column.starts, column.stops, reader.first_byte(column.path) if plain else None)
        ascending = file.scan(list(range(len(unit_ids))))
        return cls(unit_ids, column.starts, column.stops, file.offset, ascending, file.marks)

    def rows(self, unit_ids: Sequence[int] | Integers) -> Integers:
        """Return the rows of units in the file.

        Raises
        ------
        UnknownIdError
            If a unit is not in the file.
        """
        order = np.argsort(self.unit_ids, kind="stable")
        wanted = np.asarray(unit_ids, dtype=np.int64)
        at = np.searchsorted(self.unit_ids, wanted, sorter=order)
        rows = order[np.minimum(at, len(order) - 1)] if len(order) else np.zeros(len(wanted), dtype=np.int64)
        lacking = wanted[self.unit_ids[rows] != wanted] if len(order) else wanted
        if len(lacking):
            msg = f"units {', '.join(map(str, lacking[:5].tolist()))} are not among the {len(order):,} of the file"
            raise UnknownIdError(msg)
        return rows.astype(np.int64)


class PlacedSpikes(Protocol):
    """Spike times of a file's units: one unit's by its id, several as kernels take them."""

    def __getitem__(self, unit_id: Any, /) -> Floats: ...

    def ragged(self, unit_ids: Sequence[int] | Integers, /) -> UnitTimes:
        """Return the spike times of some units as the alignment kernels take them."""
        ...

    def stays_in_file(self, unit_ids: Sequence[int] | Integers, /) -> bool:
        """Tell whether kernels read what they need of these units from the file, and nothing is held in memory."""
        ...


class LocalSpikes:
    """Spike times of a local file, read at their places; nothing is kept.

    Parameters
    ----------
    file
        The file, for messages.
    descriptor
        The same file, open for reading: the caller's to close, after everything was read.
    places
        Where the spikes lie.
    marks
        Gives every 512th spike of each unit, where the spikes were read through (see :class:`.SpikeFile`).
    """

    def __init__(
        self, file: NamedFile, descriptor: int, places: SpikePlaces, marks: Callable[[], Floats | None]
    ) -> None:
        self._file = file
        self._descriptor = descriptor
        self._places = places
        self._marks = marks

    def __getitem__(self, unit_id: int) -> Floats:
        row = int(self._places.rows([unit_id])[0])
        start, stop = int(self._places.starts[row]), int(self._places.stops[row])
        times = np.empty(stop - start)
        view = _bytes_of(times)
        begin, done = _offset(self._places) + 8 * start, 0
        while done < len(view):
            got = os.preadv(self._descriptor, [view[done:]], begin + done)
            if got <= 0:
                raise truncated_file(self._file.name, os.fstat(self._descriptor).st_size, begin + len(view))
            done += got
        return _handed_out(times, unit_id, self._file.name)

    def stays_in_file(self, unit_ids: Sequence[int] | Integers) -> bool:
        """Tell whether kernels read what they need of these units from the file: no unit has to be sorted first."""
        ascending = self._places.ascending
        return ascending is not None and bool(ascending[self._places.rows(unit_ids)].all())

    def ragged(self, unit_ids: Sequence[int] | Integers) -> UnitTimes:
        """Return the spike times of some units for the kernels, unread unless some of them have to be sorted."""
        from .ragged import RaggedTimes
        from .stored import SpikeFile, StoredTimes

        if not self.stays_in_file(unit_ids):
            return RaggedTimes.from_arrays([self[int(unit)] for unit in unit_ids])
        own, places = os.dup(self._descriptor), self._places
        file = SpikeFile(self._file, own, _offset(places), places.starts, places.stops, self._marks())
        return StoredTimes(file, places.rows(unit_ids))


class ByteStream(Protocol):
    """A remote file that is read by ranges."""

    def seek(self, offset: int, whence: int = ..., /) -> int: ...  # noqa: D102
    def readinto(self, buffer: Buffer, /) -> int: ...  # noqa: D102
    def prefetch(self, ranges: Iterable[tuple[int, int]]) -> None: ...  # noqa: D102


class StreamedSpikes:
    """Spike times of a remote file, read at their places by ranges of bytes.

    Parameters
    ----------
    name
        The file's address, for messages.
    stream
        The file; the caller's to close.
    places
        Where the spikes lie.
    """

    def __init__(self, name: str, stream: ByteStream, places: SpikePlaces) -> None:
        self._name = name
        self._stream = stream
        self._places = places

    def __getitem__(self, unit_id: int) -> Floats:
        return self._read(self._places.rows([unit_id]))[0]

    def stays_in_file(self, unit_ids: Sequence[int] | Integers) -> bool:
        """Return False: what kernels are given was fetched."""
        return False

    def ragged(self, unit_ids: Sequence[int] | Integers) -> UnitTimes:
        """Return the spike times of some units, fetched at once."""
        from .ragged import RaggedTimes

        return RaggedTimes.from_arrays(self._read(self._places.rows(unit_ids)))

    def _read(self, rows: Integers) -> list[Floats]:
        starts, stops, offset = self._places.starts, self._places.stops, _offset(self._places)
        near = runs(sorted({int(row) for row in rows}), starts, stops, GAP_BYTES // 8)
        self._stream.prefetch((offset + 8 * int(starts[r[0]]), offset + 8 * int(stops[r[-1]])) for r in near)
        return [self._read_one(int(row)) for row in rows]

    def _read_one(self, row: int) -> Floats:
        start, stop = int(self._places.starts[row]), int(self._places.stops[row])
        times = np.empty(stop - start)
        view = _bytes_of(times)
        begin, done = _offset(self._places) + 8 * start, 0
        self._stream.seek(begin)
        while done < len(view):
            got = self._stream.readinto(view[done:])
            if not got:
                raise truncated_file(self._name, begin + done, begin + len(view))
            done += got
        return _handed_out(times, int(self._places.unit_ids[row]), self._name)


class HdfSpikes:
    """Spike times that only HDF5 can read: compressed ones, or of another type than float64; nothing is kept.

    Parameters
    ----------
    reader
        The file; the caller's to close.
    places
        Which runs of the file's spikes are whose.
    """

    def __init__(self, reader: NwbReader, places: SpikePlaces) -> None:
        self._reader = reader
        self._places = places
        self._column = RaggedColumn(reader, "spike_times", len(places.unit_ids))

    def __getitem__(self, unit_id: int) -> Floats:
        return self.many([unit_id])[0]

    def stays_in_file(self, unit_ids: Sequence[int] | Integers) -> bool:
        """Return False: HDF5 gives copies."""
        return False

    def ragged(self, unit_ids: Sequence[int] | Integers) -> UnitTimes:
        """Return the spike times of some units, read at once where they lie side by side."""
        from .ragged import RaggedTimes

        return RaggedTimes.from_arrays(self.many(unit_ids))

    def many(self, unit_ids: Sequence[int] | Integers) -> list[Floats]:
        """Return the spike times of some units."""
        read = self._column.read_many(self._places.rows(unit_ids))
        return [
            _handed_out(times.copy(), int(unit), self._reader.name) for unit, times in zip(unit_ids, read, strict=True)
        ]


def _handed_out(times: Floats, unit_id: int, name: str) -> Floats:
    """Return spike times ascending and read-only, as a session hands them out."""
    order = order_of(times, unit_id, name)
    if order is not None:
        times = times[order]
    times.flags.writeable = False
    return times


def _bytes_of(times: Floats) -> memoryview:
    return times.data.cast("B") if len(times) else memoryview(b"")


def _offset(places: SpikePlaces) -> int:
    if places.offset is None:
        msg = "spikes that are not stored end to end have no place of their own"
        raise InvalidValueError(msg)
    return places.offset
