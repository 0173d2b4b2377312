"""Whitened samples of where the tissue was, from the channels that it moved to.

Kriging (Kilosort 2.5) estimates the potential at places between channels as weighted sums of the channels around. It
damps, by amounts that depend on how far between channels a place lies, so that noise and spikes grow and shrink as the
probe moves. Here each sum is taken of whitened channels and from the rotation nearest to the kriging matrix (its polar
factor): noise stays white, of SD 1, whatever the shift, and a shift of zero changes nothing.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from ...spike_band.whitening import LocalWeights
from .drift import Drift

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]

#: Channels that a sum is taken over (a multiple of four).
N_SOURCES: Final = 24
#: Variance of the kriging's noise, relative to the signal's.
RIDGE: Final = 0.01
#: Directions that kriging loses (a place beyond the end of the probe) are not restored from noise: singular values well
#: below the root of this stay small.
DAMPING: Final = 0.01
#: Of a place from which less than this share of the noise's variance comes back hardly anything is seen.
LEAST_SEEN: Final = 0.5
#: Shifts are rounded to this many um: neighbouring blocks differ by less than a tenth of the noise.
STEP_UM: Final = 0.5


def covariance_of_places(a: Float64, b: Float64, length: float) -> Float64:
    """Return how alike potentials at places `a` (n, 2) and `b` (m, 2) are, (n, m): Matern's function of order 3/2."""
    r = np.sqrt(((a[:, None] - b[None]) ** 2).sum(axis=2)) / length
    return np.asarray((1.0 + r) * np.exp(-r))


def shifted_sum(sources: Float64, targets: Float64, shift_um: float, length: float) -> Float64:
    """Return weights (n,) of whitened channels at `sources` for the tissue that belongs to the first of `targets`.

    Parameters
    ----------
    sources, targets
        float64 (n, 2) um: channels near where the tissue is, and channels near where it belongs.
    shift_um
        How far the tissue moved up.
    length
        Of the covariance, um.

    Notes
    -----
    With the kriging matrix ``M = (K + ridge)^-1 K(sources, targets + shift)``, the first column of
    ``sqrt(1 + damping) M (M' M + damping)^-1/2``, in which a singular value of 1 stays 1.
    """
    moved = targets + np.array([0.0, shift_um])
    among = covariance_of_places(sources, sources, length) + RIDGE * np.eye(len(sources))
    kriging = np.linalg.solve(among, covariance_of_places(sources, moved, length))
    values, vectors = np.linalg.eigh(kriging.T @ kriging)
    inverse_root = np.sqrt((1.0 + DAMPING) / (np.maximum(values, 0.0) + DAMPING))
    return np.asarray(kriging @ ((vectors * inverse_root) @ vectors[0]))


class RegistrationWeights:
    """Weights that undo a drift, for any stretch of samples.

    Parameters
    ----------
    positions
        float64 (n_channels, 2) um.
    length
        Over which potentials are interpolated, um (``sig``).
    """

    def __init__(self, positions: Float64, drift: Drift, length: float) -> None:
        self.positions, self.drift, self.length = positions, drift, float(length)
        self._sums: dict[tuple[int, int], tuple[Int64, npt.NDArray[np.float32]]] = {}
        self._patterns: dict[bytes, Float64] = {}

    def at(self, start: int, stop: int) -> LocalWeights:
        """Return the weights over whitened channels for samples ``[start, stop)``. Several threads may ask at once."""
        steps = np.rint(self.drift.at_sample((start + stop) / 2, self.positions[:, 1]) / STEP_UM).astype(np.int64)
        sums = [self._sum(channel, step) for channel, step in enumerate(steps.tolist())]
        return LocalWeights(np.stack([s[0] for s in sums]), np.stack([s[1] for s in sums]))

    def seen(self, start: int, stop: int) -> npt.NDArray[np.bool_]:
        """Tell which channels' places the probe saw in samples ``[start, stop)``: not those beyond its ends then."""
        return np.asarray((self.at(start, stop).weights ** 2).sum(axis=1) >= LEAST_SEEN)

    def _sum(self, channel: int, step: int) -> tuple[Int64, npt.NDArray[np.float32]]:
        """Return the channels and weights of one output. Kept: a probe passes the same shifts again and again."""
        key = (channel, step)
        if key not in self._sums:
            neighbors = np.full(N_SOURCES, channel, np.int64)
            weights = np.zeros(N_SOURCES, np.float32)
            home = self.positions[channel]
            sources = self._nearest(home + np.array([0.0, step * STEP_UM]))
            neighbors[: len(sources)] = sources
            weights[: len(sources)] = self._pattern(sources, self._nearest(home), home, step)
            self._sums[key] = neighbors, weights
        return self._sums[key]

    def _nearest(self, place: Float64) -> Int64:
        distance = np.hypot(*(self.positions - place).T)
        return np.argsort(distance, kind="stable")[:N_SOURCES].astype(np.int64)

    def _pattern(self, sources: Int64, targets: Int64, home: Float64, step: int) -> Float64:
        """Return the weights; channels with the same surroundings share them."""
        around = np.round(np.stack([self.positions[sources] - home, self.positions[targets] - home]), 3)
        key = around.tobytes() + step.to_bytes(8, "little", signed=True)
        if key not in self._patterns:
            still = (np.arange(len(sources)) == 0).astype(np.float64)
            self._patterns[key] = shifted_sum(around[0], around[1], step * STEP_UM, self.length) if step else still
        return self._patterns[key]
