"""Ending a command by SIGKILL before its n-th call that changes the file system: every point once beats random luck."""

from __future__ import annotations

import itertools
import os
import random
import signal
from collections.abc import Callable
from typing import Any

#: Calls of the operating system that change what lies on a disk, or promise that it does.
CALLS = ("replace", "rename", "unlink", "link", "mkdir", "rmdir", "fsync", "fdatasync", "pwrite")
LIMIT_S = 120


def long_rounds() -> int:
    """Return how many times the long run kills each command: ``ALLEN_ECEPHYS_KILL_ROUNDS``, by default 20."""
    return int(os.environ.get("ALLEN_ECEPHYS_KILL_ROUNDS", "20"))


def chosen_points(count: int, rounds: int, seed: int = 1) -> list[int]:
    """Return the points of `rounds` kills of a command that has `count`: as many different ones as there are."""
    shuffled = random.Random(seed).sample(range(count), count)
    return sorted(itertools.islice(itertools.cycle(shuffled), rounds))


def killed_before(point: int, command: Callable[[], object]) -> bool:
    """Run `command` in a copy of this process; kill that before its call number `point`.

    Returns
    -------
    bool
        True if it was killed, False if the command had ended before.
    """
    child = os.fork()
    if child == 0:
        signal.alarm(LIMIT_S)
        code = 1
        try:
            _arm(point)
            command()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL, f"ended by signal {os.WTERMSIG(status)}"
        return True
    assert os.WEXITSTATUS(status) == 0, "the command failed"
    return False


def calls_of(command: Callable[[], object]) -> int:
    """Run `command` to its end in a copy of this process; return how many such calls it makes."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(LIMIT_S)
        code = 1
        try:
            left = _arm(10**9)
            command()
            os.write(writing, str(10**9 - left()).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as said:
        count = said.read()
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0, "the command failed"
    return int(count)


def _arm(point: int) -> Callable[[], int]:
    left = point

    def counting(call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **kwargs)

        return counted

    for name in CALLS:
        setattr(os, name, counting(getattr(os, name)))
    return lambda: left
