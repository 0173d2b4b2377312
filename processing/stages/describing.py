"""The first description of a session: what a rig's folder tells by itself, written as the session's file.

What is read: the probes and their recorders, the sync file, pickles of stimuli and of the light, tables of stimuli, of
channels, fits of the eye, when it was recorded, and a description (JSON) that the rig wrote. What cannot be read is
named in a comment where it belongs.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from allen_ecephys.errors import AllenEcephysError, MissingFileError
from allen_ecephys.files import read_json, write_atomically

from ..behavior.eye_tracking import read_ellipses
from ..packaging.identities import LARGEST_SESSION_ID
from ..pipeline.schema import check
from ..readers.finding import files_below
from ..readers.raw_folder import ProbeListing, list_probes, open_bands
from ..stimulus_table import open_stimulus_pickle, read_restricted_pickle
from ..synchronization import open_sync_file, probe_event_files
from ..synchronization.ni_daq import is_ni_file, saw_square_wave
from ..synchronization.probe_events import recorder_times_file
from .session_file import is_json, parsed, session_of
from .session_schema import session_schema

logger = logging.getLogger(__name__)

SESSION_NAME: Final = "session.toml"
#: A stimulus pickle of hours is large, and is all that is read whole.
_MOST_BYTES: Final = 4 << 30
#: Characters of a table's header that are looked at.
_LONGEST_HEADER: Final = 1 << 16
#: Keys whose values name a file or folder.
_PATHS: Final = ("sync", "stimulus", "presentations", "optotagging", "eye_ellipses", "output", "cache")
_PATHS_OF_A_PROBE: Final = ("recording", "channels", "events", "settings")


@dataclass(frozen=True)
class Found:
    """What a rig's folder tells.

    Attributes
    ----------
    facts
        Keys and values of the session's file.
    reasons
        Key -> where its value comes from.
    open_questions
        What was not found, or cannot be known from files.
    """

    facts: dict[str, Any]
    reasons: dict[str, str]
    open_questions: tuple[str, ...]


def describe_folder(
    folder: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    cache: str | os.PathLike[str] | None = None,
) -> Path:
    """Write a session's file from what a rig's folder holds, and return its path.

    Parameters
    ----------
    folder
        Where the rig's computers left a session.
    output
        File to write, by default ``session.toml`` in the folder; one that is there is not replaced. A name that ends in
        ``.json`` gets JSON, and what is not known is logged.
    cache
        Folder of the project cache that is to serve the session.

    Raises
    ------
    MissingFileError
        If the folder holds no recording of a probe.
    FileFormatError
        If a description that the rig wrote says what no session's file may say; every fault is told, with its key.
    AlreadyPresentError
        If the file is there.

    Examples
    --------
    >>> describe_folder("no/such/folder")
    Traceback (most recent call last):
    allen_ecephys.errors.MissingFileError: there is no no/such/folder; name the folder of a recording
    """
    place = Path(folder)
    target = Path(output) if output is not None else place / SESSION_NAME
    found = look_into(place, target.parent)
    if cache is not None:
        found.facts["cache"] = _relative(Path(cache), target.parent)
    write = as_json if is_json(target) else as_toml
    check(found.facts, session_schema(), target)
    contents = parsed(write(found).encode("utf-8"), target)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        session_of(contents, target)
    except AllenEcephysError as error:
        wrong = (f"to be mended before it can be processed: {line}" for line in str(error).splitlines())
        found = replace(found, open_questions=(*found.open_questions, *wrong))
    write_atomically(target, write(found), replace=False)
    if is_json(target):  # which holds no comments
        for question in found.open_questions:
            logger.warning("%s: not known from the files: %s", target, question)
    return target


def look_into(folder: Path, base: Path) -> Found:
    """Find out what a rig's folder tells; files are named as they are from the folder `base`.

    Raises
    ------
    MissingFileError
        If it holds no recording of a probe.
    """
    told, source = _told_by_rig(folder)
    named = {name for name in _PATHS if name in told}
    facts: dict[str, Any] = {}
    reasons: dict[str, str] = {}
    questions: list[str] = []
    for name, value in told.items():
        if name != "probes":
            facts[name] = _relative(folder / value, base) if name in named else value
            reasons[name] = source
    for name, path in _rig_files(folder):
        if name not in facts and not (name == "presentations" and "stimulus" in facts):
            facts[name], reasons[name] = _relative(path, base), "found"
    facts["probes"] = told_probes = _probes(folder, base, told.get("probes", []), "sync" in facts, questions)
    if "session_start_time" not in facts:
        facts["session_start_time"], reasons["session_start_time"] = _start_time(folder, base, told_probes)
    if "session_id" not in facts:
        facts["session_id"], reasons["session_id"] = _session_id(folder, facts["session_start_time"])
    questions += [f"no {name} was found" for name in ("sync", "stimulus", "eye_ellipses") if name not in facts]
    if is_ni_file(Path(facts.get("sync", ""))) and "lines" not in facts:
        questions.append(
            "which lines of the NI card saw the stimulus, the light and the cameras: [lines] with frames, photodiode, "
            'optotagging, eye_camera, such as frames = "XD2"'
        )
    if "session_type" not in facts:
        questions.append("session_type, the set of stimuli, such as brain_observatory_1.1: a project cache asks for it")
    if "subject" not in facts:
        questions.append("who was recorded: [subject] with specimen_name, subject_id, age_in_days, sex, full_genotype")
    if "rig" not in facts and "eye_ellipses" in facts:
        questions.append("where monitor, camera and light stood ([rig]); without, eye_ellipses cannot be used")
        del facts["eye_ellipses"]
    return Found(facts, reasons, tuple(questions))


def as_toml(found: Found) -> str:
    """Return what was found as TOML, where each value comes from beside it, and what is open at the top."""
    lines = ["# A session of allen-ecephys. `allen-ecephys process schema` says what else may stand here."]
    if found.open_questions:
        lines += ["#", "# Not known from the files:"]
        lines += [f"#   {_comment(question)}" for question in found.open_questions]
    lines.append("")
    facts = _ids_first(found.facts)
    tables = {name: value for name, value in facts.items() if isinstance(value, dict)}
    rows = {name: value for name, value in facts.items() if _is_rows(value)}
    for name, value in facts.items():
        if name not in tables and name not in rows and value not in (None, []):
            why = f"  # {_comment(found.reasons[name])}" if found.reasons.get(name) else ""
            lines.append(f"{name} = {_value(value)}{why}")
    for name, table in tables.items():
        lines += ["", f"[{name}]", *(f"{_key(key)} = {_value(value)}" for key, value in table.items())]
    for name, listed in rows.items():
        for row in listed:
            lines += ["", f"[[{name}]]", *(f"{key} = {_value(v)}" for key, v in row.items())]
    return "\n".join(lines) + "\n"


def as_json(found: Found) -> str:
    """Return what was found as JSON, which has no room for where it comes from."""
    return json.dumps(_ids_first(found.facts), indent=1) + "\n"


def _ids_first(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: facts[name] for name in ("session_id", "session_start_time")} | facts


def _told_by_rig(folder: Path) -> tuple[dict[str, Any], str]:
    """Return what the rig's own description says, and its name; nothing where there is none."""
    for path in sorted(folder.glob("*.json")):
        try:
            told = read_json(path)
        except (OSError, ValueError):
            continue
        if isinstance(told, dict) and {"session_id", "probes"} <= set(told):
            told = _without_nulls(told)
            check(told, session_schema() | {"required": []}, path)
            return told, path.name
    return {}, ""


