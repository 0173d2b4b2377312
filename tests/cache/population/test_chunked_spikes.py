"""One unit's spikes of files that keep them end to end, in chunks, compressed, or in ways that only HDF5 knows."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr
from faulty_server import FaultyServer

from allen_ecephys import UnitFilter
from allen_ecephys.cache import EcephysProjectCache
from allen_ecephys.cache.index.session_index import load
from allen_ecephys.cache.population import indexed_session
from allen_ecephys.errors import CorruptFileError

NONE = UnitFilter.none()
EDGES = np.arange(-0.1, 0.4, 0.05)
SESSION = 900000002
KEY = f"session_{SESSION}/session_{SESSION}.nwb"
INDEX = f"session_{SESSION}/.session_{SESSION}.nwb.index.npz"

#: How h5py is told to store spikes, and the filters that the index then states (None: HDF5 reads).
KNOWN: dict[str, tuple[dict[str, Any], list[int]]] = {
    "end to end": ({}, []),
    "chunks": ({"chunks": (1000,)}, []),
    "gzip": ({"chunks": (1000,), "compression": "gzip"}, [1]),
    "gzip and shuffle": ({"chunks": (1000,), "compression": "gzip", "shuffle": True}, [2, 1]),
    "gzip in one chunk": ({"chunks": True, "maxshape": (None,), "compression": "gzip"}, [1]),
}
UNKNOWN: dict[str, dict[str, Any]] = {
    "lzf": {"chunks": (1000,), "compression": "lzf"},
    "shuffle alone": {"chunks": (1000,), "shuffle": True},
    "checksum": {"chunks": (1000,), "compression": "gzip", "fletcher32": True},
    "another type": {"chunks": (1000,), "dtype": "f4"},
    "another byte order": {"chunks": (1000,), "dtype": ">f8"},
}
WAYS = {name: (options, filters) for name, (options, filters) in KNOWN.items()} | {
    name: (options, None) for name, options in UNKNOWN.items()
}


def read_by_hdf5(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note which files HDF5 is asked to read spikes of."""
    asked: list[str] = []

    class Noted(indexed_session.HdfSpikes):
        def __init__(self, reader: Any, places: Any) -> None:
            asked.append(reader.name)
            super().__init__(reader, places)

    monkeypatch.setattr(indexed_session, "HdfSpikes", Noted)
    return asked


@pytest.mark.parametrize("way", WAYS)
def test_a_population_of_a_file_equals_its_session(
    own_project: Path, store_spikes: Any, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options, filters = WAYS[way]
    store_spikes(own_project / KEY, **options)
    asked = read_by_hdf5(monkeypatch)
    cache = EcephysProjectCache.fixed(own_project)
    ids = cache.get_units(unit_filter=NONE).query("ecephys_session_id == @SESSION").index
    population = cache.population(ids)
    with cache.get_session_data(SESSION, unit_filter=NONE) as session:
        for unit in ids:
            np.testing.assert_array_equal(population.spike_times[unit], session.spike_times[unit])
            assert not population.spike_times[unit].flags.writeable
        found = population.psth("flashes", EDGES, mask_invalid_intervals=False)
        expected = session.psth(EDGES, "flashes", found["unit_id"].to_numpy())
    np.testing.assert_array_equal(found["rate"], expected["rate"])
    index = load(own_project / INDEX)
    assert index is not None
    stored = index.places.stored
    assert (None if stored is None else list(stored.filters)) == filters
    assert bool(asked) == (filters is None)


@pytest.mark.parametrize("way", WAYS)
def test_one_unit_over_http_costs_few_requests(own_project: Path, store_spikes: Any, tmp_path: Path, way: str) -> None:
    """With a warm index: one that asks for the version, one for the bytes; the rest of the file is not touched."""
    options, filters = WAYS[way]
    store_spikes(own_project / KEY, **options)
    second = tmp_path / "second"
    (second / INDEX).parent.mkdir(parents=True)
    with FaultyServer() as server:
        for path in own_project.rglob("*"):
            if path.is_file() and not path.name.startswith("."):
                server.serve(path.relative_to(own_project).as_posix(), path)
        first = EcephysProjectCache.from_url(server.url, manifest=tmp_path / "first")
        assert first.index_sessions([SESSION], stream=True)["outcome"].tolist() == ["made"]
        shutil.copy(tmp_path / "first" / INDEX, second / INDEX)
        cache = EcephysProjectCache.from_url(server.url, manifest=second)
        ids = cache.get_units(unit_filter=NONE).query("ecephys_session_id == @SESSION").index
        population = cache.population(ids, stream=True)
        server.log.clear()
        found = population.spike_times[ids[5]]
        asked = len(server.log)
        with EcephysProjectCache.fixed(own_project).get_session_data(SESSION, unit_filter=NONE) as session:
            np.testing.assert_array_equal(found, session.spike_times[ids[5]])
            for unit in ids:
                np.testing.assert_array_equal(population.spike_times[unit], session.spike_times[unit])
        remote = population.psth("flashes", EDGES)
    local = EcephysProjectCache.fixed(own_project).population(ids)
    xr.testing.assert_identical(remote, local.psth("flashes", EDGES))
    if filters is not None:
        assert asked <= 2


@pytest.mark.parametrize("damage", ["flipped", "cut"])
def test_a_damaged_chunk_is_told_of(own_project: Path, store_spikes: Any, damage: str) -> None:
    path = own_project / KEY
    store_spikes(path, chunks=(1000,), compression="gzip", shuffle=True)
    with h5py.File(path) as file:
        chunk = file["units/spike_times"].id.get_chunk_info(0)
        unit = int(file["units/id"][0])
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[chunk.byte_offset + chunk.size // 2] ^= 0xFF
    else:  # a stream that ends before its checksum
        content[chunk.byte_offset + chunk.size - 8 : chunk.byte_offset + chunk.size] = bytes(8)
    path.write_bytes(content)
    with pytest.raises(CorruptFileError, match=r"units/spike_times of .* is damaged: the chunk at value 0 does not"):
        EcephysProjectCache.fixed(own_project).population([unit]).spike_times[unit]


def test_a_chunk_that_was_never_written_is_left_to_hdf5(own_project: Path) -> None:
    path = own_project / KEY
    with h5py.File(path, "r+") as file:
        old = file["units/spike_times"]
        values, attributes = old[()], dict(old.attrs)
        del file["units/spike_times"]
        new = file["units"].create_dataset("spike_times", values.shape, "f8", chunks=(1000,), compression="gzip")
        new.attrs.update(attributes)
        new[: len(values) // 2] = values[: len(values) // 2]
    cache = EcephysProjectCache.fixed(own_project)
    cache.index_sessions([SESSION])
    index = load(own_project / INDEX)
    assert index is not None
    assert index.places.stored is None
