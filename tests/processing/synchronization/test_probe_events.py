"""Events of probes as their recorders leave them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from allen_ecephys.errors import MissingDataError
from allen_ecephys.processing.readers.binary import BinaryRecording
from allen_ecephys.processing.synchronization import clock_from_square_wave, read_probe_events, square_wave_edges


def word(path: Path, samples: np.ndarray) -> BinaryRecording:
    """Write two channels and a synchronization word."""
    np.column_stack([np.zeros_like(samples), np.ones_like(samples), samples]).astype("<i2").tofile(path)
    return BinaryRecording(
        path, n_columns=3, channels=np.arange(2), sampling_rate=30_000.0, uv_per_bit=1.0, geometry=[[0, 0], [0, 20]]
    )


def test_square_wave_of_a_recording(tmp_path: Path) -> None:
    rate = 30_000 * (1 + 2e-5)
    sample = np.arange(700_000)
    seconds = 1.2 + sample / rate
    high = np.floor(seconds * 2).astype(int) % 2  # up at 1.5, 2.5, ... s
    recording = word(tmp_path / "ap.bin", high * 64 + 1)
    edges = square_wave_edges(recording)
    assert np.array_equal(edges, np.flatnonzero(np.diff(high) == 1) + 1)
    clock = clock_from_square_wave(edges, 0.5 + np.arange(30.0), 30_000.0, start=1.15)
    assert np.abs(clock.seconds(sample[::999]) - seconds[::999]).max() < 1e-4
    with pytest.raises(MissingDataError, match=r"bit 3 .* never goes up"):
        square_wave_edges(recording, 3)
    np.zeros(20, "<i2").tofile(tmp_path / "plain.bin")
    plain = BinaryRecording(
        tmp_path / "plain.bin", n_columns=2, channels=np.arange(2), sampling_rate=30_000.0, uv_per_bit=1.0,
        geometry=[[0, 0], [0, 20]],
    )  # fmt: skip
    with pytest.raises(MissingDataError, match="without a synchronization word"):
        square_wave_edges(plain)


def test_events_are_found_whatever_they_are_called(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="holds no events"):
        read_probe_events(tmp_path)
    (tmp_path / "a").mkdir()
    np.save(tmp_path / "a" / "channel_states.npy", [1, -1, 3])
    np.save(tmp_path / "a" / "event_timestamps.npy", [10, 20, 30])
    assert read_probe_events(tmp_path).samples.tolist() == [10, 20]
    (tmp_path / "b").mkdir()
    np.save(tmp_path / "b" / "states.npy", [1])
    np.save(tmp_path / "b" / "sample_numbers.npy", [5])
    assert read_probe_events(tmp_path / "b").samples.tolist() == [5]
    with pytest.raises(MissingDataError, match="several lines"):
        read_probe_events(tmp_path)
