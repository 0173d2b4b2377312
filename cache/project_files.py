"""The files of one project cache: where each lies, and bringing it there when it is first asked for."""

from __future__ import annotations

import logging
import operator
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from allen_ecephys.config import cache_dir, expanded
from allen_ecephys.errors import AccessError, ManifestError, MissingFileError, OfflineError, UnknownIdError

from . import manifest as manifests
from .changes import is_pending
from .remotes.protocol import Remote

logger = logging.getLogger(__name__)


class ProjectFiles:
    """A cache folder with its manifest, and the remote that completes it.

    Parameters
    ----------
    manifest
        Manifest file, the folder that holds it, or None for the user's cache folder.
    remote
        Where missing files come from, or None.
    mirrors
        Remotes that hold the same files, asked in turn where `remote` fails.

    Raises
    ------
    ManifestError
        If the manifest is none, or of another version than 0.3.0; if there is no folder and no remote.
    AccessError
        If the folder has to be made and cannot be.
    """

    def __init__(self, manifest: str | Path | None, remote: Remote | None, mirrors: Sequence[Remote] = ()) -> None:
        self.manifest_path = manifest_path(manifest)
        self.remote = remote
        self.mirrors = tuple(mirrors)
        self.manifest = self._open_manifest()
        if is_pending(self.root):
            logger.warning(
                "a session is being added to %s, or a process that did so was killed: its tables may not fit its files "
                "yet. Adding the session again, or any other, completes it",
                self.root,
            )

    @property
    def root(self) -> Path:
        """The folder that holds the cache's files."""
        return self.manifest.root

    def path_of(self, name: str, *values: int | str, progress: bool = True) -> Path:
        """Return the path of a file of the cache, fetching it if it is not there.

        Parameters
        ----------
        name
            Its name in the manifest (``units``, ``session_nwb``, ``probe_lfp_nwb``, ...).
        values
            The ids in its path, from the outermost folder inwards.
        progress
            Show a progress bar, where the settings allow one.

        Raises
        ------
        OfflineError
            If it is not there and the cache has no remote, or may not use the network.
        RemoteNotFoundError, AccessError, DownloadError, CorruptFileError, DiskFullError
            See :func:`.download.fetch`.
        """
        path = self.manifest.path(name, *values)
        if path.is_file():
            # What is there is used as it is: neither a failed read nor an unreachable server may cost a good file.
            self._clear_leftovers(path)
            return path
        if self.remote is None:
            msg = (
                f"{path} is not there, and this cache never fetches (fixed). Fetch it with a cache that has a remote, "
                f"for example EcephysProjectCache.from_s3({str(self.root)!r}), or copy it there"
            )
            raise OfflineError(msg)
        from .transfer.fetch import fetch

        key = manifests.standard_key(name, *values)
        return fetch(self.remote, key, path, progress=progress, mirrors=self.mirrors)

    def _clear_leftovers(self, path: Path) -> None:
        """Remove what a process that was killed after it had published a file left beside it."""
        from .transfer.parts import lock_path

        if self.remote is not None and lock_path(path).exists():
            from .transfer.fetch import clear_leftovers

            clear_leftovers(path)

    def _open_manifest(self) -> manifests.Manifest:
        path = self.manifest_path
        if path.is_file():
            return manifests.read(path)
        folder = path.absolute().parent
        if self.remote is None:
            if not folder.is_dir():
                msg = (
                    f"there is no cache at {path}: fixed() uses an existing one. Make one with from_s3() or "
                    f"from_url(); a project of your own begins with an empty folder: make {folder}"
                )
                raise ManifestError(msg)
            return manifests.standard(folder)
        place = getattr(self.remote, "folder", None)
        if isinstance(place, Path) and not place.is_dir():
            msg = f"there is no folder {place} to fetch from; check the path, and that its drive is mounted"
            raise MissingFileError(msg)
        try:
            return manifests.write(path)
        except AccessError:
            if (folder / "sessions.csv").is_file():  # a mounted, read-only mirror needs no manifest
                return manifests.standard(folder)
            raise


def manifest_path(manifest: str | Path | None) -> Path:
    """Return the manifest file that the argument of a constructor names."""
    if manifest is None:
        return cache_dir() / manifests.FILE_NAME
    path = expanded(manifest)
    if "://" in str(manifest):
        msg = (
            f"manifest is a file or folder of this machine, not {str(manifest)!r}: where files come from is the url of "
            "EcephysProjectCache.from_url(url, manifest=...)"
        )
        raise ManifestError(msg)
    if path.is_file() and path.suffix != ".json":
        msg = f"{path} is neither a manifest (.json) nor a folder; EcephysSession opens an NWB file by itself"
        raise ManifestError(msg)
    return path if path.suffix == ".json" and not path.is_dir() else path / manifests.FILE_NAME


def whole_number(value: Any, what: str) -> int:
    """Return an id as a Python integer.

    Raises
    ------
    UnknownIdError
        If it is no whole number.
    """
    try:
        if not isinstance(value, bool):
            return operator.index(int(value) if isinstance(value, float) and value.is_integer() else value)
    except TypeError:
        pass
    msg = f"{value!r} is no {what} id: ids are whole numbers"
    raise UnknownIdError(msg)


def project_files(root: Path) -> list[Path]:
    """Return the project's files in a cache folder: tables, metrics, NWB files, templates."""
    patterns = (
        "*.csv",
        "session_*/session_*.nwb",
        "session_*/session_*_analysis_metrics.csv",
        "session_*/probe_*_lfp.nwb",
        "natural_movie_templates/natural_movie_*.h5",
        "natural_scene_templates/natural_scene_*.tiff",
    )
    return [path for pattern in patterns for path in sorted(root.glob(pattern)) if path.is_file()]
