"""Responses ready for analysis: peri-stimulus time histograms, and trials x units of one stimulus.

Imported on first use: it brings in xarray and numba.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from ..errors import InvalidTypeError, InvalidValueError, MissingDataError, UnknownNameError, suggest
from ..stimulus.epochs import tightened
from ..stimulus.trials import ALIGNED_TIME, PRESENTATION, aligned_coords, require_columns, selected_trials, windows
from .aligned import checked_edges, checked_window
from .counting import count_in_bins, count_in_windows

if TYPE_CHECKING:
    from .ragged import UnitSpikes
    from .store import SpikeTimes

#: Bytes of counts held at once while a histogram is made.
COUNT_BYTES = 64_000_000

#: A Gaussian is cut off here (standard deviations): what lies beyond weighs 6e-5.
KERNEL_REACH = 4.0

#: Columns of a presentations table that are times of the trial, not parameters of the stimulus.
TRIAL_TIMES = ("start_time", "stop_time", "duration")

#: Columns of the units table that go along as coordinates.
WHERE = ("ecephys_structure_acronym", "probe_description", "probe_vertical_position")
UNIT_COORDINATES = (*WHERE, "firing_rate", "snr")


def psth(
    spike_times: UnitSpikes,
    unit_ids: np.ndarray,
    trials: pd.DataFrame,
    bin_edges: Any,
    smoothing: float | None,
    by: str | None,
) -> xr.Dataset:
    """Return the firing rate around stimulus onset, averaged over trials, with its standard error.

    Parameters
    ----------
    spike_times
        The session's spikes.
    unit_ids
        Units, in the order wanted.
    trials
        Rows with ``start_time`` (s).
    bin_edges
        Ascending times (s) from onset; bins are half-open, ``[a, b)``.
    smoothing
        Standard deviation (s) of a Gaussian that smooths each trial's rate, cut off at 4 standard deviations; None
        for none. Spikes outside the window are counted in, so the ends of the window are not pulled down.
    by
        Column of the trials: one average for each of its values, instead of one for all trials. Trials without a value
        are left out.

    Returns
    -------
    Dataset
        ``rate`` and ``sem`` (Hz; dims ``unit_id`` x time, before it the dimension named by `by`) and
        ``presentation_count``. The standard error is the standard deviation over trials (n - 1) over the root of
        their number, NaN for a single trial.

    Raises
    ------
    UnknownNameError
        If `by` is no column.
    InvalidValueError
        If edges do not ascend, or `smoothing` is asked of uneven bins.
    """
    edges = checked_edges(bin_edges)
    groups, labels = _groups(trials, by)
    wider, kernel = _smoothing(edges, smoothing)
    widths = np.diff(wider)
    shape = (len(labels), len(unit_ids), len(edges) - 1)
    rate, sem = np.full(shape, np.nan), np.full(shape, np.nan)
    ragged = spike_times.ragged(unit_ids)
    for first, last in _unit_blocks(len(unit_ids), len(trials) * len(widths)):
        counts = count_in_bins(ragged.part(first, last), windows(trials, wider))
        rates = _smoothed(counts / widths, kernel)
        for group in range(len(labels)):
            # In this order, so that the sum over a unit's trials does not depend on which units are beside it.
            chosen = np.ascontiguousarray(rates[:, groups == group])
            n = chosen.shape[1]
            if n:
                rate[group, first:last] = chosen.mean(axis=1)
            if n > 1:
                sem[group, first:last] = chosen.std(axis=1, ddof=1) / np.sqrt(n)
    dims: tuple[str, ...] = ("unit_id", ALIGNED_TIME)
    sizes: Any = np.bincount(groups[groups >= 0], minlength=len(labels))
    if by is None:
        rate, sem, sizes = rate[0], sem[0], sizes[0]
    else:
        dims = (by, *dims)
    coords = {ALIGNED_TIME: aligned_coords(trials, edges)[ALIGNED_TIME], "unit_id": unit_ids}
    counted = (dims[:1] if by is not None else (), sizes)
    variables = {"rate": (dims, rate, {"units": "Hz"}), "sem": (dims, sem, {"units": "Hz"})}
    attributes = {"smoothing_s": 0.0 if smoothing is None else float(smoothing)}
    return xr.Dataset(
        {**variables, "presentation_count": counted},
        coords=coords | ({} if by is None else {by: labels}),
        attrs=attributes,
    )


def located(answer: xr.Dataset, units: pd.DataFrame) -> xr.Dataset:
    """Return an answer with structure, probe and depth of its units as coordinates."""
    rows = units.loc[answer["unit_id"].to_numpy()]
    return answer.assign_coords({name: ("unit_id", _plain(rows[name])) for name in WHERE if name in rows})


def responses(
    spike_times: UnitSpikes,
    units: pd.DataFrame,
    presentations: pd.DataFrame,
    stimulus: str | pd.DataFrame,
    window: tuple[float, float] | None,
) -> xr.Dataset:
    """Return how each unit answered each presentation of a stimulus.

    Parameters
    ----------
    spike_times
        The session's spikes.
    units
        Rows of the units table, in the order wanted.
    presentations
        The session's presentations.
    stimulus
        A name of ``session.stimulus_names``, or a table with ``start_time`` (s), and ``stop_time`` unless a window is
        given.
    window
        Begin and end (s) from onset, ``[begin, end)``; None: each presentation from start to stop.

    Returns
    -------
    Dataset
        ``spike_count`` (int32) and ``rate`` (Hz, float64), dims ``stimulus_presentation_id`` x ``unit_id``, trials in
        order of time. Each parameter of the stimulus, ``is_blank``, ``stimulus_block`` and
        ``stimulus_condition_id`` is a coordinate of the trials (NaN where a trial has none), or each column of the
        table, whose trials are called ``trial_id`` and keep its order; structure, probe and depth are coordinates of
        the units.

    Raises
    ------
    UnknownNameError
        If the session has no stimulus of that name.
    InvalidTypeError
        For more than one name, or what is neither name nor table.
    FileFormatError
        If a table lacks its times.
    InvalidValueError
        If the window is empty, or a column of the table is called as the answer's own.
    """
    window = None if window is None else checked_window(window)
    table = response_trials(stimulus, presentations, window)
    starts = table["start_time"].to_numpy(dtype=np.float64)
    if window is None:
        stops = table["stop_time"].to_numpy(dtype=np.float64)
    else:
        starts, stops = starts + window[0], starts + window[1]
    ids = units.index.to_numpy()
    counts = np.ascontiguousarray(count_in_windows(spike_times.ragged(ids), starts, stops).T)
    duration = (stops - starts)[:, np.newaxis]
    rates = np.divide(counts, duration, out=np.full(counts.shape, np.nan), where=duration > 0)
    named = isinstance(stimulus, str)
    trial = PRESENTATION if named else str(table.index.name)
    dims = (trial, "unit_id")
    coords: dict[str, Any] = {trial: table.index.to_numpy(), "unit_id": ids}
    for name, column in table.items():
        if not (named and name == "stimulus_name") and (name in TRIAL_TIMES or not column.isna().all()):
            coords[str(name)] = (trial, _plain(column))
    coords |= {name: ("unit_id", _plain(units[name])) for name in UNIT_COORDINATES if name in units}
    return xr.Dataset(
        {"spike_count": (dims, counts), "rate": (dims, rates, {"units": "Hz"})},
        coords=coords,
        attrs=({"stimulus_name": stimulus} if named else {})
        | {"window_s": "presentation" if window is None else list(window)},
    )


def spike_sample_indices(
    spike_times: SpikeTimes,
    units: pd.DataFrame,
    lfp_of: Callable[[int], xr.DataArray],
    unit_id: int,
    probe_start_time: float | None,
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return where a unit's spikes lie in its probe's raw spike band (``spike_band.dat``).

    Parameters
    ----------
    spike_times
        The session's spikes.
    units
        The units table: each unit's probe and its sampling rate (Hz).
    lfp_of
        Opens the LFP of a probe.
    unit_id
        The unit.
    probe_start_time
        Time (s, session clock) of the probe's first sample. Default: the first timestamp of the probe's LFP, which
        was made from the same samples.

    Returns
    -------
    ndarray of int64
        ``round((t - probe_start_time) * probe_sampling_rate)`` for each spike time.

    Raises
    ------
    UnknownIdError
        For a unit that the session does not show.
    MissingDataError
        If no `probe_start_time` is given and the probe has no LFP to take it from.

    Notes
    -----
    The file keeps a probe's rate on the session clock but not its offset, so the index is as good as the first LFP
    timestamp (within one LFP sample, 0.4 ms or 12 spike-band samples, if the LFP was not cut) and holds for a
    recording without pauses. Spike times are those of the sorter's template; the trough lies 0.6 to 0.8 ms later.
    """
    times = spike_times[unit_id]
    if probe_start_time is None:
        try:
            lfp = lfp_of(int(units["probe_id"].loc[unit_id]))
        except (MissingDataError, FileNotFoundError) as error:
            msg = f"the file does not say when the probe of unit {unit_id} started, and {error}. Give probe_start_time"
            raise MissingDataError(msg) from error
        probe_start_time = float(lfp["time"][0])
    samples: np.ndarray[Any, np.dtype[np.int64]] = np.rint(
        (times - probe_start_time) * float(units["probe_sampling_rate"].loc[unit_id])
    ).astype(np.int64)
    return samples


