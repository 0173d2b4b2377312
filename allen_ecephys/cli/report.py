"""The command that writes the HTML report of a session file."""

from __future__ import annotations

from pathlib import Path

import click

from .speaking import announce_compiling


@click.command(short_help="Write one HTML page on an NWB file: every unit, every signal.")
@click.argument("session", type=click.Path(exists=True, path_type=Path))
@click.argument("output", type=click.Path(dir_okay=False, path_type=Path), metavar="OUT.html")
@click.option("--all-units", is_flag=True, help="Show every unit of the file, not only those of the quality filter.")
@click.option("--overwrite", is_flag=True, help="Replace an existing page.")
def report(session: Path, output: Path, all_units: bool, overwrite: bool) -> None:
    """Write one HTML page on SESSION, an NWB file: each of its units, quality, stimuli, behaviour, LFP, light.

    \b
    EXAMPLE
      allen-ecephys report session_715093703.nwb session_715093703.html
    """
    from allen_ecephys import EcephysSession, UnitFilter
    from allen_ecephys.files import remove_abandoned_drafts

    if output.suffix.lower() not in {".html", ".htm"}:
        msg = f"{output} would be an HTML page: name it {output.with_suffix('.html')}"
        raise click.BadParameter(msg, param_hint="OUT.html")
    if output.exists() and not overwrite:
        remove_abandoned_drafts(output.parent)
        msg = f"{output} exists already; name another file, or pass --overwrite"
        raise click.ClickException(msg)
    announce_compiling()
    with EcephysSession(session, unit_filter=UnitFilter.none() if all_units else UnitFilter()) as opened:
        written = opened.report(output, overwrite=overwrite)
    click.echo(f"{written}: {written.stat().st_size / 1e6:.1f} MB")
