"""Is a file what was published? Digests, the end of an HDF5 file, and the index of what was checked when.

The index is one small file in each folder, :data:`INDEX_NAME`. It saves hashing 2.8 GB at every call: an entry holds
as long as size, modification time and inode of its file are those noted. It may be lost, cut or deleted at any time;
then the files are checked again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from allen_ecephys.errors import ChecksumError, CorruptFileError, FileFormatError, UnknownNameError, truncated_file
from allen_ecephys.files import read_regular, write_atomically

from ..remotes.protocol import RemoteFile

INDEX_NAME = ".allen-ecephys-index.json"
INDEX_FORMAT = 1
HDF5_SUFFIXES = frozenset({".nwb", ".hdf5"})
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_READ_BYTES = 1 << 20

# Index files are read, changed and replaced as a whole; threads of one process take turns. A change lost between
# processes costs one more check.
_index_lock = threading.Lock()


@dataclass(frozen=True)
class CheckedFile:
    """One entry of the index: how a file looked when it was checked, and what it was checked against.

    ``verified`` tells whether the digest is one that was published; otherwise it is the digest of what arrived, which
    finds later damage but says nothing about the transfer.
    """

    size: int
    mtime_ns: int
    inode: int
    algorithm: str
    digest: str
    verified: bool

    def matches(self, status: os.stat_result) -> bool:
        """Tell whether the file still looks as it did."""
        return (self.size, self.mtime_ns, self.inode) == (status.st_size, status.st_mtime_ns, status.st_ino)


def read_index(folder: Path) -> dict[str, CheckedFile]:
    """Return the index of `folder` by file name; empty where it is missing, damaged or of a later version."""
    try:
        content = json.loads(read_regular(folder / INDEX_NAME))
        if content["format"] != INDEX_FORMAT:
            return {}
        return {str(name): _entry(fields) for name, fields in content["files"].items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}


def _entry(fields: dict[str, Any]) -> CheckedFile:
    entry = CheckedFile(**fields)
    numbers = (entry.size, entry.mtime_ns, entry.inode)
    if not all(isinstance(number, int) for number in numbers) or not isinstance(entry.digest, str):
        msg = "an index entry of the wrong types"
        raise FileFormatError(msg)
    return entry


def entry_of(path: Path) -> CheckedFile | None:
    """Return the index entry of `path` if it holds for the file as it is now."""
    entry = read_index(path.parent).get(path.name)
    try:
        return entry if entry is not None and entry.matches(path.stat()) else None
    except FileNotFoundError:
        return None


def note_checked(path: Path, algorithm: str, digest: str, *, verified: bool) -> None:
    """Write the index entry of `path`. A folder that cannot be written is left as it is: the entry only saves time."""
    status = path.stat()
    entry = CheckedFile(status.st_size, status.st_mtime_ns, status.st_ino, algorithm, digest, verified)
    with contextlib.suppress(OSError), _index_lock:
        index = {**read_index(path.parent), path.name: entry}
        write_atomically(path.parent / INDEX_NAME, encoded_index(index), durable=False)


def encoded_index(entries: Mapping[str, CheckedFile]) -> bytes:
    """Return the contents of an index file."""
    content = {"format": INDEX_FORMAT, "files": {name: asdict(entries[name]) for name in sorted(entries)}}
    return json.dumps(content, indent=1).encode()


def file_digest(path: Path, algorithm: str = "sha256") -> str:
    """Return the hexadecimal digest of a file, reading it in pieces."""
    try:
        digest = hashlib.new(algorithm, usedforsecurity=False)
    except ValueError as error:
        msg = f"{path.name} is published with a digest of the unknown kind {algorithm!r}; use sha256 or md5"
        raise UnknownNameError(msg) from error
    with path.open("rb", buffering=0) as stream:
        while piece := stream.read(_READ_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def check_hdf5_end(path: Path, *, name: str | None = None) -> None:
    """Check, from the superblock only, that an HDF5 file reaches the end that it states.

    Parameters
    ----------
    path
        The file.
    name
        What to call it in messages (a part is called by its final name).

    Raises
    ------
    FileFormatError
        If the file is no HDF5 file.
    CorruptFileError
        If it is shorter than its superblock says. Damage in its middle is not seen.

    Notes
    -----
    HDF5 File Format Specification 3.0, section II.A: version 0 and 1 superblocks hold the end-of-file address after
    the base and free-space addresses, version 2 and 3 after the base and extension addresses.
    """
    shown = name or str(path)
    with path.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        at = 0
        while True:
            stream.seek(at)
            block = stream.read(96)
            if block[:8] == _HDF5_SIGNATURE:
                break
            at = 512 if at == 0 else 2 * at  # a user block of 512, 1024, ... bytes may come first
            if at + 96 > size:
                msg = f"{shown} is no HDF5 (NWB) file: it starts with {_shown_start(path)!r}"
                raise FileFormatError(msg)
    version = block[8]
    width = block[13] if version < 2 else block[9]
    first = {0: 24, 1: 28}.get(version, 12)
    end = int.from_bytes(block[first + 2 * width : first + 3 * width], "little")
    if size - at < end and size < end:
        raise truncated_file(shown, size, end)


def _shown_start(path: Path) -> str:
    with path.open("rb") as stream:
        return stream.read(32).decode("latin-1")


def check_file(
    path: Path, file: RemoteFile | None, *, name: str | None = None, hash_it: bool = True
) -> tuple[str, str, bool]:
    """Check a complete file against everything that is known about it.

    Parameters
    ----------
    path
        The file, or the part that is to become it.
    file
        What the remote or the registry states (size, digest); None where nothing is known.
    name
        Its final name, for messages and for the kind of file.
    hash_it
        Read the whole file for its digest; otherwise only its size and its stated end are looked at.

    Returns
    -------
    tuple
        Algorithm and digest of the bytes (empty if not read), and whether that is a published digest.

    Raises
    ------
    CorruptFileError, ChecksumError, FileFormatError
        If it is not what was published.
    """
    shown = name or str(path)
    size = path.stat().st_size
    if file is not None and file.size is not None and size != file.size:
        if size < file.size:
            raise truncated_file(shown, size, file.size)
        msg = f"{shown} has {size:,} bytes, {file.size:,} are published: it is not that file. Fetch it again."
        raise CorruptFileError(msg)
    if file is None or file.digest is None or not hash_it:
        if Path(shown).suffix in HDF5_SUFFIXES:
            check_hdf5_end(path, name=shown)
        return ("sha256", file_digest(path), False) if hash_it else ("", "", False)
    algorithm, published = file.digest
    found = file_digest(path, algorithm)
    if found != published.lower():
        msg = (
            f"{shown} has the {algorithm} digest {found}, published is {published}: bytes were damaged on the way or "
            "on the disk. Fetch it again; if it happens again, look for a proxy that alters downloads, or a bad disk."
        )
        raise ChecksumError(msg)
    return algorithm, found, True
