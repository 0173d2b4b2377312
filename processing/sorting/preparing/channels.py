"""Which channels are sorted: those that are connected, alive, no noisier than their neighbours, and near spikes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numba
import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import TooFewChannelsError

from ...recording import Recording, duration
from ...shanks import ShankLines
from ...spike_band.blocks import blanked_rows, filter_block
from ...spike_band.temporal_whitening import GAUSSIAN_MAD, NOISE_STRIDE
from ...spike_band.whitening import depth_order
from ...spike_band.writing import covariance_blocks, plan_for
from ..parameters import SortingParameters
from .cut_off import seen_blocks
from .loudness import quiet

logger = logging.getLogger(__name__)

Bool = npt.NDArray[np.bool_]
Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

#: A channel is noisy if its RMS exceeds the median of the channels around it by this (microvolts; the release's
#: rule) and is at least so many times that median, which holds whatever unit the recording is in.
EXCESS_UV: Final = 20.0
EXCESS_TIMES: Final = 2.0
#: How far to either side (um along the shank) those channels reach: 11 channels of a Neuropixels 1.0 probe.
AROUND_UM: Final = 50.0
#: A channel with less than this share of the median RMS measures nothing.
DEAD_SHARE: Final = 0.02
#: Fewer channels than this are no probe: there is nothing to compare a spike's place with.
LEAST_CHANNELS: Final = 4
#: Shortest recording, in seconds, whose channels are judged by their spikes, and the blocks that are looked at.
LEAST_SECONDS: Final = 300.0
RATE_BLOCKS: Final = 200
#: A channel without spikes is kept if one this near (um) has some: it sees the edges of their waveforms (60 um), and
#: neurons that come to it when the tissue moves.
MARGIN_UM: Final = 160.0
#: Spikes are counted from so many robust SDs on: of Gaussian noise a channel has one in a hundred seconds.
COUNTED_SDS: Final = -5.0
#: A spike is the lowest sample within this many on both sides.
SPIKE_REACH: Final = 30


@dataclass(frozen=True)
class ChannelLevels:
    """What a look at blocks spread over a recording tells about each channel.

    Attributes
    ----------
    offsets
        float32 (n_channels,): mean, counts.
    rms_uv
        float64 (n_channels,): RMS after the high-pass filter, microvolts.
    flat
        bool (n_channels,): whether every sample looked at was the same.
    quiet
        bool (n_blocks,): the blocks that are not much louder than the others, which alone the RMS is of.
    """

    offsets: Float32
    rms_uv: Float64
    flat: Bool
    quiet: Bool


def _blocks_without_offsets(
    recording: Recording, high_pass: float, bounds: list[tuple[int, int]]
) -> Iterator[tuple[npt.NDArray[np.int16], Float64, Bool, Float32]]:
    """Give of each block its unsaturated samples, their mean, the channels that are not cut off, the filtered block."""
    plan = plan_for(recording, None, high_pass)
    for samples, first, start, stop, off, adapted in seen_blocks(recording, plan, bounds):
        sound = samples[~blanked_rows(samples, first, adapted)]
        mean = sound.mean(axis=0, dtype=np.float64) if len(sound) else np.zeros(recording.n_channels)
        centred = replace(adapted, offsets=mean.astype(np.float32))
        yield sound, mean, ~off & bool(len(sound)), filter_block(samples, first, start, stop, centred)


def channel_levels(recording: Recording, high_pass: float) -> ChannelLevels:
    """Look at the blocks that the covariance is averaged over.

    Parameters
    ----------
    recording
        int16 samples.
    high_pass
        Corner of the filter, Hz.
    """
    n_channels = recording.n_channels
    sums, n_blocks, squares, lengths = np.zeros(n_channels), np.zeros(n_channels, np.int64), [], []
    lowest, highest = np.full(n_channels, np.iinfo(np.int16).max), np.full(n_channels, np.iinfo(np.int16).min)
    blocks = _blocks_without_offsets(recording, high_pass, covariance_blocks(recording.n_samples))
    for sound, mean, alive, filtered in blocks:
        if len(sound):
            lowest, highest = np.minimum(lowest, sound.min(axis=0)), np.maximum(highest, sound.max(axis=0))
        squares.append(np.einsum("tc,tc->c", filtered, filtered, dtype=np.float64) * alive)
        lengths.append(len(filtered) * alive)
        sums += np.where(alive, mean, 0.0)
        n_blocks += alive
    power, sizes = np.array(squares).reshape(-1, n_channels), np.array(lengths).reshape(-1, n_channels)
    rms = np.sqrt(power / np.maximum(sizes, 1))
    calm = quiet(np.array([np.median(of_block[of_block > 0]) if of_block.any() else 0.0 for of_block in rms]))
    if not calm.all():
        logger.warning(
            "%d of %d blocks that were looked at are more than twice as loud as most; noise is measured without them",
            len(calm) - int(calm.sum()), len(calm),
        )  # fmt: skip
    return ChannelLevels(
        offsets=(sums / np.maximum(n_blocks, 1)).astype(np.float32),
        rms_uv=np.sqrt(power[calm].sum(axis=0) / np.maximum(sizes[calm].sum(axis=0), 1)) * np.abs(recording.uv_per_bit),
        flat=highest <= lowest,
        quiet=calm,
    )


def noisy_channels(rms_uv: Float64, candidates: Int64, lines: ShankLines) -> Int64:
    """Return those of the `candidates` that are noisier than the channels around them, within 50 um along the shank.

    The release's rule: RMS less its median over 11 channels is at least 20 uV; and twice that median, here.
    """
    from scipy.ndimage import median_filter

    noisy: list[Int64] = []
    for run in np.unique(lines.runs[candidates]):
        members = lines.members(int(run))
        members = members[np.isin(members, candidates)]
        rms, size = rms_uv[members], 2 * round(AROUND_UM / float(lines.pitches[run])) + 1
        around: Float64 = median_filter(rms, size=min(size, len(rms)), mode="nearest")
        noisy.append(members[(rms - around >= EXCESS_UV) & (rms >= EXCESS_TIMES * around)])
    return np.concatenate([candidates[:0], *noisy])


@numba.njit(cache=True, nogil=True)
def count_spikes(samples: Float32, limit: Float32, reach: int, counts: Int64) -> None:
    """Count, for each channel, samples below its `limit` that are the lowest within `reach` on both sides.

    Samples nearer than `reach` to an end are not looked at; of equal samples each counts.
    """
    for t in range(reach, samples.shape[0] - reach):
        for c in range(samples.shape[1]):
            if samples[t, c] < limit[c]:
                lowest = True
                for u in range(t - reach, t + reach + 1):
                    if samples[u, c] < samples[t, c]:
                        lowest = False
                        break
                counts[c] += lowest


def spiking_rates(recording: Recording, high_pass: float, threshold: float) -> Float64:
    """Return the rate (Hz) at which each channel falls below `threshold` SDs of its noise, in spread blocks.

    Kilosort 2's look for good channels, on blocks of 8192 samples. Its SDs are those of all samples, and it counts
    from 6 of them on: where small neurons live, or fire much, it finds none.
    """
    from ...spike_band.blocks import BLOCK_SAMPLES

    starts = np.unique(
        np.linspace(0, recording.n_samples - BLOCK_SAMPLES, RATE_BLOCKS).astype(np.int64) // BLOCK_SAMPLES
    )
    bounds = [(int(i) * BLOCK_SAMPLES, (int(i) + 1) * BLOCK_SAMPLES) for i in starts]
    counts, n_alive = np.zeros(recording.n_channels, np.int64), np.zeros(recording.n_channels, np.int64)
    for _, _, alive, filtered in _blocks_without_offsets(recording, high_pass, bounds):
        spread = np.median(np.abs(filtered[::NOISE_STRIDE]), axis=0) / GAUSSIAN_MAD
        limit = np.where(alive & (spread > 0), threshold * spread, -np.inf).astype(np.float32)
        count_spikes(filtered, limit, SPIKE_REACH, counts)
        n_alive += alive
    return np.asarray(counts / (np.maximum(n_alive, 1) * (BLOCK_SAMPLES - 2 * SPIKE_REACH) / recording.sampling_rate))


def _near_spikes(recording: Recording, channels: Int64, p: SortingParameters) -> Int64:
    """Return the channels that have spikes, or lie beside one that has; all if none has."""
    active = spiking_rates(recording, p.fshigh, COUNTED_SDS)[channels] >= p.minfr_goodchannels
    if not active.any():
        return channels
    places = recording.geometry[channels]
    distance = np.hypot(*(places[:, None] - places[None, active]).transpose(2, 0, 1))
    return np.asarray(channels[distance.min(axis=1) <= MARGIN_UM])


def choose_channels(
    recording: Recording,
    parameters: SortingParameters | None = None,
    *,
    good: npt.ArrayLike | None = None,
    levels: ChannelLevels | None = None,
) -> Int64:
    """Choose the channels that are sorted.

    Left out are reference channels, channels that never change or have almost no noise, channels far noisier than
    those around them and, in recordings of five minutes or more, channels away from any spikes
    (``minfr_goodchannels``). Shorter recordings show too few spikes to judge by.

    Parameters
    ----------
    recording
        int16 samples.
    good
        bool (n_channels,): channels that may be chosen, where that is known already (``ProbeInfo.mask``).
    levels
        From :func:`channel_levels`, where they are known already.

    Returns
    -------
    ndarray
        int64: channels of the recording, in depth order.

    Raises
    ------
    TooFewChannelsError
        If fewer than four channels are left.
    """
    p = parameters or SortingParameters()
    levels = levels or channel_levels(recording, p.fshigh)
    allowed = np.ones(recording.n_channels, bool) if good is None else np.asarray(good, dtype=bool).copy()
    allowed[recording.reference_channels] = False
    n_allowed = int(allowed.sum())
    alive = allowed & ~levels.flat & (levels.rms_uv > 0)
    if alive.any():
        alive &= levels.rms_uv > DEAD_SHARE * np.median(levels.rms_uv[alive])
    order = depth_order(recording.geometry)
    channels = order[alive[order]]
    lines = ShankLines.of(recording.geometry, recording.shanks)
    noisy = noisy_channels(levels.rms_uv, channels, lines)
    channels = channels[~np.isin(channels, noisy)]
    if len(channels) < LEAST_CHANNELS:
        msg = (
            f"{len(channels)} of {recording.n_channels} channels can be sorted, and at least {LEAST_CHANNELS} are "
            f"needed: {recording.n_channels - n_allowed} are references or masked, {n_allowed - int(alive.sum())} are "
            f"flat, {len(noisy)} are noisy. Check that the file was opened with the right number of channels and dtype."
        )
        raise TooFewChannelsError(msg)
    if p.minfr_goodchannels > 0 and duration(recording) >= LEAST_SECONDS:
        near = _near_spikes(recording, channels, p)
        channels = near if len(near) >= LEAST_CHANNELS else channels
    if len(channels) < recording.n_channels:
        logger.info("sorting %d of %d channels", len(channels), recording.n_channels)
    return channels
