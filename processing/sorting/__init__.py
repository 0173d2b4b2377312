"""Spike sorting: the native sorter, those of SpikeInterface, and the phy folder that each leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allen_ecephys.lazy_names import lazy_names

if TYPE_CHECKING:
    from .parameters import SortingParameters
    from .phy_output import write_phy
    from .result import SortingResult
    from .sorters import available_sorters, run_sorter

__all__ = [
    "SortingParameters",
    "SortingResult",
    "available_sorters",
    "run_sorter",
    "write_phy",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "SortingParameters": ".parameters",
        "SortingResult": ".result",
        "available_sorters": ".sorters",
        "run_sorter": ".sorters",
        "write_phy": ".phy_output",
    },
)
