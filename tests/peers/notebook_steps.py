# ruff: noqa: F821, PD011, PD015, PD101 - written as its users write
"""The steps of AllenSDK's published notebooks, in words of our own and with AllenSDK's imports and call forms.

Cells begin with ``# %%``; what a cell leaves in ``result`` is compared. Run by :mod:`run_cells`: as it stands by
AllenSDK's interpreter, and after ``allen-ecephys migrate`` by ours. ``MANIFEST``, ``SESSION``, ``FOLDER`` and
``OPTIONS`` are given.
"""

# %% imports
import numpy as np
import pandas as pd
from allensdk.brain_observatory.ecephys.ecephys_project_cache import EcephysProjectCache
from allensdk.brain_observatory.ecephys.ecephys_session import (
    EcephysSession,
    nan_intervals,
    removed_unused_stimulus_presentation_columns,
)
from allensdk.brain_observatory.ecephys.stimulus_analysis.receptive_field_mapping import ReceptiveFieldMapping
from allensdk.brain_observatory.ecephys.visualization import plot_mean_waveforms, plot_spike_counts, raster_plot
from allensdk.brain_observatory.visualization import plot_running_speed

result = [callable(removed_unused_stimulus_presentation_columns), EcephysSession.__name__]

# %% data access: sessions of the project
cache = EcephysProjectCache.from_warehouse(manifest=MANIFEST, **OPTIONS)
sessions = cache.get_session_table()
chosen = sessions[(sessions["sex"] == "F") | (sessions["session_type"] == "brain_observatory_1.1")]
result = [chosen.index.tolist(), cache.get_all_session_types(), sessions["unit_count"].tolist()]

# %% data access: units with and without filters
filtered = cache.get_units()
everything = cache.get_units(
    amplitude_cutoff_maximum=np.inf, presence_ratio_minimum=-np.inf, isi_violations_maximum=np.inf
)
result = [sorted(filtered.index.tolist()), sorted(everything.index.tolist()), float(filtered["snr"].sum())]

# %% data access: probes, channels
result = [
    cache.get_probes()["has_lfp_data"].tolist(),
    cache.get_channels()["probe_vertical_position"].tolist(),
    str(cache.get_cache_path(None, cache.SESSION_NWB_KEY, SESSION, SESSION)),
]

# %% quality metrics: fractions of units
columns = ["presence_ratio", "amplitude_cutoff", "isi_violations", "nn_hit_rate", "d_prime"]
result = [float((everything[name] > everything[name].median()).mean()) for name in columns]

# %% quickstart: open a session
session = cache.get_session_data(SESSION)
result = [session.structurewise_unit_counts.sort_index().tolist(), session.metadata["session_type"]]

# %% quickstart: mean response to flashes
flashes = session.get_stimulus_table("flashes")
units = session.units[session.units["ecephys_structure_acronym"] == "VISp"]
edges = np.arange(-0.1, 0.5, 0.01)
counts = session.presentationwise_spike_counts(
    bin_edges=edges, stimulus_presentation_ids=flashes.index.values, unit_ids=units.index.values
)
mean_counts = counts.mean(dim="stimulus_presentation_id")
result = [counts.dims, counts.shape, mean_counts.values]

# %% quickstart: a design matrix of scenes
scenes = session.get_stimulus_table("natural_scenes")
spikes = session.presentationwise_spike_times(
    stimulus_presentation_ids=scenes.index.values, unit_ids=units.index.values
)
spikes["count"] = np.zeros(spikes.shape[0])
design = spikes.groupby(["stimulus_presentation_id", "unit_id"]).count()
design = pd.pivot_table(design, values="count", index="stimulus_presentation_id", columns="unit_id", fill_value=0.0)
targets = scenes.loc[design.index.values, "frame"]
result = [design.values.astype(float), targets.values.astype(float), (targets.astype(int) == -1).values]

# %% session: epochs and names
epochs = session.get_stimulus_epochs(duration_thresholds={})
result = [sorted(session.stimulus_names), epochs["start_time"].values, epochs["stimulus_name"].tolist()]

# %% session: blank sweeps are left out by their text
gratings = session.get_stimulus_table(["static_gratings"])
shown = gratings[gratings["orientation"] != "null"]
blank = gratings[gratings["orientation"] == "null"]
result = [shown.index.values, blank.index.values, shown["orientation"].astype(float).values]

