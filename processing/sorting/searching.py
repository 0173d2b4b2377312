"""Searching stretches of a recording for the spikes of a bank of templates, on several threads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from allen_ecephys.config import threads

from .initial_templates import Peaks, peaks_in
from .matching import AMPLITUDE, COST, TEMPLATE, TIME, clean_weights, match, subtract
from .projections import FRACTIONS, LENGTH, PADDED, correlation_tables, padded_components, project
from .template_bank import ProbeLayout, TemplateBank

if TYPE_CHECKING:
    from .registration import PreparedRecording

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]

#: Samples that one thread searches at a time. Part of the result's definition, as little as it changes.
STRETCH: Final = 8192
#: Samples around a stretch that are searched with it, so that its edges know the spikes that they overlap with.
HALO: Final = 4 * LENGTH
#: Energy peaks, noise variances: those compared with templates, and those that are spikes by themselves.
CANDIDATE_ENERGY: Final = 16.0
SPIKE_ENERGY: Final = 36.0
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


class Searcher:
    """Threads that search a prepared recording, and the space they work in."""

    def __init__(self, recording: PreparedRecording, layout: ProbeLayout, basis: Float32) -> None:
        self.recording, self.layout, self.basis = recording, layout, basis
        self._components = padded_components(basis)
        self._tables = correlation_tables(basis)
        self._pool = ThreadPoolExecutor(min(threads(), os.cpu_count() or 1))

    def __enter__(self) -> Searcher:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def peaks(self, start: int, stop: int) -> Peaks:
        """Return the energy peaks of samples ``[start, stop)``, in order."""

        def work(bounds: tuple[int, int]) -> Peaks:
            first, projections = self._project(*bounds)
            energy = np.empty((self.layout.n_channels, projections.shape[2]), np.float32)
            low, high = bounds[0] - first, min(bounds[1] - first, projections.shape[2])
            return peaks_in(projections, energy, self.layout, SPIKE_ENERGY, SPIKE_REACH, low, high)[0]

        parts = list(self._pool.map(work, _stretches(start, stop)))
        return Peaks.concatenate(parts, self.layout, self.basis.shape[1])

    def search(
        self, bank: TemplateBank, start: int, stop: int, *, threshold: float, lam: float, residual: bool = False
    ) -> Found:
        """Find the spikes of `bank` whose template begins in samples ``[start, stop)``.

        Parameters
        ----------
        threshold
            Th: root of the least energy that a spike explains.
        residual
            Whether to look for spikes in what is left.
        """
        channels = self.layout.local[bank.main]
        units, norms, by_channel = bank.units(), bank.norms.astype(np.float32), bank.by_channel()

        def work(bounds: tuple[int, int]) -> Found:
            first, projections = self._project(*bounds)
            energy = np.empty((self.layout.n_channels, projections.shape[2]), np.float32)
            room = max(1024, projections.shape[2] * self.layout.n_channels // 64)
            while True:
                spikes, sizes = np.empty((room, 5), np.int64), np.empty((room, 2), np.float32)
                n = match(
                    projections, energy, threshold**2, CANDIDATE_ENERGY, lam, self._tables, self.layout.near,
                    self.layout.interacts, by_channel, bank.main, channels, units, norms, spikes, sizes,
                )  # fmt: skip
                if n < room:
                    break
                room *= 2
                first, projections = self._project(*bounds)
            owned = np.flatnonzero((spikes[:n, TIME] >= bounds[0] - first) & (spikes[:n, TIME] < bounds[1] - first))
            owned = owned[np.lexsort((spikes[owned, TEMPLATE], spikes[owned, TIME]))]
            mine, mine_sizes = spikes[owned], sizes[owned]
            weights = np.empty((len(owned), *units.shape[1:]), np.float32)
            clean_weights(projections, channels, units, mine, mine_sizes, weights)
            left = Peaks.concatenate([], self.layout, self.basis.shape[1])
            if residual:
                low, high = bounds[0] - first, min(bounds[1] - first, projections.shape[2])
                left = peaks_in(projections, energy, self.layout, SPIKE_ENERGY, SPIKE_REACH, low, high)[0]
            explained = np.sqrt(mine_sizes[:, COST])
            return Found(mine[:, TIME] + first, mine[:, TEMPLATE], mine_sizes[:, AMPLITUDE], explained, weights, left)

        return self._joined(list(self._pool.map(work, _stretches(start, stop))))

    def explain(
        self, bank: TemplateBank, template: int, others: npt.NDArray[np.bool_], *, threshold: float, lam: float
    ) -> tuple[Int64, Float32]:
        """Match one template's own waveform with some of the others: their numbers, and amplitudes."""
        middle = 2 * LENGTH
        channels, units = self.layout.local[bank.main], bank.units()
        projections = np.zeros((self.layout.n_channels, self.basis.shape[1], 2 * middle), np.float32)
        exact = self._tables[FRACTIONS // 2]
        subtract(projections, channels[template], units[template], -float(bank.norms[template]), exact, middle)
        energy = np.empty((self.layout.n_channels, 2 * middle), np.float32)
        candidates = others.copy()
        candidates[template] = False
        # A template so large that no spike is half its size takes no part.
        norms = np.where(candidates, bank.norms, 1e6).astype(np.float32)
        spikes, sizes = np.empty((16, 5), np.int64), np.empty((16, 2), np.float32)
        n = match(
            projections, energy, threshold**2, CANDIDATE_ENERGY / 2, lam, self._tables, self.layout.near,
            self.layout.interacts, bank.by_channel(), bank.main, channels, units, norms, spikes, sizes,
        )  # fmt: skip
        return spikes[:n, TEMPLATE], sizes[:n, AMPLITUDE]

    def _project(self, start: int, stop: int) -> tuple[int, Float32]:
        """Return the first sample of a stretch with its halo, and its projections.

        Past the ends of the recording there are zeros, so that its first and last spikes are looked for too.
        """
        first, last = start - HALO, stop + HALO
        samples = np.zeros((self.layout.n_channels, last - first + PADDED - 1), np.float32)
        low, high = max(first, 0), min(last + PADDED - 1, self.recording.n_samples)
        samples[:, low - first : high - first] = self.recording.read(low, high).T
        projections = np.empty((self.layout.n_channels, self.basis.shape[1], last - first), np.float32)
        project(samples, self._components, projections)
        return first, projections

    def _joined(self, parts: list[Found]) -> Found:
        n_local, n_components = self.layout.local.shape[1], self.basis.shape[1]
        return Found(
            np.concatenate([np.empty(0, np.int64), *(p.start for p in parts)]),
            np.concatenate([np.empty(0, np.int64), *(p.template for p in parts)]),
            np.concatenate([np.empty(0, np.float32), *(p.amplitude for p in parts)]),
            np.concatenate([np.empty(0, np.float32), *(p.explained for p in parts)]),
            np.concatenate([np.empty((0, n_local, n_components), np.float32), *(p.weights for p in parts)]),
            Peaks.concatenate([p.residual for p in parts], self.layout, n_components),
        )


def _stretches(start: int, stop: int) -> Iterator[tuple[int, int]]:
    for first in range(start, stop, STRETCH):
        yield first, min(first + STRETCH, stop)
