"""Compressed samples: ``.cbin`` files, chunk after chunk of deflated differences, and the ``.ch`` that describes them.

The format is that of the open library mtscomp, in which most public Neuropixels recordings are kept: the matrix of
samples is cut along time into chunks (``chunk_bounds``, in samples); each chunk is stored as the differences from one
sample to the next (``do_time_diff``), from one column to the next (``do_spatial_diff``), or as it is, a column after
the other (``chunk_order`` F) or a sample after the other (C); deflated (``algorithm`` zlib), and found by
``chunk_offsets``, in bytes. The first sample of a chunk is a difference from nothing, so each chunk stands alone.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import OrderedDict
from pathlib import Path
from threading import Lock
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import CorruptFileError, FileFormatError, MissingFileError
from allen_ecephys.files import read_json, write_atomically

from .finding import partner

#: Ends of the names of compressed samples, and of their descriptions.
COMPRESSED: Final = ".cbin"
DESCRIPTION: Final = ".ch"
#: Inflated chunks are kept while they take no more than this (bytes), and one in any case: a second of 385 columns
#: takes 23 MB, and each of several threads reads on where another stopped.
_KEPT_BYTES: Final = 192_000_000
#: Version of the format that is written, and the first number of those that are read.
_VERSION: Final = "1.0"
#: Of isal, 0 to 3: samples of a probe look much alike to deflate, and zlib's level 6 makes them only 7 % smaller.
_LEVEL: Final = 1


def is_compressed(path: Path) -> bool:
    """Tell by its name whether a file holds compressed samples."""
    return path.suffix.lower() == COMPRESSED


class _Chunk:
    """A chunk that some thread inflates, or has inflated."""

    def __init__(self) -> None:
        self.inflating = Lock()
        self.samples: npt.NDArray[Any] | None = None


class CompressedSamples:
    """The samples of a ``.cbin`` file, any window of which is read by inflating the chunks that hold it.

    Some chunks are kept inflated, so that windows one after the other inflate each chunk once. Several threads may read
    at once; what one inflates, another waits for.

    Parameters
    ----------
    path
        The file; the ``.ch`` that belongs to it is found beside it.

    Raises
    ------
    MissingFileError
        If there is no ``.ch``.
    FileFormatError
        If that makes no sense, or names another compression.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.description = partner(path, DESCRIPTION)
        if not self.description.is_file():
            msg = (
                f"{path} has no {self.description.name} beside it, which says how it is compressed; copy both files, "
                "and the .meta"
            )
            raise MissingFileError(msg)
        facts = _description(self.description)
        self.dtype = np.dtype(np.int16)  # whichever sign they were taken for when they were compressed
        self.n_columns = int(facts["n_channels"])
        self.sampling_rate = float(facts["sample_rate"])
        self.bounds = _ascending(facts, "chunk_bounds", self.description)
        self.offsets = _ascending(facts, "chunk_offsets", self.description)
        if len(self.bounds) != len(self.offsets):
            msg = (
                f"{self.description}: chunk_bounds has {len(self.bounds)} numbers, chunk_offsets {len(self.offsets)}; "
                "the file was edited or damaged. Copy it again"
            )
            raise FileFormatError(msg)
        self._order = str(facts["chunk_order"])
        self._differs = {axis: bool(facts[f"do_{name}_diff"]) for axis, name in ((1, "spatial"), (0, "time"))}
        self._kept: OrderedDict[int, _Chunk] = OrderedDict()
        longest = int(np.diff(self.bounds).max(initial=1)) * self.n_columns * self.dtype.itemsize
        self._most_kept = max(1, _KEPT_BYTES // longest)
        self._looking = Lock()
        self._descriptor: int | None = None

    @property
    def n_samples(self) -> int:
        """Samples of the whole file, as its description says."""
        return int(self.bounds[-1])

    @property
    def n_held(self) -> int:
        """Samples in the chunks that are wholly there."""
        return int(self.bounds[np.searchsorted(self.offsets, self.path.stat().st_size, side="right") - 1])

    def check_whole(self) -> None:
        """Raise unless the file ends where its last chunk does.

        Raises
        ------
        CorruptFileError
            If it was cut, or the description is of another file.
        """
        size, wanted = self.path.stat().st_size, int(self.offsets[-1])
        if size != wanted:
            why = "it was cut" if size < wanted else "one of the two is of another recording"
            msg = (
                f"{self.path} has {size:,} bytes, by {self.description.name} it has {wanted:,}: {why}. Copy both again"
            )
            raise CorruptFileError(msg)

    def read(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Return all columns of samples ``[start, stop)``, which are inside the file.

        Raises
        ------
        CorruptFileError
            If a chunk is damaged, or the file ends before it.
        """
        samples = np.empty((stop - start, self.n_columns), self.dtype)
        number = int(np.searchsorted(self.bounds, start, side="right")) - 1
        while start < stop:
            first, last = (int(bound) for bound in self.bounds[number : number + 2])
            end = min(stop, last)
            samples[len(samples) - (stop - start) :][: end - start] = self._chunk(number)[start - first : end - first]
            start, number = end, number + 1
        return samples

    def close(self) -> None:
        """Close the file and forget what was inflated; a later read opens it again."""
        with self._looking:
            descriptor, self._descriptor = self._descriptor, None
            self._kept.clear()
        if descriptor is not None:
            os.close(descriptor)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_kept": None, "_looking": None, "_descriptor": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _kept=OrderedDict(), _looking=Lock(), _descriptor=None)

    def _chunk(self, number: int) -> npt.NDArray[Any]:
        with self._looking:
            chunk = self._kept.setdefault(number, _Chunk())
            self._kept.move_to_end(number)
            while len(self._kept) > self._most_kept:
                self._kept.popitem(last=False)
        with chunk.inflating:
            if chunk.samples is None:
                chunk.samples = self._inflated(number)
            return chunk.samples

    def _inflated(self, number: int) -> npt.NDArray[Any]:
        n_samples = int(self.bounds[number + 1] - self.bounds[number])
        n_bytes = n_samples * self.n_columns * self.dtype.itemsize
        from isal import isal_zlib  # the same bytes as zlib, in half the time

        inflate = isal_zlib.decompressobj()
        try:
            stored = inflate.decompress(self._stored(number), n_bytes + 1)
        except isal_zlib.error as error:  # type: ignore[misc]  # its stub takes the class for an instance
            raise self._damaged(number, str(error)) from error
        if len(stored) != n_bytes or not inflate.eof or inflate.unused_data:
            raise self._damaged(number, f"it inflates to {len(stored):,} bytes or more, not {n_bytes:,}")
        by_column = self._order == "F"
        shape = (self.n_columns, n_samples) if by_column else (n_samples, self.n_columns)
        chunk = np.frombuffer(stored, self.dtype).reshape(shape)
        if by_column and self._differs == {1: False, 0: True}:  # as nearly all files are
            from .differences import sums_over_time

            samples = np.empty((n_samples, self.n_columns), self.dtype)
            sums_over_time(chunk, samples)
            return samples
        chunk = chunk.T if by_column else chunk
        for axis in (axis for axis, differs in self._differs.items() if differs):
            # Differences wrap around as the samples' own kind of number does, and so do their sums.
            chunk = np.cumsum(chunk, axis=axis, dtype=self.dtype)
        return np.ascontiguousarray(chunk)

    def _stored(self, number: int) -> bytes:
        """Return the bytes of a chunk as they stand in the file."""
        with self._looking:
            if self._descriptor is None:
                self._descriptor = os.open(self.path, os.O_RDONLY)
            descriptor = self._descriptor
        start, stop = (int(offset) for offset in self.offsets[number : number + 2])
        parts: list[bytes] = []
        while start < stop:
            part = os.pread(descriptor, stop - start, start)
            if not part:
                msg = f"{self.path} ends at byte {start:,}, within chunk {number}: it was cut. Copy it again"
                raise CorruptFileError(msg)
            parts.append(part)
            start += len(part)
        return b"".join(parts)

    def _damaged(self, number: int, why: str) -> CorruptFileError:
        first, last = (int(bound) for bound in self.bounds[number : number + 2])
        return CorruptFileError(
            f"{self.path}: chunk {number} (samples {first:,} to {last:,}) is not what {self.description.name} says "
            f"({why}): the file is damaged, or the .ch is of another recording. Copy both again"
        )


def _description(path: Path) -> dict[str, Any]:
    """Return what a ``.ch`` says, if it is of a compression that can be undone."""
    facts = read_json(path)
    wanted = {
        "version", "algorithm", "chunk_order", "do_time_diff", "do_spatial_diff", "dtype", "n_channels", "sample_rate",
        "chunk_bounds", "chunk_offsets",
    }  # fmt: skip
    missing = sorted(wanted - facts.keys()) if isinstance(facts, dict) else sorted(wanted)
    if missing:
        msg = f"{path} has no {', '.join(missing)}: it is no .ch of compressed samples, or was edited"
        raise FileFormatError(msg)
    known: dict[str, tuple[Any, ...]] = {
        "algorithm": ("zlib",), "chunk_order": ("F", "C"), "do_time_diff": (True, False),
        "do_spatial_diff": (True, False), "dtype": ("int16", "uint16"),
    }  # fmt: skip
    for name, values in known.items():
        if not any(facts[name] == value and type(facts[name]) is type(value) for value in values):
            listed = " or ".join(repr(value) for value in values)
            msg = f"{path}: {name} is {facts[name]!r:.80}; what can be read has {listed}. Expand it with mtsdecomp"
            raise FileFormatError(msg)
    if not str(facts["version"]).startswith(_VERSION.partition(".")[0] + "."):
        msg = f"{path} is of version {facts['version']!r:.40} of the format; {_VERSION} can be read. Expand it first"
        raise FileFormatError(msg)
    numbers = facts["n_channels"], facts["sample_rate"]
    if not (_is_whole(numbers[0]) and isinstance(numbers[1], (int, float)) and 0 < numbers[1] < 1e9):
        msg = f"{path}: {numbers[0]!r:.40} columns at {numbers[1]!r:.40} Hz is no recording; the file was edited"
        raise FileFormatError(msg)
    return dict(facts)


def _is_whole(number: object) -> bool:
    return type(number) is int and 0 < number < 100_000


def _ascending(facts: dict[str, Any], name: str, path: Path) -> npt.NDArray[np.int64]:
    """Return the ends of chunks: whole numbers that begin with 0 and grow."""
    listed = facts[name]
    whole = isinstance(listed, list) and all(type(n) is int and 0 <= n < 2**53 for n in listed)
    numbers = np.array(listed, dtype=np.int64) if whole else np.empty(0, np.int64)
    if not len(numbers) or numbers[0] != 0 or not (np.diff(numbers) > 0).all():
        msg = f"{path}: {name} is no list of whole numbers that grow from 0; the file was edited or damaged"
        raise FileFormatError(msg)
    return numbers


class CompressedFile:
    """A ``.cbin`` file and its ``.ch``, written block after block of samples.

    Parameters
    ----------
    path
        The file to make.
    n_columns, sampling_rate
        Of the int16 samples. Chunks hold a second, or what a block has left.
    """

    def __init__(self, path: Path, n_columns: int, sampling_rate: float) -> None:
        self.path, self.n_columns, self.sampling_rate = path, n_columns, sampling_rate
        self.bounds, self.offsets = [0], [0]
        self._file = path.open("xb")
        self._digests = {"sha1_compressed": hashlib.sha1(), "sha1_uncompressed": hashlib.sha1()}  # noqa: S324 - format

    def append(self, samples: npt.NDArray[np.int16]) -> None:
        """Write the samples (n, columns) that come next."""
        from isal import isal_zlib

        seconds = range(0, len(samples), max(1, round(self.sampling_rate)))
        for chunk in (samples[first : first + seconds.step] for first in seconds):
            differences = np.concatenate([chunk[:1], np.diff(chunk, axis=0)])
            stored = isal_zlib.compress(differences.tobytes(order="F"), _LEVEL)
            self._file.write(stored)
            self._digests["sha1_compressed"].update(stored)
            self._digests["sha1_uncompressed"].update(np.ascontiguousarray(chunk).data)
            self.bounds.append(self.bounds[-1] + len(chunk))
            self.offsets.append(self.offsets[-1] + len(stored))

    def __enter__(self) -> CompressedFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._file.close()
        if kind is None:
            facts = {
                "version": _VERSION, "algorithm": "zlib", "comp_level": _LEVEL, "do_time_diff": True,
                "do_spatial_diff": False, "dtype": "int16", "n_channels": self.n_columns,
                "sample_rate": self.sampling_rate, "chunk_bounds": self.bounds, "chunk_offsets": self.offsets,
                "chunk_order": "F", "shape": [self.bounds[-1], self.n_columns],
                **{name: digest.hexdigest() for name, digest in self._digests.items()},
            }  # fmt: skip
            write_atomically(self.path.with_suffix(DESCRIPTION), json.dumps(facts, indent=1), durable=False)
