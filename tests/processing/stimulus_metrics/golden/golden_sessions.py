"""Two small synthetic sessions, made the same way each time: 12 tuned units, a silent one, one with six spikes."""

from __future__ import annotations

import numpy as np
import pandas as pd

FRAME = 1 / 59.951
POSITIONS = np.arange(-40, 41, 10.0)
TEMPORAL_FREQUENCIES = (1.0, 2.0, 4.0, 8.0, 15.0)
SPATIAL_FREQUENCIES = (0.02, 0.04, 0.08, 0.16, 0.32)
CONTRASTS = (0.01, 0.02, 0.04, 0.08, 0.13, 0.2, 0.35, 0.6, 1.0)
SPEEDS = (0.0, 0.0005, 0.001, 0.005, 0.01, 0.02, 0.04)


class _Schedule:
    def __init__(self, rng: np.random.Generator) -> None:
        self.rng, self.time, self.block, self.rows = rng, 30.0, 0, []

    def spontaneous(self, duration: float) -> None:
        self.rows.append(
            {
                "stimulus_name": "spontaneous",
                "start_time": self.time,
                "stop_time": self.time + duration,
                "stimulus_block": np.nan,
            }
        )
        self.time += duration

    def show(self, name: str, conditions: list[dict[str, float]], on: float, period: float) -> None:
        conditions = [conditions[i] for i in self.rng.permutation(len(conditions))]
        on_frames, period_frames = round(on * 60), round(period * 60)
        begin = self.time
        for i, condition in enumerate(conditions):
            start = begin + i * period_frames * FRAME
            times = {"start_time": start, "stop_time": start + on_frames * FRAME}
            self.rows.append({"stimulus_name": name, **times, "stimulus_block": float(self.block), **condition})
        self.time = self.rows[-1]["stop_time"]
        self.block += 1


def _grating(orientation: float, temporal_frequency: float, contrast: float) -> dict[str, float]:
    return {
        "orientation": orientation,
        "temporal_frequency": temporal_frequency,
        "spatial_frequency": 0.04,
        "contrast": contrast,
    }


def _presentations(kind: str, rng: np.random.Generator) -> tuple[pd.DataFrame, float]:
    shown = _Schedule(rng)
    shown.spontaneous(60 * FRAME * 60)
    gabor = {"temporal_frequency": 4.0, "spatial_frequency": 0.08, "contrast": 0.8}
    gabors = [
        {"x_position": x, "y_position": y, "orientation": o, **gabor}
        for x in POSITIONS
        for y in POSITIONS
        for o in (0.0, 45.0, 90.0)
    ]
    shown.show("gabors", gabors * 15, 0.25, 0.25)
    shown.spontaneous(20)
    shown.show("flashes", [{"color": c, "contrast": 0.8} for c in (-1.0, 1.0)] * 75, 0.25, 2.0)
    shown.spontaneous(1.75)
    contrast = [_grating(o, 2.0, c) for o in (0.0, 45.0, 90.0, 135.0) for c in CONTRASTS] * 15
    if kind == "BO":
        drifting = [_grating(o, f, 0.8) for o in np.arange(0, 360, 45.0) for f in TEMPORAL_FREQUENCIES]
        shown.show("drifting_gratings", drifting * 15 + [{}] * 30, 2, 3)
        shown.spontaneous(31)
        static = [
            {"orientation": o, "spatial_frequency": s, "phase": p, "contrast": 0.8}
            for o in np.arange(0, 180, 30.0)
            for s in SPATIAL_FREQUENCIES
            for p in (0.0, 0.25, 0.5, 0.75)
        ] * 12 + [{}] * 48
        shown.show("static_gratings", [static[i] for i in rng.permutation(len(static))][:-70], 0.25, 0.25)
        shown.spontaneous(30)
        shown.show("natural_scenes", [{"frame": float(f)} for f in range(-1, 118)] * 10, 0.25, 0.25)
        shown.spontaneous(30)
        shown.show("drifting_gratings_contrast", contrast, 0.5, 1.0)
    else:
        shown.show("drifting_gratings_contrast", contrast, 0.5, 1.0)
        shown.spontaneous(30)
        repeats = [_grating(o, 2.0, c) for o in (0.0, 45.0, 90.0, 135.0) for c in (0.1, 0.8)]
        shown.show("drifting_gratings_75_repeats", repeats * 75, 2, 3)
        shown.spontaneous(30)
        dots = [{"Speed": s, "Dir": d} for s in SPEEDS for d in (0.0, 45.0, 90.0, 135.0)]
        shown.show("dot_motion", dots * 15, 1.0, 1.5)
    return pd.DataFrame(shown.rows), shown.time + 30


