"""Rows A3 and A4: exports of caches that hold links, of files that change meanwhile, and names that cannot collide."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path
from typing import IO

import pytest
from small_project import write_project

from allen_ecephys.cache import EcephysProjectCache
from allen_ecephys.cache.offline import export as exporting
from allen_ecephys.cache.offline.export import export
from allen_ecephys.cache.offline.verify import verify
from allen_ecephys.cache.transfer.fetch import set_aside
from allen_ecephys.errors import AlreadyPresentError, ChecksumError, CorruptFileError, MissingFileError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_project(tmp_path / "project")


def unpacked(tar: Path, folder: Path) -> Path:
    with tarfile.open(tar) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.mark.parametrize("form", ["copy", "copy.tar"])
def test_A3_what_links_lead_to_is_exported(root: Path, tmp_path: Path, form: str) -> None:
    (tmp_path / "disk").mkdir()
    for session in (101, 102):
        path = root / f"session_{session}" / f"session_{session}.nwb"
        elsewhere = path.rename(tmp_path / "disk" / path.name)
        path.symlink_to(elsewhere)
    twin = root / "session_103" / "probe_1030_lfp.nwb"
    twin.unlink()
    os.link(root / "session_103" / "session_103.nwb", twin)
    expected = {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    report = export(EcephysProjectCache.fixed(root), tmp_path / form)
    assert len(report.files) == len(expected)
    copy = tmp_path / form if form == "copy" else unpacked(tmp_path / form, tmp_path / "unpacked")
    assert not [path for path in copy.rglob("*") if path.is_symlink()]
    assert {path: (copy / path).read_bytes() for path in expected} == expected
    assert verify(EcephysProjectCache.fixed(copy)).ok


def test_A3_a_link_to_nothing_is_told(root: Path, tmp_path: Path) -> None:
    path = root / "session_101" / "session_101.nwb"
    path.unlink()
    path.symlink_to(tmp_path / "gone.nwb")
    with pytest.raises(MissingFileError, match=r"session_101\.nwb is a link to nothing"):
        export(EcephysProjectCache.fixed(root), tmp_path / "copy.tar")
    assert not (tmp_path / "copy.tar").exists()


def test_A3_a_file_that_is_cut_while_it_is_packed(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = exporting._Digesting.read

    def cut_then_read(self: exporting._Digesting, size: int = -1) -> bytes:
        if self._path.name == "session_102.nwb":
            os.truncate(self._path, 1000)
        return original(self, size)

    monkeypatch.setattr(exporting._Digesting, "read", cut_then_read)
    with pytest.raises(CorruptFileError, match=r"session_102\.nwb"):
        export(EcephysProjectCache.fixed(root), tmp_path / "copy.tar")
    assert [path.name for path in tmp_path.iterdir()] == ["project"]


def test_A3_an_archive_that_the_disk_spoils_is_not_said_to_be_done(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = exporting._write_tar

    def spoiled(draft: IO[bytes], sources: list[tuple[str, Path]]) -> object:
        copies = original(draft, sources)
        draft.seek(draft.tell() // 2)
        draft.write(b"\x55" * 8)
        return copies

    monkeypatch.setattr(exporting, "_write_tar", spoiled)
    with pytest.raises((CorruptFileError, ChecksumError), match="not what was packed"):
        export(EcephysProjectCache.fixed(root), tmp_path / "copy.tar")
    assert [path.name for path in tmp_path.iterdir()] == ["project"]


@pytest.mark.parametrize("form", ["copy", "copy.tar"])
def test_A4_what_appears_meanwhile_is_not_overwritten(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    original = exporting._Digesting.entry

    def appear(self: exporting._Digesting) -> object:
        if form == "copy":
            (tmp_path / form).mkdir(exist_ok=True)
            (tmp_path / form / "theirs").touch()
        else:
            (tmp_path / form).write_text("theirs")
        return original(self)

    monkeypatch.setattr(exporting._Digesting, "entry", appear)
    with pytest.raises(AlreadyPresentError):
        export(EcephysProjectCache.fixed(root), tmp_path / form)
    theirs = [path.name for path in (tmp_path / form).iterdir()] if form == "copy" else (tmp_path / form).read_text()
    assert theirs in (["theirs"], "theirs")
    assert sorted(path.name for path in tmp_path.iterdir()) == [form, "project"]


def test_A4_files_set_aside_in_one_second_are_all_kept(tmp_path: Path) -> None:
    path = tmp_path / "units.csv"
    for number in range(3):
        path.write_text(str(number))
        set_aside(path, "for this test")
    assert sorted(kept.read_text() for kept in tmp_path.glob("units.csv.corrupt-*")) == ["0", "1", "2"]
