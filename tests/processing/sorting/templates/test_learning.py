"""Learning: the running average, twins, composites and births, on banks made for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from allen_ecephys.processing.sorting.parameters import SortingParameters
from allen_ecephys.processing.sorting.preparing.registration import PreparedRecording
from allen_ecephys.processing.sorting.templates.initial_templates import Peaks
from allen_ecephys.processing.sorting.templates.learning import (
    alike,
    forgetting,
    grown,
    learn,
    least_size,
    updated,
    without_composites,
    without_twins,
)
from allen_ecephys.processing.sorting.templates.searching import Found, Searcher
from allen_ecephys.processing.sorting.templates.template_bank import TemplateBank

Array = npt.NDArray[Any]
Prepare = Callable[[Array], PreparedRecording]

PARAMETERS = SortingParameters()


@pytest.fixture
def searcher(whitened: Prepare, example_bank: TemplateBank) -> Iterator[Searcher]:
    """Search on the example's probe, in a recording of nothing."""
    with Searcher(whitened(np.zeros((1, 16))), example_bank.layout, example_bank.basis) as made:
        yield made


def found_spikes(bank: TemplateBank, template: Array, explained: Array, weights: Array) -> Found:
    n = len(template)
    none = Peaks.concatenate([], bank.layout, bank.basis.shape[1])
    return Found(np.arange(n) * 100, template, np.ones(n, np.float32), explained.astype(np.float32), weights, none)


def full_weights(bank: TemplateBank, template: int) -> Array:
    """Return one template's weights on all channels."""
    wide = np.zeros((bank.layout.n_channels, bank.basis.shape[1]), np.float32)
    wide[bank.layout.local[bank.main[template]]] = bank.weights[template]
    return wide


def joined_with(bank: TemplateBank, main: int, wide: Array) -> TemplateBank:
    weights = wide[bank.layout.local[main]][None].astype(np.float32)
    return bank.joined(TemplateBank(bank.layout, bank.basis, np.array([main]), weights))


# --- the running average -----------------------------------------------------------------------------------------


def test_templates_remember_20_spikes_at_first_and_400_at_the_end() -> None:
    memory = forgetting((20.0, 400.0), 39)
    np.testing.assert_allclose(memory, np.exp(-1 / (20 + 10 * np.arange(39))), rtol=1e-12)
    assert memory[[0, -1]].tolist() == [pytest.approx(0.951229, abs=1e-6), pytest.approx(0.997503, abs=1e-6)]


@pytest.mark.parametrize("memory", [np.exp(-1 / 20), np.exp(-1 / 400), 1.0])
def test_update_is_the_formula(example_bank: TemplateBank, memory: float) -> None:
    rng = np.random.default_rng(0)
    template = rng.integers(0, 4, 200)  # the fifth has no spike
    explained = rng.uniform(5, 15, 200)
    weights = rng.normal(size=(200, 12, 6)).astype(np.float32)
    moved, counts = updated(example_bank, found_spikes(example_bank, template, explained, weights), memory, 10.0)
    assert counts.tolist() == [int(((template == i) & (explained > 10)).sum()) for i in range(5)]
    for i in range(4):
        strong = weights[(template == i) & (explained > 10)].astype(np.float64)
        kept = memory ** len(strong)
        expected = kept * example_bank.weights[i] + (1 - kept) * strong.mean(axis=0)
        np.testing.assert_allclose(moved.weights[i], expected, atol=1e-5)
    np.testing.assert_array_equal(moved.weights[4], example_bank.weights[4])
    assert moved.weights.dtype == np.float32
    np.testing.assert_array_equal(moved.main, example_bank.main)


def test_nothing_strong_changes_nothing(example_bank: TemplateBank) -> None:
    weights = np.ones((3, 12, 6), np.float32)
    weak = found_spikes(example_bank, np.array([0, 1, 4]), np.array([5.0, 9.9, 10.0]), weights)
    moved, counts = updated(example_bank, weak, 0.9, 10.0)
    np.testing.assert_array_equal(moved.weights, example_bank.weights)
    assert not counts.any()


# --- twins -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0.7, 1.0, 1.6])
def test_the_rarer_of_two_templates_of_one_shape_goes(example_bank: TemplateBank, size: float) -> None:
    bank = joined_with(example_bank, 7, size * full_weights(example_bank, 2))
    same = alike(bank)
    assert [tuple(pair) for pair in np.argwhere(same)] == [(2, 5), (5, 2)]
    assert without_twins(bank, np.array([9.0, 9, 100, 9, 9, 50])).tolist() == [True] * 5 + [False]
    assert without_twins(bank, np.array([9.0, 9, 50, 9, 9, 100])).tolist() == [True, True, False, True, True, True]
    assert without_twins(bank, np.full(6, 7.0)).sum() == 5  # equally frequent: one of the two stays


def test_a_twin_seen_from_another_channel_goes(example_bank: TemplateBank) -> None:
    bank = joined_with(example_bank, int(example_bank.layout.local[7, 1]), full_weights(example_bank, 2))
    assert not without_twins(bank, np.array([9.0, 9, 100, 9, 9, 50]))[5]


def test_templates_that_differ_stay(example_bank: TemplateBank) -> None:
    assert not alike(example_bank).any()
    assert without_twins(example_bank, np.arange(5.0)).all()


def test_of_three_alike_the_most_frequent_stays(example_bank: TemplateBank) -> None:
    bank = joined_with(joined_with(example_bank, 7, full_weights(example_bank, 2)), 7, full_weights(example_bank, 2))
    assert without_twins(bank, np.array([1.0, 1, 3, 1, 1, 5, 4]))[[2, 5, 6]].tolist() == [False, True, False]


