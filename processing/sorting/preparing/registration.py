"""From a raw recording to what the sorter reads: filtered, referenced, whitened, and held still where the probe moved.

One pass over the recording, in blocks of 8192 samples that depend on nothing but their own samples: the result is the
same to the bit whatever the chunks and however many threads.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from allen_ecephys.files import draft_of, read_json, remove_abandoned_drafts

from ...recording import Recording
from ...spike_band.blocks import BLOCK_SAMPLES
from ...spike_band.filtering import HALO
from ...spike_band.probe_info import ProbeInfo
from ...spike_band.temporal_whitening import COLOUR_REACH
from ...spike_band.whitening import SCALE
from ...spike_band.writing import CHUNK_SAMPLES, no_registration, stream_whitened
from ...timeline import Timeline
from ..parameters import SortingParameters
from .drift import Drift
from .drift_pass import drift_pass
from .front_end import as_counts, dense_whitening, front_end
from .interpolation import RegistrationWeights

logger = logging.getLogger(__name__)

Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

#: Parameters of the sorter that the file depends on.
USED_PARAMETERS: Final = ("definition", "fshigh", "whitening_range", "minfr_goodchannels", "spkTh", "nblocks", "sig")


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
        counts and white in time (with drift: at the places where the tissue mostly is).
    taps
        float32 (n, n_channels): the filters that made each channel's noise white in time; `n` is 1 where it was.
    drift
        How far the tissue moved; undone unless it is negligible.
    n_clipped, n_saturated
        Values beyond the range of int16; samples blanked around moments at which the converters were saturated.
    timeline
        When the samples were taken; None if there is no gap between them.
    """

    path: Path
    n_samples: int
    sampling_rate: float
    channel_map: Int64
    positions: Float64
    whitening: Float64
    taps: Float32
    drift: Drift
    n_clipped: int
    n_saturated: int
    timeline: Timeline | None = None

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


def prepare_recording(
    recording: Recording,
    path: str | os.PathLike[str],
    *,
    parameters: SortingParameters | None = None,
    info: ProbeInfo | None = None,
    channels: npt.ArrayLike | None = None,
    drift: Drift | None = None,
    chunk_samples: int = CHUNK_SAMPLES,
    n_workers: int | None = None,
) -> PreparedRecording:
    """Filter, reference and whiten a recording into a file, and undo its drift.

    If the same call has made the file before, it is reused.

    Parameters
    ----------
    recording
        Raw or median-subtracted samples. Samples that are not int16 are quantised to 0.195 uV.
    path
        File to write. Beside it ``<name>.json`` says what it was made from and ``<name>.npz`` holds its arrays.
    info
        Offsets and masks of raw samples whose medians are to be subtracted as in the release; see
        :func:`.front_end.sorting_plan`.
    channels
        Channels to sort, in depth order; chosen by default (:func:`.channels.choose_channels`).
    drift
        The drift to undo; estimated by default, unless ``parameters.nblocks`` is 0.
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
    facts = _facts(as_counts(recording), p, info, channels, drift)
    timeline = recording.timeline if len(recording.timeline.gaps) else None
    found = _reopen(target, facts, timeline)
    if found is not None:
        logger.info("reusing %s", target)
        return found
    front = front_end(recording, p, info=info, channels=channels)
    moved = drift_pass(front, nblocks=p.nblocks, n_workers=n_workers) if drift is None else drift
    registration_at = no_registration if moved.is_negligible else RegistrationWeights(front.positions, moved, p.sig).at
    logger.info("%r%s", moved, " is left as it is" if moved.is_negligible else " is undone")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.with_suffix(".json").unlink(missing_ok=True)
    remove_abandoned_drafts(target.parent)
    temporary = draft_of(target)
    try:
        counts = stream_whitened(
            front.recording, front.plan, front.weights, temporary,
            registration_at=registration_at, chunk_samples=chunk_samples, n_workers=n_workers,
        )  # fmt: skip
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    prepared = PreparedRecording(
        path=target, n_samples=front.recording.n_samples, sampling_rate=front.recording.sampling_rate,
        channel_map=front.channels, positions=front.positions, whitening=dense_whitening(front.weights, front.channels),
        taps=front.taps, drift=moved, n_clipped=counts.n_clipped, n_saturated=counts.n_saturated, timeline=timeline,
    )  # fmt: skip
    _save(prepared, facts)
    return prepared


def _facts(
    recording: Recording,
    p: SortingParameters,
    info: ProbeInfo | None,
    channels: npt.ArrayLike | None,
    drift: Drift | None,
) -> dict[str, Any]:
    """Say everything the file depends on, as JSON gives it back."""
    from allen_ecephys.version import __version__

    facts = {
        "version": __version__,
        "source": _identity(recording),
        "shape": [recording.n_samples, recording.n_channels],
        "sampling_rate": recording.sampling_rate,
        "channels": _digest(recording.geometry, recording.reference_channels, recording.uv_per_bit, _delays(recording)),
        "chosen": None if channels is None else np.asarray(channels).tolist(),
        "info": None if info is None else _digest(info.offsets, info.mask, info.below_air),
        "drift": None if drift is None else _digest(drift.shift_um, drift.block_depths),
        "parameters": {name: getattr(p, name) for name in USED_PARAMETERS},
        "blocks": [BLOCK_SAMPLES, HALO, COLOUR_REACH],
    }
    return dict(json.loads(json.dumps(facts)))


def _delays(recording: Recording) -> npt.NDArray[np.float64]:
    return np.zeros(0) if recording.adc is None else recording.adc.delays


def _identity(recording: Recording) -> list[Any] | None:
    """Tell one state of the recording's file, or what it is computed from; None for neither: nothing is reused then."""
    source = getattr(recording, "source", recording)
    path = getattr(source, "path", None)
    if path is None:
        fingerprint = getattr(source, "fingerprint", None)
        return None if fingerprint is None else [fingerprint]
    facts = Path(path).stat()
    return [str(Path(path).resolve()), facts.st_size, facts.st_mtime_ns]


