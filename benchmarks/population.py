"""A project of 58 sessions as one population, beside a loop over sessions and a pynwb loop on the same files.

    python benchmarks/population.py FOLDER [--full 1] [--sessions 58] [--lazynwb PYTHON] [--output RESULTS]

lazynwb takes other versions of what this package stands on: PYTHON is the interpreter of an environment with it.

FOLDER receives a simulated project: `--full` sessions of the released size (2,779 units, 1.3e8 spikes, 3 GB; those that
lie in FOLDER as full_0.nwb, ... are used) and copies of two small ones under ids of their own. Each way runs in a
process of its own. What all sessions of the release would cost is extrapolated from a full one, and said so. Numbers
are CPU seconds of the call, the rise of the process's memory above what it held before, and the bytes that it read from
files (`/proc/self/io`: what a program asked the system for, whether the disk or its cache gave it).
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
EDGES = np.arange(-0.1, 0.4, 0.01)
RELEASE = 58
NOTE = "population.json"
CASES = {
    "units": "tables, units, which files are there",
    "one_unit": "one unit's spikes by its id (index warm)",
    "one_unit_again": "another unit's of the same session",
    "psth": "PSTH of flashes, 50 bins, all units",
    "statistics": "drifting-gratings statistics, all units",
    "psth_full": "PSTH of flashes, one full session",
    "statistics_full": "drifting-gratings statistics, one full session",
}


class Meter:
    """CPU time, rise of resident memory and bytes read of one call after the other."""

    def __init__(self):
        self.results = {}

    def measure(self, name, call):
        """Run a call and keep what it cost; return its value."""
        before = status("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins again at what is held now
        read, begin, wall = bytes_read(), time.process_time(), time.perf_counter()
        value = call()
        self.results[name] = {
            "cpu": time.process_time() - begin,
            "wall": time.perf_counter() - wall,
            "megabytes": max(0, status("VmHWM") - before),
            "peak": status("VmHWM"),
            "read": (bytes_read() - read) / 1e6,
        }
        return value


def status(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) / 1024


def bytes_read():
    return int(Path("/proc/self/io").read_text().split()[1])


# --- the ways ------------------------------------------------------------------------------------------------------


def run_population(project, full):
    from allen_ecephys.cache import EcephysProjectCache

    meter = Meter()
    warm_up()
    cache = EcephysProjectCache.fixed(project)

    def made():
        population = cache.population()
        _ = population.sessions
        return population

    population = meter.measure("units", made)
    units = population.units
    of_full = units.index[units["ecephys_session_id"] == full[0]]
    meter.measure("one_unit", lambda: population.spike_times[of_full[7]])
    meter.measure("one_unit_again", lambda: population.spike_times[of_full[8]])
    meter.measure("psth", lambda: population.psth("flashes", EDGES))
    meter.measure("statistics", lambda: population.conditionwise_spike_statistics("drifting_gratings"))
    alone = cache.population(of_full)
    meter.measure("psth_full", lambda: alone.psth("flashes", EDGES))
    meter.measure("statistics_full", lambda: alone.conditionwise_spike_statistics("drifting_gratings"))
    meter.results["n_units"], meter.results["n_full"] = len(units), len(of_full)
    return meter.results


def run_sessions(project, full):
    """Loop over sessions of this package, as a user would write it without a population."""
    from allen_ecephys.cache import EcephysProjectCache

    meter = Meter()
    warm_up()
    cache = EcephysProjectCache.fixed(project)
    units = meter.measure("units", lambda: cache.get_units())

    def spikes(position):
        unit = units.index[units["ecephys_session_id"] == full[0]][position]
        with cache.get_session_data(units["ecephys_session_id"][unit], filter_out_of_brain_units=False) as session:
            return session.spike_times[unit]

    def every(ask, ids):
        found = []
        for session_id in ids:
            with cache.get_session_data(session_id, filter_out_of_brain_units=False) as session:
                found.append(ask(session))
        return found

    def statistics(session):
        shown = session.stimulus_presentations
        ids = shown.index[shown["stimulus_name"] == "drifting_gratings"]
        return session.conditionwise_spike_statistics(ids) if len(ids) else None

    all_ids = units["ecephys_session_id"].unique()
    meter.measure("one_unit", lambda: spikes(7))
    meter.measure("one_unit_again", lambda: spikes(8))
    meter.measure("psth", lambda: every(lambda session: session.psth(EDGES, "flashes"), all_ids))
    meter.measure("statistics", lambda: every(statistics, all_ids))
    meter.measure("psth_full", lambda: every(lambda session: session.psth(EDGES, "flashes"), full[:1]))
    meter.measure("statistics_full", lambda: every(statistics, full[:1]))
    return meter.results


def run_pynwb(project, full):
    """Loop with pynwb and NumPy: open, take the units that pass, count with one search per edge."""
    import pandas as pd
    from pynwb import NWBHDF5IO

    warnings.simplefilter("ignore")
    meter = Meter()
    units = meter.measure("units", lambda: good_units(pd, project))

    def opened(session_id):
        return NWBHDF5IO(str(Path(project) / f"session_{session_id}" / f"session_{session_id}.nwb"), "r")

    def one(position):
        unit = units.index[units["session"] == full[0]][position]
        with opened(full[0]) as io:
            table = io.read().units
            return table["spike_times"][int(np.flatnonzero(table.id[:] == unit)[0])]

    def psth(session_id):
        with opened(session_id) as io:
            file = io.read()
            starts = file.intervals["flashes_presentations"]["start_time"][:]
            edges = (starts[:, None] + EDGES).ravel()
            wanted = set(units.index[units["session"] == session_id])
            found = []
            for row, unit in enumerate(file.units.id[:]):
                if unit in wanted:
                    counts = np.diff(np.searchsorted(file.units["spike_times"][row], edges).reshape(-1, len(EDGES)))
                    rates = counts / np.diff(EDGES)
                    found.append((rates.mean(0), rates.std(0, ddof=1) / np.sqrt(len(rates))))
            return np.array(found)

    def statistics(session_id):
        with opened(session_id) as io:
            file = io.read()
            if "drifting_gratings_presentations" not in file.intervals:
                return None
            shown = file.intervals["drifting_gratings_presentations"]
            windows = np.column_stack([shown["start_time"][:], shown["stop_time"][:]]).ravel()
            keys = pd.Series(zip(shown["orientation"][:], shown["temporal_frequency"][:], strict=True)).factorize()[0]
            wanted = set(units.index[units["session"] == session_id])
            found = []
            for row, unit in enumerate(file.units.id[:]):
                if unit in wanted:
                    counts = np.diff(np.searchsorted(file.units["spike_times"][row], windows).reshape(-1, 2)).ravel()
                    found.append(pd.Series(counts).groupby(keys).agg(["sum", "mean", "std", "sem"]))
            return found

    ids = units["session"].unique()
    meter.measure("one_unit", lambda: one(7))
    meter.measure("one_unit_again", lambda: one(8))
    meter.measure("psth", lambda: [psth(i) for i in ids])
    meter.measure("statistics", lambda: [statistics(i) for i in ids])
    meter.measure("psth_full", lambda: psth(full[0]))
    meter.measure("statistics_full", lambda: statistics(full[0]))
    return meter.results


def run_lazynwb(project, full):
    """Loop with lazynwb, which reads a column of a file as a table, and NumPy as in the pynwb loop."""
    import lazynwb
    import pandas as pd

    warnings.simplefilter("ignore")
    meter = Meter()
    units = meter.measure("units", lambda: good_units(pd, project))
    quiet = {"exclude_array_columns": False, "disable_progress": True, "as_polars": False}

    def path(session_id):
        return str(Path(project) / f"session_{session_id}" / f"session_{session_id}.nwb")

    def trains(session_id, wanted):
        ids = lazynwb.get_df(path(session_id), "units", include_column_names="id", **quiet)["id"].to_numpy()
        rows = np.flatnonzero(np.isin(ids, list(wanted))).tolist()
        held = lazynwb.get_df(
            path(session_id), "units", include_column_names="spike_times",
            nwb_path_to_row_indices={path(session_id): rows}, **quiet,
        )  # fmt: skip
        return [np.asarray(times) for times in held["spike_times"]]

    def shown(session_id, stimulus, *columns):
        return lazynwb.get_df(
            path(session_id), f"intervals/{stimulus}_presentations", exact_path=True,
            include_column_names=list(columns), disable_progress=True, as_polars=False,
        )  # fmt: skip

    def one(position):
        unit = units.index[units["session"] == full[0]][position]
        return trains(full[0], [unit])[0]

    def psth(session_id):
        edges = (shown(session_id, "flashes", "start_time")["start_time"].to_numpy()[:, None] + EDGES).ravel()
        found = []
        for times in trains(session_id, units.index[units["session"] == session_id]):
            counts = np.diff(np.searchsorted(times, edges).reshape(-1, len(EDGES)))
            rates = counts / np.diff(EDGES)
            found.append((rates.mean(0), rates.std(0, ddof=1) / np.sqrt(len(rates))))
        return np.array(found)

    def statistics(session_id):
        names = ("start_time", "stop_time", "orientation", "temporal_frequency")
        table = shown(session_id, "drifting_gratings", *names)
        windows = table[["start_time", "stop_time"]].to_numpy().ravel()
        keys = pd.Series(zip(table["orientation"], table["temporal_frequency"], strict=True)).factorize()[0]
        found = []
        for times in trains(session_id, units.index[units["session"] == session_id]):
            counts = np.diff(np.searchsorted(times, windows).reshape(-1, 2)).ravel()
            found.append(pd.Series(counts).groupby(keys).agg(["sum", "mean", "std", "sem"]))
        return found

    ids = units["session"].unique()
    with_gratings = [i for i in ids if has_gratings(project, i)]
    meter.measure("one_unit", lambda: one(7))
    meter.measure("one_unit_again", lambda: one(8))
    meter.measure("psth", lambda: [psth(i) for i in ids])
    meter.measure("statistics", lambda: [statistics(i) for i in with_gratings])
    meter.measure("psth_full", lambda: psth(full[0]))
    meter.measure("statistics_full", lambda: statistics(full[0]))
    return meter.results


def has_gratings(project, session_id):
    """Tell from the project's table what a session shows: asking lazynwb for a table that is not there is slow."""
    import pandas as pd

    kinds = pd.read_csv(Path(project) / "sessions.csv", index_col=0)["session_type"]
    return kinds[session_id] == "brain_observatory_1.1"


