"""NWB files from HDF5 to Zarr of format 3 and back, the requests that a store costs, and what was left half done."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import h5py
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from allen_ecephys import EcephysSession, UnitFilter
from allen_ecephys.cli import main
from allen_ecephys.errors import AlreadyPresentError, CorruptFileError, FileFormatError, MissingFileError
from allen_ecephys.nwb.converting import convert_nwb
from allen_ecephys.nwb.sources import open_reader
from allen_ecephys.nwb.zarr import converting
from allen_ecephys.nwb.zarr.writing import StoreWriter

REPOSITORY = Path(__file__).resolve().parents[3]
PROBE = 810755797
TABLES = ("units", "channels", "probes", "stimulus_presentations", "stimulus_conditions", "running_speed")


@pytest.fixture
def session_file(write_session: Callable[..., Path], four_presentations: dict[str, Any]) -> Path:
    return write_session(**four_presentations)


@pytest.fixture(scope="module")
def replica_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The replica's session and an LFP file of it as stores; tests change copies of them."""
    data = Path(os.environ.get("ALLEN_ECEPHYS_TEST_DATA", REPOSITORY.parent / "shared" / "data")) / "replica"
    if not data.is_dir():
        pytest.skip(f"no released data at {data}; name a folder in ALLEN_ECEPHYS_TEST_DATA")
    folder = tmp_path_factory.mktemp("stores")
    for name in ("session_715093703", f"probe_{PROBE}_lfp"):
        assert convert_nwb(data / f"{name}.nwb", folder / f"{name}.nwb.zarr") == []
    return folder / "session_715093703.nwb.zarr"


def everything(path: Path | str) -> EcephysSession:
    return EcephysSession.from_nwb_path(path, unit_filter=UnitFilter.none())


def contents(path: Path) -> dict[str, Any]:
    """Return every object of an HDF5 file: its type, values and attributes; references as the paths that they mean."""
    held: dict[str, Any] = {}
    with h5py.File(path, "r") as file:

        def plain(value: Any) -> Any:
            if isinstance(value, h5py.Reference):
                return file[value].name if value else ""
            if isinstance(value, np.ndarray) and value.dtype.names:
                return [[plain(row[name]) for name in value.dtype.names] for row in value]
            return [plain(one) for one in value] if isinstance(value, np.ndarray) else value

        def note(name: str, found: Any) -> None:
            attributes = {key: plain(value) for key, value in found.attrs.items()}
            if isinstance(found, h5py.Dataset):
                held[name] = (found.dtype, found.shape, repr(plain(found[()])), repr(sorted(attributes.items())))
            else:
                links = {
                    key: link.path for key in found if isinstance(link := found.get(key, getlink=True), h5py.SoftLink)
                }
                held[name] = (repr(sorted(attributes.items())), links)

        file.visititems(note)
        note("", file)
    return held


def test_there_and_back_gives_the_same_file(replica: Path, replica_store: Path, tmp_path: Path) -> None:
    """Groups, arrays, types, attributes, soft links, references and compound columns."""
    source, back = replica / "session_715093703.nwb", tmp_path / "back.nwb"
    assert convert_nwb(replica_store, back) == []
    before, after = contents(source), contents(back)
    assert before.keys() == after.keys()
    for path in before:
        assert str(before[path]) == str(after[path]), path


def test_a_store_of_format_3_is_the_same_session(replica: Path, replica_store: Path) -> None:
    one, other = everything(replica / "session_715093703.nwb"), everything(replica_store)
    for name in TABLES:
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name))
    assert one.metadata == other.metadata
    pd.testing.assert_frame_equal(one.get_pupil_data(), other.get_pupil_data())
    for unit, times in one.spike_times.items():
        np.testing.assert_array_equal(times, other.spike_times[unit])
        np.testing.assert_array_equal(one.mean_waveforms[unit], other.mean_waveforms[unit])


def test_lfp_and_csd_of_a_probes_file(replica: Path, replica_store: Path) -> None:
    """A store beside a store is found as a file beside a file is."""
    one, other = everything(replica / "session_715093703.nwb"), everything(replica_store)
    assert other.get_lfp(PROBE).load().equals(one.get_lfp(PROBE).load())
    assert other.get_current_source_density(PROBE).equals(one.get_current_source_density(PROBE))


