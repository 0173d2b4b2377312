"""Samples x channels in a Zarr store, read in parts as those of an HDF5 file are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..chunks import Part, Rows, SampleTable
from .array import ZarrArray


class ZarrSampleTable(SampleTable):
    """A two-dimensional array of a store (samples x channels), read in parts.

    Chunks are fetched together, some tens of MB at a time, and decoded by a few threads (:meth:`.ZarrArray.chunks_at`).
    """

    def _undone_here(self, dataset: Any) -> None:
        return None

    def _fill(self, dataset: Any, rows: Rows, columns: Rows, result: np.ndarray[Any, Any]) -> None:
        array: ZarrArray = dataset
        waiting: dict[tuple[int, ...], Part] = {}

        def places(parts: Iterable[Part]) -> Iterable[tuple[int, ...]]:
            for part in parts:
                place = (part.row // self.block[0], part.column // self.block[1])
                waiting[place] = part
                yield place

        for place, values in array.chunks_at(places(self._parts(rows, columns))):
            self._place(waiting.pop(place), values, result)
