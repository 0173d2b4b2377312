"""Parametric extracellular waveforms: what a spike looks like on every channel of a probe.

A unit sits at (x, y, z) beside the probe. Its waveform is a negative trough followed by a slower positive peak (two
Gaussians); it shrinks exponentially with the distance of a channel, widens with it, and arrives later along the
dendrite.
The curve is known at every instant, so a channel that is digitised later in the sample, a spike that falls between
samples and a probe that drifts all get exact values instead of interpolated ones.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

import numpy as np
import numpy.typing as npt

from ...shanks import shanks_by_position

PRE_SAMPLES: Final = 20
TEMPLATE_SAMPLES: Final = 82
#: Channels whose amplitude is below this share of the largest get exact zeros.
LOCAL_SHARE: Final = 0.004


@dataclass(frozen=True)
class UnitShapes:
    """Parameters of the waveforms of some units; every field is float64 (n_units,).

    Attributes
    ----------
    x, y, z
        Position in um: along the probe's face (as in its geometry), and z away from the face.
    amplitude_uv
        Peak-to-trough amplitude on the largest channel as recorded (after the hardware filter), microvolts.
    trough_ms, peak_ms
        Width (Gaussian 1/e half width) of trough and of the following peak.
    peak_delay_ms, peak_share
        Time from trough to peak, and the peak's height as a share of the trough's depth.
    decay_um
        Distance over which the amplitude falls by e.
    slowness_up, slowness_down
        Delay along the dendrite towards the surface and towards the tip, in microseconds per um (1 / (m/s)).
    polarity
        1.0 for a leading trough, -1.0 for the rare inverted (axonal) waveform.
    """

    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    z: npt.NDArray[np.float64]
    amplitude_uv: npt.NDArray[np.float64]
    trough_ms: npt.NDArray[np.float64]
    peak_ms: npt.NDArray[np.float64]
    peak_delay_ms: npt.NDArray[np.float64]
    peak_share: npt.NDArray[np.float64]
    decay_um: npt.NDArray[np.float64]
    slowness_up: npt.NDArray[np.float64]
    slowness_down: npt.NDArray[np.float64]
    polarity: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.x)

    def columns(self) -> dict[str, npt.NDArray[np.float64]]:
        """Return the parameters as columns of a table."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


def draw_unit_shapes(
    n_units: int,
    geometry: npt.NDArray[np.float64],
    rng: np.random.Generator,
    *,
    amplitude_range: tuple[float, float] = (30.0, 400.0),
    depth_range: tuple[float, float] | None = None,
    inverted_share: float = 0.05,
) -> UnitShapes:
    """Draw realistic waveform parameters for units spread along a probe.

    Amplitudes are log-normal (median 90 uV) within `amplitude_range`; a fifth of the units has the narrow waveform of
    fast-spiking cells.

    Parameters
    ----------
    geometry
        (n_channels, 2) um.
    amplitude_range
        Smallest and largest peak-to-trough amplitude, uV.
    depth_range
        Lowest and highest y of a unit; the whole probe by default.
    inverted_share
        Share of units with a leading positive peak.
    """
    low, high = (geometry[:, 1].min(), geometry[:, 1].max()) if depth_range is None else depth_range
    left, right = _faces(geometry, n_units, rng)
    smallest, largest = amplitude_range
    narrow = rng.random(n_units) < 0.2
    return UnitShapes(
        x=rng.uniform(left, right, n_units),
        y=rng.uniform(low, high, n_units),
        z=rng.uniform(10.0, 45.0, n_units),
        amplitude_uv=np.clip(np.exp(rng.normal(np.log(90.0), 0.6, n_units)), smallest, largest),
        trough_ms=np.where(narrow, rng.uniform(0.07, 0.10, n_units), rng.uniform(0.10, 0.16, n_units)),
        peak_ms=np.where(narrow, rng.uniform(0.12, 0.20, n_units), rng.uniform(0.20, 0.40, n_units)),
        peak_delay_ms=np.where(narrow, rng.uniform(0.22, 0.32, n_units), rng.uniform(0.40, 0.75, n_units)),
        peak_share=rng.uniform(0.15, 0.50, n_units),
        decay_um=rng.uniform(22.0, 45.0, n_units),
        slowness_up=rng.uniform(0.2, 1.5, n_units),
        slowness_down=rng.uniform(0.2, 1.5, n_units),
        polarity=np.where(rng.random(n_units) < inverted_share, -1.0, 1.0),
    )


