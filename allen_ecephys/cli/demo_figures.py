"""The demo's figures: raster and PSTH, direction tuning against what is known, a receptive field."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from allen_ecephys.errors import missing_extra

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.axes import Axes

    from allen_ecephys import EcephysSession

    from .demo_analysis import GratingTuning

_INK, _ACCENT = "#1f2d3d", "#d1495b"


def _new_figure(rows: int, columns: int, size: tuple[float, float], **layout: Any) -> tuple[Any, Any]:
    """Return a figure and its axes, drawn without a screen.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        missing = missing_extra("matplotlib", "plot", "drawing figures")
        raise missing from error
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **layout)
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
    return figure, axes


def raster_and_psth(session: EcephysSession, unit_id: int, direction: float, path: Path) -> Path:
    """Draw one unit's spikes around the gratings it prefers: a row a trial, and their mean rate with its SEM."""
    from allen_ecephys.plotting import plot_psth, plot_raster

    trials = session.get_stimulus_table("drifting_gratings")
    shown = trials.index[trials["orientation"] == direction]
    n_frequencies = trials.loc[shown, "temporal_frequency"].nunique()
    before, after, width = 0.5, 0.5, 0.05
    # From half a second before the onset to half a second after the grating has gone.
    spikes = session.presentationwise_spike_times(shown, [unit_id], start_offset=-before, stop_offset=after)
    psth = session.psth(np.arange(-before, 2 + after + 1e-9, width), shown, [unit_id])

    figure, axes = _new_figure(2, 1, (6.4, 5.2), sharex=True, height_ratios=(3, 2))
    top, bottom = axes[:, 0]
    plot_raster(spikes, top, row_ids=shown, rows="stimulus_presentation_id")
    plot_psth(psth, bottom)
    structure = session.units["ecephys_structure_acronym"][unit_id]
    top.set(
        xlabel="",
        title=f"unit {unit_id} ({structure}): {len(shown)} gratings moving at {direction:g} degrees,\n"
        f"{n_frequencies} temporal frequencies pooled",
    )
    bottom.set(
        xlabel=f"time from grating onset (s); mean and SEM of {len(shown)} trials in {1000 * width:g} ms bins",
        xlim=(-before, 2 + after),
    )
    for ax in (top, bottom):
        ax.axvspan(0, 2.0, color="#f2e8cf", zorder=-1)
    figure.savefig(path, dpi=130)
    return path


def direction_tuning(tuning: GratingTuning, known: pd.Series[float], known_as: str, path: Path) -> Path:
    """Draw tuning curves of the most selective units, and the preferred direction of all against the known one.

    Parameters
    ----------
    tuning
        What was computed from aligned spikes.
    known
        Index unit_id: the direction each unit prefers by another source (degrees).
    known_as
        What that source is called on the axes.
    path
        File to write.
    """
    best = tuning.preferred.loc[tuning.preferred.index.isin(known.index), "g_osi"].nlargest(3).index
    directions = tuning.rates["orientation"].to_numpy()
    fewest, most = tuning.n_trials
    n_trials = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    figure, axes = _new_figure(2, 2, (8.4, 6.6))
    for ax, unit in zip(axes.flat, best, strict=False):
        frequency = tuning.preferred.loc[unit, "pref_tf"]
        where = {"unit_id": unit, "temporal_frequency": frequency}
        ax.errorbar(directions, tuning.rates.sel(where), tuning.sem.sel(where), fmt="o-", color=_INK, capsize=2)
        ax.axvline(known[unit], color=_ACCENT, linestyle="--", label=known_as)
        ax.set(
            title=f"unit {unit}, g_osi {tuning.preferred.loc[unit, 'g_osi']:.2f}",
            xlabel=f"direction of motion (degrees), at {frequency:g} Hz",
            ylabel=f"firing rate (Hz), mean and SEM\nof {n_trials} trials a direction",
            xticks=directions,
        )
        ax.set_ylim(bottom=0)
        ax.legend(frameon=False)
    _confusion(axes.flat[3], tuning.preferred["pref_ori"].reindex(known.index).dropna(), known, known_as, directions)
    figure.savefig(path, dpi=130)
    return path


def _confusion(
    ax: Axes, computed: pd.Series[float], known: pd.Series[float], known_as: str, directions: np.ndarray
) -> None:
    """Draw how many units have each pair of computed and known preference."""
    known = known[computed.index]
    table = np.array([[((known == k) & (computed == c)).sum() for k in directions] for c in directions])
    ax.imshow(table, origin="lower", cmap="Greys", vmin=0)
    for i, j in zip(*np.nonzero(table), strict=True):
        ax.text(j, i, str(table[i, j]), ha="center", va="center", color="w" if table[i, j] > table.max() / 2 else _INK)
    ticks, labels = range(len(directions)), [f"{d:g}" for d in directions]
    ax.set_xticks(ticks, labels)
    ax.set_yticks(ticks, labels)
    ax.set(
        xlabel=f"{known_as} (direction, degrees)",
        ylabel="from aligned spikes (direction, degrees)",
        title=f"{len(computed)} units, {np.mean(computed == known):.0%} on the diagonal",
    )
    ax.spines[:].set_visible(False)


def receptive_field(
    field: xr.DataArray, unit_id: int, center: tuple[float, float] | None, path: Path, *, n_trials: int
) -> Path:
    """Draw the mean response of one unit to gabors over the screen.

    Parameters
    ----------
    field
        y_position x x_position (degrees), mean spike count a presentation.
    unit_id
        Whose it is.
    center
        Where the field is known to lie (x, y in degrees), or None.
    path
        File to write.
    n_trials
        Gabors shown at each position, of all orientations.
    """
    from allen_ecephys.plotting import plot_receptive_field

    figure, axes = _new_figure(1, 1, (5.6, 4.4))
    ax = axes[0, 0]
    x, y = field["x_position"].to_numpy(), field["y_position"].to_numpy()
    plot_receptive_field(field.to_numpy(), ax, azimuths=x, elevations=y, label="spikes per gabor")
    if center is not None:
        ax.plot(*center, marker="+", color="w", markersize=16, markeredgewidth=3, linestyle="none")
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
    ax.set(
        title=f"receptive field of unit {unit_id},\nmean of {n_trials} gabors a position, orientations pooled",
        xticks=x,
        yticks=y,
    )
    # A screen drawn true to its shape does not fill a figure of another.
    figure.savefig(path, dpi=130, bbox_inches="tight")
    return path
