"""The tables of probes, channels and units, built from the scalar columns of a session file."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..errors import FileFormatError
from ..metric_names import DOCUMENTED_NAMES, is_stimulus_metric
from ..nwb import layout
from ..nwb.columns import as_whole, column_names, read_table, typed
from .filter import OUT_OF_BRAIN, UnitFilter
from .structures import structure_ids, without_substructure

if TYPE_CHECKING:
    from ..nwb.reader import NwbReader

logger = logging.getLogger(__name__)

#: Columns of ``session.channels``, in order; ``valid_data`` follows where invalid channels are shown.
CHANNEL_COLUMNS = (
    "filtering",
    "probe_channel_number",
    "probe_horizontal_position",
    "probe_id",
    "probe_vertical_position",
    "structure_acronym",
    "ecephys_structure_id",
    "ecephys_structure_acronym",
    *layout.CCF_COLUMNS,
)

#: What a project cache knows better than the NWB file.
ANNOTATION_COLUMNS = ("ecephys_structure_id", "ecephys_structure_acronym", *layout.CCF_COLUMNS)

#: Columns of the probes table -> their names in the units table.
PROBE_COLUMNS_OF_UNITS = {
    "description": "probe_description",
    "location": "location",
    "sampling_rate": "probe_sampling_rate",
    "lfp_sampling_rate": "probe_lfp_sampling_rate",
    "has_lfp_data": "probe_has_lfp_data",
}


def probes_table(reader: NwbReader) -> pd.DataFrame:
    """Return the probes of a session: index ``id``, ordered by name.

    Columns: description (``probeA`` ...), location, sampling_rate (Hz, spike band), lfp_sampling_rate (Hz),
    has_lfp_data.
    """
    rows = []
    for name in sorted(reader.children(layout.EXTRACELLULAR)):
        group = f"{layout.EXTRACELLULAR}/{name}"
        probe_id = reader.attribute(group, "probe_id")
        if group == layout.ELECTRODES or reader.attribute(group, "neurodata_type") == "DynamicTable":
            continue
        if probe_id is None:
            msg = f"electrode group {name!r} of {reader.name} has no attribute 'probe_id': no session of the release"
            raise FileFormatError(msg)
        device = f"{group}/device"
        rate = reader.number(device, "sampling_rate") if reader.has(device) else np.nan
        rows.append(
            {
                "id": int(as_whole(np.array([reader.number(group, "probe_id")]), f"'probe_id' of {group}")[0]),
                "description": name,
                "location": str(reader.attribute(group, "location", "")),
                "sampling_rate": rate,
                "lfp_sampling_rate": reader.number(group, "lfp_sampling_rate"),
                "has_lfp_data": _flag(reader, group, "has_lfp_data"),
            }
        )
    columns = ["id", "description", "location", "sampling_rate", "lfp_sampling_rate", "has_lfp_data"]
    return pd.DataFrame(rows, columns=columns).astype({"id": np.int64}).set_index("id")


def _flag(reader: NwbReader, path: str, name: str) -> bool:
    value = reader.attribute(path, name, False)
    if not isinstance(value, (bool, int)):
        msg = f"attribute {name!r} of {path} in {reader.name} is {value!r:.60}; expected true or false"
        raise FileFormatError(msg)
    return bool(value)


def channels_table(reader: NwbReader, annotations: Callable[[], pd.DataFrame] | None = None) -> pd.DataFrame:
    """Return all channels of a session: index ``id``, columns :data:`CHANNEL_COLUMNS` and ``valid_data``.

    Parameters
    ----------
    reader
        The session file.
    annotations
        Gives the project's own :data:`ANNOTATION_COLUMNS` (index: channel id). They replace the file's for the
        channels that they hold; the others keep the file's.
    """
    wanted = [c for c in layout.ELECTRODE_COLUMNS if c.name != "imp"]
    table = read_table(reader, layout.ELECTRODES, [*(c.name for c in wanted), layout.CHANNEL_NUMBER_NAMES[1]])
    table = typed(reader, layout.ELECTRODES, table, wanted)
    _check_unique(table, "channel", reader)
    number = [name for name in layout.CHANNEL_NUMBER_NAMES if name in table]
    if not number:
        msg = f"the electrodes table of {reader.name} has neither 'local_index' nor 'probe_channel_number'"
        raise FileFormatError(msg)
    channels = pd.DataFrame(index=table.index)
    channels["filtering"] = table.get("filtering", layout.FILTERING)
    channels["probe_channel_number"] = table[number[0]]
    for name in ("probe_horizontal_position", "probe_id", "probe_vertical_position"):
        channels[name] = _needed(table, name, reader)
    channels["structure_acronym"] = without_substructure(_needed(table, "location", reader))
    channels["ecephys_structure_id"] = structure_ids(channels["structure_acronym"])
    channels["ecephys_structure_acronym"] = channels["structure_acronym"]
    for name, axis in zip(layout.CCF_COLUMNS, "xyz", strict=True):
        channels[name] = table[axis].astype(float) if axis in table else np.nan
    channels["valid_data"] = table.get("valid_data", True)
    channels = unregistered_to_nan(channels)
    _distrust_left_right(channels, reader.name)
    return channels if annotations is None else annotated(channels, annotations())


def _check_unique(table: pd.DataFrame, what: str, reader: NwbReader) -> None:
    repeated = table.index[table.index.duplicated()]
    if len(repeated):
        msg = f"{len(repeated)} {what} ids of {reader.name} occur twice, such as {repeated[0]}: it was written wrongly"
        raise FileFormatError(msg)


def _needed(table: pd.DataFrame, name: str, reader: NwbReader) -> pd.Series[Any]:
    if name not in table:
        msg = f"the electrodes table of {reader.name} has no column {name!r}: it is no session of the release"
        raise FileFormatError(msg)
    return table[name]


def unregistered_to_nan(channels: pd.DataFrame) -> pd.DataFrame:
    """Return channels with NaN for the mark of those that were never registered to the CCF, float64 coordinates."""
    held = [name for name in layout.CCF_COLUMNS if name in channels]
    return channels.assign(
        **{name: channels[name].where(channels[name] != layout.UNREGISTERED, np.nan).astype(float) for name in held}
    )


def _distrust_left_right(channels: pd.DataFrame, name: str) -> None:
    """Drop left-right coordinates that merely repeat the dorsal-ventral ones, as in every released NWB file."""
    _, dorsal_ventral, left_right = layout.CCF_COLUMNS
    registered = channels[dorsal_ventral].notna() & channels[left_right].notna()
    if registered.any() and (channels.loc[registered, dorsal_ventral] == channels.loc[registered, left_right]).all():
        logger.info(
            "%s repeats the dorsal-ventral coordinate of its channels as the left-right one, as released files do: "
            "left_right_ccf_coordinate is NaN. A project cache knows the true one",
            name,
        )
        channels[left_right] = np.nan


def annotated(channels: pd.DataFrame, annotations: pd.DataFrame) -> pd.DataFrame:
    """Return channels with the annotations in place of the file's, for the channels the annotations hold."""
    known = channels.index.intersection(annotations.index)
    out = channels.copy()
    for name in ANNOTATION_COLUMNS:
        if name not in annotations:
            continue
        theirs = annotations[name].reindex(known)
        column = out[name].copy()
        if name == "ecephys_structure_id":
            theirs = theirs.astype("Float64").astype("Int64")
        elif name == "ecephys_structure_acronym":
            column = column.astype(object)
            theirs = theirs.astype(object)
        column.loc[known] = theirs
        out[name] = column
    if "ecephys_structure_acronym" in annotations:
        named = [a if isinstance(a, str) and a not in OUT_OF_BRAIN else None for a in out["ecephys_structure_acronym"]]
        out["ecephys_structure_acronym"] = pd.Series(named, index=out.index, dtype=str)
    return unregistered_to_nan(out)


