"""Putting a session of one's own into a project cache, so that it is served like a released one.

The session's files, its metrics and its rows in the tables are one change of the project (:mod:`.changes`): all of it
or none. A call that was killed is repeated by the same call, also where the files were to be moved.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from allen_ecephys.errors import AccessError, AlreadyPresentError, FileFormatError, UnknownIdError
from allen_ecephys.files import file_lock
from allen_ecephys.nwb import layout
from allen_ecephys.session.session import EcephysSession
from allen_ecephys.units.filter import UnitFilter

from . import manifest as manifests
from .changes import StagedChange, finish, forget, staged_change
from .offline.source import remember_own_project
from .tables.analysis_metrics import INDEX, renamed
from .tables.editing import TextTable
from .tables.project_tables import UNIT_NAMES, TableName
from .transfer.checks import check_hdf5_end, file_digest

if TYPE_CHECKING:
    from .project_files import ProjectFiles

logger = logging.getLogger(__name__)

#: Columns of the released tables, in their order.
HEADERS: Final[Mapping[TableName, tuple[str, ...]]] = {
    "sessions": (
        "id", "date_of_acquisition", "isi_experiment_id", "published_at", "specimen_id", "session_type",
        "age_in_days", "sex", "genotype", "has_nwb",
    ),
    "probes": (
        "id", "air_channel_index", "ecephys_session_id", "lfp_sampling_rate", "lfp_temporal_subsampling_factor",
        "name", "phase", "sampling_rate", "surface_channel_index", "has_lfp_data",
    ),
    "channels": (
        "id", "ecephys_probe_id", "local_index", "probe_horizontal_position", "probe_vertical_position",
        *layout.CCF_COLUMNS,
        "ecephys_structure_id", "ecephys_structure_acronym",
    ),
    "units": (
        "id", "PT_ratio", "amplitude", "amplitude_cutoff", "cumulative_drift", "d_prime", "duration",
        "ecephys_channel_id", "epoch_name_quality_metrics", "epoch_name_waveform_metrics", "firing_rate", "halfwidth",
        "isi_violations", "isolation_distance", "l_ratio", "max_drift", "nn_hit_rate", "nn_miss_rate",
        "presence_ratio", "quality", "recovery_slope", "repolarization_slope", "silhouette_score", "snr", "spread",
        "velocity_above", "velocity_below",
    ),
}  # fmt: skip

#: The order in which tables are replaced: what is referred to by a later one comes before it.
_WRITTEN: Final[tuple[TableName, ...]] = ("units", "channels", "probes", "sessions")

#: Seconds after which a process that holds the lock is taken for dead.
_LOCK_PATIENCE_S: Final = 300.0


@dataclass(frozen=True)
class SessionRows:
    """A session as rows of the project's tables, each indexed by id and with the names of the released files."""

    session_id: int
    session_type: str
    tables: Mapping[TableName, pd.DataFrame]


def add_session(
    files: ProjectFiles,
    nwb: str | os.PathLike[str],
    *,
    metrics: pd.DataFrame | None = None,
    lfp: Mapping[int, str | os.PathLike[str]] | None = None,
    specimen_id: int | None = None,
    replace: bool = False,
    move: bool = False,
) -> int:
    """Put a session into the cache (see :meth:`.EcephysProjectCache.add_session`)."""
    if files.remote is not None:
        msg = (
            f"the cache in {files.root} mirrors {files.remote.url}; a session added to it would make its tables "
            "differ. Add to a project of your own: EcephysProjectCache(folder, remote=None)"
        )
        raise AccessError(msg)
    given: dict[int | None, Path] = {None: Path(nwb), **{probe: Path(path) for probe, path in (lfp or {}).items()}}
    asked = _asked(given, metrics, specimen_id)
    with _alone(files):
        repeated = _finish_interrupted(files, given, asked)
        if repeated is not None:
            return _end(files, repeated, given, move=move)
        sources = {probe: path.resolve() for probe, path in given.items()}
        rows = describe(sources[None], lfp=lfp or {}, specimen_id=specimen_id)
        for path in sources.values():
            check_hdf5_end(path)
        metrics = None if metrics is None else _metrics_of_session(metrics, rows)
        if not files.manifest_path.is_file():
            manifests.write(files.manifest_path)
        tables = {name: TextTable.read(files.manifest.path(name), HEADERS[name]) for name in HEADERS}
        old = _replaced(tables, rows, replace=replace)
        with staged_change(files.root, {"session": rows.session_id, "asked": asked}) as change:
            for probe, path in sources.items():
                key = _key(files, rows.session_id, probe)
                if path != (files.root / key).resolve():
                    change.take(path, key, link=move)
            _stage_metrics(files, change, rows, metrics, old["units"])
            for name in _WRITTEN:
                new = tables[name].without(old[name]).with_rows(rows.tables[name])
                change.write(files.manifest.key(name), new.encoded())
        return _end(files, finish(files.root) or {}, given, move=move)


