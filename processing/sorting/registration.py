"""From a raw recording to what the sorter reads: filtered, referenced, whitened, and held still where the probe moved.

One pass over the recording, in blocks of 8192 samples that depend on nothing but their own samples: the result is the
same to the bit whatever the chunks and however many threads.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import GeometryError, RecordingTooShortError

from ..recording import Recording
from ..spike_band.blocks import BLOCK_SAMPLES, SpikeBandPlan
from ..spike_band.common_reference import reference_floors
from ..spike_band.depth_estimation import ProbeInfo
from ..spike_band.filtering import HALO
from ..spike_band.ingest import QuantizedRecording
from ..spike_band.streaming import CHUNK_SAMPLES, filtered_blocks, plan_for, stream_whitened
from ..spike_band.whitening import SCALE, LocalWeights, covariance_band, local_weights
from .channels import ChannelLevels, channel_levels, choose_channels
from .parameters import SortingParameters

logger = logging.getLogger(__name__)

Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

#: Fewer channels than this share no common median: it would hold too much of their own spikes.
LEAST_REFERENCED: Final = 16


@dataclass(frozen=True, eq=False)
class PreparedRecording:
    """What the sorter reads.

    Attributes
    ----------
    path
        int16 (n_samples, n_channels), C order: noise SD 200 counts, channels in depth order.
    n_samples
        Number of samples, as in the recording.
    sampling_rate
        Hz.
    channel_map
        int64 (n_channels,): the recording's number of each channel.
    positions
        float64 (n_channels, 2) um.
    whitening
        float64 (n_channels, n_channels): ``whitened / 200 = filtered @ whitening``, `filtered` in the recording's
        counts (with drift: registered to where the tissue is on average).
    n_clipped, n_saturated
        Values beyond the range of int16; samples blanked around moments at which the converters were saturated.
    """

    path: Path
    n_samples: int
    sampling_rate: float
    channel_map: Int64
    positions: Float64
    whitening: Float64
    n_clipped: int
    n_saturated: int

    @property
    def n_channels(self) -> int:
        """Number of channels."""
        return len(self.channel_map)

    def counts(self) -> np.memmap[Any, np.dtype[np.int16]]:
        """Return the file as a read-only memory map, int16 (n_samples, n_channels)."""
        return np.memmap(self.path, dtype=np.int16, mode="r", shape=(self.n_samples, self.n_channels))

    def read(self, start: int, stop: int) -> Float32:
        """Return samples ``[start, stop)`` in SDs of the noise, float32 (stop - start, n_channels)."""
        samples: Float32 = self.counts()[start:stop] * np.float32(1 / SCALE)
        return samples


def as_counts(recording: Recording) -> Recording:
    """Return the recording with int16 samples; others are quantised, and NaN or infinite ones refused when read."""
    return recording if recording.dtype == np.int16 else QuantizedRecording(recording)


def sorting_plan(
    recording: Recording,
    channels: Int64,
    levels: ChannelLevels,
    parameters: SortingParameters,
    info: ProbeInfo | None = None,
) -> SpikeBandPlan:
    """Gather what turns raw counts into filtered and referenced ones.

    With `info`, the medians of channels that are digitised together are subtracted before the filter, as in the
    release. Without, offsets are subtracted before and the median over all chosen channels after it (Kilosort 2's
    common reference), unless there are fewer than 16; a recording whose medians were subtracted before stays as it is
    but for a fraction of a count.
    """
    plan = plan_for(recording, info, parameters.fshigh)
    if info is not None:
        return plan
    members = np.zeros(recording.n_channels, bool)
    members[channels] = len(channels) >= LEAST_REFERENCED
    return replace(plan, offsets=levels.offsets, reference=reference_floors(members) if members.any() else None)


def whitening_weights(
    recording: Recording, channels: Int64, plan: SpikeBandPlan, parameters: SortingParameters
) -> LocalWeights:
    """Return the local whitening of the chosen channels, one row of weights each, over the recording's channels.

    Raises
    ------
    RecordingTooShortError
        If there are fewer samples than channels to be whitened together.
    """
    n_neighbors = min(parameters.whitening_range, len(channels))
    if recording.n_samples < n_neighbors:
        msg = (
            f"the recording has {recording.n_samples} samples; whitening {n_neighbors} channels together needs at "
            f"least {n_neighbors}"
        )
        raise RecordingTooShortError(msg)
    good = np.zeros(recording.n_channels, bool)
    good[channels] = True
    covariance = covariance_band(filtered_blocks(recording, plan), recording.geometry, good, n_neighbors)
    weights = local_weights(covariance, recording.geometry, good, n_neighbors=n_neighbors)
    return LocalWeights(weights.neighbors[channels], weights.weights[channels])


def dense_whitening(weights: LocalWeights, channels: Int64) -> Float64:
    """Return the matrix (in, out) over the chosen channels that gives noise SDs."""
    matrix = np.zeros((len(channels), len(channels)))
    place = {int(channel): i for i, channel in enumerate(channels)}
    for j, (near, values) in enumerate(zip(weights.neighbors, weights.weights, strict=True)):
        for channel, value in zip(near.tolist(), values.tolist(), strict=True):
            if value:
                matrix[place[channel], j] += value / SCALE
    return matrix


def prepare_recording(
    recording: Recording,
    path: str | os.PathLike[str],
    *,
    parameters: SortingParameters | None = None,
    info: ProbeInfo | None = None,
    channels: npt.ArrayLike | None = None,
    chunk_samples: int = CHUNK_SAMPLES,
    n_workers: int | None = None,
) -> PreparedRecording:
    """Filter, reference and whiten a recording into a file; reuse the file if the same call has made it before.

    Parameters
    ----------
    recording
        Raw or median-subtracted samples. Samples that are not int16 are quantised to 0.195 uV.
    path
        File to write. Beside it ``<name>.json`` says what it was made from and ``<name>.npz`` holds its arrays.
    info
        Offsets and masks of raw samples whose medians are to be subtracted as in the release; see `sorting_plan`.
    channels
        Channels to sort; chosen by default (:func:`.channels.choose_channels`).
    chunk_samples, n_workers
        Samples read at a time, and threads. They change no result.

    Raises
    ------
    TooFewChannelsError
        If fewer than four channels can be sorted.
    RecordingTooShortError
        If there are fewer samples than channels to be whitened together.
    NonFiniteError
        If samples are NaN or infinite.
    DiskFullError
        If the disk has no room for the file.
    """
    p, target = parameters or SortingParameters(), Path(path)
    source = as_counts(recording)
    levels = channel_levels(source, p.fshigh)
    if channels is None:
        chosen = choose_channels(source, p, good=None if info is None else info.mask, levels=levels)
    else:
        chosen = _checked_channels(channels, source.n_channels)
    facts = _facts(source, chosen, p, info)
    found = _reopen(target, facts)
    if found is not None:
        logger.info("reusing %s", target)
        return found
    plan = sorting_plan(source, chosen, levels, p, info)
    weights = whitening_weights(source, chosen, plan, p)
    arrays = {
        "channel_map": chosen,
        "positions": source.geometry[chosen],
        "whitening": dense_whitening(weights, chosen),
    }
    return _write(source, plan, lambda _: weights, target, facts, arrays, chunk_samples, n_workers)


def _checked_channels(channels: npt.ArrayLike, n_channels: int) -> Int64:
    chosen = np.asarray(channels, dtype=np.int64)
    if chosen.ndim != 1 or not len(chosen) or chosen.min() < 0 or chosen.max() >= n_channels:
        msg = f"channels {chosen.tolist()[:10]}... are not channels 0 to {n_channels - 1} of the recording"
        raise GeometryError(msg)
    if len(np.unique(chosen)) != len(chosen):
        msg = f"channels holds {len(chosen) - len(np.unique(chosen))} channels twice; name each once"
        raise GeometryError(msg)
    return chosen


def _facts(recording: Recording, channels: Int64, p: SortingParameters, info: ProbeInfo | None) -> dict[str, Any]:
    """Say everything the file depends on, as JSON gives it back."""
    from allen_ecephys import __version__

    facts = {
        "version": __version__,
        "source": _identity(recording),
        "shape": [recording.n_samples, len(channels)],
        "sampling_rate": recording.sampling_rate,
        "channels": _digest(channels, recording.geometry),
        "info": None if info is None else _digest(info.offsets, info.mask, np.array(info.air_channel)),
        "fshigh": p.fshigh,
        "whitening_range": p.whitening_range,
        "blocks": [BLOCK_SAMPLES, HALO],
    }
    return dict(json.loads(json.dumps(facts)))


def _identity(recording: Recording) -> list[Any] | None:
    """Tell one state of the recording's file; None for a recording that has none, which is never reused."""
    path = getattr(getattr(recording, "source", recording), "path", None)
    if path is None:
        return None
    facts = Path(path).stat()
    return [str(Path(path).resolve()), facts.st_size, facts.st_mtime_ns]


