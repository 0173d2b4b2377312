"""Splits: plain twins of every step, two neurons in one unit, and single neurons that must stay whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

from allen_ecephys.errors import InvalidContentsError, SpikeTrainError
from allen_ecephys.processing.sorting.units import splitting
from allen_ecephys.processing.sorting.units.bimodal_pursuit import RunningAverage, leading_axes, pursue
from allen_ecephys.processing.sorting.units.splitting import SplitUnits, split_units

BASIS = np.linalg.qr(np.random.default_rng(9).standard_normal((61, 3)))[0]
CHANNELS = np.arange(32)[None]


def template(rng: np.random.Generator, size: float) -> np.ndarray:
    """Return features (3, 32) of a waveform that decays with distance."""
    heights = np.exp(-np.arange(32) / 4) * rng.uniform(0.6, 1.4, 32)
    shape = np.stack([heights, 0.4 * heights * rng.standard_normal(32), 0.25 * heights * rng.standard_normal(32)])
    return shape / np.linalg.norm(shape) * size


def turned(first: np.ndarray, cosine: float, rng: np.random.Generator) -> np.ndarray:
    """Return a waveform of the same size at an angle to another."""
    other = template(rng, 1.0)
    unit = first / np.linalg.norm(first)
    other -= (other * unit).sum() * unit
    return np.linalg.norm(first) * (cosine * unit + np.sqrt(1 - cosine**2) * other / np.linalg.norm(other))


def neuron(rng: np.random.Generator, n: int, duration: float) -> np.ndarray:
    """Return n spikes of a refractory neuron over about `duration` seconds."""
    return np.cumsum(0.002 + rng.exponential(duration / n - 0.002, n))


def spikes(rng: np.random.Generator, waveform: np.ndarray, times: np.ndarray, adaptation: float = 0.25) -> np.ndarray:
    """Return features of spikes whose amplitude jitters and falls after each spike, in noise of SD 1."""
    intervals = np.diff(times, prepend=-10.0)
    sizes = (1 - adaptation * np.exp(-intervals / 0.02)) * (1 + 0.06 * rng.standard_normal(times.size))
    return (sizes[:, None, None] * waveform + rng.standard_normal((times.size, 3, 32))).astype(np.float32)


def mixed(seed: int, counts: tuple[int, ...], size: float, cosine: float, duration: float = 120.0):
    """Return times, features and neuron of the spikes of several neurons, in time order."""
    rng = np.random.default_rng(seed)
    first = template(rng, size)
    waveforms = [first] + [turned(first, cosine, rng) for _ in counts[1:]]
    trains = [neuron(rng, n, duration) for n in counts]
    times = np.concatenate(trains)
    features = np.concatenate([spikes(rng, *pair) for pair in zip(waveforms, trains, strict=True)])
    order = np.argsort(times)
    return times[order], features[order], np.repeat(np.arange(len(counts)), counts)[order]


def split(times: np.ndarray, features: np.ndarray, **more) -> SplitUnits:
    zeros = np.zeros(times.size, np.int64)
    return split_units(times, zeros, features, CHANNELS, zeros, BASIS, n_channels=32, **more)


def plain_pursuit(points: np.ndarray, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit as the rule is told, with library densities; return direction and the first Gaussian's responsibilities."""
    values = points @ direction
    one = (values > values.mean()).astype(float)

    def moments() -> list[tuple[float, float, float]]:
        out = []
        for weight in (one, 1 - one):
            mean = np.average(values, weights=weight)
            out.append((mean, np.average((values - mean) ** 2, weights=weight), weight.mean()))
        return out

    both = moments()
    for k in range(1, 51):
        densities = np.array([share * norm.pdf(values, mean, np.sqrt(spread)) for mean, spread, share in both])
        one = densities[0] / densities.sum(axis=0)
        both = moments()
        if k >= 11 and k % 2 == 1:
            weight = one / both[0][1] + (1 - one) / both[1][1]
            pull = one * both[0][0] / both[0][1] + (1 - one) * both[1][0] / both[1][1]
            direction = np.linalg.solve(points.T @ np.diag(weight) @ points, points.T @ pull)
            direction /= np.linalg.norm(direction)
            values = points @ direction
    return direction, one


