"""Drifting gratings."""

from __future__ import annotations

import os
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from allen_ecephys.processing.stimulus_metrics.stimuli import CONTRAST, DRIFTING_GRATINGS
from allen_ecephys.session.session import EcephysSession

from .base import StimulusAnalysis, only_standard


class DriftingGratings(StimulusAnalysis):
    """Responses to drifting gratings (see :class:`.StimulusAnalysis`)."""

    STIMULUS = DRIFTING_GRATINGS
    NAME = "Drifting Gratings"
    METRICS = (
        *("pref_ori_dg", "pref_ori_multi_dg", "pref_tf_dg", "pref_tf_multi_dg", "c50_dg", "f1_f0_dg", "mod_idx_dg"),
        *("g_osi_dg", "g_dsi_dg", "firing_rate_dg", "fano_dg", "lifetime_sparseness_dg", "run_pval_dg", "run_mod_dg"),
    )

    def __init__(
        self,
        ecephys_session: EcephysSession | str | os.PathLike[str],
        col_ori: str = "orientation",
        col_tf: str = "temporal_frequency",
        col_contrast: str = "contrast",
        trial_duration: float = 2.0,
        **kwargs: Any,
    ) -> None:
        only_standard(
            col_ori=(col_ori, "orientation"),
            col_tf=(col_tf, "temporal_frequency"),
            col_contrast=(col_contrast, "contrast"),
        )
        super().__init__(ecephys_session, trial_duration, **kwargs)

    @property
    def orivals(self) -> np.ndarray[Any, Any]:
        """Directions (degrees)."""
        return self._values("orientation")

    @property
    def number_ori(self) -> int:
        """Number of directions."""
        return len(self.orivals)

    @property
    def tfvals(self) -> np.ndarray[Any, Any]:
        """Temporal frequencies (Hz)."""
        return self._values("temporal_frequency")

    @property
    def number_tf(self) -> int:
        """Number of temporal frequencies."""
        return len(self.tfvals)

    @property
    def contrastvals(self) -> np.ndarray[Any, Any]:
        """Contrasts."""
        return self._values("contrast")

    @property
    def number_contrast(self) -> int:
        """Number of contrasts."""
        return len(self.contrastvals)

    @cached_property
    def stim_table_contrast(self) -> pd.DataFrame:
        """Presentations of the gratings of many contrasts; empty where the session has none."""
        shown = CONTRAST.find_in(self._session.stimulus_names)
        return pd.DataFrame() if shown is None else self._session.get_stimulus_table(shown)

    @cached_property
    def conditionwise_statistics_contrast(self) -> pd.DataFrame:
        """:attr:`conditionwise_statistics` of the gratings of many contrasts; empty where the session has none."""
        if not len(self.stim_table_contrast):
            return self.conditionwise_statistics.iloc[:0]
        return self._session.conditionwise_spike_statistics(self.stim_table_contrast.index, self.unit_ids)

    @cached_property
    def stimulus_conditions_contrast(self) -> pd.DataFrame:
        """:attr:`stimulus_conditions` of the gratings of many contrasts; empty where the session has none."""
        every = self._session.stimulus_conditions
        if not len(self.stim_table_contrast):
            return every.iloc[:0]
        return every[every.index.isin(self.stim_table_contrast["stimulus_condition_id"])]
