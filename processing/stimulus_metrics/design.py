"""What was shown: the presentations of one stimulus, their conditions, blocks and running speeds, without any unit."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from allen_ecephys.errors import FileFormatError
from allen_ecephys.stimulus.conditions import CONDITION, condition_ids

from .stimuli import Stimulus

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class StimulusDesign:
    """The presentations of one stimulus in one session, in order of time.

    Attributes
    ----------
    stimulus
        Which stimulus this is.
    session_name
        What the session calls it.
    start, stop
        (presentations,) float64, seconds on the session clock.
    condition
        (presentations,) int64, row of `conditions` that was shown.
    conditions
        One row a condition, sorted by condition id (its index): the stimulus' parameters as float64, NaN where a
        condition has none.
    blank
        (conditions,) bool, True for the blank (grey) condition.
    running_speed
        (presentations,) float64, mean speed in cm/s during each presentation, NaN where it was not measured.
    row
        (presentations,) int64, place of each presentation in the session's whole table.
    block
        (presentations,) int64, number that changes from one block of presentations to the next.
    """

    stimulus: Stimulus
    session_name: str
    start: NDArray[np.float64]
    stop: NDArray[np.float64]
    condition: NDArray[np.int64]
    conditions: pd.DataFrame
    blank: NDArray[np.bool_]
    running_speed: NDArray[np.float64]
    row: NDArray[np.int64]
    block: NDArray[np.int64]

    def parameter(self, name: str) -> NDArray[np.float64]:
        """Return the value of a parameter in each condition, (conditions,), NaN where it has none."""
        if name not in self.conditions:
            return np.full(len(self.conditions), np.nan)
        return self.conditions[name].to_numpy(dtype=np.float64)

    def values(self, name: str) -> NDArray[np.float64]:
        """Return the sorted values that a parameter takes, without NaN."""
        found = np.unique(self.parameter(name)[~self.blank])
        return found[np.isfinite(found)]

    @cached_property
    def repeats(self) -> NDArray[np.int64]:
        """Number of presentations of each condition, (conditions,)."""
        return np.bincount(self.condition, minlength=len(self.conditions)).astype(np.int64)

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """Presentations sorted by condition, those of one condition in order of time."""
        return np.argsort(self.condition, kind="stable").astype(np.int64)

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """Where each condition begins in :attr:`order`, (conditions + 1,)."""
        return np.concatenate([[0], np.cumsum(self.repeats)]).astype(np.int64)

    def trials_of(self, condition: int) -> NDArray[np.int64]:
        """Return the presentations of a condition."""
        return self.order[self.offsets[condition] : self.offsets[condition + 1]]

    @cached_property
    def parameter_rank(self) -> NDArray[np.int64]:
        """Place of each condition when conditions are sorted by their parameters (first parameter first)."""
        keys = [self.parameter(name) for name in reversed(self.stimulus.parameters)]
        rank = np.empty(len(self.conditions), dtype=np.int64)
        rank[np.lexsort(keys)] = np.arange(len(self.conditions))
        return rank


def prepare_presentations(presentations: pd.DataFrame) -> pd.DataFrame:
    """Return a presentation table sorted by start time, with a ``stimulus_condition_id``.

    It is kept where the table has one, else made (:func:`allen_ecephys.stimulus.conditions.condition_ids`).

    Raises
    ------
    FileFormatError
        If the table lacks the name or the times of the presentations.
    """
    for column in ("stimulus_name", "start_time", "stop_time"):
        if column not in presentations:
            msg = f"the presentation table has no column {column!r}; it has {', '.join(map(str, presentations))}"
            raise FileFormatError(msg)
    table = presentations.sort_values("start_time", kind="stable").reset_index(drop=True)
    if CONDITION not in table:
        table[CONDITION] = condition_ids(table)
    return table


def build_design(
    presentations: pd.DataFrame,
    stimulus: Stimulus,
    running: tuple[NDArray[np.float64], NDArray[np.float64]] | None,
) -> StimulusDesign | None:
    """Return what a session showed of a stimulus, or None if it showed none of it.

    Parameters
    ----------
    presentations
        As :func:`prepare_presentations` returns it.
    stimulus
        Which stimulus.
    running
        Start times (s) and speeds (cm/s) of the running samples, or None.
    """
    names = presentations["stimulus_name"].astype("str")
    session_name = stimulus.find_in(names.unique())
    if session_name is None:
        return None
    usable = (names == session_name) & presentations[CONDITION].notna()
    usable &= presentations["start_time"].notna() & presentations["stop_time"].notna()
    row = np.flatnonzero(usable.to_numpy())
    if not row.size:
        return None
    table = presentations.iloc[row]
    ids, first, condition = np.unique(table[CONDITION].to_numpy(dtype=np.int64), return_index=True, return_inverse=True)
    conditions = pd.DataFrame(
        {
            name: pd.to_numeric(table[name], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)[first]
            for name in stimulus.parameters
            if name in table
        },
        index=pd.Index(ids, name=CONDITION),
    )
    start = table["start_time"].to_numpy(dtype=np.float64)
    stop = table["stop_time"].to_numpy(dtype=np.float64)
    return StimulusDesign(
        stimulus=stimulus,
        session_name=session_name,
        start=start,
        stop=stop,
        condition=condition.astype(np.int64).ravel(),
        conditions=conditions,
        blank=_blank_conditions(conditions, stimulus),
        running_speed=mean_speeds(start, stop, running),
        row=row.astype(np.int64),
        block=_blocks(table, row),
    )


def mean_speeds(
    start: NDArray[np.float64],
    stop: NDArray[np.float64],
    running: tuple[NDArray[np.float64], NDArray[np.float64]] | None,
) -> NDArray[np.float64]:
    """Return the mean running speed during each interval.

    Parameters
    ----------
    start, stop
        (intervals,) seconds; samples that begin in [start, stop) count.
    running
        Start times (s, sorted) and speeds (cm/s) of the samples, or None.

    Returns
    -------
    numpy.ndarray
        (intervals,) cm/s; NaN where no sample with a finite speed begins in the interval.
    """
    means = np.full(len(start), np.nan)
    if running is None or not len(running[0]):
        return means
    times, speeds = running
    first = np.searchsorted(times, start, side="left")
    last = np.searchsorted(times, stop, side="left")
    some = np.flatnonzero(last > first)
    if not some.size:
        return means
    begin, end = int(first[some].min()), int(last[some].max())
    finite = np.isfinite(speeds[begin:end])
    # one value more, so that an interval may end with the last sample
    value = np.append(np.where(finite, speeds[begin:end], 0.0), 0.0)
    count = np.append(finite.astype(np.int64), 0)
    edges = np.column_stack([first[some], last[some]]).ravel() - begin
    total = np.add.reduceat(value, edges)[::2]
    number = np.add.reduceat(count, edges)[::2]
    means[some[number > 0]] = total[number > 0] / number[number > 0]
    return means


def _blank_conditions(conditions: pd.DataFrame, stimulus: Stimulus) -> NDArray[np.bool_]:
    if stimulus.blank_parameter is None or stimulus.blank_parameter not in conditions:
        return np.zeros(len(conditions), dtype=bool)
    value = conditions[stimulus.blank_parameter].to_numpy(dtype=np.float64)
    blank: NDArray[np.bool_] = np.isnan(value)
    if stimulus.blank_parameter == "frame":
        blank |= value == -1
    return blank


def _blocks(table: pd.DataFrame, row: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count up the runs of presentations that no other row interrupts and that share a stimulus block."""
    new = np.ones(len(row), dtype=bool)
    new[1:] = np.diff(row) > 1
    if "stimulus_block" in table:
        block = pd.to_numeric(table["stimulus_block"], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        new[1:] |= (block[1:] != block[:-1]) & ~(np.isnan(block[1:]) & np.isnan(block[:-1]))
    return np.cumsum(new).astype(np.int64)
