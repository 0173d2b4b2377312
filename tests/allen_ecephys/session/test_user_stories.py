"""What the example notebooks of the data release do, call by call, on a simulated session in a project of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from allen_ecephys import EcephysProjectCache, EcephysSession, UnitFilter, plotting

mpl.use("agg")
ONSET_TIME = "time_relative_to_stimulus_onset"


@pytest.fixture(scope="module")
def cache(simulated_project: tuple[Path, Any]) -> EcephysProjectCache:
    return EcephysProjectCache.fixed(simulated_project[0])


@pytest.fixture(scope="module")
def truth(simulated_project: tuple[Path, Any]) -> Any:
    return simulated_project[1]


@pytest.fixture(scope="module")
def session(cache: EcephysProjectCache) -> EcephysSession:
    """The session with the units that a short recording leaves: its presence ratios are lower than a long one's."""
    session_id = int(cache.get_session_table().index[0])
    return cache.get_session_data(
        session_id, amplitude_cutoff_maximum=None, presence_ratio_minimum=None, isi_violations_maximum=None
    )


def test_quick_start(cache: EcephysProjectCache, truth: Any) -> None:
    assert cache.get_all_session_types() == ["brain_observatory_1.1"]
    sessions = cache.get_session_table()
    session = cache.get_session_data(sessions[sessions.session_type == "brain_observatory_1.1"].index[0])
    metadata = session.metadata
    assert metadata["ecephys_session_id"] == truth.session_id
    assert metadata["num_units"] == len(session.units)
    # The release counts units without a structure too.
    assert sessions["unit_count"].iloc[0] == session.with_units(in_brain_only=False).num_units
    assert session.structurewise_unit_counts.sum() == len(session.units)
    flashes = session.get_stimulus_table("flashes")
    units = session.units[session.units["ecephys_structure_acronym"].str.startswith("VIS")]
    counts = session.presentationwise_spike_counts(np.arange(-0.1, 0.5, 0.01), flashes.index.values, units.index.values)
    assert counts.shape == (len(flashes), 59, len(units))
    mean = counts.mean(dim="stimulus_presentation_id").T
    assert plotting.plot_spike_counts(mean).get_xlabel() == "time from stimulus onset (s)"


def test_decoding_of_the_quick_start(session: EcephysSession) -> None:
    svm = pytest.importorskip("sklearn.svm", reason="scikit-learn is an extra")
    from sklearn.model_selection import KFold, cross_val_score
    from sklearn.preprocessing import StandardScaler

    scenes = session.get_stimulus_table("natural_scenes")
    spikes = session.presentationwise_spike_times(scenes.index.values, session.units.index.values)
    spikes["count"] = 0
    design = spikes.groupby(["stimulus_presentation_id", "unit_id"]).count()
    design = pd.pivot_table(
        design, values="count", index="stimulus_presentation_id", columns="unit_id", fill_value=0, aggfunc="sum"
    )
    ready = session.responses("natural_scenes")["spike_count"].to_pandas()
    # The notebook's pivot loses presentations and units without a spike; the ready one has them, as zeros.
    assert set(scenes.index) == set(ready.index)
    assert ready.drop(index=design.index).to_numpy().sum() == 0
    np.testing.assert_array_equal(ready.loc[design.index, design.columns], design)

    gratings = session.responses("drifting_gratings", (0.05, 2.0))
    gratings = gratings.sel(stimulus_presentation_id=~gratings["is_blank"])
    X = StandardScaler().fit_transform(gratings["rate"].to_numpy())
    y = gratings["orientation"].to_numpy().astype(int) % 180
    accuracy = cross_val_score(svm.SVC(kernel="linear"), X, y, cv=KFold(5, shuffle=True, random_state=0)).mean()
    assert accuracy > 0.4, "chance is 0.25"


