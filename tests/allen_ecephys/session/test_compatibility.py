"""One switch for a whole session: ``compat="allensdk"`` answers every call as AllenSDK would."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from allen_ecephys.errors import UnknownNameError
from allen_ecephys.session.session import EcephysSession
from allen_ecephys.units.filter import UnitFilter

Write = Callable[..., Path]


@pytest.fixture
def path(write_session: Write) -> Path:
    rows = [
        {"stimulus_name": "spontaneous", "start_time": 0.0, "stop_time": 20.0},
        {"stimulus_name": "gratings", "orientation": 30.0, "size": "[250.0, 250.0]", "stimulus_block": 0},
        {"stimulus_name": "gratings", "stimulus_block": 0},
        {"stimulus_name": "gratings", "orientation": 60.0, "size": "[250.0, 250.0]", "stimulus_block": 0},
    ]
    table = pd.DataFrame(rows)
    table["start_time"] = [0.0, 20.0, 21.0, 22.0]
    table["stop_time"] = [20.0, 21.0, 22.0, 23.0]
    return write_session(presentations=table, spike_times=[[20.0, 20.5, 21.0, 22.9]])


def opened(path: Path, how: str) -> EcephysSession:
    session = (
        EcephysSession.from_nwb_path(path, compat="allensdk")
        if how == "from_nwb_path"
        else EcephysSession(path, compat="allensdk")
    )
    if how == "pickled":
        session = pickle.loads(pickle.dumps(session))
    if how == "view":
        session = session.with_units(UnitFilter.none())
    return session


@pytest.mark.parametrize("how", ["constructor", "from_nwb_path", "pickled", "view"])
def test_every_table_has_allensdks_form(path: Path, how: str) -> None:
    session = opened(path, how)
    for table in (session.stimulus_presentations, session.get_stimulus_table("gratings"), session.stimulus_conditions):
        assert type(table) is pd.DataFrame
        assert "is_blank" not in table
        assert (table["orientation"] != "null").sum() == 2  # no warning: the text is there
        assert table["size"].tolist()[-1] == "[250.0, 250.0]"
    assert session.get_stimulus_epochs()["stimulus_block"].tolist() == ["null", 0.0]  # the default leaves none out
    assert EcephysSession(path).get_stimulus_epochs()["stimulus_name"].tolist() == ["gratings"]
    values = session.get_stimulus_parameter_values()
    assert values["orientation"].tolist() == [30.0, 60.0]
    assert values["size"].tolist() == ["[250.0, 250.0]"]
    kept = session.get_parameter_values_for_stimulus("gratings", drop_nulls=False)
    assert kept["orientation"].tolist() == [30.0, 60.0, "null"]


@pytest.mark.parametrize("how", ["constructor", "from_nwb_path", "pickled", "view"])
def test_spikes_are_assigned_as_allensdk_does(path: Path, how: str) -> None:
    session, plain = opened(path, how), EcephysSession(path)
    edges = np.array([0.0, 1.0, 2.0])
    assert session.presentationwise_spike_counts(edges, [1])[0, :, 0].to_numpy().tolist() == [3, 1]  # 21.0 in both bins
    assert plain.presentationwise_spike_counts(edges, [1])[0, :, 0].to_numpy().tolist() == [2, 1]
    assert session.presentationwise_spike_times([1]).index.tolist() == [20.5, 21.0]
    assert plain.presentationwise_spike_times([1]).index.tolist() == [20.0, 20.5]
    assert session.conditionwise_spike_statistics([1])["spike_count"].tolist() == [2]
    in_blank = session.conditionwise_spike_statistics([2])["spike_count"].tolist()
    assert (in_blank, plain.conditionwise_spike_statistics([2])["spike_count"].tolist()) == ([0], [1])


def test_another_word_is_refused(path: Path) -> None:
    with pytest.raises(UnknownNameError, match="compat must be None or 'allensdk'; got 'allenSDK'"):
        EcephysSession(path, compat="allenSDK")  # type: ignore[arg-type]
