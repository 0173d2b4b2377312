"""The index of an Open Ephys recording, ``structure.oebin``: its streams, and which of their columns are electrodes."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import FileFormatError, MissingFileError, in_words
from allen_ecephys.files import read_json

from ..probes import N_CHANNELS
from .finding import files_below

UV_PER_BIT_3A: Final = 0.195
#: A stream faster than this is a spike band (30 kHz), a slower one an LFP band (2.5 kHz).
BAND_BOUNDARY: Final = 10_000.0
#: Stream folder of 3A recordings: rate by the number after the dot.
RATES_3A: Final = {"0": 30_000.0, "1": 2_500.0}
#: Folders of streams extracted from 3A recordings. (A probe may be *called* M3A.)
FOLDER_3A: Final = re.compile(r"Neuropix-3a-\d+\.\d+", re.IGNORECASE)
INDEX_FILE: Final = "structure.oebin"
SAMPLES_FILE: Final = "continuous.dat"
#: Kinds of channels in an index since GUI 1.0.
ELECTRODE_KIND: Final = 0


@dataclass(frozen=True)
class OpenEphysStream:
    """One continuous stream of a recording.

    Attributes
    ----------
    folder
        The folder that holds ``continuous.dat``.
    stream_name
        Name of the stream in the index, as ``ProbeA-AP``; the folder's name where the index gives none.
    sampling_rate
        Hz.
    n_columns
        Values per sample.
    electrodes
        int64: columns that are electrodes (not synchronization or analog input).
    uv_per_bit
        float64, one per electrode.
    electrode_index
        int64, one per electrode: its site on the probe, where the index says so, else None.
    is_3a
        Whether it comes from a Neuropixels 3A recording.
    record_node
        Number of the record node that wrote it; empty where the index does not say.

    Examples
    --------
    >>> [(stream.name, stream.band, stream.sampling_rate) for stream in open_ephys_streams("recording")]
    [('Neuropix-3a-100.0', 'ap', 30000.0), ('Neuropix-3a-100.1', 'lfp', 2500.0)]
    """

    folder: Path
    stream_name: str
    sampling_rate: float
    n_columns: int
    electrodes: npt.NDArray[np.int64]
    uv_per_bit: npt.NDArray[np.float64]
    electrode_index: npt.NDArray[np.int64] | None
    is_3a: bool
    record_node: str = ""

    @property
    def name(self) -> str:
        """Name of the stream: that of its folder.

        Examples
        --------
        >>> [stream.name for stream in open_ephys_streams("recording")]
        ['Neuropix-3a-100.0', 'Neuropix-3a-100.1']
        """
        return self.folder.name

    @property
    def probe(self) -> str:
        """Name of the probe: the stream's without its band.

        Examples
        --------
        >>> {stream.probe for stream in open_ephys_streams("recording")}
        {'Neuropix-3a-100'}
        """
        if self.is_3a:
            return self.name.rpartition(".")[0]
        return re.sub(r"-(AP|LFP)$", "", self.stream_name)

    @property
    def band(self) -> Literal["ap", "lfp"]:
        """Band by sampling rate.

        Examples
        --------
        >>> [stream.band for stream in open_ephys_streams("recording")]
        ['ap', 'lfp']
        """
        return "ap" if self.sampling_rate > BAND_BOUNDARY else "lfp"

    @property
    def names(self) -> frozenset[str]:
        """Everything the stream may be called by.

        Examples
        --------
        >>> sorted(open_ephys_streams("recording")[0].names)
        ['Neuropix-3a-100', 'Neuropix-3a-100.0']
        """
        return frozenset({self.name, self.stream_name, self.probe})


def lfp_streams_of(spikes: OpenEphysStream, streams: list[OpenEphysStream]) -> list[OpenEphysStream]:
    """Return the streams that hold the LFP of a spike band's probe: one, none, or several that cannot be told apart."""
    return [stream for stream in streams if stream.band == "lfp" and _same_probe(stream, spikes)]


