"""Readers of raw probe data and of sorted spikes.

Each reader of raw data returns a :class:`~allen_ecephys.processing.recording.Recording`. :func:`open_bands` opens
whatever a folder holds; :func:`list_probes` says what that is.
"""

from __future__ import annotations

from .binary import BinaryRecording, open_binary
from .open_ephys import OpenEphysRecording, open_open_ephys
from .open_ephys_index import OpenEphysStream, open_ephys_streams
from .phy import PhySorting, read_phy
from .raw_folder import ProbeListing, RawBands, list_probes, open_bands
from .released import open_released_band
from .spikeglx import SpikeGlxRecording, open_spikeglx
from .spikeglx_meta import SpikeGlxMeta, read_spikeglx_meta, spikeglx_geometry
from .streamed import StreamedRecording

__all__ = [
    "BinaryRecording",
    "OpenEphysRecording",
    "OpenEphysStream",
    "PhySorting",
    "ProbeListing",
    "RawBands",
    "SpikeGlxMeta",
    "SpikeGlxRecording",
    "StreamedRecording",
    "list_probes",
    "open_bands",
    "open_binary",
    "open_ephys_streams",
    "open_open_ephys",
    "open_released_band",
    "open_spikeglx",
    "read_phy",
    "read_spikeglx_meta",
    "spikeglx_geometry",
]
