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
from ..packaging.lfp import LfpContents, write_lfp_nwb

if TYPE_CHECKING:
    import numpy.typing as npt

    from ..packaging.contents import SessionContents
    from ..readers.raw_folder import RawBands
    from ..recording import Recording
    from ..synchronization import ProbeClock

logger = logging.getLogger(__name__)

FLASHES: Final = "flashes"


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
    place: Path, bands: RawBands, clock: ProbeClock, first_number: int, session: SessionContents, probe_id: int
) -> dict[str, Any]:
    """Write ``probe_<id>_lfp.nwb`` and return what it holds.

    Parameters
    ----------
    place
        Folder for the file.
    bands
        Raw data of the probe; without an LFP band, the LFP is made of the wide band.
    clock, first_number
        Clock of the spike band's sample numbers, and the number of its first sample.
    session
        The session that it belongs to.
    probe_id
        Of the probe.
    """
    band: Recording = bands.spike_band if bands.lfp is None else bands.lfp
    per_sample = round(bands.spike_band.sampling_rate / band.sampling_rate)
    mine = session.channels[session.channels["probe_id"] == probe_id]
    in_brain = (mine["structure_acronym"] != "").to_numpy()
    valid = mine["valid_data"].to_numpy(np.bool_)
    depth = band.geometry[:, 1]
    surface = float(depth[in_brain].max()) if in_brain.any() and not in_brain.all() else np.inf
    chosen = lfp_channels(band.geometry, surface, leave_out=np.flatnonzero(~valid))
    pieces = []
    times = []
    for segment in clock.segments:
        start, stop = (
            int(np.clip(np.ceil((edge - first_number) / per_sample), 0, band.n_samples)) if np.isfinite(edge) else end
            for edge, end in ((segment.start, 0), (segment.stop, band.n_samples))
        )
        # What lies before the session has no place in it.
        before = segment.times(np.array([first_number + per_sample * start], dtype=np.float64))[0]
        if before < 0:
            start += int(np.ceil(-before * segment.rate / per_sample))
        if stop - start < 100 * round(band.sampling_rate / 1250.0):
            logger.warning("%s: %d LFP samples between two gaps are too few to filter", clock.name, stop - start)
            continue
        piece = subsampled_lfp(band, chosen, in_brain, start=start, stop=stop)
        pieces.append(piece)
        times.append(segment.times((first_number + per_sample * piece.samples()).astype(np.float64)))
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
        "n_flashes": 0,
    }
    without_csd = ""
    if bands.lfp is None:
        without_csd = "its LFP is made of the wide band"
    elif first_number:
        without_csd = (
            f"its samples begin with number {first_number:,}, where flashes cannot be cut out of the LFP band yet"
        )
    elif not len(flashes):
        without_csd = "no flashes were shown"
    if without_csd:
        logger.warning("%s gets no current source density: %s", clock.name, without_csd)
        described["without_csd"] = without_csd
    else:
        response = flash_response(
            band, clock, flashes, np.flatnonzero(~in_brain & valid), samples_per_lfp_sample=per_sample
        )
        volts = band.uv_per_bit[response.channels] * 1e-6
        contents = replace(
            contents,
            csd=released_density(response, band.geometry),
            calibrated_csd=calibrated_density(response, band.geometry, volts),
        )
        described["n_flashes"] = response.n_flashes
    write_lfp_nwb(place / f"probe_{probe_id}_lfp.nwb", contents)
    return described
