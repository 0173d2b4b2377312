"""The table of stimulus presentations: gathered from the file's interval tables, typed, numbered, masked.

Columns are handled as codes into their few distinct values: tens of thousands of presentations repeat a handful of
texts and numbers, and each is parsed once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..errors import FileFormatError
from ..nwb import layout
from ..nwb.columns import column_names, floats, read_table
from .conditions import CONDITION, NOT_OF_CONDITION, rows_numbered
from .names import DETAILED_COLUMNS, RELEASED_COLUMNS, capital_twins, is_triplet, missing, parsed, released_name

if TYPE_CHECKING:
    from ..nwb.reader import NwbReader

#: Name given to presentations within invalid times.
INVALID_NAME = "invalid_presentation"

#: What stands for a missing parameter in AllenSDK's form of the tables.
MISSING_TEXT = "null"

#: Directions: a grey sweep of gratings or of dot motion has none, where its stimulus has one. Grey sweeps of natural
#: scenes have frame -1.
_DIRECTIONS = ("orientation", "Dir")

_PARAMETER_ORDER = (
    "temporal_frequency",
    "spatial_frequency",
    "orientation",
    "contrast",
    "x_position",
    "y_position",
    "color",
    "frame",
    "phase",
    "size",
    "Speed",
    "Dir",
    "coherence",
)


@dataclass
class Coded:
    """A column as codes into its distinct values (levels, as the file holds them); -1 where it has none."""

    codes: np.ndarray[Any, np.dtype[np.int64]]
    levels: list[Any]

    @classmethod
    def empty(cls, length: int) -> Coded:
        """Return a column without a value."""
        return cls(np.full(length, -1, dtype=np.int64), [])

    def put(self, rows: slice, codes: np.ndarray[Any, Any], values: Iterable[Any]) -> None:
        """Write a part of the column, given as codes into `values`; values that say nothing become missing."""
        where = {value: code for code, value in enumerate(self.levels)}
        table = [-1]
        for value in values:
            if missing(parsed(value) if isinstance(value, str) else value):
                table.append(-1)
                continue
            if value not in where:
                where[value] = len(self.levels)
                self.levels.append(value)
            table.append(where[value])
        self.codes[rows] = np.asarray(table, dtype=np.int64)[codes + 1]

    def filled_from(self, other: Coded) -> Coded:
        """Return this column with the other's values where it has none."""
        out = Coded(self.codes.copy(), list(self.levels))
        gaps = Coded.empty(len(self.codes))
        gaps.levels = out.levels
        gaps.put(slice(None), other.codes, other.levels)
        out.codes = np.where(out.codes < 0, gaps.codes, out.codes)
        return out

    def as_held(self) -> np.ndarray[Any, Any]:
        """Return the values as the file holds them (object array; NaN where missing)."""
        values = np.empty(len(self.levels) + 1, dtype=object)
        values[:] = [np.nan, *self.levels]
        held: np.ndarray[Any, Any] = values[self.codes + 1]
        return held

    def typed(self) -> Any:
        """Return the values as what they say: float64, text, or tuples of numbers where one of them is a tuple."""
        values = _of_one_kind([parsed(v) if isinstance(v, str) else v for v in self.levels])
        if all(isinstance(v, (int, float)) for v in values):
            return np.asarray([np.nan, *values], dtype=np.float64)[self.codes + 1]
        if all(isinstance(v, str) for v in values):
            return pd.Series(values, dtype=str).array.take(self.codes, allow_fill=True)
        objects = np.empty(len(values) + 1, dtype=object)
        objects[:] = [np.nan, *values]
        return objects[self.codes + 1]


def _of_one_kind(values: list[Any]) -> list[Any]:
    """Return tuples for the numbers beside a tuple: ``(20.0, 20.0)`` for 20.0 beside ``(1920.0, 1080.0)``.

    A column of numbers and tuples could not be stored (Parquet, Feather) or compared.
    """
    width = max((len(v) for v in values if isinstance(v, tuple)), default=0)
    return [(float(v),) * width if width and isinstance(v, (int, float)) else v for v in values]


