"""A session's stages, one by one: what each reads, and how it runs when only files tell what came before.

=========================  ====================================================================================
of each probe              ``depth_estimation``, ``median_subtraction``, ``sorting``, ``double_counted_spikes``,
                           ``mean_waveforms``, ``noise_units``, ``features``, ``units``, ``lfp``
of the session             ``whole_session``, ``stimulus_metrics``
=========================  ====================================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Final

from allen_ecephys.errors import UnknownNameError

from ..packaging.session_description import ProbeDescription, SessionDescription
from ..pipeline.digests import notes_in
from ..pipeline.stage import StageResult, input_files
from ..pipeline.tasks import Task
from ..readers.binary import BinaryRecording
from ..readers.raw_folder import RawBands, open_bands
from ..spike_band.median_subtraction import MedianSubtractedRecording
from ..spike_band.probe_info import ProbeInfo, read_probe_info
from . import depth_estimation, median_subtraction, probe_lfp, sorting, stimulus_metrics, whole_session
from .probe import SortedProbe, recording_to_sort
from .session import SESSION_FILE
from .session_file import SessionFile
from .session_lfp import run_session_lfp
from .units import UNIT_STAGES, UnitSteps

#: Stages of a probe -> those whose results they read.
OF_A_PROBE: Final[dict[str, tuple[str, ...]]] = {
    "depth_estimation": (),
    "median_subtraction": ("depth_estimation",),
    "sorting": ("depth_estimation", "median_subtraction"),
    "double_counted_spikes": ("depth_estimation", "median_subtraction", "sorting"),
    "mean_waveforms": ("depth_estimation", "median_subtraction", "double_counted_spikes"),
    "noise_units": ("depth_estimation", "double_counted_spikes", "mean_waveforms"),
    "features": ("depth_estimation", "median_subtraction", "double_counted_spikes", "mean_waveforms"),
    "units": ("double_counted_spikes", "mean_waveforms", "noise_units", "features"),
    "lfp": ("depth_estimation",),
}
#: Of the session: the first reads what every probe's stages left.
OF_A_SESSION: Final = (whole_session.STAGE.name, stimulus_metrics.STAGE.name)


def session_tasks(session: SessionFile) -> list[Task]:
    """Return every stage of every probe of a session, and of the session, as tasks."""
    name = str(session.told.metadata.session_id)
    tasks = []
    reads = _named_paths(session.told)
    stages = stages_of_a_probe(session)
    for probe in session.told.probes:
        for stage, after in stages.items():
            keys = tuple(f"{name}/{probe.name}/{earlier}" for earlier in after)
            place = session.output / probe.name
            run = _step(session, probe.name, stage)
            tasks.append(Task(name, probe.name, stage, place, session.output, keys, run, reads=reads))
    # Behind all others, so that a worker takes them when none of the stages on the way to the units is to be done.
    tasks.sort(key=lambda task: task.stage == probe_lfp.STAGE.name)
    before = tuple(f"{name}/{probe.name}/{stage}" for probe in session.told.probes for stage in stages)
    for stage in OF_A_SESSION:
        run = _step(session, "", stage)
        tasks.append(Task(name, "", stage, session.output, session.output, before, run, reads=reads))
        before = (f"{name}/{stage}",)
    return tasks


def _named_paths(told: SessionDescription) -> tuple[Path, ...]:
    """Return the files and folders that a session's description names."""
    named = [value for part in (told, *told.probes) for value in vars(part).values() if isinstance(value, Path)]
    return tuple(dict.fromkeys(named))


def stages_of_a_probe(session: SessionFile) -> dict[str, tuple[str, ...]]:
    """Return the stages that each probe of a session goes through -> those whose results they read."""
    return {name: after for name, after in OF_A_PROBE.items() if session.parameters.lfp or name != probe_lfp.STAGE.name}


def _step(session: SessionFile, probe: str, stage: str) -> Callable[[], StageResult]:
    return partial(run_step, session, probe, stage)


