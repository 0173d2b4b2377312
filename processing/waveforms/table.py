"""The table of waveform metrics: one row for each unit."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from allen_ecephys.errors import GeometryError

from ..shanks import ShankLines
from .location import unit_location
from .propagation import propagation_metrics
from .shape import (
    recovery_slope,
    repolarization_slope,
    resample_waveforms,
    signal_to_noise,
    waveform_duration,
    waveform_halfwidth,
    waveform_pt_ratio,
)

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

    from .extraction import MeanWaveforms


def waveform_metrics(
    waveforms: MeanWaveforms,
    geometry: ArrayLike,
    *,
    shanks: ArrayLike | None = None,
    sampling_rate: float = 30000.0,
    peak_channels: ArrayLike | None = None,
    masked_channels: ArrayLike = (),
) -> pd.DataFrame:
    """Measure every unit's mean waveform.

    Parameters
    ----------
    waveforms
        Means and SDs, before any offset is subtracted.
    geometry
        Channel positions (um), shape (n_channels, 2): across, along the probe.
    shanks
        Shank of each channel, shape (n_channels,); told by position by default.
    sampling_rate
        Samples per second.
    peak_channels
        Channel of each unit, shape (n_units,). Default: the unmasked channel with the largest peak-to-peak amplitude.
    masked_channels
        Channels left out (references, dead); the two-dimensional metrics look at the remaining ones.

    Returns
    -------
    pandas.DataFrame
        Index ``unit_id``; ``peak_channel``, ``snr``, ``duration``, ``halfwidth`` (ms), ``PT_ratio``,
        ``repolarization_slope``, ``recovery_slope`` (V/s), ``amplitude`` (uV), ``spread`` (um), ``velocity_above``,
        ``velocity_below`` (s/m) by the release's definitions; ``spread_corrected``, ``velocity_above_corrected``,
        ``velocity_below_corrected`` without their errors; ``x_um`` and ``y_um``, where on the probe the unit is seen
        (centre of mass of its energy). Units without spikes have NaN.

    Examples
    --------
    >>> band = bands.spike_band
    >>> table = waveform_metrics(mean_waveforms(band, recorded.sorted_spikes()), band.geometry)
    >>> table[["peak_channel", "duration", "amplitude"]].round(2).head(2)
             peak_channel  duration  amplitude
    unit_id
    0                  23      0.37     151.87
    1                   0      0.32      91.44
    """
    import pandas as pd

    positions = np.asarray(geometry, dtype=np.float64)
    n_units, n_channels, _ = waveforms.mean.shape
    if positions.shape != (n_channels, 2):
        msg = f"geometry has shape {positions.shape}; waveforms of {n_channels} channels need ({n_channels}, 2)"
        raise GeometryError(msg)
    used = np.setdiff1d(np.arange(n_channels), np.asarray(masked_channels, dtype=np.int64))
    peaks = _peaks(waveforms, used) if peak_channels is None else np.asarray(peak_channels, dtype=np.int64)
    lines = ShankLines.of(positions, shanks).used(used)
    rows = []
    for unit in range(n_units):
        row: dict[str, float] = {"peak_channel": int(peaks[unit])}
        if waveforms.counts[unit] > 0 and used.size:
            row |= _one_unit(waveforms.mean[unit], waveforms.sd[unit], int(peaks[unit]), sampling_rate)
            nearest = int(np.hypot(*(positions[used] - positions[peaks[unit]]).T).argmin())
            row |= asdict(propagation_metrics(waveforms.mean[unit, used], nearest, lines, sampling_rate=sampling_rate))
            row["x_um"], row["y_um"] = unit_location(waveforms.mean[unit, used], nearest, lines.positions, lines.shanks)
        rows.append(row)
    index = pd.Index(waveforms.unit_ids, name="unit_id")
    table = pd.DataFrame(rows, index=index, columns=list(WAVEFORM_METRICS))
    return table.astype({name: "int64" if name == "peak_channel" else "float64" for name in WAVEFORM_METRICS})


#: Columns of the table, in order.
WAVEFORM_METRICS = (
    "peak_channel",
    "snr",
    "duration",
    "halfwidth",
    "PT_ratio",
    "repolarization_slope",
    "recovery_slope",
    "amplitude",
    "spread",
    "velocity_above",
    "velocity_below",
    "spread_corrected",
    "velocity_above_corrected",
    "velocity_below_corrected",
    "x_um",
    "y_um",
)


def _peaks(waveforms: MeanWaveforms, used: NDArray[np.int64]) -> NDArray[np.int64]:
    if used.size == 0:
        return np.zeros(waveforms.mean.shape[0], dtype=np.int64)
    peaks: NDArray[np.int64] = used[np.ptp(waveforms.mean[:, used], axis=2).argmax(axis=1)]
    return peaks


def _one_unit(mean: NDArray[np.float64], sd: NDArray[np.float64], peak: int, sampling_rate: float) -> dict[str, float]:
    waveform, times = resample_waveforms(mean[peak], sampling_rate)
    return {
        "snr": signal_to_noise(mean[peak], sd[peak]),
        "duration": waveform_duration(waveform, times),
        "halfwidth": waveform_halfwidth(waveform, times),
        "PT_ratio": waveform_pt_ratio(waveform),
        "repolarization_slope": repolarization_slope(waveform, times),
        "recovery_slope": recovery_slope(waveform, times),
    }