def _asked(
    given: Mapping[int | None, Path], metrics: pd.DataFrame | None, specimen_id: int | None
) -> list[str | int | None]:
    """Return what tells one call from another."""
    table = None if metrics is None else hashlib.sha256(metrics.to_csv().encode()).hexdigest()
    return [*(f"{probe} {path.absolute()}" for probe, path in given.items()), table, specimen_id]


def _finish_interrupted(
    files: ProjectFiles, given: Mapping[int | None, Path], asked: list[str | int | None]
) -> dict[str, Any] | None:
    """Finish what a killed call began; return it if it was this very call, of the same files."""
    finished = finish(files.root)
    if finished is None:
        return None
    session = finished["session"]
    logger.warning("the addition of session %s to %s was cut off, and is completed now", session, files.root)
    if finished["asked"] == asked and all(
        not path.exists() or _is_placed(files, finished, probe, path) for probe, path in given.items()
    ):
        return finished
    forget(files.root)
    return None


def _is_placed(files: ProjectFiles, finished: Mapping[str, Any], probe: int | None, source: Path) -> bool:
    """Tell whether the bytes of a source are in the cache."""
    key = _key(files, int(finished["session"]), probe)
    if source.samefile(files.root / key):
        return True
    algorithm, digest = finished["digests"].get(key, ("sha256", ""))
    return bool(file_digest(source, algorithm) == digest)


def _end(files: ProjectFiles, finished: dict[str, Any], given: Mapping[int | None, Path], *, move: bool) -> int:
    """Remove the sources of a finished move, whose bytes are in the cache, and forget that there was a change."""
    session = int(finished["session"])
    for probe, path in given.items() if move else ():
        source, placed = path.resolve(), (files.root / _key(files, session, probe)).resolve()
        if source.exists() and source != placed and _is_placed(files, finished, probe, source):
            source.unlink()
            if path.is_symlink():
                path.unlink()
    remember_own_project(files.root)
    forget(files.root)
    return session


def _key(files: ProjectFiles, session: int, probe: int | None) -> str:
    """Return where the session's file lies, or that of a probe's LFP."""
    if probe is None:
        return files.manifest.key("session_nwb", session, session)
    return files.manifest.key("probe_lfp_nwb", session, probe)


def describe(
    nwb: Path, *, lfp: Mapping[int, str | os.PathLike[str]] | None = None, specimen_id: int | None = None
) -> SessionRows:
    """Return what the tables of a project say about the session in an NWB file.

    Parameters
    ----------
    nwb
        Session file.
    lfp
        Probe id -> LFP file, of the probes that have one.
    specimen_id
        Id of the animal; by default the file's ``subject_id``, if that is a number.

    Raises
    ------
    FileFormatError
        If the file's identifier is no whole number, which session ids are.
    UnknownIdError
        If `lfp` names a probe that the session does not have.
    """
    with EcephysSession(nwb, unit_filter=UnitFilter.none()) as session:
        try:
            session_id = int(session.ecephys_session_id)
        except (TypeError, ValueError) as error:
            msg = f"the identifier of {nwb} is no whole number, which session ids are: {error}"
            raise FileFormatError(msg) from error
        probes, channels, units = session.probes, session.channels, session.units
        strangers = set(lfp or {}) - set(probes.index)
        if strangers:
            msg = f"session {session_id} has no probe {min(strangers)}; it has {', '.join(map(str, probes.index))}"
            raise UnknownIdError(msg)
        row = {
            "date_of_acquisition": _acquired(session.session_start_time, nwb),
            "published_at": _utc(datetime.now(UTC)),
            "specimen_id": specimen_id if specimen_id is not None else _number(session.subject_id),
            "session_type": session.session_type,
            "age_in_days": session.age_in_days,
            "sex": session.sex,
            "genotype": session.full_genotype,
            "has_nwb": True,
        }
        session_type = session.session_type
    if not session_type:
        msg = f"{nwb} states no session type (general/stimulus), under which a project files its metrics"
        raise FileFormatError(msg)
    manifests.standard_key("typewise_analysis_metrics", session_type)  # the type becomes part of a file's name
    valid = channels[channels["valid_data"]] if "valid_data" in channels else channels
    tables: dict[TableName, pd.DataFrame] = {
        "sessions": pd.DataFrame([row], index=pd.Index([session_id], name="id")),
        "probes": _probe_rows(session_id, probes, lfp or {}),
        "channels": valid.rename(columns={"probe_id": "ecephys_probe_id", "probe_channel_number": "local_index"}),
        "units": _unit_rows(units),
    }
    cut = {name: _released_columns(name, table) for name, table in tables.items()}
    return SessionRows(session_id, session_type, cut)


