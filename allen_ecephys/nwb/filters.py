"""HDF5's filters, as far as they are undone here: what the bytes of a chunk in the file are in memory.

Every stream is inflated to its end, where its checksum lies, and must give exactly what a chunk holds: neither a
flipped bit nor a stream that goes on for ever comes back as values.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import numpy as np

from ..errors import CorruptFileError
from .stored import is_stored_as

if TYPE_CHECKING:
    import h5py

#: HDF5's numbers of the filters that are undone here.
DEFLATE: Final = 1
SHUFFLE: Final = 2

#: A chunk is held whole while it is read; ones beyond this many bytes are no column's and no LFP's.
LARGEST_CHUNK: Final = 1 << 30


def known_filters(dataset: h5py.Dataset) -> tuple[int, ...] | None:
    """Return the filters of a chunked dataset if all can be undone here, else None (HDF5 then reads)."""
    if dataset.chunks is None or not is_stored_as(dataset, dataset.dtype):
        return None
    properties = dataset.id.get_create_plist()
    filters = tuple(int(properties.get_filter(i)[0]) for i in range(properties.get_nfilters()))
    return filters if filters in {(), (DEFLATE,), (SHUFFLE, DEFLATE)} else None


def undone(
    raw: bytes | bytearray, filters: tuple[int, ...], size: int, item: int, damage: Callable[[str], CorruptFileError]
) -> bytes | bytearray:
    """Return a chunk as it is in memory.

    Parameters
    ----------
    raw
        The chunk as it lies in the file.
    filters
        What :func:`known_filters` gives.
    size
        Bytes that a chunk holds.
    item
        Bytes of one value.
    damage
        Makes the error from what is wrong with the chunk.

    Raises
    ------
    CorruptFileError
        If the chunk is damaged.
    """
    chunk = _inflated(raw, size, damage) if DEFLATE in filters else raw
    if len(chunk) != size:
        how = f"holds {len(chunk):,} bytes instead of {size:,}"
        raise damage(how)
    return np.frombuffer(chunk, dtype=np.uint8).reshape(item, -1).T.tobytes() if SHUFFLE in filters else chunk


def _inflated(raw: bytes | bytearray, size: int, damage: Callable[[str], CorruptFileError]) -> bytes:
    """Inflate a stream to its end; nothing behind what a chunk holds is ever kept."""
    inflater = zlib.decompressobj()
    try:
        # One byte more than a chunk holds, so that zlib goes on to the stream's end and compares the checksum there
        # (RFC 1950, section 2.2).
        chunk = inflater.decompress(raw, size + 1)
    except zlib.error as error:
        how = f"does not decompress ({error})"
        raise damage(how) from error
    if not inflater.eof:
        how = "does not end where it should"
        raise damage(how)
    return chunk
