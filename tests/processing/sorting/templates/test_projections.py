"""Samples as projections on waveform components: against plain correlations, and spikes added and taken out again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from allen_ecephys.processing.sorting.parameters import SortingParameters
from allen_ecephys.processing.sorting.preparing.detection import (
    ENERGY_COMPONENTS,
    channels_within,
    find_peaks,
    list_peaks,
    waveform_energy,
)
from allen_ecephys.processing.sorting.templates.projections import (
    FRACTIONS,
    LENGTH,
    PADDED,
    TILE,
    TROUGH,
    correlation_tables,
    fraction_of,
    padded_components,
    project,
    shifted,
)
from allen_ecephys.processing.sorting.templates.template_bank import ProbeLayout
from allen_ecephys.processing.sorting.templates.waveform_basis import (
    LEAST_SNIPPETS,
    collect_snippets,
    generic_waveforms,
    waveform_components,
)

REACH = LENGTH - 1
PARAMETERS = SortingParameters()


@pytest.fixture(scope="module")
def basis() -> np.ndarray[Any, np.dtype[np.float32]]:
    """Components of smooth spike-like waveforms that are zero at both ends."""
    return waveform_components(generic_waveforms(), PARAMETERS)


def projected(samples: np.ndarray[Any, Any], basis: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Project samples (n_channels, n_times), zeros following them."""
    n_channels, n_times = samples.shape
    padded = np.zeros((n_channels, n_times + PADDED - 1), np.float32)
    padded[:, :n_times] = samples
    out = np.full((n_channels, basis.shape[1], n_times), np.nan, np.float32)
    project(padded, padded_components(basis), out)
    return out


@pytest.mark.parametrize("n_times", [1, 61, TILE, 2 * TILE + 173])
def test_projections_are_correlations_with_the_components(n_times: int) -> None:
    rng = np.random.default_rng(n_times)
    samples = rng.normal(size=(3, n_times + PADDED - 1)).astype(np.float32)
    basis = rng.normal(size=(LENGTH, 4)).astype(np.float32)
    out = np.full((3, 4, n_times), np.nan, np.float32)
    project(samples, padded_components(basis), out)
    for c in range(3):
        for k in range(4):
            expected = np.correlate(samples[c].astype(np.float64), basis[:, k].astype(np.float64), "valid")
            np.testing.assert_allclose(out[c, k], expected[:n_times], rtol=0, atol=2e-5)


def test_delayed_components_are_what_a_smooth_wave_is_later() -> None:
    """A Gaussian is band-limited to the eye and known at every time."""
    t = np.arange(LENGTH)
    wave = np.exp(-0.5 * ((t - 28) / 3.0) ** 2).astype(np.float32)[:, None]
    for fraction in (-0.5, -0.125, 0.0, 0.375, 0.5):
        expected = np.exp(-0.5 * ((t - 28 - fraction) / 3.0) ** 2)
        np.testing.assert_allclose(shifted(wave, fraction)[:, 0], expected, atol=1e-6)


def test_delays_go_from_half_a_sample_before_to_half_a_sample_after() -> None:
    assert [fraction_of(i) for i in range(FRACTIONS)] == np.linspace(-0.5, 0.5, FRACTIONS).tolist()


@pytest.mark.parametrize("delay", range(FRACTIONS))
def test_tables_tell_what_a_spike_adds_to_the_projections(basis: np.ndarray[Any, Any], delay: int) -> None:
    rng = np.random.default_rng(delay)
    weights = rng.normal(size=(2, basis.shape[1]))
    time, n_times = 150, 400
    samples = np.zeros((2, n_times), np.float32)
    samples[:, time : time + LENGTH] = weights @ shifted(basis, fraction_of(delay)).T
    added = projected(samples, basis)
    predicted = np.zeros_like(added)
    table = correlation_tables(basis)[delay]
    predicted[:, :, time - REACH : time + LENGTH] = np.einsum("cj,jkd->ckd", weights, table)
    np.testing.assert_allclose(added, predicted, atol=5e-5)
    assert np.abs(added).max() > 1.0


