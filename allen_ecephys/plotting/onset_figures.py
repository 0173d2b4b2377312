"""Spikes around stimulus onset: rasters, firing rates, counts as an image."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidValueError
from ..stimulus.trials import ALIGNED_TIME
from .canvas import INK, MARK, axes_or_new, edges_between, line_looks, rates_of_unit, require_rates

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

#: So many lines can be told apart; more rates are drawn as an image.
MOST_LINES = 12

#: So many rows of an image are named; of more, evenly chosen ones.
MOST_NAMES = 40


def plot_raster(
    spikes: pd.DataFrame,
    ax: Axes | None = None,
    *,
    row_ids: ArrayLike | None = None,
    rows: str = "unit_id",
    time: str | None = None,
    size: float = 0.9,
) -> Axes:
    """Draw a tick for each spike, in a row for each unit or trial.

    Parameters
    ----------
    spikes
        Rows of :meth:`~.EcephysSession.presentationwise_spike_times`.
    ax
        Where to draw; default a new figure.
    row_ids
        The units (or trials) that were asked for, the first at the bottom: each has its row, also without a spike, and
        spikes of others are not drawn. A table of spikes does not know those without a spike; so by default there
        is a row for each id with a spike, in ascending order, and the label of the axis says so.
    rows
        Column that decides the row of a spike: ``unit_id``, or ``stimulus_presentation_id`` for trials of one unit.
    time
        Column of times (s); default ``time_since_stimulus_presentation_onset`` for trials, the spike time for units.
    size
        Height of a tick, in rows.

    Raises
    ------
    InvalidValueError
        If ``row_ids`` names one twice, or none of those that have spikes.

    Examples
    --------
    >>> flashes = session.get_stimulus_table("flashes").index
    >>> unit = session.units["firing_rate"].idxmax()
    >>> spikes = session.presentationwise_spike_times(flashes, [unit])
    >>> ax = plot_raster(spikes, row_ids=flashes, rows="stimulus_presentation_id")
    >>> ax.get_xlabel()
    'time from stimulus onset (s)'
    """
    onset = "time_since_stimulus_presentation_onset"
    if time is None:
        time = onset if rows != "unit_id" else None
    times = spikes.index.to_numpy() if time is None else spikes[time].to_numpy()
    ids, places = raster_rows(spikes[rows].to_numpy(), row_ids)
    times, places = times[places >= 0], places[places >= 0]
    ax = axes_or_new(ax)
    ax.vlines(times, places - size / 2, places + size / 2, color=INK, linewidth=0.6)
    ax.set_ylim(-0.5, max(len(ids), 1) - 0.5)
    if time == onset:
        ax.axvline(0, color=MARK, linewidth=0.8)
    ax.set_xlabel("time from stimulus onset (s)" if time == onset else "time (s)")
    label = "unit" if rows == "unit_id" else "trial" if rows.endswith("_id") else rows
    ax.set_ylabel(label if row_ids is not None else f"{label} with spikes")
    if 0 < len(ids) <= 20 and rows == "unit_id":
        ax.set_yticks(range(len(ids)), [str(v) for v in ids], fontsize="x-small")
    return ax


def raster_rows(of_spikes: np.ndarray, row_ids: ArrayLike | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the id of each row of a raster, and the row of each spike (-1: of none of them).

    Parameters
    ----------
    of_spikes
        The id that each spike belongs to.
    row_ids
        Ids asked for, a row each in this order; None for those that have spikes, ascending.

    Raises
    ------
    InvalidValueError
        If one is asked for twice, or there are spikes and none of them is of an id asked for.
    """
    import pandas as pd

    ids = pd.Index(np.unique(of_spikes) if row_ids is None else np.atleast_1d(np.asarray(row_ids)))
    if not ids.is_unique:
        msg = f"each row of a raster is drawn once; asked for twice: {', '.join(map(str, ids[ids.duplicated()][:5]))}"
        raise InvalidValueError(msg)
    places = ids.get_indexer(of_spikes)
    if len(places) and (places < 0).all():
        held = ", ".join(map(str, np.unique(of_spikes)[:5]))
        msg = (
            f"none of the {len(ids)} rows asked for has a spike here; the spikes are of {held}, ...: are they its ids?"
        )
        raise InvalidValueError(msg)
    return ids.to_numpy(), places


