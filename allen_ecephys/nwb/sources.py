"""Which reader a source needs: the one place that knows in what kinds of files NWB comes."""

from __future__ import annotations

import os
from pathlib import Path

from .chunks import SampleTable
from .opening import BinaryFile, absolute
from .reader import NwbReader
from .zarr.reader import ZarrReader
from .zarr.samples import ZarrSampleTable

#: What the name of a Zarr store ends with.
ZARR_SUFFIX = ".zarr"


def open_reader(source: str | os.PathLike[str] | BinaryFile) -> NwbReader:
    """Return the reader of a source: HDF5, or a Zarr store where it is a folder or its address ends as one's.

    Parameters
    ----------
    source
        Path, fsspec URL or open binary file.

    Raises
    ------
    MissingFileError
        If a local path does not exist.
    FileFormatError
        If it is a folder that is no Zarr store.
    """
    place = absolute(source)
    if isinstance(place, str) and _is_store(place.rstrip("/")):
        return ZarrReader(place.rstrip("/"))
    return NwbReader(source)


def _is_store(place: str) -> bool:
    if place.endswith(ZARR_SUFFIX):
        return "://" in place or not Path(place).is_file()
    return "://" not in place and any((Path(place) / name).is_file() for name in ("zarr.json", ".zgroup", ".zmetadata"))


def sample_table(reader: NwbReader, path: str) -> SampleTable:
    """Return a two-dimensional dataset of a file, to be read in parts (:class:`.chunks.SampleTable`)."""
    return ZarrSampleTable(reader, path) if isinstance(reader, ZarrReader) else SampleTable(reader, path)