def _rate(row, unit: dict) -> tuple[float, float]:
    """Return the driven rate (Hz) during a presentation and the frequency of its modulation (0 for none)."""
    name = row.stimulus_name
    if name == "gabors":
        distance = (row.x_position - unit["x"]) ** 2 + (row.y_position - unit["y"]) ** 2
        return 30 * np.exp(-distance / 2 / 12**2), 0
    if name == "flashes":
        return 20 * (row.color == unit["color"]) + 5, 0
    if name.startswith("drifting") and row.orientation == row.orientation:
        away = np.deg2rad(row.orientation - unit["orientation"])
        rate = 15 * np.exp(2 * (np.cos(away) - 1)) + 6 * np.exp(2 * (-np.cos(away) - 1))
        rate *= np.exp(-(np.log2(row.temporal_frequency / unit["tf"]) ** 2) / 4)
        return rate * (row.contrast**2 / (row.contrast**2 + unit["c50"] ** 2) * 2), row.temporal_frequency
    if name == "static_gratings" and row.orientation == row.orientation:
        rate = 20 * np.exp(2 * (np.cos(2 * np.deg2rad(row.orientation - unit["orientation"])) - 1))
        rate *= np.exp(-(np.log2(row.spatial_frequency / unit["sf"]) ** 2) / 2)
        return rate * (1 + 0.5 * np.cos(2 * np.pi * (row.phase - 0.25))), 0
    if name == "natural_scenes":
        return 25 * (row.frame in unit["images"]), 0
    if name == "dot_motion":
        return 15 * (row.Speed == unit["speed"]) * (1 + np.cos(np.deg2rad(row.Dir - unit["orientation"]))), 0
    return 0, 0


def make_session(kind: str) -> tuple[pd.DataFrame, dict[int, np.ndarray], pd.DataFrame]:
    """Return presentations, spike times of each unit and running speed of the session "BO" or "FC"."""
    rng = np.random.default_rng(1)
    presentations, end = _presentations(kind, rng)
    spikes = {}
    for number in range(12):
        base = rng.gamma(1.5, 3.0)
        trains = [rng.uniform(0, end, rng.poisson(base * end))]
        unit = {
            "orientation": rng.integers(8) * 45.0,
            "tf": TEMPORAL_FREQUENCIES[rng.integers(5)],
            "x": POSITIONS[rng.integers(9)],
            "y": POSITIONS[rng.integers(9)],
            "sf": SPATIAL_FREQUENCIES[rng.integers(5)],
            "images": set(rng.integers(0, 118, 8).tolist()),
            "color": (-1.0, 1.0)[rng.integers(2)],
            "speed": SPEEDS[rng.integers(7)],
            "c50": rng.uniform(0.05, 0.4),
        }
        for row in presentations.itertuples(index=False):
            rate, frequency = _rate(row, unit)
            duration = row.stop_time - row.start_time
            n = rng.poisson(rate * duration) if rate > 0 else 0
            if n:
                x = rng.uniform(0, duration, n)
                if frequency:
                    x = x[rng.uniform(0, 1, n) < 0.5 * (1 + 0.8 * np.sin(2 * np.pi * frequency * x))]
                trains.append(row.start_time + x)
        spikes[number] = np.sort(np.concatenate(trains))
    spikes[12] = np.array([])
    spikes[13] = np.sort(rng.uniform(0, end, 6))
    start = np.arange(0, end, 1 / 29.97)
    velocity = np.maximum(0, np.cumsum(rng.normal(0, 0.6, start.size)) * 0.3 % 12 - 2)
    running = pd.DataFrame({"start_time": start, "end_time": start + 1 / 29.97, "velocity": velocity})
    return presentations, spikes, running
