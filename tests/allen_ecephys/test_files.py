"""Safe writing: whole or absent, never over something that was not to be replaced, and no litter of the dead."""

from __future__ import annotations

import errno
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from allen_ecephys import files
from allen_ecephys.errors import AccessError, AlreadyPresentError, DiskFullError, FileFormatError
from allen_ecephys.files import (
    atomic_file,
    atomic_folder,
    disk_full,
    draft_of,
    file_lock,
    is_dead,
    read_json,
    remove_abandoned_drafts,
    this_process,
    write_atomically,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_whole_and_alone(tmp_path: Path) -> None:
    target = tmp_path / "new" / "units.csv"
    with atomic_file(target) as file:
        file.write(b"id\n1\n")
        assert not target.exists()
    assert target.read_bytes() == b"id\n1\n"
    assert names(target.parent) == ["units.csv"]
    write_atomically(target, "id\nµ\n")
    assert target.read_text(encoding="utf-8") == "id\nµ\n"


def test_an_error_in_the_block_is_the_callers_and_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "units.csv"
    target.write_text("old")

    def write_half() -> None:
        with atomic_file(target) as file:
            file.write(b"half")
            (tmp_path / "no such source").read_bytes()

    with pytest.raises(FileNotFoundError):
        write_half()
    assert (target.read_text(), names(tmp_path)) == ("old", ["units.csv"])


def test_what_is_not_to_be_replaced_stays_even_if_it_appears_meanwhile(tmp_path: Path) -> None:
    target = tmp_path / "a.tar"

    def write_while_it_appears() -> None:
        with atomic_file(target, replace=False) as file:
            file.write(b"mine")
            target.write_text("theirs")

    with pytest.raises(AlreadyPresentError, match=r"a\.tar"):
        write_while_it_appears()
    assert (target.read_text(), names(tmp_path)) == ("theirs", ["a.tar"])
    with pytest.raises(AlreadyPresentError):
        write_atomically(target, b"mine", replace=False)
    folder = tmp_path / "export"

    def fill_while_it_appears() -> None:
        with atomic_folder(folder) as draft:
            (draft / "mine").touch()
            folder.mkdir()
            (folder / "theirs").touch()

    with pytest.raises(AlreadyPresentError):
        fill_while_it_appears()
    assert names(folder) == ["theirs"]
    assert names(tmp_path) == ["a.tar", "export"]


def test_nothing_is_replaced_where_the_file_system_has_no_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    target = tmp_path / "a.tar"
    write_atomically(target, b"mine", replace=False)
    assert target.read_bytes() == b"mine"
    with pytest.raises(AlreadyPresentError), atomic_file(target.with_suffix(".b"), replace=False):
        target.with_suffix(".b").write_text("theirs")
    assert target.with_suffix(".b").read_text() == "theirs"


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "export") as draft:
        (draft / "session_1").mkdir()
        (draft / "session_1" / "a.nwb").write_bytes(b"1")
        assert not (tmp_path / "export").exists()
    assert names(tmp_path) == ["export"]
    assert (tmp_path / "export" / "session_1" / "a.nwb").read_bytes() == b"1"
    with pytest.raises(ZeroDivisionError), atomic_folder(tmp_path / "other"):
        _ = 1 / 0
    assert names(tmp_path) == ["export"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_has_its_name_and_its_number(tmp_path: Path, number: int) -> None:
    reason = "its file system allows no larger one" if number == errno.EFBIG else "has no room"
    with pytest.raises(DiskFullError, match=reason) as caught, atomic_file(tmp_path / "a"):
        raise OSError(number, os.strerror(number))
    assert caught.value.errno == number
    assert names(tmp_path) == []
    assert pickle.loads(pickle.dumps(disk_full(tmp_path, 5))).errno == errno.ENOSPC


def test_a_file_over_the_limit_of_its_size_is_not_called_a_full_disk(tmp_path: Path) -> None:
    code = """
import resource, signal, sys
from pathlib import Path
from allen_ecephys.errors import DiskFullError
from allen_ecephys.processing.pipeline.outputs import SampleFile
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
try:
    SampleFile(Path(sys.argv[1]) / "band.dat", 4_000_000)
except DiskFullError as error:
    print(error)
"""
    told = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True).stdout
    assert told.startswith(
        f"a file of 4,000,000 bytes in {tmp_path} would be larger than one may be: `ulimit -f` allows"
    )
    assert "1,000,000 bytes. Raise it, or choose another folder" in told


