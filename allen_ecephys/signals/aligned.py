"""Running, pupil and LFP on the time axis of trials, by one rule for all three.

**The rule.** A signal is taken as the straight lines between its samples. The value of a bin is the time average of
those lines over the bin: a bin narrower than the sampling interpolates, a wider one averages. A bin is NaN where it
reaches beyond the record, where it crosses two samples further apart than `max_gap`, and where a sample it needs is
NaN. Bins and their centres are those of the spike counts, so all fit into one xarray Dataset.

Imported on first use: it brings in numba and xarray.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numba import njit

from ..errors import InvalidValueError, UnknownNameError, suggest
from ..spikes.aligned import checked_edges
from ..stimulus.trials import ALIGNED_TIME, aligned_coords, windows

if TYPE_CHECKING:
    import pandas as pd

    from .lfp import LfpSamples

#: Bytes of LFP held at once while presentations are aligned.
LFP_BYTES = 64_000_000


@njit(cache=True, nogil=True)
def _mean_in_bins(times: np.ndarray, values: np.ndarray, edges: np.ndarray, max_gap: float, means: np.ndarray) -> None:
    """Fill ``means[trial, bin, feature]`` with time averages of the lines through ``values[feature, sample]``."""
    n = len(times)
    weights = np.zeros(n)
    for trial in range(edges.shape[0]):
        segment = max(np.searchsorted(times, edges[trial, 0], side="right") - 1, 0)
        for bin_ in range(edges.shape[1] - 1):
            begin, end = edges[trial, bin_], edges[trial, bin_ + 1]
            means[trial, bin_, :] = np.nan
            if n < 2 or begin < times[0] or end > times[n - 1]:
                continue
            while segment + 1 < n - 1 and times[segment + 1] <= begin:
                segment += 1
            last = segment
            complete = True
            while last < n - 1 and (last == segment or times[last] < end):
                width = times[last + 1] - times[last]
                low, high = max(begin, times[last]), min(end, times[last + 1])
                if high > low:
                    if width > max_gap:
                        complete = False
                        break
                    # A line's average is its value at the middle of the part that lies in the bin.
                    share = ((low + high) / 2 - times[last]) / width
                    weights[last] += (high - low) * (1 - share)
                    weights[last + 1] += (high - low) * share
                last += 1
            if complete:
                for feature in range(values.shape[0]):
                    total = 0.0
                    for sample in range(segment, last + 1):
                        if weights[sample] != 0:
                            total += weights[sample] * values[feature, sample]
                    means[trial, bin_, feature] = total / (end - begin)
            weights[segment : min(last + 2, n)] = 0


def mean_in_bins(times: np.ndarray, values: np.ndarray, edges: np.ndarray, max_gap: float) -> np.ndarray:
    """Return the average of signals in each bin of each trial, by the rule of this module.

    Parameters
    ----------
    times
        Sample times (s), ascending, shape (samples,).
    values
        Samples, shape (features, samples).
    edges
        Bin edges (s), shape (trials, bins + 1), ascending along a trial; trials in any order.
    max_gap
        Longest distance (s) between samples that a line bridges.

    Returns
    -------
    ndarray of float64, shape (trials, bins, features)
    """
    if not max_gap > 0:
        msg = f"max_gap must be a positive number of seconds; got {max_gap!r}"
        raise InvalidValueError(msg)
    means = np.empty((edges.shape[0], edges.shape[1] - 1, values.shape[0]))
    _mean_in_bins(
        np.ascontiguousarray(times, dtype=np.float64),
        np.ascontiguousarray(values),
        np.ascontiguousarray(edges, dtype=np.float64),
        float(max_gap),
        means,
    )
    return means


# --- the three signals --------------------------------------------------------------------------------------------


def align_running_speed(speed: pd.DataFrame, trials: pd.DataFrame, bin_edges: Any, max_gap: float) -> xr.DataArray:
    """Return the running speed (cm/s) of each trial, dims (trial, time).

    A speed is that of an interval; it is placed at the interval's middle.
    """
    edges = checked_edges(bin_edges)
    times = (speed["start_time"].to_numpy() + speed["end_time"].to_numpy()) / 2
    means = mean_in_bins(times, speed["velocity"].to_numpy()[np.newaxis], windows(trials, edges), max_gap)
    return xr.DataArray(
        means[..., 0],
        dims=(str(trials.index.name), ALIGNED_TIME),
        coords=aligned_coords(trials, edges),
        name="running_speed",
        attrs={"units": "cm/s"},
    )


def align_pupil(
    pupil: pd.DataFrame, trials: pd.DataFrame, bin_edges: Any, columns: Sequence[str] | None, max_gap: float
) -> xr.Dataset:
    """Return columns of the pupil table for each trial: one variable a column, dims (trial, time)."""
    edges = checked_edges(bin_edges)
    columns = [columns] if isinstance(columns, str) else columns
    wanted = [c for c in pupil.columns if c.startswith("pupil_")] if columns is None else list(columns)
    for column in wanted:
        if column not in pupil:
            msg = f"the pupil data have no column {column!r}{suggest(column, pupil.columns)}"
            raise UnknownNameError(msg)
    values = pupil[wanted].to_numpy(dtype=np.float64).T
    means = mean_in_bins(pupil.index.to_numpy(dtype=np.float64), values, windows(trials, edges), max_gap)
    units = {column: {"units": "radians" if column.endswith("_phi") else "pixels"} for column in wanted}
    variables = {c: ((str(trials.index.name), ALIGNED_TIME), means[..., i], units[c]) for i, c in enumerate(wanted)}
    return xr.Dataset(variables, coords=aligned_coords(trials, edges))


def align_lfp(
    samples: LfpSamples, channels: np.ndarray, columns: np.ndarray, trials: pd.DataFrame, bin_edges: Any, max_gap: float
) -> xr.DataArray:
    """Return the LFP (V, float32) of each trial, dims (trial, time, channel).

    Parameters
    ----------
    samples
        The probe's LFP.
    channels
        Ids of the channels wanted.
    columns
        Their columns in `samples`.
    trials, bin_edges, max_gap
        As for the other signals.

    Notes
    -----
    Trials are visited in order of time; about 64 MB of LFP are in memory at once, besides the result.
    """
    edges = checked_edges(bin_edges)
    per_trial = windows(trials, edges)
    out = np.full((len(per_trial), len(edges) - 1, len(columns)), np.nan, dtype=np.float32)
    for rows, first, last in _reads(samples, per_trial, max(1, LFP_BYTES // (4 * max(1, len(columns))))):
        times = samples.times.read(first, last)
        volts = samples.read(slice(first, last), columns)
        out[rows] = mean_in_bins(times, volts.T, per_trial[rows], max_gap)
    coords = aligned_coords(trials, edges) | {"channel": ("channel", channels, {"long_name": "channel id"})}
    dims = (str(trials.index.name), ALIGNED_TIME, "channel")
    return xr.DataArray(out, dims=dims, coords=coords, name="LFP", attrs={"units": "V"})


def _reads(samples: LfpSamples, edges: np.ndarray, most: int) -> Iterator[tuple[np.ndarray, int, int]]:
    """Yield groups of trials and the range of samples they need, at most `most` samples unless one trial needs more."""
    if not len(edges):
        return
    first = np.maximum(samples.times.search(edges[:, 0], "right") - 1, 0)
    last = np.minimum(samples.times.search(edges[:, -1], "left") + 1, len(samples.times))
    order = np.argsort(first, kind="stable")
    group = [int(order[0])]
    for trial in map(int, order[1:]):
        begin, end = first[group[0]], max(last[group[-1]], last[trial])
        # Reading along a pause longer than a chunk costs more than a second read.
        if end - begin > most or first[trial] - last[group[-1]] > samples.table.block[0]:
            yield np.array(group), int(begin), int(last[group].max())
            group = []
        group.append(trial)
    yield np.array(group), int(first[group[0]]), int(last[group].max())
