"""The reader: every source opens, every fault of a file is named, nothing outside the file is followed."""

from __future__ import annotations

import io
import logging
import os
import pickle
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import h5py
import numpy as np
import pandas as pd
import pytest

from allen_ecephys.errors import (
    ClosedSessionError,
    CorruptFileError,
    DownloadError,
    FileFormatError,
    InvalidValueError,
    MissingDataError,
    MissingFileError,
    OfflineError,
)
from allen_ecephys.nwb.columns import column_names, read_table
from allen_ecephys.nwb.opening import version_numbers
from allen_ecephys.nwb.reader import NwbReader

Write = Callable[..., Path]


@pytest.fixture
def session_file(write_session: Write) -> Path:
    return write_session(
        spike_times=[[1.0, 2.0], [3.0]],
        invalid_times=pd.DataFrame(
            {"start_time": [0.5], "stop_time": [0.6], "tags": [["EcephysProbe", "100", "probeA"]]}
        ),
    )


def test_opens_on_first_use_and_once(session_file: Path) -> None:
    reader = NwbReader(session_file)
    assert "not opened" in repr(reader)
    assert reader.text("identifier") == "12345"
    assert reader.file is reader.file


@pytest.mark.parametrize("kind", ["str", "path", "file url", "memory url", "file object", "bytes"])
def test_reads_every_kind_of_source(session_file: Path, kind: str) -> None:
    memory = "memory://reader/session.nwb"
    with fsspec.open(memory, "wb") as target:
        target.write(session_file.read_bytes())
    with session_file.open("rb") as handle:
        source: Any = {
            "str": str(session_file),
            "path": session_file,
            "file url": f"file://{session_file}",
            "memory url": memory,
            "file object": handle,
            "bytes": io.BytesIO(session_file.read_bytes()),
        }[kind]
        with NwbReader(source) as reader:
            assert reader.array("units/spike_times").tolist() == [1.0, 2.0, 3.0]


def test_no_source() -> None:
    with pytest.raises(TypeError, match="a path, a URL or an open binary file"):
        NwbReader(42)  # type: ignore[arg-type]


def test_table_types(session_file: Path) -> None:
    table = read_table(NwbReader(session_file), "general/extracellular_ephys/electrodes")
    assert table.index.name == "id"
    assert table.index.dtype == np.int64
    assert table["valid_data"].dtype == bool
    assert pd.api.types.is_string_dtype(table["location"])
    assert table["location"].tolist() == ["VISp", "VISp", "LGd-sh", ""] * 2
    assert table["probe_id"].dtype == np.int64


def test_table_chosen_columns_may_be_absent(session_file: Path) -> None:
    table = read_table(NwbReader(session_file), "units", ["snr", "no_such_column"])
    assert list(table.columns) == ["snr"]


def test_ragged_columns_only_when_asked_for(session_file: Path) -> None:
    reader = NwbReader(session_file)
    assert "spike_times" not in read_table(reader, "units")
    assert "tags" not in read_table(reader, "intervals/invalid_times")
    tags = read_table(reader, "intervals/invalid_times", exclude_ragged=False)["tags"]
    assert tags.iloc[0].tolist() == ["EcephysProbe", "100", "probeA"]


def test_table_of_unequal_columns_is_refused(session_file: Path) -> None:
    with h5py.File(session_file, "a") as file:
        del file["units/snr"]
        file["units/snr"] = [1.0, 2.0, 3.0]
    with pytest.raises(FileFormatError, match=r"'snr'.* 3 values for 2 rows"):
        read_table(NwbReader(session_file), "units")


def test_attribute_and_soft_link(session_file: Path) -> None:
    reader = NwbReader(session_file)
    assert reader.attribute("general/subject", "specimen_name") == "Sst-IRES-Cre;Ai32-1234"
    assert reader.attribute("general/subject", "nothing", 7) == 7
    assert reader.attribute("general/extracellular_ephys/probeA/device", "sampling_rate") == 30000.0
    assert reader.array("processing/running/running_wheel_rotation/timestamps").tolist() == [0, 1, 2, 3, 4]


