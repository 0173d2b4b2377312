"""Barcodes: a number that goes to the sync file and to every probe, one more each time, about every 30 s.

A code is a start pulse, then one slot of 30 ms for each of 32 bits, least significant bit first. Both lines are read
by the same decoder, and only whether two codes are equal matters: the value read is not the counter on the wire.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import FileFormatError

Floats = npt.NDArray[np.float64]

#: Quiet time before a code, length of a bit, and time within which a code is over (s); number of bits.
QUIET: Final = 10.0
BIT_DURATION: Final = 0.03
LONGEST: Final = 2.0
N_BITS: Final = 32
#: The first code is kept where its distance from the second is that of two others, within this (s): one that began
#: before the recording has its first edge late by a bit or more.
FIRST_TOLERANCE: Final = 5e-3


@dataclass(frozen=True, eq=False)
class Barcodes:
    """Barcodes read from one line.

    Attributes
    ----------
    starts
        When each began, in the time of the edges given (float64).
    codes
        What was read (int64).

    Examples
    --------
    >>> codes = decode_barcodes([30, 32, 34], [31, 33, 35], bit_duration=1.0, longest=7, n_bits=4)
    >>> len(codes), codes.starts.tolist(), codes.codes.tolist()
    (1, [30.0], [5])
    """

    starts: Floats = field(repr=False)
    codes: npt.NDArray[np.int64] = field(repr=False)

    def __len__(self) -> int:
        return len(self.starts)


def decode_barcodes(
    rising: npt.ArrayLike,
    falling: npt.ArrayLike,
    *,
    quiet: float = QUIET,
    bit_duration: float = BIT_DURATION,
    longest: float = LONGEST,
    n_bits: int = N_BITS,
    keep_first: bool = True,
) -> Barcodes:
    """Read the barcodes on a line from its edges.

    A code begins with a rising edge after more than `quiet`. From its first falling edge on, slot by slot, a bit is 1
    where the line next rises before it next falls. (processing specification of the released files, section 2.2)

    Parameters
    ----------
    rising, falling
        Ascending times at which the line went up and down (s).
    quiet, bit_duration, longest, n_bits
        How codes are written.
    keep_first
        Whether the first rising edge may begin a code although nothing is known of the time before it. It then counts
        if it lies as far from the second code as some other two neighbours do. AllenSDK always drops it.

    Returns
    -------
    Barcodes
        Starts without any falling edge are no code and are left out.

    Examples
    --------
    >>> decode_barcodes([30, 32, 34], [31, 33, 35], bit_duration=1.0, longest=7, n_bits=4).codes
    array([5])
    """
    up, down = np.asarray(rising, dtype=np.float64), np.asarray(falling, dtype=np.float64)
    starts = up[np.flatnonzero(np.diff(up, prepend=-np.inf if keep_first else up[:1]) > quiet)]
    # One other interval of its length is enough: samples may be lost in any of them.
    first, *others = np.diff(starts) if len(starts) > 2 else [0.0]
    if keep_first and others and np.abs(np.array(others) - first).min() > FIRST_TOLERANCE:
        starts = starts[1:]
    # One code a row; edges outside its window are as good as never.
    end = starts + longest
    current = _next(down, starts)
    readable = current < end
    starts, end, current = starts[readable], end[readable], current[readable]
    codes = np.zeros(len(starts), dtype=np.int64)
    for bit in range(n_bits):
        rise, fall = (np.where(edge < end, edge, np.inf) for edge in (_next(up, current), _next(down, current)))
        codes |= (rise < fall).astype(np.int64) << bit
        current = current + bit_duration
    return Barcodes(starts, codes)


def _next(edges: Floats, after: Floats) -> Floats:
    """Return the first edge after each time, infinity where there is none."""
    return np.append(edges, np.inf)[np.searchsorted(edges, after, side="right")]


@dataclass(frozen=True, eq=False)
class ProbeEvents:
    """Changes of the barcode line as a probe recorded them.

    Attributes
    ----------
    samples
        Sample number of each event, int64.
    states
        1 for up, -1 for down, 0 for a break in the recording.

    Examples
    --------
    >>> events = ProbeEvents.from_arrays(samples=[100, 400, 900], states=[1, -1, 0])
    >>> events.breaks
    array([900])
    """

    samples: npt.NDArray[np.int64] = field(repr=False)
    states: npt.NDArray[np.int64] = field(repr=False)

    @classmethod
    def from_arrays(cls, samples: npt.ArrayLike, states: npt.ArrayLike, where: str = "the probe") -> ProbeEvents:
        """Check sample numbers and states, as Open Ephys writes them (other lines than the first are left out).

        Raises
        ------
        FileFormatError
            If they differ in number, or sample numbers go backwards (a recording that was started again).

        Examples
        --------
        >>> ProbeEvents.from_arrays(samples=[100, 400, 500], states=[1, 3, -1]).samples
        array([100, 500])
        >>> ProbeEvents.from_arrays(samples=[400, 100], states=[1, -1])
        Traceback (most recent call last):
            ...
        allen_ecephys.errors.FileFormatError: the probe: sample numbers of events go backwards (400...
        """
        number, state = np.asarray(samples).astype(np.int64).ravel(), np.asarray(states).astype(np.int64).ravel()
        if len(number) != len(state):
            msg = f"{where}: {len(number):,} event times, but {len(state):,} states; they are not of one recording"
            raise FileFormatError(msg)
        ours = np.abs(state) <= 1
        number, state = number[ours], state[ours]
        back = np.flatnonzero(np.diff(number) < 0)
        if len(back):
            msg = (
                f"{where}: sample numbers of events go backwards ({number[back[0]]:,} is followed by "
                f"{number[back[0] + 1]:,}): the recording was started again; give each of its parts by itself"
            )
            raise FileFormatError(msg)
        return cls(number, state)

    @property
    def breaks(self) -> npt.NDArray[np.int64]:
        """Samples at which the recording was broken off and went on.

        Examples
        --------
        >>> ProbeEvents.from_arrays(samples=[100, 400, 900], states=[1, -1, 0]).breaks
        array([900])
        """
        return np.asarray(self.samples[self.states == 0])

    def barcodes(self, nominal_rate: float, *, keep_first: bool = True) -> Barcodes:
        """Read the barcodes, their starts in seconds at the nominal rate.

        Examples
        --------
        >>> up, down = np.array([900_000, 930_000]), np.array([900_900, 930_900])
        >>> events = ProbeEvents.from_arrays(np.sort(np.append(up, down)), [1, -1, 1, -1])
        >>> events.barcodes(30_000.0).starts
        array([30.])
        """
        seconds = self.samples / nominal_rate
        return decode_barcodes(seconds[self.states == 1], seconds[self.states == -1], keep_first=keep_first)
