"""Make every public call on one session, and store the results so that another interpreter can compare them.

``python session_calls.py {allensdk|ours} RESULTS SESSION [PROBE_ID=LFP_FILE ...]``. Run once by each package's own
interpreter; a result is stored as JSON whose arrays lie in one npz file. Where the packages differ on purpose, this one
is asked for AllenSDK's behaviour (``compat="allensdk"``, ``legacy=True``), so that what is left is a difference.
"""

import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

warnings.simplefilter("ignore")


class Store:
    """Results of calls: plain values in JSON, arrays in an npz file."""

    def __init__(self):
        self.arrays = {}
        self.results = {}

    def keep(self, name, call):
        begin = time.process_time()
        try:
            self.results[name] = {"value": self.encode(call())}
        except Exception as error:  # what a package raises is a result too
            self.results[name] = {"error": f"{type(error).__name__}: {error}"}
        self.results[name]["seconds"] = time.process_time() - begin

    def encode(self, value):
        if isinstance(value, pd.DataFrame):
            columns = [[str(name), self.encode(value[name])] for name in value.columns]
            return {"kind": "frame", "index": self.encode(value.index), "columns": columns}
        if isinstance(value, pd.Series):
            return {"kind": "series", "index": self.encode(value.index), "values": self.column(value)}
        if isinstance(value, pd.MultiIndex):
            levels = [self.column(value.get_level_values(k)) for k in range(value.nlevels)]
            return {"kind": "multiindex", "names": [str(n) for n in value.names], "levels": levels}
        if isinstance(value, pd.Index):
            return {"kind": "index", "name": str(value.name), "values": self.column(value)}
        if hasattr(value, "dims") and hasattr(value, "coords"):
            coords = {str(k): self.column(v.values) for k, v in value.coords.items() if v.dims}
            dims = [str(d) for d in value.dims]
            return {"kind": "array", "dims": dims, "coords": coords, "values": self.column(value.values)}
        if hasattr(value, "keys"):
            return {"kind": "dict", "items": [[str(key), self.encode(value[key])] for key in value.keys()]}  # noqa: SIM118
        if isinstance(value, np.ndarray):
            return self.column(value)
        if isinstance(value, (list, tuple)):
            return {"kind": "list", "items": [self.encode(item) for item in value]}
        return self.plain(value)

    def column(self, values):
        """Keep numbers as they are and everything else as text, missing values as null."""
        dtype = str(values.dtype)
        array = np.asarray(values)
        if array.dtype.kind in "iufb" and "Int" not in dtype and "Float" not in dtype:
            key = f"a{len(self.arrays)}"
            self.arrays[key] = array
            return {"kind": "numbers", "dtype": dtype, "key": key}
        return {"kind": "objects", "dtype": dtype, "items": [self.plain(v) for v in array.ravel().tolist()]}

    def plain(self, value):
        if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
            return None
        if isinstance(value, (bool, np.bool_)):
            return bool(value)
        if isinstance(value, (int, float, np.integer, np.floating)):
            return float(value)
        if isinstance(value, (list, tuple, np.ndarray)):
            return [self.plain(v) for v in value]
        return value if isinstance(value, str) else str(value)

    def save(self, folder):
        Path(folder).mkdir(parents=True, exist_ok=True)
        np.savez(Path(folder) / "arrays.npz", **self.arrays)
        (Path(folder) / "results.json").write_text(json.dumps(self.results))


def open_allensdk(path, lfp):
    """Open a session with AllenSDK, given what a project cache would have given it."""
    import h5py
    from allensdk.brain_observatory.ecephys.ecephys_session import EcephysSession
    from pynwb import NWBHDF5IO

    def external_channel_columns():
        with h5py.File(path, "r") as file:
            table = file["general/extracellular_ephys/electrodes"]
            acronym = pd.Series(list(table["location"].asstr()[()]), index=pd.Index(table["id"][()], name="id"))
        acronym = acronym.str.split("-").str[0].replace({"": np.nan, "None": np.nan})
        # Files name structures only; any number that is the same for the same name will do.
        codes = pd.Series(pd.factorize(acronym)[0], index=acronym.index)
        ids = codes.astype(float).where(codes >= 0)
        return pd.DataFrame({"ecephys_structure_id": ids, "ecephys_structure_acronym": acronym})

    def opener(name):
        return lambda: NWBHDF5IO(name, "r").read()

    given = {
        "probe_lfp_paths": {k: opener(v) for k, v in lfp.items()},
        "external_channel_columns": external_channel_columns,
    }
    return EcephysSession.from_nwb_path(path, api_kwargs=given)


def open_ours(path, lfp):
    from allen_ecephys.session.file import SessionCompanions
    from allen_ecephys.session.session import EcephysSession

    return EcephysSession(path, companions=SessionCompanions(lfp_path=lfp.__getitem__))


def by_time(spikes):
    """Order spikes of one time by unit and presentation: AllenSDK leaves them as its sort does."""
    if not len(spikes):
        return spikes
    presentation = spikes["stimulus_presentation_id"].to_numpy()
    return spikes.iloc[np.lexsort((presentation, spikes["unit_id"].to_numpy(), spikes.index.to_numpy()))]


