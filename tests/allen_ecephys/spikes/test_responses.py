"""Histograms, responses and sample indices against plain NumPy and known numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from allen_ecephys import EcephysSession, UnitFilter
from allen_ecephys.errors import FileFormatError, InvalidValueError, MissingDataError, UnknownIdError, UnknownNameError
from allen_ecephys.spikes import responses as responses_module

ONSETS = np.arange(10.0, 50.0, 1.0)


@pytest.fixture
def session(write_session: Callable[..., Path]) -> EcephysSession:
    """Forty presentations a second apart: contrast 0.5 and 1 in turn, then no contrast (blank); four units."""
    rng = np.random.default_rng(5)
    presentations = pd.DataFrame(
        {
            "start_time": ONSETS,
            "stop_time": ONSETS + 0.5,
            "stimulus_name": ["gratings"] * 30 + ["flashes"] * 10,
            "stimulus_block": [0.0] * 30 + [1.0] * 10,
            "stimulus_index": [0.0] * 30 + [1.0] * 10,
            "orientation": [0.0, 90.0, np.nan] * 10 + [np.nan] * 10,
            "contrast": [0.5, 1.0] * 15 + [np.nan] * 10,
        }
    )
    spikes = [np.sort(rng.uniform(5, 55, n)) for n in (4000, 900, 1, 0)]
    return EcephysSession(write_session(spike_times=spikes, presentations=presentations))


def binned(session: EcephysSession, unit: int, starts: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Counts per trial and half-open bin by comparison, spike by spike."""
    times = session.spike_times[unit]
    inside = (times >= (starts[:, None] + edges[:-1])[..., None]) & (times < (starts[:, None] + edges[1:])[..., None])
    return inside.sum(-1)


def test_histogram_equals_counts_over_widths(session: EcephysSession) -> None:
    edges = np.array([-0.2, -0.05, 0.0, 0.3, 0.31])
    ids = [7, 3, 25]
    found = session.psth(edges, ids)
    assert found["rate"].dims == ("unit_id", "time_relative_to_stimulus_onset")
    assert found["unit_id"].to_numpy().tolist() == session.units.index.tolist()
    np.testing.assert_allclose(found["time_relative_to_stimulus_onset"], [-0.125, -0.025, 0.15, 0.305])
    assert found["presentation_count"] == 3
    for unit in session.units.index:
        rates = binned(session, unit, ONSETS[ids], edges) / np.diff(edges)
        np.testing.assert_allclose(found["rate"].sel(unit_id=unit), rates.mean(0))
        np.testing.assert_allclose(found["sem"].sel(unit_id=unit), rates.std(0, ddof=1) / np.sqrt(3))


def test_histogram_of_one_trial_has_no_error_and_of_none_no_rate(session: EcephysSession) -> None:
    one = session.psth([0.0, 0.1], [4])
    assert np.isfinite(one["rate"]).all()
    assert np.isnan(one["sem"]).all()
    none = session.psth([0.0, 0.1], [])
    assert none["presentation_count"] == 0
    assert np.isnan(none["rate"]).all()


