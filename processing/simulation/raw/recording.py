"""Raw probe data with known truth: what a sorter, a filter or a metric is to find is written beside it."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import (
    AllenEcephysError,
    FileFormatError,
    InvalidValueError,
    RecordingTooShortError,
    UnknownNameError,
    in_words,
)
from allen_ecephys.files import atomic_folder, open_regular

from ...probes import COLUMN_X, ROW_PITCH
from ...ranges import check_positive, check_whole
from ...readers.binary import BinaryRecording
from ...readers.finding import called
from ...shanks import ShankLines
from ...sorted_spikes import SortedSpikes
from .formats import Form, RawForm, check_form_holds, raw_form, write_metadata
from .noise import NoiseModel
from .probe import NEUROPIXELS_1, RecordedProbe, recorded_probe
from .signal import ChannelFaults as ChannelFaults
from .signal import DriftModel as DriftModel
from .signal import ProbeSignal
from .templates import TEMPLATE_SAMPLES, UnitShapes, draw_unit_shapes
from .trains import TrainModel, Trains, assemble_trains, draw_trains

if TYPE_CHECKING:
    import pandas as pd

TRUTH_FILE: Final = "ground_truth.npz"
#: Of recordings of several probes: has a folder for each.
TRUTH_FOLDER: Final = "ground_truth"


@dataclass(frozen=True)
class RawGroundTruth:
    """A simulated recording and everything that went into it.

    Attributes
    ----------
    folder, form
        Where the recording is, and in which form.
    spike_times
        int64 (n_spikes,): sample of each spike's trough, sorted.
    spike_units
        int64: unit id of each spike (row of `units`).
    spike_amplitudes
        float32: size of each spike relative to its unit's template.
    templates
        float32 (n_units, 82, n_channels), microvolts: the waveform as recorded, spike at sample 20, without drift; zero
        on channels that do not record.
    units
        Table, index unit_id: position x, y, z (um), peak_channel, amplitude (uV, peak to trough), snr
        (amplitude / (2 SD of the noise on the peak channel)), n_spikes, firing_rate (Hz), drift (um, largest
        displacement among its spikes), preferred_direction (degrees) and the waveform's parameters.
    noise_uv
        float64 (n_channels,): measured SD of everything but spikes and offsets, microvolts.
    offsets_uv
        float64 (n_channels,): constant offset of each channel, microvolts.
    probe
        The probe and its recorded sites.
    surface_um
        Where the brain ends, um along the shanks.
    drift_times, drift_um
        Seconds, and displacement of the tissue half way up the probe at these times.
    gratings
        (n, 3): start, stop (s), direction (degrees) of what tuned units saw; empty without tuning.
    faults
        What is broken.
    files
        Where the samples are in `folder`, if not where the form has them.

    Examples
    --------
    >>> recorded.n_channels, recorded.units.shape[0]
    (32, 6)
    >>> recorded.spike_train(0)[:2]
    array([5057, 6283])
    """

    folder: Path
    form: Form
    sampling_rate: float
    n_samples: int
    seed: int
    spike_times: npt.NDArray[np.int64]
    spike_units: npt.NDArray[np.int64]
    spike_amplitudes: npt.NDArray[np.float32]
    templates: npt.NDArray[np.float32]
    units: pd.DataFrame
    noise_uv: npt.NDArray[np.float64]
    offsets_uv: npt.NDArray[np.float64]
    probe: RecordedProbe
    surface_um: float
    drift_times: npt.NDArray[np.float64]
    drift_um: npt.NDArray[np.float64]
    gratings: npt.NDArray[np.float64]
    faults: ChannelFaults = field(default_factory=ChannelFaults)
    files: RawForm | None = None

    @property
    def n_channels(self) -> int:
        """Number of channels.

        Examples
        --------
        >>> recorded.n_channels
        32
        """
        return len(self.geometry)

    @property
    def geometry(self) -> npt.NDArray[np.float64]:
        """Positions of the channels, float64 (n_channels, 2), um.

        Examples
        --------
        >>> recorded.geometry[:2]
        array([[43., 20.],
               [11., 20.]])
        """
        return self.probe.geometry

    @property
    def surface_channel(self) -> int:
        """Lowest channel above the brain; the number of channels if there is none.

        Examples
        --------
        >>> recorded.surface_channel, recorded.surface_um
        (26, 280.0)
        """
        places = ShankLines.of(self.geometry, self.probe.shanks).places
        above = np.flatnonzero(places >= self.surface_um - 1e-6)
        return int(above[places[above].argmin()]) if len(above) else self.n_channels

    def recording(self, band: str = "ap") -> BinaryRecording:
        """Open the samples of band ``"ap"`` or ``"lfp"``.

        Examples
        --------
        >>> recorded.recording("lfp").sampling_rate
        2500.0
        """
        form = self.files or raw_form(self.form)
        is_ap = band == "ap"
        step = self.probe.ap_step_uv if is_ap else self.probe.lfp_step_uv or self.probe.ap_step_uv
        return BinaryRecording(
            self.folder / (form.ap_file if is_ap else form.lfp_file),
            n_columns=self.n_channels + form.sync_column,
            channels=np.arange(self.n_channels),
            sampling_rate=self.sampling_rate if is_ap else self.sampling_rate / 12,
            uv_per_bit=step if form.uv_per_bit is None else form.uv_per_bit,
            geometry=self.geometry,
            shanks=self.probe.shanks,
            adc=self.probe.adc,
            reference_channels=self.faults.references or (),
            full_scale_uv=step * 2 ** (self.probe.bits - 1),
        )

    def sorted_spikes(self) -> SortedSpikes:
        """Return the true spikes as a sorter would leave them.

        Examples
        --------
        >>> recorded.sorted_spikes().counts(), recorded.units["n_spikes"].to_numpy()
        (array([33, 58, 44, 14,  6,  6]), array([33, 58, 44, 14,  6,  6]))
        """
        return SortedSpikes.from_arrays(
            self.spike_times, self.spike_units, unit_ids=self.units.index, n_samples=self.n_samples
        )

    def spike_train(self, unit: int) -> npt.NDArray[np.int64]:
        """Return the sample numbers of one unit's spikes.

        Examples
        --------
        >>> recorded.spike_train(0)[:3] / recorded.sampling_rate
        array([0.16856667, 0.20943333, 0.33193333])
        """
        times: npt.NDArray[np.int64] = self.spike_times[self.spike_units == unit]
        return times


def write_recording(
    folder: str | os.PathLike[str],
    *,
    duration: float = 10.0,
    n_units: int = 20,
    n_channels: int = 384,
    probe: str = NEUROPIXELS_1,
    sites: npt.ArrayLike | None = None,
    form: Form = "open_ephys",
    sampling_rate: float = 30_000.0,
    seed: int = 0,
    amplitude_range: tuple[float, float] = (30.0, 400.0),
    surface_channel: int | None = None,
    surface_um: float | None = None,
    noise: NoiseModel | None = None,
    trains: TrainModel | Trains | Sequence[npt.NDArray[np.float64]] | None = None,
    shapes: UnitShapes | None = None,
    drift: DriftModel | None = None,
    faults: ChannelFaults | None = None,
    geometry: npt.ArrayLike | None = None,
    multiplexed: bool = True,
    lfp: bool = True,
    compress: bool = False,
    square_wave: tuple[float, float] = (0.0, 0.0),
) -> RawGroundTruth:
    """Simulate a Neuropixels recording and write it, with its ground truth, to a new folder.

    Spikes pass the amplifiers' 500 Hz high-pass; channels are digitised to the probe's bits (10 on a 1.0 probe), one
    after the other in a sample.
    The recording is made and written in blocks of one second, so any length fits in memory; the folder appears
    complete or not at all. Equal arguments give equal bytes where NumPy's linear algebra uses as many threads
    (OMP_NUM_THREADS): its sums, and with them some samples' last bit, depend on these.

    Parameters
    ----------
    folder
        New folder for the recording.
    duration
        Seconds.
    n_units
        Number of units; ignored where `shapes` are given.
    n_channels
        Channels of the probe, from the tip up; ignored where `sites` are given.
    probe
        Part number of the probe, any of the catalogue such as ``"NP2013"``.
    sites
        The sites to record from, in any order, numbered as the manufacturer does; the lowest ones by default.
    form
        ``"open_ephys"`` (3A layout: two ``continuous.dat``; a 1.0 probe's lowest sites only), ``"spikeglx"``
        (``.bin`` + ``.meta``, 385 columns) or ``"binary"``.
    amplitude_range
        Peak-to-trough amplitudes of units, uV.
    surface_channel
        First channel above the brain: 82 % up the recorded sites by default. No unit lies above it.
    surface_um
        Where the brain ends (um along the shanks) instead, on the recorded sites or not.
    noise, drift, faults
        How noisy, moving and broken the recording is.
    trains
        How units fire, or their spikes with amplitudes, or their spike times in seconds (one sorted array a unit).
    shapes
        Positions and waveforms of units; drawn by default.
    geometry
        (n_channels, 2) um, of no particular probe.
    multiplexed
        Whether channels are digitised one after the other (as a probe does) or at the same instant.
    lfp
        Whether to write the LFP band (2500 Hz), if the probe has one.
    compress
        Whether to write compressed samples (``.cbin`` + ``.ch``), a third as large; of form ``"spikeglx"`` only.
    square_wave
        When the first sample was taken (s) by the clock of the square wave of SpikeGLX, which is up for the latter half
        of each second, and by how much (ppm) the probe's own clock is faster than that one.

    Raises
    ------
    InvalidValueError
        If a number is out of range: a negative seed, no channel, or more than the probe records at once; or files of
        the form are not compressed.
    RecordingTooShortError
        If `duration` holds no spike waveform of 82 samples.
    GeometryError
        If two sites share a channel, or the form cannot describe the probe.
    UnknownNameError
        If there is no such probe or form.
    FileExistsError
        If the folder exists and is not empty.
    DiskFullError
        If the disk has no room for the recording; nothing is left behind.

    Examples
    --------
    >>> made = write_recording("short", duration=1.0, n_units=2, n_channels=8)
    >>> made.n_channels, made.spike_times.dtype
    (8, dtype('int64'))
    """
    check_whole("n_units", n_units)
    check_whole("n_channels", n_channels, least=1)
    recorded = recorded_probe(probe, n_channels, sites=sites, geometry=geometry, multiplexed=multiplexed)
    layout = raw_form(form).compressed() if compress else raw_form(form)
    of_recorder = layout.name == "spikeglx"
    if of_recorder and surface_um is not None:
        surface_um += recorder_frame(recorded)
    signal = probe_signal(
        recorded, duration=duration, n_units=n_units, sampling_rate=sampling_rate, seed=seed,
        amplitude_range=amplitude_range, surface_channel=surface_channel, surface_um=surface_um, noise=noise,
        trains=trains, shapes=shapes, drift=drift, faults=faults, square_wave=square_wave,
    )  # fmt: skip
    check_form_holds(layout, signal.probe)
    with atomic_folder(Path(folder)) as temporary:
        n_lfp = write_samples(signal, temporary, layout, lfp=lfp)
        write_metadata(temporary, layout, sampling_rate, signal.n_samples, n_lfp, signal.probe)
        files = layout if compress else None
        truth = ground_truth(signal, Path(folder), form, files, of_recorder=of_recorder)
        save_ground_truth(truth, temporary)
    return truth


def probe_signal(
    recorded: RecordedProbe,
    *,
    duration: float,
    n_units: int,
    sampling_rate: float,
    seed: int,
    amplitude_range: tuple[float, float],
    surface_channel: int | None = None,
    surface_um: float | None = None,
    noise: NoiseModel | None = None,
    trains: TrainModel | Trains | Sequence[npt.NDArray[np.float64]] | None = None,
    shapes: UnitShapes | None = None,
    drift: DriftModel | None = None,
    faults: ChannelFaults | None = None,
    square_wave: tuple[float, float] = (0.0, 0.0),
) -> ProbeSignal:
    """Return what a probe records, see :func:`write_recording`."""
    check_whole("seed", seed)
    check_positive("duration", duration)
    check_positive("sampling_rate", sampling_rate)
    n_samples = round(duration * sampling_rate)
    if n_samples < TEMPLATE_SAMPLES:
        msg = (
            f"duration {duration} s is {n_samples} samples, less than one waveform ({TEMPLATE_SAMPLES}); make it longer"
        )
        raise RecordingTooShortError(msg)
    places = recorded.geometry
    faults = faults or ChannelFaults()
    listed = recorded.references if faults.references is None else faults.references
    faults = replace(faults, references=tuple(c for c in listed if c < len(places)))
    recorded = replace(recorded, references=faults.references or ())
    rng = np.random.default_rng([seed, 0])
    surface, top = _surface(recorded, surface_channel, surface_um)
    if shapes is None:
        shapes = draw_unit_shapes(
            n_units, places, rng, amplitude_range=amplitude_range, depth_range=(places[:, 1].min(), top)
        )
    spikes = _spikes(shapes, trains, n_samples / sampling_rate, sampling_rate, rng)
    return ProbeSignal(
        probe=recorded, sampling_rate=sampling_rate, n_samples=n_samples, shapes=shapes, trains=spikes,
        noise=noise or NoiseModel(), drift=drift or DriftModel(), faults=faults, surface_um=surface, seed=seed,
        square_wave=square_wave,
    )  # fmt: skip


def write_samples(signal: ProbeSignal, folder: Path, files: RawForm, *, lfp: bool = True) -> int:
    """Write both bands of a probe, or the spike band alone; return how many samples the LFP band has."""
    lfp = lfp and signal.probe.lfp_step_uv is not None
    n_lfp = signal.n_samples // 12 if lfp else 0
    for name in (files.ap_file, files.lfp_file)[: 2 if lfp else 1]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    signal.write_ap(folder / files.ap_file, files)
    if lfp:
        signal.write_lfp(folder / files.lfp_file, files, n_lfp)
    return n_lfp


def _surface(probe: RecordedProbe, channel: int | None, surface_um: float | None) -> tuple[float, float]:
    """Return where the brain ends along the shanks (um), and the y above which no unit lies."""
    lines = ShankLines.of(probe.geometry, probe.shanks)
    y = probe.geometry[:, 1]
    if surface_um is not None:
        return surface_um, float(min(surface_um, y.max()))
    order = np.argsort(lines.places, kind="stable")
    number = round(0.82 * len(y))
    chosen = channel if channel is not None else int(order[number]) if number < len(y) else len(y)
    if chosen >= len(y):
        return float(lines.places.max() + 10.0), float(y.max())
    return float(lines.places[chosen]), float(y[chosen])


def _spikes(
    shapes: UnitShapes,
    trains: TrainModel | Trains | Sequence[npt.NDArray[np.float64]] | None,
    duration: float,
    sampling_rate: float,
    rng: np.random.Generator,
) -> Trains:
    if trains is None or isinstance(trains, TrainModel):
        return draw_trains(len(shapes), duration, sampling_rate, rng, trains)
    if isinstance(trains, Trains):
        return trains
    if len(trains) != len(shapes):
        msg = f"{len(trains)} spike trains were given for {len(shapes)} units; give one array of seconds per unit"
        raise InvalidValueError(msg)
    for unit, train in enumerate(trains):
        values = np.asarray(train, dtype=np.float64)
        if len(values) and (not (np.diff(values) >= 0).all() or values[0] < 0 or not values[-1] < duration):
            msg = f"spike times of unit {unit} are not sorted within [0, {duration}) s; sort and clip them"
            raise InvalidValueError(msg)
    return assemble_trains([np.asarray(train, dtype=np.float64) for train in trains], sampling_rate, rng)


def recorder_frame(probe: RecordedProbe) -> float:
    """Return how much lower (um) sites lie in a recorder's files than in the simulation: 1.0 probes by a row.

    SpikeGLX, Open Ephys and probeinterface count from the lowest row and the first column; released recordings of 3A
    probes, and the simulation of 1.0 probes with them, from a row below, and see the probe from the other side.
    """
    return ROW_PITCH if probe.part_number == NEUROPIXELS_1 else 0.0


def _as_recorders_say(truth: RawGroundTruth) -> RawGroundTruth:
    """Return a truth whose positions are those that a recorder's files give, and so the readers of them."""
    lower = recorder_frame(truth.probe)
    if not lower:
        return truth
    geometry = np.array([max(COLUMN_X), -lower]) + np.array([-1.0, 1.0]) * truth.geometry
    units = truth.units.assign(x=max(COLUMN_X) - truth.units["x"], y=truth.units["y"] - lower)
    return replace(
        truth, probe=replace(truth.probe, geometry=geometry), units=units, surface_um=truth.surface_um - lower
    )  # fmt: skip


def ground_truth(
    signal: ProbeSignal, folder: Path, form: Form, files: RawForm | None = None, *, of_recorder: bool = False
) -> RawGroundTruth:
    """Return what went into samples that were written, which tell how large the noise became.

    Positions are those of the simulation, or as a recorder's files have them (`of_recorder`).
    """
    seconds = signal.n_samples / signal.rate
    drift_times = np.linspace(0.0, seconds, 201)
    templates = signal.templates()
    noise_uv = np.sqrt(signal.squares / signal.n_samples)
    noise_uv[list(signal.faults.references or ())] *= 0.2
    noise_uv[[*signal.faults.dead, *signal.faults.saturated]] = 0.0
    truth = RawGroundTruth(
        folder=folder, form=form, sampling_rate=signal.rate, n_samples=signal.n_samples, seed=signal.seed,
        spike_times=signal.spike_times, spike_units=signal.units, spike_amplitudes=signal.amplitudes,
        templates=templates, units=_unit_table(signal, templates, noise_uv), noise_uv=noise_uv,
        offsets_uv=signal.offsets_uv, probe=signal.probe, surface_um=signal.surface_um,
        drift_times=drift_times, drift_um=signal.drift.displacement(drift_times, seconds),
        gratings=signal.trains.gratings, faults=signal.faults, files=files,
    )  # fmt: skip
    return _as_recorders_say(truth) if of_recorder else truth


def _unit_table(
    signal: ProbeSignal, templates: npt.NDArray[np.float32], noise_uv: npt.NDArray[np.float64]
) -> pd.DataFrame:
    import pandas as pd

    n_units = len(signal.shapes)
    sizes = np.ptp(templates, axis=1)
    peak = sizes.argmax(axis=1) if n_units else np.empty(0, np.int64)
    counts = np.bincount(signal.units, minlength=n_units)
    furthest = np.zeros(n_units)
    np.maximum.at(furthest, signal.units, np.abs(signal.shifts).astype(np.float64))
    noise = noise_uv[peak]
    amplitude = sizes[np.arange(n_units), peak].astype(np.float64)
    table = {
        "peak_channel": peak,
        "amplitude": amplitude,
        "snr": np.divide(amplitude, 2 * noise, out=np.zeros(n_units), where=noise > 0),
        "n_spikes": counts,
        "firing_rate": counts / (signal.n_samples / signal.rate),
        "drift": furthest,
        "preferred_direction": signal.trains.preferred_direction,
        **signal.shapes.columns(),
    }
    return pd.DataFrame(table, index=pd.RangeIndex(n_units, name="unit_id"))


_ARRAYS: Final = (
    "spike_times", "spike_units", "spike_amplitudes", "templates", "noise_uv", "offsets_uv", "geometry", "drift_times",
    "drift_um", "gratings",
)  # fmt: skip


def save_ground_truth(truth: RawGroundTruth, folder: Path) -> None:
    """Write what :func:`read_ground_truth` reads."""
    facts = {
        "form": truth.form, "sampling_rate": truth.sampling_rate, "n_samples": truth.n_samples, "seed": truth.seed,
        "surface_um": truth.surface_um, "faults": asdict(truth.faults), "part_number": truth.probe.part_number,
        "multiplexed": bool(truth.probe.adc.turns.any()), "files": None if truth.files is None else asdict(truth.files),
    }  # fmt: skip
    arrays = {name: getattr(truth, name) for name in _ARRAYS}
    arrays["sites"] = truth.probe.sites
    arrays |= {f"unit_{name}": truth.units[name].to_numpy() for name in truth.units.columns}
    np.savez(folder / TRUTH_FILE, facts=np.array(json.dumps(facts)), **arrays)
    truth.units.to_csv(folder / "ground_truth_units.csv")


def truth_file(folder: str | os.PathLike[str], probe: str | None = None) -> Path:
    """Return where the truth of a simulated recording is, if it is one: of the probe or stream of that name."""
    several = Path(folder) / TRUTH_FOLDER
    if not several.is_dir():
        return Path(folder) / TRUTH_FILE
    probes = sorted(path.name for path in several.iterdir())
    if probe is None:
        named = probes if len(probes) == 1 else []
    else:
        known = [{name, f"{name}-AP", f"{name}-LFP", f"{name}.ap"} for name in probes]
        named = [probes[number] for number in called(probe, known)]
    return several / (named[0] if named else probe or "") / TRUTH_FILE


def read_ground_truth(folder: str | os.PathLike[str], probe: str | None = None) -> RawGroundTruth:
    """Read the ground truth that :func:`write_recording` or :func:`.write_probes` left in a folder.

    Parameters
    ----------
    folder
        Of the recording.
    probe
        Name of the probe, where there are several.

    Raises
    ------
    FileFormatError
        If the folder holds no simulated recording, or one of another version.
    UnknownNameError
        If it holds several probes and none, or another, is named.

    Examples
    --------
    >>> read_ground_truth("recording").n_samples
    180000
    """
    place, stored_in = Path(folder), truth_file(folder, probe)
    if not stored_in.exists():
        names = sorted(path.name for path in (place / TRUTH_FOLDER).glob("*"))
        if names:
            msg = f"{place} holds the simulated probes {', '.join(names)}; name one of them, not {probe!r}"
            raise UnknownNameError(msg)
        msg = f"{place} holds no {TRUTH_FILE}: it is not a folder that simulation.raw.write_recording wrote"
        raise FileFormatError(msg)
    try:
        with open_regular(stored_in) as file:
            return _stored_truth(place, file)
    except (KeyError, TypeError, ValueError, EOFError, OSError, BadZipFile, zlib.error, RecursionError) as error:
        if isinstance(error, AllenEcephysError):
            raise
        msg = f"{stored_in} is damaged ({in_words(error)}); simulate the recording again, with the same seed"
        raise FileFormatError(msg) from error


def _stored_truth(place: Path, file: IO[bytes]) -> RawGroundTruth:
    import pandas as pd

    with np.load(file, allow_pickle=False) as stored:
        missing = {"facts", "sites", *_ARRAYS} - set(stored.files)
        if missing:
            msg = (
                f"{file.name} has no {', '.join(sorted(missing))}: another version of this package simulated "
                "the recording. Simulate it again, with the same seed"
            )
            raise FileFormatError(msg)
        facts = json.loads(str(stored["facts"]))
        arrays = {name: stored[name] for name in _ARRAYS}
        geometry, sites = arrays.pop("geometry"), stored["sites"]
        columns = {name.removeprefix("unit_"): stored[name] for name in stored if name.startswith("unit_")}
    units = pd.DataFrame(columns, index=pd.RangeIndex(len(columns["x"]), name="unit_id"))
    part_number, multiplexed = facts.pop("part_number"), facts.pop("multiplexed")
    where = {"sites": sites} if part_number else {"geometry": geometry}
    recorded = recorded_probe(part_number, len(geometry), multiplexed=multiplexed, **where)
    listed = facts.pop("faults")
    events = tuple((float(start), float(stop)) for start, stop in listed.pop("saturation"))
    faults = ChannelFaults(**{name: tuple(channels) for name, channels in listed.items()}, saturation=events)
    described = facts.pop("files", None)
    files = None if described is None else RawForm(**described)
    recorded = replace(recorded, geometry=geometry, references=faults.references or ())
    return RawGroundTruth(folder=place, units=units, faults=faults, probe=recorded, files=files, **facts, **arrays)
