"""Median subtraction: what channels digitised at the same instant share is taken out of them, sample by sample.

The 384 channels of a 1.0 probe are digitised in 12 turns by 32 converters; channels whose numbers are equal modulo 24
are digitised together and share the converters' noise. Other probes are wired otherwise, as the recording says
(:class:`~allen_ecephys.processing.probes.AdcWiring`). Per sample and group, the median over the group's good channels
is subtracted from all its channels, good or not. The released recordings went through the same step, with one
difference: its partial sort left out each group's last channel, so that its "median" of 16 channels was the exact
median of the lowest 15. Here it is the lower median of all good channels.

Where a group has few channels (a short probe, or most of it in air), a spike would be a part of its own median, and a
channel alone would become zero; and where it is not known which channels are digitised together, there are no groups.
There the median over all good channels is subtracted from all instead, if there are enough for that; else offsets only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numba
import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import FileFormatError

from ..probes import ADC_CHANNELS, AdcWiring, neuropixels_1_wiring
from ..shanks import ShankLines

if TYPE_CHECKING:
    from ..recording import Channels, Recording
    from .probe_info import ProbeInfo

Int16 = npt.NDArray[np.int16]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

LOWEST, HIGHEST = -32768, 32767
#: Sorts after every value that can occur.
ABSENT: Final = np.iinfo(np.int32).max
#: Samples sorted side by side; their groups fill the processor's vector registers.
TILE: Final = 16
#: Good channels that each group of channels digitised together needs for a median of its own, and one of all needs.
LEAST_MEMBERS, LEAST_COMMON = 8, 16
#: And the um along the shanks that those of all groups and those of one median stand for: as many channels of a 1.0
#: probe. On a dense probe a spike covers many more channels, and would be the median.
LEAST_GROUPED_UM, LEAST_COMMON_UM = 24 * 80.0, 160.0


@dataclass(frozen=True)
class MedianPlan:
    """What the kernel needs to know about the channels.

    Attributes
    ----------
    offsets
        int32 (n_slots * n_groups,): constant to subtract from each channel first, in counts, slot by slot of all
        groups.
    floors
        int32 (n_slots * n_groups,): `ABSENT` for channels that take no part in the median, else the lowest int32.
    comparisons
        int64 (n, 2): a sorting network over the members of a group, without what the medians do not need.
    ranks
        int64 (n_groups,): place of the lower median among the sorted members, -1 for a group that has no median.
    groups
        int64 (n_channels,): group of each channel.
    places
        int64 (n_channels,): slot of each channel times the number of groups plus its group; empty if they are the
        channels' numbers.
    left
        int64: channels that are left as they are (they are in air).
    """

    offsets: Int32
    floors: Int32
    comparisons: Int64
    ranks: Int64
    groups: Int64
    places: Int64
    left: Int64

    @property
    def n_groups(self) -> int:
        """Number of groups of channels with a median each."""
        return len(self.ranks)


@dataclass(frozen=True)
class MedianSubtracted:
    """Result of :func:`subtract_medians`.

    Attributes
    ----------
    samples
        int16 (n_samples, n_channels).
    residuals
        int16 (n_samples, n_groups): what was subtracted from each group.
    n_clipped
        Values that left the range of int16 and were set to its end.
    """

    samples: Int16
    residuals: Int16
    n_clipped: int


def probe_medians(info: ProbeInfo, adc: AdcWiring | None = None, lines: ShankLines | None = None) -> MedianPlan:
    """Prepare the median subtraction of a probe as the depth estimation found it.

    Channels digitised together have a median of their own if each of their groups has 8 good channels below the air; if
    not, or if `adc` does not tell which they are, all channels have one in common; with fewer than 16 good channels
    below the air, none. `lines` tell how dense the channels are: as few as those are 1,920 and 160 um of a dense probe.
    """
    below = info.below_air
    good = info.mask & below
    # How large a spike is among the channels: on sites of a 1.0 probe the number of channels says so by itself.
    extent = np.inf if lines is None else lines.extent(np.flatnonzero(good))
    if adc is not None and extent >= LEAST_GROUPED_UM:
        _, groups = np.unique(adc.groups, return_inverse=True)
        if np.bincount(groups[good], minlength=int(groups.max(initial=-1)) + 1).min(initial=ABSENT) >= LEAST_MEMBERS:
            return median_plan(info.offsets, info.mask, below, groups=groups)
    enough = good.sum() >= LEAST_COMMON and extent >= LEAST_COMMON_UM
    members = info.mask if enough else np.zeros_like(info.mask)
    return median_plan(info.offsets, members, below, groups=np.zeros(len(info.mask), np.int64))


def median_plan(
    offsets: npt.ArrayLike,
    good: npt.ArrayLike,
    subtracted: npt.ArrayLike | None = None,
    *,
    groups: npt.ArrayLike | None = None,
) -> MedianPlan:
    """Prepare a median subtraction.

    Parameters
    ----------
    offsets
        Constant of each channel in counts, integers (n_channels,).
    good
        bool (n_channels,): channels that take part in the medians (no references, dead or noisy channels).
    subtracted
        bool (n_channels,): channels that are subtracted from; all by default. The release takes those below the air.
    groups
        Group of each channel, whole numbers from 0; by default that of a 1.0 probe, equal modulo 24.

    Raises
    ------
    FileFormatError
        If the arrays do not describe the same channels.
    """
    constants = np.asarray(offsets)
    takes_part = np.asarray(good, dtype=bool)
    if constants.shape != takes_part.shape or constants.ndim != 1 or not len(constants):
        msg = f"offsets {constants.shape} and good channels {takes_part.shape} do not describe the same channels"
        raise FileFormatError(msg)
    n_channels = len(constants)
    changed = np.ones(n_channels, bool) if subtracted is None else np.asarray(subtracted, dtype=bool)
    given = neuropixels_1_wiring(n_channels).groups if groups is None else np.asarray(groups, dtype=np.int64)
    # The release's order of groups fits a probe of any number of channels, so that there are always 24.
    n_groups = ADC_CHANNELS if groups is None else int(given.max()) + 1
    slot = np.array([np.count_nonzero(given[:c] == given[c]) for c in range(n_channels)])
    places = (slot * n_groups + given).astype(np.int64)
    n_slots = int(slot.max()) + 1
    padded = np.zeros(n_slots * n_groups, np.int32)
    padded[places[changed]] = constants[changed]
    floors = np.full(n_slots * n_groups, ABSENT, np.int32)
    floors[places[changed & takes_part]] = np.iinfo(np.int32).min
    members = (floors != ABSENT).reshape(n_slots, n_groups).sum(axis=0)
    ranks = np.where(members > 0, (members - 1) // 2, -1).astype(np.int64)
    in_place = np.array_equal(places, np.arange(n_channels))
    return MedianPlan(
        padded, floors, sorting_network(n_slots, set(ranks.tolist()) - {-1}), ranks, given.astype(np.int64),
        places[:0] if in_place else places, np.flatnonzero(~changed).astype(np.int64),
    )  # fmt: skip


def sorting_network(n: int, ranks: set[int]) -> Int64:
    """Return Batcher's odd-even merge sort of `n` values as pairs to compare, without those that `ranks` do not need.

    Knuth, The Art of Computer Programming 3, algorithm 5.2.2M. Values beyond `n` are thought of as larger than all.
    """
    pairs: list[tuple[int, int]] = []
    p = 1
    while p < n:
        k = p
        while k >= 1:
            for j in range(k % p, n - k, 2 * k):
                pairs.extend(
                    (i + j, i + j + k) for i in range(min(k, n - j - k)) if (i + j) // (2 * p) == (i + j + k) // (2 * p)
                )
            k //= 2
        p *= 2
    needed, kept = set(ranks), []
    for low, high in reversed(pairs):
        if low in needed or high in needed:
            kept.append((low, high))
            needed |= {low, high}
    return np.array(kept[::-1], dtype=np.int64).reshape(-1, 2)


@numba.njit(cache=True, nogil=True)
def _sort_groups(values: Int32, comparisons: Int64) -> None:
    """Sort each column of `values` (slots, columns) as far as the network goes."""
    for pair in range(comparisons.shape[0]):
        low, high = values[comparisons[pair, 0]], values[comparisons[pair, 1]]
        for i in range(values.shape[1]):
            a, b = low[i], high[i]
            low[i], high[i] = min(a, b), max(a, b)


@numba.njit(cache=True, nogil=True)
def _less_offsets(row: Int16, offsets: Int32, places: Int64, target: Int32) -> None:
    if len(places):
        for c in range(len(row)):
            target[places[c]] = np.int32(row[c]) - offsets[places[c]]
    else:  # the channels of a 1.0 probe are in place: a loop that fills the processor's vector registers
        for c in range(len(row)):
            target[c] = np.int32(row[c]) - offsets[c]


@numba.njit(cache=True, nogil=True)
def _put_back(row: Int16, left: Int64, places: Int64, target: Int32) -> None:
    for c in left:
        target[places[c] if len(places) else c] = np.int32(row[c])


@numba.njit(cache=True, nogil=True)
def _saturate(row: Int32, places: Int64, out: Int16) -> np.int64:
    clipped = np.int32(0)
    if len(places):
        for c in range(len(out)):
            value = row[places[c]]
            bounded = min(max(value, np.int32(LOWEST)), np.int32(HIGHEST))
            clipped += np.int32(bounded != value)
            out[c] = np.int16(bounded)
    else:
        for c in range(len(out)):
            bounded = min(max(row[c], np.int32(LOWEST)), np.int32(HIGHEST))
            clipped += np.int32(bounded != row[c])
            out[c] = np.int16(bounded)
    return np.int64(clipped)


@numba.njit(cache=True, nogil=True)
def _group_medians(levels: Int32, floors: Int32, values: Int32, comparisons: Int64, ranks: Int64, out: Int16) -> None:
    """Write the lower medians of ``levels[t, :, g]`` to ``out[t, g]``; `values` (slots, TILE, 24) is working space."""
    for slot in range(levels.shape[1]):
        for t in range(levels.shape[0]):
            for g in range(levels.shape[2]):
                values[slot, t, g] = max(levels[t, slot, g], floors[slot, g])
    _sort_groups(values.reshape(values.shape[0], -1), comparisons)
    for t in range(out.shape[0]):
        for g in range(out.shape[1]):
            middle = values[ranks[g], t, g] if ranks[g] >= 0 else np.int32(0)
            out[t, g] = np.int16(min(max(middle, np.int32(LOWEST)), np.int32(HIGHEST)))


@numba.njit(cache=True, nogil=True)
def _less_medians(levels: Int32, medians: Int16) -> None:
    for t in range(medians.shape[0]):
        for slot in range(levels.shape[1]):
            for g in range(levels.shape[2]):
                levels[t, slot, g] -= np.int32(medians[t, g])


@numba.njit(cache=True, nogil=True)
def _subtract(
    samples: Int16,
    offsets: Int32,
    floors: Int32,
    comparisons: Int64,
    ranks: Int64,
    places: Int64,
    left: Int64,
    out: Int16,
    residuals: Int16,
) -> np.int64:
    n_groups = len(ranks)
    n_slots = len(offsets) // n_groups
    levels = np.zeros((TILE, n_slots, n_groups), np.int32)
    values = np.empty((n_slots, TILE, n_groups), np.int32)
    flat = levels.reshape(TILE, n_slots * n_groups)
    floor = floors.reshape(n_slots, n_groups)
    clipped = np.int64(0)
    for start in range(0, samples.shape[0], TILE):
        stop = min(start + TILE, samples.shape[0])
        for t in range(start, stop):
            _less_offsets(samples[t], offsets, places, flat[t - start])
        _group_medians(levels, floor, values, comparisons, ranks, residuals[start:stop])
        _less_medians(levels, residuals[start:stop])
        for t in range(start, stop):
            _put_back(samples[t], left, places, flat[t - start])
            clipped += _saturate(flat[t - start], places, out[t])
    return clipped


def subtract_block(samples: Int16, plan: MedianPlan, out: Int16, residuals: Int16) -> int:
    """Subtract offsets and group medians from any number of samples; return how many values were clipped.

    `samples` are int16, C-contiguous (n, n_channels); `out` may be the same array.
    """
    return int(
        _subtract(
            samples, plan.offsets, plan.floors, plan.comparisons, plan.ranks, plan.places, plan.left, out, residuals
        )
    )


def subtract_medians(samples: Int16, plan: MedianPlan) -> MedianSubtracted:
    """Subtract channel offsets and the medians of channels that are digitised together.

    Parameters
    ----------
    samples
        int16 (n_samples, n_channels), counts.
    plan
        From :func:`median_plan`.

    Raises
    ------
    FileFormatError
        If the samples are not int16, or of another number of channels than the plan.
    """
    if samples.dtype != np.int16 or samples.ndim != 2 or samples.shape[1] != len(plan.groups):
        msg = (
            f"samples are {samples.dtype} {samples.shape}; the plan is for int16 (n_samples, n_channels) of "
            f"{len(plan.groups)} channels. Quantise float data first (spike_band.ingest)."
        )
        raise FileFormatError(msg)
    out = np.empty(samples.shape, np.int16)
    residuals = np.empty((len(samples), plan.n_groups), np.int16)
    n_clipped = subtract_block(np.ascontiguousarray(samples), plan, out, residuals)
    return MedianSubtracted(out, residuals, n_clipped)


def restore_medians(samples: Int16, residuals: Int16, plan: MedianPlan) -> Int16:
    """Undo :func:`subtract_medians`: add residuals and offsets again; exact wherever nothing had been clipped."""
    n_channels = len(plan.groups)
    places = plan.places if len(plan.places) else np.arange(n_channels)
    changed = np.setdiff1d(np.arange(n_channels), plan.left)
    restored = samples.astype(np.int32)
    restored[:, changed] += residuals[:, plan.groups[changed]].astype(np.int32) + plan.offsets[places[changed]]
    return np.clip(restored, LOWEST, HIGHEST).astype(np.int16)


class MedianSubtractedRecording:
    """A spike band less channel offsets and the medians of channels digitised together, computed as it is read.

    Medians are taken sample by sample, so that any window of this recording has the values that a median-subtracted
    file would have; no second file of the recording's size is needed.

    Parameters
    ----------
    source
        int16 recording.
    info
        Offsets, mask and the first channel in air, see :func:`.depth_estimation.estimate_depth`.
    saturated
        int64 (n, 2): spans of samples known to be saturated in the raw data; None where nobody looked.

    Examples
    --------
    >>> clean = MedianSubtractedRecording(bands.spike_band, estimate_depth(bands.spike_band, bands.lfp))
    >>> clean.read_uv(0, 300).shape
    (300, 32)
    """

    def __init__(self, source: Recording, info: ProbeInfo, *, saturated: Int64 | None = None) -> None:
        self.source, self.info, self.saturated = source, info, saturated
        self.n_samples, self.n_channels = source.n_samples, source.n_channels
        self.sampling_rate, self.geometry = source.sampling_rate, source.geometry
        self.shanks, self.adc, self.timeline = source.shanks, source.adc, source.timeline
        self.reference_channels, self.uv_per_bit = source.reference_channels, source.uv_per_bit
        self.dtype: np.dtype[Any] = np.dtype(np.int16)
        self._plan = probe_medians(info, source.adc, ShankLines.of(source.geometry, source.shanks))

    def read(self, start: int, stop: int, channels: Channels = None) -> npt.NDArray[Any]:
        """Return samples ``[start, stop)`` in counts, int16, shape (stop - start, channels).

        Examples
        --------
        >>> clean = MedianSubtractedRecording(bands.spike_band, estimate_depth(bands.spike_band, bands.lfp))
        >>> clean.read(0, 300).dtype
        dtype('int16')
        """
        samples = subtract_medians(np.ascontiguousarray(self.source.read(start, stop)), self._plan).samples
        return samples if channels is None else samples[:, channels]

    def read_uv(self, start: int, stop: int, channels: Channels = None) -> npt.NDArray[np.float32]:
        """Return samples ``[start, stop)`` in microvolts, float32.

        Examples
        --------
        >>> clean = MedianSubtractedRecording(bands.spike_band, estimate_depth(bands.spike_band, bands.lfp))
        >>> abs(float(np.median(clean.read_uv(0, 3_000)))) < 1.0
        True
        """
        gains = self.uv_per_bit if channels is None else self.uv_per_bit[channels]
        return (self.read(start, stop, channels) * gains).astype(np.float32)
