"""What the animal does and what is done to it: running, eye movements, light pulses, invalid times."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from ..packaging.contents import EyeTracking
from .stimulus_sets import FIRST_FRAME_TIME, FRAME_PERIOD

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

    Floats = npt.NDArray[np.float64]

CAMERA_RATE = 29.97

#: Radius at which the animal runs on the wheel (cm): 2/3 of a wheel of 6.5 inches across.
_RUNNING_RADIUS = 5.5036

#: Optotagging pulses: (condition, stimulus name, duration in seconds).
PULSES = (
    ("half-period of a cosine wave", "raised_cosine", 1.0),
    ("a single square pulse", "pulse", 0.005),
    ("a single square pulse", "pulse", 0.01),
    ("2.5 ms pulses at 10 Hz", "fast_pulses", 1.0),
)
#: Between the starts of two bouts of running, on average (s).
_BETWEEN_BOUTS = 55.0
LEVELS = (1.0, 2.5, 4.0)
_REPEATS = 15
#: Between the last presentation and the first light pulse (s).
_BEFORE_LIGHT = 72.6


def running_tables(stop: float, rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return running speed (one row a monitor frame) and the raw signals of the wheel.

    The animal runs in bouts of about 15 s, separated by about 40 s of rest.
    """
    import pandas as pd

    times = np.arange(FIRST_FRAME_TIME, stop, FRAME_PERIOD)
    n = len(times)
    target = np.zeros(n)
    for start, length, speed in _running_bouts(stop, rng):
        target[(times >= start) & (times < start + length)] = speed
    # The animal takes half a second to reach its speed.
    window = np.ones(31) / 31.0
    velocity = np.convolve(target, window, mode="same") + rng.normal(0.0, 0.4, n)
    rotation = velocity * FRAME_PERIOD / _RUNNING_RADIUS
    running = pd.DataFrame(
        {"start_time": times[:-1], "end_time": times[1:], "velocity": velocity[:-1], "net_rotation": rotation[:-1]}
    )
    angle = np.cumsum(rotation)
    supply = 5.0 + rng.normal(0.0, 0.002, n)
    raw = pd.DataFrame(
        {
            "frame_time": times,
            "net_rotation": np.rad2deg(rotation),
            "signal_voltage": supply * (angle / (2.0 * np.pi) % 1.0),
            "supply_voltage": supply,
        }
    )
    return running, raw


def _running_bouts(stop: float, rng: np.random.Generator) -> Iterator[tuple[float, float, float]]:
    """Yield start (s), length (s) and speed (cm/s) of each bout of running up to `stop`."""
    later = rng.spawn(1)[0]
    many = max(1, int((stop - FIRST_FRAME_TIME) / _BETWEEN_BOUTS)) + 2  # as many as there are on average
    start = FIRST_FRAME_TIME
    while start < stop:
        starts = start + np.cumsum(rng.exponential(_BETWEEN_BOUTS, many))
        yield from zip(starts, rng.gamma(3.0, 5.0, many), rng.gamma(4.0, 8.0, many), strict=True)
        # Where chance has put them closer than that, there are more.
        start, rng = float(starts[-1]), later


def eye_tracking(duration: float, running: pd.DataFrame, rng: np.random.Generator) -> EyeTracking:
    """Return the eye tracking of a session: a pupil that widens with running, a gaze that drifts and jumps, blinks."""
    import pandas as pd

    times = 0.5 + np.arange(int((duration - 1.0) * CAMERA_RATE)) / CAMERA_RATE
    n = len(times)
    arousal = np.interp(times, running["start_time"], running["velocity"].rolling(120, min_periods=1).mean())
    slow = np.cumsum(rng.normal(0.0, 0.02, n))
    slow -= _moving_mean(slow, 901) if n > 901 else slow.mean()
    pupil = np.clip(14.0 + 0.25 * np.maximum(arousal, 0.0) + slow, 4.0, 45.0)
    jumps = np.where(rng.random(n) < 0.004, rng.normal(0.0, 8.0, n), 0.0)
    gaze_x, gaze_y = np.zeros(n), np.zeros(n)
    if n:
        gaze_x = _return_to_rest(jumps + rng.normal(0.0, 0.2, n))
        gaze_y = _return_to_rest(0.4 * jumps + rng.normal(0.0, 0.15, n))
    blink = rng.random(n) < 0.002
    index = pd.Index(times, name="Time (s)")

    def ellipse(x: Floats, y: Floats, height: Floats, width: Floats) -> pd.DataFrame:
        table = {"center_x": x, "center_y": y, "height": height, "phi": rng.normal(0.0, 0.1, n), "width": width}
        return pd.DataFrame(table, index=index).mask(pd.Series(blink, index=index), np.nan)

    fits = {
        "pupil": ellipse(320.0 + 3.0 * gaze_x, 240.0 + 3.0 * gaze_y, pupil, pupil * rng.normal(1.02, 0.02, n)),
        "eye": ellipse(
            *(rng.normal(322.0, 0.5, n), rng.normal(238.0, 0.5, n), rng.normal(90.0, 1.0, n), rng.normal(130.0, 1.0, n))
        ),
        "corneal_reflection": ellipse(
            *(rng.normal(300.0, 0.5, n), rng.normal(255.0, 0.5, n), rng.normal(5.0, 0.2, n), rng.normal(5.0, 0.2, n))
        ),
    }
    raw = _gaze(fits, gaze_x, gaze_y, blink, index)
    return EyeTracking(fits, raw, raw.rolling(3, center=True, min_periods=1).median().where(raw.notna()))


