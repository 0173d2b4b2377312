"""Parts of a chunked, compressed table of samples: only the chunks asked for, inflated in parallel.

HDF5 inflates chunks one after the other under one lock. Here the compressed bytes of each chunk are fetched as they are
and inflated by a few threads (:mod:`.filters`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..config import threads
from ..errors import CorruptFileError, FileFormatError
from .filters import LARGEST_CHUNK, known_filters, undone
from .stored import check_chunk_size

if TYPE_CHECKING:
    import h5py

    from .reader import NwbReader

#: Bytes a block of rows has where the dataset is not chunked.
UNCHUNKED_BYTES = 8_000_000

#: Threads pay where each chunk is large (the release's: 186 kB), or small ones are many; else they cost more than
#: they save (measured: 4.6 MB in 30 kB chunks take 18 ms of CPU in one thread, 28 ms in two).
LARGE_CHUNK = 100_000
LARGE_RESULT = 16_000_000

Rows = slice | np.ndarray


@dataclass(frozen=True)
class Part:
    """The rows and columns wanted of one chunk, and where they go."""

    row: int  # first row of the chunk
    column: int  # first column of the chunk
    rows: Rows  # wanted, counted within the chunk
    columns: Rows
    to_rows: Rows  # where they go in the result
    to_columns: Rows
    last_row: int  # last row wanted, counted within the chunk: HDF5 is not asked for more


class SampleTable:
    """A two-dimensional dataset (samples x channels) of a file, read in parts.

    Parameters
    ----------
    reader
        The file.
    path
        The dataset.

    Raises
    ------
    FileFormatError
        If the dataset does not have two dimensions.
    """

    def __init__(self, reader: NwbReader, path: str) -> None:
        dataset = reader.dataset(path)
        if dataset.ndim != 2 or dataset.dtype.kind not in "iuf":
            msg = (
                f"{path} of {reader.name} has shape {dataset.shape} and type {dataset.dtype}; expected numbers, "
                "samples x channels"
            )
            raise FileFormatError(msg)
        self.reader = reader
        self.path = path
        self.shape: tuple[int, int] = (int(dataset.shape[0]), int(dataset.shape[1]))
        self.dtype = np.dtype(dataset.dtype)
        self.chunks = dataset.chunks
        with reader.reading(path):
            self.filters = self._undone_here(dataset)
        row_bytes = max(1, self.shape[1] * self.dtype.itemsize)
        self.block: tuple[int, int] = (
            (int(self.chunks[0]), int(self.chunks[1]))
            if self.chunks
            else (max(1, UNCHUNKED_BYTES // row_bytes), max(1, self.shape[1]))
        )
        self._chunk_bytes = self.block[0] * self.block[1] * self.dtype.itemsize
        if self.chunks and self._chunk_bytes > LARGEST_CHUNK:
            msg = f"{path} of {reader.name} has chunks of {self._chunk_bytes:,} bytes: no LFP of the layout"
            raise FileFormatError(msg)

    def __getstate__(self) -> dict[str, Any]:
        return {"reader": self.reader, "path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["reader"], state["path"])  # type: ignore[misc]

    def read(self, rows: Rows, columns: Rows) -> np.ndarray:
        """Return the values at `rows` x `columns`.

        Parameters
        ----------
        rows, columns
            A slice of step 1, or indices in any order.

        Returns
        -------
        ndarray
            Shape (rows, columns), the dataset's dtype. Each column is contiguous in memory: a channel's trace is what
            filters and spectra run along. Besides the result, a few chunks are held at a time.
        """
        rows, columns = _normal(rows, self.shape[0]), _normal(columns, self.shape[1])
        result = np.empty((_count(columns), _count(rows)), dtype=self.dtype).T
        self._fill(self.reader.dataset(self.path), rows, columns, result)
        return result

    def _undone_here(self, dataset: h5py.Dataset) -> tuple[int, ...] | None:
        """Return the filters that are undone here, None where HDF5 reads."""
        return known_filters(dataset)

    def _fill(self, dataset: h5py.Dataset, rows: Rows, columns: Rows, result: np.ndarray) -> None:
        """Put what is wanted of each chunk into the result."""
        self._prefetch(dataset, self._parts(rows, columns))
        parts = self._parts(rows, columns)
        pays = self.filters is not None and (self._chunk_bytes >= LARGE_CHUNK or result.nbytes >= LARGE_RESULT)
        workers = threads() if pays else 1
        if workers == 1:
            for part in parts:
                self._place(part, self._fetch(dataset, part), result)
            return
        with ThreadPoolExecutor(workers) as pool:
            waiting: deque[Future[None]] = deque()
            for part in parts:
                if len(waiting) >= 4 * workers:
                    waiting.popleft().result()
                waiting.append(pool.submit(self._place, part, self._fetch(dataset, part), result))
            for future in waiting:
                future.result()

    def _parts(self, rows: Rows, columns: Rows) -> Iterator[Part]:
        """Yield the chunks touched, block of rows by block of rows."""
        across = list(_within_blocks(columns, self.block[1]))
        for row, wanted_rows, to_rows, last in _within_blocks(rows, self.block[0]):
            for column, wanted_columns, to_columns, _ in across:
                yield Part(row, column, wanted_rows, wanted_columns, to_rows, to_columns, last)

    def _prefetch(self, dataset: h5py.Dataset, parts: Iterable[Part]) -> None:
        """Have a file that is streamed fetch the chunks of `parts` together, not one request after the other."""
        if self.chunks is None or not self.reader.fetches_ahead:
            return
        with self.reader.reading(self.path):
            found = [dataset.id.get_chunk_info_by_coord((part.row, part.column)) for part in parts]
        stored = [(info.byte_offset, info.byte_offset + info.size) for info in found if info.byte_offset is not None]
        self.reader.prefetch_bytes(stored)

    def _fetch(self, dataset: h5py.Dataset, part: Part) -> bytes | np.ndarray:
        """Return the chunk as it lies in the file, or decoded by HDF5 where its filters are not undone here."""
        place = (part.row, part.column)
        with self.reader.reading(f"{self.path} near sample {part.row:,}"):
            if self.chunks is not None:
                info = dataset.id.get_chunk_info_by_coord(place)
                if info.byte_offset is None:
                    raise self._damage(part, "was never written")
                check_chunk_size(self.reader.name, self.path, info.size, self._chunk_bytes)
                if self.filters is not None and info.filter_mask == 0:
                    return bytes(dataset.id.read_direct_chunk(place)[1])
            height = part.last_row + 1
            return np.asarray(dataset[part.row : part.row + height, part.column : part.column + self.block[1]])

    def _place(self, part: Part, chunk: bytes | np.ndarray, result: np.ndarray) -> None:
        values = self._decoded(part, chunk) if isinstance(chunk, bytes) else chunk
        picked = values[part.rows, :][:, part.columns]
        if isinstance(part.to_rows, slice) or isinstance(part.to_columns, slice):
            result[part.to_rows, part.to_columns] = picked
        else:
            result[np.ix_(part.to_rows, part.to_columns)] = picked

    def _decoded(self, part: Part, raw: bytes) -> np.ndarray:
        """Return the samples of a chunk from its bytes in the file."""
        chunk = undone(raw, self.filters or (), self._chunk_bytes, self.dtype.itemsize, partial(self._damage, part))
        return np.frombuffer(chunk, dtype=self.dtype).reshape(self.block)

    def _damage(self, part: Part, how: str) -> CorruptFileError:
        return CorruptFileError(
            f"{self.path} of {self.reader.name} is damaged: the chunk at sample {part.row:,}, channel {part.column} "
            f"{how}. Fetch the file again."
        )


def _normal(key: Rows, size: int) -> Rows:
    """Return a slice with both ends, or indices as int64."""
    if isinstance(key, slice):
        start, stop, _ = key.indices(size)
        return slice(start, max(start, stop))
    return np.asarray(key, dtype=np.int64)


def _count(key: Rows) -> int:
    return key.stop - key.start if isinstance(key, slice) else len(key)


def _within_blocks(key: Rows, size: int) -> Iterator[tuple[int, Rows, Rows, int]]:
    """Split a selection by block: first index of the block, what is wanted in it, where that goes, its last index."""
    if isinstance(key, slice):
        for begin in range(key.start // size * size, key.stop, size):
            low, high = max(key.start, begin), min(key.stop, begin + size)
            if high > low:
                yield (
                    begin,
                    slice(low - begin, high - begin),
                    slice(low - key.start, high - key.start),
                    high - 1 - begin,
                )
        return
    order = np.argsort(key, kind="stable")
    ascending = key[order]
    edges = np.flatnonzero(np.diff(ascending // size)) + 1
    for places in np.split(order, edges) if len(key) else []:
        begin = int(key[places[0]]) // size * size
        yield begin, key[places] - begin, places, int(key[places[-1]]) - begin