@dataclass
class Presentations:
    """All presentations of a session in order of their start, before invalid ones are masked.

    Attributes
    ----------
    start_time, stop_time
        Float64 seconds.
    names
        Released name of each presentation's stimulus, as codes.
    parameters
        Column name -> values; ``stimulus_block`` is one of them.
    condition
        Int64: presentations of equal stimulus and parameters share a number; numbered by first appearance.
    """

    start_time: np.ndarray[Any, np.dtype[np.float64]]
    stop_time: np.ndarray[Any, np.dtype[np.float64]]
    names: Coded
    parameters: dict[str, Coded]
    condition: np.ndarray[Any, np.dtype[np.int64]]

    def __len__(self) -> int:
        return len(self.start_time)

    @property
    def columns(self) -> list[str]:
        """Names of the parameters in the order of the tables."""
        rest = [name for name in self.parameters if name not in _PARAMETER_ORDER and name != "stimulus_block"]
        return [name for name in (*_PARAMETER_ORDER, *rest) if name in self.parameters]

    def is_blank(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Tell which presentations are grey sweeps between others of their stimulus."""
        blank = np.zeros(len(self), dtype=bool)
        frame = self.parameters.get("frame")
        if frame is not None:
            blank |= np.asarray(frame.typed() == -1, dtype=bool)
        for name in _DIRECTIONS:
            direction = self.parameters.get(name)
            if direction is not None:
                has = direction.codes >= 0
                stimulus_has = np.zeros(len(self.names.levels) + 1, dtype=bool)
                np.logical_or.at(stimulus_has, self.names.codes, has)
                blank |= stimulus_has[self.names.codes] & ~has
        return blank

    def table(self, invalid: np.ndarray[Any, np.dtype[np.bool_]], legacy: bool = False) -> pd.DataFrame:
        """Return the presentations with all columns, those that are `invalid` masked.

        `legacy` gives AllenSDK's columns instead: text as the file holds it, the text 'null' where a value is missing.
        """
        data: dict[str, Any] = {"start_time": self.start_time, "stop_time": self.stop_time}
        names = pd.Series([*self.names.levels, INVALID_NAME], dtype=str).array
        data["stimulus_name"] = names.take(np.where(invalid, len(names) - 1, self.names.codes))
        order = [name for name in ("stimulus_block", *self.columns) if name in self.parameters]
        for name in order:
            data[name] = self._column(name, invalid, legacy)
        data["duration"] = np.where(invalid, np.nan, self.stop_time - self.start_time)
        data[CONDITION] = np.where(invalid, np.nan, self.condition) if invalid.any() else self.condition
        if not legacy:
            data["is_blank"] = self.is_blank() & ~invalid
        index = pd.RangeIndex(len(self), name="stimulus_presentation_id")
        return pd.DataFrame(data, index=pd.Index(np.asarray(index), name=index.name), copy=False)

    def _column(self, name: str, invalid: np.ndarray[Any, np.dtype[np.bool_]], legacy: bool) -> Any:
        column = Coded(np.where(invalid, -1, self.parameters[name].codes), self.parameters[name].levels)
        if legacy:
            held = column.as_held()
            if name == "color":  # flashes: '-1.0' and '1.0'
                numbers = {v: parsed(v) for v in column.levels if isinstance(v, str)}
                held = np.array([numbers.get(v, v) for v in held], dtype=object)
            held[(column.codes < 0) & ~invalid] = MISSING_TEXT
            return pd.Series(held).infer_objects().array
        return column.typed()

    def conditions(self, legacy: bool = False) -> pd.DataFrame:
        """Return one row a condition: index stimulus_condition_id; stimulus_name and all parameters but the block."""
        first = np.unique(self.condition, return_index=True)[1]
        table: pd.DataFrame = self.table(np.zeros(len(self), dtype=bool), legacy).take(first)
        table = table.drop(columns=["start_time", "stop_time", "duration", "stimulus_block"], errors="ignore")
        return table.set_index(CONDITION)


def read_presentations(reader: NwbReader) -> Presentations:
    """Read all interval tables named ``*_presentations`` into one, in order of their start."""
    tables = [n for n in reader.children(layout.INTERVALS) if n.endswith(layout.PRESENTATIONS_SUFFIX)]
    paths = [f"{layout.INTERVALS}/{name}" for name in tables]
    starts = [floats(reader, f"{path}/start_time") for path in paths]
    stops = [floats(reader, f"{path}/stop_time") for path in paths]
    for path, start, stop in zip(paths, starts, stops, strict=True):
        _check_length(reader, f"{path}/stop_time", len(stop), len(start))
        if not np.isfinite(start).all():
            msg = f"{path} of {reader.name} has presentations without a start_time: the file was written wrongly"
            raise FileFormatError(msg)
    ends = np.cumsum([0, *(len(s) for s in starts)])
    columns: dict[str, Coded] = {}
    for path, name, first, last in zip(paths, tables, ends[:-1], ends[1:], strict=True):
        skipped = {*layout.TIME_COLUMNS, *layout.BOOKKEEPING_COLUMNS}
        held = [c for c in column_names(reader, path) if c not in skipped]
        for column in held:
            codes, values = _coded(reader, f"{path}/{column}")
            _check_length(reader, f"{path}/{column}", len(codes), last - first)
            columns.setdefault(column, Coded.empty(ends[-1])).put(slice(first, last), codes, values)
        if "stimulus_name" not in held:
            plain = [name.removesuffix(layout.PRESENTATIONS_SUFFIX)]
            whole = columns.setdefault("stimulus_name", Coded.empty(ends[-1]))
            whole.put(slice(first, last), np.zeros(last - first, dtype=np.int64), plain)
    start_time = np.concatenate(starts) if starts else np.empty(0)
    stop_time = np.concatenate(stops) if stops else np.empty(0)
    order = np.argsort(start_time, kind="stable")
    for coded in columns.values():
        coded.codes = coded.codes[order]
    names = _released_names(columns.pop("stimulus_name", Coded.empty(0)))
    parameters = _released_parameters(columns)
    told_apart_by = [column.codes for name, column in parameters.items() if name not in NOT_OF_CONDITION]
    condition = rows_numbered([names.codes, *told_apart_by])
    return Presentations(start_time[order], stop_time[order], names, parameters, condition)


def _check_length(reader: NwbReader, path: str, found: int, expected: int) -> None:
    if found != expected:
        msg = f"{path} of {reader.name} has {found:,} values for {expected:,} presentations: it was written wrongly"
        raise FileFormatError(msg)


def _coded(reader: NwbReader, path: str) -> tuple[np.ndarray[Any, Any], list[Any]]:
    text = reader.coded_text(path)
    if text is not None:
        return text
    codes, values = pd.factorize(floats(reader, path))
    return codes, np.asarray(values).tolist()


def _released_names(names: Coded) -> Coded:
    """Return the stimulus names of the release; presentations without a name are spontaneous."""
    out = Coded.empty(len(names.codes))
    renamed = [released_name(str(name), names.levels) for name in names.levels]
    out.put(slice(None), names.codes, renamed)
    if np.any(out.codes < 0):
        gaps = Coded(np.where(out.codes < 0, 0, -1), ["spontaneous"])
        out = out.filled_from(gaps)
    return out


def _released_parameters(columns: dict[str, Coded]) -> dict[str, Coded]:
    """Return parameters under their released names, twins in spelling joined, RGB colors in a column of their own."""
    out = dict(columns)
    for name, twin in capital_twins(columns):
        _join(out, name, twin)
    for name, released in RELEASED_COLUMNS.items():
        if name in out and not (released in out and _join(out, released, name)):
            out[released if released not in out else name] = out.pop(name)
    color = out.get("color")
    if color is not None:
        triplet = np.array([is_triplet(parsed(v) if isinstance(v, str) else v) for v in color.levels] + [False])
        if triplet.any():
            held = triplet[color.codes]
            out["color_triplet"] = Coded(np.where(held, color.codes, -1), color.levels)
            out["color"] = _without_unused(Coded(np.where(held, -1, color.codes), color.levels))
            out["color_triplet"] = _without_unused(out["color_triplet"])
    return out


def _without_unused(column: Coded) -> Coded:
    out = Coded.empty(len(column.codes))
    used = np.unique(column.codes[column.codes >= 0])
    renumbered = np.full(len(column.levels) + 1, -1, dtype=np.int64)
    renumbered[used] = np.arange(len(used))
    out.codes, out.levels = renumbered[column.codes], [column.levels[u] for u in used]
    return out


def _join(columns: dict[str, Coded], name: str, other: str) -> bool:
    """Join column `other` into `name` unless some row has values in both; tell whether it was done."""
    if np.any((columns[name].codes >= 0) & (columns[other].codes >= 0)):
        return False
    columns[name] = columns[name].filled_from(columns.pop(other))
    return True


def invalid_mask(
    start_time: np.ndarray[Any, Any], stop_time: np.ndarray[Any, Any], invalid_times: pd.DataFrame
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Tell which presentations touch an invalid interval tagged 'stimulus' (touching ends count)."""
    mask = np.zeros(len(start_time), dtype=bool)
    for start, stop, tags in zip(
        invalid_times["start_time"], invalid_times["stop_time"], invalid_times["tags"], strict=True
    ):
        if "stimulus" in tags:
            mask |= (start_time <= stop) & (stop_time >= start)
    return mask


def read_invalid_times(reader: NwbReader) -> pd.DataFrame:
    """Return the file's invalid intervals: index ``id``; start_time, stop_time (s), tags (list of text).

    A file without any gives an empty frame with the same columns.
    """
    columns = ["start_time", "stop_time", "tags"]
    if not reader.has(layout.INVALID_TIMES):
        empty = pd.DataFrame({"start_time": np.empty(0), "stop_time": np.empty(0), "tags": np.empty(0, dtype=object)})
        return empty.set_index(pd.Index(np.empty(0, dtype=np.int64), name="id"))
    table = read_table(reader, layout.INVALID_TIMES, columns, exclude_ragged=False)
    table = table.assign(**{name: floats(reader, f"{layout.INVALID_TIMES}/{name}") for name in layout.TIME_COLUMNS})
    backwards = ~(table["start_time"] <= table["stop_time"]).to_numpy()  # also so where either is missing
    if backwards.any():
        first = table.loc[backwards].iloc[0]
        msg = (
            f"{layout.INVALID_TIMES} of {reader.name} has {int(backwards.sum())} intervals that do not end after they "
            f"start ({first['start_time']} to {first['stop_time']} s): what they make invalid cannot be known"
        )
        raise FileFormatError(msg)
    if "tags" not in table:
        table["tags"] = [[] for _ in range(len(table))]
    tags = [[tag] if isinstance(tag, str) else list(tag) for tag in table["tags"]]
    table["tags"] = pd.Series(tags, index=table.index, dtype=object)
    return table.reindex(columns=columns)


def shown_columns(table: pd.DataFrame, detailed: bool) -> pd.DataFrame:
    """Return the table without the parameters of drawing, unless `detailed`."""
    return table if detailed else table.drop(columns=list(DETAILED_COLUMNS), errors="ignore")
