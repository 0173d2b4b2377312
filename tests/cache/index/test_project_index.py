"""The index of a project: used while it is of the file that is there, made again when that changes."""

from __future__ import annotations

import json
import os
import shutil
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[2] / "faults"))  # the loopback server lies with the fault tests

from faulty_server import FaultyServer

from allen_ecephys import UnitFilter, convert_nwb
from allen_ecephys.cache import EcephysProjectCache, Selection
from allen_ecephys.cache.offline.build import build
from allen_ecephys.cli import main
from allen_ecephys.errors import FileFormatError, MissingDataError
from allen_ecephys.processing.simulation import write_session

SESSION = 900000001
EDGES = np.arange(-0.1, 0.3, 0.05)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("index")
    write_session(
        folder / "made.nwb", "functional_connectivity", 0.01, n_units=8, n_probes=1, session_id=SESSION,
        eye_tracking=False,
    )  # fmt: skip
    (folder / "project").mkdir()
    EcephysProjectCache(folder / "project", remote=None).add_session(folder / "made.nwb", move=True)
    return folder / "project"


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "project"))


def session_file(project: Path) -> Path:
    return project / f"session_{SESSION}" / f"session_{SESSION}.nwb"


def index_file(project: Path) -> Path:
    return project / f"session_{SESSION}" / f".session_{SESSION}.nwb.index.npz"


def spikes_of(project: Path) -> dict[int, np.ndarray]:
    return dict(EcephysProjectCache.fixed(project).population(unit_filter=UnitFilter.none()).spike_times.items())


def in_session(project: Path) -> dict[int, np.ndarray]:
    cache = EcephysProjectCache.fixed(project)
    with cache.get_session_data(SESSION, unit_filter=UnitFilter.none()) as session:
        return {unit: session.spike_times[unit] for unit in cache.get_units(unit_filter=UnitFilter.none()).index}


def assert_same(found: dict[int, np.ndarray], expected: dict[int, np.ndarray]) -> None:
    assert set(found) == set(expected)
    for unit, times in expected.items():
        np.testing.assert_array_equal(found[unit], times)


def test_the_index_is_made_once_and_holds_what_the_session_holds(project: Path) -> None:
    cache = EcephysProjectCache.fixed(project)
    assert cache.index_sessions().loc[SESSION, "outcome"] == "made"
    table = cache.index_sessions()
    assert table.loc[SESSION, "outcome"] == "present"
    with cache.get_session_data(SESSION, unit_filter=UnitFilter.none()) as session:
        assert table.loc[SESSION, "unit_count"] == len(session.units)
        assert table.loc[SESSION, "presentation_count"] == session.num_stimulus_presentations
    assert table.loc[SESSION, "index_bytes"] == index_file(project).stat().st_size


def test_presentations_and_invalid_times_come_back_as_they_were(project: Path) -> None:
    from allen_ecephys.cache.index.session_index import load
    from allen_ecephys.nwb.reader import NwbReader
    from allen_ecephys.stimulus.presentations import read_invalid_times, read_presentations

    EcephysProjectCache.fixed(project).index_sessions()
    index = load(index_file(project))
    with NwbReader(session_file(project)) as reader:
        shown, invalid = read_presentations(reader), read_invalid_times(reader)
    nothing = np.zeros(len(shown), dtype=bool)
    for legacy in (False, True):
        pd.testing.assert_frame_equal(index.presentations().table(nothing, legacy), shown.table(nothing, legacy))
    pd.testing.assert_frame_equal(index.invalid_times(), invalid)


def test_a_replaced_file_is_indexed_anew(project: Path) -> None:
    before = spikes_of(project)
    population = EcephysProjectCache.fixed(project).population(unit_filter=UnitFilter.none())
    assert_same(dict(population.spike_times.items()), before)
    status = session_file(project).stat()
    with h5py.File(session_file(project), "r+") as file:
        file["units/spike_times"][...] += 0.25
    os.utime(session_file(project), ns=(status.st_atime_ns, status.st_mtime_ns))  # size and time as before
    assert session_file(project).stat().st_size == status.st_size
    assert_same(spikes_of(project), in_session(project))
    assert_same(dict(population.spike_times.items()), in_session(project))  # and where the old index was at hand
    unit = next(iter(before))
    assert spikes_of(project)[unit][0] == before[unit][0] + 0.25