def with_lfp_of(session: Path, lfp: Path, probe: int, module: str) -> None:
    """Put a probe's LFP and CSD into its session's file, as the release's Zarr copies have them."""
    with h5py.File(session, "a") as file, h5py.File(lfp, "r") as source:
        ids = file["general/extracellular_ephys/electrodes/id"][()].tolist()
        theirs = source["general/extracellular_ephys/electrodes/id"][()]
        source.copy(f"acquisition/probe_{probe}_lfp", file.require_group(module), f"probe_{probe}_lfp")
        rows = file[f"{module}/probe_{probe}_lfp/probe_{probe}_lfp_data/electrodes"]
        rows[...] = [ids.index(theirs[row]) for row in rows[()]]
        csd = source["processing/current_source_density/ecephys_csd"]
        source.copy(csd, file.require_group("processing/ecephys"), f"probe_{probe}_ecephys_csd")


@pytest.mark.parametrize("module", ["acquisition", "processing/ecephys"])
def test_lfp_and_csd_in_the_sessions_own_store(
    replica: Path, write_store: Callable[..., Any], tmp_path: Path, module: str
) -> None:
    probe = PROBE
    whole = tmp_path / "whole.nwb"
    whole.write_bytes((replica / "session_715093703.nwb").read_bytes())
    with_lfp_of(whole, replica / f"probe_{probe}_lfp.nwb", probe, module)
    if module != "acquisition":
        write_store(
            whole,
            tmp_path / "whole.nwb.zarr",
            chunks={f"{module}/probe_{probe}_lfp/probe_{probe}_lfp_data/data": (70, 3)},
        )
    one = everything(replica / "session_715093703.nwb")
    for path in (whole, tmp_path / "whole.nwb.zarr")[: 1 if module == "acquisition" else 2]:
        other = everything(path)
        assert other.get_lfp(probe).load().equals(one.get_lfp(probe).load())
        assert other.get_current_source_density(probe).equals(one.get_current_source_density(probe))


def test_long_series_are_cut_into_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spikes, LFP and waveforms, with edges that fit no chunk; read whole and in parts."""
    monkeypatch.setattr(converting, "COLUMN_BYTES", 100)
    monkeypatch.setattr(converting, "CHUNK_BYTES", 1_000)
    monkeypatch.setattr(converting, "BLOCK_BYTES", 3_500)
    monkeypatch.setattr(converting, "LFP_SAMPLES", 70)
    generator = np.random.default_rng(1)
    arrays = {
        "units/spike_times": np.sort(generator.random(1_001)),
        "acquisition/probe_1_lfp/probe_1_lfp_data/data": generator.normal(size=(333, 5)).astype("f4"),
        "units/waveform_mean": generator.normal(size=(100, 3)),
        "flags": generator.random(1_500) > 0.5,
        "cube": generator.normal(size=(9, 5, 7)),
    }
    with h5py.File(tmp_path / "a.nwb", "w") as file:
        file.attrs["nwb_version"] = "2.9.0"
        for path, values in arrays.items():
            file[path] = values
        file["units/waveform_mean_index"] = np.arange(4, 101, 4)
    convert_nwb(tmp_path / "a.nwb", tmp_path / "a.zarr")
    with open_reader(tmp_path / "a.zarr") as store:
        for path, values in arrays.items():
            assert store.dataset(path).chunks != values.shape
            np.testing.assert_array_equal(store.array(path), values)
            assert store.array(path).dtype == values.dtype
            np.testing.assert_array_equal(store.array(path, slice(3, 7)), values[3:7])
            np.testing.assert_array_equal(
                store.array(path, (slice(None), *[1] * (values.ndim - 1))),
                values[(slice(None), *[1] * (values.ndim - 1))],
            )
        assert store.dataset("units/waveform_mean").chunks == (40, 3)
    convert_nwb(tmp_path / "a.zarr", tmp_path / "b.nwb")
    assert contents(tmp_path / "a.nwb") == contents(tmp_path / "b.nwb")


# --- remote -------------------------------------------------------------------------------------------------------


def test_a_remote_store_costs_few_requests(replica: Path, replica_store: Path, tmp_path: Path, served: Any) -> None:
    shutil.copytree(replica_store, tmp_path / "a.nwb.zarr")
    session = everything(f"{served.url}/a.nwb.zarr")
    units = session.units
    assert len(served.asked) <= 5
    pd.testing.assert_frame_equal(units, everything(replica / "session_715093703.nwb").units)
    before = len(served.asked)
    _ = session.spike_times[int(units.index[0])]
    assert len(served.asked) - before <= 2
    before = len(served.asked)
    _ = session.stimulus_presentations
    assert len(served.asked) - before <= 3


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An S3-protocol server on loopback, which fsspec asks for ``s3://`` addresses; a client to fill it."""
    moto = pytest.importorskip("moto.server", reason="needs moto's server (extra test)")
    boto3 = pytest.importorskip("boto3", reason="needs boto3 (extra test)")
    pytest.importorskip("s3fs", reason="needs s3fs (extra s3)")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    running = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    try:
        host, port = running.get_host_and_port()
        monkeypatch.setitem(fsspec.config.conf, "s3", {"endpoint_url": f"http://{host}:{port}"})
        client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1")
        client.create_bucket(Bucket="lab")
        yield client
    finally:
        running.stop()


