"""Finding the events of a probe's barcode line among what its recorder wrote."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import numpy as np

from allen_ecephys.errors import MissingDataError

from .barcodes import ProbeEvents

#: Names of states and sample numbers, those of today's recorder last.
_FILES: Final = (("channel_states.npy", "event_timestamps.npy"), ("states.npy", "sample_numbers.npy"))


def read_probe_events(folder: str | os.PathLike[str]) -> ProbeEvents:
    """Read the changes of a probe's barcode line from an Open Ephys folder, or one of the release's raw data.

    Parameters
    ----------
    folder
        Holds, itself or somewhere below, ``channel_states.npy`` and ``event_timestamps.npy`` (or ``states.npy`` and
        ``sample_numbers.npy``).

    Raises
    ------
    MissingDataError
        If no events are there, or those of several lines.
    FileFormatError
        If they do not fit together.
    """
    place = Path(folder)
    found = [
        (states, numbers)
        for states_name, numbers_name in _FILES
        for states in sorted(place.rglob(states_name))
        if (numbers := states.with_name(numbers_name)).is_file()
    ]
    if len(found) != 1:
        which = ", ".join(str(states.parent) for states, _ in found)
        problem = f"holds the events of several lines ({which}): name one of them" if found else "holds no events"
        msg = f"{place} {problem}; barcodes are read from {_FILES[0][0]} and {_FILES[0][1]} of one line"
        raise MissingDataError(msg)
    states, numbers = found[0]
    return ProbeEvents.from_arrays(np.load(numbers), np.load(states), str(states.parent))
