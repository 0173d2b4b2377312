"""Compute the stimulus metrics of a session file with AllenSDK, and count the CPU seconds of each class.

Run by AllenSDK's interpreter: ``python metrics_with_allensdk.py SESSION.nwb FOLDER [CLASS ...]``. Writes one CSV table
a class, named after it, and ``cpu_seconds.json``.
"""

import json
import sys
import time
import warnings
from pathlib import Path

warnings.simplefilter("ignore")

import allensdk.brain_observatory.ecephys.stimulus_analysis as analysis  # noqa: E402
import h5py  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from allensdk.brain_observatory.ecephys.ecephys_session import EcephysSession  # noqa: E402

NO_FILTER = {
    "amplitude_cutoff_maximum": np.inf,
    "presence_ratio_minimum": -np.inf,
    "isi_violations_maximum": np.inf,
    "filter_by_validity": False,
    "filter_out_of_brain_units": False,
}


def open_session(path):
    """Open a session with AllenSDK, with the structure columns that only a project cache gives it."""

    def structures():
        with h5py.File(path, "r") as file:
            table = file["general/extracellular_ephys/electrodes"]
            acronym = pd.Series(list(table["location"].asstr()[()]), index=pd.Index(table["id"][()], name="id"))
        ids = pd.Series(pd.factorize(acronym)[0].astype(float), index=acronym.index)
        return pd.DataFrame({"ecephys_structure_id": ids, "ecephys_structure_acronym": acronym})

    given = {**NO_FILTER, "external_channel_columns": structures}
    return EcephysSession.from_nwb_path(path, api_kwargs=given, **NO_FILTER)


def main(path, folder, *classes):
    np.random.seed(0)  # noqa: NPY002 - AllenSDK shuffles with the global generator
    session = open_session(path)
    shown = set(session.stimulus_presentations["stimulus_name"])
    session.spike_times, session.running_speed  # noqa: B018 - so that reading the file is not counted below
    cpu = {"units": len(session.units)}
    names = {
        "DriftingGratings": {"drifting_gratings", "drifting_gratings_75_repeats"},
        "StaticGratings": {"static_gratings"},
        "NaturalScenes": {"natural_scenes"},
        "DotMotion": {"dot_motion"},
        "Flashes": {"flashes"},
        "ReceptiveFieldMapping": {"gabors"},
    }
    for name in classes or names:
        if not names[name] & shown:
            continue
        start = time.process_time()
        table = getattr(analysis, name)(session).metrics
        cpu[name] = time.process_time() - start
        table.to_csv(Path(folder) / f"{name}.csv")
    Path(folder, "cpu_seconds.json").write_text(json.dumps(cpu))


if __name__ == "__main__":
    main(*sys.argv[1:])
