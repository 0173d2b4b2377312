"""One HTML page of :func:`.compare_sortings`: what became of the published units, and what is new."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from allen_ecephys.errors import missing_extra
from allen_ecephys.files import write_atomically

from .comparison import LOST, MATCHED, NEW, PARTIAL, QUANTITIES

if TYPE_CHECKING:
    import os

    import pandas as pd

    from .comparison import SortingComparison

#: Columns of the page's tables: names in the comparison -> headings.
_PUBLISHED = {
    "found_unit": "found unit", "agreement": "agreement", "spikes": "spikes", "found_spikes": "its spikes",
    "share_found": "share of spikes found", "share_of_found": "share of found unit's",
    "probe_vertical_position": "depth (um)", "waveform_amplitude": "amplitude (uV)", "firing_rate": "rate (Hz)",
    "snr": "SNR", "passes_filter": "passes filter",
}  # fmt: skip
_FOUND = {
    "published_unit": "nearest published unit", "agreement": "agreement", "spikes": "spikes",
    "probe_vertical_position": "depth (um)", "waveform_amplitude": "amplitude (uV)", "firing_rate": "rate (Hz)",
    "snr": "SNR", "passes_filter": "passes filter",
}  # fmt: skip


def write_comparison_page(
    comparison: SortingComparison, path: str | os.PathLike[str], *, title: str = "Published and found units"
) -> Path:
    """Write a comparison as one HTML page, and return its path.

    Parameters
    ----------
    comparison
        What :func:`.compare_sortings` found.
    path
        File to write; an older one is replaced.
    title
        Heading of the page.

    Raises
    ------
    MissingExtraError
        If jinja2 is not installed.
    AccessError, DiskFullError
        If the file cannot be written.

    Examples
    --------
    >>> write_comparison_page(comparison, "comparison.html")  # doctest: +SKIP
    """
    try:
        import jinja2
    except ImportError as error:
        raise missing_extra(library="jinja2", extra="report", purpose="the page of a comparison") from error
    template = (files(__package__) / "comparison_page.html").read_text(encoding="utf-8")
    page = jinja2.Environment(autoescape=True).from_string(template).render(_contents(comparison, title))
    write_atomically(Path(path), page, durable=False)
    return Path(path)


def _contents(comparison: SortingComparison, title: str) -> dict[str, Any]:
    published, found = comparison.published, comparison.found
    matched = published[published["status"] == MATCHED]
    moved = comparison.movements()
    moved.insert(0, "unit", [QUANTITIES[quantity] for quantity in moved.index])
    return {
        "title": title,
        "counts": comparison.counts(),
        "left_out": comparison.spikes_left_out,
        "median": matched["agreement"].median(),
        "bars": _bars(published["agreement"].where(published["status"] == MATCHED, 0.0).to_numpy()),
        "moved": _table(moved, {name: name.replace("_", " ") for name in moved.columns}),
        "tables": [
            ("Matched", "by agreement, the least first", _table(matched.sort_values("agreement"), _PUBLISHED)),
            (
                "Lost",
                "the largest first, each with the found unit that holds most of its spikes",
                _table(_largest_first(published[published["status"] == LOST]), _PUBLISHED),
            ),
            ("New", "the largest first", _table(_largest_first(found[found["status"] == NEW]), _FOUND)),
            (
                "Partial",
                "found units that share spikes with a published one without being it: split, merged or cut units",
                _table(_largest_first(found[found["status"] == PARTIAL]), _FOUND),
            ),
        ],
    }


def _largest_first(table: pd.DataFrame) -> pd.DataFrame:
    by = "waveform_amplitude" if "waveform_amplitude" in table else "spikes"
    return table.sort_values(by, ascending=False)


def _bars(agreement: np.ndarray[Any, Any]) -> list[dict[str, Any]]:
    """Return the histogram of agreement as bars of a drawing of 200 by 100; units that are lost stand at 0."""
    counts, edges = np.histogram(agreement, bins=20, range=(0.0, 1.0))
    most = max(int(counts.max(initial=0)), 1)
    return [
        {"x": 10 * bar, "height": 100 * int(count) / most, "count": int(count), "begin": f"{edges[bar]:.2f}"}
        for bar, count in enumerate(counts)
    ]


def _table(table: pd.DataFrame, columns: dict[str, str]) -> dict[str, Any]:
    held = [name for name in columns if name in table]
    rows = [[index, *(_text(value) for value in row)] for index, *row in table[held].itertuples()]
    return {"headings": [columns[name] for name in held], "rows": rows}


def _text(value: Any) -> str:
    import pandas as pd

    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    if pd.isna(value):
        return ""
    return f"{value:.3g}" if isinstance(value, float) and abs(value) < 1e4 else f"{value:,.0f}"
