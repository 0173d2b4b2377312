"""Probes of a simulated rig: clocks of their own, tuned units, and an LFP that answers to flashes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from ...readers.compressed import CompressedFile, is_compressed
from ..raw.recording import ChannelFaults, RawGroundTruth, write_recording
from ..raw.signal import sync_words
from .lines import barcode_edges

if TYPE_CHECKING:
    import pandas as pd

    from ...readers.binary import BinaryRecording
    from ..raw.noise import NoiseModel

Floats = npt.NDArray[np.float64]

NOMINAL_RATE: Final = 30_000.0
#: When the LFP is largest after a flash (s), how long it lasts (s), and its size (uV).
LFP_DELAY: Final = 0.05
LFP_WIDTH: Final = 0.012
LFP_SIZE: Final = 300.0
#: Samples of the LFP band made at once.
LFP_BLOCK: Final = 50_000


@dataclass(frozen=True, eq=False)
class RigProbe:
    """A probe of a simulated rig, and what it recorded.

    Attributes
    ----------
    name
        As ``probeA``.
    start
        Session time of its sample 0 (s).
    rate
        Samples in a second of the session's clock.
    recording
        Raw data with their truth.
    preferred_orientation
        Of each unit (degrees).
    lfp_sink_um
        Depth at which the LFP after a flash changes its sign.

    Examples
    --------
    >>> probe = RigProbe("probeA", 5.0, 30_000.5, recorded, preferred_orientation=np.zeros(6), lfp_sink_um=500.0)
    >>> probe.samples([6.0]), probe.seconds([30_000.5])
    (array([30000.5]), array([6.]))
    """

    name: str
    start: float
    rate: float
    recording: RawGroundTruth = field(repr=False)
    preferred_orientation: Floats = field(repr=False)
    lfp_sink_um: float

    def samples(self, seconds: npt.ArrayLike) -> Floats:
        """Return the sample number, with its fraction, of session times.

        Examples
        --------
        >>> probe = RigProbe("probeA", 5.0, 30_000.5, recorded, np.zeros(6), 500.0)
        >>> probe.samples([5.0, 6.0])
        array([    0. , 30000.5])
        """
        return (np.asarray(seconds, dtype=np.float64) - self.start) * self.rate

    def seconds(self, samples: npt.ArrayLike) -> Floats:
        """Return the session time of sample numbers.

        Examples
        --------
        >>> probe = RigProbe("probeA", 5.0, 30_000.5, recorded, np.zeros(6), 500.0)
        >>> probe.seconds([0.0, 30_000.5])
        array([5., 6.])
        """
        return self.start + np.asarray(samples, dtype=np.float64) / self.rate


def record_probe(
    folder: Path,
    *,
    name: str,
    start: float,
    stop: float,
    ppm: float,
    presentations: pd.DataFrame,
    barcodes: tuple[Floats, npt.NDArray[np.int64]],
    n_units: int,
    n_channels: int,
    seed: int,
    spikeglx: bool = False,
    compress: bool = False,
    noise: NoiseModel | None = None,
) -> RigProbe:
    """Record a probe from session time `start` to `stop` with a clock that is `ppm` parts in a million too fast.

    The recorder is SpikeGLX with its square wave, or Open Ephys with barcodes.
    """
    rng = np.random.default_rng([seed, 11])
    rate = NOMINAL_RATE * (1.0 + ppm * 1e-6)
    preferred = 45.0 * rng.permutation(np.arange(n_units) % 8)
    gratings = presentations[presentations["stimulus_name"] == "drifting_gratings"].dropna(subset="orientation")
    trains = [(_tuned_train(gratings, unit, start, stop, rng) - start) * (rate / NOMINAL_RATE) for unit in preferred]
    duration = (stop - start) * rate / NOMINAL_RATE
    surface = round(0.8 * n_channels)
    truth = write_recording(
        folder, duration=duration, n_units=n_units, n_channels=n_channels, seed=seed,
        form="spikeglx" if spikeglx else "open_ephys", amplitude_range=(120.0, 300.0), surface_channel=surface,
        trains=trains, faults=ChannelFaults(references=(n_channels // 2,)), compress=compress, square_wave=(start, ppm),
        noise=noise,
    )  # fmt: skip
    probe = RigProbe(name, start, rate, truth, preferred, float(truth.geometry[:surface, 1].mean()))
    flashes = presentations.loc[presentations["stimulus_name"] == "flashes", "start_time"].to_numpy(np.float64)
    _write_lfp(probe, flashes, rng, (start, ppm))
    if not spikeglx:
        _write_events(folder, probe, *barcodes)
    return probe


def _tuned_train(
    gratings: pd.DataFrame, preferred: float, start: float, stop: float, rng: np.random.Generator
) -> Floats:
    """Fire at 2 Hz, and at up to 32 Hz while the preferred direction is shown; never within 2 ms."""
    spikes = [rng.uniform(start, stop, rng.poisson(2.0 * (stop - start)))]
    for row in gratings.itertuples():
        angle = np.deg2rad(float(row.orientation) - preferred)  # type: ignore[arg-type]
        rate = 30.0 * np.exp(2.5 * (np.cos(angle) - 1.0))
        begin, end = float(row.start_time), float(row.stop_time)  # type: ignore[arg-type]
        spikes.append(rng.uniform(begin, end, rng.poisson(rate * (end - begin))))
    times = np.sort(np.concatenate(spikes))
    times = times[(times > start + 0.01) & (times < stop - 0.01)]
    return times[np.diff(times, prepend=-np.inf) > 2e-3]


def _write_lfp(probe: RigProbe, flashes: Floats, rng: np.random.Generator, square_wave: tuple[float, float]) -> None:
    """Replace the LFP band by noise common to all channels, an offset each, and a sink after every flash."""
    recording = probe.recording.recording("lfp")
    n, n_channels = recording.n_samples, recording.n_channels
    depth = probe.recording.geometry[:, 1]
    in_brain = np.arange(n_channels) < probe.recording.surface_channel
    away = depth - probe.lfp_sink_um
    profile = np.where(in_brain, away * np.exp(-0.5 * (away / 100.0) ** 2), 0.0)
    profile *= LFP_SIZE / max(np.abs(profile).max(), 1e-9)
    common = np.cumsum(rng.normal(0.0, 3.0, n)) * 0.2
    common -= np.linspace(0.0, common[-1], n)
    offsets = rng.normal(0.0, 100.0, n_channels)
    own = np.where(in_brain, 15.0, 3.0)
    noise = np.empty((0, n_channels))
    truth = probe.recording
    highest = 2 ** (truth.probe.bits - 1) if truth.form == "spikeglx" else 2**15
    with _replaced(recording) as file:
        for start in range(0, n, LFP_BLOCK):
            stop = min(start + LFP_BLOCK, n)
            # A moving mean of nine samples, those before and after the block among them.
            fresh = stop - start + (8 if start == 0 else 0)
            noise = np.concatenate([noise, own * rng.standard_normal((fresh, n_channels))])
            running = np.cumsum(np.concatenate([np.zeros((1, n_channels)), noise]), axis=0)
            slow = (running[9:] - running[:-9]) / 3.0 * in_brain
            evoked = _evoked(probe.seconds(12.0 * np.arange(start, stop)), flashes)
            uv = evoked[:, None] * profile + common[start:stop, None] + slow + 0.2 * noise[4:-4] + offsets
            counts = np.zeros((stop - start, recording.n_columns), "<i2")
            counts[:, :n_channels] = np.rint(uv / recording.uv_per_bit).clip(-highest, highest - 1)
            if recording.n_columns > n_channels:
                counts[:, -1] = sync_words(start, stop, recording.sampling_rate, square_wave)
            if isinstance(file, CompressedFile):
                file.append(counts)
            else:
                file.write(counts.tobytes())
            noise = noise[-8:]


def _replaced(recording: BinaryRecording) -> CompressedFile | IO[bytes]:
    """Open the file of a band to be written anew, compressed as it was."""
    if not is_compressed(recording.path):
        return recording.path.open("wb")
    recording.path.unlink()
    return CompressedFile(recording.path, recording.n_columns, recording.sampling_rate)


def _evoked(seconds: Floats, flashes: Floats) -> Floats:
    """Return how large the answer to the latest flash is at times of the session (s), 1 at its peak."""
    before = np.searchsorted(flashes, seconds, side="right")
    since = np.where(before > 0, seconds - flashes[(before - 1).clip(0)], np.inf) if len(flashes) else np.inf
    return np.asarray(np.exp(-0.5 * ((since - LFP_DELAY) / LFP_WIDTH) ** 2) * np.ones(len(seconds)))


def _write_events(folder: Path, probe: RigProbe, starts: Floats, codes: npt.NDArray[np.int64]) -> None:
    """Write the barcodes that the probe saw, as Open Ephys does."""
    rising, falling = barcode_edges(starts, codes)
    samples = np.floor(probe.samples(np.concatenate([rising, falling]))).astype(np.int64)
    states = np.repeat([1, -1], [len(rising), len(falling)]).astype(np.int16)
    seen = (samples >= 0) & (samples < probe.recording.n_samples)
    order = np.argsort(samples[seen], kind="stable")
    place = folder / "events" / "Neuropix-3a-100.0" / "TTL_1"
    place.mkdir(parents=True)
    np.save(place / "event_timestamps.npy", samples[seen][order])
    np.save(place / "channel_states.npy", states[seen][order])
