"""The command line as a whole: what a file holds, where --debug may stand, what --help tells, which names are taken."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from allen_ecephys import EcephysSession, UnitFilter
from allen_ecephys.cli import main
from allen_ecephys.config import SETTINGS
from allen_ecephys.errors import FileFormatError


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.fixture
def session_file(write_session: Callable[..., Path]) -> Path:
    starts = np.arange(6) * 2.0 + 5
    shown = pd.DataFrame(
        {"start_time": starts, "stop_time": starts + 0.25, "stimulus_name": "flashes", "stimulus_block": 0.0}
    )
    return write_session(spike_times=[starts, starts + 0.1, []], presentations=shown)


def test_info_says_what_the_repr_says(session_file: Path) -> None:
    with EcephysSession(session_file) as session:
        assert run("info", str(session_file)).output.strip() == repr(session)
        hidden = session.hidden_units()
    found = json.loads(run("info", str(session_file), "--json").output)
    assert found["file"] == str(session_file)
    assert found["num_units_in_file"] == 3
    assert found["hidden_by"] == hidden.to_dict()
    assert found["presentations_by_stimulus"]["flashes"] == 6
    with EcephysSession(session_file, unit_filter=UnitFilter.none()) as session:
        everything = json.loads(run("info", str(session_file), "--json", "--all-units").output)
        assert everything["num_units"] == 3
        assert everything["units_by_structure"] == session.structurewise_unit_counts.to_dict()
        assert [probe["id"] for probe in everything["probes"]] == session.probes.index.tolist()


def test_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "allen_ecephys", "info", "nowhere.nwb"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "nowhere.nwb' does not exist" in done.stderr
    helped = subprocess.run([sys.executable, "-m", "allen_ecephys", "-h"], capture_output=True, text=True, check=True)
    assert helped.stdout.startswith("Usage: allen-ecephys [OPTIONS]")


def test_debug_may_stand_anywhere(tmp_path: Path) -> None:
    wrong = tmp_path / "notes.nwb"
    wrong.write_text("no HDF5")
    plain = run("info", str(wrong), "--all-units")
    assert plain.exit_code == 1
    assert plain.output.startswith("Error: ")
    assert "run with --debug" in plain.output
    for words in (["--debug", "info", str(wrong)], ["info", "--debug", str(wrong)], ["info", str(wrong), "--debug"]):
        assert isinstance(run(*words).exception, FileFormatError)
    after = run("info", "--", "--debug")  # a file of that name
    assert "'--debug' does not exist" in after.output


def test_help_lists_the_environment_variables() -> None:
    said = run("--help").output
    assert all(setting.variable in said for setting in SETTINGS)
    code = (
        "from allen_ecephys.cli import main; main(['--help'], standalone_mode=False); import sys; print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"h5py", "xarray", "matplotlib"} & set(loaded)


def test_every_command_is_listed_with_a_whole_sentence() -> None:
    for group in ([], ["cache"], ["process"]):
        listed = run(*group, "--help").output.split("Commands:\n")[1].split("\n\n")[0].splitlines()
        assert len(listed) > 5
        assert [line for line in listed if not line.endswith(".") or line.endswith("...")] == []


def test_a_report_is_an_html_file(session_file: Path, tmp_path: Path) -> None:
    done = run("report", str(session_file), str(tmp_path / "page.txt"))
    assert done.exit_code == 2
    assert "name it" in done.output
    assert "page.html" in "".join(done.output.split())
    assert not (tmp_path / "page.txt").exists()
