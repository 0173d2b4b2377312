"""Which site of its probe each column of an Open Ephys stream recorded from.

Two files speak of it: the settings (by acquired channel, reordered by a Channel Map, thinned by the record node) and,
since plugin 0.6, the index ``structure.oebin`` (``electrode_index``, column by column). Where both speak they must name
the same sites, and the index has the order; where one is silent the other decides; where both are silent, positions are
the user's to give. Settings of another experiment say nothing: between two experiments, probes may be exchanged.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import GeometryError, MissingFileError, suggest

from ..probes import (
    N_CHANNELS,
    REFERENCE_CHANNELS_3A,
    AdcWiring,
    ProbeModel,
    adc_wiring,
    neuropixels_1_geometry,
    neuropixels_1_wiring,
    part_numbers,
)
from .catalogue import catalogue_probe, reference_channel
from .open_ephys_index import OpenEphysStream
from .open_ephys_settings import ProbeSettings, read_open_ephys_settings

logger = logging.getLogger(__name__)

Int64 = npt.NDArray[np.int64]
#: Part numbers of probes on which channel c records from site c of one of its banks of 384.
SIMPLE_BANKS: Final = ("NP1", "PRB_1")


@dataclass(frozen=True, eq=False)
class StreamSites:
    """Where the channels of a stream lie.

    Attributes
    ----------
    positions
        float64 (n_channels, 2), um.
    shanks
        int64 (n_channels,).
    reference_channels
        int64: channels that are references.
    part_number
        Of the probe, empty if it is unknown.
    adc
        When each channel is digitised, None if unknown.
    full_scale_uv
        Largest voltage that the converter could measure, None if unknown.
    """

    positions: npt.NDArray[np.float64]
    shanks: Int64
    reference_channels: Int64
    part_number: str
    adc: AdcWiring | None
    full_scale_uv: float | None


def sites_of_3a(n_channels: int) -> StreamSites:
    """Return the sites of a 3A recording, all of bank 0 in order."""
    references = np.array([c for c in REFERENCE_CHANNELS_3A if c < n_channels], np.int64)
    positions = neuropixels_1_geometry(n_channels)
    wiring = neuropixels_1_wiring(n_channels)
    return StreamSites(positions, np.zeros(n_channels, np.int64), references, "", wiring, None)


def sites_of_stream(
    stream: OpenEphysStream, settings: Path | None = None, part_number: str | None = None
) -> StreamSites:
    """Return the sites that a stream's columns recorded from.

    Parameters
    ----------
    settings
        ``settings.xml`` of this recording; by default the one of its experiment.
    part_number
        Of the probe, for recordings whose settings are lost.

    Raises
    ------
    GeometryError
        If index and settings name different sites, or neither names them.
        If the settings name another probe than `part_number`.
    MissingFileError
        If there are no settings of this experiment and no part number is given, or `settings` is no file.
    """
    if settings is not None and not settings.is_file():
        what = "is a folder" if settings.is_dir() else "does not exist"
        msg = f"settings={str(settings)!r} {what}; name the settings.xml of the recording"
        raise MissingFileError(msg)
    path, own = (settings, True) if settings is not None else find_settings(stream.folder)
    probe = _probe_of_stream(stream, path) if path is not None and own else None
    part = part_number or (probe.part_number if probe is not None else "")
    if not part and probe is None:
        raise MissingFileError(_without_settings(stream, path))
    if probe is not None and probe.part_number and probe.part_number != part:
        msg = (
            f"{path} says that {stream.probe} is a {probe.part_number}, not a {part}; leave out part_number=..., or "
            "name the right file with settings=..."
        )
        raise GeometryError(msg)
    model = catalogue_probe(part)
    stated = _StatedSites.of(stream, probe) if probe is not None else None
    if model is None:
        return _of_unknown_probe(stream, stated, part)
    electrodes = _electrodes(stream, stated, model, path)
    channels = _readout_channels(electrodes, stated, model)
    references, adc = np.empty(0, np.int64), None
    if channels is not None:
        references = np.flatnonzero(channels == reference_channel(model)).astype(np.int64)
        adc = adc_wiring(part, channels)
    full_scale = _full_scale_uv(stream, probe, model)
    return StreamSites(model.positions[electrodes], model.shanks[electrodes], references, part, adc, full_scale)


def _without_settings(stream: OpenEphysStream, foreign: Path | None) -> str:
    """Say that it is not known which probe this is; settings of another experiment may be `foreign`."""
    if foreign is None:
        why = f"no settings.xml above {stream.folder}, so it is not known which probe {stream.probe} is"
    else:
        above = (*stream.folder.absolute().parents, *stream.folder.resolve().parents)
        own = next(p for p in above if re.fullmatch(r"experiment\d+", p.name)).name
        file = f"settings_{own.removeprefix('experiment')}.xml"
        why = (
            f"{own} of {foreign.parent} has no {file}, so it is not known which probe {stream.probe} is: "
            f"{foreign.name} is of another experiment, and probes may have been exchanged"
        )
    return (
        f"{why}; name its file with settings=... or the probe with part_number='NP2013' (say), or give geometry=... in "
        "Python"
    )


def _full_scale_uv(stream: OpenEphysStream, probe: ProbeSettings | None, model: ProbeModel) -> float | None:
    """Return the largest voltage of a channel, by the gain in the settings or the only one that the probe has."""
    gain = np.nan if probe is None else probe.ap_gain if stream.band == "ap" else probe.lf_gain
    if not gain > 0 and model.gains[1] is None:
        gain = model.gains[0]
    return model.range_uv / 2 / gain if gain > 0 else None


def find_settings(stream_folder: Path) -> tuple[Path | None, bool]:
    """Return the settings above a stream's folder, and whether they are of the stream's own experiment.

    They lie beside the experiments of a record node: ``settings.xml`` belongs to ``experiment1``, ``settings_2.xml`` to
    ``experiment2``.
    """
    # Relative paths name no folders above themselves, and a link lies elsewhere than what it leads to.
    named = stream_folder.absolute()
    found = _settings_above(named)
    return found if found[0] is not None else _settings_above(named.resolve())


def _settings_above(stream_folder: Path) -> tuple[Path | None, bool]:
    experiment = next((p for p in stream_folder.parents if re.fullmatch(r"experiment\d+", p.name)), None)
    if experiment is None:
        found = next((p / "settings.xml" for p in stream_folder.parents[:4] if (p / "settings.xml").is_file()), None)
        return found, True
    number = int(experiment.name.removeprefix("experiment"))
    for place in (experiment, *experiment.parents[:2]):
        numbered, first = place / f"settings_{number}.xml", place / "settings.xml"
        if numbered.is_file():
            return numbered, True
        if first.is_file():
            return first, number == 1 or place == experiment
    return None, False


def _probe_of_stream(stream: OpenEphysStream, path: Path) -> ProbeSettings:
    node = stream.record_node or next(
        (m[1] for p in stream.folder.resolve().parents if (m := re.fullmatch(r"Record[ _]Node[ _](\d+)", p.name))), None
    )
    probes = read_open_ephys_settings(path, node or None)
    number = stream.name.rpartition("-")[2]  # "Neuropix-PXI-100.0" of GUI 0.5: node 100, stream 0
    found = [p for p in probes if stream.stream_name in p.streams or number in p.streams]
    found = found or [p for p in probes if stream.probe == p.name]
    if len(found) != 1:
        names = ", ".join(p.name for p in probes) or "none"
        msg = (
            f"{path} describes no probe of stream {stream.stream_name!r} (it has {names}); it may be of another "
            "recording. Name the right file with settings=..., or give geometry=... in Python"
        )
        raise GeometryError(msg)
    return found[0]


@dataclass(frozen=True, eq=False)
class _StatedSites:
    """What the settings of this experiment say, by column: None where they leave open which channels were kept."""

    probe: ProbeSettings
    columns: Int64 | None

    @classmethod
    def of(cls, stream: OpenEphysStream, probe: ProbeSettings) -> _StatedSites:
        orders = probe.orders.get(stream.stream_name, ()) or next(iter(probe.orders.values()))
        fitting = (order for order in orders if len(order) == len(stream.electrodes))
        return cls(probe, next(fitting, None))

    def electrodes(self) -> Int64 | None:
        if self.columns is None or self.probe.electrodes is None:
            return None
        return self.probe.electrodes[self.columns]


def _electrodes(stream: OpenEphysStream, stated: _StatedSites | None, model: ProbeModel, path: Path | None) -> Int64:
    """Return the site of each column, where index and settings agree on it."""
    selected = None if stated is None else stated.probe.electrodes
    if stream.electrode_index is None:
        electrodes = None if stated is None else stated.electrodes()
        if electrodes is None:
            raise GeometryError(_nobody_says(stream, stated, path))
    else:
        electrodes = _listed(stream.electrode_index, selected, model)
        foreign = np.empty(0) if selected is None else np.setdiff1d(electrodes, selected)
        if len(foreign):
            msg = (
                f"{stream.folder}: structure.oebin and {path} disagree about {len(foreign)} of {len(electrodes)} "
                f"sites: the index has electrodes {foreign[:5].tolist()}, which the settings do not select. One of the "
                "files is of another recording; name the right one with settings=..., or give geometry=... in Python"
            )
            raise GeometryError(msg)
        if selected is None:
            logger.warning(
                "%s: sites are those of structure.oebin; the settings of this experiment are missing or silent",
                stream.name,
            )
    if electrodes.min(initial=0) < 0 or electrodes.max(initial=0) >= len(model.positions):
        n_sites, last = len(model.positions), electrodes.max()
        msg = f"{stream.folder}: electrode {last} is not on a {model.part_number}, which has {n_sites} sites"
        raise GeometryError(msg)
    return electrodes


def _listed(index: Int64, selected: Int64 | None, model: ProbeModel) -> Int64:
    """Return the index's sites, counted over all shanks; a stream of one shank may count within it."""
    per_shank = model.sites_per_shank
    if selected is None or not len(selected) or not len(index) or index.max() >= per_shank:
        return index
    shanks = np.unique(selected // per_shank)
    moved = index + shanks[0] * per_shank
    return moved if len(shanks) == 1 and np.isin(moved, selected).all() else index


def _nobody_says(stream: OpenEphysStream, stated: _StatedSites | None, path: Path | None) -> str:
    if stated is None:
        why = f"{path} is of another experiment" if path is not None else "the settings are missing"
    elif stated.columns is None:
        why = f"{path} lists {len(stated.probe.channels)} channels, the file {len(stream.electrodes)}"
    else:
        why = f"the positions in {path} fit no {stated.probe.part_number}, or several of its columns"
    return (
        f"the sites of {stream.folder} are not known: {why}, and structure.oebin names no electrodes. Name the right "
        "settings with settings=..., or give geometry=... in Python"
    )


def _readout_channels(electrodes: Int64, stated: _StatedSites | None, model: ProbeModel) -> Int64 | None:
    """Return each column's number on the probe: by the settings, or where sites follow from channels."""
    selected = None if stated is None else stated.probe.electrodes
    if stated is not None and selected is not None:
        acquired = stated.probe.channels
        numbers = np.arange(N_CHANNELS) if len(acquired) == N_CHANNELS else acquired
        by_site = dict(zip(selected.tolist(), numbers.tolist(), strict=True))
        return np.array([by_site[e] for e in electrodes.tolist()], np.int64)
    if model.part_number.startswith(SIMPLE_BANKS) and len(model.positions) >= N_CHANNELS:
        return electrodes % N_CHANNELS
    return None


def _of_unknown_probe(stream: OpenEphysStream, stated: _StatedSites | None, part_number: str) -> StreamSites:
    """Return sites of a probe that no catalogue lists, by the positions in the settings."""
    if stated is None or stated.columns is None or stated.probe.positions is None:
        msg = (
            f"{stream.folder}: probe {part_number or 'without part number'} is in no catalogue, and no settings give "
            f"positions for its channels{suggest(part_number, part_numbers())}; or give geometry=... in Python"
        )
        raise GeometryError(msg)
    logger.warning(
        "%s: probe %r is in no catalogue; its positions are those in the settings, references and converters unknown",
        stream.name, part_number,
    )  # fmt: skip
    positions = stated.probe.positions[stated.columns]
    positions = positions - [positions[:, 0].min(), 0.0]
    shanks = stated.probe.shanks[stated.columns]
    return StreamSites(positions, shanks, np.empty(0, np.int64), part_number, None, None)
