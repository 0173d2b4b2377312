"""Where code that numba compiles is kept for the next process.

Numba keeps it beside the package, else in the user's cache folder; where neither can be written (a cluster's shared
installation, a container without a home), importing a kernel would end in its error that there is "no locator".
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Final

#: What numba itself asks for the folder.
VARIABLE: Final = "NUMBA_CACHE_DIR"
_THREADS: Final = "NUMBA_NUM_THREADS"


def give_it_a_place() -> None:
    """Name a folder for compiled code, below the system's temporary one, where numba would find none."""
    if os.environ.get(VARIABLE) or not hasattr(os, "getuid"):
        return
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111  as numba does
    if any(_can_be_written(Path(place)) for place in (Path(__file__).parent, home)):
        return
    import tempfile

    folder = Path(tempfile.gettempdir()) / f"allen-ecephys-compiled-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        mine = folder.stat().st_uid == os.getuid()
    except OSError:
        mine = False
    if not mine:  # what another user compiled is not run
        folder = Path(tempfile.mkdtemp(prefix="allen-ecephys-compiled-"))
    os.environ[VARIABLE] = str(folder)
    if "numba" in sys.modules:  # which has read the environment already
        sys.modules["numba"].config.CACHE_DIR = str(folder)


def check_threads_of_numba() -> None:
    """Raise if numba is told a number of threads with which it cannot be imported.

    Raises
    ------
    InvalidValueError
        If the number is not positive; what is no number at all, numba itself passes over.
    """
    from .errors import InvalidValueError

    told = os.environ.get(_THREADS, "")
    if re.fullmatch(r"\s*(-\d+|0+)\s*", told):
        msg = f"{_THREADS}={told} lets nothing be computed; set it to 1 or more, or not at all"
        raise InvalidValueError(msg)


def _can_be_written(place: Path) -> bool:
    """Tell whether a folder can be written, or made where it is missing."""
    there = next((folder for folder in (place, *place.parents) if folder.exists()), None)
    return there is not None and os.access(there, os.W_OK)
