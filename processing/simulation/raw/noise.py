"""Noise of a probe: local and common biological noise, converter noise, and the hardware's filter, in blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numba
import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import explains_unknown_names

from .probe import RecordedProbe

Float32 = npt.NDArray[np.float32]
#: Corner of the high-pass in the probe's amplifiers, as in the released recordings.
HARDWARE_HIGH_PASS: Final = 500.0
LATENT_PITCH: Final = 40.0


@explains_unknown_names
@dataclass(frozen=True)
class NoiseModel:
    """Sizes of the noise, each as the SD in microvolts before the hardware filter.

    Attributes
    ----------
    local_uv, local_um
        Background activity: shared by channels within about `local_um`.
    corner_hz
        From here on the power of local and common noise falls with the square of the frequency. The default is nearly
        white to a spike sorter. Many currents that rise at random and decay with a time constant tau are shot noise,
        whose power by Campbell's theorem is a Lorentzian of corner 1 / (2 pi tau): 300 Hz is that of 0.5 ms.
    common_uv
        What all channels share (movement, mains, reference).
    converter_uv
        What channels that are digitised at the same instant share.
    white_uv
        Independent noise of each channel.
    in_turns
        Whether channels see what all share at the instants at which they are digitised (as probes do), or all at the
        sample's start.

    Examples
    --------
    >>> quiet = write_recording("quiet", duration=1.0, n_units=2, n_channels=8, noise=NoiseModel(local_uv=2.0))
    >>> quiet.noise_uv.shape
    (8,)
    """

    local_uv: float = 8.0
    local_um: float = 30.0
    common_uv: float = 4.0
    converter_uv: float = 1.5
    white_uv: float = 4.0
    in_turns: bool = False
    corner_hz: float = 3000.0


@numba.njit(cache=True, nogil=True)
def one_pole(samples: Float32, gain: float, pole: float, difference: float, state: Float32) -> None:
    """Filter in place along time, ``y[n] = gain * (x[n] + difference * x[n-1]) + pole * y[n-1]``, keeping the state.

    `state` (2, n_channels) holds x and y of the sample before the first and is left at the last.
    """
    g, p, d = np.float32(gain), np.float32(pole), np.float32(difference)
    for t in range(samples.shape[0]):
        for c in range(samples.shape[1]):
            x = samples[t, c]
            y = g * (x + d * state[0, c]) + p * state[1, c]
            state[0, c] = x
            state[1, c] = y
            samples[t, c] = y


def hardware_high_pass(samples: Float32, sampling_rate: float, state: Float32) -> None:
    """Apply the amplifiers' first-order 500 Hz high-pass in place (bilinear transform, causal), keeping the state."""
    k = np.tan(np.pi * HARDWARE_HIGH_PASS / sampling_rate)
    one_pole(samples, 1.0 / (1.0 + k), (1.0 - k) / (1.0 + k), -1.0, state)


