"""A probe of a session: its measured units, its raw data, and both on the session's clock."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from allen_ecephys.errors import InvalidContentsError
from allen_ecephys.written_tables import read_written_table

from ..packaging.identities import probe_ids
from ..packaging.session_description import ProbeDescription, SessionDescription
from ..pipeline.stage import input_files
from ..readers.raw_folder import RawBands, open_bands
from ..spike_band.writing import SATURATED_FILE
from ..synchronization import (
    BandClock,
    ProbeClock,
    SyncFile,
    clock_from_barcodes,
    clock_from_square_wave,
    clock_from_timestamps,
    decode_barcodes,
    probe_event_files,
    read_probe_events,
    read_recorder_times,
    square_wave_edges,
)
from ..synchronization.ni_daq import SQUARE_WAVE
from ..synchronization.probe_events import recorder_times_file
from . import median_subtraction
from .probe_lfp import lfp_rate
from .session import PACKAGED, UNKNOWN_STRUCTURE, PackagedProbe, probe_row, read_measured_probe

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

_COORDINATES: Final = tuple(f"{axis}_ccf_coordinate" for axis in ("anterior_posterior", "dorsal_ventral", "left_right"))
#: Saturated samples closer to each other than this are of one interval, which reaches this far beyond them (s).
SATURATION_SECONDS: Final = 0.05


@dataclass(frozen=True, eq=False)
class SynchronizedProbe:
    """A probe's measured units, its raw data, and its clock.

    Attributes
    ----------
    packaged
        Units and channels.
    bands
        Raw data.
    clock
        Of the spike band's sample numbers.
    saturated
        int64 (n, 2): spans of samples of the spike band at which a fifth of the channels was at the end of the
        converter's range; None where the stage that looks for them was not run.
    """

    packaged: PackagedProbe
    bands: RawBands
    clock: ProbeClock
    saturated: NDArray[np.int64] | None

    @property
    def spike_band(self) -> BandClock:
        """When each sample of the spike band was taken."""
        return BandClock.of_band(self.clock, self.bands.spike_band, self.bands.spike_band)

    def seconds(self, samples: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the session time of samples of the spike band, counted from the file's first."""
        return self.spike_band.seconds(samples)

    def invalid_intervals(self, session_stop: float) -> list[tuple[float, float]]:
        """Return start and stop (s) of intervals in which the session went on and this probe's data say nothing.

        Before its first sample and after its last, by more than a second; between stretches of its samples; where it
        was saturated.
        """
        parts = [self.seconds(np.array([a, b - 1])).tolist() for a, b in self.spike_band.stretches()]
        if not parts:
            return [(0.0, session_stop)]
        found = [(before[1], after[0]) for before, after in pairwise(parts)]
        if parts[0][0] > 1.0:
            found.append((0.0, parts[0][0]))
        if parts[-1][1] < session_stop - 1.0:
            found.append((parts[-1][1], session_stop))
        return sorted((start, stop) for start, stop in [*found, *self._saturated_intervals()] if stop > 0.0)

    def _saturated_intervals(self) -> list[tuple[float, float]]:
        if self.saturated is None or not len(self.saturated):
            return []
        margin = round(SATURATION_SECONDS * self.bands.spike_band.sampling_rate)
        start, stop = self.saturated.T
        apart = np.flatnonzero(start[1:] - stop[:-1] > margin)
        first = np.maximum(start[np.append(0, apart + 1)] - margin, 0)
        last = np.minimum(stop[np.append(apart, len(stop) - 1)] - 1 + margin, self.bands.spike_band.n_samples - 1)
        times = np.column_stack([self.seconds(first), self.seconds(last)])
        timed = times[np.isfinite(times).all(axis=1)]
        return [(max(float(a), 0.0), float(b)) for a, b in timed]


