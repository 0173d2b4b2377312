"""What simulated units do is what the ground truth says of them."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from allen_ecephys.processing.simulation import write_lfp, write_session
from allen_ecephys.processing.simulation.spike_trains import thin

N_UNITS = 60


@pytest.fixture(scope="module", params=["brain_observatory_1.1", "functional_connectivity"])
def simulated(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("tuned") / "session.nwb"
    return write_session(path, request.param, scale=0.3, n_units=N_UNITS, n_probes=3, seed=11, has_lfp=True)


@pytest.fixture(scope="module")
def spikes(simulated):
    with h5py.File(simulated.path) as file:
        return np.split(file["units/spike_times"][()], file["units/spike_times_index"][()][:-1].astype(int))


def rates(simulated, spikes, name, delay=0.0):
    """Return the presentations of a stimulus and the rate (Hz) of every unit on each."""
    table = simulated.stimulus_presentations
    table = table[table["stimulus_name"] == name]
    start, stop = (table[edge].to_numpy() + delay for edge in ("start_time", "stop_time"))
    counts = [np.searchsorted(t, stop) - np.searchsorted(t, start) for t in spikes]
    return table, np.array(counts) / (stop - start)


def driven(simulated, rate=10.0):
    """Return the rows of units that answer strongly and are there all the time."""
    units = simulated.units
    whole = (units["active_from"] == 0) & (units["active_until"] >= simulated.duration)
    return np.flatnonzero((units["peak_rate"] > rate) & whole)


def share_of_best(simulated, spikes, name, parameter, truth, within=0.0, period=np.inf):
    """Return the share of driven units whose best condition is the true one (or `within` of it, modulo `period`)."""
    table, rate = rates(simulated, spikes, name, 0.05)
    shown = table[parameter].astype(float)
    values = np.unique(shown.dropna())
    tuning = np.array([rate[:, shown == value].mean(axis=1) for value in values])
    rows = driven(simulated)
    assert len(rows) >= 10
    off = np.abs(values[tuning[:, rows].argmax(axis=0)] - simulated.units[truth].to_numpy()[rows])
    return np.mean((off if np.isinf(period) else off % period) <= within)


def test_receptive_fields_are_where_they_should_be(simulated, spikes):
    assert share_of_best(simulated, spikes, "gabors", "x_position", "rf_x", within=10.0) > 0.9
    assert share_of_best(simulated, spikes, "gabors", "y_position", "rf_y", within=10.0) > 0.9


def test_brain_observatory_tuning_is_the_truth(simulated, spikes):
    if simulated.session_type != "brain_observatory_1.1":
        pytest.skip("drifting and static gratings and scenes are shown in brain observatory sessions only")
    gratings = (simulated, spikes, "drifting_gratings")
    assert share_of_best(*gratings, "orientation", "preferred_orientation", period=180.0) > 0.7
    # The opposite direction is nearly as good for units with little direction selectivity.
    assert share_of_best(*gratings, "orientation", "preferred_orientation") > 0.6
    assert share_of_best(*gratings, "temporal_frequency", "preferred_tf") > 0.6
    assert share_of_best(simulated, spikes, "static_gratings", "orientation", "preferred_orientation_sg") > 0.8
    assert share_of_best(simulated, spikes, "static_gratings", "spatial_frequency", "preferred_sf") > 0.7
    assert share_of_best(simulated, spikes, "natural_scenes", "frame", "preferred_scene") > 0.5


def test_connectivity_tuning_is_the_truth(simulated, spikes):
    if simulated.session_type != "functional_connectivity":
        pytest.skip("contrasts and dots are shown in functional connectivity sessions only")
    assert share_of_best(simulated, spikes, "dot_motion", "Dir", "preferred_dots_direction") > 0.5
    table, rate = rates(simulated, spikes, "drifting_gratings_contrast", 0.05)
    rows = driven(simulated)
    low, high = (rate[rows][:, table["contrast"] == value].mean() for value in (0.01, 1.0))
    assert high > low + 1.0


def test_gratings_modulate_at_their_temporal_frequency(simulated, spikes):
    """The F1 of strongly modulated units exceeds that of unmodulated ones."""
    if simulated.session_type != "brain_observatory_1.1":
        pytest.skip("drifting gratings are shown in brain observatory sessions only")
    table = simulated.stimulus_presentations
    table = table[table["stimulus_name"] == "drifting_gratings"].dropna(subset="temporal_frequency")
    truth = simulated.units
    f1 = np.zeros(N_UNITS)
    for row in driven(simulated):
        unit = truth.iloc[row]
        best = table["orientation"] == unit["preferred_orientation"]
        phasors = []
        for shown in table[best & (table["temporal_frequency"] == unit["preferred_tf"])].itertuples():
            begin = shown.start_time + unit["latency"]
            times = spikes[row][np.searchsorted(spikes[row], begin) : np.searchsorted(spikes[row], begin + 2.0)] - begin
            phasors.append(np.exp(2j * np.pi * unit["preferred_tf"] * times))
        f1[row] = abs(np.concatenate(phasors).mean())
    depth = truth["modulation"].to_numpy()
    rows = driven(simulated)
    assert np.corrcoef(depth[rows], f1[rows])[0, 1] > 0.5


def test_optotagged_units_answer_the_light_and_others_do_not(simulated, spikes):
    with h5py.File(simulated.path) as file:
        table = file["processing/optotagging/optogenetic_stimulation"]
        pulses = table["stimulus_name"].asstr()[()] == "pulse"
        start = table["start_time"][()][pulses]
    evoked = np.array([np.mean(np.searchsorted(t, start + 0.01) - np.searchsorted(t, start)) for t in spikes]) / 0.01
    before = np.array([np.mean(np.searchsorted(t, start) - np.searchsorted(t, start - 0.5)) for t in spikes]) / 0.5
    tagged = (
        simulated.units["optotagged"].to_numpy() & (simulated.units["active_until"] >= simulated.duration).to_numpy()
    )
    assert tagged.any()
    assert (evoked[tagged] > before[tagged] + 50).all()
    assert np.median((evoked - before)[~simulated.units["optotagged"].to_numpy()]) < 5


def test_clean_units_keep_their_refractory_period(simulated, spikes):
    clean = np.flatnonzero(simulated.units["contamination"] == 0)
    assert len(clean) > 5
    for row in clean:
        if len(spikes[row]) > 1:
            assert np.diff(spikes[row]).min() >= simulated.units["refractory"].iloc[row]
    dirty = simulated.units["contamination"].to_numpy() > 0.3
    busy = simulated.units["spike_count"].to_numpy() > 10_000
    assert all(np.diff(spikes[row]).min() < 0.0015 for row in np.flatnonzero(dirty & busy))


def test_every_default_threshold_hides_some_units_and_no_bound_hides_all(simulated):
    with h5py.File(simulated.path) as file:
        units = {name: file[f"units/{name}"][()] for name in ("isi_violations", "amplitude_cutoff", "presence_ratio")}
        good = file["units/quality"].asstr()[()] == "good"
        channel = np.searchsorted(
            file["general/extracellular_ephys/electrodes/id"][()], file["units/peak_channel_id"][()]
        )
        valid = file["general/extracellular_ephys/electrodes/valid_data"][()]
        location = file["general/extracellular_ephys/electrodes/location"].asstr()[()]
        rate = file["units/firing_rate"][()]
    passes = [good, units["isi_violations"] <= 0.5, units["amplitude_cutoff"] <= 0.1, units["presence_ratio"] >= 0.95]
    for bound in passes:
        assert 0.3 < bound.mean() < 1.0
    assert 0.1 < np.logical_and.reduce(passes).mean() < 0.7
    assert units["presence_ratio"].max() <= 0.99
    assert not valid.all()
    assert (location == "").any()
    assert (location[channel] != "").mean() > 0.9
    np.testing.assert_allclose(rate, simulated.units["spike_count"] / simulated.duration)
    assert 1.0 < rate.mean() < 12.0


@pytest.mark.parametrize("contamination", [0.0, 0.3])
def test_thinning_equals_its_plain_python_twin(contamination):
    rng = np.random.default_rng(5)
    edges = np.cumsum(rng.uniform(0.01, 0.5, 200))
    base, response = rng.uniform(0, 30, 199), rng.uniform(0, 80, 199)
    depth, frequency = rng.uniform(0, 1, 199), rng.choice([0.0, 2.0, 8.0], 199)
    rest = (edges, base, response, 0.5, depth, frequency, 0.002, contamination)
    fast, slow = np.empty(10_000), np.empty(10_000)
    n = thin(np.random.default_rng(1), *rest, fast)
    assert n == thin.py_func(np.random.default_rng(1), *rest, slow)
    np.testing.assert_array_equal(fast[:n], slow[:n])
    assert n > 500
    assert (np.diff(fast[:n]) > 0).all()
    assert thin(np.random.default_rng(1), *rest, np.empty(n - 1)) == -1


def test_thinning_has_the_rate_asked_for():
    """Counts of a Poisson process of known rate: within five standard errors."""
    edges, one = np.array([0.0, 2000.0]), np.ones(1)
    n = thin(np.random.default_rng(2), edges, 20 * one, 0 * one, 1.0, 0 * one, 0 * one, 0.0, 0.0, np.empty(60_000))
    assert abs(n - 40_000) < 5 * 200


def test_lfp_is_reproducible_in_any_block_and_answers_flashes(tmp_path, simulated):
    probe = int(simulated.probes.index[0])
    flashes = simulated.stimulus_presentations.query("stimulus_name == 'flashes'")["start_time"].to_numpy()
    start = flashes[0] - 20.0
    lfp = write_lfp(tmp_path / "lfp.nwb", simulated, probe, start=start, stop=start + 60.0)
    with h5py.File(tmp_path / "lfp.nwb") as file:
        series = file[f"acquisition/probe_{probe}_lfp/probe_{probe}_lfp_data"]
        np.testing.assert_array_equal(series["data"][40_000:50_000], lfp.traces[40_000:50_000])
        assert series["data"].chunks[1] == 1
        times, channel = series["timestamps"][()], series["data"][:, 0]
    near = [
        channel[np.searchsorted(times, t + 0.05) : np.searchsorted(times, t + 0.07)].mean()
        for t in flashes
        if t < 60 + start
    ]
    evoked = lfp.channels["probe_vertical_position"].iloc[0]
    sign = np.sign(np.cos(2 * np.pi * evoked / 1600))
    assert sign * np.mean(near) > 1e-4


def test_no_unit_is_seen_by_a_channel_that_records_nothing(tmp_path):
    made = write_session(tmp_path / "session.nwb", scale=0.002, n_units=1200, seed=1)
    with h5py.File(made.path) as file:
        electrodes = file["general/extracellular_ephys/electrodes"]
        channel = np.searchsorted(electrodes["id"][()], file["units/peak_channel_id"][()])
        assert electrodes["valid_data"][()][channel].all()
