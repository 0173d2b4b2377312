"""Commands on raw data: ``allen-ecephys process simulate`` and ``process spike-band``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource

from .raw import overwrite_option, raw_options, surface_in_words
from .rig import simulate_rig
from .speaking import announce_compiling

#: No probe has as many sites.
MOST_SITES: Final = 100_000


@click.command("simulate", short_help="Simulate raw recordings with known spikes, or a whole rig.")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--duration", type=click.FloatRange(0, min_open=True), default=60.0, show_default=True, help="Length in seconds."
)
@click.option("--units", type=click.IntRange(0), default=100, show_default=True, help="Number of units of each probe.")
@click.option(
    "--channels",
    type=click.IntRange(1, 1536),
    default=384,
    show_default=True,
    help="Channels of the probe, from the tip up.",
)
@click.option(
    "--probe",
    "--probe-type",
    "probe",
    multiple=True,
    default=("NP1000",),
    show_default=True,
    metavar="PART[:SITES]",
    help="Part number of the probe, such as NP2013, and its sites; repeated for several probes in one folder.",
)
@click.option("--sites", metavar="FIRST-LAST", help="Sites to record from, such as 192-575 or 0-47,1280-1375.")
@click.option("--surface", type=float, help="Where the brain ends, um up the shank; 82 % up the sites by default.")
@click.option(
    "--form",
    type=click.Choice(["open_ephys", "spikeglx", "binary"]),
    default="open_ephys",
    show_default=True,
    help="How the files of one probe are laid out; open_ephys is the layout of the release, which had 3A probes.",
)
@click.option(
    "--recorder",
    type=click.Choice(["open-ephys", "spikeglx"]),
    help="Write what this system leaves today, of one or more probes: a record node, or a run with a folder a probe. "
    "Default where --probe or --sites are given without --form: open-ephys.",
)
@click.option(
    "--compress", is_flag=True, help="Compress the samples (.cbin with .ch), a third as large; SpikeGLX only."
)
@click.option("--drift", default=0.0, show_default=True, help="Movement of the tissue over the recording, um.")
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed; equal seeds give equal files."
)
@click.option(
    "--rig",
    is_flag=True,
    help="Simulate a whole session on a rig instead: probes of tuned units, and all else that its computers write.",
)
@click.option("--probes", type=click.IntRange(1, 6), default=2, show_default=True, help="Probes of a rig.")
@click.pass_context
def simulate_command(
    context: click.Context,
    folder: Path,
    duration: float,
    units: int,
    channels: int,
    probe: tuple[str, ...],
    sites: str | None,
    surface: float | None,
    form: str,
    recorder: str | None,
    compress: bool,
    drift: float,
    seed: int,
    rig: bool,
    probes: int,
) -> None:
    """Simulate a raw recording with known spikes, or with --rig a whole session on a rig, in a new FOLDER.

    A rig's FOLDER gets, for each probe, a recording on a clock of its own with its table of channels; the sync file (of
    SpikeGLX, its NI card's file), pickles of the stimuli and of the light, fits of the eye; and session.json, the
    session description, which names them and says who was recorded and where. By default it is a session of 90 s, and
    each probe has 64 channels and 16 tuned units.

    \b
    EXAMPLES
      allen-ecephys process simulate raw/ --duration 60 --units 100
      allen-ecephys process simulate raw/ --probe NP2013
      allen-ecephys process simulate raw/ --recorder spikeglx --probe NP2013 --probe NP1000:192-575
      allen-ecephys process simulate raw/ --recorder spikeglx --duration 600 --compress
      allen-ecephys process simulate rig/ --rig
      allen-ecephys process simulate rig/ --rig --recorder spikeglx --compress
    """
    if compress and recorder != "spikeglx" and form != "spikeglx":
        msg = "--compress is of SpikeGLX's files: give --recorder spikeglx, too"
        raise click.UsageError(msg, context)
    if rig:
        simulate_rig(
            context, folder, n_probes=probes, duration=duration, units=units, channels=channels, seed=seed,
            recorder=recorder, compress=compress,
        )  # fmt: skip
        return
    if context.get_parameter_source("probes") is ParameterSource.COMMANDLINE:
        msg = "--probes is of a rig: give --rig, too (or --probe NAME for the kind of probe)"
        raise click.UsageError(msg, context)
    given = {
        name
        for name in ("form", "probe", "sites", "channels")
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    # The layout of the release, which is the default, knows but the lowest sites of one kind of probe.
    if recorder is not None or len(probe) > 1 or (given & {"probe", "sites"} and "form" not in given):
        if "form" in given:
            msg = "--form lays out the files of one probe; --recorder those of one or several: give one of the two"
            raise click.UsageError(msg, context)
        if sites and len(probe) > 1:
            msg = "--sites of which probe? Name them with it: --probe NP1000:192-575"
            raise click.UsageError(msg, context)
        if "channels" in given and (sites or all(":" in told for told in probe)):
            msg = "--channels counts a probe's lowest sites; the sites to record from are named: leave it out"
            raise click.UsageError(msg, context)
        _simulate_probes(
            folder, probe if sites is None else (f"{probe[0]}:{sites}",), recorder or "open-ephys", duration=duration,
            units=units, surface=surface, drift=drift, seed=seed, channels=channels if "channels" in given else None,
            compress=compress,
        )  # fmt: skip
        return
    from allen_ecephys.processing.simulation.raw import DriftModel, write_recording

    part, _, chosen = probe[0].partition(":")
    if "channels" in given and (sites or chosen):
        msg = "--channels counts a probe's lowest sites; the sites to record from are named: leave it out"
        raise click.UsageError(msg, context)
    announce_compiling()
    truth = write_recording(
        folder,
        duration=duration,
        n_units=units,
        n_channels=channels,
        probe=part,
        sites=_sites(sites or chosen) if sites or chosen else None,
        surface_um=surface,
        form=form,  # type: ignore[arg-type]  # click has checked the choice
        drift=DriftModel(linear_um=drift),
        seed=seed,
        compress=compress,
    )
    click.echo(f"{folder}: {len(truth.units)} units, {len(truth.spike_times):,} spikes, {duration:g} s")


def _simulate_probes(
    folder: Path,
    probes: tuple[str, ...],
    recorder: str,
    *,
    duration: float,
    units: int,
    surface: float | None,
    drift: float,
    seed: int,
    channels: int | None,
    compress: bool,
) -> None:
    """Write what a recorder leaves of several probes, and say what there is."""
    from allen_ecephys.processing.simulation.raw import DriftModel, SimulatedProbe, write_probes

    told = {}
    for number, text in enumerate(probes):
        part, _, chosen = text.partition(":")
        name = f"imec{number}" if recorder == "spikeglx" else f"Probe{chr(ord('A') + number)}"
        told[name] = SimulatedProbe(
            part, _sites(chosen) if chosen else None, n_channels=channels, n_units=units, surface_um=surface
        )
    truths = write_probes(
        folder,
        told,
        recorder="spikeglx" if recorder == "spikeglx" else "open_ephys",
        duration=duration,
        drift=DriftModel(linear_um=drift),
        seed=seed,
        compress=compress,
    )
    click.echo(f"{folder}: {duration:g} s of {len(truths)} probe{'s' * (len(truths) != 1)}")
    for name, truth in truths.items():
        click.echo(
            f"    {name}: {truth.probe.part_number}, {truth.n_channels} channels, {len(truth.units)} units, "
            f"{len(truth.spike_times):,} spikes"
        )


def _sites(text: str) -> list[int]:
    """Read ``FIRST-LAST``, or several such ranges with commas between them."""
    sites: list[int] = []
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if not (first.isdigit() and last.isdigit() and int(first) <= int(last) < MOST_SITES):
            msg = f"{part!r} is no range of sites; write the first and the last, such as 192-575 or 0-47,1280-1375"
            raise click.BadParameter(msg, param_hint="--sites, --probe PART:FIRST-LAST")
        sites += range(int(first), int(last) + 1)
    return sites


@click.command("spike-band", short_help="Subtract medians, filter and whiten one probe's spike band.")
@click.argument("raw", type=click.Path(exists=True, path_type=Path))
@click.argument("output", type=click.Path(file_okay=False, path_type=Path))
@click.option("--no-median-subtracted", is_flag=True, help="Do not write the median-subtracted recording.")
@click.option("--high-pass", default=150.0, show_default=True, help="Corner of the filter, Hz.")
@raw_options
@overwrite_option
@click.option("--workers", type=click.IntRange(1), help="Threads; the setting ALLEN_ECEPHYS_THREADS by default.")
def spike_band_command(
    raw: Path,
    output: Path,
    no_median_subtracted: bool,
    high_pass: float,
    opened_with: dict[str, Any],
    overwrite: bool,
    workers: int | None,
) -> None:
    """Subtract medians, filter and whiten the spike band of one probe.

    RAW is the folder of a recording (Open Ephys, SpikeGLX or simulated); OUTPUT gets one folder for each stage. A run
    that was stopped goes on after its last complete stage.

    \b
    EXAMPLES
      allen-ecephys process spike-band raw/ output/
    """
    from allen_ecephys.processing import process_spike_band
    from allen_ecephys.processing.readers import open_bands
    from allen_ecephys.processing.spike_band import WhiteningParameters

    announce_compiling()
    bands = open_bands(raw, **opened_with)
    result = process_spike_band(
        bands.spike_band,
        output,
        lfp=bands.lfp,
        whitening=WhiteningParameters(high_pass=high_pass),
        keep_median_subtracted=not no_median_subtracted,
        n_workers=workers,
        overwrite=overwrite,
    )
    found, counts = result.depth.report, result.whitening.report
    click.echo(
        f"{surface_in_words(found, bands.spike_band.n_channels)}; {len(found['masked_channels'])} channels masked; "
        f"{counts['n_saturated']} samples blanked, {counts['n_clipped']} values clipped"
    )
    click.echo(f"whitened: {result.whitening.folder / 'continuous.dat'}")
