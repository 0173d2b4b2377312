"""Readers of raw data: real metadata against other readers, simulated recordings against their truth."""

from __future__ import annotations

import json
import logging
import pickle
import re
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from allen_ecephys.errors import (
    CorruptFileError,
    FileFormatError,
    GeometryError,
    InvalidTypeError,
    MissingDataError,
    MissingExtraError,
    UnknownNameError,
)
from allen_ecephys.processing.probes import (
    REFERENCE_CHANNELS_3A,
    lfp_order_3a,
    neuropixels_1_geometry,
    neuropixels_1_wiring,
)
from allen_ecephys.processing.readers.binary import BinaryRecording, open_binary
from allen_ecephys.processing.readers.open_ephys import open_open_ephys
from allen_ecephys.processing.readers.open_ephys_index import open_ephys_streams
from allen_ecephys.processing.readers.spikeglx import open_spikeglx
from allen_ecephys.processing.readers.spikeglx_meta import read_spikeglx_meta, spikeglx_geometry
from allen_ecephys.processing.recording import Recording, chunk_bounds
from allen_ecephys.processing.simulation.raw.recording import RawGroundTruth, write_recording


def meta_files(shared_data: Path) -> list[Path]:
    return sorted((shared_data / "neuropixels_meta").rglob("*.meta"))


def site_map(text: str) -> np.ndarray | None:
    """An own reading of the site maps in the metadata: (shank, x, y) of each listed site."""
    kind = re.search(r"^~sns(Geom|Shank)Map=(.*)$", text, re.MULTILINE)
    if kind is None:
        return None
    entries = [e.split(":") for e in re.findall(r"\(([^()]*)\)", kind[2])[1:]]
    return np.array([[float(v) for v in entry] for entry in entries])


def test_every_real_meta_file_gives_what_neo_and_probeinterface_read(shared_data: Path) -> None:
    import probeinterface
    from neo.rawio.spikeglxrawio import extract_stream_info, read_meta_file

    compared = 0
    for path in meta_files(shared_data):
        if "nidq" in path.name:
            with pytest.raises(FileFormatError, match="nidq"):
                read_spikeglx_meta(path)
            continue
        meta = read_spikeglx_meta(path)
        geometry = spikeglx_geometry(meta)
        assert geometry.shape == (len(meta.saved_channels), 2)
        assert len(np.unique(geometry, axis=0)) == len(geometry)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if meta.band == "ap":
                other = probeinterface.read_spikeglx(path)
                np.testing.assert_array_equal(geometry, other.contact_positions)
                np.testing.assert_array_equal(other.device_channel_indices, np.arange(len(geometry)))
            if meta.file_size is None or "NP1110" in path.name:  # neo needs both a size and one gain per channel
                continue
            stream = extract_stream_info(path, read_meta_file(path))
        assert stream["num_chan"] == meta.n_columns
        assert stream["sampling_rate"] == pytest.approx(meta.sampling_rate)
        np.testing.assert_allclose(stream["channel_gains"][: len(geometry)], meta.uv_per_bit, rtol=1e-12)
        compared += 1
    assert compared > 30


def test_geometry_agrees_with_the_site_map_in_the_file(shared_data: Path) -> None:
    """Distances along a shank, computed from ``snsGeomMap`` / ``snsShankMap`` by hand."""
    checked = 0
    for path in meta_files(shared_data):
        text = path.read_text()
        sites = site_map(text)
        if sites is None or "nidq" in path.name or "acquiring" in path.name or "NHP" in path.name:
            continue
        meta = read_spikeglx_meta(path)
        geometry = spikeglx_geometry(meta)
        if len(sites) != len(geometry) or "human" in path.name or "NP1110" in path.name:
            continue
        if "snsGeomMap" in text:
            depth = sites[:, 2]
        else:
            kind = meta.fields.get("imDatPrb_type", "0")
            depth = sites[:, 2] * {"21": 15.0, "24": 15.0, "1100": 6.0}.get(kind, 20.0)
        np.testing.assert_allclose(np.diff(depth), np.diff(geometry[:, 1]), err_msg=path.name)
        checked += 1
    assert checked > 20


