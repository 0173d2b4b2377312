"""A loopback HTTP server that answers each file's requests by a script of faults.

Real sockets, because a mock cannot cut a body. Each file has a list of behaviours; the n-th GET gets the n-th, further
ones the last. Every request is logged, so that tests can state how many were made and for which bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


@dataclass
class Request:
    """One request as it came, and what was answered."""

    method: str
    name: str
    range: str | None
    if_range: str | None
    if_match: str | None
    status: int = 0
    sent: int = 0
    at: float = field(default_factory=time.monotonic)


@dataclass
class Served:
    """One file as the server knows it."""

    data: bytes | Path
    etag: str | None = None

    @property
    def size(self) -> int:
        return len(self.data) if isinstance(self.data, bytes) else self.data.stat().st_size

    def read(self, start: int, stop: int) -> bytes:
        if isinstance(self.data, bytes):
            return self.data[start:stop]
        with self.data.open("rb") as stream:
            stream.seek(start)
            return stream.read(stop - start)


Behaviour = Callable[["Handler", Served, Request], None]
PIECE = 1 << 16


class FaultyServer(ThreadingHTTPServer):
    """Serves `files` under their names on 127.0.0.1, any free port."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, files: dict[str, bytes | Path] | None = None, *, certificate: Path | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, Served] = {}
        self.scripts: dict[str, list[Behaviour]] = {}
        self.head_scripts: dict[str, list[Behaviour]] = {}
        self.hits: Counter[tuple[str, str]] = Counter()
        self.log: list[Request] = []
        self.latency_s = 0.0
        self.bytes_per_s: float | None = None  # of each connection
        self.headers: dict[str, str] = {}
        self.stopping = threading.Event()
        self._scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True)
            self._scheme = "https"
        for name, data in (files or {}).items():
            self.serve(name, data)
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def serve(self, name: str, data: bytes | Path, *script: Behaviour, etag: str | None = "by content") -> None:
        """Serve `data` as `name`, misbehaving by `script`."""
        if etag == "by content":
            content = data if isinstance(data, bytes) else str(data.stat()).encode()
            etag = f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'
        self.files[name] = Served(data, etag)
        self.scripts[name] = list(script) or [well]
        for key in [key for key in self.hits if key[1] == name]:
            del self.hits[key]

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.server_address[1]}/"

    def gets(self, name: str | None = None) -> list[Request]:
        """The GET requests so far."""
        return [r for r in self.log if r.method == "GET" and name in (None, r.name)]

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: broken connections are what this server is for."""

    def close(self) -> None:
        self.stopping.set()
        self.shutdown()
        self.server_close()

    def __enter__(self) -> FaultyServer:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()


class Handler(BaseHTTPRequestHandler):
    """Looks up the file and lets its next behaviour answer."""

    protocol_version = "HTTP/1.1"
    server: FaultyServer
    request_log: Request

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        name = unquote(urlsplit(self.path).path).lstrip("/")
        heads = self.headers
        request = Request(self.command, name, heads.get("Range"), heads.get("If-Range"), heads.get("If-Match"))
        self.server.log.append(request)
        self.request_log = request
        if self.server.latency_s:
            time.sleep(self.server.latency_s)
        file = self.server.files.get(name)
        if file is None:
            self.reply(404, b"<Error><Code>NoSuchKey</Code></Error>")
            return
        hit = self.server.hits[self.command, name]
        self.server.hits[self.command, name] += 1
        script = self.server.scripts[name] if self.command == "GET" else self.server.head_scripts.get(name, [well])
        script[min(hit, len(script) - 1)](self, file, request)

    def reply(
        self,
        status: int,
        body: bytes = b"",
        headers: dict[str, str | None] | None = None,
        *,
        cut_after: int | None = None,
    ) -> None:
        """Send an answer; `cut_after` closes the connection after that many bytes of the body."""
        self.request_log.status = status
        self.send_response(status)
        merged = {"Content-Length": str(len(body)), **self.server.headers, **(headers or {})}
        for key, value in merged.items():
            if value is not None:
                self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.send(body if cut_after is None else body[:cut_after])
            if cut_after is not None:
                self.hang_up()

    def send(self, body: bytes) -> None:
        """Send bytes, no faster than the server's limit for a connection."""
        rate = self.server.bytes_per_s
        began = time.monotonic()
        try:
            for at in range(0, len(body), PIECE):
                piece = body[at : at + PIECE]
                self.wfile.write(piece)
                self.request_log.sent += len(piece)
                if rate:
                    wait = (at + len(piece)) / rate - (time.monotonic() - began)
                    if wait > 0 and self.server.stopping.wait(wait):
                        return
        except OSError:
            self.close_connection = True

    def hang_up(self) -> None:
        """Close the connection in the middle of what was promised."""
        self.close_connection = True
        try:
            self.wfile.flush()
            self.connection.shutdown(2)
        except OSError:
            pass

    def asked(self, size: int) -> tuple[int, int] | None:
        """Return the byte interval that the Range header names, or None."""
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.request_log.range or "")
        if match is None:
            return None
        return int(match[1]), min(int(match[2]) + 1, size) if match[2] else size


