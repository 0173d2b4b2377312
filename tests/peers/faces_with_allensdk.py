"""Ask each class of one stimulus for everything notebooks ask of it, and store the answers.

``python faces_with_allensdk.py {allensdk|ours} SESSION RESULTS``, run once by each package's own interpreter.
"""

import sys
import warnings
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))  # the programs beside this one

from session_calls import Store

warnings.simplefilter("ignore")

#: Class -> what to ask it for beside the tables that all have.
ASKED = {
    "DriftingGratings": ("orivals", "tfvals", "contrastvals", "number_ori", "number_tf", "number_contrast"),
    "StaticGratings": ("orivals", "sfvals", "number_ori", "number_sf", "number_phase"),
    "NaturalScenes": ("images", "frames", "images_nonblank", "number_images", "number_nonblank"),
    "Flashes": ("colors", "number_colors"),
    "DotMotion": ("directions", "speeds", "number_directions", "number_speeds"),
    "ReceptiveFieldMapping": ("azimuths", "elevations", "number_azimuths", "number_elevations"),
}
SHARED = (
    *("name", "stim_table", "stimulus_conditions", "total_presentations", "trial_duration", "unit_count", "unit_ids"),
    *(
        "null_condition",
        "running_speed",
        "presentationwise_statistics",
        "conditionwise_statistics",
        "conditionwise_psth",
    ),
    *("presentationwise_spike_times", "spikes", "metrics"),
)


def plain(value, name):
    """Put rows in one order, and numbers held as objects as numbers."""
    if name in ("conditionwise_statistics", "presentationwise_statistics"):
        return value.reset_index().astype(float).sort_values(["unit_id", value.index.names[0], value.index.names[1]])
    if name == "presentationwise_spike_times":
        order = np.lexsort((value["stimulus_presentation_id"], value["unit_id"], value.index))
        return value.iloc[order]
    if name == "metrics":
        return value.sort_index().astype(float)
    if isinstance(value, np.ndarray) and value.dtype == object:
        return value.astype(float)
    return value


def main(package, path, folder):
    np.random.seed(0)  # noqa: NPY002 - AllenSDK shuffles with the global generator
    if package == "ours":
        from allen_ecephys import stimulus_analysis as classes
        from allen_ecephys.session.session import EcephysSession
        from allen_ecephys.units.filter import UnitFilter

        session = EcephysSession(path, unit_filter=UnitFilter.none())
    else:
        import allensdk.brain_observatory.ecephys.stimulus_analysis as classes
        from metrics_with_allensdk import open_session

        session = open_session(path)
    units = [int(unit) for unit in session.units.index[:5]]
    store = Store()
    for name, own in ASKED.items():
        analysis = getattr(classes, name)(session, filter=units)
        try:
            _ = analysis.stim_table
        except Exception:
            continue
        if name == "ReceptiveFieldMapping":
            store.keep(
                f"{name}.receptive_field", lambda a=analysis: np.array([a.get_receptive_field(u) for u in units])
            )
            store.keep(f"{name}.receptive_fields", lambda a=analysis: a.receptive_fields["spike_counts"])
            store.keep(f"{name}.rf_stats", lambda a=analysis: [float(v) for v in a._get_rf_stats(units[0])[:5]])
        for what in (*SHARED, *own):
            if what == "stim_table" and name == "ReceptiveFieldMapping":
                continue  # AllenSDK has turned its y positions over by now
            store.keep(f"{name}.{what}", lambda a=analysis, w=what: plain(getattr(a, w), w))
    store.save(folder)


if __name__ == "__main__":
    main(*sys.argv[1:])
