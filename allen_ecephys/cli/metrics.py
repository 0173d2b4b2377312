"""The command that computes the stimulus metrics of a session file."""

from __future__ import annotations

from pathlib import Path

import click

from .speaking import announce_compiling


@click.command(short_help="Compute the stimulus metrics of a file's units as a table.")
@click.argument("session", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="CSV file to write (default: SESSION's name with _analysis_metrics.csv, beside it).",
)
@click.option(
    "--definition", type=click.Choice(["release", "allensdk", "corrected"]), default="release", show_default=True
)
@click.option(
    "--names",
    type=click.Choice(["release", "documented"]),
    default="release",
    show_default=True,
    help="Columns as in the released files (which a project cache serves), or all, as documented.",
)
@click.option(
    "--all-units/--filtered-units",
    default=True,
    show_default=True,
    help="Every unit of the file, as in the published tables, or only those of the default quality filter.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the surrogates of p_value_rf.")
@click.option("--shuffles", type=click.IntRange(min=1), default=1000, show_default=True, help="Surrogates.")
@click.option("--overwrite", is_flag=True, help="Replace an existing output.")
def metrics(
    session: Path,
    output: Path | None,
    definition: str,
    names: str,
    all_units: bool,
    seed: int,
    shuffles: int,
    overwrite: bool,
) -> None:
    """Compute the stimulus metrics of every unit of SESSION, an NWB file, into a CSV table.

    \b
    EXAMPLES
      allen-ecephys metrics session_715093703.nwb
      allen-ecephys metrics session.nwb --definition corrected --names documented --output tuning.csv
    """
    from typing import cast

    from allen_ecephys import EcephysSession, UnitFilter
    from allen_ecephys.files import atomic_file, remove_abandoned_drafts
    from allen_ecephys.processing.stimulus_metrics import Definition, Names, compute_unit_analysis_metrics

    announce_compiling()
    target = output or session.with_name(f"{session.stem}_analysis_metrics.csv")
    if target.exists() and not overwrite:
        remove_abandoned_drafts(target.parent)
        msg = f"{target} exists already; name another file with --output, or pass --overwrite"
        raise click.ClickException(msg)
    unit_filter = UnitFilter.none() if all_units else UnitFilter()
    with EcephysSession(session, unit_filter=unit_filter) as opened:
        table = compute_unit_analysis_metrics(
            opened,
            cast("Definition", definition),
            seed=seed,
            n_shuffles=shuffles,
            names=cast("Names", names),
        )
        n_units = len(opened.with_units(UnitFilter.none()).units)
    with atomic_file(target, replace=overwrite) as file:
        table.to_csv(file)
    click.echo(f"{target}: {len(table)} of {n_units} units, {len(table.columns)} metrics")
