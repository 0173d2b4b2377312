"""One process that fetches one file; killed, doubled and starved by the tests.

``python fetch_child.py '<json>'`` with url, path, size, sha256 and, where wanted, locks (false: flock does nothing),
kill_at (a named point at which the process kills itself with SIGKILL) and idle_s (when a part counts as abandoned).
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def before(function: Callable[..., Any]) -> Callable[..., Any]:
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        die()
        return function(*args, **kwargs)

    return wrapped


def after(function: Callable[..., Any]) -> Callable[..., Any]:
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        die()
        return result

    return wrapped


#: Named point -> what happens there: (when, where it is found, its name).
KILL_POINTS = {
    "part created": (after, "PartFile", "__init__"),
    "first bytes written": (after, "PartFile", "write"),
    "before checkpoint": (before, "parts", "_sync_data"),
    "after checkpoint": (after, "PartFile", "_checkpoint"),
    "before last sync": (before, "PartFile", "sync"),
    "before rename": (before, "os", "replace"),
    "after rename": (after, "os", "replace"),
    "after publishing": (after, "PartFile", "publish"),
    "after index": (after, "download", "note_checked"),
    "after litter": (after, "download", "remove_litter"),
}


def arm(point: str) -> None:
    """Make the process die at `point`."""
    from allen_ecephys.cache.transfer import fetch as download
    from allen_ecephys.cache.transfer import parts

    when, where, name = KILL_POINTS[point]
    owner = {"PartFile": parts.PartFile, "parts": parts, "os": os, "download": download}[where]
    setattr(owner, name, when(getattr(owner, name)))


def main(task: dict[str, Any]) -> None:
    if not task.get("locks", True):
        import fcntl

        fcntl.flock = lambda *args: None
    from allen_ecephys.cache.remotes.http import HttpRemote
    from allen_ecephys.cache.remotes.protocol import RemoteFile
    from allen_ecephys.cache.retrying.rules import TransferPolicy
    from allen_ecephys.cache.transfer.fetch import fetch

    if "kill_at" in task:
        arm(task["kill_at"])
    path = Path(task["path"])
    url, _, key = task["url"].rpartition("/")
    expected = RemoteFile(key, task["url"], task["size"], digest=("sha256", task["sha256"]))
    policy = TransferPolicy(
        abandoned_after_s=task.get("idle_s", 120.0), segment_bytes=1 << 20, checkpoint_s=0.05, backoff_s=0.05
    )
    fetch(HttpRemote(url, read_timeout=5), key, path, expected=expected, policy=policy, progress=False)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
