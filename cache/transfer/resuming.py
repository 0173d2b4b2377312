"""Bringing the missing bytes of one file into its part: ranges, several connections, retries."""

from __future__ import annotations

import logging
import shutil
import threading
from collections import deque
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, NoReturn

from allen_ecephys.errors import AllenEcephysError, DiskFullError, DownloadError, RemoteChangedError
from allen_ecephys.files import NO_ROOM

from ..remotes.protocol import RangeResponse, Remote, RemoteFile, RemoteStatusError, UnreachableError
from ..retrying.intervals import Interval
from ..retrying.rules import (
    AnswerAction,
    FailureAction,
    TransferPolicy,
    below_floor,
    decide_answer,
    decide_failure,
    is_strong_etag,
    parse_retry_after,
    segments,
    wait_before_retry,
)
from ..writing import no_room, refused
from .parts import PartFile, PartLostError, claim_part

if TYPE_CHECKING:
    from tqdm import tqdm

logger = logging.getLogger(__name__)


class _TransientError(Exception):
    """An attempt that failed in a way that may pass; ``__cause__`` tells how."""

    def __init__(self, retry_after_s: float | None = None) -> None:
        super().__init__()
        self.retry_after_s = retry_after_s


class _StartOverError(Exception):
    """The server does not serve ranges of the file that the part holds."""


class _StoppedError(Exception):
    """Another connection ended the transfer."""


