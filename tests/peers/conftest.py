"""What the comparisons share: AllenSDK's interpreter, and the results that a program of this folder leaves."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def allensdk_python() -> str:
    """AllenSDK's own interpreter, or a skip that says how to name it."""
    python = os.environ.get("ALLEN_ECEPHYS_ALLENSDK_PYTHON")
    if not python:
        pytest.skip("ALLEN_ECEPHYS_ALLENSDK_PYTHON names no interpreter that has AllenSDK 2.16.2")
    return python


@pytest.fixture(scope="session")
def run_program() -> Callable[..., None]:
    """Run a program of this folder by some interpreter, and show its end where it fails."""

    def run(python: str, script: str, *arguments: object) -> None:
        command = [python, str(HERE / script), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=HERE)
        assert done.returncode == 0, done.stderr[-3000:]

    return run


@pytest.fixture(scope="session")
def comparing() -> Any:
    """The module that compares two stores of results."""
    spec = importlib.util.spec_from_file_location("compare_results", HERE / "compare_results.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
