"""One sorting of hours by the native sorter, which goes on where it was when it is started again.

    python benchmarks/sorting/long_run.py long-384-20 --seed 0 --keep
    python benchmarks/sorting/long_run.py long-384-20 --seed 0
    python benchmarks/sorting/long_run.py long-384-20 --seed 0 --score
    python benchmarks/sorting/long_run.py long-384-20 --seed 0 --again
    python benchmarks/sorting/long_run.py long-384-20 long-384-60 --figure

The first line, which need not be, computes the recording once and keeps it, deflated to less than half (13 and 39 GB).
The second sorts: checkpoints, spikes and ``costs.jsonl`` (CPU seconds, those of them that computed or inflated the
recording, memory, size of the work folder, every ten seconds) are kept in ``long/`` where the data sets are
(ALLEN_ECEPHYS_SORTING_BENCHMARK); killed at any time and started again, it goes on. The third scores what was found,
over time too, and adds up the costs of all starts. The fourth puts a sorting that was scored aside: sorted again and
scored, the two are compared byte by byte. The fifth draws and lists what was scored, to benchmarks/results.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import resource
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Lock, Thread, get_ident
from typing import Any

import numpy as np
from datasets import COMPUTED_FILE, ROOT, Dataset, get_dataset
from numcodecs import Blosc

from allen_ecephys.processing.simulation.computed import ComputedRecording
from allen_ecephys.processing.simulation.computed.recording import BLOCK_SAMPLES

EVERY_SECONDS = 10.0
RESULTS = Path(__file__).parents[1] / "results"
#: Units above this many times the noise are listed apart.
LARGE_SNR = 3.4


BITSHUFFLE = Blosc(cname="lz4", clevel=3, shuffle=Blosc.BITSHUFFLE)


class MeteredRecording(ComputedRecording):
    """A computed recording that notes what computing it takes, which no recording on a disk would.

    Blocks that are in the folder `kept` are not computed again.
    """

    cpu_s, read_s = 0.0, 0.0
    kept: Path | None = None
    _metered = Lock()

    def _compute(self, number: int) -> Any:
        path = None if self.kept is None else self.kept / f"{number}.lz4"
        if path is None or not path.exists():
            return super()._compute(number)
        return np.frombuffer(BITSHUFFLE.decode(path.read_bytes()), np.int16).reshape(-1, self.n_channels)

    def keep(self, folder: Path) -> None:
        """Compute all blocks and keep them, deflated, in a folder."""
        folder.mkdir(exist_ok=True)

        def work(number: int) -> None:
            target = folder / f"{number}.lz4"
            if not target.exists():
                draft = target.with_suffix(f".{get_ident()}")
                draft.write_bytes(BITSHUFFLE.encode(np.ascontiguousarray(self._compute(number))))
                draft.rename(target)

        with ThreadPoolExecutor() as pool:
            list(pool.map(work, range(-(-self.n_samples // BLOCK_SAMPLES))))

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


def opened(data: Dataset) -> MeteredRecording:
    """Return the recording of a data set."""
    recording = MeteredRecording.open(data.folder / COMPUTED_FILE)
    assert isinstance(recording, MeteredRecording)
    if (data.folder / "blocks").exists():
        recording.kept = data.folder / "blocks"
    return recording


def sort(data: Dataset, folder: Path) -> None:
    """Sort a data set, or go on with it."""
    from allen_ecephys.processing.sorting.native import sort_native

    (folder / "work").mkdir(parents=True, exist_ok=True)
    done = Event()
    watch = Thread(target=note_costs, args=(folder, done), daemon=True)
    watch.start()
    result = sort_native(opened(data), folder / "work")
    drift = np.zeros((1, 1)) if result.drift_um is None else result.drift_um
    draft = folder / "draft.npz"
    np.savez(draft, samples=result.samples, units=result.units, good=result.good, drift_um=drift)
    draft.rename(folder / "spikes.npz")
    (folder / "details.json").write_text(json.dumps(result.details, default=str, indent=1))
    done.set()
    watch.join()


def records_of(folder: Path) -> list[dict[str, float]]:
    """Return what was noted, of all starts one after the other: seconds go on where the start before ended."""
    records, before, last = [], {"wall_s": 0.0, "cpu_s": 0.0, "computing_cpu_s": 0.0}, None
    for line in (folder / "costs.jsonl").read_text().splitlines():
        record = json.loads(line)
        if last is not None and record["wall_s"] < last["wall_s"]:
            before = {name: before[name] + last[name] for name in before}
        last = record
        records.append(record | {name: before[name] + record[name] for name in before})
    return records


def digests(folder: Path) -> dict[str, str]:
    """Return SHA-256 of the arrays that were found and of the features: equal sortings have equal ones."""
    with np.load(folder / "spikes.npz") as found:
        made = {name: hashlib.sha256(np.ascontiguousarray(found[name]).data).hexdigest() for name in found.files}
    for path in sorted((folder / "work").glob("*.dat")):
        with path.open("rb") as file:
            made[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return made


def report(data: Dataset, folder: Path) -> dict[str, Any]:
    """Score what was found; drift is the mean over the probe, estimated and true."""
    from comparing import WELL_FOUND, score

    with np.load(folder / "spikes.npz") as found:
        samples, units, drift = found["samples"], found["units"], found["drift_um"].mean(axis=1)
    seconds = (np.arange(len(drift)) + 0.5) * data.seconds / len(drift)
    true = np.interp(seconds, data.drift_seconds, data.drift_um)
    estimated, true = drift - drift.mean(), true - true.mean()
    error, some = np.abs(estimated - true), slice(None, None, max(len(drift) // 200, 1))
    scores = score(data, samples, units)
    larger, accuracy = data.snr[data.foreground] > LARGE_SNR, np.array(scores["unit_accuracy"])
    minutes, _ = np.histogram(samples, np.arange(0, data.n_samples + 1, round(60 * data.n_samples / data.seconds)))
    records = records_of(folder)
    shown = records[:: max(len(records) // 100, 1)]
    end = records[-1]
    return {
        "seconds": data.seconds, "starts": len({record["pid"] for record in records}), "cpu_s": round(end["cpu_s"], 1),
        "computing_cpu_s": round(end["computing_cpu_s"], 1), "wall_s": round(end["wall_s"], 1),
        **{name: max(record[name] for record in records) for name in ("peak_gb", "private_gb", "disk_gb")},
        "recording_gb": round(2 * data.n_samples * data.n_channels / 1e9, 2),
        "drift_error_um": {"median": round(float(np.median(error)), 2), "largest": round(float(error.max()), 2)},
        "spikes_a_minute": minutes.tolist(), **scores,
        "larger_than_snr": {
            "snr": LARGE_SNR, "n": int(larger.sum()), "n_found": int((accuracy[larger] >= WELL_FOUND).sum()),
            "accuracy": round(float(accuracy[larger].mean()), 4),
        },
        "sha256": digests(folder),
        "drift_um": {
            "seconds": seconds[some].round(1).tolist(), "estimated": estimated[some].round(2).tolist(),
            "true": true[some].round(2).tolist(),
        },
        "costs": {name: [round(r[name], 3) for r in shown] for name in ("wall_s", "cpu_s", "private_gb", "disk_gb")},
    }  # fmt: skip


def compared_with_the_run_before(found: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return a report with what the sorting that was put aside took, and whether its bytes are the same."""
    path = aside(folder) / "report.json"
    if not path.exists():
        return found
    before = json.loads(path.read_text())
    took = {name: before[name] for name in ("starts", "cpu_s", "computing_cpu_s", "wall_s", "peak_gb", "private_gb")}
    return found | {"run_before": took | {"equal_bytes": before["sha256"] == found["sha256"]}}


