"""Mean waveforms of units, and what they measure."""

from __future__ import annotations

from .extraction import MeanWaveforms, mean_waveforms, mean_waveforms_by_epoch
from .propagation import PropagationMetrics, propagation_metrics
from .table import WAVEFORM_METRICS, waveform_metrics

__all__ = [
    "WAVEFORM_METRICS",
    "MeanWaveforms",
    "PropagationMetrics",
    "mean_waveforms",
    "mean_waveforms_by_epoch",
    "propagation_metrics",
    "waveform_metrics",
]
