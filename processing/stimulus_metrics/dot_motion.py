"""Metrics of random dot motion (``_dm``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .registry import built_in_metric
from .responses import StimulusResponses
from .spike_counts import preferred_value
from .stimuli import DOT_MOTION
from .trial_metrics import add_trial_metrics

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


add_trial_metrics("dm", DOT_MOTION)
