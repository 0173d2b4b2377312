"""The metrics as a stage: whole or absent, reused for the same file and settings, and what a project takes."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from allen_ecephys import EcephysProjectCache, UnitFilter
from allen_ecephys.processing.simulation import write_session
from allen_ecephys.processing.stages.stimulus_metrics import TABLE, run_stimulus_metrics


@pytest.fixture(scope="module")
def session_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("session") / "session.nwb"
    write_session(path, scale=0.02, n_units=40, n_probes=1, seed=0)
    return path


def test_same_file_and_settings_are_reused(session_path: Path, tmp_path: Path) -> None:
    first = run_stimulus_metrics(session_path, tmp_path, n_shuffles=20)
    made = (first.folder / TABLE).read_bytes()
    again = run_stimulus_metrics(session_path, tmp_path, n_shuffles=20)
    assert (first.reused, again.reused) == (False, True)
    assert (again.folder / TABLE).read_bytes() == made
    assert first.report["units"] == 40


def test_other_definition_is_computed_anew(session_path: Path, tmp_path: Path) -> None:
    released = run_stimulus_metrics(session_path, tmp_path, n_shuffles=20)
    before = pd.read_csv(released.folder / TABLE, index_col=0)
    corrected = run_stimulus_metrics(session_path, tmp_path, "corrected", n_shuffles=20)
    after = pd.read_csv(corrected.folder / TABLE, index_col=0)
    assert not corrected.reused
    assert not before["fano_dg"].equals(after["fano_dg"])  # population against sample variance


def test_project_serves_the_table_of_the_stage(session_path: Path, tmp_path: Path) -> None:
    stage = run_stimulus_metrics(session_path, tmp_path / "stage", n_shuffles=20)
    table = pd.read_csv(stage.folder / TABLE, index_col=0)
    (tmp_path / "project").mkdir()
    project = EcephysProjectCache(tmp_path / "project" / "manifest.json", remote=None)
    project.add_session(session_path, metrics=table)
    served = project.get_unit_analysis_metrics(unit_filter=UnitFilter.none(), names="release")
    pd.testing.assert_series_equal(
        served["pref_ori_dg"].astype(float), table["pref_ori_dg"].reindex(served.index), check_names=False
    )
