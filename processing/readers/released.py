"""The release's raw data: flat files of 384 channels without a header, a folder for each probe."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from allen_ecephys.errors import FileFormatError, MissingFileError

from ..probes import N_CHANNELS, REFERENCE_CHANNELS_3A, neuropixels_1_geometry
from .binary import BinaryRecording
from .finding import band_called
from .streamed import SeekableFile, StreamedRecording

#: Names of the two bands in a probe's folder of the bucket, and their rates (Hz).
SPIKE_BAND_FILE: Final = "spike_band.dat"
LFP_BAND_FILE: Final = "lfp_band.dat"
_RATES: Final = {"ap": 30_000.0, "lfp": 2_500.0}

#: Microvolts a count, and the largest voltage of the converters (white paper "Visual Coding - Neuropixels").
_UV_PER_BIT: Final = 0.195
_FULL_SCALE_UV: Final = {"ap": 1200.0, "lfp": 2400.0}


def open_released_band(source: str | os.PathLike[str] | SeekableFile, band: str = "ap") -> BinaryRecording:
    """Open a band of the release's raw data.

    Parameters
    ----------
    source
        Path of ``spike_band.dat`` or ``lfp_band.dat``, or the file open for reading, as a project cache streams it.
    band
        ``ap`` (30 kHz) or ``lfp`` (2.5 kHz).

    Returns
    -------
    BinaryRecording
        int16, 384 channels of a Neuropixels 3A probe at 0.195 uV a count. The bands were written as the recorder did,
        but the spike band had its median subtracted.

    Raises
    ------
    MissingFileError
        If there is no such file.
    UnknownNameError
        If there is no such band.
    FileFormatError, CorruptFileError
        If it does not hold whole samples of 384 channels.

    Examples
    --------
    >>> import io
    >>> open_released_band(io.BytesIO(bytes(768 * 10))).n_samples
    10
    """
    band = band_called(band)
    facts: dict[str, Any] = {
        "n_columns": N_CHANNELS,
        "sampling_rate": _RATES[band],
        "uv_per_bit": _UV_PER_BIT,
        "geometry": neuropixels_1_geometry(),
        "reference_channels": REFERENCE_CHANNELS_3A,
        "dtype": "<i2",
        "full_scale_uv": _FULL_SCALE_UV[band],
    }
    if not isinstance(source, (str, os.PathLike)):
        return StreamedRecording(source, **facts)
    path = Path(source)
    if not path.is_file():
        msg = f"there is no {path}; a project cache fetches it: cache.get_raw_data(session_id, probe_id)"
        raise MissingFileError(msg)
    recording = BinaryRecording(path, **facts)
    if recording.dropped_bytes:
        msg = (
            f"{path} ends {recording.dropped_bytes} bytes into a sample of {N_CHANNELS} channels: it was cut. "
            "Fetch it again"
        )
        raise FileFormatError(msg)
    return recording
