"""Matching pursuit: the cost's golden numbers, a plain twin that works on samples, and spikes that are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from allen_ecephys.processing.sorting.preparing.detection import ENERGY_COMPONENTS
from allen_ecephys.processing.sorting.preparing.drift import Drift
from allen_ecephys.processing.sorting.preparing.registration import PreparedRecording
from allen_ecephys.processing.sorting.templates import searching
from allen_ecephys.processing.sorting.templates.matching import (
    AMPLITUDE,
    COST,
    DELAY,
    PEAK_REACH,
    REFRACTORY,
    TEMPLATE,
    TIME,
    Templates,
    clean_weights,
    cost,
    match,
    match_template,
    room_for_candidates,
    room_for_spikes,
    side_by_side,
    subtract,
)
from allen_ecephys.processing.sorting.templates.projections import (
    FRACTIONS,
    LENGTH,
    PADDED,
    correlation_tables,
    fraction_of,
    padded_components,
    project,
    shifted,
)
from allen_ecephys.processing.sorting.templates.searching import CANDIDATE_ENERGY, HALO, STRETCH, Searcher
from allen_ecephys.processing.sorting.templates.template_bank import TemplateBank
from allen_ecephys.processing.timeline import Timeline

Array = npt.NDArray[Any]
Prepare = Callable[[Array], PreparedRecording]

LAM = 10.0
EXACT = FRACTIONS // 2


def kernels_view(bank: TemplateBank) -> Templates:
    """Give the bank to the kernels as it is, with all channels of every template."""
    n, n_local = bank.weights.shape[:2]
    return Templates(
        bank.main, bank.layout.local[bank.main], bank.units(), np.tile(np.arange(n_local), (n, 1)),
        np.full(n, n_local), bank.norms.astype(np.float32), bank.by_channel(), bank.layout.near, bank.layout.interacts,
        bank.layout.around,
        side_by_side(bank.by_channel(), bank.layout.around, bank.layout.local[bank.main], bank.units()),
    )  # fmt: skip


def spike(bank: TemplateBank, template: int, amplitude: float, delay: int) -> Array:
    """Return the samples of a spike, float64 (61, n_channels)."""
    wave = np.zeros((LENGTH, bank.layout.n_channels))
    unit = bank.units()[template].astype(np.float64)
    wave[:, bank.layout.local[bank.main[template]]] = amplitude * shifted(bank.basis, fraction_of(delay)) @ unit.T
    return wave


def recording(
    bank: TemplateBank, n_samples: int, spikes: list[tuple[int, int, float, int]], noise: float = 0.0, seed: int = 0
) -> Array:
    """Return samples with (time, template, amplitude, delay) spikes, float64 (n_samples, n_channels)."""
    samples = np.random.default_rng(seed).normal(scale=noise, size=(n_samples, bank.layout.n_channels))
    for time, template, amplitude, delay in spikes:
        first, last = max(time, 0), min(time + LENGTH, n_samples)
        samples[first:last] += spike(bank, template, amplitude, delay)[first - time : last - time]
    return samples


def projections_of(samples: Array, bank: TemplateBank) -> Array:
    padded = np.zeros((samples.shape[1], len(samples) + PADDED - 1), np.float32)
    padded[:, : len(samples)] = samples.T
    out = np.empty((samples.shape[1], bank.basis.shape[1], len(samples)), np.float32)
    project(padded, padded_components(bank.basis), out)
    return out


def pursued(
    samples: Array, bank: TemplateBank, threshold: float = 4.0, room: int = 500, lam: float = LAM
) -> tuple[Array, Array, Array]:
    """Run the matching pursuit: what was found, sorted by time, its sizes, and the projections that are left."""
    projections = projections_of(samples, bank)
    energy = np.empty((projections.shape[0], projections.shape[2]), np.float32)
    spikes = room_for_spikes(room, len(bank))
    n = match(
        projections, energy, threshold**2, CANDIDATE_ENERGY, lam, correlation_tables(bank.basis), kernels_view(bank),
        room_for_candidates(*energy.shape), spikes,
    )  # fmt: skip
    order = np.lexsort((spikes.found[:n, TEMPLATE], spikes.found[:n, TIME]))
    return spikes.found[order], spikes.sizes[order], projections


def test_templates_too_many_to_lie_side_by_side_are_compared_one_by_one(example_bank: TemplateBank) -> None:
    """On dense probes their weights would take gigabytes."""
    spikes = [(100, 0, 30.0, EXACT), (130, 2, 40.0, EXACT + 2), (300, 3, 14.0, EXACT)]
    projections = projections_of(recording(example_bank, 600, spikes, noise=1.0), example_bank)
    view = kernels_view(example_bank)
    assert view.together.shape[1] > 0
    alone = view._replace(together=np.zeros((len(view.near), 0, 0), np.float32))
    found = []
    for templates in (view, alone):
        left, room = projections.copy(), room_for_spikes(50, len(example_bank))
        energy = np.empty((left.shape[0], left.shape[2]), np.float32)
        n = match(
            left, energy, 16.0, CANDIDATE_ENERGY, LAM, correlation_tables(example_bank.basis), templates,
            room_for_candidates(*energy.shape), room,
        )  # fmt: skip
        found.append((room.found[:n], room.sizes[:n], left))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-4)
    np.testing.assert_allclose(found[0][2], found[1][2], atol=1e-3)


# --- the cost ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("share", "golden"),
    [(0.4881, 0.0), (0.53, 0.0801), (0.6, 0.2145), (0.8, 0.6036), (1, 1), (1.2, 1.4036), (1.5, 2.0227), (2, 3.0909)],
)
@pytest.mark.parametrize("mu", [6.0, 37.5])
def test_golden_cost(share: float, golden: float, mu: float) -> None:
    assert cost(share * mu, mu, LAM) / mu**2 == pytest.approx(golden, abs=6e-5)


@pytest.mark.parametrize(
    ("mu", "learning", "extraction"),
    [
        (6, 1.856, 0.719),
        (8, 1.278, 0.618),
        (10, 1.000, 0.572),
        (15, 0.719, 0.525),
        (20, 0.618, 0.509),
        (30, 0.546, 0.497),
        (50, 0.509, 0.491),
        (100, 0.493, 0.489),
    ],
)
def test_golden_smallest_amplitudes(mu: float, learning: float, extraction: float) -> None:
    """The smallest share of its template's size at which a spike is accepted, at Th 10 and 4."""
    shares = np.arange(0.4, 2.0, 1e-4)
    costs = np.array([cost(share * mu, mu, LAM) for share in shares])
    for threshold, golden in ((10.0, learning), (4.0, extraction)):
        assert shares[np.argmax(costs > threshold**2)] == pytest.approx(golden, abs=7e-4)


