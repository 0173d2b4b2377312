"""Pairs of units that a person should look at: alike, and not seen to be two neurons, but not proven to be one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from .correlograms import checked_spikes, rows_by_unit
from .merging import refractory_evidence

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike

#: Similarity of templates from which a pair is looked at. In six simulated recordings of one and two minutes 7 of the
#: 21 pairs that were suggested were parts of one neuron, and 7 other parts, mostly of few spikes, were less alike.
LEAST_SIMILARITY: Final = 0.75
#: Columns, and their dtypes.
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
