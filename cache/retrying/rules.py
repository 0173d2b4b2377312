"""What to do with a cached file, an answer or a failure: decisions without network or disk.

The functions here only decide; :mod:`.download` and :mod:`.transfer` act.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from enum import Enum
from random import Random

from allen_ecephys.errors import explains_unknown_names

from .intervals import split_long

RETRY_STATUSES = frozenset({408, 425, 429})
NOT_FOUND_STATUSES = frozenset({404, 410})
REFUSED_STATUSES = frozenset({401, 403, 407})


def _never() -> bool:
    return False


@explains_unknown_names
@dataclass(frozen=True)
class TransferPolicy:
    """The limits of a transfer; there is none on its total time."""

    attempts_without_progress: int = 8
    attempts_to_connect: int = 3  # while no server has answered at all
    backoff_s: float = 0.5
    backoff_cap_s: float = 30.0
    retry_after_cap_s: float = 300.0
    floor_bytes_per_s: float = 1000.0
    floor_window_s: float = 60.0
    abandoned_after_s: float = 120.0
    connections: int = 8
    segment_bytes: int = 4 << 20
    # A part is journalled after so many bytes or seconds, whichever comes first: what a killed process has to fetch
    # again. 2 MiB cost no throughput in fetching 300 MB, also where each sync takes 10 ms; 1 MiB did.
    checkpoint_bytes: int = 2 << 20
    checkpoint_s: float = 1.0
    sleep: Callable[[float], object] = field(default=time.sleep, repr=False)
    monotonic: Callable[[], float] = field(default=time.monotonic, repr=False)
    wall: Callable[[], float] = field(default=time.time, repr=False)
    cancelled: Callable[[], bool] = field(default=_never, repr=False)


class CachedFileAction(Enum):
    """What to do about a file of the cache before it is used."""

    USE = "use"
    VERIFY = "verify"
    FETCH = "fetch"
    SET_ASIDE_AND_FETCH = "set aside and fetch"


def decide_cached_file(
    found_size: int | None,
    expected_size: int | None,
    *,
    unchanged_since_check: bool,
    check_is_enough: bool = True,
) -> CachedFileAction:
    """Decide what to do about the file under its final name.

    Parameters
    ----------
    found_size
        Bytes of the file, None where there is none.
    expected_size
        Bytes the remote or the registry states, None where unknown.
    unchanged_since_check
        Size, modification time and inode are those noted when the file was last checked.
    check_is_enough
        The earlier check was against a digest, or no digest is known now either.
    """
    if found_size is None:
        return CachedFileAction.FETCH
    if expected_size is not None and found_size != expected_size:
        return CachedFileAction.SET_ASIDE_AND_FETCH
    if unchanged_since_check and check_is_enough:
        return CachedFileAction.USE
    return CachedFileAction.VERIFY


class AnswerAction(Enum):
    """What to do with the answer to a request for bytes."""

    TAKE_RANGE = "take the range"
    TAKE_WHOLE = "take the whole body"
    START_OVER = "drop the part and start over"
    WRONG_SIZE = "not the file asked for"
    RETRY = "retry"
    NOT_FOUND = "not found"
    REFUSED = "refused"
    FAIL = "fail"


def decide_answer(
    status: int,
    *,
    asked_start: int | None,
    answered_start: int | None,
    answered_total: int | None,
    expected_size: int | None,
) -> AnswerAction:
    """Decide what to do with an answer, by its status and headers only.

    Parameters
    ----------
    status
        HTTP status.
    asked_start
        First byte asked for by a ``Range`` header, None where none was sent.
    answered_start
        First byte that ``Content-Range`` names.
    answered_total
        Size of the whole file by ``Content-Range`` (206) or ``Content-Length`` (200).
    expected_size
        Size the remote or the registry states.
    """
    known = expected_size is not None and answered_total is not None
    if status == 206:
        if asked_start is None or answered_start != asked_start:
            return AnswerAction.START_OVER
        return AnswerAction.START_OVER if known and answered_total != expected_size else AnswerAction.TAKE_RANGE
    if status == 200:
        return AnswerAction.WRONG_SIZE if known and answered_total != expected_size else AnswerAction.TAKE_WHOLE
    if status == 416:
        return AnswerAction.START_OVER
    if status in NOT_FOUND_STATUSES:
        return AnswerAction.NOT_FOUND
    if status in REFUSED_STATUSES:
        return AnswerAction.REFUSED
    if status in RETRY_STATUSES or status >= 500:
        return AnswerAction.RETRY
    return AnswerAction.FAIL


class FailureAction(Enum):
    """What to do after an attempt that failed in a way that may pass."""

    RETRY = "retry"
    GIVE_UP = "give up"


def decide_failure(fruitless_attempts: int, *, ever_answered: bool, policy: TransferPolicy) -> FailureAction:
    """Decide whether to try again after `fruitless_attempts` attempts in a row that brought no new byte."""
    limit = policy.attempts_without_progress if ever_answered else policy.attempts_to_connect
    return FailureAction.GIVE_UP if fruitless_attempts >= limit else FailureAction.RETRY


def wait_before_retry(
    fruitless_attempts: int, retry_after_s: float | None, *, policy: TransferPolicy, random: Random
) -> float:
    """Return the seconds to wait: ``Retry-After`` up to its cap, else a random part of an exponential back-off.

    The jitter keeps many clients of one server that failed together from coming back together.
    """
    ceiling = min(policy.backoff_cap_s, policy.backoff_s * 2.0 ** min(fruitless_attempts, 16))
    jitter = random.uniform(0.0, ceiling)
    return jitter if retry_after_s is None else max(jitter, min(retry_after_s, policy.retry_after_cap_s))


def parse_retry_after(text: str | None, now: float) -> float | None:
    """Return the seconds that a ``Retry-After`` header asks for; None where it is absent, negative or nonsense.

    Parameters
    ----------
    text
        Seconds, or an HTTP date (RFC 9110, section 10.2.3).
    now
        Seconds since the epoch, for dates.
    """
    if text is None:
        return None
    text = text.strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        return float(text)
    try:
        wait = parsedate_to_datetime(text).timestamp() - now
    except (ValueError, OverflowError):
        return None
    return wait if wait >= 0 else None


def is_strong_etag(etag: str | None) -> bool:
    """Tell whether an ETag promises identical bytes (``"..."``, not ``W/"..."``), as ``If-Range`` requires."""
    return etag is not None and len(etag) > 2 and etag.startswith('"') and etag.endswith('"')


def below_floor(bytes_received: int, seconds: float, policy: TransferPolicy) -> bool:
    """Tell whether a connection that brought `bytes_received` in a full window is as good as stalled."""
    return seconds >= policy.floor_window_s and bytes_received < policy.floor_bytes_per_s * seconds


def segments(missing: list[tuple[int, int]], policy: TransferPolicy) -> list[tuple[int, int]]:
    """Cut the missing byte intervals into the pieces that connections take one by one.

    A file shorter than two segments is taken in one request. Pieces grow with the file, so that a slow round trip
    costs little, but stay small enough that every connection gets about four.
    """
    total = sum(stop - start for start, stop in missing)
    if total < 2 * policy.segment_bytes or policy.connections < 2:
        return missing
    longest = max(policy.segment_bytes, min(8 * policy.segment_bytes, total // (4 * policy.connections)))
    return split_long(missing, longest)


DEFAULT_POLICY = TransferPolicy()
