"""The LFP band of 384 channels: what a recorded second costs, and what reading its file costs, against the release's.

    python benchmarks/lfp_band.py [--seconds 300] [--workers 2] [--folder DIR] [--wide 60] [--result FILE]

A simulated LFP band (noise that falls with frequency, common to neighbours in part) is subsampled, re-referenced and
written in one pass; the same traces are written once more as the release lays them out (volts, float32, gzip 9, a
channel a chunk). Slices are read from both with h5py, each in a process of its own, from a warm page cache. `--wide`
seconds of a wide band (30 kHz, for probes without an LFP band) are subsampled, too.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

CHANNELS = 384
#: Of a session of the release (s).
SESSION = 9_000.0


def simulate(folder: Path, rate: float, seconds: float) -> dict[str, float]:
    """Write counts of 0.195 uV: each channel a slow walk of its own and of its depth, and the converter's noise.

    As loud as makes the release's layout as large as the release's files are (half of what the volts take).
    """
    from scipy.signal import lfilter

    rng = np.random.default_rng(0)
    block = round(rate)
    state = np.zeros((1, CHANNELS))
    with (folder / f"band_{rate:g}.dat").open("wb") as file:
        for _ in range(max(1, round(seconds))):
            fresh = rng.normal(0.0, 1.0, (block, CHANNELS))
            common = np.repeat(rng.normal(0.0, 1.5, (block, CHANNELS // 16)), 16, axis=1)
            walk, state = lfilter([25.0], [1.0, -0.985], 0.7 * fresh + common, axis=0, zi=state)
            file.write(np.rint(walk + rng.normal(0.0, 15.0, walk.shape)).clip(-32768, 32767).astype("<i2").tobytes())
    return {}


def contents_of(path: Path, rate: float) -> Any:
    """Return what an LFP file of this band holds."""
    import pandas as pd

    from allen_ecephys.processing.lfp_band import lfp_channels, subsampled_lfp
    from allen_ecephys.processing.packaging import LfpContents, SessionMetadata
    from allen_ecephys.processing.probes import neuropixels_1_geometry
    from allen_ecephys.processing.readers.binary import BinaryRecording

    geometry = neuropixels_1_geometry(CHANNELS)
    band = BinaryRecording(path, n_columns=CHANNELS, sampling_rate=rate, uv_per_bit=0.195, geometry=geometry)
    in_brain = np.arange(CHANNELS) < 320
    chosen = lfp_channels(geometry, geometry[319, 1])
    traces = subsampled_lfp(band, chosen, in_brain)
    channels = pd.DataFrame(
        {
            "probe_id": 1, "probe_channel_number": chosen, "probe_vertical_position": geometry[chosen, 1].astype(int),
            "probe_horizontal_position": geometry[chosen, 0].astype(int), "valid_data": True,
            "structure_acronym": np.where(in_brain[chosen], "grey", ""),
            **{f"{axis}_ccf_coordinate": np.nan for axis in ("anterior_posterior", "dorsal_ventral", "left_right")},
        },
        index=pd.Index(850_000_000 + chosen, name="id"),
    )  # fmt: skip
    probes = pd.DataFrame(
        {"description": ["probeA"], "sampling_rate": [30_000.0], "lfp_sampling_rate": [1250.0], "has_lfp_data": [True]},
        index=pd.Index([1], name="id"),
    )
    start = pd.Timestamp("2019-01-19T08:54:18Z").to_pydatetime()
    return LfpContents(
        SessionMetadata(1, start), probes, channels, traces, traces.samples() / rate, volts_per_count=np.full(
            len(chosen), 0.195e-6
        ),
    )  # fmt: skip


def make(folder: Path, rate: float) -> dict[str, float]:
    """Subsample a band and write its file."""
    from allen_ecephys.processing.packaging import write_lfp_nwb

    contents = contents_of(folder / f"band_{rate:g}.dat", rate)
    seconds = contents.traces.shape[0] / 1250.0
    used = measured(lambda: write_lfp_nwb(folder / f"ours_{rate:g}.nwb", contents))
    return {"cpu": used["cpu"] / seconds, "wall": used["wall"] / seconds, "peak_gb": used["peak_gb"]}


def release(folder: Path, rate: float) -> dict[str, float]:
    """Write the same traces as the release does."""
    from dataclasses import replace

    from allen_ecephys.processing.packaging import write_lfp_nwb

    contents = contents_of(folder / f"band_{rate:g}.dat", rate)

    class Volts:
        shape = contents.traces.shape

        def __getitem__(self, rows: slice) -> Any:
            return contents.traces[rows] * np.float32(0.195e-6)

    write_lfp_nwb(folder / "release.nwb", replace(contents, traces=Volts(), volts_per_count=None))
    return {}


def read(folder: Path, which: str) -> dict[str, float]:
    """Read ten seconds of all channels, and all of one channel."""
    import h5py

    with h5py.File(folder / which) as file:
        data = file["acquisition/probe_1_lfp/probe_1_lfp_data/data"]
        middle = data.shape[0] // 2
        # Each once before, so that only reading counts; h5py keeps no chunk of this size.
        (folder / which).read_bytes()
        slices = [measured(lambda: data[middle : middle + 12_500]) for _ in range(5)]
        channels = [measured(lambda: data[:, 40]) for _ in range(3)]
    return {
        "slice": float(np.median([s["cpu"] for s in slices])),
        "channel": float(np.median([c["cpu"] for c in channels])),
    }


def measured(work: Callable[[], Any]) -> dict[str, float]:
    """Return CPU and wall seconds of some work, and the process's largest memory."""

    def cpu() -> float:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_utime + used.ru_stime

    before, start = cpu(), time.perf_counter()
    work()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return {"cpu": cpu() - before, "wall": time.perf_counter() - start, "peak_gb": peak}


