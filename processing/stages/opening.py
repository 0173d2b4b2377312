"""What measuring units starts from: a probe's spike band, less its medians, and sorted spikes."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from allen_ecephys.errors import MissingDataError

from ..readers.phy import read_phy
from ..readers.raw_folder import open_bands
from ..sorted_spikes import SortedSpikes
from ..sorting.phy_output import DETAILS_FILE
from ..sorting.units.estimates import estimate_units
from ..timeline import Timeline
from ..waveforms.extraction import PRE_SAMPLES, WAVEFORM_SAMPLES

if TYPE_CHECKING:
    import pandas as pd

    from ..readers.phy import PhySorting
    from ..recording import Recording


logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ProbeData:
    """A probe's raw data and its spikes.

    Attributes
    ----------
    recording
        Spike band as recorded.
    lfp
        LFP band, for the brain surface; None where there is none.
    spikes
        Sorted spikes.
    files
        Files and stage folders that all of this was read from.
    labels
        What the sorter, or a person in phy, called each unit: ``good`` or ``mua`` by its refractory period, ``noise``,
        ``unsorted``; empty where nobody called it anything.
    estimates
        What each unit probably is, and its shares of false and missed spikes
        (:data:`~allen_ecephys.nwb.layout.ESTIMATE_COLUMNS`), index cluster id; None where sizes of spikes are not known
        in noise SDs.

    Examples
    --------
    >>> data = open_probe("recording", spikes=recorded.sorted_spikes())
    >>> data.recording.n_channels, data.spikes.n_units
    (32, 6)
    """

    recording: Recording
    lfp: Recording | None
    spikes: SortedSpikes
    files: tuple[Path, ...]
    labels: Mapping[int, str] = field(default_factory=dict)
    estimates: pd.DataFrame | None = None


def open_probe(
    folder: str | os.PathLike[str],
    sorting: str | os.PathLike[str] | None = None,
    *,
    spikes: SortedSpikes | None = None,
    spike_files: Sequence[Path] = (),
    stream: str | None = None,
    allow_cut: bool = False,
    settings: str | os.PathLike[str] | None = None,
    part_number: str | None = None,
) -> ProbeData:
    """Open a probe's raw data (:func:`~allen_ecephys.processing.readers.open_bands`) and its sorted spikes.

    Parameters
    ----------
    folder
        Folder of the raw data, or a file in it.
    sorting
        phy or Kilosort folder with the spikes.
    spikes, spike_files
        Spikes that are known otherwise, and the files that they come from.
    stream, allow_cut, settings, part_number
        As in :func:`~allen_ecephys.processing.readers.open_bands`: which of several probes, whether cut files are
        accepted, and what Open Ephys's files do not say.

    Raises
    ------
    MissingDataError
        If no spikes are named.
    MissingFileError, UnknownNameError, FileFormatError, CorruptFileError, GeometryError
        As :func:`~allen_ecephys.processing.readers.open_bands`.
    SpikeTrainError
        If the spikes do not fit the recording.
    """
    bands = open_bands(folder, stream=stream, allow_cut=allow_cut, settings=settings, part_number=part_number)
    files, labels, estimates = list(spike_files), {}, None
    if sorting is not None:
        files += [p for name in ("spike_times", "spike_clusters") if (p := Path(sorting) / f"{name}.npy").exists()]
        phy = read_phy(sorting, n_samples=bands.spike_band.n_samples)
        spikes, labels = phy.spikes, phy.labels()
        estimates = estimates_of_phy(phy, bands.spike_band)
    if spikes is None:
        msg = f"there are no spikes of {folder} to measure: name a phy or Kilosort folder of spikes"
        raise MissingDataError(msg)
    spikes = spikes_apart_from_gaps(spikes, bands.spike_band.timeline)
    return ProbeData(bands.spike_band, bands.lfp, spikes, (*bands.spike_band.files, *files), labels, estimates)


def estimates_of_phy(phy: PhySorting, recording: Recording) -> pd.DataFrame | None:
    """Estimate the clusters of a phy folder as they are now, curated or not.

    None if this package did not write the folder: others state amplitudes in units of their own.
    """
    if phy.amplitudes is None or not (phy.folder / DETAILS_FILE).exists():
        return None
    spikes = phy.spikes
    table = estimate_units(
        spikes.samples / recording.sampling_rate, spikes.unit_index, phy.amplitudes, spikes.n_units,
        duration=recording.n_samples / recording.sampling_rate,
    )  # fmt: skip
    return table.set_axis(spikes.unit_ids)


def spikes_apart_from_gaps(spikes: SortedSpikes, timeline: Timeline) -> SortedSpikes:
    """Leave out spikes whose waveform a gap of the recording cuts, which is logged: half of it is of another moment."""
    whole = timeline.holds(spikes.samples - PRE_SAMPLES, WAVEFORM_SAMPLES)
    if whole.all():
        return spikes
    logger.warning("%d of %d spikes lie across a gap of the recording and are left out", (~whole).sum(), len(spikes))
    return spikes.keep(whole)
