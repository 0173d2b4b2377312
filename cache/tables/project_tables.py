"""The project's tables: sessions, probes, channels and units, read once, joined, filtered and named.

Names: a column has one name in every table that shows it (``probe_name``, ``full_genotype``, ``peak_channel``). The
names that AllenSDK gave the same column in some tables (``name``, ``genotype``, ``local_index``) are there too, as
aliases after the others, so that published notebooks run; hiding one hides both.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pandas as pd

from allen_ecephys.errors import FileFormatError, InvalidTypeError
from allen_ecephys.nwb import layout
from allen_ecephys.units.filter import OUT_OF_BRAIN, UnitFilter
from allen_ecephys.units.table import unregistered_to_nan

from .reading import TableSchema, read_table

logger = logging.getLogger(__name__)

TableName = Literal["sessions", "probes", "channels", "units"]

_UNIT_NUMBERS: Final = (
    "PT_ratio", "amplitude", "amplitude_cutoff", "cumulative_drift", "d_prime", "duration", "firing_rate", "halfwidth",
    "isi_violations", "isolation_distance", "l_ratio", "max_drift", "nn_hit_rate", "nn_miss_rate", "presence_ratio",
    "recovery_slope", "repolarization_slope", "silhouette_score", "snr", "spread", "velocity_above", "velocity_below",
)  # fmt: skip

SCHEMAS: Final[Mapping[TableName, TableSchema]] = {
    "sessions": TableSchema("sessions", "id", ("session_type",), (), ("age_in_days",), ("has_nwb",)),
    "probes": TableSchema(
        "probes",
        "id",
        ("ecephys_session_id", "name"),
        ("ecephys_session_id",),
        ("sampling_rate", "lfp_sampling_rate", "lfp_temporal_subsampling_factor"),
        ("has_lfp_data",),
    ),
    "channels": TableSchema(
        "channels",
        "id",
        ("ecephys_probe_id", "ecephys_structure_acronym"),
        ("ecephys_probe_id",),
        (
            *layout.CCF_COLUMNS,
            "local_index",
            "probe_horizontal_position",
            "probe_vertical_position",
            "ecephys_structure_id",
        ),
    ),
    "units": TableSchema("units", "id", ("ecephys_channel_id",), ("ecephys_channel_id",), _UNIT_NUMBERS),
}

UNIT_NAMES: Final = {
    "PT_ratio": "waveform_PT_ratio",
    "amplitude": "waveform_amplitude",
    "duration": "waveform_duration",
    "halfwidth": "waveform_halfwidth",
    "recovery_slope": "waveform_recovery_slope",
    "repolarization_slope": "waveform_repolarization_slope",
    "spread": "waveform_spread",
    "velocity_above": "waveform_velocity_above",
    "velocity_below": "waveform_velocity_below",
    "l_ratio": "L_ratio",
}

#: AllenSDK's name -> the one name, for the columns of a probe and of a session that other tables show.
_OF_PROBE: Final = {
    "name": "probe_name",
    "phase": "probe_phase",
    "sampling_rate": "probe_sampling_rate",
    "lfp_sampling_rate": "probe_lfp_sampling_rate",
}
ALIASES: Final[Mapping[TableName, Mapping[str, str]]] = {
    "sessions": {},
    "probes": {"genotype": "full_genotype"},
    "channels": {**_OF_PROBE, "genotype": "full_genotype"},
    "units": {**_OF_PROBE, "local_index": "peak_channel", "genotype": "full_genotype"},
}

_OF_SESSION: Final = (
    "date_of_acquisition", "published_at", "specimen_id", "session_type", "isi_experiment_id", "age_in_days", "sex",
    "genotype", "has_nwb",
)  # fmt: skip
_BOOKKEEPING: Final = ("air_channel_index", "surface_channel_index", "lfp_temporal_subsampling_factor")

#: Columns that are not shown unless asked for (`suppress`).
HIDDEN: Final[Mapping[TableName, tuple[str, ...]]] = {
    "sessions": ("has_nwb", "isi_experiment_id", "date_of_acquisition"),
    "probes": (*_BOOKKEEPING, *_OF_SESSION),
    "channels": (*_BOOKKEEPING, *_OF_SESSION, "name"),
    "units": (
        *_BOOKKEEPING,
        "has_nwb",
        "isi_experiment_id",
        "epoch_name_quality_metrics",
        "epoch_name_waveform_metrics",
    ),
}

#: Columns counted or collected from other tables; those tables are read only if one of them is shown.
_FROM_UNITS: Final = "unit_count"
_FROM_CHANNELS: Final = frozenset({"channel_count", "ecephys_structure_acronyms"})

#: pandas 3 copies a frame when it is written to; before, a copy had to be made at once.
_DEEP_COPY: Final = int(pd.__version__.partition(".")[0]) < 3
_KEPT_RESULTS: Final = 8


class ProjectTables:
    """The four tables of a project, each read at most once.

    Parameters
    ----------
    path_of
        Returns the path of a table's CSV file, fetching it if needed.
    published_rows
        How many rows the tables have where the project is the release: a table with fewer was cut between two lines,
        or is an excerpt, and a warning is logged.
    """

    def __init__(self, path_of: Callable[[TableName], Path], published_rows: Mapping[str, int] | None = None) -> None:
        self._path_of = path_of
        self._published_rows = published_rows or {}
        self._read: dict[TableName, pd.DataFrame] = {}
        self._results: dict[Hashable, pd.DataFrame] = {}
        self._told: set[TableName] = set()

    def forget(self) -> None:
        """Read the files again when next asked."""
        self._read.clear()
        self._results.clear()

    def raw(self, name: TableName) -> pd.DataFrame:
        """Return a table as it is used for joins: typed, faults corrected, names of the file. Not to be changed."""
        if name not in self._read:
            path = self._path_of(name)
            table = read_table(path, SCHEMAS[name])
            if len(table) < self._published_rows.get(name, 0):
                message = "%s holds %d rows, the release has %d: move the file away to have all of it fetched"
                logger.warning(message, path, len(table), self._published_rows[name])
            self._read[name] = _CORRECTIONS[name](table)
        return self._read[name]

    def column(self, name: TableName, column: str) -> pd.Series[Any]:
        """Return one column of a table as it is used for joins.

        Raises
        ------
        FileFormatError
            If the table, which can be used without it, does not have it.
        """
        table = self.raw(name)
        if column not in table:
            msg = f"{self._path_of(name)} has no column {column!r}; it has: {', '.join(map(str, table.columns))}"
            raise FileFormatError(msg)
        return table[column]

    # --- public tables -------------------------------------------------------------------------------------------

    def sessions(self, suppress: Iterable[str] | None, unit_filter: UnitFilter) -> pd.DataFrame:
        """Return the sessions with counts of what they hold (see :meth:`EcephysProjectCache.get_session_table`)."""
        hidden = _hidden("sessions", suppress)
        return self._result(
            ("sessions", tuple(sorted(hidden)), unit_filter),
            lambda: self._counted("sessions", self.raw("sessions"), hidden, unit_filter).rename(
                columns={"genotype": "full_genotype"}
            ),
        )

    def probes(self, suppress: Iterable[str] | None, unit_filter: UnitFilter) -> pd.DataFrame:
        """Return the probes with their session (see :meth:`EcephysProjectCache.get_probes`)."""
        hidden = _hidden("probes", suppress)
        return self._result(
            ("probes", tuple(sorted(hidden)), unit_filter),
            lambda: _named("probes", self._counted("probes", self._probes_of_sessions(), hidden, unit_filter)),
        )

    def channels(self, suppress: Iterable[str] | None, unit_filter: UnitFilter) -> pd.DataFrame:
        """Return the channels with their probe and session (see :meth:`EcephysProjectCache.get_channels`)."""
        hidden = _hidden("channels", suppress)

        def build() -> pd.DataFrame:
            self._tell_of_orphans("channels", "ecephys_probe_id", "probes")
            joined = _join(self.raw("channels"), "ecephys_probe_id", self._probes_of_sessions(), ("_channel", "_probe"))
            if _FROM_UNITS not in hidden:
                joined = joined.assign(
                    unit_count=_count(joined.index, self._kept_units(unit_filter)["ecephys_channel_id"])
                )
            shown = joined.drop(columns=[c for c in hidden if c in joined])
            return _named("channels", shown)

        return self._result(("channels", tuple(sorted(hidden)), unit_filter), build)

    def units(self, suppress: Iterable[str] | None, unit_filter: UnitFilter) -> pd.DataFrame:
        """Return the units that pass, with channel, probe and session (see :meth:`EcephysProjectCache.get_units`)."""
        hidden = _hidden("units", suppress)

        def build() -> pd.DataFrame:
            self._tell_of_orphans("units", "ecephys_channel_id", "channels")
            kept = self._kept_units(unit_filter)
            # Hidden columns are dropped before they are copied to every unit; those joined on, after.
            drop = hidden - {"ecephys_channel_id", "ecephys_probe_id"}
            kept, channels, probes = (
                table.drop(columns=[c for c in drop if c in table])
                for table in (kept.rename(columns=UNIT_NAMES), self.raw("channels"), self._probes_of_sessions())
            )
            joined = _join(kept, "ecephys_channel_id", channels, ("_unit", "_channel"))
            joined = _join(joined, "ecephys_probe_id", probes, ("_channel", "_probe"))
            return _named("units", joined.drop(columns=[c for c in hidden if c in joined]))

        return self._result(("units", tuple(sorted(hidden)), unit_filter), build)

    # --- joins and counts ----------------------------------------------------------------------------------------

    def _tell_of_orphans(self, name: TableName, key: str, owners: TableName) -> None:
        """Log, once, how many rows of a table are shown nowhere because the table of their owners lacks those."""
        orphans = ~self.raw(name)[key].isin(self.raw(owners).index)
        if orphans.any() and name not in self._told:
            message = "%d of %d %s are left out: their %s are not in %s, the first is %s"
            count, first = int(orphans.sum()), self.raw(name).loc[orphans, key].iloc[0]
            logger.warning(message, count, len(orphans), name, owners, self._path_of(owners), first)
            self._told.add(name)

    def _probes_of_sessions(self) -> pd.DataFrame:
        self._tell_of_orphans("probes", "ecephys_session_id", "sessions")
        return _join(self.raw("probes"), "ecephys_session_id", self.raw("sessions"), ("_probe", "_session"))

    def _kept_units(self, unit_filter: UnitFilter) -> pd.DataFrame:
        """Return the units that pass, with the columns of the file."""

        def build() -> pd.DataFrame:
            units = self.raw("units")
            channels = self.raw("channels")
            at = channels.index.get_indexer(pd.Index(units["ecephys_channel_id"]))
            acronyms = channels["ecephys_structure_acronym"].array.take(at, allow_fill=True)
            judged = {name: units[name] for name in _JUDGED if name in units}
            kept = unit_filter.mask(pd.DataFrame({**judged, "ecephys_structure_acronym": acronyms}, units.index))
            if unit_filter.valid_only and "quality" in units:
                units = units.drop(columns="quality")  # all that pass are good
            return units[kept]

        return self._result(("kept", unit_filter), build)

    def _counted(
        self, name: Literal["sessions", "probes"], table: pd.DataFrame, hidden: set[str], unit_filter: UnitFilter
    ) -> pd.DataFrame:
        """Return the table with the counts that are not hidden, and without the hidden columns."""
        owner = "ecephys_session_id" if name == "sessions" else "ecephys_probe_id"
        shown = table.drop(columns=[c for c in hidden if c in table])
        if _FROM_UNITS not in hidden:
            units = _join(self._kept_units(unit_filter)[["ecephys_channel_id"]], "ecephys_channel_id", self._owners())
            shown = shown.assign(unit_count=_count(table.index, units[owner]))
        if "channel_count" not in hidden:
            shown = shown.assign(channel_count=_count(table.index, self._owners()[owner]))
        if name == "sessions" and "probe_count" not in hidden:
            shown = shown.assign(probe_count=_count(table.index, self.raw("probes")["ecephys_session_id"]))
        if "ecephys_structure_acronyms" not in hidden:
            shown = shown.assign(ecephys_structure_acronyms=_acronyms(table.index, self._owners(), owner))
        return shown

    def _owners(self) -> pd.DataFrame:
        """Return for each channel its probe, session and structure."""

        def build() -> pd.DataFrame:
            channels = self.raw("channels")[["ecephys_probe_id", "ecephys_structure_acronym"]]
            return _join(channels, "ecephys_probe_id", self._probes_of_sessions()[["ecephys_session_id"]])

        return self._result(("owners",), build)

    def _result(self, key: Hashable, build: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        """Return a frame of the caller's own, keeping the last few that were asked for."""
        if key in self._results:
            self._results[key] = self._results.pop(key)  # the most recently used is last
        else:
            self._results[key] = build()
            while len(self._results) > _KEPT_RESULTS:
                del self._results[next(iter(self._results))]
        frame = self._results[key].copy(deep=_DEEP_COPY)
        if "ecephys_structure_acronyms" in frame:
            frame["ecephys_structure_acronyms"] = _own_arrays(frame["ecephys_structure_acronyms"])
        return frame


