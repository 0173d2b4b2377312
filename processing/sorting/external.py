"""Sorters of SpikeInterface, out of process: their licences, pins and crashes stay on the other side.

The recording is handed over as a binary file, channel positions and gains; spikes come back. Templates, features and
labels are then measured here, the same way for every sorter (:mod:`.spikes_to_result`).
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from allen_ecephys.config import sorter_python, threads
from allen_ecephys.errors import SortingError, UnknownNameError, in_words, missing_extra, suggest
from allen_ecephys.files import read_json

from ..pipeline.outputs import SampleFile
from ..recording import Recording, chunk_bounds
from .preparing.channels import choose_channels
from .preparing.front_end import as_counts
from .result import SortingResult
from .spikes_to_result import result_from_spikes

logger = logging.getLogger(__name__)

PROGRAM: Final = Path(__file__).with_name("run_spikeinterface.py")
JOB_FILE, ANSWER_FILE, SPIKES_FILE, LOG_FILE = "job.json", "answer.json", "spikes.npz", "sorter.log"
COPY_FILE: Final = "recording.dat"
COPY_SAMPLES: Final = 30_000
#: Lines of the sorter's own output that an error shows.
LAST_LINES: Final = 12

Json = dict[str, Any]


def installed_sorters(python: str | os.PathLike[str] | None = None) -> list[str]:
    """Return the sorters that SpikeInterface can run with that interpreter; none where it is not installed."""
    with tempfile.TemporaryDirectory() as folder:
        answer = _ask({"task": "list"}, Path(folder), python)
    return [str(name) for name in answer.get("installed", [])]


def check_external(
    sorter: str, parameters: Json, *, python: str | os.PathLike[str] | None = None, known: Iterable[str] = ()
) -> None:
    """Raise what :func:`run_external` would for a name, parameters or an interpreter that do not fit.

    Raises
    ------
    UnknownNameError, MissingExtraError, SortingError
        As :func:`.sorters.run_sorter`.
    """
    with tempfile.TemporaryDirectory() as folder:
        answer = _ask({"task": "check", "sorter": sorter, "parameters": parameters}, Path(folder), python)
    _raise_problem(answer, sorter, python, known)


def run_external(
    recording: Recording,
    folder: Path,
    sorter: str,
    parameters: Json,
    *,
    python: str | os.PathLike[str] | None = None,
    known: Iterable[str] = (),
) -> SortingResult:
    """Sort with a sorter of SpikeInterface and measure what it found.

    Parameters
    ----------
    recording
        Spike band, medians subtracted, not filtered. Reference, dead and noisy channels are not handed over.
    folder
        Existing folder for the run: the job, the sorter's own folder and log, its spikes. A folder that holds the
        spikes of the same job is not sorted again.
    sorter, parameters
        Its name, and its own parameters.
    python
        Interpreter; by default the setting ``ALLEN_ECEPHYS_SORTER_PYTHON``, else this one.
    known
        Names of other sorters, to suggest for a misspelt one.

    Raises
    ------
    UnknownNameError, MissingExtraError, SortingError, TooFewChannelsError
        As :func:`.sorters.run_sorter`.
    """
    channels = choose_channels(as_counts(recording))
    job: Json = {
        "task": "sort",
        "sorter": sorter,
        "parameters": parameters,
        "n_jobs": threads(),
        "recording": _recording_facts(recording, channels, folder),
    }
    done = folder / SPIKES_FILE
    if _read_json(folder / JOB_FILE) == json.loads(json.dumps(job)) and done.exists():
        logger.info("taking the spikes that %s left in %s", sorter, folder)
        answer = _read_json(folder / ANSWER_FILE) or {}
    else:
        done.unlink(missing_ok=True)
        _copy_if_needed(recording, job["recording"])
        answer = _ask(job, folder, python)
        _raise_problem(answer, sorter, python, known)
    with np.load(done) as spikes:
        samples, units, names = (spikes[name] for name in ("samples", "units", "unit_ids"))
    inside = (samples >= 0) & (samples < recording.n_samples)
    if not inside.all():
        logger.warning("%s put %d spikes outside the recording; they are left out", sorter, int((~inside).sum()))
    details = {
        "sorter": sorter,
        "version": answer.get("version", ""),
        "spikeinterface": answer.get("spikeinterface", ""),
        "parameters": parameters,
        "unit_ids": names.tolist(),
    }
    return result_from_spikes(
        recording, samples[inside], units[inside], len(names), folder, channels=channels, details=details
    )


def _recording_facts(recording: Recording, channels: npt.NDArray[np.int64], folder: Path) -> Json:
    """Say where the samples are; those of a recording that is no file are copied into one."""
    path = getattr(recording, "path", None)
    facts: Json = {
        "n_samples": recording.n_samples,
        "sampling_rate": recording.sampling_rate,
        "dtype": recording.dtype.str,
        "uv_per_bit": recording.uv_per_bit[channels].tolist(),
        "positions": recording.geometry[channels].tolist(),
    }
    if path is None:
        copied = {"file": str(folder / COPY_FILE), "n_columns": len(channels), "offset": 0}
        return {**facts, **copied, "columns": list(range(len(channels))), "channels": channels.tolist()}
    columns = np.asarray(getattr(recording, "columns", np.arange(recording.n_channels)))
    return {
        **facts,
        "file": str(Path(path).resolve()),
        "modified": Path(path).stat().st_mtime_ns,
        "n_columns": int(getattr(recording, "n_columns", recording.n_channels)),
        "offset": int(getattr(recording, "offset", 0)),
        "columns": columns[channels].tolist(),
    }


def _copy_if_needed(recording: Recording, facts: Json) -> None:
    if "channels" not in facts:
        return
    path, row = Path(facts["file"]), recording.dtype.itemsize * facts["n_columns"]
    path.unlink(missing_ok=True)
    with SampleFile(path, row * recording.n_samples) as file:
        for start, stop in chunk_bounds(recording.n_samples, COPY_SAMPLES):
            part = np.ascontiguousarray(recording.read(start, stop, facts["channels"]))
            file.write(part.reshape(-1).view(np.uint8).data, start * row)


def _ask(job: Json, folder: Path, python: str | os.PathLike[str] | None) -> Json:
    """Run the program on a job and return its answer.

    Raises
    ------
    SortingError
        If it ends without one; the message shows the end of what it printed.
    """
    interpreter = str(python or sorter_python())
    (folder / ANSWER_FILE).unlink(missing_ok=True)
    (folder / JOB_FILE).write_text(json.dumps(job), encoding="utf-8")
    log = folder / LOG_FILE
    logger.info("%s: %s, output in %s", job.get("sorter", "sorters"), interpreter, log)
    with log.open("wb") as output:
        try:
            process = subprocess.Popen(  # noqa: S603  # the interpreter is the user's choice
                [interpreter, str(PROGRAM), str(folder / JOB_FILE)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # The program's own folder must not come before installed packages, whatever its modules are called.
                env={**os.environ, "PYTHONSAFEPATH": "1"},
                start_new_session=True,
            )
        except OSError as error:
            why = in_words(error)
            msg = f"{interpreter} cannot be started ({why}); name an interpreter that SpikeInterface is installed for"
            raise SortingError(msg) from error
        try:
            status = process.wait()
        except BaseException:
            _end(process)
            raise
    answer = _read_json(folder / ANSWER_FILE)
    if answer is None or status != 0:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]
        how = f"was ended by signal {-status}" if status < 0 else f"failed with status {status}"
        shown = "\n  ".join(lines)
        msg = f"{job.get('sorter', 'SpikeInterface')} {how}; the end of what it printed:\n  {shown}"
        raise SortingError(msg)
    return answer


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the program and the workers it started."""
    for kind in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, kind)
            process.wait(timeout=10)
        except ProcessLookupError:
            break
        except subprocess.TimeoutExpired:
            continue


