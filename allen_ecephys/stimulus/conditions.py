"""Stimulus conditions: which presentations showed the same."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    Codes = np.ndarray[Any, np.dtype[np.int64]]

#: Name of the column that numbers conditions.
CONDITION = "stimulus_condition_id"

#: Columns of a presentation that do not tell its condition: when it was, where in the session, what is made of others.
NOT_OF_CONDITION = frozenset(
    {
        "start_time",
        "stop_time",
        "duration",
        "stimulus_block",
        "stimulus_index",
        "stimulus_presentation_id",
        CONDITION,
        "is_blank",
        "is_movie",
        "tags",
        "timeseries",
    }
)


def condition_ids(presentations: pd.DataFrame) -> Codes:
    """Return the number of each presentation's condition.

    Conditions are the distinct rows over the stimulus name and all its parameters, numbered in order of their first
    appearance, as in the released files. Missing values are equal.
    """
    return rows_numbered(
        pd.factorize(column)[0] for name, column in presentations.items() if name not in NOT_OF_CONDITION
    )


def rows_numbered(columns: Iterable[np.ndarray[Any, Any]]) -> Codes:
    """Return a number for each row, by first appearance, equal where all columns are.

    Parameters
    ----------
    columns
        Each as codes of its values, -1 where it has none; equally long, one or more.
    """
    first, *others = columns
    key = pd.factorize(first)[0].astype(np.int64)
    for codes in others:
        key = key * (int(codes.max(initial=-1)) + 2) + codes + 1
        key = pd.factorize(key)[0].astype(np.int64)  # renumbered each time: products stay small
    return key
