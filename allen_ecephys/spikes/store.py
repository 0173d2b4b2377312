"""The spikes of a session file: one lazy store, and the mappings from unit id that a session shows.

Reading one unit touches its slice of the file and no other. Where the file lies on a local disk and stores the spikes
contiguously, as released files do, the alignment kernels have the blocks that they visit read into a buffer, and
nothing is kept in memory (:mod:`.stored`). Elsewhere (remote or compressed files) spikes are read once and kept.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, ItemsView, Iterable, Iterator, Sequence, ValuesView
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import FileFormatError, InvalidTypeError, UnknownIdError
from ..nwb import layout
from ..nwb.columns import check_numeric, stops

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from ..nwb.reader import NwbReader
    from .ragged import RaggedTimes, UnitTimes
    from .stored import SpikeFile

logger = logging.getLogger(__name__)

Floats = np.ndarray[Any, np.dtype[np.float64]]
Integers = np.ndarray[Any, np.dtype[np.int64]]

#: A gap in the file up to this many bytes is read along rather than skipped by a read of its own.
GAP_BYTES = 1 << 16


class RaggedColumn:
    """One ragged column of the units table: row ``i`` is a contiguous run of the file's dataset.

    Parameters
    ----------
    reader
        The session file.
    name
        Column of ``/units`` (``spike_times``, ``spike_amplitudes``, ``waveform_mean``).
    rows
        Number of units.

    Raises
    ------
    FileFormatError
        If the file does not hold numbers there, or does not divide all of them among the units.
    """

    def __init__(self, reader: NwbReader, name: str, rows: int) -> None:
        self.reader = reader
        self.path = f"{layout.UNITS}/{name}"
        check_numeric(reader, self.path, dimensions=2 if name == "waveform_mean" else 1)
        self.stops: Integers = stops(reader, self.path, rows)
        self.starts: Integers = np.concatenate(([0], self.stops[:-1])).astype(np.int64)

    def read(self, row: int) -> np.ndarray[Any, Any]:
        """Return row `row`, read from the file."""
        values: np.ndarray[Any, Any] = self.reader.array(self.path, slice(self.starts[row], self.stops[row]))
        return values.astype(np.float64, copy=False)

    def read_many(self, rows: Sequence[int] | Integers) -> list[np.ndarray[Any, Any]]:
        """Return several rows; those that lie side by side in the file are read at once."""
        found: dict[int, np.ndarray[Any, Any]] = {}
        item = self.reader.dataset(self.path).dtype.itemsize
        near = list(runs(sorted({int(r) for r in rows}), self.starts, self.stops, GAP_BYTES // item))
        self.reader.prefetch((self.path, int(self.starts[run[0]]), int(self.stops[run[-1]])) for run in near)
        for run in near:
            begin = self.starts[run[0]]
            block = self.reader.array(self.path, slice(begin, self.stops[run[-1]])).astype(np.float64, copy=False)
            for row in run:
                found[row] = block[self.starts[row] - begin : self.stops[row] - begin]
        return [found[int(r)] for r in rows]


def runs(rows: list[int], starts: Integers, stops: Integers, gap: int) -> Iterator[list[int]]:
    """Group ascending rows into runs that are at most `gap` values apart in the file."""
    run: list[int] = []
    for row in rows:
        if run and starts[row] - stops[run[-1]] > gap:
            yield run
            run = []
        run.append(row)
    if run:
        yield run


class SpikeStore:
    """Spike times and amplitudes of all units of a file, by row of the units table.

    Times of a unit that do not ascend are sorted when they are first read, its amplitudes with them, and a line in
    the log says so. Arrays handed out are read-only: the store keeps them.
    """

    def __init__(self, reader: NwbReader, unit_ids: Integers) -> None:
        self.reader = reader
        self.unit_ids = unit_ids
        self._lock = threading.RLock()
        self._columns: dict[str, RaggedColumn] = {}
        self._kept: dict[str, dict[int, np.ndarray[Any, Any]]] = {"spike_times": {}, "spike_amplitudes": {}}
        self._order: dict[int, Integers | None] = {}  # row -> sorting order of its spikes, None where they ascend
        self._looked = False
        self._spike_file: SpikeFile | None = None
        self._whole: RaggedTimes | None = None  # all kept spike times in one array, where they are not read by blocks
        self._place: dict[int, int] = {}  # row -> its unit in that array

    def column(self, name: str) -> RaggedColumn:
        """Return a ragged column, its offsets read once."""
        with self._lock:
            if name not in self._columns:
                self._columns[name] = RaggedColumn(self.reader, name, len(self.unit_ids))
            return self._columns[name]

    @cached_property
    def span(self) -> tuple[float, float] | None:
        """Times (s) of the first and the last spike of all units, of which those two are read; None without spikes."""
        column = self.column("spike_times")
        rows = np.flatnonzero(column.stops > column.starts)
        if not len(rows):
            return None
        first, last = (
            [float(self.reader.array(column.path, slice(i, i + 1))[0]) for i in places[rows].tolist()]
            for places in (column.starts, column.stops - 1)
        )
        return float(np.nanmin(first)), float(np.nanmax(last))

    def counts(self, rows: Integers) -> Integers:
        """Return how many spikes each row has, without reading any."""
        column = self.column("spike_times")
        return column.stops[rows] - column.starts[rows]

    def get(self, name: str, rows: Sequence[int] | Integers) -> list[np.ndarray[Any, Any]]:
        """Return the spike times or amplitudes of some rows; read on first use, then kept."""
        with self._lock:
            kept = self._kept[name]
            missing = [int(r) for r in rows if int(r) not in kept]
            if missing and name == "spike_amplitudes":
                self._learn_order(missing)
            for row, values in zip(missing, self.column(name).read_many(missing) if missing else (), strict=True):
                kept[row] = self._ascending(name, row, values)
            return [kept[int(r)] for r in rows]

    def once(self, name: str, row: int) -> np.ndarray[Any, Any]:
        """Return the spike times or amplitudes of a row, and keep nothing that was not kept before."""
        with self._lock:
            if row in self._kept[name]:
                found: np.ndarray[Any, Any] = self._kept[name][row]
                return found
            self._by_blocks()  # so that what is seen of a unit's order is noted there, too
            if name == "spike_amplitudes":
                self._learn_order([row])
            return self._ascending(name, row, self.column(name).read(row))

    def _ascending(self, name: str, row: int, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return a row's values in the order of its spike times, read-only."""
        if name == "spike_times" and row not in self._order:
            self._note_order(row, values)
        order = self._order[row]
        if order is not None:
            if len(order) != len(values):
                msg = (
                    f"unit {self.unit_ids[row]} has {len(order):,} spike times and {len(values):,} amplitudes in "
                    f"{self.reader.name}: the file was written wrongly"
                )
                raise FileFormatError(msg)
            values = values[order]
        values.flags.writeable = False
        return values

    def _note_order(self, row: int, times: np.ndarray[Any, Any]) -> None:
        self._order[row] = order_of(times, int(self.unit_ids[row]), self.reader.name)
        if self._order[row] is None and self._spike_file is not None:
            self._spike_file.note(row, times)

    def _learn_order(self, rows: Sequence[int]) -> None:
        """Make sure it is known of each row whether its spikes ascend."""
        unknown = [r for r in rows if r not in self._order]
        if not unknown:
            return
        file = self._by_blocks()
        if file is None:
            self.get("spike_times", unknown)
            return
        for row, is_sorted in zip(unknown, file.scan(unknown).tolist(), strict=True):
            if is_sorted:
                self._order[row] = None
            else:
                self._note_order(row, self.column("spike_times").read(row))

    def ragged(self, rows: Sequence[int] | Integers) -> UnitTimes:
        """Return the spike times of some rows for the alignment kernels, unread where they can be read by blocks."""
        with self._lock:
            rows = [int(r) for r in rows]
            file = self._by_blocks()
            if file is None:
                return self._joined(rows)
            self._learn_order(rows)
            kept = self._kept["spike_times"]
            unsorted = [r for r in rows if self._order[r] is not None]
            if unsorted:
                from .ragged import RaggedTimes

                # Kernels take one flat array: the sorted copies of the few that need it are joined with the others.
                self.get("spike_times", unsorted)
                others = [r for r in rows if r not in kept]
                read = dict(zip(others, self.column("spike_times").read_many(others), strict=True))
                return RaggedTimes.from_arrays([kept[r] if r in kept else read[r] for r in rows])
            from .stored import StoredTimes

            for row in rows:
                if not file.knows(row):  # its spikes were handed out before any were counted
                    file.note(row, kept[row])
            return StoredTimes(file, np.asarray(rows, dtype=np.int64))

    def _joined(self, rows: list[int]) -> RaggedTimes:
        """Return rows that are kept in memory; joined once, what is kept becomes parts of the whole."""
        from .ragged import RaggedTimes

        if not set(rows) <= self._place.keys():
            wanted = sorted({*rows, *self._kept["spike_times"]})
            whole = RaggedTimes.from_arrays(self.get("spike_times", wanted))
            self._whole = whole
            self._place = {row: position for position, row in enumerate(wanted)}
            self._kept["spike_times"] = dict(zip(wanted, whole, strict=True))
        places = [self._place[row] for row in rows]
        if self._whole is None:
            return RaggedTimes.from_arrays([])
        return RaggedTimes(self._whole.values, self._whole.starts[places], self._whole.stops[places])

    def _by_blocks(self) -> SpikeFile | None:
        """Return the spike times as a file to be read by blocks, or None where they cannot be."""
        self.reader.check_open()  # a closed session must not go on reading
        if not self._looked:
            from .stored import SpikeFile

            column = self.column("spike_times")
            self._spike_file = SpikeFile.of(self.reader, column.path, column.starts, column.stops)
            self._looked = True
        return self._spike_file


