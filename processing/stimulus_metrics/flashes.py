"""Metrics of full-field flashes (``_fl``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .registry import built_in_metric
from .responses import StimulusResponses
from .running_modulation import preferred_running_modulation
from .spike_counts import block_firing_rate, condition_sparseness, preferred_fano_factor, time_to_peak
from .stimuli import FLASHES

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Values of ``color`` of bright and dark flashes.
ON, OFF = 1.0, -1.0


@built_in_metric("on_off_ratio_fl", stimulus=FLASHES)
def on_off_ratio(responses: StimulusResponses) -> NDArray[np.float64]:
    """Return the mean response to bright flashes over that to dark ones; NaN where the latter is 0 or missing."""
    color = responses.design.parameter("color")
    ratio = np.full(responses.n_units, np.nan)
    bright, dark = np.flatnonzero(color == ON), np.flatnonzero(color == OFF)
    if bright.size and dark.size:
        on, off = (responses.condition_means[:, found].mean(axis=1) for found in (bright, dark))
        np.divide(on, off, out=ratio, where=off > 0)
    return ratio


@built_in_metric("sustained_idx_fl", stimulus=FLASHES)
def sustained_index(responses: StimulusResponses) -> NDArray[np.float64]:
    """Return mean over maximum of the 1 ms histogram of the preferred flash; NaN for silent units."""
    histogram = responses.preferred_histogram
    index = np.full(responses.n_units, np.nan)
    largest = histogram.max(axis=1)
    np.divide(histogram.mean(axis=1), largest, out=index, where=largest > 0)
    return index


built_in_metric("run_mod_fl", "p_run_mod_fl", stimulus=FLASHES)(preferred_running_modulation)
built_in_metric("firing_rate_fl", stimulus=FLASHES)(block_firing_rate)
built_in_metric("fano_factor_fl", stimulus=FLASHES)(preferred_fano_factor)
built_in_metric("lifetime_sparseness_fl", stimulus=FLASHES)(condition_sparseness)
built_in_metric("time_to_peak_fl", stimulus=FLASHES)(time_to_peak)
