"""The project cache: every table and NWB file of the release, or of a laboratory's own project, on demand."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from allen_ecephys.units.filter import UnitFilter

from .manifest import Manifest, standard_key
from .project_files import ProjectFiles, whole_number
from .remotes.opening import remote_at
from .remotes.protocol import PUBLIC_URL, Remote
from .table_queries import TableQueries, chosen_filter

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from allen_ecephys.session.session import EcephysSession

    from .offline.plan import Plan, Selection
    from .transfer.streaming import RemoteStream


class EcephysProjectCache(TableQueries):
    """Tables and NWB files of a project, fetched when first asked for and kept in one folder.

    Usually made by :meth:`from_s3`, :meth:`from_url`, :meth:`from_warehouse`, :meth:`from_dandi` or :meth:`fixed`.
    The folder's layout and manifest are AllenSDK's, so that its caches are used as they are.

    Parameters
    ----------
    manifest
        Manifest file (``.../manifest.json``), or the folder that holds it; made if it does not exist. By default in
        ``ALLEN_ECEPHYS_CACHE_DIR`` or the user's cache folder.
    remote
        Where missing files come from: a :class:`.Remote`, a URL or folder; ``None``: nowhere.
    mirrors
        Further places that hold the same files, asked in turn where `remote` fails. They go on where it broke off; a
        file of another size than `remote` states is refused. Streaming reads from `remote` only.

    Raises
    ------
    ManifestError
        If the manifest is none, or of another version than 0.3.0.
    AccessError
        If the folder has to be made and cannot be.
    """

    def __init__(
        self,
        manifest: str | Path | None = None,
        remote: Remote | str | Path | None = PUBLIC_URL,
        *,
        mirrors: Sequence[Remote | str | Path] = (),
    ) -> None:
        place = None if remote is None else _opened(remote)
        super().__init__(ProjectFiles(manifest, place, [_opened(mirror) for mirror in mirrors]))

    # --- constructors --------------------------------------------------------------------------------------------

    @classmethod
    def from_s3(
        cls, manifest: str | Path | None = None, *, mirrors: Sequence[Remote | str | Path] = ()
    ) -> EcephysProjectCache:
        """Return a cache of the public bucket, read over HTTPS without credentials.

        Parameters
        ----------
        manifest, mirrors
            Manifest file or cache folder, and where else the files are (see the class).
        """
        return cls(manifest, PUBLIC_URL, mirrors=mirrors)

    @classmethod
    def from_url(
        cls,
        url: str | Path,
        manifest: str | Path | None = None,
        *,
        storage_options: Mapping[str, Any] | None = None,
        mirrors: Sequence[Remote | str | Path] = (),
    ) -> EcephysProjectCache:
        """Return a cache of the files below a URL or in a folder, laid out as the release is.

        Parameters
        ----------
        url
            ``https://...``, a folder, ``s3://bucket/prefix`` (extra ``s3``), or any other URL that fsspec knows.
        manifest, mirrors
            Manifest file or cache folder, and where else the files are (see the class).
        storage_options
            Passed to the fsspec file system, for example credentials or an ``endpoint_url``.
        """
        return cls(manifest, remote_at(url, storage_options=storage_options), mirrors=mirrors)

    @classmethod
    def from_warehouse(
        cls,
        manifest: str | Path | None = None,
        *,
        scheme: str = "http",
        host: str = "api.brain-map.org",
        timeout: float = 30.0,
    ) -> EcephysProjectCache:
        """Return a cache of the Allen Institute's warehouse API.

        Parameters
        ----------
        manifest
            Manifest file or cache folder (see the class).
        scheme, host
            Address of the API.
        timeout
            Longest silence (s) within an answer: after it the request counts as failed, and what is missing is asked
            for again. There is no limit on the time of a whole transfer, which AllenSDK's argument of this name sets.
        """
        from .remotes.warehouse import WarehouseRemote

        return cls(manifest, WarehouseRemote(scheme=scheme, host=host, timeout=timeout))

    @classmethod
    def from_dandi(
        cls,
        manifest: str | Path | None = None,
        *,
        listing: str | Path | None = None,
        tables: Remote | str | Path | None = PUBLIC_URL,
    ) -> EcephysProjectCache:
        """Return a cache whose NWB files come from the DANDI archive.

        Parameters
        ----------
        manifest
            Manifest file or cache folder (see the class).
        listing
            Asset listing of the dandiset, a JSON file in the archive's format, or its URL. By default the listing of
            DANDI:000021 (*Brain Observatory 1.1*) that ships with the package.
        tables
            Where the tables, metrics and templates come from, which the archive does not have: a remote, URL or folder.
        """
        from .remotes.dandi import DandiRemote

        return cls(manifest, DandiRemote(listing, tables=tables))

    @classmethod
    def fixed(cls, manifest: str | Path | None = None) -> EcephysProjectCache:
        """Return a cache that uses what its folder holds and never opens a network connection.

        Parameters
        ----------
        manifest
            Manifest file or cache folder (see the class); must exist. Nothing is written to it.
        """
        return cls(manifest, None)

    # --- sessions ------------------------------------------------------------------------------------------------

    def get_session_data(
        self,
        session_id: int,
        filter_by_validity: bool = True,
        *,
        unit_filter: UnitFilter | None = None,
        amplitude_cutoff_maximum: float | None = 0.1,
        presence_ratio_minimum: float | None = 0.95,
        isi_violations_maximum: float | None = 0.5,
        filter_out_of_brain_units: bool = True,
        stream: bool = False,
    ) -> EcephysSession:
        """Return one session, fetching its NWB file if it is not in the cache.

        A file that is there is opened without any table and without the network; the structures of the tables and
        the analysis metrics are added to its units where they can be had.

        Parameters
        ----------
        session_id
            One of the index of :meth:`get_session_table`.
        filter_by_validity, unit_filter, amplitude_cutoff_maximum, presence_ratio_minimum, isi_violations_maximum, \
        filter_out_of_brain_units
            Which units the session shows (see :meth:`get_units`).
        stream
            Read only the byte ranges that a call needs instead of fetching whole files: of the session's file, and of
            its LFP files. What was read is kept, and makes a file complete in the end; a file that is there is used.

        Raises
        ------
        UnknownIdError
            For a session that the project does not have.
        OfflineError
            If the file is not in the cache and may not be fetched.
        CorruptFileError
            If the file is damaged; it is kept.
        """
        from allen_ecephys.session.session import EcephysSession

        from .companions import companions_of

        session_id = whole_number(session_id, "session")
        chosen = chosen_filter(
            unit_filter,
            amplitude_cutoff_maximum=amplitude_cutoff_maximum,
            presence_ratio_minimum=presence_ratio_minimum,
            isi_violations_maximum=isi_violations_maximum,
            filter_by_validity=filter_by_validity,
            filter_out_of_brain_units=filter_out_of_brain_units,
        )
        source = self.session_stream(session_id) if stream else self.session_path(session_id)
        companions = companions_of(self, session_id, stream=stream)
        return EcephysSession(source, unit_filter=chosen, companions=companions)

    def session_stream(self, session_id: int) -> Path | RemoteStream:
        """Return a session's NWB file as a path if it is there, else as an open file that reads ranges."""
        session_id = whole_number(session_id, "session")
        known = partial(self._known_session, session_id)
        stream = self._open_stream(known, "session_nwb", session_id, session_id)
        return self.session_path(session_id) if stream is None else stream

    def lfp_stream(self, session_id: int, probe_id: int) -> Path | RemoteStream:
        """Return a probe's LFP file as a path if it is there, else as an open file that reads ranges.

        Raises as :meth:`lfp_path` does.
        """
        from .companions import check_lfp

        session_id, probe_id = whole_number(session_id, "session"), whole_number(probe_id, "probe")
        check = partial(check_lfp, self, session_id, probe_id)
        stream = self._open_stream(check, "probe_lfp_nwb", session_id, probe_id)
        return self.lfp_path(session_id, probe_id) if stream is None else stream

    def _open_stream(self, check: Callable[[], object], name: str, *values: int) -> RemoteStream | None:
        """Open a file of the remote after `check`; None if it is in the cache, or there is no remote."""
        if self.remote is None or self.manifest.path(name, *values).is_file():
            return None
        check()
        from .transfer.streaming import open_stream

        stream = open_stream(self.remote, standard_key(name, *values), self.root)
        stream.closes_with_reader = True
        return stream

    def session_path(self, session_id: int) -> Path:
        """Return the path of a session's NWB file, fetching it if it is not there (see :meth:`get_session_data`)."""
        session_id = whole_number(session_id, "session")
        if not self.manifest.path("session_nwb", session_id, session_id).is_file():
            self._known_session(session_id)
        return self.files.path_of("session_nwb", session_id, session_id)

    def lfp_path(self, session_id: int, probe_id: int) -> Path:
        """Return the path of a probe's LFP file, fetching it if it is not there.

        Raises
        ------
        UnknownIdError
            For a probe that the session does not have.
        MissingDataError
            For a probe without LFP data.
        """
        from .companions import check_lfp

        session_id, probe_id = whole_number(session_id, "session"), whole_number(probe_id, "probe")
        if not self.manifest.path("probe_lfp_nwb", session_id, probe_id).is_file():
            check_lfp(self, session_id, probe_id)
        return self.files.path_of("probe_lfp_nwb", session_id, probe_id)

    # --- what it would take -------------------------------------------------------------------------------------

    def plan(self, selection: Selection | None = None) -> Plan:
        """Return which files a choice of sessions needs, their bytes, and what is there; none of them is fetched.

        Parameters
        ----------
        selection
            Sessions and kinds of files (:class:`allen_ecephys.cache.offline.plan.Selection`); by default the session
            files of all sessions, with tables and metrics.

        Raises
        ------
        UnknownIdError, UnknownNameError
            If the selection names what the project does not have.
        """
        from .offline.plan import plan

        return plan(self, selection)

    # --- sessions of one's own -----------------------------------------------------------------------------------

    def add_session(
        self,
        nwb: str | os.PathLike[str],
        *,
        metrics: pd.DataFrame | None = None,
        lfp: Mapping[int, str | os.PathLike[str]] | None = None,
        specimen_id: int | None = None,
        replace: bool = False,
        move: bool = False,
    ) -> int:
        """Put a session of one's own into the cache: its files, and its rows in the tables and metrics.

        Only into a project of one's own, ``EcephysProjectCache(folder, remote=None)``; it can then be served as a
        folder or by any HTTP server, and read with :meth:`from_url`. The session appears all at once.

        Parameters
        ----------
        nwb
            Session file in the released layout; its identifier is the session's id.
        metrics
            Stimulus metrics by unit id, under documented or released names.
        lfp
            Probe id -> LFP file.
        specimen_id
            Id of the animal; by default the file's ``subject_id``, if that is a number.
        replace
            Put the session in the place of one with the same id.
        move
            Move the files instead of copying them.

        Returns
        -------
        int
            The session's id.

        Raises
        ------
        AccessError
            If the cache has a remote, or its folder cannot be written.
        AlreadyPresentError
            If the session is there and `replace` is False.
        UnknownIdError
            If a probe, channel or unit has an id that another session uses; if `metrics` or `lfp` name one that the
            session does not have.
        FileFormatError, CorruptFileError
            If a file is no session of the released layout, or damaged.
        """
        from .adding import add_session

        added = add_session(
            self.files, nwb, metrics=metrics, lfp=lfp, specimen_id=specimen_id, replace=replace, move=move
        )
        self.tables.forget()
        self._metrics.clear()
        return added

    # --- stimulus templates --------------------------------------------------------------------------------------

    def get_natural_movie_template(self, number: int) -> npt.NDArray[np.uint8]:
        """Return a natural movie as shown: uint8 array of frame x row x column (movie 1 or 3)."""
        from .templates import read_movie

        return read_movie(self.files.path_of("natural_movie", whole_number(number, "natural movie")))

    def get_natural_scene_template(self, number: int) -> npt.NDArray[np.uint8]:
        """Return a natural scene as shown: uint8 array of row x column (0 to 117). Needs the extra ``templates``."""
        from .templates import read_scene

        return read_scene(self.files.path_of("natural_scene", whole_number(number, "natural scene")))

    # --- itself --------------------------------------------------------------------------------------------------

    @property
    def root(self) -> Path:
        """The folder that holds the cache's files."""
        return self.files.root

    @property
    def manifest(self) -> Manifest:
        """Where each file of the cache is."""
        return self.files.manifest

    @property
    def manifest_path(self) -> Path:
        """The manifest file."""
        return self.files.manifest_path

    @property
    def remote(self) -> Remote | None:
        """Where missing files come from; None: nowhere."""
        return self.files.remote

    def __getstate__(self) -> dict[str, Any]:
        # Tables are read again where the cache arrives: a task sent to a worker stays small.
        return {**self.__dict__, "_tables": None, "_metrics": {}}

    def __repr__(self) -> str:
        source = f"from {self.remote.url}" if self.remote is not None else "fixed: nothing is fetched"
        tables = [name for name in ("sessions", "probes", "channels", "units") if self.manifest.path(name).is_file()]
        sessions = list(self.root.glob("session_*/session_*.nwb"))
        lfp = list(self.root.glob("session_*/probe_*_lfp.nwb"))
        size = sum(path.stat().st_size for path in (*sessions, *lfp))
        return (
            f"EcephysProjectCache in {self.root}\n"
            f"  {source}\n"
            f"  present: tables {', '.join(tables) or 'none'}; {len(sessions)} session files, {len(lfp)} LFP files "
            f"({size / 1e9:.1f} GB)"
        )


def _opened(place: Remote | str | Path) -> Remote:
    """Return the remote at a URL or folder; the public bucket knows the sizes of its files."""
    if place == PUBLIC_URL:
        from .remotes.public_bucket import PublicBucket

        return PublicBucket()
    return remote_at(place) if isinstance(place, str | Path) else place
