"""How far to trust a unit: completeness, contamination, drift and isolation."""

from __future__ import annotations

from .features import SpikeFeatures, spike_features
from .table import QUALITY_METRICS, QualitySettings, quality_metrics

__all__ = ["QUALITY_METRICS", "QualitySettings", "SpikeFeatures", "quality_metrics", "spike_features"]
