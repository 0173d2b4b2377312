"""Mean and SD of every unit's waveform on every channel, in one pass over the recording in file order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from allen_ecephys.errors import NonFiniteError, RecordingTooShortError
from allen_ecephys.progress import progress_bar

from ..sorted_spikes import SortedSpikes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..recording import Recording

#: Samples of a waveform, and how many of them lie before the spike.
WAVEFORM_SAMPLES = 82
PRE_SAMPLES = 20
#: Spikes averaged for each unit and epoch.
SPIKES_PER_EPOCH = 1000
#: Samples read at a time: 0.5 s, 12 MB of 384 channels.
CHUNK_SAMPLES = 15_000


@dataclass(frozen=True, eq=False)
class MeanWaveforms:
    """Average waveforms of all units in one epoch.

    Attributes
    ----------
    unit_ids
        int64, shape (n_units,).
    mean, sd
        Mean and population SD (uV) over spikes, float64, shape (n_units, n_channels, n_samples). Units without a spike
        have zeros, as in the release's ``mean_waveforms.npy``.
    counts
        Number of spikes averaged, int64, shape (n_units,).

    Examples
    --------
    >>> band = bands.spike_band
    >>> waveforms = mean_waveforms(band, recorded.sorted_spikes())
    >>> waveforms.unit_ids, waveforms.peak_channels().shape
    (array([0, 1, 2, 3, 4, 5]), (6,))
    """

    unit_ids: NDArray[np.int64]
    mean: NDArray[np.float64]
    sd: NDArray[np.float64]
    counts: NDArray[np.int64]

    def without_offset(self) -> NDArray[np.float64]:
        """Return the means with each channel's first sample subtracted, as the release stores and plots them.

        Examples
        --------
        >>> waveforms = mean_waveforms(bands.spike_band, recorded.sorted_spikes())
        >>> bool((waveforms.without_offset()[:, :, 0] == 0).all())
        True
        """
        return self.mean - self.mean[:, :, :1]

    def peak_channels(self) -> NDArray[np.int64]:
        """Return the channel on which each unit is largest (peak to peak), int64, shape (n_units,).

        Examples
        --------
        >>> waveforms = mean_waveforms(bands.spike_band, recorded.sorted_spikes())
        >>> waveforms.peak_channels(), recorded.units["peak_channel"].to_numpy()
        (array([23,  0, 20,  6, 22, 17]), array([23,  0, 20,  6, 22, 17]))
        """
        return np.asarray(np.ptp(self.mean, axis=2).argmax(axis=1), dtype=np.int64)


def mean_waveforms(
    recording: Recording,
    spikes: SortedSpikes,
    *,
    epoch: tuple[float, float] | None = None,
    spikes_per_unit: int = SPIKES_PER_EPOCH,
    seed: int = 0,
    chunk_samples: int = CHUNK_SAMPLES,
) -> MeanWaveforms:
    """Average the waveforms of up to `spikes_per_unit` random spikes of each unit.

    Spikes are read in file order, whole chunks where they are dense and single windows where they are sparse, so that
    memory is that of the result and a chunk whatever the length of the recording. Sums of integer samples are exact:
    neither the chunk size nor the order of the spikes changes a bit of the result.

    Parameters
    ----------
    recording
        Spike band (median-subtracted, not high-passed, in the release).
    spikes
        Spikes in any order. Windows cut by either end of the recording are left out.
    epoch
        Start and stop (s); only spikes strictly between are used. Default: the whole recording.
    spikes_per_unit
        Most spikes to average.
    seed
        For the choice of spikes; a unit's choice depends on its id and its spikes only.
    chunk_samples
        Samples read at a time.

    Raises
    ------
    RecordingTooShortError
        If the recording is shorter than one waveform.
    SpikeTrainError
        If spikes lie past the end of the recording.
    NonFiniteError
        If samples are NaN or infinite.

    Examples
    --------
    >>> band = bands.spike_band
    >>> waveforms = mean_waveforms(band, recorded.sorted_spikes())
    >>> waveforms.mean.shape, waveforms.counts.min() > 0
    ((6, 32, 82), np.True_)
    """
    rows = select_spikes(recording, spikes, epoch=epoch, spikes_per_unit=spikes_per_unit, seed=seed)
    shape = (spikes.n_units, WAVEFORM_SAMPLES, recording.n_channels)
    sums, squares = np.zeros(shape), np.zeros(shape)
    starts = spikes.samples[rows] - PRE_SAMPLES
    units = spikes.unit_index[rows]
    for chunk, first, part in read_windows(recording, starts, WAVEFORM_SAMPLES, chunk_samples, desc="waveforms"):
        order = np.argsort(units[part], kind="stable")
        _accumulate(chunk, starts[part][order] - first, units[part][order], sums, squares)
    counts = np.bincount(units, minlength=spikes.n_units).astype(np.int64)
    mean, sd = np.empty((shape[0], shape[2], shape[1])), np.empty((shape[0], shape[2], shape[1]))
    scale = np.asarray(recording.uv_per_bit, dtype=np.float64)[:, None]
    for unit, count in enumerate(np.maximum(counts, 1)):
        # Integers below 2**53 throughout, so that the variance loses nothing by the difference of large numbers.
        variance = np.maximum(count * squares[unit] - sums[unit] ** 2, 0.0) / float(count) ** 2
        mean[unit] = sums[unit].T / count * scale
        sd[unit] = np.sqrt(variance).T * scale
    return MeanWaveforms(spikes.unit_ids, mean, sd, counts)


def mean_waveforms_by_epoch(
    recording: Recording,
    spikes: SortedSpikes,
    epochs: Mapping[str, tuple[float, float]],
    *,
    spikes_per_unit: int = SPIKES_PER_EPOCH,
    seed: int = 0,
) -> Iterator[tuple[str, MeanWaveforms]]:
    """Yield name and :func:`mean_waveforms` of each epoch (start, stop in s), one at a time to bound memory.

    Examples
    --------
    >>> band = bands.spike_band
    >>> halves = {"first": (0.0, 3.0), "second": (3.0, 6.0)}
    >>> for name, of_half in mean_waveforms_by_epoch(band, recorded.sorted_spikes(), halves):
    ...     print(name, of_half.mean.shape)
    first (6, 32, 82)
    second (6, 32, 82)
    """
    for name, epoch in epochs.items():
        yield name, mean_waveforms(recording, spikes, epoch=epoch, spikes_per_unit=spikes_per_unit, seed=seed)


def select_spikes(
    recording: Recording,
    spikes: SortedSpikes,
    *,
    epoch: tuple[float, float] | None = None,
    spikes_per_unit: int = SPIKES_PER_EPOCH,
    seed: int = 0,
) -> NDArray[np.int64]:
    """Choose up to `spikes_per_unit` spikes of each unit whose windows lie in the recording, by time.

    Windows that a gap of the recording cuts are not chosen.
    """
    check_spikes_fit(recording, spikes)
    first, last = PRE_SAMPLES, recording.n_samples - (WAVEFORM_SAMPLES - PRE_SAMPLES)
    timeline, chosen = recording.timeline, []
    for unit, rows in zip(spikes.unit_ids, spikes.rows_by_unit(), strict=True):
        times = spikes.samples[rows]
        usable = (times >= first) & (times <= last) & timeline.holds(times - PRE_SAMPLES, WAVEFORM_SAMPLES)
        if epoch is not None:
            seconds = timeline.times(times, recording.sampling_rate)
            usable &= (seconds > epoch[0]) & (seconds < epoch[1])
        candidates = rows[usable]
        if candidates.size > spikes_per_unit:
            generator = np.random.default_rng((seed, int(unit) & 0xFFFFFFFF))
            candidates = generator.choice(candidates, spikes_per_unit, replace=False)
        chosen.append(candidates)
    rows = np.concatenate(chosen) if chosen else np.zeros(0, dtype=np.int64)
    return rows[np.lexsort((spikes.unit_index[rows], spikes.samples[rows]))]


def check_spikes_fit(recording: Recording, spikes: SortedSpikes) -> None:
    """Raise unless the recording holds at least one waveform and all spikes."""
    if recording.n_samples < WAVEFORM_SAMPLES:
        msg = (
            f"the recording has {recording.n_samples} samples; one waveform needs {WAVEFORM_SAMPLES}. "
            "Check that the file is complete"
        )
        raise RecordingTooShortError(msg)
    SortedSpikes.from_arrays(spikes.samples, spikes.units, unit_ids=spikes.unit_ids, n_samples=recording.n_samples)


def read_windows(
    recording: Recording,
    starts: NDArray[np.int64],
    n_samples: int,
    chunk_samples: int = CHUNK_SAMPLES,
    *,
    desc: str = "",
) -> Iterator[tuple[NDArray[Any], int, slice]]:
    """Read windows in file order: yield samples, the number of their first, and which windows they hold.

    Windows ``[start, start + n_samples)`` with ascending starts are read together where they lie in one chunk and less
    than a window apart; what lies between is not read.
    """
    if starts.size == 0:
        return
    far = (np.diff(starts) > 2 * n_samples) | (np.diff(starts // chunk_samples) > 0)
    bounds = np.concatenate(([0], np.flatnonzero(far) + 1, [starts.size]))
    with progress_bar(total=int(starts.size), desc=desc, unit="spike") as bar:
        for low, high in pairwise(bounds):
            first, stop = int(starts[low]), int(starts[high - 1]) + n_samples
            chunk = np.ascontiguousarray(recording.read(first, stop))
            if chunk.dtype.kind == "f" and not np.isfinite(chunk).all():
                msg = (
                    f"samples {first:,} to {stop:,} hold NaN or infinite values, which would spread over every mean: "
                    "replace them (by 0, or the channel's median) before measuring waveforms"
                )
                raise NonFiniteError(msg)
            yield chunk, first, slice(int(low), int(high))
            bar.update(high - low)


@njit(cache=True, nogil=True)
def _accumulate(
    chunk: NDArray[Any],
    starts: NDArray[np.int64],
    units: NDArray[np.int64],
    sums: NDArray[np.float64],
    squares: NDArray[np.float64],
) -> None:
    """Add windows of `chunk` (time, channel) to the units' sums (unit, sample, channel); `units` ascend."""
    n_windows, n_samples, n_channels = starts.size, sums.shape[1], sums.shape[2]
    low = 0
    while low < n_windows:
        unit, high = units[low], low + 1
        while high < n_windows and units[high] == unit:
            high += 1
        for t in range(n_samples):
            # One row of one unit stays in the first-level cache while all its spikes are added.
            total, square = sums[unit, t], squares[unit, t]
            for i in range(low, high):
                row = chunk[starts[i] + t]
                for c in range(n_channels):
                    value = np.float64(row[c])
                    total[c] += value
                    square[c] += value * value
        low = high
