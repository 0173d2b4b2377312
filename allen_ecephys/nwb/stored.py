"""How a dataset lies in its file: whether its values are there, and what memory reading them can take."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..errors import CorruptFileError, FileFormatError

if TYPE_CHECKING:
    import h5py
    import numpy as np

#: What a column or series that is read whole may take: the largest of a released session has 30 MB.
LARGEST_WHOLE = 1 << 30

#: A filter may enlarge what it cannot compress: DEFLATE by 5 bytes in 16,383 (RFC 1951, section 3.2.4), Fletcher by 4.
_ENLARGED = 1.01
_ENLARGED_BY = 1_024


def is_stored_as(dataset: h5py.Dataset, dtype: np.dtype[np.generic]) -> bool:
    """Tell whether the bytes of a dataset are those of `dtype`, with no conversion by HDF5 between.

    A dataset may hold numbers of 12 bits in 16, or floats of a layout of its own, which HDF5 converts as it reads.
    """
    import h5py

    return bool(dataset.id.get_type().equal(h5py.h5t.py_create(dtype)))


def check_chunk_size(name: str, path: str, stored: int, holds: int) -> None:
    """Refuse a chunk that takes more bytes in the file than what it holds could.

    A stream of DEFLATE grows 1,032-fold at most, so one that is no larger than its chunk cannot take much memory.

    Raises
    ------
    CorruptFileError
        If it is larger.
    """
    if stored > holds * _ENLARGED + _ENLARGED_BY:
        msg = (
            f"{path} of {name} is damaged: a chunk of it takes {stored:,} bytes in the file and holds {holds:,}. "
            "Fetch the file again"
        )
        raise CorruptFileError(msg)


def check_stored(dataset: h5py.Dataset, name: str) -> None:
    """Refuse a dataset that is to be read whole if its values are not all in the file, or too many for a column.

    Parameters
    ----------
    dataset
        The dataset.
    name
        What messages call its file.

    Raises
    ------
    FileFormatError
        If it takes more memory than a column or series of the layout.
    CorruptFileError
        If values of it were never written, for which HDF5 would give fill values.
    """
    if dataset.shape is None or dataset.is_virtual:
        return
    values, item = math.prod(dataset.shape), dataset.dtype.itemsize
    if values * item > LARGEST_WHOLE:
        msg = (
            f"{dataset.name} of {name} says that it holds {values:,} values of {item} bytes; no column or series that "
            f"is read whole takes more than {LARGEST_WHOLE:,} bytes. The file was written wrongly or is damaged"
        )
        raise FileFormatError(msg)
    stored = dataset.id.get_storage_size()
    if dataset.chunks is None:
        lacking = values > 0 and stored == 0
    else:
        pairs = zip(dataset.shape, dataset.chunks, strict=True)
        chunks = math.prod(-(-length // chunk) for length, chunk in pairs)
        lacking = dataset.id.get_num_chunks() < chunks
        if not dataset.dtype.hasobject:  # texts and references take other sizes in the file than in memory
            check_chunk_size(name, str(dataset.name), stored, chunks * math.prod(dataset.chunks) * item)
    if lacking:
        msg = (
            f"{dataset.name} of {name} is incomplete: values of it were never written, as where writing was "
            "interrupted. Fetch the file again"
        )
        raise CorruptFileError(msg)
