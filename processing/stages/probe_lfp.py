"""Stage ``lfp``: the LFP file of one probe of a session: subsampled, re-referenced, with the answer to flashes.

Reads the raw bands, ``depth_estimation``, and what puts the probe in time; leaves ``probe_<id>_lfp.nwb``. The stages
that put a session together give that file a second name beside the session's.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from allen_ecephys.errors import MissingDataError

from ..lfp_band import (
    SubsampledLfp,
    calibrated_density,
    flash_response,
    lfp_channels,
    released_density,
    subsampled_lfp,
)
from ..lfp_band.subsampling import RATE
from ..packaging.lfp import LfpContents, write_lfp_nwb
from ..pipeline.stage import Stage, StageResult
from ..synchronization import BandClock
from ..synchronization.probe_clock import fit_clock

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

    from ..packaging.contents import SessionMetadata
    from ..readers.raw_folder import RawBands
    from ..recording import Recording
    from ..synchronization import ProbeClock

logger = logging.getLogger(__name__)

STAGE: Final = Stage("lfp")
#: Errors of a disk, or of two disks, on which a file cannot have a second name.
ONE_NAME_ONLY: Final = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS, errno.EACCES})
FLASHES: Final = "flashes"
SPONTANEOUS: Final = "spontaneous"


def nominal_clock(spike_band: Recording, name: str) -> ProbeClock:
    """Return the clock of a probe that nothing else timed: seconds from its first sample on, at its nominal rate."""
    first, rate = float(spike_band.timeline.numbers[0]), spike_band.sampling_rate
    length = float(spike_band.timeline.elapsed(np.array([spike_band.n_samples - 1]))[0])
    return fit_clock([first, first + max(length, 1.0)], [0.0, max(length, 1.0) / rate], rate, name=name)


def lfp_rate(bands: RawBands, rate: float | None = None) -> float:
    """Return the rate of a probe's LFP file (Hz), by that of its spike band: the nominal one if none is given.

    An LFP has a sample for every 24th of a 1.0 probe's spike band, whichever band it is made of.
    """
    nominal = bands.spike_band.sampling_rate
    return (rate or nominal) / round(nominal / RATE)


def lfp_file(probe_id: int) -> str:
    """Return the name of a probe's LFP file."""
    return f"probe_{probe_id}_lfp.nwb"


def collect(stages: Iterable[StageResult], place: Path) -> list[str]:
    """Give the LFP files of probes a second name in a folder, and return those names that take no room.

    Where a disk knows no second names, the files are copied.
    """
    linked = []
    for source in (path for stage in stages for path in sorted(stage.folder.glob("probe_*_lfp.nwb"))):
        try:
            os.link(source, place / source.name)
            linked.append(source.name)
        except OSError as error:
            if error.errno not in ONE_NAME_ONLY:
                raise
            shutil.copyfile(source, place / source.name)
    return linked


@dataclass(frozen=True, eq=False)
class LfpOfProbe:
    """What the LFP file of a probe is made of.

    Attributes
    ----------
    bands
        Raw data; without an LFP band, the LFP is made of the wide band.
    clock
        Of the spike band's sample numbers.
    metadata
        Of the session.
    probe, channels
        Rows of the session's tables, indexed by their ids: one probe, and its channels.
    presentations
        What was shown, as in the session.
    """

    bands: RawBands
    clock: ProbeClock
    metadata: SessionMetadata
    probe: pd.DataFrame
    channels: pd.DataFrame
    presentations: pd.DataFrame


@dataclass(frozen=True, eq=False)
class JoinedLfp:
    """The LFP of the stretches between a clock's gaps, one after the other."""

    pieces: tuple[SubsampledLfp, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Samples x channels."""
        return sum(piece.shape[0] for piece in self.pieces), self.pieces[0].shape[1]

    def __getitem__(self, rows: slice) -> npt.NDArray[np.int16]:
        """Return counts of consecutive samples."""
        first, last, _ = rows.indices(self.shape[0])
        parts, begin = [], 0
        for piece in self.pieces:
            start, stop = max(first - begin, 0), min(last - begin, piece.shape[0])
            if start < stop:
                parts.append(piece[start:stop])
            begin += piece.shape[0]
        return np.concatenate(parts) if parts else np.empty((0, self.shape[1]), np.int16)


def write_probe_lfp(place: Path, told: LfpOfProbe) -> dict[str, Any]:
    """Write ``probe_<id>_lfp.nwb`` into a folder and return what it holds.

    Raises
    ------
    MissingDataError
        If no stretch of the LFP is long enough.
    """
    bands, clock, mine = told.bands, told.clock, told.channels
    band: Recording = bands.spike_band if bands.lfp is None else bands.lfp
    of_band = BandClock.of_band(clock, bands.spike_band, band)
    in_brain = (mine["structure_acronym"] != "").to_numpy()
    valid = mine["valid_data"].to_numpy(np.bool_)
    depth = band.geometry[:, 1]
    surface = float(depth[in_brain].max()) if in_brain.any() and not in_brain.all() else np.inf
    chosen = lfp_channels(band.geometry, surface, leave_out=np.flatnonzero(~valid))
    pieces, times, short = [], [], 0
    for start, stop in of_band.stretches():
        # What lies before the session has no place in it.
        before = float(of_band.seconds(np.array([start]))[0])
        first = start + max(0, int(np.ceil(-before * clock.rate / of_band.step)))
        if stop - first < 100 * round(band.sampling_rate / RATE):
            short += 1
            continue
        piece = subsampled_lfp(band, chosen, in_brain, start=first, stop=stop)
        pieces.append(piece)
        times.append(of_band.seconds(piece.samples()))
    if short:
        logger.warning("%s: %d stretches of its LFP between gaps are too short and left out", clock.name, short)
    if not pieces:
        msg = f"{clock.name}: no stretch of its LFP is long enough"
        raise MissingDataError(msg)
    channels = mine.iloc[chosen]
    onsets = told.presentations
    flashes = onsets.loc[onsets["stimulus_name"] == FLASHES, "start_time"].to_numpy(np.float64)
    contents = LfpContents(
        metadata=told.metadata,
        probes=told.probe,
        channels=channels,
        traces=JoinedLfp(tuple(pieces)),
        timestamps=np.concatenate(times),
        volts_per_count=pieces[0].microvolts_per_count * 1e-6,
    )
    described: dict[str, Any] = {
        "n_samples": int(contents.traces.shape[0]),
        "channels": channels["probe_channel_number"].tolist(),
        "n_reference_channels": len(pieces[0].outside),
        "n_stretches": len(pieces),
        "n_flashes": 0,
    }
    if not len(flashes):
        described["without_csd"] = "no flashes were shown"
        shown = set(onsets["stimulus_name"]) - {SPONTANEOUS}
        level = logging.WARNING if shown else logging.INFO  # where nothing was shown, nobody misses it
        logger.log(level, "%s gets no current source density: %s", clock.name, described["without_csd"])
    else:
        response = flash_response(band, of_band, flashes, np.flatnonzero(~in_brain & valid))
        volts = band.uv_per_bit[response.channels] * 1e-6
        contents = replace(
            contents,
            csd=released_density(response, band.geometry),
            calibrated_csd=calibrated_density(response, band.geometry, volts),
        )
        described["n_flashes"] = response.n_flashes
    write_lfp_nwb(place / lfp_file(int(told.probe.index[0])), contents)
    return described
