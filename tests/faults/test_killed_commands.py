"""Rows A5 and A13: each command that writes into a cache, killed at every point, repeated, and compared."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pandas as pd
import pytest
from faulty_server import FaultyServer
from kill_points import calls_of, chosen_points, killed_before, long_rounds
from small_nwb import write_small_session
from small_project import serve_folder, write_project

from allen_ecephys.cache import EcephysProjectCache
from allen_ecephys.cache.offline.build import build
from allen_ecephys.cache.offline.export import export
from allen_ecephys.cache.offline.verify import verify
from allen_ecephys.cache.transfer.fetch import ASIDE
from allen_ecephys.cli import main
from allen_ecephys.errors import AlreadyPresentError, MissingFileError
from allen_ecephys.session.session import EcephysSession
from allen_ecephys.units.filter import UnitFilter

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

Command = Callable[[], object]
#: Kills of the short run.
SHORT = 5


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder; the index, which states times and inodes, by name, and dates left out.

    Damaged files that were set aside are named by the time; they have a test of their own.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and ASIDE not in path.name:
            timed = path.name.startswith(".allen-ecephys-index") or path.name.endswith(".index.npz")
            content = b"" if timed else path.read_bytes()
            if path.suffix in {".csv", ".tar"}:
                content = re.sub(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", b"then", content)
            found[path.relative_to(folder).as_posix()] = content if path.suffix != ".tar" else b"%d" % len(content)
    return found


def litter(folder: Path) -> list[str]:
    marks = (".draft", ".part", ".lock", ".change")
    return [str(path) for path in folder.rglob("*") if any(mark in path.name for mark in marks)]


def survives(
    prepare: Callable[[Path], Command],
    folder: Path,
    rounds: int,
    ended: tuple[type[Exception], ...] = (),
    check: Callable[[Path], object] = litter,
) -> None:
    """Kill a command before `rounds` of its points, repeat it, and compare with one that was never killed.

    Parameters
    ----------
    prepare
        Fills a folder and returns the command that works in it.
    folder
        Where all of this happens.
    rounds
        Kills.
    ended
        Errors of a repetition that finds nothing left to do.
    check
        Asked of each folder at the end.
    """

    def run(place: Path) -> Command:
        place.mkdir()
        return prepare(place)

    points = calls_of(run(folder / "whole"))
    wanted = contents(folder / "whole")
    kills = 0
    for number, point in enumerate(chosen_points(points, rounds)):
        place = folder / f"round {number}"
        command = run(place)
        killed = killed_before(point, command)
        kills += killed

        def again(command: Command = command) -> None:
            with contextlib.suppress(*ended):  # where it was killed after its last change
                command()

        if killed:
            assert not killed_before(10**9, again), point
        assert contents(place) == wanted, point
        assert litter(place) == [], point
        check(place)
        shutil.rmtree(place)
    # Threads and what the system has cached move the last points; all others are reached.
    assert kills > 0.7 * rounds
    sys.stderr.write(f"{rounds} rounds, {kills} killed, {points} points\n")


every_command = pytest.mark.parametrize("rounds", [SHORT, pytest.param(long_rounds(), marks=pytest.mark.slow)])


@every_command
@pytest.mark.parametrize("move", [False, True])
def test_A5_killed_additions(replica: Path, tmp_path: Path, move: bool, rounds: int) -> None:
    session, probe = 715093703, 810755797
    old = replica / f"session_{session}.nwb"
    with EcephysSession(old, unit_filter=UnitFilter.none()) as opened:
        metrics = pd.DataFrame({"fano_dg": 0.5}, index=opened.units.index)
    begun = tmp_path / "begun"
    begun.mkdir()
    EcephysProjectCache(begun, remote=None).add_session(old, metrics=metrics * 2)

    def prepare(place: Path) -> Command:
        shutil.copytree(begun, place / "project")
        new = shutil.copyfile(old, place / "new.nwb")
        lfp = shutil.copyfile(replica / f"probe_{probe}_lfp.nwb", place / "lfp.nwb")
        with new.open("ab") as file:
            file.write(b" ")  # a file of its own

        def add() -> None:
            cache = EcephysProjectCache(place / "project", remote=None)
            cache.add_session(new, metrics=metrics, lfp={probe: lfp}, move=move, replace=True)

        return add

    ended = (MissingFileError,) if move else ()
    survives(prepare, tmp_path, rounds, ended)


@every_command
@pytest.mark.parametrize("form", ["copy", "copy.tar"])
def test_A13_killed_exports(tmp_path: Path, form: str, rounds: int) -> None:
    project = write_project(tmp_path / "project")

    def prepare(place: Path) -> Command:
        return lambda: export(EcephysProjectCache.fixed(project), place / form)

    survives(prepare, tmp_path, rounds, (AlreadyPresentError,))


@every_command
def test_A13_killed_builds(server: FaultyServer, tmp_path: Path, rounds: int) -> None:
    serve_folder(server, write_project(tmp_path / "project"))

    def prepare(place: Path) -> Command:
        return lambda: build(EcephysProjectCache.from_url(server.url, place), jobs=1, progress=False)

    survives(prepare, tmp_path, rounds)


@every_command
def test_A13_killed_fetches(server: FaultyServer, tmp_path: Path, rounds: int) -> None:
    serve_folder(server, write_project(tmp_path / "project"))

    def prepare(place: Path) -> Command:
        def fetch() -> None:
            cache = EcephysProjectCache.from_url(server.url, place)
            cache.get_session_table()
            cache.session_path(101)
            cache.lfp_path(101, 1010)

        return fetch

    survives(prepare, tmp_path, rounds)


@every_command
def test_A13_killed_repairs(server: FaultyServer, tmp_path: Path, rounds: int) -> None:
    project = write_project(tmp_path / "project")
    serve_folder(server, project)
    server.headers = {"x-amz-request-id": "1"}  # as S3 does: the tag is a digest
    damaged = {}
    for name in ("session_101/session_101.nwb", "units.csv"):
        content = bytearray((project / name).read_bytes())
        content[100] ^= 1
        damaged[name] = bytes(content)

    def prepare(place: Path) -> Command:
        shutil.copytree(project, place, dirs_exist_ok=True)
        for name, content in damaged.items():
            (place / name).write_bytes(content)

        def repair() -> None:
            assert verify(EcephysProjectCache.from_url(server.url, place), repair=True).ok

        return repair

    def check(place: Path) -> None:
        """What was damaged is set aside, once each, and nothing else is."""
        aside = {path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob(f"*{ASIDE}*")}
        assert {name.partition(ASIDE)[0]: content for name, content in aside.items()} == damaged
        assert len(aside) == len(damaged)

    survives(prepare, tmp_path, rounds, check=check)


WRITERS = {
    "simulate": ["simulate", "made.nwb", "--scale", "0.005", "--units", "3", "--probes", "1"],
    "metrics": ["metrics", "session.nwb", "--shuffles", "2"],
    "report": ["report", "session.nwb", "page.html"],
}


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of invented pupils
@pytest.mark.parametrize("command", WRITERS)
def test_A13_killed_commands_that_write_a_file(tmp_path: Path, command: str) -> None:
    def prepare(place: Path) -> Command:
        write_small_session(place / "session.nwb")

        def run() -> None:
            os.chdir(place)
            main.main(WRITERS[command], standalone_mode=False)

        return run

    (tmp_path / "first").mkdir()
    with contextlib.chdir(tmp_path):
        prepare(tmp_path / "first")()  # in this process: what is compiled here need not be in each of its copies
    survives(prepare, tmp_path, long_rounds(), (click.ClickException,))
