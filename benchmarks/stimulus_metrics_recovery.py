"""How well the stimulus metrics recover a known tuning, as a function of the number of spikes; draws a figure.

    python benchmarks/stimulus_metrics_recovery.py [--output recovery.png] [--units 100]

Poisson units with known tuning are shown the released stimuli; their peak rate is varied over three decades. Errors of
preferred values, selectivity, c50, and centre and area of receptive fields are drawn against the spikes a unit has
during the stimulus, for both definitions. The known area is that of the region of the noiseless map.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from allen_ecephys.processing.simulation.stimulus_sets import stimulus_presentations
from allen_ecephys.processing.stimulus_metrics import SessionResponses, compute_unit_analysis_metrics
from allen_ecephys.processing.stimulus_metrics.orientation_selectivity import global_orientation_selectivity
from allen_ecephys.processing.stimulus_metrics.receptive_field_maps import region_of, smooth_maps

PEAK_RATES = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
STIMULI = ("gabors", "drifting_gratings", "drifting_gratings_contrast")
POSITIONS = np.arange(-40.0, 41.0, 10.0)
DIRECTIONS = np.arange(0.0, 360.0, 45.0)


def draw_units(n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Draw tuning: direction, temporal frequency, width, c50, receptive field centre and size (degrees)."""
    return pd.DataFrame(
        {
            "direction": rng.choice(DIRECTIONS, n),
            "temporal_frequency": rng.choice([1.0, 2.0, 4.0, 8.0, 15.0], n),
            "width": rng.uniform(0.5, 3.0, n),
            "c50": rng.uniform(0.08, 0.4, n),
            "x": rng.uniform(-25, 25, n),
            "y": rng.uniform(-25, 25, n),
            "size": rng.uniform(8, 16, n),
        }
    )


def direction_tuning(direction: np.ndarray, unit) -> np.ndarray:
    """Return the relative response to directions: two opposite von Mises bumps, the second of 0.4."""
    away = np.deg2rad(direction - unit.direction)
    return np.exp(unit.width * (np.cos(away) - 1)) + 0.4 * np.exp(unit.width * (-np.cos(away) - 1))


def rates(shown: pd.DataFrame, unit) -> np.ndarray:
    """Return the relative rate (peak about 1) of a unit in each presentation."""
    value = {name: shown[name].to_numpy(dtype=float, na_value=np.nan) for name in ("orientation", "contrast")}
    frequency = shown["temporal_frequency"].to_numpy(dtype=float, na_value=np.nan)
    drifting = direction_tuning(value["orientation"], unit)
    full_field = drifting * np.exp(-(np.log2(frequency / unit.temporal_frequency) ** 2) / 2)
    curve = value["contrast"] ** 2 / (value["contrast"] ** 2 + unit.c50**2)
    distance = (shown["x_position"] - unit.x) ** 2 + (shown["y_position"] - unit.y) ** 2
    gabor = np.exp(-distance.to_numpy(dtype=float, na_value=np.nan) / 2 / unit.size**2)
    name = shown["stimulus_name"].to_numpy(dtype=str)
    rate = np.select(
        [name == "gabors", name == "drifting_gratings", name == "drifting_gratings_contrast"],
        [gabor, full_field, drifting * curve],
        0.0,
    )
    return np.nan_to_num(rate)  # blanks


def simulate(n_units: int, peak_rate: float, seed: int) -> tuple[SessionResponses, pd.DataFrame]:
    """Return a session of Poisson units with the given peak rate (Hz), and what is true of each."""
    rng = np.random.default_rng([seed, round(100 * peak_rate)])
    shown = stimulus_presentations("brain_observatory_1.1", 1.0, seed, contrast_block=True)
    shown = shown[shown["stimulus_name"].isin(STIMULI)].reset_index(drop=True)
    start, length = shown["start_time"].to_numpy(), (shown["stop_time"] - shown["start_time"]).to_numpy()
    truth = draw_units(n_units, rng)
    spikes = {}
    for unit in truth.itertuples():
        counts = rng.poisson((0.05 * peak_rate + peak_rate * rates(shown, unit)) * length)
        within = rng.uniform(0, 1, counts.sum()) * np.repeat(length, counts)
        spikes[unit.Index] = np.sort(np.repeat(start, counts) + within)
    x, y = np.meshgrid(POSITIONS, POSITIONS[::-1])
    maps = [np.exp(-((x - unit.x) ** 2 + (y - unit.y) ** 2) / 2 / unit.size**2) for unit in truth.itertuples()]
    tuning = np.array([0.05 + direction_tuning(DIRECTIONS, unit) for unit in truth.itertuples()])
    truth["g_osi"] = global_orientation_selectivity(np.deg2rad(DIRECTIONS), tuning)
    truth["area"] = [100.0 * region_of(smooth_maps(known), 1.0).area for known in maps]
    return SessionResponses(shown, spikes), truth


