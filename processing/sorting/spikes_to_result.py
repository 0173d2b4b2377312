"""A full sorting from nothing but spike times and units: templates, features and labels measured on the recording."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ..quality_metrics.features import FEATURE_SAMPLES, spike_features
from ..readers.binary import BinaryRecording
from ..recording import Recording
from ..sorted_spikes import SortedSpikes
from ..spike_band.whitening import SCALE
from ..waveforms import mean_waveforms
from .parameters import SortingParameters
from .preparing.registration import PreparedRecording, prepare_recording
from .result import SortingResult
from .templates.template_bank import SIMILARITY_LAGS
from .units.cutoff import refractory_labels

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]

WHITENED_FILE, FEATURES_FILE = "whitened.dat", "pc_features.npy"
#: Least norm of a template, noise SDs: units without a whole waveform in the recording have none.
LEAST_NORM: Final = 1e-6


def result_from_spikes(
    recording: Recording,
    samples: npt.ArrayLike,
    units: npt.ArrayLike,
    n_units: int,
    folder: Path,
    *,
    channels: npt.ArrayLike | None = None,
    parameters: SortingParameters | None = None,
    details: dict[str, Any] | None = None,
) -> SortingResult:
    """Measure a sorting's templates, amplitudes, features and labels, in the form that the native sorter leaves.

    The recording is filtered and whitened as for the native sorter (without drift correction). A unit's template is its
    mean whitened waveform; features are three principal components on the unit's peak channel and the 12 to either
    side; a unit is good by its autocorrelogram, as Kilosort 2 decides.

    Parameters
    ----------
    recording
        Spike band, medians subtracted, not filtered.
    samples, units
        Sample and unit (0 to ``n_units - 1``) of each spike, in any order.
    folder
        Existing folder for the whitened recording and the features; the result maps the latter.
    channels
        Channels to use; chosen as for the native sorter by default.
    parameters
        Of filter, whitening and labels (``fshigh``, ``whitening_range``, ``fcontam``), and the seed.
    details
        For :attr:`SortingResult.details`.

    Raises
    ------
    SpikeTrainError
        If spikes do not fit the recording, or units do not fit `n_units`.
    TooFewChannelsError, RecordingTooShortError, NonFiniteError, DiskFullError
        As :func:`.registration.prepare_recording`.
    """
    p = parameters or SortingParameters()
    spikes = SortedSpikes.from_arrays(samples, units, unit_ids=np.arange(n_units), n_samples=recording.n_samples)
    order = np.lexsort((spikes.units, spikes.samples))
    spikes = SortedSpikes.from_arrays(spikes.samples[order], spikes.units[order], unit_ids=np.arange(n_units))
    prepared = prepare_recording(recording, parameters=p, channels=channels)
    # Written, as waveforms and features are gathered in several passes.
    whitened = BinaryRecording(
        prepared.write(folder / WHITENED_FILE),
        n_columns=prepared.n_channels,
        sampling_rate=prepared.sampling_rate,
        uv_per_bit=1 / SCALE,  # samples come out in noise SDs
        geometry=prepared.positions,
    )
    means = mean_waveforms(whitened, spikes, seed=p.seed)
    features = spike_features(whitened, spikes, means, file=folder / FEATURES_FILE, seed=p.seed)
    waves = np.ascontiguousarray(means.mean[:, :, :FEATURE_SAMPLES].transpose(0, 2, 1))
    norms = np.sqrt(np.square(waves).sum(axis=(1, 2)))
    templates = (waves / np.maximum(norms, LEAST_NORM)[:, None, None]).astype(np.float32)
    good, contamination = refractory_labels(
        spikes.samples / whitened.sampling_rate, spikes.unit_index, n_units, fcontam=p.fcontam
    )
    return SortingResult(
        samples=spikes.samples,
        units=spikes.unit_index,
        # Amplitudes are multiples of the mean waveform; spikes of units that have none keep 0.
        amplitudes=np.nan_to_num(features.amplitudes.astype(np.float64)) * norms[spikes.unit_index],
        templates=templates,
        template_norms=norms,
        pc_features=features.pcs,
        pc_feature_ind=features.first_sites[:, None] + np.arange(features.n_sites),
        **_channels(prepared),
        similarity=template_similarity(templates),
        good=good,
        contamination=contamination,
        sampling_rate=prepared.sampling_rate,
        details=details or {},
    )


def _channels(prepared: PreparedRecording) -> dict[str, Any]:
    return {
        "channel_map": prepared.channel_map,
        "channel_positions": prepared.positions,
        "whitening": prepared.whitening,
        "taps": prepared.taps if len(prepared.taps) > 1 else None,
    }


def template_similarity(templates: Float32, lags: int = SIMILARITY_LAGS) -> Float32:
    """Return the largest correlation of every two templates of norm 1 over lags, float32 (n, n), at least 0."""
    n, length = templates.shape[:2]
    similarity = np.zeros((n, n), dtype=np.float32)
    for lag in range(min(lags, length - 1) + 1):
        products = np.tensordot(templates[:, lag:], templates[:, : length - lag], axes=([1, 2], [1, 2]))
        np.maximum(similarity, np.maximum(products, products.T), out=similarity)
    np.fill_diagonal(similarity, 1.0)
    return similarity
