"""Session files: one recorded session, in the layout of the release and in current NWB.

The tables are written with pynwb. The three ragged columns of the units, which are nearly all of a file, are then laid
out at their full size and filled unit by unit with h5py, so that memory stays bounded by the largest unit; they are
contiguous and uncompressed, as in the release. Nothing appears under the file's name until it is complete.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from allen_ecephys.errors import InvalidContentsError
from allen_ecephys.nwb import layout
from allen_ecephys.progress import progress_bar

from .contents import EyeTracking, RigGeometry, SessionContents, SessionMetadata, check_contents, check_spikes
from .files import add_probes, name_objects, new_file, published, write_with_pynwb
from .lfp import CurrentSourceDensity, LfpContents, write_lfp_nwb

if TYPE_CHECKING:
    import h5py
    import pandas as pd

__all__ = [
    "CurrentSourceDensity",
    "EyeTracking",
    "LfpContents",
    "RigGeometry",
    "SessionContents",
    "SessionMetadata",
    "write_lfp_nwb",
    "write_session_nwb",
]

#: Room that the tables, specifications and HDF5's own structures take at most, next to the ragged columns (bytes).
_TABLES_AT_MOST = 300_000_000


def write_session_nwb(path: str | os.PathLike[str], contents: SessionContents, *, overwrite: bool = False) -> Path:
    """Write one session as an NWB file laid out as the released ones.

    Parameters
    ----------
    path
        File to write (``.nwb``). It appears, complete, when this function returns, and not before.
    contents
        The session; see :class:`SessionContents` for shapes, dtypes and units.
    overwrite
        Whether an existing file may be replaced.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InvalidContentsError
        If tables and arrays contradict each other, or spike times are unsorted, negative or not finite.
    FileExistsError
        If the file exists and `overwrite` is False.
    DiskFullError
        If the disk has no room for the file.

    Notes
    -----
    All units are written, whatever their quality; filtering is for reading. Presentations are written in the order of
    their start times. Two calls with equal contents, `file_create_date` included, give equal object ids.
    """
    check_contents(contents)
    counts = np.array([len(times) for times in contents.spike_times], dtype=np.int64)
    with published(path, overwrite=overwrite, needs=_bytes_needed(contents, counts)) as part:
        nwbfile = _skeleton(contents, counts)
        write_with_pynwb(nwbfile, part)
        import h5py

        with h5py.File(part, "r+") as file:
            _fill_ragged(file[layout.UNITS], contents, counts)
            name_objects(file)
    return Path(path)


def _skeleton(contents: SessionContents, counts: Any) -> Any:
    """Return the file with every table, its ragged columns still without their rows."""
    nwbfile = new_file(contents.metadata, str(contents.metadata.session_id), layout.SESSION_DESCRIPTION)
    add_probes(nwbfile, contents.probes, contents.channels)
    _add_units(nwbfile, contents, counts)
    _add_stimuli(nwbfile, contents)
    if contents.running_speed is not None:
        _add_running(nwbfile, contents.running_speed)
    if contents.raw_running is not None:
        _add_raw_running(nwbfile, contents.raw_running)
    if contents.optogenetic_stimulation_epochs is not None and len(contents.optogenetic_stimulation_epochs):
        _add_optotagging(nwbfile, contents.optogenetic_stimulation_epochs)
    if contents.rig_geometry is not None:
        _add_rig(nwbfile, contents.rig_geometry)
    if contents.eye_tracking is not None:
        _add_eye_tracking(nwbfile, contents.eye_tracking, contents.likely_blink)
    return nwbfile


def _ragged_shapes(contents: SessionContents, counts: Any) -> dict[str, tuple[tuple[int, ...], Any]]:
    """Return the flat shape and the row ends of every ragged column that is present."""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    shapes: dict[str, tuple[tuple[int, ...], Any]] = {"spike_times": ((total,), ends)}
    if contents.spike_amplitudes is not None:
        shapes["spike_amplitudes"] = ((total,), ends)
    if contents.mean_waveforms is not None and len(contents.mean_waveforms):
        probe_of = contents.channels["probe_id"]
        per_probe = probe_of.value_counts()
        rows = np.cumsum(per_probe.loc[probe_of.loc[contents.units["peak_channel_id"]]].to_numpy(np.int64))
        shapes["waveform_mean"] = ((int(rows[-1]), np.asarray(contents.mean_waveforms[0]).shape[-1]), rows)
    return shapes


def _bytes_needed(contents: SessionContents, counts: Any) -> int:
    shapes = _ragged_shapes(contents, counts)
    ragged = sum(8 * int(np.prod(shape)) for shape, _ in shapes.values())
    rows = len(contents.stimulus_presentations) + len(contents.channels)
    return ragged + min(_TABLES_AT_MOST, 2_000_000 + 2_000 * rows)


def _add_units(nwbfile: Any, contents: SessionContents, counts: Any) -> None:
    from pynwb.misc import Units

    from .tables import column, ragged_column, unit_columns

    columns = unit_columns(contents.units)
    names = [c.name for c in columns]
    for name, (shape, ends) in _ragged_shapes(contents, counts).items():
        # One value stands for all of them until the file is laid out; hdmf would fit the index to its length.
        stand_in = column(name, np.zeros((1, *shape[1:])), layout.RAGGED_UNIT_COLUMNS[name][1])
        columns += ragged_column(stand_in, np.ones(len(ends), np.int64))
        names.append(name)
    nwbfile.units = Units(
        name="units",
        description="all units of all probes, noise included",
        columns=columns,
        colnames=names,
        id=contents.units.index.to_numpy(np.int64),
    )


def _lay_out(table: h5py.Group, name: str, shape: tuple[int, ...], ends: Any) -> None:
    """Give a ragged column its full size (contiguous, uncompressed), and its index the ends of its rows."""
    # Indices as narrow as they can be, as hdmf writes them: SpikeInterface cannot slice by those of 64 bits.
    width = np.dtype(np.uint64 if shape[0] >= 2**32 else np.uint32)
    column = _replaced(table, name, shape, np.dtype(np.float64))
    index = _replaced(table, f"{name}_index", np.shape(ends), width)
    index[()] = ends
    index.attrs["target"] = column.ref


def _replaced(table: h5py.Group, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> h5py.Dataset:
    attributes = dict(table[name].attrs)
    del table[name]
    dataset = table.create_dataset(name, shape, dtype)
    dataset.attrs.update(attributes)
    return dataset


def _fill_ragged(table: h5py.Group, contents: SessionContents, counts: Any) -> None:
    """Write spikes, amplitudes and waveforms one unit at a time."""
    shapes = _ragged_shapes(contents, counts)
    for name, (shape, ends) in shapes.items():
        _lay_out(table, name, shape, ends)
    units = progress_bar(contents.units.index, desc="Writing units", unit="unit")
    for row, unit_id in enumerate(units):
        times = np.asarray(contents.spike_times[row], dtype=np.float64)
        check_spikes(int(unit_id), times)
        for name, (shape, ends) in shapes.items():
            start, stop = (int(ends[row - 1]) if row else 0), int(ends[row])
            values = times if name == "spike_times" else _ragged_row(contents, name, row)
            if values.shape != (stop - start, *shape[1:]):
                msg = (
                    f"{name} of unit {unit_id} has shape {values.shape}, not {(stop - start, *shape[1:])} "
                    f"({'channels of its probe x samples' if name == 'waveform_mean' else 'one value a spike'})"
                )
                raise InvalidContentsError(msg)
            table[name][start:stop] = values


def _ragged_row(contents: SessionContents, name: str, row: int) -> Any:
    source = contents.spike_amplitudes if name == "spike_amplitudes" else contents.mean_waveforms
    # Only columns that are present have a shape, so the source is there.
    return np.asarray(source[row], dtype=np.float64) if source is not None else np.empty(0)


def _add_stimuli(nwbfile: Any, contents: SessionContents) -> None:
    from .tables import interval_table, presentation_tables, time_series

    presentations = contents.stimulus_presentations.sort_values("start_time", kind="stable")
    starts = presentations["start_time"].to_numpy(np.float64)
    series = time_series("timestamps", starts, starts, "s", "start of every presentation, all stimuli in order")
    nwbfile.create_processing_module("stimulus", "times of the stimuli").add(series)
    for table in presentation_tables(presentations, series):
        nwbfile.add_time_intervals(table)
    invalid = contents.invalid_times
    if invalid is not None and len(invalid):
        description = "intervals in which a probe, a stimulus or the whole session must not be used"
        table = interval_table("invalid_times", description, invalid, [], invalid["tags"])
        nwbfile.invalid_times = table


def _add_running(nwbfile: Any, running: pd.DataFrame) -> None:
    from .tables import time_series

    module = nwbfile.create_processing_module("running", "running speed data")
    start, end, velocity = (running[name].to_numpy(np.float64) for name in ("start_time", "end_time", "velocity"))
    speed = time_series("running_speed", velocity, start, "cm/s", "running speed; timestamps are the bins' starts")
    module.add(speed)
    nothing = np.full(len(end), np.nan)
    meaning = "no data; timestamps are the ends of the bins of running_speed"
    module.add(time_series("running_speed_end_times", nothing, end, "cm/s", meaning))
    if "net_rotation" in running.columns:
        rotation = running["net_rotation"].to_numpy(np.float64)
        module.add(time_series("running_wheel_rotation", rotation, speed, "radians", "rotation in each bin"))


def _add_raw_running(nwbfile: Any, raw: pd.DataFrame) -> None:
    from .tables import time_series

    times = raw["frame_time"].to_numpy(np.float64)
    rotation = time_series(
        "raw_running_wheel_rotation", raw["net_rotation"].to_numpy(np.float64), times, "radians", "unprocessed rotation"
    )
    nwbfile.add_acquisition(rotation)
    for name, key in (("signal", "signal_voltage"), ("supply", "supply_voltage")):
        data = raw[key].to_numpy(np.float64)
        series = time_series(f"running_wheel_{name}_voltage", data, rotation, "V", f"{name} of the wheel's encoder")
        nwbfile.add_acquisition(series)


def _add_optotagging(nwbfile: Any, epochs: pd.DataFrame) -> None:
    from .tables import column, interval_table, time_series, typed

    module = nwbfile.create_processing_module("optotagging", "optogenetic stimulation")
    starts = epochs["start_time"].to_numpy(np.float64)
    durations = epochs["duration"].to_numpy(np.float64)
    series = time_series("optotagging", durations, starts, "seconds", "duration of every light pulse, at its start")
    module.add(series)
    parameters = [
        column(held.name, typed(epochs[held.name], held.dtype), held.meaning)
        for held in layout.OPTOTAGGING_COLUMNS
        if held.name not in layout.TIME_COLUMNS
    ]
    tags = [(layout.OPTOTAGGING_TAG,)] * len(epochs)
    name = layout.OPTOTAGGING.rsplit("/", 1)[1]
    times = (series, np.arange(len(epochs)))
    module.add(interval_table(name, "light pulses for optotagging", epochs, parameters, tags, times))


def _add_rig(nwbfile: Any, rig: RigGeometry) -> None:
    from .extension import extension_class

    kind = extension_class("EcephysEyeTrackingRigMetadata")
    vectors = {name: np.array(getattr(rig, name), dtype=np.float64) for name in layout.RIG_VECTORS}
    units = {f"{name}__unit": unit for name, (unit, _) in layout.RIG_VECTORS.items()}
    _, group, name = layout.RIG_GEOMETRY.split("/")
    module = nwbfile.create_processing_module(group, "Eye tracking rig metadata module")
    module.add(kind(name=name, equipment=rig.equipment, **vectors, **units))


def _add_eye_tracking(nwbfile: Any, eye: EyeTracking, likely_blink: pd.Series[bool] | None) -> None:
    from .tables import ellipse_table, time_series

    fits = nwbfile.create_processing_module(layout.EYE_TRACKING.rpartition("/")[2], "Eye tracking processing module")
    for part, name in layout.ELLIPSE_FITS.items():
        fits.add(ellipse_table(name, eye.ellipse_fits[part]))
    if likely_blink is not None:
        times, blinks = likely_blink.index.to_numpy(np.float64), likely_blink.to_numpy(np.bool_)
        fits.add(time_series("likely_blink", blinks, times, "n.a.", "whether the frame is likely of a blink"))
    for path, gaze in ((layout.RAW_GAZE, eye.raw_gaze), (layout.FILTERED_GAZE, eye.filtered_gaze)):
        module = nwbfile.create_processing_module(
            path.rpartition("/")[2], "where the animal looks, mapped to the screen"
        )
        times = gaze.index.to_numpy(np.float64)
        for name, (unit, columns) in layout.GAZE_SERIES.items():
            data = np.column_stack([gaze[key].to_numpy(np.float64) for key in columns])
            values = data[:, 0] if len(columns) == 1 else data
            module.add(time_series(name, values, times, unit, "in the order y, x" if len(columns) > 1 else "area"))
