"""What every figure starts from: axes, colours that everyone can tell apart, borders between centres."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidTypeError, missing_extra
from ..ids import one_unit

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

#: Library, extra that brings it, and what needs it.
MATPLOTLIB = ("matplotlib", "plot", "allen_ecephys.plotting")

#: Colours that people with any colour vision tell apart (Okabe & Ito 2008, "Color Universal Design"), darkest first.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#F0E442")

#: What is there, what is left out, and what marks a bound or an onset.
INK, SHOWN, HIDDEN, MARK = "#1f2d3d", "#0072B2", "#c9d2da", "#D55E00"

#: At most this many points of a long series are drawn; more would be thinner than a pixel.
MOST_POINTS = 20_000


def new_axes(**figure: Any) -> Axes:
    """Return the axes of a new figure of pyplot; keywords go to ``plt.subplots``.

    Examples
    --------
    >>> ax = new_axes(figsize=(4, 2))
    >>> ax.figure.get_size_inches()
    array([4., 2.])
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise missing_extra(*MATPLOTLIB) from error
    axes: Axes = plt.subplots(layout="constrained", **figure)[1]
    return axes


def axes_or_new(ax: Axes | None) -> Axes:
    """Return the axes of the caller, or those of a new figure."""
    return new_axes() if ax is None else ax


#: What sets lines apart that share a colour.
LINE_STYLES = ("-", "--", ":", "-.")


def line_looks(levels: Any) -> list[dict[str, Any]]:
    """Return colour and style of each line: along a scale where `levels` are more than two numbers, else set apart.

    Of lines that are set apart, up to 32 differ: in colour, and in style once the colours are used up.
    """
    values = np.asarray(levels)
    if len(values) > 2 and np.issubdtype(values.dtype, np.number):
        import matplotlib as mpl

        return [
            {"color": color, "linestyle": "-"} for color in mpl.colormaps["viridis"](np.linspace(0, 0.9, len(values)))
        ]
    return [
        {"color": COLORS[i % len(COLORS)], "linestyle": LINE_STYLES[i // len(COLORS) % len(LINE_STYLES)]}
        for i in range(len(values))
    ]


def require_rates(result: Any, where: str) -> None:
    """Refuse what holds no rates; `where` names what is drawn, as in "this histogram".

    Raises
    ------
    InvalidTypeError
        Unless it is a Dataset with ``rate``.
    """
    import xarray as xr

    if not isinstance(result, xr.Dataset) or "rate" not in result:
        of = f" of {', '.join(map(str, result))}" if isinstance(result, xr.Dataset) else ""
        msg = f"{where} must be a Dataset that holds rate, as the call returned it; got a {type(result).__name__}{of}"
        raise InvalidTypeError(msg)


def rates_of_unit(result: xr.Dataset, unit_id: Any, where: str) -> xr.Dataset:
    """Return what a result with rates holds of one unit.

    Raises
    ------
    InvalidTypeError
        If it holds no rates, or the id is no whole number.
    UnknownIdError
        If it lacks the unit.
    """
    require_rates(result, where)
    chosen = one_unit(unit_id, result["unit_id"] if "unit_id" in result.coords else (), where)
    return result.sel(unit_id=chosen) if "unit_id" in result.dims else result


def edges_between(centres: np.ndarray) -> np.ndarray:
    """Return the borders between evenly or unevenly spaced centres, and the two outer ones."""
    if len(centres) < 2:
        return np.array([centres[0] - 0.5, centres[0] + 0.5])
    between = (centres[:-1] + centres[1:]) / 2
    first, last = centres[0] - (between[0] - centres[0]), centres[-1] + (centres[-1] - between[-1])
    return np.concatenate(([first], between, [last]))
