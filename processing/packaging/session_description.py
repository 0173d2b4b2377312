"""The session description: what the files of a rig cannot tell, and where they are."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from allen_ecephys.errors import FileFormatError, InvalidValueError, MissingFileError, suggest
from allen_ecephys.files import read_json

from ..synchronization.ni_daq import SQUARE_WAVE, is_ni_file, ni_files
from ..synchronization.sync_file import LINE_NAMES
from .contents import RigGeometry, SessionMetadata
from .identities import check_session_id

_REQUIRED: Final = ("session_id", "session_start_time", "probes")
_OPTIONAL: Final = (
    *("session_type", "institution", "subject", "rig", "sync", "stimulus", "presentations", "optotagging"),
    *("eye_ellipses", "invalid_times", "monitor_lag", "square_wave", "lines"),
)
_SUBJECT: Final = ("specimen_name", "subject_id", "age_in_days", "full_genotype", "sex", "strain", "species")
#: What only the lines of a sync file put in time.
_NEED_SYNC: Final = ("stimulus", "optotagging", "eye_ellipses", "square_wave", "lines")
_PROBE: Final = ("name", "recording", "channels", "events", "stream", "settings", "part_number", "clock", "start")
#: What a probe's samples are put in time by.
CLOCKS: Final = ("barcodes", "square_wave", "recorder")
_SEXES: Final = (None, "M", "F", "U", "O")
#: Names of probes become names of files.
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.-]*")
LONGEST_NAME: Final = 100
#: Keys that name files of the session; of a probe, with whether a folder will do.
_FILES: Final = ("sync", "stimulus", "presentations", "optotagging", "eye_ellipses")
_FILES_OF_A_PROBE: Final = {"recording": True, "channels": False, "events": True, "settings": False}
_INVALID: Final = ("start_time", "stop_time", "type", "id", "label")


@dataclass(frozen=True)
class ProbeDescription:
    """One probe of a session.

    Attributes
    ----------
    name
        As ``probeA``; every probe has its own.
    recording
        Folder of its raw data.
    channels
        Table (CSV) of where its channels are in the brain, or None.
    events
        Folder with the events of its barcode line, or None to look for it below `recording`.
    stream
        Which of several probes in `recording`, or None.
    settings, part_number
        Of recordings of Open Ephys whose own settings are lost: ``settings.xml``, or which probe it was; or None.
    clock
        What puts its samples in time: ``"barcodes"``; ``"square_wave"``, which SpikeGLX writes beside the samples; or
        ``"recorder"``, the times that Open Ephys (since 0.6) itself wrote for samples of synchronised streams.
    start
        About when its sample 0 was taken (s, to a quarter of the wave's period), for a square wave; None is 0 where
        there is no sync file.

    Examples
    --------
    >>> probe = ProbeDescription("probeA", Path("rig/probeA"), clock="recorder")
    >>> probe.name, probe.clock
    ('probeA', 'recorder')
    """

    name: str
    recording: Path
    channels: Path | None = None
    events: Path | None = None
    stream: str | None = None
    clock: str = "barcodes"
    start: float | None = None
    settings: Path | None = None
    part_number: str | None = None

    @property
    def opened_with(self) -> dict[str, Any]:
        """What :func:`~allen_ecephys.processing.readers.open_bands` is told besides the folder.

        Examples
        --------
        >>> ProbeDescription("probeA", Path("rig"), stream="ProbeA").opened_with
        {'stream': 'ProbeA', 'settings': None, 'part_number': None}
        """
        return {"stream": self.stream, "settings": self.settings, "part_number": self.part_number}


@dataclass(frozen=True)
class SessionDescription:
    """A session as its rig left it.

    Attributes
    ----------
    path
        The description's file; all other paths are relative to its folder.
    metadata
        Who was recorded, when and with which stimuli; what the description does not say is None.
    rig
        Where monitor, camera and light stood, or None.
    sync
        The sync file, or that of SpikeGLX's NI card, whose clock is the session's; or None. Without one, the
        session's clock is that of the recorder's times, or that of the first probe where probes share a square wave.
    stimulus, presentations
        Stimulus pickle, or a plain table in its place; at most one of them.
    optotagging, eye_ellipses
        Pickle of the light, and file of eye ellipses, or None.
    invalid_times
        Declared intervals: ``start_time``, ``stop_time`` (s), ``type``, ``id`` and ``label``.
    monitor_lag
        From a vsync to the screen (s), for sessions without a photodiode.
    square_wave
        Line of the sync file that saw the square wave of the probes, or None.
    lines
        Which line of the sync file serves a purpose (``frames``, ``photodiode``, ...), where its names do not tell.
    probes
        In the order of their names.
    """

    path: Path
    metadata: SessionMetadata
    rig: RigGeometry | None
    sync: Path | None
    stimulus: Path | None
    presentations: Path | None
    optotagging: Path | None
    eye_ellipses: Path | None
    invalid_times: tuple[Mapping[str, Any], ...]
    monitor_lag: float | None
    square_wave: str | None
    lines: Mapping[str, str | int]
    probes: tuple[ProbeDescription, ...]

    @property
    def sync_files(self) -> list[Path]:
        """The sync file and what belongs to it: of a NI card its metadata, and how it is compressed."""
        if self.sync is None:
            return []
        return ni_files(self.sync) if is_ni_file(self.sync) else [self.sync]

    def files(self) -> list[Path]:
        """Return every file that it names, besides the probes' raw data."""
        named = (*self.sync_files, self.stimulus, self.presentations, self.optotagging, self.eye_ellipses)
        of_probes = [file for probe in self.probes for file in (probe.channels, probe.settings)]
        return [p for p in (*named, *of_probes) if p is not None]

    def facts(self) -> dict[str, Any]:
        """Return all that is told, as JSON holds it; of files and folders, only whether they are named.

        What they hold is an input of the stages that read them, and their names and places change nothing.
        """
        told = {name: value for name, value in asdict(self).items() if name != "path"}
        return without_file_names(json.loads(json.dumps(told, default=str)))


def without_file_names(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return facts of a session as :meth:`SessionDescription.facts` tells them, where a record still names files."""

    def given(row: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
        return {key: value not in (None, False) if key in names else value for key, value in row.items()}

    return given(facts, _FILES) | {"probes": [given(probe, _FILES_OF_A_PROBE) for probe in facts.get("probes", ())]}


def read_session_description(path: str | os.PathLike[str]) -> SessionDescription:
    """Read a session description (JSON).

    Needed are ``session_id``, ``session_start_time`` (ISO 8601 with its time zone) and ``probes`` (each with ``name``
    and ``recording``), and a sync file (``sync``) for all that only its lines put in time: barcodes, pickles of stimuli
    and of the light, the eye. All else may be absent, and is then absent from the session's file.

    Raises
    ------
    MissingFileError
        If the description, or a file it names, is not there.
    FileFormatError
        If something needed is missing, something is unknown, two probes have one name or one recording, a time has no
        zone, or a probe's clock lacks what it rests on.
    """
    place = Path(path)
    if not place.is_file():
        msg = f"there is no session description {place}"
        raise MissingFileError(msg)
    try:
        told = read_json(place)
    except ValueError as error:
        msg = f"{place} is no JSON ({error})"
        raise FileFormatError(msg) from error
    return session_description(told, place)


def session_description(told: Any, path: str | os.PathLike[str]) -> SessionDescription:
    """Make a session description of what a file at `path` says; see :func:`read_session_description`.

    Raises
    ------
    MissingFileError, FileFormatError
        As :func:`read_session_description`.
    """
    place = Path(path)
    _check_names(told, (*_REQUIRED, *_OPTIONAL), f"{place}", _REQUIRED)
    subject, rig = told.get("subject", {}), told.get("rig")
    _check_names(subject, _SUBJECT, f"{place}, subject")
    if rig is not None:
        _check_names(rig, (known := tuple(f.name for f in fields(RigGeometry))), f"{place}, rig", known)
    if told.get("stimulus") and told.get("presentations"):
        msg = f"{place} names a stimulus pickle and a table of presentations; one of them says what was shown"
        raise FileFormatError(msg)
    if subject.get("sex") not in _SEXES:
        msg = f"{place}, subject: sex is {subject['sex']!r}; write M, F, O, or U where it was looked for"
        raise FileFormatError(msg)
    _number(subject, "age_in_days", f"{place}, subject", least=0.0)
    _number(told, "monitor_lag", f"{place}")
    _check_files(told, place)
    probes = tuple(sorted((_probe(p, place) for p in _list(told, "probes", place)), key=lambda p: p.name))
    names = [probe.name for probe in probes]
    if not names or len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        msg = f"{place} names {'no probe' if not names else f'the probe {twice[0]} twice'}; each has a name of its own"
        raise FileFormatError(msg)
    _check_recordings(probes, place)
    _check_clocks(told, probes, place)
    invalid = _list(told, "invalid_times", place)
    for row in invalid:
        where = f"{place}, invalid_times"
        _check_names(row, _INVALID, where, _INVALID)
        if row["id"] is None:
            msg = f"{where}: id is null; say what is invalid, as its number or name"
            raise FileFormatError(msg)
        start, stop = (_number(row, name, where, least=0.0) or 0.0 for name in ("start_time", "stop_time"))
        if not start < stop:
            msg = f"{where}: an interval stops at {stop} s and starts at {start} s; it must stop after it starts"
            raise FileFormatError(msg)
    return SessionDescription(
        path=place,
        metadata=SessionMetadata(
            session_id=_session_id(told["session_id"], place),
            session_start_time=_start(told["session_start_time"], place),
            session_type=told.get("session_type"),
            institution=told.get("institution"),
            **subject,
        ),
        rig=None if rig is None else _rig(rig, place),
        **{name: _path(told, name, place) for name in _FILES},
        invalid_times=tuple(invalid),
        monitor_lag=told.get("monitor_lag"),
        square_wave=told.get("square_wave"),
        lines=_lines(told.get("lines") or {}, place),
        probes=probes,
    )


def _check_names(told: Any, known: tuple[str, ...], where: str, needed: tuple[str, ...] = ()) -> None:
    if not isinstance(told, Mapping):
        msg = f"{where} is a {type(told).__name__}, not an object with names"
        raise FileFormatError(msg)
    unknown = [name for name in told if name not in known]
    if unknown:
        msg = f"{where}: {unknown[0]!r} is unknown{suggest(unknown[0], known)}; known are {', '.join(known)}"
        raise FileFormatError(msg)
    missing = [name for name in needed if name not in told]
    if missing:
        msg = f"{where} does not say {', '.join(missing)}"
        raise FileFormatError(msg)


def _probe(told: Any, place: Path) -> ProbeDescription:
    _check_names(told, _PROBE, f"{place}, probes", ("name", "recording"))
    name = str(told["name"])
    if not _NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        msg = f"{place}, probes: {name!r} is no name of a probe, after which files are named; write it as probeA"
        raise FileFormatError(msg)
    return ProbeDescription(
        name=name,
        recording=place.parent / str(told["recording"]),
        channels=_path(told, "channels", place),
        events=_path(told, "events", place),
        stream=told.get("stream"),
        clock=told.get("clock", "barcodes"),
        start=_number(told, "start", f"{place}, {name}"),
        settings=_path(told, "settings", place),
        part_number=None if told.get("part_number") is None else str(told["part_number"]),
    )


def _list(told: Mapping[str, Any], name: str, place: Path) -> list[Any]:
    values = told.get(name, [])
    if not isinstance(values, list | tuple):
        msg = f"{place}: {name} is a {type(values).__name__}, not a list"
        raise FileFormatError(msg)
    return list(values)


def _number(told: Mapping[str, Any], name: str, where: str, least: float = -math.inf) -> float | None:
    """Return a number that may be absent."""
    value = told.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < math.inf:
        needed = "a number" if least == -math.inf else f"a number, {least:g} or more"
        msg = f"{where}: {name} is {value!r}, not {needed}"
        raise FileFormatError(msg)
    return float(value)


def _lines(told: Any, place: Path) -> dict[str, str | int]:
    _check_names(told, tuple(LINE_NAMES), f"{place}, lines")
    for purpose, line in told.items():
        if isinstance(line, bool) or not isinstance(line, str | int) or (isinstance(line, int) and not 0 <= line < 64):
            msg = (
                f"{place}, lines: {purpose} is {line!r}; give the name of a line of the sync file, or its bit (0 to 63)"
            )
            raise FileFormatError(msg)
    return dict(told)


def _session_id(value: Any, place: Path) -> int:
    try:
        check_session_id(value)
    except InvalidValueError as error:
        msg = f"{place}: {error}"
        raise FileFormatError(msg) from error
    return int(value)


def _check_recordings(probes: tuple[ProbeDescription, ...], place: Path) -> None:
    """Raise where two probes are of one recording: its spikes would be served twice."""
    for number, probe in enumerate(probes):
        for other in probes[:number]:
            # A recording that needs no stream holds one probe.
            streams = {one.stream for one in (probe, other)}
            if probe.recording.resolve() == other.recording.resolve() and (len(streams) == 1 or None in streams):
                of_stream = f" (stream {probe.stream!r})" if probe.stream == other.stream and probe.stream else ""
                msg = (
                    f"{place}: the probes {other.name} and {probe.name} are of one recording, {probe.recording}"
                    f"{of_stream}; each has a recording of its own, or a stream of its own in it"
                )
                raise FileFormatError(msg)


def _check_clocks(told: Mapping[str, Any], probes: tuple[ProbeDescription, ...], place: Path) -> None:
    """Raise where something is to be put in time by what is not there."""
    has_sync = told.get("sync") is not None
    for name in _NEED_SYNC:
        if told.get(name) is not None and not has_sync:
            msg = f"{place} names {name}, which only the lines of a sync file put in time, and no sync"
            raise FileFormatError(msg)
    for probe in probes:
        where = f"{place}, {probe.name}"
        if probe.clock not in CLOCKS:
            msg = f"{where}: no clock {probe.clock!r}{suggest(probe.clock, CLOCKS)}; there are {', '.join(CLOCKS)}"
            raise FileFormatError(msg)
        if probe.clock == "barcodes" and not has_sync:
            msg = (
                f"{where} has a clock of barcodes, but no sync file saw them, too: name it (sync), or another clock of "
                "the probe (square_wave, recorder)"
            )
            raise FileFormatError(msg)
        # The metadata of a NI card say themselves which line saw the wave.
        line = (
            told.get("square_wave")
            or SQUARE_WAVE in (told.get("lines") or {})
            or is_ni_file(Path(str(told.get("sync"))))
        )
        if probe.clock == "square_wave" and has_sync and not (line and probe.start is not None):
            lacks = "start, about when its sample 0 was taken" if line else "square_wave, the line"
            msg = f"{where}: edges of a square wave look alike; to match them with the sync file's, say {lacks}"
            raise FileFormatError(msg)


def _rig(told: Mapping[str, Any], place: Path) -> RigGeometry:
    vectors: dict[str, tuple[float, float, float]] = {}
    for name, values in told.items():
        if name == "equipment":
            continue
        try:
            x, y, z = (float(value) for value in values)
        except (TypeError, ValueError) as error:
            msg = f"{place}, rig: {name} is {values!r}, not three numbers"
            raise FileFormatError(msg) from error
        vectors[name] = (x, y, z)
    return RigGeometry(equipment=str(told["equipment"]), **vectors)


def _path(told: Mapping[str, Any], name: str, place: Path) -> Path | None:
    return None if told.get(name) is None else place.parent / str(told[name])


def _check_files(told: Mapping[str, Any], place: Path) -> None:
    """Raise if files that are named are not there, each on a line of its own."""
    named = [(name, told.get(name), False) for name in _FILES]
    for number, probe in enumerate(_list(told, "probes", place)):
        if isinstance(probe, Mapping):
            named += [(f"probes[{number}].{k}", probe.get(k), folder) for k, folder in _FILES_OF_A_PROBE.items()]
    faults = []
    for key, name, folder in named:
        path = place.parent / str(name)
        if name is None:
            continue
        if not path.exists():
            faults.append(f"{place}: {key} names {name}, and there is no {path}")
        elif not str(name) or (path.is_dir() and not folder):
            faults.append(f"{place}: {key} names {str(name)!r}, which is a folder; name the file in it")
    if faults:
        raise MissingFileError("\n".join(faults))


def _start(text: Any, place: Path) -> datetime:
    try:
        start = datetime.fromisoformat(str(text))
    except ValueError as error:
        msg = f"{place}: session_start_time {text!r} is no time; write it as 2019-01-19T08:54:18-08:00"
        raise FileFormatError(msg) from error
    if start.tzinfo is None:
        msg = f"{place}: session_start_time {text!r} has no time zone; write it as 2019-01-19T08:54:18-08:00"
        raise FileFormatError(msg)
    return start
