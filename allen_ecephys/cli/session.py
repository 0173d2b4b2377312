"""Commands on whole sessions: ``process session``, ``status``, ``log`` and ``schema``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from allen_ecephys.errors import AllenEcephysError

from .serving import Served
from .speaking import announce_compiling

if TYPE_CHECKING:
    from allen_ecephys.processing import SessionFile, StageStatus
    from allen_ecephys.processing.pipeline import TaskResult

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_REPLACE = click.option("--replace", is_flag=True, help="Replace a session of this id that the cache holds.")


@click.command("session", short_help="Process sessions: all stages of all probes, into a project.")
@click.argument("files", nargs=-1, required=True, type=_FILE)
@click.option("--workers", type=click.IntRange(1), help="Processes that work at once (dask, on this machine).")
@click.option("--scheduler", metavar="ADDRESS", help="Dask scheduler to hand the work to, as tcp://node1:8786.")
@click.option("--threads", type=click.IntRange(1), help="Threads of each process. Default: ALLEN_ECEPHYS_THREADS.")
@_REPLACE
def session_command(
    files: tuple[Path, ...], workers: int | None, scheduler: str | None, threads: int | None, replace: bool
) -> None:
    """Process sessions: all stages of all probes, the session's files, its metrics, and its place in a project cache.

    FILES describe one session each (`process describe` writes one, `process schema` says what it may hold). What is
    done already is reused; a run that was stopped, however, goes on where it was. Exit status: 0 if everything is
    there, 1 if a stage failed or a session is not served (what does not depend on it is done all the same).

    \b
    EXAMPLES
      allen-ecephys process simulate rig/ --rig
      allen-ecephys process session rig/session.json
      allen-ecephys process session monday.toml tuesday.toml --workers 4
    """
    from allen_ecephys.processing import check_sessions, process_sessions, read_session_file

    sessions = [read_session_file(file) for file in files]
    check_sessions(sessions)
    refused = _not_served(sessions, replace=replace)
    wanted = [session for session in sessions if session.path not in refused]
    for error in refused.values():
        if not wanted:
            raise error
        click.echo(f"not processed: {error}", err=True)
    announce_compiling()
    paths = [session.path for session in wanted]
    results = process_sessions(
        paths, workers=workers, scheduler=scheduler, threads=threads, tell=_told_with_rest(paths, workers)
    )
    failed = [result for result in results if not result.ok]
    for session in sessions:
        name = str(session.told.metadata.session_id)
        if session in wanted and not any(result.key.startswith(f"{name}/") for result in failed):
            unserved = _serve(session, replace=replace)
            if unserved is not None:
                refused[session.path] = unserved
        if session.path in refused:
            click.echo(f"session {name} is not served: {refused[session.path]}", err=True)
        _write_page(session)
    if failed:
        done = len(results) - len(failed)
        click.echo(f"{done} of {len(results)} stages are done; the others are above, and in `process log`", err=True)
    if failed or refused:
        sys.exit(1)


@click.command("status", short_help="Show what is done of sessions, probe by stage.")
@click.argument("files", nargs=-1, required=True, type=_FILE)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status_command(files: tuple[Path, ...], as_json: bool) -> None:
    """Show what is done of sessions: probe by stage; done, stale, running, failed with its error. Runs nothing.

    \b
    EXAMPLES
      allen-ecephys process status rig/session.json
    """
    from allen_ecephys.processing import read_session_file, session_status

    told = {}
    for session in map(read_session_file, files):
        states = session_status(session)
        told[str(session.path)] = [vars(state) for state in states]
        if not as_json:
            click.echo(f"session {session.told.metadata.session_id}, {session.path} -> {session.output}")
            for line in _table(states):
                click.echo(line)
    if as_json:
        click.echo(json.dumps(told, indent=1))


@click.command("plan", short_help="Show what would run, and the time, memory and disk it takes.")
@click.argument("files", nargs=-1, required=True, type=_FILE)
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes that work at once.")
@click.option(
    "--like",
    multiple=True,
    type=_FILE,
    help="File of a session that was processed on this machine: its records say what stages cost. May be repeated.",
)
@_REPLACE
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def plan_command(files: tuple[Path, ...], workers: int, like: tuple[Path, ...], replace: bool, as_json: bool) -> None:
    """Show what would run, and the time, memory and disk it is expected to take. Runs nothing.

    \b
    EXAMPLES
      allen-ecephys process plan tuesday.toml --workers 4 --like monday.toml
    """
    from allen_ecephys.processing import plan_sessions, read_session_file

    plan = plan_sessions(files, workers=workers, like=like)
    for error in _not_served([read_session_file(file) for file in files], replace=replace).values():
        raise error
    if as_json:
        click.echo(json.dumps(asdict(plan), indent=1))
        return
    for stage in plan.stages:
        cost, reason = stage.cost, f"  ({stage.status.reason})" if stage.status.reason else ""
        click.echo(
            f"{stage.status.key:<40} {cost.seconds:>9,.0f} s {cost.memory / 1e9:>6.2f} GB memory "
            f"{cost.disk / 1e9:>8.2f} GB disk{reason}"
        )
    click.echo(
        f"{plan.n_done} stages are done, {len(plan.stages)} would run: about {plan.seconds / 3600:,.2f} h with "
        f"{workers} {'process' if workers == 1 else 'processes'}, {plan.memory / 1e9:.1f} GB of memory at once, "
        f"{plan.disk / 1e9:,.1f} GB of disk"
    )


@click.command("describe", short_help="Write a session's file from what a rig's folder holds.")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="Default: FOLDER/session.toml.")
@click.option(
    "--cache-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the project cache that is to serve the session.",
)
def describe_command(folder: Path, output: Path | None, cache_dir: Path | None) -> None:
    """Write a session's file from what a rig's FOLDER holds; what cannot be read from it is named in comments.

    \b
    EXAMPLES
      allen-ecephys process describe recordings/2024-05-01/ --cache-dir project/
    """
    from allen_ecephys.processing import describe_folder

    path = describe_folder(folder, output, cache=cache_dir)
    click.echo(path.read_text(encoding="utf-8"), nl=False)
    click.echo(f"written to {path}; look at it, then run `allen-ecephys process session {path}`", err=True)


@click.command("log", short_help="Print what happened to a session, stage by stage.")
@click.argument("file", type=_FILE)
@click.option("--tail", type=click.IntRange(1), metavar="N", help="Only the last N lines.")
@click.option("--traceback", is_flag=True, help="Show where stages failed, too.")
def log_command(file: Path, tail: int | None, traceback: bool) -> None:
    """Print what happened to a session, stage by stage: started, finished at what cost, warned, failed.

    \b
    EXAMPLES
      allen-ecephys process log rig/session.json --tail 20
    """
    from allen_ecephys.processing import read_session_file
    from allen_ecephys.processing.pipeline import read_log

    output = read_session_file(file).output
    lines = read_log(output)
    if not lines:
        click.echo(f"nothing has happened to this session yet: {output} holds no log", err=True)
    for line in lines[-tail:] if tail else lines:
        when = datetime.fromtimestamp(line["time"]).astimezone().isoformat(" ", "seconds")
        cost = f"  {_cost(line)}" if "seconds" in line else ""
        message = f": {line['message']}" if "message" in line else ""
        click.echo(f"{when}  {line['task']}  {line['event']}{message}{cost}")
        if traceback and "traceback" in line:
            click.echo(line["traceback"])


@click.command("schema", short_help="Print the JSON Schema of a session's file.")
def schema_command() -> None:
    """Print the JSON Schema of a session's file: every key, what it means and its default."""
    from allen_ecephys.processing import session_schema

    click.echo(json.dumps(session_schema(), indent=1))


