"""Decide which sorted units are noise: the release's template tests, then rules on waveforms and spike trains.

In the release the template tests were followed by a look at every remaining unit; the second set of rules stands in for
most of that look. A unit that is not noise is called ``good``, which is no claim that it is a single neuron: whether it
is one, a sorter's label says by its refractory period, and how complete and clean it is, the bounds on quality metrics.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from allen_ecephys.errors import explains_unknown_names

from ..shanks import ShankLines
from ..spike_band.adc_phase import Definition, check_definition
from .noise_templates import TEMPLATE_SAMPLES, TemplateThresholds, noise_template_tests

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

    from ..sorted_spikes import SortedSpikes


#: Samples at the start of the window whose mean is a channel's level before the spike.
BASELINE_SAMPLES = 8
#: Length (s) of the release's recordings, two and a half hours, to which its least number of spikes belongs.
RELEASE_SECONDS = 9_000.0


@explains_unknown_names
@dataclass(frozen=True)
class NoiseThresholds:
    """Limits of the rules that call a unit noise.

    Attributes
    ----------
    template
        Limits of the template tests.
    min_spikes, min_firing_rate
        Fewer spikes, or a lower rate (Hz): the template died out.
    definition
        ``"corrected"``: `min_spikes` belong to the two and a half hours of the release's recordings, and a shorter one
        needs as many fewer; a unit whose only fault is that it fires seldom is marked, not called noise.
        ``"release"``: `min_spikes` whatever the length, and such a unit is noise.
    min_amplitude, min_snr
        Trough (uV) and signal-to-noise ratio below *both* of which the raw data hold no waveform.
    max_extent
        Energy-weighted mean distance (um) to the template's centre.
    edge_spread
        um; a template wider than this whose peak is the last channel of a run of sites is an artefact of the edge.
    lobe_height, max_lobes
        More than `max_lobes` lobes above this fraction of the trough within 1 ms after it: an oscillation.
    window_end
        Fraction of the peak to which the waveform is back at both ends of its window.
    coincidence_window, coincidence_distance, max_coincidence
        Samples, um, fraction of spikes: spikes at one time far apart on the probe (along a shank, or on another) are
        electrical artefacts.

    Examples
    --------
    >>> NoiseThresholds(min_spikes=50).min_spikes
    50
    """

    template: TemplateThresholds = field(default_factory=TemplateThresholds)
    min_spikes: int = 100
    min_firing_rate: float = 0.01
    min_amplitude: float = 15.0
    min_snr: float = 1.0
    max_extent: float = 100.0
    edge_spread: float = 200.0
    lobe_height: float = 0.4
    max_lobes: int = 1
    window_end: float = 0.5
    coincidence_window: int = 2
    coincidence_distance: float = 500.0
    max_coincidence: float = 0.5
    definition: Definition = "corrected"

    def __post_init__(self) -> None:
        """Refuse a definition that there is not.

        Raises
        ------
        UnknownNameError
            If there is no such definition.
        """
        check_definition(self.definition)

    def least_spikes(self, duration: float) -> float:
        """Return the fewest spikes of a unit that did not die out, in a recording of so many seconds.

        Examples
        --------
        >>> NoiseThresholds().least_spikes(900.0), NoiseThresholds(definition="release").least_spikes(900.0)
        (10.0, 100.0)
        """
        share = 1.0 if self.definition == "release" else min(duration / RELEASE_SECONDS, 1.0)
        return self.min_spikes * share

    @property
    def noise_rules(self) -> tuple[str, ...]:
        """The rules (of ``RULES``) that call a unit noise.

        Examples
        --------
        >>> set(NoiseThresholds(definition="release").noise_rules) - set(NoiseThresholds().noise_rules)
        {'too_few_spikes'}
        """
        return RULES if self.definition == "release" else tuple(rule for rule in RULES if rule != FEW)


#: The rule that sees how seldom a unit fires, and nothing of its waveform.
FEW = "too_few_spikes"
#: Columns of the verdict, each true where its rule speaks against the unit.
RULES = (
    "fails_spread",
    "fails_time",
    "fails_foci",
    FEW,
    "no_waveform",
    "too_extended",
    "at_edge",
    "oscillates",
    "coincident",
)


def find_noise_units(
    waveforms: ArrayLike,
    geometry: ArrayLike,
    spikes: SortedSpikes,
    *,
    snr: ArrayLike,
    duration: float,
    shanks: ArrayLike | None = None,
    sampling_rate: float = 30000.0,
    masked_channels: ArrayLike = (),
    noise_floor: ArrayLike | None = None,
    thresholds: NoiseThresholds | None = None,
) -> pd.DataFrame:
    """Judge every unit.

    Parameters
    ----------
    waveforms
        Mean waveform (uV) of each unit, shape (n_units, n_channels, n_samples), trough near sample 20. The template
        tests see the first 61 samples.
    geometry
        Positions (um), shape (n_channels, 2).
    spikes
        The units' spikes; rows of `waveforms` are ``spikes.unit_ids``.
    snr
        Signal-to-noise ratio of each unit, shape (n_units,).
    duration
        Length (s) of the recording, for the firing rate.
    shanks
        Shank of each channel, shape (n_channels,); told by position by default.
    masked_channels
        Channels without usable data (references, dead); they take no part in the tests.
    noise_floor
        Size (uV) below which a channel's mean waveform is no more than what averaging left of the noise, shape
        (n_units, n_channels): set to zero, as it is in a sorter's templates. See :func:`noise_floor_of`. Default: none.
    thresholds
        Limits of all rules.

    Returns
    -------
    pandas.DataFrame
        Index ``unit_id``; the numbers the rules saw, one bool column for each rule (see ``RULES``), ``positive_peak``
        (peak larger than trough: likely an axon; kept), ``quality`` ("good" or "noise") and ``reasons`` (names of the
        rules that call it noise, separated by commas).

    Examples
    --------
    >>> from allen_ecephys.processing.waveforms import mean_waveforms, waveform_metrics
    >>> spikes, band = recorded.sorted_spikes(), bands.spike_band
    >>> waveforms = mean_waveforms(band, spikes)
    >>> snr = waveform_metrics(waveforms, band.geometry)["snr"]
    >>> noise = find_noise_units(waveforms.mean, band.geometry, spikes, snr=snr, duration=6.0)
    >>> noise[["fails_spread", "too_few_spikes", "quality"]].head(2)
             fails_spread  too_few_spikes quality
    unit_id
    0               False           False    good
    1               False           False    good
    """
    import pandas as pd

    limits = thresholds or NoiseThresholds()
    shapes = np.asarray(waveforms, dtype=np.float64)
    positions = np.asarray(geometry, dtype=np.float64)
    if noise_floor is not None:
        level = shapes[:, :, :BASELINE_SAMPLES].mean(axis=2, keepdims=True)
        silent = np.abs(shapes - level).max(axis=2) < np.asarray(noise_floor)
        shapes = np.where(silent[:, :, None], 0.0, shapes)
    masked = np.zeros(positions.shape[0], dtype=bool)
    masked[np.asarray(masked_channels, dtype=np.int64)] = True
    # Templates of a sorter are at zero before their spike; a channel's constant offset is no waveform.
    used = shapes[:, ~masked] - shapes[:, ~masked, :BASELINE_SAMPLES].mean(axis=2, keepdims=True)
    if used.shape[1] == 0:
        # A probe without one usable channel has no waveforms, and so no neurons.
        used, masked = shapes * 0.0, np.zeros_like(masked)
    lines = ShankLines.of(positions, shanks).used(np.flatnonzero(~masked))
    sites = lines.positions
    table = noise_template_tests(used[:, :, :TEMPLATE_SAMPLES], sites, limits.template, lines=lines)
    amplitude = np.ptp(used, axis=2)
    peak = amplitude.argmax(axis=1)
    at_peak = used[np.arange(len(used)), peak]
    counts = spikes.counts()
    rates = counts / duration if duration > 0 else np.zeros(counts.size)
    table["extent"] = energy_extent(amplitude, sites)
    table["coincidence"] = coincidence(spikes, lines.separation(peak[:, None], peak[None, :]), limits)
    table[FEW] = (counts < limits.least_spikes(duration)) | (rates < limits.min_firing_rate)
    table["no_waveform"] = (-at_peak.min(axis=1) < limits.min_amplitude) & ~(
        np.asarray(snr, dtype=np.float64) >= limits.min_snr
    )
    table["too_extended"] = table["extent"] > limits.max_extent
    table["at_edge"] = np.isin(peak, _last_of_runs(lines)) & (table["smoothed_spread"] > limits.edge_spread)
    table["oscillates"] = [oscillates(wave, sampling_rate, limits) for wave in at_peak]
    table["coincident"] = table["coincidence"] > limits.max_coincidence
    table["positive_peak"] = at_peak.max(axis=1) > -at_peak.min(axis=1)
    rules = limits.noise_rules
    verdicts = table[list(rules)].to_numpy(dtype=bool)
    table["quality"] = np.where(verdicts.any(axis=1), "noise", "good")
    table["reasons"] = [",".join(np.asarray(rules)[row]) for row in verdicts]
    table.index = pd.Index(spikes.unit_ids, name="unit_id")
    return table.astype({"quality": "str", "reasons": "str"})


def _last_of_runs(lines: ShankLines) -> list[int]:
    """Return the uppermost channel of each run of sites."""
    return [int(lines.members(int(run))[-1]) for run in np.unique(lines.runs)]


def noise_floor_of(sd: NDArray[np.float64], counts: NDArray[np.int64], n_errors: float = 5.0) -> NDArray[np.float64]:
    """Return five standard errors of each mean waveform, shape (n_units, n_channels).

    Parameters
    ----------
    sd, counts
        SD over spikes (n_units, n_channels, n_samples) and number of spikes (n_units,), as in ``MeanWaveforms``.
    n_errors
        Standard errors; the largest of 82 samples of averaged noise rarely exceeds four.
    """
    error = np.sqrt(np.square(sd).mean(axis=2)) / np.sqrt(np.maximum(counts, 1))[:, None]
    return np.asarray(n_errors * error)


def energy_extent(amplitude: NDArray[np.float64], positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the energy-weighted mean distance (um) of channels to each template's centre, shape (n_units,).

    Channels below a tenth of the largest amplitude (n_units, n_channels) count as silent; energy is amplitude squared.
    """
    loud = np.where(amplitude >= 0.1 * amplitude.max(axis=1, keepdims=True), amplitude, 0.0) ** 2
    total = loud.sum(axis=1, keepdims=True)
    weight = np.divide(loud, total, out=np.zeros_like(loud), where=total > 0)
    centre = weight @ positions
    distance = np.linalg.norm(positions[None] - centre[:, None], axis=2)
    return np.asarray((weight * distance).sum(axis=1))


