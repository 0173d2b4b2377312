"""Unimodality, ISO-SPLIT and the clusters of simulated spikes."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.isotonic import isotonic_regression

from allen_ecephys.errors import InvalidContentsError, InvalidValueError, NonFiniteError
from allen_ecephys.processing.sorting.clusters.clustering import cluster_spikes, is_separate, isosplit, unimodality_dip
from allen_ecephys.processing.sorting.clusters.parcels import discriminant_axis
from allen_ecephys.processing.sorting.clusters.principal_subspace import project_on_subspace
from allen_ecephys.processing.sorting.clusters.unimodality import fit_unimodal


@pytest.mark.parametrize("n", [40, 300, 5000])
@pytest.mark.parametrize("law", ["standard_normal", "random", "standard_exponential"])
def test_one_mode_is_seldom_taken_for_two(n, law):
    rng = np.random.default_rng(n)
    scores = [unimodality_dip(getattr(rng, law)(n))[0] for _ in range(200)]
    # At a true rate of 1 % more than 8 of 200 come with a probability below 1e-4.
    assert np.sum(np.asarray(scores) >= 2) <= 8


@pytest.mark.parametrize(("small", "large"), [(100, 100), (1000, 1000), (200, 5000)])
def test_two_modes_six_deviations_apart_are_seen_and_cut_between(small, large):
    rng = np.random.default_rng(small)
    found = [unimodality_dip(np.r_[rng.standard_normal(large), 6 + rng.standard_normal(small)]) for _ in range(100)]
    scores, cuts = np.array(found).T
    # At a true power of 98 % fewer than 91 of 100 come with a probability below 1e-4.
    assert np.sum(scores >= 2) >= 91
    assert np.all((cuts[scores >= 2] > 1.5) & (cuts[scores >= 2] < 5.5))


def test_degenerate_numbers_have_a_well_formed_answer():
    assert unimodality_dip([])[0] == 0
    assert np.isnan(unimodality_dip([])[1])
    assert unimodality_dip([3.0]) == (0, 3)
    assert unimodality_dip(np.full(100, 2.5)) == (0, 2.5)
    with pytest.raises(NonFiniteError, match="1 of 3"):
        unimodality_dip([1.0, np.nan, 2.0])
    with pytest.raises(InvalidContentsError, match="2 dimensions"):
        unimodality_dip(np.zeros((3, 2)))


def test_separated_heaps_are_found_as_they_were_drawn():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 6, 3000)
    points = 8 * rng.standard_normal((6, 5))[truth] + rng.standard_normal((3000, 5))
    labels = isosplit(points, seed=1)
    assert np.array_equal(labels, isosplit(points, seed=1))
    assert len({(a, b) for a, b in zip(truth, labels, strict=True)}) == 6
    assert np.all(np.diff(np.bincount(labels)) <= 0)


def test_one_heap_stays_whole_and_halves_of_it_are_not_separate():
    rng = np.random.default_rng(3)
    points = rng.standard_normal((2000, 6)) * [9, 1, 1, 1, 1, 1]
    assert isosplit(points).max() == 0
    assert not is_separate(points[:1000], points[1000:])
    assert is_separate(points, points + np.array([0, 7, 0, 0, 0, 0]))
    assert not is_separate(points, points[:0])


@pytest.mark.parametrize("n", [0, 1, 5])
def test_few_points_are_well_formed(n):
    points = np.arange(3.0 * n).reshape(n, 3)
    assert isosplit(points).tolist() == [0] * n
    assert cluster_spikes(points).tolist() == [-1] * n


def test_what_cannot_be_clustered_is_refused():
    points = np.zeros((10, 2))
    points[4, 1] = np.inf
    for call in (isosplit, cluster_spikes):
        with pytest.raises(NonFiniteError, match="1 of 10"):
            call(points)
        with pytest.raises(InvalidContentsError, match="1 dimensions"):
            call(points[:, 0])
        with pytest.raises(InvalidValueError, match="threshold is 0"):
            call(points, threshold=0)


@pytest.mark.parametrize("n", [1, 2, 3, 17, 200])
def test_unimodal_fit_is_the_best_of_all_pairs_of_isotonic_fits(n):
    rng = np.random.default_rng(n)
    values, weights = rng.standard_normal(n) + np.hanning(n), rng.integers(1, 9, n).astype(float)
    fits = []
    for peak in range(n + 1):
        rising = isotonic_regression(values[:peak], sample_weight=weights[:peak]) if peak else []
        falling = isotonic_regression(values[peak:], sample_weight=weights[peak:], increasing=False) if peak < n else []
        fits.append(np.r_[rising, falling])
    errors = [(weights * (fit - values) ** 2).sum() for fit in fits]
    found = fit_unimodal(values, weights)
    assert (weights * (found - values) ** 2).sum() == pytest.approx(min(errors), rel=1e-9, abs=1e-12)
    np.testing.assert_allclose(found, fits[int(np.argmin(errors))], rtol=1e-9, atol=1e-12)


def test_scores_do_not_depend_on_order_scale_or_sign():
    rng = np.random.default_rng(5)
    values = np.r_[rng.standard_normal(300), 4 + rng.standard_normal(500)]
    score, cut = unimodality_dip(values)
    assert unimodality_dip(rng.permutation(values)) == (score, cut)
    assert unimodality_dip(3 * values + 7) == pytest.approx((score, 3 * cut + 7), rel=1e-6)
    assert unimodality_dip(-values) == pytest.approx((score, -cut), rel=1e-6)


def test_repeated_numbers_count_as_two_heaps_where_they_are():
    assert unimodality_dip(np.repeat([0.0, 1.0], 100))[0] > 2
    assert unimodality_dip(np.repeat([0.0, 1.0], 100))[1] == pytest.approx(0.5)


def test_axis_is_the_linear_discriminant_of_many_points():
    rng = np.random.default_rng(2)
    mixing = rng.standard_normal((4, 4))
    a, b = rng.standard_normal((20_000, 4)) @ mixing, rng.standard_normal((30_000, 4)) @ mixing + [1, 2, 3, 4]
    moments = [(float(len(x)), x.mean(axis=0), (x - x.mean(axis=0)).T @ (x - x.mean(axis=0))) for x in (a, b)]
    expected = np.linalg.solve((moments[0][2] + moments[1][2]) / 50_000, moments[1][1] - moments[0][1])
    np.testing.assert_allclose(
        discriminant_axis(*moments[0], *moments[1]), expected / np.linalg.norm(expected), atol=2e-3
    )


def test_subspace_holds_the_leading_components():
    rng = np.random.default_rng(4)
    table = (rng.standard_normal((4000, 30)) * np.r_[9, 7, 5, 3, np.ones(26)]).astype(np.float32)
    projected = project_on_subspace(table, 4)
    expected = table[:, :4] - table[:, :4].mean(axis=0)
    np.testing.assert_allclose((projected**2).sum(axis=1), (expected**2).sum(axis=1), rtol=0.05, atol=2)
    np.testing.assert_array_equal(project_on_subspace(np.ones((50, 30), np.float32), 4), 0)


def test_more_points_than_are_clustered_follow_the_sample():
    rng = np.random.default_rng(6)
    truth = rng.integers(0, 4, 60_000)
    points = (9 * np.eye(4)[truth] + rng.standard_normal((60_000, 4))).astype(np.float32)
    labels = isosplit(points)
    assert labels.max() == 3
    agreement = np.array([np.bincount(labels[truth == unit], minlength=4) for unit in range(4)])
    assert agreement.max(axis=1).sum() > 0.999 * len(points)


# --- spikes -------------------------------------------------------------------------------------------------------


def templates(rng, norms, d=60):
    shapes = rng.standard_normal((len(norms), d)) * np.exp(-np.arange(d) / 15)
    return shapes / np.linalg.norm(shapes, axis=1, keepdims=True) * np.asarray(norms)[:, None]


def spikes_of(rng, template, n, smallest=1.0):
    """Spikes of one unit whose amplitude adapts down to `smallest`, in unit noise."""
    amplitude = (1 - (1 - smallest) * rng.beta(1, 2, n)) * (1 + 0.06 * rng.standard_normal(n))
    return template * amplitude[:, None] + rng.standard_normal((n, len(template)))


def test_an_adapting_unit_stays_one():
    # 40 units, none split: the rate is below 7 % at 95 % confidence.
    for seed in range(40):
        rng = np.random.default_rng(seed)
        unit = spikes_of(rng, templates(rng, [rng.uniform(10, 40)])[0], 800, smallest=0.5)
        overlapped = rng.random(800) < 0.15
        unit[overlapped] += np.roll(templates(rng, [20] * overlapped.sum()), 7, axis=1)
        labels = cluster_spikes(unit, seed=seed)
        assert np.bincount(labels + 1)[1] > 0.85 * 800, seed
        assert np.mean(labels[~overlapped] == 0) > 0.97, seed


def test_a_bursting_unit_of_two_amplitudes_stays_one_unless_asked():
    rng = np.random.default_rng(1)
    template = templates(rng, [35])[0]
    features = np.concatenate([spikes_of(rng, template, 600), spikes_of(rng, 0.65 * template, 300)])
    assert cluster_spikes(features).max() == 0
    assert cluster_spikes(features, same_shape=0).max() == 1


def test_units_six_deviations_apart_are_told_apart():
    rights = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        first = templates(rng, [25])[0]
        away = rng.standard_normal(60)
        away -= first * (away @ first) / (first @ first)
        second = first + 6 * away / np.linalg.norm(away)
        features = np.concatenate([spikes_of(rng, first, 1000, 0.7), spikes_of(rng, second, 300, 0.7)])
        labels = cluster_spikes(features)
        rights.append(labels.max() == 1 and np.mean(labels == np.repeat([0, 1], [1000, 300])) > 0.98)
    # At a true rate of 98 % fewer than 17 of 20 come with a probability below 1e-3.
    assert np.sum(rights) >= 17


def test_a_small_unit_beside_a_large_one_and_many_others_is_found():
    rng = np.random.default_rng(8)
    shapes = templates(rng, [12, 18, 22, 26, 30, 34])
    sizes = [4000, 2000, 800, 300, 100, 50]
    truth = np.repeat(np.arange(6), sizes)
    features = np.concatenate([spikes_of(rng, s, n, 0.6) for s, n in zip(shapes, sizes, strict=True)])
    labels = cluster_spikes(features)
    assert labels.max() == 5
    assert np.mean(labels == truth) > 0.98
    shuffled = rng.permutation(len(truth))
    again = cluster_spikes(features[shuffled])
    assert np.mean(again == labels[shuffled]) > 0.99
    assert np.array_equal(labels, cluster_spikes(features))


def test_identical_spikes_are_one_unit():
    assert cluster_spikes(np.full((200, 30), 3.0)).tolist() == [0] * 200
    assert cluster_spikes(np.zeros((200, 30))).tolist() == [0] * 200
