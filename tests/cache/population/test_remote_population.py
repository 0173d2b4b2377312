"""A population read by ranges equals one of files, from plain HTTP and from an S3-protocol server, in few requests."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr
from faulty_server import FaultyServer, untagged, well, without_ranges

from allen_ecephys import UnitFilter
from allen_ecephys.cache import EcephysProjectCache
from allen_ecephys.cache.remotes.opening import remote_at
from allen_ecephys.errors import MissingFileError, UnknownNameError

NONE = UnitFilter.none()
EDGES = np.arange(-0.1, 0.4, 0.05)
SESSION = 900000002
KEY = f"session_{SESSION}/session_{SESSION}.nwb"
INDEX = f"session_{SESSION}/.session_{SESSION}.nwb.index.npz"


class CountingRemote:
    """A remote that counts what is asked of it."""

    def __init__(self, remote: Any) -> None:
        self.remote = remote
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return self.remote.url

    def locate(self, key: str) -> Any:
        self.asked.append(key)
        return self.remote.locate(key)

    def open_range(self, file: Any, *arguments: Any, **options: Any) -> Any:
        self.asked.append(file.key)
        return self.remote.open_range(file, *arguments, **options)


def assert_answers_equal(remote: EcephysProjectCache, local: EcephysProjectCache) -> None:
    found, expected = remote.population(unit_filter=NONE, stream=True), local.population(unit_filter=NONE)
    assert set(found.sessions["file"]) == {"remote"}
    for (unit, times), (of_other, other) in zip(found.spike_times.items(), expected.spike_times.items(), strict=True):
        assert unit == of_other
        np.testing.assert_array_equal(times, other)
    xr.testing.assert_identical(found.psth("flashes", EDGES), expected.psth("flashes", EDGES))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        mine = found.conditionwise_spike_statistics("drifting_gratings")
        xr.testing.assert_identical(mine, expected.conditionwise_spike_statistics("drifting_gratings"))
        responses, of_other = found.responses("natural_scenes"), expected.responses("natural_scenes")
    assert list(responses) == list(of_other)
    for session_id in responses:
        xr.testing.assert_identical(responses[session_id], of_other[session_id])


def test_over_http(http_server: FaultyServer, population_project: Path, tmp_path: Path) -> None:
    remote = EcephysProjectCache.from_url(http_server.url, manifest=tmp_path)
    assert_answers_equal(remote, EcephysProjectCache.fixed(population_project))
    assert not list(tmp_path.rglob("session_*.nwb"))  # nothing was fetched whole


def test_one_unit_of_a_warm_index_costs_two_requests(http_server: FaultyServer, tmp_path: Path) -> None:
    first = EcephysProjectCache.from_url(http_server.url, manifest=tmp_path / "first")
    told = first.index_sessions([SESSION], stream=True)
    assert told.loc[SESSION, "outcome"] == "made"
    brought = sum(request.sent for request in http_server.gets(KEY))
    assert brought < 10e6
    # Another folder that holds the index and no block of the file.
    second = tmp_path / "second"
    (second / INDEX).parent.mkdir(parents=True)
    shutil.copy(tmp_path / "first" / INDEX, second / INDEX)
    population = EcephysProjectCache.from_url(http_server.url, manifest=second).population(
        unit_filter=NONE, stream=True
    )
    unit = population.units.index[population.units["ecephys_session_id"] == SESSION][5]
    http_server.log.clear()
    times = population.spike_times[unit]
    asked = [request for request in http_server.log if request.name == KEY]
    assert len(asked) <= 2
    assert len(asked) == len(http_server.log)
    assert sum(request.sent for request in asked) <= 2 * (256 << 10) + 8 * len(times)
    http_server.log.clear()
    np.testing.assert_array_equal(population.spike_times[unit], times)
    assert http_server.gets() == []  # its blocks are at hand


def test_a_file_replaced_at_the_remote_is_indexed_anew(
    http_server: FaultyServer, population_project: Path, tmp_path: Path
) -> None:
    population = EcephysProjectCache.from_url(http_server.url, manifest=tmp_path / "cache").population(
        unit_filter=NONE, stream=True
    )
    unit = population.units.index[population.units["ecephys_session_id"] == SESSION][0]
    before = population.spike_times[unit]
    changed = tmp_path / "changed.nwb"
    shutil.copy(population_project / KEY, changed)
    with h5py.File(changed, "r+") as file:
        file["units/spike_times"][...] += 1.0
    http_server.serve(KEY, changed)
    # What was streamed is of the old version: it is found out by the first range that is asked for.
    shutil.rmtree(tmp_path / "cache" / f"session_{SESSION}")
    np.testing.assert_array_equal(population.spike_times[unit], before + 1.0)


def test_a_server_without_versions_is_never_trusted_with_an_index(
    http_server: FaultyServer, population_project: Path, tmp_path: Path
) -> None:
    http_server.serve(KEY, population_project / KEY, untagged(well), etag=None)
    cache = EcephysProjectCache.from_url(http_server.url, manifest=tmp_path)
    told = cache.index_sessions([SESSION], stream=True)
    assert told.loc[SESSION, "message"].startswith("not kept")
    assert not (tmp_path / INDEX).exists()
    ids = cache.get_units(unit_filter=NONE).query("ecephys_session_id == @SESSION").index[:4]
    found, expected = cache.population(ids, stream=True), EcephysProjectCache.fixed(population_project).population(ids)
    xr.testing.assert_identical(found.psth("flashes", EDGES), expected.psth("flashes", EDGES))


def test_a_server_that_ignores_ranges_is_named(
    http_server: FaultyServer, population_project: Path, tmp_path: Path
) -> None:
    http_server.serve(KEY, population_project / KEY, without_ranges())
    population = EcephysProjectCache.from_url(http_server.url, manifest=tmp_path).population(
        unit_filter=NONE, stream=True
    )
    with pytest.warns(UserWarning, match=f"{SESSION}: .*does not serve byte ranges"):
        found = population.psth("flashes", EDGES)
    assert SESSION not in found["ecephys_session_id"]


def test_without_streaming_nothing_is_asked_of_the_server(http_server: FaultyServer, tmp_path: Path) -> None:
    population = EcephysProjectCache.from_url(http_server.url, manifest=tmp_path).population(unit_filter=NONE)
    http_server.log.clear()
    assert set(population.sessions["file"]) == {"missing"}
    with pytest.raises(MissingFileError, match=r"stream=True.*cache build --session"):
        population.spike_times[population.units.index[0]]
    assert http_server.log == []


def test_half_a_download_is_completed_by_ranges(
    http_server: FaultyServer, population_project: Path, tmp_path: Path
) -> None:
    from allen_ecephys.cache.transfer.streaming import open_stream

    cache = EcephysProjectCache.from_url(http_server.url, manifest=tmp_path)
    with open_stream(remote_at(http_server.url), KEY, tmp_path) as stream:
        stream.prefetch([(0, stream.size // 2)])
    ids = cache.get_units(unit_filter=NONE).query("ecephys_session_id == @SESSION").index
    found, expected = cache.population(ids, stream=True), EcephysProjectCache.fixed(population_project).population(ids)
    for unit in ids:
        np.testing.assert_array_equal(found.spike_times[unit], expected.spike_times[unit])
    with pytest.raises(UnknownNameError, match="shows 'drifting_gratings'"):
        found.psth("drifting_gratings", EDGES)


@pytest.fixture(params=[{}, {"chunks": (1000,), "compression": "gzip", "shuffle": True}], ids=["end to end", "gzip"])
def bucket(
    own_project: Path, store_spikes: Any, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """An S3-protocol server on loopback that holds the project, one session of which stores its spikes in some way."""
    store_spikes(own_project / KEY, **request.param)
    moto = pytest.importorskip("moto.server", reason="needs moto's server (extra test)")
    boto3 = pytest.importorskip("boto3", reason="needs boto3 (extra test)")
    pytest.importorskip("s3fs", reason="needs s3fs (extra s3)")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    running = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    try:
        host, port = running.get_host_and_port()
        client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1")
        client.create_bucket(Bucket="lab")
        for path in own_project.rglob("*"):
            if path.is_file() and not path.name.startswith("."):
                client.upload_file(str(path), "lab", "release/" + path.relative_to(own_project).as_posix())
        yield f"http://{host}:{port}"
    finally:
        running.stop()


def test_over_s3(bucket: str, population_project: Path, tmp_path: Path) -> None:
    options = {"endpoint_url": bucket, "key": "test", "secret": "test"}
    remote = CountingRemote(remote_at("s3://lab/release", storage_options=options))
    cache = EcephysProjectCache(tmp_path / "first", remote)
    assert_answers_equal(cache, EcephysProjectCache.fixed(population_project))
    second = tmp_path / "second"
    (second / INDEX).parent.mkdir(parents=True)
    shutil.copy(tmp_path / "first" / INDEX, second / INDEX)
    population = EcephysProjectCache(second, remote).population(unit_filter=NONE, stream=True)
    unit = population.units.index[population.units["ecephys_session_id"] == SESSION][5]
    remote.asked.clear()
    assert len(population.spike_times[unit])
    assert remote.asked == [KEY, KEY]
