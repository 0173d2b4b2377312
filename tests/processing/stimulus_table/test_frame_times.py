"""Frame times: the published cases, and the truth of screens that drop frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from allen_ecephys.errors import MissingDataError, SynchronizationError
from allen_ecephys.processing.stimulus_table.frame_times import (
    FrameTimes,
    edges_of_frames,
    frame_starts,
    longest_run,
    monitor_frame_times,
    refreshes_of_frames,
    trimmed,
    without_asymmetry,
    without_gaps,
    without_zero_frames,
)
from allen_ecephys.processing.synchronization import SyncFile

Floats = npt.NDArray[np.float64]


def steps(start: float, count: int, step: float = 0.25) -> list[float]:
    return [start + step * k for k in range(count)]


@pytest.mark.parametrize(
    ("edges", "vsyncs", "expected"),
    [
        ([5, 5.75, 6.5, 7.25], steps(4.9, 9), steps(5, 9)),
        (
            [5, 5.75, 6.5, 7.5, 8.25],
            [*steps(4.9, 8), *steps(7.15, 5)],
            [5, 5.25, 5.5, 5.75, 6, 6.25, 6.5, 6.75, 7.25, 7.5, 7.75, 8],
        ),
        (
            [5, 5.75, 6.5, 7.5, 8],
            [4.9, 5.15, 5.4, 5.65, 5.9, 6.15, 6.4, 6.9, 7.15, 7.4, 7.4, 7.65, 7.9],
            [5, 5.25, 5.5, 5.75, 6, 6.25, 6.5, 7, 7.25, 7.5, 7.5, 7.75],
        ),
        (
            [5, 5.75, 6.5, 7, 7.75],
            [4.9, 5.15, 5.4, 5.65, 5.9, 6.15, 6.4, 6.65, 6.65, 6.9, 7.15, 7.4, 7.65, 7.9],
            [5, 5.25, 5.5, 5.75, 6, 6.25, 6.5, 6.75, 6.75, 7, 7.25, 7.5],
        ),
    ],
)
def test_published_frame_starts(edges: list[float], vsyncs: list[float], expected: list[float]) -> None:
    starts, _ = frame_starts(np.array(edges), np.array(vsyncs), 0.25, 3)
    assert np.allclose(starts[: len(expected)], expected)


def test_long_regular_case() -> None:
    starts, extra = frame_starts(np.linspace(5, 30, 11), np.arange(5, 30, 0.25), 0.25, 10)
    assert np.allclose(starts, np.arange(5, 30, 0.25))
    assert not extra.any()


def test_published_edge_cases() -> None:
    jagged = np.arange(20.0) + np.tile([0.25, -0.25], 10)
    assert np.allclose(without_asymmetry(jagged, np.arange(20.0)), np.arange(20))
    for recorded, last in (
        ([0, 1, 2, 3, 4, 9, 10, 11], 12),
        ([0, 1, 2, 3, 3.95, 4, 4.1, 4.7, 9, 10, 11, *range(12, 1000)], 1000),
    ):
        vsyncs = np.arange(60 * (last - 1) + 1) / 60 - 0.02
        edges = edges_of_frames(np.array(recorded, dtype=float), vsyncs, 1 / 60)
        assert np.flatnonzero(np.isnan(edges)).tolist() == [5, 6, 7, 8]
        assert np.allclose(without_gaps(edges, np.arange(float(last))), np.arange(last))
    assert trimmed(np.diff([0, 1, 2, 3, 4, 5.1, 6, 7, 8]))[0] == pytest.approx(1)


def test_trimmed_statistics_ignore_five_percent_either_side() -> None:
    inner = np.random.default_rng(0).uniform(4, 6, 900)
    values = np.concatenate([inner, np.full(50, -1e3), np.full(50, 1e3)])
    mean, sd = trimmed(values)
    kept = np.sort(inner)[49:-49]
    assert mean == pytest.approx(kept.mean(), abs=0.01)
    assert sd == pytest.approx(kept.std(), abs=0.01)


def test_refreshes_go_to_the_frames_that_were_late() -> None:
    intervals = np.full(60, 1 / 60)
    intervals[[10, 40]] += 1 / 60
    assert np.flatnonzero(refreshes_of_frames(intervals, 60, 62, 1 / 60) == 2).tolist() == [10, 40]
    intervals[10] += 1 / 60  # one frame stood for three refreshes
    lasting = refreshes_of_frames(intervals, 60, 63, 1 / 60)
    assert lasting[[10, 40]].tolist() == [3, 2]


def test_zero_frames() -> None:
    durations = np.full(300, 1 / 60)
    durations[100], durations[104] = 2 / 60, 0.0
    starts = np.concatenate([[3.0], 3.0 + np.cumsum(durations)])
    assert np.allclose(np.diff(without_zero_frames(starts)), 1 / 60)


def screen(n_frames: int, drop: float, rng: np.random.Generator) -> tuple[Floats, Floats, Floats]:
    """Vsyncs, photodiode edges and true onsets of frames, of which some stay for a second refresh."""
    refreshes = 1 + (rng.random(n_frames) < drop)
    shown = 10.0 + np.concatenate([[0], np.cumsum(refreshes)[:-1]]) * 0.01668061
    vsyncs = shown - 0.012 + rng.normal(0, 3e-4, n_frames)
    edges = (
        shown[::60]
        + np.tile([0.0, 8e-4], n_frames // 120 + 1)[: len(shown[::60])]
        + rng.normal(0, 5e-5, len(shown[::60]))
    )
    return vsyncs, edges, shown


def sync_of(vsyncs: Floats, edges: Floats) -> SyncFile:
    """Lines of a rig: bit 0 falls at vsyncs, bit 1 changes at the photodiode's edges."""
    up = vsyncs - 0.002
    times = np.concatenate([[0.0], up, vsyncs, edges])
    change = np.concatenate([[0], np.ones(2 * len(vsyncs), int), np.full(len(edges), 2)])
    order = np.argsort(times, kind="stable")
    words = np.bitwise_xor.accumulate(change[order]).astype(np.uint32)
    return SyncFile(Path("rig.sync"), times[order], words, ("frames", "photodiode"), 1e5, 0)


