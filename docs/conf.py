"""Sphinx configuration of the site: ``sphinx-build -W docs docs/_build`` builds it."""

from __future__ import annotations

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
exclude_patterns = ["_build"]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb", ".rst": "restructuredtext"}
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

PUBLIC = (
    "allen_ecephys",
    "allen_ecephys.cache",
    "allen_ecephys.errors",
    "allen_ecephys.plotting",
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
    for name in PUBLIC:
        package = import_module(name)
        names = [entry for entry in package.__all__ if entry != "__version__"]
        text = f"{name}\n{'=' * len(name)}\n\n.. currentmodule:: {name}\n\n"
        text += f"{(package.__doc__ or '').strip().splitlines()[0]}\n\n.. autosummary::\n   :toctree: generated\n\n"
        text += "".join(f"   {entry}\n" for entry in names)
        page = folder / f"{name}.rst"
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")


write_api_pages()
