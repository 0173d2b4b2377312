"""Median subtraction, filter and whitening: NumPy and SciPy twins, golden numbers, chunk sizes, broken channels."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from allen_ecephys.errors import (
    ChannelCountError,
    DiskFullError,
    FileFormatError,
    InvalidValueError,
    NonFiniteError,
    RecordingTooShortError,
    UnknownNameError,
)
from allen_ecephys.processing.probes import adc_wiring, neuropixels_1_geometry, neuropixels_1_wiring
from allen_ecephys.processing.readers.binary import BinaryRecording
from allen_ecephys.processing.recording import check_channel_count
from allen_ecephys.processing.shanks import ShankLines
from allen_ecephys.processing.simulation.raw.probe import recorded_probe
from allen_ecephys.processing.simulation.raw.recording import RawGroundTruth, write_recording
from allen_ecephys.processing.simulation.raw.signal import ChannelFaults
from allen_ecephys.processing.spike_band.blocks import BLOCK_SAMPLES
from allen_ecephys.processing.spike_band.depth_estimation import (
    estimate_depth,
    estimate_offsets,
    estimate_surface,
    surface_candidate,
    windows,
)
from allen_ecephys.processing.spike_band.filtering import HALO, high_pass, high_pass_sections
from allen_ecephys.processing.spike_band.ingest import QuantizedRecording
from allen_ecephys.processing.spike_band.median_subtraction import (
    median_plan,
    probe_medians,
    restore_medians,
    sorting_network,
    subtract_medians,
)
from allen_ecephys.processing.spike_band.probe_info import DepthParameters, ProbeInfo, read_probe_info
from allen_ecephys.processing.spike_band.whitening import LocalWeights, depth_order, local_weights, nearest_channels
from allen_ecephys.processing.spike_band.writing import (
    covariance_blocks,
    estimate_whitening,
    open_processed,
    write_median_subtracted,
    write_whitened,
)
from allen_ecephys.processing.stages.spike_band import process_spike_band


def recording_of(samples: np.ndarray, folder: Path, **known: object) -> BinaryRecording:
    folder.mkdir(parents=True, exist_ok=True)
    samples.tofile(folder / "samples.dat")
    n_channels = samples.shape[1]
    given_ = {
        "n_columns": n_channels,
        "sampling_rate": 30_000.0,
        "uv_per_bit": 0.195,
        "geometry": neuropixels_1_geometry(n_channels),
        "dtype": samples.dtype,
    }
    return BinaryRecording(folder / "samples.dat", **{**given_, **known})  # type: ignore[arg-type]


def whole_probe(n_channels: int, mask: np.ndarray | None = None, offsets: np.ndarray | None = None) -> ProbeInfo:
    return ProbeInfo(
        offsets=np.zeros(n_channels, np.int64) if offsets is None else offsets,
        mask=np.ones(n_channels, bool) if mask is None else mask,
        rms_uv=np.full(n_channels, 10.0),
        surface_channel=float(n_channels),
        air_channel=float(n_channels),
    )


# --- medians -----------------------------------------------------------------------------------------------------


def medians_in_numpy(samples: np.ndarray, offsets: np.ndarray, good: np.ndarray, top: int, n: int = 24) -> tuple:
    """The definition, group by group."""
    levels = samples.astype(np.int64)
    levels[:, :top] -= offsets[:top]
    residuals = np.zeros((len(samples), n), np.int64)
    out = levels.copy()
    for group in range(n):
        members = [c for c in range(group, top, n) if good[c]]
        if members:
            residuals[:, group] = np.sort(levels[:, members], axis=1)[:, (len(members) - 1) // 2]
        residuals[:, group] = np.clip(residuals[:, group], -32768, 32767)
        out[:, group:top:n] -= residuals[:, [group]]
    clipped = np.clip(out, -32768, 32767)
    return clipped, residuals, int((clipped != out).sum())


@pytest.mark.parametrize(
    ("n_channels", "top"), [(384, 384), (384, 340), (384, 10), (384, 0), (50, 50), (1, 1), (385, 385)]
)
@pytest.mark.parametrize("scale", [60, 20_000])
@pytest.mark.parametrize("n_groups", [24, 1])
def test_group_medians_equal_numpy(n_channels: int, top: int, scale: int, n_groups: int) -> None:
    rng = np.random.default_rng(n_channels + top)
    samples = np.clip(rng.normal(0, scale, (333, n_channels)), -32768, 32767).astype(np.int16)
    offsets = rng.integers(-900, 900, n_channels)
    good = rng.random(n_channels) > 0.2
    channel = np.arange(n_channels)
    result = subtract_medians(samples, median_plan(offsets, good, channel < top, groups=channel % n_groups))
    out, residuals, n_clipped = medians_in_numpy(samples, offsets, good, top, n_groups)
    np.testing.assert_array_equal(result.samples, out)
    n_told = result.residuals.shape[1]  # groups beyond the last channel are not told of
    np.testing.assert_array_equal(result.residuals, residuals[:, :n_told])
    assert not residuals[:, n_told:].any()
    assert result.n_clipped == n_clipped


@pytest.mark.parametrize(
    ("values", "lower_median"),
    [
        ([1, 2, 3, 4, 5, 100], 3),
        ([5, 4, 3, 2, 1, 0], 2),
        ([3, 1, 2], 2),
        ([4, 8], 4),
        ([9], 9),
        (list(range(16)), 7),
        (list(range(15, -1, -1)), 7),
        ([10] * 8 + [20] * 8, 10),
    ],
)
def test_median_of_a_group_by_hand(values: list[int], lower_median: int) -> None:
    """The release's partial sort gave 3, 3, 3, 4, 9, 7, 8 and 10 here; ours is the lower median of all members."""
    samples = np.zeros((1, 24 * len(values)), np.int16)
    samples[0, ::24] = values
    plan = median_plan(np.zeros(samples.shape[1], int), np.ones(samples.shape[1], bool))
    assert subtract_medians(samples, plan).residuals[0, 0] == lower_median