def _gaze(
    fits: dict[str, pd.DataFrame], x: Floats, y: Floats, blink: npt.NDArray[np.bool_], index: pd.Index[float]
) -> pd.DataFrame:
    import pandas as pd

    pixels_per_cm = 280.0
    areas = {
        part: np.pi * (fits[part]["width"] * fits[part]["height"]).to_numpy() / pixels_per_cm**2
        for part in ("eye", "pupil")
    }
    x_cm, y_cm = 15.0 * np.tan(np.deg2rad(x)), 15.0 * np.tan(np.deg2rad(y))
    table = {
        "eye_area": areas["eye"],
        "pupil_area": areas["pupil"],
        "screen_coordinates_x_cm": np.where(blink, np.nan, x_cm),
        "screen_coordinates_y_cm": np.where(blink, np.nan, y_cm),
        "screen_coordinates_spherical_x_deg": np.where(blink, np.nan, x),
        "screen_coordinates_spherical_y_deg": np.where(blink, np.nan, y),
    }
    return pd.DataFrame(table, index=index)


def _moving_mean(values: Floats, width: int) -> Floats:
    """Return the mean of each value and its neighbours, of fewer at both ends."""
    window = np.ones(width)
    held: Floats = np.convolve(np.ones(len(values)), window, mode="same")
    return np.convolve(values, window, mode="same") / held


def _return_to_rest(steps: Floats) -> Floats:
    """Sum steps that decay with a time constant of three seconds (degrees, at most 30)."""
    from scipy.signal import lfilter

    result: Floats = lfilter([1.0], [1.0, -np.exp(-1.0 / (3.0 * CAMERA_RATE))], steps)
    return np.clip(result, -30.0, 30.0)


def light_pulses(last_stop: float, scale: float, rng: np.random.Generator) -> pd.DataFrame:
    """Return the optotagging pulses: four shapes at three levels, 15 times each at full scale, about 1.9 s apart."""
    import pandas as pd

    repeats = max(2, round(_REPEATS * scale))
    order = rng.permutation(np.repeat(np.arange(len(PULSES) * len(LEVELS)), repeats))
    shapes = [PULSES[k // len(LEVELS)] for k in order]
    wait = max(5.0, _BEFORE_LIGHT * scale)
    start = last_stop + wait + np.cumsum(rng.uniform(1.8, 2.0, len(order)))
    duration = np.array([shape[2] for shape in shapes])
    return pd.DataFrame(
        {
            "start_time": start,
            "condition": [shape[0] for shape in shapes],
            "level": [LEVELS[k % len(LEVELS)] for k in order],
            "stop_time": start + duration,
            "stimulus_name": [shape[1] for shape in shapes],
            "duration": duration,
        }
    )


def invalid_intervals(
    session_id: int, probes: pd.DataFrame, presentations: pd.DataFrame, pulses: pd.DataFrame
) -> pd.DataFrame:
    """Return an invalid interval of every kind (stimulus, one probe, all probes, optotagging), not in order of time."""
    import pandas as pd

    gabors = presentations.loc[presentations["stimulus_name"] == "gabors", "start_time"]
    flashes = presentations.loc[presentations["stimulus_name"] == "flashes", "stop_time"]
    end = float(presentations["stop_time"].iloc[-1])
    # Twelve gabors in the middle of their block, the first and the last of them cut.
    middle = len(gabors) // 2
    first, last = float(gabors.iloc[middle]), float(gabors.iloc[middle + 11])
    # Grey between two flashes: no presentation is lost.
    grey = float(flashes.iloc[1])
    light = float(pulses["start_time"].iloc[1]), float(pulses["stop_time"].iloc[1])
    probe = str(probes.index[-1])
    session = ["EcephysSession", str(session_id)]
    rows = [
        (end - 3.0, end - 1.0, ["EcephysProbe", probe, str(probes["description"].iloc[-1])]),
        (first + 0.1, last + 0.1, [*session, "stimulus"]),
        (5.0, 7.5, [*session, "all_probes"]),
        (grey + 0.5, grey + 0.9, [*session, "stimulus"]),
        (light[0] - 0.1, light[1] + 0.1, [*session, "optotagging"]),
    ]
    return pd.DataFrame(rows, columns=["start_time", "stop_time", "tags"])
