"""Stage ``whole_session``: what a rig left behind, and what the stages made of each probe, become the session's files.

Reads the session description and the files it names, and of each probe the stages that ``session`` reads and ``lfp``;
leaves ``session.nwb``, beside it ``probe_<id>_lfp.nwb`` of each probe, and for each probe's clock a report
(``<name>_clock.json``) and, where matplotlib is installed, a figure (``<name>_clock.png``).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from allen_ecephys.errors import InvalidContentsError, MissingExtraError

from ..behavior import EyeRig, eye_tracking, optotagging_table, read_ellipses
from ..packaging.contents import SessionContents
from ..packaging.session import write_session_nwb
from ..packaging.session_description import SessionDescription, read_session_description
from ..pipeline.stage import Stage, StageResult
from ..stimulus_table import read_restricted_pickle, within_recording
from ..synchronization import ProbeClock, SyncFile, open_sync_file, plot_clock
from .probe_lfp import collect
from .session import PROBE_TAG, SESSION_FILE, check_measured
from .session_lfp import as_recorded, run_session_lfp
from .session_stimuli import Shown
from .synchronized_probe import SessionClock, SynchronizedProbe, probe_inputs, session_probe_row, synchronized_probe

if TYPE_CHECKING:
    import os

    import pandas as pd
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

STAGE: Final = Stage("whole_session", outputs=(SESSION_FILE,))


def run_whole_session(
    description: str | os.PathLike[str] | SessionDescription,
    probes: Mapping[str, str | os.PathLike[str]],
    folder: str | os.PathLike[str],
    *,
    lfp: bool = True,
) -> StageResult:
    """Write the files of a session, or reuse what an earlier run left.

    It depends on :func:`whole_session_inputs`, on what the description says (not on how its file is written) and on
    `lfp`; it leaves, in ``<folder>/whole_session``, ``session.nwb``, with `lfp` ``probe_<id>_lfp.nwb`` for each probe,
    and ``<name>_clock.json`` (with matplotlib ``<name>_clock.png``, too). Each LFP file is made by a stage ``lfp`` in
    the probe's folder, if it is not there yet; here it has a second name, which takes no room (a copy where the disk
    knows none). The result's ``report`` counts units, spikes and presentations, and tells of each clock and each LFP.

    Parameters
    ----------
    description
        The session description, or the file that
        :func:`~allen_ecephys.processing.packaging.read_session_description` reads.
    probes
        Name of each probe -> the folder that :func:`.units.measure_units` (or ``SortedProbe.measure``) filled.
    folder
        Which gets the stage's folder.
    lfp
        Whether to write the probes' LFP files, too.

    Raises
    ------
    InvalidContentsError
        If `probes` are not those of the description, or a channel table is of another probe.
    StageError
        If the units of a probe were not measured.
    SynchronizationError, MissingDataError, FileFormatError
        If clocks, frames or tables cannot be put together; the message says which.

    Examples
    --------
    >>> run_whole_session("session.json", {"probeA": "probeA"}, "output")
    Traceback (most recent call last):
    allen_ecephys.errors.MissingFileError: there is no session description session.json
    """
    told = description if isinstance(description, SessionDescription) else read_session_description(description)
    check_probes(told, probes)
    for probe in told.probes:
        check_measured(Path(probes[probe.name]))
    made = {probe.name: run_session_lfp(told, probe.name, probes[probe.name]) for probe in told.probes if lfp}
    return package_session(told, probes, folder, made)


def package_session(
    told: SessionDescription,
    probes: Mapping[str, str | os.PathLike[str]],
    folder: str | os.PathLike[str],
    lfp: Mapping[str, StageResult],
) -> StageResult:
    """Run the stage on what other stages left: of each probe its measured units, and its LFP file, of all or of none.

    Raises
    ------
    InvalidContentsError, StageError, SynchronizationError, MissingDataError, FileFormatError
        As :func:`run_whole_session`.
    """
    inputs = [*whole_session_inputs(told, probes), *(stage.folder for stage in lfp.values())]
    folders = {probe.name: Path(probes[probe.name]) for probe in told.probes}
    for place in folders.values():
        check_measured(place)

    def work(place: Path) -> dict[str, Any]:
        return write_whole_session(told, folders, place, lfp)

    described = as_recorded(STAGE.folder(folder), "description", told.facts())
    return STAGE.run(folder, work, inputs=inputs, parameters={"lfp": bool(lfp), "description": described})


def check_probes(told: SessionDescription, probes: Mapping[str, str | os.PathLike[str]]) -> None:
    """Raise unless the probes that are given are those of a session's description.

    Raises
    ------
    InvalidContentsError
        If they are not.
    """
    names = [probe.name for probe in told.probes]
    if sorted(probes) != names:
        msg = f"{told.path} has the probes {', '.join(names)}, but units were given of {', '.join(sorted(probes))}"
        raise InvalidContentsError(msg)


def whole_session_inputs(told: SessionDescription, probes: Mapping[str, str | os.PathLike[str]]) -> list[Path]:
    """Return all that a session's files are made of: files of the rig, raw data and events, and stages of each probe.

    Parameters
    ----------
    told
        The session description.
    probes
        As in :func:`run_whole_session`. The folders of stages are named whether they are there yet or not.

    Raises
    ------
    InvalidContentsError
        If `probes` are not those of the description.
    MissingFileError, MissingDataError
        If a probe has no raw data or no events.
    """
    check_probes(told, probes)
    found = told.files()
    for probe in told.probes:
        found += probe_inputs(probe, Path(probes[probe.name]))
    return found


def write_whole_session(
    told: SessionDescription, folders: Mapping[str, Path], place: Path, lfp: Mapping[str, StageResult]
) -> dict[str, Any]:
    """Write a session's files into a folder, beside them the LFP files of its probes, and return what was counted."""
    sync = None if told.sync is None else open_sync_file(told.sync, told.lines)
    clock = SessionClock.of(told, sync)
    probes = [synchronized_probe(clock, k, folders[probe.name]) for k, probe in enumerate(told.probes)]
    for probe in probes:
        _explain(probe.clock, place)
        if not len(probe.packaged.units):
            logger.warning(
                "%s has no units: the session's files hold its channels%s and none of its spikes",
                probe.packaged.name, " and its LFP" if lfp else "",
            )  # fmt: skip
    stop = _end(sync, probes)
    shown = Shown.of(told, sync)
    if not shown.is_told:
        logger.warning("%s names no stimulus: the whole session is taken for spontaneous activity", told.path)
    presentations = within_recording(shown.presentations(stop), stop)
    running, raw_running = shown.running()
    trains, sizes, lost = _trains(probes)
    contents = SessionContents(
        metadata=told.metadata,
        probes=_concat(
            [session_probe_row(probe.packaged, probe.bands, probe.clock, lfp=bool(lfp)) for probe in probes]
        ),
        channels=_concat([probe.packaged.channels for probe in probes]),
        units=_concat([probe.packaged.units for probe in probes]),
        spike_times=trains,
        spike_amplitudes=sizes,
        mean_waveforms=[waveform for probe in probes for waveform in probe.packaged.waveforms],
        stimulus_presentations=presentations,
        running_speed=running,
        raw_running=raw_running,
        invalid_times=_invalid_times(told, probes, stop),
        optogenetic_stimulation_epochs=_lights(told, sync),
        rig_geometry=told.rig,
        **_eye(told, sync),
    )
    write_session_nwb(place / SESSION_FILE, contents)
    counted: dict[str, Any] = {
        "n_units": len(contents.units),
        "n_presentations": len(presentations),
        "n_spikes": sum(len(train) for train in trains),
        "n_spikes_without_time": lost,
        "clocks": {probe.clock.name: probe.clock.report() for probe in probes},
    }
    if lfp:
        counted["lfp"] = {name: stage.report for name, stage in lfp.items()}
        counted["linked"] = collect(lfp.values(), place)
    return counted


