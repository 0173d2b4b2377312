"""Rows N22 and N23, and what streaming costs: requests and bytes, blocks kept, shared, taken over and completed."""

from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import faulty_server as fs
import h5py
import numpy as np
import pytest
from faulty_server import FaultyServer, litter_in, random_bytes

from allen_ecephys.cache.remotes.http import HttpRemote
from allen_ecephys.cache.remotes.protocol import RemoteFile
from allen_ecephys.cache.retrying.rules import TransferPolicy
from allen_ecephys.cache.transfer import block_store, streaming
from allen_ecephys.cache.transfer.checks import entry_of
from allen_ecephys.cache.transfer.fetch import fetch
from allen_ecephys.cache.transfer.parts import parts_of
from allen_ecephys.cache.transfer.streaming import RemoteStream, open_stream
from allen_ecephys.errors import DiskFullError, DownloadError, OfflineError, RemoteChangedError

BLOCK = streaming.BLOCK_BYTES
DATA = random_bytes(40 * BLOCK + 1234, 7)
NAME = "session_7/session_7.bin"
POLICY = TransferPolicy(backoff_s=0.01)


@pytest.fixture
def served(server: FaultyServer) -> FaultyServer:
    server.serve(NAME, DATA)
    return server


@pytest.fixture
def opened(served: FaultyServer, tmp_path: Path) -> Iterator[Callable[[], RemoteStream]]:
    streams: list[RemoteStream] = []

    def do() -> RemoteStream:
        streams.append(open_stream(HttpRemote(served.url, read_timeout=2), NAME, tmp_path, policy=POLICY))
        return streams[-1]

    yield do
    for stream in streams:
        stream.close()


def read(stream: RemoteStream, start: int, stop: int) -> bytes:
    stream.seek(start)
    return stream.read(stop - start) or b""


def test_reads_as_a_file_does(opened: Callable[[], RemoteStream]) -> None:
    stream = opened()
    rng = np.random.default_rng(0)
    for start, length in zip(rng.integers(0, len(DATA), 60), rng.integers(0, 3 * BLOCK, 60), strict=True):
        assert read(stream, start, start + length) == DATA[start : start + length]
        assert stream.tell() == min(start + length, len(DATA))
    assert read(stream, len(DATA) + 5, len(DATA) + 10) == b""
    stream.seek(-10, 2)
    assert stream.read() == DATA[-10:]
    with pytest.raises(ValueError, match="before the start"):
        stream.seek(-1)


def test_only_what_is_asked_for_is_fetched(served: FaultyServer, opened: Callable[[], RemoteStream]) -> None:
    stream = opened()
    assert served.gets() == []  # opening asks for size and version only
    read(stream, 10 * BLOCK + 5, 10 * BLOCK + 10)
    assert [request.range for request in served.gets()] == [f"bytes={10 * BLOCK}-{11 * BLOCK - 1}"]
    read(stream, 10 * BLOCK, 11 * BLOCK)
    assert len(served.gets()) == 1
    assert (stream.requests, stream.bytes_fetched) == (1, BLOCK)


def test_reading_on_takes_fewer_and_larger_requests(served: FaultyServer, opened: Callable[[], RemoteStream]) -> None:
    stream = opened()
    for at in range(0, 40 * BLOCK, BLOCK):
        assert read(stream, at, at + BLOCK) == DATA[at : at + BLOCK]
    assert len(served.gets()) < 8


def test_prefetch_joins_near_ranges_and_fetches_far_ones_at_once(
    served: FaultyServer, opened: Callable[[], RemoteStream]
) -> None:
    stream = opened()
    served.latency_s = 1.0
    stream.prefetch([(0, 10), (BLOCK, BLOCK + 1), (2 * BLOCK + 9, 2 * BLOCK + 10), (30 * BLOCK, 31 * BLOCK)])
    first, second = sorted(served.gets(), key=lambda request: int((request.range or "=0-")[6:].split("-")[0]))
    assert first.range == f"bytes=0-{3 * BLOCK - 1}"
    assert second.range == f"bytes={30 * BLOCK}-{31 * BLOCK - 1}"
    assert abs(first.at - second.at) < 1.0  # side by side: the one had no answer yet
    before = len(served.gets())
    assert read(stream, 30 * BLOCK, 31 * BLOCK) == DATA[30 * BLOCK : 31 * BLOCK]
    assert len(served.gets()) == before