def alone(folder: Path, *step: object) -> dict[str, float]:
    """Do one step in a process of its own."""
    command = [sys.executable, __file__, "--folder", str(folder), "--step", *map(str, step)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--wide", type=float, default=60.0)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--result", type=Path)
    parser.add_argument("--step", nargs=2)
    arguments = parser.parse_args()
    if arguments.step:
        name, value = arguments.step
        steps: dict[str, Callable[[], dict[str, float]]] = {
            "simulate": lambda: simulate(arguments.folder, *map(float, value.split(":"))),
            "make": lambda: make(arguments.folder, float(value)),
            "release": lambda: release(arguments.folder, float(value)),
            "read": lambda: read(arguments.folder, value),
        }
        print(json.dumps(steps[name]()))
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as place:
        folder = Path(place)
        made = {}
        for rate, seconds in ((2_500, arguments.seconds), (30_000, arguments.wide)):
            if seconds:
                alone(folder, "simulate", f"{rate}:{seconds}")
                made[rate] = alone(folder, "make", rate) | {"seconds": seconds}
        alone(folder, "release", 2_500)
        ours, theirs = (alone(folder, "read", name) for name in ("ours_2500.nwb", "release.nwb"))
        sizes = [(folder / name).stat().st_size for name in ("ours_2500.nwb", "release.nwb")]
    lines = table(arguments.seconds, made, ours, theirs, sizes)
    print("\n".join(lines))
    if arguments.result:
        arguments.result.write_text("\n".join(lines) + "\n", encoding="utf-8")


def table(
    seconds: float,
    made: dict[int, dict[str, float]],
    ours: dict[str, float],
    theirs: dict[str, float],
    sizes: list[int],
) -> list[str]:
    """Return the result as Markdown."""
    lines = [
        "# The LFP band", "", f"`python benchmarks/lfp_band.py --seconds {seconds:g}`: {CHANNELS} channels, of which "
        "every fourth is kept; one pass from the raw band to the file.", "",
        "| band | recorded s | CPU s a recorded s | wall s a recorded s | peak memory | 2.5 h, extrapolated |",
        "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for rate, got in made.items():
        lines.append(
            f"| {rate:,} Hz | {got['seconds']:g} | {got['cpu']:.4f} | {got['wall']:.4f} | {got['peak_gb']:.2f} GB "
            f"| {got['cpu'] * SESSION / 60:.0f} CPU min |"
        )
    lines += ["", "| reading | this package's file | the release's layout | ratio |", "|---|---|---|---|"]
    for name, said in (("slice", "10 s of all channels"), ("channel", "one channel, all the time")):
        ratio = theirs[name] / max(ours[name], 1e-9)
        lines.append(f"| {said} | {ours[name] * 1e3:.1f} ms CPU | {theirs[name] * 1e3:.1f} ms CPU | {ratio:.0f} |")
    lines.append(
        f"| size of the file | {sizes[0] / 1e6:.1f} MB | {sizes[1] / 1e6:.1f} MB | {sizes[1] / sizes[0]:.2f} |"
    )
    return [
        *lines, "",
        f"The release's chunks are {46_485 / 1250:.0f} s of one channel: a slice inflates all that touch it, however "
        "long the session. Slices of both files cost the same at any length; a channel's time grows with it.",
    ]  # fmt: skip


if __name__ == "__main__":
    main()
