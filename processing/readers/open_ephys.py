"""Open Ephys recordings in the binary format: ``structure.oebin``, ``continuous.dat``, ``settings.xml``.

Two generations occur. Files extracted from 3A recordings (the released sessions) hold 384 channels a stream,
``Neuropix-3a-100.0`` for the spike band and ``.1`` for the LFP band, at 0.195 uV per count, and sometimes no
``structure.oebin``. The PXI and OneBox plugins write ``structure.oebin`` always, may add a synchronization column, and
leave the probe's layout in ``settings.xml``.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import FileFormatError, MissingDataError, UnknownNameError, suggest

from ..probes import (
    N_CHANNELS,
    REFERENCE_CHANNELS_1_0,
    REFERENCE_CHANNELS_3A,
    neuropixels_1_geometry,
    read_open_ephys_probe,
)
from .binary import BinaryRecording

UV_PER_BIT_3A: Final = 0.195
#: 0.6 V over the gains of the released recordings, 500 and 250.
FULL_SCALE_3A: Final = {"ap": 1200.0, "lfp": 2400.0}
#: A stream faster than this is a spike band (30 kHz), a slower one an LFP band (2.5 kHz).
BAND_BOUNDARY: Final = 10_000.0
#: Stream folder of 3A recordings: rate by the number after the dot.
RATES_3A: Final = {"0": 30_000.0, "1": 2_500.0}


@dataclass(frozen=True)
class OpenEphysStream:
    """One continuous stream of a recording.

    Attributes
    ----------
    folder
        The folder that holds ``continuous.dat``.
    sampling_rate
        Hz.
    n_columns
        Values per sample.
    electrodes
        int64: columns that are electrodes (not synchronization or analog input).
    uv_per_bit
        float64, one per electrode.
    is_3a
        Whether it comes from a Neuropixels 3A recording.
    """

    folder: Path
    sampling_rate: float
    n_columns: int
    electrodes: npt.NDArray[np.int64]
    uv_per_bit: npt.NDArray[np.float64]
    is_3a: bool

    @property
    def name(self) -> str:
        """Name of the stream: that of its folder."""
        return self.folder.name

    @property
    def band(self) -> Literal["ap", "lfp"]:
        """Band by sampling rate."""
        return "ap" if self.sampling_rate > BAND_BOUNDARY else "lfp"


def open_ephys_streams(folder: str | os.PathLike[str]) -> list[OpenEphysStream]:
    """List the streams with electrodes in a recording folder, or in the only recording below a folder.

    Raises
    ------
    FileNotFoundError
        If there is no recording, or more than one.
    FileFormatError
        If ``structure.oebin`` cannot be read.
    """
    root = Path(folder)
    recording = _recording_folder(root)
    index = recording / "structure.oebin"
    if not index.exists():
        return [_stream_3a(f.parent) for f in sorted(recording.glob("continuous/Neuropix-3a-*/continuous.dat"))]
    try:
        entries = json.loads(index.read_text(encoding="utf-8"))["continuous"]
        streams = [_stream(recording, entry) for entry in entries]
    except (KeyError, TypeError, ValueError) as error:
        msg = f"{index} is not an Open Ephys index of continuous data: {error!r}; copy it again from the recording"
        raise FileFormatError(msg) from error
    return [stream for stream in streams if len(stream.electrodes)]


def _recording_folder(root: Path) -> Path:
    if (root / "structure.oebin").exists() or list(root.glob("continuous/Neuropix-3a-*")):
        return root
    found = sorted({f.parent for f in root.rglob("structure.oebin")})
    found = found or sorted({f.parents[2] for f in root.rglob("Neuropix-3a-*/continuous.dat")})
    if len(found) != 1:
        names = ", ".join(str(f.relative_to(root)) for f in found[:6]) or "none"
        msg = f"{root} holds {len(found)} Open Ephys recordings ({names}); name the folder of one of them"
        raise FileNotFoundError(msg)
    return found[0]


def _stream(recording: Path, entry: dict[str, Any]) -> OpenEphysStream:
    channels = entry["channels"]
    name = str(entry["folder_name"]).strip("/")
    electrodes = np.array([i for i, channel in enumerate(channels) if _is_electrode(channel)], dtype=np.int64)
    if len(channels) != int(entry["num_channels"]):
        msg = f"stream {name} lists {len(channels)} channels and counts {entry['num_channels']}"
        raise ValueError(msg)
    gains = np.array([float(channels[i]["bit_volts"]) * _to_microvolts(channels[i]) for i in electrodes])
    return OpenEphysStream(
        folder=recording / "continuous" / name,
        sampling_rate=float(entry["sample_rate"]),
        n_columns=len(channels),
        electrodes=electrodes,
        uv_per_bit=gains,
        is_3a="3a" in name.lower(),
    )


def _is_electrode(channel: dict[str, Any]) -> bool:
    """Tell electrodes from the synchronization line and analog inputs, which the plugins store beside them."""
    description = str(channel.get("description", "")).lower()
    if description:  # "Neuropixels electrode" since 0.6, "Headstage data channel" before
        return "electrode" in description or "headstage" in description
    name = str(channel.get("channel_name", "")).lower()
    return name.startswith(("ch", "ap", "lfp")) and "sync" not in name


def _to_microvolts(channel: dict[str, Any]) -> float:
    """``bit_volts`` of electrodes is in microvolts, whatever its name says, unless the unit is V or mV."""
    return {"V": 1e6, "mV": 1e3}.get(channel.get("units", "uV"), 1.0)


def _stream_3a(folder: Path) -> OpenEphysStream:
    number = folder.name.rpartition(".")[2]
    return OpenEphysStream(
        folder=folder,
        sampling_rate=RATES_3A.get(number, 30_000.0),
        n_columns=N_CHANNELS,
        electrodes=np.arange(N_CHANNELS),
        uv_per_bit=np.full(N_CHANNELS, UV_PER_BIT_3A),
        is_3a=True,
    )


class OpenEphysRecording(BinaryRecording):
    """One stream of an Open Ephys recording; its channels are the electrodes.

    Attributes
    ----------
    stream
        What the recording's index says about it.
    """

    def __init__(
        self, stream: OpenEphysStream, geometry: npt.ArrayLike, reference_channels: npt.ArrayLike = ()
    ) -> None:
        super().__init__(
            stream.folder / "continuous.dat",
            n_columns=stream.n_columns,
            channels=stream.electrodes,
            sampling_rate=stream.sampling_rate,
            uv_per_bit=stream.uv_per_bit,
            geometry=geometry,
            reference_channels=reference_channels,
            full_scale_uv=FULL_SCALE_3A[stream.band] if stream.is_3a else None,
        )
        self.stream = stream

    def sample_numbers(self) -> npt.NDArray[np.int64]:
        """Return the acquisition's number of each sample (memory-mapped), as event times count them.

        Raises
        ------
        MissingDataError
            If the stream has no such file.
        FileFormatError
            If the file does not hold one number per sample.
        """
        names = ("sample_numbers.npy", f"{self.stream.band}_timestamps.npy", "timestamps.npy")
        found = [self.stream.folder / name for name in names if (self.stream.folder / name).exists()]
        if not found:
            msg = f"{self.stream.folder} holds none of {', '.join(names)}; samples can only be counted from 0"
            raise MissingDataError(msg)
        numbers = np.load(found[0], mmap_mode="r", allow_pickle=False)
        if numbers.dtype.kind not in "iu" or len(numbers) != self.n_samples:
            msg = f"{found[0]} holds {len(numbers)} values of {numbers.dtype}, not {self.n_samples} sample numbers"
            raise FileFormatError(msg)
        return np.asarray(numbers)


def open_open_ephys(
    folder: str | os.PathLike[str],
    band: Literal["ap", "lfp"] = "ap",
    *,
    stream: str | None = None,
    settings: str | os.PathLike[str] | None = None,
    geometry: npt.ArrayLike | None = None,
    reference_channels: npt.ArrayLike | None = None,
) -> OpenEphysRecording:
    """Open one stream of an Open Ephys recording.

    Parameters
    ----------
    folder
        The recording folder (with ``structure.oebin`` or ``continuous``), or one that holds a single recording.
    band
        ``"ap"`` or ``"lfp"``; ignored where `stream` is named.
    stream
        Name of the stream's folder, for recordings with several probes.
    settings
        ``settings.xml`` of the recording; by default the one in the folders above.
    geometry
        Channel positions (n_channels, 2) in um; by default from `settings` through probeinterface, for 3A recordings
        :func:`~allen_ecephys.processing.probes.neuropixels_1_geometry`.
    reference_channels
        Channels without signal; by default those of a 3A or 1.0 probe.

    Raises
    ------
    FileNotFoundError, FileFormatError
        If the folder holds no single recording, or its index or samples are missing or damaged.
    UnknownNameError
        If no stream, or several, are of that name or band.
    GeometryError
        If no positions are given and none can be found.
    """
    chosen = _choose(open_ephys_streams(folder), stream, band, Path(folder))
    references: npt.ArrayLike = ()
    if geometry is None and chosen.is_3a and len(chosen.electrodes) == chosen.n_columns:
        geometry = neuropixels_1_geometry(chosen.n_columns)
        references = [c for c in REFERENCE_CHANNELS_3A if c < chosen.n_columns]
    elif geometry is None:
        place = Path(settings) if settings is not None else _find_settings(chosen)
        probe = read_open_ephys_probe(place, chosen.name)
        geometry = np.asarray(probe.contact_positions, dtype=np.float64)
        references = _references(probe)
    return OpenEphysRecording(chosen, geometry, references if reference_channels is None else reference_channels)


def _choose(streams: list[OpenEphysStream], name: str | None, band: str, folder: Path) -> OpenEphysStream:
    names = [stream.name for stream in streams]
    if name is None:
        fitting = [stream for stream in streams if stream.band == band]
        if len(fitting) == 1:
            return fitting[0]
        msg = f"{folder} holds {len(fitting)} streams of band {band!r}; name one of {', '.join(names)} with stream=..."
        raise UnknownNameError(msg)
    if name not in names:
        msg = f"{folder} has no stream {name!r}{suggest(name, names)}; there are {', '.join(names) or 'none'}"
        raise UnknownNameError(msg)
    return streams[names.index(name)]


def _find_settings(stream: OpenEphysStream) -> Path:
    """``settings.xml`` lies beside the experiments of a record node: ``settings_2.xml`` belongs to ``experiment2``."""
    experiment = next((p for p in stream.folder.parents if p.name.startswith("experiment")), None)
    number = experiment.name.removeprefix("experiment") if experiment is not None else ""
    for place in stream.folder.parents[:6]:
        for name in (f"settings_{number}.xml", "settings.xml"):
            if (place / name).exists():
                return place / name
    msg = f"no settings.xml above {stream.folder}; name it with settings=..., or give geometry=..."
    raise FileNotFoundError(msg)


def _references(probe: Any) -> npt.NDArray[np.int64]:
    """Channel 191 of each bank is the reference on 1.0 probes; other probes have none among their channels."""
    part = str(probe.annotations.get("part_number") or probe.model_name or "")
    if not part.startswith(("PRB_1", "NP10")):
        return np.empty(0, np.int64)
    electrodes = np.array([int(str(name).rpartition("e")[2]) for name in probe.contact_ids])
    return np.flatnonzero(np.isin(electrodes % N_CHANNELS, REFERENCE_CHANNELS_1_0)).astype(np.int64)
