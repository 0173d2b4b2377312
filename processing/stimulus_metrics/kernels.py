"""Compiled loops of the metrics: peri-stimulus histograms of the preferred condition, chi-square surrogates."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def _bin_trial(
    times: NDArray[np.float64],
    start: float,
    edges: NDArray[np.float64],
    closed: bool,
    histogram: NDArray[np.int64],
) -> None:
    """Add the spikes of one trial to a histogram with bins [start + edges[k], start + edges[k + 1]).

    `closed` makes bins closed at both ends, so that a spike on an inner edge counts in two bins. The comparisons are
    made with ``start + edges[k]`` as a float, as a binary search over those edges would make them.
    """
    n_bins = len(edges) - 1
    width = edges[1] - edges[0]
    spike = np.searchsorted(times, start + edges[0])
    while spike < len(times):
        time = times[spike]
        if time > start + edges[n_bins]:
            break
        k = min(max(int((time - start - edges[0]) / width), 0), n_bins)
        while k < n_bins and start + edges[k + 1] <= time:
            k += 1
        while k > 0 and start + edges[k] > time:
            k -= 1
        if k < n_bins:
            histogram[k] += 1
        if closed and k > 0 and start + edges[k] == time:
            histogram[k - 1] += 1
        spike += 1


@njit(cache=True, nogil=True)
def sum_histograms(
    times: NDArray[np.float64],
    unit_starts: NDArray[np.int64],
    unit_stops: NDArray[np.int64],
    starts: NDArray[np.float64],
    trial_order: NDArray[np.int64],
    condition_offsets: NDArray[np.int64],
    condition: NDArray[np.int64],
    edges: NDArray[np.float64],
    closed: bool,
    histograms: NDArray[np.int64],
) -> None:
    """Add up each unit's spike histograms over the trials of one condition of its own.

    Parameters
    ----------
    times, unit_starts, unit_stops
        Sorted spike times of all units (s), and where each unit begins and ends.
    starts
        (presentations,) start times, s.
    trial_order, condition_offsets
        Presentations sorted by condition, and where each condition begins there.
    condition
        (units,) the condition of each unit.
    edges
        Bin edges relative to the start, s, evenly spaced.
    closed
        Whether bins are closed at both ends.
    histograms
        (units, bins) int64, added to.
    """
    for unit in range(len(condition)):
        train = times[unit_starts[unit] : unit_stops[unit]]
        for trial in trial_order[condition_offsets[condition[unit]] : condition_offsets[condition[unit] + 1]]:
            _bin_trial(train, starts[trial], edges, closed, histograms[unit])


@njit(cache=True, nogil=True)
def trial_histograms(
    times: NDArray[np.float64],
    starts: NDArray[np.float64],
    edges: NDArray[np.float64],
    closed: bool,
) -> NDArray[np.int64]:
    """Return one unit's spike histogram of each trial, (trials, bins); see :func:`sum_histograms`."""
    histograms = np.zeros((len(starts), len(edges) - 1), dtype=np.int64)
    for trial in range(len(starts)):
        _bin_trial(times, starts[trial], edges, closed, histograms[trial])
    return histograms


@njit(cache=True, nogil=True)
def first_harmonics(
    trials: NDArray[np.float64], cycle_bins: float, n_bins: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and amplitude at one frequency of each trial's first `n_bins` bins, (trials,) each.

    The amplitude is ``2 |sum_t x_t exp(-2 pi i t / cycle_bins)| / n_bins``. Most bins hold no spike and cost nothing.
    """
    means, amplitudes = np.zeros(len(trials)), np.zeros(len(trials))
    for trial in range(len(trials)):
        total, real, imaginary = 0.0, 0.0, 0.0
        for t in range(n_bins):
            x = trials[trial, t]
            if x != 0:
                angle = 2 * np.pi * (t / cycle_bins)
                total += x
                real += x * np.cos(angle)
                imaginary -= x * np.sin(angle)
        means[trial] = total / n_bins
        amplitudes[trial] = 2 * np.sqrt(real * real + imaginary * imaginary) / n_bins
    return means, amplitudes


@njit(cache=True, nogil=True)
def _category_statistic(
    counts: NDArray[np.int32],
    draw: NDArray[np.int32],
    category_offsets: NDArray[np.int64],
    statistic: NDArray[np.float64],
) -> None:
    """Set `statistic` (units,) to N * sum_k O_k^2 / n_k / sum_k O_k - sum_k O_k, the chi-square of drawn counts.

    O_k is the sum of ``counts[draw[p]]`` over the presentations p of category k; NaN where no spike was drawn.
    """
    n_units = counts.shape[1]
    observed = np.zeros(n_units, dtype=np.int32)
    total = np.zeros(n_units, dtype=np.float64)
    statistic[:] = 0.0
    for category in range(len(category_offsets) - 1):
        first, last = category_offsets[category], category_offsets[category + 1]
        if first == last:
            continue
        observed[:] = 0
        for presentation in range(first, last):
            drawn = counts[draw[presentation]]
            for unit in range(n_units):
                observed[unit] += drawn[unit]
        for unit in range(n_units):
            o = float(observed[unit])
            statistic[unit] += o * o / (last - first)
            total[unit] += o
    for unit in range(n_units):
        if total[unit] > 0:
            statistic[unit] = counts.shape[0] * statistic[unit] / total[unit] - total[unit]
        else:
            statistic[unit] = np.nan


@njit(cache=True, nogil=True)
def chi_square_statistics(
    counts: NDArray[np.int32],
    draws: NDArray[np.int32],
    category_offsets: NDArray[np.int64],
    statistics: NDArray[np.float64],
) -> None:
    """Set the chi-square of each unit's counts against equal rates, for each draw of the presentations.

    Parameters
    ----------
    counts
        (presentations, units) spike counts, presentations sorted by category.
    draws
        (surrogates, presentations) which presentation's count stands in each place.
    category_offsets
        (categories + 1,) where each category begins among the presentations.
    statistics
        (surrogates, units) float64, set.
    """
    for surrogate in range(draws.shape[0]):
        _category_statistic(counts, draws[surrogate], category_offsets, statistics[surrogate])