def _without_nulls(value: Any) -> Any:
    """Leave out what JSON says is not there: TOML has no word for it."""
    if isinstance(value, dict):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value


def _rig_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield what files in the folder are, told by what they hold."""
    looks: list[tuple[str, str, Callable[[Path], bool]]] = [
        ("sync", "*.sync", _is_sync), ("sync", "*.h5", _is_sync), ("stimulus", "*.pkl", _is_stimulus),
        ("optotagging", "*.pkl", _is_light), ("eye_ellipses", "*.h5", _is_eye), ("presentations", "*.csv", _is_shown),
    ]  # fmt: skip
    for name, pattern, fits in looks:
        for path in sorted(folder.glob(pattern)):
            if path.is_file() and path.stat().st_size <= _MOST_BYTES and _says(fits, path):
                yield name, path
                break
    of_card = files_below(folder, "*.nidq.*bin")  # of SpikeGLX, which lies in the run's folder
    if len(of_card) == 1 and _says(saw_square_wave, of_card[0]):
        yield "sync", of_card[0]


def _says(fits: Callable[[Path], bool], path: Path) -> bool:
    try:
        return fits(path)
    except (AllenEcephysError, OSError, ValueError, KeyError, TypeError):
        return False  # a file of another kind


def _is_sync(path: Path) -> bool:
    return len(open_sync_file(path).seconds) > 0


def _is_stimulus(path: Path) -> bool:
    return open_stimulus_pickle(path) is not None and not _is_light(path)


def _is_light(path: Path) -> bool:
    contents = read_restricted_pickle(path)
    return isinstance(contents, dict) and any(str(key).startswith("opto_") for key in contents)


def _is_eye(path: Path) -> bool:
    return bool(read_ellipses(path))


def _is_shown(path: Path) -> bool:
    return {"start_time", "stop_time", "stimulus_name"} <= set(_header(path))


def _header(path: Path) -> list[str]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.readline(_LONGEST_HEADER).strip().split(",")


def _probes(
    folder: Path, base: Path, told: Iterable[dict[str, Any]], has_sync: bool, questions: list[str]
) -> list[dict[str, Any]]:
    rows = [
        row | {key: _relative(folder / row[key], base) for key in _PATHS_OF_A_PROBE if row.get(key)} for row in told
    ]
    if rows:
        return rows
    listed = list_probes(folder)
    questions += [
        f"{one.folder} cannot be opened: {_in_words_of_the_file(one.problem)}" for one in listed if one.problem
    ]
    good = [one for one in listed if not one.problem]
    if not good:
        msg = (
            f"{folder} holds no recording that can be opened: {'; '.join(questions)}. Or write {SESSION_NAME} "
            "yourself, with name, recording and what is missing in [[probes]]; `allen-ecephys process schema` says "
            "what may stand there"
        )
        raise MissingFileError(msg)
    names = _names(good)
    return [_probe(folder, base, one, name, good, has_sync=has_sync) for one, name in zip(good, names, strict=True)]


def _in_words_of_the_file(problem: str) -> str:
    """Return why a probe cannot be opened, with arguments of Python as what stands in a session's file."""
    said = re.sub(r"\b(settings|part_number|stream)=(?:\.\.\.|'([^']*)')", _as_key, problem)
    return said if said == problem else f"{said} ({SESSION_NAME}: below its [[probes]])"


