"""One array of a Zarr store: what its metadata say, and the chunks that a selection touches.

Types are told in h5py's words (texts, references), so that what reads columns need not know where they lie.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Literal, cast

import numpy as np

from ...config import threads
from ...errors import CorruptFileError, FileFormatError, in_words
from .codecs import TEXTS, UNSAFE, ChunkLayout, Values, check_codec, checked_crc32c
from .hierarchy import Node
from .objects import Objects

Place = tuple[int, ...]

#: A chunk is held whole while it is read; one beyond this many bytes is no session's.
LARGEST_CHUNK = 1 << 30

#: Decoded bytes of the chunks that are fetched together.
BATCH_BYTES = 64 << 20

#: Decoded chunks that are kept for the next selection: bytes of all arrays of a store together.
KEPT_BYTES = 64 << 20

#: A shard's index says of a chunk that was not written.
_NOT_IN_SHARD = 2**64 - 1

#: What of an array its attributes say, in the words of hdmf-zarr's storage specification: before 0.14 (``zarr_dtype``),
#: and in the convention that it then took up together with LINDI.
_SCALAR = (("zarr_dtype", "scalar"), ("_SCALAR", True))
_REFERENCE = (("zarr_dtype", "object"), ("_DTYPE", "object_reference"))

#: Names of types in format 3, where they are not NumPy's.
_TYPES_3 = {"bool": "?", "string": "O", "bytes": "O", "variable_length_bytes": "O"}

#: Columns whose values differ from row to row: no chunk of several can hold nothing but the fill value.
_DISTINCT = ("/timestamps", "/spike_times", "/start_time", "/stop_time", "/id")


@dataclass
class Shards:
    """How chunks are packed into shards (Zarr specification 3, "Sharding codec").

    Attributes
    ----------
    shape
        Shape of a shard.
    at_end
        Whether its index lies at the end, else at its beginning.
    checked
        Whether a CRC-32C follows the index.
    """

    shape: tuple[int, ...]
    at_end: bool
    checked: bool
    per_shard: tuple[int, ...]

    @property
    def index_bytes(self) -> int:
        """Bytes of a shard's index."""
        return 16 * math.prod(self.per_shard) + (4 if self.checked else 0)


@dataclass
class KeptChunks:
    """Decoded chunks of a store, the latest used."""

    most: int = KEPT_BYTES
    held: int = 0
    chunks: OrderedDict[tuple[str, Place], Values] = field(default_factory=OrderedDict)

    def get(self, path: str, place: Place) -> Values | None:
        """Return a chunk, None where it is not kept."""
        found = self.chunks.get((path, place))
        if found is not None:
            self.chunks.move_to_end((path, place))
        return found

    def keep(self, path: str, place: Place, values: Values) -> None:
        """Keep a chunk; the longest unused go for it."""
        if values.nbytes > self.most // 4 or (path, place) in self.chunks:
            return
        values.setflags(write=False)
        self.chunks[path, place] = values
        self.held += values.nbytes
        while self.held > self.most:
            self.held -= self.chunks.popitem(last=False)[1].nbytes