def test_histogram_does_not_depend_on_how_units_are_grouped(
    session: EcephysSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    edges = np.arange(-0.1, 0.3, 0.02)
    whole = session.psth(edges, smoothing=0.03)
    monkeypatch.setattr(responses_module, "COUNT_BYTES", 1)
    one_by_one = session.psth(edges, smoothing=0.03)
    assert whole.equals(one_by_one)


def test_histogram_by_a_parameter(session: EcephysSession) -> None:
    found = session.psth([0.0, 0.25, 0.5], session.get_stimulus_table("gratings").index, by="orientation")
    assert found["rate"].dims[0] == "orientation"
    assert found["orientation"].to_numpy().tolist() == [0.0, 90.0]
    assert found["presentation_count"].to_numpy().tolist() == [10, 10]
    at_90 = session.psth([0.0, 0.25, 0.5], np.arange(1, 30, 3))
    np.testing.assert_array_equal(found["rate"].sel(orientation=90.0), at_90["rate"])
    with pytest.raises(UnknownNameError, match="no column 'orientatoin'; did you mean 'orientation'"):
        session.psth([0.0, 0.25], by="orientatoin")


def test_smoothing_is_a_convolution_that_sees_beyond_the_window(session: EcephysSession) -> None:
    sigma, width = 0.02, 0.01
    edges = np.linspace(-0.1, 0.3, 41)
    unit = session.units.index[0]
    found = session.psth(edges, [3, 8], [unit], smoothing=sigma)["rate"][0].to_numpy()
    wide = np.linspace(-0.3, 0.5, 81)
    rates = binned(session, unit, ONSETS[[3, 8]], wide).mean(0) / width
    kernel = np.exp(-0.5 * (np.arange(-8, 9) * width / sigma) ** 2)
    expected = np.convolve(rates, kernel / kernel.sum(), mode="same")[20:-20]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    with pytest.raises(ValueError, match="bins of equal width"):
        session.psth([0.0, 0.1, 0.3], smoothing=0.01)
    with pytest.raises(ValueError, match="standard deviation"):
        session.psth([0.0, 0.1], smoothing=0.0)


def test_smoothing_keeps_the_number_of_spikes() -> None:
    edges, kernel = responses_module._smoothing(np.linspace(0, 1, 101), 0.05)
    assert len(edges) == 101 + 2 * 20
    np.testing.assert_allclose(np.diff(edges), 0.01)
    np.testing.assert_allclose(kernel.sum(), 1)


def test_moments_of_a_table_are_trials(session: EcephysSession) -> None:
    moments = pd.DataFrame(
        {"start_time": ONSETS[[2, 9]] + 0.125, "stop_time": ONSETS[[2, 9]] + 0.25, "level": [1.0, 2]}
    )
    edges = np.array([0.0, 0.05, 0.1])
    unit = session.units.index[0]
    expected = binned(session, unit, moments["start_time"].to_numpy(), edges)
    rate = session.psth(edges, moments, [unit], by="level")["rate"]
    np.testing.assert_allclose(rate[:, 0], expected / 0.05)
    counts = session.presentationwise_spike_counts(edges, moments, [unit])
    assert counts.dims[0] == "trial_id"
    np.testing.assert_array_equal(counts[..., 0], expected)
    spikes = session.presentationwise_spike_times(moments, [unit])
    times = session.spike_times[unit]
    inside = [
        ((times >= a) & (times < b)).sum() for a, b in zip(moments["start_time"], moments["stop_time"], strict=True)
    ]
    assert spikes["trial_id"].value_counts().reindex([0, 1], fill_value=0).tolist() == inside


def test_shifted_window_of_spike_times(session: EcephysSession) -> None:
    unit = session.units.index[0]
    times = session.spike_times[unit]
    shifted = session.presentationwise_spike_times([5], [unit], start_offset=-0.25, stop_offset=0.1)
    expected = times[(times >= ONSETS[5] - 0.25) & (times < ONSETS[5] + 0.5 + 0.1)]
    np.testing.assert_array_equal(shifted.index, expected)
    np.testing.assert_allclose(shifted["time_since_stimulus_presentation_onset"], expected - ONSETS[5])


def test_responses_carry_their_parameters(session: EcephysSession) -> None:
    found = session.responses("gratings")
    assert found["spike_count"].dims == ("stimulus_presentation_id", "unit_id")
    assert found["spike_count"].dtype == np.int32
    for unit in session.units.index:
        expected = binned(session, unit, ONSETS[:30], np.array([0.0, 0.5]))[:, 0]
        np.testing.assert_array_equal(found["spike_count"].sel(unit_id=unit), expected)
        np.testing.assert_allclose(found["rate"].sel(unit_id=unit), expected / 0.5)
    assert found["contrast"].dtype == np.float64
    assert found["contrast"].to_numpy()[:3].tolist() == [0.5, 1.0, 0.5]
    assert found["is_blank"].to_numpy()[:3].tolist() == [False, False, True]
    assert np.isnan(found["orientation"].to_numpy()[2])
    assert set(found["ecephys_structure_acronym"].to_numpy()) <= {"VISp", "LGd"}
    grouped = found["rate"].groupby("orientation").mean()
    assert grouped.sizes["orientation"] == 2
    assert "orientation" not in session.responses("flashes").coords


def test_responses_in_a_window(session: EcephysSession) -> None:
    units = session.units.index[[1, 0]]
    found = session.responses("flashes", (-0.5, 0.25), units)
    assert found["unit_id"].to_numpy().tolist() == units.tolist()
    expected = binned(session, units[1], ONSETS[30:], np.array([-0.5, 0.25]))[:, 0]
    np.testing.assert_array_equal(found["spike_count"][:, 1], expected)
    with pytest.raises(ValueError, match="window must be two times"):
        session.responses("flashes", (0.5, 0.5))
    with pytest.raises(UnknownNameError, match=r"no stimulus 'flash'; did you mean 'flashes'\?.*gratings, flashes"):
        session.responses("flash")
    with pytest.raises(UnknownIdError):
        session.responses("flashes", unit_ids=[1])


def test_responses_fit_scikit_learn(session: EcephysSession) -> None:
    neighbors = pytest.importorskip("sklearn.neighbors", reason="scikit-learn is an extra")
    found = session.responses("gratings").sel(stimulus_presentation_id=~session.responses("gratings")["is_blank"])
    X, y = found["rate"].to_numpy(), found["orientation"].to_numpy().astype(int)
    assert neighbors.KNeighborsClassifier(1).fit(X, y).score(X, y) == 1


def test_sample_indices(session: EcephysSession) -> None:
    unit = session.units.index[0]
    samples = session.spike_sample_indices(unit, probe_start_time=2.0)
    assert samples.dtype == np.int64
    np.testing.assert_allclose(samples / 30_000 + 2.0, session.spike_times[unit], atol=0.5 / 30_000 + 1e-12)
    with pytest.raises(MissingDataError, match=r"does not say when the probe of unit .* Give probe_start_time"):
        session.spike_sample_indices(unit)


def test_the_little_session_s_responses(
    write_session: Callable[..., Path], four_presentations: Mapping[str, Any]
) -> None:
    session = EcephysSession(write_session(**four_presentations), unit_filter=UnitFilter.none())
    found = session.responses("a", unit_ids=[0, 1, 2])
    assert found["spike_count"].to_numpy().tolist() == [[0, 0, 0], [0, 0, 0], [0, 0, 3]]


@pytest.mark.parametrize(
    ("column", "values", "error", "message"),
    [
        ("stop_time", [3.0, 1.0], InvalidValueError, r"trial 1 ends before it starts \(2\.0 to 1\.0 s\), 1 trial"),
        ("start_time", [1.0, np.inf], InvalidValueError, "trial 1 has no start_time"),
        ("start_time", ["now", "then"], FileFormatError, "start_time .* is in seconds"),
    ],
)
def test_moments_that_are_none(
    session: EcephysSession, column: str, values: list[Any], error: type[Exception], message: str
) -> None:
    moments = pd.DataFrame({"start_time": [1.0, 2.0], "stop_time": [1.5, 2.5]}).assign(**{column: values})
    with pytest.raises(error, match=message):
        session.psth([0.0, 0.1], moments)


@pytest.mark.parametrize("too_long", [2**70, [0, -(2**63) - 1]])
def test_ids_that_no_64_bits_hold(session: EcephysSession, too_long: Any) -> None:
    with pytest.raises(UnknownIdError):
        session.psth([0.0, 0.1], too_long)
    with pytest.raises(UnknownIdError):
        session.psth([0.0, 0.1], None, too_long)
    for nonsense in ([], {}, 10**30):
        with pytest.raises(UnknownIdError, match="has no probe"):
            session.get_lfp(nonsense)
