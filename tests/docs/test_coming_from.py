"""The tables from old names to new: what they name here is here, and what they name there is what `migrate` knows."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import click
import pytest

from allen_ecephys import EcephysProjectCache, EcephysSession
from allen_ecephys.cli import main
from allen_ecephys.cli.migrate import MODULES, migrated_code

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "coming_from_allensdk.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("| ")]


def section(title: str) -> str:
    return re.split(r"^#+ ", PAGE.partition(title)[2], maxsplit=1, flags=re.MULTILINE)[0]


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(allen_ecephys(?:\.\w+)+)", PAGE))))
def test_new_names_are_there(name: str) -> None:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute)


@pytest.mark.parametrize("old", sorted(set(re.findall(r"^\| `(allensdk[\w.]+)`", PAGE, re.MULTILINE))))
def test_old_imports_are_rewritten_to_what_the_table_says(old: str) -> None:
    [new] = [re.findall(r"`(allen_ecephys[\w.]+)", row[1])[0] for row in ROWS if row[0] == f"`{old}`"]
    package, _, last = old.rpartition(".")
    if last.startswith("plot_"):  # a function, not a module
        code, to_look_at = migrated_code(f"from {package} import {last}\n")
        expected = [f"from {new.rpartition('.')[0]} import {last}\n"]
    else:
        code, to_look_at = migrated_code(f"import {old}\n")
        expected = [f"import {new}\n", f"import {new.removesuffix('.' + last)}\n"]
    assert to_look_at == []
    assert code in expected


def test_every_module_that_migrate_knows_is_in_the_table() -> None:
    assert [old for old in MODULES if f"`{old}" not in PAGE and old != "allensdk.brain_observatory.ecephys"] == []


@pytest.mark.parametrize("name", re.findall(r"`(\w+)`", section("## Calls that are the same")))
def test_calls_that_are_the_same_are_there(name: str) -> None:
    assert hasattr(EcephysSession, name) or hasattr(EcephysProjectCache, name)


def test_commands_are_there() -> None:
    process = main.commands["process"]
    assert isinstance(process, click.Group)
    named = re.findall(r"`process ([\w-]+)`", PAGE)
    assert named
    assert [name for name in named if name not in process.commands] == []
