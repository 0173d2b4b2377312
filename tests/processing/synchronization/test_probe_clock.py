"""Probe clocks: recovered to the microsecond, gaps and outliers named, the release's line beside them."""

from __future__ import annotations

import numpy as np
import pytest

from allen_ecephys.errors import SynchronizationError
from allen_ecephys.processing.synchronization import (
    Barcodes,
    ProbeEvents,
    clock_from_barcodes,
    clock_from_square_wave,
    clock_from_timestamps,
    fit_clock,
    plot_clock,
)

from .test_barcodes import code_line

RATE = 30_000.0


def test_drifting_clock_within_a_tenth_of_a_millisecond() -> None:
    rng = np.random.default_rng(1)
    seconds = 7 + 30.0 * np.arange(320)
    wander = 3e-3 * np.sin(seconds / 3000)  # temperature: +- 1 ppm
    true = (seconds - 2.5) * RATE * (1 + 37e-6) + wander * RATE
    clock = fit_clock(np.rint(true), np.floor(seconds * 1e5) / 1e5 + rng.uniform(0, 1e-5, 320), RATE)
    between = np.linspace(10, 9500, 5001)
    samples = (between - 2.5) * RATE * (1 + 37e-6) + 3e-3 * np.sin(between / 3000) * RATE
    assert np.abs(clock.seconds(samples) - between).max() < 1e-4
    assert clock.two_point is not None
    assert np.abs(clock.two_point.seconds(samples) - between).max() > 1e-3  # a straight line is not enough
    assert clock.drift_ppm == pytest.approx(37, abs=1)
    assert not clock.gaps
    assert not clock.outlier.any()


def test_published_line() -> None:
    seconds = 7 + 30.0 * np.arange(10)
    clock = fit_clock((seconds + 0.6) * 1.0000015 * RATE, seconds, RATE)
    assert clock.two_point is not None
    assert clock.two_point.shift == pytest.approx(0.6, abs=1e-9)
    assert clock.two_point.rate == pytest.approx(30_000.045, abs=1e-8)
    assert np.allclose(clock.seconds((seconds + 0.6) * 1.0000015 * RATE), seconds, atol=1e-12)


def test_one_bad_event_is_named_and_left_out() -> None:
    seconds = 30.0 * np.arange(20)
    for bad in (0, 7, 19):
        samples = seconds * RATE
        samples[bad] += 0.02 * RATE
        clock = fit_clock(samples, seconds, RATE, name="probeB")
        assert np.flatnonzero(clock.outlier).tolist() == [bad]
        assert clock.report()["outliers_at_seconds"] == [seconds[bad]]
        assert np.abs(clock.seconds(seconds * RATE) - seconds).max() < 1e-9
        assert not clock.gaps


def test_a_gap_has_a_segment_on_either_side(caplog: pytest.LogCaptureFixture) -> None:
    seconds = 30.0 * np.arange(20)
    samples = seconds * RATE
    samples[10:] -= 4.0 * RATE  # four seconds of samples were lost between 270 and 300 s
    clock = fit_clock(samples, seconds, RATE, name="probeC")
    (gap,) = clock.gaps
    assert gap.lost_seconds == pytest.approx(4.0)
    assert clock.seconds([100 * RATE, 400 * RATE]) == pytest.approx([100.0, 404.0])
    assert np.isnan(clock.seconds(280 * RATE))  # before or after the gap: nobody knows
    assert "4.0000 s were lost" in caplog.text
    told = fit_clock(samples, seconds, RATE, breaks=[275 * RATE])  # the recording says where it was broken off
    assert told.seconds([274.9 * RATE, 275 * RATE]) == pytest.approx([274.9, 279.0])


def test_breaks_without_lost_samples_change_nothing() -> None:
    seconds = 30.0 * np.arange(20)
    clock = fit_clock(seconds * RATE, seconds, RATE, breaks=[0.0, 100 * RATE])
    assert len(clock.segments) == 1
    assert clock.seconds(-30.0) == pytest.approx(-0.001)


def test_a_single_event_tells_no_rate(caplog: pytest.LogCaptureFixture) -> None:
    clock = fit_clock([30_000], [5.0], RATE)
    assert clock.two_point is None
    assert clock.seconds([0, 60_000]) == pytest.approx([4.0, 6.0])
    assert "ASSUMED" in caplog.text


def test_events_that_belong_to_nothing() -> None:
    with pytest.raises(SynchronizationError, match="no event"):
        fit_clock([], [], RATE)
    rng = np.random.default_rng(3)
    with pytest.raises(SynchronizationError, match=r"probeA: 12 events .* no two neighbours"):
        fit_clock(np.arange(12) * 1e6, np.sort(rng.uniform(0, 400, 12)), RATE, name="probeA")


