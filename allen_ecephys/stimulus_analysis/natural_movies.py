"""Natural movies."""

from __future__ import annotations

import os
from typing import Any, ClassVar

from allen_ecephys.processing.stimulus_metrics.stimuli import NATURAL_MOVIE_ONE, NATURAL_MOVIE_THREE
from allen_ecephys.session.session import EcephysSession

from .base import StimulusAnalysis


class NaturalMovies(StimulusAnalysis):
    """Responses to a natural movie (see :class:`.StimulusAnalysis`).

    AllenSDK's class finds none of the release's movies and has no duration. Here ``stimulus_key`` says which movie
    (default ``natural_movie_one``), a frame lasts 1/30 s, and the metrics are those of
    :mod:`allen_ecephys.processing.stimulus_metrics` (``..._nm1``, ``..._nm3``), which no published table has.
    """

    STIMULUS = NATURAL_MOVIE_ONE
    NAME = "Natural Movies"
    METRICS: ClassVar[tuple[str, ...]] = (
        "pref_frame_nm1",
        "reliability_nm1",
        "lifetime_sparseness_nm1",
        "firing_rate_nm1",
    )

    def __init__(
        self,
        ecephys_session: EcephysSession | str | os.PathLike[str],
        trial_duration: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(ecephys_session, trial_duration, **kwargs)
        if NATURAL_MOVIE_THREE.find_in([self._key or ""]):
            # The other movie's metrics are registered under a stimulus of their own.
            self.STIMULUS = NATURAL_MOVIE_THREE  # type: ignore[misc]
            self.METRICS = tuple(name.replace("_nm1", "_nm3") for name in self.METRICS)  # type: ignore[misc]
