"""The answers of sessions joined into one array a quantity, along the units."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from allen_ecephys.stimulus.conditions import CONDITION, NOT_OF_CONDITION

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from .answers import Answer

    Integers = np.ndarray[Any, np.dtype[np.int64]]
    Statistics = tuple[pd.DataFrame, list[tuple[Integers, pd.DataFrame]]]

PHASE: Final = "phase"


def joined_psth(found: Mapping[int, Answer[list[xr.Dataset]]], units: pd.DataFrame, by: str | None) -> xr.Dataset:
    """Return the histograms of all sessions as one dataset.

    Parameters
    ----------
    found
        What each session answered.
    units
        The population's units: the result holds those answered, in this order.
    by
        Column that trials were grouped by; each of its values in any session is a row of the result, NaN for the
        units of sessions without it.
    """
    import pandas as pd
    import xarray as xr

    parts = [part for answer in found.values() for part in (answer.value or ())]
    unit_ids, at = _order(found, units)
    time = parts[0]["time_relative_to_stimulus_onset"]
    held = [part[by].to_numpy() for part in parts] if by is not None else []
    # Numbers ascend, text comes by first appearance, as in the histogram of one session.
    every = np.concatenate(held) if held else np.zeros(1)
    labels = pd.factorize(every, sort=every.dtype.kind in "iufb")[1] if by is not None else every
    shape = (len(labels), len(unit_ids))
    rate, sem = np.full((*shape, len(time)), np.nan), np.full((*shape, len(time)), np.nan)
    count = np.zeros(shape, dtype=np.int64)
    first = 0
    for part in parts:
        rows = at[first : first + part.sizes["unit_id"]]
        first += len(rows)
        groups = pd.Index(labels).get_indexer(pd.Index(part[by].to_numpy())) if by is not None else np.zeros(1, int)
        for group, position in enumerate(groups):
            one = part if by is None else part.isel({by: group})
            rate[position, rows], sem[position, rows] = one["rate"].to_numpy(), one["sem"].to_numpy()
            count[position, rows] = int(one["presentation_count"])
    dims: tuple[str, ...] = ("unit_id", str(time.name))
    if by is None:
        rate, sem, count = rate[0], sem[0], count[0]
    else:
        dims = (by, *dims)
    units_only = dims[:-1]
    coords = {str(time.name): time, **_unit_coords(unit_ids, units)} | ({} if by is None else {by: labels})
    return xr.Dataset(
        {
            "rate": (dims, rate, {"units": "Hz"}),
            "sem": (dims, sem, {"units": "Hz"}),
            "presentation_count": (units_only, count),
        },
        coords=coords,
        attrs={**parts[0].attrs},
    )


def joined_statistics(found: Mapping[int, Answer[Statistics]], units: pd.DataFrame) -> xr.Dataset:
    """Return the statistics of all sessions as one dataset, its conditions told apart by their parameters.

    Parameters
    ----------
    found
        What each session answered.
    units
        The population's units: the result holds those answered, in this order.
    """
    import xarray as xr

    answered = [answer.value for answer in found.values() if answer.value is not None]
    unit_ids, at = _order(found, units)
    keys, parameters = matched_conditions([first for first, _ in answered])
    numbers = {key: number for number, key in enumerate(dict.fromkeys(key for of_one in keys for key in of_one))}
    shape = (len(unit_ids), len(numbers))
    columns = [str(c) for _, parts in answered for _, part in parts for c in part.columns]
    variables = {
        name: np.zeros(shape, dtype=np.int64) if name.endswith("_count") else np.full(shape, np.nan)
        for name in dict.fromkeys(columns)
    }
    begun = 0
    for (first, parts), of_one in zip(answered, keys, strict=True):
        number_of = dict(zip(first.index.astype(np.int64), (numbers[key] for key in of_one), strict=True))
        for unit_ids_of_part, part in parts:
            rows = at[begun : begun + len(unit_ids_of_part)]
            begun += len(rows)
            conditions = part.index.get_level_values(CONDITION).to_numpy()[:: len(rows) or 1]
            placed = np.array([number_of[condition] for condition in conditions], dtype=np.int64)
            by_id = rows[np.argsort(unit_ids_of_part, kind="stable")]  # as in the part: by condition, then by unit
            for name, column in part.items():
                variables[str(name)][by_id[:, None], placed] = column.to_numpy().reshape(len(placed), len(rows)).T
    coords: dict[str, Any] = {
        name: ("condition", _column([key[position] for key in numbers])) for position, name in enumerate(parameters)
    }
    return xr.Dataset(
        {name: (("unit_id", "condition"), values) for name, values in variables.items()},
        coords={**_unit_coords(unit_ids, units), **coords},
    )


def matched_conditions(tables: Sequence[pd.DataFrame]) -> tuple[list[list[tuple[Hashable, ...]]], list[str]]:
    """Return the parameters of each session's conditions as keys that are equal where sessions showed the same.

    Parameters
    ----------
    tables
        For each session one presentation of each of its conditions.

    Returns
    -------
    keys
        A key for each row of each table: the stimulus and the value of each parameter, None where it has none.
    parameters
        What the entries of a key are called. Parameters of drawing are among them only where, without them, two
        conditions of one session would be one; the phase of a drifting grating only where all sessions have the same:
        it grows with the time that the stimulus has run, and tells no conditions of a session apart.
    """
    for detailed in (False, True):
        named = list(dict.fromkeys(name for table in tables for name in _parameters(table, detailed)))
        if PHASE in named and _is_of_session(tables, PHASE):
            named.remove(PHASE)
        keys = [_keys(table, named) for table in tables]
        if all(len(set(of_one)) == len(of_one) for of_one in keys):
            break
    return keys, named


def _is_of_session(tables: Sequence[pd.DataFrame], name: str) -> bool:
    """Tell whether a parameter has one value in each session, and not the same in all."""
    values = [set(table[name].dropna()) for table in tables if name in table]
    return all(len(held) <= 1 for held in values) and len(set().union(*values)) > 1


def _parameters(table: pd.DataFrame, detailed: bool) -> list[str]:
    from allen_ecephys.stimulus.epochs import without_unused
    from allen_ecephys.stimulus.presentations import shown_columns

    return [str(c) for c in without_unused(shown_columns(table, detailed)).columns if c not in NOT_OF_CONDITION]


def _keys(table: pd.DataFrame, parameters: Sequence[str]) -> list[tuple[Hashable, ...]]:
    from allen_ecephys.stimulus.epochs import tightened

    table = tightened(table)
    nothing = [None] * len(table)
    columns = [
        [None if value != value or value is None else value for value in table[name].tolist()]
        if name in table
        else nothing
        for name in parameters
    ]
    return list(zip(*columns, strict=True))


def _column(values: list[Any]) -> np.ndarray[Any, Any]:
    if all(value is None or isinstance(value, (int, float)) for value in values):
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    out = np.empty(len(values), dtype=object)
    out[:] = [np.nan if value is None else value for value in values]
    return out


def _order(
    found: Mapping[int, Answer[Any]], units: pd.DataFrame
) -> tuple[np.ndarray[Any, np.dtype[np.int64]], np.ndarray[Any, np.dtype[np.int64]]]:
    """Return the units answered in the order of the population, and where in it each unit of the answers stands."""
    answered = np.concatenate([answer.unit_ids for answer in found.values()])
    unit_ids = units.index.to_numpy(np.int64)
    unit_ids = unit_ids[np.isin(unit_ids, answered)]
    order = np.argsort(unit_ids, kind="stable")
    return unit_ids, order[np.searchsorted(unit_ids, answered, sorter=order)]


def _unit_coords(unit_ids: np.ndarray[Any, Any], units: pd.DataFrame) -> dict[str, Any]:
    shown = units.loc[unit_ids]
    coords: dict[str, Any] = {"unit_id": unit_ids}
    for name in ("ecephys_session_id", "ecephys_structure_acronym"):
        if name in shown:
            column = shown[name]
            coords[name] = ("unit_id", column.to_numpy(object if column.dtype.kind not in "iuf" else None))
    return coords
