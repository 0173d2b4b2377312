"""Stage ``session``: what the stages left of each probe becomes a session file.

Reads, for each probe, ``depth_estimation``, ``double_counted_spikes``, ``mean_waveforms``, ``features`` and ``units``,
and ``lfp`` where the raw data were given; leaves ``session.nwb``, and beside it each probe's ``probe_<id>_lfp.nwb``.
"""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from allen_ecephys.errors import (
    InvalidContentsError,
    InvalidValueError,
    MissingDataError,
    RecordingTooShortError,
    StageError,
    UnknownNameError,
)
from allen_ecephys.files import read_json
from allen_ecephys.nwb.layout import FILTERING

from ..packaging.contents import SessionContents, SessionMetadata, check_start_time
from ..packaging.identities import (
    PROBES,
    channel_ids,
    check_session_id,
    probe_ids,
    probe_numbers,
    session_id_of,
    unit_ids,
)
from ..packaging.session import write_session_nwb
from ..pipeline.digests import digest_of
from ..pipeline.manifest import read_manifest
from ..pipeline.stage import Stage, StageResult, input_files
from ..probes import hardware_filters
from ..spike_band.probe_info import read_probe_info
from ..timeline import Timeline
from . import depth_estimation, double_counted_spikes, features, mean_waveforms, probe_lfp, units
from .double_counted_spikes import read_cleaned_spikes
from .mean_waveforms import read_mean_waveforms
from .probe_lfp import LfpOfProbe, collect, lfp_rate, nominal_clock, write_probe_lfp

if TYPE_CHECKING:
    from datetime import datetime

    import pandas as pd
    from numpy.typing import NDArray

    from ..readers.raw_folder import RawBands

logger = logging.getLogger(__name__)

#: Acronym of channels in the brain whose structure is not known: "basic cell groups and regions".
UNKNOWN_STRUCTURE: Final = "grey"
#: Stages of a probe whose outputs are packaged.
PACKAGED: Final = (
    depth_estimation.STAGE,
    double_counted_spikes.STAGE,
    mean_waveforms.STAGE,
    features.STAGE,
    units.STAGE,
)
SESSION_FILE: Final = "session.nwb"
#: First of the tags of invalid times of a probe; its id and name follow, as in the release.
PROBE_TAG: Final = "EcephysProbe"
STAGE: Final = Stage("session", outputs=(SESSION_FILE,))
#: metrics.csv -> units table of the file, where names differ.
RENAMED: Final = {"duration": "waveform_duration", "halfwidth": "waveform_halfwidth"}


def run_session(
    probes: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    session_start_time: datetime,
    session_id: int | None = None,
    names: Sequence[str] | None = None,
    bands: Sequence[RawBands] = (),
) -> StageResult:
    """Write the session file of measured probes, or reuse what an earlier run left.

    Parameters
    ----------
    probes
        For each probe, the folder that :func:`.units.measure_units` filled.
    folder
        Which gets the stage's folder.
    session_start_time, session_id, names
        As :func:`package_units`.
    bands
        Raw data of each probe, for its LFP file; without, there is none.

    Raises
    ------
    StageError
        If the units of a probe were not measured.
    """
    probes = _each(probes)
    check_start_time(session_start_time)
    for probe in probes:
        check_measured(Path(probe))
    called, number = probe_names(probes, names), _session_id(probes, session_id)

    def work(place: Path) -> dict[str, Any]:
        contents = session_contents(
            probes, session_id=number, session_start_time=session_start_time, names=called
        )  # fmt: skip
        has_lfp = [name in lfp for name in called]
        rates = [lfp_rate(one) for one in bands] or [np.nan] * len(called)
        probe_rows = contents.probes.assign(has_lfp_data=has_lfp, lfp_sampling_rate=np.where(has_lfp, rates, np.nan))
        linked = collect(lfp.values(), place)
        write_session_nwb(place / SESSION_FILE, replace(contents, probes=probe_rows))
        return {"session_id": number, "lfp": {name: one.report for name, one in lfp.items()}, "linked": linked}

    metadata = SessionMetadata(number, session_start_time, "spontaneous")
    lfp = _lfp_of_probes(probes, metadata, called, bands)
    sources = [stage.folder(probe) for probe in probes for stage in PACKAGED]
    sources += [stage.folder for stage in lfp.values()]
    parameters = {"session_id": number, "session_start_time": session_start_time.isoformat(), "names": called}
    return STAGE.run(folder, work, inputs=sources, parameters=parameters)


