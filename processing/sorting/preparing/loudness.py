"""Moments at which everything is louder than the noise that a recording was whitened by: movement, chewing, a plug.

A threshold counts SDs of the noise. Where that is many times the usual, each of them would find thousands of spikes
that are none, and a whitening that had averaged over it would hide the spikes of all other moments.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from ...spike_band.temporal_whitening import GAUSSIAN_MAD

Float32 = npt.NDArray[np.float32]

#: Whitened noise is loud from so many times its usual SD on. Slow changes of state stay below.
LOUD: Final = 1.5
#: A block is not averaged over if it is so many times as loud as the median block.
LOUD_BLOCK: Final = 2.0
#: Loudness is that of the loudest so many samples (30 ms), of which every few are looked at.
MOMENT: Final = 1024
STRIDE: Final = 16


def loudness(samples: Float32) -> float:
    """Return how many times louder than usual the loudest moment is, exactly 1 where none is much louder.

    Parameters
    ----------
    samples
        float32 (n_samples, n_channels), noise SDs; those that are exactly 0 were blanked and say nothing.
    """
    loudest = 0.0
    for start in range(0, len(samples), MOMENT):
        seen = samples[start : start + MOMENT : STRIDE]
        seen = np.abs(seen[seen != 0])
        if seen.size:
            loudest = max(loudest, float(np.median(seen)) / GAUSSIAN_MAD)
    return loudest if loudest > LOUD else 1.0


def quiet(rms: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Tell which blocks are not much louder than most, from their RMS; without any signal all are."""
    with_signal = rms[rms > 0]
    return rms <= LOUD_BLOCK * (np.median(with_signal) if with_signal.size else 0.0)
