"""Which units a population holds: a filter, ids, a table of units, or a condition on their columns and metrics."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from allen_ecephys.errors import (
    InvalidTypeError,
    MissingDataError,
    OfflineError,
    RemoteNotFoundError,
    UnknownIdError,
    UnknownNameError,
)
from allen_ecephys.units.filter import UnitFilter

if TYPE_CHECKING:
    import pandas as pd

    from ..table_queries import TableQueries


def selected_units(
    queries: TableQueries, chosen: str | Iterable[int] | pd.DataFrame | None, unit_filter: UnitFilter | None
) -> pd.DataFrame:
    """Return the units of a population, session by session.

    Parameters
    ----------
    queries
        The project's tables.
    chosen
        Ids; a table indexed by them, or a column of truth values that is; a condition on the columns of the units and
        of their metrics, in pandas' query language; or None for all.
    unit_filter
        The filter. None: the tables' default, and none where units are named by their ids.

    Returns
    -------
    DataFrame
        Rows of :meth:`.EcephysProjectCache.get_units`, ordered by session.

    Raises
    ------
    UnknownIdError
        For an id that is no unit's of the project.
    UnknownNameError
        For a condition that cannot be understood.
    MissingDataError
        If no unit is named, or none is left.
    """
    from ..table_queries import DEFAULT_FILTER

    if chosen is None or isinstance(chosen, str):
        units = queries.tables.units(None, unit_filter or DEFAULT_FILTER)
        if chosen is not None:
            units = _fitting(queries, units, chosen, unit_filter or DEFAULT_FILTER)
        _check_left(units, chosen, queries, unit_filter or DEFAULT_FILTER)
    else:
        units = queries.tables.units(None, UnitFilter.none())
        ids = _ids(chosen)
        lacking = ids[~np.isin(ids, units.index.to_numpy())]
        if len(lacking):
            raise UnknownIdError(_why_unknown(queries, lacking))
        if not len(ids):
            msg = "no unit is named: a population needs ids of units, or a condition that some units fit"
            raise MissingDataError(msg)
        units = units.loc[ids]
        if unit_filter is not None:
            units = units[units.index.isin(queries.tables.units(None, unit_filter).index)]
            _check_left(units, f"{len(ids)} units named by id", queries, unit_filter)
    return units.sort_values("ecephys_session_id", kind="stable")


def _ids(chosen: Iterable[int] | pd.DataFrame) -> np.ndarray[Any, np.dtype[np.int64]]:
    import pandas as pd

    if isinstance(chosen, pd.Series) and chosen.dtype.kind == "b":
        chosen = chosen[chosen]  # a condition on a table of units, already judged
    values = np.asarray(chosen.index if isinstance(chosen, (pd.DataFrame, pd.Series)) else _listed(chosen))
    if values.size and values.dtype.kind not in "iu":
        msg = (
            f"units are whole numbers, a table indexed by them, or a condition as text; got {values.ravel()[:3]!r}. "
            'For a condition: units="snr > 3"'
        )
        raise InvalidTypeError(msg)
    return np.unique(values.astype(np.int64).ravel())


def _listed(chosen: Iterable[int]) -> list[int]:
    return list(chosen) if isinstance(chosen, Iterable) else [chosen]


def _fitting(queries: TableQueries, units: pd.DataFrame, condition: str, unit_filter: UnitFilter) -> pd.DataFrame:
    """Return the units that fit a condition on their columns, or on those and their published metrics."""
    from pandas.errors import UndefinedVariableError

    def query(table: pd.DataFrame) -> pd.DataFrame:
        try:
            return table.query(condition, engine="python", local_dict={}, global_dict={})
        except UndefinedVariableError:
            raise
        except Exception as error:  # pandas, tokenize and ast raise a dozen kinds for text that is no condition
            msg = f"{condition!r} is no condition on units ({error}). Their columns are: {', '.join(table.columns)}"
            raise UnknownNameError(msg) from error

    try:
        return units.loc[query(units).index]
    except UndefinedVariableError:
        pass
    missing = ""
    try:
        known = queries.metrics(queries.metrics_of_all_types(), unit_filter, "documented", annotate=True)
    except (OfflineError, RemoteNotFoundError) as error:  # a project need not have any
        known, missing = units, f". The project's published metrics of units are not at hand: {error}"
    try:
        return units.loc[query(known).index]
    except UndefinedVariableError as error:
        columns = ", ".join(known.columns)
        msg = f"{condition!r} is no condition on units ({error}). Their columns are: {columns}{missing}"
        raise UnknownNameError(msg) from error


def _check_left(units: pd.DataFrame, chosen: str | None, queries: TableQueries, unit_filter: UnitFilter) -> None:
    if len(units):
        return
    every = len(queries.tables.units(None, UnitFilter.none()))
    asked = f" and {chosen!r}" if chosen else ""
    msg = (
        f"none of the {every:,} units of the project passes the filter ({unit_filter.describe()}){asked}. "
        "unit_filter=UnitFilter.none() lets every unit pass"
    )
    raise MissingDataError(msg)


def _why_unknown(queries: TableQueries, lacking: np.ndarray[Any, Any]) -> str:
    listed = ", ".join(map(str, lacking[:5].tolist())) + (", ..." if len(lacking) > 5 else "")
    lost = lacking[np.isin(lacking, queries.tables.raw("units").index.to_numpy())]
    if len(lost):
        return (
            f"{len(lacking)} unit(s) are of no session of the project: {listed}. The table of units lists "
            f"{', '.join(map(str, lost[:5].tolist()))}, with a channel or probe that the other tables do not have"
        )
    return f"the project has no unit(s) {listed}; get_units(unit_filter=UnitFilter.none()).index lists them all"
