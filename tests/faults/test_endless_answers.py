"""Rows A11, A12 and A17: answers that never end, that grow in memory, or whose headers cannot be read."""

from __future__ import annotations

import gzip
import itertools
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from raw_server import Peer, RawServer

from allen_ecephys.cache.remotes.dandi import DandiRemote
from allen_ecephys.cache.remotes.http import HttpRemote
from allen_ecephys.cache.remotes.protocol import Remote, RemoteFile
from allen_ecephys.cache.remotes.warehouse import WarehouseRemote
from allen_ecephys.cache.retrying.rules import TransferPolicy
from allen_ecephys.errors import AccessError, AllenEcephysError, DownloadError

PATIENCE_S = 0.4
OK = b'HTTP/1.1 200 OK\r\nETag: "v1"\r\n'

pytestmark = pytest.mark.timeout(20)


def remote_of(server: RawServer) -> HttpRemote:
    return HttpRemote(server.url, read_timeout=PATIENCE_S)


def read(server: RawServer, size: int | None = None) -> bytes:
    remote = remote_of(server)
    with remote.open_range(RemoteFile("a.bin", f"{server.url}a.bin", size)) as answer:
        return b"".join(answer)


def dripped_headers(peer: Peer) -> None:
    peer.drip(itertools.chain([OK], (b"X-%d: y\r\n" % i for i in itertools.count())))


def dripped_bytes_of_a_header(peer: Peer) -> None:
    peer.drip(itertools.chain([OK + b"X: "], itertools.repeat(b"y")))


def endless_continue(peer: Peer) -> None:
    while peer.send(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000):
        pass


