"""The results file: one record for each (data set, seed, sorter, version), shared by processes that run at once."""

from __future__ import annotations

import fcntl
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "results"
FILE = RESULTS / "sorting.json"


def key_of(dataset: str, seed: int, sorter: str) -> str:
    """Return what a record is found by; the version is a part of the record and of its key."""
    return f"{dataset}|{seed}|{sorter}"


@contextmanager
def _locked() -> Iterator[None]:
    FILE.parent.mkdir(exist_ok=True)
    with (Path(tempfile.gettempdir()) / ".sorting-benchmark.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def read_results(file: Path = FILE) -> dict[str, Any]:
    """Return ``{"runs": {key: record}, "datasets": {name|seed: facts}}``."""
    if not file.exists():
        return {"runs": {}, "datasets": {}}
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def add_result(key: str, record: dict[str, Any], dataset: str, facts: dict[str, Any], file: Path = FILE) -> None:
    """Add or replace one record; the facts of its data set go in once."""
    with _locked():
        found = read_results(file)
        found["runs"][f"{key}|{record['version']}"] = record
        found["datasets"][dataset] = facts
        temporary = file.with_suffix(".json.new")
        temporary.write_text(_compact(found))
        temporary.rename(file)


def _compact(found: dict[str, Any]) -> str:
    """One line a record: small enough to read, and a change touches one line."""
    parts = []
    for section in ("datasets", "runs"):
        lines = [f"  {json.dumps(key)}: {json.dumps(found[section][key])}" for key in sorted(found[section])]
        parts.append(f'"{section}": {{\n' + ",\n".join(lines) + "\n}")
    return "{\n" + ",\n".join(parts) + "\n}\n"
