"""What turns the samples of one recording into whitened samples of the channels that are sorted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import GeometryError, RecordingTooShortError

from ...recording import Recording
from ...shanks import ShankLines
from ...spike_band.blocks import NO_REGISTRATION, SpikeBandPlan, filter_block, halo_bounds, whiten_block
from ...spike_band.common_reference import reference_floors
from ...spike_band.ingest import QuantizedRecording
from ...spike_band.probe_info import ProbeInfo
from ...spike_band.temporal_whitening import filter_in_time, noise_autocovariance, temporal_weights, without_spikes
from ...spike_band.whitening import SCALE, LocalWeights, covariance_band, local_weights
from ...spike_band.writing import covariance_blocks, plan_for
from ..parameters import SortingParameters
from .channels import channel_levels, choose_channels
from .cut_off import cut_off, seen_blocks

logger = logging.getLogger(__name__)

Int16 = npt.NDArray[np.int16]
Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
RegistrationAt = Callable[[int, int], LocalWeights]

#: Fewer channels than this, or on a dense probe fewer um along the shanks, share no common median: it would hold too
#: much of their own spikes.
LEAST_REFERENCED, LEAST_REFERENCED_UM = 16, 160.0
#: Blocks, spread over the recording, that the colour of the noise is measured in.
COLOUR_BLOCKS: Final = 8
#: Sets of channels that are cut off together whose whitening is kept.
KEPT_WEIGHTS: Final = 32


def no_registration(start: int, stop: int) -> LocalWeights:
    """Return what leaves whitened samples as they are."""
    del start, stop
    return NO_REGISTRATION


@dataclass(frozen=True, eq=False)
class FrontEnd:
    """Filter, reference and whitening of one recording.

    Attributes
    ----------
    recording
        int16 samples.
    channels
        int64 (n,): the recording's channels that are sorted, in depth order.
    plan
        Filter, reference, and what makes the noise white in time.
    weights
        Whitening: one row of weights over the recording's channels for each of `channels`.
    covariance, n_neighbors
        Of the noise, float64 (n_channels, n_channels) of the recording, and how many channels are whitened together:
        what `weights` were made from, and those of blocks in which channels are cut off are.
    """

    recording: Recording
    channels: Int64
    plan: SpikeBandPlan
    weights: LocalWeights
    covariance: Float64
    n_neighbors: int
    _without: dict[bytes, LocalWeights] = field(default_factory=dict, init=False, repr=False)

    @property
    def positions(self) -> Float64:
        """Positions of the sorted channels, float64 (n, 2) um."""
        return np.asarray(self.recording.geometry[self.channels], dtype=np.float64)

    @property
    def taps(self) -> Float32:
        """Filters in time of the sorted channels, float32 (n_taps, n)."""
        taps = np.ones((1, self.recording.n_channels), np.float32) if self.plan.taps is None else self.plan.taps
        return np.ascontiguousarray(taps[:, self.channels])

    def counts(self, start: int, stop: int, registration_at: RegistrationAt = no_registration) -> Int16:
        """Return whitened samples ``[start, stop)``, int16 (stop - start, n): a noise SD is 200 counts.

        Parameters
        ----------
        registration_at
            Given start and stop of samples without a gap: weights of the sums of whitened channels that are returned
            instead of them.
        """
        timeline = self.recording.timeline
        counts = np.empty((stop - start, len(self.channels)), np.int16)
        for begin, end in timeline.within(start, stop):
            first, last = halo_bounds(begin, end, timeline)
            samples = np.ascontiguousarray(self.recording.read(first, last))
            target = counts[begin - start : end - start]
            off, plan = cut_off(samples, first, self.plan)
            whiten_block(samples, first, begin, plan, self._weights_without(off), target, registration_at(begin, end))
        return counts

    def _weights_without(self, off: Bools) -> LocalWeights:
        """Return the whitening of the channels that are not cut `off`; several threads may ask at once."""
        if not off.any():
            return self.weights
        weights = self._without.get(off.tobytes())
        if weights is None:
            good = np.zeros(len(off), np.bool_)
            good[self.channels] = True
            made = local_weights(self.covariance, self.recording.geometry, good & ~off, n_neighbors=self.n_neighbors)
            weights = LocalWeights(made.neighbors[self.channels], made.weights[self.channels])
            if len(self._without) >= KEPT_WEIGHTS:
                self._without.clear()
            self._without[off.tobytes()] = weights
        return weights

    def whitened(self, start: int, stop: int) -> Float32:
        """Return samples ``[start, stop)`` in noise SDs, float32 (stop - start, n), rounded to counts."""
        scaled: Float32 = self.counts(start, stop) * np.float32(1 / SCALE)
        return scaled


def as_counts(recording: Recording) -> Recording:
    """Return the recording with int16 samples; others are quantised, and NaN or infinite ones refused when read."""
    return recording if recording.dtype == np.int16 else QuantizedRecording(recording)


def sorting_plan(
    recording: Recording,
    channels: Int64,
    offsets: Float32,
    parameters: SortingParameters,
    info: ProbeInfo | None = None,
) -> SpikeBandPlan:
    """Gather what turns raw counts into filtered and referenced ones.

    With `info`, the medians of channels that are digitised together are subtracted before the filter, as in the
    release. Without, `offsets` are subtracted before and the median over all chosen channels after it (Kilosort 2's
    common reference), unless there are fewer than 16; a recording whose medians were subtracted before stays as it is
    but for a fraction of a count. By the definition ``"corrected"`` the converters' turns are undone before the filter
    (:mod:`~allen_ecephys.processing.spike_band.adc_phase`).
    """
    plan = plan_for(recording, info, parameters.fshigh, parameters.definition)
    if info is not None:
        return plan
    members = np.zeros(recording.n_channels, bool)
    extent = ShankLines.of(recording.geometry, recording.shanks).extent(channels)
    members[channels] = len(channels) >= LEAST_REFERENCED and extent >= LEAST_REFERENCED_UM
    return replace(plan, offsets=offsets, reference=reference_floors(members) if members.any() else None)


def whitened_front(
    recording: Recording,
    channels: Int64,
    plan: SpikeBandPlan,
    parameters: SortingParameters,
    listed: list[tuple[int, int]],
) -> FrontEnd:
    """Return a front end with the local whitening of the chosen channels.

    The covariance is averaged over the blocks that are `listed`, without the channels that are cut off in each.

    Where `plan` makes noise white in time the covariance is that of such noise: no frequency decides alone.

    Raises
    ------
    RecordingTooShortError
        If there are fewer samples than channels to be whitened together.
    """
    n_neighbors = min(parameters.whitening_range, len(channels))
    if recording.n_samples < n_neighbors:
        msg = (
            f"the recording has {recording.n_samples} samples; whitening {n_neighbors} channels together needs at "
            f"least {n_neighbors}"
        )
        raise RecordingTooShortError(msg)
    good = np.zeros(recording.n_channels, bool)
    good[channels] = True
    alive: list[Bools] = []
    lengths: list[int] = []

    def blocks() -> Iterator[Float32]:
        for samples, first, start, stop, off, adapted in seen_blocks(recording, plan, listed):
            block = filter_block(samples, first, start, stop, adapted)
            block[:, off] = 0
            alive.append(~off)
            lengths.append(len(block))
            yield block

    if plan.taps is None:
        covariance = covariance_band(blocks(), recording.geometry, good, n_neighbors)
    else:
        covariance = _noise_covariance(blocks(), plan.taps, recording.geometry, good, n_neighbors)
    covariance = _as_if_never_cut_off(covariance, alive, lengths)
    weights = local_weights(covariance, recording.geometry, good, n_neighbors=n_neighbors)
    chosen = LocalWeights(weights.neighbors[channels], weights.weights[channels])
    return FrontEnd(recording, channels, plan, chosen, covariance, n_neighbors)


def white_in_time(front: FrontEnd, parameters: SortingParameters, blocks: list[tuple[int, int]]) -> FrontEnd:
    """Return `front` with filters that make its noise white in time too, depth by depth; as it is if that is white.

    The noise is that of some of the `blocks`, or of all of them.
    """
    chosen = np.unique(np.linspace(0, len(blocks) - 1, COLOUR_BLOCKS).round().astype(np.int64))
    autocovariance = noise_autocovariance((front.whitened(*blocks[i]) for i in chosen), len(front.channels))
    filters = temporal_weights(autocovariance, front.positions, n_neighbors=parameters.whitening_range)
    if filters is None:
        return front
    taps = np.zeros((len(filters), front.recording.n_channels), np.float32)
    taps[:, front.channels] = filters
    plan = replace(front.plan, taps=taps)
    logger.info("noise has a colour: it is made white in time too")
    return whitened_front(front.recording, front.channels, plan, parameters, blocks)


def _as_if_never_cut_off(covariance: Float64, alive: list[Bools], lengths: list[int]) -> Float64:
    """Return a covariance over blocks with every channel's variance as it is in those in which it is `alive`.

    Scaled so rather than averaged over the blocks of every two channels, it stays one: none of its axes has a variance
    below zero. Channels that are cut off at different times are taken for less alike than they are.
    """
    share = np.array(lengths) @ np.array(alive, np.float64) / max(sum(lengths), 1)
    root = np.sqrt(np.where(share > 0, share, 1.0))
    return np.asarray(covariance / np.outer(root, root))


def _noise_covariance(
    blocks: Iterable[Float32], taps: Float32, geometry: Float64, good: npt.NDArray[np.bool_], n_neighbors: int
) -> Float64:
    """Return the covariance of filtered blocks that are made white in time, without their spikes.

    Spikes are no noise: counted as such they would make whitened noise smaller the more a channel's neurons fire.
    """
    masks: list[npt.NDArray[np.bool_]] = []

    def spike_free() -> Iterator[Float32]:
        for block in blocks:
            white = np.empty(block.shape, np.float32)
            filter_in_time(np.ascontiguousarray(block), 0, taps, white)
            samples, mask = without_spikes(white)
            masks.append(mask > 0)
            yield samples

    covariance = covariance_band(spike_free(), geometry, good, n_neighbors)
    kept = covariance_band((mask.astype(np.float32) for mask in masks), geometry, good, n_neighbors)
    return np.asarray(covariance / np.where(kept > 0, kept, 1.0))


def dense_whitening(weights: LocalWeights, channels: Int64) -> Float64:
    """Return the matrix (in, out) over the chosen channels that gives noise SDs."""
    matrix = np.zeros((len(channels), len(channels)))
    place = {int(channel): i for i, channel in enumerate(channels)}
    for j, (near, values) in enumerate(zip(weights.neighbors, weights.weights, strict=True)):
        for channel, value in zip(near.tolist(), values.tolist(), strict=True):
            if value:
                matrix[place[channel], j] += value / SCALE
    return matrix


def front_end(
    recording: Recording,
    parameters: SortingParameters,
    *,
    info: ProbeInfo | None = None,
    channels: npt.ArrayLike | None = None,
) -> FrontEnd:
    """Choose channels and estimate the whitening of a recording, in time and in space, from blocks spread over it.

    Parameters
    ----------
    recording
        Raw or median-subtracted samples. Samples that are not int16 are quantised to 0.195 uV.
    info
        Offsets and masks of raw samples whose medians are to be subtracted as in the release.
    channels
        Channels to sort, in depth order; chosen by default (:func:`.channels.choose_channels`).

    Raises
    ------
    TooFewChannelsError
        If fewer than four channels can be sorted.
    GeometryError
        If `channels` are not channels of the recording, each once.
    RecordingTooShortError
        If there are fewer samples than channels to be whitened together.
    """
    source = as_counts(recording)
    if source.n_samples < 1:
        msg = "the recording holds no samples; there is nothing to sort"
        raise RecordingTooShortError(msg)
    levels = channel_levels(source, parameters.fshigh)
    if channels is None:
        chosen = choose_channels(source, parameters, good=None if info is None else info.mask, levels=levels)
    else:
        chosen = _checked_channels(channels, source.n_channels)
    plan = sorting_plan(source, chosen, levels.offsets, parameters, info)
    blocks = [block for block, calm in zip(covariance_blocks(source.n_samples), levels.quiet, strict=True) if calm]
    return white_in_time(whitened_front(source, chosen, plan, parameters, blocks), parameters, blocks)


def _checked_channels(channels: npt.ArrayLike, n_channels: int) -> Int64:
    chosen = np.asarray(channels, dtype=np.int64)
    if chosen.ndim != 1 or not len(chosen) or chosen.min() < 0 or chosen.max() >= n_channels:
        msg = f"channels {chosen.tolist()[:10]}... are not channels 0 to {n_channels - 1} of the recording"
        raise GeometryError(msg)
    if len(np.unique(chosen)) != len(chosen):
        msg = f"channels holds {len(chosen) - len(np.unique(chosen))} channels twice; name each once"
        raise GeometryError(msg)
    return chosen