def _each(folders: Sequence[str | os.PathLike[str]] | str | os.PathLike[str]) -> list[str | os.PathLike[str]]:
    """Return the folders of probes, where one alone may be given as it is."""
    return [folders] if isinstance(folders, (str, os.PathLike)) else list(folders)


def _lfp_of_probes(
    folders: Sequence[str | os.PathLike[str]],
    metadata: SessionMetadata,
    names: Sequence[str],
    bands: Sequence[RawBands],
) -> dict[str, StageResult]:
    """Run the stage ``lfp`` of probes that nothing but their own samples puts in time; say which get no LFP file."""
    made: dict[str, StageResult] = {}
    if not bands:
        return made
    ids = ids_of_probes(metadata.session_id, names)
    for folder, name, probe_id, one in zip(folders, names, ids, bands, strict=True):
        try:
            made[name] = _lfp_of_probe(Path(folder), metadata, name, probe_id, one)
        except (MissingDataError, RecordingTooShortError, UnknownNameError, InvalidContentsError) as error:
            logger.warning("%s gets no LFP file: %s", name, error)
    return made


def _lfp_of_probe(folder: Path, metadata: SessionMetadata, name: str, probe_id: int, bands: RawBands) -> StageResult:
    def work(place: Path) -> dict[str, Any]:
        clock = nominal_clock(bands.spike_band, name)
        row = probe_row(probe_id, name, bands.spike_band.sampling_rate, lfp_rate(bands))
        channels = channel_rows(folder, probe_id, UNKNOWN_STRUCTURE)
        return write_probe_lfp(place, LfpOfProbe(bands, clock, metadata, row, channels, _spontaneous(0.0)))

    files = [*input_files(bands.spike_band if bands.lfp is None else bands.lfp), depth_estimation.STAGE.folder(folder)]
    told = {"session_id": metadata.session_id, "session_start_time": metadata.session_start_time.isoformat()}
    parameters = {**told, "name": name, "probe_id": probe_id, "clock": "nominal"}
    return probe_lfp.STAGE.run(folder, work, inputs=files, parameters=parameters)


def ids_of_probes(session_id: int, names: Sequence[str]) -> list[int]:
    """Return the ids of probes that a session calls by these names."""
    first = probe_ids(session_id, 1)[0]
    return [int(first) + number for number in probe_numbers(names)]


def probe_row(probe_id: int, name: str, rate: float, of_lfp: float = math.nan) -> pd.DataFrame:
    """Return the row of a probe in the session's table, with the rates of its two bands; NaN where it has no LFP."""
    import pandas as pd

    facts = {"description": [name], "sampling_rate": [rate], "lfp_sampling_rate": [of_lfp]}
    return pd.DataFrame(facts | {"has_lfp_data": [not math.isnan(of_lfp)]}, index=pd.Index([probe_id], name="id"))


def channel_rows(folder: Path, probe_id: int, structure_acronym: str) -> pd.DataFrame:
    """Return the rows of a probe's channels in the session's table, from the stage ``depth_estimation``."""
    file = depth_estimation.STAGE.file(folder, depth_estimation.INFO_FILE)
    return _channels(file, probe_id, structure_acronym).assign(filtering=_filtering(folder))


@dataclass(frozen=True, eq=False)
class PackagedProbe:
    """One probe's tables and where its arrays are."""

    name: str
    probe_id: int
    sampling_rate: float
    timeline: Timeline
    units: pd.DataFrame
    channels: pd.DataFrame
    spike_samples: list[NDArray[np.int64]]
    spike_sizes: list[NDArray[np.float64]]
    waveforms: NDArray[np.float64]


