"""The part of a session that says what was shown when."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from .tables import SessionBase, handed_out

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import ArrayLike

    from ..stimulus.trials import Trials


class SessionStimuli(SessionBase):
    """Presentations, conditions, epochs, parameter values and invalid times of a session."""

    @property
    def stimulus_presentations(self) -> pd.DataFrame:
        """All presentations in order of their start; index ``stimulus_presentation_id`` from 0.

        Columns: ``start_time``, ``stop_time``, ``duration`` (s), ``stimulus_name``, ``stimulus_block`` (Int64),
        the parameters of the stimuli, ``stimulus_condition_id`` (presentations of equal stimulus and parameters share
        it) and ``is_blank``: a grey sweep between others of its stimulus (in natural scenes, ``frame`` is -1 there).

        Numbers are numbers: float64, or Int64 for ``frame`` and ``stimulus_block``. A parameter that does not apply
        is missing (NaN, or NA in Int64). ``phase``, ``size`` and ``spatial_frequency`` are floats, or tuples where the
        file holds a pair. Presentations that touch an invalid time of the stimulus are named
        ``invalid_presentation`` and keep only their start and stop. Parameters of drawing, such as ``mask``, are in
        :meth:`get_stimulus_table`.
        """
        from ..stimulus.presentations import shown_columns

        return handed_out(shown_columns(self._file.presentation_table, detailed=False))

    @property
    def num_stimulus_presentations(self) -> int:
        """Number of presentations."""
        return len(self._file.presentations)

    @property
    def stimulus_names(self) -> list[str]:
        """Names of the stimuli in order of their first presentation, ``spontaneous`` among them."""
        return [str(name) for name in self._file.presentation_table["stimulus_name"].unique()]

    @property
    def stimulus_conditions(self) -> pd.DataFrame:
        """One row for each distinct stimulus with its parameters; index ``stimulus_condition_id`` from 0."""
        return handed_out(self._file.conditions)

    @property
    def inter_presentation_intervals(self) -> pd.DataFrame:
        """Time (s) from each presentation's stop to the next one's start.

        Index (from_presentation_id, to_presentation_id), column ``interval``.
        """
        from ..stimulus.epochs import inter_presentation_intervals

        return inter_presentation_intervals(self._file.presentation_table)

    @property
    def invalid_times(self) -> pd.DataFrame:
        """Intervals in which data are invalid; index ``id``; start_time, stop_time (s), tags.

        ``tags`` is a list [scope, id of the scope, label]; the label is ``stimulus``, ``all_probes``, ``optotagging``
        or a probe's name. Spikes are not masked. No such interval gives an empty frame with the same columns.
        """
        return self._file.invalid_times.copy()

    def get_invalid_times(self) -> pd.DataFrame:
        """Return :attr:`invalid_times`."""
        return self.invalid_times

    def get_stimulus_table(
        self,
        stimulus_names: str | Iterable[str] | None = None,
        include_detailed_parameters: bool = False,
        include_unused_parameters: bool = False,
        *,
        legacy: bool = False,
    ) -> pd.DataFrame:
        """Return the presentations of some stimuli.

        Parameters
        ----------
        stimulus_names
            One name or several; None for all.
        include_detailed_parameters
            Include parameters of drawing, such as ``mask``, ``opacity`` and ``units``.
        include_unused_parameters
            Keep columns that are missing in every row.
        legacy
            Give AllenSDK's form: text as the file holds it (``'0.08'``, ``'[20.0, 20.0]'``), the text ``'null'``
            for a missing parameter, no ``is_blank``.

        Returns
        -------
        DataFrame
            Rows of :attr:`stimulus_presentations`.

        Raises
        ------
        UnknownNameError
            If the session does not show such a stimulus.
        """
        from ..stimulus.epochs import stimulus_table

        table = self._file.legacy_table if legacy else self._file.presentation_table
        chosen = stimulus_table(table, stimulus_names, include_detailed_parameters, include_unused_parameters)
        return handed_out(chosen)

    def get_stimulus_epochs(self, duration_thresholds: Mapping[str, float] | None = None) -> pd.DataFrame:
        """Return the contiguous runs of one stimulus and block.

        Parameters
        ----------
        duration_thresholds
            Stimulus name -> seconds: shorter epochs of that stimulus are left out. Default: ``{"spontaneous": 90}``,
            which leaves the grey between blocks out; ``{}`` keeps all.

        Returns
        -------
        DataFrame
            start_time, stop_time, duration (s), stimulus_name, stimulus_block (Int64). The index counts all epochs.
        """
        from ..stimulus.epochs import stimulus_epochs

        return stimulus_epochs(self._file.presentation_table, duration_thresholds)

    def get_inter_presentation_intervals_for_stimulus(self, stimulus_names: str | Iterable[str]) -> pd.DataFrame:
        """Return those :attr:`inter_presentation_intervals` that lie between two presentations of some stimuli."""
        from ..ids import as_names

        wanted = as_names(stimulus_names, self.stimulus_names)
        intervals = self.inter_presentation_intervals
        among = self._file.presentation_table["stimulus_name"].isin(wanted).to_numpy()
        return intervals[among[:-1] & among[1:]]

    def get_parameter_values_for_stimulus(
        self, stimulus_name: str, drop_nulls: bool = True
    ) -> dict[str, np.ndarray[Any, Any]]:
        """Return the distinct values of each parameter of a stimulus, in order of appearance.

        Parameters
        ----------
        stimulus_name
            Name of one stimulus.
        drop_nulls
            Leave missing values out; else NaN stands last where a presentation has no value.

        Returns
        -------
        dict
            Parameter -> its values; parameters missing in every presentation are left out.
        """
        from ..stimulus.epochs import parameter_values

        return parameter_values(self.get_stimulus_table(stimulus_name), drop_nulls)

    def get_stimulus_parameter_values(
        self, stimulus_presentation_ids: ArrayLike | None = None, drop_nulls: bool = True
    ) -> dict[str, np.ndarray[Any, Any]]:
        """Return the distinct values of each parameter over some presentations (None: all), in order of appearance.

        See :meth:`get_parameter_values_for_stimulus` for `drop_nulls` and the result.
        """
        from ..stimulus.epochs import parameter_values

        return parameter_values(self._selected_presentations(stimulus_presentation_ids), drop_nulls)

    def _selected_presentations(self, stimulus_presentation_ids: Trials) -> pd.DataFrame:
        """Return rows of the presentations table for ids in any order and repetition, or the caller's own table."""
        from ..stimulus.trials import selected_trials

        return selected_trials(stimulus_presentation_ids, self._file.presentation_table)
