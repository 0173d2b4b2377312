"""Fixtures that tests of all rooms share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

# Programs that tests start must import the installed package, not the folder of that name in the working directory,
# which lacks the two rooms that lie beside it.
os.environ["PYTHONSAFEPATH"] = "1"


@pytest.fixture(autouse=True)
def quiet_and_private(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep every test out of the user's own cache folder and its settings."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("ALLEN_ECEPHYS_CACHE_DIR", str(home / "cache"))
    for variable in ("ALLEN_ECEPHYS_OFFLINE", "ALLEN_ECEPHYS_PROGRESS", "ALLEN_ECEPHYS_THREADS"):
        monkeypatch.delenv(variable, raising=False)


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