def _explain(clock: ProbeClock, place: Path) -> None:
    (place / f"{clock.name}_clock.json").write_text(json.dumps(clock.report(), indent=1), encoding="utf-8")
    try:
        figure = plot_clock(clock)
    except MissingExtraError:
        logger.info("no figure of the clock of %s: matplotlib is not installed", clock.name)
        return
    figure.savefig(place / f"{clock.name}_clock.png", dpi=120, metadata={"Software": None})


def _end(sync: SyncFile | None, probes: Sequence[SynchronizedProbe]) -> float:
    """Return when the session ended: with the sync file, or else with the last sample of any probe."""
    if sync is not None:
        return float(sync.seconds[-1])
    last = [probe.seconds(np.array([probe.bands.spike_band.n_samples - 1]))[0] for probe in probes]
    return float(np.nanmax(last))


def _trains(
    probes: Sequence[SynchronizedProbe],
) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]], int]:
    """Return every unit's spike times and amplitudes, without spikes that have no time or one before the session."""
    trains, sizes, lost = [], [], 0
    for probe in probes:
        lost_here = 0
        for samples, amplitudes in zip(probe.packaged.spike_samples, probe.packaged.spike_sizes, strict=True):
            times = probe.seconds(samples)
            timed = times >= 0  # NaN is not
            trains.append(times[timed])
            sizes.append(amplitudes[timed])
            lost_here += int((~timed).sum())
        if lost_here:
            logger.warning(
                "%d spikes of %s lie before the session or in a gap of its clock; they are left out",
                lost_here, probe.clock.name,
            )  # fmt: skip
        lost += lost_here
    return trains, sizes, lost


