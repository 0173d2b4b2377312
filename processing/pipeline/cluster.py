"""Tasks on dask: on worker processes of this machine, on a running scheduler, or on jobs of a queue.

Tasks hand on files and not arrays, so every worker must see the same folders. A worker that is lost takes no finished
stage with it: its tasks run again elsewhere, find what was finished, and go on from the sorter's checkpoints.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from inspect import signature
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING, Any, Final, cast
from uuid import uuid4

from allen_ecephys.errors import AllenEcephysError, SchedulerError, UnknownNameError, in_words, missing_extra, suggest

from .log import log_to
from .tasks import Task, TaskResult, blocked, in_order, perform

if TYPE_CHECKING:
    from distributed import Client

logger = logging.getLogger(__name__)

#: Kinds of job queues -> dask-jobqueue's class.
QUEUES: Final = {"slurm": "SLURMCluster", "pbs": "PBSCluster", "lsf": "LSFCluster", "sge": "SGECluster"}
#: How long a scheduler is waited for, and its first worker (s).
CONNECT_S: Final = 10.0
WORKERS_S: Final = 60.0
#: What is said of tasks whose end nobody is told any more.
_GONE: Final = (
    "the dask scheduler is gone, or the connection to it; start one and run the same command again: stages that are "
    "finished on disk are kept"
)
#: How long until workers are counted anew while all are busy (s).
LOOK_S: Final = 2.0
#: Names of limits in malloc.h, and the largest that glibc would choose for the first.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MMAP_BYTES: Final = 32 * 2**20
#: Of the dashboard: several clusters on a machine do not quarrel about one.
_ANY_PORT: Final = ":0"
#: What dask says of workers that come, go, and are killed because they are in the middle of a stage is not for users.
_LOGGING: Final = {
    "distributed": "warning",
    **dict.fromkeys(("distributed.nanny", "distributed.worker.state_machine"), "error"),
    "distributed.client": "critical",  # what it cannot do comes as an error besides
}
#: Stages map large files, whose pages the system takes back when it needs them: dask must not stop or kill for these.
#: Its profiler looks at every thread a hundred times a second, which made sorting take a tenth more CPU time.
_WORKERS: Final = {
    "distributed.nanny.pre-spawn-environ.DASK_LOGGING": str(_LOGGING),
    **{f"distributed.worker.memory.{name}": False for name in ("target", "spill", "pause", "terminate")},
    "distributed.worker.profile.enabled": False,
}


@contextmanager
def local_workers(number: int) -> Iterator[Client]:
    """Start worker processes on this machine, each of which runs one stage at a time."""
    dask, distributed = _dask()
    with (
        dask.config.set(_WORKERS),
        distributed.LocalCluster(
            n_workers=number, threads_per_worker=1, dashboard_address=f"127.0.0.1{_ANY_PORT}"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        _say_where_to_watch(client)
        yield client


@contextmanager
def running_scheduler(address: str) -> Iterator[Client]:
    """Use the workers of a running scheduler.

    Raises
    ------
    SchedulerError
        If there is no scheduler at the address, or it has no worker.
    """
    _, distributed = _dask()
    try:
        # Asked first: a client that could not connect goes on trying when it is collected.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, _greet(address)).result()
        client = distributed.Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        why = in_words(error)
        msg = f"no dask scheduler answers at {address!r} ({why}); start one (`dask scheduler`), or mend the address"
        raise SchedulerError(msg) from error
    with client:
        _wait_for_workers(client, 1, f"the scheduler at {address}", "start one with `dask worker ADDRESS`")
        yield client


async def _greet(address: str) -> None:
    """Connect to a scheduler and leave again."""
    from distributed.comm import core

    connect: Any = core.connect
    connection = await connect(address, timeout=CONNECT_S)
    await connection.close()


@contextmanager
def job_queue(kind: str, jobs: int, options: Mapping[str, Any]) -> Iterator[Client]:
    """Ask a job queue for workers, through dask-jobqueue.

    Parameters
    ----------
    kind
        One of `QUEUES`.
    jobs
        How many jobs to ask for.
    options
        What dask-jobqueue's cluster of that kind takes (cores, memory, queue, walltime, ...).

    Raises
    ------
    SchedulerError
        If the queue takes no job, or none of its jobs starts.
    UnknownNameError
        If there is no such kind, or it does not take an option.
    MissingExtraError
        If dask-jobqueue is not installed.
    """
    if kind not in QUEUES:
        msg = f"no kind of job queue is called {kind!r}{suggest(kind, QUEUES)}; there are {', '.join(QUEUES)}"
        raise UnknownNameError(msg)
    dask, distributed = _dask()
    try:
        import dask_jobqueue
    except ImportError as error:
        raise missing_extra(library="dask-jobqueue", extra="distributed", purpose=f"a {kind} queue") from error
    made = getattr(dask_jobqueue, QUEUES[kind])
    _check_options(made, options, kind)
    with ExitStack() as stack:
        stack.enter_context(dask.config.set(_WORKERS))
        # One process a job: stages use the job's cores by threads.
        defaults = {"processes": 1, "scheduler_options": {"dashboard_address": _ANY_PORT}}
        cluster = made(**(defaults | dict(options)))
        stack.callback(_close, cluster)
        client = stack.enter_context(distributed.Client(cluster, set_as_default=False))
        _say_where_to_watch(client)
        cluster.scale(jobs=jobs)
        _wait_for_workers(client, 1, f"the {kind} queue", "does it take jobs, and do they start? Look at its own tools")
        yield client


def _check_options(made: Any, options: Mapping[str, Any], kind: str) -> None:
    """Raise if a job queue cannot be asked with these options, or is not on this machine."""
    homes = (made, made.job_cls, *made.job_cls.__mro__, *made.__mro__)
    known = {name for home in homes for name in signature(home.__init__).parameters} - {"self", "kwargs"}
    for name in options:
        if name not in known:
            msg = f"a {kind} queue has no option {name!r}{suggest(name, known)}; see dask-jobqueue's {made.__name__}"
            raise UnknownNameError(msg)
    missing = [name for name in ("cores", "memory") if name not in options]
    if missing:
        msg = f"the options of a {kind} queue do not say {' and '.join(missing)}, of each job"
        raise UnknownNameError(msg)
    command = str(made.job_cls.submit_command).split()[0]
    if which(command) is None:
        msg = f"there is no command {command} here, which submits jobs of a {kind} queue; run where it is"
        raise SchedulerError(msg)


def _close(cluster: Any) -> None:
    try:
        cluster.close()
    except Exception as error:  # a cluster whose jobs were refused does not close without complaint
        logger.warning("the cluster did not close: %s", in_words(error))


def run_on(
    client: Client,
    tasks: Sequence[Task],
    tell: Callable[[TaskResult], None] = lambda _: None,
    *,
    prepare: Callable[[], None] | None = None,
) -> list[TaskResult]:
    """Run tasks on the workers of a client; those that wait for a failed one are not reached.

    Workers get a task when one of their threads is free and what it waits for is done, the first in order first: a
    scheduler that does not know how long tasks take would queue one behind a sorting of hours while others are idle.

    Parameters
    ----------
    client
        Connected to a scheduler that has workers.
    tasks
        In any order; their paths are absolute, since workers run in folders of their own.
    tell
        Is called with each result as it comes.
    prepare
        Is called on a worker before each task; it must be picklable.

    Raises
    ------
    SchedulerError
        If workers have another version of the package or of Python, do not see the folders, or have too little memory.
    """
    ordered = in_order(tasks)
    check_workers(client, sorted({path for task in ordered for path in (task.output.parent, *task.reads)}))
    large = _workers_for(client, ordered)
    run = uuid4().hex[:8]
    waiting = {task.key: task for task in ordered}
    running: dict[Any, str] = {}
    results: dict[str, TaskResult] = {}

    def have(result: TaskResult) -> None:
        results[result.key] = result
        tell(result)

    with client.as_current(), _saying_what_is_interrupted(running, ordered):
        while waiting or running:
            threads = _threads(client)
            if threads is None:
                for key in [*running.values(), *waiting]:
                    have(TaskResult(key, "failed" if key in running.values() else "not reached", _GONE))
                break
            for task in [task for task in waiting.values() if results.keys() >= set(task.after)]:
                if (refused := blocked(task, results)) is not None:
                    del waiting[task.key]
                    have(refused)
                elif _is_room(large[task.key], threads, [large[key] for key in running.values()]):
                    # The dashboard groups tasks by the name before the first number: the stage.
                    name = "-".join((task.stage, task.session, task.probe or "session", run))
                    where = {"workers": large[task.key]} if large[task.key] else {}
                    running[client.submit(_perform, prepare, task, key=name, pure=False, **where)] = task.key
                    del waiting[task.key]
            for future in _finished(list(running)):
                if not (future.cancelled() and _is_gone(client)):
                    have(_result_of(future, running.pop(future)))
    return [results[task.key] for task in ordered]


@contextmanager
def _saying_what_is_interrupted(running: Mapping[Any, str], tasks: Sequence[Task]) -> Iterator[None]:
    """Log that tasks are interrupted which run when this process is told to stop: their workers may not get to it."""
    try:
        yield
    except BaseException:
        for task in tasks:
            if task.key in running.values():
                with log_to(task.output, task.key) as log:
                    log("interrupted", message="the process that handed it to a worker was stopped")
        raise


def check_workers(client: Client, paths: Sequence[Path]) -> None:
    """Raise if a worker cannot do the work, saying which and why.

    Raises
    ------
    SchedulerError
        If a worker has another Python, no or another version of the package, or does not see a file or folder.
    """
    from allen_ecephys.version import __version__

    versions: Any = client.get_versions()
    for address, facts in versions["workers"].items():
        found = ".".join(facts["host"]["python"].split(".")[:2])
        ours = ".".join(platform.python_version_tuple()[:2])
        if found != ours:
            msg = f"worker {address} runs Python {found}, and this is {ours}; start workers of the same Python"
            raise SchedulerError(msg)
    for address, told in client.run(_about_worker, [str(path) for path in paths], on_error="return").items():
        if isinstance(told, Exception):
            msg = f"worker {address} cannot import allen_ecephys ({told}); install {__version__} where it runs"
            raise SchedulerError(msg)
        if told["version"] != __version__:
            msg = f"worker {address} has allen-ecephys {told['version']}, and this is {__version__}; install the same"
            raise SchedulerError(msg)
        if told["missing"]:
            msg = (
                f"worker {address} does not see {', '.join(told['missing'])}; workers and this process need the same "
                "folders under the same names"
            )
            raise SchedulerError(msg)


def _about_worker(paths: Sequence[str]) -> dict[str, Any]:
    from allen_ecephys.version import __version__

    return {"version": __version__, "missing": [path for path in paths if not Path(path).exists()]}


def _workers_for(client: Client, tasks: Sequence[Task]) -> dict[str, list[str]]:
    """Return, for each task that not every worker has the memory for, the addresses of those that have.

    Raises
    ------
    SchedulerError
        If no worker has the memory that a task needs.
    """
    limits = {
        address: int(facts.get("memory_limit") or 0)
        for address, facts in client.scheduler_info(n_workers=-1)["workers"].items()
    }
    found = {}
    for task in tasks:
        fits = [address for address, limit in limits.items() if not limit or limit >= task.memory]
        if not fits:
            largest = max(limits.values())
            msg = (
                f"{task.key} needs about {task.memory / 1e9:.1f} GB, and the largest worker may use "
                f"{largest / 1e9:.1f} GB; start workers with more memory (fewer on a machine, or a larger memory limit)"
            )
            raise SchedulerError(msg)
        found[task.key] = fits if len(fits) < len(limits) else []
    return found


def keep_freed_memory() -> None:
    """Let the C library keep what is freed for what comes next, as it does outside of dask.

    Nannies start workers with a MALLOC_TRIM_THRESHOLD_ of 64 kB, so that the arrays of every block of samples go back
    to the system and come anew, page by page: stages that go over blocks took up to 1.8 times as long. The limits set
    here are those that glibc comes to by itself (``man mallopt``: M_MMAP_THRESHOLD is dynamic, up to 32 MB).
    """
    if "MALLOC_TRIM_THRESHOLD_" not in os.environ:
        return
    # Another C library than glibc has no such call, and no such habit.
    with suppress(OSError, AttributeError):
        set_limit = ctypes.CDLL(None).mallopt
        set_limit(_M_MMAP_THRESHOLD, _MMAP_BYTES)
        set_limit(_M_TRIM_THRESHOLD, 2 * _MMAP_BYTES)


def _perform(prepare: Callable[[], None] | None, task: Task) -> TaskResult:
    keep_freed_memory()
    if prepare is not None:
        prepare()
    return perform(task)


def _threads(client: Client) -> Mapping[str, int] | None:
    """Return how many threads each worker has, or None if the scheduler is gone."""
    try:
        told: Mapping[str, int] = cast("Any", client).nthreads()
    except (OSError, RuntimeError):  # the second is what a closed pool of connections raises
        return None if _is_gone(client) else {}
    return told


def _is_gone(client: Client) -> bool:
    """Tell whether the connection to the scheduler is lost, and all that it was told with it."""
    return bool(client.status != "running")


def _is_room(allowed: Sequence[str], threads: Mapping[str, int], running: Sequence[Sequence[str]]) -> bool:
    """Tell whether a task would begin at once: on any worker, or on those that have the memory it needs.

    Without any worker one task waits for the first that comes, or for the word that there is no scheduler.
    """
    if allowed:
        own = sum(threads.get(address, 0) for address in allowed)
        if sum(bool(places) for places in running) >= max(own, 1):
            return False
    return len(running) < max(sum(threads.values()), 1)


def _finished(futures: list[Any]) -> list[Any]:
    """Return the futures that have come to an end, waiting some seconds for the first; workers may join meanwhile."""
    _, distributed = _dask()
    if futures:
        with suppress(TimeoutError, distributed.CancelledError):
            distributed.wait(futures, timeout=LOOK_S, return_when="FIRST_COMPLETED")
    return [future for future in futures if future.done()]


def _result_of(future: Any, key: str) -> TaskResult:
    """Return a task's result; that a worker died of it, or could not begin it, is a failure of that task."""
    try:
        result: TaskResult = future.result()
    except AllenEcephysError as error:
        return TaskResult(key, "failed", str(error))
    except Exception as error:
        if type(error).__name__ == "KilledWorker":
            message = "several workers died while they ran it; out of memory is the likeliest cause"
        else:
            message = f"it failed in a way that was not foreseen: {in_words(error)}"
        return TaskResult(key, "failed", message)
    return result


def _say_where_to_watch(client: Client) -> None:
    logger.info("the dask dashboard is at %s", client.dashboard_link)


def _wait_for_workers(client: Client, number: int, what: str, advice: str) -> None:
    if len(client.scheduler_info(n_workers=-1)["workers"]) < number:
        logger.warning("%s has no worker yet; waiting up to %g s for one (%s)", what, WORKERS_S, advice)
    try:
        client.wait_for_workers(number, timeout=WORKERS_S)
    except TimeoutError as error:
        msg = f"{what} has no worker after {WORKERS_S:g} s; {advice}"
        raise SchedulerError(msg) from error


def _dask() -> tuple[Any, Any]:
    try:
        import dask

        # Its loggers are set up when it is first imported.
        with dask.config.set(logging=_LOGGING | dask.config.get("logging", {})):
            import distributed
    except ImportError as error:
        raise missing_extra(library="dask", extra="distributed", purpose="work on several processes") from error
    return dask, distributed
