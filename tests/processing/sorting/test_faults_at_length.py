"""Faults in recordings of twenty minutes: a minute of saturation, a probe that is pulled, a shank that dies half way.

What they cost is told by the same recording without the fault. Nine sortings, half an hour on two cores:
``pytest -m slow tests/processing/sorting/test_faults_at_length.py``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from allen_ecephys.processing.simulation.computed import ComputedRecording, Movement, Population
from allen_ecephys.processing.simulation.computed.recording import BLOCK_SAMPLES
from allen_ecephys.processing.simulation.scoring import SortingScore, score_sorting
from allen_ecephys.processing.sorting import run_sorter
from allen_ecephys.processing.sorting.result import SortingResult, peak_channels
from allen_ecephys.processing.sorting.silence import silences

Array = npt.NDArray[Any]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]

RATE, SECONDS = 30_000, 1200
#: When the fault begins, and when the minute of saturation ends, s.
FAULT, MENDED = 600, 660
#: Recordings in which a shank dies.
SHANK_SEEDS = (4, 5, 6)
#: Twice the filters' reach, samples: what is this near to a fault is not looked at.
MARGIN = 600


def recorded(probe: str = "NP1000", **changes: Any) -> ComputedRecording:
    arguments: dict[str, Any] = {
        "n_channels": 96, "probe": probe, "seed": 4, "population": Population(n_units=30, n_background=40),
    }  # fmt: skip
    return ComputedRecording(SECONDS, **(arguments | changes))


class Written:
    """A computed recording in a file, as long as it is needed: a sorting reads each sample some four times."""

    def __init__(self, recording: ComputedRecording, path: Path) -> None:
        self._recording, self.fingerprint, self._path = recording, recording.fingerprint, path
        shape = recording.n_samples, recording.n_channels
        self._samples: Array = np.memmap(path, np.int16, "w+", shape=shape)

        def fill(start: int) -> None:
            stop = min(start + BLOCK_SAMPLES, recording.n_samples)
            self._samples[start:stop] = recording.read(start, stop)

        with ThreadPoolExecutor() as pool:
            list(pool.map(fill, range(0, recording.n_samples, BLOCK_SAMPLES)))

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self._path.unlink()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._recording, name)

    def read(self, start: int, stop: int, channels: Any = None) -> Array:
        samples = np.array(self._samples[start:stop])
        return samples if channels is None else samples[:, channels]

    def read_uv(self, start: int, stop: int, channels: Any = None) -> Array:
        steps = self.uv_per_bit if channels is None else self.uv_per_bit[channels]
        return self.read(start, stop, channels).astype(np.float32) * steps.astype(np.float32)


class Faulty(Written):
    """The same recording, whose samples something happened to."""

    def __init__(self, recording: Written, harm: Callable[[Array, int], None], name: str) -> None:
        self._recording, self._harm = recording, harm  # type: ignore[assignment]
        self.fingerprint = f"{recording.fingerprint} {name}"

    def read(self, start: int, stop: int, channels: Any = None) -> Array:
        samples = self._recording.read(start, stop)
        self._harm(samples, start)
        return samples if channels is None else samples[:, channels]


def scored(recording: Any, result: SortingResult, lost: Array | None = None) -> SortingScore:
    """Score the units that are to be found, but for spikes that are lost."""
    truth = recording.truth()
    kept = ~truth.background[truth.units]
    if lost is not None:
        kept &= ~lost
    return score_sorting(
        truth.samples[kept], truth.units[kept], result.samples, result.units,
        n_true_units=int((~truth.background).sum()),
    )  # fmt: skip


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Written]:
    with Written(recorded(), tmp_path_factory.mktemp("written") / "samples.dat") as recording:
        yield recording


@pytest.fixture(scope="module")
def sound(written: Any, tmp_path_factory: pytest.TempPathFactory) -> SortingScore:
    return scored(written, run_sorter(written, tmp_path_factory.mktemp("sound")))


def test_a_minute_of_saturation_costs_a_minute(written: Written, sound: SortingScore, tmp_path: Path) -> None:
    def harm(samples: Array, start: int) -> None:
        first, last = FAULT * RATE - start, MENDED * RATE - start
        samples[max(first, 0) : max(last, 0)] = np.iinfo(np.int16).max

    recording: Any = Faulty(written, harm, "saturated")
    result = run_sorter(recording, tmp_path)
    truth = recording.truth()
    near = (truth.samples > FAULT * RATE - MARGIN) & (truth.samples < MENDED * RATE + MARGIN)
    inside = (result.samples > FAULT * RATE + MARGIN) & (result.samples < MENDED * RATE - MARGIN)
    assert inside.mean() < 1e-4
    found = scored(recording, result, near)
    assert found.units["accuracy"].mean() >= sound.units["accuracy"].mean() - 0.02
    assert found.n_well_found >= sound.n_well_found - 1
    (silence,) = silences(result, recording)
    assert (silence.start_time, silence.stop_time) == (pytest.approx(FAULT, abs=7), pytest.approx(MENDED, abs=7))


def test_a_probe_that_is_pulled_keeps_the_units_that_it_still_sees(sound: SortingScore, tmp_path: Path) -> None:
    recording = recorded(movement=Movement(jumps=((FAULT, 100.0),), stretch=0.0))
    with Written(recording, tmp_path / "samples.dat") as pulled:
        result = run_sorter(pulled, tmp_path / "work")
    truth = recording.truth()
    depths = truth.depth_um[~truth.background]
    top = recording.geometry[:, 1].max()
    # All the time within the probe's sight: the tissue settles by 20 um, wanders by 6 and is pulled by 100.
    seen = (depths > 20.0) & (depths < top - 150.0)
    assert seen.sum() >= 15
    found = scored(recording, result)
    loss = sound.units["accuracy"][seen].mean() - found.units["accuracy"][seen].mean()
    assert loss <= 0.05
    assert result.drift_um is not None
    shift = result.drift_um.mean(axis=1)
    seconds = (np.arange(len(shift)) + 0.5) * SECONDS / len(shift)
    before, after = ((seconds > low) & (seconds < high) for low, high in ((570, 595), (605, 630)))
    assert np.median(shift[after]) - np.median(shift[before]) == pytest.approx(100.0, abs=10.0)


def test_a_shank_that_dies_costs_what_it_would_have_seen(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In three recordings: a neuron whose accuracy goes from 0.55 to 0.45 counts as lost, and each shank has ten."""
    costs: dict[bool, list[Array]] = {True: [], False: []}
    for seed in SHANK_SEEDS:
        with Written(recorded("NP2010", seed=seed), tmp_path / "samples.dat") as whole:
            sound = run_sorter(whole, tmp_path / f"sound{seed}")
            dead = whole.shanks == 1

            def harm(samples: Array, start: int, dead: Array = dead) -> None:
                samples[max(FAULT * RATE - start, 0) :, dead] = 0

            recording: Any = Faulty(whole, harm, "dead")
            caplog.clear()
            with caplog.at_level(logging.WARNING):
                result = run_sorter(recording, tmp_path / f"dead{seed}")
        truth = whole.truth()
        lost = dead[truth.peak_channel][truth.units] & (truth.samples >= FAULT * RATE - MARGIN)
        # What is scored of a neuron are the same spikes in both: while its shank lived.
        seen = ~(dead[sound.channel_map[peak_channels(sound)]][sound.units] & (sound.samples >= FAULT * RATE - MARGIN))
        best = scored(whole, replace(sound, samples=sound.samples[seen], units=sound.units[seen]), lost)
        cost = (best.units["accuracy"] - scored(recording, result, lost).units["accuracy"]).to_numpy()
        mine = dead[truth.peak_channel[~truth.background]]
        costs[True].append(cost[mine])
        costs[False].append(cost[~mine])
        (silence,) = silences(result, recording)
        assert silence.shank == 1
        assert silence.start_time == pytest.approx(FAULT, abs=7)
        told = [record for record in caplog.records if "shank 1 has hardly a spike" in record.getMessage()]
        assert len(told) == 1
    for of_dead_shank in (True, False):
        listed = np.concatenate(costs[of_dead_shank])
        assert len(listed) >= 15
        assert listed.mean() <= 0.03, (of_dead_shank, [part.mean() for part in costs[of_dead_shank]])
