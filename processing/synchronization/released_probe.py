"""A probe of the release's raw data on its session's clock."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import FileFormatError

from ..readers.arrays import read_npy
from ..readers.released import LFP_BAND_FILE, SPIKE_BAND_FILE, open_released_band
from ..readers.streamed import SeekableFile, StreamedRecording
from .band_clock import BandClock
from .barcodes import ProbeEvents, decode_barcodes
from .shared_events import clock_from_barcodes
from .sync_file import open_sync_file

if TYPE_CHECKING:
    from ..readers.binary import BinaryRecording
    from .probe_clock import ProbeClock

logger = logging.getLogger(__name__)

Floats = npt.NDArray[np.float64]

#: Barcodes come every 30 s; a recording that goes on for longer than this after the last one lost them (s).
LONGEST_WITHOUT_EVENT: Final = 120.0


class RawFiles(Protocol):
    """The raw data of one probe, as ``cache.get_raw_data`` gives them."""

    @property
    def spike_band(self) -> Path | SeekableFile:
        """Spike band, a path or open for reading."""

    @property
    def lfp_band(self) -> Path | SeekableFile | None:
        """LFP band; None where there is none."""

    @property
    def event_timestamps(self) -> Path:
        """Sample numbers of the changes of the barcode line."""

    @property
    def channel_states(self) -> Path:
        """What the line changed to."""

    @property
    def sync(self) -> Path:
        """The session's sync file."""


@dataclass(frozen=True, eq=False)
class ReleasedProbe:
    """A probe's raw data, placed in the session's time.

    Attributes
    ----------
    spike_band, lfp
        Its bands; `lfp` is None where there is none.
    clock
        Of the probe, with its residuals and drift.

    Examples
    --------
    >>> clock = fit_clock([0, 300_000], [5.0, 15.0], 30_000)
    >>> probe = ReleasedProbe(bands.spike_band, bands.lfp, clock)
    >>> probe.seconds([0, 3_000]), probe.samples([5.1, 4.0])
    (array([5. , 5.1]), array([3000.,   nan]))
    """

    spike_band: BinaryRecording
    lfp: BinaryRecording | None
    clock: ProbeClock

    @property
    def sampling_rate(self) -> float:
        """Samples of the spike band in a second of the session's clock (Hz).

        Examples
        --------
        >>> clock = fit_clock([0, 300_010], [5.0, 15.0], 30_000)
        >>> round(ReleasedProbe(bands.spike_band, bands.lfp, clock).sampling_rate, 3)
        30001.0
        """
        return self.clock.rate

    @property
    def n_samples(self) -> int:
        """Samples of the spike band.

        Examples
        --------
        >>> clock = fit_clock([0, 300_000], [5.0, 15.0], 30_000)
        >>> ReleasedProbe(bands.spike_band, bands.lfp, clock).n_samples
        180000
        """
        return self.spike_band.n_samples

    def seconds(self, samples: npt.ArrayLike) -> Floats:
        """Return the session time of samples of the spike band (s); NaN where the clock has a gap.

        Examples
        --------
        >>> clock = fit_clock([0, 300_000], [5.0, 15.0], 30_000)
        >>> ReleasedProbe(bands.spike_band, bands.lfp, clock).seconds([15_000])
        array([5.5])
        """
        return BandClock(self.clock, self.spike_band.timeline).seconds(samples)

    def samples(self, seconds: npt.ArrayLike) -> Floats:
        """Return the samples of the spike band, with their fractions, at session times (s).

        NaN where the probe did not record: before its first sample, after its last, and in gaps of its clock.

        Examples
        --------
        >>> clock = fit_clock([0, 300_000], [5.0, 15.0], 30_000)
        >>> ReleasedProbe(bands.spike_band, bands.lfp, clock).samples([5.5, 4.9])
        array([15000.,    nan])
        """
        wanted = np.asarray(seconds, dtype=np.float64)
        found = np.full(wanted.shape, np.nan)
        for segment in self.clock.segments:
            numbers = segment.numbers(wanted)
            inside = (numbers >= max(segment.start, 0.0)) & (numbers < min(segment.stop, float(self.n_samples)))
            found = np.where(inside, numbers, found)
        return found

    def read_uv(self, start: int, stop: int, channels: npt.NDArray[np.int64] | None = None) -> npt.NDArray[np.float32]:
        """Return samples ``[start, stop)`` of the spike band in microvolts, (stop - start, channels).

        Examples
        --------
        >>> clock = fit_clock([0, 300_000], [5.0, 15.0], 30_000)
        >>> probe = ReleasedProbe(bands.spike_band, bands.lfp, clock)
        >>> first, last = probe.samples([5.5, 5.6]).round().astype(int)
        >>> probe.read_uv(first, last).shape
        (3000, 32)
        """
        return self.spike_band.read_uv(start, stop, channels)

    def prefetch(self, windows: Sequence[tuple[int, int]]) -> None:
        """Have the samples of many windows fetched together, where the spike band lies elsewhere.

        Examples
        --------
        >>> clock = fit_clock([0, 300_000], [5.0, 15.0], 30_000)
        >>> ReleasedProbe(bands.spike_band, bands.lfp, clock).prefetch([(0, 100)])  # a local file: nothing to do
        """
        if isinstance(self.spike_band, StreamedRecording):
            self.spike_band.prefetch(windows)


