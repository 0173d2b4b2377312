"""Writing of a Zarr store of format 3, with consolidated metadata and every chunk.

Besides its groups and arrays a store written here holds packed chunks (:mod:`.packs`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import missing_extra
from .packs import ARRAYS, EVERY_CHUNK, PACKED, array_of, packed

#: Arrays of one chunk no larger than this are packed.
LARGEST_PACKED = 1 << 20

_BLOSC = {"id": "blosc", "cname": "zstd", "clevel": 5, "shuffle": 1, "blocksize": 0}
_ZSTD_LEVEL = 3


class StoreWriter:
    """Writes a store into a folder, object by object; :meth:`finish` makes it whole.

    Parameters
    ----------
    folder
        The store's folder, which exists and is empty.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._documents: dict[str, dict[str, Any]] = {}
        self._packs: dict[str, dict[str, bytes]] = {}

    def group(self, path: str, attributes: Mapping[str, Any]) -> None:
        """Make a group; the root is the path ``""``."""
        self._document(path, {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes)})

    def array(
        self, path: str, shape: tuple[int, ...], dtype: np.dtype[Any], chunks: tuple[int, ...], attributes: Any
    ) -> ArrayWriter:
        """Make an array; `dtype` is that of its values, ``object`` for texts."""
        text = dtype.kind == "O"
        codecs: list[dict[str, Any]]
        if text:
            codecs = [{"name": "vlen-utf8", "configuration": {}}]
            codecs += [{"name": "zstd", "configuration": {"level": _ZSTD_LEVEL, "checksum": False}}]
        else:
            blosc = {"typesize": dtype.itemsize, "cname": "zstd", "clevel": 5, "shuffle": "shuffle", "blocksize": 0}
            endian = {"configuration": {"endian": "little"}} if dtype.itemsize > 1 and not dtype.names else {}
            codecs = [{"name": "bytes", **endian}, {"name": "blosc", "configuration": blosc}]
        self._document(
            path,
            {
                "zarr_format": 3, "node_type": "array", "shape": list(shape), "data_type": _data_type(dtype),
                "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunks)}},
                "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
                "fill_value": _fill(dtype), "codecs": codecs, "storage_transformers": [],
                "attributes": dict(attributes),
            },
        )  # fmt: skip
        return ArrayWriter(self._folder, path, dtype, chunks)

    def pack(self, name: str, key: str, raw: bytes) -> None:
        """Note a chunk to be packed with others of a name."""
        if len(raw) <= LARGEST_PACKED:
            self._packs.setdefault(name, {})[key] = raw

    def finish(self) -> None:
        """Write the packs, and the metadata of all objects into the root's."""
        if self._packs:
            self.group(PACKED, {EVERY_CHUNK: True})
        for name, chunks in self._packs.items():
            held = packed(chunks)
            attributes = {ARRAYS: sorted({array_of(key) for key in chunks})}
            array = self.array(f"{PACKED}/{name}", held.shape, held.dtype, held.shape, attributes)
            array.write((0,), held)
        root = self._documents[""]
        others = {path: document for path, document in sorted(self._documents.items()) if path}
        consolidated = {"kind": "inline", "must_understand": False, "metadata": others}
        (self._folder / "zarr.json").write_text(json.dumps({**root, "consolidated_metadata": consolidated}))

    def _document(self, path: str, document: dict[str, Any]) -> None:
        self._documents[path] = document
        folder = self._folder / path if path else self._folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "zarr.json").write_text(json.dumps(document))


class ArrayWriter:
    """Writes the chunks of one array."""

    def __init__(self, folder: Path, path: str, dtype: np.dtype[Any], chunks: tuple[int, ...]) -> None:
        try:
            import numcodecs
        except ImportError as error:
            library, extra, purpose = "numcodecs", "zarr", "writing a Zarr store"
            raise missing_extra(library, extra, purpose) from error
        self._folder = folder
        self._path = path
        self._dtype = dtype
        self._chunks = chunks
        if dtype.kind == "O":
            self._codecs = [numcodecs.VLenUTF8(), numcodecs.Zstd(level=_ZSTD_LEVEL)]
        else:
            self._codecs = [numcodecs.get_codec(dict(_BLOSC))]

    def key(self, place: Sequence[int]) -> str:
        """Return the key of the chunk at a place of the grid."""
        return "/".join([self._path, "c", *map(str, place)])

    def write(self, place: Sequence[int], values: np.ndarray[Any, Any]) -> bytes:
        """Write the chunk at a place of the grid; what it lacks at the array's edge is filled up. Return its bytes."""
        whole = (
            np.full(self._chunks, "", dtype=object)
            if self._dtype.kind == "O"
            else np.zeros(self._chunks, _little(self._dtype))
        )
        whole[tuple(slice(0, size) for size in values.shape)] = values[()]
        data: Any = whole.reshape(-1) if self._dtype.kind == "O" else np.ascontiguousarray(whole)
        for codec in self._codecs:
            data = codec.encode(data)
        raw = bytes(data)
        target = self._folder / self.key(place)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(raw)
        return raw


def _little(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return dtype.newbyteorder("<")


def _data_type(dtype: np.dtype[Any]) -> Any:
    if dtype.names:
        fields = [[name, _data_type(dtype[name])] for name in dtype.names]
        return {"name": "structured", "configuration": {"fields": fields}}
    if dtype.kind == "U":
        return {"name": "fixed_length_utf32", "configuration": {"length_bytes": dtype.itemsize}}
    return {"O": "string", "b": "bool"}.get(dtype.kind, dtype.newbyteorder("=").name)


def _fill(dtype: np.dtype[Any]) -> Any:
    if dtype.names:
        import base64

        return base64.b64encode(bytes(dtype.itemsize)).decode()
    return {"O": "", "U": "", "b": False, "f": 0.0}.get(dtype.kind, 0)
