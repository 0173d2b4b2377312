"""Part files: what a transfer has brought so far, and who is at work on it.

A part lies beside its destination (so that publishing is a rename, never a copy) as ``<name>.<8 hex>.part``. It is
sparse: ranges may arrive in any order. ``<name>.<8 hex>.part.json`` is its journal, one JSON value a line: a header
(size, ETag, owner), then one ``[start, stop]`` for each range whose bytes are on disk. Only journalled bytes count, so
neither ``kill -9`` nor a power cut can pass off a hole as data; a line cut short is ignored.

Nothing here trusts a lock. A part belongs to one process; an abandoned part is claimed by renaming it, which only one
process can win, and a part is dropped by unlinking it, never by truncating it under somebody who still reads it.
"""

from __future__ import annotations

import contextlib
import os
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from allen_ecephys.files import is_dead, publish, sync, sync_folder, this_process

from ..retrying.intervals import Interval, IntervalSet
from ..retrying.rules import TransferPolicy
from .journals import JOURNAL_FORMAT, Journal, append_lines, journal_of, read_journal


class PartLostError(Exception):
    """Another process has claimed this part: leave it alone and look again."""


class PartFile:
    """A part of our own, open for reading and writing by any number of threads of this process."""

    def __init__(self, path: Path, journal: Journal, policy: TransferPolicy, *, new: bool) -> None:
        self.path = path
        self.size = journal.size
        self.etag = journal.etag
        self.url = journal.url
        self.present = journal.present
        self._policy = policy
        self._lock = threading.Lock()
        self._pending = IntervalSet()
        self._last_checkpoint = policy.monotonic()
        flags = os.O_RDWR | getattr(os, "O_BINARY", 0)
        # Mode 0666 is what open() asks for: the umask and the folder's rules decide, as for any file of the user.
        self._descriptor = os.open(path, flags | (os.O_CREAT | os.O_EXCL if new else 0), 0o666)
        self._inode = os.fstat(self._descriptor).st_ino
        self._open = True
        try:
            if new:
                header = {
                    "format": JOURNAL_FORMAT,
                    "size": self.size,
                    "etag": self.etag,
                    "url": self.url,
                    "owner": this_process(),
                }
                self._append([header], os.O_CREAT | os.O_EXCL)
            else:
                self._append([{"owner": this_process()}])
        except BaseException:
            os.close(self._descriptor)
            raise

    @classmethod
    def create(
        cls, destination: Path, size: int | None, etag: str | None, policy: TransferPolicy, url: str | None = None
    ) -> PartFile:
        """Create an empty part for `destination`, under a name nobody else has."""
        return cls(part_name(destination), Journal(size, etag, url), policy, new=True)

    @property
    def descriptor(self) -> int:
        """The open file, for reading; it stays readable when the path is gone."""
        return self._descriptor

    @property
    def journal_path(self) -> Path:
        """The journal's path."""
        return journal_of(self.path)

    def _append(self, entries: list[Any], create: int = 0) -> None:
        try:
            append_lines(self.journal_path, entries, create)
        except FileNotFoundError as error:
            msg = f"{self.journal_path.name} was taken by another process"
            raise PartLostError(msg) from error

    def learn(self, *, size: int | None, etag: str | None) -> None:
        """Note what an answer tells about the file and nobody knew before."""
        news: dict[str, Any] = {}
        with self._lock:
            if self.size is None and size is not None:
                self.size = news["size"] = size
            if self.etag is None and etag is not None:
                self.etag = news["etag"] = etag
            if news and self._open:
                self._append([news])

    def set_idle(self, idle: bool) -> None:
        """Tell that a download may (idle) or may not take this part over although its owner, a reader, lives on."""
        with self._lock:
            if self._open:
                self.check_ours()
                self._append([{"idle": idle}])

    def check_ours(self) -> None:
        """Raise PartLostError if the path no longer leads to our file."""
        try:
            ours = self.path.stat().st_ino == self._inode
        except FileNotFoundError:
            ours = False
        if not ours:
            msg = f"{self.path.name} was claimed by another process"
            raise PartLostError(msg)

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Write `data` at `offset`; it counts for others after the next checkpoint."""
        view = memoryview(data)
        with self._lock:
            if not self._open:
                msg = f"{self.path.name} is closed"
                raise PartLostError(msg)
            at = offset
            while view:
                written = os.pwrite(self._descriptor, view, at)
                view, at = view[written:], at + written
            self._pending.add(offset, at)
            self.present.add(offset, at)
            now = self._policy.monotonic()
            due = self._pending.total >= self._policy.checkpoint_bytes
            if due or now - self._last_checkpoint >= self._policy.checkpoint_s:
                self._checkpoint(now)

    def _checkpoint(self, now: float) -> None:
        if len(self._pending):
            self.check_ours()
            _sync_data(self._descriptor)
            self._append([list(interval) for interval in self._pending])
            self._pending = IntervalSet()
        self._last_checkpoint = now

    def checkpoint(self) -> None:
        """Put what was written on disk and in the journal."""
        with self._lock:
            if self._open:
                self._checkpoint(self._policy.monotonic())

    def missing(self) -> list[Interval]:
        """Return the byte intervals still to fetch; the size must be known."""
        with self._lock:
            return self.present.missing(0, self.size or 0)

    def sync(self) -> None:
        """Put the whole file on disk, ready to be published."""
        with self._lock:
            self._checkpoint(self._policy.monotonic())
            sync(self._descriptor)

    def release(self) -> None:
        """Keep the part for whoever comes next, if there is anything in it, and close it."""
        if not self.present.total:
            self.discard()
            return
        with self._lock:
            if not self._open:
                return
            try:
                self.check_ours()
                self._checkpoint(self._policy.monotonic())
                self._append([{"owner": None}])
            except (OSError, PartLostError):
                pass  # what is not in the journal is fetched again
            finally:
                self._close()

    def discard(self) -> None:
        """Close and remove the part, if it is still ours."""
        with self._lock:
            if not self._open:
                return
            with contextlib.suppress(OSError, PartLostError):
                self.check_ours()
                remove_part(self.path)
            self._close()

    def publish(self, destination: Path) -> None:
        """Give the synced part its final name; the journal goes after it."""
        with self._lock:
            self.check_ours()
            publish(self.path, destination, replace=True)
            sync_folder(destination.parent)
            self.journal_path.unlink(missing_ok=True)
            self._close()

    def _close(self) -> None:
        self._open = False
        os.close(self._descriptor)


def part_name(destination: Path) -> Path:
    """Return a part name for `destination` that nobody else has."""
    return destination.with_name(f"{destination.name}.{uuid.uuid4().hex[:8]}.part")


def remove_part(part: Path) -> None:
    """Remove a part and its journal."""
    part.unlink(missing_ok=True)
    journal_of(part).unlink(missing_ok=True)


def _sync_data(descriptor: int) -> None:
    getattr(os, "fdatasync", os.fsync)(descriptor)


def parts_of(destination: Path) -> Iterator[Path]:
    """Yield the parts of `destination`, whoever owns them."""
    prefix = destination.name + "."
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(destination.parent) as entries:
        for entry in entries:
            name = entry.name
            if name.startswith(prefix) and name.endswith(".part") and len(name) == len(prefix) + 13:
                yield destination.parent / name


def _is_abandoned(part: Path, journal: Journal | None, policy: TransferPolicy, *, or_idle: bool) -> bool:
    if journal is not None and (journal.owner is None or is_dead(journal.owner)):
        return True
    if journal is not None and journal.idle:
        return or_idle  # a reader keeps it, however long it pauses, until a download wants it
    return policy.wall() - part.stat().st_mtime >= policy.abandoned_after_s


def being_written(destination: Path, policy: TransferPolicy) -> bool:
    """Tell whether somebody is at work on a part of `destination`."""
    for part in parts_of(destination):
        with contextlib.suppress(FileNotFoundError):
            if not _is_abandoned(part, read_journal(journal_of(part)), policy, or_idle=True):
                return True
    return False


def _take(part: Path, destination: Path) -> Path | None:
    """Rename an abandoned part to a name of our own; None if another process was faster."""
    mine = part_name(destination)
    try:
        # Under its new name it must not look abandoned for a moment, or a third process would take it from us.
        with contextlib.suppress(FileNotFoundError):
            append_lines(journal_of(part), [{"owner": this_process()}])
        os.utime(part)
        part.rename(mine)
    except (FileNotFoundError, PermissionError):
        return None
    with contextlib.suppress(FileNotFoundError):
        journal_of(part).rename(journal_of(mine))
    return mine


def claim_part(
    destination: Path,
    *,
    size: int | None,
    etag: str | None,
    any_etag: bool,
    policy: TransferPolicy,
    or_idle: bool = True,
) -> PartFile | None:
    """Take over the fullest abandoned part of this very file; remove abandoned parts of other versions.

    Parameters
    ----------
    destination
        Final path of the file.
    size, etag
        What the remote states now; None where unknown.
    any_etag
        A published digest will judge the result, so that a part without a (strong) ETag may be used.
    policy
        Limits and clock.
    or_idle
        Also take the part of a live reader that is not fetching just now.
    """
    usable: list[tuple[int, Path]] = []
    for part in parts_of(destination):
        with contextlib.suppress(FileNotFoundError):
            journal = read_journal(journal_of(part))
            if not _is_abandoned(part, journal, policy, or_idle=or_idle):
                continue
            if journal is None or not _same_version(journal, size, etag, any_etag=any_etag):
                doomed = _take(part, destination)
                if doomed is not None:
                    remove_part(doomed)
                continue
            usable.append((journal.present.total, part))
    for _, part in sorted(usable, key=lambda entry: -entry[0]):
        mine = _take(part, destination)
        journal = read_journal(journal_of(mine)) if mine is not None else None
        if mine is not None and journal is not None:
            with contextlib.suppress(FileNotFoundError, PartLostError):
                return PartFile(mine, journal, policy, new=False)
    return None


def _same_version(journal: Journal, size: int | None, etag: str | None, *, any_etag: bool) -> bool:
    if size is None or journal.size != size:
        return False
    if any_etag:
        return True
    return journal.etag is not None and etag in (None, journal.etag)


def lock_path(destination: Path) -> Path:
    """Return the lock of whoever transfers `destination`."""
    return destination.with_name(destination.name + ".lock")


def remove_litter(destination: Path, policy: TransferPolicy) -> None:
    """Remove what earlier, ended transfers of `destination` left behind, now that it is complete."""
    for part in list(parts_of(destination)):
        with contextlib.suppress(OSError):
            if _is_abandoned(part, read_journal(journal_of(part)), policy, or_idle=True):
                doomed = _take(part, destination)
                if doomed is not None:
                    remove_part(doomed)
    prefix, suffix = destination.name + ".", ".part.json"
    for journal in list(destination.parent.glob(f"*{suffix}")):
        part = journal.with_name(journal.name.removesuffix(".json"))
        if journal.name.startswith(prefix) and not part.exists():
            # A journal without its part: either left by a kill, or of a process between two renames (it then
            # starts its part anew, which costs time only).
            with contextlib.suppress(OSError):
                owner = read_journal(journal)
                if owner is None or owner.owner is None or is_dead(owner.owner):
                    journal.unlink()
