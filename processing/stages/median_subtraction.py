"""Stage ``median_subtraction``: the spike band less offsets and the medians of channels digitised together.

Reads the raw spike band and ``depth_estimation``; leaves ``continuous.dat`` (int16), ``residuals.dat`` (int16, a
sample's median of each group of channels) to undo it, and ``saturated_samples.npy``. Where no second file of the
recording's size is wanted, it leaves the saturated samples and ``source.json``, the digests of the raw files, and
whoever reads subtracts on the way: later stages find the same samples.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from ..pipeline.stage import Stage, StageResult, input_files
from ..readers.binary import BinaryRecording
from ..recording import Recording
from ..spike_band.median_subtraction import MedianSubtractedRecording
from ..spike_band.probe_info import ProbeInfo, read_probe_info
from ..spike_band.saturation import SATURATED_SHARE
from ..spike_band.writing import (
    CHUNK_SAMPLES,
    SAMPLES_FILE,
    SATURATED_FILE,
    open_processed,
    write_median_subtracted,
    write_saturated_samples,
)
from .depth_estimation import INFO_FILE

STAGE: Final = Stage("median_subtraction", outputs=(SATURATED_FILE,))
SOURCE_FILE: Final = "source.json"


def run_median_subtraction(
    recording: Recording,
    folder: str | os.PathLike[str],
    depth: StageResult,
    *,
    inputs: Sequence[str | os.PathLike[str]] | None = None,
    write: bool = True,
    chunk_samples: int = CHUNK_SAMPLES,
    n_workers: int | None = None,
) -> StageResult:
    """Subtract offsets and medians, or reuse what an earlier run left; open it with :func:`open_median_subtracted`.

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
    write
        Whether to write the samples, which take as much room as the raw ones; if not, they are computed when they are
        read.
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
    files = [*(input_files(recording) if inputs is None else inputs), depth.folder]
    parameters = {"saturated_share": SATURATED_SHARE, "write": write}
    threads: dict[str, Any] = {"chunk_samples": chunk_samples, "n_workers": n_workers}

    def work(place: Path) -> dict[str, int]:
        if write:
            return write_median_subtracted(recording, info, place, **threads)
        # Stages that read these samples depend on the raw ones: what they are is one of this stage's outputs.
        source = STAGE.identity(files, parameters, notes=Path(folder))["inputs"]
        (place / SOURCE_FILE).write_text(json.dumps(source, indent=1), encoding="utf-8")
        return write_saturated_samples(recording, place, **threads)

    return STAGE.run(folder, work, inputs=files, parameters=parameters)


def open_median_subtracted(
    medians: StageResult, recording: Recording, info: ProbeInfo
) -> BinaryRecording | MedianSubtractedRecording:
    """Open what the stage left: the file that it wrote, or the raw recording with medians subtracted on the way."""
    if (medians.folder / SAMPLES_FILE).is_file():
        return open_processed(medians.folder)
    saturated = np.load(medians.folder / SATURATED_FILE, allow_pickle=False)
    return MedianSubtractedRecording(recording, info, saturated=saturated)
