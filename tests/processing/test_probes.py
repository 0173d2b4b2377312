"""Probes: sites, shanks and converters, against probeinterface's catalogue of all kinds."""

from __future__ import annotations

import numpy as np
import pytest

from allen_ecephys.errors import UnknownNameError
from allen_ecephys.processing.probes import adc_wiring, neuropixels_1_geometry, neuropixels_1_wiring, probe_model
from allen_ecephys.processing.shanks import ShankLines, shanks_by_position

PARTS = (
    "NP1000", "NP1010", "NP1015", "NP1020", "NP1032", "NP1100", "NP1110", "NP1121", "NP1200", "NP1300", "NP2000",
    "NP2003", "NP2006", "NP2013", "NP2014", "NP2020", "NP2022", "NP3000", "NP3010", "NP3020",
    "PRB_1_4_0480_1", "PRB2_1_2_0640_0", "PRB2_4_2_0640_0",
)  # fmt: skip


@pytest.mark.parametrize("part_number", PARTS)
def test_every_probe_has_the_sites_and_the_converters_of_the_catalogue(part_number: str) -> None:
    tools = pytest.importorskip("probeinterface.neuropixels_tools")
    full = tools.build_neuropixels_probe(part_number)
    model = probe_model(part_number)
    shanks = np.zeros(len(model.shanks)) if full.shank_ids is None else full.shank_ids.astype(int)
    np.testing.assert_array_equal(model.shanks, shanks)
    sites = full.contact_positions
    if part_number == "NP1000":  # the mirror image of the same sites, in the convention of sorters
        sites = np.array([59.0, 20.0]) + np.array([-1.0, 1.0]) * sites
    np.testing.assert_allclose(model.positions, sites)
    _, *rows = full.annotations["adc_sampling_table"].strip("()").split(")(")
    channels = [[int(c) for c in row.split() if int(c) < model.n_channels] for row in rows]
    wiring = adc_wiring(part_number, np.sort(np.concatenate(channels)).astype(np.int64))
    assert wiring is not None
    numbers = np.sort(np.concatenate(channels))
    for turn, together in enumerate(channels):
        found = np.isin(numbers, together)
        assert (wiring.turns[found] == turn).all()
        assert (wiring.turns[~found] != turn).all()
    assert wiring.n_turns == (13 if len(rows) == 12 else 16)


def test_converters_of_the_release_and_of_unknown_probes() -> None:
    wiring = neuropixels_1_wiring()
    np.testing.assert_array_equal(wiring.groups, np.arange(384) % 24)
    some = wiring.of([30, 1, 383])
    assert some.groups.tolist() == [6, 1, 23]
    assert some.turns.tolist() == [3, 0, 11]
    assert adc_wiring("NP9999") is None
    assert adc_wiring("") is None
    with pytest.raises(UnknownNameError, match="did you mean 'NP"):
        probe_model("NP2012")


def test_places_of_the_release_are_ten_micrometers_a_channel() -> None:
    for shift in (0.0, 3000.0):
        geometry = neuropixels_1_geometry() + np.array([0.0, shift])
        lines = ShankLines.of(geometry)
        np.testing.assert_array_equal(lines.order, np.arange(384))
        np.testing.assert_array_equal(lines.places, 10.0 * np.arange(384) + 20.0 + shift)
        assert (lines.pitches.tolist(), lines.columns.tolist()) == ([10.0], [2])
    mirrored = neuropixels_1_geometry() * [-1.0, 1.0]
    np.testing.assert_array_equal(ShankLines.of(mirrored).order, np.arange(384))


def test_channels_left_out_take_no_room() -> None:
    """In the release a reference channel between two others does not set them farther apart."""
    used = np.setdiff1d(np.arange(384), [0, 36, 75, 76])
    lines = ShankLines.of(neuropixels_1_geometry()).used(used)
    np.testing.assert_array_equal(np.diff(lines.places), np.full(379, 10.0))
    np.testing.assert_array_equal(lines.order, np.arange(380))


def test_places_follow_rows_columns_and_gaps() -> None:
    model = probe_model("NP2013")
    sites = np.concatenate([1280 * shank + np.arange(96) for shank in range(4)])
    numbers = np.random.default_rng(0).permutation(384)
    lines = ShankLines.of(model.positions[sites][numbers], model.shanks[sites][numbers])
    assert lines.pitches.tolist() == [7.5] * 4
    assert lines.columns.tolist() == [2] * 4
    np.testing.assert_array_equal(lines.runs, model.shanks[sites][numbers])
    for run in range(4):
        np.testing.assert_array_equal(np.diff(lines.places[lines.members(run)]), np.full(95, 7.5))
    np.testing.assert_array_equal(shanks_by_position(model.positions), model.shanks)
    dense = ShankLines.of(probe_model("NP1110").positions[:384])
    assert (dense.pitches.tolist(), dense.columns.tolist()) == ([0.75], [8])
    # Two blocks of sites far apart on one shank are two runs; every second row is a line of twice the pitch.
    rows = np.r_[0:96, 480:576]
    lines = ShankLines.of(neuropixels_1_geometry(960)[rows])
    assert lines.runs.tolist() == [0] * 96 + [1] * 96
    sparse = ShankLines.of(neuropixels_1_geometry(960).reshape(-1, 4, 2)[:, :2].reshape(-1, 2))
    assert sparse.pitches.tolist() == [20.0]
    single = ShankLines.of(neuropixels_1_geometry(96)[::4])
    assert (single.pitches.tolist(), single.columns.tolist()) == ([40.0], [1])


def test_separation_is_along_a_shank_and_across_shanks() -> None:
    lines = ShankLines.of([[0.0, 0.0], [32.0, 0.0], [0.0, 15.0], [250.0, 0.0], [250.0, 15.0]])
    assert lines.separation(0, [1, 2]).tolist() == [0.0, 15.0]
    assert lines.separation(0, 3) == 250.0
    np.testing.assert_allclose(lines.separation(0, 4), np.hypot(250, 15))
