"""What a sorter leaves that is no neuron: spikes counted twice, and units that are artefacts."""

from __future__ import annotations

from .double_counted_spikes import DoubleCountedSpikes, find_double_counted_spikes
from .noise_units import NoiseThresholds, find_noise_units

__all__ = ["DoubleCountedSpikes", "NoiseThresholds", "find_double_counted_spikes", "find_noise_units"]
