"""Metrics of a waveform over the probe: amplitude, spread, and how fast it travels from the soma.

The release's tables carry two known errors, and so do the metrics that bear its names, to stay comparable:

* ``spread`` counts sites 20 um apart, one a row, and multiplies by 10 um: half the true extent;
* ``velocity_above`` and ``velocity_below`` look times of the 82-point waveform up on the 200-point axis: 0.412 times
  the true inverse velocity.

The same quantities without these errors have names that end in ``_corrected``. Sites are looked at within 160 um of the
peak, one of each row (on a Neuropixels 1.0 probe every second channel, as the release had it), whatever the probe.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .shape import RESAMPLED_POINTS

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from ..shanks import ShankLines

#: Sites at or below this fraction of the largest amplitude are not reached.
SPREAD_THRESHOLD = 0.12
#: How far above and below the peak sites are looked at, um.
SITE_RANGE = 160.0


@dataclass(frozen=True)
class PropagationMetrics:
    """Amplitude (uV), spread (um) and inverse velocities (s/m) of one unit.

    Examples
    --------
    >>> from allen_ecephys.processing.shanks import ShankLines
    >>> band, spikes = bands.spike_band, recorded.sorted_spikes()
    >>> waveforms = mean_waveforms(band, spikes)
    >>> lines = ShankLines.of(band.geometry, band.shanks)
    >>> found = propagation_metrics(waveforms.mean[0], int(waveforms.peak_channels()[0]), lines)
    >>> round(found.amplitude), round(found.spread)
    (152, 90)
    """

    amplitude: float
    spread: float
    velocity_above: float
    velocity_below: float
    spread_corrected: float
    velocity_above_corrected: float
    velocity_below_corrected: float


def propagation_metrics(
    waveform: NDArray[np.float64],
    peak: int,
    lines: ShankLines,
    *,
    sampling_rate: float = 30000.0,
    spread_threshold: float = SPREAD_THRESHOLD,
    site_range: float = SITE_RANGE,
) -> PropagationMetrics:
    """Measure how a mean waveform extends and travels along the probe.

    Parameters
    ----------
    waveform
        Mean waveform (uV), shape (n_channels, n_samples), of the channels in use.
    peak
        Row of the peak channel.
    lines
        Where these channels are.
    sampling_rate
        Samples per second.
    spread_threshold
        Fraction of the amplitude above which a site is reached.
    site_range
        um to either side of the peak.

    Notes
    -----
    SpikeInterface: spread is the depth range above 20 % with smoothing; velocities are robust fits in um/ms.
    """
    sites = _sites(peak, lines, site_range)
    if sites.size == 0 or not np.ptp(waveform[sites], axis=1).any():
        nan = float("nan")
        return PropagationMetrics(0.0, 0.0, nan, nan, 0.0, nan, nan)
    sizes = np.ptp(waveform[sites], axis=1)
    amplitude = float(sizes.max())
    reached = np.flatnonzero(sizes > spread_threshold * amplitude)
    if reached.size > 1:
        reached = reached[is_inlier(reached)]
    n_samples = waveform.shape[1]
    # The release's error: places on the 82-point axis are looked up on the 200-point axis.
    n_points = round(n_samples * RESAMPLED_POINTS / 82)
    released_step = n_samples / sampling_rate / (n_points - 1)
    troughs = waveform[sites].argmin(axis=1)
    delays = (troughs - troughs[sizes.argmax()])[reached].astype(np.float64)
    offsets = (lines.places[sites] - lines.places[peak])[reached]
    above, below = offsets >= 0, offsets <= 0
    heights = lines.positions[sites, 1] - lines.positions[peak, 1]
    metres, seconds = heights[reached] * 1e-6, delays / sampling_rate
    run = lines.runs[peak]
    row = lines.pitches[run] * lines.columns[run]
    times = delays * released_step
    return PropagationMetrics(
        amplitude=amplitude,
        spread=float(reached.size * row / 2),
        velocity_above=_slope(offsets[above], times[above]) * 1e6,
        velocity_below=_slope(offsets[below], times[below]) * 1e6,
        spread_corrected=float(reached.size * np.median(np.abs(np.diff(heights)))) if sites.size > 1 else 0.0,
        velocity_above_corrected=_slope(metres[above], seconds[above]),
        velocity_below_corrected=_slope(metres[below], seconds[below]),
    )


def _sites(peak: int, lines: ShankLines, reach: float) -> NDArray[np.int64]:
    """Return one channel a row, up and down from the peak on its run of sites; as in the release never the lowest."""
    run = int(lines.runs[peak])
    members = lines.members(run)
    place = int(np.flatnonzero(members == peak)[0])
    step = int(lines.columns[run])
    chosen = np.arange(place % step, members.size, step)
    sites = members[chosen[chosen > 0]]
    near = np.abs(lines.places[sites] - lines.places[peak]) <= reach + 1e-6
    return np.asarray(sites[near])


def is_inlier(values: ArrayLike, threshold: float = 1.5) -> NDArray[np.bool_]:
    """Tell which values lie within `threshold` robust SDs (``MAD / 0.6745``) of the median; none if the MAD is 0."""
    points = np.asarray(values, dtype=np.float64)
    deviation = np.abs(points - np.median(points))
    mad = np.median(deviation)
    if mad == 0:
        return np.zeros(points.size, dtype=bool)
    return np.asarray(0.6745 * deviation / mad <= threshold)


def _slope(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Return the least-squares slope of y over x; NaN where x does not vary."""
    centred = x - x.mean() if x.size else x
    variation = centred @ centred
    return float(centred @ y / variation) if x.size > 1 and variation > 0 else float("nan")
