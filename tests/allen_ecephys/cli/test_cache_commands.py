"""Commands that work on a cache that is there make none where none is."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from allen_ecephys.cli import main


@pytest.mark.parametrize("command", [["status"], ["verify"], ["verify", "--repair"], ["export", "copy.tar", "--all"]])
@pytest.mark.parametrize("there", [False, True])
def test_a_mistyped_folder_is_told_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], there: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    if there:
        (tmp_path / "typo").mkdir()
    before = sorted(tmp_path.rglob("*"))
    done = CliRunner().invoke(main, ["cache", *command, "--cache-dir", "typo"])
    assert done.exit_code == 1
    assert "there is no cache in typo" in done.output
    assert sorted(tmp_path.rglob("*")) == before


def test_status_writes_nothing_into_a_copied_folder(tmp_path: Path) -> None:
    (tmp_path / "sessions.csv").write_text("id\n1\n")
    done = CliRunner().invoke(main, ["cache", "status", "--cache-dir", str(tmp_path)])
    assert (done.exit_code, "sessions.csv" in done.output) == (0, True)
    assert [path.name for path in tmp_path.iterdir()] == ["sessions.csv"]
