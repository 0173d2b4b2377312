"""Computed recordings: the same values whoever reads what when, and what the truth says is in them."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from allen_ecephys.errors import FileFormatError, InvalidValueError, SampleRangeError
from allen_ecephys.processing.recording import Recording
from allen_ecephys.processing.simulation.computed import Background, ComputedRecording, Movement, Population
from allen_ecephys.processing.simulation.raw import TrainModel
from allen_ecephys.processing.sorting.preparing.registration import prepare_recording

FEW = Population(n_units=6, n_background=6)
SILENT = Background(local_uv=0.0, common_uv=0.0, converter_uv=0.0, white_uv=0.0)


def computed(seconds: float = 4.0, n_channels: int = 24, **kwargs: object) -> ComputedRecording:
    return ComputedRecording(seconds, n_channels=n_channels, **({"population": FEW, "seed": 3} | kwargs))  # type: ignore[arg-type]


def test_it_is_a_recording() -> None:
    recording = computed()
    assert isinstance(recording, Recording)
    assert recording.read(5, 5).shape == (0, 24)
    assert recording.read(0, recording.n_samples).dtype == np.int16
    np.testing.assert_array_equal(recording.read(7, 99, [3, 1]), recording.read(7, 99)[:, [3, 1]])
    np.testing.assert_allclose(recording.read_uv(7, 99), recording.read(7, 99) * recording.uv_per_bit, rtol=1e-6)
    with pytest.raises(SampleRangeError):
        recording.read(0, recording.n_samples + 1)
    with pytest.raises(InvalidValueError):
        computed(seed=-1)


def test_values_do_not_depend_on_how_they_are_read(tmp_path: Path) -> None:
    whole = computed().read(0, 120_000)
    parts = computed()
    bounds = [(a, min(a + 7_001, 120_000)) for a in range(0, 120_000, 7_001)]
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda b: parts.read(*b), bounds[::-1]))[::-1]
    np.testing.assert_array_equal(np.concatenate(found), whole)
    again = pickle.loads(pickle.dumps(parts))
    np.testing.assert_array_equal(again.read(60_000, 70_000), whole[60_000:70_000])
    opened = ComputedRecording.open(parts.save(tmp_path / "recording.json"))
    assert opened.fingerprint == parts.fingerprint
    np.testing.assert_array_equal(opened.read(60_000, 70_000), whole[60_000:70_000])
    other = computed(seed=4)
    assert other.fingerprint != parts.fingerprint
    assert (other.read(0, 1000) != whole[:1000]).mean() > 0.5
    (tmp_path / "none.json").write_text("{}")
    with pytest.raises(FileFormatError, match="describes no computed recording"):
        ComputedRecording.open(tmp_path / "none.json")


def test_a_longer_recording_begins_as_a_shorter_one_of_equal_units() -> None:
    """Noise, at least, follows from seed and sample alone."""
    quiet = Population(n_units=0, n_background=0)
    short, long = computed(2.0, population=quiet), computed(4.0, population=quiet)
    np.testing.assert_array_equal(short.read(0, 49_152), long.read(0, 49_152))


def test_spikes_are_where_and_as_large_as_the_truth_says() -> None:
    recording = computed(20.0, movement=Movement.still(), background=SILENT, population=Population(5, 0))
    truth = recording.truth()
    assert (np.diff(truth.samples) >= 0).all()
    for unit in range(5):
        times = truth.samples[(truth.units == unit) & (truth.samples > 100) & (truth.samples < 599_900)]
        sizes = truth.sizes[(truth.units == unit) & (truth.samples > 100) & (truth.samples < 599_900)]
        mean = np.mean([recording.read_uv(t - 20, t + 62) for t in times.tolist()], axis=0)
        spans = np.ptp(mean, axis=0)
        assert spans.argmax() == truth.peak_channel[unit]
        assert abs(np.abs(mean - mean[0])[:, spans.argmax()].argmax() - 20) <= 2
        np.testing.assert_allclose(spans.max(), truth.amplitude_uv[unit] * sizes.mean(), rtol=0.15)


def test_units_are_refractory_across_stretches_and_live_as_long_as_the_truth_says() -> None:
    recording = computed(400.0, population=Population(30, 10, appearing_share=0.3, vanishing_share=0.3))
    truth = recording.truth()
    lives = truth.alive[~truth.background]
    assert (lives[:, 0] > 0).any()
    assert (lives[:, 1] < 400).any()
    for unit in range(40):
        seconds = truth.samples[truth.units == unit] / 30_000
        assert np.diff(seconds).min() >= 0.0015
        assert truth.alive[unit, 0] - 0.001 <= seconds.min()
        assert seconds.max() <= truth.alive[unit, 1] + 0.001
        assert len(seconds) > 0.3 * (truth.alive[unit, 1] - truth.alive[unit, 0])
    comes = int(np.flatnonzero(lives[:, 0] > 0)[0])
    seconds, sizes = truth.samples[truth.units == comes] / 30_000 - lives[comes, 0], truth.sizes[truth.units == comes]
    assert sizes[seconds < 10].mean() < 0.5 < 0.8 < sizes[seconds > 60].mean()


def test_tissue_moves_as_the_truth_says() -> None:
    """A unit's spikes are largest on other channels after the jump."""
    jump = Movement(settling_um=0.0, wander_um=0.0, jumps=((10.0, 40.0),), stretch=0.0)
    loud = Population(1, 0, appearing_share=0, vanishing_share=0, trains=TrainModel(rate_range=(20.0, 30.0)))
    recording = computed(20.0, n_channels=48, movement=jump, background=SILENT, population=loud)
    truth = recording.truth()
    place = []
    for start, stop in ((1, 9), (11, 19)):
        times = truth.samples[(truth.samples > start * 30_000) & (truth.samples < stop * 30_000)][:50]
        energy = np.ptp(np.mean([recording.read_uv(t - 20, t + 62) for t in times.tolist()], axis=0), axis=0) ** 2
        place.append(energy @ recording.geometry[:, 1] / energy.sum())
    assert place[1] - place[0] == pytest.approx(40.0, abs=6.0)


