"""The former home of :func:`allen_ecephys.processing.sort_raw`; import it from there."""

from __future__ import annotations

import warnings
from typing import Any

from allen_ecephys.lazy_names import lazy_names

_forward, __dir__ = lazy_names(
    __name__,
    {"SortedProbe": "allen_ecephys.processing.stages.probe", "sort_raw": "allen_ecephys.processing.stages.probe"},
)


def __getattr__(name: str) -> Any:
    value = _forward(name)
    warnings.warn(
        f"{__name__}.{name} has moved: from allen_ecephys.processing import {name}", DeprecationWarning, stacklevel=2
    )
    return value
