"""Metrics of full-field flashes (``_fl``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .registry import built_in_metric
from .responses import StimulusResponses
from .stimuli import FLASHES
from .trial_metrics import add_trial_metrics

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


add_trial_metrics("fl", FLASHES)
