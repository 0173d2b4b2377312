"""What the examples of pages and docstrings run on."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

API = Path(__file__).resolve().parents[2] / "docs" / "api.rst"


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """What the API page sets up for its examples, run as it stands there, and the folder in which it was."""
    block = re.search(r"code-block:: python\n\n((?:    .*\n|\n)+)", API.read_text(encoding="utf-8"))
    assert block
    import pandas as pd

    folder = tmp_path_factory.mktemp("examples")
    made: dict[str, Any] = {}
    width = pd.get_option("display.width")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("ALLEN_ECEPHYS_PROGRESS", "0")
        exec(compile(textwrap.dedent(block[1]), "api.rst", "exec"), made)
    pd.set_option("display.width", width)
    return folder, made
