"""Streaming a recording through the spike band's steps to files, in bounded memory, on several threads."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from allen_ecephys.config import threads
from allen_ecephys.errors import (
    FileFormatError,
    InvalidValueError,
    RecordingTooShortError,
    explains_unknown_names,
    in_words,
)
from allen_ecephys.files import read_json
from allen_ecephys.progress import progress_bar

from ..pipeline.outputs import SampleFile
from ..probes import AdcWiring
from ..readers.binary import BinaryRecording
from ..recording import Recording, chunk_bounds, header_facts
from ..shanks import ShankLines
from ..timeline import Timeline
from .adc_phase import Definition, phase_taps
from .blocks import BLOCK_SAMPLES, BlockCounts, SpikeBandPlan, filter_block, halo_bounds, whiten_block
from .filtering import HIGH_PASS, high_pass_sections
from .median_subtraction import MedianPlan, MedianSubtractedRecording, probe_medians, subtract_block
from .probe_info import ProbeInfo
from .saturation import SATURATED_SHARE, saturated_rows, saturation_limit
from .whitening import EPSILON, N_NEIGHBORS, SCALE, LocalWeights, covariance_band, local_weights

Int16 = npt.NDArray[np.int16]
Item = TypeVar("Item")
Found = TypeVar("Found")

#: Samples that one task reads and writes; a whole number of blocks.
CHUNK_SAMPLES: Final = 4 * BLOCK_SAMPLES
SAMPLES_FILE: Final = "continuous.dat"
RESIDUALS_FILE: Final = "residuals.dat"
SATURATED_FILE: Final = "saturated_samples.npy"
FACTS_FILE: Final = "recording.json"
#: Blocks that the covariance is averaged over: every 25th stretch of 65,600 samples (as Kilosort 2), at least these.
COVARIANCE_STRIDE, LEAST_BLOCKS = 200, 24


@explains_unknown_names
@dataclass(frozen=True)
class WhiteningParameters:
    """Parameters of filter and whitening; defaults are those of the release's Kilosort 2.

    Attributes
    ----------
    high_pass
        Corner of the filter, Hz.
    n_neighbors
        Channels that are whitened together.
    scale
        SD of the noise afterwards, counts.
    epsilon
        Regularisation, counts squared.

    Examples
    --------
    >>> WhiteningParameters(high_pass=300.0).high_pass
    300.0
    """

    high_pass: float = HIGH_PASS
    n_neighbors: int = N_NEIGHBORS
    scale: float = SCALE
    epsilon: float = EPSILON


def write_recording_facts(folder: Path, recording: Recording, **changes: Any) -> None:
    """Write beside a ``continuous.dat`` what is needed to open it again (:func:`open_processed`)."""
    facts = header_facts(recording) | changes
    (folder / FACTS_FILE).write_text(json.dumps(facts, indent=1), encoding="utf-8")


def open_processed(folder: str | os.PathLike[str]) -> BinaryRecording:
    """Open the recording that a stage (median subtraction, whitening) wrote.

    Raises
    ------
    FileFormatError
        If the folder holds none.
    """
    place = Path(folder)
    try:
        facts = read_json(place / FACTS_FILE)
        return BinaryRecording(
            place / SAMPLES_FILE,
            n_columns=facts["n_channels"],
            n_samples=facts["n_samples"],
            sampling_rate=facts["sampling_rate"],
            uv_per_bit=facts["uv_per_bit"],
            geometry=facts["geometry"],
            shanks=facts.get("shanks"),
            adc=AdcWiring.of_facts(facts.get("adc")),
            reference_channels=facts["reference_channels"],
            timeline=Timeline.from_facts(facts["n_samples"], facts.get("timeline")),
        )
    except (FileNotFoundError, KeyError, TypeError) as error:
        msg = f"{place} holds no recording of a finished stage: {in_words(error)}"
        raise FileFormatError(msg) from error


def require_int16(recording: Recording) -> None:
    """Raise unless samples are int16, saying how to make them so."""
    if recording.dtype != np.int16:
        msg = f"samples are {recording.dtype}; wrap the recording in spike_band.ingest.QuantizedRecording first"
        raise FileFormatError(msg)


def plan_for(
    recording: Recording, info: ProbeInfo | None, high_pass: float, definition: Definition = "release"
) -> SpikeBandPlan:
    """Gather what the steps need: medians (unless subtracted already), filter, ends of the converters' range.

    With the definition ``"corrected"`` the converters' turns are undone (:mod:`.adc_phase`).
    """
    require_int16(recording)
    medians = (
        None
        if info is None
        else probe_medians(info, recording.adc, ShankLines.of(recording.geometry, recording.shanks))
    )
    sections = high_pass_sections(recording.sampling_rate, high_pass)
    return SpikeBandPlan(
        medians, sections, saturation_limit(recording), _known_saturation(recording),
        phase=phase_taps(recording.adc, definition),
    )  # fmt: skip


def _known_saturation(recording: Recording) -> npt.NDArray[np.int64] | None:
    """Return the spans that the median subtraction found in the raw data, if `recording` is its output."""
    if isinstance(recording, MedianSubtractedRecording):
        return recording.saturated
    path = getattr(recording, "path", None)
    spans = None if path is None else Path(path).with_name(SATURATED_FILE)
    return np.load(spans, allow_pickle=False) if spans is not None and spans.exists() else None


def _spans(samples: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return runs of consecutive sample numbers as int64 (n, 2), first and stop."""
    if not len(samples):
        return np.empty((0, 2), np.int64)
    cut = np.flatnonzero(np.diff(samples) > 1)
    return np.column_stack([samples[np.r_[0, cut + 1]], samples[np.r_[cut, len(samples) - 1]] + 1])


