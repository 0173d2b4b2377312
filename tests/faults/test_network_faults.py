"""Rows N1 to N21 of the reliability table: what a download does when the network misbehaves."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import socket
import threading
import time
from email.utils import formatdate
from pathlib import Path

import faulty_server as fs
import pytest
from faulty_server import FaultyServer, litter_in, random_bytes
from small_project import serve_folder, write_project

from allen_ecephys.cache.offline.verify import verify
from allen_ecephys.cache.project_cache import EcephysProjectCache
from allen_ecephys.cache.remotes.http import HttpRemote
from allen_ecephys.cache.remotes.protocol import RemoteFile, UnreachableError
from allen_ecephys.cache.retrying.rules import TransferPolicy
from allen_ecephys.cache.transfer.checks import entry_of
from allen_ecephys.cache.transfer.fetch import fetch
from allen_ecephys.cache.transfer.parts import PartFile
from allen_ecephys.errors import AccessError, ChecksumError, DownloadError, RemoteNotFoundError

SIZE = 3_000_000
DATA = random_bytes(SIZE, 1)
SHA = hashlib.sha256(DATA).hexdigest()
NAME = "session_1.bin"


class Clock:
    """Sleeps in no time, and remembers how long."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self.ahead = 0.0

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.ahead += seconds

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead


def hurried(clock: Clock, **limits: object) -> TransferPolicy:
    return dataclasses.replace(TransferPolicy(sleep=clock.sleep, monotonic=clock.monotonic), **limits)


class Download:
    """One file, one server, one folder."""

    def __init__(self, server: FaultyServer, folder: Path) -> None:
        self.server, self.folder, self.clock = server, folder, Clock()
        self.path = folder / NAME
        self.remote = HttpRemote(server.url, connect_timeout=2, read_timeout=1)

    def expected(self, digest: str | None = SHA, size: int | None = SIZE, etag: str | None = None) -> RemoteFile:
        return RemoteFile(NAME, self.server.url + NAME, size, etag, None if digest is None else ("sha256", digest))

    def fetch(self, *script: fs.Behaviour, expected: RemoteFile | None = None, **limits: object) -> Path:
        if script:
            self.server.serve(NAME, DATA, *script)
        policy = hurried(self.clock, **limits)
        return fetch(self.remote, NAME, self.path, expected=expected or self.expected(), policy=policy)

    def assert_good(self) -> None:
        assert self.path.read_bytes() == DATA
        assert litter_in(self.folder) == []

    def assert_absent(self, *, part: bool) -> None:
        assert not self.path.exists()
        assert bool(litter_in(self.folder)) is part

    @property
    def asked(self) -> list[str | None]:
        return [request.range for request in self.server.gets()]

    def leave_part(self, data: bytes, etag: str | None, size: int = SIZE) -> PartFile:
        part = PartFile.create(self.path, size, etag, TransferPolicy())
        part.write(0, data)
        part.release()
        return part


@pytest.fixture
def download(server: FaultyServer, tmp_path: Path) -> Download:
    server.serve(NAME, DATA)
    return Download(server, tmp_path)


def test_without_fault(download: Download) -> None:
    assert fetch(download.remote, NAME, download.path) == download.path
    download.assert_good()
    entry = entry_of(download.path)
    assert entry is not None
    assert not entry.verified  # no digest was published
    before = len(download.server.log)
    fetch(download.remote, NAME, download.path)
    assert len(download.server.log) == before  # known from the index, nobody is asked


