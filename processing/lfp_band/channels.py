"""Which channels of a probe make its LFP: one every 40 um from the tip to a little above the brain's surface."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import GeometryError

Channels = npt.NDArray[np.int64]

#: The release keeps every 4th channel from the 3rd on, up to 40 channels above the surface ...
STRIDE: Final = 4
FIRST: Final = 2
PADDING: Final = 40
#: ... which is one every 40 um from 20 um above the lowest on, up to 400 um above the surface.
SPACING_UM: Final = 40.0
FIRST_UM: Final = 20.0
PADDING_UM: Final = 400.0


def release_channels(
    n_channels: int,
    surface_channel: int,
    *,
    stride: int = STRIDE,
    first: int = FIRST,
    padding: int = PADDING,
    leave_out: npt.ArrayLike = (),
) -> Channels:
    """Return the channels that the release keeps, by number (it keeps reference channels too).

    Raises
    ------
    GeometryError
        If the surface lies above the probe's last channel.

    Examples
    --------
    >>> kept = release_channels(384, 300)
    >>> kept[:4]
    array([ 2,  6, 10, 14])
    """
    if surface_channel > n_channels:
        msg = f"the brain's surface is at channel {surface_channel}, above the last of {n_channels}"
        raise GeometryError(msg)
    numbers = np.arange(first, min(n_channels, surface_channel + padding), stride, dtype=np.int64)
    return numbers[~np.isin(numbers, np.asarray(leave_out, dtype=np.int64))]


def lfp_channels(
    geometry: npt.NDArray[np.float64],
    surface_um: float,
    *,
    spacing_um: float = SPACING_UM,
    padding_um: float = PADDING_UM,
    leave_out: npt.ArrayLike = (),
    shanks: npt.ArrayLike | None = None,
) -> Channels:
    """Return one channel every `spacing_um` along each shank, up to `padding_um` above the brain's surface.

    Every depth takes the contact nearest to it, the one of the lower number where two are as near, of those that are
    not left out. On a Neuropixels 1.0 probe these are the channels of the release.

    Parameters
    ----------
    geometry
        (n_channels, 2): x and y of each contact (um).
    surface_um
        y of the brain's surface; infinite if the whole probe is inside.
    spacing_um, padding_um
        Distance of channels, and how far above the surface they go.
    leave_out
        Channels that measure nothing (references, broken ones).
    shanks
        Shank of each channel; one by default.

    Raises
    ------
    GeometryError
        If no channel is left.

    Examples
    --------
    >>> geometry = bands.lfp.geometry
    >>> lfp_channels(geometry, surface_um=np.inf)
    array([ 2,  6, 10, 14, 18, 22, 26, 30])
    """
    places = np.asarray(geometry, dtype=np.float64)
    shank = np.zeros(len(places), np.int64) if shanks is None else np.asarray(shanks, dtype=np.int64)
    usable = ~np.isin(np.arange(len(places)), np.asarray(leave_out, dtype=np.int64))
    chosen: list[int] = []
    for number in np.unique(shank):
        here = np.flatnonzero((shank == number) & usable & (places[:, 1] <= surface_um + padding_um))
        if not len(here):
            continue
        depth = places[here, 1]
        lowest = places[shank == number, 1].min()
        grid = np.arange(lowest + FIRST_UM, depth.max() + spacing_um / 2, spacing_um)
        away = np.abs(depth[None, :] - grid[:, None])
        nearest = away.argmin(axis=1)
        near = away[np.arange(len(grid)), nearest] < spacing_um / 2
        chosen += sorted(set(here[nearest[near]].tolist()))
    if not chosen:
        msg = f"no channel lies below {surface_um + padding_um:g} um, {padding_um:g} um above the brain's surface"
        raise GeometryError(msg)
    return np.array(chosen, dtype=np.int64)
