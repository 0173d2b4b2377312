"""The NWB files of a project's sessions and probes: as a path, or as a stream that reads ranges."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from allen_ecephys.errors import MissingDataError, UnknownIdError
from allen_ecephys.nwb.sources import ZARR_SUFFIX

from .manifest import standard_key
from .project_files import ProjectFiles, whole_number
from .table_queries import TableQueries

if TYPE_CHECKING:
    from .transfer.streaming import RemoteStream


class SessionFiles:
    """Session and LFP files (see the methods of the same names of :class:`.EcephysProjectCache`).

    A file that is there is used without a look at any table; before one is fetched, the tables are asked whether the
    project has it.

    Parameters
    ----------
    files
        Where the files are.
    queries
        The project's tables.
    """

    def __init__(self, files: ProjectFiles, queries: TableQueries) -> None:
        self.files = files
        self.queries = queries

    def session_file(self, session_id: int) -> Path:
        """Return where a session's file lies or would lie: the NWB file, or a Zarr store that is there in its stead."""
        path = self.files.manifest.path("session_nwb", session_id, session_id)
        store = path.with_name(path.name + ZARR_SUFFIX)
        return store if store.is_dir() and not path.is_file() else path

    def session_path(self, session_id: int) -> Path:
        """Return the path of a session's NWB file or Zarr store, fetching the file if neither is there."""
        session_id = whole_number(session_id, "session")
        here = self.session_file(session_id)
        if here.is_dir():
            return here
        return self._path(partial(self.queries.known_session, session_id), "session_nwb", session_id, session_id)

    def is_here(self, session_id: int) -> bool:
        """Tell whether a session's file or store is in the cache."""
        return self.session_file(whole_number(session_id, "session")).exists()

    def session_stream(self, session_id: int) -> Path | RemoteStream:
        """Return a session's NWB file as a path if it is there, else as an open file that reads ranges."""
        session_id = whole_number(session_id, "session")
        here = self.session_file(session_id)
        if here.is_dir():
            return here
        return self._stream(partial(self.queries.known_session, session_id), "session_nwb", session_id, session_id)

    def lfp_path(self, session_id: int, probe_id: int) -> Path:
        """Return the path of a probe's LFP file, fetching it if it is not there."""
        session_id, probe_id = whole_number(session_id, "session"), whole_number(probe_id, "probe")
        return self._path(partial(self.check_lfp, session_id, probe_id), "probe_lfp_nwb", session_id, probe_id)

    def lfp_stream(self, session_id: int, probe_id: int) -> Path | RemoteStream:
        """Return a probe's LFP file as a path if it is there, else as an open file that reads ranges."""
        session_id, probe_id = whole_number(session_id, "session"), whole_number(probe_id, "probe")
        return self._stream(partial(self.check_lfp, session_id, probe_id), "probe_lfp_nwb", session_id, probe_id)

    def _path(self, check: Callable[[], object], name: str, *values: int) -> Path:
        if not self.files.manifest.path(name, *values).is_file():
            check()
        return self.files.path_of(name, *values)

    def _stream(self, check: Callable[[], object], name: str, *values: int) -> Path | RemoteStream:
        remote = self.files.remote
        if remote is None or self.files.manifest.path(name, *values).is_file():
            return self._path(check, name, *values)
        check()
        from .transfer.streaming import open_stream

        stream = open_stream(remote, standard_key(name, *values), self.files.root)
        stream.closes_with_reader = True
        return stream

    def check_lfp(self, session_id: int, probe_id: int) -> None:
        """Raise if the tables tell that a probe is not of the session, or has no LFP data.

        Raises
        ------
        UnknownIdError, MissingDataError
            The one and the other.
        """
        probes = self.queries.at_hand("probes")
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