def units_table(
    reader: NwbReader,
    channels: pd.DataFrame,
    probes: pd.DataFrame,
) -> pd.DataFrame:
    """Return all units of a session, unfiltered, in the order of the file.

    Index ``unit_id``. Columns: those of the file under the names of the session tables, then the columns of the unit's
    peak channel, then those of its probe (:data:`PROBE_COLUMNS_OF_UNITS`). What a file keeps there that belongs to
    other tables is not among them: stimulus metrics (:func:`metrics_in_file`), columns of the peak channel.
    """
    own = [name for name in column_names(reader, layout.UNITS) if not is_stimulus_metric(name)]
    table = read_table(reader, layout.UNITS, [name for name in own if name != "ecephys_probe_id"])
    units = typed(reader, layout.UNITS, table, layout.UNIT_COLUMNS)
    _check_unique(units, "unit", reader)
    units.index.name = "unit_id"
    units = units.rename(columns={c.name: c.shown_as for c in layout.UNIT_COLUMNS})
    if "peak_channel_id" not in units:
        msg = f"the units table of {reader.name} has no column 'peak_channel_id': it is no session of the release"
        raise FileFormatError(msg)
    lost = ~units["peak_channel_id"].isin(channels.index)
    if lost.any():
        msg = (
            f"{int(lost.sum())} units of {reader.name} have a peak channel that its electrodes table lacks, such as "
            f"{int(units['peak_channel_id'][lost].iloc[0])}: the file was written wrongly"
        )
        raise FileFormatError(msg)
    theirs = channels.reindex(units["peak_channel_id"]).set_axis(units.index)
    probe = probes.reindex(theirs["probe_id"]).set_axis(units.index).rename(columns=PROBE_COLUMNS_OF_UNITS)
    clash = theirs.columns.intersection(units.columns).union(probe.columns.intersection(units.columns))
    parts = [units.drop(columns=clash), theirs, probe]
    return pd.concat(parts, axis=1)


def metrics_in_file(reader: NwbReader) -> pd.DataFrame:
    """Return the stimulus metrics that the units table of a file holds, for the units that have any.

    Released files hold none; the release's Zarr copies do, as floats. Index: unit id; documented names.
    """
    held = [name for name in column_names(reader, layout.UNITS) if is_stimulus_metric(name)]
    if not held:
        return pd.DataFrame()
    metrics = read_table(reader, layout.UNITS, held).dropna(how="all").rename(columns=DOCUMENTED_NAMES)
    metrics.index.name = "unit_id"
    if "on_screen_rf" in metrics and metrics["on_screen_rf"].isin((0, 1)).all():
        metrics["on_screen_rf"] = metrics["on_screen_rf"].astype(bool)
    return metrics


def shown_units(units: pd.DataFrame, unit_filter: UnitFilter) -> pd.DataFrame:
    """Return the units a session shows: those that pass the filter, by probe and position on it.

    ``quality`` and ``valid_data`` are columns only where the filter lets units of any validity pass.
    """
    shown = units[unit_filter.mask(units)]
    order = ["probe_description", "probe_vertical_position", "probe_horizontal_position"]
    shown = shown.sort_values(order, kind="stable")
    return shown.drop(columns=["quality", "valid_data"], errors="ignore") if unit_filter.valid_only else shown


def shown_channels(channels: pd.DataFrame, unit_filter: UnitFilter) -> pd.DataFrame:
    """Return the channels a session shows: those with valid data, or all, with ``valid_data``, if not `valid_only`."""
    if not unit_filter.valid_only:
        return channels
    return channels[channels["valid_data"].to_numpy(dtype=bool)].drop(columns="valid_data")