class SpikeBandNoise:
    """Noise of the spike band, block by block; equal seeds and block sizes give equal blocks.

    Parameters
    ----------
    probe
        Its shanks share no local noise; what converters add is shared by the channels of each group of its wiring.
    brain
        float32 (n_channels,): 1 in the brain, less above its surface: scales the local noise.
    """

    def __init__(
        self,
        model: NoiseModel,
        probe: RecordedProbe,
        brain: Float32,
        sampling_rate: float,
        seed: int,
    ) -> None:
        self.model = model
        self.n_channels = len(probe.geometry)
        self.seed = seed
        self.groups, self.n_groups = probe.adc.groups, probe.n_groups
        depth, shanks = probe.geometry[:, 1], probe.shanks
        heights = np.arange(depth.min() - 2 * LATENT_PITCH, depth.max() + 2 * LATENT_PITCH + 1, LATENT_PITCH)
        listed = np.unique(shanks)
        sources, on = np.tile(heights, listed.size), np.repeat(listed, heights.size)
        spread = np.exp(-0.5 * ((depth[None, :] - sources[:, None]) / max(model.local_um, 1.0)) ** 2)
        spread *= on[:, None] == shanks[None, :]
        spread /= np.maximum(np.sqrt((spread**2).sum(axis=0)), 1e-12)
        self.mixing = (model.local_uv * spread * brain[None, :]).astype(np.float32)
        self.low_pass_pole = float(np.exp(-2 * np.pi * model.corner_hz / sampling_rate))
        self.state = np.zeros((2, len(sources) + 1), np.float32)
        self.turns, self.n_turns = probe.adc.turns, probe.adc.n_turns
        self.fine_states = np.zeros((2, 2, 1), np.float32)

    def _common_in_turns(self, block: int, n_samples: int) -> Float32:
        """Return what all channels share, of unit SD, at the instant of each channel's turn (n_samples, n_channels).

        Twice low-passed at the model's corner, at a rate at which every turn is a sample: next to nothing is left to be
        folded back.
        """
        rng = np.random.default_rng([self.seed, 5, block])
        fine = rng.standard_normal((n_samples * self.n_turns, 1), np.float32)
        pole = self.low_pass_pole ** (1 / self.n_turns)
        for state in self.fine_states:
            one_pole(fine, 1 - pole, pole, 0.0, state)
        # Sum of squares of the response (1 - p)^2 (k + 1) p^k.
        fine /= np.float32(np.sqrt((1 - pole) ** 4 * (1 + pole**2) / (1 - pole**2) ** 3))
        return np.asarray(fine.reshape(n_samples, self.n_turns)[:, self.turns])

    def biological(self, block: int, n_samples: int) -> Float32:
        """Return what the amplifiers see beside the spikes, float32 (n_samples, n_channels)."""
        rng = np.random.default_rng([self.seed, 1, block])
        latent = rng.standard_normal((n_samples, len(self.mixing) + 1), np.float32)
        pole = self.low_pass_pole
        one_pole(latent, float(np.sqrt(1 - pole**2)), pole, 0.0, self.state)
        noise: Float32 = latent[:, :-1] @ self.mixing
        common = self._common_in_turns(block, n_samples) if self.model.in_turns else latent[:, -1:]
        noise += np.float32(self.model.common_uv) * common
        return noise

    def electronic(self, block: int, n_samples: int) -> Float32:
        """Return what amplifiers and converters add, float32 (n_samples, n_channels)."""
        rng = np.random.default_rng([self.seed, 2, block])
        noise = rng.standard_normal((n_samples, self.n_channels), np.float32)
        noise *= np.float32(self.model.white_uv)
        shared = rng.standard_normal((n_samples, self.n_groups), np.float32)
        shared *= np.float32(self.model.converter_uv)
        noise += shared[:, self.groups]
        return noise


class LfpBand:
    """Local field potential at its own rate, block by block, with little power above the brain surface."""

    def __init__(self, geometry: npt.NDArray[np.float64], brain: Float32, sampling_rate: float, seed: int) -> None:
        self.seed = seed
        self.n_channels = len(geometry)
        depth = geometry[:, 1]
        sources = np.arange(depth.min() - 150.0, depth.max() + 151.0, 150.0)
        spread = np.exp(-0.5 * ((depth[None, :] - sources[:, None]) / 150.0) ** 2)
        spread /= np.sqrt((spread**2).sum(axis=0))
        self.mixing = (90.0 * spread * brain[None, :]).astype(np.float32)
        self.pole = float(np.exp(-2 * np.pi * 4.0 / sampling_rate))
        self.state = np.zeros((2, len(sources) + 1 + self.n_channels), np.float32)

    def block(self, block: int, n_samples: int) -> Float32:
        """Return microvolts, float32 (n_samples, n_channels): power falls with frequency from 4 Hz on."""
        rng = np.random.default_rng([self.seed, 3, block])
        n_sources = len(self.mixing)
        latent = rng.standard_normal((n_samples, n_sources + 1 + self.n_channels), np.float32)
        one_pole(latent, float(np.sqrt(1 - self.pole**2)), self.pole, 0.0, self.state)
        potential: Float32 = latent[:, :n_sources] @ self.mixing
        potential += np.float32(15.0) * latent[:, n_sources : n_sources + 1]
        potential += np.float32(6.0) * latent[:, n_sources + 1 :]  # electrodes are noisy at low frequencies, everywhere
        potential += np.float32(2.5) * rng.standard_normal((n_samples, self.n_channels), np.float32)
        return potential
