"""AllenSDK's classes of one stimulus each: their tables and metrics, equal to AllenSDK's, from any session.

``DriftingGratings(session).metrics`` are the numbers of AllenSDK 2.16; the published and the corrected ones are
``allen_ecephys.processing.stimulus_metrics.compute_unit_analysis_metrics``. Nothing is computed here: a class names
what a session answers under ``compat="allensdk"``, and what the metrics' ``definition="allensdk"`` gives.
"""

from __future__ import annotations

from .base import StimulusAnalysis
from .dot_motion import DotMotion
from .drifting_gratings import DriftingGratings
from .flashes import Flashes
from .natural_movies import NaturalMovies
from .natural_scenes import NaturalScenes
from .receptive_field_mapping import ReceptiveFieldMapping
from .static_gratings import StaticGratings

__all__ = [
    "DotMotion",
    "DriftingGratings",
    "Flashes",
    "NaturalMovies",
    "NaturalScenes",
    "ReceptiveFieldMapping",
    "StaticGratings",
    "StimulusAnalysis",
]
