"""A session of simulated probes from the rig's folder to the project that serves it: expected and real cost, and yield.

    python benchmarks/whole_session.py RIG [--repeats 82] [--channels 384] [--units 80] [--workers 2] [--like FILE]
        [--compress] [--noise 0.5] [--result FILE.json]

Makes the rig's folder where there is none (13 to 14 s for each repeat and probe, 25 MB a second), asks what processing
it is expected to take (by what a stage costs in the sessions of `--like`, other results of this script), processes it
with that many workers, and tells what it took: time, CPU, memory of all processes together (their proportional set
sizes, every two seconds) stage by stage, and how many of the true units each probe's sorting found. A run that was
killed goes on, but then its times tell only of the rest.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

#: Tenths of the recording over which a unit's recall is told.
PARTS = 10
#: Memory is looked at as often as this (the kernel counts pages for it: twice a second was 4 % more time).
EVERY_S = 2.0


def session_file(rig: Path, workers: int) -> Path:
    """Write the session's file: as the rig describes it, no second file of the recording's size, a cache at the end."""
    told = json.loads((rig / "session.json").read_text(encoding="utf-8"))
    output = rig.resolve().parent / f"{rig.name}_{workers}"
    told |= {
        "output": str(output), "cache": str(output / "project"),
        "stages": {"median_subtraction": {"write": False}},
    }  # fmt: skip
    path = rig / f"session_{workers}.json"
    path.write_text(json.dumps(told, indent=1), encoding="utf-8")
    return path


def processes_of(pid: int) -> list[int]:
    """Return a process and all that it has started."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[1])
        except OSError:  # it has just ended
            continue
        children.setdefault(parent, []).append(int(folder.name))
    found, waiting = list[int](), [pid]
    while waiting:
        found.append(waiting.pop())
        waiting += children.get(found[-1], [])
    return found


def memory_of(pid: int) -> int:
    """Return the bytes of a process's own, with its share of what it has in common with others."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def run(command: list[str]) -> dict[str, float]:
    """Run a command and return wall and CPU seconds, and the most memory that its processes held at once."""
    start, before, peak = time.perf_counter(), os.times(), 0
    process = subprocess.Popen(command, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    while process.poll() is None:
        peak = max(peak, sum(map(memory_of, processes_of(process.pid))))
        time.sleep(EVERY_S)
    after = os.times()
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return {"wall_s": time.perf_counter() - start, "cpu_s": cpu, "peak_gb": peak / 1e9}


def stages_of(output: Path) -> dict[str, dict[str, float]]:
    """Return what each stage cost, by its record; the stages of probes added up, memory the largest."""
    found: dict[str, dict[str, float]] = {}
    for record in sorted(output.glob("**/stage.json")):
        cost = json.loads(record.read_text(encoding="utf-8"))["cost"]
        row = found.setdefault(record.parent.name, {"wall_s": 0.0, "cpu_s": 0.0, "peak_gb": 0.0})
        row["wall_s"] += cost["seconds"]
        row["cpu_s"] += cost["cpu_seconds"]
        row["peak_gb"] = max(row["peak_gb"], cost["peak_memory_bytes"] / 1e9)
    return found


def probes_took(output: Path) -> float:
    """Return the wall seconds from the beginning of the first stage of a probe to the end of the last one."""
    records = sorted(output.glob("*/*/stage.json"))
    ends = np.array([record.stat().st_mtime for record in records])
    seconds = [json.loads(record.read_text(encoding="utf-8"))["cost"]["seconds"] for record in records]
    return float(ends.max() - (ends - seconds).min())


def yield_of(rig: Path, output: Path, probe: str) -> dict[str, Any]:
    """Return how many true units a probe's sorting found, and the share of their spikes in each tenth of the time."""
    from allen_ecephys.processing.readers import read_phy
    from allen_ecephys.processing.simulation import read_ground_truth, score_phy_folder

    truth = read_ground_truth(rig / probe)
    score = score_phy_folder(output / probe / "sorting", truth)
    well = score.units[score.units["accuracy"] >= 0.8]
    found = read_phy(output / probe / "sorting").spikes
    edges = np.linspace(0, max(truth.spike_times.max(), found.samples.max()) + 1, PARTS + 1)
    mine = np.histogram(found.samples[np.isin(found.units, well["sorted_unit"])], edges)[0]
    true = np.histogram(truth.spike_times[np.isin(truth.spike_units, well.index)], edges)[0]
    return {
        "true units": len(truth.units), "well found": score.n_well_found,
        "mean accuracy": round(float(score.units["accuracy"].mean()), 3),
        "false": len(score.false_positive_units), "redundant": len(score.redundant_units),
        "spikes found of true ones, by tenths of the time": np.round(mine / true, 3).tolist(),
    }  # fmt: skip


def main() -> None:
    """Do it and print what it took."""
    from allen_ecephys.processing import plan_sessions
    from allen_ecephys.processing.simulation import NoiseModel, write_rig

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rig", type=Path)
    parser.add_argument("--repeats", type=int, default=82)
    parser.add_argument("--probes", type=int, default=2)
    parser.add_argument("--channels", type=int, default=384)
    parser.add_argument("--units", type=int, default=80)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--compress", action="store_true", help="files of SpikeGLX, compressed")
    parser.add_argument("--noise", type=float, default=1.0, help="of the default's")
    parser.add_argument("--like", type=Path, action="append", default=[])
    parser.add_argument("--result", type=Path)
    chosen = parser.parse_args()
    if not chosen.rig.exists():
        sizes = {name: chosen.noise * uv for name, uv in asdict(NoiseModel()).items() if name.endswith("_uv")}
        write_rig(
            chosen.rig, repeats=chosen.repeats, n_probes=chosen.probes, n_units=chosen.units,
            n_channels=chosen.channels, barcode_interval=30.0, noise=NoiseModel(**sizes), compress=chosen.compress,
            recorder="spikeglx" if chosen.compress else "open_ephys",
        )  # fmt: skip
    path = session_file(chosen.rig, chosen.workers)
    told = json.loads(path.read_text(encoding="utf-8"))
    output = Path(told["output"])
    plan = plan_sessions([path], workers=chosen.workers, like=chosen.like)
    expected = {"wall_s": plan.seconds, "memory_gb": plan.memory / 1e9, "disk_gb": plan.disk / 1e9}
    command = [sys.executable, "-m", "allen_ecephys", "process", "session", str(path)]
    took = run([*command, "--workers", str(chosen.workers), "--threads", "1"])
    left = sum(file.stat().st_size for file in output.rglob("*") if file.is_file())
    result = {
        "workers": chosen.workers, "expected": expected,
        "took": took | {"disk_gb": left / 1e9, "probes_wall_s": probes_took(output)},
        "stages": stages_of(output),
        "probes": {probe["name"]: yield_of(chosen.rig, output, probe["name"]) for probe in told["probes"]},
    }  # fmt: skip
    text = json.dumps(result, indent=1)
    print(text)
    if chosen.result:
        chosen.result.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
