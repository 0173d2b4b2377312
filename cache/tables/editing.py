"""CSV tables as text: adding and removing rows without touching a digit of the others."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Sequence
from pathlib import Path

import pandas as pd

from allen_ecephys.errors import FileFormatError


class TextTable:
    """The rows of a CSV file as text; the first column is the id.

    Parameters
    ----------
    header
        Column names.
    rows
        The fields of each row.
    """

    def __init__(self, header: Sequence[str], rows: Sequence[Sequence[str]] = ()) -> None:
        self.header = list(header)
        self.rows = [list(row) for row in rows]

    @classmethod
    def read(cls, path: Path, header: Sequence[str]) -> TextTable:
        """Return the table at `path`, or an empty one with `header` if there is none.

        Raises
        ------
        FileFormatError
            If a row has another number of fields than the header.
        """
        if not path.is_file():
            return cls(header)
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                lines = list(csv.reader(file))
        except (csv.Error, UnicodeDecodeError) as error:
            msg = f"{path} is no table: {error}. Restore it before adding to it"
            raise FileFormatError(msg) from error
        if not lines or any(len(row) != len(lines[0]) for row in lines):
            msg = f"{path} is no whole table: rows differ in their number of fields. Restore it before adding to it"
            raise FileFormatError(msg)
        return cls(lines[0], lines[1:])

    def column(self, name: str) -> list[str]:
        """Return the fields of one column."""
        if name not in self.header:
            msg = f"the table has no column {name!r}: {', '.join(self.header[:8])}"
            raise FileFormatError(msg)
        at = self.header.index(name)
        return [row[at] for row in self.rows]

    def without(self, ids: Collection[int]) -> TextTable:
        """Return the table without the rows of some ids."""
        gone = {str(i) for i in ids}
        return TextTable(self.header, [row for row in self.rows if row[0] not in gone])

    def with_rows(self, frame: pd.DataFrame) -> TextTable:
        """Return the table with the rows of `frame` (index: id) appended; columns it lacks are added, empty before."""
        extra = [str(name) for name in frame.columns if name not in self.header]
        header = self.header + extra
        rows = [row + [""] * len(extra) for row in self.rows]
        aligned = frame.reindex(columns=header[1:])
        added = list(csv.reader(io.StringIO(aligned.to_csv(index_label=header[0]))))[1:]
        return TextTable(header, rows + added)

    def encoded(self) -> bytes:
        """Return the table as the bytes of a CSV file."""
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerows([self.header, *self.rows])
        return text.getvalue().encode()
