"""What the headers of a recording say that is hard to believe: it is told once and used; what cannot be is refused."""

from __future__ import annotations

import functools
import logging
import math
import re
from typing import TYPE_CHECKING, Final

from allen_ecephys.errors import CorruptFileError

if TYPE_CHECKING:
    from ..recording import Recording
    from .binary import BinaryRecording
    from .spikeglx_meta import SpikeGlxMeta

logger = logging.getLogger(__name__)

#: Bands that begin or last this much differently (s) are told of; recorders stop them some milliseconds apart.
SAME_TIME_S: Final = 0.1
#: Microvolts per count of any converter and gain in use; 1.0 probes have 0.4 to 23.
PLAUSIBLE_UV: Final = (0.05, 50.0)
#: Slower than this, samples (Hz) show no spikes.
SLOWEST_SPIKE_BAND: Final = 5_000.0


@functools.cache
def _tell_once(message: str) -> None:
    """Log a warning; a recording is opened many times while it is processed."""
    logger.warning("%s", message)


def check_gain(band: BinaryRecording) -> None:
    """Tell of gains that no converter has."""
    low, high = float(band.uv_per_bit.min()), float(band.uv_per_bit.max())
    if band.dtype.kind != "f" and not (PLAUSIBLE_UV[0] <= low and high <= PLAUSIBLE_UV[1]):
        found = f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"
        _tell_once(
            f"{band.path}: by its headers a count is {found} uV; probes have {PLAUSIBLE_UV[0]:g} to "
            f"{PLAUSIBLE_UV[1]:g}. Amplitudes in uV are wrong if the gain is"
        )


def check_spike_band_rate(band: BinaryRecording) -> None:
    """Tell of a spike band that is too slow for spikes."""
    if band.sampling_rate < SLOWEST_SPIKE_BAND:
        _tell_once(
            f"{band.path}: the spike band has {band.sampling_rate:,.6g} samples a second, too few for spikes; is the "
            "rate wrong, or the file an LFP band?"
        )


def check_meta(band: BinaryRecording, meta: SpikeGlxMeta) -> None:
    """Tell of a SpikeGLX ``.meta`` that seems to be of another file: another length in seconds, or another probe."""
    seconds, stated = band.n_samples / band.sampling_rate, meta.fields.get("fileTimeSecs", "")
    try:
        told = float(stated) if stated else seconds
    except ValueError:
        told = math.nan
    whole = meta.file_size in {None, band.sample_bytes}  # of a cut file the length is told already
    if whole and not math.isclose(told, seconds, rel_tol=0.01, abs_tol=SAME_TIME_S):
        _tell_once(
            f"{meta.path}: fileTimeSecs={stated:.40}, but its {band.n_samples:,} samples at {band.sampling_rate:.10g} "
            f"Hz are {seconds:,.3f} s; is the rate or the number of channels wrong?"
        )
    # Windows wrote the name, its folders included.
    written = re.search(r"\.(imec\d*)\.(?:ap|lf)\.bin$", meta.fields.get("fileName", ""), re.IGNORECASE)
    named = re.search(r"\.(imec\d*)\.(?:ap|lf)\.", band.path.name, re.IGNORECASE)
    if written and named and written[1].lower() != named[1].lower():
        _tell_once(
            f"{meta.path} was written for {written[1]} (fileName), the file is called {named[1]}: if it was copied "
            "from another probe, sites and gains are those of that one"
        )


def _span(band: Recording) -> tuple[float, float]:
    """Return when a band begins and ends (s), as its recorder numbers samples, gaps included."""
    first = int(band.timeline.numbers[0])
    taken = int(band.timeline.elapsed([band.n_samples - 1])[0]) + 1 if band.n_samples else 0
    return first / band.sampling_rate, (first + taken) / band.sampling_rate


def check_bands(spike_band: BinaryRecording, lfp: BinaryRecording) -> None:
    """Tell of bands of a probe that begin or end apart.

    Raises
    ------
    CorruptFileError
        If the recorder's numbers leave them no moment in common.
    """
    (start, stop), (lfp_start, lfp_stop) = _span(spike_band), _span(lfp)
    if not (spike_band.timeline.numbered and lfp.timeline.numbered):
        lfp_start, lfp_stop = start, start + lfp_stop - lfp_start
    if not spike_band.n_samples or not lfp.n_samples:
        return
    late, length, lfp_length = lfp_start - start, stop - start, lfp_stop - lfp_start
    begins = f"{abs(late):,.3f} s {'after' if late > 0 else 'before'} the spike band"
    if lfp_start >= stop or lfp_stop <= start:
        msg = (
            f"{lfp.path}: by its sample numbers the LFP band begins {begins}, which lasts {length:,.3f} s, so they "
            f"have no moment in common (the LFP lasts {lfp_length:,.3f} s): one of the files is of another recording, "
            "or damaged. Copy it again, or move the LFP band away to go on without it"
        )
        raise CorruptFileError(msg)
    said = []
    if abs(late) > SAME_TIME_S:
        said.append(f"begins {begins}, and is placed there")
    if abs(lfp_length - length) > SAME_TIME_S:
        said.append(f"lasts {lfp_length:,.3f} s, the spike band {length:,.3f} s")
    if said:
        _tell_once(f"{lfp.path}: the LFP band {' and '.join(said)}; is a file cut, or of another recording?")
