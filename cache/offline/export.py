"""A self-contained copy of a cache, or of a part of it, for a machine without a network."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import shutil
import tarfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import IO

from allen_ecephys.config import expanded
from allen_ecephys.errors import (
    AlreadyPresentError,
    ChecksumError,
    CorruptFileError,
    MissingFileError,
    OfflineError,
    truncated_file,
)
from allen_ecephys.files import atomic_file, atomic_folder, remove_abandoned_drafts

from .. import manifest as manifests
from ..project_files import project_files
from ..transfer.checks import INDEX_NAME, CheckedFile, encoded_index, read_index
from ..writing import no_room
from .plan import Project, Selection, plan
from .report import FileReport, Report

logger = logging.getLogger(__name__)
_COPY_BYTES = 1 << 20
_TAR_OVERHEAD = 1024


def export(cache: Project, target: str | Path, selection: Selection | None = None) -> Report:
    """Copy files of the cache, with a manifest and their digests, to a new folder or tar file.

    What comes out opens with ``EcephysProjectCache.fixed(target)`` (a tar file after unpacking), and
    ``allen-ecephys cache verify`` finds later damage without a network. Each file is compared with the digest noted
    for it while it is copied.

    Parameters
    ----------
    cache
        The cache; nothing is fetched for the export.
    target
        A folder that does not exist yet, or a file name ending in ``.tar``.
    selection
        Sessions and kinds of files; by default everything that is there. Unlike a folder copy, no parts and no
        damaged files that were moved away go along.

    Raises
    ------
    AlreadyPresentError
        If the target exists, or appears meanwhile; it is not touched.
    MissingFileError
        If a link in the cache leads nowhere.
    OfflineError
        If the selection needs files that are not there.
    ChecksumError, CorruptFileError
        If a file is not the one that was noted, or is cut while it is packed; nothing is left at the target.
    DiskFullError
        Before the first byte, if there is no room.
    """
    target = expanded(target).absolute()
    remove_abandoned_drafts(target.parent)
    if os.path.lexists(target):
        msg = f"{target} exists already; name a new folder or tar file, so that nothing is mixed or overwritten"
        raise AlreadyPresentError(msg)
    sources = _sources(cache, selection)
    _check_room(target, sources)
    if target.suffix == ".tar":
        with atomic_file(target, replace=False) as draft:
            files = _write_tar(draft, sources)
            _read_back(draft, files)
    else:
        with atomic_folder(target) as folder:
            files = _write_folder(folder, sources)
    logger.info("%d files of %s copied to %s", len(files), cache.files.root, target)
    return Report("export", target, [FileReport(key, "exported", entry.size) for key, entry in files.items()])


def _sources(cache: Project, selection: Selection | None) -> list[tuple[str, Path]]:
    """Return (key, path) of what is to be copied."""
    if selection is None:
        dangling = [path for path in cache.files.root.rglob("*") if path.is_symlink() and not path.exists()]
        if dangling:
            msg = f"{dangling[0]} is a link to nothing; restore what it led to, or remove it, and export again"
            raise MissingFileError(msg)
        return [(path.relative_to(cache.files.root).as_posix(), path) for path in project_files(cache.files.root)]
    found = plan(cache, selection)
    # A file is there or not; whether its size is the remote's of today does not matter for a copy.
    missing = [file.key for file in found.files if not file.path.is_file()]
    if missing:
        msg = (
            f"{len(missing)} files of the selection are not in the cache, {missing[0]} first; "
            "fetch them with `allen-ecephys cache build`, export less (--session ...), or what is there (--all)"
        )
        raise OfflineError(msg)
    return [(file.key, file.path) for file in found.files]


def _check_room(target: Path, sources: Iterable[tuple[str, Path]]) -> None:
    needed = sum(path.stat().st_size + _TAR_OVERHEAD for _, path in sources)
    folder = next(parent for parent in target.parents if parent.is_dir())
    if needed > shutil.disk_usage(folder).free:
        raise no_room(folder, needed)


def _write_folder(draft: Path, sources: list[tuple[str, Path]]) -> dict[str, CheckedFile]:
    """Copy the files; return what is noted about each copy, by key."""
    copies: dict[str, CheckedFile] = {}
    for key, path in sources:
        copy = draft / key
        copy.parent.mkdir(parents=True, exist_ok=True)
        with copy.open("xb") as sink, path.open("rb") as source:
            checked = _Digesting(source, path)
            while piece := checked.read(_COPY_BYTES):
                sink.write(piece)
        status = copy.stat()
        copies[key] = replace(checked.entry(), mtime_ns=status.st_mtime_ns, inode=status.st_ino)
    for key, content in _indices(copies):
        (draft / key).write_bytes(content)
    manifests.write(draft / manifests.FILE_NAME)
    return copies


def _write_tar(draft: IO[bytes], sources: list[tuple[str, Path]]) -> dict[str, CheckedFile]:
    """Pack the files; return what is noted about each copy, by key."""
    copies: dict[str, CheckedFile] = {}
    with tarfile.open(fileobj=draft, mode="w", format=tarfile.PAX_FORMAT) as archive:
        _add_bytes(archive, manifests.FILE_NAME, manifests.content_of_standard())
        for key, path in sources:
            with path.open("rb") as source:
                # An ordinary entry of what the path leads to: links mean nothing on another machine. Whoever unpacks
                # it should own it.
                info = tarfile.TarInfo(key)
                status = os.fstat(source.fileno())
                info.size, info.mtime, info.mode = status.st_size, int(status.st_mtime), 0o644
                checked = _Digesting(source, path)
                try:
                    archive.addfile(info, checked)
                except OSError as error:
                    if error.errno is not None:
                        raise
                    raise truncated_file(path, checked.size, info.size) from error
            copies[key] = checked.entry()
        for key, content in _indices(copies):
            _add_bytes(archive, key, content)
    return copies


def _read_back(draft: IO[bytes], copies: dict[str, CheckedFile]) -> None:
    """Compare every file of a new archive with what was read from the cache."""
    draft.flush()
    draft.seek(0)
    found: dict[str, str] = {}
    with tarfile.open(fileobj=draft, mode="r|") as archive:
        for info in archive:
            packed = archive.extractfile(info)
            if info.name in copies and packed is not None:
                digest = hashlib.new(copies[info.name].algorithm, usedforsecurity=False)
                while piece := packed.read(_COPY_BYTES):
                    digest.update(piece)
                found[info.name] = digest.hexdigest()
    wrong = [key for key, entry in copies.items() if found.get(key) != entry.digest]
    if wrong:
        msg = f"{len(wrong)} files of the new archive are not what was packed, {wrong[0]} first; is its disk in order?"
        raise CorruptFileError(msg)


def _add_bytes(archive: tarfile.TarFile, key: str, content: bytes) -> None:
    info = tarfile.TarInfo(key)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def _indices(copies: dict[str, CheckedFile]) -> list[tuple[str, bytes]]:
    """Return key and contents of the index of each folder."""
    folders: dict[str, dict[str, CheckedFile]] = {}
    for key, entry in copies.items():
        folder, _, name = key.rpartition("/")
        folders.setdefault(folder, {})[name] = entry
    return [(f"{folder}/{INDEX_NAME}".lstrip("/"), encoded_index(entries)) for folder, entries in folders.items()]


class _Digesting:
    """A file that is hashed while tarfile reads it, and compared with what was noted for it."""

    def __init__(self, source: IO[bytes], path: Path) -> None:
        self._source, self._path = source, path
        self._noted = read_index(path.parent).get(path.name)
        noted = self._noted is not None and bool(self._noted.digest)
        self._algorithm = self._noted.algorithm if self._noted is not None and noted else "sha256"
        self._digest = hashlib.new(self._algorithm, usedforsecurity=False)
        self.size = 0

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        self._digest.update(data)
        self.size += len(data)
        return data

    def entry(self) -> CheckedFile:
        """Return what is to be noted about the copy.

        Raises
        ------
        ChecksumError
            If the bytes are not those that were noted when the file arrived.
        """
        found, noted = self._digest.hexdigest(), self._noted
        if noted is not None and noted.digest and found != noted.digest:
            msg = (
                f"{self._path} has the {self._algorithm} digest {found}; when it arrived it had {noted.digest}. "
                "Repair it with `allen-ecephys cache verify --repair`, then export again"
            )
            raise ChecksumError(msg)
        verified = noted is not None and bool(noted.digest) and noted.verified
        return CheckedFile(self.size, 0, 0, self._algorithm, found, verified)