def test_cost_is_the_gain_of_the_best_amplitude() -> None:
    """Error of the samples and of the prior, least over amplitudes: |x - a w|^2 + lam (a - mu)^2, less what 0 costs."""
    amplitudes = np.linspace(0, 100, 200_001)
    for d, mu, lam in ((20.0, 25.0, 10.0), (40.0, 25.0, 3.0), (9.0, 8.0, 1.0)):
        error = amplitudes**2 - 2 * amplitudes * d + lam * (amplitudes - mu) ** 2
        assert cost(d, mu, lam) == pytest.approx(-error.min(), rel=1e-6)
    assert cost(20.0, 5.0, 0.0) == 400.0
    assert cost(-1e4, 5.0, 10.0) == -250.0


# --- the kernels -------------------------------------------------------------------------------------------------


def test_matches_are_dot_products_with_the_samples(example_bank: TemplateBank) -> None:
    samples = np.random.default_rng(1).normal(size=(300, 16))
    products = np.empty(16, np.float32)
    projections = projections_of(samples, example_bank)
    for template in range(5):
        match_template(projections, kernels_view(example_bank), template, 40, products)
        wave = spike(example_bank, template, 1.0, EXACT)
        expected = [(samples[40 + lag : 101 + lag] * wave).sum() for lag in range(16)]
        np.testing.assert_allclose(products, expected, atol=1e-4)


