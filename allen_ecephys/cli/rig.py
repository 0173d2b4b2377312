"""``allen-ecephys process simulate --rig``: all that a rig leaves behind of a session."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click
from click.core import ParameterSource

#: Taken where the options are not given: sorted in minutes.
RIG_CHANNELS: Final = 64
RIG_UNITS: Final = 16
RIG_SECONDS: Final = 90.0
#: Of the length of a session, what each repetition of the gratings takes, and what all else does (s).
SECONDS_PER_REPEAT: Final = 12.8
SECONDS_BESIDE: Final = 30.0
#: Options of a single recording that say nothing of a rig.
_OF_A_RECORDING: Final = ("probe", "sites", "surface", "form", "drift")


def simulate_rig(
    context: click.Context, folder: Path, *, n_probes: int, duration: float, units: int, channels: int, seed: int,
    recorder: str | None, compress: bool,
) -> None:  # fmt: skip
    """Write a rig's folder and say what it holds and what comes next."""
    from allen_ecephys.processing.simulation import write_rig

    given = [name for name in _OF_A_RECORDING if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    if given:
        msg = f"--{given[0]} is of a recording alone; a rig's probes are 1.0 probes at their lowest sites"
        raise click.UsageError(msg, context)
    seconds = _given(context, "duration", duration, RIG_SECONDS)
    repeats = max(1, round((seconds - SECONDS_BESIDE) / SECONDS_PER_REPEAT))
    truth = write_rig(
        folder,
        repeats=repeats,
        n_probes=n_probes,
        n_units=int(_given(context, "units", units, RIG_UNITS)),
        n_channels=int(_given(context, "channels", channels, RIG_CHANNELS)),
        seed=seed,
        recorder=(recorder or "open-ephys").replace("-", "_"),
        compress=compress,
    )
    shown = truth.presentations["stimulus_name"].value_counts(sort=False)
    click.echo(
        f"{folder}: a session of {truth.seconds:.0f} s ({', '.join(f'{n} {name}' for name, n in shown.items())})"
    )
    for probe in truth.probes:
        click.echo(
            f"    {probe.name}: {probe.recording.n_channels} channels, {len(probe.preferred_orientation)} units, "
            f"clock {(probe.rate / probe.recording.sampling_rate - 1) * 1e6:+.0f} ppm, started at {probe.start:.2f} s"
        )
    names = ", ".join(sorted(path.name for path in folder.iterdir() if path.is_file() and path.name != "session.json"))
    click.echo(f"    {names}; session.json says what each is, truth/ what was really so")


def _given(context: click.Context, name: str, value: float, otherwise: float) -> float:
    """Return an option's value where it was given, and else what suits a rig."""
    return value if context.get_parameter_source(name) is not ParameterSource.DEFAULT else otherwise
