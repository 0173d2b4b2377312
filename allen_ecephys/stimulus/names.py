"""How raw names of stimuli and of their parameters become those of the release.

Rules of the data release (AllenSDK documentation and files, *Visual Coding - Neuropixels*), in the order in which they
apply. Names of released files pass through unchanged; earlier files, and files of other pipelines, get the same names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from ..errors import UnknownNameError

DIGITS = {
    "1": "one",
    "2": "two",
    "3": "three",
    "4": "four",
    "5": "five",
    "6": "six",
    "7": "seven",
    "8": "eight",
    "9": "nine",
}

#: Names of what stands between stimuli, or in the place of one.
NO_STIMULI = ("spontaneous", "invalid_presentation")

RELEASED_NAMES = {
    "": "spontaneous",
    "Natural Images": "natural_scenes",
    "flash_250ms": "flashes",
    "gabor_20_deg_250ms": "gabors",
    "contrast_response": "drifting_gratings_contrast",
    "Natural_Images_Shuffled": "natural_scenes_shuffled",
    "Natural_Images_Sequential": "natural_scenes_sequential",
    "motion_stimulus": "dot_motion",
    "drifting_gratings_more_repeats": "drifting_gratings_75_repeats",
    "signal_noise_test_0_200_repeats": "test_movie_one",
    "signal_noise_test_0": "test_movie_one",
    "signal_noise_test_1": "test_movie_two",
    "signal_noise_session_1": "dense_movie_one",
    "signal_noise_session_2": "dense_movie_two",
    "signal_noise_session_3": "dense_movie_three",
    "signal_noise_session_4": "dense_movie_four",
    "signal_noise_session_5": "dense_movie_five",
    "signal_noise_session_6": "dense_movie_six",
}

RELEASED_COLUMNS = {
    "Contrast": "contrast",
    "Ori": "orientation",
    "SF": "spatial_frequency",
    "TF": "temporal_frequency",
    "Phase": "phase",
    "Color": "color",
    "Image": "frame",
    "Pos_x": "x_position",
    "Pos_y": "y_position",
}

#: Parameters shown on request only: how a stimulus was drawn, not what it was.
DETAILED_COLUMNS = (
    "colorSpace",
    "flipHoriz",
    "flipVert",
    "depth",
    "interpolate",
    "mask",
    "opacity",
    "rgbPedestal",
    "tex",
    "texRes",
    "units",
    "rgb",
    "signalDots",
    "noiseDots",
    "fieldSize",
    "fieldShape",
    "fieldPos",
    "nDots",
    "dotSize",
    "dotLife",
    "color_triplet",
)

_MOVIE = re.compile(r"natural_movie_(?:(\d)|([a-z]+))(?=_|$)")
_SHUFFLED_MOVIE = "natural_movie_shuffled"


def released_name(name: str, all_names: Iterable[str]) -> str:
    """Return the released name of a stimulus.

    Parameters
    ----------
    name
        The raw name; empty for periods without a stimulus.
    all_names
        All raw names of the session: ``natural_movie_shuffled`` takes the number of the session's only movie.

    Raises
    ------
    UnknownNameError
        If a shuffled movie's number is asked for in a session that shows none or several movies.
    """
    if name == _SHUFFLED_MOVIE:
        numbers = movie_numbers(all_names)
        if len(numbers) != 1:
            msg = (
                f"{_SHUFFLED_MOVIE!r} does not say which movie was shuffled, and the session shows "
                f"{len(numbers)} movies ({', '.join(sorted(numbers)) or 'none'})"
            )
            raise UnknownNameError(msg)
        name = f"natural_movie_{numbers.pop()}_shuffled"
    if _MOVIE.match(name):
        name = "".join(DIGITS.get(letter, letter) for letter in name)
    return RELEASED_NAMES.get(name, name)


def movie_numbers(names: Iterable[str]) -> set[str]:
    """Return the numbers (as words) of the natural movies among some names."""
    found = [_MOVIE.match(name) for name in names]
    words = {DIGITS.get(match[1], str(match[2])) for match in found if match}
    return words & set(DIGITS.values())


def capital_twins(columns: Iterable[str]) -> list[tuple[str, str]]:
    """Return pairs of columns whose names differ in capitals only: the first of each spelling, and each later one."""
    first: dict[str, list[str]] = {}
    for name in columns:
        first.setdefault(name.lower(), []).append(name)
    return [(group[0], other) for group in first.values() for other in group[1:]]


def parsed(text: str) -> float | tuple[float, ...] | str | None:
    """Return a parameter's text as what it says: a number, a tuple of numbers, a text, or None where it says nothing.

    ``'0.08'`` -> 0.08, ``'[20.0, 20.0]'`` -> 20.0 (the same along both axes is one number), ``'[1920.0, 1080.0]'`` ->
    (1920.0, 1080.0), ``'circle'`` stays, ``''``, ``'N/A'``, ``'null'`` and ``'nan'`` -> None. Nothing is evaluated as
    code.
    """
    stripped = text.strip()
    if stripped in {"", "N/A", "null", "nan", "NaN"}:
        return None
    try:
        return float(stripped)
    except ValueError:
        pass
    if stripped[0] in "[(" and stripped[-1] in "])":
        try:
            held = tuple(float(part) for part in stripped[1:-1].split(",") if part.strip())
        except ValueError:
            return stripped
        return held[0] if len(held) == 2 and held[0] == held[1] else held
    return stripped


def is_triplet(value: object) -> bool:
    """Tell whether a parsed color is a vector of channels rather than one number."""
    return isinstance(value, tuple)


def missing(value: object) -> bool:
    """Tell whether a parsed value is none."""
    return value is None or (isinstance(value, float) and bool(np.isnan(value)))
