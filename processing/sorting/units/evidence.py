"""What a unit's own spikes tell about it: how large they are, how much alike, how many are cut, how often too early."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from allen_ecephys.errors import SpikeTrainError

from ...quality_metrics.amplitudes import amplitude_cutoff
from ...quality_metrics.spike_trains import ISI_THRESHOLD, MIN_ISI, count_violations
from .correlograms import checked_spikes, rows_by_unit

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike

#: Bins of the amplitudes that the cutoff is read from: a unit of a minute has some hundred spikes.
AMPLITUDE_BINS: Final = 100
#: The shape of few amplitudes says nothing: so many spikes of which half are cut are counted with a unit's own.
UNKNOWN_SPIKES, UNKNOWN_CUT = 20, 0.5


def unit_evidence(
    times_s: ArrayLike,
    unit: ArrayLike,
    amplitudes: ArrayLike,
    n_units: int,
    *,
    duration: float,
) -> pd.DataFrame:
    """Return what the estimates of :func:`.estimates.estimate_units` rest on, one row a unit.

    Parameters
    ----------
    times_s
        (n_spikes,) ascending spike times, s.
    unit
        (n_spikes,) unit of each spike, 0..n_units - 1.
    amplitudes
        (n_spikes,) projection of each spike on its unit's template of norm 1, SDs of the noise.
    n_units
        Number of units.
    duration
        Of the recording, s.

    Returns
    -------
    pandas.DataFrame
        Columns, float64:

        ``n_spikes``, ``rate``
            Spikes, and a second.
        ``size``
            Mean amplitude m, SDs of the noise.
        ``spread``
            SD of amplitudes beyond that of the noise (1), as a share of their mean.
        ``cut``
            Share of spikes below the threshold, by the shape of their amplitudes' distribution
            (:func:`~allen_ecephys.processing.quality_metrics.amplitudes.amplitude_cutoff`), averaged with that of 20
            spikes of which half are cut: few spikes have no shape.
        ``violations``, ``expected``
            Intervals below the refractory period, and how many there would be if the spikes were a Poisson process.

    Raises
    ------
    SpikeTrainError
        If spikes, units and amplitudes do not fit together, or are not finite.
    """
    import pandas as pd

    times, units = checked_spikes(times_s, unit, n_units)
    sizes = np.asarray(amplitudes, dtype=np.float64)
    if sizes.shape != times.shape or not np.isfinite(sizes).all():
        msg = f"amplitudes has shape {sizes.shape} for {times.size:,} spikes, or is not finite: give one for each spike"
        raise SpikeTrainError(msg)
    counts = np.bincount(units, minlength=n_units).astype(np.float64)
    some = np.maximum(counts, 1)
    size = np.bincount(units, weights=sizes, minlength=n_units) / some
    variance = np.bincount(units, weights=(sizes - size[units]) ** 2, minlength=n_units) / some
    cut, violations, expected = np.zeros(n_units), np.zeros(n_units), np.zeros(n_units)
    for u, rows in enumerate(rows_by_unit(times, units, n_units)):
        seen = np.nan_to_num(amplitude_cutoff(sizes[rows], n_bins=AMPLITUDE_BINS), nan=UNKNOWN_CUT)
        cut[u] = (len(rows) * seen + UNKNOWN_SPIKES * UNKNOWN_CUT) / (len(rows) + UNKNOWN_SPIKES)
        violations[u], kept = count_violations(times[rows], ISI_THRESHOLD, MIN_ISI)
        expected[u] = kept**2 * (ISI_THRESHOLD - MIN_ISI) / duration
    columns = {
        "n_spikes": counts,
        "rate": counts / duration,
        "size": size,
        "spread": np.sqrt(np.maximum(variance - 1.0, 0.0)) / np.maximum(size, 1.0),
        "cut": cut,
        "violations": violations,
        "expected": expected,
    }
    return pd.DataFrame(columns)
