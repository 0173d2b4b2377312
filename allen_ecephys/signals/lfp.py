"""The local field potential and the current source density of a probe, read lazily.

Imported on first use: it brings in xarray.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core.indexing import (
    CopyOnWriteArray,
    ExplicitIndexer,
    IndexingSupport,
    LazilyIndexedArray,
    explicit_indexing_adapter,
)

from ..errors import FileFormatError, MissingDataError, MissingFileError, UnknownIdError
from ..nwb import layout
from ..nwb.chunks import SampleTable
from ..nwb.columns import floats, numbers, whole_numbers
from ..nwb.reader import NwbReader
from ..nwb.sources import ZARR_SUFFIX, sample_table
from ..nwb.timestamps import Timestamps
from .time_index import Key, TimestampIndex

if TYPE_CHECKING:
    import pandas as pd

    from ..nwb.opening import BinaryFile

#: What a user must know before reading numbers off a CSD.
CSD_NOTE = (
    "uncalibrated: the file says V/cm^2, but released values are unscaled ADC units per mm^2 or so; "
    "compare depths and times, not magnitudes"
)


class LfpSamples(BackendArray):
    """A probe's LFP (samples x channels) as xarray reads lazily: only the chunks a selection touches.

    Parameters
    ----------
    table
        The samples as stored.
    times
        Their timestamps.
    scale
        Volts per stored number for each channel, or None where the file stores volts.
    offset
        Added after scaling (V).
    invalid
        Closed intervals (s) whose samples are NaN.
    """

    def __init__(
        self,
        table: SampleTable,
        times: Timestamps,
        scale: np.ndarray | None,
        offset: float,
        invalid: Sequence[tuple[float, float]],
    ) -> None:
        self.table = table
        self.times = times
        self.scale = scale
        self.offset = offset
        self.invalid = tuple(invalid)
        self.shape = table.shape
        self.dtype = np.dtype(np.float32)

    def __getitem__(self, key: ExplicitIndexer) -> Any:
        return explicit_indexing_adapter(key, self.shape, IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Key, ...]) -> Any:
        rows, columns = (_positions(k, size) for k, size in zip(key, self.shape, strict=True))
        volts = self.read(rows, columns)
        squeezed = tuple(0 if isinstance(k, (int, np.integer)) else slice(None) for k in key)
        return volts[squeezed]

    def read(self, rows: slice | np.ndarray, columns: slice | np.ndarray) -> np.ndarray:
        """Return volts (float32) at `rows` x `columns` (slices of step 1, or indices), NaN in invalid intervals."""
        stored = self.table.read(rows, columns)
        volts = stored.astype(np.float32, copy=False)
        if self.scale is not None:
            volts = (stored * self.scale[columns] + self.offset).astype(np.float32)
        for first, last in self._invalid_samples(rows):
            if isinstance(rows, slice):
                volts[max(first - rows.start, 0) : max(last - rows.start, 0)] = np.nan
            else:
                volts[(rows >= first) & (rows < last)] = np.nan
        return volts

    def _invalid_samples(self, rows: slice | np.ndarray) -> list[tuple[int, int]]:
        """Return the sample ranges of the invalid intervals that touch `rows`."""
        if not self.invalid or (len(rows) if isinstance(rows, np.ndarray) else rows.stop - rows.start) == 0:
            return []
        ends = np.array([rows.start, rows.stop - 1] if isinstance(rows, slice) else [rows.min(), rows.max()])
        begin, end = self.times.take(ends)
        touching = np.array([(a, b) for a, b in self.invalid if a <= end and b >= begin]).reshape(-1, 2)
        first, last = self.times.search(touching[:, 0], "left"), self.times.search(touching[:, 1], "right")
        return list(zip(first.tolist(), last.tolist(), strict=True))


def read_samples(
    reader: NwbReader, probe_id: int, invalid: Sequence[tuple[float, float]] = ()
) -> tuple[LfpSamples, np.ndarray]:
    """Return the LFP in a probe's file, unread, and the channel id of each column.

    Parameters
    ----------
    reader
        The LFP file.
    probe_id
        The probe.
    invalid
        Closed intervals (s) whose samples become NaN when they are read.

    Raises
    ------
    MissingDataError
        If the file does not hold this probe's LFP.
    FileFormatError
        If samples, timestamps and electrodes do not fit together.
    """
    series = next((place for place in layout.places_of_lfp(probe_id) if reader.has(f"{place}/data")), None)
    if series is None:
        held = [name for name in reader.children("acquisition") if name.endswith("_lfp_data")]
        msg = f"{reader.name} holds no LFP of probe {probe_id} (it holds: {', '.join(held) or 'no LFP at all'})"
        raise MissingDataError(msg)
    table = sample_table(reader, f"{series}/data")
    times = Timestamps(reader, f"{series}/timestamps")
    channels = _channel_ids(reader, series)
    if table.shape != (len(times), len(channels)):
        msg = (
            f"LFP of probe {probe_id} in {reader.name} has {table.shape[0]:,} samples x {table.shape[1]} channels, but "
            f"{len(times):,} timestamps and {len(channels)} electrodes"
        )
        raise FileFormatError(msg)
    scale, offset = _calibration(reader, series, table.shape[1])
    return LfpSamples(table, times, scale, offset, invalid), channels


def open_lfp(reader: NwbReader, probe_id: int, invalid: Sequence[tuple[float, float]] = ()) -> xr.DataArray:
    """Return the LFP in a probe's file as a lazily read array; parameters and errors of :func:`read_samples`.

    Returns
    -------
    DataArray
        ``LFP`` (V, float32), dims ``time`` (s, session clock, the file's own timestamps) x ``channel`` (channel ids).
    """
    samples, channels = read_samples(reader, probe_id, invalid)
    index = TimestampIndex(samples.times, "time")
    coords = xr.Coordinates(
        {"time": index.variable(), "channel": ("channel", channels, {"long_name": "channel id"})}, {"time": index}
    )
    lazy: Any = LazilyIndexedArray(samples)
    variable = xr.Variable(
        ("time", "channel"),
        CopyOnWriteArray(lazy),
        {"units": "V", "long_name": "local field potential", "probe_id": int(probe_id)},
    )
    # Assigned again, as xr.Coordinates makes no index where it is given one for another dimension.
    return xr.DataArray(variable, coords=coords, name="LFP").assign_coords(channel=coords["channel"])


def _channel_ids(reader: NwbReader, series: str) -> np.ndarray:
    """Return the channel id of each column: the series points at rows of the electrodes table."""
    ids = whole_numbers(reader, f"{layout.ELECTRODES}/id")
    if not reader.has(f"{series}/electrodes"):
        return ids
    rows = whole_numbers(reader, f"{series}/electrodes")
    if len(rows) and (rows.min() < 0 or rows.max() >= len(ids)):
        msg = f"{series}/electrodes of {reader.name} points at row {rows.max()} of {len(ids)} electrodes"
        raise FileFormatError(msg)
    return np.asarray(ids[rows])


def columns_of(channel_ids: Sequence[int] | None, channels: np.ndarray, probe_id: int) -> np.ndarray:
    """Return the columns of channels of a probe's LFP, in the order asked for.

    Raises
    ------
    UnknownIdError
        For a channel whose LFP was not kept.
    """
    if channel_ids is None:
        return np.arange(len(channels))
    wanted = np.atleast_1d(np.asarray(channel_ids, dtype=np.int64))
    column_of = {int(channel): column for column, channel in enumerate(channels)}
    unknown = [int(channel) for channel in wanted if int(channel) not in column_of]
    if unknown:
        nearest = int(channels[np.argmin(np.abs(channels - unknown[0]))]) if len(channels) else None
        msg = (
            f"channel {unknown[0]} is not in the LFP of probe {probe_id}, which keeps {len(channels)} channels (about "
            f"every fourth); the nearest id is {nearest}"
        )
        raise UnknownIdError(msg)
    return np.array([column_of[int(channel)] for channel in wanted], dtype=np.int64)


def _calibration(reader: NwbReader, series: str, channels: int) -> tuple[np.ndarray | None, float]:
    """Return the volts per stored number of each channel (None: stored as volts) and the offset (V)."""
    conversion = reader.number(f"{series}/data", "conversion", 1.0)
    offset = reader.number(f"{series}/data", "offset", 0.0)
    scale = np.full(channels, conversion)
    if reader.has(f"{series}/channel_conversion"):
        each = floats(reader, f"{series}/channel_conversion")
        if len(each) != channels:
            msg = f"{series}/channel_conversion of {reader.name} has {len(each)} values for {channels} channels"
            raise FileFormatError(msg)
        scale = scale * each
    return (None if np.all(scale == 1.0) and offset == 0.0 else scale), offset


def _positions(key: Key, size: int) -> slice | np.ndarray:
    """Return an xarray key as a slice of step 1 or as indices."""
    if isinstance(key, slice):
        start, stop, step = key.indices(size)
        return slice(start, max(start, stop)) if step == 1 else np.arange(start, stop, step)
    if isinstance(key, np.ndarray):
        return np.where(key < 0, key + size, key).astype(np.int64)
    return slice(int(key), int(key) + 1)


def read_current_source_density(reader: NwbReader, probe_id: int) -> xr.DataArray:
    """Return the flash-triggered current source density in a probe's LFP file.

    Returns
    -------
    DataArray
        ``CSD`` (float64, uncalibrated), dims ``virtual_channel_index`` x ``time`` (s after flash onset), coordinates
        ``vertical_position`` and ``horizontal_position`` (um) of each virtual channel.

    Raises
    ------
    MissingDataError
        If the file holds none.
    FileFormatError
        If its shape fits neither its times nor its positions.
    """
    held = [place for place in layout.places_of_csd(probe_id) if reader.has(f"{place}/current_source_density/data")]
    if not held:
        msg = f"{reader.name} holds no current source density of probe {probe_id}"
        raise MissingDataError(msg)
    series = f"{held[0]}/current_source_density"
    density = numbers(reader, f"{series}/data", dimensions=2).T
    times = numbers(reader, f"{series}/timestamps")
    vertical = numbers(reader, f"{held[0]}/virtual_electrode_y_positions")
    horizontal = numbers(reader, f"{held[0]}/virtual_electrode_x_positions")
    if density.shape != (len(vertical), len(times)) or len(horizontal) != len(vertical):
        msg = (
            f"current source density in {reader.name} has shape {density.shape[::-1]}, but {len(times)} times, "
            f"{len(vertical)} vertical and {len(horizontal)} horizontal positions"
        )
        raise FileFormatError(msg)
    channel = "virtual_channel_index"
    return xr.DataArray(
        density,
        dims=(channel, "time"),
        coords={
            channel: np.arange(len(vertical)),
            "time": ("time", times, {"units": "s", "long_name": "time after flash onset"}),
            "vertical_position": (channel, vertical, {"units": "um"}),
            "horizontal_position": (channel, horizontal, {"units": "um"}),
        },
        name="CSD",
        attrs={"units": CSD_NOTE, "long_name": "current source density", "probe_id": int(probe_id)},
    )


# --- where a probe's file is --------------------------------------------------------------------------------------


def locate_lfp(
    probe_id: int, probes: pd.DataFrame, source: object, lfp_path: Callable[[int], str | BinaryFile] | None = None
) -> str | BinaryFile:
    """Return the path or URL of a probe's LFP file, or the open file.

    Parameters
    ----------
    probe_id
        The probe.
    probes
        The session's probes (index: id; ``description``, ``has_lfp_data``).
    source
        Where the session's own file lies: a path, a URL or an open file.
    lfp_path
        Asked for the file where given (a project cache fetches or streams it); else it is looked for beside the
        session's.

    Raises
    ------
    UnknownIdError
        If the session has no such probe.
    MissingDataError
        If no LFP was published for it.
    MissingFileError
        If the file is not there.
    """
    names = {int(i): f"{i} ({name})" for i, name in probes["description"].items()}  # type: ignore[call-overload]
    if probe_id not in names:
        msg = f"this session has no probe {probe_id!r}; its probes are {', '.join(names.values())}"
        raise UnknownIdError(msg)
    having = probes.index[probes["has_lfp_data"].to_numpy(dtype=bool)] if "has_lfp_data" in probes else probes.index
    if probe_id not in having:
        others = ", ".join(names[int(i)] for i in having) or "none"
        msg = f"no LFP was published for probe {names[probe_id]}; probes of this session with LFP: {others}"
        raise MissingDataError(msg)
    if lfp_path is not None:
        found = lfp_path(int(probe_id))
        return os.fspath(found) if isinstance(found, (str, os.PathLike)) else found
    return _beside(probe_id, names[probe_id], source)


def _beside(probe_id: int, name: str, source: object) -> str:
    file = f"probe_{probe_id}_lfp.nwb"
    how = (
        f"A project cache fetches it: cache.get_session_data(session_id).get_lfp({probe_id}). A file elsewhere is "
        "named by EcephysSession(path, companions=SessionCompanions(lfp_path=...))"
    )
    if not isinstance(source, (str, os.PathLike)):
        msg = f"the session was opened from an open file, so the LFP file of probe {name} has no known place. {how}"
        raise MissingFileError(msg)
    store = f"{file}{ZARR_SUFFIX}"
    if "://" in str(source):
        return f"{str(source).rpartition('/')[0]}/{store if str(source).endswith(ZARR_SUFFIX) else file}"
    folder = Path(source).parent
    # The second name is that of the DANDI archive.
    for path in (folder / file, *sorted(folder.glob(f"*_probe-{probe_id}_ecephys.nwb"))):
        if path.is_file():
            return str(path)
    if (folder / store).is_dir():
        return str(folder / store)
    msg = f"the LFP file of probe {name} is not beside the session file: {folder / file} does not exist. {how}"
    raise MissingFileError(msg)


def invalid_intervals(invalid_times: pd.DataFrame, probe_name: str) -> list[tuple[float, float]]:
    """Return the closed intervals (s) in which a probe's LFP is invalid: tagged ``all_probes`` or with its name."""
    if len(invalid_times) == 0:
        return []
    wanted = {"all_probes", probe_name}
    tagged = [
        bool(wanted & ({tags} if isinstance(tags, str) else set(tags))) for tags in invalid_times["tags"].tolist()
    ]
    rows = invalid_times.loc[tagged, ["start_time", "stop_time"]].to_numpy(dtype=np.float64)
    return [(float(start), float(stop)) for start, stop in rows]
