"""Principal components of every spike on the channels around its unit's peak, in a memory-mapped file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from allen_ecephys.errors import MissingDataError

from ..pipeline.outputs import new_npy
from ..shanks import ShankLines
from ..waveforms.extraction import CHUNK_SAMPLES, PRE_SAMPLES, check_spikes_fit, read_windows, select_spikes

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from ..recording import Recording
    from ..sorted_spikes import SortedSpikes
    from ..waveforms import MeanWaveforms

#: Samples that are projected, the spike at sample 20.
FEATURE_SAMPLES = 61
#: How far from a unit's peak (um along the shank) its spikes are described, and components on each site.
SITE_RANGE = 120.0
N_COMPONENTS = 3
#: Sites nearer to each other than this (um) tell the same: on denser probes some are enough.
LEAST_DISTANCE = 15.0
#: Spikes of each unit from which the components are learnt.
COMPONENT_SPIKES = 100


@dataclass(frozen=True, eq=False)
class SpikeFeatures:
    """Features of all spikes of a probe.

    Attributes
    ----------
    pcs
        Projections (uV) on the components, float32, shape (n_spikes, 3, n_sites), in the order of the spikes. A memory
        map where a file was named.
    amplitudes
        Size of each spike as a multiple of its unit's mean waveform, float32, shape (n_spikes,).
    first_sites
        For each unit, the number among `channels` of its first site; its sites are consecutive. int64, shape
        (n_units,).
    channels
        Channels that describe spikes, run by run, each from the tip up, int64, shape (n_slots,). A run of sites shorter
        than a spike's neighbourhood ends with -1, which stands for no channel: its components are zero.
    components
        Waveforms of the components, float32, shape (3, 61), of unit length, positive for a typical spike.
    places, runs
        Place (um) of each of `channels` along its shank (NaN for none), float64, and the run it belongs to, int64,
        shape (n_slots,).
    shanks
        Shank of each of `channels`, int64, shape (n_slots,).

    Examples
    --------
    >>> from allen_ecephys.processing.waveforms import mean_waveforms
    >>> band, spikes = bands.spike_band, recorded.sorted_spikes()
    >>> features = spike_features(band, spikes, mean_waveforms(band, spikes))
    >>> len(features.amplitudes) == len(spikes), features.components.shape
    (True, (3, 61))
    """

    pcs: NDArray[np.float32]
    amplitudes: NDArray[np.float32]
    first_sites: NDArray[np.int64]
    channels: NDArray[np.int64]
    components: NDArray[np.float32]
    places: NDArray[np.float64]
    runs: NDArray[np.int64]
    shanks: NDArray[np.int64]

    @property
    def n_sites(self) -> int:
        """Number of sites on which each spike is described.

        Examples
        --------
        >>> from allen_ecephys.processing.waveforms import mean_waveforms
        >>> band, spikes = bands.spike_band, recorded.sorted_spikes()
        >>> features = spike_features(band, spikes, mean_waveforms(band, spikes))
        >>> features.n_sites == features.pcs.shape[2]
        True
        """
        return int(self.pcs.shape[2])


def spike_features(
    recording: Recording,
    spikes: SortedSpikes,
    waveforms: MeanWaveforms,
    *,
    masked_channels: ArrayLike = (),
    file: Path | None = None,
    seed: int = 0,
    chunk_samples: int = CHUNK_SAMPLES,
) -> SpikeFeatures:
    """Describe every spike by three components on the sites within 120 um of its unit's peak, along the shank.

    These are 25 sites of a Neuropixels 1.0 probe: the peak channel and 12 to either side, as in the release. Near the
    end of a run of sites the neighbourhood moves inwards and stays as large.

    Components are the first three singular vectors of spikes on their peak channels, not centred, so that the first is
    the typical spike. Each channel's constant offset is taken away before the projection. Two passes read the recording
    in file order: a few spikes of each unit to learn the components, then all.

    Parameters
    ----------
    recording
        Spike band (median-subtracted, or whitened).
    spikes
        Spikes in any order; windows cut by an end of the recording are filled with silence.
    waveforms
        Mean waveforms of the same units, of this recording: they say where units peak, and measure amplitudes.
    masked_channels
        Channels left out (references, dead).
    file
        ``.npy`` file to write the projections to; its space is taken before the first spike is read. Default: memory.
    seed
        For the choice of spikes that the components are learnt from.
    chunk_samples
        Samples read at a time.

    Raises
    ------
    MissingDataError
        If no channel is left.
    DiskFullError
        If the disk has no room for `file`.
    NonFiniteError, RecordingTooShortError, SpikeTrainError
        As :func:`mean_waveforms`.

    Examples
    --------
    >>> from allen_ecephys.processing.waveforms import mean_waveforms
    >>> band, spikes = bands.spike_band, recorded.sorted_spikes()
    >>> features = spike_features(band, spikes, mean_waveforms(band, spikes))
    >>> features.pcs.shape
    (161, 3, 25)
    """
    check_spikes_fit(recording, spikes)
    channels = np.setdiff1d(np.arange(recording.n_channels), np.asarray(masked_channels, dtype=np.int64))
    if channels.size == 0:
        msg = f"all {recording.n_channels} channels are masked: there is nothing to describe spikes by"
        raise MissingDataError(msg)
    lines = ShankLines.of(recording.geometry, recording.shanks).used(channels)
    slots, n_sites = site_slots(lines)
    absent = slots < 0
    channels = np.where(absent, 0, channels[slots])
    places, runs = np.where(absent, np.nan, lines.places[slots]), np.where(absent, -1, lines.runs[slots])
    shanks = np.where(absent, -1, lines.shanks[slots])
    means = waveforms.mean[:, channels]
    means[:, absent] = 0.0
    peaks = np.ptp(means, axis=2).argmax(axis=1)
    first_sites = _first_sites(peaks, runs, absent, n_sites)
    offsets = channel_offsets(recording, channels)
    scale = np.where(absent, 0.0, np.asarray(recording.uv_per_bit, dtype=np.float64)[channels])
    components = learn_components(recording, spikes, channels[peaks], offsets[peaks], seed=seed)
    templates = np.stack(
        [means[u, s : s + n_sites, :FEATURE_SAMPLES].T for u, s in enumerate(first_sites)]
        or [np.zeros((FEATURE_SAMPLES, n_sites))]
    )
    sites = first_sites[:, None] + np.arange(n_sites)
    if spikes.n_units:
        templates = templates - (offsets * scale)[sites][:, None]
    shape = (len(spikes), N_COMPONENTS, n_sites)
    pcs = np.zeros(shape, dtype=np.float32) if file is None else new_npy(file, shape)
    amplitudes = np.zeros(len(spikes), dtype=np.float32)
    project = _Projection(components, channels, offsets, scale, first_sites, templates)
    order = np.lexsort((spikes.unit_index, spikes.samples)).astype(np.int64)
    starts = spikes.samples[order] - PRE_SAMPLES
    whole = (starts >= 0) & (starts + FEATURE_SAMPLES <= recording.n_samples)
    rows, starts = order[whole], starts[whole]
    for chunk, first, part in read_windows(recording, starts, FEATURE_SAMPLES, chunk_samples, desc="features"):
        place = rows[part]
        project(chunk, starts[part] - first, spikes.unit_index[place], place, pcs, amplitudes)
    for row in order[~whole]:
        window = _padded_window(recording, int(spikes.samples[row]) - PRE_SAMPLES, channels, offsets)
        place = np.array([row])
        project(window, np.zeros(1, dtype=np.int64), spikes.unit_index[place], place, pcs, amplitudes)
    return SpikeFeatures(pcs, amplitudes, first_sites, np.where(absent, -1, channels), components, places, runs, shanks)


def site_slots(lines: ShankLines) -> tuple[NDArray[np.int64], int]:
    """Return the channels that describe spikes, and how many of them are around a peak.

    Channels follow each other run by run; of channels nearer than 15 um to one before some are left out. Runs with
    fewer than a neighbourhood are filled up with -1.
    """
    kept = []
    for run in np.unique(lines.runs):
        chosen: list[int] = []
        for channel in lines.members(int(run)).tolist():
            distance = np.hypot(*(lines.positions[chosen] - lines.positions[channel]).T)
            if not (distance < LEAST_DISTANCE - 1e-6).any():
                chosen.append(channel)
        kept.append(np.array(chosen, dtype=np.int64))
    n_sites = 1
    for members in kept:
        places = lines.places[members]
        reach = np.abs(places[:, None] - places) <= SITE_RANGE + 1e-6
        n_sites = max(n_sites, int(reach.sum(axis=1).max()))
    filled = [np.pad(m, (0, max(n_sites - m.size, 0)), constant_values=-1) for m in kept]
    return np.concatenate(filled), n_sites


def _first_sites(
    peaks: NDArray[np.int64], runs: NDArray[np.int64], absent: NDArray[np.bool_], n_sites: int
) -> NDArray[np.int64]:
    """Return the first slot of each unit's neighbourhood: its peak in the middle, or moved into the peak's run."""
    number = np.arange(runs.size)
    begins = np.flatnonzero(~absent & (np.diff(runs, prepend=-2) != 0))
    begin = begins[np.searchsorted(begins, number, side="right") - 1]
    end = np.append(begins[1:], runs.size)[np.searchsorted(begins, number, side="right") - 1]
    return np.clip(peaks - n_sites // 2, begin[peaks], end[peaks] - n_sites).astype(np.int64)


def learn_components(
    recording: Recording,
    spikes: SortedSpikes,
    peak_channels: NDArray[np.int64],
    peak_offsets: NDArray[np.float64],
    *,
    seed: int = 0,
) -> NDArray[np.float32]:
    """Return the first three singular vectors (3, 61) of up to 100 spikes of each unit on its peak channel."""
    rows = select_spikes(recording, spikes, spikes_per_unit=COMPONENT_SPIKES, seed=seed)
    snippets = np.zeros((rows.size, FEATURE_SAMPLES))
    starts, units = spikes.samples[rows] - PRE_SAMPLES, spikes.unit_index[rows]
    window = np.arange(FEATURE_SAMPLES)
    for chunk, first, part in read_windows(recording, starts, FEATURE_SAMPLES, desc="components"):
        times = (starts[part] - first)[:, None] + window
        snippets[part] = chunk[times, peak_channels[units[part], None]]
    gain = np.asarray(recording.uv_per_bit, dtype=np.float64)[peak_channels[units]]
    snippets = (snippets - peak_offsets[units, None]) * gain[:, None]
    # eigh sorts upwards. Three vectors always come out, arbitrary ones where there are too few spikes.
    vectors = np.linalg.eigh(snippets.T @ snippets)[1][:, ::-1][:, :N_COMPONENTS].T
    # Most spikes are negative at their trough, and so is then the component: their projection is positive.
    typical = vectors @ snippets.sum(axis=0)
    return np.ascontiguousarray(vectors * np.where(typical < 0, -1.0, 1.0)[:, None], dtype=np.float32)


def channel_offsets(
    recording: Recording, channels: NDArray[np.int64], *, n_windows: int = 25, window: int = 2000
) -> NDArray[np.float64]:
    """Return the median of each channel in stored units, over 25 windows spread evenly, shape (n_channels,)."""
    if recording.n_samples <= n_windows * window:
        starts = np.arange(0, recording.n_samples, window)
    else:
        starts = np.linspace(0, recording.n_samples - window, n_windows).astype(np.int64)
    pieces = [recording.read(int(s), min(int(s) + window, recording.n_samples), channels) for s in starts]
    return np.asarray(np.median(np.concatenate(pieces), axis=0), dtype=np.float64)


class _Projection:
    """Projects windows of a chunk on components and on their units' mean waveforms."""

    def __init__(
        self,
        components: NDArray[np.float32],
        channels: NDArray[np.int64],
        offsets: NDArray[np.float64],
        scale: NDArray[np.float64],
        first_sites: NDArray[np.int64],
        templates: NDArray[np.float64],
    ) -> None:
        self.components, self.channels = components, channels
        self.offsets, self.scale = offsets.astype(np.float32), scale.astype(np.float32)
        self.first_sites = first_sites
        energy = np.square(templates).sum(axis=(1, 2))[:, None, None]
        unit_templates = np.divide(templates, energy, out=np.full_like(templates, np.nan), where=energy > 0)
        self.templates = np.ascontiguousarray(unit_templates, dtype=np.float32)

    def __call__(
        self,
        chunk: NDArray[Any],
        starts: NDArray[np.int64],
        units: NDArray[np.int64],
        rows: NDArray[np.int64],
        pcs: NDArray[np.float32],
        amplitudes: NDArray[np.float32],
    ) -> None:
        """Write the features of the windows that start at `starts` to `rows` of both outputs."""
        found = np.empty((rows.size, *pcs.shape[1:]), dtype=np.float32)
        sizes = np.empty(rows.size, dtype=np.float32)
        _project(
            chunk, starts, units, self.first_sites, self.channels, self.components, self.offsets, self.scale,
            self.templates, found, sizes,
        )  # fmt: skip
        pcs[rows], amplitudes[rows] = found, sizes