@pytest.mark.parametrize(
    ("name", "n_channels", "n_columns", "gain", "references"),
    [
        ("phase3a.imec.ap.meta", 384, 385, 2.34375, list(REFERENCE_CHANNELS_3A)),
        ("NP1_saved_only_subset_of_channels.meta", 151, 152, 2.34375, None),
        ("p2_g0_t0.imec0.ap.meta", 384, 385, 0.5e6 / 8192 / 80, [127]),
        ("NP2_2013_subset_channels.imec0.ap.meta", 120, 121, 0.62e6 / 2048 / 100, []),
        ("NP2020_sample_g0_t0.imec0.ap.meta", 1536, 1540, 0.62e6 / 2048 / 100, []),
        ("NP-Ultra.meta", 384, 385, 2.34375, []),
        ("NP1110_bank0_g0_t0.imec0.ap.meta", 384, 385, 2.34375, []),
        ("sample3A_g0_t0.imec.lf.meta", 384, 385, 4.6875, list(REFERENCE_CHANNELS_3A)),
        ("sample3B_g0_t0.imec1.lf.meta", 384, 385, 4.6875, [191]),
        ("sample3B_g0_t0.imec1.ap.meta", 384, 385, 2.34375, [191]),
    ],
)
def test_counts_gains_and_references_by_generation(
    shared_data: Path, name: str, n_channels: int, n_columns: int, gain: float, references: list[int] | None
) -> None:
    (path,) = [p for p in meta_files(shared_data) if p.name == name]
    meta = read_spikeglx_meta(path)
    assert (len(meta.saved_channels), meta.n_columns) == (n_channels, n_columns)
    np.testing.assert_allclose(meta.uv_per_bit, gain)
    if references is not None:
        assert meta.reference_channels.tolist() == references


def test_a_file_saved_in_part_reads_the_right_columns(shared_data: Path, tmp_path: Path) -> None:
    (source,) = [p for p in meta_files(shared_data) if p.name == "NP2_2013_subset_channels.imec0.ap.meta"]
    text = re.sub(r"fileSizeBytes=\d+", "fileSizeBytes=24200", source.read_text())
    (tmp_path / "a.ap.meta").write_text(text)
    samples = np.arange(100 * 121, dtype=np.int16).reshape(100, 121)
    samples.tofile(tmp_path / "a.ap.bin")
    recording = open_spikeglx(tmp_path)
    assert (recording.n_samples, recording.n_channels) == (100, 120)
    np.testing.assert_array_equal(recording.read(7, 9), samples[7:9, :120])
    np.testing.assert_allclose(recording.read_uv(7, 9), samples[7:9, :120] * np.float32(0.62e6 / 2048 / 100), rtol=1e-6)


def settings_files(shared_data: Path) -> list[Path]:
    return sorted((shared_data / "neuropixels_meta" / "openephys").rglob("structure.oebin"))


