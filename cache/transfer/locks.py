"""A best-effort lock between processes.

It saves bandwidth and never carries correctness: ``flock`` does nothing, or works on one node only, on Lustre, GPFS
and some NFS mounts, so every user of this lock must be right without it.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

POLL_S = 0.1


def _try_lock(path: Path) -> int | None:
    """Return a file descriptor that holds the lock on `path`; None while another process holds it.

    Raises OSError where the folder cannot be written or its file system knows no locks.
    """
    import fcntl

    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
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


def _acquire(
    path: Path, still_alive: Callable[[], bool], sleep: Callable[[float], object], while_waiting: Callable[[], bool]
) -> int | None:
    while True:
        try:
            descriptor = _try_lock(path)
        except (OSError, ImportError):
            return None  # no locks here: go on without one
        if descriptor is not None:
            return descriptor
        if while_waiting() or not still_alive():
            return None
        sleep(POLL_S)


@contextlib.contextmanager
def best_effort_lock(
    path: Path,
    *,
    still_alive: Callable[[], bool],
    done: Callable[[], bool] = lambda: False,
    sleep: Callable[[float], object] = time.sleep,
) -> Iterator[bool]:
    """Hold the lock file `path` while the block runs, if that can be had; yield whether it is held.

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
