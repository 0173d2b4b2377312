"""Bins of running, pupil and LFP equal the exact integral of the lines between samples, and NaN where they must be."""

from __future__ import annotations

import itertools
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from allen_ecephys.errors import FileFormatError, UnknownIdError, UnknownNameError
from allen_ecephys.nwb.chunks import SampleTable
from allen_ecephys.nwb.reader import NwbReader
from allen_ecephys.nwb.timestamps import Timestamps
from allen_ecephys.signals import aligned as aligned_signals
from allen_ecephys.signals.aligned import align_lfp, align_pupil, align_running_speed, mean_in_bins
from allen_ecephys.signals.lfp import LfpSamples
from allen_ecephys.stimulus.trials import ALIGNED_TIME, selected_trials

PRESENTATIONS = pd.DataFrame(
    {"start_time": [10.0, 20.0, 30.0], "stop_time": [11.0, 21.0, 31.0]},
    index=pd.Index([0, 1, 2], name="stimulus_presentation_id"),
)


def plain_mean_in_bins(times: np.ndarray, values: np.ndarray, edges: np.ndarray, max_gap: float) -> np.ndarray:
    """The rule in plain NumPy: trapezoids between all samples and edges, bin by bin."""
    out = np.full((edges.shape[0], edges.shape[1] - 1, values.shape[0]), np.nan)
    for trial, row in enumerate(edges):
        for bin_, (begin, end) in enumerate(itertools.pairwise(row)):
            if len(times) < 2 or begin < times[0] or end > times[-1]:
                continue
            bridged = (times[1:] > begin) & (times[:-1] < end) & (np.diff(times) > 0)
            if np.any(np.diff(times)[bridged] > max_gap):
                continue
            knots = np.concatenate(([begin], times[(times > begin) & (times < end)], [end]))
            for feature, signal in enumerate(values):
                heights = np.interp(knots, times, signal)
                out[trial, bin_, feature] = np.sum(np.diff(knots) * (heights[1:] + heights[:-1]) / 2) / (end - begin)
    return out


@settings(max_examples=150, deadline=None)
@given(
    steps=st.lists(st.sampled_from([0.1, 0.25, 1.0, 3.0]), min_size=1, max_size=30),
    starts=st.lists(st.floats(-2, 30), max_size=5),
    widths=st.lists(st.sampled_from([0.01, 0.5, 1.0, 4.0]), min_size=1, max_size=6),
    seed=st.integers(0, 1000),
)
def test_bins_equal_trapezoids(steps: list[float], starts: list[float], widths: list[float], seed: int) -> None:
    times = np.cumsum(steps)
    values = np.random.default_rng(seed).normal(size=(2, len(times)))
    edges = np.array(starts)[:, np.newaxis] + np.cumsum([-1.0, *widths])
    found = mean_in_bins(times, values, edges, 2.0)
    np.testing.assert_allclose(found, plain_mean_in_bins(times, values, edges, 2.0), rtol=1e-9, atol=1e-9)


def test_known_averages() -> None:
    times = np.arange(5.0)
    line = times[np.newaxis] * 3
    np.testing.assert_allclose(mean_in_bins(times, line, np.array([[0.5, 1.5, 3.5]]), 1.0)[0, :, 0], [3.0, 7.5])
    beyond = mean_in_bins(times, line, np.array([[-0.5, 0.5, 4.0, 4.5]]), 1.0)[0, :, 0]
    np.testing.assert_array_equal(np.isnan(beyond), [True, False, True])
    hole = line.copy()
    hole[0, 2] = np.nan
    found = mean_in_bins(times, hole, np.array([[0.0, 1.0, 1.5, 2.5, 3.0, 4.0]]), 1.0)[0, :, 0]
    np.testing.assert_array_equal(np.isnan(found), [False, True, True, True, False])
    assert np.isnan(mean_in_bins(times, line, np.array([[0.0, 1.0]]), 0.5)).all()
    with pytest.raises(ValueError, match="max_gap must be a positive"):
        mean_in_bins(times, line, np.array([[0.0, 1.0]]), 0.0)


def test_running_speed_sits_in_the_middle_of_its_interval() -> None:
    speed = pd.DataFrame({"start_time": np.arange(40.0), "end_time": np.arange(40.0) + 1})
    speed["velocity"] = 2 * (speed["start_time"] + 0.5)
    trials = selected_trials([2, 0], PRESENTATIONS)
    aligned = align_running_speed(speed, trials, [-1.0, 0.0, 0.5], 1.5)
    assert aligned.dims == ("stimulus_presentation_id", ALIGNED_TIME)
    assert aligned.stimulus_presentation_id.to_numpy().tolist() == [2, 0]
    np.testing.assert_allclose(aligned[ALIGNED_TIME], [-0.5, 0.25])
    np.testing.assert_allclose(aligned, [[59.0, 60.5], [19.0, 20.5]])
    assert aligned.attrs["units"] == "cm/s"
    assert align_running_speed(speed, selected_trials([], PRESENTATIONS), [0.0, 1.0], 1.5).shape == (0, 1)