def _digest(*arrays: npt.NDArray[Any]) -> str:
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(f"{array.dtype}{array.shape}".encode())
        sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()


def _save(prepared: PreparedRecording, facts: dict[str, Any]) -> None:
    """Write what belongs to the samples beside them; what they were made from comes last."""
    np.savez(
        prepared.path.with_suffix(".npz"),
        channel_map=prepared.channel_map,
        positions=prepared.positions,
        whitening=prepared.whitening,
        taps=prepared.taps,
        shift_um=prepared.drift.shift_um,
        block_depths=prepared.drift.block_depths,
    )
    counts = {"n_clipped": prepared.n_clipped, "n_saturated": prepared.n_saturated}
    text = json.dumps({**facts, "counts": counts}, indent=1)
    prepared.path.with_suffix(".json").write_text(text, encoding="utf-8")


def _reopen(path: Path, facts: dict[str, Any], timeline: Timeline | None) -> PreparedRecording | None:
    """Return what an earlier call left, if it was made from the same facts and is whole."""
    try:
        stored = read_json(path.with_suffix(".json"))
        counts = stored.pop("counts")
        if facts["source"] is None or stored != facts:
            return None
        with np.load(path.with_suffix(".npz"), allow_pickle=False) as arrays:
            found = PreparedRecording(
                path=path,
                n_samples=int(facts["shape"][0]),
                sampling_rate=float(facts["sampling_rate"]),
                channel_map=arrays["channel_map"],
                positions=arrays["positions"],
                whitening=arrays["whitening"],
                taps=arrays["taps"],
                drift=Drift(arrays["shift_um"], arrays["block_depths"]),
                n_clipped=counts["n_clipped"],
                n_saturated=counts["n_saturated"],
                timeline=timeline,
            )
        return found if path.stat().st_size == 2 * found.n_samples * found.n_channels else None
    except (FileNotFoundError, KeyError, ValueError, AttributeError):
        return None
