"""Searching stretches of a recording for the spikes of a bank of templates, on several threads."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import local
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from allen_ecephys.config import threads

from ...spike_band.whitening import SCALE
from ..preparing.loudness import loudness
from .caution import Caution
from .initial_templates import Peaks, peaks_in
from .matching import (
    AMPLITUDE,
    COST,
    TEMPLATE,
    TIME,
    Candidates,
    Spikes,
    Templates,
    clean_weights,
    match,
    room_for_candidates,
    room_for_spikes,
    side_by_side,
    subtract,
)
from .projections import FRACTIONS, LENGTH, PADDED, correlation_tables, padded_components, project, spread_channels
from .template_bank import ProbeLayout, TemplateBank

if TYPE_CHECKING:
    from ..preparing.registration import PreparedRecording

logger = logging.getLogger(__name__)

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]

#: Samples that one thread searches at a time. Part of the result's definition, as little as it changes.
STRETCH: Final = 8192
#: Samples around a stretch that are searched with it, so that its edges know the spikes that they overlap with.
HALO: Final = 4 * LENGTH
#: Energy peaks, noise variances: those compared with templates, and those that are spikes by themselves.
CANDIDATE_ENERGY: Final = 20.0
SPIKE_ENERGY: Final = 36.0
#: Share of a template's energy on its weakest channels, which hold more noise than waveform: they are not subtracted.
LEFT_OUT: Final = 0.005
#: Samples within which a spike of its own is the largest.
SPIKE_REACH: Final = 30


@dataclass(frozen=True, eq=False)
class Found:
    """Spikes found in a stretch or batch, in order of time.

    Attributes
    ----------
    start
        int64 (n,): first sample of the template.
    template
        int64 (n,).
    amplitude, explained
        float32 (n,): projection on the template of norm 1, and root of the energy that the spike explains (``vexp``).
    weights
        float32 (n, n_local, K): the spike without all others, on the template's channels.
    residual
        Energy peaks that no template explains; empty unless asked for.
    """

    start: Int64
    template: Int64
    amplitude: Float32
    explained: Float32
    weights: Float32
    residual: Peaks

    def __len__(self) -> int:
        return len(self.start)


@dataclass(eq=False)
class _Workspace:
    """One thread's arrays: memory that is taken from the system again and again costs more than the work done in it."""

    samples: Float32
    projections: Float32
    energy: Float32
    candidates: Candidates
    spikes: Spikes
    loudness: float = 1.0


