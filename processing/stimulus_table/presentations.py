"""The table of presentations: when which stimulus was on the screen, from a stimulus pickle or a plain table."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from allen_ecephys.errors import FileFormatError, SynchronizationError
from allen_ecephys.written_tables import read_written_table

from .naming import released_names
from .sweeps import presentations_in_frames

if TYPE_CHECKING:
    import pandas as pd

    from .frame_times import FrameTimes
    from .stimulus_pickles import StimulusPickle

logger = logging.getLogger(__name__)

_TIMES: Final = ("start_time", "stop_time")
_FRAMES: Final = ("start_frame", "stop_frame")


def presentations_of_pickle(pickle: StimulusPickle, frames: FrameTimes) -> pd.DataFrame:
    """Return the presentations that a stimulus pickle describes, on the session's clock.

    Parameters
    ----------
    pickle
        What the stimulus computer wrote.
    frames
        When its frames were shown.

    Returns
    -------
    pandas.DataFrame
        One row a presentation in order of time: ``start_time``, ``stop_time`` (s), ``stimulus_name``,
        ``stimulus_block``, ``stimulus_index``, and the parameters, NaN where they do not apply.

    Raises
    ------
    SynchronizationError
        If the table names frames that the sync file did not see, or intervals that end before they start.
    FileFormatError, MissingDataError
        If the pickle lacks what a table is made of.
    """
    fps, blank = pickle.frames_per_second, pickle.pre_blank_seconds
    if pickle.n_frames is not None and pickle.n_frames != len(frames):
        logger.warning(
            "%s tells of %d frames, the sync file of %d; frame %d is taken for the first of both",
            pickle.path, pickle.n_frames, len(frames), 0,
        )  # fmt: skip
    table = presentations_in_frames(pickle.stimuli, lambda seconds: (np.asarray(seconds, np.float64) + blank) * fps)
    return _on_clock(released_names(table), frames)


def read_presentations(path: str | os.PathLike[str], frames: FrameTimes | None = None) -> pd.DataFrame:
    """Read presentations from a plain table, for labs whose stimuli are described otherwise.

    Parameters
    ----------
    path
        ``.csv`` or ``.parquet``, one row a presentation. Columns: ``stimulus_name``, and either ``start_time`` and
        ``stop_time`` (s, session clock) or ``start_frame`` and ``stop_frame`` (the frame after the last), any
        parameters, and ``stimulus_block`` if blocks are to be other than runs of one stimulus.
    frames
        When frames were shown; needed for a table in frames.

    Returns
    -------
    pandas.DataFrame
        As :func:`presentations_of_pickle`. Gaps are left as they are: a table says itself what is spontaneous.

    Raises
    ------
    MissingFileError, FileFormatError
        If there is no such table, or it lacks a column.
    SynchronizationError
        If frames were not seen, or intervals end before they start.
    """
    place = Path(path)
    if place.suffix not in {".csv", ".parquet"}:
        msg = f"{place}: presentations are read from .csv or .parquet, not {place.suffix or 'a file without suffix'}"
        raise FileFormatError(msg)
    table = read_written_table(place)
    timed = set(_TIMES) <= set(table.columns)
    if "stimulus_name" not in table.columns or not (timed or set(_FRAMES) <= set(table.columns)):
        msg = (
            f"{place} has the columns {', '.join(map(str, table.columns))}; needed are stimulus_name and either "
            "start_time and stop_time (s) or start_frame and stop_frame"
        )
        raise FileFormatError(msg)
    table["stimulus_name"] = table["stimulus_name"].astype(object).where(table["stimulus_name"].notna(), "spontaneous")
    table = table.sort_values("start_time" if timed else "start_frame", kind="stable", ignore_index=True)
    if "stimulus_block" not in table.columns:
        table["stimulus_block"] = _runs(table["stimulus_name"])
    if not timed:
        if frames is None:
            msg = f"{place} counts frames; give the frame times of the session"
            raise FileFormatError(msg)
        return _on_clock(table, frames)
    _check_order(table, str(place))
    return table


def _runs(names: pd.Series[Any]) -> Any:
    """Return the number of each row's run of one stimulus, NaN for spontaneous ones."""
    shown = names[names != "spontaneous"]
    begins = (names != names.shift()).loc[shown.index]
    return (begins.cumsum() - 1).astype(np.float64).reindex(names.index)


def _on_clock(table: pd.DataFrame, frames: FrameTimes) -> pd.DataFrame:
    timed = table.drop(columns=list(_FRAMES))
    for position, (name, frame) in enumerate(zip(_TIMES, _FRAMES, strict=True)):
        timed.insert(position, name, frames.at(np.rint(table[frame].to_numpy(np.float64)).astype(np.int64)))
    _check_order(timed, "the stimulus table")
    return timed


def _check_order(table: pd.DataFrame, where: str) -> None:
    start, stop = (table[name].to_numpy(np.float64) for name in _TIMES)
    wrong = np.flatnonzero(~(stop > start))
    if len(wrong):
        row = int(wrong[0])
        msg = (
            f"{where}: {len(wrong):,} presentations do not end after they start, the first of them "
            f"{table['stimulus_name'].iloc[row]!r} (row {row}, {start[row]} s to {stop[row]} s)"
        )
        raise SynchronizationError(msg)


def within_recording(presentations: pd.DataFrame, stop: float) -> pd.DataFrame:
    """Return the presentations that ended before the recording did, and say how many did not."""
    whole = presentations["stop_time"] <= stop
    if not whole.all():
        lost = presentations.loc[~whole, "stimulus_name"].value_counts()
        logger.warning(
            "the recording ends at %.3f s, before %d of %d presentations did; they are left out: %s",
            stop, int((~whole).sum()), len(presentations), ", ".join(f"{n} {name}" for name, n in lost.items()),
        )  # fmt: skip
    return presentations[whole].reset_index(drop=True)
