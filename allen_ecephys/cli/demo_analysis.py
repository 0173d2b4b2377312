"""What the demo computes from one session: tuning to gratings, and the scene that a population saw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from allen_ecephys.errors import missing_extra

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from allen_ecephys.session import EcephysSession

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
    rates
        unit_id x orientation x temporal_frequency, mean firing rate (Hz) over trials.
    preferred
        Index unit_id; columns ``pref_ori`` (degrees), ``pref_tf`` (Hz), ``g_osi``.
    """

    rates: xr.DataArray
    preferred: pd.DataFrame


def grating_tuning(session: EcephysSession, stimulus_name: str = "drifting_gratings") -> GratingTuning:
    """Compute orientation and temporal-frequency tuning from spikes aligned to gratings.

    A unit's preferred orientation has the largest mean response over temporal frequencies, and the other way round.
    ``g_osi`` is the global orientation selectivity at the preferred temporal frequency, ``|sum(R exp(2 i theta))| /
    sum(R)`` (Ringach, Shapley & Hawken 2002, J Neurosci 22:5639; data release documentation, "g_osi_dg").

    Parameters
    ----------
    session
        Any session that shows gratings of several orientations and temporal frequencies.
    stimulus_name
        Name of the stimulus.
    """
    import pandas as pd
    import xarray as xr

    trials = session.get_stimulus_table(stimulus_name)
    trials = trials.dropna(subset=["orientation", "temporal_frequency"])  # blank sweeps have neither
    counts = session.presentationwise_spike_counts(
        bin_edges=np.array(GRATING_WINDOW), stimulus_presentation_ids=trials.index.to_numpy()
    )
    seconds = GRATING_WINDOW[1] - GRATING_WINDOW[0]
    orientation = trials["orientation"].to_numpy(dtype=float)
    frequency = trials["temporal_frequency"].to_numpy(dtype=float)
    orientations, frequencies = np.unique(orientation), np.unique(frequency)
    per_trial = counts.to_numpy()[:, 0, :] / seconds
    rates = np.full((per_trial.shape[1], len(orientations), len(frequencies)), np.nan)
    for i, theta in enumerate(orientations):
        for j, tf in enumerate(frequencies):
            shown = (orientation == theta) & (frequency == tf)
            if shown.any():
                rates[:, i, j] = per_trial[shown].mean(axis=0)
    units = counts["unit_id"].to_numpy()
    best_ori = np.nanmean(rates, axis=2).argmax(axis=1)
    best_tf = np.nanmean(rates, axis=1).argmax(axis=1)
    at_best = rates[np.arange(len(units)), :, best_tf]
    phase = np.exp(2j * np.deg2rad(orientations))
    with np.errstate(invalid="ignore"):  # a silent unit has no selectivity: NaN
        g_osi = np.abs(at_best @ phase) / at_best.sum(axis=1)
    preferred = pd.DataFrame(
        {"pref_ori": orientations[best_ori], "pref_tf": frequencies[best_tf], "g_osi": g_osi},
        index=pd.Index(units, name="unit_id"),
    )
    coordinates = {"unit_id": units, "orientation": orientations, "temporal_frequency": frequencies}
    return GratingTuning(xr.DataArray(rates, coordinates, name="firing_rate", attrs={"units": "Hz"}), preferred)


@dataclass(frozen=True)
class SceneDecoding:
    """How well the scene shown is read from the spikes of a population.

    Attributes
    ----------
    accuracy
        Fraction of held-out presentations named rightly, one value a fold.
    chance
        The same with the labels of the training trials shuffled, and ``1 / n_scenes`` in theory.
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
    often. Blank sweeps (frame -1) are left out. The control repeats it with shuffled labels.

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

    trials = session.get_stimulus_table("natural_scenes")
    frame = trials["frame"].to_numpy(dtype=float)
    trials, frame = trials[frame >= 0], frame[frame >= 0].astype(int)
    counts = session.presentationwise_spike_counts(
        bin_edges=np.array(SCENE_WINDOW), stimulus_presentation_ids=trials.index.to_numpy()
    ).to_numpy()[:, 0, :]
    # Square roots make the variance of Poisson counts the same for weak and strong responses.
    population = np.sqrt(counts.astype(float))
    population = population[:, population.std(axis=0) > 0]
    classifier = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    splits = StratifiedKFold(folds, shuffle=True, random_state=seed)
    accuracy = cross_val_score(classifier, population, frame, cv=splits)
    shuffled = np.random.default_rng(seed).permutation(frame)
    control = cross_val_score(classifier, population, shuffled, cv=splits)
    return SceneDecoding(accuracy, float(control.mean()), len(np.unique(frame)), population.shape[1], len(frame))


def receptive_field_maps(session: EcephysSession) -> xr.DataArray:
    """Return the mean spike count a gabor evokes at each position of the screen.

    Returns
    -------
    DataArray
        unit_id x y_position x x_position (degrees), mean spikes within 0.23 s of the onset, over all orientations.
    """
    import xarray as xr

    trials = session.get_stimulus_table("gabors").dropna(subset=["x_position", "y_position"])
    counts = session.presentationwise_spike_counts(
        bin_edges=np.array(GABOR_WINDOW), stimulus_presentation_ids=trials.index.to_numpy()
    )
    per_trial = counts.to_numpy()[:, 0, :].astype(float)
    x, column = np.unique(trials["x_position"].to_numpy(dtype=float), return_inverse=True)
    y, row = np.unique(trials["y_position"].to_numpy(dtype=float), return_inverse=True)
    total = np.zeros((len(y), len(x), per_trial.shape[1]))
    np.add.at(total, (row, column), per_trial)
    shown = np.zeros((len(y), len(x)))
    np.add.at(shown, (row, column), 1)
    mean = np.divide(total, shown[:, :, None], out=np.full_like(total, np.nan), where=shown[:, :, None] > 0)
    coordinates = {"y_position": y, "x_position": x, "unit_id": counts["unit_id"].to_numpy()}
    return xr.DataArray(mean, coordinates, name="spikes_per_gabor").transpose("unit_id", "y_position", "x_position")
