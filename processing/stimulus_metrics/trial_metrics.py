"""Metrics that every stimulus of separate trials has: their functions are the same, their names differ by stimulus."""

from __future__ import annotations

from .registry import built_in_metric
from .running_modulation import preferred_running_modulation
from .spike_counts import block_firing_rate, condition_sparseness, preferred_fano_factor, time_to_peak
from .stimuli import Stimulus


def add_trial_metrics(suffix: str, stimulus: Stimulus, *, fano: str = "fano_factor", has_peak: bool = True) -> None:
    """Register running modulation, firing rate, Fano factor, sparseness and time to peak of a stimulus.

    Parameters
    ----------
    suffix
        What the release appends to the names of the stimulus's columns, as ``dm``.
    stimulus
        The stimulus.
    fano
        What the release calls the Fano factor of this stimulus.
    has_peak
        Whether the release has a time to peak for it.
    """
    built_in_metric(f"run_mod_{suffix}", f"p_run_mod_{suffix}", stimulus=stimulus)(preferred_running_modulation)
    built_in_metric(f"firing_rate_{suffix}", stimulus=stimulus)(block_firing_rate)
    built_in_metric(f"{fano}_{suffix}", stimulus=stimulus)(preferred_fano_factor)
    built_in_metric(f"lifetime_sparseness_{suffix}", stimulus=stimulus)(condition_sparseness)
    if has_peak:
        built_in_metric(f"time_to_peak_{suffix}", stimulus=stimulus)(time_to_peak)