@dataclass(frozen=True, eq=False)
class SessionClock:
    """What the probes of a session are put in time by.

    Attributes
    ----------
    told
        The session description.
    sync
        The sync file, or None.
    reference
        Rising edges (s) of the square wave that probes share without a sync file, on the clock of the first of them.
    """

    told: SessionDescription
    sync: SyncFile | None
    reference: NDArray[np.float64] | None

    @classmethod
    def of(cls, told: SessionDescription, sync: SyncFile | None) -> SessionClock:
        """Read what all probes share."""
        sharing = [probe for probe in told.probes if probe.clock == "square_wave"]
        if not sharing or sync is not None:
            edges = None
            if sharing and sync is not None:
                edges = sync.rising(told.square_wave or SQUARE_WAVE)
            return cls(told, sync, edges)
        first = open_bands(sharing[0].recording, **sharing[0].opened_with).spike_band
        logger.info("no sync file: the session's clock is that of %s", sharing[0].name)
        return cls(told, None, square_wave_edges(first) / first.sampling_rate)

    def of_probe(self, probe: ProbeDescription, bands: RawBands) -> ProbeClock:
        """Return the clock of a probe's spike band.

        Raises
        ------
        SynchronizationError, MissingDataError, FileFormatError
            If it cannot be put in time; the message says why.
        """
        rate = bands.spike_band.sampling_rate
        if probe.clock == "recorder":
            return clock_from_timestamps(*read_recorder_times(bands.spike_band), rate, name=probe.name)
        if probe.clock == "square_wave" or self.sync is None:
            edges, seconds = square_wave_edges(bands.spike_band), self.reference
            return clock_from_square_wave(
                edges, [] if seconds is None else seconds, rate, start=probe.start or 0.0, name=probe.name
            )
        session = decode_barcodes(self.sync.rising("barcode"), self.sync.falling("barcode"))
        events = read_probe_events(probe.events or probe.recording, probe.stream or bands.probe)
        return clock_from_barcodes(events, session, rate, name=probe.name)


def clock_files(probe: ProbeDescription, bands: RawBands) -> list[Path]:
    """Return the files besides the samples that a probe's clock rests on.

    Raises
    ------
    MissingDataError
        If there are none.
    """
    if probe.clock == "recorder":
        return [recorder_times_file(bands.spike_band)]
    if probe.clock == "square_wave":
        return []
    return list(probe_event_files(probe.events or probe.recording, probe.stream or bands.probe))


def probe_inputs(probe: ProbeDescription, folder: Path) -> list[Path]:
    """Return all that a probe adds to a session: raw data, what its clock rests on, and folders of stages."""
    bands = open_bands(probe.recording, **probe.opened_with)
    looked = median_subtraction.STAGE  # which finds saturated samples; units may have been sorted without
    also = [looked.folder(folder)] if looked.is_finished(folder) else []
    stages = [stage.folder(folder) for stage in PACKAGED]
    return [*input_files(bands.spike_band, bands.lfp), *clock_files(probe, bands), *stages, *also]


def synchronized_probe(clock: SessionClock, number: int, folder: Path) -> SynchronizedProbe:
    """Read the units of a session's probe of that number, and put its samples on the session's clock."""
    told = clock.told
    probe = told.probes[number]
    bands = open_bands(probe.recording, **probe.opened_with)
    of_probe = clock.of_probe(probe, bands)
    bands.spike_band.close()  # pynwb's rings of containers would keep it open
    probe_id = int(probe_ids(told.metadata.session_id, len(told.probes))[number])
    packaged = read_measured_probe(folder, probe.name, probe_id, UNKNOWN_STRUCTURE)
    channels = packaged.channels
    if probe.channels is not None:
        channels = registered_channels(channels, probe.channels, probe.name)
    packaged = replace(packaged, channels=channels)
    saturated = None
    if median_subtraction.STAGE.is_finished(folder):
        saturated = np.load(median_subtraction.STAGE.file(folder, SATURATED_FILE)).reshape(-1, 2)
    else:
        logger.warning("%s: nothing looked for saturated samples; its invalid times do not tell of them", probe.name)
    return SynchronizedProbe(packaged, bands, of_probe, saturated)


def session_probe_row(packaged: PackagedProbe, bands: RawBands, clock: ProbeClock, *, lfp: bool) -> pd.DataFrame:
    """Return the row of a probe in the session's table."""
    return probe_row(
        packaged.probe_id, packaged.name, clock.rate, lfp_rate(bands, clock.rate) if lfp else math.nan
    )  # fmt: skip


def registered_channels(channels: pd.DataFrame, table: Path, name: str) -> pd.DataFrame:
    """Return a probe's channels with structures and coordinates from a table of its registration.

    Raises
    ------
    InvalidContentsError
        If the table is of other channels.
    """
    registered = read_written_table(table, ("channel", "structure_acronym"))
    numbers = channels["probe_channel_number"].to_numpy()
    if sorted(registered["channel"]) != sorted(numbers):
        msg = f"{table} is of {len(registered)} channels, and {name} has {len(numbers)}: it is of another probe"
        raise InvalidContentsError(msg)
    rows = registered.set_index("channel").loc[numbers]
    known = {column: rows[column].to_numpy(np.float64) for column in _COORDINATES if column in rows.columns}
    return channels.assign(structure_acronym=rows["structure_acronym"].fillna("").astype(str).to_numpy(), **known)
