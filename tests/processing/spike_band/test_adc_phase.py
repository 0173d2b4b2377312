"""Channels as if digitised at the same instant: against the voltages themselves, and in blocks of a recording."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from allen_ecephys.errors import UnknownNameError
from allen_ecephys.processing.probes import AdcWiring, neuropixels_1_wiring, neuropixels_2_wiring
from allen_ecephys.processing.simulation.raw.noise import NoiseModel
from allen_ecephys.processing.simulation.raw.recording import ChannelFaults, RawGroundTruth, write_recording
from allen_ecephys.processing.sorting.parameters import SortingParameters
from allen_ecephys.processing.sorting.preparing.channels import channel_levels
from allen_ecephys.processing.sorting.preparing.front_end import sorting_plan
from allen_ecephys.processing.spike_band.adc_phase import align_row, phase_taps
from allen_ecephys.processing.spike_band.blocks import filter_block
from allen_ecephys.processing.spike_band.filtering import HALO
from allen_ecephys.processing.spike_band.writing import plan_for


def aligned(samples: np.ndarray, adc: AdcWiring, blank: np.ndarray | None = None) -> np.ndarray:
    taps = phase_taps(adc)
    assert taps is not None
    volts = np.pad(samples.astype(np.float32), ((8, 7), (0, 0)))
    volts[8:-7][np.zeros(len(samples), bool) if blank is None else blank] = 0
    out = np.empty(samples.shape, np.float32)
    for t in range(len(samples)):
        align_row(volts, taps, t, out[t])
    return out


@pytest.mark.parametrize("adc", [neuropixels_1_wiring(48), neuropixels_2_wiring(64)])
@pytest.mark.parametrize("frequency", [300.0, 1000.0, 4000.0, 8000.0, 11_000.0])
def test_a_wave_that_all_channels_share_is_the_same_on_all(adc: AdcWiring, frequency: float) -> None:
    """Each channel sees the wave when its turn comes; aligned, they agree to 1 % of it up to 11 kHz."""
    sample = np.arange(300)[:, None]
    wave = 20_000 * np.sin(2 * np.pi * frequency * (sample + adc.delays) / 30_000 + 0.3)
    at_once = 20_000 * np.sin(2 * np.pi * frequency * sample / 30_000 + 0.3)
    assert np.abs(wave - at_once)[8:-8].max() > 0.05 * 20_000
    assert np.abs(aligned(np.rint(wave).astype(np.int16), adc) - at_once)[8:-8].max() < 0.01 * 20_000


def test_constants_and_first_turns_stay_and_blanked_samples_spread_nothing() -> None:
    adc = neuropixels_1_wiring(24)
    constant = np.full((40, 24), 1234, np.int16)
    np.testing.assert_allclose(aligned(constant, adc)[8:-8], 1234, rtol=1e-6)
    rng = np.random.default_rng(0)
    noise = rng.integers(-3000, 3000, (60, 24)).astype(np.int16)
    np.testing.assert_array_equal(aligned(noise, adc)[:, :2], noise[:, :2])
    blank = np.zeros(60, bool)
    blank[30:34] = True
    loud = noise.copy()
    loud[30:34] = 32_000
    quiet = noise.copy()
    quiet[30:34] = 0
    np.testing.assert_array_equal(aligned(loud, adc, blank), aligned(quiet, adc))


def test_nothing_is_undone_by_the_releases_definition_or_where_nothing_is_known() -> None:
    at_once = AdcWiring(np.zeros(8, np.int64), 13, np.arange(8))
    assert phase_taps(neuropixels_1_wiring(), "release") is None
    assert phase_taps(None) is None
    assert phase_taps(at_once) is None
    with pytest.raises(UnknownNameError, match="'release' or 'corrected'"):
        phase_taps(neuropixels_1_wiring(), "releases")  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="definition"):
        SortingParameters(definition="other")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def shaken(tmp_path_factory: pytest.TempPathFactory) -> RawGroundTruth:
    """A 2.0 probe that sees 40 uV of common noise, each channel in its turn, over 4 uV of its own."""
    pytest.importorskip("probeinterface")
    return write_recording(
        tmp_path_factory.mktemp("shaken") / "r", duration=1.0, n_units=0, n_channels=64, probe="NP2003", form="binary",
        noise=NoiseModel(local_uv=0.0, common_uv=40.0, converter_uv=0.0, white_uv=4.0, in_turns=True),
        faults=ChannelFaults(references=()), surface_um=1e5,
    )  # fmt: skip


def test_the_common_reference_takes_out_more_of_what_is_common(shaken: RawGroundTruth) -> None:
    """What is left over the channels' own noise: 6 uV as digitised, a third of it aligned."""
    recording = shaken.recording()
    left = {}
    for definition in ("release", "corrected"):
        parameters = SortingParameters(definition=definition)  # type: ignore[arg-type]
        levels = channel_levels(recording, parameters.fshigh)
        plan = sorting_plan(recording, np.arange(64), levels.offsets, parameters)
        filtered = filter_block(recording.read(0, 20_000), 0, HALO, 18_000, plan) * recording.uv_per_bit[0]
        left[definition] = np.sqrt(max(float(filtered.var(axis=0).mean()) - 4.0**2, 0.0))
    assert left["release"] > 5.0
    assert left["corrected"] < 0.45 * left["release"]


def test_aligned_blocks_do_not_depend_on_where_they_begin(shaken: RawGroundTruth, tmp_path: Path) -> None:
    recording = shaken.recording()
    plan = plan_for(recording, None, 150.0, "corrected")
    whole = filter_block(recording.read(0, 20_000), 0, 8192, 12_288, plan)
    alone = filter_block(recording.read(8192 - HALO, 12_288 + HALO), 8192 - HALO, 8192, 12_288, plan)
    np.testing.assert_allclose(alone, whole, atol=0.05)
    assert plan_for(recording, None, 150.0).phase is None
