"""The command that says what a session file holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from allen_ecephys import EcephysSession


@click.command(short_help="Say what an NWB file holds: units, probes, structures.")
@click.argument("session", type=click.Path(exists=True, path_type=Path))
@click.option("--all-units", is_flag=True, help="Show every unit of the file, not only those of the quality filter.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with subject, rig, probes and stimuli.")
def info(session: Path, all_units: bool, as_json: bool) -> None:
    """Say what SESSION, an NWB file, holds: session, units and what hides some of them, probes, structures.

    \b
    EXAMPLES
      allen-ecephys info session_715093703.nwb
      allen-ecephys info session_715093703.nwb --json
    """
    from allen_ecephys import EcephysSession, UnitFilter

    with EcephysSession(session, unit_filter=UnitFilter.none() if all_units else UnitFilter()) as opened:
        _ = opened.num_units  # a repr never fails, whatever the file; a command on a damaged one does
        click.echo(json.dumps(described(opened), indent=1) if as_json else repr(opened))


def described(session: EcephysSession) -> dict[str, Any]:
    """Return the session's metadata with its file, units, probes and stimuli, as JSON has them; null where unknown."""
    from allen_ecephys import UnitFilter

    found = session.metadata
    start = found.pop("session_start_time")
    probes = session.probes
    stimuli = session.stimulus_presentations["stimulus_name"].value_counts(sort=False)
    return {
        "file": session.path,
        **{name: list(map(str, value)) if isinstance(value, list) else value for name, value in found.items()},
        "session_start_time": None if start is None else start.isoformat(),
        "num_units_in_file": session.with_units(UnitFilter.none()).num_units,
        "unit_filter": session.unit_filter.describe(),
        "hidden_by": {str(bound): int(n) for bound, n in session.hidden_units().items()},
        "units_by_structure": {str(name): int(n) for name, n in session.structurewise_unit_counts.items()},
        "probes": [
            {"id": probe, "name": str(name), "has_lfp_data": bool(has_lfp)}
            for probe, name, has_lfp in zip(
                probes.index.tolist(), probes["description"], probes["has_lfp_data"], strict=True
            )
        ],
        "presentations_by_stimulus": {str(name): int(n) for name, n in stimuli.items() if n},
    }
