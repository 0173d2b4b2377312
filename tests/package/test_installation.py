"""What gets installed, what an import costs, and who may import whom."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
ROOMS = {"allen_ecephys": "allen_ecephys", "cache": "allen_ecephys/cache", "processing": "allen_ecephys/processing"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a clean copy of the three rooms."""
    import shutil

    source = tmp_path_factory.mktemp("source")
    for name in (*ROOMS, "pyproject.toml", "README.md", "LICENSE"):
        origin = REPOSITORY / name
        if origin.is_dir():
            shutil.copytree(origin, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(origin, source / name)
    target = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(target), str(source)]
    subprocess.run(build, check=True, capture_output=True)
    (path,) = target.glob("*.whl")
    return path


def test_wheel_installs_one_top_level_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        roots = {name.split("/")[0] for name in archive.namelist()}
    assert roots == {"allen_ecephys", next(r for r in roots if r.endswith(".dist-info"))}


def test_wheel_holds_every_source_file(wheel: Path) -> None:
    expected = {
        f"{installed}/{path.relative_to(REPOSITORY / room).as_posix()}"
        for room, installed in ROOMS.items()
        for path in (REPOSITORY / room).rglob("*.py")
    }
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert expected <= names, f"not packaged: {sorted(expected - names)}"
    assert {"allen_ecephys/py.typed", "allen_ecephys/report.html"} <= names


def test_wheel_runs_where_only_it_is_installed(wheel: Path, tmp_path: Path) -> None:
    """The three rooms import from the wheel alone, and no bare `cache` or `processing` module comes with it."""
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    program = (
        "import importlib.util, sys\n"
        f"sys.path.insert(0, {str(site)!r})\n"
        "import allen_ecephys, allen_ecephys.cache, allen_ecephys.processing\n"
        f"assert allen_ecephys.__file__.startswith({str(site)!r}), allen_ecephys.__file__\n"
        f"assert allen_ecephys.cache.__file__.startswith({str(site)!r}), allen_ecephys.cache.__file__\n"
        "bare = [n for n in ('cache', 'processing') if importlib.util.find_spec(n)]\n"
        "assert not bare, bare\n"
    )
    subprocess.run([sys.executable, "-I", "-S", "-c", _with_site_packages(program)], check=True, cwd=tmp_path)


def _with_site_packages(program: str) -> str:
    """Put the dependencies, but no editable install of this package, on the path of an isolated interpreter."""
    import numpy as np

    return f"import sys\nsys.path.append({str(Path(np.__file__).parents[1])!r})\n{program}"


def test_import_directions_hold(tmp_path: Path) -> None:
    """`[tool.importlinter]` in pyproject.toml says who may import whom; this runs it on all three rooms."""
    package = tmp_path / "allen_ecephys"
    package.mkdir()
    for path in (*(REPOSITORY / "allen_ecephys").iterdir(), REPOSITORY / "cache", REPOSITORY / "processing"):
        (package / path.name).symlink_to(path)
    linter = Path(sys.executable).with_name("lint-imports")
    check = [str(linter), "--no-cache", "--config", str(REPOSITORY / "pyproject.toml")]
    done = subprocess.run(check, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 kept, 0 broken" in done.stdout


def test_import_contracts_cover_every_module() -> None:
    """A module added to the reading room is put under the contract too."""
    with (REPOSITORY / "pyproject.toml").open("rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    covered = {name.removeprefix("allen_ecephys.") for name in contracts[0]["source_modules"]}
    present = {p.stem if p.suffix else p.name for p in (REPOSITORY / "allen_ecephys").iterdir()}
    assert present - covered <= {"__init__", "__pycache__", "py", "cli"}, "uncovered modules of the reading room"


def test_importing_the_package_loads_no_other_library() -> None:
    """`import allen_ecephys` stays cheap because it loads nothing outside the standard library."""
    program = (
        "import sys\n"
        "before = set(sys.modules)\n"
        "import allen_ecephys\n"
        "from allen_ecephys import UnitFilter\n"
        "roots = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "print(*sorted(roots - set(sys.stdlib_module_names) - {'allen_ecephys'}))\n"
    )
    loaded = subprocess.check_output([sys.executable, "-c", program], text=True).split()
    assert not loaded, loaded


def test_unknown_name_is_an_attribute_error() -> None:
    import allen_ecephys

    with pytest.raises(AttributeError, match="no attribute 'EcephysSesion'"):
        allen_ecephys.EcephysSesion  # noqa: B018