@pytest.mark.parametrize(
    ("n_channels", "air", "masked", "n_groups"),
    [(384, 384, 0, 24), (384, 192, 0, 24), (384, 191, 0, 1), (384, 384, 193, 1), (32, 32, 0, 1), (17, 17, 1, 1)],
)
def test_groups_too_small_for_a_median_share_one(n_channels: int, air: int, masked: int, n_groups: int) -> None:
    mask = np.arange(n_channels) >= masked
    info = replace(whole_probe(n_channels, mask), air_channel=float(air))
    rng = np.random.default_rng(0)
    samples = (rng.normal(0, 50, (1000, n_channels)) + rng.normal(0, 300, (1000, 1))).astype(np.int16)
    plan = probe_medians(info, neuropixels_1_wiring(n_channels))
    assert plan.n_groups == n_groups
    result = subtract_medians(samples, plan)
    out, residuals, _ = medians_in_numpy(samples, info.offsets, mask, air, n_groups)
    np.testing.assert_array_equal(result.samples, out)
    np.testing.assert_array_equal(result.residuals, residuals)
    np.testing.assert_array_equal(restore_medians(result.samples, result.residuals, plan), samples)
    # What all share is gone, and no channel with it.
    spread = result.samples[:, :air].std(axis=0)
    assert ((spread > 40) & (spread < 75)).all()


@pytest.mark.parametrize(
    ("part_number", "n_channels", "n_groups", "subtracted"),
    [
        ("NP1000", 384, 24, True), ("NP1000", 192, 24, True), ("NP1000", 191, 1, True), ("NP1000", 16, 1, True),
        ("NP2003", 384, 16, True), ("NP2013", 384, 16, True), ("NP1100", 384, 1, True), ("NP1100", 192, 1, False),
    ],
)  # fmt: skip
def test_a_spike_is_a_small_part_of_any_median(
    part_number: str, n_channels: int, n_groups: int, subtracted: bool
) -> None:
    """On an Ultra probe it covers a hundred channels: none in groups of 16, and of half the probe none at all."""
    pytest.importorskip("probeinterface")
    probe = recorded_probe(part_number, n_channels)
    lines = ShankLines.of(probe.geometry, probe.shanks)
    plan = probe_medians(whole_probe(n_channels), probe.adc, lines)
    assert (plan.n_groups, bool((plan.ranks >= 0).any())) == (n_groups, subtracted)
    if part_number == "NP1000":
        assert probe_medians(whole_probe(n_channels), probe.adc).n_groups == n_groups


def test_too_few_channels_for_any_median_lose_their_offsets_only() -> None:
    info = whole_probe(15, offsets=np.arange(15))
    samples = np.random.default_rng(0).normal(0, 300, (50, 15)).astype(np.int16)
    result = subtract_medians(samples, probe_medians(info))
    np.testing.assert_array_equal(result.samples, samples - np.arange(15))
    assert not result.residuals.any()


def test_residuals_undo_the_subtraction() -> None:
    rng = np.random.default_rng(1)
    samples = rng.integers(-6000, 6000, (500, 384), dtype=np.int16)
    plan = median_plan(rng.integers(-100, 100, 384), rng.random(384) > 0.1, np.arange(384) < 350)
    result = subtract_medians(samples, plan)
    assert result.n_clipped == 0
    np.testing.assert_array_equal(restore_medians(result.samples, result.residuals, plan), samples)


def test_group_without_a_good_channel_subtracts_nothing() -> None:
    good = np.arange(384) % 24 != 5
    samples = np.full((3, 384), 7, np.int16)
    result = subtract_medians(samples, median_plan(np.full(384, 2), good))
    assert result.residuals[:, 5].tolist() == [0, 0, 0]
    assert (result.samples[:, 5] == 5).all()
    assert (result.samples[:, 4] == 0).all()


