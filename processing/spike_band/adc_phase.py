"""Undoing the converters' turns: all channels as if they had been digitised at the same instant.

A probe's converters digitise their channels one after the other, so that sample n of a channel was taken ``d`` of a
sample later than n says (up to 11/13 on a 1.0 probe, 15/16 on a 2.0 probe). What all channels share, such as mains,
movement and light, reaches them at slightly different times and is not fully taken out by a median over them. Here each
channel is delayed by its own ``d``: its band-limited voltage at n is ``sum_k x[n + k] sinc(k + d) w(k + d)`` over
sixteen samples, a sinc in a Kaiser window, scaled to leave a constant as it is (Laakso, Valimaki, Karjalainen & Laine,
"Splitting the unit delay", IEEE Signal Processing Magazine 13(1):30-60, 1996).

The release's recordings were sorted without it.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

import numba
import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import UnknownNameError, suggest

from ..probes import AdcWiring
from .tiles import add_rows

Float32 = npt.NDArray[np.float32]
#: ``"release"``: channels stay as they were digitised. ``"corrected"``: the converters' turns are undone.
Definition = Literal["release", "corrected"]
#: Samples before and after an instant from which a channel's voltage at it is computed.
REACH: Final = 8
#: Shape of the Kaiser window: errors below 1 % of the amplitude up to 11 kHz at 30 kHz.
KAISER_BETA: Final = 5.0


def check_definition(definition: str) -> None:
    """Raise unless there is such a definition."""
    if definition not in get_args(Definition):
        msg = f"no definition {definition!r}{suggest(definition, get_args(Definition))}; it is 'release' or 'corrected'"
        raise UnknownNameError(msg)


def phase_taps(adc: AdcWiring | None, definition: str = "corrected") -> Float32 | None:
    """Return the weights that undo the converters' turns; None where there is nothing to undo, or it is not known.

    Parameters
    ----------
    adc
        When each channel is digitised.
    definition
        ``"corrected"``, or ``"release"`` for none.

    Returns
    -------
    ndarray or None
        float32 (16, n_channels): weights of the samples from 8 before to 7 after.

    Examples
    --------
    >>> from allen_ecephys.processing.probes import neuropixels_1_wiring
    >>> phase_taps(neuropixels_1_wiring()).shape
    (16, 384)
    >>> phase_taps(neuropixels_1_wiring(), "release") is None
    True
    """
    check_definition(definition)
    if definition == "release" or adc is None or not adc.turns.any():
        return None
    distance = np.arange(-REACH, REACH)[:, None] + adc.delays[None, :]
    window = np.i0(KAISER_BETA * np.sqrt(np.maximum(1 - (distance / REACH) ** 2, 0.0))) / np.i0(KAISER_BETA)
    weights = np.sinc(distance) * window
    weights[:, adc.turns == 0] = (np.arange(-REACH, REACH) == 0)[:, None]
    return np.ascontiguousarray(weights / weights.sum(axis=0), dtype=np.float32)


@numba.njit(cache=True, nogil=True)
def align_row(volts: Float32, taps: Float32, first: int, target: Float32) -> None:
    """Write to `target` the voltages of all channels at the sample 8 after `first`, from the sixteen from there on.

    Parameters
    ----------
    volts
        float32 (n_samples, n_channels): as they were digitised; blanked samples and those beyond the ends are 0.
    taps
        float32 (16, n_channels), from :func:`phase_taps`.
    """
    target[:] = 0
    add_rows(volts, first, taps, target)
