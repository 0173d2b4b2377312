"""Stage ``mean_waveforms``: the mean waveform of each unit, over the recording and over epochs of it, and its metrics.

Reads the spike band, ``depth_estimation`` and ``double_counted_spikes``; leaves ``mean_waveforms.npy`` and
``waveform_sd.npy`` (uV, units x channels x samples), ``counts.npy``, ``unit_ids.npy`` and ``waveform_metrics.csv``;
the arrays of further epochs in folders of their names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ..pipeline.stage import Stage, StageResult
from ..recording import Recording
from ..spike_band.probe_info import read_probe_info
from ..waveforms import MeanWaveforms, mean_waveforms, waveform_metrics
from .depth_estimation import INFO_FILE
from .double_counted_spikes import read_cleaned_spikes

if TYPE_CHECKING:
    import os

    import pandas as pd

WHOLE_RECORDING: Final = "complete_session"
METRICS_FILE: Final = "waveform_metrics.csv"
_ARRAYS = ("unit_ids", "mean_waveforms", "waveform_sd", "counts")
STAGE: Final = Stage("mean_waveforms", outputs=(*(f"{name}.npy" for name in _ARRAYS), METRICS_FILE))


def run_mean_waveforms(
    recording: Recording,
    folder: str | os.PathLike[str],
    depth: StageResult,
    cleaned: StageResult,
    *,
    inputs: Sequence[str | os.PathLike[str]],
    epochs: Mapping[str, tuple[float, float]] | None = None,
    spikes_per_unit: int = 1000,
    seed: int = 0,
) -> StageResult:
    """Average waveforms and measure them, or reuse what an earlier run left.

    Parameters
    ----------
    recording
        The spike band, medians subtracted (on the way, or on disk).
    folder
        Folder of the probe, which gets the stage's folder.
    depth, cleaned
        The finished stages ``depth_estimation`` and ``double_counted_spikes``.
    inputs
        Files that recording and spikes come from.
    epochs
        Name -> start and stop (s) of epochs to average besides the whole recording.
    spikes_per_unit, seed
        How many spikes are averaged for each unit and epoch, and the seed of their choice.
    """
    averaged: dict[str, tuple[float, float] | None] = {WHOLE_RECORDING: None, **(epochs or {})}

    def work(place: Path) -> dict[str, Any]:
        import pandas as pd

        masked = np.flatnonzero(~read_probe_info(depth.folder / INFO_FILE).mask)
        spikes, tables = read_cleaned_spikes(cleaned.folder), []
        for name, epoch in averaged.items():
            means = mean_waveforms(recording, spikes, epoch=epoch, spikes_per_unit=spikes_per_unit, seed=seed)
            target = place if epoch is None else place / name
            target.mkdir(exist_ok=True)
            for array, values in zip(_ARRAYS, (means.unit_ids, means.mean, means.sd, means.counts), strict=True):
                np.save(target / f"{array}.npy", values)
            table = waveform_metrics(
                means,
                recording.geometry,
                shanks=recording.shanks,
                sampling_rate=recording.sampling_rate,
                masked_channels=masked,
            )
            tables.append(table.rename_axis("cluster_id").assign(epoch_name=name))
        pd.concat(tables).to_csv(place / METRICS_FILE)
        return {"n_units": spikes.n_units, "epochs": list(averaged)}

    return STAGE.run(
        folder,
        work,
        inputs=[*inputs, depth.folder, cleaned.folder],
        parameters={"spikes_per_unit": spikes_per_unit, "epochs": averaged, "seed": seed},
    )


def read_mean_waveforms(folder: Path) -> MeanWaveforms:
    """Read the mean waveforms of the whole recording, from the stage's folder."""
    return MeanWaveforms(*(np.load(folder / f"{name}.npy") for name in _ARRAYS))


def read_waveform_metrics(folder: Path) -> pd.DataFrame:
    """Read the waveform metrics of the whole recording, index ``cluster_id``, from the stage's folder."""
    import pandas as pd

    table = pd.read_csv(folder / METRICS_FILE, index_col="cluster_id")
    return table[table["epoch_name"] == WHOLE_RECORDING].drop(columns="epoch_name")
