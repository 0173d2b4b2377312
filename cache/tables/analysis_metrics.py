"""The published stimulus metrics of each unit: their tables, names, types and known faults."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal

import pandas as pd

from allen_ecephys.metric_names import DOCUMENTED_NAMES, RELEASED_NAMES

from .reading import TableSchema, read_table

INDEX: Final = "ecephys_unit_id"
MetricNames = Literal["documented", "release"]

_FLAGS: Final = (
    "on_screen_rf", "p_value_rf", "pref_ori_multi_dg", "pref_tf_multi_dg", "pref_ori_multi_sg", "pref_sf_multi_sg",
    "pref_phase_multi_sg", "pref_images_multi_ns", "pref_image_multi_ns", "pref_dir_multi_dm", "pref_speed_multi_dm",
)  # fmt: skip

SCHEMA: Final = TableSchema("analysis metrics", INDEX, (), flags=_FLAGS)


def read_metrics(path: Path) -> pd.DataFrame:
    """Return the metrics of a released file, with the file's names.

    Parameters
    ----------
    path
        ``*_analysis_metrics.csv``.

    Returns
    -------
    pandas.DataFrame
        Indexed by unit id, one column a metric. In some published tables ``p_value_rf`` and ``on_screen_rf`` are
        exchanged; they are put right, recognised by their types.

    Raises
    ------
    FileFormatError, CorruptFileError
        See :func:`.csv_tables.read_table`.
    """
    table = read_table(path, SCHEMA)
    if {"p_value_rf", "on_screen_rf"} <= set(table.columns):
        p_value, on_screen = table["p_value_rf"], table["on_screen_rf"]
        if pd.api.types.is_bool_dtype(p_value) and not pd.api.types.is_bool_dtype(on_screen):
            return table.assign(p_value_rf=on_screen, on_screen_rf=p_value)
    return table


def renamed(metrics: pd.DataFrame, names: MetricNames) -> pd.DataFrame:
    """Return the metrics under the documented names, or those of the released files."""
    if names == "documented":
        return metrics.rename(columns=DOCUMENTED_NAMES)
    return metrics.rename(columns=RELEASED_NAMES)


def stacked(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Return the metrics of several session types as one table; what a type does not have is missing.

    Flags become nullable booleans where one of the tables lacks them.
    """
    parts = list(tables)
    columns = list(dict.fromkeys(name for part in parts for name in part.columns))
    with_gaps = [c for c in columns if any(c not in part for part in parts)]
    for k, part in enumerate(parts):
        flags = [c for c in with_gaps if c in part and pd.api.types.is_bool_dtype(part[c])]
        parts[k] = part.astype(dict.fromkeys(flags, "boolean"))
    return pd.concat(parts)[columns]