@njit(cache=True, nogil=True)
def _project(
    chunk: NDArray[Any],
    starts: NDArray[np.int64],
    units: NDArray[np.int64],
    first_sites: NDArray[np.int64],
    channels: NDArray[np.int64],
    components: NDArray[np.float32],
    offsets: NDArray[np.float32],
    scale: NDArray[np.float32],
    templates: NDArray[np.float32],
    pcs: NDArray[np.float32],
    amplitudes: NDArray[np.float32],
) -> None:
    """Project windows of `chunk` (time, channel): inner loops run over neighbouring sites."""
    n_samples, n_sites = templates.shape[1], templates.shape[2]
    values = np.empty(n_sites, dtype=np.float32)
    products = np.empty(n_sites, dtype=np.float32)
    for i in range(starts.size):
        site = first_sites[units[i]]
        template, found = templates[units[i]], pcs[i]
        found[:] = 0
        products[:] = 0
        for t in range(n_samples):
            row = chunk[starts[i] + t]
            for k in range(n_sites):
                values[k] = (np.float32(row[channels[site + k]]) - offsets[site + k]) * scale[site + k]
            for k in range(n_sites):
                products[k] += values[k] * template[t, k]
                found[0, k] += values[k] * components[0, t]
                found[1, k] += values[k] * components[1, t]
                found[2, k] += values[k] * components[2, t]
        amplitudes[i] = products.sum()


def _padded_window(
    recording: Recording, start: int, channels: NDArray[np.int64], offsets: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return a window that an end of the recording cuts, the rest filled with each channel's offset."""
    window = np.zeros((FEATURE_SAMPLES, recording.n_channels))
    window[:, channels] = offsets  # where a channel stands for an empty slot too, both have its offset
    first, last = max(start, 0), min(start + FEATURE_SAMPLES, recording.n_samples)
    window[first - start : last - start] = recording.read(first, last)
    return window
