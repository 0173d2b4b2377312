"""Safe writing: what is written to a disk appears whole or not at all, and nothing else is touched.

What is being written is a *draft* beside its final name, and becomes the file or folder by a rename. The draft's name
tells which process writes it, so that the next writer in the folder can remove the drafts of processes that have died,
and only those.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import os
import re
import shutil
import socket
import stat
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from .errors import AccessError, AlreadyPresentError, DiskFullError, FileFormatError

#: Codes of the errors that say that there is no room: on the disk, in the quota, in the limit of a file's size.
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NO_ROOM_TEXT = re.compile(r"No space left|\d+ requested and \d+ written")

_DRAFT = re.compile(r"\..+\.(?P<host>[0-9a-f]{8})-(?P<pid>\d+)-(?P<started>\d*)-[0-9a-f]{8}\.draft")
_LONGEST_NAME = 255
_POLL_S = 0.1


# --- writing -----------------------------------------------------------------------------------------------------


def write_atomically(path: Path, content: bytes | str, *, replace: bool = True, durable: bool = True) -> None:
    """Put `content` (text as UTF-8) under its name in one step: readers see the old file or the whole new one.

    Raises
    ------
    AlreadyPresentError
        If the file is there and `replace` is False.
    AccessError, DiskFullError
        If the folder cannot be written.
    """
    with atomic_file(path, replace=replace, durable=durable) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def atomic_file(path: Path, *, replace: bool = True, durable: bool = True) -> Iterator[IO[bytes]]:
    """Open a draft of `path` for writing and reading; it takes its name when the block ends without an error.

    A library that writes under a name of its own is given ``file.name``.

    Parameters
    ----------
    path
        Final path; its folder is made if it does not exist.
    replace
        Whether a file of that name makes way. If not, one that appears in the meantime does not either.
    durable
        Whether the file must outlast a power cut; one that can be made again at any time need not wait for the disk.

    Raises
    ------
    AlreadyPresentError
        If the file is there and `replace` is False; nothing of it is touched.
    AccessError, DiskFullError
        If the folder cannot be written, or its disk has no room.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_file(Path(folder) / "spikes.bin") as file:
    ...         _ = file.write(b"1234")
    ...     [path.name for path in Path(folder).iterdir()]
    ['spikes.bin']
    """
    path = Path(path)
    if not replace and os.path.lexists(path):
        remove_abandoned_drafts(path.parent)  # of a process that was killed when it had just published the file
        raise _already_present(path)
    draft = _prepared(path)
    try:
        with _refusals(path.parent):
            file = draft.open("x+b")
        with file:
            with naming_a_full_disk(path.parent):
                yield file
            with _refusals(path.parent):
                file.flush()
                if durable:
                    sync(file.fileno())
        with _refusals(path.parent):
            publish(draft, path, replace=replace)
    finally:
        _unlink_draft(draft)
    if durable:
        sync_folder(path.parent)


def _unlink_draft(draft: Path) -> None:
    """Remove a draft, if there is one; what kept it from being written says more than what keeps it from going."""
    with contextlib.suppress(OSError):
        draft.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Make a draft of the folder `path`; it takes its name when the block ends without an error.

    Files that the block wrote are put on disk first. A folder that holds anything is never replaced; an empty one is.

    Raises
    ------
    AlreadyPresentError
        If something is there, or appears before the draft is whole; nothing of it is touched.
    AccessError, DiskFullError
        If the folder cannot be written, or its disk has no room.
    """
    path = Path(path)
    if os.path.lexists(path) and not _is_empty_folder(path):
        raise _already_present(path)
    draft = _prepared(path)
    try:
        with _refusals(path.parent):
            draft.mkdir()
        with naming_a_full_disk(path.parent):
            yield draft
        with _refusals(path.parent):
            sync_files(draft)
            publish(draft, path, replace=False)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    sync_folder(path.parent)


@contextlib.contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """Make a folder beside `path` for what is needed only while the block runs; it is removed in any case.

    Raises
    ------
    AccessError, DiskFullError
        If the folder cannot be written, or its disk has no room.
    """
    folder = _prepared(Path(path))
    try:
        with _refusals(folder.parent):
            folder.mkdir()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and not any(path.iterdir())