@pytest.mark.parametrize("part_number", ["NP2013", "NP1000"])
def test_groups_are_those_of_the_probes_converters(part_number: str) -> None:
    """A 2.0 probe digitises channels together that are equal modulo 32, two by two; its sites may come in any order."""
    rng = np.random.default_rng(0)
    numbers = rng.permutation(384)[:380]
    wiring = adc_wiring(part_number, numbers)
    assert wiring is not None
    assert len(np.unique(wiring.groups)) == {"NP2013": 16, "NP1000": 24}[part_number]
    shared = rng.normal(0, 400, (2000, 24))[:, wiring.groups]
    samples = (shared + rng.normal(0, 30, (2000, 380))).astype(np.int16)
    in_air = np.isin(np.arange(380), rng.choice(380, 40, replace=False))
    info = replace(whole_probe(380), heights_um=np.where(in_air, 2000.0, -100.0), air_um=1000.0)
    plan = probe_medians(info, wiring)
    result = subtract_medians(samples, plan)
    np.testing.assert_array_equal(result.samples[:, in_air], samples[:, in_air])
    for group in np.unique(wiring.groups):
        members = np.flatnonzero((wiring.groups == group) & ~in_air)
        median = np.sort(samples[:, members], axis=1)[:, (len(members) - 1) // 2]
        np.testing.assert_array_equal(result.samples[:, members], samples[:, members] - median[:, None])
    np.testing.assert_array_equal(restore_medians(result.samples, result.residuals, plan), samples)
    # Where nobody knows the converters, what all channels share is subtracted, and nothing more.
    assert probe_medians(info, None).n_groups == 1


@given(st.integers(1, 20), st.data())
@settings(max_examples=60, deadline=None)
def test_sorting_network_finds_its_ranks(n: int, data: st.DataObject) -> None:
    ranks = data.draw(st.sets(st.integers(0, n - 1), min_size=1))
    values = data.draw(st.lists(st.integers(0, 5), min_size=n, max_size=n))
    sorted_ = list(values)
    for low, high in sorting_network(n, ranks):
        sorted_[low], sorted_[high] = sorted((sorted_[low], sorted_[high]))
    assert all(sorted_[rank] == sorted(values)[rank] for rank in ranks)


def test_p13_full_scale_input_saturates_and_is_counted() -> None:
    t = np.arange(3000)
    sine = np.clip(32768 * np.sin(t / 40), -32768, 32767).astype(np.int16)
    samples = np.repeat(sine[:, None], 48, axis=1)
    samples[:, :24] = -samples[:, :24].clip(-32767)  # two channels a group, in opposite phase
    result = subtract_medians(samples, median_plan(np.full(48, -5), np.ones(48, bool)))
    out, _, n_clipped = medians_in_numpy(samples, np.full(48, -5), np.ones(48, bool), 48)
    assert result.n_clipped == n_clipped > 0
    np.testing.assert_array_equal(result.samples, out)


def test_plans_and_samples_that_do_not_fit_are_refused() -> None:
    with pytest.raises(FileFormatError, match="same channels"):
        median_plan(np.zeros(3), np.ones(4, bool))
    plan = median_plan(np.zeros(48), np.ones(48, bool))
    with pytest.raises(FileFormatError, match="int16"):
        subtract_medians(np.zeros((4, 48), np.float32), plan)  # type: ignore[arg-type]
    with pytest.raises(FileFormatError, match="48 channels"):
        subtract_medians(np.zeros((4, 384), np.int16), plan)


# --- filter ------------------------------------------------------------------------------------------------------


def test_coefficients_are_the_golden_ones() -> None:
    b, a = signal.sos2tf(high_pass_sections(30_000.0).astype(np.float64))
    np.testing.assert_allclose(b, [0.969071174, -2.907213522, 2.907213522, -0.969071174, 0], atol=2e-7)
    np.testing.assert_allclose(a, [1, -2.937170728, 2.876299723, -0.939098940, 0], atol=2e-7)


def filtered_in_scipy(samples: np.ndarray) -> np.ndarray:
    b, a = signal.butter(3, 150, "highpass", fs=30_000)
    forward = signal.lfilter(b, a, samples.astype(np.float64), axis=0)
    return signal.lfilter(b, a, forward[::-1], axis=0)[::-1]


def test_filter_equals_scipy_both_ways_from_rest() -> None:
    samples = np.random.default_rng(0).normal(0, 100, (5000, 6))
    np.testing.assert_allclose(high_pass(samples, 30_000.0), filtered_in_scipy(samples), atol=0.02)
    impulse = np.zeros((2000, 1))
    impulse[1000] = 1000
    assert np.abs(high_pass(impulse, 30_000.0) - filtered_in_scipy(impulse)).max() < 0.06


def test_what_lies_beyond_the_halo_does_not_matter() -> None:
    samples = np.random.default_rng(0).normal(0, 100, (8 * HALO, 4))
    whole = high_pass(samples, 30_000.0)
    part = high_pass(samples[2 * HALO : 6 * HALO], 30_000.0)
    assert np.abs(part[HALO:-HALO] - whole[3 * HALO : 5 * HALO]).max() < 5e-3  # float32 rounding of 100s


def test_filters_that_do_not_exist_are_refused() -> None:
    for cutoff in (0.0, -1.0, 15_000.0):
        with pytest.raises(InvalidValueError, match="does not exist"):
            high_pass_sections(30_000.0, cutoff)


# --- whitening ---------------------------------------------------------------------------------------------------


def test_nearest_channels_and_order_along_the_probe() -> None:
    geometry = neuropixels_1_geometry()
    assert depth_order(geometry).tolist() == list(range(384))
    near = nearest_channels(geometry, np.ones(384, bool))
    assert near[100][0] == 100
    assert sorted(near[0]) == list(range(32))
    shuffled = np.random.default_rng(0).permutation(384)
    assert depth_order(geometry[shuffled]).tolist() != list(range(384))
    np.testing.assert_array_equal(np.sort(geometry[shuffled][depth_order(geometry[shuffled])][:, 1]), geometry[:, 1])
    four_shanks = np.concatenate([geometry[:96] + np.array([250 * s, 0]) for s in range(4)])
    assert depth_order(four_shanks).tolist() == list(range(384))


def test_whitening_matrix_by_definition() -> None:
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(40, 40))
    covariance = mixing @ mixing.T
    geometry = neuropixels_1_geometry(40)
    good = np.ones(40, bool)
    good[7] = False
    matrix = local_weights(covariance, geometry, good, n_neighbors=12).dense()
    for channel in (0, 20, 39):
        distance = np.hypot(*(geometry - geometry[channel]).T)
        distance[7] = np.inf
        near = np.argsort(distance, kind="stable")[:12]
        values, vectors = np.linalg.eigh(covariance[np.ix_(near, near)])
        local = vectors @ np.diag((values + 1e-6) ** -0.5) @ vectors.T
        expected = np.zeros(40)
        expected[near] = 200 * local[:, 0]
        np.testing.assert_allclose(matrix[:, channel], expected, rtol=1e-4, atol=1e-3)
    assert not matrix[7].any()
    assert not matrix[:, 7].any()


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> RawGroundTruth:
    faults = ChannelFaults(dead=(5,), noisy=(60,), saturated=(80,), saturation=((1.0, 1.01),))
    folder = tmp_path_factory.mktemp("raw") / "raw"
    return write_recording(folder, duration=3.2, n_units=20, n_channels=96, faults=faults, seed=2, form="binary")


