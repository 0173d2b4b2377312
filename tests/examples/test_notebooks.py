"""Every notebook of the examples runs from top to bottom, and shows what is stored in it.

The site shows notebooks as they are in the repository, with the outputs stored in them. After a change of a notebook,
or of what it shows, ``pytest tests/examples --store-outputs`` stores them anew; look at the figures then.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
NEEDS_RELEASED_DATA = {"real_v1_tuning", "population_tuning"}
#: Of all notebooks together: what a clone of the repository has to carry.
MOST_BYTES = 5_000_000


@pytest.mark.filterwarnings("ignore:.*Proactor.*")
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(
    notebook: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import nbformat
    from nbclient import NotebookClient

    if notebook.stem in NEEDS_RELEASED_DATA:
        monkeypatch.setenv("ALLEN_ECEPHYS_TEST_DATA", str(request.getfixturevalue("shared_data")))
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    monkeypatch.setenv("ALLEN_ECEPHYS_PROGRESS", "0")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    # A user's environment is active: the commands of the package are found beside its Python.
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    work = tmp_path / "work"
    work.mkdir()
    stored = nbformat.read(notebook, as_version=4)
    content = nbformat.from_dict(json.loads(json.dumps(stored)))
    resources = {"metadata": {"path": str(work)}}
    done = NotebookClient(content, timeout=300, record_timing=False, resources=resources).execute()
    assert all(cell.get("execution_count") for cell in done.cells if cell.cell_type == "code" and cell.source)
    tidy(done, work, tmp_path)
    if request.config.getoption("--store-outputs"):
        nbformat.write(done, notebook)
        return
    for place, (was, now) in enumerate(zip(stored.cells, done.cells, strict=True)):
        assert kinds(was) == kinds(now), f"cell {place}: the outputs stored are outdated; --store-outputs renews them"


def tidy(notebook: Any, work: Path, temporary: Path) -> None:
    """Take out of the outputs what differs between runs: paths, times, and in what pieces text was printed."""
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = joined(cell.outputs)
        for output in cell.get("outputs", []):
            if output.output_type == "stream":
                output.text = _without_paths(output.text, work, temporary)
            for kind, text in output.get("data", {}).items():
                if kind.startswith("text/"):
                    output.data[kind] = _without_paths(text, work, temporary)
    notebook.metadata.pop("widgets", None)
    notebook.metadata["language_info"] = {"name": "python", "pygments_lexer": "ipython3"}  # knows "!command"


def _without_paths(text: str, work: Path, temporary: Path) -> str:
    shown = text.replace(f"{work}{os.sep}", "").replace(str(work), ".").replace(f"{temporary}{os.sep}", "")
    return re.sub(rf"\.\.\.\S*/{work.name}/", "", shown)  # of a path too long to be shown whole


def joined(outputs: list[Any]) -> list[Any]:
    """Put text together that was printed in several pieces, one after the other."""
    found: list[Any] = []
    for output in outputs:
        before = found[-1] if found else {}
        if output.output_type == "stream" and before.get("name") == output.name:
            before["text"] += output.text
        else:
            found.append(output)
    return found


def kinds(cell: Any) -> list[tuple[str, ...]]:
    """Return the kinds of a cell's outputs: text that is printed, tables, figures; not what a library warns of."""
    outputs = [output for output in cell.get("outputs", []) if output.get("name") != "stderr"]
    return [(output.output_type, *sorted(output.get("data", {}))) for output in outputs]


def test_stored_outputs_are_small_and_without_errors_or_paths() -> None:
    import nbformat

    assert sum(path.stat().st_size for path in NOTEBOOKS) < MOST_BYTES
    for path in NOTEBOOKS:
        outputs = [
            output
            for cell in nbformat.read(path, as_version=4).cells
            if cell.cell_type == "code"
            for output in cell.outputs
        ]
        assert outputs, f"{path.name} shows nothing: pytest tests/examples --store-outputs"
        assert not [output for output in outputs if output.output_type == "error"], path.name
        text = json.dumps([output for output in outputs if "image/png" not in output.get("data", {})])
        assert not re.search(r"(?<![\w.:/-])/(home|tmp|work|root|Users)/", text), f"{path.name} holds a machine's path"


def test_every_notebook_says_what_it_is_about() -> None:
    import nbformat

    for path in NOTEBOOKS:
        first = nbformat.read(path, as_version=4).cells[0]
        assert first.cell_type == "markdown", path.name
        assert first.source.startswith("# "), path.name
