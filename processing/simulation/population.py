"""A population of tuned units: what each prefers, and the rate with which it answers every condition."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from .stimulus_sets import N_SCENES, POSITIONS

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

    Floats = npt.NDArray[np.float64]

TEMPORAL_FREQUENCIES = (1.0, 2.0, 4.0, 8.0, 15.0)
SPATIAL_FREQUENCIES = (0.02, 0.04, 0.08, 0.16, 0.32)

#: What fraction of units outside the visual areas still answers to what is on the screen.
_RESPONSIVE_ELSEWHERE = 0.15
_RESPONSIVE = 0.85


def draw_units(n: int, rng: np.random.Generator, visual: npt.NDArray[np.bool_]) -> pd.DataFrame:
    """Draw what every unit prefers.

    Parameters
    ----------
    n
        Number of units.
    rng
        Source of randomness.
    visual
        Whether each unit lies in a visual structure; most of those are responsive, few of the others.

    Returns
    -------
    pandas.DataFrame
        One row a unit: ``base_rate``, ``peak_rate`` (Hz, added to the base by the best stimulus), ``latency`` (s),
        ``preferred_orientation`` (degrees, 0-315 by 45), ``preferred_orientation_sg`` (the same axis on the 30 degree
        grid), ``direction_selectivity`` (0-1), ``orientation_width``, ``preferred_tf`` (Hz), ``preferred_sf``
        (cycles/degree), ``preferred_phase``, ``modulation`` (depth of the F1), ``rf_x``, ``rf_y``, ``rf_size``
        (degrees), ``preferred_scene``, ``scene_sparseness``, ``c50``, ``on_preference`` (-1 off to 1 on),
        ``preferred_speed``, ``preferred_dots_direction``, ``running_gain``, ``sustained``, ``refractory`` (s),
        ``contamination``.
    """
    import pandas as pd

    responsive = rng.random(n) < np.where(visual, _RESPONSIVE, _RESPONSIVE_ELSEWHERE)
    direction = rng.integers(8, size=n) * 45.0
    c50 = rng.uniform(0.05, 0.45, n)
    return pd.DataFrame(
        {
            "responsive": responsive,
            "base_rate": np.clip(rng.lognormal(np.log(2.7), 1.05, n), 0.02, 45.0),
            "peak_rate": np.where(responsive, np.clip(rng.lognormal(np.log(14.0), 0.6, n), 3.0, 70.0), 0.0),
            "latency": rng.uniform(0.03, 0.08, n),
            "preferred_orientation": direction,
            # The nearest axis that static gratings show: 45 and 135 degrees lie half way between two of them.
            "preferred_orientation_sg": (np.floor(direction % 180.0 / 30.0) * 30.0) % 180.0,
            "direction_selectivity": rng.beta(1.2, 2.5, n),
            "orientation_width": rng.uniform(1.2, 4.0, n),
            "preferred_tf": rng.choice(TEMPORAL_FREQUENCIES, n, p=(0.25, 0.3, 0.2, 0.15, 0.1)),
            "preferred_sf": rng.choice(SPATIAL_FREQUENCIES, n, p=(0.15, 0.35, 0.25, 0.15, 0.1)),
            "preferred_phase": rng.choice((0.0, 0.25, 0.5, 0.75), n),
            "modulation": rng.beta(1.5, 2.0, n),
            "rf_x": rng.choice(POSITIONS[1:-1], n),
            "rf_y": rng.choice(POSITIONS[1:-1], n),
            "rf_size": rng.uniform(6.0, 14.0, n),
            "preferred_scene": rng.integers(N_SCENES, size=n),
            "scene_sparseness": rng.uniform(2.0, 6.0, n),
            "c50": c50,
            "on_preference": rng.uniform(-1.0, 1.0, n),
            "preferred_speed": rng.choice((0.0005, 0.001, 0.005, 0.01, 0.02), n),
            "preferred_dots_direction": rng.integers(4, size=n) * 45.0,
            "running_gain": rng.normal(0.15, 0.25, n).clip(-0.4, 1.0),
            "sustained": rng.uniform(0.3, 0.9, n),
            "refractory": rng.uniform(0.0015, 0.0025, n),
            "contamination": np.where(rng.random(n) < 0.4, 0.0, rng.beta(0.8, 6.0, n)),
            "image_seed": rng.integers(2**31, size=n),
        }
    )


class TunedUnit(Protocol):
    """One row of :func:`draw_units`, as its tuning is used."""

    peak_rate: float
    preferred_orientation: float
    preferred_orientation_sg: float
    direction_selectivity: float
    orientation_width: float
    preferred_tf: float
    preferred_sf: float
    preferred_phase: float
    modulation: float
    rf_x: float
    rf_y: float
    rf_size: float
    preferred_scene: int
    scene_sparseness: float
    c50: float
    on_preference: float
    preferred_speed: float
    preferred_dots_direction: float
    image_seed: int


#: Parameters that are numbers in every session, and those that may be spelled as text.
_NUMBERS = ("orientation", "temporal_frequency", "contrast", "x_position", "y_position", "frame", "Speed", "Dir")
_TEXTS = ("spatial_frequency", "phase", "color")


class ConditionResponses:
    """Rates with which units answer the conditions of a session's stimuli.

    Parameters
    ----------
    conditions
        One row a condition: ``stimulus_name`` and the parameters as the stimulus table has them.
    """

    def __init__(self, conditions: pd.DataFrame) -> None:
        import pandas as pd

        self.names = conditions["stimulus_name"].to_numpy(str)
        self._rows = {name: np.flatnonzero(self.names == name) for name in np.unique(self.names)}
        self._values: dict[str, Floats] = {}
        missing = pd.Series(np.nan, index=conditions.index)
        for key in _NUMBERS:
            given = conditions[key] if key in conditions.columns else missing
            self._values[key] = np.asarray(given.to_numpy(np.float64, na_value=np.nan))
        for key in _TEXTS:
            given = conditions[key] if key in conditions.columns else missing
            # Constant vectors ("[0.0, 0.0]") are no parameter; only plain numbers are.
            self._values[key] = pd.to_numeric(given, errors="coerce").to_numpy(np.float64)
        self.frequency: Floats = np.where(
            np.isnan(self._values["temporal_frequency"]), 0.0, self._values["temporal_frequency"]
        )

    def of_unit(self, unit: TunedUnit) -> tuple[Floats, Floats]:
        """Return the evoked rate (Hz) of one unit for every condition, and the depth of its modulation."""
        rate = np.zeros(len(self.names))
        depth = np.zeros(len(self.names))
        for name, rows in self._rows.items():
            if unit.peak_rate == 0.0 or name == "spontaneous":
                continue
            v = {key: values[rows] for key, values in self._values.items()}
            rate[rows] = unit.peak_rate * np.nan_to_num(_tuning(name, v, unit))
            if name.startswith("drifting"):
                depth[rows] = unit.modulation
        return rate, depth


def _tuning(name: str, v: dict[str, Floats], unit: TunedUnit) -> Floats:
    """Return the answer to every condition of one stimulus, 1 for the best (NaN on blanks)."""
    if name == "gabors":
        away = (v["x_position"] - unit.rf_x) ** 2 + (v["y_position"] - unit.rf_y) ** 2
        axis = np.cos(2.0 * np.deg2rad(v["orientation"] - unit.preferred_orientation))
        return np.exp(-away / (2.0 * unit.rf_size**2)) * (0.8 + 0.2 * axis)
    if name == "flashes":
        return 0.6 * (1.0 + unit.on_preference * v["color"]) / 2.0 + 0.1
    if name.startswith("drifting"):
        return _drifting(v, unit)
    if name == "static_gratings":
        off = 2.0 * np.deg2rad(v["orientation"] - unit.preferred_orientation_sg)
        axis = np.exp(unit.orientation_width * (np.cos(off) - 1.0))
        sf = np.exp(-(np.log2(v["spatial_frequency"] / unit.preferred_sf) ** 2) / 2.0)
        return axis * sf * (0.7 + 0.3 * np.cos(2.0 * np.pi * (v["phase"] - unit.preferred_phase)))
    if name == "dot_motion":
        speed = np.exp(-(np.log2((v["Speed"] + 1e-4) / (unit.preferred_speed + 1e-4)) ** 2) / 4.0)
        return 0.5 * speed * (1.0 + np.cos(np.deg2rad(v["Dir"] - unit.preferred_dots_direction)))
    images = np.random.default_rng(int(unit.image_seed))
    if name == "natural_scenes":
        # A few scenes drive the unit, one of them best; the grey sweep (frame -1) does not.
        drive = 0.8 * images.random(N_SCENES) ** unit.scene_sparseness
        drive[unit.preferred_scene] = 1.0
        return np.where(v["frame"] < 0, 0.0, drive[v["frame"].astype(np.int64)])
    # A movie drives the unit now and then, smoothly in time.
    centers, widths, heights = images.uniform(0, 900, 6), images.uniform(4, 30, 6), images.random(6)
    bumps = np.exp(-((v["frame"][:, None] % 900 - centers) ** 2) / (2.0 * widths**2))
    answer: Floats = (heights * bumps).sum(axis=1).clip(0.0, 1.0)
    return answer


def _drifting(v: dict[str, Floats], unit: TunedUnit) -> Floats:
    off = np.deg2rad(v["orientation"] - unit.preferred_orientation)
    width = unit.orientation_width
    opposite = (1.0 - unit.direction_selectivity) * np.exp(width * (-np.cos(off) - 1.0))
    angle = np.maximum(np.exp(width * (np.cos(off) - 1.0)), opposite)
    tf = np.exp(-(np.log2(v["temporal_frequency"] / unit.preferred_tf) ** 2) / 4.0)
    contrast = v["contrast"] ** 2 / (v["contrast"] ** 2 + unit.c50**2) * (1.0 + unit.c50**2)
    answer: Floats = angle * tf * contrast
    return answer
