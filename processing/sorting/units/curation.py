"""From the spikes of templates to units: split, merge, cut off, label."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from allen_ecephys.files import atomic_file

from ..parameters import SortingParameters
from ..preparing.registration import PreparedRecording
from ..result import SortingResult
from ..templates.template_bank import TemplateBank
from .cutoff import refractory_labels, set_cutoff
from .merging import find_merges, near_templates
from .splitting import SplitUnits, split_units

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]

#: Least similarity of units that merge. Kilosort 2 compares from 0.5 on: but of two spikes that overlap the smaller is
#: often missed, so any two units on the same channels seem refractory to each other, if only they fire enough.
MERGE_SIMILARITY: Final = 0.9
#: Spikes whose features are moved at a time.
BLOCK: Final = 65_536


@dataclass(frozen=True, eq=False)
class Extraction:
    """Spikes of the final pass, in order of their templates' first sample.

    Attributes
    ----------
    start, template
        int64 (n_spikes,).
    amplitude, explained
        float32 (n_spikes,): projection on the template, and root of the explained energy (``vexp``).
    features
        float32 (n_spikes, n_pcs, n_local), an array or memory map, on the channels of each spike's template.
    bank
        Templates as they were at the end.
    """

    start: Int64
    template: Int64
    amplitude: Float32
    explained: Float32
    features: npt.NDArray[np.float32]
    bank: TemplateBank


def curate(
    extraction: Extraction, prepared: PreparedRecording, features_path: Path, parameters: SortingParameters
) -> SortingResult:
    """Make units of templates: split what is bimodal, merge by similarity and correlogram, cut off, label.

    Kilosort 2 merges first. But spikes of two templates differ in where they were gathered, and would be split again
    along that border.

    Parameters
    ----------
    features_path
        File for the features of the spikes that stay, which the result maps.
    """
    e, p, bank = extraction, parameters, extraction.bank
    channels = bank.layout.local[bank.main]
    samples = e.start + bank.troughs()[e.template]
    # Where the recording begins or ends within a spike, its trough may lie outside.
    inside = (samples >= 0) & (samples < prepared.n_samples)
    times = samples / prepared.sampling_rate
    split = split_units(
        times, e.template, e.features, channels, e.template, bank.basis[:, : p.nPCs],
        n_channels=bank.layout.n_channels, AUCsplit=p.AUCsplit,
    )  # fmt: skip
    parts = _part_templates(e, split)
    similarity, _ = parts.similarity()
    same_shape = near_templates(similarity, parts.norms) & (split.parents[:, None] != split.parents)
    merged = find_merges(times, split.labels, similarity, similarity_minimum=MERGE_SIMILARITY, same_shape=same_shape)
    labels, n_units = merged[split.labels], len(split.parents)
    if p.cut_off:
        cut = set_cutoff(times, labels, e.explained, n_units, fcontam=p.fcontam, keep_mua=True)
        inside, good, contamination = inside & cut.keep, cut.good, cut.contamination
    else:
        good, contamination = refractory_labels(times, labels, n_units, fcontam=p.fcontam)
    stays = np.flatnonzero(inside)
    counts = np.bincount(labels[stays], minlength=n_units)
    listed = np.flatnonzero(counts)
    number = np.full(n_units, -1, np.int64)
    number[listed] = np.arange(len(listed))
    order = stays[np.lexsort((labels[stays], samples[stays]))]
    units = number[labels[order]]
    final = parts.keep(listed)
    features = _unit_features(e, order, units, split.parents[listed], features_path)
    return SortingResult(
        samples=samples[order],
        units=units,
        amplitudes=e.amplitude[order].astype(np.float64),
        templates=final.unit_waveforms(),
        template_norms=final.norms,
        pc_features=features,
        pc_feature_ind=bank.layout.local[final.main],
        channel_map=prepared.channel_map,
        channel_positions=prepared.positions,
        whitening=prepared.whitening,
        taps=prepared.taps if len(prepared.taps) > 1 else None,
        similarity=similarity[np.ix_(listed, listed)],
        good=good[listed],
        contamination=contamination[listed],
        sampling_rate=prepared.sampling_rate,
    )


def _unit_features(e: Extraction, order: Int64, units: Int64, parents: Int64, path: Path) -> npt.NDArray[np.float32]:
    """Write the features of chosen spikes, each on the channels of its unit; 0 on those its template does not span."""
    channels = e.bank.layout.local[e.bank.main]
    shape = (len(order), *e.features.shape[1:])
    if not len(order):
        return np.empty(shape, np.float32)
    place = np.full((len(e.bank), e.bank.layout.n_channels), -1, np.int64)
    np.put_along_axis(place, channels, np.arange(channels.shape[1])[None], axis=1)
    # An earlier result may still map the file of this name: it keeps its bytes.
    with atomic_file(path) as file:
        for first in range(0, len(order), BLOCK):
            rows = order[first : first + BLOCK]
            wanted = channels[parents[units[first : first + BLOCK]]]
            at = place[e.template[rows][:, None], wanted]
            values = np.take_along_axis(np.asarray(e.features[rows]), np.maximum(at, 0)[:, None, :], axis=2)
            values *= (at >= 0)[:, None, :]
            file.write(values.astype(np.float32).data)
    return np.memmap(path, np.float32, "r", shape=shape)


def _part_templates(e: Extraction, split: SplitUnits) -> TemplateBank:
    """Return the templates of all parts: those that were not split as they are, the others the mean of their spikes."""
    bank, parents = e.bank, split.parents
    weights = bank.weights[parents].copy()
    for part in np.flatnonzero(np.isin(parents, parents[split.is_new])):
        rows = np.flatnonzero(split.labels == part)
        total = np.zeros(e.features.shape[1:])
        for first in range(0, len(rows), BLOCK):
            total += e.features[rows[first : first + BLOCK]].sum(axis=0, dtype=np.float64)
        weights[part, :, : e.features.shape[1]] = (total / max(len(rows), 1)).T
    return TemplateBank(bank.layout, bank.basis, bank.main[parents], weights)
