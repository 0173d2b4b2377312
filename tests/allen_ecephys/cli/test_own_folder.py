"""A folder that a command empties at its next run: only of what it wrote."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest

from allen_ecephys.cli.own_folder import MARKER, own_folder
from allen_ecephys.errors import AlreadyPresentError


def fill(folder: Path) -> None:
    (folder / "session_1").mkdir()
    (folder / "session_1" / "session_1.nwb").write_bytes(b"spikes")
    (folder / "units.csv").write_text("id")


def test_what_was_written_goes_and_the_rest_stays(tmp_path: Path) -> None:
    for _ in range(2):
        with own_folder(tmp_path / "project") as folder:
            assert [path.name for path in folder.iterdir()] == [MARKER]
            fill(folder)
    with contextlib.suppress(RuntimeError), own_folder(tmp_path / "project") as folder:
        fill(folder)
        raise RuntimeError  # what was written until then is noted too
    with own_folder(tmp_path / "project"):
        pass


@pytest.mark.parametrize("change", ["added", "changed", "link", "marker"])
def test_what_somebody_else_did_is_refused(tmp_path: Path, change: str) -> None:
    with own_folder(tmp_path / "project") as folder:
        fill(folder)
    if change == "added":
        (folder / "session_1" / "mine.txt").write_text("mine")
    elif change == "changed":
        (folder / "units.csv").write_text("id,mine")
    elif change == "link":
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere" / "data.nwb").write_bytes(b"data")
        (folder / "data").symlink_to(tmp_path / "elsewhere")
    else:
        (folder / MARKER).unlink()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(AlreadyPresentError, match="nothing was removed"), own_folder(folder):
        pass
    assert sorted(tmp_path.rglob("*")) == before


def test_a_marker_that_names_files_elsewhere_removes_nothing_there(tmp_path: Path) -> None:
    data = tmp_path / "data.nwb"
    data.write_bytes(b"data")
    with own_folder(tmp_path / "project") as folder:
        pass
    facts = data.stat()
    (folder / MARKER).write_text(json.dumps({"../data.nwb": [facts.st_size, facts.st_mtime_ns]}))
    with own_folder(folder):
        pass
    assert data.exists()


def test_empty_folders_are_no_reason_to_refuse_and_full_ones_are(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with own_folder(tmp_path / "empty"):
        pass
    (tmp_path / "other" / "inner").mkdir(parents=True)
    with pytest.raises(AlreadyPresentError), own_folder(tmp_path / "other"):
        pass
