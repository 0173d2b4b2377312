"""How far the probe moved, from where along it spikes of each size are seen.

Kilosort 2.5 aligns histograms of depth and amplitude, batch by batch, with their mean. Here every peak votes with the
logarithm of the density of all aligned peaks at its place and size (so that a batch with few peaks says little), and
the path of the whole recording is the best compromise between these votes and standing still (Viterbi). On simulated
probes of 32 channels with 240 peaks a batch both follow 30 um to about 1 um; with 25 peaks a batch, the path still
does to 2 um, while single batches go astray by 15 um and more, and a still probe stays exactly still. Jumps are
followed without the smoothing over time that the alignment of single batches needs.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import Final

import numba
import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import InvalidContentsError

logger = logging.getLogger(__name__)

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

#: Samples of a batch, for which one shift is estimated (Kilosort 2's stride).
BATCH_SAMPLES: Final = 65_536
#: Shifts are looked for on a grid of 1 um: up to this far for the whole probe, and so much more for one block.
REACH_UM: Final = 120
BLOCK_REACH_UM: Final = 30
#: Density of peaks: bins of the logarithm of the amplitude between two amplitudes (noise SDs) at 1 um of depth,
#: smoothed over one of these bins and finally over this many um.
AMPLITUDE_BINS: Final = 20
AMPLITUDES: Final = (5.0, 100.0)
SMOOTHING_UM: Final = 4.0
#: Peaks of one batch within so many um and one bin of the amplitude count as of one unit.
CELL_UM: Final = 10
#: Share of the mean density that is added everywhere: the chance that a peak belongs to no unit.
BACKGROUND: Final = 0.3
#: The density is smoothed over this many times more in the first rounds: that finds large movements.
ANNEALING: Final = (8, 6, 5, 4, 3, 2)
ROUNDS: Final = 20
#: Batches that the next is compared with where a jump is looked for, and by how much (log-likelihood) a path that was
#: found so must be likelier. No movement costs more than so many um of it there: the evidence is that of one batch.
REMEMBERED: Final = 8
LEAST_GAIN: Final = 20.0
COSTLIEST_UM: Final = 10
#: What a um of movement from one batch to the next costs, in units of log-likelihood of one peak. Also what a block's
#: shift costs where it differs from the whole probe's.
PENALTY: Final = 1.5
BLOCK_PENALTY: Final = 0.15
#: Peaks this near (um) to an end of the probe stay there when the tissue moves on: they do not vote.
EDGE_UM: Final = 20.0
#: Depth blocks are this far apart (um) at least, each with this many peaks in all.
BLOCK_UM: Final = 400.0
BLOCK_PEAKS: Final = 1000
#: On a probe shorter than this (um), or with fewer peaks than this in all or a batch, nothing can be said.
LEAST_UM: Final = 100.0
LEAST_PEAKS: Final = 200
LEAST_A_BATCH: Final = 5
#: The tissue is held still where it is most of the time: where most batches lie within so many um of each other.
USUAL_UM: Final = 30.0
#: Movement that need not be undone: undoing it costs more signal than it restores.
NEGLIGIBLE_UM: Final = 2.0


@dataclass(frozen=True, eq=False)
class Drift:
    """Displacement of the tissue along the probe (positive: towards the surface) from where it is most of the time.

    Attributes
    ----------
    shift_um
        float64 (n_batches, n_blocks).
    block_depths
        float64 (n_blocks,): centres of the depth blocks, um, ascending.
    batch_samples
        Samples of a batch.
    """

    shift_um: Float64
    block_depths: Float64
    batch_samples: int = BATCH_SAMPLES
    n_peaks: int = field(default=0)

    @property
    def is_negligible(self) -> bool:
        """Whether the tissue stayed within 2 um everywhere: then data are better left as they are."""
        return not self.shift_um.size or bool(np.abs(self.shift_um).max() <= NEGLIGIBLE_UM)

    def at(self, batch: int, depths: npt.ArrayLike) -> Float64:
        """Return the displacement in um at these depths during one batch."""
        return np.asarray(np.interp(np.asarray(depths, dtype=np.float64), self.block_depths, self.shift_um[batch]))

    def at_sample(self, sample: float, depths: npt.ArrayLike) -> Float64:
        """Return the displacement in um at these depths and this sample, linear between the middles of batches."""
        place = np.clip(sample / self.batch_samples - 0.5, 0.0, len(self.shift_um) - 1.0)
        before = min(int(place), max(len(self.shift_um) - 2, 0))
        after = min(before + 1, len(self.shift_um) - 1)
        share = place - before
        return np.asarray((1.0 - share) * self.at(before, depths) + share * self.at(after, depths))

    def __repr__(self) -> str:
        """Say how far it went."""
        size = float(np.ptp(self.shift_um)) if self.shift_um.size else 0.0
        return f"Drift({size:.1f} um over {len(self.shift_um)} batches, {len(self.block_depths)} blocks)"


@numba.njit(cache=True, nogil=True)
def add_votes(
    batch: Int64, place: Int64, size: Int64, weight: Float64, log_density: Float64, reach: int, votes: Float64
) -> None:
    """Add to ``votes[batch, reach + s]`` the log-density at ``place - s`` of each peak, for every shift s.

    `log_density` (n_sizes, n) is for peaks whose `place` counts from its first column.
    """
    for i in range(len(batch)):
        row, target = log_density[size[i]], votes[batch[i]]
        last = place[i] + reach
        for j in range(2 * reach + 1):
            target[j] += weight[i] * row[last - j]


@numba.njit(cache=True, nogil=True)
def best_path(votes: Float64, penalty: float) -> Int64:
    """Return the column of each row that maximises the sum of votes less `penalty` for each column moved (Viterbi)."""
    n_rows, n = votes.shape
    came_from = np.empty((n_rows, n), np.int64)
    score = votes[0].copy()
    for b in range(1, n_rows):
        source = came_from[b]
        source[0] = 0
        for j in range(1, n):
            source[j] = j
            if score[j - 1] - penalty > score[j]:
                score[j], source[j] = score[j - 1] - penalty, source[j - 1]
        for j in range(n - 2, -1, -1):
            if score[j + 1] - penalty > score[j]:
                score[j], source[j] = score[j + 1] - penalty, source[j + 1]
        score += votes[b]
    path = np.empty(n_rows, np.int64)
    path[-1] = np.argmax(score)
    for b in range(n_rows - 1, 0, -1):
        path[b - 1] = came_from[b, path[b]]
    return path


@dataclass(frozen=True)
class _PeakBins:
    """Peaks on the grid: whole um from `lowest` on, and bins of the amplitude."""

    batch: Int64
    place: Int64
    size: Int64
    weight: Float64
    n_batches: int
    n_places: int
    lowest: float

    def log_density(self, shift: Int64, smoothing: float, pad: int) -> Float64:
        """Return the log-density (sizes, places + 2 pad) of peaks moved back by `shift` each."""
        from scipy.ndimage import gaussian_filter

        counts = np.zeros((AMPLITUDE_BINS, self.n_places))
        np.add.at(counts, (self.size, np.clip(self.place - shift, 0, self.n_places - 1)), self.weight)
        density = gaussian_filter(counts, (1.0, smoothing), mode=("nearest", "constant"))
        # Without any peak the density is flat, and its logarithm still a number.
        floor = max(BACKGROUND * float(density.mean()), float(np.finfo(np.float64).tiny))
        return np.pad(np.log(density + floor), ((0, 0), (pad, pad)), constant_values=np.log(floor))


def shared_weights(batch: Int64, place: Int64, size: Int64) -> Float64:
    """Return the weight of each peak: those in one cell of a batch weigh ``log2(1 + n)`` together.

    Spikes of one unit do not speak for the probe independently: most of them come from what that unit did then.
    """
    cell = (batch * (place.max(initial=0) + 1) + place) * AMPLITUDE_BINS + size
    _, index, counts = np.unique(cell, return_inverse=True, return_counts=True)
    return np.asarray((np.log2(1.0 + counts) / counts)[index])


def _bins(batch: Int64, depth: Float64, amplitude: Float64, n_batches: int, low: float, high: float) -> _PeakBins:
    n_places = int(np.ceil(high - low)) + 1
    lowest, largest = AMPLITUDES
    size = np.log(np.maximum(amplitude, 1e-9) / lowest) / np.log(largest / lowest) * AMPLITUDE_BINS
    place = np.clip(np.floor(depth - low), 0, n_places - 1).astype(np.int64)
    whole = np.clip(np.floor(size), 0, AMPLITUDE_BINS - 1).astype(np.int64)
    return _PeakBins(
        batch=batch,
        place=place,
        size=whole,
        weight=shared_weights(batch, place // CELL_UM, whole),
        n_batches=n_batches,
        n_places=n_places,
        lowest=low,
    )


def usual_place(shift: Float64) -> Float64:
    """Return where each depth block mostly is, float64 (n_blocks,), given shifts (n_batches, n_blocks) in um.

    The median, but of the batches near where most are: after a jump half way the median of all lies between two places,
    and the probe was at neither.
    """
    whole = shift.mean(axis=1)
    places = np.sort(whole)
    last = np.searchsorted(places, places + USUAL_UM, side="right")
    n_near = last - np.searchsorted(places, places - USUAL_UM, side="left")
    return np.asarray(np.median(shift[np.abs(whole - places[n_near.argmax()]) <= USUAL_UM], axis=0))


def _centred(path: Int64) -> Int64:
    return path - int(np.rint(np.median(path)))


def _rigid(bins: _PeakBins) -> Int64:
    """Return the whole probe's shift, int64 (n_batches,) um: the likelier of two paths.

    The density of all peaks, smoothed widely at first, shows movements of a few tens of um. After a jump by more it
    shows every unit twice, and each half of the recording fits it as it is: a batch is then compared with those before.
    """
    found = _settled(bins, np.zeros(bins.n_batches, np.int64), ANNEALING)
    followed = _settled(bins, _centred(_followed(bins)), ())
    return followed if _likelihood(bins, followed) > _likelihood(bins, found) + LEAST_GAIN else found


def _votes(bins: _PeakBins, shift: Int64, smoothing: float) -> Float64:
    """Return what each batch's peaks say of each shift, given where all were, float64 (n_batches, 2 reach + 1)."""
    density = bins.log_density(shift[bins.batch], smoothing, REACH_UM)
    votes = np.zeros((bins.n_batches, 2 * REACH_UM + 1))
    add_votes(bins.batch, bins.place + REACH_UM, bins.size, bins.weight, density, REACH_UM, votes)
    return votes