def test_session_notebook(session: EcephysSession, truth: Any) -> None:
    assert session.ecephys_session_id == truth.session_id
    assert session.session_start_time.tzinfo is not None
    assert 0 < (session.units["snr"] > 4).sum() < session.num_units
    names = session.stimulus_names
    assert {"gabors", "flashes", "drifting_gratings", "natural_scenes", "spontaneous"} <= set(names)
    epochs = session.get_stimulus_epochs()
    assert (epochs["stop_time"] > epochs["start_time"]).all()
    gratings = session.get_stimulus_table(["drifting_gratings"])
    values = session.get_stimulus_parameter_values(gratings.index)
    assert sorted(values["orientation"]) == list(range(0, 360, 45))
    assert sorted(values["temporal_frequency"]) == [1, 2, 4, 8, 15]

    unit = int(session.units["firing_rate"].idxmax())
    assert len(session.spike_times[unit]) == truth.units["spike_count"].loc[unit]
    first = gratings.index[0]
    plotting.plot_raster(session.presentationwise_spike_times([first], session.units.index[:20]))

    statistics = session.conditionwise_spike_statistics(gratings.index, [unit])
    merged = statistics.reset_index().merge(
        session.stimulus_conditions, left_on="stimulus_condition_id", right_index=True
    )
    best = merged.sort_values("spike_mean").iloc[-1]
    rates = session.responses("drifting_gratings", unit_ids=[unit])
    own = rates.sel(stimulus_presentation_id=rates["stimulus_condition_id"] == best["stimulus_condition_id"])
    assert own["spike_count"].mean() == best["spike_mean"]

    counts = session.presentationwise_spike_counts(np.linspace(-0.01, 0.4, 200), gratings.index, session.units.index)
    plotting.plot_spike_counts(counts.mean("stimulus_presentation_id"))
    waveform = session.mean_waveforms[unit]
    peak = session.units["peak_channel_id"]
    trough = np.unravel_index(np.argmax(np.ptp(waveform.values, axis=1)), waveform.shape[:1])[0]
    assert waveform["channel_id"][trough] == peak[unit]
    plotting.plot_mean_waveforms(session.mean_waveforms, session.units.index[:3], peak)

    speed = session.running_speed
    middle = speed["start_time"] + (speed["end_time"] - speed["start_time"]) / 2
    assert middle.is_monotonic_increasing
    plotting.plot_running_speed(speed)
    assert {"pulse", "fast_pulses", "raised_cosine"} == set(session.optogenetic_stimulation_epochs["stimulus_name"])
    assert len(session.get_pupil_data()) == len(session.get_screen_gaze_data()) > 1000
    assert session.rig_geometry_data.loc["x", "monitor_position_mm"] > 0


def test_lfp_notebook(cache: EcephysProjectCache, session: EcephysSession) -> None:
    probes = cache.get_probes()
    assert probes["has_lfp_data"].all()
    channels = session.channels
    assert (channels["anterior_posterior_ccf_coordinate"] > 0).mean() > 0.5  # NaN outside the brain
    probe = int(session.probes[session.probes["description"] == "probeA"].index[0])
    lfp = session.get_lfp(probe)
    one_second = lfp.sel(time=slice(100, 101))
    assert one_second.sizes["time"] in {1250, 1251}
    plotting.plot_lfp(one_second)

    labels, intervals = session.channel_structure_intervals(lfp["channel"])
    assert len(intervals) == len(labels) + 1
    assert intervals[-1] == lfp.sizes["channel"]
    structure = lfp["channel"][intervals[0] : intervals[1]]
    assert lfp.sel(time=slice(100, 100.1), channel=slice(structure.min(), structure.max())).sizes["channel"] == len(
        structure
    )

    # Alignment to the flashes by hand, as in the notebook, and in one call.
    ids = session.stimulus_presentations.index[session.stimulus_presentations["stimulus_name"] == "flashes"].to_numpy()
    times = session.stimulus_presentations.loc[ids]["start_time"].to_numpy()
    window = np.arange(-0.01, 0.5, 1 / 500)
    selection = np.concatenate([window + t for t in times])
    index = pd.MultiIndex.from_product((ids, window), names=("presentation_id", "time_from_presentation_onset"))
    aligned = lfp.sel(time=selection, method="nearest").to_dataset(name="aligned")
    aligned = aligned.drop_vars("time").assign_coords(xr_coordinates(index))
    aligned = aligned.unstack("time")["aligned"]  # noqa: PD010 - xarray
    by_hand = aligned.mean("presentation_id").transpose("time_from_presentation_onset", "channel")
    edges = np.concatenate((window - 0.0004, window[-1:] + 0.0016))
    in_one_call = session.presentationwise_lfp(probe, np.stack((edges[:-1], edges[:-1] + 0.0008), 1).ravel(), ids)
    mean = in_one_call[:, ::2].mean("stimulus_presentation_id")
    together = np.corrcoef(by_hand.to_numpy().ravel(), mean.to_numpy().ravel())[0, 1]
    assert together > 0.98

    cortical = session.units[session.units["ecephys_structure_acronym"].str.startswith("VIS")]
    unit = cortical["firing_rate"].idxmax()
    nearest = lfp.sel(channel=cortical["peak_channel_id"].loc[unit], method="nearest")["channel"].item()
    assert abs(nearest - cortical["peak_channel_id"].loc[unit]) < 60
    spikes = session.spike_times[unit]
    assert ((spikes > 100) & (spikes < 110)).any()

    csd = session.get_current_source_density(probe)
    assert csd.dims == ("virtual_channel_index", "time")
    ax = plotting.plot_current_source_density(csd)
    assert "uncalibrated" in ax.figure.axes[1].get_ylabel()
    deep = channels.query("700 <= probe_vertical_position <= 1200")
    assert deep["ecephys_structure_acronym"].notna().any()


