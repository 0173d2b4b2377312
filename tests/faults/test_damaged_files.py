"""Rows H1 to H5: what is said of NWB files and tables that are cut, altered or something else."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from small_project import write_nwb, write_project

from allen_ecephys.cache.offline import deep_check
from allen_ecephys.cache.offline.build import status
from allen_ecephys.cache.offline.deep_check import read_to_the_end
from allen_ecephys.cache.offline.verify import verify
from allen_ecephys.cache.project_cache import EcephysProjectCache
from allen_ecephys.cache.transfer.checks import check_hdf5_end
from allen_ecephys.errors import AllenEcephysError, CorruptFileError, FileFormatError
from allen_ecephys.nwb.reader import NwbReader
from allen_ecephys.processing.simulation import write_session


@pytest.fixture
def nwb(tmp_path: Path) -> Path:
    write_nwb(tmp_path / "session_1.nwb", 1)
    return tmp_path / "session_1.nwb"


def test_H1_truncated_at_fifty_places(nwb: Path, tmp_path: Path) -> None:
    data = nwb.read_bytes()
    cut = tmp_path / "cut.nwb"
    for length in np.linspace(0, len(data) - 1, 50).astype(int).tolist():
        cut.write_bytes(data[:length])
        with pytest.raises((CorruptFileError, FileFormatError)) as caught:
            _ = NwbReader(cut).file
        assert "cut.nwb" in str(caught.value)
        if length > 2048:
            assert isinstance(caught.value, CorruptFileError)
            assert f"{length:,} of {len(data):,} bytes" in str(caught.value)
            assert "etch it again" in str(caught.value)


@pytest.mark.parametrize("libver", ["earliest", "latest", "v108"])
@pytest.mark.parametrize("user_block", [0, 512, 2048])
def test_H1_end_of_file_is_found_without_the_library(tmp_path: Path, libver: str, user_block: int) -> None:
    path = tmp_path / "file.h5"
    with h5py.File(path, "w", libver=libver, userblock_size=user_block) as file:
        file["data"] = np.arange(10_000)
    check_hdf5_end(path)
    size = path.stat().st_size
    for length in np.linspace(user_block + 200, size - 1, 20).astype(int).tolist():
        with path.open("r+b") as stream:
            stream.truncate(length)
        with pytest.raises(OSError, match="truncated"):
            h5py.File(path)
        if not user_block:
            with pytest.raises(CorruptFileError, match="truncated"):
                check_hdf5_end(path)
        with path.open("r+b") as stream:
            stream.truncate(size)


@pytest.mark.parametrize("content", [b"", b"short", b"<html>Sign in</html>" * 100, bytes(5000)])
def test_H4_not_hdf5(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "page.nwb"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match="no HDF5"):
        check_hdf5_end(path)
    with pytest.raises((FileFormatError, CorruptFileError)) as caught:
        _ = NwbReader(path).file
    assert "not an HDF5 file" in str(caught.value) or "is empty" in str(caught.value)


def test_H4_hdf5_but_no_nwb(tmp_path: Path) -> None:
    path = tmp_path / "bare.nwb"
    with h5py.File(path, "w") as file:
        file["data"] = np.arange(3)
    with pytest.raises(FileFormatError, match="HDF5 file, but not an NWB file"):
        _ = NwbReader(path).file


def test_H3_deep_check_reads_a_whole_file(nwb: Path) -> None:
    assert read_to_the_end(nwb) is None


def test_H3_file_that_makes_hdf5_loop_is_killed_at_the_limit(nwb: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The child's part is played by one that never ends: which zeroed page makes HDF5 loop depends on its version.
    endless = [sys.executable, "-c", "while True: pass"]
    run = subprocess.run
    monkeypatch.setattr(deep_check.subprocess, "run", lambda command, **options: run(endless, **options))
    wrong = read_to_the_end(nwb, limit_s=0.5)
    assert wrong is not None
    assert "does not end" in wrong


def test_H3_crash_of_the_library_is_an_outcome(nwb: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crash = [sys.executable, "-c", f"import os; os.kill(os.getpid(), {int(signal.SIGSEGV)})"]
    run = subprocess.run
    monkeypatch.setattr(deep_check.subprocess, "run", lambda command, **options: run(crash, **options))
    assert "SIGSEGV" in str(read_to_the_end(nwb))


def test_H3_zeroed_pages_never_hang_the_caller(tmp_path: Path) -> None:
    source = tmp_path / "chunked.nwb"
    with h5py.File(source, "w") as file:
        file.attrs["nwb_version"] = "2.2.2"
        for name in "abcd":
            file.create_dataset(name, data=np.arange(20_000.0), chunks=(500,), compression="gzip")
    data = source.read_bytes()
    rng = np.random.default_rng(5)
    outcomes = []
    for start in rng.integers(0, len(data) - 4096, 6):
        damaged = tmp_path / "damaged.nwb"
        damaged.write_bytes(data[:start] + bytes(4096) + data[start + 4096 :])
        outcomes.append(read_to_the_end(damaged, limit_s=20))
    assert any(outcome is not None for outcome in outcomes)


def test_H3_verify_deep_names_the_damaged_file(tmp_path: Path) -> None:
    cache = EcephysProjectCache.fixed(write_project(tmp_path))
    path = cache.root / "session_101" / "session_101.nwb"
    with h5py.File(path, "w") as file:
        file.attrs["nwb_version"] = "2.2.2"
        file.create_dataset("data", data=np.arange(50_000.0), chunks=(1000,), compression="gzip", fletcher32=True)
        offset = file["data"].id.get_chunk_info(20).byte_offset
    with path.open("r+b") as stream:
        stream.seek(offset + 100)
        stream.write(bytes(50))
    assert verify(cache).ok  # nothing was published or noted: without reading it, nothing shows
    for index in cache.root.rglob(".allen-ecephys-index.json"):
        index.unlink()
    first = verify(cache)  # now what each file is has been noted
    assert {(file.outcome, file.message) for file in first.files} == {
        ("unverified", "no published digest; what it is now is noted for the next time")
    }
    again = verify(cache)
    assert {(file.outcome, file.message) for file in again.files} == {
        ("unchanged", "as on arrival or when first checked here (no published digest)")
    }
    assert {(file["verified"], file["noted"]) for file in status(cache)["files"]} == {(False, True)}
    report = verify(cache, deep=True)
    assert [file.key for file in report.failures] == ["session_101/session_101.nwb"]


# --- H5: tables --------------------------------------------------------------------------------------------------


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    return write_project(tmp_path / "project")


def rewrite(path: Path, **columns: object) -> None:
    pd.read_csv(path).assign(**columns).to_csv(path, index=False)


def test_H5_nan_and_infinity_do_not_pass_the_default_filter(tables: Path) -> None:
    frame = pd.read_csv(tables / "units.csv")
    frame["isi_violations"] = frame["isi_violations"].astype(object)
    frame.loc[0, "isi_violations"] = np.nan
    frame.loc[1, "isi_violations"] = np.inf
    frame.loc[2, "isi_violations"] = "inf"
    frame.to_csv(tables / "units.csv", index=False)
    cache = EcephysProjectCache.fixed(tables)
    assert len(cache.get_units()) == len(frame) - 3
    assert len(cache.get_units(isi_violations_maximum=None)) == len(frame)


def test_H5_missing_column_is_named(tables: Path) -> None:
    frame = pd.read_csv(tables / "units.csv").drop(columns="ecephys_channel_id")
    frame.to_csv(tables / "units.csv", index=False)
    with pytest.raises(AllenEcephysError, match="ecephys_channel_id"):
        EcephysProjectCache.fixed(tables).get_units()


@pytest.mark.parametrize("table", ["sessions", "probes", "channels", "units"])
def test_H5_text_where_numbers_should_be_is_named(tables: Path, table: str) -> None:
    frame = pd.read_csv(tables / f"{table}.csv").astype({"id": object})
    frame.loc[0, "id"] = "seven"
    frame.to_csv(tables / f"{table}.csv", index=False)
    cache = EcephysProjectCache.fixed(tables)
    with pytest.raises(AllenEcephysError, match=f"{table}.csv"):
        cache.tables.raw(table)  # type: ignore[arg-type]


@pytest.mark.parametrize("table", ["sessions", "probes", "channels", "units"])
@pytest.mark.parametrize("content", ["", "<html>Sign in</html>\n" * 20, "\x00\x01\x02" * 100])
def test_H5_something_else_than_a_table_is_named(tables: Path, table: str, content: str) -> None:
    (tables / f"{table}.csv").write_text(content)
    cache = EcephysProjectCache.fixed(tables)
    with pytest.raises(AllenEcephysError, match=f"{table}.csv"):
        cache.tables.raw(table)  # type: ignore[arg-type]


def test_H5_table_cut_in_the_middle_of_a_line(tables: Path) -> None:
    path = tables / "units.csv"
    text = path.read_text().rstrip("\n")
    path.write_text(text[: text.rindex(",")])  # the last line lacks a field
    cache = EcephysProjectCache.fixed(tables)
    with pytest.raises(AllenEcephysError, match=r"units\.csv"):
        cache.get_units()


def test_H5_file_is_kept_when_it_cannot_be_read(tables: Path) -> None:
    path = tables / "units.csv"
    path.write_text("<html>")
    with pytest.raises(AllenEcephysError):
        EcephysProjectCache.fixed(tables).get_units()
    assert path.read_text() == "<html>"


def test_H2_damaged_middle_shows_by_its_digest_only(nwb: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.nwb"
    shutil.copy(nwb, damaged)
    with h5py.File(nwb) as file:
        offset = file["units/spike_times"].id.get_offset()
    with damaged.open("r+b") as stream:
        stream.seek(offset + 8 * 1000)
        stream.write(os.urandom(8))
    assert read_to_the_end(damaged) is None  # HDF5 notices nothing: this is why digests are compared


#: Counts spikes through the memory map, before and after the file is cut behind the open session's back.
_CUT_WHILE_OPEN = """
import sys
import numpy as np
from allen_ecephys import EcephysSession, UnitFilter
from allen_ecephys.errors import CorruptFileError
with EcephysSession(sys.argv[1], unit_filter=UnitFilter.none()) as session:
    shown = session.stimulus_presentations.index[:5]
    assert session.presentationwise_spike_counts([0, 0.1], shown).sizes["unit_id"] == 40
    with open(sys.argv[1], "r+b") as file:
        file.truncate(100_000)
    try:
        session.presentationwise_spike_counts([0, 0.1], session.stimulus_presentations.index)
    except CorruptFileError as error:
        print(error)
