"""Mean waveforms in one streaming pass: equal to a plain NumPy twin, whatever the chunk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from allen_ecephys.errors import NonFiniteError, RecordingTooShortError, SpikeTrainError
from allen_ecephys.processing.readers.binary import BinaryRecording
from allen_ecephys.processing.sorted_spikes import SortedSpikes
from allen_ecephys.processing.waveforms import mean_waveforms, mean_waveforms_by_epoch
from allen_ecephys.processing.waveforms.extraction import read_windows

N_CHANNELS = 12
GEOMETRY = np.column_stack((np.array([43, 11, 59, 27] * 3), 20 * (np.arange(N_CHANNELS) // 2))).astype(float)


def recording_of(samples: np.ndarray, folder: Path, name: str = "ap.bin", uv_per_bit: float = 0.195) -> BinaryRecording:
    path = folder / name
    samples.tofile(path)
    return BinaryRecording(
        path,
        n_columns=samples.shape[1],
        sampling_rate=30000.0,
        uv_per_bit=uv_per_bit,
        geometry=GEOMETRY[: samples.shape[1]],
        dtype=samples.dtype,
    )


@pytest.fixture
def samples() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(-3000, 3000, (40_000, N_CHANNELS)).astype(np.int16)


@pytest.fixture
def spikes() -> SortedSpikes:
    rng = np.random.default_rng(1)
    times = np.concatenate((rng.integers(0, 40_000, 500), [0, 19, 20, 39_938, 39_939, 39_999]))
    return SortedSpikes.from_arrays(times, rng.choice([2, 5, 40], times.size), unit_ids=[2, 5, 7, 40])


def twin(samples: np.ndarray, spikes: SortedSpikes, gain: float = 0.195) -> tuple[np.ndarray, ...]:
    """Stack all windows of a unit and average them."""
    mean = np.zeros((spikes.n_units, samples.shape[1], 82))
    sd, counts = np.zeros_like(mean), np.zeros(spikes.n_units, dtype=np.int64)
    for unit in range(spikes.n_units):
        times = spikes.samples[spikes.unit_index == unit]
        windows = [samples[t - 20 : t + 62].T * gain for t in times if t >= 20 and t + 62 <= len(samples)]
        counts[unit] = len(windows)
        if windows:
            mean[unit], sd[unit] = np.mean(windows, axis=0), np.std(windows, axis=0)
    return mean, sd, counts


def test_equals_plain_numpy(samples: np.ndarray, spikes: SortedSpikes, tmp_path: Path) -> None:
    result = mean_waveforms(recording_of(samples, tmp_path), spikes)
    mean, sd, counts = twin(samples, spikes)
    np.testing.assert_array_equal(result.counts, counts)
    np.testing.assert_allclose(result.mean, mean, rtol=0, atol=1e-9)
    np.testing.assert_allclose(result.sd, sd, rtol=1e-9)
    assert counts[2] == 0
    assert not result.mean[2].any()
    assert result.peak_channels().shape == (4,)
    assert not result.without_offset()[:, :, 0].any()


@pytest.mark.parametrize("chunk_samples", [1, 82, 997, 10**9])
def test_chunk_size_changes_no_bit(
    samples: np.ndarray, spikes: SortedSpikes, tmp_path: Path, chunk_samples: int
) -> None:
    """P5: chunked equals whole."""
    recording = recording_of(samples, tmp_path)
    whole, chunked = mean_waveforms(recording, spikes), mean_waveforms(recording, spikes, chunk_samples=chunk_samples)
    np.testing.assert_array_equal(whole.mean, chunked.mean)
    np.testing.assert_array_equal(whole.sd, chunked.sd)


def test_order_of_spikes_changes_no_bit(samples: np.ndarray, spikes: SortedSpikes, tmp_path: Path) -> None:
    recording = recording_of(samples, tmp_path)
    order = np.random.default_rng(3).permutation(len(spikes))
    shuffled = SortedSpikes.from_arrays(spikes.samples[order], spikes.units[order], unit_ids=spikes.unit_ids)
    np.testing.assert_array_equal(mean_waveforms(recording, spikes).mean, mean_waveforms(recording, shuffled).mean)


def test_random_choice_is_seeded_and_bounded(samples: np.ndarray, spikes: SortedSpikes, tmp_path: Path) -> None:
    recording = recording_of(samples, tmp_path)
    first = mean_waveforms(recording, spikes, spikes_per_unit=50, seed=4)
    assert first.counts.tolist() == [50, 50, 0, 50]
    np.testing.assert_array_equal(first.mean, mean_waveforms(recording, spikes, spikes_per_unit=50, seed=4).mean)
    assert (first.mean != mean_waveforms(recording, spikes, spikes_per_unit=50, seed=5).mean).any()
    # The choice for one unit does not depend on which other units there are.
    alone = SortedSpikes.from_arrays(spikes.samples[spikes.units == 5], spikes.units[spikes.units == 5])
    np.testing.assert_array_equal(mean_waveforms(recording, alone, spikes_per_unit=50, seed=4).mean[0], first.mean[1])


def test_epochs_are_open_at_both_ends(samples: np.ndarray, tmp_path: Path) -> None:
    recording = recording_of(samples, tmp_path)
    spikes = SortedSpikes.from_arrays([3000, 6000, 9000, 30_000], [0, 0, 0, 0])
    epochs = {"early": (0.1, 0.3), "late": (0.9, 2.0)}
    found = dict(mean_waveforms_by_epoch(recording, spikes, epochs))
    assert found["early"].counts.tolist() == [1]
    np.testing.assert_allclose(found["early"].mean[0], samples[5980:6062].T * 0.195, atol=1e-9)
    assert not found["early"].sd.any()
    assert found["late"].counts.tolist() == [1]


def test_full_scale_samples_do_not_overflow(tmp_path: Path) -> None:
    """P13: the squares of 1,000 full-scale samples exceed int32."""
    samples = np.full((90_000, 2), -32768, dtype=np.int16)
    samples[:, 1] = 32767
    spikes = SortedSpikes.from_arrays(np.arange(1000) * 80 + 30, np.zeros(1000, dtype=int))
    result = mean_waveforms(recording_of(samples, tmp_path, uv_per_bit=1.0), spikes)
    assert (result.mean[0, 0] == -32768).all()
    assert (result.mean[0, 1] == 32767).all()
    assert not result.sd.any()


def test_float_recordings_are_averaged_and_nan_refused(
    samples: np.ndarray, spikes: SortedSpikes, tmp_path: Path
) -> None:
    """P6: a NaN never reaches a mean."""
    floats = (samples * 0.1).astype(np.float32)
    result = mean_waveforms(recording_of(floats, tmp_path, uv_per_bit=1.0), spikes)
    mean, sd, _ = twin(floats, spikes, 1.0)
    np.testing.assert_allclose(result.mean, mean, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(result.sd, sd, rtol=1e-5)
    floats[int(spikes.samples[3]), 2] = np.nan
    with pytest.raises(NonFiniteError, match="NaN"):
        mean_waveforms(recording_of(floats, tmp_path, "nan.bin", 1.0), spikes)


def test_last_spike_of_three_hours_is_exact(tmp_path: Path) -> None:
    """P14: 3 h of 384 channels (249 GB, sparse) at 30 kHz; a flat index overflows int32 after 186 s."""
    n_samples, n_channels = 3 * 3600 * 30_000, 384
    path = tmp_path / "three_hours.bin"
    last = n_samples - 62
    block = np.random.default_rng(0).integers(-99, 99, (82, n_channels)).astype(np.int16)
    with path.open("wb") as file:
        file.truncate(n_samples * n_channels * 2)
        file.seek((last - 20) * n_channels * 2)
        file.write(block.tobytes())
    geometry = np.column_stack((np.array([43, 11, 59, 27] * 96), 20 * (np.arange(384) // 2)))
    recording = BinaryRecording(path, n_columns=n_channels, sampling_rate=30000.0, uv_per_bit=1.0, geometry=geometry)
    result = mean_waveforms(recording, SortedSpikes.from_arrays([last, 20], [1, 0]))
    np.testing.assert_array_equal(result.mean[1], block.T)
    assert result.counts.tolist() == [1, 1]


def test_sparse_windows_are_read_alone(samples: np.ndarray, tmp_path: Path) -> None:
    recording = recording_of(samples, tmp_path)
    starts = np.array([100, 150, 30_000])
    spans = [(first, chunk.shape[0], part) for chunk, first, part in read_windows(recording, starts, 82)]
    assert spans == [(100, 132, slice(0, 2)), (30_000, 82, slice(2, 3))]


def test_short_recordings_and_late_spikes_are_refused(samples: np.ndarray, tmp_path: Path) -> None:
    """P10: 0, 1, 20 and 81 samples hold no waveform; 82 hold one."""
    spike = SortedSpikes.from_arrays([20], [0])
    for length in (1, 20, 81):
        with pytest.raises(RecordingTooShortError, match="82"):
            mean_waveforms(recording_of(samples[:length], tmp_path, f"{length}.bin"), spike)
    result = mean_waveforms(recording_of(samples[:82], tmp_path, "82.bin"), spike)
    np.testing.assert_allclose(result.mean[0], samples[:82].T * 0.195, atol=1e-9)
    with pytest.raises(SpikeTrainError, match="past the end"):
        mean_waveforms(recording_of(samples, tmp_path), SortedSpikes.from_arrays([40_000], [0]))


def test_no_spikes_and_no_units(samples: np.ndarray, tmp_path: Path) -> None:
    """P9: nothing sorted ends in tables without rows or without numbers."""
    recording = recording_of(samples, tmp_path)
    silent = mean_waveforms(recording, SortedSpikes.from_arrays([], [], unit_ids=[1, 2]))
    assert silent.mean.shape == (2, N_CHANNELS, 82)
    assert not silent.mean.any()
    assert mean_waveforms(recording, SortedSpikes.from_arrays([], [])).mean.shape == (0, N_CHANNELS, 82)
