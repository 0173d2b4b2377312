"""Banks of templates: similarity against plain waveforms, and the bookkeeping of channels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from allen_ecephys.processing.probes import neuropixels_1_geometry
from allen_ecephys.processing.sorting.templates.initial_templates import Peaks, cluster_peaks, peaks_in
from allen_ecephys.processing.sorting.templates.projections import shifted
from allen_ecephys.processing.sorting.templates.template_bank import EVALUATION_UM, ProbeLayout, TemplateBank

Array = npt.NDArray[Any]


def delayed(bank: TemplateBank, template: int, samples: float) -> Array:
    """Return weights of one template some samples later, as far as its components can express it."""
    late = shifted(bank.basis, samples) @ bank.weights[template].T.astype(np.float64)
    return (bank.basis.T @ late).T.astype(np.float32)


def with_template(bank: TemplateBank, main: int, weights: Array) -> TemplateBank:
    return bank.joined(TemplateBank(bank.layout, bank.basis, np.array([main]), weights[None]))


# --- layout ------------------------------------------------------------------------------------------------------


def test_layout_lists_the_nearest_channels() -> None:
    positions = neuropixels_1_geometry(40)
    layout = ProbeLayout.of(positions, 10)
    distance = np.hypot(*(positions[:, None] - positions[None]).transpose(2, 0, 1))
    assert layout.local[:, 0].tolist() == list(range(40))
    for c in range(40):
        inside, outside = layout.local[c], np.setdiff1d(np.arange(40), layout.local[c])
        assert distance[c, inside].max() <= distance[c, outside].min()
        assert set(layout.near[c][layout.near[c] >= 0]) == set(np.flatnonzero(distance[c] <= EVALUATION_UM))
        for other in range(40):
            assert layout.interacts[c, other] == bool(set(layout.local[c]) & set(layout.local[other]))


def test_layouts_of_few_channels() -> None:
    layout = ProbeLayout.of(neuropixels_1_geometry(4), 32)
    assert layout.local.shape == (4, 4)
    assert layout.interacts.all()


# --- similarity --------------------------------------------------------------------------------------------------


def correlated(bank: TemplateBank, i: int, j: int) -> tuple[float, float]:
    """Return the largest correlation over quarter samples of whole waveforms, and its lag."""
    waves = bank.unit_waveforms().astype(np.float64)
    a = np.pad(waves[i], ((20, 20), (0, 0)))
    best = (-2.0, 0.0)
    for step in np.arange(-40, 41) / 4.0:
        whole = int(np.floor(step))
        part = shifted(waves[j], step - whole)  # type: ignore[arg-type]
        b = np.zeros_like(a)
        b[20 + whole : 81 + whole] = part
        best = max(best, (float((a * b).sum()), float(step)))
    return best


def test_similarity_equals_that_of_plain_waveforms(example_bank: TemplateBank) -> None:
    bank = with_template(example_bank, 2, delayed(example_bank, 1, 2.0)[::-1].copy())
    similarity, lag = bank.similarity()
    for i in range(len(bank)):
        for j in range(i + 1, len(bank)):
            value, step = correlated(bank, i, j)
            assert similarity[i, j] == pytest.approx(value, abs=1e-4)
            if value > 0.1:
                assert lag[i, j] == pytest.approx(step, abs=0.25)


def test_similarity_is_symmetric_and_one_with_itself(example_bank: TemplateBank) -> None:
    similarity, lag = example_bank.similarity()
    assert similarity.dtype == np.float32
    np.testing.assert_array_equal(similarity, similarity.T)
    np.testing.assert_array_equal(lag, -lag.T)
    assert np.diagonal(similarity).tolist() == [1.0] * 5
    off_diagonal = similarity[~np.eye(5, dtype=np.bool_)]
    assert (off_diagonal < 0.99).all()
    larger = TemplateBank(example_bank.layout, example_bank.basis, example_bank.main, 3 * example_bank.weights)
    np.testing.assert_allclose(larger.similarity()[0], similarity, atol=1e-6)


@pytest.mark.parametrize("samples", [-1.25, -0.5, 0.5, 1.25, 2.0])
def test_a_template_is_itself_some_time_later(example_bank: TemplateBank, samples: float) -> None:
    for template in range(5):
        main = int(example_bank.main[template])
        bank = with_template(example_bank, main, 0.7 * delayed(example_bank, template, samples))
        similarity, lag = bank.similarity()
        assert similarity[template, 5] > 0.99
        # To look like the template, the one that is late has to start so much earlier.
        assert lag[template, 5] == pytest.approx(-samples, abs=0.25)


def test_templates_without_a_common_channel_are_not_alike(example_bank: TemplateBank) -> None:
    layout = ProbeLayout.of(neuropixels_1_geometry(64), 12)
    bank = TemplateBank(layout, example_bank.basis, np.array([2, 60]), example_bank.weights[:2])
    assert not layout.interacts[2, 60]
    assert bank.similarity()[0].tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_no_templates_are_well_formed(example_bank: TemplateBank) -> None:
    none = example_bank.keep(np.zeros(5, np.bool_))
    assert len(none) == 0
    assert none.norms.shape == (0,)
    assert none.similarity()[0].shape == (0, 0)
    assert none.unit_waveforms().shape == (0, 61, 16)
    assert none.troughs().shape == (0,)
    assert none.by_channel().tolist() == [[-1]] * 16
    assert none.recentred() is none
    assert len(none.joined(example_bank)) == 5


# --- bookkeeping -------------------------------------------------------------------------------------------------


def test_norms_and_waveforms(example_bank: TemplateBank) -> None:
    np.testing.assert_allclose(example_bank.norms, [30, 20, 40, 14, 25], rtol=1e-6)
    waves = example_bank.unit_waveforms()
    np.testing.assert_allclose((waves**2).sum(axis=(1, 2)), 1.0, rtol=1e-5)
    largest = np.abs(waves).max(axis=1).argmax(axis=1)
    assert largest.tolist() == example_bank.main.tolist()
    np.testing.assert_allclose(example_bank.troughs(), 20, atol=1)


def test_templates_are_compared_with_spikes_near_their_main_channel(example_bank: TemplateBank) -> None:
    table = example_bank.by_channel()
    positions = example_bank.layout.positions
    for channel, row in enumerate(table):
        distance = np.hypot(*(positions[example_bank.main] - positions[channel]).T)
        assert row[row >= 0].tolist() == np.flatnonzero(distance <= EVALUATION_UM).tolist()
        assert (row[(row >= 0).sum() :] == -1).all()


def test_keep_and_joined(example_bank: TemplateBank) -> None:
    kept = example_bank.keep(np.array([3, 0]))
    assert kept.main.tolist() == [12, 2]
    again = kept.joined(example_bank.keep(np.array([False, True, True, False, True])))
    assert again.main.tolist() == [12, 2, 3, 7, 13]
    np.testing.assert_array_equal(again.weights, example_bank.weights[[3, 0, 1, 2, 4]])


def test_a_template_that_moved_gets_the_channels_around_its_new_place(example_bank: TemplateBank) -> None:
    layout = example_bank.layout
    weights = example_bank.weights.copy()
    place = int(np.flatnonzero(layout.local[2] == 4)[0])
    weights[0, place] *= 20  # most of the energy is on channel 4 now
    moved = TemplateBank(layout, example_bank.basis, example_bank.main, weights)
    centred = moved.recentred()
    assert centred.main.tolist() == [4, 3, 7, 12, 13]
    np.testing.assert_array_equal(centred.weights[1:], weights[1:])
    shared = np.intersect1d(layout.local[2], layout.local[4])
    before = np.zeros((16, 6), np.float32)
    before[layout.local[2]] = weights[0]
    after = np.zeros((16, 6), np.float32)
    after[layout.local[4]] = centred.weights[0]
    np.testing.assert_array_equal(after[shared], before[shared])
    assert not after[np.setdiff1d(np.arange(16), shared)].any()
    assert centred.recentred() is centred
    assert example_bank.recentred() is example_bank


# --- first templates ---------------------------------------------------------------------------------------------


def test_peaks_hold_the_projections_around_them(example_bank: TemplateBank) -> None:
    layout = example_bank.layout
    rng = np.random.default_rng(0)
    projections = rng.normal(size=(16, 6, 400)).astype(np.float32)
    for channel, time in ((3, 100), (12, 100), (8, 250), (8, 390)):
        projections[channel, :3, time] = 9.0
    found = peaks_in(projections, np.empty((16, 400), np.float32), layout, 150.0, 30, 50, 350)
    assert found.channel.tolist() == [3, 8, 12]
    for row, (channel, time) in zip(found.weights, ((3, 100), (8, 250), (12, 100)), strict=True):
        np.testing.assert_array_equal(row, projections[layout.local[channel], :, time])
    joined = Peaks.concatenate([found, found], layout, 6)
    assert len(joined) == 6
    assert len(Peaks.concatenate([], layout, 6)) == 0


def test_clusters_of_peaks_become_templates(example_bank: TemplateBank) -> None:
    """Units in three windows, one of them seen from two channels in different windows."""
    rng = np.random.default_rng(1)
    layout = example_bank.layout
    truth = example_bank.keep(np.array([0, 2, 4]))
    full = np.zeros((3, 16, 6), np.float32)
    for i, main in enumerate(truth.main):
        full[i, layout.local[main]] = truth.weights[i]
    unit = rng.integers(0, 3, 900)
    channel = truth.main[unit]
    second = (unit == 1) & (rng.random(900) < 0.3)
    channel[second] = layout.local[7, 1]
    weights = full[unit[:, None], layout.local[channel]] + rng.normal(size=(900, 12, 6)).astype(np.float32)
    peaks = Peaks(channel.astype(np.int64), weights.astype(np.float32))
    bank = cluster_peaks(peaks, layout, example_bank.basis, min_size=20, seed=0)
    assert sorted(bank.main.tolist()) == [2, 7, 13]
    for main, found in zip(bank.main, bank.weights, strict=True):
        expected = truth.weights[truth.main.tolist().index(main)]
        assert np.abs(found - expected).max() < 0.6
    again = cluster_peaks(peaks, layout, example_bank.basis, min_size=20, seed=0, n_workers=2)
    np.testing.assert_array_equal(again.weights, bank.weights)


def test_too_few_peaks_are_no_templates(example_bank: TemplateBank) -> None:
    layout = example_bank.layout
    none = cluster_peaks(Peaks.concatenate([], layout, 6), layout, example_bank.basis, min_size=20, seed=0)
    assert len(none) == 0
    peaks = Peaks(np.full(19, 3), np.tile(example_bank.weights[1], (19, 1, 1)))
    assert len(cluster_peaks(peaks, layout, example_bank.basis, min_size=20, seed=0)) == 0
