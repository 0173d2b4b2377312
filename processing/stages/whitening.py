"""Stage ``whitening``: the spike band filtered and whitened.

Reads ``depth_estimation`` and ``median_subtraction`` (or the raw spike band, whose medians are then subtracted on the
way); leaves ``continuous.dat`` (int16, noise SD 200) and ``whitening.npz``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from ..pipeline.stage import Stage, StageResult
from ..recording import Recording
from ..spike_band.blocks import BLOCK_SAMPLES
from ..spike_band.filtering import HALO
from ..spike_band.probe_info import read_probe_info
from ..spike_band.saturation import SATURATION_MARGIN
from ..spike_band.writing import CHUNK_SAMPLES, WhiteningParameters, estimate_whitening, open_processed, write_whitened
from .depth_estimation import INFO_FILE

STAGE: Final = Stage("whitening", outputs=("continuous.dat", "whitening.npz"))


def run_whitening(
    recording: Recording,
    folder: str | os.PathLike[str],
    depth: StageResult,
    medians: StageResult | None,
    *,
    inputs: Sequence[str | os.PathLike[str]],
    parameters: WhiteningParameters | None = None,
    chunk_samples: int = CHUNK_SAMPLES,
    n_workers: int | None = None,
) -> StageResult:
    """Filter and whiten, or reuse what an earlier run left; open it with :func:`.open_processed`.

    Parameters
    ----------
    recording
        The raw spike band, read only where `medians` is None.
    folder
        Folder of the probe, which gets the stage's folder.
    depth, medians
        The finished stages ``depth_estimation`` and ``median_subtraction``.
    inputs
        Files that the recording comes from, to notice when they change.
    chunk_samples, n_workers
        Samples written at once, and threads; they change no result.

    Raises
    ------
    RecordingTooShortError, NonFiniteError, DiskFullError
        As :func:`.write_whitened`.
    """
    chosen = parameters or WhiteningParameters()
    info = read_probe_info(depth.folder / INFO_FILE)

    def work(place: Path) -> dict[str, Any]:
        source: Recording = recording if medians is None else open_processed(medians.folder)
        to_subtract = info if medians is None else None
        weights = estimate_whitening(source, to_subtract, info.mask, chosen)
        return write_whitened(
            source, to_subtract, weights, place,
            high_pass=chosen.high_pass, chunk_samples=chunk_samples, n_workers=n_workers,
        )  # fmt: skip

    sources = [*inputs, depth.folder] if medians is None else [medians.folder, depth.folder]
    constants = {"block": BLOCK_SAMPLES, "halo": HALO, "saturation_margin": SATURATION_MARGIN}
    return STAGE.run(folder, work, inputs=sources, parameters={**asdict(chosen), **constants})
