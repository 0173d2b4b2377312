"""Tables that people hand in are read, or refused with the reason (row A22)."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest

from allen_ecephys.errors import AllenEcephysError, FileFormatError, MissingFileError
from allen_ecephys.written_tables import read_written_table

ROWS = b"start_time,name\n0.5,a\n1.5,b\n"


@pytest.mark.parametrize("content", [ROWS, b"\xef\xbb\xbf" + ROWS, ROWS.replace(b"\n", b"\r\n"), ROWS.rstrip(b"\n")])
def test_csv_as_programs_save_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    table = read_written_table(path, ["start_time", "name"])
    pd.testing.assert_frame_equal(table, pd.DataFrame({"start_time": [0.5, 1.5], "name": ["a", "b"]}))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no table that can be read"),
        (bytes(range(256)) * 4, "no table that can be read"),
        (ROWS.decode().encode("utf-16"), "no table that can be read"),
        (b"<html>" * 10, "has no column 'start_time'"),
        (ROWS.replace(b",", b";"), "separated by semicolons: save it with commas"),
        (ROWS.replace(b",", b"\t"), "separated by tabs"),
        (b"start_time,name\n", "has no row"),
        (b"a,b\n1,2\n1,2,3,4\n", "no table that can be read"),
    ],
)
def test_what_is_no_table(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=message):
        read_written_table(path, ["start_time"])


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="there is no table"):
        read_written_table(tmp_path / "gone.csv")
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(FileFormatError, match="no regular file"):
        read_written_table(tmp_path / "pipe.csv")
    (tmp_path / "table.parquet").write_bytes(ROWS)
    with pytest.raises(AllenEcephysError):  # damaged, or the library is missing
        read_written_table(tmp_path / "table.parquet")
