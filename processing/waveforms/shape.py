"""Metrics of one waveform: duration, half width, peak-to-trough ratio, slopes and signal-to-noise ratio.

Definitions are those of the release (white paper "Neuropixels Visual Coding", section on waveform metrics, with the
details of the code that made the tables): the mean waveform of the peak channel is resampled by FFT from 82 to 200
points and put on an axis that includes both ends of its window, so that a step is 13.735 us and not 13.667.

SpikeInterface's metrics of the same names differ: peak and trough by prominence, half width between the *nearest*
crossings, repolarization to the zero crossing, recovery over 0.7 ms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Points of the resampled waveform.
RESAMPLED_POINTS = 200
#: Points of a slope's fit.
SLOPE_POINTS = 20


def resample_waveforms(
    waveforms: NDArray[np.float64], sampling_rate: float = 30000.0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Resample waveforms (..., n_samples) to 200 points; return them and their time axis (s).

    Stretched as in the release by 200/82 for 82 samples, and in proportion for windows of another length.
    """
    from scipy.signal import resample

    n_samples = waveforms.shape[-1]
    n_points = round(n_samples * RESAMPLED_POINTS / 82)
    return np.asarray(resample(waveforms, n_points, axis=-1)), np.linspace(0, n_samples / sampling_rate, n_points)


def is_inverted(waveform: NDArray[np.float64]) -> bool:
    """Tell whether the peak of a waveform (n_samples,) is larger than its trough."""
    return bool(waveform.max() > abs(waveform.min()))


def waveform_duration(waveform: NDArray[np.float64], times: NDArray[np.float64]) -> float:
    """Return the time (ms) from the trough to the following peak; of an inverted waveform, from peak to trough."""
    upright = -waveform if is_inverted(waveform) else waveform
    start = int(upright.argmin())
    end = start + int(upright[start:].argmax())
    return float(times[end] - times[start]) * 1e3


def waveform_halfwidth(waveform: NDArray[np.float64], times: NDArray[np.float64]) -> float:
    """Return the width (ms) of the trough at half its depth; of an inverted waveform, of the peak. NaN if not crossed.

    The first crossing is sought from the start of the window, not from the trough: early deflections widen it, as they
    do in the release.
    """
    upright = -waveform if is_inverted(waveform) else waveform
    trough = int(upright.argmin())
    threshold = upright[trough] / 2
    before = np.flatnonzero(upright[:trough] < threshold)
    after = np.flatnonzero(upright[trough:] > threshold)
    if before.size == 0 or after.size == 0:
        return float("nan")
    return float(times[trough + after[0]] - times[before[0]]) * 1e3


def waveform_pt_ratio(waveform: NDArray[np.float64]) -> float:
    """Return ``|peak / trough|`` of the whole window, in whichever order they come. NaN without a trough."""
    trough = waveform.min()
    return float(abs(waveform.max() / trough)) if trough != 0 else float("nan")


def repolarization_slope(waveform: NDArray[np.float64], times: NDArray[np.float64]) -> float:
    """Return the slope (V/s) of the 20 points (0.27 ms) that follow the extreme of a waveform in uV."""
    upright, extreme = _trough_down(waveform)
    return _slope(upright, times, extreme)


def recovery_slope(waveform: NDArray[np.float64], times: NDArray[np.float64]) -> float:
    """Return the slope (V/s) of the 20 points (0.27 ms) that follow the after-peak of a waveform in uV."""
    upright, extreme = _trough_down(waveform)
    return _slope(upright, times, extreme + int(upright[extreme:].argmax()))


def signal_to_noise(mean: NDArray[np.float64], sd: NDArray[np.float64]) -> float:
    """Return peak-to-peak amplitude over twice the SD of spikes around their mean, on one channel.

    Parameters
    ----------
    mean, sd
        Mean and population SD over spikes at each sample, shape (n_samples,).

    Notes
    -----
    The SD over all samples of all residuals is the root mean square of the SDs of each sample, as residuals average to
    zero at every sample: ``std(W - mean(W))`` without a copy of the spikes. SpikeInterface divides ``|peak|`` by the
    noise of the recording instead.
    """
    noise = float(np.sqrt(np.mean(sd**2)))
    return float(np.ptp(mean)) / (2 * noise) if noise > 0 else float("nan")


def _trough_down(waveform: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
    """Turn a waveform so that its extreme is a trough; return it with the extreme's index."""
    extreme = int(np.abs(waveform).argmax())
    return (-waveform if waveform[extreme] > 0 else waveform), extreme


def _slope(waveform: NDArray[np.float64], times: NDArray[np.float64], start: int) -> float:
    """Return the least-squares slope (V/s of a waveform in uV) of up to 20 points; NaN with fewer than two."""
    y, t = waveform[start : start + SLOPE_POINTS], times[start : start + SLOPE_POINTS]
    if y.size < 2:
        return float("nan")
    centred = t - t.mean()
    return float(centred @ y / (centred @ centred)) * 1e-6
