"""The set of templates: whitened mean waveforms as weights of waveform components on the channels near their peak."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from ...spike_band.whitening import nearest_channels
from ..preparing.detection import channels_within
from .projections import LENGTH, shifted

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]

#: A spike's energy peak is compared with templates whose main channel is this near, um.
EVALUATION_UM: Final = 60.0
#: Every template spans the channels this near its main one (um), however many that are on a dense probe.
TEMPLATE_UM: Final = 48.0
#: Lags over which two templates are compared, samples.
SIMILARITY_LAGS: Final = 10


@dataclass(frozen=True, eq=False)
class ProbeLayout:
    """What the position of channels means for templates.

    Attributes
    ----------
    positions
        float64 (n_channels, 2) um.
    local
        int64 (n_channels, n_local): the channels that a template spans, by its main channel, which comes first.
    near
        int64 (n_channels, n): channels within the evaluation radius, nearest first, padded with -1.
    interacts
        bool (n_channels, n_channels): whether templates with these main channels share a channel.
    around
        int64 (n_channels, n): channels that templates near each channel span, padded with -1.
    """

    positions: npt.NDArray[np.float64]
    local: Int64
    near: Int64
    interacts: npt.NDArray[np.bool_]
    around: Int64

    @classmethod
    def of(cls, positions: npt.NDArray[np.float64], n_local: int) -> ProbeLayout:
        """Work out neighbourhoods of the `n_local` nearest channels, or more where these reach less than 48 um.

        32 channels of a 1.0 probe reach 160 um, of a 2.0 probe 120 um: farther than a spike. Those of an Ultra probe
        reach 19 um, and a template that ends amid its spike leaves half of it to be found again.
        """
        within = int((channels_within(positions, TEMPLATE_UM) >= 0).sum(axis=1).max(initial=0))
        local = np.stack(nearest_channels(positions, np.ones(len(positions), np.bool_), max(n_local, within)))
        member = np.zeros((len(positions), len(positions)), np.float32)
        np.put_along_axis(member, local, 1.0, axis=1)
        near = channels_within(positions, EVALUATION_UM)
        spanned = [np.unique(local[row[row >= 0]]) for row in near]
        around = np.full((len(positions), max(map(len, spanned), default=1)), -1, np.int64)
        for row, channels in zip(around, spanned, strict=True):
            row[: len(channels)] = channels
        return cls(positions, local, near, member @ member.T > 0, around)

    @property
    def n_channels(self) -> int:
        """Number of channels."""
        return len(self.positions)


@dataclass(frozen=True, eq=False)
class TemplateBank:
    """Templates.

    Attributes
    ----------
    layout
        The probe.
    basis
        float32 (61, K): waveform components, orthonormal.
    main
        int64 (n_templates,): channel with most energy.
    weights
        float32 (n_templates, n_local, K): mean projections on the channels ``layout.local[main]``, noise SDs.
    """

    layout: ProbeLayout
    basis: Float32
    main: Int64
    weights: Float32

    def __len__(self) -> int:
        return len(self.main)

    @property
    def norms(self) -> npt.NDArray[np.float64]:
        """Sizes of templates (``mu``), noise SDs."""
        norms: npt.NDArray[np.float64] = np.sqrt((self.weights.astype(np.float64) ** 2).sum(axis=(1, 2)))
        return norms

    def units(self) -> Float32:
        """Return the weights scaled to norm 1."""
        scaled: Float32 = (self.weights / np.maximum(self.norms, 1e-12)[:, None, None]).astype(np.float32)
        return scaled

    def by_channel(self) -> Int64:
        """Return the templates to compare a spike on each channel with, int64 (n_channels, n), -1 at the end."""
        at: list[list[int]] = [[] for _ in range(self.layout.n_channels)]
        for template, channel in enumerate(self.main):
            at[channel].append(template)
        lists = [sorted(template for other in near[near >= 0] for template in at[other]) for near in self.layout.near]
        table = np.full((len(lists), max(max(map(len, lists), default=0), 1)), -1, np.int64)
        for row, templates in zip(table, lists, strict=True):
            row[: len(templates)] = templates
        return table

    def keep(self, rows: npt.NDArray[np.bool_] | Int64) -> TemplateBank:
        """Return some of the templates."""
        return TemplateBank(self.layout, self.basis, self.main[rows], self.weights[rows])

    def joined(self, other: TemplateBank) -> TemplateBank:
        """Return these templates and those of `other`."""
        return TemplateBank(
            self.layout,
            self.basis,
            np.concatenate([self.main, other.main]),
            np.concatenate([self.weights, other.weights]),
        )

    def recentred(self) -> TemplateBank:
        """Return the templates with the main channel where most energy is now, if it has moved."""
        energy = (self.weights**2).sum(axis=2)
        channels = self.layout.local[self.main]
        main = channels[np.arange(len(self)), energy.argmax(axis=1)] if len(self) else self.main
        moved = main != self.main
        if not moved.any():
            return self
        wide = np.zeros((int(moved.sum()), self.layout.n_channels, self.weights.shape[2]), np.float32)
        rows = np.arange(len(wide))[:, None]
        wide[rows, channels[moved]] = self.weights[moved]
        weights = self.weights.copy()
        weights[moved] = wide[rows, self.layout.local[main[moved]]]
        return TemplateBank(self.layout, self.basis, main, weights)

    def unit_waveforms(self) -> Float32:
        """Return whitened waveforms of norm 1 on all channels, float32 (n_templates, 61, n_channels)."""
        waves = np.zeros((len(self), LENGTH, self.layout.n_channels), np.float32)
        for i, (main, unit) in enumerate(zip(self.main, self.units(), strict=True)):
            waves[i][:, self.layout.local[main]] = self.basis @ unit.T
        return waves

    def troughs(self) -> Int64:
        """Return the sample of each template at which its main channel is largest (0 at the template's start)."""
        waves = np.einsum("sk,nk->ns", self.basis, self.weights[:, 0]) if len(self) else np.zeros((0, LENGTH))
        troughs: Int64 = np.abs(waves).argmax(axis=1).astype(np.int64)
        return troughs

    def similarity(self, lags: int = SIMILARITY_LAGS) -> tuple[Float32, Float32]:
        """Return the largest correlation of every two templates over lags, in quarters of a sample, and that lag.

        A sharp waveform and itself half a sample later correlate at 0.95: whole samples would make two units of one.

        Returns
        -------
        similarity
            float32 (n, n), 1 on the diagonal; 0 where two templates share no channel.
        lag
            float32 (n, n): ``lag[i, j]`` samples after template `i`, template `j` looks most like it.
        """
        n = len(self)
        similarity, best_lag = np.eye(n, dtype=np.float32), np.zeros((n, n), np.float32)
        steps, products = lag_products(self.basis, lags)
        units, channels = self.units(), self.layout.local[self.main]
        place = np.full(self.layout.n_channels, -1, np.int64)
        for i in range(n):
            place[:] = -1
            place[channels[i]] = np.arange(channels.shape[1])
            others = np.flatnonzero(self.layout.interacts[self.main[i], self.main])
            others = others[others > i]
            if not len(others):
                continue
            row = place[channels[others]]
            mine = np.where(row[..., None] >= 0, units[i][row], 0.0)  # template i on the channels of the others
            pairs = mine.transpose(0, 2, 1) @ units[others]
            correlation = pairs.reshape(len(others), -1) @ products.reshape(len(steps), -1).T
            top = correlation.argmax(axis=1)
            value = correlation[np.arange(len(others)), top]
            similarity[i, others] = similarity[others, i] = value
            best_lag[i, others], best_lag[others, i] = steps[top], -steps[top]
        return similarity, best_lag


def lag_products(basis: Float32, lags: int) -> tuple[Float32, Float32]:
    """Return lags in quarters of a sample, and for each ``[j, k]``: component `j` times component `k` so much later."""
    steps = np.arange(-4 * lags, 4 * lags + 1) / 4.0
    products = np.empty((len(steps), basis.shape[1], basis.shape[1]), np.float32)
    for step, product in zip(steps, products, strict=True):
        whole = int(np.floor(step))
        later = shifted(basis, step - whole)
        a, b = basis[max(whole, 0) : LENGTH + min(whole, 0)], later[max(-whole, 0) : LENGTH - max(whole, 0)]
        product[:] = a.T @ b
    return steps.astype(np.float32), products
