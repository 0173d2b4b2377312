"""Checking the files of a cache byte by byte, and repairing those, and only those, that are damaged."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from allen_ecephys.config import offline
from allen_ecephys.errors import (
    AccessError,
    AllenEcephysError,
    ChecksumError,
    CorruptFileError,
    DownloadError,
    FileFormatError,
    OfflineError,
    RemoteNotFoundError,
)

from ..project_files import project_files
from ..remotes.asking import locate_patiently
from ..remotes.protocol import RemoteFile
from ..retrying.rules import TransferPolicy
from ..transfer.checks import HDF5_SUFFIXES, INDEX_NAME, CheckedFile, check_file, file_digest, note_checked, read_index
from ..transfer.fetch import ASIDE, clear_leftovers, fetch, set_aside
from .deep_check import read_to_the_end
from .plan import Project
from .report import FileReport, Report

_THREADS = 2  # hashing is bound by the disk


@dataclass(frozen=True)
class _Known:
    """What is known about one file: by the publisher, and from when it was last checked."""

    key: str
    path: Path
    published: RemoteFile | None
    entry: CheckedFile | None


def verify(cache: Project, *, repair: bool = False, deep: bool = False, policy: TransferPolicy | None = None) -> Report:
    """Read every file of the cache and compare it with what is known about it.

    The digest that was published is compared, or else the one that was noted when the file arrived. Without a
    network, what was noted and what ships with the package is used.

    Parameters
    ----------
    cache
        The cache. A table that was changed here (sessions of one's own were added) is recognised by its entry in the
        index, and left alone.
    repair
        Move damaged files away (``*.corrupt-<time>``) and fetch them again; the others are not touched.
    deep
        Also read NWB files without any digest to their end, in a process of their own.
    policy
        Limits and clock.

    Returns
    -------
    Report
        Outcomes: ``verified`` (published digest), ``unchanged`` (no digest is published; every byte is as when the
        file arrived or was first checked here), ``unverified`` (nothing to compare with; it is noted for the next
        time), ``local`` (changed here on purpose), ``damaged``, ``repaired``, ``failed`` (could not be repaired).
    """
    policy = policy or TransferPolicy()
    known = [_known(cache, key, policy) for key in _keys(cache)]
    with ThreadPoolExecutor(_THREADS) as pool:
        found = list(pool.map(lambda one: _check(one, deep=deep), known))
    if repair:
        for one in known:
            clear_leftovers(one.path, policy)
        found = [
            _repaired(cache, one, report, policy) if report.outcome == "damaged" else report
            for one, report in zip(known, found, strict=True)
        ]
    return Report("verify", cache.files.root, found)


def _keys(cache: Project) -> list[str]:
    """Return the keys of the files that are there, and of those that should be: noted in the index, or moved away."""
    root = cache.files.root
    keys = {path.relative_to(root).as_posix() for path in project_files(root)}
    keys |= {path.relative_to(root).as_posix().partition(ASIDE)[0] for path in root.rglob(f"*{ASIDE}*")}
    for folder in [root, *(path for path in root.iterdir() if path.is_dir())]:
        keys |= {(folder / name).relative_to(root).as_posix() for name in read_index(folder)}
    return sorted(keys)


def _known(cache: Project, key: str, policy: TransferPolicy) -> _Known:
    path = cache.files.root / key
    published = None
    if cache.files.remote is not None and not offline():
        try:
            published = locate_patiently(cache.files.remote, key, policy)
        except (DownloadError, OfflineError, RemoteNotFoundError, AccessError):
            published = None  # what was noted on arrival has to do
    return _Known(key, path, published, read_index(path.parent).get(path.name))


def _check(one: _Known, *, deep: bool) -> FileReport:
    try:
        size = one.path.stat().st_size
    except FileNotFoundError:
        gone = (
            f"it is gone, although it was checked here before (if on purpose, delete {INDEX_NAME} in its folder, and "
            f"the file with {ASIDE!r} in its name)"
        )
        return FileReport(one.key, "damaged", 0, gone)
    entry = one.entry
    noted = entry is not None and bool(entry.digest)
    published_size = None if one.published is None else one.published.size
    if entry is not None and published_size not in (None, size) and _is_changed_here(one.path, entry):
        return FileReport(one.key, "local", size, "changed here; the remote has another file of this name")
    try:
        algorithm, digest, verified = check_file(one.path, one.published)
        if not verified and entry is not None and noted:
            verified = _compare_with_entry(one.path, entry)
    except (CorruptFileError, FileFormatError) as error:
        return FileReport(one.key, "damaged", size, str(error))
    if deep and not verified and one.path.suffix in HDF5_SUFFIXES:
        wrong = read_to_the_end(one.path)
        if wrong is not None:
            return FileReport(one.key, "damaged", size, wrong)
    note_checked(one.path, algorithm, digest, verified=verified)
    if verified:
        return FileReport(one.key, "verified", size)
    if noted:
        return FileReport(one.key, "unchanged", size, "as on arrival or when first checked here (no published digest)")
    return FileReport(one.key, "unverified", size, "no published digest; what it is now is noted for the next time")


def _is_changed_here(path: Path, entry: CheckedFile) -> bool:
    """Tell whether the file was noted, as it is, by somebody who wrote it here."""
    return bool(entry.digest) and not entry.verified and entry.matches(path.stat())


def _compare_with_entry(path: Path, entry: CheckedFile) -> bool:
    """Raise if the file is not the one that was noted; return whether that one was verified."""
    found = file_digest(path, entry.algorithm)
    if found != entry.digest:
        msg = f"{path} has the {entry.algorithm} digest {found}; when it arrived it had {entry.digest}"
        raise ChecksumError(msg)
    return entry.verified


def _repaired(cache: Project, one: _Known, report: FileReport, policy: TransferPolicy) -> FileReport:
    """Move a damaged file away and fetch it again."""
    if cache.files.remote is None:
        return FileReport(one.key, "damaged", report.bytes, f"{report.message} (this cache never fetches)")
    try:
        if one.path.exists():
            set_aside(one.path, report.message)
        mirrors = cache.files.mirrors
        fetch(cache.files.remote, one.key, one.path, expected=one.published, mirrors=mirrors, policy=policy)
    except AllenEcephysError as error:
        return FileReport(one.key, "failed", report.bytes, f"{report.message} It could not be fetched again: {error}")
    return FileReport(one.key, "repaired", one.path.stat().st_size, report.message)
