"""Moving dots."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from allen_ecephys.processing.stimulus_metrics.stimuli import DOT_MOTION
from allen_ecephys.session.session import EcephysSession

from .base import StimulusAnalysis, only_standard


class DotMotion(StimulusAnalysis):
    """Responses to moving dots (see :class:`.StimulusAnalysis`)."""

    STIMULUS = DOT_MOTION
    NAME = "Dot Motion"
    METRICS = (
        *("pref_speed_dm", "pref_speed_multi_dm", "pref_dir_dm", "pref_dir_multi_dm", "firing_rate_dm", "fano_dm"),
        *("time_to_peak_dm", "lifetime_sparseness_dm", "run_mod_dm", "run_pval_dm"),
    )

    def __init__(
        self,
        ecephys_session: EcephysSession | str | os.PathLike[str],
        col_dir: str = "Dir",
        col_speeds: str = "Speed",
        trial_duration: float = 1.0,
        **kwargs: Any,
    ) -> None:
        only_standard(col_dir=(col_dir, "Dir"), col_speeds=(col_speeds, "Speed"))
        super().__init__(ecephys_session, trial_duration, **kwargs)

    @property
    def directions(self) -> np.ndarray[Any, Any]:
        """Directions (degrees)."""
        return self._values("Dir")

    @property
    def number_directions(self) -> int:
        """Number of directions."""
        return len(self.directions)

    @property
    def speeds(self) -> np.ndarray[Any, Any]:
        """Speeds."""
        return self._values("Speed")

    @property
    def number_speeds(self) -> int:
        """Number of speeds."""
        return len(self.speeds)
