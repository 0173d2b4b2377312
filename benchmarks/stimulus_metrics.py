"""What the stimulus metrics cost: a full session, and AllenSDK's stimulus_analysis beside it.

    python benchmarks/stimulus_metrics.py [--folder FOLDER] [--units 2779] [--skip-full]

The full session is simulated once into FOLDER (2,779 units, all stimuli and the contrast block: about 2 GB) and kept.
AllenSDK is timed on a short session if ALLEN_ECEPHYS_ALLENSDK_PYTHON names an interpreter that has it; its cost grows
faster than the number of units, so that timing few favours it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PEERS = ROOT / "tests" / "peers"
STIMULUS_OF = {
    "DriftingGratings": "dg",
    "StaticGratings": "sg",
    "NaturalScenes": "ns",
    "Flashes": "fl",
    "ReceptiveFieldMapping": "rf",
}

#: Instead of a stimulus: all of them, as a user asks for them.
EVERYTHING = "all"


def compute(path: Path, definition: str, suffix: str | None = None) -> None:
    """Compute the metrics of one file in this process and print what it cost as JSON."""
    from allen_ecephys import EcephysSession, UnitFilter
    from allen_ecephys.processing.stimulus_metrics import compute_unit_analysis_metrics, registered_metrics

    metrics = [found for found in registered_metrics() if suffix in (None, EVERYTHING, found.stimulus.suffix)]
    with EcephysSession(path, unit_filter=UnitFilter.none()) as session:
        if suffix is not None:  # beside a peer, reading and loading compiled code are not counted on either side
            dict(session.spike_times.items())
            compute_unit_analysis_metrics(session, definition, metrics=metrics, unit_ids=session.units.index[:2])
        wall, cpu = time.perf_counter(), time.process_time()
        table = compute_unit_analysis_metrics(session, definition, metrics=metrics)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    print(json.dumps({"units": len(table), "wall": wall, "cpu": cpu, "peak_gb": peak}))


def measured(path: Path, definition: str, suffix: str | None = None) -> dict[str, float]:
    """Return the cost of computing a file in a process of its own."""
    arguments = [sys.executable, __file__, "--compute", str(path), "--definition", definition]
    done = subprocess.run(
        arguments + ([] if suffix is None else ["--suffix", suffix]), capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def full_session(folder: Path, units: int) -> None:
    from allen_ecephys.processing.simulation import write_session

    path = folder / f"full_{units}.nwb"
    if not path.exists():
        print(f"simulating {units} units into {path} ...")
        write_session(path, scale=1.0, n_units=units, contrast_block=True, eye_tracking=False)
    for definition in ("release", "corrected"):
        cost = measured(path, definition)
        print(
            f"full session, {definition}: {cost['units']} units, all stimuli, 1,000 shuffles: {cost['wall']:.1f} s, "
            f"{cost['cpu']:.1f} CPU s, peak {cost['peak_gb']:.2f} GB (goal: 60 s on 2 cores, 4 GB)"
        )


def beside_allensdk(folder: Path, python: str) -> None:
    from allen_ecephys.processing.simulation import write_session

    path, shared = folder / "beside_50.nwb", folder / "beside_50_pynwb2.nwb"
    if not shared.exists():
        # without the contrast stimulus, as most released sessions: c50 alone costs ours as much as all other metrics
        write_session(path, scale=1.0, n_units=50, eye_tracking=False, overwrite=True)
        subprocess.run([python, PEERS / "write_with_allensdk.py", path, shared], check=True)
    with tempfile.TemporaryDirectory() as results:
        subprocess.run([python, PEERS / "metrics_with_allensdk.py", shared, results, *STIMULUS_OF], check=True)
        theirs = json.loads(Path(results, "cpu_seconds.json").read_text())
    print(f"CPU seconds of {theirs['units']} units        AllenSDK      ours     ratio")
    ours = {name: measured(shared, "release", suffix)["cpu"] for name, suffix in STIMULUS_OF.items()}
    total = sum(theirs[name] for name in ours)
    together = measured(shared, "release", EVERYTHING)["cpu"]
    for name, one, other in [
        *((name, theirs[name], ours[name]) for name in ours),
        ("all, in one call", total, together),
    ]:
        print(f"{name:30s} {one:10.2f} {other:9.3f} {one / other:9.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "allen_ecephys_benchmark")
    parser.add_argument("--units", type=int, default=2779)
    parser.add_argument("--skip-full", action="store_true")
    parser.add_argument("--compute", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--definition", default="release", help=argparse.SUPPRESS)
    parser.add_argument("--suffix", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.compute is not None:
        compute(given.compute, given.definition, given.suffix)
        return
    given.folder.mkdir(parents=True, exist_ok=True)
    python = os.environ.get("ALLEN_ECEPHYS_ALLENSDK_PYTHON")
    if python:
        beside_allensdk(given.folder, python)
    else:
        print("ALLEN_ECEPHYS_ALLENSDK_PYTHON is not set: AllenSDK is not timed")
    if not given.skip_full:
        full_session(given.folder, given.units)


if __name__ == "__main__":
    main()
