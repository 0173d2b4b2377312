"""NWB tables and time series of the released layout, built from frames without a Python loop over rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from allen_ecephys.nwb import layout

from .contents import column_of

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

#: Order in which the release lists the columns of its presentation tables.
PRESENTATION_COLUMNS = (
    *("stimulus_name", "stimulus_block", "temporal_frequency", "x_position", "y_position", "color", "mask", "opacity"),
    *("phase", "size", "units", "stimulus_index", "orientation", "spatial_frequency", "frame", "contrast"),
    *("Dir", "Speed", "coherence", "dotLife", "dotSize", "nDots", "fieldPos", "fieldShape", "fieldSize", "noiseDots"),
)

#: How a stimulus was drawn, the same in every presentation; the release's files leave it out.
DRAWING_CONSTANTS = (
    *("colorSpace", "depth", "interpolate", "pos", "rgbPedestal", "tex", "texRes", "flipHoriz", "flipVert", "rgb"),
    "signalDots",
)

#: What the release writes for a missing text among present ones.
MISSING_TEXT = "N/A"

ELLIPSE_COLUMNS = {
    "center_x": "horizontal position of the centre (pixels)",
    "center_y": "vertical position of the centre (pixels)",
    "height": "half-axis of the ellipse (pixels)",
    "phi": "rotation of the ellipse (rad)",
    "width": "half-axis of the ellipse (pixels)",
}


def column(name: str, values: Any, meaning: str) -> Any:
    """Return one column; texts become a list of `str`, everything else an array."""
    from hdmf.common import VectorData

    return VectorData(name=name, description=meaning, data=values)


def ragged_column(data: Any, ends: npt.NDArray[np.int64]) -> list[Any]:
    """Return a ragged column and its index from its flat values and the end of every row."""
    from hdmf.common import VectorIndex

    return [data, VectorIndex(name=f"{data.name}_index", target=data, data=ends)]


def typed(values: pd.Series[Any], dtype: str) -> Any:
    """Return a frame's column as the dtype of :class:`~allen_ecephys.nwb.layout.Column`; missing texts are empty."""
    if dtype == "str":
        texts = ["" if missing else str(value) for value, missing in zip(values, values.isna(), strict=True)]
        # hdmf cannot tell of an empty list that it holds text.
        return texts or np.empty(0, dtype=np.str_)
    if dtype == "um":
        given = values.to_numpy(np.float64, na_value=np.nan)
        whole = np.isfinite(given).all() and (given == np.rint(given)).all()
        return given.astype(np.int64) if whole else given
    if dtype == "f8":
        return values.to_numpy(np.float64, na_value=np.nan)
    return values.to_numpy(np.int64 if dtype == "i8" else np.bool_)


def electrodes_table(channels: pd.DataFrame, groups: Mapping[int, Any]) -> Any:
    """Return the electrodes table; `groups` maps the id of a probe to its electrode group."""
    from pynwb.ecephys import ElectrodesTable

    n = len(channels)
    defaults: dict[str, Any] = {
        "filtering": [layout.FILTERING] * n,
        "location": [""] * n,
        "valid_data": np.ones(n, bool),
    }
    columns = []
    for spec in layout.ELECTRODE_COLUMNS:
        if spec.name == "probe_vertical_position":
            group = [groups[int(probe)] for probe in channels["probe_id"]]
            columns.append(column("group", group, "the group of electrodes (probe) this one belongs to"))
            columns.append(column("group_name", [g.name for g in group], "name of the probe"))
        given = column_of(channels, spec)
        if spec.name in layout.CHANNEL_NUMBER_NAMES and given is None:
            given = channels.groupby("probe_id").cumcount()
        values = defaults.get(spec.name, np.full(n, np.nan)) if given is None else typed(given, spec.dtype)
        columns.append(column(spec.name, values, spec.meaning))
    return ElectrodesTable(columns=columns, colnames=[c.name for c in columns], id=channels.index.to_numpy(np.int64))


def unit_columns(units: pd.DataFrame) -> list[Any]:
    """Return the scalar columns of the units table; absent metrics are NaN, absent estimates are left out."""
    columns = []
    for spec in layout.UNIT_COLUMNS:
        given = column_of(units, spec)
        if given is None and spec.name == "local_index":
            values: Any = np.arange(len(units))
        elif given is None and spec.name == "cluster_id":
            values = np.arange(len(units))
        elif given is None:
            values = np.full(len(units), np.nan)
        else:
            values = typed(given, spec.dtype)
        columns.append(column(spec.name, values, spec.meaning))
    for spec in layout.ESTIMATE_COLUMNS:
        if spec.name in units:
            columns.append(column(spec.name, typed(units[spec.name], spec.dtype), spec.meaning))
    return columns


def _as_text(value: Any) -> str:
    """Spell a stimulus parameter as the release does: ``0.08``, ``[250.0, 250.0]``, ``circle``."""
    if isinstance(value, (list, tuple, np.ndarray)):
        return str([float(v) for v in value])
    return str(float(value)) if isinstance(value, (int, float, np.number)) else str(value)


