"""A session read by ranges equals the downloaded one, from plain HTTP and from an S3-protocol server."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

sys.path.insert(0, str(Path(__file__).parents[2] / "faults"))  # the loopback server lies with the fault tests

from faulty_server import FaultyServer, litter_in

from allen_ecephys.cache.offline.plan import Selection
from allen_ecephys.cache.project_cache import EcephysProjectCache
from allen_ecephys.cache.remotes.http import HttpRemote
from allen_ecephys.cache.remotes.opening import remote_at
from allen_ecephys.cache.transfer.streaming import open_stream
from allen_ecephys.processing.simulation import write_lfp, write_session
from allen_ecephys.session.session import EcephysSession
from allen_ecephys.units.filter import UnitFilter

SESSION = 900000001
KEY = f"session_{SESSION}/session_{SESSION}.nwb"
NONE = UnitFilter.none()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with one simulated session, in the released layout."""
    folder = tmp_path_factory.mktemp("project")
    truth = write_session(
        folder / "made.nwb", scale=0.02, n_units=60, n_probes=2, session_id=SESSION, eye_tracking=False, has_lfp=True
    )
    probe = int(truth.probes.index[0])
    write_lfp(folder / "lfp.nwb", truth, probe, stop=120.0, compression_level=1)
    (folder / "served").mkdir()
    cache = EcephysProjectCache(folder / "served", remote=None)
    cache.add_session(folder / "made.nwb", lfp={probe: folder / "lfp.nwb"}, move=True)
    return folder / "served"


@pytest.fixture
def server(project: Path) -> Iterator[FaultyServer]:
    with FaultyServer() as running:
        for path in project.rglob("*"):
            if path.is_file():
                running.serve(path.relative_to(project).as_posix(), path)
        yield running


def assert_equal_sessions(one: EcephysSession, other: EcephysSession) -> None:
    pd.testing.assert_frame_equal(one.units, other.units)
    pd.testing.assert_frame_equal(one.channels, other.channels)
    pd.testing.assert_frame_equal(one.stimulus_presentations, other.stimulus_presentations)
    pd.testing.assert_frame_equal(one.running_speed, other.running_speed)
    for unit, times in one.spike_times.items():
        np.testing.assert_array_equal(times, other.spike_times[unit])
    unit = one.units.index[0]
    np.testing.assert_array_equal(one.spike_amplitudes[unit], other.spike_amplitudes[unit])
    np.testing.assert_array_equal(one.mean_waveforms[unit], other.mean_waveforms[unit])


def test_streamed_session_equals_the_downloaded_one(server: FaultyServer, tmp_path: Path) -> None:
    streaming = EcephysProjectCache.from_url(server.url, manifest=tmp_path / "streamed")
    fetching = EcephysProjectCache.from_url(server.url, manifest=tmp_path / "fetched")
    with (
        streaming.get_session_data(SESSION, stream=True, unit_filter=NONE) as streamed,
        fetching.get_session_data(SESSION, unit_filter=NONE) as fetched,
    ):
        assert_equal_sessions(fetched, streamed)
    assert not (tmp_path / "streamed" / KEY).exists()
    assert (tmp_path / "fetched" / KEY).is_file()


def test_units_cost_few_requests_and_few_bytes_and_nothing_the_second_time(
    server: FaultyServer, tmp_path: Path
) -> None:
    cache = EcephysProjectCache.from_url(server.url, manifest=tmp_path)
    with cache.get_session_data(SESSION, stream=True, unit_filter=NONE) as session:
        assert len(session.units) == 60
    cost = server.gets(KEY)
    assert sum(request.sent for request in cost) < 0.35 * server.files[KEY].size
    assert len(cost) <= 12
    server.log.clear()
    with cache.get_session_data(SESSION, stream=True, unit_filter=NONE) as session:
        assert len(session.units) == 60
    assert [request for request in server.log if request.name == KEY] == []


def test_spikes_of_many_units_are_fetched_together(server: FaultyServer, tmp_path: Path) -> None:
    with open_stream(HttpRemote(server.url), KEY, tmp_path, block_bytes=4096) as stream:
        session = EcephysSession(stream, unit_filter=NONE)
        units = session.units.index.to_numpy()
        _ = session.spike_times[units[0]]
        before = stream.requests
        wanted = units[1::2]
        session.spike_times.ragged(wanted)
        at_once = stream.requests - before
    assert at_once <= 8


def lfp_key(server: FaultyServer) -> str:
    [key] = [name for name in server.files if name.endswith("_lfp.nwb")]
    return key


