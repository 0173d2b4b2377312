"""From the bytes of a Zarr chunk to its values: plain data only.

A store names the codecs that its chunks went through, and a reader that obeys whatever it names unpickles objects,
which runs the code of whoever wrote them. Here the codecs are a list (:data:`COMPRESSIONS`, :data:`FILTERS`, texts),
and how many bytes a chunk says that it holds is compared with what it can hold before any of it is inflated.

The codecs themselves are those of ``numcodecs``, the Zarr project's library of them. Formats: Zarr specification 2,
"Chunks", and 3, "Core: codecs" with its registered codecs.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...errors import CorruptFileError, FileFormatError, MissingExtraError, missing_extra
from ..stored import LARGEST_WHOLE

Values = np.ndarray[Any, Any]

#: Codecs that shrink bytes.
COMPRESSIONS = ("blosc", "gzip", "lz4", "zlib", "zstd")

#: Codecs that rearrange bytes, or add a checksum to them.
FILTERS = ("adler32", "crc32", "crc32c", "delta", "fletcher32", "shuffle")

#: Codecs that keep texts of any length.
TEXTS = ("json2", "vlen-bytes", "vlen-utf8")

#: Codecs that keep whatever Python object there is, by a program that makes it again.
UNSAFE = ("pickle",)

#: A codec may enlarge what it cannot compress, and adds a checksum or a header.
_SLACK = 4_096


@dataclass(frozen=True)
class ChunkLayout:
    """How the values of a chunk lie in its bytes.

    Attributes
    ----------
    shape
        Shape of the chunk.
    dtype
        As stored; ``object`` for texts.
    axes
        Order in which the axes are stored (C order over these).
    text
        The codec of :data:`TEXTS` that holds texts, None for numbers.
    codecs
        Configurations of the codecs that the bytes went through, the first applied first.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    axes: tuple[int, ...] = ()
    text: str | None = None
    codecs: tuple[Mapping[str, Any], ...] = ()
    _made: list[Any] = field(default_factory=list, compare=False, repr=False)

    @property
    def count(self) -> int:
        """How many values a chunk holds."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the chunk's values in memory; of texts, the pointers to them."""
        return self.count * self.dtype.itemsize

    def decode(self, raw: bytes, where: str) -> Values:
        """Return the values of a chunk, in this machine's byte order.

        Parameters
        ----------
        raw
            The bytes of its object.
        where
            What messages call it.

        Raises
        ------
        CorruptFileError
            If they do not hold exactly the values of a chunk.
        """
        most = LARGEST_WHOLE if self.text else self.nbytes + _SLACK
        data: Any = raw
        if not self._made:
            self._made.extend(_codec(config) for config in self.codecs)
        for config, codec in zip(reversed(self.codecs), reversed(self._made), strict=True):
            data = _undone(str(config["id"]), codec, data, most, where)
        values = self._texts(data, where) if self.text else self._numbers(data, where)
        if not self.axes:
            return values
        stored = values.reshape([self.shape[axis] for axis in self.axes])
        return stored.transpose(np.argsort(self.axes))

    def _numbers(self, data: Any, where: str) -> Values:
        held = np.frombuffer(data, dtype=np.uint8) if isinstance(data, (bytes, bytearray)) else np.asarray(data)
        if held.nbytes != self.nbytes:
            msg = f"{where} is damaged: it holds {held.nbytes:,} bytes instead of {self.nbytes:,}"
            raise CorruptFileError(msg)
        values = np.ascontiguousarray(held).view(np.uint8).reshape(-1).view(self.dtype).reshape(self.shape)
        return values if self.dtype.isnative else values.astype(self.dtype.newbyteorder("="))

    def _texts(self, data: Any, where: str) -> Values:
        flat = _json_texts(bytes(data), where) if self.text == "json2" else _counted_texts(bytes(data), self, where)
        if len(flat) != self.count:
            msg = f"{where} is damaged: it holds {len(flat):,} texts instead of {self.count:,}"
            raise CorruptFileError(msg)
        values = np.empty(self.count, dtype=object)
        values[:] = flat
        return values.reshape(self.shape)


def check_codec(config: Any, where: str) -> Mapping[str, Any]:
    """Return a codec's configuration (``{"id": ...}``), or refuse it.

    Raises
    ------
    FileFormatError
        If it is none of those that yield plain data.
    """
    name = config.get("id") if isinstance(config, Mapping) else None
    if name in UNSAFE:
        msg = (
            f"{where} is stored as Python pickles, which run the code of whoever wrote them when they are read: "
            "refused. Nothing that a session shows needs them"
        )
        raise FileFormatError(msg)
    if name not in (*COMPRESSIONS, *FILTERS, *TEXTS):
        msg = (
            f"{where} is stored with the codec {name!r}, which is not read; those are "
            f"{', '.join((*COMPRESSIONS, *FILTERS, *TEXTS))}"
        )
        raise FileFormatError(msg)
    return dict(config)


def _codec(config: Mapping[str, Any]) -> Any:
    """Return the numcodecs object of a checked configuration; zlib, gzip and checksums of 32 bits are undone here."""
    if config["id"] in ("zlib", "gzip", "crc32c"):
        return None
    try:
        import numcodecs
    except ImportError as error:
        raise _needs_numcodecs() from error
    try:
        return numcodecs.get_codec(dict(config))
    except (TypeError, ValueError) as error:
        msg = f"the codec {dict(config)} of a Zarr store is not understood ({error})"
        raise FileFormatError(msg) from error