@pytest.fixture(scope="module")
def info(truth: RawGroundTruth) -> ProbeInfo:
    return estimate_depth(truth.recording(), truth.recording("lfp"))


@pytest.fixture(scope="module")
def weights(truth: RawGroundTruth, info: ProbeInfo) -> LocalWeights:
    return estimate_whitening(truth.recording(), info, info.mask)


def whiten(recording: object, info: ProbeInfo | None, weights: LocalWeights, folder: Path, **how: int) -> np.ndarray:
    folder.mkdir()
    write_whitened(recording, info, weights, folder, **how)  # type: ignore[arg-type]
    written = open_processed(folder)
    return np.asarray(written.read(0, written.n_samples))


def test_whitened_noise_has_the_stated_size_and_no_correlation(
    truth: RawGroundTruth, info: ProbeInfo, weights: LocalWeights, tmp_path: Path
) -> None:
    samples = whiten(truth.recording(), info, weights, tmp_path / "w").astype(np.float64)[40_000:]
    near = np.flatnonzero(info.mask)[20:52]
    covariance = np.cov(samples[:, near].T)
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)), 200, rtol=0.05)
    apart = np.abs(covariance - np.diag(np.diag(covariance)))
    assert apart.mean() < 0.02 * 200**2
    raw = np.corrcoef(truth.recording().read(40_000, 90_000)[:, near].T)
    assert np.abs(raw - np.eye(32)).mean() > 0.1  # there was something to take away


