"""From a probe's raw data to sorted and measured units, and from there to a session file: the whole chain on files.

Below the output folder each stage has one folder, complete or not at all, reused when nothing it depends on changed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from allen_ecephys.errors import MissingDataError

from ..pipeline.stage import StageResult, input_files
from ..quality_metrics import QualitySettings
from ..readers.binary import BinaryRecording
from ..readers.phy import read_phy
from ..readers.raw_folder import RawBands, open_bands
from ..recording import Recording, duration
from ..sorting.sorters import NATIVE, Parameters, check_sorter
from ..spike_band.median_subtraction import MedianSubtractedRecording
from ..spike_band.probe_info import ProbeInfo, read_probe_info
from . import sorting as sorting_stage
from .depth_estimation import INFO_FILE, run_depth_estimation
from .median_subtraction import open_median_subtracted, run_median_subtraction
from .opening import ProbeData, estimates_of_phy, spikes_apart_from_gaps
from .session import SESSION_FILE, run_session
from .sorting import run_sorting
from .units import UnitParameters, measure_units

if TYPE_CHECKING:
    import pandas as pd

#: How far above the brain's surface (um) channels are still sorted, 15 channels in the release: the estimate may lie a
#: bit low.
ABOVE_SURFACE: Final = 150.0


@dataclass(frozen=True, eq=False)
class SortedProbe:
    """A probe that went through the sorter.

    Attributes
    ----------
    folder
        Folder of the stages.
    recording
        Spike band less its medians, which was sorted; channels left out are among its reference channels.
    lfp
        LFP band, or None.
    info
        What the depth estimation found.
    depth, medians, sorting
        The stages; ``sorting.folder`` is the phy folder.
    bands
        The raw data, which the LFP file is made of; None where it is not known here.
    """

    folder: Path
    recording: Recording
    lfp: Recording | None
    info: ProbeInfo
    depth: StageResult
    medians: StageResult
    sorting: StageResult
    bands: RawBands | None = None

    def probe_data(self) -> ProbeData:
        """Return what measuring the units starts from: clusters as they are in the phy folder now, curated or not."""
        found = read_phy(self.sorting.folder, n_samples=self.recording.n_samples)
        spikes = spikes_apart_from_gaps(found.spikes, self.recording.timeline)
        trains = (self.sorting.folder / f"spike_{name}.npy" for name in ("times", "clusters"))
        files = (self.medians.folder, self.depth.folder, *trains)
        return ProbeData(
            self.recording, self.lfp, spikes, files, found.labels(), estimates_of_phy(found, self.recording)
        )

    def measure(self, *, seed: int = 0) -> pd.DataFrame:
        """Clean and measure the units, stage by stage; see :func:`.units.measure_units`.

        Raises
        ------
        MissingDataError
            If the sorting holds no spike.
        """
        data = self.probe_data()
        if not len(data.spikes):
            msg = (
                f"no units were found in {duration(self.recording):.1f} s of {self.sorting.report['n_channels']} "
                f"channels; {self.sorting.folder} is an empty sorting, and there is nothing to measure. Look at the "
                "raw data: do they hold spikes?"
            )
            raise MissingDataError(msg)
        parameters = UnitParameters(subtract_medians=False, quality=QualitySettings(seed=seed), seed=seed)
        return measure_units(data, self.folder, parameters, depth=self.depth)

    def package(
        self, *, session_start_time: datetime, session_id: int | None = None, name: str | None = None, lfp: bool = True
    ) -> Path:
        """Write the measured units to ``session/session.nwb``, and beside it the LFP file.

        Parameters
        ----------
        session_start_time, session_id
            As in :func:`.session.package_units`.
        name
            Of the probe; by default as its recorder called it.
        lfp
            Whether to write the LFP file, too: of the LFP band, or of the wide band of a probe that has none.

        Raises
        ------
        StageError
            If the units were not measured.
        """
        stage = run_session(
            [self.folder], self.folder, session_id=session_id, session_start_time=session_start_time,
            names=None if name is None else [name], bands=[self.bands] if lfp and self.bands is not None else [],
        )  # fmt: skip
        return stage.folder / SESSION_FILE


def sort_raw(
    raw: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    sorter: str = NATIVE,
    parameters: Parameters = None,
    python: str | os.PathLike[str] | None = None,
    keep_work: bool = False,
    write_medians: bool = True,
    n_workers: int | None = None,
    stream: str | None = None,
    allow_cut: bool = False,
    settings: str | os.PathLike[str] | None = None,
    part_number: str | None = None,
    overwrite: bool = False,
) -> SortedProbe:
    """Look at a probe's channels, subtract medians and sort, or reuse what an earlier run left.

    Reference channels, channels that the depth estimation masks, and those more than 150 um above the brain's surface
    are not sorted, as in the release.

    Parameters
    ----------
    raw
        Folder of the recording (Open Ephys, SpikeGLX or simulated).
    folder
        Output folder.
    sorter, parameters, python, keep_work
        As in :func:`.sorting.run_sorting`.
    write_medians
        Whether the spike band less its medians is written, which takes as much room as the raw one; if not, it is
        computed when it is read.
    n_workers
        Threads that read and write; the setting ``ALLEN_ECEPHYS_THREADS`` by default.
    stream, allow_cut, settings, part_number
        As in :func:`~allen_ecephys.processing.readers.open_bands`: which of several probes, whether cut files are
        accepted, and what Open Ephys's files do not say.
    overwrite
        Whether what the folder holds of another recording may be replaced.

    Raises
    ------
    AlreadyPresentError
        If the folder holds the results of another recording.
    MissingFileError, UnknownNameError, FileFormatError, CorruptFileError, GeometryError
        As :func:`~allen_ecephys.processing.readers.open_bands`.
    RecordingTooShortError, ChannelCountError, NonFiniteError, DiskFullError
        As :func:`.spike_band.process_spike_band`.
    StageError, UnknownNameError, MissingExtraError, SortingError, TooFewChannelsError
        As :func:`.sorting.run_sorting`.
    """
    bands = open_bands(raw, stream=stream, allow_cut=allow_cut, settings=settings, part_number=part_number)
    recording, lfp = bands.spike_band, bands.lfp
    if not sorting_stage.STAGE.is_finished(folder):
        check_sorter(sorter, parameters, python=python)  # now, not after an hour of preparation
    files = input_files(recording, lfp)
    depth = run_depth_estimation(recording, folder, lfp=lfp, inputs=files, overwrite=overwrite)
    medians = run_median_subtraction(
        recording, folder, depth, inputs=files, write=write_medians, n_workers=n_workers
    )  # fmt: skip
    info = read_probe_info(depth.folder / INFO_FILE)
    cleaned = recording_to_sort(medians, recording, info)
    sorting = run_sorting(
        cleaned,
        folder,
        sorter=sorter,
        parameters=parameters,
        inputs=[medians.folder, depth.folder],
        python=python,
        keep_work=keep_work,
    )
    return SortedProbe(Path(folder), cleaned, lfp, info, depth, medians, sorting, bands)


def recording_to_sort(
    medians: StageResult, recording: Recording, info: ProbeInfo
) -> BinaryRecording | MedianSubtractedRecording:
    """Open a raw spike band less its medians; channels that are not sorted are among its reference channels."""
    cleaned = open_median_subtracted(medians, recording, info)
    cleaned.reference_channels = np.flatnonzero(~sorted_channels(info)).astype(np.int64)
    return cleaned


def sorted_channels(info: ProbeInfo) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return which channels may be sorted: those not masked, up to 150 um above the brain's surface."""
    allowed: np.ndarray[Any, np.dtype[np.bool_]] = info.mask & info.below(ABOVE_SURFACE)
    return allowed
