"""Channels along their shanks: what is next to what, how far apart, and where a run of sites ends.

The release knew one probe and wrote distances as differences of channel numbers: two channels a row, rows 20 um apart,
so 10 um a channel. Here each channel has a place (um) along its shank instead, by the same idea: the channels of a row
share the row's extent, the k-th of n lying k/n of it higher. On a Neuropixels 1.0 probe the places are 10 um apart in
the order of channels, and every rule of the release has its numbers; on other probes, rows and site maps the places
say what that rule meant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]

#: Sites farther apart across the probe than this (um) lie on different shanks, where nothing else tells.
SHANK_GAP: Final = 120.0
#: A gap along a shank larger than this (um) separates two runs of sites, which see different tissue.
RUN_GAP: Final = 100.0


def shanks_by_position(geometry: npt.NDArray[np.float64]) -> Int64:
    """Return each channel's shank, told by gaps of more than 120 um across the probe; int64 (n_channels,)."""
    across = np.unique(geometry[:, 0])
    gaps = across[np.flatnonzero(np.diff(across) > SHANK_GAP)]
    return np.searchsorted(gaps, geometry[:, 0], side="left").astype(np.int64)


@dataclass(frozen=True, eq=False)
class ShankLines:
    """Channels of a probe as lines along its shanks, one for each run of sites without a larger gap.

    Attributes
    ----------
    positions
        float64 (n_channels, 2), um.
    shanks, runs
        int64 (n_channels,): shank of each channel, and number of its run; runs are numbered shank by shank, from the
        tip up.
    order
        int64: channels run by run, each from the tip up, channels of a row in one direction.
    places
        float64 (n_channels,): place of each channel along its shank, um.
    pitches
        float64 (n_runs,): distance of neighbouring places, um (10 on a Neuropixels 1.0 probe).
    columns
        int64 (n_runs,): channels of a row.
    """

    positions: Float64
    shanks: Int64
    runs: Int64
    order: Int64
    places: Float64
    pitches: Float64
    columns: Int64

    @classmethod
    def of(cls, geometry: npt.ArrayLike, shanks: npt.ArrayLike | None = None) -> ShankLines:
        """Lay out channels with positions (n_channels, 2) in um; their shanks are told by position if not given."""
        positions = np.asarray(geometry, dtype=np.float64)
        on = shanks_by_position(positions) if shanks is None else np.asarray(shanks, dtype=np.int64)
        runs, order, n_runs = _runs(positions, on)
        places = np.zeros(len(positions))
        pitches, columns = np.ones(n_runs), np.ones(n_runs, np.int64)
        for run in range(n_runs):
            members = order[runs[order] == run]
            places[members], pitches[run], columns[run] = _places(positions[members, 1])
        return cls(positions, on, runs, order, places, pitches, columns)

    @property
    def pitch(self) -> Float64:
        """Pitch of each channel's run, float64 (n_channels,)."""
        return self.pitches[self.runs]

    def used(self, channels: npt.ArrayLike) -> ShankLines:
        """Return the lines of the channels in use, in their given order; what is left out takes up no room.

        As in the release, where a reference channel between two others does not set them farther apart.
        """
        chosen = np.asarray(channels, dtype=np.int64)
        keep = np.zeros(len(self.places), dtype=bool)
        keep[chosen] = True
        room = np.zeros(len(self.places))
        for run in range(len(self.pitches)):
            members = self.order[self.runs[self.order] == run]
            extent = np.diff(self.places[members], append=self.places[members[-1]] + self.pitches[run])
            left_out = np.where(keep[members], 0.0, extent)
            room[members] = np.cumsum(left_out) - left_out
        new_number = np.full(len(self.places), -1, dtype=np.int64)
        new_number[chosen] = np.arange(chosen.size)
        return ShankLines(
            self.positions[chosen], self.shanks[chosen], self.runs[chosen], new_number[self.order[keep[self.order]]],
            (self.places - room)[chosen], self.pitches, self.columns,
        )  # fmt: skip

    def members(self, run: int) -> Int64:
        """Return the channels of a run from the tip up."""
        members: Int64 = self.order[self.runs[self.order] == run]
        return members

    def extent(self, channels: npt.ArrayLike) -> float:
        """Return how much of the shanks (um) these channels stand for: 10 each on a 1.0 probe, or what they span."""
        chosen = np.asarray(channels, dtype=np.int64)
        if not chosen.size:
            return 0.0
        span = np.hypot(*np.ptp(self.positions[chosen], axis=0))
        return float(max(self.pitch[chosen].sum(), span))

    def separation(self, one: npt.ArrayLike, other: npt.ArrayLike) -> Float64:
        """Return how far channels lie apart (um): along the shank on one shank, else as the crow flies.

        `one` and `other` are channels, broadcast against each other.
        """
        a, b = np.asarray(one, dtype=np.int64), np.asarray(other, dtype=np.int64)
        along = np.abs(self.positions[a, 1] - self.positions[b, 1])
        direct = np.hypot(*np.moveaxis(self.positions[a] - self.positions[b], -1, 0))
        return np.asarray(np.where(self.shanks[a] == self.shanks[b], along, direct))


def _runs(positions: Float64, shanks: Int64) -> tuple[Int64, Int64, int]:
    """Return each channel's run, the order of channels, and how many runs there are."""
    n = len(positions)
    y = np.round(positions[:, 1], 6)
    by_depth = np.lexsort((np.arange(n), y, shanks))
    gap = (np.diff(y[by_depth], prepend=y[by_depth[:1]]) > RUN_GAP) | (
        np.diff(shanks[by_depth], prepend=shanks[by_depth[:1]]) != 0
    )
    runs = np.empty(n, np.int64)
    runs[by_depth] = np.cumsum(gap)
    # Channels of a row follow each other from left to right or from right to left, as most channel numbers do.
    rightwards = np.diff(positions[by_depth, 0]) > 0
    same_row = (np.diff(y[by_depth]) == 0) & ~gap[1:]
    left_to_right = 2 * np.count_nonzero(rightwards & same_row) >= np.count_nonzero(same_row)
    across = positions[:, 0] if left_to_right else -positions[:, 0]
    return runs, np.lexsort((across, y, runs)).astype(np.int64), int(runs.max(initial=-1)) + 1


def _places(y: Float64) -> tuple[Float64, float, int]:
    """Return place of each channel of a run (`y` ascends), the usual distance of places, and channels of a row."""
    rows, row_of, counts = np.unique(np.round(y, 6), return_inverse=True, return_counts=True)
    columns = int(counts.max())
    if rows.size == 1:
        return y + np.arange(y.size) * 1.0, 1.0, columns
    pitch = float(np.median(np.diff(rows)))
    extent = np.diff(rows, append=rows[-1] + pitch)
    first = np.cumsum(counts) - counts
    k = np.arange(y.size) - first[row_of]
    return rows[row_of] + extent[row_of] * k / columns, pitch / columns, columns
