"""Spikes as a sorter leaves them: one time and one unit each, checked once at the door."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from allen_ecephys.errors import SpikeTrainError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, eq=False)
class SortedSpikes:
    """Spikes of one probe, in the order in which they were given.

    Attributes
    ----------
    samples
        Time of each spike as a sample number of the recording, int64, shape (n_spikes,). Any order.
    units
        Unit of each spike, int64, shape (n_spikes,). Ids need be neither dense nor start at 0.
    unit_ids
        Ids of all units, int64, ascending. Units without a spike keep their row in every table.
    unit_index
        Row of each spike's unit in `unit_ids`, int64, shape (n_spikes,).

    Examples
    --------
    >>> spikes = SortedSpikes.from_arrays(samples=[300, 100, 200], units=[7, 7, 9])
    >>> spikes.unit_ids.tolist(), spikes.counts().tolist()
    ([7, 9], [2, 1])
    """

    samples: NDArray[np.int64]
    units: NDArray[np.int64]
    unit_ids: NDArray[np.int64]
    unit_index: NDArray[np.int64]

    @classmethod
    def from_arrays(
        cls,
        samples: ArrayLike,
        units: ArrayLike,
        *,
        unit_ids: ArrayLike | None = None,
        n_samples: int | None = None,
    ) -> SortedSpikes:
        """Check spikes and put them in the dtypes everything else relies on.

        Parameters
        ----------
        samples, units
            Sample number and unit of each spike. Column vectors, as sorters write them, are accepted.
        unit_ids
            All units, where some may have no spike. Default: those that have one.
        n_samples
            Length of the recording; spikes at or past it are refused.

        Raises
        ------
        SpikeTrainError
            If times and units differ in number, are not whole numbers, lie outside the recording, or if spikes belong
            to units that `unit_ids` does not name.

        Examples
        --------
        >>> SortedSpikes.from_arrays([10, 40], [3, 3], unit_ids=[3, 4]).counts()
        array([2, 0])
        >>> SortedSpikes.from_arrays([10, 40], [3, 3], n_samples=30)
        Traceback (most recent call last):
            ...
        allen_ecephys.errors.SpikeTrainError: 1 of 2 spikes lie past the end of the recording (last...
        """
        times = _whole_numbers(samples, "spike times")
        labels = _whole_numbers(units, "spike units")
        if times.size != labels.size:
            msg = f"{times.size:,} spike times but {labels.size:,} units: give one unit for each spike"
            raise SpikeTrainError(msg)
        _check_range(times, n_samples)
        ids = np.unique(labels if unit_ids is None else _whole_numbers(unit_ids, "unit ids"))
        index = np.searchsorted(ids, labels)
        unknown = (
            (index >= ids.size) | (ids[np.minimum(index, ids.size - 1)] != labels) if ids.size else labels == labels
        )
        if unknown.any():
            msg = f"spikes of unit {labels[unknown][0]}, which is not among the {ids.size} unit ids given"
            raise SpikeTrainError(msg)
        return cls(times, labels, ids, index.astype(np.int64))

    def __len__(self) -> int:
        return int(self.samples.size)

    @property
    def n_units(self) -> int:
        """Number of units, with or without spikes.

        Examples
        --------
        >>> SortedSpikes.from_arrays([10, 40], [3, 3], unit_ids=[3, 4]).n_units
        2
        """
        return int(self.unit_ids.size)

    def counts(self) -> NDArray[np.int64]:
        """Return the number of spikes of each unit, shape (n_units,).

        Examples
        --------
        >>> SortedSpikes.from_arrays([10, 40, 50], [9, 3, 9]).counts()
        array([1, 2])
        """
        return np.bincount(self.unit_index, minlength=self.n_units).astype(np.int64)

    def rows_by_unit(self) -> list[NDArray[np.int64]]:
        """Return, for each unit, the rows of its spikes in ascending time (ties in the order given).

        Examples
        --------
        >>> spikes = SortedSpikes.from_arrays(samples=[300, 100, 200], units=[7, 7, 9])
        >>> [spikes.samples[rows].tolist() for rows in spikes.rows_by_unit()]
        [[100, 300], [200]]
        """
        order = np.lexsort((self.samples, self.unit_index)).astype(np.int64)
        return np.split(order, np.cumsum(self.counts())[:-1]) if self.n_units else []

    def keep(self, mask: NDArray[np.bool_]) -> SortedSpikes:
        """Return the spikes where `mask` (n_spikes,) is true; units that lose all their spikes stay listed.

        Examples
        --------
        >>> spikes = SortedSpikes.from_arrays(samples=[300, 100, 200], units=[7, 7, 9])
        >>> first = spikes.keep(spikes.samples < 150)
        >>> first.unit_ids.tolist(), first.counts().tolist()
        ([7, 9], [1, 0])
        """
        return SortedSpikes(self.samples[mask], self.units[mask], self.unit_ids, self.unit_index[mask])


def _whole_numbers(values: ArrayLike, what: str) -> NDArray[np.int64]:
    array = np.asarray(values)
    if array.ndim == 2 and 1 in array.shape:
        array = array.reshape(-1)
    if array.ndim != 1:
        msg = f"{what} have shape {array.shape}: one number for each spike is needed"
        raise SpikeTrainError(msg)
    if array.dtype.kind not in "iu":
        whole = array.size == 0 or (
            array.dtype.kind == "f" and bool(np.isfinite(array).all()) and bool((array == np.rint(array)).all())
        )
        if not whole:
            msg = f"{what} are {array.dtype} with values that are no whole numbers: give sample numbers, not seconds"
            raise SpikeTrainError(msg)
    return array.astype(np.int64)


def _check_range(times: NDArray[np.int64], n_samples: int | None) -> None:
    if times.size == 0:
        return
    if times.min() < 0:
        msg = f"{int((times < 0).sum()):,} spikes lie before the recording (first at sample {times.min():,})"
        raise SpikeTrainError(msg)
    if n_samples is not None and times.max() >= n_samples:
        late = int((times >= n_samples).sum())
        msg = (
            f"{late:,} of {times.size:,} spikes lie past the end of the recording (last at sample {times.max():,}, "
            f"recording has {n_samples:,}): check that spikes and recording belong together"
        )
        raise SpikeTrainError(msg)
