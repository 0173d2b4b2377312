"""The spike band's stages on files: each makes one folder, complete or not at all, and is reused when nothing changed.

``depth_estimation``
    ``probe_info.json``: offsets, mask, brain surface.
``median_subtraction``
    ``continuous.dat`` (int16), ``residuals.dat`` (int16, a sample's median of each group of channels) to undo it,
    ``saturated_samples.npy``.
``whitening``
    ``continuous.dat`` (int16, noise SD 200), ``whitening.npz``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from allen_ecephys.errors import StageError

from ..pipeline.stages import StageResult, run_stage
from ..readers.binary import BinaryRecording
from ..recording import Recording, check_channel_count
from ..spike_band.blocks import BLOCK_SAMPLES
from ..spike_band.depth_estimation import estimate_depth
from ..spike_band.filtering import HALO
from ..spike_band.probe_info import DepthParameters, read_probe_info
from ..spike_band.saturation import SATURATED_SHARE, SATURATION_MARGIN
from ..spike_band.writing import (
    CHUNK_SAMPLES,
    WhiteningParameters,
    estimate_whitening,
    open_processed,
    write_median_subtracted,
    write_whitened,
)

DEPTH, MEDIANS, WHITENING = "depth_estimation", "median_subtraction", "whitening"
INFO_FILE: Final = "probe_info.json"


@dataclass(frozen=True)
class SpikeBand:
    """What the stages left.

    Attributes
    ----------
    depth, medians, whitening
        The stages; `medians` is None where they were subtracted on the way.
    """

    depth: StageResult
    medians: StageResult | None
    whitening: StageResult

    def median_subtracted(self) -> BinaryRecording:
        """Open the recording without offsets and medians.

        Raises
        ------
        StageError
            If it was not kept.
        """
        if self.medians is None:
            msg = "the median-subtracted recording was not kept; run again with keep_median_subtracted=True"
            raise StageError(msg)
        return open_processed(self.medians.folder)

    def whitened(self) -> BinaryRecording:
        """Open the filtered and whitened recording."""
        return open_processed(self.whitening.folder)


def process_spike_band(
    recording: Recording,
    folder: str | os.PathLike[str],
    *,
    lfp: Recording | None = None,
    inputs: Sequence[str | os.PathLike[str]] | None = None,
    depth: DepthParameters | None = None,
    whitening: WhiteningParameters | None = None,
    keep_median_subtracted: bool = True,
    chunk_samples: int = CHUNK_SAMPLES,
    n_workers: int | None = None,
) -> SpikeBand:
    """Estimate depth, subtract medians, filter and whiten a recording, stage by stage.

    A run that was stopped goes on after its last complete stage; `chunk_samples` and `n_workers` change no result.

    Parameters
    ----------
    recording, lfp
        The two bands; without an LFP the whole probe is taken to be in the brain.
    folder
        Folder of the probe, which gets a folder for each stage.
    inputs
        Files that the recording comes from, to notice when they change; by default its ``path``.
    keep_median_subtracted
        Whether to write the median-subtracted recording (waveforms are measured on it); it is as large as the raw one.

    Raises
    ------
    RecordingTooShortError
        If the recording is shorter than what a stage reads.
    ChannelCountError
        If the samples look as if the file held one channel more or less.
    StageError
        If `recording` does not say which files it comes from and `inputs` are not given.
    """
    files = _files(recording, lfp) if inputs is None else [Path(path) for path in inputs]
    p_white = whitening or WhiteningParameters()
    depth_stage = run_depth_estimation(recording, folder, lfp=lfp, inputs=files, parameters=depth)
    info = read_probe_info(depth_stage.folder / INFO_FILE)
    sources: list[Path] = [*files, depth_stage.folder]
    median_stage = None
    if keep_median_subtracted:
        median_stage = run_median_subtraction(
            recording, folder, depth_stage, inputs=files, chunk_samples=chunk_samples, n_workers=n_workers
        )
        sources = [median_stage.folder, depth_stage.folder]

    def whiten(place: Path) -> dict[str, Any]:
        source: Recording = recording if median_stage is None else open_processed(median_stage.folder)
        medians = info if median_stage is None else None
        weights = estimate_whitening(source, medians, info.mask, p_white)
        return write_whitened(
            source, medians, weights, place,
            high_pass=p_white.high_pass, chunk_samples=chunk_samples, n_workers=n_workers,
        )  # fmt: skip

    constants = {"block": BLOCK_SAMPLES, "halo": HALO, "saturation_margin": SATURATION_MARGIN}
    white_stage = run_stage(folder, WHITENING, whiten, inputs=sources, parameters={**asdict(p_white), **constants})
    return SpikeBand(depth_stage, median_stage, white_stage)


def run_depth_estimation(
    recording: Recording,
    folder: str | os.PathLike[str],
    *,
    lfp: Recording | None = None,
    inputs: Sequence[str | os.PathLike[str]] | None = None,
    parameters: DepthParameters | None = None,
) -> StageResult:
    """Run the stage ``depth_estimation``; parameters and errors as :func:`process_spike_band`."""
    p = parameters or DepthParameters()

    def work(place: Path) -> dict[str, Any]:
        check_channel_count(recording)
        info = estimate_depth(recording, lfp, p)
        info.save(place / INFO_FILE, recording.geometry)
        masked = np.flatnonzero(~info.mask).tolist()
        return {"surface_channel": info.surface_channel, "air_channel": info.air_channel, "masked_channels": masked}

    files = _files(recording, lfp) if inputs is None else inputs
    return run_stage(folder, DEPTH, work, inputs=files, parameters=asdict(p))


def run_median_subtraction(
    recording: Recording,
    folder: str | os.PathLike[str],
    depth: StageResult,
    *,
    inputs: Sequence[str | os.PathLike[str]] | None = None,
    chunk_samples: int = CHUNK_SAMPLES,
    n_workers: int | None = None,
) -> StageResult:
    """Run the stage ``median_subtraction`` after `depth`; parameters and errors as :func:`process_spike_band`."""
    info = read_probe_info(depth.folder / INFO_FILE)
    files = _files(recording, None) if inputs is None else inputs
    return run_stage(
        folder,
        MEDIANS,
        lambda place: write_median_subtracted(recording, info, place, chunk_samples=chunk_samples, n_workers=n_workers),
        inputs=[*files, depth.folder],
        parameters={"saturated_share": SATURATED_SHARE},
    )


def _files(recording: Recording, lfp: Recording | None) -> list[Path]:
    paths = [getattr(band, "path", None) for band in (recording, lfp) if band is not None]
    found = [Path(path) for path in paths if path is not None]
    if len(found) != len(paths):
        msg = "the recording does not say which files it comes from; name them with inputs=[...]"
        raise StageError(msg)
    return found
