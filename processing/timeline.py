"""When each sample of a recording was taken: files may leave out what was lost between computer and probe.

A file is a row of samples without holes, but the recorder numbers every sample that the probe took. Where these numbers
jump, a gap lies between two neighbouring samples of the file: their times differ by more than a sample's length, and
nothing that looks at neighbours - a filter, a template, a waveform - may look across.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import CorruptFileError

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]


#: No recording that means anything has more.
MOST_GAPS: Final = 10_000
#: No recording pauses for longer (s): a month. A number further on was damaged.
LONGEST_GAP: Final = 30 * 86_400.0
#: Numbers beyond are exact no more as seconds or samples in float64; a recorder takes 9,500 years to get there.
LARGEST_NUMBER: Final = 2**53

_DAMAGED: Final = "The file was damaged: copy it again, or split the recording there"


@dataclass(frozen=True, eq=False)
class Timeline:
    """The stretches of a recording that have no gap.

    Attributes
    ----------
    n_samples
        Samples in the file.
    starts
        int64 (n_stretches,): first sample of each stretch, counted in the file; the first is 0.
    numbers
        int64 (n_stretches,): the recorder's number of these samples.
    numbered
        Whether the recorder numbered them; else they are counted from 0, whenever the recording began.
    """

    n_samples: int
    starts: Int64
    numbers: Int64
    numbered: bool = True

    @classmethod
    def unbroken(cls, n_samples: int, first_number: int | None = None) -> Timeline:
        """Return the timeline of a recording without gaps; without a first number, one that nobody numbered."""
        first = np.array([first_number or 0], np.int64)
        return cls(n_samples, np.zeros(1, np.int64), first, first_number is not None)

    @classmethod
    def from_numbers(
        cls, numbers: npt.NDArray[np.integer[Any]], where: str, sampling_rate: float = 30_000.0
    ) -> Timeline:
        """Find the gaps in the recorder's numbers of all samples, which may be memory-mapped.

        Halves are compared first: of numbers that are as far apart as their places there is no need to read those
        between, so a recording of hours takes a few reads for each gap.

        Raises
        ------
        CorruptFileError
            If numbers repeat or go back, jump by more than a month at `sampling_rate`, or are no counter's.

        Examples
        --------
        >>> Timeline.from_numbers(np.array([7, 8, 9, 20, 21]), "a file").gaps.tolist()
        [[3, 10]]
        """
        n = len(numbers)
        if not n:
            return cls.unbroken(0)
        if int(numbers[0]) > LARGEST_NUMBER:
            msg = f"{where}: the first sample has the number {numbers[0]}; no recorder counts so far. {_DAMAGED}"
            raise CorruptFileError(msg)
        breaks: list[int] = []
        pending = [(0, n - 1)]
        while pending:
            first, last = pending.pop()
            if int(numbers[last]) - int(numbers[first]) == last - first:
                continue
            if last - first == 1:
                if numbers[last] <= numbers[first]:
                    msg = (
                        f"{where}: sample {last} has the number {numbers[last]}, the one before it {numbers[first]}; "
                        "numbers that repeat or go back tell no times. Record again, or split the file there"
                    )
                    raise CorruptFileError(msg)
                missing = int(numbers[last]) - int(numbers[last - 1]) - 1
                if missing > LONGEST_GAP * sampling_rate:
                    msg = (
                        f"{where}: sample {last} has the number {numbers[last]}, the one before it "
                        f"{numbers[last - 1]}: {missing / sampling_rate / 86_400:,.0f} days would be missing. "
                        f"{_DAMAGED}"
                    )
                    raise CorruptFileError(msg)
                breaks.append(last)
                if len(breaks) > MOST_GAPS:
                    msg = f"{where}: more than {MOST_GAPS:,} gaps; these are no numbers of consecutive samples"
                    raise CorruptFileError(msg)
                continue
            middle = (first + last) // 2
            pending += [(first, middle), (middle, last)]
        starts = np.array([0, *sorted(breaks)], np.int64)
        return cls(n, starts, np.asarray(numbers[starts]).astype(np.int64))

    @property
    def stops(self) -> Int64:
        """Sample after the last of each stretch, int64 (n_stretches,)."""
        return np.append(self.starts[1:], self.n_samples).astype(np.int64)

    @property
    def stretches(self) -> list[tuple[int, int]]:
        """Samples ``[start, stop)`` of each stretch."""
        return list(zip(self.starts.tolist(), self.stops.tolist(), strict=True))

    @property
    def gaps(self) -> Int64:
        """Gaps, int64 (n_gaps, 2): the first sample after each, and how many samples are missing before it."""
        missing = np.diff(self.numbers - self.starts)
        return np.column_stack([self.starts[1:], missing])

    @property
    def n_missing(self) -> int:
        """Samples that are missing."""
        return int(self.gaps[:, 1].sum())

    def elapsed(self, samples: npt.ArrayLike) -> Int64:
        """Return how many samples the probe took from the first on, gaps included, to each sample of the file."""
        at = np.asarray(samples, dtype=np.int64)
        stretch = np.clip(np.searchsorted(self.starts, at, side="right") - 1, 0, None)
        offsets = self.numbers - self.numbers[0] - self.starts
        elapsed: Int64 = at + offsets[stretch]
        return elapsed

    def times(self, samples: npt.ArrayLike, sampling_rate: float) -> Float64:
        """Return seconds since the first sample, float64."""
        return self.elapsed(samples) / sampling_rate

    def invalid_times(self, sampling_rate: float) -> Float64:
        """Return start and stop (s since the first sample) of each gap, float64 (n_gaps, 2)."""
        after, missing = self.gaps.T
        stop = self.elapsed(after)
        return np.column_stack([stop - missing, stop]) / sampling_rate

    def holds(self, starts: npt.ArrayLike, length: int) -> npt.NDArray[np.bool_]:
        """Return which windows ``[start, start + length)`` no gap cuts; they may reach past the recording's ends."""
        first = np.asarray(starts, dtype=np.int64)
        inside = np.searchsorted(self.starts[1:], first, side="right")
        whole: npt.NDArray[np.bool_] = inside == np.searchsorted(self.starts[1:], first + length - 1, side="right")
        return whole

    def as_facts(self) -> dict[str, list[int]]:
        """Return starts and numbers as lists."""
        return {"starts": self.starts.tolist(), "numbers": self.numbers.tolist()}

    @classmethod
    def from_facts(cls, n_samples: int, facts: dict[str, list[int]] | None) -> Timeline:
        """Return the timeline that :meth:`as_facts` described; without facts there is no gap."""
        if facts is None:
            return cls.unbroken(n_samples)
        return cls(n_samples, np.array(facts["starts"], np.int64), np.array(facts["numbers"], np.int64))

    def within(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Return the parts of samples ``[start, stop)`` that no gap cuts."""
        cuts = self.starts[(self.starts > start) & (self.starts < stop)].tolist()
        edges = [start, *cuts, stop]
        return list(pairwise(edges))

    def longest(self, start: int, stop: int) -> tuple[int, int]:
        """Return the longest part of samples ``[start, stop)`` that no gap cuts."""
        return max(self.within(start, stop), key=lambda part: part[1] - part[0])

    def stretch_of(self, sample: int) -> tuple[int, int]:
        """Return the stretch ``[start, stop)`` that a sample is in."""
        i = max(int(np.searchsorted(self.starts, sample, side="right")) - 1, 0)
        return int(self.starts[i]), int(self.stops[i])
