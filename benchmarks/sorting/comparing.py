"""Scoring by ``spikeinterface.comparison``, with background units that are neither to be found nor false."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from datasets import RATE, Dataset

from allen_ecephys.processing.sorting import SortingParameters

DELTA_MS = 0.4
WELL_FOUND = 0.8
#: From this length on accuracy is looked at over time.
LONG_SECONDS = 600.0
#: Accuracy at the ends of a recording is that of this long.
ENDS_SECONDS = 600.0
#: The native sorter's batches, and in how many parts they are looked at.
BATCH_SAMPLES, BATCH_PLACES = SortingParameters().NT, 64
#: Agreement below which a sorted unit belongs to no true unit (SpikeInterface's `redundant_score`).
LEAST_AGREEMENT = 0.2


def score(data: Dataset, samples: np.ndarray, units: np.ndarray) -> dict[str, Any]:
    """Compare a sorting with the truth.

    Background units are part of the truth for the matching, and left out of every mean and count afterwards: a sorted
    unit that agrees with one by 0.2 or more is neither false nor redundant.

    Returns
    -------
    dict
        Means over foreground units of accuracy, precision and recall; n_found (accuracy >= 0.8), n_foreground,
        n_sorted; false_positive (sorted units that agree with no true unit by 0.2), of these background_parts (at least
        half of their spikes are one background unit's), redundant (agree by 0.2 with a foreground unit that
        another sorted unit is matched to), oversplit (foreground units with several sorted units that agree by 0.2),
        overmerged (sorted units that agree by 0.2 with several foreground units), background_found; and, per foreground
        unit, accuracy, precision and recall.
    """
    from spikeinterface.comparison import compare_sorter_to_ground_truth
    from spikeinterface.core import NumpySorting

    truth = NumpySorting.from_samples_and_labels(
        [data.spike_samples], [data.spike_units], RATE, unit_ids=np.arange(len(data.background))
    )
    found = np.unique(units)
    tested = NumpySorting.from_samples_and_labels([samples], [units], RATE, unit_ids=found)
    if not len(found):
        performance = np.zeros((len(data.foreground), 3))
        return _summary(data, performance, np.zeros((len(data.background), 0)), np.zeros_like, np.zeros(0, int))
    comparison = compare_sorter_to_ground_truth(truth, tested, delta_time=DELTA_MS, exhaustive_gt=True)
    table = comparison.get_performance(method="by_unit").loc[data.foreground]
    performance = table[["accuracy", "precision", "recall"]].to_numpy(dtype=np.float64)
    agreement = comparison.agreement_scores.loc[np.arange(len(data.background)), found].to_numpy()
    matches = comparison.match_event_count.loc[np.arange(len(data.background)), found].to_numpy()
    counts = comparison.event_counts2.loc[found].to_numpy()
    matched = comparison.hungarian_match_21.loc[found].to_numpy(dtype=np.int64)
    over_time = {}
    if data.seconds >= LONG_SECONDS:
        partners = comparison.hungarian_match_12.loc[data.foreground].to_numpy(dtype=np.int64)
        over_time = _over_time(data, samples, units, partners)
    return _summary(data, performance, agreement, matches / np.maximum(counts, 1), matched) | over_time


def _over_time(data: Dataset, samples: np.ndarray, units: np.ndarray, partners: np.ndarray) -> dict[str, Any]:
    """Return the mean accuracy of foreground units in each tenth and in the first and last ten minutes.

    A unit counts where it fires. Units are matched over the whole recording; one that nothing was matched to counts as
    0. Of the true spikes of matched units, the share that was found is told for each 64th of the sorter's batches:
    nothing may be lost at their borders.
    """
    tolerance = int(DELTA_MS / 1e3 * RATE)
    tenths = list(pairwise(np.linspace(0, data.n_samples, 11)))
    ends = [(0.0, ENDS_SECONDS * RATE), (data.n_samples - ENDS_SECONDS * RATE, float(data.n_samples))]
    scores: list[list[float]] = [[] for _ in (*tenths, *ends)]
    place_hits, place_counts = np.zeros(BATCH_PLACES), np.zeros(BATCH_PLACES)
    for unit, partner in zip(data.foreground, partners, strict=True):
        true, found = data.spike_samples[data.spike_units == unit], samples[units == partner]
        nearest = np.searchsorted(found, true)
        padded = np.r_[np.iinfo(np.int64).min // 2, found, np.iinfo(np.int64).max // 2]
        hit = np.minimum(np.abs(padded[nearest] - true), np.abs(padded[nearest + 1] - true)) <= tolerance
        if partner >= 0:
            place = true % BATCH_SAMPLES * BATCH_PLACES // BATCH_SAMPLES
            place_hits += np.bincount(place[hit], minlength=BATCH_PLACES)
            place_counts += np.bincount(place, minlength=BATCH_PLACES)
        for part, (start, stop) in zip(scores, (*tenths, *ends), strict=True):
            mine = (true >= start) & (true < stop)
            n_true, n_found = int(mine.sum()), int(((found >= start) & (found < stop)).sum())
            if n_true:
                matches = int(hit[mine].sum())
                part.append(matches / max(n_true + n_found - matches, 1))
    means = [round(float(np.mean(part)), 4) if part else float("nan") for part in scores]
    return {
        "accuracy_over_time": means[: len(tenths)], "accuracy_of_ends": means[len(tenths) :],
        "found_by_place_in_batch": (place_hits / np.maximum(place_counts, 1)).round(4).tolist(),
    }  # fmt: skip


def _summary(
    data: Dataset, performance: np.ndarray, agreement: np.ndarray, precision: np.ndarray, matched: np.ndarray
) -> dict[str, Any]:
    fore, back = data.foreground, np.flatnonzero(data.background)
    enough = agreement >= LEAST_AGREEMENT
    unmatched = matched < 0
    false = unmatched & ~enough.any(axis=0)
    best = agreement.argmax(axis=0) if agreement.size else np.zeros(0, int)
    redundant = unmatched & enough.any(axis=0) & ~data.background[best]
    parts = false & (precision[back] >= 0.5).any(axis=0) if agreement.size else false
    accuracy = performance[:, 0]
    return {
        "accuracy": round(float(accuracy.mean()), 4),
        "precision": round(float(performance[:, 1].mean()), 4),
        "recall": round(float(performance[:, 2].mean()), 4),
        "n_found": int((accuracy >= WELL_FOUND).sum()),
        "n_foreground": len(fore),
        "n_sorted": agreement.shape[1],
        "false_positive": int(false.sum()),
        "background_parts": int(parts.sum()),
        "redundant": int(redundant.sum()),
        "oversplit": int((enough[fore].sum(axis=1) > 1).sum()),
        "overmerged": int((enough[fore].sum(axis=0) > 1).sum()),
        "background_found": int((data.background[matched[matched >= 0]]).sum()),
        "unit_accuracy": accuracy.round(3).tolist(),
        "unit_precision": performance[:, 1].round(3).tolist(),
        "unit_recall": performance[:, 2].round(3).tolist(),
    }