# --- behaviours ---------------------------------------------------------------------------------------------------


def _tagged(file: Served) -> dict[str, str | None]:
    return {"ETag": file.etag, "Accept-Ranges": "bytes"}


def well(handler: Handler, file: Served, request: Request, *, cut_after: int | None = None) -> None:
    """Answer as a good server does: ranges, If-Range, If-Match, 416."""
    size = file.size
    asked = handler.asked(size)
    if request.if_match not in (None, file.etag):
        handler.reply(412)
        return
    if request.if_range not in (None, file.etag):
        asked = None
    if request.method == "HEAD":
        handler.reply(200, b"", {**_tagged(file), "Content-Length": str(size)})
    elif asked is None:
        handler.reply(200, file.read(0, size), _tagged(file), cut_after=cut_after)
    elif asked[0] >= size:
        handler.reply(416, b"<html>416</html>", {"Content-Range": f"bytes */{size}"})
    else:
        start, stop = asked
        where = {"Content-Range": f"bytes {start}-{stop - 1}/{size}"}
        handler.reply(206, file.read(start, stop), {**_tagged(file), **where}, cut_after=cut_after)


def cut(after: int) -> Behaviour:
    """Close the connection after `after` bytes of the body."""
    return lambda handler, file, request: well(handler, file, request, cut_after=after)


def untagged(behaviour: Behaviour) -> Behaviour:
    """Behave so, but state no ETag."""

    def behave(handler: Handler, file: Served, request: Request) -> None:
        request.if_range = None
        behaviour(handler, Served(file.data, None), request)

    return behave


