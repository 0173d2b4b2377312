"""What came of a build, a verification or an export, file by file."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from allen_ecephys.files import write_atomically

Outcome = Literal[
    "present", "fetched", "verified", "unchanged", "unverified", "repaired", "local", "exported", "damaged", "failed"
]  # fmt: skip

BAD: frozenset[Outcome] = frozenset({"damaged", "failed"})


@dataclass(frozen=True)
class FileReport:
    """What came of one file."""

    key: str
    outcome: Outcome
    bytes: int = 0
    message: str = ""


@dataclass
class Report:
    """What came of a build, a verification or an export; :meth:`write` keeps it as JSON."""

    action: str
    root: Path
    files: list[FileReport] = field(default_factory=list)

    @property
    def failures(self) -> list[FileReport]:
        """The files that are not as they should be."""
        return [file for file in self.files if file.outcome in BAD]

    @property
    def ok(self) -> bool:
        """Whether every file is as it should be."""
        return not self.failures

    def count(self, outcome: Outcome) -> int:
        """Return the number of files with an outcome."""
        return sum(file.outcome == outcome for file in self.files)

    def as_dict(self) -> dict[str, Any]:
        """Return the report for JSON."""
        outcomes = sorted({file.outcome for file in self.files})
        return {
            "action": self.action,
            "root": str(self.root),
            "ok": self.ok,
            "counts": {outcome: self.count(outcome) for outcome in outcomes},
            "bytes": {outcome: sum(f.bytes for f in self.files if f.outcome == outcome) for outcome in outcomes},
            "files": [
                {"key": f.key, "outcome": f.outcome, "bytes": f.bytes} | ({"message": f.message} if f.message else {})
                for f in self.files
            ],
        }

    def write(self, path: Path) -> None:
        """Write the report as JSON, in one step."""
        write_atomically(Path(path), json.dumps(self.as_dict(), indent=1).encode())

    def __repr__(self) -> str:
        counts = ", ".join(f"{number} {outcome}" for outcome, number in self.as_dict()["counts"].items())
        return f"{self.action} of {self.root}: {counts or 'no files'}"