def test_whitening_gives_unit_covariance_on_stationary_noise(tmp_path: Path) -> None:
    """Acceptance: diagonal within 2 %, estimated and applied on the same stationary data."""
    rng = np.random.default_rng(0)
    place = neuropixels_1_geometry(32)
    distance = np.hypot(*(place[:, None] - place[None]).transpose(2, 0, 1))
    mixing = np.linalg.cholesky(np.exp(-distance / 40) * 50**2 + 20 * np.eye(32))
    samples = (rng.standard_normal((12 * BLOCK_SAMPLES, 32)) @ mixing.T).round().astype(np.int16)
    recording = recording_of(samples, tmp_path)
    matrix = estimate_whitening(recording, None, np.ones(32, bool))
    out = whiten(recording, None, matrix, tmp_path / "w").astype(np.float64)
    covariance = out.T @ out / len(out) / 200**2
    np.testing.assert_allclose(np.diag(covariance), 1, atol=0.02)
    np.testing.assert_allclose(covariance, np.eye(32), atol=0.02)


def test_p5_chunks_and_workers_change_no_value(
    truth: RawGroundTruth, info: ProbeInfo, weights: LocalWeights, tmp_path: Path
) -> None:
    recording = truth.recording()
    reference = whiten(recording, info, weights, tmp_path / "a", chunk_samples=10**9, n_workers=1)
    for name, chunk, workers in (("b", 1, 2), ("c", 20_000, 2), ("d", 3 * BLOCK_SAMPLES, 1)):
        np.testing.assert_array_equal(
            whiten(recording, info, weights, tmp_path / name, chunk_samples=chunk, n_workers=workers), reference
        )
    # In two steps over a file, as the stages run: the same bytes.
    (tmp_path / "m").mkdir()
    counts = write_median_subtracted(recording, info, tmp_path / "m", chunk_samples=1000, n_workers=2)
    middle = open_processed(tmp_path / "m")
    np.testing.assert_array_equal(whiten(middle, None, weights, tmp_path / "e"), reference)
    plan = probe_medians(info, recording.adc)
    assert plan.n_groups == 1  # 96 channels: four to a group would be too few
    expected = subtract_medians(recording.read(0, recording.n_samples), plan)
    np.testing.assert_array_equal(middle.read(0, middle.n_samples), expected.samples)
    residuals = np.fromfile(tmp_path / "m" / "residuals.dat", np.int16).reshape(-1, plan.n_groups)
    np.testing.assert_array_equal(residuals, expected.residuals)
    assert counts == {"n_clipped": expected.n_clipped, "n_saturated": 300}


def test_one_block_equals_scipy_and_a_dense_product(
    truth: RawGroundTruth, info: ProbeInfo, weights: LocalWeights, tmp_path: Path
) -> None:
    plain = replace(info, mask=info.mask.copy())
    samples = truth.recording().read(40_000, 40_000 + BLOCK_SAMPLES)
    recording = recording_of(samples, tmp_path, geometry=truth.geometry)
    out = whiten(recording, plain, weights, tmp_path / "w")
    subtracted, _, _ = medians_in_numpy(samples, info.offsets, info.mask, int(info.air_channel), 1)
    expected = filtered_in_scipy(subtracted) @ weights.dense().astype(np.float64)
    assert np.abs(out - expected).max() < 0.75
    assert (out != np.rint(expected)).mean() < 0.02


def test_chunks_equal_the_whole_recording_filtered_at_once(
    truth: RawGroundTruth, info: ProbeInfo, weights: LocalWeights, tmp_path: Path
) -> None:
    recording = truth.recording()
    stop = 29_000  # before the moment of saturation, which SciPy does not blank
    out = whiten(recording, info, weights, tmp_path / "w")[: stop - 2 * HALO]
    subtracted, _, _ = medians_in_numpy(recording.read(0, stop), info.offsets, info.mask, int(info.air_channel), 1)
    whole = (filtered_in_scipy(subtracted) @ weights.dense().astype(np.float64))[: stop - 2 * HALO]
    assert np.abs(out - whole).max() < 0.75


def test_p8_dead_noisy_and_saturated_channels_are_left_out(
    truth: RawGroundTruth, info: ProbeInfo, weights: LocalWeights, tmp_path: Path
) -> None:
    assert np.flatnonzero(~info.mask).tolist() == [5, 36, 60, 75, 80]
    assert np.isfinite(weights.weights).all()
    assert np.abs(weights.weights).max() < 1e3
    assert not np.isin(weights.neighbors[info.mask], [5, 36, 60, 75, 80]).any()
    samples = whiten(truth.recording(), info, weights, tmp_path / "w")
    assert not samples[:, ~info.mask].any()
    assert samples[:, info.mask].std(axis=0).min() > 100


def test_p7_saturated_moments_are_blanked_and_counted(
    truth: RawGroundTruth, info: ProbeInfo, weights: LocalWeights, tmp_path: Path
) -> None:
    (tmp_path / "w").mkdir()
    counts = write_whitened(truth.recording(), info, weights, tmp_path / "w")
    assert counts["n_saturated"] == 300 + 2 * 30
    samples = open_processed(tmp_path / "w").read(0, 60_000)
    assert not samples[30_000 - 30 : 30_300 + 30].any()
    after, before = np.abs(samples[30_330:30_400]), np.abs(samples[10_000:20_000])
    assert after.mean() < 1.5 * before.mean()