def xr_coordinates(index: pd.MultiIndex) -> Any:
    import xarray as xr

    return xr.Coordinates.from_pandas_multiindex(index, "time")


def test_receptive_field_notebook(session: EcephysSession, truth: Any) -> None:
    shown = session.stimulus_presentations
    gabors = shown[shown["stimulus_name"] == "gabors"]
    varying = {c: gabors[c].nunique() for c in ("orientation", "x_position", "y_position")}
    assert varying == {"orientation": 3, "x_position": 9, "y_position": 9}
    assert gabors["spatial_frequency"].unique().tolist() == [0.08]
    assert gabors["temporal_frequency"].unique().tolist() == [4.0]
    assert gabors["size"].iloc[0] == (20.0, 20.0)  # as pairs, beside the flashes' (1920, 1080)
    assert session.get_stimulus_table("gabors")["size"].iloc[0] == 20.0
    assert gabors["contrast"].unique().tolist() == [0.8]
    responses = session.responses("gabors", (0.05, 0.25))
    field = responses["spike_count"].groupby(["y_position", "x_position"]).sum()
    assert (field.sizes["y_position"], field.sizes["x_position"]) == (9, 9)
    units = truth.units.loc[session.units.index]
    strong = units[(units["peak_rate"] > 20) & (units["active_from"] == 0)].index
    off = []
    for unit in strong:
        one = field.sel(unit_id=unit).transpose("y_position", "x_position")
        if one.sum() > 300:
            row, column = np.unravel_index(np.argmax(one.values), one.shape)
            x, y = float(one["x_position"][column]), float(one["y_position"][row])
            off.append(np.hypot(x - units["rf_x"].loc[unit], y - units["rf_y"].loc[unit]))
    assert len(off) >= 4
    assert np.median(off) <= 10
    best = field.sel(unit_id=strong[0]).transpose("y_position", "x_position").to_numpy()[::-1]
    assert plotting.plot_receptive_field(best).get_ylabel() == "elevation (degrees)"


def test_optotagging_notebook(cache: EcephysProjectCache, session: EcephysSession, truth: Any) -> None:
    sessions = cache.get_session_table()
    assert sessions["full_genotype"].str.match("Sst").all()
    epochs = session.optogenetic_stimulation_epochs
    pulses = epochs[(epochs["duration"] > 0.009) & (epochs["duration"] < 0.02)]
    assert set(pulses["stimulus_name"]) == {"pulse"}
    edges = np.arange(-0.01, 0.025, 0.0005)
    counts = session.presentationwise_spike_counts(edges, pulses, binarize=True)
    assert counts.dims == ("trial_id", ONSET_TIME, "unit_id")
    mean = counts.mean("trial_id")
    baseline = mean.sel({ONSET_TIME: slice(-0.01, -0.002)}).sum(ONSET_TIME) / 0.008
    evoked = mean.sel({ONSET_TIME: slice(0.001, 0.009)}).sum(ONSET_TIME) / 0.008
    driven = counts["unit_id"].to_numpy()[(evoked / (baseline + 1) > 50).to_numpy()]
    tagged = truth.units.loc[driven, "optotagged"]
    assert len(driven) >= 3
    assert tagged.all()
    plotting.plot_psth(session.psth(edges, pulses, [int(driven[0])]))
    plotting.plot_mean_waveforms(session.mean_waveforms, driven, session.units["peak_channel_id"])


def test_the_real_v1_recording(excerpt: Path) -> None:
    cache = EcephysProjectCache.fixed(excerpt)
    session = cache.get_session_data(732592105, unit_filter=UnitFilter.none())
    responses = session.responses(
        "drifting_gratings", unit_ids=[u for u, n in session.spike_times.counts().items() if n]
    )
    driven = responses.sel(stimulus_presentation_id=~responses["is_blank"])
    X, y = driven["rate"].to_numpy(), driven["orientation"].to_numpy() % 180
    near = np.array([y[np.argsort(((X - x) ** 2).sum(1))[1:6]] for x in X])
    right = np.array([np.mean(n == label) for n, label in zip(near, y, strict=True)]).mean()
    assert right > 0.4, "neighbours in V1 share their orientation; chance is 0.25"
