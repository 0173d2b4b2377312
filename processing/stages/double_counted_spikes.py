"""Stage ``double_counted_spikes``: the sorted spikes less those that were counted twice.

Reads the spike band, the sorted spikes and ``depth_estimation``; leaves ``spike_times.npy``, ``spike_clusters.npy``
(what stays), ``unit_ids.npy``, ``keep.npy``, ``overlap_matrix.npy`` and ``overlap_units.npy``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ..pipeline.stage import Stage, StageResult
from ..recording import Recording
from ..sorted_spikes import SortedSpikes
from ..spike_band.median_subtraction import MedianSubtractedRecording
from ..spike_band.probe_info import read_probe_info
from ..unit_cleaning import find_double_counted_spikes
from ..waveforms import mean_waveforms, waveform_metrics
from .depth_estimation import INFO_FILE

if TYPE_CHECKING:
    import os

_ARRAYS = ("spike_times", "spike_clusters", "unit_ids", "keep", "overlap_matrix", "overlap_units")
STAGE: Final = Stage("double_counted_spikes", outputs=tuple(f"{name}.npy" for name in _ARRAYS))
#: Spikes of each unit from which its peak channel is found before anything is cleaned.
PEAK_SPIKES: Final = 100


def run_double_counted_spikes(
    recording: Recording,
    spikes: SortedSpikes,
    folder: str | os.PathLike[str],
    depth: StageResult,
    *,
    inputs: Sequence[str | os.PathLike[str]],
    seed: int = 0,
) -> StageResult:
    """Remove spikes counted twice, or reuse what an earlier run left.

    Parameters
    ----------
    recording
        The spike band, medians subtracted (on the way, or on disk).
    spikes
        As sorted.
    folder
        Folder of the probe, which gets the stage's folder.
    depth
        The finished stage ``depth_estimation``.
    inputs
        Files that recording and spikes come from.
    seed
        Of the spikes from which peak channels are found.
    """

    def work(place: Path) -> dict[str, Any]:
        masked = np.flatnonzero(~read_probe_info(depth.folder / INFO_FILE).mask)
        first_look = mean_waveforms(recording, spikes, spikes_per_unit=PEAK_SPIKES, seed=seed)
        peaks = waveform_metrics(first_look, recording.geometry, shanks=recording.shanks, masked_channels=masked)[
            "peak_channel"
        ]
        found = find_double_counted_spikes(
            spikes,
            peaks.to_numpy(),
            recording.geometry,
            shanks=recording.shanks,
            sampling_rate=recording.sampling_rate,
        )
        kept = spikes.keep(found.keep)
        arrays = (kept.samples, kept.units, kept.unit_ids, found.keep, found.overlap, found.unit_ids)
        for name, array in zip(_ARRAYS, arrays, strict=True):
            np.save(place / f"{name}.npy", array)
        within = int(np.trace(found.overlap))
        return {"n_spikes": len(spikes), "n_removed": int((~found.keep).sum()), "n_removed_within_units": within}

    parameters = {"seed": seed, "subtract_medians": isinstance(recording, MedianSubtractedRecording)}
    return STAGE.run(folder, work, inputs=[*inputs, depth.folder], parameters=parameters)


def read_cleaned_spikes(folder: Path) -> SortedSpikes:
    """Read what stayed, from the stage's folder."""
    times, units, ids = (np.load(folder / f"{name}.npy") for name in ("spike_times", "spike_clusters", "unit_ids"))
    return SortedSpikes.from_arrays(times, units, unit_ids=ids)