def test_an_undelayed_table_is_symmetric_and_one_at_zero(basis: np.ndarray[Any, Any]) -> None:
    tables = correlation_tables(basis)
    assert tables.shape == (FRACTIONS, 6, 6, 2 * REACH + 1)
    exact = tables[FRACTIONS // 2]
    np.testing.assert_allclose(exact[:, :, REACH], np.eye(6), atol=1e-6)
    np.testing.assert_allclose(exact, exact.transpose(1, 0, 2)[:, :, ::-1], atol=1e-6)


# --- waveform components -----------------------------------------------------------------------------------------


def test_components_are_orthonormal_and_negative_at_the_trough(basis: np.ndarray[Any, Any]) -> None:
    assert basis.dtype == np.float32
    np.testing.assert_allclose(basis.T @ basis, np.eye(6), atol=1e-5)
    assert (basis[TROUGH] <= 0).all()
    assert np.abs(basis[:, 0]).argmax() == pytest.approx(TROUGH, abs=1)


def test_components_span_the_waveforms_that_they_were_learned_from() -> None:
    rng = np.random.default_rng(3)
    shapes = generic_waveforms()[:3]
    snippets = (rng.normal(size=(500, 3)) @ shapes).astype(np.float32)
    components = waveform_components(snippets, PARAMETERS)
    np.testing.assert_allclose(shapes @ components @ components.T, shapes, atol=1e-3)


def test_too_few_snippets_give_generic_components(
    basis: np.ndarray[Any, Any], caplog: pytest.LogCaptureFixture
) -> None:
    noise = np.random.default_rng(0).normal(size=(LEAST_SNIPPETS - 1, LENGTH)).astype(np.float32)
    with caplog.at_level("WARNING"):
        np.testing.assert_array_equal(waveform_components(noise, PARAMETERS), basis)
    assert "59 isolated spike waveforms" in caplog.text
    none = np.empty((0, LENGTH), np.float32)
    np.testing.assert_array_equal(waveform_components(none, PARAMETERS), basis)


def isolated_twin(samples: np.ndarray[Any, Any], around: np.ndarray[Any, Any], threshold: float) -> list[list[int]]:
    """List samples below a threshold that are the first of the least within 30 samples on channels around."""
    found = []
    for c in range(len(samples)):
        others = np.sort(around[c][around[c] >= 0])
        for t in range(30, samples.shape[1] - 30):
            window = samples[others, t - 30 : t + 31]
            if samples[c, t] >= threshold or samples[c, t] > window.min():
                continue
            at = np.argwhere(window.min() == window.T)[0]  # earliest first, then the lowest channel
            if (at[0] - 30, others[at[1]]) == (0, c):
                found.append([t, c])
    return found


def test_isolated_troughs_equal_a_plain_twin() -> None:
    rng = np.random.default_rng(6)
    samples = np.round(rng.normal(size=(6, 3000)) * 3).astype(np.float32)  # rounded: with ties
    around = channels_within(np.column_stack([np.zeros(6), 40.0 * np.arange(6)]), 75.0)
    found = list_peaks(-samples, around, 6.0, 30, 30, 2970).tolist()
    assert found == isolated_twin(samples, around, -6.0)
    assert len(found) > 30


def test_snippets_hold_the_isolated_spikes_of_channel_and_neighbours() -> None:
    rng = np.random.default_rng(8)
    wave = generic_waveforms()[24] * 20
    samples = rng.normal(size=(4, 2000)).astype(np.float32) * 0.1
    for t in (300, 700, 1300, 1330):  # the last two are not isolated from each other: the larger one is
        samples[1, t - 20 : t + 41] += wave * (1.5 if t == 1330 else 1.0)
    samples[1, 10] = -50.0  # no room for a waveform before it
    positions = np.column_stack([np.zeros(4), 50.0 * np.arange(4)])
    snippets = collect_snippets([samples, samples[:, :30]], positions, PARAMETERS)
    assert snippets.shape == (3 * 3, 61)  # channel 1 and its two neighbours within 75 um
    assert snippets[0::3].argmin(axis=1).tolist() == [20, 20, 20]
    np.testing.assert_allclose(snippets[0], wave, atol=0.6)
    assert np.abs(snippets[1::3]).max() < 1.0
    assert collect_snippets([], positions, PARAMETERS).shape == (0, 61)


# --- energy and its peaks ----------------------------------------------------------------------------------------


def test_neighbours_are_listed_nearest_first() -> None:
    positions = np.array([[0.0, 0.0], [0.0, 20.0], [0.0, 50.0], [0.0, 200.0]])
    assert channels_within(positions, 60.0).tolist() == [[0, 1, 2], [1, 0, 2], [2, 1, 0], [3, -1, -1]]
    assert ProbeLayout.of(3 * positions, 2).local.tolist() == [[0, 1], [1, 0], [2, 1], [3, 2]]
    assert ProbeLayout.of(positions, 9).local.shape == (4, 4)


def test_energy_is_that_of_the_first_components() -> None:
    projections = np.random.default_rng(2).normal(size=(5, 100)).astype(np.float32)
    energy = np.full(100, -1.0, np.float32)
    waveform_energy(projections, energy, 10, 90)
    np.testing.assert_allclose(energy[10:90], (projections[:ENERGY_COMPONENTS, 10:90] ** 2).sum(axis=0), rtol=1e-5)
    assert (energy[:10] == -1).all()
    assert (energy[90:] == -1).all()


def peaks_twin(
    energy: np.ndarray[Any, Any], near: np.ndarray[Any, Any], threshold: float, reach: int, start: int, stop: int
) -> list[list[int]]:
    """Local maxima over times and channels; of equal ones the earliest, then the lowest channel."""
    found = []
    for c in range(len(energy)):
        others = np.sort(near[c][near[c] >= 0])
        for t in range(start, stop):
            first = max(t - reach, 0)
            window = energy[others, first : t + reach + 1]
            if energy[c, t] <= threshold or energy[c, t] < window.max():
                continue
            at = np.argwhere(window.max() == window.T)[0]
            if (first + at[0], others[at[1]]) == (t, c):
                found.append([t, c])
    return found


@pytest.mark.parametrize("levels", [60, 1000])
def test_peaks_equal_a_plain_twin(levels: int) -> None:
    rng = np.random.default_rng(levels)
    energy = (rng.integers(0, levels, (7, 800)) / levels * 40).astype(np.float32)
    positions = rng.uniform(0, 100, (7, 2))
    near = channels_within(positions, 60.0)
    out = np.empty((2000, 2), np.int64)
    n = find_peaks(energy, near, 20.0, 8, 5, 790, out)
    assert out[:n].tolist() == peaks_twin(energy, near, 20.0, 8, 5, 790)
    assert n > 10
    assert find_peaks(energy, near, 20.0, 8, 5, 790, out[:4]) == 4
