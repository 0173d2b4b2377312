"""Waveform components, learned from the recording: what whitened spikes look like on one channel."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

import numpy as np
import numpy.typing as npt

from ..parameters import SortingParameters
from ..preparing.detection import channels_within, list_peaks
from .projections import LENGTH, TROUGH

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
    found, total = [np.empty((0, LENGTH), np.float32)], 0
    for samples in batches:
        inside = ISOLATION_SAMPLES, samples.shape[1] - (LENGTH - TROUGH)
        times, channels = list_peaks(-samples, around, -p.spkTh, ISOLATION_SAMPLES, *inside).T
        channels = near[channels]
        window = times[:, None] - TROUGH + np.arange(LENGTH)
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
    if len(snippets) < LEAST_SNIPPETS:
        logger.warning(
            "only %d isolated spike waveforms were found; generic waveform components are used", len(snippets)
        )
        snippets = generic_waveforms()
    _, vectors = np.linalg.eigh((snippets.T @ snippets).astype(np.float64))
    basis = vectors[:, ::-1][:, : parameters.n_basis]
    # Signs of eigenvectors are arbitrary: each component is negative at the trough.
    signs = np.where(basis[TROUGH] > 0, -1.0, 1.0)
    return np.ascontiguousarray((basis * signs).astype(np.float32))


def generic_waveforms() -> Float32:
    """Return spike-like waveforms of several widths and delays, float32 (n, 61): trough, then a positive lobe."""
    t = np.arange(LENGTH) - float(TROUGH)
    waves = []
    for delay in np.arange(-3.0, 3.1, 0.5):
        for width in (2.5, 3.5, 5.0, 7.0):
            trough = -np.exp(-0.5 * ((t - delay) / width) ** 2)
            lobe = np.exp(-0.5 * ((t - delay - 3 * width) / (2 * width)) ** 2)
            waves.append(trough + 0.4 * lobe)
    return np.asarray(waves, dtype=np.float32)
