"""Questions to the presentations table: rows of a stimulus, epochs, intervals between them, parameter values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..ids import as_names
from .conditions import NOT_OF_CONDITION
from .presentations import shown_columns

if TYPE_CHECKING:
    pass

#: Epochs of these stimuli that are shorter (s) are left out by default: the grey between two blocks.
EPOCH_THRESHOLDS: Mapping[str, float] = {"spontaneous": 90.0}


def stimulus_table(
    presentations: pd.DataFrame, stimulus_names: str | Iterable[str] | None, detailed: bool, unused: bool
) -> pd.DataFrame:
    """Return the presentations of some stimuli (see :meth:`EcephysSession.get_stimulus_table`)."""
    if stimulus_names is not None:
        wanted = as_names(stimulus_names, presentations["stimulus_name"].unique())
        presentations = presentations[presentations["stimulus_name"].isin(wanted)]
    table = shown_columns(presentations, detailed)
    return tightened(table if unused else without_unused(table))


def without_unused(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table without the columns in which every row is missing (or 'null', in the legacy form)."""
    if not len(table):
        return table
    empty = [name for name, column in table.items() if column.isna().all() or bool((column == "null").all())]
    return table.drop(columns=empty)


def tightened(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with columns as numbers that only other stimuli make a mixture of numbers and tuples."""
    out = {}
    for name, column in table.items():
        if column.dtype.kind == "O" and not isinstance(column.dtype, pd.StringDtype):
            held = column[column.notna()]
            if len(held) and all(isinstance(v, float) for v in held.unique()):
                out[name] = column.astype(np.float64)
    return table.assign(**{str(k): v for k, v in out.items()}) if out else table


def stimulus_epochs(presentations: pd.DataFrame, duration_thresholds: Mapping[str, float] | None) -> pd.DataFrame:
    """Return the contiguous runs of one stimulus block (see :meth:`EcephysSession.get_stimulus_epochs`)."""
    thresholds = EPOCH_THRESHOLDS if duration_thresholds is None else duration_thresholds
    names = presentations["stimulus_name"]
    block = (
        presentations["stimulus_block"].astype("Float64")
        if "stimulus_block" in presentations
        else pd.Series(pd.NA, index=presentations.index, dtype="Float64")
    )
    key = block.to_numpy(dtype=float, na_value=np.nan)
    same_block = (key[1:] == key[:-1]) | (np.isnan(key[1:]) & np.isnan(key[:-1]))
    same = same_block & (names.to_numpy()[1:] == names.to_numpy()[:-1])
    first = np.flatnonzero(np.concatenate(([True], ~same))) if len(names) else np.empty(0, dtype=np.int64)
    last = np.concatenate((first[1:], [len(names)]))[: len(first)] - 1
    start = presentations["start_time"].to_numpy()[first]
    stop = presentations["stop_time"].to_numpy()[last]
    epochs = pd.DataFrame(
        {
            "start_time": start,
            "stop_time": stop,
            "duration": stop - start,
            "stimulus_name": names.array.take(first),
            "stimulus_block": block.array.take(first).astype("Int64"),
        }
    )
    least = epochs["stimulus_name"].map(dict(thresholds)).astype(float)
    return epochs[~(epochs["duration"] < least)]


def inter_presentation_intervals(presentations: pd.DataFrame) -> pd.DataFrame:
    """Return the time (s) from each presentation's stop to the next one's start.

    Index (from_presentation_id, to_presentation_id), column ``interval``.
    """
    ids = presentations.index.to_numpy()
    index = pd.MultiIndex.from_arrays([ids[:-1], ids[1:]], names=["from_presentation_id", "to_presentation_id"])
    start, stop = presentations["start_time"].to_numpy(), presentations["stop_time"].to_numpy()
    return pd.DataFrame({"interval": start[1:] - stop[:-1]}, index=index)


def parameter_values(table: pd.DataFrame, drop_nulls: bool) -> dict[str, np.ndarray[Any, Any]]:
    """Return the distinct values of each parameter in order of appearance; a missing one last, if not dropped."""
    values: dict[str, np.ndarray[Any, Any]] = {}
    if not len(table):
        return values
    for name, column in without_unused(shown_columns(table, detailed=False)).items():
        if name in NOT_OF_CONDITION or name == "stimulus_name":
            continue
        held = column[column.notna()]
        distinct = held.unique()
        found = np.empty(len(distinct), dtype=object)
        found[:] = list(distinct)
        if not drop_nulls and len(held) < len(column):
            gap = np.empty(1, dtype=object)
            gap[0] = np.nan
            found = np.concatenate([found, gap])
        if all(isinstance(v, (int, float, np.integer, np.floating)) for v in found):
            found = np.asarray(found.tolist())
        values[str(name)] = found
    return values