def package_units(
    folders: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    session_start_time: datetime,
    session_id: int | None = None,
    names: Sequence[str] | None = None,
    session_type: str = "spontaneous",
    presentations: pd.DataFrame | None = None,
    structure_acronym: str = UNKNOWN_STRUCTURE,
    overwrite: bool = False,
) -> Path:
    """Write the units of one or more probes into a session file.

    Every unit is written, noise too (``quality`` says so): filtering is for reading. Times of spikes are samples over
    the probe's nominal rate, gaps of the recording included, which become invalid times; probes are taken to start
    together. Ids are made from the session's, see :mod:`~allen_ecephys.processing.packaging.identities`.

    Parameters
    ----------
    folders
        For each probe, the folder that :func:`.units.measure_units` filled; of one probe, the folder itself will do.
    path
        File to write.
    session_start_time, session_type
        Of the session; the start needs a time zone.
    session_id
        Of the session. By default it is made from what the recordings begin with: the same recordings have the same
        id wherever they lie, others have others.
    names
        Of the probes. By default those that the recorder gave them (``imec1``, ``ProbeB``), else ``probeA``,
        ``probeB``, ...
    presentations
        Stimulus presentations, see :class:`SessionContents`. Default: one spontaneous period over all spikes.
    structure_acronym
        Of the channels below the brain's surface.
    overwrite
        Whether an existing file may be replaced.

    Raises
    ------
    StageError
        If a folder holds no measured units.
    InvalidValueError
        If no ids can be made from `session_id`, or for so many probes, or two probes have one name.
    InvalidTypeError
        If `session_start_time` is no datetime.
    InvalidContentsError, FileExistsError, DiskFullError
        As :func:`.packaging.write_session_nwb`.
    """
    folders = _each(folders)
    check_start_time(session_start_time)
    if not folders:
        msg = "no folder of measured units was named: run `allen-ecephys process units` first"
        raise StageError(msg)
    for folder in folders:
        check_measured(Path(folder))
    contents = session_contents(
        folders, session_id=_session_id(folders, session_id), session_start_time=session_start_time,
        names=probe_names(folders, names), session_type=session_type, presentations=presentations,
        structure_acronym=structure_acronym,
    )  # fmt: skip
    return write_session_nwb(path, contents, overwrite=overwrite)


def session_contents(
    folders: Sequence[str | os.PathLike[str]],
    *,
    session_id: int,
    session_start_time: datetime,
    names: Sequence[str],
    session_type: str = "spontaneous",
    presentations: pd.DataFrame | None = None,
    structure_acronym: str = UNKNOWN_STRUCTURE,
) -> SessionContents:
    """Return what :func:`package_units` writes."""
    import pandas as pd

    probes = [
        read_measured_probe(Path(folder), name, probe_id, structure_acronym)
        for folder, name, probe_id in zip(folders, names, ids_of_probes(session_id, names), strict=True)
    ]
    trains = [probe.timeline.times(train, probe.sampling_rate) for probe in probes for train in probe.spike_samples]
    last = max((float(train[-1]) for train in trains if train.size), default=0.0)
    return SessionContents(
        metadata=SessionMetadata(session_id, session_start_time, session_type),
        probes=pd.concat([probe_row(probe.probe_id, probe.name, probe.sampling_rate) for probe in probes]),
        channels=pd.concat([probe.channels for probe in probes]),
        units=pd.concat([probe.units for probe in probes]),
        spike_times=trains,
        spike_amplitudes=[sizes for probe in probes for sizes in probe.spike_sizes],
        mean_waveforms=[waveform for probe in probes for waveform in probe.waveforms],
        stimulus_presentations=_spontaneous(last) if presentations is None else presentations,
        invalid_times=_gaps(probes),
    )


def probe_names(folders: Sequence[str | os.PathLike[str]], given: Sequence[str] | None = None) -> list[str]:
    """Return the name of each probe: as given, as its recorder called it, or ``probeA`` and on.

    Raises
    ------
    InvalidValueError
        If there are too many probes, not as many names as probes, or two of one name.
    """
    if len(folders) > PROBES:
        msg = f"{len(folders)} probes of one session were given; ids have room for {PROBES}"
        raise InvalidValueError(msg)
    given = [given] if isinstance(given, str) else given  # of one probe, its name will do
    if given and len(given) != len(folders):
        msg = f"{len(given)} names were given for {len(folders)} probes; give one for each, in the order of the folders"
        raise InvalidValueError(msg)
    by_order = [f"probe{chr(ord('A') + number)}" for number in range(len(folders))]
    recorded = [str(depth_estimation.known_recording(folder).get("probe", "")) for folder in folders]
    names = [name.strip() or other for name, other in zip(given or recorded, by_order, strict=True)]
    names = [re.sub(r"[/:]", "-", name) for name in names]  # which no group of an NWB file may be called
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        msg = f"two probes are called {twice[0]!r}; tell them apart with names=... (--probe-name, once for each folder)"
        raise InvalidValueError(msg)
    return names


def _session_id(folders: Sequence[str | os.PathLike[str]], given: int | None) -> int:
    """Return the id that was given, or one made from the recordings of the probes."""
    if given is not None:
        check_session_id(given)
        return given
    known = []
    for folder in folders:
        facts = depth_estimation.known_recording(folder)
        manifest = read_manifest(depth_estimation.STAGE.folder(folder)) or {}
        known.append(f"{facts.get('probe', '')} {facts.get('begins_with') or digest_of(manifest.get('inputs'))}")
    return session_id_of(known)


