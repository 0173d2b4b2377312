"""Stage ``whole_session``: what a rig left behind, and what the stages made of each probe, become the session's files.

Reads the session description and the files it names, and of each probe the stages that ``session`` reads; leaves
``session.nwb``, ``probe_<id>_lfp.nwb`` for each probe with an LFP, and for each probe's clock a report
(``<name>_clock.json``) and, where matplotlib is installed, a figure (``<name>_clock.png``).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from allen_ecephys.errors import InvalidContentsError, MissingExtraError

from ..behavior import EyeRig, eye_tracking, optotagging_table, read_ellipses, running_speed
from ..packaging.contents import SessionContents
from ..packaging.identities import probe_ids
from ..packaging.session import write_session_nwb
from ..packaging.session_description import SessionDescription, read_session_description
from ..pipeline.stages import Stage, StageResult, input_files
from ..readers.raw_folder import RawBands, open_bands
from ..stimulus_table import (
    monitor_frame_times,
    open_stimulus_pickle,
    presentations_of_pickle,
    read_presentations,
    read_restricted_pickle,
    within_recording,
)
from ..synchronization import (
    ProbeClock,
    SyncFile,
    clock_from_barcodes,
    decode_barcodes,
    open_sync_file,
    plot_clock,
    read_probe_events,
)
from ..synchronization.probe_events import probe_event_files
from .probe_lfp import write_probe_lfp
from .session import (
    PACKAGED,
    SESSION_FILE,
    UNKNOWN_STRUCTURE,
    PackagedProbe,
    check_measured,
    read_measured_probe,
)

if TYPE_CHECKING:
    import os

    import pandas as pd
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

STAGE: Final = Stage("whole_session", outputs=(SESSION_FILE,))
_COORDINATES: Final = tuple(f"{axis}_ccf_coordinate" for axis in ("anterior_posterior", "dorsal_ventral", "left_right"))


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
    and ``<name>_clock.json`` (with matplotlib ``<name>_clock.png``, too). The result's ``report`` counts units, spikes
    and presentations, and tells of each clock and each LFP.

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
    inputs = whole_session_inputs(told, probes)
    for probe in told.probes:
        check_measured(Path(probes[probe.name]))

    def work(place: Path) -> dict[str, Any]:
        return write_whole_session(
            told, {probe.name: Path(probes[probe.name]) for probe in told.probes}, place, lfp=lfp
        )

    return STAGE.run(folder, work, inputs=inputs, parameters={"lfp": lfp, "description": told.facts()})


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
    names = [probe.name for probe in told.probes]
    if sorted(probes) != names:
        msg = f"{told.path} has the probes {', '.join(names)}, but units were given of {', '.join(sorted(probes))}"
        raise InvalidContentsError(msg)
    found = told.files()
    for probe in told.probes:
        bands = open_bands(probe.recording, stream=probe.stream)
        found += input_files(bands.spike_band, bands.lfp)
        found += probe_event_files(probe.events or probe.recording)
        found += [stage.folder(probes[probe.name]) for stage in PACKAGED]
    return found


@dataclass(frozen=True, eq=False)
class SynchronizedProbe:
    """A probe's measured units, its raw data, and its clock."""

    packaged: PackagedProbe
    bands: RawBands
    clock: ProbeClock
    first_number: int

    def times(self, samples: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the session time of samples of the spike band, counted from the file's first."""
        return self.clock.seconds(samples + self.first_number)


def write_whole_session(
    told: SessionDescription, folders: Mapping[str, Path], place: Path, *, lfp: bool = True
) -> dict[str, Any]:
    """Write a session's files into a folder and return what was counted."""
    sync = open_sync_file(told.sync)
    probes = [_synchronized(told, sync, k, folders[probe.name]) for k, probe in enumerate(told.probes)]
    for probe in probes:
        _explain(probe.clock, place)
    stop = float(sync.seconds[-1])
    presentations, running, raw_running = _stimuli_and_running(told, sync)
    presentations = within_recording(presentations, stop)
    trains, sizes, lost = _trains(probes)
    has_lfp = [lfp and probe.bands.lfp is not None for probe in probes]
    contents = SessionContents(
        metadata=told.metadata,
        probes=_probe_table(probes, has_lfp),
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
        counted["lfp"] = {
            probe.clock.name: write_probe_lfp(
                place, probe.bands, probe.clock, probe.first_number, contents, probe.packaged.probe_id
            )
            for probe in probes
        }
    return counted


def _synchronized(told: SessionDescription, sync: SyncFile, number: int, folder: Path) -> SynchronizedProbe:
    """Read a probe's units and put its samples on the session's clock."""
    probe = told.probes[number]
    bands = open_bands(probe.recording, stream=probe.stream)
    events = read_probe_events(probe.events or probe.recording)
    session = decode_barcodes(sync.rising("barcode"), sync.falling("barcode"))
    clock = clock_from_barcodes(events, session, bands.spike_band.sampling_rate, name=probe.name)
    probe_id = int(probe_ids(told.metadata.session_id, len(told.probes))[number])
    packaged = read_measured_probe(folder, number, probe_id, UNKNOWN_STRUCTURE)
    channels = packaged.channels
    if probe.channels is not None:
        channels = _registered(channels, probe.channels, probe.name)
    packaged = replace(packaged, name=probe.name, channels=channels)
    numbers = bands.spike_band.sample_numbers() if hasattr(bands.spike_band, "sample_numbers") else [0]
    return SynchronizedProbe(packaged, bands, clock, int(numbers[0]))


def _registered(channels: pd.DataFrame, table: Path, name: str) -> pd.DataFrame:
    """Return a probe's channels with structures and coordinates from a table of its registration."""
    import pandas as pd

    registered = pd.read_csv(table, keep_default_na=True)
    needed = {"channel", "structure_acronym"}
    if not needed <= set(registered.columns):
        msg = f"{table} has the columns {', '.join(registered.columns)}; needed are {', '.join(sorted(needed))}"
        raise InvalidContentsError(msg)
    numbers = channels["probe_channel_number"].to_numpy()
    if sorted(registered["channel"]) != sorted(numbers):
        msg = f"{table} is of {len(registered)} channels, and {name} has {len(numbers)}: it is of another probe"
        raise InvalidContentsError(msg)
    rows = registered.set_index("channel").loc[numbers]
    known = {column: rows[column].to_numpy(np.float64) for column in _COORDINATES if column in rows.columns}
    return channels.assign(structure_acronym=rows["structure_acronym"].fillna("").astype(str).to_numpy(), **known)


def _explain(clock: ProbeClock, place: Path) -> None:
    (place / f"{clock.name}_clock.json").write_text(json.dumps(clock.report(), indent=1), encoding="utf-8")
    try:
        figure = plot_clock(clock)
    except MissingExtraError:
        logger.info("no figure of the clock of %s: matplotlib is not installed", clock.name)
        return
    figure.savefig(place / f"{clock.name}_clock.png", dpi=120, metadata={"Software": None})


def _stimuli_and_running(
    told: SessionDescription, sync: SyncFile
) -> tuple[pd.DataFrame, pd.DataFrame | None, pd.DataFrame | None]:
    """Return presentations, running speed and the wheel's raw signals, as far as the session has them."""
    import pandas as pd

    if told.stimulus is not None:
        pickle = open_stimulus_pickle(told.stimulus)
        frames = monitor_frame_times(sync, monitor_lag=told.monitor_lag)
        presentations = presentations_of_pickle(pickle, frames)
        rotation = pickle.encoder("dx")
        if rotation is None:
            return presentations, None, None
        running, raw = running_speed(
            sync.rising("frames"), rotation,
            signal_voltage=pickle.encoder("vsig"), supply_voltage=pickle.encoder("vin"),
        )  # fmt: skip
        return presentations, running, raw
    if told.presentations is not None:
        frames_seen = monitor_frame_times(sync, monitor_lag=told.monitor_lag) if sync.has("frames") else None
        return read_presentations(told.presentations, frames_seen), None, None
    logger.warning("%s names no stimulus: the whole session is taken for spontaneous activity", told.path)
    row = {"start_time": [0.0], "stop_time": [float(sync.seconds[-1])], "stimulus_name": ["spontaneous"]}
    return pd.DataFrame({**row, "stimulus_block": [np.nan]}), None, None


def _trains(
    probes: Sequence[SynchronizedProbe],
) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]], int]:
    """Return every unit's spike times and amplitudes, without spikes that have no time or one before the session."""
    trains, sizes, lost = [], [], 0
    for probe in probes:
        lost_here = 0
        for samples, amplitudes in zip(probe.packaged.spike_samples, probe.packaged.spike_sizes, strict=True):
            times = probe.times(samples)
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


