"""The calls of a session beyond units and spikes: behaviour, LFP, trials of signals, histograms, other libraries.

A part of :class:`~allen_ecephys.EcephysSession`, in a file of its own. Each call delegates to the module that its
documentation names; nothing is imported or read before it is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from .spikes import SessionSpikes
from .tables import handed_out

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pynapple as nap
    import xarray as xr
    from numpy.typing import ArrayLike
    from pynwb import NWBFile

    from ..interop import SpikeInterfaceUnits
    from ..nwb.reader import NwbReader
    from ..stimulus.trials import Trials


class SessionSignals(SessionSpikes):
    """Behaviour, LFP, trials of signals, histograms, and the session as objects of other libraries."""

    # --- behaviour ---------------------------------------------------------------------------------------------

    @property
    def has_running_speed(self) -> bool:
        """Whether the file holds a running speed."""
        from ..signals.behavior import has_running

        return has_running(self._file.reader)

    @property
    def has_eye_tracking(self) -> bool:
        """Whether the file holds pupil and gaze (some sessions were released without)."""
        from ..signals.behavior import has_eye_tracking

        return has_eye_tracking(self._file.reader)

    @property
    def has_optotagging(self) -> bool:
        """Whether the file holds optogenetic stimulation."""
        from ..signals.behavior import has_optotagging

        return has_optotagging(self._file.reader)

    @property
    def running_speed(self) -> pd.DataFrame:
        """Running speed: ``start_time``, ``end_time`` (s), ``velocity`` (cm/s); MissingDataError without one."""
        return handed_out(self._running_speed)

    @cached_property
    def _running_speed(self) -> pd.DataFrame:
        from ..signals.behavior import read_running_speed

        return read_running_speed(self._file.reader)

    def get_running_speed(self, include_rotation: bool = False) -> pd.DataFrame:
        """Return the running speed, with ``net_rotation`` on demand (:func:`.behavior.read_running_speed`)."""
        from ..signals.behavior import read_running_speed

        return read_running_speed(self._file.reader, include_rotation)

    def get_raw_running_data(self) -> pd.DataFrame:
        """Return the wheel encoder's rotation and voltages (:func:`.behavior.read_raw_running_data`)."""
        from ..signals.behavior import read_raw_running_data

        return read_raw_running_data(self._file.reader)

    def get_pupil_data(self) -> pd.DataFrame:
        """Return the ellipses of pupil, corneal reflection and eye (:func:`.behavior.read_pupil_data`)."""
        return handed_out(self._pupil_data)

    @cached_property
    def _pupil_data(self) -> pd.DataFrame:
        from ..signals.behavior import read_pupil_data

        return read_pupil_data(self._file.reader)

    def get_screen_gaze_data(self, include_filtered_data: bool = False) -> pd.DataFrame:
        """Return where on the screen the mouse looked (:func:`.behavior.read_screen_gaze_data`)."""
        from ..signals.behavior import read_screen_gaze_data

        return read_screen_gaze_data(self._file.reader, include_filtered_data)

    @property
    def optogenetic_stimulation_epochs(self) -> pd.DataFrame:
        """Each pulse of light (:func:`.behavior.read_optogenetic_stimulation_epochs`)."""
        from ..signals.behavior import read_optogenetic_stimulation_epochs

        return read_optogenetic_stimulation_epochs(self._file.reader)

    @property
    def rig_geometry_data(self) -> pd.DataFrame:
        """Positions (mm) and rotations (degrees) of monitor, camera and light (index x, y, z)."""
        from ..signals.behavior import read_rig_geometry_data

        return read_rig_geometry_data(self._file.reader)

    @property
    def rig_equipment_name(self) -> str:
        """Name of the rig, as ``NP.1``."""
        from ..signals.behavior import read_rig_equipment_name

        return read_rig_equipment_name(self._file.reader)

    # --- LFP ---------------------------------------------------------------------------------------------------

    def get_lfp(self, probe_id: int, mask_invalid_intervals: bool = True) -> xr.DataArray:
        """Return a probe's LFP, lazily: a selection reads the chunks it needs and nothing else.

        Parameters
        ----------
        probe_id
            A probe of ``session.probes`` with ``has_lfp_data``.
        mask_invalid_intervals
            Give NaN for samples (of all channels) within ``session.invalid_times`` tagged ``all_probes`` or with the
            probe's name, ends included.

        Returns
        -------
        DataArray
            ``LFP`` (V, float32), dims ``time`` (s, session clock) x ``channel`` (channel ids). ``.sel(time=slice(a,
            b))`` finds its samples without reading the other timestamps; ``.sel(channel=id, method="nearest")`` takes
            the closest of the recorded channels (every fourth). ``.load()`` brings what was selected into memory.
            Whatever was selected aligns with other arrays as usual; the whole recording, whose times stay in the file,
            does so after ``lfp.assign_coords(time=lfp["time"].values)``.

        Raises
        ------
        UnknownIdError
            For a probe that this session does not have.
        MissingDataError
            For a probe whose LFP was not published.
        MissingFileError
            If the LFP file is not there; the message says how to get it.
        """
        from ..signals.lfp import open_lfp

        return open_lfp(self._lfp_reader(probe_id), probe_id, self._invalid_lfp(probe_id, mask_invalid_intervals))

    def get_current_source_density(self, probe_id: int) -> xr.DataArray:
        """Return a probe's flash-triggered current source density (:func:`.lfp.read_current_source_density`)."""
        from ..signals.lfp import read_current_source_density

        return read_current_source_density(self._lfp_reader(probe_id), probe_id)

    def _invalid_lfp(self, probe_id: int, mask_invalid_intervals: bool) -> list[tuple[float, float]]:
        from ..signals.lfp import invalid_intervals

        if not mask_invalid_intervals:
            return []
        return invalid_intervals(self._file.invalid_times, str(self._file.probes.loc[probe_id, "description"]))

    def _lfp_reader(self, probe_id: int) -> NwbReader:
        return self._file.lfp_reader(probe_id)

    # --- trials ------------------------------------------------------------------------------------------------

    def presentationwise_running_speed(
        self, bin_edges: Any, stimulus_presentation_ids: Trials = None, *, max_gap: float = 0.25
    ) -> xr.DataArray:
        """Return the running speed around stimulus onset, in the bins of the spike counts.

        Parameters
        ----------
        bin_edges
            Ascending times (s) from onset.
        stimulus_presentation_ids
            Ids in any order, a table with ``start_time`` (as ``optogenetic_stimulation_epochs``), or None for all.
        max_gap
            Samples further apart (s) are not joined: bins between them are NaN.

        Returns
        -------
        DataArray
            cm/s, dims presentation x time; each bin is the time average of the lines between samples
            (:mod:`.aligned_signals` states the rule).
        """
        from ..signals.aligned import align_running_speed

        trials = self._selected_presentations(stimulus_presentation_ids)
        return align_running_speed(self._running_speed, trials, bin_edges, max_gap)

    def presentationwise_pupil(
        self,
        bin_edges: Any,
        stimulus_presentation_ids: Trials = None,
        *,
        columns: Sequence[str] | None = None,
        max_gap: float = 0.25,
    ) -> xr.Dataset:
        """Return the pupil around stimulus onset: one variable for each of `columns` of :meth:`get_pupil_data`.

        Default columns: those of the pupil itself. The other parameters, the bins and the rule are those of
        :meth:`presentationwise_running_speed`; bins that need a frame without a fit (a blink) are NaN.
        """
        from ..signals.aligned import align_pupil

        trials = self._selected_presentations(stimulus_presentation_ids)
        return align_pupil(self._pupil_data, trials, bin_edges, columns, max_gap)

    def presentationwise_lfp(
        self,
        probe_id: int,
        bin_edges: Any,
        stimulus_presentation_ids: Trials = None,
        *,
        channel_ids: Sequence[int] | None = None,
        mask_invalid_intervals: bool = True,
        max_gap: float = 0.01,
    ) -> xr.DataArray:
        """Return a probe's LFP around stimulus onset.

        Parameters
        ----------
        probe_id
            As in :meth:`get_lfp`.
        bin_edges, stimulus_presentation_ids, max_gap
            As in :meth:`presentationwise_running_speed`. Bins wider than a sample (0.8 ms) average, and so lower the
            rate without aliasing.
        channel_ids
            Channels, in the order wanted; default all of the probe's LFP.
        mask_invalid_intervals
            As in :meth:`get_lfp`; bins that need a masked sample are NaN.

        Returns
        -------
        DataArray
            V, float32, dims presentation x time x channel.

        Raises
        ------
        UnknownIdError
            For a probe, presentation or channel that is not there.
        """
        from ..signals.aligned import align_lfp
        from ..signals.lfp import columns_of, read_samples

        trials = self._selected_presentations(stimulus_presentation_ids)
        reader = self._lfp_reader(probe_id)
        samples, channels = read_samples(reader, probe_id, self._invalid_lfp(probe_id, mask_invalid_intervals))
        columns = columns_of(channel_ids, channels, probe_id)
        return align_lfp(samples, channels[columns], columns, trials, bin_edges, max_gap)

    def psth(
        self,
        bin_edges: ArrayLike,
        stimulus_presentation_ids: Trials = None,
        unit_ids: ArrayLike | None = None,
        *,
        smoothing: float | None = None,
        by: str | None = None,
    ) -> xr.Dataset:
        """Return firing rates around stimulus onset, averaged over trials, with their standard error.

        Parameters
        ----------
        bin_edges
            Ascending times (s) from onset; bins are half-open, ``[a, b)``.
        stimulus_presentation_ids
            Ids in any order, a table with ``start_time`` (as ``optogenetic_stimulation_epochs``), or None for all.
        unit_ids
            Units, in the order wanted; default all shown.
        smoothing
            Standard deviation (s) of a Gaussian that smooths each trial; spikes outside the window are counted in.
        by
            Column of the presentations or of the table: one average for each of its values.

        Returns
        -------
        Dataset
            ``rate`` and ``sem`` (Hz) and ``presentation_count``; :func:`.responses.psth` has the details.
        """
        from ..spikes.responses import psth

        trials = self._selected_presentations(stimulus_presentation_ids)
        return psth(self.spike_times, self._selected_units(unit_ids), trials, bin_edges, smoothing, by)

    def responses(
        self, stimulus_name: str, window: tuple[float, float] | None = None, unit_ids: ArrayLike | None = None
    ) -> xr.Dataset:
        """Return counts and rates of one stimulus, trials x units, with its parameters as coordinates.

        Parameters
        ----------
        stimulus_name
            A name of :attr:`stimulus_names`.
        window
            Begin and end (s) from onset, ``[begin, end)``; default: each presentation from start to stop.
        unit_ids
            Units, in the order wanted; default all shown.

        Returns
        -------
        Dataset
            ``spike_count`` and ``rate`` (Hz); :func:`.responses.responses` has the details.

        Examples
        --------
        ``X, y = d.rate.to_numpy(), d.frame.to_numpy()`` are what scikit-learn takes.
        """
        from ..spikes.responses import responses

        units = self._units.loc[self._selected_units(unit_ids)]
        return responses(self.spike_times, units, self._file.presentation_table, stimulus_name, window)

    def spike_sample_indices(
        self, unit_id: int, probe_start_time: float | None = None
    ) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return where a unit's spikes lie in its probe's raw data (:func:`.responses.spike_sample_indices`)."""
        from ..spikes.responses import spike_sample_indices

        return spike_sample_indices(self, unit_id, probe_start_time)

    # --- other libraries ---------------------------------------------------------------------------------------

    def to_pynapple(self) -> dict[str, nap.TsGroup | nap.IntervalSet | nap.Tsd]:
        """Return the session as pynapple objects (:func:`.interop.to_pynapple`)."""
        from ..interop import to_pynapple

        return to_pynapple(self)

    def to_spikeinterface(self, probe_id: int) -> SpikeInterfaceUnits:
        """Return a probe's units as SpikeInterface sorting and templates (:func:`.interop.to_spikeinterface`)."""
        from ..interop import to_spikeinterface

        return to_spikeinterface(self, probe_id)

    @property
    def nwbfile(self) -> NWBFile:
        """The file as pynwb reads it, opened on first use and closed with the session."""
        return self._file.nwbfile
