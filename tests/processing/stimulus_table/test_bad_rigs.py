"""Rigs on which something went wrong: a clear error, or a correct result with the loss named."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from allen_ecephys.errors import MissingDataError, SynchronizationError
from allen_ecephys.processing.simulation.rig import animal, camstim, screen
from allen_ecephys.processing.simulation.rig.lines import write_sync_file
from allen_ecephys.processing.simulation.rig.session import stimulus_pickle
from allen_ecephys.processing.stimulus_table import monitor_frame_times, open_stimulus_pickle, presentations_of_pickle
from allen_ecephys.processing.stimulus_table.presentations import within_recording
from allen_ecephys.processing.synchronization import open_sync_file

START = 6.0


@dataclass(frozen=True)
class Shown:
    """What a rig showed, and where its stimulus pickle is."""

    frames: screen.ShownFrames
    truth: pd.DataFrame
    pickle: Path

    @property
    def lines(self) -> dict[str, Any]:
        diode = self.frames.photodiode
        return {
            "stim_vsync": (self.frames.vsync_rising, self.frames.vsync_falling),
            "stim_photodiode": (diode[::2], diode[1::2]),
        }


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    rng = np.random.default_rng(8)
    scripts = screen.scripts_of_session(rng, 1)
    frames = screen.show(screen.n_frames_of(scripts), START, 0.01, rng)
    path = tmp_path_factory.mktemp("pickle") / "stimulus.pkl"
    contents = stimulus_pickle(scripts, frames, animal.run(frames.onsets[:-1], rng))
    camstim.write_python2_pickle(path, contents)
    return Shown(frames, screen.true_presentations(scripts, frames), path)


def table(shown: Shown, path: Path, lines: dict[str, Any], **options: Any) -> pd.DataFrame:
    """The presentations of a sync file with these lines, without spontaneous ones."""
    write_sync_file(path, lines)
    found = presentations_of_pickle(
        open_stimulus_pickle(shown.pickle), monitor_frame_times(open_sync_file(path), **options)
    )
    return found[found["stimulus_name"] != "spontaneous"].reset_index(drop=True)


def test_the_rig_as_it_should_be(shown: Shown, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = table(shown, tmp_path / "rig.sync", shown.lines)
    assert np.abs(found["start_time"] - shown.truth["start_time"]).max() < 1e-3
    assert not caplog.text


@pytest.mark.parametrize("missing", ["stim_vsync", "stim_photodiode"])
def test_missing_lines(shown: Shown, tmp_path: Path, missing: str) -> None:
    lines = {name: edges for name, edges in shown.lines.items() if name != missing}
    with pytest.raises(MissingDataError, match=r"has no (frames|photodiode) line"):
        table(shown, tmp_path / "rig.sync", lines)


def test_more_vsyncs_than_frames_before_the_stimulus(
    shown: Shown, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The computer was tried out two seconds before: those frames are another run."""
    early = START - 4.0 + np.arange(60) / 60
    lines = shown.lines
    lines["stim_vsync"] = tuple(np.sort(np.r_[early + k * 0.002, edges]) for k, edges in enumerate(lines["stim_vsync"]))
    found = table(shown, tmp_path / "rig.sync", lines)
    assert np.abs(found["start_time"] - shown.truth["start_time"]).max() < 1e-3
    assert "60 of" in caplog.text


def test_fewer_vsyncs_than_frames(shown: Shown, tmp_path: Path) -> None:
    """The sync file ended before the stimulus did: sweeps without frames cannot be timed."""
    end = float(shown.truth["start_time"].iloc[-10])
    lines = {name: tuple(e[e < end] for e in edges) for name, edges in shown.lines.items()}
    with pytest.raises(SynchronizationError, match="the recording ended before the stimulus"):
        table(shown, tmp_path / "rig.sync", lines)


def test_a_dead_photodiode(shown: Shown, tmp_path: Path) -> None:
    lines = shown.lines | {"stim_photodiode": (np.array([3.0]), np.array([4.0]))}
    with pytest.raises(MissingDataError, match=r"did not see the screen\. Give monitor_lag"):
        table(shown, tmp_path / "rig.sync", lines)
    found = table(shown, tmp_path / "rig.sync", lines, monitor_lag=screen.SCREEN_LAG)
    assert np.abs(found["start_time"] - shown.truth["start_time"]).max() < 2e-3


def test_a_recording_that_ended_early(shown: Shown, caplog: pytest.LogCaptureFixture) -> None:
    middle = float(shown.truth["stop_time"].iloc[20]) + 1e-6
    assert len(within_recording(shown.truth, middle)) == 21
    assert f"before {len(shown.truth) - 21} of {len(shown.truth)} presentations did; they are left out" in caplog.text