def test_missing_parts_are_named(session_file: Path) -> None:
    reader = NwbReader(session_file)
    assert not reader.has("processing/eye_tracking")
    assert reader.children("processing/eye_tracking") == []
    with pytest.raises(MissingDataError, match="spike_time'; did you mean 'spike_times'"):
        reader.dataset("units/spike_time")
    with pytest.raises(FileFormatError, match="group, not a dataset"):
        reader.dataset("units")


def test_missing_file_is_a_file_not_found_error(session_file: Path) -> None:
    with pytest.raises(MissingFileError, match=r"did you mean 'session_0\.nwb'") as caught:
        NwbReader(session_file.parent / "sesion_0.nwb")
    assert isinstance(caught.value, FileNotFoundError)
    with pytest.raises(MissingFileError, match=r"did you mean 'session_0\.nwb'"):
        NwbReader(session_file.parent / "session_0")
    with pytest.raises(MissingFileError, match=r"absent\.nwb; check the path"):  # alike by its ending only
        NwbReader(session_file.parent / "absent.nwb")
    with pytest.raises(MissingFileError, match="memory://"):
        _ = NwbReader("memory://reader/absent.nwb").file
    with pytest.raises(FileFormatError, match="is a folder"):
        NwbReader(session_file.parent)


def test_not_hdf5(tmp_path: Path) -> None:
    path = tmp_path / "page.nwb"
    path.write_bytes(b"<!DOCTYPE html>")
    with pytest.raises(FileFormatError, match=r"not an HDF5 file.*<!DOCTY"):
        _ = NwbReader(path).file


def test_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "empty.nwb"
    path.touch()
    with pytest.raises(CorruptFileError, match="0 bytes"):
        _ = NwbReader(path).file


def test_hdf5_but_not_nwb(tmp_path: Path) -> None:
    path = tmp_path / "other.nwb"
    with h5py.File(path, "w") as file:
        file["data"] = [1]
    with pytest.raises(FileFormatError, match="is an HDF5 file, but not an NWB file"):
        _ = NwbReader(path).file


