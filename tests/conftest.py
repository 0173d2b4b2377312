"""Fixtures that tests of all rooms share."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

# Programs that tests start must import the installed package, not the folder of that name in the working directory,
# which lacks the two rooms that lie beside it.
os.environ["PYTHONSAFEPATH"] = "1"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option with which the notebooks' tests store what the notebooks show."""
    parser.addoption("--store-outputs", action="store_true", help="store the outputs of examples/*.ipynb in them")


@pytest.fixture(autouse=True)
def quiet_and_private(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep every test out of the user's own cache folder and its settings."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("ALLEN_ECEPHYS_CACHE_DIR", str(home / "cache"))
    for name in ("OFFLINE", "PROGRESS", "THREADS", "SORTER_PYTHON"):
        monkeypatch.delenv(f"ALLEN_ECEPHYS_{name}", raising=False)


@pytest.fixture(autouse=True)
def closed_figures() -> Iterator[None]:
    """Close the figures that a test leaves open: pyplot keeps them all, and warns from the twentieth on."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with real data in the released layout, or a skip that says how to name one."""
    folder = Path(os.environ.get("ALLEN_ECEPHYS_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no released data at {folder}; name a folder in ALLEN_ECEPHYS_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def replica(shared_data: Path) -> Path:
    """The replica: one session file and its LFP files, with the released structure and invented numbers."""
    return shared_data / "replica"


@pytest.fixture(scope="session")
def excerpt(shared_data: Path) -> Path:
    """The excerpt: a project cache in the released layout with real numbers."""
    return shared_data / "ecephys-cache"


@pytest.fixture
def truth_sorter(monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of a stand-in for a sorter, which knows the truth of the simulation that its parameter `truth` names."""
    from allen_ecephys.processing.simulation.raw.recording import read_ground_truth
    from allen_ecephys.processing.sorting import sorters
    from allen_ecephys.processing.sorting.spikes_to_result import result_from_spikes

    def sort(recording: Any, folder: Path, parameters: Any) -> Any:
        truth = read_ground_truth(parameters["truth"])
        keep = truth.spike_times >= parameters.get("after", 0)
        times, units = truth.spike_times[keep], truth.spike_units[keep]
        n_units = len(truth.units) if len(times) else 0
        return result_from_spikes(recording, times, units, n_units, folder, details={"sorter": "truth"})

    monkeypatch.setitem(sorters.SORTERS, "truth", sort)
    return "truth"
