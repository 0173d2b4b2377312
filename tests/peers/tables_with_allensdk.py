"""Write the tables that AllenSDK's project cache gives for a folder, exactly, as NPZ files.

Run by AllenSDK's interpreter: ``python tables_with_allensdk.py MANIFEST FOLDER``. Each table is ``<name>.npz``: the
index, the names of the columns in order, numbers as they are and everything else as JSON text. ``cpu_seconds.json``
holds what the calls cost.
"""

import json
import sys
import time
import warnings
from pathlib import Path

warnings.simplefilter("ignore")

import numpy as np  # noqa: E402
from allensdk.brain_observatory.ecephys.ecephys_project_cache import EcephysProjectCache  # noqa: E402

UNFILTERED = {
    "amplitude_cutoff_maximum": np.inf,
    "presence_ratio_minimum": -np.inf,
    "isi_violations_maximum": np.inf,
}


def plain(value):
    """Return a cell as something JSON holds."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return None
    return value.item() if isinstance(value, np.generic) else value


def write(frame, path):
    """Write a table."""
    parts = {"index": frame.index.to_numpy(), "columns": np.array(list(frame.columns), dtype=str)}
    for k, name in enumerate(frame.columns):
        column = frame[name]
        if column.dtype.kind in "ifb":
            parts[f"c{k}"] = column.to_numpy()
        else:
            parts[f"c{k}"] = np.array([json.dumps(plain(v)) for v in column], dtype=str)
    np.savez(path, **parts)


def main(manifest, folder):
    cache = EcephysProjectCache.from_warehouse(manifest=manifest)
    kinds = ("brain_observatory_1.1", "functional_connectivity")
    calls = {
        "sessions": cache.get_session_table,
        "sessions_all": lambda: cache.get_session_table(suppress=[]),
        "probes": cache.get_probes,
        "probes_all": lambda: cache.get_probes(suppress=[]),
        "channels": cache.get_channels,
        "channels_all": lambda: cache.get_channels(suppress=[]),
        "units": cache.get_units,
        "units_all": lambda: cache.get_units(suppress=[]),
        "units_unfiltered": lambda: cache.get_units(**UNFILTERED),
        "units_with_noise": lambda: cache.get_units(filter_by_validity=False),
        "units_of_low_snr": lambda: cache.get_units(isi_violations_maximum=0, presence_ratio_minimum=0.5),
        "metrics_session": lambda: cache.get_unit_analysis_metrics_for_session(732592105),
        **{f"metrics_{k}": lambda k=k: cache.get_unit_analysis_metrics_by_session_type(k) for k in kinds},
        **{
            f"raw_metrics_{k}": lambda k=k: cache.get_unit_analysis_metrics_by_session_type(k, annotate=False)
            for k in kinds
        },
    }
    seconds = {}
    for name, call in calls.items():
        began = time.process_time()
        frame = call()
        seconds[name] = time.process_time() - began
        write(frame, Path(folder) / f"{name}.npz")
    lists = {
        "types": cache.get_all_session_types(),
        "genotypes": cache.get_all_full_genotypes(),
        "structures": cache.get_structure_acronyms(),
        "ages": cache.get_all_ages(),
        "sexes": cache.get_all_sexes(),
    }
    (Path(folder) / "lists.json").write_text(json.dumps(lists))
    (Path(folder) / "cpu_seconds.json").write_text(json.dumps(seconds))


if __name__ == "__main__":
    main(*sys.argv[1:])