def aside(folder: Path) -> Path:
    """Return where a sorting is put that is to be compared with the next."""
    return folder.with_name(f"{folder.name}-before")


def draw(reports: dict[str, dict[str, Any]], path: Path) -> None:
    """Draw accuracy over time, drift, what was found at borders of batches, and costs."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, ((over_time, drift), (border, memory)) = plt.subplots(2, 2, figsize=(10, 6.4), layout="constrained")
    for color, (name, r) in zip(("#1f77b4", "#d62728", "#2ca02c"), reports.items(), strict=False):
        tenths = (np.arange(10) + 0.5) * r["seconds"] / 600
        over_time.plot(tenths, r["accuracy_over_time"], "o-", color=color, label=name)
        times = np.array(r["drift_um"]["seconds"]) / 60
        drift.plot(times, r["drift_um"]["true"], color="0.75", lw=4, label=None if drift.lines else "true")
        drift.plot(times, r["drift_um"]["estimated"], color=color, lw=1.0, label=f"{name}, estimated")
        border.plot(np.array(r["found_by_place_in_batch"]), "-", color=color, label=name)
        memory.plot(np.array(r["costs"]["wall_s"]) / 60, r["costs"]["private_gb"], color=color, label=f"{name}, memory")
        memory.plot(np.array(r["costs"]["wall_s"]) / 60, r["costs"]["disk_gb"], "--", color=color, label="work folder")
    over_time.set(xlabel="recorded (min)", ylabel="mean accuracy of true units", ylim=(0, 1))
    drift.set(xlabel="recorded (min)", ylabel="drift (um, about its mean)")
    border.set(xlabel="place in a batch (64ths of 2.2 s)", ylabel="true spikes of matched units found", ylim=(0, 1.03))
    memory.set(xlabel="sorting (min)", ylabel="GB")
    for axis in (over_time, drift, border, memory):
        axis.legend(frameon=False, fontsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", nargs="+", metavar="dataset")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", action="store_true", help="compute the recording once, and keep it")
    parser.add_argument("--score", action="store_true", help="score a sorting that is done")
    parser.add_argument("--again", action="store_true", help="put a sorting aside that was scored, and sort again")
    parser.add_argument("--figure", action="store_true", help="draw and list what was scored")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    reports = {}
    for name in arguments.datasets:
        data = get_dataset(name, arguments.seed)
        folder = ROOT / "long" / data.folder.name
        if arguments.keep:
            opened(data).keep(data.folder / "blocks")
        elif arguments.figure:
            reports[name] = json.loads((folder / "report.json").read_text())
        elif arguments.score:
            found = compared_with_the_run_before(report(data, folder), folder)
            (folder / "report.json").write_text(json.dumps(found, indent=1))
            print(json.dumps({k: v for k, v in found.items() if not k.startswith("unit_")}, indent=1))
        else:
            if arguments.again:
                shutil.rmtree(folder / "work")
                folder.rename(aside(folder))
            sort(data, folder)
    if arguments.figure:
        (RESULTS / "long_run.json").write_text(json.dumps(reports, indent=1))
        draw(reports, RESULTS / "long_run.png")


if __name__ == "__main__":
    main()
