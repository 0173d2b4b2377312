"""Noise without a neuron in it: of whatever colour, level and correlation, it holds no good unit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from scipy.signal import lfilter

from allen_ecephys.processing.probes import neuropixels_1_geometry
from allen_ecephys.processing.readers.binary import BinaryRecording
from allen_ecephys.processing.sorting.native import sort_native
from allen_ecephys.processing.sorting.parameters import SortingParameters
from allen_ecephys.processing.sorting.preparing.registration import PreparedRecording, prepare_recording
from allen_ecephys.processing.sorting.templates.searching import Searcher
from allen_ecephys.processing.sorting.templates.template_bank import TemplateBank

RATE = 30_000.0
N_CHANNELS = 16
STILL = SortingParameters(nblocks=0)


def resonance(frequency: float, quality: float) -> tuple[list[float], list[float]]:
    """Return numerator and denominator of a second-order band-pass (R. Bristow-Johnson's cookbook)."""
    angle = 2 * np.pi * frequency / RATE
    alpha = np.sin(angle) / (2 * quality)
    return [alpha, 0.0, -alpha], [1 + alpha, -2 * np.cos(angle), 1 - alpha]


def background(corner: float) -> tuple[list[float], list[float]]:
    """Return what falls with the square of the frequency from `corner` on."""
    return [1.0], [1.0, -float(np.exp(-2 * np.pi * corner / RATE))]


def noise(
    folder: Path, colour: tuple[list[float], list[float]], share: float, *, level_uv: float = 10.0, um: float = 50.0,
    seconds: float = 5.0, seed: int = 0,
) -> BinaryRecording:  # fmt: skip
    """Write Gaussian noise: `share` of its variance has a colour, the rest is white; covariance exp(-distance / um)."""
    geometry, rng = neuropixels_1_geometry(N_CHANNELS), np.random.default_rng(seed)
    white, tinted = rng.standard_normal((2, round(seconds * RATE) + 3000, N_CHANNELS))
    tinted = lfilter(*colour, tinted, axis=0)
    both = np.sqrt(1 - share) * white + np.sqrt(share) * tinted / tinted[3000:].std()
    distance = np.hypot(*(geometry[:, None] - geometry[None]).transpose(2, 0, 1))
    mixing = np.linalg.cholesky(np.exp(-distance / um) + 1e-9 * np.eye(N_CHANNELS))
    counts = np.rint(both[3000:] @ mixing.T * level_uv / 0.195).astype(np.int16)
    counts.tofile(folder / "noise.dat")
    return BinaryRecording(
        folder / "noise.dat", n_columns=N_CHANNELS, sampling_rate=RATE, uv_per_bit=0.195, geometry=geometry
    )


@pytest.mark.parametrize("seed", range(3))
def test_noise_holds_no_good_unit(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng([seed, 5])
    colour = resonance(rng.uniform(200, 800), rng.uniform(1, 4)) if seed % 2 == 0 else background(rng.uniform(50, 800))
    recording = noise(
        tmp_path, colour, rng.uniform(0.3, 0.9), level_uv=rng.uniform(3, 40), um=rng.uniform(10, 100), seed=seed
    )
    result = sort_native(recording, tmp_path / "work", STILL)
    assert not result.good.any()
    assert len(result.samples) < 100


@pytest.mark.parametrize(("share", "is_coloured"), [(0.0, False), (0.3, True), (0.6, True)])
def test_thresholds_are_true_standard_deviations(
    tmp_path: Path, example_bank: TemplateBank, share: float, is_coloured: bool
) -> None:
    recording = noise(tmp_path, resonance(300.0, 2.0), share)
    prepared = prepare_recording(recording, parameters=STILL)
    assert (len(prepared.taps) > 1) == is_coloured
    samples = prepared.read(0, prepared.n_samples).astype(np.float64)
    for component in example_bank.basis.T.astype(np.float64):
        spread = [np.convolve(channel, component[::-1], "valid").std() for channel in samples.T]
        assert np.mean(spread) == pytest.approx(1.0, abs=0.15)
        assert max(spread) < 1.3


def test_coloured_noise_is_prepared_alike_in_any_pieces(tmp_path: Path) -> None:
    recording = noise(tmp_path, background(300.0), 0.6, seconds=2.0)
    one, two = (prepare_recording(recording, parameters=STILL, n_workers=n) for n in (1, 2))
    pieces = [two.counts(start, min(start + 7_001, two.n_samples)) for start in range(0, two.n_samples, 7_001)]
    np.testing.assert_array_equal(np.concatenate(pieces), one.counts())


def test_thresholds_rise_with_the_noise_and_with_too_many_spikes(
    whitened: Callable[[npt.ArrayLike], PreparedRecording], example_bank: TemplateBank, caplog: pytest.LogCaptureFixture
) -> None:
    noise = np.random.default_rng(0).standard_normal((30_000, example_bank.layout.n_channels))
    counts = {}
    for size in (1.0, 1.25, 4.0):
        for factor in (1.0, 4.0):
            with Searcher(whitened(size * noise), example_bank.layout, example_bank.basis) as searcher:
                caution = searcher.caution("first templates")
                caution.factor = factor
                counts[size, factor] = len(searcher.peaks(0, 30_000, caution))
                searcher.peaks(0, 30_000, caution)
    assert counts[1.25, 1.0] > 2
    assert counts[1.25, 4.0] == 0
    assert counts[4.0, 1.0] <= counts[1.0, 1.0] + 5  # four times the noise: as many true standard deviations
    told = [record.message for record in caplog.records if "times as loud as usual" in record.message]
    assert len(told) == 2  # once by each searcher of loud samples, not in each of its passes
    assert all(message.startswith("at 0.0 s the recording is 4.") for message in told)
