"""Good periods: found where a unit was whole, clean and there; lost where it was cut, contaminated or away."""

from __future__ import annotations

import numpy as np
import pytest

from allen_ecephys.processing.quality_metrics import good_periods
from allen_ecephys.processing.sorted_spikes import SortedSpikes

RATE, SECONDS = 30_000.0, 1_200.0


def train(rng: np.random.Generator, rate: float, start: float, stop: float) -> np.ndarray:
    """Poisson with 3 ms of refractoriness, s."""
    gaps = 0.003 + rng.exponential(1 / rate, int(2 * rate * (stop - start)) + 10)
    times = start + np.cumsum(gaps)
    return times[times < stop]


def periods(times: np.ndarray, sizes: np.ndarray) -> list[tuple[float, float]]:
    order = np.argsort(times)
    spikes = SortedSpikes.from_arrays(np.rint(times[order] * RATE).astype(int), np.zeros(len(times), int), unit_ids=[0])
    table = good_periods(spikes, sizes[order], sampling_rate=RATE, duration=SECONDS)
    assert (table["unit_id"] == 0).all()
    return list(zip(table["start_time"].tolist(), table["stop_time"].tolist(), strict=True))


@pytest.mark.parametrize("rate", [1.0, 8.0, 40.0])
def test_a_whole_clean_unit_is_good_throughout(rate: float) -> None:
    rng = np.random.default_rng(1)
    times = train(rng, rate, 0, SECONDS)
    assert periods(times, rng.normal(1.0, 0.1, len(times))) == [(0.0, SECONDS)]


def test_a_unit_that_sinks_below_threshold_is_good_before() -> None:
    rng = np.random.default_rng(2)
    times = train(rng, 20.0, 0, SECONDS)
    sizes = rng.normal(np.where(times < 600, 1.0, 0.6), 0.1)
    seen = sizes > 0.6
    assert periods(times[seen], sizes[seen]) == [(0.0, 600.0)]


def test_a_unit_that_comes_and_goes_is_good_while_it_is_there() -> None:
    rng = np.random.default_rng(3)
    times = np.concatenate([train(rng, 20.0, 120, 480), train(rng, 20.0, 840, 1_200)])
    assert periods(times, rng.normal(1.0, 0.1, len(times))) == [(120.0, 480.0), (840.0, 1_200.0)]


def test_a_unit_that_catches_another_is_good_before() -> None:
    rng = np.random.default_rng(4)
    times = np.concatenate([train(rng, 20.0, 0, SECONDS), *(train(rng, 20.0, 600, SECONDS) for _ in range(2))])
    assert periods(times, rng.normal(1.0, 0.1, len(times))) == [(0.0, 600.0)]


def test_units_without_spikes_and_no_units_have_no_period() -> None:
    none = SortedSpikes.from_arrays([], [], unit_ids=[4, 5])
    assert len(good_periods(none, np.empty(0, np.float32), sampling_rate=RATE, duration=10.0)) == 0
    one = SortedSpikes.from_arrays([7], [4], unit_ids=[4, 5])
    assert len(good_periods(one, np.ones(1), sampling_rate=RATE, duration=10.0)) == 0
    table = good_periods(SortedSpikes.from_arrays([], []), np.empty(0), sampling_rate=RATE, duration=10.0)
    assert table.dtypes.astype(str).tolist() == ["int64", "float64", "float64"]
