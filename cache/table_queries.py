"""What a project's tables answer beyond their joins: known sessions, published metrics, annotated with their units."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
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
    import numpy as np
    import pandas as pd

    from .project_files import ProjectFiles
    from .tables.analysis_metrics import MetricNames
    from .tables.project_tables import ProjectTables, TableName

logger = logging.getLogger(__name__)

#: The units that tables show and count unless told otherwise. Those whose peak channel has no structure are among them,
#: as in the release's own counts (40,010 units by the default bounds, 99,180 without); a session does not show them.
DEFAULT_FILTER = UnitFilter(in_brain_only=False)

#: Probe -> its session, where the published stimulus metrics are wrong: rates of 0 where spikes are, or 1.8 times too
#: high (found by counting the spikes of the release's own files).
PROBES_WITH_BROKEN_METRICS: Mapping[int, int] = {832810584: 831882777, 846401834: 839557629}


def chosen_of_tables(unit_filter: UnitFilter | None, bounds: Mapping[str, Any]) -> UnitFilter:
    """Return the filter of a table that a caller gave whole or as single bounds (see :meth:`.UnitFilter.chosen`)."""
    return UnitFilter.chosen(unit_filter, bounds, DEFAULT_FILTER)


class TableQueries:
    """The tables and metrics of a project, each read once.

    Parameters
    ----------
    files
        Where the tables are.
    """

    def __init__(self, files: ProjectFiles) -> None:
        self.files = files
        self.forget()

    def __getstate__(self) -> dict[str, Any]:
        # Tables are read again where the cache arrives: a task sent to a worker stays small.
        return {"files": self.files, "_tables": None, "_metrics": {}}

    def forget(self) -> None:
        """Read the tables again when they are next asked for: they were changed."""
        self._tables: ProjectTables | None = None
        self._metrics: dict[tuple[str, int | str], pd.DataFrame] = {}

    @property
    def tables(self) -> ProjectTables:
        """The joined tables."""
        if self._tables is None:
            from .tables.project_tables import ProjectTables

            self._tables = ProjectTables(self.files.path_of, self._published_rows())
        return self._tables

    def _published_rows(self) -> Mapping[str, int] | None:
        if self.files.remote is None:  # and so the libraries of remotes are not loaded
            return None
        from .remotes.public_bucket import PublicBucket
        from .remotes.registry import TABLE_ROWS

        return TABLE_ROWS if isinstance(self.files.remote, PublicBucket) else None

    def at_hand(self, name: TableName) -> pd.DataFrame | None:
        """Return a table, or None if it is neither in the cache nor to be had now."""
        try:
            return self.tables.raw(name)
        except (OfflineError, RemoteNotFoundError, AccessError, ConnectionError) as error:
            logger.info("the table of %s is not at hand: %s", name, error)
            return None

    def distinct(self, column: str) -> list[Any]:
        """Return what a column of the sessions table holds, in order of appearance."""
        values: list[Any] = self.tables.column("sessions", column).dropna().unique().tolist()
        return values

    def known_session(self, session_id: int) -> int:
        """Return the id if the sessions table has it, or cannot be had.

        Raises
        ------
        UnknownIdError
            If the table does not have it.
        """
        session_id = whole_number(session_id, "session")
        sessions = self.at_hand("sessions")
        if sessions is not None and session_id not in sessions.index:
            what = "is a row number?" if session_id < len(sessions) else "is unknown."
            msg = (
                f"the project has no session {session_id}: it {what} Session ids look like {sessions.index[0]}; "
                "get_session_table().index lists them"
            )
            raise UnknownIdError(msg)
        return session_id

    # --- published metrics ---------------------------------------------------------------------------------------

    def metrics_of_all_types(self) -> pd.DataFrame:
        """Return the published metrics of all session types, with the names of the released files."""
        from .tables.analysis_metrics import stacked

        return stacked(self._metrics_table("typewise_analysis_metrics", kind) for kind in self.distinct("session_type"))

    def metrics_of_type(self, session_type: str) -> pd.DataFrame:
        """Return the published metrics of one session type.

        Raises
        ------
        UnknownNameError
            For a session type that the project does not have.
        """
        available = self.distinct("session_type")
        if session_type not in available:
            near = suggest(session_type, available)
            msg = f"{session_type!r} is no session type{near}. Available: {', '.join(available)}"
            raise UnknownNameError(msg)
        return self._metrics_table("typewise_analysis_metrics", session_type)

    def metrics_of_session(self, session_id: int) -> pd.DataFrame:
        """Return the published metrics of one session.

        Raises
        ------
        UnknownIdError
            For a session that the project does not have.
        """
        return self._metrics_table("session_analysis_metrics", self.known_session(session_id))

    def metrics(
        self,
        published: pd.DataFrame,
        unit_filter: UnitFilter,
        names: MetricNames,
        *,
        annotate: bool,
        leave_out_broken: bool = False,
    ) -> pd.DataFrame:
        """Return published metrics under the names asked for; if `annotate`, of units that pass, after their columns.

        Raises
        ------
        UnknownNameError
            For `names` of another kind.

        Warns
        -----
        UserWarning
            Where units whose published metrics are wrong are among them, and not to be left out.
        """
        from allen_ecephys.metric_names import DOCUMENTED_NAMES

        from .tables.analysis_metrics import INDEX, renamed

        if names not in ("documented", "release"):
            msg = f"names must be 'documented' or 'release'; got {names!r}{suggest(names, ('documented', 'release'))}"
            raise UnknownNameError(msg)
        metrics = renamed(published, names)
        broken = self._broken(metrics.index)
        if leave_out_broken and broken.any():
            metrics = metrics[~broken]
            broken = broken[~broken]
        if not annotate:
            _warn_of_broken(int(broken.sum()))
            return metrics.copy()
        units = self.tables.units(None, unit_filter)
        clash = set(units.columns) & set(metrics.columns) - set(DOCUMENTED_NAMES)
        at = metrics.index.get_indexer(units.index)
        shown = units[at >= 0].drop(columns=list(clash))
        _warn_of_broken(int(broken[at[at >= 0]].sum()))
        import pandas as pd

        return pd.concat([shown, metrics.take(at[at >= 0])], axis=1).rename_axis(INDEX)

    def _broken(self, unit_ids: pd.Index) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Tell which units are of a probe whose published metrics are wrong; tables are read only if some may be."""
        import numpy as np

        probes = self.at_hand("probes")
        if probes is None or not any(
            probe in probes.index and probes.loc[probe, "ecephys_session_id"] == session
            for probe, session in PROBES_WITH_BROKEN_METRICS.items()
        ):
            return np.zeros(len(unit_ids), dtype=bool)
        units, channels = self.at_hand("units"), self.at_hand("channels")
        if units is None or channels is None:
            return np.zeros(len(unit_ids), dtype=bool)
        there = channels.index[channels["ecephys_probe_id"].isin(list(PROBES_WITH_BROKEN_METRICS))]
        return np.asarray(unit_ids.isin(units.index[units["ecephys_channel_id"].isin(there)]))

    def _metrics_table(self, name: str, which: int | str) -> pd.DataFrame:
        from .tables.analysis_metrics import read_metrics

        if (name, which) not in self._metrics:
            values = (which,) if isinstance(which, str) else (which, which)
            self._metrics[name, which] = read_metrics(self.files.path_of(name, *values))
        return self._metrics[name, which]


def _warn_of_broken(n_units: int) -> None:
    if not n_units:
        return
    where = ", ".join(f"{probe} of session {session}" for probe, session in PROBES_WITH_BROKEN_METRICS.items())
    msg = (
        f"the published metrics of {n_units} of these units are wrong (rates of 0, or 1.8 times too high): those of "
        f"the probes {where}. leave_out_broken=True leaves them out"
    )
    warnings.warn(msg, UserWarning, stacklevel=4)
