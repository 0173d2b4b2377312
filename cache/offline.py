"""Building a cache for work without a network: fetch all that a selection needs, and tell what came of it."""

from __future__ import annotations

import json
import logging
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from allen_ecephys.errors import AllenEcephysError, DiskFullError, OfflineError
from allen_ecephys.progress import progress_bar

from .download import fetch
from .intervals import IntervalSet
from .journals import journal_of, read_journal
from .manifest import write_atomically
from .planning import Plan, PlannedFile, Selection, plan
from .transfer import disk_full
from .transfer_rules import TransferPolicy
from .verification import read_index

if TYPE_CHECKING:
    from .project_cache import EcephysProjectCache

logger = logging.getLogger(__name__)

Outcome = Literal["present", "fetched", "verified", "unverified", "repaired", "local", "exported", "damaged", "failed"]
BAD: frozenset[Outcome] = frozenset({"damaged", "failed"})
TABLE_SUFFIX = ".csv"


@dataclass(frozen=True)
class FileReport:
    """What came of one file."""

    key: str
    outcome: Outcome
    bytes: int = 0
    message: str = ""


@dataclass
class Report:
    """What came of a build, a verification or an export; :meth:`write` keeps it as JSON."""

    action: str
    root: Path
    files: list[FileReport] = field(default_factory=list)

    @property
    def failures(self) -> list[FileReport]:
        """The files that are not as they should be."""
        return [file for file in self.files if file.outcome in BAD]

    @property
    def ok(self) -> bool:
        """Whether every file is as it should be."""
        return not self.failures

    def count(self, outcome: Outcome) -> int:
        """Return the number of files with an outcome."""
        return sum(file.outcome == outcome for file in self.files)

    def as_dict(self) -> dict[str, Any]:
        """Return the report for JSON."""
        outcomes = sorted({file.outcome for file in self.files})
        return {
            "action": self.action,
            "root": str(self.root),
            "ok": self.ok,
            "counts": {outcome: self.count(outcome) for outcome in outcomes},
            "bytes": {outcome: sum(f.bytes for f in self.files if f.outcome == outcome) for outcome in outcomes},
            "files": [
                {"key": f.key, "outcome": f.outcome, "bytes": f.bytes} | ({"message": f.message} if f.message else {})
                for f in self.files
            ],
        }

    def write(self, path: Path) -> None:
        """Write the report as JSON, in one step."""
        write_atomically(Path(path), json.dumps(self.as_dict(), indent=1).encode())

    def __repr__(self) -> str:
        counts = ", ".join(f"{number} {outcome}" for outcome, number in self.as_dict()["counts"].items())
        return f"{self.action} of {self.root}: {counts or 'no files'}"


def build(
    cache: EcephysProjectCache,
    selection: Selection | None = None,
    *,
    jobs: int = 2,
    progress: bool = True,
    policy: TransferPolicy | None = None,
) -> Report:
    """Fetch every file that `selection` needs and that is not there.

    An interrupted build is resumed by the same call. A file that fails does not keep the others from being fetched.

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
    if cache.remote is None:
        msg = (
            f"the cache in {cache.root} has no remote to build from; open it with from_s3(), from_url() or from_dandi()"
        )
        raise OfflineError(msg)
    policy = policy or TransferPolicy()
    for table in ("sessions", "probes"):  # what the selection is made from
        cache.files.path_of(table, progress=progress)
    todo = plan(cache, selection, policy=policy)
    _check_room(todo)
    return _fetch_all(cache, todo, jobs, policy, progress=progress)


def _check_room(todo: Plan) -> None:
    if todo.missing_bytes > shutil.disk_usage(todo.root).free:
        disk_full(todo.root, todo.missing_bytes)


def _fetch_all(cache: EcephysProjectCache, todo: Plan, jobs: int, policy: TransferPolicy, *, progress: bool) -> Report:
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


def _fetch_one(
    cache: EcephysProjectCache, file: PlannedFile, policy: TransferPolicy, stop: threading.Event
) -> FileReport:
    if cache.remote is None or (file.path.is_file() and file.path.suffix == TABLE_SUFFIX):
        # A table may have been extended by sessions of the user's own: only `verify` compares it.
        return FileReport(file.key, "present", file.size or 0)
    try:
        fetch(
            cache.remote,
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


def status(cache: EcephysProjectCache) -> dict[str, Any]:
    """Return what a cache folder holds, for people and for JSON; the network is not used.

    Returns
    -------
    dict
        ``root``, ``remote``, ``free_bytes``; ``files`` (key, bytes, verified); ``unfinished`` (key, bytes, at_hand: of
        interrupted downloads and streamed sessions); ``set_aside`` (names of damaged files that were moved away).
    """
    root = cache.root
    files: list[dict[str, Any]] = []
    for path in project_files(root):
        entry = read_index(path.parent).get(path.name)
        verified = entry is not None and entry.verified and entry.matches(path.stat())
        files.append({"key": _key(root, path), "bytes": path.stat().st_size, "verified": verified})
    unfinished = []
    for part in sorted(root.rglob("*.part")):
        journal = read_journal(journal_of(part))
        present = IntervalSet() if journal is None else journal.present
        name = part.name.rsplit(".", 2)[0]
        size = None if journal is None else journal.size
        unfinished.append({"key": _key(root, part.with_name(name)), "bytes": size, "at_hand": present.total})
    return {
        "root": str(root),
        "remote": None if cache.remote is None else cache.remote.url,
        "free_bytes": shutil.disk_usage(root).free,
        "bytes": sum(file["bytes"] for file in files),
        "files": files,
        "unfinished": unfinished,
        "set_aside": sorted(_key(root, path) for path in root.rglob("*.corrupt-*")),
    }


def project_files(root: Path) -> list[Path]:
    """Return the project's files in a cache folder: tables, metrics, NWB files, templates."""
    patterns = (
        "*.csv",
        "session_*/session_*.nwb",
        "session_*/session_*_analysis_metrics.csv",
        "session_*/probe_*_lfp.nwb",
        "natural_movie_templates/natural_movie_*.h5",
        "natural_scene_templates/natural_scene_*.tiff",
    )
    return [path for pattern in patterns for path in sorted(root.glob(pattern)) if path.is_file()]


def _key(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()