def chunk_of(chunk_samples: int) -> int:
    """Round a number of samples up to whole blocks, at least one."""
    if chunk_samples < 1:
        msg = f"chunk_samples is {chunk_samples}; a chunk holds at least one sample"
        raise InvalidValueError(msg)
    return -(-chunk_samples // BLOCK_SAMPLES) * BLOCK_SAMPLES


def on_threads(
    work: Callable[[Item], Found], items: Sequence[Item], n_workers: int | None, title: str, unit: str = "chunk"
) -> Iterator[Found]:
    """Give the results of `work` on each item, in order, made by `n_workers` threads.

    The default is the setting ALLEN_ECEPHYS_THREADS, at most as many as there are processors. An error stops what was
    not begun.
    """
    with ThreadPoolExecutor(max(n_workers or min(threads(), os.cpu_count() or 1), 1)) as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            for future in progress_bar(futures, desc=title, unit=unit):
                yield future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def run_chunks(
    work: Callable[[int, int], BlockCounts], bounds: Iterable[tuple[int, int]], n_workers: int | None, title: str
) -> BlockCounts:
    """Run `work` on chunks, on several threads (:func:`on_threads`); add up its counts."""
    total = BlockCounts()
    for counts in on_threads(lambda bound: work(*bound), list(bounds), n_workers, title):
        total.add(counts)
    return total


def write_median_subtracted(
    recording: Recording,
    info: ProbeInfo,
    folder: str | os.PathLike[str],
    *,
    chunk_samples: int = CHUNK_SAMPLES,
    n_workers: int | None = None,
) -> dict[str, int]:
    """Write ``continuous.dat`` without offsets and group medians, and ``residuals.dat`` to undo it, into a folder.

    ``saturated_samples.npy`` is written as by :func:`write_saturated_samples`.

    Returns
    -------
    dict
        ``n_clipped``: values that left the range of int16 (those cannot be restored); ``n_saturated``: saturated
        samples.

    Raises
    ------
    FileFormatError
        If samples are not int16.
    DiskFullError
        If the disk has no room.

    Examples
    --------
    >>> info = estimate_depth(bands.spike_band, bands.lfp)
    >>> write_median_subtracted(bands.spike_band, info, "subtracted")
    {'n_clipped': 0, 'n_saturated': 0}
    """
    require_int16(recording)
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    plan = probe_medians(info, recording.adc, ShankLines.of(recording.geometry, recording.shanks))
    columns = recording.n_channels
    limit = saturation_limit(recording)
    saturated: dict[int, npt.NDArray[np.int64]] = {}
    with (
        SampleFile(place / SAMPLES_FILE, 2 * recording.n_samples * columns) as file,
        SampleFile(place / RESIDUALS_FILE, 2 * recording.n_samples * plan.n_groups) as aside,
    ):

        def work(start: int, stop: int) -> BlockCounts:
            samples = np.ascontiguousarray(recording.read(start, stop))
            residuals = np.empty((len(samples), plan.n_groups), np.int16)
            at_end = np.flatnonzero(saturated_rows(samples, limit, SATURATED_SHARE, 0)) + start
            saturated[start] = at_end
            clipped = _subtract_in_place(samples, plan, residuals)
            file.write(_bytes(samples), 2 * start * columns)
            aside.write(_bytes(residuals), 2 * start * plan.n_groups)
            return BlockCounts(clipped, len(at_end))

        chunks = chunk_bounds(recording.n_samples, chunk_of(chunk_samples))
        counts = run_chunks(work, chunks, n_workers, "median subtraction")
    write_recording_facts(place, recording)
    _save_saturated(place, saturated)
    return {"n_clipped": counts.n_clipped, "n_saturated": counts.n_saturated}


def write_saturated_samples(
    recording: Recording,
    folder: str | os.PathLike[str],
    *,
    chunk_samples: int = CHUNK_SAMPLES,
    n_workers: int | None = None,
) -> dict[str, int]:
    """List the samples at which a fifth of the channels was at the end of the converter's range, for later blanking.

    They are written as spans, int64 (n, 2), to ``saturated_samples.npy``.

    Returns
    -------
    dict
        ``n_saturated``: how many samples.

    Raises
    ------
    FileFormatError
        If samples are not int16.
    """
    require_int16(recording)
    limit, saturated = saturation_limit(recording), dict[int, npt.NDArray[np.int64]]()

    def work(start: int, stop: int) -> BlockCounts:
        saturated[start] = (
            np.flatnonzero(saturated_rows(recording.read(start, stop), limit, SATURATED_SHARE, 0)) + start
        )
        return BlockCounts(0, len(saturated[start]))

    chunks = chunk_bounds(recording.n_samples, chunk_of(chunk_samples))
    counts = run_chunks(work, chunks, n_workers, "saturated samples")
    _save_saturated(Path(folder), saturated)
    return {"n_saturated": counts.n_saturated}


def _save_saturated(place: Path, by_chunk: dict[int, npt.NDArray[np.int64]]) -> None:
    found = [by_chunk[start] for start in sorted(by_chunk)]
    np.save(place / SATURATED_FILE, _spans(np.concatenate([np.empty(0, np.int64), *found])))


def _subtract_in_place(samples: Int16, plan: MedianPlan, residuals: Int16) -> int:
    return subtract_block(samples, plan, samples, residuals)


def _bytes(samples: npt.NDArray[Any]) -> memoryview:
    return samples.reshape(-1).view(np.uint8).data


def covariance_blocks(n_samples: int) -> list[tuple[int, int]]:
    """Return the blocks that the covariance is averaged over: evenly spaced, whatever the length of the recording."""
    blocks = list(chunk_bounds(n_samples, BLOCK_SAMPLES))
    # A short last block would weigh as much as a whole one.
    blocks = blocks[:-1] if len(blocks) > 1 else blocks
    wanted = max(-(-len(blocks) // COVARIANCE_STRIDE), min(LEAST_BLOCKS, len(blocks)))
    return [blocks[i] for i in np.unique(np.linspace(0, len(blocks) - 1, wanted).astype(np.int64))]


def filtered_blocks(
    recording: Recording, plan: SpikeBandPlan, blocks: Sequence[tuple[int, int]] | None = None
) -> Iterator[npt.NDArray[np.float32]]:
    """Give the filtered samples of blocks, float32 (n, n_channels) each; by default those of the covariance."""
    for start, stop in covariance_blocks(recording.n_samples) if blocks is None else blocks:
        start, stop = recording.timeline.longest(start, stop)
        first, last = halo_bounds(start, stop, recording.timeline)
        yield filter_block(np.ascontiguousarray(recording.read(first, last)), first, start, stop, plan)


def estimate_whitening(
    recording: Recording,
    info: ProbeInfo | None,
    good: npt.NDArray[np.bool_],
    parameters: WhiteningParameters | None = None,
) -> LocalWeights:
    """Estimate the local whitening of a recording from blocks spread over it.

    Parameters
    ----------
    recording
        Raw (with `info`) or median-subtracted (without).
    good
        bool (n_channels,): channels to whiten; the others come out as zeros.

    Raises
    ------
    RecordingTooShortError
        If there are fewer samples than channels to be whitened together: their covariance has no inverse.

    Examples
    --------
    >>> info = estimate_depth(bands.spike_band, bands.lfp)
    >>> weights = estimate_whitening(bands.spike_band, info, info.mask)
    >>> type(weights).__name__
    'LocalWeights'
    """
    p = parameters or WhiteningParameters()
    if recording.n_samples < p.n_neighbors:
        msg = (
            f"the recording has {recording.n_samples} samples; whitening {p.n_neighbors} channels together needs at "
            f"least {p.n_neighbors}"
        )
        raise RecordingTooShortError(msg)
    blocks = filtered_blocks(recording, plan_for(recording, info, p.high_pass))
    covariance = covariance_band(blocks, recording.geometry, good, p.n_neighbors)
    return local_weights(
        covariance, recording.geometry, good, n_neighbors=p.n_neighbors, scale=p.scale, epsilon=p.epsilon
    )


def stream_whitened(
    recording: Recording,
    plan: SpikeBandPlan,
    weights: LocalWeights,
    path: Path,
    *,
    chunk_samples: int = CHUNK_SAMPLES,
    n_workers: int | None = None,
) -> BlockCounts:
    """Filter and whiten a recording, block by block, into a new file, int16 (n_samples, rows of `weights`).

    Raises
    ------
    DiskFullError
        If the disk has no room.
    """
    n_samples, n_columns, timeline = recording.n_samples, len(weights.weights), recording.timeline
    with SampleFile(path, 2 * n_samples * n_columns) as file:

        def work(start: int, stop: int) -> BlockCounts:
            first, last = halo_bounds(start, stop, timeline)
            samples = np.ascontiguousarray(recording.read(first, last))
            out = np.empty((stop - start, n_columns), np.int16)
            counts = BlockCounts()
            blocks = chunk_bounds(stop, BLOCK_SAMPLES, start)
            for begin, end in (part for block in blocks for part in timeline.within(*block)):
                low, high = halo_bounds(begin, end, timeline)
                block, target = samples[low - first : high - first], out[begin - start : end - start]
                counts.add(whiten_block(block, low, begin, plan, weights, target))
            file.write(_bytes(out), 2 * start * n_columns)
            return counts

        return run_chunks(work, chunk_bounds(n_samples, chunk_of(chunk_samples)), n_workers, "whitening")


def write_whitened(
    recording: Recording,
    info: ProbeInfo | None,
    weights: LocalWeights,
    folder: str | os.PathLike[str],
    *,
    high_pass: float = HIGH_PASS,
    chunk_samples: int = CHUNK_SAMPLES,
    n_workers: int | None = None,
) -> dict[str, int]:
    """Filter, whiten and write ``continuous.dat`` (int16, n_samples x n_channels) into a folder.

    With `info`, `recording` is raw and its medians are subtracted on the way: the result equals that of
    :func:`write_median_subtracted` followed by this without `info`, to the bit.

    Returns
    -------
    dict
        ``n_clipped``: values that left the range of int16; ``n_saturated``: samples blanked around moments at which a
        fifth of the channels was at the end of the converter's range.

    Raises
    ------
    FileFormatError
        If samples are not int16.
    DiskFullError
        If the disk has no room.

    Examples
    --------
    >>> info = estimate_depth(bands.spike_band, bands.lfp)
    >>> weights = estimate_whitening(bands.spike_band, info, info.mask)
    >>> write_whitened(bands.spike_band, info, weights, "whitened")
    {'n_clipped': 0, 'n_saturated': 0}
    """
    plan, place = plan_for(recording, info, high_pass), Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    counts = stream_whitened(
        recording, plan, weights, place / SAMPLES_FILE, chunk_samples=chunk_samples, n_workers=n_workers
    )
    write_recording_facts(place, recording, uv_per_bit=[1.0] * recording.n_channels)
    np.savez(place / "whitening.npz", neighbors=weights.neighbors, weights=weights.weights)
    return {"n_clipped": counts.n_clipped, "n_saturated": counts.n_saturated}