def bimodality(one: np.ndarray) -> float:
    return float(min(one[one > 0.5].mean(), 1 - one[one <= 0.5].mean()))


@pytest.mark.parametrize("seed", range(3))
def test_pursuit_equals_its_plain_twin(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((400, 6)) * [3, 2, 1, 1, 1, 1]
    points[:150, 3] += 5
    points -= points.mean(axis=0)
    start = np.full(6, 6**-0.5)
    direction, mixture = pursue(points, start)
    expected, one = plain_pursuit(points, start)
    np.testing.assert_allclose(direction, expected, rtol=1e-8, atol=1e-10)
    assert mixture[4] == pytest.approx(one.mean(), rel=1e-8)
    assert np.abs(direction[3]) > 0.95


def test_leading_axes_are_principal_components() -> None:
    rng = np.random.default_rng(0)
    points = (rng.standard_normal((3000, 96)) * np.r_[12.0, 8, 6, 4, 3, np.ones(91)]).astype(np.float32)
    axes = leading_axes(points, 5)
    assert axes.shape == (96, 5)
    np.testing.assert_allclose(axes.T @ axes, np.eye(5), atol=1e-12)
    vectors = np.linalg.eigh(points.T.astype(float) @ points)[1][:, ::-1]
    assert np.abs((axes * vectors[:, :5]).sum(axis=0)).min() > 0.99
    assert leading_axes(np.ones((50, 4), np.float32) * np.float32(2), 3).shape == (4, 1)
    assert leading_axes(np.zeros((50, 4), np.float32), 3).shape == (4, 0)


@pytest.mark.parametrize(("n", "spread"), [(3000, 250), (700, 140)])
def test_running_average_equals_the_plain_twin(n: int, spread: float) -> None:
    rng = np.random.default_rng(1)
    points = (rng.standard_normal((n, 4)) + np.linspace(0, 9, n)[:, None]).astype(np.float32)
    i = np.arange(n)
    weights = np.exp(-0.5 * ((i[:, None] - i) / spread) ** 2)
    expected = points - weights @ points / weights.sum(axis=1, keepdims=True)
    average = RunningAverage.over(points, i)
    np.testing.assert_allclose(average.removed_from(points)[25:-25], expected[25:-25], atol=0.02)
    direction = rng.standard_normal(4)
    np.testing.assert_allclose(
        average.along(direction, n), (points - average.removed_from(points)) @ direction, atol=1e-4
    )


def test_noise_is_bimodal_by_chance_among_all_features_but_not_among_few() -> None:
    rng = np.random.default_rng(2)
    noise = rng.standard_normal((700, 96))
    noise -= noise.mean(axis=0)
    assert bimodality(plain_pursuit(noise, np.eye(96)[0])[1]) > 0.9
    assert bimodality(plain_pursuit(noise[:, :12], np.eye(12)[0])[1]) < 0.87


@pytest.mark.parametrize("counts", [(180, 90), (1000, 700), (2000, 400)])
@pytest.mark.parametrize(("size", "cosine"), [(15, 0.6), (15, 0.85), (40, 0.85)])
def test_two_neurons_in_a_unit_are_told_apart(counts: tuple[int, int], size: float, cosine: float) -> None:
    times, features, truth = mixed(0, counts, size, cosine)
    found = split(times, features)
    np.testing.assert_array_equal(found.parents, [0, 0])
    np.testing.assert_array_equal(found.is_new, [False, True])
    assert (found.labels == truth).mean() > 0.99
    np.testing.assert_array_equal(found.labels, split(times, features).labels)


def test_three_neurons_become_three_units_the_largest_keeping_the_number() -> None:
    times, features, truth = mixed(1, (500, 1200, 800), 25, 0.5)
    found = split(times, features)
    np.testing.assert_array_equal(found.parents, [0, 0, 0])
    assert (found.labels == np.array([2, 0, 1])[truth]).mean() > 0.99


def test_other_units_are_left_alone() -> None:
    times, features, truth = mixed(2, (1000, 700), 25, 0.5)
    rng = np.random.default_rng(2)
    more, quiet = neuron(rng, 900, 120), neuron(rng, 5, 100)
    times = np.concatenate((times, more, quiet))
    features = np.concatenate((features, spikes(rng, template(rng, 20), more), spikes(rng, template(rng, 20), quiet)))
    units = np.repeat([1, 0, 3], [1700, 900, 5])
    # In an order that is not that of time.
    order = rng.permutation(times.size)
    found = split_units(
        times[order], units[order], features[order], np.tile(CHANNELS, (4, 1)), units[order], BASIS, n_channels=32
    )
    np.testing.assert_array_equal(found.parents, [0, 1, 2, 3, 1])
    np.testing.assert_array_equal(found.labels[units[order] != 1], units[order][units[order] != 1])
    expected = np.concatenate((np.where(truth == 0, 1, 4), units[1700:]))[order]
    assert (found.labels == expected).mean() > 0.99


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("n", [150, 700, 1500])
@pytest.mark.parametrize("size", [12, 40])
def test_a_single_neuron_stays_whole(seed: int, n: int, size: float) -> None:
    rng = np.random.default_rng(seed)
    times = neuron(rng, n, 100)
    assert split(times, spikes(rng, template(rng, size), times, adaptation=0.4)).parents.size == 1


def test_drift_is_no_second_neuron() -> None:
    rng = np.random.default_rng(5)
    waveform = template(rng, 30)
    aside = turned(waveform, 0.0, rng)
    times = neuron(rng, 1500, 200)
    features = spikes(rng, waveform, times)
    for path in (times / 200, np.sin(times / 200 * 2 * np.pi), times > 90, (times > 60) & (times < 140)):
        moved = features + (0.6 * path[:, None, None] * aside).astype(np.float32)
        assert split(times, moved).parents.size == 1
    # And does not hide one.
    two, features, truth = mixed(6, (900, 700), 30, 0.7, 200.0)
    found = split(two, features + (0.4 * np.sin(two / 32)[:, None, None] * aside).astype(np.float32))
    assert found.parents.size == 2
    assert (found.labels == truth).mean() > 0.98


def test_halves_refractory_to_each_other_stay_one() -> None:
    rng = np.random.default_rng(7)
    first = template(rng, 30)
    shapes = np.stack([first, turned(first, 0.6, rng)])
    which = rng.integers(0, 2, 3000)
    noise = rng.standard_normal((3000, 3, 32))
    features = (shapes[which] + noise).astype(np.float32)
    assert split(neuron(rng, 3000, 100), features).parents.size == 1
    # The same spikes without a refractory period are two neurons.
    assert split(np.sort(rng.uniform(0, 100, 3000)), features).parents.size == 2


def test_halves_that_never_fire_together_stay_one() -> None:
    rng = np.random.default_rng(8)
    first = template(rng, 30)
    shapes = np.stack([first, turned(first, 0.6, rng)])
    times = np.sort(rng.uniform(0, 400, 3000))
    turns = (times // 4 % 2).astype(int)
    noise = rng.standard_normal((3000, 3, 32))
    assert split(times, (shapes[turns] + noise).astype(np.float32)).parents.size == 1
    assert split(times, (shapes[rng.permutation(turns)] + noise).astype(np.float32)).parents.size == 2


@pytest.mark.parametrize(
    ("size", "cosine", "ratio", "n_units"),
    [
        (120, 1.0, 0.85, 1), (120, 1.0, 0.5, 1),  # bursts
        (9, 0.96, 0.85, 1),  # hardly apart
        (120, 0.94, 0.85, 2), (120, 0.94, 0.7, 2), (12, 0.92, 0.5, 2),
    ],
)  # fmt: skip
def test_halves_of_one_shape_stay_one(size: float, cosine: float, ratio: float, n_units: int) -> None:
    rng = np.random.default_rng(9)
    first = template(rng, size)
    shapes = np.stack([first, ratio * turned(first, cosine, rng)])
    features = shapes[rng.integers(0, 2, 3000)] + rng.standard_normal((3000, 3, 32))
    # A spike a second: coincidences say nothing.
    assert split(neuron(rng, 3000, 3000), features.astype(np.float32)).parents.size == n_units


def test_halves_of_one_shape_that_fire_as_two_neurons_are_cut() -> None:
    rng = np.random.default_rng(9)
    first = template(rng, 30)
    features = rng.choice([1.0, 0.6], 3000)[:, None, None] * first + rng.standard_normal((3000, 3, 32))
    assert split(neuron(rng, 3000, 100), features.astype(np.float32)).parents.size == 1
    assert split(np.sort(rng.uniform(0, 100, 3000)), features.astype(np.float32)).parents.size == 2


def test_clear_halves_that_do_not_coincide_stay_one() -> None:
    """A neuron of 15 Hz that moves to and fro faster than correlograms see."""
    rng = np.random.default_rng(12)
    first = template(rng, 60)
    shapes = np.stack([first, 0.95 * turned(first, 0.96, rng)])
    features = (shapes[rng.integers(0, 2, 1200)] + rng.standard_normal((1200, 3, 32))).astype(np.float32)
    assert split(neuron(rng, 1200, 80), features).parents.size == 1
    assert split(np.sort(rng.uniform(0, 80, 1200)), features).parents.size == 2


def test_noise_in_the_means_of_few_spikes_is_no_difference_of_shape() -> None:
    rng = np.random.default_rng(10)
    waveform = template(rng, 6).ravel()
    parts = [(size * waveform + rng.standard_normal((n, 96))).astype(np.float32) for size, n in ((1.0, 60), (0.6, 240))]
    assert np.corrcoef(parts[0].mean(axis=0), parts[1].mean(axis=0))[0, 1] < splitting.SAME_SHAPE
    alike, sizes = splitting.likeness((parts[0], parts[1]), BASIS)
    assert alike > splitting.SAME_SHAPE
    np.testing.assert_allclose(sizes, [6.0, 3.6], rtol=0.1)


def test_overlapped_spikes_are_no_second_neuron() -> None:
    rng = np.random.default_rng(14)
    waveform = template(rng, 15)
    aside = turned(waveform, 0.3, rng) / 15
    times = np.sort(rng.uniform(0, 100, 1500))
    which = rng.random(1500) < 0.2
    noise = rng.standard_normal((1500, 3, 32))
    for sizes, n_units in ((np.full(1500, 12.0), 2), (rng.uniform(6, 24, 1500), 1)):
        features = waveform + (which * sizes)[:, None, None] * aside + noise
        assert split(times, features.astype(np.float32)).parents.size == n_units


def test_parts_of_one_shape_are_joined_again() -> None:
    rng = np.random.default_rng(15)
    waveform = template(rng, 60)
    # One neuron in two sizes: another one is cut off together with its small ones first.
    shapes = np.stack([waveform, 0.55 * waveform, turned(waveform, 0.5, rng)])
    truth = rng.choice(3, 4000, p=[0.6, 0.2, 0.2])
    features = (shapes[truth] + rng.standard_normal((4000, 3, 32))).astype(np.float32)
    found = split(np.sort(rng.uniform(0, 200, 4000)), features)
    assert found.parents.size == 2
    assert (found.labels == (truth == 2)).all()


def test_small_halves_and_impure_ones_stay() -> None:
    times, features, _ = mixed(10, (600, 39), 25, 0.5)
    assert split(times, features).parents.size == 1
    assert split(times, features, minimum_spikes=38).parents.size == 2
    times, features, _ = mixed(10, (9000, 400), 25, 0.5)
    assert split(times, features).parents.size == 1  # less than 5 %
    times, features, _ = mixed(10, (1000, 1000), 15, 0.85)
    assert split(times, features, AUCsplit=0.9).parents.size == 2
    assert split(times, features, AUCsplit=0.9999).parents.size == 1


def test_units_of_many_spikes_are_fitted_on_some_and_classified_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times, features, truth = mixed(11, (2600, 1400), 25, 0.7)
    file = np.memmap(tmp_path / "features.dat", np.float32, "w+", shape=features.shape)
    file[:] = features
    whole = split(times, file)
    monkeypatch.setattr(splitting, "MOST_FITTED", 700)
    monkeypatch.setattr(splitting, "BLOCK", 300)
    some = split(times, file)
    assert some.parents.size == whole.parents.size == 2
    assert (some.labels == truth).mean() > 0.99
    assert (some.labels == whole.labels).mean() > 0.99


def test_features_on_other_channels_are_brought_to_those_of_the_unit() -> None:
    times, features, truth = mixed(12, (1000, 700), 25, 0.6)
    rng = np.random.default_rng(12)
    # A second template spans the same channels in another order, a third lacks six of them.
    shuffled = rng.permutation(32)
    channels = np.stack([np.arange(32), shuffled, np.r_[np.arange(26)[::-1], np.arange(32, 38)]])
    template_of = rng.integers(0, 3, times.size)
    stored = features.copy()
    stored[template_of == 1] = features[template_of == 1][:, :, shuffled]
    third = np.concatenate((features[:, :, :26][:, :, ::-1], 50 + np.zeros((times.size, 3, 6), np.float32)), axis=2)
    stored[template_of == 2] = third[template_of == 2]
    zeros = np.zeros(times.size, np.int64)
    on_own = split_units(times, zeros, features, channels, zeros, BASIS, n_channels=38)
    both = np.minimum(template_of, 1)
    two = np.where((both == 1)[:, None, None], features[:, :, shuffled], features)
    assert np.array_equal(on_own.labels, split_units(times, zeros, two, channels, both, BASIS, n_channels=38).labels)
    three = split_units(times, zeros, stored, channels, template_of, BASIS, n_channels=38)
    np.testing.assert_array_equal(three.parents, [0, 1, 2, 0])
    assert (three.labels == np.where(truth == 0, 0, 3)).mean() > 0.99


def test_a_channel_that_a_template_lacks_does_not_split_the_unit() -> None:
    rng = np.random.default_rng(13)
    times = neuron(rng, 2000, 2000)  # too sparse for the correlogram to tell
    features = spikes(rng, np.full((3, 32), 4.0), times)
    channels = np.stack([np.arange(32), np.r_[np.arange(20), np.arange(32, 44)]])
    template_of = rng.integers(0, 2, times.size)
    zeros = np.zeros(times.size, np.int64)
    assert split_units(times, zeros, features, channels, template_of, BASIS, n_channels=44).parents.size == 2


def test_features_that_do_not_vary_and_no_spikes() -> None:
    assert split(np.arange(900.0), np.ones((900, 3, 32), np.float32)).parents.size == 1
    assert split(np.arange(900.0), np.zeros((900, 3, 32), np.float32)).parents.size == 1
    none = split_units([], [], np.zeros((0, 3, 32), np.float32), CHANNELS, [], BASIS, n_channels=32)
    assert none.labels.size == 0
    np.testing.assert_array_equal(none.parents, [0])


def test_what_does_not_fit_is_refused() -> None:
    times, features, zeros = np.arange(3.0), np.zeros((3, 3, 32), np.float32), np.zeros(3, np.int64)
    with pytest.raises(InvalidContentsError, match="features have shape"):
        split_units(times, zeros, features[:2], CHANNELS, zeros, BASIS, n_channels=32)
    with pytest.raises(InvalidContentsError, match="feature_channels range from 0 to 31"):
        split_units(times, zeros, features, CHANNELS, zeros, BASIS, n_channels=31)
    with pytest.raises(SpikeTrainError, match="units range"):
        split_units(times, zeros, features, CHANNELS, zeros + 1, BASIS, n_channels=32)
