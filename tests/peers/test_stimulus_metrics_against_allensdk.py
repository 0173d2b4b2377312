"""Every released metric equals AllenSDK's on the same simulated file, read by both packages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from allen_ecephys.processing.simulation import write_session
from allen_ecephys.processing.stimulus_metrics import compute_unit_analysis_metrics
from allen_ecephys.session.session import EcephysSession
from allen_ecephys.units.filter import UnitFilter

pytestmark = pytest.mark.peers
HERE = Path(__file__).parent

#: Metrics that cannot be equal to the last digits, and how near they must be (absolute, relative), with the reason.
TOLERANCES = {
    "p_value_rf": (0.06, 0),  # a thousand surrogates each, AllenSDK's from another generator
    "c50_dg": (1.01 * (1.1 - 0.009) / 255, 0),  # one step of its grid: where the optimiser stops
    "width_rf": (0, 1e-4),  # where the optimiser stops, for fits of a sensible size; see SENSIBLE
    "height_rf": (0, 1e-4),
    "mod_idx_dg": (1e-9, 1e-6),  # single precision when AllenSDK's counts are integers
}
DEFAULT = (1e-9, 1e-9)
#: Degrees beyond which a Gaussian was fitted to noise: its widths tell where the optimiser gave up.
SENSIBLE = 40
#: Fraction of the units of a noisy metric that may be further away: fits that have no single answer.
ILL_POSED = {"c50_dg": 0.1, "width_rf": 0.1, "height_rf": 0.1}


@pytest.fixture(scope="module", params=["brain_observatory_1.1", "functional_connectivity"])
def tables(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[pd.DataFrame, pd.DataFrame]:
    python = os.environ.get("ALLEN_ECEPHYS_ALLENSDK_PYTHON")
    if not python:
        pytest.skip("ALLEN_ECEPHYS_ALLENSDK_PYTHON names no interpreter that has AllenSDK 2.16.2")
    folder = tmp_path_factory.mktemp(request.param)
    contrast = request.param == "brain_observatory_1.1"
    write_session(folder / "ours.nwb", request.param, scale=0.3, n_units=40, seed=5, contrast_block=contrast)
    shared = folder / "both.nwb"

    def run(script: str, *arguments: Path) -> None:
        done = subprocess.run([python, HERE / script, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]

    run("write_with_allensdk.py", folder / "ours.nwb", shared)
    run("metrics_with_allensdk.py", shared, folder)
    theirs = pd.concat([pd.read_csv(path, index_col=0) for path in sorted(folder.glob("*.csv"))], axis=1)
    with EcephysSession(shared, unit_filter=UnitFilter.none()) as session:
        ours = compute_unit_analysis_metrics(session, "allensdk", names="release")
    return theirs.sort_index(), ours.sort_index()


def distances(theirs: pd.DataFrame, ours: pd.DataFrame) -> dict[str, float]:
    """Return for each column the fraction of units that differ by more than its tolerance."""
    far = {}
    for column in theirs:
        a, b = theirs[column].to_numpy(dtype=float), ours[column].to_numpy(dtype=float, na_value=np.nan)
        absolute, relative = TOLERANCES.get(column, DEFAULT)
        differ = ~((np.isnan(a) & np.isnan(b)) | (np.abs(a - b) <= absolute + relative * np.abs(a)))
        if column in ("width_rf", "height_rf"):
            differ &= (theirs[["width_rf", "height_rf"]].abs() < SENSIBLE).all(axis=1).to_numpy()
        far[column] = float(differ.mean())
    return far


def test_every_metric_equals_allensdks(tables: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    theirs, ours = tables
    assert list(theirs.index) == list(ours.index)
    assert set(theirs) - set(ours) == set()
    far = distances(theirs, ours)
    assert {column: share for column, share in far.items() if share > ILL_POSED.get(column, 0)} == {}


def test_the_comparison_sees_a_wrong_number(tables: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    theirs, ours = tables
    for column in theirs:
        if theirs[column].notna().any():
            assert distances(theirs, ours.assign(**{column: ours[column].astype(float) + 1}))[column] > 0


if __name__ == "__main__":
    sys.exit(pytest.main([__file__, "-m", "peers", "-v"]))
