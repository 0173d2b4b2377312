"""Units that a person should look at: pairs that may be one neuron, and units that may hold two, with the evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from .correlograms import checked_spikes, rows_by_unit, train_statistics
from .merging import refractory_evidence
from .splitting import SAME_SHAPE, TOGETHER, Halves, UnitSpikes, bimodal_halves, likeness

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

#: Similarity of templates from which a pair is looked at. In six simulated recordings of one and two minutes 7 of the
#: 21 pairs that were suggested were parts of one neuron, and 7 other parts, mostly of few spikes, were less alike.
LEAST_SIMILARITY: Final = 0.75
#: Least purity of the halves of a unit whose coincidences say that it holds two neurons, and of others.
LEAST_PURITY, ALONE_PURITY = 0.8, 0.9
#: Spikes that both halves have at least.
FEWEST_SPIKES: Final = 40
#: Columns of suggested merges, and their dtypes.
COLUMNS: Final = {
    "cluster_id": "int64",
    "other_id": "int64",
    "similarity": "float64",
    "coincidences": "int64",
    "expected": "float64",
    "p_two_neurons": "float64",
    "p_one_neuron": "float64",
    "verdict": "str",
}
#: Columns of suggested splits, and their dtypes.
SPLIT_COLUMNS: Final = {
    "cluster_id": "int64",
    "n_spikes": "int64",
    "n_smaller": "int64",
    "purity": "float64",
    "similarity": "float64",
    "size_ratio": "float64",
    "coincidences": "int64",
    "expected": "float64",
    "p_two_neurons": "float64",
    "p_one_neuron": "float64",
    "verdict": "str",
}


def suggested_merges(times_s: ArrayLike, unit: ArrayLike, similarity: ArrayLike) -> pd.DataFrame:
    """Return pairs of units that may be parts of one neuron, with the evidence, the likeliest first.

    Merging (:func:`.merging.find_merges`) asks for proof, or for templates that hardly differ. A neuron whose spikes
    shrink in bursts, or that moved, may leave two units that differ in size and coincide too seldom for proof.

    Parameters
    ----------
    times_s
        (n_spikes,) spike times, s.
    unit
        (n_spikes,) unit of each spike, 0..n_units - 1.
    similarity
        (n_units, n_units) largest correlation of templates over all lags.

    Returns
    -------
    pandas.DataFrame
        One row a pair, by ascending ``p_two_neurons``:

        ``cluster_id``, ``other_id``
            The pair; the first has more spikes.
        ``similarity``
            Of their templates, at least 0.75.
        ``coincidences``, ``expected``
            Pairs of spikes within a refractory period, and how many there would be of independent neurons.
        ``p_two_neurons``, ``p_one_neuron``
            Probability of so few if they are independent, and of so many if they are one contaminated neuron
            (:class:`.merging.RefractoryEvidence`).
        ``verdict``
            ``"one neuron"`` or ``"too few spikes"`` to tell; pairs that are seen to be two neurons are left out.

    Raises
    ------
    SpikeTrainError
        If times and units do not fit together or `similarity`.
    """
    import pandas as pd

    alike = np.asarray(similarity, dtype=np.float64)
    times, units = checked_spikes(times_s, unit, len(alike))
    trains = [times[rows] for rows in rows_by_unit(times, units, len(alike))]
    found = []
    for a, b in np.argwhere(np.triu(alike >= LEAST_SIMILARITY, 1)).tolist():
        if not len(trains[a]) or not len(trains[b]):
            continue
        evidence = refractory_evidence(trains[a], trains[b])
        if evidence.verdict != "two neurons":
            first, second = (a, b) if len(trains[a]) >= len(trains[b]) else (b, a)
            numbers = (round(evidence.expected, 3), evidence.p_independent, evidence.p_one_neuron)
            row = (first, second, round(alike[a, b], 3), evidence.observed, *numbers, evidence.verdict)
            found.append(row)
    table = pd.DataFrame(found, columns=[*COLUMNS]).astype(COLUMNS)
    return table.sort_values(["p_two_neurons", "cluster_id", "other_id"], kind="stable", ignore_index=True)


def suggested_splits(
    times_s: ArrayLike, unit: ArrayLike, features: NDArray[Any], feature_channels: ArrayLike, *, n_channels: int
) -> pd.DataFrame:
    """Return units that may hold two neurons, with the evidence, the likeliest first.

    Splitting (:func:`.splitting.split_units`) leaves units whole whose halves are not clearly apart, or differ in size
    only, as the spikes of a burst do. Halves are found in the same way here, of at least 40 spikes, the smaller one
    compact, both there at the same times. They are suggested where they coincide as often as two neurons and spikes
    belong to their halves with a probability of 0.8 in the mean; and, where coincidences are too few to tell, with one
    of 0.9 if they do not differ in size only.

    Parameters
    ----------
    times_s
        (n_spikes,) ascending spike times, s.
    unit
        (n_spikes,) unit of each spike, 0..n_units - 1.
    features
        float32 (n_spikes, n_pcs, n_local), an array or memory map: projections of each spike on orthonormal waveforms,
        noise SDs.
    feature_channels
        (n_units, n_local) channels of features, for each unit.
    n_channels
        Number of channels.

    Returns
    -------
    pandas.DataFrame
        One row a unit, by ascending ``p_one_neuron``:

        ``cluster_id``, ``n_spikes``, ``n_smaller``
            The unit, its spikes, and those of the smaller half.
        ``purity``
            Mean probability of a spike to belong to its half, the lower of both halves'.
        ``similarity``, ``size_ratio``
            Correlation of the halves' mean waveforms, and the smaller one's size as a share of the larger one's.
        ``coincidences``, ``expected``, ``p_two_neurons``, ``p_one_neuron``
            As in :func:`suggested_merges`, of the halves.
        ``verdict``
            ``"two neurons"`` or ``"too few spikes"`` to tell.

    Raises
    ------
    SpikeTrainError
        If times and units do not fit together or `feature_channels`.
    """
    import pandas as pd

    channels = np.asarray(feature_channels, dtype=np.int64)
    times, units = checked_spikes(times_s, unit, len(channels))
    basis = np.eye(features.shape[1])  # correlations of features are those of waveforms
    spikes = UnitSpikes(times, features, channels, units, basis, n_channels)
    found = []
    for u, rows in enumerate(rows_by_unit(times, units, len(channels))):
        if len(rows) >= 2 * FEWEST_SPIKES:
            listed = (_split(halves, u, times[rows], basis) for halves in bimodal_halves(rows, u, spikes))
            found += sorted((row for row in listed if row is not None), key=lambda row: row["p_one_neuron"])[:1]
    table = pd.DataFrame(found, columns=[*SPLIT_COLUMNS]).astype(SPLIT_COLUMNS)
    return table.sort_values(["p_one_neuron", "purity", "cluster_id"], kind="stable", ignore_index=True)


def _split(halves: Halves, unit: int, times: NDArray[np.float64], basis: NDArray[np.float64]) -> dict[str, Any] | None:
    """Return the row of a unit's halves, or None if they are not to be suggested."""
    if halves.n_smaller < FEWEST_SPIKES or halves.purity < LEAST_PURITY or not halves.is_compact:
        return None
    trains = halves.trains(times)
    statistics = train_statistics(*trains)
    evidence = refractory_evidence(*trains)
    alike, sizes = likeness(halves.parts, basis)
    if max(statistics.q00, statistics.q01) < TOGETHER or evidence.verdict == "one neuron":
        return None
    if evidence.verdict == "too few spikes" and (alike > SAME_SHAPE or halves.purity < ALONE_PURITY):
        return None
    return {
        "cluster_id": unit,
        "n_spikes": len(times),
        "n_smaller": halves.n_smaller,
        "purity": round(halves.purity, 3),
        "similarity": round(alike, 3),
        "size_ratio": round(float(sizes.min() / sizes.max()), 3),
        "coincidences": evidence.observed,
        "expected": round(evidence.expected, 3),
        "p_two_neurons": evidence.p_independent,
        "p_one_neuron": evidence.p_one_neuron,
        "verdict": evidence.verdict,
    }