def _raise_problem(answer: Json, sorter: str, python: str | os.PathLike[str] | None, others: Iterable[str]) -> None:
    problem, interpreter = answer.get("problem"), python or sorter_python()
    if problem is None:
        return
    known = [*others, *answer.get("known", [])]
    if problem == "no spikeinterface":
        if suggest(sorter, others):
            msg = f"no sorter {sorter!r}{suggest(sorter, others)} (SpikeInterface, which has more, is not installed)"
            raise UnknownNameError(msg)
        library, purpose = f"SpikeInterface (looked for with {interpreter})", f"sorting with {sorter!r}"
        raise missing_extra(library, "spikeinterface", purpose)
    if problem == "not installed":
        msg = (
            f"{sorter} is not installed for {interpreter}. Install it there, or name an interpreter that has it in "
            f"ALLEN_ECEPHYS_SORTER_PYTHON. SpikeInterface says: {' '.join(answer['detail'].split())}"
        )
        raise SortingError(msg)
    if problem == "unknown parameter":
        names = answer["known"]
        msg = (
            f"{sorter} has no parameter {answer['name']!r}{suggest(answer['name'], names)}; there are "
            f"{', '.join(names)}"
        )
        raise UnknownNameError(msg)
    msg = f"no sorter {sorter!r}{suggest(sorter, known)}; there are {', '.join(known)}"
    raise UnknownNameError(msg)


def _read_json(path: Path) -> Json | None:
    try:
        return dict(read_json(path))
    except (FileNotFoundError, ValueError):
        return None
