"""Spikes found and placed without any template: enough to see a probe move.

Whitened samples are white along the probe but not in time; a generic spike waveform doubles the SNR of a trough.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numba
import numpy as np
import numpy.typing as npt

from ...spike_band.temporal_whitening import GAUSSIAN_MAD
from ...spike_band.tiles import add_rows
from .detection import channels_within, list_peaks

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

#: Least size of a peak, SDs of the noise.
THRESHOLD: Final = 5.0
#: Samples on both sides within which a peak is the largest, and channels (um) among which it is.
REACH: Final = 15
NEAR_UM: Final = 50.0
#: Channels (um) over which a peak's place is averaged, and the noise (SDs) that is taken off each first.
SPREAD_UM: Final = 75.0
FLOOR: Final = np.float32(1.0)
#: Samples of the generic waveform before and after its trough.
BEFORE: Final = 10
AFTER: Final = 20
#: Samples needed on both sides of those in which peaks are found.
MARGIN: Final = max(BEFORE, AFTER) + REACH
#: Every so many samples the noise is measured at.
NOISE_STRIDE: Final = 7


@dataclass(frozen=True)
class Peaks:
    """Peaks in order of time.

    Attributes
    ----------
    samples
        int64 (n,).
    depth
        float32 (n,): centre of the energy along the probe, um.
    amplitude
        float32 (n,): root of the energy, noise SDs.
    """

    samples: Int64
    depth: Float32
    amplitude: Float32


def generic_spike(sampling_rate: float) -> Float32:
    """Return the waveform that peaks are looked for with, float32 (31,), of norm 1: a trough and a slow positive lobe.

    Widths are those of a typical cortical spike: 0.08 ms (1/e half width), and 0.3 ms at 0.5 ms after it.
    """
    ms = np.arange(-BEFORE, AFTER + 1) * 1e3 / sampling_rate
    curve = -np.exp(-((ms / 0.083) ** 2)) + 0.3 * np.exp(-(((ms - 0.5) / 0.3) ** 2))
    return np.asarray(curve / np.linalg.norm(curve), dtype=np.float32)


@numba.njit(cache=True, nogil=True)
def match_waveform(samples: Float32, waveform: Float32, before: int) -> Float32:
    """Return the projection of `samples` (n, n_channels) on the waveform at each sample; ends count as zeros."""
    matched = np.zeros_like(samples)
    n, length = samples.shape[0], len(waveform)
    taps = np.empty((length, samples.shape[1]), np.float32)
    for k in range(length):
        taps[k] = waveform[k]
    for t in range(n):
        first, last = max(0, before - t), min(length, n - t + before)
        add_rows(samples, t + first - before, taps[first:last], matched[t])
    return matched


@numba.njit(cache=True, nogil=True)
def place_peaks(
    matched: Float32, times: Int64, channels: Int64, near: Int64, depths: Float64
) -> tuple[Float64, Float64]:
    """Return each peak's energy-weighted mean depth and the root of its energy, over the channels `near` its own."""
    depth, amplitude = np.empty(len(times)), np.empty(len(times))
    for i in range(len(times)):
        energy, moment = 0.0, 0.0
        for d in near[channels[i]]:
            if d < 0:
                break
            above = np.float64(max(matched[times[i], d] - FLOOR, np.float32(0.0)))
            energy += above * above
            moment += above * above * depths[d]
        depth[i], amplitude[i] = moment / energy, np.sqrt(energy)
    return depth, amplitude


def noise_levels(matched: Float32) -> Float32:
    """Return each channel's robust SD (median absolute value over 0.6745), never zero."""
    levels = np.median(np.abs(matched[::NOISE_STRIDE]), axis=0) / np.float32(GAUSSIAN_MAD)
    return np.where(levels > 0, levels, np.float32(1.0)).astype(np.float32)


def localize_peaks(
    samples: Float32,
    positions: Float64,
    sampling_rate: float,
    *,
    noise: Float32 | None = None,
    within: tuple[int, int] | None = None,
    threshold: float = THRESHOLD,
) -> Peaks:
    """Find troughs of spikes in whitened samples and where along the probe they are.

    Parameters
    ----------
    samples
        float32 (n, n_channels), noise SDs.
    positions
        float64 (n_channels, 2) um.
    noise
        float32 (n_channels,): SD of what matching the generic waveform leaves of the noise (:func:`noise_levels`);
        measured here by default.
    within
        Peaks are looked for in these samples ``[first, stop)``; others are there for them to be compared with
        (:data:`MARGIN`). All by default.
    threshold
        Least size of a peak, noise SDs.
    """
    matched = match_waveform(np.ascontiguousarray(samples), generic_spike(sampling_rate), BEFORE)
    matched /= noise_levels(matched) if noise is None else noise
    near = channels_within(positions, NEAR_UM)
    first, stop = (0, len(matched)) if within is None else within
    found = list_peaks(np.ascontiguousarray(matched.T), near, threshold, REACH, first, stop)
    times, channels = np.ascontiguousarray(found[np.lexsort(found.T[::-1])].T)
    depths = np.ascontiguousarray(positions[:, 1])
    depth, amplitude = place_peaks(matched, times, channels, channels_within(positions, SPREAD_UM), depths)
    return Peaks(times, depth.astype(np.float32), amplitude.astype(np.float32))
