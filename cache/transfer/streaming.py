"""Reading a remote file without downloading it: a binary file object that fetches the ranges a reader asks for.

What was read lies in blocks on disk (see :mod:`.block_store`) and is never asked for again: opening the same file a
second time costs no request, since HDF5's metadata, and with it every dataset's offset, is among the blocks. Size and
version tag of the remote file are checked with each range. Streamed bytes cannot be compared with a published digest,
which covers the whole file; once all blocks are there, the file is checked and takes its place in the cache.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from allen_ecephys.errors import ClosedSessionError, CorruptFileError, DownloadError, InvalidValueError

from ..remotes.asking import locate_patiently
from ..remotes.protocol import Remote, RemoteFile, safe_key
from ..retrying.rules import DEFAULT_POLICY, TransferPolicy, is_strong_etag
from .block_store import BlockStore
from .fetch import fetch, is_present
from .journals import journal_of, read_journal
from .parts import parts_of

if TYPE_CHECKING:
    from typing_extensions import Buffer

BLOCK_BYTES = 256 << 10
#: Two ranges closer than this are fetched in one request: the gap costs less than a round trip.
JOIN_BYTES = 512 << 10
READ_AHEAD_BYTES = 4 << 20

_open_stores: dict[tuple[Path, str | None], tuple[BlockStore, int]] = {}
_open_stores_lock = threading.Lock()


def open_stream(
    remote: Remote,
    key: str,
    folder: Path,
    *,
    expected: RemoteFile | None = None,
    policy: TransferPolicy = DEFAULT_POLICY,
    block_bytes: int = BLOCK_BYTES,
) -> RemoteStream:
    """Open a file of a remote for reading by ranges.

    Parameters
    ----------
    remote
        Where the file lies.
    key
        Its path relative to the cache's root.
    folder
        The cache's root: blocks are kept in it, and a complete file there is read instead.
    expected
        What is known about the file; asked of the remote if None, except for a file that was streamed before.
    policy
        Limits and clock.
    block_bytes
        Ranges are widened to multiples of this.

    Returns
    -------
    RemoteStream
        A seekable binary file, which can be pickled.

    Raises
    ------
    RemoteNotFoundError, AccessError, DownloadError, OfflineError
        If the remote does not give it.
    """
    destination = Path(folder) / safe_key(key)
    present = is_present(destination, expected)
    file = RemoteFile(key, "", destination.stat().st_size) if present else expected
    if file is None or not (present or is_strong_etag(file.etag)):
        file = _streamed_before(remote, key, destination, expected) or locate_patiently(remote, key, policy)
        _check_size(file, expected, remote)
    return RemoteStream(remote, file, Path(folder), policy, block_bytes)


def _streamed_before(remote: Remote, key: str, destination: Path, expected: RemoteFile | None) -> RemoteFile | None:
    """Return what an earlier reader noted about the file; each range is checked against it."""
    for part in parts_of(destination):
        journal = read_journal(journal_of(part))
        if journal is None or journal.size is None or journal.url is None or not is_strong_etag(journal.etag):
            continue
        if journal.url.startswith(remote.url) and (expected is None or expected.size in (None, journal.size)):
            digest = expected.digest if expected is not None else None
            return RemoteFile(key, journal.url, journal.size, journal.etag, digest)
    return None


def _check_size(file: RemoteFile, expected: RemoteFile | None, remote: Remote) -> None:
    if expected is not None and None not in (expected.size, file.size) and expected.size != file.size:
        msg = f"{remote.url} offers {file.size:,} bytes for {file.key}, {expected.size:,} are published"
        raise DownloadError(msg)


def _shared_store(
    remote: Remote, file: RemoteFile, destination: Path, policy: TransferPolicy, block_bytes: int
) -> BlockStore:
    """Return the store of this file in this process, made on first use."""
    slot = (destination.absolute(), file.etag)

    def complete() -> int | None:
        return os.open(destination, os.O_RDONLY) if is_present(destination, file) else None

    with _open_stores_lock:
        store, users = _open_stores.get(slot, (None, 0))
        if store is None:
            store = BlockStore(remote, file, destination, policy, block_bytes=block_bytes, complete=complete)
        _open_stores[slot] = (store, users + 1)
        return store


def _give_back(store: BlockStore, destination: Path, policy: TransferPolicy, *, publish: bool) -> None:
    slot = (destination.absolute(), store.file.etag)
    with _open_stores_lock:
        _, users = _open_stores[slot]
        if users > 1:
            _open_stores[slot] = (store, users - 1)
            return
        del _open_stores[slot]
        whole = store.close()
    if whole and publish:
        # Every block is there: check it as a download would, and give it its name.
        fetch(store.remote, store.file.key, destination, progress=False, expected=store.file, policy=policy)


class RemoteStream(io.RawIOBase):
    """A remote file as a seekable binary file; made by :func:`open_stream`.

    Attributes
    ----------
    name
        The remote file's address.
    size
        Its bytes.
    closes_with_reader
        Whether a session that was given this file closes it when it is closed itself.
    """

    closes_with_reader = False

    def __init__(
        self, remote: Remote, file: RemoteFile, folder: Path, policy: TransferPolicy, block_bytes: int
    ) -> None:
        super().__init__()
        self._arguments = (remote, file, folder, policy, block_bytes)
        self._destination = folder / file.key
        self._at = 0
        self._ahead, self._last_stop = block_bytes, -block_bytes - 1
        self._store: BlockStore | None = None
        self._local: io.FileIO | None = None
        if not file.url:
            self._local = io.FileIO(self._destination, "rb")
            self.name, self.size = str(self._destination), file.size or 0
        else:
            self._store = _shared_store(remote, file, self._destination, policy, block_bytes)
            self.name, self.size = file.url, self._store.size

    def __reduce__(self) -> tuple[Any, ...]:
        return (RemoteStream, self._arguments)

    def __repr__(self) -> str:
        return f"RemoteStream({self.name!r}, {self.size:,} bytes, {self.bytes_at_hand:,} at hand)"

    @property
    def etag(self) -> str | None:
        """The remote file's version tag, None where it states none or the file is in the cache."""
        return self._arguments[1].etag

    @property
    def bytes_at_hand(self) -> int:
        """Bytes that can be read without a request."""
        return self.size if self._store is None or self._store.is_complete() else self._store.part.present.total

    @property
    def requests(self) -> int:
        """Requests for ranges made so far, by all streams of this process on this file."""
        return 0 if self._store is None else self._store.requests

    @property
    def bytes_fetched(self) -> int:
        """Bytes those requests brought."""
        return 0 if self._store is None else self._store.bytes_fetched

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move to a position; nothing is read."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence]
        if base + offset < 0:
            msg = f"cannot seek to {base + offset}, before the start of {self.name}"
            raise InvalidValueError(msg)
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Buffer, /) -> int:
        """Fill `buffer` from the position on, fetching what is not at hand; short only at the end of the file.

        Raises
        ------
        RemoteChangedError
            If the remote file is not the one that was opened.
        DownloadError
            If its bytes cannot be had after one retry. The buffer is never left half filled without an error.
        """
        if self.closed:
            msg = f"{self.name} was closed"
            raise ClosedSessionError(msg)
        view = memoryview(buffer).cast("B")
        start = self._at
        count = max(0, min(len(view), self.size - start))
        if count:
            self._fill(start, view[:count])
        self._at = start + count
        return count

    def _fill(self, start: int, view: memoryview) -> None:
        if self._store is None:
            if self._local is not None and os.preadv(self._local.fileno(), [view], start) != len(view):
                msg = f"{self.name} was cut while it was being read"
                raise CorruptFileError(msg)
            return
        stop = start + len(view)
        if not self._store.is_complete() and not self._store.part.present.covers(start, stop):
            self._store.ensure([(start, min(self.size, self._read_ahead(start, stop)))], gap=JOIN_BYTES)
        self._store.read_into(start, view)

    def _read_ahead(self, start: int, stop: int) -> int:
        """Return up to where to fetch for a miss: twice as far each time the reader just goes on."""
        block = self._arguments[4]
        goes_on = 0 <= start - self._last_stop <= block
        self._ahead = min(2 * self._ahead, READ_AHEAD_BYTES) if goes_on else block
        self._last_stop = max(stop, start // block * block + self._ahead)
        return self._last_stop

    def prefetch(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Bring many byte intervals [start, stop) at once, in as few requests as possible, over several connections.

        What cannot be had raises as reading does.
        """
        if self._store is not None and not self._store.is_complete():
            self._store.ensure([(max(0, a), min(b, self.size)) for a, b in ranges], gap=JOIN_BYTES)

    def __del__(self) -> None:
        # A file that was merely forgotten keeps its blocks; checking gigabytes is not for the garbage collector.
        self._close(publish=False)

    def close(self) -> None:
        """Close; the blocks stay for the next reader, and a complete file takes its place in the cache."""
        self._close(publish=True)

    def _close(self, *, publish: bool) -> None:
        if self.closed:
            return
        super().close()
        if self._local is not None:
            self._local.close()
        if self._store is not None:
            store, self._store = self._store, None
            _give_back(store, self._destination, self._arguments[3], publish=publish)
