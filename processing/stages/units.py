"""From a probe's spike band and its spikes to cleaned, measured units: one folder a stage, resumable.

Stages, each in a folder of its name with a ``stage.json``:

``channels``
    ``probe_info.json``: offsets and mask of channels, brain surface.
``double_counted_spikes``
    ``spike_times.npy``, ``spike_clusters.npy`` (what stays), ``keep.npy``, ``overlap_matrix.npy``.
``mean_waveforms``
    ``mean_waveforms.npy``, ``waveform_sd.npy`` (uV, units x channels x samples), ``counts.npy``, ``unit_ids.npy``,
    ``waveform_metrics.csv``; further epochs in folders of their names.
``noise_units``
    ``noise_units.csv`` (what each rule saw and said), ``cluster_group.tsv``.
``features``
    ``pc_features.npy``, ``amplitudes.npy``, ``sites.npz``.
``units``
    ``metrics.csv``: one row a unit, quality, waveform and quality metrics.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..pipeline.stages import StageResult, run_stage
from ..quality_metrics import QualitySettings, SpikeFeatures, quality_metrics, spike_features
from ..sorted_spikes import SortedSpikes
from ..spike_band.median_subtraction import MedianSubtractedRecording
from ..spike_band.probe_info import read_probe_info
from ..unit_cleaning import NoiseThresholds, find_double_counted_spikes, find_noise_units
from ..unit_cleaning.noise_units import noise_floor_of
from ..waveforms import MeanWaveforms, mean_waveforms, waveform_metrics
from .opening import ProbeData

if TYPE_CHECKING:
    import os

    import pandas as pd
    from numpy.typing import NDArray

    from ..recording import Recording

#: Spikes of each unit from which its peak channel is found before anything is cleaned.
PEAK_SPIKES = 100
INFO_FILE = "probe_info.json"


@dataclass(frozen=True)
class UnitParameters:
    """Parameters of all stages; the defaults are those of the release.

    Attributes
    ----------
    subtract_medians
        Whether the recording still holds what channels digitised together share.
    spikes_per_unit
        Spikes averaged for each unit and epoch.
    epochs
        Name -> start and stop (s) of epochs to average besides the whole recording.
    noise, quality
        Limits of the noise rules, and parameters of the quality metrics.
    seed
        Of all random draws.
    """

    subtract_medians: bool = True
    spikes_per_unit: int = 1000
    epochs: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    noise: NoiseThresholds = field(default_factory=NoiseThresholds)
    quality: QualitySettings = field(default_factory=QualitySettings)
    seed: int = 0


def measure_units(
    probe: ProbeData, folder: str | os.PathLike[str], parameters: UnitParameters | None = None
) -> pd.DataFrame:
    """Run all stages, or those whose inputs or parameters changed since the last run.

    Parameters
    ----------
    probe
        Recording and spikes, see :func:`.unit_inputs.open_probe`.
    folder
        Folder for the stages' folders.
    parameters
        Of all stages.

    Returns
    -------
    pandas.DataFrame
        What ``units/metrics.csv`` holds: index ``cluster_id``; ``quality``, ``peak_channel``, waveform metrics, quality
        metrics.
    """
    import pandas as pd

    run = _Run(probe, Path(folder), parameters or UnitParameters())
    result = run.units()
    table = pd.read_csv(result.folder / "metrics.csv", index_col="cluster_id")
    return table.astype({"quality": "str"})


class _Run:
    """One run over a probe: what the stages share."""

    def __init__(self, probe: ProbeData, folder: Path, parameters: UnitParameters) -> None:
        self.probe, self.folder, self.parameters = probe, folder, parameters
        self.rate = probe.recording.sampling_rate

    def channels(self) -> StageResult:
        """Look at the channels."""

        def work(place: Path) -> dict[str, Any]:
            info = self.probe.look()
            info.save(place / INFO_FILE, self.probe.recording.geometry)
            masked = np.flatnonzero(~info.mask)
            return {"masked_channels": masked.tolist(), "surface_channel": info.surface_channel}

        return run_stage(self.folder, "channels", work, inputs=self.probe.files, parameters={})

    def recording(self, channels: StageResult) -> tuple[Recording, NDArray[np.int64]]:
        """Return the recording to measure, and its masked channels."""
        info = read_probe_info(channels.folder / INFO_FILE)
        masked = np.flatnonzero(~info.mask).astype(np.int64)
        if not self.parameters.subtract_medians:
            return self.probe.recording, masked
        return MedianSubtractedRecording(self.probe.recording, info), masked

    def double_counted(self, channels: StageResult) -> StageResult:
        """Remove spikes counted twice."""
        seed, medians = self.parameters.seed, self.parameters.subtract_medians

        def work(place: Path) -> dict[str, Any]:
            recording, masked = self.recording(channels)
            spikes = self.probe.spikes
            first_look = mean_waveforms(recording, spikes, spikes_per_unit=PEAK_SPIKES, seed=seed)
            peaks = waveform_metrics(first_look, recording.geometry, masked_channels=masked)["peak_channel"]
            found = find_double_counted_spikes(spikes, peaks.to_numpy(), sampling_rate=self.rate)
            kept = spikes.keep(found.keep)
            _save(place, spike_times=kept.samples, spike_clusters=kept.units, keep=found.keep, unit_ids=kept.unit_ids)
            _save(place, overlap_matrix=found.overlap, overlap_units=found.unit_ids)
            within = int(np.trace(found.overlap))
            return {"n_spikes": len(spikes), "n_removed": int((~found.keep).sum()), "n_removed_within_units": within}

        return run_stage(
            self.folder,
            "double_counted_spikes",
            work,
            inputs=[*self.probe.files, channels.folder],
            parameters={"seed": seed, "subtract_medians": medians},
        )

    def waveforms(self, channels: StageResult, cleaned: StageResult) -> StageResult:
        """Average waveforms and measure them."""
        chosen = self.parameters
        epochs: dict[str, tuple[float, float] | None] = {"complete_session": None, **chosen.epochs}

        def work(place: Path) -> dict[str, Any]:
            import pandas as pd

            recording, masked = self.recording(channels)
            spikes, tables = read_cleaned_spikes(cleaned.folder), []
            for name, epoch in epochs.items():
                means = mean_waveforms(
                    recording, spikes, epoch=epoch, spikes_per_unit=chosen.spikes_per_unit, seed=chosen.seed
                )
                target = place if epoch is None else place / name
                target.mkdir(exist_ok=True)
                _save(
                    target,
                    mean_waveforms=means.mean,
                    waveform_sd=means.sd,
                    counts=means.counts,
                    unit_ids=means.unit_ids,
                )
                table = waveform_metrics(means, recording.geometry, sampling_rate=self.rate, masked_channels=masked)
                tables.append(table.rename_axis("cluster_id").assign(epoch_name=name))
            pd.concat(tables).to_csv(place / "waveform_metrics.csv")
            return {"n_units": spikes.n_units, "epochs": list(epochs)}

        return run_stage(
            self.folder,
            "mean_waveforms",
            work,
            inputs=[*self.probe.files, channels.folder, cleaned.folder],
            parameters={"spikes_per_unit": chosen.spikes_per_unit, "epochs": epochs, "seed": chosen.seed},
        )

    def noise(self, channels: StageResult, cleaned: StageResult, averaged: StageResult) -> StageResult:
        """Call units good or noise."""

        def work(place: Path) -> dict[str, Any]:
            info = read_probe_info(channels.folder / INFO_FILE)
            means = read_mean_waveforms(averaged.folder)
            table = find_noise_units(
                means.mean,
                self.probe.recording.geometry,
                read_cleaned_spikes(cleaned.folder),
                snr=read_waveform_metrics(averaged.folder)["snr"],
                duration=self.probe.recording.n_samples / self.rate,
                sampling_rate=self.rate,
                masked_channels=np.flatnonzero(~info.mask),
                noise_floor=noise_floor_of(means.sd, means.counts),
                thresholds=self.parameters.noise,
            )
            table.rename_axis("cluster_id").to_csv(place / "noise_units.csv")
            groups = table["quality"].rename("group").rename_axis("cluster_id")
            groups.to_csv(place / "cluster_group.tsv", sep="\t")
            return {"n_good": int((groups == "good").sum()), "n_noise": int((groups == "noise").sum())}

        return run_stage(
            self.folder,
            "noise_units",
            work,
            inputs=[channels.folder, cleaned.folder, averaged.folder],
            parameters=asdict(self.parameters.noise),
        )

    def features(self, channels: StageResult, cleaned: StageResult, averaged: StageResult) -> StageResult:
        """Describe every spike."""

        def work(place: Path) -> dict[str, Any]:
            recording, masked = self.recording(channels)
            spikes = read_cleaned_spikes(cleaned.folder)
            means = read_mean_waveforms(averaged.folder)
            if masked.size == recording.n_channels:
                # Without a channel there is nothing to project; spikes keep their rows, without sites.
                masked = masked[:0]
            features = spike_features(
                recording,
                spikes,
                means,
                masked_channels=masked,
                file=place / "pc_features.npy",
                seed=self.parameters.seed,
            )
            np.save(place / "amplitudes.npy", features.amplitudes)
            np.savez(
                place / "sites.npz",
                first_sites=features.first_sites,
                channels=features.channels,
                components=features.components,
            )
            return {"n_spikes": len(spikes), "n_sites": features.n_sites}

        return run_stage(
            self.folder,
            "features",
            work,
            inputs=[*self.probe.files, channels.folder, cleaned.folder, averaged.folder],
            parameters={"seed": self.parameters.seed},
        )

    def units(self) -> StageResult:
        """Run everything, and put all metrics into one table."""
        channels = self.channels()
        cleaned = self.double_counted(channels)
        averaged = self.waveforms(channels, cleaned)
        noise = self.noise(channels, cleaned, averaged)
        features = self.features(channels, cleaned, averaged)

        def work(place: Path) -> dict[str, Any]:
            import pandas as pd

            spikes = read_cleaned_spikes(cleaned.folder)
            quality = quality_metrics(
                spikes, read_features(features.folder), sampling_rate=self.rate, settings=self.parameters.quality
            )
            verdicts = pd.read_csv(noise.folder / "noise_units.csv", index_col="cluster_id")
            shapes = read_waveform_metrics(averaged.folder)
            table = pd.concat([verdicts["quality"], shapes, quality.rename_axis("cluster_id")], axis=1)
            table.insert(1, "n_spikes", spikes.counts())
            table.to_csv(place / "metrics.csv")
            n_good = int((table["quality"] == "good").sum())
            return {"n_units": len(table), "n_good": n_good, "sampling_rate": self.rate}

        return run_stage(
            self.folder,
            "units",
            work,
            inputs=[cleaned.folder, averaged.folder, noise.folder, features.folder],
            parameters=asdict(self.parameters.quality),
        )


def read_cleaned_spikes(folder: Path) -> SortedSpikes:
    """Read the spikes that the stage ``double_counted_spikes`` left."""
    times, units, ids = (np.load(folder / f"{n}.npy") for n in ("spike_times", "spike_clusters", "unit_ids"))
    return SortedSpikes.from_arrays(times, units, unit_ids=ids)


def read_mean_waveforms(folder: Path) -> MeanWaveforms:
    """Read the stage ``mean_waveforms``, means and SDs as memory maps."""
    return MeanWaveforms(
        np.load(folder / "unit_ids.npy"),
        np.load(folder / "mean_waveforms.npy"),
        np.load(folder / "waveform_sd.npy"),
        np.load(folder / "counts.npy"),
    )


def read_waveform_metrics(folder: Path) -> pd.DataFrame:
    """Read the waveform metrics of the whole recording, index ``cluster_id``."""
    import pandas as pd

    table = pd.read_csv(folder / "waveform_metrics.csv", index_col="cluster_id")
    return table[table["epoch_name"] == "complete_session"].drop(columns="epoch_name")


def read_features(folder: Path) -> SpikeFeatures:
    """Read the stage ``features``, projections as a memory map."""
    pcs = np.load(folder / "pc_features.npy")[:0] if _is_empty(folder) else np.load(
        folder / "pc_features.npy", mmap_mode="r"
    )  # fmt: skip
    with np.load(folder / "sites.npz") as sites:
        return SpikeFeatures(
            pcs, np.load(folder / "amplitudes.npy"), sites["first_sites"], sites["channels"], sites["components"]
        )


def _is_empty(folder: Path) -> bool:
    """Tell whether no spike was described: an array without rows cannot be mapped."""
    manifest = json.loads((folder / "stage.json").read_text(encoding="utf-8"))
    return bool(manifest["report"]["n_spikes"] == 0)


def _save(folder: Path, **arrays: NDArray[Any]) -> None:
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
