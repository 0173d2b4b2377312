"""One sorting of hours by the native sorter, which goes on where it was when it is started again.

    python benchmarks/sorting/long_run.py long-384-20 --seed 0
    python benchmarks/sorting/long_run.py long-384-20 --seed 0 --score
    python benchmarks/sorting/long_run.py long-384-20 long-384-60 --figure

The first line sorts: checkpoints, spikes and ``costs.jsonl`` (CPU seconds, those of them that computed the recording,
memory, size of the work folder, every ten seconds) are kept in ``long/`` where the data sets are
(ALLEN_ECEPHYS_SORTING_BENCHMARK); killed at any time and started again, it goes on. The second scores what was found,
over time too, and adds up the costs of all starts. The third draws and lists what was scored, to benchmarks/results.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import resource
import time
from itertools import pairwise
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any

import numpy as np
from datasets import COMPUTED_FILE, ROOT, Dataset, get_dataset

from allen_ecephys.processing.simulation.computed import ComputedRecording

EVERY_SECONDS = 10.0


class MeteredRecording(ComputedRecording):
    """A computed recording that notes what computing it takes, which no recording on a disk would."""

    cpu_s, read_s = 0.0, 0.0
    _metered = Lock()

    def read(self, start: int, stop: int, channels: Any = None) -> Any:
        """Return samples."""
        began = time.thread_time()
        samples = super().read(start, stop, channels)
        with self._metered:
            MeteredRecording.cpu_s += time.thread_time() - began
            MeteredRecording.read_s += (stop - start) / self.sampling_rate
        return samples


def cpu_seconds() -> float:
    """User and system seconds of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def private_memory() -> int:
    """Bytes that this process holds now, but for those that mirror files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def note_costs(folder: Path, done: Event) -> None:
    """Write down every ten seconds what the process took so far."""
    start = time.perf_counter()
    with (folder / "costs.jsonl").open("a") as file:
        while True:
            last = done.wait(EVERY_SECONDS)
            files = [path.stat() for path in (folder / "work").glob("*") if path.exists()]
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
            record = {
                "pid": os.getpid(), "wall_s": round(time.perf_counter() - start, 1), "cpu_s": round(cpu_seconds(), 1),
                "computing_cpu_s": round(MeteredRecording.cpu_s, 1), "read_s": round(MeteredRecording.read_s, 1),
                "peak_gb": round(peak, 3), "private_gb": round(private_memory() / 1e9, 3),
                "disk_gb": round(sum(f.st_size for f in files) / 1e9, 3),
            }  # fmt: skip
            file.write(json.dumps(record) + "\n")
            file.flush()
            if last:
                return


def sort(data: Dataset, folder: Path) -> None:
    """Sort a data set, or go on with it."""
    from allen_ecephys.processing.sorting.native import sort_native

    (folder / "work").mkdir(parents=True, exist_ok=True)
    done = Event()
    watch = Thread(target=note_costs, args=(folder, done), daemon=True)
    watch.start()
    result = sort_native(MeteredRecording.open(data.folder / COMPUTED_FILE), folder / "work")
    drift = np.zeros((1, 1)) if result.drift_um is None else result.drift_um
    draft = folder / "draft.npz"
    np.savez(draft, samples=result.samples, units=result.units, good=result.good, drift_um=drift)
    draft.rename(folder / "spikes.npz")
    (folder / "details.json").write_text(json.dumps(result.details, default=str, indent=1))
    done.set()
    watch.join()


def costs(folder: Path) -> dict[str, float]:
    """Add up the costs of all starts."""
    records = [json.loads(line) for line in (folder / "costs.jsonl").read_text().splitlines()]
    ends = [a for a, b in pairwise([*records, {"pid": None, "wall_s": -1.0}])
            if a["pid"] != b["pid"] or b["wall_s"] < a["wall_s"]]  # fmt: skip
    return {
        "starts": len(ends), "cpu_s": round(sum(r["cpu_s"] for r in ends), 1),
        "computing_cpu_s": round(sum(r["computing_cpu_s"] for r in ends), 1),
        "wall_s": round(sum(r["wall_s"] for r in ends), 1), "peak_gb": max(r["peak_gb"] for r in records),
        "private_gb": max(r["private_gb"] for r in records),
        "disk_gb": max(r["disk_gb"] for r in records),
    }  # fmt: skip


def report(data: Dataset, folder: Path) -> dict[str, object]:
    """Score what was found; drift is the mean over the probe, estimated and true."""
    from comparing import score

    with np.load(folder / "spikes.npz") as found:
        samples, units, drift = found["samples"], found["units"], found["drift_um"].mean(axis=1)
    seconds = (np.arange(len(drift)) + 0.5) * data.seconds / len(drift)
    true = np.interp(seconds, data.drift_seconds, data.drift_um)
    error = (drift - drift.mean()) - (true - true.mean())
    minutes, _ = np.histogram(samples, np.arange(0, data.n_samples + 1, round(60 * data.n_samples / data.seconds)))
    return {
        **costs(folder), "recording_gb": round(2 * data.n_samples * data.n_channels / 1e9, 2),
        "drift_error_um": {"median": float(np.median(np.abs(error))), "largest": float(np.abs(error).max())},
        "spikes_a_minute": minutes.tolist(), **score(data, samples, units),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--score", action="store_true", help="score a sorting that is done")
    arguments = parser.parse_args()
    data = get_dataset(arguments.dataset, arguments.seed)
    folder = ROOT / "long" / data.folder.name
    if arguments.score:
        found = report(data, folder)
        (folder / "report.json").write_text(json.dumps(found, indent=1))
        print(json.dumps({k: v for k, v in found.items() if not k.startswith("unit_")}, indent=1))
    else:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
        sort(data, folder)


if __name__ == "__main__":
    main()