def _same_probe(lfp: OpenEphysStream, spikes: OpenEphysStream) -> bool:
    """Tell whether two streams are of one probe: by its name, or in GUI 0.5, where streams are numbered, by order."""
    if lfp.probe == spikes.probe:
        return True
    numbered = [s.name.rpartition(".")[2] for s in (lfp, spikes)]
    if not all(n.isdigit() for n in numbered) or lfp.name.rpartition(".")[0] != spikes.name.rpartition(".")[0]:
        return False
    return int(numbered[0]) == int(numbered[1]) + 1


def open_ephys_streams(folder: str | os.PathLike[str]) -> list[OpenEphysStream]:
    """Return the streams of electrodes of a recording.

    Parameters
    ----------
    folder
        The recording (with ``structure.oebin`` or ``continuous``), a folder that holds just one, the folder of one
        stream or its ``continuous.dat``.

    Raises
    ------
    MissingFileError
        If there is no recording, or more than one.
    FileFormatError
        If ``structure.oebin`` cannot be read.

    Examples
    --------
    >>> [(stream.name, stream.band) for stream in open_ephys_streams("recording")]
    [('Neuropix-3a-100.0', 'ap'), ('Neuropix-3a-100.1', 'lfp')]
    """
    root = Path(folder)
    stream_folder = root.parent if root.name == SAMPLES_FILE else root
    if (stream_folder / SAMPLES_FILE).is_file():
        stream_folder = stream_folder.absolute()  # a relative path may name no folder above
    inside = (stream_folder / SAMPLES_FILE).is_file() and stream_folder.parent.name == "continuous"
    recording = recording_folder(stream_folder.parents[1] if inside else root)
    index = recording / INDEX_FILE
    if not index.exists():
        found = [_stream_3a(f.parent) for f in sorted(recording.glob("continuous/Neuropix-3a-*/continuous.dat"))]
    else:
        found = _indexed_streams(recording, index)
    return [stream for stream in found if not inside or stream.folder.name == stream_folder.name]


def _indexed_streams(recording: Path, index: Path) -> list[OpenEphysStream]:
    listed = read_json(index)
    try:
        entries = listed["continuous"]
        streams = [_stream(recording, entry) for entry in entries]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        why = in_words(error)
        msg = f"{index} is not an Open Ephys index of continuous data: {why}; copy it again from the recording"
        raise FileFormatError(msg) from error
    return [stream for stream in streams if len(stream.electrodes)]


def open_ephys_recordings(root: Path) -> list[Path]:
    """Return the recording folders in or below `root`."""
    for place in (root, root.parent) if root.name == "continuous" else (root,):
        if (place / INDEX_FILE).is_file() or list(place.glob("continuous/Neuropix-3a-*")):
            return [place]
    found = sorted({f.parent for f in files_below(root, INDEX_FILE)})
    samples = [] if found else files_below(root, SAMPLES_FILE)
    return found or sorted({f.parents[2] for f in samples if f.parent.name.startswith("Neuropix-3a-")})


def recording_folder(root: Path) -> Path:
    """Return the one recording folder in or below `root`.

    Raises
    ------
    MissingFileError
        If there is none, or more than one.
    """
    found = open_ephys_recordings(root)
    if not found:
        msg = (
            f"no {INDEX_FILE} is in or below {root}: it lies beside the folder `continuous`, and says what the columns "
            "of its streams are. Copy the whole folder of the recording"
        )
        raise MissingFileError(msg)
    if len(found) != 1:
        names = ", ".join(str(f.relative_to(root)) for f in found[:6])
        msg = f"{root} holds {len(found)} Open Ephys recordings ({names}); name the folder of one of them"
        raise MissingFileError(msg)
    return found[0]


