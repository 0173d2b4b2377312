"""The code on the pages for users runs as it stands, in order, on a simulated project."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"

#: Needs the network; or is done already, by what the API page sets up.
ELSEWHERE = ('EcephysProjectCache.from_s3("~', "write_session(")


def blocks_of(page: str) -> list[str]:
    """Return the Python of a page, but for pieces of which a line (no comment) is done elsewhere."""
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)
    return [
        block
        for block in blocks
        if not any(start in line.partition("#")[0] for line in block.splitlines() for start in ELSEWHERE)
    ]


@pytest.mark.parametrize(("page", "least"), [("start.md", 2), ("howto.md", 19)])
@pytest.mark.filterwarnings("ignore::UserWarning")  # what a user is told by a warning does not stop the page
def test_code_of_a_page_runs(
    page: str, least: int, world: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    mpl.use("Agg")
    folder, made = world
    monkeypatch.chdir(folder)
    blocks = blocks_of(page)
    assert len(blocks) >= least
    namespace: dict[str, Any] = {"session": made["session"]}
    for block in blocks:
        exec(compile(block, page, "exec"), namespace)
