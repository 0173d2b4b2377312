"""What measuring units starts from: a probe's spike band, less its medians, and sorted spikes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from allen_ecephys.errors import MissingDataError

from ..sorted_spikes import SortedSpikes

if TYPE_CHECKING:
    from ..recording import Recording


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
    """

    recording: Recording
    lfp: Recording | None
    spikes: SortedSpikes
    files: tuple[Path, ...]


def open_probe(folder: str | os.PathLike[str], sorting: str | os.PathLike[str] | None = None) -> ProbeData:
    """Open a probe's folder: a simulated one, or one that Open Ephys or SpikeGLX wrote.

    Parameters
    ----------
    folder
        Folder of the raw data, or a SpikeGLX ``.bin`` file.
    sorting
        phy or Kilosort folder with the spikes. Default: the ground truth of a simulated recording.

    Raises
    ------
    MissingDataError
        If no spikes were named and the folder has no ground truth, or it holds no recording.
    SpikeTrainError
        If the spikes do not fit the recording.
    """
    from ..readers.phy import read_phy
    from ..simulation.raw.recording import TRUTH_FILE, read_ground_truth

    place = Path(folder)
    truth = read_ground_truth(place) if (place / TRUTH_FILE).exists() else None
    if truth is not None:
        recording: Any = truth.recording()
        lfp: Any = truth.recording("lfp") if _has_lfp(truth) else None
    else:
        recording, lfp = _open_recorded(place)
    if sorting is not None:
        files = [p for name in ("spike_times", "spike_clusters") if (p := Path(sorting) / f"{name}.npy").exists()]
        spikes = read_phy(sorting, n_samples=recording.n_samples).spikes
    elif truth is not None:
        files = [place / TRUTH_FILE]
        spikes = SortedSpikes.from_arrays(
            truth.spike_times, truth.spike_units, unit_ids=truth.units.index, n_samples=recording.n_samples
        )
    else:
        msg = (
            f"{place} holds no {TRUTH_FILE}, so there are no spikes to measure: name a phy or Kilosort folder of spikes"
        )
        raise MissingDataError(msg)
    return ProbeData(recording, lfp, spikes, (Path(recording.path), *files))


def _has_lfp(truth: Any) -> bool:
    from ..simulation.raw.formats import raw_form

    return bool((truth.folder / raw_form(truth.form).lfp_file).is_file())


def _open_recorded(place: Path) -> tuple[Any, Any]:
    """Open spike band and LFP of a folder by what lies in it."""
    from ..readers.open_ephys import open_ephys_streams, open_open_ephys
    from ..readers.spikeglx import open_spikeglx

    if place.suffix == ".bin":
        lfp_file = place.with_name(place.name.replace(".ap.", ".lf."))
        has_lfp = lfp_file != place and lfp_file.exists()
        return open_spikeglx(place), open_spikeglx(lfp_file) if has_lfp else None
    if place.is_dir() and any(place.rglob("*.ap.meta")):
        has_lfp = any(place.rglob("*.lf.bin"))
        return open_spikeglx(place, band="ap"), open_spikeglx(place, band="lf") if has_lfp else None
    if place.is_dir() and (any(place.rglob("structure.oebin")) or any(place.rglob("continuous.dat"))):
        has_lfp = any(stream.band == "lfp" for stream in open_ephys_streams(place))
        return open_open_ephys(place, band="ap"), open_open_ephys(place, band="lfp") if has_lfp else None
    msg = f"{place} holds no recording of Open Ephys (continuous.dat) or SpikeGLX (.ap.bin with .ap.meta)"
    raise MissingDataError(msg)
