"""Stages on files: whole or absent, with manifests, reused when nothing they depend on changed; tasks that run them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allen_ecephys.lazy_names import lazy_names

if TYPE_CHECKING:
    from .log import read_log
    from .manifest import read_manifest, verify_stage
    from .stage import Stage, StageResult
    from .tasks import Task, TaskResult

__all__ = [
    "Stage",
    "StageResult",
    "Task",
    "TaskResult",
    "read_log",
    "read_manifest",
    "verify_stage",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Stage": ".stage",
        "StageResult": ".stage",
        "Task": ".tasks",
        "TaskResult": ".tasks",
        "read_log": ".log",
        "read_manifest": ".manifest",
        "verify_stage": ".manifest",
    },
)
