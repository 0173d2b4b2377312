"""Modulation of a response at the temporal frequency of a drifting grating."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.signal import welch

from .kernels import first_harmonics

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

#: Segment length (samples) of the released power spectra.
RELEASE_SEGMENT = 1024


def f1_f0(trials: ArrayLike, temporal_frequency: float, duration: float) -> float:
    """Return the released ratio of first harmonic to mean, averaged over trials.

    Each trial is cut into ``int(temporal_frequency * duration)`` equal cycles, which are averaged; F1 is twice the
    first Fourier coefficient of that average. As `duration` is half a bin short, cycles are cut too long (1999 bins
    for 1 Hz) and the ratio is taken at the wrong frequency: :func:`harmonic_ratio` is what it should be.

    Parameters
    ----------
    trials
        (trials, bins) or (bins,) spike counts.
    temporal_frequency
        Hz.
    duration
        Seconds; the release has the centre of the last bin.

    Returns
    -------
    float
        0 to 2; NaN without data, with less than one cycle or bin, or if no trial has a spike.
    """
    values = np.atleast_2d(np.asarray(trials))
    n_bins = values.shape[1]
    cycles = int(temporal_frequency * duration) if np.isfinite(temporal_frequency) else 0
    if cycles < 1 or n_bins // cycles < 1:
        return float("nan")
    cycle_bins = n_bins // cycles
    # the first Fourier coefficient of the mean cycle is that of all cycles at once
    return _mean_ratio(*first_harmonics(values, float(cycle_bins), cycles * cycle_bins))


def harmonic_ratio(trials: ArrayLike, temporal_frequency: float, bin_width: float) -> float:
    """Return F1 / F0 at exactly `temporal_frequency`, averaged over trials that have spikes.

    F1 is twice the Fourier coefficient over all bins, F0 the mean (Skottun et al., Vision Res 31:1079, 1991). A fully
    modulated half-wave response gives pi / 2, an impulse 2, no modulation 0 (up to the noise of counting).

    Parameters
    ----------
    trials
        (trials, bins) spike counts; the bins span a whole number of cycles.
    temporal_frequency
        Hz.
    bin_width
        Seconds.
    """
    values = np.atleast_2d(np.asarray(trials))
    n_bins = values.shape[1]
    if not n_bins or not temporal_frequency > 0:
        return float("nan")
    return _mean_ratio(*first_harmonics(values, 1 / (temporal_frequency * bin_width), n_bins))


def _mean_ratio(mean: NDArray[np.float64], first: NDArray[np.float64]) -> float:
    active = mean > 0
    return float((first[active] / mean[active]).mean()) if active.any() else float("nan")


def modulation_index(
    histograms: ArrayLike,
    temporal_frequency: ArrayLike,
    sampling_rate: float,
    *,
    nearest: bool = False,
    segment: int = RELEASE_SEGMENT,
) -> NDArray[np.float64]:
    """Return how far the power at a temporal frequency stands out of the spectrum of a response.

    |P(f) - <P>| / sqrt(<P^2> - <P>^2), with the power spectrum P after Welch (Hann windows overlapping by half,
    mean taken out); Wypych et al., Vision Res 72:59 (2012).

    Parameters
    ----------
    histograms
        (units, bins) or (bins,) mean response.
    temporal_frequency
        (units,) or one value, Hz.
    sampling_rate
        Bins a second.
    nearest
        Take the frequency bin nearest to `temporal_frequency`. The release takes the first bin not below it, which
        with segments of 1024 samples lies up to 0.95 Hz too high.
    segment
        Samples in a segment.

    Returns
    -------
    numpy.ndarray
        (units,) or a scalar array. 0 for a response without power; NaN without bins or beyond the spectrum.
    """
    values = np.asarray(histograms, dtype=np.float64)
    wanted = np.broadcast_to(np.asarray(temporal_frequency, dtype=np.float64), values.shape[:-1])
    index = np.full(values.shape[:-1], np.nan)
    n_bins = values.shape[-1]
    if not n_bins:
        return index
    frequencies, power = welch(values, fs=sampling_rate, nperseg=min(segment, n_bins), axis=-1)
    if nearest:
        place = np.abs(frequencies - wanted[..., None]).argmin(axis=-1)
        inside = wanted <= frequencies[-1]
    else:
        place = np.searchsorted(frequencies, wanted)
        inside = place < len(frequencies)
    place = np.minimum(place, len(frequencies) - 1)
    mean = power.mean(axis=-1)
    spread = np.sqrt(np.maximum((power**2).mean(axis=-1) - mean**2, 0.0))
    at = np.take_along_axis(power, np.asarray(place)[..., None], axis=-1)[..., 0]
    usable = inside & np.isfinite(wanted)
    np.divide(np.abs(at - mean), spread, out=index, where=usable & (spread > 0))
    return np.asarray(np.where(usable & ((mean == 0) | (spread == 0)), 0.0, index))
