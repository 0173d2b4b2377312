"""What is wrong with a file that a person wrote: where, what was found, and what is needed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from allen_ecephys.errors import FileFormatError
from allen_ecephys.processing.pipeline.schema import check, faults_of, schema_of, table


@dataclass(frozen=True)
class Limits:
    """Limits.

    Attributes
    ----------
    low, high
        Of what passes,
        in Hz.
    name
        What it is called.

    Other
    -----
    not_a_field
        Nothing.
    """

    low: float = 1.0
    high: float = 2.0
    name: str = "x"
    pair: tuple[int, int] = (1, 2)
    on: bool = True
    n: int = 3


SCHEMA = table(
    "a file",
    {
        "n": {"type": "integer", "minimum": 1, "description": "how many"},
        "rate": {"type": "number", "exclusiveMinimum": 0},
        "kind": {"type": "string", "enum": ["left", "right"]},
        "name": {"type": "string", "minLength": 1, "pattern": "^[a-z]*$"},
        "items": {"type": "array", "maxItems": 2, "items": table("one", {"id": {"type": "integer"}}, ("id",))},
        "more": {"type": "object", "additionalProperties": {"type": "number", "maximum": 9}},
    },
    ("n",),
)


@pytest.mark.parametrize(
    ("told", "fault"),
    [
        ({}, "n is missing: how many"),
        ({"n": "3"}, "n is '3'; needed is a whole number (how many)"),
        ({"n": True}, "n is True; needed is a whole number (how many)"),
        ({"n": 1.0}, "n is 1.0; needed is a whole number (how many)"),
        ({"n": 0}, "n is 0; needed is 1 or more (how many)"),
        ({"n": 1, "rate": 0}, "rate is 0; needed is more than 0"),
        ({"n": 1, "rate": float("nan")}, "rate is nan; needed is a finite number"),
        ({"n": 1, "kind": "lefft"}, "kind is 'lefft'; needed is one of 'left', 'right'; did you mean 'left'?"),
        ({"n": 1, "name": ""}, "name is ''; needed is a text that is not empty"),
        ({"n": 1, "name": "A"}, "name is 'A'; needed is a text that matches ^[a-z]*$"),
        ({"n": 1, "items": [{}]}, "items[0].id is missing: add it"),
        (
            {"n": 1, "items": [{"id": 1}, {"id": 1, "x": 2}]},
            "items[1].x is no key; known are id. Remove it, or correct",
        ),
        ({"n": 1, "items": [{"id": 1}] * 3}, "needed is 2 values or fewer"),
        ({"n": 1, "items": {"id": 1}}, "items is {'id': 1}; needed is a list"),
        ({"n": 1, "more": {"a": 10}}, "more.a is 10; needed is 9 or less"),
        ({"n": 1, "nmae": "x"}, "nmae is no key; did you mean 'name'? Remove it, or correct its name"),
        ([1], "the file is [1]; needed is a table"),
    ],
)
def test_each_fault_names_key_found_and_needed(told: Any, fault: str) -> None:
    (found,) = faults_of(told, SCHEMA)
    assert fault in found
    assert found.startswith(("n", "rate", "kind", "name", "items", "more", "the file"))


def test_all_faults_come_at_once_with_their_file() -> None:
    with pytest.raises(FileFormatError) as caught:
        check({"n": "a", "rate": -1}, SCHEMA, Path("some.toml"))
    assert str(caught.value).splitlines() == [
        "some.toml: n is 'a'; needed is a whole number (how many)",
        "some.toml: rate is -1; needed is more than 0",
    ]
    check(
        {"n": 3, "rate": 2, "kind": "left", "name": "", "items": [], "more": {"b": 1.5}} | {"name": "b"}, SCHEMA, Path()
    )


def test_a_dataclass_tells_its_schema() -> None:
    found = schema_of(Limits(), "limits", leave_out=("n",))["properties"]
    assert found["low"] == {"type": "number", "default": 1.0, "description": "Of what passes, in Hz"}
    assert found["low"]["description"] == found["high"]["description"]
    assert found["pair"]["items"] == {"type": "integer"}
    assert found["pair"]["default"] == [1, 2]
    assert found["on"]["type"] == "boolean"
    assert "n" not in found
    assert "description" not in found["on"]
