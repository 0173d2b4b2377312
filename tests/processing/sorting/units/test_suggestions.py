"""Pairs of units that may be one neuron: suggested with the evidence, never where their spikes coincide."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from allen_ecephys.errors import SpikeTrainError
from allen_ecephys.processing.sorting.units.suggestions import COLUMNS, suggested_merges


def train(rng: np.random.Generator, rate: float, seconds: float) -> npt.NDArray[Any]:
    times = np.cumsum(0.003 + rng.exponential(1 / rate - 0.003, round(1.5 * rate * seconds)))
    return times[times < seconds]


def test_parts_of_one_neuron_are_suggested_and_two_neurons_are_not() -> None:
    rng = np.random.default_rng(2)
    neuron, other = train(rng, 20.0, 120.0), train(rng, 20.0, 120.0)
    part = rng.random(len(neuron)) < 0.3
    trains = [neuron[part], neuron[~part], other, train(rng, 0.3, 120.0)]
    times, units = np.concatenate(trains), np.repeat(np.arange(4), [len(t) for t in trains])
    order = np.argsort(times)
    alike = np.full((4, 4), 0.9)
    alike[3, 0] = alike[0, 3] = 0.5
    table = suggested_merges(times[order], units[order], alike)
    pairs = list(zip(table["cluster_id"], table["other_id"], table["verdict"], strict=True))
    assert pairs[0] == (1, 0, "one neuron")
    # Of a unit that hardly fires nothing is known, and the other neuron's spikes coincide with both parts.
    assert {pair[1] for pair in pairs[1:]} <= {3}
    assert {pair[2] for pair in pairs[1:]} <= {"too few spikes"}
    first = table.iloc[0]
    assert first["coincidences"] == 0
    assert first["expected"] > 5
    assert first["p_two_neurons"] < 0.01
    assert (table["p_two_neurons"].diff().dropna() >= 0).all()


def test_nothing_to_suggest_has_the_columns_all_the_same() -> None:
    table = suggested_merges([0.1, 0.2], [0, 0], np.eye(3))  # a unit without spikes beside it
    assert len(table) == 0
    assert table.columns.tolist() == [*COLUMNS]
    assert len(suggested_merges([], np.empty(0, int), np.empty((0, 0)))) == 0
    assert len(suggested_merges([0.1, 0.2], [0, 0], np.ones((2, 2)))) == 0


def test_units_that_do_not_fit_are_refused() -> None:
    with pytest.raises(SpikeTrainError):
        suggested_merges([0.1], [3], np.eye(2))
