"""Spike sorters side by side: accuracy, CPU seconds and memory on recordings with known truth.

    python benchmarks/sorting --dataset small-sim small-si --seeds 0 1 2 --sorters native spykingcircus2 lupin
    python benchmarks/sorting --again native ...        computes native's runs anew
    python benchmarks/sorting --report                  writes the table and the figures from the results so far

Every sorter runs in a process of its own with one thread (``--threads``); peers in the interpreter that the environment
variable ALLEN_ECEPHYS_SORTER_PYTHON names (an environment with spikeinterface 0.105.3, scikit-learn, hdbscan, numba,
networkx, a CPU torch and kilosort). A run that the results file holds already is not repeated. Data sets are made once,
in the folder that ALLEN_ECEPHYS_SORTING_BENCHMARK names: small (32 channels, 60 s, 20 units), medium (128, 120 s, 80),
drift (medium that moves), large (384, 60 s, 200) and long (32, 600 s, 20), each as -sim (our simulator) and, but for
long, -si (SpikeInterface's generator); ``long-sim@120`` is the first 120 s of long-sim, and rate2-sim, rate12-sim and
rate25-sim are small-sim with other firing rates; colour-sim is small-sim whose background falls from 300 Hz on.
long-384-20 and long-384-60 (384 channels, 20 and 60 minutes; long-384-1 and long-32-20 to try) drift, their units come
and go, and their samples are computed where they are read, so that no disk holds them: only native can sort them, and
what computing costs is measured apart and in its CPU seconds (``long_run.py`` goes on after a kill).

``native`` is timed with its functions compiled and cached, ``native-cold`` with an empty cache. No peer caches what it
compiles, so each of its processes compiles anew; ``lupin-warm`` sorts twice in one process and reports the second time.
"""

from __future__ import annotations

import argparse
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from comparing import score
from datasets import ROOT, Dataset, get_dataset
from measuring import Run, run_sorter
from results import FILE, add_result, key_of, read_results

PEERS = ("spykingcircus2", "tridesclous2", "lupin", "simple", "kilosort4")
SORTERS = ("native", "native-cold", *PEERS, *(f"{peer}-warm" for peer in PEERS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", nargs="+", default=[])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--sorters", nargs="+", choices=SORTERS, default=["native"])
    parser.add_argument("--again", nargs="+", choices=SORTERS, default=[])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cap", type=float, help="CPU seconds after which a sorter is stopped (kilosort4: 300)")
    parser.add_argument("--file", type=Path, default=FILE, help="results file")
    parser.add_argument("--make-only", action="store_true", help="make the data sets and run nothing")
    parser.add_argument("--report", action="store_true")
    arguments = parser.parse_args()
    for seed in arguments.seeds:
        for name in arguments.dataset:
            data = get_dataset(name, seed)
            for sorter in () if arguments.make_only else arguments.sorters:
                _one(data, sorter, arguments)
    if arguments.report:
        from figures import draw_figures
        from table import write_table

        found = read_results(arguments.file)
        write_table(found, arguments.file.with_suffix(".md"))
        draw_figures(found, arguments.file.parent)


def _one(data: Dataset, sorter: str, arguments: argparse.Namespace) -> None:
    key = key_of(data.name, data.seed, sorter + (f"*{arguments.threads}" if arguments.threads > 1 else ""))
    known = [run for name, run in read_results(arguments.file)["runs"].items() if name.startswith(key + "|")]
    known = [run for run in known if not run["status"].startswith("failed")]
    if known and sorter not in arguments.again:
        print(_line(key, known[-1]), "(known)", flush=True)
        return
    run = run_sorter(sorter, data, arguments.threads, arguments.cap)
    record = {"when": datetime.now(UTC).isoformat(timespec="seconds"), "threads": arguments.threads, **run.costs()}
    if sorter.startswith("native"):
        record["commit"] = _commit()
    record |= _scores(data, run)
    print(_line(key, record), flush=True)
    if run.status.startswith("failed"):
        print("".join((ROOT / "runs" / f"{data.folder.name}-{sorter}" / "log.txt").open().readlines()[-12:]))
        if sorter.startswith("native"):
            return
    add_result(key, record, f"{data.name}|{data.seed}", _facts(data), arguments.file)


def _scores(data: Dataset, run: Run) -> dict[str, object]:
    return score(data, run.samples, run.units) if run.samples is not None and run.units is not None else {}


def _facts(data: Dataset) -> dict[str, object]:
    fore = data.foreground
    return {
        "n_channels": data.n_channels, "seconds": data.seconds, "n_foreground": len(fore),
        "n_background": int(data.background.sum()), "n_spikes": len(data.spike_samples),
        "noise_uv": round(float(data.noise_uv.mean()), 2), "snr": data.snr[fore].round(2).tolist(),
        "depth_um": data.depth_um[fore].round(1).tolist(),
        "rate_hz": [round(float((data.spike_units == unit).sum() / data.seconds), 2) for unit in fore],
    }  # fmt: skip


def _line(key: str, record: dict[str, object]) -> str:
    costs = f"{record['cpu_s']:8.1f} CPU s {record['wall_s']:8.1f} s {record['peak_gb']:6.2f} GB"
    if "accuracy" not in record:
        return f"{key:34}{costs}  {record['status']}"
    means = " ".join(f"{record[name]:.3f}" for name in ("accuracy", "precision", "recall"))
    return (
        f"{key:34}{costs}  acc/prec/rec {means}  found {record['n_found']}/{record['n_foreground']} of "
        f"{record['n_sorted']} sorted, false {record['false_positive']} redundant {record['redundant']} "
        f"oversplit {record['oversplit']} overmerged {record['overmerged']} background {record['background_found']}"
    )


def _commit() -> str:
    command = ["git", "log", "-1", "--format=%h", "--", "../../processing"]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return done.stdout.strip()


if __name__ == "__main__":
    main()
