"""Rows C1 to C4 and C16: kill -9, many processes, locks that do nothing, abandoned parts, Ctrl-C."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import faulty_server as fs
import pytest
from faulty_server import FaultyServer, litter_in, random_bytes
from fetch_child import KILL_POINTS
from kill_points import long_rounds

from allen_ecephys.cache.remotes.http import HttpRemote
from allen_ecephys.cache.remotes.protocol import RemoteFile
from allen_ecephys.cache.retrying.rules import TransferPolicy
from allen_ecephys.cache.transfer import parts
from allen_ecephys.cache.transfer.fetch import fetch
from allen_ecephys.cache.transfer.journals import journal_of, read_journal
from allen_ecephys.cache.transfer.parts import PartFile, claim_part, parts_of
from allen_ecephys.files import this_process

DATA = random_bytes(24_000_000, 5)
SHA = hashlib.sha256(DATA).hexdigest()
NAME = "session_5.bin"
CHILD = Path(__file__).with_name("fetch_child.py")


def start(server: FaultyServer, path: Path, **task: Any) -> subprocess.Popen[str]:
    task = {"url": server.url + NAME, "path": str(path), "size": len(DATA), "sha256": SHA, **task}
    command = [sys.executable, str(CHILD), json.dumps(task)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def is_invariant_kept(path: Path) -> bool:
    """No file under its final name unless its digest is right."""
    return not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() == SHA


def bytes_sent(server: FaultyServer) -> int:
    return sum(request.sent for request in server.gets())


def kill_loop(server: FaultyServer, folder: Path, rounds: int, seed: int) -> Counter[str]:
    """Start, kill after a random number of bytes, look; a finished file is removed so that the loop goes on."""
    server.serve(NAME, DATA)
    server.bytes_per_s = 3_000_000  # of each of eight connections: a second in all
    path, rng, counts = folder / NAME, random.Random(seed), Counter[str]()
    for _ in range(rounds):
        goal = bytes_sent(server) + rng.randrange(len(DATA))
        child = start(server, path)
        while child.poll() is None and bytes_sent(server) < goal:
            time.sleep(0.005)
        if child.poll() is None:
            child.kill()
            counts["killed"] += child.wait() == -signal.SIGKILL
        else:
            counts["finished"] += child.returncode == 0
            counts["failed"] += child.returncode != 0
        if child.stderr is not None:
            child.stderr.close()
        assert is_invariant_kept(path)
        counts["parts found"] += any(True for _ in parts_of(path))
        assert len(list(parts_of(path))) <= 1
        if path.exists():
            path.unlink()
    final = start(server, path)
    assert final.communicate()[1] == ""
    assert final.returncode == 0
    assert path.read_bytes() == DATA
    assert litter_in(folder) == []
    counts["requests"] = len(server.gets())
    counts["bytes sent"] = bytes_sent(server)
    return counts


def test_C1_kill_9_at_random_moments(server: FaultyServer, tmp_path: Path) -> None:
    counts = kill_loop(server, tmp_path, rounds=12, seed=1)
    assert counts["failed"] == 0
    assert counts["killed"] >= 3


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_C1_kill_9_many_times(server: FaultyServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rounds = 10 * long_rounds()
    counts = kill_loop(server, tmp_path, rounds, seed=2)
    with capsys.disabled():
        sys.stdout.write(f"\nkill -9: {rounds} rounds, {dict(counts)}; wrong final files 0, litter 0\n")
    assert counts["failed"] == 0
    assert counts["killed"] >= rounds // 3


@pytest.mark.parametrize("point", KILL_POINTS)
def test_C1_kill_9_at_named_points(server: FaultyServer, tmp_path: Path, point: str) -> None:
    server.serve(NAME, DATA)
    path = tmp_path / NAME
    child = start(server, path, kill_at=point)
    child.communicate()
    assert child.returncode == -signal.SIGKILL
    assert is_invariant_kept(path)
    again = start(server, path)
    assert again.communicate()[1] == ""
    assert path.read_bytes() == DATA
    assert litter_in(tmp_path) == []
    # Asked for again is at most what was not journalled yet, and what was on its way in eight connections.
    assert sum(request.sent for request in server.gets()) < 1.5 * len(DATA)


def run_together(server: FaultyServer, path: Path, count: int, *, locks: bool) -> None:
    server.serve(NAME, DATA)
    children = [start(server, path, locks=locks) for _ in range(count)]
    outcomes = [(child.communicate()[1], child.returncode) for child in children]
    assert outcomes == [("", 0)] * count
    assert path.read_bytes() == DATA
    assert litter_in(path.parent) == []


@pytest.mark.parametrize("count", [2, 8])
def test_C2_processes_share_one_download(server: FaultyServer, tmp_path: Path, count: int) -> None:
    run_together(server, tmp_path / NAME, count, locks=True)
    assert sum(request.sent for request in server.gets()) == len(DATA)


@pytest.mark.parametrize("count", [2, 8])
def test_C3_locks_that_do_nothing(server: FaultyServer, tmp_path: Path, count: int) -> None:
    run_together(server, tmp_path / NAME, count, locks=False)


def test_C2_threads_of_one_process_share_one_download(server: FaultyServer, tmp_path: Path) -> None:
    server.serve(NAME, DATA)
    expected = RemoteFile(NAME, server.url + NAME, len(DATA), digest=("sha256", SHA))
    errors: list[BaseException] = []

    def one() -> None:
        try:
            fetch(HttpRemote(server.url), NAME, tmp_path / NAME, expected=expected)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=one) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert (tmp_path / NAME).read_bytes() == DATA
    assert sum(request.sent for request in server.gets()) == len(DATA)
    assert litter_in(tmp_path) == []


POLICY = TransferPolicy()


def orphan(path: Path, present: int, *, owner: dict[str, Any], age_s: float = 0.0) -> Path:
    """Leave a part as a process that died without a word would."""
    part = PartFile.create(path, len(DATA), '"v"', POLICY)
    part.write(0, DATA[:present])
    part.checkpoint()
    with part.journal_path.open("a") as journal:
        journal.write(json.dumps({"owner": owner}) + "\n")
    os.close(part._descriptor)
    part._open = False
    when = time.time() - age_s
    os.utime(part.path, (when, when))
    return part.path


ELSEWHERE = {"host": "another machine", "pid": 1, "started": None}


def claim(path: Path) -> PartFile | None:
    return claim_part(path, size=len(DATA), etag='"v"', any_etag=False, policy=POLICY)


def test_C4_part_of_a_dead_process_is_claimed_at_once(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    old = orphan(tmp_path / NAME, 1000, owner={**this_process(), "pid": ended.pid, "started": "1"})
    part = claim(tmp_path / NAME)
    assert part is not None
    assert part.missing() == [(1000, len(DATA))]
    assert part.path.read_bytes()[:1000] == DATA[:1000]
    assert not old.exists()
    part.discard()


def test_C4_reused_process_id_is_not_the_owner(tmp_path: Path) -> None:
    orphan(tmp_path / NAME, 1000, owner={**this_process(), "started": "0"})
    part = claim(tmp_path / NAME)
    assert part is not None
    part.discard()


def test_C4_part_at_work_is_left_alone(tmp_path: Path) -> None:
    working = orphan(tmp_path / NAME, 1000, owner=this_process())
    assert claim(tmp_path / NAME) is None
    assert working.exists()


def test_C4_part_of_another_machine_is_claimed_after_its_time(tmp_path: Path) -> None:
    orphan(tmp_path / NAME, 1000, owner=ELSEWHERE)
    assert claim(tmp_path / NAME) is None
    for part in parts_of(tmp_path / NAME):
        when = time.time() - POLICY.abandoned_after_s - 1
        os.utime(part, (when, when))
    claimed = claim(tmp_path / NAME)
    assert claimed is not None
    claimed.discard()


def test_C4_claimed_by_exactly_one(tmp_path: Path) -> None:
    orphan(tmp_path / NAME, 1000, owner=ELSEWHERE, age_s=1000)
    barrier, won = threading.Barrier(8), []

    def race() -> None:
        barrier.wait()
        part = claim(tmp_path / NAME)
        if part is not None:
            won.append(part)

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    won[0].discard()
    assert litter_in(tmp_path) == []


def test_C4_owner_that_wakes_up_late_leaves_its_part_to_the_claimer(server: FaultyServer, tmp_path: Path) -> None:
    sleeper = PartFile.create(tmp_path / NAME, len(DATA), '"v"', POLICY)
    sleeper.write(0, DATA[:1000])
    sleeper.checkpoint()
    patience = dataclasses.replace(POLICY, wall=lambda: time.time() + 1000)
    claimer = claim_part(tmp_path / NAME, size=len(DATA), etag='"v"', any_etag=False, policy=patience)
    assert claimer is not None
    sleeper.write(1000, DATA[1000:2000])
    with pytest.raises(parts.PartLostError):
        sleeper.checkpoint()
    sleeper.release()
    assert claimer.path.exists()
    assert claimer.missing() == [(1000, len(DATA))]
    claimer.release()
    journal = read_journal(journal_of(claimer.path))
    assert journal is not None
    assert journal.present.total == 1000
    server.serve(NAME, DATA, etag='"v"')
    fetch(HttpRemote(server.url), NAME, tmp_path / NAME)
    assert (tmp_path / NAME).read_bytes() == DATA
    assert litter_in(tmp_path) == []


def test_C4_transfer_whose_part_is_claimed_midway_starts_another(
    server: FaultyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.serve(NAME, DATA)
    path = tmp_path / NAME
    original, stolen = PartFile._checkpoint, []

    def steal_once(self: PartFile, now: float) -> None:
        if not stolen:
            stolen.append(parts._take(self.path, path))
        original(self, now)

    monkeypatch.setattr(PartFile, "_checkpoint", steal_once)
    policy = dataclasses.replace(POLICY, checkpoint_bytes=1 << 20)
    fetch(HttpRemote(server.url), NAME, path, policy=policy)
    assert path.read_bytes() == DATA
    assert stolen[0] is not None


def test_C16_ctrl_c_keeps_the_part(server: FaultyServer, tmp_path: Path) -> None:
    server.serve(NAME, DATA)
    server.bytes_per_s = 4_000_000
    child = start(server, tmp_path / NAME)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and sum(request.sent for request in server.gets()) < 4_000_000:
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    text = child.communicate(timeout=20)[1]
    assert child.returncode != 0
    assert "KeyboardInterrupt" in text
    [part] = parts_of(tmp_path / NAME)
    journal = read_journal(journal_of(part))
    assert journal is not None
    assert journal.owner is None  # given back: the next call need not wait
    kept = journal.present.total
    assert kept > 1_000_000
    server.bytes_per_s = None
    server.log.clear()
    assert start(server, tmp_path / NAME).communicate()[1] == ""
    assert (tmp_path / NAME).read_bytes() == DATA
    assert sum(request.sent for request in server.gets()) == len(DATA) - kept
    assert litter_in(tmp_path) == []


def test_cut_journal_counts_only_whole_lines(tmp_path: Path) -> None:
    part = PartFile.create(tmp_path / NAME, 100, '"v"', POLICY)
    part.write(0, bytes(10))
    part.checkpoint()
    part.write(20, bytes(10))
    part.checkpoint()
    text = part.journal_path.read_bytes()
    for length in range(len(text) + 1):
        part.journal_path.write_bytes(text[:length])
        journal = read_journal(part.journal_path)
        if journal is not None:
            assert list(journal.present) in ([], [(0, 10)], [(0, 10), (20, 30)])
    part.discard()


def test_journal_keeps_up_with_the_bytes_however_fast_they_come(tmp_path: Path) -> None:
    policy = dataclasses.replace(POLICY, monotonic=lambda: 0.0)  # no time passes
    part = PartFile.create(tmp_path / NAME, len(DATA), '"v"', policy)
    piece = 300_000
    for at in range(0, len(DATA), piece):
        part.write(at, DATA[at : at + piece])
        journal = read_journal(part.journal_path)
        assert journal is not None
        assert at + piece - journal.present.total < POLICY.checkpoint_bytes
    part.discard()


def test_journal_is_written_after_the_bytes_are_on_disk(
    server: FaultyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    for name in ("fsync", "fdatasync", "replace"):
        original = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, o=original, n=name: (calls.append(n), o(*a))[1])
    append = PartFile._append
    monkeypatch.setattr(PartFile, "_append", lambda self, *a: (calls.append("journal"), append(self, *a))[1])
    server.serve(NAME, DATA, fs.well)
    fetch(HttpRemote(server.url), NAME, tmp_path / NAME)
    at = calls.index("replace")
    assert calls[at - 1] == "fsync"  # the file, then its name, then the folder
    assert calls[at + 1] == "fsync"
    for i, call in enumerate(calls[:at]):
        if call == "fdatasync":
            assert calls[i + 1] == "journal"
