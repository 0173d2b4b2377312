"""What one session answers of a population's questions: the session's own kernels, on the population's units of it.

Each function opens the session, answers and closes it; all of them can be sent to another process.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from allen_ecephys.errors import InvalidTypeError

from .indexed_session import IndexedStimuli, opened

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from ..index.project_index import ProjectIndex
    from .indexed_session import IndexedSession

    Ids = np.ndarray[Any, np.dtype[np.int64]]

Value = TypeVar("Value")


@dataclass(frozen=True)
class Answer(Generic[Value]):
    """What came of asking one session.

    Attributes
    ----------
    value
        The answer; None where there is none.
    unit_ids
        The units that it is about.
    shown
        What the session shows instead, where it does not show the stimulus asked for.
    failed
        Why it could not answer.
    """

    value: Value | None
    unit_ids: Ids = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    shown: Sequence[str] | None = None
    failed: str | None = None


@dataclass(frozen=True)
class Stimulus:
    """Which presentations, and whether those that are invalid for a unit's probe are left out of its averages."""

    names: str | Sequence[str]
    mask_invalid_intervals: bool = True

    def __post_init__(self) -> None:
        """Refuse what names no stimulus.

        Raises
        ------
        InvalidTypeError
            If it is no text, or texts.
        """
        if hasattr(self.names, "columns"):
            msg = (
                'a stimulus is named by text, as "flashes", or several by a list of texts; got a table: moments differ '
                "between sessions, each of which takes a table of its own, session.psth(bin_edges, table)"
            )
            raise InvalidTypeError(msg)
        names = [self.names] if isinstance(self.names, str) or not isinstance(self.names, Iterable) else [*self.names]
        if not names or not all(isinstance(name, str) and name for name in names):
            swapped = names and all(isinstance(name, (int, float, np.number)) for name in names)
            hint = ": are the two arguments swapped? A population takes (stimulus, bin_edges)" if swapped else ""
            given = f"{self.names!r:.80}{hint}"
            msg = f'a stimulus is named by text, as "flashes", or several by a list of texts; got {given}'
            raise InvalidTypeError(msg)

    def __str__(self) -> str:
        return repr(self.names) if isinstance(self.names, str) else " or ".join(map(repr, self.names))


def shown_by(project: ProjectIndex, session_id: int, units: pd.DataFrame, stimulus: Stimulus) -> Answer[bool]:
    """Tell whether a session shows a stimulus, outside its invalid times."""
    index = project.of(session_id)
    if IndexedStimuli(index).trials(stimulus.names) is None:
        return Answer(None, shown=index.stimulus_names)
    ids = units.index.to_numpy(np.int64)
    return Answer(True, ids[np.isin(ids, index.places.unit_ids)])


def psth_of(
    project: ProjectIndex,
    session_id: int,
    units: pd.DataFrame,
    stimulus: Stimulus,
    edges: Any,
    smoothing: float | None,
    by: str | None,
) -> Answer[list[xr.Dataset]]:
    """Return the histograms of a session's units, in parts whose units share their presentations."""
    from allen_ecephys.spikes.responses import psth

    with opened(project, session_id) as session:
        trials = session.trials(stimulus.names)
        if trials is None:
            return Answer(None, shown=session.index.stimulus_names)
        starts = trials["start_time"].to_numpy(np.float64)
        parts, ids = [], []
        for unit_ids, kept in _sharing(session, units, starts + edges[0], starts + edges[-1], stimulus):
            ids.append(unit_ids)
            parts.append(psth(session.spikes, unit_ids, trials[kept], edges, smoothing, by))
        return Answer(parts, _joined(ids))


def statistics_of(
    project: ProjectIndex, session_id: int, units: pd.DataFrame, stimulus: Stimulus, use_rates: bool
) -> Answer[tuple[pd.DataFrame, list[tuple[Ids, pd.DataFrame]]]]:
    """Return the conditions of a stimulus, and the statistics of a session's units in parts as :func:`psth_of`."""
    from allen_ecephys.spikes.aligned import condition_spike_statistics
    from allen_ecephys.stimulus.conditions import CONDITION

    with opened(project, session_id) as session:
        trials = session.trials(stimulus.names)
        if trials is None:
            return Answer(None, shown=session.index.stimulus_names)
        first = trials.drop_duplicates(CONDITION).set_index(CONDITION)
        starts, stops = trials["start_time"].to_numpy(np.float64), trials["stop_time"].to_numpy(np.float64)
        parts, ids = [], []
        for unit_ids, kept in _sharing(session, units, starts, stops, stimulus):
            ids.append(unit_ids)
            found = condition_spike_statistics(session.spikes, unit_ids, trials[kept], use_rates=use_rates, compat=None)
            parts.append((unit_ids, found))
        return Answer((first, parts), _joined(ids))


