"""Which spikes two sortings of one recording have in common, and which of their units are the same.

Two units agree by ``matches / (n1 + n2 - matches)``, where matches are spikes of the one within +-0.4 ms of one of the
other (Buccino et al., eLife 2020; Magland et al., eLife 2020), as in ``spikeinterface.comparison``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numba
import numpy as np
import numpy.typing as npt

from ..sorted_spikes import SortedSpikes

if TYPE_CHECKING:
    import pandas as pd

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]

#: Largest distance of two spikes that match (ms).
TOLERANCE_MS: Final = 0.4
#: Pairs that agree less than this are no match (Hungarian assignment), as in SpikeInterface.
LEAST_AGREEMENT: Final = 0.5
#: Agreement below which a unit has nothing to do with any of the other sorting, as in SpikeInterface.
CHANCE: Final = 0.2


@dataclass(frozen=True, eq=False)
class Agreement:
    """How the units of two sortings agree.

    Attributes
    ----------
    first_ids, second_ids
        Units of both sortings, ascending.
    first_counts, second_counts
        Their spikes.
    matches
        Spikes in common, shape (units of the first, units of the second).

    Examples
    --------
    >>> same = agreement_of([10, 50, 90], [1, 1, 2], [10, 51, 91], [5, 5, 6])
    >>> same.scores
    array([[1., 0.],
           [0., 1.]])
    """

    first_ids: Int64
    second_ids: Int64
    first_counts: Int64
    second_counts: Int64
    matches: Int64

    @cached_property
    def scores(self) -> Float64:
        """Agreement of each pair, 0 to 1, in the shape of `matches`.

        Examples
        --------
        >>> agreement_of([10, 50, 90], [1, 1, 1], [10, 50], [5, 5]).scores.round(2)
        array([[0.67]])
        """
        either = self.first_counts[:, None] + self.second_counts[None, :] - self.matches
        scores: Float64 = np.divide(self.matches, either, out=np.zeros(self.matches.shape), where=either > 0)
        return scores

    @cached_property
    def assigned(self) -> Int64:
        """For each unit of the first, the row of the one of the second that is the same; -1 where there is none.

        The pairs of at least 0.5 whose sum of agreement is largest (Hungarian assignment).

        Examples
        --------
        >>> same = agreement_of([10, 50, 90], [1, 1, 2], [10, 51], [5, 5])
        >>> same.first_ids, same.assigned
        (array([1, 2]), array([ 0, -1]))
        """
        from scipy.optimize import linear_sum_assignment

        considered = np.where(self.scores >= LEAST_AGREEMENT, self.scores, 0.0)
        rows, columns = linear_sum_assignment(-considered)
        chosen = np.full(len(self.first_ids), -1, np.int64)
        real = considered[rows, columns] > 0
        chosen[rows[real]] = columns[real]
        return chosen

    @property
    def unrelated(self) -> npt.NDArray[np.bool_]:
        """Units of the second that agree with none of the first by 0.2 or more.

        Examples
        --------
        >>> agreement_of([10, 50], [1, 1], [10, 50, 700], [5, 5, 6]).unrelated
        array([False,  True])
        """
        return self._left_over(self.scores.max(axis=0, initial=0.0) < CHANCE)

    @property
    def redundant(self) -> npt.NDArray[np.bool_]:
        """Units of the second that agree by 0.2 or more with one of the first which another of the second fits better.

        An assigned unit is neither `unrelated` nor `redundant`.

        Examples
        --------
        >>> halves = agreement_of([10, 50, 90], [1, 1, 1], [10, 50, 90], [5, 5, 6])
        >>> halves.second_ids, halves.redundant
        (array([5, 6]), array([False,  True]))
        """
        if not self.scores.size:
            return np.zeros(len(self.second_ids), dtype=bool)
        nearest, best = self.scores.argmax(axis=0), self.scores.max(axis=0)
        return self._left_over((best >= CHANCE) & (self.scores.argmax(axis=1)[nearest] != np.arange(len(best))))

    def _left_over(self, condition: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        taken = np.zeros(len(self.second_ids), dtype=bool)
        taken[self.assigned[self.assigned >= 0]] = True
        return condition & ~taken

    def table(self, values: npt.NDArray[np.generic], first: str, second: str) -> pd.DataFrame:
        """Return `scores` or `matches` with the units' ids, whose axes get these names.

        Examples
        --------
        >>> same = agreement_of([10, 50, 90], [1, 1, 2], [10, 51, 91], [5, 5, 6])
        >>> same.table(same.matches, "by hand", "sorter")
        sorter   5  6
        by hand
        1        2  0
        2        0  1
        """
        import pandas as pd

        index, columns = pd.Index(self.first_ids, name=first), pd.Index(self.second_ids, name=second)
        return pd.DataFrame(values, index=index, columns=columns)


@numba.njit(cache=True, nogil=True)
def count_matches(
    times: Int64, units: Int64, sorted_times: Int64, sorted_units: Int64, tolerance: int, out: Int64
) -> None:
    """Add to ``out[unit, sorted unit]`` the spikes in common, each counted once on both sides.

    Both trains are in time order. A spike with several partners of one unit takes the first that is free, so that the
    later ones stay free for later spikes.
    """
    n_units, n_sorted = out.shape
    last_true = np.full((n_units, n_sorted), np.int64(-1))
    last_sorted = np.full((n_units, n_sorted), np.int64(-1))
    first = 0
    for i in range(len(times)):
        while first < len(sorted_times) and sorted_times[first] < times[i] - tolerance:
            first += 1
        j = first
        while j < len(sorted_times) and sorted_times[j] <= times[i] + tolerance:
            u, v = units[i], sorted_units[j]
            if last_true[u, v] != i and last_sorted[u, v] < j:
                out[u, v] += 1
                last_true[u, v] = i
                last_sorted[u, v] = j
            j += 1


def agreement_of(
    first_times: npt.ArrayLike,
    first_units: npt.ArrayLike,
    second_times: npt.ArrayLike,
    second_units: npt.ArrayLike,
    *,
    sampling_rate: float = 30_000.0,
    tolerance_ms: float = TOLERANCE_MS,
    first_ids: npt.ArrayLike | None = None,
    second_ids: npt.ArrayLike | None = None,
) -> Agreement:
    """Compare two sortings of one recording.

    Parameters
    ----------
    first_times, second_times
        Sample numbers, in any order.
    first_units, second_units
        Unit of each spike, whole numbers.
    sampling_rate
        Samples in a second (Hz).
    tolerance_ms
        Largest distance of two spikes that match; the window is ``int(tolerance_ms / 1000 * sampling_rate)`` samples.
    first_ids, second_ids
        All units, where some may have no spike. Default: those that have one.

    Raises
    ------
    SpikeTrainError
        If times and units differ in number, times are no sample numbers, or spikes are of units that the ids do not
        name.

    Examples
    --------
    >>> agreement = agreement_of([100, 200, 300], [7, 7, 7], [101, 205, 900], [1, 1, 1])
    >>> agreement.scores
    array([[0.5]])
    """
    first = SortedSpikes.from_arrays(first_times, first_units, unit_ids=first_ids)
    second = SortedSpikes.from_arrays(second_times, second_units, unit_ids=second_ids)
    matches = np.zeros((first.n_units, second.n_units), np.int64)
    count_matches(*_ordered(first), *_ordered(second), int(tolerance_ms / 1000 * sampling_rate), matches)
    return Agreement(first.unit_ids, second.unit_ids, first.counts(), second.counts(), matches)


def _ordered(spikes: SortedSpikes) -> tuple[Int64, Int64]:
    """Return times and rows of units in time order."""
    order = np.argsort(spikes.samples, kind="stable")
    return spikes.samples[order], spikes.unit_index[order]
