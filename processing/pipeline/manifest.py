"""Manifests of stages: what ``stage.json`` holds, and whether the outputs beside it are still what it says."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final, cast

from allen_ecephys.errors import FileFormatError, StageError
from allen_ecephys.files import read_json

from .digests import content_digest, sha256

MANIFEST: Final = "stage.json"
Json = dict[str, Any]


def read_manifest(folder: str | os.PathLike[str]) -> Json | None:
    """Return the manifest of a stage's folder, or None if the stage is not finished.

    One that is damaged is none: the stage runs again, and nothing is believed.

    Examples
    --------
    >>> read_manifest("recording") is None  # no stage was run here
    True
    """
    try:
        manifest = read_json(Path(folder) / MANIFEST)
    except (FileNotFoundError, NotADirectoryError, FileFormatError):
        return None
    return manifest if _is_manifest(manifest) else None


def _is_manifest(found: Any) -> bool:
    return (
        isinstance(found, dict)
        and isinstance(found.get("parameters"), dict)
        and _all(found.get("inputs"), list, _is_input)
        and _all(found.get("outputs"), dict, _is_output)
        and isinstance(report := found.get("report"), dict)
        and _all(report.get("linked", []), list, lambda name: isinstance(name, str))
        and is_cost(found.get("cost"))
    )


def is_cost(found: Any) -> bool:
    """Tell whether something is the cost of a stage; where the system does not tell, its memory is None."""
    return (
        isinstance(found, dict)
        and all(_is_amount(found.get(name)) for name in ("seconds", "cpu_seconds"))
        and (found.get("peak_memory_bytes") is None or _is_amount(found["peak_memory_bytes"]))
    )


def _all(found: Any, kind: type, fits: Callable[[Any], bool]) -> bool:
    """Tell whether something is a list or dict whose values all fit."""
    if not isinstance(found, kind):
        return False
    held: Iterable[Any] = found.values() if isinstance(found, dict) else cast("Iterable[Any]", found)
    return all(fits(one) for one in held)


def _is_input(found: Any) -> bool:
    return isinstance(found, dict) and isinstance(found.get("name"), str)


def _is_output(found: Any) -> bool:
    return (
        isinstance(found, dict)
        and isinstance(found.get("size"), int)
        and _is_amount(found["size"])
        and isinstance(found.get("sha256"), str)
    )


def _is_amount(found: Any) -> bool:
    return isinstance(found, int | float) and not isinstance(found, bool) and math.isfinite(found) and found >= 0


def changed_output(folder: Path, manifest: Json, editable: Iterable[str] = ()) -> str:
    """Say which output is missing or not as it was written, in words; empty if all are.

    Digests are noted beside the folder, so that only files whose size or times changed are read.

    Parameters
    ----------
    folder
        Of the stage.
    manifest
        Of that folder.
    editable
        Patterns of outputs that may have changed.
    """
    for name, facts in manifest["outputs"].items():
        path = folder / name
        if not path.is_file():
            return f"its output {name} is missing"
        if any(fnmatch(name, pattern) for pattern in editable):
            continue
        if path.stat().st_size != facts["size"] or content_digest(path, folder.parent) != facts["sha256"]:
            return f"its output {name} was changed since"
    return ""


def verify_stage(folder: str | os.PathLike[str]) -> list[str]:
    """Return the outputs of a finished stage that are missing or not the bytes that were written.

    Raises
    ------
    StageError
        If the folder holds no finished stage.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        msg = f"{folder} holds no finished stage ({MANIFEST} is missing or damaged); run the stage again"
        raise StageError(msg)
    outputs: Json = manifest["outputs"]
    damaged = []
    for name, facts in outputs.items():
        path = Path(folder) / name
        if not path.is_file() or path.stat().st_size != facts["size"] or sha256(path) != facts["sha256"]:
            damaged.append(name)
    return damaged
