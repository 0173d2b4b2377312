"""Stage ``units``: one table with everything measured on each unit; and the way there from sorted spikes.

Reads ``double_counted_spikes``, ``mean_waveforms``, ``noise_units`` and ``features``; leaves ``metrics.csv``, one row a
unit: three judgements, waveform and quality metrics; and ``good_periods.csv``, when each unit is to be trusted.

The three judgements answer three questions, and a unit may pass any of them alone:

``sorting_label``
    Is it one neuron, by its refractory period? ``good`` or ``mua`` as Kilosort decides, or what phy's user said.
``quality``
    Is it a spike at all, by its mean waveform? ``good`` or ``noise``, with ``noise_reasons``: the release's rules.
``fails_bounds``
    Is it whole and clean enough? The bounds of the default unit filter that it fails, by the quality metrics' names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from allen_ecephys.errors import InvalidValueError, explains_unknown_names
from allen_ecephys.units.filter import UnitFilter

from ..pipeline.stage import Stage, StageResult
from ..quality_metrics import QualitySettings, good_periods, quality_metrics
from ..ranges import check_whole
from ..recording import Recording
from ..spike_band.median_subtraction import MedianSubtractedRecording
from ..spike_band.probe_info import read_probe_info
from ..timeline import Timeline
from ..unit_cleaning import NoiseThresholds
from . import double_counted_spikes, features, mean_waveforms, noise_units
from .depth_estimation import INFO_FILE, run_depth_estimation
from .double_counted_spikes import read_cleaned_spikes
from .features import read_features
from .mean_waveforms import read_waveform_metrics
from .opening import ProbeData

if TYPE_CHECKING:
    import os

    import pandas as pd
    from numpy.typing import NDArray

TABLE: Final = "metrics.csv"
PERIODS: Final = "good_periods.csv"
STAGE: Final = Stage("units", outputs=(TABLE, PERIODS))
#: The stages from sorted spikes to here, in the order in which they run.
UNIT_STAGES: Final = ("double_counted_spikes", "mean_waveforms", "noise_units", "features", STAGE.name)
#: Columns of the table that hold text, empty where there is nothing to say.
TEXTS: Final = ("sorting_label", "quality", "noise_reasons", "fails_bounds", "kind")


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

    Examples
    --------
    >>> UnitParameters(epochs={"first_half": (0.0, 3.0)}, spikes_per_unit=500).epochs
    {'first_half': (0.0, 3.0)}
    >>> UnitParameters(epochs={"backwards": (3.0, 0.0)})
    Traceback (most recent call last):
        ...
    allen_ecephys.errors.InvalidValueError: the epoch 'backwards' goes from 3.0 to 0.0 s; it...
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
    overwrite: bool = False,
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
    overwrite
        Whether what the folder holds of another recording may be replaced.

    Returns
    -------
    pandas.DataFrame
        What ``units/metrics.csv`` holds: index ``cluster_id``; the three judgements (``sorting_label``, ``quality``
        with ``noise_reasons``, ``fails_bounds``), ``too_few_spikes``, ``n_spikes``, ``good_seconds`` (how long the unit
        is to be trusted; ``units/good_periods.csv`` says when), the estimates of what a sorting of this package holds
        (:data:`~allen_ecephys.nwb.layout.ESTIMATE_COLUMNS`), ``peak_channel``, waveform metrics, quality metrics.

    Raises
    ------
    AlreadyPresentError
        If the folder holds the results of another recording.
    """
    chosen = parameters or UnitParameters()
    recording = probe.recording
    looked = depth or run_depth_estimation(recording, folder, lfp=probe.lfp, overwrite=overwrite)
    if chosen.subtract_medians:
        recording = MedianSubtractedRecording(recording, read_probe_info(looked.folder / INFO_FILE))
    steps = UnitSteps(probe, recording, Path(folder), chosen, looked)
    for stage in UNIT_STAGES:
        measured = steps.run(stage)
    return read_unit_table(measured.folder / TABLE)


@dataclass(frozen=True, eq=False)
class UnitSteps:
    """The stages from sorted spikes to measured units, one by one; each reads what earlier ones left in the folder.

    Attributes
    ----------
    probe
        Spikes, and the files that they come from.
    recording
        The spike band less its medians.
    folder
        Of the probe's stages.
    parameters
        Of all stages.
    depth
        The stage ``depth_estimation``.
    """

    probe: ProbeData
    recording: Recording
    folder: Path
    parameters: UnitParameters
    depth: StageResult

    def run(self, stage: str) -> StageResult:
        """Run the stage of that name, one of `UNIT_STAGES`, or reuse what it left."""
        step: Callable[[], StageResult] = getattr(self, f"_{stage}")
        return step()

    @property
    def _cleaned(self) -> StageResult:
        return double_counted_spikes.STAGE.finished(self.folder)

    @property
    def _averaged(self) -> StageResult:
        return mean_waveforms.STAGE.finished(self.folder)

    def _double_counted_spikes(self) -> StageResult:
        return double_counted_spikes.run_double_counted_spikes(
            self.recording, self.probe.spikes, self.folder, self.depth, inputs=self.probe.files,
            seed=self.parameters.seed,
        )  # fmt: skip

    def _mean_waveforms(self) -> StageResult:
        chosen = self.parameters
        return mean_waveforms.run_mean_waveforms(
            self.recording, self.folder, self.depth, self._cleaned, inputs=self.probe.files, epochs=chosen.epochs,
            spikes_per_unit=chosen.spikes_per_unit, seed=chosen.seed,
        )  # fmt: skip

    def _noise_units(self) -> StageResult:
        return noise_units.run_noise_units(
            self.recording, self.folder, self.depth, self._cleaned, self._averaged, thresholds=self.parameters.noise
        )

    def _features(self) -> StageResult:
        return features.run_features(
            self.recording, self.folder, self.depth, self._cleaned, self._averaged, inputs=self.probe.files,
            seed=self.parameters.seed,
        )  # fmt: skip

    def _units(self) -> StageResult:
        recording = self.recording
        return run_unit_metrics(
            self.folder, self._cleaned, self._averaged, noise_units.STAGE.finished(self.folder),
            features.STAGE.finished(self.folder), sampling_rate=recording.sampling_rate,
            settings=self.parameters.quality, duration=recording.n_samples / recording.sampling_rate,
            timeline=recording.timeline, labels=self.probe.labels, estimates=self.probe.estimates,
        )  # fmt: skip