def ascends(times: np.ndarray[Any, Any]) -> bool:
    """Tell whether no time is below the one before it, and none is NaN.

    NumPy, not the kernels' twin: reading spikes alone must not wait for numba to load.
    """
    return bool(np.all(times[:-1] <= times[1:])) and not (len(times) == 1 and np.isnan(times[0]))


def order_of(times: np.ndarray[Any, Any], unit_id: int, name: str) -> Integers | None:
    """Return the order in which a unit's spike times ascend, None where they do; a line in the log says where not.

    Raises
    ------
    FileFormatError
        If spikes have no time (NaN).
    """
    if ascends(times):
        return None
    lacking = int(np.isnan(times).sum())
    if lacking:
        msg = (
            f"unit {unit_id} has {lacking:,} spikes without a time (NaN) in {name}: "
            "the file was written wrongly or is damaged"
        )
        raise FileFormatError(msg)
    logger.warning("spike times of unit %d are not ascending in %s: sorted", unit_id, name)
    return np.argsort(times, kind="stable")


class UnitMapping(dict[int, Any]):
    """A lazy mapping from unit id to something of that unit, for the units a session shows.

    It is a ``dict`` to whoever asks (``isinstance``), reads what it is asked for, and becomes a plain ``dict`` of all
    it holds where it is copied, pickled or turned into an array: ``np.save(file, session.spike_times)`` and
    ``np.load(file, allow_pickle=True).item()`` give the spikes back. Several ids at once give a plain ``dict`` of
    these units. It cannot be changed; ``dict(mapping)`` can.

    Parameters
    ----------
    store
        The file's spikes.
    unit_ids
        Ids shown, in the order of ``session.units``.
    why_hidden
        Says of a unit of the file why it is not shown.
    """

    _what = "data"

    def __init__(self, store: SpikeStore, unit_ids: Integers, why_hidden: Callable[[int], str]) -> None:
        self._store = store
        self._why_hidden = why_hidden
        row_of = {int(unit): row for row, unit in enumerate(store.unit_ids)}
        self._rows = {int(unit): row_of[int(unit)] for unit in unit_ids}
        # Code in C that takes this for any dict (json's encoder) asks first whether anything is in it.
        super().__init__(dict.fromkeys(self._rows))

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[int]:
        return iter(self._rows)

    def __reversed__(self) -> Iterator[int]:
        return reversed(list(self._rows))

    def __contains__(self, unit_id: object) -> bool:
        return unit_id in self._rows

    def __eq__(self, other: object) -> bool:
        return self is other or self.to_dict() == other

    __hash__ = None

    def __repr__(self) -> str:
        return f"<{self._what} of {len(self)} units, read on demand>"

    def __getitem__(self, unit_id: Any) -> Any:
        if isinstance(unit_id, Iterable) and not isinstance(unit_id, str):
            return self.to_dict(unit_id)
        return self._read([unit_id])[0]

    def _read(self, unit_ids: list[Any]) -> list[Any]:
        """Return what is held of some units, in their order."""
        raise NotImplementedError

    def get(self, unit_id: Any, default: Any = None) -> Any:
        """Return what is held of a unit, or `default` where it is not shown."""
        if unit_id not in self:
            return default
        return self[unit_id]

    def keys(self) -> Any:
        """Return the ids of the units shown."""
        return self._rows.keys()

    def values(self) -> Any:
        """Return what is held of all units, each read when it is reached."""
        return ValuesView(self)

    def items(self) -> Any:
        """Return all pairs of unit id and what is held of it, each read when it is reached."""
        return ItemsView(self)

    def to_dict(self, unit_ids: Iterable[Any] | None = None) -> dict[int, Any]:
        """Return a plain dict of some units (default: all shown), read at once.

        Raises
        ------
        UnknownIdError
            If a unit is hidden by the filter or not in the file.
        """
        wanted = list(self._rows if unit_ids is None else unit_ids)
        return dict(zip((int(unit) for unit in wanted), self._read(wanted), strict=True))

    def each(self, unit_ids: Iterable[Any] | None = None) -> Iterator[Any]:
        """Yield what is held of some units (default: all shown), one after the other, and keep none of it.

        For a pass over a session that is larger than memory; ``items()`` and ``values()`` keep what they read.

        Raises
        ------
        UnknownIdError
            If a unit is hidden by the filter or not in the file.
        """
        for unit in self._rows if unit_ids is None else unit_ids:
            yield self._once(unit, self.row(unit))

    def _once(self, unit_id: Any, row: int) -> Any:
        """Return what is held of one unit, unkept."""
        raise NotImplementedError

    def copy(self) -> dict[int, Any]:
        """Return a plain dict of all units shown."""
        return self.to_dict()

    # --- what a dict does beside being read ----------------------------------------------------------------------

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        """Return an object array without dimensions that holds the dict, as NumPy makes of any dict."""
        if dtype is not None and np.dtype(dtype) != np.dtype(object):
            msg = f"the {self._what} of {len(self)} units are no array of {np.dtype(dtype)}: take those of one unit"
            raise InvalidTypeError(msg)
        held = np.empty((), dtype=object)
        held[()] = self.to_dict()
        return held

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (self.to_dict(),)

    def __or__(self, other: Any) -> Any:
        return self.to_dict() | other

    def __ror__(self, other: Any) -> Any:
        return other | self.to_dict()

    def _unchangeable(self, *_: Any, **__: Any) -> Any:
        msg = f"the {self._what} of a session are read from its file and cannot be changed: change a copy, dict(...)"
        raise InvalidTypeError(msg)

    __setitem__ = __delitem__ = __ior__ = _unchangeable
    setdefault = update = pop = popitem = clear = _unchangeable

    def row(self, unit_id: Any) -> int:
        """Return the row of a shown unit in the file.

        Raises
        ------
        UnknownIdError
            If the unit is hidden by the filter or not in the file.
        """
        try:
            return self._rows[unit_id]
        except (KeyError, TypeError):
            if unit_id in self._store.unit_ids:
                msg = f"unit {unit_id} is in the file but not shown: {self._why_hidden(unit_id)}"
            else:
                number = f": unit ids are numbers, {unit_id}" if _is_shown_as_text(unit_id, self._rows) else ""
                where = f"{self._store.reader.name}{number}"
                msg = f"unit {unit_id!r} is not in {where}; session.units.index lists those shown"
            raise UnknownIdError(msg) from None


