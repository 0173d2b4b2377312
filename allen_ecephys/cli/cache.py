"""``allen-ecephys cache``: filling a project cache for work without a network, checking it, copying it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from allen_ecephys.errors import FileFormatError, MissingFileError

from .speaking import AS_JSON

if TYPE_CHECKING:
    from allen_ecephys.cache.offline.plan import Selection
    from allen_ecephys.cache.offline.report import Report
    from allen_ecephys.cache.project_cache import EcephysProjectCache

_Command = TypeVar("_Command", bound=Callable[..., Any])
INTERRUPTED = 130


def where(command: _Command) -> _Command:
    """Add the options that say which cache is meant."""
    options = [
        click.option(
            "--cache-dir",
            type=click.Path(path_type=Path),
            help="Folder (or manifest) of the cache. [default: ALLEN_ECEPHYS_CACHE_DIR or the user's cache folder]",
        ),
        click.option(
            "--source",
            "--remote",
            "source",
            help="Where missing files come from: s3 (the public bucket), warehouse, dandi, a URL or a folder, or none. "
            "[default: where the cache was built from, else s3]",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def what(command: _Command) -> _Command:
    """Add the options that choose sessions and files."""
    options = [
        click.option("--session", "session_ids", type=int, multiple=True, help="Session id. May be repeated."),
        click.option("--session-type", "session_types", multiple=True, help="Session type. May be repeated."),
        click.option("--structure", "structures", multiple=True, help="Acronym, such as VISp. May be repeated."),
        click.option("--genotype", "genotypes", multiple=True, help="Part of a genotype. May be repeated."),
        click.option("--query", help="Condition on the session table, such as \"sex == 'F' and unit_count > 500\"."),
        click.option("--lfp/--no-lfp", default=False, show_default=True, help="LFP files of all probes."),
        click.option("--metrics/--no-metrics", default=True, show_default=True, help="Stimulus metrics of units."),
        click.option("--templates/--no-templates", default=False, show_default=True, help="Scenes and movies shown."),
        click.option("--sessions/--no-sessions", default=True, show_default=True, help="The session files."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


_REPORT = click.option(
    "--report", type=click.Path(path_type=Path, dir_okay=False), help="Write what came of each file to a JSON file."
)


def open_cache(cache_dir: Path | None, source: str | None) -> EcephysProjectCache:
    """Open the cache that the options of :func:`where` name; one that is not there yet is made."""
    from allen_ecephys.cache.offline.source import PUBLIC_BUCKET, remembered_source
    from allen_ecephys.cache.project_cache import EcephysProjectCache
    from allen_ecephys.cache.project_files import manifest_path

    makers: dict[str, Callable[..., EcephysProjectCache]] = {
        "s3": EcephysProjectCache.from_s3,
        "warehouse": EcephysProjectCache.from_warehouse,
        "dandi": EcephysProjectCache.from_dandi,
        "none": EcephysProjectCache.fixed,
    }
    source = source or remembered_source(manifest_path(cache_dir).parent) or PUBLIC_BUCKET
    if source in makers:
        return makers[source](manifest=cache_dir)
    return EcephysProjectCache.from_url(source, manifest=cache_dir)


def open_existing(cache_dir: Path | None, source: str | None) -> EcephysProjectCache:
    """Open a cache for a command that works on what is there, and so must not make one where none is."""
    from allen_ecephys.cache.project_files import manifest_path, project_files

    manifest = manifest_path(cache_dir)
    if not manifest.is_file() and not project_files(manifest.parent):
        msg = (
            f"there is no cache in {manifest.parent}. Name its folder with --cache-dir, or fill a new one with "
            "`allen-ecephys cache build`"
        )
        raise MissingFileError(msg)
    return open_cache(cache_dir, source)


def _selection(choice: dict[str, Any]) -> Selection:
    from allen_ecephys.cache.offline.plan import Selection

    return Selection(**{**choice, "session_ids": choice["session_ids"] or None})


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:,.2f} GB" if count >= 1e8 else f"{count / 1e6:,.2f} MB"


@click.group()
def cache() -> None:
    """Fill, check and copy the project cache.

    \b
    EXAMPLES
      allen-ecephys cache plan --session-type functional_connectivity --lfp
      allen-ecephys cache build --session 715093703 --session 721123822 --lfp
      allen-ecephys cache verify --repair
      allen-ecephys cache export /media/disk/ecephys.tar --structure VISp
    """


@cache.command(name="plan", short_help="Show what a selection needs, its bytes, and what is there.")
@where
@what
@AS_JSON
def plan_command(cache_dir: Path | None, source: str | None, as_json: bool, **choice: Any) -> None:
    """Show which files a selection needs, their bytes, and what is there already. Fetches the tables only."""
    from allen_ecephys.cache.offline.plan import plan

    found = plan(open_cache(cache_dir, source), _selection(choice))
    if as_json:
        click.echo(json.dumps(found.as_dict(), indent=1))
        return
    for file in found.files:
        size = "size unknown" if file.size is None else _gigabytes(file.size)
        click.echo(f"{'present ' if file.present else 'to fetch'}  {size:>14}  {file.key}")
    click.echo(
        f"{len(found.sessions)} sessions, {len(found.files)} files, {_gigabytes(found.total_bytes)}; "
        f"to fetch: {len(found.to_fetch)} files, {_gigabytes(found.missing_bytes)}"
    )


@cache.command(name="build", short_help="Fetch all files of a selection.")
@where
@what
@click.option("--jobs", type=click.IntRange(1, 16), default=2, show_default=True, help="Files fetched at once.")
@_REPORT
@AS_JSON
def build_command(
    cache_dir: Path | None, source: str | None, jobs: int, report: Path | None, as_json: bool, **choice: Any
) -> None:
    """Fetch all files of a selection. The same command resumes an interrupted build.

    Exit status: 0 if all is there, 1 if a file failed, 130 if interrupted (what came is kept).
    """
    from allen_ecephys.cache.offline.build import build

    try:
        done = build(open_cache(cache_dir, source), _selection(choice), jobs=jobs)
    except KeyboardInterrupt:
        click.echo("Interrupted. What came so far is kept; the same command resumes.", err=True)
        sys.exit(INTERRUPTED)
    _tell(done, report, as_json=as_json)


@cache.command(name="verify", short_help="Compare every byte with what was published or arrived.")
@where
@click.option("--repair", is_flag=True, help="Move damaged files away and fetch them again.")
@click.option("--deep", is_flag=True, help="Also read NWB files without a published digest to their end.")
@_REPORT
@AS_JSON
def verify_command(
    cache_dir: Path | None, source: str | None, repair: bool, deep: bool, report: Path | None, as_json: bool
) -> None:
    """Compare every byte of the cache with what was published, or noted on arrival.

    Exit status: 0 if all is as it should be, 1 if not.
    """
    from allen_ecephys.cache.offline.verify import verify

    _tell(verify(open_existing(cache_dir, source), repair=repair, deep=deep), report, as_json=as_json)


@cache.command(name="export", short_help="Copy a selection to a new folder or tar, with its digests.")
@click.argument("target", type=click.Path(path_type=Path))
@where
@what
@click.option("--all", "everything", is_flag=True, help="Everything that is there, whatever was selected.")
@click.option(
    "--tables",
    is_flag=True,
    help="Write units, metrics, presentations and running speed as Parquet files instead (extra `tables`).",
)
@_REPORT
@AS_JSON
def export_command(
    target: Path,
    cache_dir: Path | None,
    source: str | None,
    everything: bool,
    tables: bool,
    report: Path | None,
    as_json: bool,
    **choice: Any,
) -> None:
    """Copy a selection, with manifest and digests, to a new folder or a file ending in .tar.

    With --tables, write the tables of the project, or of the sessions named, as Parquet files into a new folder.
    """
    from allen_ecephys.cache.offline.export import export

    if tables:
        _export_tables(open_existing(cache_dir, source), target, choice["session_ids"], as_json=as_json)
        return
    selection = None if everything else _selection(choice)
    _tell(export(open_existing(cache_dir, source), target, selection), report, as_json=as_json)


def _export_tables(project: EcephysProjectCache, target: Path, session_ids: tuple[int, ...], *, as_json: bool) -> None:
    written = project.export_tables(target, session_ids or None)
    if as_json:
        click.echo(json.dumps(written.reset_index().to_dict("records"), indent=1))
        return
    for name, row in written.iterrows():
        click.echo(f"{row.rows:>12,} rows  {name}  {row.message}".rstrip())
    click.echo(f"{(written['message'] == '').sum()} files in {target}; schema.json tells what each column holds")


@cache.command(name="index", short_help="Index session files for questions to all sessions at once.")
@where
@click.option("--session", "session_ids", type=int, multiple=True, help="Session id. May be repeated. [default: all]")
@click.option("--stream", is_flag=True, help="Also index session files that are not in the cache, by ranges of bytes.")
@AS_JSON
def index_command(
    cache_dir: Path | None, source: str | None, session_ids: tuple[int, ...], stream: bool, as_json: bool
) -> None:
    """Index session files, so that EcephysProjectCache.population() answers without opening them.

    An index holds where the spikes of each unit lie and what was shown when, a few MB a session. It is made again when
    its session file changes. A population indexes the sessions that it needs by itself; this does it beforehand.

    Exit status: 0 if all are indexed, 1 if a file could not be read.
    """
    table = open_existing(cache_dir, source).index_sessions(session_ids or None, stream=stream)
    if as_json:
        click.echo(json.dumps(table.reset_index().to_dict("records"), indent=1))
    else:
        for session_id, row in table.iterrows():
            what = f"{row.unit_count:,} units, {row.presentation_count:,} presentations"
            told = row.message if row.outcome == "failed" else f"{what}  {row.message}".rstrip()
            click.echo(f"{row.outcome:>8}  {_gigabytes(row.index_bytes):>14}  session {session_id}  {told}")
        click.echo(f"{len(table)} sessions, {_gigabytes(int(table['index_bytes'].sum()))} of indexes")
    if (table["outcome"] == "failed").any():
        sys.exit(1)


@cache.command(name="add", short_help="Put a session of your own into a project.")
@click.argument("nwb", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--cache-dir",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of a project of your own; made if it does not exist.",
)
@click.option(
    "--metrics",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Stimulus metrics, a CSV by unit id.",
)
@click.option(
    "--lfp",
    "lfp_files",
    type=(int, click.Path(exists=True, dir_okay=False, path_type=Path)),
    multiple=True,
    metavar="PROBE_ID FILE",
    help="LFP file of a probe. May be repeated.",
)
@click.option("--replace", is_flag=True, help="Put it in the place of a session with the same id.")
@click.option("--move", is_flag=True, help="Move the files instead of copying them.")
def add_command(
    nwb: Path,
    cache_dir: Path,
    metrics: Path | None,
    lfp_files: tuple[tuple[int, Path], ...],
    replace: bool,
    move: bool,
) -> None:
    """Put a session of your own into a project cache, which then serves it like a released one."""
    session, root = add_to_project(cache_dir, nwb, metrics=metrics, lfp=dict(lfp_files), replace=replace, move=move)
    click.echo(f"session {session} is in {root}; read it with EcephysProjectCache.fixed({str(root)!r})")


def add_to_project(
    cache_dir: Path,
    nwb: Path,
    *,
    metrics: Path | None,
    lfp: dict[int, Path],
    replace: bool = False,
    move: bool = False,
) -> tuple[int, Path]:
    """Put a session's files into a project of one's own, made if it does not exist; return its id and the folder."""
    from allen_ecephys.cache.project_cache import EcephysProjectCache

    table = None
    if metrics is not None:
        from allen_ecephys.written_tables import read_written_table

        read = read_written_table(metrics, may_be_empty=True)  # of a session without units
        if read.empty and read.columns[0] not in {"unit_id", "ecephys_unit_id"}:
            msg = f"{metrics} has no row, and no column of unit ids: it is no table of a session's metrics"
            raise FileFormatError(msg)
        table = read.set_index(read.columns[0])
    project = EcephysProjectCache(cache_dir, remote=None) if cache_dir.exists() else _new_project(cache_dir)
    return project.add_session(nwb, metrics=table, lfp=lfp, replace=replace, move=move), project.root


def _new_project(cache_dir: Path) -> EcephysProjectCache:
    from allen_ecephys.cache.project_cache import EcephysProjectCache

    (cache_dir.parent if cache_dir.suffix == ".json" else cache_dir).mkdir(parents=True)
    return EcephysProjectCache(cache_dir, remote=None)


@cache.command(name="status", short_help="Show what is there, unfinished, and moved away.")
@where
@AS_JSON
def status_command(cache_dir: Path | None, source: str | None, as_json: bool) -> None:
    """Show what the cache holds, what is unfinished and what was moved away. Writes nothing, uses no network."""
    from allen_ecephys.cache.offline.build import status
    from allen_ecephys.cache.project_files import manifest_path

    # A cache with a remote writes the manifest that it does not find.
    found = status(open_existing(cache_dir, source if manifest_path(cache_dir).is_file() else "none"))
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    click.echo(f"{found['root']}: {len(found['files'])} files, {_gigabytes(found['bytes'])}")
    click.echo(f"built from: {found['built_from'] or 'not noted'}")
    click.echo(f"free on this disk: {_gigabytes(found['free_bytes'])}")
    for file in found["files"]:
        checked = "verified" if file["verified"] else "unchanged" if file["noted"] else "unverified"
        click.echo(f"  {checked:10}  {_gigabytes(file['bytes']):>14}  {file['key']}")
    for part in found["unfinished"]:
        size = "?" if part["bytes"] is None else _gigabytes(part["bytes"])
        click.echo(f"  unfinished  {_gigabytes(part['at_hand'])} of {size}  {part['key']}")
    for name in found["set_aside"]:
        click.echo(f"  moved away because damaged: {name}")


def _tell(done: Report, report: Path | None, *, as_json: bool) -> None:
    """Print what came of each file, keep the report, and set the exit status."""
    if report is not None:
        done.write(report)
    if as_json:
        click.echo(json.dumps(done.as_dict(), indent=1))
    else:
        for file in done.files:
            if file.message or file.outcome not in {"present", "verified"}:
                click.echo(f"{file.outcome:>10}  {_gigabytes(file.bytes):>14}  {file.key}  {file.message}".rstrip())
        click.echo(repr(done))
    if not done.ok:
        sys.exit(1)
