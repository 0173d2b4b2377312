"""Amplitude cutoff: the fraction of a unit's spikes that the detection threshold lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

#: Bins of the amplitude histogram, and SD (bins) of its smoothing.
HISTOGRAM_BINS = 500
SMOOTHING_BINS = 3.0


def amplitude_cutoff(
    amplitudes: ArrayLike, *, n_bins: int = HISTOGRAM_BINS, smoothing: float = SMOOTHING_BINS
) -> float:
    """Estimate the fraction of spikes missed because their amplitude was too small, at most 0.5.

    The smoothed amplitude density is taken as symmetric: the bin above the mode at which it falls to the density of the
    smallest bin marks how much is missing below; the mass above that is what was cut. After Hill et al.,
    J. Neurosci. 31, 8699 (2011).

    Parameters
    ----------
    amplitudes
        Amplitude of each spike, any unit (scaling does not matter). Not-a-number values are left out. Where most are
        negative, as depths of troughs are, their sizes count.
    n_bins
        Equal bins between smallest and largest amplitude.
    smoothing
        SD (bins) of the Gaussian, reflected at the ends.

    Returns
    -------
    float
        NaN with fewer than two different amplitudes, of which there is no distribution.

    Notes
    -----
    SpikeInterface takes 100 bins with `nearest` padding, needs five spikes for each bin, and divides by found plus
    missing spikes.
    """
    from scipy.ndimage import gaussian_filter1d

    values = np.asarray(amplitudes, dtype=np.float64)
    values = values[np.isfinite(values)]
    if values.size < 2 or values.min() == values.max():
        return float("nan")
    values = -values if np.median(values) < 0 else values
    density, edges = np.histogram(values, n_bins, density=True)
    smooth = gaussian_filter1d(density, smoothing, mode="reflect")
    mode = int(smooth.argmax())
    mirror = mode + int(np.abs(smooth[mode:] - smooth[0]).argmin())
    # The bin width is the mean difference of edges, whose rounding differs from bin to bin.
    missing = float(np.mean(np.diff(edges)) * smooth[mirror:].sum())
    return min(missing, 0.5)
