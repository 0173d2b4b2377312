"""Commands on raw data: ``allen-ecephys process simulate`` and ``process spike-band``."""

from __future__ import annotations

from pathlib import Path

import click
from click.core import ParameterSource

from .raw import raw_options
from .rig import simulate_rig


@click.command("simulate")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--duration", type=click.FloatRange(0, min_open=True), default=60.0, show_default=True, help="Length in seconds."
)
@click.option("--units", type=click.IntRange(0), default=100, show_default=True, help="Number of units.")
@click.option(
    "--channels",
    type=click.IntRange(1, 384),
    default=384,
    show_default=True,
    help="Channels of the probe, from the tip up.",
)
@click.option("--probe", default="NP1000", show_default=True, help="Part number of the probe, such as NP2013.")
@click.option("--sites", metavar="FIRST-LAST", help="Sites to record from, such as 192-575, instead of the lowest.")
@click.option("--surface", type=float, help="Where the brain ends, um up the shank; 82 % up the sites by default.")
@click.option(
    "--form",
    type=click.Choice(["open_ephys", "spikeglx", "binary"]),
    default="open_ephys",
    show_default=True,
    help="How the files are laid out.",
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
    probe: str,
    sites: str | None,
    surface: float | None,
    form: str,
    drift: float,
    seed: int,
    rig: bool,
    probes: int,
) -> None:
    """Simulate a raw recording with known spikes, or with --rig a whole session on a rig, in a new FOLDER.

    A rig's FOLDER gets, for each probe, a recording on a clock of its own with its table of channels; the sync file,
    pickles of the stimuli and of the light, fits of the eye; and session.json, the session description, which names
    them and says who was recorded and where. By default it is a session of 90 s, and each probe has 64 channels and 16
    tuned units.

    \b
    EXAMPLES
      allen-ecephys process simulate raw/ --duration 60 --units 100
      allen-ecephys process simulate raw/ --probe NP2013 --form spikeglx
      allen-ecephys process simulate rig/ --rig
    """
    if rig:
        simulate_rig(
            context, folder, n_probes=probes, duration=duration, units=units, channels=channels, seed=seed
        )  # fmt: skip
        return
    if context.get_parameter_source("probes") is ParameterSource.COMMANDLINE:
        msg = "--probes is of a rig: give --rig, too (or --probe NAME for the kind of probe)"
        raise click.UsageError(msg, context)
    from allen_ecephys.processing.simulation.raw import DriftModel, write_recording

    truth = write_recording(
        folder,
        duration=duration,
        n_units=units,
        n_channels=channels,
        probe=probe,
        sites=None if sites is None else _sites(sites),
        surface_um=surface,
        form=form,  # type: ignore[arg-type]  # click has checked the choice
        drift=DriftModel(linear_um=drift),
        seed=seed,
    )
    click.echo(f"{folder}: {len(truth.units)} units, {len(truth.spike_times):,} spikes, {duration:g} s")


def _sites(text: str) -> range:
    """Read ``FIRST-LAST``."""
    first, _, last = text.partition("-")
    if not (first.isdigit() and last.isdigit() and int(first) <= int(last)):
        msg = f"{text!r} is no range of sites; write the first and the last, such as 192-575"
        raise click.BadParameter(msg, param_hint="--sites")
    return range(int(first), int(last) + 1)


@click.command("spike-band")
@click.argument("raw", type=click.Path(exists=True, path_type=Path))
@click.argument("output", type=click.Path(file_okay=False, path_type=Path))
@click.option("--no-median-subtracted", is_flag=True, help="Do not write the median-subtracted recording.")
@click.option("--high-pass", default=150.0, show_default=True, help="Corner of the filter, Hz.")
@raw_options
@click.option("--workers", type=click.IntRange(1), help="Threads; the setting ALLEN_ECEPHYS_THREADS by default.")
def spike_band_command(
    raw: Path,
    output: Path,
    no_median_subtracted: bool,
    high_pass: float,
    stream: str | None,
    allow_cut: bool,
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

    bands = open_bands(raw, stream=stream, allow_cut=allow_cut)
    result = process_spike_band(
        bands.spike_band,
        output,
        lfp=bands.lfp,
        whitening=WhiteningParameters(high_pass=high_pass),
        keep_median_subtracted=not no_median_subtracted,
        n_workers=workers,
    )
    found, counts = result.depth.report, result.whitening.report
    click.echo(
        f"brain surface at channel {found['surface_channel']:g}; {len(found['masked_channels'])} channels masked; "
        f"{counts['n_saturated']} samples blanked, {counts['n_clipped']} values clipped"
    )
    click.echo(f"whitened: {result.whitening.folder / 'continuous.dat'}")
