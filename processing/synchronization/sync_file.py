"""The sync file of a rig: one row for every change of any digital line, on the clock that all others are put on.

On rigs of SpikeGLX it is the file of their NI card (:mod:`.ni_daq`). Elsewhere it is HDF5: dataset ``data`` holds a
counter (first column) and the state of all lines as bits (last column); ``meta`` is the text of a Python or JSON
dictionary, which is parsed and never evaluated.
"""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import FileFormatError, MissingDataError, MissingFileError, UnknownNameError, suggest

from .ni_daq import is_ni_file, read_ni_lines

Floats = npt.NDArray[np.float64]

#: What a line is for -> the names it has had on the rigs, in the order in which they are looked for.
LINE_NAMES: Final = {
    "frames": ("frames", "stim_vsync", "vsync_stim"),
    "photodiode": ("photodiode", "stim_photodiode"),
    "optotagging": ("LED_sync", "opto_trial"),
    "eye_camera": ("eye_frame_received", "cam2_exposure", "eyetracking", "eye_cam_exposing", "eye_tracking"),
    "behavior_camera": ("beh_frame_received", "cam1_exposure", "behavior_monitoring"),
    "barcode": ("barcode", "barcodes", "barcode_ephys"),
    "square_wave": ("square_wave",),
}


@dataclass(frozen=True, eq=False)
class SyncFile:
    """Edges of a rig's digital lines.

    Attributes
    ----------
    path
        The file.
    seconds
        Time of each row, float64: the counter, unwrapped, over its frequency.
    words
        State of all lines after each row, one bit a line, uint32 (uint64 of a NI card).
    line_labels
        Name of each bit; empty where a bit has none.
    frequency
        Of the counter (Hz).
    n_wraps
        How often the counter ran over and began again.
    assigned
        Purpose -> bit, where it was told which line serves it.

    Examples
    --------
    >>> lines = np.array([0, 1, 1, 3, 2], dtype=np.uint32)
    >>> sync = SyncFile(Path("rig.sync"), np.array([0.0, 1.0, 2.0, 2.5, 4.0]), lines, ("stim_photodiode", ""), 1e5, 0)
    >>> sync.rising("photodiode"), sync.falling("photodiode")
    (array([1.]), array([4.]))
    """

    path: Path
    seconds: Floats = field(repr=False)
    words: npt.NDArray[np.unsignedinteger[Any]] = field(repr=False)
    line_labels: tuple[str, ...]
    frequency: float
    n_wraps: int
    assigned: Mapping[str, int] = field(default_factory=dict)

    def bit(self, purpose: str) -> int:
        """Return the bit of the line that serves a purpose (a key of :data:`LINE_NAMES`) or has this very name.

        Raises
        ------
        MissingDataError
            If the file has no such line.
        UnknownNameError
            If `purpose` is neither a purpose nor a line of the file.

        Examples
        --------
        >>> words = np.array([0, 4], dtype=np.uint32)
        >>> SyncFile(Path("rig.sync"), np.arange(2.0), words, ("", "", "stim_photodiode"), 1e5, 0).bit("photodiode")
        2
        """
        if purpose in self.assigned:
            return self.assigned[purpose]
        if purpose in self.line_labels and purpose not in LINE_NAMES:
            return self.line_labels.index(purpose)
        if purpose not in LINE_NAMES:
            known = [*LINE_NAMES, *filter(None, self.line_labels)]
            msg = f"no line or purpose {purpose!r}{suggest(purpose, known)}; there are {', '.join(known)}"
            raise UnknownNameError(msg)
        for name in LINE_NAMES[purpose]:
            if name in self.line_labels:
                return self.line_labels.index(name)
        lines = ", ".join(filter(None, self.line_labels)) or "none with a name"
        msg = (
            f"{self.path} has no {purpose} line: none of {', '.join(LINE_NAMES[purpose])} is among its lines ({lines})."
            f" Say which serves it: lines = {{{purpose} = ...}} in the session's description, a name or a bit"
        )
        raise MissingDataError(msg)

    def has(self, purpose: str) -> bool:
        """Return whether the file names a line for a purpose of :data:`LINE_NAMES`.

        Examples
        --------
        >>> sync = SyncFile(Path("rig.sync"), np.zeros(1), np.zeros(1, dtype=np.uint32), ("barcode_ephys",), 1e5, 0)
        >>> sync.has("barcode"), sync.has("photodiode")
        (True, False)
        """
        return purpose in self.assigned or any(name in self.line_labels for name in LINE_NAMES[purpose])

    def rising(self, line: str | int) -> Floats:
        """Return when a line (its purpose, name or bit) went up (s); a line high from the first row on did not.

        Examples
        --------
        >>> lines = np.array([0, 1, 0, 1], dtype=np.uint32)
        >>> SyncFile(Path("rig.sync"), np.arange(4.0), lines, ("barcodes",), 1e5, 0).rising("barcode")
        array([1., 3.])
        """
        return self.seconds[np.flatnonzero(self._changes(line) == 1)]

    def falling(self, line: str | int) -> Floats:
        """Return when a line went down (s).

        Examples
        --------
        >>> lines = np.array([0, 1, 0, 1], dtype=np.uint32)
        >>> SyncFile(Path("rig.sync"), np.arange(4.0), lines, ("barcodes",), 1e5, 0).falling("barcode")
        array([2.])
        """
        return self.seconds[np.flatnonzero(self._changes(line) == -1)]

    def edges(self, line: str | int) -> Floats:
        """Return when a line changed, up or down (s).

        Examples
        --------
        >>> lines = np.array([0, 1, 0, 1], dtype=np.uint32)
        >>> SyncFile(Path("rig.sync"), np.arange(4.0), lines, ("barcodes",), 1e5, 0).edges(0)
        array([1., 2., 3.])
        """
        return self.seconds[np.flatnonzero(self._changes(line))]

    def _changes(self, line: str | int) -> npt.NDArray[np.int8]:
        bit = self.bit(line) if isinstance(line, str) else line
        number = self.words.dtype.type
        state: npt.NDArray[np.int8] = ((self.words >> number(bit)) & number(1)).astype(np.int8)
        return np.diff(state, prepend=state[:1])


