"""Rows A5 and A13: each command that writes into a cache, killed at every point, repeated, and compared."""

from __future__ import annotations

import contextlib
import itertools
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from faulty_server import FaultyServer
from kill_points import killed_before
from small_project import serve_folder, write_project

from allen_ecephys.cache import EcephysProjectCache
from allen_ecephys.cache.offline.build import build
from allen_ecephys.cache.offline.export import export
from allen_ecephys.cache.offline.verify import verify
from allen_ecephys.errors import AlreadyPresentError, MissingFileError
from allen_ecephys.session.session import EcephysSession
from allen_ecephys.units.filter import UnitFilter

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

Command = Callable[[], object]
#: Points that the short run tries, of those that there are.
SHORT = 8


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder; the index, which states times and inodes, by name, and dates left out."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            content = b"" if path.name.startswith(".allen-ecephys-index") else path.read_bytes()
            if path.suffix in {".csv", ".tar"}:
                content = re.sub(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", b"then", content)
            found[path.relative_to(folder).as_posix()] = content if path.suffix != ".tar" else b"%d" % len(content)
    return found


def litter(folder: Path) -> list[str]:
    marks = (".draft", ".part", ".lock", ".change")
    return [str(path) for path in folder.rglob("*") if any(mark in path.name for mark in marks)]


def survives(
    prepare: Callable[[Path], Command], folder: Path, *, every: bool, ended: tuple[type[Exception], ...]
) -> int:
    """Kill a command at its points, repeat it, and compare with one that was never killed; return the kills."""

    def run(place: Path) -> Command:
        place.mkdir()
        return prepare(place)

    assert not killed_before(10**9, run(folder / "whole"))
    wanted = contents(folder / "whole")
    points = 1
    while killed_before(points, run(folder / f"count {points}")):  # how many points there are, to about a fifth
        shutil.rmtree(folder / f"count {points}")
        points += 1 + points // 4
    chosen = list(range(points)) if every else sorted(random.Random(1).sample(range(points), min(points, SHORT)))
    kills = 0
    for point in chosen:
        place = folder / f"at {point}"
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
        shutil.rmtree(place)
    return kills


every_point = pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.slow)])


@every_point
@pytest.mark.parametrize("move", [False, True])
def test_A5_killed_additions(replica: Path, tmp_path: Path, move: bool, every: bool) -> None:
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
    assert survives(prepare, tmp_path, every=every, ended=ended) >= 1


@every_point
@pytest.mark.parametrize("form", ["copy", "copy.tar"])
def test_A13_killed_exports(tmp_path: Path, form: str, every: bool) -> None:
    project = write_project(tmp_path / "project")

    def prepare(place: Path) -> Command:
        return lambda: export(EcephysProjectCache.fixed(project), place / form)

    assert survives(prepare, tmp_path, every=every, ended=(AlreadyPresentError,)) >= 1


@every_point
def test_A13_killed_builds(server: FaultyServer, tmp_path: Path, every: bool) -> None:
    serve_folder(server, write_project(tmp_path / "project"))

    def prepare(place: Path) -> Command:
        return lambda: build(EcephysProjectCache.from_url(server.url, place), jobs=1, progress=False)

    assert survives(prepare, tmp_path, every=every, ended=()) >= 1


@every_point
def test_A13_killed_repairs(server: FaultyServer, tmp_path: Path, every: bool) -> None:
    project = write_project(tmp_path / "project")
    serve_folder(server, project)
    server.headers = {"x-amz-request-id": "1"}  # as S3 does: the tag is a digest

    def prepare(place: Path) -> Command:
        shutil.copytree(project, place, dirs_exist_ok=True)
        for name, at in itertools.product(["session_101/session_101.nwb", "units.csv"], [100]):
            content = bytearray((place / name).read_bytes())
            content[at] ^= 1
            (place / name).write_bytes(content)

        def repair() -> None:
            assert verify(EcephysProjectCache.from_url(server.url, place), repair=True).ok
            aside = sorted(place.rglob("*.corrupt-*"))
            assert len(aside) >= 1
            for path in aside:
                path.unlink()

        return repair

    # Whoever removes the damaged files too has nothing to find at the second time.
    assert survives(prepare, tmp_path, every=every, ended=(AssertionError,)) >= 1
