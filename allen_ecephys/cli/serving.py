"""Processed sessions in project caches: whose session a cache holds, and putting it there."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from allen_ecephys.errors import AllenEcephysError, AlreadyPresentError, FileFormatError
from allen_ecephys.files import read_json, write_atomically

from .cache import add_to_project

if TYPE_CHECKING:
    from allen_ecephys.cache.manifest import Manifest
    from allen_ecephys.processing import SessionFile, SessionOutputs


@dataclass(frozen=True)
class Served:
    """A session's place in the project cache that is to serve it.

    A note in the cache's folder says which output folder put the session there, and what: it goes where the cache
    goes, and a copy of an output folder has no claim to what the original put there.

    Attributes
    ----------
    session
        The session; it has a cache.
    cache
        The cache's folder (or manifest).
    """

    session: SessionFile
    cache: Path

    def check(self, *, replace: bool = False) -> None:
        """Raise unless the cache has room for the session: none of its id, or one that this output folder put there.

        Raises
        ------
        AlreadyPresentError
            If it holds another one and `replace` is False.
        FileFormatError
            If the cache cannot be read, or files nothing under the session's type.
        """
        from allen_ecephys.cache.manifest import standard_key

        key = "session_type"
        try:
            standard_key("typewise_analysis_metrics", self.session.told.metadata.session_type or "")
            key = "cache"
            listed = self._is_listed
        except (AllenEcephysError, OSError) as error:
            msg = f"{self.session.path}: `{key}`: {error}"
            raise FileFormatError(msg) from error
        if replace or not listed or self._is_own:
            return
        by = self._note.get("output")
        whose = f"that {self._absolute(by)} put there" if isinstance(by, str) else "of another origin"
        msg = (
            f"{self.session.path}: `cache` {self.cache} holds a session {self._id} {whose}, not {self.session.output}; "
            "give this one another `session_id` or `cache`, or put it in that one's place with "
            "`process session --replace`"
        )
        raise AlreadyPresentError(msg)

    def put(self, *, replace: bool = False) -> str:
        """Put the finished session into the cache, unless it is there as it is, and return what was done.

        Raises
        ------
        AlreadyPresentError
            If the cache holds another session of this id and `replace` is False.
        """
        from allen_ecephys.processing import session_outputs

        made = session_outputs(self.session)
        self.check(replace=replace)
        listed, gone = self._is_listed, not self._file.is_file()
        if self._holds(made):
            self._write_note(made)
            return ""
        add_to_project(self.cache, made.session, metrics=made.metrics, lfp=made.lfp, replace=listed)
        self._write_note(made)
        if listed and gone:
            return f"the file of session {self._id} was gone from {self.cache}, and is put back"
        return f"session {self._id} is {'replaced in' if listed else 'put into'} {self.cache}"

    @property
    def _id(self) -> int:
        return self.session.told.metadata.session_id

    @cached_property
    def _manifest(self) -> Manifest:
        from allen_ecephys.cache import manifest as manifests
        from allen_ecephys.cache.project_files import manifest_path

        path = manifest_path(self.cache)
        return manifests.read(path) if path.is_file() else manifests.standard(path.absolute().parent)

    @property
    def _file(self) -> Path:
        return self._manifest.path("session_nwb", self._id, self._id)

    @property
    def _is_listed(self) -> bool:
        """Whether the project's table of sessions has the id."""
        from allen_ecephys.cache.adding import HEADERS
        from allen_ecephys.cache.tables.editing import TextTable

        table = TextTable.read(self._manifest.path("sessions"), HEADERS["sessions"])
        return str(self._id) in table.column("id")

    @property
    def _is_own(self) -> bool:
        """Whether the session that the cache holds came from this output folder."""
        noted = self._note.get("output")
        if noted is not None and noted != self._output:
            return False
        if not self._file.is_file():
            return noted is not None
        return self._is_as_noted or _sha256(self._file) in (self._note.get("sha256"), self._made_sha256)

    @property
    def _is_as_noted(self) -> bool:
        return self._note.get("state") == _state(self._file)

    @property
    def _made_sha256(self) -> str | None:
        """Digest of the session's file in the output folder, or None if there is none."""
        from allen_ecephys.processing import session_outputs

        try:
            return _sha256(session_outputs(self.session).session)
        except (AllenEcephysError, OSError):
            return None

    def _holds(self, made: SessionOutputs) -> bool:
        """Tell whether the cache holds, from this output folder, the very files that were made."""
        if self._note.get("output") != self._output or self._note.get("digest") != made.digest:
            return False
        lfp = {path: self._manifest.path("probe_lfp_nwb", self._id, probe) for probe, path in made.lfp.items()}
        metrics = self._manifest.path("session_analysis_metrics", self._id, self._id)
        return (
            self._is_listed
            and self._file.is_file()
            and (self._is_as_noted or _sha256(self._file) == self._note.get("sha256"))
            and metrics.is_file()
            and all(held.is_file() and held.stat().st_size == path.stat().st_size for path, held in lfp.items())
        )

    @property
    def _note_path(self) -> Path:
        return self._manifest.root / f".session_{self._id}_from.json"

    @property
    def _note(self) -> dict[str, Any]:
        try:
            found = read_json(self._note_path)
        except (OSError, FileFormatError):
            return {}
        return found if isinstance(found, dict) else {}

    def _write_note(self, made: SessionOutputs) -> None:
        # By the way from the cache: both may be moved together.
        state = _state(self._file)
        known = self._note.get("state") == state and self._note.get("digest") == made.digest
        note = {
            "output": self._output,
            "digest": made.digest,
            "state": state,
            "sha256": self._note.get("sha256") if known else _sha256(self._file),
        }
        if note != self._note:
            write_atomically(self._note_path, json.dumps(note, indent=1))

    @property
    def _output(self) -> str:
        return Path(os.path.relpath(self.session.output.resolve(), self._manifest.root.resolve())).as_posix()

    def _absolute(self, output: str) -> Path:
        return Path(os.path.normpath(self._manifest.root.resolve() / output))


def _state(file: Path) -> list[int]:
    facts = file.stat()
    return [facts.st_size, facts.st_mtime_ns]


def _sha256(file: Path) -> str:
    from allen_ecephys.cache.transfer.checks import file_digest

    return file_digest(file)