@pytest.mark.parametrize("as_object", [False, True])
def test_truncated_file_names_both_sizes(session_file: Path, as_object: bool) -> None:
    whole = session_file.read_bytes()
    session_file.write_bytes(whole[: len(whole) // 2])
    source = io.BytesIO(session_file.read_bytes()) if as_object else session_file
    with pytest.raises(CorruptFileError, match=f"truncated.*{len(whole) // 2:,} of {len(whole):,} bytes"):
        _ = NwbReader(source).file
    assert session_file.exists()


def test_damaged_inside(session_file: Path) -> None:
    whole = bytearray(session_file.read_bytes())
    whole[8:96] = b"\xff" * 88  # the superblock
    session_file.write_bytes(whole)
    with pytest.raises(CorruptFileError, match="damaged"):
        _ = NwbReader(session_file).file


@pytest.mark.parametrize(("version", "read"), [("2.2.2", True), ("2.10.0", True), ("2.8.0", True), ("1.0.6", False)])
def test_versions_are_compared_as_numbers(
    write_session: Write, caplog: pytest.LogCaptureFixture, version: str, read: bool
) -> None:
    reader = NwbReader(write_session(nwb_version=version))
    if read:
        with caplog.at_level(logging.WARNING):
            assert reader.text("identifier") == "12345"
        assert not caplog.records
    else:
        with pytest.raises(FileFormatError, match=r"NWB 1\.0\.6 file; only NWB 2"):
            _ = reader.file


def test_version_older_than_the_release_is_logged(write_session: Write, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        _ = NwbReader(write_session(nwb_version="2.0.2")).file
    assert "older than the 2020 release" in caplog.text


def test_version_numbers() -> None:
    assert version_numbers("2.10.0-alpha.1") == (2, 10, 0)
    assert version_numbers("unknown") == ()


def test_closed_reader(session_file: Path) -> None:
    reader = NwbReader(session_file)
    kept = reader.array("units/spike_times")
    reader.close()
    reader.close()
    assert kept[0] == 1.0
    with pytest.raises(ClosedSessionError, match=r"session_0\.nwb was closed"):
        reader.array("units/spike_times")
    # The handle is gone: the file can be opened for writing.
    with h5py.File(session_file, "a"):
        pass


@pytest.mark.parametrize("locking", [True, False])
def test_other_handles_of_the_process_do_not_matter(session_file: Path, locking: bool) -> None:
    with h5py.File(session_file, "r", locking=locking), NwbReader(session_file) as reader:
        assert reader.text("identifier") == "12345"
        with h5py.File(session_file, "r", locking=locking):  # nor are they in the way of further ones
            pass


def test_damage_in_the_middle_shows_when_it_is_read(session_file: Path) -> None:
    with h5py.File(session_file, "a") as file:
        file.create_dataset("packed", data=np.arange(10_000.0), chunks=True, compression="gzip")
        place = file["packed"].id.get_chunk_info(0)
    with session_file.open("r+b") as raw:
        raw.seek(place.byte_offset)
        raw.write(b"\x00" * place.size)
    reader = NwbReader(session_file)
    assert reader.text("identifier") == "12345"
    with pytest.raises(CorruptFileError, match=r"packed of .* cannot be read: the file is damaged"):
        reader.array("packed")


def test_pickle_reopens(session_file: Path) -> None:
    reader = NwbReader(session_file)
    _ = reader.file
    copy = pickle.loads(pickle.dumps(reader))
    assert "not opened" in repr(copy)
    assert copy.text("identifier") == "12345"
    copy.close()
    assert pickle.loads(pickle.dumps(copy)).closed


def test_external_link_is_refused(session_file: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["group/data"] = [1.0]
    with h5py.File(session_file, "a") as file:
        file["direct"] = h5py.ExternalLink("secret.h5", "/group/data")
        file["folder"] = h5py.ExternalLink("secret.h5", "/group")
        file["soft"] = h5py.SoftLink("/folder/data")
    reader = NwbReader(session_file)
    for path in ("direct", "folder/data", "soft"):
        with pytest.raises(FileFormatError, match=r"links to another file, 'secret\.h5': refused"):
            reader.array(path)


def test_a_whole_file_can_be_checked_for_links_out_of_it(session_file: Path, replica: Path, tmp_path: Path) -> None:
    NwbReader(session_file).check_links()
    NwbReader(replica / "session_715093703.nwb").check_links()
    with h5py.File(session_file, "a") as file:
        file["processing/deep/inside"] = h5py.ExternalLink("secret.h5", "/group")
    with pytest.raises(
        FileFormatError, match=r"/processing/deep/inside .* links to another file, 'secret\.h5': refused"
    ):
        NwbReader(session_file).check_links()
    with h5py.File(session_file, "a") as file:
        del file["processing/deep/inside"]
        file.create_dataset("stolen", (2,), "f8", external=[(str(tmp_path / "secret.txt"), 0, 16)])
    with pytest.raises(FileFormatError, match=r"stolen .* in another file"):
        NwbReader(session_file).check_links()


def test_external_storage_is_refused(session_file: Path, tmp_path: Path) -> None:
    (tmp_path / "password.txt").write_bytes(b"x" * 16)
    with h5py.File(session_file, "a") as file:
        file.create_dataset("stolen", (2,), "f8", external=[(str(tmp_path / "password.txt"), 0, 16)])
    with pytest.raises(FileFormatError, match=r"/?stolen.*in another file.*password\.txt.*refused"):
        NwbReader(session_file).array("stolen")


def virtual(file: h5py.File, name: str, source_file: str, source: str) -> None:
    layout = h5py.VirtualLayout(shape=(2,), dtype="f8")
    layout[:] = h5py.VirtualSource(source_file, source, shape=(2,))
    file.create_virtual_dataset(name, layout)


def test_virtual_dataset_of_another_file_is_refused(session_file: Path, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["data"] = [7.0, 8.0]
    with h5py.File(session_file, "a") as file:
        virtual(file, "stolen", "secret.h5", "data")
    with h5py.File(session_file) as file:
        assert file["stolen"][:].tolist() == [7.0, 8.0]  # HDF5 follows it in silence
    with NwbReader(session_file) as reader:
        with pytest.raises(FileFormatError, match=r"/stolen of .* shows values of another file, 'secret\.h5': refused"):
            reader.array("stolen")
        with pytest.raises(FileFormatError, match=r"/stolen of .* shows values of another file, 'secret\.h5': refused"):
            reader.check_links()


@pytest.mark.parametrize("way", ["link", "virtual", "bytes"])
def test_virtual_dataset_that_leaves_the_file_in_two_steps_is_refused(
    session_file: Path, tmp_path: Path, way: str
) -> None:
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["data"] = [7.0, 8.0]
    with h5py.File(session_file, "a") as file:
        if way == "link":
            file["step"] = h5py.ExternalLink("secret.h5", "/data")
        elif way == "virtual":
            virtual(file, "step", "secret.h5", "data")
        else:
            file.create_dataset("step", (2,), "f8", external=[(str(secret), 0, 16)])
        virtual(file, "stolen", ".", "step")
    with NwbReader(session_file) as reader, pytest.raises(FileFormatError, match=r"another file.*refused"):
        reader.array("stolen")


def test_virtual_dataset_of_sources_by_pattern_is_refused(session_file: Path) -> None:
    with h5py.File(session_file, "a") as file:
        file["block0"] = file["block1"] = [[7.0, 8.0]]
        whole = h5py.h5s.create_simple((2, 2), (h5py.h5s.UNLIMITED, 2))
        whole.select_hyperslab((0, 0), (h5py.h5s.UNLIMITED, 1), (1, 1), (1, 2))
        made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        made.set_virtual(whole, b".", b"block%b", h5py.h5s.create_simple((1, 2)))
        h5py.h5d.create(file.id, b"numbered", h5py.h5t.NATIVE_DOUBLE, whole, made)
    with NwbReader(session_file) as reader, pytest.raises(FileFormatError, match=r"by a pattern, 'block%b': refused"):
        reader.array("numbered")


def test_virtual_dataset_of_the_file_itself_is_read(session_file: Path) -> None:
    with h5py.File(session_file, "a") as file:
        file["here"] = [1.0, 2.0]
        virtual(file, "shown", ".", "here")
    with NwbReader(session_file) as reader:
        assert reader.array("shown").tolist() == [1.0, 2.0]
        reader.check_links()


def test_soft_link_in_a_circle(session_file: Path) -> None:
    with h5py.File(session_file, "a") as file:
        file["one"] = h5py.SoftLink("/two")
        file["two"] = h5py.SoftLink("/one")
    assert not NwbReader(session_file).has("one")


def test_relative_path_survives_a_change_of_folder(session_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(session_file.parent)
    reader = NwbReader(session_file.name)
    monkeypatch.chdir("/")
    assert reader.text("identifier") == "12345"


def test_replica_is_read_completely(replica: Path) -> None:
    with NwbReader(replica / "session_715093703.nwb") as reader:
        paths: list[str] = []
        reader.file.visit(lambda path: paths.append(path))
        datasets = [p for p in paths if isinstance(reader.file[p], h5py.Dataset)]
        assert len(datasets) > 100
        for path in datasets:
            assert reader.array(path).shape == reader.dataset(path).shape
        tables = [p for p in paths if reader.attribute(p, "colnames") is not None]
        assert len(tables) >= 12
        for path in tables:
            table = read_table(reader, path, exclude_ragged=False)
            # Object references are what a table leaves out.
            assert set(column_names(reader, path)) - set(table.columns) <= {"timeseries", "group"}


# --- damage that shows as something else than an error of HDF5 -----------------------------------------------------


def test_text_that_is_not_utf8_is_named(session_file: Path) -> None:
    with h5py.File(session_file, "a") as file:
        for path in ("units/quality", "general/subject/sex", "identifier"):
            shape = file[path].shape
            del file[path]
            file.create_dataset(path, data=np.full(shape, b"\xff\xfe", dtype=object), dtype=h5py.string_dtype())
        file["general/subject"].attrs["specimen_name"] = np.bytes_(b"\xff\xfe")
        file["units"].attrs["colnames"] = np.array([b"snr", b"\xff"])
    reader = NwbReader(session_file)
    for read in (
        lambda: reader.array("units/quality"),
        lambda: reader.coded_text("units/quality"),
        lambda: reader.text("identifier"),
        lambda: reader.text("general/subject/sex"),
        lambda: reader.attribute("general/subject", "specimen_name"),
        lambda: read_table(reader, "units"),
    ):
        with pytest.raises(FileFormatError, match="is not UTF-8"):
            read()


@pytest.mark.parametrize("size", [10**10, 3 * 10**8])
def test_a_shape_that_no_column_has_takes_no_memory(session_file: Path, size: int) -> None:
    with h5py.File(session_file, "a") as file:
        del file["units/snr"]
        file.create_dataset("units/snr", shape=(size,), dtype="f8", chunks=(1000,))
    with pytest.raises(FileFormatError, match=r"units/snr .* says that it holds"):
        read_table(NwbReader(session_file), "units")


@pytest.mark.parametrize("storage", [{}, {"chunks": (1,), "compression": "gzip"}])
def test_values_that_were_never_written_are_not_zeros(session_file: Path, storage: dict[str, Any]) -> None:
    with h5py.File(session_file, "a") as file:
        del file["units/snr"]
        made = file.create_dataset("units/snr", shape=(2,), dtype="f8", **storage)
        if storage:
            made[0] = 1.0
    with pytest.raises(CorruptFileError, match=r"units/snr .* is incomplete: values of it were never written"):
        read_table(NwbReader(session_file), "units")


def test_a_column_that_inflates_without_end_is_refused(session_file: Path) -> None:
    endless = zlib.compressobj(9)
    bomb = endless.compress(bytes(64 << 20)) + endless.flush()
    with h5py.File(session_file, "a") as file:
        del file["units/snr"]
        made = file.create_dataset("units/snr", shape=(2,), dtype="f8", chunks=(2,), compression="gzip")
        made.id.write_direct_chunk((0,), bomb)
    with pytest.raises(CorruptFileError, match=r"a chunk of it takes [\d,]+ bytes in the file and holds 16"):
        read_table(NwbReader(session_file), "units")


def test_a_dataset_without_values_and_text_where_there_is_none(session_file: Path) -> None:
    with h5py.File(session_file, "a") as file:
        del file["units/snr"]
        file["units/snr"] = h5py.Empty("f8")
        del file["identifier"]
        file["identifier"] = [1.0, 2.0]
    reader = NwbReader(session_file)
    with pytest.raises(FileFormatError, match="holds no value at all"):
        reader.array("units/snr")
    with pytest.raises(FileFormatError, match="expected one text"):
        reader.text("identifier")


def test_a_long_chain_of_links_is_refused(session_file: Path) -> None:
    with h5py.File(session_file, "a") as file:
        for step in range(3000):
            file[f"link{step}"] = h5py.SoftLink(f"/link{step + 1}")
        file["link3000"] = 1.0
    reader = NwbReader(session_file)
    with pytest.raises(FileFormatError, match="chain of more than 16 links"):
        reader.array("link0")
    assert reader.array("link2990").tolist() == 1.0


def test_damaged_headers_are_named(session_file: Path) -> None:
    with h5py.File(session_file) as file:
        address = h5py.h5o.get_info(file["units/snr"].id).addr
    intact = session_file.read_bytes()
    named = 0
    for byte in range(0, 200, 5):
        raw = bytearray(intact)
        raw[address + byte] ^= 0xFF
        session_file.write_bytes(raw)
        with NwbReader(session_file) as reader:
            try:
                read_table(reader, "units")
            except (CorruptFileError, FileFormatError):
                named += 1
    assert named > 8


def test_closing_while_another_thread_reads(session_file: Path) -> None:
    with h5py.File(session_file, "a") as file:
        file.create_dataset("long", data=np.arange(400_000.0), chunks=(1000,), compression="gzip")
    failures: list[Exception] = []
    for _ in range(5):
        reader = NwbReader(session_file)
        _ = reader.file
        begun = threading.Barrier(4)

        def read(reader: NwbReader = reader, begun: threading.Barrier = begun) -> None:
            begun.wait()
            try:
                for start in range(0, 400_000, 1000):
                    reader.array("long", slice(start, start + 1000))
                    reader.has("units/snr")
            except Exception as error:  # whatever it is, the assertion below names it
                failures.append(error)

        threads = [threading.Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        begun.wait()
        reader.close()
        for thread in threads:
            thread.join()
    assert failures
    assert {type(error) for error in failures} == {ClosedSessionError}


def test_a_virtual_dataset_whose_source_is_gone_gives_no_fill_values(session_file: Path) -> None:
    with h5py.File(session_file, "a") as file:
        layout = h5py.VirtualLayout((3,), "f8")
        layout[:] = h5py.VirtualSource(".", "gone", (3,))
        del file["units/spike_times"]
        file.create_virtual_dataset("units/spike_times", layout)
    with pytest.raises(FileFormatError, match="shows values of 'gone', which the file does not hold"):
        NwbReader(session_file).array("units/spike_times")


def test_names_that_lead_to_no_file(session_file: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.nwb")
    (tmp_path / "loop.nwb").symlink_to(tmp_path / "loop.nwb")
    (tmp_path / "link.nwb").symlink_to(tmp_path / "gone.nwb")
    expected: list[tuple[str | Path, type[Exception], str]] = [
        (tmp_path / "pipe.nwb", FileFormatError, "a pipe or a device"),  # whose other end would be waited for
        ("/dev/null", FileFormatError, "a pipe or a device"),
        (tmp_path / "loop.nwb", MissingFileError, r"a link that leads nowhere \(.*loop\.nwb\)"),
        (tmp_path / "link.nwb", MissingFileError, r"a link that leads nowhere \(.*gone\.nwb\)"),
        (tmp_path / ("x" * 300), MissingFileError, "there is no file"),
        (session_file / "within", MissingFileError, "there is no file"),
        ("a\0b.nwb", MissingFileError, "there is no file"),
        ("~nobody-of-that-name/x.nwb", MissingFileError, "home folder of somebody who has none"),
    ]
    for place, error, message in expected:
        with pytest.raises(error, match=message):
            NwbReader(place)


@pytest.mark.parametrize(
    "name", ["a b.nwb", "n\u00e9\u65e5.nwb", "two\nlines.nwb", "%20#?&.nwb", "\udcff.nwb", "-rf.nwb"]
)
def test_names_that_are_unusual(session_file: Path, name: str) -> None:
    reader = NwbReader(session_file.rename(session_file.with_name(name)))
    assert pickle.loads(pickle.dumps(reader)).has("units/id")
    repr(reader)


@pytest.mark.parametrize(
    ("url", "error", "message"),
    [
        ("http://127.0.0.1:9/x.nwb", DownloadError, "cannot be reached"),  # not "there is no file"
        ("ftp://127.0.0.1:9/x.nwb", DownloadError, "cannot be read"),
        ("no-such-scheme://x", InvalidValueError, "no address that fsspec knows"),  # not "the file is damaged"
    ],
)
def test_addresses_that_do_not_answer(
    url: str, error: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(error, match=message):
        _ = NwbReader(url).file
    monkeypatch.setenv("ALLEN_ECEPHYS_OFFLINE", "1")
    with pytest.raises(OfflineError, match="forbids network connections"):
        _ = NwbReader(url).file
