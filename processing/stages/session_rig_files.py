"""Whether the files that a session names hold what their keys say: told before hours of sorting, not after them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from allen_ecephys.errors import (
    AllenEcephysError,
    CorruptFileError,
    FileFormatError,
    MissingDataError,
    UnknownNameError,
    in_words,
)
from allen_ecephys.written_tables import read_written_table

from ..behavior import optotagging_table, read_ellipses
from ..packaging.session_description import SessionDescription
from ..readers.raw_folder import open_bands
from ..stimulus_table import read_restricted_pickle
from ..synchronization import SyncFile, open_sync_file
from . import whole_session
from .session_file import SessionFile
from .session_stimuli import Shown

#: Of a file that holds something else; what its times do not fit to is told by the stage that fits them.
_WRONG_CONTENTS = (FileFormatError, CorruptFileError, MissingDataError, UnknownNameError)


def check_rig_files(session: SessionFile) -> None:
    """Raise if two probes are of one recording, or files hold something else, each on a line with its key.

    Files of the rig are looked at as long as the session is not packaged.

    Raises
    ------
    FileFormatError
        If they do.
    """
    faults = list(_of_one_recording(session.told))
    if not whole_session.STAGE.is_finished(session.output):
        faults += [f"{key}: {error}" for key, error in _faults(session.told)]
    if faults:
        raise FileFormatError("\n".join(f"{session.path}: {fault}" for fault in faults))


def _faults(told: SessionDescription) -> Iterator[tuple[str, AllenEcephysError | str]]:
    sync: SyncFile | None = None
    if told.sync is not None:
        try:
            sync = open_sync_file(told.sync, told.lines)
        except _WRONG_CONTENTS as error:
            yield "lines" if isinstance(error, UnknownNameError) else "sync", error
            return  # nothing else can be put in time
    stop = 0.0 if sync is None or not len(sync.seconds) else float(sync.seconds[-1])
    looks: dict[str, Callable[[], object]] = {}
    if told.stimulus is not None or told.presentations is not None:
        looks["stimulus" if told.stimulus is not None else "presentations"] = lambda: Shown.of(
            told, sync
        ).presentations(stop)
    light, eyes = told.optotagging, told.eye_ellipses
    if light is not None and sync is not None:
        seen = sync
        looks["optotagging"] = lambda: optotagging_table(seen.rising("optotagging"), read_restricted_pickle(light))
    if eyes is not None:
        looks["eye_ellipses"] = lambda: read_ellipses(eyes)
    for probe in told.probes:
        if (table := probe.channels) is not None:
            looks[f"channels of {probe.name}"] = lambda table=table: read_written_table(  # type: ignore[misc]
                table, ("channel", "structure_acronym")
            )
    for key, look in looks.items():
        try:
            look()
        except _WRONG_CONTENTS as error:
            yield key, error
        except AllenEcephysError:
            pass  # the stage says so
        except (ArithmeticError, AttributeError, LookupError, OSError, TypeError, ValueError) as error:
            yield key, in_words(error)


def _of_one_recording(told: SessionDescription) -> Iterator[str]:
    """Tell of probes that are named by different folders, or streams, of the same samples."""
    seen: dict[tuple[tuple[Path, ...], str], str] = {}
    for probe in told.probes:
        try:
            bands = open_bands(probe.recording, **probe.opened_with)
        except (AllenEcephysError, OSError):
            continue  # the stage says so
        samples = tuple(file.resolve() for file in bands.spike_band.files), bands.probe
        other = seen.setdefault(samples, probe.name)
        if other != probe.name:
            yield f"the probes {other} and {probe.name} are of one recording, {samples[0][0]}; give each one of its own"