def _settled(bins: _PeakBins, shift: Int64, annealing: tuple[int, ...]) -> Int64:
    """Return the path that votes and density in turn lead to from `shift`, until nothing changes."""
    for number in range(ROUNDS):
        wider = annealing[number] if number < len(annealing) else 1
        found = _centred(best_path(_votes(bins, shift, wider * SMOOTHING_UM), PENALTY))
        if number > len(annealing) and (found == shift).all():
            break
        shift = found
    return shift


def _likelihood(bins: _PeakBins, shift: Int64) -> float:
    """Return the log-likelihood of a path, less what its movements cost."""
    column = np.clip(shift, -REACH_UM, REACH_UM) + REACH_UM
    votes = _votes(bins, shift, SMOOTHING_UM)[np.arange(bins.n_batches), column]
    return float(votes.sum() - PENALTY * np.abs(np.diff(shift)).sum())


def _followed(bins: _PeakBins) -> Int64:
    """Return a first path, batch by batch: where each one's peaks fit those of the batches before it."""
    order = np.argsort(bins.batch, kind="stable")
    batch, place, size, weight = bins.batch[order], bins.place[order], bins.size[order], bins.weight[order]
    first = np.searchsorted(batch, np.arange(bins.n_batches + 1))
    shift, columns = np.zeros(bins.n_batches, np.int64), np.arange(-REACH_UM, REACH_UM + 1)
    for b in range(1, bins.n_batches):
        before, mine = slice(first[max(b - REMEMBERED, 0)], first[b]), slice(first[b], first[b + 1])
        past = replace(bins, batch=batch[before], place=place[before], size=size[before], weight=weight[before])
        density = past.log_density(shift[past.batch], 2 * SMOOTHING_UM, REACH_UM)
        votes = np.zeros((1, len(columns)))
        alone = np.zeros(first[b + 1] - first[b], np.int64)
        add_votes(alone, place[mine] + REACH_UM, size[mine], weight[mine], density, REACH_UM, votes)
        moved = np.minimum(np.abs(columns - shift[b - 1]), COSTLIEST_UM)
        shift[b] = columns[np.argmax(votes[0] - PENALTY * moved)]
    return shift


