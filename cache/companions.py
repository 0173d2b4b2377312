"""What a session asks of the cache it came from, as functions at module level: sessions are pickled with them."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from allen_ecephys.errors import AllenEcephysError, MissingDataError, OfflineError, RemoteNotFoundError, UnknownIdError

if TYPE_CHECKING:
    import pandas as pd

    from allen_ecephys.session.session import SessionCompanions

    from .project_cache import EcephysProjectCache
    from .transfer.streaming import RemoteStream

logger = logging.getLogger(__name__)


def companions_of(cache: EcephysProjectCache, session_id: int, *, stream: bool = False) -> SessionCompanions:
    """Return what `cache` knows of a session beyond its NWB file; nothing is read yet.

    With `stream`, LFP files are read by ranges instead of fetched.
    """
    from allen_ecephys.session.session import SessionCompanions

    return SessionCompanions(
        channels=partial(channels_of, cache, session_id),
        unit_metrics=partial(metrics_of, cache, session_id),
        lfp_path=partial(lfp_stream_of if stream else lfp_path_of, cache, session_id),
    )


def channels_of(cache: EcephysProjectCache, session_id: int) -> pd.DataFrame:
    """Return structure and CCF coordinates of a session's channels; none where the tables cannot be had."""
    import pandas as pd

    from .tables.project_tables import CCF_COLUMNS

    columns = ["ecephys_structure_id", "ecephys_structure_acronym", *CCF_COLUMNS]
    channels, probes = cache.table_at_hand("channels"), cache.table_at_hand("probes")
    if channels is None or probes is None:
        logger.warning("session %d: the cache's tables are not at hand; structures are those of the file", session_id)
        nothing = pd.DataFrame(columns=columns, index=pd.Index([], dtype="int64", name="id"), dtype="float64")
        return nothing.astype({"ecephys_structure_acronym": "str"})
    of_session = probes.index[probes["ecephys_session_id"] == session_id]
    chosen = channels[channels["ecephys_probe_id"].isin(of_session)]
    return chosen[[c for c in columns if c in chosen]].copy()


def metrics_of(cache: EcephysProjectCache, session_id: int) -> pd.DataFrame:
    """Return the analysis metrics of a session's units; none where they cannot be had."""
    import pandas as pd

    from .tables.analysis_metrics import INDEX

    try:
        return cache.get_unit_analysis_metrics_for_session(session_id, annotate=False)
    except (OfflineError, RemoteNotFoundError) as error:  # a project need not have any
        logger.info("session %d has no analysis metrics: %s", session_id, error)
    except AllenEcephysError as error:
        logger.warning("session %d is shown without analysis metrics: %s", session_id, error)
    return pd.DataFrame(index=pd.Index([], dtype="int64", name=INDEX))


def lfp_path_of(cache: EcephysProjectCache, session_id: int, probe_id: int) -> str:
    """Return the path of a probe's LFP file, fetching it if needed."""
    return str(cache.lfp_path(session_id, probe_id))


def lfp_stream_of(cache: EcephysProjectCache, session_id: int, probe_id: int) -> str | RemoteStream:
    """Return a probe's LFP file: its path if it is in the cache, else an open file that reads ranges."""
    found = cache.lfp_stream(session_id, probe_id)
    return str(found) if isinstance(found, Path) else found


def check_lfp(cache: EcephysProjectCache, session_id: int, probe_id: int) -> None:
    """Raise if the tables tell that a probe is not of the session, or has no LFP data.

    Raises
    ------
    UnknownIdError, MissingDataError
        The one and the other.
    """
    probes = cache.table_at_hand("probes")
    if probes is None:
        return
    of_session = probes[probes["ecephys_session_id"] == session_id]
    names = dict(zip(of_session.index, of_session["name"].astype(str), strict=True))
    if probe_id not in names:
        known = ", ".join(f"{name} is {probe}" for probe, name in names.items())
        msg = f"session {session_id} has no probe {probe_id}; it has {known or 'none'}"
        raise UnknownIdError(msg)
    if "has_lfp_data" in of_session and not bool(of_session.loc[probe_id, "has_lfp_data"]):
        msg = f"probe {probe_id} ({names[probe_id]}) of session {session_id} has no LFP data"
        raise MissingDataError(msg)