def good_units(pd, project):
    tables = {name: pd.read_csv(Path(project) / f"{name}.csv", index_col=0) for name in ("units", "channels", "probes")}
    units = tables["units"]
    units = units[(units["presence_ratio"] >= 0.95) & (units["isi_violations"] <= 0.5)]
    units = units[(units["amplitude_cutoff"] <= 0.1) & (units["quality"] == "good")]
    probe = tables["channels"]["ecephys_probe_id"].reindex(units["ecephys_channel_id"]).to_numpy()
    session = tables["probes"]["ecephys_session_id"].reindex(probe).to_numpy()
    units = units.assign(session=session).dropna(subset="session")
    return units.astype({"session": int})


def run_index(project, full):
    """Indexing a full session: of a local file, and of a server's by ranges."""
    from allen_ecephys.cache import EcephysProjectCache

    meter = Meter()
    warm_up()
    folder = Path(project) / f"session_{full[0]}"
    held = folder / f".session_{full[0]}.nwb.index.npz"
    cache = EcephysProjectCache.fixed(project)
    held.unlink(missing_ok=True)
    meter.measure("index", lambda: cache.index_sessions([full[0]]))
    meter.results["index"]["size"] = held.stat().st_size / 1e6
    sys.path.insert(0, str(HERE.parent / "tests" / "faults"))
    from faulty_server import FaultyServer

    fetched = Path(project).parent / "fetched"
    shutil.rmtree(fetched, ignore_errors=True)
    key = f"session_{full[0]}/session_{full[0]}.nwb"
    with FaultyServer() as server:
        for path in [*Path(project).glob("*.csv"), Path(project) / key]:
            server.serve(path.relative_to(project).as_posix(), path)
        remote = EcephysProjectCache.from_url(server.url, manifest=fetched)
        remote.index_sessions([full[0]], stream=True)
        meter.results["remote"] = {
            "requests": len([r for r in server.log if r.name == key]),
            "megabytes": sum(r.sent for r in server.gets(key)) / 1e6,
        }
        index = fetched / f"session_{full[0]}" / held.name
        again = Path(project).parent / "again"
        shutil.rmtree(again, ignore_errors=True)
        (again / index.parent.name).mkdir(parents=True)
        shutil.copy(index, again / index.parent.name / index.name)
        population = EcephysProjectCache.from_url(server.url, manifest=again).population(stream=True)
        units = population.units
        unit = units.index[units["ecephys_session_id"] == full[0]][7]
        server.log.clear()
        times = meter.measure("remote_unit", lambda: population.spike_times[unit])
        asked = [r for r in server.log if r.name == key]
        meter.results["remote_unit"] |= {"requests": len(asked), "fetched": sum(r.sent for r in asked) / 1e6}
        meter.results["remote_unit"]["bytes_of_unit"] = times.nbytes / 1e6
    shutil.rmtree(fetched)
    shutil.rmtree(again)
    return meter.results


