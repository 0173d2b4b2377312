"""Stage ``median_subtraction``: the spike band less offsets and the medians of channels digitised together.

Reads the raw spike band and ``depth_estimation``; leaves ``continuous.dat`` (int16), ``residuals.dat`` (int16, a
sample's median of each group of channels) to undo it, and ``saturated_samples.npy``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from ..pipeline.stage import Stage, StageResult, input_files
from ..recording import Recording
from ..spike_band.probe_info import read_probe_info
from ..spike_band.saturation import SATURATED_SHARE
from ..spike_band.writing import CHUNK_SAMPLES, write_median_subtracted
from .depth_estimation import INFO_FILE

STAGE: Final = Stage("median_subtraction", outputs=("continuous.dat", "residuals.dat", "saturated_samples.npy"))


def run_median_subtraction(
    recording: Recording,
    folder: str | os.PathLike[str],
    depth: StageResult,
    *,
    inputs: Sequence[str | os.PathLike[str]] | None = None,
    chunk_samples: int = CHUNK_SAMPLES,
    n_workers: int | None = None,
) -> StageResult:
    """Subtract offsets and medians, or reuse what an earlier run left; open it with :func:`.open_processed`.

    Parameters
    ----------
    recording
        The raw spike band.
    folder
        Folder of the probe, which gets the stage's folder.
    depth
        The finished stage ``depth_estimation``.
    inputs
        Files that the recording comes from, to notice when they change; by default its ``path``.
    chunk_samples, n_workers
        Samples written at once, and threads; they change no result.

    Raises
    ------
    NonFiniteError, DiskFullError
        As :func:`.write_median_subtracted`.
    StageError
        If `recording` does not say which files it comes from and `inputs` are not given.
    """
    info = read_probe_info(depth.folder / INFO_FILE)
    files = input_files(recording) if inputs is None else inputs
    return STAGE.run(
        folder,
        lambda place: write_median_subtracted(recording, info, place, chunk_samples=chunk_samples, n_workers=n_workers),
        inputs=[*files, depth.folder],
        parameters={"saturated_share": SATURATED_SHARE},
    )
