"""Median subtraction, 150 Hz high-pass, whitening and int16 write of 384 channels: this package and SpikeInterface.

    python benchmarks/spike_band.py [--seconds 20] [--workers 2] [--folder DIR]

Both read the same simulated recording from the same file (warm page cache) and write int16 to the same disk, each in a
process of its own; CPU seconds include its children, and memory is the peak of the process. Bandwidths of copying
memory and of writing the disk are measured in the same run.
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

import numpy as np


def ours(raw: Path, out: Path, workers: int) -> None:
    from allen_ecephys.processing.simulation.raw import read_ground_truth
    from allen_ecephys.processing.spike_band import ProbeInfo, estimate_whitening, write_whitened
    from allen_ecephys.processing.spike_band.depth_estimation import estimate_offsets

    truth = read_ground_truth(raw)
    recording = truth.recording()
    good = np.ones(384, bool)
    good[recording.reference_channels] = False
    offsets, rms = estimate_offsets(recording)
    info = ProbeInfo(offsets, good, rms, 384.0, 384.0)

    weights = estimate_whitening(recording, info, good)  # SpikeInterface estimates its matrix before the write too
    out.mkdir()
    report(lambda: write_whitened(recording, info, weights, out, n_workers=workers), recording.n_samples / 30_000)


def spikeinterface(raw: Path, out: Path, workers: int) -> None:
    import spikeinterface.full as si

    from allen_ecephys.processing.simulation.raw import read_ground_truth

    truth = read_ground_truth(raw)
    recording = truth.recording()
    source = si.BinaryRecordingExtractor(
        str(recording.path), 30_000.0, "int16", num_channels=384, gain_to_uV=0.195, offset_to_uV=0.0
    )
    source.set_dummy_probe_from_locations(recording.geometry)
    groups = [list(range(group, 384, 24)) for group in range(24)]
    referenced = si.common_reference(source, reference="global", operator="median", groups=groups)
    filtered = si.highpass_filter(referenced, freq_min=150.0, filter_order=3, dtype="float32")
    whitened = si.whiten(filtered, mode="local", radius_um=100.0, int_scale=200.0, dtype="float32")
    final = si.astype(whitened, "int16", round=True) if hasattr(si, "astype") else whitened
    si.set_global_job_kwargs(n_jobs=workers, chunk_duration="1s", progress_bar=False)
    report(lambda: final.save(folder=out, format="binary", dtype="int16", overwrite=True), recording.n_samples / 30_000)


def report(work: object, seconds: float) -> None:
    """Run and print as JSON what it took, per second of recording."""

    def cpu() -> float:
        both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return sum(usage.ru_utime + usage.ru_stime for usage in both)

    before, start = cpu(), time.perf_counter()
    work()  # type: ignore[operator]
    wall = time.perf_counter() - start
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(json.dumps({"cpu": (cpu() - before) / seconds, "wall": wall / seconds, "peak_gb": peak / 1e6}))


def run(which: str, arguments: argparse.Namespace, folder: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--run", which, "--folder", str(folder), "--workers", str(arguments.workers)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def bandwidths(folder: Path) -> tuple[float, float]:
    """Return GB/s of copying memory and of writing to disk, fsync included."""
    block = np.ones(256_000_000, np.uint8)
    target = np.empty_like(block)
    np.copyto(target, block)
    start = time.perf_counter()
    np.copyto(target, block)
    memory = block.nbytes / (time.perf_counter() - start) / 1e9
    start = time.perf_counter()
    with (folder / "disk").open("wb") as file:
        file.write(block.data)
        file.flush()
        os.fsync(file.fileno())
    return memory, block.nbytes / (time.perf_counter() - start) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--run", choices=["ours", "spikeinterface"])
    arguments = parser.parse_args()
    if arguments.run:
        {"ours": ours, "spikeinterface": spikeinterface}[arguments.run](
            arguments.folder / "raw", arguments.folder / arguments.run, arguments.workers
        )
        return
    from allen_ecephys.processing.simulation.raw import write_recording

    with tempfile.TemporaryDirectory(dir=arguments.folder) as place:
        folder = Path(place)
        write_recording(folder / "raw", duration=arguments.seconds, n_units=100, seed=0, lfp=False)
        memory, disk = bandwidths(folder)
        mine, theirs = run("ours", arguments, folder), run("spikeinterface", arguments, folder)
    print(f"{arguments.seconds:g} s of 384 channels, {arguments.workers} workers; per second of recording:")
    print(f"{'':18}{'CPU s':>8}{'wall s':>8}{'x real time':>13}{'peak GB':>9}")
    for name, got in (("allen-ecephys", mine), ("SpikeInterface", theirs)):
        print(f"{name:18}{got['cpu']:8.3f}{got['wall']:8.3f}{1 / got['wall']:13.1f}{got['peak_gb']:9.2f}")
    print(f"ratio             {theirs['cpu'] / mine['cpu']:8.1f}{theirs['wall'] / mine['wall']:8.1f}")
    volume = 384 * 30_000 * 2 / 1e9
    print(f"reading and writing {2 * volume:.3f} GB a second of recording takes at least:")
    print(f"  {2 * volume / memory:.4f} s of copying memory ({memory:.1f} GB/s)")
    print(f"  {volume / disk:.4f} s of writing the disk ({disk:.2f} GB/s)")


if __name__ == "__main__":
    main()
