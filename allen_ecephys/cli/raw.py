"""What every command on raw data takes, and ``allen-ecephys process list``: what a folder of raw data holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import click

from .speaking import AS_JSON

Command = TypeVar("Command", bound=Callable[..., Any])


def raw_options(command: Command) -> Command:
    """Add which probe of a folder is meant, and whether cut files are accepted: `stream` and `allow_cut`."""
    command = click.option(
        "--allow-cut", is_flag=True, help="Use what there is of files that are shorter than their metadata say."
    )(command)
    return click.option(
        "--stream",
        "--probe",
        "stream",
        metavar="NAME",
        help="Probe or stream, where RAW holds several: imec0, ProbeA, ProbeA-AP. `process list RAW` names them.",
    )(command)


@click.command("list")
@click.argument("raw", type=click.Path(path_type=Path))
@click.option("--allow-cut", is_flag=True, help="Look into files that are shorter than their metadata say, too.")
@AS_JSON
def list_command(raw: Path, allow_cut: bool, as_json: bool) -> None:
    """Say what a folder of raw data holds: recorder, probes, channels, length, bands, gaps.

    \b
    EXAMPLES
      allen-ecephys process list recordings/2024-05-01/
    """
    from allen_ecephys.processing.readers import list_probes

    probes = list_probes(raw, allow_cut=allow_cut)
    if as_json:
        click.echo(json.dumps([asdict(found) for found in probes], indent=1, default=str))
        return
    for found in probes:
        name = found.probe or "(unnamed probe)"
        click.echo(f"{name}  {found.recorder}  {found.folder}")
        if found.problem:
            click.echo(f"    cannot be opened: {found.problem}")
            continue
        shanks = f"{found.n_shanks} shank{'s' * (found.n_shanks != 1)}"
        gaps = f"{found.n_gaps} gap{'s' * (found.n_gaps != 1)}" if found.n_gaps else "no gaps"
        click.echo(
            f"    {found.part_number or 'part number not told'}, {found.n_channels} channels on {shanks}, "
            f"{found.seconds:,.1f} s, bands {' and '.join(found.bands)}, {gaps}"
        )
