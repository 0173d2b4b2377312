"""Sphinx configuration of the site: ``sphinx-build -W docs docs/_build`` builds it."""

from __future__ import annotations

import shutil
from importlib import import_module
from pathlib import Path

from allen_ecephys import __version__

project = "allen-ecephys"
author = "The allen-ecephys developers"
copyright = "the allen-ecephys developers"
release = version = __version__

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "_templates", "jupyter_execute"]
# The first is what autosummary writes its pages in: reStructuredText.
source_suffix = {".rst": "restructuredtext", ".md": "myst-nb", ".ipynb": "myst-nb"}
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3

# Notebooks are executed by the tests, each in a folder of its own; the site shows them as they are in the repository.
nb_execution_mode = "off"

autosummary_generate = True
autodoc_typehints = "none"  # numpydoc's sections say types in words, with units
numpydoc_show_class_members = False
# Cross-references to names that are private to their folder stay text.
nitpicky = False

html_theme = "pydata_sphinx_theme"
html_title = "allen-ecephys"
html_theme_options = {"navigation_with_keys": False, "show_toc_level": 2}
html_show_sourcelink = False
# Pages without pages below them have nothing to show beside them.
html_sidebars = {page.stem: [] for page in Path(__file__).parent.glob("*.md") if page.stem != "notebooks"}

PUBLIC = (
    "allen_ecephys",
    "allen_ecephys.cache",
    "allen_ecephys.errors",
    "allen_ecephys.plotting",
    "allen_ecephys.processing",
    *(
        f"allen_ecephys.processing.{folder}"
        for folder in (
            "readers", "spike_band", "lfp_band", "sorting", "quality_metrics", "waveforms", "unit_cleaning",
            "stimulus_metrics", "synchronization", "packaging", "simulation", "pipeline",
        )
    ),
)  # fmt: skip


def write_api_pages() -> None:
    """Write a page for each public folder from what it names in ``__all__``."""
    folder = Path(__file__).with_name("_api")
    folder.mkdir(exist_ok=True)
    shown: dict[int, str] = {}
    for name in PUBLIC:
        package = import_module(name)
        names = [entry for entry in package.__all__ if entry != "__version__"]
        again = [entry for entry in names if id(getattr(package, entry)) in shown]
        text = f"{name}\n{'=' * len(name)}\n\n.. currentmodule:: {name}\n\n"
        text += f"{(package.__doc__ or '').strip().splitlines()[0]}\n\n"
        for entry in again:  # a thing has one page
            text += f":class:`{entry} <{shown[id(getattr(package, entry))]}>` is handed on here, too.\n\n"
        text += ".. autosummary::\n   :toctree: generated\n\n"
        text += "".join(f"   {entry}\n" for entry in names if entry not in again)
        shown |= {id(getattr(package, entry)): f"{name}.{entry}" for entry in names}
        page = folder / f"{name}.rst"
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")


def copy_notebooks() -> None:
    """Bring the notebooks of ``examples/`` below the pages, as Sphinx shows nothing else."""
    here = Path(__file__).parent
    folder = here / "_notebooks"
    folder.mkdir(exist_ok=True)
    notebooks = {path.name: path for path in (here.parent / "examples").glob("*.ipynb")}
    for path in folder.glob("*.ipynb"):
        if path.name not in notebooks:
            path.unlink()
    for name, path in notebooks.items():
        if not (folder / name).exists() or (folder / name).read_bytes() != path.read_bytes():
            shutil.copyfile(path, folder / name)


write_api_pages()
copy_notebooks()
