"""Metrics of natural movies (``_nm1``, ``_nm3``), which the release does not have.

Both definitions are the same here but for the window in which spikes are counted (see ``StimulusResponses.counts``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import gaussian_filter1d

from .design import StimulusDesign
from .registry import built_in_metric
from .responses import StimulusResponses
from .spike_counts import block_firing_rate, condition_sparseness
from .stimuli import NATURAL_MOVIE_ONE, NATURAL_MOVIE_THREE

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Standard deviation (s) of the smoothing of single-trial responses before they are correlated.
SMOOTHING = 0.1


def movie_trials(design: StimulusDesign) -> NDArray[np.int64]:
    """Return the presentation of each frame in each complete repeat of the movie, (repeats, frames).

    A repeat begins where the frame number does not increase. Repeats that lack a frame are left out.
    """
    frame = design.parameter("frame")[design.condition]
    frames = design.values("frame")
    new = np.ones(len(frame), dtype=bool)
    new[1:] = ~(np.diff(frame) > 0)
    bounds = np.append(np.flatnonzero(new), len(frame))
    whole = [
        np.arange(first, last)
        for first, last in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
        if last - first == len(frames) and np.array_equal(frame[first:last], frames)
    ]
    return np.stack(whole) if whole else np.empty((0, len(frames)), dtype=np.int64)


def response_reliability(responses: NDArray[Any], smoothing: float = 0.0) -> NDArray[np.float64]:
    """Return the mean Pearson correlation between the responses of all pairs of trials.

    Parameters
    ----------
    responses
        (..., trials, samples).
    smoothing
        Standard deviation of a Gaussian over samples that is applied first.

    Returns
    -------
    numpy.ndarray
        (...,) NaN with fewer than two trials that vary; trials that do not vary are left out.
    """
    values = np.asarray(responses, dtype=np.float64)
    if smoothing > 0 and values.size:
        values = gaussian_filter1d(values, smoothing, axis=-1, mode="reflect")
    reliability = np.full(values.shape[:-2], np.nan)
    if not values.size:
        return reliability
    deviation = values - values.mean(axis=-1, keepdims=True)
    length = np.sqrt((deviation**2).sum(axis=-1, keepdims=True))
    varies = length > 1e-12
    unit_vectors = np.divide(deviation, length, out=np.zeros_like(deviation), where=varies)
    n = varies.sum(axis=(-2, -1))
    # the square of a sum of unit vectors is their number plus twice the sum of their correlations
    pairs = (unit_vectors.sum(axis=-2) ** 2).sum(axis=-1) - n
    np.divide(pairs, n * (n - 1), out=reliability, where=n > 1)
    return reliability


def preferred_frame(responses: StimulusResponses) -> NDArray[np.float64]:
    """Return the frame with the largest mean response, the first of equal ones; NaN for silent units."""
    frame = responses.design.parameter("frame")[responses.preferred_condition]
    return np.where(responses.silent, np.nan, frame)


def movie_reliability(responses: StimulusResponses) -> NDArray[np.float64]:
    """Return the reliability of the time course over complete repeats, smoothed by 0.1 s."""
    trials = movie_trials(responses.design)
    if len(trials) < 2:
        return np.full(responses.n_units, np.nan)
    period = float(np.median(np.diff(responses.design.start[trials], axis=1))) if trials.shape[1] > 1 else np.inf
    counts = responses.counts
    # unit by unit: the smoothed trials of a block of units would be the largest array of all metrics
    return np.array([response_reliability(unit[trials], SMOOTHING / period) for unit in counts], dtype=np.float64)


for _stimulus in (NATURAL_MOVIE_ONE, NATURAL_MOVIE_THREE):
    built_in_metric(f"pref_frame_{_stimulus.suffix}", stimulus=_stimulus)(preferred_frame)
    built_in_metric(f"reliability_{_stimulus.suffix}", stimulus=_stimulus)(movie_reliability)
    built_in_metric(f"lifetime_sparseness_{_stimulus.suffix}", stimulus=_stimulus)(condition_sparseness)
    built_in_metric(f"firing_rate_{_stimulus.suffix}", stimulus=_stimulus)(block_firing_rate)
