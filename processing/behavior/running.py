"""Running speed from the encoder of the wheel, one sample a frame of the stimulus computer."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import SynchronizationError

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

Floats = npt.NDArray[np.float64]

#: Radius of the wheel (6.5 inches across) and where on it the animal runs, from the axis outwards.
WHEEL_RADIUS_CM: Final = 8.255
SUBJECT_POSITION: Final = 2 / 3
#: No mouse runs faster (cm/s): what does is the encoder, which lost its count.
FASTEST: Final = 200.0
#: A pause of so many usual intervals ends the session's samples.
PAUSE: Final = 100.0


def running_speed(
    frame_times: npt.ArrayLike,
    rotation: npt.ArrayLike,
    *,
    signal_voltage: npt.ArrayLike | None = None,
    supply_voltage: npt.ArrayLike | None = None,
    wheel_radius: float = WHEEL_RADIUS_CM,
    subject_position: float = SUBJECT_POSITION,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return how fast the animal ran, and the signals that say so.

    The speed between two frames is the rotation that the encoder reports at the second, times the radius at which the
    animal runs, over the usual duration of a frame - twice that where a frame stayed twice as long, three times, and so
    on. (The release divides by the usual duration throughout, so that late frames double the speed.) Intervals without
    rotation are left out, as in the release: the encoder's buffer was read twice there. So are those in which the
    animal would have run faster than 200 cm/s: the encoder began to count anew.

    Parameters
    ----------
    frame_times
        Rising edges of the frame line (s): the encoder is read before the screen flips.
    rotation
        Rotation since the frame before (degrees), one a frame.
    signal_voltage, supply_voltage
        Of the encoder (V), one a frame.
    wheel_radius, subject_position
        Radius of the wheel (cm) and the animal's place on it, as a part of the radius.

    Returns
    -------
    running
        ``start_time``, ``end_time`` (s), ``velocity`` (cm/s), ``net_rotation`` (rad).
    raw
        ``frame_time`` (s), ``net_rotation`` (degrees), ``signal_voltage``, ``supply_voltage`` (V, NaN where unknown).

    Raises
    ------
    SynchronizationError
        If frames and samples of the encoder differ in number.
    """
    import pandas as pd

    times = before_pause(frame_times, "frame line")
    degrees = np.asarray(rotation, dtype=np.float64)
    if len(times) != len(degrees):
        msg = (
            f"{len(times):,} frames on the frame line, but {len(degrees):,} samples of the wheel's encoder: sync file "
            "and stimulus pickle are of different sessions, or one of them is cut"
        )
        raise SynchronizationError(msg)
    durations = np.diff(times)
    usual = float(np.median(durations)) if len(durations) else np.nan
    refreshes = np.maximum(np.rint(durations / usual), 1.0)
    radians = degrees[1:] * (np.pi / 180.0)
    velocity = radians / (usual * refreshes) * (wheel_radius * subject_position)
    running = pd.DataFrame(
        {"start_time": times[:-1], "end_time": times[1:], "velocity": velocity, "net_rotation": radians}
    )
    impossible = np.abs(velocity) > FASTEST
    if impossible.any():
        logger.warning(
            "the wheel's encoder jumped %d times (faster than %g cm/s), first at %.3f s; these samples are left out",
            int(impossible.sum()), FASTEST, times[1:][impossible][0],
        )  # fmt: skip
    raw = pd.DataFrame(
        {
            "frame_time": times,
            "net_rotation": degrees,
            "signal_voltage": _padded(signal_voltage, len(times)),
            "supply_voltage": _padded(supply_voltage, len(times)),
        }
    )
    kept = ~np.isclose(radians, 0.0) & ~impossible & np.isfinite(radians)
    return running[kept].reset_index(drop=True), raw


def _padded(values: Any, count: int) -> Floats:
    """Return one value a frame, NaN where there is none."""
    given = np.asarray([] if values is None else values, dtype=np.float64)[:count]
    return np.concatenate([given, np.full(count - len(given), np.nan)])


def before_pause(times: npt.ArrayLike, line: str) -> Floats:
    """Return pulses up to the first pause of 100 usual intervals, and say how many came after."""
    pulses = np.asarray(times, dtype=np.float64)
    intervals = np.diff(pulses)
    pauses = np.flatnonzero(intervals > PAUSE * np.median(intervals)) if len(intervals) else intervals
    if not len(pauses):
        return pulses
    kept = pulses[: int(pauses[0]) + 1]
    logger.warning(
        "the %s pauses at %.3f s; the %d pulses after are not of this session and are left out",
        line, kept[-1], len(pulses) - len(kept),
    )  # fmt: skip
    return kept
