"""A flat file of samples that is read through an open file, as one that lies elsewhere and is fetched by ranges."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import CorruptFileError, MissingDataError

from ..recording import checked_bounds
from .binary import BinaryRecording


class SeekableFile(Protocol):
    """What is needed of an open file: bytes by their place."""

    def read(self, size: int = -1, /) -> bytes:
        """Return at most `size` bytes."""
        ...

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Move to a position."""
        ...


class StreamedRecording(BinaryRecording):
    """Samples in an open file, :class:`BinaryRecording` otherwise.

    Parameters
    ----------
    file
        Open for reading bytes; fetched by range where it is a cache's stream, which :meth:`prefetch` makes use of. It
        is the caller's to close.
    **facts
        What :class:`BinaryRecording` takes.

    Raises
    ------
    FileFormatError, GeometryError
        As :class:`BinaryRecording`.
    CorruptFileError
        If the file does not hold a whole number of samples, or fewer than it did.

    Examples
    --------
    >>> with open(bands.spike_band.path, "rb") as file:
    ...     streamed = StreamedRecording(
    ...         file, n_columns=32, channels=np.arange(32), sampling_rate=30_000.0, uv_per_bit=0.195,
    ...         geometry=bands.spike_band.geometry,
    ...     )
    ...     same = bool((streamed.read(0, 100) == bands.spike_band.read(0, 100)).all())
    >>> same
    True
    """

    def __init__(self, file: SeekableFile, **facts: Any) -> None:
        self.file = file
        super().__init__(Path(str(getattr(file, "name", "open file"))), **facts)

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, read by byte ranges)"

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__()  # the file says itself whether it can be opened again elsewhere

    def _count_samples(self, n_samples: int | None) -> tuple[int, int]:
        size = self.file.seek(0, os.SEEK_END) - self.offset
        held, rest = divmod(max(size, 0), self.n_columns * self.dtype.itemsize)
        if rest or (n_samples is not None and n_samples > held):
            msg = (
                f"{self.path} has {size:,} bytes, which are {held:,} samples of {self.n_columns} columns and {rest} "
                "bytes: it was cut, or is another file"
            )
            raise CorruptFileError(msg)
        return (held if n_samples is None else n_samples), 0

    def memory_map(self) -> np.memmap[Any, np.dtype[Any]]:
        """Raise: what lies elsewhere cannot be mapped.

        Raises
        ------
        MissingDataError
            Always.

        Examples
        --------
        >>> with open(bands.spike_band.path, "rb") as file:
        ...     streamed = StreamedRecording(
        ...         file, n_columns=32, channels=np.arange(32), sampling_rate=30_000.0, uv_per_bit=0.195,
        ...         geometry=bands.spike_band.geometry,
        ...     )
        >>> streamed.memory_map()
        Traceback (most recent call last):
            ...
        allen_ecephys.errors.MissingDataError:...
        """
        msg = f"{self.path} is read by byte ranges and cannot be mapped; download it first"
        raise MissingDataError(msg)

    def prefetch(self, windows: Sequence[tuple[int, int]]) -> None:
        """Have the samples of many windows [start, stop) fetched together, where the file can do that.

        Examples
        --------
        >>> with open(bands.spike_band.path, "rb") as file:
        ...     streamed = StreamedRecording(
        ...         file, n_columns=32, channels=np.arange(32), sampling_rate=30_000.0, uv_per_bit=0.195,
        ...         geometry=bands.spike_band.geometry,
        ...     )
        ...     streamed.prefetch([(0, 100), (5_000, 5_100)])  # of a plain file: nothing to do
        """
        fetch = getattr(self.file, "prefetch", None)
        if fetch is not None:
            sample = self.n_columns * self.dtype.itemsize
            fetch([(self.offset + start * sample, self.offset + stop * sample) for start, stop in windows])

    def read_columns(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Return all columns of samples ``[start, stop)``.

        Raises
        ------
        IndexError
            If the window leaves the recording.
        CorruptFileError
            If the file gives fewer bytes than it has.

        Examples
        --------
        >>> with open(bands.spike_band.path, "rb") as file:
        ...     streamed = StreamedRecording(
        ...         file, n_columns=32, channels=np.arange(32), sampling_rate=30_000.0, uv_per_bit=0.195,
        ...         geometry=bands.spike_band.geometry,
        ...     )
        ...     shape = streamed.read_columns(0, 10).shape
        >>> shape
        (10, 32)
        """
        start, stop = checked_bounds(start, stop, self.n_samples, str(self.path))
        sample = self.n_columns * self.dtype.itemsize
        wanted = (stop - start) * sample
        parts: list[bytes] = []
        with self._opening:
            self.file.seek(self.offset + start * sample)
            while wanted:
                part = self.file.read(wanted)
                if not part:
                    msg = f"{self.path} ends {wanted:,} bytes before sample {stop:,}: it was cut after it was opened"
                    raise CorruptFileError(msg)
                parts.append(part)
                wanted -= len(part)
        held = np.frombuffer(b"".join(parts), dtype=self.dtype)
        return held.reshape(stop - start, self.n_columns).copy()
