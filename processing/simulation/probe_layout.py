"""Probes in a simulated brain: channels with positions and structures, units on them, and their mean waveforms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..packaging.identities import channel_ids, probe_ids
from .computed_rows import ComputedRows

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

    Floats = npt.NDArray[np.float64]

CHANNELS_PER_PROBE = 384
WAVEFORM_SAMPLES = 82

#: Structures that probes A to F pass from the surface down: (acronym, first channel from the top, visual).
_TRACKS = (
    ("VISam", "CA1", "DG", "TH", "MB"),
    ("VISpm", "CA1", "DG", "LP", "APN"),
    ("VISp", "CA1", "DG", "LGd", "TH"),
    ("VISl", "CA1", "CA3", "LGd", "ZI"),
    ("VISal", "CA1", "CA3", "LP", "PO"),
    ("VISrl", "CA1", "DG", "LP", "VPM"),
)
_VISUAL = ("VIS", "LG", "LP")
#: Channels above the brain surface, and how many each structure then takes; the last takes the rest.
_OUTSIDE = 60
_THICKNESS = (90, 60, 50, 60)

#: Reference electrodes of a Neuropixels 1.0 probe, which never record (384-channel bank).
REFERENCE_CHANNELS = (36, 75, 112, 151, 188, 227, 264, 303, 340, 379)


def probe_table(session_id: int, n_probes: int, *, has_lfp: bool) -> pd.DataFrame:
    """Return the probes of a session: ids ``10 * session_id + k``, names ``probeA`` and on."""
    import pandas as pd

    return pd.DataFrame(
        {
            "description": [f"probe{'ABCDEF'[k]}" for k in range(n_probes)],
            "sampling_rate": 29999.95 + 0.005 * np.arange(n_probes),
            "lfp_sampling_rate": 1249.998,
            "has_lfp_data": has_lfp,
        },
        index=pd.Index(probe_ids(session_id, n_probes), name="id"),
    )


def channel_table(probes: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Return 384 channels a probe; ids are ``1000 * probe_id + channel``.

    The top channels are above the brain (no structure, no coordinates); the reference channels and a few broken ones
    are not valid.
    """
    import pandas as pd

    number = np.arange(CHANNELS_PER_PROBE)
    tables = []
    for k, probe_id in enumerate(probes.index):
        structure = _structures(k)
        valid = ~np.isin(number, REFERENCE_CHANNELS) & (rng.random(CHANNELS_PER_PROBE) > 0.005)
        depth = (CHANNELS_PER_PROBE - _OUTSIDE - number) * 10.0
        outside = structure == ""
        tables.append(
            pd.DataFrame(
                {
                    "probe_id": int(probe_id),
                    "probe_channel_number": number,
                    "probe_vertical_position": 20 * (number // 2 + 1),
                    "probe_horizontal_position": np.array([43, 11, 59, 27])[number % 4],
                    "valid_data": valid,
                    "structure_acronym": structure,
                    "anterior_posterior_ccf_coordinate": np.where(
                        outside, np.nan, np.round(7800 + 350 * k - 0.2 * depth)
                    ),
                    "dorsal_ventral_ccf_coordinate": _um(500 + depth, outside),
                    "left_right_ccf_coordinate": _um(7500 + 250 * k + 0.1 * depth, outside),
                },
                index=pd.Index(channel_ids(int(probe_id), number), name="id"),
            )
        )
    return pd.concat(tables)


def _um(coordinate: npt.NDArray[np.floating], outside: npt.NDArray[np.bool_]) -> Floats:
    """Return whole micrometres, NaN outside the brain."""
    return np.where(outside, np.nan, np.round(coordinate))


def _structures(k: int) -> npt.NDArray[np.str_]:
    """Return the structure of every channel of the k-th probe, from the tip (channel 0) up; '' outside the brain."""
    edges = np.cumsum((_OUTSIDE, *_THICKNESS))
    from_top = CHANNELS_PER_PROBE - 1 - np.arange(CHANNELS_PER_PROBE)
    return np.array(("", *_TRACKS[k]))[np.searchsorted(edges, from_top, side="right")]


def is_visual(structures: pd.Series[str]) -> npt.NDArray[np.bool_]:
    """Return whether each structure is a visual area of cortex or thalamus."""
    return structures.str.startswith(_VISUAL).to_numpy(np.bool_)


class MeanWaveforms(ComputedRows):
    """Mean waveforms (384 channels x 82 samples, uV) that are computed when one is asked for.

    Each is a trough and a later peak, largest on the peak channel, and falls off along the probe.
    """

    def __init__(self, units: pd.DataFrame, channel_number: npt.NDArray[np.int64]) -> None:
        self._peak_channel = channel_number
        self._amplitude = units["waveform_amplitude"].to_numpy(np.float64)
        self._duration = units["waveform_duration"].to_numpy(np.float64)
        self._spread = units["waveform_spread"].to_numpy(np.float64)
        self._ratio = units["waveform_PT_ratio"].to_numpy(np.float64)

    def __len__(self) -> int:
        return len(self._peak_channel)

    def row(self, k: int) -> Floats:
        """Return the waveform of the k-th unit."""
        time = (np.arange(WAVEFORM_SAMPLES) - 20) / 30.0
        trough = -np.exp(-((time / 0.12) ** 2))
        late = self._ratio[k] * np.exp(-(((time - self._duration[k]) / 0.25) ** 2))
        away = 10.0 * (np.arange(CHANNELS_PER_PROBE) - self._peak_channel[k])
        footprint = np.exp(-0.5 * (away / max(self._spread[k] / 2.0, 10.0)) ** 2)
        waveform: Floats = self._amplitude[k] / (1.0 + self._ratio[k]) * footprint[:, None] * (trough + late)
        return waveform


class SpikeAmplitudes(ComputedRows):
    """Amplitudes (V) of every unit's spikes, drawn when a unit is asked for: always the same for the same seed."""

    def __init__(self, counts: npt.NDArray[np.int64], amplitudes_uv: Floats, seed: int) -> None:
        self._counts, self._volts, self._seed = counts, amplitudes_uv * 1e-6, seed

    def __len__(self) -> int:
        return len(self._counts)

    def row(self, k: int) -> Floats:
        """Return the amplitudes of the k-th unit."""
        rng = np.random.default_rng([self._seed, 5, k])
        spread = rng.standard_normal(int(self._counts[k]), dtype=np.float32)
        amplitudes: Floats = self._volts[k] * np.maximum(1.0 + 0.15 * spread.astype(np.float64), 0.2)
        return amplitudes
