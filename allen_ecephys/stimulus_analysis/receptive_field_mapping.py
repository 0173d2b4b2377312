"""Receptive fields, mapped with gabors."""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from allen_ecephys.errors import InvalidValueError, UnknownIdError
from allen_ecephys.processing.stimulus_metrics import StimulusResponses
from allen_ecephys.processing.stimulus_metrics.gabors import GRID, MINIMUM_SPIKES, receptive_field_maps
from allen_ecephys.processing.stimulus_metrics.receptive_field_maps import fit_gaussian, region_of, smooth_maps
from allen_ecephys.processing.stimulus_metrics.stimuli import GABORS
from allen_ecephys.session.session import EcephysSession

from .base import StimulusAnalysis, only_standard

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike


class ReceptiveFieldMapping(StimulusAnalysis):
    """Responses to gabors at 9 x 9 places (see :class:`.StimulusAnalysis`).

    Parameters
    ----------
    mask_threshold
        Standard deviations below the maximum of a map at which its region ends: 0.5 in AllenSDK, 1.0 in the published
        tables.
    minimum_spike_count
        Must be 10, below which units have no receptive field.

    Notes
    -----
    ``stim_table`` keeps its ``y_position``: AllenSDK turns it over in place.
    """

    STIMULUS = GABORS
    NAME = "Receptive Field Mapping"
    METRICS = (
        *("azimuth_rf", "elevation_rf", "width_rf", "height_rf", "area_rf", "p_value_rf", "on_screen_rf"),
        *("firing_rate_rf", "fano_rf", "time_to_peak_rf", "lifetime_sparseness_rf", "run_mod_rf", "run_pval_rf"),
    )

    def __init__(
        self,
        ecephys_session: EcephysSession | str | os.PathLike[str],
        col_pos_x: str = "x_position",
        col_pos_y: str = "y_position",
        trial_duration: float = 0.25,
        minimum_spike_count: float = 10.0,
        mask_threshold: float = 0.5,
        **kwargs: Any,
    ) -> None:
        only_standard(col_pos_x=(col_pos_x, "x_position"), col_pos_y=(col_pos_y, "y_position"))
        if minimum_spike_count != MINIMUM_SPIKES:
            msg = f"minimum_spike_count is {MINIMUM_SPIKES}, as in the release; got {minimum_spike_count}"
            raise InvalidValueError(msg)
        super().__init__(ecephys_session, trial_duration, **kwargs)
        self.mask_threshold = mask_threshold

    def _customised(self, responses: StimulusResponses) -> StimulusResponses:
        responses.rf_mask_threshold = self.mask_threshold
        return responses

    @property
    def azimuths(self) -> np.ndarray[Any, Any]:
        """Horizontal places (degrees from the centre of the screen)."""
        return self._values("x_position")

    @property
    def elevations(self) -> np.ndarray[Any, Any]:
        """Vertical places (degrees from the centre of the screen)."""
        return self._values("y_position")

    @property
    def number_azimuths(self) -> int:
        """Number of horizontal places."""
        return len(self.azimuths)

    @property
    def number_elevations(self) -> int:
        """Number of vertical places."""
        return len(self.elevations)

    @cached_property
    def receptive_fields(self) -> xr.Dataset:
        """``spike_counts`` (y_position, x_position, unit_id) over all presentations at each place; units by id.

        As in AllenSDK, ``y_position`` counts degrees down from the topmost place (0, 10, ... 80); ``x_position`` is
        that of the screen.
        """
        import xarray as xr

        order = np.argsort(self.unit_ids)
        maps = np.moveaxis(receptive_field_maps(self._responses)[order], 0, -1)
        coords = {"y_position": GRID[-1] - GRID[::-1], "x_position": GRID, "unit_id": self.unit_ids[order]}
        return xr.Dataset({"spike_counts": (tuple(coords), maps)}, coords=coords)

    def get_receptive_field(self, unit_id: int) -> np.ndarray[Any, Any]:
        """Return a unit's map: spikes at 9 x 9 places, row 0 at the top of the screen.

        Raises
        ------
        UnknownIdError
            For a unit that is not looked at.
        """
        found: np.ndarray[Any, Any] = receptive_field_maps(self._responses)[self._place(unit_id)]
        return found

    def plot_rf(self, unit_id: int) -> Axes:
        """Draw a unit's map."""
        from allen_ecephys.plotting import plot_receptive_field

        return plot_receptive_field(self.get_receptive_field(unit_id))

    def _get_rf_stats(self, unit_id: int) -> tuple[float, float, float, float, float, float, bool]:
        """Return azimuth, elevation, width, height, area, p-value and whether the fit's centre is on the screen.

        Laboratories call this private method of AllenSDK's class; :attr:`metrics` has the same numbers of all units.
        """
        row = self.metrics.loc[self.unit_ids[self._place(unit_id)]]
        names = ("azimuth_rf", "elevation_rf", "width_rf", "height_rf", "area_rf", "p_value_rf")
        azimuth, elevation, width, height, area, p_value = (float(row[name]) for name in names)
        return azimuth, elevation, width, height, area, p_value, bool(row["on_screen_rf"])

    def _place(self, unit_id: int) -> int:
        place = np.flatnonzero(self.unit_ids == unit_id)
        if not len(place):
            msg = f"unit {unit_id} is not among the {self.unit_count} units looked at"
            raise UnknownIdError(msg)
        return int(place[0])


def threshold_rf(rf: ArrayLike, threshold: float) -> tuple[np.ndarray[Any, Any], float, float, int]:
    """Return the region of a receptive field map above a threshold: mask, column and row of its centre, area.

    Parameters
    ----------
    rf
        (rows, columns); it is smoothed first, integers as integers.
    threshold
        Standard deviations below the maximum.
    """
    region = region_of(smooth_maps(rf), threshold)
    return region.mask, region.column, region.row, region.area


def fit_2d_gaussian(matrix: ArrayLike) -> tuple[tuple[float, float, float, float, float], bool]:
    """Return a Gaussian fitted to a map, (height, y, x, sigma_y, sigma_x) in pixels, and whether the fit converged."""
    fit = fit_gaussian(matrix)
    return (fit.height, fit.y, fit.x, fit.sigma_y, fit.sigma_x), fit.converged
