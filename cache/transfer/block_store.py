"""The bytes of one remote file that reading has asked for so far, kept on disk in blocks.

The blocks lie in a part (see :mod:`.parts`), so that what was streamed is not fetched again: the next reader, in this
process or a later one, finds it, and a download of the file fetches only what is missing. While its reader lives the
part is marked idle between requests, and a download may take it over; the reader then goes on in a part of its own or
in the finished file.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

from allen_ecephys.errors import CorruptFileError, DownloadError, RemoteChangedError
from allen_ecephys.files import NO_ROOM

from ..remotes.protocol import RangeResponse, Remote, RemoteFile, RemoteStatusError
from ..retrying.intervals import Interval, IntervalSet, join_close, split_long
from ..retrying.rules import TransferPolicy, below_floor, is_strong_etag
from ..writing import refused
from .journals import journal_of, read_journal
from .parts import PartFile, PartLostError, claim_part, parts_of, remove_part

logger = logging.getLogger(__name__)
_COPY_BYTES = 8 << 20
_SEED_BYTES = 64 << 20


class BlockStore:
    """Blocks of one remote file.

    Parameters
    ----------
    remote, file
        Where from; ``file.size`` is known.
    destination
        Where the complete file would lie; the part lies beside it, or in a temporary folder if that is read-only.
    block_bytes
        Requests are widened to multiples of this.
    complete
        Called with a store whose part was taken over: returns a descriptor of the complete file, or None.
    """

    def __init__(
        self,
        remote: Remote,
        file: RemoteFile,
        destination: Path,
        policy: TransferPolicy,
        *,
        block_bytes: int,
        complete: Callable[[], int | None],
    ) -> None:
        if file.size is None:
            msg = f"{remote.url} does not tell the size of {file.key}, so it cannot be streamed; download it instead"
            raise DownloadError(msg)
        self.remote = remote
        self.file = file
        self.size: int = file.size
        self.policy = policy
        self.requests = 0
        self.bytes_fetched = 0
        self._block = block_bytes
        self._complete = complete
        self._descriptor: int | None = None
        self._lock = threading.RLock()
        self._count_lock = threading.Lock()
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._destination = destination
        self._version = file.etag if is_strong_etag(file.etag) else None
        self.part = self._claim_or_create()

    # --- the part ---------------------------------------------------------------------------------------------

    def _claim_or_create(self) -> PartFile:
        try:
            self._destination.parent.mkdir(parents=True, exist_ok=True)
            part = self._claim()
            if part is None:
                part = self._create()
                self._seed_from_others(part)
        except OSError as error:
            if error.errno in NO_ROOM:
                raise refused(self._destination.parent, error, self._block) from error
            logger.info("%s cannot be written: blocks are kept until the end of this session only", self._destination)
            self._temporary = tempfile.TemporaryDirectory(prefix="allen-ecephys-")
            self._destination = Path(self._temporary.name) / self._destination.name
            part = self._create()
        part.set_idle(True)
        return part

    def _claim(self) -> PartFile | None:
        if self._version is None:
            return None  # nothing would tell old blocks from new ones
        return claim_part(
            self._destination,
            size=self.size,
            etag=self._version,
            any_etag=False,
            policy=self.policy,
            or_idle=False,
        )

    def _create(self) -> PartFile:
        return PartFile.create(self._destination, self.size, self._version, self.policy, self.file.url)

    def _seed_from_others(self, part: PartFile) -> None:
        """Copy small runs of blocks from the parts of other live readers: metadata that need not be fetched again."""
        if self._version is None:
            return
        for other in list(parts_of(self._destination)):
            journal = read_journal(journal_of(other))
            if other == part.path or journal is None or (journal.size, journal.etag) != (self.size, self._version):
                continue
            with contextlib.suppress(OSError), other.open("rb", buffering=0) as stream:
                _copy(stream.fileno(), journal.present, part, _SEED_BYTES)
                return

    def _move_on(self) -> None:
        """Our part was taken over: read on in the finished file, or in a part of our own with what we had."""
        self._descriptor = self._complete()
        if self._descriptor is not None:
            return
        old = self.part
        self.part = self._create()
        with contextlib.suppress(OSError):
            _copy(old.descriptor, old.present, self.part, None)
        old.release()

    # --- reading ----------------------------------------------------------------------------------------------

    def ensure(self, ranges: Iterable[Interval], *, gap: int) -> None:
        """Fetch those blocks of `ranges` that are not at hand; near ones in one request, many at once.

        Raises
        ------
        RemoteChangedError
            If the remote holds another version now.
        DownloadError, OfflineError, DiskFullError
            If a range cannot be had after one retry.
        """
        with self._lock:
            wanted = [self._widened(start, stop) for start, stop in ranges if stop > start]
            for _ in range(3):
                if self._descriptor is not None:
                    return
                missing = [gap_ for start, stop in wanted for gap_ in self.part.present.missing(start, stop)]
                if not missing:
                    return
                try:
                    self._fetch(join_close(missing, gap))
                except PartLostError:
                    self._move_on()
            msg = f"other processes keep taking over the blocks of {self.file.key}"
            raise DownloadError(msg)

    def _widened(self, start: int, stop: int) -> Interval:
        block = self._block
        return start // block * block, min(self.size, -(-stop // block) * block)

    def _fetch(self, missing: list[Interval]) -> None:
        total = sum(stop - start for start, stop in missing)
        longest = max(2 * self.policy.segment_bytes, -(-total // self.policy.connections))
        pieces = split_long(missing, longest)
        self.part.set_idle(False)
        try:
            if len(pieces) == 1:
                self._get(pieces[0])
            else:
                with ThreadPoolExecutor(min(self.policy.connections, len(pieces))) as pool:
                    for done in [pool.submit(self._get, piece) for piece in pieces]:
                        done.result()
        finally:
            with contextlib.suppress(OSError, PartLostError):
                self.part.checkpoint()
                self.part.set_idle(True)

    def _get(self, piece: Interval) -> None:
        """Fetch one range; a passing fault is tried once more, from where it broke off."""
        start, stop = piece
        for last in (False, True):
            try:
                self._get_once(start, stop)
            except RemoteChangedError:
                raise
            except DownloadError as error:
                if last or (isinstance(error, RemoteStatusError) and not error.transient):
                    raise
                rest = self.part.present.missing(start, stop)
                if not rest:
                    return
                start = rest[0][0]
                logger.info("%s: %s; trying that range again", self.file.key, error)
                self.policy.sleep(self.policy.backoff_s)
            else:
                return

    def _get_once(self, start: int, stop: int) -> None:
        with self._count_lock:
            self.requests += 1
        with self.remote.open_range(self.file, start, stop, if_range=self._version) as answer:
            self._judge(answer, start)
            at, began = start, self.policy.monotonic()
            for chunk in answer:
                data = chunk[: stop - at]
                self._write(at, data)
                at += len(data)
                if below_floor(at - start, self.policy.monotonic() - began, self.policy):
                    msg = (
                        f"{self.remote.url} sends less than {self.policy.floor_bytes_per_s:.0f} B/s of {self.file.key}"
                    )
                    raise DownloadError(msg)
        if at < stop:
            msg = f"{self.remote.url} ended a range of {self.file.key} at byte {at:,} of {stop:,}"
            raise DownloadError(msg)

    def _write(self, at: int, data: bytes) -> None:
        try:
            self.part.write(at, data)
        except OSError as error:
            if error.errno in NO_ROOM:
                raise refused(self._destination.parent, error) from error
            raise
        with self._count_lock:
            self.bytes_fetched += len(data)

    def _judge(self, answer: RangeResponse, start: int) -> None:
        other_tag = self._version is not None and is_strong_etag(answer.etag) and answer.etag != self._version
        unproven = self._version is not None and not is_strong_etag(answer.etag)
        other_size = answer.total is not None and answer.total != self.size
        if other_tag or other_size:
            self._refuse_change(answer.total)
        if unproven:
            msg = (
                f"{self.remote.url} does not tell which version of {self.file.key} its ranges are of, so that they "
                "could be of two; download it instead of streaming"
            )
            raise DownloadError(msg)
        if answer.status != 206 or answer.start != start:
            msg = f"{self.remote.url} does not serve byte ranges of {self.file.key}; download it instead of streaming"
            raise DownloadError(msg)

    def _refuse_change(self, size: int | None) -> NoReturn:
        remove_part(self.part.path)  # blocks of a version that is gone; the open descriptor keeps them readable
        now = "" if size in (None, self.size) else f" ({size:,} bytes now, {self.size:,} before)"
        msg = (
            f"{self.file.key} was replaced at {self.remote.url} while it was being read{now}. Close the session and "
            "open it again; results read before and after must not be mixed."
        )
        raise RemoteChangedError(msg)

    def read_into(self, offset: int, view: memoryview) -> None:
        """Fill `view` with the bytes at `offset`, which :meth:`ensure` has brought."""
        with self._lock:
            descriptor = self.part.descriptor if self._descriptor is None else self._descriptor
            done = 0
            while done < len(view):
                count = os.preadv(descriptor, [view[done:]], offset + done)
                if not count:
                    msg = f"the blocks of {self.file.key} in {self.part.path.parent} were cut; delete the .part file"
                    raise CorruptFileError(msg)
                done += count

    def is_complete(self) -> bool:
        """Tell whether every byte is at hand."""
        return self._descriptor is not None or self.part.present.covers(0, self.size)

    def close(self) -> bool:
        """Give the part back; return whether it is complete and waits to be published."""
        with self._lock:
            whole = self._descriptor is None and self._temporary is None and self.is_complete()
            self.part.release()
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None
            if self._temporary is not None:
                self._temporary.cleanup()
            return whole


def _copy(source: int, present: IntervalSet, part: PartFile, limit: int | None) -> None:
    """Copy present runs from a descriptor into a part, short ones first, up to `limit` bytes in all."""
    copied = 0
    for start, stop in sorted(present, key=lambda run: run[1] - run[0]):
        if limit is not None and copied + stop - start > limit:
            break
        for at in range(start, stop, _COPY_BYTES):
            data = os.pread(source, min(_COPY_BYTES, stop - at), at)
            part.write(at, data)
        copied += stop - start
    part.checkpoint()
