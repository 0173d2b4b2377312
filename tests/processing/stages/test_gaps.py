"""Recordings with gaps: true times, invalid times, and no stage that looks across one."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from allen_ecephys import EcephysSession, UnitFilter
from allen_ecephys.errors import CorruptFileError
from allen_ecephys.processing.probes import neuropixels_1_geometry
from allen_ecephys.processing.quality_metrics import quality_metrics
from allen_ecephys.processing.readers import BinaryRecording, open_bands
from allen_ecephys.processing.simulation.raw.open_ephys_folder import ProbeSetup, write_open_ephys
from allen_ecephys.processing.simulation.raw.recording import RawGroundTruth, write_recording
from allen_ecephys.processing.simulation.raw.trains import TrainModel
from allen_ecephys.processing.sorted_spikes import SortedSpikes
from allen_ecephys.processing.spike_band.blocks import BLOCK_SAMPLES
from allen_ecephys.processing.spike_band.depth_estimation import windows
from allen_ecephys.processing.spike_band.probe_info import DepthParameters
from allen_ecephys.processing.spike_band.writing import (
    estimate_whitening,
    open_processed,
    plan_for,
    stream_whitened,
    write_recording_facts,
)
from allen_ecephys.processing.stages.opening import open_probe, spikes_apart_from_gaps
from allen_ecephys.processing.stages.session import package_units, run_session
from allen_ecephys.processing.stages.units import measure_units
from allen_ecephys.processing.timeline import Timeline

N_CHANNELS = 8


@pytest.mark.parametrize("seed", range(20))
def test_gaps_are_found_wherever_they_are(seed: int) -> None:
    rng = np.random.default_rng(seed)
    steps = np.ones(rng.integers(1, 500), np.int64)
    places = rng.permutation(len(steps))[: rng.integers(0, 6)]
    steps[places] = rng.integers(1, 9, len(places))
    numbers = rng.integers(0, 10**9) + np.cumsum(steps)
    timeline = Timeline.from_numbers(numbers, "numbers")
    expected = np.flatnonzero(np.diff(numbers) > 1) + 1
    np.testing.assert_array_equal(timeline.gaps[:, 0], expected)
    np.testing.assert_array_equal(timeline.elapsed(np.arange(len(numbers))), numbers - numbers[0])
    starts = rng.integers(-5, len(numbers), 50)
    held = timeline.holds(starts, 7)
    np.testing.assert_array_equal(held, [not ((expected > s) & (expected <= s + 6)).any() for s in starts])
    again = Timeline.from_facts(timeline.n_samples, timeline.as_facts())
    np.testing.assert_array_equal(again.gaps, timeline.gaps)


def test_numbers_that_are_none_are_refused() -> None:
    assert len(Timeline.from_numbers(np.empty(0, np.int64), "x").gaps) == 0
    with pytest.raises(CorruptFileError, match="repeat or go back"):
        Timeline.from_numbers(np.array([1, 2, 2, 3]), "x")
    with pytest.raises(CorruptFileError, match="no numbers of consecutive samples"):
        Timeline.from_numbers(np.arange(0, 60_000, 2), "x")


def binary(path: Path, samples: np.ndarray, timeline: Timeline | None = None) -> BinaryRecording:
    samples.tofile(path)
    return BinaryRecording(
        path, n_columns=N_CHANNELS, sampling_rate=30_000.0, uv_per_bit=1.0,
        geometry=neuropixels_1_geometry(N_CHANNELS), timeline=timeline,
    )  # fmt: skip


@pytest.mark.parametrize("cut", [BLOCK_SAMPLES, 5000, 9000])
def test_filter_and_whitening_do_not_look_across_a_gap(tmp_path: Path, cut: int) -> None:
    """Each stretch has the values that it has alone."""
    rng = np.random.default_rng(3)
    first = rng.normal(0, 20, (cut, N_CHANNELS)) + 4000
    second = rng.normal(0, 20, (7000, N_CHANNELS)) - 4000
    samples = np.rint(np.concatenate([first, second])).astype(np.int16)
    timeline = Timeline(len(samples), np.array([0, cut]), np.array([0, cut + 900]))
    recording = binary(tmp_path / "whole.dat", samples, timeline)
    good = np.ones(N_CHANNELS, bool)
    weights = estimate_whitening(binary(tmp_path / "part.dat", samples[:cut]), None, good)

    def whitened(source: BinaryRecording) -> np.ndarray:
        stream_whitened(source, plan_for(source, None, 150.0), weights, tmp_path / "out.dat")
        values = np.fromfile(tmp_path / "out.dat", np.int16).reshape(-1, N_CHANNELS).astype(int)
        (tmp_path / "out.dat").unlink()
        return values

    found = whitened(recording)
    alone = [whitened(binary(tmp_path / "alone.dat", part)) for part in (samples[:cut], samples[cut:])]
    # Blocks begin elsewhere, which changes some values by a count.
    assert np.abs(found - np.concatenate(alone)).max() <= 1
    ignored = whitened(binary(tmp_path / "ignored.dat", samples))
    assert np.abs(ignored - found)[cut - 20 : cut + 20].max() > 100
    shutil.copy(tmp_path / "whole.dat", tmp_path / "continuous.dat")
    write_recording_facts(tmp_path, recording)
    np.testing.assert_array_equal(open_processed(tmp_path).timeline.gaps, timeline.gaps)


def test_spikes_at_a_gap_are_left_out_and_intervals_are_true() -> None:
    timeline = Timeline(100_000, np.array([0, 50_000]), np.array([0, 80_000]))
    spikes = SortedSpikes.from_arrays([100, 49_920, 49_960, 50_010, 50_021, 99_000], [1] * 6)
    kept = spikes_apart_from_gaps(spikes, timeline)
    assert kept.samples.tolist() == [100, 49_920, 50_021, 99_000]
    assert spikes_apart_from_gaps(spikes, Timeline.unbroken(100_000)) is spikes


@pytest.fixture(scope="module")
def gapped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RawGroundTruth]:
    """Give an Open Ephys folder of two probes; the first stopped for a second in the middle."""
    folder = tmp_path_factory.mktemp("gap")
    truth = write_recording(
        folder / "truth", duration=4.0, n_units=3, n_channels=48, form="binary", seed=2,
        amplitude_range=(150.0, 300.0), trains=TrainModel(rate_range=(20.0, 30.0)),
    )  # fmt: skip
    probes = [ProbeSetup(name, "NP1010", np.arange(384), channels=np.arange(48)) for name in ("ProbeA", "ProbeB")]
    numbers = np.arange(1_200_000, 1_320_000)
    numbers[60_000:] += 30_000
    streams = write_open_ephys(folder / "rig", probes, 120_000, numbers=numbers)
    for name, stream in streams.items():
        source = "lfp.dat" if name.endswith("-LFP") else "ap.dat"
        shutil.copy(folder / "truth" / source, stream / "continuous.dat")
    return folder / "rig", truth


def test_a_session_has_true_times_and_the_gap_as_invalid_time(
    gapped: tuple[Path, RawGroundTruth], tmp_path: Path
) -> None:
    raw, truth = gapped
    bands = open_bands(raw, stream="ProbeA")
    assert bands.lfp is not None
    assert bands.lfp.timeline.gaps.tolist() == [[5000, 2500]]
    probe = open_probe(raw, spikes=truth.sorted_spikes(), stream="ProbeA")
    measure_units(probe, tmp_path / "units")
    path = package_units(
        [tmp_path / "units"], tmp_path / "s.nwb", session_id=1, session_start_time=datetime(2024, 1, 1, tzinfo=UTC)
    )
    with EcephysSession(path, unit_filter=UnitFilter.none()) as session:
        invalid = session.invalid_times
        np.testing.assert_allclose(invalid[["start_time", "stop_time"]].to_numpy(), [[2.0, 3.0]])
        assert "ProbeA" in list(invalid["tags"].iloc[0])
        times = np.sort(np.concatenate([session.spike_times[u] for u in session.units.index]))
    assert not ((times >= 2.0) & (times < 3.0)).any()
    expected = truth.spike_times / 30_000 + (truth.spike_times >= 60_000)
    assert np.isin(np.round(times * 30_000), np.round(expected * 30_000)).all()
    assert times.max() > 4.5
    made = run_session(
        [tmp_path / "units"], tmp_path / "out", session_start_time=datetime(2024, 1, 1, tzinfo=UTC), bands=[bands]
    )  # fmt: skip
    with EcephysSession(made.folder / "session.nwb", unit_filter=UnitFilter.none()) as session:
        seconds = session.get_lfp("ProbeA", mask_invalid_intervals=False)["time"].to_numpy()
    assert len(seconds) == 5000
    np.testing.assert_allclose(seconds[[0, 2499, 2500, -1]], [0.0, 2499 / 1250, 3.0, 3 + 2499 / 1250], atol=1e-9)


def test_metrics_of_intervals_use_true_times() -> None:
    """A spike before a gap and one after it are no refractory pair."""
    samples = np.concatenate([np.arange(100, 50_000, 600), [49_990, 50_010], np.arange(50_700, 100_000, 600)])
    spikes = SortedSpikes.from_arrays(samples, np.ones(len(samples), int))
    from allen_ecephys.processing.quality_metrics import SpikeFeatures

    n, zeros = len(samples), np.zeros(1, np.int64)
    features = SpikeFeatures(
        pcs=np.zeros((n, 1, 1), np.float32), amplitudes=np.ones(n, np.float32), first_sites=zeros, channels=zeros,
        components=np.zeros((1, 82, 1), np.float32), places=np.zeros(1), runs=zeros, shanks=zeros,
    )  # fmt: skip
    timeline = Timeline(100_000, np.array([0, 50_000]), np.array([0, 80_000]))
    with_gap = quality_metrics(spikes, features, timeline=timeline)
    without = quality_metrics(spikes, features)
    assert with_gap["isi_violations"].item() == 0
    assert without["isi_violations"].item() > 0
    assert with_gap["firing_rate"].item() == without["firing_rate"].item()


def test_windows_of_the_first_look_end_at_gaps(tmp_path: Path) -> None:
    samples = np.zeros((90_000, N_CHANNELS), np.int16)
    recording = binary(tmp_path / "x.dat", samples, Timeline(90_000, np.array([0, 50_000]), np.array([0, 60_000])))
    found = windows(recording, DepthParameters(n_passes=3, skip_s=1.0), length_s=1.0, start_s=0.0)
    assert found == [(0, 30_000), (30_000, 50_000), (60_000, 90_000)]
