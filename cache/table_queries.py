"""What a project cache answers from its tables: sessions, probes, channels, units and their published metrics."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from allen_ecephys.errors import (
    AccessError,
    OfflineError,
    RemoteNotFoundError,
    UnknownIdError,
    UnknownNameError,
    suggest,
)
from allen_ecephys.units.filter import UnitFilter

from .project_files import whole_number

if TYPE_CHECKING:
    import pandas as pd

    from .project_files import ProjectFiles
    from .tables.analysis_metrics import MetricNames
    from .tables.project_tables import ProjectTables, TableName

logger = logging.getLogger(__name__)

DEFAULT_FILTER = UnitFilter()


class TableQueries:
    """The part of :class:`.EcephysProjectCache` that reads tables only.

    Parameters
    ----------
    files
        Where the tables are.
    """

    def __init__(self, files: ProjectFiles) -> None:
        self.files = files
        self._tables: ProjectTables | None = None
        self._metrics: dict[tuple[str, int | str], pd.DataFrame] = {}

    @property
    def tables(self) -> ProjectTables:
        """The joined tables behind :meth:`get_units` and its siblings, read once."""
        if self._tables is None:
            from .tables.project_tables import ProjectTables

            self._tables = ProjectTables(self.files.path_of, self._published_rows())
        return self._tables

    def _published_rows(self) -> Mapping[TableName, int] | None:
        if self.files.remote is None:  # and so the libraries of remotes are not loaded
            return None
        from .remotes.public_bucket import PublicBucket
        from .remotes.registry import TABLE_ROWS

        return TABLE_ROWS if isinstance(self.files.remote, PublicBucket) else None

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
        """
        return self.tables.sessions(suppress, unit_filter or DEFAULT_FILTER)

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
        """
        return self.tables.probes(suppress, unit_filter or DEFAULT_FILTER)

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
        """
        return self.tables.channels(suppress, unit_filter or DEFAULT_FILTER)

    def get_units(
        self,
        suppress: Iterable[str] | None = None,
        filter_by_validity: bool = True,
        *,
        unit_filter: UnitFilter | None = None,
        amplitude_cutoff_maximum: float | None = 0.1,
        presence_ratio_minimum: float | None = 0.95,
        isi_violations_maximum: float | None = 0.5,
        filter_out_of_brain_units: bool = True,
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
        amplitude_cutoff_maximum, presence_ratio_minimum, isi_violations_maximum, filter_out_of_brain_units
            Bounds of :class:`.UnitFilter`, under AllenSDK's names. None turns a bound off.

        Returns
        -------
        pandas.DataFrame
            Indexed by unit id: quality metrics, ``waveform_*`` of the peak channel, columns of the peak channel
            (``peak_channel`` is its index on the probe), probe and session. The names that AllenSDK has for some of
            them (``name``, ``phase``, ``sampling_rate``, ``lfp_sampling_rate``, ``local_index``, ``genotype``) follow
            as aliases.
        """
        chosen = chosen_filter(
            unit_filter,
            amplitude_cutoff_maximum=amplitude_cutoff_maximum,
            presence_ratio_minimum=presence_ratio_minimum,
            isi_violations_maximum=isi_violations_maximum,
            filter_by_validity=filter_by_validity,
            filter_out_of_brain_units=filter_out_of_brain_units,
        )
        return self.tables.units(suppress, chosen)

    # --- enumerations --------------------------------------------------------------------------------------------

    def get_all_session_types(self) -> list[str]:
        """Return the session types in order of appearance."""
        return self._distinct("session_type")

    def get_all_full_genotypes(self) -> list[str]:
        """Return the genotypes in order of appearance."""
        return self._distinct("genotype")

    def get_all_ages(self) -> list[float]:
        """Return the ages of the animals (days) in order of appearance."""
        return self._distinct("age_in_days")

    def get_all_sexes(self) -> list[str]:
        """Return the sexes of the animals in order of appearance."""
        return self._distinct("sex")

    def get_structure_acronyms(self) -> list[str]:
        """Return the acronyms of the structures that hold channels, in order of appearance."""
        acronyms: list[str] = self.tables.raw("channels")["ecephys_structure_acronym"].dropna().unique().tolist()
        return acronyms

    def _distinct(self, column: str) -> list[Any]:
        values: list[Any] = self.tables.raw("sessions")[column].dropna().unique().tolist()
        return values

    # --- analysis metrics ----------------------------------------------------------------------------------------

    def get_unit_analysis_metrics(
        self, annotate: bool = True, *, unit_filter: UnitFilter | None = None, names: MetricNames = "documented"
    ) -> pd.DataFrame:
        """Return the stimulus metrics of the units of all session types.

        Parameters
        ----------
        annotate
            Put the columns of :meth:`get_units` before the metrics.
        unit_filter
            Units to show. By default every unit that has metrics, unlike the two methods for one session or type.
        names
            ``documented``: as the release's documentation names the metrics (``p_run_mod_dg``, ``fano_factor_ns``);
            ``release``: as the released files do (``run_pval_dg``, ``fano_ns``).

        Returns
        -------
        pandas.DataFrame
            Indexed by unit id (``ecephys_unit_id``). What a session type does not have is missing.
        """
        from .tables.analysis_metrics import stacked

        available = self.get_all_session_types()
        metrics = stacked(self._metrics_table("typewise_analysis_metrics", kind) for kind in available)
        return self._annotated(
            metrics, unit_filter or UnitFilter.none(), names, annotate=annotate or unit_filter is not None
        )

    def get_unit_analysis_metrics_by_session_type(
        self,
        session_type: str,
        annotate: bool = True,
        filter_by_validity: bool = True,
        *,
        unit_filter: UnitFilter | None = None,
        amplitude_cutoff_maximum: float | None = 0.1,
        presence_ratio_minimum: float | None = 0.95,
        isi_violations_maximum: float | None = 0.5,
        filter_out_of_brain_units: bool = True,
        names: MetricNames = "documented",
    ) -> pd.DataFrame:
        """Return the stimulus metrics of the units of one session type.

        Parameters
        ----------
        session_type
            One of :meth:`get_all_session_types`.
        annotate
            Put the columns of :meth:`get_units` before the metrics and filter the units. If False, the metrics of
            every unit are returned as published.
        filter_by_validity, unit_filter, amplitude_cutoff_maximum, presence_ratio_minimum, isi_violations_maximum, \
        filter_out_of_brain_units
            See :meth:`get_units`.
        names
            See :meth:`get_unit_analysis_metrics`.

        Raises
        ------
        UnknownNameError
            For a session type that the project does not have.
        """
        available = self.get_all_session_types()
        if session_type not in available:
            near = suggest(session_type, available)
            msg = f"{session_type!r} is no session type{near}. Available: {', '.join(available)}"
            raise UnknownNameError(msg)
        chosen = chosen_filter(
            unit_filter,
            amplitude_cutoff_maximum=amplitude_cutoff_maximum,
            presence_ratio_minimum=presence_ratio_minimum,
            isi_violations_maximum=isi_violations_maximum,
            filter_by_validity=filter_by_validity,
            filter_out_of_brain_units=filter_out_of_brain_units,
        )
        metrics = self._metrics_table("typewise_analysis_metrics", session_type)
        return self._annotated(metrics, chosen, names, annotate=annotate)

    def get_unit_analysis_metrics_for_session(
        self,
        session_id: int,
        annotate: bool = True,
        filter_by_validity: bool = True,
        *,
        unit_filter: UnitFilter | None = None,
        amplitude_cutoff_maximum: float | None = 0.1,
        presence_ratio_minimum: float | None = 0.95,
        isi_violations_maximum: float | None = 0.5,
        filter_out_of_brain_units: bool = True,
        names: MetricNames = "documented",
    ) -> pd.DataFrame:
        """Return the stimulus metrics of the units of one session.

        Parameters
        ----------
        session_id
            One of the index of :meth:`get_session_table`.
        annotate, filter_by_validity, unit_filter, amplitude_cutoff_maximum, presence_ratio_minimum, \
        isi_violations_maximum, filter_out_of_brain_units, names
            See :meth:`get_unit_analysis_metrics_by_session_type`.

        Raises
        ------
        UnknownIdError
            For a session that the project does not have.
        """
        session_id = self._known_session(session_id)
        chosen = chosen_filter(
            unit_filter,
            amplitude_cutoff_maximum=amplitude_cutoff_maximum,
            presence_ratio_minimum=presence_ratio_minimum,
            isi_violations_maximum=isi_violations_maximum,
            filter_by_validity=filter_by_validity,
            filter_out_of_brain_units=filter_out_of_brain_units,
        )
        metrics = self._metrics_table("session_analysis_metrics", session_id)
        return self._annotated(metrics, chosen, names, annotate=annotate)

    def _metrics_table(self, name: str, which: int | str) -> pd.DataFrame:
        from .tables.analysis_metrics import read_metrics

        if (name, which) not in self._metrics:
            values = (which,) if isinstance(which, str) else (which, which)
            self._metrics[name, which] = read_metrics(self.files.path_of(name, *values))
        return self._metrics[name, which]

    def _annotated(
        self, metrics: pd.DataFrame, unit_filter: UnitFilter, names: MetricNames, *, annotate: bool
    ) -> pd.DataFrame:
        from .tables.analysis_metrics import DOCUMENTED_NAMES, INDEX, renamed

        if names not in ("documented", "release"):
            msg = f"names must be 'documented' or 'release'; got {names!r}{suggest(names, ('documented', 'release'))}"
            raise UnknownNameError(msg)
        metrics = renamed(metrics, names)
        if not annotate:
            return metrics.copy()
        units = self.tables.units(None, unit_filter)
        clash = set(units.columns) & set(metrics.columns) - set(DOCUMENTED_NAMES)
        at = metrics.index.get_indexer(units.index)
        shown = units[at >= 0].drop(columns=list(clash))
        import pandas as pd

        return pd.concat([shown, metrics.take(at[at >= 0])], axis=1).rename_axis(INDEX)

    def _known_session(self, session_id: int) -> int:
        """Return the id if the sessions table has it, or cannot be had."""
        session_id = whole_number(session_id, "session")
        sessions = self.table_at_hand("sessions")
        if sessions is not None and session_id not in sessions.index:
            what = "is a row number?" if session_id < len(sessions) else "is unknown."
            msg = (
                f"the project has no session {session_id}: it {what} Session ids look like {sessions.index[0]}; "
                "get_session_table().index lists them"
            )
            raise UnknownIdError(msg)
        return session_id

    def table_at_hand(self, name: TableName) -> pd.DataFrame | None:
        """Return a table, or None if it is neither in the cache nor to be had now."""
        try:
            return self.tables.raw(name)
        except (OfflineError, RemoteNotFoundError, AccessError, ConnectionError) as error:
            logger.info("the table of %s is not at hand: %s", name, error)
            return None


def chosen_filter(unit_filter: UnitFilter | None, **arguments: Any) -> UnitFilter:
    """Return the filter that the arguments of a public method describe."""
    described = UnitFilter.from_allensdk(arguments)
    if unit_filter is None:
        return described
    if described != DEFAULT_FILTER:
        msg = "give either unit_filter or single bounds, not both; unit_filter.replace(...) changes a bound"
        raise UnknownNameError(msg)
    return unit_filter
