"""Progress bars, in one place, so that one setting turns them all on or off."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .config import show_progress

if TYPE_CHECKING:
    from tqdm import tqdm


def progress_bar(
    iterable: Iterable[Any] | None = None,
    *,
    total: float | None = None,
    desc: str = "",
    unit: str = "it",
    **layout: Any,
) -> tqdm[Any]:
    """Return a tqdm bar that is silent outside terminals and notebooks (see :func:`config.show_progress`).

    Parameters
    ----------
    iterable, total, desc, unit
        As in tqdm. ``unit="B"`` scales to kB, MB, GB.
    layout
        Passed on to tqdm (``position``, ``leave``, ``initial``).
    """
    with warnings.catch_warnings():
        # Where ipywidgets is missing, tqdm draws its bar as text and says so; that is all a user needs.
        warnings.filterwarnings("ignore", message="IProgress not found")
        from tqdm.auto import tqdm

    if unit == "B":
        layout = {"unit_scale": True, "unit_divisor": 1000, "miniters": 1, **layout}
    return tqdm(iterable, total=total, desc=desc, unit=unit, disable=not show_progress(), **layout)
