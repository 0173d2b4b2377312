"""Figures of one probe for a session's page: spikes and drift, LFP and surface, units along the probe, their quality.

Each is small enough to be read on a telephone, and needs only what stages left in files.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from allen_ecephys.plotting.canvas import COLORS, HIDDEN, INK, LINE_STYLES, MARK, SHOWN
from allen_ecephys.units.filter import UnitFilter

from ..spike_band.probe_info import COUNT_UV

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .probe_outputs import Floats, Movement, ProbeOutputs, SpikeMap

WIDTH, DPI = 4.8, 150
#: Bins of time and depth in which spikes are counted.
TIMES, DEPTHS = 300, 240
#: A recording longer than this (s) is drawn in minutes.
LONG_S: Final = 600.0
#: Metric -> its name on the axis, the range that is drawn, and the bound of the default unit filter.
QUALITY: Final = {
    "presence_ratio": ("presence ratio", (0.0, 1.0), "presence_ratio_minimum"),
    "isi_violations": ("ISI violations", (0.0, 2.0), "isi_violations_maximum"),
    "amplitude_cutoff": ("amplitude cutoff", (0.0, 0.5), "amplitude_cutoff_maximum"),
}
#: Of shanks; what is masked has a colour of its own.
SHANKS: Final = tuple(color for color in COLORS if color != MARK)
BELOW_TIP: Final = "um from the tip"


def drift_map(probe: ProbeOutputs) -> bytes | None:
    """Draw where along the probe spikes were seen over time, and above it the drift; None where there are no spikes.

    Of several shanks each has a map of its own; the drift is one for all of them.
    """
    found = probe.spike_map(TIMES, DEPTHS)
    if found is None or not found.counts.any():
        return None
    moved, n_shanks = probe.movement, len(found.counts)
    unit, per_unit = ("min", 60.0) if probe.seconds > LONG_S else ("s", 1.0)
    figure = _figure(4.4 if moved is not None else 3.4)
    grid = figure.add_gridspec(2 if moved is not None else 1, n_shanks, height_ratios=[1, 2.2] if moved else None)
    if moved is not None:
        _draw_movement(figure.add_subplot(grid[0, :]), moved, per_unit, probe.seconds)
    shared: Axes | None = None
    for shank in range(n_shanks):
        ax = figure.add_subplot(grid[-1, shank], sharey=shared)
        _draw_spikes(ax, found, shank, per_unit, probe.surface(shank))
        ax.set_xlabel(f"time ({unit})")
        if shared is None:
            ax.set_ylabel(BELOW_TIP)
        else:
            ax.tick_params(labelleft=False)
        if n_shanks > 1:
            ax.set_title(f"shank {shank}", fontsize=9)
            ax.locator_params(axis="x", nbins=2)
        shared = shared or ax
    return _png(figure)


def _draw_movement(ax: Axes, moved: Movement, per_unit: float, seconds: float) -> None:
    import matplotlib as mpl

    n_blocks = moved.shift_um.shape[1]
    shades = mpl.colormaps["cividis"](np.linspace(0.0, 0.85, max(n_blocks, 2)))
    for block in range(n_blocks):
        name = f"block {block + 1}" if moved.depths_um is None else f"{moved.depths_um[block]:.0f} um"
        ax.plot(
            moved.seconds / per_unit, moved.shift_um[:, block], color=shades[block], linewidth=1.3,
            linestyle=LINE_STYLES[block % len(LINE_STYLES)], label="whole probe" if n_blocks == 1 else name,
        )  # fmt: skip
    low, high = float(moved.shift_um.min(initial=0.0)), float(moved.shift_um.max(initial=0.0))
    room = max(5.0 - (high - low) / 2, 0.1 * (high - low))  # a still probe looks still
    ax.set(xlim=(0.0, seconds / per_unit), ylim=(low - room, high + room), ylabel="moved (um)")
    if n_blocks <= len(COLORS):
        ax.legend(
            fontsize=7, ncols=min(n_blocks, 4), frameon=False, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0
        )  # fmt: skip
    ax.axhline(0.0, color=HIDDEN, linewidth=0.8, zorder=0)


def _draw_spikes(ax: Axes, found: SpikeMap, shank: int, per_unit: float, surface: float | None) -> None:
    from matplotlib.colors import PowerNorm

    counts = found.counts[shank]
    # A few loud places would leave all others white.
    most = max(float(np.quantile(counts[counts > 0], 0.98)), 1.0) if counts.any() else 1.0
    ax.imshow(
        counts.T, origin="lower", aspect="auto", cmap="Greys", norm=PowerNorm(0.5, 0.0, most), interpolation="nearest",
        extent=(0.0, found.time_edges[-1] / per_unit, found.depth_edges[0], found.depth_edges[-1]),
    )  # fmt: skip
    _draw_surface(ax, surface)


def lfp_and_surface(probe: ProbeOutputs) -> bytes | None:
    """Draw the LFP's power and the noise of the spike band along the probe, with surface and masked channels."""
    info = probe.info
    if info is None or not probe.spike_band:
        return None
    figure = _figure(3.8)
    panels = [("RMS, spike band (uV)", info.rms_uv, "linear")]
    if info.lfp_log_power is not None:
        power = 10**info.lfp_log_power * COUNT_UV**2
        panels.insert(0, (f"LFP to {info.parameters.max_frequency:g} Hz (uV²/Hz)", power, "log"))
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for ax, (label, values, scale) in zip(axes, panels, strict=True):
        for shank in range(probe.n_shanks):
            mine = np.flatnonzero(probe.shanks == shank)
            mine = mine[np.argsort(probe.positions[mine, 1], kind="stable")]
            color = SHANKS[shank % len(SHANKS)]
            name = f"shank {shank}" if probe.n_shanks > 1 else None
            ax.plot(values[mine], probe.positions[mine, 1], color=color, linewidth=1.2, label=name)
            _draw_surface(ax, probe.surface(shank), color=INK if probe.n_shanks == 1 else color)
        masked = ~info.mask
        label_of = f"{int(masked.sum())} masked" if masked.any() else None
        ax.plot(values[masked], probe.positions[masked, 1], "x", color=MARK, markersize=5, label=label_of)
        ax.set(xlabel=label, xscale=scale)
        if scale == "log":
            _whole_decades(ax, values)
    # A broken channel would leave no room for the others.
    axes[-1].set_xlim(0.0, max(1.15 * info.parameters.high_noise_uv, 1.5 * float(np.nanmedian(info.rms_uv))))
    axes[-1].axvline(info.parameters.high_noise_uv, color=MARK, linewidth=0.9, linestyle=":")
    axes[0].set(ylabel=BELOW_TIP, ylim=probe.extent)
    if axes[0].get_legend_handles_labels()[1]:
        axes[0].legend(fontsize=7, frameon=False, loc="best")
    return _png(figure)


