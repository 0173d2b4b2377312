"""The lazily read LFP equals the file, reads only what is asked for, and says what is missing."""

from __future__ import annotations

import pickle
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from allen_ecephys.errors import (
    ClosedSessionError,
    CorruptFileError,
    FileFormatError,
    MissingDataError,
    MissingFileError,
    UnknownIdError,
)
from allen_ecephys.nwb.chunks import SampleTable
from allen_ecephys.nwb.reader import NwbReader
from allen_ecephys.nwb.timestamps import Timestamps
from allen_ecephys.signals.lfp import invalid_intervals, locate_lfp, open_lfp, read_current_source_density

PROBE = 11
SERIES = f"acquisition/probe_{PROBE}_lfp/probe_{PROBE}_lfp_data"


def write_lfp(
    path: Path, data: np.ndarray, times: np.ndarray, channels: Any, time_chunk: int | None = 100, **storage: Any
) -> Path:
    """Write an LFP file as the release lays it out; `storage` goes to the samples' dataset."""
    with h5py.File(path, "w") as file:
        file.attrs["nwb_version"] = "2.2.2"
        file.attrs["neurodata_type"] = "NWBFile"
        file["identifier"] = str(PROBE)
        series = file.create_group(SERIES)
        series.create_dataset("data", data=data, **storage)
        chunk: dict[str, Any] = {"chunks": (time_chunk,), "compression": "gzip"} if time_chunk else {}
        series.create_dataset("timestamps", data=times, **chunk)
        series["electrodes"] = np.arange(len(channels))
        file["general/extracellular_ephys/electrodes/id"] = np.asarray(channels)
    return path


def samples(n: int = 1037, channels: int = 7, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1e-4, (n, channels)).astype(np.float32)


