"""What the comparisons share: AllenSDK's interpreter, programs run by either, and a small session that both read."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def allensdk_python() -> str:
    """AllenSDK's own interpreter, or a skip that says how to name it."""
    python = os.environ.get("ALLEN_ECEPHYS_ALLENSDK_PYTHON")
    if not python:
        pytest.skip("ALLEN_ECEPHYS_ALLENSDK_PYTHON names no interpreter that has AllenSDK 2.16.2")
    return python


def run_program(python: str, script: str, *arguments: object) -> None:
    """Run a program of this folder and show its end where it fails."""
    command = [python, str(HERE / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=HERE)
    assert done.returncode == 0, done.stderr[-3000:]
