from __future__ import annotations

import os
import random
import shutil

import numpy as np
import pandas as pd
import pytest

from allen_ecephys.cache.tables import parsed_copies
from allen_ecephys.cache.tables.editing import TextTable
from allen_ecephys.cache.tables.reading import TableSchema, read_table
from allen_ecephys.errors import CorruptFileError, FileFormatError

SCHEMA = TableSchema("units", "id", ("channel",), ids=("channel",), numbers=("snr",), flags=("multi",))
GOOD = "id,channel,snr,multi,name\n1,10,0.5,True,VISp\n2,11,,False,\n3,12,1e-3,,VISl\n"


def table_at(tmp_path, text=GOOD):
    path = tmp_path / "units.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def large(tmp_path, rows=4000):
    draw = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "channel": draw.integers(0, 2**60, rows),
            "snr": draw.normal(size=rows) * 10.0 ** draw.integers(-12, 12, rows),
            "empty": np.nan,
            "flag": draw.random(rows) < 0.5,
            "multi": pd.array(draw.choice([True, False, None], rows), dtype="boolean"),
            "name": draw.choice(["VISp", "VISl", None, "LGd-sh", "é"], rows),
        },
        index=pd.Index(draw.permutation(rows), name="id"),
    )
    path = tmp_path / "units.csv"
    frame.to_csv(path)
    return path


def test_types(tmp_path):
    table = read_table(table_at(tmp_path), SCHEMA)
    assert table.index.tolist() == [1, 2, 3]
    assert table["channel"].dtype == np.int64
    assert table["snr"].dtype == np.float64
    assert table["multi"].tolist() == [True, False, pd.NA]
    assert table["name"].isna().tolist() == [False, True, False]


def test_every_decimal_is_read_exactly(tmp_path):
    draw = random.Random(0)
    texts = [repr(draw.uniform(-1, 1) * 10.0 ** draw.randint(-30, 30)) for _ in range(5000)]
    path = table_at(tmp_path, "id,channel,snr\n" + "".join(f"{k},1,{text}\n" for k, text in enumerate(texts)))
    assert read_table(path, SCHEMA)["snr"].tolist() == [float(text) for text in texts]


# A cut between two lines is left out: only the number of rows could tell.
@pytest.mark.parametrize("end", [k for k in range(2, 36) if not GOOD[:-k].endswith("\n")])
def test_file_cut_anywhere_in_a_line(tmp_path, end):
    text = GOOD[:-end]
    with pytest.raises(CorruptFileError, match="middle of a line"):
        read_table(table_at(tmp_path, text), SCHEMA)


def test_cut_at_the_very_end(tmp_path):
    with pytest.raises(CorruptFileError, match="middle of a line"):
        read_table(table_at(tmp_path, GOOD[:-1]), SCHEMA)


@pytest.mark.parametrize("text", ["", b"id,channel\n1,2\n\x00\x00\x00\x00", "id,channel\n1,2\n3\n"])
def test_empty_or_never_written_tail(tmp_path, text):
    with pytest.raises(CorruptFileError):
        read_table(table_at(tmp_path, text), SCHEMA)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,snr\n1,2\n", "no column 'channel'"),
        ("key,channel\n1,2\n", "no column 'id'"),
        ("<html>\n<body>\n</html>\n", "no column 'channel'"),
        ("id,channel\n1,2\n1,3\n", "id 1 more than once"),
        ("id,channel\n1,x\n", "'x' in row 1"),
        ("id,channel\n1,2.5\n", "'2.5' in row 1"),
        ("id,channel,snr\n1,2,3\n2,2,high\n", "'high' in row 2"),
        ("id,channel\n1,2,3,4\n2,3\n", "more fields"),
        (b"id,channel,n\n1,2,\xff\xfe\n", "no table of units"),
    ],
)
def test_no_such_table(tmp_path, text, message):
    path = table_at(tmp_path, text)
    with pytest.raises((FileFormatError, CorruptFileError), match=message) as caught:
        read_table(path, SCHEMA)
    assert "units.csv" in str(caught.value)
    assert path.exists()


def test_copy_holds_the_same_table(tmp_path):
    path = large(tmp_path)
    parsed = read_table(path, SCHEMA)
    assert parsed_copies.copy_path(path).exists()
    kept = parsed_copies.load(path)
    pd.testing.assert_frame_equal(parsed, kept)
    pd.testing.assert_frame_equal(parsed, read_table(path, SCHEMA))


def test_copy_is_what_is_read(tmp_path, monkeypatch):
    path = large(tmp_path)
    parsed = read_table(path, SCHEMA)
    monkeypatch.setattr(pd, "read_csv", lambda *_, **__: pytest.fail("parsed again"))
    pd.testing.assert_frame_equal(parsed, read_table(path, SCHEMA))


