"""What a report tells of a session: the parts of :class:`~allen_ecephys.EcephysSession` that its page is made from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, Self

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from numpy.typing import ArrayLike

    from ..spikes.store import MeanWaveforms, SpikeAmplitudes, SpikeTimes
    from ..stimulus.trials import Trials
    from ..units.filter import UnitFilter


class ReportedSession(Protocol):
    """A session as its report sees it."""

    @property
    def path(self) -> str:
        """Path or URL of the session's file."""

    @property
    def ecephys_session_id(self) -> int:
        """Id of the session."""

    @property
    def metadata(self) -> dict[str, Any]:
        """Identity, subject, rig and counts."""

    @property
    def unit_filter(self) -> UnitFilter:
        """The filter that decides which units are shown."""

    @property
    def num_units(self) -> int:
        """Number of units shown."""

    @property
    def units(self) -> pd.DataFrame:
        """The units shown."""

    @property
    def channels(self) -> pd.DataFrame:
        """The channels shown."""

    @property
    def probes(self) -> pd.DataFrame:
        """The probes."""

    @property
    def structurewise_unit_counts(self) -> pd.Series[int]:
        """Number of units shown in each structure."""

    @property
    def stimulus_presentations(self) -> pd.DataFrame:
        """All presentations in order of their start."""

    @property
    def stimulus_names(self) -> list[str]:
        """Names of the stimuli."""

    @property
    def invalid_times(self) -> pd.DataFrame:
        """Intervals in which data are invalid."""

    @property
    def running_speed(self) -> pd.DataFrame:
        """Running speed (cm/s)."""

    def with_units(self, unit_filter: UnitFilter) -> Self:
        """Return a view that shows the units passing another filter."""

    def hidden_units(self) -> pd.Series[int]:
        """Return how many units of the file fail each bound of the filter."""

    def get_stimulus_epochs(self) -> pd.DataFrame:
        """Return the contiguous runs of one stimulus and block."""

    @property
    def has_eye_tracking(self) -> bool:
        """Whether there is a pupil."""

    def get_pupil_data(self) -> pd.DataFrame | None:
        """Return the ellipses of pupil, corneal reflection and eye."""

    def presentationwise_spike_counts(self, bin_edges: ArrayLike, stimulus_presentation_ids: Trials) -> xr.DataArray:
        """Count spikes in time bins around the onset of presentations."""

    def presentationwise_spike_times(
        self,
        stimulus_presentation_ids: Trials,
        unit_ids: ArrayLike | None,
        *,
        start_offset: float,
        stop_offset: float,
    ) -> pd.DataFrame:
        """List the spikes that units fired during presentations."""

    def psth(self, bin_edges: ArrayLike, stimulus_presentation_ids: Trials, unit_ids: ArrayLike | None) -> xr.Dataset:
        """Return firing rates around stimulus onset."""

    def responses(
        self, stimulus_name: str, window: tuple[float, float] | None, unit_ids: ArrayLike | None
    ) -> xr.Dataset:
        """Return counts and rates of one stimulus, trials x units."""

    @property
    def spike_times(self) -> SpikeTimes:
        """Unit id -> spike times (s)."""

    @property
    def spike_amplitudes(self) -> SpikeAmplitudes:
        """Unit id -> amplitude of each spike (V)."""

    @property
    def mean_waveforms(self) -> MeanWaveforms:
        """Unit id -> mean waveform (microvolts)."""

    @property
    def has_running_speed(self) -> bool:
        """Whether there is a running speed."""

    @property
    def has_optotagging(self) -> bool:
        """Whether there are pulses of light."""

    @property
    def optogenetic_stimulation_epochs(self) -> pd.DataFrame:
        """Each pulse of light."""

    def local_lfp_probes(self) -> list[int]:
        """Return the probes whose LFP can be read without fetching it."""

    def get_lfp(self, probe_id: int | str) -> xr.DataArray:
        """Return a probe's LFP (V), lazily."""

    def get_current_source_density(self, probe_id: int | str) -> xr.DataArray:
        """Return a probe's current source density."""