class Transfer:
    """One transfer of one file: owns a part until it is complete, given up, or lost.

    Parameters
    ----------
    remote, file
        Where from; ``file.size`` and ``file.etag`` may be unknown.
    destination
        Final path of the file; the part lies beside it.
    policy
        Limits, and the clock.
    bar
        A tqdm bar in bytes, or None.
    ever_answered
        A server was reached already, so that a refused connection is a passing fault.
    """

    def __init__(
        self,
        remote: Remote,
        file: RemoteFile,
        destination: Path,
        policy: TransferPolicy,
        bar: tqdm[Any] | None,
        *,
        ever_answered: bool,
    ) -> None:
        self.remote = remote
        self.file = file
        self.destination = destination
        self.policy = policy
        self._bar = bar
        self._bar_lock = threading.Lock()
        self._random = Random()  # noqa: S311  jitter, not a secret
        self._ever_answered = ever_answered
        self._most_present = 0
        self._plain = False
        self._takes_whole = False
        self._queue: deque[Interval] = deque()
        self._queue_lock = threading.Lock()
        self._ranges_work = threading.Event()
        self._stop = threading.Event()
        self._errors: list[BaseException] = []
        self.part = self._claim_or_create()

    # --- the part ---------------------------------------------------------------------------------------------

    def _claim_or_create(self) -> PartFile:
        size, etag = self.file.size, self.file.etag if is_strong_etag(self.file.etag) else None
        part = claim_part(
            self.destination, size=size, etag=etag, any_etag=self.file.digest is not None, policy=self.policy
        )
        if part is None:
            part = self._create(size, etag)
        self._most_present = part.present.total
        self._version = etag or part.etag
        return part

    def _create(self, size: int | None, etag: str | None) -> PartFile:
        try:
            return PartFile.create(self.destination, size, etag, self.policy)
        except OSError as error:
            if error.errno in NO_ROOM:
                raise refused(self.destination.parent, error, size) from error
            raise

    def _replace_part(self, size: int | None, etag: str | None) -> None:
        self.part.discard()
        self.part = self._create(size, etag if is_strong_etag(etag) else None)
        self._show()

    def _may_use_ranges(self) -> bool:
        """Tell whether ranges of several answers may be put together: an ETag or a digest guards against mixtures."""
        return (
            not self._plain
            and self.part.size is not None
            and (self.part.etag is not None or self.file.digest is not None)
        )

    # --- the whole transfer -----------------------------------------------------------------------------------

    def run(self) -> PartFile:
        """Bring all missing bytes; return the part, complete but neither checked nor published.

        Raises
        ------
        DownloadError, RemoteNotFoundError, AccessError, DiskFullError
            The part is kept for the next call, except after DiskFullError and an answer of the wrong size.
        PartLostError
            If another process has taken the part over.
        """
        try:
            self._check_room()
            while not self._one_pass():
                pass
        except DiskFullError:
            self.part.discard()
            raise
        except BaseException:
            self._stop.set()
            self.part.release()
            raise
        return self.part

    def _check_room(self) -> None:
        if self.part.size is None:
            return
        needed = self.part.size - self.part.present.total
        if needed > shutil.disk_usage(self.destination.parent).free:
            raise no_room(self.destination.parent, needed)

    def _one_pass(self) -> bool:
        """Run connections until all is there (True) or the transfer has to start over in another way (False)."""
        self._queue = deque(self._plan())
        self._stop.clear()
        self._ranges_work.clear()
        self._errors.clear()
        self._show()
        if not self._queue:
            return True
        count = min(self.policy.connections, len(self._queue))
        helpers = [threading.Thread(target=self._help, daemon=True) for _ in range(count - 1)]
        for helper in helpers:
            helper.start()
        try:
            self._work()
            if not self._ranges_work.is_set():
                self._stop.set()
        except BaseException:
            self._stop.set()
            raise
        finally:
            self._ranges_work.set()
        for helper in helpers:
            helper.join()
        return self._settle()

    def _plan(self) -> list[Interval]:
        if not self._may_use_ranges():
            if self.part.size is not None and not self.part.missing():
                return []
            return [self._whole]
        return segments(self.part.missing(), self.policy)

    def _settle(self) -> bool:
        if any(isinstance(error, _StartOverError) for error in self._errors):
            if self._plain:
                msg = f"{self.remote.url} answers for {self.file.key} with ranges that were not asked for"
                raise DownloadError(msg)
            self._plain = True
            self._version = None
            self._replace_part(self.file.size, None)
            return False
        if self._errors and (self._stop.is_set() or self.part.size is None or self.part.missing()):
            raise self._errors[0]
        if self.policy.cancelled() and (self.part.size is None or self.part.missing()):
            msg = f"the transfer of {self.file.key} was interrupted; {self.part.present.total:,} bytes are kept"
            raise DownloadError(msg)
        return True

    # --- one connection ---------------------------------------------------------------------------------------

    def _help(self) -> None:
        """Work as one more connection, once the first has shown that the server serves ranges."""
        self._ranges_work.wait()
        if not self._stop.is_set():
            self._work()

    def _next(self) -> Interval | None:
        with self._queue_lock:
            return self._queue.popleft() if self._queue and not self._is_over() else None

    def _is_over(self) -> bool:
        return self._stop.is_set() or self.policy.cancelled()

    def _give_back(self, segment: Interval) -> None:
        start, stop = segment
        with self._queue_lock:
            if stop < 0 or not self._may_use_ranges():
                self._queue.append((0, stop))
            else:
                self._queue.extendleft(reversed(self.part.present.missing(start, stop)))

    def _work(self) -> None:
        """Take segments until none is left, retrying; note what ended it in ``_errors``."""
        fruitless, seen = 0, self._most_present
        while (segment := self._next()) is not None:
            try:
                self._take(segment)
                fruitless = 0
            except _TransientError as error:
                self._give_back(self._whole if self._takes_whole else segment)
                fruitless, seen = (0 if self._most_present > seen else fruitless + 1), self._most_present
                action = decide_failure(fruitless, ever_answered=self._ever_answered, policy=self.policy)
                if action is FailureAction.GIVE_UP:
                    self._errors.append(self._given_up(fruitless, error))
                    return
                wait = wait_before_retry(fruitless, error.retry_after_s, policy=self.policy, random=self._random)
                logger.info("%s: %s; trying again in %.1f s", self.file.key, error.__cause__, wait)
                self.policy.sleep(wait)
            except _StoppedError:
                return
            except (_StartOverError, PartLostError, AllenEcephysError, OSError) as error:
                self._errors.append(error)
                self._stop.set()
                return

    @property
    def _whole(self) -> Interval:
        return 0, -1 if self.part.size is None else self.part.size

    def _take(self, segment: Interval) -> None:
        """Ask for one segment and write what comes."""
        start, stop = segment
        self._takes_whole = False
        ranged = self._may_use_ranges() and (start > 0 or stop != self.part.size)
        guard = self._version if ranged else None
        try:
            answer = self.remote.open_range(
                self.file, start, None if stop in (-1, self.part.size) else stop, if_range=guard
            )
        except RemoteStatusError as error:
            self._ever_answered = True
            self._judge_status(error, asked_range=ranged)
        except UnreachableError as error:
            raise _TransientError from error
        except DownloadError as error:
            self._ever_answered = True
            raise _TransientError from error
        with answer:
            self._ever_answered = True
            start, stop = self._judge_answer(answer, start, stop)
            self._receive(answer, start, stop)

    def _judge_status(self, error: RemoteStatusError, *, asked_range: bool) -> NoReturn:
        action = decide_answer(
            error.status, asked_start=0, answered_start=None, answered_total=None, expected_size=None
        )
        if action is AnswerAction.START_OVER and asked_range:
            raise _StartOverError from error
        if action is AnswerAction.RETRY:
            raise _TransientError(parse_retry_after(error.retry_after, self.policy.wall())) from error
        raise error

    def _judge_answer(self, answer: RangeResponse, start: int, stop: int) -> Interval:
        """Return the interval of the file that the body of `answer` brings."""
        total = answer.total
        action = decide_answer(
            answer.status,
            asked_start=start,
            answered_start=answer.start,
            answered_total=total,
            expected_size=self.part.size,
        )
        changed = self._version is not None and is_strong_etag(answer.etag) and answer.etag != self._version
        if action is AnswerAction.WRONG_SIZE:
            self._refuse_size(total, changed=changed)
        if action is AnswerAction.TAKE_RANGE and not changed and self._is_proven(answer):
            self._learn(answer)
            self._ranges_work.set()
            return start, (self.part.size if stop < 0 and self.part.size is not None else stop)
        if action is not AnswerAction.TAKE_WHOLE:
            raise _StartOverError
        if self._ranges_work.is_set():
            raise _StartOverError  # other connections are at work on a version or a server that is gone
        tag = answer.etag if is_strong_etag(answer.etag) else None
        if self.part.present.total or self.part.etag != tag:
            # The part starts with this body, whichever version it is: ranges of another may not join it.
            self._replace_part(self.part.size, tag)
        with self._queue_lock:
            self._queue.clear()
        self._version = None
        self._learn(answer)
        self._takes_whole = True  # if it breaks off, not only the segment that was asked for is missing
        return self._whole

    def _is_proven(self, answer: RangeResponse) -> bool:
        """Tell whether a range is of the version that the part holds, or a digest will judge the whole.

        A server that ignores ``If-Range`` sends ranges of whatever it has now; only the tag it states (RFC 9110,
        section 15.3.7, obliges it to) tells which version that is.
        """
        if self.file.digest is not None or self._version is None:
            return True
        return answer.etag == self._version

    def _learn(self, answer: RangeResponse) -> None:
        etag = answer.etag if is_strong_etag(answer.etag) else None
        self._version = self._version or etag
        self.part.learn(size=answer.total, etag=etag)

    def _refuse_size(self, offered: int | None, *, changed: bool) -> NoReturn:
        self.part.discard()
        key, where, size = self.file.key, self.remote.url, self.part.size
        if changed:
            msg = f"{key} was replaced at {where} by a file of {offered:,} bytes ({size:,} before); fetch it again"
            raise RemoteChangedError(msg)
        msg = (
            f"{where} offers {offered:,} bytes for {key}, {size:,} are published. It may be the page of a proxy or "
            "of a login portal: open the address in a browser, then try again. Nothing was kept."
        )
        raise DownloadError(msg)

    def _receive(self, answer: RangeResponse, start: int, stop: int) -> None:
        at, window, window_from = start, 0, self.policy.monotonic()
        chunks = iter(answer)
        while (chunk := self._next_chunk(chunks)) is not None:
            if self._is_over():
                raise _StoppedError
            if 0 <= stop < at + len(chunk):
                self.part.discard()
                msg = f"{self.remote.url} sends more than the {stop:,} bytes of {self.file.key}; nothing was kept"
                raise DownloadError(msg)
            self._write(at, chunk)
            at, window = at + len(chunk), window + len(chunk)
            elapsed = self.policy.monotonic() - window_from
            if below_floor(window, elapsed, self.policy):
                msg = f"only {window:,} bytes came in {elapsed:.0f} s"
                raise _TransientError from DownloadError(msg)
            if elapsed >= self.policy.floor_window_s:
                window, window_from = 0, self.policy.monotonic()
        if at < stop:
            msg = f"the body ended at byte {at:,} of {stop:,}"
            raise _TransientError from DownloadError(msg)
        if stop < 0:
            self.part.learn(size=at, etag=None)

    def _next_chunk(self, chunks: Any) -> bytes | None:
        try:
            chunk: bytes | None = next(chunks, None)
        except DownloadError as error:
            raise _TransientError from error
        return chunk

    def _write(self, at: int, chunk: bytes) -> None:
        try:
            self.part.write(at, chunk)
        except OSError as error:
            if error.errno in NO_ROOM:
                size = self.part.size
                self.part.discard()
                left = None if size is None else size - self.part.present.total
                raise refused(self.destination.parent, error, left) from error
            raise
        self._most_present = max(self._most_present, self.part.present.total)
        if self._bar is not None:
            with self._bar_lock:
                self._bar.update(len(chunk))

    # --- talk -------------------------------------------------------------------------------------------------

    def _show(self) -> None:
        if self._bar is not None:
            with self._bar_lock:
                if self.part.size is not None:
                    self._bar.total = self.part.size
                self._bar.n = self.part.present.total
                self._bar.refresh()

    def _given_up(self, fruitless: int, error: _TransientError) -> DownloadError:
        cause = error.__cause__
        have, size = self.part.present.total, self.part.size
        of = "" if size is None else f" of {size:,}"
        if not self._ever_answered:
            msg = (
                f"{self.remote.url} cannot be reached for {self.file.key} ({cause}). Check the network and the proxy "
                "settings; without a network, files in the cache stay usable with ALLEN_ECEPHYS_OFFLINE=1."
            )
            failure: DownloadError = UnreachableError(msg)
        else:
            msg = (
                f"gave up on {self.file.key} from {self.remote.url} after {fruitless} attempts without progress "
                f"({cause}). {have:,}{of} bytes are kept: the same call, or `allen-ecephys cache build`, resumes there."
            )
            failure = DownloadError(msg)
        failure.__cause__ = cause
        return failure
