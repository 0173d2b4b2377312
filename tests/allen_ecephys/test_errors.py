"""Errors: one hierarchy, so that ``except AllenEcephysError`` catches all that the package says on purpose."""

from __future__ import annotations

import ast
import builtins
from pathlib import Path

import allen_ecephys
from allen_ecephys import errors

PACKAGE = Path(allen_ecephys.__file__).parent

#: The rooms above this one answer for themselves.
OTHER_ROOMS = ("cache", "processing", "cli")

#: What Python asks of a module, and xarray of an index, by protocol.
BY_PROTOCOL = {
    "lazy_names.py": {"AttributeError"},
    "base.py": {"AttributeError"},
    "time_index.py": {"NotImplementedError"},
}


def raised_built_ins(path: Path) -> set[str]:
    """Return the built-in exceptions that a module raises by name."""
    calls = [n.exc for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.Raise)]
    names = {c.func.id for c in calls if isinstance(c, ast.Call) and isinstance(c.func, ast.Name)}
    return {name for name in names if hasattr(builtins, name)}


def test_the_reading_room_raises_no_bare_built_in() -> None:
    modules = [p for p in PACKAGE.rglob("*.py") if p.relative_to(PACKAGE).parts[0] not in OTHER_ROOMS]
    assert len(modules) > 40
    found = {str(p.relative_to(PACKAGE)): raised_built_ins(p) - BY_PROTOCOL.get(p.name, set()) for p in modules}
    assert {name: raised for name, raised in found.items() if raised} == {}


def test_every_error_is_also_the_built_in_that_a_caller_expects() -> None:
    kinds = [getattr(errors, name) for name in errors.__all__ if name.endswith("Error")]
    assert len(kinds) > 20
    for kind in kinds:
        assert issubclass(kind, errors.AllenEcephysError)
        assert kind is errors.AllenEcephysError or any(
            base.__module__ == "builtins" and base not in (Exception, BaseException, object) for base in kind.__mro__
        )
