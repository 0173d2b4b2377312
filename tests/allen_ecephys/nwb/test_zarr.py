"""NWB-Zarr stores: the same session as the HDF5 file's, and nothing of what a hostile or damaged one would have."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from allen_ecephys import EcephysSession, UnitFilter
from allen_ecephys.errors import (
    ClosedSessionError,
    CorruptFileError,
    FileFormatError,
    MissingFileError,
)
from allen_ecephys.nwb.sources import open_reader
from allen_ecephys.nwb.zarr.codecs import crc32c
from allen_ecephys.nwb.zarr.reader import ZarrReader

TABLES = ("units", "channels", "probes", "stimulus_presentations", "stimulus_conditions", "running_speed")


@pytest.fixture
def session_file(write_session: Callable[..., Path], four_presentations: dict[str, Any]) -> Path:
    return write_session(**four_presentations)


@pytest.fixture
def store(session_file: Path, write_store: Callable[..., Any], tmp_path: Path) -> Any:
    return write_store(session_file, tmp_path / "session.nwb.zarr", chunks={"units/spike_times": (3,)})


def everything(path: Path | str) -> EcephysSession:
    return EcephysSession.from_nwb_path(path, unit_filter=UnitFilter.none())


def assert_same_session(one: EcephysSession, other: EcephysSession) -> None:
    """Compare everything that both hold, value for value and type for type."""
    for name in TABLES:
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name))
    assert one.metadata == other.metadata
    for mapping in ("spike_times", "spike_amplitudes"):
        mine, theirs = getattr(one, mapping).to_dict(), getattr(other, mapping).to_dict()
        assert list(mine) == list(theirs)
        for unit in mine:
            np.testing.assert_array_equal(mine[unit], theirs[unit])
    for unit, waveform in one.mean_waveforms.items():
        np.testing.assert_array_equal(waveform, other.mean_waveforms[unit])


@pytest.mark.parametrize("consolidated", [True, False])
def test_a_store_is_the_same_session_as_its_file(
    session_file: Path, write_store: Callable[..., Any], tmp_path: Path, consolidated: bool
) -> None:
    writer = write_store(session_file, tmp_path / "a.nwb.zarr", consolidated=consolidated)
    assert (writer.folder / ".zmetadata").exists() is consolidated
    assert_same_session(everything(session_file), everything(writer.folder))


def test_the_replica_as_a_store_is_the_same_session(
    replica: Path, write_store: Callable[..., Any], tmp_path: Path
) -> None:
    file = replica / "session_715093703.nwb"
    chunks = {"units/waveform_mean": (700, 41), "units/spike_times": (37,)}
    writer = write_store(file, tmp_path / "replica.nwb.zarr", chunks=chunks)
    one, other = everything(file), everything(writer.folder)
    assert_same_session(one, other)
    pd.testing.assert_frame_equal(one.get_pupil_data(), other.get_pupil_data())
    pd.testing.assert_frame_equal(one.get_screen_gaze_data(), other.get_screen_gaze_data())
    pd.testing.assert_frame_equal(one.optogenetic_stimulation_epochs, other.optogenetic_stimulation_epochs)
    pd.testing.assert_frame_equal(one.invalid_times, other.invalid_times)


def test_a_store_without_the_suffix_is_known_by_what_lies_in_it(store: Any, tmp_path: Path) -> None:
    renamed = store.folder.rename(tmp_path / "copy")
    assert isinstance(open_reader(renamed), ZarrReader)
    with pytest.raises(FileFormatError, match="is a folder"):
        open_reader(tmp_path)


def test_counts_and_alignment_are_those_of_the_file(session_file: Path, store: Any) -> None:
    one, other = everything(session_file), everything(store.folder)
    edges = np.linspace(0, 0.5, 6)
    presentations = one.stimulus_presentations.index
    ours = one.presentationwise_spike_counts(edges, presentations, one.units.index)
    np.testing.assert_array_equal(ours, other.presentationwise_spike_counts(edges, presentations, other.units.index))


def test_metrics_and_coordinates_in_the_units_table_are_found_where_a_session_has_them(
    session_file: Path, store: Any
) -> None:
    """The release's Zarr copies keep stimulus metrics and the peak channel's columns in the units table."""
    plain = everything(session_file)
    attributes = dict(store.metadata["units/.zattrs"])
    rows = len(plain.units)
    added = {
        "g_osi_dg": np.array([0.5, np.nan, 0.25]), "run_pval_dg": np.array([0.1, np.nan, 0.9]),
        "on_screen_rf": np.array([1.0, np.nan, 0.0]), "left_right_ccf_coordinate": np.zeros(rows),
        "ecephys_probe_id": np.zeros(rows), "ecephys_structure_acronym": np.array(["VISp"] * rows, dtype=object),
    }  # fmt: skip
    for name, values in added.items():
        store.array(f"units/{name}", values, {})
    store.document("units/.zattrs", {**attributes, "colnames": [*attributes["colnames"], *added]})
    store.consolidate()
    session = everything(store.folder)
    pd.testing.assert_frame_equal(session.units, plain.units)
    metrics = session.unit_analysis_metrics.loc[[2, 1, 0]]
    assert list(metrics.columns) == ["g_osi_dg", "p_run_mod_dg", "on_screen_rf"]
    assert metrics["g_osi_dg"].tolist()[::2] == [0.5, 0.25]
    assert metrics.loc[1].isna().all()
    assert metrics.loc[2, "on_screen_rf"] is True


def test_closing_pickling_and_messages(store: Any, tmp_path: Path) -> None:
    session = everything(store.folder)
    again = pickle.loads(pickle.dumps(session))
    assert len(again.units) == 3
    session.close()
    with pytest.raises(ClosedSessionError, match="was closed"):
        _ = session.units
    with pytest.raises(FileFormatError, match=r"is a Zarr store.*allen-ecephys convert"):
        _ = again.nwbfile
    with pytest.raises(MissingFileError, match=r"no Zarr store .*sesion.nwb.zarr; did you mean 'session.nwb.zarr'"):
        open_reader(tmp_path / "sesion.nwb.zarr")
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(FileFormatError, match="is no Zarr store"):
        _ = open_reader(tmp_path / "empty.zarr").children()


# --- damaged ------------------------------------------------------------------------------------------------------


def test_a_missing_chunk_is_named_and_never_filled_in(store: Any) -> None:
    """zarr itself answers with the fill value, in silence: spikes at 0 s."""
    (store.folder / "units/spike_times/1").unlink()
    session = everything(store.folder)
    with pytest.raises(CorruptFileError, match=r"units/spike_times of .* is incomplete: 1 chunk.*units/spike_times/1"):
        session.spike_times.to_dict()
    assert session.spike_times[2].tolist() == [1.01, 1.02, 1.03]  # the first chunk holds it whole


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "longer", "claims"])
def test_a_damaged_chunk_is_named(store: Any, damage: str) -> None:
    chunk = store.folder / "units/snr/0"
    raw = bytearray(chunk.read_bytes())
    if damage == "claims":
        raw[4:8] = (2**31 - 1).to_bytes(4, "little")  # Blosc's word for how much it holds
    damaged = {"cut": raw[:-3], "empty": b"", "flipped": raw[:2] + b"\xff" + raw[3:], "longer": raw + b"12"}
    chunk.write_bytes(damaged.get(damage, raw))
    if damage == "flipped":
        chunk.write_bytes(bytes(16))
    with pytest.raises(CorruptFileError, match=r"chunk units/snr/0 of .* is damaged"):
        _ = everything(store.folder).units


@pytest.mark.parametrize(
    ("document", "change", "message"),
    [
        ("units/snr/.zarray", {"chunks": [0]}, "are no sizes"),
        ("units/snr/.zarray", {"shape": [-1]}, "are no sizes"),
        ("units/snr/.zarray", {"shape": [2**40, 2**40], "chunks": [1, 1]}, "more values than there can be"),
        ("units/snr/.zarray", {"chunks": [2**40]}, "has chunks of"),
        ("units/snr/.zarray", {"shape": [3, 3]}, "do not fit"),
        ("units/snr/.zarray", {"dtype": "<c16"}, "holds values of type complex128"),
        ("units/snr/.zarray", {"dtype": "nonsense"}, "metadata that are not understood"),
        ("units/snr/.zarray", {"compressor": {"id": "lzma"}}, "with the codec 'lzma', which is not read"),
        ("units/snr/.zarray", {"compressor": 7}, "with the codec None"),
        ("units/snr/.zarray", {"dimension_separator": "/../"}, "separates the indices"),
        (".zattrs", {"nwb_version": "1.0.6"}, "is an NWB 1.0.6 file"),
        (".zattrs", {"nwb_version": None}, "is a Zarr store, but not an NWB file"),
    ],
)
def test_metadata_are_not_believed(store: Any, document: str, change: dict[str, Any], message: str) -> None:
    store.document(document, {**store.metadata[document], **change})
    store.consolidate()
    with pytest.raises(FileFormatError, match=message):
        _ = everything(store.folder).units


@pytest.mark.parametrize("text", ["{", "[]", '{"metadata": 3}', '{"metadata": {"units/.zarray": 3}}', "[" * 100_000])
def test_damaged_consolidated_metadata(store: Any, text: str) -> None:
    (store.folder / ".zmetadata").write_text(text)
    with pytest.raises(CorruptFileError, match=r"zmetadata.* is damaged"):
        _ = everything(store.folder).units


# --- hostile ------------------------------------------------------------------------------------------------------


class Bomb:
    """Makes a file where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def test_a_hostile_store_is_never_unpickled(store: Any, tmp_path: Path) -> None:
    """Neither as a column nobody needs, nor as one that everybody reads, nor as a fill value or a compressor."""
    import base64

    mark = tmp_path / "unpickled"
    bomb = Bomb(mark)
    electrodes = "general/extracellular_ephys/electrodes"
    attributes = dict(store.metadata[f"{electrodes}/.zattrs"])
    store.pickled(f"{electrodes}/group", [bomb] * 8, {"zarr_dtype": "object"})
    store.document(f"{electrodes}/.zattrs", {**attributes, "colnames": [*attributes["colnames"], "group"]})
    store.consolidate()
    assert len(everything(store.folder).units) == 3  # the column is left out

    store.pickled("units/snr", [bomb] * 3, {})
    store.consolidate()
    with pytest.raises(FileFormatError, match=r"units/snr of .*expected one value a row"):
        _ = everything(store.folder).units

    fill = base64.b64encode(pickle.dumps(bomb)).decode()
    document = {**store.metadata["units/snr/.zarray"], "fill_value": fill, "dtype": [["a", "<i4"], ["b", "|O"]]}
    store.document("units/snr/.zarray", document)
    store.consolidate()
    with pytest.raises(FileFormatError, match="units/snr"):
        _ = everything(store.folder).units

    plain = {**store.metadata["units/d_prime/.zarray"], "compressor": {"id": "pickle"}}
    store.document("units/d_prime/.zarray", plain)
    store.consolidate()
    reader = open_reader(store.folder)
    with pytest.raises(FileFormatError, match="Python pickles, which run the code"):
        reader.array("units/d_prime")
    with pytest.raises(FileFormatError, match="Python pickles, which run the code"):
        reader.array(f"{electrodes}/group")
    assert not mark.exists()


