"""What gets installed, what an import costs, and who may import whom."""

from __future__ import annotations

import email
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
ROOMS = {"allen_ecephys": "allen_ecephys", "cache": "allen_ecephys/cache", "processing": "allen_ecephys/processing"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a clean copy of the three rooms, links and all."""
    source = tmp_path_factory.mktemp("source")
    for name in (*ROOMS, "pyproject.toml", "README.md", "LICENSE"):
        origin = REPOSITORY / name
        if origin.is_dir():
            shutil.copytree(origin, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(origin, source / name)
    target = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(target), str(source)]
    subprocess.run(build, check=True, capture_output=True)
    (path,) = target.glob("*.whl")
    return path


def test_source_archive_holds_what_a_packager_needs(tmp_path: Path) -> None:
    """Tests, pages, examples, changelog, conduct and licence go along; nothing that was built does."""
    listed = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a clone: git does not tell which files belong to the project")
    source = tmp_path / "source"
    for name in listed.stdout.splitlines():
        origin, copy = REPOSITORY / name, source / name
        if origin.is_symlink() or origin.is_file():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(origin, copy, follow_symlinks=False)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--target"]
    builder = tmp_path / "builder"
    subprocess.run([*pip, str(builder), "setuptools>=77"], check=True, capture_output=True)
    program = f"import sys; sys.path.insert(0, {str(builder)!r}); from setuptools.build_meta import build_sdist as b; "
    program += f"b({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", program], cwd=source, check=True, capture_output=True)
    [archive] = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    wanted = {"CHANGELOG.md", "CITATION.cff", "CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "LICENSE", "README.md"}
    wanted |= {"pyproject.toml", "docs/howto.md", "examples/quickstart.ipynb", "tests/conftest.py"}
    wanted |= {"allen_ecephys/cache/project_cache.py", "allen_ecephys/processing/recording.py"}
    wanted |= {"allen_ecephys/report/report.html"}
    assert wanted <= names, sorted(wanted - names)
    assert not [name for name in names if "_build/" in name or name.endswith(".pyc")]


def test_metadata_say_who_where_and_for_whom(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith("METADATA")]
        metadata = email.message_from_bytes(archive.read(name))
    assert metadata["Author"] or metadata["Author-email"]
    assert len(metadata.get_all("Project-URL", [])) >= 2
    classifiers = metadata.get_all("Classifier", [])
    for version in ("3.11", "3.12", "3.13"):
        assert f"Programming Language :: Python :: {version}" in classifiers
    assert {"docs", "test", "all"} <= set(metadata.get_all("Provides-Extra", []))
    assert metadata["License-Expression"] == "BSD-3-Clause"


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
    assert {"allen_ecephys/py.typed", "allen_ecephys/report/report.html"} <= names


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
        "folders = ('cache', 'processing', 'tests', 'benchmarks', 'examples')\n"
        "bare = [n for n in folders if importlib.util.find_spec(n)]\n"
        "assert not bare, bare\n"
    )
    subprocess.run([sys.executable, "-I", "-S", "-c", _with_site_packages(program)], check=True, cwd=tmp_path)


def _with_site_packages(program: str) -> str:
    """Put the dependencies, but no editable install of this package, on the path of an isolated interpreter."""
    import numpy as np

    return f"import sys\nsys.path.append({str(Path(np.__file__).parents[1])!r})\n{program}"


def test_import_directions_hold() -> None:
    """`[tool.importlinter]` in pyproject.toml says who may import whom, imports for type checking included."""
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([str(linter), "--no-cache"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_clone_works_from_its_own_root() -> None:
    """With the dependencies installed, and this package not, the three rooms import from the root of a clone."""
    program = (
        "from allen_ecephys import EcephysProjectCache, EcephysSession\n"
        "import allen_ecephys.cache, allen_ecephys.processing\n"
        "print(allen_ecephys.processing.__file__)\n"
    )
    command = [sys.executable, "-S", "-c", f"import sys\nsys.path.insert(0, '')\n{_with_site_packages(program)}"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()) == REPOSITORY / "allen_ecephys" / "processing" / "__init__.py"


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


def test_modules_of_unix_alone_are_not_needed_to_import() -> None:
    """Windows has neither `fcntl` nor `resource`: whatever needs them says so, or does without, when it is used."""
    program = (
        "import importlib, pkgutil, sys, warnings\n"
        "for name in ('fcntl', 'resource', 'pwd', 'grp', 'termios'):\n"
        "    sys.modules[name] = None\n"
        "import allen_ecephys\n"
        "found = [m.name for m in pkgutil.walk_packages(allen_ecephys.__path__, 'allen_ecephys.')]\n"
        "ours = []\n"
        "for name in found:\n"
        "    try:\n"
        "        importlib.import_module(name)\n"
        "    except ImportError as error:\n"
        "        if 'None in sys.modules' in str(error):\n"
        "            ours.append(f'{name}: {error}')\n"
        "print(len(found), *ours, sep='\\n')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    number, *ours = done.stdout.splitlines()
    assert int(number) > 150
    assert ours == []


@pytest.mark.parametrize("imported", ["", "import numba"])
def test_compiled_code_has_a_place_where_neither_package_nor_home_can_be_written(
    tmp_path: Path, imported: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shared installation, a user without a home: numba alone ends in "no locator available"."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    lines = (
        "import os; may = os.access; os.access = lambda path, mode: mode != os.W_OK and may(path, mode)",
        imported,
        "import allen_ecephys, numba; print(numba.config.CACHE_DIR)",
    )
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    place = Path(done.stdout.strip())
    assert place.parent == tmp_path
    assert place.stat().st_mode & 0o777 == 0o700
    again = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    assert again.stdout == done.stdout  # compiled once for all processes of a user
