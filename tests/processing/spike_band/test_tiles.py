"""Tiles of samples: moved without loss, and summed in the stated order, as plain NumPy does."""

from __future__ import annotations

import numpy as np
import pytest

from allen_ecephys.processing.spike_band.tiles import (
    TILE_ROWS,
    add_rows,
    filter_columns,
    gather,
    spread,
    sum_neighbors,
    to_int16,
    whole_eights,
)


@pytest.fixture
def samples() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(150, 37)).astype(np.float32)


@pytest.mark.parametrize("first", [-100, -30, 0, 40, 120, 149, 150, 400])
def test_samples_that_do_not_exist_are_zero(samples: np.ndarray, first: int) -> None:
    columns = np.full((37, 70), np.nan, np.float32)
    spread(samples, first, columns)
    padded = np.pad(samples, ((600, 600), (0, 0)))
    np.testing.assert_array_equal(columns, padded[600 + first : 670 + first].T)


def test_what_is_spread_is_gathered(samples: np.ndarray) -> None:
    columns, back = np.empty((37, 64), np.float32), np.empty((50, 37), np.float32)
    spread(samples, 10, columns)
    gather(columns, back)
    np.testing.assert_array_equal(back, samples[10:60])


@pytest.mark.parametrize("n_taps", [1, 3, 8, 16, 31])
def test_filters_sum_in_the_order_of_their_taps(samples: np.ndarray, n_taps: int) -> None:
    taps = np.random.default_rng(n_taps).normal(size=(n_taps, 37)).astype(np.float32)
    wanted = np.zeros((TILE_ROWS, 37), np.float32)
    for k in range(n_taps):
        wanted += taps[k] * samples[k : k + TILE_ROWS]
    columns, out = np.empty((37, TILE_ROWS + 31), np.float32), np.empty((37, TILE_ROWS), np.float32)
    spread(samples, 0, columns)
    filter_columns(columns, whole_eights(taps), out)
    np.testing.assert_array_equal(out.T, wanted)
    row = np.zeros(37, np.float32)
    add_rows(samples, 20, taps, row)
    np.testing.assert_array_equal(row, wanted[20])


def test_neighbours_are_summed_four_at_a_time(samples: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    columns = np.ascontiguousarray(samples[:TILE_ROWS].T)
    neighbors, weights = rng.integers(0, 37, (20, 8)), rng.normal(size=(20, 8)).astype(np.float32)
    sums = np.empty((20, TILE_ROWS), np.float32)
    sum_neighbors(columns, neighbors, weights, sums)
    parts = weights[:, :, None] * columns[neighbors]
    wanted = np.zeros_like(sums)
    for k in (0, 4):
        wanted += ((parts[:, k] + parts[:, k + 1]) + parts[:, k + 2]) + parts[:, k + 3]
    np.testing.assert_array_equal(sums, wanted)


def test_counts_are_rounded_saturated_and_counted(samples: np.ndarray) -> None:
    columns = np.ascontiguousarray(20_000 * samples[:TILE_ROWS].T)
    columns[3, :4] = 0.5, 1.5, -32_768.4, 32_767.5
    columns[:, 60:] = np.inf  # beyond what is wanted
    out = np.empty((60, 37), np.int16)
    clipped = to_int16(columns, out)
    rounded = np.rint(columns[:, :60].T)
    np.testing.assert_array_equal(out, np.clip(rounded, -32_768, 32_767).astype(np.int16))
    assert clipped == (np.abs(rounded + 0.5) > 32_767.5).sum() > 0
    assert out[:4, 3].tolist() == [0, 2, -32_768, 32_767]
