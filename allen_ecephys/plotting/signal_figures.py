"""Continuous signals: LFP and current source density, running and pupil."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .canvas import INK, MOST_POINTS, SHOWN, axes_or_new

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.axes import Axes

#: Distance between LFP traces, in standard deviations of the traces.
TRACE_SPACING = 4.0


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

    Examples
    --------
    >>> lfp = session.get_lfp("probeA").sel(time=slice(150, 150.5)).isel(channel=slice(None, None, 8))
    >>> ax = plot_lfp(lfp)
    >>> ax.get_xlabel()
    'time (s)'
    """
    ax = axes_or_new(ax)
    traces = lfp.transpose(..., "channel").to_numpy() * 1000
    time = lfp["time"].to_numpy()
    step = max(1, len(time) // MOST_POINTS)
    spread = float(np.nanstd(traces)) if np.isfinite(traces).any() else 1.0
    spacing = TRACE_SPACING * spread if spacing is None else spacing
    spacing = spacing or 1.0
    for row in range(traces.shape[1]):
        ax.plot(time[::step], traces[::step, row] + row * spacing, color=INK, linewidth=0.5)
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

    Examples
    --------
    >>> ax = plot_current_source_density(session.get_current_source_density("probeA"))
    >>> ax.get_ylabel()
    'position on the probe (µm)'
    """
    ax = axes_or_new(ax)
    values = csd.to_numpy()
    if smoothing:
        from scipy.ndimage import gaussian_filter

        values = gaussian_filter(values, (smoothing, smoothing / 5))
    limit = float(np.nanpercentile(np.abs(values), 99)) or 1.0
    image = ax.pcolormesh(
        csd["time"].to_numpy(),
        csd["vertical_position"].to_numpy(),
        values,
        cmap="RdBu_r",
        vmin=-limit,
        vmax=limit,
        shading="nearest",
        rasterized=True,
    )
    ax.figure.colorbar(image, ax=ax, label="current source density\n(uncalibrated; sinks are positive)")
    ax.axvline(0, color="0.3", linewidth=0.8, linestyle=":")
    ax.set_xlabel("time from flash onset (s)")
    ax.set_ylabel("position on the probe (\N{MICRO SIGN}m)")
    return ax


def plot_running_speed(running_speed: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draw the running speed (``session.running_speed``, or rows of it).

    Examples
    --------
    >>> ax = plot_running_speed(session.running_speed)
    >>> ax.get_ylabel()
    'running speed (cm/s)'
    """
    ax = axes_or_new(ax)
    middle = ((running_speed["start_time"] + running_speed["end_time"]) / 2).to_numpy()
    step = max(1, len(middle) // MOST_POINTS)
    ax.plot(middle[::step], running_speed["velocity"].to_numpy()[::step], linewidth=0.6, color=SHOWN)
    ax.axhline(0, color="0.7", linewidth=0.6, zorder=0)
    ax.set_xlabel("time (s)")
    ax.set_ylabel("running speed (cm/s)")
    return ax


def plot_pupil(pupil: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draw the size of the pupil: the diameter (pixels) of a circle of the area of the ellipse fitted to it.

    Parameters
    ----------
    pupil
        ``session.get_pupil_data()``, or rows of it. Frames without a fit (blinks) leave a gap.
    ax
        Where to draw; default a new figure.

    Examples
    --------
    >>> ax = plot_pupil(session.get_pupil_data())
    >>> ax.get_ylabel()
    'pupil diameter (pixels)'
    """
    ax = axes_or_new(ax)
    times = pupil.index.to_numpy()
    diameter = np.sqrt(pupil["pupil_width"].to_numpy(np.float64) * pupil["pupil_height"].to_numpy(np.float64))
    step = max(1, len(times) // MOST_POINTS)
    ax.plot(times[::step], diameter[::step], linewidth=0.6, color=INK)
    ax.set_xlabel("time (s)")
    ax.set_ylabel("pupil diameter (pixels)")
    return ax
