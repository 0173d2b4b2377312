"""Opening a source as an HDF5 file, and saying plainly what is wrong with one that does not open."""

from __future__ import annotations

import io
import logging
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from ..config import OFFLINE, expanded, offline
from ..errors import (
    AccessError,
    CorruptFileError,
    DownloadError,
    FileFormatError,
    InvalidTypeError,
    InvalidValueError,
    MissingExtraError,
    MissingFileError,
    OfflineError,
    in_words,
    suggest,
    truncated_file,
)

if TYPE_CHECKING:
    import h5py

logger = logging.getLogger(__name__)

#: First bytes of every HDF5 file (HDF5 file format specification, section II.A).
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"

#: The layout of the 2020 release; earlier files are laid out differently.
OLDEST_VERSION = (2, 2, 2)

_OF_THE_RELEASE = "open a session file of the release"

#: HDF5's words for a file whose end lies before the end that its header names.
_TRUNCATED = re.compile(r"truncated file: eof = (\d+).*stored_eof = (\d+)")

#: ... and for locks that it cannot get, or that are not those of another handle of the process.
_LOCKS = re.compile(r"\block(ing)?\b")

#: What h5py raises beside OSError of a file whose header makes no sense.
_NOT_UNDERSTOOD = (KeyError, RuntimeError, ValueError)

#: Bytes fetched at once, and blocks of that size kept, where a URL is read through fsspec: at most 128 MiB.
_BLOCK_SIZE = 1 << 20
_BLOCKS = 128

#: Addresses that no network is needed for.
_LOCAL_SCHEMES = frozenset({"file", "local", "memory", "zip", "tar"})


@runtime_checkable
class BinaryFile(Protocol):
    """What h5py needs of an open binary file."""

    def read(self, size: int = -1, /) -> bytes:
        """Return at most `size` bytes."""
        ...

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Move to a position."""
        ...

    def tell(self) -> int:
        """Return the position."""
        ...


def absolute(source: object) -> str | BinaryFile:
    """Return a source as h5py or fsspec takes it; paths become absolute.

    So a pickled session opens the same file from another working folder.
    """
    if isinstance(source, os.PathLike):
        source = os.fspath(source)
    if not isinstance(source, str):
        if isinstance(source, io.TextIOBase):
            msg = f"{getattr(source, 'name', 'the file')} is open as text; open it with mode 'rb', or give its path"
            raise InvalidTypeError(msg)
        if not isinstance(source, BinaryFile):
            msg = f"a path, a URL or an open binary file is needed; got {source!r}"
            raise InvalidTypeError(msg)
        return source
    source = source.removeprefix("file://")
    return source if "://" in source else str(expanded(source).absolute())


def check_exists(path: Path) -> None:
    """Refuse a local path that is no file."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        if isinstance(error, PermissionError):
            msg = f"{path} cannot be reached ({error.strerror}); see to the permissions of its folders"
            raise AccessError(msg) from error
        if os.path.islink(path):  # noqa: PTH114  Path.is_symlink raises for names that are too long
            msg = f"{path} is a link that leads nowhere ({path.readlink()}); mend it, or name the file itself"
            raise MissingFileError(msg) from error
        msg = f"there is no file {path}{_nearly(path) or '; check the path'}"
        raise MissingFileError(msg) from error
    if stat.S_ISDIR(mode):
        msg = f"{path} is a folder; name the NWB file in it"
        raise FileFormatError(msg)
    if not stat.S_ISREG(mode):
        msg = f"{path} is a pipe or a device, from which HDF5 cannot read; save the data to a file first"
        raise FileFormatError(msg)


def _nearly(path: Path) -> str:
    """Suggest a file beside `path` whose name is a slip of the pen away; the ending that all share says nothing."""
    stems = {p.stem: p.name for p in path.parent.glob("*.nwb")} if path.parent.is_dir() else {}
    if path.name in stems:
        return f"; did you mean {stems[path.name]!r}?"
    return suggest(path.stem, stems, likeness=0.8).replace("'?", ".nwb'?")


def open_url(url: str) -> Any:
    """Return the file at an fsspec URL, open for reading in blocks.

    Raises
    ------
    OfflineError
        If network connections are forbidden.
    MissingFileError
        If the server has no such file.
    DownloadError
        If the server cannot be reached, or does not answer with the file.
    MissingExtraError, InvalidValueError
        If the library for such an address is not installed; if it is no address.
    """
    import fsspec

    scheme = url.rpartition("::")[2].partition("://")[0]
    if offline() and scheme not in _LOCAL_SCHEMES:
        msg = f"{url} is needed, but {OFFLINE.variable} forbids network connections; unset it to read from there"
        raise OfflineError(msg)
    try:
        file_system, path = fsspec.core.url_to_fs(url)
        return file_system.open(
            path, "rb", block_size=_BLOCK_SIZE, cache_type="blockcache", cache_options={"maxblocks": _BLOCKS}
        )
    except ImportError as error:
        msg = f"reading {url} needs a library that is not installed: {error}"
        raise MissingExtraError(msg) from error
    except FileNotFoundError as error:
        # So fsspec calls every failure of HTTP; what it was is the cause.
        if isinstance(error.__cause__, ConnectionError | OSError):
            msg = f"{url} cannot be reached ({error.__cause__}); see to the network and the address"
            raise DownloadError(msg) from error
        msg = f"there is no file {url}; check the address"
        raise MissingFileError(msg) from error
    except PermissionError as error:
        msg = f"{url} may not be read ({in_words(error)}); see to your credentials"
        raise AccessError(msg) from error
    except OSError as error:
        msg = f"{url} cannot be read ({in_words(error)}); see to the network and the address"
        raise DownloadError(msg) from error
    except ValueError as error:
        msg = f"{url} is no address that fsspec knows: {error}"
        raise InvalidValueError(msg) from error


