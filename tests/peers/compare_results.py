"""Compare two stores of :mod:`session_calls`: every difference as one line, values exactly, NaN equal to NaN."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

#: Names of dtypes that say the same: text in pandas 2 and 3, and times that pandas stores at other resolutions.
SAME_TYPE = {"object": "text", "str": "text", "string": "text"}


class Results:
    """What one package answered to every call."""

    def __init__(self, folder: Path) -> None:
        self.calls: dict[str, dict[str, Any]] = json.loads((folder / "results.json").read_text())
        self.arrays = np.load(folder / "arrays.npz")

    def values(self, column: dict[str, Any]) -> np.ndarray:
        return self.arrays[column["key"]] if column["kind"] == "numbers" else np.array(column["items"], dtype=object)


def differences(theirs: Results, ours: Results) -> list[str]:
    """Return ``"call: where: what"`` for everything in which the answers differ.

    Values of stimulus parameters are compared by what they say: AllenSDK's text ``'[20.0, 20.0]'`` equals the pair and
    the number 20.0, its text ``'null'`` a missing value. Means and deviations are compared to a relative 1e-9,
    everything else exactly.
    """
    found: list[str] = []
    for name in theirs.calls:
        one, other = theirs.calls[name], ours.calls[name]
        if ("error" in one) != ("error" in other):
            found.append(f"{name}: error: {one.get('error', 'a result')} | {other.get('error', 'a result')}")
        elif "error" not in one:
            found += [f"{name}: {line}" for line in _compare(one["value"], other["value"], theirs, ours)]
    return found


def _compare(one: Any, other: Any, theirs: Results, ours: Results) -> list[str]:
    if not isinstance(one, dict) or not isinstance(other, dict):
        return [] if one == other else [f"value: {str(one)[:80]} | {str(other)[:80]}"]
    kinds = (one["kind"], other["kind"])
    if set(kinds) <= {"numbers", "objects"}:
        return _columns(one, other, theirs, ours)
    if kinds[0] != kinds[1]:
        return [f"kind: {kinds[0]} | {kinds[1]}"]
    return _PARTS[kinds[0]](one, other, theirs, ours)


def _columns(one: Any, other: Any, theirs: Results, ours: Results) -> list[str]:
    a, b = theirs.values(one), ours.values(other)
    found = []
    types = [SAME_TYPE.get(c["dtype"], c["dtype"]) for c in (one, other)]
    if types[0] != types[1]:
        found.append(f"dtype: {one['dtype']} | {other['dtype']}")
    if a.shape[:1] == (1,) and a.shape[1:] == b.shape:
        found.append(f"shape: {a.shape} | {b.shape}")
        a = a[0]
    if a.ndim == 1 and b.ndim == 2:
        found.append(f"shape: {a.shape} | {b.shape}")
        b = _rows(b)
    if a.dtype == object or b.dtype == object:
        if a.shape != b.shape:
            # The same value as text and as number, or a missing one, makes a list of distinct values longer.
            what = "same distinct values" if _distinct(a) == _distinct(b) else "size"
            return [*found, f"{what}: {a.shape} | {b.shape}"]
        equal = np.array([_same(x, y) for x, y in zip(a.ravel().tolist(), b.ravel().tolist(), strict=True)], bool)
    elif a.shape != b.shape:
        return [*found, f"size: {a.shape} | {b.shape}"]
    else:
        equal = ((a == b) | ((a != a) & (b != b))).ravel()
        if a.dtype.kind == "f" and not equal.all():
            close = np.isclose(a, b, rtol=1e-9, atol=1e-9).ravel()
            if (equal | close).all():
                found.append(f"rounding: {(~equal).sum()} of {equal.size}")
                equal[:] = True
    if not equal.all():
        k = int(np.argmin(equal))
        found.append(f"values: {(~equal).sum()} of {equal.size}: {a.ravel()[k]!r} | {b.ravel()[k]!r} at {k}")
    return found


def _rows(array: np.ndarray) -> np.ndarray:
    rows = np.empty(len(array), dtype=object)
    rows[:] = [row.tolist() for row in array]
    return rows


def _same(x: Any, y: Any) -> bool:
    x, y = _meaning(x), _meaning(y)
    missing = [v is None or v != v for v in (x, y)]
    return all(missing) or (not any(missing) and x == y)


def _distinct(array: np.ndarray) -> list[str]:
    """Return the distinct values of a column, missing ones left out, in order."""
    values = (_meaning(value) for value in array.tolist())
    # 3 and 3.0 are one value here.
    numbers = (float(v) if isinstance(v, (int, float)) else v for v in values)
    return list(dict.fromkeys(repr(v) for v in numbers if v is not None and v == v))


def _meaning(value: Any) -> Any:
    """Return what a text of AllenSDK's stimulus tables says: a number, a list of numbers, nothing, or itself.

    A list of equal numbers, such as a size that is the same in both directions, is that number.
    """
    if isinstance(value, str):
        if value in {"null", ""}:
            return None
        try:
            value = json.loads(value)
        except ValueError:
            return value
    if isinstance(value, (list, tuple)):
        return value[0] if len(value) > 1 and len(set(value)) == 1 else list(value)
    return value


def _frame(one: Any, other: Any, theirs: Results, ours: Results) -> list[str]:
    found = [f"index: {line}" for line in _compare(one["index"], other["index"], theirs, ours)]
    a, b = dict(one["columns"]), dict(other["columns"])
    found += [f"only theirs: {name}" for name in a if name not in b]
    found += [f"only ours: {name}" for name in b if name not in a]
    if [k for k in a if k in b] != [k for k in b if k in a]:
        found.append(f"order of columns: {[k for k in a if k in b]} | {[k for k in b if k in a]}")
    for name in a:
        if name in b:
            found += [f"[{name}] {line}" for line in _series(a[name], b[name], theirs, ours, index=False)]
    return found


def _series(one: Any, other: Any, theirs: Results, ours: Results, *, index: bool = True) -> list[str]:
    found = [f"index: {line}" for line in _compare(one["index"], other["index"], theirs, ours)] if index else []
    return found + _columns(one["values"], other["values"], theirs, ours)


def _index(one: Any, other: Any, theirs: Results, ours: Results) -> list[str]:
    found = [] if one["name"] == other["name"] else [f"name: {one['name']} | {other['name']}"]
    return found + _columns(one["values"], other["values"], theirs, ours)


def _multiindex(one: Any, other: Any, theirs: Results, ours: Results) -> list[str]:
    found = [] if one["names"] == other["names"] else [f"names: {one['names']} | {other['names']}"]
    for a, b in zip(one["levels"], other["levels"], strict=True):
        found += _columns(a, b, theirs, ours)
    return found


def _array(one: Any, other: Any, theirs: Results, ours: Results) -> list[str]:
    found = [] if one["dims"] == other["dims"] else [f"dims: {one['dims']} | {other['dims']}"]
    for name in one["coords"]:
        if name not in other["coords"]:
            found.append(f"only theirs: coordinate {name}")
        else:
            found += [f"({name}) {line}" for line in _columns(one["coords"][name], other["coords"][name], theirs, ours)]
    found += [f"only ours: coordinate {name}" for name in other["coords"] if name not in one["coords"]]
    return found + _columns(one["values"], other["values"], theirs, ours)


def _dict(one: Any, other: Any, theirs: Results, ours: Results) -> list[str]:
    a, b = dict(one["items"]), dict(other["items"])
    found = [f"only theirs: key {name}" for name in a if name not in b]
    found += [f"only ours: key {name}" for name in b if name not in a]
    if set(a) == set(b) and list(a) != list(b):
        found.append("order of keys")
    for name in a:
        if name in b:
            found += [f"[{name}] {line}" for line in _compare(a[name], b[name], theirs, ours)]
    return found


def _list(one: Any, other: Any, theirs: Results, ours: Results) -> list[str]:
    if len(one["items"]) != len(other["items"]):
        return [f"length: {len(one['items'])} | {len(other['items'])}"]
    found = []
    for a, b in zip(one["items"], other["items"], strict=True):
        found += _compare(a, b, theirs, ours)
    return found


_PARTS = {
    "frame": _frame,
    "series": _series,
    "index": _index,
    "multiindex": _multiindex,
    "array": _array,
    "dict": _dict,
    "list": _list,
}
