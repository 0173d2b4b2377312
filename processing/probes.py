"""Neuropixels probes: channel positions, reference channels, digitisation order."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

N_CHANNELS: Final = 384
#: x of the four columns of a Neuropixels 3A or 1.0 probe, in um, repeating with the channel number modulo 4.
COLUMN_X: Final = (43.0, 11.0, 59.0, 27.0)
ROW_PITCH: Final = 20.0
#: Channels wired to a reference on 3A option 3 probes (the released recordings) and on 1.0 probes.
REFERENCE_CHANNELS_3A: Final = (36, 75, 112, 151, 188, 227, 264, 303, 340, 379)
REFERENCE_CHANNELS_1_0: Final = (191,)
#: Neuropixels 1.0: 32 converters, each serving 12 channels of the spike band and one slot of the LFP band in turn.
ADC_CHANNELS: Final = 24
ADC_SLOTS: Final = 13


def neuropixels_1_geometry(n_channels: int = N_CHANNELS) -> npt.NDArray[np.float64]:
    """Return channel positions of a Neuropixels 3A or 1.0 probe, bank 0, in the convention of sorters and NWB files.

    Two sites a row, rows 20 um apart, staggered: x = 43, 11, 59, 27 um by channel number modulo 4, y = 20 um times the
    row counted from 1; channel 0 is nearest the tip.

    Returns
    -------
    ndarray
        float64 (n_channels, 2), um.
    """
    channel = np.arange(n_channels)
    x = np.asarray(COLUMN_X)[channel % 4]
    return np.column_stack([x, ROW_PITCH * (channel // 2 + 1)])


def adc_slots(n_channels: int = N_CHANNELS) -> npt.NDArray[np.int64]:
    """Return each channel's place in the turn of its converter, 0..11 (channels equal modulo 24 share a place)."""
    return (np.arange(n_channels) % ADC_CHANNELS) // 2


def adc_delays(n_channels: int = N_CHANNELS) -> npt.NDArray[np.float64]:
    """Return how much later than the sample's start each channel is digitised, as a fraction of a sample (0..11/13)."""
    return adc_slots(n_channels) / ADC_SLOTS