def _is_shown_as_text(unit_id: Any, shown: Any) -> bool:
    return isinstance(unit_id, str) and unit_id.strip().isdecimal() and int(unit_id) in shown


class ValuesOfSpikes(UnitMapping):
    """Unit id -> one value of each of its spikes: a read-only array.

    ``mapping[unit]`` reads that unit's slice of the file; iterating over ``items()`` or ``values()`` reads all shown
    units at once. What was read is kept.
    """

    _column = ""

    def _read(self, unit_ids: list[Any]) -> list[Any]:
        return self._store.get(self._column, [self.row(unit) for unit in unit_ids])

    def _once(self, unit_id: Any, row: int) -> Any:
        return self._store.once(self._column, row)

    def values(self) -> Any:
        """Return all arrays, read at once."""
        return self.to_dict().values()

    def items(self) -> Any:
        """Return all pairs of unit id and array, read at once."""
        return self.to_dict().items()

    def counts(self) -> pd.Series[int]:
        """Return the number of spikes of each unit (int64, index: unit_id), without reading a spike."""
        import pandas as pd

        rows = np.fromiter(self._rows.values(), dtype=np.int64, count=len(self))
        index = pd.Index(np.fromiter(self._rows, dtype=np.int64, count=len(self)), name="unit_id")
        return pd.Series(self._store.counts(rows), index=index, name="spike_count")


