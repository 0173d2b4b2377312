"""One sorter on one data set, in a process of its own: ``python one_run.py SORTER FOLDER OUT``.

Peers run in an environment without this package: nothing but NumPy and the sorter's own library is imported here.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from datasets import RATE, Dataset, read_dataset


def native(data: Dataset, work: Path) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Sort with the native sorter."""
    from allen_ecephys.processing.sorting.native import sort_native

    result = sort_native(data.recording(), work)
    moved = [] if result.drift_um is None else result.drift_um.mean(axis=1).round(1).tolist()
    details = {"good": int(result.good.sum()), "drift_um": moved[:: max(len(moved) // 60, 1)], **result.details}
    return np.asarray(result.samples), np.asarray(result.units), details


def spikeinterface(sorter: str, data: Dataset, work: Path) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Sort with a sorter that SpikeInterface runs: default parameters, but motion correction where there is drift."""
    import spikeinterface as si
    from probeinterface import Probe
    from spikeinterface.sorters import run_sorter

    threads = int(os.environ["ALLEN_ECEPHYS_SORTING_THREADS"])
    si.set_global_job_kwargs(n_jobs=threads, chunk_duration="1s", progress_bar=False)
    recording = si.BinaryRecordingExtractor(
        str(data.path), RATE, "int16", num_channels=data.n_channels, gain_to_uV=data.uv_per_bit, offset_to_uV=0.0
    )
    probe = Probe(ndim=2, si_units="um")
    probe.set_contacts(positions=data.geometry, shapes="square", shape_params={"width": 12})
    probe.set_device_channel_indices(np.arange(data.n_channels))
    recording.set_probe(probe)
    parameters: dict[str, Any] = {}
    if data.name.startswith("drift") and sorter in ("tridesclous2", "lupin"):
        parameters["apply_motion_correction"] = True  # off by default in these two
    if sorter == "kilosort4":
        import torch

        torch.set_num_threads(threads)
        parameters["torch_device"] = "cpu"
    sorting = run_sorter(
        sorter, recording, folder=work, remove_existing_folder=True, verbose=False, raise_error=True, **parameters
    )
    spikes = sorting.to_spike_vector()
    return spikes["sample_index"].astype(np.int64), spikes["unit_index"].astype(np.int64), {"parameters": parameters}


def cpu_seconds() -> float:
    """User and system seconds of this process and its finished children."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def main() -> None:
    sorter, folder, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    data = read_dataset(folder)
    work = out / "work"
    if sorter.endswith("-warm"):
        sorter = sorter.removesuffix("-warm")
        spikeinterface(sorter, data, work)
    before, start = cpu_seconds(), time.perf_counter()
    if sorter.startswith("native"):
        samples, units, details = native(data, work)
        release = version("allen-ecephys")
    else:
        samples, units, details = spikeinterface(sorter, data, work)
        release = version("kilosort" if sorter == "kilosort4" else "spikeinterface")
    details |= {"cpu_of_call": cpu_seconds() - before, "wall_of_call": time.perf_counter() - start}
    np.savez(out / "spikes.npz", samples=samples, units=units)
    (out / "details.json").write_text(json.dumps({"version": release, "details": details}, default=str))


if __name__ == "__main__":
    main()