def run_step(session: SessionFile, probe: str, stage: str) -> StageResult:
    """Run one stage of a session's probe, or of the session where `probe` is empty; what it reads must be there.

    Raises
    ------
    StageError
        If what it reads is not there.
    UnknownNameError
        If there is no such probe or stage.
    """
    with notes_in(session.output):
        if not probe:
            return _run_of_session(session, stage)
        described = next((one for one in session.told.probes if one.name == probe), None)
        if described is None or stage not in OF_A_PROBE:
            msg = f"{session.path} has no probe {probe!r} with a stage {stage!r}"
            raise UnknownNameError(msg)
        return ProbeSteps(session, described).run(stage)


def _run_of_session(session: SessionFile, stage: str) -> StageResult:
    if stage == whole_session.STAGE.name:
        folders = {probe.name: session.output / probe.name for probe in session.told.probes}
        with_lfp = folders if session.parameters.lfp else {}
        lfp = {name: probe_lfp.STAGE.finished(folder) for name, folder in with_lfp.items()}
        return whole_session.package_session(session.told, folders, session.output, lfp)
    if stage == stimulus_metrics.STAGE.name:
        path = whole_session.STAGE.file(session.output, SESSION_FILE)
        chosen = session.parameters.stimulus_metrics
        return stimulus_metrics.run_stimulus_metrics(path, session.output, **chosen)
    msg = f"a session has no stage {stage!r}"
    raise UnknownNameError(msg)


@dataclass(frozen=True)
class ProbeSteps:
    """The stages of one probe of a session; each opens what earlier ones left.

    Attributes
    ----------
    session, probe
        What is processed.
    """

    session: SessionFile
    probe: ProbeDescription

    @property
    def folder(self) -> Path:
        """Folder of the probe's stages."""
        return self.session.output / self.probe.name

    @cached_property
    def bands(self) -> RawBands:
        """The raw data."""
        return open_bands(self.probe.recording, **self.probe.opened_with)

    def run(self, stage: str) -> StageResult:
        """Run the stage of that name, or reuse what it left."""
        if stage in UNIT_STAGES:
            return self._unit_steps.run(stage)
        step: Callable[[], StageResult] = getattr(self, f"_{stage}")
        return step()

    @property
    def _depth(self) -> StageResult:
        return depth_estimation.STAGE.finished(self.folder)

    @cached_property
    def _to_sort(self) -> tuple[StageResult, ProbeInfo, BinaryRecording | MedianSubtractedRecording]:
        medians = median_subtraction.STAGE.finished(self.folder)
        info = read_probe_info(self._depth.folder / depth_estimation.INFO_FILE)
        return medians, info, recording_to_sort(medians, self.bands.spike_band, info)

    @cached_property
    def _unit_steps(self) -> UnitSteps:
        medians, info, recording = self._to_sort
        done = sorting.STAGE.finished(self.folder)
        probe = SortedProbe(self.folder, recording, self.bands.lfp, info, self._depth, medians, done).probe_data()
        return UnitSteps(probe, recording, self.folder, self.session.parameters.units, self._depth)

    def check_recording(self) -> None:
        """Raise if the probe's folder holds what was made of another recording.

        Raises
        ------
        AlreadyPresentError
            If it does.
        """
        if not depth_estimation.known_recording(self.folder):
            return
        spike_band, lfp = self.bands.spike_band, self.bands.lfp
        depth_estimation.refuse_another_recording(
            self.folder,
            depth_estimation.recording_identity(spike_band, lfp, input_files(spike_band, lfp)),
            advice=f"Give {self.session.path} another `output`, or remove {self.folder}",
        )

    def _depth_estimation(self) -> StageResult:
        self.check_recording()
        return depth_estimation.run_depth_estimation(
            self.bands.spike_band, self.folder, lfp=self.bands.lfp, parameters=self.session.parameters.depth
        )

    def _median_subtraction(self) -> StageResult:
        files = input_files(self.bands.spike_band, self.bands.lfp)
        return median_subtraction.run_median_subtraction(
            self.bands.spike_band, self.folder, self._depth, inputs=files, write=self.session.parameters.write_medians
        )

    def _sorting(self) -> StageResult:
        (medians, _, recording), chosen = self._to_sort, self.session.parameters
        return sorting.run_sorting(
            recording,
            self.folder,
            sorter=chosen.sorter,
            parameters=chosen.sorter_parameters,
            python=chosen.python,
            inputs=[medians.folder, self._depth.folder],
        )

    def _lfp(self) -> StageResult:
        return run_session_lfp(self.session.told, self.probe.name, self.folder)
