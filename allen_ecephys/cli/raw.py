"""What every command on raw data takes, and ``allen-ecephys process list``: what a folder of raw data holds."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import click

from .speaking import AS_JSON, in_words_of

Command = TypeVar("Command", bound=Callable[..., Any])


def file_options(command: Command) -> Command:
    """Add what is known of files that do not say it themselves: `allow_cut`, `settings` and `part_number`."""
    options = (
        click.option(
            "--settings",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="settings.xml of an Open Ephys recording, where it does not lie in its place.",
        ),
        click.option(
            "--part-number",
            metavar="PART",
            help="Which probe it was, such as NP2013, where the settings of an Open Ephys recording are lost.",
        ),
        click.option(
            "--allow-cut", is_flag=True, help="Use what there is of files that are shorter than their metadata say."
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def raw_options(command: Command) -> Command:
    """Add which probe of a folder is meant, and what its files do not say; the command gets `opened_with`.

    That is what :func:`~allen_ecephys.processing.readers.open_bands` is told besides the folder.
    """

    @functools.wraps(command)
    def with_raw(
        *arguments: Any, stream: str | None, allow_cut: bool, settings: Path | None, part_number: str | None,
        **others: Any,
    ) -> Any:  # fmt: skip
        told = {"stream": stream, "allow_cut": allow_cut, "settings": settings, "part_number": part_number}
        return command(*arguments, opened_with=told, **others)

    wrapped = file_options(with_raw)
    return click.option(
        "--stream",
        "--probe",
        "stream",
        metavar="NAME",
        help="Probe or stream, where RAW holds several: imec0, ProbeA, ProbeA-AP. `process list RAW` names them.",
    )(wrapped)  # type: ignore[return-value]


def overwrite_option(command: Command) -> Command:
    """Add whether results of another recording may be replaced: `overwrite`."""
    return click.option("--overwrite", is_flag=True, help="Replace what OUTPUT holds of another recording.")(command)


@click.command("list", short_help="Say what a folder holds: recorder, probes, bands, gaps.")
@click.argument("raw", type=click.Path(path_type=Path))
@file_options
@AS_JSON
def list_command(raw: Path, as_json: bool, **told: Any) -> None:
    """Say what a folder of raw data holds: recorder, probes, channels, length, bands, gaps.

    Exit status: 1 if none of it can be opened.

    \b
    EXAMPLES
      allen-ecephys process list recordings/2024-05-01/
    """
    from allen_ecephys.processing.readers import list_probes

    probes = list_probes(raw, **told)
    if as_json:
        click.echo(json.dumps([asdict(found) for found in probes], indent=1, default=str))
    for found in [] if as_json else probes:
        name = found.probe or "(unnamed probe)"
        click.echo(f"{name}  {found.recorder}  {found.folder}")
        if found.problem:
            said = in_words_of(click.get_current_context().command, found.problem)
            click.echo(f"    cannot be opened: {said}")
            continue
        shanks = f"{found.n_shanks} shank{'s' * (found.n_shanks != 1)}"
        length = f"{found.seconds:,.1f} s" if found.seconds else "EMPTY: no samples"
        click.echo(
            f"    {found.part_number or 'part number not told'}, {found.n_channels} channels on {shanks}, "
            f"{length}, bands {' and '.join(found.bands)}, {_gaps_in_words(found.gap_seconds)}"
        )
    if all(found.problem for found in probes):
        sys.exit(1)


def _gaps_in_words(seconds: Sequence[float]) -> str:
    """Say how many gaps there are and how long they are: each of a few, the longest and the sum of many."""
    if not seconds:
        return "no gaps"
    counted = f"{len(seconds)} gap{'s' * (len(seconds) != 1)}"
    if len(seconds) > 4:
        return f"{counted} (the longest {max(seconds):,.4g} s, {sum(seconds):,.4g} s in all)"
    return f"{counted} ({' + '.join(f'{gap:,.4g}' for gap in seconds)} s)"


def surface_in_words(report: Mapping[str, Any], n_channels: int) -> str:
    """Say where the depth estimation saw the brain's surface, or that it is not among the channels."""
    channel = float(report["surface_channel"])
    if channel >= n_channels:
        return f"no brain surface among the {n_channels} channels, which count as in the brain"
    return f"brain surface at channel {channel:g} of {n_channels}"
