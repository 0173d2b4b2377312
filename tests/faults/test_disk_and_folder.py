"""Rows C5 to C14: full disks, read-only folders, no network, damaged files and indices, modes, links."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import logging
import os
import resource
import shutil
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import faulty_server as fs
import pytest
from faulty_server import FaultyServer, litter_in, random_bytes

from allen_ecephys.cache.remotes.http import HttpRemote
from allen_ecephys.cache.remotes.protocol import RemoteFile
from allen_ecephys.cache.retrying.rules import TransferPolicy
from allen_ecephys.cache.transfer import checks as verification
from allen_ecephys.cache.transfer import resuming
from allen_ecephys.cache.transfer.checks import INDEX_NAME, entry_of, read_index
from allen_ecephys.cache.transfer.fetch import fetch
from allen_ecephys.cache.transfer.parts import PartFile
from allen_ecephys.errors import AccessError, DiskFullError, OfflineError

DATA = random_bytes(3_000_000, 6)
SHA = hashlib.sha256(DATA).hexdigest()
NAME = "session_6.bin"


def expected(server: FaultyServer, data: bytes = DATA) -> RemoteFile:
    return RemoteFile(NAME, server.url + NAME, len(data), digest=("sha256", hashlib.sha256(data).hexdigest()))


def get(server: FaultyServer, folder: Path) -> Path:
    return fetch(HttpRemote(server.url), NAME, folder / NAME, expected=expected(server))


@pytest.fixture
def served(server: FaultyServer) -> FaultyServer:
    server.serve(NAME, DATA)
    return server


def read_only(mount: Callable[..., Path], folder: Path) -> None:
    mount(folder.name, "--bind", str(folder))
    subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)


def test_C5_disk_full_at_start(served: FaultyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(resuming.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(DiskFullError, match=r"3,000,000 bytes needed, 1,000,000 free"):
        get(served, tmp_path)
    assert served.log == []
    assert list(tmp_path.iterdir()) == []


def test_C5_disk_full_at_start_on_a_small_disk(served: FaultyServer, mount: Callable[..., Path]) -> None:
    small = mount("small", "-t", "tmpfs", "-o", "size=2m", "tmpfs")
    with pytest.raises(DiskFullError, match="3,000,000 bytes needed"):
        get(served, small)
    assert served.log == []
    assert list(small.iterdir()) == []


def test_C6_disk_full_midway_on_a_small_disk(
    served: FaultyServer, mount: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = mount("small", "-t", "tmpfs", "-o", "size=2m", "tmpfs")
    (small / "other.txt").write_text("somebody's")
    # Another program fills the disk after the transfer has looked.
    monkeypatch.setattr(resuming.Transfer, "_check_room", lambda self: None)
    with pytest.raises(DiskFullError, match="Free some"):
        get(served, small)
    assert [path.name for path in small.iterdir()] == ["other.txt"]
    assert (small / "other.txt").read_text() == "somebody's"


def test_C6_quota_midway(served: FaultyServer, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, hard))
    try:
        with pytest.raises(DiskFullError):
            get(served, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []
    get(served, tmp_path)
    assert (tmp_path / NAME).read_bytes() == DATA


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_C6_disk_full_midway_patched(
    served: FaultyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    write, written = PartFile.write, []

    def full_after_a_while(self: PartFile, offset: int, data: bytes) -> None:
        written.append(len(data))
        if sum(written) > 1_000_000:
            raise OSError(code, os.strerror(code))
        write(self, offset, data)

    monkeypatch.setattr(PartFile, "write", full_after_a_while)
    with pytest.raises(DiskFullError):
        get(served, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_C7_read_only_cache_with_the_file(
    served: FaultyServer, tmp_path: Path, mount: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    get(served, folder)
    served.log.clear()
    read_only(mount, folder)
    writes: list[str] = []
    monkeypatch.setattr(verification, "note_checked", lambda *args, **kwargs: writes.append("index"))
    monkeypatch.setattr("allen_ecephys.cache.transfer.fetch.file_lock", lambda *a, **k: writes.append("lock"))
    assert get(served, folder).read_bytes() == DATA
    assert served.log == []
    assert writes == []


def test_C7_read_only_cache_never_checked_before(
    served: FaultyServer, tmp_path: Path, mount: Callable[..., Path]
) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    (folder / NAME).write_bytes(DATA)
    read_only(mount, folder)
    assert get(served, folder).read_bytes() == DATA
    assert sorted(path.name for path in folder.iterdir()) == [NAME]


def test_C8_read_only_cache_without_the_file(served: FaultyServer, tmp_path: Path, mount: Callable[..., Path]) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    read_only(mount, folder)
    for place in (folder, folder / "session_6"):
        with pytest.raises(AccessError, match="ALLEN_ECEPHYS_CACHE_DIR") as caught:
            get(served, place)
        assert str(folder) in str(caught.value)
    assert served.gets() == []


@pytest.fixture
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_C9_offline(
    served: FaultyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    get(served, tmp_path)
    (tmp_path / "unchecked.bin").write_bytes(DATA)
    request.getfixturevalue("no_sockets")
    monkeypatch.setenv("ALLEN_ECEPHYS_OFFLINE", "1")
    remote = HttpRemote(served.url)
    assert fetch(remote, NAME, tmp_path / NAME).read_bytes() == DATA
    assert fetch(remote, "unchecked.bin", tmp_path / "unchecked.bin").read_bytes() == DATA
    with pytest.raises(OfflineError, match=r"missing\.nwb.*allen-ecephys cache build"):
        fetch(remote, "missing.nwb", tmp_path / "missing.nwb")


def aside(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if ".corrupt-" in path.name]


def test_C10_truncated_file_is_set_aside_and_fetched(
    served: FaultyServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    get(served, tmp_path)
    with (tmp_path / NAME).open("r+b") as stream:
        stream.truncate(1_000_000)
    get(served, tmp_path)
    assert (tmp_path / NAME).read_bytes() == DATA
    [old] = aside(tmp_path)
    assert old.stat().st_size == 1_000_000
    assert "1,000,000 bytes, 3,000,000 are published" in caplog.text
    assert old.name in caplog.text


def test_C10_altered_file_is_found_by_its_new_time(
    served: FaultyServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    get(served, tmp_path)
    with (tmp_path / NAME).open("r+b") as stream:
        stream.seek(1_500_000)
        stream.write(b"\x00\x01\x02")
    get(served, tmp_path)
    assert (tmp_path / NAME).read_bytes() == DATA
    assert len(aside(tmp_path)) == 1
    assert SHA in caplog.text


def test_C10_touched_but_whole_file_is_kept(served: FaultyServer, tmp_path: Path) -> None:
    get(served, tmp_path)
    os.utime(tmp_path / NAME, (1, 1))
    served.log.clear()
    get(served, tmp_path)
    assert served.log == []
    assert aside(tmp_path) == []


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"{",
        b"\x00\xff" * 50,
        b"[]",
        b'{"format": 999, "files": {}}',
        b'{"format": 1, "files": {"session_6.bin": {"size": "many"}}}',
        b'{"format": 1, "files": {"session_6.bin": null}}',
        json.dumps(
            {"format": 1, "files": {NAME: dict.fromkeys(verification.CheckedFile.__dataclass_fields__, "x")}}
        ).encode(),
    ],
)
def test_C12_index_is_rebuilt_from_the_files(served: FaultyServer, tmp_path: Path, garbage: bytes) -> None:
    get(served, tmp_path)
    served.log.clear()
    (tmp_path / INDEX_NAME).write_bytes(garbage)
    assert read_index(tmp_path) == {}
    get(served, tmp_path)
    assert served.log == []  # hashed again, not fetched again
    entry = entry_of(tmp_path / NAME)
    assert entry is not None
    assert entry.verified
    assert entry.digest == SHA


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o002, 0o664)])
def test_C13_modes_follow_the_umask(served: FaultyServer, tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        get(served, tmp_path)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / NAME).stat().st_mode) == mode
    assert stat.S_IMODE((tmp_path / INDEX_NAME).stat().st_mode) == mode


def test_C14_moved_cache(served: FaultyServer, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    get(served, tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    served.log.clear()
    get(served, tmp_path / "there")
    assert served.log == []


def test_C14_symlinked_cache_on_another_disk(served: FaultyServer, tmp_path: Path, mount: Callable[..., Path]) -> None:
    disk = mount("disk", "-t", "tmpfs", "-o", "size=20m", "tmpfs")
    link = tmp_path / "cache"
    link.symlink_to(disk, target_is_directory=True)
    get(served, link)
    assert (disk / NAME).read_bytes() == DATA
    assert litter_in(disk) == []


def test_C14_dangling_link_in_place_of_the_file(served: FaultyServer, tmp_path: Path) -> None:
    (tmp_path / NAME).symlink_to(tmp_path / "nowhere")
    get(served, tmp_path)
    assert (tmp_path / NAME).read_bytes() == DATA


@pytest.mark.parametrize("name", ["数据 ü ñ.bin", "with space & % #.bin", "'quoted'.bin"])
def test_non_ascii_and_odd_names(server: FaultyServer, tmp_path: Path, name: str) -> None:
    server.serve(name, DATA, fs.cut(1_000_000), fs.well)
    folder = tmp_path / "Größe 大"
    path = fetch(HttpRemote(server.url), name, folder / name, policy=TransferPolicy(backoff_s=0.01))
    assert path.read_bytes() == DATA
    assert litter_in(tmp_path) == []


def test_wrong_clock_does_not_matter(served: FaultyServer, tmp_path: Path) -> None:
    policy = dataclasses.replace(TransferPolicy(), wall=lambda: time.time() - 1e6)
    fetch(HttpRemote(served.url), NAME, tmp_path / NAME, expected=expected(served), policy=policy)
    assert (tmp_path / NAME).read_bytes() == DATA


def test_lock_of_a_hanging_process_is_not_waited_for(served: FaultyServer, tmp_path: Path) -> None:
    import fcntl

    lock = (tmp_path / f"{NAME}.lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        policy = TransferPolicy(abandoned_after_s=0.3)
        fetch(HttpRemote(served.url), NAME, tmp_path / NAME, expected=expected(served), policy=policy)
    finally:
        lock.close()
    assert (tmp_path / NAME).read_bytes() == DATA


def test_progress_bar_shows_bytes_of_the_whole_file(tmp_path: Path, served: FaultyServer) -> None:
    code = (
        "import sys; from pathlib import Path; from allen_ecephys.cache.transfer.fetch import fetch;"
        "from allen_ecephys.cache.remotes.http import HttpRemote;"
        f"fetch(HttpRemote({served.url!r}), {NAME!r}, Path({str(tmp_path / NAME)!r}))"
    )
    environment = {**os.environ, "ALLEN_ECEPHYS_PROGRESS": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "100%" in done.stderr
    assert "3.00M/3.00M" in done.stderr
    assert NAME in done.stderr


def test_nothing_is_said_when_nothing_happens(
    served: FaultyServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, logger="allen_ecephys"):
        get(served, tmp_path)
        get(served, tmp_path)
    assert caplog.records == []
