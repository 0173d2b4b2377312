"""Metrics of a waveform over the probe: amplitude, spread, and how fast it travels from the soma.

The release's tables carry two known errors, and so do the metrics that bear its names, to stay comparable:

* ``spread`` counts every second channel and multiplies by 10 um, though those lie 20 um apart: half the true extent;
* ``velocity_above`` and ``velocity_below`` look times of the 82-point waveform up on the 200-point axis: 0.412 times
  the true inverse velocity.

The same quantities without these errors, from the probe's true positions, have names that end in ``_corrected``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .shape import RESAMPLED_POINTS

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

#: Sites at or below this fraction of the largest amplitude are not reached.
SPREAD_THRESHOLD = 0.12
#: Channels above and below the peak that are looked at, every second one.
SITE_RANGE = 16
#: Distance (m) for one channel, as the release had it.
SITE_SPACING = 10e-6


@dataclass(frozen=True)
class PropagationMetrics:
    """Amplitude (uV), spread (um) and inverse velocities (s/m) of one unit."""

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
    *,
    depths: NDArray[np.float64] | None = None,
    sampling_rate: float = 30000.0,
    site_spacing: float = SITE_SPACING,
    spread_threshold: float = SPREAD_THRESHOLD,
    site_range: int = SITE_RANGE,
) -> PropagationMetrics:
    """Measure how a mean waveform extends and travels along the probe.

    Parameters
    ----------
    waveform
        Mean waveform (uV), shape (n_channels, n_samples), sorted channels in order of depth.
    peak
        Row of the peak channel.
    depths
        Position (um) of each channel along the probe, for the corrected metrics (NaN without).
    sampling_rate
        Samples per second.
    site_spacing
        Distance (m) that the release's definitions assume for one channel.
    spread_threshold
        Fraction of the amplitude above which a site is reached.
    site_range
        Channels to either side of the peak.

    Notes
    -----
    SpikeInterface: spread is the depth range above 20 % with smoothing; velocities are robust fits in um/ms.
    """
    sites = np.arange(peak - site_range, peak + site_range + 1, 2)
    sites = sites[(sites > 0) & (sites < waveform.shape[0])]
    if sites.size == 0 or not np.ptp(waveform[sites], axis=1).any():
        nan = float("nan")
        return PropagationMetrics(0.0, 0.0, nan, nan, nan if depths is None else 0.0, nan, nan)
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
    offsets = (sites - peak)[reached].astype(np.float64)
    above, below = offsets >= 0, offsets <= 0
    spread_corrected = velocity_above = velocity_below = float("nan")
    if depths is not None:
        heights = depths[sites] - depths[peak]
        spread_corrected = float(reached.size * np.median(np.abs(np.diff(heights)))) if sites.size > 1 else 0.0
        metres, seconds = heights[reached] * 1e-6, delays / sampling_rate
        velocity_above, velocity_below = _slope(metres[above], seconds[above]), _slope(metres[below], seconds[below])
    times = delays * released_step
    return PropagationMetrics(
        amplitude=amplitude,
        spread=reached.size * site_spacing * 1e6,
        velocity_above=_slope(offsets[above], times[above]) / site_spacing,
        velocity_below=_slope(offsets[below], times[below]) / site_spacing,
        spread_corrected=spread_corrected,
        velocity_above_corrected=velocity_above,
        velocity_below_corrected=velocity_below,
    )


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