@pytest.mark.parametrize("delay", range(FRACTIONS))
def test_subtracting_a_spike_leaves_nothing(example_bank: TemplateBank, delay: int) -> None:
    tables = correlation_tables(example_bank.basis)
    for template, time in ((0, 150), (3, 10), (4, 330)):  # amid, and where a spike's reach is cut at either end
        projections = projections_of(recording(example_bank, 400, [(time, template, 33.0, delay)]), example_bank)
        before = np.abs(projections).max()
        subtract(projections, kernels_view(example_bank), template, 33.0, tables[delay], time)
        # The last 60 samples project what would follow the end, which a spike's cross-correlation does not know of.
        assert np.abs(projections[:, :, :340]).max() < 1e-4 * before


def test_only_active_channels_are_subtracted(example_bank: TemplateBank) -> None:
    templates = kernels_view(example_bank)._replace(n_active=np.full(5, 3))
    projections = np.zeros((16, 6, 300), np.float32)
    subtract(projections, templates, 2, 10.0, correlation_tables(example_bank.basis)[EXACT], 100)
    touched = np.flatnonzero(np.abs(projections).max(axis=(1, 2)) > 0)
    assert touched.tolist() == sorted(example_bank.layout.local[7, :3].tolist())


def test_clean_weights_are_those_of_the_spike_alone(example_bank: TemplateBank) -> None:
    spikes = [(200, 0, 33.0, EXACT), (235, 4, 27.0, EXACT), (500, 2, 44.0, EXACT)]
    found, sizes, left = pursued(recording(example_bank, 800, spikes), example_bank)
    weights = np.empty((3, 12, 6), np.float32)
    clean_weights(left, kernels_view(example_bank), found, sizes, weights)
    for row, (_, template, amplitude, _) in zip(weights, spikes, strict=True):
        np.testing.assert_allclose(row, amplitude * example_bank.units()[template], atol=0.05 * amplitude)


# --- the pursuit -------------------------------------------------------------------------------------------------


