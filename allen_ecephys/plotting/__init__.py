"""Small figures of a session: each draws on an axes and returns it, and leaves style to the caller.

matplotlib comes with ``pip install 'allen-ecephys[plot]'``; it is imported when a figure is drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy_names import lazy_names

if TYPE_CHECKING:
    from .figures import (
        new_axes,
        plot_current_source_density,
        plot_lfp,
        plot_mean_waveforms,
        plot_psth,
        plot_raster,
        plot_receptive_field,
        plot_running_speed,
        plot_spike_counts,
        plot_tuning_curve,
    )

__all__ = [
    "new_axes",
    "plot_current_source_density",
    "plot_lfp",
    "plot_mean_waveforms",
    "plot_psth",
    "plot_raster",
    "plot_receptive_field",
    "plot_running_speed",
    "plot_spike_counts",
    "plot_tuning_curve",
]

__getattr__, __dir__ = lazy_names(__name__, dict.fromkeys(__all__, ".figures"))
