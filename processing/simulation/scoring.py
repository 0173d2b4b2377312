"""Scoring a sorting against the truth, by the field's definition.

Two units agree by ``matches / (n1 + n2 - matches)``, where matches are spikes of the one within +-0.4 ms of one of the
other (Buccino et al., eLife 2020; Magland et al., eLife 2020), as in ``spikeinterface.comparison``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numba
import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import SpikeTrainError

from ..readers.phy import read_phy

if TYPE_CHECKING:
    import os

    import pandas as pd

    from .raw.recording import RawGroundTruth

Int64 = npt.NDArray[np.int64]

TOLERANCE_MS: Final = 0.4
#: Pairs that agree less than this are no match (Hungarian assignment), as in SpikeInterface.
LEAST_AGREEMENT: Final = 0.5
#: Agreement, accuracy and so on from which on a true unit counts as well found.
WELL_FOUND: Final = 0.8
#: Agreement below which a sorted unit belongs to no true unit at all, as in SpikeInterface.
CHANCE: Final = 0.2


@dataclass(frozen=True)
class SortingScore:
    """How a sorting compares with the truth.

    Attributes
    ----------
    agreement
        Table: true unit x sorted unit, 0 to 1.
    matches
        Table of the same shape: spikes in common.
    units
        Table, one row a true unit: n_true, sorted_unit (the unit assigned to it, or -1), n_sorted, n_matches, accuracy
        (matches / (true + sorted - matches)), recall (matches / true), precision (matches / sorted), miss_rate and
        false_discovery_rate.
    """

    agreement: pd.DataFrame
    matches: pd.DataFrame
    units: pd.DataFrame

    @property
    def n_well_found(self) -> int:
        """True units with an accuracy of at least 0.8."""
        return int((self.units["accuracy"] >= WELL_FOUND).sum())

    @property
    def false_positive_units(self) -> list[int]:
        """Sorted units that agree with no true unit by 0.2 or more: they are noise."""
        table = self.agreement.to_numpy()
        best = table.max(axis=0, initial=0.0)
        return self._unassigned(best < CHANCE)

    @property
    def redundant_units(self) -> list[int]:
        """Sorted units that agree by 0.2 or more with a true unit which another sorted unit fits better."""
        table = self.agreement.to_numpy()
        if not table.size:
            return []
        nearest = table.argmax(axis=0)
        best = table.max(axis=0)
        return self._unassigned((best >= CHANCE) & (table.argmax(axis=1)[nearest] != np.arange(len(best))))

    def _unassigned(self, condition: npt.NDArray[np.bool_]) -> list[int]:
        assigned = {int(unit) for unit in self.units["sorted_unit"]}
        return [int(unit) for unit in self.agreement.columns[condition] if int(unit) not in assigned]


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


def score_sorting(
    true_times: npt.ArrayLike,
    true_units: npt.ArrayLike,
    sorted_times: npt.ArrayLike,
    sorted_units: npt.ArrayLike,
    *,
    sampling_rate: float = 30_000.0,
    tolerance_ms: float = TOLERANCE_MS,
    n_true_units: int | None = None,
) -> SortingScore:
    """Compare a sorting with the true spikes.

    Parameters
    ----------
    true_times, sorted_times
        Sample numbers, in any order.
    true_units, sorted_units
        Unit of each spike, whole numbers.
    tolerance_ms
        Largest distance of two spikes that match; the window is ``int(tolerance_ms / 1000 * sampling_rate)`` samples.
    n_true_units
        Number of true units, where some may have no spike: they are listed with a recall of 0.

    Raises
    ------
    SpikeTrainError
        If times and units differ in number.
    """
    import pandas as pd
    from scipy.optimize import linear_sum_assignment

    times, units, ids = _ordered(true_times, true_units, "true")
    found, labels, sorted_ids = _ordered(sorted_times, sorted_units, "sorted")
    if n_true_units is not None:
        units, ids = ids[units], np.arange(n_true_units, dtype=np.int64)
    matches = np.zeros((len(ids), len(sorted_ids)), np.int64)
    count_matches(times, units, found, labels, int(tolerance_ms / 1000 * sampling_rate), matches)
    n_true = np.bincount(units, minlength=len(ids))
    n_sorted = np.bincount(labels, minlength=len(sorted_ids))
    either = n_true[:, None] + n_sorted[None, :] - matches
    agreement = np.divide(matches, either, out=np.zeros(matches.shape), where=either > 0)
    considered = np.where(agreement >= LEAST_AGREEMENT, agreement, 0.0)
    rows, columns = linear_sum_assignment(-considered)
    chosen = np.full(len(ids), -1, np.int64)
    real = considered[rows, columns] > 0
    chosen[rows[real]] = columns[real]
    index = pd.Index(ids, name="unit_id")
    names = pd.Index(sorted_ids, name="sorted_unit")
    return SortingScore(
        agreement=pd.DataFrame(agreement, index=index, columns=names),
        matches=pd.DataFrame(matches, index=index, columns=names),
        units=_unit_scores(index, sorted_ids, chosen, matches, n_true, n_sorted),
    )


def _ordered(times: npt.ArrayLike, units: npt.ArrayLike, which: str) -> tuple[Int64, Int64, Int64]:
    """Return times and unit numbers (counted from 0) in time order, and the units' ids."""
    samples, labels = np.asarray(times, dtype=np.int64).ravel(), np.asarray(units, dtype=np.int64).ravel()
    if len(samples) != len(labels):
        msg = f"{len(samples):,} {which} spike times but {len(labels):,} units: give one unit for each spike"
        raise SpikeTrainError(msg)
    order = np.argsort(samples, kind="stable")
    ids, index = np.unique(labels, return_inverse=True)
    return samples[order], index[order].astype(np.int64), ids


def _unit_scores(
    index: pd.Index[int], sorted_ids: Int64, chosen: Int64, matches: Int64, n_true: Int64, n_sorted: Int64
) -> pd.DataFrame:
    import pandas as pd

    has = chosen >= 0
    common, size = np.zeros(len(chosen), np.int64), np.zeros(len(chosen), np.int64)
    common[has] = matches[np.flatnonzero(has), chosen[has]]
    size[has] = n_sorted[chosen[has]]
    names = np.full(len(chosen), -1, np.int64)
    names[has] = sorted_ids[chosen[has]]

    def share(of: Int64) -> npt.NDArray[np.float64]:
        return np.divide(common, of, out=np.zeros(len(common)), where=of > 0)

    recall, precision = share(n_true), share(size)
    columns = {
        "n_true": n_true, "sorted_unit": names, "n_sorted": size, "n_matches": common,
        "accuracy": share(n_true + size - common), "recall": recall, "precision": precision,
        "miss_rate": 1.0 - recall, "false_discovery_rate": np.where(size > 0, 1.0 - precision, 0.0),
    }  # fmt: skip
    return pd.DataFrame(columns, index=index)


def score_phy_folder(folder: str | os.PathLike[str], truth: RawGroundTruth) -> SortingScore:
    """Compare the clusters of a phy folder, as they are in it now, with the units of a simulation."""
    found = read_phy(folder).spikes
    return score_sorting(
        truth.spike_times,
        truth.spike_units,
        found.samples,
        found.units,
        sampling_rate=truth.sampling_rate,
        n_true_units=len(truth.units),
    )
