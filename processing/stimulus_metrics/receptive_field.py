"""The receptive field of one unit as an object that can be looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from allen_ecephys.errors import InvalidValueError, MissingDataError, missing_extra

from .gabors import (
    AZIMUTH_OF_CENTRE,
    ELEVATION_OF_CENTRE,
    GRID,
    MINIMUM_SPIKES,
    fits,
    receptive_field_maps,
    receptive_field_p_value,
    regions,
)
from .receptive_field_maps import GRID_SPACING, GaussianFit, smooth_maps
from .responses import Definition, SessionResponses

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from allen_ecephys.session.session import EcephysSession


@dataclass(frozen=True, eq=False)
class ReceptiveField:
    """The response of a unit to gabors at 9 x 9 positions.

    Attributes
    ----------
    unit_id
        Which unit.
    response
        (9, 9) spikes at each position; row 0 is the top of the screen, column 0 its left. Release: summed over
        presentations (int64). Corrected: mean of a presentation (float64).
    smoothed
        (9, 9) the same after smoothing, as the mask is made from it.
    mask
        (9, 9) bool, the region above threshold that holds the maximum.
    azimuth, elevation
        Centre of the mask, degrees; NaN if it is empty.
    area
        Area of the mask, square degrees.
    fit
        Gaussian fit, in pixels.
    p_value
        Chance that the response does not depend on the position.
    definition
        ``"release"`` or ``"corrected"``.

    Examples
    --------
    >>> field = receptive_field(session, int(session.units["firing_rate"].idxmax()))
    >>> field.response.shape, field.definition
    ((9, 9), 'release')
    """

    unit_id: int
    response: NDArray[Any]
    smoothed: NDArray[Any]
    mask: NDArray[np.bool_]
    azimuth: float
    elevation: float
    area: float
    fit: GaussianFit
    p_value: float
    definition: Definition

    @property
    def azimuths(self) -> NDArray[np.float64]:
        """Azimuth of each column, degrees.

        Examples
        --------
        >>> receptive_field(session, int(session.units["firing_rate"].idxmax())).azimuths
        array([10., 20., 30., 40., 50., 60., 70., 80., 90.])
        """
        return GRID + AZIMUTH_OF_CENTRE

    @property
    def elevations(self) -> NDArray[np.float64]:
        """Elevation of each row, degrees.

        Examples
        --------
        >>> receptive_field(session, int(session.units["firing_rate"].idxmax())).elevations
        array([ 50.,  40.,  30.,  20.,  10.,   0., -10., -20., -30.])
        """
        return GRID[::-1] + ELEVATION_OF_CENTRE

    def contour(self, level: float = 0.5, n_points: int = 100) -> NDArray[np.float64]:
        """Return the ellipse where the fitted Gaussian has fallen to `level` of its height.

        Parameters
        ----------
        level
            Above 0, below 1. 0.5 gives the half-maximum contour, 0.607 one standard deviation.
        n_points
            Points along the ellipse; the last is the first.

        Returns
        -------
        numpy.ndarray
            (n_points, 2) azimuth and elevation, degrees; NaN where there is no fit.

        Examples
        --------
        >>> outline = receptive_field(session, int(session.units["firing_rate"].idxmax())).contour(level=0.607)
        >>> outline.shape
        (100, 2)
        """
        if not 0 < level < 1:
            msg = f"level must lie between 0 and 1, got {level}: the fraction of the peak at which to draw the contour"
            raise InvalidValueError(msg)
        radius = np.sqrt(-2 * np.log(level))
        angle = np.linspace(0, 2 * np.pi, n_points)
        column = self.fit.x + radius * abs(self.fit.sigma_x) * np.cos(angle)
        row = self.fit.y + radius * abs(self.fit.sigma_y) * np.sin(angle)
        return np.column_stack([self.azimuths[0] + GRID_SPACING * column, self.elevations[0] - GRID_SPACING * row])

    def plot(self, ax: Axes | None = None, *, level: float = 0.5) -> Axes:
        """Draw the map, the outline of the mask and the contour of the fit.

        Parameters
        ----------
        ax
            Where to draw; a new figure if None.
        level
            Of the contour, see :meth:`contour`.

        Raises
        ------
        MissingExtraError
            If matplotlib is not installed.

        Examples
        --------
        >>> axes = receptive_field(session, int(session.units["firing_rate"].idxmax())).plot()
        >>> axes.get_xlabel()
        'azimuth (degrees)'
        """
        axes = ax if ax is not None else new_axes("Plotting a receptive field")
        half = GRID_SPACING / 2
        left, right = self.azimuths[0] - half, self.azimuths[-1] + half
        bottom, top = self.elevations[-1] - half, self.elevations[0] + half
        image = axes.imshow(self.response, extent=(left, right, bottom, top), cmap="magma", aspect="equal")
        label = "spikes a presentation" if self.definition == "corrected" else "spikes"
        axes.figure.colorbar(image, ax=axes, shrink=0.8, label=label)
        for row, column in np.argwhere(self.mask).tolist():
            _outline_pixel(axes, self.mask, row, column, self.azimuths[column], self.elevations[row])
        ellipse = self.contour(level)
        if np.isfinite(ellipse).all():
            axes.plot(ellipse[:, 0], ellipse[:, 1], color="cyan", linewidth=1.5)
        axes.set(
            xlim=(left, right),
            ylim=(bottom, top),
            xlabel="azimuth (degrees)",
            ylabel="elevation (degrees)",
            title=f"unit {self.unit_id}, p = {self.p_value:.3g}",
        )
        return axes


def receptive_field(
    session: EcephysSession | SessionResponses,
    unit_id: int,
    *,
    definition: Definition = "release",
    seed: int = 0,
    n_shuffles: int = 1000,
    rf_mask_threshold: float | None = None,
) -> ReceptiveField:
    """Return the receptive field of a unit, with the numbers of its row of the metric table.

    Parameters
    ----------
    session
        An open session with gabors.
    unit_id
        Which unit.
    definition, seed, n_shuffles, rf_mask_threshold
        As in :func:`compute_unit_analysis_metrics`.

    Raises
    ------
    MissingDataError
        If the session did not show gabors, or the unit has fewer than ten spikes during them.
    UnknownIdError
        If the session does not have the unit.

    Examples
    --------
    >>> field = receptive_field(session, int(session.units["firing_rate"].idxmax()))
    >>> field.response.shape, round(field.area)
    ((9, 9), 400)
    """
    source = session if isinstance(session, SessionResponses) else SessionResponses.from_session(session, [unit_id])
    responses = source.responses(
        "gabors",
        [unit_id],
        definition=definition,
        seed=seed,
        n_shuffles=n_shuffles,
        rf_mask_threshold=rf_mask_threshold,
    )
    region, fit = regions(responses)[0], fits(responses)[0]
    if region is None or fit is None:
        msg = (
            f"unit {unit_id} has no receptive field: it has {int(responses.trial_counts.sum())} spikes during "
            f"{len(responses.design.start)} gabors, at least {MINIMUM_SPIKES} and all positions are needed"
        )
        raise MissingDataError(msg)
    response = receptive_field_maps(responses)[0]
    return ReceptiveField(
        unit_id=int(unit_id),
        response=response,
        smoothed=smooth_maps(response),
        mask=region.mask,
        azimuth=GRID_SPACING * region.column + GRID[0] + AZIMUTH_OF_CENTRE,
        elevation=GRID[-1] + ELEVATION_OF_CENTRE - GRID_SPACING * region.row,
        area=GRID_SPACING**2 * region.area,
        fit=fit,
        p_value=float(receptive_field_p_value(responses)[0]),
        definition=definition,
    )


def new_axes(purpose: str) -> Axes:
    """Return the axes of a new figure.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        library = "matplotlib"
        raise missing_extra(library, "plot", purpose) from error
    return plt.subplots()[1]


def _outline_pixel(
    axes: Axes, mask: NDArray[np.bool_], row: int, column: int, azimuth: float, elevation: float
) -> None:
    """Draw those sides of a pixel that the mask does not continue across."""
    half = GRID_SPACING / 2
    for down, right in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        inside = 0 <= row + down < mask.shape[0] and 0 <= column + right < mask.shape[1]
        if inside and mask[row + down, column + right]:
            continue
        if down:
            x, y = [azimuth - half, azimuth + half], [elevation - down * half] * 2
        else:
            x, y = [azimuth + right * half] * 2, [elevation - half, elevation + half]
        axes.plot(x, y, color="white", linewidth=1.5)
