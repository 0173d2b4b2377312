"""``process simulate --rig``: a folder from which a session can be made, and options that do not fit."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from allen_ecephys.cli import main
from allen_ecephys.processing.packaging import read_session_description
from allen_ecephys.processing.readers import open_bands


def test_a_rig_folder(tmp_path: Path) -> None:
    folder = tmp_path / "rig"
    options = ["--rig", "--probes", "1", "--duration", "1", "--channels", "8", "--units", "3", "--seed", "4"]
    told = CliRunner().invoke(main, ["process", "simulate", str(folder), *options], catch_exceptions=False)
    assert told.exit_code == 0
    assert "a session of 4" in told.output
    assert "probeA: 8 channels, 3 units, clock +37 ppm, started at 0.40 s" in told.output
    session = read_session_description(folder / "session.json")
    assert session.metadata.sex == "F"
    assert session.rig is not None
    assert session.optotagging == folder / "optotagging.pkl"
    (probe,) = session.probes
    bands = open_bands(probe.recording)
    assert bands.lfp is not None
    assert bands.spike_band.n_channels == len(pd.read_csv(probe.channels)) == 8
    units = pd.read_csv(folder / "truth" / "units.csv")
    assert units["preferred_orientation"].isin(range(0, 360, 45)).all()
    assert json.loads((folder / "session.json").read_text())["session_id"] == 700_004


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rig", "--form", "spikeglx"], "--form is of a recording alone"),
        (["--rig", "--channels", "2"], "n_channels is 2; give a whole number, 8 or more"),
        (["--rig", "--probes", "7"], "7 is not in the range 1<=x<=6"),
        (["--probes", "2"], "give --rig, too"),
    ],
)
def test_options_that_do_not_fit(tmp_path: Path, options: list[str], message: str) -> None:
    told = CliRunner().invoke(main, ["process", "simulate", str(tmp_path / "rig"), *options])
    assert told.exit_code
    assert message in told.output
    assert not (tmp_path / "rig").exists()
