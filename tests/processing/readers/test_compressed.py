"""Compressed samples: what mtscomp writes is read, what is written here mtscomp reads, and damage has a name."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from allen_ecephys.cli import main
from allen_ecephys.errors import (
    AllenEcephysError,
    CorruptFileError,
    FileFormatError,
    InvalidValueError,
    MissingDataError,
    MissingFileError,
)
from allen_ecephys.processing.pipeline.stage import input_files
from allen_ecephys.processing.readers import list_probes, open_bands, open_binary, open_spikeglx
from allen_ecephys.processing.readers.compressed import CompressedFile, CompressedSamples
from allen_ecephys.processing.readers.spikeglx import FILE_NAME
from allen_ecephys.processing.simulation.raw import SimulatedProbe, write_probes, write_recording
from allen_ecephys.processing.stages.depth_estimation import recording_identity, run_depth_estimation
from allen_ecephys.processing.stages.median_subtraction import run_median_subtraction

mtscomp = pytest.importorskip("mtscomp")
pytest.importorskip("probeinterface")

AP = "simulation_g0_t0.imec0.ap"


def mts_compress(binary: Path, n_columns: int, rate: float, dtype: str = "int16", **options: Any) -> Path:
    """Compress a file with the library whose format it is, and remove the expanded one."""
    writer = mtscomp.Writer(n_threads=1, quiet=True, check_after_compress=False, **options)
    writer.open(binary, sample_rate=rate, n_channels=n_columns, dtype=dtype)
    writer.write(binary.with_suffix(".cbin"), binary.with_suffix(".ch"))
    writer.close()
    binary.unlink()
    return binary.with_suffix(".cbin")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a short recording of SpikeGLX, as the recorder leaves it."""
    folder = tmp_path_factory.mktemp("plain") / "run"
    write_recording(folder, duration=2.5, n_units=2, n_channels=12, form="spikeglx", seed=3)
    return folder


