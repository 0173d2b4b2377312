"""Sphinx configuration of the site: ``sphinx-build -W docs docs/_build`` builds it."""

from __future__ import annotations

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