def nearly_regular(n: int = 1037, seed: int = 1) -> np.ndarray:
    times = 13.58 + np.arange(n) / 1249.99 + np.random.default_rng(seed).uniform(-1e-7, 1e-7, n)
    times[n // 2 :] += 3.7  # a pause in the recording
    return times


STORAGE: dict[str, dict[str, Any]] = {
    "one channel a chunk": {"chunks": (100, 1), "compression": "gzip"},
    "some channels a chunk": {"chunks": (64, 3), "compression": "gzip", "compression_opts": 9},
    "shuffled": {"chunks": (100, 2), "compression": "gzip", "shuffle": True},
    "chunked, not compressed": {"chunks": (100, 4)},
    "contiguous": {},
    "checksummed": {"chunks": (100, 2), "compression": "gzip", "fletcher32": True},
    "another compression": {"chunks": (100, 2), "compression": "lzf"},
}


@pytest.mark.parametrize("storage", STORAGE.values(), ids=STORAGE.keys())
@pytest.mark.parametrize("threads", ["1", "3"])
def test_every_selection_equals_numpy(
    tmp_path: Path, storage: dict[str, Any], threads: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALLEN_ECEPHYS_THREADS", threads)
    monkeypatch.setattr("allen_ecephys.nwb.chunks.LARGE_CHUNK", 1)
    data, channels = samples(), np.arange(7) * 4 + 850
    with NwbReader(write_lfp(tmp_path / "lfp.nwb", data, nearly_regular(), channels, **storage)) as reader:
        lfp = open_lfp(reader, PROBE)
        assert lfp.dims == ("time", "channel")
        assert lfp.dtype == np.float32
        np.testing.assert_array_equal(lfp.values, data)
        for key in (
            np.s_[5:205],
            np.s_[99:101, 3],
            np.s_[-3:],
            np.s_[::7, ::-1],
            np.s_[::-10],
            np.s_[10:10],
            np.s_[1036, 6],
            np.s_[-1, -1],
            np.s_[:, [5, 0, 5]],
            np.s_[[900, 3, 3, 250], 1:4],
            np.s_[200:100],
        ):
            np.testing.assert_array_equal(lfp[key].values, data[key], err_msg=str(key))
        np.testing.assert_array_equal(lfp[[900, -3, 3], [5, 0]].values, data[np.ix_([900, -3, 3], [5, 0])])
        pointwise = lfp.isel(
            time=xr.DataArray([5, 900, 5], dims="spike"), channel=xr.DataArray([0, 6, 2], dims="spike")
        )
        np.testing.assert_array_equal(pointwise.values, data[[5, 900, 5], [0, 6, 2]])


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> tuple[NwbReader, np.ndarray, np.ndarray]:
    data, times = samples(), nearly_regular()
    path = tmp_path_factory.mktemp("lfp") / f"probe_{PROBE}_lfp.nwb"
    write_lfp(path, data, times, np.arange(7) * 4 + 850, chunks=(100, 1), compression="gzip")
    return NwbReader(path), data, times


def pandas_indexed(data: np.ndarray, times: np.ndarray) -> xr.DataArray:
    return xr.DataArray(data, dims=("time", "channel"), coords={"time": times, "channel": np.arange(7) * 4 + 850})


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=st.data())
def test_selection_by_time_equals_an_index_in_memory(
    recording: tuple[NwbReader, np.ndarray, np.ndarray], drawn: st.DataObject
) -> None:
    reader, data, times = recording
    lfp, expected = open_lfp(reader, PROBE), pandas_indexed(data, times)
    time = st.one_of(st.sampled_from(times.tolist()), st.floats(times[0], times[-1]))
    begin, end = sorted((drawn.draw(st.floats(10, 20)), drawn.draw(time)))
    for window in (slice(begin, end), slice(begin, None), slice(None, end)):
        xr.testing.assert_identical(lfp.sel(time=window).drop_attrs(), expected.sel(time=window).rename("LFP"))
    wanted = drawn.draw(st.lists(time, max_size=6))
    for method in ("nearest", "pad", "backfill"):
        np.testing.assert_array_equal(
            lfp.sel(time=wanted, method=method).values, expected.sel(time=wanted, method=method).values
        )
    assert lfp.sel(time=begin, method="nearest").time == expected.sel(time=begin, method="nearest").time


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(st.sampled_from([0.0, 0.5, 1.0, 40.0]), min_size=1, max_size=60),
    wanted=st.lists(st.floats(-5, 700) | st.integers(0, 120).map(lambda i: i / 2), max_size=8),
    block=st.integers(1, 9),
)
def test_searching_equals_searchsorted_with_pauses_and_repeats(
    tmp_path: Path, steps: list[float], wanted: list[float], block: int
) -> None:
    times = np.cumsum(steps)
    path = write_lfp(tmp_path / "t.nwb", np.zeros((len(times), 1)), times, [1], time_chunk=min(block, len(times)))
    with NwbReader(path) as reader:
        lazy = Timestamps(reader, f"{SERIES}/timestamps")
        for side in ("left", "right"):
            np.testing.assert_array_equal(
                lazy.search(np.array(wanted), side), np.searchsorted(times, wanted, side=side)
            )
        np.testing.assert_array_equal(lazy.read(1, len(times)), times[1:])


def test_opening_and_a_slice_read_only_what_they_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    n = 100_000
    data, times = samples(n, 3), np.arange(n) / 1250
    path = write_lfp(tmp_path / "lfp.nwb", data, times, [1, 2, 3], 1000, chunks=(5000, 1), compression="gzip")
    chunks: list[tuple[int, int]] = []
    blocks: list[int] = []
    fetch, block = SampleTable._fetch, Timestamps._block
    monkeypatch.setattr(SampleTable, "_fetch", lambda s, d, p: chunks.append((p.row, p.column)) or fetch(s, d, p))
    monkeypatch.setattr(Timestamps, "_block", lambda s, b: blocks.append(b) or block(s, b))
    with NwbReader(path) as reader:
        lfp = open_lfp(reader, PROBE, [(10.0, 11.0)])
        repr(lfp)
        assert not chunks
        assert not blocks
        one_second = lfp.sel(time=slice(41, 42), channel=[3])
        assert len(set(blocks)) < 8
        assert not chunks
        np.testing.assert_array_equal(one_second.values, data[51250:52501, 2:])
        assert chunks == [(50_000, 2)]


