"""Spike counts in fine bins, where nearly all are zero: one sparse matrix a unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from ..errors import UnknownIdError
from ..stimulus.trials import PRESENTATION
from .counting import over_units
from .ragged import Floats, Integers, RaggedTimes, UnitTimes, Windows, first_above, first_not_below

if TYPE_CHECKING:
    import xarray as xr
    from scipy.sparse import csr_array


@dataclass(frozen=True)
class SparseCounts:
    """Spike counts of several units, presentation by time bin, holding only the bins with a spike.

    Attributes
    ----------
    stimulus_presentation_id
        Int64, the rows of every matrix, whatever `row_label` calls them.
    time_relative_to_stimulus_onset
        Float64 seconds, the centres of the bins: the columns.
    unit_id
        Int64, one for each matrix.
    matrices
        ``scipy.sparse.csr_array`` of int32, shape (presentations, bins), one a unit.
    row_label
        What the rows are called: ``stimulus_presentation_id``, or ``trial_id`` for a table of the caller's own.
    """

    stimulus_presentation_id: Integers
    time_relative_to_stimulus_onset: Floats
    unit_id: Integers
    matrices: tuple[csr_array, ...]
    row_label: str = PRESENTATION

    @property
    def trial_id(self) -> Integers:
        """The rows of every matrix, as trials of a table of the caller's own."""
        return self.stimulus_presentation_id

    @property
    def shape(self) -> tuple[int, int, int]:
        """Lengths of the axes (presentation, bin, unit)."""
        return (
            len(self.stimulus_presentation_id),
            len(self.time_relative_to_stimulus_onset),
            len(self.unit_id),
        )

    @property
    def nnz(self) -> int:
        """Number of bins with a spike."""
        return sum(int(matrix.nnz) for matrix in self.matrices)

    def unit(self, unit_id: int) -> csr_array:
        """Return the matrix of one unit."""
        found = np.flatnonzero(self.unit_id == unit_id)
        if not len(found):
            msg = f"unit {unit_id!r} was not counted; the units counted are .unit_id"
            raise UnknownIdError(msg)
        return self.matrices[int(found[0])]

    def to_xarray(self) -> xr.DataArray:
        """Return all counts, zeros included, as the dense result of the same call."""
        dense = np.zeros((len(self.unit_id), *self.shape[:2]), dtype=np.int32)
        for position, matrix in enumerate(self.matrices):
            dense[position] = matrix.toarray()
        rows, times = self.stimulus_presentation_id, self.time_relative_to_stimulus_onset
        return as_data_array(dense, rows, times, self.unit_id, self.row_label)


def as_data_array(
    counts: np.ndarray[Any, Any], rows: Integers, times: Floats, units: Integers, row_label: str = PRESENTATION
) -> xr.DataArray:
    """Return counts of shape (unit, presentation, bin) as the labelled array of the session's calls, not copied."""
    import xarray as xr

    return xr.DataArray(
        counts.transpose(1, 2, 0),
        dims=(row_label, "time_relative_to_stimulus_onset", "unit_id"),
        coords={
            row_label: rows,
            "time_relative_to_stimulus_onset": (
                "time_relative_to_stimulus_onset",
                times,
                {"units": "s", "long_name": "centre of the bin, from the onset of the stimulus"},
            ),
            "unit_id": units,
        },
        name="spike_counts",
        attrs={"long_name": "spikes in the bin"},
    )


@njit(cache=True, nogil=True)
def _occupied(
    values: Floats,
    start: int,
    stop: int,
    edges: Floats,
    order: Integers,
    closed: bool,
    row_counts: Integers,
    columns: np.ndarray[Any, Any],
    counts: np.ndarray[Any, Any],
    offsets: Integers,
    write: bool,
) -> None:
    """Count the bins of one unit that hold a spike (``row_counts``), or write them in CSR order."""
    n_bins = edges.shape[1] - 1
    hint = start
    for k in range(len(order)):
        row = edges[order[k]]
        hint = first_not_below(values, hint, stop, row[0])
        i, at, bin_ = hint, offsets[order[k]], 0
        while i < stop:
            # The next bin with a spike is that of the next spike; `i` is the first one not below the edge of `bin_`.
            if closed:
                bin_ = first_not_below(row, bin_ + 1, n_bins + 1, values[i]) - 1
            else:
                bin_ = first_above(row, bin_, n_bins + 1, values[i]) - 1
            if bin_ >= n_bins:
                break
            begin = i
            i = first_not_below(values, i, stop, row[bin_ + 1])
            if write:
                columns[at] = bin_
                counts[at] = (first_above(values, i, stop, row[bin_ + 1]) if closed else i) - begin
                at += 1
            else:
                row_counts[order[k]] += 1
            bin_ += 1


def count_sparsely(ragged: UnitTimes, edges: Floats, closed: bool = False) -> tuple[csr_array, ...]:
    """Count each unit's spikes in bins, holding only those with a spike.

    Parameters
    ----------
    ragged
        Spike times (s).
    edges
        Float64, shape (n_rows, n_bins + 1), as in :func:`allen_ecephys.spikes.counting.count_in_bins`.
    closed
        Bins closed at both ends.

    Returns
    -------
    tuple of csr_array, int32, shape (n_rows, n_bins), one a unit
    """
    from scipy.sparse import csr_array

    rows, n_bins = edges.shape[0], edges.shape[1] - 1
    order = np.argsort(edges[:, 0], kind="stable")
    matrices: list[csr_array | None] = [None] * len(ragged)
    none = np.empty(0, dtype=np.int32)

    def count(first: int, last: int, part: RaggedTimes) -> None:
        for unit in range(first, last):
            start, stop = int(part.starts[unit - first]), int(part.stops[unit - first])
            where = (part.values, start, stop, edges, order, closed)
            per_row = np.zeros(rows, dtype=np.int64)
            _occupied(*where, per_row, none, none, np.zeros(rows, dtype=np.int64), False)
            offsets = np.concatenate(([0], np.cumsum(per_row)))
            columns, counts = np.empty(offsets[-1], dtype=np.int32), np.empty(offsets[-1], dtype=np.int32)
            _occupied(*where, per_row, columns, counts, offsets, True)
            matrices[unit] = csr_array((counts, columns, offsets.astype(np.int32)), shape=(rows, n_bins))

    over_units(count, ragged, Windows(edges[:, 0], edges[:, -1]), rows)
    return tuple(matrix for matrix in matrices if matrix is not None)