def cut_half(handler: Handler, file: Served, request: Request) -> None:
    """Close the connection after half of what was asked for."""
    start, stop = handler.asked(file.size) or (0, file.size)
    well(handler, file, request, cut_after=max(1, (stop - start) // 2))


def hang_up(handler: Handler, file: Served, request: Request) -> None:
    """Close the connection without an answer."""
    handler.hang_up()


def flipped(handler: Handler, file: Served, request: Request) -> None:
    """Serve the file with one bit wrong in its middle."""
    data = bytearray(file.read(0, file.size))
    data[len(data) // 2] ^= 1
    well(handler, Served(bytes(data), file.etag), request)


def without_ranges(cut_after: int | None = None) -> Behaviour:
    """Ignore Range: always the whole file."""

    def behave(handler: Handler, file: Served, request: Request) -> None:
        handler.reply(200, file.read(0, file.size), {"ETag": file.etag}, cut_after=cut_after)

    return behave


def wrong_start(early: int = 100) -> Behaviour:
    """Answer a range that starts `early` bytes before the one asked for."""

    def behave(handler: Handler, file: Served, request: Request) -> None:
        asked = handler.asked(file.size)
        if asked is None:
            well(handler, file, request)
            return
        start, stop = max(0, asked[0] - early), asked[1]
        where = {"Content-Range": f"bytes {start}-{stop - 1}/{file.size}"}
        handler.reply(206, file.read(start, stop), {**_tagged(file), **where})

    return behave


def replaced_by(data: bytes, etag: str = '"v2"') -> Behaviour:
    """From now on, serve another version."""
    return lambda handler, file, request: well(handler, Served(data, etag), request)


def replaced_ignoring_if_range(data: bytes, etag: str | None = '"v2"') -> Behaviour:
    """Serve ranges of another version although If-Range names the first."""

    def behave(handler: Handler, file: Served, request: Request) -> None:
        request.if_range = None
        well(handler, Served(data, etag), request)

    return behave


def status(code: int, headers: dict[str, str | None] | None = None, body: bytes = b"<Error/>") -> Behaviour:
    """Answer with a status."""
    return lambda handler, file, request: handler.reply(code, body, headers)


def stale_range(handler: Handler, file: Served, request: Request) -> None:
    """416 to every range, the file to everything else."""
    if request.range is None:
        well(handler, file, request)
    else:
        handler.reply(416, b"<html>416</html>", {"Content-Range": f"bytes */{file.size}"})


def login_page(handler: Handler, file: Served, request: Request) -> None:
    """200, with the page of a captive portal."""
    handler.reply(200, b"<html>Sign in to the hotel wifi</html>" * 40, {"Content-Type": "text/html"})


def without_length(handler: Handler, file: Served, request: Request) -> None:
    """Half the file, no Content-Length, connection closed: by framing alone a complete body."""
    handler.close_connection = True
    size = file.size
    handler.reply(200, file.read(0, size // 2), {"ETag": file.etag, "Content-Length": None, "Connection": "close"})


def chunked_cut(handler: Handler, file: Served, request: Request) -> None:
    """Half the file as one chunk, without the last, empty one."""
    half = file.read(0, file.size // 2)
    handler.request_log.status = 200
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.send(b"%x\r\n" % len(half) + half + b"\r\n")
    handler.hang_up()


def gzipped(handler: Handler, file: Served, request: Request) -> None:
    """Encode the body although nobody asked for it."""
    handler.reply(200, gzip.compress(file.read(0, file.size), 1), {"ETag": file.etag, "Content-Encoding": "gzip"})


def stall(after: int) -> Behaviour:
    """Send `after` bytes of the body, then nothing, holding the connection."""

    def behave(handler: Handler, file: Served, request: Request) -> None:
        start, stop = handler.asked(file.size) or (0, file.size)
        handler.request_log.status = 200 if request.range is None else 206
        handler.send_response(handler.request_log.status)
        if request.range is not None:
            handler.send_header("Content-Range", f"bytes {start}-{stop - 1}/{file.size}")
        handler.send_header("ETag", file.etag or "")
        handler.send_header("Content-Length", str(stop - start))
        handler.end_headers()
        handler.send(file.read(start, min(start + after, stop)))
        handler.wfile.flush()
        handler.server.stopping.wait(60)
        handler.close_connection = True

    return behave


def drip(piece: int, pause_s: float) -> Behaviour:
    """Send `piece` bytes each `pause_s` seconds."""

    def behave(handler: Handler, file: Served, request: Request) -> None:
        start, stop = handler.asked(file.size) or (0, file.size)
        handler.request_log.status = 200 if request.range is None else 206
        handler.send_response(handler.request_log.status)
        if request.range is not None:
            handler.send_header("Content-Range", f"bytes {start}-{stop - 1}/{file.size}")
        handler.send_header("ETag", file.etag or "")
        handler.send_header("Content-Length", str(stop - start))
        handler.end_headers()
        for at in range(start, stop, piece):
            if handler.server.stopping.wait(pause_s) or handler.close_connection:
                break
            handler.send(file.read(at, min(at + piece, stop)))
            handler.wfile.flush()

    return behave


def endless(handler: Handler, file: Served, request: Request) -> None:
    """Send far more than the file has, in chunks."""
    handler.request_log.status = 200
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    for _ in range(2000):
        if handler.close_connection:
            return
        handler.send(b"10000\r\n" + bytes(65536) + b"\r\n")
    handler.send(b"0\r\n\r\n")


def redirect(target: str) -> Behaviour:
    """302 to `target`."""
    return lambda handler, file, request: handler.reply(302, b"", {"Location": target})


def random_bytes(size: int, seed: int) -> bytes:
    """Return reproducible noise."""
    import random

    return random.Random(seed).randbytes(size)


def litter_in(folder: Path) -> list[str]:
    """Return the names of files that no finished fetch should leave."""
    return sorted(
        os.path.relpath(Path(where) / name, folder)
        for where, _, names in os.walk(folder)
        for name in names
        if ".part" in name or name.endswith((".draft", ".lock"))
    )
