"""What the first run after an installation costs: each command with an empty cache of numba, and once more.

``python benchmarks/first_run.py`` prints a table: seconds of CPU of both runs, and how many kernels the first compiled.
numba compiles for the processor at hand, so that a wheel cannot hold what it makes; what was compiled is kept beside
the package (or in ``NUMBA_CACHE_DIR``), and found again by every later process.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

COMMANDS = {
    "info": ["info", "session.nwb"],
    "units": ["units", "session.nwb"],
    "metrics": ["metrics", "session.nwb", "--output", "{run}.csv"],
    "report": ["report", "session.nwb", "{run}.html"],
    "cache index": ["cache", "index", "--cache-dir", "project"],
    "process run": ["process", "run", "raw", "{run}"],
}
PREPARE = (
    ["simulate", "session.nwb", "--scale", "0.01", "--units", "60"],
    ["cache", "add", "session.nwb", "--cache-dir", "project"],
    ["process", "simulate", "raw", "--channels", "32", "--units", "6", "--duration", "10"],
)


def seconds_of(arguments: list[str], folder: Path, kernels: Path) -> float:
    """Run a command with a cache of numba of its own; return its CPU seconds."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(kernels), "ALLEN_ECEPHYS_PROGRESS": "0"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    program = [sys.executable, "-c", "from allen_ecephys.cli import main; main()", *arguments]
    subprocess.run(program, cwd=folder, env=environment, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for arguments in PREPARE:
            seconds_of(arguments, folder, folder / "kernels")
        print("| command | first run, CPU s | later runs, CPU s | kernels compiled |\n|---|---|---|---|")
        for command, arguments in COMMANDS.items():
            kernels = folder / f"kernels of {command}"
            first, later = (
                seconds_of([word.format(run=f"{command} {run}") for word in arguments], folder, kernels)
                for run in ("first", "later")
            )
            print(f"| `{command}` | {first:.1f} | {later:.1f} | {len(list(kernels.rglob('*.nbi')))} |", flush=True)


if __name__ == "__main__":
    main()
