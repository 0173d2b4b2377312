"""Stage ``units``: one table with everything measured on each unit; and the way there from sorted spikes.

Reads ``double_counted_spikes``, ``mean_waveforms``, ``noise_units`` and ``features``; leaves ``metrics.csv``, one row a
unit: quality, waveform and quality metrics.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from allen_ecephys.errors import InvalidValueError, explains_unknown_names

from ..pipeline.stages import Stage, StageResult
from ..quality_metrics import QualitySettings, quality_metrics
from ..ranges import check_whole
from ..spike_band.median_subtraction import MedianSubtractedRecording
from ..spike_band.probe_info import read_probe_info
from ..timeline import Timeline
from ..unit_cleaning import NoiseThresholds
from . import noise_units
from .depth_estimation import INFO_FILE, run_depth_estimation
from .double_counted_spikes import read_cleaned_spikes, run_double_counted_spikes
from .features import read_features, run_features
from .mean_waveforms import read_waveform_metrics, run_mean_waveforms
from .noise_units import run_noise_units
from .opening import ProbeData

if TYPE_CHECKING:
    import os

    import pandas as pd

TABLE: Final = "metrics.csv"
STAGE: Final = Stage("units", outputs=(TABLE,))


@explains_unknown_names
@dataclass(frozen=True)
class UnitParameters:
    """Parameters of all stages from sorted spikes to measured units; the defaults are those of the release.

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

    def __post_init__(self) -> None:
        """Refuse what no stage could use.

        Raises
        ------
        InvalidValueError
            If the seed is negative, no spike would be averaged, or an epoch does not end after it starts.
        """
        check_whole("seed", self.seed)
        check_whole("the seed of the quality metrics", self.quality.seed)
        check_whole("spikes_per_unit", self.spikes_per_unit, least=1)
        for name, (start, stop) in self.epochs.items():
            if not (0 <= start < stop < float("inf")):
                msg = f"the epoch {name!r} goes from {start} to {stop} s; it must end after it starts, at 0 or later"
                raise InvalidValueError(msg)


def measure_units(
    probe: ProbeData,
    folder: str | os.PathLike[str],
    parameters: UnitParameters | None = None,
    *,
    depth: StageResult | None = None,
) -> pd.DataFrame:
    """Clean and measure sorted units: run all stages, or those whose inputs or parameters changed since the last run.

    Parameters
    ----------
    probe
        Recording and spikes, see :func:`.opening.open_probe`.
    folder
        Folder for the stages' folders.
    parameters
        Of all stages.
    depth
        The stage ``depth_estimation``, where it ran on the raw recording already.

    Returns
    -------
    pandas.DataFrame
        What ``units/metrics.csv`` holds: index ``cluster_id``; ``quality``, ``peak_channel``, waveform metrics, quality
        metrics.
    """
    import pandas as pd

    chosen = parameters or UnitParameters()
    recording, files = probe.recording, probe.files
    looked = depth or run_depth_estimation(recording, folder, lfp=probe.lfp)
    if chosen.subtract_medians:
        recording = MedianSubtractedRecording(recording, read_probe_info(looked.folder / INFO_FILE))
    cleaned = run_double_counted_spikes(recording, probe.spikes, folder, looked, inputs=files, seed=chosen.seed)
    averaged = run_mean_waveforms(
        recording,
        folder,
        looked,
        cleaned,
        inputs=files,
        epochs=chosen.epochs,
        spikes_per_unit=chosen.spikes_per_unit,
        seed=chosen.seed,
    )
    judged = run_noise_units(recording, folder, looked, cleaned, averaged, thresholds=chosen.noise)
    features = run_features(recording, folder, looked, cleaned, averaged, inputs=files, seed=chosen.seed)
    measured = run_unit_metrics(
        folder, cleaned, averaged, judged, features, sampling_rate=recording.sampling_rate, settings=chosen.quality,
        timeline=recording.timeline,
    )  # fmt: skip
    table = pd.read_csv(measured.folder / TABLE, index_col="cluster_id")
    return table.astype({"quality": "str"})


def run_unit_metrics(
    folder: str | os.PathLike[str],
    cleaned: StageResult,
    averaged: StageResult,
    judged: StageResult,
    features: StageResult,
    *,
    sampling_rate: float,
    settings: QualitySettings | None = None,
    timeline: Timeline | None = None,
) -> StageResult:
    """Compute the quality metrics and put everything measured on the units into one table, or reuse it.

    Parameters
    ----------
    folder
        Folder of the probe, which gets the stage's folder.
    cleaned, averaged, judged, features
        The finished stages ``double_counted_spikes``, ``mean_waveforms``, ``noise_units`` and ``features``.
    sampling_rate
        Of the spike band, Hz.
    timeline
        Where the spike band has gaps, by default nowhere.
    """
    gaps = None if timeline is None or not len(timeline.gaps) else {"timeline": timeline.as_facts()}
    chosen = settings or QualitySettings()

    def work(place: Path) -> dict[str, Any]:
        import pandas as pd

        spikes = read_cleaned_spikes(cleaned.folder)
        quality = quality_metrics(
            spikes, read_features(features.folder), sampling_rate=sampling_rate, settings=chosen, timeline=timeline
        )  # fmt: skip
        verdicts = pd.read_csv(judged.folder / noise_units.TABLE, index_col="cluster_id")
        shapes = read_waveform_metrics(averaged.folder)
        table = pd.concat([verdicts["quality"], shapes, quality.rename_axis("cluster_id")], axis=1)
        table.insert(1, "n_spikes", spikes.counts())
        table.to_csv(place / TABLE)
        n_good = int((table["quality"] == "good").sum())
        return {"n_units": len(table), "n_good": n_good, "sampling_rate": sampling_rate, **(gaps or {})}

    sources = [cleaned.folder, averaged.folder, judged.folder, features.folder]
    return STAGE.run(folder, work, inputs=sources, parameters=asdict(chosen) | (gaps or {}))
