"""What the demo computes from one session: tuning to gratings, receptive fields, and the scene a population saw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from allen_ecephys.errors import missing_extra

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from allen_ecephys import EcephysSession

#: The release counts a grating's spikes over this window after its onset (s): 120 frames of the measured refresh.
GRATING_WINDOW = (0.0, 2.00168)

#: Window in which a flashed scene (0.25 s) is answered in visual cortex (s).
SCENE_WINDOW = (0.0, 0.25)

#: The same for gabors; the first one of a session is a frame shorter than the others (0.2335 s).
GABOR_WINDOW = (0.0, 0.23)


@dataclass(frozen=True)
class GratingTuning:
    """Mean responses to drifting gratings and the preferences read off them.

    Attributes
    ----------
    rates, sem
        unit_id x orientation x temporal_frequency: mean firing rate (Hz) over trials, and its standard error. The
        parameter ``orientation`` of drifting gratings is the direction in which they move.
    n_trials
        Fewest and most trials of a condition.
    preferred
        Index unit_id; columns ``pref_ori`` (the preferred direction, degrees), ``pref_tf`` (Hz), ``g_osi``.
    """

    rates: xr.DataArray
    sem: xr.DataArray
    n_trials: tuple[int, int]
    preferred: pd.DataFrame


def grating_tuning(session: EcephysSession) -> GratingTuning:
    """Compute direction and temporal-frequency tuning from spikes aligned to drifting gratings.

    A unit's preferred direction has the largest mean response over temporal frequencies, and the other way round.
    ``g_osi`` is the global orientation selectivity at the preferred temporal frequency, ``|sum(R exp(2 i theta))| /
    sum(R)`` (Ringach, Shapley & Hawken 2002, J Neurosci 22:5639; data release documentation, "g_osi_dg").
    """
    import pandas as pd

    trials = session.responses("drifting_gratings", GRATING_WINDOW)["rate"]
    trials = trials[~trials["is_blank"]]
    by_condition = trials.groupby(["orientation", "temporal_frequency"])
    order = ("unit_id", "orientation", "temporal_frequency")
    rates, counts = by_condition.mean().transpose(*order), by_condition.count().transpose(*order)
    sem = by_condition.std(ddof=1).transpose(*order) / np.sqrt(counts)
    best_orientation = rates.mean("temporal_frequency").idxmax("orientation")
    best_frequency = rates.mean("orientation").idxmax("temporal_frequency")
    curve = rates.sel(temporal_frequency=best_frequency)
    total = curve.sum("orientation")
    resultant = abs((curve * np.exp(2j * np.deg2rad(curve["orientation"]))).sum("orientation"))
    preferred = pd.DataFrame(
        {
            "pref_ori": best_orientation.to_numpy(),
            "pref_tf": best_frequency.to_numpy(),
            "g_osi": (resultant / total.where(total > 0)).to_numpy(),  # a silent unit has no selectivity
        },
        index=pd.Index(rates["unit_id"].to_numpy(), name="unit_id"),
    )
    return GratingTuning(rates, sem, (int(counts.min()), int(counts.max())), preferred)


def receptive_field_maps(session: EcephysSession) -> xr.DataArray:
    """Return the mean spike count a gabor evokes at each position of the screen.

    Returns
    -------
    DataArray
        unit_id x y_position x x_position (degrees), mean over presentations of all orientations.
    """
    trials = session.responses("gabors", GABOR_WINDOW)["spike_count"]
    trials = trials[~trials["is_blank"]]
    return trials.groupby(["y_position", "x_position"]).mean().transpose("unit_id", "y_position", "x_position")


@dataclass(frozen=True)
class SceneDecoding:
    """How well the scene shown is read from the spikes of a population.

    Attributes
    ----------
    accuracy
        Fraction of held-out presentations named rightly, one value a fold.
    shuffled
        Mean of the same with shuffled labels.
    n_scenes, n_units, n_trials
        What it was computed from.
    """

    accuracy: np.ndarray
    shuffled: float
    n_scenes: int
    n_units: int
    n_trials: int

    @property
    def chance(self) -> float:
        """Accuracy of guessing."""
        return 1 / self.n_scenes


def decode_scenes(session: EcephysSession, folds: int = 5, seed: int = 0) -> SceneDecoding:
    """Decode the natural scene shown from spike counts, by linear discriminant analysis, cross-validated.

    Each fold trains on the other folds' presentations and names the held-out ones; folds hold each scene equally
    often. Blank sweeps are left out. The control repeats it with shuffled labels.

    Raises
    ------
    MissingExtraError
        If scikit-learn is not installed.
    """
    try:
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
        from sklearn.model_selection import StratifiedKFold, cross_val_score
    except ImportError as error:
        missing = missing_extra("scikit-learn", "metrics", "decoding scenes")
        raise missing from error

    trials = session.responses("natural_scenes", SCENE_WINDOW)["spike_count"]
    trials = trials[~trials["is_blank"]]
    scene = trials["frame"].to_numpy().astype(int)
    # Square roots make the variance of Poisson counts the same for weak and strong responses.
    population = np.sqrt(trials.to_numpy().astype(float))
    population = population[:, population.std(axis=0) > 0]
    classifier = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    splits = StratifiedKFold(folds, shuffle=True, random_state=seed)
    accuracy = cross_val_score(classifier, population, scene, cv=splits)
    control = cross_val_score(classifier, population, np.random.default_rng(seed).permutation(scene), cv=splits)
    return SceneDecoding(accuracy, float(control.mean()), len(np.unique(scene)), population.shape[1], len(scene))
