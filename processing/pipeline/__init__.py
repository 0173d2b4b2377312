"""Stages on files: whole or absent, with manifests, reused when nothing they depend on changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allen_ecephys.lazy_names import lazy_names

if TYPE_CHECKING:
    from .stages import Stage, StageResult, read_manifest, verify_stage

__all__ = [
    "Stage",
    "StageResult",
    "read_manifest",
    "verify_stage",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Stage": ".stages",
        "StageResult": ".stages",
        "read_manifest": ".stages",
        "verify_stage": ".stages",
    },
)
