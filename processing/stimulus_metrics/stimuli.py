"""The stimuli that metrics are computed for: their names in a session, their nominal duration, their parameters."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from allen_ecephys.errors import UnknownNameError, suggest


@dataclass(frozen=True)
class Stimulus:
    """One kind of stimulus.

    Parameters
    ----------
    name
        What it is called here.
    suffix
        Last part of the names of its metric columns (``dg`` in ``pref_ori_dg``).
    session_names
        Names under which sessions show it, in lower case. The first name of the session that matches is used.
    duration
        Nominal time on the screen, seconds.
    parameters
        Columns of the presentation table that tell its conditions apart.
    blank_parameter
        Column whose missing value (or value -1, for natural scenes) marks a blank presentation; None if it has none.
    by_prefix
        Whether a session's name needs only to begin with one of `session_names`.
    release_keeps_blank
        Whether the released metrics treat the blank condition like any other.
    """

    name: str
    suffix: str
    session_names: tuple[str, ...]
    duration: float
    parameters: tuple[str, ...]
    blank_parameter: str | None = None
    by_prefix: bool = False
    release_keeps_blank: bool = False

    def find_in(self, session_names: Iterable[str]) -> str | None:
        """Return the first name of a session that is this stimulus, or None."""
        for name in session_names:
            lower = name.lower()
            if lower in self.session_names or (self.by_prefix and lower.startswith(self.session_names)):
                return name
        return None


DRIFTING_GRATINGS = Stimulus(
    "drifting_gratings",
    "dg",
    ("drifting_gratings", "drifting_gratings_75_repeats"),
    2.0,
    ("orientation", "temporal_frequency", "contrast"),
    "temporal_frequency",
)
CONTRAST = Stimulus(
    "drifting_gratings_contrast",
    "dg",
    ("drifting_gratings_contrast",),
    0.5,
    ("orientation", "contrast"),
)
STATIC_GRATINGS = Stimulus(
    "static_gratings",
    "sg",
    ("static_gratings",),
    0.25,
    ("orientation", "spatial_frequency", "phase"),
    "spatial_frequency",
)
NATURAL_SCENES = Stimulus(
    "natural_scenes",
    "ns",
    ("natural_scenes", "natural_images", "natural images"),
    0.25,
    ("frame",),
    "frame",
)
DOT_MOTION = Stimulus(
    "dot_motion",
    "dm",
    ("motion_stimulus", "dot_motion"),
    1.0,
    ("Dir", "Speed"),
    "Dir",
    release_keeps_blank=True,
)
FLASHES = Stimulus("flashes", "fl", ("flash",), 0.25, ("color",), by_prefix=True)
GABORS = Stimulus(
    "gabors",
    "rf",
    ("gabor", "receptive_field_mapping"),
    0.25,
    ("x_position", "y_position", "orientation"),
    by_prefix=True,
)
NATURAL_MOVIE_ONE = Stimulus(
    "natural_movie_one",
    "nm1",
    ("natural_movie_one", "natural_movie_one_more_repeats"),
    1 / 30,
    ("frame",),
)
NATURAL_MOVIE_THREE = Stimulus("natural_movie_three", "nm3", ("natural_movie_three",), 1 / 30, ("frame",))

#: Every stimulus with metrics of its own, by name, in the order of the columns they make.
STIMULI = {
    stimulus.name: stimulus
    for stimulus in (
        DRIFTING_GRATINGS,
        STATIC_GRATINGS,
        NATURAL_SCENES,
        DOT_MOTION,
        FLASHES,
        GABORS,
        NATURAL_MOVIE_ONE,
        NATURAL_MOVIE_THREE,
        CONTRAST,
    )
}


def get_stimulus(name: str) -> Stimulus:
    """Return the stimulus of this name.

    Raises
    ------
    UnknownNameError
        If there is no such stimulus.
    """
    if name not in STIMULI:
        msg = f"no stimulus is called {name!r}{suggest(name, STIMULI) or '.'} Known: {', '.join(STIMULI)}"
        raise UnknownNameError(msg)
    return STIMULI[name]
