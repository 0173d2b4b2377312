"""Tables that people write by hand or with another program: CSV, or Parquet."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import FileFormatError, MissingExtraError, MissingFileError
from .files import open_regular

if TYPE_CHECKING:
    import pandas as pd

#: What European versions of Excel, and other programs, put between the values instead of commas.
_OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs"}


def read_written_table(
    path: str | os.PathLike[str], needed: Iterable[str] = (), *, may_be_empty: bool = False
) -> pd.DataFrame:
    r"""Return the table in a CSV file, or in one that ends in ``.parquet``.

    Parameters
    ----------
    path
        The file. A byte order mark and Windows' ends of lines do not matter.
    needed
        Columns that it must have.
    may_be_empty
        Whether a table of columns without a row will do.

    Raises
    ------
    MissingFileError
        If there is no such file.
    FileFormatError
        If it is no table, has no row, or lacks a column.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "trials.csv").write_text("start_time,stop_time\n0.5,1\n")
    ...     read_written_table(Path(folder, "trials.csv"), ["start_time"])
       start_time  stop_time
    0         0.5          1
    """
    import pandas as pd

    place = Path(path)
    try:
        with open_regular(place) as file:
            table = pd.read_parquet(file) if place.suffix == ".parquet" else pd.read_csv(file, encoding="utf-8-sig")
    except FileNotFoundError as error:
        msg = f"there is no table {place}; check the path"
        raise MissingFileError(msg) from error
    except ImportError as error:
        msg = f"reading {place} needs a library that is not installed: {error}"
        raise MissingExtraError(msg) from error
    except ValueError as error:  # of pandas and pyarrow, and of bytes that are no text
        msg = f"{place} is no table that can be read ({str(error).strip()}); save it as CSV, in UTF-8"
        raise FileFormatError(msg) from error
    columns = [str(column) for column in table.columns]
    lacking = [column for column in needed if column not in columns]
    if lacking or not (len(table) or may_be_empty):
        other = next((word for mark, word in _OTHER_SEPARATORS.items() if len(columns) == 1 and mark in columns[0]), "")
        hint = f"; its values are separated by {other}: save it with commas" if other else ""
        wrong = f"has no column {lacking[0]!r}" if lacking else "has no row"
        msg = f"{place} {wrong}; its columns are {', '.join(columns)[:200]}{hint}"
        raise FileFormatError(msg)
    return table
