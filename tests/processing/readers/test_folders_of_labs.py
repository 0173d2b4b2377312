"""Folders as labs keep them: links, litter of other systems, names as other programs write them, half copies."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from allen_ecephys.cli import main
from allen_ecephys.errors import (
    CorruptFileError,
    FileFormatError,
    GeometryError,
    InvalidTypeError,
    MissingFileError,
    UnknownNameError,
)
from allen_ecephys.processing import describe_folder
from allen_ecephys.processing.readers import list_probes, open_bands, open_open_ephys, open_spikeglx
from allen_ecephys.processing.readers.finding import files_below
from allen_ecephys.processing.simulation.raw import SimulatedProbe, write_probes
from allen_ecephys.processing.simulation.raw.several_probes import RUN, Recorder

pytest.importorskip("probeinterface")

NAMES: dict[Recorder, tuple[str, str]] = {"open_ephys": ("ProbeA", "ProbeB"), "spikeglx": ("imec0", "imec1")}


@pytest.fixture(scope="module", params=["open_ephys", "spikeglx"])
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    one, other = NAMES[request.param]
    setups = {
        one: SimulatedProbe("NP1000", n_channels=8, n_units=1),
        other: SimulatedProbe("NP2013", n_channels=8, n_units=1),
    }
    folder = tmp_path_factory.mktemp("lab") / request.param
    write_probes(folder, setups, recorder=request.param, duration=0.1)
    shutil.rmtree(folder / "ground_truth")
    return folder, one, other


@pytest.fixture
def lab(written: tuple[Path, str, str], tmp_path: Path) -> tuple[Path, str, str]:
    """Give a folder of two probes to be changed, and their names."""
    return Path(shutil.copytree(written[0], tmp_path / "lab")), *written[1:]


def is_whole(folder: Path, *names: str) -> bool:
    found = list_probes(folder)
    assert [probe.problem for probe in found] == [""] * len(found)
    assert [probe.probe for probe in found] == list(names)
    return all(open_bands(folder, stream=name).spike_band.n_samples == 3000 for name in names)


def test_litter_of_other_systems_is_no_recording(lab: tuple[Path, str, str]) -> None:
    folder, *names = lab
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7" + bytes(60))
        shutil.copy(path, path.with_name(f"{path.stem} - Copy{path.suffix}"))
    assert is_whole(folder, *names)


def test_linked_folders_are_looked_into(lab: tuple[Path, str, str], tmp_path: Path) -> None:
    folder, *names = lab
    place = folder / (f"{RUN}/{RUN}_{names[0]}" if names[0] == "imec0" else "Record Node 101")
    shutil.move(place, tmp_path / "elsewhere")
    place.symlink_to(tmp_path / "elsewhere")
    (folder / "around").symlink_to(folder)  # a link to itself is walked once
    assert is_whole(folder, *names)
    assert len(files_below(folder, "*.meta")) in {0, 3}


def test_probes_are_named_as_other_programs_name_them(lab: tuple[Path, str, str]) -> None:
    folder, one, other = lab
    of_other = ("imec1.ap", "IMEC1") if other == "imec1" else ("Record Node 101#Neuropix-PXI-100.ProbeB", "probeb")
    for name in (other, *of_other):
        assert open_bands(folder, stream=name).probe == other
    with pytest.raises((UnknownNameError, MissingFileError), match=one):
        open_bands(folder, stream="ProbeC")


@pytest.mark.parametrize("stream", [0, 1.0, ["imec0"], b"ProbeA"])
def test_a_probe_is_asked_for_by_its_name_and_not_by_a_number(lab: tuple[Path, str, str], stream: Any) -> None:
    with pytest.raises(InvalidTypeError, match="give one as text"):
        open_bands(lab[0], stream=stream)


def test_a_probe_whose_name_holds_the_sign_of_other_programs(tmp_path: Path) -> None:
    setups = {f"Probe#{n}": SimulatedProbe("NP1000", n_channels=8 * n, n_units=1) for n in (1, 2)}
    write_probes(tmp_path / "lab", setups, recorder="open_ephys", duration=0.1)
    for n in (1, 2):
        for name in (f"Probe#{n}", f"probe#{n}-AP", f"Record Node 101#Neuropix-PXI-100.Probe#{n}-AP"):
            assert open_bands(tmp_path / "lab", stream=name).spike_band.n_channels == 8 * n


@pytest.mark.parametrize("change", [str.upper, lambda name: name.replace(".ap.bin", ".AP.bin").replace(".lf.", ".LF.")])
def test_names_of_files_may_be_in_capitals(lab: tuple[Path, str, str], change: Callable[[str], str]) -> None:
    folder, one, other = lab
    if one != "imec0":
        pytest.skip("of SpikeGLX")
    assert is_whole(folder, one, other)
    for file in [file for file in folder.rglob("*") if file.is_file()]:
        file.rename(file.with_name(change(file.name)))
    assert is_whole(folder, one, other)
    bands = open_bands(folder, stream="imec0")
    assert bands.lfp is not None
    assert bands.probe == bands.spike_band.probe_name == "imec0"
    for file in folder.rglob("*[aA][pP].*"):
        assert open_bands(file).spike_band.n_samples == 3000


def open_ephys_lab(lab: tuple[Path, str, str]) -> tuple[Path, str, Path]:
    if lab[1] == "imec0":
        pytest.skip("of Open Ephys")
    (index,) = lab[0].rglob("structure.oebin")
    return lab[0], lab[1], index


def test_sample_numbers_that_are_whole_fractions_are_used(lab: tuple[Path, str, str]) -> None:
    folder, one, index = open_ephys_lab(lab)
    (file,) = index.parent.glob(f"continuous/*{one}-AP/sample_numbers.npy")
    numbers = np.load(file).astype(np.float64)
    numbers[1000:] += 500
    np.save(file, numbers)
    band = open_bands(folder, stream=one).spike_band
    assert len(band.timeline.gaps) == 1
    for wrong in (np.nan, 1234.5, np.inf):
        numbers[1234] = wrong
        np.save(file, numbers)
        with pytest.raises(CorruptFileError, match=r"sample 1,234 with (nan|1234\.5|inf)"):
            open_bands(folder, stream=one)


@pytest.mark.parametrize("value", [0, -0.195, None, float("nan"), "0.195", True])
def test_what_a_count_is_worth_is_named_where_it_is_nothing(lab: tuple[Path, str, str], value: object) -> None:
    folder, one, index = open_ephys_lab(lab)
    held = json.loads(index.read_text())
    held["continuous"][0]["channels"][3]["bit_volts"] = value
    index.write_text(json.dumps(held))
    with pytest.raises(FileFormatError, match=rf"bit_volts of channel \S+ of \S+ is .*{str(value)[:4]}") as raised:
        open_bands(folder, stream=one)
    assert str(index) in str(raised.value)
    assert "Error(" not in str(raised.value)
    assert len(str(raised.value)) < 300 + len(str(index))


def test_a_cut_index_is_named_once(lab: tuple[Path, str, str]) -> None:
    folder, one, index = open_ephys_lab(lab)
    index.write_bytes(index.read_bytes()[:500])
    with pytest.raises(FileFormatError, match="is no JSON") as raised:
        open_bands(folder, stream=one)
    assert "Error(" not in str(raised.value)
    assert str(raised.value).count(str(index)) == 1


def test_part_numbers_are_told_in_any_case_and_the_one_that_was_meant_is_named(lab: tuple[Path, str, str]) -> None:
    folder, one, _ = open_ephys_lab(lab)
    for settings in folder.rglob("settings*.xml"):
        settings.unlink()
    for told in ("np1000", "1000", " NP1000 ", 1000):
        part: Any = told
        assert open_bands(folder, stream=one, part_number=part).spike_band.part_number == "NP1000"
    with pytest.raises(GeometryError, match=r"probe NP201 is in no catalogue.* did you mean 'NP20"):
        open_bands(folder, stream=one, part_number="NP201")
    with pytest.raises(MissingFileError) as raised:
        describe_folder(folder)
    said = str(raised.value)
    assert 'part_number = "NP2013"' in said
    assert "session.toml" in said
    assert "[[probes]]" in said
    assert "part_number=" not in said
    assert "settings=" not in said


def test_a_name_that_no_file_can_have_is_named(tmp_path: Path) -> None:
    for name in ("x" * 300, "a" * 5000):
        with pytest.raises(MissingFileError, match="too long"):
            list_probes(tmp_path / name)
    said = CliRunner().invoke(main, ["process", "list", "x" * 300]).output
    assert "too long" in said
    assert "Errno" not in said
    assert len(said) < 300
    output = tmp_path / ("y" * 300)
    said = CliRunner().invoke(main, ["process", "simulate", str(output), "--duration", "1", "--channels", "8"]).output
    assert "too long" in said
    assert "Errno" not in said


def test_an_empty_recording_is_listed_as_empty(lab: tuple[Path, str, str]) -> None:
    folder, _one, _ = open_ephys_lab(lab)
    for file in folder.rglob("continuous/*/*"):
        np.save(file, np.empty(0, np.int64)) if file.suffix == ".npy" else file.write_bytes(b"")
    assert [found.seconds for found in list_probes(folder)] == [0.0, 0.0]
    assert CliRunner().invoke(main, ["process", "list", str(folder)]).output.count("EMPTY") == 2


def test_settings_that_are_no_file_are_named(lab: tuple[Path, str, str]) -> None:
    if lab[1] == "imec0":
        pytest.skip("SpikeGLX has no settings")
    for settings, said in ((lab[0] / "nope.xml", "does not exist"), (lab[0], "is a folder")):
        with pytest.raises(MissingFileError, match=said):
            open_bands(lab[0], stream=lab[1], settings=settings)


def test_the_lfp_band_is_called_as_either_recorder_calls_it(lab: tuple[Path, str, str]) -> None:
    folder, one, _ = lab
    for name in ("lf", "lfp"):
        if one == "imec0":
            (file,) = folder.rglob("*imec0.lf.bin")
            found = [open_spikeglx(file, name), open_spikeglx(file.parent, name)]  # type: ignore[arg-type]
        else:
            found = [open_open_ephys(folder, name, stream=one)]  # type: ignore[arg-type]
        assert [band.sampling_rate for band in found] == [2500.0] * len(found)
    opened: Any = open_spikeglx if one == "imec0" else open_open_ephys
    with pytest.raises(UnknownNameError, match="no band 'LF2'"):
        opened(folder, "LF2")


def test_any_place_in_a_recording_says_what_is_there(lab: tuple[Path, str, str], tmp_path: Path) -> None:
    folder, one, other = lab
    if one == "imec0":
        for path in sorted(folder.rglob("*imec1.ap.*")):
            assert [found.probe for found in list_probes(path)] == ["imec1"]
        return
    recording = folder / "Record Node 101/experiment1/recording1"
    for path in (folder / "Record Node 101", recording, recording / "continuous", recording / "structure.oebin"):
        assert [found.probe for found in list_probes(path)] == [one, other]
        assert open_bands(path, stream=other).probe == other
    shutil.move(recording / "structure.oebin", tmp_path)
    with pytest.raises(MissingFileError, match=r"structure\.oebin"):
        open_bands(recording)


def test_streams_that_are_no_probes_are_left_alone(lab: tuple[Path, str, str]) -> None:
    """A data acquisition card and a OneBox's converters beside the probes; nidq beside imec files."""
    folder, *names = lab
    if names[0] == "imec0":
        np.zeros((100, 3), np.int16).tofile(folder / RUN / f"{RUN}_t0.nidq.bin")
        (folder / RUN / f"{RUN}_t0.nidq.meta").write_text("typeThis=nidq\nnSavedChans=3\n")
    else:
        (index,) = folder.rglob("structure.oebin")
        held = json.loads(index.read_text())
        for name in ("PXI-6133", "OneBox-ADC"):
            inputs = [{"channel_name": f"AI{i}", "description": "Analog input", "bit_volts": 1.0} for i in range(8)]
            described = {"folder_name": f"X-105.{name}/", "stream_name": name, "sample_rate": 30000.0}
            held["continuous"].append(described | {"num_channels": 8, "channels": inputs})
            (index.parent / "continuous" / f"X-105.{name}").mkdir()
        index.write_text(json.dumps(held))
    assert is_whole(folder, *names)


def test_samples_without_numbers_are_read_with_a_warning(
    lab: tuple[Path, str, str], caplog: pytest.LogCaptureFixture
) -> None:
    folder, one, _ = lab
    if one == "imec0":
        pytest.skip("SpikeGLX numbers no samples")
    with caplog.at_level(logging.WARNING):
        open_bands(folder, stream=one)
        assert "numbers" not in caplog.text
        for path in folder.rglob("sample_numbers.npy"):
            path.unlink()
        assert open_bands(folder, stream=one).spike_band.n_samples == 3000
    assert "samples that were lost would not be seen" in caplog.text
