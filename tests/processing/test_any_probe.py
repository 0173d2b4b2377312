"""The same true unit measures the same on every probe and site map: geometry decides, never channel numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allen_ecephys.processing.probes import probe_model
from allen_ecephys.processing.quality_metrics.drift import spike_depths
from allen_ecephys.processing.quality_metrics.features import SITE_RANGE, site_slots
from allen_ecephys.processing.shanks import ShankLines
from allen_ecephys.processing.simulation.raw.probe import RecordedProbe, recorded_probe
from allen_ecephys.processing.simulation.raw.templates import UnitShapes, waveform
from allen_ecephys.processing.sorted_spikes import SortedSpikes
from allen_ecephys.processing.unit_cleaning.noise_templates import noise_template_tests
from allen_ecephys.processing.unit_cleaning.noise_units import find_noise_units
from allen_ecephys.processing.waveforms.propagation import PropagationMetrics, propagation_metrics

pytest.importorskip("probeinterface")

#: Part number and sites (None: the lowest) of the probes that units are measured on.
PROBES = {
    "1.0, lowest sites": ("NP1000", None),
    "1.0, sites 192 to 575": ("NP1000", np.arange(192, 576)),
    "1.0, two stretches": ("NP1000", np.r_[0:192, 576:768]),
    "1.0, linear, NHP": ("NP1022", None),
    "2.0": ("NP2003", None),
    "2.0, four shanks": ("NP2014", None),
    "2.0, blocks of four shanks": ("NP2014", np.r_[0:48, 96:144, 1280:1376, 2608:2656, 2704:2752, 3840:3936]),
    "2.0, one of four shanks": ("NP2014", 1280 + np.arange(384)),
    "Ultra": ("NP1100", None),
}


def one_unit(x: float, y: float, decay: float, slowness: float) -> UnitShapes:
    values = {"x": x, "y": y, "z": 15.0, "amplitude_uv": 200.0, "decay_um": decay, "polarity": 1.0}
    values |= {"trough_ms": 0.12, "peak_ms": 0.3, "peak_delay_ms": 0.5, "peak_share": 0.3}
    values |= {"slowness_up": slowness, "slowness_down": slowness}
    return UnitShapes(**{name: np.array([value]) for name, value in values.items()})


@dataclass
class Measured:
    """What one unit measures on one probe."""

    propagation: PropagationMetrics
    noise_reasons: str
    extent_um: float
    drift_um: float


def measure(probe: RecordedProbe, shank: int, offset: float, height: float, decay: float, slowness: float) -> Measured:
    """Measure a unit `offset` um beside the left column of a shank, in the longest run of sites."""
    lines = ShankLines.of(probe.geometry, probe.shanks)
    runs, counts = np.unique(lines.runs[probe.shanks == shank], return_counts=True)
    run = lines.members(int(runs[counts.argmax()]))
    x, y = probe.geometry[run].T
    low, high = y.min() + 110, y.max() - 110
    center, depth = x.min() + 8 + offset, (low + high) / 2 + (height - 0.5) * max(high - low, 0)
    unit = one_unit(center, depth, decay, slowness)
    template = 400 * waveform(unit, 0, probe.geometry, 30_000.0).T
    moved = 400 * waveform(unit, 0, probe.geometry, 30_000.0, shift_um=30.0).T
    template *= (np.ptp(template, axis=1) > 0.02 * np.ptp(template, axis=1).max())[:, None]
    peak = int(np.ptp(template, axis=1).argmax())
    rng = np.random.default_rng(0)
    spikes = SortedSpikes.from_arrays(np.sort(rng.integers(0, 30_000 * 60, 500)), np.zeros(500, np.int64))
    table = find_noise_units(
        template[None], probe.geometry, spikes, snr=[5.0], duration=60.0, shanks=probe.shanks
    ).iloc[0]
    slots, n_sites = site_slots(lines)
    at = int(np.ptp(template[slots], axis=1).argmax())
    own = np.flatnonzero(lines.runs[slots] == lines.runs[slots[at]])
    first = int(np.clip(at - n_sites // 2, own[0], own[-1] + 1 - n_sites))
    sites = slots[first : first + n_sites]
    profiles = np.stack([-shape[sites].min(axis=1) for shape in (template, moved)]).astype(np.float32)
    profiles[profiles < 0.05 * profiles.max()] = 0.0
    before, after = spike_depths(profiles, lines.places[sites])
    return Measured(
        propagation_metrics(template, peak, lines), table["reasons"], float(table["spread"]), float(after - before)
    )


@pytest.mark.parametrize("name", PROBES)
@settings(max_examples=4, deadline=None)
@given(
    offset=st.floats(-8, 8), height=st.floats(0.1, 0.9), decay=st.floats(20, 32), shank=st.integers(0, 3),
    slowness=st.floats(0.2, 1.5),
)  # fmt: skip
def test_one_unit_is_one_unit_on_any_probe(
    name: str, offset: float, height: float, decay: float, shank: int, slowness: float
) -> None:
    part_number, sites = PROBES[name]
    probe = recorded_probe(part_number, sites=sites)
    shanks = np.unique(probe.shanks)
    here = measure(probe, int(shanks[shank % shanks.size]), offset, height, decay, slowness)
    there = measure(recorded_probe(), 0, offset, height, decay, slowness)
    assert here.noise_reasons == there.noise_reasons == ""
    assert here.drift_um == pytest.approx(30.0, abs=5.0)
    assert here.propagation.spread == pytest.approx(there.propagation.spread, abs=32.0)
    assert here.propagation.spread_corrected == pytest.approx(2 * here.propagation.spread, rel=0.35)
    assert here.extent_um == pytest.approx(there.extent_um, abs=70.0)


@pytest.mark.parametrize(
    ("name", "pitch", "n_sites"),
    [("1.0, lowest sites", 10.0, 25), ("2.0", 7.5, 33), ("2.0, four shanks", 7.5, 33), ("Ultra", 6.0, 39)],
)
def test_spikes_are_described_on_the_same_stretch_of_tissue(name: str, pitch: float, n_sites: int) -> None:
    """120 um to either side, on sites that are not closer than 15 um: 25 of a 1.0 probe, as in the release."""
    part_number, sites = PROBES[name]
    probe = recorded_probe(part_number, sites=sites)
    lines = ShankLines.of(probe.geometry, probe.shanks)
    slots, found = site_slots(lines)
    assert found == n_sites
    middle = slots[: np.count_nonzero(lines.runs[slots] == 0)]
    middle = middle[len(middle) // 2 - found // 2 :][:found]
    assert np.ptp(lines.places[middle]) == pytest.approx(2 * SITE_RANGE, abs=2 * pitch)


def test_runs_too_short_for_a_neighbourhood_are_filled_up() -> None:
    """One stranded channel on another shank: its spikes are described by it alone, and no other shank's sites."""
    model = probe_model("NP2014")
    chosen = np.r_[0:40, 1280]
    lines = ShankLines.of(model.positions[chosen], model.shanks[chosen])
    slots, n_sites = site_slots(lines)
    assert n_sites == 33
    assert slots[:40].tolist() == list(range(40))
    assert slots[40:].tolist() == [40] + [-1] * 32


@pytest.mark.parametrize("part_number", ["NP1000", "NP2003", "NP1100"])
def test_artefacts_are_artefacts_on_any_probe(part_number: str) -> None:
    probe = recorded_probe(part_number)
    lines = ShankLines.of(probe.geometry)
    shape = waveform(one_unit(0, 0, 25, 0.5), 0, np.zeros((1, 2)), 30_000.0, n_samples=61)[:, 0]
    y = probe.geometry[:, 1]
    single, wide = np.zeros((2, len(y), 61))
    single[200] = shape
    near = np.abs(y - np.median(y)) <= 140  # the same everywhere over 280 um at once: no cell is so large
    wide[near] = shape
    table = noise_template_tests(np.stack([single, wide]), probe.geometry, lines=lines)
    assert table["fails_spread"].tolist() == [True, True]
