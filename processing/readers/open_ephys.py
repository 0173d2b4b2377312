"""Open Ephys recordings in the binary format: ``structure.oebin``, ``continuous.dat``, ``settings.xml``.

Two generations occur. Files extracted from 3A recordings (the released sessions) hold 384 channels a stream,
``Neuropix-3a-100.0`` for the spike band and ``.1`` for the LFP band, at 0.195 uV per count, and sometimes no
``structure.oebin``. The PXI, OneBox and ONIX plugins write ``structure.oebin`` always, may add a synchronization
column, and leave the probe's sites in ``settings.xml`` and, since 0.6, in the index itself (:mod:`.open_ephys_sites`).
"""

from __future__ import annotations

import logging
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import (
    CorruptFileError,
    FileFormatError,
    GeometryError,
    MissingDataError,
    MissingFileError,
    UnknownNameError,
    suggest,
)

from ..recording import checked_geometry, chunk_bounds
from ..shanks import shanks_by_position
from ..timeline import Timeline
from .arrays import read_npy
from .binary import BinaryRecording
from .catalogue import catalogue_probe, part_number_called
from .finding import band_called, called
from .open_ephys_index import SAMPLES_FILE, OpenEphysStream, lfp_streams_of, open_ephys_streams
from .open_ephys_sites import StreamSites, sites_of_3a, sites_of_stream

logger = logging.getLogger(__name__)

#: 0.6 V over the gains of the released recordings, 500 and 250.
FULL_SCALE_3A: Final = {"ap": 1200.0, "lfp": 2400.0}


class OpenEphysRecording(BinaryRecording):
    """One stream of an Open Ephys recording; its channels are the electrodes.

    Attributes
    ----------
    stream
        What the recording's index says about it.

    Examples
    --------
    >>> band = open_open_ephys("recording")
    >>> type(band).__name__, band.n_channels
    ('OpenEphysRecording', 32)
    """

    def __init__(self, stream: OpenEphysStream, sites: StreamSites, *, allow_cut: bool = False) -> None:
        samples = stream.folder / SAMPLES_FILE
        if not samples.is_file():
            msg = f"{stream.folder} holds no {SAMPLES_FILE}, though the index lists it; copy the samples too"
            raise MissingFileError(msg)
        super().__init__(
            samples,
            n_columns=stream.n_columns,
            channels=stream.electrodes,
            sampling_rate=stream.sampling_rate,
            uv_per_bit=stream.uv_per_bit,
            geometry=sites.positions,
            shanks=sites.shanks,
            adc=sites.adc,
            reference_channels=sites.reference_channels,
            full_scale_uv=FULL_SCALE_3A[stream.band] if stream.is_3a else sites.full_scale_uv,
        )
        self.stream = stream
        self.probe_name = "" if stream.is_3a else stream.probe
        self.part_number = sites.part_number
        numbers = self._numbers()
        if numbers is None and not stream.is_3a:
            logger.warning(
                "%s holds no numbers of its samples (sample_numbers.npy): samples that were lost would not be seen",
                stream.folder,
            )
        if numbers is not None:
            if len(numbers) != self.n_samples and not allow_cut:
                msg = (
                    f"{samples} holds {self.n_samples:,} samples, {self._numbers_file()} {len(numbers):,} numbers: a "
                    "file was cut. Copy it again, or pass allow_cut=True (--allow-cut) to use what both have."
                )
                raise CorruptFileError(msg)
            self.n_samples = min(self.n_samples, len(numbers))
            kept, where = numbers[: self.n_samples], str(self._numbers_file())
            self.timeline = Timeline.from_numbers(kept, where, self.sampling_rate)

    def _numbers_file(self) -> Path | None:
        names = ("sample_numbers.npy", f"{self.stream.band}_timestamps.npy", "timestamps.npy")
        found = (self.stream.folder / name for name in names)
        # Until GUI 0.5 timestamps were numbers of samples, since then they are seconds.
        return next(
            (path for path in found if path.is_file() and (path.name == names[0] or _mapped(path).dtype.kind in "iu")),
            None,
        )

    def _numbers(self) -> npt.NDArray[np.int64] | None:
        path = self._numbers_file()
        if path is None:
            return None
        numbers = _mapped(path)
        return numbers if numbers.dtype.kind in "iu" else _whole(numbers, path)

    def sample_numbers(self) -> npt.NDArray[np.int64]:
        """Return the acquisition's number of each sample (memory-mapped), as event times count them.

        Raises
        ------
        MissingDataError
            If the stream has no such file.
        FileFormatError
            If the file does not hold numbers.

        Examples
        --------
        >>> open_bands("recording").spike_band.sample_numbers()
        array([     0,      1,      2, ..., 179997, 179998, 179999],
              shape=(180000,))
        """
        numbers = self._numbers()
        if numbers is None:
            msg = f"{self.stream.folder} holds no sample_numbers.npy or the like; samples can only be counted from 0"
            raise MissingDataError(msg)
        return numbers[: self.n_samples]