def test_real_open_ephys_recordings_open_with_the_probes_geometry(shared_data: Path, tmp_path: Path) -> None:
    found = 0
    for index in settings_files(shared_data):
        root = tmp_path / index.relative_to(shared_data / "neuropixels_meta" / "openephys").parts[0]
        recording = root / "Record_Node" / "experiment1" / "recording1"
        recording.mkdir(parents=True)
        shutil.copy(index, recording)
        settings = next(p / "settings.xml" for p in index.parents if (p / "settings.xml").exists())
        shutil.copy(settings, root / "Record_Node")
        contents = json.loads(index.read_text())
        for entry in contents["continuous"]:
            (recording / "continuous" / entry["folder_name"]).mkdir(parents=True)
            rows = np.arange(50 * entry["num_channels"], dtype=np.int16).reshape(50, -1)
            rows.tofile(recording / "continuous" / entry["folder_name"] / "continuous.dat")
        for stream in open_ephys_streams(root):
            opened = open_open_ephys(root, stream=stream.name)
            entry = next(e for e in contents["continuous"] if e["folder_name"].strip("/") == stream.name)
            electrodes = [
                m["value"][0]
                for channel in entry["channels"]
                for m in channel.get("channel_metadata", [])
                if m["name"] == "electrode_index"
            ]
            assert opened.n_channels == len(electrodes) == 384
            assert opened.sampling_rate == entry["sample_rate"]
            np.testing.assert_allclose(opened.uv_per_bit, 0.195, rtol=1e-6)
            assert opened.n_samples == 50
            assert opened.read(1, 2)[0, 0] == entry["num_channels"]
            # The index numbers electrodes over shanks (1280 a shank); rows are two electrodes, 15 or 20 um apart.
            row = np.asarray(electrodes) % 1280 // 2
            pitch = 20.0 if "NP2-4shank-binary" in str(index) else 15.0
            np.testing.assert_allclose(opened.geometry[:, 1], row * pitch)
            found += 1
    assert found >= 4


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RawGroundTruth]:
    folder = tmp_path_factory.mktemp("forms")
    return {
        form: write_recording(folder / form, duration=1.5, n_units=4, n_channels=48, form=form, seed=3)
        for form in ("open_ephys", "spikeglx", "binary")
    }


def test_all_forms_of_one_simulation_hold_the_same_signal(simulated: dict[str, RawGroundTruth]) -> None:
    plain = simulated["binary"].recording()
    ephys = open_open_ephys(simulated["open_ephys"].folder)
    glx = open_spikeglx(simulated["spikeglx"].folder)
    for recording in (plain, ephys, glx):
        assert isinstance(recording, Recording)
        assert (recording.n_samples, recording.n_channels, recording.sampling_rate) == (45_000, 48, 30_000.0)
        assert recording.reference_channels.tolist() == [36]
        np.testing.assert_array_equal(recording.read(0, 0), np.empty((0, 48), np.int16))
    np.testing.assert_array_equal(plain.read(0, 45_000), ephys.read(0, 45_000))
    # SpikeGLX counts are converter steps (2.34375 uV); Open Ephys rounds them to multiples of 0.195 uV.
    assert np.abs(plain.read_uv(0, 45_000) - glx.read_uv(0, 45_000)).max() <= 0.195 / 2 + 1e-3
    np.testing.assert_allclose(np.diff(glx.geometry, axis=0)[:, 1], np.diff(plain.geometry, axis=0)[:, 1])
    lfp = open_open_ephys(simulated["open_ephys"].folder, "lfp")
    assert (lfp.n_samples, lfp.sampling_rate) == (3_750, 2_500.0)
    assert ephys.sample_numbers()[-1] == 44_999
    assert open_spikeglx(simulated["spikeglx"].folder, "lf").sampling_rate == 2_500.0


def test_sync_edges_are_those_of_the_square_wave(simulated: dict[str, RawGroundTruth]) -> None:
    recording = open_spikeglx(simulated["spikeglx"].folder)
    expected = [[15_000, 1], [30_000, -1]]
    assert recording.sync_edges().tolist() == expected
    assert recording.sync_edges(chunk_samples=15_000).tolist() == expected
    assert recording.sync_edges(chunk_samples=7).tolist() == expected


def test_a_3a_folder_without_an_index_opens(simulated: dict[str, RawGroundTruth], tmp_path: Path) -> None:
    stream = tmp_path / "continuous" / "Neuropix-3a-100.0"
    stream.mkdir(parents=True)
    np.arange(384 * 3, dtype=np.int16).tofile(stream / "continuous.dat")
    recording = open_open_ephys(tmp_path)
    assert recording.n_samples == 3
    np.testing.assert_array_equal(recording.geometry, neuropixels_1_geometry())
    assert recording.reference_channels.tolist() == list(REFERENCE_CHANNELS_3A)
    with pytest.raises(MissingDataError, match="counted from 0"):
        recording.sample_numbers()


