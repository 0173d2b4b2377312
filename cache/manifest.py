"""The manifest: the JSON file that names every file of a project cache (AllenSDK's format, version 0.3.0)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from allen_ecephys.errors import AccessError, ManifestError, UnsafePathError, suggest
from allen_ecephys.files import read_regular, write_atomically

from .remotes.protocol import safe_key
from .writing import refused

VERSION: Final = "0.3.0"
FILE_NAME: Final = "manifest.json"
_LONGEST: Final = 1 << 20

#: Name -> (kind, spec, parent), in the order of the released manifest.
LAYOUT: Final[Mapping[str, tuple[str, str, str | None]]] = {
    "BASEDIR": ("dir", ".", None),
    "sessions": ("file", "sessions.csv", "BASEDIR"),
    "probes": ("file", "probes.csv", "BASEDIR"),
    "channels": ("file", "channels.csv", "BASEDIR"),
    "units": ("file", "units.csv", "BASEDIR"),
    "session_data": ("dir", "session_%d", "BASEDIR"),
    "session_nwb": ("file", "session_%d.nwb", "session_data"),
    "session_analysis_metrics": ("file", "session_%d_analysis_metrics.csv", "session_data"),
    "probe_lfp_nwb": ("file", "probe_%d_lfp.nwb", "session_data"),
    "movie_dir": ("dir", "natural_movie_templates", "BASEDIR"),
    "typewise_analysis_metrics": ("file", "%s_analysis_metrics.csv", "BASEDIR"),
    "natural_movie": ("file", "natural_movie_%d.h5", "movie_dir"),
    "natural_scene_dir": ("dir", "natural_scene_templates", "BASEDIR"),
    "natural_scene": ("file", "natural_scene_%d.tiff", "natural_scene_dir"),
}

_PLACEHOLDER = re.compile(r"%[ds]")


class ManifestVersionError(ManifestError):
    """A manifest of another version.

    Attributes
    ----------
    version, found_version
        The version asked for, and the file's.
    outdated
        Whether the file is older; None if the two cannot be compared.
    """

    def __init__(self, message: str, version: str, found_version: str | None, *, outdated: bool | None) -> None:
        super().__init__(message)
        self.version, self.found_version, self.outdated = version, found_version, outdated


@dataclass(frozen=True)
class Manifest:
    """Where each file of a cache is.

    Attributes
    ----------
    root
        Folder that holds everything.
    entries
        Name -> (kind, spec, parent).
    """

    root: Path
    entries: Mapping[str, tuple[str, str, str | None]]

    def key(self, name: str, *values: int | str) -> str:
        """Return the path, relative to the root, of the file called `name` in the manifest.

        Parameters
        ----------
        name
            ``sessions``, ``session_nwb``, ``probe_lfp_nwb``, ...
        values
            What fills the placeholders, from the outermost folder inwards: ``key("probe_lfp_nwb", session, probe)``.

        Raises
        ------
        ManifestError
            If the manifest has no such name, or the values do not fit.
        UnsafePathError
            If the path would leave the root.
        """
        specs: list[str] = []
        at: str | None = name
        while at is not None:
            if at not in self.entries:
                msg = f"the manifest of {self.root} has no entry {at!r}{suggest(at, self.entries)}"
                raise ManifestError(msg)
            _, spec, at = self.entries[at]
            if spec != ".":
                specs.insert(0, spec)
        pattern = "/".join(specs)
        if len(_PLACEHOLDER.findall(pattern)) != len(values):
            msg = f"the manifest's path {pattern!r} of {name!r} takes another number of ids than {values}"
            raise ManifestError(msg)
        for value in values:
            if "/" in str(value):
                msg = f"{value!r} is no id or name of a file"
                raise UnsafePathError(msg)
        remaining = iter(values)
        return safe_key(_PLACEHOLDER.sub(lambda _: str(next(remaining)), pattern))

    def path(self, name: str, *values: int | str) -> Path:
        """Return the absolute path of a file (see :meth:`key`)."""
        return self.root / self.key(name, *values)


def standard(root: str | Path) -> Manifest:
    """Return the released layout below `root`."""
    return Manifest(Path(root), LAYOUT)


def standard_key(name: str, *values: int | str) -> str:
    """Return the key under which the release has a file (see :meth:`Manifest.key`)."""
    return standard(".").key(name, *values)


def read(path: str | Path) -> Manifest:
    """Read a manifest file.

    Raises
    ------
    ManifestError
        If it is no manifest, or names a path outside its folder.
    ManifestVersionError
        If it is of another version than 0.3.0.
    """
    path = Path(path)
    try:
        content = json.loads(read_regular(path, _LONGEST))
    except OSError as error:
        msg = f"{path} cannot be read ({error.strerror}); see to its permissions"
        raise AccessError(msg) from error
    except (ValueError, RecursionError) as error:
        msg = f"{path} is no manifest: it is not JSON ({error}). Move it away, and a new one is written"
        raise ManifestError(msg) from error
    rows = content.get("manifest") if isinstance(content, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        msg = f"{path} is no manifest: it has no list 'manifest'. Move it away, and a new one is written"
        raise ManifestError(msg)
    _check_version(path, next((row.get("value") for row in rows if row.get("type") == "manifest_version"), None))
    entries = dict(_entry(path, row) for row in rows if row.get("type") != "manifest_version")
    # A manifest by another writer may leave out names it does not use; the released layout stands in for them.
    manifest = Manifest(path.absolute().parent, {**LAYOUT, **entries})
    for name in manifest.entries:
        _check_parents(path, manifest, name)
    return manifest


def write(path: str | Path) -> Manifest:
    """Write the manifest of the released layout, making its folder, and return it.

    Raises
    ------
    AccessError
        If the folder cannot be written.
    """
    path = Path(path)
    try:
        write_atomically(path, content_of_standard())
    except AccessError as error:
        if isinstance(error.__cause__, OSError):
            raise refused(path.parent, error.__cause__) from error.__cause__
        raise
    return standard(path.absolute().parent)


def content_of_standard() -> bytes:
    """Return the manifest file of the released layout."""
    rows: list[dict[str, str]] = [{"type": "manifest_version", "value": VERSION}]
    for name, (kind, spec, parent) in LAYOUT.items():
        rows.append({"key": name, "type": kind, "spec": spec} | ({"parent_key": parent} if parent else {}))
    return json.dumps({"manifest": rows}, indent=2).encode()


def _check_version(path: Path, found: Any) -> None:
    if found == VERSION:
        return
    numbers = [int(n) for n in str(found).split(".")] if re.fullmatch(r"\d{1,6}(\.\d{1,6})*", str(found)) else None
    ours = [int(n) for n in VERSION.split(".")]
    outdated = None if numbers is None else numbers < ours
    how = {None: "states no version that can be read", True: "is older", False: "is newer"}[outdated]
    msg = (
        f"{path} {how}: its version is {found!r}, this package reads {VERSION!r}. Files of another version may differ "
        "from the 2020 release; choose a new folder, or move this manifest away to have a new one written"
    )
    raise ManifestVersionError(msg, VERSION, None if found is None else str(found), outdated=outdated)


def _entry(path: Path, row: dict[str, Any]) -> tuple[str, tuple[str, str, str | None]]:
    name, kind, spec, parent = (row.get(field) for field in ("key", "type", "spec", "parent_key"))
    if not isinstance(name, str) or kind not in ("dir", "file") or not isinstance(spec, str):
        msg = f"{path} is no manifest: the entry {row!r} lacks key, type (dir or file) or spec"
        raise ManifestError(msg)
    if parent is not None and not isinstance(parent, str):
        msg = f"{path} is no manifest: the entry {row!r} has a parent_key that is no name"
        raise ManifestError(msg)
    if spec != ".":
        try:
            filled = safe_key(_PLACEHOLDER.sub("1", spec))
        except UnsafePathError as error:
            msg = f"{path} is refused: its entry {name!r} names a path outside its folder. {error}"
            raise ManifestError(msg) from error
        if "%" in filled:
            msg = f"{path} is no manifest: the path {spec!r} of {name!r} holds something else than %d and %s"
            raise ManifestError(msg)
    return name, (kind, spec, parent)


def _check_parents(path: Path, manifest: Manifest, name: str) -> None:
    seen: set[str] = set()
    at: str | None = name
    while at is not None:
        if at in seen or at not in manifest.entries:
            msg = f"{path} is no manifest: the parents of {name!r} {'form a circle' if at in seen else 'are missing'}"
            raise ManifestError(msg)
        seen.add(at)
        at = manifest.entries[at][2]
