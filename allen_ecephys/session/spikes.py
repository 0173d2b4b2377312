"""What the units did: spikes and waveforms of those that are shown."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike

    from ..spikes.store import MeanWaveforms, SpikeAmplitudes, SpikeTimes
    from .file import SessionFile


class SessionSpikes:
    """Spikes and mean waveforms of the units shown, read unit by unit.

    Parameters
    ----------
    file
        The session's file.
    units, channels
        Those shown.
    why_hidden
        Says of a unit of the file why it is not shown.
    """

    def __init__(
        self, file: SessionFile, units: pd.DataFrame, channels: pd.DataFrame, why_hidden: Callable[[int], str]
    ) -> None:
        self._file = file
        self._units = units
        self._channels = channels
        self._why_hidden = why_hidden

    @cached_property
    def _ids(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        return self._units.index.to_numpy(np.int64)

    @cached_property
    def times(self) -> SpikeTimes:
        """Unit id -> spike times (s)."""
        from ..spikes.store import SpikeTimes

        _ = self._file.warned_of_invalid_spikes
        return SpikeTimes(self._file.spikes, self._ids, self._why_hidden)

    @cached_property
    def amplitudes(self) -> SpikeAmplitudes:
        """Unit id -> amplitudes of its spikes (V)."""
        from ..spikes.store import SpikeAmplitudes

        return SpikeAmplitudes(self._file.spikes, self._ids, self._why_hidden)

    @cached_property
    def mean_waveforms(self) -> MeanWaveforms:
        """Unit id -> mean waveform (uV)."""
        from ..spikes.store import MeanWaveforms

        return MeanWaveforms(self._file.spikes, self._ids, self._why_hidden, self._channels, self._file.units)

    def selected(self, unit_ids: ArrayLike | None) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return ids of units shown, in any order and repetition; all for None.

        Raises
        ------
        UnknownIdError
            If a unit is hidden, and then by what, or not in the file.
        """
        from ..errors import UnknownIdError
        from ..ids import as_ids

        try:
            return as_ids(unit_ids, self._units, "unit")
        except UnknownIdError:
            for unit in np.atleast_1d(np.asarray(unit_ids)):
                self.times.row(int(unit))  # says whether the unit is hidden, and by what
            raise
