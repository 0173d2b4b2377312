"""Presentations: the published session of two scripts, display sequences, names, plain tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from allen_ecephys.errors import FileFormatError, MissingFileError, SynchronizationError
from allen_ecephys.processing.stimulus_table import (
    FrameTimes,
    StimulusPickle,
    presentations_of_pickle,
    read_presentations,
    within_recording,
)
from allen_ecephys.processing.stimulus_table.naming import released_names
from allen_ecephys.processing.stimulus_table.sweeps import on_display, script_name, spelled_constants

FRAMES = FrameTimes(np.arange(10_000) / 10, 0.1, 0, 0, 0, corrected=True)


def script(path: str, display: list[list[float]], length: int, count: int, **parts: Any) -> dict[str, Any]:
    sweeps = [(k * length, (k + 1) * length - 1) for k in range(count)]
    return {
        "stim_path": path, "display_sequence": display, "sweep_frames": sweeps, "sweep_order": list(range(count)),
        "dimnames": [], "sweep_table": [], "stim": "", **parts,
    }  # fmt: skip


def session(*stimuli: dict[str, Any]) -> StimulusPickle:
    return StimulusPickle(Path("a.pkl"), {"fps": 10.0, "pre_blank_sec": 20.0, "stimuli": list(stimuli)})


def test_published_session() -> None:
    gabors = script(
        r"C:\stim\gabor_20_deg_250ms.stim", [[50, 100]], 5, 8,
        dimnames=["Pos", "Ori"], sweep_table=[((float(k), -1.0), 45.0) for k in range(8)],
        stim="GratingStim(sf=array([5., 5.]), name='gabor', contrast=0.8)",
    )  # fmt: skip
    gratings = script(
        "C:\\stim\\static_gratings.stim", [[45, 46], [100, 110]], 9, 4,
        dimnames=["SF", "Contrast"], sweep_table=[(0.1 * k, 1.0) for k in range(4)],
        stim="GratingStim(sf=1.0, contrast=0.5, opacity=1.0)",
    )  # fmt: skip
    table = presentations_of_pickle(session(gabors, gratings), FRAMES)
    starts = [0, 65.0, 65.9, 66.8, *(70 + 0.5 * np.arange(8)), 74.0, 120.8, 121.7]
    assert np.allclose(table["start_time"], starts)
    assert np.allclose(table["stop_time"], [*starts[1:], 122.6])
    nan = np.nan
    blocks = [nan, 0, 0, nan, *[1] * 8, nan, 2, 2]
    assert np.array_equal(table["stimulus_block"].to_numpy(float), blocks, equal_nan=True)
    names = ["spontaneous", *["static_gratings"] * 2, "spontaneous", *["gabors"] * 8, "spontaneous"]
    assert table["stimulus_name"].tolist() == [*names, *["static_gratings"] * 2]
    assert np.array_equal(table["stimulus_index"], [nan, 1, 1, nan, *[0] * 8, nan, 1, 1], equal_nan=True)
    assert table["x_position"].dropna().tolist() == list(range(8))
    assert table.loc[1, "contrast"] == 1.0
    assert table.loc[4, "contrast"] == 0.8
    assert table.loc[1, "spatial_frequency"] == 0.0
    assert table.loc[5, "spatial_frequency"] == [5.0, 5.0]


@pytest.mark.parametrize(
    ("start", "end", "display", "expected"),
    [
        ([0, 1, 2, 3], [1, 2, 3, 4], [[2, 5]], ([2, 3, 4], [3, 4, 5], [0, 0, 0])),
        ([1, 3, 15, 18], [3, 4, 18, 20], [[2, 4], [16, 36]], ([3, 17, 29, 32], [5, 18, 32, 34], [0, 1, 1, 1])),
    ],
)
def test_published_display_sequences(start: Any, end: Any, display: Any, expected: Any) -> None:
    found = on_display(np.array(start, float), np.array(end, float), np.array(display, float))
    assert [values.tolist() for values in found[:3]] == list(expected)


def test_published_frames_to_seconds() -> None:
    frames = FrameTimes(np.array([100, 50, 25, 12.5, 6.25]), 0.1, 0, 0, 0, corrected=True)
    assert frames.at([1, 2, 3, 4]).tolist() == [50, 25, 12.5, 6.25]
    assert np.allclose(frames.at([2, 3, 4, 5]), [25, 12.5, 6.25, 6.35])


def test_blank_sweeps_have_no_parameters_and_images_are_numbers() -> None:
    gratings = script("drifting_gratings.stim", [[0, 100]], 5, 3, dimnames=["Ori"], sweep_table=[(45.0,)])
    gratings["sweep_order"] = [0, -1, 0]
    scenes = script("Natural Images.stim", [[200, 300]], 5, 3, dimnames=["ReplaceImage"], sweep_table=[(0,)] * 3)
    scenes["sweep_order"] = [7, -1, 3]
    table = presentations_of_pickle(session(gratings, scenes), FRAMES)
    assert np.array_equal(
        table.loc[table.stimulus_name == "drifting_gratings", "orientation"].to_numpy(float), [45, np.nan, 45], True
    )
    assert table.loc[table.stimulus_name == "natural_scenes", "frame"].tolist() == [7, -1, 3]


def test_spelled_constants() -> None:
    text = (
        "GratingStim(autoDraw=False, color=array([1., 1., 1.]), colorSpace='rgb', contrast=0.8, depth=0, name=foo, "
        "size=array([250., 250.], dtype=float32), tex='a, b', win=Window(allowGUI=False, pos=[0, 0]), mask=<x at 0x1>)"
    )
    found = spelled_constants(text)
    assert found == {
        "color": [1.0, 1.0, 1.0], "colorSpace": "rgb", "contrast": 0.8, "depth": 0, "size": [250.0, 250.0],
        "tex": "a, b", "mask": "<x at 0x1>",
    }  # fmt: skip
    assert spelled_constants("") == {}
    assert spelled_constants("Stim(a=__import__('os').getcwd())") == {"a": "__import__('os').getcwd()"}
    with pytest.raises(FileFormatError, match="gives a twice"):
        spelled_constants("Stim(a=1, a=2)")


def test_names() -> None:
    assert script_name(r"C:\a\flash_250ms.stim") == "flash_250ms"
    assert script_name("C:\\\\a\\\\movies\\\\") == "movies"
    shown = ["natural_movie_1", "natural_movie_1_more_repeats", "natural_movie_shuffled", "contrast_response", None]
    table = pd.DataFrame(
        {"stimulus_name": shown, "Contrast": [1, np.nan, 1, 1, 1], "contrast": [np.nan, 0.5] + [np.nan] * 3, "e": None}
    )
    named = released_names(table)
    assert named["stimulus_name"].tolist() == [
        "natural_movie_one", "natural_movie_one_more_repeats", "natural_movie_one_shuffled",
        "drifting_gratings_contrast", "spontaneous",
    ]  # fmt: skip
    assert named["contrast"].tolist() == [1, 0.5, 1, 1, 1]
    assert "e" not in named
    with pytest.raises(FileFormatError, match="no other natural movie"):
        released_names(table.iloc[2:])


def test_table_past_the_last_frame() -> None:
    with pytest.raises(SynchronizationError, match="saw 10,000 frames"):
        presentations_of_pickle(session(script("a.stim", [[900, 1000]], 50, 20)), FRAMES)


def test_plain_tables(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "presentations.csv"
    path.write_text("stimulus_name,start_time,stop_time,orientation\nb,3,4,\na,1,2,45\na,2,3,90\n,5,9,\na,9,11,0\n")
    table = read_presentations(path)
    assert table["start_time"].tolist() == [1, 2, 3, 5, 9]
    assert np.array_equal(table["stimulus_block"].to_numpy(float), [0, 0, 1, np.nan, 2], True)
    assert table["stimulus_name"].tolist() == ["a", "a", "b", "spontaneous", "a"]
    assert len(within_recording(table, 10.0)) == 4
    assert "before 1 of 5 presentations did; they are left out: 1 a" in caplog.text
    path.write_text("stimulus_name,start_frame,stop_frame\na,10,20\n")
    assert read_presentations(path, FRAMES)["stop_time"].tolist() == [2.0]
    with pytest.raises(FileFormatError, match="give the frame times"):
        read_presentations(path)
    path.write_text("stimulus_name,start_time,stop_time\na,3,3\n")
    with pytest.raises(SynchronizationError, match="do not end after they start"):
        read_presentations(path)
    path.write_text("name,start_time\na,3\n")
    with pytest.raises(FileFormatError, match="needed are stimulus_name"):
        read_presentations(path)
    with pytest.raises(MissingFileError):
        read_presentations(tmp_path / "none.csv")
