"""Windows of a probe's raw data around spikes or other times."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..errors import InvalidValueError, MissingDataError, SampleRangeError, UnknownIdError

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

logger = logging.getLogger(__name__)

#: Samples of a released mean waveform before the spike, and in all (1.37 and 2.73 ms).
SAMPLES_BEFORE, SAMPLES = 20, 82

#: Windows that are fetched together.
_AT_ONCE = 64


class RawProbe(Protocol):
    """A probe's raw data on the session's clock: what ``processing.synchronization.open_released_probe`` gives."""

    @property
    def sampling_rate(self) -> float:
        """Samples in a second of the session's clock (Hz)."""

    @property
    def n_samples(self) -> int:
        """Samples that there are."""

    def samples(self, seconds: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return the samples at session times, NaN where nothing was recorded."""
        ...

    def read_uv(self, start: int, stop: int, channels: Any = None) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return samples ``[start, stop)`` of channels in microvolts."""
        ...

    def prefetch(self, windows: Sequence[tuple[int, int]]) -> None:
        """Have windows of samples fetched together."""
        ...


def windows_around(
    raw: RawProbe, times: np.ndarray[Any, Any], before: int, length: int, columns: np.ndarray[Any, Any]
) -> tuple[np.ndarray[Any, np.dtype[np.float32]], np.ndarray[Any, np.dtype[np.bool_]]]:
    """Return windows of raw samples around times.

    Parameters
    ----------
    raw
        The probe's raw data.
    times
        Session times (s).
    before, length
        Samples before the one nearest to a time, and in all.
    columns
        Channels, as columns of the raw data.

    Returns
    -------
    windows
        Microvolts, float32 (times, channels, length); NaN where a window is not wholly in the raw data.
    inside
        Which windows are.
    """
    found = raw.samples(times)
    known = np.isfinite(found)
    starts = np.where(known, np.rint(np.where(known, found, 0.0)), -1).astype(np.int64) - before
    inside = known & (starts >= 0) & (starts + length <= raw.n_samples)
    windows = np.full((len(times), len(columns), length), np.nan, dtype=np.float32)
    rows = np.flatnonzero(inside)
    for first in range(0, len(rows), _AT_ONCE):
        some = rows[first : first + _AT_ONCE]
        raw.prefetch([(int(starts[row]), int(starts[row]) + length) for row in some])
        for row in some:
            windows[row] = raw.read_uv(int(starts[row]), int(starts[row]) + length, columns).T
    return windows, inside


def raw_snippets(
    unit_id: int,
    times: np.ndarray[Any, Any],
    raw: RawProbe,
    channels: pd.DataFrame,
    n: int,
    seed: int,
) -> xr.DataArray:
    """Return the raw data around some spikes of a unit (:meth:`.EcephysSession.raw_snippets`)."""
    import xarray as xr

    if n < 1:
        msg = f"n is {n}; a snippet of at least one spike is needed"
        raise InvalidValueError(msg)
    where = raw.samples(times)
    there = np.flatnonzero((where >= SAMPLES_BEFORE) & (where < raw.n_samples - (SAMPLES - SAMPLES_BEFORE)))
    if len(times) and not len(there):
        msg = (
            f"none of the {len(times):,} spikes of unit {unit_id} ({times[0]:.1f} to {times[-1]:.1f} s) lies in the "
            f"raw data, which have {raw.n_samples:,} samples: are they of this session and probe, and whole?"
        )
        raise SampleRangeError(msg)
    if len(there) < len(times):
        logger.warning(
            "%d of the %d spikes of unit %d lie outside of the raw data and are left out", len(times) - len(there),
            len(times), unit_id,
        )  # fmt: skip
    chosen = there if len(there) <= n else np.sort(np.random.default_rng(seed).choice(there, n, replace=False))
    columns = columns_of_probe(channels)
    windows, _ = windows_around(raw, times[chosen], SAMPLES_BEFORE, SAMPLES, columns)
    return xr.DataArray(
        windows,
        dims=("spike_time", "channel_id", "time"),
        coords={
            "spike_time": ("spike_time", times[chosen], {"units": "s"}),
            "channel_id": channels.index.to_numpy(),
            "time": ("time", (np.arange(SAMPLES) - SAMPLES_BEFORE) / raw.sampling_rate, {"units": "s"}),
        },
        name="raw",
        attrs={"units": "uV", "unit_id": int(unit_id)},
    )


def raw_traces(raw: RawProbe, times: Any, window: tuple[float, float], channels: pd.DataFrame) -> xr.DataArray:
    """Return the raw data around times (:meth:`.EcephysSession.raw_traces`)."""
    import xarray as xr

    begin, end = (float(edge) for edge in window)
    before, length = round(-begin * raw.sampling_rate), round((end - begin) * raw.sampling_rate)
    if not length > 0:
        msg = f"window is {window}; it begins before it ends, in seconds around each time"
        raise InvalidValueError(msg)
    at = np.atleast_1d(np.asarray(times, dtype=np.float64))
    windows, inside = windows_around(raw, at, before, length, columns_of_probe(channels))
    if len(at) and not inside.any():
        msg = f"none of the {len(at):,} windows ({at[0]:.1f} to {at[-1]:.1f} s) lies wholly in the raw data"
        raise SampleRangeError(msg)
    if not inside.all():
        logger.warning("%d of %d windows do not lie wholly in the raw data: NaN", int((~inside).sum()), len(at))
    return xr.DataArray(
        windows,
        dims=("event_time", "channel_id", "time"),
        coords={
            "event_time": ("event_time", at, {"units": "s"}),
            "channel_id": channels.index.to_numpy(),
            "time": ("time", (np.arange(length) - before) / raw.sampling_rate, {"units": "s"}),
        },
        name="raw",
        attrs={"units": "uV"},
    )


def columns_of_probe(channels: pd.DataFrame) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the columns of the raw data that channels are: their numbers on the probe."""
    return np.asarray(channels["probe_channel_number"].to_numpy(np.int64))


def channels_of(channels: pd.DataFrame, probe_id: int, wanted: Any) -> pd.DataFrame:
    """Return channels of a probe in the order of its columns, or those `wanted` in their order.

    Raises
    ------
    MissingDataError, UnknownIdError
        If the session has no channel of the probe; for a channel that is not one of it.
    """
    of_probe = channels[channels["probe_id"] == probe_id].sort_values("probe_channel_number", kind="stable")
    if not len(of_probe):
        msg = f"the session's channels table has no channel of probe {probe_id}"
        raise MissingDataError(msg)
    if wanted is None:
        return of_probe
    ids = [int(channel) for channel in np.atleast_1d(wanted)]
    unknown = [channel for channel in ids if channel not in of_probe.index]
    if unknown:
        msg = f"channel {unknown[0]} is not one of probe {probe_id}"
        raise UnknownIdError(msg)
    return of_probe.loc[ids]
