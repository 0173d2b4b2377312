"""The native sorter: Kilosort 2's algorithm on the processor.

Passes, each with a checkpoint in the work folder from which a killed run goes on:

1. ``prepared.npz``: how samples are filtered, referenced, whitened and held still where the probe moved. Such samples
   are made block by block when a pass reads them (:mod:`.registration`).
2. ``components.npz`` and ``initial.npz``: waveform components; templates from clusters of energy peaks.
3. ``learned.npz``: templates after two sweeps (:mod:`.learning`).
4. ``spikes.dat`` and ``features.dat``: every spike, and what it looks like without the others. ``extraction.npz`` says
   how far this pass has come: an hour's is not begun again.

Then units are merged, split and cut by their spike times (:mod:`.curation`).
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from allen_ecephys.files import atomic_file
from allen_ecephys.progress import progress_bar
from allen_ecephys.version import __version__

from ..recording import Recording, chunk_bounds
from .parameters import SortingParameters
from .preparing.loudness import loudness
from .preparing.registration import PreparedRecording, prepare_recording
from .result import SortingResult
from .templates.initial_templates import cluster_peaks
from .templates.learning import learn, least_size, momentum, updated
from .templates.searching import STRETCH, Searcher
from .templates.spike_files import SpikeFiles
from .templates.template_bank import ProbeLayout, TemplateBank
from .templates.waveform_basis import collect_snippets, waveform_components
from .units.curation import Extraction, curate

logger = logging.getLogger(__name__)

T = TypeVar("T")

Float32 = npt.NDArray[np.float32]

#: Batches that prototypes are learned from at least (fewer in shorter recordings).
LEAST_PROTOTYPE_BATCHES: Final = 24
#: Batches, spread over the recording, that first templates are clustered from, and that a sweep of learning visits.
FIRST_BATCHES: Final = 64
SWEEP_BATCHES: Final = 40
#: Batches after which the extraction notes how far it is: 70 s of recording.
CHECKED_BATCHES: Final = 32
#: Clusters smaller than this (noise SDs) can hardly be told from noise.
LEAST_NORM: Final = 5.0


def sort_native(
    recording: Recording, folder: str | os.PathLike[str], parameters: SortingParameters | None = None
) -> SortingResult:
    """Sort a recording.

    Parameters
    ----------
    recording
        Spike band of a probe, not filtered, with or without its medians.
    folder
        Work folder: checkpoints and the features (which the result maps) stay there. A run in the folder of a killed
        one, with the same recording and parameters, goes on after its last complete pass.
    parameters
        Kilosort 2's, by default as in the release.

    Returns
    -------
    SortingResult
        Without units and spikes if there is nothing to be found.

    Raises
    ------
    TooFewChannelsError
        If fewer than four channels can be sorted.
    RecordingTooShortError
        If there are fewer samples than channels to be whitened together.
    NonFiniteError
        If samples are NaN or infinite.
    DiskFullError
        If the disk has no room for the spikes and their features.
    """
    p, place = parameters or SortingParameters(), Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    seconds: dict[str, float] = {}

    def timed(name: str, work: Callable[[], T]) -> T:
        started = time.perf_counter()
        done = work()
        seconds[name] = round(time.perf_counter() - started, 3)
        logger.info("%s: %.1f s", name, seconds[name])
        return done

    prepared = timed("preparation", lambda: prepare_recording(recording, place / "prepared.npz", parameters=p))
    layout = ProbeLayout.of(prepared.positions, p.whitening_range)
    batches = list(chunk_bounds(prepared.n_samples, p.NT))
    checkpoint = Checkpoints(place, prepared, p)
    basis = timed("components", lambda: _components(checkpoint, prepared, batches, p))
    with Searcher(prepared, layout, basis) as searcher:
        first = timed("first templates", lambda: _first_templates(checkpoint, searcher, batches, p))
        learned = timed("learning", lambda: _learned_templates(checkpoint, searcher, first, batches, p))
        extraction = timed("extraction", lambda: extract(checkpoint, searcher, learned, batches, p))
    result = timed("curation", lambda: curate(extraction, prepared, place / "unit_features.dat", p))
    moved = {"block_depths_um": prepared.drift.block_depths, "batch_samples": prepared.drift.batch_samples}
    told = {"sorter": "native", "version": __version__, "parameters": asdict(p), "drift": moved, "seconds": seconds}
    return replace(result, drift_um=prepared.drift.shift_um, details=told)


class Checkpoints:
    """Arrays of finished passes, valid for one prepared recording and set of parameters."""

    def __init__(self, folder: Path, prepared: PreparedRecording, parameters: SortingParameters) -> None:
        self.folder = folder
        key = {
            "version": __version__,
            "parameters": asdict(parameters),
            "prepared": prepared.identity,
        }
        # Of samples that cannot be told from others nothing is taken.
        self._key = None if prepared.identity is None else json.dumps(key, sort_keys=True)

    def load(self, name: str) -> dict[str, npt.NDArray[Any]] | None:
        """Return what a pass left, or None if it did not end, or was made from something else."""
        path = self.folder / f"{name}.npz"
        if self._key is None or not path.exists():
            return None
        with np.load(path, allow_pickle=False) as arrays:
            if str(arrays["key"]) != self._key:
                return None
            logger.info("%s: reused", name)
            return {key: arrays[key] for key in arrays.files if key != "key"}

    def save(self, name: str, **arrays: npt.NDArray[Any]) -> None:
        """Keep what a pass made, whole or not at all."""
        with atomic_file(self.folder / f"{name}.npz") as file:
            np.savez(file, allow_pickle=False, key=np.array(str(self._key)), **arrays)

    def forget(self, name: str) -> None:
        """Remove what a pass left."""
        (self.folder / f"{name}.npz").unlink(missing_ok=True)

    def bank(self, name: str, make: Callable[[], TemplateBank], layout: ProbeLayout, basis: Float32) -> TemplateBank:
        """Return the templates of a pass, from its checkpoint or by running it."""
        kept = self.load(name)
        if kept is not None:
            return TemplateBank(layout, basis, kept["main"], kept["weights"])
        bank = make()
        self.save(name, main=bank.main, weights=bank.weights)
        return bank


def _components(
    checkpoint: Checkpoints, prepared: PreparedRecording, batches: list[tuple[int, int]], p: SortingParameters
) -> Float32:
    kept = checkpoint.load("components")
    if kept is None:
        n = min(max(-(-len(batches) // p.nskip), LEAST_PROTOTYPE_BATCHES), len(batches))
        chosen = _spread(batches, n)
        samples = (np.ascontiguousarray(_in_own_noise(prepared.read(start, stop)).T) for start, stop in chosen)
        kept = {"basis": waveform_components(collect_snippets(samples, prepared.positions, p), p)}
        checkpoint.save("components", **kept)
    return kept["basis"]


def _in_own_noise(samples: Float32) -> Float32:
    """Scale moments that are louder than usual, in place, to SDs of their own noise."""
    for start, stop in chunk_bounds(len(samples), STRETCH):
        samples[start:stop] /= np.float32(loudness(samples[start:stop]))
    return samples


def _first_templates(
    checkpoint: Checkpoints, searcher: Searcher, batches: list[tuple[int, int]], p: SortingParameters
) -> TemplateBank:
    layout, basis = searcher.layout, searcher.basis

    def make() -> TemplateBank:
        chosen = _spread(batches, FIRST_BATCHES)
        caution = searcher.caution("first templates")
        peaks = searcher.joined_peaks([searcher.peaks(*batch, caution) for batch in _progress(chosen, "spikes")])
        seconds = _seconds(chosen, searcher)
        bank = cluster_peaks(peaks, layout, basis, min_size=least_size(p, seconds), seed=p.seed)
        return bank.keep(bank.norms > LEAST_NORM)

    return checkpoint.bank("initial", make, layout, basis)


def _learned_templates(
    checkpoint: Checkpoints,
    searcher: Searcher,
    bank: TemplateBank,
    batches: list[tuple[int, int]],
    p: SortingParameters,
) -> TemplateBank:
    def make() -> TemplateBank:
        return learn(searcher, bank, _spread(batches, SWEEP_BATCHES), p)

    return checkpoint.bank("learned", make, searcher.layout, searcher.basis)


def extract(
    checkpoint: Checkpoints,
    searcher: Searcher,
    bank: TemplateBank,
    batches: list[tuple[int, int]],
    p: SortingParameters,
) -> Extraction:
    """Find all spikes, batch by batch, while templates follow those that they explain best."""
    files = SpikeFiles(checkpoint.folder, p.nPCs, searcher.layout.local.shape[1])
    caution, done, n_spikes = searcher.caution("extraction"), 0, 0
    kept = checkpoint.load("extraction")
    if kept is not None and files.hold(int(kept["n_spikes"])):
        done, n_spikes, caution.factor = int(kept["done"]), int(kept["n_spikes"]), float(kept["factor"])
        bank = TemplateBank(searcher.layout, searcher.basis, kept["main"], kept["weights"])
    else:
        # Spikes of other parameters are written over now.
        checkpoint.forget("extraction")
    memory = float(np.exp(-1.0 / momentum(searcher, p)[1]))
    with files.after(n_spikes) as writer:
        for number, (start, stop) in enumerate(_progress(batches[done:], "extraction"), done + 1):
            found = searcher.search(bank, start, stop, threshold=p.Th[1], lam=p.lam, caution=caution)
            writer.append(found)
            # Channels stay what they are: all features of a template are on the same ones.
            bank, _ = updated(bank, found, memory, p.Th[0])
            if number % CHECKED_BATCHES == 0 or number == len(batches):
                writer.flush()
                counts = {"done": number, "n_spikes": writer.n_spikes, "factor": caution.factor}
                checkpoint.save(
                    "extraction", main=bank.main, weights=bank.weights, **{k: np.array(v) for k, v in counts.items()}
                )
        n_spikes = writer.n_spikes
    rows = files.spikes(n_spikes)
    return Extraction(
        start=rows["start"].copy(),
        template=rows["template"].astype(np.int64),
        amplitude=rows["amplitude"].copy(),
        explained=rows["explained"].copy(),
        features=files.features(n_spikes),
        bank=bank,
    )


def _spread(batches: list[tuple[int, int]], n: int) -> list[tuple[int, int]]:
    """Return `n` batches spread evenly over the recording, or all if there are fewer."""
    rows = np.unique(np.linspace(0, len(batches) - 1, min(n, len(batches))).astype(np.int64))
    return [batches[row] for row in rows]


def _seconds(batches: list[tuple[int, int]], searcher: Searcher) -> float:
    return sum(stop - start for start, stop in batches) / searcher.recording.sampling_rate


def _progress(batches: list[tuple[int, int]], title: str) -> Iterable[tuple[int, int]]:
    return progress_bar(batches, desc=title, unit="batch")