def test_wrong_folders_bands_and_streams_say_what_there_is(
    simulated: dict[str, RawGroundTruth], tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError, match=r"no structure\.oebin is in or below"):
        open_open_ephys(tmp_path)
    with pytest.raises(UnknownNameError, match="did you mean"):
        open_open_ephys(simulated["open_ephys"].folder, stream="Neuropix-3a-100.O")
    with pytest.raises(FileNotFoundError, match="name one of them"):
        open_spikeglx(tmp_path)
    (tmp_path / "structure.oebin").write_text("{}")
    with pytest.raises(FileFormatError, match="index of continuous data"):
        open_open_ephys(tmp_path)
    np.zeros(385, np.int16).tofile(tmp_path / "x.ap.bin")
    with pytest.raises(FileNotFoundError, match=r"x\.ap\.meta"):
        open_spikeglx(tmp_path / "x.ap.bin")


def test_p12_a_file_of_another_size_than_its_metadata_is_refused(
    simulated: dict[str, RawGroundTruth], tmp_path: Path
) -> None:
    for file in simulated["spikeglx"].folder.glob("*.ap.*"):
        shutil.copy(file, tmp_path)
    (binary,) = tmp_path.glob("*.bin")
    with binary.open("r+b") as f:
        f.truncate(49 * 2 * 40_000)
    with pytest.raises(CorruptFileError, match=r"4,410,000.*40,000"):
        open_spikeglx(binary)
    assert open_spikeglx(binary, allow_cut=True).n_samples == 40_000


def test_edited_metadata_is_refused(simulated: dict[str, RawGroundTruth], tmp_path: Path) -> None:
    (source,) = simulated["spikeglx"].folder.glob("*.ap.meta")
    for old, new, said in [
        ("nSavedChans=49", "nSavedChans=48", "contradicts itself"),
        ("imSampRate=", "imSomeRate=", "imSampRate"),
        ("snsApLfSy=48,0,1", "snsApLfSy=48,48,1", "one file"),
        ("imDatPrb_type=0", "imDatPrb_type=99", None),
    ]:
        assert old in source.read_text()
        changed = tmp_path / "changed.ap.meta"
        changed.write_text(source.read_text().replace(old, new))
        if said is not None:
            with pytest.raises(FileFormatError, match=said):
                read_spikeglx_meta(changed)
    binary = tmp_path / "binary.meta"
    binary.write_bytes(b"\xff\xfe\x00=\x80")
    with pytest.raises(FileFormatError, match="not text"):
        read_spikeglx_meta(binary)


# --- plain binary files ------------------------------------------------------------------------------------------


@pytest.fixture
def plain(tmp_path: Path) -> tuple[Path, np.ndarray]:
    samples = np.random.default_rng(0).integers(-500, 500, (1000, 8), dtype=np.int16)
    samples.tofile(tmp_path / "samples.dat")
    return tmp_path / "samples.dat", samples


def test_windows_channels_and_units(plain: tuple[Path, np.ndarray]) -> None:
    path, samples = plain
    geometry = neuropixels_1_geometry(8)
    recording = BinaryRecording(
        path, n_columns=8, channels=[5, 1, 2], sampling_rate=1e4, uv_per_bit=[1, 2, 3], geometry=geometry[[5, 1, 2]]
    )
    np.testing.assert_array_equal(recording.read(10, 20), samples[10:20, [5, 1, 2]])
    np.testing.assert_array_equal(recording.read(10, 20, [2, 0]), samples[10:20, [2, 5]])
    np.testing.assert_array_equal(recording.read_uv(10, 20), (samples[10:20, [5, 1, 2]] * [1, 2, 3]).astype(np.float32))
    np.testing.assert_array_equal(recording.read_uv(0, 5, slice(1, 3)), samples[:5, [1, 2]] * np.float32([2, 3]))
    np.testing.assert_array_equal(recording.memory_map(), samples)
    again = pickle.loads(pickle.dumps(recording))
    np.testing.assert_array_equal(again.read(999, 1000), samples[999:, [5, 1, 2]])
    assert "3 channels, 0.1 s at 10000 Hz" in repr(recording)
    recording.close()
    np.testing.assert_array_equal(recording.read(0, 1), samples[:1, [5, 1, 2]])