@dataclass(frozen=True)
class _FilesOfFolder:
    """The raw data of a probe by the names that they have in the bucket."""

    spike_band: Path
    lfp_band: Path | None
    event_timestamps: Path
    channel_states: Path
    sync: Path

    @classmethod
    def of(cls, folder: Path) -> _FilesOfFolder:
        lfp = folder / LFP_BAND_FILE
        return cls(
            folder / SPIKE_BAND_FILE,
            lfp if lfp.is_file() else None,
            folder / "event_timestamps.npy",
            folder / "channel_states.npy",
            folder.resolve().parent / "sync.h5",
        )


def open_released_probe(files: RawFiles | str | os.PathLike[str]) -> ReleasedProbe:
    """Open the release's raw data of a probe, on its session's clock.

    Parameters
    ----------
    files
        What ``cache.get_raw_data(session_id, probe_id)`` returns, anything with the same five files, or the probe's
        folder, ``raw-data/<session>/<probe>``, with the session's ``sync.h5`` above it.

    Returns
    -------
    ReleasedProbe
        For ``session.raw_snippets`` and every step of the processing (``.spike_band`` is a recording).

    Raises
    ------
    FileFormatError
        If the spike band ends before the barcodes do: it was cut, or is of another recording.
    SynchronizationError
        If no barcode of the probe is among those of the sync file.
    FileFormatError, CorruptFileError, MissingFileError
        If a file is not there, or is not what it should be.
    """
    if isinstance(files, (str, os.PathLike)):
        files = _FilesOfFolder.of(Path(files))
    spike_band = open_released_band(files.spike_band)
    lfp = None if files.lfp_band is None else open_released_band(files.lfp_band, "lfp")
    where = str(Path(os.fspath(files.event_timestamps)).parent)
    events = ProbeEvents.from_arrays(read_npy(files.event_timestamps), read_npy(files.channel_states), where)
    _check_length(spike_band, events, where)
    sync = open_sync_file(files.sync)
    rising, falling = sync.rising("barcode"), sync.falling("barcode")
    clock = clock_from_barcodes(
        events, decode_barcodes(rising, falling), spike_band.sampling_rate, name=f"the probe of {where}"
    )
    return ReleasedProbe(spike_band, lfp, clock)


def _check_length(spike_band: BinaryRecording, events: ProbeEvents, where: str) -> None:
    """Refuse a spike band that its events outlast; tell of one that outlasts them by far."""
    if not len(events.samples):
        return
    last = int(events.samples[-1])
    if last >= spike_band.n_samples:
        msg = (
            f"{spike_band.path} holds {spike_band.n_samples:,} samples, but the events of {where} go on to sample "
            f"{last:,}: the file was cut, or they are of another recording. Fetch both again"
        )
        raise FileFormatError(msg)
    beyond = (spike_band.n_samples - last) / spike_band.sampling_rate
    if beyond > LONGEST_WITHOUT_EVENT:
        logger.warning(
            "%s goes on for %.0f s after the last event of %s: times there are extrapolated", spike_band.path, beyond,
            where,
        )  # fmt: skip
