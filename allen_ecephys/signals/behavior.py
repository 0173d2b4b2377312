"""What the mouse did and what was done to it: running, pupil, gaze, optogenetic stimulation, and the rig's geometry.

Each function reads its part of a session file at once (a few MB) and returns a table of its own. A part that the file
does not have is a :class:`MissingDataError` that says so, never an empty answer that could be mistaken for data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import FileFormatError, MissingDataError
from ..nwb import layout
from ..nwb.columns import numbers, read_table, typed

if TYPE_CHECKING:
    import pandas as pd

    from ..nwb.reader import NwbReader

#: Name of the index of the eye tracking tables.
EYE_TIME = "Time (s)"


# --- running ------------------------------------------------------------------------------------------------------


def has_running(reader: NwbReader) -> bool:
    """Tell whether the file holds a running speed."""
    return reader.has(f"{layout.RUNNING_SPEED}/data")


def read_running_speed(reader: NwbReader, include_rotation: bool = False) -> pd.DataFrame:
    """Return the running speed.

    Parameters
    ----------
    reader
        The session file.
    include_rotation
        Add ``net_rotation``, the turn of the wheel in each interval (radians as the file says).

    Returns
    -------
    DataFrame
        One row a sample: ``start_time``, ``end_time`` (s) of the interval and ``velocity`` in it (cm/s, forward is
        positive).

    Raises
    ------
    MissingDataError
        If the file has no running data.
    """
    import pandas as pd

    _require(reader, f"{layout.RUNNING_SPEED}/data", "running speed", "session.has_running_speed tells beforehand")
    columns = {
        "start_time": f"{layout.RUNNING_SPEED}/timestamps",
        "end_time": f"{layout.RUNNING_SPEED_END_TIMES}/timestamps",
        "velocity": f"{layout.RUNNING_SPEED}/data",
    }
    if include_rotation:
        columns["net_rotation"] = f"{layout.RUNNING_ROTATION}/data"
    return pd.DataFrame(_equally_long(reader, columns))


def read_raw_running_data(reader: NwbReader) -> pd.DataFrame:
    """Return what the running wheel's encoder measured at each stimulus frame.

    Returns
    -------
    DataFrame
        ``frame_time`` (s), ``net_rotation`` (turn since the frame before; the file says radians), ``signal_voltage``
        and ``supply_voltage`` (V) of the encoder.

    Raises
    ------
    MissingDataError
        If the file has no raw running data.
    """
    import pandas as pd

    _require(reader, f"{layout.RAW_ROTATION}/data", "raw running data")
    columns = {
        "frame_time": f"{layout.RAW_ROTATION}/timestamps",
        "net_rotation": f"{layout.RAW_ROTATION}/data",
        "signal_voltage": f"{layout.WHEEL_SIGNAL_VOLTAGE}/data",
        "supply_voltage": f"{layout.WHEEL_SUPPLY_VOLTAGE}/data",
    }
    return pd.DataFrame(_equally_long(reader, columns))


# --- eye tracking -------------------------------------------------------------------------------------------------


def has_eye_tracking(reader: NwbReader) -> bool:
    """Tell whether the file holds pupil and gaze."""
    return reader.has(f"{layout.EYE_TRACKING}/{layout.ELLIPSE_FITS['pupil']}") and reader.has(layout.RAW_GAZE)


def read_pupil_data(reader: NwbReader) -> pd.DataFrame:
    """Return the ellipses fitted to corneal reflection, pupil and eye in each frame of the eye camera.

    Returns
    -------
    DataFrame
        Index ``Time (s)``. For each of ``corneal_reflection_``, ``pupil_`` and ``eye_``: ``center_x``, ``center_y``,
        ``height``, ``width`` (pixels; whole axes, twice the half-axes that the file holds) and ``phi`` (rotation,
        radians). NaN where no ellipse was found.

    Raises
    ------
    MissingDataError
        If the session has no eye tracking.
    """
    import pandas as pd

    _require_eye_tracking(reader)
    times = numbers(reader, f"{layout.RAW_GAZE}/pupil_area/timestamps")
    names = [f"{feature}_{column}" for feature in layout.ELLIPSE_FITS for column in layout.ELLIPSE_COLUMNS]
    values = np.empty((len(names), len(times)))  # one block, so that pandas need not copy it together
    row = 0
    for table in layout.ELLIPSE_FITS.values():
        for column in layout.ELLIPSE_COLUMNS:
            found = numbers(reader, f"{layout.EYE_TRACKING}/{table}/{column}")
            _check_length(reader, f"{table}/{column}", len(found), len(times))
            np.multiply(found, 2.0 if column in layout.HALF_AXES else 1.0, out=values[row])  # whole axes
            row += 1
    return pd.DataFrame(values.T, index=pd.Index(times, name=EYE_TIME), columns=names, copy=False)


def read_screen_gaze_data(reader: NwbReader, include_filtered_data: bool = False) -> pd.DataFrame:
    """Return where on the screen the mouse looked, and the areas of its eye and pupil.

    Parameters
    ----------
    reader
        The session file.
    include_filtered_data
        Add ``filtered_*`` columns: the same without frames judged to be blinks or failed fits (NaN).

    Returns
    -------
    DataFrame
        Index ``Time (s)``. ``raw_eye_area``, ``raw_pupil_area`` (the file says pixels^2; the values are cm^2),
        ``raw_screen_coordinates_x_cm``, ``_y_cm`` from the centre of the screen, and
        ``raw_screen_coordinates_spherical_x_deg``, ``_y_deg``, the same as angles.

    Raises
    ------
    MissingDataError
        If the session has no eye tracking.

    Notes
    -----
    The file keeps each pair of coordinates as (y, x); the table's column names say which is which.
    """
    import pandas as pd

    _require_eye_tracking(reader)
    modules = {"raw": layout.RAW_GAZE}
    if include_filtered_data:
        _require(reader, layout.FILTERED_GAZE, "filtered gaze data", "leave include_filtered_data out for the raw ones")
        modules["filtered"] = layout.FILTERED_GAZE
    times = numbers(reader, f"{layout.RAW_GAZE}/pupil_area/timestamps")
    data: dict[str, np.ndarray] = {}
    for kind, module in modules.items():
        for series, (_, names) in layout.GAZE_SERIES.items():
            path = f"{module}/{series}/data"
            values = numbers(reader, path, dimensions=2 if reader.dataset(path).ndim == 2 else 1)
            _check_length(reader, f"{module}/{series}", len(values), len(times))
            if values.size != len(times) * len(names):
                msg = f"{module}/{series} of {reader.name} has shape {values.shape}; expected {len(names)} column(s)"
                raise FileFormatError(msg)
            values = values.reshape(len(times), len(names))
            for column in reversed(range(len(names))):  # x before y
                data[f"{kind}_{names[column]}"] = values[:, column]
    return pd.DataFrame(data, index=pd.Index(times, name=EYE_TIME))


# --- optotagging --------------------------------------------------------------------------------------------------


def has_optotagging(reader: NwbReader) -> bool:
    """Tell whether the file holds optogenetic stimulation."""
    return reader.has(layout.OPTOTAGGING)


def read_optogenetic_stimulation_epochs(reader: NwbReader) -> pd.DataFrame:
    """Return each pulse of light.

    Returns
    -------
    DataFrame
        Index ``id``. ``start_time``, ``stop_time``, ``duration`` (s), ``condition`` (the waveform in words), ``level``
        (V of the control signal) and ``stimulus_name`` (``pulse``, ``fast_pulses``, ``raised_cosine``), in the order
        of the file.

    Raises
    ------
    MissingDataError
        If the session has no optotagging.
    """
    _require(reader, layout.OPTOTAGGING, "optogenetic stimulation", "session.has_optotagging tells beforehand")
    epochs = typed(reader, layout.OPTOTAGGING, read_table(reader, layout.OPTOTAGGING), layout.OPTOTAGGING_COLUMNS)
    epochs = epochs.drop(columns=["tags", "timeseries"], errors="ignore")
    if "stimulus_name" not in epochs and "name" in epochs:
        epochs = epochs.rename(columns={"name": "stimulus_name"})
    return epochs


# --- rig ----------------------------------------------------------------------------------------------------------


def read_rig_geometry_data(reader: NwbReader) -> pd.DataFrame:
    """Return where monitor, eye camera and its light stood.

    Returns
    -------
    DataFrame
        Index ``x``, ``y``, ``z``; columns ``monitor_position_mm``, ``camera_position_mm``, ``led_position_mm``,
        ``monitor_rotation_deg``, ``camera_rotation_deg`` (the suffix is the file's unit), relative to the eye.

    Raises
    ------
    MissingDataError
        If the file does not say.
    """
    import pandas as pd

    _require(reader, layout.RIG_GEOMETRY, "rig geometry")
    data = {}
    for name in layout.RIG_VECTORS:
        path = f"{layout.RIG_GEOMETRY}/{name}"
        if reader.has(path):
            vector = numbers(reader, path)
            _check_length(reader, path, len(vector), 3)
            data[f"{name}_{reader.attribute(path, 'unit', 'unknown')}"] = vector
    return pd.DataFrame(data, index=pd.Index(["x", "y", "z"]))


def read_rig_equipment_name(reader: NwbReader) -> str:
    """Return the rig's name, as ``NP.1``.

    Raises
    ------
    MissingDataError
        If the file does not say.
    """
    _require(reader, layout.RIG_GEOMETRY, "rig metadata")
    name = reader.attribute(layout.RIG_GEOMETRY, "equipment")
    if name is None:
        msg = f"{reader.name} does not name its rig"
        raise MissingDataError(msg)
    return str(name)


# --- shared -------------------------------------------------------------------------------------------------------


def _require(reader: NwbReader, path: str, what: str, advice: str = "") -> None:
    if not reader.has(path):
        msg = f"this session has no {what}: {reader.name} lacks {path}" + (f" ({advice})" if advice else "")
        raise MissingDataError(msg)


def _require_eye_tracking(reader: NwbReader) -> None:
    if not has_eye_tracking(reader):
        _require(
            reader,
            f"{layout.EYE_TRACKING}/{layout.ELLIPSE_FITS['pupil']}",
            "eye tracking",
            "some sessions were released without it; session.has_eye_tracking tells beforehand",
        )
        _require(reader, layout.RAW_GAZE, "gaze, and so no frame times of its eye tracking")


def _equally_long(reader: NwbReader, columns: dict[str, str]) -> dict[str, np.ndarray]:
    data = {}
    for name, path in columns.items():
        _require(reader, path, f"{name} of its running data")
        data[name] = numbers(reader, path)
        _check_length(reader, path, len(data[name]), len(next(iter(data.values()))))
    return data


def _check_length(reader: NwbReader, path: str, found: int, expected: int) -> None:
    if found != expected:
        msg = f"{path} of {reader.name} has {found:,} values; expected {expected:,}"
        raise FileFormatError(msg)
