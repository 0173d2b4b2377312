"""A small simulated project of three sessions of two types, with invalid times of single probes among them."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "faults"))  # the loopback server lies with the fault tests

from faulty_server import FaultyServer

from allen_ecephys.cache import EcephysProjectCache
from allen_ecephys.processing.simulation import write_session

SESSIONS = {
    900000001: "brain_observatory_1.1",
    900000002: "functional_connectivity",
    900000003: "brain_observatory_1.1",
}


@pytest.fixture(scope="session")
def population_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project; not to be changed."""
    folder = tmp_path_factory.mktemp("population")
    cache = EcephysProjectCache(_made(folder / "served"), remote=None)
    for seed, (session_id, kind) in enumerate(SESSIONS.items()):
        made = folder / f"{session_id}.nwb"
        eyes = kind == "brain_observatory_1.1"
        write_session(made, kind, 0.01, seed, n_units=12, n_probes=2, session_id=session_id, eye_tracking=eyes)
        cache.add_session(made, move=True)
    return folder / "served"


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.fixture
def own_project(population_project: Path, tmp_path: Path) -> Path:
    """A copy of the project that a test may damage."""
    return Path(shutil.copytree(population_project, tmp_path / "own"))


@pytest.fixture
def store_spikes() -> Callable[..., None]:
    """Store a file's spikes in another way, by h5py's options."""

    def store(path: Path, **options: Any) -> None:
        with h5py.File(path, "r+") as file:
            old = file["units/spike_times"]
            values, attributes = old[()], dict(old.attrs)
            del file["units/spike_times"]
            file["units"].create_dataset("spike_times", data=values, **options).attrs.update(attributes)

    return store


@pytest.fixture
def http_server(population_project: Path) -> Iterator[FaultyServer]:
    """The project on a server that states versions and gives ranges."""
    with FaultyServer() as running:
        for path in population_project.rglob("*"):
            if path.is_file() and not path.name.startswith("."):
                running.serve(path.relative_to(population_project).as_posix(), path)
        yield running
