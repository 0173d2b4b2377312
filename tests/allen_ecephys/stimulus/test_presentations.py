"""The presentations table: typed, numbered, masked, and what can be asked of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from allen_ecephys.errors import UnknownIdError, UnknownNameError
from allen_ecephys.session.session import EcephysSession
from allen_ecephys.stimulus.names import parsed, released_name
from allen_ecephys.stimulus.presentations import invalid_mask

Write = Callable[..., Path]


def session_of(write_session: Write, table: pd.DataFrame, **more: Any) -> EcephysSession:
    """Return a session that shows the presentations of a frame; rows are 0.5 s apart where it has no times."""
    if "start_time" not in table:
        start = 0.5 * np.arange(len(table))
        table = table.assign(start_time=start, stop_time=start + 0.5)
    return EcephysSession(write_session(presentations=table, **more))


@pytest.fixture
def session(write_session: Write, four_presentations: Mapping[str, Any]) -> EcephysSession:
    return EcephysSession(write_session(**four_presentations))


# --- the four presentations of AllenSDK's tests ------------------------------------------------------------------


def test_presentations(session: EcephysSession) -> None:
    table = session.stimulus_presentations
    assert table.index.name == "stimulus_presentation_id"
    assert table.index.tolist() == [0, 1, 2, 3]
    assert list(table.columns) == [
        "start_time",
        "stop_time",
        "stimulus_name",
        "stimulus_block",
        "color",
        "phase",
        "duration",
        "stimulus_condition_id",
        "is_blank",
    ]
    assert table["color"].tolist() == [0.0, 5.5, 11.0, 16.5]
    assert table["phase"].tolist() == [0.0, 60.0, 120.0, 180.0]
    assert table["duration"].tolist() == [0.5] * 4
    assert table["stimulus_condition_id"].tolist() == [0, 1, 2, 3]
    assert table["stimulus_condition_id"].dtype == np.int64
    assert table["stimulus_block"].dtype == np.float64
    assert not table["is_blank"].any()
    assert session.num_stimulus_presentations == 4
    assert session.stimulus_names == ["a", "a_movie"]


def test_presentations_in_invalid_times_of_the_stimulus_are_masked(
    write_session: Write, four_presentations: Mapping[str, Any]
) -> None:
    invalid = pd.DataFrame(
        {
            "start_time": [0.3, 1.1, 1.6],
            "stop_time": [0.6, 1.54, 2.3],
            "tags": [
                ["EcephysSession", "1", "stimulus"],
                ["EcephysProbe", "100", "probeA"],
                ["EcephysSession", "1", "all_probes"],
            ],
        }
    )
    session = EcephysSession(write_session(**four_presentations, invalid_times=invalid))
    table = session.stimulus_presentations
    assert table["stimulus_name"].tolist() == ["invalid_presentation"] * 2 + ["a", "a_movie"]
    assert table["start_time"].tolist() == [0.0, 0.5, 1.0, 1.5]
    for name in ("phase", "color", "duration", "stimulus_block", "stimulus_condition_id"):
        assert table[name].isna().tolist() == [True, True, False, False]
    assert table["phase"].tolist()[2:] == [120.0, 180.0]
    assert session.stimulus_names[0] == "invalid_presentation"
    assert len(session.stimulus_conditions) == 4  # numbered before masking
    assert session.get_invalid_times()["tags"].tolist() == invalid["tags"].tolist()
    pd.testing.assert_frame_equal(session.invalid_times, session.get_invalid_times())
    assert session.get_stimulus_epochs()["stimulus_name"].tolist() == ["invalid_presentation", "a", "a_movie"]


def test_epochs(session: EcephysSession) -> None:
    epochs = session.get_stimulus_epochs()
    assert epochs.to_dict("records") == [
        {"start_time": 0.0, "stop_time": 1.5, "duration": 1.5, "stimulus_name": "a", "stimulus_block": 0},
        {"start_time": 1.5, "stop_time": 2.0, "duration": 0.5, "stimulus_name": "a_movie", "stimulus_block": 1},
    ]
    assert session.get_stimulus_epochs({"a_movie": 0.6})["stimulus_name"].tolist() == ["a"]


def test_parameter_values(session: EcephysSession) -> None:
    values = session.get_stimulus_parameter_values()
    assert {name: v.tolist() for name, v in values.items()} == {
        "color": [0.0, 5.5, 11.0, 16.5],
        "phase": [0.0, 60.0, 120.0, 180.0],
    }
    assert session.get_stimulus_parameter_values([0, 2])["phase"].tolist() == [0.0, 120.0]
    assert session.get_stimulus_parameter_values(3)["phase"].tolist() == [180.0]
    assert session.get_parameter_values_for_stimulus("a")["color"].tolist() == [0.0, 5.5, 11.0]
    assert session.get_stimulus_parameter_values([]) == {}


def test_stimulus_table(session: EcephysSession) -> None:
    table = session.get_stimulus_table(["a"])
    assert len(table) == 3
    assert table["stimulus_condition_id"].tolist() == [0, 1, 2]
    assert "texRes" not in table
    assert session.get_stimulus_table("a", include_detailed_parameters=True)["texRes"].tolist() == [1.0] * 3
    pd.testing.assert_frame_equal(session.get_stimulus_table("a"), table)
    assert len(session.get_stimulus_table()) == 4


def test_unknown_names_and_ids(session: EcephysSession) -> None:
    with pytest.raises(UnknownNameError, match="no stimulus 'a_moive'; did you mean 'a_movie'"):
        session.get_stimulus_table("a_moive")
    with pytest.raises(UnknownNameError, match="It shows: a, a_movie"):
        session.get_parameter_values_for_stimulus("xyz")
    with pytest.raises(UnknownNameError):
        session.get_inter_presentation_intervals_for_stimulus(["a", "b"])
    with pytest.raises(UnknownIdError, match=r"2 of 3 presentation ids.*9, -1 \(it has 4: 0 to 3\)"):
        session.get_stimulus_parameter_values([0, 9, -1])
    with pytest.raises(UnknownNameError, match="no stimulus '0'"):
        session.get_stimulus_parameter_values(["0"])
    with pytest.raises(TypeError, match="one value for each of 4"):
        session.get_stimulus_parameter_values([True, False])
    for wrong in ([0.5], [[0, 1]]):
        with pytest.raises(TypeError, match="presentation ids must be whole numbers"):
            session.get_stimulus_parameter_values(wrong)


def test_intervals_between_presentations(session: EcephysSession) -> None:
    intervals = session.inter_presentation_intervals
    assert intervals.index.names == ["from_presentation_id", "to_presentation_id"]
    assert intervals.index.tolist() == [(0, 1), (1, 2), (2, 3)]
    assert intervals["interval"].tolist() == [0.0, 0.0, 0.0]
    assert session.get_inter_presentation_intervals_for_stimulus("a").index.tolist() == [(0, 1), (1, 2)]
    assert session.get_inter_presentation_intervals_for_stimulus(["a", "a_movie"]).shape == (3, 1)


# --- what released files hold ------------------------------------------------------------------------------------


@pytest.fixture
def released(write_session: Write) -> EcephysSession:
    """A session with each kind of column: text and float for one parameter, pairs, colors, blanks, absent columns."""
    rows = [
        {"stimulus_name": "spontaneous"},
        {
            "stimulus_name": "gabors",
            "x": -40.0,
            "ori": 0.0,
            "sf": "0.08",
            "phase": "[3644.9, 3644.9]",
            "size": "[20.0, 20.0]",
        },
        {
            "stimulus_name": "flashes",
            "color": "-1.0",
            "sf": "[0.0, 0.0]",
            "phase": "[0.0, 0.0]",
            "size": "[300.0, 300.0]",
        },
        {
            "stimulus_name": "flashes",
            "color": "1.0",
            "sf": "[0.0, 0.0]",
            "phase": "[0.0, 0.0]",
            "size": "[300.0, 300.0]",
        },
        {"stimulus_name": "drifting_gratings", "ori": 45.0, "sf": "0.04", "color": "[1.0, 1.0, 1.0]"},
        {"stimulus_name": "drifting_gratings", "ori": np.nan, "sf": "N/A", "color": "[1.0, 1.0, 1.0]"},
        {"stimulus_name": "static_gratings", "ori": 30.0, "sf": 0.04, "phase": "0.25"},
        {"stimulus_name": "static_gratings", "ori": np.nan, "sf": np.nan, "phase": "N/A"},
        {"stimulus_name": "natural_scenes", "frame": 117.0},
        {"stimulus_name": "natural_scenes", "frame": -1.0},
        {"stimulus_name": "drifting_gratings", "ori": 45.0, "sf": "0.04", "color": "[1.0, 1.0, 1.0]"},
    ]
    table = pd.DataFrame(rows).rename(columns={"x": "x_position", "ori": "orientation", "sf": "spatial_frequency"})
    table["stimulus_block"] = [np.nan, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5]
    return session_of(write_session, table)


def test_numbers_are_numbers(released: EcephysSession) -> None:
    table = released.stimulus_presentations
    assert table["orientation"].dtype == np.float64
    assert table["frame"].dtype == np.float64
    assert table["stimulus_block"].dtype == np.float64
    assert table["color"].tolist()[2:4] == [-1.0, 1.0]
    assert table["color"].isna().sum() == 9
    assert table["spatial_frequency"].tolist()[1:3] == [0.08, 0.0]  # '[0.0, 0.0]': the same along both axes
    assert table["size"].tolist()[1] == 20.0


def test_columns_of_one_stimulus_are_as_plain_as_they_can_be(released: EcephysSession) -> None:
    gratings = released.get_stimulus_table("static_gratings")
    assert gratings["phase"].dtype == np.float64
    assert gratings["spatial_frequency"].dtype == np.float64
    assert "frame" not in gratings
    assert "frame" in released.get_stimulus_table("static_gratings", include_unused_parameters=True)
    scenes = released.get_stimulus_table("natural_scenes")
    assert scenes["frame"].tolist() == [117, -1]
    assert released.get_stimulus_table("spontaneous").columns.tolist() == [
        "start_time",
        "stop_time",
        "stimulus_name",
        "duration",
        "stimulus_condition_id",
        "is_blank",
    ]


def test_blank_sweeps(released: EcephysSession) -> None:
    table = released.stimulus_presentations
    assert np.flatnonzero(table["is_blank"]).tolist() == [5, 7, 9]


def test_equal_presentations_share_a_condition(released: EcephysSession) -> None:
    ids = released.stimulus_presentations["stimulus_condition_id"]
    assert ids.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 4]  # the last is as the fifth, in another block
    conditions = released.stimulus_conditions
    assert conditions.index.tolist() == list(range(10))
    assert conditions.index.name == "stimulus_condition_id"
    assert conditions["color_triplet"].tolist()[4] == (1.0, 1.0, 1.0)
    assert not {"start_time", "duration", "stimulus_block"} & set(conditions.columns)


def test_colors_that_are_triplets_stand_in_a_column_of_their_own(released: EcephysSession) -> None:
    table = released.get_stimulus_table("drifting_gratings", include_detailed_parameters=True)
    assert table["color_triplet"].tolist() == [(1.0, 1.0, 1.0)] * 3
    assert "color" not in table
    legacy = released.get_stimulus_table(include_detailed_parameters=True, legacy=True)
    assert legacy["color_triplet"].tolist()[4] == "[1.0, 1.0, 1.0]"
    assert legacy["color"].tolist()[1:5] == ["null", -1.0, 1.0, "null"]


def test_legacy_form(released: EcephysSession) -> None:
    legacy = released.get_stimulus_table(legacy=True)
    assert legacy["spatial_frequency"].tolist()[1:7] == ["0.08", "[0.0, 0.0]", "[0.0, 0.0]", "0.04", "null", 0.04]
    assert legacy["orientation"].tolist()[4:6] == [45.0, "null"]
    assert legacy["stimulus_block"].tolist()[:2] == ["null", 0.0]
    assert "is_blank" not in legacy
    gabors = released.get_stimulus_table("gabors", legacy=True)
    assert gabors["size"].tolist() == ["[20.0, 20.0]"]
    assert "color" not in gabors


def test_missing_values_last_where_they_are_wanted(released: EcephysSession) -> None:
    values = released.get_parameter_values_for_stimulus("drifting_gratings", drop_nulls=False)
    assert values["orientation"][0] == 45.0
    assert np.isnan(values["orientation"][-1])
    assert released.get_parameter_values_for_stimulus("drifting_gratings")["orientation"].tolist() == [45.0]
    assert released.get_parameter_values_for_stimulus("natural_scenes")["frame"].tolist() == [117, -1]


def test_grey_between_blocks_is_no_epoch_by_default(write_session: Write) -> None:
    table = pd.DataFrame(
        {
            "start_time": [0.0, 60.0, 70.0, 80.0],
            "stop_time": [60.0, 70.0, 80.0, 300.0],
            "stimulus_name": ["spontaneous", "gabors", "gabors", "spontaneous"],
            "stimulus_block": [np.nan, 0.0, 0.0, np.nan],
        }
    )
    session = session_of(write_session, table)
    assert session.get_stimulus_epochs()["start_time"].tolist() == [60.0, 80.0]
    everything = session.get_stimulus_epochs({})
    assert everything["stop_time"].tolist() == [60.0, 80.0, 300.0]
    assert everything["stimulus_block"].isna().tolist() == [True, False, True]


def test_a_session_without_presentations(write_session: Write) -> None:
    session = EcephysSession(write_session())
    assert session.num_stimulus_presentations == 0
    assert session.stimulus_names == []
    assert session.get_stimulus_epochs().empty
    assert session.stimulus_conditions.empty
    assert session.inter_presentation_intervals.empty
    assert {"start_time", "stop_time", "stimulus_name", "stimulus_condition_id"} <= set(session.stimulus_presentations)


def test_a_session_without_invalid_times(session: EcephysSession) -> None:
    assert session.invalid_times.columns.tolist() == ["start_time", "stop_time", "tags"]
    assert session.invalid_times.empty


def test_presentations_come_in_order_of_time_from_tables_in_any_order(write_session: Write) -> None:
    table = pd.DataFrame(
        {
            "start_time": [5.0, 6.0, 1.0, 3.0],
            "stop_time": [5.5, 6.5, 1.5, 3.5],
            "stimulus_name": ["b", "b", "c", "c"],
            "frame": [0.0, 1.0, 2.0, 3.0],
        }
    )
    shown = session_of(write_session, table).stimulus_presentations
    assert shown["frame"].tolist() == [2, 3, 0, 1]
    assert shown["stimulus_name"].tolist() == ["c", "c", "b", "b"]


# --- masking -----------------------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 4)), max_size=10),
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 6), st.booleans()), max_size=5),
)
def test_mask_is_what_a_double_loop_finds(rows: list[tuple[int, int]], spans: list[tuple[int, int, bool]]) -> None:
    start = np.array([a for a, _ in rows], dtype=float)
    stop = start + np.array([d for _, d in rows], dtype=float)
    invalid = pd.DataFrame(
        {
            "start_time": [float(a) for a, _, _ in spans],
            "stop_time": [float(a + d) for a, d, _ in spans],
            "tags": [["EcephysSession", "1", "stimulus" if tagged else "probeA"] for _, _, tagged in spans],
        }
    )
    expected = [
        any(tagged and max(a, p) <= min(a + d, q) for a, d, tagged in spans) for p, q in zip(start, stop, strict=True)
    ]
    assert invalid_mask(start, stop, invalid).tolist() == expected


# --- names -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "released_as"),
    [
        ("", "spontaneous"),
        ("Natural Images", "natural_scenes"),
        ("contrast_response", "drifting_gratings_contrast"),
        ("flash_250ms", "flashes"),
        ("gabor_20_deg_250ms", "gabors"),
        ("motion_stimulus", "dot_motion"),
        ("drifting_gratings_more_repeats", "drifting_gratings_75_repeats"),
        ("natural_movie_4", "natural_movie_four"),
        ("natural_movie_5_more_repeats", "natural_movie_five_more_repeats"),
        ("natural_movie_one", "natural_movie_one"),
        ("natural_movie_one_more_repeats", "natural_movie_one_more_repeats"),
        ("static_gratings", "static_gratings"),
        ("signal_noise_test_0_200_repeats", "test_movie_one"),
        ("signal_noise_session_6", "dense_movie_six"),
    ],
)
def test_names_of_the_release(raw: str, released_as: str) -> None:
    assert released_name(raw, [raw]) == released_as


def test_the_shuffled_movie_takes_the_number_of_the_only_movie() -> None:
    names = ["natural_movie_four_more_repeats", "natural_movie_four", "natural_movie_shuffled"]
    assert released_name("natural_movie_shuffled", names) == "natural_movie_four_shuffled"
    assert released_name("natural_movie_shuffled", ["natural_movie_4"]) == "natural_movie_four_shuffled"
    with pytest.raises(UnknownNameError, match=r"2 movies \(four, one\)"):
        released_name("natural_movie_shuffled", ["natural_movie_4", "natural_movie_one"])
    with pytest.raises(UnknownNameError, match="none"):
        released_name("natural_movie_shuffled", ["gabors"])


def test_raw_names_in_a_file_become_those_of_the_release(write_session: Write) -> None:
    path = write_session(
        presentations=pd.DataFrame(
            {
                "start_time": [0.0, 1.0, 2.0],
                "stop_time": [1.0, 2.0, 3.0],
                "stimulus_name": ["natural_movie_1", "natural_movie_shuffled", "gabor_20_deg_250ms"],
                "Image": [0.0, 1.0, np.nan],
                "Ori": [np.nan, np.nan, 45.0],
                "Pos_x": [np.nan, np.nan, -10.0],
                "TF": [np.nan, np.nan, 4.0],
            }
        )
    )
    table = EcephysSession(path).stimulus_presentations
    assert table["stimulus_name"].tolist() == ["natural_movie_one", "natural_movie_one_shuffled", "gabors"]
    assert table["frame"].tolist()[:2] == [0, 1]
    assert table.loc[2, ["orientation", "x_position", "temporal_frequency"]].tolist() == [45.0, -10.0, 4.0]


def test_presentations_without_a_name_are_spontaneous(write_session: Write) -> None:
    path = write_session(
        presentations=pd.DataFrame({"start_time": [0.0], "stop_time": [1.0], "stimulus_name": ["gabors"]})
    )
    with h5py.File(path, "a") as file:
        file["intervals/gabors_presentations/stimulus_name"][0] = ""
    assert EcephysSession(path).stimulus_names == ["spontaneous"]


def test_columns_that_differ_in_capitals_are_joined_unless_they_conflict(write_session: Write) -> None:
    table = pd.DataFrame(
        {
            "stimulus_name": ["a", "a", "a"],
            "Contrast": [np.nan, np.nan, 3.0],
            "contrast": [1.0, 2.0, np.nan],
            "bar": [1.0, 2.0, np.nan],
            "Bar": [np.nan, 5.0, 6.0],
            "BAR": [np.nan, np.nan, 3.0],
        }
    )
    shown = session_of(write_session, table).stimulus_presentations
    assert shown["contrast"].tolist() == [1.0, 2.0, 3.0]
    assert shown["bar"].tolist() == [1.0, 2.0, 3.0]
    assert shown["Bar"].tolist()[1:] == [5.0, 6.0]
    assert "BAR" not in shown
    assert "Contrast" not in shown


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.08", 0.08),
        ("-1", -1.0),
        ("[20.0, 20.0]", 20.0),
        ("[1920.0, 1080.0]", (1920.0, 1080.0)),
        ("[1.0, 1.0, 1.0]", (1.0, 1.0, 1.0)),
        ("(1.0,)", (1.0,)),
        ("[]", ()),
        ("circle", "circle"),
        ("None", "None"),
        ("[1.0, deg]", "[1.0, deg]"),
        ("__import__('os')", "__import__('os')"),
        ("", None),
        ("N/A", None),
        ("null", None),
        ("nan", None),
    ],
)
def test_texts_say_what_they_say(text: str, value: Any) -> None:
    assert parsed(text) == value
