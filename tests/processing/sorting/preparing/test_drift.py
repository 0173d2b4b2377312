"""Drift: kernels against NumPy, paths against enumeration, simulated movement that must be found, stillness kept."""

from __future__ import annotations

import itertools
import logging
from dataclasses import dataclass

import numpy as np
import pytest

from allen_ecephys.errors import InvalidContentsError
from allen_ecephys.processing.simulation.raw.recording import RawGroundTruth
from allen_ecephys.processing.sorting.parameters import SortingParameters
from allen_ecephys.processing.sorting.preparing.detection import channels_within, list_peaks
from allen_ecephys.processing.sorting.preparing.drift import (
    BATCH_SAMPLES,
    Drift,
    add_votes,
    best_path,
    block_centres,
    estimate_drift,
    shared_weights,
    usual_place,
)
from allen_ecephys.processing.sorting.preparing.drift_pass import drift_pass, looked_at
from allen_ecephys.processing.sorting.preparing.front_end import front_end
from allen_ecephys.processing.sorting.preparing.peaks import (
    BEFORE,
    generic_spike,
    localize_peaks,
    match_waveform,
    noise_levels,
    place_peaks,
)

# --- kernels -----------------------------------------------------------------------------------------------------


def test_votes_equal_numpy() -> None:
    rng = np.random.default_rng(0)
    n, reach = 200, 7
    batch, place = rng.integers(0, 5, n), rng.integers(reach, 40 - reach, n)
    size, weight, density = rng.integers(0, 3, n), rng.random(n), rng.normal(size=(3, 40))
    votes = np.zeros((5, 2 * reach + 1))
    add_votes(batch, place, size, weight, density, reach, votes)
    wanted = np.zeros_like(votes)
    for b, z, a, w in zip(batch, place, size, weight, strict=True):
        for shift in range(-reach, reach + 1):
            wanted[b, reach + shift] += w * density[a, z - shift]
    np.testing.assert_allclose(votes, wanted, rtol=1e-12)


@pytest.mark.parametrize("penalty", [0.0, 0.4, 2.0])
def test_best_path_is_the_best_of_all_paths(penalty: float) -> None:
    rng = np.random.default_rng(int(10 * penalty))
    votes = rng.normal(size=(5, 4))

    def score(path: tuple[int, ...]) -> float:
        return float(votes[np.arange(5), path].sum() - penalty * np.abs(np.diff(path)).sum())

    best = max(itertools.product(range(4), repeat=5), key=score)
    assert best_path(votes, penalty).tolist() == list(best)


def test_peaks_of_one_unit_share_their_weight() -> None:
    batch, place, size = np.array([0, 0, 0, 0, 1]), np.array([3, 3, 3, 4, 3]), np.array([2, 2, 2, 2, 2])
    np.testing.assert_allclose(shared_weights(batch, place, size), [2 / 3, 2 / 3, 2 / 3, 1, 1])


def test_matching_equals_a_correlation_with_zeros_around() -> None:
    rng = np.random.default_rng(1)
    samples, waveform = rng.normal(size=(100, 3)).astype(np.float32), generic_spike(30_000.0)
    assert np.linalg.norm(waveform) == pytest.approx(1.0, abs=1e-6)
    assert waveform.argmin() == BEFORE
    padded = np.pad(samples, ((BEFORE, len(waveform) - 1 - BEFORE), (0, 0)))
    wanted = np.stack([np.correlate(padded[:, c], waveform, "valid") for c in range(3)], axis=1)
    np.testing.assert_allclose(match_waveform(samples, waveform, BEFORE), wanted, atol=1e-5)


def test_peaks_are_the_largest_around_and_ties_go_to_the_first() -> None:
    rng = np.random.default_rng(2)
    matched = rng.integers(-6, 7, (300, 6)).astype(np.float32)
    positions = np.column_stack([np.zeros(6), 20.0 * np.arange(6)])
    near, reach = channels_within(positions, 25.0), 4
    found = list_peaks(np.ascontiguousarray(matched.T), near, 3.0, reach, 0, len(matched))
    wanted = []
    for t, c in np.argwhere(matched > 3.0).tolist():
        first = max(t - reach, 0)
        around = [(-matched[u, d], u, d) for u in range(first, min(t + reach + 1, 300)) for d in near[c] if d >= 0]
        if min(around) == (-matched[t, c], t, c):
            wanted.append((t, c))
    assert sorted(map(tuple, found.tolist())) == wanted
    assert len(wanted) > 10