@pytest.fixture(scope="module")
def archived(plain: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the same as an archive keeps it: both bands compressed by mtscomp."""
    folder = Path(shutil.copytree(plain, tmp_path_factory.mktemp("archived") / "run"))
    for band, rate in (("ap", 30_000.0), ("lf", 2_500.0)):
        mts_compress(folder / f"simulation_g0_t0.imec0.{band}.bin", 13, rate)
    return folder


@pytest.fixture
def run(archived: Path, tmp_path: Path) -> Path:
    """Give a copy of the compressed recording to be damaged."""
    return Path(shutil.copytree(archived, tmp_path / "run"))


def edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    facts = json.loads(path.read_text())
    change(facts)
    path.write_text(json.dumps(facts))


def test_what_mtscomp_wrote_is_read_as_the_recorder_left_it(plain: Path, archived: Path) -> None:
    expected, found = open_bands(plain), open_bands(archived)
    assert found.lfp is not None
    assert expected.lfp is not None
    for one, other in ((expected.spike_band, found.spike_band), (expected.lfp, found.lfp)):
        assert other.n_samples == one.n_samples
        np.testing.assert_array_equal(other.read_columns(0, one.n_samples), one.read_columns(0, one.n_samples))
        assert other.sample_bytes == one.sample_bytes == one.path.stat().st_size
    for start, stop in ((0, 0), (0, 1), (29_999, 30_001), (30_000, 60_000), (59_000, 75_000), (74_999, 75_000)):
        np.testing.assert_array_equal(
            found.spike_band.read_uv(start, stop, [3, 1]), expected.spike_band.read_uv(start, stop, [3, 1])
        )
    np.testing.assert_array_equal(found.spike_band.geometry, expected.spike_band.geometry)
    np.testing.assert_array_equal(open_spikeglx(archived).sync_edges(), open_spikeglx(plain).sync_edges())
    [listed] = list_probes(archived)
    assert (listed.bands, listed.seconds, listed.problem) == (("ap", "lfp"), 2.5, "")


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(("time", "space"), [(True, False), (False, False), (False, True), (True, True)])
@pytest.mark.parametrize("dtype", ["int16", "uint16"])
def test_every_way_of_compressing(plain: Path, tmp_path: Path, order: str, time: bool, space: bool, dtype: str) -> None:
    samples = np.random.default_rng(0).integers(-(2**15), 2**15, (700, 13)).astype(np.int16)  # differences wrap around
    samples.tofile(tmp_path / "x.bin")
    path = mts_compress(
        tmp_path / "x.bin", 13, 100.0, dtype, chunk_order=order, do_time_diff=time, do_spatial_diff=space,
        chunk_duration=2.5,
    )  # fmt: skip
    stored = CompressedSamples(path)
    np.testing.assert_array_equal(stored.read(0, 700), samples)
    np.testing.assert_array_equal(stored.read(249, 502), samples[249:502])


def test_what_the_simulation_compresses_mtscomp_reads(plain: Path, tmp_path: Path) -> None:
    truth = write_recording(
        tmp_path / "c", duration=2.5, n_units=2, n_channels=12, form="spikeglx", seed=3, compress=True
    )
    for band, n_samples in (("ap", 75_000), ("lf", 6_250)):
        name = f"simulation_g0_t0.imec0.{band}"
        reader = mtscomp.Reader(quiet=True)
        reader.open(tmp_path / "c" / f"{name}.cbin", tmp_path / "c" / f"{name}.ch")
        expected = np.fromfile(plain / f"{name}.bin", np.int16).reshape(n_samples, 13)
        np.testing.assert_array_equal(reader[:], expected)
        reader.close()
        assert (tmp_path / "c" / f"{name}.meta").read_text() == (plain / f"{name}.meta").read_text()
    np.testing.assert_array_equal(
        truth.recording().read(0, 75_000), open_bands(tmp_path / "c").spike_band.read(0, 75_000)
    )
    assert not list((tmp_path / "c").rglob("*.bin"))


def test_digests_that_are_written_are_those_of_mtscomp(tmp_path: Path) -> None:
    samples = np.arange(130, dtype=np.int16).reshape(26, 5)
    with CompressedFile(tmp_path / "x.cbin", 5, 10.0) as file:
        file.append(samples[:20])
        file.append(samples[20:])
    samples.tofile(tmp_path / "y.bin")
    mts_compress(tmp_path / "y.bin", 5, 10.0)
    ours, theirs = (json.loads((tmp_path / f"{name}.ch").read_text()) for name in "xy")
    assert ours.keys() == theirs.keys()
    same = set(ours) - {"comp_level", "chunk_offsets", "sha1_compressed"}
    assert {name: ours[name] for name in same} == {name: theirs[name] for name in same}


def test_a_compressed_copy_is_the_same_recording(plain: Path, archived: Path) -> None:
    one, other = open_bands(plain), open_bands(archived)
    assert recording_identity(one.spike_band, None, input_files(one.spike_band)) == recording_identity(
        other.spike_band, None, input_files(other.spike_band)
    )
    assert [path.name for path in input_files(other.spike_band)] == [f"{AP}.cbin", f"{AP}.ch"]


def test_stages_make_the_same_of_a_compressed_copy(plain: Path, archived: Path, tmp_path: Path) -> None:
    made = []
    for folder in (plain, archived):  # one output folder: the copy is not taken for another recording
        bands = open_bands(folder)
        depth = run_depth_estimation(bands.spike_band, tmp_path, lfp=bands.lfp)
        medians = run_median_subtraction(bands.spike_band, tmp_path, depth)
        made.append({path.name: path.read_bytes() for path in medians.folder.iterdir() if path.suffix != ".json"})
    assert made[0] == made[1]
    assert any(name.endswith(".dat") for name in made[0])


def test_threads_and_neighbouring_blocks_inflate_a_chunk_once(
    archived: Path, plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inflated: list[int] = []
    before = CompressedSamples._stored
    monkeypatch.setattr(CompressedSamples, "_stored", lambda s, n: (inflated.append(n), before(s, n))[1])
    band, expected = open_bands(archived).spike_band, open_bands(plain).spike_band
    blocks = [(max(start - 500, 0), min(start + 4_500, 75_000)) for start in range(0, 75_000, 4_000)]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda block: band.read(*block), blocks))
    for block, samples in zip(blocks, found, strict=True):
        np.testing.assert_array_equal(samples, expected.read(*block))
    assert sorted(inflated) == [0, 1, 2]
    sent = pickle.loads(pickle.dumps(band))
    np.testing.assert_array_equal(sent.read(10, 20), expected.read(10, 20))
    band.close()
    np.testing.assert_array_equal(band.read(10, 20), expected.read(10, 20))


def test_what_is_kept_inflated_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("allen_ecephys.processing.readers.compressed._KEPT_BYTES", 2 * 10 * 5 * 3)
    with CompressedFile(tmp_path / "x.cbin", 5, 10.0) as file:
        file.append(np.zeros((200, 5), np.int16))
    stored = CompressedSamples(tmp_path / "x.cbin")
    stored.read(0, 200)
    assert list(stored._kept) == [17, 18, 19]


@pytest.mark.parametrize(
    "name",
    ["RUN_G0_T0.IMEC0.AP.CBIN", "a.imec0.ap.4fc1bf8f-9d1a-4b3a-8d8c-a0cf5a09fd4e.cbin", "a.imec0.ap.stream.cbin"],
)
def test_names_that_archives_give(name: str) -> None:
    found = FILE_NAME.fullmatch(name)
    assert found is not None
    assert (found["probe"].lower(), found["band"].lower()) == ("imec0", "ap")


def test_files_of_an_archive_have_numbers_of_their_own(run: Path, plain: Path) -> None:
    for number, path in enumerate(sorted(run.glob("simulation*"))):
        path.rename(run / f"{path.stem}.{number:08x}-0000-4000-8000-0123456789ab{path.suffix}")
    bands = open_bands(run)
    assert bands.lfp is not None
    assert bands.probe == "imec0"
    np.testing.assert_array_equal(bands.spike_band.read(0, 9), open_bands(plain).spike_band.read(0, 9))


def test_of_an_expanded_recording_the_expanded_file_is_read(run: Path, plain: Path) -> None:
    shutil.copy(plain / f"{AP}.bin", run)
    bands = open_bands(run)
    assert bands.spike_band.path.name == f"{AP}.bin"
    assert bands.lfp is not None
    assert bands.lfp.path.suffix == ".cbin"
    assert open_spikeglx(run / f"{AP}.meta").path.suffix == ".bin"
    (run / f"{AP}.bin").unlink()
    for suffix in (".meta", ".ch", ".cbin"):
        assert open_bands(run / f"{AP}{suffix}").spike_band.path.name == f"{AP}.cbin"


def test_a_cut_file_is_refused_or_used_as_far_as_it_goes(run: Path, plain: Path) -> None:
    path = run / f"{AP}.cbin"
    ends = json.loads(path.with_suffix(".ch").read_text())["chunk_offsets"]
    with path.open("r+b") as file:
        file.truncate(ends[2] + 5)
    with pytest.raises(CorruptFileError, match="it was cut"):
        open_bands(run)
    band = open_bands(run, allow_cut=True).spike_band
    assert band.n_samples == 60_000
    np.testing.assert_array_equal(band.read(0, 60_000), open_bands(plain).spike_band.read(0, 60_000))
    said = CliRunner().invoke(main, ["process", "list", str(run)])
    assert said.exit_code == 1
    assert "it was cut" in said.output


def test_a_file_that_is_cut_after_it_was_opened_is_named(run: Path) -> None:
    band = open_bands(run).spike_band
    with band.path.open("r+b") as file:
        file.truncate(10)
    with pytest.raises(CorruptFileError, match="within chunk 1"):
        band.read(30_000, 30_010)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"algorithm": "blosc"}, FileFormatError, "algorithm is 'blosc'"),
        ({"version": "2.0"}, FileFormatError, "version '2.0'"),
        ({"dtype": "float32"}, FileFormatError, "dtype is 'float32'"),
        ({"chunk_order": "A"}, FileFormatError, "chunk_order is 'A'"),
        ({"do_time_diff": "no"}, FileFormatError, "do_time_diff is 'no'"),
        ({"do_time_diff": None}, FileFormatError, "do_time_diff is None"),
        ({"n_channels": 12}, CorruptFileError, "12 columns at 30000 Hz"),
        ({"n_channels": 0}, FileFormatError, "0 columns"),
        ({"n_channels": 10**30}, FileFormatError, "columns"),
        ({"sample_rate": 2500.0}, CorruptFileError, "13 columns at 2500 Hz"),
        ({"sample_rate": "fast"}, FileFormatError, "'fast' Hz"),
        ({"chunk_bounds": [0, 30_000, 75_000]}, FileFormatError, "chunk_bounds has 3 numbers"),
        ({"chunk_bounds": [0, 60_000, 30_000, 75_000]}, FileFormatError, "chunk_bounds is no list"),
        ({"chunk_bounds": [0, 1.5, 2, 3]}, FileFormatError, "chunk_bounds is no list"),
        ({"chunk_bounds": {}}, FileFormatError, "chunk_bounds is no list"),
        ({"chunk_bounds": [0, 30_000, 60_000, 10**15]}, CorruptFileError, "its .meta says"),
        ({"chunk_bounds": [0, 30_000, 60_000, 74_999]}, CorruptFileError, "its .meta says"),
        ({"chunk_offsets": [0, 1, 2, 3]}, CorruptFileError, "one of the two is of another recording"),
        ({"chunk_offsets": [0, 1, 2, 10**12]}, CorruptFileError, "it was cut"),
    ],
)  # fmt: skip
def test_a_description_that_does_not_fit_is_named(
    run: Path, change: dict[str, Any], error: type[Exception], said: str
) -> None:
    edit(run / f"{AP}.ch", lambda facts: facts.update(change))
    with pytest.raises(error, match=re.escape(said)) as raised:
        open_bands(run)
    assert f"{AP}.c" in str(raised.value)


def test_a_description_without_a_line_or_that_is_none_is_named(run: Path) -> None:
    edit(run / f"{AP}.ch", lambda facts: facts.pop("chunk_order"))
    with pytest.raises(FileFormatError, match="has no chunk_order"):
        open_bands(run)
    for content in ("[]", "{", "\0", "null"):
        (run / f"{AP}.ch").write_text(content)
        with pytest.raises(FileFormatError, match=r"ap\.ch"):
            open_bands(run)


def test_chunks_that_are_not_what_they_should_be_are_named(run: Path) -> None:
    path = run / f"{AP}.cbin"
    edit(path.with_suffix(".ch"), lambda facts: facts.update(chunk_bounds=[0, 20_000, 60_000, 75_000]))
    band = open_bands(run).spike_band
    with pytest.raises(CorruptFileError, match=r"chunk 0 \(samples 0 to 20,000\)"):
        band.read(0, 10)
    with path.open("r+b") as file:
        file.seek(-40, 2)
        file.write(bytes(20))
    with pytest.raises(CorruptFileError, match="chunk 2"):
        band.read(74_000, 75_000)


def test_a_description_of_another_recording_of_equal_length_is_told_by_its_size(run: Path, tmp_path: Path) -> None:
    write_recording(tmp_path / "o", duration=2.5, n_units=1, n_channels=12, form="spikeglx", seed=4, compress=True)
    shutil.copy(tmp_path / "o" / f"{AP}.ch", run)
    with pytest.raises(CorruptFileError, match="Copy both again"):
        open_bands(run)
    shutil.copy(run / f"{AP}.ch".replace(".ap.", ".lf."), run / f"{AP}.ch")
    with pytest.raises(CorruptFileError, match="or of the other band"):
        open_bands(run)


def test_half_of_what_belongs_together_is_named(run: Path) -> None:
    (run / f"{AP}.ch").rename(run / "ch")
    with pytest.raises(MissingFileError, match=r"has no .*\.ch beside it"):
        open_bands(run)
    (run / "ch").rename(run / f"{AP}.ch")
    (run / f"{AP}.cbin").rename(run / "cbin")
    with pytest.raises(MissingFileError, match="LFP band only"):
        open_bands(run)
    for path in run.glob("*.lf.*"):
        path.unlink()
    with pytest.raises(MissingFileError, match=r"without its \.c?bin"):
        open_bands(run)
    with pytest.raises(MissingFileError, match=r"there is no .*\.bin"):
        open_bands(run / f"{AP}.ch")
    (run / "cbin").rename(run / f"{AP}.cbin")
    (run / f"{AP}.meta").unlink()
    with pytest.raises(MissingFileError, match=r"has no .*\.meta beside it"):
        open_bands(run)


def test_compressed_samples_are_not_taken_for_plain_ones(run: Path, plain: Path) -> None:
    place = open_bands(plain).spike_band.geometry
    with pytest.raises(CorruptFileError, match="13 columns"):
        open_binary(run / f"{AP}.cbin", 12, geometry=place)
    with pytest.raises(CorruptFileError, match="float32"):
        open_binary(run / f"{AP}.cbin", 13, geometry=np.c_[np.zeros(13), np.arange(13)], dtype=np.float32)
    band = open_binary(run / f"{AP}.cbin", 13, geometry=np.c_[np.zeros(13), np.arange(13)])
    np.testing.assert_array_equal(band.read(5, 9)[:, :12], open_bands(plain).spike_band.read(5, 9))
    with pytest.raises(MissingDataError, match="cannot be mapped"):
        band.memory_map()


def test_only_files_of_spikeglx_are_simulated_compressed(tmp_path: Path) -> None:
    with pytest.raises(InvalidValueError, match="spikeglx"):
        write_recording(tmp_path / "a", duration=0.1, n_units=1, n_channels=8, compress=True)
    with pytest.raises(InvalidValueError, match="spikeglx"):
        write_probes(tmp_path / "b", {"ProbeA": SimulatedProbe(n_channels=8, n_units=1)}, duration=0.1, compress=True)
    said = CliRunner().invoke(main, ["process", "simulate", str(tmp_path / "c"), "--compress", "--duration", "0.1"])
    assert said.exit_code == 2
    assert "--recorder spikeglx" in said.output
    options = ["--recorder", "spikeglx", "--compress", "--duration", "0.1", "--units", "1", "--channels", "8"]
    said = CliRunner().invoke(main, ["process", "simulate", str(tmp_path / "d"), *options])
    assert said.exit_code == 0, said.output
    assert [(one.probe, one.problem) for one in list_probes(tmp_path / "d")] == [("imec0", "")]


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_no_description_leads_to_anything_but_a_named_error(
    archived: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    text = (archived / f"{AP}.ch").read_text()
    numbers = [found.span() for found in re.finditer(r"-?\d+\.?\d*|true|false|\"[^\"]*\"", text)]
    start, stop = data.draw(st.sampled_from(numbers))
    odd = data.draw(st.sampled_from(["-1", "0", "1e99", "NaN", "null", "[]", "{}", '""', "9" * 30, "true", "0.5"]))
    folder = tmp_path_factory.mktemp("odd")
    for name in (f"{AP}.cbin", f"{AP}.meta"):
        shutil.copy(archived / name, folder)
    (folder / f"{AP}.ch").write_text(text[:start] + odd + text[stop:])
    try:
        band = open_bands(folder).spike_band
        said = f"{band.path} {band.read(0, band.n_samples).shape}"
    except AllenEcephysError as error:
        said = str(error)
    assert str(folder) in said
    shutil.rmtree(folder)