def test_a_store_in_a_bucket(session_file: Path, tmp_path: Path, bucket: Any) -> None:
    convert_nwb(session_file, tmp_path / "a.nwb.zarr")
    for path in (tmp_path / "a.nwb.zarr").rglob("*"):
        if path.is_file():
            bucket.upload_file(str(path), "lab", f"stores/{path.relative_to(tmp_path).as_posix()}")
    one, other = everything(session_file), everything("s3://lab/stores/a.nwb.zarr")
    for name in TABLES:
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name))
    for unit, times in one.spike_times.items():
        np.testing.assert_array_equal(times, other.spike_times[unit])
    bucket.delete_object(Bucket="lab", Key="stores/a.nwb.zarr/processing/running/running_speed/data/c/0")
    with pytest.raises(CorruptFileError, match=r"running_speed/data of s3://lab.* is incomplete"):
        _ = everything("s3://lab/stores/a.nwb.zarr").running_speed


def test_a_damaged_pack_is_named(replica_store: Path, tmp_path: Path, served: Any) -> None:
    shutil.copytree(replica_store, tmp_path / "a.nwb.zarr")
    (pack,) = (tmp_path / "a.nwb.zarr/packed_chunks/session/c").iterdir()
    pack.write_bytes(pack.read_bytes()[:-5])
    with pytest.raises(CorruptFileError, match=r"packed_chunks/session.* is damaged"):
        _ = everything(f"{served.url}/a.nwb.zarr").units
    assert len(everything(tmp_path / "a.nwb.zarr").units) == 8  # each chunk lies in its own place too


# --- missing, left out, half done ---------------------------------------------------------------------------------


def test_a_chunk_missing_from_a_store_of_ours_is_named(session_file: Path, tmp_path: Path) -> None:
    convert_nwb(session_file, tmp_path / "a.nwb.zarr")
    (tmp_path / "a.nwb.zarr/units/snr/c/0").unlink()
    with pytest.raises(CorruptFileError, match=r"units/snr of .*is incomplete: 1 chunk.*units/snr/c/0"):
        _ = everything(tmp_path / "a.nwb.zarr").units


