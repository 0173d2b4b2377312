"""Recordings of several probes in one folder, as Open Ephys and SpikeGLX leave them, and the truth of each probe."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal, get_args

import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import GeometryError, InvalidValueError, UnknownNameError, explains_unknown_names, suggest
from allen_ecephys.files import atomic_folder

from ...probes import N_CHANNELS, REFERENCE_CHANNELS_1_0, default_sites, probe_model, readout_channels
from ...ranges import check_whole
from .formats import OPEN_EPHYS_UV, RawForm, check_form_holds, raw_form, write_metadata
from .noise import NoiseModel
from .open_ephys_folder import OpenEphysSetup, ProbeSetup, open_ephys_stream_folder, write_open_ephys
from .probe import NEUROPIXELS_1, RecordedProbe, recorded_probe
from .recording import (
    TRUTH_FOLDER,
    RawGroundTruth,
    ground_truth,
    probe_signal,
    recorder_frame,
    save_ground_truth,
    write_samples,
)
from .signal import ChannelFaults, DriftModel, ProbeSignal
from .trains import TrainModel

Recorder = Literal["open_ephys", "spikeglx"]
#: Names that SpikeGLX gives its probes.
IMEC: Final = re.compile(r"imec\d+")
#: Of the simulated run of SpikeGLX.
RUN: Final = "simulation_g0"


@explains_unknown_names
@dataclass(frozen=True, eq=False)
class SimulatedProbe:
    """One probe of a recording, and the tissue around it.

    Attributes
    ----------
    part_number
        Any of the catalogue, such as ``"NP2013"``.
    sites
        The sites to record from, numbered as the manufacturer does; the `n_channels` lowest ones by default.
    n_channels
        Channels, where no sites are given.
    n_units, amplitude_range
        Number of units, and their peak-to-trough amplitudes, uV.
    surface_um
        Where the brain ends, um along the shanks: 82 % up the recorded sites by default.

    Examples
    --------
    >>> four_shanks = SimulatedProbe("NP2013", n_channels=16, n_units=2)
    >>> truth = write_probes("four_shanks", {"ProbeA": four_shanks}, duration=1.0)
    >>> truth["ProbeA"].n_channels
    16
    """

    part_number: str = NEUROPIXELS_1
    sites: npt.ArrayLike | None = None
    n_channels: int | None = None
    n_units: int = 20
    amplitude_range: tuple[float, float] = (30.0, 400.0)
    surface_um: float | None = None


def write_probes(
    folder: str | os.PathLike[str],
    probes: Mapping[str, SimulatedProbe],
    *,
    recorder: Recorder = "open_ephys",
    duration: float = 10.0,
    sampling_rate: float = 30_000.0,
    seed: int = 0,
    noise: NoiseModel | None = None,
    trains: TrainModel | None = None,
    drift: DriftModel | None = None,
    compress: bool = False,
) -> dict[str, RawGroundTruth]:
    """Simulate what a recorder leaves of one or more probes, in a new folder.

    Open Ephys: a record node with ``settings.xml``, ``structure.oebin`` and a folder of samples and their numbers for
    each band. SpikeGLX: a run's folder with one for each probe. The truth is in ``ground_truth/<name>``; equal
    arguments give equal bytes. All else is as in :func:`.write_recording`, which writes the layouts of the release and
    plain files.

    Parameters
    ----------
    folder
        New folder.
    probes
        By name: ``ProbeA``, ... for Open Ephys, ``imec0``, ... for SpikeGLX.
    recorder
        ``"open_ephys"`` or ``"spikeglx"``.
    duration, sampling_rate, seed
        Seconds, Hz, and what decides all that is drawn; each probe draws its own.
    noise, trains, drift
        Of every probe.
    compress
        Whether to write compressed samples (``.cbin`` + ``.ch``), a third as large; of SpikeGLX only.

    Returns
    -------
    dict
        Truth of each probe by its name, which :func:`.read_ground_truth` reads again.

    Raises
    ------
    InvalidValueError
        If there is no probe, a number is out of range, SpikeGLX gives no such name, or Open Ephys's files are to be
        compressed.
    UnknownNameError
        If there is no such recorder or kind of probe.
    GeometryError
        If two sites share a channel, or the recorder's files cannot describe the probe.
    RecordingTooShortError, FileExistsError, DiskFullError
        As :func:`.write_recording`.

    Examples
    --------
    >>> truth = write_probes("rig", {"ProbeA": SimulatedProbe("NP2013")}, recorder="plexon")
    Traceback (most recent call last):
    allen_ecephys.errors.UnknownNameError: no recorder 'plexon'; there are open_ephys, spikeglx
    """
    check_whole("seed", seed)
    _check_names(recorder, probes)
    if compress and recorder != "spikeglx":
        msg = "files of Open Ephys are not compressed; compress=True is of recorder='spikeglx'"
        raise InvalidValueError(msg)
    place = Path(folder)
    signals = {}
    for number, (name, told) in enumerate(probes.items()):
        recorded = _recorded(told)
        check_form_holds(raw_form("binary" if recorder == "open_ephys" else "spikeglx"), recorded)
        surface = None if told.surface_um is None else told.surface_um + recorder_frame(recorded)
        signals[name] = probe_signal(
            recorded, duration=duration, n_units=told.n_units, sampling_rate=sampling_rate, seed=seed + 1000 * number,
            amplitude_range=told.amplitude_range, surface_um=surface, noise=noise, trains=trains, drift=drift,
            faults=ChannelFaults(references=recorded.references),
        )  # fmt: skip
    with atomic_folder(place) as temporary:
        if recorder == "open_ephys":
            files = _write_open_ephys(temporary, signals)
        else:
            files = _write_spikeglx(temporary, signals, compress=compress)
        truths = {name: ground_truth(signals[name], place, recorder, files[name], of_recorder=True) for name in signals}
        for name, truth in truths.items():
            (temporary / TRUTH_FOLDER / name).mkdir(parents=True)
            save_ground_truth(truth, temporary / TRUTH_FOLDER / name)
    return truths


def _check_names(recorder: str, probes: Mapping[str, SimulatedProbe]) -> None:
    known = get_args(Recorder)
    if recorder not in known:
        msg = f"no recorder {recorder!r}{suggest(recorder, known)}; there are {', '.join(known)}"
        raise UnknownNameError(msg)
    if not probes:
        msg = "no probes were given; name at least one, such as {'ProbeA': SimulatedProbe('NP2013')}"
        raise InvalidValueError(msg)
    for name in probes:
        if not name or Path(name).name != name:
            msg = f"{name!r} cannot be the name of a folder; call the probe ProbeA or imec0"
            raise InvalidValueError(msg)
        if recorder == "spikeglx" and not IMEC.fullmatch(name):
            msg = f"SpikeGLX names its probes imec0, imec1, ...; {name!r} is none of these"
            raise InvalidValueError(msg)


def _recorded(told: SimulatedProbe) -> RecordedProbe:
    """Return a probe with the references that its recorder knows of: of 1.0 probes one, not the ten of 3A."""
    model = probe_model(told.part_number)
    n_channels = min(model.n_channels, N_CHANNELS) if told.n_channels is None else told.n_channels
    recorded = recorded_probe(told.part_number, n_channels, sites=told.sites)
    if told.part_number != NEUROPIXELS_1:
        return recorded
    references = np.flatnonzero(np.isin(recorded.channels, REFERENCE_CHANNELS_1_0))
    return replace(recorded, references=tuple(references.tolist()))


def _write_open_ephys(folder: Path, signals: Mapping[str, ProbeSignal]) -> dict[str, RawForm]:
    setup = OpenEphysSetup()
    described = {name: _setup(name, number, signal.probe) for number, (name, signal) in enumerate(signals.items())}
    any_signal = next(iter(signals.values()))
    write_open_ephys(folder, list(described.values()), any_signal.n_samples, rate=any_signal.rate, setup=setup)
    files = {}
    for name, signal in signals.items():
        bands = [open_ephys_stream_folder(stream, setup) for stream in described[name].streams]
        ap, lfp = (f"{bands[i]}/continuous.dat" for i in (0, -1))
        files[name] = RawForm("open_ephys", ap, lfp, OPEN_EPHYS_UV, sync_column=False)
        write_samples(signal, folder, files[name])
    return files


def _setup(name: str, number: int, probe: RecordedProbe) -> ProbeSetup:
    """Describe a probe to Open Ephys, which lists a site for each channel, saved or not: the lowest it is wired to."""
    model = probe_model(probe.part_number)
    if model.n_channels > N_CHANNELS:
        msg = f"Open Ephys makes streams of a shank each of {probe.part_number}; simulate it with recorder='spikeglx'"
        raise GeometryError(msg)
    lowest = default_sites(model, model.n_channels)
    electrodes = np.empty(model.n_channels, np.int64)
    electrodes[readout_channels(model, lowest)] = lowest
    electrodes[probe.channels] = probe.sites
    return ProbeSetup(
        name, probe.part_number, electrodes, ap_gain=probe.ap_gain, channels=probe.channels,
        serial_number=str(20_403_319_954 + number),
    )  # fmt: skip


def _write_spikeglx(folder: Path, signals: Mapping[str, ProbeSignal], *, compress: bool) -> dict[str, RawForm]:
    files = {}
    for name, signal in signals.items():
        at = f"{RUN}/{RUN}_{name}/{RUN}_t0.{name}"
        form = RawForm("spikeglx", f"{at}.ap.bin", f"{at}.lf.bin", None, sync_column=True)
        files[name] = form.compressed() if compress else form
        n_lfp = write_samples(signal, folder, files[name])
        write_metadata(folder, files[name], signal.rate, signal.n_samples, n_lfp, signal.probe)
    return files
