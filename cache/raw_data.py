"""The published raw data of a probe: flat files beside the project's, streamed or downloaded.

In the bucket they lie beside ``ecephys-cache``: ``raw-data/<session>/<probe>/`` with the two bands and the events of
the barcode line, and the session's sync file above them. In a cache they lie below its root under the same names.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from allen_ecephys.errors import OfflineError, RemoteNotFoundError

from .manifest import standard_key
from .remotes.opening import beside

if TYPE_CHECKING:
    from .project_files import ProjectFiles
    from .transfer.streaming import RemoteStream

FOLDER = "raw-data"
SPIKE_BAND, LFP_BAND = "spike_band.dat", "lfp_band.dat"


@dataclass(frozen=True)
class RawData:
    """The raw data of one probe, as files.

    ``allen_ecephys.processing.synchronization.open_released_probe`` puts them on the session's clock; a probe's folder
    that was downloaded is what ``allen-ecephys process run`` takes.

    Attributes
    ----------
    session_id, probe_id
        Whose they are.
    spike_band
        int16, 384 channels at 30 kHz: a path where it was downloaded, else an open file that reads byte ranges.
    lfp_band
        The same at 2.5 kHz; None where there is none.
    event_timestamps, channel_states
        Changes of the barcode line: samples at which, and what it changed to.
    sync
        The session's sync file.

    Examples
    --------
    >>> folder = Path("raw-data/probe")  # files that came by other means
    >>> files = RawData(
    ...     session_id, probe_id, folder / "spike_band.dat", folder / "lfp_band.dat",
    ...     folder / "event_timestamps.npy", folder / "channel_states.npy", Path("raw-data/sync.h5"),
    ... )
    >>> files.folder.name
    'probe'
    """

    session_id: int
    probe_id: int
    spike_band: Path | RemoteStream
    lfp_band: Path | RemoteStream | None
    event_timestamps: Path
    channel_states: Path
    sync: Path

    @property
    def folder(self) -> Path:
        """The probe's folder in the cache.

        Examples
        --------
        >>> of_probe = Path("raw-data/probe")
        >>> parts = [of_probe / name for name in ("spike_band.dat", "event_timestamps.npy", "channel_states.npy")]
        >>> files = RawData(session_id, probe_id, parts[0], None, parts[1], parts[2], Path("raw-data/sync.h5"))
        >>> files.folder.name
        'probe'
        """
        return self.event_timestamps.parent


def session_beside(raw: str | os.PathLike[str]) -> tuple[Path, int] | None:
    """Return the session file that a project cache holds of a probe's raw data, and the probe's id.

    Parameters
    ----------
    raw
        The probe's folder, ``raw-data/<session>/<probe>`` below the cache's root.

    Returns
    -------
    tuple or None
        None where the folder is no cache's, or the cache does not hold the session's file.

    Examples
    --------
    >>> session_beside("raw-data/715093703/810755797") is None
    True
    """
    parts = Path(raw).resolve().parts
    if len(parts) < 4 or parts[-3] != FOLDER or not (parts[-2].isdecimal() and parts[-1].isdecimal()):
        return None
    session, probe = int(parts[-2]), int(parts[-1])
    path = Path(*parts[:-3]) / standard_key("session_nwb", session, session)
    return (path, probe) if path.is_file() else None


def raw_data_of(files: ProjectFiles, session_id: int, probe_id: int, *, download: bool) -> RawData:
    """Return a probe's raw data (:meth:`.EcephysProjectCache.get_raw_data`)."""
    of_session = f"{FOLDER}/{session_id}"
    of_probe = f"{of_session}/{probe_id}"
    spike_band = _band(files, f"{of_probe}/{SPIKE_BAND}", download=download)
    lfp_band: Path | RemoteStream | None
    try:
        lfp_band = _band(files, f"{of_probe}/{LFP_BAND}", download=download)
    except (RemoteNotFoundError, OfflineError):
        lfp_band = None
    return RawData(
        session_id,
        probe_id,
        spike_band,
        lfp_band,
        _fetched(files, f"{of_probe}/event_timestamps.npy"),
        _fetched(files, f"{of_probe}/channel_states.npy"),
        _fetched(files, f"{of_session}/sync.h5"),
    )


def _fetched(files: ProjectFiles, key: str) -> Path:
    """Return the path of a file, fetching it if it is not there."""
    path = files.root / key
    if path.is_file():
        return path
    if files.remote is None:
        msg = f"{path} is not there, and this cache never fetches (fixed). Copy it there, or use a cache with a remote"
        raise OfflineError(msg)
    from .transfer.fetch import fetch

    return fetch(beside(files.remote), key, path)


def _band(files: ProjectFiles, key: str, *, download: bool) -> Path | RemoteStream:
    """Return a band as a path if it is there or is to be, else as an open file that reads byte ranges."""
    if download or files.remote is None or (files.root / key).is_file():
        return _fetched(files, key)
    from .transfer.streaming import open_stream

    stream = open_stream(beside(files.remote), key, files.root)
    stream.closes_with_reader = True
    return stream