def test_masked_samples_are_nan_at_both_closed_ends(tmp_path: Path) -> None:
    times = np.array([0, 0.5, 1, 1.5, 2])
    data = np.arange(10, dtype=np.float32).reshape(5, 2)
    invalid = pd.DataFrame(
        {
            "start_time": [0.3, 1.1, 1.6, 0.0],
            "stop_time": [0.6, 1.54, 2.3, 9.0],
            "tags": [["EcephysSession", "1", "stimulus"], ["a", "b", "probeA"], ["a", "b", "all_probes"], ["probeB"]],
        }
    )
    reader = NwbReader(write_lfp(tmp_path / "lfp.nwb", data, times, [1, 2], time_chunk=None))
    np.testing.assert_array_equal(open_lfp(reader, PROBE).values, data)
    intervals = invalid_intervals(invalid, "probeA")
    masked = open_lfp(reader, PROBE, intervals)
    expected = data.copy()
    expected[3:] = np.nan
    np.testing.assert_array_equal(masked.values, expected)
    np.testing.assert_array_equal(masked.isel(time=[4, 0, 3]).values, expected[[4, 0, 3]])
    np.testing.assert_array_equal(masked.isel(time=slice(2, 4), channel=0).values, expected[2:4, 0])
    np.testing.assert_array_equal(open_lfp(reader, PROBE, [(0.5, 1.0)]).isnull().any("channel"), [0, 1, 1, 0, 0])  # noqa: PD003 - xarray
    assert invalid_intervals(pd.DataFrame(), "probeA") == []


def test_channel_ids_follow_the_electrode_region(tmp_path: Path) -> None:
    path = write_lfp(tmp_path / "lfp.nwb", np.array([[1, 2], [3, 4]], np.float32), np.array([0.0, 1]), [2, 1], None)
    with h5py.File(path, "r+") as file:
        file[f"{SERIES}/electrodes"][...] = [1, 0]
    lfp = open_lfp(NwbReader(path), PROBE)
    assert lfp.channel.to_numpy().tolist() == [1, 2]
    assert lfp.sel(channel=1).to_numpy().tolist() == [1, 3]


def test_stored_numbers_are_scaled_to_volts(tmp_path: Path) -> None:
    stored = np.array([[100, -200], [300, 32767]], dtype=np.int16)
    path = write_lfp(tmp_path / "lfp.nwb", stored, np.array([0.0, 1]), [1, 2], None)
    with h5py.File(path, "r+") as file:
        file[f"{SERIES}/data"].attrs["conversion"] = 0.195e-6
        file[f"{SERIES}/channel_conversion"] = [1.0, 2.0]
    lfp = open_lfp(NwbReader(path), PROBE)
    np.testing.assert_allclose(lfp.values, stored * [0.195e-6, 0.39e-6], rtol=1e-6)
    assert lfp.dtype == np.float32


def test_arithmetic_copies_and_dask_go_on_from_the_lazy_array(
    recording: tuple[NwbReader, np.ndarray, np.ndarray],
) -> None:
    reader, data, times = recording
    lfp, expected = open_lfp(reader, PROBE), pandas_indexed(data, times)
    xr.testing.assert_equal(lfp.diff("time"), expected.diff("time"))
    xr.testing.assert_equal(lfp + lfp, expected + expected)
    xr.testing.assert_equal(lfp - open_lfp(reader, PROBE).load(), expected * 0)
    xr.testing.assert_equal(
        lfp.rename(time="t").sel(t=slice(14, 14.1)), expected.rename(time="t").sel(t=slice(14, 14.1))
    )
    xr.testing.assert_allclose(lfp.groupby_bins("time", 3).mean(), expected.groupby_bins("time", 3).mean())
    np.testing.assert_array_equal(lfp.get_index("time"), times)
    grouped = lfp.chunk(time=300)
    np.testing.assert_allclose(grouped.mean("time").compute().values, data.mean(0), rtol=1e-4, atol=1e-8)
    lfp[0, 0] = 7.0
    assert lfp[0, 0] == 7.0
    assert open_lfp(reader, PROBE)[0, 0] == data[0, 0]
    again = pickle.loads(pickle.dumps(open_lfp(reader, PROBE)))
    xr.testing.assert_equal(again.sel(time=slice(14, 14.1)), expected.sel(time=slice(14, 14.1)))
    moments = xr.DataArray([[13.6, 14.0], [17.9, 13.7]], dims=("trial", "offset"))
    aligned = lfp.sel(time=moments, method="nearest")
    assert aligned.dims == ("trial", "offset", "channel")
    np.testing.assert_array_equal(aligned.values, expected.sel(time=moments, method="nearest").values)


