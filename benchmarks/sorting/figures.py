"""Figures: accuracy against SNR, units found over depth, CPU seconds against length and spikes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from table import grouped

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.ticker import LogLocator, NullFormatter

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS = {
    "native": "#d62728", "spykingcircus2": "#1f77b4", "tridesclous2": "#2ca02c", "lupin": "#9467bd",
    "kilosort4": "#ff7f0e", "simple": "#7f7f7f",
}  # fmt: skip
MARKERS = {"native": "o", "spykingcircus2": "s", "tridesclous2": "^", "lupin": "D", "kilosort4": "v", "simple": "x"}
SNR_EDGES = np.array([0.0, 2.0, 2.6, 3.4, 4.4, 5.8, 7.5, 10.0, 30.0])
DEPTH_STEP = 80.0
PANELS = ("small-sim", "medium-sim", "drift-sim", "large-sim", "small-si", "medium-si", "drift-si", "large-si")


def draw_figures(found: dict[str, Any], folder: Path) -> None:
    """Write ``sorting_accuracy.png``, ``sorting_depth.png`` and ``sorting_cost.png`` to `folder`."""
    tables = grouped(found)
    shown = [
        name for name in PANELS if any("accuracy" in run for runs in tables[name].values() for run in runs.values())
    ]
    if shown:
        _accuracy(tables, found["datasets"], shown, folder / "sorting_accuracy.png")
        _depth(tables, found["datasets"], shown, folder / "sorting_depth.png")
    _cost(tables, found["datasets"], folder / "sorting_cost.png")


def _grid(n_panels: int, height: float) -> tuple[Any, list[Axes]]:
    columns = min(n_panels, 4)
    rows = -(-n_panels // columns)
    size = (max(3.6 * columns + 0.6, 7.0), height * rows + 0.9)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, sharey=height < 3.5, layout="constrained")
    flat = list(axes.ravel())
    for axis in flat[n_panels:]:
        axis.set_visible(False)
    return figure, flat[:n_panels]


def _legend(figure: Any, axes: list[Axes]) -> None:
    handles = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    order = [name for name in (*COLORS, "true units") if name in handles]
    figure.legend([handles[name] for name in order], order, loc="outside upper center", ncols=len(order), frameon=False)


def _accuracy(tables: Any, facts: dict[str, Any], shown: list[str], path: Path) -> None:
    figure, axes = _grid(len(shown), 3.0)
    for axis, dataset in zip(axes, shown, strict=True):
        for sorter, color in COLORS.items():
            runs = {seed: run for seed, run in tables[dataset].get(sorter, {}).items() if "accuracy" in run}
            if not runs:
                continue
            snr = np.concatenate([facts[f"{dataset}|{seed}"]["snr"] for seed in runs])
            accuracy = np.concatenate([run["unit_accuracy"] for run in runs.values()])
            axis.plot(snr, accuracy, ".", ms=3, alpha=0.25, color=color)
            bins = np.digitize(snr, SNR_EDGES) - 1
            some = [b for b in range(len(SNR_EDGES) - 1) if (bins == b).sum() >= 2]
            middles = [np.median(snr[bins == b]) for b in some]
            means = [accuracy[bins == b].mean() for b in some]
            axis.plot(middles, means, "-", marker=MARKERS[sorter], ms=4, lw=1.6, color=color, label=sorter)
        axis.axhline(0.8, color="0.7", lw=0.8, ls="--", zorder=0)
        axis.set(title=dataset, xlabel="SNR (amplitude / 2 SD)", xlim=(1, 16), ylim=(-0.03, 1.03), xscale="log")
        axis.set_xticks([1, 2, 3, 5, 8, 12], ["1", "2", "3", "5", "8", "12"])
        axis.minorticks_off()
    axes[0].set_ylabel("accuracy of a true unit")
    if len(axes) > 4:
        axes[4].set_ylabel("accuracy of a true unit")
    _legend(figure, axes)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _depth(tables: Any, facts: dict[str, Any], shown: list[str], path: Path) -> None:
    chosen = [name for name in shown if not name.startswith("small")] or shown
    figure, axes = _grid(len(chosen), 3.8)
    for axis, dataset in zip(axes, chosen, strict=True):
        present = [
            sorter for sorter in COLORS if any("accuracy" in r for r in tables[dataset].get(sorter, {}).values())
        ]
        seeds = [s for s in (0, 1, 2) if all("accuracy" in tables[dataset][name].get(s, {}) for name in present)]
        if not seeds:
            continue
        depth = np.concatenate([facts[f"{dataset}|{seed}"]["depth_um"] for seed in seeds])
        step = DEPTH_STEP * (1 if depth.max() < 500 else 2 if depth.max() < 2000 else 4)
        edges = np.arange(0.0, depth.max() + step, step)
        middle = (edges[:-1] + edges[1:]) / 2
        true = np.histogram(depth, edges)[0] / len(seeds)
        axis.barh(middle, true, height=0.94 * step, color="0.88", label="true units")
        for offset, sorter in enumerate(present):
            accuracy = np.concatenate([tables[dataset][sorter][seed]["unit_accuracy"] for seed in seeds])
            count = np.histogram(depth[accuracy >= 0.8], edges)[0] / len(seeds)
            shift = (offset - (len(present) - 1) / 2) * 0.13 * step
            axis.plot(count, middle + shift, MARKERS[sorter], ms=5, color=COLORS[sorter], label=sorter)
        axis.set(
            title=dataset, xlabel="units found (accuracy >= 0.8)", ylabel="depth from the tip (um)", xlim=(0, None)
        )
    _legend(figure, axes)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _cost(tables: Any, facts: dict[str, Any], path: Path) -> None:
    figure, (length, spikes) = plt.subplots(1, 2, figsize=(10.5, 4.4), layout="constrained")
    for sorter, color in COLORS.items():
        style = {"marker": MARKERS[sorter], "color": color, "ms": 5, "lw": 1.4, "label": sorter}
        for axis, names, what in (
            (length, [name for name in tables if name.startswith("long-sim")], "seconds"),
            (spikes, [name for name in tables if name.startswith(("rate", "small-sim"))], "n_spikes"),
        ):
            points = sorted(
                (facts[f"{name}|{seed}"][what], run["cpu_s"])
                for name in names
                for seed, run in tables[name].get(sorter, {}).items()
                if "accuracy" in run
            )
            if points:
                axis.plot(*zip(*points, strict=True), ls="-" if len(points) > 1 else "", **style)
    length.set(xlabel="length of the recording (s), 32 channels", ylabel="CPU seconds", title="long-sim")
    spikes.set(xlabel="true spikes in 60 s of 32 channels", ylabel="CPU seconds", title="small-sim, other firing rates")
    for axis in (length, spikes):
        axis.set(xscale="log", yscale="log")
        for ruler in (axis.xaxis, axis.yaxis):
            ruler.set_major_locator(LogLocator(subs=(1, 3)))
            ruler.set_major_formatter("{x:,.0f}")
            ruler.set_minor_formatter(NullFormatter())
        axis.grid(visible=True, which="both", color="0.92", lw=0.6)
    low, high = length.get_xlim()
    if low > 1:
        length.plot([low, high], [low, high], color="0.6", lw=0.9, ls=":", label="as long as the recording")
        length.set_xlim(low, high)
    for axis in (length, spikes):
        if axis.get_legend_handles_labels()[0]:
            axis.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=130)
    plt.close(figure)
