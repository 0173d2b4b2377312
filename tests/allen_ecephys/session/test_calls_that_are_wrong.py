"""Arguments that are swapped, of the wrong kind, or outside the recording are told by name; own trials are taken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from allen_ecephys import EcephysSession, UnitFilter
from allen_ecephys.errors import FileFormatError, InvalidTypeError, InvalidValueError, UnknownIdError, UnknownNameError

EDGES = np.array([0.0, 0.1, 0.25])


@pytest.fixture
def session(write_session: Callable[..., Path]) -> EcephysSession:
    """Twenty presentations a second apart, half of them coloured; spikes from 5 to 55 s."""
    rng = np.random.default_rng(3)
    onsets = np.arange(10.0, 30.0)
    presentations = pd.DataFrame(
        {
            "start_time": onsets,
            "stop_time": onsets + 0.5,
            "stimulus_name": ["flashes"] * 20,
            "stimulus_block": [0.0] * 20,
            "stimulus_index": [0.0] * 20,
            "color": ["[1.0, 1.0, 1.0]", "[0.0, 1.0, 0.0]", "1.0", "-1.0"] * 5,
        }
    )
    spikes = [np.sort(np.concatenate(([5.0, 55.0], rng.uniform(5, 55, n)))) for n in (4000, 900, 10, 1)]
    return EcephysSession(write_session(spike_times=spikes, presentations=presentations))


def test_responses_to_moments_of_one_s_own(session: EcephysSession) -> None:
    onsets = np.array([20.0, 12.0, 41.5])
    trials = pd.DataFrame({"start_time": onsets, "stop_time": onsets + 0.5, "kind": ["a", "b", "a"]}, index=[7, 9, 8])
    found = session.responses(trials)
    assert found["rate"].dims == ("trial_id", "unit_id")
    assert found["trial_id"].to_numpy().tolist() == [7, 9, 8]
    for unit in session.units.index:
        times = session.spike_times[unit]
        expected = [int(((times >= t) & (times < t + 0.5)).sum()) for t in onsets]
        assert found["spike_count"].sel(unit_id=unit).to_numpy().tolist() == expected
    assert found["rate"].groupby("kind").mean().sizes["kind"] == 2
    windowed = session.responses(trials[["start_time", "kind"]], (0.0, 0.5))
    np.testing.assert_array_equal(windowed["spike_count"], found["spike_count"])
    rows = session.get_stimulus_table("flashes").iloc[:3]
    of_name = session.responses("flashes").isel(stimulus_presentation_id=slice(3))
    np.testing.assert_array_equal(session.responses(rows)["rate"], of_name["rate"])
    with pytest.raises(FileFormatError, match="needs a stop_time column"):
        session.responses(trials[["start_time"]])
    with pytest.raises(InvalidValueError, match="become coordinates beside rate: rename"):
        session.responses(trials.assign(rate=1.0))


def test_responses_with_colours_can_be_stored(session: EcephysSession, tmp_path: Path) -> None:
    found = session.responses("flashes")
    found.to_netcdf(tmp_path / "responses.nc")
    with xr.open_dataset(tmp_path / "responses.nc") as stored:
        assert stored["color_triplet"].to_numpy()[:2].tolist() == ["[1.0, 1.0, 1.0]", "[0.0, 1.0, 0.0]"]
        np.testing.assert_array_equal(stored["rate"], found["rate"])
    by_colour = session.psth(EDGES, "flashes", by="color_triplet")
    assert by_colour["color_triplet"].to_numpy().tolist() == ["[1.0, 1.0, 1.0]", "[0.0, 1.0, 0.0]"]


def test_windows_outside_the_recording_are_told(session: EcephysSession) -> None:
    beyond = pd.DataFrame({"start_time": [20.0, 1e6, -50.0], "stop_time": [20.5, 1e6 + 1, -49.0]})
    told = r"2 of 3 time windows lie outside the recording \(5 to 55 s"
    for call in (
        lambda: session.psth(EDGES, beyond),
        lambda: session.presentationwise_spike_counts(EDGES, beyond),
        lambda: session.presentationwise_spike_times(beyond),
        lambda: session.responses(beyond),
        lambda: session.responses(beyond, (0.0, 1.0)),
    ):
        with pytest.warns(UserWarning, match=told) as warned:
            call()
        assert len(warned) == 1
        assert warned[0].filename == __file__
    session.psth(EDGES, pd.DataFrame({"start_time": [6.0, 54.0]}))  # outside the presentations, but recorded
    session.presentationwise_spike_counts(EDGES)


@pytest.mark.parametrize("factor", [1000.0, 1e4])
def test_edges_in_milliseconds_are_told(session: EcephysSession, factor: float) -> None:
    with pytest.warns(UserWarning, match="bin_edges are seconds from stimulus onset; these span") as warned:
        session.psth(EDGES * factor, "flashes")
    assert len(warned) == 1


def test_swapped_arguments_are_told(session: EcephysSession) -> None:
    table = pd.DataFrame({"start_time": [20.0]})
    calls: tuple[Callable[..., Any], ...] = (
        session.psth,
        session.presentationwise_spike_counts,
        session.presentationwise_running_speed,
        session.presentationwise_pupil,
        lambda edges, trials: session.presentationwise_lfp("probeA", edges, trials),
    )
    for call in calls:
        for stimulus in ("flashes", ["flashes"], table):
            with pytest.raises(InvalidTypeError, match=r"arguments swapped\? A session takes \(bin_edges, stimulus\)"):
                call(stimulus, EDGES)


def test_wrong_kinds_are_told(session: EcephysSession) -> None:
    with pytest.raises(InvalidTypeError, match="by is the name of one column"):
        session.psth(EDGES, "flashes", by=["color", "stimulus_block"])  # type: ignore[arg-type]
    with pytest.raises(InvalidTypeError, match=r"smoothing is the standard deviation.*'10ms'"):
        session.psth(EDGES, "flashes", smoothing="10ms")  # type: ignore[arg-type]
    for window in ((0.1,), 0.1, "12", (0.2, 0.1), (0.0, np.nan)):
        with pytest.raises(InvalidValueError, match="window must be two times"):
            session.responses("flashes", window)  # type: ignore[arg-type]
    for names in (5, session.stimulus_presentations):
        with pytest.raises(InvalidTypeError, match="stimuli are named by text"):
            session.get_stimulus_table(names)  # type: ignore[arg-type]
    unit = session.units.index[0]
    with pytest.raises(UnknownIdError, match=f"unit ids are numbers, {unit}"):
        session.spike_times[str(unit)]
    for chosen in (
        lambda: session.with_units(structures="V1"),
        lambda: session.with_units(UnitFilter(structures="V1")),
    ):
        with pytest.raises(UnknownNameError, match="no unit lies in 'V1'"):
            chosen()
