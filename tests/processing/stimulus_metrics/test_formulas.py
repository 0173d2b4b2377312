"""Each formula against known values, plain NumPy twins and other implementations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import least_squares, leastsq
from scipy.stats import chi2_contingency, ttest_ind

from allen_ecephys.processing.stimulus_metrics.contrast_response import c50, semi_saturation
from allen_ecephys.processing.stimulus_metrics.gabors import chi_square_p_values
from allen_ecephys.processing.stimulus_metrics.kernels import (
    chi_square_statistics,
    first_harmonics,
    sum_histograms,
    trial_histograms,
)
from allen_ecephys.processing.stimulus_metrics.levenberg_marquardt import GAUSSIAN, SIGMOID, fit_curve, residuals
from allen_ecephys.processing.stimulus_metrics.natural_movies import response_reliability
from allen_ecephys.processing.stimulus_metrics.natural_scenes import image_selectivity
from allen_ecephys.processing.stimulus_metrics.orientation_selectivity import (
    global_direction_selectivity,
    global_orientation_selectivity,
)
from allen_ecephys.processing.stimulus_metrics.receptive_field_maps import fit_gaussian, moments, region_of, smooth_maps
from allen_ecephys.processing.stimulus_metrics.running_modulation import running_modulation
from allen_ecephys.processing.stimulus_metrics.spike_counts import fano_factor, lifetime_sparseness, overall_firing_rate
from allen_ecephys.processing.stimulus_metrics.temporal_modulation import f1_f0, harmonic_ratio, modulation_index

CONTRASTS = np.array([0.01, 0.02, 0.04, 0.08, 0.13, 0.2, 0.35, 0.6, 1.0])
REAL_MAP = np.array(
    [
        [7440, 5704, 11408, 8184, 9920, 5952, 11904, 11904, 9672],
        [8184, 12152, 10912, 12648, 15128, 19096, 17112, 14384, 11656],
        [12152, 17856, 25048, 36208, 47368, 30256, 20336, 10912, 10168],
        [15624, 31000, 53568, 92752, 119288, 69440, 31496, 16120, 10416],
        [12152, 23560, 32984, 74896, 93496, 52328, 28024, 19592, 11656],
        [9672, 7192, 10912, 16120, 16368, 18600, 14880, 6696, 11408],
        [11656, 7688, 6696, 5456, 11408, 9672, 11160, 12152, 7936],
        [6696, 6696, 9424, 8928, 6200, 11160, 7688, 6200, 9672],
        [8928, 10912, 9176, 8432, 7688, 9424, 5704, 8184, 14384],
    ],
    dtype=float,
)


@pytest.mark.parametrize(
    ("counts", "speeds", "p", "modulation"),
    [
        (np.ones(5), [0, 0, 0, 0, 0], np.nan, np.nan),
        (np.ones(5), [2, 2, 2, 2, 2], np.nan, np.nan),
        (np.ones(4), [0, 0, 2, 2, 2], np.nan, np.nan),
        (np.zeros(5), [0, 0, 2, 2, 2], np.nan, np.nan),
        (np.ones(5), [0, 0, 2, 2, 2], np.nan, 0.0),
        ([3, 3, 1.5, 1.5, 0.9], [0, 0, 2, 2.5, 3], 0.013559949584378913, -0.5666666666666667),
        ([3, 3, 1.5, 1.5, 1.5], [0, 0, 2, 2.5, 3], 0.0, -0.5),
        ([3, 3, 1.5, 5.5, 2.5], [0, 0, 2, 2.5, 3], 0.9024099927051468, 0.052631578947368376),
        ([0, 0, 4, 4], [0, 0, 2.5, 3], 0.0, 1.0),
    ],
)
def test_running_modulation(counts, speeds, p: float, modulation: float) -> None:
    np.testing.assert_allclose(running_modulation(counts, speeds), (p, modulation), rtol=1e-12)


def test_running_modulation_is_welchs_test_of_every_unit() -> None:
    rng = np.random.default_rng(0)
    counts, speeds = rng.poisson(4, (20, 15)), rng.normal(1, 1, 15)
    p_values, _ = running_modulation(counts, speeds)
    run = speeds >= 1
    np.testing.assert_allclose(p_values, ttest_ind(counts[:, run], counts[:, ~run], axis=1, equal_var=False).pvalue)


def test_lifetime_sparseness() -> None:
    assert np.isnan(lifetime_sparseness([1]))
    assert np.isnan(lifetime_sparseness(np.zeros(5)))
    assert lifetime_sparseness(np.full(20, 3.2)) == pytest.approx(0, abs=1e-12)
    assert lifetime_sparseness([10, 0, 0, 0, 0, 0]) == 1
    responses = [2.24, 3.6, 0.8, 2.4, 3.52, 5.68, 8.96, 0]
    assert lifetime_sparseness(responses) == pytest.approx(0.43500091849856115)


def test_fano_factor() -> None:
    assert np.isnan(fano_factor(np.zeros(4)))
    assert np.isnan(fano_factor([-1.5, 1.5]))
    assert fano_factor(np.ones(4)) == 0
    assert fano_factor([1.2, 20, 0, 36.2, 0.6]) == pytest.approx(17.921379310344832)
    assert fano_factor([5.1, 5.3, 5.2, 5.1, 5.2]) == pytest.approx(0.0010810810810810846)
    assert np.isnan(fano_factor([3.0], ddof=1))


def test_overall_firing_rate() -> None:
    assert np.isnan(overall_firing_rate([0], [0], [1.0]))
    assert np.isnan(overall_firing_rate([1, 2], [0, 1], [1.0]))
    assert np.isnan(overall_firing_rate([1, 2, 3], [2, 3], [1.0]))
    assert overall_firing_rate([0], [1], np.linspace(0, 10, 100)) == 10
    assert overall_firing_rate([0, 9], [1, 10], np.linspace(0, 10, 101)) == 10


def test_orientation_and_direction_selectivity() -> None:
    angles = np.deg2rad(np.arange(0, 180, 30))
    responses = [5.5, 4.44, 3.54166667, 4.10869565, 4.42, 4.55319149]
    assert global_orientation_selectivity(angles, responses) == pytest.approx(0.07873455094232604)
    assert global_direction_selectivity(angles, responses) == pytest.approx(0.6126966469601506)
    assert np.isnan(global_orientation_selectivity(angles, responses[:5]))
    assert np.isnan(global_direction_selectivity([], []))
    assert np.isnan(global_orientation_selectivity(angles, np.zeros(6)))


def test_modulation_index() -> None:
    assert np.isnan(modulation_index([], 4, 1000))
    assert modulation_index(np.zeros(2000), 4, 1000) == 0
    assert modulation_index(np.ones(2000), 4, 1000) == 0
    assert np.isnan(modulation_index(np.linspace(0.5, 12.1, 50), 8, 1))
    assert modulation_index([0.1, 0.2, 0.2, 1.1], 2, 4) == pytest.approx(0.1389328986)
    assert modulation_index(np.linspace(0.5, 12.1, 50), 8, 1000) == pytest.approx(4.993941)


def test_f1_f0_as_released() -> None:
    assert np.isnan(f1_f0([], 4, 2))
    assert np.isnan(f1_f0(np.zeros((5, 256)), 4, 2))
    assert np.isnan(f1_f0(np.ones((5, 256)), 18, 16))
    assert np.isnan(f1_f0(np.ones((5, 256)), 0.1, 2))
    assert f1_f0(np.full((5, 256), 5), 4, 2) == pytest.approx(0, abs=1e-12)
    for trial in ([0, 0, 1, 1, 2, 0, 5, 1], [[0, 0, 1, 1, 2, 0, 5, 1]]):
        assert f1_f0(trial, 2, 1) == pytest.approx(0.894427190999916)


@pytest.mark.parametrize("frequency", [1, 2, 4, 8, 15])
@pytest.mark.parametrize("phase", [0.0, 0.4, np.pi / 2])
def test_the_corrected_ratio_of_a_fully_modulated_response_is_one(frequency: float, phase: float) -> None:
    response = 1 + np.cos(2 * np.pi * frequency * np.arange(2000) / 1000 + phase)
    assert harmonic_ratio(response, frequency, 0.001) == pytest.approx(1)
    # the released one looks at 0.50, 1.50, 3.51, 7.52, 14.7 Hz instead
    assert f1_f0(response[:1999], frequency, 1.9985) < 0.6


def test_the_corrected_modulation_index_finds_the_frequency_of_the_grating() -> None:
    response = 5 + np.sin(2 * np.pi * 2 * np.arange(2000) / 1000)
    corrected = modulation_index(response, 2, 1000, nearest=True, segment=2000)
    elsewhere = modulation_index(response, 8, 1000, nearest=True, segment=2000)
    assert corrected > 20 * elsewhere


def test_image_selectivity() -> None:
    assert np.isnan([image_selectivity(x) for x in ([], [1], [0])]).all()
    assert image_selectivity(np.zeros(118)) == image_selectivity(np.ones(118)) == 0
    assert np.isnan(image_selectivity(np.zeros(118), nan_if_silent=True))
    assert image_selectivity(np.append(np.zeros(200), 1)) == pytest.approx(0.99004975)
    assert image_selectivity([5.5, 0, 15, 10, 2.3, 4.9]) == pytest.approx(0.16166666666666674)


def test_c50_as_released() -> None:
    assert np.isnan(c50([], []))
    assert c50(CONTRASTS, np.full(9, 12.0)) == pytest.approx(0.009)
    assert np.isfinite(c50(CONTRASTS, np.zeros(9)))
    assert c50(CONTRASTS, np.linspace(0, 12, 9)) == pytest.approx(0.1330745098039216)
    assert np.isnan(c50(CONTRASTS, np.array([10.0] + [0.0] * 8)))


def test_the_corrected_c50_is_that_of_the_curve() -> None:
    true, exponent = np.array([0.03, 0.1, 0.25, 0.5]), np.array([2.0, 1.0, 3.0, 2.5])
    curves = 3 + 10 * CONTRASTS ** exponent[:, None] / (
        CONTRASTS ** exponent[:, None] + true[:, None] ** exponent[:, None]
    )
    np.testing.assert_allclose(semi_saturation(CONTRASTS, curves), true, rtol=1e-3)
    flat_and_falling = np.array([np.full(9, 4.0), np.zeros(9), np.linspace(9, 0, 9)])
    assert np.isnan(semi_saturation(CONTRASTS, flat_and_falling)).all()


def test_the_corrected_c50_fits_as_well_as_a_general_optimiser() -> None:
    rng = np.random.default_rng(1)
    curves = rng.poisson(20 * (1 + CONTRASTS**2 / (CONTRASTS**2 + 0.2**2)), (10, 9)) / 15
    ours = semi_saturation(CONTRASTS, curves)

    def error(parameters: np.ndarray, curve: np.ndarray) -> np.ndarray:
        base, largest, log_c, n = parameters
        return base + largest / (1 + np.exp(n * (log_c - np.log(CONTRASTS)))) - curve

    bounds = ([-np.inf, 0, np.log(0.01), 0.5], [np.inf, np.inf, 0, 6])
    for curve, value in zip(curves, ours, strict=True):
        starts = [(1, 1, np.log(c), n) for c in (0.03, 0.1, 0.3, 0.8) for n in (1, 3, 5)]
        best = min(
            (least_squares(error, start, args=(curve,), bounds=bounds) for start in starts), key=lambda r: r.cost
        )
        fixed = min(
            (
                least_squares(
                    lambda p, c=value, y=curve: error(np.array([p[0], p[1], np.log(c), p[2]]), y),
                    (1, 1, n),
                    bounds=([-np.inf, 0, 0.5], [np.inf, np.inf, 6]),
                )
                for n in (0.7, 1.5, 3, 5)
            ),
            key=lambda r: r.cost,
        )
        assert fixed.cost <= best.cost * 1.01 + 1e-9  # flat valleys: any point of them will do


def test_regions_of_float_maps() -> None:
    assert region_of(np.zeros((9, 9)), 0.5).area == region_of(np.ones((9, 9)), 0.5).area == 0
    assert np.isnan(region_of(np.zeros((9, 9)), 0.5).row)
    region = region_of(smooth_maps(REAL_MAP), 0.5)
    assert (region.column, region.row, region.area) == (3.5, 3.0, 2)
    x = np.linspace(-1, 1, 9)
    bump = np.exp(-(x[:, None] ** 2 + x**2) / 2)
    region = region_of(smooth_maps(bump), 0.5)
    assert (region.column, region.row, region.area) == (4, 4, 9)


def test_gaussian_fits() -> None:
    fit = fit_gaussian(REAL_MAP)
    found = [fit.height, fit.y, fit.x, fit.sigma_y, fit.sigma_x]
    np.testing.assert_allclose(found, [1.04990549e5, 3.24465782, 3.74217921, 1.04486140, 1.66478893], rtol=1e-6)
    assert np.isnan(fit_gaussian(np.zeros((9, 9))).x)
    single = np.zeros((9, 9))
    single[8, 8] = 5
    fit = fit_gaussian(single)
    assert (fit.height, fit.y, fit.x, fit.sigma_y, fit.sigma_x, fit.converged) == (5, 8, 8, 0, 0, True)


def test_integer_maps_lose_fractions_in_both_passes() -> None:
    sparse = np.zeros((9, 9), dtype=np.int64)
    sparse[4, 4] = 3
    assert smooth_maps(sparse).sum() == 0
    assert smooth_maps(sparse.astype(float)).sum() == pytest.approx(3)


def test_the_compiled_fit_ends_where_minpack_ends() -> None:
    rng = np.random.default_rng(2)
    pixels = np.argwhere(np.ones((9, 9))).astype(float)

    def error(p: np.ndarray, x: np.ndarray, y: np.ndarray, curve: int) -> np.ndarray:
        out = np.empty(len(y))
        residuals(curve, p, x, y, out)
        return out

    for _ in range(30):
        centre = rng.uniform(1, 7, 2)
        data = rng.poisson(5 + 60 * np.exp(-((pixels - centre) ** 2).sum(axis=1) / 4)).reshape(9, 9).astype(float)
        ours, converged = fit_curve(GAUSSIAN, moments(data), pixels, data.ravel(), 1200)
        theirs = leastsq(error, moments(data), args=(pixels, data.ravel(), GAUSSIAN))[0]
        assert converged
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)
        curve = rng.poisson(60 + 120 * CONTRASTS**2 / (CONTRASTS**2 + 0.04)) / 15
        ours, converged = fit_curve(SIGMOID, np.ones(4), np.log(CONTRASTS)[:, None], curve, 2000)
        theirs, _, _, _, status = leastsq(
            error, np.ones(4), args=(np.log(CONTRASTS)[:, None], curve, SIGMOID), full_output=True, maxfev=2000
        )
        if converged and status in (1, 2, 3):
            shown = [error(p, np.log(CONTRASTS)[:, None], np.zeros(9), SIGMOID) for p in (ours, theirs)]
            np.testing.assert_allclose(*shown, rtol=1e-3)


@pytest.mark.parametrize("closed", [True, False])
def test_histogram_kernels_equal_binary_searches(closed: bool) -> None:
    rng = np.random.default_rng(3)
    edges = np.arange(0, 0.25, 0.001)
    starts = np.sort(rng.uniform(0, 20, 12))
    # spikes on the edges themselves, and elsewhere
    on_edges = (starts[:, None] + edges[rng.integers(0, len(edges), (12, 40))]).ravel()
    trains = [
        np.sort(np.concatenate([on_edges, rng.uniform(0, 20, 3000)])),
        np.empty(0),
        np.sort(rng.uniform(0, 20, 50)),
    ]
    order, offsets = np.array([3, 0, 5, 1, 2, 4, 6, 7, 8, 9, 10, 11]), np.array([0, 3, 12])
    condition = np.array([0, 1, 1])

    def twin(train: np.ndarray, trials: np.ndarray) -> np.ndarray:
        windows = starts[trials][:, None] + edges
        right = np.searchsorted(train, windows[:, 1:], side="right" if closed else "left")
        return right - np.searchsorted(train, windows[:, :-1], side="left")

    stops = np.cumsum([len(train) for train in trains])
    begins = stops - [len(train) for train in trains]
    sums = np.zeros((3, len(edges) - 1), dtype=np.int64)
    sum_histograms(np.concatenate(trains), begins, stops, starts, order, offsets, condition, edges, closed, sums)
    for unit, train in enumerate(trains):
        trials = order[offsets[condition[unit]] : offsets[condition[unit] + 1]]
        np.testing.assert_array_equal(sums[unit], twin(train, trials).sum(axis=0))
        np.testing.assert_array_equal(trial_histograms(train, starts[trials], edges, closed), twin(train, trials))


def test_the_chi_square_kernel_equals_its_definition_and_scipys() -> None:
    rng = np.random.default_rng(4)
    category = np.repeat(np.arange(9), 15)
    counts = rng.poisson(2, (135, 3)).astype(np.int32)
    found = np.empty((1, 3))
    chi_square_statistics(counts, np.arange(135, dtype=np.int32)[None], np.arange(0, 136, 15), found)
    for unit in range(3):
        observed = np.bincount(category, counts[:, unit])
        expected = np.full(9, observed.sum() / 9)
        assert found[0, unit] == pytest.approx(((observed - expected) ** 2 / expected).sum())
        assert found[0, unit] == pytest.approx(chi2_contingency(np.stack([observed, expected * 1e9]))[0], rel=1e-6)


def test_p_values_do_not_depend_on_threads_or_other_units(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    category = rng.permutation(np.repeat(np.arange(81), 15))
    counts = rng.poisson(1, (70, len(category)))
    counts[1] += 2 * (category == 40)
    counts[2] = 0
    options = {"n_shuffles": 200, "seed": 7}
    for permute in (True, False):
        monkeypatch.setenv("ALLEN_ECEPHYS_THREADS", "1")
        serial = chi_square_p_values(counts, category, permute=permute, **options)
        monkeypatch.setenv("ALLEN_ECEPHYS_THREADS", "2")
        np.testing.assert_array_equal(chi_square_p_values(counts, category, permute=permute, **options), serial)
        alone = chi_square_p_values(counts[[1]], category, permute=permute, **options)
        assert alone[0] == serial[1] == (1 / 201 if permute else 0)
        assert np.isnan(serial[2])


def test_permutation_p_values_of_unresponsive_units_are_uniform() -> None:
    rng = np.random.default_rng(6)
    category = np.repeat(np.arange(81), 9)
    counts = rng.poisson(0.7, (400, len(category)))
    p_values = chi_square_p_values(counts, category, n_shuffles=199, seed=0, permute=True)
    assert p_values.min() >= 1 / 200
    # shared surrogates correlate units a little; 400 independent ones would deviate by 0.068 in one of 20 cases
    quantiles = np.sort(p_values)
    assert np.abs(quantiles - np.arange(1, 401) / 400).max() < 0.1


def test_reliability_is_the_mean_correlation_of_trial_pairs() -> None:
    rng = np.random.default_rng(7)
    trials = rng.normal(size=(6, 50)) + np.sin(np.arange(50) / 4)
    trials[3] = 2.0  # does not vary: left out
    pairs = np.corrcoef(np.delete(trials, 3, axis=0))[np.triu_indices(5, 1)]
    assert response_reliability(trials) == pytest.approx(pairs.mean())
    assert np.isnan(response_reliability(trials[[3, 3, 0]]))


@pytest.mark.parametrize("dtype", [np.int64, np.float64])
def test_first_harmonics_are_fourier_coefficients(dtype: type) -> None:
    trials = np.random.default_rng(8).poisson(0.3, (4, 666)).astype(dtype)
    folded = trials[:, :660].reshape(4, 5, 132).mean(axis=1)
    means, amplitudes = first_harmonics(trials, 132.0, 660)
    np.testing.assert_allclose(means, folded.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(amplitudes, 2 * np.abs(np.fft.fft(folded, axis=1)[:, 1]) / 132, rtol=1e-10)
