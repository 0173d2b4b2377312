"""The project cache: every table and NWB file of the release, or of a laboratory's own project, on demand."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Unpack

from allen_ecephys.compatibility import Compatibility, is_compatible, without_effect
from allen_ecephys.errors import InvalidTypeError, InvalidValueError, UnknownIdError
from allen_ecephys.units.filter import UnitBounds, UnitFilter

from .manifest import Manifest
from .project_files import ProjectFiles, whole_number
from .remotes.opening import remote_at
from .remotes.protocol import PUBLIC_URL, Remote
from .session_files import SessionFiles
from .table_queries import TableQueries, chosen_of_tables

if TYPE_CHECKING:
    from concurrent.futures import Executor

    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from allen_ecephys.session.session import EcephysSession

    from .offline.plan import Plan, Selection
    from .population.population import Population
    from .raw_data import RawData
    from .tables.analysis_metrics import MetricNames
    from .tables.project_tables import ProjectTables
    from .transfer.streaming import RemoteStream


class EcephysProjectCache:
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
    compat
        ``"allensdk"``: sessions opened from this cache answer as AllenSDK does (see
        :class:`~allen_ecephys.EcephysSession`).

    Raises
    ------
    ManifestError
        If the manifest is none, or of another version than 0.3.0.
    AccessError
        If the folder has to be made and cannot be.

    Examples
    --------
    >>> cache = EcephysProjectCache("project", remote=None)
    >>> session = cache.get_session_data(cache.get_session_table().index[0])
    >>> session.num_units
    40
    """

    # AllenSDK's names for the files of the manifest, for :meth:`get_cache_path`.
    SESSIONS_KEY: ClassVar[str] = "sessions"
    PROBES_KEY: ClassVar[str] = "probes"
    CHANNELS_KEY: ClassVar[str] = "channels"
    UNITS_KEY: ClassVar[str] = "units"
    SESSION_NWB_KEY: ClassVar[str] = "session_nwb"
    PROBE_LFP_NWB_KEY: ClassVar[str] = "probe_lfp_nwb"
    SESSION_ANALYSIS_METRICS_KEY: ClassVar[str] = "session_analysis_metrics"
    TYPEWISE_ANALYSIS_METRICS_KEY: ClassVar[str] = "typewise_analysis_metrics"
    NATURAL_MOVIE_KEY: ClassVar[str] = "natural_movie"
    NATURAL_SCENE_KEY: ClassVar[str] = "natural_scene"

    def __init__(
        self,
        manifest: str | Path | None = None,
        remote: Remote | str | Path | None = PUBLIC_URL,
        *,
        mirrors: Sequence[Remote | str | Path] = (),
        compat: Compatibility = None,
    ) -> None:
        is_compatible(compat)  # refuses any other word at once
        self.compat: Compatibility = compat
        place = None if remote is None else remote_at(remote)
        if isinstance(mirrors, str) or not isinstance(mirrors, Sequence):
            msg = f"mirrors are a list of places, such as ['https://...']; got {mirrors!r:.200}"
            raise InvalidTypeError(msg)
        self.files = ProjectFiles(manifest, place, [remote_at(mirror) for mirror in mirrors])
        self._queries = TableQueries(self.files)
        self._sessions = SessionFiles(self.files, self._queries)

    # --- constructors --------------------------------------------------------------------------------------------

    @classmethod
    def from_s3(
        cls,
        manifest: str | Path | None = None,
        *,
        mirrors: Sequence[Remote | str | Path] = (),
        compat: Compatibility = None,
    ) -> EcephysProjectCache:
        """Return a cache of the public bucket, read over HTTPS without credentials.

        Parameters
        ----------
        manifest, mirrors, compat
            Manifest file or cache folder, where else the files are, and whose answers sessions give (see the class).

        Examples
        --------
        >>> cache = EcephysProjectCache.from_s3("ecephys_cache")  # nothing is fetched before something is asked for
        >>> cache.root.name
        'ecephys_cache'
        """
        return cls(manifest, PUBLIC_URL, mirrors=mirrors, compat=compat)

    @classmethod
    def from_url(
        cls,
        url: str | Path,
        manifest: str | Path | None = None,
        *,
        storage_options: Mapping[str, Any] | None = None,
        mirrors: Sequence[Remote | str | Path] = (),
        compat: Compatibility = None,
    ) -> EcephysProjectCache:
        """Return a cache of the files below a URL or in a folder, laid out as the release is.

        Parameters
        ----------
        url
            ``https://...``, a folder, ``s3://bucket/prefix`` (extra ``s3``), or any other URL that fsspec knows.
        manifest, mirrors, compat
            Manifest file or cache folder, where else the files are, and whose answers sessions give (see the class).
        storage_options
            Passed to the fsspec file system, for example credentials or an ``endpoint_url``.

        Examples
        --------
        >>> cache = EcephysProjectCache.from_url("project", "copy")  # or "https://...", or "s3://bucket/prefix"
        >>> cache.get_session_data(session_id).num_units
        40
        """
        return cls(manifest, remote_at(url, storage_options=storage_options), mirrors=mirrors, compat=compat)

    @classmethod
    def from_warehouse(
        cls,
        scheme: str | None = None,
        host: str | None = None,
        asynchronous: bool | None = None,
        manifest: str | Path | None = None,
        version: str | None = None,
        cache: bool | None = None,
        fetch_tries: int | None = None,
        timeout: float | None = None,
        *,
        warehouse_kwargs: Mapping[str, Any] | None = None,
        longest_silence: float = 30.0,
        compat: Compatibility = None,
    ) -> EcephysProjectCache:
        """Return a cache of the Allen Institute's warehouse API.

        Parameters
        ----------
        scheme, host
            Address of the API; by default ``http`` and ``api.brain-map.org``.
        manifest, compat
            Manifest file or cache folder, and whose answers sessions give (see the class).
        asynchronous, version, cache, fetch_tries, timeout, warehouse_kwargs
            AllenSDK's; taken with a DeprecationWarning, and without effect: a transfer has several connections, goes
            on as long as bytes come, and what it brought is kept.
        longest_silence
            Seconds without a byte after which a request counts as failed, and what is missing is asked for again.

        Raises
        ------
        InvalidValueError
            If `scheme` is a path (give a manifest by its name), or `longest_silence` is no time.

        Examples
        --------
        >>> cache = EcephysProjectCache.from_warehouse(manifest="warehouse_cache/manifest.json")
        >>> cache.manifest_path.name
        'manifest.json'
        """
        from .remotes.warehouse import WarehouseRemote

        if scheme not in (None, "http", "https"):
            msg = f"scheme is http or https, not {scheme!r}: write from_warehouse(manifest={str(scheme)!r})"
            raise InvalidValueError(msg)
        given: object = host
        if not isinstance(given, str | None):
            msg = f"host is a name, such as 'api.brain-map.org'; got {host!r:.200}"
            raise InvalidTypeError(msg)
        if not isinstance(longest_silence, int | float) or not 0 < longest_silence < float("inf"):
            msg = f"longest_silence is a number of seconds above 0; got {longest_silence!r:.200}"
            raise InvalidValueError(msg)
        without_effect(
            asynchronous=asynchronous,
            version=version,
            cache=cache,
            fetch_tries=fetch_tries,
            timeout=timeout,
            warehouse_kwargs=warehouse_kwargs,
        )
        remote = WarehouseRemote(scheme=scheme or "http", host=host or "api.brain-map.org", timeout=longest_silence)
        return cls(manifest, remote, compat=compat)

    @classmethod
    def from_dandi(
        cls,
        manifest: str | Path | None = None,
        *,
        listing: str | Path | None = None,
        tables: Remote | str | Path | None = PUBLIC_URL,
        compat: Compatibility = None,
    ) -> EcephysProjectCache:
        """Return a cache whose NWB files come from the DANDI archive.

        Parameters
        ----------
        manifest, compat
            Manifest file or cache folder, and whose answers sessions give (see the class).
        listing
            Asset listing of the dandiset, a JSON file in the archive's format, or its URL. By default the listing of
            DANDI:000021 (*Brain Observatory 1.1*) that ships with the package.
        tables
            Where the tables, metrics and templates come from, which the archive does not have: a remote, URL or folder.

        Examples
        --------
        >>> cache = EcephysProjectCache.from_dandi("dandi_cache")
        >>> cache.root.name
        'dandi_cache'
        """
        from .remotes.dandi import DandiRemote

        return cls(manifest, DandiRemote(listing, tables=tables), compat=compat)

    @classmethod
    def fixed(
        cls, manifest: str | Path | None = None, version: str | None = None, *, compat: Compatibility = None
    ) -> EcephysProjectCache:
        """Return a cache that uses what its folder holds and never opens a network connection.

        Parameters
        ----------
        manifest, compat
            Manifest file or cache folder, and whose answers sessions give (see the class). The folder must exist;
            nothing is written to it.
        version
            AllenSDK's; taken with a DeprecationWarning, and without effect.

        Examples
        --------
        >>> cache = EcephysProjectCache.fixed("project")
        >>> len(cache.get_session_table())
        1
        """
        without_effect(version=version)
        return cls(manifest, None, compat=compat)

    # --- tables --------------------------------------------------------------------------------------------------

    def get_session_table(
        self, suppress: Iterable[str] | None = None, *, unit_filter: UnitFilter | None = None
    ) -> pd.DataFrame:
        """Return the recording sessions.

        Parameters
        ----------
        suppress
            Columns to hide; by default ``has_nwb``, ``isi_experiment_id``, ``date_of_acquisition``; ``[]`` hides none.
            A table that only hidden columns need is not read.
        unit_filter
            The units that are counted; by default those of :meth:`get_units`.

        Returns
        -------
        pandas.DataFrame
            Indexed by session id: ``published_at`` (ISO 8601), ``specimen_id``, ``session_type``, ``age_in_days``,
            ``sex``, ``full_genotype``, ``unit_count``, ``channel_count``, ``probe_count`` and
            ``ecephys_structure_acronyms`` (array of the acronyms of its channels in order of appearance; channels out
            of the brain have none).

        Examples
        --------
        >>> sessions = cache.get_session_table()
        >>> sessions[["session_type", "sex", "unit_count", "probe_count"]]
                            session_type sex  unit_count  probe_count
        id
        700000001  brain_observatory_1.1   F          42            3
        """
        return self.tables.sessions(suppress, chosen_of_tables(unit_filter, {}))

    def get_probes(
        self, suppress: Iterable[str] | None = None, *, unit_filter: UnitFilter | None = None
    ) -> pd.DataFrame:
        """Return the probe insertions.

        Parameters
        ----------
        suppress
            Columns to hide; by default the session's own, and those that only describe the raw recording.
        unit_filter
            The units that are counted; by default those of :meth:`get_units`.

        Returns
        -------
        pandas.DataFrame
            Indexed by probe id: ``ecephys_session_id``, ``lfp_sampling_rate`` (Hz, of the LFP file, after subsampling),
            ``name``, ``phase``, ``sampling_rate`` (Hz), ``has_lfp_data``, ``unit_count``, ``channel_count``,
            ``ecephys_structure_acronyms``.

        Examples
        --------
        >>> cache.get_probes()[["name", "sampling_rate", "has_lfp_data", "unit_count"]]
                      name  sampling_rate  has_lfp_data  unit_count
        id
        7000000010  probeA      29999.950          True          11
        7000000011  probeB      29999.955          True          13
        7000000012  probeC      29999.960          True          18
        """
        return self.tables.probes(suppress, chosen_of_tables(unit_filter, {}))

    def get_channels(
        self, suppress: Iterable[str] | None = None, *, unit_filter: UnitFilter | None = None
    ) -> pd.DataFrame:
        """Return the recording channels that hold valid data.

        Parameters
        ----------
        suppress
            Columns to hide; by default the session's own, the probe's name, and those of the raw recording.
        unit_filter
            The units that are counted; by default those of :meth:`get_units`.

        Returns
        -------
        pandas.DataFrame
            Indexed by channel id: ``ecephys_probe_id``, ``local_index`` (0 to 383), positions on the probe (um), CCF
            coordinates (um, NaN where the channel was not registered), structure, ``ecephys_session_id``, columns of
            the probe (``probe_phase``, ``probe_sampling_rate``, ...) and ``unit_count``.

        Examples
        --------
        >>> channels = cache.get_channels()
        >>> channels[["local_index", "probe_vertical_position", "ecephys_structure_acronym"]].head(2)
                       local_index  probe_vertical_position ecephys_structure_acronym
        id
        7000000010000            0                       20                        MB
        7000000010001            1                       20                        MB
        """
        return self.tables.channels(suppress, chosen_of_tables(unit_filter, {}))

    def get_units(
        self,
        suppress: Iterable[str] | None = None,
        filter_by_validity: bool = True,
        *,
        unit_filter: UnitFilter | None = None,
        **bounds: Unpack[UnitBounds],
    ) -> pd.DataFrame:
        """Return the sorted units that pass the quality filter, with their channel, probe and session.

        Parameters
        ----------
        suppress
            Columns to hide; by default those that only describe the raw recording or the processing.
        filter_by_validity
            Leave out units labelled ``noise``; the column ``quality`` is shown if False.
        unit_filter
            The whole filter as one object, instead of the arguments that follow.
        **bounds
            Bounds of :class:`.UnitFilter`, under AllenSDK's names: ``amplitude_cutoff_maximum`` (default 0.1),
            ``presence_ratio_minimum`` (0.95), ``isi_violations_maximum`` (0.5), None for no bound; and
            ``structures`` (``"VISp"``, a list, or a parent such as ``"TH"``); and
            ``filter_out_of_brain_units``, here by default False: the release's counts (40,010 units) include those
            whose peak channel has no structure, which a session does not show.

        Returns
        -------
        pandas.DataFrame
            Indexed by unit id: quality metrics, ``waveform_*`` of the peak channel, columns of the peak channel
            (``peak_channel`` is its index on the probe), probe and session. The names that AllenSDK has for some of
            them (``name``, ``phase``, ``sampling_rate``, ``lfp_sampling_rate``, ``local_index``, ``genotype``) follow
            as aliases.

        Examples
        --------
        >>> units = cache.get_units()
        >>> len(units), len(cache.get_units(unit_filter=UnitFilter.none()))
        (42, 150)
        >>> v1 = units[units["ecephys_structure_acronym"] == "VISp"]
        >>> v1[["snr", "firing_rate", "ecephys_session_id"]].head(2)
                              snr  firing_rate  ecephys_session_id
        id
        700000001200081  1.434282     5.320223           700000001
        700000001200071  2.483953     1.775512           700000001
        """
        chosen = chosen_of_tables(unit_filter, {"filter_by_validity": filter_by_validity, **bounds})
        return self.tables.units(suppress, chosen)

    # --- enumerations --------------------------------------------------------------------------------------------

    def get_all_session_types(self) -> list[str]:
        """Return the session types in order of appearance.

        Examples
        --------
        >>> cache.get_all_session_types()
        ['brain_observatory_1.1']
        """
        return self._queries.distinct("session_type")

    def get_all_full_genotypes(self) -> list[str]:
        """Return the genotypes in order of appearance.

        Examples
        --------
        >>> cache.get_all_full_genotypes()
        ['Sst-IRES-Cre/wt;Ai32(RCL-ChR2(H134R)_EYFP)/wt']
        """
        return self._queries.distinct("genotype")

    def get_all_ages(self) -> list[float]:
        """Return the ages of the animals (days) in order of appearance.

        Examples
        --------
        >>> cache.get_all_ages()
        [118.0]
        """
        return self._queries.distinct("age_in_days")

    def get_all_sexes(self) -> list[str]:
        """Return the sexes of the animals in order of appearance.

        Examples
        --------
        >>> cache.get_all_sexes()
        ['F']
        """
        return self._queries.distinct("sex")

    def get_structure_acronyms(self) -> list[str]:
        """Return the acronyms of the structures that hold channels, in order of appearance.

        Examples
        --------
        >>> cache.get_structure_acronyms()[:4]
        ['MB', 'TH', 'DG', 'CA1']
        """
        acronyms: list[str] = self.tables.raw("channels")["ecephys_structure_acronym"].dropna().unique().tolist()
        return acronyms

    # --- analysis metrics ----------------------------------------------------------------------------------------

    def get_unit_analysis_metrics(
        self,
        annotate: bool = True,
        filter_by_validity: bool = True,
        *,
        unit_filter: UnitFilter | None = None,
        names: MetricNames = "documented",
        leave_out_broken: bool = False,
        **bounds: Unpack[UnitBounds],
    ) -> pd.DataFrame:
        """Return the stimulus metrics of the units of all session types.

        Parameters
        ----------
        annotate
            Put the columns of :meth:`get_units` before the metrics and filter the units. If False, the metrics of
            every unit are returned as published, except where a filter or a bound is given.
        filter_by_validity, unit_filter, **bounds
            Units to show (see :meth:`get_units`): by default those of the default quality filter, as in
            :meth:`get_units` and the two methods for one session or type; ``unit_filter=UnitFilter.none()`` for all.
        names
            ``documented``: as the release's documentation names the metrics (``p_run_mod_dg``, ``fano_factor_ns``);
            ``release``: as the released files do (``run_pval_dg``, ``fano_ns``).
        leave_out_broken
            Leave out the units of two probes whose published metrics are wrong (rates of 0 where spikes are, or 1.8
            times too high): 832810584 of session 831882777 and 846401834 of session 839557629. A warning says so
            where they are not left out.

        Returns
        -------
        pandas.DataFrame
            Indexed by unit id (``ecephys_unit_id``). What a session type does not have is missing.

        Examples
        --------
        >>> metrics = cache.get_unit_analysis_metrics()
        >>> metrics.groupby("ecephys_structure_acronym")["g_osi_dg"].median().loc[["LGd", "VISp"]].round(2)
        ecephys_structure_acronym
        LGd     0.18
        VISp    0.22
        Name: g_osi_dg, dtype: float64
        """
        chosen = chosen_of_tables(unit_filter, {"filter_by_validity": filter_by_validity, **bounds})
        annotate = annotate or unit_filter is not None or bool(bounds)
        published = self._queries.metrics_of_all_types()
        return self._queries.metrics(published, chosen, names, annotate=annotate, leave_out_broken=leave_out_broken)

    def get_unit_analysis_metrics_by_session_type(
        self,
        session_type: str,
        annotate: bool = True,
        filter_by_validity: bool = True,
        *,
        unit_filter: UnitFilter | None = None,
        names: MetricNames = "documented",
        leave_out_broken: bool = False,
        **bounds: Unpack[UnitBounds],
    ) -> pd.DataFrame:
        """Return the stimulus metrics of the units of one session type.

        Parameters
        ----------
        session_type
            One of :meth:`get_all_session_types`.
        annotate
            Put the columns of :meth:`get_units` before the metrics and filter the units. If False, the metrics of
            every unit are returned as published.
        filter_by_validity, unit_filter, **bounds
            See :meth:`get_units`.
        names, leave_out_broken
            See :meth:`get_unit_analysis_metrics`.

        Raises
        ------
        UnknownNameError
            For a session type that the project does not have.

        Examples
        --------
        >>> metrics = cache.get_unit_analysis_metrics_by_session_type("brain_observatory_1.1", annotate=False)
        >>> len(metrics)
        150
        """
        chosen = chosen_of_tables(unit_filter, {"filter_by_validity": filter_by_validity, **bounds})
        metrics = self._queries.metrics_of_type(session_type)
        return self._queries.metrics(metrics, chosen, names, annotate=annotate, leave_out_broken=leave_out_broken)

    def get_unit_analysis_metrics_for_session(
        self,
        session_id: int,
        annotate: bool = True,
        filter_by_validity: bool = True,
        *,
        unit_filter: UnitFilter | None = None,
        names: MetricNames = "documented",
        leave_out_broken: bool = False,
        **bounds: Unpack[UnitBounds],
    ) -> pd.DataFrame:
        """Return the stimulus metrics of the units of one session.

        Parameters
        ----------
        session_id
            One of the index of :meth:`get_session_table`.
        annotate, filter_by_validity, unit_filter, names, leave_out_broken, **bounds
            See :meth:`get_unit_analysis_metrics_by_session_type`.

        Raises
        ------
        UnknownIdError
            For a session that the project does not have.

        Examples
        --------
        >>> metrics = cache.get_unit_analysis_metrics_for_session(session_id)
        >>> metrics["pref_ori_dg"].value_counts().head(2)
        pref_ori_dg
        180.0    11
        315.0     9
        Name: count, dtype: int64
        """
        chosen = chosen_of_tables(unit_filter, {"filter_by_validity": filter_by_validity, **bounds})
        metrics = self._queries.metrics_of_session(session_id)
        return self._queries.metrics(metrics, chosen, names, annotate=annotate, leave_out_broken=leave_out_broken)

    # --- sessions ------------------------------------------------------------------------------------------------

    def get_session_data(
        self,
        session_id: int,
        filter_by_validity: bool = True,
        *,
        unit_filter: UnitFilter | None = None,
        stream: bool = False,
        compat: Compatibility = None,
        **bounds: Unpack[UnitBounds],
    ) -> EcephysSession:
        """Return one session, fetching its NWB file if it is not in the cache.

        A file that is there is opened without any table and without the network; the structures of the tables are
        added to its units where they can be had, and the published metrics of its units are
        ``session.unit_analysis_metrics``.

        Parameters
        ----------
        session_id
            One of the index of :meth:`get_session_table`.
        filter_by_validity, unit_filter, **bounds
            Which units the session shows (see :meth:`get_units`).
        stream
            Read only the byte ranges that a call needs instead of fetching whole files: of the session's file, and of
            its LFP files. What was read is kept, and makes a file complete in the end; a file that is there is used.
        compat
            ``"allensdk"`` answers as AllenSDK does; by default what the cache was made with.

        Raises
        ------
        UnknownIdError
            For a session that the project does not have.
        OfflineError
            If the file is not in the cache and may not be fetched.
        CorruptFileError
            If the file is damaged; it is kept.

        Examples
        --------
        >>> session = cache.get_session_data(session_id)
        >>> session.num_units
        40
        >>> cache.get_session_data(session_id, unit_filter=UnitFilter.none()).num_units
        150
        """
        from allen_ecephys.session.session import EcephysSession

        from .companions import companions_of

        chosen = UnitFilter.chosen(unit_filter, {"filter_by_validity": filter_by_validity, **bounds})
        is_compatible(compat)
        if not self._sessions.is_here(session_id):
            chosen.check_names(lambda: self._queries.at_hand("channels"))  # before gigabytes are fetched
        source = self.session_stream(session_id) if stream else self.session_path(session_id)
        companions = companions_of(self._sessions, whole_number(session_id, "session"), stream=stream)
        return EcephysSession(source, unit_filter=chosen, companions=companions, compat=compat or self.compat)

    def session_path(self, session_id: int) -> Path:
        """Return the path of a session's NWB file, fetching it if it is not there (see :meth:`get_session_data`).

        Examples
        --------
        >>> cache.session_path(session_id).name
        'session_700000001.nwb'
        """
        here = self._sessions.is_here(session_id)
        path = self._sessions.session_path(session_id)
        if not here:
            self._index_arrived(session_id)
        return path

    def session_stream(self, session_id: int) -> Path | RemoteStream:
        """Return a session's NWB file as a path if it is there, else as an open file that reads ranges.

        Examples
        --------
        >>> cache.session_stream(session_id).name  # it is there: a path
        'session_700000001.nwb'
        """
        return self._sessions.session_stream(session_id)

    def lfp_path(self, session_id: int, probe_id: int) -> Path:
        """Return the path of a probe's LFP file, fetching it if it is not there.

        Raises
        ------
        UnknownIdError
            For a probe that the session does not have.
        MissingDataError
            For a probe without LFP data.

        Examples
        --------
        >>> cache.lfp_path(session_id, probe_id).name
        'probe_7000000010_lfp.nwb'
        """
        return self._sessions.lfp_path(session_id, probe_id)

    def lfp_stream(self, session_id: int, probe_id: int) -> Path | RemoteStream:
        """Return a probe's LFP file as a path if it is there, else as an open file that reads ranges.

        Raises as :meth:`lfp_path` does.

        Examples
        --------
        >>> cache.lfp_stream(session_id, probe_id).name
        'probe_7000000010_lfp.nwb'
        """
        return self._sessions.lfp_stream(session_id, probe_id)

    def get_raw_data(self, session_id: int, probe_id: int, *, download: bool = False) -> RawData:
        """Return the published raw data of a probe, some 200 GB: read by byte ranges, or downloaded.

        Events and sync file, which are small, are fetched in any case.

        Parameters
        ----------
        session_id, probe_id
            Of the session table, and of :meth:`get_probes`.
        download
            Fetch the two bands, too; a download that was cut goes on where it was. Else what is read of them is
            kept, and nothing else.

        Returns
        -------
        RawData
            Five files. ``allen_ecephys.processing.synchronization.open_released_probe`` opens them on the session's
            clock; with that, ``session.raw_snippets`` and ``session.raw_traces`` show what units were found in.

        Raises
        ------
        UnknownIdError
            If the tables at hand tell that the session has no such probe.
        RemoteNotFoundError
            If there are no raw data of it.
        OfflineError
            If a file is not in the cache and may not be fetched.

        Examples
        --------
        >>> files = cache.get_raw_data(session_id, probe_id)
        Traceback (most recent call last):
            ...
        allen_ecephys.errors.OfflineError: ...spike_band.dat is not there, and this cache never fetches...
        """
        from .raw_data import raw_data_of

        session_id, probe_id = whole_number(session_id, "session"), whole_number(probe_id, "probe")
        probes = self._queries.at_hand("probes")
        if probes is not None and probe_id not in probes.index[probes["ecephys_session_id"] == session_id]:
            known = ", ".join(map(str, probes.index[probes["ecephys_session_id"] == session_id]))
            msg = f"session {session_id} of this project has no probe {probe_id}; it has {known or 'none'}"
            raise UnknownIdError(msg)
        return raw_data_of(self.files, session_id, probe_id, download=download)

    def get_cache_path(self, file_name: str | Path | None, manifest_key: str, *args: int | str) -> Path:
        """Return where a file of the cache lies or would lie, under AllenSDK's name; nothing is fetched.

        Parameters
        ----------
        file_name
            A path to use instead of the manifest's; None for the manifest's.
        manifest_key
            Name in the manifest, such as ``cache.SESSION_NWB_KEY``.
        *args
            The ids in the file's path, from the outermost folder inwards.

        Examples
        --------
        >>> cache.get_cache_path(None, cache.SESSION_NWB_KEY, session_id, session_id).name
        'session_700000001.nwb'
        """
        return Path(file_name) if file_name is not None else self.manifest.path(manifest_key, *args)

    # --- all sessions at once ------------------------------------------------------------------------------------

    def population(
        self,
        units: str | Iterable[int] | pd.DataFrame | None = None,
        *,
        unit_filter: UnitFilter | None = None,
        stream: bool = False,
        executor: Executor | None = None,
        **bounds: Unpack[UnitBounds],
    ) -> Population:
        """Return units of all sessions as one population: spikes by unit id, responses of all of them at once.

        Nothing but the tables is read yet. Sessions are indexed when they are first asked for (see
        ``allen-ecephys cache index``); no session file is fetched.

        Parameters
        ----------
        units
            Which units: a condition on the columns of :meth:`get_units` and
            :meth:`get_unit_analysis_metrics`, such as ``"ecephys_structure_acronym == 'VISp' and g_osi_dg > 0.5"``;
            their ids; a table indexed by unit id; or None for all.
        unit_filter, **bounds
            The filter (see :meth:`get_units`). Units named by their ids, or by a table, are not filtered unless it is
            given.
        stream
            Read session files that are not in the cache by ranges of bytes. If False, their sessions are left out, and
            a warning names them.
        executor
            Where sessions are asked, a task each: a ``concurrent.futures.ThreadPoolExecutor``, or that of a dask
            client, ``client.get_executor()``. By default here, one after the other; the kernels use all threads.

        Raises
        ------
        UnknownIdError
            For an id that is no unit's of the project.
        UnknownNameError
            For a condition that cannot be understood.
        MissingDataError
            If no unit is left.

        Examples
        --------
        >>> v1 = cache.population("ecephys_structure_acronym == 'VISp'", unit_filter=UnitFilter())
        >>> len(v1)
        6
        >>> psth = v1.psth("flashes", np.arange(-0.1, 0.4, 0.01))
        >>> psth["rate"].dims, psth["rate"].shape
        (('unit_id', 'time_relative_to_stimulus_onset'), (6, 49))
        """
        from .population.population import Population

        chosen = chosen_of_tables(unit_filter, bounds) if unit_filter is not None or bounds else None
        return Population(self._sessions, units, chosen, stream=stream, executor=executor)

    def index_sessions(self, session_ids: Iterable[int] | None = None, *, stream: bool = False) -> pd.DataFrame:
        """Make the indexes that :meth:`population` reads instead of session files, where they are lacking or outdated.

        A population makes those that it needs by itself; this makes them beforehand.

        Parameters
        ----------
        session_ids
            Sessions; by default all whose files are in the cache or, with `stream`, at its remote.
        stream
            Read files that are not in the cache by ranges of bytes.

        Returns
        -------
        DataFrame
            Index: session id. Columns: ``outcome`` (``made``, ``present`` or ``failed``), ``unit_count``,
            ``presentation_count``, ``index_bytes`` and ``message`` (what was wrong).

        Raises
        ------
        UnknownIdError
            For a session that the project does not have.

        Examples
        --------
        >>> cache.index_sessions()[["unit_count", "presentation_count"]]
                            unit_count  presentation_count
        ecephys_session_id
        700000001                  150                1613
        """
        from .index.building import index_sessions

        return index_sessions(self._sessions, session_ids, stream=stream)

    def _index_arrived(self, session_id: int) -> None:
        from .index.building import index_arrived

        index_arrived(self._sessions, whole_number(session_id, "session"))

    def export_tables(
        self, target: str | os.PathLike[str], session_ids: Iterable[int] | None = None, *, stream: bool = False
    ) -> pd.DataFrame:
        """Write the project's tables as Parquet files, which DuckDB, polars and Arrow read. Needs the extra ``tables``.

        ``sessions.parquet``, ``units.parquet`` (all units, unfiltered), ``unit_metrics.parquet``,
        ``invalid_times.parquet``, and of each session ``presentations/session_<id>.parquet`` and
        ``running_speed/session_<id>.parquet``; ``schema.json`` tells of each column its type and what it holds.

        Parameters
        ----------
        target
            A folder that does not exist yet; it appears when all of it is written.
        session_ids
            Sessions; by default all of the project. Those whose files cannot be read are left out of the last two.
        stream
            Read files that are not in the cache by ranges of bytes.

        Returns
        -------
        DataFrame
            Index: the files. Columns: ``rows``, and ``message``, which tells what was left out and why.

        Raises
        ------
        AlreadyPresentError
            If the folder is there.
        MissingExtraError
            If pyarrow is not installed.
        UnknownIdError
            For a session that the project does not have.

        Examples
        --------
        >>> files = cache.export_tables("tables")  # extra "tables"
        >>> len(pd.read_parquet("tables/units.parquet"))
        150
        """
        from .population.parquet import export_tables

        return export_tables(self._sessions, os.fspath(target), session_ids, stream=stream)

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

        Examples
        --------
        >>> cache.plan()
        Plan for ...project: 1 sessions, 7 files, ... GB
          present: 7 files; to fetch: 0 files, 0.00 GB
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

        Examples
        --------
        >>> Path("own").mkdir()
        >>> own = EcephysProjectCache("own", remote=None)
        >>> own.add_session("session.nwb", metrics=metrics)
        700000001
        >>> own.get_session_data(session_id).num_units
        40
        """
        from .adding import add_session

        added = add_session(
            self.files, nwb, metrics=metrics, lfp=lfp, specimen_id=specimen_id, replace=replace, move=move
        )
        self._queries.forget()
        self._index_arrived(added)
        return added

    # --- stimulus templates --------------------------------------------------------------------------------------

    def get_natural_movie_template(self, number: int) -> npt.NDArray[np.uint8]:
        """Return a natural movie as shown: uint8 array of frame x row x column (movie 1 or 3).

        Examples
        --------
        >>> cache.get_cache_path(None, cache.NATURAL_MOVIE_KEY, 1).name
        'natural_movie_1.h5'
        >>> cache.get_natural_movie_template(1)  # this project has none; from the release: (900, 304, 608)
        Traceback (most recent call last):
            ...
        allen_ecephys.errors.OfflineError: ...natural_movie_1.h5 is not there, and this cache never fetches...
        """
        from .templates import read_movie

        return read_movie(self.files.path_of("natural_movie", whole_number(number, "natural movie")))

    def get_natural_scene_template(self, number: int) -> npt.NDArray[np.uint8]:
        """Return a natural scene as shown: uint8 array of row x column (0 to 117). Needs the extra ``templates``.

        Examples
        --------
        >>> cache.get_natural_scene_template(0)  # this project has none; from the release: (918, 1174)
        Traceback (most recent call last):
            ...
        allen_ecephys.errors.OfflineError: ...
        """
        from .templates import read_scene

        return read_scene(self.files.path_of("natural_scene", whole_number(number, "natural scene")))

    # --- itself --------------------------------------------------------------------------------------------------

    @property
    def tables(self) -> ProjectTables:
        """The joined tables behind :meth:`get_units` and its siblings, read once.

        Examples
        --------
        >>> cache.tables.raw("units").shape[0]
        150
        """
        return self._queries.tables

    @property
    def root(self) -> Path:
        """The folder that holds the cache's files.

        Examples
        --------
        >>> cache.root.name
        'project'
        """
        return self.files.root

    @property
    def manifest(self) -> Manifest:
        """Where each file of the cache is.

        Examples
        --------
        >>> cache.manifest.root.name
        'project'
        """
        return self.files.manifest

    @property
    def manifest_path(self) -> Path:
        """The manifest file.

        Examples
        --------
        >>> cache.manifest_path.name
        'manifest.json'
        """
        return self.files.manifest_path

    @property
    def remote(self) -> Remote | None:
        """Where missing files come from; None: nowhere.

        Examples
        --------
        >>> cache.remote is None  # what is not there is not fetched
        True
        """
        return self.files.remote

    def __repr__(self) -> str:
        source = f"from {self.remote.url}" if self.remote is not None else "fixed: nothing is fetched"
        tables = [name for name in ("sessions", "probes", "channels", "units") if self.manifest.path(name).is_file()]
        sessions = list(self.root.glob("session_*/session_*.nwb"))
        lfp = list(self.root.glob("session_*/probe_*_lfp.nwb"))
        size = sum(path.stat().st_size for path in (*sessions, *lfp) if path.is_file())  # a link may lead nowhere
        return (
            f"EcephysProjectCache in {self.root}\n"
            f"  {source}\n"
            f"  present: tables {', '.join(tables) or 'none'}; {len(sessions)} session files, {len(lfp)} LFP files "
            f"({size / 1e9:.1f} GB)"
        )
