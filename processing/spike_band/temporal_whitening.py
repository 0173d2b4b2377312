"""Whitening in time: each sample is decorrelated from the samples around it, as each channel is from its neighbours.

Background falls with frequency and differs by depth. A threshold that counts noise SDs holds whatever the colour only
where the noise is white. A channel's noise of autocovariance ``r`` has the Toeplitz covariance ``R[i, j] = r[|i - j|]``
over a window; the middle row of ``R^-1/2`` (the ZCA transform of Bell & Sejnowski, Vision Res. 37, 1997, which
spatial whitening uses as well) is a symmetric filter that makes it white and moves no trough. With Gaussian noise a dot
product of whitened samples with a whitened waveform is the matched filter of that noise (Kay, Fundamentals of
Statistical Signal Processing II, section 4.4: generalised matched filter), so nothing else has to know of the colour.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numba
import numpy as np
import numpy.typing as npt

from .tiles import TILE_ROWS, filter_columns, gather, spread, whole_eights
from .whitening import nearest_channels

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

#: Samples on both sides that a sample is decorrelated from.
COLOUR_REACH: Final = 15
#: Noise beyond this many robust SDs is a spike; so many samples around it are left out with it.
SPIKE_SDS: Final = 4.5
SPIKE_MARGIN: Final = 30
#: Every so many samples the spread is measured at.
NOISE_STRIDE: Final = 7
#: Least variance along an axis of the window, as a share of the median axis': where a recording has no power at all
#: (beyond an anti-alias filter) there is nothing to be made as large as the noise.
LEAST_SHARE: Final = 0.05
#: Noise has a colour where the largest variance along an axis of the window is so many times the median axis'.
COLOURED: Final = 1.75
#: Least response of the filter, as a share of its largest, when it is undone.
LEAST_RESPONSE: Final = 0.02
GAUSSIAN_MAD: Final = 0.6744897501960817
#: Samples by which a template is padded when the filter is undone.
PADDED_TEMPLATE: Final = 256


@numba.njit(cache=True, nogil=True)
def add_lagged_products(samples: Float32, sums: Float64) -> None:
    """Add sum over t of ``x[t, c] * x[t + d, c]`` to ``sums[d, c]``, in float32 over 256 samples, then in float64."""
    n_channels = sums.shape[1]
    part = np.empty(n_channels, np.float32)
    for start in range(0, samples.shape[0], 256):
        for d in range(sums.shape[0]):
            part[:] = 0
            for t in range(start, min(start + 256, samples.shape[0] - d)):
                row, later = samples[t], samples[t + d]
                for c in range(n_channels):
                    part[c] += row[c] * later[c]
            for c in range(n_channels):
                sums[d, c] += part[c]


@numba.njit(cache=True, nogil=True)
def blank_spikes(samples: Float32, limit: Float32, margin: int, mask: Float32) -> None:
    """Set `samples` and `mask` to 0 within `margin` samples of those beyond their channel's `limit`, else 1."""
    mask[:] = 1
    n = samples.shape[0]
    for t in range(n):
        for c in range(samples.shape[1]):
            if abs(samples[t, c]) > limit[c]:
                mask[max(t - margin, 0) : min(t + margin + 1, n), c] = 0
    for t in range(n):
        for c in range(samples.shape[1]):
            samples[t, c] *= mask[t, c]


@numba.njit(cache=True, nogil=True)
def filter_in_time(samples: Float32, first: int, taps: Float32, out: Float32) -> None:
    """Write to ``out[t]`` the sum over k of ``taps[k] * samples[first + t + k - reach]``; no samples count as zeros.

    `taps` is (2 reach + 1, n_channels): every channel has a filter of its own.
    """
    eights = whole_eights(taps)
    columns = np.empty((out.shape[1], TILE_ROWS + eights.shape[0] - 1), np.float32)
    white = np.empty((out.shape[1], TILE_ROWS), np.float32)
    for start in range(0, out.shape[0], TILE_ROWS):
        spread(samples, first + start - taps.shape[0] // 2, columns)
        filter_columns(columns, eights, white)
        gather(white, out[start : start + TILE_ROWS])


def without_spikes(block: Float32) -> tuple[Float32, Float32]:
    """Return filtered samples (n_samples, n_channels) with zeros around each channel's spikes, and 1 where none is."""
    samples, mask = np.array(block, np.float32, order="C"), np.empty(block.shape, np.float32)
    if len(samples):
        spread = np.median(np.abs(samples[::NOISE_STRIDE]), axis=0) / GAUSSIAN_MAD
        blank_spikes(samples, (SPIKE_SDS * spread).astype(np.float32), SPIKE_MARGIN, mask)
    return samples, mask


def noise_autocovariance(blocks: Iterable[Float32], n_channels: int, reach: int = 2 * COLOUR_REACH) -> Float64:
    """Return each channel's autocovariance without its spikes, float64 (reach + 1, n_channels).

    Parameters
    ----------
    blocks
        Filtered samples, float32 (n_samples, n_channels) each.
    """
    sums, counts = np.zeros((reach + 1, n_channels)), np.zeros((reach + 1, n_channels))
    for block in blocks:
        samples, mask = without_spikes(block)
        add_lagged_products(samples, sums)
        add_lagged_products(mask, counts)
    return np.asarray(sums / np.maximum(counts, 1.0))


def temporal_weights(autocovariance: Float64, geometry: Float64, *, n_neighbors: int) -> Float32 | None:
    """Return the filters that make noise white, float32 (31, n_channels), each of the noise of a channel's depth.

    None if the noise is nearly white at all depths (:data:`COLOURED`): a filter could only take from spikes then.

    Autocovariances are scaled to variance 1 and averaged over a channel's neighbours: the filter varies slowly along
    the probe, so that it commutes with the whitening in space. White noise of any size is left as it is.

    Parameters
    ----------
    autocovariance
        float64 (31, n_channels), from :func:`noise_autocovariance`.
    n_neighbors
        Channels of one depth. Those without noise are left as they are.
    """
    length = len(autocovariance)
    lags = np.abs(np.subtract.outer(np.arange(length), np.arange(length)))
    taps = np.zeros((length, len(geometry)), np.float32)
    taps[length // 2] = 1.0
    alive = autocovariance[0] > 0
    correlation = autocovariance / np.where(alive, autocovariance[0], 1.0)
    colour = 0.0
    for channel, near in enumerate(nearest_channels(geometry, alive, n_neighbors)):
        if len(near):
            values, vectors = np.linalg.eigh(correlation[:, near].mean(axis=1)[lags])
            colour = max(colour, values[-1] / np.median(values))
            root = 1.0 / np.sqrt(np.maximum(values, LEAST_SHARE * np.median(values)))
            taps[:, channel] = (vectors * root) @ vectors[length // 2]
    return taps if colour > COLOURED else None


def coloured(waveforms: Float32, taps: Float32) -> Float32:
    """Return waveforms (n, n_times, n_channels) as they were before :func:`filter_in_time`.

    Their spectra are divided by the filters' responses, which symmetry makes real.
    """
    reach, length = len(taps) // 2, waveforms.shape[1]
    wrapped = np.zeros((PADDED_TEMPLATE, taps.shape[1]))
    wrapped[np.arange(-reach, reach + 1)] = taps
    response = np.fft.rfft(wrapped, axis=0).real
    response = np.maximum(response, LEAST_RESPONSE * response.max(axis=0))
    spectra = np.fft.rfft(waveforms, n=PADDED_TEMPLATE, axis=1) / response
    return np.asarray(np.fft.irfft(spectra, n=PADDED_TEMPLATE, axis=1)[:, :length], dtype=np.float32)
