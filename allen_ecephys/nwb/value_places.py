"""Where the bytes of a column of numbers lie in a file, and reading its values there without HDF5.

HDF5 keeps values end to end or in chunks, each of which went through the dataset's filters. Who knows the chunks'
places reads any run of values with the bytes that hold it and no others: of a local file by ``pread``, of a remote one
by ranges. Values that lie end to end are one chunk without filters, of which parts can be read.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..errors import CorruptFileError, truncated_file
from .filters import LARGEST_CHUNK, known_filters, undone
from .stored import check_chunk_size

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from .reader import NwbReader

Floats = np.ndarray[Any, np.dtype[np.float64]]
Integers = np.ndarray[Any, np.dtype[np.int64]]

_ITEM = 8  # bytes of a float64


@dataclass(frozen=True)
class ValuePlaces:
    """Where the values of a one-dimensional dataset of float64 lie in its file.

    Attributes
    ----------
    length
        Values that each chunk holds.
    offsets, sizes
        First byte of each chunk in the file and how many it takes there (int64), in the order of their values.
    filters
        What the chunks went through (:func:`.known_filters`).
    """

    length: int
    offsets: Integers
    sizes: Integers
    filters: tuple[int, ...] = ()

    @classmethod
    def of(cls, reader: NwbReader, path: str) -> ValuePlaces | None:
        """Return the places of a dataset's values, None where only HDF5, or the reader of a Zarr store, can read them.

        Those are values of other types than float64 of this machine, and ones that went through other filters.
        """
        import h5py

        dataset = reader.dataset(path)
        if not isinstance(dataset, h5py.Dataset) or dataset.ndim != 1 or dataset.dtype != np.dtype(np.float64):
            return None
        first = reader.first_byte(path)
        if first is not None:
            return cls(int(dataset.size), np.array([first]), np.array([_ITEM * int(dataset.size)]))
        with reader.reading(path):
            return cls._of_chunks(reader, dataset)

    @classmethod
    def _of_chunks(cls, reader: NwbReader, dataset: Any) -> ValuePlaces | None:
        filters = known_filters(dataset)
        if filters is None or reader.file.userblock_size or not hasattr(dataset.id, "chunk_iter"):
            return None
        length = int(dataset.chunks[0])
        chunks: list[Any] = []
        if _ITEM * length > LARGEST_CHUNK:
            return None
        dataset.id.chunk_iter(chunks.append)
        chunks.sort(key=lambda chunk: chunk.chunk_offset)
        all_written = [chunk.chunk_offset[0] for chunk in chunks] == list(range(0, dataset.size, length))
        if not chunks or not all_written or any(chunk.filter_mask for chunk in chunks):
            return None  # HDF5 knows what stands for values that were never written, and which filters a chunk skipped
        sizes = np.array([chunk.size for chunk in chunks], dtype=np.int64)
        check_chunk_size(reader.name, str(dataset.name), int(sizes.max()), _ITEM * length)
        if filters and sizes[-1] == _ITEM * length and dataset.size % length:
            return None  # files may be made so that a last chunk that is not full skips the filters
        if not filters and (sizes != _ITEM * length).any():
            return None
        return cls(length, np.array([chunk.byte_offset for chunk in chunks], dtype=np.int64), sizes, filters)

    @property
    def first_byte(self) -> int | None:
        """Where the first value lies if all lie end to end, as in memory."""
        return int(self.offsets[0]) if len(self.offsets) == 1 and not self.filters else None

    def parts(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """Yield the chunks that hold values `start` to `stop` (excluded), and which of the chunk's values are these."""
        for chunk in range(start // self.length, -(-stop // self.length)):
            low, high = max(start - chunk * self.length, 0), min(stop - chunk * self.length, self.length)
            if high > low:
                yield chunk, low, high

    def ranges(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Yield the bytes (first, one after the last) that have to be read for values `start` to `stop` (excluded)."""
        for chunk, low, high in self.parts(start, stop):
            offset = int(self.offsets[chunk])
            low, high = (0, int(self.sizes[chunk])) if self.filters else (_ITEM * low, _ITEM * high)
            yield offset + low, offset + high


class ByteSource(Protocol):
    """A file that is read at places."""

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    def fill(self, begin: int, view: memoryview, /) -> None:
        """Fill `view` with the bytes from `begin` on."""
        ...

    def prefetch(self, ranges: Iterable[tuple[int, int]], /) -> None:
        """Bring bytes that are about to be read."""
        ...


class ByteStream(Protocol):
    """A remote file that is read by ranges."""

    def seek(self, offset: int, whence: int = ..., /) -> int: ...  # noqa: D102
    def readinto(self, buffer: Buffer, /) -> int: ...  # noqa: D102
    def prefetch(self, ranges: Iterable[tuple[int, int]]) -> None: ...  # noqa: D102


@dataclass(frozen=True)
class LocalBytes:
    """A local file that is open; the descriptor is the caller's to close, after everything was read."""

    name: str
    descriptor: int
    closed: bool = False

    def fill(self, begin: int, view: memoryview) -> None:
        """Fill `view` with the bytes from `begin` on.

        Raises
        ------
        CorruptFileError
            If the file ends before.
        """
        done = 0
        while done < len(view):
            got = os.preadv(self.descriptor, [view[done:]], begin + done)
            if got <= 0:
                raise truncated_file(self.name, os.fstat(self.descriptor).st_size, begin + len(view))
            done += got

    def prefetch(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Do nothing: reading is as fast."""


@dataclass(frozen=True)
class StreamedBytes:
    """A remote file that is read by ranges; the stream is the caller's to close."""

    name: str
    stream: ByteStream

    def fill(self, begin: int, view: memoryview) -> None:
        """Fill `view` with the bytes from `begin` on.

        Raises
        ------
        CorruptFileError
            If the file ends before.
        """
        done = 0
        self.stream.seek(begin)
        while done < len(view):
            got = self.stream.readinto(view[done:])
            if not got:
                raise truncated_file(self.name, begin + done, begin + len(view))
            done += got

    def prefetch(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Fetch bytes at once, in as few requests as possible."""
        self.stream.prefetch(ranges)


class PlacedValues:
    """The values of a dataset, read where they lie; what is kept is the chunk that was inflated last.

    Parameters
    ----------
    source
        The file.
    path
        The dataset, for messages.
    places
        Where its values lie.
    """

    def __init__(self, source: ByteSource, path: str, places: ValuePlaces) -> None:
        self.source = source
        self.path = path
        self.places = places
        self._last: tuple[int, Floats] = (-1, np.empty(0))

    def prefetch(self, runs: Iterable[tuple[int, int]]) -> None:
        """Bring the bytes of some runs of values (first, one after the last) at once."""
        self.source.prefetch([bytes_ for run in runs for bytes_ in self.places.ranges(*run)])

    def read(self, start: int, stop: int) -> Floats:
        """Return values `start` to `stop` (excluded).

        Raises
        ------
        CorruptFileError
            If the file is cut or damaged.
        """
        values, done = np.empty(stop - start), 0
        for (chunk, low, high), (begin, _) in zip(
            self.places.parts(start, stop), self.places.ranges(start, stop), strict=True
        ):
            wanted = values[done : done + high - low]
            if self.places.filters:
                wanted[:] = self._inflated(chunk)[low:high]
            else:
                self.source.fill(begin, wanted.data.cast("B"))
            done += high - low
        return values

    def _inflated(self, chunk: int) -> Floats:
        """Return the values of a chunk, which the next run may need, too."""
        if self._last[0] != chunk:
            places = self.places
            raw = bytearray(int(places.sizes[chunk]))
            self.source.fill(int(places.offsets[chunk]), memoryview(raw))

            def damage(how: str) -> CorruptFileError:
                where = f"{self.path} of {self.source.name} is damaged: the chunk at value {chunk * places.length:,}"
                return CorruptFileError(f"{where} {how}. Fetch the file again.")

            held = undone(raw, places.filters, _ITEM * places.length, _ITEM, damage)
            self._last = chunk, np.frombuffer(held, dtype=np.float64)
        return self._last[1]