def plot_psth(psth: xr.Dataset, ax: Axes | None = None, *, unit_id: int | None = None) -> Axes:
    """Draw firing rates around stimulus onset with their standard error, or, of many units, as an image.

    Parameters
    ----------
    psth
        What :meth:`~.EcephysSession.psth` returned. Each unit, or each group of one unit, is a line; more
        than 12 are rows of an image (:func:`plot_spike_counts`), which has no standard errors. Averages over units
        are drawn, too; their band is the ``sem`` of a Dataset of ``rate`` and ``sem`` over these units.
    ax
        Where to draw; default a new figure.
    unit_id
        Draw this unit only. Needed where the result has groups.

    Raises
    ------
    UnknownIdError
        If the result lacks the unit.
    InvalidTypeError
        If the id is no whole number, or there are no rates.
    InvalidValueError
        If it holds nothing to draw, or several units and groups of which no unit is chosen.

    Warns
    -----
    UserWarning
        If units were averaged together with their ``sem``: the average of standard errors of units is the standard
        error of nothing, and no band is drawn.

    Examples
    --------
    >>> psth = session.psth(np.arange(-0.1, 0.4, 0.01), "flashes", session.units.index[:3], smoothing=0.01)
    >>> ax = plot_psth(psth)
    >>> ax.get_ylabel()
    'firing rate (Hz)'
    """
    require_rates(psth, "this histogram")
    if unit_id is not None:
        psth = rates_of_unit(psth, unit_id, "this histogram")
    psth = psth.squeeze("unit_id") if psth.sizes.get("unit_id") == 1 else psth
    lines = [str(d) for d in psth["rate"].dims if d != ALIGNED_TIME]
    _check_drawable(psth["rate"], lines)
    if lines and psth.sizes[lines[0]] > MOST_LINES:
        return plot_spike_counts(psth["rate"], ax, label="firing rate (Hz)")
    sem = _standard_error(psth)
    ax = axes_or_new(ax)
    time = psth[ALIGNED_TIME].to_numpy()
    levels: Any = psth[lines[0]].to_numpy() if lines else np.zeros(1)
    looks = line_looks(levels.astype(str) if lines == ["unit_id"] else levels)
    for i, look in enumerate(looks):
        rate = psth["rate"].isel({lines[0]: i} if lines else {}).to_numpy()
        ax.plot(time, rate, linewidth=1.2, label=_named(levels[i]) if lines else None, **look)
        if sem is not None:
            error = sem.isel({lines[0]: i} if lines else {}).to_numpy()
            ax.fill_between(time, rate - error, rate + error, color=look["color"], alpha=0.25, linewidth=0)
    if time.min() < 0 < time.max():
        ax.axvline(0, color="0.5", linewidth=0.8, linestyle=":")
    if len(looks) > 1:
        ax.legend(title=lines[0].replace("_", " "), fontsize="x-small", title_fontsize="x-small", frameon=False)
    ax.set_xlabel("time from stimulus onset (s)")
    ax.set_ylabel("firing rate (Hz)")
    ax.set_ylim(bottom=0)
    return ax


def _check_drawable(rate: xr.DataArray, lines: list[str]) -> None:
    if not rate.size:
        held = ", ".join(f"{size} {name}" for name, size in rate.sizes.items())
        msg = f"there is nothing to draw: this histogram holds {held}"
        raise InvalidValueError(msg)
    if len(lines) > 1:
        units = f"{rate.sizes['unit_id']} units and groups" if "unit_id" in lines else "groups"
        others = " and of ".join(name for name in lines if name != "unit_id")
        choose = "one unit" if "unit_id" in lines else f"one {lines[0]} with .sel"
        msg = f"choose {choose}: this histogram has {units} of {others}"
        raise InvalidValueError(msg)


