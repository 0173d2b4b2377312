"""Statistics of spike counts by stimulus condition: one pass over the spikes, never a row per spike or presentation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from ..stimulus.conditions import CONDITION
from .counting import over_units
from .ragged import Floats, Integers, RaggedTimes, UnitTimes, Windows, within

if TYPE_CHECKING:
    import pandas as pd


@njit(cache=True, nogil=True)
def _statistics(
    values: Floats,
    starts: Integers,
    stops: Integers,
    begins: Floats,
    ends: Floats,
    order: Integers,
    open_left: bool,
    group: Integers,
    divisors: Floats,
    sizes: Integers,
    out_count: Integers,
    out_mean: Floats,
    out_std: Floats,
) -> None:
    """Fill ``out[unit, condition]`` with the sum of counts, and mean and sample standard deviation of count/divisor.

    Two passes over a unit's counts, the second about the mean: no cancellation, however large the counts.
    """
    n = len(order)
    responses = np.empty(n, dtype=np.float64)
    for unit in range(len(starts)):
        hint, stop = starts[unit], stops[unit]
        for k in range(n):
            window = order[k]
            hint, last = within(values, hint, stop, begins[window], ends[window], open_left)
            count = last - hint
            out_count[unit, group[window]] += count
            responses[window] = count / divisors[window]
        for window in range(n):
            out_mean[unit, group[window]] += responses[window]
        for condition in range(len(sizes)):
            out_mean[unit, condition] /= sizes[condition]
        for window in range(n):
            condition = group[window]
            out_std[unit, condition] += (responses[window] - out_mean[unit, condition]) ** 2
        for condition in range(len(sizes)):
            if sizes[condition] > 1:
                out_std[unit, condition] = np.sqrt(out_std[unit, condition] / (sizes[condition] - 1))
            else:
                out_std[unit, condition] = np.nan


def condition_statistics(
    ragged: UnitTimes,
    unit_ids: Integers,
    presentations: pd.DataFrame,
    use_rates: bool = False,
    open_left: bool = False,
) -> pd.DataFrame:
    """Return spike-count statistics of each unit in each condition.

    Parameters
    ----------
    ragged, unit_ids
        Spike times (s) and the units they belong to.
    presentations
        Rows of the presentations table; those without a condition (in invalid times) are left out.
    use_rates
        Divide each presentation's count by its duration (s).
    open_left
        Count in ``(start, stop]`` instead of ``[start, stop)``.

    Returns
    -------
    DataFrame
        Index (unit_id, stimulus_condition_id), by condition, then by unit id. Columns: spike_count
        (int64; absent if `use_rates`), stimulus_presentation_count (int64), spike_mean, spike_std (sample standard
        deviation, NaN for one presentation), spike_sem (``spike_std / sqrt(n)``).
    """
    import pandas as pd

    held = presentations[presentations[CONDITION].notna()]
    condition = held[CONDITION].to_numpy(dtype=np.int64)
    conditions, group, sizes = np.unique(condition, return_inverse=True, return_counts=True)
    begins, ends = held["start_time"].to_numpy(np.float64), held["stop_time"].to_numpy(np.float64)
    divisors = ends - begins if use_rates else np.ones(len(held))
    shape = (len(ragged), len(conditions))
    count, mean, std = np.zeros(shape, dtype=np.int64), np.zeros(shape), np.zeros(shape)
    order = np.argsort(begins, kind="stable")
    group, sizes = group.astype(np.int64), sizes.astype(np.int64)

    def fill(first: int, last: int, part: RaggedTimes) -> None:
        out = slice(first, last)
        _statistics(
            part.values,
            part.starts,
            part.stops,
            begins,
            ends,
            order,
            open_left,
            group,
            divisors,
            sizes,
            count[out],
            mean[out],
            std[out],
        )

    over_units(fill, ragged, Windows(begins, ends), len(held))
    by_id = np.argsort(unit_ids, kind="stable")
    count, mean, std = count[by_id], mean[by_id], std[by_id]
    data: dict[str, Any] = {} if use_rates else {"spike_count": count.T.ravel()}
    data["stimulus_presentation_count"] = np.repeat(sizes, shape[0])
    data["spike_mean"] = mean.T.ravel()
    data["spike_std"] = std.T.ravel()
    data["spike_sem"] = (std / np.sqrt(sizes)).T.ravel()
    index = pd.MultiIndex.from_arrays(
        [np.tile(unit_ids[by_id], shape[1]), np.repeat(conditions, shape[0])],
        names=["unit_id", CONDITION],
    )
    return pd.DataFrame(data, index=index, copy=False)
