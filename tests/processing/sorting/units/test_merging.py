"""Merges: a plain twin of the rule, neurons cut in pieces, and recordings too short for proof."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import poisson

from allen_ecephys.errors import InvalidContentsError, SpikeTrainError
from allen_ecephys.processing.sorting.units.correlograms import correlogram, correlogram_statistics
from allen_ecephys.processing.sorting.units.merging import find_merges, near_templates, refractory_evidence


def neuron(rng: np.random.Generator, rate: float, duration: float, refractory: float = 0.003) -> np.ndarray:
    times = np.cumsum(refractory + rng.exponential(1 / rate - refractory, int(2 * rate * duration) + 20))
    return times[times < duration]


def pieces(train: np.ndarray, rng: np.random.Generator, *shares: float) -> np.ndarray:
    """Return which piece each spike of a neuron falls into."""
    return rng.choice(len(shares), train.size, p=shares)


def together(*trains: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Put trains (times, unit of each spike) in time order."""
    times, units = np.concatenate([train[0] for train in trains]), np.concatenate([train[1] for train in trains])
    order = np.argsort(times, kind="stable")
    return times[order], units[order]


def alike(n: int, value: float = 0.9) -> np.ndarray:
    return np.where(np.eye(n, dtype=bool), 1.0, value)


def least_chance(counts: np.ndarray) -> float:
    lag = np.abs(np.arange(-500, 501))
    flank = max(counts[(lag >= 11) & (lag < 50)].mean(), counts[(lag >= 250) & (lag < 500)].mean())
    return min(poisson.cdf(counts[(lag > 0) & (lag <= i)].sum(), 2 * i * flank) for i in range(1, 11))


def plain_merges(times: np.ndarray, units: np.ndarray, similarity: np.ndarray) -> list[int]:
    """Follow the rule as it is told, relabelling all spikes at each merge."""
    label = units.copy()
    into = list(range(len(similarity)))
    count = np.bincount(units, minlength=len(similarity))
    for j in np.argsort(count.copy(), kind="stable"):
        rest = [i for i in np.argsort(-similarity[j], kind="stable") if similarity[j, i] > 0.5 and i != j]
        for i in rest:
            if count[i] > count[j] > 0:
                found = correlogram_statistics(times[label == i], times[label == j])
                if found.q < 0.2 and found.r < 0.05 and least_chance(found.counts) < 0.001:
                    label[label == j] = i
                    count[i] += count[j]
                    count[j] = 0
                    into = [int(i) if unit in (j, i) else unit for unit in into]
                    break
    return into


def test_pieces_of_one_neuron_become_the_largest() -> None:
    rng = np.random.default_rng(0)
    train = neuron(rng, 30, 300)
    units = pieces(train, rng, 0.2, 0.5, 0.3)
    np.testing.assert_array_equal(find_merges(train, units, alike(3)), [1, 1, 1])
    np.testing.assert_array_equal(find_merges(train, units, alike(3, 0.5)), [0, 1, 2])


def test_independent_neurons_stay_apart_however_alike() -> None:
    rng = np.random.default_rng(1)
    trains = [neuron(rng, rate, 300) for rate in (10, 15, 20)]
    times, units = together(*((train, np.full(train.size, u)) for u, train in enumerate(trains)))
    np.testing.assert_array_equal(find_merges(times, units, alike(3, 1.0)), [0, 1, 2])
    everything = np.ones((3, 3), dtype=bool)
    np.testing.assert_array_equal(find_merges(times, units, alike(3, 1.0), same_shape=everything), [0, 1, 2])


@pytest.mark.parametrize("seed", range(5))
def test_the_rule_equals_its_plain_twin(seed: int) -> None:
    rng = np.random.default_rng(seed)
    parts = []
    for k in range(5):
        train = neuron(rng, rng.uniform(8, 30), 120)
        parts.append((train, 3 * k + pieces(train, rng, 0.55, 0.3, 0.15)))
    times, units = together(*parts)
    names = rng.permutation(15)
    similarity = rng.uniform(0.3, 1.0, (15, 15))
    similarity = np.maximum(similarity, similarity.T)
    merged = find_merges(times, names[units], similarity)
    np.testing.assert_array_equal(merged, plain_merges(times, names[units], similarity))
    assert len(set(merged)) < 15
    assert (merged[merged] == merged).all()


