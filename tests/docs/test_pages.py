"""The code on the pages for users runs as it stands, in order, on a simulated session."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib as mpl
import pytest

from allen_ecephys import EcephysSession

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where ``session.nwb`` lies that the pages open."""
    from allen_ecephys.processing.simulation import write_session

    place = tmp_path_factory.mktemp("pages")
    write_session(place / "session.nwb", "brain_observatory_1.1", scale=0.02, n_units=150, seed=0)
    return place


def blocks_of(page: str) -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return [
        block
        for block in re.findall(r"```python\n(.*?)```", text, re.S)
        if "from_s3(" not in block and "write_session(" not in block  # needs the network; is done by the fixture
    ]


@pytest.mark.parametrize("page", ["start.md", "howto.md"])
def test_code_of_a_page_runs(page: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mpl.use("Agg")
    monkeypatch.chdir(folder)
    blocks = blocks_of(page)
    assert len(blocks) >= 2
    namespace: dict[str, object] = {"session": EcephysSession("session.nwb")}
    for block in blocks:
        exec(compile(block, page, "exec"), namespace)
