"""The NI card of a SpikeGLX rig as its sync file: digital lines and analog inputs that were recorded beside the probes.

``*.nidq.bin`` (or ``.cbin``) holds a column for each analog input, then words of 16 digital lines, sample by sample at
``niSampRate``. What the lines of the ``.meta`` mean is in SpikeGLX's "Metadata guide": ``snsMnMaXaDw`` counts the saved
columns by kind, volts of an input are ``count * niAiRangeMax / niMaxInt / gain``, and ``syncNiChan`` says which line or
input (``syncNiChanType``) saw the square wave of the run, with its threshold in volts (``syncNiThresh``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import CorruptFileError, FileFormatError, MissingFileError, UnknownNameError, suggest

from ..readers.binary import BinaryRecording
from ..readers.finding import partner
from ..readers.spikeglx import samples_beside
from ..readers.spikeglx_meta import meta_fields
from ..recording import chunk_bounds

#: ``run_g0_t0.nidq.bin``, compressed, or its metadata; numbers of archives may stand before the ending.
NI_FILE: Final = re.compile(r".+\.nidq(?:\.[^.]+)?\.(?:c?bin|meta|ch)", re.IGNORECASE)
#: Kinds of columns, in the order in which they are saved, and where the gain of each is told.
_KINDS: Final = {"MN": "niMNGain", "MA": "niMAGain", "XA": "", "XD": ""}
#: An analog input, and above how many volts it is high.
_ANALOG: Final = re.compile(r"\s*((?:MN|MA|XA)\d+)\s*(?:>\s*(-?\d+(?:\.\d*)?)\s*)?", re.IGNORECASE)
#: Volts above which an input is high where nobody says so, as SpikeGLX sets it up.
_THRESHOLD: Final = 1.1
#: How far back (part of the range) an input falls before it is low again: noise at the threshold is no edge.
_BACK: Final = 0.01
_LINES_A_WORD: Final = 16
#: Bits of analog inputs follow those of four words of lines.
_FIRST_ANALOG_BIT: Final = 48
_SAMPLES_AT_ONCE: Final = 500_000
#: The purpose of the line that saw the square wave which all streams of a run have in common.
SQUARE_WAVE: Final = "square_wave"


@dataclass(frozen=True)
class NiLines:
    """What the NI card recorded, as a sync file holds it."""

    path: Path
    seconds: npt.NDArray[np.float64]
    words: npt.NDArray[np.uint64]
    labels: tuple[str, ...]
    rate: float
    assigned: dict[str, int]


def is_ni_file(path: Path) -> bool:
    """Tell by its name whether a file is of a NI card."""
    return NI_FILE.fullmatch(path.name) is not None


def ni_files(path: Path) -> list[Path]:
    """Return the files that belong to one of a NI card: samples, metadata, and how they are compressed."""
    samples = samples_beside(path)
    return [samples, *(file for suffix in (".meta", ".ch") if (file := partner(samples, suffix)).is_file())]


def saw_square_wave(path: Path) -> bool:
    """Tell whether one of the lines that were saved saw the square wave of the run, as the metadata say.

    Raises
    ------
    MissingFileError, FileFormatError
        As :func:`read_ni_lines`.
    """
    return _Card.of_meta(partner(path, ".meta")).sync_line is not None


def read_ni_lines(path: Path, lines: Mapping[str, str | int]) -> NiLines:
    """Read the changes of all digital lines, and of the analog inputs that are named.

    Parameters
    ----------
    path
        ``.nidq.bin`` or ``.nidq.cbin``, or its ``.meta``.
    lines
        Purpose -> line: ``"XD3"`` or 3 for the digital line 3, ``"XA0"`` or ``"XA0 > 2.5"`` (volts) for an input.

    Raises
    ------
    MissingFileError
        If samples or metadata are not there.
    FileFormatError
        If the metadata are not of a NI card, or contradict themselves.
    CorruptFileError
        If the samples are more or fewer than the metadata say.
    UnknownNameError
        If a line is named that was not recorded.
    """
    samples = samples_beside(path)
    if not samples.is_file():
        msg = f"there is no {samples}; copy the samples that belong to {path.name}"
        raise MissingFileError(msg)
    meta = partner(samples, ".meta")
    if not meta.is_file():
        msg = f"{samples} has no {meta.name} beside it, which says what its columns are; copy both files"
        raise MissingFileError(msg)
    card = _Card.of_meta(meta)
    recording = BinaryRecording(
        samples, n_columns=len(card.columns), sampling_rate=card.rate, uv_per_bit=1.0,
        geometry=np.column_stack([np.zeros(len(card.columns)), np.arange(len(card.columns))]),
    )  # fmt: skip
    stated = card.fields.get("fileSizeBytes", "")
    if stated and stated != str(recording.sample_bytes):
        msg = (
            f"{samples} has {recording.sample_bytes:,} bytes of samples, {meta.name} says {stated}: it was cut, or one "
            "of the two is of another file. Copy both again"
        )
        raise CorruptFileError(msg)
    if not recording.n_samples:
        msg = f"{samples} holds no sample, so nothing can be put in time by it"
        raise FileFormatError(msg)
    assigned = {}
    inputs: dict[str, _Input] = {}
    for purpose, line in ({SQUARE_WAVE: card.sync_line} | dict(lines)).items():
        if line is not None:
            assigned[purpose] = card.bit(line, inputs)
    rows, words = _changes(recording, card, list(inputs.values()))
    labels = [""] * (_FIRST_ANALOG_BIT + len(inputs))
    for line in card.digital_lines():
        labels[line] = f"XD{line}"
    for number, name in enumerate(inputs):
        labels[_FIRST_ANALOG_BIT + number] = name
    return NiLines(samples, rows / card.rate, words, tuple(labels), card.rate, assigned)


@dataclass(frozen=True)
class _Input:
    """An analog input: its column, above which count it is high and below which low again."""

    column: int
    high: float
    low: float


@dataclass(frozen=True)
class _Card:
    """What a ``.meta`` says: its columns by name (``XA0``, ``XD0``: a word of digital lines), and how fast it ran."""

    path: Path
    fields: dict[str, str]
    columns: tuple[str, ...]
    rate: float

    @classmethod
    def of_meta(cls, path: Path) -> _Card:
        fields = meta_fields(path)
        if fields.get("typeThis") != "nidq":
            msg = f"{path} describes a {fields.get('typeThis', 'file without typeThis')}, not a NI card"
            raise FileFormatError(msg)
        try:
            acquired = [int(n) for n in fields["acqMnMaXaDw"].split(",")]
            saved = [int(n) for n in fields["snsMnMaXaDw"].split(",")]
            rate, n_columns = float(fields["niSampRate"]), int(fields["nSavedChans"])
            sensible = len(acquired) == len(saved) == 4 and all(0 <= n <= 10_000 for n in (*acquired, *saved))
            sensible = sensible and sum(saved) == n_columns > 0 and math.isfinite(rate) and rate >= 1
            columns = _saved([f"{k}{i}" for k, n in zip(_KINDS, acquired, strict=True) for i in range(n)], fields)
        except (KeyError, ValueError, IndexError) as error:
            msg = (
                f"{path}: a line of it is missing or makes no sense ({error}); it was edited or damaged. Copy it again"
            )
            raise FileFormatError(msg) from error
        if not sensible or [sum(c.startswith(k) for c in columns) for k in _KINDS] != saved or saved[3] > 3:
            msg = (
                f"{path} contradicts itself, or has more than three words of digital lines: acqMnMaXaDw="
                f"{fields['acqMnMaXaDw']}, snsMnMaXaDw={fields['snsMnMaXaDw']}, nSavedChans={fields['nSavedChans']}, "
                f"niSampRate={fields['niSampRate']}"
            )
            raise FileFormatError(msg)
        return cls(path, fields, tuple(columns), rate)

    @property
    def sync_line(self) -> str | None:
        """The line or input that saw the square wave, as the metadata say; None if none of the saved ones did."""
        number = self.fields.get("syncNiChan", "")
        if self.fields.get("syncSourceIdx", "0") == "0" or not number.isdecimal():
            return None
        if self.fields.get("syncNiChanType", "0") == "0":
            return f"XD{number}" if int(number) in self.digital_lines() else None
        acquired = [int(n) for n in self.fields["acqMnMaXaDw"].split(",")]
        names = [f"{k}{i}" for k, n in zip(_KINDS, acquired, strict=True) for i in range(n)]
        name = names[int(number)] if int(number) < len(names) else ""
        threshold = self.fields.get("syncNiThresh", "")
        found = _ANALOG.fullmatch(f"{name} > {threshold}" if threshold else name)
        return None if found is None or name not in self.columns else found[0]

    def digital_lines(self) -> list[int]:
        """Return the numbers of the digital lines that were saved."""
        words = [int(name[2:]) for name in self.columns if name.startswith("XD")]
        return [_LINES_A_WORD * word + bit for word in words for bit in range(_LINES_A_WORD)]

    def bit(self, line: str | int, inputs: dict[str, _Input]) -> int:
        """Return the bit of a line; an analog input is added to those that are read."""
        text = f"XD{line}" if isinstance(line, int) else str(line).strip()
        if text[2:].isdecimal() and text[:2].upper() == "XD" and int(text[2:]) in self.digital_lines():
            return int(text[2:])
        found = _ANALOG.fullmatch(text)
        name = found[1].upper() if found is not None else ""
        if found is None or name not in self.columns:
            known = [f"XD{n}" for n in self.digital_lines()] + [n for n in self.columns if not n.startswith("XD")]
            msg = (
                f"{self.path} has no line {text!r}{suggest(text, known)}; there are {', '.join(known)}. An analog "
                "input is named with its threshold in volts, as 'XA0 > 2.5'"
            )
            raise UnknownNameError(msg)
        volts = float(found[2]) if found[2] else _THRESHOLD
        key = name if name not in inputs else f"{name} > {volts:g} V"
        inputs[key] = self._input(name, volts)
        return _FIRST_ANALOG_BIT + list(inputs).index(key)

    def _input(self, name: str, volts: float) -> _Input:
        gain_of = _KINDS[name[:2]]
        try:
            gain = float(self.fields.get(gain_of, "1")) if gain_of else 1.0
            steps, top = int(self.fields.get("niMaxInt", "32768")), float(self.fields["niAiRangeMax"])
            count = volts * gain * steps / top
        except (KeyError, ValueError, ZeroDivisionError) as error:
            msg = f"{self.path} does not say what a count of {name} is in volts ({error}); it was edited or damaged"
            raise FileFormatError(msg) from error
        if not abs(count) < steps:
            msg = f"{self.path}: {name} is never above {volts:g} V, its range ends at {top / gain:g} V; give another"
            raise FileFormatError(msg)
        return _Input(self.columns.index(name), count, count - _BACK * steps)


def _saved(names: list[str], fields: Mapping[str, str]) -> list[str]:
    """Return which of the acquired columns were saved."""
    subset = fields.get("snsSaveChanSubset", "all")
    if subset in {"all", ""}:
        return names
    ranges = (part.partition(":") for part in subset.split(","))
    spans = [(int(first), int(last or first)) for first, _, last in ranges]
    if not all(0 <= first <= last < len(names) for first, last in spans):
        msg = f"snsSaveChanSubset={subset:.60} of {len(names)} columns"
        raise ValueError(msg)
    return [names[i] for first, last in spans for i in range(first, last + 1)]


def _changes(
    recording: BinaryRecording, card: _Card, inputs: list[_Input]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64]]:
    """Return the samples at which any line changed, the first and the last among them, and the state of all lines."""
    found = list(_changes_by_block(recording, card, inputs))
    return np.concatenate([rows for rows, _ in found]), np.concatenate([words for _, words in found])


def _changes_by_block(
    recording: BinaryRecording, card: _Card, inputs: list[_Input]
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64]]]:
    digital = [(column, int(name[2:])) for column, name in enumerate(card.columns) if name.startswith("XD")]
    high = [False] * len(inputs)
    before: Any = None
    for start, stop in chunk_bounds(recording.n_samples, _SAMPLES_AT_ONCE):
        samples = recording.read_columns(start, stop)
        words = np.zeros(len(samples), np.uint64)
        for column, word in digital:
            lines = samples[:, column].astype(np.uint16).astype(np.uint64)
            words |= lines << np.uint64(_LINES_A_WORD * word)
        for number, told in enumerate(inputs):
            level = _level(samples[:, told.column], told, high[number])
            high[number] = bool(level[-1])
            words |= level.astype(np.uint64) << np.uint64(_FIRST_ANALOG_BIT + number)
        changed = np.append(True if before is None else words[0] != before, np.diff(words) != 0)
        changed[-1] |= stop == recording.n_samples
        rows = np.flatnonzero(changed)
        yield start + rows.astype(np.int64), words[rows]
        before = words[-1]


def _level(counts: npt.NDArray[Any], told: _Input, was_high: bool) -> npt.NDArray[np.bool_]:
    """Tell where an input is high: from where it rises above its threshold until it falls well below."""
    says = np.where(counts > told.high, 1, np.where(counts <= told.low, 0, -1))
    latest = np.maximum.accumulate(np.where(says >= 0, np.arange(len(says)), -1))
    level: npt.NDArray[np.bool_] = np.where(latest >= 0, says[latest], was_high).astype(bool)
    return level