def test_a_full_disk_that_shows_at_the_last_flush_has_its_name() -> None:
    full = Path("/dev/full").open("wb", buffering=0)  # noqa: SIM115  closed below
    with full, pytest.raises(DiskFullError) as caught, files.naming_a_full_disk(Path("/dev")):
        full.write(b"x")
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize(
    "said",
    [
        OSError("4096 requested and 100 written"),
        OSError("Can't synchronously write data (file write failed: error message = 'No space left on device')"),
        RuntimeError("Can't decrement id ref count (unable to close file, error message = 'No space left on device')"),
    ],
)
def test_a_full_disk_is_told_by_what_numpy_and_hdf5_say(tmp_path: Path, said: Exception) -> None:
    with pytest.raises(DiskFullError, match="has no room"), files.naming_a_full_disk(tmp_path):
        raise said
    with pytest.raises(RuntimeError, match="another"), files.naming_a_full_disk(tmp_path):
        raise RuntimeError("another")


def test_a_folder_that_cannot_be_written_has_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AccessError, match="cannot be written"):
        write_atomically(tmp_path / "file" / "a.csv", b"")


CHILD = """
import sys, time
from pathlib import Path
from allen_ecephys.files import atomic_file, atomic_folder
with atomic_file(Path(sys.argv[1]) / "units.csv") as file, atomic_folder(Path(sys.argv[1]) / "export") as folder:
    file.write(b"x" * 1000)
    (folder / "a").touch()
    print("ready", flush=True)
    time.sleep(60)
"""


def test_drafts_of_the_dead_go_and_those_of_the_living_stay(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    foreign = tmp_path / ".units.csv.00000000-1-1-00000000.draft"  # of another machine: nobody here can judge it
    foreign.touch()
    remove_abandoned_drafts(tmp_path)
    assert len(names(tmp_path)) == 3
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert len(names(tmp_path)) == 3
    write_atomically(tmp_path / "other.csv", b"")
    assert names(tmp_path) == [foreign.name, "other.csv"]


def test_a_draft_has_a_name_that_every_file_system_holds(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 250)
    assert len(draft_of(long).name) <= 255
    write_atomically(long, b"1")
    assert names(tmp_path) == [long.name]


def test_only_a_process_that_is_known_to_have_ended_is_dead() -> None:
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    me = this_process()
    assert not is_dead(me)
    assert is_dead({**me, "pid": int(ended.stdout)})
    assert is_dead({**me, "started": "0"})  # the id was given to another process
    assert is_dead({**me, "pid": 10**30})
    assert is_dead({**me, "pid": "12"})
    assert not is_dead({**me, "pid": int(ended.stdout), "host": "elsewhere"})


def test_a_lock_neither_follows_a_link_nor_waits_for_a_pipe(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("1")
    (tmp_path / "link.lock").symlink_to(tmp_path / "precious")
    with file_lock(tmp_path / "link.lock", still_alive=lambda: False) as held:
        assert not held
    assert (tmp_path / "precious").exists()
    os.mkfifo(tmp_path / "pipe.lock")
    with file_lock(tmp_path / "pipe.lock", still_alive=lambda: False):
        pass  # it came back at all


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[" * 100_000, b"NaN,"])
def test_json_that_is_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "facts.json"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=r"facts\.json is no JSON"):
        read_json(path)


def test_json_in_the_place_of_which_something_else_lies(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "long").write_bytes(b" " * 101)
    for name in ("pipe", "folder", "long"):
        with pytest.raises(FileFormatError, match=f"{name} is"):
            read_json(tmp_path / name, limit=100)
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "gone")


def test_a_file_killed_between_its_two_names_leaves_no_draft_after_the_next_attempt(tmp_path: Path) -> None:
    code = (
        "import os, signal; from pathlib import Path; from allen_ecephys import files\n"
        "files.Path.unlink = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"files.write_atomically(Path({str(tmp_path / 'page.html')!r}), 'x', replace=False)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 2
    with pytest.raises(AlreadyPresentError):
        write_atomically(tmp_path / "page.html", "y", replace=False)
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
