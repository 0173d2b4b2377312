"""The response table under all metrics: spike counts of units during the presentations of one stimulus."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from allen_ecephys.errors import (
    FileFormatError,
    InvalidTypeError,
    MissingDataError,
    UnknownIdError,
    UnknownNameError,
    suggest,
)
from allen_ecephys.spikes.counting import count_in_windows, over_units
from allen_ecephys.spikes.ragged import RaggedTimes, Windows
from allen_ecephys.stimulus.presentations import INVALID_NAME

from .design import StimulusDesign, build_design, prepare_presentations
from .kernels import sum_histograms, trial_histograms
from .stimuli import Stimulus, get_stimulus

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allen_ecephys.session.session import EcephysSession

#: ``"release"``: the published numbers, defects included; ``"allensdk"``: what AllenSDK 2.16 computes from the same
#: file, which differs from them in the region and fit of receptive fields and in presentations marked invalid since;
#: ``"corrected"``: the defects mended.
Definition = Literal["release", "allensdk", "corrected"]
DEFINITIONS: tuple[Definition, ...] = ("release", "allensdk", "corrected")

#: Width of the bins of peri-stimulus histograms, seconds.
HISTOGRAM_BIN = 0.001


def check_definition(definition: str) -> None:
    """Raise unless `definition` is one of the three.

    Raises
    ------
    UnknownNameError
        Naming the definitions.
    """
    if definition not in DEFINITIONS:
        msg = (
            f"no definition is called {definition!r}{suggest(definition, DEFINITIONS)}; one of {', '.join(DEFINITIONS)}"
        )
        raise UnknownNameError(msg)


@dataclass(frozen=True, eq=False)
class SpikeTrains:
    """Spike times of some units.

    Attributes
    ----------
    unit_ids
        (units,) int64.
    times
        Ascending spike times of each unit, seconds.
    """

    unit_ids: NDArray[np.int64]
    times: RaggedTimes

    @classmethod
    def from_mapping(cls, spike_times: Mapping[int, Any], unit_ids: Iterable[int]) -> SpikeTrains:
        """Gather the trains of some units; a train that is not ascending is sorted.

        Raises
        ------
        UnknownIdError
            For a unit without an entry.
        """
        ids = np.asarray(list(unit_ids), dtype=np.int64)
        trains = []
        for unit_id in ids.tolist():
            try:
                trains.append(spike_times[unit_id])
            except KeyError:
                msg = f"unit {unit_id} has no spike times; ask for units of session.units"
                raise UnknownIdError(msg) from None
        return cls(ids, RaggedTimes.from_arrays(trains))

    def __len__(self) -> int:
        return len(self.unit_ids)


class SessionResponses:
    """What metrics need of a session: presentations, spike times, running speed, as plain arrays.

    Parameters
    ----------
    presentations
        One row a presentation: ``stimulus_name``, ``start_time``, ``stop_time`` (s), the stimulus parameters (missing
        ones NaN, NA or ``"null"``), and ``stimulus_condition_id`` if known (else computed).
    spike_times
        Unit id -> sorted spike times, s.
    unit_ids
        Units to look at; all of `spike_times` if None.
    running
        ``start_time`` (s) and ``velocity`` (cm/s) of the running samples; None if the session has none.
    with_invalid
        The same presentations, those in invalid times not masked, where there are any: the release's metrics were
        made before those times were marked, and include them.

    Examples
    --------
    >>> responses = SessionResponses.from_session(session)
    >>> compute_unit_analysis_metrics(responses).shape[0] == session.num_units
    True
    """

    def __init__(
        self,
        presentations: pd.DataFrame,
        spike_times: Mapping[int, NDArray[np.float64]],
        unit_ids: Iterable[int] | None = None,
        running: pd.DataFrame | None = None,
        *,
        with_invalid: pd.DataFrame | None = None,
    ) -> None:
        self.presentations = prepare_presentations(presentations)
        self._with_invalid = self.presentations if with_invalid is None else prepare_presentations(with_invalid)
        self.spike_times = spike_times
        self.unit_ids: NDArray[np.int64] = np.asarray(
            list(spike_times if unit_ids is None else unit_ids), dtype=np.int64
        )
        self._running = _running_arrays(running)
        self._designs: dict[tuple[str, bool], StimulusDesign | None] = {}

    @classmethod
    def from_session(cls, session: EcephysSession, unit_ids: Iterable[int] | None = None) -> SessionResponses:
        """Take the arrays from an open session: all its shown units, or those named.

        Examples
        --------
        >>> responses = SessionResponses.from_session(session, session.units.index[:3])
        >>> len(responses.unit_ids)
        3
        """
        ids = session.units.index if unit_ids is None else unit_ids
        try:
            running: pd.DataFrame | None = session.running_speed
        except MissingDataError:
            running = None
        presentations, with_invalid = session.stimulus_presentations, None
        if (presentations["stimulus_name"] == INVALID_NAME).any():
            with_invalid = session.get_stimulus_table(include_unused_parameters=True, mask_invalid_intervals=False)
        return cls(presentations, session.spike_times, ids, running, with_invalid=with_invalid)

    def design(self, stimulus: str | Stimulus, definition: Definition = "corrected") -> StimulusDesign | None:
        """Return what was shown of a stimulus, or None if the session has none of it.

        ``"release"`` counts presentations in invalid times among it, the others do not.

        Examples
        --------
        >>> responses = SessionResponses.from_session(session)
        >>> design = responses.design("drifting_gratings")
        >>> len(design.start), len(design.conditions)
        (84, 41)
        >>> responses.design("dot_motion") is None
        True
        """
        kind: object = get_stimulus(stimulus) if isinstance(stimulus, str) else stimulus
        if not isinstance(kind, Stimulus):
            msg = (
                f'a stimulus with parameters is named by text, as "drifting_gratings"; got {type(stimulus).__name__}. '
                "session.responses and session.psth(by=...) take a table of trials"
            )
            raise InvalidTypeError(msg)
        key = (kind.name, definition == "release")
        if key not in self._designs:
            table = self._with_invalid if definition == "release" else self.presentations
            self._designs[key] = build_design(table, kind, self._running)
        return self._designs[key]

    def spikes(self, unit_ids: Iterable[int] | None = None) -> SpikeTrains:
        """Return the spike trains of some units (all if None).

        Examples
        --------
        >>> responses = SessionResponses.from_session(session)
        >>> len(responses.spikes()), len(responses.spikes(responses.unit_ids[:2]))
        (40, 2)
        """
        return SpikeTrains.from_mapping(self.spike_times, self.unit_ids if unit_ids is None else unit_ids)

    def responses(
        self,
        stimulus: str | Stimulus,
        unit_ids: Iterable[int] | None = None,
        *,
        definition: Definition = "release",
        seed: int = 0,
        n_shuffles: int = 1000,
        rf_mask_threshold: float | None = None,
    ) -> StimulusResponses:
        """Return the responses of units to one stimulus.

        Raises
        ------
        MissingDataError
            If the session does not have the stimulus.

        Examples
        --------
        >>> flashes = SessionResponses.from_session(session).responses("flashes", definition="corrected")
        >>> flashes.counts.shape
        (40, 10)
        """
        check_definition(definition)
        design = self.design(stimulus, definition)
        if design is None:
            name = stimulus if isinstance(stimulus, str) else stimulus.name
            shown = ", ".join(map(str, self.presentations["stimulus_name"].unique()))
            msg = f"this session did not show {name}; it showed {shown}"
            raise MissingDataError(msg)
        return StimulusResponses(self, design, self.spikes(unit_ids), definition, seed, n_shuffles, rf_mask_threshold)


@dataclass(eq=False)
class StimulusResponses:
    """The responses of a block of units to one stimulus: what a metric is a function of.

    Everything below is computed when first asked for and kept. Arrays whose first axis is ``units`` are in the order
    of :attr:`unit_ids`; a metric returns one value for each of those.

    Attributes
    ----------
    session
        Where the responses come from; ``session.design(name)`` tells what else was shown.
    design
        The presentations: start, stop, condition, running speed, parameters.
    spikes
        Spike trains of the units.
    definition
        ``"release"``, ``"allensdk"`` or ``"corrected"``.
    seed, n_shuffles
        Of metrics that shuffle.
    rf_mask_threshold
        How many standard deviations below its maximum a receptive field map is cut; None for that of the definition.

    Examples
    --------
    >>> gratings = SessionResponses.from_session(session).responses("drifting_gratings")
    >>> best = gratings.design.conditions.iloc[gratings.preferred_condition[0]]
    >>> best[["orientation", "temporal_frequency"]].tolist()
    [315.0, 15.0]
    """

    session: SessionResponses
    design: StimulusDesign
    spikes: SpikeTrains
    definition: Definition = "release"
    seed: int = 0
    n_shuffles: int = 1000
    rf_mask_threshold: float | None = None
    _kept: dict[Any, Any] = field(default_factory=dict, repr=False)

    @property
    def unit_ids(self) -> NDArray[np.int64]:
        """Ids of the units, (units,).

        Examples
        --------
        >>> flashes = SessionResponses.from_session(session).responses("flashes")
        >>> bool((flashes.unit_ids == session.units.index).all())
        True
        """
        return self.spikes.unit_ids

    @property
    def n_units(self) -> int:
        """Number of units.

        Examples
        --------
        >>> SessionResponses.from_session(session).responses("flashes").n_units
        40
        """
        return len(self.spikes)

    @property
    def corrected(self) -> bool:
        """Whether known defects of the released metrics are mended.

        Examples
        --------
        >>> responses = SessionResponses.from_session(session)
        >>> responses.responses("flashes").corrected, responses.responses("flashes", definition="corrected").corrected
        (False, True)
        """
        return self.definition == "corrected"

    @property
    def mask_threshold(self) -> float:
        """Standard deviations below its maximum at which a receptive field map is cut: 1, in AllenSDK's class 0.5.

        Examples
        --------
        >>> responses = SessionResponses.from_session(session)
        >>> [responses.responses("gabors", definition=each).mask_threshold for each in ("release", "allensdk")]
        [1.0, 0.5]
        """
        if self.rf_mask_threshold is not None:
            return self.rf_mask_threshold
        return 0.5 if self.definition == "allensdk" else 1.0

    def count_between(self, start: NDArray[np.float64], stop: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the number of spikes of each unit in each window [start, stop), (units, windows) int64.

        Examples
        --------
        >>> flashes = SessionResponses.from_session(session).responses("flashes")
        >>> onset = flashes.design.start
        >>> before, after = flashes.count_between(onset - 0.1, onset), flashes.count_between(onset, onset + 0.1)
        >>> bool(before.sum() < after.sum())
        True
        """
        return np.asarray(count_in_windows(self.spikes.times, start, stop), dtype=np.int64)

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Spikes during each presentation, (units, presentations): the counts of condition means.

        Corrected: in [start, stop). Release: in (start, stop], as AllenSDK's conditionwise statistics.

        Examples
        --------
        >>> SessionResponses.from_session(session).responses("flashes").counts[:2, :5]
        array([[2, 0, 1, 0, 1],
               [1, 2, 2, 3, 0]])
        """
        counted = count_in_windows(self.spikes.times, self.design.start, self.design.stop, open_left=not self.corrected)
        return np.asarray(counted, dtype=np.int64)

    @cached_property
    def trial_counts(self) -> NDArray[np.int64]:
        """Spikes of each trial, (units, presentations): the counts of Fano factor, running modulation, p-values.

        Corrected: the same as :attr:`counts`. Release: in the stimulus' nominal duration T, [start, start + T], closed
        at both ends, as AllenSDK's presentationwise counts.

        Examples
        --------
        >>> flashes = SessionResponses.from_session(session).responses("flashes", definition="corrected")
        >>> bool((flashes.trial_counts == flashes.counts).all())
        True
        """
        if self.corrected:
            return self.counts
        return self.count_between(
            self.design.start, np.nextafter(self.design.start + self.design.stimulus.duration, np.inf)
        )

    @cached_property
    def condition_sums(self) -> NDArray[np.int64]:
        """Sum of :attr:`counts` over the presentations of each condition, (units, conditions).

        Examples
        --------
        >>> flashes = SessionResponses.from_session(session).responses("flashes")
        >>> bool((flashes.condition_sums.sum(axis=1) == flashes.counts.sum(axis=1)).all())
        True
        """
        return np.add.reduceat(self.counts[:, self.design.order], self.design.offsets[:-1], axis=1)

    @cached_property
    def condition_means(self) -> NDArray[np.float64]:
        """Mean of :attr:`counts` in each condition, spikes a presentation, (units, conditions).

        Examples
        --------
        >>> flashes = SessionResponses.from_session(session).responses("flashes")
        >>> flashes.condition_means[:2].round(2)
        array([[0.6, 0.6],
               [1.6, 2.4]])
        """
        return self.condition_sums / self.design.repeats

    @cached_property
    def condition_sem(self) -> NDArray[np.float64]:
        """Standard error of :attr:`condition_means` (from the sample variance); NaN for a single presentation.

        Examples
        --------
        >>> flashes = SessionResponses.from_session(session).responses("flashes")
        >>> flashes.condition_sem[:2].round(2)
        array([[0.4 , 0.24],
               [0.6 , 0.75]])
        """
        repeats = self.design.repeats
        squares = np.add.reduceat(self.counts[:, self.design.order] ** 2, self.design.offsets[:-1], axis=1)
        several = np.maximum(repeats - 1, 1)
        variance = np.maximum(squares - self.condition_sums.astype(np.float64) ** 2 / repeats, 0.0) / several
        return np.where(repeats > 1, np.sqrt(variance / repeats), np.nan)

    @cached_property
    def shown(self) -> NDArray[np.int64]:
        """Conditions that are not blank (all of them where the released metrics did not leave blanks out).

        Examples
        --------
        >>> gratings = SessionResponses.from_session(session).responses("drifting_gratings")
        >>> len(gratings.design.conditions), len(gratings.shown)
        (41, 40)
        """
        if self.design.stimulus.release_keeps_blank and not self.corrected:
            return np.arange(len(self.design.blank))
        return np.flatnonzero(~self.design.blank)

    @cached_property
    def silent(self) -> NDArray[np.bool_]:
        """(units,) True for units without a spike in any condition that is not blank.

        Examples
        --------
        >>> int(SessionResponses.from_session(session).responses("flashes").silent.sum())
        0
        """
        silent: NDArray[np.bool_] = self.condition_sums[:, self.shown].sum(axis=1) == 0
        return silent

    @cached_property
    def preferred_condition(self) -> NDArray[np.int64]:
        """Condition with the largest mean count, blanks apart, (units,): a row of ``design.conditions``.

        Of equal ones the first: in the release definition the one shown first in the session (the lowest condition
        id), in the corrected one the first in the order of the stimulus' parameters.

        Examples
        --------
        >>> flashes = SessionResponses.from_session(session).responses("flashes")
        >>> flashes.design.conditions["color"].iloc[flashes.preferred_condition[:4]].tolist()
        [-1.0, 1.0, 1.0, -1.0]
        """
        candidates = self.shown
        if not candidates.size:
            return np.zeros(self.n_units, dtype=np.int64)
        if self.corrected:
            candidates = candidates[np.argsort(self.design.parameter_rank[candidates])]
        best = self.condition_means[:, candidates].argmax(axis=1)
        return np.asarray(candidates[best], dtype=np.int64)

    def units_by_preferred_condition(self) -> Iterable[tuple[int, NDArray[np.int64]]]:
        """Yield each condition that some units prefer, with the places of those units.

        Examples
        --------
        >>> flashes = SessionResponses.from_session(session).responses("flashes")
        >>> [(condition, len(units)) for condition, units in flashes.units_by_preferred_condition()]
        [(0, 19), (1, 21)]
        """
        for condition in np.unique(self.preferred_condition).tolist():
            yield condition, np.flatnonzero(self.preferred_condition == condition)

    @cached_property
    def histogram_edges(self) -> NDArray[np.float64]:
        """Edges of the peri-stimulus histogram, s from stimulus onset.

        Corrected: from 0 to the nominal duration. Release: ``arange(0, T, 0.001)``, which leaves the last bin out.

        Examples
        --------
        >>> responses = SessionResponses.from_session(session)
        >>> [len(responses.responses("flashes", definition=each).histogram_edges) for each in ("release", "corrected")]
        [250, 251]
        """
        duration = self.design.stimulus.duration
        if self.corrected:
            n_bins = round(duration / HISTOGRAM_BIN)
            return np.arange(n_bins + 1) / round(1 / HISTOGRAM_BIN)
        return np.arange(0, duration, HISTOGRAM_BIN)

    @cached_property
    def preferred_histogram(self) -> NDArray[np.float64]:
        """Mean spikes in each 1 ms bin over the trials of the preferred condition, (units, bins).

        Bins are half-open in the corrected definition and closed at both ends in the release definition.

        Examples
        --------
        >>> flashes = SessionResponses.from_session(session).responses("flashes", definition="corrected")
        >>> flashes.preferred_histogram.shape
        (40, 250)
        """
        design, edges, preferred = self.design, self.histogram_edges, self.preferred_condition
        sums = np.zeros((self.n_units, len(edges) - 1), dtype=np.int64)

        def add(first: int, last: int, part: RaggedTimes) -> None:
            sum_histograms(
                part.values,
                part.starts,
                part.stops,
                design.start,
                design.order,
                design.offsets,
                preferred[first:last],
                edges,
                not self.corrected,
                sums[first:last],
            )

        over_units(add, self.spikes.times, Windows(design.start + edges[0], design.start + edges[-1]), len(edges))
        return np.asarray(sums / design.repeats[preferred][:, None])

    def trial_histograms(self, unit: int) -> NDArray[np.int64]:
        """Return one unit's 1 ms histograms of the trials of its preferred condition, (trials, bins).

        Examples
        --------
        >>> flashes = SessionResponses.from_session(session).responses("flashes", definition="corrected")
        >>> flashes.trial_histograms(0).shape
        (5, 250)
        """
        trials = self.design.trials_of(int(self.preferred_condition[unit]))
        return np.asarray(
            trial_histograms(
                self.spikes.times[unit], self.design.start[trials], self.histogram_edges, not self.corrected
            )
        )

    def sibling(self, stimulus: str | Stimulus) -> StimulusResponses | None:
        """Return the same units' responses to another stimulus of the session, or None if it was not shown.

        Examples
        --------
        >>> gratings = SessionResponses.from_session(session).responses("drifting_gratings")
        >>> gratings.sibling("flashes").counts.shape, gratings.sibling("dot_motion")
        ((40, 10), None)
        """
        design = self.session.design(stimulus, self.definition)
        if design is None:
            return None
        return StimulusResponses(
            self.session,
            design,
            self.spikes,
            self.definition,
            self.seed,
            self.n_shuffles,
            self.rf_mask_threshold,
        )

    def once(self, key: Any, compute: Any) -> Any:
        """Return ``compute(self)``, computed once for all metrics of this stimulus that ask with the same key.

        Examples
        --------
        >>> flashes = SessionResponses.from_session(session).responses("flashes")
        >>> rates = flashes.once("rates", lambda shown: shown.condition_means / shown.design.stimulus.duration)
        >>> rates is flashes.once("rates", None)
        True
        """
        if key not in self._kept:
            self._kept[key] = compute(self)
        return self._kept[key]


def _running_arrays(running: pd.DataFrame | None) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    if running is None or not len(running):
        return None
    for column in ("start_time", "velocity"):
        if column not in running:
            msg = f"the running table has no column {column!r}; it has {', '.join(map(str, running))}"
            raise FileFormatError(msg)
    start = running["start_time"].to_numpy(dtype=np.float64, na_value=np.nan)
    velocity = running["velocity"].to_numpy(dtype=np.float64, na_value=np.nan)
    order = np.argsort(start, kind="stable")
    return start[order], velocity[order]
