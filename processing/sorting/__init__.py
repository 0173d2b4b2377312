"""Spike sorting: the native sorter, those of SpikeInterface, and the phy folder that each leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allen_ecephys.lazy_names import lazy_names

if TYPE_CHECKING:
    from .agreement import Agreement, agreement_of
    from .comparison import SortingComparison, compare_sortings
    from .comparison_page import write_comparison_page
    from .parameters import SortingParameters
    from .phy_output import write_phy
    from .result import SortingResult
    from .sorters import available_sorters, run_sorter

__all__ = [
    "Agreement",
    "SortingComparison",
    "SortingParameters",
    "SortingResult",
    "agreement_of",
    "available_sorters",
    "compare_sortings",
    "run_sorter",
    "write_comparison_page",
    "write_phy",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Agreement": ".agreement",
        "SortingComparison": ".comparison",
        "SortingParameters": ".parameters",
        "SortingResult": ".result",
        "agreement_of": ".agreement",
        "available_sorters": ".sorters",
        "compare_sortings": ".comparison",
        "run_sorter": ".sorters",
        "write_comparison_page": ".comparison_page",
        "write_phy": ".phy_output",
    },
)
