"""What the site's pages say of the layout is what the reader and the writer use, and its reference is complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from allen_ecephys.nwb import layout
from allen_ecephys.processing.quality_metrics import QUALITY_METRICS
from allen_ecephys.processing.stimulus_metrics import metric_columns

DOCS = Path(__file__).resolve().parents[2] / "docs"
LAYOUT = (DOCS / "file_layout.md").read_text(encoding="utf-8")
METHODS = (DOCS / "methods.md").read_text(encoding="utf-8")
COLUMNS = [*layout.ELECTRODE_COLUMNS, *layout.UNIT_COLUMNS, *layout.ESTIMATE_COLUMNS, *layout.OPTOTAGGING_COLUMNS]


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column.name)
def test_every_column_stands_on_the_page_with_its_meaning(column: layout.Column) -> None:
    row = next(
        line for line in LAYOUT.splitlines() if line.startswith(f"| `{column.name}` |") and column.meaning in line
    )
    assert column.table_name is None or f"`{column.table_name}`" in row


@pytest.mark.parametrize(("name", "meaning"), layout.STIMULUS_COLUMNS.items())
def test_every_parameter_stands_on_the_page(name: str, meaning: str) -> None:
    assert f"| `{name}` | {meaning} |" in LAYOUT


def test_every_metric_has_a_formula_or_a_definition() -> None:
    named = {
        name.replace("*", r"\w+") for cell in re.findall(r"^\| ([^|]+) \|", METHODS, re.MULTILINE)
        for name in re.findall(r"`([\w*]+)`", cell)
    }  # fmt: skip
    pattern = re.compile("|".join(named))
    short = re.compile(r"_(nm3)$")  # the second movie's go by the first one's
    columns = [short.sub("_nm1", name) for name in [*metric_columns(), *QUALITY_METRICS]]
    assert [name for name in columns if not pattern.fullmatch(name)] == []


def test_pages_of_the_reference_are_written_as_what_they_are() -> None:
    """autosummary writes its pages with the first suffix: were it Markdown, they would show bare directives."""
    conf = (DOCS / "conf.py").read_text(encoding="utf-8")
    assert re.search(r'^source_suffix = \{".rst": "restructuredtext"', conf, re.MULTILINE)
    assert ":members:" in (DOCS / "_templates" / "autosummary" / "class.rst").read_text(encoding="utf-8")


def test_places_that_the_architecture_names_are_there() -> None:
    repository = DOCS.parent
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    places = [place for place in re.findall(r"`([\w/.]+)`", text) if "/" in place]
    assert len(places) > 15
    assert [place for place in places if not (repository / place).exists()] == []
