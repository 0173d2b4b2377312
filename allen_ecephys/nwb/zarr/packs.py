"""Chunks of many small arrays in one: a table of some forty columns in one request instead of forty.

A store written by this package holds, besides each chunk in its own place, copies of those of its tables in the group
:data:`PACKED`. They are read where the store is remote. Who changes such a store with another tool removes that group,
or converts anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ...errors import CorruptFileError, in_words
from .objects import Objects

#: Group of the packed chunks; what its attributes say of the whole store, and those of a pack of its arrays.
PACKED = "packed_chunks"
EVERY_CHUNK = "every_chunk_is_written"
ARRAYS = "arrays"


def array_of(key: str) -> str:
    """Return the path of the array that a chunk's key belongs to (keys of format 3: ``path/c/0/0``)."""
    return key.partition("/c/")[0].removesuffix("/c")


def packed(chunks: Mapping[str, bytes]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return chunks as one array of bytes: the index's length (64 bits), the index, the chunks."""
    places: dict[str, list[int]] = {}
    at = 0
    for key, raw in chunks.items():
        places[key] = [at, at + len(raw)]
        at += len(raw)
    index = json.dumps(places).encode()
    return np.frombuffer(len(index).to_bytes(8, "little") + index + b"".join(chunks.values()), dtype=np.uint8)


def unpacked(held: bytes, where: str) -> dict[str, bytes]:
    """Return the chunks that :func:`packed` packed.

    Raises
    ------
    CorruptFileError
        If they are none.
    """
    try:
        start = 8 + int.from_bytes(held[:8], "little")
        places = {str(key): (int(a), int(b)) for key, (a, b) in json.loads(held[8:start]).items()}
    except (AttributeError, RecursionError, TypeError, ValueError) as error:
        msg = f"{where} is damaged: it holds no packed chunks ({in_words(error)})"
        raise CorruptFileError(msg) from error
    if any(not 0 <= a <= b <= len(held) - start for a, b in places.values()):
        msg = f"{where} is damaged: its chunks end behind it"
        raise CorruptFileError(msg)
    return {key: held[start + a : start + b] for key, (a, b) in places.items()}


class PackedObjects:
    """A remote store's objects, those of small arrays taken from what is packed.

    Parameters
    ----------
    objects
        The store.
    packs
        For each array that is packed, which pack holds its chunks.
    unpack
        Fetches and unpacks one.
    """

    def __init__(
        self, objects: Objects, packs: Mapping[str, str], unpack: Callable[[str], Mapping[str, bytes]]
    ) -> None:
        self.name = objects.name
        self._objects = objects
        self._packs = packs
        self._unpack = unpack
        self._held: dict[str, Mapping[str, bytes]] = {}

    def get(self, key: str) -> bytes | None:
        """Return an object, None where there is none."""
        return self.get_many([key])[0]

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return several objects: packed ones from their pack, the others fetched at once."""
        found = {key: self._packed(key) for key in keys}
        others = [key for key in keys if found[key] is None]
        found.update(zip(others, self._objects.get_many(others) if others else (), strict=True))
        return [found[key] for key in keys]

    def get_range(self, key: str, start: int, stop: int) -> bytes | None:
        """Return bytes of an object, as :meth:`.Objects.get_range`."""
        return self._objects.get_range(key, start, stop)

    def names(self, folder: str) -> list[str]:
        """Return the names of what lies directly in a folder."""
        return self._objects.names(folder)

    def _packed(self, key: str) -> bytes | None:
        pack = self._packs.get(array_of(key))
        if pack is None:
            return None
        if pack not in self._held:
            self._held[pack] = self._unpack(pack)
        return self._held[pack].get(key)
