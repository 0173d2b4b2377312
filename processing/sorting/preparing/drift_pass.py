"""One look through a recording for the movement of the probe: peaks of whitened samples, no file written."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from ...spike_band.blocks import BLOCK_SAMPLES
from ...spike_band.writing import covariance_blocks, on_threads
from .drift import BATCH_SAMPLES, Drift, estimate_drift
from .front_end import FrontEnd
from .loudness import loudness
from .peaks import BEFORE, MARGIN, Peaks, generic_spike, localize_peaks, match_waveform, noise_levels

#: Blocks of each batch that are looked at: all of them up to this many channels, fewer with more.
WHOLE_CHANNELS: Final = 128
#: Blocks that the noise is measured in.
NOISE_BLOCKS: Final = 6


def looked_at(batch: int, n_samples: int, n_channels: int) -> list[tuple[int, int]]:
    """Return the blocks of a batch that peaks are looked for in, spread evenly over it."""
    start, stop = batch * BATCH_SAMPLES, min((batch + 1) * BATCH_SAMPLES, n_samples)
    blocks = [(first, min(first + BLOCK_SAMPLES, stop)) for first in range(start, stop, BLOCK_SAMPLES)]
    wanted = min(max(-(-len(blocks) * WHOLE_CHANNELS // n_channels), 1), len(blocks))
    return [blocks[(2 * i + 1) * len(blocks) // (2 * wanted)] for i in range(wanted)]


def _noise(front: FrontEnd, waveform: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return each channel's noise after matching the generic waveform, the median over blocks."""
    blocks = covariance_blocks(front.recording.n_samples)
    chosen = np.unique(np.linspace(0, len(blocks) - 1, NOISE_BLOCKS).round().astype(np.int64))
    levels = [noise_levels(match_waveform(front.whitened(*blocks[i]), waveform, BEFORE)) for i in chosen]
    return np.asarray(np.median(np.stack(levels), axis=0), dtype=np.float32)


def drift_pass(front: FrontEnd, *, nblocks: int = 5, n_workers: int | None = None) -> Drift:
    """Estimate the drift of a recording.

    Parameters
    ----------
    front
        From :func:`.front_end.front_end`.
    nblocks
        As :func:`.drift.estimate_drift`; 0 estimates nothing.
    n_workers
        Threads. They change no result.
    """
    n_samples, positions = front.recording.n_samples, front.positions
    n_batches = -(-n_samples // BATCH_SAMPLES)
    low, high = float(positions[:, 1].min()), float(positions[:, 1].max())
    if nblocks < 1 or n_batches < 2:
        return Drift(np.zeros((n_batches, 1)), np.array([(low + high) / 2]))
    noise = _noise(front, generic_spike(front.recording.sampling_rate))

    def look(batch: int) -> list[Peaks]:
        found = []
        for start, stop in looked_at(batch, n_samples, len(positions)):
            first, last = max(start - MARGIN, 0), min(stop + MARGIN, n_samples)
            samples = front.whitened(first, last)
            level, within = noise * np.float32(loudness(samples)), (start - first, stop - first)
            found.append(localize_peaks(samples, positions, front.recording.sampling_rate, noise=level, within=within))
        return found

    found = on_threads(look, range(n_batches), n_workers, "drift", "batch")
    pieces = [(batch, peaks) for batch, several in enumerate(found) for peaks in several]
    return estimate_drift(
        np.concatenate([np.full(len(peaks.depth), batch, np.int64) for batch, peaks in pieces]),
        np.concatenate([peaks.depth for _, peaks in pieces]),
        np.concatenate([peaks.amplitude for _, peaks in pieces]),
        n_batches=n_batches,
        depth_range=(low, high),
        nblocks=nblocks,
    )