def _block_shares(depth: Float64, centres: Float64) -> tuple[Int64, Float64]:
    """Return the block below each depth and the share of the one above (linear between centres)."""
    position = np.interp(depth, centres, np.arange(len(centres), dtype=np.float64))
    below = np.minimum(position.astype(np.int64), len(centres) - 2)
    return below, position - below


def _blockwise(bins: _PeakBins, rigid: Int64, centres: Float64) -> Int64:
    """Return shifts of overlapping depth blocks, int64 (n_batches, n_blocks), near the whole probe's."""
    below, share = _block_shares(np.asarray(bins.place + bins.lowest), centres)
    pad = BLOCK_REACH_UM + int(np.abs(rigid).max())
    extra = np.zeros((bins.n_batches, len(centres)), np.int64)
    away = BLOCK_PENALTY * np.abs(np.arange(-BLOCK_REACH_UM, BLOCK_REACH_UM + 1))
    for number in range(ROUNDS):
        mine = (1 - share) * extra[bins.batch, below] + share * extra[bins.batch, below + 1]
        shift = rigid[bins.batch] + np.rint(mine).astype(np.int64)
        density = bins.log_density(shift, (2 if number < 2 else 1) * SMOOTHING_UM, pad)
        found = np.empty_like(extra)
        for block in range(len(centres)):
            part = np.where(below == block, 1 - share, 0.0) + np.where(below + 1 == block, share, 0.0)
            near = np.flatnonzero(part > 0)
            votes = np.zeros((bins.n_batches, 2 * BLOCK_REACH_UM + 1))
            place = bins.place[near] - rigid[bins.batch[near]] + pad
            weight = part[near] * bins.weight[near]
            add_votes(bins.batch[near], place, bins.size[near], weight, density, BLOCK_REACH_UM, votes)
            found[:, block] = best_path(votes - away, PENALTY) - BLOCK_REACH_UM
        if (found == extra).all():
            break
        extra = found
    return rigid[:, None] + extra