def _prepared(path: Path) -> Path:
    """Return the draft's name for `path`, after making its folder and clearing it of what dead processes left."""
    with _refusals(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned_drafts(path.parent)
    return draft_of(path)


def publish(draft: Path, path: Path, *, replace: bool) -> None:
    """Rename a whole file or folder to its final name.

    Raises
    ------
    AlreadyPresentError
        If something has that name: a file where `replace` is False, or a folder that is not empty.
    """
    if draft.is_dir():
        # A rename replaces an empty folder at most: what holds anything stays.
        try:
            draft.rename(path)
        except OSError as error:
            if error.errno in {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR}:
                raise _already_present(path) from error
            raise
    elif replace:
        os.replace(draft, path)  # noqa: PTH105  one name for it here and in traces of system calls
    else:
        _publish_new(draft, path)


def _publish_new(draft: Path, path: Path) -> None:
    """Give a draft its name if nothing has it: by a second link, else by claiming the name with an empty file."""
    try:
        os.link(draft, path, follow_symlinks=False)
    except FileExistsError as error:
        raise _already_present(path) from error
    except OSError:  # this file system knows no links
        try:
            claim = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError as error:
            raise _already_present(path) from error
        os.close(claim)
        os.replace(draft, path)  # noqa: PTH105  see publish
    else:
        draft.unlink()


def sync(descriptor: int) -> None:
    """Put an open file on disk."""
    os.fsync(descriptor)


def sync_files(folder: Path) -> None:
    """Put every file and folder below `folder` on disk."""
    for written in sorted(folder.rglob("*"), reverse=True):
        if written.is_dir():
            sync_folder(written)
        elif written.is_file() and not written.is_symlink():
            with written.open("rb") as file:
                sync(file.fileno())
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Put the names in `folder` on disk, where the system can do that."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


# --- reading -----------------------------------------------------------------------------------------------------


def read_regular(path: Path, limit: int = 64 << 20) -> bytes:
    """Return the bytes of a small regular file; never wait for the other end of a pipe that lies in its place.

    Raises
    ------
    FileFormatError
        If it is no regular file, or longer than `limit` bytes.
    """
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size > limit:
            msg = f"{path} is longer than {limit:,} bytes, which no such file is"
            raise FileFormatError(msg)
        return file.read()


def read_json(path: Path, limit: int = 64 << 20) -> Any:
    """Return what a JSON file holds.

    Raises
    ------
    FileFormatError
        If it is no JSON, no regular file, or longer than `limit` bytes.
    """
    try:
        return json.loads(read_regular(path, limit))
    except FileFormatError:
        raise
    except (ValueError, RecursionError) as error:
        msg = f"{path} is no JSON ({error})"
        raise FileFormatError(msg) from error


def open_regular(path: Path) -> IO[bytes]:
    """Open a regular file for reading.

    Raises
    ------
    FileFormatError
        If it is a pipe, a device or a folder.
    """
    with contextlib.suppress(IsADirectoryError):
        file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115  the caller closes it; Path has no opener
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return file
        file.close()
    msg = f"{path} is no regular file"
    raise FileFormatError(msg)


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


# --- drafts ------------------------------------------------------------------------------------------------------


def draft_of(path: Path) -> Path:
    """Return a name beside `path` that nobody else has, and that tells which process writes there."""
    pid = os.getpid()
    owner = f".{_host_mark()}-{pid}-{process_start(pid) or ''}-{uuid.uuid4().hex[:8]}.draft"
    return path.with_name(f".{path.name[: _LONGEST_NAME - 1 - len(owner)]}{owner}")


def remove_abandoned_drafts(folder: Path) -> None:
    """Remove the drafts in `folder` whose process runs no longer; those of other machines cannot be judged and stay."""
    with contextlib.suppress(OSError):
        for path in abandoned_drafts(folder):
            with contextlib.suppress(OSError):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()


def abandoned_drafts(folder: Path) -> list[Path]:
    """Return the drafts in `folder` whose process, one of this machine, runs no longer."""
    with os.scandir(folder) as entries:
        found = [(entry.path, match) for entry in entries if (match := _DRAFT.fullmatch(entry.name))]
    return [
        Path(path)
        for path, match in found
        if match["host"] == _host_mark() and not _runs(int(match["pid"]), match["started"] or None)
    ]


# --- processes ---------------------------------------------------------------------------------------------------


@functools.cache
def host() -> str:
    """Return a name for the set of processes whose ids can be compared: machine, boot and process namespace."""
    marks = [socket.gethostname()]
    with contextlib.suppress(OSError):
        marks.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    with contextlib.suppress(OSError):
        marks.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(marks)


@functools.cache
def _host_mark() -> str:
    return hashlib.sha256(host().encode()).hexdigest()[:8]


def process_start(pid: int) -> str | None:
    """Return the start time of a process where the system tells, so that a reused id is not taken for its owner."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except (OSError, IndexError):
        return None


def this_process() -> dict[str, Any]:
    """Return what identifies the running process in a file that others read (see :func:`is_dead`)."""
    pid = os.getpid()
    return {"host": host(), "pid": pid, "started": process_start(pid)}


def is_dead(owner: dict[str, Any]) -> bool:
    """Tell whether the process of :func:`this_process` runs no longer; False where that cannot be known."""
    if owner.get("host") != host() or os.name != "posix":
        return False
    pid, started = owner.get("pid"), owner.get("started")
    return not (isinstance(pid, int) and _runs(pid, started if isinstance(started, str) else None))


def _runs(pid: int, started: str | None) -> bool:
    """Tell whether a process of this machine runs, and is the one that started then."""
    if os.name != "posix":
        return True
    if not 0 < pid < 1 << 31:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # it runs, as somebody else
    return started is None or process_start(pid) == started


# --- locks -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def file_lock(
    path: Path,
    *,
    still_alive: Callable[[], bool],
    done: Callable[[], bool] = lambda: False,
    sleep: Callable[[float], object] = time.sleep,
) -> Iterator[bool]:
    """Hold the lock file `path` while the block runs, if that can be had; yield whether it is held.

    A lock saves work and never carries correctness: ``flock`` does nothing, or works on one node only, on Lustre, GPFS
    and some NFS mounts, so every user of this lock must be right without it.

    Parameters
    ----------
    path
        The lock file; created, and removed at the end.
    still_alive
        Asked while another process holds the lock: False ends the wait without the lock (the holder hangs).
    done
        Asked while another process holds the lock: True ends the wait, because there is nothing left to do.
    sleep
        Waits between two looks; replaced in tests.
    """
    descriptor = _acquire(path, still_alive, sleep, done)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            # Removed before it is released: whoever locks the removed file notices (see _try_lock) and looks again.
            with contextlib.suppress(OSError):
                path.unlink()
            os.close(descriptor)


def _acquire(
    path: Path, still_alive: Callable[[], bool], sleep: Callable[[float], object], done: Callable[[], bool]
) -> int | None:
    while True:
        try:
            descriptor = _try_lock(path)
        except (OSError, ImportError):
            return None  # no locks here: go on without one
        if descriptor is not None:
            return descriptor
        if done() or not still_alive():
            return None
        sleep(_POLL_S)


def _try_lock(path: Path) -> int | None:
    """Return a file descriptor that holds the lock on `path`; None while another process holds it.

    Raises OSError where the folder cannot be written or its file system knows no locks.
    """
    import fcntl

    # Never through a link, and never waiting for the other end of a pipe that lies there.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The previous holder removes the file: a lock on a removed file is held by nobody else who looks for it.
        if os.fstat(descriptor).st_ino == path.stat().st_ino:
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


# --- errors ------------------------------------------------------------------------------------------------------


def not_written(folder: Path, error: OSError, advice: str = "Choose another one") -> AccessError | DiskFullError:
    """Return the error for a folder that cannot be written, or whose disk has no room."""
    if error.errno in NO_ROOM:
        return disk_full(folder, number=error.errno)
    return AccessError(f"the folder {folder} cannot be written ({error.strerror or error}). {advice}")


def disk_full(
    folder: Path, needed: int | None = None, *, number: int | None = None, advice: str = "choose another folder"
) -> DiskFullError:
    """Return the error for a disk without room, or for a file larger than one may be there.

    Parameters
    ----------
    folder
        A folder on it.
    needed
        Bytes that were to be written; None where nobody knows.
    number
        The system's code, where it refused; by default ENOSPC.
    advice
        What to do besides making room.
    """
    if number == errno.EFBIG:
        wanted = "a file" if needed is None else f"a file of {needed:,} bytes"
        return DiskFullError(
            f"{wanted} in {folder} would be larger than one may be: {_limit_of_files()} {advice}.",
            number,
        )
    try:
        free = f"{shutil.disk_usage(folder).free:,} free"
    except OSError:
        free = "none of it free"
    wanted = "more room" if needed is None else f"{needed:,} bytes"
    return DiskFullError(
        f"{folder} has no room: {wanted} needed, {free}. Free some, or {advice}.", number or errno.ENOSPC
    )


def _limit_of_files() -> str:
    """Say what limits the size of a file, this process's limit or else the file system, and begin to say what to do."""
    of_the_system = "its file system allows no larger one;"
    try:
        import resource
    except ImportError:  # Windows
        return of_the_system
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    return of_the_system if limit == resource.RLIM_INFINITY else f"`ulimit -f` allows {limit:,} bytes. Raise it, or"


def _already_present(path: Path) -> AlreadyPresentError:
    return AlreadyPresentError(f"{path} is there already, and is not replaced. Choose another name, or move it away")


@contextlib.contextmanager
def _refusals(folder: Path) -> Iterator[None]:
    """Give the errors of a system that refuses to write into `folder` their names."""
    try:
        yield
    except (AccessError, DiskFullError, AlreadyPresentError):
        raise
    except OSError as error:
        raise not_written(folder, error) from error


@contextlib.contextmanager
def naming_a_full_disk(folder: Path) -> Iterator[None]:
    """Name the error of a full disk in the caller's own writing; any other error is the caller's.

    HDF5 reports one by its text only, as a RuntimeError where it shows when the file is closed, and NumPy by how much
    of an array it wrote.
    """
    try:
        yield
    except DiskFullError:
        raise
    except (OSError, RuntimeError) as error:
        number = error.errno if isinstance(error, OSError) else None
        if number in NO_ROOM or (number is None and _NO_ROOM_TEXT.search(str(error))):
            raise disk_full(folder, number=number) from error
        raise