def test_spikes_that_are_compressed_or_of_another_type_equal_the_sessions(project: Path) -> None:
    for options in ({"compression": "gzip", "chunks": (1000,)}, {"dtype": "f4"}):
        with h5py.File(session_file(project), "r+") as file:
            attributes = dict(file["units/spike_times"].attrs)
            values = file["units/spike_times"][()]
            del file["units/spike_times"]
            stored = file["units"].create_dataset("spike_times", data=values, **options)
            stored.attrs.update(attributes)
        assert_same(spikes_of(project), in_session(project))
        cache = EcephysProjectCache.fixed(project)
        found = cache.population(unit_filter=UnitFilter.none()).psth("flashes", EDGES, mask_invalid_intervals=False)
        with cache.get_session_data(SESSION, unit_filter=UnitFilter.none()) as session:
            expected = session.psth(EDGES, "flashes", found["unit_id"].to_numpy())
        np.testing.assert_array_equal(found["rate"], expected["rate"])


def test_spikes_out_of_order_are_sorted(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    with h5py.File(session_file(project), "r+") as file:
        stop = int(file["units/spike_times_index"][0])
        file["units/spike_times"][:stop] = file["units/spike_times"][:stop][::-1]
        unit = int(file["units/id"][0])
    assert_same(spikes_of(project), in_session(project))
    assert f"spike times of unit {unit} are not ascending" in caplog.text
    cache = EcephysProjectCache.fixed(project)
    found = cache.population(unit_filter=UnitFilter.none()).psth("flashes", EDGES, mask_invalid_intervals=False)
    with cache.get_session_data(SESSION, unit_filter=UnitFilter.none()) as session:
        expected = session.psth(EDGES, "flashes", found["unit_id"].to_numpy())
    np.testing.assert_array_equal(found["rate"], expected["rate"])


def test_spikes_without_a_time_are_named_as_in_a_session(project: Path) -> None:
    with h5py.File(session_file(project), "r+") as file:
        file["units/spike_times"][3] = np.nan
        unit = int(file["units/id"][0])
    population = EcephysProjectCache.fixed(project).population(unit_filter=UnitFilter.none())
    with pytest.raises(FileFormatError, match=f"unit {unit} has 1 spikes without a time"):
        population.spike_times[unit]
    with pytest.raises(MissingDataError, match=f"could be read.*unit {unit} has 1 spikes without a time"):
        population.psth("flashes", EDGES)


@pytest.mark.parametrize("damage", ["cut", "no zip", "compressed", "other format", "folder"])
def test_a_damaged_index_is_made_again(project: Path, damage: str) -> None:
    EcephysProjectCache.fixed(project).index_sessions()
    path = index_file(project)
    content = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "no zip":
        path.write_bytes(b"spikes")
    elif damage == "compressed":  # could hold anything in few bytes
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("about.npy", b"0" * 1_000_000)
    elif damage == "other format":
        np.savez(path, about=np.frombuffer(json.dumps({"format": 99}).encode(), dtype=np.uint8))
    else:
        path.mkdir()
    assert_same(spikes_of(project), in_session(project))
    assert path.is_dir() or EcephysProjectCache.fixed(project).index_sessions()["outcome"].eq("present").all()


def test_a_folder_that_cannot_be_written_has_its_index_in_memory(project: Path) -> None:
    folder = session_file(project).parent
    index_file(project).unlink()
    folder.chmod(0o555)
    try:
        if os.access(folder, os.W_OK):
            pytest.skip("this user may write everywhere, as the superuser does")
        assert_same(spikes_of(project), in_session(project))
        assert not index_file(project).exists()
    finally:
        folder.chmod(0o755)


def test_the_command_indexes_and_tells(project: Path) -> None:
    run = CliRunner()
    first = run.invoke(main, ["cache", "index", "--cache-dir", str(project), "--source", "none"])
    assert first.exit_code == 0
    assert "made" in first.output
    assert f"session {SESSION}" in first.output
    again = run.invoke(main, ["cache", "index", "--cache-dir", str(project), "--source", "none", "--json"])
    assert [row["outcome"] for row in json.loads(again.output)] == ["present"]
    session_file(project).write_bytes(b"no hdf5")
    failed = run.invoke(main, ["cache", "index", "--cache-dir", str(project), "--source", "none"])
    assert failed.exit_code == 1
    assert "failed" in failed.output
    unknown = run.invoke(main, ["cache", "index", "--cache-dir", str(project), "--source", "none", "--session", "4"])
    assert unknown.exit_code != 0


def test_sessions_are_indexed_as_they_arrive(project: Path, tmp_path: Path) -> None:
    """Added, downloaded when they are asked for, or built."""
    index_file(project).unlink(missing_ok=True)
    (tmp_path / "own").mkdir()
    EcephysProjectCache(tmp_path / "own", remote=None).add_session(session_file(project))
    assert index_file(tmp_path / "own").exists()
    with FaultyServer() as server:
        for path in project.rglob("*"):
            if path.is_file() and not path.name.startswith("."):
                server.serve(path.relative_to(project).as_posix(), path)
        EcephysProjectCache.from_url(server.url, manifest=tmp_path / "fetched").get_session_data(SESSION).close()
        built = EcephysProjectCache.from_url(server.url, manifest=tmp_path / "built")
        assert build(built, Selection(session_ids=(SESSION,)), progress=False).ok
    for folder in (tmp_path / "fetched", tmp_path / "built"):
        assert EcephysProjectCache.fixed(folder).index_sessions([SESSION])["outcome"].tolist() == ["present"]


def test_a_damaged_session_that_arrives_is_told_of_when_it_is_asked_for(
    project: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    arrived = tmp_path / "arrived.nwb"
    shutil.move(session_file(project), arrived)
    with h5py.File(arrived, "r+") as file:
        file["units/spike_times_index"][...] = 5
    cache = EcephysProjectCache(project, remote=None)
    assert cache.add_session(arrived, replace=True) == SESSION
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    unit = int(cache.get_units(unit_filter=UnitFilter.none()).index[0])
    with pytest.raises(FileFormatError, match="does not divide"):
        _ = cache.population([unit]).spike_times[unit]


def test_a_zarr_store_in_the_place_of_a_session_file_is_indexed(project: Path) -> None:
    """The same answers, and an index of its own that is made again when a chunk changes."""
    cache = EcephysProjectCache.fixed(project)
    expected = cache.population(unit_filter=UnitFilter.none()).psth("flashes", EDGES)
    trains = spikes_of(project)
    store = session_file(project).with_name(session_file(project).name + ".zarr")
    convert_nwb(session_file(project), store)
    session_file(project).unlink()
    cache = EcephysProjectCache.fixed(project)
    assert cache.index_sessions()["outcome"].tolist() == ["made"]
    assert cache.index_sessions()["outcome"].tolist() == ["present"]
    population = cache.population(unit_filter=UnitFilter.none())
    assert population.sessions["file"].tolist() == ["present"]
    xr.testing.assert_identical(population.psth("flashes", EDGES), expected)
    assert_same(spikes_of(project), trains)
    with cache.get_session_data(SESSION, unit_filter=UnitFilter.none()) as session:
        assert_same({unit: session.spike_times[unit] for unit in trains}, trains)
    chunk = next(path for path in (store / "units" / "spike_times" / "c").rglob("*") if path.is_file())
    chunk.write_bytes(chunk.read_bytes())
    assert cache.index_sessions()["outcome"].tolist() == ["made"]
    chunk.unlink()
    chunk.symlink_to("/nowhere")
    with pytest.raises(MissingDataError, match="none of the 1 sessions of this population could be read"):
        cache.population(unit_filter=UnitFilter.none()).psth("flashes", EDGES)
