"""Undoing the differences in which compressed samples are stored (a module of its own: it loads numba)."""

from __future__ import annotations

from typing import Any, Final

import numba
import numpy as np
import numpy.typing as npt

#: Samples summed at a time: they and their columns stay in the processor's cache while they are turned over.
_TILE: Final = 128


@numba.njit(cache=True, nogil=True)
def sums_over_time(by_column: npt.NDArray[Any], samples: npt.NDArray[Any]) -> None:
    """Sum the differences (columns, n) of each column into `samples` (n, columns), which wrap around as they did."""
    n_columns, n_samples = by_column.shape
    reached = np.zeros(n_columns, samples.dtype)
    for first in range(0, n_samples, _TILE):
        last = min(first + _TILE, n_samples)
        for column in range(n_columns):
            value = reached[column]
            for t in range(first, last):
                value = np.int16(value + by_column[column, t])
                samples[t, column] = value
            reached[column] = value