class SpikeTimes(ValuesOfSpikes):
    """Unit id -> its spike times: float64 seconds on the session clock, ascending, read-only."""

    _what = "spike times"
    _column = "spike_times"

    def ragged(self, unit_ids: Sequence[int] | Integers | None = None) -> UnitTimes:
        """Return spike times of some units (default: all shown) as the alignment kernels take them."""
        return self._store.ragged(list(self._rows.values()) if unit_ids is None else [self.row(u) for u in unit_ids])


class SpikeAmplitudes(ValuesOfSpikes):
    """Unit id -> the amplitude of each of its spikes: float64 volts, in the order of ``spike_times``."""

    _what = "spike amplitudes"
    _column = "spike_amplitudes"


class MeanWaveforms(UnitMapping):
    """Unit id -> mean waveform: DataArray (channel_id, time), microvolts; time in seconds from the window's start.

    Row ``i`` of the file is channel number ``i`` of the unit's probe; rows of channels that ``session.channels`` does
    not hold are left out.
    """

    _what = "mean waveforms"

    def __init__(
        self,
        store: SpikeStore,
        unit_ids: Integers,
        why_hidden: Callable[[int], str],
        channels: pd.DataFrame,
        units: pd.DataFrame,
    ) -> None:
        super().__init__(store, unit_ids, why_hidden)
        self._channels = channels
        probes = zip(units["probe_id"].tolist(), units["probe_sampling_rate"].tolist(), strict=True)
        self._probe_of: dict[int, tuple[int, float]] = dict(zip(units.index.tolist(), probes, strict=True))
        self._kept: dict[int, tuple[np.ndarray[Any, Any], xr.DataArray]] = {}
        self._labels: dict[tuple[Any, ...], tuple[np.ndarray[Any, Any], xr.DataArray]] = {}

    def _read(self, unit_ids: list[Any]) -> list[Any]:
        rows = [self.row(unit) for unit in unit_ids]
        for unit, row in zip(unit_ids, rows, strict=True):
            if unit not in self._kept:
                self._kept[unit] = self._shown(unit, row)
        return [self._labelled(unit, self._kept[unit]) for unit in unit_ids]

    def _once(self, unit_id: Any, row: int) -> Any:
        return self._labelled(unit_id, self._kept.get(unit_id) or self._shown(unit_id, row))

    def _shown(self, unit_id: int, row: int) -> tuple[np.ndarray[Any, Any], xr.DataArray]:
        """Return a unit's waveform on the channels shown, read from the file, and an array with its labels."""
        waveform = self._store.column("waveform_mean").read(row)
        numbers, labels = self._of_probe(*self._probe_of[int(unit_id)], waveform.shape)
        return waveform[numbers], labels

    @staticmethod
    def _labelled(unit_id: int, shown: tuple[np.ndarray[Any, Any], xr.DataArray]) -> xr.DataArray:
        """Return a unit's waveform as an array of the caller's own."""
        waveform, labels = shown
        made = labels.copy(deep=False, data=waveform.copy())
        made.attrs["unit_id"] = int(unit_id)
        return made

    def _of_probe(self, probe: int, rate: float, shape: tuple[int, ...]) -> tuple[np.ndarray[Any, Any], xr.DataArray]:
        """Return which rows of a waveform of some shape are shown, and an array with the labels of those.

        They are the same for all units of a probe, and making them takes longer than reading a waveform.
        """
        if (probe, rate, shape) not in self._labels:
            self._labels[probe, rate, shape] = self._labels_of(probe, rate, shape)
        return self._labels[probe, rate, shape]

    def _labels_of(self, probe: int, rate: float, shape: tuple[int, ...]) -> tuple[np.ndarray[Any, Any], xr.DataArray]:
        import xarray as xr

        channels = self._channels[self._channels["probe_id"] == probe]
        numbers = channels["probe_channel_number"].sort_values(kind="stable")
        numbers = numbers[(numbers >= 0) & (numbers < shape[0])]
        template = xr.DataArray(
            np.zeros((len(numbers), shape[1])),
            dims=("channel_id", "time"),
            coords={
                "channel_id": ("channel_id", numbers.index.to_numpy()),
                "time": ("time", np.arange(shape[1]) / rate, {"units": "s"}),
            },
            name="mean_waveform",
            attrs={"units": "uV"},
        )
        return numbers.to_numpy(), template
