"""Neuropixels probes: channel positions, reference channels, digitisation order."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import GeometryError, MissingExtraError, missing_extra

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


def lfp_order_3a(n_channels: int = N_CHANNELS) -> npt.NDArray[np.int64]:
    """Return where channels are in LFP files extracted from 3A ``.npx`` files: channel i is column ``order[i]``.

    Within each block of 48, channels 0-11 and 12-23 alternate, then 24-35 and 36-47. Newer files are in order already.
    """
    half = np.column_stack([np.arange(12), np.arange(12, 24)]).ravel()
    block = np.concatenate([half, half + 24])
    return np.asarray(np.concatenate([block + 48 * i for i in range(-(-n_channels // 48))])[:n_channels])


def read_spikeglx_geometry(meta_path: Path) -> npt.NDArray[np.float64]:
    """Return positions of the channels that a SpikeGLX ``.meta`` file says were saved, (n_channels, 2) in um."""
    probe = _probeinterface().read_spikeglx(meta_path)
    return np.asarray(probe.contact_positions, dtype=np.float64)


def read_open_ephys_probe(settings: Path, stream: str | None = None) -> Any:
    """Return the ``probeinterface.Probe`` of a stream in an Open Ephys ``settings.xml``.

    Raises
    ------
    GeometryError
        If the settings hold no Neuropixels probe of that stream, or no site positions (plugin before 0.3.3).
    """
    try:
        return _probeinterface().read_openephys_neuropixels(settings, stream_name=stream)
    except MissingExtraError:
        raise
    except Exception as error:  # what probeinterface raises is a bare Exception or an AssertionError
        msg = f"{settings} gives no channel positions for stream {stream!r}: {error}. Pass geometry=... instead."
        raise GeometryError(msg) from error


def _probeinterface() -> Any:
    try:
        import probeinterface
    except ImportError as error:
        library, purpose = "probeinterface", "reading a probe's geometry from its metadata"
        raise missing_extra(library, "raw", purpose) from error
    return probeinterface
