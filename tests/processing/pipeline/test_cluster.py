"""Tasks on dask: a real scheduler and workers on loopback, a worker killed, a queue that is a script."""

from __future__ import annotations

import os
import platform
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from allen_ecephys.errors import SchedulerError, UnknownNameError
from allen_ecephys.processing.pipeline import cluster
from allen_ecephys.processing.pipeline.cluster import job_queue, local_workers, run_on, running_scheduler
from allen_ecephys.processing.pipeline.log import read_log
from allen_ecephys.processing.pipeline.tasks import Task, TaskResult

# What workers run must be importable where they are: a module beside the tasks, which their PYTHONPATH names.
SUMS = """
import os, signal, time
from pathlib import Path
from allen_ecephys.errors import DiskFullError
from allen_ecephys.processing.pipeline import Stage

def add(place, name, sources, seconds=0.0, fail=False):
    def work(folder):
        (place / f"{name}.pid").write_text(str(os.getpid()))
        time.sleep(seconds)
        if fail:
            raise DiskFullError("no room")
        total = 1 + sum(int((place / source / "sum").read_text()) for source in sources)
        (folder / "sum").write_text(str(total))
        return {"total": total, "threads": os.environ.get("ALLEN_ECEPHYS_THREADS")}
    return Stage(name, outputs=("sum",)).run(place, work, inputs=[place / s for s in sources], parameters={})

def use_threads():
    os.environ["ALLEN_ECEPHYS_THREADS"] = "3"
"""


