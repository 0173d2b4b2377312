"""Whether a unit responds differently to its preferred condition while the mouse runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import stdtr

from .responses import StimulusResponses

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

#: Mean speed (cm/s) from which a trial counts as running.
RUNNING_THRESHOLD = 1.0


def running_modulation(
    counts: ArrayLike, speeds: ArrayLike, threshold: float = RUNNING_THRESHOLD, minimum_trials: int = 2
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compare spike counts of running and stationary trials.

    Parameters
    ----------
    counts
        (..., trials) spike counts.
    speeds
        (trials,) mean running speed of each trial, cm/s; NaN counts as stationary.
    threshold
        Speed from which a trial counts as running.
    minimum_trials
        Fewer trials than this of either kind give NaN.

    Returns
    -------
    p_value
        (...,) of Welch's t-test, two-sided. NaN if all counts are equal; 0 if both kinds are constant and differ.
    modulation
        (...,) (running - stationary) / larger of the two, -1 to 1. NaN if there are no spikes at all.
    """
    values, speed = np.asarray(counts, dtype=np.float64), np.asarray(speeds, dtype=np.float64)
    shape = values.shape[:-1]
    nothing = np.full(shape, np.nan), np.full(shape, np.nan)
    if values.shape[-1:] != speed.shape:
        return nothing
    running = speed >= threshold
    n_run, n_rest = int(running.sum()), int((~running).sum())
    if n_run < minimum_trials or n_rest < minimum_trials:
        return nothing
    run, rest = values[..., running], values[..., ~running]
    run_mean, rest_mean = run.mean(axis=-1), rest.mean(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):  # silent units: 0 / 0, named below
        modulation = (run_mean - rest_mean) / np.maximum(run_mean, rest_mean)
        run_error, rest_error = run.var(axis=-1, ddof=1) / n_run, rest.var(axis=-1, ddof=1) / n_rest
        freedom = (run_error + rest_error) ** 2 / (run_error**2 / (n_run - 1) + rest_error**2 / (n_rest - 1))
        t = (run_mean - rest_mean) / np.sqrt(run_error + rest_error)
        p_value = 2 * stdtr(np.where(np.isnan(freedom), 1.0, freedom), -np.abs(t))
    silent = (run_mean == 0) & (rest_mean == 0)
    return np.where(silent, np.nan, p_value), np.where(silent, np.nan, modulation)


def preferred_running_modulation(responses: StimulusResponses) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return modulation and p-value over the trials of the preferred condition, (units,) each.

    Corrected: trials without a measured speed are left out instead of counting as stationary, three trials of each
    kind are needed instead of two, and the p-value of counts that do not vary is NaN instead of 0.
    """
    modulation, p_value = np.full(responses.n_units, np.nan), np.full(responses.n_units, np.nan)
    for condition, units in responses.units_by_preferred_condition():
        trials = responses.design.trials_of(condition)
        speeds = responses.design.running_speed[trials]
        if responses.corrected:
            trials, speeds = trials[np.isfinite(speeds)], speeds[np.isfinite(speeds)]
        counts = responses.trial_counts[np.ix_(units, trials)]
        p_value[units], modulation[units] = running_modulation(
            counts, speeds, minimum_trials=3 if responses.corrected else 2
        )
    if responses.corrected:
        p_value[p_value == 0] = np.nan
    return modulation, p_value
