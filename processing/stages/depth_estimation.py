"""Stage ``depth_estimation``: offsets and mask of a probe's channels, and where the brain's surface is.

Reads the raw bands; leaves ``probe_info.json``, and in ``bands.json`` what the recorder's headers say of both bands:
whatever reads this stage runs again when gains, positions or gaps are told otherwise, and not for a note in a header.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np

from allen_ecephys.errors import AlreadyPresentError

from ..pipeline.digests import digest_of
from ..pipeline.manifest import read_manifest
from ..pipeline.stage import Stage, StageResult, input_files
from ..readers.binary import BinaryRecording
from ..recording import Recording, check_channel_count, header_facts
from ..spike_band.depth_estimation import estimate_depth
from ..spike_band.probe_info import DepthParameters

INFO_FILE: Final = "probe_info.json"
BANDS_FILE: Final = "bands.json"
STAGE: Final = Stage("depth_estimation", outputs=(INFO_FILE, BANDS_FILE))
#: Bytes at the beginning of a recording by which it is known: a longer copy is of the same one.
KNOWN_BY: Final = 2**20


def run_depth_estimation(
    recording: Recording,
    folder: str | os.PathLike[str],
    *,
    lfp: Recording | None = None,
    inputs: Sequence[str | os.PathLike[str]] | None = None,
    parameters: DepthParameters | None = None,
    overwrite: bool = False,
) -> StageResult:
    """Look at the channels, or reuse what an earlier run found.

    Parameters
    ----------
    recording, lfp
        The two bands; without an LFP the whole probe is taken to be in the brain.
    folder
        Folder of the probe, which gets the stage's folder.
    inputs
        Files that the recording comes from, to notice when they change; by default its ``path``.
    overwrite
        Whether what the folder holds of another recording may be replaced.

    Raises
    ------
    AlreadyPresentError
        If the folder holds the results of another recording; `overwrite` replaces them.
    RecordingTooShortError
        If the recording is shorter than what is looked at.
    ChannelCountError
        If the samples look as if the file held one channel more or less.
    StageError
        If `recording` does not say which files it comes from and `inputs` are not given.
    """
    chosen = parameters or DepthParameters()
    files = input_files(recording, lfp) if inputs is None else inputs
    told = {"spike_band": header_facts(recording), "lfp": None if lfp is None else header_facts(lfp)}
    by_part = {
        f"{band} {part}": digest_of(value)[:16] for band, facts in told.items() for part, value in (facts or {}).items()
    }

    known = recording_identity(recording, lfp, files)
    if not overwrite:
        refuse_another_recording(folder, known)

    def work(place: Path) -> dict[str, Any]:
        check_channel_count(recording)
        info = estimate_depth(recording, lfp, chosen)
        info.save(place / INFO_FILE, recording.geometry)
        (place / BANDS_FILE).write_text(json.dumps(told, indent=1), encoding="utf-8")
        masked = np.flatnonzero(~info.mask).tolist()
        return {
            "surface_channel": info.surface_channel,
            "air_channel": info.air_channel,
            "masked_channels": masked,
            "recording": known,
        }

    return STAGE.run(folder, work, inputs=files, parameters={**asdict(chosen), "headers": by_part})


def recording_identity(
    recording: Recording, lfp: Recording | None, files: Sequence[str | os.PathLike[str]]
) -> dict[str, Any]:
    """Return what a recording is known by, as the stage's report holds it under ``"recording"``.

    ``begins_with`` is the digest of its first bytes: a copy, a longer or a compressed one too, is of the same
    recording wherever it lies. ``probe`` is what the recorder calls the probe.
    """
    digest = hashlib.sha256()
    for place in (Path(file) for file in files[:1]):
        if place.is_dir():  # what an earlier stage left
            place = next((file for file in sorted(place.iterdir()) if file.suffix == ".dat"), place)
        if isinstance(recording, BinaryRecording) and recording.compressed is not None and place in recording.files:
            digest.update(_first_bytes(recording, KNOWN_BY))
        elif place.is_file():
            with place.open("rb") as file:
                digest.update(file.read(KNOWN_BY))
    return {
        "probe": getattr(recording, "probe_name", ""),
        "part_number": getattr(recording, "part_number", ""),
        "lfp_rate": None if lfp is None else lfp.sampling_rate,
        "begins_with": digest.hexdigest(),
    }


def _first_bytes(recording: BinaryRecording, n_bytes: int) -> bytes:
    """Return the bytes with which the samples of a compressed file begin."""
    n_samples = -(-n_bytes // (recording.n_columns * recording.dtype.itemsize))
    return recording.read_columns(0, min(n_samples, recording.n_samples)).tobytes()[:n_bytes]


def known_recording(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the facts of the recording whose results a probe's folder holds; empty if nobody noted them."""
    manifest = read_manifest(STAGE.folder(folder))
    facts = {} if manifest is None else manifest["report"].get("recording", {})
    return dict(facts) if isinstance(facts, dict) else {}


def refuse_another_recording(
    folder: str | os.PathLike[str],
    wanted: dict[str, Any],
    advice: str = "Name another output folder, or pass overwrite=True (--overwrite) to replace them",
) -> None:
    """Raise if a probe's folder holds the results of another recording than `wanted` (see `recording_identity`).

    Raises
    ------
    AlreadyPresentError
        If it does; the message ends with `advice`.
    """
    before = known_recording(folder)
    same = before.get("begins_with", wanted["begins_with"]) == wanted["begins_with"]
    names = before.get("probe", ""), wanted["probe"]
    if same and ("" in names or names[0] == names[1]):
        return
    of_before = f"of probe {names[0]!r}, " if names[0] else ""
    if all(names) and names[0] != names[1]:
        now = f"and now probe {names[1]!r} is to be processed"
    else:
        now = "which begins with other samples than the one that is to be processed now"
    msg = f"{os.fspath(folder)} holds the results of another recording: {of_before}{now}. {advice}"
    raise AlreadyPresentError(msg)
