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


@pytest.mark.parametrize(
    ("recorder", "names"), [("open-ephys", ["ProbeA", "ProbeB"]), ("spikeglx", ["imec0", "imec1"])]
)
def test_several_probes_are_simulated_and_chosen_by_name(recorder: str, names: list[str], tmp_path: Path) -> None:
    pytest.importorskip("probeinterface")
    raw = tmp_path / "raw"
    told = ("--probe", "NP2013:1280-1295", "--probe-type", "NP1000:192-207", "--units", 1, "--duration", 1.5)
    code, said = run("simulate", raw, "--recorder", recorder, *told)
    assert code == 0, said
    assert "NP2013, 16 channels, 1 units" in said
    assert all(f"{name}: " in said for name in names)
    code, said = run("list", raw)
    assert code == 0
    assert all(f"{name}  " in said for name in names)
    code, said = run("units", raw, tmp_path / "out", "--probe", names[1])
    assert code == 0, said
    assert "1 units" in said
    code, said = run("units", raw, tmp_path / "other")
    assert code == 1
    assert names[0] in said


def test_what_is_asked_of_the_simulator_is_what_it_makes(tmp_path: Path) -> None:
    pytest.importorskip("probeinterface")
    brief = ("--units", 1, "--duration", 0.1)
    assert run("simulate", tmp_path / "a", "--probe", "NP2003", "--channels", 8, *brief)[0] == 0
    assert "NP2003, 8 channels on 1 shank" in run("list", tmp_path / "a")[1]
    assert run("simulate", tmp_path / "b", "--sites", "192-199", *brief)[0] == 0
    assert "NP1000, 8 channels on 1 shank" in run("list", tmp_path / "b")[1]
    blocks = ("--probe", "NP2013:0-47,1280-1327")
    assert run("simulate", tmp_path / "d", *blocks, *brief)[0] == 0
    assert "NP2013, 96 channels on 2 shanks" in run("list", tmp_path / "d")[1]
    for options, said in (
        (("--probe", "NP2013:0-9,"), "no range of sites"),
        (("--probe", "NP2003:0-999999999999"), "no range of sites"),
        (("--probe", "NP2003", "--probe", "NP1000", "--form", "spikeglx"), "--recorder"),
        (("--probe", "NP2003", "--probe", "NP1000", "--sites", "0-9"), "of which probe"),
        (("--probe", "NP1000:9-0"), "no range of sites"),
        (("--probe", "NP9999"), "no catalogue lists a probe 'NP9999'"),
    ):
        code, output = run("simulate", tmp_path / "c", *options, *brief)
        assert code in {1, 2}
        assert said in output
        assert not (tmp_path / "c").exists()


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
    assert "holds 2 probes: Probe1, Probe10; name one of them with --stream" in said
    code, said = run(command, rig, tmp_path / "out", option, "Probe2")
    assert code == 1
    assert "no stream 'Probe2'; did you mean" in said
    # Silence of 8 ms has nothing to sort or measure, but the probe was found.
    _, said = run(command, rig, tmp_path / "out", option, "Probe10", "--allow-cut")
    assert "stream" not in said
