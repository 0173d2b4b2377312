"""Columns and series read as what the layout says they are: numbers, whole numbers, flags, text; never believed.

Type and shape are judged by the metadata, before anything is read.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import FileFormatError
from .layout import Column

if TYPE_CHECKING:
    import pandas as pd

    from .reader import NwbReader

Floats = np.ndarray[Any, np.dtype[np.float64]]
Integers = np.ndarray[Any, np.dtype[np.int64]]

_WRONGLY = "the file was written wrongly or is damaged"


def check_numeric(reader: NwbReader, path: str, dimensions: int = 1) -> None:
    """Refuse the dataset at `path` unless it holds numbers and has so many dimensions.

    Raises
    ------
    FileFormatError
        Saying what it holds instead. Truth values are no numbers.
    """
    dataset = reader.dataset(path)
    if dataset.dtype.kind not in "iuf" or dataset.ndim != dimensions or _is_flag(dataset.dtype):
        shape = "a column" if dimensions == 1 else f"{dimensions} dimensions"
        msg = (
            f"{path} of {reader.name} has shape {dataset.shape} and type {dataset.dtype}; expected {shape} of numbers: "
            f"{_WRONGLY}"
        )
        raise FileFormatError(msg)


def _is_flag(dtype: np.dtype[Any]) -> bool:
    import h5py

    return h5py.check_enum_dtype(dtype) is not None


def numbers(reader: NwbReader, path: str, dimensions: int = 1) -> np.ndarray[Any, Any]:
    """Return the numbers at `path`, in the type of the file.

    Raises
    ------
    FileFormatError
        If they are none, or not of so many dimensions.
    """
    check_numeric(reader, path, dimensions)
    return reader.array(path)


def floats(reader: NwbReader, path: str) -> Floats:
    """Return the column of numbers at `path` as float64; errors of :func:`numbers`."""
    return numbers(reader, path).astype(np.float64, copy=False)


def whole_numbers(reader: NwbReader, path: str) -> Integers:
    """Return the column of whole numbers at `path` as int64.

    Raises
    ------
    FileFormatError
        If they are no numbers, or one of them is missing, a fraction or beyond 64 bits.
    """
    return as_whole(numbers(reader, path), f"{path} of {reader.name}")


def as_whole(values: np.ndarray[Any, Any], what: str) -> Integers:
    """Return numbers as int64, or raise FileFormatError where one is no whole number."""
    if values.dtype == np.int64:
        return values
    if values.dtype.kind == "u":
        wrong = values > np.iinfo(np.int64).max
    else:
        # 2**63 is a float64, the largest int64 is not.
        wrong = ~((values >= -(2.0**63)) & (values < 2.0**63) & (np.floor(values) == values))
    if np.any(wrong):
        at = int(np.argmax(wrong))
        msg = f"{what} holds {values[at]} at row {at}; expected whole numbers: {_WRONGLY}"
        raise FileFormatError(msg)
    return values.astype(np.int64)


def stops(reader: NwbReader, path: str, rows: int | None = None) -> Integers:
    """Return where each row of the ragged column at `path` ends.

    Parameters
    ----------
    reader
        The file.
    path
        The column; ``path + "_index"`` holds its ends.
    rows
        How many rows its table has, where that is known.

    Raises
    ------
    FileFormatError
        If they do not divide the column's values, all of them, among the rows.
    """
    ends = whole_numbers(reader, f"{path}_index")
    shape = reader.dataset(path).shape
    if not shape:
        msg = f"{path} of {reader.name} is a single value; expected a column: {_WRONGLY}"
        raise FileFormatError(msg)
    starts = np.concatenate(([0], ends[:-1]))
    last = int(ends[-1]) if len(ends) else 0
    if np.any(ends < starts) or last != shape[0]:
        msg = (
            f"{path}_index of {reader.name} does not divide the {shape[0]:,} values of {path}: its ends must ascend "
            f"from 0 to {shape[0]:,}, and the last is {last:,}. The file was written wrongly"
        )
        raise FileFormatError(msg)
    if rows is not None and len(ends) != rows:
        msg = f"{path}_index of {reader.name} has {len(ends):,} rows, its table {rows:,}: {_WRONGLY}"
        raise FileFormatError(msg)
    return ends


def read_table(
    reader: NwbReader, path: str, columns: Iterable[str] | None = None, exclude_ragged: bool = True
) -> pd.DataFrame:
    """Return the columns of the DynamicTable at `path`.

    Parameters
    ----------
    reader
        The file.
    path
        The table's group.
    columns
        Names to read; those the table lacks are left out (a released file leaves out columns without a value).
        Default: all, in the order of the file.
    exclude_ragged
        Leave out columns with several values a row; else each of their cells is an array.

    Returns
    -------
    DataFrame
        Index: the table's ``id`` (int64). Text as str, booleans as bool. Object references are left out.
    """
    import pandas as pd

    names = column_names(reader, path) if columns is None else [c for c in columns if reader.has(f"{path}/{c}")]
    if exclude_ragged:
        short = [name for name in names if not reader.has(f"{path}/{name}_index")]
        reader.prefetch((f"{path}/{name}", 0, None) for name in ["id", *short])
    data: dict[str, Any] = {}
    for name in names:
        column = _column(reader, f"{path}/{name}", exclude_ragged)
        if column is not None:
            data[name] = column
    index = pd.Index(whole_numbers(reader, f"{path}/id"), name="id")
    for name, column in data.items():
        if len(column) != len(index):
            msg = (
                f"column {name!r} of table {path} in {reader.name} has {len(column):,} values for {len(index):,} "
                "rows: the file was written wrongly"
            )
            raise FileFormatError(msg)
    return pd.DataFrame(data, index=index)


def column_names(reader: NwbReader, path: str) -> list[str]:
    """Return the names of the columns of the DynamicTable at `path` that the file holds."""
    listed = reader.attribute(path, "colnames")
    present = reader.children(path)
    if listed is None:
        return [name for name in present if name != "id" and not name.endswith("_index")]
    names = [reader.as_text(name, f"'colnames' of {path}") for name in np.atleast_1d(listed).ravel().tolist()]
    return [name for name in names if name in present]


def _column(reader: NwbReader, path: str, exclude_ragged: bool) -> Any:
    import h5py
    import pandas as pd

    dataset = reader.dataset(path)
    ragged = reader.has(f"{path}_index")
    if dataset.dtype.names or h5py.check_ref_dtype(dataset.dtype) is not None:
        return None
    if (ragged or dataset.ndim != 1) and exclude_ragged:
        return None
    coded = None if ragged else reader.coded_text(path)
    if coded is not None:
        return pd.Series(coded[1], dtype=str).array.take(coded[0])
    values = reader.array(path)
    if not ragged:
        return values if values.ndim == 1 else list(values)
    ends = stops(reader, path)
    starts = np.concatenate(([0], ends[:-1]))
    return pd.Series([values[a:b] for a, b in zip(starts, ends, strict=True)], dtype=object).array


def typed(reader: NwbReader, path: str, table: pd.DataFrame, columns: Iterable[Column]) -> pd.DataFrame:
    """Return a table that was read from `path` with the columns of the layout as the types that it gives them.

    Numbers keep the type of the file, but for ids and indices, which become int64, and flags, which become bool.
    Columns that the table lacks, and others than those of the layout, are left alone.

    Raises
    ------
    FileFormatError
        If a column is of another type, or the file has it in a shape that makes no column.
    """
    import pandas as pd

    made: dict[str, Any] = {}
    for column in columns:
        where = f"{path}/{column.name}"
        if column.name not in table:
            if reader.has(where):
                dataset = reader.dataset(where)
                msg = (
                    f"{where} of {reader.name} has shape {dataset.shape} and type {dataset.dtype}; expected one value "
                    f"a row: {_WRONGLY}"
                )
                raise FileFormatError(msg)
            continue
        held = table[column.name]
        if not len(held):
            continue  # nothing that could be of another type
        kind = "O" if isinstance(held.dtype, pd.StringDtype) else held.dtype.kind
        if (kind == "O") != (column.dtype == "str") or (kind == "b" and column.dtype != "bool"):
            msg = f"{where} of {reader.name} has type {held.dtype}; expected {_EXPECTED[column.dtype]}: {_WRONGLY}"
            raise FileFormatError(msg)
        if column.dtype == "i8" and column.name.endswith(("_id", "_index")):
            made[column.name] = as_whole(held.to_numpy(), f"{where} of {reader.name}")
        elif column.dtype == "bool" and kind != "b":
            flags = as_whole(held.to_numpy(), f"{where} of {reader.name}")
            if not np.isin(flags, (0, 1)).all():
                msg = f"{where} of {reader.name} holds other numbers than 0 and 1; expected flags: {_WRONGLY}"
                raise FileFormatError(msg)
            made[column.name] = flags.astype(bool)
    return table.assign(**made) if made else table


_EXPECTED = {"f8": "numbers", "um": "numbers", "i8": "whole numbers", "bool": "flags", "str": "text"}
