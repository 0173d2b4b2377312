"""Stage ``lfp`` of a session's probe: on the session's clock, with the answer to the flashes that were shown.

It waits for ``depth_estimation`` only, so that it runs beside the probe's sorting.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from allen_ecephys.errors import UnknownNameError

from ..packaging.identities import probe_ids
from ..packaging.session_description import ProbeDescription, SessionDescription, without_file_names
from ..pipeline.manifest import read_manifest
from ..pipeline.stage import StageResult, input_files
from ..readers.raw_folder import open_bands
from ..synchronization import BandClock, open_sync_file
from . import depth_estimation
from .probe_lfp import STAGE, LfpOfProbe, lfp_rate, write_probe_lfp
from .session import UNKNOWN_STRUCTURE, channel_rows, probe_row
from .session_stimuli import Shown
from .synchronized_probe import SessionClock, clock_files, registered_channels

#: What a session's description says that no LFP file depends on.
_NOT_READ = ("rig", "optotagging", "eye_ellipses", "invalid_times", "probes")


def run_session_lfp(told: SessionDescription, name: str, folder: str | os.PathLike[str]) -> StageResult:
    """Write the LFP file of a session's probe, or reuse what an earlier run left.

    Parameters
    ----------
    told
        The session description.
    name
        Of the probe.
    folder
        Of the probe's stages, of which ``depth_estimation`` is done; it gets the stage's folder.

    Raises
    ------
    UnknownNameError
        If the session has no probe of that name.
    SynchronizationError, MissingDataError, FileFormatError, InvalidContentsError
        If its samples cannot be put in time, or hold no LFP; the message says why.
    """
    number = next((k for k, probe in enumerate(told.probes) if probe.name == name), None)
    if number is None:
        msg = f"{told.path} has no probe {name!r}"
        raise UnknownNameError(msg)
    probe, place = told.probes[number], Path(folder)
    probe_id = int(probe_ids(told.metadata.session_id, len(told.probes))[number])
    bands = open_bands(probe.recording, **probe.opened_with)

    def work(output: Path) -> dict[str, Any]:
        sync = None if told.sync is None else open_sync_file(told.sync, told.lines)
        clock = SessionClock.of(told, sync).of_probe(probe, bands)
        channels = channel_rows(place, probe_id, UNKNOWN_STRUCTURE)
        if probe.channels is not None:
            channels = registered_channels(channels, probe.channels, name)
        row = probe_row(probe_id, name, clock.rate, lfp_rate(bands, clock.rate))
        last = BandClock.of_band(clock, bands.spike_band, bands.spike_band).seconds([bands.spike_band.n_samples - 1])
        stop = float(np.nanmax(last)) if sync is None else float(sync.seconds[-1])
        shown = Shown.of(told, sync).presentations(stop)
        whole = shown[shown["stop_time"] <= stop]
        return write_probe_lfp(output, LfpOfProbe(bands, clock, told.metadata, row, channels, whole))

    told_of_it = as_recorded(STAGE.folder(place), "session", _read_of(told, probe))
    parameters = {"probe_id": probe_id, "session": told_of_it}
    return STAGE.run(place, work, inputs=_inputs(told, probe, place), parameters=parameters)


def as_recorded(folder: Path, parameter: str, facts: dict[str, Any]) -> dict[str, Any]:
    """Return a session's facts as a stage's folder records them, with names of files, if nothing but these differs."""
    recorded = (read_manifest(folder) or {}).get("parameters", {}).get(parameter)
    return recorded if isinstance(recorded, dict) and without_file_names(recorded) == facts else facts


def _reference(told: SessionDescription, probe: ProbeDescription) -> list[ProbeDescription]:
    """Return the probe whose samples are the session's clock, where that is another one than `probe`."""
    sharing = [one for one in told.probes if one.clock == "square_wave"]
    return sharing[:1] if sharing and told.sync is None and sharing[0] is not probe else []


def _read_of(told: SessionDescription, probe: ProbeDescription) -> dict[str, Any]:
    """Return what the LFP file depends on of what a session's description says."""
    facts = told.facts()
    mine = {one.name for one in (probe, *_reference(told, probe))}
    probes = [one for one in facts["probes"] if one["name"] in mine]
    return {key: value for key, value in facts.items() if key not in _NOT_READ} | {"probes": probes}


def _inputs(told: SessionDescription, probe: ProbeDescription, folder: Path) -> list[Path]:
    """Return the files that the LFP file is made of, and the stage that it reads."""
    named = (*told.sync_files, told.stimulus, told.presentations, probe.channels, probe.settings)
    files = [path for path in named if path is not None]
    for one in (probe, *_reference(told, probe)):
        bands = open_bands(one.recording, **one.opened_with)
        files += [*input_files(bands.spike_band, bands.lfp), *clock_files(one, bands)]
    return [*files, depth_estimation.STAGE.folder(folder)]
