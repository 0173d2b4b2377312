"""What the project's tables cost at their released size, beside AllenSDK: CPU seconds, the least of some runs.

    python benchmarks/tables.py --data FOLDER [--allensdk PYTHON] [--repeats 5]

FOLDER holds released tables, complete or an excerpt; an excerpt is tiled, with new ids, to 135,275 units and 123,224
channels. "First" parses the CSV files, "cold" is a new process, "warm" the second call in one process. PYTHON is the
interpreter of an environment with AllenSDK, which parses the CSV files at every call.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd

UNITS, CHANNELS = 135_275, 123_224
CALLS = ("get_units", "get_channels", "get_session_table")

OURS = """
import json, sys, time
import pandas
import allen_ecephys.cache.tables.project_tables
from allen_ecephys.cache import EcephysProjectCache
cache = EcephysProjectCache.fixed(sys.argv[1])
"""
THEIRS = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
from allensdk.brain_observatory.ecephys.ecephys_project_cache import EcephysProjectCache
cache = EcephysProjectCache.from_warehouse(manifest=sys.argv[1])
"""
TIMED = """
seconds = []
for _ in range(2):
    began = time.process_time()
    getattr(cache, sys.argv[2])()
    seconds.append(time.process_time() - began)
print(json.dumps(seconds))
"""


def tiled(source: Path, folder: Path) -> None:
    """Write the tables at their released size."""
    for name in ("manifest.json", "sessions.csv", "probes.csv"):
        shutil.copyfile(source / name, folder / name)
    channels, units = (pd.read_csv(source / f"{name}.csv", dtype=str) for name in ("channels", "units"))
    copies = -(-CHANNELS // len(channels))

    def shifted(column: pd.Series, copy: int) -> pd.Series:
        return (column.astype(int) + copy * 10**9).astype(str)

    pd.concat([channels.assign(id=shifted(channels["id"], k)) for k in range(copies)]).iloc[:CHANNELS].to_csv(
        folder / "channels.csv", index=False
    )
    copies = -(-UNITS // len(units))
    parts = [
        units.assign(id=shifted(units["id"], k), ecephys_channel_id=shifted(units["ecephys_channel_id"], k))
        for k in range(copies)
    ]
    pd.concat(parts).iloc[:UNITS].to_csv(folder / "units.csv", index=False)


def seconds(python: str, program: str, manifest: Path, call: str, repeats: int) -> list[float]:
    """Return the least CPU seconds of the first and the second call in a new process."""
    command = [python, "-c", program + TIMED, str(manifest), call]
    runs = [json.loads(subprocess.check_output(command)) for _ in range(repeats)]
    return [min(run[k] for run in runs) for k in range(2)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with released tables")
    parser.add_argument("--allensdk", help="interpreter of an environment with AllenSDK")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        tiled(options.data, folder)
        manifest = folder / "manifest.json"
        for call in CALLS:
            for copy in folder.glob(".*.npz"):
                copy.unlink()
            first = seconds(sys.executable, OURS, manifest, call, 1)[0]
            cold, warm = seconds(sys.executable, OURS, manifest, call, options.repeats)
            line = f"{call:18s} first {first:7.3f} s   cold {cold:7.3f} s   warm {warm:8.5f} s"
            if options.allensdk:
                theirs = seconds(options.allensdk, THEIRS, manifest, call, options.repeats)
                line += f"   AllenSDK {theirs[0]:6.3f} s, again {theirs[1]:6.3f} s"
                line += f"   ratios: cold {theirs[0] / cold:4.1f}, warm {theirs[1] / warm:6.0f}"
            print(line)


if __name__ == "__main__":
    main()
