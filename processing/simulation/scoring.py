"""Scoring a sorting against the truth, by the field's definition.

Two units agree by ``matches / (n1 + n2 - matches)``, where matches are spikes of the one within +-0.4 ms of one of the
other (Buccino et al., eLife 2020; Magland et al., eLife 2020), as in ``spikeinterface.comparison``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from ..readers.phy import read_phy
from ..sorting.agreement import TOLERANCE_MS, Agreement, agreement_of

if TYPE_CHECKING:
    import os

    import pandas as pd

    from .raw.recording import RawGroundTruth

Int64 = npt.NDArray[np.int64]

#: Agreement, accuracy and so on from which on a true unit counts as well found.
WELL_FOUND: Final = 0.8


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
    false_positive_units
        Sorted units that agree with no true unit by 0.2 or more: they are noise.
    redundant_units
        Sorted units that agree by 0.2 or more with a true unit which another sorted unit fits better.

    Examples
    --------
    >>> score = score_sorting([100, 400, 900], [0, 0, 1], [101, 401], [7, 7])
    >>> score.units[["sorted_unit", "accuracy"]].values.tolist()
    [[7.0, 1.0], [-1.0, 0.0]]
    """

    agreement: pd.DataFrame
    matches: pd.DataFrame
    units: pd.DataFrame
    false_positive_units: list[int]
    redundant_units: list[int]

    @property
    def n_well_found(self) -> int:
        """True units with an accuracy of at least 0.8.

        Examples
        --------
        >>> score_sorting([100, 400, 900], [0, 0, 1], [101, 401], [7, 7]).n_well_found
        1
        """
        return int((self.units["accuracy"] >= WELL_FOUND).sum())


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

    Examples
    --------
    >>> times, units = recorded.spike_times, recorded.spike_units
    >>> score = score_sorting(times, units, times + 2, units)
    >>> score.n_well_found
    6
    """
    ids = None if n_true_units is None else np.arange(n_true_units)
    found = agreement_of(
        true_times, true_units, sorted_times, sorted_units,
        sampling_rate=sampling_rate, tolerance_ms=tolerance_ms, first_ids=ids,
    )  # fmt: skip
    return SortingScore(
        agreement=found.table(found.scores, "unit_id", "sorted_unit"),
        matches=found.table(found.matches, "unit_id", "sorted_unit"),
        units=_unit_scores(found),
        false_positive_units=found.second_ids[found.unrelated].tolist(),
        redundant_units=found.second_ids[found.redundant].tolist(),
    )


def _unit_scores(found: Agreement) -> pd.DataFrame:
    import pandas as pd

    chosen, n_true = found.assigned, found.first_counts
    has = chosen >= 0
    common, size = np.zeros(len(chosen), np.int64), np.zeros(len(chosen), np.int64)
    common[has] = found.matches[np.flatnonzero(has), chosen[has]]
    size[has] = found.second_counts[chosen[has]]
    names = np.full(len(chosen), -1, np.int64)
    names[has] = found.second_ids[chosen[has]]

    def share(of: Int64) -> npt.NDArray[np.float64]:
        return np.divide(common, of, out=np.zeros(len(common)), where=of > 0)

    recall, precision = share(n_true), share(size)
    columns = {
        "n_true": n_true, "sorted_unit": names, "n_sorted": size, "n_matches": common,
        "accuracy": share(n_true + size - common), "recall": recall, "precision": precision,
        "miss_rate": 1.0 - recall, "false_discovery_rate": np.where(size > 0, 1.0 - precision, 0.0),
    }  # fmt: skip
    return pd.DataFrame(columns, index=pd.Index(found.first_ids, name="unit_id"))


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