@pytest.fixture
def sums(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give a module that workers can import, too."""
    name = f"sums_{tmp_path.name}".replace("-", "_")
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / f"{name}.py").write_text(SUMS)
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "code"))
    (tmp_path / "out").mkdir()
    return __import__(name)


def task(sums: Any, place: Path, name: str, *sources: str, memory: int = 0, **how: Any) -> Task:
    keys = tuple(f"1/{source}" for source in sources)
    run = partial(sums.add, place, name, sources, **how)
    return Task("1", "", name, place, place, keys, run, memory=memory)


def wait_for(path: Path) -> str:
    for _ in range(600):
        if path.exists() and path.read_text():
            return path.read_text()
        time.sleep(0.05)
    pytest.fail(f"{path} never came")


@pytest.fixture
def scheduler(tmp_path: Path, sums: Any) -> Iterator[SimpleNamespace]:
    """Start a scheduler and give its address and a function that starts workers of it."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(*words: str) -> subprocess.Popen[bytes]:
        log = (tmp_path / f"dask{len(processes)}.log").open("wb")
        command = [sys.executable, "-m", "distributed.cli." + words[0], *words[1:]]
        processes.append(subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path))
        log.close()
        return processes[-1]

    file = tmp_path / "scheduler.json"
    start("dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file))
    import json

    address = json.loads(wait_for(file))["address"]

    def worker(*options: str) -> subprocess.Popen[bytes]:
        return start("dask_worker", address, "--nthreads", "1", "--no-dashboard", "--no-nanny", *options)

    yield SimpleNamespace(address=address, worker=worker, process=processes[0])
    for process in reversed(processes):
        process.kill()
        process.wait(timeout=30)


def test_no_task_waits_behind_a_long_one_while_a_worker_is_idle(tmp_path: Path, sums: Any, scheduler: Any) -> None:
    scheduler.worker(), scheduler.worker()
    out = tmp_path / "out"

    def stage(probe: str, name: str, *sources: str, seconds: float) -> Task:
        (out / probe).mkdir(exist_ok=True)
        run = partial(sums.add, out / probe, name, sources, seconds=seconds)
        return Task("1", probe, name, out / probe, out, tuple(f"1/{probe}/{source}" for source in sources), run)

    tasks = []
    for probe in "ab":
        tasks += [
            stage(probe, "first", seconds=0.3),
            stage(probe, "second", "first", seconds=0.3 if probe == "a" else 0.1),
            stage(probe, "long", "first", "second", seconds=6.0),
        ]
    tasks += [stage(probe, "aside", "first", seconds=1.0) for probe in "ab"]
    worker: dict[str, str] = {}

    def tell(result: TaskResult) -> None:
        worker[result.key] = (out / f"{result.key.partition('/')[2]}.pid").read_text()

    with running_scheduler(scheduler.address) as client:
        client.wait_for_workers(2)
        results = run_on(client, tasks, tell)
    assert [r.outcome for r in results] == ["done"] * len(tasks)
    assert worker["1/a/long"] != worker["1/b/long"]


def test_a_scheduler_a_failure_and_a_worker_that_is_killed(tmp_path: Path, sums: Any, scheduler: Any) -> None:
    workers = {process.pid: process for process in (scheduler.worker(), scheduler.worker())}
    place = tmp_path / "out"
    tasks = [
        task(sums, place, "a"),
        task(sums, place, "slow", "a", seconds=3.0),
        task(sums, place, "bad", "a", fail=True),
        task(sums, place, "waits", "bad"),
        task(sums, place, "last", "a", "slow"),
    ]
    killed: list[int] = []

    def tell(result: TaskResult) -> None:
        if result.key == "1/bad" and not killed:
            killed.append(int(wait_for(place / "slow.pid")))
            os.kill(killed[0], signal.SIGKILL)
            workers[killed[0]].wait()

    with running_scheduler(scheduler.address) as client:
        client.wait_for_workers(2, timeout=60)
        results = {r.key: r for r in run_on(client, tasks, tell, prepare=sums.use_threads)}
    assert killed[0] in workers
    assert {key[2:]: result.outcome for key, result in results.items() if not result.ok} == {
        "bad": "failed",
        "waits": "not reached",
    }
    assert results["1/bad"].message == "no room"
    assert results["1/last"].report == {"total": 4, "threads": "3"}
    assert int((place / "slow.pid").read_text()) != killed[0]
    assert sorted(path.name for path in place.glob(".*.draft")) == []


def test_tasks_for_one_large_worker_do_not_keep_small_ones_idle(tmp_path: Path, sums: Any, scheduler: Any) -> None:
    scheduler.worker("--memory-limit", "4GB"), scheduler.worker("--memory-limit", "1GB")
    place = tmp_path / "out"
    large = [task(sums, place, f"large{number}", memory=3_000_000_000, seconds=1.5) for number in range(3)]
    small = [task(sums, place, f"small{number}", seconds=0.1) for number in range(3)]
    ended: list[str] = []
    with running_scheduler(scheduler.address) as client:
        client.wait_for_workers(2, timeout=60)
        results = run_on(client, [*large, *small], lambda result: ended.append(result.key))
    assert {result.outcome for result in results} == {"done"}
    assert len({(place / f"large{number}.pid").read_text() for number in range(3)}) == 1
    assert ended.index("1/small2") < ended.index("1/large1")


def test_a_scheduler_that_goes(tmp_path: Path, sums: Any, scheduler: Any) -> None:
    scheduler.worker()
    place = tmp_path / "out"
    tasks = [task(sums, place, "a"), task(sums, place, "slow", "a", seconds=60.0), task(sums, place, "last", "slow")]

    def tell(result: TaskResult) -> None:
        if result.key == "1/a":
            threading.Timer(1.0, scheduler.process.kill).start()

    with running_scheduler(scheduler.address) as client:
        results = run_on(client, tasks, tell)
    assert [result.outcome for result in results] == ["done", "failed", "not reached"]
    assert results[1].message == results[2].message
    assert results[1].message.startswith("the dask scheduler is gone")


def test_workers_that_cannot_do_the_work(
    tmp_path: Path, sums: Any, scheduler: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler.worker("--memory-limit", "1GB")
    place = tmp_path / "out"
    with running_scheduler(scheduler.address) as client:
        with pytest.raises(SchedulerError, match=r"1/a needs about 3\.0 GB, and the largest worker may use 1\.0 GB"):
            run_on(client, [task(sums, place, "a", memory=3_000_000_000)])
        with pytest.raises(SchedulerError, match=r"does not see .*nowhere; workers and this process need the same"):
            run_on(client, [task(sums, tmp_path / "nowhere" / "out", "a")])
        with pytest.raises(SchedulerError, match=r"does not see .*stimuli\.csv; workers and this process"):
            run_on(client, [replace(task(sums, place, "a"), reads=(place, tmp_path / "stimuli.csv"))])
        with monkeypatch.context() as patch:
            patch.setattr("allen_ecephys.version.__version__", "9.9")
            with pytest.raises(SchedulerError, match=r"has allen-ecephys \S+, and this is 9\.9; install the same"):
                run_on(client, [task(sums, place, "a")])
        with monkeypatch.context() as patch:
            patch.setattr(cluster.platform, "python_version_tuple", lambda: ("3", "99", "0"))
            with pytest.raises(SchedulerError, match=r"runs Python 3\.\d+, and this is 3\.99"):
                run_on(client, [task(sums, place, "a")])
    assert not (place / "a").exists()


def test_a_scheduler_that_is_not_there_leaves_no_complaint_behind_its_error() -> None:
    code = """
from allen_ecephys.errors import SchedulerError
from allen_ecephys.processing.pipeline import cluster
cluster.CONNECT_S = 0.5
try:
    with cluster.running_scheduler("tcp://127.0.0.1:9"):
        pass
except SchedulerError as error:
    print(error)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.startswith("no dask scheduler answers at 'tcp://127.0.0.1:9'")
    assert told.stderr == ""


def test_a_run_that_is_stopped_logs_what_its_workers_were_at(tmp_path: Path, sums: Any, scheduler: Any) -> None:
    scheduler.worker()
    place = tmp_path / "out"
    tasks = [task(sums, place, "a"), task(sums, place, "slow", "a", seconds=3.0)]

    def stop(task_name: str) -> None:
        wait_for(place / f"{task_name}.pid")
        os.kill(os.getpid(), signal.SIGINT)

    # Where tests run in the background of a shell, the signal is ignored otherwise.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=stop, args=("slow",)).start()
    try:
        with pytest.raises(KeyboardInterrupt), running_scheduler(scheduler.address) as client:
            run_on(client, tasks)
    finally:
        signal.signal(signal.SIGINT, before)
    events = [(line["task"], line["event"]) for line in read_log(place)]
    assert events[-1] == ("1/slow", "interrupted")
    assert ("1/a", "interrupted") not in events


def test_a_scheduler_that_is_not_there_and_one_without_workers(
    scheduler: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cluster, "CONNECT_S", 0.5)
    monkeypatch.setattr(cluster, "WORKERS_S", 0.5)
    for address in ("tcp://127.0.0.1:9", "nonsense://x"):
        with pytest.raises(SchedulerError, match="no dask scheduler answers at"), running_scheduler(address):
            pass
    with pytest.raises(SchedulerError, match=r"has no worker after 0\.5 s"), running_scheduler(scheduler.address):
        pass
    assert f"the scheduler at {scheduler.address} has no worker yet; waiting up to 0.5 s for one" in caplog.text


def test_workers_of_this_machine(tmp_path: Path, sums: Any) -> None:
    place = tmp_path / "out"
    with local_workers(2) as client:
        results = run_on(client, [task(sums, place, "a"), task(sums, place, "b"), task(sums, place, "c", "a", "b")])
        watched = client.run(lambda dask_worker: "profile" in dask_worker.periodic_callbacks)
    assert not any(watched.values()), "dask's profiler looks at every thread a hundred times a second"
    assert [result.outcome for result in results] == ["done"] * 3
    assert results[-1].report is not None
    assert results[-1].report["total"] == 3


def test_a_job_queue(tmp_path: Path, sums: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = tmp_path / "bin"
    queue.mkdir()
    scripts = {
        "sbatch": f'cd {tmp_path}; cp "$1" job.sh; sh job.sh >job.log 2>&1 & echo "Submitted batch job $!"; sleep 0.5',
        "scancel": 'kill "$@" 2>/dev/null || true',
    }
    for name, script in scripts.items():
        (queue / name).write_text(f"#!/bin/sh\n{script}\n")
        (queue / name).chmod((queue / name).stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{queue}{os.pathsep}{os.environ['PATH']}")
    options = {"cores": 1, "memory": "1GB", "queue": "ephys", "walltime": "00:10:00", "interface": "lo"}
    with job_queue("slurm", 1, options) as client:
        results = run_on(client, [task(sums, tmp_path / "out", "a")])
    assert [result.outcome for result in results] == ["done"]
    assert "#SBATCH -p ephys" in (tmp_path / "job.sh").read_text()
    with pytest.raises(UnknownNameError, match="did you mean 'slurm'"), job_queue("slrum", 1, options):
        pass
    with pytest.raises(UnknownNameError, match="no option 'quue'; did you mean 'queue'"):
        job_queue("slurm", 1, options | {"quue": "x"}).__enter__()
    with pytest.raises(UnknownNameError, match="do not say cores and memory, of each job"):
        job_queue("slurm", 1, {}).__enter__()
    with pytest.raises(SchedulerError, match="there is no command bsub here"):
        job_queue("lsf", 1, options).__enter__()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives memory back as a nanny asks it to")
def test_workers_keep_freed_memory() -> None:
    """An array of a block is not given back to the system each time, although a nanny's setting asks for that."""
    code = """
import resource, sys
import numpy as np
from allen_ecephys.processing.pipeline.cluster import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
for _ in range(200):
    np.ones(500_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""
    asked = os.environ | {"MALLOC_TRIM_THRESHOLD_": "65536"}
    faults = {
        how: int(subprocess.run([sys.executable, "-c", code, how], env=asked, capture_output=True, check=True).stdout)
        for how in ("kept", "given back")
    }
    assert faults["kept"] < 0.5 * faults["given back"], faults
