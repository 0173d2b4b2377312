"""What the classes of all stimuli share: AllenSDK's tables of one stimulus, from the session's own answers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from allen_ecephys.compatibility import without_effect
from allen_ecephys.errors import MissingDataError, UnknownArgumentError, suggest
from allen_ecephys.metric_names import RELEASED_NAMES
from allen_ecephys.processing.stimulus_metrics import SessionResponses, StimulusResponses, registered_metrics
from allen_ecephys.processing.stimulus_metrics.design import mean_speeds
from allen_ecephys.session.session import EcephysSession

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

    from allen_ecephys.processing.stimulus_metrics.stimuli import Stimulus

#: Grey between blocks that is longer than this (s) counts as spontaneous activity.
SPONTANEOUS_SECONDS = 100.0

#: Of AllenSDK's classes, what is not offered -> what to use.
ELSEWHERE = {
    "make_star_plot": "allen_ecephys.processing.stimulus_metrics.plot_tuning_curve draws tuning",
    "make_fan_plot": "allen_ecephys.processing.stimulus_metrics.plot_tuning_curve draws tuning",
    "plot_response_summary": "allen_ecephys.processing.stimulus_metrics.plot_tuning_curve draws tuning",
    "plot_response": "session.psth and allen_ecephys.plotting draw responses",
    "get_intrinsic_timescale": "it is in no published table",
}


class StimulusAnalysis:
    """The responses of a session's units to one stimulus, under AllenSDK's names and with its numbers.

    Parameters
    ----------
    ecephys_session
        A session, or the path of its file.
    trial_duration
        Seconds from the onset that belong to a presentation; by default the stimulus' nominal duration.
    stimulus_key
        Name of the stimulus in the session; by default the first that is one of :meth:`known_stimulus_keys`.
    filter
        Units to look at: their ids, or columns of ``session.units`` with the value (or values) wanted. All by default.
    psth_resolution
        Width of the bins of :attr:`conditionwise_psth` (s).
    params
        AllenSDK's; taken with a DeprecationWarning, and without effect.

    Raises
    ------
    UnknownArgumentError
        For any other keyword, which AllenSDK ignores.
    """

    #: Which stimulus.
    STIMULUS: ClassVar[Stimulus]
    #: Its metrics, in AllenSDK's order and under its names.
    METRICS: ClassVar[tuple[str, ...]]
    #: What AllenSDK calls the stimulus.
    NAME: ClassVar[str]
    _OPTIONS: ClassVar[tuple[str, ...]] = ("stimulus_key", "filter", "psth_resolution", "params")

    def __init__(
        self,
        ecephys_session: EcephysSession | str | os.PathLike[str],
        trial_duration: float | None = None,
        **kwargs: Any,
    ) -> None:
        for name in kwargs:
            if name not in self._OPTIONS:
                msg = f"{type(self).__name__} takes no {name!r}{suggest(name, self._OPTIONS)}"
                raise UnknownArgumentError(msg)
        without_effect(params=kwargs.get("params"))
        if not isinstance(ecephys_session, EcephysSession):
            ecephys_session = EcephysSession(ecephys_session)
        self.ecephys_session = ecephys_session
        self._session = ecephys_session.with_compat("allensdk")
        self.trial_duration = self.STIMULUS.duration if trial_duration is None else float(trial_duration)
        self._key: str | None = kwargs.get("stimulus_key")
        self._unit_filter = kwargs.get("filter")
        self._psth_resolution = float(kwargs.get("psth_resolution", 0.001))

    def __getattr__(self, name: str) -> Any:
        where = f": {ELSEWHERE[name]}" if name in ELSEWHERE else ""
        msg = f"{type(self).__name__} has no {name!r} here{where}"
        raise AttributeError(msg)

    @property
    def name(self) -> str:
        """The stimulus, in words."""
        return self.NAME

    @classmethod
    def known_stimulus_keys(cls) -> list[str]:
        """Return the names under which sessions show the stimulus."""
        return list(cls.STIMULUS.session_names)

    @property
    def known_spontaneous_keys(self) -> list[str]:
        """Names of grey without a stimulus."""
        return ["spontaneous", "spontaneous_activity"]

    # --- units -----------------------------------------------------------------------------------------------------

    @cached_property
    def unit_ids(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Ids of the units looked at."""
        units = self._session.units
        if isinstance(self._unit_filter, Mapping):
            for column, wanted in self._unit_filter.items():
                values = [wanted] if isinstance(wanted, str) or not isinstance(wanted, Iterable) else list(wanted)
                units = units[units[column].isin(values)]
        elif self._unit_filter is not None:
            units = units.loc[list(self._unit_filter)]
        return units.index.to_numpy(np.int64)

    @property
    def unit_count(self) -> int:
        """Number of units looked at."""
        return len(self.unit_ids)

    @property
    def spikes(self) -> dict[int, Any]:
        """Unit id -> its spike times (s)."""
        return self._session.spike_times.to_dict(self.unit_ids)

    # --- presentations -----------------------------------------------------------------------------------------------

    @cached_property
    def stimulus_key(self) -> str:
        """The stimulus' name in the session.

        Raises
        ------
        MissingDataError
            If the session does not show it.
        """
        shown = self._session.stimulus_names
        key = self._key if self._key in shown else self.STIMULUS.find_in(shown) if self._key is None else None
        if key is None:
            msg = f"this session did not show {self._key or self.STIMULUS.name}; it showed {', '.join(shown)}"
            raise MissingDataError(msg)
        return key

    @cached_property
    def stim_table(self) -> pd.DataFrame:
        """The presentations of the stimulus, in AllenSDK's form (text 'null' for a missing parameter)."""
        return self._session.get_stimulus_table(self.stimulus_key)

    @cached_property
    def stim_table_spontaneous(self) -> pd.DataFrame:
        """Grey of more than 100 s."""
        shown = [key for key in self.known_spontaneous_keys if key in self._session.stimulus_names]
        table = self._session.get_stimulus_table(shown) if shown else self._session.stimulus_presentations.iloc[:0]
        return table[table["duration"] > SPONTANEOUS_SECONDS]

    @property
    def total_presentations(self) -> int:
        """Number of presentations of the stimulus."""
        return len(self.stim_table)

    @cached_property
    def stimulus_conditions(self) -> pd.DataFrame:
        """The conditions of the stimulus, in order of their first presentation."""
        every = self._session.stimulus_conditions
        return every[every.index.isin(self.stim_table["stimulus_condition_id"])]

    @property
    def null_condition(self) -> Any:
        """Ids of the blank condition; -1 if the stimulus has none."""
        parameter = self.STIMULUS.blank_parameter
        if parameter is None or self.STIMULUS.release_keeps_blank:
            return -1
        values = self.stimulus_conditions[parameter]
        return self.stimulus_conditions.index[(values == "null") | (values == -1 if parameter == "frame" else False)]

    def _values(self, column: str) -> np.ndarray[Any, Any]:
        """Return the values of a parameter, ascending, without missing ones."""
        values = pd.to_numeric(self.stim_table[column], errors="coerce").dropna().unique()
        return np.sort(np.asarray(values, dtype=np.float64))

    # --- responses ---------------------------------------------------------------------------------------------------

    @cached_property
    def running_speed(self) -> pd.DataFrame:
        """Mean running speed (cm/s) during each presentation; NaN where it was not measured."""
        running = self._session.running_speed if self._session.has_running_speed else None
        samples = None if running is None else (running["start_time"].to_numpy(), running["velocity"].to_numpy())
        start, stop = (self.stim_table[c].to_numpy(np.float64) for c in ("start_time", "stop_time"))
        return pd.DataFrame({"running_speed": mean_speeds(start, stop, samples)}, index=self.stim_table.index)

    @cached_property
    def presentationwise_spike_times(self) -> pd.DataFrame:
        """Every spike during a presentation, in (start, stop]."""
        return self._session.presentationwise_spike_times(self.stim_table.index, self.unit_ids)

    @cached_property
    def presentationwise_statistics(self) -> pd.DataFrame:
        """Spike count of each presentation and unit in the trial's duration, with condition and running speed."""
        counts = self._session.presentationwise_spike_counts(
            [0.0, self.trial_duration], self.stim_table.index, self.unit_ids
        )[:, 0, :].to_numpy()
        names = ["stimulus_presentation_id", "unit_id"]
        condition = self.stim_table["stimulus_condition_id"].to_numpy()
        index = pd.MultiIndex.from_product([self.stim_table.index, self.unit_ids], names=names)
        return pd.DataFrame(
            {
                "spike_counts": counts.ravel(),
                "stimulus_condition_id": np.repeat(condition, self.unit_count),
                "running_speed": np.repeat(self.running_speed["running_speed"].to_numpy(), self.unit_count),
            },
            index=index,
        )

    @cached_property
    def conditionwise_statistics(self) -> pd.DataFrame:
        """Spike count, presentations, mean, deviation and standard error of each unit and condition."""
        return self._session.conditionwise_spike_statistics(self.stim_table.index, self.unit_ids)

    @cached_property
    def conditionwise_psth(self) -> xr.DataArray:
        """Mean spike count of each condition, time bin and unit."""
        import xarray as xr

        edges = np.arange(0, self.trial_duration, self._psth_resolution)
        conditions = self.stim_table.groupby("stimulus_condition_id", sort=True)
        means = [
            self._session.presentationwise_spike_counts(edges, rows.index, self.unit_ids).mean(
                "stimulus_presentation_id"
            )
            for _, rows in conditions
        ]
        ids = pd.Index([condition for condition, _ in conditions], name="stimulus_condition_id")
        return xr.concat(means, dim=ids).rename("spike_counts")

    @cached_property
    def _responses(self) -> StimulusResponses:
        """The responses that metrics are computed of, by AllenSDK's definition."""
        stimulus = replace(self.STIMULUS, session_names=(self.stimulus_key.lower(),), duration=self.trial_duration)
        source = SessionResponses.from_session(self._session, self.unit_ids)
        return self._customised(source.responses(stimulus, definition="allensdk"))

    def _customised(self, responses: StimulusResponses) -> StimulusResponses:
        return responses

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """The metrics of each unit (index ``unit_id``), as AllenSDK's class computes them."""
        columns: dict[str, Any] = {}
        for metric in registered_metrics():
            if metric.built_in and metric.stimulus == self.STIMULUS:
                values = metric.function(self._responses)
                values = (values,) if len(metric.columns) == 1 else values
                columns.update(zip(metric.columns, values, strict=True))
        table = pd.DataFrame(columns, index=pd.Index(self.unit_ids, name="unit_id")).rename(columns=RELEASED_NAMES)
        return table[list(self.METRICS)]

    @property
    def metrics_names(self) -> list[str]:
        """Names of the metrics."""
        return list(self.METRICS)

    # --- figures -----------------------------------------------------------------------------------------------------

    def plot_raster(self, condition: int, unit_id: int) -> Axes:
        """Draw the spikes of a unit in each presentation of a condition (a ``stimulus_condition_id``)."""
        return self._raster(self.stim_table["stimulus_condition_id"] == condition, unit_id)

    def plot_conditionwise_raster(self, unit_id: int) -> Axes:
        """Draw the spikes of a unit in all presentations."""
        return self._raster(self.stim_table["stimulus_condition_id"].notna(), unit_id)

    def _raster(self, rows: pd.Series[bool], unit_id: int) -> Axes:
        from allen_ecephys.plotting import plot_raster

        trials = self.stim_table.index[rows]
        spikes = self._session.presentationwise_spike_times(trials, [unit_id])
        return plot_raster(spikes, row_ids=trials, rows="stimulus_presentation_id")


def only_standard(**columns: tuple[str, str]) -> None:
    """Raise if a column of the stimulus table is not the standard one, for which metrics are defined.

    Raises
    ------
    UnknownArgumentError
        Naming it.
    """
    for argument, (given, standard) in columns.items():
        if given != standard:
            msg = f"{argument} must be {standard!r}, the column of the release; got {given!r}: rename it in the file"
            raise UnknownArgumentError(msg)
