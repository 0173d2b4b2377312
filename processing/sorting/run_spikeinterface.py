"""Run one of SpikeInterface's sorters: a program for a process, and perhaps an environment, of its own.

It takes the path of a job (JSON) and leaves ``answer.json`` and, where it sorted, ``spikes.npz`` beside it. It imports
nothing of this package, which need not be installed for the interpreter that runs it.
"""

from __future__ import annotations

import ctypes
import json
import shutil
import signal
import sys
from pathlib import Path
from typing import Any


def main(job_file: str) -> None:
    """Answer one job: to "list" sorters, to "check" that one takes some parameters, or to "sort"."""
    _end_with_parent()
    place = Path(job_file).parent
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    try:
        import spikeinterface
        import spikeinterface.sorters as sorters
    except ImportError as error:
        return _answer(place, {"problem": "no spikeinterface", "detail": str(error)})
    known = list(sorters.available_sorters())
    if job["task"] == "list":
        return _answer(place, {"known": known, "installed": list(sorters.installed_sorters())})
    name = job["sorter"]
    if name not in known:
        return _answer(place, {"problem": "unknown sorter", "known": known})
    if not sorters.sorter_dict[name].is_installed():
        return _answer(place, {"problem": "not installed", "detail": sorters.sorter_dict[name].installation_mesg})
    parameters = list(sorters.get_default_sorter_params(name))
    unknown = [parameter for parameter in job["parameters"] if parameter not in parameters]
    if unknown:
        return _answer(place, {"problem": "unknown parameter", "name": unknown[0], "known": parameters})
    version = sort(job, place) if job["task"] == "sort" else ""
    return _answer(place, {"spikeinterface": spikeinterface.__version__, "version": version})


def sort(job: dict[str, Any], place: Path) -> str:
    """Sort the recording of a job into ``spikes.npz`` (``samples``, ``units``, ``unit_ids``); return the version."""
    import numpy as np
    import probeinterface
    import spikeinterface as si
    import spikeinterface.sorters as sorters

    si.set_global_job_kwargs(n_jobs=job["n_jobs"])
    facts = job["recording"]
    recording = si.read_binary(
        facts["file"],
        sampling_frequency=facts["sampling_rate"],
        dtype=facts["dtype"],
        num_channels=facts["n_columns"],
        file_offset=facts["offset"],
        is_filtered=False,
    )
    recording = recording.frame_slice(0, facts["n_samples"])
    recording = recording.select_channels([recording.channel_ids[column] for column in facts["columns"]])
    recording.set_channel_gains(facts["uv_per_bit"])
    recording.set_channel_offsets(0.0)
    probe = probeinterface.Probe(ndim=2, si_units="um")
    probe.set_contacts(positions=np.asarray(facts["positions"]), shapes="circle", shape_params={"radius": 6.0})
    probe.set_device_channel_indices(np.arange(len(facts["columns"])))
    # Older releases return a recording with the probe, newer ones attach it to this one.
    recording = recording.set_probe(probe) or recording
    output = place / "sorter"
    shutil.rmtree(output, ignore_errors=True)
    sorting = sorters.run_sorter(job["sorter"], recording, folder=output, verbose=True, **job["parameters"])
    spikes = sorting.to_spike_vector()
    np.savez(
        place / "spikes.part.npz",
        samples=spikes["sample_index"].astype(np.int64),
        units=spikes["unit_index"].astype(np.int64),
        unit_ids=np.asarray([str(unit) for unit in sorting.unit_ids], dtype=np.str_),
    )
    (place / "spikes.part.npz").replace(place / "spikes.npz")
    return str(sorters.sorter_dict[job["sorter"]].get_sorter_version())


def _answer(place: Path, contents: dict[str, Any]) -> None:
    part = place / "answer.part.json"
    part.write_text(json.dumps(contents), encoding="utf-8")
    part.replace(place / "answer.json")


def _end_with_parent() -> None:
    """Ask the system to end this process when the one that started it is killed; it would sort for nobody."""
    if sys.platform == "linux":
        parent_death_signal = 1
        ctypes.CDLL(None).prctl(parent_death_signal, signal.SIGTERM)


if __name__ == "__main__":
    main(sys.argv[1])