# --- parts --------------------------------------------------------------------------------------------------------


def response_trials(stimulus: object, presentations: pd.DataFrame, window: tuple[float, float] | None) -> pd.DataFrame:
    """Return the presentations of one stimulus, or a caller's own trials, with the times that responses need."""
    if isinstance(stimulus, pd.DataFrame):
        trials = selected_trials(stimulus, presentations)
        if window is None:
            require_columns(trials, "stop_time")
        taken = {"unit_id", "spike_count", "rate", str(trials.index.name), *UNIT_COORDINATES}
        twice = [str(name) for name in trials if str(name) in taken]
        if twice:
            msg = f"a table's columns become coordinates beside {', '.join(twice)}: rename the table's own"
            raise InvalidValueError(msg)
        return trials
    if not isinstance(stimulus, str):
        msg = f"responses are those to one stimulus, whose parameters are their coordinates; got {stimulus!r:.80}"
        raise InvalidTypeError(msg)
    table = presentations[presentations["stimulus_name"] == stimulus]
    if not len(table):
        known = list(dict.fromkeys(presentations["stimulus_name"]))
        msg = f"no stimulus {stimulus!r}{suggest(stimulus, known) or '.'} This session has: {', '.join(known)}"
        raise UnknownNameError(msg)
    return table