def test_the_whole_recording_aligns_once_its_times_are_read(
    recording: tuple[NwbReader, np.ndarray, np.ndarray],
) -> None:
    reader, data, times = recording
    lfp, expected = open_lfp(reader, PROBE), pandas_indexed(data, times)
    xr.testing.assert_equal(lfp[:50] - expected, (expected - expected)[:50])
    read = lfp.assign_coords(time=lfp["time"].values)
    xr.testing.assert_equal(read - expected[:50], (expected - expected)[:50])
    wanted = [14.0, 15.0]
    found = read.reindex(time=wanted, method="nearest")
    np.testing.assert_array_equal(found, expected.reindex(time=wanted, method="nearest"))


def test_a_time_without_a_sample_is_an_error_that_shows_the_range(
    recording: tuple[NwbReader, np.ndarray, np.ndarray],
) -> None:
    lfp = open_lfp(recording[0], PROBE)
    with pytest.raises(KeyError, match=r"no sample at 0.0 s \(samples from 13.5800"):
        lfp.sel(time=0.0)
    with pytest.raises(KeyError, match="no sample"):
        lfp.sel(time=[14.0], method="nearest", tolerance=1e-9)
    with pytest.raises(ValueError, match="method must be"):
        lfp.sel(time=14.0, method="closest")
    with pytest.raises(NotImplementedError, match="takes no method"):
        lfp.sel(time=slice(14, 15), method="nearest")


def test_a_damaged_chunk_is_named(tmp_path: Path) -> None:
    path = write_lfp(tmp_path / "lfp.nwb", samples(), nearly_regular(), range(7), chunks=(100, 1), compression="gzip")
    with h5py.File(path) as file:
        info = file[f"{SERIES}/data"].id.get_chunk_info_by_coord((500, 2))
    raw = bytearray(path.read_bytes())
    raw[info.byte_offset : info.byte_offset + 40] = b"\x00" * 40
    path.write_bytes(raw)
    lfp = open_lfp(NwbReader(path), PROBE)
    assert np.isfinite(lfp[:500].values).all()
    with pytest.raises(CorruptFileError, match="chunk at sample 500, channel 2"):
        lfp[590:600].load()


