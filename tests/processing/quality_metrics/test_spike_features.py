"""Features of spikes: projections equal a plain twin, and stay in bounded, reserved space."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from allen_ecephys.errors import DiskFullError, MissingDataError, NonFiniteError, SpikeTrainError
from allen_ecephys.processing.quality_metrics import spike_features
from allen_ecephys.processing.quality_metrics.features import channel_offsets
from allen_ecephys.processing.readers.binary import BinaryRecording
from allen_ecephys.processing.sorted_spikes import SortedSpikes
from allen_ecephys.processing.waveforms import MeanWaveforms, mean_waveforms

N_CHANNELS = 40
GEOMETRY = np.column_stack((np.array([43, 11, 59, 27] * 10), 20 * (np.arange(N_CHANNELS) // 2))).astype(float)
GAIN = 0.5


def write(samples: np.ndarray, path: Path) -> BinaryRecording:
    samples.tofile(path)
    return BinaryRecording(
        path,
        n_columns=samples.shape[1],
        sampling_rate=30000.0,
        uv_per_bit=GAIN,
        geometry=GEOMETRY[: samples.shape[1]],
        dtype=samples.dtype,
    )


@pytest.fixture
def planted(tmp_path: Path) -> tuple[np.ndarray, BinaryRecording, SortedSpikes, MeanWaveforms, np.ndarray]:
    """Three units of known, varying amplitude in noise, on channels with offsets."""
    rng = np.random.default_rng(0)
    offsets = rng.integers(-50, 50, N_CHANNELS)
    traces = rng.normal(0, 6, (60_000, N_CHANNELS)) + offsets
    shape = np.exp(-(((np.arange(61) - 20) / 4.0) ** 2)) - 0.3 * np.exp(-(((np.arange(61) - 36) / 9.0) ** 2))
    times = np.concatenate((np.sort(rng.choice(np.arange(2, 598), 300, replace=False)) * 100, [5, 59_990]))
    units = rng.integers(0, 3, times.size)
    sizes = rng.normal(1, 0.15, times.size)
    for time, unit, size in zip(times, units, sizes, strict=True):
        footprint = np.exp(-((np.arange(N_CHANNELS) - (3, 20, 38)[unit]) ** 2) / 8)
        first, last = max(time - 20, 0), min(time + 41, len(traces))
        wave = -300 * size * shape[first - time + 20 : last - time + 20]
        traces[first:last] += wave[:, None] * footprint
    samples = np.rint(traces).astype(np.int16)
    recording = write(samples, tmp_path / "ap.bin")
    spikes = SortedSpikes.from_arrays(times, units)
    return samples, recording, spikes, mean_waveforms(recording, spikes), sizes


def test_projections_equal_plain_numpy(planted) -> None:
    samples, recording, spikes, waveforms, _ = planted
    features = spike_features(recording, spikes, waveforms, masked_channels=[10])
    assert features.channels.tolist() == [c for c in range(N_CHANNELS) if c != 10]
    offsets = channel_offsets(recording, features.channels)
    assert features.pcs.shape == (302, 3, 25)
    for row in range(0, 300, 7):
        unit, time = spikes.unit_index[row], spikes.samples[row]
        sites = features.channels[features.first_sites[unit] + np.arange(25)]
        snippet = (
            samples[time - 20 : time + 41][:, sites] - offsets[features.first_sites[unit] + np.arange(25)]
        ) * GAIN
        np.testing.assert_allclose(features.pcs[row], features.components @ snippet, rtol=1e-3, atol=0.05)
        template = waveforms.mean[unit][sites, :61].T - offsets[features.first_sites[unit] + np.arange(25)] * GAIN
        expected = (snippet * template).sum() / (template**2).sum()
        assert features.amplitudes[row] == pytest.approx(expected, abs=1e-4)


def test_amplitudes_follow_the_planted_sizes(planted) -> None:
    _, recording, spikes, waveforms, sizes = planted
    features = spike_features(recording, spikes, waveforms)
    inside = np.arange(300)
    assert np.corrcoef(features.amplitudes[inside], sizes[inside])[0, 1] > 0.98
    assert features.amplitudes[inside].mean() == pytest.approx(1.0, abs=0.02)


def test_components_are_orthonormal_and_the_first_is_the_spike(planted) -> None:
    _, recording, spikes, waveforms, _ = planted
    features = spike_features(recording, spikes, waveforms)
    np.testing.assert_allclose(features.components @ features.components.T, np.eye(3), atol=1e-5)
    assert features.components[0].argmin() == 20
    assert (features.pcs[:300, 0].max(axis=1) > 0).all()


def test_spikes_cut_by_an_end_are_described(planted) -> None:
    _, recording, spikes, waveforms, _ = planted
    features = spike_features(recording, spikes, waveforms)
    assert np.isfinite(features.pcs[-2:]).all()
    # Two thirds of the window and the whole trough are there.
    assert features.amplitudes[-2] > 0.3


@pytest.mark.parametrize("chunk_samples", [100, 7777])
def test_chunks_order_and_file_change_no_bit(planted, tmp_path: Path, chunk_samples: int) -> None:
    """P5: chunk size and order of spikes; P15: in a file whose space was taken at once."""
    _, recording, spikes, waveforms, _ = planted
    whole = spike_features(recording, spikes, waveforms)
    file = tmp_path / "pcs.npy"
    chunked = spike_features(recording, spikes, waveforms, file=file, chunk_samples=chunk_samples)
    np.testing.assert_array_equal(np.load(file), whole.pcs)
    np.testing.assert_array_equal(chunked.pcs, whole.pcs)
    np.testing.assert_array_equal(chunked.amplitudes, whole.amplitudes)
    assert isinstance(chunked.pcs, np.memmap)
    order = np.random.default_rng(1).permutation(len(spikes))
    shuffled = SortedSpikes.from_arrays(spikes.samples[order], spikes.units[order])
    again = spike_features(recording, shuffled, waveforms)
    np.testing.assert_allclose(again.pcs, whole.pcs[order], rtol=1e-4, atol=0.02)


def test_full_disk_is_refused_before_the_first_spike(planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """P15: a memory map on a full disk would end in SIGBUS; space is taken first."""
    _, recording, spikes, waveforms, _ = planted

    def full(descriptor: int, offset: int, length: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DiskFullError, match="free"):
        spike_features(recording, spikes, waveforms, file=tmp_path / "pcs.npy")


def test_dead_and_saturated_channels_take_no_part(planted, tmp_path: Path) -> None:
    """P8: masked channels may hold anything."""
    samples, recording, spikes, waveforms, _ = planted
    broken = samples.copy()
    broken[:, 21] = 0
    broken[:, 30] = 32767
    other = write(broken, tmp_path / "broken.bin")
    here = spike_features(recording, spikes, waveforms, masked_channels=[21, 30])
    there = spike_features(other, spikes, mean_waveforms(other, spikes), masked_channels=[21, 30])
    np.testing.assert_array_equal(here.pcs, there.pcs)
    with pytest.raises(MissingDataError, match="all 40 channels"):
        spike_features(recording, spikes, waveforms, masked_channels=range(40))


def test_nan_and_late_spikes_are_refused(planted, tmp_path: Path) -> None:
    """P6: a NaN never reaches a feature."""
    samples, recording, spikes, waveforms, _ = planted
    floats = samples.astype(np.float32)
    floats[spikes.samples[5], 3] = np.inf
    with pytest.raises(NonFiniteError):
        spike_features(write(floats, tmp_path / "nan.bin"), spikes, waveforms)
    late = SortedSpikes.from_arrays(np.append(spikes.samples[:-1], 60_000), spikes.units)
    with pytest.raises(SpikeTrainError, match="past the end"):
        spike_features(recording, late, waveforms)


def test_few_channels_no_spikes_no_units(planted, tmp_path: Path) -> None:
    """P9: probes with fewer channels than sites, units without spikes, nothing at all."""
    samples, recording, spikes, _waveforms, _ = planted
    narrow = write(np.ascontiguousarray(samples[:, :6]), tmp_path / "narrow.bin")
    features = spike_features(narrow, spikes, mean_waveforms(narrow, spikes))
    assert features.n_sites == 6
    silent = SortedSpikes.from_arrays([], [], unit_ids=[1, 2])
    assert spike_features(recording, silent, mean_waveforms(recording, silent)).pcs.shape == (0, 3, 25)
    nothing = SortedSpikes.from_arrays([], [])
    file = tmp_path / "none.npy"
    assert spike_features(recording, nothing, mean_waveforms(recording, nothing), file=file).pcs.shape == (0, 3, 25)
    assert np.load(file).shape == (0, 3, 25)
