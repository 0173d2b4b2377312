"""Commands on raw data name probes, gaps and cut files in words of the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from allen_ecephys.cli import main
from allen_ecephys.processing.simulation.raw.open_ephys_folder import ProbeSetup, write_open_ephys


@pytest.fixture
def rig(tmp_path: Path) -> Path:
    probes = [ProbeSetup("Probe1", "NP1010", np.arange(384)), ProbeSetup("Probe10", "NP2013", np.arange(384) + 1280)]
    numbers = np.arange(240)
    numbers[100:] += 12
    for name, stream in write_open_ephys(tmp_path / "rig", probes, 240, numbers=numbers).items():
        np.zeros((20 if name.endswith("-LFP") else 240, 384), np.int16).tofile(stream / "continuous.dat")
    return tmp_path / "rig"


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["process", *map(str, arguments)])
    return result.exit_code, result.output


def test_list_says_what_is_there(rig: Path) -> None:
    code, said = run("list", rig)
    assert code == 0
    assert "Probe1  Open Ephys" in said
    assert "NP1010, 384 channels on 1 shank, 0.0 s, bands ap and lfp, 1 gap" in said
    assert "NP2013, 384 channels on 1 shank, 0.0 s, bands ap, 1 gap" in said
    (cut,) = rig.rglob("*Probe10/continuous.dat")
    with cut.open("r+b") as file:
        file.truncate(768 * 200)
    code, said = run("list", rig)
    assert code == 0
    assert "cannot be opened" in said
    assert "--allow-cut" in said
    code, said = run("list", rig, "--allow-cut")
    assert "cannot" not in said


def test_an_empty_folder_is_one_named_error_for_every_command(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    said = {
        run(*command, tmp_path / "empty", *((tmp_path / "out",) if command != ["list"] else ()))
        for command in (["list"], ["spike-band"], ["sort"], ["run"], ["units"])
    }
    assert len(said) == 1
    assert next(iter(said))[0] == 1
    assert "holds no recording" in next(iter(said))[1]


@pytest.mark.parametrize("command", ["spike-band", "sort", "run", "units"])
@pytest.mark.parametrize("option", ["--stream", "--probe"])
def test_every_command_chooses_probes_by_name(rig: Path, tmp_path: Path, command: str, option: str) -> None:
    code, said = run(command, rig, tmp_path / "out")
    assert code == 1
    assert "Probe1-AP, Probe1-LFP, Probe10" in said
    code, said = run(command, rig, tmp_path / "out", option, "Probe2")
    assert code == 1
    assert "no stream 'Probe2'; did you mean" in said
    # Silence of 8 ms has nothing to sort or measure, but the probe was found.
    _, said = run(command, rig, tmp_path / "out", option, "Probe10", "--allow-cut")
    assert "stream" not in said
