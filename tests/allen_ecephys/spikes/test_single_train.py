"""One unit's spikes by themselves: pairs by the time between them, rates and amplitudes over the session."""

from __future__ import annotations

import numpy as np
import pytest

from allen_ecephys.spikes.single_train import amplitude_over_time, autocorrelogram, rate_over_time


def test_autocorrelogram_counts_every_pair() -> None:
    times = np.sort(np.random.default_rng(0).uniform(0, 20, 800))
    edges, counts = autocorrelogram(times, 0.05, 0.001)
    apart = (times[None, :] - times[:, None])[np.triu_indices(len(times), 1)]
    np.testing.assert_array_equal(counts, np.histogram(apart[apart < 0.05], edges)[0])
    assert counts.sum() > 500  # many with several spikes in between
    burst = np.array([0.0, 0.011, 0.022, 0.033])
    np.testing.assert_array_equal(autocorrelogram(burst, 0.04, 0.01)[1], [0, 3, 2, 1])


@pytest.mark.parametrize("times", [[], [1.0], [1.0, 9.0]])
def test_autocorrelogram_of_spikes_far_apart_is_empty(times: list[float]) -> None:
    edges, counts = autocorrelogram(times)
    assert (len(edges), counts.sum()) == (51, 0)


@pytest.mark.parametrize(("window", "bin_size"), [(0.05, 0.0), (0.0, 0.001), (0.05, -1.0), (np.nan, 0.001)])
def test_autocorrelogram_needs_a_bin(window: float, bin_size: float) -> None:
    with pytest.raises(ValueError, match="must hold at least one bin"):
        autocorrelogram([1.0, 2.0], window, bin_size)


def test_rates_and_amplitudes_over_time() -> None:
    times, amplitudes = np.array([0.0, 1.0, 9.0, 10.0, 31.0]), np.array([4.0, 6.0, 5.0, 1.0, 9.0])
    edges = np.array([0.0, 10.0, 20.0, 30.0])
    np.testing.assert_allclose(rate_over_time(times, edges), [0.3, 0.1, 0])
    mean, sd = amplitude_over_time(times, amplitudes, edges)
    np.testing.assert_allclose(mean, [5, 1, np.nan])
    np.testing.assert_allclose(sd, [np.std([4, 6, 5]), 0, np.nan])
    with pytest.raises(ValueError, match="5 times and 4 amplitudes"):
        amplitude_over_time(times, amplitudes[:4], edges)
