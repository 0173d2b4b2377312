"""``sessions``, ``units`` and ``simulate``: tables to read, the same as JSON and CSV, and a file to try things with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from allen_ecephys import EcephysProjectCache, EcephysSession, UnitFilter
from allen_ecephys.cli import main


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in arguments])


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("simulated") / "session.nwb"
    made = run("simulate", path, "--scale", 0.02, "--units", 60, "--probes", 1, "--seed", 2, "--no-eye-tracking")
    assert made.exit_code == 0, made.output
    assert "session 700000002, 60 units on 1 probes" in made.output
    return path


def test_simulate_writes_what_was_asked_for(simulated: Path) -> None:
    with EcephysSession(simulated, unit_filter=UnitFilter.none()) as session:
        assert (session.num_units, session.num_probes, session.has_eye_tracking) == (60, 1, False)
    again = run("simulate", simulated)
    assert again.exit_code == 1
    assert "pass --overwrite" in again.output
    assert "'--scale'" in run("simulate", "new.nwb", "--scale", 2).output


def test_units_of_a_file(simulated: Path, tmp_path: Path) -> None:
    with EcephysSession(simulated) as session:
        shown = session.units
    found = run("units", simulated)
    assert found.output.splitlines()[-1] == f"{len(shown)} units"
    as_json = json.loads(run("units", simulated, "--json").output)
    assert [row["unit_id"] for row in as_json] == shown.index.tolist()
    assert [row["snr"] for row in as_json] == pytest.approx(shown["snr"].tolist(), rel=1e-12)
    assert as_json[0]["ecephys_structure_acronym"] in set(shown["ecephys_structure_acronym"])
    first = run("units", simulated, "--all-units", "--rows", 2, "--csv", tmp_path / "units.csv")
    assert f"60 units (58 more: --rows 0 prints all); written to {tmp_path / 'units.csv'}" in first.output
    written = pd.read_csv(tmp_path / "units.csv", index_col="unit_id")
    assert len(written) == 60
    assert written["hidden_by"].isna().sum() == len(shown)


def test_units_that_fit(simulated: Path) -> None:
    with EcephysSession(simulated) as session:
        shown = session.units
    structure = str(shown["ecephys_structure_acronym"].iloc[0])
    found = json.loads(run("units", simulated, "--structure", structure, "--query", "snr > 2", "--json").output)
    fitting = shown[(shown["ecephys_structure_acronym"] == structure) & (shown["snr"] > 2)]
    assert [row["unit_id"] for row in found] == fitting.index.tolist()
    wrong = run("units", simulated, "--structure", structure[:-1] + "x")
    assert wrong.exit_code == 1
    assert "There are: " in wrong.output
    assert "is no condition on the units" in run("units", simulated, "--query", "snr >").output


def test_sessions_and_units_of_a_project(simulated_project: tuple[Path, Any], tmp_path: Path) -> None:
    folder, truth = simulated_project
    where = ["--cache-dir", folder, "--source", "none"]
    found = run("sessions", *where)
    assert found.exit_code == 0, found.output
    assert str(truth.session_id) in found.output
    assert found.output.splitlines()[-1] == "1 session"
    [row] = json.loads(run("sessions", *where, "--json").output)
    cache = EcephysProjectCache.fixed(folder)
    table = cache.get_session_table()
    assert row["session_id"] == table.index[0]
    assert row["ecephys_structure_acronyms"] == list(table["ecephys_structure_acronyms"].iloc[0])
    assert "There are: brain_observatory_1.1" in run("sessions", *where, "--session-type", "movies").output
    assert run("sessions", *where, "--csv", tmp_path / "sessions.csv").exit_code == 0
    assert pd.read_csv(tmp_path / "sessions.csv").columns[0] == "session_id"
    assert run("units", *where, "--query", "unit_id > 0", "--csv", tmp_path / "units.csv").exit_code == 0
    assert pd.read_csv(tmp_path / "units.csv").columns[0] == "unit_id"
    units = json.loads(run("units", *where, "--json").output)
    assert [row["unit_id"] for row in units] == cache.get_units(unit_filter=UnitFilter()).index.tolist()