def errors(session: SessionResponses, truth: pd.DataFrame, definition: str) -> pd.DataFrame:
    """Return the error of each recovered value, and the spikes of each unit during each stimulus."""
    table = compute_unit_analysis_metrics(session, definition, n_shuffles=200)
    found = pd.DataFrame(index=table.index)
    for name, suffix in (("gabors", "rf"), ("drifting_gratings", "dg"), ("drifting_gratings_contrast", "contrast")):
        found[f"spikes_{suffix}"] = session.responses(name).counts.sum(axis=1)
    found["wrong direction"] = (table["pref_ori_dg"] != truth["direction"]).astype(float)
    found["wrong temporal frequency"] = (table["pref_tf_dg"] != truth["temporal_frequency"]).astype(float)
    found["g_osi"] = (table["g_osi_dg"] - truth["g_osi"]).abs()
    found["c50 (octaves)"] = np.abs(np.log2(table["c50_dg"] / truth["c50"]))
    azimuth, elevation = table["azimuth_rf"] - 50 - truth["x"], table["elevation_rf"] - 10 - truth["y"]
    found["centre (degrees)"] = np.hypot(azimuth, elevation)
    found["area (relative)"] = (table["area_rf"] / truth["area"] - 1).abs()
    found["width (relative)"] = (table["width_rf"] / truth["size"] - 1).abs()
    found["not significant"] = (table["p_value_rf"] >= 0.05).astype(float)
    return found


def recover(n_units: int, peak_rates=PEAK_RATES, seed: int = 0) -> pd.DataFrame:
    """Return the mean (fractions) or median (others) error for each definition and peak rate."""
    rows = []
    for peak_rate in peak_rates:
        session, truth = simulate(n_units, peak_rate, seed)
        for definition in ("release", "corrected"):
            found = errors(session, truth, definition)
            fractions = [name for name in found if name.startswith(("wrong", "not"))]
            summary = found.median()
            summary[fractions] = found[fractions].mean()
            missing = {f"missing {name}": found[name].isna().mean() for name in ("c50 (octaves)", "width (relative)")}
            rows.append({"definition": definition, "peak_rate": peak_rate, **summary, **missing})
    return pd.DataFrame(rows)


def draw(summary: pd.DataFrame, output: Path) -> None:
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    panels = {
        "wrong direction": "dg",
        "wrong temporal frequency": "dg",
        "g_osi": "dg",
        "c50 (octaves)": "contrast",
        "centre (degrees)": "rf",
        "area (relative)": "rf",
        "width (relative)": "rf",
        "not significant": "rf",
    }
    figure, grid = plt.subplots(2, 4, figsize=(14, 6.5), layout="constrained")
    for axes, (name, suffix) in zip(grid.flat, panels.items(), strict=True):
        for definition, part in summary.groupby("definition"):
            axes.plot(part[f"spikes_{suffix}"], part[name], "o-", label=definition, markersize=4)
        fraction = name.startswith(("wrong", "not"))
        axes.set(xscale="log", title=name, xlabel="median spikes during the stimulus")
        axes.set_ylabel("fraction of units" if fraction else "median error")
        axes.set_ylim(bottom=0)
    grid[0, 0].legend()
    figure.savefig(output, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("stimulus_metrics_recovery.png"))
    parser.add_argument("--units", type=int, default=100)
    given = parser.parse_args()
    summary = recover(given.units)
    print(summary.round(3).T.to_string())
    draw(summary, given.output)
    print(f"figure: {given.output}")


if __name__ == "__main__":
    main()