def _whole(values: npt.NDArray[Any], path: Path) -> npt.NDArray[np.int64]:
    """Return numbers that another program wrote as fractions, which are whole all the same.

    Raises
    ------
    CorruptFileError
        If one of them is not.
    """
    numbers = np.empty(len(values), np.int64)
    for start, stop in chunk_bounds(len(values), 1_000_000):
        part = np.asarray(values[start:stop])
        broken = np.flatnonzero(~(np.abs(part) < 2.0**53) | (part != np.floor(part)))
        if len(broken):
            msg = (
                f"{path} numbers sample {start + broken[0]:,} with {part[broken[0]]}; samples have whole numbers. "
                "Copy the file again, or write it from the recorder's own"
            )
            raise CorruptFileError(msg)
        numbers[start:stop] = part
    return numbers


def _mapped(path: Path) -> npt.NDArray[Any]:
    values = read_npy(path, mapped=True)
    if values.ndim != 1:
        msg = f"{path} is no array of one number for each sample; it was damaged. Copy it again."
        raise FileFormatError(msg)
    return values


def open_open_ephys(
    folder: str | os.PathLike[str],
    band: Literal["ap", "lfp"] = "ap",
    *,
    stream: str | None = None,
    settings: str | os.PathLike[str] | None = None,
    part_number: str | None = None,
    geometry: npt.ArrayLike | None = None,
    reference_channels: npt.ArrayLike | None = None,
    allow_cut: bool = False,
) -> OpenEphysRecording:
    """Open one stream of an Open Ephys recording.

    Parameters
    ----------
    folder
        The recording folder (with ``structure.oebin`` or ``continuous``), one that holds a single recording, the folder
        of a stream or its ``continuous.dat``.
    band
        ``"ap"`` or ``"lfp"``; ignored where `stream` names a stream of one band.
    stream
        Name of the probe (``ProbeA``), of the stream (``ProbeA-AP``) or of its folder, where there are several.
    settings
        ``settings.xml`` of the recording; by default the one of its experiment in the folders above.
    part_number
        Of the probe (``NP2013``), for recordings whose settings are lost.
    geometry
        Channel positions (n_channels, 2) in um; by default as :func:`.open_ephys_sites.sites_of_stream` finds them.
    reference_channels
        Channels without signal; by default those of the probe.
    allow_cut
        Accept samples and their numbers that differ in length.

    Raises
    ------
    MissingFileError, FileFormatError
        If the folder holds no single recording, or its index or samples are missing or damaged.
    CorruptFileError
        If there are more or fewer numbers than samples, or they go back.
    UnknownNameError
        If no stream, or several, are of that name or band.
    GeometryError
        If no positions are given and none can be found, or the files contradict each other about them.
        If the probe's bands are not those of its part number.

    Examples
    --------
    >>> open_open_ephys("recording", "lfp").sampling_rate
    2500.0
    """
    if part_number is not None:
        part_number = part_number_called(part_number)
    streams = open_ephys_streams(folder)
    chosen = choose_stream(streams, stream, band_called(band), Path(folder))
    n_channels = len(chosen.electrodes)
    if geometry is not None:
        positions = checked_geometry(geometry, n_channels, str(chosen.folder))
        none = np.empty(0, np.int64)
        sites = StreamSites(positions, shanks_by_position(positions), none, part_number or "", None, None)
    elif chosen.is_3a and n_channels == chosen.n_columns:
        sites = sites_of_3a(n_channels)
    else:
        sites = sites_of_stream(chosen, None if settings is None else Path(settings), part_number)
        _check_bands_of_part(sites.part_number, chosen, streams, told=part_number is not None)
    if reference_channels is not None:
        sites = replace(sites, reference_channels=np.asarray(reference_channels, dtype=np.int64))
    return OpenEphysRecording(chosen, sites, allow_cut=allow_cut)