def _digest(*arrays: npt.NDArray[Any]) -> str:
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(f"{array.dtype}{array.shape}".encode())
        sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()


def _reopen(path: Path, facts: dict[str, Any]) -> PreparedRecording | None:
    """Return what an earlier call left, if it was made from the same facts and is whole."""
    try:
        stored = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        counts = stored.pop("counts")
        if facts["source"] is None or stored != facts or path.stat().st_size != 2 * int(np.prod(facts["shape"])):
            return None
        with np.load(path.with_suffix(".npz"), allow_pickle=False) as arrays:
            return PreparedRecording(
                path, facts["shape"][0], facts["sampling_rate"],
                **{name: arrays[name] for name in ("channel_map", "positions", "whitening")}, **counts,
            )  # fmt: skip
    except (FileNotFoundError, KeyError, ValueError, AttributeError):
        return None


def _write(
    recording: Recording,
    plan: SpikeBandPlan,
    weights_at: Callable[[int], LocalWeights],
    path: Path,
    facts: dict[str, Any],
    arrays: dict[str, npt.NDArray[Any]],
    chunk_samples: int,
    n_workers: int | None,
) -> PreparedRecording:
    """Write the samples under another name, rename them, and say last what they were made from."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".json").unlink(missing_ok=True)
    temporary = path.with_name(f"{path.name}.tmp-{uuid4().hex[:8]}")
    try:
        counts = asdict(
            stream_whitened(
                recording, plan, weights_at, temporary,
                n_columns=len(arrays["channel_map"]), chunk_samples=chunk_samples, n_workers=n_workers,
            )
        )  # fmt: skip
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    np.savez(path.with_suffix(".npz"), **arrays)
    path.with_suffix(".json").write_text(json.dumps({**facts, "counts": counts}, indent=1), encoding="utf-8")
    return PreparedRecording(path, recording.n_samples, recording.sampling_rate, **arrays, **counts)
