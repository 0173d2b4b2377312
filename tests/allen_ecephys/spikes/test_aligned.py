"""The aligned-spike calls of a session: right rows whatever the order, clear words for bad input."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from allen_ecephys.errors import (
    AllenEcephysError,
    ClosedSessionError,
    FileFormatError,
    InvalidTypeError,
    UnknownIdError,
    UnknownNameError,
)
from allen_ecephys.session.session import EcephysSession
from allen_ecephys.spikes.sparse_counts import SparseCounts

Write = Callable[..., Path]


@pytest.fixture
def session(write_session: Write, four_presentations: Mapping[str, Any]) -> EcephysSession:
    """Units 2, 1, 0; presentations of 0.5 s from 0 to 2 s; unit 2's spikes are not in order in the file."""
    return EcephysSession(write_session(**four_presentations))


@pytest.fixture
def edge_session(write_session: Write) -> EcephysSession:
    """One unit whose spikes fall on the onsets, the ends and the bin edges of two presentations."""
    table = pd.DataFrame({"start_time": [1.0, 2.0], "stop_time": [2.0, 3.0], "stimulus_name": ["a", "a"]})
    return EcephysSession(write_session(presentations=table, spike_times=[[1.0, 1.5, 2.0, 3.0]]))


# --- counts ------------------------------------------------------------------------------------------------------


def test_counts(session: EcephysSession) -> None:
    counts = session.presentationwise_spike_counts(
        np.linspace(-0.1, 0.1, 3), session.stimulus_presentations.index, session.units.index
    )
    assert counts.dims == ("stimulus_presentation_id", "time_relative_to_stimulus_onset", "unit_id")
    assert counts.shape == (4, 2, 3)
    assert counts.name == "spike_counts"
    assert counts.dtype == np.int32
    assert counts.sel(unit_id=2, stimulus_presentation_id=2).to_numpy().tolist() == [0, 3]
    assert counts.sel(unit_id=1, stimulus_presentation_id=3).to_numpy().tolist() == [0, 0]
    np.testing.assert_allclose(counts["time_relative_to_stimulus_onset"], [-0.05, 0.05])
    assert counts["time_relative_to_stimulus_onset"].attrs["units"] == "s"
    assert counts["unit_id"].to_numpy().tolist() == session.units.index.tolist()


def test_bins_are_half_open(edge_session: EcephysSession) -> None:
    counts = edge_session.presentationwise_spike_counts([0.0, 0.5, 1.0])
    assert counts.to_numpy()[:, :, 0].tolist() == [[1, 1], [1, 0]]
    closed = edge_session.presentationwise_spike_counts([0.0, 0.5, 1.0], compat="allensdk")
    assert closed.to_numpy()[:, :, 0].tolist() == [[2, 2], [1, 1]]


def test_any_order_and_repetition_of_presentations_and_units(session: EcephysSession) -> None:
    plain = session.presentationwise_spike_counts([0.0, 0.25, 0.5])
    ids, units = [3, 2, 2, 0], [2, 0, 2]
    with pytest.warns(UserWarning, match="1 of 4 time windows overlap"):
        shuffled = session.presentationwise_spike_counts([0.0, 0.25, 0.5], ids, units)
    assert shuffled["stimulus_presentation_id"].to_numpy().tolist() == ids
    assert shuffled["unit_id"].to_numpy().tolist() == units
    expected = np.stack([[plain.sel(stimulus_presentation_id=p, unit_id=u) for u in units] for p in ids])
    np.testing.assert_array_equal(shuffled.to_numpy(), expected.transpose(0, 2, 1))


def test_scalars_are_one_of_each(session: EcephysSession) -> None:
    counts = session.presentationwise_spike_counts([0, 1], 2, 2)
    assert counts.shape == (1, 1, 1)
    assert counts.item() == 3
    assert session.presentationwise_spike_counts([0, 1], np.int64(2), pd.Index([2])).item() == 3


