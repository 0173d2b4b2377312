"""Running a sorter in a fresh process and seeing what it took."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import ROOT, Dataset

PEER_PYTHON = "ALLEN_ECEPHYS_SORTER_PYTHON"
NUMBA_CACHE = ROOT / "numba-cache"
#: CPU seconds after which a sorter is stopped.
CAPS = {"kilosort4": 300.0}
POLL_SECONDS = 0.2
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Run:
    """What one run took and gave; `samples` is None where it did not finish."""

    status: str
    cpu: float
    wall: float
    peak_gb: float
    private_gb: float
    compiled: bool
    version: str
    details: dict[str, Any]
    samples: np.ndarray | None = None
    units: np.ndarray | None = None

    def costs(self) -> dict[str, Any]:
        """Return what goes into the results file."""
        return {
            "status": self.status, "cpu_s": round(self.cpu, 1), "wall_s": round(self.wall, 1),
            "peak_gb": round(self.peak_gb, 3), "private_gb": round(self.private_gb, 3), "compiled": self.compiled,
            "version": self.version, "details": self.details,
        }  # fmt: skip


def run_sorter(sorter: str, data: Dataset, threads: int, cap: float | None = None) -> Run:
    """Run `sorter` on `data` in a process of its own and measure it, children included.

    ``native-cold`` compiles everything anew. ``native`` is run a second time if the first time had to compile.
    """
    out = ROOT / "runs" / f"{data.folder.name}-{sorter}"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    cache = NUMBA_CACHE if sorter != "native-cold" else out / "numba-cache"
    cache.mkdir(parents=True, exist_ok=True)
    before = _newest(cache)
    run = _run_once(sorter, data, threads, cap or CAPS.get(sorter), out, cache)
    compiled = _newest(cache) != before
    shutil.rmtree(out / "work", ignore_errors=True)
    if sorter == "native" and compiled and run.status == "finished":
        return run_sorter(sorter, data, threads, cap)
    return Run(**{**run.__dict__, "compiled": compiled or not sorter.startswith("native")})


def _run_once(sorter: str, data: Dataset, threads: int, cap: float | None, out: Path, cache: Path) -> Run:
    python = sys.executable if sorter.startswith("native") else os.environ.get(PEER_PYTHON, sys.executable)
    one = str(threads)
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(names, one), "ALLEN_ECEPHYS_SORTING_THREADS": one}
    if sorter.startswith("native"):
        environment["NUMBA_CACHE_DIR"] = str(cache)
    command = [python, str(Path(__file__).with_name("one_run.py")), sorter, str(data.folder), str(out)]
    start = time.perf_counter()
    with (out / "log.txt").open("w") as log:
        process = subprocess.Popen(
            command, env=environment, stdout=log, stderr=subprocess.STDOUT, cwd=out,
            preexec_fn=(lambda: resource.setrlimit(resource.RLIMIT_CPU, (int(cap), int(cap) + 5))) if cap else None,
        )  # fmt: skip
        resident, private = 0, 0
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            now = [_memory(member) for member in _tree(process.pid)]
            resident, private = max(resident, sum(m[0] for m in now)), max(private, sum(m[1] for m in now))
            time.sleep(POLL_SECONDS)
    process.returncode = os.waitstatus_to_exitcode(status)
    cpu = usage.ru_utime + usage.ru_stime
    # Not `usage.ru_maxrss`: that begins with what this process holds, which made the data set.
    found = {
        "cpu": cpu, "wall": time.perf_counter() - start, "peak_gb": resident / 1e9, "private_gb": private / 1e9,
    }  # fmt: skip
    if process.returncode or not (out / "details.json").exists():
        # The kernel counts what of a process is charged to it a little differently than the signal that stops it.
        capped = cap is not None and (process.returncode == -signal.SIGXCPU or cpu >= 0.98 * cap)
        message = f"not finished in {cap:g} CPU s" if capped else f"failed ({process.returncode})"
        return Run(message, **found, compiled=False, version=_peer_version(python, sorter), details={})
    said = json.loads((out / "details.json").read_text())
    if sorter.endswith("-warm"):
        found |= {"cpu": said["details"]["cpu_of_call"], "wall": said["details"]["wall_of_call"]}
    with np.load(out / "spikes.npz") as spikes:
        arrays = {"samples": spikes["samples"], "units": spikes["units"]}
    return Run("finished", **found, compiled=False, version=said["version"], details=said["details"], **arrays)


def _peer_version(python: str, sorter: str) -> str:
    packages = {"native": "allen-ecephys", "kilosort4": "kilosort"}
    package = packages.get(sorter.split("-")[0], "spikeinterface")
    code = f"from importlib.metadata import version; print(version({package!r}))"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def _newest(cache: Path) -> tuple[int, float]:
    times = [path.stat().st_mtime for path in cache.rglob("*.nb?")]
    return len(times), max(times, default=0.0)


def _tree(root: int) -> list[int]:
    """Process and all its descendants."""
    members, queue = [], [root]
    while queue:
        pid = queue.pop()
        members.append(pid)
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            try:
                queue += [int(child) for child in task.read_text().split()]
            except OSError:  # it ended meanwhile
                continue
    return members


def _memory(pid: int) -> tuple[int, int]:
    """Resident bytes, and those of them that are no file's."""
    try:
        _, resident, shared, *_ = Path(f"/proc/{pid}/statm").read_text().split()
    except OSError:  # it ended meanwhile
        return 0, 0
    return int(resident) * PAGE, (int(resident) - int(shared)) * PAGE