def test_lfp_of_a_streamed_session_is_streamed(server: FaultyServer, tmp_path: Path) -> None:
    key = lfp_key(server)
    probe = int(key.split("probe_")[1].removesuffix("_lfp.nwb"))
    fetching = EcephysProjectCache.from_url(server.url, manifest=tmp_path / "fetched")
    with fetching.get_session_data(SESSION) as session:
        expected = session.get_lfp(probe).sel(time=slice(20.0, 22.0)).load()
    assert (tmp_path / "fetched" / key).is_file()
    server.log.clear()

    cache = EcephysProjectCache.from_url(server.url, manifest=tmp_path / "streamed")
    with cache.get_session_data(SESSION, stream=True) as session:
        lfp = session.get_lfp(probe)
        xr.testing.assert_identical(lfp.sel(time=slice(20.0, 22.0)).load(), expected)
        brought = sum(request.sent for request in server.gets(key))
        assert 0 < brought < 0.4 * server.files[key].size  # one row of chunks is 38 s of it
        assert len(server.gets(key)) <= 16
        again = pickle.loads(pickle.dumps(lfp))
        xr.testing.assert_identical(again.sel(time=slice(20.0, 22.0)).load(), expected)
    assert not (tmp_path / "streamed" / key).exists()

    server.log.clear()
    with cache.get_session_data(SESSION, stream=True) as session:  # what was read is not asked for again
        xr.testing.assert_identical(session.get_lfp(probe).sel(time=slice(20.0, 22.0)).load(), expected)
    assert server.gets(key) == []
    [planned] = [file for file in cache.plan(Selection(metrics=False, lfp=True)).files if file.key == key]
    assert server.files[key].size - planned.missing_bytes >= 0.9 * brought
    assert cache.lfp_path(SESSION, probe).read_bytes() == server.files[key].data.read_bytes()
    assert sum(request.sent for request in server.gets(key)) == planned.missing_bytes


def test_streaming_then_building_fetches_only_the_rest(server: FaultyServer, tmp_path: Path) -> None:
    cache = EcephysProjectCache.from_url(server.url, manifest=tmp_path)
    with cache.get_session_data(SESSION, stream=True) as session:
        _ = session.units
    brought = sum(request.sent for request in server.gets(KEY))
    [planned] = [file for file in cache.plan(Selection(metrics=False)).files if file.key == KEY]
    assert planned.missing_bytes == server.files[KEY].size - brought
    server.log.clear()
    assert cache.session_path(SESSION).read_bytes() == server.files[KEY].data.read_bytes()
    assert sum(request.sent for request in server.gets(KEY)) == planned.missing_bytes
    assert litter_in(tmp_path) == []


def test_streamed_session_is_pickled(server: FaultyServer, tmp_path: Path) -> None:
    cache = EcephysProjectCache.from_url(server.url, manifest=tmp_path)
    with cache.get_session_data(SESSION, stream=True) as session:
        units = session.units
        again = pickle.loads(pickle.dumps(session))
        pd.testing.assert_frame_equal(again.units, units)


def test_address_is_read_in_blocks_without_a_cache(server: FaultyServer) -> None:
    with EcephysSession.from_nwb_path(server.url + KEY, unit_filter=NONE) as session:
        assert len(session.units) == 60
    cost = server.gets(KEY)
    # Blocks, each at most once: never the file twice, as fsspec's default would.
    assert len({request.range for request in cost}) == len(cost)
    assert sum(request.sent for request in cost) <= server.files[KEY].size


@pytest.fixture
def bucket(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An S3-protocol server on loopback that holds the project."""
    moto = pytest.importorskip("moto.server", reason="needs moto's server (extra test)")
    boto3 = pytest.importorskip("boto3", reason="needs boto3 (extra test)")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    running = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    try:
        host, port = running.get_host_and_port()
        client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1")
        client.create_bucket(Bucket="lab")
        for path in project.rglob("*"):
            if path.is_file():
                client.upload_file(str(path), "lab", "release/" + path.relative_to(project).as_posix())
        yield f"http://{host}:{port}"
    finally:
        running.stop()


def test_s3_protocol_server(bucket: str, project: Path, tmp_path: Path) -> None:
    pytest.importorskip("s3fs", reason="needs s3fs (extra s3)")
    options = {"endpoint_url": bucket, "key": "test", "secret": "test"}
    remote = remote_at("s3://lab/release", storage_options=options)
    streaming, fetching = EcephysProjectCache(tmp_path / "a", remote), EcephysProjectCache(tmp_path / "b", remote)
    with (
        streaming.get_session_data(SESSION, stream=True, unit_filter=NONE) as streamed,
        fetching.get_session_data(SESSION, unit_filter=NONE) as fetched,
    ):
        assert_equal_sessions(fetched, streamed)
    assert (tmp_path / "b" / KEY).read_bytes() == (project / KEY).read_bytes()
    assert litter_in(tmp_path / "b") == []


def test_s3_server_over_plain_http(bucket: str, project: Path, tmp_path: Path) -> None:
    cache = EcephysProjectCache.from_url(f"{bucket}/lab/release", manifest=tmp_path)
    assert cache.session_path(SESSION).read_bytes() == (project / KEY).read_bytes()


def test_session_read_to_the_end_leaves_the_complete_file(server: FaultyServer, tmp_path: Path) -> None:
    cache = EcephysProjectCache.from_url(server.url, manifest=tmp_path)
    with cache.get_session_data(SESSION, stream=True) as session:
        _ = session.units
        stream = session._file.reader.source
        stream.prefetch([(0, stream.size)])
    assert (tmp_path / KEY).read_bytes() == server.files[KEY].data.read_bytes()
    assert litter_in(tmp_path) == []
    with cache.get_session_data(SESSION, stream=True) as session:
        assert len(session.units) > 0


def test_forgotten_stream_keeps_its_blocks(server: FaultyServer, tmp_path: Path) -> None:
    stream = open_stream(HttpRemote(server.url), KEY, tmp_path)
    stream.prefetch([(0, stream.size)])
    del stream
    assert not (tmp_path / KEY).exists()
    server.log.clear()
    with open_stream(HttpRemote(server.url), KEY, tmp_path) as again:
        assert again.bytes_at_hand == again.size
    assert server.gets() == []
    assert (tmp_path / KEY).exists()