def test_windows_are_start_plus_edges_exactly(write_session: Write) -> None:
    start, edge = 0.1, 0.2  # 0.1 + 0.2 is a bit above 0.3
    table = pd.DataFrame({"start_time": [start], "stop_time": [1.0], "stimulus_name": ["a"]})
    session = EcephysSession(write_session(presentations=table, spike_times=[[0.3, start + edge]]))
    assert session.presentationwise_spike_counts([0.0, edge, 0.5]).to_numpy().ravel().tolist() == [1, 1]


def test_integer_edges(session: EcephysSession) -> None:
    counts = session.presentationwise_spike_counts(np.array([0, 1, 2]), [2])
    assert counts.sel(unit_id=2).to_numpy().tolist() == [[3, 0]]
    assert counts["time_relative_to_stimulus_onset"].to_numpy().tolist() == [0.5, 1.5]


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ([0.0], "two or more numbers"),
        ([], "two or more numbers"),
        (0.5, "two or more numbers"),
        ([[0.0, 1.0]], "two or more numbers"),
        ([None, None], "two or more numbers"),
        ([0.0, 0.2, 0.1], "bin_edges must ascend; 1 of them do not: edge 2 is 0.1, after 0.2"),
        ([0.0, 0.0, 1.0], "must ascend"),
        ([0.0, np.nan, 1.0], r"finite; edges \[1\] are not"),
        ([0.0, np.inf], "finite"),
    ],
)
def test_edges_that_make_no_bins(session: EcephysSession, edges: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        session.presentationwise_spike_counts(edges)


def test_empty_selections_keep_axes_and_types(session: EcephysSession) -> None:
    no_units = session.presentationwise_spike_counts([0, 0.1, 0.2], [0, 1], [])
    assert no_units.shape == (2, 2, 0)
    no_presentations = session.presentationwise_spike_counts([0, 0.1, 0.2], [], [2])
    assert no_presentations.shape == (0, 2, 1)
    assert no_units.dtype == no_presentations.dtype == np.int32
    assert no_units["unit_id"].dtype == no_presentations["stimulus_presentation_id"].dtype == np.int64


def test_unknown_ids(session: EcephysSession) -> None:
    with pytest.raises(UnknownIdError, match="unit 77 is not in"):
        session.presentationwise_spike_counts([0, 1], [0], [2, 77])
    with pytest.raises(UnknownIdError, match="presentation ids are not in this session: 99"):
        session.presentationwise_spike_counts([0, 1], [99], [2])
    with pytest.raises(TypeError, match="unit ids must be whole numbers"):
        session.presentationwise_spike_times([0], ["2"])


def test_hidden_units_are_named_as_such(write_session: Write, four_presentations: Mapping[str, Any]) -> None:
    contents = {**four_presentations, "units": four_presentations["units"].assign(presence_ratio=[0.2, 0.99, 0.99])}
    session = EcephysSession(write_session(**contents))
    with pytest.raises(UnknownIdError, match=r"unit 2 is in the file but not shown: it fails presence_ratio_minimum"):
        session.conditionwise_spike_statistics(unit_ids=[2])


def test_binarize(session: EcephysSession) -> None:
    with pytest.warns(UserWarning, match=r"bins of up to 0\.5 s, above 0\.001 s"):
        counts = session.presentationwise_spike_counts([0, 0.5], [2], binarize=True)
    assert counts.dtype == np.uint8
    assert counts.sel(unit_id=2).item() == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        session.presentationwise_spike_counts([0, 0.5], [2], binarize=True, large_bin_size_threshold=1.0)


def test_types_hold_the_counts(write_session: Write) -> None:
    table = pd.DataFrame({"start_time": [0.0], "stop_time": [1.0], "stimulus_name": ["a"]})
    session = EcephysSession(write_session(presentations=table, spike_times=[np.linspace(0, 0.9, 70_000)]))
    assert session.presentationwise_spike_counts([0, 1]).item() == 70_000
    assert session.presentationwise_spike_counts([0, 1], dtype=float).dtype == np.float64
    with pytest.raises(ValueError, match="70,000 spikes, which dtype uint16 cannot hold exactly"):
        session.presentationwise_spike_counts([0, 1], dtype=np.uint16)


def test_overlapping_windows_are_warned_of_once_with_numbers(session: EcephysSession) -> None:
    with pytest.warns(UserWarning, match=r"3 of 4 time windows overlap the one before them, by up to 0\.2 s") as caught:
        counts = session.presentationwise_spike_counts([-0.1, 0.6])
    assert len(caught) == 1
    assert Path(caught[0].filename).name == Path(__file__).name
    assert counts.sel(unit_id=2).to_numpy().ravel().tolist() == [0, 3, 3, 0]


def test_contiguous_presentations_do_not_overlap(write_session: Write) -> None:
    start = np.cumsum(np.full(100, 0.1))  # each stop is a rounding error off the next start
    table = pd.DataFrame({"start_time": start, "stop_time": start + 0.1, "stimulus_name": ["a"] * 100})
    session = EcephysSession(write_session(presentations=table, spike_times=[[1.0]]))
    session.presentationwise_spike_counts([0.0, 0.1])
    session.presentationwise_spike_times()


def test_time_domain_callback(session: EcephysSession) -> None:
    def shifted(domain: np.ndarray) -> np.ndarray:
        assert domain.shape == (2, 3)
        return domain + 1.0

    counts = session.presentationwise_spike_counts([0, 0.1, 0.2], [0, 1], [2], time_domain_callback=shifted)
    assert counts.to_numpy()[:, :, 0].tolist() == [[3, 0], [0, 0]]
    np.testing.assert_allclose(counts["time_relative_to_stimulus_onset"], [0.05, 0.15])
    with pytest.raises(ValueError, match=r"keep the shape \(2, 3\); it returned \(2, 2\)"):
        session.presentationwise_spike_counts([0, 0.1, 0.2], [0, 1], time_domain_callback=lambda d: d[:, 1:])
    with pytest.raises(ValueError, match="descend or are not finite for 2 of 2"):
        session.presentationwise_spike_counts([0, 0.1, 0.2], [0, 1], time_domain_callback=lambda d: d[:, ::-1])


def test_sparse_counts_are_the_dense_ones(session: EcephysSession) -> None:
    edges = np.linspace(0, 0.5, 501)
    dense = session.presentationwise_spike_counts(edges)
    sparse = session.presentationwise_spike_counts(edges, sparse=True)
    assert isinstance(sparse, SparseCounts)
    assert sparse.shape == dense.shape
    assert sparse.nnz == int((dense > 0).sum())
    assert sparse.to_xarray().identical(dense)
    np.testing.assert_array_equal(sparse.unit(2).toarray(), dense.sel(unit_id=2))
    with pytest.raises(UnknownIdError, match="77"):
        sparse.unit(77)
    with pytest.raises(ValueError, match="neither binarize nor dtype"):
        session.presentationwise_spike_counts(edges, sparse=True, dtype=np.int8)  # type: ignore[call-overload]


def test_sparse_counts_of_own_trials_are_labelled_as_the_dense_ones(session: EcephysSession) -> None:
    trials = pd.DataFrame({"start_time": [0.1, 1.1]}, index=[7, 9])
    dense = session.presentationwise_spike_counts([0, 0.25, 0.5], trials)
    sparse = session.presentationwise_spike_counts([0, 0.25, 0.5], trials, sparse=True)
    assert dense.dims[0] == "trial_id"
    assert sparse.to_xarray().identical(dense)
    assert sparse.trial_id.tolist() == [7, 9]


def test_own_trials_without_a_column_that_is_needed(session: EcephysSession) -> None:
    trials = pd.DataFrame({"start_time": [0.1, 1.1]})
    with pytest.raises(FileFormatError, match=r"needs a stop_time column \(s\) here; it has start_time"):
        session.presentationwise_spike_times(trials)
    with pytest.raises(FileFormatError, match="needs a stop_time column"):
        session.conditionwise_spike_statistics(trials.assign(stimulus_condition_id=[4, 4]))
    whole = trials.assign(stop_time=[0.6, 1.6])
    with pytest.raises(InvalidTypeError, match=r"need trials with stimulus_condition_id.*goes to responses, psth"):
        session.conditionwise_spike_statistics(whole)
    statistics = session.conditionwise_spike_statistics(whole.assign(stimulus_condition_id=[4, 4]))
    assert statistics["stimulus_presentation_count"].tolist() == [2, 2, 2]


def test_unknown_compatibility(session: EcephysSession) -> None:
    for call in (
        lambda: session.presentationwise_spike_counts([0, 1], compat="allensdc"),  # type: ignore[call-overload]
        lambda: session.presentationwise_spike_times(compat="allensdc"),  # type: ignore[arg-type]
        lambda: session.conditionwise_spike_statistics(compat="allensdc"),  # type: ignore[arg-type]
    ):
        with pytest.raises(UnknownNameError, match="did you mean 'allensdk'"):
            call()


# --- spike times -------------------------------------------------------------------------------------------------

COLUMNS = {
    "stimulus_presentation_id": np.dtype(np.int64),
    "unit_id": np.dtype(np.int64),
    "time_since_stimulus_presentation_onset": np.dtype(np.float64),
}


def test_spike_times(session: EcephysSession) -> None:
    spikes = session.presentationwise_spike_times(session.stimulus_presentations.index, session.units.index)
    assert spikes.index.name == "spike_time"
    assert spikes.index.tolist() == [1.01, 1.02, 1.03]
    assert spikes["unit_id"].tolist() == [2, 2, 2]
    assert spikes["stimulus_presentation_id"].tolist() == [2, 2, 2]
    np.testing.assert_allclose(spikes["time_since_stimulus_presentation_onset"], [0.01, 0.02, 0.03])
    assert dict(spikes.dtypes) == COLUMNS
    pd.testing.assert_frame_equal(session.presentationwise_spike_times(), spikes)


@pytest.mark.parametrize("selection", [{"unit_ids": []}, {"stimulus_presentation_ids": []}, {"unit_ids": [0]}])
def test_no_spikes_give_no_rows_and_the_same_columns(session: EcephysSession, selection: dict[str, Any]) -> None:
    spikes = session.presentationwise_spike_times(**selection)
    assert spikes.empty
    assert dict(spikes.dtypes) == COLUMNS
    assert spikes.index.name == "spike_time"
    assert spikes.index.dtype == np.float64


def test_a_presentation_has_its_onset_and_not_its_end(edge_session: EcephysSession) -> None:
    spikes = edge_session.presentationwise_spike_times()
    assert list(zip(spikes.index, spikes["stimulus_presentation_id"], strict=True)) == [(1.0, 0), (1.5, 0), (2.0, 1)]
    theirs = edge_session.presentationwise_spike_times(compat="allensdk")
    assert list(zip(theirs.index, theirs["stimulus_presentation_id"], strict=True)) == [(1.5, 0), (2.0, 0), (3.0, 1)]


def test_shuffled_presentations_lose_no_spike(write_session: Write) -> None:
    rng = np.random.default_rng(11)
    start = np.arange(50.0)
    table = pd.DataFrame({"start_time": start, "stop_time": start + 0.8, "stimulus_name": ["a"] * 50})
    session = EcephysSession(
        write_session(presentations=table, spike_times=[np.sort(rng.uniform(0, 50, 600)) for _ in range(3)])
    )
    plain = session.presentationwise_spike_times()
    assert len(plain) > 1000
    assert plain.index.is_monotonic_increasing
    shuffled = session.presentationwise_spike_times(rng.permutation(50))
    pd.testing.assert_frame_equal(shuffled, plain)
    with pytest.warns(UserWarning, match="50 of 100 time windows overlap"):
        twice = session.presentationwise_spike_times(np.tile(np.arange(50), 2))
    assert len(twice) == 2 * len(plain)
    assert twice.index.is_monotonic_increasing


def test_windows_can_be_shifted(edge_session: EcephysSession) -> None:
    spikes = edge_session.presentationwise_spike_times([0], start_offset=0.5, stop_offset=0.25)
    assert spikes.index.tolist() == [1.5, 2.0]
    assert spikes["time_since_stimulus_presentation_onset"].tolist() == [0.5, 1.0]
    with pytest.raises(ValueError, match=r"start_offset 2 s and stop_offset 0 s make them stop before they start"):
        edge_session.presentationwise_spike_times(start_offset=2.0)


# --- statistics --------------------------------------------------------------------------------------------------


def test_statistics(session: EcephysSession) -> None:
    statistics = session.conditionwise_spike_statistics([0, 1, 2])
    assert statistics.index.names == ["unit_id", "stimulus_condition_id"]
    assert statistics.columns.tolist() == [
        "spike_count",
        "stimulus_presentation_count",
        "spike_mean",
        "spike_std",
        "spike_sem",
    ]
    row = statistics.loc[(2, 2)]
    assert row["spike_count"] == 3
    assert row["stimulus_presentation_count"] == 1
    rates = session.conditionwise_spike_statistics([0, 1, 2], [2], use_rates=True)
    assert rates["spike_mean"].tolist() == [0, 0, 6]
    assert "spike_count" not in rates


def test_statistics_without_a_spike(write_session: Write, four_presentations: Mapping[str, Any]) -> None:
    session = EcephysSession(write_session(**{**four_presentations, "spike_times": [[], [], []]}))
    statistics = session.conditionwise_spike_statistics()
    assert len(statistics) == 12
    assert (statistics["spike_count"] == 0).all()
    assert (statistics["spike_mean"] == 0).all()
    assert statistics["spike_std"].isna().all()
    assert statistics["spike_sem"].isna().all()


def test_statistics_of_nothing_keep_columns_and_types(session: EcephysSession) -> None:
    whole = session.conditionwise_spike_statistics()
    for empty in (
        session.conditionwise_spike_statistics([]),
        session.conditionwise_spike_statistics(unit_ids=[]),
    ):
        assert empty.empty
        pd.testing.assert_series_equal(empty.dtypes, whole.dtypes)
        assert empty.index.names == whole.index.names


def test_statistics_leave_invalid_presentations_out(
    write_session: Write, four_presentations: Mapping[str, Any]
) -> None:
    invalid = pd.DataFrame({"start_time": [1.1], "stop_time": [1.2], "tags": [["EcephysSession", "1", "stimulus"]]})
    session = EcephysSession(write_session(**four_presentations, invalid_times=invalid))
    statistics = session.conditionwise_spike_statistics()
    assert statistics.index.get_level_values("stimulus_condition_id").unique().tolist() == [0, 1, 3]
    assert len(session.presentationwise_spike_times()) == 3  # the spikes themselves are not masked


def test_statistics_of_onset_spikes(edge_session: EcephysSession) -> None:
    assert edge_session.conditionwise_spike_statistics()["spike_count"].tolist() == [3]
    assert edge_session.conditionwise_spike_statistics(compat="allensdk")["spike_count"].tolist() == [3]
    assert edge_session.conditionwise_spike_statistics([0])["spike_count"].tolist() == [2]


# --- all of them -------------------------------------------------------------------------------------------------


def test_a_closed_session(session: EcephysSession) -> None:
    _ = session.units, session.stimulus_presentations, session.spike_times
    session.close()
    for call in (
        lambda: session.presentationwise_spike_counts([0, 0.5]),
        session.presentationwise_spike_times,
        session.conditionwise_spike_statistics,
    ):
        with pytest.raises(ClosedSessionError):
            call()


def test_every_error_is_one_of_the_package_or_a_plain_value_error(session: EcephysSession) -> None:
    with pytest.raises(AllenEcephysError):
        session.presentationwise_spike_counts([0, 1], [99])
    with pytest.raises(KeyError):
        session.presentationwise_spike_counts([0, 1], [99])
