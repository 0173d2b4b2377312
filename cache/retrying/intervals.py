"""Which bytes of a file are at hand: a set of disjoint half-open byte intervals."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

Interval = tuple[int, int]


class IntervalSet:
    """Disjoint, sorted, half-open intervals ``[start, stop)`` of byte offsets; neighbours are joined."""

    def __init__(self, intervals: Iterable[Interval] = ()) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []
        for start, stop in intervals:
            self.add(start, stop)

    def __iter__(self) -> Iterator[Interval]:
        return iter(list(zip(self._starts, self._stops, strict=True)))

    def __len__(self) -> int:
        return len(self._starts)

    def __repr__(self) -> str:
        return f"IntervalSet({list(self)})"

    @property
    def total(self) -> int:
        """Number of bytes in the set."""
        return sum(self._stops) - sum(self._starts)

    def add(self, start: int, stop: int) -> None:
        """Add ``[start, stop)``; an empty interval changes nothing."""
        if stop <= start:
            return
        first = bisect_left(self._stops, start)
        last = bisect_right(self._starts, stop)
        if first < last:
            start = min(start, self._starts[first])
            stop = max(stop, self._stops[last - 1])
        self._starts[first:last] = [start]
        self._stops[first:last] = [stop]

    def covers(self, start: int, stop: int) -> bool:
        """Tell whether every byte of ``[start, stop)`` is in the set."""
        if stop <= start:
            return True
        at = bisect_right(self._starts, start) - 1
        return at >= 0 and self._stops[at] >= stop

    def missing(self, start: int, stop: int) -> list[Interval]:
        """Return the parts of ``[start, stop)`` that are not in the set, in order."""
        gaps: list[Interval] = []
        at = max(0, bisect_right(self._stops, start))
        while start < stop:
            if at == len(self._starts) or self._starts[at] >= stop:
                gaps.append((start, stop))
                break
            if self._starts[at] > start:
                gaps.append((start, self._starts[at]))
            start = self._stops[at]
            at += 1
        return gaps


def join_close(intervals: Iterable[Interval], gap: int) -> list[Interval]:
    """Join intervals that lie at most `gap` bytes apart: one request for both costs less than two."""
    joined: list[Interval] = []
    for start, stop in sorted(intervals):
        if joined and start - joined[-1][1] <= gap:
            joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
        else:
            joined.append((start, stop))
    return joined


def split_long(intervals: Iterable[Interval], longest: int) -> list[Interval]:
    """Cut intervals into pieces of at most `longest` bytes, so that several connections can share them."""
    return [(at, min(at + longest, stop)) for start, stop in intervals for at in range(start, stop, longest)]
