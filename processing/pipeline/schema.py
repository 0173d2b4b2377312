"""Schemas of files that people write: JSON Schema, of which the part that such files need is checked here.

A schema says what a key means (``description``); a message about a wrong value ends with it, so that whoever reads the
message needs no manual.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Final

from allen_ecephys.errors import FileFormatError, suggest

Schema = dict[str, Any]

_KINDS: Final[dict[str, tuple[type, ...]]] = {
    "object": (dict,),
    "array": (list, tuple),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}
_NAMES: Final = {
    "object": "a table", "array": "a list", "string": "a text", "boolean": "true or false",
    "integer": "a whole number", "number": "a number",
}  # fmt: skip


def check(told: Any, schema: Schema, path: Path) -> None:
    """Raise what is wrong with the contents of a file, every fault on a line of its own.

    Raises
    ------
    FileFormatError
        If `told` is not what the schema describes; each line names file, key, what was found and what is needed.
    """
    try:
        faults = [f"{path}: {fault}" for fault in faults_of(told, schema)]
    except RecursionError as error:
        msg = f"{path} is nested too deeply to be read"
        raise FileFormatError(msg) from error
    if faults:
        raise FileFormatError("\n".join(faults))


def faults_of(told: Any, schema: Schema, key: str = "") -> Iterator[str]:
    """Yield what is wrong with a value: keys that are unknown or missing, and values of the wrong kind or range.

    Where the schema says nothing, too: numbers that are not finite, and texts that no file can hold.
    """
    kind = schema.get("type")
    if isinstance(told, float) and not math.isfinite(told):
        yield _fault(key, told, "a finite number", schema)
        return
    if isinstance(told, str) and not _is_text(told):
        yield _fault(key, told, "a text without NUL or halves of characters (surrogates)", schema)
        return
    if kind is not None and not _is(told, kind):
        yield _fault(key, told, _NAMES[kind], schema)
        return
    if "enum" in schema and told not in schema["enum"]:
        near = suggest(str(told), map(str, schema["enum"]))
        yield _fault(key, told, "one of " + ", ".join(map(repr, schema["enum"])) + near, schema)
    if "pattern" in schema and not re.search(schema["pattern"], told):
        yield _fault(key, told, schema.get("$comment", f"a text that matches {schema['pattern']}"), schema)
    yield from _wrong_size(told, schema, key)
    if isinstance(told, dict):
        yield from _wrong_keys(told, schema, key)
    if isinstance(told, list | tuple):
        for number, item in enumerate(told):
            yield from faults_of(item, schema.get("items", {}), f"{key}[{number}]")


def _wrong_keys(told: Mapping[str, Any], schema: Schema, key: str) -> Iterator[str]:
    known, others = schema.get("properties", {}), schema.get("additionalProperties", True)
    for name, value in told.items():
        shown = name if name.isprintable() else repr(name)
        inner = f"{key}.{shown}" if key else shown
        if not _is_text(name):
            yield f"{inner} is no key: it holds NUL or halves of characters (surrogates)"
        elif name in known:
            yield from faults_of(value, known[name], inner)
        elif others:
            yield from faults_of(value, others if isinstance(others, dict) else {}, inner)
        else:
            near = suggest(name, known) or f"; known are {', '.join(known)}."
            yield f"{inner} is no key{near} Remove it, or correct its name"
    for name in schema.get("required", ()):
        if name not in told:
            about = known.get(name, {}).get("description", "")
            yield f"{key + '.' if key else ''}{name} is missing: {about or 'add it'}"


def _wrong_size(told: Any, schema: Schema, key: str) -> Iterator[str]:
    rules: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
        ("minimum", lambda least: told >= least, "{} or more"),
        ("maximum", lambda most: told <= most, "{} or less"),
        ("exclusiveMinimum", lambda below: told > below, "more than {}"),
        ("minItems", lambda least: len(told) >= least, "{} values or more"),
        ("maxItems", lambda most: len(told) <= most, "{} values or fewer"),
        ("minLength", lambda least: len(told) >= least, "a text that is not empty"),
        ("maxLength", lambda most: len(told) <= most, "a text of {} characters or fewer"),
    )
    for rule, holds, words in rules:
        if rule in schema and not holds(schema[rule]):
            yield _fault(key, told, words.format(schema[rule]), schema)


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, _KINDS[kind])


def _is_text(value: str) -> bool:
    return "\0" not in value and not any("\ud800" <= character <= "\udfff" for character in value)


def _fault(key: str, told: Any, needed: str, schema: Schema) -> str:
    shown = repr(told) if len(repr(told)) <= 60 else repr(told)[:57] + "..."
    about = f" ({schema['description']})" if "description" in schema else ""
    return f"{key or 'the file'} is {shown}; needed is {needed}{about}"


def table(description: str, properties: Mapping[str, Schema], required: tuple[str, ...] = ()) -> Schema:
    """Return the schema of a table with these keys and no others."""
    made: Schema = {"type": "object", "description": description, "properties": dict(properties)}
    made["additionalProperties"] = False
    return made | ({"required": list(required)} if required else {})


def schema_of(parameters: Any, description: str, leave_out: tuple[str, ...] = ()) -> Schema:
    """Return the schema of a table that changes some of a dataclass's values; given is the instance of its defaults."""
    meanings = _meanings(type(parameters).__doc__ or "")
    properties = {}
    for field in fields(parameters):
        if field.name in leave_out:
            continue
        value = getattr(parameters, field.name)
        if is_dataclass(value):
            properties[field.name] = schema_of(value, meanings.get(field.name, field.name))
        else:
            about = {"description": meanings[field.name]} if field.name in meanings else {}
            properties[field.name] = _like(value) | about
    return table(description, properties)


def _like(value: Any) -> Schema:
    if isinstance(value, tuple):
        schema: Schema = {"type": "array", "minItems": len(value), "maxItems": len(value)}
        schema |= {"items": {"type": _like(value[0])["type"]}} if value else {}
        return schema | {"default": list(value)}
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string"}
    return {"type": kinds[type(value)], "default": value}


def _meanings(docstring: str) -> dict[str, str]:
    """Read what attributes mean from a numpydoc docstring; several may share a meaning."""
    found: dict[str, str] = {}
    names: list[str] = []
    for line in docstring.partition("----------\n")[2].splitlines():
        head = re.fullmatch(r" {4}(\w+(?:, \w+)*)", line)
        if head:
            names = head[1].split(", ")
        elif line.startswith(" " * 8):
            for name in names:
                found[name] = f"{found.get(name, '')} {line.strip()}".strip()
        elif line.strip():
            names = []
    return {name: text.replace("``", "").rstrip(".") for name, text in found.items()}
