"""Waveform components, learned from the recording: what whitened spikes look like on one channel."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

import numba
import numpy as np
import numpy.typing as npt

from .detection import channels_within
from .parameters import SortingParameters

logger = logging.getLogger(__name__)

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]

#: A spike is isolated if there is none other in this many samples on channels this near (um).
ISOLATION_SAMPLES: Final = 30
ISOLATION_UM: Final = 75.0
#: Snippets that are collected, and the fewest that components are learned from.
MOST_SNIPPETS: Final = 100_000
LEAST_SNIPPETS: Final = 60
#: Neighbouring channels whose snippets are learned from too: there spikes are smaller, wider and later.
SNIPPET_CHANNELS: Final = 5


@numba.njit(cache=True, nogil=True)
def isolated_troughs(samples: Float32, neighbors: Int64, threshold: float, reach: int, out: Int64) -> int:
    """List (time, channel) of samples below `threshold` that are the least within `reach` on neighbouring channels.

    Parameters
    ----------
    samples
        float32 (n_channels, n_times).

    Returns
    -------
    int
        Number of troughs.
    """
    n = 0
    for c in range(samples.shape[0]):
        for t in range(reach, samples.shape[1] - reach):
            value = samples[c, t]
            if value >= threshold:
                continue
            least = True
            for j in range(neighbors.shape[1]):
                other = neighbors[c, j]
                if other < 0 or not least:
                    break
                for u in range(t - reach, t + reach + 1):
                    x = samples[other, u]
                    if x < value or (x == value and (u < t or (u == t and other < c))):
                        least = False
                        break
            if least and n < len(out):
                out[n, 0], out[n, 1] = t, c
                n += 1
    return n


def collect_snippets(
    batches: Iterable[Float32], positions: npt.NDArray[np.float64], parameters: SortingParameters
) -> Float32:
    """Return waveforms of isolated spikes, on their channel and its neighbours, float32 (n, 61), trough at sample 20.

    Parameters
    ----------
    batches
        Whitened samples in noise SDs, float32 (n_channels, n_times) each.
    """
    p = parameters
    around = channels_within(positions, ISOLATION_UM)
    near = around[:, :SNIPPET_CHANNELS]
    found, total = [np.empty((0, p.nt0), np.float32)], 0
    troughs = np.empty((MOST_SNIPPETS, 2), np.int64)
    for samples in batches:
        n = isolated_troughs(samples, around, p.spkTh, ISOLATION_SAMPLES, troughs)
        times, channels = troughs[:n].T
        inside = (times >= p.nt0min) & (times < samples.shape[1] - (p.nt0 - p.nt0min))
        times, channels = times[inside], near[channels[inside]]
        window = times[:, None] - p.nt0min + np.arange(p.nt0)
        snippets = samples[channels[:, :, None], window[:, None, :]][channels >= 0]
        found.append(snippets)
        total += len(snippets)
        if total >= MOST_SNIPPETS:
            break
    return np.concatenate(found)[:MOST_SNIPPETS]


def waveform_components(snippets: Float32, parameters: SortingParameters) -> Float32:
    """Return the principal components of spike waveforms, orthonormal float32 (61, n_basis).

    The mean is not subtracted; the first component is negative at the trough (Kilosort 2's wPCA). With hardly any
    snippets (noise only, a very short recording) components of generic waveforms are returned.
    """
    p = parameters
    if len(snippets) < LEAST_SNIPPETS:
        logger.warning(
            "only %d isolated spike waveforms were found; generic waveform components are used", len(snippets)
        )
        snippets = generic_waveforms(p)
    values, vectors = np.linalg.eigh((snippets.T @ snippets).astype(np.float64))
    del values
    basis = vectors[:, ::-1][:, : p.n_basis]
    # Signs of eigenvectors are arbitrary: each component is negative where it is largest near the trough.
    signs = np.where(basis[p.nt0min] > 0, -1.0, 1.0)
    return np.ascontiguousarray((basis * signs).astype(np.float32))


def generic_waveforms(parameters: SortingParameters) -> Float32:
    """Return spike-like waveforms of several widths and delays, float32 (n, 61): trough, then a positive lobe."""
    p = parameters
    t = np.arange(p.nt0) - float(p.nt0min)
    waves = []
    for delay in np.arange(-3.0, 3.1, 0.5):
        for width in (2.5, 3.5, 5.0, 7.0):
            trough = -np.exp(-0.5 * ((t - delay) / width) ** 2)
            lobe = np.exp(-0.5 * ((t - delay - 3 * width) / (2 * width)) ** 2)
            waves.append(trough + 0.4 * lobe)
    return np.asarray(waves, dtype=np.float32)
