"""Every link from a page of the repository or the site leads to a file that is there, and to a heading in it."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"
PAGES = [*sorted(REPOSITORY.glob("*.md")), *sorted(DOCS.glob("*.md")), *sorted(REPOSITORY.glob("examples/*.ipynb"))]
LINK = re.compile(r"!?\[[^\]]*\]\(\s*([^)\s]+)[^)]*\)")


def text_of(path: Path) -> str:
    """Return the prose of a page, without code."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells)
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))


def anchors_of(path: Path) -> set[str]:
    """Return the anchors that GitHub and the site give the headings of a page."""
    headings = re.findall(r"^#{1,6} +(.+?) *$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(path: Path) -> list[str]:
    broken = []
    for link in LINK.findall(text_of(path)):
        if re.match(r"(https?|mailto|ftp):", link):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            broken.append(link)
    return broken


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_links_lead_somewhere(path: Path) -> None:
    assert broken_links(path) == []


def test_a_broken_link_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One two\n[a](#one-two) [b](#three) [c](absent.md) [d](https://example.org) `[e](no.md)`\n")
    assert broken_links(page) == ["#three", "absent.md"]


def test_every_page_is_in_the_site_and_every_entry_of_its_index_is_a_page() -> None:
    entries = re.findall(r"```\{toctree\}(.*?)```", (DOCS / "index.md").read_text(encoding="utf-8"), re.DOTALL)
    listed = [line for block in entries for line in block.splitlines() if line and not line.startswith(":")]
    pages = {path.stem for path in [*DOCS.glob("*.md"), *DOCS.glob("*.rst")]} - {"index"}
    assert sorted(listed) == sorted(pages)


def test_readme_leads_to_every_page_that_a_user_looks_up() -> None:
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    of_the_project = {"index", "api", "changelog", "cite", "contributing", "notebooks"}
    pages = {path.stem for path in DOCS.glob("*.md")} - of_the_project
    assert [page for page in sorted(pages) if f"docs/{page}.md" not in readme] == []


def test_what_the_site_is_built_with_is_not_kept() -> None:
    made = ["docs/_build/x", "docs/_api/x", "docs/_notebooks/x", "docs/jupyter_execute/x"]
    if not (REPOSITORY / ".git").exists():
        pytest.skip("not in a clone")
    ignored = subprocess.run(["git", "check-ignore", *made], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert ignored.stdout.split() == made
