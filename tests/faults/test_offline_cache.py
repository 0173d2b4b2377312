"""Rows C9 to C11 and C15 on a whole project, and planning, building, verifying, exporting and their report."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import faulty_server as fs
import pytest
from click.testing import CliRunner
from faulty_server import FaultyServer, litter_in
from small_project import serve_folder, write_project

from allen_ecephys.cache.offline import build as offline_module
from allen_ecephys.cache.offline import source as source_module
from allen_ecephys.cache.offline.build import build, status
from allen_ecephys.cache.offline.export import export
from allen_ecephys.cache.offline.plan import Selection, choose_sessions, plan
from allen_ecephys.cache.offline.verify import verify
from allen_ecephys.cache.project_cache import EcephysProjectCache
from allen_ecephys.cache.project_files import project_files
from allen_ecephys.cache.remotes.dandi import DandiRemote
from allen_ecephys.cache.remotes.http import HttpRemote
from allen_ecephys.cache.remotes.public_bucket import PublicBucket
from allen_ecephys.cache.remotes.warehouse import WarehouseRemote
from allen_ecephys.cache.retrying.rules import TransferPolicy
from allen_ecephys.cache.transfer.checks import INDEX_NAME, entry_of
from allen_ecephys.cli import main
from allen_ecephys.cli.cache import cache as command
from allen_ecephys.errors import (
    AlreadyPresentError,
    ChecksumError,
    CorruptFileError,
    DiskFullError,
    OfflineError,
    UnknownIdError,
    UnknownNameError,
)
from allen_ecephys.units.filter import UnitFilter

POLICY = TransferPolicy(backoff_s=0.001)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("source"))


@pytest.fixture
def served(server: FaultyServer, source: Path) -> FaultyServer:
    serve_folder(server, source)
    return server


@pytest.fixture
def cache(served: FaultyServer, tmp_path: Path) -> EcephysProjectCache:
    return EcephysProjectCache.from_url(served.url, manifest=tmp_path / "cache" / "manifest.json")


def nwb(cache: EcephysProjectCache, session: int) -> Path:
    return cache.root / f"session_{session}" / f"session_{session}.nwb"


def flip(path: Path) -> None:
    with path.open("r+b") as stream:
        stream.seek(path.stat().st_size // 2)
        byte = stream.read(1)
        stream.seek(-1, os.SEEK_CUR)
        stream.write(bytes([byte[0] ^ 1]))


# --- choosing and planning ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("selection", "chosen"),
    [
        (Selection(), [101, 102, 103]),
        (Selection(session_ids=[103, 101]), [101, 103]),
        (Selection(session_ids=[]), []),
        (Selection(session_types=["functional_connectivity"]), [103]),
        (Selection(structures=["VISp", "CA1"]), [101, 103]),
        (Selection(genotypes=["Sst"]), [101]),
        (Selection(query="sex == 'M' and unit_count == 24"), [102, 103]),
        (Selection(session_types=["brain_observatory_1.1"], query="sex == 'M'"), [102]),
    ],
)
def test_sessions_are_chosen(cache: EcephysProjectCache, selection: Selection, chosen: list[int]) -> None:
    assert choose_sessions(cache, selection) == chosen


@pytest.mark.parametrize(
    ("selection", "error", "words"),
    [
        (Selection(session_ids=[104]), UnknownIdError, "no session 104"),
        (Selection(session_types=["brain_observatory_1.2"]), UnknownNameError, "did you mean 'brain_observatory_1.1'"),
        (Selection(structures=["VISpp"]), UnknownNameError, "did you mean 'VISp'"),
        (Selection(genotypes=["Pvalb"]), UnknownNameError, "There are: Sst-IRES"),
        (Selection(query="no_such_column > 3"), UnknownNameError, "unit_count"),
        (Selection(query="__import__('os')"), UnknownNameError, "no condition"),
    ],
)
def test_wrong_criteria_are_named(
    cache: EcephysProjectCache, selection: Selection, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        choose_sessions(cache, selection)


def test_plan_equals_what_is_then_transferred(cache: EcephysProjectCache, served: FaultyServer) -> None:
    selection = Selection(session_ids=[101, 103], lfp=True)
    before = plan(cache, selection, policy=POLICY)
    assert not [path for path in project_files(cache.root) if path.suffix == ".nwb"]
    keys = {file.key for file in before.files}
    assert "session_101/session_101.nwb" in keys
    assert "session_103/probe_1030_lfp.nwb" in keys  # probe B has no LFP
    assert "session_103/probe_1031_lfp.nwb" not in keys
    assert "functional_connectivity_analysis_metrics.csv" in keys
    served.log.clear()
    report = build(cache, selection, policy=POLICY)
    assert report.ok
    assert sum(request.sent for request in served.gets()) == before.missing_bytes
    assert report.count("fetched") == len(before.to_fetch)
    after = plan(cache, selection, policy=POLICY)
    assert (after.missing_bytes, after.to_fetch, after.total_bytes) == (0, [], before.total_bytes)
    assert litter_in(cache.root) == []


def test_plan_counts_what_was_streamed_or_interrupted(cache: EcephysProjectCache, served: FaultyServer) -> None:
    name = "session_101/session_101.nwb"
    size = served.files[name].size
    served.scripts[name] = [fs.cut(100_000), fs.status(403)]
    report = build(cache, Selection(session_ids=[101], metrics=False), policy=POLICY)
    assert [file.key for file in report.failures] == [name]
    [file] = plan(cache, Selection(session_ids=[101], metrics=False), policy=POLICY).to_fetch
    assert (file.missing_bytes, file.bytes_at_hand) == (size - 100_000, 100_000)
    assert status(cache)["unfinished"] == [{"key": name, "bytes": size, "at_hand": 100_000}]
    served.scripts[name] = [fs.well]
    served.log.clear()
    assert build(cache, Selection(session_ids=[101], metrics=False), policy=POLICY).ok
    assert sum(request.sent for request in served.gets()) == size - 100_000


# --- building ---------------------------------------------------------------------------------------------------


def test_build_goes_on_past_a_file_that_fails(cache: EcephysProjectCache, served: FaultyServer) -> None:
    served.scripts["session_102/session_102.nwb"] = [fs.status(403)]
    report = build(cache, policy=POLICY)
    assert [(file.key, file.outcome) for file in report.failures] == [("session_102/session_102.nwb", "failed")]
    assert nwb(cache, 101).is_file()
    assert nwb(cache, 103).is_file()


def test_build_refuses_in_advance_what_the_disk_cannot_hold(
    cache: EcephysProjectCache, served: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.get_session_table()
    needed = plan(cache, policy=POLICY).missing_bytes
    usage = shutil.disk_usage(cache.root)._replace(free=needed - 1)
    monkeypatch.setattr(offline_module.shutil, "disk_usage", lambda folder: usage)
    served.log.clear()
    with pytest.raises(DiskFullError, match=f"{needed:,} bytes needed"):
        build(cache, policy=POLICY)
    assert served.gets() == []


def test_build_twice_fetches_nothing(cache: EcephysProjectCache, served: FaultyServer) -> None:
    build(cache, policy=POLICY)
    served.log.clear()
    report = build(cache, policy=POLICY)
    assert served.gets() == []
    assert report.count("present") == len(report.files)


def test_C16_build_interrupted_by_ctrl_c(served: FaultyServer, tmp_path: Path) -> None:
    served.bytes_per_s = 60_000
    arguments = ["build", "--source", served.url, "--cache-dir", str(tmp_path / "cache"), "--session", "101"]
    code = f"from allen_ecephys.cli.cache import cache; cache({arguments!r})"
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    name = "session_101/session_101.nwb"
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and sum(request.sent for request in served.gets(name)) < 150_000:
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    _, text = child.communicate(timeout=4)  # the rest would take longer
    assert child.returncode == 130
    assert text.strip().splitlines() == ["Interrupted. What came so far is kept; the same command resumes."]
    served.bytes_per_s = None
    served.log.clear()
    cache = EcephysProjectCache.from_url(served.url, manifest=tmp_path / "cache")
    assert build(cache, Selection(session_ids=[101])).ok
    assert sum(request.sent for request in served.gets(name)) < served.files[name].size
    assert litter_in(cache.root) == []


# --- C9, C15: without a network -----------------------------------------------------------------------------------


@pytest.fixture
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Call after everything was fetched: any socket is a failure from here on."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a socket was opened")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)


def test_C9_fixed_never_touches_the_network(cache: EcephysProjectCache, request: pytest.FixtureRequest) -> None:
    build(cache, Selection(session_ids=[101]), policy=POLICY)
    request.getfixturevalue("no_sockets")
    fixed = EcephysProjectCache.fixed(cache.root)
    assert len(fixed.get_session_table()) == 3
    assert len(fixed.get_units()) == 72
    assert len(fixed.get_unit_analysis_metrics_for_session(101)) == 24
    assert fixed.session_path(101).is_file()
    with pytest.raises(OfflineError, match=r"session_102\.nwb.*from_s3"):
        fixed.get_session_data(102)
    assert plan(fixed, Selection(session_ids=[101])).missing_bytes == 0
    with pytest.raises(OfflineError, match="no remote"):
        build(fixed)
    assert verify(fixed).ok


@pytest.mark.parametrize("form", ["export", "export.tar"])
def test_C15_built_here_used_elsewhere(
    cache: EcephysProjectCache, tmp_path: Path, request: pytest.FixtureRequest, form: str
) -> None:
    build(cache, policy=POLICY)
    selection = Selection(session_types=["brain_observatory_1.1"])
    report = export(cache, tmp_path / form, selection)
    assert report.ok
    request.getfixturevalue("no_sockets")
    place = tmp_path / "elsewhere"
    if form.endswith(".tar"):
        with tarfile.open(tmp_path / form) as archive:
            archive.extractall(place, filter="data")
    else:
        shutil.copytree(tmp_path / form, place)
    there = EcephysProjectCache.fixed(place)
    assert len(there.get_session_table()) == 3
    assert there.session_path(102).read_bytes() == nwb(cache, 102).read_bytes()
    assert not nwb(there, 103).exists()
    checked = verify(there)
    assert checked.ok
    assert {file.key for file in report.files} == {file.key for file in checked.files}
    flip(nwb(there, 101))
    found = verify(there)
    assert [file.key for file in found.failures] == ["session_101/session_101.nwb"]
    assert litter_in(tmp_path) == []


def test_export_refuses_what_is_not_there_and_what_is_damaged(cache: EcephysProjectCache, tmp_path: Path) -> None:
    build(cache, Selection(session_ids=[101]), policy=POLICY)
    with pytest.raises(OfflineError, match="allen-ecephys cache build"):
        export(cache, tmp_path / "all", Selection(session_ids=[102]))
    flip(nwb(cache, 101))
    with pytest.raises(ChecksumError, match="verify --repair"):
        export(cache, tmp_path / "damaged")
    assert not (tmp_path / "damaged").exists()
    (tmp_path / "taken").mkdir()
    with pytest.raises(AlreadyPresentError, match="exists already"):
        export(cache, tmp_path / "taken")
    assert litter_in(tmp_path) == []


# --- C10, C11, H2: verify -------------------------------------------------------------------------------------------


def test_C10_H2_verify_finds_names_and_repairs_only_what_is_damaged(
    cache: EcephysProjectCache, served: FaultyServer, caplog: pytest.LogCaptureFixture
) -> None:
    build(cache, policy=POLICY)
    times = {path: path.stat().st_mtime_ns for path in project_files(cache.root)}
    flip(nwb(cache, 101))
    os.utime(nwb(cache, 101), ns=(times[nwb(cache, 101)],) * 2)  # bit rot does not touch the time
    with nwb(cache, 102).open("r+b") as stream:
        stream.truncate(1000)
    found = verify(cache, policy=POLICY)
    assert {file.key for file in found.failures} == {"session_101/session_101.nwb", "session_102/session_102.nwb"}
    assert "truncated" in next(file.message for file in found.failures if "102" in file.key)
    served.log.clear()
    repaired = verify(cache, repair=True, policy=POLICY)
    assert repaired.ok
    assert repaired.count("repaired") == 2
    assert {request.name for request in served.gets()} == {file.key for file in found.failures}
    assert verify(cache, policy=POLICY).ok
    for path, when in times.items():
        if path not in (nwb(cache, 101), nwb(cache, 102)):
            assert path.stat().st_mtime_ns == when
    assert len(status(cache)["set_aside"]) == 2
    assert "renamed to session_101.nwb.corrupt-" in caplog.text


def test_C10_table_cut_in_the_middle_is_found(cache: EcephysProjectCache) -> None:
    build(cache, policy=POLICY)
    path = cache.root / "units.csv"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert [file.key for file in verify(cache, policy=POLICY).failures] == ["units.csv"]
    assert verify(cache, repair=True, policy=POLICY).ok
    assert path.read_bytes() == whole


def test_verify_names_a_file_that_is_gone(cache: EcephysProjectCache) -> None:
    build(cache, Selection(session_ids=[101]), policy=POLICY)
    nwb(cache, 101).unlink()
    assert "gone" in verify(cache, policy=POLICY).failures[0].message
    assert verify(cache, repair=True, policy=POLICY).ok
    assert nwb(cache, 101).is_file()


def test_verified_by_the_digest_of_an_s3_server(cache: EcephysProjectCache, served: FaultyServer) -> None:
    served.headers = {"x-amz-request-id": "1"}
    build(cache, Selection(session_ids=[101]), policy=POLICY)
    assert getattr(entry_of(nwb(cache, 101)), "verified", False)
    report = verify(cache, policy=POLICY)
    assert report.count("verified") == len(report.files)


def test_C11_reader_that_fails_costs_nothing(
    cache: EcephysProjectCache, served: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(cache, Selection(session_ids=[101]), policy=POLICY)
    content = nwb(cache, 101).read_bytes()
    served.log.clear()

    def broken(*args: object, **kwargs: object) -> None:
        raise RuntimeError("a mistake in the reader")

    session = cache.get_session_data(101)
    monkeypatch.setattr("allen_ecephys.nwb.reader.NwbReader.dataset", broken)
    with pytest.raises(RuntimeError, match="a mistake"):
        _ = session.units
    assert nwb(cache, 101).read_bytes() == content
    assert served.log == []
    assert status(cache)["set_aside"] == []


def test_C11_damaged_file_is_shown_and_kept(cache: EcephysProjectCache, served: FaultyServer) -> None:
    build(cache, Selection(session_ids=[101]), policy=POLICY)
    with nwb(cache, 101).open("r+b") as stream:
        stream.truncate(1000)
    served.log.clear()
    with pytest.raises(CorruptFileError, match="allen-ecephys cache verify"):
        _ = cache.get_session_data(101).units
    assert nwb(cache, 101).stat().st_size == 1000
    assert served.log == []


# --- status, reports, commands --------------------------------------------------------------------------------------


def test_status_tells_what_is_there(cache: EcephysProjectCache) -> None:
    build(cache, Selection(session_ids=[101]), policy=POLICY)
    found = status(cache)
    assert found["bytes"] == sum(path.stat().st_size for path in project_files(cache.root))
    assert (found["unfinished"], found["set_aside"]) == ([], [])
    assert not (cache.root / INDEX_NAME).read_text().startswith("{}")


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(command, list(arguments), catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


def test_commands(served: FaultyServer, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    where = ["--cache-dir", str(tmp_path / "cache"), "--source", served.url]
    which = ["--session-type", "brain_observatory_1.1", "--lfp"]
    text = run("plan", *where, *which)
    assert "2 sessions, 11 files" in text
    planned = json.loads(run("plan", *where, *which, "--json"))
    assert planned["sessions"] == [101, 102]
    report = tmp_path / "report.json"
    assert "fetched" in run("build", *where, *which, "--report", str(report))
    written = json.loads(report.read_text())
    assert written["ok"] is True
    assert written["bytes"]["fetched"] == planned["missing_bytes"]
    assert "verify of" in run("verify", *where)
    flip(tmp_path / "cache" / "session_101" / "session_101.nwb")
    assert "damaged" in run("verify", *where, "--source", "none", code=1)
    with caplog.at_level(logging.ERROR):
        assert "repaired" in run("verify", *where, "--repair")
    assert "corrupt-" in run("status", *where)
    assert json.loads(run("status", *where, "--json"))["files"]
    assert "exported" in run("export", str(tmp_path / "copy"), *where, *which)
    assert EcephysProjectCache.fixed(tmp_path / "copy").session_path(101).is_file()
    served.scripts["session_103/session_103.nwb"] = [fs.status(403)]
    assert "failed" in run("build", *where, code=1)


def test_the_source_of_a_built_cache_is_remembered(source: Path, tmp_path: Path) -> None:
    spoiled = tmp_path / "source"
    shutil.copytree(source, spoiled)
    here = ["--cache-dir", str(tmp_path / "cache")]
    built = CliRunner().invoke(command, ["build", *here, "--source", str(spoiled), "--session", "101"])
    assert built.exit_code == 0, built.output
    flip(tmp_path / "cache" / "session_101" / "session_101.nwb")
    repaired = CliRunner().invoke(command, ["verify", *here, "--repair"])  # from there, not from the public bucket
    assert (repaired.exit_code, "1 repaired" in repaired.output) == (0, True), repaired.output
    assert f"built from: {spoiled}" in CliRunner().invoke(command, ["status", *here]).output
    note = tmp_path / "cache" / source_module.FILE_NAME
    for damage in (b"", b"{", b"[]", b'{"source": 1}', b"\xff", b"[" * 100_000):
        note.write_bytes(damage)
        assert source_module.remembered_source(note.parent) is None
    assert "built from: not noted" in CliRunner().invoke(command, ["status", *here]).output


def test_a_remembered_source_holds_no_credentials(tmp_path: Path) -> None:
    source_module.remember_source(tmp_path, HttpRemote("https://me:secret@example.org/project?token=secret"))
    assert source_module.remembered_source(tmp_path) == "https://example.org/project"
    source_module.remember_source(tmp_path, PublicBucket())
    assert source_module.remembered_source(tmp_path) == "s3"
    source_module.remember_source(tmp_path, DandiRemote(tables=None))
    assert source_module.remembered_source(tmp_path) == "dandi"
    source_module.remember_source(tmp_path, WarehouseRemote(host="example.org"))  # no word opens it: the note stays
    assert source_module.remembered_source(tmp_path) == "dandi"


@pytest.mark.parametrize("table", ["sessions", "probes", "channels"])
def test_rows_without_an_owner_are_left_out_and_told_once(
    source: Path, tmp_path: Path, table: str, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(source, tmp_path / "cut")
    lines = (tmp_path / "cut" / f"{table}.csv").read_text().splitlines(keepends=True)
    (tmp_path / "cut" / f"{table}.csv").write_text("".join([lines[0], *lines[2:]]))
    cache = EcephysProjectCache.fixed(tmp_path / "cut")
    for _ in range(2):
        cache.get_units(unit_filter=UnitFilter.none())
        cache.get_channels()
        cache.get_probes()
    told = [record.getMessage() for record in caplog.records if "are left out" in record.getMessage()]
    assert len(told) == 1
    assert f"not in {tmp_path / 'cut' / table}.csv, the first is" in told[0]


def test_a_link_to_nothing_does_not_keep_a_cache_from_being_shown(source: Path, tmp_path: Path) -> None:
    shutil.copytree(source, tmp_path / "linked")
    for name in ("session_101.nwb", "probe_1010_lfp.nwb"):
        (tmp_path / "linked" / "session_101" / name).unlink()
        (tmp_path / "linked" / "session_101" / name).symlink_to(tmp_path / name)
    assert "3 session files" in repr(EcephysProjectCache.fixed(tmp_path / "linked"))


def test_names_that_no_terminal_shows_are_escaped(source: Path, tmp_path: Path) -> None:
    odd = tmp_path / "\udcff"
    shutil.copytree(source, odd)
    done = subprocess.run(
        [sys.executable, "-c", "from allen_ecephys.cli import main; main()", "cache", "status", "--cache-dir", odd],
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )
    assert rb"\udcff: 15 files" in done.stdout


@pytest.mark.parametrize("content", [b"", b"<html>" * 9, bytes(range(256)) * 4])
def test_metrics_that_are_no_table_are_refused(source: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "metrics.csv").write_bytes(content)
    session = str(source / "session_101" / "session_101.nwb")
    arguments = ["cache", "add", session, "--cache-dir", tmp_path / "own", "--metrics", tmp_path / "metrics.csv"]
    done = CliRunner().invoke(main, list(map(str, arguments)))
    assert (done.exit_code, "metrics.csv" in done.output) == (1, True), done.output
    assert not (tmp_path / "own").exists()
