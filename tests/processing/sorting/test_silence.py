"""A shank that dies half way, and seconds of saturation: other shanks and times do not notice, the user does."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from allen_ecephys.processing.probes import neuropixels_1_geometry
from allen_ecephys.processing.readers.binary import BinaryRecording
from allen_ecephys.processing.simulation.raw.recording import RawGroundTruth, write_recording
from allen_ecephys.processing.simulation.raw.signal import ChannelFaults
from allen_ecephys.processing.simulation.raw.trains import TrainModel
from allen_ecephys.processing.simulation.scoring import score_sorting
from allen_ecephys.processing.sorting import run_sorter
from allen_ecephys.processing.sorting.result import SortingResult, peak_channels
from allen_ecephys.processing.sorting.silence import silences
from allen_ecephys.processing.sorting.sorters import SORTERS

Array = npt.NDArray[Any]

RATE, SECONDS, DEATH = 30_000, 14, 7
#: Two shanks of 16 channels, 250 um apart; the second one dies.
GEOMETRY = np.concatenate([neuropixels_1_geometry(16), neuropixels_1_geometry(16) + np.array([250.0, 0.0])])
SECOND = np.arange(32) >= 16


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> RawGroundTruth:
    return write_recording(
        tmp_path_factory.mktemp("shanks") / "raw", duration=SECONDS, n_units=12, n_channels=32, geometry=GEOMETRY,
        form="binary", amplitude_range=(150.0, 300.0), surface_channel=32, trains=TrainModel(rate_range=(15.0, 25.0)),
        faults=ChannelFaults(references=()), seed=3, lfp=False,
    )  # fmt: skip


def sorted_with(samples: Array, truth: RawGroundTruth, folder: Path) -> tuple[SortingResult, BinaryRecording]:
    samples.tofile(folder / "samples.dat")
    recording = BinaryRecording(
        folder / "samples.dat", n_columns=32, sampling_rate=RATE, uv_per_bit=0.195, geometry=truth.geometry
    )
    return run_sorter(recording, folder / "work"), recording


@pytest.mark.parametrize("how", ["flat", "noise"])
def test_a_shank_that_dies_half_way_costs_its_own_spikes_and_is_told_once(
    how: str, truth: RawGroundTruth, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    samples = truth.recording().read(0, truth.n_samples).copy()
    dead = samples[DEATH * RATE :, SECOND]
    noise = np.random.default_rng(0).normal(0, 50, dead.shape)
    samples[DEATH * RATE :, SECOND] = 0 if how == "flat" else np.rint(noise)
    with caplog.at_level(logging.WARNING):
        result, recording = sorted_with(samples, truth, tmp_path)
    of_second = SECOND[truth.units["peak_channel"].to_numpy()]
    lost = of_second[truth.spike_units] & (truth.spike_times >= DEATH * RATE)
    found = score_sorting(
        truth.spike_times[~lost], truth.spike_units[~lost], result.samples, result.units, n_true_units=12
    )
    assert of_second.sum() >= 3
    assert (found.units["accuracy"][~of_second] >= 0.95).all()
    assert (found.units["accuracy"][of_second] >= 0.85).all()
    on_second = SECOND[result.channel_map[peak_channels(result)]][result.units]
    assert (result.samples[on_second] >= DEATH * RATE + 60).mean() < 0.01
    (silence,) = silences(result, recording)
    assert silence.shank == 1
    assert silence.start_time == pytest.approx(DEATH, abs=1.0)
    assert silence.stop_time == SECONDS
    told = [record.getMessage() for record in caplog.records if "shank" in record.getMessage()]
    assert len(told) == 1
    assert told[0].startswith(f"shank 1 has hardly a spike from about {silence.start_time:.0f} to {SECONDS} s")


def test_seconds_of_saturation_cost_their_own_spikes_and_are_told(truth: RawGroundTruth, tmp_path: Path) -> None:
    """A minute of two, in small: everything stands at the converters' end for four seconds of fourteen."""
    samples = truth.recording().read(0, truth.n_samples).copy()
    start, stop = 5 * RATE, 9 * RATE
    samples[start:stop] = np.iinfo(np.int16).max
    result, recording = sorted_with(samples, truth, tmp_path)
    lost = (truth.spike_times > start - 300) & (truth.spike_times < stop + 300)
    kept = (result.samples <= start - 300) | (result.samples >= stop + 300)
    found = score_sorting(
        truth.spike_times[~lost], truth.spike_units[~lost], result.samples[kept], result.units[kept], n_true_units=12
    )
    assert (~kept).mean() < 0.01
    assert (found.units["accuracy"] >= 0.9).all()
    assert [(s.shank, s.start_time, s.stop_time) for s in silences(result, recording)] == [(0, 5, 9), (1, 5, 9)]


def made(trains: list[Array], seconds: float, folder: Path) -> tuple[SortingResult, BinaryRecording]:
    """Two shanks of two channels with a unit each, and nothing else that matters here."""
    folder.mkdir(exist_ok=True)
    np.zeros((round(seconds * 1000), 4), np.int16).tofile(folder / "none.dat")
    geometry = np.array([[0.0, 0.0], [0.0, 20.0], [250.0, 0.0], [250.0, 20.0]])
    recording = BinaryRecording(
        folder / "none.dat", n_columns=4, sampling_rate=1000.0, uv_per_bit=1.0, geometry=geometry
    )
    samples = np.concatenate(trains) * 1000
    units = np.repeat(np.arange(len(trains)), [len(train) for train in trains])
    order = np.argsort(samples, kind="stable")
    templates = np.zeros((2, 61, 4), np.float32)
    templates[0, 20, 1] = templates[1, 20, 2] = 1.0
    result = SortingResult(
        samples=samples[order].astype(np.int64), units=units[order], amplitudes=np.ones(len(order)),
        templates=templates, template_norms=np.ones(2), pc_features=np.zeros((len(order), 3, 2), np.float32),
        pc_feature_ind=np.zeros((2, 2), np.int64), channel_map=np.arange(4), channel_positions=geometry,
        whitening=np.eye(4), similarity=np.eye(2, dtype=np.float32), good=np.ones(2, bool), contamination=np.zeros(2),
        sampling_rate=1000.0,
    )  # fmt: skip
    return result, recording


def test_silence_is_longer_than_chance(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    steady, rare = np.sort(rng.uniform(0, 600, 6000)), np.sort(rng.uniform(0, 600, 60))
    assert silences(*made([steady, rare], 600.0, tmp_path)) == []
    paused = steady[(steady < 200) | (steady > 290)]
    (silence,) = silences(*made([paused, rare], 600.0, tmp_path))
    assert (silence.shank, silence.start_time, silence.stop_time) == (
        0,
        pytest.approx(200, abs=3),
        pytest.approx(290, abs=3),
    )
    assert silence.usual_rate == pytest.approx(10, rel=0.2)
    # Dead for most of the time.
    (silence,) = silences(*made([steady[steady < 170], rare], 600.0, tmp_path))
    assert silence.stop_time == 600.0


def test_no_spike_is_no_silence(tmp_path: Path) -> None:
    nothing = np.empty(0)
    assert silences(*made([nothing, nothing], 10.0, tmp_path)) == []


def test_every_sorter_is_listened_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    steady = np.sort(np.random.default_rng(1).uniform(0, 60, 6000))
    result, recording = made([steady[steady < 30], steady], 60.0, tmp_path)
    monkeypatch.setitem(SORTERS, "mine", lambda *_: result)
    run_sorter(recording, tmp_path / "work", "mine")
    assert [record.getMessage()[:7] for record in caplog.records] == ["shank 0"]
