"""The animal on a simulated rig: what the wheel's encoder and the eye camera say of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]

CAMERA_RATE: Final = 29.97
#: Radius at which the animal runs (cm): two thirds of a wheel of 6.5 inches across.
RUNNING_RADIUS: Final = 8.255 * 2 / 3
#: Names of the eye's ellipses in the files of fits.
PARTS: Final = {"pupil": "pupil", "eye": "eye", "corneal_reflection": "cr"}


@dataclass(frozen=True, eq=False)
class Wheel:
    """Signals of the wheel's encoder, one value a frame.

    Attributes
    ----------
    speed
        True speed from the frame before to this one (cm/s).
    dx
        Rotation since the frame before (degrees); 0 where the buffer was read twice.
    vsig, vin
        Voltages (V).
    """

    speed: Floats = field(repr=False)
    dx: Floats = field(repr=False)
    vsig: Floats = field(repr=False)
    vin: Floats = field(repr=False)


def run(onsets: Floats, rng: np.random.Generator) -> Wheel:
    """Let the animal run in bouts, and read the encoder at every frame; one read in 50 repeats the one before."""
    n = len(onsets)
    speed = 12.0 * (1.0 + np.sin(2 * np.pi * onsets / 37.0)) + rng.normal(0.0, 0.3, n)
    steps = np.diff(onsets, prepend=onsets[0] - (onsets[1] - onsets[0]))
    dx = np.rad2deg(speed * steps / RUNNING_RADIUS)
    dx[rng.random(n) < 0.02] = 0.0
    vin = 5.0 + rng.normal(0.0, 0.002, n)
    return Wheel(speed, dx, vin * (np.cumsum(dx) / 360.0 % 1.0), vin)


def eye_frames(start: float, stop: float, rng: np.random.Generator) -> tuple[Floats, dict[str, pd.DataFrame], Floats]:
    """Return times of camera frames, ellipses fitted to each, and which were blinks (1.0)."""
    import pandas as pd

    times = np.arange(start, stop, 1.0 / CAMERA_RATE)
    n = len(times)
    blink = np.zeros(n)
    for first in rng.integers(0, max(n - 6, 1), max(1, n // 400)):
        blink[first : first + 4] = 1.0
    wander = np.cumsum(rng.normal(0.0, 0.15, (n, 2)), axis=0)
    wander -= wander.mean(axis=0)

    def ellipse(x: Any, y: Any, height: Any, width: Any) -> pd.DataFrame:
        noise = rng.normal(0.0, 0.1, (n, 4))
        columns = {"center_x": x, "center_y": y, "width": width, "height": height}
        table = pd.DataFrame({name: values + noise[:, k] for k, (name, values) in enumerate(columns.items())})
        table["phi"] = rng.normal(0.0, 0.05, n)
        return table[["center_x", "center_y", "width", "height", "phi"]]

    fits = {
        "corneal_reflection": ellipse(300.0, 255.0, 5.0, 5.5),
        "eye": ellipse(322.0, 238.0, 90.0 - 80.0 * blink, 130.0),
        "pupil": ellipse(320.0 + wander[:, 0], 240.0 + wander[:, 1], 20.0, 21.0),
    }
    fits["pupil"][blink > 0] = np.nan
    return times, fits, blink


def write_ellipses(path: Path, fits: dict[str, pd.DataFrame]) -> None:
    """Write ellipses as pandas writes a frame of one dtype to HDF5 (its "fixed" format)."""
    import h5py

    with h5py.File(path, "w") as file:
        for part, table in fits.items():
            group = file.create_group(PARTS[part])
            names = np.array([name.encode() for name in table.columns])
            group["axis0"], group["block0_items"] = names, names
            group["axis1"] = np.arange(len(table))
            group["block0_values"] = table.to_numpy(np.float64)
            texts = {"CLASS": "GROUP", "VERSION": "1.0", "pandas_type": "frame", "pandas_version": "0.15.2"}
            texts |= {"encoding": "UTF-8", "errors": "strict"}
            texts |= {f"{axis}_variety": "regular" for axis in ("axis0", "axis1", "block0_items")}
            _describe(group, texts, nblocks=1, ndim=2)
            array = {"CLASS": "ARRAY", "FLAVOR": "numpy", "VERSION": "2.4"}
            for name, kind in (("axis0", "string"), ("block0_items", "string"), ("axis1", "integer")):
                _describe(group[name], array | {"kind": kind, "name": "N."}, transposed=1)
            _describe(group["block0_values"], array, transposed=1)


def _describe(item: Any, texts: dict[str, str], **numbers: int) -> None:
    """Give a group or dataset the attributes that PyTables looks for; its texts are UTF-8 of fixed length."""
    import h5py

    for name, text in texts.items():
        raw = text.encode()
        item.attrs.create(name, np.array(raw, dtype=h5py.string_dtype("utf-8", len(raw))))
    item.attrs.update(numbers)
