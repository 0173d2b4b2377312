"""Static gratings."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from allen_ecephys.processing.stimulus_metrics.stimuli import STATIC_GRATINGS
from allen_ecephys.session.session import EcephysSession

from .base import StimulusAnalysis, only_standard


class StaticGratings(StimulusAnalysis):
    """Responses to static gratings (see :class:`.StimulusAnalysis`)."""

    STIMULUS = STATIC_GRATINGS
    NAME = "Static Gratings"
    METRICS = (
        *("pref_sf_sg", "pref_sf_multi_sg", "pref_ori_sg", "pref_ori_multi_sg", "pref_phase_sg", "pref_phase_multi_sg"),
        *("g_osi_sg", "time_to_peak_sg", "firing_rate_sg", "fano_sg", "lifetime_sparseness_sg"),
        *("run_pval_sg", "run_mod_sg"),
    )

    def __init__(
        self,
        ecephys_session: EcephysSession | str | os.PathLike[str],
        col_ori: str = "orientation",
        col_sf: str = "spatial_frequency",
        col_phase: str = "phase",
        trial_duration: float = 0.25,
        **kwargs: Any,
    ) -> None:
        only_standard(
            col_ori=(col_ori, "orientation"), col_sf=(col_sf, "spatial_frequency"), col_phase=(col_phase, "phase")
        )
        super().__init__(ecephys_session, trial_duration, **kwargs)

    @property
    def orivals(self) -> np.ndarray[Any, Any]:
        """Orientations (degrees)."""
        return self._values("orientation")

    @property
    def number_ori(self) -> int:
        """Number of orientations."""
        return len(self.orivals)

    @property
    def sfvals(self) -> np.ndarray[Any, Any]:
        """Spatial frequencies (cycles/degree)."""
        return self._values("spatial_frequency")

    @property
    def number_sf(self) -> int:
        """Number of spatial frequencies."""
        return len(self.sfvals)

    @property
    def phasevals(self) -> np.ndarray[Any, Any]:
        """Phases (cycles), as numbers: AllenSDK gives their text."""
        return self._values("phase")

    @property
    def number_phase(self) -> int:
        """Number of phases."""
        return len(self.phasevals)
