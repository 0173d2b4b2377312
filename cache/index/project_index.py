"""The index of a project: one file a session, made when it is first needed and again when its session file changes."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from allen_ecephys.errors import AccessError, MissingFileError, OfflineError
from allen_ecephys.nwb.sources import open_reader

from ..manifest import standard_key
from ..remotes.protocol import Remote
from ..retrying.rules import is_strong_etag
from .session_index import FileVersion, SessionIndex, contents_of, load, save

if TYPE_CHECKING:
    from ..session_files import SessionFiles
    from ..transfer.streaming import RemoteStream

logger = logging.getLogger(__name__)

#: Where a session's file is: in the cache, to be streamed, or neither.
Where = Literal["present", "remote", "missing"]


@dataclass(frozen=True)
class Indexed:
    """What came of indexing one session."""

    session_id: int
    made: bool
    index: SessionIndex


class ProjectIndex:
    """The indexes of a project's sessions.

    Parameters
    ----------
    sessions
        The project's session files.
    stream
        Whether files that are not in the cache are read by ranges.
    """

    def __init__(self, sessions: SessionFiles, *, stream: bool = False) -> None:
        self.sessions = sessions
        self.stream = stream
        self._kept: dict[int, SessionIndex] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"sessions": self.sessions, "stream": self.stream, "_kept": {}}

    def session_file(self, session_id: int) -> Path:
        """Return where a session's file lies or would lie."""
        return self.sessions.session_file(session_id)

    def path(self, session_id: int) -> Path:
        """Return where a session's index lies or would lie."""
        file = self.session_file(session_id)
        return file.with_name(f".{file.name}.index.npz")

    def where(self, session_id: int) -> Where:
        """Return where a session's file is; no request is made."""
        if self.session_file(session_id).exists():
            return "present"
        return "remote" if self.stream and self.sessions.files.remote is not None else "missing"

    def of(self, session_id: int) -> SessionIndex:
        """Return the index of the session file that is there now; it is made if there is none.

        Raises
        ------
        MissingFileError
            If the file is not in the cache and is not to be streamed.
        FileFormatError, CorruptFileError
            If it is another session's or damaged.
        RemoteNotFoundError, AccessError, DownloadError, OfflineError
            If a streamed file cannot be had.
        """
        return self.made(session_id).index

    def made(self, session_id: int) -> Indexed:
        """Return :meth:`of` a session, and whether it had to be made."""
        where = self.where(session_id)
        if where == "missing":
            raise missing_session(session_id, self.session_file(session_id), self.sessions.files.remote)
        if where == "present":
            path = self.session_file(session_id)
            return self._made(session_id, path, FileVersion.of_path(path))
        with self.open_stream(session_id) as stream:
            return self._made(session_id, stream, version_of_stream(stream))

    def of_version(self, session_id: int, source: Path | RemoteStream, version: FileVersion) -> SessionIndex:
        """Return the index of an open session file."""
        return self._made(session_id, source, version).index

    def _made(self, session_id: int, source: Path | RemoteStream, version: FileVersion) -> Indexed:
        kept = self._kept.get(session_id)
        if kept is not None and kept.version == version and _provable(version):
            return Indexed(session_id, False, kept)
        found = self._load(session_id)
        made = found is None or found.version != version or not _provable(version)
        if found is None or made:
            found = self._make(session_id, source, version)
        self._kept[session_id] = found
        return Indexed(session_id, made, found)

    def _load(self, session_id: int) -> SessionIndex | None:
        try:
            return load(self.path(session_id))
        except Exception as error:  # zipfile, json and numpy raise a dozen kinds for damaged files
            # The index saves time and nothing else: one that cannot be used is made again.
            logger.info("%s is not usable (%s); it is made again", self.path(session_id), error)
            return None

    def _make(self, session_id: int, source: Path | RemoteStream, version: FileVersion) -> SessionIndex:
        with open_reader(_lent(source)) as reader:
            about, members = contents_of(reader, session_id, version)
        if isinstance(source, Path) and FileVersion.of_path(source) != version:
            logger.info("%s was replaced while it was indexed; once more", source)
            return self._make(session_id, source, FileVersion.of_path(source))
        path = self.path(session_id)
        if _provable(version):
            try:
                save(path, about, members)
            except (AccessError, OSError) as error:
                logger.debug("no index of session %d is kept: %s", session_id, error)
            else:
                return SessionIndex(about, path)
        return SessionIndex(about, members)

    def open_stream(self, session_id: int) -> RemoteStream:
        """Open a session file that is not in the cache for reading by ranges."""
        from ..transfer.streaming import open_stream

        remote = self.sessions.files.remote
        if remote is None:
            raise missing_session(session_id, self.session_file(session_id), None)
        return open_stream(remote, standard_key("session_nwb", session_id, session_id), self.sessions.files.root)


def version_of_stream(stream: RemoteStream) -> FileVersion:
    """Return the version of a remote file that is open."""
    return FileVersion(stream.size, etag=stream.etag if is_strong_etag(stream.etag) else None)


def missing_session(session_id: int, path: Path, remote: Remote | None) -> MissingFileError | OfflineError:
    """Return the error for a session whose file is not in the cache."""
    if remote is None:
        return MissingFileError(f"session {session_id} is not in this cache: there is no {path}")
    return MissingFileError(
        f"session {session_id} is not in this cache: there is no {path}. population(stream=True) reads it by ranges; "
        f"`allen-ecephys cache build --session {session_id}` fetches it"
    )


def _provable(version: FileVersion) -> bool:
    """Tell whether equal versions are equal files: a server that states no tag may have replaced its file."""
    return version.mtime_ns is not None or version.etag is not None


def _lent(source: Path | RemoteStream) -> Any:
    return str(source) if isinstance(source, Path) else source
