"""Small figures of a session: each function draws on an axes and returns it, and leaves style to the caller.

matplotlib comes with ``pip install 'allen-ecephys[plot]'``; it is imported when a figure is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidValueError, UnknownIdError, missing_extra
from ..stimulus.trials import ALIGNED_TIME

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

#: Library, extra that brings it, and what needs it.
MATPLOTLIB = ("matplotlib", "plot", "allen_ecephys.plotting")

#: Units of the stimulus parameters that have one.
PARAMETER_UNITS = {
    "orientation": "degrees",
    "Dir": "degrees",
    "temporal_frequency": "Hz",
    "spatial_frequency": "cycles/degree",
}

#: Distance between LFP traces, in standard deviations of the traces.
TRACE_SPACING = 4.0

#: At most this many points of a long series are drawn; more would be thinner than a pixel.
MOST_POINTS = 20_000


def new_axes(**figure: Any) -> Axes:
    """Return the axes of a new figure of pyplot; keywords go to ``plt.subplots``."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise missing_extra(*MATPLOTLIB) from error
    axes: Axes = plt.subplots(layout="constrained", **figure)[1]
    return axes


def _axes(ax: Axes | None) -> Axes:
    return new_axes() if ax is None else ax


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
    """
    onset = "time_since_stimulus_presentation_onset"
    if time is None:
        time = onset if rows != "unit_id" else None
    times = spikes.index.to_numpy() if time is None else spikes[time].to_numpy()
    ids, places = raster_rows(spikes[rows].to_numpy(), row_ids)
    times, places = times[places >= 0], places[places >= 0]
    ax = _axes(ax)
    ax.vlines(times, places - size / 2, places + size / 2, color="0.1", linewidth=0.6)
    ax.set_ylim(-0.5, max(len(ids), 1) - 0.5)
    if time == onset:
        ax.axvline(0, color="tab:red", linewidth=0.8)
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
    """Draw firing rates around stimulus onset with their standard error.

    Parameters
    ----------
    psth
        What :meth:`~.EcephysSession.psth` returned. Each unit, or each group of one unit, is a line.
    ax
        Where to draw; default a new figure.
    unit_id
        Draw this unit only. Needed where the result has groups.

    Raises
    ------
    UnknownIdError
        If the result lacks the unit.
    InvalidValueError
        If it has several units and groups, and no unit is chosen.
    """
    ax = _axes(ax)
    if unit_id is not None:
        if unit_id not in psth["unit_id"]:
            msg = f"unit {unit_id} is not in this histogram; it holds {psth.sizes['unit_id']} units"
            raise UnknownIdError(msg)
        psth = psth.sel(unit_id=[unit_id])
    lines = [str(d) for d in psth["rate"].dims if d != ALIGNED_TIME and (d != "unit_id" or psth.sizes["unit_id"] > 1)]
    if len(lines) > 1:
        msg = f"choose one unit: this histogram has {psth.sizes['unit_id']} units and groups of {lines[0]}"
        raise InvalidValueError(msg)
    time = psth[ALIGNED_TIME].to_numpy()
    psth = psth.squeeze("unit_id") if "unit_id" in psth["rate"].dims and psth.sizes["unit_id"] == 1 else psth
    count = psth.sizes[lines[0]] if lines else 1
    for i in range(count):
        line = psth.isel({lines[0]: i}) if lines else psth
        rate, sem = line["rate"].to_numpy(), line["sem"].to_numpy()
        label = str(line[lines[0]].item()) if lines else None
        (drawn,) = ax.plot(time, rate, linewidth=1.2, label=label)
        ax.fill_between(time, rate - sem, rate + sem, color=drawn.get_color(), alpha=0.25, linewidth=0)
    if time.min() < 0 < time.max():
        ax.axvline(0, color="0.5", linewidth=0.8, linestyle=":")
    if 1 < count <= 12:
        ax.legend(title=lines[0].replace("_", " "), fontsize="x-small", title_fontsize="x-small", frameon=False)
    ax.set_xlabel("time from stimulus onset (s)")
    ax.set_ylabel("firing rate (Hz)")
    ax.set_ylim(bottom=0)
    return ax


def plot_mean_waveforms(
    mean_waveforms: Mapping[int, xr.DataArray],
    unit_ids: Sequence[int],
    peak_channels: Mapping[int, int] | pd.Series[int],
    ax: Axes | None = None,
) -> Axes:
    """Draw the mean waveform of units on their peak channels.

    Parameters
    ----------
    mean_waveforms
        ``session.mean_waveforms``.
    unit_ids
        Units to draw.
    peak_channels
        Unit id -> channel id: ``session.units["peak_channel_id"]``.
    ax
        Where to draw; default a new figure.
    """
    ax = _axes(ax)
    for unit in unit_ids:
        waveform = mean_waveforms[unit].sel(channel_id=peak_channels[unit])
        ax.plot(waveform["time"].to_numpy() * 1000, waveform.to_numpy(), linewidth=1.2, label=str(unit))
    ax.set_xlabel("time (ms)")
    ax.set_ylabel("mean waveform (\N{MICRO SIGN}V)")
    if 1 <= len(unit_ids) <= 12:
        ax.legend(title="unit", fontsize="x-small", title_fontsize="x-small", frameon=False)
    return ax


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
    """
    others = [str(d) for d in counts.dims if d != ALIGNED_TIME]
    if len(others) != 1 or ALIGNED_TIME not in counts.dims:
        held = ", ".join(map(str, counts.dims))
        msg = f"counts must have the dimensions {ALIGNED_TIME} and one other; they have {held}"
        raise InvalidValueError(msg)
    ax = _axes(ax)
    values = counts.transpose(others[0], ALIGNED_TIME)
    edges = _edges(values[ALIGNED_TIME].to_numpy())
    image = ax.pcolormesh(edges, np.arange(values.shape[0] + 1) - 0.5, values.to_numpy(), cmap="magma", rasterized=True)
    unit = f" ({counts.attrs['units']})" if "units" in counts.attrs else ""
    name = str(counts.name or "spike count").replace("_", " ")
    ax.figure.colorbar(image, ax=ax, label=label or f"{name}{unit}")
    if edges[0] < 0 < edges[-1]:
        ax.axvline(0, color="white", linewidth=0.8, linestyle=":")
    ax.set_xlabel("time from stimulus onset (s)")
    ax.set_ylabel(f"{others[0].removesuffix('_id').replace('_', ' ')} (row)")
    return ax


