"""Typed binary copies of parsed tables, beside their CSV: ``units.csv`` -> ``.units.csv.npz``.

A copy is an uncompressed NPZ file (its members carry checksums) without pickled objects: one matrix for each kind of
number, and codes plus distinct values for text. It states size, modification time and SHA-256 of the CSV it was read
from. It is used if size and times still agree, or if only a time differs and the digest agrees (the cache was copied).
In a folder that cannot be written it is not made.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from allen_ecephys.errors import AccessError, FileFormatError
from allen_ecephys.files import open_regular, write_atomically

logger = logging.getLogger(__name__)

FORMAT: Final = 2
#: Tables smaller than this are parsed faster than a copy is opened.
SMALLEST_BYTES: Final = 1 << 16


@dataclass(frozen=True)
class Fingerprint:
    """Size (bytes) of a CSV file, when its contents were changed, and when anything about it was (ns).

    The last cannot be set by anybody: a file that was replaced by one of equal size and restored time shows it.
    """

    size: int
    mtime_ns: int
    ctime_ns: int


def fingerprint(path: Path) -> Fingerprint:
    """Return the fingerprint of the file as it is now."""
    status = path.stat()
    return Fingerprint(status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def copy_path(path: Path) -> Path:
    """Return where the copy of a CSV file lies."""
    return path.with_name(f".{path.name}.npz")


def load(path: Path) -> pd.DataFrame | None:
    """Return the table that was read from `path`, or None if there is no up-to-date copy."""
    try:
        with open_regular(copy_path(path)) as file:
            check_members(file)
            with np.load(file, allow_pickle=False) as members:
                about = json.loads(bytes(members["about"]))
                now = fingerprint(path)
                if about["format"] != FORMAT or not _is_of(about, path, now):
                    return None
                table = _frame(about, {name: members[name] for name in members.files if name != "about"})
    except FileNotFoundError:
        return None
    except Exception as error:  # zipfile and numpy raise a dozen kinds for damaged files
        # The copy saves time and nothing else: one that cannot be used is made again.
        logger.info("%s is not usable (%s); the table is parsed again", copy_path(path), error)
        return None
    if now != _stated(about):
        _write(path, table, now, str(about["sha256"]))  # the cache was copied: the digest need not be made again
    return table


def check_members(file: IO[bytes]) -> None:
    """Refuse an archive that would take more memory than it has bytes.

    Raises
    ------
    FileFormatError
        If it holds what :func:`save` does not write: compressed members.
    """
    with zipfile.ZipFile(file) as archive:
        if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
            msg = "its members are compressed"
            raise FileFormatError(msg)
    file.seek(0)


def save(path: Path, table: pd.DataFrame, source: Fingerprint, content: bytes) -> None:
    """Keep the table read from `path`, if the folder can be written and the table's types can be kept.

    Parameters
    ----------
    path
        The CSV file.
    table
        What it holds.
    source
        Its fingerprint from before it was read.
    content
        The bytes that were read.
    """
    if len(content) >= SMALLEST_BYTES:
        _write(path, table, source, hashlib.sha256(content).hexdigest())


def _write(path: Path, table: pd.DataFrame, source: Fingerprint, sha256: str) -> None:
    about: dict[str, Any] = {
        "format": FORMAT,
        **asdict(source),
        "sha256": sha256,
        "index": table.index.name,
        "columns": [],
    }
    packed = _pack(table, about["columns"])
    if packed is None:
        return
    buffer = io.BytesIO()
    np.savez(
        buffer,
        allow_pickle=False,
        about=np.frombuffer(json.dumps(about).encode(), dtype=np.uint8),
        index=table.index.to_numpy(),
        **packed,
    )
    try:
        write_atomically(copy_path(path), buffer.getvalue(), durable=False)
    except (AccessError, OSError) as error:
        logger.debug("no parsed copy of %s is kept: %s", path, error)


def _stated(about: dict[str, Any]) -> Fingerprint:
    return Fingerprint(about["size"], about["mtime_ns"], about["ctime_ns"])


def _is_of(about: dict[str, Any], path: Path, now: Fingerprint) -> bool:
    stated = _stated(about)
    if now.size != stated.size:
        return False
    if now == stated:
        return True
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == str(about["sha256"])


def _pack(table: pd.DataFrame, columns: list[list[str]]) -> dict[str, npt.NDArray[Any]] | None:
    """Return the arrays that hold a table, noting (name, kind) of each column; None if one has another type."""
    kinds: dict[str, list[npt.NDArray[Any]]] = {"i": [], "f": [], "b": [], "n": [], "t": []}
    packed: dict[str, npt.NDArray[Any]] = {}
    for name, column in table.items():
        dtype = column.dtype
        if dtype == np.int64:
            kind, values = "i", column.to_numpy()
        elif dtype == np.float64:
            kind, values = "f", column.to_numpy()
        elif dtype == np.bool_:
            kind, values = "b", column.to_numpy()
        elif isinstance(dtype, pd.BooleanDtype):
            kind, values = "n", column.astype("Int8").to_numpy(dtype=np.int8, na_value=-1)
        elif pd.api.types.infer_dtype(column, skipna=True) == "string":
            values, distinct = pd.factorize(column)
            kind, values = "t", values.astype(np.int32)
            packed[f"texts{len(kinds['t'])}"] = np.array(list(distinct), dtype=np.str_)
        else:
            return None
        kinds[kind].append(values)
        columns.append([str(name), kind])
    return packed | {kind: np.stack(values) for kind, values in kinds.items() if values}


def _frame(about: dict[str, Any], members: dict[str, npt.NDArray[Any]]) -> pd.DataFrame:
    """Return the table of :func:`_pack`; numbers of one kind stay one block."""
    index = pd.Index(members["index"], name=about["index"])
    names: dict[str, list[str]] = {}
    for name, kind in about["columns"]:
        names.setdefault(kind, []).append(name)
    parts = [
        pd.DataFrame(members[kind].T, index=index, columns=names[kind], copy=False) for kind in "ifb" if kind in names
    ]
    if "n" in names:
        parts.append(
            pd.DataFrame(
                {
                    name: pd.arrays.BooleanArray(values == 1, values < 0)
                    for name, values in zip(names["n"], members["n"], strict=True)
                },
                index=index,
            )
        )
    if "t" in names:
        texts = {
            name: pd.Series(members[f"texts{k}"].astype(object)).array.take(codes, allow_fill=True)
            for k, (name, codes) in enumerate(zip(names["t"], members["t"], strict=True))
        }
        parts.append(pd.DataFrame(texts, index=index))
    table = pd.concat(parts, axis=1) if parts else pd.DataFrame(index=index)
    return table[[name for name, _ in about["columns"]]]
