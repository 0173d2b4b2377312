"""Reading a CSV table once, strictly: typed columns, and an error for a file that was cut or is no such table.

What was read is kept as a typed binary copy beside the CSV (:mod:`.parsed_copies`), so that the next process does
not parse it again.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from allen_ecephys.errors import CorruptFileError, FileFormatError
from allen_ecephys.files import read_regular

from . import parsed_copies

#: pandas before version 3 rounds the last digit of some decimals unless told not to.
_EXACT_DECIMALS: Final[dict[str, Any]] = (
    {} if int(pd.__version__.partition(".")[0]) >= 3 else {"float_precision": "round_trip"}
)


@dataclass(frozen=True)
class TableSchema:
    """What a table must hold to be used.

    Attributes
    ----------
    name
        What it is called in messages.
    index
        Column of unique ids.
    required
        Columns without which the table is useless.
    ids
        Columns that must hold whole numbers, where present.
    numbers
        Columns that must hold numbers, where present.
    flags
        Columns of True and False, possibly with gaps, where present.
    """

    name: str
    index: str
    required: tuple[str, ...]
    ids: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


def read_table(path: Path, schema: TableSchema) -> pd.DataFrame:
    """Return the table at `path`, from its binary copy if that is up to date, else parsed and checked.

    Parameters
    ----------
    path
        A CSV file with one line of column names.
    schema
        What it must hold.

    Returns
    -------
    pandas.DataFrame
        Indexed by ``schema.index`` (int64). Text columns have pandas' string type with missing values; flags with
        gaps have the nullable type ``boolean``.

    Raises
    ------
    CorruptFileError
        If the file ends in the middle of a line.
    FileFormatError
        If a column is missing or holds something else than it should, or ids repeat.
    """
    if (kept := parsed_copies.load(path)) is not None:
        _check_columns(kept.columns, path, schema)
        return kept
    source = parsed_copies.fingerprint(path)
    content = read_regular(path, _LONGEST)
    _check_end(content, path)
    try:
        table = pd.read_csv(io.BytesIO(content), low_memory=False, **_EXACT_DECIMALS)
    except (ValueError, OverflowError) as error:  # pandas' own errors are ValueErrors, undecodable text is one
        msg = f"{path} is no table of {schema.name}: {error}. {_REPLACE}"
        raise FileFormatError(msg) from error
    _check_columns(table.columns, path, schema)
    if not isinstance(table.index, pd.RangeIndex):
        msg = f"{path} is no table of {schema.name}: its rows have more fields than it has column names. {_REPLACE}"
        raise FileFormatError(msg)
    table = _typed(table, path, schema).set_index(schema.index)
    if not table.index.is_unique:
        twice = table.index[table.index.duplicated()][0]
        msg = f"{path} holds the {schema.index} {twice} more than once. {_REPLACE}"
        raise FileFormatError(msg)
    parsed_copies.save(path, table, source, content)
    return table


_REPLACE: Final = "Move the file away to have it fetched again"
#: The largest published table, of all units, has 36 MB.
_LONGEST: Final = 2 << 30


def _check_end(content: bytes, path: Path) -> None:
    """Raise unless the last line is whole: as many fields as the first, and a line end."""
    body = content.removeprefix(codecs.BOM_UTF8).rstrip(b"\r\n")
    try:
        header = _fields(body[: _line_end(body, body.find)])
        last = _fields(body[_line_end(body, body.rfind) + 1 :])
    except csv.Error as error:
        msg = f"{path} is no table: {error}. {_REPLACE}"
        raise FileFormatError(msg) from error
    if content.endswith((b"\n", b"\r")) and len(last) == len(header):
        return
    what = "is empty" if not content else "ends in the middle of a line"
    msg = f"{path} {what} (at byte {len(content):,}): a copy or download of it was cut. {_REPLACE}"
    raise CorruptFileError(msg)


def _line_end(text: bytes, find: Callable[[bytes], int]) -> int:
    """Return where `find` finds the first or last line end, of Unix, Windows or an old Macintosh; -1 if nowhere."""
    return find(b"\n") if b"\n" in text else find(b"\r")


def _fields(line: bytes) -> list[str]:
    return next(csv.reader([line.decode("utf-8", "replace").rstrip("\r\n")]), [])


def _check_columns(columns: pd.Index, path: Path, schema: TableSchema) -> None:
    missing = [name for name in schema.required if name not in columns]
    if missing:
        found = ", ".join(str(c) for c in columns[:6])
        msg = f"{path} is no table of {schema.name}: no column {missing[0]!r} (it has: {found}, ...). {_REPLACE}"
        raise FileFormatError(msg)


def _typed(table: pd.DataFrame, path: Path, schema: TableSchema) -> pd.DataFrame:
    if schema.index not in table:
        msg = f"{path} is no table of {schema.name}: it has no column {schema.index!r}. {_REPLACE}"
        raise FileFormatError(msg)
    if table.empty:  # no value tells of a type: a project whose sessions have no units
        kinds = dict.fromkeys((schema.index, *schema.ids), "int64") | dict.fromkeys(schema.numbers, "float64")
        table = table.astype({name: kind for name, kind in kinds.items() if name in table})
    for name in (schema.index, *schema.ids):
        if name in table and table[name].dtype != np.int64:
            _reject(table, name, path, "whole numbers")
    for name in schema.numbers:
        if name in table and (not pd.api.types.is_numeric_dtype(table[name]) or table[name].dtype == bool):
            _reject(table, name, path, "numbers")
    flags = {
        name: _flags(table[name])
        for name in table.columns
        if name in schema.flags and not pd.api.types.is_bool_dtype(table[name])
    }
    return table.assign(**flags)


def _flags(column: pd.Series[Any]) -> pd.Series[Any]:
    """Return True and False with gaps as nullable booleans; a column of something else as it is."""
    known = column.map({True: True, False: False, "True": True, "False": False})
    return known.astype("boolean") if bool((known.notna() | column.isna()).all()) else column


def _reject(table: pd.DataFrame, name: str, path: Path, wanted: str) -> None:
    numbers = pd.to_numeric(table[name], errors="coerce")
    wrong = (
        table[name][numbers.isna() | (numbers % 1 != 0)] if wanted == "whole numbers" else table[name][numbers.isna()]
    )
    example = f"'{wrong.iloc[0]}' in row {int(wrong.index[0]) + 1}" if len(wrong) else f"type {table[name].dtype}"
    msg = f"{path}: the column {name!r} should hold {wanted}, but has {example}. {_REPLACE}"
    raise FileFormatError(msg)
