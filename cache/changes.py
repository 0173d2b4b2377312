"""Several files of a project changed as one.

Everything new is staged whole in one hidden folder, which appears by a rename; only then are files of the project
replaced, one rename each. A process that dies before that rename has changed nothing; one that dies after it has left
all that is needed to finish, which the next change does first.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from allen_ecephys.errors import FileFormatError, UnsafePathError
from allen_ecephys.files import atomic_file, atomic_folder, draft_of, read_regular, remove_abandoned_drafts, sync_folder

from .remotes.protocol import safe_key
from .transfer.checks import check_file, note_checked
from .writing import refused

FOLDER: Final = ".change"
_RECORD: Final = "record.json"
_FORMAT: Final = 1


class StagedChange:
    """New files of a project, being put together in a folder that nobody reads yet."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: list[dict[str, str]] = []
        self._removed: list[str] = []

    def write(self, key: str, content: bytes) -> None:
        """Stage a file by its contents."""
        staged = self._folder / str(len(self._files))
        staged.write_bytes(content)
        self._files.append({"key": safe_key(key)})

    def take(self, source: Path, key: str, *, link: bool) -> None:
        """Stage a copy of a file, and its digest; if `link`, by a second name for the same bytes where that works."""
        staged = self._folder / str(len(self._files))
        if link:
            with contextlib.suppress(OSError):  # another disk, or one that knows no links
                os.link(source, staged)
        if not staged.exists():
            shutil.copyfile(source, staged)
        algorithm, digest, _ = check_file(staged, None, name=str(source))
        self._files.append({"key": safe_key(key), "algorithm": algorithm, "digest": digest})

    def remove(self, key: str) -> None:
        """Stage the removal of a file."""
        self._removed.append(safe_key(key))

    def record(self, about: Mapping[str, Any]) -> None:
        """Write down what the folder holds."""
        content = {"format": _FORMAT, "about": about, "files": self._files, "removed": self._removed}
        (self._folder / _RECORD).write_text(json.dumps(content), encoding="utf-8")


@contextlib.contextmanager
def staged_change(root: Path, about: Mapping[str, Any]) -> Iterator[StagedChange]:
    """Stage a change of the project in `root`; it is decided when the block ends without an error.

    Parameters
    ----------
    root
        The project's folder, without a pending change (:func:`finish` it first).
    about
        What :func:`finish` tells about it, for JSON.

    Raises
    ------
    AccessError, DiskFullError
        If the folder cannot be written; nothing of the project was touched.
    """
    with atomic_folder(root / FOLDER) as folder:
        change = StagedChange(folder)
        yield change
        change.record(about)


def is_pending(root: Path) -> bool:
    """Tell whether a change of the project was decided and is not finished."""
    return (root / FOLDER).is_dir()


def finish(root: Path) -> dict[str, Any] | None:
    """Put the files of a decided change in place, as often as it takes; None if there is none.

    The change stays pending until :func:`forget`.

    Returns
    -------
    dict
        What was said about it, and ``digests``: key -> (algorithm, digest) of the files that were taken.

    Raises
    ------
    FileFormatError
        If what was staged cannot be read; nothing is touched.
    AccessError, DiskFullError
        If the folder cannot be written.
    """
    folder = root / FOLDER
    remove_abandoned_drafts(root)
    if not is_pending(root):
        return None
    files, removed, about = _read(folder)
    digests: dict[str, tuple[str, str]] = {}
    try:
        for number, entry in enumerate(files):
            staged, target = folder / str(number), root / entry["key"]
            if staged.exists():
                _put(staged, target)
            if "digest" in entry:
                digests[entry["key"]] = (entry["algorithm"], entry["digest"])
                note_checked(target, *digests[entry["key"]], verified=False)
        for key in removed:
            (root / key).unlink(missing_ok=True)
    except OSError as error:
        raise refused(root, error) from error
    return {**about, "digests": digests}


def forget(root: Path) -> None:
    """Remove what is left of a finished change."""
    doomed = draft_of(root / FOLDER)
    with contextlib.suppress(FileNotFoundError):
        (root / FOLDER).rename(doomed)  # at once: a folder without its record could not be understood
    shutil.rmtree(doomed, ignore_errors=True)


def _read(folder: Path) -> tuple[list[dict[str, str]], list[str], dict[str, Any]]:
    try:
        content = json.loads(read_regular(folder / _RECORD))
        files = [{str(name): str(value) for name, value in entry.items()} for entry in content["files"]]
        keys = [*(entry["key"] for entry in files), *content["removed"]]
        for key in keys:
            safe_key(key)
        if content["format"] == _FORMAT and isinstance(content["about"], dict):
            return files, list(content["removed"]), content["about"]
        reason = f"its format is {content['format']!r}"
    except (OSError, ValueError, LookupError, TypeError, AttributeError, UnsafePathError) as error:
        reason = str(error)
    msg = f"{folder} should hold a change of the project that was cut off, but {reason}. Look at it and move it away"
    raise FileFormatError(msg)


def _put(staged: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.replace(staged, target)  # noqa: PTH105  one name for it here and in traces of system calls
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with staged.open("rb") as source, atomic_file(target) as copy:  # the folder lies on a disk of its own
            shutil.copyfileobj(source, copy)
        staged.unlink()
    sync_folder(target.parent)
