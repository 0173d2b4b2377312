"""A whole session, side by side: this package, AllenSDK, pynapple, and the floor (bare h5py and NumPy).

    python benchmarks/session.py FOLDER --allensdk-python PYTHON [--scale 1.0] [--output benchmarks/results/session.md]

FOLDER receives a simulated session (2,779 units, 1.3e8 spikes, 70,390 presentations: 3 GB), the LFP of one probe, and
the same arrays written by AllenSDK's interpreter with pynwb 2.8, because AllenSDK cannot read current NWB. Everyone
reads that second file, each in a process of its own, one after the other. Numbers are CPU seconds of the call and, in
brackets, how far the process's memory rose above what it held before the call, and what of that is the result.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
PEERS = ("allen-ecephys", "AllenSDK", "pynapple", "floor")
CASES = {
    "import": "import",
    "units": "open + `units`",
    "presentations": "`stimulus_presentations`, with invalid times",
    "spikes": "`spike_times`, all units that pass the filter",
    "one_unit": "`spike_times` of one unit, from opening the file",
    "counts": "counts, drifting gratings, 630 x 20 bins x all units",
    "fine": "counts, static gratings, 6,000 x 500 bins x 100 units",
    "fine_uint16": 'the same with `dtype="uint16"`',
    "fine_sparse": "the same with `sparse=True`",
    "aligned": "`presentationwise_spike_times`, drifting gratings, all units",
    "statistics": "`conditionwise_spike_statistics`, drifting gratings (CPU ms a unit)",
    "behavior": "`running_speed` and `get_pupil_data`",
    "lfp": "10 s of LFP",
}
#: AllenSDK is given few units here, and the time divided by them.
FEW = 50


class Meter:
    """CPU time and rise of resident memory of one call after the other."""

    def __init__(self):
        self.results = {}

    def measure(self, name, call, per=1.0):
        """Run a call and keep its CPU seconds (times `per`) and the MB it added; return its value."""
        before = self._status("VmRSS")
        try:
            Path("/proc/self/clear_refs").write_text("5")  # the peak begins again at what is held now
        except OSError:
            before = None
        begin = time.process_time()
        value = call()
        seconds = time.process_time() - begin
        peak = None if before is None else max(0, self._status("VmHWM") - before)
        self.results[name] = {"cpu": seconds * per, "megabytes": peak, "result": held(value) / 1e6}
        return value

    @staticmethod
    def _status(key):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(key)).split()[1]) / 1024


def held(value):
    """Return the bytes of a result, of arrays and tables in lists and tuples too."""
    if isinstance(value, (list, tuple)):
        return sum(held(item) for item in value)
    if hasattr(value, "memory_usage"):
        usage = value.memory_usage(index=True)
        return int(usage.sum() if hasattr(usage, "sum") else usage)
    if hasattr(value, "matrices"):  # sparse counts
        return sum(held([matrix.data, matrix.indices, matrix.indptr]) for matrix in value.matrices)
    return int(getattr(value, "nbytes", 0))


def gratings(table):
    """Return ids of the presentations that every peer aligns to."""
    names = table["stimulus_name"]
    return table.index[names == "drifting_gratings"].to_numpy(), table.index[names == "static_gratings"].to_numpy()


def with_session(meter, opened, few):
    """Measure the calls that AllenSDK and this package share; return the session.

    `opened` opens the session; `few` limits the units of the statistics.
    """

    def first():
        session = opened()
        return session, session.units

    session, units = meter.measure("units", first)
    units = units.index.to_numpy()
    table = meter.measure("presentations", lambda: session.stimulus_presentations)
    # AllenSDK reads them all when the attribute is first asked for, this package a unit at a time.
    meter.measure("spikes", lambda: [session.spike_times[u] for u in units])
    drifting, static = gratings(table)
    counts = session.presentationwise_spike_counts
    meter.measure("counts", lambda: counts(np.linspace(0, 2, 21), drifting, units))
    meter.measure("fine", lambda: counts(np.linspace(0, 0.25, 501), static, units[:100]))
    aligned = meter.measure("aligned", lambda: session.presentationwise_spike_times(drifting, units))
    meter.results["aligned"]["spikes"] = len(aligned)
    del aligned
    some = units[:few] if few else units
    meter.measure("statistics", lambda: session.conditionwise_spike_statistics(drifting, some), per=1000.0 / len(some))
    meter.measure("behavior", lambda: (session.running_speed, session.get_pupil_data()))
    meter.results["n_units"] = len(units)
    return session


def run_ours(path, lfp, probe):
    meter = Meter()

    def load():
        from allen_ecephys import EcephysSession

        return EcephysSession

    session_class = meter.measure("import", load)
    warm_up(session_class)

    def one_unit():
        session = session_class(path)
        return session.spike_times[int(session.units.index[7])]

    meter.measure("one_unit", one_unit)
    from allen_ecephys import SessionCompanions

    companions = SessionCompanions(lfp_path=lambda _: lfp)
    session = with_session(meter, lambda: session_class(path, companions=companions), few=0)
    fine_counts(meter, session)
    meter.measure("lfp", lambda: session.get_lfp(probe).sel(time=slice(100.0, 110.0)).load())
    return meter.results


def fine_counts(meter, session):
    """Measure the fine bins in the forms that take less memory; AllenSDK has neither of them."""
    ids, units = gratings(session.stimulus_presentations)[1], session.units.index[:100]
    edges = np.linspace(0, 0.25, 501)
    meter.measure("fine_uint16", lambda: session.presentationwise_spike_counts(edges, ids, units, dtype="uint16"))
    meter.measure("fine_sparse", lambda: session.presentationwise_spike_counts(edges, ids, units, sparse=True))


def warm_up(session_class):
    """Let numba load (or compile, once) its kernels on a session of seconds."""
    from tempfile import TemporaryDirectory

    from allen_ecephys.processing.simulation import write_session

    with TemporaryDirectory() as folder:
        path = Path(folder) / "s.nwb"
        write_session(path, scale=0.005, n_units=30, n_probes=1)
        with session_class(path) as session:
            ids = session.stimulus_presentations.index[100:110]
            for form in ({}, {"dtype": "uint16"}, {"sparse": True}):
                session.presentationwise_spike_counts(np.linspace(0, 0.1, 3), ids, **form)
            session.presentationwise_spike_times(ids)
            session.conditionwise_spike_statistics(ids)
            _ = session.running_speed, session.get_pupil_data()


def run_allensdk(path, lfp, probe):
    import warnings

    warnings.simplefilter("ignore")
    meter = Meter()

    def load():
        from allensdk.brain_observatory.ecephys.ecephys_session import EcephysSession

        return EcephysSession

    session_class = meter.measure("import", load)
    from pynwb import NWBHDF5IO

    given = {"probe_lfp_paths": {probe: lambda: NWBHDF5IO(lfp, "r").read()}}
    session = with_session(meter, lambda: session_class.from_nwb_path(path, api_kwargs=given), few=FEW)
    meter.measure("lfp", lambda: session.get_lfp(probe).sel(time=slice(100.0, 110.0)).load())
    return meter.results


def run_pynapple(path, _lfp, _probe):
    import warnings

    warnings.simplefilter("ignore")
    meter = Meter()

    def load():
        import pynapple

        return pynapple

    nap = meter.measure("import", load)
    kept, starts = selection(path)
    meter.measure("units", lambda: nap.load_file(path))
    file = nap.load_file(path)
    group = meter.measure("spikes", lambda: file["units"])
    names = np.array(group.keys())[kept]
    group = group[names.tolist()]
    drifting = nap.IntervalSet(starts["drifting_gratings"], starts["drifting_gratings"] + 2.0)
    static = nap.IntervalSet(starts["static_gratings"], starts["static_gratings"] + 0.25)
    few = group[names[:100].tolist()]
    group[names[:2].tolist()].count(0.1, ep=drifting)  # numba
    meter.measure("counts", lambda: group.count(0.1, ep=drifting))
    meter.measure("fine", lambda: few.count(0.0005, ep=static))
    # Restricts units to the presentations, without saying which spike is of which.
    meter.measure("aligned", lambda: group.restrict(drifting))
    meter.results["n_units"] = len(names)
    return meter.results


def selection(path):
    """Return which units pass the default filter, and when gratings begin, with bare h5py."""
    import h5py

    with h5py.File(path, "r") as file:
        units = file["units"]
        good = np.array([q == b"good" for q in units["quality"][()]])
        good &= (units["isi_violations"][()] <= 0.5) & (units["amplitude_cutoff"][()] <= 0.1)
        good &= units["presence_ratio"][()] >= 0.95
        electrodes = file["general/extracellular_ephys/electrodes"]
        usable = electrodes["valid_data"][()] & np.array([x != b"" for x in electrodes["location"][()]])
        row = np.searchsorted(electrodes["id"][()], units["peak_channel_id"][()])
        names = ("drifting_gratings", "static_gratings")
        starts = {name: file[f"intervals/{name}_presentations/start_time"][()] for name in names}
    return np.flatnonzero(good & usable[row]), starts


def run_floor(path, lfp, probe):
    import h5py

    meter = Meter()
    kept, starts = selection(path)
    file = h5py.File(path, "r")
    units = file["units"]
    ragged = ("spike_times", "spike_amplitudes", "waveform_mean")
    scalar = [n for n in units if not n.startswith(ragged)]
    electrodes = file["general/extracellular_ephys/electrodes"]
    meter.measure(
        "units", lambda: [units[n][()] for n in scalar] + [c[()] for n, c in electrodes.items() if n != "group"]
    )
    tables = [t for n, t in file["intervals"].items() if n.endswith("_presentations")]
    bookkeeping = ("tags", "timeseries")
    meter.measure(
        "presentations", lambda: [c[()] for t in tables for n, c in t.items() if not n.startswith(bookkeeping)]
    )
    ends = units["spike_times_index"][()].astype(int)
    begins = np.append(0, ends[:-1])
    flat = units["spike_times"]
    meter.measure("one_unit", lambda: flat[begins[kept[7]] : ends[kept[7]]])
    spikes = meter.measure("spikes", lambda: [flat[begins[k] : ends[k]] for k in kept])
    drifting = starts["drifting_gratings"]
    edges = (drifting[:, None] + np.linspace(0, 2, 21)).ravel()
    meter.measure("counts", lambda: floor_counts(spikes, edges, 21))
    edges = (starts["static_gratings"][:, None] + np.linspace(0, 0.25, 501)).ravel()
    meter.measure("fine", lambda: floor_counts(spikes[:100], edges, 501))
    windows = np.column_stack([drifting, drifting + 2.0017]).ravel()

    def aligned():
        found = [np.searchsorted(t, windows).reshape(-1, 2) for t in spikes]
        return [np.concatenate([t[a:b] for a, b in w]) for t, w in zip(spikes, found, strict=True)]

    meter.measure("aligned", aligned)
    condition = np.arange(len(drifting)) % 41

    def statistics():
        for t in spikes:
            n = np.diff(np.searchsorted(t, windows).reshape(-1, 2)).ravel()
            np.bincount(condition, n), np.bincount(condition, n * n), np.bincount(condition)

    meter.measure("statistics", statistics, per=1000.0 / len(spikes))
    ellipses = ("cr_ellipse_fits", "eye_ellipse_fits", "pupil_ellipse_fits")
    series = [file[f"processing/running/{n}"] for n in ("running_speed", "running_speed_end_times")]
    series += [file[f"processing/eye_tracking/{n}"] for n in ellipses]
    meter.measure("behavior", lambda: [c[()] for s in series for c in s.values()])
    with h5py.File(lfp, "r") as traces:
        data = traces[f"acquisition/probe_{probe}_lfp_data"]
        times = data["timestamps"]
        first = int((100.0 - times[0]) / (times[1] - times[0]))
        meter.measure("lfp", lambda: data["data"][first : first + 12_500])
    meter.results["n_units"] = len(kept)
    return meter.results


def floor_counts(spikes, edges, n_edges):
    """Count with one search per edge: the least NumPy can do."""
    counts = np.empty((len(spikes), len(edges) // n_edges, n_edges - 1), np.int32)
    for k, times in enumerate(spikes):
        counts[k] = np.diff(np.searchsorted(times, edges).reshape(-1, n_edges), axis=1)
    return counts


WORKERS = {"allen-ecephys": run_ours, "AllenSDK": run_allensdk, "pynapple": run_pynapple, "floor": run_floor}


def prepare(folder, scale, allensdk_python):
    """Write the files once; return those that the peers read, and the probe with LFP."""
    folder.mkdir(parents=True, exist_ok=True)
    note = folder / "prepared.json"
    if note.exists():
        return json.loads(note.read_text())
    from allen_ecephys.processing.simulation import write_lfp, write_session

    begin = time.process_time()
    truth = write_session(folder / "session.nwb", scale=scale, has_lfp=True, overwrite=True)
    seconds = time.process_time() - begin
    probe = int(truth.probes.index[2])
    write_lfp(folder / "lfp.nwb", truth, probe, stop=1200.0, compression_level=1, overwrite=True)
    if allensdk_python:
        script = HERE.parent / "tests" / "peers" / "write_with_allensdk.py"
        for name in ("session", "lfp"):
            source, twin = folder / f"{name}.nwb", folder / f"{name}_pynwb2.nwb"
            subprocess.run([allensdk_python, script, source, twin], check=True)
    suffix = "_pynwb2" if allensdk_python else ""
    prepared = {
        "session": str(folder / f"session{suffix}.nwb"),
        "lfp": str(folder / f"lfp{suffix}.nwb"),
        "probe": probe,
        "spikes": int(truth.units["spike_count"].sum()),
        "units": len(truth.units),
        "presentations": len(truth.stimulus_presentations),
        "seconds_to_simulate": seconds,
    }
    note.write_text(json.dumps(prepared))
    return prepared


def markdown(results, prepared):
    """Return the table: CPU seconds, memory, and ratios to this package."""
    n = results["allen-ecephys"]["n_units"]
    lines = [
        f"{prepared['units']:,} units ({n:,} pass the default filter), {prepared['spikes']:,} spikes, "
        f"{prepared['presentations']:,} presentations; simulated and written in "
        f"{prepared['seconds_to_simulate']:.0f} CPU s. CPU seconds of the call [MB it added / MB of its result]; "
        "x: times this package. pynapple only restricts units to the presentations where others list aligned spikes.",
        "",
        "| call | " + " | ".join(PEERS) + " |",
        "|---" * (len(PEERS) + 1) + "|",
    ]
    for case, title in CASES.items():
        cells = []
        for peer in PEERS:
            found = results.get(peer, {}).get(case)
            if found is None:
                cells.append("-")
                continue
            memory = "" if found["megabytes"] is None else f" [{found['megabytes']:.0f}/{found['result']:.0f}]"
            ratio = found["cpu"] / max(results["allen-ecephys"].get(case, found)["cpu"], 1e-4)
            cells.append(f"{found['cpu']:.3g}{memory}" + ("" if peer == PEERS[0] else f" x{ratio:.3g}"))
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--allensdk-python", default=os.environ.get("ALLEN_ECEPHYS_ALLENSDK_PYTHON"))
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--worker", choices=PEERS)
    given = parser.parse_args()
    if given.worker:
        prepared = json.loads((given.folder / "prepared.json").read_text())
        answer = WORKERS[given.worker](prepared["session"], prepared["lfp"], prepared["probe"])
        (given.folder / f"{given.worker}.json").write_text(json.dumps(answer))
        return
    prepared = prepare(given.folder, given.scale, given.allensdk_python)
    results = {}
    for peer in PEERS:
        python = given.allensdk_python if peer == "AllenSDK" else sys.executable
        if not python:
            continue
        subprocess.run([python, __file__, given.folder, "--worker", peer], check=True)
        results[peer] = json.loads((given.folder / f"{peer}.json").read_text())
    text = markdown(results, prepared)
    command = f"python benchmarks/session.py FOLDER --allensdk-python PYTHON --scale {given.scale:g}"
    text = f"`{command}`\n\n{versions(given.allensdk_python)}\n\n{text}\n"
    print(text)
    if given.output:
        given.output.parent.mkdir(parents=True, exist_ok=True)
        given.output.write_text(text)


def versions(allensdk_python):
    """Return what was compared, on what."""
    from importlib.metadata import version

    names = ("allen-ecephys", "numpy", "pandas", "h5py", "numba", "pynapple")
    found = [f"{name} {version(name)}" for name in names]
    if allensdk_python:
        code = "from importlib.metadata import version as v; print('AllenSDK', v('allensdk'), 'with pynwb', v('pynwb'))"
        asked = subprocess.run([allensdk_python, "-c", code], capture_output=True, text=True, check=True)
        found.append(asked.stdout.strip())
    machine = f"{os.cpu_count()} cores, load {os.getloadavg()[2]:.0f}"
    return f"Python {platform.python_version()}, {', '.join(found)}; {machine}."


if __name__ == "__main__":
    main()
