"""From one kind of NWB file to the other."""

from __future__ import annotations

import os
from pathlib import Path

from .sources import open_reader
from .zarr.converting import hdf5_to_zarr, zarr_to_hdf5
from .zarr.reader import ZarrReader


def convert_nwb(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> list[str]:
    """Write an NWB file in HDF5 as a Zarr store of format 3, or a Zarr store as a file in HDF5.

    Parameters
    ----------
    source
        Path of the file or the store, or the address of a store. What it is says what it becomes.
    target
        Path that does not exist yet. It appears when it is whole.

    Returns
    -------
    list of str
        Paths in the source that were left out: arrays kept as Python pickles, which are never read.

    Raises
    ------
    AlreadyPresentError
        If the target is there.
    MissingFileError, FileFormatError, CorruptFileError
        If the source is not, is no NWB file, or is damaged.

    Examples
    --------
    >>> convert_nwb("session.nwb", "session.nwb.zarr")  # extra "zarr"
    []
    >>> EcephysSession("session.nwb.zarr").num_units
    40
    """
    with open_reader(source) as reader:
        store = reader.name if isinstance(reader, ZarrReader) else None
    if store is not None:
        return zarr_to_hdf5(store, Path(target))
    hdf5_to_zarr(Path(source), Path(target))
    return []
