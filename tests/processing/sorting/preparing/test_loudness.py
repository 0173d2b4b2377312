"""Moments louder than the noise: how they are told, and that they cost a sorting no more than themselves."""

from __future__ import annotations

import numpy as np
import pytest

from allen_ecephys.processing.probes import neuropixels_1_geometry
from allen_ecephys.processing.sorting.preparing.loudness import loudness, quiet
from allen_ecephys.processing.sorting.templates.caution import Caution
from allen_ecephys.processing.sorting.templates.template_bank import ProbeLayout


def test_only_what_is_much_louder_than_usual_is_loud() -> None:
    noise = np.random.default_rng(0).standard_normal((8192, 16)).astype(np.float32)
    assert loudness(noise) == loudness(1.3 * noise) == 1.0
    noise[100:120] += 50.0  # a few large spikes are no noise
    assert loudness(noise) == 1.0
    noise[5000:6500] *= 6.0  # 50 ms of it are
    assert loudness(noise) == pytest.approx(6.0, rel=0.1)
    noise[4900:6600] = 0.0  # blanked
    assert loudness(noise) == 1.0
    assert loudness(np.zeros((500, 4), np.float32)) == loudness(noise[:0]) == 1.0


def test_loud_blocks_are_told_from_most() -> None:
    assert quiet(np.array([10.0, 11.0, 9.0, 19.0])).all()
    assert quiet(np.array([10.0, 11.0, 9.0, 0.0, 500.0])).tolist() == [True, True, True, True, False]
    assert quiet(np.zeros(3)).all()


def test_thresholds_fall_again(caplog: pytest.LogCaptureFixture) -> None:
    """A minute of artifacts costs no more than itself, and is told of once."""
    caution = Caution(ProbeLayout.of(neuropixels_1_geometry(32), 32), 30_000.0, "extraction")
    factors = []
    for n_spikes in (100, 9000, 9000, 900, 100, 100, 100, 9000, 100):
        caution.see(n_spikes, 65_536)
        factors.append(caution.factor)
    assert factors == [1.0, 2.0, 4.0, 4.0, 2.0, 1.0, 1.0, 2.0, 1.0]
    assert len(caplog.records) == 2
