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

KILL_POINTS = (
    "part created",
    "first bytes written",
    "before checkpoint",
    "after checkpoint",
    "before last sync",
    "before rename",
    "after rename",
    "after publishing",
    "after index",
    "after litter",
)


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


def arm(point: str) -> None:
    """Make the process die at `point`."""
    from allen_ecephys.cache import download, parts

    part = parts.PartFile
    if point == "part created":
        part.__init__ = after(part.__init__)
    elif point == "first bytes written":
        part.write = after(part.write)
    elif point == "before checkpoint":
        parts._sync_data = before(parts._sync_data)
    elif point == "after checkpoint":
        part._checkpoint = after(part._checkpoint)
    elif point == "before last sync":
        part.sync = before(part.sync)
    elif point == "before rename":
        os.replace = before(os.replace)
    elif point == "after rename":
        os.replace = after(os.replace)
    elif point == "after publishing":
        part.publish = after(part.publish)
    elif point == "after index":
        download.note_checked = after(download.note_checked)
    elif point == "after litter":
        download.remove_litter = after(download.remove_litter)
    else:
        raise ValueError(point)


def main(task: dict[str, Any]) -> None:
    if not task.get("locks", True):
        import fcntl

        fcntl.flock = lambda *args: None
    from allen_ecephys.cache.download import fetch
    from allen_ecephys.cache.http_remote import HttpRemote
    from allen_ecephys.cache.remotes import RemoteFile
    from allen_ecephys.cache.transfer_rules import TransferPolicy

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
