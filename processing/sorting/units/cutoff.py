"""The amplitude below which a unit's spikes are dropped, and whether it is one neuron."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from allen_ecephys.errors import SpikeTrainError

from .correlograms import checked_spikes, rows_by_unit, train_statistics

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

#: Thresholds tried, from the strictest down, and how far above the last that fails a unit is cut.
HIGHEST, LOWEST, STEP = 10.0, 4.0, 0.5
R_MAXIMUM = 0.05


@dataclass(frozen=True, eq=False)
class Cutoff:
    """What :func:`set_cutoff` decides.

    Attributes
    ----------
    keep
        bool (n_spikes,): spikes that stay.
    good
        bool (n_units,): one neuron by its refractory period, at some threshold.
    contamination
        float64 (n_units,): estimated share of foreign spikes among those that stay, 1 where it cannot be told.
    threshold
        float64 (n_units,): spikes with `vexp` at or below it are dropped; 0 where none is.
    """

    keep: NDArray[np.bool_]
    good: NDArray[np.bool_]
    contamination: NDArray[np.float64]
    threshold: NDArray[np.float64]


def set_cutoff(
    times_s: ArrayLike,
    unit: ArrayLike,
    vexp: ArrayLike,
    n_units: int,
    *,
    fcontam: float = 0.1,
    keep_mua: bool = False,
) -> Cutoff:
    """Lower each unit's threshold as far as its refractory period stays clean, as Kilosort 2 does.

    Thresholds go from 10 down to 4 in steps of 0.5. At each, Q and R of the autocorrelogram
    (:func:`.correlograms.correlogram_statistics`) of spikes with `vexp` above it must not exceed a bound on
    contamination and 0.05; a threshold without spikes is passed over. The bound is `fcontam`, or, if Q < 0.05 at the
    first threshold, ``min(0.05, max(0.01, 2 Q))``: cleaner units are held to being clean. The unit is cut 0.5 above the
    first threshold that fails, at 4 if none does, and is good if one passed.

    A unit that fails at once is multi-unit activity ("mua"). Kilosort 2 cuts it 0.5 above where it failed, at 10.5
    mostly: a unit of small spikes loses most of them or all, for being contaminated or for firing too little to prove
    that it is not. (With a refractory period of 1.6 ms, half of simulated neurons pass with 300 spikes in a minute, 450
    in two, 700 in five.) That is the default here too; `keep_mua` leaves such units whole. Kilosort 2 counts a
    correlogram too empty for Q and R as clean; here it proves nothing.

    The contamination is Q of the spikes that stay (as in Kilosort 2.0, not 2019's value at the last threshold passed).

    Parameters
    ----------
    times_s
        (n_spikes,) spike times (s).
    unit
        (n_spikes,) unit of each spike, 0..n_units - 1.
    vexp
        (n_spikes,) root of the energy each spike explains, noise SDs.
    n_units
        Number of units.
    fcontam
        Largest contamination of a good unit.
    keep_mua
        Whether units that are never good keep all their spikes.

    Raises
    ------
    SpikeTrainError
        If times, units and `vexp` do not fit together, or are not finite.
    """
    times, units = checked_spikes(times_s, unit, n_units)
    explained = np.asarray(vexp, dtype=np.float64)
    if explained.shape != times.shape or not np.isfinite(explained).all():
        msg = f"vexp has shape {explained.shape} for {times.size:,} spikes, or is not finite: give one number a spike"
        raise SpikeTrainError(msg)
    keep = np.ones(times.size, dtype=np.bool_)
    good = np.zeros(n_units, dtype=np.bool_)
    contamination = np.ones(n_units)
    threshold = np.zeros(n_units)
    for u, rows in enumerate(rows_by_unit(times, units, n_units)):
        good[u], lowest = _lowest_clean(times[rows], explained[rows], fcontam)
        if good[u] or not keep_mua:
            threshold[u] = lowest
            keep[rows] = explained[rows] > lowest
        contamination[u] = _contamination(train_statistics(times[rows[keep[rows]]], None).q)
    return Cutoff(keep, good, contamination, threshold)


def refractory_labels(
    times_s: ArrayLike, unit: ArrayLike, n_units: int, *, fcontam: float = 0.1
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return which units are one neuron, and the contamination of each, whatever the size of their spikes.

    Good is a unit whose autocorrelogram has Q of at most `fcontam` and R of at most 0.05 (Kilosort 2's bounds); its
    contamination is Q, or 1 where it cannot be told.

    Raises
    ------
    SpikeTrainError
        If times and units do not fit together, or are not finite.
    """
    times, units = checked_spikes(times_s, unit, n_units)
    good, contamination = np.zeros(n_units, dtype=np.bool_), np.ones(n_units)
    for u, rows in enumerate(rows_by_unit(times, units, n_units)):
        statistics = train_statistics(times[rows], None)
        good[u] = statistics.q <= fcontam and statistics.r <= R_MAXIMUM
        contamination[u] = _contamination(statistics.q)
    return good, contamination


def _contamination(q: float) -> float:
    return 1.0 if np.isnan(q) else q


def _lowest_clean(train: NDArray[np.float64], vexp: NDArray[np.float64], fcontam: float) -> tuple[bool, float]:
    """Return whether a unit is clean at any threshold, and the lowest to which it is without a break."""
    good = False
    for threshold in np.arange(HIGHEST, LOWEST - STEP / 2, -STEP):
        above = vexp > threshold
        if not above.any():
            continue
        statistics = train_statistics(train[above], None)
        if not (statistics.q <= fcontam and statistics.r <= R_MAXIMUM):
            return good, float(threshold + STEP)
        good = True
        if threshold == HIGHEST and statistics.q < 0.05:
            fcontam = min(0.05, max(0.01, 2 * statistics.q))
    return good, LOWEST
