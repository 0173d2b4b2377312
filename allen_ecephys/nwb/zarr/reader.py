"""Reading of NWB files that are Zarr stores, through the same door as HDF5 (:class:`..reader.NwbReader`)."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from ...errors import ClosedSessionError, FileFormatError, MissingDataError, MissingFileError, suggest
from ..opening import check_nwb_version
from ..reader import NwbReader
from ..stored import LARGEST_WHOLE
from .array import KEPT_BYTES, KeptChunks, Place, ZarrArray, fetch_together
from .hierarchy import Hierarchy, Node
from .objects import open_objects
from .packs import ARRAYS, EVERY_CHUNK, PACKED, PackedObjects, unpacked

logger = logging.getLogger(__name__)


class ZarrReader(NwbReader):
    """One NWB file that is a Zarr store of format 2 or 3: a folder, or the address of one.

    Parameters
    ----------
    source
        Path of the store's folder, or its fsspec URL.

    Raises
    ------
    MissingFileError
        If a local path does not exist.

    Notes
    -----
    What the store says of itself is never believed further than its own objects: links and symbolic links out of it,
    pickled objects and codecs that run code are refused when they are read (:mod:`.codecs`, :mod:`.objects`). Chunks
    that are missing are named (:meth:`.ZarrArray.read`).
    """

    def __init__(self, source: str) -> None:
        super().__init__(source)
        self._store: Hierarchy | None = None
        self._arrays: dict[str, ZarrArray] = {}
        self._kept = KeptChunks()
        self._told: set[str] = set()
        self._every_chunk_is_written = False

    @staticmethod
    def _check_there(path: Path) -> None:
        if not path.exists():
            near = suggest(path.name, (p.name for p in path.parent.glob("*.zarr"))) if path.parent.is_dir() else ""
            msg = f"there is no Zarr store {path}{near or '; check the path'}"
            raise MissingFileError(msg)

    @property
    def store(self) -> Hierarchy:
        """The store, its metadata read on first use.

        Raises
        ------
        ClosedSessionError
            After :meth:`close`.
        FileFormatError
            If it is no Zarr store, or no NWB 2.
        CorruptFileError
            If its metadata are damaged.
        """
        with self._lock:
            self._check_not_closed()
            if self._store is None:
                store = Hierarchy(open_objects(str(self.source)))
                root = store.node("")
                check_nwb_version(root.attributes.get("nwb_version") if root else None, self.name, "a Zarr store")
                self._store = self._with_packs(store)
            return self._store

    def _with_packs(self, store: Hierarchy) -> Hierarchy:
        """Have a remote store's small arrays taken from where they are packed, if they are."""
        node = store.node(PACKED)
        self._every_chunk_is_written = node is not None and node.attributes.get(EVERY_CHUNK) is True
        if node is None or store.is_local:
            return store
        packs: dict[str, str] = {}
        for name in store.children(PACKED):
            pack = f"{PACKED}/{name}"
            found = store.node(pack)
            held = found.attributes.get(ARRAYS) if found else None
            packs.update((path, pack) for path in held or () if isinstance(path, str))
        objects = store.objects

        def unpack(pack: str) -> dict[str, bytes]:
            found = store.node(pack)
            if found is None or found.array is None:
                return {}
            raw = ZarrArray(found, objects, KeptChunks(0), self._tell_once).read()
            return unpacked(raw.tobytes(), f"{pack} of {self.name}")

        store.objects = PackedObjects(objects, packs, unpack)
        return store

    @property
    def file(self) -> NoReturn:
        """A Zarr store is no HDF5 file."""
        msg = f"{self.name} is a Zarr store, no HDF5 file: `allen-ecephys convert {self.name} session.nwb` makes one"
        raise FileFormatError(msg)

    def check_open(self) -> None:
        """Raise what :attr:`store` does."""
        _ = self.store

    def close(self) -> None:
        """Forget the store. What was read before stays usable; a second call does nothing."""
        with self._lock:
            super().close()
            self._store = None
            self._arrays.clear()
            self._kept = KeptChunks()

    # --- objects -----------------------------------------------------------------------------------------------

    def has(self, path: str) -> bool:
        """Tell whether the store holds a group or array at `path`."""
        with self._lock:
            return self.store.node(path) is not None

    def dataset(self, path: str) -> ZarrArray:
        """Return the array at `path`, unread; errors of :meth:`.NwbReader.dataset`."""
        with self._lock:
            if path in self._arrays and not self._closed:
                return self._arrays[path]
            node = self._node(path)
            if node.array is None:
                msg = f"{path} of {self.name} is a group, not a dataset"
                raise FileFormatError(msg)
            found = ZarrArray(node, self.store.objects, self._kept, self._tell_once)
            found.writes_fill = found.writes_fill or self._every_chunk_is_written
            self._arrays[path] = found
            return found

    def children(self, path: str = "/") -> list[str]:
        """Return the names in the group at `path`, or an empty list where there is no such group."""
        with self._lock:
            return self.store.children(path)

    def attribute(self, path: str, name: str, default: Any = None) -> Any:
        """Return attribute `name` of the object at `path`, as a Python value or an array, or `default`."""
        value = self._node(path).attributes.get(name, default)
        return np.asarray(value) if isinstance(value, list) else value

    def number(self, path: str, name: str, default: float = np.nan) -> float:
        """Return attribute `name` as a float; strict JSON has no NaN, and writers say it in words."""
        if self.attribute(path, name) in ("NaN", "Infinity", "-Infinity"):
            return float(self.attribute(path, name))
        return super().number(path, name, default)

    @property
    def fetches_ahead(self) -> bool:
        """Whether the store is remote: what is about to be read is then fetched together."""
        return not self.store.is_local

    def prefetch(self, rows: Iterable[tuple[str, int, int | None]]) -> None:
        """Fetch the chunks of rows that are about to be read, those of all arrays at once, as far as they are kept."""
        if not self.fetches_ahead:
            return
        room = KEPT_BYTES // 2
        wanted: list[tuple[ZarrArray, Place]] = []
        for path, start, stop in rows:
            array = self.dataset(path)
            if array.refused or array.layout.nbytes > KEPT_BYTES // 4:
                continue
            for place in array.places_of_rows(start, stop):
                room -= max(array.layout.nbytes, 64)
                if room < 0:
                    break
                wanted.append((array, place))
        fetch_together(self.store.objects, wanted)

    def prefetch_bytes(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Do nothing: a store has no places in bytes."""

    def contiguous(self, path: str) -> None:
        """Return None: a store keeps its values in chunks."""

    def first_byte(self, path: str) -> None:
        """Return None: a store has no places in bytes."""

    def check_links(self) -> None:
        """Do nothing: each object is checked where it is read, and no other library is handed the store."""

    # --- reading -----------------------------------------------------------------------------------------------

    def _read(self, path: str, selection: Any) -> Any:
        array = self.dataset(path)
        whole = isinstance(selection, tuple) and not selection
        if whole and array.size * max(array.layout.dtype.itemsize, 1) > LARGEST_WHOLE:
            msg = (
                f"{path} of {self.name} says that it holds {array.size:,} values; no column or series that is read "
                f"whole takes more than {LARGEST_WHOLE:,} bytes. The store was written wrongly or is damaged"
            )
            raise FileFormatError(msg)
        with self.reading(path):
            values = array.read(selection)
        if array.layout.dtype.kind == "U":
            values = values.astype(object)
        return values[()] if values.ndim == 0 else values

    def _node(self, path: str) -> Node:
        with self._lock:
            found = self.store.node(path)
        if found is None:
            parent, _, name = path.strip("/").rpartition("/")
            near = suggest(name, self.children(parent)) if parent else ""
            msg = f"{self.name} holds no {path!r}{near}"
            raise MissingDataError(msg)
        return found

    def _tell_once(self, message: str) -> None:
        array = message.partition(" lacks ")[0]
        if array not in self._told:
            self._told.add(array)
            logger.warning("%s", message)

    def _check_not_closed(self) -> None:
        if self._closed:
            msg = f"{self.name} was closed; open it again to read more from it"
            raise ClosedSessionError(msg)
