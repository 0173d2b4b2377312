"""Eye tracking: ellipses of pupil, eye and corneal reflection become areas, gaze and likely blinks."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import FileFormatError, MissingFileError, SynchronizationError

from ..packaging.contents import EyeTracking
from .running import before_pause

if TYPE_CHECKING:
    import pandas as pd

    from .gaze import EyeRig

logger = logging.getLogger(__name__)

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

#: The eye's parts -> the tables' names in a file of fits.
PARTS: Final = {"pupil": "pupil", "eye": "eye", "corneal_reflection": "cr"}
ELLIPSE: Final = ("center_x", "center_y", "width", "height", "phi")
#: The camera line may pulse on for so many frames after the video ended.
EXTRA_PULSES: Final = 15
#: Areas above this percentile, and reflections this many robust SDs larger than usual, are bad fits.
LARGEST_PERCENTILE: Final = 99
LARGEST_SDS: Final = 3.0
#: Frames before and after an unlikely area that are likely of the same blink.
BLINK_MARGIN: Final = 2


def read_ellipses(path: str | os.PathLike[str]) -> dict[str, pd.DataFrame]:
    """Read the ellipses fitted to every frame of the eye camera.

    Parameters
    ----------
    path
        HDF5 file with the tables ``pupil``, ``eye`` and ``cr``, as pandas writes them in its "fixed" or "table" format.

    Returns
    -------
    dict
        ``pupil``, ``eye`` and ``corneal_reflection``: ``center_x``, ``center_y``, ``width``, ``height`` (half-axes;
        pixels) and ``phi`` (rad), one row a frame.

    Raises
    ------
    MissingFileError, FileFormatError
        If there is no such file, or a table or column is missing, or the tables differ in length.
    """
    import h5py

    place = Path(path)
    if not place.is_file():
        msg = f"there is no file of eye ellipses {place}"
        raise MissingFileError(msg)
    try:
        with h5py.File(place, "r") as file:
            missing = [name for name in PARTS.values() if name not in file]
            if missing:
                msg = f"{place} has the tables {', '.join(file)}; {', '.join(missing)} is missing"
                raise FileFormatError(msg)
            fits = {part: _frame(file[name], f"{place}, table {name}") for part, name in PARTS.items()}
    except OSError as error:
        msg = f"{place} is no HDF5 file, or a damaged one ({error})"
        raise FileFormatError(msg) from error
    lengths = {part: len(table) for part, table in fits.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{part} {n:,}" for part, n in lengths.items())
        msg = f"{place}: the tables are not of one video, they differ in frames ({told})"
        raise FileFormatError(msg)
    return fits


def _frame(group: Any, where: str) -> pd.DataFrame:
    """Return a frame of numbers that pandas stored, without PyTables."""
    import pandas as pd

    columns: dict[str, Floats] = {}
    if "table" in group:
        rows = group["table"][()]
        for name in rows.dtype.names:
            if name.startswith("values_block"):
                kind = group["table"].attrs[f"{name}_kind"]
                names = [part.split(b"\n")[0].decode() for part in kind.split(b"V")[1:]]
                columns |= {column: np.real(rows[name][:, k]) for k, column in enumerate(names)}
    for number in range(int(group.attrs.get("nblocks", 0))):
        names = [name.decode() for name in group[f"block{number}_items"][()]]
        values = group[f"block{number}_values"][()]
        # Complex numbers are what a root of a negative area left behind.
        columns |= {column: np.real(values[:, k]).astype(np.float64) for k, column in enumerate(names)}
    missing = [name for name in ELLIPSE if name not in columns]
    if missing:
        msg = f"{where} has the columns {', '.join(columns) or '(none)'}; {', '.join(missing)} is missing"
        raise FileFormatError(msg)
    return pd.DataFrame({name: columns[name].astype(np.float64) for name in ELLIPSE})


def eye_tracking(
    camera_pulses: npt.ArrayLike, fits: Mapping[str, pd.DataFrame], rig: EyeRig
) -> tuple[EyeTracking, pd.Series[bool]]:
    """Return eye tracking on the session's clock, and which frames are likely blinks.

    Parameters
    ----------
    camera_pulses
        Rising edges of the eye camera's line (s).
    fits
        As :func:`read_ellipses` returns them.
    rig
        Where monitor, camera and light are.

    Returns
    -------
    eye
        Ellipses, areas (cm^2) and gaze (cm and degrees on the monitor). Raw values are missing where any of them is;
        filtered ones also where an area is in its largest percent, or the reflection is unusually large or far away.
    likely_blink
        True where a pupil or an eye has no ellipse or one of unlikely area (3 SDs from the mean), and within two frames
        of these.

    Raises
    ------
    SynchronizationError
        If frames and pulses differ in number, save for up to 15 pulses after the last frame.
    """
    import pandas as pd

    times = camera_times(camera_pulses, len(fits["pupil"]))
    index = pd.Index(times, name="Time (s)")
    tables = {part: table.set_axis(index) for part, table in fits.items()}
    scale = rig.cm_per_pixel
    pupil = pupil_area(tables["pupil"]["height"] * scale, tables["pupil"]["width"] * scale)
    eye = ellipse_area(tables["eye"]["height"] * scale, tables["eye"]["width"] * scale)
    centers = (tables[part][["center_x", "center_y"]].to_numpy() for part in ("pupil", "corneal_reflection"))
    on_monitor = rig.on_monitor(*centers)
    degrees = rig.in_degrees(on_monitor)
    raw_bad = np.isnan(pupil) | np.isnan(eye) | np.isnan(degrees[:, 0])
    raw = pd.DataFrame(
        {
            "eye_area": eye,
            "pupil_area": pupil,
            "screen_coordinates_x_cm": on_monitor[:, 0],
            "screen_coordinates_y_cm": on_monitor[:, 1],
            "screen_coordinates_spherical_x_deg": degrees[:, 0],
            "screen_coordinates_spherical_y_deg": degrees[:, 1],
        },
        index=index,
    ).mask(pd.Series(raw_bad, index=index))
    bad = _too_large(raw["pupil_area"].to_numpy()) | _too_large(raw["eye_area"].to_numpy())
    bad |= raw_bad | bad_reflections(tables["corneal_reflection"])
    filtered = raw.mask(pd.Series(bad, index=index))
    blinks = likely_blinks(pupil, eye)
    return EyeTracking(tables, raw, filtered), pd.Series(blinks, index=index, name="likely_blink")


def camera_times(pulses: npt.ArrayLike, n_frames: int) -> Floats:
    """Return when each frame of a camera was taken, from the pulses of its line.

    Raises
    ------
    SynchronizationError
        If there are fewer pulses than frames, or more than 15 more.
    """
    times = before_pause(pulses, "eye camera's line")
    extra = len(times) - n_frames
    if not 0 <= extra <= EXTRA_PULSES:
        msg = (
            f"{n_frames:,} frames of the eye camera have ellipses, but its line pulsed {len(times):,} times: video and "
            "sync file are of different sessions, or frames were lost; it cannot be said which"
        )
        raise SynchronizationError(msg)
    if extra:
        logger.warning("the eye camera's line pulsed %d times after the last frame; they are left out", extra)
    return times[:n_frames]


def pupil_area(height: npt.ArrayLike, width: npt.ArrayLike) -> Floats:
    """Return the area of pupils seen at an angle: circles of the larger half-axis."""
    return np.asarray(np.pi * np.fmax(np.asarray(height, np.float64), np.asarray(width, np.float64)) ** 2)


def ellipse_area(height: npt.ArrayLike, width: npt.ArrayLike) -> Floats:
    """Return the area of ellipses of these half-axes."""
    return np.asarray(np.pi * np.asarray(height, np.float64) * np.asarray(width, np.float64))


def _too_large(areas: Floats) -> Mask:
    finite = areas[np.isfinite(areas)]
    return np.asarray(areas > np.percentile(finite, LARGEST_PERCENTILE)) if len(finite) else np.ones(len(areas), bool)


def bad_reflections(fits: pd.DataFrame) -> Mask:
    """Return where the corneal reflection cannot be trusted: too large, missing beside it, or far from where it is."""
    area = np.pi * (fits["width"].to_numpy() / 2) * (fits["height"].to_numpy() / 2)
    center = np.nanmedian(area) if np.isfinite(area).any() else np.nan
    spread = 1.4826 * np.nanmedian(np.abs(area - center)) if np.isfinite(area).any() else np.nan
    spread = spread or float(np.nanstd(area))
    too_large = area > center + LARGEST_SDS * spread
    bad = np.zeros(len(fits), dtype=np.bool_)
    for name in ("center_x", "center_y"):
        place = _median_of_three(np.where(too_large, np.nan, fits[name].to_numpy(np.float64)))
        finite = place[np.isfinite(place)]
        far = np.abs(place - finite.mean()) > LARGEST_SDS * finite.std() if len(finite) else np.isnan(place)
        bad |= np.isnan(place) | far
    return bad


def _median_of_three(values: Floats) -> Floats:
    """Return the median of each value and its neighbours, NaN where any of them is; the ends have one neighbour."""
    if len(values) < 2:
        return values.copy()
    inner = np.median(np.stack([values[:-2], values[1:-1], values[2:]]), axis=0)
    return np.concatenate([[values[:2].mean()], inner, [values[-2:].mean()]])


def likely_blinks(pupil: Floats, eye: Floats) -> Mask:
    """Return which frames are likely of a blink: no area, or one 3 SDs from the mean, and two frames on either side."""
    blink = np.zeros(len(pupil), dtype=np.bool_)
    for areas in (pupil, eye):
        finite = areas[np.isfinite(areas)]
        mean, sd = (finite.mean(), finite.std()) if len(finite) else (np.nan, np.nan)
        blink |= ~(np.abs(areas - mean) <= LARGEST_SDS * sd)
    near = np.convolve(blink, np.ones(2 * BLINK_MARGIN + 1), mode="full")[BLINK_MARGIN : BLINK_MARGIN + len(blink)]
    return np.asarray(near > 0)
