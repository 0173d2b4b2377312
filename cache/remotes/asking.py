"""Asking again what may be answered later, by the rules of :mod:`.retrying.rules`."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TypeVar

from allen_ecephys.errors import DownloadError

from ..retrying.rules import FailureAction, TransferPolicy, decide_failure, parse_retry_after, wait_before_retry
from .protocol import Remote, RemoteFile, RemoteStatusError, UnreachableError

_Answer = TypeVar("_Answer")


def locate_patiently(remote: Remote, key: str, policy: TransferPolicy) -> RemoteFile:
    """Return ``remote.locate(key)``, retrying what may pass (see :func:`patiently`)."""
    return patiently(lambda: remote.locate(key), policy)


def patiently(ask: Callable[[], _Answer], policy: TransferPolicy) -> _Answer:
    """Return what `ask` returns, retrying what may pass by the rules of :mod:`.retrying.rules`."""
    random, fruitless, answered = Random(), 0, False  # noqa: S311  jitter, not a secret
    while True:
        try:
            return ask()
        except DownloadError as error:
            if isinstance(error, RemoteStatusError) and not error.transient:
                raise
            answered |= not isinstance(error, UnreachableError)
            fruitless += 1
            if decide_failure(fruitless, ever_answered=answered, policy=policy) is FailureAction.GIVE_UP:
                raise
            stated = error.retry_after if isinstance(error, RemoteStatusError) else None
            asked = parse_retry_after(stated, policy.wall())
            policy.sleep(wait_before_retry(fruitless, asked, policy=policy, random=random))
