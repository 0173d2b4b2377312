"""Full-field flashes."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from allen_ecephys.processing.stimulus_metrics.stimuli import FLASHES
from allen_ecephys.session.session import EcephysSession

from .base import StimulusAnalysis, only_standard


class Flashes(StimulusAnalysis):
    """Responses to full-field flashes (see :class:`.StimulusAnalysis`)."""

    STIMULUS = FLASHES
    NAME = "Flashes"
    METRICS = (
        *("on_off_ratio_fl", "sustained_idx_fl", "firing_rate_fl", "time_to_peak_fl", "fano_fl"),
        *("lifetime_sparseness_fl", "run_pval_fl", "run_mod_fl"),
    )

    def __init__(
        self,
        ecephys_session: EcephysSession | str | os.PathLike[str],
        col_color: str = "color",
        trial_duration: float = 0.25,
        **kwargs: Any,
    ) -> None:
        only_standard(col_color=(col_color, "color"))
        super().__init__(ecephys_session, trial_duration, **kwargs)

    @property
    def colors(self) -> np.ndarray[Any, Any]:
        """Colours: -1 black, 1 white."""
        return self._values("color")

    @property
    def number_colors(self) -> int:
        """Number of colours."""
        return len(self.colors)
