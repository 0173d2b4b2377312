"""The part of a session that says what the units did, and how it relates to the stimuli."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from .stimuli import SessionStimuli

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from numpy.typing import ArrayLike, DTypeLike

    from ..spikes.aligned import Compatibility
    from ..spikes.sparse_counts import SparseCounts
    from ..spikes.store import MeanWaveforms, SpikeAmplitudes, SpikeTimes
    from ..stimulus.trials import Trials

    TimeDomainCallback = Callable[[np.ndarray[Any, Any]], ArrayLike]


class SessionSpikes(SessionStimuli):
    """Spikes and waveforms of the units shown, and their alignment to stimulus presentations."""

    @cached_property
    def _shown_ids(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        return self._units.index.to_numpy(np.int64)

    @cached_property
    def spike_times(self) -> SpikeTimes:
        """Mapping unit id -> spike times (float64 s, ascending, read-only), read unit by unit on demand.

        Spikes within invalid times are not removed; a line in the log says so, once.
        """
        from ..spikes.store import SpikeTimes

        _ = self._file.warned_of_invalid_spikes
        return SpikeTimes(self._file.spikes, self._shown_ids, self._why_hidden)

    @cached_property
    def spike_amplitudes(self) -> SpikeAmplitudes:
        """Mapping unit id -> amplitude of each spike (float64 V), for the same units and spikes as `spike_times`."""
        from ..spikes.store import SpikeAmplitudes

        return SpikeAmplitudes(self._file.spikes, self._shown_ids, self._why_hidden)

    @cached_property
    def mean_waveforms(self) -> MeanWaveforms:
        """Mapping unit id -> mean waveform: DataArray (channel_id, time), microvolts and seconds, read on demand."""
        from ..spikes.store import MeanWaveforms

        return MeanWaveforms(self._file.spikes, self._shown_ids, self._why_hidden, self._channels, self._file.units)

    def _selected_units(self, unit_ids: ArrayLike | None) -> np.ndarray[Any, np.dtype[np.int64]]:
        from ..errors import UnknownIdError
        from ..ids import as_ids

        try:
            return as_ids(unit_ids, self._units, "unit")
        except UnknownIdError:
            for unit in np.atleast_1d(np.asarray(unit_ids)):
                self.spike_times.row(int(unit))  # says whether the unit is hidden, and by what
            raise

    @overload
    def presentationwise_spike_counts(
        self,
        bin_edges: ArrayLike,
        stimulus_presentation_ids: Trials = ...,
        unit_ids: ArrayLike | None = ...,
        binarize: bool = ...,
        dtype: DTypeLike | None = ...,
        large_bin_size_threshold: float = ...,
        time_domain_callback: TimeDomainCallback | None = ...,
        *,
        sparse: Literal[False] = ...,
        compat: Compatibility = ...,
    ) -> xr.DataArray: ...

    @overload
    def presentationwise_spike_counts(
        self,
        bin_edges: ArrayLike,
        stimulus_presentation_ids: Trials = ...,
        unit_ids: ArrayLike | None = ...,
        *,
        time_domain_callback: TimeDomainCallback | None = ...,
        sparse: Literal[True],
        compat: Compatibility = ...,
    ) -> SparseCounts: ...

    def presentationwise_spike_counts(
        self,
        bin_edges: ArrayLike,
        stimulus_presentation_ids: Trials = None,
        unit_ids: ArrayLike | None = None,
        binarize: bool = False,
        dtype: DTypeLike | None = None,
        large_bin_size_threshold: float = 0.001,
        time_domain_callback: TimeDomainCallback | None = None,
        *,
        sparse: bool = False,
        compat: Compatibility = None,
    ) -> xr.DataArray | SparseCounts:
        """Count spikes in time bins around the onset of presentations.

        Parameters
        ----------
        bin_edges
            Ascending edges (s from the onset). A spike belongs to a bin if ``edge <= t < next edge``, compared with
            ``start_time + edge`` exactly.
        stimulus_presentation_ids
            Presentations in any order, repeated or not; None for all, a scalar for one; or a table with ``start_time``,
            such as :attr:`optogenetic_stimulation_epochs` (the dimension is then called ``trial_id``).
        unit_ids
            Units likewise.
        binarize
            Give 1 for one spike or more (uint8); warns where bins are wider than `large_bin_size_threshold`.
        dtype
            Type of the counts; one that does not hold a count exactly is an error. Default int32.
        large_bin_size_threshold
            Seconds; see `binarize`.
        time_domain_callback
            Takes the edges of all presentations on the session clock, shape (presentations, edges), and returns edges
            of the same shape to count in. The result's coordinates stay those of `bin_edges`.
        sparse
            Return :class:`~allen_ecephys.spikes.sparse_counts.SparseCounts`: one scipy CSR matrix a unit.
        compat
            ``"allensdk"`` closes bins at both ends: a spike on an inner edge counts in both bins.

        Returns
        -------
        DataArray
            Dimensions (stimulus_presentation_id, time_relative_to_stimulus_onset, unit_id), in the given order; the
            time coordinate holds bin centres (s).

        Raises
        ------
        UnknownIdError
            For a presentation or unit that is not in the session, or is hidden by its filter.
        ValueError
            For edges that are fewer than two, not finite or not ascending, or a `dtype` too small.

        Warns
        -----
        UserWarning
            Once, with numbers, where time windows overlap.
        """
        from ..spikes.aligned import spike_counts
        from ..spikes.sparse_counts import SparseCounts
        from ..stimulus.trials import PRESENTATION

        trials = self._selected_presentations(stimulus_presentation_ids)
        counts = spike_counts(
            self.spike_times,
            self._selected_units(unit_ids),
            trials,
            bin_edges,
            binarize=binarize,
            dtype=dtype,
            large_bin_size_threshold=large_bin_size_threshold,
            time_domain_callback=time_domain_callback,
            compat=compat,
            sparse=sparse,
        )
        if isinstance(counts, SparseCounts) or trials.index.name == PRESENTATION:
            return counts
        return counts.rename({PRESENTATION: str(trials.index.name)})

    def presentationwise_spike_times(
        self,
        stimulus_presentation_ids: Trials = None,
        unit_ids: ArrayLike | None = None,
        *,
        start_offset: float = 0.0,
        stop_offset: float = 0.0,
        compat: Compatibility = None,
    ) -> pd.DataFrame:
        """List the spikes that units fired during presentations.

        Parameters
        ----------
        stimulus_presentation_ids
            Presentations in any order, repeated or not; None for all, a scalar for one; or a table with ``start_time``
            and ``stop_time`` (the column is then called ``trial_id``).
        unit_ids
            Units likewise.
        start_offset, stop_offset
            Shift the begin and end of each window (s): ``start_offset=-0.1`` begins 0.1 s before the onset.
        compat
            ``"allensdk"`` gives a presentation the spikes in ``(start, stop]``; the default is ``[start, stop)``.

        Returns
        -------
        DataFrame
            Index ``spike_time`` (s), ascending; columns ``stimulus_presentation_id`` and ``unit_id`` (int64) and
            ``time_since_stimulus_presentation_onset`` (s). A spike in several windows comes as often; no spikes give
            no rows, with the same columns.

        Raises
        ------
        UnknownIdError
            For a presentation or unit that is not in the session, or is hidden by its filter.
        """
        from ..spikes.aligned import presentation_spike_times
        from ..stimulus.trials import PRESENTATION

        trials = self._selected_presentations(stimulus_presentation_ids)
        spikes = presentation_spike_times(
            self.spike_times,
            self._selected_units(unit_ids),
            trials,
            start_offset=start_offset,
            stop_offset=stop_offset,
            compat=compat,
        )
        own = trials.index.name != PRESENTATION
        return spikes.rename(columns={PRESENTATION: str(trials.index.name)}) if own else spikes

    def conditionwise_spike_statistics(
        self,
        stimulus_presentation_ids: ArrayLike | None = None,
        unit_ids: ArrayLike | None = None,
        use_rates: bool = False,
        *,
        compat: Compatibility = None,
    ) -> pd.DataFrame:
        """Summarise the spike counts of units in each stimulus condition.

        Parameters
        ----------
        stimulus_presentation_ids
            Presentations; None for all, a scalar for one. Those in invalid times have no condition and are left out.
        unit_ids
            Units; None for all, those without a spike among them.
        use_rates
            Use counts divided by each presentation's duration (Hz) instead of counts.
        compat
            ``"allensdk"`` gives a presentation the spikes in ``(start, stop]``; the default is ``[start, stop)``.

        Returns
        -------
        DataFrame
            Index (unit_id, stimulus_condition_id), by condition, then unit id. Columns:
            ``spike_count`` (absent with rates), ``stimulus_presentation_count``, ``spike_mean``, ``spike_std``
            (n - 1 in the denominator; NaN for a single presentation), ``spike_sem``. Presentations without a spike
            count as 0.

        Raises
        ------
        UnknownIdError
            For a presentation or unit that is not in the session, or is hidden by its filter.
        """
        from ..spikes.aligned import condition_spike_statistics

        return condition_spike_statistics(
            self.spike_times,
            self._selected_units(unit_ids),
            self._selected_presentations(stimulus_presentation_ids),
            use_rates=use_rates,
            compat=compat,
        )
