"""Noise made white in time: by its own autocovariance, without its spikes, and back again."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy.signal import lfilter

from allen_ecephys.processing.spike_band.temporal_whitening import (
    COLOUR_REACH,
    add_lagged_products,
    coloured,
    filter_in_time,
    noise_autocovariance,
    temporal_weights,
    without_spikes,
)

GEOMETRY = np.column_stack([np.zeros(6), 20.0 * np.arange(6)])


def red_noise(n_samples: int = 40_000, pole: float = 0.8, seed: int = 0) -> npt.NDArray[np.float32]:
    drawn = np.random.default_rng(seed).standard_normal((n_samples, len(GEOMETRY)))
    return np.asarray(lfilter([1.0], [1.0, -pole], drawn, axis=0), dtype=np.float32)


def test_red_noise_comes_out_white() -> None:
    noise = red_noise()
    taps = temporal_weights(noise_autocovariance([noise], 6), GEOMETRY, n_neighbors=6)
    assert taps is not None
    white = np.empty_like(noise)
    filter_in_time(noise, 0, taps, white)
    inside = white[COLOUR_REACH:-COLOUR_REACH].astype(np.float64)
    for lag in (1, 2, 5, 10):
        correlation = (inside[lag:] * inside[:-lag]).mean(axis=0) / (inside**2).mean(axis=0)
        assert np.abs(correlation).max() < 0.03
    np.testing.assert_array_equal(taps, taps[::-1])  # symmetric: a trough stays where it is


def test_white_noise_needs_no_filter() -> None:
    noise = red_noise(pole=0.0)
    assert temporal_weights(noise_autocovariance([noise], 6), GEOMETRY, n_neighbors=6) is None
    flat = np.zeros((31, 6))
    assert temporal_weights(flat, GEOMETRY, n_neighbors=6) is None


def test_spikes_are_no_part_of_the_noise() -> None:
    noise = red_noise()
    alone = noise_autocovariance([noise], 6)
    spiking = noise.copy()
    for start in range(100, len(noise) - 100, 400):
        spiking[start : start + 20, 2] += 40 * np.hanning(20).astype(np.float32)
    measured = noise_autocovariance([spiking], 6)
    np.testing.assert_allclose(measured[:, 2], alone[:, 2], atol=0.25 * alone[0, 2])
    np.testing.assert_allclose(np.delete(measured, 2, axis=1), np.delete(alone, 2, axis=1))
    samples, mask = without_spikes(spiking)
    assert not samples[100:120, 2].any()
    assert not mask[100:120, 2].any()
    np.testing.assert_array_equal(samples, spiking * mask)


def test_kernels_equal_numpy() -> None:
    noise = red_noise(1000)
    sums = np.zeros((4, 6))
    add_lagged_products(noise, sums)
    wanted = [(noise[d:].astype(np.float64) * noise[: len(noise) - d]).sum(axis=0) for d in range(4)]
    np.testing.assert_allclose(sums, wanted, rtol=1e-4)
    taps = np.random.default_rng(1).standard_normal((5, 6)).astype(np.float32)
    out = np.empty((1000, 6), np.float32)
    filter_in_time(noise, 0, taps, out)
    for c in range(6):
        np.testing.assert_allclose(out[:, c], np.convolve(noise[:, c], taps[::-1, c], "same"), atol=1e-4)
    part = np.empty((10, 6), np.float32)
    filter_in_time(noise, 500, taps, part)
    np.testing.assert_array_equal(part, out[500:510])


@pytest.mark.parametrize("pole", [0.6, 0.9])
def test_a_waveform_gets_its_colour_back(pole: float) -> None:
    taps = temporal_weights(noise_autocovariance([red_noise(pole=pole)], 6), GEOMETRY, n_neighbors=6)
    assert taps is not None
    wave = np.zeros((61, 6), np.float32)
    wave[10:40] = -np.hanning(30)[:, None]
    white = np.empty_like(wave)
    filter_in_time(wave, 0, taps, white)
    np.testing.assert_allclose(coloured(white[None], taps)[0], wave, atol=0.05)
