"""Every notebook of the examples runs from top to bottom."""

from __future__ import annotations

from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NEEDS_RELEASED_DATA = {"real_v1_tuning", "population_tuning"}


@pytest.mark.filterwarnings("ignore:.*Proactor.*")
@pytest.mark.parametrize("notebook", sorted(EXAMPLES.glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebook_runs(
    notebook: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import nbformat
    from nbclient import NotebookClient

    if notebook.stem in NEEDS_RELEASED_DATA:
        monkeypatch.setenv("ALLEN_ECEPHYS_TEST_DATA", str(request.getfixturevalue("shared_data")))
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    content = nbformat.read(notebook, as_version=4)
    done = NotebookClient(content, timeout=300, resources={"metadata": {"path": str(notebook.parent)}}).execute()
    nbformat.write(done, tmp_path / notebook.name)
    assert all(cell.get("execution_count") for cell in done.cells if cell.cell_type == "code" and cell.source)