def test_a_peak_lies_at_the_centre_of_its_energy() -> None:
    positions = np.column_stack([np.zeros(5), 20.0 * np.arange(5)])
    matched = np.array([[0.5, 4.0, 7.0, 3.0, 9.0]], np.float32)
    near = channels_within(positions, 25.0)
    depth, amplitude = place_peaks(matched, np.array([0]), np.array([2]), near, positions[:, 1].copy())
    # Channels 1 to 3 less a noise of 1: 3, 6, 2.
    assert amplitude[0] == pytest.approx(7.0)
    assert depth[0] == pytest.approx((9 * 20 + 36 * 40 + 4 * 60) / 49)


def test_planted_troughs_are_found_where_they_are() -> None:
    rng = np.random.default_rng(3)
    positions = np.column_stack([np.zeros(16), 20.0 * np.arange(16)])
    samples = rng.normal(size=(30_000, 16)).astype(np.float32)
    times, depths = np.arange(500, 29_500, 700), rng.uniform(60, 240, 42)
    for t, z in zip(times, depths, strict=True):
        samples[t - 10 : t + 21] += 25 * np.outer(generic_spike(30_000.0), np.exp(-np.abs(positions[:, 1] - z) / 20))
    found = localize_peaks(samples, positions, 30_000.0, threshold=8.0)
    np.testing.assert_allclose(found.samples, times, atol=1)
    assert np.abs(found.depth - depths).max() < 6
    part = localize_peaks(samples, positions, 30_000.0, threshold=8.0, within=(10_000, 20_000))
    assert part.samples.tolist() == [t for t in found.samples.tolist() if 10_000 <= t < 20_000]
    np.testing.assert_allclose(noise_levels(match_waveform(samples, generic_spike(30_000.0), BEFORE)), 1.0, atol=0.1)


# --- estimates ---------------------------------------------------------------------------------------------------


