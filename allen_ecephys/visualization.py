"""Figures under the names and with the call forms of AllenSDK's ``visualization``: each draws one and returns it.

``allen_ecephys.plotting`` has more figures, which draw on axes of the caller. Here ``plot_spike_counts``,
``plot_mean_waveforms``, ``plot_running_speed`` and ``raster_plot`` stand as AllenSDK's notebooks call them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import InvalidValueError
from .plotting import canvas, onset_figures, unit_figures

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

__all__ = ["plot_mean_waveforms", "plot_running_speed", "plot_spike_counts", "raster_plot"]


def raster_plot(
    spike_times: pd.DataFrame,
    figsize: tuple[float, float] = (8, 8),
    cmap: str | Colormap = "tab20",
    title: str = "spike raster",
    cycle_colors: bool = False,
    *,
    unit_ids: ArrayLike | None = None,
) -> Figure:
    """Draw a tick for each spike, a row and a colour for each unit.

    Parameters
    ----------
    spike_times
        Index: times (s); column ``unit_id``: what ``session.presentationwise_spike_times`` returns.
    figsize
        Width and height of the figure (inches).
    cmap
        Colours of the units.
    title
        Title of the figure.
    cycle_colors
        Go through the colours again and again; else the units are spread over them.
    unit_ids
        The units that were asked for, the first at the bottom: each has its row, also without a spike. AllenSDK has no
        such argument; without it, the rows are those of units with a spike, and the label of the axis says so.

    Returns
    -------
    matplotlib.figure.Figure
        Units in the order asked for, or ascending, from the bottom.
    """
    units, row = onset_figures.raster_rows(spike_times["unit_id"].to_numpy(), unit_ids)
    figure, ax = _figure(figsize)
    colors = _colors(cmap)
    times = spike_times.index.to_numpy()
    for place in range(len(units)):
        color = colors(place % colors.N) if cycle_colors else colors(place / max(len(units) - 1, 1))
        ax.vlines(times[row == place], place, place + 1, colors=[color], linewidth=0.8)
    ax.set_ylim(0, max(len(units), 1))
    ax.set_yticks([])
    ax.set(xlabel="time (s)", ylabel="unit" if unit_ids is not None else "unit with spikes", title=title)
    return figure


def plot_spike_counts(
    data_array: xr.DataArray,
    time_coords: ArrayLike,
    cbar_label: str,
    title: str,
    xlabel: str = "time relative to stimulus onset (s)",
    ylabel: str = "unit",
    xtick_step: int = 20,
) -> Figure:
    """Draw an array of units (rows) by time bins (columns) as an image, the first row at the top.

    Parameters
    ----------
    data_array
        Two dimensions: what each row is, and time, in any order where they have names
        (``counts.mean("stimulus_presentation_id")`` has time first, as AllenSDK asks for it).
    time_coords
        Time of each column (s).
    cbar_label
        What the colour says.
    title, xlabel, ylabel
        Of the axes.
    xtick_step
        Label every so many columns.
    """
    if "time_relative_to_stimulus_onset" in getattr(data_array, "dims", ()):
        data_array = data_array.transpose(..., "time_relative_to_stimulus_onset")
    values = np.asarray(data_array)
    times = np.asarray(time_coords, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != len(times):
        msg = f"counts must be rows x {len(times)} times; they have the shape {values.shape}: transpose or average them"
        raise InvalidValueError(msg)
    figure, ax = _figure((8, 8))
    image = ax.imshow(values, aspect="auto", interpolation="none", origin="upper")
    figure.colorbar(image, ax=ax, label=cbar_label)
    columns = np.arange(0, len(times), xtick_step)
    ax.set_xticks(columns, [f"{time:.3f}" for time in times[columns]], rotation=45)
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
    return figure


def plot_mean_waveforms(
    mean_waveforms: Mapping[int, xr.DataArray],
    unit_ids: Sequence[int],
    peak_channels: Mapping[int, int] | pd.Series[int],
) -> Figure:
    """Draw the mean waveform of units on their peak channels (``session.units["peak_channel_id"]``)."""
    figure, ax = _figure((10, 10))
    unit_figures.plot_mean_waveforms(mean_waveforms, unit_ids, peak_channels, ax)
    return figure


def plot_running_speed(
    timestamps: ArrayLike,
    values: ArrayLike,
    start_index: int = 0,
    stop_index: int | None = None,
    step: int = 1,
    ylabel: str = "running speed (cm/s)",
    xlabel: str = "time (s)",
    title: str | None = None,
) -> Figure:
    """Draw running speed (cm/s) at some times (s): every `step`-th sample from `start_index` to before `stop_index`."""
    figure, ax = _figure((8, 8))
    part = slice(start_index, stop_index, step)
    times, speeds = np.asarray(timestamps)[part], np.asarray(values)[part]
    ax.plot(times, speeds, linewidth=0.6)
    if title is None and len(times):
        title = f"running speed from {times[0]:.2f} to {times[-1]:.2f} seconds"
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
    return figure


def _figure(size: tuple[float, float]) -> tuple[Figure, Axes]:
    """Return a new current figure of pyplot, which a notebook shows, and its axes."""
    ax = canvas.new_axes(figsize=size)
    figure: Any = ax.figure
    return figure, ax


def _colors(cmap: str | Colormap) -> Colormap:
    from matplotlib import colormaps

    return colormaps[cmap] if isinstance(cmap, str) else cmap