# --- composites --------------------------------------------------------------------------------------------------


def test_templates_of_two_units_at_once_go(example_bank: TemplateBank, searcher: Searcher) -> None:
    both = full_weights(example_bank, 0) + full_weights(example_bank, 2)
    bank = joined_with(example_bank, 7, both)
    counts = np.array([100.0, 50, 80, 60, 70, 5])
    assert without_composites(searcher, bank, counts, PARAMETERS).tolist() == [True] * 5 + [False]


def test_templates_more_frequent_than_their_parts_stay(example_bank: TemplateBank, searcher: Searcher) -> None:
    bank = joined_with(example_bank, 7, full_weights(example_bank, 0) + full_weights(example_bank, 2))
    counts = np.array([100.0, 50, 4, 60, 70, 50])
    assert without_composites(searcher, bank, counts, PARAMETERS)[5]


@pytest.mark.parametrize(("seen", "stays"), [(7, False), (8, True), (40, True)])
def test_what_is_seen_too_often_for_two_units_at_once_is_a_neuron(
    example_bank: TemplateBank, searcher: Searcher, seen: int, stays: bool
) -> None:
    bank = joined_with(example_bank, 7, full_weights(example_bank, 0) + full_weights(example_bank, 2))
    counts = np.array([100.0, 50, 80, 60, 70, seen])
    assert without_composites(searcher, bank, counts, PARAMETERS)[5] == stays


def test_a_template_that_one_other_explains_is_no_composite(example_bank: TemplateBank, searcher: Searcher) -> None:
    bank = joined_with(example_bank, 7, full_weights(example_bank, 2))
    assert without_composites(searcher, bank, np.array([9.0, 9, 100, 9, 9, 5]), PARAMETERS).all()
    assert without_composites(searcher, example_bank, np.arange(5.0), PARAMETERS).all()


# --- births ------------------------------------------------------------------------------------------------------


def test_births_that_look_like_a_template_are_none(example_bank: TemplateBank) -> None:
    old, new = example_bank.keep(np.array([0, 1, 2])), example_bank.keep(np.array([2, 4, 0]))
    bank = grown(old, new)
    assert bank.main.tolist() == [2, 3, 7, 13]
    np.testing.assert_array_equal(bank.weights[:3], old.weights)
    none = example_bank.keep(np.zeros(5, np.bool_))
    assert len(grown(none, example_bank)) == 5
    assert len(grown(example_bank, none)) == 5
    assert len(grown(none, none)) == 0


def test_clusters_need_as_many_spikes_as_the_least_rate_gives() -> None:
    assert least_size(PARAMETERS, 10.0) == 20
    assert least_size(PARAMETERS, 2000.0) == 40
    assert least_size(SortingParameters(minFR=0.0), 2000.0) == 20


# --- all of it ---------------------------------------------------------------------------------------------------


def simulated(bank: TemplateBank, seconds: float, rate: float, seed: int) -> tuple[Array, Array, Array]:
    """Return samples with spikes of all templates, their starts and templates."""
    rng = np.random.default_rng(seed)
    n = int(seconds * 30_000)
    samples = rng.normal(size=(n, bank.layout.n_channels)).astype(np.float32)
    starts, units = [], []
    for i, wave in enumerate(bank.unit_waveforms() * bank.norms[:, None, None].astype(np.float32)):
        times = np.cumsum(rng.exponential(30_000 / rate, int(2 * seconds * rate)).astype(np.int64) + 90)
        for t in times[times < n - 61]:
            samples[t : t + 61] += wave * np.float32(rng.normal(1, 0.05))
            starts.append(t)
            units.append(i)
    return samples, np.array(starts), np.array(units)


def test_learning_mends_templates_finds_the_missing_and_drops_what_there_is_none_of(
    whitened: Prepare, example_bank: TemplateBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples, starts, units = simulated(example_bank, 12.0, 12.0, seed=3)
    rng = np.random.default_rng(1)
    basis, layout = example_bank.basis, example_bank.layout
    rough = example_bank.weights[:4] + rng.normal(0, 0.8, (4, 12, 6))
    absent = TemplateBank(layout, basis, np.array([10]), 6 * rng.normal(size=(1, 12, 6)).astype(np.float32))
    start = TemplateBank(layout, basis, example_bank.main[:4], rough.astype(np.float32)).joined(absent)
    batches = [(first, min(first + 16_384, len(samples))) for first in range(0, len(samples), 16_384)]
    banks = []
    for n_threads in ("1", "2"):
        monkeypatch.setenv("ALLEN_ECEPHYS_THREADS", n_threads)
        with Searcher(whitened(samples), layout, basis) as searcher:
            banks.append(learn(searcher, start, batches, PARAMETERS))
            found = searcher.search(banks[0], 0, len(samples), threshold=4.0, lam=10.0)
    np.testing.assert_array_equal(banks[0].weights, banks[1].weights)
    bank = banks[0]
    counts = np.bincount(found.template, minlength=len(bank))
    frequent = counts > 15  # a few spikes that fell together may have a template of their own
    assert sorted(bank.main[frequent].tolist()) == [2, 3, 7, 12, 13]
    similarity, _ = example_bank.joined(bank).similarity()
    for i in np.flatnonzero(frequent):
        unit = example_bank.main.tolist().index(bank.main[i])
        # At whatever lag: where a new template begins is its own affair.
        assert similarity[unit, 5 + i] > 0.98
        mine = found.start[found.template == i]
        true = np.sort(starts[units == unit])
        near = np.abs(mine[:, None] - true[None]).min(axis=1) <= 12
        assert near.sum() >= 0.9 * len(true)
        assert near.mean() > 0.95
