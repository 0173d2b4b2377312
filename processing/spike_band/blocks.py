"""One block of the spike band from raw counts to whitened counts, in one pass while the data are in the cache.

Results never depend on how a recording is cut into chunks or on how many workers share them: a recording is cut into
blocks of a fixed size from its first sample on, each block is filtered with a halo of real samples on both sides, and
chunks are made of whole blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numba
import numpy as np
import numpy.typing as npt

from ..timeline import Timeline
from .adc_phase import align_row
from .common_reference import subtract_common
from .filtering import HALO, filter_backward, filter_row
from .median_subtraction import MedianPlan, subtract_block
from .saturation import SATURATED_SHARE, SATURATION_MARGIN, Float32, Int16, saturated_rows, spanned_rows
from .tiles import TILE_ROWS, filter_columns, spread, whole_eights
from .whitening import LocalWeights, whiten_tile

#: Samples of a block. Part of the result's definition: changing it changes some values by one count.
BLOCK_SAMPLES: Final = 8192
NO_PHASE: Final = np.empty((0, 0), np.float32)
NO_REFERENCE: Final = np.empty(0, np.int32)
NO_TAPS: Final = np.empty((0, 0), np.float32)
NO_REGISTRATION: Final = LocalWeights(np.empty((0, 4), np.int64), np.empty((0, 4), np.float32))


@dataclass(frozen=True)
class SpikeBandPlan:
    """What turns raw counts of one recording into filtered counts.

    Attributes
    ----------
    medians
        Offsets and groups; None if they are subtracted already.
    sections
        The filter, float32 (2, 6).
    saturation
        float32 (n_channels,): counts from which on a channel is at the end of its range.
    saturated
        int64 (n, 2): spans of saturated samples, where they are known already: medians hide them.
    offsets
        float32 (n_channels,): constants to subtract before the filter, counts; None for none.
    phase
        float32 (16, n_channels): weights that undo the converters' turns (:func:`.adc_phase.phase_taps`); None leaves
        channels as they were digitised.
    reference
        int32 (n_channels,): who takes part in the median over all channels that is subtracted after the filter
        (:func:`.common_reference.reference_floors`); None for no such median.
    taps
        float32 (n, n_channels), `n` odd: filters that make each channel's noise white before channels are whitened
        together (:func:`.temporal_whitening.temporal_weights`); None for none.
    """

    medians: MedianPlan | None
    sections: Float32
    saturation: Float32
    saturated: npt.NDArray[np.int64] | None = None
    offsets: Float32 | None = None
    reference: npt.NDArray[np.int32] | None = None
    phase: Float32 | None = None
    taps: Float32 | None = None


@dataclass
class BlockCounts:
    """What happened in a stretch of samples."""

    n_clipped: int = 0
    n_saturated: int = 0

    def add(self, other: BlockCounts) -> None:
        """Count another stretch too."""
        self.n_clipped += other.n_clipped
        self.n_saturated += other.n_saturated


@numba.njit(cache=True, nogil=True)
def _less_offsets(samples: Int16, blank: npt.NDArray[np.bool_], offsets: Float32, first: int, out: Float32) -> None:
    """Write samples from `first` on less offsets to `out`; blanked ones and those that do not exist are 0."""
    for i in range(out.shape[0]):
        t, target = first + i, out[i]
        if t < 0 or t >= samples.shape[0] or blank[t]:
            target[:] = 0
        else:
            row = samples[t]
            for c in range(len(row)):
                target[c] = np.float32(row[c]) - offsets[c]


@numba.njit(cache=True, nogil=True)
def load_and_filter(
    samples: Int16,
    blank: npt.NDArray[np.bool_],
    offsets: Float32,
    phase: Float32,
    sections: Float32,
    buffer: Float32,
) -> None:
    """Put int16 samples less offsets into `buffer`, zero where they are blanked, and filter them forward.

    With weights in `phase`, channels are aligned on the way (:mod:`.adc_phase`).
    """
    n, n_channels = buffer.shape
    state = np.zeros((4, n_channels), np.float32)
    reach = phase.shape[0] // 2
    volts = np.zeros((TILE_ROWS + max(phase.shape[0] - 1, 0), n_channels), np.float32)
    for start in range(0, n, TILE_ROWS):
        stop = min(start + TILE_ROWS, n)
        _less_offsets(samples, blank, offsets, start - reach, volts)
        for t in range(start, stop):
            row = buffer[t]
            if not phase.shape[0]:
                row[:] = volts[t - start]
            elif blank[t]:
                row[:] = 0
            else:
                align_row(volts, phase, t - start, row)
            filter_row(row, sections, state)


@numba.njit(cache=True, nogil=True)
def filter_and_whiten(
    buffer: Float32,
    blank: npt.NDArray[np.bool_],
    lead: int,
    sections: Float32,
    reference: npt.NDArray[np.int32],
    taps: Float32,
    neighbors: npt.NDArray[np.int64],
    weights: Float32,
    turn_neighbors: npt.NDArray[np.int64],
    turn_weights: Float32,
    out: Int16,
) -> int:
    """Filter `buffer` backward and write its samples from `lead` on, whitened, to `out`; return how many clipped.

    `out` has as many columns as `neighbors` has rows. An empty `reference` subtracts no median, empty
    `taps` leave the noise its colour, empty `turn_neighbors` whitened samples as they are.
    """
    n_channels, n_out = buffer.shape[1], neighbors.shape[0]
    state = np.zeros((4, n_channels), np.float32)
    # The filter in time needs so many filtered samples on both sides of those that are written.
    reach = taps.shape[0] // 2
    eights = whole_eights(taps)
    columns = np.empty((n_channels, TILE_ROWS + max(eights.shape[0] - 1, 0)), np.float32)
    white = np.empty((n_channels if reach else 0, TILE_ROWS), np.float32)
    sums = np.empty((n_out, TILE_ROWS), np.float32)
    turned = np.empty((turn_neighbors.shape[0], TILE_ROWS), np.float32)
    ready = min(lead + len(out) + reach, len(buffer))
    filter_backward(buffer[ready:], sections, state)
    clipped = 0
    for stop in range(len(out), 0, -TILE_ROWS):
        start = max(stop - TILE_ROWS, 0)
        needed = max(lead + start - reach, 0)
        filter_backward(buffer[needed:ready], sections, state)
        if len(reference):
            subtract_common(buffer[needed:ready], reference)
        ready = needed
        spread(buffer, lead + start - reach, columns)
        if reach:
            filter_columns(columns, eights, white)
        tile = white if reach else columns
        clipped += whiten_tile(tile, neighbors, weights, turn_neighbors, turn_weights, sums, turned, out[start:stop])
    for t in range(len(out)):
        if blank[lead + t]:
            out[t] = 0
    return clipped


def blanked_rows(samples: Int16, start: int, plan: SpikeBandPlan) -> npt.NDArray[np.bool_]:
    """Tell which samples (from sample `start` on) are too near to saturated ones."""
    if plan.saturated is None:
        return saturated_rows(samples, plan.saturation, SATURATED_SHARE, SATURATION_MARGIN)
    return spanned_rows(start, len(samples), plan.saturated, SATURATION_MARGIN)


def prepare_block(samples: Int16, start: int, plan: SpikeBandPlan) -> tuple[Float32, npt.NDArray[np.bool_]]:
    """Return samples (from sample `start` on) without medians, filtered forward, and which of them are blanked."""
    blank = blanked_rows(samples, start, plan)
    m = plan.medians
    if m is not None:
        subtracted, residuals = np.empty_like(samples), np.empty((len(samples), len(m.ranks)), np.int16)
        subtract_block(samples, m, subtracted, residuals)
        samples = subtracted
    buffer = np.empty(samples.shape, np.float32)
    offsets = np.zeros(samples.shape[1], np.float32) if plan.offsets is None else plan.offsets
    phase = NO_PHASE if plan.phase is None else plan.phase
    load_and_filter(samples, blank, offsets, phase, plan.sections, buffer)
    return buffer, blank


def whiten_block(
    samples: Int16,
    first: int,
    start: int,
    plan: SpikeBandPlan,
    weights: LocalWeights,
    out: Int16,
    registration: LocalWeights = NO_REGISTRATION,
) -> BlockCounts:
    """Write whitened samples to `out`.

    Parameters
    ----------
    samples
        int16 (n, n_channels), C-contiguous: the block and its halo, as far as the recording reaches.
    first, start
        Sample numbers of the first of `samples` and of the block.
    weights, registration
        Weights of the whitening, and of the sums of whitened channels to write instead of them.
    """
    lead = start - first
    buffer, blank = prepare_block(samples, first, plan)
    reference = NO_REFERENCE if plan.reference is None else plan.reference
    n_clipped = filter_and_whiten(
        buffer, blank, lead, plan.sections, reference, NO_TAPS if plan.taps is None else plan.taps,
        weights.neighbors, weights.weights, registration.neighbors, registration.weights, out,
    )  # fmt: skip
    return BlockCounts(int(n_clipped), int(blank[lead : lead + len(out)].sum()))


def filter_block(samples: Int16, first: int, start: int, stop: int, plan: SpikeBandPlan) -> Float32:
    """Return the filtered block before whitening, float32, from `samples` that begin with its halo."""
    buffer, blank = prepare_block(samples, first, plan)
    filter_backward(buffer, plan.sections, np.zeros((4, buffer.shape[1]), np.float32))
    block = buffer[start - first : stop - first]
    if plan.reference is not None:
        subtract_common(block, plan.reference)
    block[blank[start - first : stop - first]] = 0
    return block


def halo_bounds(start: int, stop: int, timeline: Timeline) -> tuple[int, int]:
    """Return the samples to read for ``[start, stop)``: with a halo, within the recording and not across its gaps."""
    first, last = timeline.stretch_of(start)[0], timeline.stretch_of(max(stop - 1, start))[1]
    return max(start - HALO, first), min(stop + HALO, last)
