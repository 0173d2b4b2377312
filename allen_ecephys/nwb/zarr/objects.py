"""The objects of a Zarr store by their key: files of a folder, or of a web server or bucket.

A store from a stranger must show nothing but itself: keys that climb out of it are refused, and so are symbolic links
that lead out of its folder.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from ...config import threads
from ...errors import AccessError, CorruptFileError, DownloadError, FileFormatError, MissingFileError, in_words

#: Objects that a remote store is asked for at once.
REQUESTS_AT_ONCE = 32

#: Metadata of a session's store: 0.3 MB. More than this is not parsed.
LARGEST_METADATA = 64 << 20


class Objects(Protocol):
    """Where the objects of a store lie."""

    name: str

    def get(self, key: str) -> bytes | None:
        """Return an object, None where there is none."""
        ...

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return several objects, fetched at once."""
        ...

    def get_range(self, key: str, start: int, stop: int) -> bytes | None:
        """Return bytes [start, stop) of an object; a negative `start` counts from its end, as `stop` 0 does."""
        ...

    def names(self, folder: str) -> list[str]:
        """Return the names of what lies directly in a folder."""
        ...


def checked_key(key: str, name: str) -> str:
    """Return a key, or refuse one that leads out of its store.

    Raises
    ------
    FileFormatError
        If it does.
    """
    steps = key.split("/")
    if any(step in ("", ".", "..") or "\\" in step or "\0" in step for step in steps):
        msg = f"the store {name} names an object {key!r} that lies outside of it: refused"
        raise FileFormatError(msg)
    return key


class FolderObjects:
    """The objects of a store that is a folder.

    Parameters
    ----------
    folder
        Its path.
    """

    def __init__(self, folder: str | Path) -> None:
        self.name = str(folder)
        self._root = os.path.realpath(folder)

    def _path(self, key: str) -> str:
        path = os.path.join(self._root, *checked_key(key, self.name).split("/"))  # noqa: PTH118 - thousands of them
        real = os.path.realpath(path)
        if real != path and not real.startswith(self._root + os.sep):
            msg = f"{key} of {self.name} is a symbolic link out of the store: refused"
            raise FileFormatError(msg)
        return path

    def get(self, key: str) -> bytes | None:
        """Return an object, None where there is none."""
        return self.get_range(key, 0, -1)

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return several objects."""
        return [self.get(key) for key in keys]

    def get_range(self, key: str, start: int, stop: int) -> bytes | None:
        """Return bytes [start, stop) of an object, to its end where `stop` is -1; from its end if `start` < 0."""
        try:
            with open(self._path(key), "rb") as file:  # noqa: PTH123 - thousands of them
                file.seek(*((start, os.SEEK_END) if start < 0 else (start,)))
                return file.read(-1 if start < 0 or stop < 0 else stop - start)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None

    def names(self, folder: str) -> list[str]:
        """Return the names of what lies directly in a folder."""
        try:
            return sorted(os.listdir(self._path(folder) if folder else self._root))  # noqa: PTH208 - names alone
        except (FileNotFoundError, NotADirectoryError):
            return []


class RemoteObjects:
    """The objects of a store under an fsspec address.

    Parameters
    ----------
    url
        Address of the store's folder.
    """

    def __init__(self, url: str) -> None:
        import fsspec

        self.name = url
        found: tuple[Any, str] = fsspec.core.url_to_fs(url.rstrip("/"))
        self._files, self._root = found

    def _path(self, key: str) -> str:
        return f"{self._root}/{checked_key(key, self.name)}"

    def get(self, key: str) -> bytes | None:
        """Return an object, None where the server has none."""
        return self._asked(key, {})

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return several objects, some tens of requests at a time."""
        if len(keys) < 2:
            return [self.get(key) for key in keys]
        with ThreadPoolExecutor(min(REQUESTS_AT_ONCE, len(keys), 4 * threads())) as pool:
            return list(pool.map(self.get, keys))

    def get_range(self, key: str, start: int, stop: int) -> bytes | None:
        """Return bytes [start, stop) of an object; the last ``-start`` where `start` is negative.

        Raises
        ------
        DownloadError
            If the server gives another number of bytes, as one does that ignores byte ranges.
        """
        wanted = -start if start < 0 else stop - start
        held = self._asked(key, {"start": start} if start < 0 else {"start": start, "end": stop})
        if held is not None and len(held) != wanted:
            msg = (
                f"{self.name} was asked for {wanted:,} bytes of {key} and gave {len(held):,}: the server ignores byte "
                "ranges, or the object is cut. Copy the store to a local folder and open that"
            )
            raise DownloadError(msg)
        return held

    def _asked(self, key: str, byte_range: dict[str, int]) -> bytes | None:
        try:
            return bytes(self._files.cat_file(self._path(key), **byte_range))
        except FileNotFoundError:
            return None
        except PermissionError as error:
            msg = f"{self.name} may not be read ({key}: {in_words(error)}); check the address and your rights"
            raise AccessError(msg) from error
        except Exception as error:  # each file system raises its own library's errors
            msg = f"{key} of {self.name} could not be fetched ({in_words(error)}); try again"
            raise DownloadError(msg) from error

    def names(self, folder: str) -> list[str]:
        """Return the names of what lies directly in a folder."""
        try:
            found = self._files.ls(self._path(folder) if folder else self._root, detail=False)
        except FileNotFoundError:
            return []
        except Exception as error:
            msg = f"the folder {folder or '/'} of {self.name} could not be listed ({in_words(error)})"
            raise DownloadError(msg) from error
        return sorted({str(path).rstrip("/").rpartition("/")[2] for path in found})


def open_objects(source: str) -> Objects:
    """Return the objects of the store at a local path or an address.

    Raises
    ------
    MissingFileError
        If a local path is no folder.
    """
    if "://" in source:
        return RemoteObjects(source)
    if not Path(source).is_dir():
        msg = f"there is no Zarr store {source}; check the path"
        raise MissingFileError(msg)
    return FolderObjects(source)


def checked_metadata(raw: bytes, what: str) -> bytes:
    """Return the bytes of a metadata document, or refuse to parse ones that are far too many."""
    if len(raw) > LARGEST_METADATA:
        msg = f"{what} takes {len(raw):,} bytes; no metadata of a session are as large: the store is damaged"
        raise CorruptFileError(msg)
    return raw
