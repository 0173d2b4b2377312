"""What was measured besides spikes: running, eye, light pulses, the rig and LFP, whole or around trials."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from .file import SessionFile


class SessionSignals:
    """Behaviour and LFP of a session file; each call imports and reads what it needs, when it is asked for.

    Frames are the session's own: running speed and pupil, which several calls use, are read once.
    """

    def __init__(self, file: SessionFile) -> None:
        self._file = file

    # --- behaviour ---------------------------------------------------------------------------------------------

    @property
    def has_running_speed(self) -> bool:
        """Whether the file holds a running speed."""
        from ..signals.behavior import has_running

        return has_running(self._file.reader)

    @property
    def has_eye_tracking(self) -> bool:
        """Whether the file holds pupil and gaze."""
        from ..signals.behavior import has_eye_tracking

        return has_eye_tracking(self._file.reader)

    @property
    def has_optotagging(self) -> bool:
        """Whether the file holds optogenetic stimulation."""
        from ..signals.behavior import has_optotagging

        return has_optotagging(self._file.reader)

    @cached_property
    def running_speed(self) -> pd.DataFrame:
        """The running speed (cm/s)."""
        return self.read_running_speed()

    def read_running_speed(self, include_rotation: bool = False) -> pd.DataFrame:
        """Return :func:`.behavior.read_running_speed`."""
        from ..signals.behavior import read_running_speed

        return read_running_speed(self._file.reader, include_rotation)

    def read_raw_running_data(self) -> pd.DataFrame:
        """Return :func:`.behavior.read_raw_running_data`."""
        from ..signals.behavior import read_raw_running_data

        return read_raw_running_data(self._file.reader)

    @cached_property
    def pupil(self) -> pd.DataFrame:
        """The ellipses of pupil, corneal reflection and eye."""
        from ..signals.behavior import read_pupil_data

        return read_pupil_data(self._file.reader)

    def read_screen_gaze(self, include_filtered_data: bool) -> pd.DataFrame:
        """Return :func:`.behavior.read_screen_gaze_data`."""
        from ..signals.behavior import read_screen_gaze_data

        return read_screen_gaze_data(self._file.reader, include_filtered_data)

    def read_optogenetic_stimulation_epochs(self) -> pd.DataFrame:
        """Return :func:`.behavior.read_optogenetic_stimulation_epochs`."""
        from ..signals.behavior import read_optogenetic_stimulation_epochs

        return read_optogenetic_stimulation_epochs(self._file.reader)

    def read_rig_geometry(self) -> pd.DataFrame:
        """Return :func:`.behavior.read_rig_geometry_data`."""
        from ..signals.behavior import read_rig_geometry_data

        return read_rig_geometry_data(self._file.reader)

    def read_rig_equipment_name(self) -> str:
        """Return :func:`.behavior.read_rig_equipment_name`."""
        from ..signals.behavior import read_rig_equipment_name

        return read_rig_equipment_name(self._file.reader)

    # --- LFP ---------------------------------------------------------------------------------------------------

    def lfp(self, probe_id: int, mask_invalid_intervals: bool) -> xr.DataArray:
        """Return a probe's LFP, lazily (:func:`.lfp.open_lfp`)."""
        from ..signals.lfp import open_lfp

        reader = self._file.lfp_reader(probe_id)
        return open_lfp(reader, probe_id, self._invalid_lfp(probe_id, mask_invalid_intervals))

    def current_source_density(self, probe_id: int) -> xr.DataArray:
        """Return :func:`.lfp.read_current_source_density`."""
        from ..signals.lfp import read_current_source_density

        return read_current_source_density(self._file.lfp_reader(probe_id), probe_id)

    def _invalid_lfp(self, probe_id: int, mask_invalid_intervals: bool) -> list[tuple[float, float]]:
        from ..signals.lfp import invalid_intervals

        if not mask_invalid_intervals:
            return []
        return invalid_intervals(self._file.invalid_times, str(self._file.probes.loc[probe_id, "description"]))

    # --- around trials -----------------------------------------------------------------------------------------

    def running_speed_around(self, trials: pd.DataFrame, bin_edges: Any, max_gap: float) -> xr.DataArray:
        """Return the running speed in bins around trials (:func:`.aligned.align_running_speed`)."""
        from ..signals.aligned import align_running_speed

        return align_running_speed(self.running_speed, trials, bin_edges, max_gap)

    def pupil_around(
        self, trials: pd.DataFrame, bin_edges: Any, columns: Sequence[str] | None, max_gap: float
    ) -> xr.Dataset:
        """Return the pupil in bins around trials (:func:`.aligned.align_pupil`)."""
        from ..signals.aligned import align_pupil

        return align_pupil(self.pupil, trials, bin_edges, columns, max_gap)

    def lfp_around(
        self,
        trials: pd.DataFrame,
        probe_id: int,
        bin_edges: Any,
        channel_ids: Sequence[int] | None,
        mask_invalid_intervals: bool,
        max_gap: float,
    ) -> xr.DataArray:
        """Return a probe's LFP in bins around trials (:func:`.aligned.align_lfp`)."""
        from ..signals.aligned import align_lfp
        from ..signals.lfp import columns_of, read_samples

        reader = self._file.lfp_reader(probe_id)
        samples, channels = read_samples(reader, probe_id, self._invalid_lfp(probe_id, mask_invalid_intervals))
        columns = columns_of(channel_ids, channels, probe_id)
        return align_lfp(samples, channels[columns], columns, trials, bin_edges, max_gap)