@pytest.mark.parametrize("storage", ["one channel a chunk", "shuffled", "checksummed"])
def test_no_flipped_bit_of_a_compressed_chunk_comes_back_as_samples(tmp_path: Path, storage: str) -> None:
    path = write_lfp(tmp_path / "lfp.nwb", samples(), nearly_regular(), range(7), **STORAGE[storage])
    with h5py.File(path) as file:
        info = file[f"{SERIES}/data"].id.get_chunk_info_by_coord((500, 2))
    intact, rng = path.read_bytes(), np.random.default_rng(3)
    for bit in rng.choice(8 * info.size, 40, replace=False).tolist():
        raw = bytearray(intact)
        raw[info.byte_offset + bit // 8] ^= 1 << bit % 8
        path.write_bytes(raw)
        with NwbReader(path) as reader:
            table = SampleTable(reader, f"{SERIES}/data")
            try:
                found = table.read(slice(500, 560), slice(0, 7))  # the checksum lies behind the rest of the chunk
            except CorruptFileError:
                continue
            np.testing.assert_array_equal(found, samples()[500:560])  # a bit that zlib leaves out of account


@pytest.mark.parametrize("storage", ["one channel a chunk", "shuffled", "checksummed"])
def test_a_chunk_of_another_size_is_refused_before_it_takes_memory(tmp_path: Path, storage: str) -> None:
    path = write_lfp(tmp_path / "lfp.nwb", samples(), nearly_regular(), range(7), **STORAGE[storage])
    endless = zlib.compressobj(9)
    bomb = endless.compress(bytes(64 << 20)) + endless.flush()
    with h5py.File(path, "r+") as file:
        file[f"{SERIES}/data"].id.write_direct_chunk((500, 0), bomb)
    table = SampleTable(NwbReader(path), f"{SERIES}/data")
    tracemalloc.start()
    with pytest.raises(CorruptFileError, match="damaged"):
        table.read(slice(500, 600), slice(0, 1))
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_a_stream_cut_before_its_checksum_is_damage(tmp_path: Path) -> None:
    path = write_lfp(tmp_path / "lfp.nwb", samples(), nearly_regular(), range(7), **STORAGE["one channel a chunk"])
    stream = zlib.compress(samples()[500:600, 2].tobytes())
    with h5py.File(path, "r+") as file:
        file[f"{SERIES}/data"].id.write_direct_chunk((500, 2), stream[:-4])
    with pytest.raises(CorruptFileError, match="does not end where it should"):
        open_lfp(NwbReader(path), PROBE)[500:501].load()


def test_samples_that_were_never_written_are_not_zeros(tmp_path: Path) -> None:
    path = write_lfp(tmp_path / "lfp.nwb", samples(), nearly_regular(), range(7), **STORAGE["one channel a chunk"])
    with h5py.File(path, "r+") as file:
        del file[f"{SERIES}/data"]
        data = file.create_dataset(f"{SERIES}/data", shape=(1037, 7), dtype="f4", chunks=(100, 7), compression="gzip")
        data[:500] = samples()[:500]
    lfp = open_lfp(NwbReader(path), PROBE)
    np.testing.assert_array_equal(lfp[:500].values, samples()[:500])
    with pytest.raises(CorruptFileError, match="sample 500, channel 0 was never written"):
        lfp[400:520].load()


def test_numbers_that_hdf5_converts_are_left_to_hdf5(tmp_path: Path) -> None:
    path = write_lfp(tmp_path / "lfp.nwb", samples(), nearly_regular(), range(7))
    twelve_bits = h5py.h5t.STD_I16LE.copy()
    twelve_bits.set_precision(12)
    twelve_bits.set_offset(4)
    numbers = np.arange(-1037, 1037, 2, dtype=np.int16)[:, np.newaxis].repeat(7, axis=1)
    with h5py.File(path, "r+") as file:
        del file[f"{SERIES}/data"]
        storage = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        storage.set_chunk((100, 7))
        space = h5py.h5s.create_simple(numbers.shape)
        made = h5py.h5d.create(file[SERIES].id, b"data", twelve_bits, space, storage)
        made.write(h5py.h5s.ALL, h5py.h5s.ALL, numbers)
    np.testing.assert_array_equal(open_lfp(NwbReader(path), PROBE).values, numbers.astype(np.float32))


def backwards(times: np.ndarray) -> np.ndarray:
    times = times.copy()
    times[450] = 0.0
    return times


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.__delitem__(f"{SERIES}/timestamps"), "holds no timestamps"),
        (lambda f: f.move(SERIES, "acquisition/probe_99_lfp_data"), r"holds no LFP of probe 11 .*probe_99_lfp_data"),
        (lambda f: f[f"{SERIES}/electrodes"].write_direct(np.full(7, 7)), "points at row 7 of 7"),
    ],
)
def test_a_file_that_does_not_fit_together_is_refused(
    tmp_path: Path, change: Callable[[h5py.File], None], message: str
) -> None:
    path = write_lfp(tmp_path / "lfp.nwb", samples(), nearly_regular(), range(7))
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises((FileFormatError, MissingDataError), match=message):
        open_lfp(NwbReader(path), PROBE)


def test_samples_without_timestamps_and_time_running_backwards_are_refused(tmp_path: Path) -> None:
    short = write_lfp(tmp_path / "short.nwb", samples(), nearly_regular()[:-1], range(7))
    with pytest.raises(FileFormatError, match="1,037 samples x 7 channels, but 1,036 timestamps"):
        open_lfp(NwbReader(short), PROBE)
    unsorted = write_lfp(tmp_path / "unsorted.nwb", samples(), backwards(nearly_regular()), range(7))
    lfp = open_lfp(NwbReader(unsorted), PROBE)
    with pytest.raises(FileFormatError, match="run backwards after sample 449"):
        lfp.sel(time=slice(13.8, 14))
    np.testing.assert_array_equal(lfp.isel(time=slice(0, 5)).values, samples()[:5])


