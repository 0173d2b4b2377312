"""NWB files from HDF5 to Zarr (format 3) and back: every group, array, attribute, link and reference.

Chunks are cut for what a session is asked for: one unit's spikes lie in one or two chunks, ten seconds of LFP of all
channels in one or two, each column of a table in one. A target is whole or absent.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ...errors import FileFormatError
from ...files import atomic_file, atomic_folder
from ...progress import progress_bar
from .. import layout
from ..reader import NwbReader
from .packs import PACKED
from .reader import ZarrReader
from .writing import StoreWriter

if TYPE_CHECKING:
    import h5py

logger = logging.getLogger(__name__)

#: Bytes of a chunk of a long series or of spikes (before compression), and what a column of a table takes at most.
CHUNK_BYTES = 1 << 20
COLUMN_BYTES = 4 << 20

#: Samples of a chunk of LFP, of all channels: 13 s at 1,250 Hz.
LFP_SAMPLES = 16_384

#: Bytes read at once.
BLOCK_BYTES = 64 << 20

#: Parts of a session whose small arrays are packed together: what `units` reads, what presentations read.
_PACKS = (("session", ("units/", "general/", "identifier", "session_")), ("intervals", ("intervals/",)))


def hdf5_to_zarr(source: Path, target: Path) -> None:
    """Write an NWB file as a Zarr store of format 3.

    Parameters
    ----------
    source
        The HDF5 file.
    target
        The store's folder. It appears when it is whole.

    Raises
    ------
    AlreadyPresentError
        If something is there.
    FileFormatError, CorruptFileError
        If the source is no NWB file, is damaged, or leads out of itself.
    """
    with NwbReader(source) as reader, atomic_folder(target) as draft:
        reader.check_links()
        writer = StoreWriter(draft)
        _ToZarr(reader, writer).copy()
        writer.finish()


class _ToZarr:
    """One HDF5 file on its way to a store."""

    def __init__(self, reader: NwbReader, writer: StoreWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.seen: dict[Any, str] = {}  # an object with two names is written once; the others become links to it

    def copy(self) -> None:
        """Copy all that the file holds."""
        with progress_bar(total=_stored_bytes(self.reader.file), desc="converting", unit="B") as bar:
            self._group(self.reader.file, "", bar)

    def _group(self, group: h5py.Group, path: str, bar: Any) -> None:
        import h5py

        links: list[dict[str, str]] = []
        inner: list[tuple[str, Any]] = []
        for name in group:
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.SoftLink):
                at = link.path if link.path.startswith("/") else f"/{path}/{link.path}".replace("//", "/")
                if self.reader.has(at):
                    links.append({"name": name, "source": ".", "path": at})
                continue
            found = group[name]
            address = h5py.h5o.get_info(found.id).addr
            if address in self.seen:
                links.append({"name": name, "source": ".", "path": f"/{self.seen[address]}"})
                continue
            self.seen[address] = f"{path}/{name}".strip("/")
            inner.append((name, found))
        attributes = self._attributes(group)
        self.writer.group(path, {**attributes, "_LINKS": links} if links else attributes)
        for name, found in inner:
            within = f"{path}/{name}".strip("/")
            if isinstance(found, h5py.Dataset):
                self._array(within, found)
                bar.update(found.nbytes)
            else:
                self._group(found, within, bar)

    def _array(self, path: str, dataset: h5py.Dataset) -> None:
        import h5py

        attributes = self._attributes(dataset)
        dataset = self.reader.dataset(path)
        if dataset.dtype.names or h5py.check_ref_dtype(dataset.dtype) is not None:
            values, extra = self._references(dataset)
            self._write(path, values, attributes | extra)
            return
        if h5py.check_string_dtype(dataset.dtype) is not None or dataset.size * dataset.dtype.itemsize <= COLUMN_BYTES:
            values = np.asarray(self.reader.array(path))
            self._write(path, values.astype(object) if values.dtype.kind in "OU" else values, attributes)
            return
        chunks = self._chunks(path, dataset)
        array = self.writer.array(path, dataset.shape, _plain(dataset), chunks, attributes)
        for rows, block in self._blocks(path, dataset, chunks[0]):
            for start in range(rows, rows + len(block), chunks[0]):
                strip = block[start - rows : start - rows + chunks[0]]
                for place in product(*(range(-(-n // c)) for n, c in zip(strip.shape[1:], chunks[1:], strict=True))):
                    columns = tuple(slice(i * c, (i + 1) * c) for i, c in zip(place, chunks[1:], strict=True))
                    array.write((start // chunks[0], *place), strip[(slice(None), *columns)])

    def _write(self, path: str, values: np.ndarray[Any, Any], attributes: Mapping[str, Any]) -> None:
        """Write an array of one chunk, and pack it with others of its part of the session."""
        chunks = tuple(max(1, size) for size in values.shape)
        array = self.writer.array(path, values.shape, values.dtype, chunks, attributes)
        if values.size == 0:
            return
        place = (0,) * values.ndim
        raw = array.write(place, values)
        for name, parts in _PACKS:
            if path.startswith(parts):
                self.writer.pack(name, array.key(place), raw)

    def _chunks(self, path: str, dataset: h5py.Dataset) -> tuple[int, ...]:
        row = dataset.dtype.itemsize * math.prod(dataset.shape[1:])
        if path == f"{layout.UNITS}/waveform_mean":
            ends = self.reader.array(f"{path}_index")
            each = max(1, int(ends[0]) if len(ends) else 1)
            return (max(1, CHUNK_BYTES // (row * each)) * each, *dataset.shape[1:])
        if dataset.ndim == 2 and dataset.shape[0] > LFP_SAMPLES and path.endswith("/data") and "lfp" in path:
            return (LFP_SAMPLES, dataset.shape[1])
        return (max(1, CHUNK_BYTES // row), *dataset.shape[1:])

    def _blocks(self, path: str, dataset: h5py.Dataset, rows: int) -> Iterator[tuple[int, np.ndarray[Any, Any]]]:
        """Yield the first row and the values of blocks that are cut where chunks are."""
        from ..chunks import SampleTable

        row = dataset.dtype.itemsize * math.prod(dataset.shape[1:])
        step = max(1, BLOCK_BYTES // (row * rows)) * rows
        table = SampleTable(self.reader, path) if dataset.ndim == 2 and dataset.dtype.kind in "iuf" else None
        for start in range(0, dataset.shape[0], step):
            stop = min(start + step, dataset.shape[0])
            if table is not None:
                yield start, table.read(slice(start, stop), slice(0, dataset.shape[1]))
            else:
                yield start, self.reader.array(path, slice(start, stop))

    def _references(self, dataset: h5py.Dataset) -> tuple[np.ndarray[Any, Any], dict[str, Any]]:
        """Return references as the paths that they mean, and the attributes that say so."""
        import h5py

        values = dataset[()]
        if not dataset.dtype.names:
            flat = [self._path_of(reference) for reference in np.ravel(np.asarray(values, dtype=object))]
            paths = np.empty(len(flat), dtype=object)
            paths[:] = flat
            return paths.reshape(dataset.shape), {"_DTYPE": "object_reference"}
        fields: list[tuple[str, Any]] = []
        told: dict[str, Any] = {}
        pointing: list[str] = []
        for name in dataset.dtype.names:
            held = np.atleast_1d(values)[name]
            of = dataset.dtype[name]
            if h5py.check_ref_dtype(of) is not None:
                pointing.append(name)
                held = np.array([self._path_of(reference) for reference in held], dtype="U")
            elif h5py.check_string_dtype(of) is not None:
                held = np.array([self.reader.as_text(text, dataset.name) for text in held], dtype="U")
            kind = held.dtype if held.dtype.itemsize else np.dtype("<U1")
            told[name] = held
            fields.append((name, kind))
        rows = np.zeros(np.atleast_1d(values).shape, dtype=np.dtype(fields))
        for name, held in told.items():
            rows[name] = held
        return rows.reshape(dataset.shape), {"_REFERENCE_FIELDS": pointing} if pointing else {}

    def _path_of(self, reference: Any) -> str:
        return str(self.reader.file[reference].name) if reference else ""

    def _attributes(self, found: h5py.Group | h5py.Dataset) -> dict[str, Any]:
        import h5py

        plain: dict[str, Any] = {}
        for name, value in found.attrs.items():
            if isinstance(value, h5py.RegionReference):
                continue  # NWB uses none
            if isinstance(value, h5py.Reference):
                plain[name] = {"_REFERENCE": {"source": ".", "path": self._path_of(value)}}
            elif isinstance(value, h5py.Empty):
                plain[name] = None
            else:
                plain[name] = self._value(value, f"attribute {name!r} of {found.name}")
        return plain

    def _value(self, value: Any, where: str) -> Any:
        if isinstance(value, (np.ndarray, np.generic)):
            value = value.tolist()
        if isinstance(value, list):
            return [self._value(one, where) for one in value]
        return self.reader.as_text(value, where) if isinstance(value, bytes) else value


def _plain(dataset: h5py.Dataset) -> np.dtype[Any]:
    """Return the type of a dataset's values as they are read."""
    import h5py

    enum = h5py.check_enum_dtype(dataset.dtype)
    return np.dtype(bool) if enum == {"FALSE": 0, "TRUE": 1} else np.dtype(dataset.dtype.newbyteorder("="))