_JUDGED: Final = ("presence_ratio", "isi_violations", "amplitude_cutoff", "quality", "valid_data")


def _hidden(name: TableName, suppress: Iterable[str] | None) -> set[str]:
    """Return the columns to hide; an alias and its column go together."""
    if isinstance(suppress, str):
        msg = f"suppress must be a list of column names; got {suppress!r}. Write suppress=[{suppress!r}]"
        raise InvalidTypeError(msg)
    hidden = set(HIDDEN[name] if suppress is None else suppress)
    for old, new in {**ALIASES[name], "genotype": "full_genotype"}.items():
        if {old, new} & hidden:
            hidden |= {old, new}
    if name == "units":
        hidden |= {old for old, new in UNIT_NAMES.items() if new in hidden}
    return hidden


def _named(name: TableName, table: pd.DataFrame) -> pd.DataFrame:
    """Give each column its one name, and append the aliases."""
    aliases = {old: new for old, new in ALIASES[name].items() if old in table}
    if not aliases:
        return table
    named = table.rename(columns=aliases)
    return pd.concat([named, table[list(aliases)]], axis=1)


def _join(
    left: pd.DataFrame, key: str, right: pd.DataFrame, suffixes: tuple[str, str] = ("_left", "_right")
) -> pd.DataFrame:
    """Return the rows of `left` whose `key` is in the index of `right`, with the columns of both."""
    clash = set(left.columns) & set(right.columns)
    if clash:
        left = left.rename(columns={c: c + suffixes[0] for c in clash if c != key})
        right = right.rename(columns={c: c + suffixes[1] for c in clash})
    at = right.index.get_indexer(pd.Index(left[key]))
    if (at < 0).any():
        left, at = left[at >= 0], at[at >= 0]
    return pd.concat([left, right.take(at).set_axis(left.index)], axis=1)