class ZarrArray:
    """An array of a store, unread.

    Parameters
    ----------
    node
        Its metadata.
    objects
        The store.
    kept
        Where decoded chunks are kept.
    incomplete
        Told of each array of which chunks are not there, and what stands in for them.

    Raises
    ------
    FileFormatError
        If the metadata are none of format 2 or 3, or what is not read.

    Attributes
    ----------
    shape, dtype, chunks
        As h5py has them.
    """

    def __init__(self, node: Node, objects: Objects, kept: KeptChunks, incomplete: Callable[[str], None]) -> None:
        self.path = node.path
        self._objects = objects
        self._kept = kept
        self._incomplete = incomplete
        self.attrs = node.attributes
        document = node.array or {}
        self.shards: Shards | None = None
        self.writes_fill = True  # whether every chunk is written, also one that holds nothing but the fill value
        self.refused: str | None = None
        try:
            self._stored_shape = _sizes(document["shape"], 0)
            self.layout = self._layout_3(document) if document.get("zarr_format") == 3 else self._layout_2(document)
        except FileFormatError:
            raise
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
            msg = f"{self.where} has metadata that are not understood ({in_words(error)})"
            raise FileFormatError(msg) from error
        if len(self.layout.shape) != len(self._stored_shape):
            msg = f"{self.where} has shape {self._stored_shape} and chunks {self.layout.shape}: they do not fit"
            raise FileFormatError(msg)
        if self.layout.nbytes > LARGEST_CHUNK:
            msg = f"{self.where} has chunks of {self.layout.nbytes:,} bytes: no array of a session has such"
            raise FileFormatError(msg)
        self.is_scalar = self._stored_shape == (1,) and self._says(_SCALAR)
        self.shape: tuple[int, ...] = () if self.is_scalar else self._stored_shape
        self.dtype: np.dtype[Any] = self._told_type()

    @property
    def where(self) -> str:
        """The array and its store, for messages."""
        return f"{self.path} of {self._objects.name}"

    @property
    def chunks(self) -> tuple[int, ...]:
        """Shape of a chunk."""
        return self.layout.shape

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all values in memory."""
        return self.size * self.dtype.itemsize

    # --- reading -----------------------------------------------------------------------------------------------

    def read(self, selection: Any = ()) -> Values:
        """Return the values that a selection picks: slices and indices as h5py takes them, or ``()`` for all.

        Raises
        ------
        CorruptFileError
            If chunks of it are missing, or damaged.
        FileFormatError
            If the values are pickled objects.
        """
        spans, rest = _spans(selection, self._stored_shape)
        out = np.empty([stop - start for start, stop in spans], dtype=self.layout.dtype.newbyteorder("="))
        for place, values in self.chunks_at(self._places(spans)):
            to, of = [], []
            for (start, stop), index, size in zip(spans, place, self.chunks, strict=True):
                low, high = max(start, index * size), min(stop, (index + 1) * size)
                to.append(slice(low - start, high - start))
                of.append(slice(low - index * size, high - index * size))
            out[tuple(to)] = values[tuple(of)]
        picked: Values = out[(*rest, ...)]  # with the dots an array, also where one value is left
        return picked.reshape(()) if self.is_scalar and np.ndim(picked) == 1 else picked

    def chunks_at(self, places: Iterable[Place]) -> Iterator[tuple[Place, Values]]:
        """Yield the chunks at some places of the grid, fetched and decoded some tens at a time."""
        if self.refused:
            check_codec({"id": self.refused}, self.where)
        each = max(1, BATCH_BYTES // max(1, self.layout.nbytes))
        batch: list[Place] = []
        for place in places:
            batch.append(place)
            if len(batch) == each:
                yield from self._batch(batch)
                batch = []
        yield from self._batch(batch)

    def _batch(self, places: list[Place]) -> Iterator[tuple[Place, Values]]:
        held = {place: self._kept.get(self.path, place) for place in places}
        needed = [place for place, values in held.items() if values is None]
        if needed:
            for place, values in zip(needed, self._decoded(needed), strict=True):
                held[place] = values
                self._kept.keep(self.path, place, values)
        for place in places:
            found = held[place]
            if found is not None:
                yield place, found

    def _decoded(self, places: list[Place]) -> list[Values]:
        raw = self._raw(places)
        lost = [place for place, found in zip(places, raw, strict=True) if found is None]
        if lost:
            self._tell_missing(lost)

        def values(pair: tuple[Place, bytes | None]) -> Values:
            place, found = pair
            if found is None:
                return np.full(self.layout.shape, self._fill, dtype=self.layout.dtype.newbyteorder("="))
            return self.layout.decode(found, f"chunk {self.key(place)} of {self._objects.name}")

        pairs = list(zip(places, raw, strict=True))
        workers = min(threads(), len(pairs))
        if workers < 2 or self.layout.nbytes < 100_000:
            return [values(pair) for pair in pairs]
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(values, pairs))

    def _tell_missing(self, lost: list[Place]) -> None:
        """Refuse to go on without chunks that were written, and tell of those that need not have been."""
        names = ", ".join(self.key(place) for place in lost[:3]) + (", ..." if len(lost) > 3 else "")
        distinct = min(self.layout.count, math.prod(self._stored_shape)) > 1
        if self.writes_fill or (distinct and f"/{self.path}".endswith(_DISTINCT)):
            msg = (
                f"{self.where} is incomplete: {len(lost):,} chunk(s) of it are not in the store ({names}). "
                "Fetch the store again"
            )
            raise CorruptFileError(msg)
        self._incomplete(
            f"{self.where} lacks {len(lost):,} chunk(s) ({names}). A writer leaves out chunks that hold nothing but "
            f"{self._fill!r}, so they are read as that; if the store was not copied whole, they are lost"
        )

    def _places(self, spans: Sequence[tuple[int, int]]) -> Iterator[Place]:
        if any(stop <= start for start, stop in spans):
            return iter(())
        ranges = [
            range(start // size, -(-stop // size)) for (start, stop), size in zip(spans, self.chunks, strict=True)
        ]
        return iter(product(*ranges))

    def places_of_rows(self, start: int, stop: int | None) -> list[Place]:
        """Return the chunks that rows `start` to `stop` (None: the last) of the first axis touch."""
        if not self._stored_shape:
            return [()]
        rows = (start, self._stored_shape[0] if stop is None else min(stop, self._stored_shape[0]))
        return list(self._places([rows, *((0, size) for size in self._stored_shape[1:])]))

    def keep(self, place: Place, raw: bytes) -> None:
        """Decode and keep a chunk whose object was fetched already."""
        values = self.layout.decode(raw, f"chunk {self.key(place)} of {self._objects.name}")
        self._kept.keep(self.path, place, values)

    def is_kept(self, place: Place) -> bool:
        """Tell whether a chunk need not be fetched."""
        return self._kept.get(self.path, place) is not None

    # --- where chunks lie --------------------------------------------------------------------------------------

    def key(self, place: Place) -> str:
        """Return the key of the object that holds the chunk at a place of the grid."""
        if self.shards:
            place = tuple(index // count for index, count in zip(place, self.shards.per_shard, strict=True))
        joined = self._separator.join(str(index) for index in place)
        return f"{self.path}/{self._prefix}{joined}" if place else f"{self.path}/{self._prefix[:-1] or '0'}"

    def _raw(self, places: list[Place]) -> list[bytes | None]:
        if self.shards is None:
            return self._objects.get_many([self.key(place) for place in places])
        found: list[bytes | None] = []
        indices: dict[str, np.ndarray[Any, Any] | None] = {}
        for place in places:
            key = self.key(place)
            if key not in indices:
                indices[key] = self._shard_index(key, self.shards)
            index = indices[key]
            inner = tuple(i % count for i, count in zip(place, self.shards.per_shard, strict=True))
            start, length = (_NOT_IN_SHARD, 0) if index is None else (int(n) for n in index[inner])
            if start == _NOT_IN_SHARD:
                found.append(None)
                continue
            if length > self.layout.nbytes * 2 + 65_536 and not self.layout.text:
                msg = f"{key} of {self._objects.name} is damaged: a chunk of it takes {length:,} bytes"
                raise CorruptFileError(msg)
            found.append(self._objects.get_range(key, start, start + length))
        return found

    def _shard_index(self, key: str, shards: Shards) -> np.ndarray[Any, Any] | None:
        size = shards.index_bytes
        raw = self._objects.get_range(key, *((-size, 0) if shards.at_end else (0, size)))
        if raw is None:
            return None
        where = f"the index of {key} of {self._objects.name}"
        if len(raw) != size:
            msg = f"{where} is damaged: it is cut"
            raise CorruptFileError(msg)
        plain = checked_crc32c(raw, where) if shards.checked else raw
        return np.frombuffer(plain, dtype="<u8").reshape(*shards.per_shard, 2)

    # --- metadata ----------------------------------------------------------------------------------------------

    def _layout_2(self, document: Mapping[str, Any]) -> ChunkLayout:
        shape = _sizes(document["chunks"], 1)
        self._separator = str(document.get("dimension_separator") or ".")
        self._prefix = ""
        self._check_separator()
        filters = document.get("filters") or []
        named = document["dtype"]
        text = None
        if named == "|O" or not isinstance(named, str):
            codec = str(filters[0]["id"]) if filters else "none"
            if codec not in TEXTS:
                self.refused = codec if codec in UNSAFE else "pickle" if not isinstance(named, str) else codec
            text, filters = (codec if codec in TEXTS else None), filters[1:] if codec in (*TEXTS, *UNSAFE) else []
            dtype = np.dtype(object)
        else:
            dtype = np.dtype(named)
        self._check_kind(dtype)
        self._fill: Any = 0 if document.get("fill_value") is None else document["fill_value"]
        codecs = [*filters, *([document["compressor"]] if document.get("compressor") else [])]
        checked = () if self.refused else tuple(check_codec(config, self.where) for config in codecs)
        order = tuple(reversed(range(len(shape)))) if document.get("order") == "F" and len(shape) > 1 else ()
        return ChunkLayout(shape, dtype, order, text, checked)

    def _layout_3(self, document: Mapping[str, Any]) -> ChunkLayout:
        grid, encoding = document["chunk_grid"], document.get("chunk_key_encoding", {"name": "default"})
        if grid["name"] != "regular" or encoding["name"] not in ("default", "v2"):
            msg = f"{self.where} has chunks by the rules {grid['name']!r} and {encoding['name']!r}, which are not read"
            raise FileFormatError(msg)
        default = encoding["name"] == "default"
        options = encoding.get("configuration") or {}
        self._separator = str(options.get("separator", "/" if default else "."))
        self._check_separator()
        self._prefix = f"c{self._separator}" if default else ""
        self._fill = _number_of(document.get("fill_value", 0))
        self.writes_fill = False
        shape = _sizes(grid["configuration"]["chunk_shape"], 1)
        codecs = list(document["codecs"])
        if codecs and codecs[0]["name"] == "sharding_indexed":
            outer, configuration = shape, codecs[0]["configuration"]
            shape = _sizes(configuration["chunk_shape"], 1)
            codecs = list(configuration["codecs"])
            index = [codec["name"] for codec in configuration["index_codecs"]]
            if index not in (["bytes"], ["bytes", "crc32c"]) or any(a % b for a, b in zip(outer, shape, strict=True)):
                msg = f"{self.where} has shards that are not understood"
                raise FileFormatError(msg)
            per_shard = tuple(a // b for a, b in zip(outer, shape, strict=True))
            at_end = configuration.get("index_location", "end") == "end"
            self.shards = Shards(outer, at_end, len(index) == 2, per_shard)
        return self._codecs_3(document["data_type"], shape, codecs)

    def _codecs_3(self, named: Any, shape: tuple[int, ...], codecs: list[Any]) -> ChunkLayout:
        axes: tuple[int, ...] = ()
        text: str | None = None
        order: Literal["<", ">"] = "<"
        checked: list[Mapping[str, Any]] = []
        for codec in codecs:
            name = str(codec["name"]).removeprefix("numcodecs.")
            options = codec.get("configuration") or {}
            if name == "transpose" and not axes:
                axes = tuple(int(axis) for axis in options["order"])
                if sorted(axes) != list(range(len(shape))):
                    msg = f"{self.where} is transposed by {axes}, which are not its axes"
                    raise FileFormatError(msg)
            elif name == "bytes":
                order = ">" if options.get("endian") == "big" else "<"
            elif name in TEXTS:
                text = name
            elif name in UNSAFE:
                self.refused = name
            else:
                known = {key: value for key, value in options.items() if name != "blosc" or key in _BLOSC}
                checked.append(check_codec({"id": name} if name in _BARE else {"id": name, **known}, self.where))
        if isinstance(named, dict) and named.get("name") == "structured":
            fields = named["configuration"]["fields"]
            dtype = np.dtype([(str(name), self._type_3(of, order)) for name, of in fields])
        else:
            dtype = self._type_3(named, order)
        if dtype.kind == "O" and text is None:
            self.refused = self.refused or "pickle"
        self._check_kind(dtype)
        return ChunkLayout(shape, dtype, axes, text, () if self.refused else tuple(checked))

    def _type_3(self, named: Any, order: Literal["<", ">"]) -> np.dtype[Any]:
        if isinstance(named, dict):
            if named.get("name") not in _SIZED_3:
                msg = f"{self.where} holds values of type {named.get('name')!r}, which are not read"
                raise FileFormatError(msg)
            kind, unit = _SIZED_3[str(named["name"])]
            return np.dtype(f"{order}{kind}{int(named['configuration']['length_bytes']) // unit}")
        dtype = np.dtype(_TYPES_3.get(str(named), str(named)))
        return dtype.newbyteorder(order) if dtype.itemsize > 1 and dtype.kind != "O" else dtype

    def _check_separator(self) -> None:
        if self._separator not in (".", "/"):
            msg = f"{self.where} separates the indices of a chunk by {self._separator!r}; '.' and '/' are read"
            raise FileFormatError(msg)

    def _check_kind(self, dtype: np.dtype[Any]) -> None:
        kinds = [dtype[name].kind for name in dtype.names] if dtype.names else [dtype.kind]
        if not set(kinds) <= set("biufSUO") or dtype.itemsize == 0:
            msg = f"{self.where} holds values of type {dtype}, which are not read"
            raise FileFormatError(msg)

    def _says(self, words: tuple[tuple[str, object], ...]) -> bool:
        return any(self.attrs.get(name) == value for name, value in words)

    @property
    def holds_references(self) -> bool:
        """Whether each value is the path of another object of the store."""
        return self._says(_REFERENCE)

    def _told_type(self) -> np.dtype[Any]:
        """Return the type of the values in h5py's words."""
        import h5py

        if self.refused or self._says(_REFERENCE):
            return cast("np.dtype[Any]", h5py.ref_dtype)
        if self.layout.text or self.layout.dtype.kind in "SU":
            return cast("np.dtype[Any]", h5py.string_dtype())
        return self.layout.dtype.newbyteorder("=")


