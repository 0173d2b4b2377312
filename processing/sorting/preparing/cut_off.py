"""Channels that are cut off for a while: a broken shank, a loose plug, an amplifier at the end of its range.

They hold one value. Filtered, that is a step where it begins and ends; referenced, the mirror image of the median; to
the whitening of the channels around, a neighbour without noise. In every block such channels are left out of all that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from ...recording import Recording
from ...spike_band.blocks import SpikeBandPlan, blanked_rows, halo_bounds
from ...spike_band.common_reference import ABSENT

Int16 = npt.NDArray[np.int16]
Bools = npt.NDArray[np.bool_]

#: A channel that holds one value for so many samples (10 ms) is cut off: whatever noise there is changes it sooner.
STUCK_SAMPLES: Final = 300


@numba.njit(cache=True, nogil=True)
def stuck_channels(samples: Int16, blank: Bools) -> Bools:
    """Tell which channels hold one value for :data:`STUCK_SAMPLES`: surely if for twice as many, else perhaps.

    Every so many samples a channel's value is compared with the next of these, and only where they are equal with all
    between: live channels take a step or two.

    Parameters
    ----------
    samples
        int16 (n_samples, n_channels).
    blank
        bool (n_samples,): samples that say nothing.
    """
    stuck = np.zeros(samples.shape[1], np.bool_)
    for start in range(0, len(samples) - STUCK_SAMPLES, STUCK_SAMPLES):
        stop = start + STUCK_SAMPLES
        if blank[start : stop + 1].any():
            continue
        for c in range(samples.shape[1]):
            if stuck[c] or samples[start, c] != samples[stop, c]:
                continue
            t = start + 1
            while t < stop and samples[t, c] == samples[start, c]:
                t += 1
            stuck[c] = t == stop
    return stuck


@numba.njit(cache=True, nogil=True)
def flat_channels(samples: Int16, among: Bools) -> Bools:
    """Tell which of some channels hold one value in all samples."""
    flat = among.copy()
    for c in range(samples.shape[1]):
        t = 1
        while flat[c] and t < len(samples):
            flat[c] = samples[t, c] == samples[0, c]
            t += 1
    return flat


def cut_off(samples: Int16, first: int, plan: SpikeBandPlan) -> tuple[Bools, SpikeBandPlan]:
    """Tell which channels are cut off in a block, and how the others are filtered and referenced then.

    What all channels do together, as an artifact that saturates them, is not meant: such moments are blanked.

    Parameters
    ----------
    samples, first
        int16 (n_samples, n_channels), the block with its halo, and the number of its first sample.

    Returns
    -------
    ndarray
        bool (n_channels,).
    SpikeBandPlan
        `plan`, in which channels that are cut off count neither as saturated nor in the common median. If they are half
        of its members they stay in it, as zeros: that of the others would be a median of their own spikes.
    """
    off = stuck_channels(samples, np.zeros(len(samples), np.bool_))
    if not off.any():
        return off, plan
    flat = flat_channels(samples, off)
    adapted = replace(plan, saturation=np.where(flat, np.float32(np.inf), plan.saturation))
    off = flat | stuck_channels(samples, blanked_rows(samples, first, adapted))
    if plan.reference is not None:
        members = plan.reference != ABSENT
        if 2 * (members & off).sum() < members.sum():
            adapted = replace(adapted, reference=np.where(off, ABSENT, plan.reference).astype(np.int32))
    return off, adapted


class SeenBlock(NamedTuple):
    """Samples of a block with its halo, and what of them is cut off.

    Attributes
    ----------
    samples, first
        int16 (n_samples, n_channels), C-contiguous, and the number of the first.
    start, stop
        The block without its halo.
    off, plan
        From :func:`cut_off`.
    """

    samples: Int16
    first: int
    start: int
    stop: int
    off: Bools
    plan: SpikeBandPlan


def seen_blocks(recording: Recording, plan: SpikeBandPlan, bounds: Iterable[tuple[int, int]]) -> Iterator[SeenBlock]:
    """Read blocks, of each what no gap in time divides."""
    for block in bounds:
        start, stop = recording.timeline.longest(*block)
        first, last = halo_bounds(start, stop, recording.timeline)
        samples = np.ascontiguousarray(recording.read(first, last))
        yield SeenBlock(samples, first, start, stop, *cut_off(samples, first, plan))