def units_along_the_probe(probe: ProbeOutputs) -> bytes | None:
    """Draw each unit's rate, and how far it moved, at its place along the probe; None where there are no units."""
    if probe.table is None or not len(probe.table) or not probe.spike_band:
        return None
    depth = probe.positions[probe.table["peak_channel"].to_numpy(), 1]
    figure = _figure(3.8)
    axes = figure.subplots(1, 2, sharey=True)
    rates = np.maximum(probe.table["firing_rate"].to_numpy(np.float64), 1e-3)
    panels = (
        ("spikes/s", rates, "log"),
        ("moved at most (um)", probe.table["max_drift"].to_numpy(np.float64), "linear"),
    )
    looks = (
        ("noise", ~probe.neurons, "x", HIDDEN),
        ("fails a bound", probe.neurons & ~probe.passing, "o", "#8a97a3"),
        ("passes", probe.passing, "D", SHOWN),
    )
    for ax, (label, values, scale) in zip(axes, panels, strict=True):
        for name, chosen, marker, color in looks:
            text = f"{name} ({int(chosen.sum())})"
            ax.plot(values[chosen], depth[chosen], marker, color=color, markersize=4, label=text, linestyle="none")
        for shank in range(probe.n_shanks):
            _draw_surface(ax, probe.surface(shank))
        ax.set(xlabel=label, xscale=scale)
    _whole_decades(axes[0], rates)
    farthest = max(float(np.nan_to_num(panels[1][1]).max()), 1.0)
    axes[1].set_xlim(-0.05 * farthest, 1.05 * farthest)
    axes[1].locator_params(axis="x", nbins=4)
    axes[0].set(ylabel=BELOW_TIP, ylim=probe.extent)
    figure.legend(*axes[0].get_legend_handles_labels(), fontsize=8, ncols=3, frameon=False, loc="outside upper center")
    return _png(figure)


def quality(probe: ProbeOutputs) -> bytes | None:
    """Draw distributions of the metrics of the default unit filter, with its bounds; None where there are no units."""
    if probe.table is None or not len(probe.table):
        return None
    figure = _figure(2.9)
    axes = figure.subplots(1, len(QUALITY), sharey=True)
    bounds = UnitFilter()
    for ax, (metric, (label, (low, high), bound)) in zip(axes, QUALITY.items(), strict=True):
        values = probe.table[metric].to_numpy(np.float64)
        shown = [np.clip(values[chosen & np.isfinite(values)], low, high) for chosen in (probe.neurons, ~probe.neurons)]
        ax.hist(shown, bins=20, range=(low, high), stacked=True, color=[SHOWN, HIDDEN], label=["neurons", "noise"])
        limit = getattr(bounds, bound)
        fails = (low, limit) if bound.endswith("minimum") else (limit, high)
        ax.axvspan(*fails, color=MARK, alpha=0.12, linewidth=0, zorder=0)
        ax.axvline(limit, color=MARK, linewidth=1.2)
        ax.set(xlabel=label, xlim=(low, high), xticks=(low, (low + high) / 2, high))
        beyond = int((values > high).sum())
        unknown = int((~np.isfinite(values)).sum())
        notes = [f"{beyond} beyond" if beyond else "", f"{unknown} unknown" if unknown else ""]
        ax.set_title("\n".join(filter(None, notes)) or " ", fontsize=7)
    axes[0].set_ylabel("units")
    axes[0].yaxis.get_major_locator().set_params(integer=True)
    figure.legend(*axes[0].get_legend_handles_labels(), fontsize=8, ncols=2, frameon=False, loc="outside upper center")
    return _png(figure)


def _whole_decades(ax: Axes, values: Floats) -> None:
    """Let an axis reach from decade to decade: ticks within one are too many to be read."""
    drawn = values[np.isfinite(values) & (values > 0)]
    if not drawn.size:
        return
    low, high = np.log10([drawn.min(), drawn.max()])
    ax.set_xlim(10 ** np.floor(low - 0.05), 10 ** np.ceil(high + 0.05))


def _draw_surface(ax: Axes, surface: float | None, color: Any = INK) -> None:
    if surface is not None:
        ax.axhline(surface, color=color, linewidth=1.0, linestyle="--")


def _figure(height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH, height), layout="constrained")


def _png(figure: Figure) -> bytes:
    for ax in figure.axes:
        ax.tick_params(labelsize=8)
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=DPI, metadata={"Software": None})
    return drawn.getvalue()