@dataclass
class PlainPursuit:
    """The same rule on samples: whole rounds, everything worked out anew in each of them."""

    bank: TemplateBank
    threshold: float

    def peaks(self, samples: Array) -> list[tuple[int, int]]:
        """List (time, channel) where the energy is largest within 8 samples on channels near."""
        components = self.bank.basis[:, :ENERGY_COMPONENTS].astype(np.float64)
        padded = np.pad(samples, ((0, PADDED), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, LENGTH, axis=0)[: len(samples)]
        energy = ((windows @ components) ** 2).sum(axis=2).T
        found = []
        for channel, time in np.argwhere(energy > CANDIDATE_ENERGY):
            near = self.bank.layout.near[channel]
            window = energy[near[near >= 0], max(time - PEAK_REACH, 0) : time + PEAK_REACH + 1]
            if energy[channel, time] == window.max():
                found.append((int(time), int(channel)))
        return found

    def best(self, samples: Array, peak: tuple[int, int], spikes: list[tuple[Any, ...]]) -> tuple[Any, ...] | None:
        """Return (cost, time, template, delay, amplitude) of what explains most at an energy peak."""
        time, channel = peak
        answer = None
        for template in self.bank.by_channel()[channel]:
            if template < 0 or time < 8 or time + 8 > len(samples):
                continue
            padded = np.pad(samples, ((0, LENGTH), (0, 0)))
            wave = spike(self.bank, int(template), 1.0, EXACT)
            begin = time - 8
            d = np.array([(padded[t : t + LENGTH] * wave).sum() for t in range(begin, begin + 16)])
            top = 1 + int(d[1:-1].argmax())
            if max(d[top - 1], d[top + 1]) > d[top]:
                edge, mu = max(d[top - 1], d[top + 1]), self.bank.norms[template]
                if max(0.0, edge + LAM * mu) ** 2 / (1 + LAM) - LAM * mu**2 <= max(answer[0] if answer else 0, 0):
                    continue
                begin += -14 if d[top - 1] > d[top] else 14
                d = np.array([(padded[t : t + LENGTH] * wave).sum() for t in range(begin, begin + 16)])
                top = 1 + int(d[1:-1].argmax())
            if d[top] <= 0 or d[top] < max(d[top - 1], d[top + 1]):
                continue
            curvature = d[top - 1] - 2 * d[top] + d[top + 1]
            x = 0.5 * (d[top - 1] - d[top + 1]) / curvature
            amplitude = d[top] - 0.25 * (d[top - 1] - d[top + 1]) * x
            mu = self.bank.norms[template]
            gain = (max(0.0, amplitude + LAM * mu)) ** 2 / (1 + LAM) - LAM * mu**2
            start = begin + top
            if any(s[2] == template and abs(s[1] - start) <= REFRACTORY for s in spikes):
                continue
            if gain > self.threshold**2 and (answer is None or gain > answer[0]):
                answer = (gain, start, int(template), round(x * (FRACTIONS - 1)) + EXACT, amplitude)
        return answer

    def run(self, samples: Array) -> list[tuple[Any, ...]]:
        """Return (time, template, delay, amplitude, cost) of all spikes, sorted."""
        samples, spikes = samples.copy(), []
        while True:
            offers = [self.best(samples, peak, spikes) for peak in self.peaks(samples)]
            possible = sorted({offer for offer in offers if offer is not None}, reverse=True)
            accepted: list[tuple[Any, ...]] = []
            for offer in possible:
                main = self.bank.main[offer[2]]
                above = possible[: possible.index(offer)]
                if not any(
                    abs(o[1] - offer[1]) < LENGTH and self.bank.layout.interacts[main, self.bank.main[o[2]]]
                    for o in above
                ):
                    accepted.append(offer)
            if not accepted:
                return sorted((time, template, delay, d, gain) for gain, time, template, delay, d in spikes)
            for _, time, template, delay, amplitude in accepted:
                last = min(time + LENGTH, len(samples))
                samples[time:last] -= spike(self.bank, template, amplitude, delay)[: last - time]
            spikes += accepted


def many_spikes(bank: TemplateBank, n_samples: int, n_spikes: int, seed: int) -> list[tuple[int, int, float, int]]:
    rng = np.random.default_rng(seed)
    times = np.sort(rng.integers(70, n_samples - 140, n_spikes))
    templates = rng.integers(0, len(bank), n_spikes)
    amplitudes = bank.norms[templates] * rng.normal(1, 0.1, n_spikes)
    delays = rng.integers(1, FRACTIONS - 1, n_spikes)
    return [(int(t), int(i), float(a), int(f)) for t, i, a, f in zip(times, templates, amplitudes, delays, strict=True)]


@pytest.mark.parametrize(("seed", "n_spikes"), [(0, 12), (1, 30), (2, 60), (5, 60)])
def test_pursuit_equals_a_plain_twin(example_bank: TemplateBank, seed: int, n_spikes: int) -> None:
    """Up to one spike every 25 samples, so that most of them overlap."""
    samples = recording(example_bank, 1500, many_spikes(example_bank, 1500, n_spikes, seed), noise=1.0, seed=seed)
    found, sizes, _ = pursued(samples, example_bank)
    expected = PlainPursuit(example_bank, 4.0).run(samples)
    assert found[:, [TIME, TEMPLATE, DELAY]].tolist() == [list(row[:3]) for row in expected]
    np.testing.assert_allclose(sizes[:, AMPLITUDE], [row[3] for row in expected], rtol=1e-3)
    np.testing.assert_allclose(sizes[:, COST], [row[4] for row in expected], rtol=2e-2)


@pytest.mark.parametrize("delay", [0, 2, 4, 7])
def test_amplitude_and_fraction_of_a_sample_are_recovered(example_bank: TemplateBank, delay: int) -> None:
    for template in range(5):
        amplitude = 1.15 * float(example_bank.norms[template])
        found, sizes, left = pursued(
            recording(example_bank, 400, [(150, template, amplitude, delay)]), example_bank, threshold=10.0
        )
        assert found[:, TEMPLATE].tolist() == [template]
        assert found[0, TIME] + fraction_of(found[0, DELAY]) == pytest.approx(150 + fraction_of(delay), abs=0.13)
        assert sizes[0, AMPLITUDE] == pytest.approx(amplitude, rel=5e-3)
        assert sizes[0, COST] == pytest.approx(cost(amplitude, example_bank.norms[template], LAM), rel=1e-2)
        assert np.abs(left).max() < 0.05 * amplitude


@pytest.mark.parametrize("apart", [0, 3, 9, 25])
def test_overlapping_spikes_are_told_apart(example_bank: TemplateBank, apart: int) -> None:
    """The two templates' main channels are neighbours."""
    spikes = [(200, 0, 30.0, EXACT), (200 + apart, 1, 20.0, EXACT)]
    found, sizes, _ = pursued(recording(example_bank, 500, spikes), example_bank)
    strong = sizes[:, COST] > 100
    assert found[strong][:, TEMPLATE].tolist() == [0, 1]
    np.testing.assert_allclose(found[strong][:, TIME], [200, 200 + apart], atol=1)
    np.testing.assert_allclose(sizes[strong][:, AMPLITUDE], [30.0, 20.0], rtol=0.25)


def test_distant_spikes_at_the_same_time_are_both_found_in_full(example_bank: TemplateBank) -> None:
    far = example_bank.keep(np.array([0, 4]))
    layout = far.layout
    channels = [set(layout.local[main, :4].tolist()) for main in far.main]
    weights = far.weights.copy()
    weights[:, 4:] = 0  # so that they share no channel
    assert not channels[0] & channels[1]
    bank = TemplateBank(layout, far.basis, far.main, weights)
    spikes = [(200, 0, float(bank.norms[0]), EXACT), (200, 1, float(bank.norms[1]), EXACT)]
    found, sizes, left = pursued(recording(bank, 500, spikes), bank)
    assert found[:, [TIME, TEMPLATE]].tolist() == [[200, 0], [200, 1]]
    np.testing.assert_allclose(sizes[:, AMPLITUDE], bank.norms, rtol=1e-4)
    np.testing.assert_allclose(np.sqrt(sizes[:, COST]), bank.norms, rtol=1e-3)
    assert np.abs(left).max() < 1e-2


@pytest.mark.parametrize("apart", [REFRACTORY - 3, REFRACTORY + 5, REFRACTORY + 20])
def test_a_neuron_does_not_fire_again_within_half_a_millisecond(example_bank: TemplateBank, apart: int) -> None:
    one = example_bank.keep(np.array([2]))
    spikes = [(200, 0, 40.0, EXACT), (200 + apart, 0, 40.0, EXACT)]
    found, _, _ = pursued(recording(one, 500, spikes), one)
    times = np.sort(found[:, TIME])
    assert (np.diff(times) > REFRACTORY).all()
    assert (len(times) >= 2) == (apart > REFRACTORY)


def test_what_does_not_fit_is_told(example_bank: TemplateBank) -> None:
    spikes = [(100 + 150 * k, 0, 30.0, EXACT) for k in range(8)]
    samples = recording(example_bank, 1500, spikes)
    assert len(pursued(samples, example_bank, room=5)[0]) == 5
    assert len(pursued(samples, example_bank, room=9)[0]) == 8


def test_small_spikes_are_not_those_of_a_large_template(example_bank: TemplateBank) -> None:
    """Less than 0.488 of the template's size is explained by it at no threshold, unless there is no prior."""
    one = example_bank.keep(np.array([2]))
    samples = recording(one, 500, [(200, 0, 0.48 * 40.0, EXACT)])
    assert len(pursued(samples, one, threshold=0.1)[0]) == 0
    assert len(pursued(samples, one, threshold=10.0, lam=0.0)[0]) == 1
    assert len(pursued(recording(one, 500, [(200, 0, 0.53 * 40.0, EXACT)]), one)[0]) == 1


# --- stretches of a recording ------------------------------------------------------------------------------------


def test_nothing_is_found_in_noise(whitened: Prepare, example_bank: TemplateBank) -> None:
    noise = np.random.default_rng(4).normal(size=(150_000, 16)).astype(np.float32)
    with Searcher(whitened(noise), example_bank.layout, example_bank.basis) as searcher:
        found = searcher.search(example_bank, 0, len(noise), threshold=10.0, lam=LAM)
    assert len(found) == 0
    assert found.weights.shape == (0, 12, 6)


def test_spikes_across_the_edges_of_stretches_are_found_once(whitened: Prepare, example_bank: TemplateBank) -> None:
    """Also the first and last samples, and the edges of what was asked for."""
    edges = [STRETCH * k for k in range(1, 10)]
    starts = [
        0,
        *(edge + shift for edge, shift in zip(edges, (-60, -31, -2, -1, 0, 1, 2, 30, 59), strict=True)),
        80_000,
    ]
    spikes = [(start, k % 5, float(example_bank.norms[k % 5]), EXACT) for k, start in enumerate(starts)]
    samples = recording(example_bank, 80_061, spikes, noise=0.3).astype(np.float32)
    with Searcher(whitened(samples), example_bank.layout, example_bank.basis) as searcher:
        whole = searcher.search(example_bank, 0, len(samples), threshold=4.0, lam=LAM)
        middle = 40_959  # one sample before the start of a spike
        halves = [searcher.search(example_bank, *b, threshold=4.0, lam=LAM) for b in ((0, middle), (middle, 80_061))]
    assert whole.start.tolist() == starts
    assert whole.template.tolist() == [k % 5 for k in range(len(starts))]
    assert np.concatenate([half.start for half in halves]).tolist() == starts
    np.testing.assert_allclose(whole.amplitude, [s[2] for s in spikes], atol=1.5)


def test_what_lies_across_a_gap_in_time_is_no_spike(whitened: Prepare, example_bank: TemplateBank) -> None:
    """Halves of two spikes that meet where samples are missing are none; spikes beside the gap stay."""
    starts = [200, 939, 1000, 1400]
    spikes = [(start, 2, 40.0, EXACT) for start in starts]
    samples = recording(example_bank, 2000, spikes, noise=0.3).astype(np.float32)
    found = {}
    for cut in (970, 1000):  # within the second spike; between it and the third
        gapped = whitened(samples)
        gapped.timeline = Timeline(2000, np.array([0, cut]), np.array([0, cut + 500]))
        with Searcher(gapped, example_bank.layout, example_bank.basis) as searcher:
            found[cut] = searcher.search(example_bank, 0, 2000, threshold=4.0, lam=LAM).start.tolist()
    assert found == {970: [200, 1000, 1400], 1000: starts}


def test_searches_with_too_little_room_are_done_again(
    whitened: Prepare, example_bank: TemplateBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = recording(example_bank, 9000, many_spikes(example_bank, 9000, 60, 7), noise=1.0).astype(np.float32)

    def search() -> searching.Found:
        with Searcher(whitened(samples), example_bank.layout, example_bank.basis) as searcher:
            return searcher.search(example_bank, 0, len(samples), threshold=4.0, lam=LAM)

    roomy = search()
    rooms: list[int] = []

    def tight(n: int, n_templates: int) -> Any:
        rooms.append(3 if n >= 1024 else n)
        return room_for_spikes(rooms[-1], n_templates)

    monkeypatch.setattr(searching, "room_for_spikes", tight)
    monkeypatch.setenv("ALLEN_ECEPHYS_THREADS", "1")
    again = search()
    assert rooms[:3] == [3, 6, 12]
    assert max(rooms) > len(roomy) > 50
    for name in ("start", "template", "amplitude", "explained", "weights"):
        np.testing.assert_array_equal(getattr(again, name), getattr(roomy, name))


def test_the_residual_holds_what_no_template_explains(whitened: Prepare, example_bank: TemplateBank) -> None:
    known, unknown = example_bank.keep(np.array([0, 1, 3])), [(400 + 300 * k, 2, 40.0, EXACT) for k in range(20)]
    spikes = [*unknown, *((550 + 300 * k, 0, 30.0, EXACT) for k in range(20))]
    samples = recording(example_bank, 7000, sorted(spikes), noise=0.5).astype(np.float32)
    with Searcher(whitened(samples), example_bank.layout, example_bank.basis) as searcher:
        found = searcher.search(known, 0, 7000, threshold=10.0, lam=LAM, residual=True)
        everything = searcher.peaks(0, 7000)
    left = found.residual.channel
    assert np.bincount(found.template, minlength=3)[0] >= 20
    assert (left == 7).sum() == 20
    assert len(everything) >= 40
    assert HALO >= 122


def test_a_template_is_compared_by_the_part_of_it_that_is_seen(
    whitened: Prepare, example_bank: TemplateBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the tissue moved past the end of the probe a spike keeps its size, and the template its shape."""
    spikes = [(400 + 300 * k, 0, 30.0, EXACT) for k in range(20)]
    samples = recording(example_bank, 7000, spikes, noise=0.5).astype(np.float32)
    hidden = np.isin(np.arange(16), [0, 1, 3])
    samples[:, hidden] = 0
    ended = whitened(samples)
    with Searcher(ended, example_bank.layout, example_bank.basis) as searcher:
        cut = searcher.search(example_bank, 0, 7000, threshold=4.0, lam=LAM)
        monkeypatch.setattr(ended, "seen", lambda start, stop: ~hidden)
        found = searcher.search(example_bank, 0, 7000, threshold=4.0, lam=LAM)
        monkeypatch.setattr(ended, "seen", lambda start, stop: np.arange(16) >= 8)
        unseen = searcher.search(example_bank, 0, 7000, threshold=4.0, lam=LAM)
    mine = found.template == 0
    assert found.start[mine].tolist() == [start for start, *_ in spikes]
    np.testing.assert_allclose(found.amplitude[mine], 30.0, atol=1.5)
    np.testing.assert_allclose(found.weights[mine].mean(axis=0), example_bank.weights[0], atol=0.5)
    least = example_bank.units()[0][hidden[example_bank.layout.local[2]]]
    assert 0.1 < (least**2).sum() < 0.7
    assert cut.amplitude[cut.template == 0].mean() < 28.0
    assert not (unseen.template == 0).any()


def test_what_is_never_seen_whole_is_looked_for_all_the_same(
    whitened: Prepare, example_bank: TemplateBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    spikes = [(400 + 300 * k, 0, 30.0, EXACT) for k in range(20)]
    ended = whitened(recording(example_bank, 7000, spikes, noise=0.5).astype(np.float32))
    monkeypatch.setattr(ended, "seen", lambda start, stop: np.arange(16) >= 4)
    with Searcher(ended, example_bank.layout, example_bank.basis) as searcher:
        assert len(searcher.peaks(0, 7000)) >= 20


def test_new_units_are_looked_for_while_all_around_them_is_seen(
    whitened: Prepare, example_bank: TemplateBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    spikes = [(400 + 300 * k, 0, 30.0, EXACT) for k in range(20)]
    samples = recording(example_bank, 7000, spikes, noise=0.5).astype(np.float32)
    moving = whitened(samples)
    # Two batches in drift: in the second the lowest channels are beyond the end of the probe.
    monkeypatch.setattr(moving, "drift", Drift(np.array([[0.0], [50.0]]), np.array([100.0]), batch_samples=3500))
    monkeypatch.setattr(moving, "seen", lambda start, stop: np.arange(16) >= (4 if start >= 3500 else 0))
    with Searcher(moving, example_bank.layout, example_bank.basis) as searcher:
        first, second = searcher.peaks(0, 3500), searcher.peaks(3500, 7000)
    assert len(first) >= 10
    assert len(second) == 0


def test_a_template_is_explained_by_its_parts(whitened: Prepare, example_bank: TemplateBank) -> None:
    both = example_bank.unit_waveforms()[[0, 2]] * example_bank.norms[[0, 2], None, None]
    layout = example_bank.layout
    total = both.sum(axis=0)
    main = np.array([7])
    weights = (example_bank.basis.T @ total[:, layout.local[7]]).T[None].astype(np.float32)
    bank = example_bank.joined(TemplateBank(layout, example_bank.basis, main, weights))
    with Searcher(whitened(np.zeros((1, 16))), layout, bank.basis) as searcher:
        parts, amplitudes = searcher.explain(searcher.templates(bank), 5, np.ones(6, np.bool_), threshold=4.0, lam=LAM)
        none, _ = searcher.explain(searcher.templates(bank), 5, np.zeros(6, np.bool_), threshold=4.0, lam=LAM)
    assert sorted(parts[:2].tolist()) == [0, 2]
    assert (amplitudes**2).sum() == pytest.approx(float(bank.norms[5]) ** 2, rel=0.1)  # all of its energy
    assert len(none) == 0
