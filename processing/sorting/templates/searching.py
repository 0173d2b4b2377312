"""Searching stretches of a recording for the spikes of a bank of templates, on several threads."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
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
Bools = npt.NDArray[np.bool_]

#: Samples that one thread searches at a time. Part of the result's definition, as little as it changes.
STRETCH: Final = 8192
#: Samples around a stretch that are searched with it, so that its edges know the spikes that they overlap with.
HALO: Final = 4 * LENGTH
#: Energy peaks, noise variances: those compared with templates, and those that are spikes by themselves.
CANDIDATE_ENERGY: Final = 20.0
SPIKE_ENERGY: Final = 36.0
#: Share of a template's energy on its weakest channels, which hold more noise than waveform: they are not subtracted.
LEFT_OUT: Final = 0.005
#: Size of a template that takes no part: no spike is half as large.
TAKES_NO_PART: Final = 1e6
#: A template of which less of its energy is seen (where the tissue moved past the end of the probe) takes no part.
LEAST_SHARE: Final = 0.3
#: Share of a recording for which the surroundings of a channel are seen whole, if spikes of these times are enough.
ENOUGH_CLEAR: Final = 0.25
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
        factor, clear = 1.0 if caution is None else caution.factor, self._clear(self.recording.seen(start, stop))

        def work(bounds: tuple[int, int]) -> tuple[Peaks, float]:
            space = self._project(*bounds)
            return self._peaks_of(space, bounds, factor, clear), space.loudness

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
        seen, factor = self.recording.seen(start, stop), 1.0 if caution is None else caution.factor
        templates = self.templates(bank, seen)
        shares, hidden = templates.norms / bank.norms.astype(np.float32), ~seen[templates.channels]
        wholes = bank.units()
        clear = self._clear(seen)

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
            left = self._peaks_of(space, bounds, factor, clear) if residual else self.joined_peaks([])
            start, template = found[:, TIME] + (bounds[0] - HALO), found[:, TEMPLATE]
            amplitudes = np.divide(sizes[:, AMPLITUDE], shares[template], dtype=np.float32)
            # What is not seen of a spike is taken to be as its template has it.
            rows, columns = np.nonzero(hidden[template])
            weights[rows, columns] = amplitudes[rows, None] * wholes[template[rows], columns]
            spikes_of = Found(start, template, amplitudes, np.sqrt(sizes[:, COST]), weights, left)
            return spikes_of, space.loudness

        parts, levels = zip(*self._pool.map(work, _stretches(start, stop)), strict=True)
        self._tell_of(start, max(levels))
        joined = self._joined(list(parts))
        if caution is not None:
            caution.see(max(len(joined), len(joined.residual)), stop - start)
        return joined

    def _clear(self, seen: Bools) -> Bools:
        """Tell on which channels new units may be looked for while these are `seen`.

        A spike that is cut off by the probe's end looks like another unit's: where all around a channel is seen for a
        quarter of the recording (:data:`ENOUGH_CLEAR`), units are looked for then.
        """
        return self._whole(seen) | ~self._usually_whole

    def _whole(self, seen: Bools) -> Bools:
        near = self.layout.near
        return np.asarray((seen[near] | (near < 0)).all(axis=1))

    @cached_property
    def _usually_whole(self) -> Bools:
        drift, n_samples = self.recording.drift, self.recording.n_samples
        size = drift.batch_samples
        bounds = [(size * b, min(size * (b + 1), n_samples)) for b in range(len(drift.shift_um))]
        whole = [self._whole(self.recording.seen(*b)) for b in bounds]
        return np.asarray(np.mean(whole, axis=0) >= ENOUGH_CLEAR)

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
        templates = templates._replace(norms=np.where(candidates, templates.norms, TAKES_NO_PART).astype(np.float32))
        energy = np.empty((self.layout.n_channels, 2 * middle), np.float32)
        spikes = room_for_spikes(16, len(others))
        n = match(
            projections, energy, threshold**2, CANDIDATE_ENERGY / 2, lam, self._tables, templates,
            room_for_candidates(*energy.shape), spikes,
        )  # fmt: skip
        return spikes.found[:n, TEMPLATE], spikes.sizes[:n, AMPLITUDE]

    def templates(self, bank: TemplateBank, seen: Bools | None = None) -> Templates:
        """Return a bank as the kernels read it, without the weakest channels of its templates.

        Where only a part of a template is `seen` it is compared by that part, and its size is that part's; one of
        which hardly anything is seen takes no part.
        """
        layout, units, norms = self.layout, bank.units(), bank.norms.astype(np.float32)
        if seen is not None and not seen.all():
            units[~seen[layout.local[bank.main]]] = 0
            shares = np.sqrt((units**2).sum(axis=(1, 2)))
            units /= np.maximum(shares, 1e-6)[:, None, None]
            norms = np.where(shares**2 >= LEAST_SHARE, norms * shares, TAKES_NO_PART).astype(np.float32)
        energy = (units**2).sum(axis=2)
        active = np.argsort(-energy, axis=1, kind="stable")
        falling = np.take_along_axis(energy, active, axis=1)
        before = np.cumsum(falling, axis=1) - falling
        n_active = (before < 1.0 - LEFT_OUT).sum(axis=1)
        for unit, order, n in zip(units, active, n_active, strict=True):
            unit[order[n:]] = 0
        return Templates(
            bank.main, layout.local[bank.main], units, active, n_active.astype(np.int64),
            norms, (listed := bank.by_channel()), layout.near, layout.interacts, layout.around,
            side_by_side(listed, layout.around, layout.local[bank.main], units),
        )  # fmt: skip

    def _unbroken(self, starts: Int64) -> npt.NDArray[np.bool_]:
        """Return which templates that begin at these samples no gap in time cuts: what lies across one is no spike."""
        timeline = self.recording.timeline
        return np.ones(len(starts), np.bool_) if timeline is None else timeline.holds(starts, LENGTH)

    def _peaks_of(self, space: _Workspace, bounds: tuple[int, int], factor: float, clear: Bools) -> Peaks:
        stop = HALO + bounds[1] - bounds[0]
        least = factor * space.loudness**2 * SPIKE_ENERGY
        peaks = peaks_in(space.projections, space.energy, self.layout, least, SPIKE_REACH, HALO, stop)
        return peaks.keep(clear[peaks.channel])

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
