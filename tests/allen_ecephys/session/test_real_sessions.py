"""The replica and the excerpt of real data, read completely."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from allen_ecephys.session.session import EcephysSession
from allen_ecephys.units.filter import UnitFilter

N_GABORS, N_GRATINGS = 3645, 598


@pytest.fixture(scope="module")
def replica_session(replica: Path) -> EcephysSession:
    return EcephysSession(replica / "session_715093703.nwb", unit_filter=UnitFilter.none())


@pytest.fixture(scope="module")
def excerpt_session(excerpt: Path) -> EcephysSession:
    return EcephysSession(excerpt / "session_732592105" / "session_732592105.nwb")


def test_replica(replica_session: EcephysSession) -> None:
    session = replica_session
    assert session.ecephys_session_id == 715093703
    assert session.full_genotype == "Sst-IRES-Cre/wt;Ai32(RCL-ChR2(H134R)_EYFP)/wt"
    assert session.age_in_days == 118.0
    assert session.num_units == 8
    assert session.num_channels == 768
    assert session.probes["description"].tolist() == ["probeA", "probeB"]
    assert session.stimulus_names == [
        "spontaneous",
        "gabors",
        "flashes",
        "drifting_gratings",
        "natural_movie_one",
        "static_gratings",
        "natural_scenes",
    ]
    assert session.num_stimulus_presentations == 35
    assert sum(len(t) for t in session.spike_times.values()) == 400
    assert sum(len(a) for a in session.spike_amplitudes.values()) == 400
    for waveform in (session.mean_waveforms[u] for u in session.units.index):
        assert waveform.shape == (384, 82)
    assert session.invalid_times["tags"].tolist() == [["EcephysProbe", "1", "probeA"]]
    assert session.metadata["rig_equipment_name"] == "NP.1"
    scenes = session.get_stimulus_table("natural_scenes")
    assert scenes["is_blank"].tolist() == [True, False, False, False, False]
    assert len(repr(session)) < 1000


def test_excerpt_tables(excerpt_session: EcephysSession) -> None:
    session = excerpt_session
    assert session.num_units == 365  # of 947, by the default thresholds
    everything = session.with_units(UnitFilter.none())
    assert everything.num_units == 947
    assert everything.structurewise_unit_counts.to_dict() == {
        "VISp": 244,
        "VISl": 201,
        "VISal": 185,
        "VISrl": 163,
        "VISpm": 154,
    }
    assert session.channels["anterior_posterior_ccf_coordinate"].isna().all()
    assert len(session.get_stimulus_table("gabors")) == N_GABORS
    gratings = session.get_stimulus_table("drifting_gratings")
    assert len(gratings) == N_GRATINGS
    assert gratings["spatial_frequency"].unique().tolist() == [0.04]
    assert sorted(gratings["orientation"].unique()) == [0, 45, 90, 135, 180, 225, 270, 315]
    assert session.stimulus_conditions["stimulus_name"].value_counts().to_dict() == {
        "gabors": 243,
        "drifting_gratings": 40,
    }
    assert everything.spike_times.counts().sum() == 1_029_714
    assert sum(len(times) for times in everything.spike_times.values()) == 1_029_714


def published(excerpt: Path) -> pd.DataFrame:
    with (excerpt / "session_732592105" / "session_732592105_analysis_metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    return pd.DataFrame(rows).set_index("ecephys_unit_id").rename(index=int)


def test_tuning_of_real_neurons_is_the_published_one(excerpt: Path, excerpt_session: EcephysSession) -> None:
    session = excerpt_session
    counted = session.spike_times.counts()
    units = counted.index[counted > 0]
    assert len(units) == 110
    gratings = session.get_stimulus_table("drifting_gratings")
    statistics = session.conditionwise_spike_statistics(gratings.index, units)
    conditions = session.stimulus_conditions.loc[:, ["orientation", "temporal_frequency"]]
    responses = statistics.reset_index().merge(conditions, left_on="stimulus_condition_id", right_index=True)
    tuning = responses.pivot_table("spike_mean", "unit_id", ["orientation", "temporal_frequency"])
    by_orientation = tuning.T.groupby("orientation").mean().T
    by_frequency = tuning.T.groupby("temporal_frequency").mean().T
    metrics = published(excerpt)
    theirs = metrics.loc[tuning.index, ["pref_ori_dg", "pref_tf_dg", "g_osi_dg"]].astype(float)
    np.testing.assert_array_equal(by_orientation.idxmax(axis=1), theirs["pref_ori_dg"])
    np.testing.assert_array_equal(by_frequency.idxmax(axis=1), theirs["pref_tf_dg"])
    preferred = tuning.T.reset_index().melt(["orientation", "temporal_frequency"], value_name="mean")
    preferred["pref"] = preferred["unit_id"].map(theirs["pref_tf_dg"])
    preferred = preferred[preferred["pref"] == preferred["temporal_frequency"]]
    angle = np.exp(2j * np.deg2rad(preferred["orientation"]))
    vector = (preferred["mean"] * angle).groupby(preferred["unit_id"]).sum().abs()
    osi = vector / preferred.groupby("unit_id")["mean"].sum()
    assert (osi - theirs["g_osi_dg"]).abs().median() < 1e-6


def test_the_three_calls_agree_on_real_spikes(excerpt_session: EcephysSession) -> None:
    session = excerpt_session
    ids = session.get_stimulus_table("drifting_gratings").index
    spikes = session.presentationwise_spike_times(ids)
    duration = session.stimulus_presentations.loc[ids, "duration"].max()
    statistics = session.conditionwise_spike_statistics(ids)
    table = session.stimulus_presentations.loc[ids]
    edges = np.column_stack([table["start_time"], table["stop_time"]])
    expected = sum(int(np.diff(np.searchsorted(t, edges), axis=1).sum()) for t in session.spike_times.values())
    assert statistics["spike_count"].sum() == len(spikes) == expected > 600_000
    counts = session.presentationwise_spike_counts(np.linspace(0, duration + 1e-6, 50), ids)
    assert abs(int(counts.sum()) - len(spikes)) <= 2  # stops differ from start + duration by rounding
    by_unit = spikes.groupby("unit_id").size().reindex(session.units.index, fill_value=0)
    np.testing.assert_array_equal(statistics["spike_count"].groupby("unit_id").sum()[by_unit.index], by_unit)