def _as_key(found: re.Match[str]) -> str:
    example = {"settings": "settings.xml", "part_number": "NP2013", "stream": "ProbeA"}[found[1]]
    return f'{found[1]} = "{found[2] or example}"'


def _names(listed: list[ProbeListing]) -> list[str]:
    """Return names that differ: those of the recorder, else those of the folders, else probeA, probeB, ..."""
    for names in ([one.probe for one in listed], [one.folder.name for one in listed]):
        plain = [re.sub(r"[^A-Za-z0-9_.-]", "_", name) for name in names]
        if all(plain) and len({name.casefold() for name in plain}) == len(plain):
            return plain
    return [f"probe{chr(ord('A') + number)}" for number in range(len(listed))]


def _probe(
    folder: Path, base: Path, one: ProbeListing, name: str, listed: list[ProbeListing], *, has_sync: bool
) -> dict[str, Any]:
    row: dict[str, Any] = {"name": name, "recording": _relative(one.folder, base)}
    if sum(other.folder == one.folder for other in listed) > 1:
        row["stream"] = one.probe
    tables = [path for path in sorted(folder.glob("*.csv")) if {"channel", "structure_acronym"} <= set(_header(path))]
    mine = [path for path in tables if path.stem.casefold().startswith(name.casefold())]
    if mine:
        row["channels"] = _relative(mine[0], base)
    return row | _clock(one, has_sync=has_sync)


