"""The LFP band against the published numbers, itself in one piece, and what re-referencing is to take away."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from allen_ecephys.errors import GeometryError, RecordingTooShortError, UnknownNameError
from allen_ecephys.processing.lfp_band import lfp_channels, release_channels, subsampled_lfp, subsampling
from allen_ecephys.processing.probes import neuropixels_1_geometry


class ArrayRecording:
    """A recording in memory."""

    def __init__(self, values: npt.NDArray[np.int16], sampling_rate: float = 2500.0) -> None:
        self.values, self.sampling_rate = values, sampling_rate
        self.n_samples, self.n_channels = values.shape
        self.uv_per_bit = np.full(self.n_channels, 0.195)
        self.geometry = neuropixels_1_geometry(self.n_channels)
        self.reference_channels = np.empty(0, np.int64)
        self.dtype = values.dtype
        self.longest_read = 0

    def read(self, start: int, stop: int, channels: Any = None) -> npt.NDArray[np.int16]:
        self.longest_read = max(self.longest_read, stop - start)
        return self.values[start:stop] if channels is None else self.values[start:stop, channels]

    def read_uv(self, start: int, stop: int, channels: Any = None) -> npt.NDArray[np.float32]:
        return (self.read(start, stop, channels) * 0.195).astype(np.float32)


def band(n: int = 30_000, n_channels: int = 12, seed: int = 0) -> npt.NDArray[np.int16]:
    rng = np.random.default_rng(seed)
    slow = np.cumsum(rng.normal(0, 8, (n, 1)), axis=0)
    return np.rint(slow + rng.normal(0, 200, (n, n_channels)) + rng.normal(0, 900, n_channels)).astype(np.int16)


def test_published_decimation() -> None:
    sine = np.rint(1000 * np.sin(2 * np.pi * 10 * np.arange(2500) / 2500)).astype(np.int16)
    lfp = subsampled_lfp(ArrayRecording(sine[:, None]), [0], [True])
    from scipy.signal import cheby1, sosfiltfilt

    decimated = sosfiltfilt(cheby1(8, 0.05, 0.4, output="sos"), sine)[::2]
    assert np.allclose(decimated[:6], [0.08838, 49.394, 98.866, 148.382, 197.501, 246.004], atol=1e-3)
    assert lfp.shape == (1250, 1)
    assert np.abs(lfp[:][:, 0] - decimated).max() < 25  # the high-pass is all that is between them


def test_constants_vanish() -> None:
    lfp = subsampled_lfp(ArrayRecording(np.full((5000, 3), 10, np.int16)), [0, 1, 2], [True] * 3)
    assert not lfp[:].any()


def test_noise_of_all_channels_is_taken_away() -> None:
    values = np.zeros((5000, 20), np.int16)
    values[2000:2100] = 500
    values[2040:2060, :10] += 100
    outside = np.arange(20) < 15
    lfp = subsampled_lfp(ArrayRecording(values), np.arange(20), outside)[:]
    assert np.abs(lfp[:, 12]).max() == 0
    assert lfp[1024:1026, 3].min() > 90


@pytest.mark.parametrize("definition", ["exact", "release"])
def test_blocks_equal_the_whole(monkeypatch: pytest.MonkeyPatch, definition: Any) -> None:
    values = band(200_000, 5)
    recording = ArrayRecording(values)
    monkeypatch.setattr(subsampling, "BLOCK_SECONDS", 200.0)
    whole = subsampled_lfp(recording, np.arange(5), np.arange(5) < 3, definition=definition)[:]
    monkeypatch.setattr(subsampling, "BLOCK_SECONDS", 11.0)
    lfp = subsampled_lfp(recording, np.arange(5), np.arange(5) < 3, definition=definition)
    parts = np.concatenate([lfp[k : k + 7000] for k in range(0, lfp.shape[0], 7000)])
    assert np.abs(parts.astype(int) - whole).max() <= 1  # a fraction on the edge of two counts
    assert (parts != whole).mean() < 1e-4
    assert np.array_equal(lfp[1000:1010:3], parts[1000:1010:3])
    assert lfp[5:5].shape == (0, 5)


@pytest.mark.parametrize("rate", [2500.0, 30_000.0])
def test_pieces_that_are_read_equal_the_whole(monkeypatch: pytest.MonkeyPatch, rate: float) -> None:
    """A wide band has 24 samples for each of the LFP: what the high-pass reaches does not fit into memory at once."""
    recording = ArrayRecording(band(120_000, 3), rate)
    lfp = subsampled_lfp(recording, np.arange(3), [True] * 3, start=777)
    whole = lfp._thinned(0, lfp.shape[0])
    assert recording.longest_read > 100_000
    recording.longest_read = 0
    monkeypatch.setattr(subsampling, "PIECE_VALUES", 3 * 24 * 500)
    assert np.abs(lfp._thinned(0, lfp.shape[0]) - whole).max() < 1e-8
    assert recording.longest_read <= 24 * 1300 + 1


def test_exact_definition_loses_no_fractions() -> None:
    """Cutting fractions at every step pulls values towards zero; rounding once does not."""
    values = np.rint(np.random.default_rng(3).normal(0, 300, (120_000, 4))).astype(np.int16)
    exact = subsampled_lfp(ArrayRecording(values), np.arange(4), [True] * 4)[:].astype(float)
    release = subsampled_lfp(ArrayRecording(values), np.arange(4), [True] * 4, definition="release")[:].astype(float)
    middle = slice(25_000, 35_000)  # the release's first and last seconds are tilted
    assert 0.3 < (np.abs(exact) - np.abs(release))[middle].mean() < 1.5
    assert np.abs(exact - release)[middle].max() <= 3
    assert np.abs(exact[:1000].mean(axis=0)).max() < 60 < np.abs(release[:1000].mean(axis=0)).max()


def test_wide_band_of_a_probe_without_lfp() -> None:
    t = np.arange(90_000) / 30_000
    wave = np.rint(800 * np.sin(2 * np.pi * 20 * t) + 800 * np.sin(2 * np.pi * 3000 * t)).astype(np.int16)
    lfp = subsampled_lfp(ArrayRecording(wave[:, None], 30_000.0), [0], [True])
    assert lfp.factors == (12, 2)
    assert lfp.sampling_rate == 1250
    at = lfp.samples() / 30_000
    middle = slice(500, -500)
    assert np.abs(lfp[:][middle, 0] - 800 * np.sin(2 * np.pi * 20 * at[middle])).max() < 25


@pytest.mark.parametrize("total", [100, 384])
@pytest.mark.parametrize("above", [20, 50])
@pytest.mark.parametrize("padding", [10, 20])
@pytest.mark.parametrize("first", [0, 1, 2])
@pytest.mark.parametrize("stride", [1, 2, 4, 10])
def test_published_numbers_of_channels(total: int, above: int, padding: int, first: int, stride: int) -> None:
    surface = total - above
    found = release_channels(total, surface, stride=stride, first=first, padding=padding)
    assert len(found) == len(range(first, surface + padding)[::stride])
    out = [9, 10, 11, 12]
    kept = release_channels(total, surface, stride=stride, first=first, padding=padding, leave_out=out)
    assert kept.tolist() == [c for c in found.tolist() if c not in out]


def test_places_give_the_channels_of_the_release() -> None:
    geometry = neuropixels_1_geometry()
    for surface in (200, 320, 384):
        top = geometry[min(surface, 383), 1] if surface < 384 else np.inf
        assert lfp_channels(geometry, top).tolist()[:70] == release_channels(384, surface).tolist()[:70]
    dense = np.column_stack([np.tile([0.0, 32.0], 192), np.repeat(15.0 * np.arange(192), 2)])  # a probe of 15 um rows
    chosen = lfp_channels(dense, 1500.0, leave_out=[2, 8])
    depth = dense[chosen, 1]
    assert not np.isin([2, 8], chosen).any()
    assert 25 < np.diff(depth).min() <= np.diff(depth).max() < 55
    assert depth.max() <= 1900
    shanks = np.repeat([0, 1], 192)
    two = lfp_channels(np.vstack([dense[:192], dense[:192] + np.array([250.0, 0.0])]), np.inf, shanks=shanks)
    assert (shanks[two] == 0).sum() == (shanks[two] == 1).sum()
    with pytest.raises(GeometryError, match="no channel lies below"):
        lfp_channels(geometry, -1000.0)
    with pytest.raises(GeometryError, match="above the last"):
        release_channels(384, 400)


def test_what_makes_no_lfp(caplog: pytest.LogCaptureFixture) -> None:
    recording = ArrayRecording(band(5000, 4))
    subsampled_lfp(recording, [0, 1], [True] * 4)
    assert "none of the 2 channels of this LFP is outside the brain" in caplog.text
    with pytest.raises(RecordingTooShortError):
        subsampled_lfp(recording, [0], [True] * 4, stop=50)
    with pytest.raises(UnknownNameError, match="1000 Hz has no samples"):
        subsampled_lfp(ArrayRecording(band(5000, 4), 1000.0), [0], [True] * 4)
    with pytest.raises(UnknownNameError, match="'exact' and 'release'"):
        subsampled_lfp(recording, [0], [True] * 4, definition="old")  # type: ignore[arg-type]