def test_a_closed_file_says_so(tmp_path: Path) -> None:
    reader = NwbReader(write_lfp(tmp_path / "lfp.nwb", samples(), nearly_regular(), range(7)))
    lfp = open_lfp(reader, PROBE)
    kept = lfp[:3].load()
    reader.close()
    assert np.isfinite(kept.values).all()
    with pytest.raises(ClosedSessionError, match="was closed"):
        lfp[:3].load()


def test_where_a_probe_s_file_is_looked_for(tmp_path: Path) -> None:
    probes = pd.DataFrame(
        {"description": ["probeA", "probeB"], "has_lfp_data": [True, False]}, index=pd.Index([11, 12], name="id")
    )
    session = tmp_path / "session_1.nwb"
    with pytest.raises(UnknownIdError, match=r"no probe 13; its probes are 11 \(probeA\), 12 \(probeB\)"):
        locate_lfp(13, probes, session)
    with pytest.raises(MissingDataError, match=r"no LFP was published for probe 12 \(probeB\).*11 \(probeA\)"):
        locate_lfp(12, probes, session)
    with pytest.raises(MissingFileError, match=r"probe_11_lfp.nwb does not exist.*get_lfp\(11\)"):
        locate_lfp(11, probes, session)
    with pytest.raises(MissingFileError, match="opened from an open file"):
        locate_lfp(11, probes, object())
    dandi = tmp_path / "sub-1_ses-1_probe-11_ecephys.nwb"
    dandi.touch()
    assert locate_lfp(11, probes, session) == str(dandi)
    released = tmp_path / "probe_11_lfp.nwb"
    released.touch()
    assert locate_lfp(11, probes, session) == str(released)
    assert locate_lfp(11, probes, "https://host/data/session_1.nwb") == "https://host/data/probe_11_lfp.nwb"
    assert locate_lfp(11, probes, session, lambda probe: f"/elsewhere/{probe}") == "/elsewhere/11"


def test_current_source_density(tmp_path: Path) -> None:
    path = write_lfp(tmp_path / "lfp.nwb", samples(), nearly_regular(), range(7))
    with pytest.raises(MissingDataError, match="no current source density of probe 11"):
        read_current_source_density(NwbReader(path), PROBE)
    density = np.arange(20.0).reshape(10, 2)
    group = "processing/current_source_density/ecephys_csd"
    with h5py.File(path, "r+") as file:
        file[f"{group}/current_source_density/data"] = density
        file[f"{group}/current_source_density/timestamps"] = np.linspace(-1, 1, 10)
        file[f"{group}/virtual_electrode_x_positions"] = [1.0, 3.0]
        file[f"{group}/virtual_electrode_y_positions"] = [2.0, 3.0]
    csd = read_current_source_density(NwbReader(path), PROBE)
    assert csd.name == "CSD"
    assert csd.dims == ("virtual_channel_index", "time")
    np.testing.assert_array_equal(csd.values, density.T)
    assert csd.horizontal_position.to_numpy().tolist() == [1, 3]
    assert csd.vertical_position.to_numpy().tolist() == [2, 3]
    assert "uncalibrated" in csd.attrs["units"]
    with h5py.File(path, "r+") as file:
        del file[f"{group}/virtual_electrode_x_positions"]
        file[f"{group}/virtual_electrode_x_positions"] = [1.0]
    with pytest.raises(FileFormatError, match="2 vertical and 1 horizontal"):
        read_current_source_density(NwbReader(path), PROBE)


def test_the_replica_s_lfp(replica: Path) -> None:
    probe = 810755797
    path = replica / f"probe_{probe}_lfp.nwb"
    with h5py.File(path) as file:
        series = file[f"acquisition/probe_{probe}_lfp/probe_{probe}_lfp_data"]
        times, volts = series["timestamps"][()], series["data"][()]
    inside = (times >= 4.9) & (times <= 5.2)
    with NwbReader(path) as reader:
        lfp = open_lfp(reader, probe)
        window = lfp.sel(time=slice(4.9, 5.2))
        np.testing.assert_array_equal(window.values, volts[inside])
        np.testing.assert_array_equal(window.time.values, times[inside])
        assert lfp.sizes == {"time": 20_000, "channel": 93}
        assert lfp.sel(channel=850000013, method="nearest").channel == 850000012
        assert read_current_source_density(reader, probe).shape == (384, 875)
