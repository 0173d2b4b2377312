"""What a stage's record says besides its result: the programs it ran with, and what it cost."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

#: Libraries whose release can change a result.
LIBRARIES: Final = ("numpy", "scipy", "numba", "pandas", "h5py", "pynwb", "scikit-learn")


def made_by() -> dict[str, str]:
    """Return the versions of Python and of the libraries that compute; nothing that names a machine."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@contextmanager
def measured() -> Iterator[dict[str, Any]]:
    """Measure a block: ``seconds``, ``cpu_seconds`` (with its child processes) and ``peak_memory_bytes``.

    The peak is the process's own, from the block's start where the system lets it be reset (Linux), else from the
    process's.
    """
    cost: dict[str, Any] = {}
    _reset_peak()
    started, cpu = time.perf_counter(), _cpu_seconds()
    try:
        yield cost
    finally:
        cost["seconds"] = round(time.perf_counter() - started, 3)
        cost["cpu_seconds"] = round(_cpu_seconds() - cpu, 3)
        cost["peak_memory_bytes"] = _peak_memory()


def _cpu_seconds() -> float:
    try:
        import resource
    except ImportError:  # Windows: what child processes took is not told
        return time.process_time()
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _reset_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def _peak_memory() -> int | None:
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        try:
            import resource
        except ImportError:  # Windows
            return None
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return int(peak if sys.platform == "darwin" else peak * 1024)
