"""Fetching one file of a remote into the cache.

A path under its final name is complete and checked, always. What is on its way has another name (see :mod:`.parts`),
and becomes the file by a rename after its size, its published digest and, for HDF5, its stated end were checked.
A file that is there is fetched again only if its size or digest is wrong, never because somebody failed to read it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import logging
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from allen_ecephys.config import offline
from allen_ecephys.errors import (
    AccessError,
    ChecksumError,
    CorruptFileError,
    DownloadError,
    FileFormatError,
    OfflineError,
    RemoteNotFoundError,
)
from allen_ecephys.files import file_lock, publish, remove_abandoned_drafts
from allen_ecephys.progress import progress_bar

from ..remotes.asking import locate_patiently
from ..remotes.protocol import Remote, RemoteFile
from ..retrying.rules import DEFAULT_POLICY, CachedFileAction, TransferPolicy, decide_cached_file
from ..writing import refused
from .checks import check_file, entry_of, note_checked
from .parts import PartFile, PartLostError, being_written, lock_path, remove_litter
from .resuming import Transfer

logger = logging.getLogger(__name__)

#: What follows a file's name when it was moved away because it was damaged.
ASIDE = ".corrupt-"


def fetch(
    remote: Remote,
    key: str,
    destination: Path,
    *,
    progress: bool = True,
    expected: RemoteFile | None = None,
    mirrors: Sequence[Remote] = (),
    policy: TransferPolicy = DEFAULT_POLICY,
) -> Path:
    """Return the path of a complete, checked file, bringing it from the remote if it is not there.

    Any number of processes may do so for the same file at once, also where locks do nothing. An interrupted transfer
    leaves its part, and the next call goes on there.

    Parameters
    ----------
    remote
        Where the file comes from.
    key
        Its path relative to the cache's root.
    destination
        Where it shall lie.
    progress
        Show a progress bar, where the settings allow one.
    expected
        What is known about the file (size, digest); asked of the remote if None. A present file that was checked
        before is returned without asking.
    mirrors
        Remotes that hold the same file, tried in turn after `remote`; `expected` or the first answer judges theirs.
    policy
        Limits and clock.

    Raises
    ------
    OfflineError
        If the file is not there and network connections are forbidden.
    RemoteNotFoundError, AccessError
        If the remote does not have the file or refuses it; if the cache folder cannot be written.
    DownloadError
        If the transfer failed after all retries; what came is kept.
    ChecksumError, CorruptFileError, FileFormatError
        If what came is not what was published, twice; nothing is kept.
    DiskFullError
        If the disk has no room; nothing is kept.
    """
    destination = Path(destination)
    if _look(destination, expected) is CachedFileAction.USE:
        clear_leftovers(destination, policy)
        return destination
    if offline():
        return _without_network(destination, key, expected)
    if expected is None:
        try:
            expected = locate_patiently(remote, key, _limits(policy, is_last=not mirrors))
        except (DownloadError, AccessError, RemoteNotFoundError) as error:
            if destination.exists():
                logger.warning("%s cannot be reached to check %s; the file in the cache is used", remote.url, key)
                return _without_network(destination, key, None)
            if not mirrors:
                raise
            logger.warning("%s; trying %s", error, mirrors[0].url)
            return fetch(mirrors[0], key, destination, progress=progress, mirrors=mirrors[1:], policy=policy)
    _prepare_folder(destination.parent, wanted=not destination.exists())
    with _turn(destination, expected, policy):
        if _is_good(destination, expected):
            with contextlib.suppress(OSError):
                remove_litter(destination, policy)
            return destination
        _bring(remote, mirrors, key, destination, expected, policy, progress=progress)
    return destination


def clear_leftovers(destination: Path, policy: TransferPolicy = DEFAULT_POLICY) -> None:
    """Remove what a process that was killed after publishing a file left beside it."""
    if lock_path(destination).exists():
        with _turn(destination, None, policy), contextlib.suppress(OSError):
            remove_litter(destination, policy)
        remove_abandoned_drafts(destination.parent)  # of the index


def is_present(destination: Path, expected: RemoteFile | None = None) -> bool:
    """Tell, from the index only, whether a complete and checked file lies at `destination`."""
    return _look(destination, expected) is CachedFileAction.USE


def _look(destination: Path, expected: RemoteFile | None) -> CachedFileAction:
    try:
        found = destination.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        found = None
    entry = entry_of(destination) if found is not None else None
    return decide_cached_file(
        found,
        expected.size if expected is not None else None,
        unchanged_since_check=entry is not None,
        check_is_enough=entry is not None and (entry.verified or expected is None or expected.digest is None),
    )


def _without_network(destination: Path, key: str, expected: RemoteFile | None) -> Path:
    if not destination.exists():
        msg = (
            f"{key} is not in the cache ({destination}) and network connections are forbidden. Fetch it where there "
            "is a network, for example with `allen-ecephys cache build`, or unset ALLEN_ECEPHYS_OFFLINE."
        )
        raise OfflineError(msg)
    size = expected.size if expected is not None else None
    check_file(destination, RemoteFile(key, "", size), hash_it=False)
    return destination


def _prepare_folder(folder: Path, *, wanted: bool) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if wanted:
            raise refused(folder, error) from error


@contextlib.contextmanager
def _turn(destination: Path, expected: RemoteFile | None, policy: TransferPolicy) -> Iterator[None]:
    """Wait while another process seems to bring the file; nothing depends on that it works."""
    began = policy.monotonic()

    def someone_is_at_it() -> bool:
        return policy.monotonic() - began < policy.abandoned_after_s or being_written(destination, policy)

    def is_there() -> bool:
        return _look(destination, expected) is CachedFileAction.USE

    with file_lock(lock_path(destination), still_alive=someone_is_at_it, done=is_there, sleep=policy.sleep):
        yield


def _is_good(destination: Path, expected: RemoteFile | None) -> bool:
    """Tell whether the present file is to be used; move a wrong one out of the way."""
    action = _look(destination, expected)
    if action is CachedFileAction.VERIFY:
        try:
            hash_it = expected is not None and expected.digest is not None
            algorithm, digest, verified = check_file(destination, expected, hash_it=hash_it)
            note_checked(destination, algorithm, digest, verified=verified)
        except (CorruptFileError, FileFormatError) as error:
            set_aside(destination, str(error))
            return False
        return True
    if action is CachedFileAction.SET_ASIDE_AND_FETCH:
        found = destination.stat().st_size
        size = expected.size if expected is not None else None
        set_aside(destination, f"it has {found:,} bytes, {size:,} are published")
    return action is CachedFileAction.USE


def set_aside(destination: Path, reason: str) -> Path:
    """Rename a wrong file, so that nothing is lost if it was right for somebody; return its new path."""
    stamp = time.strftime("%Y%m%dT%H%M%S")
    aside = destination.with_name(f"{destination.name}{ASIDE}{stamp}-{uuid.uuid4().hex[:8]}")
    try:
        publish(destination, aside, replace=False)
    except OSError as error:
        raise refused(destination.parent, error) from error
    logger.warning("%s: %s. It was renamed to %s and is fetched again.", destination, reason, aside.name)
    return aside


def _bring(
    remote: Remote,
    mirrors: Sequence[Remote],
    key: str,
    destination: Path,
    expected: RemoteFile,
    policy: TransferPolicy,
    *,
    progress: bool,
) -> None:
    """Fetch from the first remote that delivers."""
    remotes = [remote, *mirrors]
    for place in remotes:
        last = place is remotes[-1]
        limits = _limits(policy, is_last=last)
        try:
            file = expected if place is remote else _file_at(place, key, expected, limits)
            _bring_from(place, file, destination, limits, progress=progress)
        except (DownloadError, AccessError, RemoteNotFoundError) as error:
            if last:
                raise
            logger.warning("%s; trying %s", error, remotes[remotes.index(place) + 1].url)
        else:
            return


def _limits(policy: TransferPolicy, *, is_last: bool) -> TransferPolicy:
    """Return the limits for one of several places: with another one to ask, a failing one is left sooner."""
    return policy if is_last else dataclasses.replace(policy, attempts_without_progress=policy.attempts_to_connect)


def _file_at(place: Remote, key: str, expected: RemoteFile, policy: TransferPolicy) -> RemoteFile:
    """Return what a mirror states about the file, overruled by what is expected."""
    file = locate_patiently(place, key, policy)
    if None not in (file.size, expected.size) and file.size != expected.size:
        msg = f"{place.url} holds another {key}: {file.size:,} bytes, {expected.size:,} are expected"
        raise DownloadError(msg)
    return dataclasses.replace(file, size=expected.size or file.size, digest=expected.digest or file.digest)


def _bring_from(remote: Remote, file: RemoteFile, destination: Path, policy: TransferPolicy, *, progress: bool) -> None:
    """Transfer, check and publish; a damaged transfer is tried once more."""
    damaged: CorruptFileError | FileFormatError | None = None
    lost = 0
    while True:
        try:
            part = _transfer(remote, file, destination, policy, progress=progress)
            _check_and_publish(part, file, destination)
        except PartLostError:
            # Another process found our part idle and took it. It may have finished; if not, start one of our own.
            lost += 1
            if _look(destination, file) is CachedFileAction.USE:
                return
            if lost > policy.attempts_without_progress:
                msg = f"other processes keep taking over the transfer of {file.key}; is a clock wrong by minutes?"
                raise DownloadError(msg) from None
        except (ChecksumError, CorruptFileError, FileFormatError) as error:
            if damaged is not None:
                raise
            damaged = error
            logger.warning("%s Fetching it once more.", error)
        else:
            remove_litter(destination, policy)
            return


def _transfer(
    remote: Remote, file: RemoteFile, destination: Path, policy: TransferPolicy, *, progress: bool
) -> PartFile:
    bar = progress_bar(total=file.size, desc=destination.name, unit="B") if progress else None
    try:
        return Transfer(remote, file, destination, policy, bar, ever_answered=False).run()
    except PermissionError as error:
        if isinstance(error, AccessError):
            raise
        raise refused(destination.parent, error) from error
    except OSError as error:
        if error.errno == errno.EROFS:
            raise refused(destination.parent, error) from error
        raise
    finally:
        if bar is not None:
            bar.close()


def _check_and_publish(part: PartFile, file: RemoteFile, destination: Path) -> None:
    try:
        part.sync()
        algorithm, digest, verified = check_file(part.path, file, name=str(destination))
    except FileNotFoundError as error:
        part.release()
        msg = f"{part.path.name} was claimed by another process"
        raise PartLostError(msg) from error
    except (CorruptFileError, FileFormatError):
        part.discard()
        raise
    except BaseException:
        part.release()
        raise
    part.publish(destination)
    note_checked(destination, algorithm, digest, verified=verified)