@pytest.mark.parametrize(("start", "stop"), [(-1, 5), (5, 4), (0, 1001), (1001, 1002)])
def test_windows_outside_the_recording_are_refused(plain: tuple[Path, np.ndarray], start: int, stop: int) -> None:
    recording = open_binary(plain[0], 8, geometry=neuropixels_1_geometry(8))
    with pytest.raises(IndexError, match="holds"):
        recording.read(start, stop)


@pytest.mark.parametrize(("start", "stop"), [(0, np.nan), (0.5, 3.5), (0, np.inf), (0, "3"), (None, 3), (0, 1j)])
def test_windows_that_are_not_whole_samples_are_refused(plain: tuple[Path, np.ndarray], start: Any, stop: Any) -> None:
    recording = open_binary(plain[0], 8, geometry=neuropixels_1_geometry(8))
    with pytest.raises(InvalidTypeError, match="whole numbers"):
        recording.read(start, stop)
    with pytest.raises(InvalidTypeError, match="whole numbers"):
        recording.read_uv(start, stop)
    assert recording.read(np.int64(1), 3.0).shape == (2, 8)  # type: ignore[arg-type]


def test_p11_a_rest_after_the_last_sample_is_left_out_and_counted(
    plain: tuple[Path, np.ndarray], caplog: pytest.LogCaptureFixture
) -> None:
    path, samples = plain
    with path.open("r+b") as f:
        f.truncate(samples.nbytes - 1)
    with caplog.at_level(logging.WARNING):
        recording = open_binary(path, 8, geometry=neuropixels_1_geometry(8))
    assert (recording.n_samples, recording.dropped_bytes) == (999, 15)
    assert "15 bytes after the last whole sample" in caplog.text


def test_a_file_that_shrinks_while_open_is_an_error_not_a_crash(plain: tuple[Path, np.ndarray]) -> None:
    recording = open_binary(plain[0], 8, geometry=neuropixels_1_geometry(8))
    recording.read(0, 10)
    with plain[0].open("r+b") as f:
        f.truncate(100)
    with pytest.raises(CorruptFileError, match="cut after it was opened"):
        recording.read(500, 600)


def test_p14_the_end_of_three_hours_is_read_exactly(tmp_path: Path) -> None:
    n_samples, n_channels = 3 * 3600 * 30_000, 384
    path = tmp_path / "sparse.dat"
    last = np.arange(n_channels, dtype=np.int16)
    with path.open("wb") as f:
        f.truncate(n_samples * n_channels * 2)
        f.seek((n_samples - 1) * n_channels * 2)
        f.write(last.tobytes())
    recording = open_binary(path)
    assert recording.n_samples == n_samples
    assert n_samples * n_channels > 2**31
    np.testing.assert_array_equal(recording.read(n_samples - 2, n_samples), [np.zeros(n_channels), last])
    *_, (start, stop) = chunk_bounds(n_samples, 32_768)
    assert stop == n_samples
    assert start == (n_samples - 1) // 32_768 * 32_768


def test_p10_empty_and_tiny_recordings_open(tmp_path: Path) -> None:
    for n_samples in (0, 1, 20):
        np.zeros((n_samples, 384), np.int16).tofile(tmp_path / "tiny.dat")
        recording = open_binary(tmp_path / "tiny.dat")
        assert recording.n_samples == n_samples
        assert recording.read(0, n_samples).shape == (n_samples, 384)
    np.zeros((0, 384), np.int16).tofile(tmp_path / "tiny.dat")
    with pytest.raises(MissingDataError, match="no samples"):
        open_binary(tmp_path / "tiny.dat").memory_map()


