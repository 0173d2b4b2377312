"""Names of stimuli and parameters, from what scripts call them to what the release does."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from allen_ecephys.errors import FileFormatError

if TYPE_CHECKING:
    import pandas as pd

SPONTANEOUS: Final = "spontaneous"

STIMULUS_NAMES: Final[Mapping[str, str]] = {
    "": SPONTANEOUS,
    "Natural Images": "natural_scenes",
    "flash_250ms": "flashes",
    "gabor_20_deg_250ms": "gabors",
    "contrast_response": "drifting_gratings_contrast",
    "Natural_Images_Shuffled": "natural_scenes_shuffled",
    "Natural_Images_Sequential": "natural_scenes_sequential",
    "motion_stimulus": "dot_motion",
    "drifting_gratings_more_repeats": "drifting_gratings_75_repeats",
    "signal_noise_test_0": "test_movie_one",
    "signal_noise_test_0_200_repeats": "test_movie_one",
    "signal_noise_test_1": "test_movie_two",
    **{
        f"signal_noise_session_{k}": f"dense_movie_{word}"
        for k, word in enumerate(("one", "two", "three", "four", "five", "six"), start=1)
    },
}

COLUMN_NAMES: Final[Mapping[str, str]] = {
    "Contrast": "contrast",
    "Ori": "orientation",
    "SF": "spatial_frequency",
    "TF": "temporal_frequency",
    "Phase": "phase",
    "Color": "color",
    "Image": "frame",
    "Pos_x": "x_position",
    "Pos_y": "y_position",
    # Constants are spelled so where no script of the session varies them.
    "ori": "orientation",
    "sf": "spatial_frequency",
    "tf": "temporal_frequency",
}

_DIGITS: Final = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_MOVIE: Final = re.compile(r"natural_movie_(\d|one|two|three|four|five|six|seven|eight|nine)")
_SHUFFLED: Final = "natural_movie_shuffled"


def released_names(presentations: pd.DataFrame) -> pd.DataFrame:
    """Return presentations with stimuli and parameters named as in the release.

    Columns that differ only in case (``Contrast``, ``contrast``) become one where no row has both; columns without any
    value go. Rows without a stimulus are ``spontaneous``; natural movies are numbered in words.

    Raises
    ------
    FileFormatError
        If a shuffled movie was shown and the session has not exactly one other natural movie.
    """
    table = _one_spelling(presentations)
    table = table[[name for name in table.columns if name == "stimulus_name" or table[name].notna().any()]]
    names = table["stimulus_name"].astype(object).where(table["stimulus_name"].notna(), "").astype(str)
    # Few names, many rows.
    renamed = {name: STIMULUS_NAMES.get(spelled := _in_words(name), spelled) for name in names.unique()}
    if _SHUFFLED in renamed.values():
        renamed = _numbered_shuffled(renamed)
    return table.assign(stimulus_name=names.map(renamed)).rename(columns=dict(COLUMN_NAMES))


def _one_spelling(table: pd.DataFrame) -> pd.DataFrame:
    merged = table.copy()
    for name in table.columns:
        for other in (name.upper(), name.capitalize()):
            if name not in merged or other not in merged or other == name:
                continue
            if not (merged[name].notna() & merged[other].notna()).any():
                merged[name] = merged[name].where(merged[name].notna(), merged[other])
                merged = merged.drop(columns=other)
            break
    return merged


def _in_words(name: str) -> str:
    """Spell the numbers in the name of a natural movie."""
    return re.sub(r"\d", lambda digit: _DIGITS[int(digit.group())], name) if _MOVIE.search(name) else name


def _numbered_shuffled(renamed: Mapping[str, str]) -> dict[str, str]:
    """Name the shuffled movie after the one that the session shows in order."""
    numbers = {match.group(1) for name in renamed.values() if (match := _MOVIE.match(name))}
    if len(numbers) != 1:
        msg = (
            f"{_SHUFFLED} was shown, and {'no other natural movie' if not numbers else ', '.join(sorted(numbers))} "
            "besides: it cannot be said of which movie the frames are"
        )
        raise FileFormatError(msg)
    number = numbers.pop()
    return {k: f"natural_movie_{number}_shuffled" if v == _SHUFFLED else v for k, v in renamed.items()}
