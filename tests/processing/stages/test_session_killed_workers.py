"""Sessions on a dask cluster whose workers are killed at random moments come to the same bytes."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from .test_session_killed import RUN, digests, run, write_session

#: A worker that knows the sorter, too: what RUN defines, less its last line, which runs the session.
PRELOAD = RUN.rpartition("main([")[0]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[SimpleNamespace]:
    """Start a scheduler, and give its address and a function that starts workers."""
    (tmp_path / "preload.py").write_text(PRELOAD)
    processes: list[subprocess.Popen[bytes]] = []

    def start(*words: str) -> subprocess.Popen[bytes]:
        with (tmp_path / f"dask{len(processes)}.log").open("wb") as log:
            command = [sys.executable, "-m", f"distributed.cli.{words[0]}", *words[1:]]
            processes.append(subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path))
        return processes[-1]

    file = tmp_path / "scheduler.json"
    start("dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file))
    for _ in range(600):
        if file.exists() and file.read_text():
            break
        time.sleep(0.05)
    address = json.loads(file.read_text())["address"]

    def worker() -> subprocess.Popen[bytes]:
        options = ("--nthreads", "1", "--no-dashboard", "--no-nanny", "--preload", str(tmp_path / "preload.py"))
        return start("dask_worker", address, *options)

    yield SimpleNamespace(address=address, worker=worker)
    for process in reversed(processes):
        process.kill()
        process.wait(timeout=30)


def kill_workers_and_compare(place: Path, cluster: SimpleNamespace, n_kills: int, seed: int) -> None:
    file = write_session(place)
    started = time.monotonic()
    run(file)
    whole = time.monotonic() - started
    expected = digests(place / "done")
    rng, killed = random.Random(seed), 0
    workers = [cluster.worker(), cluster.worker()]
    script = RUN.replace("sys.argv[1]]", f'sys.argv[1], "--scheduler", "{cluster.address}"]')
    assert script != RUN
    while killed < n_kills:
        shutil.rmtree(place / "done")
        shutil.rmtree(place / "project")
        session = subprocess.Popen(
            [sys.executable, "-c", script, str(file)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        # A task that lost three workers is given up, which dask takes for the task's fault: two at most in one session.
        for _ in range(min(2, n_kills - killed)):
            time.sleep(rng.uniform(0.2, 0.6) * whole)
            if session.poll() is not None:
                break
            os.kill(workers[0].pid, signal.SIGKILL)
            workers[0].wait()
            workers = [workers[1], cluster.worker()]
            killed += 1
        output, _ = session.communicate(timeout=600)
        assert session.returncode == 0, output.decode()
        assert digests(place / "done") == expected


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_session_whose_workers_are_killed_ten_times(tmp_path: Path, cluster: SimpleNamespace) -> None:
    kill_workers_and_compare(tmp_path, cluster, 10, seed=3)