def _stream(recording: Path, entry: dict[str, Any]) -> OpenEphysStream:
    channels = entry["channels"]
    name = str(entry["folder_name"]).strip("/\\")
    if not name or Path(name).name != name or name in {".", ".."}:
        msg = f"folder_name {name!r} is not the name of a folder beside the index"
        raise ValueError(msg)
    electrodes = np.array([i for i, channel in enumerate(channels) if _is_electrode(channel)], dtype=np.int64)
    if len(channels) != int(entry["num_channels"]):
        msg = f"stream {name} lists {len(channels)} channels and counts {entry['num_channels']}"
        raise ValueError(msg)
    rate = float(entry["sample_rate"])
    if not (math.isfinite(rate) and rate >= 1):
        msg = f"stream {name} has a sample_rate of {rate}"
        raise ValueError(msg)
    gains = np.array([_microvolts_per_count(channels[i], name) for i in electrodes])
    return OpenEphysStream(
        folder=recording / "continuous" / name,
        stream_name=str(entry.get("stream_name") or name),
        sampling_rate=rate,
        n_columns=len(channels),
        electrodes=electrodes,
        uv_per_bit=gains,
        electrode_index=_electrode_index([channels[i] for i in electrodes]),
        is_3a=FOLDER_3A.fullmatch(name) is not None,
        record_node=str(entry.get("recorded_processor_id", "")),
    )


def _electrode_index(channels: list[dict[str, Any]]) -> npt.NDArray[np.int64] | None:
    """Return the site of each channel, where all channels have one."""
    found = []
    for channel in channels:
        listed = {m.get("name"): m.get("value") for m in channel.get("channel_metadata", [])}
        value = listed.get("electrode_index")
        if value is None:
            return None
        found.append(int(value[0] if isinstance(value, list) else value))
    return np.array(found, np.int64)


def _is_electrode(channel: dict[str, Any]) -> bool:
    """Tell electrodes from the synchronization line and analog inputs, which the plugins store beside them."""
    name = str(channel.get("channel_name", "")).lower()
    if "sync" in name:
        return False
    if "type" in channel:  # since GUI 1.0: electrode, auxiliary or analog input, whatever the plugin calls it
        return int(channel["type"]) == ELECTRODE_KIND
    description = str(channel.get("description", "")).lower()
    if re.search(r"electrode|headstage|neuropixels [\d.]+\w* data", description):
        return True  # "Neuropixels electrode" since 0.6, "Headstage data channel" before, ONIX's "... data stream"
    if description and re.search(r"analog|adc|aux|sync|digital|percent|imu|memory", description):
        return False
    return re.match(r"(ch|ap|lfp)[-_]?\d", name) is not None


def _microvolts_per_count(channel: dict[str, Any], stream: str) -> float:
    """Return what a count of a channel is worth, or raise if the index names no positive number."""
    value = channel["bit_volts"]
    usable = isinstance(value, (int, float)) and math.isfinite(value) and value > 0
    if not usable or isinstance(value, bool):
        msg = f"bit_volts of channel {channel.get('channel_name', '')} of {stream} is {value!r:.40}, no positive number"
        raise ValueError(msg)
    return float(value) * _to_microvolts(channel)


def _to_microvolts(channel: dict[str, Any]) -> float:
    """``bit_volts`` of electrodes is in microvolts, whatever its name says, unless the unit is V or mV."""
    return {"V": 1e6, "mV": 1e3}.get(channel.get("units", "uV"), 1.0)


def _stream_3a(folder: Path) -> OpenEphysStream:
    number = folder.name.rpartition(".")[2]
    return OpenEphysStream(
        folder=folder,
        stream_name=folder.name,
        sampling_rate=RATES_3A.get(number, 30_000.0),
        n_columns=N_CHANNELS,
        electrodes=np.arange(N_CHANNELS),
        uv_per_bit=np.full(N_CHANNELS, UV_PER_BIT_3A),
        electrode_index=None,
        is_3a=True,
    )
