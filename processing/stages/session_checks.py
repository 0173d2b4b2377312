"""What is wrong with sessions is told before anything of them runs: folders, ids and recordings are looked at."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC
from pathlib import Path
from typing import Literal

from allen_ecephys.errors import AccessError, AllenEcephysError, AlreadyPresentError, FileFormatError

from ..pipeline.manifest import read_manifest
from . import stimulus_metrics, whole_session
from .session_file import SessionFile, check_session_files
from .session_steps import ProbeSteps


def check_sessions(sessions: Sequence[SessionFile]) -> None:
    """Raise if sessions cannot be processed together, or one of them not at all, as far as that can be told before.

    Raises
    ------
    InvalidValueError
        If two sessions have one id, or write into one another's folders.
    FileFormatError
        If a folder is to lie where a file is, or a session that a project is to serve states no type.
    AccessError
        If a folder cannot be written.
    AlreadyPresentError
        If an output folder holds another session, or a probe's folder what was made of another recording.

    Examples
    --------
    >>> check_sessions([])  # nothing is wrong with no session
    """
    check_session_files(sessions)
    for session in sessions:
        _check_start(session)
        for folder in (session.output, *(session.output / probe.name for probe in session.told.probes)):
            _check_folder(session, "output", folder)
        if session.cache is not None:
            _check_folder(session, "cache", session.cache)
            _check_cache_apart(session, session.cache)
            _check_type(session)
        _check_same_session(session)
        for probe in session.told.probes:
            _check_recording(ProbeSteps(session, probe))


def _check_start(session: SessionFile) -> None:
    start = session.told.metadata.session_start_time
    try:
        start.astimezone(UTC)
    except OverflowError as error:
        msg = f"{session.path}: session_start_time {start.isoformat()} is before the year 1 in UTC; give the real one"
        raise FileFormatError(msg) from error


def _check_folder(session: SessionFile, key: Literal["output", "cache"], folder: Path) -> None:
    """Raise unless the folder is there and can be written, or can be made."""
    place = folder.resolve()
    nearest = next(path for path in (place, *place.parents) if path.exists())
    if not nearest.is_dir():
        where = "which is a file" if nearest == place else f"but {nearest} is a file"
        msg = f"{session.path}: `{key}` needs the folder {folder}, {where}; name another place"
        raise FileFormatError(msg)
    if not os.access(nearest, os.W_OK | os.X_OK):
        what = "cannot be written" if nearest == place else f"cannot be made, as {nearest} cannot be written"
        msg = f"{session.path}: `{key}` needs the folder {folder}, which {what}; name another place, or permit writing"
        raise AccessError(msg)


def _check_cache_apart(session: SessionFile, cache: Path) -> None:
    """Raise if a project's files would be written into raw data, or among a probe's stages."""
    place = cache.resolve()
    for probe in session.told.probes:
        for folder in (probe.recording, session.output / probe.name):
            if place.is_relative_to(folder.resolve()):
                msg = (
                    f"{session.path}: `cache` is {cache}, within {folder} of {probe.name}; name a folder outside of it"
                )
                raise FileFormatError(msg)


def _check_type(session: SessionFile) -> None:
    if not session.told.metadata.session_type:
        msg = (
            f"{session.path}: session_type is missing: set of stimuli, such as brain_observatory_1.1; a project "
            "(`cache`) files a session's metrics under it"
        )
        raise FileFormatError(msg)


def _check_same_session(session: SessionFile) -> None:
    """Raise if the output folder holds the files of a session of another id."""
    folder = whole_session.STAGE.folder(session.output)
    manifest = read_manifest(folder)
    if manifest is None:
        return
    try:
        before = int(manifest["parameters"]["description"]["metadata"]["session_id"])
    except (LookupError, TypeError, ValueError):  # written otherwise than by a session's file: nobody noted the id
        return
    wanted = session.told.metadata.session_id
    if before != wanted:
        measured = stimulus_metrics.STAGE.folder(session.output)
        msg = (
            f"{session.output} holds session {before}, and {session.path} describes session {wanted}: give it another "
            f"`output`; if it is the same session under a new id, remove {folder} and {measured}"
        )
        raise AlreadyPresentError(msg)


def _check_recording(steps: ProbeSteps) -> None:
    try:
        steps.check_recording()
    except AlreadyPresentError:
        raise
    except (AllenEcephysError, OSError):
        return  # raw data that cannot be read fail the stage that reads them, and no other probe's