def test_pupil_columns() -> None:
    times = pd.Index(np.arange(0, 40, 0.5), name="Time (s)")
    pupil = pd.DataFrame({"pupil_width": times * 2, "pupil_phi": times * 0, "eye_width": times * 4}, index=times)
    trials = selected_trials(None, PRESENTATIONS)
    aligned = align_pupil(pupil, trials, [0.0, 1.0], None, 0.6)
    assert set(aligned.data_vars) == {"pupil_width", "pupil_phi"}
    np.testing.assert_allclose(aligned["pupil_width"][:, 0], [21, 41, 61])
    assert aligned["pupil_width"].attrs["units"] == "pixels"
    np.testing.assert_allclose(align_pupil(pupil, trials, [0.0, 1.0], ["eye_width"], 0.6)["eye_width"][1, 0], 82)
    with pytest.raises(UnknownNameError, match="did you mean 'pupil_width'"):
        align_pupil(pupil, trials, [0.0, 1.0], ["pupil_with"], 0.6)


def test_trials_of_any_kind() -> None:
    pulses = pd.DataFrame({"start_time": [5.0], "level": [1.0]}, index=pd.Index([7], name="id"))
    trials = selected_trials(pulses, PRESENTATIONS)
    assert (trials.index.name, trials.index.tolist(), trials["start_time"].tolist()) == ("trial_id", [7], [5.0])
    assert pulses.index.name == "id"
    rows = selected_trials(PRESENTATIONS.iloc[[1]], PRESENTATIONS)
    assert (rows.index.name, rows["stop_time"].tolist()) == ("stimulus_presentation_id", [21.0])
    assert selected_trials(2, PRESENTATIONS)["start_time"].tolist() == [30.0]
    assert selected_trials([2, 0, 2], PRESENTATIONS).index.tolist() == [2, 0, 2]
    assert selected_trials(None, PRESENTATIONS) is PRESENTATIONS
    with pytest.raises(UnknownIdError, match="1 of 2 presentation ids are not in this session: 9"):
        selected_trials([0, 9], PRESENTATIONS)
    with pytest.raises(FileFormatError, match="needs a start_time column"):
        selected_trials(pulses[["level"]], PRESENTATIONS)
    with pytest.raises(ValueError, match="trial 7 has no start_time"):
        selected_trials(pulses.assign(start_time=np.nan), PRESENTATIONS)


@pytest.fixture
def probe(tmp_path: Path) -> tuple[LfpSamples, np.ndarray, np.ndarray]:
    times = 5 + np.arange(30_000) / 1000
    times[20_000:] += 2
    data = np.random.default_rng(3).normal(0, 1e-4, (30_000, 4)).astype(np.float32)
    path = tmp_path / "lfp.nwb"
    with h5py.File(path, "w") as file:
        file.attrs["nwb_version"] = "2.2.2"
        file["identifier"] = "1"
        file.create_dataset("data", data=data, chunks=(1000, 1), compression="gzip")
        file.create_dataset("timestamps", data=times, chunks=(500,), compression="gzip")
    reader = NwbReader(path)
    table, stamps = SampleTable(reader, "data"), Timestamps(reader, "timestamps")
    return LfpSamples(table, stamps, None, 0.0, [(10.2, 10.3)]), data, times


@pytest.mark.parametrize("memory", [64_000_000, 1_000])
def test_lfp_of_trials_does_not_depend_on_how_it_is_read(
    probe: tuple[LfpSamples, np.ndarray, np.ndarray], memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aligned_signals, "LFP_BYTES", memory)
    samples, data, times = probe
    starts = [30.0, 10.0, 10.2, 24.9, 100.0, 5.0]
    trials = selected_trials(pd.DataFrame({"start_time": starts}), PRESENTATIONS)
    edges = np.array([-0.01, 0.0, 0.0105, 0.25])
    aligned = align_lfp(
        samples, np.array([8, 9]), np.array([3, 1]), selected_trials(trials, PRESENTATIONS), edges, 0.01
    )
    assert aligned.dims == ("trial_id", ALIGNED_TIME, "channel")
    assert aligned.dtype == np.float32
    assert aligned.channel.to_numpy().tolist() == [8, 9]
    masked = data.astype(np.float64)
    masked[(times >= 10.2) & (times <= 10.3)] = np.nan
    expected = plain_mean_in_bins(times, masked[:, [3, 1]].T, np.add.outer(starts, edges), 0.01)
    expected[1:3] = aligned[1:3]  # the twin spreads NaN from interp; these two are checked below
    np.testing.assert_allclose(aligned, expected, rtol=1e-5, atol=1e-10)
    assert np.isnan(aligned[1, :, 0]).to_numpy().tolist() == [False, False, True]
    assert np.isnan(aligned[2, :, 0]).to_numpy().tolist() == [True, True, True]
    assert np.isnan(aligned[4]).all()


def test_lfp_without_trials(probe: tuple[LfpSamples, np.ndarray, np.ndarray]) -> None:
    none = align_lfp(probe[0], np.array([8]), np.array([0]), selected_trials([], PRESENTATIONS), [0.0, 1.0], 0.01)
    assert none.shape == (0, 1, 1)
    assert isinstance(none, xr.DataArray)