def open_sync_file(path: str | os.PathLike[str], lines: Mapping[str, str | int] | None = None) -> SyncFile:
    """Read a sync file: ``.sync`` or ``.h5``, or the file of a NI card that SpikeGLX wrote (``.nidq.bin``).

    Parameters
    ----------
    path
        HDF5 file with the datasets ``data`` (rows x 2 or more: counter first, lines last) and ``meta``; or
        ``*.nidq.bin`` (compressed: ``.cbin``) with its ``.meta``, seconds from its first sample on.
    lines
        Which line serves a purpose (``"frames"``, ``"photodiode"``, ``"barcode"``, ...), where names do not tell: the
        line's name or its bit. Of a NI card: ``"XD3"`` or 3 (digital line 3), ``"XA0"`` or ``"XA0 > 2.5"`` (an analog
        input, high above so many volts); its square wave is known from the ``.meta``.

    Raises
    ------
    MissingFileError
        If there is no such file.
    FileFormatError
        If it is no HDF5 file, lacks a dataset, or its metadata do not say how fast the counter ran; or the ``.meta`` of
        a NI card makes no sense.
    CorruptFileError
        If the samples of a NI card are more or fewer than its ``.meta`` says.
    UnknownNameError
        If a line is told that the file does not have.
    """
    place = Path(path)
    if is_ni_file(place):
        found = read_ni_lines(place, lines or {})
        return SyncFile(found.path, found.seconds, found.words, found.labels, found.rate, 0, found.assigned)
    import h5py

    if not place.is_file():
        msg = f"there is no sync file {place}; name the .sync or .h5 file that the rig's DAQ wrote"
        raise MissingFileError(msg)
    try:
        with h5py.File(place, "r") as file:
            missing = [name for name in ("data", "meta") if name not in file]
            if missing:
                msg = f"{place} holds {', '.join(file) or 'nothing'}, and no {' or '.join(missing)}: it is no sync file"
                raise FileFormatError(msg)
            rows, meta = file["data"][()], file["meta"][()]
    except OSError as error:
        msg = f"{place} is no HDF5 file, or a damaged one ({error}); copy it from the rig again"
        raise FileFormatError(msg) from error
    if rows.ndim != 2 or rows.shape[1] < 2 or rows.dtype.kind not in "iu":
        msg = f"{place}: data are {rows.dtype} of shape {rows.shape}; a sync file has whole numbers, rows x 2 or more"
        raise FileFormatError(msg)
    facts = parse_metadata(meta, place)
    seconds, n_wraps = _unwrapped(rows[:, 0])
    frequency = _frequency(facts, place)
    labels = tuple(str(label) for label in facts.get("line_labels", ()))
    assigned = {purpose: _bit_of(line, labels, place) for purpose, line in (lines or {}).items()}
    return SyncFile(place, seconds / frequency, rows[:, -1].astype(np.uint32), labels, frequency, n_wraps, assigned)


def _bit_of(line: str | int, labels: tuple[str, ...], where: Path) -> int:
    """Return the bit of a line that is told by its name or bit."""
    if isinstance(line, str) and line and line in labels:
        return labels.index(line)
    if isinstance(line, bool) or not isinstance(line, int) or not 0 <= line < 32:
        known = list(filter(None, labels))
        msg = f"{where} has no line {line!r}; give a bit (0 to 31) or one of {', '.join(known) or 'no names'}"
        raise UnknownNameError(msg)
    return line


def parse_metadata(meta: Any, where: Path) -> dict[str, Any]:
    """Return the dictionary that a text spells in Python or JSON, without evaluating it.

    Raises
    ------
    FileFormatError
        If it spells none.
    """
    text = meta.decode("utf-8", "replace") if isinstance(meta, bytes) else str(meta)
    found: Any = None
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        try:
            found = json.loads(text)
        except ValueError:
            found = None
    if not isinstance(found, dict):
        msg = f"{where}: meta is no dictionary in Python or JSON ({text[:60]!r}...); nothing in it is executed"
        raise FileFormatError(msg)
    return found


def _frequency(facts: dict[str, Any], where: Path) -> float:
    daq = facts.get("ni_daq")
    value = daq.get("counter_output_freq") if isinstance(daq, dict) else None
    if not isinstance(value, int | float) or not 0 < value < np.inf:
        msg = f"{where}: meta has no ni_daq.counter_output_freq, so that its counter cannot be turned into seconds"
        raise FileFormatError(msg)
    return float(value)


def _unwrapped(counter: npt.NDArray[np.integer[Any]]) -> tuple[Floats, int]:
    """Return a 32-bit counter as it would be with more bits, and how often it ran over (at 100 kHz after 11.9 h)."""
    wide = counter.astype(np.int64)
    down = np.diff(wide, prepend=wide[:1]) < 0
    return (wide + (np.cumsum(down) << 32)).astype(np.float64), int(down.sum())
