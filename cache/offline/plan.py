"""What a cache needs for a piece of work: sessions chosen by their properties, the files of each, their bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from allen_ecephys.errors import RemoteNotFoundError, UnknownIdError, UnknownNameError, explains_unknown_names, suggest
from allen_ecephys.units.filter import UnitFilter

from .. import manifest as manifests
from ..remotes.asking import locate_patiently
from ..remotes.protocol import RemoteFile
from ..remotes.registry import MOVIES, SCENES
from ..retrying.rules import TransferPolicy
from ..transfer.journals import journal_of, read_journal
from ..transfer.parts import parts_of

if TYPE_CHECKING:
    import pandas as pd

    from ..project_files import ProjectFiles
    from ..tables.project_tables import ProjectTables

TABLES = ("sessions", "probes", "channels", "units")
_LOCATE_THREADS = 8


class Project(Protocol):
    """What is planned, built, verified and exported: an :class:`.EcephysProjectCache`."""

    @property
    def files(self) -> ProjectFiles:
        """The folder, its manifest, and the remote that completes it."""

    @property
    def tables(self) -> ProjectTables:
        """The project's tables."""

    def index_sessions(self, session_ids: Iterable[int] | None = None) -> pd.DataFrame:
        """Index sessions for populations."""
        ...


@explains_unknown_names
@dataclass(frozen=True)
class Selection:
    """Which sessions, and which of their files.

    Each criterion that is given narrows the choice; without any, all sessions are meant.

    Attributes
    ----------
    session_ids
        Ids of sessions.
    session_types
        ``brain_observatory_1.1``, ``functional_connectivity``.
    structures
        Acronyms; a session is chosen if it has channels in one of them.
    genotypes
        Texts, one of which the genotype contains (``Sst-IRES-Cre``).
    query
        A condition on the columns of :meth:`.EcephysProjectCache.get_session_table`, in pandas' query language:
        ``"sex == 'F' and unit_count > 500"``.
    sessions, lfp, metrics, templates
        Whether the session files, the LFP files of their probes, the analysis metrics, and the stimulus templates
        are wanted. The tables always are.

    Examples
    --------
    >>> choice = Selection(structures=["VISp"], lfp=True)
    >>> plan = cache.plan(choice)
    >>> len(plan.files)
    8
    """

    session_ids: Sequence[int] | None = None
    session_types: Sequence[str] = ()
    structures: Sequence[str] = ()
    genotypes: Sequence[str] = ()
    query: str | None = None
    sessions: bool = True
    lfp: bool = False
    metrics: bool = True
    templates: bool = False


@dataclass(frozen=True)
class PlannedFile:
    """One file of a plan.

    Attributes
    ----------
    name, values
        What the manifest calls it, and the ids in its path.
    path
        Where it lies or will lie.
    remote_file
        What the remote states; None where the cache has no remote and the file is not known.
    present
        It is there, with the size that the remote states.
    bytes_at_hand
        Bytes that need not be fetched: of the file, or of an interrupted or streamed transfer.
    """

    name: str
    values: tuple[int | str, ...]
    path: Path
    remote_file: RemoteFile | None
    present: bool
    bytes_at_hand: int

    @property
    def key(self) -> str:
        """The file's path relative to the cache's root in the released layout."""
        return manifests.standard_key(self.name, *self.values)

    @property
    def size(self) -> int | None:
        """The file's bytes, None where nobody tells."""
        if self.remote_file is not None and self.remote_file.size is not None:
            return self.remote_file.size
        return self.bytes_at_hand if self.present else None

    @property
    def missing_bytes(self) -> int:
        """Bytes that have to be fetched (0 where the size is not known)."""
        return 0 if self.present or self.size is None else max(0, self.size - self.bytes_at_hand)


@dataclass(frozen=True)
class Plan:
    """The files that a piece of work needs, and what is missing of them."""

    root: Path
    files: list[PlannedFile]
    sessions: list[int] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)

    @property
    def to_fetch(self) -> list[PlannedFile]:
        """The files that are not there."""
        return [file for file in self.files if not file.present]

    @property
    def total_bytes(self) -> int:
        """Bytes of all files whose size is known."""
        return sum(file.size or 0 for file in self.files)

    @property
    def missing_bytes(self) -> int:
        """Bytes to be fetched."""
        return sum(file.missing_bytes for file in self.files)

    def as_dict(self) -> dict[str, Any]:
        """Return the plan for JSON."""
        return {
            "root": str(self.root),
            "sessions": self.sessions,
            "total_bytes": self.total_bytes,
            "missing_bytes": self.missing_bytes,
            "absent": self.absent,
            "files": [
                {"key": f.key, "bytes": f.size, "present": f.present, "missing_bytes": f.missing_bytes}
                for f in self.files
            ],
        }

    def __repr__(self) -> str:
        there = len(self.files) - len(self.to_fetch)
        return (
            f"Plan for {self.root}: {len(self.sessions)} sessions, {len(self.files)} files, "
            f"{self.total_bytes / 1e9:.2f} GB\n"
            f"  present: {there} files; to fetch: {len(self.to_fetch)} files, {self.missing_bytes / 1e9:.2f} GB"
        )