def _needs_numcodecs() -> MissingExtraError:
    purpose = "reading a Zarr store"
    return missing_extra("numcodecs", "zarr", purpose)


def _undone(name: str, codec: Any, data: Any, most: int, where: str) -> Any:
    """Return what a codec was given, of which there are at most `most` bytes."""
    if name in ("zlib", "gzip"):
        return _inflated(bytes(data), 31 if name == "gzip" else 15, most, where)
    if name == "crc32c":
        return checked_crc32c(bytes(data), where)
    if name in COMPRESSIONS:
        says = _says(name, bytes(data[:18]), len(data))
        if says is None or says > most:
            held = "does not say how many bytes it holds" if says is None else f"says that it holds {says:,} bytes"
            msg = f"{where} is damaged: its {name} block is cut or {held}, where at most {most:,} can be"
            raise CorruptFileError(msg)
    try:
        return codec.decode(data)
    except (OverflowError, RuntimeError, TypeError, ValueError) as error:
        msg = f"{where} is damaged: its {name} codec cannot undo it ({error})"
        raise CorruptFileError(msg) from error


def _says(name: str, head: bytes, length: int) -> int | None:
    """Return how many bytes a compressed block of some length says that it holds; None where it does not.

    Sources: Blosc 1 chunk format ("Header"), RFC 8878 section 3.1.1.1 (Zstandard frame header); numcodecs' LZ4 puts
    the count before the block.
    """
    if name == "blosc":
        if len(head) < 16 or struct.unpack_from("<I", head, 12)[0] != length:
            return None  # Blosc believes the length in the header, and would read past the end
        return int(struct.unpack_from("<I", head, 4)[0])
    if name == "lz4":
        return int(struct.unpack_from("<I", head)[0]) if len(head) >= 4 else None
    if len(head) < 6 or head[:4] != b"\x28\xb5\x2f\xfd":
        return None
    descriptor = head[4]
    single = descriptor >> 5 & 1
    size = (single, 2, 4, 8)[descriptor >> 6]
    at = 5 + (1 - single) + (0, 1, 2, 4)[descriptor & 3]
    if not size or len(head) < at + size:
        return None
    return int.from_bytes(head[at : at + size], "little") + (256 if size == 2 else 0)


def _inflated(raw: bytes, window: int, most: int, where: str) -> bytes:
    inflater = zlib.decompressobj(window)
    try:
        data = inflater.decompress(raw, most + 1)
    except zlib.error as error:
        msg = f"{where} is damaged: it does not decompress ({error})"
        raise CorruptFileError(msg) from error
    if not inflater.eof:
        msg = f"{where} is damaged: it does not end within the {most:,} bytes that it can hold"
        raise CorruptFileError(msg)
    return data


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_CRC32C = _crc_table()


def crc32c(data: bytes) -> int:
    """Return the CRC-32C (Castagnoli; RFC 3720, appendix B.4) of some bytes."""
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ _CRC32C[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF


def checked_crc32c(raw: bytes, where: str) -> bytes:
    """Return bytes without the CRC-32C behind them.

    Raises
    ------
    CorruptFileError
        If it is another than theirs.
    """
    data, end = raw[:-4], raw[-4:]
    if len(end) < 4 or int.from_bytes(end, "little") != crc32c(data):
        msg = f"{where} is damaged: its checksum is not that of its bytes"
        raise CorruptFileError(msg)
    return data


def _counted_texts(data: bytes, layout: ChunkLayout, where: str) -> list[Any]:
    """Return the texts of a chunk: their number, then each one's length and bytes (32 bits, little-endian)."""
    found: list[Any] = []
    try:
        (count,) = struct.unpack_from("<I", data)
        if count != layout.count:
            msg = f"{where} is damaged: it holds {count:,} texts instead of {layout.count:,}"
            raise CorruptFileError(msg)
        at = 4
        for _ in range(count):
            (length,) = struct.unpack_from("<I", data, at)
            at += 4 + length
            if at > len(data):
                msg = f"{where} is damaged: a text of it ends behind its {len(data):,} bytes"
                raise CorruptFileError(msg)
            held = data[at - length : at]
            found.append(held if layout.text == "vlen-bytes" else held.decode())
    except (UnicodeDecodeError, struct.error) as error:
        msg = f"{where} is damaged: its texts cannot be read ({error})"
        raise CorruptFileError(msg) from error
    return found


def _json_texts(data: bytes, where: str) -> list[Any]:
    """Return the values of a chunk kept as JSON: a list of them, then their dtype and the chunk's shape."""
    try:
        held = json.loads(data)
    except (RecursionError, ValueError) as error:
        msg = f"{where} is damaged: it is no JSON ({error})"
        raise CorruptFileError(msg) from error
    if not isinstance(held, list) or len(held) < 2:
        msg = f"{where} is damaged: it is not what numcodecs' JSON codec writes"
        raise CorruptFileError(msg)
    return [value if isinstance(value, str) else json.dumps(value) for value in held[:-2]]
