"""What an Open Ephys ``settings.xml`` says about Neuropixels probes: names, part numbers, and the site of each channel.

Three plugins write it. Neuropix-PXI and OneBox list an ``NP_PROBE`` a probe (in the editor, since GUI 1.0 in its custom
parameters), with sites as numbers (``SELECTED_ELECTRODES``) or as positions (``CHANNELS``, ``ELECTRODE_XPOS``,
``ELECTRODE_YPOS``). ONIX Source has a ``NEUROPIXELSV1E``, ``NEUROPIXELSV1F`` or ``NEUROPIXELSV2E`` a headstage. A
Channel Map before the record node reorders channels, and the record node may keep only some.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import FileFormatError, GeometryError, in_words

from .catalogue import catalogue_probe, shank_pitch

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

ONIX_TAGS: Final = ("NEUROPIXELSV1E", "NEUROPIXELSV1F", "NEUROPIXELSV2E")
#: Endings of the names of a probe's two streams.
BAND_SUFFIX: Final = re.compile(r"-(AP|LFP)$")
#: x of the first column in the plugin's versions: 2.0 probes until 0.6 and since, 1.0 and NHP probes, Ultra probes.
ORIGINS_UM: Final = (8.0, 27.0, 11.0, 12.0)
#: Positions in the settings are rounded to whole micrometres.
TOLERANCE_UM: Final = 1.0


@dataclass(frozen=True, eq=False)
class ProbeSettings:
    """One probe of a ``settings.xml``.

    Attributes
    ----------
    name
        Name of its streams, without ``-AP`` and ``-LFP``.
    streams
        Names of its streams.
    part_number, serial_number
        As written on the probe; empty where the settings do not say.
    channels
        int64: acquired channels, ascending.
    electrodes
        int64: the site of each of these channels in the probe's catalogue (shank by shank, from the tip up), or None
        where the part number is in no catalogue or positions do not tell.
    positions
        float64 (n, 2): x and y of each channel's site in um, as written.
    shanks
        int64: its shank.
    ap_gain, lf_gain
        Amplification; NaN where it is not stated.
    orders
        For each of its streams, the channels by column of the file, as indices into `channels`: as the record node
        wrote them, or with none left out, or as acquired. The number of columns says which.
    """

    name: str
    streams: tuple[str, ...]
    part_number: str
    serial_number: str
    channels: npt.NDArray[np.int64]
    electrodes: npt.NDArray[np.int64] | None
    positions: npt.NDArray[np.float64] | None
    shanks: npt.NDArray[np.int64]
    ap_gain: float
    lf_gain: float
    orders: dict[str, tuple[npt.NDArray[np.int64], ...]]


def read_open_ephys_settings(path: Path, record_node: str | None = None) -> list[ProbeSettings]:
    """Return the probes that a ``settings.xml`` describes, disabled ones left out.

    Parameters
    ----------
    record_node
        Number of the record node whose files are read; by default the first.

    Raises
    ------
    FileFormatError
        If the file is no XML, or a number in it is none.
    """
    from xml.etree import ElementTree

    try:
        root = ElementTree.parse(path).getroot()  # noqa: S314 - expat limits entities itself
        early = _is_before_0_6(root.findtext("INFO/VERSION", ""))
        chains = root.iter("SIGNALCHAIN")
        return [probe for chain in chains for probe in _probes_of_chain(chain, record_node, early=early)]
    except (ElementTree.ParseError, ValueError, KeyError, IndexError, OverflowError, AttributeError) as error:
        if isinstance(error, GeometryError):
            raise
        msg = f"{path} is no settings.xml of Open Ephys: {in_words(error)}; copy it again from the record node's folder"
        raise FileFormatError(msg) from error


def _is_before_0_6(version: str) -> bool:
    found = re.match(r"0\.(\d+)", version)
    return found is not None and int(found[1]) < 6


def _probes_of_chain(chain: Element, record_node: str | None, *, early: bool) -> Iterator[ProbeSettings]:
    processors = list(chain.findall("PROCESSOR"))
    for position, processor in enumerate(processors):
        elements = _probe_elements(processor)
        if not elements:
            continue
        later = processors[position + 1 :]
        names = _stream_names(processor, elements)
        for element, streams in zip(elements, names, strict=True):
            yield _probe(element, streams, later, record_node, early=early)


def _probe_elements(processor: Element) -> list[Element]:
    found = [e for e in processor.iter("NP_PROBE") if e.get("isEnabled", "1") == "1"]
    for tag in ONIX_TAGS:
        for headstage in processor.iter(tag):
            if headstage.get("isEnabled", "1") == "1":
                inner = [e for e in headstage if re.fullmatch(r"PROBE\d+", e.tag)]
                found.extend(inner or [headstage])
    return found


def _stream_names(processor: Element, elements: list[Element]) -> list[tuple[str, ...]]:
    """Return the names of each probe's streams.

    Streams are listed in the order of the probes, those of one probe together. A probe's own name tells which they are
    where it has one; a Quad Base probe has an entry and a stream for each shank.
    """
    names = [stream.get("name", "") for stream in processor.findall("STREAM")]
    if not names:  # before GUI 0.6 streams are numbered: node.0, node.1, ...; probes with an LFP band have two
        node = processor.get("nodeId") or processor.get("NodeId") or ""
        numbered: list[tuple[str, ...]] = []
        number = 0
        for element in elements:
            count = 2 if _has_lfp(_part_number(element)) else 1
            numbered.append(tuple(f"{node}.{number + i}" for i in range(count)))
            number += count
        return numbered
    if elements[0].tag != "NP_PROBE":  # ONIX: streams of other devices stand between those of the probes
        names = [name for name in names if re.search(r"Probe\d*(-AP|-LFP)?$", name)]
    groups: dict[str, list[str]] = {}
    for name in names:
        if "ADC" not in name:
            groups.setdefault(BAND_SUFFIX.sub("", name), []).append(name)
    by_name = [_own_name(element, groups) for element in elements]
    if all(by_name) and len(set(by_name)) == len(by_name):
        return [tuple(groups[str(name)]) for name in by_name]
    if len(groups) != len(elements):
        msg = f"{len(elements)} probes but streams of {len(groups)} ({', '.join(groups)}); which is whose is not told"
        raise ValueError(msg)
    return [tuple(streams) for streams in groups.values()]


def _own_name(element: Element, groups: dict[str, list[str]]) -> str | None:
    name = element.get("custom_probe_name", "")
    shank = element.get("shank")
    candidates = [name] if shank is None else [f"{name}-{int(shank) + 1}", name]
    return next((candidate for candidate in candidates if candidate in groups), None)


def _part_number(element: Element) -> str:
    return element.get("probe_part_number") or element.get("probePartNumber") or ""


def _has_lfp(part_number: str) -> bool:
    """Tell whether a probe writes its LFP as a stream of its own: those of the 1.0 family do."""
    return part_number.startswith(("NP1", "PRB_1")) or not part_number


def _probe(
    element: Element, streams: tuple[str, ...], later: list[Element], node: str | None, *, early: bool
) -> ProbeSettings:
    part_number = _part_number(element)
    channels, electrodes, positions, shanks = _sites(element, part_number, early=early)
    orders = {name: _orders(name, len(channels), later, node) for name in streams}
    return ProbeSettings(
        name=BAND_SUFFIX.sub("", streams[0]),
        streams=streams,
        part_number=part_number,
        serial_number=element.get("probe_serial_number") or element.get("probeSerialNumber") or "",
        channels=channels,
        electrodes=electrodes,
        positions=positions,
        shanks=shanks,
        ap_gain=_gain(element, "apGain"),
        lf_gain=_gain(element, "lfpGain"),
        orders=orders,
    )


def _gain(element: Element, name: str) -> float:
    viewer = element.find("PROBE_VIEWER")
    text = element.get(f"{name}Value") or (viewer.get(name) if viewer is not None else None)
    return float(text.rstrip("x")) if text else float("nan")


def _by_channel(element: Element | None) -> dict[int, str]:
    """Return an element's attributes ``CH0``, ``CH1_2`` (channel and shank), ... by channel."""
    if element is None:
        return {}
    return {int(key.removeprefix("CH").partition("_")[0]): value for key, value in element.attrib.items()}