def responses_of(
    project: ProjectIndex, session_id: int, units: pd.DataFrame, stimulus: str, window: tuple[float, float] | None
) -> xr.Dataset:
    """Return the responses of a session's units to each presentation of a stimulus."""
    import xarray as xr

    from allen_ecephys.spikes.responses import responses

    with opened(project, session_id) as session:
        mine = units[session.held(units.index.to_numpy())]
        mine = mine.assign(probe_description=mine["probe_name"])
        parts = [
            responses(session.spikes, mine.loc[ids], session.presentations, stimulus, window)
            for ids in session.batches(mine.index.to_numpy(np.int64))
        ]
        whole = parts[0] if len(parts) == 1 else xr.concat(parts, "unit_id")
        begins, ends = whole["start_time"].to_numpy(), whole["stop_time"].to_numpy()
        if window is not None:
            begins, ends = begins + window[0], begins + window[1]
        return whole.assign_coords(valid=_validity(session, mine, begins, ends))


def counts_of(
    project: ProjectIndex,
    session_id: int,
    units: pd.DataFrame,
    stimulus: str | Sequence[str],
    edges: Any,
    options: dict[str, Any],
) -> xr.DataArray:
    """Return the counts of a session's units in bins around each presentation of a stimulus."""
    import xarray as xr

    from allen_ecephys.errors import UnknownNameError
    from allen_ecephys.spikes.aligned import spike_counts

    with opened(project, session_id) as session:
        trials = session.trials(stimulus)
        if trials is None:
            msg = f"session {session_id} shows no {stimulus!r}; it shows {', '.join(session.index.stimulus_names)}"
            raise UnknownNameError(msg)
        mine = units[session.held(units.index.to_numpy())]
        parts: list[Any] = [
            spike_counts(
                session.spikes,
                ids,
                trials,
                edges,
                large_bin_size_threshold=0.001,
                time_domain_callback=None,
                compat=None,
                sparse=False,
                **options,
            )
            for ids in session.batches(mine.index.to_numpy(np.int64))
        ]
        whole: xr.DataArray = parts[0] if len(parts) == 1 else xr.concat(parts, "unit_id")
        starts = trials["start_time"].to_numpy(np.float64)
        return whole.assign_coords(valid=_validity(session, mine, starts + edges[0], starts + edges[-1]))


def _sharing(
    session: IndexedSession, units: pd.DataFrame, begins: Any, ends: Any, stimulus: Stimulus
) -> Iterator[tuple[Ids, np.ndarray[Any, np.dtype[np.bool_]]]]:
    """Yield the units that the file holds, in groups for which the same presentations are valid, with these."""
    mine = units[session.held(units.index.to_numpy())]
    groups: dict[bytes, list[str]] = {}
    for probe in mine["probe_name"].unique():
        kept = ~session.invalid_for(str(probe), begins, ends)
        if not stimulus.mask_invalid_intervals:
            kept[:] = True
        groups.setdefault(kept.tobytes(), []).append(probe)
    for mask, probes in groups.items():
        ids = mine.index[mine["probe_name"].isin(probes)].to_numpy(np.int64)
        for batch in session.batches(ids):
            yield batch, np.frombuffer(mask, dtype=bool)


def _validity(session: IndexedSession, units: pd.DataFrame, begins: Any, ends: Any) -> Any:
    """Return, as a coordinate, whether each presentation (row) is valid for each unit's probe."""
    probes = units["probe_name"].unique()
    valid = np.stack([~session.invalid_for(str(p), begins, ends) for p in probes], 1) if len(probes) else None
    at = {probe: number for number, probe in enumerate(probes)}
    columns = units["probe_name"].map(at).to_numpy(np.int64)
    values = np.empty((len(begins), 0), dtype=bool) if valid is None else valid[:, columns]
    return (("stimulus_presentation_id", "unit_id"), values)


def _joined(ids: list[Ids]) -> Ids:
    return np.concatenate(ids) if ids else np.empty(0, dtype=np.int64)
