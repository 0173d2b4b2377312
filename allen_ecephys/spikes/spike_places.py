"""Where the spikes of each unit lie in a session file, and reading them there without HDF5.

Released files store spike times as float64, end to end: who knows where each unit's run begins reads it with one
request. Where they lie in chunks, compressed or not, it is the bytes of the chunks that hold the run
(:mod:`allen_ecephys.nwb.value_places`).
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..errors import InvalidValueError, UnknownIdError
from ..nwb import layout
from ..nwb.columns import whole_numbers
from ..nwb.value_places import ByteSource, LocalBytes, PlacedValues, ValuePlaces
from .store import GAP_BYTES, Floats, Integers, RaggedColumn, order_of, runs

if TYPE_CHECKING:
    from ..nwb.reader import NwbReader
    from .ragged import UnitTimes

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
    stored
        Where the bytes of the spikes lie; None where only HDF5, or the reader of a Zarr store, can read them.
    ascending
        Whether each unit's spikes ascend; None where they were not read through.
    marks
        Every 512th spike of each unit (:class:`.SpikeFile`), or None likewise.
    """

    unit_ids: Integers
    starts: Integers
    stops: Integers
    stored: ValuePlaces | None
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
        stored = ValuePlaces.of(reader, column.path)
        file = SpikeFile.of(reader, column.path, column.starts, column.stops)
        if file is None:
            return cls(unit_ids, column.starts, column.stops, stored)
        ascending = file.scan(list(range(len(unit_ids))))
        return cls(unit_ids, column.starts, column.stops, stored, ascending, file.marks)

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


class _ReadSpikes(ABC):
    """Spike times of a file's units, read when they are asked for; nothing is kept."""

    def __init__(self, name: str, places: SpikePlaces) -> None:
        self._name = name
        self._places = places

    @abstractmethod
    def _read(self, rows: Integers) -> list[Floats]:
        """Return the spike times of some rows as they are in the file, in arrays of nobody else."""

    def __getitem__(self, unit_id: int) -> Floats:
        return self._many([unit_id])[0]

    def stays_in_file(self, unit_ids: Sequence[int] | Integers) -> bool:
        """Return False: what kernels are given was read."""
        return False

    def ragged(self, unit_ids: Sequence[int] | Integers) -> UnitTimes:
        """Return the spike times of some units, read at once where they lie side by side."""
        from .ragged import RaggedTimes

        return RaggedTimes.from_arrays(self._many(unit_ids))

    def _many(self, unit_ids: Sequence[int] | Integers) -> list[Floats]:
        read = self._read(self._places.rows(unit_ids))
        return [_handed_out(times, int(unit), self._name) for unit, times in zip(unit_ids, read, strict=True)]


class PlacedBytes(_ReadSpikes):
    """Spike times of a file, local or remote, read where their bytes lie.

    Parameters
    ----------
    source
        The file.
    places
        Where the spikes lie.

    Raises
    ------
    InvalidValueError
        If only HDF5 can read them.
    """

    def __init__(self, source: ByteSource, places: SpikePlaces) -> None:
        super().__init__(source.name, places)
        if places.stored is None:
            msg = f"the spikes of {source.name} have no places of their own: HDF5 has to read them"
            raise InvalidValueError(msg)
        self._values = PlacedValues(source, f"{layout.UNITS}/spike_times", places.stored)

    def _read(self, rows: Integers) -> list[Floats]:
        starts, stops = self._places.starts, self._places.stops
        ascending = sorted({int(row) for row in rows})
        near = runs(ascending, starts, stops, GAP_BYTES // 8)
        self._values.prefetch((int(starts[run[0]]), int(stops[run[-1]])) for run in near)
        # In the order of the file, so that a chunk that several units share is inflated once.
        found = {row: self._values.read(int(starts[row]), int(stops[row])) for row in ascending}
        return [found[int(row)] for row in rows]


class LocalSpikes(PlacedBytes):
    """Spike times of a local file, which kernels read by blocks where they lie end to end.

    Parameters
    ----------
    file
        The file, open until everything was read.
    places
        Where the spikes lie.
    marks
        Gives every 512th spike of each unit, where the spikes were read through (see :class:`.SpikeFile`).
    """

    def __init__(self, file: LocalBytes, places: SpikePlaces, marks: Callable[[], Floats | None]) -> None:
        super().__init__(file, places)
        self._file = file
        self._marks = marks

    def stays_in_file(self, unit_ids: Sequence[int] | Integers) -> bool:
        """Tell whether kernels read what they need of these units from the file: no unit has to be sorted first."""
        ascending = self._places.ascending
        return ascending is not None and bool(ascending[self._places.rows(unit_ids)].all())

    def ragged(self, unit_ids: Sequence[int] | Integers) -> UnitTimes:
        """Return the spike times of some units for the kernels, unread unless some of them have to be sorted."""
        from .stored import SpikeFile, StoredTimes

        first, places = self._values.places.first_byte, self._places
        if first is None or not self.stays_in_file(unit_ids):
            return super().ragged(unit_ids)
        own = os.dup(self._file.descriptor)
        file = SpikeFile(self._file, own, first, places.starts, places.stops, self._marks())
        return StoredTimes(file, places.rows(unit_ids))


class HdfSpikes(_ReadSpikes):
    """Spike times that only the file's reader can read: of other filters or types, or in a Zarr store.

    Parameters
    ----------
    reader
        The file; the caller's to close.
    places
        Which runs of the file's spikes are whose.
    """

    def __init__(self, reader: NwbReader, places: SpikePlaces) -> None:
        super().__init__(reader.name, places)
        self._column = RaggedColumn(reader, "spike_times", len(places.unit_ids))

    def _read(self, rows: Integers) -> list[Floats]:
        return [times.copy() for times in self._column.read_many(rows)]


def _handed_out(times: Floats, unit_id: int, name: str) -> Floats:
    """Return spike times ascending and read-only, as a session hands them out."""
    order = order_of(times, unit_id, name)
    if order is not None:
        times = times[order]
    times.flags.writeable = False
    return times
