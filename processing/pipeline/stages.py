"""Stages on files: each writes one folder, which appears complete, with a manifest, or not at all.

A stage writes into ``<name>.tmp-<host>-<pid>-<random>``; when its work is done every output is flushed and hashed, the
manifest ``stage.json`` is written last, and the folder is renamed. A run that finds a manifest with the same inputs,
parameters and program reuses the folder.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from allen_ecephys.errors import StageError

from .outputs import flush_entry, flush_to_disk

logger = logging.getLogger(__name__)

MANIFEST: Final = "stage.json"
Json = dict[str, Any]


@dataclass(frozen=True)
class StageResult:
    """A finished stage.

    Attributes
    ----------
    folder
        Its outputs.
    reused
        Whether an earlier run had made them.
    manifest
        What ``stage.json`` holds; ``manifest["report"]`` is what the stage counted.
    """

    folder: Path
    reused: bool
    manifest: Json

    @property
    def report(self) -> Json:
        """What the stage counted."""
        return dict(self.manifest["report"])


def run_stage(
    folder: str | os.PathLike[str],
    name: str,
    work: Callable[[Path], Mapping[str, Any]],
    *,
    inputs: Sequence[str | os.PathLike[str]],
    parameters: Mapping[str, Any],
) -> StageResult:
    """Run a stage, or reuse what an earlier run of the same stage left.

    Parameters
    ----------
    folder
        Folder of the probe; the stage makes a folder `name` in it.
    work
        Writes the outputs into the folder it is given, and returns what it counted (as JSON can hold).
    inputs
        Files, or folders of earlier stages, that the result depends on.
    parameters
        Everything else that the result depends on, seeds included.

    Raises
    ------
    StageError
        If the stage's folder holds something that no stage wrote.
    """
    place = Path(folder)
    target = place / name
    key = stage_identity(name, inputs, parameters)
    found = _finished(target, key)
    if found is not None:
        logger.info("%s: reusing the outputs in %s", name, target)
        return StageResult(target, reused=True, manifest=found)
    if target.exists() and not (target / MANIFEST).exists() and any(target.iterdir()):
        msg = f"{target} holds files but no {MANIFEST}; no stage wrote it. Move it away, or name another folder."
        raise StageError(msg)
    place.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(place, name)
    temporary = place / f"{name}.tmp-{platform.node()}-{os.getpid()}-{uuid4().hex[:8]}"
    temporary.mkdir()
    try:
        report = dict(work(temporary))
        manifest = {**key, "report": report, "outputs": _outputs(temporary), "made_by": _made_by()}
        flush_to_disk(temporary)
        (temporary / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True), encoding="utf-8")
        flush_entry(temporary / MANIFEST)
        flush_entry(temporary)
        return _publish(temporary, target, key, manifest)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def read_manifest(folder: str | os.PathLike[str]) -> Json | None:
    """Return the manifest of a stage's folder, or None if the stage is not finished."""
    try:
        manifest = json.loads((Path(folder) / MANIFEST).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) and "outputs" in manifest else None


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
        if not path.is_file() or path.stat().st_size != facts["size"] or _sha256(path) != facts["sha256"]:
            damaged.append(name)
    return damaged


def stage_identity(name: str, inputs: Sequence[str | os.PathLike[str]], parameters: Mapping[str, Any]) -> Json:
    """Return all that a stage's outputs depend on, as its manifest holds it: equal identities, equal outputs."""
    from allen_ecephys.version import __version__

    key = {
        "stage": name,
        "version": __version__,
        "parameters": dict(parameters),
        "inputs": [_input_identity(Path(path)) for path in inputs],
    }
    return dict(json.loads(json.dumps(key)))  # as it will be read back: tuples are lists, keys are text


def _input_identity(path: Path) -> Json:
    """Tell one state of an input: size and time of a file (raw files are too big to hash), the manifest of a stage."""
    manifest = path / MANIFEST
    if path.is_dir() and manifest.exists():
        return {"name": path.name, "sha256": hashlib.sha256(manifest.read_bytes()).hexdigest()}
    facts = path.stat()
    return {"name": path.name, "size": facts.st_size, "mtime_ns": facts.st_mtime_ns}


def _finished(target: Path, key: Json) -> Json | None:
    manifest = read_manifest(target)
    if manifest is None or any(manifest.get(name) != value for name, value in key.items()):
        return None
    for name, facts in manifest["outputs"].items():
        path = target / name
        if not path.is_file() or path.stat().st_size != facts["size"]:
            logger.warning("%s is missing or has another size than its manifest says; the stage runs again", path)
            return None
    return manifest


def _publish(temporary: Path, target: Path, key: Json, manifest: Json) -> StageResult:
    """Rename to the final name; where another process has finished the same stage meanwhile, take its outputs."""
    old = None
    if target.exists():
        done = _finished(target, key)
        if done is not None:
            return StageResult(target, reused=True, manifest=done)
        old = target.with_name(f"{target.name}.tmp-{platform.node()}-{os.getpid()}-{uuid4().hex[:8]}")
        target.replace(old)
    try:
        temporary.replace(target)
    except OSError:
        done = _finished(target, key)
        if done is None:
            raise
        return StageResult(target, reused=True, manifest=done)
    finally:
        if old is not None:
            shutil.rmtree(old, ignore_errors=True)
    flush_entry(target.parent)
    return StageResult(target, reused=False, manifest=manifest)


def _remove_abandoned(place: Path, name: str) -> None:
    """Delete what processes of this machine left when they were killed: it can be as large as the recording."""
    prefix = f"{name}.tmp-{platform.node()}-"
    for folder in place.glob(f"{name}.tmp-*"):
        owner = folder.name.removeprefix(prefix).partition("-")[0]
        if folder.name.startswith(prefix) and owner.isdigit() and not _alive(int(owner)):
            logger.warning("removing %s, which a process that is gone left unfinished", folder)
            shutil.rmtree(folder, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _outputs(folder: Path) -> Json:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): {"size": path.stat().st_size, "sha256": _sha256(path)} for path in files}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _made_by() -> Json:
    import numba
    import numpy

    return {
        "host": platform.node(),
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "numba": numba.__version__,
    }
