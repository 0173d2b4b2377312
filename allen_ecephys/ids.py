"""What a caller names, checked against what there is: ids and names, one or several."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .errors import InvalidTypeError, UnknownIdError, UnknownNameError, suggest

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def as_ids(ids: ArrayLike | pd.DataFrame | None, table: pd.DataFrame, what: str) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return ids as int64 in the given order and repetition: None for all of the table, a scalar for one.

    Rows of the table stand for their ids, and so does a mask over the whole table for those where it is true.

    Raises
    ------
    UnknownIdError
        If the table does not hold one of them.
    InvalidTypeError
        If they are no whole numbers.
    """
    if ids is None:
        return table.index.to_numpy(np.int64)
    array = np.atleast_1d(np.asarray(ids.index if isinstance(ids, pd.DataFrame) else ids))
    if array.dtype == np.bool_:
        if len(array) != len(table):
            msg = f"a mask of {what}s has one value for each of {len(table):,}; got {len(array):,}"
            raise InvalidTypeError(msg)
        array = table.index.to_numpy()[array]
    if array.size == 0:
        return np.empty(0, dtype=np.int64)
    whole = array.dtype.kind in "iu" or (array.dtype.kind == "f" and bool(np.all(array == np.floor(array))))
    if array.ndim != 1 or not whole:
        if array.ndim == 1 and array.dtype == object and all(isinstance(i, (int, np.integer)) for i in array):
            try:
                array = array.astype(np.int64)
            except OverflowError as error:
                msg = f"{what} ids have at most 64 bits; got {ids!r}"
                raise UnknownIdError(msg) from error
        else:
            shown = repr(ids) if array.size < 10 else f"{array.ravel()[:5].tolist()} ..."
            msg = f"{what} ids must be whole numbers, one or a flat list of them; got {shown}"
            raise InvalidTypeError(msg)
    found = array.astype(np.int64)
    unknown = found[~np.isin(found, table.index.to_numpy())]
    if len(unknown):
        listed = ", ".join(str(i) for i in unknown[:5]) + (", ..." if len(unknown) > 5 else "")
        span = f"{len(table):,}: {table.index.min()} to {table.index.max()}" if len(table) else "none"
        msg = f"{len(unknown)} of {len(found)} {what} ids are not in this session: {listed} (it has {span})"
        raise UnknownIdError(msg)
    return found


def one_unit(unit_id: Any, held: ArrayLike, where: str) -> int:
    """Return the id of one unit that a result holds; `where` names that result, as in "this histogram".

    Raises
    ------
    UnknownIdError
        If the result lacks the unit.
    InvalidTypeError
        If the id is no whole number.
    """
    ids = np.atleast_1d(np.asarray(held))
    if not ids.size:
        msg = f"unit {unit_id}: there are no units to choose from in {where}"
        raise UnknownIdError(msg)
    example = f", such as {ids[0]}"
    asked = np.asarray(unit_id)
    unit_id = asked.item() if not asked.ndim else unit_id  # of a coordinate, as in psth.unit_id[0]
    if asked.ndim or asked.dtype.kind not in "iuf" or asked != np.floor(asked):
        msg = f"the id of a unit is one whole number{example}, as in {where}; got {unit_id!r}"
        raise InvalidTypeError(msg)
    if unit_id not in ids:
        msg = f"unit {unit_id} is not in {where}, of {ids.size} units{example}"
        raise UnknownIdError(msg)
    return int(unit_id)


def as_names(names: str | Iterable[str], known: Iterable[str]) -> list[str]:
    """Return stimulus names as a list; a scalar for one.

    Raises
    ------
    UnknownNameError
        If the session does not show a stimulus of that name.
    InvalidTypeError
        If they are no text.
    """
    if isinstance(names, pd.DataFrame) or not isinstance(names, Iterable):
        msg = f'stimuli are named by text, as "flashes", or several by a list of texts; got {names!r:.80}'
        raise InvalidTypeError(msg)
    wanted = [names] if isinstance(names, str) else list(names)
    shown = list(known)
    for name in wanted:
        if name not in shown:
            msg = f"this session shows no stimulus {name!r}{suggest(name, shown) or '.'} It shows: {', '.join(shown)}"
            raise UnknownNameError(msg)
    return wanted
