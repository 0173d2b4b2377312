"""A folder, an S3 bucket, or any other URL of fsspec as a remote."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

from allen_ecephys.config import OFFLINE, expanded, offline
from allen_ecephys.errors import (
    AccessError,
    DownloadError,
    OfflineError,
    RemoteChangedError,
    RemoteNotFoundError,
    UnknownNameError,
    in_words,
    missing_extra,
)

from .protocol import CHUNK_BYTES, RemoteFile, safe_key, without_credentials

#: Bytes of one request to an object store.
REQUEST_BYTES = 8 << 20


class OpenFileResponse:
    """Bytes [start, stop) of an open file, as an answer (see :class:`.RangeResponse`)."""

    def __init__(
        self, handle: IO[bytes], file: RemoteFile, start: int, stop: int | None, total: int, chunk: int = CHUNK_BYTES
    ) -> None:
        self._handle, self._url, self._chunk = handle, file.url, chunk
        end = total if stop is None else min(stop, total)
        self.status = 200 if start == 0 and end == total else 206
        self.start, self.length, self.total, self.etag = start, max(0, end - start), total, file.etag

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._handle.close()

    def __iter__(self) -> Iterator[bytes]:
        left = self.length
        while left:
            chunk = self._read(self.start + self.length - left, min(self._chunk, left))
            if not chunk:
                msg = f"{self._url} ended {left:,} bytes early"
                raise DownloadError(msg)
            left -= len(chunk)
            yield chunk

    def _read(self, offset: int, size: int) -> bytes:
        try:
            self._handle.seek(offset)
            return self._handle.read(size)
        except Exception as error:
            raise _translated(error, self._url) from error


#: How long S3 may be silent (s). Its library would go on for minutes; what is tried again is decided by our callers.
_S3_PATIENCE: Final[Mapping[str, Any]] = {"connect_timeout": 10, "read_timeout": 30, "retries": {"max_attempts": 0}}


class FolderRemote:
    """A folder of this machine as a remote; works offline, because it opens no connection."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = expanded(folder).absolute()

    def __repr__(self) -> str:
        return f"FolderRemote({str(self.folder)!r})"

    @property
    def url(self) -> str:
        """The folder."""
        return str(self.folder)

    def locate(self, key: str) -> RemoteFile:
        """Return size and a version tag made of size and modification time (see :class:`.Remote`)."""
        path = self.folder / safe_key(key)
        try:
            found = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            msg = f"{path} does not exist"
            raise RemoteNotFoundError(msg) from None
        except OSError as error:
            raise _translated(error, str(path)) from error
        if not path.is_file():
            msg = f"{path} is no file"
            raise RemoteNotFoundError(msg)
        return RemoteFile(key, str(path), found.st_size, f'"{found.st_mtime_ns:x}-{found.st_size:x}"')

    def open_range(
        self, file: RemoteFile, start: int = 0, stop: int | None = None, *, if_range: str | None = None
    ) -> OpenFileResponse:
        """Open bytes [start, stop) of a file (see :class:`.Remote`)."""
        now = self.locate(file.key)
        if if_range is not None and if_range != now.etag:
            start, stop = 0, None
        try:
            handle = Path(now.url).open("rb")  # noqa: SIM115 - the response closes it
        except OSError as error:
            raise _translated(error, now.url) from error
        return OpenFileResponse(handle, now, start, stop, now.size or 0)