def _groups(trials: pd.DataFrame, by: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the group of each trial (-1: none) and what the groups are called, ascending where they can be."""
    if by is None:
        return np.zeros(len(trials), dtype=np.int64), np.zeros(1)
    if isinstance(by, (list, tuple, set)):
        msg = f"by is the name of one column; got {by!r}. A table with a column that joins them can be averaged by that"
        raise InvalidTypeError(msg)
    if by not in trials:
        msg = f"the trials have no column {by!r}{suggest(by, map(str, trials.columns))}"
        raise UnknownNameError(msg)
    values = _plain(trials[by])
    codes, labels = pd.factorize(values, sort=values.dtype.kind in "iufb")
    return codes.astype(np.int64), np.asarray(labels)


def _smoothing(edges: np.ndarray, smoothing: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the edges widened by the kernel's reach, and the kernel."""
    if smoothing is None:
        return edges, np.ones(1)
    widths = np.diff(edges)
    if isinstance(smoothing, bool) or not isinstance(smoothing, (int, float, np.integer, np.floating)):
        msg = f"smoothing is the standard deviation of a Gaussian, a number of seconds, or None; got {smoothing!r:.80}"
        raise InvalidTypeError(msg)
    if not smoothing > 0:
        msg = f"smoothing is the standard deviation (s) of a Gaussian, above 0, or None; got {smoothing!r}"
        raise InvalidValueError(msg)
    if not np.allclose(widths, widths[0], rtol=1e-6):
        msg = f"smoothing needs bins of equal width; they are {widths.min():g} to {widths.max():g} s wide"
        raise InvalidValueError(msg)
    width = float((edges[-1] - edges[0]) / len(widths))
    reach = int(np.ceil(KERNEL_REACH * smoothing / width))
    steps = np.arange(-reach, reach + 1) * width
    kernel = np.exp(-0.5 * (steps / smoothing) ** 2)
    before = edges[0] - width * np.arange(reach, 0, -1)
    after = edges[-1] + width * np.arange(1, reach + 1)
    return np.concatenate((before, edges, after)), kernel / kernel.sum()


def _smoothed(rates: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Return rates (units, trials, widened bins) convolved along the bins, without the widening."""
    if len(kernel) == 1:
        return rates
    from scipy.ndimage import convolve1d

    reach = len(kernel) // 2
    smooth: np.ndarray = convolve1d(rates, kernel, axis=-1, mode="constant")
    return smooth[..., reach:-reach]


def _unit_blocks(units: int, cells: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of units whose rates and counts fit into the memory set aside."""
    step = max(1, COUNT_BYTES // max(1, 24 * cells))
    yield from ((first, min(first + step, units)) for first in range(0, units, step))


def _plain(column: pd.Series[Any]) -> np.ndarray:
    """Return a column as NumPy holds it: nullable numbers as float64 with NaN, text as objects."""
    column = tightened(column.to_frame("values"))["values"]  # numbers of this stimulus, where others have pairs
    if pd.api.types.is_bool_dtype(column.dtype) and not column.isna().any():
        return column.to_numpy(dtype=bool)
    if pd.api.types.is_integer_dtype(column.dtype) and not column.isna().any():
        return column.to_numpy(dtype=np.int64)
    if pd.api.types.is_numeric_dtype(column.dtype):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    held = column.to_numpy(dtype=object)
    # Colours and pairs as text, as files hold them: xarray neither groups by tuples nor stores them.
    return np.array([str(list(v)) if isinstance(v, (tuple, list, np.ndarray)) else v for v in held], dtype=object)
