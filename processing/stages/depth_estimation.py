"""Stage ``depth_estimation``: offsets and mask of a probe's channels, and where the brain's surface is.

Reads the raw bands; leaves ``probe_info.json``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np

from ..pipeline.stage import Stage, StageResult, input_files
from ..recording import Recording, check_channel_count
from ..spike_band.depth_estimation import estimate_depth
from ..spike_band.probe_info import DepthParameters

INFO_FILE: Final = "probe_info.json"
STAGE: Final = Stage("depth_estimation", outputs=(INFO_FILE,))


def run_depth_estimation(
    recording: Recording,
    folder: str | os.PathLike[str],
    *,
    lfp: Recording | None = None,
    inputs: Sequence[str | os.PathLike[str]] | None = None,
    parameters: DepthParameters | None = None,
) -> StageResult:
    """Look at the channels, or reuse what an earlier run found.

    Parameters
    ----------
    recording, lfp
        The two bands; without an LFP the whole probe is taken to be in the brain.
    folder
        Folder of the probe, which gets the stage's folder.
    inputs
        Files that the recording comes from, to notice when they change; by default its ``path``.

    Raises
    ------
    RecordingTooShortError
        If the recording is shorter than what is looked at.
    ChannelCountError
        If the samples look as if the file held one channel more or less.
    StageError
        If `recording` does not say which files it comes from and `inputs` are not given.
    """
    chosen = parameters or DepthParameters()

    def work(place: Path) -> dict[str, Any]:
        check_channel_count(recording)
        info = estimate_depth(recording, lfp, chosen)
        info.save(place / INFO_FILE, recording.geometry)
        masked = np.flatnonzero(~info.mask).tolist()
        return {"surface_channel": info.surface_channel, "air_channel": info.air_channel, "masked_channels": masked}

    files = input_files(recording, lfp) if inputs is None else inputs
    return STAGE.run(folder, work, inputs=files, parameters=asdict(chosen))
