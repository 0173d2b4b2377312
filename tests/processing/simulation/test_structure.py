"""The simulated stimulus sets have the structure of the released sessions."""

from __future__ import annotations

import numpy as np
import pytest

from allen_ecephys.errors import UnknownNameError
from allen_ecephys.processing.simulation.stimulus_sets import (
    FRAME_PERIOD,
    SESSION_TYPES,
    check_session_type,
    stimulus_presentations,
)

COUNTS = {
    "brain_observatory_1.1": {
        "spontaneous": 15,
        "gabors": 3645,
        "flashes": 150,
        "drifting_gratings": 630,
        "natural_movie_three": 36_000,
        "natural_movie_one": 18_000,
        "static_gratings": 6000,
        "natural_scenes": 5950,
    },
    "functional_connectivity": {
        "spontaneous": 7,
        "gabors": 3645,
        "flashes": 150,
        "drifting_gratings_contrast": 540,
        "natural_movie_one_more_repeats": 54_000,
        "natural_movie_one_shuffled": 18_000,
        "drifting_gratings_75_repeats": 600,
        "dot_motion": 420,
    },
}
#: Start of every block of session 756029989 (s), as released; one of its blocks slipped by one frame.
RELEASED_STARTS = (
    *(84.496, 1285.483, 1585.734, 2216.261, 2846.789, 3177.065, 4077.834, 4708.361, 5398.939),
    *(5909.365, 6690.018, 7200.445, 7710.871, 8041.147, 8611.624),
)


@pytest.mark.parametrize("session_type", SESSION_TYPES)
def test_counts_of_every_stimulus_are_the_released_ones(session_type):
    table = stimulus_presentations(session_type)
    assert table["stimulus_name"].value_counts().to_dict() == COUNTS[session_type]
    assert len(table) == sum(COUNTS[session_type].values())
    start, stop = table["start_time"].to_numpy(), table["stop_time"].to_numpy()
    assert (stop > start).all()
    assert (stop[:-1] <= start[1:]).all()


def test_blocks_begin_when_they_did_in_a_released_session():
    table = stimulus_presentations("brain_observatory_1.1")
    starts = table.groupby("stimulus_block")["start_time"].min().to_numpy()
    np.testing.assert_allclose(starts, RELEASED_STARTS, atol=1.2 * FRAME_PERIOD)


def test_contrast_block_adds_541_rows():
    table = stimulus_presentations("brain_observatory_1.1", contrast_block=True)
    assert len(table) == 70_931
    assert table["stimulus_block"].max() == 15


def test_conditions_are_balanced_as_released():
    table = stimulus_presentations("brain_observatory_1.1", seed=3)
    by_name = dict(list(table.groupby("stimulus_name")))
    gabors = by_name["gabors"].groupby(["x_position", "y_position"]).size()
    assert len(gabors) == 81
    assert (gabors == 45).all()
    gratings = by_name["drifting_gratings"]
    assert (gratings.groupby(["orientation", "temporal_frequency"]).size() == 15).all()
    assert gratings["orientation"].isna().sum() == 30
    assert (by_name["natural_scenes"].groupby("frame").size() == 50).all()
    static = by_name["static_gratings"]
    repeats = static.groupby(["orientation", "spatial_frequency", "phase"]).size()
    assert len(repeats) == 120
    assert repeats.max() <= 50
    assert 180 <= static["orientation"].isna().sum() <= 200
    movie = by_name["natural_movie_three"]["frame"].to_numpy()
    np.testing.assert_array_equal(movie, np.tile(np.arange(3600.0), 10))


def test_presentations_last_as_long_as_released():
    table = stimulus_presentations("brain_observatory_1.1")
    duration = (table["stop_time"] - table["start_time"]).groupby(table["stimulus_name"]).median()
    expected = {"gabors": 0.2502, "flashes": 0.2502, "drifting_gratings": 2.0017, "static_gratings": 0.2502}
    for name, seconds in {**expected, "natural_scenes": 0.2502, "natural_movie_one": 0.03336}.items():
        assert duration[name] == pytest.approx(seconds, abs=2e-4)
    first = table[table["stimulus_name"] == "gabors"].iloc[0]
    assert first["stop_time"] - first["start_time"] == pytest.approx(14 * FRAME_PERIOD)


@pytest.mark.parametrize("session_type", SESSION_TYPES)
@pytest.mark.parametrize("scale", [0.005, 0.02, 0.3])
def test_short_sessions_show_every_condition(session_type, scale):
    short, full = (stimulus_presentations(session_type, scale=s) for s in (scale, 1.0))
    keys = ["stimulus_name", "orientation", "x_position", "y_position", "contrast", "color", "phase"]
    keys += [key for key in ("temporal_frequency", "spatial_frequency", "Speed", "Dir") if key in full]
    still = ~full["stimulus_name"].str.startswith("natural_movie")
    wanted = set(full.loc[still, keys].astype(str).itertuples(index=False))
    shown = short.loc[~short["stimulus_name"].str.startswith("natural_movie"), keys].astype(str)
    assert set(shown.itertuples(index=False)) == wanted
    assert len(short) < scale * len(full) + 1700
    assert short["stimulus_block"].nunique() == full["stimulus_block"].nunique()


def test_seed_decides_the_order_and_nothing_else():
    first, again, other = (stimulus_presentations("functional_connectivity", 0.02, seed) for seed in (1, 1, 2))
    assert first.equals(again)
    assert not first.equals(other)
    np.testing.assert_array_equal(first["start_time"], other["start_time"])


def test_unknown_session_type_names_the_nearest():
    with pytest.raises(UnknownNameError, match=r"did you mean 'brain_observatory_1\.1'"):
        check_session_type("brain_observatory")
