"""Stage ``sorting``: a phy folder that appears whole, and a work folder from which a killed run goes on.

Reads the spike band less its medians; leaves Kilosort 2's files. What phy's user changes in them stays.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from allen_ecephys.errors import StageError
from allen_ecephys.files import read_json

from ..pipeline.stage import Stage, StageResult, input_files
from ..recording import Recording
from ..sorting.phy_output import read_kinds, write_phy
from ..sorting.sorters import NATIVE, Parameters, native_parameters, run_sorter

logger = logging.getLogger(__name__)

STAGE: Final = Stage(
    "sorting",
    outputs=("spike_times.npy", "spike_clusters.npy", "spike_templates.npy", "templates.npy", "params.py"),
    editable=("spike_clusters.npy", "*.tsv", "*.csv", "params.py"),
)
WORK: Final = "sorting.work"
JOB_FILE, LOCK_FILE = "job.json", "lock"


def run_sorting(
    recording: Recording,
    folder: str | os.PathLike[str],
    *,
    sorter: str = NATIVE,
    parameters: Parameters = None,
    inputs: Sequence[str | os.PathLike[str]] | None = None,
    python: str | os.PathLike[str] | None = None,
    keep_work: bool = False,
) -> StageResult:
    """Sort a recording into the phy folder ``sorting`` below `folder`, or reuse what an earlier run left there.

    While it runs, the sorter keeps its checkpoints in ``sorting.work`` beside it; a run that was stopped goes on from
    there, if inputs, sorter and parameters are still the same. The work folder is removed at the end.

    Parameters
    ----------
    recording
        Spike band of a probe, medians subtracted, not filtered.
    folder
        Folder of the probe.
    sorter, parameters, python
        As in :func:`.sorters.run_sorter`.
    inputs
        Files or stage folders that the recording comes from; by default its ``path``.
    keep_work
        Whether to leave the work folder: the native sorter's checkpoints, spikes and their features; other sorters may
        keep a copy of the recording there.

    Returns
    -------
    StageResult
        Its report has ``sorter``, ``n_spikes``, ``n_units``, ``n_good``, ``kinds``, ``n_channels``, ``seconds`` and
        ``seconds_by_pass``.

    Raises
    ------
    StageError
        If a sorting that was curated would have to be replaced (where that happened while the sorter ran, the message
        says where the new sorting is), if another process is sorting in this folder, or if `recording` does not say
        which files it comes from and `inputs` are not given.
    UnknownNameError, MissingExtraError, SortingError, TooFewChannelsError
        As :func:`.sorters.run_sorter`.
    """
    place = Path(folder)
    files = input_files(recording) if inputs is None else [Path(path) for path in inputs]
    chosen = native_parameters(parameters) if sorter == NATIVE else parameters
    given = asdict(native_parameters(chosen)) if sorter == NATIVE else dict(_mapping(chosen))
    identity = {"sorter": sorter, "parameters": given}

    def work(output: Path) -> dict[str, Any]:
        started = time.perf_counter()
        with _work_folder(place / WORK, STAGE.identity(files, identity, notes=place)) as checkpoints:
            result = run_sorter(recording, checkpoints, sorter, chosen, python=python)
            write_phy(output, result, recording)
        return {
            "sorter": sorter,
            "n_spikes": len(result.samples),
            "n_units": result.n_units,
            "n_good": int(result.good.sum()),
            "kinds": read_kinds(output),
            "n_channels": len(result.channel_map),
            "seconds": round(time.perf_counter() - started, 3),
            "seconds_by_pass": result.details.get("seconds", {}),
        }

    stage = STAGE.run(place, work, inputs=files, parameters=identity)
    if not keep_work:
        _discard(place / WORK, STAGE.identity(files, identity, notes=place))
    return stage


def _mapping(parameters: Parameters) -> Mapping[str, Any]:
    return parameters if isinstance(parameters, Mapping) else {}


@contextmanager
def _work_folder(folder: Path, identity: dict[str, Any]) -> Iterator[Path]:
    """Give the work folder, emptied unless it was left by a run of the same identity; nobody else may use it."""
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder) as mine:
        if not mine:
            msg = f"another process is sorting in {folder.parent}; wait for it, or name another output folder"
            raise StageError(msg)
        checkpoints = folder / "checkpoints"
        if _job(folder) == identity:
            logger.info("going on with the sorting that was stopped, in %s", folder)
        else:
            shutil.rmtree(checkpoints, ignore_errors=True)
            (folder / JOB_FILE).write_text(json.dumps(identity, indent=1), encoding="utf-8")
        checkpoints.mkdir(exist_ok=True)
        yield checkpoints


def _discard(folder: Path, identity: dict[str, Any]) -> None:
    """Remove the work folder of a finished sorting, unless it has become another run's."""
    if not folder.exists():
        return
    with _locked(folder) as mine:
        if mine and _job(folder) == identity:
            shutil.rmtree(folder)


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Hold the folder's lock, or tell that another process does; the system releases it when a process dies."""
    try:
        import fcntl
    except ImportError:  # Windows: no locks; two sortings of one probe at once are the user's to avoid
        yield True
        return
    with (folder / LOCK_FILE).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _job(folder: Path) -> Any:
    try:
        return read_json(folder / JOB_FILE)
    except (FileNotFoundError, ValueError):
        return None
