"""Small figures of a session: each draws on an axes and returns it, and leaves style to the caller.

matplotlib comes with ``pip install 'allen-ecephys[plot]'``; it is imported when a figure is drawn. Colours are those
that people with any colour vision tell apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy_names import lazy_names

if TYPE_CHECKING:
    from .canvas import new_axes
    from .onset_figures import plot_psth, plot_raster, plot_spike_counts
    from .signal_figures import plot_current_source_density, plot_lfp, plot_pupil, plot_running_speed
    from .timeline_figures import plot_session_timeline, plot_stimulus_blocks
    from .tuning_figures import plot_receptive_field, plot_tuning_curve
    from .unit_figures import (
        plot_autocorrelogram,
        plot_drift_map,
        plot_firing_rate,
        plot_mean_waveforms,
        plot_quality_metric,
        plot_spike_amplitudes,
        plot_units_on_probe,
        plot_waveform_on_probe,
    )

__all__ = [
    "new_axes",
    "plot_autocorrelogram",
    "plot_current_source_density",
    "plot_drift_map",
    "plot_firing_rate",
    "plot_lfp",
    "plot_mean_waveforms",
    "plot_psth",
    "plot_pupil",
    "plot_quality_metric",
    "plot_raster",
    "plot_receptive_field",
    "plot_running_speed",
    "plot_session_timeline",
    "plot_spike_amplitudes",
    "plot_spike_counts",
    "plot_stimulus_blocks",
    "plot_tuning_curve",
    "plot_units_on_probe",
    "plot_waveform_on_probe",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        **dict.fromkeys(("new_axes",), ".canvas"),
        **dict.fromkeys(("plot_psth", "plot_raster", "plot_spike_counts"), ".onset_figures"),
        **dict.fromkeys(
            ("plot_current_source_density", "plot_lfp", "plot_pupil", "plot_running_speed"), ".signal_figures"
        ),
        **dict.fromkeys(("plot_session_timeline", "plot_stimulus_blocks"), ".timeline_figures"),
        **dict.fromkeys(("plot_receptive_field", "plot_tuning_curve"), ".tuning_figures"),
        **dict.fromkeys(
            (
                "plot_autocorrelogram",
                "plot_drift_map",
                "plot_firing_rate",
                "plot_mean_waveforms",
                "plot_quality_metric",
                "plot_spike_amplitudes",
                "plot_units_on_probe",
                "plot_waveform_on_probe",
            ),
            ".unit_figures",
        ),
    },
)