def _standard_error(psth: xr.Dataset) -> xr.DataArray | None:
    """Return the standard error of the rates; None where there is none, or what is called so is an average of them."""
    if "sem" not in psth:
        return None
    # What psth counts goes along with whatever is done to the whole of it, such as an average over units.
    if "unit_id" not in psth.coords and "presentation_count" in psth:
        msg = (
            "no band is drawn: the sem of this histogram is an average of the standard errors of units, not the "
            "standard error of their average. Average rate alone, and draw "
            "xarray.Dataset({'rate': rates.mean(), 'sem': rates.std(ddof=1) / rates.count() ** 0.5}), where rates is "
            "psth['rate'].groupby('ecephys_structure_acronym')"
        )
        warnings.warn(msg, UserWarning, stacklevel=3)
        return None
    return psth["sem"]


def _named(level: Any) -> str:
    """Return a value of a coordinate as a legend or an axis names it."""
    return f"{level:g}" if isinstance(level, (float, np.floating)) else str(level)


def plot_spike_counts(counts: xr.DataArray, ax: Axes | None = None, *, label: str | None = None) -> Axes:
    """Draw counts or rates as an image of time against units (or trials), with a colour bar.

    Parameters
    ----------
    counts
        Two dimensions, one of them ``time_relative_to_stimulus_onset``: for instance the mean over presentations of
        :meth:`~.EcephysSession.presentationwise_spike_counts`, or ``rate`` of :meth:`~.EcephysSession.psth`.
    ax
        Where to draw; default a new figure.
    label
        What the colour says; default the array's name and unit.

    Raises
    ------
    InvalidValueError
        If there are other dimensions, or nothing to draw.

    Examples
    --------
    >>> units = session.units.index[:3]
    >>> counts = session.presentationwise_spike_counts(np.arange(0, 0.3, 0.01), "flashes", units)
    >>> ax = plot_spike_counts(counts.mean("stimulus_presentation_id"), label="mean spikes")
    >>> ax.get_xlabel()
    'time from stimulus onset (s)'
    """
    others = [str(d) for d in counts.dims if d != ALIGNED_TIME]
    if len(others) != 1 or ALIGNED_TIME not in counts.dims:
        held = ", ".join(map(str, counts.dims))
        msg = f"counts must have the dimensions {ALIGNED_TIME} and one other; they have {held}"
        raise InvalidValueError(msg)
    _check_drawable(counts, others)
    ax = axes_or_new(ax)
    values = counts.transpose(others[0], ALIGNED_TIME)
    edges = edges_between(values[ALIGNED_TIME].to_numpy())
    image = ax.pcolormesh(edges, np.arange(values.shape[0] + 1) - 0.5, values.to_numpy(), cmap="magma", rasterized=True)
    unit = f" ({counts.attrs['units']})" if "units" in counts.attrs else ""
    name = str(counts.name or "spike count").replace("_", " ")
    ax.figure.colorbar(image, ax=ax, label=label or f"{name}{unit}")
    if edges[0] < 0 < edges[-1]:
        ax.axvline(0, color="white", linewidth=0.8, linestyle=":")
    ax.set_xlabel("time from stimulus onset (s)")
    row = others[0].removesuffix("_id").replace("_", " ")
    if others[0] not in values.coords or others[0].endswith("_id"):
        ax.set_ylabel(f"{row} (row)")
        return ax
    levels = values[others[0]].to_numpy()
    shown = range(0, len(levels), -(-len(levels) // MOST_NAMES))
    ax.set_yticks(shown, [_named(levels[place]) for place in shown], fontsize="x-small")
    ax.set_ylabel(row)
    return ax