def read_unit_table(file: Path) -> pd.DataFrame:
    """Read a table that the stage left; texts are texts, empty ones too."""
    import pandas as pd

    table = pd.read_csv(file, index_col="cluster_id")
    texts = [name for name in TEXTS if name in table]
    return (
        table.astype(dict.fromkeys(texts, "object"))
        .fillna(dict.fromkeys(texts, ""))
        .astype(dict.fromkeys(texts, "str"))
    )


def run_unit_metrics(
    folder: str | os.PathLike[str],
    cleaned: StageResult,
    averaged: StageResult,
    judged: StageResult,
    features: StageResult,
    *,
    sampling_rate: float,
    duration: float,
    settings: QualitySettings | None = None,
    timeline: Timeline | None = None,
    labels: Mapping[int, str] | None = None,
    estimates: pd.DataFrame | None = None,
) -> StageResult:
    """Compute the quality metrics and put everything measured on the units into one table, or reuse it.

    Parameters
    ----------
    folder
        Folder of the probe, which gets the stage's folder.
    cleaned, averaged, judged, features
        The finished stages ``double_counted_spikes``, ``mean_waveforms``, ``noise_units`` and ``features``.
    sampling_rate, duration
        Of the spike band, Hz and s.
    timeline
        Where the spike band has gaps, by default nowhere.
    labels
        What the sorter or phy's user called each unit.
    estimates
        What each unit probably is, and its shares of false and missed spikes, index cluster id.
    """
    gaps = None if timeline is None or not len(timeline.gaps) else {"timeline": timeline.as_facts()}
    chosen, called = settings or QualitySettings(), {str(unit): label for unit, label in (labels or {}).items()}

    def work(place: Path) -> dict[str, Any]:
        import pandas as pd

        spikes, described = read_cleaned_spikes(cleaned.folder), read_features(features.folder)
        quality = quality_metrics(
            spikes, described, sampling_rate=sampling_rate, settings=chosen, timeline=timeline
        )  # fmt: skip
        verdicts = pd.read_csv(judged.folder / noise_units.TABLE, index_col="cluster_id")
        shapes = read_waveform_metrics(averaged.folder)
        periods = good_periods(
            spikes, described.amplitudes, sampling_rate=sampling_rate, duration=duration,
            isi_threshold=chosen.isi_threshold, min_isi=chosen.min_isi,
        )  # fmt: skip
        judgements = pd.DataFrame(
            {
                "sorting_label": [called.get(str(unit), "") for unit in verdicts.index],
                "quality": verdicts["quality"],
                "noise_reasons": verdicts["reasons"],
                "fails_bounds": failed_bounds(quality),
                "too_few_spikes": verdicts["too_few_spikes"],
                "n_spikes": spikes.counts(),
                "good_seconds": seconds_of(periods, spikes.unit_ids),
            },
            index=verdicts.index,
        )
        estimated = [] if estimates is None else [estimates.reindex(verdicts.index)]
        table = pd.concat([judgements, *estimated, shapes, quality.rename_axis("cluster_id")], axis=1)
        table.to_csv(place / TABLE)
        periods.rename(columns={"unit_id": "cluster_id"}).to_csv(place / PERIODS, index=False)
        n_good = int((table["quality"] == "good").sum())
        return {"n_units": len(table), "n_good": n_good, "sampling_rate": sampling_rate, **(gaps or {})}

    sources = [cleaned.folder, averaged.folder, judged.folder, features.folder]
    parameters = asdict(chosen) | {"duration": duration, "labels": called} | (gaps or {})
    if estimates is not None:
        parameters |= {"estimates": sha256(estimates.to_csv().encode()).hexdigest()}
    return STAGE.run(folder, work, inputs=sources, parameters=parameters)


def failed_bounds(quality: pd.DataFrame) -> list[str]:
    """Return for each unit the bounds of the default unit filter that its metrics fail, separated by commas."""
    bounds = UnitFilter(valid_only=False, in_brain_only=False).failures(quality)
    failed = np.column_stack([*bounds.values()])
    names = np.array([name.rsplit("_", 1)[0] for name in bounds])
    return [",".join(names[row]) for row in failed]


def seconds_of(periods: pd.DataFrame, unit_ids: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return how long the periods of each unit are together, s."""
    lengths = (periods["stop_time"] - periods["start_time"]).groupby(periods["unit_id"]).sum()
    return lengths.reindex(unit_ids, fill_value=0.0).to_numpy(np.float64)
