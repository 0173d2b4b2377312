"""Background whose every block follows from the seed alone; its spectrum differs by depth and its size changes slowly.

Currents that rise at random and decay exponentially are shot noise with a Lorentzian spectrum (Campbell's theorem):
with decays of 0.2 to 0.6 ms its corner lies at 250 to 800 Hz, and the power of the background falls from there on, as
it does in cortex (Fee, Mitra & Kleinfeld, J. Neurophysiol. 76, 1996). What of it are spikes, those of neurons too far
away to be told apart, is added as such (Martinez, Pedreira, Ison & Quian Quiroga, J. Neurosci. Methods 184, 2009): the
small units of :class:`~.units.Population`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numba
import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import explains_unknown_names

from ..raw.noise import HARDWARE_HIGH_PASS, LATENT_PITCH
from ..raw.probe import RecordedProbe

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

#: Samples before a block from which its filters start: what they would remember of earlier ones is below 1e-6.
WARM_UP: Final = 256
#: Quantiles of the normal distribution that electronic noise is made of, each as likely as the others: drawn by 16
#: random bits, five times as fast as exact values, and finer than a converter's steps.
N_QUANTILES: Final = 2**16


@explains_unknown_names
@dataclass(frozen=True)
class Background:
    """Sizes (SD in uV before the amplifiers' filter) and colours of the background.

    Attributes
    ----------
    local_uv, local_um
        Activity shared by channels within about `local_um` along a shank.
    corners_hz
        Range of the corner from which the power of local activity falls, which goes up and down along the probe.
    depth_contrast
        How much more or less local activity there is at some depths, as a share.
    state_contrast, state_seconds
        How much the local activity of each place changes with time, as a share, and the period of these changes.
    common_uv, converter_uv, white_uv
        What all channels share, what those share that are digitised together, and what each has for itself.
    """

    local_uv: float = 14.0
    local_um: float = 30.0
    corners_hz: tuple[float, float] = (250.0, 800.0)
    depth_contrast: float = 0.25
    state_contrast: float = 0.15
    state_seconds: float = 300.0
    common_uv: float = 10.0
    converter_uv: float = 1.5
    white_uv: float = 5.0


@numba.njit(cache=True, nogil=True)
def colour_latents(latent: Float32, poles: Float32, first: Float32, last: Float32, warm_up: int) -> None:
    """Give white latents (n, n_sources) of unit SD their colours, and what the amplifiers leave of them, in place.

    Each passes a one-pole low-pass of unit power and then the amplifiers' high-pass (the last two of `poles`: its gain
    and pole); what is after the warm-up is scaled by factors that go from `first` to `last`.
    """
    n, sources = latent.shape[0], latent.shape[1]
    gain, high = poles[sources], poles[sources + 1]
    low, before, passed = np.zeros(sources, np.float32), np.zeros(sources, np.float32), np.zeros(sources, np.float32)
    power = np.sqrt(np.float32(1) - poles[:sources] * poles[:sources])
    span = np.float32(1) / np.float32(max(n - warm_up, 1))
    for t in range(n):
        share = np.float32(max(t - warm_up, 0)) * span
        for s in range(sources):
            low[s] = power[s] * latent[t, s] + poles[s] * low[s]
            passed[s] = gain * (low[s] - before[s]) + high * passed[s]
            before[s] = low[s]
            latent[t, s] = passed[s] * (first[s] + share * (last[s] - first[s]))


@numba.njit(cache=True, nogil=True)
def add_electronic(
    microvolts: Float32, own: npt.NDArray[np.uint16], shared: npt.NDArray[np.uint16], groups: npt.NDArray[np.int64],
    quantiles: Float32, white_uv: float, converter_uv: float,
) -> None:  # fmt: skip
    """Add to each channel noise of its own and that of its converter group, both drawn as numbers of quantiles."""
    white, converter = np.float32(white_uv), np.float32(converter_uv)
    for t in range(microvolts.shape[0]):
        for c in range(microvolts.shape[1]):
            microvolts[t, c] += white * quantiles[own[t, c]] + converter * quantiles[shared[t, groups[c]]]


def normal_quantiles() -> Float32:
    """Return the quantiles of the normal distribution, scaled to an SD of 1, float32 (65536,)."""
    from scipy.special import ndtri

    values = ndtri((np.arange(N_QUANTILES) + 0.5) / N_QUANTILES)
    return np.asarray(values / values.std(), dtype=np.float32)


class BackgroundBlocks:
    """Blocks of the background of one recording.

    Parameters
    ----------
    block_samples
        Length of a block, except of the last.
    """

    def __init__(
        self, background: Background, probe: RecordedProbe, sampling_rate: float, block_samples: int, seed: int
    ) -> None:
        b, self.seed, self.rate, self.length = background, seed, sampling_rate, block_samples
        self.background, self.n_channels, self.groups = b, len(probe.geometry), probe.adc.groups
        self.n_groups, self._quantiles = probe.n_groups, normal_quantiles()
        depth, shanks = probe.geometry[:, 1], probe.shanks
        heights = np.arange(depth.min() - 2 * LATENT_PITCH, depth.max() + 2 * LATENT_PITCH + 1, LATENT_PITCH)
        listed = np.unique(shanks)
        sources, on = np.tile(heights, listed.size), np.repeat(listed, heights.size)
        spread = np.exp(-0.5 * ((depth[None, :] - sources[:, None]) / max(b.local_um, 1.0)) ** 2)
        spread *= on[:, None] == shanks[None, :]
        spread /= np.maximum(np.sqrt((spread**2).sum(axis=0)), 1e-12)
        rng = np.random.default_rng([seed, 30])
        turns = rng.uniform(0, 2 * np.pi, 2 + listed.size)
        layers = np.sin(2 * np.pi * sources / 900.0 + turns[0])
        low, high = b.corners_hz
        corners = low * (high / low) ** (0.5 + 0.5 * np.sin(2 * np.pi * sources / 1300.0 + turns[1]))
        local = b.local_uv * (1.0 + b.depth_contrast * layers)[:, None] * spread
        common = np.full((1, self.n_channels), b.common_uv)
        self.mixing: Float32 = np.vstack([local, common]).astype(np.float32)
        self._phases = rng.uniform(0, 2 * np.pi, len(self.mixing))
        k = np.tan(np.pi * HARDWARE_HIGH_PASS / sampling_rate)
        poles = np.exp(-2 * np.pi * np.r_[corners, low] / sampling_rate)
        self._poles: Float32 = np.r_[poles, 1.0 / (1.0 + k), (1.0 - k) / (1.0 + k)].astype(np.float32)

    def _state(self, sample: int) -> Float32:
        """Return how active each source is at a sample."""
        turn = 2 * np.pi * sample / (self.rate * self.background.state_seconds)
        active = 1.0 + self.background.state_contrast * np.sin(turn + self._phases)
        return np.asarray(active, dtype=np.float32)

    def _latents(self, block: int, n_samples: int) -> Float32:
        """Return white latents of the end of the block before, and of the block."""
        shape = len(self.mixing)

        def drawn(kind: int, number: int, n: int) -> Float32:
            return np.random.default_rng([self.seed, kind, number]).standard_normal((n, shape), np.float32)

        body = drawn(31, block, max(n_samples - WARM_UP, 0))
        # The end of a block has a stream of its own, so that the next can have it without the rest.
        return np.concatenate([drawn(32, block - 1 if block else 2**31, WARM_UP), body, drawn(32, block, WARM_UP)])

    def block(self, block: int, n_samples: int) -> Float32:
        """Return microvolts of a block, float32 (n_samples, n_channels)."""
        latent = self._latents(block, n_samples)[: WARM_UP + n_samples]
        start = block * self.length
        colour_latents(latent, self._poles, self._state(start), self._state(start + n_samples), WARM_UP)
        microvolts: Float32 = latent[WARM_UP:] @ self.mixing
        rng = np.random.default_rng([self.seed, 33, block])
        own = rng.integers(0, N_QUANTILES, (n_samples, self.n_channels), np.uint16)
        shared = rng.integers(0, N_QUANTILES, (n_samples, self.n_groups), np.uint16)
        b = self.background
        add_electronic(microvolts, own, shared, self.groups, self._quantiles, b.white_uv, b.converter_uv)
        return microvolts
