"""Putting a session of one's own into a project cache, so that it is served like a released one.

Everything new is written beside its place and renamed; the sessions table, which makes the session visible, comes
last. Rows that an interrupted call left in the other tables belong to no session, are not shown, and are replaced by
the next call.
"""

from __future__ import annotations

import logging
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from allen_ecephys.errors import AccessError, AlreadyPresentError, FileFormatError, UnknownIdError
from allen_ecephys.files import file_lock, not_written, write_atomically
from allen_ecephys.nwb import layout
from allen_ecephys.session.session import EcephysSession
from allen_ecephys.units.filter import UnitFilter

from . import manifest as manifests
from .tables.analysis_metrics import INDEX, renamed
from .tables.editing import TextTable
from .tables.project_tables import UNIT_NAMES, TableName
from .transfer.checks import check_file, check_hdf5_end, note_checked

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
    source = Path(nwb)
    rows = describe(source, lfp=lfp or {}, specimen_id=specimen_id)
    for path in (lfp or {}).values():
        check_hdf5_end(Path(path))
    metrics = None if metrics is None else _metrics_of_session(metrics, rows)
    if not files.manifest_path.is_file():
        manifests.write(files.manifest_path)
    with _alone(files):
        tables = {name: TextTable.read(files.manifest.path(name), HEADERS[name]) for name in HEADERS}
        old = _replaced(tables, rows, replace=replace)
        session = rows.session_id
        # Read and join everything before anything is written.
        new = {name: tables[name].without(old[name]).with_rows(rows.tables[name]) for name in HEADERS}
        for probe, path in (lfp or {}).items():
            _place(Path(path), files.manifest.path("probe_lfp_nwb", session, probe), move=move)
        _place(source, files.manifest.path("session_nwb", session, session), move=move)
        _drop_metrics(files, session, old["units"])
        if metrics is not None:
            _write_metrics(files, rows, metrics)
        for name in _WRITTEN:
            write_atomically(files.manifest.path(name), new[name].encoded())
    return session


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
            "date_of_acquisition": _utc(session.session_start_time),
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


def _drop_metrics(files: ProjectFiles, session: int, units: set[int]) -> None:
    """Take the metrics of a replaced session out of the project."""
    for shared in files.root.glob("*_analysis_metrics.csv"):
        table = TextTable.read(shared, (INDEX,))
        kept = table.without(units)
        if len(kept.rows) < len(table.rows):
            write_atomically(shared, kept.encoded())
    files.manifest.path("session_analysis_metrics", session, session).unlink(missing_ok=True)


def _write_metrics(files: ProjectFiles, rows: SessionRows, metrics: pd.DataFrame) -> None:
    header = (INDEX, *(str(c) for c in metrics.columns))
    own = files.manifest.path("session_analysis_metrics", rows.session_id, rows.session_id)
    write_atomically(own, TextTable(header).with_rows(metrics).encoded())
    shared = files.manifest.path("typewise_analysis_metrics", rows.session_type)
    kept = TextTable.read(shared, header).without(set(metrics.index))
    write_atomically(shared, kept.with_rows(metrics).encoded())


def _place(source: Path, destination: Path, *, move: bool) -> None:
    """Put a file under its name in the cache in one step."""
    if destination.exists() and destination.samefile(source):
        return
    part = destination.with_name(f".{destination.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        try:
            if move and source.stat().st_dev == destination.parent.stat().st_dev:
                source.replace(destination)
            else:
                shutil.copyfile(source, part)
                with part.open("rb+") as copied:
                    os.fsync(copied.fileno())
                part.replace(destination)
                if move:
                    source.unlink()
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise not_written(destination.parent, error) from error
    algorithm, digest, _ = check_file(destination, None)
    note_checked(destination, algorithm, digest, verified=False)


@contextmanager
def _alone(files: ProjectFiles) -> Iterator[None]:
    """Let one process at a time change the tables."""
    from time import monotonic

    began = monotonic()
    lock = files.root / ".add-session.lock"
    with file_lock(lock, still_alive=lambda: monotonic() - began < _LOCK_PATIENCE_S) as held:
        if not held:
            logger.warning("%s: another process has been adding a session for long; going on without waiting", lock)
        yield
