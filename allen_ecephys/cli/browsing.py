"""``allen-ecephys sessions`` and ``allen-ecephys units``: what a project or a file holds, as a table or as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .cache import open_cache, where
from .speaking import AS_JSON

if TYPE_CHECKING:
    import pandas as pd

#: Columns that are shown where both the table and the line have room for them.
_OF_SESSIONS = ("session_type", "unit_count", "probe_count", "sex", "age_in_days", "full_genotype")
_OF_UNITS = (
    "ecephys_session_id", "probe_description", "ecephys_structure_acronym", "probe_vertical_position", "firing_rate",
    "snr", "presence_ratio", "isi_violations", "amplitude_cutoff", "hidden_by",
)  # fmt: skip
_ROWS = click.option(
    "--rows", type=click.IntRange(0), default=30, show_default=True, help="Rows to print at most; 0 for all."
)
_CSV = click.option(
    "--csv", "csv", type=click.Path(dir_okay=False, path_type=Path), help="Write all rows and columns to a CSV file."
)


@click.command("sessions", short_help="List the project's sessions, all or those that fit.")
@where
@click.option("--session-type", "session_types", multiple=True, help="Session type. May be repeated.")
@click.option("--structure", "structures", multiple=True, help="Acronym, such as VISp. May be repeated.")
@click.option("--genotype", "genotypes", multiple=True, help="Part of a genotype. May be repeated.")
@click.option("--query", help="Condition on the table, such as \"sex == 'F' and unit_count > 500\".")
@_ROWS
@_CSV
@AS_JSON
def list_sessions(
    cache_dir: Path | None,
    source: str | None,
    session_types: tuple[str, ...],
    structures: tuple[str, ...],
    genotypes: tuple[str, ...],
    query: str | None,
    rows: int,
    csv: Path | None,
    as_json: bool,
) -> None:
    """List the sessions of the project, all or those that fit. Fetches the project's tables once.

    \b
    EXAMPLES
      allen-ecephys sessions
      allen-ecephys sessions --structure VISp --genotype Sst --json
    """
    from allen_ecephys.cache.offline.plan import Selection, choose_sessions

    cache = open_cache(cache_dir, source)
    wanted = Selection(session_types=session_types, structures=structures, genotypes=genotypes, query=query)
    table = cache.get_session_table().loc[choose_sessions(cache, wanted)]
    _show(table, _OF_SESSIONS, "session", rows=rows, csv=csv, as_json=as_json)


@click.command("units", short_help="List the units of a file or the project, with their quality.")
@click.argument("session", required=False, type=click.Path(exists=True, path_type=Path))
@where
@click.option(
    "--structure",
    "structures",
    multiple=True,
    help="Acronym, such as VISp, or TH for all that lie in it. May be repeated.",
)
@click.option("--query", help='Condition on the table, such as "snr > 3 and firing_rate > 1".')
@click.option("--all-units", is_flag=True, help="Every unit, not only those of the quality filter; says what hides it.")
@_ROWS
@_CSV
@AS_JSON
def list_units(
    session: Path | None,
    cache_dir: Path | None,
    source: str | None,
    structures: tuple[str, ...],
    query: str | None,
    all_units: bool,
    rows: int,
    csv: Path | None,
    as_json: bool,
) -> None:
    """List the units of SESSION, an NWB file, with their quality; without it, those of all sessions of the project.

    \b
    EXAMPLES
      allen-ecephys units session_715093703.nwb --structure VISp
      allen-ecephys units --structure LGd --query "snr > 3" --csv lgd.csv
    """
    from allen_ecephys import EcephysSession, UnitFilter
    from allen_ecephys.errors import UnknownNameError

    chosen = (UnitFilter.none() if all_units else UnitFilter()).replace(structures=structures or None)
    if session is None:
        table = open_cache(cache_dir, source).get_units(unit_filter=chosen)
        # The project's table has AllenSDK's names; a file's own are shown for both.
        table = table.rename(columns={"name": "probe_description"}).rename_axis("unit_id")
    else:
        with EcephysSession(session, unit_filter=chosen) as opened:
            table = opened.units
    if all_units:
        table["hidden_by"] = _reasons(table)
    if query:
        try:
            table = table.query(query, engine="python", local_dict={}, global_dict={})
        except Exception as error:
            msg = f"{query!r} is no condition on the units ({error}). Their columns are: {', '.join(table.columns)}"
            raise UnknownNameError(msg) from error
    _show(table, _OF_UNITS, "unit", rows=rows, csv=csv, as_json=as_json)


def _reasons(units: pd.DataFrame) -> list[str]:
    """Return of each unit the bounds of the default filter that it fails."""
    from allen_ecephys import UnitFilter

    failed = UnitFilter().failures(units)
    return [", ".join(bound for bound, fails in failed.items() if fails[row]) for row in range(len(units))]


def _show(
    table: pd.DataFrame, columns: tuple[str, ...], what: str, *, rows: int, csv: Path | None, as_json: bool
) -> None:
    """Print a table: JSON with all its columns, or those that a reader looks for, and how many rows there are."""
    table = table.rename_axis(f"{what}_id")
    if csv is not None:
        from allen_ecephys.files import atomic_file

        with atomic_file(csv) as file:
            table.to_csv(file)
    if as_json:
        click.echo(table.reset_index().to_json(orient="records", indent=1, double_precision=15))
        return
    shown = table[[name for name in columns if name in table]]
    count = min(len(shown), rows or len(shown))
    if count:
        click.echo(shown.head(count).round(3).to_string())
    left = f" ({len(shown) - count} more: --rows 0 prints all)" if count < len(shown) else ""
    click.echo(f"{len(shown):,} {what}{'s' * (len(shown) != 1)}{left}" + (f"; written to {csv}" if csv else ""))