def test_second_open_costs_no_request(served: FaultyServer, opened: Callable[[], RemoteStream]) -> None:
    first = opened()
    read(first, 0, 3 * BLOCK)
    first.close()
    served.log.clear()
    second = opened()
    assert read(second, 0, 3 * BLOCK) == DATA[: 3 * BLOCK]
    assert served.log == []
    read(second, 20 * BLOCK, 21 * BLOCK)
    assert served.gets()[0].if_range == served.files[NAME].etag


def test_streams_of_one_process_share_their_blocks(served: FaultyServer, opened: Callable[[], RemoteStream]) -> None:
    first, second = opened(), opened()
    read(first, 0, BLOCK)
    before = len(served.gets())
    assert read(second, 0, BLOCK) == DATA[:BLOCK]
    assert len(served.gets()) == before
    first.close()
    assert read(second, 5 * BLOCK, 6 * BLOCK) == DATA[5 * BLOCK : 6 * BLOCK]


def test_threads_share_one_stream(opened: Callable[[], RemoteStream]) -> None:
    streams = [opened() for _ in range(4)]
    errors: list[int] = []

    def work(stream: RemoteStream, seed: int) -> None:
        rng = np.random.default_rng(seed)
        for start in rng.integers(0, len(DATA) - 5000, 40):
            if read(stream, start, start + 5000) != DATA[start : start + 5000]:
                errors.append(start)

    threads = [threading.Thread(target=work, args=(stream, seed)) for seed, stream in enumerate(streams)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_pickled_stream_opens_again(served: FaultyServer, opened: Callable[[], RemoteStream]) -> None:
    stream = opened()
    read(stream, 0, BLOCK)
    with pickle.loads(pickle.dumps(stream)) as again:
        assert read(again, BLOCK - 5, BLOCK + 5) == DATA[BLOCK - 5 : BLOCK + 5]
    assert stream.name == served.url + NAME


CHILD = """
import sys
from pathlib import Path
from allen_ecephys.cache.remotes.http import HttpRemote
from allen_ecephys.cache.transfer.streaming import open_stream
stream = open_stream(HttpRemote(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
start, stop = int(sys.argv[4]), int(sys.argv[5])
stream.seek(start)
data = stream.read(stop - start)
if len(sys.argv) > 6:
    import os
    os._exit(9)
stream.close()
import hashlib
sys.stdout.write(hashlib.sha256(data).hexdigest())
"""


def in_child(server: FaultyServer, folder: Path, start: int, stop: int, *more: str) -> str:
    command = [sys.executable, "-c", CHILD, server.url, NAME, str(folder), str(start), str(stop), *more]
    return subprocess.run(command, check=not more, capture_output=True, text=True).stdout


def test_another_process_starts_with_the_blocks_of_a_live_one(
    served: FaultyServer, opened: Callable[[], RemoteStream], tmp_path: Path
) -> None:
    stream = opened()
    read(stream, 0, 2 * BLOCK)
    served.log.clear()
    assert in_child(served, tmp_path, 0, 2 * BLOCK) == hashlib.sha256(DATA[: 2 * BLOCK]).hexdigest()
    assert served.log == []
    assert read(stream, 9 * BLOCK, 10 * BLOCK) == DATA[9 * BLOCK : 10 * BLOCK]


def test_blocks_of_a_killed_reader_are_used(served: FaultyServer, tmp_path: Path) -> None:
    in_child(served, tmp_path, 0, 2 * BLOCK, "die")
    served.log.clear()
    assert in_child(served, tmp_path, 0, 2 * BLOCK) == hashlib.sha256(DATA[: 2 * BLOCK]).hexdigest()
    assert served.log == []


def test_N22_network_drops_while_streaming(served: FaultyServer, opened: Callable[[], RemoteStream]) -> None:
    served.serve(NAME, DATA, fs.cut(100_000), fs.well)
    stream = opened()
    assert read(stream, 0, BLOCK) == DATA[:BLOCK]
    assert [request.range for request in served.gets()] == [f"bytes=0-{BLOCK - 1}", f"bytes=100000-{BLOCK - 1}"]


@pytest.mark.parametrize("fault", [fs.cut(0), fs.cut(100), fs.status(503), fs.hang_up])
def test_N22_network_stays_away(served: FaultyServer, opened: Callable[[], RemoteStream], fault: fs.Behaviour) -> None:
    served.serve(NAME, DATA, fs.well, fault)
    stream = opened()
    assert read(stream, 0, BLOCK) == DATA[:BLOCK]
    buffer = np.full(1000, 7, dtype=np.uint8)
    stream.seek(20 * BLOCK)
    with pytest.raises(OSError, match="session_7"):
        stream.readinto(buffer)
    assert len(served.gets()) == 3  # the range, and one retry
    assert read(stream, 0, BLOCK) == DATA[:BLOCK]  # what is at hand stays readable


def make_hdf5(path: Path, n: int = 500_000) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    content = {f"values/{name}": rng.normal(size=n) for name in "abc"}
    content |= {f"columns/{i}": np.arange(2000.0) + i for i in range(40)}
    with h5py.File(path, "w") as file:
        for name, values in content.items():
            file[name] = values
    return content


def test_N22_error_reaches_the_line_of_the_user_through_hdf5(server: FaultyServer, tmp_path: Path) -> None:
    content = make_hdf5(tmp_path / "source.h5")
    server.serve("file.nwb", tmp_path / "source.h5")
    remote = HttpRemote(server.url)
    with open_stream(remote, "file.nwb", tmp_path, policy=POLICY) as stream, h5py.File(stream, "r") as file:
        dataset = file["values/c"]
        np.testing.assert_array_equal(dataset[:10], content["values/c"][:10])
        server.scripts["file.nwb"] = [fs.hang_up]
        out = np.full(dataset.shape, np.nan)
        with pytest.raises(OSError, match="broke"):
            out = dataset[()]
        assert np.isnan(out).all()  # nothing was handed out
        server.scripts["file.nwb"] = [fs.well]
        np.testing.assert_array_equal(dataset[()], content["values/c"])


def test_N23_remote_changes_while_streaming(
    served: FaultyServer, opened: Callable[[], RemoteStream], tmp_path: Path
) -> None:
    other = random_bytes(len(DATA), 8)
    served.serve(NAME, DATA, fs.well, fs.replaced_by(other))
    stream = opened()
    read(stream, 0, BLOCK)
    with pytest.raises(RemoteChangedError, match="open it again"):
        read(stream, 10 * BLOCK, 11 * BLOCK)
    assert read(stream, 0, BLOCK) == DATA[:BLOCK]  # one version only, the one that was opened
    stream.close()
    assert litter_in(tmp_path) == []
    served.serve(NAME, other, etag='"v2"')
    assert read(opened(), 0, BLOCK) == other[:BLOCK]


def test_N23_remote_changes_and_if_range_is_ignored(served: FaultyServer, opened: Callable[[], RemoteStream]) -> None:
    served.serve(NAME, DATA, fs.well, fs.replaced_ignoring_if_range(random_bytes(len(DATA), 8)))
    stream = opened()
    read(stream, 0, BLOCK)
    with pytest.raises(RemoteChangedError):
        read(stream, 10 * BLOCK, 11 * BLOCK)


def test_N23_remote_changes_between_two_sessions(served: FaultyServer, opened: Callable[[], RemoteStream]) -> None:
    first = opened()
    read(first, 0, BLOCK)
    first.close()
    other = random_bytes(len(DATA), 8)
    served.serve(NAME, other)
    second = opened()
    with pytest.raises(RemoteChangedError):
        read(second, 10 * BLOCK, 11 * BLOCK)
    second.close()
    assert read(opened(), 0, 2 * BLOCK) == other[: 2 * BLOCK]


def test_server_without_ranges_is_named(served: FaultyServer, opened: Callable[[], RemoteStream]) -> None:
    served.serve(NAME, DATA, fs.without_ranges())
    with pytest.raises(DownloadError, match="download it instead"):
        read(opened(), 0, 10)


def test_wrong_range_is_never_data(served: FaultyServer, opened: Callable[[], RemoteStream]) -> None:
    served.serve(NAME, DATA, fs.wrong_start(100))
    with pytest.raises(DownloadError):
        read(opened(), 5 * BLOCK, 6 * BLOCK)


def test_size_differs_from_what_is_published(served: FaultyServer, tmp_path: Path) -> None:
    expected = RemoteFile(NAME, served.url + NAME, 999)
    with pytest.raises(DownloadError, match="999 are published"):
        open_stream(HttpRemote(served.url), NAME, tmp_path, expected=expected)


def test_download_continues_what_was_streamed(
    served: FaultyServer, opened: Callable[[], RemoteStream], tmp_path: Path
) -> None:
    stream = opened()
    read(stream, 0, 10 * BLOCK)
    brought = stream.bytes_fetched
    served.log.clear()
    # The reader lives on, idle: the download takes its blocks over ...
    fetch(HttpRemote(served.url), NAME, tmp_path / NAME)
    assert sum(request.sent for request in served.gets()) == len(DATA) - brought
    assert (tmp_path / NAME).read_bytes() == DATA
    # ... and the reader goes on in the finished file.
    served.log.clear()
    assert read(stream, 30 * BLOCK, 31 * BLOCK) == DATA[30 * BLOCK : 31 * BLOCK]
    assert served.log == []
    stream.close()
    assert litter_in(tmp_path) == []


def test_reader_whose_blocks_were_taken_goes_on_in_its_own(
    served: FaultyServer, opened: Callable[[], RemoteStream], tmp_path: Path
) -> None:
    stream = opened()
    read(stream, 0, 3 * BLOCK)
    served.serve(NAME, DATA, fs.cut(0))
    with pytest.raises(DownloadError):  # a download that takes the blocks over and then fails
        fetch(HttpRemote(served.url), NAME, tmp_path / NAME, policy=TransferPolicy(backoff_s=0.001))
    served.serve(NAME, DATA)
    assert read(stream, 0, 3 * BLOCK) == DATA[: 3 * BLOCK]
    assert read(stream, 20 * BLOCK, 21 * BLOCK) == DATA[20 * BLOCK : 21 * BLOCK]
    stream.close()
    fetch(HttpRemote(served.url), NAME, tmp_path / NAME)
    assert (tmp_path / NAME).read_bytes() == DATA
    assert litter_in(tmp_path) == []


def test_streamed_to_the_end_becomes_the_file(
    served: FaultyServer, opened: Callable[[], RemoteStream], tmp_path: Path
) -> None:
    served.headers = {"x-amz-request-id": "1"}  # an S3 server: its ETag is a digest
    stream = opened()
    assert read(stream, 0, len(DATA)) == DATA
    served.log.clear()
    stream.close()
    assert (tmp_path / NAME).read_bytes() == DATA
    assert getattr(entry_of(tmp_path / NAME), "verified", False)
    assert served.gets() == []
    assert litter_in(tmp_path) == []
    assert read(opened(), 5, 10) == DATA[5:10]


def test_damaged_blocks_do_not_become_the_file(
    served: FaultyServer, opened: Callable[[], RemoteStream], tmp_path: Path
) -> None:
    served.headers = {"x-amz-request-id": "1"}
    served.serve(NAME, DATA, fs.flipped)
    stream = opened()
    read(stream, 0, len(DATA))
    served.scripts[NAME] = [fs.well]
    stream.close()  # finds the damage and fetches the file once more
    assert (tmp_path / NAME).read_bytes() == DATA
    assert getattr(entry_of(tmp_path / NAME), "verified", False)


def test_offline_reads_what_is_at_hand(
    served: FaultyServer, opened: Callable[[], RemoteStream], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = opened()
    read(first, 0, BLOCK)
    first.close()
    monkeypatch.setenv("ALLEN_ECEPHYS_OFFLINE", "1")
    second = opened()
    assert read(second, 0, BLOCK) == DATA[:BLOCK]
    with pytest.raises(OfflineError):
        read(second, 10 * BLOCK, 11 * BLOCK)


def test_folder_that_cannot_be_written(
    served: FaultyServer, opened: Callable[[], RemoteStream], tmp_path: Path
) -> None:
    (tmp_path / "session_7").write_text("a file where the folder should be")
    stream = opened()
    assert read(stream, 0, 2 * BLOCK) == DATA[: 2 * BLOCK]
    assert (tmp_path / "session_7").read_text() == "a file where the folder should be"


def test_disk_full_while_streaming(opened: Callable[[], RemoteStream], monkeypatch: pytest.MonkeyPatch) -> None:
    stream = opened()

    def full(self: object, offset: int, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(block_store.PartFile, "write", full)
    with pytest.raises(DiskFullError):
        read(stream, 0, 10)


def test_no_two_parts_remain_for_one_reader(opened: Callable[[], RemoteStream], tmp_path: Path) -> None:
    for at in range(4):
        stream = opened()
        read(stream, at * 8 * BLOCK, at * 8 * BLOCK + 1)
        stream.close()
    assert len(list(parts_of(tmp_path / NAME))) == 1


def test_works_with_any_remote(tmp_path: Path) -> None:
    from allen_ecephys.cache.remotes.opening import remote_at

    source = tmp_path / "there" / NAME
    source.parent.mkdir(parents=True)
    source.write_bytes(DATA)
    with open_stream(remote_at(tmp_path / "there"), NAME, tmp_path / "here") as stream:
        assert read(stream, 3 * BLOCK, 5 * BLOCK) == DATA[3 * BLOCK : 5 * BLOCK]
