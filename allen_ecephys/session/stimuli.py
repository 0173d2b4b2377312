"""What was shown when: presentations, their parameters, epochs, and the trials that a caller names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from ..stimulus.trials import Trials
    from .file import SessionFile


class SessionStimuli:
    """The stimuli of a session file; frames are the session's own."""

    def __init__(self, file: SessionFile) -> None:
        self._file = file

    @property
    def presentations(self) -> pd.DataFrame:
        """All presentations, without parameters of drawing."""
        from ..stimulus.presentations import shown_columns

        return shown_columns(self._file.presentation_table, detailed=False)

    @property
    def names(self) -> list[str]:
        """Names of the stimuli in order of their first presentation."""
        return [str(name) for name in self._file.presentation_table["stimulus_name"].unique()]

    def trials(self, chosen: Trials) -> pd.DataFrame:
        """Return presentations for ids in any order and repetition, or the caller's own table of trials."""
        from ..stimulus.trials import selected_trials

        return selected_trials(chosen, self._file.presentation_table)

    def table(
        self, names: str | Iterable[str] | None, include_detailed: bool, include_unused: bool, legacy: bool
    ) -> pd.DataFrame:
        """Return the presentations of some stimuli (:func:`.epochs.stimulus_table`)."""
        from ..stimulus.epochs import stimulus_table

        table = self._file.legacy_table if legacy else self._file.presentation_table
        return stimulus_table(table, names, include_detailed, include_unused)

    def epochs(self, duration_thresholds: Mapping[str, float] | None) -> pd.DataFrame:
        """Return the contiguous runs of one stimulus and block (:func:`.epochs.stimulus_epochs`)."""
        from ..stimulus.epochs import stimulus_epochs

        return stimulus_epochs(self._file.presentation_table, duration_thresholds)

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

    def parameter_values(self, presentations: pd.DataFrame, drop_nulls: bool) -> dict[str, np.ndarray[Any, Any]]:
        """Return the distinct values of each parameter (:func:`.epochs.parameter_values`)."""
        from ..stimulus.epochs import parameter_values

        return parameter_values(presentations, drop_nulls)
