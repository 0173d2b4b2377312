"""Samples of a band in time: files that begin late, leave out samples, or hold every twelfth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from allen_ecephys.processing.synchronization import BandClock, fit_clock
from allen_ecephys.processing.timeline import Timeline

RATE = 30_000.0
PPM = 20e-6


@dataclass
class Band:
    """What of a recording the clock of its band asks."""

    sampling_rate: float
    timeline: Timeline


def true_seconds(numbers: np.ndarray) -> np.ndarray:
    return 2.0 + numbers / (RATE * (1 + PPM))


@pytest.fixture
def clock():
    numbers = RATE * np.arange(0, 100, 10.0)
    return fit_clock(numbers, true_seconds(numbers), RATE)


def test_a_file_that_begins_late_and_leaves_out_samples(clock) -> None:
    numbers = np.r_[90_000:120_000, 150_000:300_000]
    band = Band(RATE, Timeline.from_numbers(numbers, "a file"))
    of_band = BandClock.of_band(clock, band, band)
    samples = np.array([0, 29_999, 30_000, 179_999])
    assert np.allclose(of_band.seconds(samples), true_seconds(numbers[samples]), atol=1e-9)
    assert of_band.stretches() == [(0, 30_000), (30_000, 180_000)]
    inside = true_seconds(np.array([160_000.2, 160_100.7]))
    first, stop = of_band.around(*inside)
    assert numbers[[first, stop - 1]].tolist() == [160_000, 160_101]
    assert of_band.around(*true_seconds(np.array([119_900.0, 150_100.0]))) is None
    assert of_band.around(0.0, 1.0) is None
    assert of_band.around(*true_seconds(np.array([299_000.0, 300_100.0]))) is None


@pytest.mark.parametrize(
    ("lfp_first", "begins"), [(7_500, 90_000), (7_503, 90_036), (20_000, 240_000), (0, 0), (None, 90_000)]
)
def test_an_lfp_band(clock, lfp_first: int | None, begins: int) -> None:
    """The LFP's own numbers are taken where they were written; else it begins with the spike band."""
    spikes = Band(RATE, Timeline.unbroken(600_000, 90_000))
    lfp = Band(RATE / 12, Timeline.unbroken(50_000, lfp_first))
    of_band = BandClock.of_band(clock, spikes, lfp)
    rows = np.array([0, 1000])
    assert np.allclose(of_band.seconds(rows), true_seconds(begins + 12.0 * rows), atol=1e-9)
    first, stop = of_band.around(10.0, 10.5)
    at = of_band.seconds(np.arange(first, stop))
    assert at[0] <= 10.0 < at[1]
    assert at[-2] < 10.5 <= at[-1]


def test_gaps_of_the_clock_cut_stretches() -> None:
    seconds = np.arange(0.0, 200.0, 10.0)
    lost = fit_clock(np.where(seconds < 95, seconds, seconds - 3.0) * RATE, seconds, RATE)
    of_band = BandClock(lost, Timeline.unbroken(500_000), step=12)
    (a, b), (c, d) = of_band.stretches()
    assert (a, d) == (0, 500_000)
    assert of_band.seconds([b - 1, c]) == pytest.approx([90.0, 100.0], abs=1e-3)
    assert np.isnan(of_band.seconds([b + 1])).all()
    assert of_band.around(89.0, 101.0) is None
    first, stop = of_band.around(101.0, 102.0)
    assert of_band.seconds([first, stop - 1]) == pytest.approx([101.0, 102.0], abs=1e-3)
