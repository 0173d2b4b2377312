"""The spike band from raw counts to whitened ones: depth estimation, median subtraction, whitening."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from allen_ecephys.errors import StageError

from ..pipeline.stage import StageResult, input_files
from ..readers.binary import BinaryRecording
from ..recording import Recording
from ..spike_band.probe_info import DepthParameters
from ..spike_band.writing import CHUNK_SAMPLES, WhiteningParameters, open_processed
from .depth_estimation import run_depth_estimation
from .median_subtraction import run_median_subtraction
from .whitening import run_whitening


@dataclass(frozen=True)
class SpikeBand:
    """What the stages left.

    Attributes
    ----------
    depth, medians, whitening
        The stages; `medians` is None where they were subtracted on the way.

    Examples
    --------
    >>> made = process_spike_band(bands.spike_band, "spike_band_stages", lfp=bands.lfp)
    >>> made.whitened().n_samples == bands.spike_band.n_samples
    True
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

        Examples
        --------
        >>> made = process_spike_band(bands.spike_band, "spike_band_stages", lfp=bands.lfp)
        >>> made.median_subtracted().dtype
        dtype('int16')
        """
        if self.medians is None:
            msg = "the median-subtracted recording was not kept; run again with keep_median_subtracted=True"
            raise StageError(msg)
        return open_processed(self.medians.folder)

    def whitened(self) -> BinaryRecording:
        """Open the filtered and whitened recording.

        Examples
        --------
        >>> made = process_spike_band(bands.spike_band, "spike_band_stages", lfp=bands.lfp)
        >>> made.whitened().n_channels
        32
        """
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
    overwrite: bool = False,
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
    overwrite
        Whether what the folder holds of another recording may be replaced.

    Raises
    ------
    AlreadyPresentError
        If the folder holds the results of another recording.
    RecordingTooShortError
        If the recording is shorter than what a stage reads.
    ChannelCountError
        If the samples look as if the file held one channel more or less.
    StageError
        If `recording` does not say which files it comes from and `inputs` are not given.
    """
    files = input_files(recording, lfp) if inputs is None else inputs
    threads: dict[str, Any] = {"chunk_samples": chunk_samples, "n_workers": n_workers}
    looked = run_depth_estimation(
        recording, folder, lfp=lfp, inputs=files, parameters=depth, overwrite=overwrite
    )  # fmt: skip
    medians = None
    if keep_median_subtracted:
        medians = run_median_subtraction(recording, folder, looked, inputs=files, **threads)
    whitened = run_whitening(recording, folder, looked, medians, inputs=files, parameters=whitening, **threads)
    return SpikeBand(looked, medians, whitened)
