"""What client code imports from AllenSDK's module of the session, by the cases of AllenSDK's own tests."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from allen_ecephys import ecephys_project_cache, ecephys_session
from allen_ecephys.cache import EcephysProjectCache
from allen_ecephys.ecephys_session import (
    build_spike_histogram,
    build_time_window_domain,
    nan_intervals,
    removed_unused_stimulus_presentation_columns,
)
from allen_ecephys.errors import InvalidValueError
from allen_ecephys.session.session import EcephysSession


def test_modules_of_the_names_in_allensdk() -> None:
    assert ecephys_session.EcephysSession is EcephysSession
    assert ecephys_project_cache.EcephysProjectCache is EcephysProjectCache
    assert {"start_time", "duration", "stimulus_condition_id", "stimulus_name"} <= set(
        ecephys_session.NON_STIMULUS_PARAMETERS
    )


def test_histograms() -> None:
    domain = np.array([[1, 2, 3, 4], [1.1, 2.1, 3.1, 4.1]])
    spikes = {3: np.array([1.5, 2.5]), 1: np.array([1.5, 1.55])}
    counts = build_spike_histogram(domain, spikes, [3, 1])
    assert counts.shape == (2, 3, 2)
    assert counts.dtype == np.uint16
    assert counts[:, :, 0].tolist() == [[1, 1, 0], [1, 1, 0]]
    assert counts[:, :, 1].tolist() == [[2, 0, 0], [2, 0, 0]]
    assert build_spike_histogram(domain, spikes, [1], binarize=True).max() == 1
    uneven = build_spike_histogram(np.array([[1, 2, 3, 4], [1.6, 2.0, 4.0, 4.1]]), spikes, [3])
    assert uneven[:, :, 0].tolist() == [[1, 1, 0], [0, 1, 0]]
    with pytest.raises(InvalidValueError, match="uint8"):
        build_spike_histogram([[0.0, 9.0]], {1: np.linspace(1, 2, 300)}, [1], dtype="uint8")
    assert build_time_window_domain([0.0, 1.0], [5.0, 7.0], lambda d: d + 1).tolist() == [[6, 7], [8, 9]]


def test_runs_of_equal_values() -> None:
    assert nan_intervals([np.nan, np.nan, 4, 4, 4, 5, 5]).tolist() == [0, 2, 5, 7]
    assert nan_intervals(["null", np.nan, "VISp"]).tolist() == [0, 2, 3]


def test_columns_that_no_row_uses() -> None:
    table = pd.DataFrame({"a": [1.0, np.nan], "b": [np.nan, np.nan], "c": ["null", "null"], "d": ["", "x"]})
    assert list(removed_unused_stimulus_presentation_columns(table)) == ["a", "d"]
