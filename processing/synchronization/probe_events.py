"""Finding the events of a probe's synchronization line among what its recorder wrote."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import FileFormatError, MissingDataError

from ..readers.arrays import read_npy
from ..readers.binary import BinaryRecording
from .barcodes import ProbeEvents

#: Names of states and sample numbers, those of today's recorder last.
_FILES: Final = (("channel_states.npy", "event_timestamps.npy"), ("states.npy", "sample_numbers.npy"))


def probe_event_files(folder: str | os.PathLike[str], stream: str | None = None) -> tuple[Path, Path]:
    """Return the files of a probe's barcode line: states, and the sample numbers at which they began.

    Parameters
    ----------
    folder, stream
        As :func:`read_probe_events`.

    Raises
    ------
    MissingDataError
        As :func:`read_probe_events`.
    """
    place = Path(folder)
    found = [
        (states, numbers)
        for states_name, numbers_name in _FILES
        for states in sorted(place.rglob(states_name))
        if (numbers := states.with_name(numbers_name)).is_file()
    ]
    if len(found) > 1 and stream is not None:
        found = [(states, numbers) for states, numbers in found if _is_of(stream, states.relative_to(place))]
    if len(found) != 1:
        which = ", ".join(str(states.parent) for states, _ in found)
        of_stream = f" of {stream}" if stream is not None else ""
        problem = f"holds no events{of_stream}"
        if found:
            problem = f"holds the events of several lines ({which}): name one of them"
        msg = f"{place} {problem}; barcodes are read from {_FILES[0][0]} and {_FILES[0][1]} of one line"
        raise MissingDataError(msg)
    return found[0]


def _is_of(stream: str, states: Path) -> bool:
    """Tell whether a path such as ``events/Neuropix-PXI-100.ProbeA-AP/TTL/states.npy`` is of a stream or probe."""
    names = {stream, f"{stream}-AP"}
    return any(part in names or part.rpartition(".")[2] in names for part in states.parts)


def read_probe_events(folder: str | os.PathLike[str], stream: str | None = None) -> ProbeEvents:
    """Read the changes of a probe's barcode line from an Open Ephys folder, or one of the release's raw data.

    Parameters
    ----------
    folder
        Holds, itself or somewhere below, ``channel_states.npy`` and ``event_timestamps.npy`` (or ``states.npy`` and
        ``sample_numbers.npy``).
    stream
        Which of several probes or streams there: ``ProbeA`` or ``ProbeA-AP``.

    Raises
    ------
    MissingDataError
        If no events are there, or those of several lines.
    FileFormatError
        If they do not fit together.
    """
    states, numbers = probe_event_files(folder, stream)
    return ProbeEvents.from_arrays(read_npy(numbers), read_npy(states), str(states.parent))


def recorder_times_file(recording: BinaryRecording) -> Path:
    """Return the file in which Open Ephys wrote a time (s) for each sample of a stream.

    Raises
    ------
    MissingDataError
        If there is none: other recorders write none, and Open Ephys until 0.5 wrote numbers in its place.
    """
    for name in ("timestamps.npy", "synchronized_timestamps.npy"):
        path = recording.path.with_name(name)
        if path.is_file() and read_npy(path, mapped=True).dtype.kind == "f":
            return path
    msg = (
        f"{recording.path.parent} holds no timestamps.npy in seconds: only Open Ephys since 0.6 puts its streams on "
        "one clock itself. Use barcodes or a square wave"
    )
    raise MissingDataError(msg)


def read_recorder_times(recording: BinaryRecording) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return the number and the time (s) that Open Ephys itself gave to each sample of a stream, memory-mapped.

    Raises
    ------
    MissingDataError
        As :func:`recorder_times_file`.
    FileFormatError
        If there are not as many times as samples.
    """
    path = recorder_times_file(recording)
    times = read_npy(path, mapped=True)
    if times.ndim != 1 or len(times) < recording.n_samples:
        msg = f"{path} holds {len(times):,} times for {recording.n_samples:,} samples; it was cut. Copy it again"
        raise FileFormatError(msg)
    rows = np.arange(recording.n_samples, dtype=np.int64)
    return recording.timeline.numbers[0] + recording.timeline.elapsed(rows), times[: recording.n_samples]


#: Bit of the last column in which imec's cards write the square wave that all streams of SpikeGLX share.
SQUARE_WAVE_BIT: Final = 6
_SAMPLES_AT_ONCE: Final = 300_000


def square_wave_edges(recording: BinaryRecording, bit: int = SQUARE_WAVE_BIT) -> npt.NDArray[np.int64]:
    """Return the samples at which a bit of a recording's last column goes up (SpikeGLX's synchronization word).

    The column is read through the whole file, some seconds at a time; a stream of the LFP band says the same in a
    twelfth of the time, and a twelfth as exactly.

    Raises
    ------
    MissingDataError
        If the recording has no column besides its channels, or the bit never changes.
    """
    if recording.n_columns <= recording.n_channels:
        msg = f"{recording.path} was recorded without a synchronization word; name a stream that has one"
        raise MissingDataError(msg)
    found, before = [], None
    for start in range(0, recording.n_samples, _SAMPLES_AT_ONCE):
        words = recording.read_columns(start, min(start + _SAMPLES_AT_ONCE, recording.n_samples))[:, -1]
        high = (words.astype(np.int64) >> bit & 1).astype(np.int8)
        steps = np.diff(high, prepend=high[:1] if before is None else before)
        found.append(start + np.flatnonzero(steps == 1))
        before = high[-1:]
    edges = np.concatenate([np.empty(0, np.int64), *found]).astype(np.int64)
    if not len(edges):
        msg = f"bit {bit} of the synchronization word of {recording.path} never goes up; was the wave connected?"
        raise MissingDataError(msg)
    return edges