class Searcher:
    """Threads that search a prepared recording, and the space they work in."""

    def __init__(self, recording: PreparedRecording, layout: ProbeLayout, basis: Float32) -> None:
        self.recording, self.layout, self.basis = recording, layout, basis
        self._components = padded_components(basis)
        self._tables = correlation_tables(basis)
        self._pool = ThreadPoolExecutor(min(threads(), os.cpu_count() or 1))
        self._own = local()
        self._told = False

    def __enter__(self) -> Searcher:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def caution(self, title: str) -> Caution:
        """Return the caution of one pass, which `title` names to the user."""
        return Caution(self.layout, self.recording.sampling_rate, title)

    def peaks(self, start: int, stop: int, caution: Caution | None = None) -> Peaks:
        """Return the energy peaks of samples ``[start, stop)``, in order."""
        factor = 1.0 if caution is None else caution.factor

        def work(bounds: tuple[int, int]) -> tuple[Peaks, float]:
            space = self._project(*bounds)
            return self._peaks_of(space, bounds, factor), space.loudness

        parts, levels = zip(*self._pool.map(work, _stretches(start, stop)), strict=True)
        self._tell_of(start, max(levels))
        found = self.joined_peaks(list(parts))
        if caution is not None:
            caution.see(len(found), stop - start)
        return found

    def search(
        self,
        bank: TemplateBank,
        start: int,
        stop: int,
        *,
        threshold: float,
        lam: float,
        residual: bool = False,
        caution: Caution | None = None,
    ) -> Found:
        """Find the spikes of `bank` whose template begins in samples ``[start, stop)``.

        Parameters
        ----------
        threshold
            Th: root of the least energy that a spike explains.
        caution
            Raises all thresholds if batch after batch holds absurdly many spikes.
        residual
            Whether to look for spikes in what is left.
        """
        templates, factor = self.templates(bank), 1.0 if caution is None else caution.factor

        def work(bounds: tuple[int, int]) -> tuple[Found, float]:
            space = self._project(*bounds)
            times = factor * space.loudness**2
            while True:
                spikes = self._room_for_spikes(space, len(bank))
                n = match(
                    space.projections, space.energy, times * threshold**2, times * CANDIDATE_ENERGY, lam,
                    self._tables, templates, space.candidates, spikes,
                )  # fmt: skip
                if n < len(spikes.found):
                    break
                space.spikes = room_for_spikes(2 * n, 0)
                self._project(*bounds)
            found, sizes = spikes.found[:n], spikes.sizes[:n]
            owned = np.flatnonzero((found[:, TIME] >= HALO) & (found[:, TIME] < HALO + bounds[1] - bounds[0]))
            owned = owned[self._unbroken(found[owned, TIME] + (bounds[0] - HALO))]
            owned = owned[np.lexsort((found[owned, TEMPLATE], found[owned, TIME]))]
            found, sizes = found[owned], sizes[owned]
            weights = np.empty((len(owned), *templates.units.shape[1:]), np.float32)
            clean_weights(space.projections, templates, found, sizes, weights)
            left = self._peaks_of(space, bounds, factor) if residual else self.joined_peaks([])
            start = found[:, TIME] + (bounds[0] - HALO)
            spikes_of = Found(start, found[:, TEMPLATE], sizes[:, AMPLITUDE], np.sqrt(sizes[:, COST]), weights, left)
            return spikes_of, space.loudness

        parts, levels = zip(*self._pool.map(work, _stretches(start, stop)), strict=True)
        self._tell_of(start, max(levels))
        joined = self._joined(list(parts))
        if caution is not None:
            caution.see(max(len(joined), len(joined.residual)), stop - start)
        return joined

    def _tell_of(self, start: int, loudness: float) -> None:
        """Say once that thresholds rise with the noise."""
        if loudness > 1.0 and not self._told:
            self._told = True
            logger.warning(
                "at %.1f s the recording is %.1f times as loud as usual; there, and wherever else it is louder, "
                "thresholds rise with the noise",
                start / self.recording.sampling_rate, loudness,
            )  # fmt: skip

    def explain(
        self, templates: Templates, template: int, others: npt.NDArray[np.bool_], *, threshold: float, lam: float
    ) -> tuple[Int64, Float32]:
        """Match one template's own waveform with some of the others: their numbers, and amplitudes."""
        middle = 2 * LENGTH
        projections = np.zeros((self.layout.n_channels, self.basis.shape[1], 2 * middle), np.float32)
        exact = self._tables[FRACTIONS // 2]
        subtract(projections, templates, template, -float(templates.norms[template]), exact, middle)
        candidates = others.copy()
        candidates[template] = False
        # A template so large that no spike is half its size takes no part.
        templates = templates._replace(norms=np.where(candidates, templates.norms, 1e6).astype(np.float32))
        energy = np.empty((self.layout.n_channels, 2 * middle), np.float32)
        spikes = room_for_spikes(16, len(others))
        n = match(
            projections, energy, threshold**2, CANDIDATE_ENERGY / 2, lam, self._tables, templates,
            room_for_candidates(*energy.shape), spikes,
        )  # fmt: skip
        return spikes.found[:n, TEMPLATE], spikes.sizes[:n, AMPLITUDE]

    def templates(self, bank: TemplateBank) -> Templates:
        """Return a bank as the kernels read it, without the weakest channels of its templates."""
        layout, units = self.layout, bank.units()
        energy = (units**2).sum(axis=2)
        active = np.argsort(-energy, axis=1, kind="stable")
        falling = np.take_along_axis(energy, active, axis=1)
        before = np.cumsum(falling, axis=1) - falling
        n_active = (before < 1.0 - LEFT_OUT).sum(axis=1)
        for unit, order, n in zip(units, active, n_active, strict=True):
            unit[order[n:]] = 0
        return Templates(
            bank.main, layout.local[bank.main], units, active, n_active.astype(np.int64),
            bank.norms.astype(np.float32), (listed := bank.by_channel()), layout.near, layout.interacts, layout.around,
            side_by_side(listed, layout.around, layout.local[bank.main], units),
        )  # fmt: skip

    def _unbroken(self, starts: Int64) -> npt.NDArray[np.bool_]:
        """Return which templates that begin at these samples no gap in time cuts: what lies across one is no spike."""
        timeline = self.recording.timeline
        return np.ones(len(starts), np.bool_) if timeline is None else timeline.holds(starts, LENGTH)

    def _peaks_of(self, space: _Workspace, bounds: tuple[int, int], factor: float) -> Peaks:
        stop = HALO + bounds[1] - bounds[0]
        least = factor * space.loudness**2 * SPIKE_ENERGY
        return peaks_in(space.projections, space.energy, self.layout, least, SPIKE_REACH, HALO, stop)

    def _project(self, start: int, stop: int) -> _Workspace:
        """Project a stretch with its halo.

        Past the ends of the recording there are zeros, so that its first and last spikes are looked for too.
        """
        space: _Workspace | None = getattr(self._own, "space", None)
        if space is None:
            space = self._own.space = self._workspace()
        first = start - HALO
        low, high = max(first, 0), min(stop + HALO + PADDED - 1, self.recording.n_samples)
        space.samples[:] = 0
        counts = self.recording.counts(low, high)
        spread_channels(counts, 1 / SCALE, space.samples[:, low - first : high - first])
        space.loudness = loudness(space.samples[:, : stop + HALO - first].T)
        project(space.samples, self._components, space.projections)
        return space

    def _workspace(self) -> _Workspace:
        n_channels, n_times = self.layout.n_channels, STRETCH + 2 * HALO
        return _Workspace(
            np.empty((n_channels, n_times + PADDED - 1), np.float32),
            np.empty((n_channels, self.basis.shape[1], n_times), np.float32),
            np.empty((n_channels, n_times), np.float32),
            room_for_candidates(n_channels, n_times),
            room_for_spikes(max(1024, n_channels * n_times // 64), 0),
        )

    def _room_for_spikes(self, space: _Workspace, n_templates: int) -> Spikes:
        return space.spikes._replace(last=np.empty(n_templates, np.int64))

    def joined_peaks(self, parts: list[Peaks]) -> Peaks:
        """Return the peaks of several batches together."""
        return Peaks.concatenate(parts, self.layout, self.basis.shape[1])

    def _joined(self, parts: list[Found]) -> Found:
        n_local, n_components = self.layout.local.shape[1], self.basis.shape[1]
        return Found(
            np.concatenate([np.empty(0, np.int64), *(p.start for p in parts)]),
            np.concatenate([np.empty(0, np.int64), *(p.template for p in parts)]),
            np.concatenate([np.empty(0, np.float32), *(p.amplitude for p in parts)]),
            np.concatenate([np.empty(0, np.float32), *(p.explained for p in parts)]),
            np.concatenate([np.empty((0, n_local, n_components), np.float32), *(p.weights for p in parts)]),
            self.joined_peaks([p.residual for p in parts]),
        )


def _stretches(start: int, stop: int) -> Iterator[tuple[int, int]]:
    for first in range(start, stop, STRETCH):
        yield first, min(first + STRETCH, stop)
