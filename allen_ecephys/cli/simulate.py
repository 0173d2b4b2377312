"""The command that simulates a session file."""

from __future__ import annotations

from pathlib import Path

import click

from .speaking import announce_compiling


@click.command(short_help="Simulate a session of tuned neurons as an NWB file.")
@click.argument("output", type=click.Path(dir_okay=False, path_type=Path), metavar="OUT.nwb")
@click.option(
    "--session-type",
    type=click.Choice(["brain_observatory_1.1", "functional_connectivity"]),
    default="brain_observatory_1.1",
    show_default=True,
    help="Set of stimuli.",
)
@click.option(
    "--scale",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.05,
    show_default=True,
    help="Length of the stimulus blocks; 1 is a real session (2.7 hours, 2.8 GB).",
)
@click.option("--units", type=click.IntRange(1), help="Number of units.  [default: 2779 x SCALE, at least 40]")
@click.option("--probes", type=click.IntRange(1, 6), default=6, show_default=True, help="Number of probes.")
@click.option("--session-id", type=int, help="Id of the session.  [default: 700000000 + SEED]")
@click.option("--no-eye-tracking", is_flag=True, help="As some released sessions.")
@click.option("--no-invalid-times", is_flag=True, help="No interval is marked as invalid.")
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed; equal seeds give equal contents."
)
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
def simulate(
    output: Path,
    session_type: str,
    scale: float,
    units: int | None,
    probes: int,
    session_id: int | None,
    no_eye_tracking: bool,
    no_invalid_times: bool,
    seed: int,
    overwrite: bool,
) -> None:
    """Simulate a session of tuned neurons, and write it as an NWB file in the released layout.

    \b
    EXAMPLES
      allen-ecephys simulate session.nwb
      allen-ecephys simulate long.nwb --session-type functional_connectivity --scale 0.5 --units 300 --seed 1
    """
    from allen_ecephys.processing.simulation import write_session

    announce_compiling()
    truth = write_session(
        output,
        session_type,
        scale,
        seed,
        n_units=units,
        n_probes=probes,
        session_id=session_id,
        eye_tracking=not no_eye_tracking,
        invalid_times=not no_invalid_times,
        overwrite=overwrite,
    )
    click.echo(
        f"{output}: session {truth.session_id}, {len(truth.units)} units on {len(truth.probes)} probes, "
        f"{len(truth.stimulus_presentations):,} presentations, {truth.duration / 60:.0f} minutes, "
        f"{output.stat().st_size / 1e6:,.1f} MB"
    )