def plot_running_speed(running_speed: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draw the running speed (``session.running_speed``, or rows of it)."""
    ax = _axes(ax)
    middle = ((running_speed["start_time"] + running_speed["end_time"]) / 2).to_numpy()
    step = max(1, len(middle) // MOST_POINTS)
    ax.plot(middle[::step], running_speed["velocity"].to_numpy()[::step], linewidth=0.6, color="tab:blue")
    ax.axhline(0, color="0.7", linewidth=0.6, zorder=0)
    ax.set_xlabel("time (s)")
    ax.set_ylabel("running speed (cm/s)")
    return ax


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
    """
    if unit_id not in responses["unit_id"]:
        msg = f"unit {unit_id} is not in these responses; they hold {responses.sizes['unit_id']} units"
        raise UnknownIdError(msg)
    ax = _axes(ax)
    rate = responses["rate"].sel(unit_id=unit_id).to_numpy()
    values = responses[parameter].to_numpy()
    levels = sorted({v for v in values.tolist() if v == v})
    chosen = [rate[values == level] for level in levels]
    mean = np.array([c.mean() for c in chosen])
    sem = np.array([c.std(ddof=1) / np.sqrt(len(c)) if len(c) > 1 else np.nan for c in chosen])
    numeric = all(isinstance(level, (int, float)) for level in levels)
    x: Any = levels if numeric else range(len(levels))
    ax.errorbar(x, mean, yerr=sem, marker="o", markersize=4, linewidth=1.2, capsize=2)
    if len(levels) <= 12:
        ax.set_xticks(x, [f"{level:g}" if numeric else str(level) for level in levels])
    if blank and "is_blank" in responses.coords and responses["is_blank"].any():
        ax.axhline(
            rate[responses["is_blank"].to_numpy()].mean(), color="0.5", linestyle="--", linewidth=1, label="blank"
        )
        ax.legend(fontsize="x-small", frameon=False)
    unit = f" ({PARAMETER_UNITS[parameter]})" if parameter in PARAMETER_UNITS else ""
    ax.set_xlabel(parameter.replace("_", " ") + unit)
    ax.set_ylabel("firing rate (Hz)")
    ax.set_ylim(bottom=0)
    return ax


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
    """
    ax = _axes(ax)
    rows, columns = receptive_field.shape
    azimuths = np.linspace(-40, 40, columns) if azimuths is None else np.asarray(azimuths)
    elevations = np.linspace(40, -40, rows) if elevations is None else np.asarray(elevations)
    image = ax.pcolormesh(_edges(azimuths), _edges(elevations), receptive_field, cmap="viridis")
    ax.figure.colorbar(image, ax=ax, label=label, shrink=0.8)
    ax.set_aspect("equal")
    ax.set_xlabel("azimuth (degrees)")
    ax.set_ylabel("elevation (degrees)")
    return ax


def plot_lfp(lfp: xr.DataArray, ax: Axes | None = None, *, spacing: float | None = None) -> Axes:
    """Draw LFP traces above each other, the first channel (deepest) at the bottom.

    Parameters
    ----------
    lfp
        A selection of :meth:`~.EcephysSession.get_lfp` (time x channel, V); what is drawn is loaded.
    ax
        Where to draw; default a new figure.
    spacing
        Distance between traces (mV); default four standard deviations of the traces.
    """
    ax = _axes(ax)
    traces = lfp.transpose(..., "channel").to_numpy() * 1000
    time = lfp["time"].to_numpy()
    step = max(1, len(time) // MOST_POINTS)
    spread = float(np.nanstd(traces)) if np.isfinite(traces).any() else 1.0
    spacing = TRACE_SPACING * spread if spacing is None else spacing
    spacing = spacing or 1.0
    for row in range(traces.shape[1]):
        ax.plot(time[::step], traces[::step, row] + row * spacing, color="0.15", linewidth=0.5)
    shown = np.linspace(0, traces.shape[1] - 1, min(traces.shape[1], 10)).astype(int)
    ax.set_yticks(shown * spacing, [str(channel) for channel in lfp["channel"].to_numpy()[shown]], fontsize="x-small")
    ax.set_ylabel("channel id")
    ax.set_xlabel("time (s)")
    ax.set_title(f"{spacing:.2g} mV between traces", fontsize="small", loc="right")
    ax.margins(x=0)
    return ax


def plot_current_source_density(csd: xr.DataArray, ax: Axes | None = None, *, smoothing: float = 1.0) -> Axes:
    """Draw a current source density: time from flash against position on the probe.

    Parameters
    ----------
    csd
        What :meth:`~.EcephysSession.get_current_source_density` returned.
    ax
        Where to draw; default a new figure.
    smoothing
        Standard deviation of a Gaussian along the probe (virtual channels, 10 um each) and a fifth of it in time
        samples; 0 for none.
    """
    ax = _axes(ax)
    values = csd.to_numpy()
    if smoothing:
        from scipy.ndimage import gaussian_filter

        values = gaussian_filter(values, (smoothing, smoothing / 5))
    limit = float(np.nanpercentile(np.abs(values), 99)) or 1.0
    image = ax.pcolormesh(
        csd["time"].to_numpy(),
        csd["vertical_position"].to_numpy(),
        values,
        cmap="bwr",
        vmin=-limit,
        vmax=limit,
        shading="nearest",
        rasterized=True,
    )
    ax.figure.colorbar(image, ax=ax, label="current source density (uncalibrated)")
    ax.axvline(0, color="0.3", linewidth=0.8, linestyle=":")
    ax.set_xlabel("time from flash onset (s)")
    ax.set_ylabel("position on the probe (\N{MICRO SIGN}m)")
    return ax


def _edges(centres: np.ndarray) -> np.ndarray:
    """Return the borders between evenly or unevenly spaced centres, and the two outer ones."""
    if len(centres) < 2:
        return np.array([centres[0] - 0.5, centres[0] + 0.5])
    between = (centres[:-1] + centres[1:]) / 2
    first, last = centres[0] - (between[0] - centres[0]), centres[-1] + (centres[-1] - between[-1])
    return np.concatenate(([first], between, [last]))