def _probe_table(probes: Sequence[SynchronizedProbe], has_lfp: Sequence[bool]) -> pd.DataFrame:
    import pandas as pd

    rates = [probe.clock.rate for probe in probes]
    lfp_rates = [
        probe.bands.lfp.sampling_rate / probe.bands.spike_band.sampling_rate * rate / 2 if probe.bands.lfp else np.nan
        for probe, rate in zip(probes, rates, strict=True)
    ]
    return pd.DataFrame(
        {
            "description": [probe.packaged.name for probe in probes],
            "sampling_rate": rates,
            "lfp_sampling_rate": lfp_rates,
            "has_lfp_data": list(has_lfp),
        },
        index=pd.Index([probe.packaged.probe_id for probe in probes], name="id"),
    )


def _concat(tables: list[pd.DataFrame]) -> pd.DataFrame:
    import pandas as pd

    return pd.concat(tables)


def _invalid_times(told: SessionDescription, probes: Sequence[SynchronizedProbe], stop: float) -> pd.DataFrame | None:
    """Return declared intervals, and those in which a probe's samples have no session time."""
    import pandas as pd

    rows = [
        (float(r["start_time"]), float(r["stop_time"]), (str(r["type"]), str(r["id"]), str(r["label"])))
        for r in told.invalid_times
    ]
    for probe in probes:
        tags = ("EcephysProbe", str(probe.packaged.probe_id), probe.packaged.name)
        for before, after in zip(probe.clock.segments, probe.clock.segments[1:], strict=False):
            ends = before.times(np.array([min(before.stop, before.samples[-1])])), after.times(np.array([after.start]))
            rows.append((float(ends[0][0]), float(ends[1][0]), tags))
        last = probe.times(np.array([probe.bands.spike_band.n_samples - 1]))[0]
        first = probe.times(np.array([0]))[0]
        if first > 1.0:
            rows.append((0.0, float(first), tags))
        if last < stop - 1.0:
            rows.append((float(last), stop, tags))
    if not rows:
        return None
    return pd.DataFrame(rows, columns=["start_time", "stop_time", "tags"]).sort_values("start_time", ignore_index=True)


def _lights(told: SessionDescription, sync: SyncFile) -> pd.DataFrame | None:
    if told.optotagging is None:
        return None
    return optotagging_table(sync.rising("optotagging"), read_restricted_pickle(told.optotagging))


def _eye(told: SessionDescription, sync: SyncFile) -> dict[str, Any]:
    """Return eye tracking and likely blinks, where the session has ellipses and says where the rig's parts stood."""
    if told.eye_ellipses is None:
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