def _sites(
    element: Element, part_number: str, *, early: bool
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64] | None, npt.NDArray[np.float64] | None, npt.NDArray[np.int64]]:
    selected = _by_channel(element.find("SELECTED_ELECTRODES"))
    if selected:
        channels = np.array(sorted(selected), np.int64)
        electrodes = np.array([int(selected[c]) for c in channels.tolist()], np.int64)
        return channels, electrodes, None, np.zeros(len(channels), np.int64)
    banks = element.find("CHANNELS")
    listed = _by_channel(banks)
    channels = np.array(sorted(listed), np.int64)
    xs, ys = _by_channel(element.find("ELECTRODE_XPOS")), _by_channel(element.find("ELECTRODE_YPOS"))
    shanks = np.array([_shank(listed[c]) for c in channels.tolist()], np.int64)
    if banks is not None and any("_" in key for key in banks.attrib):
        of_key = {int(k[2:].partition("_")[0]): int(k.partition("_")[2] or 0) for k in banks.attrib}
        shanks = np.array([of_key[c] for c in channels.tolist()], np.int64)
    if not xs or not ys:  # the plugin writes positions since version 0.3.3
        return channels, None, None, shanks
    positions = np.array([[float(xs[c]), float(ys[c])] for c in channels.tolist()]).reshape(-1, 2)
    return channels, electrodes_at(positions, shanks, part_number, early=early), positions, shanks