PROPERTIES = (
    *(
        "ecephys_session_id",
        "session_start_time",
        "specimen_name",
        "age_in_days",
        "sex",
        "full_genotype",
        "session_type",
    ),
    *("num_units", "num_probes", "num_channels", "num_stimulus_presentations", "stimulus_names", "structure_acronyms"),
    *("structurewise_unit_counts", "metadata", "probes", "channels", "units", "running_speed", "invalid_times"),
    *("optogenetic_stimulation_epochs", "rig_geometry_data", "rig_equipment_name", "stimulus_conditions"),
    *("inter_presentation_intervals", "spike_times", "spike_amplitudes", "mean_waveforms"),
)


def main(package, folder, path, *lfp_files):
    lfp = {int(k): v for k, v in (pair.split("=", 1) for pair in lfp_files)}
    ours = package == "ours"
    session = (open_ours if ours else open_allensdk)(path, lfp)
    compat = {"compat": "allensdk"} if ours else {}
    legacy = {"legacy": True} if ours else {}
    store = Store()
    for name in PROPERTIES:
        store.keep(name, lambda name=name: getattr(session, name))
    # The table of all presentations in AllenSDK's form.
    everything = {"include_unused_parameters": True, **legacy}
    store.keep("stimulus_presentations", lambda: session.get_stimulus_table(None, **everything))
    for name in ("get_invalid_times", "get_pupil_data"):
        store.keep(name, lambda name=name: getattr(session, name)())
    store.keep("get_stimulus_epochs", lambda: session.get_stimulus_epochs({}))
    store.keep("get_screen_gaze_data", lambda: session.get_screen_gaze_data(include_filtered_data=True))
    store.keep("get_stimulus_parameter_values", session.get_stimulus_parameter_values)
    for name in session.stimulus_names:
        stimulus(store, session, name, legacy, compat)
    stimulus_free(store, session, compat)
    for probe in lfp:
        store.keep(f"get_lfp({probe})", lambda probe=probe: session.get_lfp(probe))
        store.keep(
            f"get_lfp({probe}, unmasked)", lambda probe=probe: session.get_lfp(probe, mask_invalid_intervals=False)
        )
        store.keep(
            f"get_current_source_density({probe})", lambda probe=probe: session.get_current_source_density(probe)
        )
    store.save(folder)


def stimulus(store, session, name, legacy, compat):
    """Keep every call about one stimulus, aligned spikes of up to 30 units and 60 presentations among them."""
    store.keep(f"get_stimulus_table({name})", lambda: session.get_stimulus_table(name, **legacy))
    detailed = {"include_detailed_parameters": True, **legacy}
    store.keep(f"get_stimulus_table({name}, detailed)", lambda: session.get_stimulus_table(name, **detailed))
    store.keep(f"get_parameter_values_for_stimulus({name})", lambda: session.get_parameter_values_for_stimulus(name))
    intervals = session.get_inter_presentation_intervals_for_stimulus
    store.keep(f"get_inter_presentation_intervals_for_stimulus({name})", lambda: intervals(name))
    if name == "invalid_presentation" or not session.num_units:
        return
    ids = session.stimulus_presentations.index[session.stimulus_presentations["stimulus_name"] == name][:60].to_numpy()
    units = session.units.index[:30].to_numpy()
    store.keep(
        f"presentationwise_spike_times({name})",
        lambda: by_time(session.presentationwise_spike_times(ids, units, **compat)),
    )
    # Rows of a condition come in the order of the units given here, sorted in AllenSDK.
    for use_rates in (False, True):
        store.keep(
            f"conditionwise_spike_statistics({name}, use_rates={use_rates})",
            lambda use_rates=use_rates: session.conditionwise_spike_statistics(
                ids, units, use_rates, **compat
            ).sort_index(),
        )
    for edges in (np.arange(-0.05, 0.25, 0.01), np.array([0.0, 0.1, 0.11, 2.0])):
        for binarize in (False, True):
            store.keep(
                f"presentationwise_spike_counts({name}, {len(edges)} edges, binarize={binarize})",
                lambda edges=edges, binarize=binarize: session.presentationwise_spike_counts(
                    edges, ids, units, binarize=binarize, **compat
                ),
            )


def stimulus_free(store, session, compat):
    """Keep calls with ids of several stimuli, scalars and unusual orders."""
    table = session.stimulus_presentations
    still = table.index[~table["stimulus_name"].isin(["invalid_presentation", "spontaneous"])].to_numpy()
    few = still[:: max(1, len(still) // 100)]
    units = session.units.index.to_numpy()
    store.keep("get_stimulus_parameter_values(some)", lambda: session.get_stimulus_parameter_values(few))
    if len(units):
        store.keep(
            "presentationwise_spike_times(some)",
            lambda: by_time(session.presentationwise_spike_times(few, units, **compat)),
        )
        store.keep(
            "conditionwise_spike_statistics(some)",
            lambda: session.conditionwise_spike_statistics(few, units, **compat).sort_index(),
        )
        one = (np.array([0.0, 0.05, 0.1]), few[::-1], units[::-1])
        store.keep(
            "presentationwise_spike_counts(reversed)", lambda: session.presentationwise_spike_counts(*one, **compat)
        )
        scalar = (int(still[0]), int(units[0]))
        store.keep(
            "presentationwise_spike_times(one)",
            lambda: by_time(session.presentationwise_spike_times(*scalar, **compat)),
        )
    for probe, rows in session.channels.groupby("probe_id"):
        channels = rows.sort_values("probe_vertical_position").index.to_numpy()
        store.keep(
            f"channel_structure_intervals({probe})",
            lambda channels=channels: session.channel_structure_intervals(channels),
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
