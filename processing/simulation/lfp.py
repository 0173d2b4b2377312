"""The LFP of a simulated session: pink-like noise shared along the probe, and an answer to every flash."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from allen_ecephys.errors import MissingDataError, UnknownIdError

from ..packaging.session import CurrentSourceDensity, LfpContents, write_lfp_nwb
from .probe_layout import CHANNELS_PER_PROBE
from .session import GroundTruth, session_metadata

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

LFP_RATE = 1249.998
#: The LFP has every fourth channel of the probe.
_EVERY = 4
_BLOCK = 46_485
#: Time from the flash to the peak of the answer, and its width (s).
_DELAY, _WIDTH = 0.06, 0.02


def write_lfp(
    path: str | os.PathLike[str],
    session: GroundTruth,
    probe_id: int,
    *,
    start: float = 3.5,
    stop: float | None = None,
    compression_level: int = 4,
    overwrite: bool = False,
) -> LfpContents:
    """Simulate the LFP of one probe of a simulated session, and write it in the released layout.

    Parameters
    ----------
    path
        The file to write.
    session
        What :func:`allen_ecephys.processing.simulation.write_session` returned, called with ``has_lfp=True``.
    probe_id
        Probe of that session.
    start, stop
        Session times (s) between which the LFP was recorded (default: to the end of the session).
    compression_level, overwrite
        As :func:`allen_ecephys.processing.packaging.session.write_lfp_nwb`.

    Returns
    -------
    LfpContents
        What was written; its traces are computed when they are asked for, always the same.

    Raises
    ------
    UnknownIdError
        If the session has no such probe.
    MissingDataError
        If the session's file states that it has no LFP: nobody would look for it.

    Examples
    --------
    >>> contents = write_lfp("small_lfp.nwb", truth, probe_id, start=148.0, stop=151.0)
    >>> contents.traces.shape
    (3749, 81)
    """
    probes = session.probes
    if probe_id not in probes.index:
        msg = f"session {session.session_id} has no probe {probe_id}; it has {probes.index.tolist()}"
        raise UnknownIdError(msg)
    if not probes.loc[probe_id, "has_lfp_data"]:
        msg = f"{session.path} states that its probes have no LFP; write it with write_session(..., has_lfp=True)"
        raise MissingDataError(msg)
    channels = session.channels
    in_brain = (channels["probe_id"] == probe_id) & (channels["structure_acronym"] != "")
    channels = channels[in_brain & (channels["probe_channel_number"] % _EVERY == 2)]
    times = start + np.arange(int((min(stop or np.inf, session.duration) - start) * LFP_RATE)) / LFP_RATE
    presentations = session.stimulus_presentations
    flashes = presentations.loc[presentations["stimulus_name"] == "flashes", "start_time"].to_numpy(np.float64)
    depth = channels["probe_vertical_position"].to_numpy(np.float64)
    contents = LfpContents(
        metadata=session_metadata(session.session_id, session.session_type, session.seed),
        probes=probes.loc[[probe_id]],
        channels=channels,
        traces=SimulatedLfp(times, flashes, depth, session.seed + probe_id),
        timestamps=times,
        csd=_current_source_density(),
    )
    write_lfp_nwb(Path(path), contents, compression_level=compression_level, overwrite=overwrite)
    return contents


class SimulatedLfp:
    """Traces (samples x channels, V) computed block by block, so that an hours-long LFP needs no memory."""

    def __init__(self, times: Floats, flashes: Floats, depth: Floats, seed: int) -> None:
        self._times, self._flashes, self._depth, self._seed = times, flashes, depth, seed
        self.shape: tuple[int, ...] = (len(times), len(depth))

    def __getitem__(self, samples: slice) -> npt.NDArray[np.float32]:
        start, stop, step = samples.indices(self.shape[0])
        blocks = [self._block(k) for k in range(start // _BLOCK, -(-stop // _BLOCK))]
        if not blocks:
            return np.empty((0, self.shape[1]), np.float32)
        return np.concatenate(blocks)[start - start // _BLOCK * _BLOCK :][: stop - start : step]

    def _block(self, k: int) -> npt.NDArray[np.float32]:
        from scipy.signal import lfilter

        times = self._times[k * _BLOCK : (k + 1) * _BLOCK]
        rng = np.random.default_rng([self._seed, 6, k])
        n = len(times)
        # 200 uV of slow fluctuation common to the probe, 50 uV of each channel's own.
        common = lfilter([1.0], [1.0, -0.995], rng.standard_normal(n)) * 20e-6
        own = lfilter([1.0], [1.0, -0.9], rng.standard_normal((n, self.shape[1]), dtype=np.float32), axis=0) * 20e-6
        traces = common[:, None] + own
        last = np.searchsorted(self._flashes, times, side="right") - 1
        since = np.where(last >= 0, times - self._flashes[np.maximum(last, 0)], np.inf)
        evoked = np.exp(-0.5 * ((since - _DELAY) / _WIDTH) ** 2)
        traces += evoked[:, None] * 300e-6 * np.cos(2.0 * np.pi * self._depth / 1600.0)
        # Whole steps of the amplifier, so that files compress as real ones do.
        return np.asarray(np.round(traces / 0.195e-6) * 0.195e-6, dtype=np.float32)


def _current_source_density() -> CurrentSourceDensity:
    """Return a sink that moves along the probe after the flash, on the release's grid of times and positions."""
    times = -0.1 + np.arange(875) / 2500.0
    y = np.arange(0.0, 10.0 * CHANNELS_PER_PROBE, 10.0)
    profile = np.gradient(np.gradient(np.cos(2.0 * np.pi * y / 1600.0)))
    wave = np.exp(-0.5 * ((times - _DELAY) / _WIDTH) ** 2)
    return CurrentSourceDensity(1e3 * wave[:, None] * profile, times, np.full(CHANNELS_PER_PROBE, 24.0), y)
