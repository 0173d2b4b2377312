"""Reading of NWB files with h5py: one handle, opened on first use, nothing read before it is asked for."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import (
    AllenEcephysError,
    ClosedSessionError,
    CorruptFileError,
    FileFormatError,
    MissingDataError,
    in_words,
    suggest,
)
from .links import Links
from .opening import BinaryFile, absolute, check_exists, check_version, open_hdf5, open_url
from .stored import check_stored, is_stored_as

if TYPE_CHECKING:
    import h5py


#: What h5py raises of damaged metadata, and of objects whose file was closed meanwhile.
_HDF5_ERRORS = (ArithmeticError, AttributeError, LookupError, OSError, RuntimeError, SystemError, TypeError, ValueError)


class NwbReader:
    """One NWB file, read through one lazily opened h5py handle.

    Parameters
    ----------
    source
        Path of a local file, an fsspec URL, or an open binary file. An open file is the caller's to close.

    Raises
    ------
    MissingFileError
        If a local path does not exist. All other faults of a file show when it is first read.

    Notes
    -----
    Everything read through the methods is checked for ways out of the file (:mod:`.links`).
    """

    def __init__(self, source: str | os.PathLike[str] | BinaryFile) -> None:
        self.source: str | BinaryFile = absolute(source)
        self._file: h5py.File | None = None
        self._stream: Any = None
        self._closed = False
        self._lock = threading.RLock()
        self._followed: Links | None = None
        self._datasets: dict[str, h5py.Dataset] = {}
        self._whole: set[str] = set()  # datasets that may be read whole
        if isinstance(self.source, str) and "://" not in self.source:
            self._check_there(Path(self.source))

    @staticmethod
    def _check_there(path: Path) -> None:
        check_exists(path)

    # --- the handle --------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The file's path or URL, for messages."""
        if isinstance(self.source, str):
            return self.source
        return str(getattr(self.source, "name", None) or repr(self.source))

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed

    @property
    def file(self) -> h5py.File:
        """The open HDF5 file (read-only).

        Raises
        ------
        ClosedSessionError
            After :meth:`close`.
        FileFormatError
            If the file is no HDF5, or no NWB 2.
        CorruptFileError
            If it is truncated or damaged.
        """
        with self._lock:
            if self._closed:
                msg = f"{self.name} was closed; open it again to read more from it"
                raise ClosedSessionError(msg)
            if self._file is None:
                self._file = self._open()
            return self._file

    def check_open(self) -> None:
        """Open the file if it is not; raises what :attr:`file` does."""
        _ = self.file

    def close(self) -> None:
        """Close the handle. What was read before stays usable; a second call does nothing."""
        with self._lock:
            self._closed = True
            self._datasets.clear()
            if self._file is not None:
                self._file.close()
            if self._stream is not None:
                self._stream.close()
            if getattr(self.source, "closes_with_reader", False):
                self.source.close()  # type: ignore[union-attr]
            self._file = self._stream = self._followed = None

    def __enter__(self) -> NwbReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {"source": self.source, "closed": self._closed}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["source"])  # type: ignore[misc]
        self._closed = state["closed"]

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open" if self._file is not None else "not opened yet"
        return f"NwbReader({self.name!r}, {state})"

    def _open(self) -> h5py.File:
        source: Any = self.source
        if isinstance(source, str) and "://" in source:
            source = self._stream = open_url(source)
        file = open_hdf5(source, self.name)
        try:
            with self.reading("nwb_version"):
                check_version(file, self.name)
        except AllenEcephysError:
            file.close()
            raise
        return file

    @contextmanager
    def reading(self, what: str) -> Iterator[None]:
        """Give what HDF5 raises inside its name; for h5py calls alone. `what` says what is read.

        Errors of a source that streams (connection, permission) pass as they are.

        Raises
        ------
        ClosedSessionError
            If the file was closed meanwhile, as by another thread.
        CorruptFileError
            If HDF5 cannot make sense of the file.
        FileFormatError
            If what is read does not fit into memory.
        """
        try:
            yield
        except AllenEcephysError:
            raise
        except _HDF5_ERRORS as error:
            if self._closed:
                msg = f"{self.name} was closed while {what} was read from it"
                raise ClosedSessionError(msg) from error
            if isinstance(error, OSError) and type(error) is not OSError:
                raise
            msg = f"{what} of {self.name} cannot be read: the file is damaged; fetch it again ({in_words(error)})"
            raise CorruptFileError(msg) from error
        except MemoryError as error:
            msg = f"{what} of {self.name} does not fit into memory: it says that it holds more than there is"
            raise FileFormatError(msg) from error

    # --- objects -----------------------------------------------------------------------------------------------

    def has(self, path: str) -> bool:
        """Tell whether the file holds a group or dataset at `path`."""
        with self._lock, self.reading(path):
            return self._links.reach(path) and path in self.file

    def dataset(self, path: str) -> h5py.Dataset:
        """Return the dataset at `path`, unread.

        Raises
        ------
        MissingDataError
            If there is none.
        FileFormatError
            If it, or a link on the way to it, points out of the file, or it holds nothing.
        CorruptFileError
            If HDF5 does not understand what the file says of it.
        """
        import h5py

        with self._lock:
            if path in self._datasets and not self._closed:
                return self._datasets[path]
            found = self._object(path)
            if not isinstance(found, h5py.Dataset):
                msg = f"{path} of {self.name} is a group, not a dataset"
                raise FileFormatError(msg)
            with self.reading(path):
                empty = found.shape is None
                _ = found.dtype, found.chunks  # what is damaged shows here, not where they are used
            if empty:
                msg = f"{path} of {self.name} holds no value at all: the file was written wrongly"
                raise FileFormatError(msg)
            self._datasets[path] = found
            return found

    def array(self, path: str, selection: Any = ()) -> np.ndarray[Any, Any]:
        """Return the values of the dataset at `path`, or those that `selection` picks (h5py indexing).

        Text comes as an array of str, boolean enums as bool, numbers in this machine's byte order. Raises as
        :meth:`dataset`, and CorruptFileError where the bytes cannot be read.
        """
        import h5py

        dataset = self.dataset(path)
        if h5py.check_string_dtype(dataset.dtype) is not None:
            return self._decoded(np.asarray(self._read(path, selection)), path)
        values = np.asarray(self._read(path, selection))
        if h5py.check_enum_dtype(dataset.dtype) == {"FALSE": 0, "TRUE": 1}:
            return values.astype(bool)
        return values if values.dtype.isnative else values.astype(values.dtype.newbyteorder("="))

    def prefetch(self, rows: Iterable[tuple[str, int, int | None]]) -> None:
        """Tell a source that streams which rows are about to be read, so that it fetches them at once.

        Parameters
        ----------
        rows
            (path of a dataset, first row, row after the last or None for all). Only contiguous datasets have a known
            place in the file; others, and sources that are not streamed, are left alone.
        """
        if not self.fetches_ahead:
            return
        ranges: list[tuple[int, int]] = []
        for path, start, stop in rows:
            dataset = self.dataset(path)
            with self.reading(path):
                offset = dataset.id.get_offset()
            if offset is not None and dataset.shape and dataset.shape[0]:
                row_bytes = dataset.nbytes // dataset.shape[0]
                last = dataset.shape[0] if stop is None else stop
                ranges.append((offset + start * row_bytes, offset + last * row_bytes))
        self.prefetch_bytes(ranges)

    def contiguous(self, path: str) -> tuple[int, int] | None:
        """Return where the values of a dataset lie side by side in a local file, as this machine has them in memory.

        Returns
        -------
        tuple of int, or None
            Its first byte in the file, and the descriptor of the open file, which stays HDF5's. None where the values
            are compressed, in chunks or of another type in the file than in memory, or the file is no local one.
        """
        offset = self.first_byte(path)
        with self.reading(path):
            if offset is None or self.file.driver != "sec2":
                return None
            return offset, int(self.file.id.get_vfd_handle())

    def first_byte(self, path: str) -> int | None:
        """Return where the values of a dataset begin in the file, local or not, if they lie there as in memory.

        None where they are compressed, in chunks or of another type in the file than in memory.
        """
        dataset = self.dataset(path)
        with self.reading(path):
            offset = dataset.id.get_offset()
            plain = dataset.dtype.isnative and is_stored_as(dataset, dataset.dtype)
            shifted = bool(self.file.userblock_size)
        return None if shifted or not plain or not dataset.size or offset is None else int(offset)

    @property
    def fetches_ahead(self) -> bool:
        """Whether the source streams and wants to be told what is about to be read."""
        return hasattr(self.source if self._stream is None else self._stream, "prefetch")

    def prefetch_bytes(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Tell a source that :attr:`fetches_ahead` which byte intervals [start, stop) are about to be read."""
        source: Any = self.source if self._stream is None else self._stream
        source.prefetch(ranges)

    def coded_text(self, path: str) -> tuple[np.ndarray[Any, np.dtype[np.intp]], list[str]] | None:
        """Return a text dataset as codes and the distinct texts they stand for, or None if it holds no text.

        A presentations table repeats a handful of texts tens of thousands of times; each is decoded once.
        """
        import h5py
        import pandas as pd

        dataset = self.dataset(path)
        if h5py.check_string_dtype(dataset.dtype) is None:
            return None
        if dataset.ndim != 1:
            msg = f"{path} of {self.name} has shape {dataset.shape}; a column of text has one dimension"
            raise FileFormatError(msg)
        codes, distinct = pd.factorize(np.asarray(self._read(path, ()), dtype=object))
        return codes, self._decoded(np.asarray(distinct, dtype=object), path).tolist()

    def text(self, path: str) -> str:
        """Return the scalar text at `path`.

        Raises
        ------
        FileFormatError
            If it is no single text.
        """
        import h5py

        dataset = self.dataset(path)
        if dataset.shape != () or h5py.check_string_dtype(dataset.dtype) is None:
            msg = f"{path} of {self.name} has shape {dataset.shape} and type {dataset.dtype}; expected one text"
            raise FileFormatError(msg)
        return self.as_text(self._read(path, ()), path)

    def attribute(self, path: str, name: str, default: Any = None) -> Any:
        """Return attribute `name` of the object at `path`, as a Python value or an array, or `default`."""
        with self._lock:
            found = self._object(path)
            with self.reading(f"attribute {name!r} of {path}"):
                value = found.attrs.get(name, default)
        if isinstance(value, (bytes, str)):
            return self.as_text(value, f"attribute {name!r} of {path}")
        return value.item() if isinstance(value, np.generic) else value

    def number(self, path: str, name: str, default: float = np.nan) -> float:
        """Return attribute `name` of the object at `path` as a float, or `default` where it has none.

        Raises
        ------
        FileFormatError
            If it is no number.
        """
        value = self.attribute(path, name, default)
        if isinstance(value, np.ndarray) and value.size == 1:
            value = value.item()
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            msg = f"attribute {name!r} of {path} in {self.name} is {value!r:.60}; expected a number"
            raise FileFormatError(msg)
        return float(value)

    def children(self, path: str = "/") -> list[str]:
        """Return the names in the group at `path`, or an empty list where there is no such group."""
        import h5py

        if path.strip("/") and not self.has(path):
            return []
        with self._lock:
            group = self._object(path)
            if not isinstance(group, h5py.Group):
                return []
            with self.reading(f"names in {path}"):
                names = list(group)
        return [self.as_text(name, f"a name in {path}") for name in names]

    # --- safety ------------------------------------------------------------------------------------------------

    def _object(self, path: str) -> h5py.Group | h5py.Dataset:
        with self._lock, self.reading(path):
            found = self._links.object(path)
        if found is None:
            parent, _, name = path.strip("/").rpartition("/")
            near = suggest(name, self.children(parent)) if parent and self.has(parent) else ""
            msg = f"{self.name} holds no {path!r}{near}"
            raise MissingDataError(msg)
        return found

    @property
    def _links(self) -> Links:
        file = self.file
        if self._followed is None:
            self._followed = Links(file, self.name)
        return self._followed

    def check_links(self) -> None:
        """Refuse the whole file if anything of it leads to another file (:meth:`.Links.check_all`)."""
        with self._lock, self.reading("the list of its objects"):
            self._links.check_all()

    def _read(self, path: str, selection: Any) -> Any:
        dataset = self.dataset(path)
        with self.reading(path):
            if isinstance(selection, tuple) and not selection and path not in self._whole:
                check_stored(dataset, self.name)
                self._whole.add(path)
            return dataset[selection]

    def _decoded(self, values: np.ndarray[Any, Any], path: str) -> np.ndarray[Any, Any]:
        """Return an object array of text as HDF5 gives it as one of str."""
        flat = [self.as_text(v, path) for v in values.ravel().tolist()]
        out = np.empty(len(flat), dtype=object)
        out[:] = flat
        return out.reshape(values.shape)

    def as_text(self, value: Any, where: str) -> str:
        """Return text as str; the file's text is UTF-8 or ASCII.

        Raises
        ------
        FileFormatError
            If it is neither.
        """
        try:
            if isinstance(value, str):
                value.encode()  # h5py hands on bytes that are no UTF-8 as surrogates
                return value
            return value.decode() if isinstance(value, bytes) else str(value)
        except UnicodeError as error:
            msg = f"text of {where} in {self.name} is not UTF-8 ({value!r:.60}): the file is damaged or written wrongly"
            raise FileFormatError(msg) from error
