"""Spike times of several units in one flat array, and searching in them.

Comparisons are the comparisons of NumPy: no tolerance anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numba import njit

Floats = np.ndarray[Any, np.dtype[np.float64]]


Integers = np.ndarray[Any, np.dtype[np.int64]]


#: Pauses between windows that are not read along, and how long they are at least (s): a session shows a stimulus in a
#: handful of blocks, minutes apart.
MOST_PAUSES = 7
LEAST_PAUSE = 20.0


@dataclass(frozen=True)
class RaggedTimes:
    """Spike times of several units: unit ``i`` is ``values[starts[i]:stops[i]]``, ascending.

    Attributes
    ----------
    values
        Float64 seconds; may hold other units in between.
    starts, stops
        Int64, one a unit.
    """

    values: Floats
    starts: Integers
    stops: Integers

    def __post_init__(self) -> None:
        # Kernels are compiled for one kind of array; those that a session keeps are read-only, so all are.
        values = self.values.view()
        values.flags.writeable = False
        object.__setattr__(self, "values", values)

    @classmethod
    def from_arrays(cls, arrays: Iterable[Any]) -> RaggedTimes:
        """Join one array of spike times a unit; a unit that is not ascending is sorted."""
        times = [np.asarray(a, dtype=np.float64).ravel() for a in arrays]
        times = [t if is_ascending(t) else np.sort(t) for t in times]
        stops = np.cumsum([len(t) for t in times], dtype=np.int64)
        values = np.concatenate(times) if times else np.empty(0)
        return cls(values, stops - np.array([len(t) for t in times], dtype=np.int64), stops)

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, position: int) -> Floats:
        return self.values[self.starts[position] : self.stops[position]]

    def __iter__(self) -> Iterator[Floats]:
        return (self[i] for i in range(len(self)))

    def part(self, first: int, last: int) -> RaggedTimes:
        """Return units `first` to `last` (excluded), sharing the values."""
        return RaggedTimes(self.values, self.starts[first:last], self.stops[first:last])

    def pieces(self, first: int, last: int, windows: Windows) -> Iterator[tuple[int, int, RaggedTimes]]:
        """Yield units `first` to `last` (excluded): all at once, as they are in memory."""
        yield first, last, self.part(first, last)

    def around(self, windows: Windows) -> RaggedTimes:
        """Return the spikes of all units, those in `windows` among them."""
        return self


@runtime_checkable
class UnitTimes(Protocol):
    """Spike times of several units as kernels take them, in memory or in a file."""

    @property
    def starts(self) -> Integers:
        """Where each unit's run of spikes begins (int64)."""
        ...

    @property
    def stops(self) -> Integers:
        """Where it ends."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, position: int, /) -> Floats: ...

    def __iter__(self) -> Iterator[Floats]: ...

    def part(self, first: int, last: int) -> UnitTimes:
        """Return units `first` to `last` (excluded)."""
        ...

    def pieces(self, first: int, last: int, windows: Windows) -> Iterator[tuple[int, int, RaggedTimes]]:
        """Yield units `first` to `last` (excluded) by groups, each with at least its spikes in `windows`."""
        ...

    def around(self, windows: Windows) -> RaggedTimes:
        """Return at least the spikes of all units in `windows`, in memory."""
        ...


@runtime_checkable
class HasRagged(Protocol):
    """Spike times that give themselves as kernels take them."""

    def ragged(self) -> UnitTimes:
        """Return the spike times of all units."""
        ...


class UnitSpikes(Protocol):
    """Spike times by unit id, which give themselves as kernels take them."""

    def ragged(self, unit_ids: Sequence[int] | Integers, /) -> UnitTimes:
        """Return the spike times of some units, in their order."""
        ...


@dataclass(frozen=True)
class Windows:
    """Intervals of time (s, float64) that kernels look at, ends included."""

    begins: Floats
    ends: Floats

    @classmethod
    def always(cls) -> Windows:
        """Return the interval that holds all times."""
        return cls(np.array([-np.inf]), np.array([np.inf]))

    def joined(self) -> Windows:
        """Return these windows joined across all but their longest pauses: a few spans, ascending.

        Windows that are NaN hold no spike and are left out.
        """
        whole = ~(np.isnan(self.begins) | np.isnan(self.ends))
        order = np.argsort(self.begins[whole], kind="stable")
        begins, ends = self.begins[whole][order], np.maximum.accumulate(self.ends[whole][order])
        if not len(begins):
            return Windows(np.empty(0), np.empty(0))
        pauses = begins[1:] - ends[:-1]
        longest = np.sort(np.argsort(pauses)[-MOST_PAUSES:])
        cuts = longest[pauses[longest] >= LEAST_PAUSE]
        return Windows(begins[np.concatenate(([0], cuts + 1))], ends[np.concatenate((cuts, [len(ends) - 1]))])


def as_ragged(spike_times: UnitTimes | HasRagged | Sequence[Any] | Mapping[int, Any]) -> UnitTimes:
    """Return spike times of any accepted kind as kernels take them; a mapping in the order of its keys."""
    if isinstance(spike_times, UnitTimes):
        return spike_times
    if isinstance(spike_times, HasRagged):
        return spike_times.ragged()
    return RaggedTimes.from_arrays(spike_times.values() if isinstance(spike_times, Mapping) else spike_times)


@njit(cache=True, nogil=True)
def first_not_below(values: Floats, low: int, high: int, bound: float) -> int:
    """Return the first index in ``[low, high)`` whose value is not below `bound`, else `high`; gallops from `low`."""
    step = 1
    while low + step <= high and values[low + step - 1] < bound:
        low += step
        step *= 2
    high = min(low + step - 1, high)
    while low < high:
        middle = (low + high) // 2
        if values[middle] < bound:
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True, nogil=True)
def first_above(values: Floats, low: int, high: int, bound: float) -> int:
    """Return the first index in ``[low, high)`` whose value is above `bound`, else `high`; gallops from `low`."""
    step = 1
    while low + step <= high and values[low + step - 1] <= bound:
        low += step
        step *= 2
    high = min(low + step - 1, high)
    while low < high:
        middle = (low + high) // 2
        if values[middle] <= bound:
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True, nogil=True)
def within(values: Floats, low: int, high: int, begin: float, end: float, open_left: bool) -> tuple[int, int]:
    """Return first and last (excluded) index of the values in ``[begin, end)``, or in ``(begin, end]`` if `open_left`.

    Both are searched from `low` on.
    """
    if open_left:
        low = first_above(values, low, high, begin)
        return low, first_above(values, low, high, end)
    low = first_not_below(values, low, high, begin)
    return low, first_not_below(values, low, high, end)


@njit(cache=True, nogil=True)
def is_ascending(values: Floats) -> bool:
    """Tell whether no value is below the one before it, and none is NaN."""
    if len(values) and values[0] != values[0]:
        return False
    for i in range(1, len(values)):  # noqa: SIM110 - numba compiles the loop several times faster than all()
        if not values[i] >= values[i - 1]:  # also so where either is NaN
            return False
    return True


@njit(cache=True, nogil=True)
def are_ascending(values: Floats, starts: Integers, stops: Integers) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Tell of each unit whether its spikes ascend."""
    out = np.empty(len(starts), dtype=np.bool_)
    for unit in range(len(starts)):
        out[unit] = is_ascending(values[starts[unit] : stops[unit]])
    return out