class FsspecRemote:
    """Files below any URL that fsspec knows (``s3://``, ``gs://``, ``sftp://``, ``zip://`` ...).

    Parameters
    ----------
    url
        Base URL.
    storage_options
        Passed to the file system. An S3 bucket is opened anonymously unless they name credentials.
    """

    def __init__(self, url: str, *, storage_options: Mapping[str, Any] | None = None) -> None:
        self._base = url.rstrip("/")
        self._options = dict(storage_options or {})
        if self._base.startswith("s3://"):
            if not {"key", "profile", "session", "anon"} & set(self._options):
                self._options["anon"] = True
            self._options["config_kwargs"] = _S3_PATIENCE | self._options.get("config_kwargs", {})
        self._opened: tuple[Any, str] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"_base": self._base, "_options": self._options, "_opened": None}

    def __repr__(self) -> str:
        return f"FsspecRemote({self.url!r})"

    @property
    def url(self) -> str:
        """The base URL without credentials."""
        return without_credentials(self._base)

    def above(self) -> FsspecRemote:
        """Return the folder that this one lies in, opened in the same way."""
        return FsspecRemote(self._base.rpartition("/")[0], storage_options=self._options)

    @property
    def file_system(self) -> Any:
        """The fsspec file system."""
        return self._open()[0]

    def path(self, key: str) -> str:
        """Return where the file system has `key`."""
        return f"{self._open()[1].rstrip('/')}/{key}" if key else self._open()[1]

    def locate(self, key: str) -> RemoteFile:
        """Return size and version tag (see :class:`.Remote`)."""
        path = self.path(safe_key(key))
        try:
            found = self.file_system.info(path, **self._fresh())
        except Exception as error:
            raise _translated(error, f"{self.url}/{key}") from error
        if found.get("type") == "directory":
            msg = f"{self.url}/{key} is a folder, no file"
            raise RemoteNotFoundError(msg)
        return self._described(key, found)

    def open_range(
        self, file: RemoteFile, start: int = 0, stop: int | None = None, *, if_range: str | None = None
    ) -> OpenFileResponse:
        """Open bytes [start, stop) of a file (see :class:`.Remote`)."""
        now = self.locate(file.key)
        if if_range is not None and if_range != now.etag:
            start, stop = 0, None
        try:
            # No read-ahead: each read is one request of the size asked for, and S3 holds each to the same ETag.
            handle = self.file_system.open(self.path(file.key), "rb", cache_type="none", block_size=REQUEST_BYTES)
        except Exception as error:
            raise _translated(error, file.url) from error
        return OpenFileResponse(handle, now, start, stop, now.size or handle.size or 0, chunk=REQUEST_BYTES)

    def _open(self) -> tuple[Any, str]:
        if offline():
            msg = f"{self.url} is needed, but {OFFLINE.variable} forbids network connections; unset it to fetch"
            raise OfflineError(msg)
        if self._opened is None:
            from fsspec.core import url_to_fs

            try:
                self._opened = url_to_fs(self._base, **self._options)
            except ImportError as error:
                if self._base.startswith("s3://"):
                    library, extra, purpose = "s3fs", "s3", "reading s3:// addresses"
                    raise missing_extra(library, extra, purpose) from error
                msg = f"reading {self.url} needs a library that is not installed: {error}"
                raise UnknownNameError(msg) from error
            except ValueError as error:
                msg = f"{self.url} is no address that fsspec knows: {error}"
                raise UnknownNameError(msg) from error
            except OSError as error:
                raise _translated(error, self.url) from error
        return self._opened

    def _fresh(self) -> dict[str, bool]:
        """Return the option that makes S3 ask the server instead of an earlier listing."""
        return {"refresh": True} if self._base.startswith("s3://") else {}

    def _described(self, key: str, found: Mapping[str, Any]) -> RemoteFile:
        tag = found.get("ETag") or found.get("etag")
        digest = None
        if self._base.startswith("s3://") and isinstance(tag, str):
            bare = tag.strip('"')
            kms = found.get("ServerSideEncryption", "AES256") != "AES256"
            digest = ("md5", bare) if len(bare) == 32 and not kms else None
        return RemoteFile(key, f"{self.url}/{key}", found.get("size"), tag, digest)


def _translated(error: Exception, shown: str) -> Exception:
    """Return the package's error for one of a file system."""
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return RemoteNotFoundError(f"{shown} does not exist")
    if isinstance(error, PermissionError):
        return AccessError(f"{shown} may not be read; for a private bucket pass credentials in storage_options")
    if type(error).__name__ == "FileExpired":
        return RemoteChangedError(f"{shown} changed while it was being read; read it again")
    return DownloadError(f"reading {shown} failed ({in_words(error)[:160]})")
