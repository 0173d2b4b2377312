"""What zarr 3 reads of a store, and writes itself: ``zarr_3.py read STORE``, ``zarr_3.py write STORE``."""

from __future__ import annotations

import sys

import numpy as np
import zarr
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, GzipCodec, TransposeCodec, ZstdCodec


def read(store: str) -> None:
    """Read every array of a store, and keep those that hold numbers or texts."""
    held = {}
    for path, found in zarr.open_group(store, mode="r").members(max_depth=None):
        if isinstance(found, zarr.Array):
            values = np.asarray(found[...])
            held[path] = np.array(values.tolist(), dtype=str) if values.dtype.kind == "T" else values
    np.savez(f"{store}.npz", **{path: values for path, values in held.items() if values.dtype.kind != "O"})


def write(store: str) -> None:
    """Write one table of numbers with every codec, in shards, transposed, with chunks left out; and other types."""
    group = zarr.open_group(store, mode="w")
    group.attrs["nwb_version"] = "2.9.0"
    table = np.random.default_rng(0).normal(size=(1000, 7))
    ways = {
        "plain": {"chunks": (100, 3)},
        "gzip": {"chunks": (100, 7), "compressors": [GzipCodec()]},
        "blosc": {"chunks": (100, 7), "compressors": [BloscCodec(cname="lz4")]},
        "checksum": {"chunks": (100, 7), "compressors": [ZstdCodec(), Crc32cCodec()]},
        "big_endian": {"chunks": (100, 7), "serializer": BytesCodec(endian="big")},
        "sharded": {"chunks": (50, 7), "shards": (200, 7)},
        "uncompressed": {"chunks": (1000, 7), "compressors": None},
        "transposed": {"chunks": (100, 7), "filters": [TransposeCodec(order=(1, 0))]},
        "keys_of_2": {"chunks": (400, 4), "chunk_key_encoding": {"name": "v2", "separator": "."}},
    }
    for name, options in ways.items():
        group.create_array(name, shape=table.shape, dtype=table.dtype, **options)[...] = table
    others = {
        "flags": np.arange(10) % 3 == 0,
        "counts": np.arange(-5, 5, dtype="i2"),
        "holes": np.concatenate([np.ones(10), np.zeros(90)]),
        "units/spike_times": np.concatenate([np.arange(10.0), np.zeros(90)]),
    }
    for name, values in others.items():
        group.create_array(name, shape=values.shape, dtype=values.dtype, chunks=(3 if len(values) == 10 else 10,))[
            ...
        ] = values
    texts = group.create_array("texts", shape=(5,), chunks=(2,), dtype=str)
    texts[:] = np.array(["a", "b\u00e9", "", "ddd", "e"], dtype=object)
    group.create_array("scalar", shape=(), dtype="i8")[()] = 7
    zarr.consolidate_metadata(group.store)
    np.savez(f"{store}.npz", table=table, **{name.replace("/", "."): values for name, values in others.items()})


{"read": read, "write": write}[sys.argv[1]](sys.argv[2])
