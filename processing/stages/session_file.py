"""A session's file: what its rig left, the parameters of its stages, and where the results go."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import date, datetime, time
from pathlib import Path
from typing import Any, Final

from allen_ecephys.errors import FileFormatError, InvalidValueError, MissingFileError

from ..packaging.session_description import SessionDescription, session_description
from ..pipeline.schema import check
from ..quality_metrics import QualitySettings
from ..sorting.sorters import NATIVE, native_parameters
from ..spike_band.probe_info import DepthParameters
from ..unit_cleaning import NoiseThresholds
from .session_schema import RESERVED, session_schema
from .units import UnitParameters

#: Keys that say how to process a session; all others say what it is.
_HOW: Final = ("output", "cache", "seed", "file_create_date", "stages", "run")


@dataclass(frozen=True)
class SessionParameters:
    """Parameters of all stages of a session.

    Attributes
    ----------
    depth
        Of ``depth_estimation``.
    write_medians
        Whether ``median_subtraction`` writes what it leaves of the spike band.
    sorter, sorter_parameters, python
        Which sorter, what it is told, and the Python it is installed for, or None for this one.
    units
        Of the stages from sorted spikes to measured units.
    lfp
        Whether LFP files are written.
    stimulus_metrics
        What :func:`.stimulus_metrics.run_stimulus_metrics` is told.
    """

    depth: DepthParameters
    write_medians: bool
    sorter: str
    sorter_parameters: Mapping[str, Any]
    python: str | None
    units: UnitParameters
    lfp: bool
    stimulus_metrics: Mapping[str, Any]


@dataclass(frozen=True)
class Where:
    """Where a session is processed; what is None is not said.

    Attributes
    ----------
    workers, threads
        Processes that work at once, and threads of each.
    scheduler
        Address of a dask scheduler.
    cluster
        ``kind`` of job queue, number of ``jobs``, and ``options`` of its dask-jobqueue cluster.
    """

    workers: int | None = None
    threads: int | None = None
    scheduler: str | None = None
    cluster: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class SessionFile:
    """What a session's file says.

    Attributes
    ----------
    path
        The file.
    told
        What the session is.
    output
        Folder that gets everything made of it.
    cache
        Folder of the project cache that serves it at the end, or None.
    parameters
        Of the stages.
    where
        Where it is processed, as far as the file says.
    """

    path: Path
    told: SessionDescription
    output: Path
    cache: Path | None
    parameters: SessionParameters
    where: Where


def read_session_file(path: str | os.PathLike[str]) -> SessionFile:
    """Read and check a session's file: TOML, or JSON with the same keys; its schema is :func:`.session_schema`.

    Raises
    ------
    MissingFileError
        If the file, or one that it names, is not there.
    FileFormatError
        If it is no TOML, or not what the schema says; every fault is told, with its key and what is needed.

    Examples
    --------
    >>> read_session_file("session.toml")
    Traceback (most recent call last):
    allen_ecephys.errors.MissingFileError: there is no session file session.toml; `allen-ecephys process describe` ...
    """
    place = Path(path)
    if not place.is_file():
        msg = f"there is no session file {place}; `allen-ecephys process describe` writes one from a rig's folder"
        raise MissingFileError(msg)
    contents = parsed(place.read_bytes(), place)
    check(contents, session_schema(), place)
    return session_of(contents, place)


def session_of(contents: Mapping[str, Any], place: Path) -> SessionFile:
    """Return what a session's file at `place` says, whose contents are as its schema wants them.

    Raises
    ------
    MissingFileError, FileFormatError
        As :func:`read_session_file`.
    """
    _check_probe_names(contents["probes"], place)
    told = session_description({name: value for name, value in contents.items() if name not in _HOW}, place)
    told = replace(told, metadata=replace(told.metadata, file_create_date=_made(contents, told, place)))
    output = place.parent / contents.get("output", f"{place.stem}_processed")
    _check_apart(output, told, place)
    return SessionFile(
        path=place,
        told=told,
        output=output,
        cache=place.parent / contents["cache"] if "cache" in contents else None,
        parameters=_parameters(contents.get("stages", {}), contents.get("seed", 0), place),
        where=Where(**contents.get("run", {})),
    )


def check_session_files(sessions: Sequence[SessionFile]) -> None:
    """Raise if sessions that are processed together would write into one another's folders or have one id.

    Raises
    ------
    InvalidValueError
        If they do.
    """
    for number, one in enumerate(sessions):
        for other in sessions[:number]:
            if _overlap(one.output, other.output):
                msg = (
                    f"{other.path} and {one.path} write into {other.output} and {one.output}, one within the other; "
                    "give each an `output` of its own"
                )
                raise InvalidValueError(msg)
            if one.told.metadata.session_id == other.told.metadata.session_id:
                msg = f"{other.path} and {one.path} have the session_id {one.told.metadata.session_id}; ids are unique"
                raise InvalidValueError(msg)


def is_json(place: Path) -> bool:
    """Tell whether a session's file of this name is JSON, not TOML."""
    return place.suffix.casefold() == ".json"