def test_symbolic_links_out_of_the_store_are_refused(store: Any, tmp_path: Path) -> None:
    chunk = store.folder / "units/snr/0"
    secret = chunk.rename(tmp_path / "secret")
    chunk.symlink_to(secret)
    with pytest.raises(FileFormatError, match="symbolic link out of the store: refused"):
        _ = everything(store.folder).units
    chunk.unlink()
    inside = secret.rename(store.folder / "moved")
    chunk.symlink_to(inside)
    assert len(everything(store.folder).units) == 3  # a link within the store shows nothing else
    folder = store.folder / "units/snr"
    shutil.copytree(folder, tmp_path / "outside")
    shutil.rmtree(folder)
    folder.symlink_to(tmp_path / "outside")
    with pytest.raises(FileFormatError, match="symbolic link out of the store: refused"):
        _ = everything(store.folder).units


def test_a_store_that_is_itself_a_symbolic_link_is_read(store: Any, tmp_path: Path) -> None:
    link = tmp_path / "here.nwb.zarr"
    link.symlink_to(store.folder)
    assert len(everything(link).units) == 3


@pytest.mark.parametrize("name", ["..", "../../../etc", "units/../../x", "a\\b", "/etc"])
def test_names_that_climb_out_of_the_store_are_refused(store: Any, name: str) -> None:
    store.metadata[f"{name}/.zgroup"] = {"zarr_format": 2}
    store.consolidate()
    with pytest.raises(FileFormatError, match=r"lies outside of it: refused"):
        _ = everything(store.folder).units


