"""Connections on which an answer's head and framing cannot go on for ever.

A socket's timeout limits one silence. A server that sends a byte of a header, of a chunk's extension or of a trailer
now and then is never silent, and brings nothing; one that sends ``100 Continue`` again and again does not even let the
reader wait. Here the time spent waiting, and the bytes that are no part of the body, are added up and limited; each
piece of the body that arrives sets both back. What the reader does between two pieces does not count.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
from typing import TYPE_CHECKING, Any, Final

import requests
import requests.adapters
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Buffer

#: Bytes of head, chunk sizes and trailers between two pieces of a body. Real heads have less than one kB.
MOST_FRAMING_BYTES: Final = 1 << 20
#: The socket's timeout is set again when it is off by this fraction: each setting is a system call.
_TOLERANCE: Final = 0.05


class _PatientReader(io.RawIOBase):
    """The socket's bytes; raises TimeoutError after the socket's timeout of waiting in all."""

    def __init__(self, raw: io.RawIOBase, connection: socket.socket) -> None:
        super().__init__()
        self._raw, self._connection = raw, connection
        self._patience = self._limit = connection.gettimeout()
        self._waited = 0.0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        if self._patience is None or self._limit is None:
            return self._connection.recv_into(buffer)
        left = self._patience - self._waited
        if left <= 0:
            msg = f"nothing of the body came in {self._patience:g} s"
            raise TimeoutError(msg)
        if abs(left - self._limit) > _TOLERANCE * self._patience:
            self._connection.settimeout(left)
            self._limit = left
        began = time.monotonic()
        try:
            return self._connection.recv_into(buffer)
        finally:
            self._waited += time.monotonic() - began

    def begin_anew(self) -> None:
        """Forget what was waited for: a piece of the body has come."""
        self._waited = 0.0

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()


class _FramedReader(io.BufferedReader):
    """Buffers a connection, and counts the lines read from it, which are framing."""

    framing = 0

    def readline(self, size: int | None = -1, /) -> bytes:
        left = MOST_FRAMING_BYTES - self.framing
        if left <= 0:
            msg = f"more than {MOST_FRAMING_BYTES:,} bytes of headers and chunk sizes"
            raise http.client.HTTPException(msg)
        line = super().readline(left if size is None or size < 0 else min(size, left))
        self.framing += len(line)
        return line


class _Answer(http.client.HTTPResponse):
    """An answer whose pieces of the body set patience back."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self._source = _PatientReader(self.fp.detach(), sock)
        self._lines = self.fp = _FramedReader(self._source)

    def _came(self, count: int) -> None:
        if count:
            self._source.begin_anew()
            self._lines.framing = 0

    def read(self, amt: int | None = None) -> bytes:
        data = super().read(amt)
        self._came(len(data))
        return data

    def read1(self, n: int = -1) -> bytes:
        data = super().read1(n)
        self._came(len(data))
        return data

    def _safe_read(self, amt: int) -> bytes:
        data: bytes = super()._safe_read(amt)  # type: ignore[misc]
        self._came(len(data))
        return data


class _Connection(HTTPConnection):
    response_class = _Answer


class _SecureConnection(HTTPSConnection):
    response_class = _Answer


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


_POOLS: Final = {"http": _Pool, "https": _SecurePool}


class _Adapter(requests.adapters.HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> urllib3.ProxyManager:
        manager: urllib3.ProxyManager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager


class PatientSession(requests.Session):
    """A session of :mod:`requests` whose answers end, and which never reads the body of a redirect."""

    def __init__(self) -> None:
        super().__init__()
        self.mount("http://", _Adapter())
        self.mount("https://", _Adapter())

    def resolve_redirects(self, *_: Any, **__: Any) -> Iterator[requests.Response]:
        """Follow nothing: to look for the next address, the library would read and decode the whole body."""
        return iter(())
