"""The one door to raw data: what a folder holds, and both bands of one of its probes, whatever recorded it."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from allen_ecephys.errors import (
    AllenEcephysError,
    FileFormatError,
    InvalidValueError,
    MissingFileError,
    UnknownNameError,
    explains_unknown_names,
    in_words,
)
from allen_ecephys.files import read_json

from ..probes import AdcWiring
from ..recording import duration
from ..timeline import Timeline
from .binary import BinaryRecording
from .open_ephys import choose_stream, open_open_ephys
from .open_ephys_index import (
    INDEX_FILE,
    SAMPLES_FILE,
    lfp_streams_of,
    open_ephys_recordings,
    open_ephys_streams,
    recording_folder,
)
from .plausibility import check_bands, check_gain, check_meta, check_spike_band_rate
from .released import LFP_BAND_FILE, SPIKE_BAND_FILE, open_released_band
from .spikeglx import (
    FILE_NAME,
    SpikeGlxRecording,
    choose_file,
    lf_file_of,
    open_spikeglx,
    samples_beside,
    spikeglx_files,
)
from .unread import what_there_is

logger = logging.getLogger(__name__)

Recorder = Literal["SpikeGLX", "Open Ephys", "described binary", "the release"]
#: Names of the two bands of a described binary recording.
DESCRIBED: Final = {"ap": "ap.json", "lfp": "lfp.json"}


@dataclass(frozen=True, eq=False)
class RawBands:
    """Both bands of one probe.

    Attributes
    ----------
    spike_band
        Spike band.
    lfp
        LFP band; None where the recorder wrote none.
    recorder
        What wrote them.
    probe
        Name of the probe.

    Examples
    --------
    >>> bands = open_bands("recording")
    >>> bands.recorder, bands.spike_band.geometry.shape
    ('Open Ephys', (32, 2))
    """

    spike_band: BinaryRecording
    lfp: BinaryRecording | None
    recorder: Recorder
    probe: str


def open_bands(
    path: str | os.PathLike[str],
    *,
    stream: str | None = None,
    allow_cut: bool = False,
    settings: str | os.PathLike[str] | None = None,
    part_number: str | None = None,
) -> RawBands:
    """Open the spike band and, where there is one, the LFP band of a probe.

    A SpikeGLX folder is told by its ``.ap.bin`` files (compressed: ``.ap.cbin``), an Open Ephys folder by
    ``structure.oebin`` or ``continuous.dat``, a described binary recording by ``ap.json``, the release's raw data by
    ``spike_band.dat``.

    Parameters
    ----------
    path
        Folder of a recording, or a file or stream's folder in it.
    stream
        Name of the probe or stream, where there are several: ``imec0``, ``ProbeA`` or ``ProbeA-AP``.
    allow_cut
        Accept files that are shorter than their metadata say.
    settings, part_number
        Of recordings of Open Ephys whose own settings are lost or in another place: the ``settings.xml`` of their
        experiment, or which probe it was (``NP2013``), where ``structure.oebin`` names the sites.

    Raises
    ------
    InvalidValueError
        If `settings` or `part_number` are given for files of another recorder, which say it themselves.
    MissingFileError
        If there is no recording, or more than one, or only half of one.
    UnknownNameError
        If no probe has the name, or several could be meant.
    FileFormatError, CorruptFileError, GeometryError
        If the files are damaged or contradict each other.

    Examples
    --------
    >>> open_bands("no/such/folder")
    Traceback (most recent call last):
    allen_ecephys.errors.MissingFileError: there is no no/such/folder; name the folder of a recording
    """
    bands = _open_bands(Path(path), stream, allow_cut=allow_cut, settings=settings, part_number=part_number)
    check_spike_band_rate(bands.spike_band)
    for band in (bands.spike_band, bands.lfp):
        if band is not None:
            check_gain(band)
        if isinstance(band, SpikeGlxRecording):
            check_meta(band, band.meta)
    if bands.lfp is not None:
        check_bands(bands.spike_band, bands.lfp)
    return bands


def _open_bands(
    place: Path,
    stream: str | None,
    *,
    allow_cut: bool,
    settings: str | os.PathLike[str] | None,
    part_number: str | None,
) -> RawBands:
    recorder = recorder_of(place)
    if recorder != "Open Ephys" and (settings is not None or part_number is not None):
        msg = (
            f"{place} is of {recorder}, whose files say themselves which probe it was; leave out settings=... and "
            "part_number=..."
        )
        raise InvalidValueError(msg)
    if recorder == "SpikeGLX":
        return _open_spikeglx_bands(place, stream, allow_cut=allow_cut)
    if recorder == "Open Ephys":
        told: dict[str, Any] = {"allow_cut": allow_cut, "settings": settings, "part_number": part_number}
        return _open_open_ephys_bands(place, stream, told)
    if recorder == "the release":
        lfp_file = place / LFP_BAND_FILE
        lfp = open_released_band(lfp_file, "lfp") if lfp_file.is_file() else None
        return RawBands(open_released_band(place / SPIKE_BAND_FILE), lfp, recorder, place.absolute().name)
    lfp = open_described(place, "lfp") if (place / DESCRIBED["lfp"]).is_file() else None
    return RawBands(open_described(place, "ap"), lfp, recorder, place.absolute().name)


def recorder_of(place: Path) -> Recorder:
    """Tell which system recorded what lies in a folder, or wrote a file.

    Raises
    ------
    MissingFileError
        If there is no recording; the message says what there is instead.
    """
    try:
        there = place.exists()
    except OSError as error:  # a name that no file can have
        msg = f"there is no {place!s:.80} ({error.strerror}); name the folder of a recording"
        raise MissingFileError(msg) from error
    if not there:
        msg = f"there is no {place}; name the folder of a recording"
        raise MissingFileError(msg)
    if place.is_file():
        if place.name in {SAMPLES_FILE, INDEX_FILE}:
            return "Open Ephys"
        if place.suffix.lower() in {".bin", ".meta", ".cbin", ".ch"}:
            return "SpikeGLX"
    elif (place / DESCRIBED["ap"]).is_file():
        return "described binary"
    elif (place / SPIKE_BAND_FILE).is_file():
        return "the release"
    elif any(file.band == "ap" for file in spikeglx_files(place)):
        return "SpikeGLX"
    elif open_ephys_recordings(place) or (place / SAMPLES_FILE).is_file():
        return "Open Ephys"
    raise MissingFileError(what_there_is(place))


def _open_spikeglx_bands(place: Path, stream: str | None, *, allow_cut: bool) -> RawBands:
    if place.is_dir():
        ap_file = choose_file(place, "ap", stream)
        probe = next(file.probe for file in spikeglx_files(ap_file.parent) if file.path == ap_file)
    else:
        ap_file = samples_beside(place)
        told = FILE_NAME.fullmatch(ap_file.name)
        probe = (told["probe"] or "").lower() if told else ""
        if ".lf." in ap_file.name.lower():
            msg = f"{ap_file} is an LFP band; name the spike band (.ap.bin), its LFP is found beside it"
            raise FileFormatError(msg)
        if stream is not None and f".{stream}.".lower() not in ap_file.name.lower():
            msg = f"{ap_file} is not of probe {stream!r}; leave stream out, or name the folder"
            raise UnknownNameError(msg)
    spike_band = open_spikeglx(ap_file, "ap", allow_cut=allow_cut)
    lf_file = lf_file_of(ap_file)
    lfp = None if lf_file is None else open_spikeglx(lf_file, "lf", allow_cut=allow_cut)
    if lfp is not None:
        _place_in_time(lfp, spike_band)
    return RawBands(spike_band, lfp, "SpikeGLX", probe)


def _place_in_time(lfp: SpikeGlxRecording, spike_band: SpikeGlxRecording) -> None:
    """Place an LFP by when both files say that they began, counted from the first sample of the spike band.

    ``firstSample`` counts from the start of the acquisition, each band at its own rate, whole samples only: an LFP
    that began with a spike band between two of its samples has the number of the first of them.
    """
    if "firstSample" not in spike_band.meta.fields or "firstSample" not in lfp.meta.fields:
        return
    step = max(round(spike_band.sampling_rate / lfp.sampling_rate), 1)
    late = -((spike_band.meta.first_sample - step * lfp.meta.first_sample) // step)
    spike_band.timeline = Timeline.unbroken(spike_band.n_samples, 0)
    lfp.timeline = Timeline.unbroken(lfp.n_samples, late)


def _open_open_ephys_bands(place: Path, stream: str | None, told: dict[str, Any]) -> RawBands:
    inside = (place if place.is_dir() else place.parent).absolute()
    of_stream = (inside / SAMPLES_FILE).is_file()
    recording = recording_folder(inside.parents[1] if of_stream else place if place.is_dir() else place.parent)
    streams = open_ephys_streams(recording)
    if (inside / SAMPLES_FILE).is_file():
        if not any(s.folder == inside for s in streams):
            msg = f"{inside} is not among the streams that {recording / INDEX_FILE} lists"
            raise MissingFileError(msg)
        stream = next(s.name for s in streams if s.folder == inside)
    chosen = choose_stream(streams, stream, "ap", recording)
    if chosen.band != "ap":
        msg = f"stream {chosen.stream_name!r} of {recording} is an LFP band; name its probe, {chosen.probe!r}"
        raise UnknownNameError(msg)
    spike_band = open_open_ephys(recording, stream=chosen.name, **told)
    of_probe = lfp_streams_of(chosen, streams)
    lfp = open_open_ephys(recording, stream=of_probe[0].name, **told) if len(of_probe) == 1 else None
    return RawBands(spike_band, lfp, "Open Ephys", chosen.probe)


def describe_binary(recording_file: Path, n_columns: int, n_samples: int, **facts: object) -> None:
    """Write beside a headerless file the description that :func:`open_described` reads."""
    contents = {"file": recording_file.name, "n_columns": n_columns, "n_samples": n_samples, **facts}
    recording_file.with_suffix(".json").write_text(json.dumps(contents, indent=1), encoding="utf-8")


def open_described(folder: Path, band: Literal["ap", "lfp"]) -> BinaryRecording:
    """Open a headerless file by its description, ``ap.json`` or ``lfp.json``.

    Raises
    ------
    FileFormatError
        If the description lacks something.
    """
    description = folder / DESCRIBED[band]
    try:
        facts = read_json(description)
        name = Path(str(facts.pop("file"))).name  # beside the description, wherever it says
        adc = AdcWiring.of_facts(facts.pop("adc", None))
        return BinaryRecording(folder / name, adc=adc, **facts)
    except AllenEcephysError:
        raise
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        msg = f"{description} does not describe a recording ({in_words(error)}); it was edited or damaged"
        raise FileFormatError(msg) from error


@explains_unknown_names
@dataclass(frozen=True)
class ProbeListing:
    """What a folder holds of one probe.

    Attributes
    ----------
    recorder, probe, part_number
        System, name and kind (empty if it is not told).
    folder
        Of the recording, or the spike band's file.
    n_channels, n_shanks
        Channels of the spike band, and shanks they are on.
    seconds
        Length of the spike band, gaps left out.
    bands
        ``ap``, ``lfp``.
    n_gaps, gap_seconds
        Stretches that are missing from the spike band, and how long each is (s).
    problem
        Why the probe cannot be opened; empty if it can.

    Examples
    --------
    >>> [listing] = list_probes("recording")
    >>> listing.bands, listing.problem
    (('ap', 'lfp'), '')
    """

    recorder: Recorder
    probe: str
    folder: Path
    part_number: str = ""
    n_channels: int = 0
    n_shanks: int = 0
    seconds: float = 0.0
    bands: tuple[str, ...] = ()
    n_gaps: int = 0
    gap_seconds: tuple[float, ...] = ()
    problem: str = ""


def list_probes(
    path: str | os.PathLike[str],
    *,
    allow_cut: bool = False,
    settings: str | os.PathLike[str] | None = None,
    part_number: str | None = None,
) -> list[ProbeListing]:
    """Return what a folder holds, probe by probe, of all its recordings; arguments are those of :func:`open_bands`.

    Of several probes, `part_number` is taken for those whose settings are silent, which is logged.

    Raises
    ------
    MissingFileError
        If it holds no recording.

    Examples
    --------
    >>> [(found.probe, found.recorder, found.n_channels, found.seconds) for found in list_probes("recording")]
    [('Neuropix-3a-100', 'Open Ephys', 32, 6.0)]
    """
    place = Path(path)
    recorder = recorder_of(place)
    if recorder == "SpikeGLX":
        files = [f for f in spikeglx_files(place) if f.band == "ap"] if place.is_dir() else []
        found: list[tuple[Path, str | None, str]] = [(f.path, None, f.probe) for f in files] or [(place, None, "")]
    elif recorder == "Open Ephys":
        folders = open_ephys_recordings(place if place.is_dir() else place.parent) if place.name != SAMPLES_FILE else []
        found = [
            (folder, s.name, s.probe)
            for folder in folders or [place]
            for s in open_ephys_streams(folder)
            if s.band == "ap"
        ]
    else:
        found = [(place, None, place.absolute().name)]
    told: dict[str, Any] = {"allow_cut": allow_cut, "settings": settings, "part_number": part_number}
    if part_number is None or recorder != "Open Ephys" or len(found) == 1:
        return [_listed(recorder, *one, told) for one in found]
    # One part number for several probes is that of those whose settings are silent.
    listed = [_listed(recorder, *one, told | {"part_number": None}) for one in found]
    silent = [i for i, probe in enumerate(listed) if probe.problem]
    for i in silent:
        listed[i] = _listed(recorder, *found[i], told)
    logger.warning(
        "part number %s is taken for %d of %d probes, of which no settings tell%s",
        part_number, len(silent), len(found), f": {', '.join(listed[i].probe for i in silent)}" if silent else "",
    )  # fmt: skip
    return listed


def _listed(recorder: Recorder, folder: Path, stream: str | None, probe: str, told: dict[str, Any]) -> ProbeListing:
    try:
        bands = open_bands(folder, stream=stream, **told)
    except InvalidValueError:
        raise
    except (AllenEcephysError, OSError) as error:
        return ProbeListing(recorder, probe, folder, problem=str(error))
    recording = bands.spike_band
    return ProbeListing(
        recorder, bands.probe or probe, folder,
        part_number=getattr(recording, "part_number", ""),
        n_channels=recording.n_channels,
        n_shanks=len(np.unique(recording.shanks)),
        seconds=duration(recording),
        bands=("ap",) if bands.lfp is None else ("ap", "lfp"),
        n_gaps=len(recording.timeline.gaps),
        gap_seconds=tuple((recording.timeline.gaps[:, 1] / recording.sampling_rate).tolist()),
    )  # fmt: skip