def _concat(tables: list[pd.DataFrame]) -> pd.DataFrame:
    import pandas as pd

    return pd.concat(tables)


def _invalid_times(told: SessionDescription, probes: Sequence[SynchronizedProbe], stop: float) -> pd.DataFrame | None:
    """Return declared intervals, and those in which a probe's data say nothing."""
    import pandas as pd

    rows = [
        (float(r["start_time"]), float(r["stop_time"]), (str(r["type"]), str(r["id"]), str(r["label"])))
        for r in told.invalid_times
    ]
    for probe in probes:
        tags = (PROBE_TAG, str(probe.packaged.probe_id), probe.packaged.name)
        rows += [(start, end, tags) for start, end in probe.invalid_intervals(stop)]
    if not rows:
        return None
    return pd.DataFrame(rows, columns=["start_time", "stop_time", "tags"]).sort_values("start_time", ignore_index=True)


def _lights(told: SessionDescription, sync: SyncFile | None) -> pd.DataFrame | None:
    if told.optotagging is None or sync is None:
        return None
    return optotagging_table(sync.rising("optotagging"), read_restricted_pickle(told.optotagging))


def _eye(told: SessionDescription, sync: SyncFile | None) -> dict[str, Any]:
    """Return eye tracking and likely blinks, where the session has ellipses and says where the rig's parts stood."""
    if told.eye_ellipses is None or sync is None:
        return {}
    if told.rig is None:
        msg = f"{told.path} names eye ellipses, but not where monitor, camera and light stood (rig): no gaze without"
        raise InvalidContentsError(msg)
    rig = told.rig
    eye_rig = EyeRig(
        monitor_position=_scaled(rig.monitor_position, 0.1),
        camera_position=_scaled(rig.camera_position, 0.1),
        led_position=_scaled(rig.led_position, 0.1),
        monitor_rotation=_scaled(rig.monitor_rotation, np.pi / 180.0),
        camera_rotation=_scaled(rig.camera_rotation, np.pi / 180.0),
    )
    eye, blinks = eye_tracking(sync.rising("eye_camera"), read_ellipses(told.eye_ellipses), eye_rig)
    return {"eye_tracking": eye, "likely_blink": blinks}


def _scaled(vector: tuple[float, float, float], factor: float) -> tuple[float, float, float]:
    x, y, z = vector
    return x * factor, y * factor, z * factor
