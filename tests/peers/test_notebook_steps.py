"""The steps of the published notebooks run in both packages, and each cell leaves the same, with no exception."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from allen_ecephys.cache import EcephysProjectCache
from allen_ecephys.processing.simulation import write_session

pytestmark = pytest.mark.peers
STEPS = Path(__file__).parent / "notebook_steps.py"

#: Sums in another order, to a relative 1e-9.
ROUNDING = r".*: \[\d+\] rounding: .*"


@pytest.fixture(scope="module")
def project(
    tmp_path_factory: pytest.TempPathFactory, allensdk_python: str, run_program: Callable[..., None]
) -> tuple[Path, int]:
    """A project of one simulated session that both packages read, and the session's id."""
    folder = tmp_path_factory.mktemp("project")
    write_session(folder / "ours.nwb", "brain_observatory_1.1", scale=0.03, n_units=30, seed=1)
    run_program(allensdk_python, "write_with_allensdk.py", folder / "ours.nwb", folder / "both.nwb")
    (folder / "cache").mkdir()
    return folder / "cache", EcephysProjectCache(folder / "cache", remote=None).add_session(folder / "both.nwb")


@pytest.fixture(scope="module")
def theirs(
    project: tuple[Path, int],
    tmp_path_factory: pytest.TempPathFactory,
    allensdk_python: str,
    run_program: Callable[..., None],
    comparing: Any,
) -> Any:
    """What AllenSDK leaves in each cell."""
    results = tmp_path_factory.mktemp("theirs")
    run_program(allensdk_python, "run_cells.py", "allensdk", STEPS, results, project[0] / "manifest.json", project[1])
    return comparing.Results(results)


@pytest.mark.parametrize("how", ["ours", "ours-compat"])
def test_each_cell_leaves_what_allensdk_leaves(
    how: str,
    project: tuple[Path, int],
    theirs: Any,
    tmp_path: Path,
    run_program: Callable[..., None],
    comparing: Any,
) -> None:
    run_program(sys.executable, "run_cells.py", how, STEPS, tmp_path, project[0] / "manifest.json", project[1])
    ours = comparing.Results(tmp_path)
    assert [name for name in ours.calls if "error" in ours.calls[name]] == []
    assert [name for name in theirs.calls if "error" in theirs.calls[name]] == []
    found = comparing.differences(theirs, ours)
    assert [line for line in found if not re.fullmatch(ROUNDING, line)] == []
