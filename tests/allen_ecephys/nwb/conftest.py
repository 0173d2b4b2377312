"""NWB-Zarr stores of format 2, written object by object as hdmf-zarr lays them out."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Mapping
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import h5py
import numcodecs
import numpy as np
import pytest

BLOSC = {"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1, "blocksize": 0}


class StoreWriter:
    """Writes one store, object by object; what it is given last stands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.metadata: dict[str, Any] = {}

    def document(self, key: str, document: Mapping[str, Any]) -> None:
        self.metadata[key] = document
        path = self.folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document))

    def group(self, path: str, attributes: Mapping[str, Any]) -> None:
        within = f"{path}/" if path else ""
        self.document(f"{within}.zgroup", {"zarr_format": 2})
        if attributes:
            self.document(f"{within}.zattrs", attributes)

    def array(
        self, path: str, values: np.ndarray, attributes: Mapping[str, Any], chunks: tuple[int, ...] | None = None
    ) -> None:
        chunks = tuple(max(1, size) for size in (chunks or values.shape))
        filters = None
        if values.dtype == object:
            filters = [{"id": "vlen-bytes" if isinstance(values.flat[0], bytes) else "vlen-utf8"}]
        self.document(
            f"{path}/.zarray",
            {
                "zarr_format": 2, "shape": values.shape, "chunks": chunks, "dtype": values.dtype.str,
                "compressor": BLOSC, "filters": filters, "fill_value": 0, "order": "C",
            },
        )  # fmt: skip
        self.document(f"{path}/.zattrs", {**attributes, "_ARRAY_DIMENSIONS": [f"dim{i}" for i in range(values.ndim)]})
        for place in np.ndindex(*(-(-size // chunk) for size, chunk in zip(values.shape, chunks, strict=True))):
            block = np.zeros(chunks, dtype=values.dtype)
            if values.dtype == object:
                block = np.full(chunks, b"" if filters == [{"id": "vlen-bytes"}] else "", dtype=object)
            part = values[tuple(slice(i * c, (i + 1) * c) for i, c in zip(place, chunks, strict=True))]
            block[tuple(slice(0, size) for size in part.shape)] = part
            for codec in [*(filters or []), BLOSC]:
                block = numcodecs.get_codec(codec).encode(block)
            (self.folder / path / ".".join(map(str, place))).write_bytes(block)

    def pickled(self, path: str, values: list[Any], attributes: Mapping[str, Any]) -> None:
        """Write an array of Python objects, as hdmf-zarr writes references for format 2."""
        self.document(
            f"{path}/.zarray",
            {
                "zarr_format": 2, "shape": [len(values)], "chunks": [len(values)], "dtype": "|O", "compressor": BLOSC,
                "filters": [{"id": "pickle", "protocol": 5}], "fill_value": 0, "order": "C",
            },
        )  # fmt: skip
        self.document(f"{path}/.zattrs", attributes)
        raw = pickle.dumps(np.array(values, dtype=object))
        (self.folder / path / "0").write_bytes(numcodecs.get_codec(BLOSC).encode(raw))

    def consolidate(self) -> None:
        document = {"zarr_consolidated_format": 1, "metadata": self.metadata}
        (self.folder / ".zmetadata").write_text(json.dumps(document))


def _attributes(found: h5py.Group | h5py.Dataset) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for name, value in found.attrs.items():
        if not isinstance(value, h5py.Reference):
            plain[name] = value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
    return plain


def copy_group(group: h5py.Group, writer: StoreWriter, path: str, chunks: Mapping[str, tuple[int, ...]]) -> None:
    """Write a group of an HDF5 file and all that lies in it; soft links become hdmf-zarr's attribute."""
    attributes = _attributes(group)
    links = []
    for name in group:
        within = f"{path}/{name}".strip("/")
        link = group.get(name, getlink=True)
        found = group[name]
        if isinstance(link, h5py.SoftLink):
            links.append({"name": name, "path": link.path, "source": "."})
        elif isinstance(found, h5py.Group):
            copy_group(found, writer, within, chunks)
        elif found.dtype.names or h5py.check_ref_dtype(found.dtype):
            writer.pickled(within, [{"path": "/"}] * len(found), {"zarr_dtype": "object"})
        else:
            text = h5py.check_string_dtype(found.dtype) is not None
            values = np.atleast_1d(found.asstr()[()] if text else found[()])
            values = values.astype(object) if text else values
            scalar = {"zarr_dtype": "scalar"} if found.shape == () else {}
            writer.array(within, values, {**_attributes(found), **scalar}, chunks.get(within))
    if links:
        attributes["zarr_link"] = links
    writer.group(path, attributes)


@pytest.fixture(scope="session")
def write_store() -> Callable[..., StoreWriter]:
    """Write an HDF5 file as a store: ``write_store(file, folder, chunks={path: shape})``."""

    def write(
        file: Path, folder: Path, *, consolidated: bool = True, chunks: Mapping[str, tuple[int, ...]] | None = None
    ) -> StoreWriter:
        writer = StoreWriter(folder)
        with h5py.File(file, "r") as source:
            copy_group(source, writer, "", chunks or {})
        if consolidated:
            writer.consolidate()
        return writer

    return write


class Counting(SimpleHTTPRequestHandler):
    """Serves a folder and notes what it was asked for."""

    asked: ClassVar[list[str]]
    status: ClassVar[int | None] = None

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.status:
            self.send_error(self.status)
        else:
            super().do_GET()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Any:
    """Serve the test's folder: ``served.url``, ``served.asked``."""

    class Handler(Counting):
        asked: ClassVar[list[str]] = []

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path)))
    server.daemon_threads = True
    Thread(target=server.serve_forever, daemon=True).start()
    Handler.url = f"http://127.0.0.1:{server.server_address[1]}"  # type: ignore[attr-defined]
    yield Handler
    server.shutdown()
    server.server_close()