def _shank(text: str) -> int:
    """Return the shank in an entry of ``CHANNELS``: ``bank`` or ``bank:shank``."""
    return int(text.partition(":")[2] or 0)


def electrodes_at(
    positions: npt.NDArray[np.float64], shanks: npt.NDArray[np.int64], part_number: str, *, early: bool = False
) -> npt.NDArray[np.int64] | None:
    """Return which sites of a catalogue probe lie at positions of another origin, or None if that cannot be told.

    The plugin's versions count x from different edges (:data:`ORIGINS_UM`), with or without the distance between
    shanks; before GUI 0.6 (`early`) y held that distance instead. An origin is right if it puts every site on the
    probe. A selection that leaves out columns may fit several; then the plugin's own are believed, or nothing is
    claimed.
    """
    probe = catalogue_probe(part_number)
    if probe is None or not len(positions):
        return None
    places, of_shank, pitch = probe.positions, probe.shanks, shank_pitch(probe)
    index = {(int(s), round(x), round(y)): i for i, (s, (x, y)) in enumerate(zip(of_shank, places, strict=True))}
    found: dict[bytes, list[float]] = {}
    for in_x in (0.0, pitch):
        local = positions + np.column_stack([shanks * (pitch - in_x), shanks * (-pitch if early else 0.0)])
        row = (of_shank == shanks[0]) & (np.abs(places[:, 1] - local[0, 1]) < TOLERANCE_UM)
        for column in np.unique(places[row, 0]):
            moved = local + np.array([column - local[0, 0], 0.0])
            sites = [index.get((int(s), round(x), round(y)), -1) for s, (x, y) in zip(shanks, moved, strict=True)]
            if min(sites) >= 0 and len(set(sites)) == len(sites):
                found.setdefault(np.array(sites, np.int64).tobytes(), []).append(float(local[0, 0] - column))
    if len(found) > 1:
        usual = [key for key, xs in found.items() if any(abs(x - o) < TOLERANCE_UM for x in xs for o in ORIGINS_UM)]
        found = {key: found[key] for key in usual}
    return np.frombuffer(next(iter(found)), np.int64).copy() if len(found) == 1 else None


def _orders(stream: str, n_channels: int, later: list[Element], node: str | None) -> tuple[npt.NDArray[np.int64], ...]:
    """Return the acquired channels in the order of columns: what a record node kept, all as mapped, all as acquired."""
    acquired = np.arange(n_channels)
    mapped = acquired
    for processor in later:
        name = processor.get("name", "")
        if "Channel Map" in name:
            mapped = _mapped(mapped, processor, stream)
        elif "Record Node" in name and (node is None or node == (processor.get("nodeId") or processor.get("NodeId"))):
            return _kept(mapped, processor, stream), mapped, acquired
    return mapped, acquired


def _mapped(order: npt.NDArray[np.int64], channel_map: Element, stream: str) -> npt.NDArray[np.int64]:
    names = [s.get("name") for s in channel_map.findall("STREAM")]
    maps = channel_map.findall("CUSTOM_PARAMETERS/STREAM")
    if stream not in names or len(maps) != len(names):
        return order
    entries = maps[names.index(stream)].findall("CH")
    indices = np.array([int(e.get("index", "-1")) for e in entries if e.get("enabled", "1") == "1"], np.int64)
    indices = indices[(indices >= 0) & (indices < len(order))]  # the synchronization line stands behind the electrodes
    return order[indices] if len(indices) else order


def _kept(order: npt.NDArray[np.int64], node: Element, stream: str) -> npt.NDArray[np.int64]:
    """Return the channels that a record node keeps: a string of 0 and 1, or since GUI 1.0 a list of numbers."""
    for entry in node.findall("CUSTOM_PARAMETERS/STREAM"):
        state = entry.get("recording_state", "ALL")
        if entry.get("name") == stream and set(state) <= {"0", "1"} and state:
            return order[np.flatnonzero(np.array(list(state[: len(order)])) == "1")]
    for entry in node.findall("STREAM"):
        parameters = entry.find("PARAMETERS")
        listed = parameters.get("channels", "") if parameters is not None else ""
        if entry.get("name") == stream and re.fullmatch(r"\s*\d+(\s*,\s*\d+)*\s*", listed):
            indices = np.array([int(n) for n in listed.split(",")], np.int64)
            return order[indices[indices < len(order)]]
    return order