# %% session: masks of blocks index arrays
table = session.stimulus_presentations
mask = table["stimulus_block"] == 2
result = [np.where(mask)[0], np.arange(len(table))[mask], [bool(v) for v in mask][:5], int(mask.sum())]

# %% session: parameter values and conditions
values = session.get_parameter_values_for_stimulus("static_gratings")
result = [np.asarray(values["orientation"], dtype=float), len(session.stimulus_conditions)]

# %% session: spikes by unit, saved and read again
first = session.units.index.values[0]
np.save(FOLDER + "/spikes.npy", session.spike_times)
saved = np.load(FOLDER + "/spikes.npy", allow_pickle=True).item()
result = [saved[first], isinstance(session.spike_times, dict), sorted(saved)[:5]]

# %% session: raster of one presentation
first_presentation = session.get_stimulus_table("drifting_gratings").index.values[0]
times = session.presentationwise_spike_times(
    stimulus_presentation_ids=first_presentation, unit_ids=session.units.index.values
)
figure = raster_plot(times, title=f"spike raster for stimulus presentation {first_presentation}")
result = [len(figure.axes[0].collections), figure.axes[0].get_title(), figure.axes[0].get_xlabel()]

# %% session: the condition each unit likes best
drifting = session.get_stimulus_table("drifting_gratings").index.values
stats = session.conditionwise_spike_statistics(drifting, session.units.index.values[:8])
stats = pd.merge(stats, session.stimulus_conditions, left_on="stimulus_condition_id", right_index=True)
best = stats["spike_mean"].groupby(level="unit_id").max()
result = [sorted(best.values.tolist()), sorted(stats["spike_count"].tolist())]

# %% session: spike counts as an image
histogram = session.presentationwise_spike_counts(
    bin_edges=np.linspace(-0.01, 0.4, 200),
    stimulus_presentation_ids=flashes.index.values,
    unit_ids=session.units.index.values[:10],
)
mean_histogram = histogram.mean(dim="stimulus_presentation_id")
figure = plot_spike_counts(
    mean_histogram.transpose("unit_id", "time_relative_to_stimulus_onset"),
    mean_histogram["time_relative_to_stimulus_onset"].values,
    "mean spike count",
    "mean spike counts on flashes",
)
result = [figure.axes[0].get_title(), figure.axes[0].get_ylabel(), mean_histogram.values]

# %% session: mean waveforms on peak channels
of_interest = session.units.index.values[:3]
waveforms = {uid: session.mean_waveforms[uid] for uid in of_interest}
peaks = {uid: session.units.loc[uid, "peak_channel_id"] for uid in of_interest}
figure = plot_mean_waveforms(waveforms, of_interest, peaks)
result = [len(figure.axes[0].lines), figure.axes[0].lines[0].get_ydata()]

# %% session: running speed
speed = session.running_speed
middle = speed["start_time"] + (speed["end_time"] - speed["start_time"]) / 2
figure = plot_running_speed(middle, speed["velocity"], start_index=5, stop_index=100)
result = [figure.axes[0].lines[0].get_xdata(), figure.axes[0].lines[0].get_ydata()]

# %% session: eye tracking is asked for, and may be None
pupil, gaze = session.get_pupil_data(), session.get_screen_gaze_data()
result = [pupil is None or len(pupil), gaze is None or len(gaze)]

# %% receptive fields: gabors, which of their parameters vary, one map
gabors = table[table["stimulus_name"] == "gabors"]
varying = [name for name in ("orientation", "x_position", "y_position") if gabors[name].nunique() > 1]
mapping = ReceptiveFieldMapping(session)
result = [len(gabors), varying, mapping.get_receptive_field(first).astype(float)]

# %% optotagging: short pulses, spikes around them by hand
trials = session.optogenetic_stimulation_epochs
trials = trials[(trials["duration"] > 0.009) & (trials["duration"] < 0.02)]
window = np.arange(-0.01, 0.025, 0.0005)
found = np.array(
    [
        np.histogram(session.spike_times[unit] - start, window)[0].clip(max=1)
        for unit in session.units.index.values[:5]
        for start in trials["start_time"].values[:10]
    ]
)
result = [len(trials), found]

# %% lfp: structures along a probe
probe = session.probes.index.values[0]
along = session.channels[session.channels["probe_id"] == probe].sort_values("probe_vertical_position")
labels, borders = session.channel_structure_intervals(along.index.values)
result = [[str(label) for label in labels], borders, nan_intervals(along["ecephys_structure_acronym"].values)]