def warm_up():
    """Let numba load (or compile, once) its kernels on sessions of seconds."""
    from tempfile import TemporaryDirectory

    from allen_ecephys.cache import EcephysProjectCache
    from allen_ecephys.processing.simulation import write_session

    with TemporaryDirectory() as folder:
        write_session(Path(folder) / "s.nwb", scale=0.005, n_units=12, n_probes=1, eye_tracking=False)
        cache = EcephysProjectCache(folder, remote=None)
        cache.add_session(Path(folder) / "s.nwb")
        population = cache.population(presence_ratio_minimum=None, isi_violations_maximum=None)
        population.psth("flashes", EDGES)
        population.conditionwise_spike_statistics("drifting_gratings")
        [session_id] = population.sessions.index
        with population.session(session_id) as session:
            session.psth(EDGES, "flashes")
            session.conditionwise_spike_statistics(session.get_stimulus_table("drifting_gratings").index)


WAYS = {
    "population": run_population,
    "loop over sessions": run_sessions,
    "pynwb loop": run_pynwb,
    "lazynwb loop": run_lazynwb,
    "index": run_index,
}


# --- the project ---------------------------------------------------------------------------------------------------


def prepare(folder, n_full, n_sessions):
    """Write the project once; return its folder and the ids of the full sessions."""
    from allen_ecephys import UnitFilter
    from allen_ecephys.cache import EcephysProjectCache
    from allen_ecephys.processing.simulation import write_session

    note = folder / NOTE
    if note.exists():
        return json.loads(note.read_text())
    project = folder / "project"
    project.mkdir(parents=True)
    cache = EcephysProjectCache(project, remote=None)
    full, spikes = [], []
    for number in range(n_full):
        path = folder / f"full_{number}.nwb"
        if not path.exists():
            write_session(path, scale=1.0, seed=number, session_id=710_000_000 + number)
        full.append(cache.add_session(path, move=True))
        with cache.get_session_data(full[-1], filter_by_validity=False) as session:
            spikes.append(int(session.with_units(UnitFilter.none()).spike_times.counts().sum()))
    small = []
    for number, kind in enumerate(("brain_observatory_1.1", "functional_connectivity")):
        path = folder / f"small_{number}.nwb"
        write_session(path, kind, 0.01, n_units=40, session_id=720_000_000, eye_tracking=False, overwrite=True)
        small.append(path)
    for number in range(n_sessions - n_full):
        renumbered(small[number % 2], folder / "copy.nwb", 720_000_000, 720_000_001 + number)
        cache.add_session(folder / "copy.nwb", move=True)
    cache.index_sessions()
    made = {"project": str(project), "full": full, "sessions": n_sessions, "spikes": spikes}
    note.write_text(json.dumps(made))
    return made


