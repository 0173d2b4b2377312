"""Building a cache for work without a network: fetch all that a selection needs, and tell what came of it."""

from __future__ import annotations

import logging
import re
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from allen_ecephys.errors import AllenEcephysError, DiskFullError, OfflineError
from allen_ecephys.progress import progress_bar

from ..project_files import project_files
from ..retrying.intervals import IntervalSet
from ..retrying.rules import TransferPolicy
from ..transfer.checks import read_index
from ..transfer.fetch import ASIDE, clear_leftovers, fetch
from ..transfer.journals import journal_of, read_journal
from ..writing import no_room
from .plan import Plan, PlannedFile, Project, Selection, plan
from .report import FileReport, Report
from .source import remember_source, remembered_source

logger = logging.getLogger(__name__)

TABLE_SUFFIX = ".csv"
#: Key of a session's file.
_SESSION = re.compile(r"session_\d+/session_(\d+)\.nwb")


def build(
    cache: Project,
    selection: Selection | None = None,
    *,
    jobs: int = 2,
    progress: bool = True,
    policy: TransferPolicy | None = None,
) -> Report:
    """Fetch every file that `selection` needs and that is not there.

    Sessions are indexed when they are there (see :meth:`.EcephysProjectCache.index_sessions`). An interrupted build is
    resumed by the same call. A file that fails does not keep the others from being fetched.

    Parameters
    ----------
    cache
        A cache with a remote.
    selection
        Sessions and kinds of files; by default all session files with tables and metrics.
    jobs
        Files fetched at once; they share the connections.
    progress
        Show a bar of bytes, where the settings allow one.
    policy
        Limits and clock.

    Raises
    ------
    DiskFullError
        Before the first byte, if the disk has no room for all of it.
    OfflineError
        If the cache has no remote.
    """
    if cache.files.remote is None:
        where = cache.files.root
        msg = f"the cache in {where} has no remote to build from; open it with from_s3(), from_url() or from_dandi()"
        raise OfflineError(msg)
    policy = policy or TransferPolicy()
    remember_source(cache.files.root, cache.files.remote)
    for table in ("sessions", "probes"):  # what the selection is made from
        cache.files.path_of(table, progress=progress)
    todo = plan(cache, selection, policy=policy)
    _check_room(todo)
    done = _fetch_all(cache, todo, jobs, policy, progress=progress)
    _index(cache, done)
    return done


def _index(cache: Project, done: Report) -> None:
    """Make the indexes of the sessions that are there, so that populations answer at once."""
    names = [_SESSION.fullmatch(file.key) for file in done.files if file.outcome in {"fetched", "present"}]
    cache.index_sessions([int(name[1]) for name in names if name])


def _check_room(todo: Plan) -> None:
    if todo.missing_bytes > shutil.disk_usage(todo.root).free:
        raise no_room(todo.root, todo.missing_bytes)


def _fetch_all(cache: Project, todo: Plan, jobs: int, policy: TransferPolicy, *, progress: bool) -> Report:
    stop, bar_lock = threading.Event(), threading.Lock()
    connections = max(1, policy.connections // max(1, jobs))
    # Ctrl-C reaches the main thread only: the others look at this event, also while they wait before a retry.
    each = replace(policy, connections=connections, cancelled=stop.is_set, sleep=stop.wait)
    bar = progress_bar(total=todo.missing_bytes, desc="build", unit="B") if progress else None

    def one(file: PlannedFile) -> FileReport | None:
        if stop.is_set():
            return None
        report = _fetch_one(cache, file, each, stop)
        if bar is not None:
            with bar_lock:
                bar.update(file.missing_bytes)
        return report

    try:
        with ThreadPoolExecutor(max(1, jobs)) as pool:
            try:
                found = list(pool.map(one, todo.files))
            except BaseException:
                stop.set()
                raise
    finally:
        if bar is not None:
            bar.close()
    return Report("build", todo.root, [report for report in found if report is not None])


def _fetch_one(cache: Project, file: PlannedFile, policy: TransferPolicy, stop: threading.Event) -> FileReport:
    if cache.files.remote is None or (file.path.is_file() and file.path.suffix == TABLE_SUFFIX):
        # A table may have been extended by sessions of the user's own: only `verify` compares it.
        clear_leftovers(file.path, policy)
        return FileReport(file.key, "present", file.size or 0)
    try:
        fetch(
            cache.files.remote,
            file.key,
            file.path,
            expected=file.remote_file,
            mirrors=cache.files.mirrors,
            policy=policy,
            progress=False,
        )
    except DiskFullError:
        stop.set()
        raise
    except AllenEcephysError as error:
        if not stop.is_set():
            logger.warning("%s: %s", file.key, error)
        return FileReport(file.key, "failed", file.size or 0, str(error))
    return FileReport(file.key, "present" if file.present else "fetched", file.size or 0)


def status(cache: Project) -> dict[str, Any]:
    """Return what a cache folder holds, for people and for JSON; the network is not used.

    Returns
    -------
    dict
        ``root``, ``remote``, ``built_from`` (None: not noted), ``free_bytes``; ``files`` (key, bytes, verified,
        and noted: its size and time are those of when it was last checked, though no digest is published);
        ``unfinished`` (key, bytes, at_hand: of interrupted downloads and streamed sessions); ``set_aside`` (names of
        damaged files that were moved away).
    """
    root = cache.files.root
    files: list[dict[str, Any]] = []
    for path in project_files(root):
        entry = read_index(path.parent).get(path.name)
        noted = entry is not None and bool(entry.digest) and entry.matches(path.stat())
        verified = noted and entry is not None and entry.verified
        told = {"key": _key(root, path), "bytes": path.stat().st_size, "verified": verified, "noted": noted}
        files.append(told)
    unfinished = []
    for part in sorted(root.rglob("*.part")):
        journal = read_journal(journal_of(part))
        present = IntervalSet() if journal is None else journal.present
        name = part.name.rsplit(".", 2)[0]
        size = None if journal is None else journal.size
        unfinished.append({"key": _key(root, part.with_name(name)), "bytes": size, "at_hand": present.total})
    return {
        "root": str(root),
        "remote": None if cache.files.remote is None else cache.files.remote.url,
        "built_from": remembered_source(root),
        "free_bytes": shutil.disk_usage(root).free,
        "bytes": sum(file["bytes"] for file in files),
        "files": files,
        "unfinished": unfinished,
        "set_aside": sorted(_key(root, path) for path in root.rglob(f"*{ASIDE}*")),
    }


def _key(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()
