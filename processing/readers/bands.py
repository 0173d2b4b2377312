"""Both bands of a probe from a folder, whichever system recorded it."""

from __future__ import annotations

import os
from pathlib import Path

from .binary import BinaryRecording
from .open_ephys import open_ephys_streams, open_open_ephys
from .spikeglx import open_spikeglx


def open_bands(folder: str | os.PathLike[str]) -> tuple[BinaryRecording, BinaryRecording | None]:
    """Open the spike band and, where there is one, the LFP band of the recording in a folder.

    SpikeGLX is told by its ``.meta`` files, a simulated recording by its ground truth; all else is taken for Open
    Ephys.

    Raises
    ------
    FileNotFoundError
        If the folder holds no recording, or more than one.
    """
    from ..simulation.raw.formats import raw_form
    from ..simulation.raw.recording import TRUTH_FILE, read_ground_truth

    place = Path(folder)
    if place.is_file() or list(place.rglob("*.ap.meta")):
        recording = open_spikeglx(place)
        lf = Path(str(recording.path).replace(".ap.bin", ".lf.bin"))
        return recording, open_spikeglx(lf) if lf != recording.path and lf.exists() else None
    if (place / TRUTH_FILE).exists():
        truth = read_ground_truth(place)
        has_lfp = (place / raw_form(truth.form).lfp_file).exists()
        return truth.recording("ap"), truth.recording("lfp") if has_lfp else None
    recording_ap = open_open_ephys(place, "ap")
    has_lfp = any(stream.band == "lfp" for stream in open_ephys_streams(place))
    return recording_ap, open_open_ephys(place, "lfp") if has_lfp else None