def renumbered(source, target, old, new):
    """Copy a session and give it, its probes, channels and units ids of their own: those begin with the session's."""
    import h5py

    def moved(ids):
        text = np.array([str(new) + str(i).removeprefix(str(old)) for i in ids.tolist()], dtype=np.int64)
        return text.astype(ids.dtype)

    shutil.copy(source, target)
    with h5py.File(target, "r+") as file:
        del file["identifier"]
        file["identifier"] = str(new)
        electrodes, units = file["general/extracellular_ephys/electrodes"], file["units"]
        for dataset in (electrodes["id"], electrodes["probe_id"], units["id"], units["peak_channel_id"]):
            dataset[...] = moved(dataset[()])
        for group in file["general/extracellular_ephys"].values():
            if "probe_id" in group.attrs:
                group.attrs["probe_id"] = moved(np.array([group.attrs["probe_id"]]))[0]


# --- the report ----------------------------------------------------------------------------------------------------


def report(made, results):
    ways = [way for way in results if way != "index"]
    ours = results["population"]
    lines = [
        f"`python benchmarks/population.py FOLDER --full {len(made['full'])} --sessions {made['sessions']}`",
        "",
        f"Python {platform.python_version()}, numpy {np.__version__}; {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.0f}.",
        "",
        f"{made['sessions']} simulated sessions with {ours['n_units']:,} units that pass the default filter; "
        f"{len(made['full'])} at full size ({ours['n_full']:,} such units, {made['spikes'][0]:,} spikes of all), "
        "the others small. CPU seconds [MB that memory rose / MB read]; x: times the population.",
        "",
        f"| call | {' | '.join(ways)} |",
        "|---|" + "---|" * len(ways),
    ]
    for name, what in CASES.items():
        cells = []
        for way in ways:
            one = results[way][name]
            ratio = "" if way == "population" else f" x{one['cpu'] / ours[name]['cpu']:.3g}"
            cells.append(f"{one['cpu']:.3g} [{one['megabytes']:.0f}/{one['read']:.0f}]{ratio}")
        lines.append(f"| {what} | {' | '.join(cells)} |")
    lines += ["", f"Extrapolated from one full session to {RELEASE} of them (CPU seconds):", ""]
    lines += [f"| call | {' | '.join(ways)} |", "|---|" + "---|" * len(ways)]
    for name in ("psth_full", "statistics_full"):
        cells = [f"{results[way][name]['cpu'] * RELEASE:.3g}" for way in ways]
        lines.append(f"| {CASES[name].replace('one full session', f'{RELEASE} full sessions')} | {' | '.join(cells)} |")
    index = results["index"]
    local, remote, unit = index["index"], index["remote"], index["remote_unit"]
    lines += [
        "",
        f"One unit's spikes took {ours['one_unit']['wall'] * 1e3:.0f} ms of wall time, the next of the same session "
        f"{ours['one_unit_again']['wall'] * 1e3:.1f} ms. The process's memory peaked at "
        f"{max(ours[name]['peak'] for name in CASES):.0f} MB.",
        "",
        f"`cache index` of a full session: {local['cpu']:.2g} CPU s ({local['wall']:.2g} s), {local['size']:.1f} MB of "
        f"index; by ranges {remote['megabytes']:.1f} MB in {remote['requests']} requests. With that index and no byte "
        f"of the file, one unit's spikes ({unit['bytes_of_unit']:.2f} MB): {unit['requests']} requests, "
        f"{unit['fetched']:.2f} MB.",
    ]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--full", type=int, default=1)
    parser.add_argument("--sessions", type=int, default=RELEASE)
    parser.add_argument("--lazynwb", metavar="PYTHON", help="interpreter that has lazynwb")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--only-prepare", action="store_true")
    parser.add_argument("--worker", choices=WAYS)
    arguments = parser.parse_args()
    if arguments.worker:
        made = json.loads((arguments.folder / NOTE).read_text())
        print(json.dumps(WAYS[arguments.worker](made["project"], made["full"])))
        return
    made = prepare(arguments.folder, arguments.full, arguments.sessions)
    if arguments.only_prepare:
        return
    results = {}
    for way in WAYS:
        python = arguments.lazynwb if way == "lazynwb loop" else sys.executable
        if python is None:
            continue
        command = [python, __file__, arguments.folder, "--worker", way]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        results[way] = json.loads(done.stdout.splitlines()[-1])
        print(way, json.dumps(results[way]), file=sys.stderr)
    text = report(made, results)
    print(text)
    if arguments.output:
        arguments.output.write_text(text)


if __name__ == "__main__":
    main()