def dripped_continue(peer: Peer) -> None:
    peer.drip(itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n"))


@pytest.mark.parametrize(
    "answer", [dripped_headers, dripped_bytes_of_a_header, endless_continue, dripped_continue], ids=lambda f: f.__name__
)
def test_A11_a_head_that_never_ends(answer: Callable[[Peer], None]) -> None:
    with RawServer(answer) as server, pytest.raises(DownloadError):
        read(server)
    with RawServer(answer) as server, pytest.raises(DownloadError):
        remote_of(server).locate("a.bin")


CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def dripped_extension(peer: Peer) -> None:
    peer.drip(itertools.chain([CHUNKED + b"4\r\nabcd\r\n4;"], itertools.repeat(b"x")))


def endless_extension(peer: Peer) -> None:
    peer.send(CHUNKED + b"4\r\nabcd\r\n4;")
    while peer.send(b"x" * 65536):
        pass


def dripped_trailers(peer: Peer) -> None:
    peer.drip(itertools.chain([CHUNKED + b"4\r\nabcd\r\n0\r\n"], (b"X-%d: y\r\n" % i for i in itertools.count())))


def endless_trailers(peer: Peer) -> None:
    peer.send(CHUNKED + b"4\r\nabcd\r\n0\r\n")
    while peer.send(b"X: y\r\n" * 1000):
        pass


@pytest.mark.parametrize(
    "answer", [dripped_extension, endless_extension, dripped_trailers, endless_trailers], ids=lambda f: f.__name__
)
def test_A11_framing_that_never_ends(answer: Callable[[Peer], None]) -> None:
    with RawServer(answer) as server, pytest.raises(DownloadError):
        read(server)


def test_A11_a_reader_that_pauses_is_not_a_silent_server() -> None:
    def slow_but_steady(peer: Peer) -> None:
        peer.send(CHUNKED)
        peer.drip(itertools.chain((b"4\r\nabcd\r\n" for _ in range(12)), [b"0\r\n\r\n"]))

    import time

    with RawServer(slow_but_steady) as server:
        remote, found = remote_of(server), b""
        with remote.open_range(RemoteFile("a.bin", f"{server.url}a.bin", None)) as answer:
            for piece in answer:
                found += piece
                if len(found) == 4:
                    time.sleep(2 * PATIENCE_S)  # the reader's own work does not count
    assert found == b"abcd" * 12


def moved(location: bytes, more: bytes = b"") -> bytes:
    return b"HTTP/1.1 302 Found\r\nLocation: " + location + b"\r\n" + more + b"\r\n"


def test_A11_a_redirect_whose_body_never_ends() -> None:
    def endless(peer: Peer) -> None:
        if b"/there" in peer.head:
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nabcd")
        else:
            peer.drip(
                itertools.chain([moved(b"/there", b"Transfer-Encoding: chunked\r\n")], itertools.repeat(b"1\r\nx\r\n"))
            )

    with RawServer(endless) as server:
        assert read(server) == b"abcd"


@pytest.fixture
def peak() -> Iterator[Callable[[], int]]:
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()


BOMB = gzip.compress(bytes(300_000_000), 9)
GZIP = b"Content-Encoding: gzip\r\nContent-Length: %d\r\n" % len(BOMB)


def test_A12_the_body_of_a_redirect_is_not_read(peak: Callable[[], int]) -> None:
    def bomb(peer: Peer) -> None:
        if b"/there" in peer.head:
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nabcd")
        else:
            peer.send(moved(b"/there", GZIP) + BOMB)

    with RawServer(bomb) as server:
        assert read(server) == b"abcd"
    assert peak() < 50e6


POLICY = TransferPolicy(attempts_without_progress=1, attempts_to_connect=1, sleep=lambda _: None)


@pytest.mark.parametrize("body", ["gzip", "endless"])
@pytest.mark.parametrize("kind", ["warehouse", "dandi"])
def test_A12_listings_and_queries_take_no_more_memory_than_they_should(
    peak: Callable[[], int], monkeypatch: pytest.MonkeyPatch, body: str, kind: str
) -> None:
    monkeypatch.setattr("allen_ecephys.cache.remotes.http.MOST_BODY_BYTES", 2_000_000)

    def answer(peer: Peer) -> None:
        if body == "gzip":
            peer.send(b"HTTP/1.1 200 OK\r\n" + GZIP + b"\r\n" + BOMB)
            return
        peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while peer.send(b" " * 65536):
            pass

    with RawServer(answer) as server:
        host = server.url.removeprefix("http://").rstrip("/")
        remote: Remote = DandiRemote(f"{server.url}assets/", tables=None)
        if kind == "warehouse":
            remote = WarehouseRemote(host=host, timeout=5, policy=POLICY)
        with pytest.raises(AllenEcephysError):
            remote.locate("session_1/session_1.nwb")
    assert peak() < 50e6


@pytest.mark.parametrize("text", [b"9" * 5000, b"-1", b"1e9", b"9" * 19, b"\xb2"])
def test_A17_a_length_that_is_none(text: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: " + text + b"\r\nConnection: close\r\n\r\n"
    with RawServer(lambda peer: [None, peer.send(head + b"abcd")][0]) as server, pytest.raises(DownloadError):
        read(server)
    with RawServer(lambda peer: [None, peer.send(head)][0]) as server, pytest.raises(DownloadError):
        remote_of(server).locate("a.bin")


@pytest.mark.parametrize(
    "location",
    [b"http://[1", b"http://[::1", b"//", b"\xff\xfe\x00", b"http://\xe9\xff/", b"http://127.0.0.1:99999/",
     b"/\xff\xfe", b"http://a b/", b"http://" + b"a" * 300 + b"/", b""],
)  # fmt: skip
def test_A17_a_redirect_to_nowhere(location: bytes) -> None:
    with RawServer(lambda peer: [None, peer.send(moved(location, b"Content-Length: 0\r\n"))][0]) as server:
        with pytest.raises((AccessError, DownloadError)):
            read(server)
        with pytest.raises((AccessError, DownloadError)):
            remote_of(server).locate("a.bin")


def test_A17_headers_that_are_no_text(tmp_path: Path) -> None:
    head = b'HTTP/1.1 200 OK\r\nContent-Length: 4\r\nETag: "\xff\xfe"\r\nConnection: close\r\n\r\nabcd'
    with RawServer(lambda peer: [None, peer.send(head)][0]) as server:
        assert read(server) == b"abcd"