def read_measured_probe(folder: Path, name: str, probe_id: int, structure_acronym: str) -> PackagedProbe:
    """Read what the stages left of one probe, which the session calls `name`."""
    import pandas as pd

    check_measured(folder)
    manifest = read_manifest(units.STAGE.folder(folder)) or {}
    spikes = read_cleaned_spikes(double_counted_spikes.STAGE.folder(folder))
    means = read_mean_waveforms(mean_waveforms.STAGE.folder(folder))
    sizes = np.load(features.STAGE.file(folder, features.AMPLITUDES)).astype(np.float64)
    # Amplitudes are multiples of the mean waveform, whose peak-to-peak size is in uV.
    volts = np.ptp(means.mean, axis=2).max(axis=1, initial=0.0) * 1e-6
    rows = spikes.rows_by_unit()
    table = units.read_unit_table(units.STAGE.file(folder, units.TABLE))
    packaged = table.drop(columns=[c for c in table.columns if c.endswith("_corrected")]).rename(columns=RENAMED)
    packaged = packaged.assign(
        cluster_id=table.index,
        local_index=np.arange(len(table)),
        peak_channel_id=channel_ids(probe_id, table["peak_channel"]),
        quality=table["quality"].astype("str"),
    ).drop(columns=["peak_channel", "n_spikes"])
    packaged.index = pd.Index(unit_ids(probe_id, table.index), name="id")
    return PackagedProbe(
        name=name,
        probe_id=probe_id,
        sampling_rate=float(manifest["report"]["sampling_rate"]),
        timeline=Timeline.from_facts(int(spikes.samples.max(initial=0)) + 1, manifest["report"].get("timeline")),
        units=packaged,
        channels=channel_rows(folder, probe_id, structure_acronym),
        spike_samples=[spikes.samples[train] for train in rows],
        spike_sizes=[np.nan_to_num(sizes[train]) * volts[unit] for unit, train in enumerate(rows)],
        waveforms=means.without_offset(),
    )


def _gaps(probes: Sequence[PackagedProbe]) -> pd.DataFrame | None:
    """Return the gaps of recordings as invalid times of their probes, or None if there are none."""
    import pandas as pd

    rows = [
        {"start_time": start, "stop_time": stop, "tags": [PROBE_TAG, str(probe.probe_id), probe.name]}
        for probe in probes
        for start, stop in probe.timeline.invalid_times(probe.sampling_rate)
    ]
    return pd.DataFrame(rows).sort_values("start_time", kind="stable", ignore_index=True) if rows else None


def check_measured(folder: Path) -> None:
    """Raise if a stage whose outputs are packaged has not run to its end in a probe's folder, or did so long ago."""
    run = f"allen-ecephys process units RAW {folder}"
    measured = read_manifest(units.STAGE.folder(folder))
    if measured is None:
        msg = f"{folder} holds no finished stage {units.STAGE.name!r}: run `{run}` first"
        raise StageError(msg)
    missing = [f"the stage {stage.name!r}" for stage in PACKAGED if not stage.is_finished(folder)]
    if "sampling_rate" not in measured.get("report", {}):
        missing.append("the sampling rate")
    if missing:
        msg = (
            f"{folder} was measured by version {measured.get('version', '(unknown)')} of this package and lacks "
            f"{' and '.join(missing)}. Run `{run}` again, with the options of that time: it keeps what is still valid"
        )
        raise StageError(msg)


def _filtering(folder: Path) -> str:
    """Return what the probe's amplifiers filter: by its kind, else as the release's, which were 3A probes."""
    return hardware_filters(str(depth_estimation.known_recording(folder).get("part_number", ""))) or FILTERING


def _channels(file: Path, probe_id: int, structure_acronym: str) -> pd.DataFrame:
    """Return the table of a probe's channels: those below the surface are in the brain, masked ones not valid."""
    import pandas as pd

    info = read_probe_info(file)
    facts: dict[str, Any] = read_json(file)
    number = np.arange(info.mask.size)
    return pd.DataFrame(
        {
            "probe_id": probe_id,
            "probe_channel_number": number,
            "probe_vertical_position": np.asarray(facts["vertical_pos"], dtype=np.float64),
            "probe_horizontal_position": np.asarray(facts["horizontal_pos"], dtype=np.float64),
            "valid_data": info.mask,
            "structure_acronym": np.where(info.in_brain, structure_acronym, ""),
            "anterior_posterior_ccf_coordinate": np.nan,
            "dorsal_ventral_ccf_coordinate": np.nan,
            "left_right_ccf_coordinate": np.nan,
        },
        index=pd.Index(channel_ids(probe_id, number), name="id"),
    )


def _spontaneous(stop: float) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(
        {"start_time": [0.0], "stop_time": [stop], "stimulus_name": ["spontaneous"], "stimulus_block": [0.0]}
    )