def test_the_most_similar_of_two_is_joined() -> None:
    rng = np.random.default_rng(2)
    train = neuron(rng, 30, 300)
    part = pieces(train, rng, 0.4, 0.4, 0.2)
    other = neuron(rng, 15, 300)
    # Units 0 and 1 are kept apart by dissimilarity; 2 fits both.
    similarity = np.array([[1, 0.1, 0.6, 0.1], [0.1, 1, 0.8, 0.1], [0.6, 0.8, 1, 0.9], [0.1, 0.1, 0.9, 1]])
    times, units = together((train, part), (other, np.full(other.size, 3)))
    np.testing.assert_array_equal(find_merges(times, units, similarity), [0, 1, 1, 3])


def test_a_unit_that_grew_takes_in_one_that_was_larger() -> None:
    rng = np.random.default_rng(6)
    train = neuron(rng, 30, 300)
    part = pieces(train, rng, 0.3, 0.28, 0.42)
    similarity = np.array([[1, 0.9, 0.9], [0.9, 1, 0.1], [0.9, 0.1, 1]])
    np.testing.assert_array_equal(find_merges(train, part, similarity), [0, 0, 0])


def test_equal_counts_merge_and_empty_units_stay() -> None:
    train = neuron(np.random.default_rng(3), 20, 300)[:5000]
    units = np.arange(5000) % 2 * 2
    np.testing.assert_array_equal(find_merges(train, units, alike(4)), [0, 1, 0, 3])
    np.testing.assert_array_equal(find_merges(train, units, alike(4), same_shape=alike(4) > 0), [0, 1, 0, 3])


def test_no_spikes_and_no_units() -> None:
    assert find_merges([], [], np.zeros((0, 0))).shape == (0,)
    np.testing.assert_array_equal(find_merges([], [], alike(2)), [0, 1])


