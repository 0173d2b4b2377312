"""The release's raw data: streamed from a bucket or downloaded, on the session's clock, and around a unit's spikes."""

from __future__ import annotations

import functools
import io
import logging
import shutil
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from allen_ecephys import EcephysProjectCache, EcephysSession, UnitFilter
from allen_ecephys.errors import (
    CorruptFileError,
    DownloadError,
    FileFormatError,
    InvalidValueError,
    OfflineError,
    RemoteNotFoundError,
    SampleRangeError,
    SynchronizationError,
    UnknownIdError,
)
from allen_ecephys.processing.readers import open_bands, open_released_band
from allen_ecephys.processing.simulation.rig.lines import barcode_edges, write_sync_file
from allen_ecephys.processing.synchronization import ReleasedProbe, open_released_probe

SESSION, PROBE = 7, 100
RATE = 30_000 * (1 + 20e-6)  # of the probe, in seconds of the session
OFFSET = 3.25  # session time of the probe's sample 0
SECONDS = 30.0
N = int(SECONDS * 30_000)
CODES = [11, 222, 3333]
STARTS = np.array([4.0, 16.0, 28.0])  # of barcodes, in session seconds


def sample_at(seconds: Any) -> Any:
    return (np.asarray(seconds) - OFFSET) * RATE


#: Session times around which the spike band counts its samples in its first channel; the file is empty elsewhere.
MARKED = (OFFSET, 5.0, 6.5, 7.123, 13.9, OFFSET + SECONDS)