def _clock(one: ProbeListing, *, has_sync: bool) -> dict[str, Any]:
    """Return what can put a probe in time: barcodes, if both it and a sync file saw them; else its recorder."""
    if one.recorder == "SpikeGLX":
        return {"clock": "square_wave"} | ({"start": 0.0} if has_sync else {})
    if has_sync:
        try:
            probe_event_files(one.folder, one.probe or None)
        except AllenEcephysError:
            pass
        else:
            return {}
    try:
        recorder_times_file(open_bands(one.folder, stream=one.probe or None).spike_band)
    except AllenEcephysError:
        return {}
    return {"clock": "recorder"}


def _start_time(folder: Path, base: Path, probes: list[dict[str, Any]]) -> tuple[str, str]:
    """Return when it was recorded and where that is said; the clock's time zone is this machine's."""
    # The folder of the session's file need not be there yet.
    places = [Path(os.path.normpath(base.absolute() / row["recording"])) for row in probes]
    unread = ""
    for path, said in _dates(folder, places):
        try:
            when = _date(said)
            return (
                when if when.tzinfo else when.astimezone()
            ).isoformat(), f"{path.name}, in the time zone of this machine"
        except (ValueError, OverflowError, OSError):
            unread = unread or f" ({path.name} says {said!r}, which is no date that can be read)"
    oldest = min(path.stat().st_mtime for path in [places[0], *places[0].rglob("*")])
    when = datetime.fromtimestamp(oldest, UTC).replace(microsecond=0)
    return when.isoformat(), f"NOT TOLD{unread}: when the oldest raw file was last written; mend it"


def _dates(folder: Path, places: list[Path]) -> Iterator[tuple[Path, str]]:
    """Yield what recorders say of when they started: SpikeGLX in its ``.meta``, Open Ephys in its settings."""
    for place in [folder, *places]:
        for path in sorted((place if place.is_dir() else place.parent).rglob("*.meta")):
            yield from ((path, said) for said in _said(path, r"^fileCreateTime=(\S+)"))
    for path in sorted(folder.rglob("settings*.xml")):
        yield from ((path, said) for said in _said(path, r"<DATE>([^<]+)</DATE>"))


def _said(path: Path, pattern: str) -> list[str]:
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    return [said.strip() for said in re.findall(pattern, text, re.M)[:1]]


def _date(said: str) -> datetime:
    try:
        return datetime.fromisoformat(said)
    except ValueError:
        return datetime.strptime(said, "%d %b %Y %H:%M:%S")


def _session_id(folder: Path, start: str) -> tuple[int, str]:
    numbers = [n for n in re.findall(r"\d{4,12}", folder.resolve().name) if 0 < int(n) <= LARGEST_SESSION_ID]
    if numbers:
        return int(max(numbers, key=len)), "from the folder's name"
    digits = re.sub(r"\D", "", start)[:10]
    return max(int(digits or 1), 1), "NOT TOLD: from the start; mend it if the session has an id"


def _relative(path: Path, base: Path) -> str:
    return Path(os.path.relpath(path, base)).as_posix()


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def _value(value: Any) -> str:
    """Return a value as TOML: text, numbers, true and false are written as JSON writes them, objects on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(key)} = {_value(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _value(name)


def _comment(text: str) -> str:
    """Return a text as a comment can hold it: on one line, without what is no character."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in text)