def test_N1_body_cut_once(download: Download) -> None:
    download.fetch(fs.cut(SIZE // 2), fs.well)
    download.assert_good()
    first, second = download.server.gets()
    assert first.range is None
    assert second.range == f"bytes={SIZE // 2}-"
    assert second.if_range == download.server.files[NAME].etag
    assert second.status == 206
    assert getattr(entry_of(download.path), "verified", False)


def test_N2_body_cut_every_time_but_further(download: Download) -> None:
    download.fetch(fs.cut_half)
    download.assert_good()
    starts = [int(asked.removeprefix("bytes=").split("-")[0]) for asked in download.asked if asked]
    assert starts == sorted(set(starts))
    assert len(starts) > 15


def test_N2_gives_up_after_8_attempts_without_progress(download: Download) -> None:
    with pytest.raises(DownloadError, match=r"1,500,000 of 3,000,000 bytes are kept.*allen-ecephys cache build"):
        download.fetch(fs.cut(SIZE // 2), fs.cut(0))
    assert len(download.server.gets()) == 9
    download.assert_absent(part=True)
    download.fetch(fs.well)
    download.assert_good()
    assert download.asked[-1] == f"bytes={SIZE // 2}-"


@pytest.mark.parametrize("fault", [fs.without_length, fs.chunked_cut])
def test_N3_cut_that_framing_hides(download: Download, fault: fs.Behaviour) -> None:
    with pytest.raises(DownloadError, match="without progress"):
        download.fetch(fault)
    assert not download.path.exists()


def test_N4_one_bit_flipped(download: Download) -> None:
    with pytest.raises(ChecksumError) as caught:
        download.fetch(fs.flipped)
    flipped = bytearray(DATA)
    flipped[SIZE // 2] ^= 1
    assert SHA in str(caught.value)
    assert hashlib.sha256(flipped).hexdigest() in str(caught.value)
    assert len(download.server.gets()) == 2  # one full retry
    download.assert_absent(part=False)


def test_N4_one_bit_flipped_once(download: Download) -> None:
    download.fetch(fs.flipped, fs.well)
    download.assert_good()


def test_N4_md5_of_an_s3_server(download: Download) -> None:
    download.server.headers = {"x-amz-request-id": "1"}
    download.server.serve(NAME, DATA, fs.flipped)
    with pytest.raises(ChecksumError, match="md5"):
        fetch(download.remote, NAME, download.path, policy=hurried(download.clock))
    download.assert_absent(part=False)


def test_N5_server_ignores_range(download: Download, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[tuple[int, int]] = []
    monkeypatch.setattr("allen_ecephys.cache.transfer.fetch.progress_bar", lambda **layout: Bar(shown, **layout))
    download.fetch(fs.without_ranges(cut_after=SIZE // 2), fs.without_ranges())
    download.assert_good()
    assert [request.status for request in download.server.gets()] == [200, 200]
    assert shown[-1] == (SIZE, SIZE)
    assert max(at for at, _ in shown) == SIZE  # the bar never passes 100 %


class Bar:
    """Records what a progress bar would show."""

    def __init__(self, shown: list[tuple[int, int]], *, total: int, desc: str, unit: str) -> None:
        self.shown, self.total, self.n = shown, total, 0

    def update(self, step: int) -> None:
        self.n += step
        self.refresh()

    def refresh(self) -> None:
        self.shown.append((self.n, self.total))

    def close(self) -> None:
        self.refresh()


def test_N6_range_starts_elsewhere(download: Download) -> None:
    download.fetch(fs.cut(SIZE // 2), fs.wrong_start(100))
    download.assert_good()
    assert download.asked == [None, f"bytes={SIZE // 2}-", None]


def test_N7_object_replaced_between_requests(download: Download) -> None:
    other = random_bytes(SIZE, 2)
    with pytest.raises(ChecksumError):
        download.fetch(fs.cut(SIZE // 2), fs.replaced_by(other))
    download.assert_absent(part=False)


def test_N7_object_replaced_without_published_digest(download: Download) -> None:
    other = random_bytes(SIZE, 2)
    download.fetch(fs.cut(SIZE // 2), fs.replaced_by(other), expected=download.expected(digest=None))
    assert download.path.read_bytes() == other  # the new version as a whole, never a mixture
    assert litter_in(download.folder) == []


def test_N7_replaced_and_if_range_ignored(download: Download) -> None:
    other = random_bytes(SIZE, 2)
    unverified = download.expected(digest=None)
    download.fetch(fs.cut(SIZE // 2), fs.replaced_ignoring_if_range(other), expected=unverified)
    assert download.path.read_bytes() == other


def test_N8_stale_part(download: Download) -> None:
    download.leave_part(DATA[:1000], etag='"old"')
    download.fetch(fs.stale_range)
    download.assert_good()


def test_N9_part_already_complete(download: Download) -> None:
    download.leave_part(DATA, etag='"any"')
    download.fetch()
    download.assert_good()
    assert download.server.log == []
    assert getattr(entry_of(download.path), "verified", False)


def test_N10_login_page(download: Download) -> None:
    with pytest.raises(DownloadError, match="proxy or of a login portal"):
        download.fetch(fs.login_page)
    assert len(download.server.gets()) == 1
    download.assert_absent(part=False)


@pytest.mark.parametrize(
    ("code", "error"),
    [(404, RemoteNotFoundError), (410, RemoteNotFoundError), (403, AccessError), (401, AccessError)],
)
def test_N11_not_there_or_refused(download: Download, code: int, error: type[Exception]) -> None:
    with pytest.raises(error, match=str(code)):
        download.fetch(fs.status(code))
    assert len(download.server.gets()) == 1
    assert download.clock.slept == []
    assert litter_in(download.folder) == []
    assert list(download.folder.iterdir()) == []


@pytest.mark.parametrize("code", [503, 429, 500, 502, 504, 408])
def test_N12_busy_server_with_retry_after(download: Download, code: int) -> None:
    download.fetch(*[fs.status(code, {"Retry-After": "17"})] * 2, fs.well)
    download.assert_good()
    assert len(download.clock.slept) == 2
    assert all(17 <= waited <= 300 for waited in download.clock.slept)


@pytest.mark.parametrize(
    ("header", "low", "high"),
    [
        ("-5", 0, 1),
        ("next week", 0, 1),
        ("604800", 300, 300),
        pytest.param(formatdate(time.time() + 7 * 86400, usegmt=True), 300, 300, id="in a week"),
        pytest.param(formatdate(time.time() - 86400, usegmt=True), 0, 1, id="yesterday"),
        ("99999999999999999999", 0, 1),
    ],
)
def test_N13_absurd_retry_after(download: Download, header: str, low: float, high: float) -> None:
    download.fetch(fs.status(503, {"Retry-After": header}), fs.well)
    download.assert_good()
    assert low <= download.clock.slept[0] <= high


def test_N13_wait_is_logged(download: Download, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="allen_ecephys"):
        download.fetch(fs.status(503, {"Retry-After": "604800"}), fs.well)
    assert "trying again in 300.0 s" in caplog.text


def test_N14_stalled_body(download: Download) -> None:
    began = time.monotonic()
    download.fetch(fs.stall(SIZE // 2), fs.well)
    download.assert_good()
    assert download.asked == [None, f"bytes={SIZE // 2}-"]
    assert time.monotonic() - began < 30


def test_N15_drip_counts_as_stall(download: Download) -> None:
    download.fetch(fs.drip(20, 0.05), fs.well, floor_window_s=0.5)
    download.assert_good()
    assert len(download.asked) == 2
    assert download.asked[1] is not None  # what had dripped in is kept


def test_N16_slow_but_steady(download: Download) -> None:
    # Every piece of some 50 kB takes 20 s of the injected clock: the transfer lasts for hours, but above the floor.
    clock = download.clock

    class Slow(HttpRemote):
        def open_range(self, *args: object, **kwargs: object) -> object:
            answer = super().open_range(*args, **kwargs)
            pieces = iter(answer)

            def slowly() -> object:
                for piece in pieces:
                    clock.ahead += 20
                    yield piece

            answer.__class__ = type("SlowAnswer", (type(answer),), {"__iter__": lambda self: slowly()})
            return answer

    download.remote = Slow(download.server.url)
    download.server.bytes_per_s = 6_000_000  # many small pieces, so that a long time passes
    download.fetch(fs.well)
    download.assert_good()
    assert clock.ahead > 600
    assert len(download.asked) == 1


def test_N17_gzip_on_the_wire(download: Download) -> None:
    with pytest.raises(DownloadError, match="gzip"):
        download.fetch(fs.gzipped)
    assert not download.path.exists()


def test_N18_more_bytes_than_published(download: Download) -> None:
    with pytest.raises(DownloadError, match="more than the 3,000,000 bytes"):
        download.fetch(fs.endless)
    download.assert_absent(part=False)
    assert len(download.server.gets()) == 1
    assert download.server.gets()[0].sent < 40_000_000


def test_N19_redirect_loop(download: Download) -> None:
    with pytest.raises(AccessError, match="more than 5 times"):
        download.fetch(fs.redirect(f"/{NAME}"))
    assert len(download.server.gets()) == 6
    assert not download.path.exists()


def test_N19_five_hops_are_followed(download: Download) -> None:
    download.fetch(*[fs.redirect(f"/{NAME}")] * 5, fs.well)
    download.assert_good()


def test_N20_connection_refused(download: Download) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    download.remote = HttpRemote(f"http://127.0.0.1:{port}/")
    nowhere = dataclasses.replace(download.expected(), url=f"http://127.0.0.1:{port}/{NAME}")
    with pytest.raises(UnreachableError, match="ALLEN_ECEPHYS_OFFLINE"):
        download.fetch(expected=nowhere)
    assert len(download.clock.slept) == 2  # three attempts


def test_N20_cached_file_stays_usable(download: Download) -> None:
    download.path.write_bytes(DATA)  # never checked: the remote would be asked for its size
    download.remote = HttpRemote("http://no-such-host.invalid/")
    policy = hurried(download.clock)
    assert fetch(download.remote, NAME, download.path, policy=policy) == download.path
    with pytest.raises(UnreachableError):
        fetch(download.remote, "other.bin", download.folder / "other.bin", policy=policy)


def test_N21_first_mirror_down(download: Download) -> None:
    with FaultyServer() as second:
        second.serve(NAME, DATA)
        download.server.serve(NAME, DATA, fs.status(503))
        fetch(
            download.remote,
            NAME,
            download.path,
            expected=download.expected(),
            mirrors=[HttpRemote(second.url)],
            policy=hurried(download.clock),
        )
        assert len(download.server.gets()) == 3
        assert len(second.gets()) == 1
    download.assert_good()
    assert getattr(entry_of(download.path), "verified", False)


def test_N21_mirror_continues_the_part_of_the_first(download: Download) -> None:
    with FaultyServer() as second:
        second.serve(NAME, DATA, etag='"of the second server"')
        download.server.serve(NAME, DATA, fs.cut(SIZE // 2), fs.hang_up)
        mirrors = [HttpRemote(second.url)]
        policy = hurried(download.clock)
        fetch(download.remote, NAME, download.path, expected=download.expected(), mirrors=mirrors, policy=policy)
        assert [request.range for request in second.gets()] == [f"bytes={SIZE // 2}-"]
    download.assert_good()


def test_N21_mirror_with_another_file_is_refused(download: Download) -> None:
    with FaultyServer() as second:
        second.serve(NAME, DATA + b"x")
        download.server.serve(NAME, DATA, fs.status(503))
        mirrors = [HttpRemote(second.url)]
        policy = hurried(download.clock)
        with pytest.raises(DownloadError, match="another session_1"):
            fetch(download.remote, NAME, download.path, expected=download.expected(), mirrors=mirrors, policy=policy)
    assert not download.path.exists()


def test_N21_cache_whose_remote_is_down_reads_from_its_mirror(server: FaultyServer, tmp_path: Path) -> None:
    serve_folder(server, write_project(tmp_path / "project"))
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{closed.getsockname()[1]}/"
    cache = EcephysProjectCache.from_url(nowhere, tmp_path / "cache", mirrors=[server.url])
    assert cache.get_all_sexes() == ["F", "M"]
    key = "session_101/session_101.nwb"
    assert cache.session_path(101).read_bytes() == (tmp_path / "project" / key).read_bytes()
    assert len(server.gets(key)) == 1


def test_N21_cache_whose_remote_breaks_off_goes_on_from_its_mirror(server: FaultyServer, tmp_path: Path) -> None:
    folder, key = write_project(tmp_path / "project"), "session_101/session_101.nwb"
    data = (folder / key).read_bytes()
    with FaultyServer() as second:
        for one in (server, second):
            serve_folder(one, folder)
        server.serve(key, data, fs.cut(len(data) // 2), fs.hang_up)
        cache = EcephysProjectCache(tmp_path / "cache", server.url, mirrors=[second.url])
        assert cache.session_path(101).read_bytes() == data
        assert [request.range for request in second.gets(key)] == [f"bytes={len(data) // 2}-"]
    assert litter_in(tmp_path / "cache") == []


def test_N21_cache_repairs_from_its_mirror(server: FaultyServer, tmp_path: Path) -> None:
    folder, key = write_project(tmp_path / "project"), "session_101/session_101.nwb"
    with FaultyServer() as second:
        for one in (server, second):
            serve_folder(one, folder)
        cache = EcephysProjectCache(tmp_path / "cache", server.url, mirrors=[second.url])
        path = cache.session_path(101)
        path.write_bytes(path.read_bytes()[:-100])
        server.serve(key, (folder / key).read_bytes(), fs.status(403))
        assert verify(cache, repair=True).ok
        assert path.read_bytes() == (folder / key).read_bytes()
        assert len(second.gets(key)) == 1


# --- several connections ------------------------------------------------------------------------------------------

LARGE = random_bytes(12_000_000, 3)


def fetch_large(server: FaultyServer, folder: Path, *script: fs.Behaviour, **limits: object) -> Path:
    server.serve("large.bin", LARGE, *script)
    policy = hurried(Clock(), **{"segment_bytes": 500_000, **limits})
    return fetch(HttpRemote(server.url, read_timeout=2), "large.bin", folder / "large.bin", policy=policy)


def test_parallel_ranges_use_the_bandwidth_of_several_connections(server: FaultyServer, tmp_path: Path) -> None:
    server.bytes_per_s = 4_000_000
    active, most = 0, 0
    lock = threading.Lock()

    def counted(handler: fs.Handler, file: fs.Served, request: fs.Request) -> None:
        nonlocal active, most
        with lock:
            active += 1
            most = max(most, active)
        fs.well(handler, file, request)
        with lock:
            active -= 1

    path = fetch_large(server, tmp_path, counted)
    assert path.read_bytes() == LARGE
    assert most == 8
    assert sum(request.sent for request in server.gets()) == len(LARGE)  # nothing twice
    assert litter_in(tmp_path) == []


def test_parallel_ranges_survive_cuts(server: FaultyServer, tmp_path: Path) -> None:
    path = fetch_large(server, tmp_path, *[fs.cut(100_000), fs.well, fs.cut_half] * 4, fs.well)
    assert path.read_bytes() == LARGE
    assert litter_in(tmp_path) == []


def test_parallel_ranges_refused_by_the_server(server: FaultyServer, tmp_path: Path) -> None:
    path = fetch_large(server, tmp_path, fs.without_ranges())
    assert path.read_bytes() == LARGE
    assert len(server.gets()) == 1  # the first answer is the whole file, and is taken


def test_parallel_only_some_connections_allowed(server: FaultyServer, tmp_path: Path) -> None:
    slots = threading.Semaphore(2)

    def two_at_most(handler: fs.Handler, file: fs.Served, request: fs.Request) -> None:
        if not slots.acquire(blocking=False):
            fs.status(503)(handler, file, request)
            return
        try:
            fs.well(handler, file, request)
        finally:
            slots.release()

    path = fetch_large(server, tmp_path, two_at_most, attempts_without_progress=3)
    assert path.read_bytes() == LARGE


def test_parallel_object_replaced_midway(server: FaultyServer, tmp_path: Path) -> None:
    other = random_bytes(len(LARGE), 4)
    path = fetch_large(server, tmp_path, *[fs.well] * 9, fs.replaced_by(other))
    assert path.read_bytes() == other  # as a whole
    assert litter_in(tmp_path) == []


def test_parallel_later_ranges_wrong(server: FaultyServer, tmp_path: Path) -> None:
    path = fetch_large(server, tmp_path, *[fs.well] * 5, fs.wrong_start(10))
    assert path.read_bytes() == LARGE


def test_parallel_resume_fetches_only_what_is_missing(server: FaultyServer, tmp_path: Path) -> None:
    with pytest.raises(DownloadError):
        fetch_large(server, tmp_path, *[fs.well] * 6, fs.status(503), attempts_without_progress=2)
    before = sum(request.sent for request in server.gets() if request.status == 206)
    assert before >= 3_000_000
    server.log.clear()
    path = fetch_large(server, tmp_path)
    assert path.read_bytes() == LARGE
    assert sum(request.sent for request in server.gets()) == len(LARGE) - before
    assert litter_in(tmp_path) == []


# --- A7 and A14: versions that nobody proves, and servers without ranges ---------------------------------------------

OTHER = random_bytes(SIZE, 2)


@pytest.mark.parametrize("tag", [None, 'W/"v1"', '"v2"', ""])
@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("first", ["range", "whole", "whole without tag"])
def test_A7_never_a_mixture_where_no_range_proves_its_version(
    download: Download, tag: str | None, parallel: bool, first: str
) -> None:
    changed = fs.replaced_ignoring_if_range(OTHER, tag)
    begin = fs.cut(1_000_000) if first != "whole without tag" else fs.untagged(fs.cut(1_000_000))
    limits = {"segment_bytes": 1 << 18 if parallel else 1 << 30, "connections": 4 if parallel else 1}
    known = download.expected(None, etag=download.server.files[NAME].etag if first == "range" else None)
    script = [begin] * (3 if parallel else 1)
    try:
        download.fetch(*script, changed, expected=known, **limits)
    except (DownloadError, ChecksumError):
        assert not download.path.exists()
    else:
        assert download.path.read_bytes() in (DATA, OTHER)


@pytest.mark.parametrize("cuts", [2, 5])
def test_A14_a_server_without_ranges_that_cuts_is_asked_again(download: Download, cuts: int) -> None:
    script = [fs.without_ranges(cut_after=700_000)] * cuts + [fs.without_ranges()]
    download.fetch(*script, segment_bytes=1 << 18)
    download.assert_good()
    assert len(download.asked) == cuts + 1


def test_A14_a_network_fault_is_called_one(download: Download) -> None:
    with pytest.raises(DownloadError, match="8 attempts without progress"):
        download.fetch(fs.without_ranges(cut_after=700_000), segment_bytes=1 << 18)
    download.assert_absent(part=True)


def head_says_nothing(handler: fs.Handler, file: fs.Served, request: fs.Request) -> None:
    handler.reply(200, b"", {"Content-Length": "0"})


def test_A21_a_server_whose_HEAD_counts_nothing(download: Download) -> None:
    download.server.head_scripts[NAME] = [head_says_nothing]
    fetch(download.remote, NAME, download.path)
    download.assert_good()
