"""Recordings that need no disk: every sample is computed from the seed when it is read, at any length."""

from __future__ import annotations

from .movement import Movement
from .noise import Background
from .recording import ComputedRecording, ComputedTruth
from .units import LivingUnits, Population

__all__ = ["Background", "ComputedRecording", "ComputedTruth", "LivingUnits", "Movement", "Population"]