def _probe_rows(session_id: int, probes: pd.DataFrame, lfp: Mapping[int, Any]) -> pd.DataFrame:
    return probes.rename(columns={"description": "name"}).assign(
        ecephys_session_id=session_id,
        lfp_temporal_subsampling_factor=1.0,  # the file states the rate after subsampling
        has_lfp_data=[bool(has) or probe in lfp for probe, has in probes["has_lfp_data"].items()],
    )


def _unit_rows(units: pd.DataFrame) -> pd.DataFrame:
    released = {shown: name for name, shown in UNIT_NAMES.items()}
    return units.rename(columns={**released, "peak_channel_id": "ecephys_channel_id"})


def _released_columns(name: TableName, table: pd.DataFrame) -> pd.DataFrame:
    return table[[column for column in HEADERS[name][1:] if column in table]]


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None


def _utc(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _acquired(when: datetime, nwb: Path) -> str:
    try:
        return _utc(when)
    except OverflowError as error:
        msg = f"{nwb} states {when.isoformat()} as session_start_time, before the year 1 in UTC; it is no real one"
        raise FileFormatError(msg) from error


def _metrics_of_session(metrics: pd.DataFrame, rows: SessionRows) -> pd.DataFrame:
    if INDEX in metrics:
        metrics = metrics.set_index(INDEX)
    strangers = metrics.index.difference(rows.tables["units"].index)
    if len(strangers):
        msg = f"the metrics hold unit {strangers[0]}, which session {rows.session_id} does not have"
        raise UnknownIdError(msg)
    return renamed(metrics, "release").rename_axis(INDEX)


def _replaced(tables: Mapping[TableName, TextTable], rows: SessionRows, *, replace: bool) -> dict[TableName, set[int]]:
    """Return the ids of the rows that make way: the session's own, and those that belong to no session.

    Raises
    ------
    AlreadyPresentError
        If the session is there and `replace` is False.
    UnknownIdError
        If a probe, channel or unit has the id of another session's.
    """
    sessions = {int(i) for i in tables["sessions"].column("id")}
    if rows.session_id in sessions and not replace:
        msg = f"the cache already holds session {rows.session_id}; replace=True puts this one in its place"
        raise AlreadyPresentError(msg)
    parents: dict[int, int] = {i: i for i in sessions}
    gone: dict[TableName, set[int]] = {"sessions": {rows.session_id}}
    owners: tuple[tuple[TableName, str], ...] = (
        ("probes", "ecephys_session_id"),
        ("channels", "ecephys_probe_id"),
        ("units", "ecephys_channel_id"),
    )
    for name, owner in owners:
        table = tables[name]
        owned = {
            int(i): parents.get(int(float(up))) if up else None
            for i, up in zip(table.column("id"), table.column(owner), strict=True)
        }
        taken = [i for i in rows.tables[name].index if owned.get(i) not in (None, rows.session_id)]
        if taken:
            msg = f"{name[:-1]} {taken[0]} of session {rows.session_id} has the id of one of session {owned[taken[0]]}"
            raise UnknownIdError(msg)
        gone[name] = {i for i, session in owned.items() if session in (None, rows.session_id)}
        parents = {i: session for i, session in owned.items() if session is not None}
    return gone


def _stage_metrics(
    files: ProjectFiles, change: StagedChange, rows: SessionRows, metrics: pd.DataFrame | None, old_units: set[int]
) -> None:
    """Stage the session's metrics in its own table and that of its type; take those of a replaced session out."""
    own = files.manifest.key("session_analysis_metrics", rows.session_id, rows.session_id)
    header = (INDEX,) if metrics is None else (INDEX, *(str(c) for c in metrics.columns))
    of_type = files.manifest.path("typewise_analysis_metrics", rows.session_type)
    for shared in sorted({*files.root.glob("*_analysis_metrics.csv"), of_type}):
        table = TextTable.read(shared, header)
        kept = table.without(old_units)
        if metrics is not None and shared == of_type:
            kept = kept.without(set(metrics.index)).with_rows(metrics)
        elif len(kept.rows) == len(table.rows):
            continue
        change.write(shared.relative_to(files.root).as_posix(), kept.encoded())
    if metrics is None:
        change.remove(own)
    else:
        change.write(own, TextTable(header).with_rows(metrics).encoded())


@contextmanager
def _alone(files: ProjectFiles) -> Iterator[None]:
    """Let one process at a time change the tables."""
    from time import monotonic

    began = monotonic()
    lock = files.root / ".add-session.lock"
    with file_lock(lock, still_alive=lambda: monotonic() - began < _LOCK_PATIENCE_S) as held:
        if not held and monotonic() - began >= _LOCK_PATIENCE_S:
            logger.warning("%s: another process has been adding a session for long; going on without waiting", lock)
        yield
