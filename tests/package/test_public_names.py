"""What a user is shown imports public names only: those that some ``__all__`` lists."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from allen_ecephys.errors import UnknownArgumentError

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = REPOSITORY / "allen_ecephys"
#: Modules that are public as a whole: every class and setting in them is documented for users.
PUBLIC_MODULES = {"allen_ecephys.errors", "allen_ecephys.config"}
#: Modules under AllenSDK's names, for code that was written for it.
PUBLIC_MODULES |= {f"allen_ecephys.{name}" for name in ("ecephys_project_cache", "ecephys_session", "visualization")}
PUBLIC_MODULES |= {f"allen_ecephys.stimulus_analysis.{path.stem}" for path in PACKAGE.glob("stimulus_analysis/*.py")}
#: What the command line stands on besides: the ground floor, which every room shares.
GROUND_FLOOR = {
    f"allen_ecephys.{name}"
    for name in ("compiled_code", "errors", "files", "metric_names", "progress", "version", "written_tables")
}
#: Its commands on caches are the other face of the fetching room, and call its planning and building directly.
OWN_FACE = {"cache.py", "browsing.py", "serving.py"}

PAGES = [
    *sorted(REPOSITORY.glob("*.md")),
    *sorted((REPOSITORY / "docs").glob("*.md")),  # what lies deeper is made by building the site
    *sorted((REPOSITORY / "examples").rglob("*.ipynb")),
    *sorted((REPOSITORY / "examples").rglob("*.py")),
]
COMMANDS = sorted(path for path in (PACKAGE / "cli").glob("*.py") if path.name not in OWN_FACE)


def public_folders() -> dict[str, list[str]]:
    """Every package that declares ``__all__``, and what it lists."""
    found = {}
    for path in [PACKAGE / "__init__.py", *PACKAGE.rglob("*/__init__.py")]:
        # Path.rglob does not follow the links to the two other rooms.
        found[path] = path.relative_to(REPOSITORY).parent
    for room in ("cache", "processing"):
        for path in (REPOSITORY / room).rglob("__init__.py"):
            found[path] = Path("allen_ecephys") / path.relative_to(REPOSITORY).parent
    public = {}
    for path, place in found.items():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
                public[".".join(place.parts)] = list(ast.literal_eval(node.value))
    return public


PUBLIC = public_folders()


def code_of(path: Path) -> Iterator[str]:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        yield text
    elif path.suffix == ".ipynb":
        for cell in json.loads(text)["cells"]:
            if cell["cell_type"] == "code":
                yield "".join(cell["source"])
    else:
        yield from re.findall(r"```(?:python|py|pycon)\n(.*?)```", text, re.DOTALL)


def imports_of(code: str) -> Iterator[tuple[str, str]]:
    """Every (module, name) that code imports from the package; name is empty where a module is imported."""
    lines = [line.removeprefix(">>> ").removeprefix("... ") for line in code.splitlines() if not line.startswith("%")]
    try:
        nodes = list(ast.walk(ast.parse("\n".join(lines))))
    except SyntaxError:  # an excerpt, or a session with its output: the import lines still say what is imported
        nodes = []
        for line in lines:
            if re.match(r"\s*(from allen_ecephys\S* import [^(]+|import allen_ecephys\S*)$", line):
                nodes += list(ast.walk(ast.parse(line.strip())))
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").startswith("allen_ecephys"):
            yield from ((str(node.module), alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if alias.name.startswith("allen_ecephys"))


def private_imports(path: Path, also: frozenset[str] | set[str] = frozenset()) -> list[str]:
    wrong = []
    for code in code_of(path):
        for module, name in imports_of(code):
            if module in PUBLIC_MODULES | also:
                continue
            listed = name == "" or name in PUBLIC.get(module, []) or f"{module}.{name}" in PUBLIC
            if module not in PUBLIC or not listed:
                wrong.append(f"from {module} import {name}" if name else f"import {module}")
    return wrong


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_what_users_read_imports_public_names(path: Path) -> None:
    assert private_imports(path) == []


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path.name)
def test_the_command_line_imports_public_names(path: Path) -> None:
    assert private_imports(path, GROUND_FLOOR) == []


@pytest.mark.parametrize("package", sorted(PUBLIC))
def test_public_names_exist(package: str) -> None:
    module = importlib.import_module(package)
    assert sorted(PUBLIC[package]) == sorted(set(PUBLIC[package]))
    missing = [name for name in PUBLIC[package] if not hasattr(module, name)]
    assert missing == []


@pytest.mark.parametrize(
    "folder",
    [
        "", ".cache", ".plotting", ".processing", ".processing.lfp_band", ".processing.packaging",
        ".processing.pipeline", ".processing.quality_metrics", ".processing.readers", ".processing.simulation",
        ".processing.sorting", ".processing.spike_band", ".processing.stimulus_metrics", ".processing.synchronization",
    ],
)  # fmt: skip
def test_the_folders_that_the_design_calls_public_are(folder: str) -> None:
    assert PUBLIC.get(f"allen_ecephys{folder}")


def test_a_private_import_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nfrom allen_ecephys.units.filter import UnitFilter\nimport allen_ecephys.nwb\n```\n")
    assert private_imports(page) == ["from allen_ecephys.units.filter import UnitFilter", "import allen_ecephys.nwb"]


def are_settings(kind: object) -> bool:
    """Tell a dataclass of settings: every field has a default, and a user names the few that differ."""
    return dataclasses.is_dataclass(kind) and all(
        field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        for field in dataclasses.fields(kind)
    )


SETTINGS = sorted(
    f"{module}.{name}"
    for module, names in PUBLIC.items()
    for name in names
    if are_settings(getattr(importlib.import_module(module), name))
)


@pytest.mark.parametrize("place", SETTINGS)
def test_a_mistyped_setting_is_answered_with_the_one_that_was_meant(place: str) -> None:
    module, _, name = place.rpartition(".")
    kind = getattr(importlib.import_module(module), name)
    meant = dataclasses.fields(kind)[-1].name
    with pytest.raises(UnknownArgumentError, match=f"{name} has no '{meant}x'; did you mean '{meant}'"):
        kind(**{f"{meant}x": 1})
