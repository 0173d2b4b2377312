"""What the commands on raw data say of folders that are not as they should be, and what they can be told of them."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from allen_ecephys.cli import main
from allen_ecephys.errors import AccessError, InvalidValueError
from allen_ecephys.processing.pipeline import Stage
from allen_ecephys.processing.readers import open_bands
from allen_ecephys.processing.simulation.raw import SimulatedProbe, write_probes
from allen_ecephys.processing.stages.depth_estimation import run_depth_estimation

pytest.importorskip("probeinterface")

FEW = {"n_channels": 8, "n_units": 1}


def process(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["process", *map(str, arguments)])


@pytest.fixture
def rig(tmp_path: Path) -> Path:
    """Give a record node of a 1.0 and a 2.0 probe, in a folder of an unusual name."""
    folder = tmp_path / "Maus Nr. 5 (µm)"
    write_probes(
        folder, {"ProbeA": SimulatedProbe("NP1000", **FEW), "ProbeB": SimulatedProbe("NP2003", **FEW)}, duration=0.3
    )  # fmt: skip
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    write_probes(folder, {"imec0": SimulatedProbe("NP2003", **FEW)}, recorder="spikeglx", duration=0.3)
    return folder


def test_a_folder_without_settings_is_told_which_probe_it_was(rig: Path, tmp_path: Path) -> None:
    settings = next(rig.rglob("settings.xml"))
    settings.rename(tmp_path / "kept.xml")
    lost = process("list", rig)
    assert lost.exit_code == 1
    assert lost.output.count("cannot be opened: no settings.xml above") == 2
    refused = process("spike-band", rig, tmp_path / "out", "--probe", "ProbeB")
    assert refused.exit_code == 1
    assert "--settings FILE" in refused.output
    assert "--part-number NP2013" in refused.output
    told = process("list", rig, "--settings", tmp_path / "kept.xml")
    assert told.exit_code == 0
    assert "NP1000, 8 channels" in told.output
    assert "NP2003, 8 channels" in told.output
    for command in ("spike-band", "sort", "run", "units"):
        wrong = process(command, rig, tmp_path / "out", "--probe", "ProbeB", "--part-number", "NP9999")
        assert wrong.exit_code == 1
        assert "probe NP9999 is in no catalogue" in wrong.output
    bands = open_bands(rig, stream="ProbeB", part_number="NP2003")
    with_settings = open_bands(rig, stream="ProbeB", settings=tmp_path / "kept.xml")
    np.testing.assert_array_equal(bands.spike_band.geometry, with_settings.spike_band.geometry)


def test_files_that_say_their_probe_themselves_are_told_nothing(run: Path) -> None:
    with pytest.raises(InvalidValueError, match="is of SpikeGLX, whose files say themselves"):
        open_bands(run, part_number="NP2013")
    listed = process("list", run, "--part-number", "NP2013")
    assert listed.exit_code == 1
    assert "leave out" in listed.output


def test_probes_are_listed_where_none_is_named_not_streams(rig: Path, tmp_path: Path) -> None:
    refused = process("spike-band", rig, tmp_path / "out")
    assert "holds 2 probes: ProbeA, ProbeB; name one of them with --stream NAME" in refused.output
    assert "LFP" not in refused.output


def test_a_folder_of_samples_alone_says_what_is_missing(rig: Path, tmp_path: Path) -> None:
    shutil.copytree(next(rig.rglob("continuous")), tmp_path / "copied" / "continuous")
    for place in ("copied", "copied/continuous"):
        listed = process("list", tmp_path / place)
        assert "without the structure.oebin of its recording" in listed.output
    stream = process("list", tmp_path / "copied" / "continuous" / "Neuropix-PXI-100.ProbeB")
    assert "no structure.oebin is in or below" in stream.output


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("nSavedChans", "nSavedChans=x is no whole number"),
        ("imSampRate", "imSampRate=x is no number"),
        ("imMaxInt", "imMaxInt=x is no whole number"),
        ("fileSizeBytes", "fileSizeBytes=x is no whole number"),
        ("acqApLfSy", "acqApLfSy=x is not three counts"),
        ("snsSaveChanSubset", "snsSaveChanSubset names 'x', which is no channel"),
    ],
)
def test_a_damaged_line_is_named(run: Path, line: str, said: str) -> None:
    (meta,) = run.rglob("*.ap.meta")
    lines = [f"{line}=x" if text.startswith(f"{line}=") else text for text in meta.read_text().splitlines()]
    meta.write_text("\n".join(lines))
    listed = process("list", run)
    assert listed.exit_code == 1
    assert said in listed.output


def test_the_other_half_of_a_renamed_pair_is_named(run: Path) -> None:
    (samples,) = run.rglob("*.ap.bin")
    renamed = samples.with_name("mouse5_g0_t0.imec0.ap.bin")
    samples.rename(renamed)
    listed = process("list", run)
    assert f"If {samples.with_suffix('.meta').name} belongs to it, give both the same name again" in listed.output
    samples.with_suffix(".meta").rename(renamed.with_suffix(".meta"))
    assert process("list", run).exit_code == 0
    plain = renamed.with_name("mouse5.bin")
    renamed.rename(plain)
    renamed.with_suffix(".meta").rename(plain.with_suffix(".meta"))
    assert "name the file itself" in process("list", run).output
    assert process("list", plain).exit_code == 0


def test_channels_beside_named_sites_are_refused(tmp_path: Path) -> None:
    for arguments in (["--probe", "NP2003:0-15"], ["--probe", "NP2003", "--sites", "0-15"]):
        done = process("simulate", tmp_path / "raw", *arguments, "--channels", "8")
        assert done.exit_code == 2
        assert "--channels counts a probe's lowest sites" in done.output
    unknown = process("simulate", tmp_path / "raw", "--probe", "NP2012")
    assert "no catalogue lists a probe 'NP2012'; did you mean 'NP" in unknown.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_an_output_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(AccessError, match=rf"out cannot be written into \({os.strerror(number)}\); name another"):
        Stage("depth_estimation").run(tmp_path / "out", lambda _: {}, inputs=[], parameters={})


def test_a_file_where_the_output_is_to_be_is_named(run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    done = process("spike-band", run, tmp_path / "file" / "out")
    assert done.exit_code == 1
    assert "cannot be written into (Not a directory)" in done.output


def test_another_description_of_the_same_samples_is_another_input(tmp_path: Path) -> None:
    """What stands in no sample decides where a unit is: the look at the channels is not reused."""
    write_probes(tmp_path / "rig", {"ProbeA": SimulatedProbe("NP2003", **FEW)}, duration=2.0)
    next((tmp_path / "rig").rglob("settings.xml")).unlink()
    looks = [
        run_depth_estimation(open_bands(tmp_path / "rig", part_number=part).spike_band, tmp_path / "out")
        for part in ("NP2003", "NP2003", "NP2006")
    ]
    assert [look.reused for look in looks] == [False, True, False]


def test_a_probe_that_is_not_there_is_named_with_those_that_are(run: Path) -> None:
    refused = process("spike-band", run, run, "--probe", "imec7")
    assert "of a probe 'imec7'; did you mean 'imec0'? There are: imec0" in refused.output


def test_where_one_stands_and_links_change_nothing(rig: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings lie above the recording, whatever path leads to it."""
    recording = next(rig.rglob("structure.oebin")).parent
    expected = open_bands(rig, stream="ProbeB").spike_band.geometry
    link = tmp_path / "link"
    link.symlink_to(recording)
    monkeypatch.chdir(recording)
    for path in (".", "continuous", link, "../../experiment1/recording1"):
        np.testing.assert_array_equal(open_bands(path, stream="probeb").spike_band.geometry, expected)
    monkeypatch.chdir(recording / "continuous" / "Neuropix-PXI-100.ProbeB")
    for path in (".", "continuous.dat"):
        np.testing.assert_array_equal(open_bands(path).spike_band.geometry, expected)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["mouse.rec"], "mouse.rec, a file of SpikeGadgets, which is not read here"),
        (["info.rhd", "amplifier.dat"], "a file of Intan"),
        (["a.ns6", "a.nev"], "a file of Blackrock"),
        (["100_CH1.continuous", "settings.xml"], "a file of Open Ephys's older format"),
        (["Record Node 101/experiment1.nwb", "Record Node 101/settings.xml"], "a file of Open Ephys's NWB format"),
        (["run_g0_t0.nidq.bin", "run_g0_t0.nidq.meta"], "of SpikeGLX's NI card, and no probe"),
        (["spike_times.npy", "params.py"], "holds a sorting (spike_times.npy), not the raw data"),
        (["settings.xml"], "holds the settings of Open Ephys but no structure.oebin"),
        (["notes.txt"], "holds no recording"),
    ],
)
def test_what_is_not_read_is_called_by_its_name(tmp_path: Path, names: list[str], said: str) -> None:
    for name in names:
        (tmp_path / "raw" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "raw" / name).write_bytes(b"x")
    listed = process("list", tmp_path / "raw")
    assert listed.exit_code == 1
    assert said in listed.output
    if "a file of" in said:
        assert "a file of" in process("list", tmp_path / "raw" / names[0]).output


def test_a_probe_is_measured_by_its_name_in_any_case(rig: Path, tmp_path: Path) -> None:
    done = process("units", rig, tmp_path / "out", "--probe", "proBEb")
    assert "there are no spikes" not in done.output
