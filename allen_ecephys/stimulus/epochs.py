"""Questions to the presentations table: rows of a stimulus, epochs, intervals between them, parameter values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from ..ids import as_names
from .conditions import NOT_OF_CONDITION
from .presentations import MISSING_TEXT, shown_columns

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
    columns = pd.DataFrame(table).items()  # plain ones: the text is what is looked for
    empty = [name for name, column in columns if column.isna().all() or bool(column.isin(["", MISSING_TEXT]).all())]
    return table.drop(columns=empty)


def tightened(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with columns as numbers that only other stimuli make columns of pairs."""
    out = {}
    for name, column in table.items():
        if column.dtype.kind == "O" and not isinstance(column.dtype, pd.StringDtype):
            distinct = column[column.notna()].unique()
            if len(distinct) and all(isinstance(v, tuple) and len(v) == 2 and v[0] == v[1] for v in distinct):
                out[str(name)] = column.map({v: v[0] for v in distinct}).astype(np.float64)
    return table.assign(**out) if out else table


def stimulus_epochs(presentations: pd.DataFrame, thresholds: Mapping[str, float]) -> pd.DataFrame:
    """Return the contiguous runs of one stimulus block (see :meth:`EcephysSession.get_stimulus_epochs`)."""
    names = presentations["stimulus_name"]
    block = (
        presentations["stimulus_block"]
        if "stimulus_block" in presentations
        else pd.Series(np.nan, index=presentations.index)
    )
    key = pd.to_numeric(block, errors="coerce").to_numpy(dtype=np.float64)  # 'null' in AllenSDK's form
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
            "stimulus_block": block.array.take(first),
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


def parameter_values(table: pd.DataFrame, drop_nulls: bool, legacy: bool = False) -> dict[str, np.ndarray[Any, Any]]:
    """Return the distinct values of each parameter in order of appearance; a missing one last, if not dropped.

    In AllenSDK's form of the table (`legacy`) a missing value is the text 'null', and NaN, which masked presentations
    have, is a value.
    """
    values: dict[str, np.ndarray[Any, Any]] = {}
    if not len(table):
        return values
    for name, column in tightened(without_unused(shown_columns(table, detailed=False))).items():
        if name in NOT_OF_CONDITION or name == "stimulus_name":
            continue
        gone = column == MISSING_TEXT if legacy else column.isna()
        distinct = [*column[~gone].unique()]
        if not drop_nulls and gone.any():
            distinct.append(MISSING_TEXT if legacy else np.nan)
        found = np.empty(len(distinct), dtype=object)
        found[:] = distinct
        if all(isinstance(v, (int, float, np.integer, np.floating)) for v in found):
            found = np.asarray(found.tolist())
        values[str(name)] = found
    return values
