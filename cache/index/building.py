"""Indexing all sessions of a project at once."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from allen_ecephys.errors import AllenEcephysError
from allen_ecephys.progress import progress_bar

from ..project_files import whole_number
from .project_index import ProjectIndex

if TYPE_CHECKING:
    import pandas as pd

    from ..session_files import SessionFiles

logger = logging.getLogger(__name__)

COLUMNS = ("ecephys_session_id", "outcome", "unit_count", "presentation_count", "index_bytes", "message")


def index_sessions(sessions: SessionFiles, session_ids: Iterable[int] | None, *, stream: bool) -> pd.DataFrame:
    """Make the indexes that are lacking (see :meth:`.EcephysProjectCache.index_sessions`).

    Parameters
    ----------
    sessions
        The project's session files.
    session_ids
        Sessions; by default all whose files are there, or can be streamed.
    stream
        Whether files that are not in the cache are read by ranges.

    Raises
    ------
    UnknownIdError
        For a session that the project does not have.
    """
    import pandas as pd

    project = ProjectIndex(sessions, stream=stream)
    if session_ids is None:
        wanted = [i for i in _known(sessions) if project.where(i) != "missing"]
    else:
        wanted = [whole_number(session_id, "session") for session_id in session_ids]
        for session_id in wanted:
            if project.where(session_id) != "present":
                sessions.queries.known_session(session_id)
    rows = []
    for session_id in progress_bar(wanted, desc="indexing", unit="session"):
        try:
            done = project.made(session_id)
        except AllenEcephysError as error:  # one damaged file leaves the others their indexes
            rows.append((session_id, "failed", 0, 0, 0, str(error)))
            continue
        path = project.path(session_id)
        held = path.stat().st_size if path.is_file() else 0
        message = "" if held else "not kept: the folder cannot be written, or the server states no version"
        outcome = "made" if done.made else "present"
        rows.append((session_id, outcome, done.index.unit_count, done.index.presentation_count, held, message))
    return pd.DataFrame(rows, columns=list(COLUMNS)).set_index("ecephys_session_id")


def index_arrived(sessions: SessionFiles, session_id: int) -> None:
    """Index a session whose file has just come, so that a population answers at once.

    What is wrong with the file is said when somebody asks for it, not now: it was not what the caller wanted.
    """
    try:
        ProjectIndex(sessions).of(session_id)
    except AllenEcephysError as error:
        logger.info("session %d came and is not indexed: %s", session_id, error)


def _known(sessions: SessionFiles) -> list[int]:
    table = sessions.queries.at_hand("sessions")
    listed = [] if table is None else table.index.tolist()
    found = [path for kind in ("nwb", "nwb.zarr") for path in sessions.files.root.glob(f"session_*/session_*.{kind}")]
    here = [path.name.partition(".")[0].removeprefix("session_") for path in sorted(found)]
    return list(dict.fromkeys([*listed, *(int(name) for name in here if name.isdecimal())]))
