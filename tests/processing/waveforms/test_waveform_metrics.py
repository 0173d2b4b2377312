"""Waveform metrics: the golden numbers of the published formulas, and what each metric must do on known shapes."""

from __future__ import annotations

import numpy as np
import pytest

from allen_ecephys.errors import GeometryError
from allen_ecephys.processing.probes import neuropixels_1_geometry
from allen_ecephys.processing.shanks import ShankLines
from allen_ecephys.processing.waveforms import MeanWaveforms, propagation_metrics, waveform_metrics
from allen_ecephys.processing.waveforms.propagation import is_inlier
from allen_ecephys.processing.waveforms.shape import (
    is_inverted,
    recovery_slope,
    repolarization_slope,
    resample_waveforms,
    signal_to_noise,
    waveform_duration,
    waveform_halfwidth,
    waveform_pt_ratio,
)

TIME = np.arange(82) / 30000
GOLDEN = -100 * np.exp(-(((TIME - 20 / 30000) / 0.12e-3) ** 2)) + 40 * np.exp(-(((TIME - 38 / 30000) / 0.25e-3) ** 2))


GEOMETRY = neuropixels_1_geometry(40)
LINES = ShankLines.of(GEOMETRY)


def golden_on_probe() -> np.ndarray:
    waveform = np.zeros((40, 82))
    for d in range(-20, 20):
        waveform[20 + d] = np.roll(GOLDEN * np.exp(-abs(d) / 6), round(0.3 * abs(d)))
    return waveform


def test_golden_shape_metrics() -> None:
    waveform, times = resample_waveforms(GOLDEN)
    assert waveform.shape == times.shape == (200,)
    assert times[-1] == 82 / 30000
    assert waveform_duration(waveform, times) == pytest.approx(0.604355, abs=5e-7)
    assert waveform_halfwidth(waveform, times) == pytest.approx(0.206030, abs=5e-7)
    assert waveform_pt_ratio(waveform) == pytest.approx(0.400665, abs=5e-7)
    assert repolarization_slope(waveform, times) == pytest.approx(0.459566, abs=5e-7)
    assert recovery_slope(waveform, times) == pytest.approx(-0.111116, abs=5e-7)


def test_golden_snr() -> None:
    stack = np.stack([GOLDEN, 1.1 * GOLDEN, 0.9 * GOLDEN])
    stack[:, ::2] += 1
    stack[0] += 5
    assert signal_to_noise(stack.mean(axis=0), stack.std(axis=0)) == pytest.approx(21.674171500636895, rel=1e-12)
    residuals = stack - stack.mean(axis=0)
    assert signal_to_noise(stack.mean(axis=0), stack.std(axis=0)) == pytest.approx(
        np.ptp(stack.mean(axis=0)) / (2 * residuals.std()), rel=1e-12
    )


def test_golden_propagation() -> None:
    metrics = propagation_metrics(golden_on_probe(), 20, LINES)
    assert metrics.amplitude == pytest.approx(139.873955, abs=1e-6)
    assert metrics.spread == pytest.approx(130)
    assert metrics.velocity_above == pytest.approx(0.416966, abs=5e-7)
    assert metrics.velocity_below == pytest.approx(-0.416966, abs=5e-7)
    wide = propagation_metrics(golden_on_probe(), 20, ShankLines.of(GEOMETRY * [1, 2]), site_range=320.0)
    assert wide.spread == pytest.approx(260)
    assert wide.velocity_above == pytest.approx(0.208483, abs=5e-7)
    assert wide.velocity_below == pytest.approx(-0.208483, abs=5e-7)


def test_golden_inliers() -> None:
    assert is_inlier([3, 4, 5, 6, 7, 8, 9, 16]).tolist() == [True] * 7 + [False]
    assert is_inlier([2, 2, 2, 9]).tolist() == [False] * 4