def test_copy_of_another_size_is_not_used(tmp_path):
    path = large(tmp_path)
    read_table(path, SCHEMA)
    with path.open("a") as file:
        file.write("99999,1,1.0,,True,,VISp\n")
    assert 99999 in read_table(path, SCHEMA).index


def test_copy_of_another_content_is_not_used(tmp_path):
    path = large(tmp_path)
    before = path.stat()
    read_table(path, SCHEMA)
    text = path.read_text()
    path.write_text(text.replace("VISp", "VISq"))  # the same size
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert "VISq" in read_table(path, SCHEMA)["name"].to_list()


def test_a9_a_table_of_equal_size_and_restored_time_is_read_again(tmp_path):
    path = large(tmp_path)
    before = path.stat()
    read_table(path, SCHEMA)
    new = tmp_path / "new.csv"
    new.write_text(path.read_text().replace("VISp", "VISq"))
    os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
    new.replace(path)
    assert "VISq" in read_table(path, SCHEMA)["name"].to_list()
    assert "VISq" in parsed_copies.load(path)["name"].to_list()


def test_a12_a_pipe_in_the_place_of_a_copy_is_not_waited_for(tmp_path):
    path = large(tmp_path)
    os.mkfifo(parsed_copies.copy_path(path))
    assert len(read_table(path, SCHEMA)) == 4000


def test_a12_a_copy_does_not_decide_how_much_memory_is_taken(tmp_path):
    path = large(tmp_path)
    parsed = read_table(path, SCHEMA)
    copy = parsed_copies.copy_path(path)
    with np.load(copy) as members:
        kept = dict(members)
    with copy.open("wb") as file:
        np.savez_compressed(file, **kept | {"f": np.zeros((1, 2_000_000))})
    pd.testing.assert_frame_equal(parsed, read_table(path, SCHEMA))


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a16_tables_as_other_programs_save_them(tmp_path, ends, mark):
    path = table_at(tmp_path, mark + GOOD.replace("\n", ends).encode())
    pd.testing.assert_frame_equal(read_table(path, SCHEMA), read_table(table_at(tmp_path), SCHEMA))
    cut = mark + GOOD.replace("\n", ends).encode()[:-7]
    with pytest.raises(CorruptFileError):
        read_table(table_at(tmp_path, cut), SCHEMA)
    rows = TextTable.read(table_at(tmp_path, mark + GOOD.replace("\n", ends).encode()), ("id",))
    assert rows.column("id") == ["1", "2", "3"]


@pytest.mark.parametrize("end", ["", "\n"])
def test_a16_a_login_page_of_one_long_line(tmp_path, end):
    path = table_at(tmp_path, "<html>" + "x" * 300_000 + "</html>" + end)
    with pytest.raises((FileFormatError, CorruptFileError)):
        read_table(path, SCHEMA)
    with pytest.raises(FileFormatError):
        TextTable.read(path, ("id",)).column("id")


def test_copied_cache_keeps_its_copies(tmp_path, monkeypatch):
    path = large(tmp_path)
    parsed = read_table(path, SCHEMA)
    shutil.copytree(tmp_path, tmp_path / "elsewhere", copy_function=shutil.copyfile)
    moved = tmp_path / "elsewhere" / "units.csv"
    assert moved.stat().st_mtime_ns != path.stat().st_mtime_ns
    monkeypatch.setattr(pd, "read_csv", lambda *_, **__: pytest.fail("parsed again"))
    pd.testing.assert_frame_equal(parsed, read_table(moved, SCHEMA))


@pytest.mark.parametrize("damage", ["empty", "cut", "flip", "text", "newer", "objects"])
def test_damaged_copy_is_made_again(tmp_path, damage):
    path = large(tmp_path)
    parsed = read_table(path, SCHEMA)
    copy = parsed_copies.copy_path(path)
    content = copy.read_bytes()
    if damage == "objects":
        with copy.open("wb") as file:
            np.savez(file, about=np.array([{}], dtype=object))
    elif damage == "newer":
        copy.write_bytes(content.replace(b'{"format": 2', b'{"format": 9'))
    else:
        middle = len(content) // 2
        flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        copy.write_bytes({"empty": b"", "cut": content[:middle], "flip": flipped, "text": b"no archive"}[damage])
    pd.testing.assert_frame_equal(parsed, read_table(path, SCHEMA))
    pd.testing.assert_frame_equal(parsed, parsed_copies.load(path))


def test_folder_that_cannot_be_written(tmp_path, monkeypatch):
    path = large(tmp_path)

    def refuse(*_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("os.replace", refuse)
    assert len(read_table(path, SCHEMA)) == 4000
    assert [p.name for p in tmp_path.iterdir()] == ["units.csv"]


def test_small_table_needs_no_copy(tmp_path):
    read_table(table_at(tmp_path), SCHEMA)
    assert [p.name for p in tmp_path.iterdir()] == ["units.csv"]