def parameter_values(values: pd.Series[Any]) -> Any:
    """Return a stimulus parameter as it is written, or None if it applies to no presentation.

    Numbers are float64 with NaN for missing values; a column with any text is text throughout, its missing values
    :data:`MISSING_TEXT`.
    """
    import pandas as pd

    missing = values.isna().to_numpy()
    if missing.all():
        return None
    if pd.api.types.is_numeric_dtype(values.dtype) or pd.api.types.is_bool_dtype(values.dtype):
        return values.to_numpy(np.float64, na_value=np.nan)
    if all(isinstance(value, (int, float, np.number)) for value in values[~missing]):
        return np.array([np.nan if gone else value for value, gone in zip(values, missing, strict=True)], np.float64)
    return [MISSING_TEXT if gone else _as_text(value) for value, gone in zip(values, missing, strict=True)]


def interval_table(
    name: str,
    description: str,
    rows: pd.DataFrame,
    parameters: Sequence[Any],
    tags: Iterable[Sequence[str]],
    times: tuple[Any, npt.NDArray[np.int64]] | None = None,
) -> Any:
    """Return a TimeIntervals of `rows`.

    Parameters
    ----------
    parameters
        Columns between the times and the tags.
    tags
        The tags of every row.
    times
        The time series the rows refer to, and the index of each row in it.
    """
    from pynwb.base import TimeSeriesReference, TimeSeriesReferenceVectorData
    from pynwb.epoch import TimeIntervals

    n = len(rows)
    columns = [
        column("start_time", rows["start_time"].to_numpy(np.float64), "start of the interval (s)"),
        column("stop_time", rows["stop_time"].to_numpy(np.float64), "end of the interval (s)"),
        *parameters,
    ]
    names = [c.name for c in columns]
    labels = [list(map(str, row)) for row in tags]
    flat = column("tags", [label for row in labels for label in row], "tags of the interval")
    columns += ragged_column(flat, np.cumsum([len(row) for row in labels]))
    names.append("tags")
    if times is not None:
        series, index = times
        references = TimeSeriesReferenceVectorData(
            name="timeseries",
            description="where the interval begins in its time series",
            data=[TimeSeriesReference(int(i), 1, series) for i in index],
        )
        columns += ragged_column(references, np.arange(1, n + 1))
        names.append("timeseries")
    return TimeIntervals(name=name, description=description, columns=columns, colnames=names, id=np.arange(n))


def presentation_tables(presentations: pd.DataFrame, series: Any) -> list[Any]:
    """Return one table a stimulus, names in order; rows refer to `series`, which holds every presentation's start."""
    names = presentations["stimulus_name"].astype(str)
    scripts = [name for name in names.drop_duplicates() if name != "spontaneous"]
    tables = []
    for name in sorted(names.unique()):
        index = np.flatnonzero((names == name).to_numpy())
        rows = presentations.iloc[index]
        if "stimulus_index" not in rows.columns and name != "spontaneous":
            rows = rows.assign(stimulus_index=float(scripts.index(name)))
        parameters = []
        for key in (*PRESENTATION_COLUMNS, *_own_parameters(rows)):
            if key in rows.columns and (values := parameter_values(rows[key])) is not None:
                parameters.append(column(key, values, layout.STIMULUS_COLUMNS.get(key, "parameter of the stimulus")))
        tables.append(
            interval_table(
                name + layout.PRESENTATIONS_SUFFIX,
                f"Presentation times and stimuli details for '{name}' stimuli",
                rows,
                parameters,
                [(layout.STIMULUS_TAG,)] * len(rows),
                (series, index),
            )
        )
    return tables


def _own_parameters(rows: pd.DataFrame) -> list[str]:
    """Return the parameters that the release does not know, of labs with stimuli of their own."""
    known = {*PRESENTATION_COLUMNS, *DRAWING_CONSTANTS, *layout.TIME_COLUMNS, *layout.BOOKKEEPING_COLUMNS}
    return [str(name) for name in rows.columns if name not in known]


def time_series(name: str, data: Any, timestamps: Any, unit: str, meaning: str) -> Any:
    """Return a time series; `timestamps` may be another series, whose times are then linked to."""
    from pynwb import TimeSeries

    return TimeSeries(name=name, data=data, timestamps=timestamps, unit=unit, description=meaning)


def ellipse_table(name: str, fits: pd.DataFrame) -> Any:
    """Return the table of one ellipse fitted to every frame of the eye camera."""
    from hdmf.common import DynamicTable

    columns = [column(key, fits[key].to_numpy(np.float64), meaning) for key, meaning in ELLIPSE_COLUMNS.items()]
    columns.append(column("timestamps", fits.index.to_numpy(np.float64), "time of the camera frame (s)"))
    description = "an ellipse fitted to every frame of the eye camera"
    return DynamicTable(
        name=name, description=description, columns=columns, colnames=[c.name for c in columns], id=np.arange(len(fits))
    )
