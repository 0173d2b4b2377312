"""When each frame of a stimulus was on the screen: the photodiode's edges tell the time, vsyncs count the frames.

The stimulus computer pulses the frame line for every frame it hands over. A square in the corner of the screen changes
between black and white every 60 frames, and the photodiode sees when it really did. Between two edges frames are laid
out evenly; where an interval lasted longer or shorter than 60 refreshes, the frames whose vsyncs were late or early
take what is over. (processing specification of the released files, section 3)

Where no frame was late and no edge is missing, the times are those of the release. Otherwise they are nearer the truth:
there, late frames count towards the mean interval, which then misjudges how many refreshes an interval took and how
much longer white lasts than black; edges are told from noise by the length of intervals, not by the frames counted
meanwhile; all that an interval took longer goes to one frame; and frames after the last edge begin at 0 s.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import MissingDataError, SynchronizationError

if TYPE_CHECKING:
    from ..synchronization.sync_file import SyncFile

logger = logging.getLogger(__name__)

Floats = npt.NDArray[np.float64]

#: Frames from one edge of the photodiode to the next, and nominal refresh rate (Hz).
CYCLE: Final = 60
REFRESH: Final = 60.0
#: A pause of so many frames ends a run of frames.
PAUSE_FRAMES: Final = 100
#: An edge belongs to a frame if it is so many frames from where the frame's vsync puts it.
NEAR_FRAMES: Final = 4


@dataclass(frozen=True, eq=False)
class FrameTimes:
    """When the frames of a session were shown.

    Attributes
    ----------
    starts
        Start of each frame (s), float64.
    frame_duration
        Usual duration of a frame (s).
    n_late, n_early
        Refreshes that frames took more, or less, than one each.
    n_left_out
        Frames before or after a pause that are not of the session's longest run.
    corrected
        Whether by a photodiode; without, times are those of the vsyncs and a constant.
    """

    starts: Floats = field(repr=False)
    frame_duration: float
    n_late: int
    n_early: int
    n_left_out: int
    corrected: bool

    def __len__(self) -> int:
        return len(self.starts)

    def at(self, frames: npt.ArrayLike) -> Floats:
        """Return the start of frames by number; the one after the last is the end of the last.

        Raises
        ------
        SynchronizationError
            If there is no such frame.
        """
        number = np.asarray(frames, dtype=np.int64)
        if number.size and (number.max() > len(self.starts) or number.min() < 0):
            msg = (
                f"the stimulus table names frame {number.max():,}, but the sync file saw {len(self.starts):,} frames: "
                "the recording ended before the stimulus, vsyncs were lost, or they are of another session"
            )
            raise SynchronizationError(msg)
        return np.append(self.starts, self.starts[-1] + self.frame_duration)[number]


def monitor_frame_times(sync: SyncFile, *, monitor_lag: float | None = None) -> FrameTimes:
    """Return when each frame was on the screen.

    Parameters
    ----------
    sync
        Sync file with the lines ``frames`` (falling edges) and ``photodiode``.
    monitor_lag
        Time from a vsync to the screen (s), for a session whose photodiode does not work; frames that came late are
        then seen, but not when each was shown. Default: the photodiode tells.

    Raises
    ------
    MissingDataError
        If there are no vsyncs, or the photodiode saw next to nothing.
    """
    vsyncs = sync.falling("frames")
    if len(vsyncs) < 2:
        msg = f"{sync.path} holds {len(vsyncs)} frames on its frame line; was a stimulus shown in this session?"
        raise MissingDataError(msg)
    run = longest_run(vsyncs)
    if len(run) < len(vsyncs):
        logger.warning(
            "%s: frames come in runs with pauses between; the %d of %d frames outside the longest run are left out",
            sync.path, len(vsyncs) - len(run), len(vsyncs),
        )  # fmt: skip
    left_out = len(vsyncs) - len(run)
    if monitor_lag is not None:
        duration = trimmed(np.diff(run))[0]
        late = np.rint(np.diff(run) / duration).astype(np.int64) - 1
        starts = run + monitor_lag
        return FrameTimes(starts, duration, int(late.clip(0).sum()), int(-late.clip(max=0).sum()), left_out, False)
    duration = float(np.median(np.diff(run)))
    edges = edges_of_frames(sync.edges("photodiode"), run, duration)
    seen = np.isfinite(edges)
    if seen.sum() < max(2, len(seen) // 2):
        msg = (
            f"{sync.path}: the photodiode changed for {seen.sum()} of the {len(seen)} frames at which the screen's "
            "square did; it did not see the screen. Give monitor_lag to go by vsyncs alone"
        )
        raise MissingDataError(msg)
    if not seen.all():
        logger.warning(
            "%s: the photodiode missed %d of %d changes of the screen's square; vsyncs stand in for them",
            sync.path, (~seen).sum(), len(seen),
        )  # fmt: skip
    refreshes = np.concatenate([[0.0], np.cumsum(np.rint(np.diff(run[::CYCLE]) / duration))])
    # Over whole periods, so that it does not matter how much longer white lasts than black.
    periods = (edges[2:] - edges[:-2]) / (refreshes[2:] - refreshes[:-2])
    duration = float(np.nanmedian(periods)) if np.isfinite(periods).any() else duration
    edges = without_gaps(without_asymmetry(edges, refreshes * duration), refreshes * duration)
    starts, extra = frame_starts(edges, run, duration)
    found = FrameTimes(
        without_zero_frames(starts), duration, int(extra[extra > 0].sum()), int(-extra[extra < 0].sum()), left_out,
        corrected=True,
    )  # fmt: skip
    if found.n_late > len(run) // 10:
        logger.warning("%s: %d of %d frames were shown late", sync.path, found.n_late, len(run))
    return found


def trimmed(values: Floats) -> tuple[float, float]:
    """Return mean and SD of the values between their 10th and 90th percentile (inclusive)."""
    low, high = np.percentile(values, (10, 90))
    inner = values[(values >= low) & (values <= high)]
    return float(inner.mean()), float(inner.std())


def longest_run(vsyncs: Floats) -> Floats:
    """Return the longest run of vsyncs without a pause of 100 frames or more."""
    pauses = np.flatnonzero(np.diff(vsyncs) > PAUSE_FRAMES / REFRESH) + 1
    return max(np.split(vsyncs, pauses), key=len)


def edges_of_frames(
    edges: Floats, vsyncs: Floats, frame_duration: float, cycle: int = CYCLE, near: float = NEAR_FRAMES
) -> Floats:
    """Return when the photodiode saw frames 0, `cycle`, 2 `cycle`, ... appear, NaN where it did not.

    Frames appear at a constant lag after their vsyncs; edges far from all of these are noise.
    """
    heads = vsyncs[::cycle]
    lags = np.append(edges, np.nan)[np.searchsorted(edges, heads)] - heads
    if not np.isfinite(lags).any():
        return np.full(len(heads), np.nan)
    expected = heads + np.nanmedian(lags)
    right = np.searchsorted(edges, expected)
    pair = np.stack([edges[np.maximum(right - 1, 0)], edges[np.minimum(right, len(edges) - 1)]])
    nearest = pair[np.abs(pair - expected).argmin(axis=0), np.arange(len(heads))]
    return np.where(np.abs(nearest - expected) <= near * frame_duration, nearest, np.nan)


def without_asymmetry(edges: Floats, nominal: Floats) -> Floats:
    """Return edges as if black followed white as fast as white black.

    Intervals are longer one way than the other. Half of what the mean of either kind differs from half the period is
    taken off the edges that begin it; which of the two is nearer the truth, nobody knows.

    Parameters
    ----------
    edges
        Times of the photodiode's edges (s); NaN for missing ones.
    nominal
        Times that whole refreshes put them at, up to a constant: late frames are no asymmetry.
    """
    over = np.diff(edges) - np.diff(nominal)
    pairs, odd, even = over[:-1:2] + over[1::2][: len(over[:-1:2])], over[1::2], over[::2]
    pairs, odd, even = (values[np.isfinite(values)] for values in (pairs, odd, even))
    shifted = edges.copy()
    if min(len(pairs), len(odd), len(even)):
        half = trimmed(pairs)[0] / 2.0
        shifted[::2] -= (trimmed(odd)[0] - half) / 2.0
        shifted[1::2] -= (trimmed(even)[0] - half) / 2.0
    return shifted


def without_gaps(edges: Floats, nominal: Floats) -> Floats:
    """Put missing edges (NaN) where whole refreshes since the edge before put them."""
    seen = np.flatnonzero(np.isfinite(edges))
    before = seen[(np.searchsorted(seen, np.arange(len(edges)), side="right") - 1).clip(0)]
    return np.where(np.isfinite(edges), edges, edges[before] + nominal - nominal[before])


def frame_starts(
    edges: Floats, vsyncs: Floats, frame_duration: float, cycle: int = CYCLE
) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Lay frames out between the photodiode's edges.

    Parameters
    ----------
    edges
        Times at which frame 0, `cycle`, 2 `cycle`, ... appeared (s).
    vsyncs
        Time of each frame's vsync (s).
    frame_duration
        Usual duration of a frame (s).
    cycle
        Frames from one edge to the next.

    Returns
    -------
    starts
        Start of each frame (s). Frames after the last edge follow at the distances of their vsyncs.
    extra
        int64, one number an interval: refreshes it lasted longer than `cycle`; the last counts what came after.
    """
    n_intervals = min(len(edges) - 1, -(-len(vsyncs) // cycle))
    refreshes = np.rint(np.diff(edges[: n_intervals + 1]) / frame_duration).astype(np.int64)
    late = np.diff(vsyncs)
    starts = np.empty(max(n_intervals * cycle, len(vsyncs)))
    for interval in range(n_intervals):
        begin, n_refreshes = edges[interval], max(int(refreshes[interval]), 1)
        local = (edges[interval + 1] - begin) / n_refreshes
        lasting = refreshes_of_frames(late[interval * cycle : (interval + 1) * cycle], cycle, n_refreshes, local)
        before = np.concatenate([[0], np.cumsum(lasting)[:-1]])
        starts[interval * cycle : (interval + 1) * cycle] = begin + before * local
    rest = n_intervals * cycle
    extra = refreshes - cycle
    if rest < len(vsyncs):
        after = np.rint((vsyncs[rest:] - vsyncs[rest]) / frame_duration)
        starts[rest:] = edges[n_intervals] + after * frame_duration
        extra = np.append(extra, int(after[-1]) - (len(after) - 1))
    return starts[: len(vsyncs)], extra


def refreshes_of_frames(intervals: Floats, cycle: int, n_refreshes: int, duration: float) -> npt.NDArray[np.int64]:
    """Return how many refreshes each of `cycle` frames lasted, `n_refreshes` together, by their vsync intervals.

    One by one, a refresh too many goes to the frame whose interval is longest beyond what it has got, and one too few
    is taken from the frame whose interval is shortest. (AllenSDK gives all of them to one frame.)
    """
    lasting = np.ones(cycle, dtype=np.int64)
    over = intervals[:cycle].astype(np.float64)
    step = 1 if n_refreshes > cycle else -1
    for _ in range(abs(n_refreshes - cycle)):
        if not len(over):
            lasting[-1] += step
            continue
        chosen = int(np.argmax(over) if step > 0 else np.argmin(over))
        lasting[chosen] += step
        over[chosen] -= step * duration
    return lasting


def without_zero_frames(starts: Floats) -> Floats:
    """Give a frame that seems to last no time, and the late one before it, a usual duration each.

    A frame handed over late is followed by one that is early; both were shown for a refresh.
    """
    durations = np.diff(starts)
    usual = float(np.median(durations)) if len(durations) else 0.0
    late = np.flatnonzero((durations > 0.018) & (durations < 0.1))
    short = np.flatnonzero(durations < 0.01)
    if not len(short):
        return starts
    mended = durations.copy()
    for frame in short:
        place = np.searchsorted(late, frame) - 1
        if place >= 0 and frame - late[place] < 100:
            mended[[late[place], frame]] = usual
    return np.concatenate([starts[:1], starts[0] + np.cumsum(mended)])
