"""Unimodality, ISO-SPLIT and the clusters of simulated spikes."""

from __future__ import annotations

import numpy as np
import pytest

from allen_ecephys.errors import InvalidContentsError, NonFiniteError, UnknownNameError
from allen_ecephys.processing.sorting.clustering import cluster_spikes, is_separate, isosplit, unimodality_dip


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
        with pytest.raises(UnknownNameError, match="threshold is 0"):
            call(points, threshold=0)