def test_chunks_that_another_writer_left_out_are_told_of(
    session_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """zarr 3 leaves out chunks of nothing but the fill value; where that cannot be, the chunk was lost."""
    store = tmp_path / "a.nwb.zarr"
    convert_nwb(session_file, store)
    root = json.loads((store / "zarr.json").read_text())
    root["consolidated_metadata"]["metadata"]["packed_chunks"]["attributes"] = {}
    (store / "zarr.json").write_text(json.dumps(root))
    (store / "units/snr/c/0").unlink()
    with caplog.at_level(logging.WARNING):
        assert (everything(store).units["snr"] == 0).all()
    assert [r.message.partition(" of ")[0] for r in caplog.records if "lacks" in r.message] == ["units/snr"]
    (store / "units/spike_times/c/0").unlink()
    with pytest.raises(CorruptFileError, match=r"units/spike_times of .*is incomplete"):
        everything(store).spike_times.to_dict()


def test_pickled_columns_are_left_out_and_named(
    session_file: Path, write_store: Callable[..., Any], tmp_path: Path
) -> None:
    writer = write_store(session_file, tmp_path / "old.nwb.zarr")
    names = writer.metadata["units/.zattrs"]["colnames"]
    writer.pickled("units/electrode_group", [{"path": "/"}] * 3, {"zarr_dtype": "object"})
    writer.document("units/.zattrs", {**writer.metadata["units/.zattrs"], "colnames": [*names, "electrode_group"]})
    electrodes = "general/extracellular_ephys/electrodes"
    groups = np.array(["probeA"] * 4 + ["probeB"] * 4, dtype=object)
    writer.array(f"{electrodes}/group_name", groups, {})
    writer.pickled(f"{electrodes}/group", [{"path": "/"}] * 8, {"zarr_dtype": "object"})
    writer.consolidate()
    result = CliRunner().invoke(main, ["convert", str(writer.folder), str(tmp_path / "new.nwb")])
    assert result.exit_code == 0, result.output
    assert "left out, as it is kept as a Python pickle: units/electrode_group" in result.output
    with h5py.File(tmp_path / "new.nwb") as file:
        assert "electrode_group" not in file["units"]
        assert list(file["units"].attrs["colnames"]) == names
        assert file[file[f"{electrodes}/group"][5]].name == "/general/extracellular_ephys/probeB"
    pd.testing.assert_frame_equal(everything(tmp_path / "new.nwb").units, everything(session_file).units)


def test_commands_take_a_store(replica_store: Path, tmp_path: Path) -> None:
    """`info` and `units` refused every folder before."""
    told = CliRunner().invoke(main, ["info", str(replica_store)])
    assert told.exit_code == 0, told.output
    assert "715093703" in told.output
    listed = CliRunner().invoke(main, ["units", str(replica_store), "--all-units"])
    assert "950000000" in listed.output
    refused = CliRunner().invoke(main, ["info", str(tmp_path)])
    assert refused.exit_code == 1
    assert "is a folder; name the NWB file in it" in refused.output


def test_what_cannot_be_converted(session_file: Path, tmp_path: Path) -> None:
    (tmp_path / "there.zarr").mkdir()
    (tmp_path / "there.zarr/x").write_text("mine")
    with pytest.raises(AlreadyPresentError):
        convert_nwb(session_file, tmp_path / "there.zarr")
    assert (tmp_path / "there.zarr/x").read_text() == "mine"
    with pytest.raises(MissingFileError):
        convert_nwb(tmp_path / "no.nwb", tmp_path / "no.zarr")
    (tmp_path / "text.nwb").write_text("no HDF5")
    with pytest.raises(FileFormatError, match="not an HDF5 file"):
        convert_nwb(tmp_path / "text.nwb", tmp_path / "no.zarr")
    with h5py.File(session_file, "a") as file:
        file["stolen"] = h5py.ExternalLink("secret.h5", "/x")
    with pytest.raises(FileFormatError, match=r"another file.*refused"):
        convert_nwb(session_file, tmp_path / "no.zarr")
    assert not (tmp_path / "no.zarr").exists()


def test_an_error_on_the_way_leaves_nothing(
    session_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(_: StoreWriter) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(StoreWriter, "finish", stop)
    with pytest.raises(KeyboardInterrupt):
        convert_nwb(session_file, tmp_path / "out/a.nwb.zarr")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_killed_conversion_leaves_nothing_under_the_name(tmp_path: Path) -> None:
    """Killed while chunks are written; the next one clears what it left."""
    out = tmp_path / "out"
    with h5py.File(tmp_path / "a.nwb", "w") as file:
        file.attrs["nwb_version"] = "2.9.0"
        file.create_dataset("units/spike_times", data=np.random.default_rng(1).random(8_000_000))
    words = [
        sys.executable,
        "-c",
        "from allen_ecephys.nwb.converting import convert_nwb as c; c('a.nwb', 'out/a.zarr')",
    ]
    child = subprocess.Popen(words, cwd=tmp_path)
    deadline = time.monotonic() + 60
    while not list(out.glob(".*/units/spike_times/c/0")) and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert not (out / "a.zarr").exists()
    assert len(list(out.iterdir())) == 1  # its draft
    with h5py.File(tmp_path / "a.nwb", "w") as file:
        file.attrs["nwb_version"] = "2.9.0"
        file["units/spike_times"] = [1.0]
    convert_nwb(tmp_path / "a.nwb", out / "a.zarr")
    assert [path.name for path in out.iterdir()] == ["a.zarr"]