def test_the_background_has_a_colour_that_differs_by_depth_and_a_size_that_changes() -> None:
    quiet = Population(0, 0)
    model = Background(white_uv=1.0, common_uv=0.0, converter_uv=0.0, state_contrast=0.5, state_seconds=8.0)
    recording = computed(8.0, n_channels=384, population=quiet, background=model)
    noise = np.concatenate([recording.read_uv(t, t + 8192) for t in range(0, 8 * 8192, 8192)])
    noise -= noise.mean(axis=0)
    power = (np.abs(np.fft.rfft(noise.reshape(16, -1, 384), axis=1)) ** 2).mean(axis=0)
    hz = np.fft.rfftfreq(4096, 1 / 30_000)
    low, high = (power[(hz > a) & (hz < b)].mean(axis=0) for a, b in ((400, 800), (3_000, 6_000)))
    assert (low / high).min() > 3
    assert (low / high).max() > 2 * (low / high).min()
    sizes = np.array([recording.read_uv(t, t + 8192).std(axis=0) for t in range(0, 230_000, 30_000)])
    assert np.median(sizes.max(axis=0) / sizes.min(axis=0)) > 1.5


def test_a_hundred_minutes_take_the_memory_of_seconds() -> None:
    recording = ComputedRecording(6_000.0, n_channels=8, population=Population(2, 2))
    assert recording.n_samples == 180_000_000
    assert recording.read(179_999_000, 180_000_000).shape == (1000, 8)
    assert recording.units.between(179_000_000, 180_000_000)[0].min() >= 179_000_000


def test_work_that_was_stopped_goes_on_with_an_equal_recording(tmp_path: Path) -> None:
    """It has no file whose state could be compared: its fingerprint is."""
    kept = tmp_path / "prepared.npz"
    first = prepare_recording(computed(), kept)
    made = kept.stat().st_mtime_ns
    again = prepare_recording(computed(), kept)
    assert kept.stat().st_mtime_ns == made
    assert again.identity == first.identity
    assert prepare_recording(computed(seed=5), kept).identity != first.identity
    assert kept.stat().st_mtime_ns != made
