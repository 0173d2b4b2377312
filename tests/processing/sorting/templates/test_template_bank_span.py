"""How far a template reaches: 32 channels where these reach past a spike, as many as it takes where sites are dense."""

from __future__ import annotations

import numpy as np
import pytest

from allen_ecephys.processing.simulation.raw.probe import recorded_probe
from allen_ecephys.processing.sorting.templates.template_bank import TEMPLATE_UM, ProbeLayout
from allen_ecephys.processing.spike_band.whitening import nearest_channels

pytest.importorskip("probeinterface")


@pytest.mark.parametrize("part_number", ["NP1000", "NP1032", "NP2003", "NP2013"])
def test_the_nearest_32_channels_where_they_reach_past_a_spike(part_number: str) -> None:
    positions = recorded_probe(part_number).geometry
    expected = nearest_channels(positions, np.ones(len(positions), np.bool_), 32)
    np.testing.assert_array_equal(ProbeLayout.of(positions, 32).local, np.stack(expected))


@pytest.mark.parametrize("part_number", ["NP1100", "NP1121"])
def test_all_channels_that_a_spike_reaches_on_a_dense_probe(part_number: str) -> None:
    """32 channels of an Ultra probe reach 19 um: spikes were found again and again, by their middle and their edges."""
    positions = recorded_probe(part_number).geometry
    local = ProbeLayout.of(positions, 32).local
    distance = np.hypot(*(positions[:, None] - positions[None]).transpose(2, 0, 1))
    for channel in (0, 150, 383):
        near = np.flatnonzero(distance[channel] <= TEMPLATE_UM)
        assert set(near) <= set(local[channel])
    np.testing.assert_array_equal(local[:, 0], np.arange(len(positions)))