def open_hdf5(source: str | BinaryFile, name: str) -> h5py.File:
    """Open a local path or an open binary file; `name` is what messages call it.

    Raises
    ------
    FileFormatError
        If it is no HDF5 file.
    CorruptFileError
        If it is one that is truncated, empty or damaged.
    """
    import h5py

    if not isinstance(source, str):
        try:
            return h5py.File(source, mode="r")
        except OSError as error:
            raise _explained(error, source, name) from error
        except _NOT_UNDERSTOOD as error:
            raise _damaged(error, name) from error
    failure = OSError()
    # HDF5's default comes first: all handles of one process must agree about locks, and other libraries take it. The
    # others serve file systems without locks and files that this process holds open in another way already. Nothing is
    # ever written here, so no lock is needed.
    for locking in (None, False, True, "best-effort"):
        try:
            return h5py.File(source, "r", locking=locking)
        except OSError as error:
            failure = error
            if not _LOCKS.search(str(error)):
                break
        except _NOT_UNDERSTOOD as error:
            raise _damaged(error, name) from error
    raise _explained(failure, source, name) from failure


def _explained(error: OSError, source: str | BinaryFile, name: str) -> OSError | FileFormatError:
    """Return the error for a file that HDF5 does not open."""
    if type(error) is not OSError or _LOCKS.search(str(error)):
        return error  # permission, connection, locks: already says what is wrong
    cut = _TRUNCATED.search(str(error))
    if cut:
        return truncated_file(name, int(cut[1]), int(cut[2]))
    head = _first_bytes(source, len(HDF5_SIGNATURE))
    if not head:
        return CorruptFileError(f"{name} is empty (0 bytes): its copy or download did not happen; fetch it again")
    if head == HDF5_SIGNATURE:
        return _damaged(error, name)
    return FileFormatError(
        f"{name} is not an HDF5 file and so no NWB file (it starts with {head!r}); check what was saved there"
    )


def _damaged(error: Exception, name: str) -> CorruptFileError:
    return CorruptFileError(f"{name} is a damaged HDF5 file; fetch it again ({in_words(error)})")


def _first_bytes(source: str | BinaryFile, count: int) -> bytes:
    if isinstance(source, str):
        with Path(source).open("rb") as raw:
            return raw.read(count)
    source.seek(0)
    return source.read(count)


def check_version(file: h5py.File, name: str) -> None:
    """Refuse an HDF5 file that is no NWB 2 (:func:`check_nwb_version`)."""
    if "nwb_version" not in file.attrs and "nwb_version" in file:
        msg = f"{name} is an NWB 1 file; only NWB 2 is read (it has no attribute 'nwb_version'): {_OF_THE_RELEASE}"
        raise FileFormatError(msg)
    check_nwb_version(file.attrs.get("nwb_version"), name, "an HDF5 file")


def check_nwb_version(version: object, name: str, kind: str) -> None:
    """Refuse a file that is no NWB 2; log a line for one older than the release's layout.

    Versions are compared as numbers: 2.10.0 is newer than 2.2.2.

    Parameters
    ----------
    version
        The file's attribute ``nwb_version``; None where it has none.
    name
        What messages call the file.
    kind
        What it is beside NWB.
    """
    if version is None:
        msg = f"{name} is {kind}, but not an NWB file (it has no attribute 'nwb_version'): {_OF_THE_RELEASE}"
        raise FileFormatError(msg)
    text = version.decode(errors="replace") if isinstance(version, bytes) else str(version)
    numbers = version_numbers(text)
    if numbers[:1] < (2,):
        msg = f"{name} is an NWB {text} file; only NWB 2 is read"
        raise FileFormatError(msg)
    if numbers < OLDEST_VERSION:
        logger.warning("%s is NWB %s, older than the 2020 release (2.2.2): parts may not be found", name, text)


def version_numbers(text: str) -> tuple[int, ...]:
    """Return the leading numbers of a version: ``"2.10.0-beta"`` -> ``(2, 10, 0)``."""
    found = re.match(r"\d+(?:\.\d+)*", text.strip())
    return tuple(int(part) for part in found[0].split(".")) if found else ()
