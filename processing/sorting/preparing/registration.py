"""From a raw recording to what the sorter reads: filtered, referenced, whitened, and held still where the probe moved.

Whitened samples of an hour of 384 channels would be 83 GB, and most passes look at a part of them: they are not
written, but for two minutes that are looked at again. What they follow from (channels, weights, drift) is estimated
once; blocks of 8192 samples are made when a pass wants them. A block depends on nothing but the samples in and around
it: it is the same to the bit whoever asks, when, and on however many threads.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from allen_ecephys.config import threads
from allen_ecephys.files import atomic_file

from ...pipeline.outputs import SampleFile
from ...recording import Recording, chunk_bounds
from ...spike_band.blocks import BLOCK_SAMPLES
from ...spike_band.filtering import HALO
from ...spike_band.probe_info import ProbeInfo
from ...spike_band.temporal_whitening import COLOUR_REACH
from ...spike_band.whitening import SCALE, LocalWeights
from ...spike_band.writing import on_threads
from ...timeline import Timeline
from ..parameters import SortingParameters
from .block_cache import BlockCache, BlockFile
from .drift import Drift
from .drift_pass import drift_pass
from .front_end import FrontEnd, RegistrationAt, as_counts, dense_whitening, front_end, no_registration, sorting_plan
from .interpolation import RegistrationWeights

logger = logging.getLogger(__name__)

Int16 = npt.NDArray[np.int16]
Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

#: Parameters of the sorter that prepared samples depend on.
USED_PARAMETERS: Final = ("definition", "fshigh", "whitening_range", "minfr_goodchannels", "nblocks", "sig")
#: Blocks that are kept in memory besides two for each thread, and on disk: 6 MB each of 384 channels.
KEPT_BLOCKS: Final = 4
STORED_BLOCKS: Final = 512


class PreparedRecording:
    """What the sorter reads, made block by block when it is read.

    Parameters
    ----------
    front
        Filter, reference and whitening.
    drift
        How far the tissue moved; undone unless it is negligible.
    interpolation_um
        Length over which samples are interpolated when drift is undone (``sig``).
    identity
        Equal for equal samples; None if that cannot be told.
    scratch
        Folder for a file of blocks that are asked for again, at most 3.2 GB of 384 channels; None for none. The file is
        gone when the process is.

    Attributes
    ----------
    n_samples, sampling_rate
        As of the recording; Hz.
    channel_map
        int64 (n_channels,): the recording's number of each channel, in depth order.
    positions
        float64 (n_channels, 2) um.
    whitening
        float64 (n_channels, n_channels): ``whitened = filtered @ whitening`` in noise SDs, `filtered` in the
        recording's counts and white in time (with drift: at the places where the tissue mostly is).
    taps
        float32 (n, n_channels): the filters that made each channel's noise white in time; `n` is 1 where it was.
    timeline
        When the samples were taken; None if there is no gap between them.
    """

    def __init__(
        self,
        front: FrontEnd,
        drift: Drift,
        *,
        interpolation_um: float = 20.0,
        identity: str | None = None,
        scratch: Path | None = None,
    ) -> None:
        self.drift, self.identity = drift, identity
        self.n_samples, self.sampling_rate = front.recording.n_samples, front.recording.sampling_rate
        self.channel_map, self.positions, self.taps = front.channels, front.positions, front.taps
        self.whitening = dense_whitening(front.weights, front.channels)
        self.timeline: Timeline | None = front.recording.timeline if len(front.recording.timeline.gaps) else None
        still = drift.is_negligible
        weights = None if still else RegistrationWeights(front.positions, drift, interpolation_um)
        moving = no_registration if weights is None else weights.at
        self._seen = None if weights is None else weights.seen
        self._n_threads = max(min(threads(), os.cpu_count() or 1), 1)
        file = None if scratch is None else BlockFile(scratch, STORED_BLOCKS)
        # No method of this object: a ring of the two would keep the files of both open until rings are looked for.
        self._make = partial(_block_of, front, moving)
        self._block = BlockCache(self._make, KEPT_BLOCKS + 2 * self._n_threads, file)

    @property
    def n_channels(self) -> int:
        """Number of channels."""
        return len(self.channel_map)

    def counts(self, start: int = 0, stop: int | None = None) -> Int16:
        """Return samples ``[start, stop)``, int16 (stop - start, n_channels), C order: a noise SD is 200 counts."""
        last = self.n_samples if stop is None else stop
        out = np.empty((last - start, self.n_channels), np.int16)
        for number in range(start // BLOCK_SAMPLES, -(-last // BLOCK_SAMPLES)):
            first = number * BLOCK_SAMPLES
            low, high = max(start, first), min(last, first + BLOCK_SAMPLES)
            out[low - start : high - start] = self._block(number)[low - first : high - first]
        return out

    def read(self, start: int, stop: int) -> Float32:
        """Return samples ``[start, stop)`` in SDs of the noise, float32 (stop - start, n_channels)."""
        bounds = list(chunk_bounds(stop, BLOCK_SAMPLES, start))
        out = np.empty((stop - start, self.n_channels), np.float32)
        with ThreadPoolExecutor(self._n_threads) as pool:
            for (low, high), counts in zip(bounds, pool.map(lambda b: self.counts(*b), bounds), strict=True):
                np.multiply(counts, np.float32(1 / SCALE), out=out[low - start : high - start])
        return out

    def seen(self, start: int, stop: int) -> Bools:
        """Tell which channels' places the probe saw in samples ``[start, stop)``: not those beyond its ends then."""
        return np.ones(self.n_channels, np.bool_) if self._seen is None else self._seen(start, stop)

    def write(self, path: Path, *, n_workers: int | None = None) -> Path:
        """Write all samples to a file, int16 (n_samples, n_channels), in place of one that is there.

        Raises
        ------
        DiskFullError
            If the disk has no room.
        """
        n_blocks, width = -(-self.n_samples // BLOCK_SAMPLES), 2 * self.n_channels
        path.unlink(missing_ok=True)
        with SampleFile(path, self.n_samples * width) as file:

            def work(number: int) -> None:
                samples = self._make(number).reshape(-1).view(np.uint8).data
                file.write(samples, number * BLOCK_SAMPLES * width)

            for _ in on_threads(work, range(n_blocks), n_workers, "whitening", "block"):
                pass
        return path


def _block_of(front: FrontEnd, registration_at: RegistrationAt, number: int) -> Int16:
    start = number * BLOCK_SAMPLES
    return front.counts(start, min(start + BLOCK_SAMPLES, front.recording.n_samples), registration_at)


def prepare_recording(
    recording: Recording,
    path: str | os.PathLike[str] | None = None,
    *,
    parameters: SortingParameters | None = None,
    info: ProbeInfo | None = None,
    channels: npt.ArrayLike | None = None,
    drift: Drift | None = None,
    n_workers: int | None = None,
) -> PreparedRecording:
    """Estimate how a recording is filtered, referenced and whitened, and how the probe moved.

    Parameters
    ----------
    recording
        Raw or median-subtracted samples. Samples that are not int16 are quantised to 0.195 uV.
    path
        File (``.npz``) that keeps the estimates. If the same call has made it before, they are taken from it. Beside it
        the first blocks that are made are kept as long as the process lives.
    info
        Offsets and masks of raw samples whose medians are to be subtracted as in the release; see
        :func:`.front_end.sorting_plan`.
    channels
        Channels to sort, in depth order; chosen by default (:func:`.channels.choose_channels`).
    drift
        The drift to undo; estimated by default, unless ``parameters.nblocks`` is 0.
    n_workers
        Threads. They change no result.

    Raises
    ------
    TooFewChannelsError
        If fewer than four channels can be sorted.
    RecordingTooShortError
        If there are fewer samples than channels to be whitened together.
    NonFiniteError
        If samples that are looked at are NaN or infinite.
    """
    p, target = parameters or SortingParameters(), None if path is None else Path(path)
    source = as_counts(recording)
    facts = _facts(source, p, info, channels, drift)
    identity = None if facts["source"] is None else json.dumps(facts, sort_keys=True)
    found = None if target is None or identity is None else _reopen(target, identity, source, p, info)
    if found is not None:
        logger.info("reusing %s", target)
        front, moved = found
    else:
        front = front_end(recording, p, info=info, channels=channels)
        moved = drift_pass(front, nblocks=p.nblocks, n_workers=n_workers) if drift is None else drift
        if target is not None:
            _save(target, identity, front, moved)
    logger.info("%r%s", moved, " is left as it is" if moved.is_negligible else " is undone")
    scratch = None if target is None else target.parent
    return PreparedRecording(front, moved, interpolation_um=p.sig, identity=identity, scratch=scratch)


def _facts(
    recording: Recording,
    p: SortingParameters,
    info: ProbeInfo | None,
    channels: npt.ArrayLike | None,
    drift: Drift | None,
) -> dict[str, Any]:
    """Say everything that prepared samples depend on, as JSON gives it back."""
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


def _save(path: Path, identity: str | None, front: FrontEnd, drift: Drift) -> None:
    """Keep what was estimated, whole or not at all."""
    plan = front.plan
    with atomic_file(path) as file:
        np.savez(
            file, allow_pickle=False, identity=np.array("" if identity is None else identity), channels=front.channels,
            offsets=np.empty(0, np.float32) if plan.offsets is None else plan.offsets,
            taps=np.empty((0, 0), np.float32) if plan.taps is None else plan.taps,
            neighbors=front.weights.neighbors, weights=front.weights.weights,
            covariance=front.covariance, n_neighbors=np.array(front.n_neighbors),
            shift_um=drift.shift_um, block_depths=drift.block_depths,
        )  # fmt: skip


def _reopen(
    path: Path, identity: str, recording: Recording, p: SortingParameters, info: ProbeInfo | None
) -> tuple[FrontEnd, Drift] | None:
    """Return what an earlier call estimated, if it was made from the same facts and is whole."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            if str(arrays["identity"]) != identity:
                return None
            channels, taps = arrays["channels"], arrays["taps"]
            plan = sorting_plan(recording, channels, arrays["offsets"], p, info)
            plan = replace(plan, taps=taps if len(taps) else None)
            weights = LocalWeights(arrays["neighbors"], arrays["weights"])
            front = FrontEnd(recording, channels, plan, weights, arrays["covariance"], int(arrays["n_neighbors"]))
            return front, Drift(arrays["shift_um"], arrays["block_depths"])
    except (FileNotFoundError, KeyError, ValueError, EOFError, BadZipFile):
        return None
