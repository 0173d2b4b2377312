"""Natural scenes."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from allen_ecephys.processing.stimulus_metrics.stimuli import NATURAL_SCENES
from allen_ecephys.session.session import EcephysSession

from .base import StimulusAnalysis, only_standard


class NaturalScenes(StimulusAnalysis):
    """Responses to natural scenes (see :class:`.StimulusAnalysis`)."""

    STIMULUS = NATURAL_SCENES
    NAME = "Natural Scenes"
    METRICS = (
        *("pref_image_ns", "image_selectivity_ns", "firing_rate_ns", "fano_ns", "time_to_peak_ns"),
        *("lifetime_sparseness_ns", "run_pval_ns", "run_mod_ns", "pref_images_multi_ns"),
    )

    def __init__(
        self,
        ecephys_session: EcephysSession | str | os.PathLike[str],
        col_image: str = "frame",
        trial_duration: float = 0.25,
        **kwargs: Any,
    ) -> None:
        only_standard(col_image=(col_image, "frame"))
        super().__init__(ecephys_session, trial_duration, **kwargs)

    @property
    def images(self) -> np.ndarray[Any, Any]:
        """Indices of the images, -1 for the blank."""
        return self._values("frame").astype(np.int64)

    @property
    def frames(self) -> np.ndarray[Any, Any]:
        """The same as :attr:`images`."""
        return self.images

    @property
    def images_nonblank(self) -> np.ndarray[Any, Any]:
        """Indices of the images."""
        return self.images[self.images >= 0]

    @property
    def number_images(self) -> int:
        """Number of images, the blank among them."""
        return len(self.images)

    @property
    def number_nonblank(self) -> int:
        """Number of images."""
        return len(self.images_nonblank)
