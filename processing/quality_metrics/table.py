"""The table of quality metrics: one row for each unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from allen_ecephys.errors import explains_unknown_names

from .amplitudes import amplitude_cutoff
from .drift import INTERVAL, MIN_SPIKES, drift_metrics, spike_depths
from .isolation import MAX_NEIGHBOR_SPIKES, N_NEIGHBORS
from .silhouette import MAX_DISTANCE, MAX_SPIKES, silhouette_scores
from .spike_trains import ISI_THRESHOLD, MIN_ISI, firing_rate, isi_violations, isi_violations_corrected, presence_ratio
from .unit_isolation import COMPARED_RANGE, MAX_SPIKES_FOR_UNIT, isolation_metrics, peak_sites

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from ..sorted_spikes import SortedSpikes
    from ..timeline import Timeline
    from .features import SpikeFeatures


@explains_unknown_names
@dataclass(frozen=True)
class QualitySettings:
    """Parameters of the quality metrics; the defaults are those of the release.

    Attributes
    ----------
    isi_threshold, min_isi
        Refractory and censored period (s).
    compared_range, max_spikes_for_unit, max_spikes_for_neighbors, n_neighbors
        Of the isolation metrics; the range in um.
    max_spikes_for_silhouette, silhouette_distance
        Of the silhouette score; the distance in um.
    drift_interval, drift_min_spikes
        Of the drift (s, spikes).
    seed
        Of all random draws.

    Examples
    --------
    >>> QualitySettings(isi_threshold=0.002).isi_threshold
    0.002
    """

    isi_threshold: float = ISI_THRESHOLD
    min_isi: float = MIN_ISI
    compared_range: float = COMPARED_RANGE
    max_spikes_for_unit: int = MAX_SPIKES_FOR_UNIT
    max_spikes_for_neighbors: int = MAX_NEIGHBOR_SPIKES
    n_neighbors: int = N_NEIGHBORS
    max_spikes_for_silhouette: int = MAX_SPIKES
    silhouette_distance: float = MAX_DISTANCE
    drift_interval: float = INTERVAL
    drift_min_spikes: int = MIN_SPIKES
    seed: int = 0


#: Columns of the table, in order.
QUALITY_METRICS = (
    "firing_rate",
    "presence_ratio",
    "isi_violations",
    "isi_violations_corrected",
    "amplitude_cutoff",
    "max_drift",
    "cumulative_drift",
    "silhouette_score",
    "isolation_distance",
    "l_ratio",
    "l_ratio_corrected",
    "d_prime",
    "nn_hit_rate",
    "nn_miss_rate",
)


def quality_metrics(
    spikes: SortedSpikes,
    features: SpikeFeatures,
    *,
    sampling_rate: float = 30000.0,
    epoch: tuple[float, float] | None = None,
    settings: QualitySettings | None = None,
    timeline: Timeline | None = None,
) -> pd.DataFrame:
    """Compute every quality metric of every unit of a probe.

    Parameters
    ----------
    spikes
        Spikes after double-counted ones were removed, in any order.
    features
        Features of these spikes.
    sampling_rate
        Nominal samples per second.
    epoch
        Start and stop (s); only spikes strictly between count. Default: all spikes. (The release's default epoch starts
        at 0 s, so that it drops a spike at sample 0.)
    settings
        Parameters; those of the release by default.
    timeline
        Where the recording has gaps. Intervals between spikes are true ones then; rates, presence and drift refer to
        the time that was recorded, gaps left out. Default: none.

    Returns
    -------
    pandas.DataFrame
        Index ``unit_id``; columns ``QUALITY_METRICS``, float64. Plain names carry the release's definitions, with
        ``isi_violations_corrected`` and ``l_ratio_corrected`` beside them. Time runs from the first to the last spike
        of the probe. Units without spikes have a firing rate of 0 and NaN otherwise.

    Examples
    --------
    >>> from allen_ecephys.processing.waveforms import mean_waveforms
    >>> band, spikes = bands.spike_band, recorded.sorted_spikes()
    >>> features = spike_features(band, spikes, mean_waveforms(band, spikes))
    >>> quality_metrics(spikes, features)[["firing_rate", "presence_ratio", "isi_violations"]].round(2).head(2)
             firing_rate  presence_ratio  isi_violations
    unit_id
    0               5.52             0.3             0.0
    1               9.71             0.5             0.0
    """
    import pandas as pd

    chosen = settings or QualitySettings()
    times: NDArray[np.float64] = spikes.samples / sampling_rate
    true_times = times if timeline is None else timeline.times(spikes.samples, sampling_rate)
    rows = spikes.rows_by_unit()
    if epoch is not None:
        rows = [train[(times[train] > epoch[0]) & (times[train] < epoch[1])] for train in rows]
    spiking = [train for train in rows if train.size]
    start = min((float(times[train[0]]) for train in spiking), default=0.0)
    stop = max((float(times[train[-1]]) for train in spiking), default=0.0)
    table = {name: np.full(spikes.n_units, np.nan) for name in QUALITY_METRICS}
    for unit, spike_rows in enumerate(rows):
        values = _one_unit(times[spike_rows], true_times[spike_rows], features, unit, spike_rows, (start, stop), chosen)
        for name, value in values.items():
            table[name][unit] = value
    table |= isolation_metrics(
        features,
        spikes,
        compared_range=chosen.compared_range,
        max_spikes_for_unit=chosen.max_spikes_for_unit,
        max_spikes_for_neighbors=chosen.max_spikes_for_neighbors,
        n_neighbors=chosen.n_neighbors,
        seed=chosen.seed,
        rows=rows,
    )
    peaks = peak_sites(features, rows)
    table["silhouette_score"] = silhouette_scores(
        features,
        spikes,
        features.places[peaks],
        shanks=features.shanks[peaks],
        max_spikes=chosen.max_spikes_for_silhouette,
        max_distance=chosen.silhouette_distance,
        seed=chosen.seed,
        rows=rows,
    )
    index = pd.Index(spikes.unit_ids, name="unit_id")
    return pd.DataFrame(table, index=index, columns=list(QUALITY_METRICS))


def _one_unit(
    times: NDArray[np.float64],
    true_times: NDArray[np.float64],
    features: SpikeFeatures,
    unit: int,
    rows: NDArray[np.int64],
    span: tuple[float, float],
    settings: QualitySettings,
) -> dict[str, float]:
    """Return the metrics that a unit's own spikes give.

    Both times (s) ascend with `rows`: `times` count what was recorded, `true_times` its gaps too.
    """
    start, stop = span
    if rows.size == 0:
        return {"firing_rate": 0.0 if stop > start else float("nan")}
    isi = {"isi_threshold": settings.isi_threshold, "min_isi": settings.min_isi}
    first = np.ascontiguousarray(features.pcs[rows, 0])
    begin = int(features.first_sites[unit])
    depths = spike_depths(first, features.places[begin : begin + features.n_sites])
    max_drift, cumulative_drift = drift_metrics(
        times, depths, start, stop, interval=settings.drift_interval, min_spikes=settings.drift_min_spikes
    )
    return {
        "firing_rate": firing_rate(times, start, stop),
        "presence_ratio": presence_ratio(times, start, stop),
        "isi_violations": isi_violations(true_times, stop - start, **isi),
        "isi_violations_corrected": isi_violations_corrected(true_times, stop - start, **isi),
        "amplitude_cutoff": amplitude_cutoff(features.amplitudes[rows]),
        "max_drift": max_drift,
        "cumulative_drift": cumulative_drift,
    }
