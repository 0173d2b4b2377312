"""Templates that are never alone: told from chance, and completed to the neuron that they are a part of."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from allen_ecephys.processing.sorting.templates.learning import with_remnants_completed
from allen_ecephys.processing.sorting.templates.remnants import Remnant, coincidences, find_remnants, summed
from allen_ecephys.processing.sorting.templates.template_bank import TemplateBank

Array = npt.NDArray[Any]

NORMS = np.array([20.0, 8.0, 15.0])


def trains(*starts: Array) -> tuple[Array, Array, Array]:
    """Return first samples, templates and amplitudes of some templates' spikes, in no order."""
    start = np.concatenate(starts)
    template = np.repeat(np.arange(len(starts)), [len(train) for train in starts])
    shuffled = np.random.default_rng(0).permutation(len(start))
    return start[shuffled], template[shuffled], (10.0 + template[shuffled]).astype(np.float32)


def host() -> Array:
    return np.sort(np.random.default_rng(1).choice(300_000, 400, replace=False) * 10)


def test_coincidences_are_all_pairs_within_reach() -> None:
    start = np.array([0, 0, 5, 10, 11, 40, 51])
    pairs = sorted(zip(*(part.tolist() for part in coincidences(start)), strict=True))
    assert pairs == [(i, j) for i in range(7) for j in range(i + 1, 7) if start[j] - start[i] <= 10]
    assert not len(coincidences(np.empty(0, np.int64))[0])


@pytest.mark.parametrize("lag", [-9, -1, 0, 4, 10])
def test_a_template_whose_spikes_fall_on_anothers_is_a_remnant(lag: int) -> None:
    with_it = host()[::4]
    jitter = np.random.default_rng(2).integers(0, 2, len(with_it))
    found = find_remnants(*trains(host(), with_it - lag + jitter, host()[::3] + 4000), NORMS)
    assert [(r.template, r.host) for r in found] == [(1, 0)]
    assert found[0].lag == pytest.approx(lag - jitter.mean(), abs=0.11)
    assert found[0].amplitude == 10.0


def test_what_is_alone_every_third_time_or_at_other_lags_is_none() -> None:
    with_it = host()[::4]
    alone = with_it + np.where(np.arange(len(with_it)) % 3, 0, 500)
    anywhere = with_it + np.random.default_rng(3).integers(-9, 10, len(with_it))
    assert find_remnants(*trains(host(), alone, anywhere), NORMS) == []
    assert find_remnants(*trains(host(), with_it[:9]), NORMS[:2]) == []  # too few to tell
    assert find_remnants(*trains(np.empty(0, np.int64)), NORMS[:1]) == []


def test_of_two_that_are_never_alone_the_smaller_is_the_remnant() -> None:
    for norms in ([20.0, 8.0], [8.0, 20.0]):
        (remnant,) = find_remnants(*trains(host(), host() + 2), np.array(norms))
        assert norms[remnant.template] == 8.0


def test_a_host_that_is_a_remnant_is_passed_over() -> None:
    found = find_remnants(*trains(host(), host()[::2] + 1, host()[::4] + 2), NORMS)
    assert {(r.template, r.host) for r in found} == {(1, 0), (2, 0)}


def everywhere(bank: TemplateBank, row: int) -> Array:
    """Return a template's waveform on all channels, float64 (61, n_channels)."""
    waves = np.zeros((len(bank.basis), bank.layout.n_channels))
    waves[:, bank.layout.local[bank.main[row]]] = bank.basis @ bank.weights[row].T
    return waves


@pytest.mark.parametrize("lag", [0.0, 2.0, -3.0])
def test_the_sum_is_that_of_the_waveforms(example_bank: TemplateBank, lag: float) -> None:
    norm = float(example_bank.norms[2])
    whole = summed(example_bank, Remnant(0, 2, lag, 0.5 * norm))
    parts = everywhere(example_bank, 0), 0.5 * everywhere(example_bank, 2)
    if (parts[0] ** 2).sum() >= (parts[1] ** 2).sum():
        expected = parts[0] + np.roll(parts[1], int(lag), axis=0)
    else:
        expected = parts[1] + np.roll(parts[0], -int(lag), axis=0)
    got = everywhere(whole, 0)
    seen = whole.layout.local[whole.main[0]]
    # The components span most of a waveform that is moved by some samples, not all of it.
    assert ((got - expected)[:, seen] ** 2).sum() < 0.1 * (expected[:, seen] ** 2).sum()
    assert (got**2).sum(axis=0).argmax() == whole.main[0]


def test_a_remnant_becomes_the_neuron_or_goes(example_bank: TemplateBank) -> None:
    spikes = trains(host(), host() + 9000, host()[::4])
    completed, stays = with_remnants_completed(example_bank, spikes, 0.15)
    assert stays.all()
    amplitude = float(spikes[2][spikes[1] == 0].mean())
    expected = summed(example_bank, Remnant(2, 0, 0.0, amplitude))
    np.testing.assert_array_equal(completed.weights[2], expected.weights[0])
    np.testing.assert_array_equal(completed.weights[[0, 1, 3, 4]], example_bank.weights[[0, 1, 3, 4]])
    # The neuron is there already: nothing but its host's spikes, a little larger, as which it needs no template.
    weights = example_bank.weights.copy()
    weights[2] *= 0.01
    _, stays = with_remnants_completed(
        TemplateBank(example_bank.layout, example_bank.basis, example_bank.main, weights), spikes, 0.15
    )
    assert stays.tolist() == [True, True, False, True, True]
