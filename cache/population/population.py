"""The units of a project as one population: :class:`Population`, made by :meth:`.EcephysProjectCache.population`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from allen_ecephys.errors import InvalidTypeError, UnknownIdError, UnknownNameError, suggest

from ..index.project_index import ProjectIndex, missing_session
from .answers import Stimulus, counts_of, psth_of, responses_of, shown_by, statistics_of
from .gathering import SaidOnce, answers
from .indexed_session import opened, session_of
from .selection import selected_units

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from numpy.typing import ArrayLike, DTypeLike

    from allen_ecephys.session.session import EcephysSession
    from allen_ecephys.units.filter import UnitFilter

    from ..session_files import SessionFiles

    Floats = np.ndarray[Any, np.dtype[np.float64]]

Value = TypeVar("Value")


class Population:
    """Units of many sessions, asked at once.

    Every answer is made by the calls of the sessions themselves, on their own kernels, and equals theirs bit for bit;
    what is added is which session holds a unit. The order of units is that of :attr:`units`.

    Sessions whose files are not in the cache, or are damaged, and those that do not show a stimulus, are not in an
    answer; a warning names them, and :attr:`sessions` tells beforehand which files are there.

    Parameters
    ----------
    sessions
        The project's session files.
    units
        Ids, a table of units or a condition on them (see :meth:`.EcephysProjectCache.population`).
    unit_filter
        The filter.
    stream
        Whether files that are not in the cache are read by ranges.
    executor
        Where sessions are asked.

    Examples
    --------
    >>> population = cache.population("snr > 3")
    >>> len(population)
    16
    >>> unit = population.units.index[0]
    >>> population.spike_times[unit][:3]
    array([0.18261348, 0.23283672, 0.29888849])
    """

    def __init__(
        self,
        sessions: SessionFiles,
        units: str | Iterable[int] | pd.DataFrame | None = None,
        unit_filter: UnitFilter | None = None,
        *,
        stream: bool = False,
        executor: Executor | None = None,
    ) -> None:
        if executor is not None and not callable(getattr(executor, "submit", None)):
            msg = f"executor takes tasks by its `submit`, as concurrent.futures.ThreadPoolExecutor(4); got {executor!r}"
            raise InvalidTypeError(msg)
        self._units = selected_units(sessions.queries, units, unit_filter)
        self._project = ProjectIndex(sessions, stream=stream)
        self._executor = executor
        owners = self._units["ecephys_session_id"]
        self._session_of = dict(zip(self._units.index.tolist(), owners.tolist(), strict=True))
        self._units_of = {int(session_id): part for session_id, part in self._units.groupby(owners, sort=False)}

    # --- what is in it -------------------------------------------------------------------------------------------

    @property
    def units(self) -> pd.DataFrame:
        """The units, session by session; columns of :meth:`.EcephysProjectCache.get_units`.

        Examples
        --------
        >>> population = cache.population("snr > 3")
        >>> population.units["ecephys_structure_acronym"].value_counts().head(2)
        ecephys_structure_acronym
        DG      3
        VISp    3
        Name: count, dtype: int64
        """
        return self._units.copy()

    @property
    def sessions(self) -> pd.DataFrame:
        """The sessions that hold the units.

        Index: session id. Columns: ``session_type``, ``unit_count`` (of this population) and ``file``: ``present`` in
        the cache, ``remote`` (to be read by ranges) or ``missing``. Nothing is opened, and no request made.

        Examples
        --------
        >>> cache.population("snr > 3").sessions
                                     session_type  unit_count     file
        ecephys_session_id
        700000001           brain_observatory_1.1          16  present
        """
        import pandas as pd

        types = self._units.drop_duplicates("ecephys_session_id").set_index("ecephys_session_id")["session_type"]
        rows = [
            (session_id, types[session_id], len(units), self._project.where(session_id))
            for session_id, units in self._units_of.items()
        ]
        columns = ["ecephys_session_id", "session_type", "unit_count", "file"]
        return pd.DataFrame(rows, columns=columns).set_index("ecephys_session_id")

    @property
    def spike_times(self) -> PopulationSpikeTimes:
        """Mapping unit id -> spike times (float64 s on its session's clock, ascending, read-only), read on demand.

        Nothing is kept: a unit asked for again is read again. Spikes in invalid times are not removed.

        Examples
        --------
        >>> population = cache.population("snr > 3")
        >>> sum(len(times) for times in population.spike_times.values())
        40139
        """
        return PopulationSpikeTimes(self._project, self._session_of)

    def session(self, session_id: int) -> EcephysSession:
        """Return one session with all its units, unfiltered; the caller closes it.

        Raises
        ------
        UnknownIdError
            If no unit of the population is of that session.
        MissingFileError
            If its file is not in the cache and is not streamed.

        Examples
        --------
        >>> with cache.population("snr > 3").session(session_id) as session:
        ...     print(session.num_units)
        150
        """
        return session_of(self._project, self._known_session(session_id))

    # --- responses -----------------------------------------------------------------------------------------------

    def psth(
        self,
        stimulus: str | Sequence[str],
        bin_edges: ArrayLike,
        *,
        smoothing: float | None = None,
        by: str | None = None,
        mask_invalid_intervals: bool = True,
    ) -> xr.Dataset:
        """Return firing rates around stimulus onset, averaged over presentations, of all units.

        Parameters
        ----------
        stimulus
            Name of a stimulus, or several.
        bin_edges
            Ascending times (s) from onset; bins are half-open, ``[a, b)``.
        smoothing
            Standard deviation (s) of a Gaussian that smooths each presentation.
        by
            Column of the presentations: one average for each of its values, whichever session they are of.
        mask_invalid_intervals
            Leave presentations out of a unit's average whose window touches an interval that is invalid for its probe
            (``session.invalid_times`` tagged with the probe's name or ``all_probes``). If False, the average is that
            of ``session.psth``.

        Returns
        -------
        Dataset
            ``rate`` and ``sem`` (Hz; unit_id x time, before them the dimension named by `by`) and
            ``presentation_count`` of each unit. ``ecephys_session_id`` and ``ecephys_structure_acronym`` are
            coordinates of the units.

        Raises
        ------
        UnknownNameError
            If no session shows the stimulus.
        MissingDataError
            If no session could be read.
        InvalidValueError
            If edges do not ascend, or `smoothing` is asked of uneven bins.

        Warns
        -----
        UserWarning
            Once, where sessions or units are not in the result: which, and why.

        Examples
        --------
        >>> psth = cache.population("snr > 3").psth("flashes", np.arange(-0.1, 0.4, 0.01), by="color")
        >>> psth["rate"].groupby("ecephys_structure_acronym").mean().sizes["color"]
        2
        """
        from allen_ecephys.spikes.aligned import checked_edges, warn_of_long_edges

        from .joining import joined_psth

        edges = checked_edges(bin_edges)
        warn_of_long_edges(edges)
        found = self._answers("histograms", psth_of, Stimulus(stimulus, mask_invalid_intervals), edges, smoothing, by)
        return joined_psth(found, self._units, by)

    def conditionwise_spike_statistics(
        self, stimulus: str | Sequence[str], *, use_rates: bool = False, mask_invalid_intervals: bool = True
    ) -> xr.Dataset:
        """Summarise the spike counts of all units in each condition of a stimulus.

        Conditions are those of equal stimulus and parameters, whatever number a session gives them.

        Parameters
        ----------
        stimulus
            Name of a stimulus, or several.
        use_rates
            Use counts divided by each presentation's duration (Hz) instead of counts.
        mask_invalid_intervals
            As in :meth:`psth`.

        Returns
        -------
        Dataset
            Dimensions unit_id x condition: ``spike_count`` (absent with rates), ``stimulus_presentation_count``,
            ``spike_mean``, ``spike_std``, ``spike_sem`` as in
            :meth:`.EcephysSession.conditionwise_spike_statistics`. Each parameter is a coordinate of ``condition``.
            A condition that a unit's session did not show has a count of 0 and a mean of NaN.

        Raises
        ------
        UnknownNameError, MissingDataError
            As in :meth:`psth`.

        Examples
        --------
        >>> statistics = cache.population("snr > 3").conditionwise_spike_statistics("flashes", use_rates=True)
        >>> statistics["spike_mean"].dims, statistics["color"].to_numpy()
        (('unit_id', 'condition'), array([-1.,  1.]))
        """
        from .joining import joined_statistics

        found = self._answers("conditions", statistics_of, Stimulus(stimulus, mask_invalid_intervals), use_rates)
        return joined_statistics(found, self._units)

    def responses(self, stimulus: str, window: tuple[float, float] | None = None) -> BySession[xr.Dataset]:
        """Return counts and rates of one stimulus, trials x units, session by session.

        Parameters
        ----------
        stimulus
            Name of a stimulus.
        window
            Begin and end (s) from onset, ``[begin, end)``; default: each presentation from start to stop.

        Returns
        -------
        BySession
            Session id -> what :meth:`.EcephysSession.responses` gives for the population's units of that session, made
            when it is asked for and not kept; only sessions that show the stimulus. A coordinate ``valid`` tells
            of each presentation and unit whether it lies outside the times that are invalid for the unit's probe.

        Raises
        ------
        UnknownNameError
            If no session shows the stimulus.

        Examples
        --------
        >>> for session_id, answers in cache.population("snr > 3").responses("drifting_gratings").items():
        ...     print(session_id, answers["rate"].shape)
        700000001 (84, 16)
        """
        if window is not None:
            from allen_ecephys.spikes.aligned import checked_window

            window = checked_window(window)
        return self._by_session(stimulus, responses_of, stimulus, window)

    def presentationwise_spike_counts(
        self,
        stimulus: str | Sequence[str],
        bin_edges: ArrayLike,
        *,
        binarize: bool = False,
        dtype: DTypeLike | None = None,
    ) -> BySession[xr.DataArray]:
        """Count spikes in time bins around the onset of presentations, session by session.

        Parameters
        ----------
        stimulus
            Name of a stimulus, or several.
        bin_edges, binarize, dtype
            As in :meth:`.EcephysSession.presentationwise_spike_counts`.

        Returns
        -------
        BySession
            Session id -> presentation x time x unit, made when it is asked for and not kept (see :meth:`responses`).

        Examples
        --------
        >>> counts = cache.population("snr > 3").presentationwise_spike_counts("flashes", np.arange(0, 0.3, 0.05))
        >>> {session_id: of_one.shape for session_id, of_one in counts.items()}
        {700000001: (10, 5, 16)}
        """
        from allen_ecephys.spikes.aligned import checked_edges

        options = {"binarize": binarize, "dtype": dtype}
        return self._by_session(stimulus, counts_of, stimulus, checked_edges(bin_edges), options)

    # --- other libraries -----------------------------------------------------------------------------------------

    def to_pynapple(self) -> BySession[dict[str, Any]]:
        """Return the population as pynapple objects, session by session: each has a clock of its own.

        Returns
        -------
        BySession
            Session id -> what :meth:`.EcephysSession.to_pynapple` gives for the population's units of that session
            (``units``, ``epochs``, ``running_speed``, ...), made when it is asked for and not kept.

        Raises
        ------
        MissingExtraError
            When a session is asked for, if pynapple is not installed (extra ``interop``).

        Examples
        --------
        Counts in bins of 10 ms, as NeMoS and scikit-learn take them:

        >>> population = cache.population("snr > 3")  # extra "interop"
        >>> for session_id, objects in population.to_pynapple().items():
        ...     counts = objects["units"].count(0.01)
        >>> counts.shape[1] == len(population)
        True
        """
        units_of = self._units_of

        def of_one(session_id: int) -> dict[str, Any]:
            with session_of(self._project, session_id) as session:
                mine = units_of[session_id].index
                held = mine[mine.isin(session.units.index)]
                return session.to_pynapple(held.tolist())

        return self._each(of_one)

    # --- behaviour -----------------------------------------------------------------------------------------------

    @property
    def running_speed(self) -> BySession[pd.DataFrame]:
        """Session id -> its running speed (:attr:`.EcephysSession.running_speed`).

        Examples
        --------
        >>> cache.population("snr > 3").running_speed[session_id].columns.tolist()
        ['start_time', 'end_time', 'velocity']
        """
        return self._of_each(lambda session: session.running_speed)

    @property
    def pupil_data(self) -> BySession[pd.DataFrame | None]:
        """Session id -> its eye tracking (:meth:`.EcephysSession.get_pupil_data`), None where it has none.

        Examples
        --------
        >>> cache.population("snr > 3").pupil_data[session_id].shape
        (18959, 15)
        """
        return self._of_each(lambda session: session.get_pupil_data())

    def presentationwise_running_speed(
        self, stimulus: str | Sequence[str], bin_edges: ArrayLike, *, max_gap: float = 0.25
    ) -> BySession[xr.DataArray]:
        """Return the running speed around stimulus onset, session by session.

        Parameters are those of :meth:`.EcephysSession.presentationwise_running_speed`.

        Examples
        --------
        >>> speed = cache.population("snr > 3").presentationwise_running_speed("flashes", [0.0, 0.1, 0.25])
        >>> speed[session_id].shape
        (10, 2)
        """
        shown = self._showing(stimulus)
        names = stimulus if isinstance(stimulus, str) else list(stimulus)
        return self._of_each(
            lambda session: session.presentationwise_running_speed(bin_edges, _held(names, session), max_gap=max_gap),
            shown,
        )

    def presentationwise_pupil(
        self, stimulus: str | Sequence[str], bin_edges: ArrayLike, *, columns: Sequence[str] | None = None
    ) -> BySession[xr.Dataset]:
        """Return the pupil around stimulus onset, session by session; a session without eye tracking has none to give.

        Parameters are those of :meth:`.EcephysSession.presentationwise_pupil`.

        Examples
        --------
        >>> pupil = cache.population("snr > 3").presentationwise_pupil("flashes", [0.0, 0.1, 0.25])
        >>> pupil[session_id]["pupil_width"].shape
        (10, 2)
        """
        shown = self._showing(stimulus)
        names = stimulus if isinstance(stimulus, str) else list(stimulus)
        return self._of_each(
            lambda session: session.presentationwise_pupil(bin_edges, _held(names, session), columns=columns), shown
        )

    # --- parts ---------------------------------------------------------------------------------------------------

    def _answers(self, what: str, task: Callable[..., Any], stimulus: Stimulus, *arguments: Any) -> Any:
        return answers(self._project, self._units_of, self._executor, what, task, stimulus, *arguments)

    def _by_session(
        self, stimulus: str | Sequence[str], task: Callable[..., Value], *arguments: Any
    ) -> BySession[Value]:
        project, units_of = self._project, self._units_of
        return BySession(
            self._showing(stimulus),
            lambda session_id: task(project, session_id, units_of[session_id], *arguments),
            self._why_absent,
        )

    def _of_each(
        self, read: Callable[[EcephysSession], Value], session_ids: Sequence[int] | None = None
    ) -> BySession[Value]:
        def of_one(session_id: int) -> Value:
            with session_of(self._project, session_id) as session:
                return read(session)

        return self._each(of_one, session_ids)

    def _each(self, of_one: Callable[[int], Value], session_ids: Sequence[int] | None = None) -> BySession[Value]:
        at_hand = [i for i in self._units_of if self._project.where(i) != "missing"]
        return BySession(at_hand if session_ids is None else session_ids, of_one, self._why_absent)

    def _showing(self, stimulus: str | Sequence[str]) -> list[int]:
        """Return the sessions that show a stimulus; those that are not in the answer are told of once."""
        return list(self._answers("indexes", shown_by, Stimulus(stimulus)))

    def _known_session(self, session_id: int) -> int:
        if session_id not in self._units_of:
            raise UnknownIdError(self._why_absent(session_id))
        return session_id

    def _why_absent(self, session_id: int) -> str:
        if session_id in self._units_of:
            if self._project.where(session_id) == "missing":
                files = self._project.sessions.files
                return str(missing_session(session_id, self._project.session_file(session_id), files.remote))
            return f"session {session_id} is not in this answer: it does not show the stimulus, or cannot be read"
        return f"no unit of this population is of session {session_id!r}; its sessions are population.sessions.index"

    def __len__(self) -> int:
        return len(self._units)

    def __repr__(self) -> str:
        sessions = self.sessions
        files = ", ".join(f"{count} {where}" for where, count in sessions["file"].value_counts().items())
        acronyms = self._units["ecephys_structure_acronym"].value_counts()
        most = ", ".join(f"{name} {count:,}" for name, count in acronyms.iloc[:5].items())
        return (
            f"Population of {len(self._units):,} units in {len(sessions)} sessions\n"
            f"  session files: {files}\n"
            f"  structures: {most}{f' and {len(acronyms) - 5} more' if len(acronyms) > 5 else ''}"
        )


class PopulationSpikeTimes(Mapping[int, Any]):
    """Unit id -> its spike times (float64 s, ascending, read-only), read from its session's file and not kept.

    Parameters
    ----------
    project
        Where the sessions are.
    session_of_unit
        Unit id -> session id.
    """

    def __init__(self, project: ProjectIndex, session_of_unit: Mapping[int, int]) -> None:
        self._project = project
        self._session_of = session_of_unit

    def __len__(self) -> int:
        return len(self._session_of)

    def __iter__(self) -> Iterator[int]:
        return iter(self._session_of)

    def __contains__(self, unit_id: object) -> bool:
        return unit_id in self._session_of

    def __repr__(self) -> str:
        return f"<spike times of {len(self):,} units, read on demand>"

    def __getitem__(self, unit_id: Any) -> Any:
        if hasattr(unit_id, "columns"):
            unit_id = unit_id.index  # a table of units
        if isinstance(unit_id, Iterable) and not isinstance(unit_id, str):
            return dict(self._read([self._known(one) for one in unit_id]))
        [(_, times)] = self._read([self._known(unit_id)])
        return times

    def items(self) -> Any:
        """Yield all pairs of unit id and spike times, read session by session."""
        return self._read(list(self._session_of))

    def values(self) -> Any:
        """Yield the spike times of all units, read session by session."""
        return (times for _, times in self.items())

    def _known(self, unit_id: Any) -> int:
        try:
            if unit_id in self._session_of:
                return int(unit_id)
        except TypeError:
            pass
        text = " (ids are whole numbers, not text)" if isinstance(unit_id, str) else ""
        msg = f"unit {unit_id!r} is not in this population of {len(self):,} units{text}; see population.units.index"
        raise UnknownIdError(msg)

    def _read(self, unit_ids: list[int]) -> Iterator[tuple[int, Floats]]:
        at = 0
        while at < len(unit_ids):
            session_id, first = self._session_of[unit_ids[at]], at
            while at < len(unit_ids) and self._session_of[unit_ids[at]] == session_id:
                at += 1
            with opened(self._project, session_id) as session:
                for unit_id in unit_ids[first:at]:
                    yield unit_id, session.spikes[unit_id]


class BySession(Mapping[int, Value], Generic[Value]):
    """Session id -> the answer of that session, made when it is asked for and not kept.

    ``for session_id, answer in responses.items()`` holds one at a time; :meth:`to_datatree` all of them.

    Parameters
    ----------
    session_ids
        The sessions.
    answer
        Makes the answer of one.
    why_absent
        Says of another session why it is not among them.
    """

    def __init__(
        self, session_ids: Sequence[int], answer: Callable[[int], Value], why_absent: Callable[[int], str]
    ) -> None:
        self._session_ids = tuple(session_ids)
        self._answer = answer
        self._why_absent = why_absent
        self._said = SaidOnce()

    def __len__(self) -> int:
        return len(self._session_ids)

    def __iter__(self) -> Iterator[int]:
        return iter(self._session_ids)

    def __getitem__(self, session_id: int) -> Value:
        if session_id not in self._session_ids:
            raise UnknownIdError(self._why_absent(session_id))
        with self._said.about(session_id):
            return self._answer(session_id)

    def __contains__(self, session_id: object) -> bool:
        return session_id in self._session_ids

    def __repr__(self) -> str:
        return f"<answers of {len(self)} sessions, made on demand: {', '.join(map(str, self._session_ids[:5]))}" + (
            ", ...>" if len(self) > 5 else ">"
        )

    def to_datatree(self) -> xr.DataTree:
        """Return all answers in one tree, a node ``session_<id>`` each; held in memory at once."""
        import xarray as xr

        nodes: dict[str, Any] = {}
        for session_id, answer in self.items():
            if isinstance(answer, xr.DataArray):
                nodes[f"session_{session_id}"] = answer.to_dataset(name=answer.name or "values")
            else:
                nodes[f"session_{session_id}"] = answer
        return xr.DataTree.from_dict(nodes)


def _held(names: str | list[str], session: EcephysSession) -> str | list[str]:
    """Return those of several stimuli that a session shows."""
    if isinstance(names, str):
        return names
    shown = session.stimulus_names
    held = [name for name in names if name in shown]
    if not held:
        msg = f"session {session.ecephys_session_id} shows none of {names}{suggest(names[0], shown) if names else ''}"
        raise UnknownNameError(msg)
    return held
