"""Settings: each is an environment variable, listed here and nowhere else, and printed by ``allen-ecephys config``."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from .errors import InvalidTypeError, InvalidValueError, MissingFileError


@dataclass(frozen=True)
class Setting:
    """One environment variable and what it does."""

    variable: str
    meaning: str
    default: str

    @property
    def value(self) -> str:
        """The text in force: the environment's, or the default."""
        return os.environ.get(self.variable) or self.default


CACHE_DIR = Setting(
    "ALLEN_ECEPHYS_CACHE_DIR",
    "folder of the project cache where no manifest is named",
    "the user's cache folder of this operating system",
)
OFFLINE = Setting("ALLEN_ECEPHYS_OFFLINE", "1: never open a network connection", "0")
PROGRESS = Setting("ALLEN_ECEPHYS_PROGRESS", "1: always show progress bars, 0: never", "in terminals and notebooks")
THREADS = Setting("ALLEN_ECEPHYS_THREADS", "threads that read and transfer at once", "the number of cores, at most 8")
SORTER_PYTHON = Setting(
    "ALLEN_ECEPHYS_SORTER_PYTHON",
    "Python interpreter that SpikeInterface and its sorters are installed for",
    "the one that runs this",
)

SETTINGS = (CACHE_DIR, OFFLINE, PROGRESS, THREADS, SORTER_PYTHON)


def cache_dir() -> Path:
    """Return the folder of the project cache: ``ALLEN_ECEPHYS_CACHE_DIR`` or the user's cache folder."""
    chosen = os.environ.get(CACHE_DIR.variable)
    if chosen:
        return expanded(chosen)
    from platformdirs import user_cache_path

    return user_cache_path("allen-ecephys", appauthor=False)


def offline() -> bool:
    """Tell whether network connections are forbidden."""
    return OFFLINE.value.strip().lower() in {"1", "true", "yes", "on"}


def show_progress() -> bool:
    """Tell whether progress bars are shown: by setting, else in terminals and notebooks."""
    chosen = os.environ.get(PROGRESS.variable, "").strip().lower()
    if chosen:
        return chosen in {"1", "true", "yes", "on"}
    return sys.stderr.isatty() or "ipykernel" in sys.modules


def threads() -> int:
    """Return how many threads read or transfer at once."""
    chosen = os.environ.get(THREADS.variable, "").strip()
    if chosen:
        try:
            number = int(chosen)
        except ValueError:
            number = 0
        if number < 1:
            msg = f"{THREADS.variable} must be a whole number of at least 1; got {chosen!r}"
            raise InvalidValueError(msg)
        return number
    return min(8, os.cpu_count() or 1)


def sorter_python() -> str:
    """Return the interpreter that runs SpikeInterface's sorters: by setting, else the one that runs this."""
    return os.environ.get(SORTER_PYTHON.variable, "").strip() or sys.executable


def expanded(path: str | os.PathLike[str]) -> Path:
    """Return a path whose ``~`` is a home folder.

    Raises
    ------
    MissingFileError
        If nobody of that name has one here.
    InvalidTypeError
        If it is no path.
    """
    if not isinstance(os.fspath(path) if isinstance(path, os.PathLike) else path, str):
        msg = f"a path is needed, as text or pathlib.Path; got {path!r:.200}"
        raise InvalidTypeError(msg)
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        msg = f"{path} begins with the home folder of somebody who has none here; name the folder itself"
        raise MissingFileError(msg) from error
