"""How far to trust a unit: completeness, contamination, drift and isolation."""

from __future__ import annotations

from .features import SpikeFeatures, spike_features
from .good_periods import good_periods
from .table import QUALITY_METRICS, QualitySettings, quality_metrics

__all__ = ["QUALITY_METRICS", "QualitySettings", "SpikeFeatures", "good_periods", "quality_metrics", "spike_features"]