def test_links_to_other_stores_and_circles_are_refused(store: Any) -> None:
    speed = "processing/running/running_wheel_rotation"
    for link, message in (
        ({"name": "timestamps", "path": "/x", "source": "../other.zarr"}, "links to another store.*refused"),
        ({"name": "timestamps", "path": f"/{speed}/timestamps", "source": "."}, "holds no"),
        ({"name": "timestamps", "path": "/../../x", "source": "."}, "lies outside of it: refused|holds no"),
    ):
        store.document(f"{speed}/.zattrs", {"zarr_link": [link]})
        store.consolidate()
        with pytest.raises((FileFormatError, LookupError), match=message):
            open_reader(store.folder).array(f"{speed}/timestamps")


# --- remote -------------------------------------------------------------------------------------------------------


def test_a_store_on_a_web_server_is_the_same_session(session_file: Path, store: Any, served: Any) -> None:
    session = everything(f"{served.url}/session.nwb.zarr")
    assert_same_session(everything(session_file), session)
    assert len(served.asked) == len(set(served.asked))  # nothing was asked for twice


def test_a_remote_chunk_that_is_missing_and_a_server_that_refuses(store: Any, served: Any) -> None:
    (store.folder / "units/snr/0").unlink()
    with pytest.raises(CorruptFileError, match=r"units/snr of http.*is incomplete: 1 chunk"):
        _ = everything(f"{served.url}/session.nwb.zarr").units
    served.status = 500
    with pytest.raises(OSError, match=r"zarr.json of http.* could not be fetched"):
        _ = everything(f"{served.url}/session.nwb.zarr").units


def test_crc32c_of_the_standard() -> None:
    """RFC 3720, appendix B.4."""
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