"""


def test_H2_file_cut_while_its_session_is_open_is_an_error_not_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "session.nwb"
    write_session(path, scale=0.02, n_units=40, n_probes=1, seed=0)
    command = [sys.executable, "-c", _CUT_WHILE_OPEN, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "is truncated (100,000 of" in done.stdout


#: Counts and lists spikes again and again while another thread cuts the file, or writes it over.
_SPOILED_WHILE_COUNTED = """
import os, sys, threading, time
import numpy as np
from allen_ecephys import EcephysSession, UnitFilter
from allen_ecephys.errors import CorruptFileError
path, change = sys.argv[1:]

def spoil():
    time.sleep(0.2)
    if change == "cut":
        os.truncate(path, 200_000)
    else:
        with open(path, "r+b") as file:
            file.seek(file.seek(0, 2) // 3)
            file.write(np.random.default_rng(0).uniform(0, 9000, 2_000_000).tobytes())

with EcephysSession(path, unit_filter=UnitFilter.none()) as session:
    ids = session.stimulus_presentations.index
    many = np.tile(ids, 60)  # nearly all of a call is searching among the spikes
    calls = (
        lambda: session.presentationwise_spike_counts([0, 0.2], many),
        lambda: session.presentationwise_spike_counts(np.linspace(0, 0.2, 9), ids, sparse=True),
        lambda: session.presentationwise_spike_times(ids),
        lambda: session.conditionwise_spike_statistics(ids),
    )
    for call in calls:
        call()  # kernels are loaded and the order of the spikes is known
    threading.Thread(target=spoil).start()
    try:
        until = time.monotonic() + 30
        while time.monotonic() < until:
            for call in calls[: 1 if time.monotonic() < until - 28 else None]:
                call()
    except CorruptFileError as error:
        print(error)
"""


@pytest.mark.parametrize("change", ["cut", "write over"])
def test_H2_file_spoiled_while_its_spikes_are_counted_is_an_error_not_a_crash(tmp_path: Path, change: str) -> None:
    path = tmp_path / "session.nwb"
    write_session(path, scale=0.02, n_units=40, n_probes=1, seed=0)
    command = [sys.executable, "-W", "ignore", "-c", _SPOILED_WHILE_COUNTED, str(path), change]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "is truncated (200,000 of" in done.stdout if change == "cut" else "was changed while" in done.stdout