def test_geometry_must_be_there_once_for_each_channel(plain: tuple[Path, np.ndarray]) -> None:
    path, _ = plain
    good = neuropixels_1_geometry(8)
    twice = good.copy()
    twice[3] = twice[5]
    gap = good.copy()
    gap[2, 1] = np.nan
    for geometry, said in [
        (None, "no channel positions"),
        (good[:7], r"\(7, 2\)"),
        (twice, r"\[3, 5\]"),
        (gap, r"\[2\]"),
    ]:
        with pytest.raises(GeometryError, match=said):
            open_binary(path, 8, geometry=geometry)


def test_parameters_that_make_no_recording_are_refused(plain: tuple[Path, np.ndarray]) -> None:
    def opened(**changes: object) -> BinaryRecording:
        known = {"n_columns": 8, "sampling_rate": 1.0, "uv_per_bit": 1.0, "geometry": neuropixels_1_geometry(8)}
        return BinaryRecording(plain[0], **{**known, **changes})  # type: ignore[arg-type]

    for changes in (
        {"n_columns": 0},
        {"sampling_rate": 0},
        {"uv_per_bit": 0.0},
        {"uv_per_bit": [1.0, 2.0]},
        {"dtype": "U3"},
        {"channels": [0, 8]},
        {"channels": [1, 1]},
        {"reference_channels": [8]},
    ):
        with pytest.raises(FileFormatError):
            opened(**changes)
    with pytest.raises(CorruptFileError, match="holds 1000 samples"):
        opened(n_samples=1001)
    assert opened(n_samples=10).n_samples == 10
    with pytest.raises(FileNotFoundError):
        open_binary(plain[0].with_name("none.dat"))


def test_a_missing_library_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, simulated: dict[str, RawGroundTruth]
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "probeinterface", None)
    with pytest.raises(MissingExtraError, match=r"allen-ecephys\[raw\]"):
        open_spikeglx(simulated["spikeglx"].folder)


# --- probes ------------------------------------------------------------------------------------------------------


def test_released_probe_layout() -> None:
    geometry = neuropixels_1_geometry()
    assert geometry[:5].tolist() == [[43, 20], [11, 20], [59, 40], [27, 40], [43, 60]]
    assert geometry[-1].tolist() == [27, 3840]
    # The other convention (noise templates, CSD) is its mirror image, 20 um lower: distances agree.
    channel = np.arange(384)
    mirrored = np.column_stack([np.array([16, 48, 0, 32])[channel % 4], 20 * (channel // 2)])
    np.testing.assert_array_equal(59 - geometry[:, 0], mirrored[:, 0])
    np.testing.assert_array_equal(geometry[:, 1] - 20, mirrored[:, 1])


def test_converters_take_turns_as_the_probes_own_table_says(shared_data: Path) -> None:
    """``~muxTbl`` of a real file lists the channels that are digitised together, turn by turn."""
    text = (shared_data / "neuropixels_meta" / "spikeglx" / "catgt.meta").read_text()
    rows = re.search(r"^~muxTbl=\(32,12\)(.*)$", text, re.MULTILINE)
    assert rows is not None
    turns = [[int(c) for c in row.split()] for row in re.findall(r"\(([^()]*)\)", rows[1])]
    wiring = neuropixels_1_wiring()
    for turn, channels in enumerate(turns):
        assert (wiring.turns[channels] == turn).all()
    assert wiring.delays[[0, 1, 2, 23, 24]].tolist() == [0, 0, 1 / 13, 11 / 13, 0]


def test_lfp_order_of_3a_files() -> None:
    order = lfp_order_3a()
    assert order[:4].tolist() == [0, 12, 1, 13]
    assert order[22:28].tolist() == [11, 23, 24, 36, 25, 37]
    assert order[46:50].tolist() == [35, 47, 48, 60]
    assert sorted(order) == list(range(384))
