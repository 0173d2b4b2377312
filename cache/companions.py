"""What a session asks of the cache it came from, as functions at module level: sessions are pickled with them."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from allen_ecephys.errors import AllenEcephysError, OfflineError, RemoteNotFoundError

if TYPE_CHECKING:
    import pandas as pd

    from allen_ecephys.session.session import SessionCompanions

    from .session_files import SessionFiles
    from .transfer.streaming import RemoteStream

logger = logging.getLogger(__name__)


def companions_of(project: SessionFiles, session_id: int, *, stream: bool = False) -> SessionCompanions:
    """Return what `project` knows of a session beyond its NWB file; nothing is read yet.

    With `stream`, LFP files are read by ranges instead of fetched.
    """
    from allen_ecephys.session.session import SessionCompanions

    return SessionCompanions(
        channels=partial(channels_of, project, session_id),
        unit_metrics=partial(metrics_of, project, session_id),
        lfp_path=partial(lfp_stream_of if stream else lfp_path_of, project, session_id),
    )


def channels_of(project: SessionFiles, session_id: int) -> pd.DataFrame:
    """Return structure and CCF coordinates of a session's channels; none where the tables cannot be had."""
    import pandas as pd

    from allen_ecephys.units.table import ANNOTATION_COLUMNS

    columns = list(ANNOTATION_COLUMNS)
    channels, probes = project.queries.at_hand("channels"), project.queries.at_hand("probes")
    if channels is None or probes is None:
        logger.warning("session %d: the cache's tables are not at hand; structures are those of the file", session_id)
        nothing = pd.DataFrame(columns=columns, index=pd.Index([], dtype="int64", name="id"), dtype="float64")
        return nothing.astype({"ecephys_structure_acronym": "str"})
    of_session = probes.index[probes["ecephys_session_id"] == session_id]
    chosen = channels[channels["ecephys_probe_id"].isin(of_session)]
    return chosen[[c for c in columns if c in chosen]].copy()


def metrics_of(project: SessionFiles, session_id: int) -> pd.DataFrame:
    """Return the analysis metrics of a session's units; none where they cannot be had."""
    import pandas as pd

    from .tables.analysis_metrics import INDEX, renamed

    try:
        return renamed(project.queries.metrics_of_session(session_id), "documented")
    except (OfflineError, RemoteNotFoundError) as error:  # a project need not have any
        logger.info("session %d has no analysis metrics: %s", session_id, error)
    except AllenEcephysError as error:
        logger.warning("session %d is shown without analysis metrics: %s", session_id, error)
    return pd.DataFrame(index=pd.Index([], dtype="int64", name=INDEX))


def lfp_path_of(project: SessionFiles, session_id: int, probe_id: int) -> str:
    """Return the path of a probe's LFP file, fetching it if needed."""
    return str(project.lfp_path(session_id, probe_id))


def lfp_stream_of(project: SessionFiles, session_id: int, probe_id: int) -> str | RemoteStream:
    """Return a probe's LFP file: its path if it is in the cache, else an open file that reads ranges."""
    found = project.lfp_stream(session_id, probe_id)
    return str(found) if isinstance(found, Path) else found