def plan(cache: Project, selection: Selection | None = None, *, policy: TransferPolicy | None = None) -> Plan:
    """Return what `selection` needs, without fetching any of it (the sessions table excepted, to choose from).

    Raises
    ------
    UnknownIdError, UnknownNameError
        If a criterion names what the project does not have.
    """
    selection = selection or Selection()
    chosen = choose_sessions(cache, selection)
    wanted = list(_wanted(cache, selection, chosen))
    with ThreadPoolExecutor(_LOCATE_THREADS) as pool:
        found = list(pool.map(lambda entry: _planned(cache, *entry, policy=policy or TransferPolicy()), wanted))
    absent = [manifests.standard_key(*entry) for entry, file in zip(wanted, found, strict=True) if file is None]
    return Plan(cache.files.root, [file for file in found if file is not None], chosen, absent)


def choose_sessions(cache: Project, selection: Selection) -> list[int]:
    """Return the ids of the sessions that `selection` means, in the order of the sessions table."""
    raw = cache.tables.raw("sessions")
    chosen = raw.index.to_series()
    if selection.session_ids is not None:
        unknown = sorted(set(selection.session_ids) - set(raw.index))
        if unknown:
            near = suggest(str(unknown[0]), map(str, raw.index))
            msg = f"the project has no session {', '.join(map(str, unknown))}{near}; get_session_table() lists them"
            raise UnknownIdError(msg)
        chosen = chosen[chosen.isin(list(selection.session_ids))]
    if selection.session_types:
        _check_known(selection.session_types, raw["session_type"].dropna().unique().tolist(), "session type")
        chosen = chosen[raw.loc[chosen.index, "session_type"].isin(list(selection.session_types))]
    if selection.genotypes:
        published = cache.tables.column("sessions", "genotype").astype("string").fillna("")
        genotypes = published[chosen.index]
        for text in selection.genotypes:
            if not published.str.contains(text, regex=False).any():
                known = ", ".join(sorted(set(published) - {""}))
                msg = f"no session has a genotype with {text!r} in it. There are: {known}"
                raise UnknownNameError(msg)
        fits = [any(text in genotype for text in selection.genotypes) for genotype in genotypes]
        chosen = chosen[fits]
    if selection.structures or selection.query:
        chosen = _by_table(cache.tables.sessions([], UnitFilter()), chosen, selection)
    return [int(session) for session in chosen]


def _by_table(table: pd.DataFrame, chosen: pd.Series[int], selection: Selection) -> pd.Series[int]:
    """Narrow a choice by what only the joined session table tells."""
    if selection.structures:
        acronyms = table["ecephys_structure_acronyms"]
        known = sorted({str(acronym) for session in acronyms for acronym in session if isinstance(acronym, str)})
        _check_known(selection.structures, known, "structure")
        wanted = set(selection.structures)
        chosen = chosen[[bool(wanted & set(acronyms.loc[session])) for session in chosen]]
    if selection.query:
        try:
            fitting = table.query(selection.query, engine="python", local_dict={}, global_dict={})
        except Exception as error:
            msg = (
                f"{selection.query!r} is no condition on the session table ({error}). Its columns are: "
                f"{', '.join(table.columns)}"
            )
            raise UnknownNameError(msg) from error
        chosen = chosen[chosen.isin(fitting.index)]
    return chosen


def _check_known(asked: Iterable[str], known: Sequence[str], what: str) -> None:
    for name in asked:
        if name not in known:
            msg = f"the project has no {what} {name!r}{suggest(name, known) or '.'} There are: {', '.join(known)}"
            raise UnknownNameError(msg)


Wanted = tuple[Any, ...]


def _wanted(cache: Project, selection: Selection, sessions: Sequence[int]) -> Iterator[Wanted]:
    """Yield manifest name and ids of each file that is meant."""
    for table in TABLES:
        yield (table,)
    if selection.metrics:
        types = cache.tables.raw("sessions").loc[list(sessions), "session_type"].dropna().unique()
        for kind in types:
            yield ("typewise_analysis_metrics", str(kind))
    if selection.templates:
        yield from (("natural_movie", number) for number in MOVIES)
        yield from (("natural_scene", number) for number in range(SCENES))
    for session in sessions:
        if selection.sessions:
            yield ("session_nwb", session, session)
        if selection.metrics:
            yield ("session_analysis_metrics", session, session)
    if selection.lfp and sessions:
        probes = cache.tables.raw("probes")
        probes = probes[probes["ecephys_session_id"].isin(list(sessions))]
        if "has_lfp_data" in probes:
            probes = probes[probes["has_lfp_data"].fillna(value=True).astype(bool)]
        for probe, session in probes["ecephys_session_id"].items():
            yield ("probe_lfp_nwb", int(session), int(str(probe)))


def _planned(cache: Project, name: str, *values: int | str, policy: TransferPolicy) -> PlannedFile | None:
    """Return one file of a plan, or None where the project does not have it."""
    path = cache.files.manifest.path(name, *values)
    found = path.stat().st_size if path.is_file() else None
    remote_file = None
    if cache.files.remote is not None:
        try:
            remote_file = locate_patiently(cache.files.remote, manifests.standard_key(name, *values), policy)
        except RemoteNotFoundError:
            if found is None:
                return None
    elif found is None:
        return None
    size = remote_file.size if remote_file is not None else None
    present = found is not None and (size is None or found == size)
    at_hand = found if present and found is not None else _in_parts(path, size)
    return PlannedFile(name, values, path, remote_file, present, at_hand)


def _in_parts(path: Path, size: int | None) -> int:
    """Return the bytes that the fullest part of `path` holds."""
    journals = [read_journal(journal_of(part)) for part in parts_of(path)]
    return max((j.present.total for j in journals if j is not None and j.size == size), default=0)