def write_raw(folder: Path) -> None:
    """Write what the bucket holds of a probe: a recording of 30 s, nearly all of it a hole in its file."""
    probe = folder / f"raw-data/{SESSION}/{PROBE}"
    probe.mkdir(parents=True)
    band = np.memmap(probe / "spike_band.dat", dtype="<i2", mode="w+", shape=(N, 384))
    for seconds in MARKED:
        first, last = np.clip(int(sample_at(seconds)) + np.array([-400, 1_000]), 0, N)
        band[first:last, 0] = np.arange(first, last) % 30_000
    band.flush()
    np.zeros((N // 1_200, 384), dtype="<i2").tofile(probe / "lfp_band.dat")
    rising, falling = barcode_edges(STARTS, CODES)
    write_sync_file(folder / f"raw-data/{SESSION}/sync.h5", {"barcode": (rising, falling)}, seconds=OFFSET + SECONDS)
    numbers = np.rint(sample_at(np.concatenate([rising, falling]))).astype(np.int64)
    states = np.concatenate([np.ones(len(rising)), -np.ones(len(falling))]).astype(np.int16)
    order = np.argsort(numbers)
    np.save(probe / "event_timestamps.npy", numbers[order])
    np.save(probe / "channel_states.npy", states[order])


def published(bucket: Path) -> np.ndarray:
    return np.memmap(bucket / f"raw-data/{SESSION}/{PROBE}/spike_band.dat", dtype="<i2", mode="r").reshape(-1, 384)


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bucket")
    (folder / "ecephys-cache").mkdir()
    write_raw(folder)
    return folder


class Ranges(SimpleHTTPRequestHandler):
    """Serves byte ranges, as a bucket does; `asked` notes how many bytes of which file were sent."""

    asked: list[tuple[str, int]]

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        wanted = self.headers.get("Range")
        if wanted is None or not path.is_file():
            super().do_GET()
            return
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        size = path.stat().st_size
        start, stop = int(first), min(size, int(last or size - 1) + 1)
        with path.open("rb") as file:
            file.seek(start)
            body = file.read(stop - start)
        self.asked.append((path.name, len(body)))
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def served(bucket: Path, run_server: Callable[..., Any]) -> Iterator[Any]:
    handler = type("Handler", (Ranges,), {"asked": []})
    server = run_server(functools.partial(handler, directory=str(bucket)))
    server.asked = handler.asked  # type: ignore[attr-defined]
    return server


def test_raw_data_are_streamed_by_ranges_on_the_sessions_clock(served: Any, tmp_path: Path, bucket: Path) -> None:
    cache = EcephysProjectCache.from_url(f"{served.url}ecephys-cache", tmp_path)
    raw = cache.get_raw_data(SESSION, PROBE)
    probe = open_released_probe(raw)
    assert (probe.n_samples, probe.spike_band.n_channels) == (N, 384)
    assert probe.lfp is not None
    assert probe.lfp.sampling_rate == 2500
    np.testing.assert_allclose(probe.seconds([0, N - 1]), OFFSET + np.array([0, N - 1]) / RATE, atol=2e-5)
    np.testing.assert_allclose(probe.samples([4.0, 12.0]), sample_at([4.0, 12.0]), atol=0.7)
    assert np.isnan(probe.samples([OFFSET - 0.1, OFFSET + SECONDS + 0.1, np.nan])).all()
    expected = published(bucket)
    np.testing.assert_array_equal(probe.spike_band.read(500, 700), expected[500:700])
    np.testing.assert_array_equal(probe.spike_band.read(N - 5, N, [0]), expected[N - 5 :, :1])
    sent = sum(size for name, size in served.asked if name == "spike_band.dat")
    assert 0 < sent < 3_000_000 < expected.nbytes
    assert not (tmp_path / f"raw-data/{SESSION}/{PROBE}/spike_band.dat").exists()


def test_downloaded_raw_data_are_a_recording_of_their_own(bucket: Path, served: Any, tmp_path: Path) -> None:
    short = bucket / f"raw-data/8/{PROBE}"
    if not short.exists():
        shutil.copytree(bucket / f"raw-data/{SESSION}", short.parent, ignore=shutil.ignore_patterns("*.dat"))
        np.arange(384 * 1_000, dtype="<i2").tofile(short / "spike_band.dat")
    cache = EcephysProjectCache.from_url(f"{served.url}ecephys-cache", tmp_path)
    raw = cache.get_raw_data(8, PROBE, download=True)
    assert raw.spike_band == tmp_path / f"raw-data/8/{PROBE}/spike_band.dat"
    assert raw.lfp_band is None
    bands = open_bands(raw.folder)
    assert bands.recorder == "the release"
    assert (bands.spike_band.n_samples, bands.spike_band.uv_per_bit[0]) == (1_000, 0.195)
    assert len(bands.spike_band.reference_channels) == 10
    np.testing.assert_array_equal(bands.spike_band.read(10, 12), np.arange(3840, 4608, dtype="<i2").reshape(2, 384))
    assert EcephysProjectCache.fixed(tmp_path).get_raw_data(8, PROBE) == raw


def test_a_folder_and_a_bucket_hold_raw_data_in_the_same_place(bucket: Path, tmp_path: Path) -> None:
    cache = EcephysProjectCache.from_url(bucket / "ecephys-cache", tmp_path)
    assert open_released_probe(cache.get_raw_data(SESSION, PROBE)).n_samples == N


def test_what_is_not_there(bucket: Path, tmp_path: Path) -> None:
    cache = EcephysProjectCache.from_url(bucket / "ecephys-cache", tmp_path)
    with pytest.raises(RemoteNotFoundError, match=r"raw-data/7/101"):
        cache.get_raw_data(SESSION, 101)
    with pytest.raises(UnknownIdError):
        cache.get_raw_data("seven", PROBE)  # type: ignore[arg-type]
    with pytest.raises(OfflineError, match="never fetches"):
        EcephysProjectCache.fixed(tmp_path).get_raw_data(SESSION, PROBE)


def test_a_server_that_ignores_ranges_gives_no_wrong_sample(
    bucket: Path, tmp_path: Path, run_server: Callable[..., Any]
) -> None:
    """It sends the whole file for every window: an error that says so, not a window of its beginning."""

    class Ignoring(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = run_server(functools.partial(Ignoring, directory=str(bucket)))
    cache = EcephysProjectCache.from_url(f"{server.url}ecephys-cache", tmp_path)
    probe = open_released_probe(cache.get_raw_data(SESSION, PROBE))
    with pytest.raises(DownloadError, match="range"):
        probe.spike_band.read(200_000, 200_010)


# --- files that do not fit together -------------------------------------------------------------------------------


@pytest.fixture
def own(bucket: Path, tmp_path: Path) -> Path:
    """A copy of the probe's folder that a test may change (the spike band a link)."""
    source, folder = bucket / f"raw-data/{SESSION}", tmp_path / f"raw-data/{SESSION}"
    (folder / str(PROBE)).mkdir(parents=True)
    for name in ("event_timestamps.npy", "channel_states.npy"):
        shutil.copy(source / str(PROBE) / name, folder / str(PROBE) / name)
    shutil.copy(source / "sync.h5", folder / "sync.h5")
    (folder / str(PROBE) / "spike_band.dat").symlink_to(source / str(PROBE) / "spike_band.dat")
    return tmp_path


def opened(root: Path) -> ReleasedProbe:
    return open_released_probe(EcephysProjectCache.fixed(root).get_raw_data(SESSION, PROBE))


def test_a_spike_band_that_its_events_outlast_is_refused(own: Path, bucket: Path) -> None:
    file = own / f"raw-data/{SESSION}/{PROBE}/spike_band.dat"
    file.unlink()
    file.write_bytes(bytes(768 * 1_000))
    with pytest.raises(FileFormatError, match=r"holds 1,000 samples, but the events of .* go on to sample 7\d\d,\d{3}"):
        opened(own)
    file.write_bytes(bytes(768 * 1_000 + 5))
    with pytest.raises(FileFormatError, match="5 bytes into a sample of 384 channels: it was cut"):
        opened(own)
    with pytest.raises(CorruptFileError, match="it was cut, or is another file"):
        open_released_band(io.BytesIO(bytes(768 * 10 + 5)))


def test_events_of_another_recording_are_refused(own: Path) -> None:
    numbers = own / f"raw-data/{SESSION}/{PROBE}/event_timestamps.npy"
    np.save(numbers, np.load(numbers)[:-3])
    with pytest.raises(FileFormatError, match="they are not of one recording"):
        opened(own)
    rising, falling = barcode_edges(STARTS, [1, 2, 3])
    write_sync_file(own / f"raw-data/{SESSION}/sync.h5", {"barcode": (rising, falling)})
    shutil.copy(numbers.with_name("channel_states.npy"), numbers.with_name("kept.npy"))
    np.save(numbers.with_name("channel_states.npy"), np.load(numbers.with_name("kept.npy"))[:-3])
    with pytest.raises(SynchronizationError, match="none of its"):
        opened(own)


# --- around spikes ------------------------------------------------------------------------------------------------


@pytest.fixture
def session(tmp_path: Path) -> EcephysSession:
    """One unit on the probe, with spikes at known samples, one of them before the recording began."""
    path = tmp_path / "session.nwb"
    spikes = np.array([1.0, 5.0, 6.5, 7.123, 13.9])
    with h5py.File(path, "w") as file:
        file.attrs["nwb_version"] = "2.2.2"
        group = file.create_group("general/extracellular_ephys/probeA")
        group.attrs["probe_id"], group.attrs["lfp_sampling_rate"], group.attrs["has_lfp_data"] = PROBE, 1250.0, False
        table = file.create_group("general/extracellular_ephys/electrodes")
        text = h5py.string_dtype()
        for name, values in {
            "id": np.arange(1000, 1004), "probe_id": np.full(4, PROBE), "local_index": [3, 2, 1, 0],
            "probe_vertical_position": [40, 40, 20, 20], "probe_horizontal_position": [27, 59, 11, 43],
            "valid_data": np.ones(4, bool), "x": np.ones(4), "y": np.ones(4), "z": np.zeros(4),
        }.items():  # fmt: skip
            table[name] = values
        table.create_dataset("location", data=["VISp"] * 4, dtype=text)
        table.attrs.create("colnames", [name for name in table if name != "id"], dtype=text)
        units = file.create_group("units")
        units["id"], units["peak_channel_id"], units["local_index"], units["cluster_id"] = [5], [1003], [0], [0]
        units["spike_times"], units["spike_times_index"] = spikes, [len(spikes)]
        units.create_dataset("quality", data=["good"], dtype=text)
        units.attrs.create("colnames", ["peak_channel_id", "local_index", "cluster_id", "quality"], dtype=text)
    return EcephysSession(path, unit_filter=UnitFilter.none())


@pytest.fixture
def raw(bucket: Path, tmp_path: Path) -> ReleasedProbe:
    return open_released_probe(
        EcephysProjectCache.from_url(bucket / "ecephys-cache", tmp_path).get_raw_data(SESSION, PROBE)
    )


def test_snippets_lie_where_the_spikes_are(
    session: EcephysSession, raw: ReleasedProbe, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        snippets = session.raw_snippets(5, raw, n=100)
    assert "1 of the 5 spikes of unit 5 lie outside of the raw data" in caplog.text
    assert snippets.sizes == {"spike_time": 4, "channel_id": 4, "time": 82}
    assert snippets.channel_id.to_numpy().tolist() == [1003, 1002, 1001, 1000]  # by their place on the probe
    assert float(snippets.time[20]) == 0
    marks = snippets.sel(channel_id=1003).isel(time=20).to_numpy() / np.float32(0.195)  # the band counts its samples
    expected = np.rint(sample_at(snippets.spike_time.to_numpy())).astype(int) % 30_000
    assert np.abs(marks - expected).max() <= 1.01
    some = session.raw_snippets(5, raw, n=2, channel_ids=[1001, 1003], seed=3)
    assert some.sizes == {"spike_time": 2, "channel_id": 2, "time": 82}
    assert some.equals(session.raw_snippets(5, raw, n=2, channel_ids=[1001, 1003], seed=3))


def test_traces_around_times(session: EcephysSession, raw: ReleasedProbe, caplog: pytest.LogCaptureFixture) -> None:
    traces = session.raw_traces("probeA", raw, [5.0, OFFSET], window=(-0.01, 0.02))
    assert traces.sizes == {"event_time": 2, "channel_id": 4, "time": 900}
    assert not np.isnan(traces[0]).any()
    assert np.isnan(traces[1]).all()  # begins before the probe was recorded
    assert "1 of 2 windows" in caplog.text
    middle = float(traces[0].sel(channel_id=1003).sel(time=0, method="nearest")) / 0.195
    assert abs(middle - round(float(sample_at(5.0))) % 30_000) <= 1.01


def test_raw_data_of_another_session_and_wrong_questions(session: EcephysSession, raw: ReleasedProbe) -> None:
    with pytest.raises(InvalidValueError, match="n is 0"):
        session.raw_snippets(5, raw, n=0)
    with pytest.raises(UnknownIdError):
        session.raw_snippets(6, raw)
    with pytest.raises(UnknownIdError, match="channel 42 is not one of probe 100"):
        session.raw_snippets(5, raw, channel_ids=[42])
    with pytest.raises(InvalidValueError, match="begins before it ends"):
        session.raw_traces(PROBE, raw, [5.0], window=(0.2, 0.1))
    with pytest.raises(SampleRangeError, match="none of the 1 windows"):
        session.raw_traces(PROBE, raw, [500.0])
