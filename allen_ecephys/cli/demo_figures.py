"""The demo's figures: raster and PSTH, orientation tuning against what is known, a receptive field."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from allen_ecephys.errors import missing_extra

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.axes import Axes

    from allen_ecephys.session import EcephysSession

    from .demo_analysis import GratingTuning

_INK, _ACCENT, _PALE = "#1f2d3d", "#d1495b", "#9db4c0"


def new_figure(rows: int, columns: int, size: tuple[float, float], **layout: Any) -> tuple[Any, Any]:
    """Return a figure and its axes, drawn without a screen.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        missing = missing_extra("matplotlib", "plot", "drawing figures")
        raise missing from error
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, **layout)
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
    return figure, axes


def raster_and_psth(session: EcephysSession, unit_id: int, orientation: float, path: Path) -> Path:
    """Draw one unit's spikes around the gratings it prefers: a row a trial, and their mean rate with its SEM."""
    trials = session.get_stimulus_table("drifting_gratings")
    shown = trials[trials["orientation"] == orientation].sort_values("temporal_frequency", kind="stable")
    width, edges = 0.05, np.arange(-0.5, 2.5 + 1e-9, 0.05)
    counts = session.presentationwise_spike_counts(
        bin_edges=edges, stimulus_presentation_ids=shown.index.to_numpy(), unit_ids=[unit_id]
    ).to_numpy()[:, :, 0]
    rate = counts.mean(axis=0) / width
    sem = counts.std(axis=0, ddof=1) / np.sqrt(len(counts)) / width if len(counts) > 1 else np.zeros_like(rate)

    figure, axes = new_figure(2, 1, (6.4, 5.2), sharex=True, height_ratios=(3, 2))
    top, bottom = axes[:, 0]
    spikes = session.spike_times[unit_id]
    rows = [spikes[(spikes >= t - 0.5) & (spikes < t + 2.5)] - t for t in shown["start_time"]]
    top.eventplot(rows, lineoffsets=np.arange(1, len(rows) + 1), linelengths=0.8, linewidths=0.9, colors=_INK)
    top.set(ylabel="trial, slow to fast gratings", ylim=(0.4, len(rows) + 0.6))
    top.yaxis.get_major_locator().set_params(integer=True)
    structure = session.units["ecephys_structure_acronym"][unit_id]
    top.set_title(f"unit {unit_id} ({structure}): {len(rows)} gratings of {orientation:g} degrees")
    centers = (edges[:-1] + edges[1:]) / 2
    bottom.fill_between(centers, rate - sem, rate + sem, color=_PALE, step="mid", linewidth=0, label="SEM over trials")
    bottom.step(centers, rate, where="mid", color=_INK, label="mean")
    bottom.set(xlabel="time from grating onset (s)", ylabel="firing rate (Hz)", xlim=(-0.5, 2.5))
    bottom.set_ylim(bottom=0)
    bottom.legend(frameon=False, loc="upper right")
    for ax in (top, bottom):
        ax.axvspan(0, 2.0, color="#f2e8cf", zorder=-1)
    figure.savefig(path, dpi=130)
    return path


def orientation_tuning(tuning: GratingTuning, known: pd.Series[float], known_as: str, path: Path) -> Path:
    """Draw tuning curves of the most selective units, and the preferred orientation of all against the known one.

    Parameters
    ----------
    tuning
        What was computed from aligned spikes.
    known
        Index unit_id: the orientation each unit prefers by another source (degrees).
    known_as
        What that source is called on the axes.
    path
        File to write.
    """
    best = tuning.preferred.loc[tuning.preferred.index.isin(known.dropna().index), "g_osi"].nlargest(3).index
    orientations = tuning.rates["orientation"].to_numpy()
    figure, axes = new_figure(2, 2, (8.4, 6.6))
    for ax, unit in zip(axes.flat, best, strict=False):
        curve = tuning.rates.sel(unit_id=unit, temporal_frequency=tuning.preferred.loc[unit, "pref_tf"])
        ax.plot(orientations, curve, "o-", color=_INK)
        ax.axvline(known[unit], color=_ACCENT, linestyle="--", label=known_as)
        ax.set(
            title=f"unit {unit}, g_osi {tuning.preferred.loc[unit, 'g_osi']:.2f}",
            xlabel="direction of the grating (degrees)",
            ylabel="firing rate (Hz)",
            xticks=orientations,
        )
        ax.set_ylim(bottom=0)
        ax.legend(frameon=False)
    _confusion(axes.flat[3], tuning.preferred["pref_ori"], known, known_as)
    figure.savefig(path, dpi=130)
    return path


def _confusion(ax: Axes, computed: pd.Series[float], known: pd.Series[float], known_as: str) -> None:
    both = known.dropna().index.intersection(computed.dropna().index)
    steps = np.arange(0, 360, 45)
    table = np.array([[((known[both] == k) & (computed[both] == c)).sum() for k in steps] for c in steps])
    ax.imshow(table, origin="lower", cmap="Greys", vmin=0)
    for i, j in zip(*np.nonzero(table), strict=True):
        ax.text(j, i, str(table[i, j]), ha="center", va="center", color="w" if table[i, j] > table.max() / 2 else _INK)
    agree = np.mean(computed[both].to_numpy() == known[both].to_numpy()) if len(both) else np.nan
    ax.set(
        xticks=range(8),
        xticklabels=[str(s) for s in steps],
        yticks=range(8),
        yticklabels=[str(s) for s in steps],
        xlabel=f"{known_as} (degrees)",
        ylabel="from aligned spikes (degrees)",
        title=f"{len(both)} units, {agree:.0%} on the diagonal",
    )
    ax.spines[:].set_visible(False)


def receptive_field(field: xr.DataArray, unit_id: int, center: tuple[float, float] | None, path: Path) -> Path:
    """Draw the mean response of one unit to gabors over the screen.

    Parameters
    ----------
    field
        y_position x x_position, mean spike count a presentation.
    unit_id
        Whose it is.
    center
        Where the field is known to lie (x, y in degrees), or None.
    path
        File to write.
    """
    figure, axes = new_figure(1, 1, (5.4, 4.4))
    ax = axes[0, 0]
    x, y = field["x_position"].to_numpy(), field["y_position"].to_numpy()
    image = ax.pcolormesh(x, y, field.transpose("y_position", "x_position"), cmap="magma", shading="nearest", vmin=0)
    if center is not None:
        ax.plot(*center, marker="+", color="w", markersize=16, markeredgewidth=2.5, linestyle="none")
        ax.plot(
            *center,
            marker="+",
            color=_ACCENT,
            markersize=14,
            markeredgewidth=1.5,
            linestyle="none",
            label="true center",
        )
        ax.legend(loc="upper right")
    figure.colorbar(image, label="spikes per gabor")
    ax.set(
        xlabel="horizontal position (degrees)",
        ylabel="vertical position (degrees, up is positive)",
        title=f"receptive field of unit {unit_id}",
        aspect="equal",
        xticks=x,
        yticks=y,
    )
    figure.savefig(path, dpi=130)
    return path
