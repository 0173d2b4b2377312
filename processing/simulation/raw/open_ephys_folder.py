"""What Open Ephys leaves beside the samples of one or more probes of any kind: settings, index, sample numbers.

The samples are written by the caller; here are the descriptions, as the plugins Neuropix-PXI, OneBox and ONIX Source
write them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal
from xml.sax.saxutils import quoteattr

import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import UnknownNameError

from ...probes import ProbeModel
from ...readers.catalogue import catalogue_probe
from ...readers.open_ephys_settings import ORIGINS_UM

Int64 = npt.NDArray[np.int64]
Plugin = Literal["Neuropix-PXI", "OneBox", "ONIX Source"]
#: Open Ephys writes every band of every probe in units of 0.195 uV.
OPEN_EPHYS_UV: Final = 0.195


@dataclass(frozen=True, eq=False)
class ProbeSetup:
    """One probe as it was set up for a recording.

    Attributes
    ----------
    name
        What the recorder calls it: ``ProbeA``, ``imec0``.
    part_number
        Its kind.
    electrodes
        int64 (n_channels,): site of each readout channel, counted shank by shank.
    ap_gain, lf_gain
        Gains of probes on which they can be chosen.
    channels
        int64: readout channels that were saved, in the order of the file's columns; all by default.
    serial_number
        Of the probe.
    """

    name: str
    part_number: str
    electrodes: Int64
    ap_gain: float = 500.0
    lf_gain: float = 250.0
    channels: Int64 | None = None
    serial_number: str = "20403319954"

    @property
    def model(self) -> ProbeModel:
        """Its kind."""
        model = catalogue_probe(self.part_number)
        if model is None:
            msg = f"no probe {self.part_number!r} is in the catalogue"
            raise UnknownNameError(msg)
        return model

    @property
    def saved(self) -> Int64:
        """Readout channels by column."""
        return np.arange(len(self.electrodes)) if self.channels is None else self.channels

    @property
    def has_lfp(self) -> bool:
        """Whether it has an LFP band."""
        return self.model.gains[1] is not None

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of its streams: of the spike band, and of the LFP band where it has one."""
        return (f"{self.name}-AP", f"{self.name}-LFP") if self.has_lfp else (self.name,)

    @property
    def gain(self) -> float:
        """Gain of the spike band."""
        return self.ap_gain if self.has_lfp else self.model.gains[0]

    @property
    def positions(self) -> npt.NDArray[np.float64]:
        """Sites by column of the file, um."""
        return self.model.positions[self.electrodes[self.saved]]


@dataclass(frozen=True, eq=False)
class OpenEphysSetup:
    """How a recording with Open Ephys was set up.

    Attributes
    ----------
    plugin
        What acquires: Neuropix-PXI, OneBox or ONIX Source.
    version
        Of the GUI; since 1.0 probes stand elsewhere in the settings.
    experiment, node
        Numbers of the experiment and of the record node.
    lists_electrodes
        Whether ``structure.oebin`` names the sites (plugins since 0.6; ONIX Source does not).
    sync_column
        Whether a synchronization line stands behind the electrodes.
    origin_um
        x that the plugin gives the first column of sites.
    """

    plugin: Plugin = "Neuropix-PXI"
    version: str = "0.6.7"
    experiment: int = 1
    node: int = 101
    lists_electrodes: bool = True
    sync_column: bool = False
    origin_um: float = ORIGINS_UM[1]


def open_ephys_stream_folder(stream: str, setup: OpenEphysSetup) -> str:
    """Return where a stream's samples are, relative to the folder that :func:`write_open_ephys` is given."""
    recording = f"Record Node {setup.node}/experiment{setup.experiment}/recording1"
    return f"{recording}/continuous/{_folder_name(stream, setup)}"


def _folder_name(stream: str, setup: OpenEphysSetup) -> str:
    return f"{setup.plugin.replace(' ', '_')}-100.{stream}"


def write_open_ephys(
    folder: Path,
    probes: Sequence[ProbeSetup],
    n_samples: int,
    *,
    rate: float = 30_000.0,
    setup: OpenEphysSetup | None = None,
    numbers: npt.ArrayLike | None = None,
    settings: bool = True,
) -> dict[str, Path]:
    """Write settings, index and sample numbers of a recording, and the folders of its streams.

    Parameters
    ----------
    folder
        Of the recording; the record node's folder is made in it.
    n_samples
        Of the spike bands; LFP bands have a twelfth.
    numbers
        The recorder's number of each sample of the spike bands, by default from 0 on.
    settings
        Whether the settings are written.

    Returns
    -------
    dict
        Folder of each stream by its name: where its ``continuous.dat`` is to be written.
    """
    chosen = setup or OpenEphysSetup()
    node = folder / f"Record Node {chosen.node}"
    recording = node / f"experiment{chosen.experiment}" / "recording1"
    recording.mkdir(parents=True, exist_ok=True)
    if settings:
        suffix = "" if chosen.experiment == 1 else f"_{chosen.experiment}"
        (node / f"settings{suffix}.xml").write_text(open_ephys_settings(probes, chosen), encoding="utf-8")
    given = np.arange(n_samples) if numbers is None else np.asarray(numbers, dtype=np.int64)
    folders, entries = {}, []
    for probe in probes:
        for name in probe.streams:
            is_lfp = name.endswith("-LFP")
            entry = _index_entry(probe, name, rate / 12 if is_lfp else rate, chosen)
            stream = folder / open_ephys_stream_folder(name, chosen)
            stream.mkdir(parents=True)
            of_band = given[: n_samples - n_samples % 12 : 12] // 12 if is_lfp else given
            np.save(stream / "sample_numbers.npy", of_band.astype(np.int64))
            np.save(stream / "timestamps.npy", of_band / entry["sample_rate"])
            folders[name] = stream
            entries.append(entry)
    index = {"GUI version": chosen.version, "continuous": entries, "events": [], "spikes": []}
    (recording / "structure.oebin").write_text(json.dumps(index, indent=1), encoding="utf-8")
    return folders


