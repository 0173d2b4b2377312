"""An xarray index over timestamps that stay in the file.

Imported only by the modules that hand out lazily read arrays, and so never by ``import allen_ecephys``.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr
from xarray.backends import BackendArray
from xarray.core.indexing import (
    ExplicitIndexer,
    IndexingSupport,
    IndexSelResult,
    LazilyIndexedArray,
    explicit_indexing_adapter,
)
from xarray.indexes import PandasIndex

from ..errors import UnknownIdError, UnknownNameError
from ..nwb.timestamps import Timestamps

Key = int | np.integer[Any] | slice | np.ndarray


class TimestampArray(BackendArray):
    """Timestamps as xarray reads lazily: whole only when asked for whole."""

    def __init__(self, times: Timestamps) -> None:
        self.times = times
        self.shape = (len(times),)
        self.dtype = np.dtype(np.float64)

    def __getitem__(self, key: ExplicitIndexer) -> Any:
        return explicit_indexing_adapter(key, self.shape, IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Key, ...]) -> Any:
        wanted = key[0]
        if isinstance(wanted, slice):
            start, stop, step = wanted.indices(len(self.times))
            if step == 1:
                return self.times.read(start, stop)
            return self.times.take(np.arange(start, stop, step))
        if isinstance(wanted, np.ndarray):
            return self.times.take(wanted)
        return self.times.take(np.array([wanted]))[0]


class TimestampIndex(PandasIndex):
    """Selection by time that searches the file's timestamps block by block.

    A slice, a time or an array of times is found without reading the other timestamps. What is selected carries an
    ordinary pandas index. Anything that needs all timestamps at once (resampling, alignment with another recording)
    reads them, once, and goes on as with any xarray object.
    """

    __slots__ = ("_read_index", "name", "times")

    def __init__(self, times: Timestamps, dim: Hashable, name: Hashable | None = None) -> None:
        self.times = times
        self.dim = dim
        self.name = dim if name is None else name
        self.coord_dtype = np.dtype(np.float64)
        self._read_index: pd.Index[Any] | None = None

    @property
    def index(self) -> pd.Index[Any]:  # type: ignore[override]  # xarray sets it once; here it is read when needed
        """All timestamps (s), read on first use."""
        if self._read_index is None:
            self._read_index = pd.Index(self.times.read(0, len(self.times)), name=self.name)
        return self._read_index

    def variable(self) -> xr.Variable:
        """Return the coordinate: the timestamps, unread, with their unit."""
        attributes = {"units": "s", "long_name": "time on the session clock"}
        return xr.Variable((self.dim,), LazilyIndexedArray(TimestampArray(self.times)), attributes)

    def create_variables(self, variables: Mapping[Any, xr.Variable] | None = None) -> dict[Hashable, xr.Variable]:
        """Return the coordinate for a new object, with the attributes of the old one."""
        own = self.variable()
        if variables is not None and self.name in variables:
            own.attrs = dict(variables[self.name].attrs)
        return {self.name: own}

    def isel(self, indexers: Mapping[Any, Any]) -> PandasIndex | None:
        """Return the index of the samples at given positions."""
        wanted = indexers[self.dim]
        if isinstance(wanted, xr.Variable):
            if wanted.dims != (self.dim,):
                return None
            wanted = wanted.data
        if isinstance(wanted, slice):
            start, stop, step = wanted.indices(len(self.times))
            if (start, stop, step) == (0, len(self.times), 1):
                return self
            times = self.times.read(start, stop) if step == 1 else self.times.take(np.arange(start, stop, step))
        elif np.ndim(wanted) == 0:
            return None
        else:
            positions = np.asarray(wanted)
            if positions.dtype.kind == "b":
                positions = np.flatnonzero(positions)
            times = self.times.take(np.where(positions < 0, positions + len(self.times), positions))
        return PandasIndex(pd.Index(times, name=self.name), self.dim)

    def sel(self, labels: dict[Any, Any], method: str | None = None, tolerance: Any = None) -> IndexSelResult:
        """Return the positions of the samples at or between given times, as pandas would."""
        label = next(iter(labels.values()))
        if self._read_index is not None or not _is_time(label):
            return super().sel(labels, method=method, tolerance=tolerance)
        if isinstance(label, slice):
            if method is not None:
                msg = "a slice of times selects what lies between; it takes no method"
                raise NotImplementedError(msg)
            start = 0 if label.start is None else self._search(label.start, "left")
            stop = len(self.times) if label.stop is None else self._search(label.stop, "right")
            return IndexSelResult({self.dim: slice(start, max(start, stop), label.step)})
        values = np.asarray(label, dtype=np.float64)
        positions = self._positions(values.ravel(), method, tolerance).reshape(values.shape)
        found: Any = int(positions) if positions.ndim == 0 else positions
        if isinstance(label, xr.Variable):
            found = xr.Variable(label.dims, positions)
        elif isinstance(label, xr.DataArray):
            found = xr.DataArray(positions, coords=label.coords, dims=label.dims)
        return IndexSelResult({self.dim: found})

    def equals(self, other: xr.Index, **options: Any) -> bool:
        """Tell whether another index holds the same timestamps; the same part of the same file does, unread."""
        if isinstance(other, TimestampIndex):
            mine, theirs = self.times, other.times
            if (mine.reader.name, mine.path) == (theirs.reader.name, theirs.path):
                return True
        return bool(super().equals(other, **options))

    def copy(self, deep: bool = True) -> TimestampIndex:
        """Return a copy, which shares the file."""
        copied = TimestampIndex(self.times, self.dim, self.name)
        copied._read_index = self._read_index
        return copied

    def _copy(self, deep: bool = True, memo: dict[int, Any] | None = None) -> TimestampIndex:
        return self.copy(deep)

    def rename(self, name_dict: Mapping[Any, Hashable], dims_dict: Mapping[Any, Hashable]) -> TimestampIndex:
        """Return the index under a new name."""
        dim, name = dims_dict.get(self.dim, self.dim), name_dict.get(self.name, self.name)
        return TimestampIndex(self.times, dim, name)

    def __getstate__(self) -> dict[str, Any]:
        return {"times": self.times, "dim": self.dim, "name": self.name}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["times"], state["dim"], state["name"])  # type: ignore[misc]

    def _search(self, time: Any, side: Literal["left", "right"]) -> int:
        return int(self.times.search(np.array([float(np.asarray(time))]), side)[0])

    def _positions(self, values: np.ndarray, method: str | None, tolerance: Any) -> np.ndarray:
        """Return the position of each time by pandas' rules for `method`; KeyError where there is none."""
        size = len(self.times)
        after = self.times.search(values, "left")
        if method in ("pad", "ffill"):
            positions = self.times.search(values, "right") - 1
        elif method in ("backfill", "bfill"):
            positions = np.where(after < size, after, -1)
        elif method == "nearest":
            after = np.minimum(after, size - 1)
            before = np.maximum(after - 1, 0)
            closer = np.abs(values - self.times.take(before)) < np.abs(values - self.times.take(after))
            positions = np.where(closer, before, after)
        elif method is None:
            positions = np.minimum(after, size - 1)
            positions = np.where(self.times.take(positions) == values, positions, -1)
        else:
            msg = f"method must be 'nearest', 'pad', 'ffill', 'backfill' or 'bfill'; got {method!r}"
            raise UnknownNameError(msg)
        if tolerance is not None:
            far = np.abs(self.times.take(np.maximum(positions, 0)) - values) > np.asarray(tolerance)
            positions = np.where(far, -1, positions)
        if np.any(positions < 0) or np.any(np.isnan(values)):
            bad = values[(positions < 0) | np.isnan(values)][0]
            msg = (
                f"no sample at {float(bad)!r} s (samples from {self.times.take(np.array([0]))[0]:.4f} to "
                f"{self.times.take(np.array([size - 1]))[0]:.4f} s); method='nearest' takes the closest one"
            )
            raise UnknownIdError(msg)
        return positions


def _is_time(label: Any) -> bool:
    """Tell whether a label is a time, an array of times or a slice between times."""
    if isinstance(label, slice):
        return all(end is None or np.ndim(end) == 0 for end in (label.start, label.stop))
    return np.asarray(label).dtype.kind in "iuf"
