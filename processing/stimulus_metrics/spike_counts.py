"""Metrics that several stimuli share: rate, Fano factor, lifetime sparseness, preferred value, time to peak."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .responses import HISTOGRAM_BIN, StimulusResponses

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def fano_factor(counts: ArrayLike, ddof: int = 0) -> NDArray[np.float64]:
    """Return variance over mean of spike counts along the last axis; NaN where the mean is not positive.

    Parameters
    ----------
    counts
        (..., trials) spike counts.
    ddof
        0 divides the variance by n (release), 1 by n - 1 (corrected: a Poisson train then gives 1 on average).
    """
    values = np.asarray(counts, dtype=np.float64)
    factor = np.full(values.shape[:-1], np.nan)
    if values.shape[-1] <= ddof:
        return factor
    mean = values.mean(axis=-1)
    np.divide(values.var(axis=-1, ddof=ddof), mean, out=factor, where=mean > 0)
    return factor


def lifetime_sparseness(responses: ArrayLike) -> NDArray[np.float64]:
    """Return the lifetime sparseness of responses along the last axis: 0 all equal, 1 a single response.

    (1 - (sum r)^2 / (N sum r^2)) / (1 - 1 / N), Vinje and Gallant, Science 287:1273 (2000). NaN for fewer than two
    responses, or if all are zero.
    """
    values = np.asarray(responses, dtype=np.float64)
    n = values.shape[-1]
    sparseness = np.full(values.shape[:-1], np.nan)
    if n < 2:
        return sparseness
    squares = (values**2).sum(axis=-1)
    ratio = np.divide(values.sum(axis=-1) ** 2, n * squares, out=sparseness, where=squares > 0)
    return np.asarray((1 - ratio) / (1 - 1 / n))


def overall_firing_rate(starts: ArrayLike, stops: ArrayLike, spike_times: ArrayLike) -> float:
    """Return the spikes in the blocks [start, stop) over the length of the blocks, Hz.

    NaN if there are not as many stops as starts, or the blocks have no length.
    """
    begin, end = np.asarray(starts, dtype=np.float64), np.asarray(stops, dtype=np.float64)
    if begin.shape != end.shape or not (end - begin).sum() > 0:
        return float("nan")
    times = np.sort(np.asarray(spike_times, dtype=np.float64))
    return float((np.searchsorted(times, end) - np.searchsorted(times, begin)).sum() / (end - begin).sum())


def stimulus_blocks(responses: StimulusResponses) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return begin and end (s) of the stretches of time over which the overall rate is taken.

    Release: a stretch ends where the next presentation starts more than two nominal durations later, so that each
    flash is a stretch of its own. Corrected: a stretch is a run of presentations of one stimulus block that no other
    presentation (of another stimulus, or one marked invalid) interrupts.
    """
    design = responses.design
    if responses.corrected:
        new = np.flatnonzero(np.diff(design.block)) + 1
    else:
        new = np.flatnonzero(np.diff(design.start) > 2 * design.stimulus.duration) + 1
    return design.start[np.concatenate([[0], new])], design.stop[np.concatenate([new - 1, [-1]])]


def block_firing_rate(responses: StimulusResponses) -> NDArray[np.float64]:
    """Return the mean rate (Hz) over the stimulus' blocks, blank presentations and gaps in a block included."""
    starts, stops = stimulus_blocks(responses)
    duration = (stops - starts).sum()
    if not duration > 0 or np.any(stops < starts):
        return np.full(responses.n_units, np.nan)
    return np.asarray(responses.count_between(starts, stops).sum(axis=1) / duration)


def preferred_fano_factor(responses: StimulusResponses) -> NDArray[np.float64]:
    """Return the Fano factor of the trials of the preferred condition (corrected: sample variance)."""
    factors = np.full(responses.n_units, np.nan)
    for condition, units in responses.units_by_preferred_condition():
        trials = responses.design.trials_of(condition)
        factors[units] = fano_factor(responses.trial_counts[np.ix_(units, trials)], ddof=int(responses.corrected))
    return factors


def condition_sparseness(responses: StimulusResponses) -> NDArray[np.float64]:
    """Return the lifetime sparseness over the conditions that are not blank.

    Release: of summed counts, which unequal numbers of repeats bias upward. Corrected: of mean counts.
    """
    counts = responses.condition_means if responses.corrected else responses.condition_sums
    return lifetime_sparseness(counts[:, responses.shown])


def time_to_peak(responses: StimulusResponses) -> NDArray[np.float64]:
    """Return the time (s) of the first maximum of the 1 ms histogram of the preferred condition.

    The centre of the bin. A unit without spikes there has 0.0005 in the release definition, NaN in the corrected one.
    """
    histogram = responses.preferred_histogram
    if not histogram.shape[1]:
        return np.full(responses.n_units, np.nan)
    # the centre as the mean of the edges, computed as the original does it
    edges = responses.histogram_edges
    centres = edges[:-1] + np.diff(edges) / 2 if len(edges) > 1 else edges + HISTOGRAM_BIN / 2
    times = centres[histogram.argmax(axis=1)]
    if responses.corrected:
        times = np.where(histogram.max(axis=1) > 0, times, np.nan)
    return np.asarray(times)


def parameter_means(responses: StimulusResponses, parameter: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the values of a parameter and each unit's mean response to them.

    The response to a value is the unweighted mean of the means of the conditions that have it.

    Returns
    -------
    values
        (values,) sorted.
    means
        (units, values) spikes a presentation.
    """
    design = responses.design
    values = design.values(parameter)
    held = design.parameter(parameter)
    shown = ~design.blank
    means = [responses.condition_means[:, (held == value) & shown].mean(axis=1) for value in values]
    return values, np.stack(means, axis=1) if means else np.empty((responses.n_units, 0))


def preferred_value(responses: StimulusResponses, parameter: str) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Return the value of a parameter with the largest mean response, and whether several share it.

    Of equal ones the smallest value. A silent unit has the smallest value in the release definition (and several
    share it), NaN in the corrected one. NaN and False if the session varied no such parameter.
    """
    key = ("preferred_value", parameter)

    def compute(found: StimulusResponses) -> tuple[NDArray[np.float64], NDArray[Any]]:
        values, means = parameter_means(found, parameter)
        if not len(values):
            return np.full(found.n_units, np.nan), np.zeros(found.n_units, dtype=bool)
        largest = means.max(axis=1, keepdims=True)
        if found.corrected:
            # equal to rounding: sums of thirds and fifths in another order are not equal to the last bit
            is_largest = means >= largest * (1 - 1e-12)
            preferred = np.where(found.silent, np.nan, values[is_largest.argmax(axis=1)])
            return preferred, (is_largest.sum(axis=1) > 1) & ~found.silent
        return values[means.argmax(axis=1)], (means == largest).sum(axis=1) > 1

    result: tuple[NDArray[np.float64], NDArray[Any]] = responses.once(key, compute)
    return result


def preferred_parameter(responses: StimulusResponses, parameter: str) -> NDArray[np.float64]:
    """Return the value that a parameter has in each unit's preferred condition, (units,)."""
    return responses.design.parameter(parameter)[responses.preferred_condition]