@pytest.mark.parametrize("drop", [0.0, 0.001, 0.01, 0.05])
def test_onsets_within_a_millisecond_of_the_truth(drop: float) -> None:
    vsyncs, edges, shown = screen(12_345, drop, np.random.default_rng(7))
    found = monitor_frame_times(sync_of(vsyncs, edges))
    assert len(found) == len(shown)
    assert np.abs(found.starts - shown).max() < 1e-3
    assert found.n_late == round((shown[-1] - shown[0]) / 0.01668061) - len(shown) + 1
    assert found.frame_duration == pytest.approx(0.01668061, rel=1e-3)


def test_missing_and_spurious_edges(caplog: pytest.LogCaptureFixture) -> None:
    vsyncs, edges, shown = screen(12_000, 0.0, np.random.default_rng(8))
    worse = np.sort(np.append(np.delete(edges, [20, 21, 90]), [edges[40] + 0.31, edges[40] + 0.33]))
    found = monitor_frame_times(sync_of(vsyncs, worse))
    assert np.abs(found.starts - shown).max() < 1e-3
    assert "missed 3 of 200 changes" in caplog.text


def test_frames_outside_the_longest_run_are_named(caplog: pytest.LogCaptureFixture) -> None:
    vsyncs, edges, shown = screen(6_000, 0.0, np.random.default_rng(9))
    before = np.arange(100) / 60 + 2.0  # the monitor was tried out
    found = monitor_frame_times(sync_of(np.concatenate([before, vsyncs]), edges))
    assert found.n_left_out == 100
    assert np.abs(found.starts - shown).max() < 1e-3
    assert "100 of 6100 frames" in caplog.text
    middle = np.concatenate([before, vsyncs, vsyncs[-1] + 5 + before])
    assert longest_run(middle).tolist() == vsyncs.tolist()


def test_dead_photodiode() -> None:
    vsyncs, edges, shown = screen(6_000, 0.01, np.random.default_rng(10))
    with pytest.raises(MissingDataError, match=r"did not see the screen\. Give monitor_lag"):
        monitor_frame_times(sync_of(vsyncs, edges[:3]))
    found = monitor_frame_times(sync_of(vsyncs, edges[:3]), monitor_lag=0.012)
    assert not found.corrected
    assert np.abs(found.starts - shown).max() < 2e-3


def test_no_frames_and_frames_past_the_end() -> None:
    with pytest.raises(MissingDataError, match="was a stimulus shown"):
        monitor_frame_times(sync_of(np.empty(0), np.empty(0)))
    times = FrameTimes(np.arange(5.0), 1.0, 0, 0, 0, corrected=True)
    assert times.at([0, 5]).tolist() == [0.0, 5.0]
    with pytest.raises(SynchronizationError, match="frame 7, but the sync file saw 5"):
        times.at([7])
