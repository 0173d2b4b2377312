"""``allen-ecephys process``: from raw probe data to measured units, session files and a project cache."""

from __future__ import annotations

import logging

import click

from .comparing import compare_command
from .raw import list_command
from .session import (
    describe_command,
    log_command,
    plan_command,
    schema_command,
    session_command,
    status_command,
)
from .sorting import run_command, sort_command, sorters_command
from .spike_band import simulate_command, spike_band_command
from .units import package_command, units_command


@click.group(short_help="Produce: from raw probe data to measured units and NWB files.")
def process() -> None:
    """Produce: from raw probe data to cleaned, measured units and NWB files, one probe or whole sessions."""
    # A run takes hours: where no progress bar can be drawn, its log says which stage it is at.
    logging.getLogger("allen_ecephys.processing").setLevel(min(logging.INFO, logging.getLogger().level))


process.add_command(list_command)
process.add_command(simulate_command)
process.add_command(spike_band_command)
process.add_command(sort_command)
process.add_command(sorters_command)
process.add_command(units_command)
process.add_command(package_command)
process.add_command(run_command)
process.add_command(compare_command)
process.add_command(describe_command)
process.add_command(plan_command)
process.add_command(session_command)
process.add_command(status_command)
process.add_command(log_command)
process.add_command(schema_command)
