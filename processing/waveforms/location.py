"""Where along and across the probe a unit is seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Channels this near the largest one (um), on its shank, and with at least this share of its size tell where a unit is.
NEAR_UM: Final = 75.0
LEAST_SHARE: Final = 0.1


def unit_location(
    waveform: NDArray[np.float64], peak: int, positions: NDArray[np.float64], shanks: NDArray[np.int64]
) -> tuple[float, float]:
    """Return the centre of mass (x, y in um) of a mean waveform's energy over the channels around its largest one.

    The energy of a channel is its squared peak-to-peak amplitude. A centre of mass lies between channels: of a unit
    beside the probe or past its tip it tells the nearest place on the probe.

    Parameters
    ----------
    waveform
        uV, shape (n_channels, n_samples).
    peak
        The unit's largest channel.
    positions, shanks
        Of the channels: um, shape (n_channels, 2), and (n_channels,).
    """
    size = np.ptp(waveform, axis=1)
    near = (np.hypot(*(positions - positions[peak]).T) <= NEAR_UM) & (shanks == shanks[peak])
    energy = np.where(near & (size >= LEAST_SHARE * size[peak]), size, 0.0) ** 2
    if not energy.sum() > 0:
        return float(positions[peak, 0]), float(positions[peak, 1])
    x, y = energy @ positions / energy.sum()
    return float(x), float(y)
