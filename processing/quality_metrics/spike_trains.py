"""Quality metrics that need spike times only: firing rate, presence ratio, refractory-period violations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from allen_ecephys.errors import InvalidValueError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

#: Shortest interval (s) that is no refractory-period violation.
ISI_THRESHOLD = 0.0015
#: Spikes this close (s) to their predecessor are duplicates and not counted.
MIN_ISI = 0.000166
#: Bins in which presence is judged; 99 are used and the count is divided by 100.
PRESENCE_BINS = 100


def firing_rate(times: ArrayLike, start: float, stop: float) -> float:
    """Return spikes per second of a train (s) between the first and last spike of the probe; NaN without duration."""
    return np.asarray(times).size / (stop - start) if stop > start else float("nan")


def presence_ratio(times: ArrayLike, start: float, stop: float, n_bins: int = PRESENCE_BINS) -> float:
    """Return the fraction of time in which a unit spikes.

    The release divides the number of non-empty bins among 99 by 100, so that the largest value is **0.99**.
    SpikeInterface takes bins of 60 s of the recording and reaches 1.

    Parameters
    ----------
    times
        Spike times (s).
    start, stop
        First and last spike (s) of all units of the probe; spikes outside are not counted.
    n_bins
        Edges of bins, and what the count is divided by.
    """
    if not stop > start:
        return float("nan")
    counts, _ = np.histogram(np.asarray(times, dtype=np.float64), np.linspace(start, stop, n_bins))
    return float(np.count_nonzero(counts) / n_bins)


def isi_violations(
    times: ArrayLike,
    duration: float,
    *,
    isi_threshold: float = ISI_THRESHOLD,
    min_isi: float = MIN_ISI,
) -> float:
    """Return the rate of refractory-period violations relative to the unit's own rate ("fpRate").

    ``V / (2 N (threshold - min_isi)) / (N / D)`` with V intervals below the threshold among N spikes, after Hill et
    al., J. Neurosci. 31, 8699 (2011). A spike within `min_isi` of the one before is a duplicate and removed, in one
    pass over the intervals as they were. Not a fraction: it can exceed 1.

    Parameters
    ----------
    times
        Ascending spike times (s).
    duration
        D (s).
    isi_threshold, min_isi
        Refractory period and censored period (s).

    Returns
    -------
    float
        NaN without spikes or duration.

    Raises
    ------
    InvalidValueError
        If the censored period leaves nothing of the refractory period.

    Notes
    -----
    SpikeInterface keeps duplicates, has a censored period of 0 by default and takes the recording's whole duration.
    """
    check_periods(isi_threshold, min_isi)
    violations, n_spikes = count_violations(times, isi_threshold, min_isi)
    if n_spikes == 0 or not duration > 0:
        return float("nan")
    violation_rate = violations / (2 * n_spikes * (isi_threshold - min_isi))
    return violation_rate / (n_spikes / duration)


def isi_violations_corrected(
    times: ArrayLike,
    duration: float,
    *,
    isi_threshold: float = ISI_THRESHOLD,
    min_isi: float = MIN_ISI,
) -> float:
    """Return the fraction of contaminating spikes that the violations imply (Llobet et al., bioRxiv 2022.02.08.479192).

    ``1 - sqrt(1 - V D / (N^2 (threshold - min_isi)))``: violations between contaminants count too. NaN where there are
    more violations than any contamination by one other Poisson unit explains. Parameters as :func:`isi_violations`.
    """
    check_periods(isi_threshold, min_isi)
    violations, n_spikes = count_violations(times, isi_threshold, min_isi)
    if n_spikes == 0 or not duration > 0:
        return float("nan")
    radicand = 1 - violations * duration / (n_spikes**2 * (isi_threshold - min_isi))
    return float(1 - np.sqrt(radicand)) if radicand >= 0 else float("nan")


def check_periods(isi_threshold: float, min_isi: float) -> None:
    """Raise unless the refractory period (s) is longer than the censored one, which is not negative."""
    if not 0 <= min_isi < isi_threshold:
        msg = (
            f"min_isi is {min_isi:g} s and isi_threshold {isi_threshold:g} s: intervals between the two are counted; "
            "give 0 <= min_isi < isi_threshold"
        )
        raise InvalidValueError(msg)


def count_violations(times: ArrayLike, isi_threshold: float, min_isi: float) -> tuple[int, int]:
    """Return the number of intervals below the threshold, and of spikes, after removing duplicates."""
    train: NDArray[np.float64] = np.asarray(times, dtype=np.float64)
    if train.size == 0:
        return 0, 0
    kept = train[np.concatenate(([True], np.diff(train) > min_isi))]
    return int(np.count_nonzero(np.diff(kept) < isi_threshold)), int(kept.size)