def test_flat_directions_get_finite_weights() -> None:
    covariance = np.ones((8, 8)) * 100.0  # all channels the same: seven directions without any signal
    matrix = local_weights(covariance, neuropixels_1_geometry(8), np.ones(8, bool)).dense()
    assert np.isfinite(matrix).all()
    np.testing.assert_allclose(np.ones(8) @ matrix, 200 / np.sqrt(800), rtol=1e-2)


def test_p9_a_recording_without_any_good_channel_ends_with_zeros(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recording = recording_of(np.zeros((20_000, 48), np.int16), tmp_path)
    with caplog.at_level(logging.WARNING):
        info = estimate_depth(recording)
    assert not info.mask.any()
    assert "all are masked" in caplog.text
    weights = estimate_whitening(recording, info, info.mask)
    assert not whiten(recording, info, weights, tmp_path / "w").any()


def test_p10_short_recordings_are_whole_results_or_clear_errors(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for n_samples in (0, 1, 20, 1000):
        samples = rng.integers(-100, 100, (n_samples, 48), dtype=np.int16)
        recording = recording_of(samples, tmp_path / str(n_samples))
        if n_samples == 0:
            with pytest.raises(RecordingTooShortError, match="no samples"):
                estimate_depth(recording)
        else:
            info = estimate_depth(recording)
            assert info.offsets.shape == (48,)
            assert np.isfinite(info.rms_uv).all()
        (tmp_path / f"m{n_samples}").mkdir()
        write_median_subtracted(recording, whole_probe(48), tmp_path / f"m{n_samples}")
        expected = subtract_medians(samples, probe_medians(whole_probe(48)))
        written = open_processed(tmp_path / f"m{n_samples}")
        np.testing.assert_array_equal(written.read(0, n_samples), expected.samples)
        if n_samples < 32:
            with pytest.raises(RecordingTooShortError, match="at least 32"):
                estimate_whitening(recording, None, np.ones(48, bool))
        else:
            weights = estimate_whitening(recording, None, np.ones(48, bool))
            assert whiten(recording, None, weights, tmp_path / f"w{n_samples}").shape == (n_samples, 48)
    with pytest.raises(RecordingTooShortError, match=r"windows of 2500 \(1 s\)"):
        estimate_depth(recording, recording_of(samples, tmp_path / "lfp", sampling_rate=2500.0))


def test_p6_values_that_are_no_numbers_are_refused_or_blanked(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    samples = rng.normal(0, 20, (10_000, 24)).astype(np.float32)
    clean = QuantizedRecording(recording_of(samples, tmp_path / "clean", uv_per_bit=1.0))
    np.testing.assert_array_equal(clean.read(5, 9), np.rint(samples[5:9] / np.float32(0.195)))
    samples[5000, 3], samples[5001, 4] = np.nan, np.inf
    source = recording_of(samples, tmp_path / "nan", uv_per_bit=1.0)
    strict = QuantizedRecording(source)
    with pytest.raises(NonFiniteError, match="sample 5000 of channel 3 is nan"):
        strict.read(4000, 6000)
    with pytest.raises(NonFiniteError):
        whiten(strict, whole_probe(24), LocalWeights(np.zeros((24, 4), int), np.zeros((24, 4), "f4")), tmp_path / "w0")
    lenient = QuantizedRecording(source, nan_policy="zero")
    whole = lenient.read(0, 10_000)
    assert not whole[5000 - HALO : 5001 + HALO + 1].any()
    np.testing.assert_array_equal(whole[: 5000 - HALO], clean.read(0, 5000 - HALO))
    assert lenient.report.spans() == [(5000, 5002)]
    for start in range(0, 10_000, 777):
        stop = min(start + 777, 10_000)
        np.testing.assert_array_equal(lenient.read(start, stop), whole[start:stop])
    weights = estimate_whitening(lenient, whole_probe(24), np.ones(24, bool))
    assert np.abs(whiten(lenient, whole_probe(24), weights, tmp_path / "w1")).max() < 2000
    with pytest.raises(UnknownNameError, match="did you mean 'zero'"):
        QuantizedRecording(source, nan_policy="zeros")  # type: ignore[arg-type]
    with pytest.raises(FileFormatError, match="QuantizedRecording"):
        write_whitened(source, None, weights, tmp_path)


def test_floats_beyond_the_range_saturate_and_are_counted(tmp_path: Path) -> None:
    samples = np.array([[70_000.0, -70_000.0], [1.0, 32_767.4]], np.float32)
    recording = QuantizedRecording(recording_of(samples, tmp_path, uv_per_bit=1.0), count_uv=1.0)
    assert recording.read(0, 2).tolist() == [[32767, -32768], [1, 32767]]
    assert recording.report.n_clipped == 2


def test_p12_a_wrong_number_of_columns_is_noticed(truth: RawGroundTruth, tmp_path: Path) -> None:
    recording = truth.recording()
    check_channel_count(recording)
    for wrong in (95, 97):
        opened = BinaryRecording(
            recording.path, n_columns=wrong, sampling_rate=3e4, uv_per_bit=0.195, geometry=neuropixels_1_geometry(wrong)
        )
        with pytest.raises(ChannelCountError, match=rf"{wrong} columns.*after 96"):
            check_channel_count(opened)
        with pytest.raises(ChannelCountError):
            process_spike_band(opened, tmp_path / str(wrong))
        assert list((tmp_path / str(wrong)).iterdir()) == []


def test_p15_a_disk_without_room_refuses_at_the_start(
    truth: RawGroundTruth, info: ProbeInfo, weights: LocalWeights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno
    import os

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DiskFullError, match="18,432,000 bytes"):
        write_whitened(truth.recording(), info, weights, tmp_path)
    with pytest.raises(DiskFullError):
        write_median_subtracted(truth.recording(), info, tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DiskFullError):
        write_recording(tmp_path / "new", duration=0.1, n_units=1, n_channels=24)
    assert list(tmp_path.iterdir()) == []


def test_covariance_blocks_are_whole_and_spread() -> None:
    assert covariance_blocks(100) == [(0, 100)]
    blocks = covariance_blocks(270_000_000)
    assert len(blocks) == -(-(270_000_000 // BLOCK_SAMPLES) // 200)
    assert blocks[0][0] == 0
    assert blocks[-1][1] > 269_000_000
    assert {stop - start for start, stop in blocks} == {BLOCK_SAMPLES}


# --- depth -------------------------------------------------------------------------------------------------------


def test_offsets_and_mask_of_noise_of_known_size(tmp_path: Path) -> None:
    """Acceptance: channels of 2, 20 and 80 uV; only the second is kept."""
    rng = np.random.default_rng(0)
    offset = rng.integers(-300, 300, 48)
    size = np.tile([2.0, 20.0, 80.0], 16)
    samples = np.rint(rng.normal(0, size / 0.195, (60_000, 48)) + offset).astype(np.int16)
    recording = recording_of(samples, tmp_path, reference_channels=[1])
    info = estimate_depth(recording, parameters=DepthParameters(start_s=0.1, skip_s=0.2, interval_s=0.5))
    np.testing.assert_allclose(info.rms_uv, size, rtol=0.02)
    assert np.abs(info.offsets - offset).max() <= np.ceil(80 / 0.195 * 0.05)
    assert np.flatnonzero(info.mask).tolist() == [c for c in range(48) if c % 3 == 1 and c != 1]
    assert (info.surface_channel, info.air_channel) == (48, 48)
    expected = [np.median(samples[3000:18_000, c]) for c in range(48)]
    one = DepthParameters(start_s=0.1, n_passes=1, interval_s=0.5)
    np.testing.assert_array_equal(estimate_offsets(recording, one)[0], np.array(expected).astype(np.int16))


def test_windows_are_fitted_to_the_recording(tmp_path: Path) -> None:
    recording = recording_of(np.zeros((60_000, 1), np.int16), tmp_path, sampling_rate=100.0, geometry=[[0, 0]])
    p = DepthParameters()
    assert windows(recording, p, length_s=5.0, start_s=150.0)[:2] == [(15_000, 15_500), (25_000, 25_500)]
    assert len(windows(recording, p, length_s=5.0, start_s=150.0)) == 5  # the others lie past the end
    short = recording_of(np.zeros((600, 1), np.int16), tmp_path, sampling_rate=100.0, geometry=[[0, 0]])
    found = windows(short, p, length_s=5.0, start_s=150.0)
    assert found[0] == (0, 500)
    assert found[-1] == (100, 600)


def test_surface_of_a_step_in_power() -> None:
    from scipy.ndimage import gaussian_filter1d

    for step in (1.2, 2.0, 3.0):
        values = gaussian_filter1d(np.where(np.arange(384) < 250, 2.5 + step / 2, 2.5 - step / 2), 5.0)
        assert abs(surface_candidate(values, DepthParameters()) - 250) <= 8
    assert (
        abs(
            surface_candidate(gaussian_filter1d(np.where(np.arange(384) < 250, 2.9, 1.9), 5.0), DepthParameters()) - 250
        )
        <= 5
    )
    assert surface_candidate(np.full(384, 2.0), DepthParameters()) == 384


@pytest.mark.parametrize("surface", [180, 300])
def test_surface_of_a_simulated_probe(surface: int, tmp_path: Path) -> None:
    truth = write_recording(tmp_path / "r", duration=1.5, n_units=0, surface_channel=surface, seed=surface)
    info = estimate_depth(truth.recording(), truth.recording("lfp"), DepthParameters(skip_s=0.5, n_passes=1))
    assert abs(info.surface_channel - surface) <= 10
    assert info.air_channel == min(info.surface_channel + 100, 384)
    info.save(tmp_path / "probe_info.json", truth.geometry)
    again = read_probe_info(tmp_path / "probe_info.json")
    assert again.surface_channel == info.surface_channel
    assert again.parameters == info.parameters
    np.testing.assert_array_equal(again.mask, info.mask)
    np.testing.assert_array_equal(again.heights, info.heights)
    np.testing.assert_array_equal(again.below_air, info.below_air)
    np.testing.assert_array_equal(info.in_brain, np.arange(384) < info.surface_channel)
    np.testing.assert_array_equal(info.below(150.0), np.arange(384) < int(info.surface_channel) + 15)
    np.testing.assert_array_equal(info.below_air, np.arange(384) < int(info.air_channel))
    (tmp_path / "probe_info.json").write_text('{"mask": []}')
    with pytest.raises(FileFormatError, match=r"no probe_info\.json"):
        read_probe_info(tmp_path / "probe_info.json")


@pytest.mark.parametrize("middle", [123.0, 122.5])
def test_heights_above_the_surface_count_as_channels_did(middle: float) -> None:
    """The release's rules by numbers, whole and half way between two: the same channels on its probes."""
    info = replace(whole_probe(384), surface_channel=middle, air_channel=middle + 100)
    number = np.arange(384)
    np.testing.assert_array_equal(info.in_brain, number < middle)
    np.testing.assert_array_equal(info.below(150.0), number < int(middle) + 15)
    np.testing.assert_array_equal(info.below_air, number < int(middle + 100))


def test_the_surface_is_found_where_channel_numbers_do_not_ascend(tmp_path: Path) -> None:
    """Sites 192 to 575 of a 1.0 probe, the brain's surface at site 507: channel 123, and 66 channels above it."""
    truth = write_recording(
        tmp_path / "r", duration=1.5, n_units=0, sites=np.arange(192, 576), surface_um=10.0 * 507 + 20, form="binary"
    )
    info = estimate_depth(truth.recording(), truth.recording("lfp"), DepthParameters(skip_s=0.5, n_passes=1))
    assert info.surface_channel == pytest.approx(123, abs=10)
    info.save(tmp_path / "info.json", truth.geometry)
    kept = read_probe_info(tmp_path / "info.json").lfp_log_power
    assert kept == pytest.approx(info.lfp_log_power, abs=1e-4)
    site = truth.probe.sites
    np.testing.assert_array_equal(site[info.in_brain], [s for s in site if s < 384 + info.surface_channel])
    assert not info.below(150.0)[site > 384 + info.surface_channel + 15].any()
    assert info.below_air.all()


def test_each_shank_has_a_surface_of_its_own(tmp_path: Path) -> None:
    """Two shanks of a probe with an LFP band, one higher in the brain than the other."""
    single = write_recording(tmp_path / "a", duration=1.5, n_units=0, surface_channel=300, form="binary", seed=1)
    samples = single.recording("lfp").read(0, single.n_samples // 12)
    lower, upper = samples[:, 100:292], samples[:, 192:384]
    beside = neuropixels_1_geometry(192) + np.array([250.0, 0.0])
    lfp = recording_of(
        np.hstack([lower, upper]), tmp_path, sampling_rate=2500.0,
        geometry=np.vstack([neuropixels_1_geometry(192), beside]),
    )  # fmt: skip
    p = DepthParameters(skip_s=0.5, n_passes=1, reference_share=0.0)
    surface, air, heights, power = estimate_surface(lfp, p)
    assert power[:150].min() > power[-30:].max() + 1.0
    assert (heights[:192] < 0).all()
    assert np.flatnonzero(heights[192:] >= 0)[0] == pytest.approx(300 - 192, abs=10)
    assert (surface, air) == (384, 384)


@pytest.mark.parametrize("surface", [60.0, 200.0, 1e4])
def test_the_surface_of_a_dense_probe(surface: float, tmp_path: Path) -> None:
    """An Ultra probe (288 um): whole in the brain it has none; else it is found as well as on other probes, in um."""
    pytest.importorskip("probeinterface")
    truth = write_recording(tmp_path / "r", duration=1.5, n_units=0, probe="NP1100", surface_um=surface, form="binary")
    info = estimate_depth(truth.recording(), truth.recording("lfp"), DepthParameters(skip_s=0.5, n_passes=1))
    y = truth.geometry[:, 1]
    if surface > y.max():
        assert info.in_brain.all()
        assert (info.surface_channel, info.air_channel) == (384, 384)
    else:  # what smoothing over 50 um leaves: the same on a 1.0 probe
        assert surface < (y - info.heights).max() < surface + 80
