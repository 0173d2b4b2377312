"""Pairs of units that may be one neuron, and units that may be two: suggested with the evidence for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from allen_ecephys.errors import SpikeTrainError
from allen_ecephys.processing.sorting.units.splitting import split_units
from allen_ecephys.processing.sorting.units.suggestions import (
    COLUMNS,
    SPLIT_COLUMNS,
    suggested_merges,
    suggested_splits,
)


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


CHANNELS = np.arange(16)[None]


def together(rng: np.random.Generator, waveforms: Any, trains: list[Any], jitter: float = 0.05) -> tuple[Any, Any]:
    """Return times, and features (n, 3, 16) in noise of SD 1, of neurons that were found as one unit."""
    parts = [
        (1 + jitter * rng.standard_normal((len(times), 1, 1))) * waveform + rng.standard_normal((len(times), 3, 16))
        for waveform, times in zip(waveforms, trains, strict=True)
    ]
    times, features = np.concatenate(trains), np.concatenate(parts).astype(np.float32)
    order = np.argsort(times)
    return times[order], features[order]


def two_waveforms(rng: np.random.Generator, size: float, cosine: float) -> tuple[Any, Any]:
    first = rng.standard_normal((3, 16))
    first *= size / np.linalg.norm(first)
    aside = rng.standard_normal((3, 16))
    aside -= (aside * first).sum() / size**2 * first
    return first, cosine * first + np.sqrt(1 - cosine**2) * size / np.linalg.norm(aside) * aside


def suggested(times: Any, features: Any) -> Any:
    return suggested_splits(times, np.zeros(len(times), int), features, CHANNELS, n_channels=16)


@pytest.mark.parametrize("seed", range(3))
def test_two_neurons_in_a_unit_that_was_not_cut_are_suggested(seed: int) -> None:
    rng = np.random.default_rng(seed)
    trains = [train(rng, 20.0, 120.0), train(rng, 15.0, 120.0)]
    times, features = together(rng, two_waveforms(rng, 10.0, 0.975), trains)
    zeros = np.zeros(len(times), int)
    basis = np.linalg.qr(rng.standard_normal((61, 3)))[0]
    whole = split_units(times, zeros, features, CHANNELS, zeros, basis, n_channels=16)
    assert len(whole.parents) == 1
    table = suggested(times, features)
    assert table.columns.tolist() == [*SPLIT_COLUMNS]
    (row,) = table.itertuples()
    assert (row.cluster_id, row.n_spikes, row.verdict) == (0, len(times), "two neurons")
    assert row.n_smaller == pytest.approx(len(trains[1]), rel=0.3)
    assert 0.8 <= row.purity <= 0.95
    assert row.similarity == pytest.approx(0.97, abs=0.03)
    assert row.coincidences == pytest.approx(row.expected, rel=0.5)
    assert row.p_one_neuron < 0.01


@pytest.mark.parametrize(("rate", "jitter"), [(20.0, 0.05), (1.0, 0.05), (1.0, 0.25)])
def test_one_neuron_is_not_suggested_to_be_two(rate: float, jitter: float) -> None:
    for seed in range(4):
        rng = np.random.default_rng(seed)
        times, features = together(rng, two_waveforms(rng, 15.0, 1.0)[:1], [train(rng, rate, 200.0)], jitter)
        assert suggested(times, features).empty
    # Nor in the sizes of its bursts.
    small = rng.random(len(times)) < 0.4
    features[small] *= 0.6
    assert suggested(times, features).empty


def test_few_spikes_are_told_apart_only_by_a_clear_difference() -> None:
    rng = np.random.default_rng(4)
    trains = [train(rng, 1.0, 150.0), train(rng, 1.0, 150.0)]
    (row,) = suggested(*together(rng, two_waveforms(rng, 12.0, 0.9), trains)).itertuples()
    assert row.verdict == "too few spikes"
    assert row.purity > 0.9
    assert suggested(*together(rng, two_waveforms(rng, 12.0, 0.99), trains)).empty


def test_no_unit_to_split() -> None:
    table = suggested_splits([], np.empty(0, int), np.empty((0, 3, 16), np.float32), CHANNELS, n_channels=16)
    assert table.columns.tolist() == [*SPLIT_COLUMNS]
    assert table.empty
    assert suggested(np.arange(30.0), np.ones((30, 3, 16), np.float32)).empty
    assert suggested(np.arange(300.0), np.ones((300, 3, 16), np.float32)).empty
    with pytest.raises(SpikeTrainError):
        suggested_splits([0.1], [3], np.ones((1, 3, 16), np.float32), CHANNELS, n_channels=16)