@dataclass
class Tissue:
    """Units at fixed places that are seen where the tissue has moved to."""

    n_units: int = 20
    span: float = 300.0
    n_batches: int = 40
    per_batch: int = 200
    seed: int = 0
    present: float = 1.0

    def peaks(self, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Batch, depth and amplitude; `shift` is (n_batches,) or, for both ends of the probe, (n_batches, 2)."""
        rng = np.random.default_rng(self.seed)
        home, size = rng.uniform(20, 20 + self.span, self.n_units), np.exp(rng.normal(2.5, 0.5, self.n_units)).clip(5)
        rate, found = rng.lognormal(0, 1, self.n_units), []
        moved = np.broadcast_to(np.reshape(shift, (self.n_batches, -1)), (self.n_batches, 2))
        height = (home - 20) / self.span
        for b in range(self.n_batches):
            firing = rate * (rng.random(self.n_units) < self.present)
            unit = rng.choice(self.n_units, rng.poisson(0.8 * self.per_batch), p=firing / firing.sum())
            there = home + moved[b, 0] + (moved[b, 1] - moved[b, 0]) * height
            n_noise = rng.poisson(0.2 * self.per_batch)
            depth = np.r_[there[unit] + rng.normal(0, 4, len(unit)), rng.uniform(20, 20 + self.span, n_noise)]
            amplitude = np.r_[size[unit] * np.exp(rng.normal(0, 0.15, len(unit))), 5 + rng.exponential(1, n_noise)]
            found.append((np.full(len(depth), b), depth, amplitude))
        batch, depth, amplitude = (np.concatenate(column) for column in zip(*found, strict=True))
        return batch, depth, amplitude

    def estimate(self, shift: np.ndarray, nblocks: int = 5) -> Drift:
        """Estimate the drift of these peaks."""
        ends = (20.0, 20.0 + self.span)
        return estimate_drift(*self.peaks(shift), n_batches=self.n_batches, depth_range=ends, nblocks=nblocks)


def error(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Difference around its median: where the zero lies is a convention."""
    difference = found - true
    return difference - np.median(difference)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("per_batch", [50, 200, 1000])
def test_a_still_probe_stays_still(seed: int, per_batch: int) -> None:
    found = Tissue(seed=seed, per_batch=per_batch).estimate(np.zeros(40))
    assert np.abs(found.shift_um).max() <= 1.0
    assert found.is_negligible


@pytest.mark.parametrize("seed", range(3))
def test_units_that_come_and_go_are_no_movement(seed: int) -> None:
    found = Tissue(n_units=10, seed=seed, present=0.5).estimate(np.zeros(40))
    assert np.abs(found.shift_um).max() <= 2.0


def test_noise_without_units_does_not_move() -> None:
    rng = np.random.default_rng(5)
    batch, depth = np.repeat(np.arange(30), 100), rng.uniform(0, 300, 3000)
    found = estimate_drift(batch, depth, 5 + rng.exponential(1, 3000), n_batches=30, depth_range=(0, 300))
    assert found.is_negligible


@pytest.mark.parametrize(
    ("name", "shift", "per_batch", "typical", "worst"),
    [
        ("slow", np.linspace(0, 30, 40), 200, 1.0, 3.0),
        ("slow, few peaks", np.linspace(0, -20, 40), 60, 1.5, 4.0),
        ("far", np.linspace(0, 100, 40), 200, 1.5, 5.0),
        ("step", np.where(np.arange(40) < 20, 0, 20), 200, 1.0, 3.0),
        ("there and back", 15 * np.sin(np.arange(40) / 6), 200, 1.0, 3.0),
    ],
)
@pytest.mark.parametrize("seed", range(2))
def test_movement_is_followed(
    name: str, shift: np.ndarray, per_batch: int, typical: float, worst: float, seed: int
) -> None:
    found = Tissue(per_batch=per_batch, seed=seed).estimate(shift)
    assert not found.is_negligible, name
    assert found.shift_um.shape == (40, 1)
    off = error(found.shift_um[:, 0], shift)
    assert np.sqrt(np.mean(off**2)) < typical
    assert np.abs(off).max() < worst


@pytest.mark.parametrize(
    "shift",
    [
        np.where(np.arange(40) < 20, 0, 100),
        np.where(np.arange(40) < 5, 0, 110),
        np.select([np.arange(40) < 10, np.arange(40) < 30], [0, 90], -10),
        np.where(np.arange(40) < 30, 0, -80),
    ],
    ids=["half way", "early", "and let go", "down"],
)
@pytest.mark.parametrize("seed", range(2))
def test_a_probe_that_is_pulled_is_followed(shift: np.ndarray, seed: int) -> None:
    """Every unit is there twice then, and each half of the recording fits the density of all peaks as it is."""
    found = Tissue(n_units=60, span=1000.0, per_batch=500, seed=seed).estimate(shift)
    off = error(found.shift_um.mean(axis=1), shift)
    assert np.sqrt(np.mean(off**2)) < 1.5
    assert np.abs(off).max() < 4


def test_the_ends_of_a_long_probe_may_move_differently() -> None:
    tip, top = np.linspace(0, 8, 40), np.linspace(0, 32, 40)
    tissue = Tissue(n_units=150, span=3800.0, per_batch=1500)
    found = tissue.estimate(np.column_stack([tip, top]))
    assert len(found.block_depths) == 9
    off = [error(found.shift_um[:, k], tip + (top - tip) * k / 8) for k in range(9)]
    assert np.sqrt(np.mean(np.square(off))) < 1.5
    rigid = tissue.estimate(np.column_stack([tip, top]), nblocks=1)
    assert rigid.shift_um.shape == (40, 1)
    assert np.abs(error(rigid.shift_um[:, 0], (tip + top) / 2)).max() < 5


def test_tissue_is_held_where_it_mostly_is() -> None:
    wander = 15 * np.sin(np.linspace(0, 20, 301))[:, None]
    assert usual_place(wander) == pytest.approx(np.median(wander))
    for first in (50, 40, 70):  # of 100: a jump half way, before and after it
        place = usual_place(np.repeat([[0.0, 2.0], [100.0, 104.0]], [first, 100 - first], axis=0)).tolist()
        assert place == ([0.0, 2.0] if first >= 50 else [100.0, 104.0])


def test_the_order_of_peaks_does_not_matter() -> None:
    tissue = Tissue(n_batches=20)
    batch, depth, amplitude = tissue.peaks(np.linspace(0, 20, 20))
    order = np.random.default_rng(0).permutation(len(batch))
    one = estimate_drift(batch, depth, amplitude, n_batches=20, depth_range=(20, 320))
    other = estimate_drift(batch[order], depth[order], amplitude[order], n_batches=20, depth_range=(20, 320))
    np.testing.assert_array_equal(one.shift_um, other.shift_um)


def test_too_little_to_tell_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        few = estimate_drift([0, 1], [50.0, 60.0], [9.0, 9.0], n_batches=30, depth_range=(0, 300))
    assert few.shift_um.shape == (30, 1)
    assert few.is_negligible
    assert "2 peaks in 30 batches" in caplog.text
    batch, depth, amplitude = Tissue(span=60.0).peaks(np.linspace(0, 20, 40))
    assert estimate_drift(batch, depth, amplitude, n_batches=40, depth_range=(20, 80)).is_negligible
    tissue = Tissue()
    assert tissue.estimate(np.linspace(0, 20, 40), nblocks=0).is_negligible
    assert estimate_drift([], [], [], n_batches=1, depth_range=(0, 300)).shift_um.shape == (1, 1)


@pytest.mark.parametrize(
    ("batch", "depth"), [([0, 5], [1.0, 2.0]), ([0, -1], [1.0, 2.0]), ([0], [1.0, 2.0]), ([0, 1], [1.0, np.nan])]
)
def test_peaks_that_do_not_fit_are_refused(batch: list[int], depth: list[float]) -> None:
    with pytest.raises(InvalidContentsError):
        estimate_drift(batch, depth, [9.0, 9.0], n_batches=5, depth_range=(0, 300))


def test_displacement_between_blocks_and_batches_is_linear() -> None:
    drift = Drift(np.array([[0.0, 10.0], [4.0, 20.0], [4.0, 20.0]]), np.array([100.0, 300.0]))
    np.testing.assert_allclose(drift.at(0, [0.0, 100.0, 200.0, 400.0]), [0, 0, 5, 10])
    middle = BATCH_SAMPLES / 2
    np.testing.assert_allclose(drift.at_sample(0, [100.0]), [0])
    np.testing.assert_allclose(drift.at_sample(middle, [200.0]), [5])
    np.testing.assert_allclose(drift.at_sample(middle + BATCH_SAMPLES / 4, [100.0, 300.0]), [1, 12.5])
    np.testing.assert_allclose(drift.at_sample(10 * BATCH_SAMPLES, [300.0]), [20])
    assert not drift.is_negligible
    assert "20.0 um over 3 batches, 2 blocks" in repr(drift)
    single = Drift(np.array([[3.0]]), np.array([0.0]))
    np.testing.assert_allclose(single.at_sample(1e9, [0.0, 50.0]), [3, 3])


def test_blocks_need_room_and_peaks() -> None:
    assert len(block_centres(np.zeros(10**6), (0, 3820), 5)) == 9
    assert len(block_centres(np.zeros(10**6), (0, 3820), 2)) == 3
    assert block_centres(np.zeros(10**6), (0, 1260), 5).tolist() == [0, 420, 840, 1260]
    assert block_centres(np.zeros(10**6), (0, 310), 5).tolist() == [155]
    assert block_centres(np.zeros(1500), (0, 3820), 5).tolist() == [1910]


# --- recordings --------------------------------------------------------------------------------------------------


def test_a_step_of_a_recording_is_found(stepping_probe: RawGroundTruth) -> None:
    front = front_end(stepping_probe.recording(), SortingParameters())
    found = drift_pass(front, n_workers=2)
    assert found.shift_um.shape == (11, 1)
    before, after = found.shift_um[:4, 0], found.shift_um[6:, 0]
    assert np.ptp(before) <= 2
    assert np.ptp(after) <= 2
    assert np.median(after) - np.median(before) == pytest.approx(20.0, abs=3.0)
    np.testing.assert_array_equal(drift_pass(front, n_workers=1).shift_um, found.shift_um)
    assert drift_pass(front, nblocks=0).is_negligible


def test_a_still_recording_is_left_alone(still_probe: RawGroundTruth) -> None:
    found = drift_pass(front_end(still_probe.recording(), SortingParameters()))
    assert found.n_peaks > 500
    assert np.abs(found.shift_um).max() <= 1.0


def test_large_probes_are_looked_at_in_part() -> None:
    assert looked_at(0, 10 * BATCH_SAMPLES, 32) == [(8192 * i, 8192 * (i + 1)) for i in range(8)]
    part = looked_at(1, 10 * BATCH_SAMPLES, 384)
    assert len(part) == 3
    assert all(BATCH_SAMPLES <= start < stop <= 2 * BATCH_SAMPLES for start, stop in part)
    assert looked_at(1, BATCH_SAMPLES + 100, 384) == [(BATCH_SAMPLES, BATCH_SAMPLES + 100)]