def test_corrected_metrics_measure_what_was_built() -> None:
    """A trough that moves one sample every 20 um has an inverse velocity of 33.3 us / 20 um = 1.667 s/m."""
    waveform = np.zeros((80, 82))
    for channel in range(80):
        rows = abs(channel // 2 - 20)
        waveform[channel] = np.roll(GOLDEN * np.exp(-rows / 6), rows)
    metrics = propagation_metrics(waveform, 40, ShankLines.of(neuropixels_1_geometry(80)))
    assert metrics.velocity_above_corrected == pytest.approx(1 / 30000 / 20e-6)
    assert metrics.velocity_below_corrected == pytest.approx(-1 / 30000 / 20e-6)
    # The release's numbers are 0.412 and 0.5 times the true ones.
    assert metrics.velocity_above / metrics.velocity_above_corrected == pytest.approx(0.4121, abs=1e-4)
    assert metrics.spread / metrics.spread_corrected == pytest.approx(0.5)


def test_inverted_waveform_mirrors_the_upright_one() -> None:
    waveform, times = resample_waveforms(GOLDEN)
    assert not is_inverted(waveform)
    assert is_inverted(-waveform)
    for metric in (waveform_duration, waveform_halfwidth, repolarization_slope, recovery_slope):
        assert metric(-waveform, times) == pytest.approx(metric(waveform, times), rel=1e-12)
    assert waveform_pt_ratio(-waveform) == pytest.approx(1 / waveform_pt_ratio(waveform), rel=1e-12)


def test_early_deflection_widens_the_half_width() -> None:
    """The first crossing counts, not the nearest: the release's definition."""
    _, times = resample_waveforms(GOLDEN)
    bump = -60 * np.exp(-(((TIME - 5 / 30000) / 0.05e-3) ** 2))
    widened, _ = resample_waveforms(GOLDEN + bump)
    plain, _ = resample_waveforms(GOLDEN)
    assert waveform_halfwidth(widened, times) > waveform_halfwidth(plain, times) + 0.3


def test_metrics_without_a_crossing_or_points_are_nan() -> None:
    _, times = resample_waveforms(GOLDEN)
    falling = np.linspace(0, -1, 200)
    assert np.isnan(waveform_halfwidth(np.linspace(-1, 0, 200), times))
    assert np.isnan(repolarization_slope(falling, times))
    assert np.isnan(recovery_slope(falling, times))
    assert np.isnan(waveform_pt_ratio(np.arange(200.0)))
    assert np.isnan(signal_to_noise(np.ones(82), np.zeros(82)))


def test_peak_at_the_tip_and_flat_waveform() -> None:
    waveform = golden_on_probe()[20:]
    metrics = propagation_metrics(waveform, 0, ShankLines.of(GEOMETRY[:20]))
    # Channel 0 itself takes no part, by the release's definition.
    assert metrics.amplitude == pytest.approx(np.ptp(waveform[2]))
    assert np.isfinite(metrics.velocity_above)
    assert np.isnan(metrics.velocity_below)
    flat = propagation_metrics(np.zeros((40, 82)), 20, LINES)
    assert flat.amplitude == flat.spread == flat.spread_corrected == 0
    assert np.isnan(flat.velocity_above)


def test_sites_side_by_side_have_no_velocity() -> None:
    row = np.column_stack((np.arange(40.0), np.zeros(40)))
    metrics = propagation_metrics(golden_on_probe(), 20, ShankLines.of(row))
    assert np.isnan(metrics.velocity_above_corrected)


# --- the table ---------------------------------------------------------------------------------------------------


def table_input() -> tuple[MeanWaveforms, np.ndarray]:
    mean = np.stack([golden_on_probe(), np.zeros((40, 82)), -golden_on_probe()])
    waveforms = MeanWaveforms(np.array([3, 5, 8]), mean, np.full_like(mean, 2.0), np.array([10, 0, 20]))
    geometry = np.column_stack((np.array([43, 11, 59, 27] * 10), 20 * (np.arange(40) // 2))).astype(float)
    return waveforms, geometry


def test_table_has_one_row_for_each_unit() -> None:
    waveforms, geometry = table_input()
    table = waveform_metrics(waveforms, geometry)
    assert table.index.tolist() == [3, 5, 8]
    assert table.loc[[3, 8], "peak_channel"].tolist() == [20, 20]
    assert table.loc[3, "duration"] == pytest.approx(0.604355, abs=5e-7)
    assert table.loc[3, "snr"] == pytest.approx(np.ptp(GOLDEN) / 4, rel=1e-3)
    assert table.loc[5].drop("peak_channel").isna().all()
    assert (table.dtypes.drop("peak_channel") == "float64").all()
    assert table["peak_channel"].dtype == "int64"


def test_masked_channel_is_never_the_peak() -> None:
    """P8: a dead or noisy channel takes no part."""
    waveforms, geometry = table_input()
    waveforms.mean[0, 7] = 1e4 * np.sin(np.arange(82))
    table = waveform_metrics(waveforms, geometry, masked_channels=[7])
    assert table.loc[3, "peak_channel"] == 20
    assert table.loc[3, "amplitude"] == pytest.approx(139.873955, abs=1e-6)
    every = waveform_metrics(waveforms, geometry, masked_channels=range(40))
    assert every.drop(columns="peak_channel").isna().all(axis=None)


def test_no_units_and_wrong_geometry() -> None:
    empty = MeanWaveforms(
        np.zeros(0, dtype=np.int64), np.zeros((0, 4, 82)), np.zeros((0, 4, 82)), np.zeros(0, dtype=np.int64)
    )
    assert waveform_metrics(empty, np.zeros((4, 2))).shape == (0, 16)
    with pytest.raises(GeometryError, match="waveforms of 4 channels"):
        waveform_metrics(empty, np.zeros((5, 2)))
