"""Commands that measure a probe's units and package them: ``allen-ecephys process units`` and ``process package``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .raw import overwrite_option, raw_options
from .speaking import announce_compiling

if TYPE_CHECKING:
    import pandas as pd

Command = TypeVar("Command", bound=Callable[..., Any])
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


def session_options(command: Command) -> Command:
    """Add what a session file is named and dated with."""
    command = click.option(
        "--start-time",
        type=click.DateTime(),
        default="2000-01-01T00:00:00",
        show_default=True,
        help="Start of the session (UTC).",
    )(command)
    return click.option(
        "--session-id",
        type=int,
        help="Id of the session; ids of units are made from it. Default: made from what the recording begins with, so "
        "that the same recording has the same id, and others have others.",
    )(command)


def say_units(table: pd.DataFrame, path: Path) -> None:
    """Say how many units pass each of the judgements, by name."""
    noise = int((table["quality"] == "noise").sum())
    kept = int(((table["quality"] == "good") & (table["fails_bounds"] == "")).sum())
    click.echo(f"{len(table)} units measured: {path}")
    click.echo(f"  noise by their waveform (the release's rules): {noise}{_counted(table['noise_reasons'])}")
    click.echo(
        f"  within the bounds on quality metrics, of those that are not noise: {kept} of {len(table) - noise}"
        f"{_counted(table.loc[table['quality'] == 'good', 'fails_bounds'])}"
    )


def _counted(reasons: pd.Series) -> str:
    """Return how often each reason occurs, in brackets."""
    counts = reasons[reasons != ""].str.split(",").explode().value_counts()
    return f" ({', '.join(f'{name} {n}' for name, n in counts.items())})" if len(counts) else ""


@click.command("units", short_help="Clean and measure the units of one probe.")
@click.argument("raw", type=click.Path(exists=True, path_type=Path))
@click.argument("output", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--spikes",
    type=_FOLDER,
    help="phy or Kilosort folder with the spikes. Default: the ground truth of a simulated recording.",
)
@raw_options
@overwrite_option
@click.option("--medians-subtracted", is_flag=True, help="The recording went through the median subtraction already.")
@click.option(
    "--spikes-per-unit",
    type=click.IntRange(1),
    default=1000,
    show_default=True,
    help="Spikes averaged for each mean waveform.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of all random draws.")
def units_command(
    raw: Path,
    output: Path,
    spikes: Path | None,
    opened_with: dict[str, Any],
    overwrite: bool,
    medians_subtracted: bool,
    spikes_per_unit: int,
    seed: int,
) -> None:
    """Clean and measure the units of one probe.

    RAW is the folder of a recording (simulated, Open Ephys or SpikeGLX); OUTPUT gets one folder for each stage. A run
    that was stopped goes on after its last complete stage. The table of all units is OUTPUT/units/metrics.csv.

    \b
    EXAMPLES
      allen-ecephys process units raw/ units/
      allen-ecephys process units session_g0_imec0/ units/ --spikes kilosort/
    """
    from allen_ecephys.processing import UnitParameters, measure_units, open_probe
    from allen_ecephys.processing.quality_metrics import QualitySettings
    from allen_ecephys.processing.simulation.raw import read_ground_truth, truth_file

    announce_compiling()
    parameters = UnitParameters(
        subtract_medians=not medians_subtracted,
        spikes_per_unit=spikes_per_unit,
        quality=QualitySettings(seed=seed),
        seed=seed,
    )
    known: dict[str, Any] = {}
    stream = opened_with["stream"]
    truth = truth_file(raw, stream)
    if spikes is None and truth.exists():
        known = {"spikes": read_ground_truth(raw, stream).sorted_spikes(), "spike_files": [truth]}
    probe = open_probe(raw, spikes, **known, **opened_with)
    table = measure_units(probe, output, parameters, overwrite=overwrite)
    say_units(table, output / "units" / "metrics.csv")


@click.command("package", short_help="Write measured units of probes into a session NWB file.")
@click.argument("folders", nargs=-1, required=True, type=_FOLDER)
@click.option(
    "--output", "-o", required=True, type=click.Path(dir_okay=False, path_type=Path), help="NWB file to write."
)
@click.option(
    "--probe-name",
    "probe_names",
    multiple=True,
    metavar="NAME",
    help="What the session calls each probe, once for each folder. Default: as its recorder, else probeA, probeB, ...",
)
@session_options
@click.option("--session-type", default="spontaneous", show_default=True, help="Name of the set of stimuli.")
@click.option(
    "--presentations",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="CSV of stimulus presentations: start_time, stop_time (s), stimulus_name and parameters.",
)
@click.option("--structure", default="grey", show_default=True, help="Brain structure of channels below the surface.")
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
def package_command(
    folders: tuple[Path, ...],
    output: Path,
    probe_names: tuple[str, ...],
    session_id: int | None,
    start_time: datetime,
    session_type: str,
    presentations: Path | None,
    structure: str,
    overwrite: bool,
) -> None:
    """Write the measured units of one or more probes into a session NWB file.

    FOLDERS are outputs of `process units` or `process run`, one for each probe.

    \b
    EXAMPLES
      allen-ecephys process package units/ -o session.nwb
      allen-ecephys process package units_a/ units_b/ -o session.nwb --session-id 715093703
    """
    from allen_ecephys.processing import package_units
    from allen_ecephys.written_tables import read_written_table

    needed = ("start_time", "stop_time", "stimulus_name")

    path = package_units(
        folders,
        output,
        session_id=session_id,
        names=probe_names or None,
        session_start_time=start_time.replace(tzinfo=UTC),
        session_type=session_type,
        presentations=None if presentations is None else read_written_table(presentations, needed),
        structure_acronym=structure,
        overwrite=overwrite,
    )
    click.echo(f"{path}: {path.stat().st_size / 1e6:,.1f} MB")
