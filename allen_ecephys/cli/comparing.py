"""``allen-ecephys process compare``: published units against found ones, also at the end of ``process run``."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .speaking import AS_JSON

if TYPE_CHECKING:
    from allen_ecephys import EcephysSession
    from allen_ecephys.processing.sorting import SortingComparison
    from allen_ecephys.processing.synchronization import ReleasedProbe

#: Rows of a table that are printed.
ROWS = 8
#: Where ``process run`` leaves what it compared, below its output folder.
PAGE, TOLD = "comparison.html", "comparison.json"


@click.command("compare", short_help="Compare published units with those found again.")
@click.argument("found", type=click.Path(exists=True, path_type=Path))
@click.argument("published", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--raw",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The raw data of the release that were sorted (raw-data/SESSION/PROBE): puts FOUND on the session's clock. "
    "Default: both are on one clock.",
)
@click.option(
    "--probe", metavar="NAME", help="Probe of PUBLISHED, by name or id. Default: that of --raw, or the only one."
)
@click.option("--found-probe", metavar="NAME", help="Probe of FOUND, where it has several.")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write the whole comparison as a page.")
@AS_JSON
def compare_command(
    found: Path, published: Path, raw: Path | None, probe: str | None, found_probe: str | None, html: Path | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Compare the units of a published session with those that another sorting of it found.

    FOUND and PUBLISHED are session files, or output folders of `process run`. Units are told by their spikes: which
    were found again, which are lost, which are new, and how far depth, amplitude, rate and metrics moved. `process
    run` does this by itself where RAW is a probe of the release in a project cache that holds its session.

    \b
    EXAMPLES
      allen-ecephys process compare output/ ~/ecephys_cache/session_715093703/session_715093703.nwb \\
          --raw ~/ecephys_cache/raw-data/715093703/810755797 --html comparison.html
      allen-ecephys process compare output_ks4/ output/
    """
    from allen_ecephys import EcephysSession
    from allen_ecephys.processing.sorting import write_comparison_page
    from allen_ecephys.processing.synchronization import open_released_probe

    clock = None if raw is None else open_released_probe(raw)
    named = probe or (raw.resolve().name if raw is not None and raw.resolve().name.isdecimal() else None)
    with EcephysSession(_session_file(found)) as new, EcephysSession(_session_file(published)) as old:
        comparison = _compared(new, old, found_probe, named, clock)
    if html is not None:
        write_comparison_page(comparison, html, title=f"{published.name} against {found.name}")
    if as_json:
        click.echo(json.dumps(as_facts(comparison), indent=1, allow_nan=False))
    else:
        say_comparison(comparison)
        if html is not None:
            click.echo(f"page: {html}")


def compare_with_published(raw: Path, session_file: Path, output: Path) -> None:
    """Say how a released probe that was sorted anew compares with its published units, where those are at hand."""
    from allen_ecephys import EcephysSession
    from allen_ecephys.cache import session_beside
    from allen_ecephys.errors import AllenEcephysError
    from allen_ecephys.files import write_atomically
    from allen_ecephys.processing.readers import list_probes
    from allen_ecephys.processing.sorting import write_comparison_page
    from allen_ecephys.processing.synchronization import open_released_probe

    if [probe.recorder for probe in list_probes(raw)] != ["the release"]:
        return
    known = session_beside(raw)
    by_hand = f"allen-ecephys process compare {output} SESSION_FILE --raw {raw}"
    if known is None:
        click.echo(f"published units: the session's file is not beside the raw data. To compare with it: {by_hand}")
        return
    published, probe_id = known
    try:
        with EcephysSession(session_file) as new, EcephysSession(published) as old:
            comparison = _compared(new, old, None, str(probe_id), open_released_probe(raw))
    except AllenEcephysError as error:  # the session that was asked for is made; this is an addition
        click.echo(f"published units: not compared. {error}", err=True)
        return
    write_atomically(output / TOLD, json.dumps(as_facts(comparison), indent=1, allow_nan=False), durable=False)
    write_comparison_page(comparison, output / PAGE, title=f"Probe {probe_id}: {published.name} against a new sorting")
    say_comparison(comparison)
    click.echo(f"page: {output / PAGE}")


def say_comparison(comparison: SortingComparison) -> None:
    """Print a comparison in a few lines."""
    counts, published, found = comparison.counts(), comparison.published, comparison.found
    matched = published["agreement"][published["status"] == "matched"]
    median = f" (median agreement {matched.median():.2f})" if len(matched) else ""
    of_good = (
        f"; of the {counts['published_passing_filter']} that pass the default filter {counts['matched_passing_filter']}"
    )
    click.echo(
        f"published units: {counts['matched']} of {counts['published']} found again{median}"
        f"{of_good}; {counts['lost']} lost"
    )
    click.echo(
        f"found units: {counts['found']}, of which {counts['new']} are new ({counts['new_passing_filter']} pass the "
        f"default filter) and {counts['partial']} share spikes with a published unit without being it"
    )
    if comparison.spikes_left_out:
        click.echo(f"  {comparison.spikes_left_out:,} published spikes lie at times that were not sorted again")
    moved = comparison.movements()
    moved = moved[moved["units"] > 0]
    if len(moved):
        click.echo("moved (found less published; `within`: 90 % of matched units):")
        click.echo(moved.round(3).to_string())
    columns = ["waveform_amplitude", "firing_rate", "found_unit", "share_found", "share_of_found"]
    lost = published[published["status"] == "lost"]
    _say_table("lost", lost, columns)
    _say_table("new", found[found["status"] == "new"], ["waveform_amplitude", "firing_rate", "passes_filter"])


def as_facts(comparison: SortingComparison) -> dict[str, Any]:
    """Return a comparison as what JSON can hold; numbers that are missing are null."""
    published, found = (table.reset_index() for table in (comparison.published, comparison.found))
    facts = {
        "counts": comparison.counts(),
        "spikes_left_out": comparison.spikes_left_out,
        "moved": comparison.movements().reset_index().to_dict("records"),
        "published": published.astype(object).to_dict("records"),
        "found": found.astype(object).to_dict("records"),
    }
    plain: dict[str, Any] = _plain(facts)
    return plain


def _plain(value: Any) -> Any:
    import pandas as pd

    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, str):
        return value
    if pd.isna(value):
        return None
    number = value.item() if hasattr(value, "item") else value
    return None if isinstance(number, float) and not math.isfinite(number) else number


def _say_table(name: str, table: Any, columns: list[str]) -> None:
    if not len(table):
        return
    by = "waveform_amplitude" if "waveform_amplitude" in table else "spikes"
    held = [column for column in columns if column in table]
    shown = table.sort_values(by, ascending=False).head(ROWS)
    first = f" (the first {ROWS} of {len(table)})" if len(table) > ROWS else f" ({len(table)})"
    click.echo(f"{name}{first}:")
    click.echo(shown[["spikes", *held]].round(3).to_string())


def _session_file(path: Path) -> Path:
    """Return the session file in an output folder of `process run`, or the path itself."""
    inside = path / "session" / "session.nwb"
    return inside if inside.is_file() else path


def _compared(
    found: EcephysSession, published: EcephysSession, found_probe: str | None, probe: str | None,
    clock: ReleasedProbe | None,
) -> SortingComparison:  # fmt: skip
    from allen_ecephys.processing.sorting import compare_sortings

    return compare_sortings(found, published, found_probe=found_probe, published_probe=probe, clock=clock)