def block_centres(depth: Float64, depth_range: tuple[float, float], nblocks: int) -> Float64:
    """Return the centres of the depth blocks: at most ``2 nblocks - 1``, each long enough and with enough peaks.

    The first and the last lie at the ends of the probe, so that nothing is extrapolated.
    """
    low, high = depth_range
    possible = min(2 * nblocks - 1, int((high - low) // BLOCK_UM) + 1, len(depth) // BLOCK_PEAKS)
    return np.linspace(low, high, possible) if possible > 1 else np.array([(low + high) / 2])


def _checked(batch: npt.ArrayLike, depth: npt.ArrayLike, amplitude: npt.ArrayLike, n_batches: int) -> tuple[
    Int64, Float64, Float64
]:  # fmt: skip
    b, z, a = np.asarray(batch, np.int64), np.asarray(depth, np.float64), np.asarray(amplitude, np.float64)
    if not b.shape == z.shape == a.shape or b.ndim != 1:
        msg = f"batch {b.shape}, depth {z.shape} and amplitude {a.shape} do not describe the same peaks"
        raise InvalidContentsError(msg)
    if len(b) and (b.min() < 0 or b.max() >= n_batches or not np.isfinite(z).all() or not np.isfinite(a).all()):
        msg = f"peaks lie in batches {b.min()} to {b.max()} of {n_batches}, or have depths or amplitudes that are NaN"
        raise InvalidContentsError(msg)
    return b, z, a


def estimate_drift(
    batch: npt.ArrayLike,
    depth: npt.ArrayLike,
    amplitude: npt.ArrayLike,
    *,
    n_batches: int,
    depth_range: tuple[float, float],
    nblocks: int = 5,
) -> Drift:
    """Estimate how the tissue moved along the probe.

    Parameters
    ----------
    batch
        Integers (n_peaks,): batch of each peak, 0 to `n_batches` - 1.
    depth
        (n_peaks,) um.
    amplitude
        (n_peaks,): size of the peak, noise SDs.
    depth_range
        Lowest and highest channel, um.
    nblocks
        1 for one shift of the whole probe; more for as many as ``2 nblocks - 1`` overlapping depth blocks, as far as
        the probe is long enough (400 um a block) and has enough peaks.

    Returns
    -------
    Drift
        Zero where there are too few peaks to tell.

    Raises
    ------
    InvalidContentsError
        If the arrays do not fit together.
    """
    b, z, a = _checked(batch, depth, amplitude, n_batches)
    low, high = depth_range
    still = Drift(np.zeros((n_batches, 1)), np.array([(low + high) / 2]), n_peaks=len(b))
    if nblocks < 1 or n_batches < 2:
        return still
    inside = (z > low + EDGE_UM) & (z < high - EDGE_UM)
    b, z, a = b[inside], z[inside], a[inside]
    if high - low < LEAST_UM or len(b) < max(LEAST_PEAKS, LEAST_A_BATCH * n_batches):
        logger.warning(
            "%d peaks in %d batches on %g um are too few to see the probe move; it counts as still",
            len(b), n_batches, high - low,
        )  # fmt: skip
        return still
    bins = _bins(b, z, a, n_batches, low - REACH_UM / 2, high + REACH_UM / 2)
    rigid = _rigid(bins)
    centres = block_centres(z, depth_range, nblocks)
    moved = rigid[:, None] if len(centres) == 1 else _blockwise(bins, rigid, centres)
    shift = moved.astype(np.float64)
    return Drift(shift - usual_place(shift), centres, n_peaks=len(b))
