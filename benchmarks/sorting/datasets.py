"""What the sorters are given: recordings with known truth, written once to a folder and read by every process."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from allen_ecephys.processing import Recording
from allen_ecephys.processing.readers import BinaryRecording
from allen_ecephys.processing.simulation.computed import ComputedRecording

COMPUTED_FILE = "recording.json"
RATE = 30_000.0
#: Where recordings, sortings and logs are kept; results go to benchmarks/results.
ROOT = Path(os.environ.get("ALLEN_ECEPHYS_SORTING_BENCHMARK", Path(tempfile.gettempdir()) / "sorting"))


@dataclass(frozen=True)
class Design:
    """Size of a data set; `source`: ``"sim"`` (this package's), ``"si"`` (SpikeInterface's) or ``"computed"``.

    A computed recording is never written: each sample follows from the seed where it is read.
    """

    source: str
    n_channels: int
    seconds: float
    n_units: int
    n_background: int
    drifting: bool = False
    rate_range: tuple[float, float] = (1.0, 30.0)
    #: Corner from which the simulator's background falls with the square of the frequency, Hz.
    corner_hz: float = 3000.0


_SMALL = Design("sim", 32, 60.0, 20, 40)
_MEDIUM = Design("sim", 128, 120.0, 80, 160)
_LARGE = Design("sim", 384, 60.0, 200, 400)
DESIGNS = {
    "small-sim": _SMALL,
    "colour-sim": replace(_SMALL, corner_hz=300.0),
    "medium-sim": _MEDIUM,
    "drift-sim": replace(_MEDIUM, drifting=True),
    "large-sim": _LARGE,
    "long-sim": replace(_SMALL, seconds=600.0),
    # As small, but units fire at about 2, 12 and 25 Hz instead of about 6: spikes without length.
    "rate2-sim": replace(_SMALL, rate_range=(1.0, 2.2)),
    "rate12-sim": replace(_SMALL, rate_range=(11.0, 30.0)),
    "rate25-sim": replace(_SMALL, rate_range=(25.0, 30.0)),
    "small-si": replace(_SMALL, source="si"),
    "medium-si": replace(_MEDIUM, source="si"),
    "drift-si": replace(_MEDIUM, source="si", drifting=True),
    "large-si": replace(_LARGE, source="si"),
    # Moving tissue, units that come and go, rates that change, background of many colours; on no disk.
    "long-384-1": replace(_LARGE, source="computed", drifting=True),
    "long-384-20": replace(_LARGE, source="computed", drifting=True, seconds=1200.0),
    "long-384-60": replace(_LARGE, source="computed", drifting=True, seconds=3600.0),
    "long-32-20": replace(_SMALL, source="computed", drifting=True, seconds=1200.0),
}


@dataclass(frozen=True)
class Dataset:
    """A recording and its truth.

    Attributes
    ----------
    spike_samples, spike_units
        int64 (n_spikes,): trough of each true spike, ascending, and its unit.
    background
        bool (n_true,): units that are neither to be found nor false when found.
    amplitude_uv, depth_um, peak_channel
        (n_true,): peak-to-trough amplitude on the largest channel, y of the unit, that channel.
    noise_uv
        (n_channels,): robust SD above 300 Hz, background units included.
    """

    folder: Path
    name: str
    seed: int
    geometry: np.ndarray
    uv_per_bit: float
    spike_samples: np.ndarray
    spike_units: np.ndarray
    background: np.ndarray
    amplitude_uv: np.ndarray
    depth_um: np.ndarray
    peak_channel: np.ndarray
    noise_uv: np.ndarray
    drift_seconds: np.ndarray
    drift_um: np.ndarray
    seconds: float

    @property
    def path(self) -> Path:
        """File of the samples: int16, (n_samples, n_channels)."""
        return self.folder / "recording.dat"

    @property
    def n_channels(self) -> int:
        """Number of channels."""
        return len(self.geometry)

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return round(self.seconds * RATE)

    def recording(self) -> Recording:
        """Open the recording, of a file or computed."""
        if (self.folder / COMPUTED_FILE).exists():
            return ComputedRecording.open(self.folder / COMPUTED_FILE)
        return BinaryRecording(
            self.path, n_columns=self.n_channels, sampling_rate=RATE, uv_per_bit=self.uv_per_bit, geometry=self.geometry
        )

    @property
    def foreground(self) -> np.ndarray:
        """Units that a sorter is to find."""
        return np.flatnonzero(~self.background)

    @property
    def snr(self) -> np.ndarray:
        """Amplitude over twice the SD of the noise on the largest channel."""
        return self.amplitude_uv / (2 * self.noise_uv[self.peak_channel])


_ARRAYS = (
    "geometry", "spike_samples", "spike_units", "background", "amplitude_uv", "depth_um", "peak_channel", "noise_uv",
    "drift_seconds", "drift_um",
)  # fmt: skip


def folder_of(name: str, seed: int) -> Path:
    """Return where a data set is kept."""
    return ROOT / f"{name}-s{seed}"


def write_dataset(folder: Path, *, seed: int, uv_per_bit: float, design: Design, **arrays: np.ndarray) -> Dataset:
    """Write the truth beside ``recording.dat``; its file is renamed into place last, so that its presence is proof."""
    name = folder.name.removeprefix(".").rsplit("-s", 1)[0]
    facts = {"name": name, "seed": seed, "uv_per_bit": uv_per_bit, "seconds": design.seconds, "rate": RATE}
    temporary = folder / ".ground_truth.npz"
    np.savez(temporary, uv_per_bit=uv_per_bit, sampling_rate=RATE, **{key: arrays[key] for key in _ARRAYS})
    (folder / "facts.json").write_text(json.dumps({**facts, "design": asdict(design)}, indent=1))
    temporary.rename(folder / "ground_truth.npz")
    return read_dataset(folder)


def read_dataset(folder: Path) -> Dataset:
    """Read a data set that :func:`write_dataset` left."""
    facts = json.loads((folder / "facts.json").read_text())
    with np.load(folder / "ground_truth.npz") as stored:
        arrays = {key: stored[key] for key in _ARRAYS}
    return Dataset(
        folder=folder, name=facts["name"], seed=facts["seed"], uv_per_bit=facts["uv_per_bit"],
        seconds=facts["seconds"], **arrays,
    )  # fmt: skip


def get_dataset(name: str, seed: int) -> Dataset:
    """Return a data set, making it where it is not there. ``long-sim@120`` is the first 120 s of ``long-sim``."""
    folder = folder_of(name, seed)
    if not (folder / "ground_truth.npz").exists():
        if "@" in name:
            return _shortened(get_dataset(name.split("@")[0], seed), float(name.split("@")[1]), folder)
        design = DESIGNS[name]
        if design.source == "sim":
            from simulated import simulate as make
        elif design.source == "computed":
            from computed import describe as make
        else:
            from generated import generate as make
        return make(design, seed, folder)
    return read_dataset(folder)


def _shortened(whole: Dataset, seconds: float, folder: Path) -> Dataset:
    n_samples = round(seconds * RATE)
    data = np.memmap(whole.path, np.int16, "r").reshape(-1, whole.n_channels)
    folder.mkdir(parents=True, exist_ok=True)
    data[:n_samples].tofile(folder / "recording.dat")
    kept = whole.spike_samples < n_samples
    arrays = {key: getattr(whole, key) for key in _ARRAYS}
    arrays |= {"spike_samples": whole.spike_samples[kept], "spike_units": whole.spike_units[kept]}
    design = replace(DESIGNS[whole.name], seconds=seconds)
    return write_dataset(folder, seed=whole.seed, uv_per_bit=whole.uv_per_bit, design=design, **arrays)


def noise_sd(data: np.ndarray, uv_per_bit: float) -> np.ndarray:
    """Robust SD (median absolute deviation) of the first 5 s of each channel above 300 Hz, uV."""
    from scipy.signal import butter, sosfiltfilt

    sos = butter(3, 300.0, "highpass", fs=RATE, output="sos")
    filtered = sosfiltfilt(sos, data[: round(5 * RATE)].astype(np.float64) * uv_per_bit, axis=0)
    return np.median(np.abs(filtered - np.median(filtered, axis=0)), axis=0) / 0.6744897501960817
