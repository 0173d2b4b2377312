"""The LFP file of one probe of a session: subsampled, re-referenced, with the answer to flashes."""

from __future__ import annotations

import logging
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
from ..synchronization import BandClock
from ..synchronization.probe_clock import fit_clock

if TYPE_CHECKING:
    import numpy.typing as npt

    from ..packaging.contents import SessionContents
    from ..readers.raw_folder import RawBands
    from ..recording import Recording
    from ..synchronization import ProbeClock

logger = logging.getLogger(__name__)

FLASHES: Final = "flashes"
SPONTANEOUS: Final = "spontaneous"


def nominal_clock(spike_band: Recording, name: str) -> ProbeClock:
    """Return the clock of a probe that nothing else timed: seconds from its first sample on, at its nominal rate."""
    first, rate = float(spike_band.timeline.numbers[0]), spike_band.sampling_rate
    length = float(spike_band.timeline.elapsed(np.array([spike_band.n_samples - 1]))[0])
    return fit_clock([first, first + max(length, 1.0)], [0.0, max(length, 1.0) / rate], rate, name=name)


def lfp_rate(bands: RawBands) -> float:
    """Return the rate of a probe's LFP file (Hz), by the probe's nominal clock."""
    rate = bands.spike_band.sampling_rate
    return rate / round(rate / RATE)


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


def write_probe_lfp(
    place: Path, bands: RawBands, clock: ProbeClock, session: SessionContents, probe_id: int
) -> dict[str, Any]:
    """Write ``probe_<id>_lfp.nwb`` and return what it holds.

    Parameters
    ----------
    place
        Folder for the file.
    bands
        Raw data of the probe; without an LFP band, the LFP is made of the wide band.
    clock
        Of the spike band's sample numbers.
    session
        The session that it belongs to.
    probe_id
        Of the probe.
    """
    band: Recording = bands.spike_band if bands.lfp is None else bands.lfp
    of_band = BandClock.of_band(clock, bands.spike_band, band)
    mine = session.channels[session.channels["probe_id"] == probe_id]
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
    onsets = session.stimulus_presentations
    flashes = onsets.loc[onsets["stimulus_name"] == FLASHES, "start_time"].to_numpy(np.float64)
    contents = LfpContents(
        metadata=session.metadata,
        probes=session.probes.loc[[probe_id]],
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
    write_lfp_nwb(place / f"probe_{probe_id}_lfp.nwb", contents)
    return described
