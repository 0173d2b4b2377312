"""First templates: energy peaks of a part of the recording, clustered depth window by depth window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numba
import numpy as np
import numpy.typing as npt

from ...spike_band.writing import on_threads
from ..clusters.clustering import cluster_spikes, is_separate
from ..preparing.detection import list_peaks, waveform_energy
from .template_bank import ProbeLayout, TemplateBank

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]

#: Height of a window whose spikes are clustered together, and how far around it their waveforms are compared, um.
WINDOW_UM: Final = 40.0
MARGIN_UM: Final = 40.0
#: Spikes of one window that are clustered; more say nothing new.
MOST_IN_WINDOW: Final = 12_000
#: Templates of neighbouring windows that are this similar may be one unit...
MAYBE_SAME: Final = 0.8
#: ...and are, whatever the test of their spikes says, from here on.
SURELY_SAME: Final = 0.97
COMPARED_COMPONENTS: Final = 8
#: Samples by which a peak may move when it is aligned.
ALIGNMENT_REACH: Final = 10


@dataclass(frozen=True, eq=False)
class Peaks:
    """Energy peaks and what the probe looked like then.

    Attributes
    ----------
    channel
        int64 (n,).
    weights
        float32 (n, n_local, K): projections on the channels ``layout.local[channel]``.
    """

    channel: Int64
    weights: Float32

    def __len__(self) -> int:
        return len(self.channel)

    def keep(self, which: npt.NDArray[np.bool_]) -> Peaks:
        """Return some of the peaks."""
        return self if which.all() else Peaks(self.channel[which], self.weights[which])

    @classmethod
    def concatenate(cls, parts: Sequence[Peaks], layout: ProbeLayout, n_components: int) -> Peaks:
        """Join the peaks of several stretches, in their order."""
        empty = np.empty((0, layout.local.shape[1], n_components), np.float32)
        return cls(
            np.concatenate([np.empty(0, np.int64), *(part.channel for part in parts)]),
            np.concatenate([empty, *(part.weights for part in parts)]),
        )


@numba.njit(cache=True, nogil=True)
def _align(projections: Float32, peaks: Int64) -> None:
    """Move each peak to where its channel is most like the first component.

    The energy hardly changes while a spike moves by a few samples: peaks of one unit would be anywhere among these,
    and make several templates of it.
    """
    for n in range(len(peaks)):
        t, c = peaks[n]
        row = projections[c, 0]
        best = t
        for u in range(max(t - ALIGNMENT_REACH, 0), min(t + ALIGNMENT_REACH + 1, len(row))):
            if abs(row[u]) > abs(row[best]):
                best = u
        peaks[n, 0] = best


@numba.njit(cache=True, nogil=True)
def _gather(projections: Float32, peaks: Int64, local: Int64, out: Float32) -> None:
    for n in range(len(peaks)):
        t, c = peaks[n]
        for j in range(local.shape[1]):
            for k in range(projections.shape[1]):
                out[n, j, k] = projections[local[c, j], k, t]


def peaks_in(
    projections: Float32, energy: Float32, layout: ProbeLayout, threshold: float, reach: int, start: int, stop: int
) -> Peaks:
    """Find energy peaks in samples ``[start, stop)`` of a stretch.

    Parameters
    ----------
    projections, energy
        float32 (n_channels, K, n_times) and (n_channels, n_times); `energy` is filled in.
    threshold
        Energy, noise variances.
    """
    for c in range(layout.n_channels):
        waveform_energy(projections[c], energy[c], 0, energy.shape[1])
    found = list_peaks(energy, layout.near, threshold, reach, start, stop)
    _align(projections, found)
    weights = np.empty((len(found), layout.local.shape[1], projections.shape[1]), np.float32)
    _gather(projections, found, layout.local, weights)
    return Peaks(found[:, 1].copy(), weights)


def cluster_peaks(
    peaks: Peaks, layout: ProbeLayout, basis: Float32, *, min_size: int, seed: int, n_workers: int | None = None
) -> TemplateBank:
    """Return the mean waveforms of the clusters that peaks fall into.

    Windows are clustered one by one; what two windows found of the same unit is put together.
    """

    def work(channels: Int64) -> list[Int64]:
        return _cluster_window(peaks, layout, channels, min_size, seed)

    found = on_threads(work, _windows(layout), n_workers, "clusters", "window")
    clusters = [rows for rows_of_window in found for rows in rows_of_window]
    bank = _mean_templates(peaks, clusters, layout, basis)
    return _mean_templates(peaks, _joined_across_windows(bank, clusters, peaks), layout, basis)


def _windows(layout: ProbeLayout) -> list[Int64]:
    """Return the channels of each window: 40 um of one shank."""
    x, y = layout.positions.T
    across = np.unique(x)
    shank = np.searchsorted(across[np.flatnonzero(np.diff(across) > 100.0)], x, side="left")
    step = np.floor((y - y.min(initial=np.inf)) / WINDOW_UM).astype(np.int64)
    keys = np.column_stack([shank, step])
    return [np.flatnonzero((keys == key).all(axis=1)) for key in np.unique(keys, axis=0)]


def _on_channels(peaks: Peaks, rows: Int64, layout: ProbeLayout, channels: Int64) -> Float32:
    """Return the weights of some peaks on the given channels, float32 (n, n_channels, K); 0 where not gathered."""
    place = np.full(layout.n_channels, -1, np.int64)
    place[channels] = np.arange(len(channels))
    out = np.zeros((len(rows), len(channels), peaks.weights.shape[2]), np.float32)
    for channel in np.unique(peaks.channel[rows]):
        mine = np.flatnonzero(peaks.channel[rows] == channel)
        to = place[layout.local[channel]]
        out[mine[:, None], to[to >= 0]] = peaks.weights[rows[mine]][:, to >= 0]
    return out


def _cluster_window(peaks: Peaks, layout: ProbeLayout, channels: Int64, min_size: int, seed: int) -> list[Int64]:
    """Return the rows of each cluster of a window."""
    rows = np.flatnonzero(np.isin(peaks.channel, channels))
    if len(rows) > MOST_IN_WINDOW:
        rng = np.random.default_rng([seed, int(channels[0])])
        rows = np.sort(rng.choice(rows, MOST_IN_WINDOW, replace=False))
    if len(rows) < min_size:
        return []
    distance = np.hypot(*(layout.positions[:, None] - layout.positions[None, channels]).transpose(2, 0, 1))
    around = np.flatnonzero(distance.min(axis=1) <= MARGIN_UM)
    features = _on_channels(peaks, rows, layout, around).reshape(len(rows), -1)
    labels = cluster_spikes(features, seed=seed, min_size=min_size)
    return [rows[labels == label] for label in range(int(labels.max(initial=-1)) + 1)]


def _mean_templates(peaks: Peaks, clusters: list[Int64], layout: ProbeLayout, basis: Float32) -> TemplateBank:
    main = np.empty(len(clusters), np.int64)
    weights = np.empty((len(clusters), layout.local.shape[1], basis.shape[1]), np.float32)
    for i, rows in enumerate(clusters):
        total = np.zeros((layout.n_channels, basis.shape[1]))
        for channel in np.unique(peaks.channel[rows]):
            total[layout.local[channel]] += peaks.weights[rows[peaks.channel[rows] == channel]].sum(axis=0)
        main[i] = (total**2).sum(axis=1).argmax()
        weights[i] = total[layout.local[main[i]]] / len(rows)
    return TemplateBank(layout, basis, main, weights)


def _joined_across_windows(bank: TemplateBank, clusters: list[Int64], peaks: Peaks) -> list[Int64]:
    """Put clusters together whose templates are alike and whose spikes do not fall into two heaps."""
    similarity, lag = bank.similarity()
    pairs = np.argwhere(np.triu(similarity > MAYBE_SAME, 1))
    group = np.arange(len(clusters))
    for i, j in pairs[np.argsort(-similarity[*pairs.T], kind="stable")]:
        if group[i] == group[j]:
            continue
        if similarity[i, j] > SURELY_SAME or (abs(lag[i, j]) < 1 and not _are_separate(bank, clusters, peaks, i, j)):
            group[group == group[j]] = group[i]
    return [np.concatenate([clusters[i] for i in np.flatnonzero(group == g)]) for g in np.unique(group)]


def _are_separate(bank: TemplateBank, clusters: list[Int64], peaks: Peaks, i: int, j: int) -> bool:
    """Tell whether the spikes of two clusters fall into two heaps."""
    layout = bank.layout
    channels = layout.near[bank.main[i]]
    parts = [_on_channels(peaks, clusters[k], layout, channels[channels >= 0]) for k in (i, j)]
    pooled = np.concatenate(parts).reshape(sum(map(len, parts)), -1).astype(np.float64)
    pooled -= pooled.mean(axis=0)
    # With as many dimensions as spikes any two sets can be told apart: the largest components are enough.
    axes = np.linalg.eigh(pooled.T @ pooled)[1][:, -COMPARED_COMPONENTS:]
    points = pooled @ axes
    return is_separate(points[: len(parts[0])], points[len(parts[0]) :])
