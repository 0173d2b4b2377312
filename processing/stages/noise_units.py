"""Stage ``noise_units``: which units are no neurons.

Reads ``depth_estimation``, ``double_counted_spikes`` and ``mean_waveforms``; leaves ``noise_units.csv`` (what each rule
saw and said) and ``cluster_group.tsv``.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ..pipeline.stage import Stage, StageResult
from ..recording import Recording
from ..spike_band.probe_info import read_probe_info
from ..unit_cleaning import NoiseThresholds, find_noise_units
from ..unit_cleaning.noise_units import noise_floor_of
from .depth_estimation import INFO_FILE
from .double_counted_spikes import read_cleaned_spikes
from .mean_waveforms import read_mean_waveforms, read_waveform_metrics

if TYPE_CHECKING:
    import os

TABLE, GROUPS = "noise_units.csv", "cluster_group.tsv"
STAGE: Final = Stage("noise_units", outputs=(TABLE, GROUPS))


def run_noise_units(
    recording: Recording,
    folder: str | os.PathLike[str],
    depth: StageResult,
    cleaned: StageResult,
    averaged: StageResult,
    *,
    thresholds: NoiseThresholds | None = None,
) -> StageResult:
    """Call each unit good or noise, or reuse what an earlier run said.

    Parameters
    ----------
    recording
        The spike band, for its channel positions, rate and length.
    folder
        Folder of the probe, which gets the stage's folder.
    depth, cleaned, averaged
        The finished stages ``depth_estimation``, ``double_counted_spikes`` and ``mean_waveforms``.
    """
    limits = thresholds or NoiseThresholds()

    def work(place: Path) -> dict[str, Any]:
        info = read_probe_info(depth.folder / INFO_FILE)
        means = read_mean_waveforms(averaged.folder)
        table = find_noise_units(
            means.mean,
            recording.geometry,
            read_cleaned_spikes(cleaned.folder),
            snr=read_waveform_metrics(averaged.folder)["snr"],
            duration=recording.n_samples / recording.sampling_rate,
            shanks=recording.shanks,
            sampling_rate=recording.sampling_rate,
            masked_channels=np.flatnonzero(~info.mask),
            noise_floor=noise_floor_of(means.sd, means.counts),
            thresholds=limits,
        )
        table.rename_axis("cluster_id").to_csv(place / TABLE)
        groups = table["quality"].rename("group").rename_axis("cluster_id")
        groups.to_csv(place / GROUPS, sep="\t")
        return {"n_good": int((groups == "good").sum()), "n_noise": int((groups == "noise").sum())}

    sources = [depth.folder, cleaned.folder, averaged.folder]
    return STAGE.run(folder, work, inputs=sources, parameters=asdict(limits))