def oscillates(waveform: NDArray[np.float64], sampling_rate: float, limits: NoiseThresholds) -> bool:
    """Tell whether a waveform (n_samples,) rings after its trough, or is not back at rest at the window's ends."""
    from scipy.signal import find_peaks

    size = np.abs(waveform).max()
    if size == 0:
        return False
    if max(abs(waveform[0]), abs(waveform[-1])) > limits.window_end * size:
        return True
    extreme = int(np.abs(waveform).argmax())
    after = np.abs(waveform[extreme : extreme + round(0.001 * sampling_rate) + 1]) / size
    lobes, _ = find_peaks(after, height=limits.lobe_height, prominence=limits.lobe_height / 2)
    return bool(lobes.size > limits.max_lobes)


def coincidence(spikes: SortedSpikes, distances: NDArray[np.float64], limits: NoiseThresholds) -> NDArray[np.float64]:
    """Return the fraction of each unit's spikes that coincide, beyond chance, with spikes far away on the probe.

    With a probability ``p`` of a coincidence and ``p0`` of one by chance (Poisson, from the rate of all far units) it
    is ``(p - p0) / (1 - p0)``, so that a thousand active units do not call each other artefacts. `distances` (um)
    are those between the units' peak channels, shape (n_units, n_units). NaN for units without spikes.
    """
    order = np.argsort(spikes.samples, kind="stable")
    times = spikes.samples[order]
    far = distances > limits.coincidence_distance
    hits = _count_coincident(times, spikes.unit_index[order], far, limits.coincidence_window)
    counts = spikes.counts()
    fraction = np.divide(hits, counts, out=np.full(counts.size, np.nan), where=counts > 0)
    span = max(int(times[-1] - times[0]), 1) if times.size else 1
    expected = (far @ counts) * (2 * limits.coincidence_window + 1) / span
    return np.asarray((fraction - 1) * np.exp(np.minimum(expected, 50.0)) + 1)


@njit(cache=True, nogil=True)
def _count_coincident(
    times: NDArray[np.int64],
    units: NDArray[np.int64],
    far: NDArray[np.bool_],
    window: int,
) -> NDArray[np.int64]:
    """Count, for each unit, spikes with another within `window` samples on a unit far away (n_units, n_units)."""
    hits = np.zeros(far.shape[0], dtype=np.int64)
    first = 0
    for i in range(times.size):
        while times[i] - times[first] > window:
            first += 1
        j = first
        while j < times.size and times[j] - times[i] <= window:
            if far[units[i], units[j]]:
                hits[units[i]] += 1
                break
            j += 1
    return hits
