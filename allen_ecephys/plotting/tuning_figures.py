"""What drives a unit: tuning curves and receptive fields."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UnknownNameError, suggest
from .canvas import SHOWN, axes_or_new, edges_between, rates_of_unit

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

#: Units of the stimulus parameters that have one.
PARAMETER_UNITS = {
    "orientation": "degrees",
    "Dir": "degrees",
    "temporal_frequency": "Hz",
    "spatial_frequency": "cycles/degree",
}


def plot_tuning_curve(
    responses: xr.Dataset, parameter: str, unit_id: int, ax: Axes | None = None, *, blank: bool = True
) -> Axes:
    """Draw the mean response of a unit against a stimulus parameter, with its standard error.

    Parameters
    ----------
    responses
        What :meth:`~.EcephysSession.responses` returned.
    parameter
        One of its coordinates, such as ``orientation``; responses are averaged over the other parameters.
    unit_id
        The unit.
    ax
        Where to draw; default a new figure.
    blank
        Draw the mean response to grey sweeps as a dashed line, where there are any.

    Raises
    ------
    UnknownIdError
        If the responses lack the unit.
    UnknownNameError
        If they have no such parameter.
    InvalidTypeError
        If the id is no whole number, or there are no rates.

    Examples
    --------
    >>> unit = int(session.units["firing_rate"].idxmax())
    >>> ax = plot_tuning_curve(session.responses("drifting_gratings"), "orientation", unit)
    >>> ax.get_xlabel()
    'orientation (degrees)'
    """
    rates = rates_of_unit(responses, unit_id, "these responses")["rate"]
    (trial,) = (d for d in rates.dims)
    known = [str(name) for name, held in responses.coords.items() if held.dims == (trial,) and name != trial]
    if parameter not in known:
        meant = suggest(parameter, known) or "."
        msg = f"these responses have no parameter {parameter!r}{meant} They have: {', '.join(known)}"
        raise UnknownNameError(msg)
    ax = axes_or_new(ax)
    rate = rates.to_numpy()
    values = responses[parameter].to_numpy()
    levels = sorted({v for v in values.tolist() if v == v})
    chosen = [rate[values == level] for level in levels]
    mean = np.array([c.mean() for c in chosen])
    sem = np.array([c.std(ddof=1) / np.sqrt(len(c)) if len(c) > 1 else np.nan for c in chosen])
    numeric = all(isinstance(level, (int, float)) for level in levels)
    x: Any = levels if numeric else range(len(levels))
    ax.errorbar(x, mean, yerr=sem, marker="o", markersize=4, linewidth=1.2, capsize=2, color=SHOWN)
    if len(levels) <= 12:
        ax.set_xticks(x, [f"{level:g}" if numeric else str(level) for level in levels])
    if blank and "is_blank" in responses.coords and responses["is_blank"].any():
        ax.axhline(
            rate[responses["is_blank"].to_numpy()].mean(), color="0.5", linestyle="--", linewidth=1, label="blank"
        )
        ax.legend(fontsize="x-small", frameon=False)
    ax.set_xlabel(parameter_label(parameter))
    ax.set_ylabel("firing rate (Hz)")
    ax.set_ylim(bottom=0)
    return ax


def parameter_label(parameter: str) -> str:
    """Return a stimulus parameter as an axis names it, with its unit."""
    unit = f" ({PARAMETER_UNITS[parameter]})" if parameter in PARAMETER_UNITS else ""
    return parameter.replace("_", " ") + unit


def plot_receptive_field(
    receptive_field: np.ndarray,
    ax: Axes | None = None,
    *,
    azimuths: np.ndarray | None = None,
    elevations: np.ndarray | None = None,
    label: str = "spikes",
) -> Axes:
    """Draw a receptive field as an image of the screen.

    Parameters
    ----------
    receptive_field
        Elevations x azimuths, row 0 at the top of the screen (as AllenSDK has it), e.g. 9 x 9.
    ax
        Where to draw; default a new figure.
    azimuths, elevations
        Centres of columns and rows (degrees); default those of the released Gabors, -40 to 40, and 40 down to -40.
    label
        What the colour says.

    Examples
    --------
    >>> from allen_ecephys.processing.stimulus_metrics import receptive_field
    >>> field = receptive_field(session, int(session.units["firing_rate"].idxmax()))
    >>> ax = plot_receptive_field(field.response, azimuths=field.azimuths, elevations=field.elevations)
    >>> ax.get_xlabel()
    'azimuth (degrees)'
    """
    ax = axes_or_new(ax)
    rows, columns = receptive_field.shape
    azimuths = np.linspace(-40, 40, columns) if azimuths is None else np.asarray(azimuths)
    elevations = np.linspace(40, -40, rows) if elevations is None else np.asarray(elevations)
    image = ax.pcolormesh(edges_between(azimuths), edges_between(elevations), receptive_field, cmap="viridis")
    ax.figure.colorbar(image, ax=ax, label=label, shrink=0.8)
    ax.set_aspect("equal")
    ax.set_xlabel("azimuth (degrees)")
    ax.set_ylabel("elevation (degrees)")
    return ax
