"""The two sets of stimuli of the release, frame by frame: *Brain Observatory 1.1* and *Functional Connectivity*.

Every time is ``t0 + frame * FRAME_PERIOD``, where a frame is one of the monitor's; blocks, presentations, conditions,
repeats and blanks are those of the released sessions. A `scale` below 1 shortens the blocks: fewer repeats of every
condition, shorter movies and grey gaps, but every condition of every stimulus (save movie frames) at least twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from allen_ecephys.errors import UnknownNameError, suggest

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

SessionType = Literal["brain_observatory_1.1", "functional_connectivity"]
SESSION_TYPES: tuple[SessionType, ...] = ("brain_observatory_1.1", "functional_connectivity")

#: Measured period of the monitor's frames (s), 59.950 Hz.
FRAME_PERIOD = 0.01668061

#: Session time of the first monitor frame (s).
FIRST_FRAME_TIME = 24.429

POSITIONS = tuple(float(x) for x in range(-40, 41, 10))
CONTRASTS = (0.01, 0.02, 0.04, 0.08, 0.13, 0.2, 0.35, 0.6, 1.0)
SPEEDS = (0.0, 0.0005, 0.001, 0.005, 0.01, 0.02, 0.04)
N_SCENES = 118

_WHITE = "[1.0, 1.0, 1.0]"
_GRATING = {"color": _WHITE, "mask": "None", "opacity": 1.0, "size": "[250.0, 250.0]", "units": "deg", "contrast": 0.8}
_MOVIE = {
    "color": _WHITE,
    "opacity": 1.0,
    "size": "[1920.0, 1080.0]",
    "units": "pix",
    "orientation": 0.0,
    "contrast": 1.0,
}


@dataclass(frozen=True)
class Stimulus:
    """One stimulus of a set.

    Attributes
    ----------
    conditions
        Parameters of every condition, one dict each.
    repeats
        How often each condition is shown.
    blanks
        Number of blank sweeps, on which every parameter is missing.
    on_frames, period_frames
        Monitor frames for which a presentation lasts, and from one onset to the next.
    cut_to
        The shuffled list is cut to this number of presentations (static gratings run out of time).
    ordered
        Whether conditions are shown in order (movies) instead of shuffled.
    """

    name: str
    conditions: tuple[dict[str, Any], ...]
    repeats: int
    on_frames: int
    period_frames: int
    blanks: int = 0
    cut_to: int | None = None
    ordered: bool = False

    @property
    def total(self) -> int:
        """Number of presentations at full length."""
        return self.cut_to or len(self.conditions) * self.repeats + self.blanks


def _grid(constant: dict[str, Any], **axes: tuple[Any, ...]) -> tuple[dict[str, Any], ...]:
    return tuple({**constant, **dict(zip(axes, values, strict=True))} for values in product(*axes.values()))


def _gratings(name: str, sf: Any, on: int, period: int, repeats: int, blanks: int = 0, **axes: Any) -> Stimulus:
    # The phase is the time at which the stimulus script stopped drifting: constant, and without meaning.
    constant = {**_GRATING, "spatial_frequency": sf, "phase": "[42471.86666667, 42471.86666667]"}
    return Stimulus(name, _grid(constant, **axes), repeats, on, period, blanks)


def _movie(name: str, n_frames: int, repeats: int) -> Stimulus:
    frames = tuple(float(frame) for frame in range(n_frames))
    return Stimulus(name, _grid(_MOVIE, frame=frames), repeats, 2, 2, ordered=True)


_OBLIQUE = (0.0, 45.0, 90.0, 135.0)
_GABOR = {
    **_GRATING,
    "mask": "circle",
    "size": "[20.0, 20.0]",
    "spatial_frequency": "0.08",
    "temporal_frequency": 4.0,
    "phase": "[3644.93333333, 3644.93333333]",
}
_FLASH = {
    **_GRATING,
    "size": "[300.0, 300.0]",
    "spatial_frequency": "[0.0, 0.0]",
    "phase": "[0.0, 0.0]",
    "orientation": 0.0,
}
_DOTS = {
    "color": _WHITE,
    "opacity": 1.0,
    "units": "deg",
    "contrast": 1.0,
    "coherence": 0.9,
    "dotLife": 20.0,
    "dotSize": 15.0,
    "nDots": 500.0,
    "fieldPos": "[0.0, 0.0]",
    "fieldShape": "sqr",
    "fieldSize": "[2.0, 2.0]",
    "noiseDots": "direction",
}
GABORS = Stimulus(
    "gabors", _grid(_GABOR, x_position=POSITIONS, y_position=POSITIONS, orientation=(0.0, 45.0, 90.0)), 15, 15, 15
)
FLASHES = Stimulus("flashes", _grid(_FLASH, color=("-1.0", "1.0")), 75, 15, 120)
DRIFTING_GRATINGS = _gratings(
    *("drifting_gratings", "0.04", 120, 180, 15, 30),
    orientation=tuple(np.arange(0.0, 360.0, 45.0).tolist()),
    temporal_frequency=(1.0, 2.0, 4.0, 8.0, 15.0),
)
STATIC_GRATINGS = Stimulus(
    "static_gratings",
    _grid(
        _GRATING,
        orientation=tuple(np.arange(0.0, 180.0, 30.0).tolist()),
        spatial_frequency=(0.02, 0.04, 0.08, 0.16, 0.32),
        phase=("0.0", "0.25", "0.5", "0.75"),
    ),
    *(50, 15, 15, 200, 6000),
)
NATURAL_SCENES = Stimulus(
    "natural_scenes", _grid({}, frame=tuple(float(frame) for frame in range(-1, N_SCENES))), 50, 15, 15
)
MOVIE_ONE = _movie("natural_movie_one", 900, 20)
MOVIE_THREE = _movie("natural_movie_three", 3600, 10)
CONTRAST_GRATINGS = _gratings(
    *("drifting_gratings_contrast", "0.04", 30, 60, 15),
    orientation=_OBLIQUE,
    contrast=CONTRASTS,
    temporal_frequency=(2.0,),
)
REPEATED_GRATINGS = _gratings(
    *("drifting_gratings_75_repeats", 0.04, 120, 180, 75),
    orientation=_OBLIQUE,
    contrast=(0.1, 0.8),
    temporal_frequency=(2.0,),
)
MOVIE_MORE_REPEATS = _movie("natural_movie_one_more_repeats", 900, 60)
MOVIE_SHUFFLED = _movie("natural_movie_one_shuffled", 900, 20)
DOT_MOTION = Stimulus("dot_motion", _grid(_DOTS, Speed=SPEEDS, Dir=_OBLIQUE), 15, 60, 90)

#: What is shown: monitor frames of grey, or a stimulus and how many of its presentations form the block.
_Timeline = tuple[int | tuple[Stimulus, int], ...]

_OPENING: _Timeline = (3601, (GABORS, 3645), 17325, (FLASHES, 150), 105)
_TIMELINES: dict[SessionType, _Timeline] = {
    "brain_observatory_1.1": (
        *_OPENING,
        *((DRIFTING_GRATINGS, 200), 1860, (MOVIE_THREE, 18000), 1800, (MOVIE_ONE, 9000), 1800),
        *((DRIFTING_GRATINGS, 200), 18060, (MOVIE_THREE, 18000), 1800, (DRIFTING_GRATINGS, 230), 60),
        *((STATIC_GRATINGS, 1920), 1800, (NATURAL_SCENES, 1920), 18000, (NATURAL_SCENES, 1920), 1800),
        *((STATIC_GRATINGS, 1920), 1800, (MOVIE_ONE, 9000), 1800, (NATURAL_SCENES, 2110), 2550),
        (STATIC_GRATINGS, 2160),
    ),
    "functional_connectivity": (
        *_OPENING,
        *((CONTRAST_GRATINGS, 540), 5430, (MOVIE_MORE_REPEATS, 27000), (MOVIE_SHUFFLED, 9000)),
        *((REPEATED_GRATINGS, 300), 108060, (REPEATED_GRATINGS, 300), 60, (MOVIE_SHUFFLED, 9000)),
        *((MOVIE_MORE_REPEATS, 27000), 5400, (DOT_MOTION, 420)),
    ),
}
_CONTRAST_BLOCK: _Timeline = (1800, (CONTRAST_GRATINGS, 540))


def check_session_type(session_type: str) -> SessionType:
    """Return a session type, or raise :class:`UnknownNameError` with the nearest known one."""
    for known in SESSION_TYPES:
        if session_type == known:
            return known
    msg = f"there is no session type {session_type!r}{suggest(session_type, SESSION_TYPES)}; known: {SESSION_TYPES}"
    raise UnknownNameError(msg)


def stimulus_presentations(
    session_type: SessionType, scale: float = 1.0, seed: int = 0, *, contrast_block: bool = False
) -> pd.DataFrame:
    """Return every presentation of a session, grey included.

    Parameters
    ----------
    session_type
        Which set of stimuli.
    scale
        Length of the session relative to the real one, above 0 and at most 1.
    seed
        Decides the order of the conditions.
    contrast_block
        Whether the contrast gratings that 8 of the 32 *Brain Observatory 1.1* sessions end with are shown too.

    Returns
    -------
    pandas.DataFrame
        Ordered by start; ``start_time``, ``stop_time`` (s), ``stimulus_name``, ``stimulus_block`` (NaN for grey) and
        the parameters. At full scale 70,390 rows (70,931 with the contrast block) or 77,362 rows. Presentations that
        follow each other without a gap share their edge.
    """
    import pandas as pd

    rng = np.random.default_rng([seed, 1])
    timeline = _TIMELINES[session_type]
    if contrast_block and session_type == "brain_observatory_1.1":
        timeline += _CONTRAST_BLOCK
    orders = {s.name: _condition_order(s, scale, rng) for s in _stimuli(timeline)}
    parts: list[pd.DataFrame] = []
    frame, block = 0, 0
    for stimulus, first, last in _blocks(timeline, scale, {name: len(order) for name, order in orders.items()}):
        if stimulus is None:
            parts.append(
                pd.DataFrame({"start_frame": [frame], "stop_frame": [frame + last], "stimulus_name": "spontaneous"})
            )
            frame += last
            continue
        part = _block(stimulus, orders[stimulus.name][first:last], frame)
        parts.append(part.assign(stimulus_block=float(block)))
        frame, block = int(part["stop_frame"].iloc[-1]), block + 1
    table = pd.concat(parts, ignore_index=True)
    for edge in ("start", "stop"):
        table.insert(0, f"{edge}_time", FIRST_FRAME_TIME + table.pop(f"{edge}_frame").to_numpy() * FRAME_PERIOD)
    return table


def _stimuli(timeline: _Timeline) -> list[Stimulus]:
    found: dict[str, Stimulus] = {}
    for item in timeline:
        if not isinstance(item, int):
            found.setdefault(item[0].name, item[0])
    return list(found.values())


def _blocks(timeline: _Timeline, scale: float, lengths: dict[str, int]) -> Iterator[tuple[Stimulus | None, int, int]]:
    """Yield grey gaps as (None, 0, frames), blocks as (stimulus, first, last) of its presentations."""
    shown = dict.fromkeys(lengths, 0)
    for item in timeline:
        if isinstance(item, int):
            yield None, 0, max(min(item, 60), round(item * scale))
            continue
        stimulus, count = item
        total, before = lengths[stimulus.name], shown[stimulus.name]
        shown[stimulus.name] += count
        first, last = (round(total * n / stimulus.total) for n in (before, before + count))
        if last > first:
            yield stimulus, first, last


def _condition_order(stimulus: Stimulus, scale: float, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return the condition of every presentation of a stimulus, -1 for blanks."""
    n = len(stimulus.conditions)
    if stimulus.ordered:
        # Movies lose clips first; a single clip then loses its end.
        clips = max(2, round(stimulus.repeats * scale))
        length = max(20, min(n, round(n * stimulus.repeats * scale / clips)))
        return np.tile(np.arange(length), clips)
    # At least two of each, and at least ten sweeps of a stimulus with few conditions.
    repeats = max(2, min(stimulus.repeats, -(-10 // n)), round(stimulus.repeats * scale))
    blanks = -(-stimulus.blanks * repeats // stimulus.repeats)
    order = np.concatenate([np.repeat(np.arange(n), repeats), np.full(blanks, -1)])
    while True:
        shuffled = rng.permutation(order)
        if stimulus.cut_to is not None:
            full = n * stimulus.repeats + stimulus.blanks
            shuffled = shuffled[: round(len(order) * stimulus.cut_to / full)]
        if len(np.unique(shuffled)) == n + bool(blanks):
            return shuffled


def _block(stimulus: Stimulus, order: npt.NDArray[np.int64], frame: int) -> pd.DataFrame:
    """Return one block of presentations that begins at a monitor frame."""
    import pandas as pd

    starts = frame + stimulus.period_frames * np.arange(len(order))
    stops = starts + stimulus.on_frames
    if stimulus is GABORS:
        # The first gabor of the released sessions lasts one frame less.
        starts[1:] -= 1
        stops -= 1
    blank: dict[str, Any] = {}
    conditions = pd.DataFrame([*stimulus.conditions, blank])
    rows = conditions.iloc[order].reset_index(drop=True)
    return rows.assign(start_frame=starts, stop_frame=stops, stimulus_name=stimulus.name)
