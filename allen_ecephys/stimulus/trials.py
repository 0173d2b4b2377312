"""What responses are aligned to: stimulus presentations, or any table of moments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..errors import FileFormatError, InvalidValueError
from ..ids import as_ids, as_names

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    Trials = ArrayLike | pd.DataFrame | None

#: Name of the time coordinate of everything aligned.
ALIGNED_TIME = "time_relative_to_stimulus_onset"

#: Name of the dimension along stimulus presentations, and along trials of a table of the caller's.
PRESENTATION, TRIAL = "stimulus_presentation_id", "trial_id"


def selected_trials(trials: Trials, presentations: pd.DataFrame) -> pd.DataFrame:
    """Return the rows to align to, in the order asked for.

    Parameters
    ----------
    trials
        Ids of stimulus presentations in any order and repetition, one id, None for all; the name of a stimulus, or
        several, for its presentations; or a table with a ``start_time`` column (s), such as
        ``session.optogenetic_stimulation_epochs`` or rows of a stimulus table.
    presentations
        The session's presentations.

    Returns
    -------
    DataFrame
        Its index is named ``stimulus_presentation_id``, or ``trial_id`` for a table of other moments; it becomes the
        first coordinate of what is aligned.

    Raises
    ------
    UnknownIdError, UnknownNameError
        For an id that is no presentation's, a name that is no stimulus of the session.
    FileFormatError
        If a table has no ``start_time``, or one that is no number.
    InvalidValueError
        If a start time is missing or infinite, or a trial ends before it starts.
    """
    if isinstance(trials, str) or (isinstance(trials, list) and trials and all(isinstance(t, str) for t in trials)):
        shown = presentations["stimulus_name"]
        return presentations[shown.isin(as_names(trials, shown.unique())).to_numpy()]
    if not isinstance(trials, pd.DataFrame):
        return presentations if trials is None else presentations.loc[as_ids(trials, presentations, "presentation")]
    require_columns(trials, "start_time")
    starts = _times(trials, "start_time")
    lacking = ~np.isfinite(starts)
    if lacking.any():
        msg = f"trial {trials.index[int(np.argmax(lacking))]} has no start_time: leave it out"
        raise InvalidValueError(msg)
    if "stop_time" in trials:
        backwards = _times(trials, "stop_time") < starts
        if backwards.any():
            first = trials.iloc[int(np.argmax(backwards))]
            msg = (
                f"trial {first.name} ends before it starts ({first['start_time']} to {first['stop_time']} s), "
                f"{int(backwards.sum())} trial(s) in all: are the two columns swapped?"
            )
            raise InvalidValueError(msg)
    return trials if trials.index.name == PRESENTATION else trials.rename_axis(index=TRIAL)


def _times(trials: pd.DataFrame, column: str) -> np.ndarray:
    """Return a column of times (s), NaN where there is none."""
    try:
        return trials[column].to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        msg = f"the {column} of a table of trials is in seconds; this column holds {trials[column].dtype} ({error})"
        raise FileFormatError(msg) from error


def require_columns(trials: pd.DataFrame, *columns: str) -> None:
    """Raise FileFormatError, naming them, for columns that a table of trials lacks."""
    lacking = [column for column in columns if column not in trials]
    if lacking:
        needed = f"a {lacking[0]} column" if len(lacking) == 1 else f"columns {', '.join(lacking)}"
        unit = " (s)" if all(column.endswith("_time") for column in lacking) else ""
        msg = f"a table of trials needs {needed}{unit} here; it has {', '.join(map(str, trials.columns))}"
        raise FileFormatError(msg)


def windows(trials: pd.DataFrame, edges: np.ndarray) -> np.ndarray:
    """Return the bin edges of each trial (s, shape (trials, edges))."""
    starts: np.ndarray = trials["start_time"].to_numpy(dtype=np.float64)
    return np.asarray(starts[:, np.newaxis] + edges)


def aligned_coords(trials: pd.DataFrame, edges: np.ndarray) -> dict[str, Any]:
    """Return the coordinates of an array of trials x bins; the time is the centre of each bin."""
    centres = (edges[:-1] + edges[1:]) / 2
    return {
        str(trials.index.name): trials.index.to_numpy(),
        ALIGNED_TIME: (ALIGNED_TIME, centres, {"units": "s", "long_name": "centre of the bin, from onset"}),
    }
