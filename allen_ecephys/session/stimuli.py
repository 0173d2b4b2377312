"""What was shown when: presentations, their parameters, epochs, and the trials that a caller names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from .tables import handed_out

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from ..stimulus.trials import Trials
    from .file import SessionFile


class SessionStimuli:
    """The stimuli of a session file.

    Parameters
    ----------
    file
        The session's file.
    legacy
        Give AllenSDK's form of every table: text as the file holds it, 'null' where a parameter is missing.
    """

    def __init__(self, file: SessionFile, legacy: bool = False) -> None:
        self._file = file
        self._legacy = legacy

    @property
    def presentations(self) -> pd.DataFrame:
        """All presentations, without parameters of drawing."""
        from ..stimulus.presentations import shown_columns

        return self._handed_out(shown_columns(self._table(self._legacy), detailed=False), self._legacy)

    @property
    def conditions(self) -> pd.DataFrame:
        """The stimulus conditions."""
        held = self._file.legacy_conditions if self._legacy else self._file.conditions
        return self._handed_out(held, self._legacy)

    @property
    def names(self) -> list[str]:
        """Names of the stimuli in order of their first presentation."""
        return [str(name) for name in self._file.presentation_table["stimulus_name"].unique()]

    def trials(self, chosen: Trials) -> pd.DataFrame:
        """Return presentations for ids in any order and repetition, or the caller's own table of trials."""
        from ..stimulus.trials import selected_trials

        return selected_trials(chosen, self._file.presentation_table)

    def table(
        self,
        names: str | Iterable[str] | None,
        include_detailed: bool,
        include_unused: bool,
        legacy: bool,
        mask_invalid: bool = True,
    ) -> pd.DataFrame:
        """Return the presentations of some stimuli (:func:`.epochs.stimulus_table`)."""
        from ..stimulus.epochs import stimulus_table

        legacy = legacy or self._legacy
        whole = self._table(legacy) if mask_invalid else self._file.unmasked_table(legacy)
        chosen = stimulus_table(whole, names, include_detailed, include_unused)
        return self._handed_out(chosen, legacy)

    def epochs(self, duration_thresholds: Mapping[str, float] | None) -> pd.DataFrame:
        """Return the contiguous runs of one stimulus and block (:func:`.epochs.stimulus_epochs`)."""
        from ..stimulus.epochs import EPOCH_THRESHOLDS, stimulus_epochs

        if duration_thresholds is None:
            # AllenSDK's default names a stimulus that no session has: it leaves nothing out.
            duration_thresholds = {} if self._legacy else EPOCH_THRESHOLDS
        return stimulus_epochs(self._table(self._legacy), duration_thresholds)

    def inter_presentation_intervals(self, names: str | Iterable[str] | None = None) -> pd.DataFrame:
        """Return the time between presentations; with `names`, where both are of these stimuli."""
        from ..ids import as_names
        from ..stimulus.epochs import inter_presentation_intervals

        wanted = None if names is None else as_names(names, self.names)
        intervals = inter_presentation_intervals(self._file.presentation_table)
        if wanted is None:
            return intervals
        among = self._file.presentation_table["stimulus_name"].isin(wanted).to_numpy()
        return intervals[among[:-1] & among[1:]]

    def parameter_values_of(self, stimulus_name: str, drop_nulls: bool) -> dict[str, np.ndarray[Any, Any]]:
        """Return the distinct values of each parameter of a stimulus (:func:`.epochs.parameter_values`)."""
        from ..stimulus.epochs import parameter_values, stimulus_table

        shown = stimulus_table(self._table(self._legacy), stimulus_name, detailed=False, unused=False)
        return parameter_values(shown, drop_nulls, self._legacy)

    def parameter_values_in(self, chosen: Trials, drop_nulls: bool) -> dict[str, np.ndarray[Any, Any]]:
        """Return the distinct values of each parameter over some presentations (:func:`.epochs.parameter_values`)."""
        from ..stimulus.epochs import parameter_values
        from ..stimulus.trials import selected_trials

        return parameter_values(selected_trials(chosen, self._table(self._legacy)), drop_nulls, self._legacy)

    def _table(self, legacy: bool) -> pd.DataFrame:
        return self._file.legacy_table if legacy else self._file.presentation_table

    @staticmethod
    def _handed_out(table: pd.DataFrame, legacy: bool) -> pd.DataFrame:
        """Return a table that its receiver may change, and that notices AllenSDK's 'null' where it holds NaN."""
        from ..stimulus.frames import StimulusFrame

        copied = handed_out(table)
        return copied if legacy else StimulusFrame(copied)