def _faces(
    geometry: npt.NDArray[np.float64], n_units: int, rng: np.random.Generator
) -> tuple[float | npt.NDArray[np.float64], float | npt.NDArray[np.float64]]:
    """Return the left and right end of the tissue before the shank that each unit lies at."""
    shanks = shanks_by_position(geometry)
    x = [geometry[shanks == shank, 0] for shank in range(int(shanks.max()) + 1)]
    if len(x) == 1:
        return x[0].min() - 10.0, x[0].max() + 10.0
    chosen = rng.integers(0, len(x), n_units)
    return np.array([on.min() - 10.0 for on in x])[chosen], np.array([on.max() + 10.0 for on in x])[chosen]


def local_channels(
    shapes: UnitShapes, unit: int, geometry: npt.NDArray[np.float64], margin_um: float = 0.0
) -> npt.NDArray[np.int64]:
    """Return the channels on which a unit is not negligible, even after the probe moved by up to `margin_um`."""
    across = geometry[:, 0] - shapes.x[unit]
    along = np.maximum(np.abs(geometry[:, 1] - shapes.y[unit]) - margin_um, 0.0)
    nearest = np.sqrt(across**2 + along**2 + shapes.z[unit] ** 2)
    share = np.exp(-(nearest - nearest.min()) / shapes.decay_um[unit])
    return np.flatnonzero(share > LOCAL_SHARE).astype(np.int64)


def waveform(
    shapes: UnitShapes,
    unit: int,
    geometry: npt.NDArray[np.float64],
    sampling_rate: float,
    *,
    shift_um: float = 0.0,
    phase: float = 0.0,
    lead_samples: int = PRE_SAMPLES,
    n_samples: int = TEMPLATE_SAMPLES,
    delays: npt.NDArray[np.float64] | None = None,
) -> npt.NDArray[np.float64]:
    """Return the unfiltered waveform of one unit, trough depth 1 at distance 0, on the channels of `geometry`.

    Parameters
    ----------
    shift_um
        How far the tissue moved up along the probe.
    phase
        How much later than the sample's start the spike happens, as a fraction of a sample.
    lead_samples, n_samples
        The spike is at sample `lead_samples` of `n_samples`.
    delays
        When each channel is digitised within the sample, as a fraction of it.

    Returns
    -------
    ndarray
        float64 (n_samples, n_channels).
    """
    delays = np.zeros(len(geometry)) if delays is None else delays
    across = geometry[:, 0] - shapes.x[unit]
    along = geometry[:, 1] - (shapes.y[unit] + shift_um)
    distance = np.sqrt(across**2 + along**2 + shapes.z[unit] ** 2)
    slowness = np.where(along >= 0, shapes.slowness_up[unit], shapes.slowness_down[unit])
    sample = np.arange(n_samples)[:, None] - lead_samples - phase + delays[None, :]
    time_ms = sample * (1e3 / sampling_rate) - np.abs(along) * slowness * 1e-3
    wider = 1.0 + distance / 400.0
    trough = np.exp(-((time_ms / (shapes.trough_ms[unit] * wider)) ** 2))
    peak = np.exp(-(((time_ms - shapes.peak_delay_ms[unit]) / (shapes.peak_ms[unit] * wider)) ** 2))
    size = np.exp(-distance / shapes.decay_um[unit])
    return np.asarray(shapes.polarity[unit] * size * (shapes.peak_share[unit] * peak - trough))