#: Types of format 3 that have a length: NumPy's letter, and bytes a character.
_SIZED_3 = {"fixed_length_utf32": ("U", 4), "null_terminated_bytes": ("S", 1), "fixed_length_bytes": ("S", 1)}

#: Codecs that take no options to undo, and what Blosc's own takes.
_BARE = ("gzip", "zlib", "zstd", "crc32c")
_BLOSC = ("cname", "clevel", "blocksize")


def _sizes(held: Any, least: int) -> tuple[int, ...]:
    sizes = tuple(int(size) for size in held)
    if any(size < least or isinstance(size, bool) or size != given for size, given in zip(sizes, held, strict=True)):
        msg = f"{list(held)!r:.60} are no sizes"
        raise FileFormatError(msg)
    if math.prod(sizes) > 2**62:
        msg = f"{list(held)!r:.60} are more values than there can be"
        raise FileFormatError(msg)
    return sizes


def _number_of(fill: Any) -> Any:
    return float(fill) if fill in ("NaN", "Infinity", "-Infinity") else fill


def _spans(selection: Any, shape: tuple[int, ...]) -> tuple[list[tuple[int, int]], tuple[Any, ...]]:
    """Return the first and last row wanted along each axis, and what to pick of the block between them."""
    given = selection if isinstance(selection, tuple) else (selection,)
    if len(given) > len(shape):
        msg = f"{len(given)} indices for {len(shape)} dimensions"
        raise FileFormatError(msg)
    spans: list[tuple[int, int]] = []
    rest: list[Any] = []
    for axis, size in enumerate(shape):
        key = given[axis] if axis < len(given) else slice(None)
        if isinstance(key, slice):
            start, stop, step = key.indices(size)
            first, last = (start, max(start, stop)) if step > 0 else (min(stop + 1, start + 1), start + 1)
            spans.append((first, last))
            rest.append(slice(None, None, step))
        else:
            wanted = np.asarray(key)
            wanted = np.where(wanted < 0, wanted + size, wanted)
            if wanted.size and (wanted.min() < 0 or wanted.max() >= size):
                msg = f"row {key!r:.40} of {size:,}"
                raise CorruptFileError(msg)
            low = int(wanted.min()) if wanted.size else 0
            spans.append((low, int(wanted.max()) + 1 if wanted.size else 0))
            rest.append(wanted - low)
    return spans, tuple(rest)


def fetch_together(objects: Objects, wanted: Iterable[tuple[ZarrArray, Place]]) -> None:
    """Fetch and keep chunks of several arrays at once, so that they cost one wait instead of one each.

    Those of shards, and those that are not there, are left to the reading that needs them.
    """
    needed = [(array, place) for array, place in wanted if array.shards is None and not array.is_kept(place)]
    if len(needed) < 2:
        return
    raw = objects.get_many([array.key(place) for array, place in needed])
    for (array, place), held in zip(needed, raw, strict=True):
        if held is not None:
            array.keep(place, held)