def parsed(content: bytes, place: Path) -> Any:
    """Return what the bytes of a session's file say, TOML or JSON by its name; dates and times as text.

    Raises
    ------
    FileFormatError
        If they are neither.
    """
    kind = "JSON" if is_json(place) else "TOML"
    try:
        text = content.decode("utf-8-sig").replace("\r\n", "\n")
        return _plain(json.loads(text) if kind == "JSON" else tomllib.loads(text))
    except ValueError as error:  # of both formats, and of bytes that are no UTF-8
        msg = f"{place} is no {kind}: {error}"
        raise FileFormatError(msg) from error
    except RecursionError as error:
        msg = f"{place} is nested too deeply to be read"
        raise FileFormatError(msg) from error


def _plain(value: Any) -> Any:
    """Return TOML's dates and times as text, everything else as it is."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value.isoformat() if isinstance(value, datetime | date | time) else value


def _made(contents: Mapping[str, Any], told: SessionDescription, place: Path) -> datetime:
    """Return when the session's files count as made: not now, so that equal inputs give equal bytes."""
    if "file_create_date" not in contents:
        return told.metadata.session_start_time
    text = contents["file_create_date"]
    try:
        made = datetime.fromisoformat(text)
    except ValueError as error:
        msg = f"{place}: file_create_date {text!r} is no time; write it as 2019-01-19T08:54:18-08:00"
        raise FileFormatError(msg) from error
    if made.tzinfo is None:
        msg = f"{place}: file_create_date {text!r} has no time zone; write it as 2019-01-19T08:54:18-08:00"
        raise FileFormatError(msg)
    return made


def _check_probe_names(probes: Sequence[Mapping[str, Any]], place: Path) -> None:
    names = [str(probe["name"]) for probe in probes]
    for number, name in enumerate(names):
        # Folders of these names are one on some file systems.
        if name.casefold() in [earlier.casefold() for earlier in names[:number]]:
            msg = f"{place}: probes[{number}].name is {name!r}, as another probe's; give each a name of its own"
            raise FileFormatError(msg)
        if name.casefold() in RESERVED:
            msg = f"{place}: probes[{number}].name is {name!r}, as a folder or file of the session; choose another"
            raise FileFormatError(msg)


def _check_apart(output: Path, told: SessionDescription, place: Path) -> None:
    """Raise if anything would be written into a recording, or beside one in the folder of a probe's stages."""
    for probe in told.probes:
        recording = probe.recording.resolve()
        if output.resolve().is_relative_to(recording):
            msg = f"{place}: output is {output}, within the recording of {probe.name}; name a folder outside of it"
            raise FileFormatError(msg)
        for folder in (output / one.name for one in told.probes):
            if _overlap(folder, recording):
                msg = (
                    f"{place}: output is {output}, so that {folder} gets what is made of a probe; it is, holds or lies "
                    f"in the recording of {probe.name}; name another output"
                )
                raise FileFormatError(msg)


def _overlap(one: Path, other: Path) -> bool:
    first, second = one.resolve(), other.resolve()
    return first == second or first.is_relative_to(second) or second.is_relative_to(first)


def _parameters(stages: Mapping[str, Any], seed: int, place: Path) -> SessionParameters:
    sorting, averaging = stages.get("sorting", {}), stages.get("mean_waveforms", {})
    sorter, given = sorting.get("sorter", NATIVE), sorting.get("parameters", {})
    faults: list[str] = []

    def taken(key: str, take: Callable[[], Any]) -> Any:
        try:
            return take()
        except ValueError as error:  # the errors of parameters are ValueErrors, all of them
            faults.append(f"{place}: stages.{key}: {error}")
            return None

    if sorter == NATIVE:
        taken("sorting.parameters", lambda: native_parameters(given))
    epochs = {name: (float(start), float(stop)) for name, (start, stop) in averaging.get("epochs", {}).items()}
    per_unit = {"spikes_per_unit": averaging["spikes_per_unit"]} if "spikes_per_unit" in averaging else {}
    units = taken(
        "mean_waveforms", lambda: UnitParameters(subtract_medians=False, **per_unit, epochs=epochs, seed=seed)
    )
    noise = taken("noise_units", lambda: _changed(NoiseThresholds(), stages.get("noise_units", {})))
    quality = taken("units", lambda: _changed(QualitySettings(seed=seed), stages.get("units", {})))
    depth = taken("depth_estimation", lambda: _changed(DepthParameters(), stages.get("depth_estimation", {})))
    if faults:
        raise FileFormatError("\n".join(faults))
    return SessionParameters(
        depth=depth,
        write_medians=stages.get("median_subtraction", {}).get("write", True),
        sorter=sorter,
        sorter_parameters=given,
        python=sorting.get("python"),
        units=replace(units, noise=noise, quality=quality),
        lfp=stages.get("whole_session", {}).get("lfp", True),
        stimulus_metrics={"seed": seed, **stages.get("stimulus_metrics", {})},
    )


def _changed(defaults: Any, given: Mapping[str, Any]) -> Any:
    """Return a dataclass with the values that are given, of the types of its defaults."""
    changes: dict[str, Any] = {}
    for field in fields(defaults):
        if field.name not in given:
            continue
        old, new = getattr(defaults, field.name), given[field.name]
        if is_dataclass(old):
            changes[field.name] = _changed(old, new)
        elif isinstance(old, tuple):
            changes[field.name] = tuple(new)
        else:
            changes[field.name] = type(old)(new)
    return replace(defaults, **changes)
