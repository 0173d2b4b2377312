"""LFP files have a second name beside the session's, and are copied where a disk knows none."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from allen_ecephys.processing.pipeline.stage import StageResult
from allen_ecephys.processing.stages.probe_lfp import collect, lfp_file


@pytest.fixture
def stages(tmp_path: Path) -> list[StageResult]:
    found = []
    for number in (10, 11):
        folder = tmp_path / f"probe{number}" / "lfp"
        folder.mkdir(parents=True)
        (folder / lfp_file(number)).write_bytes(bytes([number]) * 1000)
        found.append(StageResult(folder, reused=False, manifest={}))
    (tmp_path / "session").mkdir()
    return found


def test_a_second_name_takes_no_room(stages: list[StageResult], tmp_path: Path) -> None:
    names = collect(stages, tmp_path / "session")
    assert names == ["probe_10_lfp.nwb", "probe_11_lfp.nwb"]
    for stage, name in zip(stages, names, strict=True):
        assert (stage.folder / name).samefile(tmp_path / "session" / name)


def test_a_disk_without_second_names(
    stages: list[StageResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    assert collect(stages, tmp_path / "session") == []
    for stage, number in zip(stages, (10, 11), strict=True):
        copy = tmp_path / "session" / lfp_file(number)
        assert copy.read_bytes() == (stage.folder / copy.name).read_bytes()
        assert not copy.samefile(stage.folder / copy.name)


def test_a_full_disk_is_no_reason_to_copy(
    stages: list[StageResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(OSError, match="No space left"):
        collect(stages, tmp_path / "session")