@pytest.mark.parametrize("seed", range(4))
def test_evidence_is_exact(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = neuron(rng, 12, 100), neuron(rng, 9, 100)
    found = refractory_evidence(a, b)
    lags = np.abs(b[None] - a[:, None])
    assert found.observed == np.count_nonzero((lags >= 0.0005) & (lags < 0.0015))
    counts, lag = correlogram(a, b), np.abs(np.arange(-500, 501))
    flanks = counts[(lag >= 11) & (lag < 50)].mean(), counts[(lag >= 250) & (lag < 500)].mean()
    assert found.expected == pytest.approx(2 * max(flanks), rel=1e-12)
    assert found.p_independent == pytest.approx(poisson.cdf(found.observed, found.expected), rel=1e-9)
    assert found.p_one_neuron == pytest.approx(poisson.sf(found.observed - 1, 0.1 * found.expected), rel=1e-9)


def test_evidence_has_three_answers() -> None:
    rng = np.random.default_rng(0)
    train = neuron(rng, 40, 120)
    half = rng.random(train.size) < 0.5
    assert refractory_evidence(train[half], train[~half]).verdict == "one neuron"
    assert refractory_evidence(train, neuron(rng, 20, 120)).verdict == "two neurons"
    few = refractory_evidence(train[half][:60], train[~half][:60])
    assert few.expected < 3
    assert few.verdict == "too few spikes"
    nothing = refractory_evidence(train[:100], train[:100] + 60)
    assert (nothing.expected, nothing.p_independent, nothing.p_one_neuron) == (0.0, 1.0, 1.0)
    assert refractory_evidence([], []).verdict == "too few spikes"


def test_evidence_is_right_as_often_as_it_says() -> None:
    verdicts = {"independent": [], "cut": []}
    for seed in range(150):
        rng = np.random.default_rng(seed)
        verdicts["independent"].append(refractory_evidence(neuron(rng, 8, 60), neuron(rng, 8, 60)).verdict)
        train = neuron(rng, 16, 60)
        half = rng.random(train.size) < 0.5
        verdicts["cut"].append(refractory_evidence(train[half], train[~half]).verdict)
    assert np.mean(np.array(verdicts["independent"]) == "one neuron") < 0.05
    assert np.mean(np.array(verdicts["independent"]) == "two neurons") > 0.9
    assert np.mean(np.array(verdicts["cut"]) == "two neurons") == 0
    assert np.mean(np.array(verdicts["cut"]) == "one neuron") > 0.9


def test_pairs_with_just_too_few_spikes_are_no_proof() -> None:
    """Independent neurons of 1-3 Hz in a minute: Q and R alone call one pair in twenty refractory."""
    rng = np.random.default_rng(0)
    merged, by_bounds = 0, 0
    for _ in range(200):
        a, b = neuron(rng, 3, 60, 0.001), neuron(rng, 2, 60, 0.001)
        by_bounds += correlogram_statistics(a, b).is_refractory(0.2, 0.05)
        merged += len(set(find_merges(*together((a, np.zeros(a.size, int)), (b, np.ones(b.size, int))), alike(2)))) == 1
    assert by_bounds >= 8
    assert merged <= 2


def test_near_templates_differ_by_few_noise_sds() -> None:
    rng = np.random.default_rng(1)
    templates = rng.standard_normal((6, 40)) * rng.uniform(0.5, 1.5, (6, 1))
    norms = np.linalg.norm(templates, axis=1)
    similarity = templates @ templates.T / np.outer(norms, norms)
    distances = np.linalg.norm(templates[:, None] - templates[None], axis=2)
    limit = float(np.median(distances))
    np.testing.assert_array_equal(near_templates(similarity, norms, distance_maximum=limit), distances < limit)
    assert near_templates(np.ones((2, 2)), [20.0, 25.9]).all()
    assert not near_templates(np.ones((2, 2)), [20.0, 26.1])[0, 1]


def test_shape_decides_where_spikes_cannot() -> None:
    rng = np.random.default_rng(4)
    train = neuron(rng, 3, 60)
    part = pieces(train, rng, 0.6, 0.4)
    same = np.ones((2, 2), dtype=bool)
    np.testing.assert_array_equal(find_merges(train, part, alike(2)), [0, 1])
    np.testing.assert_array_equal(find_merges(train, part, alike(2), same_shape=same), [0, 0])
    np.testing.assert_array_equal(find_merges(train, part, alike(2), same_shape=~same), [0, 1])
    np.testing.assert_array_equal(find_merges(train, part, alike(2, 0.4), same_shape=same), [0, 0])


def test_a_neuron_that_drifted_from_one_template_to_another_is_joined_by_shape() -> None:
    train = neuron(np.random.default_rng(5), 10, 120)
    units = (train > 70).astype(np.int64)
    np.testing.assert_array_equal(find_merges(train, units, alike(2)), [0, 1])
    np.testing.assert_array_equal(find_merges(train, units, alike(2), same_shape=alike(2) > 0), [0, 0])


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InvalidContentsError, match="similarity has shape"):
        find_merges([1.0], [0], np.ones((2, 3)))
    with pytest.raises(InvalidContentsError, match="same_shape"):
        find_merges([1.0], [0], np.ones((2, 2)), same_shape=np.ones(2, dtype=bool))
    with pytest.raises(SpikeTrainError, match="units range from 0 to 5"):
        find_merges([1.0, 2.0], [0, 5], np.ones((2, 2)))
    with pytest.raises(SpikeTrainError, match="NaN"):
        find_merges([np.nan], [0], np.ones((1, 1)))
    with pytest.raises(SpikeTrainError, match="whole numbers"):
        find_merges([1.0], [0.5], np.ones((1, 1)))
    with pytest.raises(SpikeTrainError, match="one of each"):
        find_merges([1.0], [0, 0], np.ones((1, 1)))
    with pytest.raises(ValueError, match="refractory_period_s is"):
        refractory_evidence([1.0], [2.0], refractory_period_s=0.0004)
