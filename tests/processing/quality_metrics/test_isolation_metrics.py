"""Isolation metrics: golden numbers, plain twins, scikit-learn and SpikeInterface on the same points."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import silhouette_score
from sklearn.neighbors import NearestNeighbors

from allen_ecephys.errors import NonFiniteError
from allen_ecephys.processing.quality_metrics.features import SpikeFeatures
from allen_ecephys.processing.quality_metrics.isolation import (
    d_prime,
    isolation_distance,
    l_ratio,
    nearest_neighbor_rates,
)
from allen_ecephys.processing.quality_metrics.silhouette import silhouette_scores
from allen_ecephys.processing.quality_metrics.unit_isolation import isolation_metrics, peak_sites
from allen_ecephys.processing.sorted_spikes import SortedSpikes


def golden_points() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.RandomState(0)
    own, others = random.randn(200, 3), random.randn(300, 3)
    others[:, 0] += 4
    return own, others


def clusters(seed: int = 0, n_own: int = 300, n_others: int = 900, dim: int = 39) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(0, 1, (n_own, dim)), rng.normal(0.4, 1.2, (n_others, dim))


def test_golden_isolation_distance_and_l_ratio() -> None:
    own, others = golden_points()
    assert isolation_distance(own, others) == pytest.approx(19.782375553695264, rel=1e-12)
    assert l_ratio(own, others) == pytest.approx(0.01805797249250873, rel=1e-12)
    # The release divides by the number of other spikes.
    assert l_ratio(own, others, divide_by_others=True) == pytest.approx(0.01805797249250873 * 200 / 300, rel=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_isolation_distance_equals_scipy(seed: int) -> None:
    from scipy.spatial.distance import cdist

    own, others = clusters(seed, 150, 400, 12)
    squared = np.sort(cdist(own.mean(axis=0)[None], others, "mahalanobis", VI=np.linalg.inv(np.cov(own.T)))[0] ** 2)
    assert isolation_distance(own, others) == pytest.approx(squared[149], rel=1e-10)
    assert isolation_distance(others, own) != isolation_distance(own, others)


def test_d_prime_of_nearly_singular_features() -> None:
    """Two features that differ by a millionth: the direction between them made d' tens of thousands."""
    rng = np.random.default_rng(3)
    own, others = rng.normal(size=(400, 3)), rng.normal([2.0, 0.0, 0.0], size=(4000, 3))
    own[:, 2] = own[:, 0] + 1e-7 * rng.normal(size=400)
    others[:, 2] = others[:, 0] + 1e-7 * rng.normal(size=4000) + 1e-2
    alone = d_prime(own[:, :2], others[:, :2])
    assert abs(alone) == pytest.approx(2, rel=0.1)
    assert d_prime(own, others) == pytest.approx(alone, rel=1e-2)
    x, labels = np.concatenate((own, others)), np.repeat([1, 0], (400, 4000))
    projected = LinearDiscriminantAnalysis(n_components=1).fit_transform(x, labels)[:, 0]
    a, b = projected[:400], projected[400:]
    expected = abs(a.mean() - b.mean()) / np.sqrt((a.var() + b.var()) / 2)
    assert abs(d_prime(own, others)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_d_prime_equals_linear_discriminant_analysis(seed: int) -> None:
    own, others = clusters(seed)
    labels = np.repeat([1, 0], [len(own), len(others)])
    projected = LinearDiscriminantAnalysis(n_components=1).fit_transform(np.concatenate((own, others)), labels)[:, 0]
    one, two = projected[labels == 1], projected[labels == 0]
    expected = abs(one.mean() - two.mean()) / np.sqrt(0.5 * (one.std() ** 2 + two.std() ** 2))
    assert d_prime(own, others) == pytest.approx(expected, rel=1e-9)


def neighbor_twin(own: np.ndarray, others: np.ndarray, max_spikes: int = 10_000) -> tuple[float, float]:
    points, n_own = np.concatenate((own, others)), len(own)
    if len(points) > max_spikes:
        n_own = int(n_own * max_spikes / len(points))
        points = points[np.arange(0, len(points) - 1, len(points) / max_spikes).astype(int)]
    near = NearestNeighbors(n_neighbors=4, algorithm="ball_tree").fit(points).kneighbors(return_distance=False)[:, :3]
    return (near[:n_own] < n_own).mean(), (near[n_own:] < n_own).mean()


@pytest.mark.parametrize("scale", [1e-4, 1.0, 300.0])
@pytest.mark.parametrize("shift", [0.0, 1e4])
def test_neighbors_are_exact(scale: float, shift: float) -> None:
    own, others = clusters(1, 400, 800)
    own, others = own * scale + shift, others * scale + shift
    assert nearest_neighbor_rates(own, others) == pytest.approx(neighbor_twin(own, others), abs=0)


def test_neighbors_of_many_spikes_are_subsampled() -> None:
    own, others = clusters(2, 300, 1500, 6)
    found = nearest_neighbor_rates(own, others, max_spikes=700)
    assert found == pytest.approx(neighbor_twin(own, others, 700), abs=0)
    assert found != nearest_neighbor_rates(own, others)


def test_nearly_equal_distances_are_told_apart() -> None:
    """Points on a line 1e-9 apart: single precision sees them as one."""
    own = 100.0 + 1e-9 * np.arange(10.0)[:, None]
    others = 100.0 + 1e-9 * (np.arange(10.0)[:, None] + 10.3)
    assert nearest_neighbor_rates(own, others) == pytest.approx(neighbor_twin(own, others), abs=0)


def test_far_apart_and_alike() -> None:
    own, others = clusters(3)
    assert nearest_neighbor_rates(own, others + 100) == (1.0, 0.0)
    assert d_prime(own, others + 100) > 100
    assert l_ratio(own, others + 100) == 0.0
    near, far = isolation_distance(own, others), isolation_distance(own, others + 1)
    assert far > near


def test_few_spikes_and_singular_covariances_are_nan() -> None:
    own, others = clusters(0, 1, 30)
    assert np.isnan(isolation_distance(own, others))
    assert np.isnan(l_ratio(own, others))
    flat = np.zeros((30, 39))
    assert np.isnan(isolation_distance(flat, others))
    assert np.isnan(d_prime(flat, flat))
    assert np.isnan(d_prime(own[:0], others))
    assert np.isnan(l_ratio(others, own[:0]))
    assert np.isnan(nearest_neighbor_rates(own, others[:2])).all()
    assert np.isnan(isolation_distance(clusters()[0], own))


def test_nan_features_are_refused() -> None:
    """P6: a NaN would silently empty every comparison."""
    own, others = clusters()
    others[3, 3] = np.nan
    for metric in (isolation_distance, l_ratio, d_prime, nearest_neighbor_rates):
        with pytest.raises(NonFiniteError, match="NaN"):
            metric(own, others)
    with pytest.raises(ValueError, match="equal features"):
        d_prime(own, others[:, :5])


# --- from a probe's features -------------------------------------------------------------------------------------


def probe(
    seed: int = 0, n_units: int = 8, n_channels: int = 60, counts: tuple[int, ...] = (700, 90, 400, 1500, 10)
) -> tuple[SortedSpikes, SpikeFeatures]:
    """Make units along a probe whose components fall off with distance from their peak."""
    rng = np.random.default_rng(seed)
    peaks = np.sort(rng.integers(0, n_channels, n_units))
    first = np.clip(peaks - 12, 0, n_channels - 25)
    units = np.repeat(np.arange(n_units), [counts[u % len(counts)] for u in range(n_units)])
    units = rng.permutation(units)
    shape = np.exp(-np.abs(first[:, None] + np.arange(25) - peaks[:, None]) / 3.0)
    pcs = rng.normal(0, 4, (units.size, 3, 25))
    pcs += (shape * rng.uniform(15, 40, n_units)[:, None])[units][:, None] * np.array([1, 0.2, -0.1])[:, None]
    spikes = SortedSpikes.from_arrays(np.arange(units.size) * 100, units * 3)
    features = SpikeFeatures(
        pcs.astype(np.float32),
        np.ones(units.size, dtype=np.float32),
        first.astype(np.int64),
        np.arange(n_channels),
        np.zeros((3, 61), dtype=np.float32),
        10.0 * np.arange(n_channels),
        np.zeros(n_channels, dtype=np.int64),
        np.zeros(n_channels, dtype=np.int64),
    )
    return spikes, features


def points_of(features: SpikeFeatures, spikes: SortedSpikes, unit: int, low: int, high: int) -> np.ndarray:
    """Return all components of a unit on channels low to high, as a plain matrix."""
    columns = np.arange(low, high + 1) - features.first_sites[unit]
    return features.pcs[spikes.unit_index == unit][:, :, columns].reshape(-1, 3 * columns.size).astype(np.float64)


def test_units_are_compared_with_those_near_by() -> None:
    """With 500 spikes or fewer every spike takes part, and the plain functions on the same points agree."""
    spikes, features = probe(counts=(300, 90, 400, 250, 10))
    result = isolation_metrics(features, spikes)
    peaks = peak_sites(features, spikes.rows_by_unit())
    measured = 0
    for unit in range(spikes.n_units):
        low, high = max(peaks[unit] - 6, 0), min(peaks[unit] + 6, 59)
        near = [u for u in range(spikes.n_units) if low <= peaks[u] <= high and u != unit]
        own = points_of(features, spikes, unit, low, high)
        if len(own) <= 20 or not near:
            assert all(np.isnan(values[unit]) for values in result.values())
            continue
        others = np.concatenate([points_of(features, spikes, u, low, high) for u in near])
        measured += 1
        assert result["isolation_distance"][unit] == pytest.approx(isolation_distance(own, others), rel=1e-9)
        assert result["l_ratio_corrected"][unit] == pytest.approx(l_ratio(own, others), rel=1e-9)
        assert result["l_ratio"][unit] == pytest.approx(l_ratio(own, others, divide_by_others=True), rel=1e-9)
        assert result["d_prime"][unit] == pytest.approx(d_prime(own, others), rel=1e-9)
        hit, miss = nearest_neighbor_rates(own, others)
        assert (result["nn_hit_rate"][unit], result["nn_miss_rate"][unit]) == (hit, miss)
    assert measured >= 3


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """P5: spikes of other units come in blocks of any size."""
    spikes, features = probe(1)
    whole = isolation_metrics(features, spikes)
    monkeypatch.setattr("allen_ecephys.processing.quality_metrics.unit_isolation.BLOCK", 37)
    for name, values in isolation_metrics(features, spikes).items():
        np.testing.assert_allclose(values, whole[name], rtol=1e-9)


def test_draws_are_seeded() -> None:
    spikes, features = probe(2)
    first, again = isolation_metrics(features, spikes, seed=1), isolation_metrics(features, spikes, seed=1)
    other = isolation_metrics(features, spikes, seed=2)
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
    assert (first["isolation_distance"] != other["isolation_distance"]).any()


def test_silhouette_equals_scikit_learn() -> None:
    spikes, features = probe(3, n_units=5, counts=(40, 25, 60, 1))
    sparse = np.zeros((len(spikes), 3, 60))
    for row, unit in enumerate(spikes.unit_index):
        start = features.first_sites[unit]
        sparse[row, :, start : start + 25] = features.pcs[row]
    sparse = sparse.reshape(len(spikes), -1)
    expected = np.full(spikes.n_units, np.nan)
    for one in range(spikes.n_units):
        for two in range(one):
            mask = np.isin(spikes.unit_index, [one, two])
            score = silhouette_score(sparse[mask], spikes.unit_index[mask])
            expected[[one, two]] = np.fmin(expected[[one, two]], score)
    depths = np.arange(5.0)
    np.testing.assert_allclose(silhouette_scores(features, spikes, depths, max_distance=1e9), expected, rtol=1e-9)


def test_silhouette_looks_at_neighbors_only() -> None:
    spikes, features = probe(4, n_units=12, n_channels=200, counts=(80,))
    depths = 10.0 * peak_sites(features, spikes.rows_by_unit())
    near, everyone = (
        silhouette_scores(features, spikes, depths),
        silhouette_scores(features, spikes, depths, max_distance=np.inf),
    )
    assert (near >= everyone).all()
    assert (near > everyone).any()
    # A unit with nobody near is compared with the one nearest in depth.
    alone = silhouette_scores(features, spikes, depths, max_distance=0.0)
    assert np.isfinite(alone).all()
    assert (alone >= near).all()


def test_silhouette_of_a_single_unit_is_nan() -> None:
    spikes, features = probe(5, n_units=1)
    assert np.isnan(silhouette_scores(features, spikes, np.zeros(1))).all()
    assert all(np.isnan(values).all() for values in isolation_metrics(features, spikes).values())


# --- SpikeInterface ----------------------------------------------------------------------------------------------


@pytest.mark.peers
def test_same_points_same_numbers_as_spikeinterface() -> None:
    from spikeinterface.metrics.quality import pca_metrics as theirs

    own, others = clusters(5, 400, 1100, 20)
    points, labels = np.concatenate((own, others)), np.repeat([7, 8], [400, 1100])
    distance, ratio = theirs.mahalanobis_metrics(points, labels, 7)
    assert isolation_distance(own, others) == pytest.approx(distance, rel=1e-9)
    assert l_ratio(own, others) == pytest.approx(ratio, rel=1e-9)
    assert d_prime(own, others) == pytest.approx(abs(theirs.d_prime_metric(points, labels, 7)), rel=1e-6)
    hit, miss = theirs.nearest_neighbors_metrics(points, labels, 7, 10_000, 4)
    assert nearest_neighbor_rates(own, others, n_neighbors=5) == pytest.approx((float(hit), float(miss)), abs=1e-12)
