"""Tables of stimuli behave under code that was written for AllenSDK's: its text 'null', its masks, its dtypes."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from allen_ecephys.session.session import EcephysSession
from allen_ecephys.stimulus.frames import StimulusFrame

Write = Callable[..., Path]


@pytest.fixture
def session(write_session: Write) -> EcephysSession:
    rows = [
        {"stimulus_name": "spontaneous"},
        {"stimulus_name": "gabors", "x_position": 10.0, "orientation": 45.0, "size": "[20.0, 20.0]", "block": 0},
        {"stimulus_name": "static_gratings", "orientation": 30.0, "size": "[250.0, 250.0]", "block": 1},
        {"stimulus_name": "static_gratings", "block": 1},  # a blank sweep
        {"stimulus_name": "static_gratings", "orientation": 60.0, "size": "[250.0, 250.0]", "block": 1},
        {"stimulus_name": "natural_movie_one", "frame": 0.0, "size": "[1920.0, 1080.0]", "block": 2},
        {"stimulus_name": "natural_movie_one", "frame": 1.0, "size": "[1920.0, 1080.0]", "block": 2},
    ]
    table = pd.DataFrame(rows).rename(columns={"block": "stimulus_block"})
    table["start_time"] = np.arange(len(table)) * 1.0
    table["stop_time"] = table["start_time"] + 1
    return EcephysSession(write_session(presentations=table))


def test_blank_sweeps_are_left_out_by_a_comparison_with_null(session: EcephysSession) -> None:
    """AllenSDK's own notebooks write this; with NaN it was true of every row, and kept the blanks."""
    table = session.get_stimulus_table("static_gratings")
    with pytest.warns(UserWarning, match=r"table\['orientation'\]\.notna\(\).*compat='allensdk'") as warned:
        shown = table[table["orientation"] != "null"]
    assert warned[0].filename == __file__
    assert shown["orientation"].tolist() == [30.0, 60.0]
    with pytest.warns(UserWarning, match=r"table\['orientation'\]\.isna\(\)"):
        assert table[table.orientation == "null"].index.tolist() == [3]
    with pytest.warns(UserWarning, match="isna"):
        assert table["orientation"].eq("null").tolist() == [False, True, False]
    with pytest.warns(UserWarning, match="notna"):
        assert table["orientation"].ne("null").tolist() == [True, False, True]
    with pytest.warns(UserWarning, match="isna"):
        assert table["orientation"].isin(["null", 30.0]).tolist() == [True, True, False]
    with pytest.warns(UserWarning, match="isna"):
        assert (table == "null")["orientation"].tolist() == [False, True, False]
    with pytest.warns(UserWarning, match="isna"):
        assert (session.stimulus_conditions["orientation"] == "null").sum() == 4
    with pytest.raises(ValueError, match=r"orientation\.notna\(\)"):
        table.query("orientation != 'null'")


def test_numbers_compared_with_allensdks_text_of_them(session: EcephysSession) -> None:
    """AllenSDK's tables hold '[250.0, 250.0]' and '30.0'; here nothing equalled these texts, silently."""
    table = session.get_stimulus_table("static_gratings")
    with pytest.warns(UserWarning, match=r"table\['size'\].*'\[250.0, 250.0\]' \(==\).*250.0 was taken") as warned:
        assert (table["size"] == "[250.0, 250.0]").tolist() == [True, False, True]
    assert warned[0].filename == __file__
    with pytest.warns(UserWarning, match="30.0 was taken"):
        assert (table["orientation"] != "30.0").tolist() == [False, True, True]
    with pytest.warns(UserWarning, match="30.0 was taken") as warned:
        assert table["orientation"].isin(["30.0", 60.0]).tolist() == [True, False, True]
    assert warned[0].filename == __file__
    with pytest.warns(UserWarning, match="60.0 was taken"):
        assert table["orientation"].eq("60.0").tolist() == [False, False, True]
    for expression in ("size == '[250.0, 250.0]'", 'orientation == "30.0"', "orientation in ['30']"):
        with pytest.raises(ValueError, match="parameters are numbers here: write"):
            table.query(expression)
    assert not (table["orientation"] == "steep").any()
    assert len(table.query("stimulus_name == 'static_gratings' and orientation == 30.0")) == 1
    assert (
        session.with_compat("allensdk").get_stimulus_table("static_gratings")["size"] == "[250.0, 250.0]"
    ).sum() == 2


def test_everything_else_is_a_data_frame(session: EcephysSession) -> None:
    table = session.stimulus_presentations
    assert isinstance(table, pd.DataFrame)
    assert (table["stimulus_name"] == "gabors").sum() == 1  # no warning: warnings are errors here
    wanted = 45  # noqa: F841 - pandas looks for it here
    assert table.query("orientation == @wanted and stimulus_name == 'gabors'").index.tolist() == [1]
    for one in (
        table[table["orientation"] > 30],
        table.copy(),
        copy.deepcopy(table),
        pickle.loads(pickle.dumps(table)),
    ):
        assert isinstance(one, StimulusFrame)
        with pytest.warns(UserWarning, match="null"):
            _ = one["orientation"] == "null"
    assert table.groupby("stimulus_name")["duration"].sum()["static_gratings"] == 3
    shown = table[["stimulus_condition_id"]]
    joined = shown.merge(session.stimulus_conditions, left_on="stimulus_condition_id", right_index=True)
    assert joined["orientation"].tolist()[1:3] == [45.0, 30.0]
    assert pd.concat([table, table]).shape == (14, table.shape[1])


def test_masks_and_dtypes_are_what_numpy_takes(session: EcephysSession) -> None:
    """Nullable integers made masks with a third value, which np.where, indexing and astype refuse."""
    table = session.stimulus_presentations
    for name in ("stimulus_block", "frame"):
        assert table[name].dtype == np.float64
        mask = table[name] == 1
        assert mask.dtype == bool
        assert np.where(mask)[0].tolist() == np.flatnonzero(mask.to_numpy()).tolist()
        assert np.arange(len(table))[mask].tolist() == np.flatnonzero(mask.to_numpy()).tolist()
        assert [i for i, chosen in enumerate(mask) if chosen] == np.flatnonzero(mask.to_numpy()).tolist()
        assert table.loc[mask, name].astype(int).tolist() == [1] * mask.sum()
    assert session.get_stimulus_epochs({})["stimulus_block"].tolist()[1:] == [0, 1, 2]


def test_the_same_along_both_axes_is_a_number(session: EcephysSession, tmp_path: Path) -> None:
    assert session.get_stimulus_table("gabors")["size"].tolist() == [20.0]
    assert session.get_stimulus_table(["gabors", "static_gratings"])["size"].dtype == np.float64
    table = session.stimulus_presentations
    # A movie is wider than it is high: beside it, every size is a pair.
    assert table["size"].tolist()[1:3] == [(20.0, 20.0), (250.0, 250.0)]
    assert table["size"].tolist()[-1] == (1920.0, 1080.0)
    assert session.get_parameter_values_for_stimulus("gabors")["size"].tolist() == [20.0]
    assert session.get_parameter_values_for_stimulus("natural_movie_one")["size"].tolist() == [(1920.0, 1080.0)]
    pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    table.to_parquet(tmp_path / "table.parquet")
    back = pd.read_parquet(tmp_path / "table.parquet")
    assert back["frame"].tolist()[-2:] == [0.0, 1.0]
    assert [tuple(v) if v is not None else None for v in back["size"]][1:4] == [(20.0, 20.0), (250.0, 250.0), None]
    session.stimulus_conditions.to_parquet(tmp_path / "conditions.parquet")
