"""Where files come from: one small protocol (locate, byte ranges).

A *key* is a file's path relative to the cache's root, with forward slashes: ``sessions.csv``,
``session_732592105/session_732592105.nwb``. Every remote speaks in keys, so that a cache filled from one remote can
be completed from another. The implementations live in :mod:`.http`, :mod:`.fsspec`,
:mod:`.warehouse` and :mod:`.dandi`; :mod:`.opening` tells which one an address means.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self, runtime_checkable
from urllib.parse import urlsplit, urlunsplit

from allen_ecephys.errors import DownloadError, UnsafePathError

#: The release's bucket over HTTPS: the same files as ``s3://allen-brain-observatory/...``, without credentials.
PUBLIC_URL = "https://allen-brain-observatory.s3.us-west-2.amazonaws.com/visual-coding-neuropixels/ecephys-cache/"

#: How many bytes a response is cut into while it is read.
CHUNK_BYTES = 1 << 20

#: Longest key, and longest single name in it, that every file system holds.
_KEY_LENGTH, _NAME_LENGTH = 1024, 255
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


@dataclass(frozen=True)
class RemoteFile:
    """One file of a remote.

    Attributes
    ----------
    key
        Path relative to the cache's root.
    url
        Where its bytes are, without credentials.
    size
        Bytes, or None where the remote does not tell.
    etag
        The remote's version tag as it stated it (``W/"..."`` is a weak one), or None.
    digest
        (algorithm, hexadecimal digest) where one is published, else None.
    """

    key: str
    url: str
    size: int | None
    etag: str | None = None
    digest: tuple[str, str] | None = None


class RangeResponse(Protocol):
    """An open answer to a request for bytes: a context manager that iterates over its body."""

    @property
    def status(self) -> int:
        """206 if the body is the range asked for, 200 if it is the whole file."""

    @property
    def start(self) -> int:
        """Offset in the file of the body's first byte, as the remote states it."""

    @property
    def length(self) -> int | None:
        """Bytes of the body as stated, or None."""

    @property
    def total(self) -> int | None:
        """Bytes of the whole file as stated, or None."""

    @property
    def etag(self) -> str | None:
        """Version tag of the file the body belongs to, or None."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def __iter__(self) -> Iterator[bytes]: ...


@runtime_checkable
class Remote(Protocol):
    """A place that holds the files of a project cache."""

    @property
    def url(self) -> str:
        """The place, for messages; without credentials."""

    def locate(self, key: str) -> RemoteFile:
        """Return what the remote says about a file.

        Raises
        ------
        RemoteNotFoundError
            If the remote does not have it.
        AccessError
            If it refuses to tell.
        DownloadError
            If it cannot be reached.
        """

    def open_range(
        self, file: RemoteFile, start: int = 0, stop: int | None = None, *, if_range: str | None = None
    ) -> RangeResponse:
        """Open the bytes [start, stop) of a file.

        Parameters
        ----------
        file
            From :meth:`locate`.
        start, stop
            First byte, and the byte after the last (None: to the end).
        if_range
            Version tag that the range must belong to: if the file has changed, the whole file is answered (200).

        Raises
        ------
        RemoteNotFoundError, AccessError
            For 404, 410; for 401, 403, a refused redirect and a bad certificate. Not worth a retry.
        RemoteStatusError
            For any other status that is no success, with ``status`` and ``retry_after``.
        UnreachableError, DownloadError
            If no connection comes about; if it breaks or stalls (also while the body is read).
        """


class RemoteStatusError(DownloadError):
    """The remote answered with a status that is no success.

    Attributes
    ----------
    status
        HTTP status (416, 429, 503, ...).
    retry_after
        The answer's ``Retry-After`` header, unread, or None.
    """

    def __init__(self, message: str, status: int, retry_after: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after

    @property
    def transient(self) -> bool:
        """Whether the same request may succeed later."""
        return self.status in {408, 425, 429} or self.status >= 500


class UnreachableError(DownloadError):
    """No connection to the remote comes about (refused, no such host, no route)."""


def safe_key(key: str) -> str:
    r"""Return `key` if it names a file inside the cache on every file system, else raise before anything is touched.

    Raises
    ------
    UnsafePathError
        For an absolute path, a drive, ``..``, a backslash, a control character, a reserved device name, or a name
        too long.
    """
    parts = key.split("/")
    wrong = (
        not key
        or len(key) > _KEY_LENGTH
        or any(ord(c) < 32 or 0xD800 <= ord(c) < 0xE000 or c in '\\:*?"<>|' for c in key)
        or any(p in {"", ".", ".."} or len(p.encode()) > _NAME_LENGTH or p[-1] in ". " for p in parts)
        or any(_RESERVED.fullmatch(p) for p in parts)
    )
    if wrong:
        shown = key if len(key) < 80 else f"{key[:77]}..."
        msg = f"{shown!r} is no path inside a cache folder; refused before reading or writing anything"
        raise UnsafePathError(msg)
    return key


def without_credentials(url: str) -> str:
    """Return `url` without user, password, query and fragment, for messages and records."""
    parts = urlsplit(url)
    if not parts.netloc:
        return url.partition("?")[0] if "://" in url else url
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
