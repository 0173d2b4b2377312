"""Stage ``features``: the size of every spike, and its projections on the principal components of nearby channels.

Reads the spike band, ``depth_estimation``, ``double_counted_spikes`` and ``mean_waveforms``; leaves
``pc_features.npy``, ``amplitudes.npy`` (multiples of the unit's mean waveform) and ``sites.npz``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ..pipeline.stage import Stage, StageResult
from ..quality_metrics import SpikeFeatures, spike_features
from ..recording import Recording
from ..spike_band.probe_info import read_probe_info
from .depth_estimation import INFO_FILE
from .double_counted_spikes import read_cleaned_spikes
from .mean_waveforms import read_mean_waveforms

if TYPE_CHECKING:
    import os

PROJECTIONS, AMPLITUDES, SITES = "pc_features.npy", "amplitudes.npy", "sites.npz"
STAGE: Final = Stage("features", outputs=(PROJECTIONS, AMPLITUDES, SITES))


def run_features(
    recording: Recording,
    folder: str | os.PathLike[str],
    depth: StageResult,
    cleaned: StageResult,
    averaged: StageResult,
    *,
    inputs: Sequence[str | os.PathLike[str]],
    seed: int = 0,
) -> StageResult:
    """Describe every spike, or reuse what an earlier run left.

    Parameters
    ----------
    recording
        The spike band, medians subtracted (on the way, or on disk).
    folder
        Folder of the probe, which gets the stage's folder.
    depth, cleaned, averaged
        The finished stages ``depth_estimation``, ``double_counted_spikes`` and ``mean_waveforms``.
    inputs
        Files that recording and spikes come from.
    seed
        Of the spikes from which components are found.
    """

    def work(place: Path) -> dict[str, Any]:
        masked = np.flatnonzero(~read_probe_info(depth.folder / INFO_FILE).mask)
        if masked.size == recording.n_channels:
            # Without a channel there is nothing to project; spikes keep their rows, without sites.
            masked = masked[:0]
        spikes = read_cleaned_spikes(cleaned.folder)
        means = read_mean_waveforms(averaged.folder)
        features = spike_features(
            recording, spikes, means, masked_channels=masked, file=place / PROJECTIONS, seed=seed
        )  # fmt: skip
        np.save(place / AMPLITUDES, features.amplitudes)
        np.savez(
            place / SITES,
            first_sites=features.first_sites,
            channels=features.channels,
            components=features.components,
            places=features.places,
            runs=features.runs,
            shanks=features.shanks,
        )
        return {"n_spikes": len(spikes), "n_sites": features.n_sites}

    sources = [*inputs, depth.folder, cleaned.folder, averaged.folder]
    return STAGE.run(folder, work, inputs=sources, parameters={"seed": seed})


def read_features(folder: Path) -> SpikeFeatures:
    """Read what the stage left, from its folder; projections as a memory map."""
    amplitudes = np.load(folder / AMPLITUDES)
    # An array without rows cannot be mapped.
    projections = np.load(folder / PROJECTIONS, mmap_mode="r" if len(amplitudes) else None)
    with np.load(folder / SITES) as sites:
        return SpikeFeatures(projections[: len(amplitudes)], amplitudes, **sites)