def _index_entry(probe: ProbeSetup, name: str, rate: float, setup: OpenEphysSetup) -> dict[str, Any]:
    prefix = "LFP" if name.endswith("-LFP") else "AP" if name.endswith("-AP") else "CH"
    onix = setup.plugin == "ONIX Source"
    described = "Neuropixels 2.0 data stream" if onix and not probe.has_lfp else "Neuropixels 1.0 data stream"
    channels: list[dict[str, Any]] = []
    for column in probe.saved.tolist():
        channel: dict[str, Any] = {
            "channel_name": f"{prefix}{column}",
            "description": described if onix else "Neuropixels electrode",
            "bit_volts": OPEN_EPHYS_UV,
            "units": "uV",
        }
        if setup.version >= "1":
            channel["type"] = 0
        if setup.lists_electrodes and not onix:
            value = [int(probe.electrodes[column])]
            channel["channel_metadata"] = [{"name": "electrode_index", "type": "uint16", "length": 1, "value": value}]
        channels.append(channel)
    if setup.sync_column:
        channels.append({"channel_name": f"{prefix}_SYNC", "description": "Neuropixels sync line", "bit_volts": 1.0})
    return {
        "folder_name": f"{_folder_name(name, setup)}/",
        "sample_rate": rate,
        "source_processor_name": setup.plugin,
        "source_processor_id": 100,
        "stream_name": name,
        "recorded_processor": "Record Node",
        "recorded_processor_id": setup.node,
        "num_channels": len(channels),
        "channels": channels,
    }


def open_ephys_settings(probes: Sequence[ProbeSetup], setup: OpenEphysSetup | None = None) -> str:
    """Return the text of a ``settings.xml``."""
    chosen = setup or OpenEphysSetup()
    streams, kept_streams, kept_parameters = [], [], []
    for probe in probes:
        for name in probe.streams:
            rate = 2500.0 if name.endswith("-LFP") else 30000.0
            opened = f'<STREAM name={quoteattr(name)} sample_rate="{rate}" channel_count="{len(probe.electrodes)}"'
            state = "".join("1" if c in set(probe.saved.tolist()) else "0" for c in range(len(probe.electrodes)))
            all_kept = "0" not in state
            listed = "" if all_kept else ",".join(str(i) for i, s in enumerate(state) if s == "1")
            streams.append(f"{opened}/>")
            kept_streams.append(f'{opened} recording_state="{"ALL" if all_kept else state}"/>')
            kept_parameters.append(f'{opened}><PARAMETERS channels="{listed}"/></STREAM>')
    late, onix = chosen.version >= "1", chosen.plugin == "ONIX Source"
    entries = "".join(_onix_probe(p, i) if onix else _np_probe(p, chosen) for i, p in enumerate(probes))
    if onix and not probes[0].has_lfp:
        entries = f'<NEUROPIXELSV2E isEnabled="1">{entries}</NEUROPIXELSV2E>'
    inside = f"<CUSTOM_PARAMETERS>{entries}</CUSTOM_PARAMETERS>" if late else entries
    kept = "".join(kept_parameters) if late else f"<CUSTOM_PARAMETERS>{''.join(kept_streams)}</CUSTOM_PARAMETERS>"
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<SETTINGS><INFO><VERSION>{chosen.version}</VERSION></INFO>'
        f'<SIGNALCHAIN><PROCESSOR name="{chosen.plugin}" libraryVersion="1.0.0" nodeId="100">{"".join(streams)}'
        f"<EDITOR>{inside}</EDITOR></PROCESSOR>"
        f'<PROCESSOR name="Record Node" nodeId="{chosen.node}">{kept}</PROCESSOR></SIGNALCHAIN></SETTINGS>\n'
    )


def _np_probe(probe: ProbeSetup, setup: OpenEphysSetup) -> str:
    model, several = probe.model, probe.model.shanks.max() > 0
    sites, shanks = model.positions[probe.electrodes], model.shanks[probe.electrodes]
    banks = " ".join(f'CH{c}="0:{s}"' if several else f'CH{c}="0"' for c, s in enumerate(shanks))
    xs = " ".join(f'CH{c}="{x + setup.origin_um:g}"' for c, x in enumerate(sites[:, 0]))
    ys = " ".join(f'CH{c}="{y:g}"' for c, y in enumerate(sites[:, 1]))
    gains = f' apGainValue="{probe.ap_gain:g}x" lfpGainValue="{probe.lf_gain:g}x"' if probe.has_lfp else ""
    return (
        f'<NP_PROBE probe_serial_number="{probe.serial_number}" probe_part_number="{probe.part_number}" '
        f'custom_probe_name={quoteattr(probe.name)} isEnabled="1"{gains}>'
        f"<CHANNELS {banks}/><ELECTRODE_XPOS {xs}/><ELECTRODE_YPOS {ys}/></NP_PROBE>"
    )


def _onix_probe(probe: ProbeSetup, number: int) -> str:
    tag = "NEUROPIXELSV1E" if probe.has_lfp else f"PROBE{number}"
    listed = " ".join(f'CH{c}="{e}"' for c, e in enumerate(probe.electrodes))
    return (
        f'<{tag} probeSerialNumber="{probe.serial_number}" probePartNumber="{probe.part_number}">'
        f"<SELECTED_ELECTRODES {listed}/></{tag}>"
    )
