"""Channels that are cut off for a while: which, and that nothing else of the recording notices."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from allen_ecephys.processing.probes import neuropixels_1_geometry
from allen_ecephys.processing.readers.binary import BinaryRecording
from allen_ecephys.processing.sorting.parameters import SortingParameters
from allen_ecephys.processing.sorting.preparing.channels import channel_levels, choose_channels, spiking_rates
from allen_ecephys.processing.sorting.preparing.cut_off import STUCK_SAMPLES, cut_off, flat_channels, stuck_channels
from allen_ecephys.processing.sorting.preparing.front_end import sorting_plan
from allen_ecephys.processing.sorting.preparing.registration import prepare_recording
from allen_ecephys.processing.spike_band.blocks import BLOCK_SAMPLES
from allen_ecephys.processing.spike_band.common_reference import ABSENT

STILL = SortingParameters(nblocks=0)
Write = Callable[[np.ndarray], BinaryRecording]
#: Samples after which channels are cut off, and after which they are back: not at the border of a block.
CUT, BACK = 15 * BLOCK_SAMPLES + 3000, 30 * BLOCK_SAMPLES + 5000


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def recording(samples: np.ndarray) -> BinaryRecording:
        path = tmp_path / f"samples{len(list(tmp_path.glob('samples*')))}.dat"
        samples.astype(np.int16).tofile(path)
        geometry = neuropixels_1_geometry(samples.shape[1])
        return BinaryRecording(
            path, n_columns=samples.shape[1], sampling_rate=30_000.0, uv_per_bit=0.195, geometry=geometry
        )

    return recording


def noise(n_channels: int, n_samples: int = 45 * BLOCK_SAMPLES) -> np.ndarray:
    """Counts with offsets, noise shared by neighbours and by all."""
    rng = np.random.default_rng(0)
    own = rng.normal(size=(n_samples, n_channels + 2))
    local = own[:, :-2] + 0.7 * own[:, 1:-1] + 0.4 * own[:, 2:]
    return np.rint(60 * local + 30 * rng.normal(size=(n_samples, 1)) + rng.normal(0, 300, n_channels))


# --- which channels ----------------------------------------------------------------------------------------------


def test_a_value_that_stays_is_no_noise() -> None:
    samples = np.random.default_rng(0).integers(-1, 2, (9000, 6)).astype(np.int16)
    samples[:, 1] = 5
    samples[400 : 400 + 2 * STUCK_SAMPLES, 2] = -7
    samples[400 : 400 + STUCK_SAMPLES // 2, 3] = -7
    samples[:, 4] = np.arange(9000) // 250  # a ramp of steps
    nothing = np.zeros(9000, np.bool_)
    assert np.flatnonzero(stuck_channels(samples, nothing)).tolist() == [1, 2]
    assert np.flatnonzero(flat_channels(samples, np.ones(6, np.bool_))).tolist() == [1]
    assert not flat_channels(samples, np.arange(6) == 2).any()
    blank = nothing.copy()
    blank[400:1000] = True
    assert np.flatnonzero(stuck_channels(samples, blank)).tolist() == [1]


def test_what_saturates_all_channels_for_a_moment_is_blanked_and_cuts_none_off(write: Write) -> None:
    samples = noise(32, 20_000)
    samples[5000:7000] = 32_767
    recording = write(samples)
    plan = sorting_plan(recording, np.arange(32), np.zeros(32, np.float32), STILL)
    off, adapted = cut_off(samples.astype(np.int16), 0, plan)
    assert not off.any()
    np.testing.assert_array_equal(adapted.saturation, plan.saturation)


@pytest.mark.parametrize(("n_off", "voting"), [(8, False), (16, True)])
def test_the_median_is_of_the_others_unless_they_are_too_few(write: Write, n_off: int, voting: bool) -> None:
    samples = noise(32, 20_000)
    samples[:, :n_off] = 32_767  # more than the share of channels at which moments are blanked
    plan = sorting_plan(write(samples), np.arange(32), np.zeros(32, np.float32), STILL)
    off, adapted = cut_off(samples.astype(np.int16), 0, plan)
    assert np.flatnonzero(off).tolist() == list(range(n_off))
    assert np.isinf(adapted.saturation[:n_off]).all()
    assert adapted.reference is not None
    assert (adapted.reference[n_off:] != ABSENT).all()
    assert (adapted.reference[:n_off] != ABSENT).all() == voting


# --- what others notice ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_channels", [12, 32])  # without and with a common median
@pytest.mark.parametrize("value", [0, 17, 32_767, -32_768])
def test_others_are_as_loud_as_ever_and_those_cut_off_before_and_after(
    write: Write, n_channels: int, value: int
) -> None:
    samples = noise(n_channels)
    some = np.arange(n_channels) < n_channels // 4
    samples[CUT:BACK, some] = value
    prepared = prepare_recording(write(samples), parameters=STILL)
    assert len(prepared.channel_map) == n_channels
    off = some[prepared.channel_map]
    whitened = prepared.read(0, prepared.n_samples)
    edges = [(0, CUT - 2 * BLOCK_SAMPLES), (CUT, BACK), (BACK + 2 * BLOCK_SAMPLES, len(samples))]
    before, within, after = (whitened[start:stop] for start, stop in edges)
    assert (within[:, off] == 0).all()
    for samples_of in (before[:, off], after[:, off], before[:, ~off], within[:, ~off], after[:, ~off]):
        np.testing.assert_allclose(samples_of.std(axis=0), 1.0, atol=0.15)
    assert np.abs(whitened).max() < 8


def test_channels_that_take_turns_are_whitened_by_what_there_is(write: Write) -> None:
    """Of four sets one is always cut off: there is no moment in which all are seen."""
    samples = noise(32, 48 * BLOCK_SAMPLES)
    turn = 12 * BLOCK_SAMPLES
    for k in range(4):
        samples[k * turn : (k + 1) * turn, np.arange(32) % 4 == k] = 0
    prepared = prepare_recording(write(samples), parameters=STILL)
    for k in range(4):
        off = prepared.channel_map % 4 == k
        within = prepared.read(k * turn + BLOCK_SAMPLES, (k + 1) * turn - BLOCK_SAMPLES)
        assert (within[:, off] == 0).all()
        np.testing.assert_allclose(within[:, ~off].std(axis=0), 1.0, atol=0.2)


def test_estimates_are_reused_as_they_were(write: Write, tmp_path: Path) -> None:
    samples = noise(32)
    samples[CUT:BACK, 8:16] = 0
    recording = write(samples)
    made = prepare_recording(recording, tmp_path / "prepared.npz", parameters=STILL)
    again = prepare_recording(recording, tmp_path / "prepared.npz", parameters=STILL)
    part = CUT - 5000, CUT + 20_000
    np.testing.assert_array_equal(made.read(*part), again.read(*part))


def test_levels_and_rates_are_of_the_time_that_a_channel_is_there(write: Write) -> None:
    samples = noise(32)
    samples[500::1000, 3] -= 3000
    sound = write(samples.copy())
    samples[20 * BLOCK_SAMPLES :, 3:6] = 32_767
    cut = write(samples)
    np.testing.assert_allclose(
        channel_levels(cut, 150.0).rms_uv[3:6], channel_levels(sound, 150.0).rms_uv[3:6], rtol=0.03
    )
    whole, part = (spiking_rates(recording, 150.0, -5.0)[3] for recording in (sound, cut))
    assert part == pytest.approx(whole, rel=0.05)
    assert whole == pytest.approx(30.0, rel=0.1)
    assert sorted(choose_channels(cut).tolist()) == list(range(32))
