"""Drift: how far a unit's spikes wander along the probe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Length (s) of the intervals whose median depths are compared, and spikes needed in each.
INTERVAL = 51.0
MIN_SPIKES = 10


def drift_metrics(
    times: NDArray[np.float64],
    depths: NDArray[np.float64],
    start: float,
    stop: float,
    *,
    interval: float = INTERVAL,
    min_spikes: int = MIN_SPIKES,
) -> tuple[float, float]:
    """Return largest and summed change (um) of a unit's median depth over intervals of time.

    Parameters
    ----------
    times, depths
        Ascending time (s) and depth (um) of each spike, shape (n_spikes,).
    start, stop
        First and last spike (s) of all units of the probe.
    interval
        Length (s) of the intervals, which start at ``arange(start, stop, interval)``.
    min_spikes
        Spikes strictly inside an interval without which it does not count.

    Returns
    -------
    max_drift, cumulative_drift
        Rounded to 0.01 um; NaN if no interval counts. Changes next to an interval that does not count vanish from the
        sum. One interval can set the maximum.

    Notes
    -----
    SpikeInterface reports range, SD and MAD of medians over 60 s with at least 100 spikes.
    """
    medians = interval_medians(times, depths, start, stop, interval=interval, min_spikes=min_spikes)
    if np.isnan(medians).all():
        return float("nan"), float("nan")
    changes = np.abs(np.diff(medians))
    return (
        round(float(np.nanmax(medians) - np.nanmin(medians)), 2),
        round(float(changes[~np.isnan(changes)].sum()), 2),
    )


def interval_medians(
    times: NDArray[np.float64],
    depths: NDArray[np.float64],
    start: float,
    stop: float,
    *,
    interval: float = INTERVAL,
    min_spikes: int = MIN_SPIKES,
) -> NDArray[np.float64]:
    """Return the median depth (um) of each interval, NaN where fewer than `min_spikes` spikes lie strictly inside."""
    located = ~np.isnan(depths)
    times, depths = times[located], depths[located]
    starts = np.arange(start, stop, interval)
    first = np.searchsorted(times, starts, side="right")
    last = np.searchsorted(times, starts + interval, side="left")
    medians = np.full(starts.size, np.nan)
    for i in np.flatnonzero(last - first >= max(min_spikes, 1)):
        medians[i] = np.median(depths[first[i] : last[i]])
    return medians


def spike_depths(first_components: NDArray[Any], places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the depth (um) of each spike: the centre of mass of its squared first principal components.

    ``z = sum(z_k p_k^2) / sum(p_k^2)`` with ``p_k`` the positive part of the first component on the site at ``z_k``. In
    the release z_k is 10 um times the sorted channel's number, which is the place of a site along its shank
    (:class:`~allen_ecephys.processing.shanks.ShankLines`) on the one kind of probe that it had.

    Parameters
    ----------
    first_components
        Shape (n_spikes, n_sites).
    places
        Place (um) of each site along the shank, shape (n_sites,); those that are NaN are no sites.

    Returns
    -------
    numpy.ndarray
        float64, shape (n_spikes,); NaN where no component is positive.
    """
    origin = np.nanmin(places) if np.isfinite(places).any() else 0.0
    return _centres(np.asarray(first_components), np.nan_to_num(places - origin)) + origin


@njit(cache=True, nogil=True)
def _centres(components: NDArray[Any], places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the energy-weighted mean place of each spike."""
    n_spikes, n_sites = components.shape
    centres = np.empty(n_spikes)
    for i in range(n_spikes):
        energy, moment = 0.0, 0.0
        for k in range(n_sites):
            value = max(np.float64(components[i, k]), 0.0)
            energy += value * value
            moment += places[k] * value * value
        centres[i] = moment / energy if energy > 0 else np.nan
    return centres
