"""What a unit probably is: rises and falls as it must, holds for hours, and is worth what the benchmark says."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from scipy.stats import beta, nbinom

from allen_ecephys.errors import SpikeTrainError
from allen_ecephys.nwb import layout
from allen_ecephys.processing.sorting.units.estimates import (
    FALSE,
    KINDS,
    MISSED,
    SEEN,
    SHAPE,
    estimate_units,
    estimates_from,
)
from allen_ecephys.processing.sorting.units.evidence import unit_evidence

Array = npt.NDArray[Any]


def evidence(**changes: float) -> pd.DataFrame:
    usual = {
        "n_spikes": 600.0,
        "rate": 10.0,
        "size": 12.0,
        "spread": 0.15,
        "cut": 0.1,
        "violations": 1.0,
        "expected": 8.0,
    }
    return pd.DataFrame([usual | changes])


def estimated(**changes: float) -> pd.Series:
    return estimates_from(evidence(**changes)).iloc[0]


def test_columns_are_those_of_the_layout() -> None:
    table = estimates_from(evidence())
    assert table.columns.tolist() == [column.name for column in layout.ESTIMATE_COLUMNS]
    probabilities = table[["p_neuron", "p_multi_unit", "p_background", "p_noise"]]
    assert probabilities.sum(axis=1).to_list() == [pytest.approx(1.0, abs=0.002)]
    for share in ("false", "missed"):
        assert (table[f"{share}_low"] <= table[f"{share}_share"]).all()
        assert (table[f"{share}_share"] <= table[f"{share}_high"]).all()


@pytest.mark.parametrize(
    ("name", "values", "sign"),
    [("size", (5.0, 8.0, 15.0, 40.0), -1), ("cut", (0.0, 0.2, 0.5), 1), ("violations", (0.0, 2.0, 6.0), 1)],
)
def test_false_spikes_rise_and_fall_with_the_evidence(name: str, values: tuple[float, ...], sign: int) -> None:
    shares = np.array([estimated(**{name: value})["false_high"] for value in values])
    neurons = np.array([estimated(**{name: value})["p_neuron"] for value in values])
    assert (np.diff(shares) * sign > 0).all()
    assert (np.diff(neurons) * sign < 0).all()


def test_missed_spikes_fall_with_the_size_and_rise_with_the_cut() -> None:
    assert (
        estimated(size=40.0)["missed_share"]
        < estimated(size=12.0)["missed_share"]
        < estimated(size=6.0)["missed_share"]
    )
    assert estimated(cut=0.0)["missed_share"] < estimated(cut=0.4)["missed_share"]


def test_small_spikes_of_many_are_background_and_those_that_do_not_vary_noise() -> None:
    small = {"size": 5.5, "cut": 0.5, "violations": 9.0}
    assert estimated(**small, spread=0.25)["kind"] == "background"
    assert estimated(**small, spread=0.0)["p_noise"] > estimated(**small, spread=0.25)["p_noise"]
    assert estimated(size=25.0, cut=0.5, spread=0.4, violations=9.0)["kind"] == "multi-unit"
    assert estimated(size=30.0, cut=0.02, violations=0.0)["kind"] == "neuron"


def test_the_distribution_is_prior_times_likelihood() -> None:
    """By integration over a fine grid, from the formulas."""
    given = evidence(size=9.0, cut=0.2, violations=3.0)
    a, b = (float(parameter[0]) for parameter in FALSE.beta(given))
    shares = (np.arange(200_000) + 0.5) / 200_000
    mean = SEEN * (1 - (1 - shares) ** 2) * 8.0
    density = beta.pdf(shares, a, b) * nbinom.pmf(3, SHAPE, SHAPE / (SHAPE + mean))
    below = np.cumsum(density) / density.sum()
    found = estimates_from(given).iloc[0]
    assert found["p_neuron"] == pytest.approx(float(below[shares <= 0.2][-1]), abs=0.01)
    for name, level in (("low", 0.05), ("share", 0.5), ("high", 0.95)):
        assert found[f"false_{name}"] == pytest.approx(float(shares[np.searchsorted(below, level)]), abs=0.004)
        expected = float(beta.ppf(level, *(float(parameter[0]) for parameter in MISSED.beta(given))))
        assert found[f"missed_{name}"] == pytest.approx(expected, abs=0.001)


def train(rng: np.random.Generator, rate: float, seconds: float, dead: float = 0.002) -> Array:
    intervals = dead + rng.exponential(1 / rate - dead, round(1.2 * rate * seconds) + 50)
    times = np.cumsum(intervals)
    return times[times < seconds]


def test_in_an_hour_violations_say_how_many_spikes_are_false() -> None:
    rng, seconds = np.random.default_rng(4), 3600.0
    inside, shares = [], (0.0, 0.03, 0.1, 0.3)
    for share in shares * 6:
        rate = rng.uniform(4, 12)
        own = train(rng, rate * (1 - share), seconds)
        others = [train(rng, rate * share / 4, seconds) for _ in range(4)] if share else []
        times = np.sort(np.concatenate([own, *others]))
        sizes = rng.normal(14.0, 2.0, len(times))
        found = estimate_units(times, np.zeros(len(times), int), sizes, 1, duration=seconds).iloc[0]
        true = 1 - len(own) / len(times)
        inside.append(found["false_low"] <= round(true, 3) <= found["false_high"])
        short = times < 60
        minute = estimate_units(times[short], np.zeros(short.sum(), int), sizes[short], 1, duration=60.0).iloc[0]
        assert (share == 0.3) == (found["p_neuron"] < 0.5)
        if share == 0.0:
            assert found["false_high"] < minute["false_high"] / 3
    assert np.mean(inside) >= 0.8


def test_evidence_is_what_the_spikes_tell() -> None:
    times = np.array([0.1, 0.1005, 0.2, 0.25, 0.9])
    table = unit_evidence(times, [0, 0, 1, 0, 1], [9.0, 11.0, 20.0, 10.0, 20.0], 3, duration=10.0)
    assert table["n_spikes"].tolist() == [3, 2, 0]
    assert table["rate"].tolist() == [0.3, 0.2, 0.0]
    assert table["size"].tolist() == [10.0, 20.0, 0.0]
    assert table["violations"].tolist() == [1, 0, 0]
    assert table["expected"][0] == pytest.approx(9 * (0.0015 - 0.000166) / 10)
    assert table["spread"].tolist() == [0.0, 0.0, 0.0]  # a variance of 2/3 is less than that of the noise


def test_a_handful_of_spikes_is_no_proof() -> None:
    """Four spikes of one size have no amplitude cutoff to speak of, and say little."""
    rng = np.random.default_rng(0)
    times = train(rng, 5.0, 60.0)
    units = np.ones(len(times), int)
    units[[10, 80, 150, 200]] = 0
    table = estimate_units(times, units, rng.normal(14.0, 1.5, len(times)), 2, duration=60.0)
    assert table["p_neuron"][0] < 0.7 < 0.9 < table["p_neuron"][1]
    assert table["missed_high"][0] > 0.8


def test_units_without_spikes_and_no_units() -> None:
    table = estimate_units([0.5, 0.6], [1, 1], [10.0, 12.0], 3, duration=1.0)
    assert table["kind"].tolist() == ["", table["kind"][1], ""]
    assert table["kind"][1] in KINDS
    assert table.iloc[[0, 2], 1:].isna().all(axis=None)
    assert table.iloc[1, 1:].notna().all()
    empty = estimate_units([], np.empty(0, int), [], 0, duration=1.0)
    assert len(empty) == 0
    assert empty.columns.tolist() == table.columns.tolist()


@pytest.mark.parametrize("sizes", [[1.0], [1.0, np.nan]])
def test_sizes_that_do_not_fit_are_refused(sizes: list[float]) -> None:
    with pytest.raises(SpikeTrainError, match="amplitudes"):
        estimate_units([0.5, 0.6], [0, 0], sizes, 1, duration=1.0)
