"""Common median reference: what all channels of a probe share is taken out, sample by sample, after the filter.

As in the release's Kilosort 2. After the filter rather than before, so that it serves wide-band recordings too, whose
slow potentials differ along the probe. Medians are taken of values rounded to an eighth of a count, which makes them
exact in any order of work and cheap: a few comparisons of whole rows instead of a sort.
"""

from __future__ import annotations

from typing import Final

import numba
import numpy as np
import numpy.typing as npt

Int32 = npt.NDArray[np.int32]
Float32 = npt.NDArray[np.float32]

#: Steps of a median in one count.
STEPS: Final = np.float32(8.0)
ABSENT: Final = np.iinfo(np.int32).max
LOWEST: Final = np.iinfo(np.int32).min
#: Beyond this (counts) values are taken as equal: far more than 16 bits hold.
LARGEST: Final = np.float32(1e6)
#: Half width of the first guess around the sample before, steps.
GUESS: Final = 16


def reference_floors(members: npt.NDArray[np.bool_]) -> Int32:
    """Return what makes channels that are no `members` (bool, n_channels) sort behind all others."""
    return np.where(members, LOWEST, ABSENT).astype(np.int32)


@numba.njit(cache=True, nogil=True)
def _steps(row: Float32, floors: Int32, steps: Int32) -> None:
    for c in range(len(row)):
        bounded = min(max(row[c], -LARGEST), LARGEST)
        steps[c] = max(np.int32(np.rint(bounded * STEPS)), floors[c])


@numba.njit(cache=True, nogil=True)
def _at_most(steps: Int32, level: int) -> np.int64:
    bound, count = np.int32(level), np.int32(0)
    for c in range(len(steps)):
        count += np.int32(steps[c] <= bound)
    return np.int64(count)


@numba.njit(cache=True, nogil=True)
def lower_median(steps: Int32, n_members: int, guess: int) -> int:
    """Return the smallest value that at least half of the `n_members` present values do not exceed."""
    wanted = (n_members + 1) // 2
    width = GUESS
    low, high = guess - width, guess + width
    while _at_most(steps, low) >= wanted:
        width *= 2
        low, high = low - width, low
    while _at_most(steps, high) < wanted:
        width *= 2
        low, high = high, high + width
    while high - low > 1:
        middle = (low + high) // 2
        if _at_most(steps, middle) >= wanted:
            high = middle
        else:
            low = middle
    return high


@numba.njit(cache=True, nogil=True)
def subtract_common(samples: Float32, floors: Int32) -> None:
    """Subtract from each row of `samples` (n, n_channels), in place, the lower median over the members among them."""
    steps = np.empty(samples.shape[1], np.int32)
    n_members = (floors != ABSENT).sum()
    median = 0
    for t in range(samples.shape[0] if n_members else 0):
        row = samples[t]
        _steps(row, floors, steps)
        median = lower_median(steps, n_members, median)
        common = np.float32(median) / STEPS
        for c in range(len(row)):
            row[c] -= common
