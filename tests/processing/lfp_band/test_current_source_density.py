"""Current source density: the published numbers, and sinks where they are, in A/m^3."""

from __future__ import annotations

import numpy as np
import pytest

from allen_ecephys.errors import GeometryError, MissingDataError
from allen_ecephys.processing.lfp_band import FlashResponse, calibrated_density, flash_response, released_density
from allen_ecephys.processing.lfp_band.current_source_density import (
    band_pass,
    flash_windows,
    good_channels,
    lfp_around,
    on_column,
    second_difference,
)
from allen_ecephys.processing.probes import neuropixels_1_geometry
from allen_ecephys.processing.synchronization import BandClock, fit_clock
from allen_ecephys.processing.timeline import Timeline

from .test_subsampling import ArrayRecording


def test_published_windows_and_interpolation() -> None:
    windows, relative = flash_windows([1.0, 2.0], 10.0, 0.2, 0.3)
    assert np.allclose(windows, [[0.8, 0.9, 1.0, 1.1, 1.2], [1.8, 1.9, 2.0, 2.1, 2.2]])
    assert np.allclose(relative, [-0.2, -0.1, 0, 0.1, 0.2])
    data = np.arange(50).reshape(10, 5)
    read = lfp_around(data, np.arange(10), np.array([[5.5, 6], [7, 8]]), [1, 3])
    assert np.allclose(read, [[[28.5, 31], [30.5, 33]], [[36, 41], [38, 43]]])
    assert np.allclose(read * 0.5, [[[14.25, 15.5], [15.25, 16.5]], [[18, 20.5], [19, 21.5]]])
    assert np.isnan(lfp_around(data, np.arange(10) - 3.0, np.array([[-1.0, 8.0]]), [0])).all()


def test_published_filter() -> None:
    expected = [
        -8.03033681, -7.51102701, -7.00015769, -6.49716665, -6.00149202,
        -5.51257727, -5.02987273, -4.55283625, -4.08093445, -3.61364687,
    ]  # fmt: skip
    filtered = band_pass(np.arange(30.0).reshape(1, 3, 10), 1000.0, (5, 150), 1)
    assert np.allclose(filtered, np.tile(expected, (1, 3, 1)))


def test_published_density() -> None:
    mean = np.arange(36.0).reshape(2, 6, 3) ** 3
    found = second_difference(mean.mean(axis=0), 1.0)
    expected = [
        [1728, 1926, 2142], [648, 702, 756], [810, 864, 918], [972, 1026, 1080], [1134, 1188, 1242],
        [-5292, -5706, -6138],
    ]  # fmt: skip
    assert np.allclose(found, expected)


def test_published_virtual_channels() -> None:
    actual = np.array([[16, 0], [48, 0], [0, 20], [32, 20], [16, 40], [48, 40]], dtype=float)
    virtual = np.column_stack([np.full(6, 24.0), 10.0 * np.arange(6)])
    found = on_column(np.arange(36.0).reshape(2, 6, 3) ** 3, actual, virtual)
    assert np.allclose(found[0, 0], [-14.8688877, -1.65987508, 22.5788198], atol=1e-5)
    assert not found[:, -1].any()


def test_noisy_and_reference_channels() -> None:
    traces = np.random.default_rng(0).normal(0, 1, (3, 4, 50))
    traces[:, 1] *= 100 * np.arange(1, 51)
    assert good_channels(traces, [2], 2.0).tolist() == [0, 3]


def test_calibrated_density_of_a_known_potential() -> None:
    geometry = neuropixels_1_geometry(96)
    depth_m = geometry[:, 1] * 1e-6
    center, width = 500e-6, 120e-6
    potential = -300e-6 * np.exp(-0.5 * ((depth_m - center) / width) ** 2)[:, None] * np.array([1.0, 0.5])
    response = FlashResponse(potential, np.arange(96), np.array([0.05, 0.1]), 10)
    found = calibrated_density(response, geometry, 1.0)
    z = (found.y_positions * 1e-6 - center) / width
    expected = -0.3 * -300e-6 * (z**2 - 1) / width**2 * np.exp(-0.5 * z**2)
    assert np.abs(found.density[0] - expected).max() < 0.02 * np.abs(expected).max()
    sink = found.y_positions[found.density[0].argmin()]
    assert sink == pytest.approx(500, abs=20)
    assert found.density.shape == (2, len(found.y_positions))
    # The release's sign is the other way round.
    release = released_density(response, geometry)
    assert release.y_positions[release.density[0].argmax()] == pytest.approx(500, abs=20)
    with pytest.raises(GeometryError, match="four depths"):
        calibrated_density(FlashResponse(potential[:4], np.arange(4), response.times, 1), geometry, 1.0)


@pytest.mark.parametrize("rate", [2500, 30_000])
def test_response_to_flashes(rate: int) -> None:
    """In an LFP band, and in the wide band of a probe without one."""
    rng = np.random.default_rng(2)
    ppm = 30e-6
    clock = fit_clock(30_000 * (1 + ppm) * (np.arange(0, 40, 4.0) - 1.0), np.arange(0, 40, 4.0), 30_000.0)
    step = 30_000 // rate
    seconds = clock.seconds(step * np.arange(13 * rate))
    flashes = np.arange(3.0, 13.0, 1.0)
    since = seconds - flashes[(np.searchsorted(flashes, seconds) - 1).clip(0)]
    depth = neuropixels_1_geometry(24)[:, 1]
    profile = np.where(depth < 200, np.exp(-0.5 * ((depth - 120) / 40) ** 2), 0)
    signal = -800 * np.exp(-0.5 * ((since - 0.06) / 0.01) ** 2)[:, None] * profile
    common = 400 * np.sin(2 * np.pi * 50 * seconds)[:, None]
    recording = ArrayRecording(np.rint(signal + common + rng.normal(0, 5, (13 * rate, 24))).astype(np.int16), rate)
    of_band = BandClock(clock, Timeline.unbroken(13 * rate), step=step)
    found = flash_response(recording, of_band, [*flashes, 500.0], np.flatnonzero(depth > 200))
    assert found.n_flashes == 10
    lowest = np.unravel_index(found.potential.argmin(), found.potential.shape)
    assert found.times[lowest[1]] == pytest.approx(0.06, abs=0.002)
    assert depth[found.channels[lowest[0]]] == pytest.approx(120, abs=1)
    assert np.abs(found.potential[depth > 200]).max() < 20
    with pytest.raises(MissingDataError, match="none of the 1 flashes"):
        flash_response(recording, of_band, [500.0])
