"""Errors: one hierarchy, so that ``except AllenEcephysError`` catches all that the package says on purpose."""

from __future__ import annotations

import ast
import builtins
import re
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


#: A metric that somebody wrote is told of as Python tells it.
OF_THE_CALLERS_OWN_CODE = {"compute.py"}


def shows_a_class(node: ast.AST, errors: set[str]) -> bool:
    """Tell whether a part of an f-string is the name of an error's class: ``{error!r}``, ``{type(error).__name__}``."""
    if not isinstance(node, ast.FormattedValue):
        return False
    shown = ast.unparse(node.value)
    return (node.conversion == ord("r") and shown in errors) or any(f"type({e}).__name__" in shown for e in errors)


def test_no_message_shows_the_class_of_an_error() -> None:
    found = []
    rooms = [PACKAGE, PACKAGE / "cache", PACKAGE / "processing"]  # the search does not go through links
    modules = [path for room in rooms for path in room.rglob("*.py") if path.name not in OF_THE_CALLERS_OWN_CODE]
    assert len(modules) > 300
    for path in modules:
        code = path.read_text("utf-8")
        if not re.search(r"\b(error|exc|err|e)!r|\btype\(\w+\)\.__name__", code):
            continue
        nodes = list(ast.walk(ast.parse(code)))
        caught = {node.name for node in nodes if isinstance(node, ast.ExceptHandler) and node.name}
        found += [f"{path.relative_to(PACKAGE)}:{node.lineno}" for node in nodes if shows_a_class(node, caught)]
    assert found == []


def test_what_an_error_says_in_words() -> None:
    said = {
        "it has no 'geometry'": KeyError("geometry"),
        "no space left on device": OSError(28, "No space left on device"),
        "there is not enough memory": MemoryError(),
        "its byte 1 is no text in UTF-8": UnicodeDecodeError("utf-8", b"a\xe9", 1, 2, "invalid"),
        "timeout error": TimeoutError(),
        "'a' is no probe": errors.UnknownIdError("'a' is no probe"),
        "broken": ValueError("broken"),
    }
    assert [errors.in_words(error) for error in said.values()] == list(said)


def test_every_error_is_also_the_built_in_that_a_caller_expects() -> None:
    kinds = [getattr(errors, name) for name in errors.__all__ if name.endswith("Error")]
    assert len(kinds) > 20
    for kind in kinds:
        assert issubclass(kind, errors.AllenEcephysError)
        assert kind is errors.AllenEcephysError or any(
            base.__module__ == "builtins" and base not in (Exception, BaseException, object) for base in kind.__mro__
        )
