"""What one recorded session consists of, as plain arrays and frames, and the checks it must pass to be written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from allen_ecephys.errors import InvalidContentsError, InvalidTypeError, explains_unknown_names
from allen_ecephys.nwb import layout

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

    Floats = npt.NDArray[np.float64]


@explains_unknown_names
@dataclass(frozen=True)
class SessionMetadata:
    """Who was recorded, when and with which set of stimuli.

    Attributes
    ----------
    session_id
        Id of the session; also the file's identifier.
    session_start_time
        Start of the session, with a time zone: second 0 of every time in the file.
    session_type
        Set of stimuli, such as ``"brain_observatory_1.1"`` or ``"functional_connectivity"``.
    specimen_name, subject_id, age_in_days, full_genotype, sex, strain, species
        The animal. ``sex`` is ``"M"``, ``"F"``, ``"U"`` (it was looked for) or ``"O"``. What is not known is None, and
        absent from the file; if nothing is, the file has no subject.
    file_create_date
        When the file was made (default: now).
    institution
        Where the recording was made.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> SessionMetadata(1, datetime(2024, 5, 1, tzinfo=UTC), sex="F", age_in_days=120.0).session_id
    1
    """

    session_id: int
    session_start_time: datetime
    session_type: str | None = None
    specimen_name: str | None = None
    subject_id: str | None = None
    age_in_days: float | None = None
    full_genotype: str | None = None
    sex: str | None = None
    strain: str | None = None
    species: str | None = None
    file_create_date: datetime | None = None
    institution: str | None = None


@dataclass(frozen=True)
class EyeTracking:
    """Eye tracking of a session; every frame has one row a camera frame, indexed by its time (s).

    Attributes
    ----------
    ellipse_fits
        One frame for each of ``pupil``, ``eye`` and ``corneal_reflection`` with the columns ``center_x``, ``center_y``,
        ``height``, ``width`` (half-axes, pixels) and ``phi`` (rad).
    raw_gaze, filtered_gaze
        Columns ``eye_area``, ``pupil_area``, ``screen_coordinates_x_cm``, ``screen_coordinates_y_cm``,
        ``screen_coordinates_spherical_x_deg``, ``screen_coordinates_spherical_y_deg``.
    """

    ellipse_fits: Mapping[str, pd.DataFrame]
    raw_gaze: pd.DataFrame
    filtered_gaze: pd.DataFrame


@dataclass(frozen=True)
class RigGeometry:
    """Where the monitor, the eye camera and its light are: positions (mm) and rotations (deg), each (x, y, z).

    Examples
    --------
    >>> rig = RigGeometry("NP.1", (118.9, 86.2, 31.6), (102.8, 74.7, 31.6), (246.0, 92.3, 52.6), (0, 0, 0), (0, 0, 2.8))
    >>> rig.monitor_position
    (118.9, 86.2, 31.6)
    """

    equipment: str
    monitor_position: tuple[float, float, float]
    camera_position: tuple[float, float, float]
    led_position: tuple[float, float, float]
    monitor_rotation: tuple[float, float, float]
    camera_rotation: tuple[float, float, float]


@explains_unknown_names
@dataclass(frozen=True)
class SessionContents:
    """Everything a session file holds.

    Frames carry the names of the session's tables (:mod:`allen_ecephys.nwb.layout` lists them with their units; the
    names used inside the file are taken too). Times are seconds on the session clock.

    Attributes
    ----------
    metadata
        Who, when, which stimuli.
    probes
        Index probe id; columns ``description`` (the name, such as ``probeA``), ``sampling_rate``, ``lfp_sampling_rate``
        (Hz) and ``has_lfp_data``.
    channels
        Index channel id; columns ``probe_id``, ``probe_channel_number``, ``probe_vertical_position``,
        ``probe_horizontal_position`` (um), ``valid_data``, ``structure_acronym`` (empty outside the brain) and
        the three CCF coordinates (um, NaN if not registered).
    units
        Index unit id; the columns of :data:`allen_ecephys.nwb.layout.UNIT_COLUMNS`. Columns that are absent are written
        as NaN, save the ids and ``quality``.
    spike_times, spike_amplitudes
        One float64 array a unit, in the order of `units`: times (s, ascending, not negative) and amplitudes (V). Any
        sequence that makes its items when they are asked for will do; only one unit's are held at a time.
    mean_waveforms
        One array (channels of the unit's probe x samples, uV) a unit.
    stimulus_presentations
        One row a presentation: ``start_time``, ``stop_time``, ``stimulus_name``, ``stimulus_block`` and the parameters
        of :data:`allen_ecephys.nwb.layout.STIMULUS_COLUMNS`; a missing value is one that does not apply.
    running_speed
        ``start_time``, ``end_time``, ``velocity`` (cm/s), ``net_rotation`` (rad).
    raw_running
        ``frame_time``, ``net_rotation``, ``signal_voltage``, ``supply_voltage`` (V), one row a frame.
    invalid_times
        ``start_time``, ``stop_time``, ``tags`` (a sequence of strings: type, id, label).
    optogenetic_stimulation_epochs
        ``start_time``, ``stop_time``, ``condition``, ``level``, ``stimulus_name``, ``duration`` (s).
    eye_tracking, rig_geometry
        Eye tracking, and where its parts stand; both may be absent.
    likely_blink
        Whether each frame of the eye camera is likely of a blink, indexed by its time (s).
    """

    metadata: SessionMetadata
    probes: pd.DataFrame
    channels: pd.DataFrame
    units: pd.DataFrame
    spike_times: Sequence[Floats]
    stimulus_presentations: pd.DataFrame
    spike_amplitudes: Sequence[Floats] | None = None
    mean_waveforms: Sequence[Floats] | None = None
    running_speed: pd.DataFrame | None = None
    raw_running: pd.DataFrame | None = None
    invalid_times: pd.DataFrame | None = None
    optogenetic_stimulation_epochs: pd.DataFrame | None = None
    eye_tracking: EyeTracking | None = None
    rig_geometry: RigGeometry | None = None
    likely_blink: pd.Series[bool] | None = None


def column_of(frame: pd.DataFrame, column: layout.Column) -> Any:
    """Return a column of a frame by its name in the session's tables or in the file, or None."""
    for name in (column.shown_as, column.name):
        if name in frame.columns:
            return frame[name]
    return None


def check_start_time(start: object) -> None:
    """Raise unless the start of a session is a time with its time zone.

    Raises
    ------
    InvalidTypeError
        If it is no datetime.
    InvalidContentsError
        If it has no time zone.
    """
    given = "give one with its time zone, for example datetime(2019, 1, 19, 8, 54, tzinfo=timezone.utc)"
    if not isinstance(start, datetime):
        msg = f"session_start_time is {start!r:.80}, not a datetime; {given}"
        raise InvalidTypeError(msg)
    if start.tzinfo is None:
        msg = f"session_start_time has no time zone; {given}"
        raise InvalidContentsError(msg)


def check_contents(contents: SessionContents) -> None:
    """Check everything that can be checked without reading the spikes.

    Raises
    ------
    InvalidContentsError
        If tables lack columns, ids repeat, refer to nothing, lengths disagree, or intervals end before they start.
    """
    check_start_time(contents.metadata.session_start_time)
    for field in fields(contents.metadata):
        _writable_texts(f"the metadata's {field.name}", [getattr(contents.metadata, field.name)])
    _require("probes", contents.probes, ("description", "sampling_rate", "lfp_sampling_rate", "has_lfp_data"))
    _require("channels", contents.channels, ("probe_id", "probe_vertical_position", "probe_horizontal_position"))
    _require("units", contents.units, ("peak_channel_id", "quality"))
    for name in ("probes", "channels", "units"):
        _unique_ids(name, getattr(contents, name))
    _refer("channels", "probe_id", contents.channels, contents.probes.index)
    _refer("units", "peak_channel_id", contents.units, contents.channels.index)
    for name in ("spike_times", "spike_amplitudes", "mean_waveforms"):
        column = getattr(contents, name)
        if column is not None and len(column) != len(contents.units):
            msg = f"{name} has {len(column):,} entries for {len(contents.units):,} units; give one array a unit"
            raise InvalidContentsError(msg)
    _require("stimulus_presentations", contents.stimulus_presentations, (*layout.TIME_COLUMNS, "stimulus_name"))
    for name in ("stimulus_presentations", "invalid_times", "optogenetic_stimulation_epochs"):
        if getattr(contents, name) is not None:
            _intervals(name, getattr(contents, name))
    for name in ("probes", "channels", "units", "stimulus_presentations"):
        table: pd.DataFrame = getattr(contents, name)
        for column in table.columns[[dtype.kind not in "biufcmM" for dtype in table.dtypes]]:
            _writable_texts(f"{name}: {column}", table[column].unique() if table[column].map(_is_text).all() else [])


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _writable_texts(where: str, values: Iterable[object]) -> None:
    """Refuse texts that no HDF5 file holds: with a NUL, or with bytes that were no text where they were read."""
    for value in values:
        if isinstance(value, str) and ("\0" in value or (not value.isascii() and _lone_surrogates(value))):
            msg = f"{where} is {value!r:.100}, which holds characters that no file can: write it without them"
            raise InvalidContentsError(msg)


def _lone_surrogates(value: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in value)


def check_spikes(unit_id: int, times: Floats) -> None:
    """Check one unit's spike times: one-dimensional, finite, ascending, not negative.

    Raises
    ------
    InvalidContentsError
        Naming the unit and the first offending spike.
    """
    if times.ndim != 1:
        msg = f"spike times of unit {unit_id} have {times.ndim} dimensions; give a one-dimensional array of seconds"
        raise InvalidContentsError(msg)
    if not len(times):
        return
    # NaN compares false with everything, so one pass over the differences finds it as well as disorder.
    ordered = times[1:] >= times[:-1]
    if not ordered.all() or not np.isfinite(times[[0, -1]]).all():
        finite = np.isfinite(times)
        if not finite.all():
            where = int(np.argmin(finite))
            problem = f"are not finite (spike {where} is {times[where]})"
        else:
            where = int(np.argmin(ordered))
            problem = f"are not ascending ({times[where]} s is followed by {times[where + 1]} s, at spike {where})"
        msg = f"spike times of unit {unit_id} {problem}; drop such spikes and sort before writing"
        raise InvalidContentsError(msg)
    if times[0] < 0:
        msg = (
            f"spike times of unit {unit_id} begin at {times[0]} s, before the session does; "
            "drop spikes from before the recording is synchronized"
        )
        raise InvalidContentsError(msg)


def _require(table: str, frame: pd.DataFrame, columns: Sequence[str]) -> None:
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        msg = f"{table} lacks the column(s) {', '.join(missing)}; it has {', '.join(map(str, frame.columns))}"
        raise InvalidContentsError(msg)


def _unique_ids(table: str, frame: pd.DataFrame) -> None:
    import pandas as pd

    if not pd.api.types.is_integer_dtype(frame.index.dtype):
        msg = f"{table} must be indexed by integer ids, not {frame.index.dtype}; call set_index on the id column"
        raise InvalidContentsError(msg)
    if not frame.index.is_unique:
        repeated = frame.index[frame.index.duplicated()].unique().tolist()
        msg = f"{table} has repeated ids: {repeated[:5]}{' ...' if len(repeated) > 5 else ''}; every id must be unique"
        raise InvalidContentsError(msg)


def _refer(table: str, column: str, frame: pd.DataFrame, known: pd.Index[Any]) -> None:
    unknown = frame.loc[~frame[column].isin(known), column]
    if len(unknown):
        msg = (
            f"{table}: {len(unknown):,} row(s) have a {column} that is in no table, "
            f"for example {unknown.iloc[0]} of {table} {unknown.index[0]}"
        )
        raise InvalidContentsError(msg)


def _intervals(table: str, frame: pd.DataFrame) -> None:
    _require(table, frame, layout.TIME_COLUMNS)
    start, stop = (frame[name].to_numpy(np.float64) for name in layout.TIME_COLUMNS)
    if bad := (~(np.isfinite(start) & np.isfinite(stop))).sum():
        msg = f"{table}: {bad:,} row(s) have a start or stop time that is not finite; drop them"
        raise InvalidContentsError(msg)
    backwards = np.flatnonzero(stop < start)
    if len(backwards):
        row = int(backwards[0])
        msg = f"{table}: row {row} stops ({stop[row]} s) before it starts ({start[row]} s)"
        raise InvalidContentsError(msg)