def _stored_bytes(group: h5py.Group) -> int:
    import h5py

    sizes: list[int] = []
    group.visititems(lambda _, found: sizes.append(found.nbytes) if isinstance(found, h5py.Dataset) else None)
    return sum(sizes)


# --- back ---------------------------------------------------------------------------------------------------------


def zarr_to_hdf5(source: str, target: Path) -> list[str]:
    """Write a Zarr store as an NWB file.

    Parameters
    ----------
    source
        The store: a folder, or its address; format 2 or 3.
    target
        The file. It appears when it is whole.

    Returns
    -------
    list of str
        What was left out: columns kept as pickles, which are never read. The electrodes' groups are made again from
        their names.

    Raises
    ------
    AlreadyPresentError
        If something is there.
    FileFormatError, CorruptFileError
        If the store is no NWB file, is damaged, or leads out of itself.
    """
    import h5py

    reader = ZarrReader(source)
    with reader, atomic_file(target, replace=False) as draft:
        reader.check_open()
        with h5py.File(draft.name, "w", locking=False) as file:
            work = _ToHdf5(reader, file)
            work.copy()
        return work.left_out


class _ToHdf5:
    """One store on its way to an HDF5 file."""

    def __init__(self, reader: ZarrReader, file: h5py.File) -> None:
        self.reader = reader
        self.file = file
        self.left_out: list[str] = []
        self._later: list[tuple[str, str, Any]] = []  # references, written when all that they point at is there

    def copy(self) -> None:
        """Copy all that the store holds."""
        self._group("")
        for path, name, value in self._later:
            self._refer(path, name, value)

    def _group(self, path: str) -> None:
        import h5py

        node = self.reader.store.node(path)
        group = self.file.require_group(f"/{path}")
        links = node.links if node else {}
        self._attributes(group, path, node.attributes if node else {})
        names = self.reader.children(path)
        lost = {name for name in names if name not in links and self._is_lost(f"{path}/{name}".strip("/"))}
        lost |= {f"{name}_index" for name in lost}
        for name in names:
            within = f"{path}/{name}".strip("/")
            if within == PACKED or name in lost:
                continue
            if name in links:
                if self.reader.has(within):
                    group[name] = h5py.SoftLink(f"/{links[name]}")
                continue
            if cast("Any", self.reader.store.node(within)).array is None:
                self._group(within)
            else:
                self._dataset(within)
        if lost and "colnames" in group.attrs:
            kept = [name for name in group.attrs["colnames"] if name not in lost]
            group.attrs.create("colnames", kept, dtype=h5py.string_dtype())
        self.left_out.extend(f"{path}/{name}" for name in sorted(lost) if name in names)

    def _is_lost(self, path: str) -> bool:
        node = self.reader.store.node(path)
        if node is None or node.array is None:
            return False
        return bool(self.reader.dataset(path).refused) and path != f"{layout.ELECTRODES}/group"

    def _dataset(self, path: str) -> None:
        import h5py

        array = self.reader.dataset(path)
        at = f"/{path}"
        if array.refused:  # the groups of electrodes: made again from their names
            names = self.reader.array(f"{layout.ELECTRODES}/group_name")
            values = [f"/{layout.EXTRACELLULAR}/{name}" for name in names]
            self.file.create_dataset(at, shape=array.shape, dtype=h5py.ref_dtype)
            self._later.append((path, "", values))
        elif array.holds_references:
            self.file.create_dataset(at, shape=array.shape, dtype=h5py.ref_dtype)
            self._later.append((path, "", [_path_in(text) for text in np.ravel(self.reader.array(path))]))
        elif array.layout.dtype.names:
            self._later.append((path, "", self.reader.array(path)))
            return  # made when it is written, as its type has references
        elif h5py.check_string_dtype(array.dtype) is not None:
            texts = self.reader.array(path)
            held = texts.item() if array.shape == () else texts
            self.file.create_dataset(at, data=held, shape=array.shape, dtype=h5py.string_dtype())
        else:
            self._numbers(at, path, array)
        self._attributes(self.file[at], path, array.attrs)

    def _numbers(self, at: str, path: str, array: Any) -> None:
        long = array.nbytes > CHUNK_BYTES and not path.startswith(f"{layout.UNITS}/")
        stored = {"chunks": array.chunks, "compression": "gzip", "compression_opts": 4, "shuffle": True} if long else {}
        dataset = self.file.create_dataset(at, shape=array.shape, dtype=array.dtype, **stored)
        if array.shape == ():
            dataset[()] = self.reader.array(path)
            return
        if array.size == 0:
            return
        row = max(1, array.nbytes // array.shape[0])
        step = max(array.chunks[0], BLOCK_BYTES // row // array.chunks[0] * array.chunks[0])
        for start in range(0, array.shape[0], step):
            stop = min(start + step, array.shape[0])
            dataset[start:stop] = self.reader.array(path, slice(start, stop))

    def _attributes(self, found: h5py.Group | h5py.Dataset, path: str, attributes: Mapping[str, Any]) -> None:
        import h5py

        for name, value in attributes.items():
            if name in _ZARR_ONLY:
                continue
            pointed = _pointed(value)
            if pointed is not None or name == ".specloc":
                self._later.append((path, name, pointed or str(value)))
            elif isinstance(value, list) and all(isinstance(one, str) for one in value):
                found.attrs.create(name, value, shape=(len(value),), dtype=h5py.string_dtype())
            elif isinstance(value, (str, bool, int, float)):
                found.attrs[name] = value
            elif isinstance(value, list) and all(isinstance(one, (bool, int, float)) for one in value):
                found.attrs[name] = np.asarray(value)
            elif value is None:
                found.attrs[name] = h5py.Empty("f")
            else:
                found.attrs[name] = json.dumps(value)

    def _refer(self, path: str, name: str, value: Any) -> None:
        import h5py

        if name:
            found = self.file[f"/{path}"]
            found.attrs.create(name, self._reference(value, f"attribute {name!r} of {path}"), dtype=h5py.ref_dtype)
        elif isinstance(value, np.ndarray):
            self._compound(path, value)
        else:
            dataset = self.file[f"/{path}"]
            references = np.empty(len(value), dtype=h5py.ref_dtype)
            for row, target in enumerate(value):
                references[row] = self._reference(target, path)
            dataset[...] = references.reshape(dataset.shape)

    def _compound(self, path: str, rows: np.ndarray[Any, Any]) -> None:
        import h5py

        attributes = self.reader.dataset(path).attrs
        pointing = attributes.get("_REFERENCE_FIELDS", [])
        names = rows.dtype.names or ()
        kinds: list[tuple[str, Any]] = []
        for name in names:
            text = rows.dtype[name].kind == "U"
            kind = h5py.ref_dtype if name in pointing else h5py.string_dtype() if text else rows.dtype[name]
            kinds.append((name, kind))
        held = np.empty(rows.shape, dtype=np.dtype(kinds))
        for name in names:
            if name in pointing:
                for row in np.ndindex(rows.shape):
                    held[name][row] = self._reference(str(rows[name][row]), path)
            else:
                held[name] = rows[name]
        dataset = self.file.create_dataset(f"/{path}", data=held)
        self._attributes(dataset, path, attributes)

    def _reference(self, target: str, where: str) -> Any:
        import h5py

        place = f"/{target.strip('/')}"
        if not target:
            return h5py.Reference()
        if place not in self.file:
            msg = f"{where} of {self.reader.name} points at {target!r}, which the store does not hold"
            raise FileFormatError(msg)
        return self.file[place].ref


#: Attributes that say how a store keeps what HDF5 has of itself.
_ZARR_ONLY = {"_LINKS", "zarr_link", "zarr_dtype", "_DTYPE", "_SCALAR", "_REFERENCE_FIELDS", "_ARRAY_DIMENSIONS"}


def _pointed(value: Any) -> str | None:
    """Return the path that a reference in an attribute means, None for other values."""
    if not isinstance(value, dict):
        return None
    held = value.get("_REFERENCE") or (value.get("value") if value.get("zarr_dtype") == "object" else None)
    return str(held["path"]) if isinstance(held, dict) and "path" in held else None


def _path_in(text: Any) -> str:
    """Return the path in a reference that is kept as text: the path itself, or JSON about it."""
    held = str(text)
    if not held.startswith("{"):
        return held
    try:
        return str(json.loads(held)["path"])
    except (KeyError, TypeError, ValueError) as error:
        msg = f"{held!r:.60} is no reference"
        raise FileFormatError(msg) from error
