"""Metrics of random dot motion (``_dm``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .registry import built_in_metric
from .responses import StimulusResponses
from .running_modulation import preferred_running_modulation
from .spike_counts import (
    block_firing_rate,
    condition_sparseness,
    preferred_fano_factor,
    preferred_value,
    time_to_peak,
)
from .stimuli import DOT_MOTION

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@built_in_metric("pref_speed_dm", "pref_speed_multi_dm", stimulus=DOT_MOTION, flags=["pref_speed_multi_dm"])
def preferred_speed(responses: StimulusResponses) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Return the dot speed (stored units, not calibrated) with the largest mean response."""
    return preferred_value(responses, "Speed")


@built_in_metric("pref_dir_dm", "pref_dir_multi_dm", stimulus=DOT_MOTION, flags=["pref_dir_multi_dm"])
def preferred_dot_direction(responses: StimulusResponses) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Return the direction of the dots (degrees) with the largest mean response."""
    return preferred_value(responses, "Dir")


built_in_metric("run_mod_dm", "p_run_mod_dm", stimulus=DOT_MOTION)(preferred_running_modulation)
built_in_metric("firing_rate_dm", stimulus=DOT_MOTION)(block_firing_rate)
built_in_metric("fano_factor_dm", stimulus=DOT_MOTION)(preferred_fano_factor)
built_in_metric("lifetime_sparseness_dm", stimulus=DOT_MOTION)(condition_sparseness)
built_in_metric("time_to_peak_dm", stimulus=DOT_MOTION)(time_to_peak)
