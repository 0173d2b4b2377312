"""Metrics of static gratings (``_sg``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .orientation_selectivity import global_orientation_selectivity
from .registry import built_in_metric
from .responses import StimulusResponses
from .spike_counts import preferred_value
from .stimuli import STATIC_GRATINGS
from .trial_metrics import add_trial_metrics

if TYPE_CHECKING:
    from numpy.typing import NDArray


@built_in_metric("pref_ori_sg", "pref_ori_multi_sg", stimulus=STATIC_GRATINGS, flags=["pref_ori_multi_sg"])
def preferred_orientation(responses: StimulusResponses) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Return the orientation (degrees, 0 to 150) with the largest mean response."""
    return preferred_value(responses, "orientation")


@built_in_metric("pref_sf_sg", "pref_sf_multi_sg", stimulus=STATIC_GRATINGS, flags=["pref_sf_multi_sg"])
def preferred_spatial_frequency(responses: StimulusResponses) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Return the spatial frequency (cycles a degree) with the largest mean response."""
    return preferred_value(responses, "spatial_frequency")


@built_in_metric("pref_phase_sg", "pref_phase_multi_sg", stimulus=STATIC_GRATINGS, flags=["pref_phase_multi_sg"])
def preferred_phase(responses: StimulusResponses) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Return the phase (fraction of a cycle) with the largest mean response."""
    return preferred_value(responses, "phase")


@built_in_metric("g_osi_sg", stimulus=STATIC_GRATINGS)
def orientation_selectivity(responses: StimulusResponses) -> NDArray[np.float64]:
    """Return the global orientation selectivity at the preferred spatial frequency and phase.

    NaN where an orientation was not shown there.
    """
    design = responses.design
    selectivity = np.full(responses.n_units, np.nan)
    orientations = design.values("orientation")
    angle, frequency, phase = (design.parameter(name) for name in ("orientation", "spatial_frequency", "phase"))
    preferred = np.column_stack(
        [preferred_value(responses, "spatial_frequency")[0], preferred_value(responses, "phase")[0]]
    )
    finite = np.isfinite(preferred).all(axis=1)
    for value, offset in np.unique(preferred[finite], axis=0):
        conditions = np.flatnonzero(~design.blank & (frequency == value) & (phase == offset))
        conditions = conditions[np.argsort(angle[conditions], kind="stable")]
        if not np.array_equal(angle[conditions], orientations):
            continue
        units = np.flatnonzero((preferred == (value, offset)).all(axis=1))
        selectivity[units] = global_orientation_selectivity(
            np.deg2rad(orientations), responses.condition_means[np.ix_(units, conditions)]
        )
    return selectivity


add_trial_metrics("sg", STATIC_GRATINGS, fano="fano")
