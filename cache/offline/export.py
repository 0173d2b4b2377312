"""A self-contained copy of a cache, or of a part of it, for a machine without a network."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import shutil
import tarfile
import uuid
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import IO

from allen_ecephys.errors import AccessError, ChecksumError, OfflineError

from .. import manifest as manifests
from ..project_files import project_files
from ..transfer.checks import INDEX_FORMAT, INDEX_NAME, CheckedFile, read_index
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
    AccessError
        If the target exists.
    OfflineError
        If the selection needs files that are not there.
    ChecksumError
        If a file is not the one that was noted; nothing is left at the target.
    DiskFullError
        Before the first byte, if there is no room.
    """
    target = Path(target).expanduser().absolute()
    if target.exists():
        msg = f"{target} exists already; name a new folder or tar file, so that nothing is mixed or overwritten"
        raise AccessError(msg)
    sources = _sources(cache, selection)
    _check_room(target, sources)
    draft = target.with_name(f"{target.name}.{uuid.uuid4().hex[:8]}.part")
    as_tar = target.suffix == ".tar"
    try:
        files = (
            _write_tar(cache.files.root, draft, sources) if as_tar else _write_folder(cache.files.root, draft, sources)
        )
        draft.rename(target)
    except BaseException:
        if draft.is_dir():
            shutil.rmtree(draft, ignore_errors=True)
        draft.unlink(missing_ok=True)
        raise
    return Report("export", target, files)


def _sources(cache: Project, selection: Selection | None) -> list[tuple[str, Path]]:
    """Return (key, path) of what is to be copied."""
    if selection is None:
        return [(path.relative_to(cache.files.root).as_posix(), path) for path in project_files(cache.files.root)]
    found = plan(cache, selection)
    # A file is there or not; whether its size is the remote's of today does not matter for a copy.
    missing = [file.key for file in found.files if not file.path.is_file()]
    if missing:
        msg = (
            f"{len(missing)} files of the selection are not in the cache, {missing[0]} first; "
            "fetch them with `allen-ecephys cache build`, or export less"
        )
        raise OfflineError(msg)
    return [(file.key, file.path) for file in found.files]


def _check_room(target: Path, sources: Iterable[tuple[str, Path]]) -> None:
    needed = sum(path.stat().st_size + _TAR_OVERHEAD for _, path in sources)
    folder = next(parent for parent in target.parents if parent.is_dir())
    if needed > shutil.disk_usage(folder).free:
        raise no_room(folder, needed)


def _write_folder(root: Path, draft: Path, sources: list[tuple[str, Path]]) -> list[FileReport]:
    draft.mkdir(parents=True)
    reports: list[FileReport] = []
    indices: dict[Path, dict[str, CheckedFile]] = {}
    for key, path in sources:
        copy = draft / key
        copy.parent.mkdir(parents=True, exist_ok=True)
        with copy.open("xb") as sink:
            entry = _copied(path, sink)
        status = copy.stat()
        entry = CheckedFile(
            status.st_size, status.st_mtime_ns, status.st_ino, entry.algorithm, entry.digest, entry.verified
        )
        indices.setdefault(copy.parent, {})[copy.name] = entry
        reports.append(FileReport(key, "exported", status.st_size))
    for folder, entries in indices.items():
        (folder / INDEX_NAME).write_bytes(_index(entries))
    manifests.write(draft / manifests.FILE_NAME)
    logger.info("%d files of %s copied to %s", len(reports), root, draft)
    return reports


def _write_tar(root: Path, draft: Path, sources: list[tuple[str, Path]]) -> list[FileReport]:
    draft.parent.mkdir(parents=True, exist_ok=True)
    reports: list[FileReport] = []
    indices: dict[str, dict[str, CheckedFile]] = {}
    with tarfile.open(draft, "w", format=tarfile.PAX_FORMAT) as archive:
        _add_bytes(archive, manifests.FILE_NAME, manifests.content_of_standard())
        for key, path in sources:
            info = archive.gettarinfo(str(path), arcname=key)
            # Whoever unpacks it should own it, and the time of packing is nobody's business.
            info.uid = info.gid = 0
            info.uname = info.gname = ""
            with path.open("rb") as source:
                checked = _Digesting(source, path)
                archive.addfile(info, checked)
            indices.setdefault(key.rpartition("/")[0], {})[path.name] = checked.entry()
            reports.append(FileReport(key, "exported", info.size))
        for folder, entries in indices.items():
            _add_bytes(archive, f"{folder}/{INDEX_NAME}".lstrip("/"), _index(entries))
    return reports


def _add_bytes(archive: tarfile.TarFile, key: str, content: bytes) -> None:
    info = tarfile.TarInfo(key)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def _index(entries: dict[str, CheckedFile]) -> bytes:
    content = {"format": INDEX_FORMAT, "files": {name: asdict(entries[name]) for name in sorted(entries)}}
    return json.dumps(content, indent=1).encode()


class _Digesting:
    """A file that is hashed while tarfile reads it, and compared with what was noted for it."""

    def __init__(self, source: IO[bytes], path: Path) -> None:
        self._source, self._path = source, path
        self._noted = read_index(path.parent).get(path.name)
        noted = self._noted is not None and bool(self._noted.digest)
        self._algorithm = self._noted.algorithm if self._noted is not None and noted else "sha256"
        self._digest = hashlib.new(self._algorithm, usedforsecurity=False)
        self._size = 0

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        self._digest.update(data)
        self._size += len(data)
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
        return CheckedFile(self._size, 0, 0, self._algorithm, found, verified)


def _copied(path: Path, sink: IO[bytes]) -> CheckedFile:
    with path.open("rb") as source:
        checked = _Digesting(source, path)
        while piece := checked.read(_COPY_BYTES):
            sink.write(piece)
    return checked.entry()