def _count(owners: pd.Index, owned: pd.Series[Any]) -> np.ndarray[Any, Any]:
    """Return how many entries of `owned` are each of the `owners`."""
    at = owners.get_indexer(pd.Index(owned))
    return np.bincount(at[at >= 0], minlength=len(owners))


def _acronyms(owners: pd.Index, channels: pd.DataFrame, owner: str) -> pd.Series[Any]:
    """Return the structures of each owner's channels in order of appearance; none for channels out of the brain."""
    acronyms = channels["ecephys_structure_acronym"]
    inside = channels[acronyms.notna() & ~acronyms.isin(list(OUT_OF_BRAIN))]
    pairs = inside[[owner, "ecephys_structure_acronym"]].drop_duplicates()
    found = {at: group.to_numpy(dtype=object) for at, group in pairs.groupby(owner)["ecephys_structure_acronym"]}
    nothing = np.empty(0, dtype=object)
    return pd.Series([found.get(at, nothing) for at in owners], index=owners, dtype=object)


def _own_arrays(column: pd.Series[Any]) -> pd.Series[Any]:
    return pd.Series([a.copy() for a in column], index=column.index, dtype=object)


def _as_it_is(table: pd.DataFrame) -> pd.DataFrame:
    return table


def _correct_probes(table: pd.DataFrame) -> pd.DataFrame:
    """Divide the LFP rate, which the file gives before subsampling."""
    if not {"lfp_sampling_rate", "lfp_temporal_subsampling_factor"} <= set(table.columns):
        return table
    return table.assign(lfp_sampling_rate=table["lfp_sampling_rate"] / table["lfp_temporal_subsampling_factor"])


_CORRECTIONS: Final[Mapping[TableName, Callable[[pd.DataFrame], pd.DataFrame]]] = {
    "sessions": _as_it_is,
    "probes": _correct_probes,
    "channels": unregistered_to_nan,
    "units": _as_it_is,
}
