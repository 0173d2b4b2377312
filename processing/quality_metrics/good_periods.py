"""When a unit is to be trusted: stretches of the recording in which it is present, whole and clean.

A metric over hours hides that a unit drifted away in the last of them, or throws away the hours before. Here a unit's
time is cut into windows that hold enough spikes to tell, and each window is judged by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from .amplitudes import amplitude_cutoff
from .spike_trains import ISI_THRESHOLD, MIN_ISI, check_periods, count_violations

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from ..sorted_spikes import SortedSpikes

#: Shortest window (s), spikes that a window holds in the mean, and bins of their amplitudes. Of 500 spikes of a whole
#: Gaussian unit the amplitude cutoff exceeded 0.05 in none of 600 draws (in 500 bins, the release's for hours, 0.1 in
#: one of 200); of a unit that lost 43 % it exceeded 0.1 in all.
WINDOW_SECONDS: Final = 60.0
WINDOW_SPIKES: Final = 500
WINDOW_BINS: Final = 100
#: A window with less than this share of the unit's median window holds too little of it.
LEAST_SHARE: Final = 0.1
#: The release's bound on the amplitude cutoff of units, here on windows.
MOST_CUTOFF: Final = 0.1
#: Contamination up to which a refractory period holds (Kilosort's bound on units labelled good), and the probability
#: below which violations are more than chance makes of it. (The release's bound of 0.5 on violations is what a Poisson
#: process without any refractory period reaches.)
MOST_CONTAMINATION: Final = 0.1
CHANCE: Final = 0.05


def good_periods(
    spikes: SortedSpikes,
    amplitudes: NDArray[np.floating],
    *,
    sampling_rate: float,
    duration: float,
    isi_threshold: float = ISI_THRESHOLD,
    min_isi: float = MIN_ISI,
) -> pd.DataFrame:
    """Return the periods in which each unit's amplitudes stand clear of the threshold and its refractory period holds.

    A unit's time is cut into equal windows of at least a minute that hold 500 spikes in the mean. A window is good if
    it holds a tenth of the spikes of the unit's median window, its amplitude cutoff is at most 0.1, and it has no more
    violations of the refractory period than chance makes of a contamination of a tenth. Good windows in a row are one
    period.

    Parameters
    ----------
    spikes
        Of all units.
    amplitudes
        Of each spike, any unit, shape (n_spikes,).
    sampling_rate
        Samples per second.
    duration
        Of the recording, s.
    isi_threshold, min_isi
        Refractory and censored period (s).

    Returns
    -------
    pandas.DataFrame
        Columns ``unit_id``, ``start_time``, ``stop_time`` (s from the first sample, gaps not counted), one row a
        period, by unit and time. Units that are never good have none.

    Raises
    ------
    InvalidValueError
        If the censored period leaves nothing of the refractory period.

    Examples
    --------
    >>> spikes = recorded.sorted_spikes()
    >>> good_periods(spikes, recorded.spike_amplitudes, sampling_rate=30_000.0, duration=6.0).columns.tolist()
    ['unit_id', 'start_time', 'stop_time']
    """
    import pandas as pd

    check_periods(isi_threshold, min_isi)
    rows: list[tuple[int, float, float]] = []
    for unit, mine in zip(spikes.unit_ids.tolist(), spikes.rows_by_unit(), strict=True):
        times, sizes = spikes.samples[mine] / sampling_rate, np.asarray(amplitudes)[mine]
        edges = _windows(len(mine), duration)
        cuts = np.searchsorted(times, edges[1:-1])
        trains, parts = np.split(times, cuts), np.split(sizes, cuts)
        least = LEAST_SHARE * float(np.median([len(train) for train in trains]))
        good = [
            len(train) > least
            and amplitude_cutoff(part, n_bins=WINDOW_BINS) <= MOST_CUTOFF
            and refractory_period_holds(train, stop - start, isi_threshold, min_isi)
            for train, part, start, stop in zip(trains, parts, edges[:-1], edges[1:], strict=True)
        ]
        turns = np.flatnonzero(np.diff(np.r_[False, good, False].astype(np.int8)))
        rows += [(unit, float(edges[a]), float(edges[b])) for a, b in turns.reshape(-1, 2).tolist()]
    return pd.DataFrame(rows, columns=["unit_id", "start_time", "stop_time"]).astype(
        {"unit_id": "int64", "start_time": "float64", "stop_time": "float64"}
    )


def refractory_period_holds(
    times: NDArray[np.float64], duration: float, isi_threshold: float = ISI_THRESHOLD, min_isi: float = MIN_ISI
) -> bool:
    """Tell whether a train has no more violations than chance makes of a contamination of a tenth.

    N spikes of which a share ``C`` is another Poisson unit's make ``(1 - (1 - C)^2) N^2 (threshold - min_isi) / D``
    violations in D seconds in the mean (Llobet et al., bioRxiv 2022.02.08.479192), Poisson distributed.

    Parameters
    ----------
    times
        Ascending spike times, s.
    duration
        D, s.
    isi_threshold, min_isi
        Refractory and censored period (s).
    """
    from scipy.stats import poisson

    violations, n_spikes = count_violations(times, isi_threshold, min_isi)
    share = 1.0 - (1.0 - MOST_CONTAMINATION) ** 2
    expected = share * n_spikes**2 * (isi_threshold - min_isi) / duration
    return bool(poisson.sf(violations - 1, expected) >= CHANCE)


def _windows(n_spikes: int, duration: float) -> NDArray[np.float64]:
    """Return the edges (s) of a unit's windows."""
    length = max(WINDOW_SECONDS, WINDOW_SPIKES * duration / max(n_spikes, 1))
    return np.linspace(0.0, duration, max(int(duration / length), 1) + 1)
