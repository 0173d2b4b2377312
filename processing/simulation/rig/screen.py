"""What a simulated rig shows, and when: scripts, frames of the stimulus computer, and a screen that drops some."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]

FPS: Final = 60.0
#: Measured period of the rigs' screens (s).
FRAME_PERIOD: Final = 0.01668061
#: Grey screen before the first script (s).
PRE_BLANK: Final = 2.0
#: From the vsync to the screen (s), and how much longer the photodiode takes to see white than black.
SCREEN_LAG: Final = 0.012
WHITE_LATER: Final = 4e-4
_PULSE: Final = 0.002

_GRATING: Final = (
    "GratingStim(autoDraw=False, autoLog=True, color=array([1., 1., 1.]), colorSpace='rgb', contrast=0.8, depth=0, "
    "interpolate=False, mask={mask}, maskParams=None, name='{name}', opacity=1.0, ori={ori}, phase=array([0., 0.]), "
    "pos=array([0., 0.]), rgbPedestal=array([0., 0., 0.]), sf={sf}, size=array({size}), tex='sin', texRes=128, "
    "units='deg', win=Window(...))"
)


@dataclass(frozen=True)
class Script:
    """One stimulus script.

    Attributes
    ----------
    name
        Of its file.
    dimnames, sweep_table
        Parameters, and their values for each kind of sweep; none for movies.
    sweep_order
        Kind of every sweep shown, -1 for a blank one.
    on_frames, period_frames
        Frames for which a sweep is shown, and from one to the next.
    display
        Start and stop of each interval in which the script is on (s after the first grey).
    spelled
        The stimulus as a call.
    """

    name: str
    dimnames: tuple[str, ...]
    sweep_table: tuple[tuple[Any, ...], ...]
    sweep_order: tuple[int, ...]
    on_frames: int
    period_frames: int
    display: tuple[tuple[float, float], ...]
    spelled: str

    @property
    def sweep_frames(self) -> list[tuple[int, int]]:
        """First and last frame of each sweep, counted while the script is on."""
        return [
            (k * self.period_frames, k * self.period_frames + self.on_frames - 1) for k in range(len(self.sweep_order))
        ]

    def as_pickled(self) -> dict[str, Any]:
        """Return the script as the stimulus computer writes it."""
        return {
            "stim_path": f"C:\\ProgramData\\StimulusFiles\\{self.name}.stim",
            "display_sequence": np.array(self.display),
            "sweep_frames": self.sweep_frames,
            "sweep_order": list(self.sweep_order),
            "dimnames": list(self.dimnames),
            "sweep_table": list(self.sweep_table),
            "stim": self.spelled,
        }


@dataclass(frozen=True, eq=False)
class ShownFrames:
    """Frames of a session as they were shown.

    Attributes
    ----------
    onsets
        When each appeared on the screen (s, session clock); one more for the end of the last.
    vsync_rising, vsync_falling, photodiode
        Edges of the lines.
    dropped
        Frames that stayed for a second refresh.
    """

    onsets: Floats = field(repr=False)
    vsync_rising: Floats = field(repr=False)
    vsync_falling: Floats = field(repr=False)
    photodiode: Floats = field(repr=False)
    dropped: npt.NDArray[np.int64] = field(repr=False)


def scripts_of_session(rng: np.random.Generator, repeats: int) -> list[Script]:
    """Return flashes, drifting gratings in two intervals, and a movie that comes between.

    Gratings have 8 directions, each shown `repeats` times for a second, and one blank for every 16 of them.
    """
    flashes = rng.permutation(np.repeat([0, 1], max(4, repeats)))
    gratings = rng.permutation(np.concatenate([np.repeat(np.arange(8), repeats), np.full(max(1, repeats // 2), -1)]))
    half = -(-len(gratings) // 2)
    flash_end = 1.0 + len(flashes) * 45 / FPS
    first = (flash_end + 1.0, flash_end + 1.0 + half * 1.5)
    movie_frames = 45
    movie = (first[1] + 1.0, first[1] + 1.0 + movie_frames * 2 / FPS)
    second = (movie[1] + 1.0, movie[1] + 1.0 + (len(gratings) - half) * 1.5)
    return [
        Script(
            "flash_250ms", ("Color",), ((-1.0,), (1.0,)), tuple(flashes.tolist()), 15, 45, ((1.0, flash_end),),
            _GRATING.format(mask="None", name="flash", ori=0.0, sf="array([0., 0.])", size="[300., 300.]"),
        ),
        Script(
            "drifting_gratings", ("Ori", "TF", "SF"), tuple((45.0 * k, 2.0, 0.04) for k in range(8)),
            tuple(gratings.tolist()), 60, 90, (first, second),
            _GRATING.format(mask="None", name="grating", ori=0.0, sf="array([0.04, 0.04])", size="[250., 250.]"),
        ),
        Script(
            "natural_movie_1", (), (), tuple(range(movie_frames)), 2, 2, (movie,),
            "MovieStim(contrast=1.0, flipVert=True, name='movie', opacity=1.0, size=(1920, 1080), units='pix')",
        ),
    ]  # fmt: skip


def n_frames_of(scripts: Sequence[Script], *, after: float = 1.5) -> int:
    """Return how many frames the stimulus computer shows, some grey ones `after` the last script among them.

    The square changes for the last of them: with any other number AllenSDK puts every frame at a wrong time.
    """
    frames = (max(stop for script in scripts for _, stop in script.display) + PRE_BLANK + after) * FPS
    return 60 * round(frames / 60) + 1


def show(n_frames: int, start: float, drop: float, rng: np.random.Generator) -> ShownFrames:
    """Show frames from a session time on; a share `drop` of them stays for a second refresh."""
    refreshes = 1 + (rng.random(n_frames) < drop)
    onsets = start + np.concatenate([[0], np.cumsum(refreshes)]) * FRAME_PERIOD
    falling = onsets[:-1] - SCREEN_LAG + rng.normal(0.0, 2e-4, n_frames)
    edges = onsets[:-1:60] + rng.normal(0.0, 5e-5, len(onsets[:-1:60]))
    edges[1::2] += WHITE_LATER
    return ShownFrames(onsets, falling - _PULSE, falling, edges, np.flatnonzero(refreshes > 1))


def true_presentations(scripts: Sequence[Script], shown: ShownFrames) -> pd.DataFrame:
    """Return the sweeps of all scripts as they were on the screen, from their schedule alone, in order of time.

    ``start_time``, ``stop_time``, ``stimulus_name`` as in the release, and ``orientation``, ``color`` or ``frame``.
    """
    import pandas as pd

    names = {"flash_250ms": "flashes", "natural_movie_1": "natural_movie_one"}
    rows: list[dict[str, Any]] = []
    for script in scripts:
        remaining = list(script.sweep_order)
        for begin, end in script.display:
            frame = round((begin + PRE_BLANK) * FPS)
            while remaining and frame + script.period_frames <= round((end + PRE_BLANK) * FPS):
                kind = remaining.pop(0)
                row = {
                    "start_time": shown.onsets[frame],
                    "stop_time": shown.onsets[frame + script.on_frames],
                    "stimulus_name": names.get(script.name, script.name),
                }
                if script.name == "natural_movie_1":
                    row["frame"] = float(kind)
                elif kind >= 0:
                    row["orientation" if script.name == "drifting_gratings" else "color"] = script.sweep_table[kind][0]
                rows.append(row)
                frame += script.period_frames
    return pd.DataFrame(rows).sort_values("start_time", ignore_index=True)