def probe_events(seconds: np.ndarray, codes: list[int], rate: float, start: float) -> ProbeEvents:
    up, down = code_line(seconds, codes)
    samples = np.rint((np.concatenate([up, down]) - start) * rate)
    states = np.repeat([1, -1], [len(up), len(down)])
    order = np.argsort(samples)
    kept = order[samples[order] >= 0]
    return ProbeEvents.from_arrays(samples[kept], states[kept])


def test_barcodes_to_clock() -> None:
    seconds = 12 + 30.0 * np.arange(30)
    codes = list(range(4_000_000, 4_000_030))
    up, down = code_line(seconds, codes)
    from allen_ecephys.processing.synchronization import decode_barcodes

    session = decode_barcodes(up, down)
    clock = clock_from_barcodes(probe_events(seconds, codes, RATE * (1 - 5e-5), 40.0), session, RATE, name="probeA")
    between = np.linspace(50, 880, 999)
    assert np.abs(clock.seconds((between - 40.0) * RATE * (1 - 5e-5)) - between).max() < 1e-4
    assert clock.report()["n_session_events"] == 30
    report = clock.report()
    assert report["matched_by"] == "barcodes"
    assert report["unmatched_at_seconds"] == pytest.approx(seconds[seconds < 40.0], abs=1e-9)
    assert "29 of 29 barcodes of the probe match one of 30 of the session" in clock.summary()
    assert "sample 0 is at 40.0" in clock.summary()
    figure = plot_clock(clock)
    assert figure.axes[1].get_ylabel() == "from the line (us)"


def test_barcodes_that_never_match_or_collide() -> None:
    seconds = 12 + 30.0 * np.arange(6)
    session = Barcodes(seconds, np.arange(6, dtype=np.int64))
    with pytest.raises(SynchronizationError, match="probeA: none of its 6 barcodes"):
        clock_from_barcodes(
            probe_events(seconds, [70_000 + 9 * k for k in range(6)], RATE, 0.0), session, RATE, name="probeA"
        )
    same = Barcodes(seconds, np.zeros(6, np.int64))
    with pytest.raises(SynchronizationError, match="more than once"):
        clock_from_barcodes(probe_events(seconds, [5] * 6, RATE, 0.0), same, RATE)


def test_barcodes_that_wrap(caplog: pytest.LogCaptureFixture) -> None:
    """Codes of few bits look alike around zero; those are left out, and counted."""
    from allen_ecephys.processing.synchronization import decode_barcodes

    seconds = 12 + 30.0 * np.arange(30)
    codes = [(2**32 - 15 + k) % 2**32 for k in range(30)]
    session = decode_barcodes(*code_line(seconds, codes))
    clock = clock_from_barcodes(probe_events(seconds, codes, RATE, 0.0), session, RATE, name="probeA")
    between = np.linspace(20, 880, 99)
    assert np.abs(clock.seconds(between * RATE) - between).max() < 1e-4
    report = clock.report()
    assert report["n_matched"] + report["n_ambiguous"] == 30
    assert report["n_ambiguous"] > 0
    assert f"{report['n_matched']} of 30 barcodes" in caplog.text


def test_square_wave() -> None:
    edges = 0.5 + np.arange(600.0)
    rate = RATE * (1 + 40e-6)
    clock = clock_from_square_wave(np.rint((edges[20:] - 20.1) * rate), edges, RATE, start=20.0)
    between = np.linspace(21, 599, 777)
    assert np.abs(clock.seconds((between - 20.1) * rate) - between).max() < 1e-4
    with pytest.raises(SynchronizationError, match="say more exactly"):
        clock_from_square_wave(np.rint((edges - 20.1) * rate), edges[:3], RATE, start=2000.0)
    with pytest.raises(SynchronizationError, match="not the same wave"):
        clock_from_square_wave(np.arange(10) * 2 * RATE, edges, RATE)


def test_times_that_the_recorder_wrote() -> None:
    numbers = np.arange(0, 3_000_000, dtype=np.int64)
    times = 3.25 + numbers / (RATE * (1 + 1e-5))
    times[:10] = -1.0
    clock = clock_from_timestamps(numbers, times, RATE)
    assert np.abs(clock.seconds(numbers[10::1000]) - times[10::1000]).max() < 1e-9
    with pytest.raises(SynchronizationError, match="no event"):
        clock_from_timestamps(numbers[:10], times[:10], RATE)
