"""What a sorter leaves: spikes, templates, features, labels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..sorted_spikes import SortedSpikes
from ..spike_band.temporal_whitening import coloured


@dataclass(frozen=True, eq=False)
class SortingResult:
    """A sorted probe: what is written to a phy folder and what the next stages take.

    Attributes
    ----------
    samples
        int64 (n_spikes,): sample of each spike's trough, ascending.
    units
        int64 (n_spikes,): row of each spike's unit in `templates`.
    amplitudes
        float64 (n_spikes,): projection on the unit's unit-norm whitened template, noise SDs.
    templates
        float32 (n_units, 61, n_channels): whitened waveforms of norm 1, trough at sample 20
        (:meth:`templates_in_colour`: whitened in space only).
    template_norms
        float64 (n_units,): mean size of each template in noise SDs (``mu``).
    pc_features
        float32 (n_spikes, n_pcs, n_local), an array or a memory map; NaN-free.
    pc_feature_ind
        int64 (n_units, n_local): channels of these features, as indices into the sorted channels.
    channel_map
        int64 (n_channels,): channel of the recording for each sorted channel.
    channel_positions
        float64 (n_channels, 2) um.
    whitening
        float64 (n_channels, n_channels): ``whitened = filtered @ whitening``, noise SD 1; `filtered` is white in time.
    taps
        float32 (n, n_channels): the filters that made it white in time, or None for none.
    similarity
        float32 (n_units, n_units): largest correlation of two templates over all lags.
    good
        bool (n_units,): a single unit by its refractory period.
    contamination
        float64 (n_units,): estimated share of foreign spikes, 1 where it cannot be told.
    sampling_rate
        Hz.
    drift_um
        float64 (n_batches, n_blocks) displacement that was undone, or None.
    details
        What the sorter wants to be known: its name, version, parameters, seconds of each pass.
    """

    samples: npt.NDArray[np.int64]
    units: npt.NDArray[np.int64]
    amplitudes: npt.NDArray[np.float64]
    templates: npt.NDArray[np.float32]
    template_norms: npt.NDArray[np.float64]
    pc_features: npt.NDArray[Any]
    pc_feature_ind: npt.NDArray[np.int64]
    channel_map: npt.NDArray[np.int64]
    channel_positions: npt.NDArray[np.float64]
    whitening: npt.NDArray[np.float64]
    similarity: npt.NDArray[np.float32]
    good: npt.NDArray[np.bool_]
    contamination: npt.NDArray[np.float64]
    sampling_rate: float
    taps: npt.NDArray[np.float32] | None = None
    drift_um: npt.NDArray[np.float64] | None = None
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def n_units(self) -> int:
        """Number of units."""
        return len(self.templates)

    def templates_in_colour(self, units: slice = slice(None)) -> npt.NDArray[np.float32]:
        """Return templates as they are before noise is made white in time: ``@ inv(whitening)`` gives counts."""
        return self.templates[units] if self.taps is None else coloured(self.templates[units], self.taps)

    def spikes(self) -> SortedSpikes:
        """Return times and units as every later step takes them; units without a spike are listed too."""
        return SortedSpikes.from_arrays(self.samples, self.units, unit_ids=np.arange(self.n_units))

    def __repr__(self) -> str:
        """Say how many spikes and units there are."""
        return (
            f"SortingResult({self.n_units} units, {int(self.good.sum())} good, {len(self.samples):,} spikes on "
            f"{len(self.channel_map)} channels)"
        )


def peak_channels(result: SortingResult) -> npt.NDArray[np.int64]:
    """Return the sorted channel on which each unit's template has most energy, int64 (n_units,)."""
    peaks = [int(np.square(template).sum(axis=0).argmax()) for template in result.templates]
    return np.array(peaks, dtype=np.int64)