def _told_with_rest(files: Sequence[Path], workers: int | None) -> Callable[[TaskResult], None]:
    """Return what prints each stage's result, and about how long the rest takes, where that can be told."""
    from allen_ecephys.processing import Remaining, plan_sessions

    try:
        remaining = Remaining(plan_sessions(files, workers=workers or 1))
    except (AllenEcephysError, OSError):  # the stage that cannot read its recording says so
        remaining = None

    def tell(result: TaskResult) -> None:
        left = 0.0 if remaining is None else remaining.after(result)
        rest = f"; about {left / 60:,.0f} min left" if left >= 90.0 else ""
        if result.outcome == "done":
            click.echo(f"{result.key}: done, {_cost(dict(result.cost or {}))}{rest}")
        elif result.outcome == "reused":
            click.echo(f"{result.key}: of an earlier run")
        else:
            click.echo(f"{result.key}: {result.outcome}: {result.message}{rest}", err=True)

    return tell


def _cost(cost: dict[str, Any]) -> str:
    peak = cost.get("peak_memory_bytes")  # which not every system tells
    memory = "" if peak is None else f", {peak / 1e9:.2f} GB"
    return f"{cost['seconds']:,.1f} s ({cost['cpu_seconds']:,.1f} s of CPU{memory})"


def _table(states: Sequence[StageStatus]) -> list[str]:
    """Return lines of a table, a row for each stage of the probes, a column for each probe; reasons beneath."""
    probes = list(dict.fromkeys(state.probe for state in states if state.probe))
    stages = list(dict.fromkeys(state.stage for state in states))
    cells = {(state.stage, state.probe): state.state for state in states}
    wide = max(map(len, stages))
    columns = [max(11, len(probe)) for probe in probes]
    lines = [" " * wide + "".join(f"  {name:<{width}}" for name, width in zip(probes, columns, strict=True))]
    for stage in stages:
        row = [cells[stage, probe] for probe in probes] if (stage, probes[0]) in cells else [cells[stage, ""]]
        lines.append(f"{stage:<{wide}}" + "".join(f"  {c:<{w}}" for c, w in zip(row, columns, strict=False)))
    told = [s for s in states if s.reason and s.state != "to do"]
    return [line.rstrip() for line in lines] + [f"  {s.key}: {s.state}: {s.reason}" for s in told]


def _write_page(session: SessionFile) -> None:
    """Write the page of a session, whether or not everything went well; without its libraries, say so."""
    from allen_ecephys.processing import write_session_page

    try:
        click.echo(f"how it went: {write_session_page(session)}")
    except (AllenEcephysError, OSError) as error:  # the pages of other sessions are written all the same
        click.echo(f"no page of session {session.told.metadata.session_id}: {error}", err=True)


def _served(session: SessionFile) -> Served | None:
    return None if session.cache is None else Served(session, session.cache)


def _not_served(sessions: Sequence[SessionFile], *, replace: bool) -> dict[Path, Exception]:
    """Return of which files the project cache will not take the session, and why."""
    refused: dict[Path, Exception] = {}
    for session in sessions:
        try:
            if (served := _served(session)) is not None:
                served.check(replace=replace)
        except (AllenEcephysError, OSError) as error:
            refused[session.path] = error
    return refused


def _serve(session: SessionFile, *, replace: bool) -> Exception | None:
    """Put a finished session into its project cache; return what went wrong, if something did."""
    served = _served(session)
    if served is None:
        return None
    try:
        done = served.put(replace=replace)
    except (AllenEcephysError, OSError) as error:
        return error
    if done:
        click.echo(done)
    click.echo(
        f"session {session.told.metadata.session_id} is served: read it with "
        f"EcephysProjectCache.fixed({str(session.cache)!r})"
    )
    return None