def _check_bands_of_part(
    part_number: str, chosen: OpenEphysStream, streams: list[OpenEphysStream], *, told: bool
) -> None:
    """Raise if a probe of a kind without LFP band has one, or one that is told to have two has a single, wide one.

    The plugins call the streams of probes with two bands ``-AP`` and ``-LFP`` (until GUI 0.5 they numbered them);
    the record node may have kept but one of the two.

    Raises
    ------
    GeometryError
        If the bands do not fit the part number.
    """
    model = catalogue_probe(part_number)
    if model is None:
        return
    has_lfp = model.gains[1] is not None
    of_two = chosen.band == "lfp" or bool(lfp_streams_of(chosen, streams))
    numbered_or_named = re.search(r"-(AP|LFP)$|\.\d+$", chosen.stream_name, re.IGNORECASE)
    if of_two and not has_lfp:
        found, known = "an LFP band of its own", "have a single wide band"
    elif told and has_lfp and not of_two and not numbered_or_named:
        found, known = "a single wide band", "have a spike band (-AP) and an LFP band (-LFP)"
    else:
        return
    source = f"part_number={part_number!r} is that of another probe" if told else "the settings are of another probe"
    msg = (
        f"{chosen.folder}: {chosen.probe} has {found}, but probes {part_number} {known}: {source}; name the right one "
        "with part_number=... or settings=..., or give geometry=... in Python"
    )
    raise GeometryError(msg)


def choose_stream(streams: list[OpenEphysStream], name: str | None, band: str, folder: Path) -> OpenEphysStream:
    """Return the stream of a name, or the only one of a band.

    Raises
    ------
    UnknownNameError
        If no stream, or several, are of that name or band.
    """
    named = streams
    if name is not None:
        # SpikeInterface and neo put the record node before the folder: "Record Node 101#Neuropix-PXI-100.ProbeA-AP".
        known = [stream.names for stream in streams]
        found, rest = called(name, known), name
        while not found and "#" in rest:
            rest = rest.partition("#")[2]
            found = called(rest, known)
        named = [streams[i] for i in found]
    fitting = [stream for stream in named if stream.band == band]
    if name is not None and len(named) == 1:
        fitting = named
    if len(fitting) == 1:
        return fitting[0]
    listed = ", ".join(stream.stream_name for stream in streams) or "none"
    if name is not None and not named:
        every = [n for stream in streams for n in sorted(stream.names)]
        msg = f"{folder} has no stream {name!r}{suggest(name, every)}; there are {listed}"
    elif fitting:
        probes = ", ".join(stream.probe for stream in fitting)
        of_name = "" if name is None else f" that {name!r} may mean"
        msg = f"{folder} holds {len(fitting)} probes{of_name}: {probes}; name one of them with stream=..."
    else:
        of_name = "" if name is None else f" of {name!r}"
        msg = f"{folder} holds no stream of band {band!r}{of_name}; there are {listed}"
    raise UnknownNameError(msg)
