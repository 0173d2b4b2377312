"""SpikeGLX ``.meta`` files: channels, gains, references, and the sites of an imec probe.

What the lines mean is in SpikeGLX's "Metadata guide", "Geometry map" and "IMRO table" documents: volts per count are
``imAiRangeMax / imMaxInt / gain``; gains stand in ``~imroTbl`` for probes whose gain can be chosen, and are fixed for
2.0 probes; reference sites carry ``used = 0`` in ``~snsGeomMap`` or ``~snsShankMap``.
"""

from __future__ import annotations

import logging
import math
import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import FileFormatError, GeometryError, MissingFileError

from ..probes import (
    REFERENCE_CHANNELS_1_0,
    REFERENCE_CHANNELS_2_0,
    REFERENCE_CHANNELS_3A,
    AdcWiring,
    adc_wiring,
    neuropixels_1_wiring,
    read_spikeglx_probe,
    wiring_of_table,
)
from ..timeline import LARGEST_NUMBER
from .catalogue import catalogue_probe
from .text import read_text

logger = logging.getLogger(__name__)

Int64 = npt.NDArray[np.int64]

#: Gain and steps of 2.0 probes' converters, where the file does not state them: early parts (14 bits), then later.
EARLY_2_0, LATER_2_0 = (80.0, 8192), (100.0, 2048)
FIXED_GAINS: Final = {
    **dict.fromkeys((21, 24), EARLY_2_0),
    **dict.fromkeys((2003, 2004, 2005, 2006, 2013, 2014, 2020, 2021, 2022, 2300), LATER_2_0),
    **dict.fromkeys((3010, 3011, 3012, 3020, 3021, 3022, 3023, 3024), LATER_2_0),
}
#: Steps of the ten-bit converters of 3A, 1.0, Ultra and NHP probes.
STEPS_1_0: Final = 512
#: Part number of probes that only their type tells.
PART_OF_TYPE: Final = {0: "NP1000", 21: "NP2000", 24: "NP2010"}
TYPE_OF_PART: Final = {"NP2000": 21, "PRB2_1": 21, "NP2010": 24, "PRB2_4": 24, "PRB_1_": 0}
#: What is left where a file does not say where its sites are.
GIVE_POSITIONS: Final = "give their positions in Python: open_spikeglx(file, geometry=...)"
#: No probe has more; a larger count is damage.
MOST_CHANNELS: Final = 100_000


@dataclass(frozen=True)
class SpikeGlxMeta:
    """What a ``.meta`` file says about its ``.bin``.

    Attributes
    ----------
    fields
        All ``key=value`` lines; a leading ``~`` is dropped.
    band
        ``"ap"`` or ``"lf"``.
    saved_channels
        int64: acquired number of each saved channel, without synchronization words, counted within its band.
    n_sync
        Synchronization words at the end of each sample.
    sampling_rate
        Hz.
    uv_per_bit
        float64, one per saved channel.
    reference_channels
        int64: saved channels that are references or marked unused.
    full_scale
        Counts at the end of the converter's range.

    Examples
    --------
    >>> in_run = write_recording("run_g0", duration=0.5, n_units=2, n_channels=16, form="spikeglx")
    >>> meta = read_spikeglx_meta(next(Path("run_g0").rglob("*.ap.meta")))
    >>> meta.band, meta.sampling_rate, meta.n_columns
    ('ap', 30000.0, 17)
    """

    path: Path
    fields: dict[str, str]
    band: Literal["ap", "lf"]
    saved_channels: Int64
    n_sync: int
    sampling_rate: float
    uv_per_bit: npt.NDArray[np.float64]
    reference_channels: Int64
    full_scale: int

    @property
    def n_columns(self) -> int:
        """Values per sample in the file.

        Examples
        --------
        >>> written = write_recording("run_1", duration=0.5, n_units=2, n_channels=16, form="spikeglx")
        >>> read_spikeglx_meta(next(Path("run_1").rglob("*.ap.meta"))).n_columns  # and one of synchronization
        17
        """
        return len(self.saved_channels) + self.n_sync

    @property
    def file_size(self) -> int | None:
        """Bytes that the file had when it was closed, or None if the recording was cut off.

        Examples
        --------
        >>> written = write_recording("run_2", duration=0.5, n_units=2, n_channels=16, form="spikeglx")
        >>> meta = read_spikeglx_meta(next(Path("run_2").rglob("*.ap.meta")))
        >>> meta.file_size == 2 * meta.n_columns * written.n_samples
        True
        """
        return int(self.fields["fileSizeBytes"]) if "fileSizeBytes" in self.fields else None

    @property
    def first_sample(self) -> int:
        """Number of the file's first sample since acquisition began, 0 if it is not stated.

        Examples
        --------
        >>> written = write_recording("run_3", duration=0.5, n_units=2, n_channels=16, form="spikeglx")
        >>> read_spikeglx_meta(next(Path("run_3").rglob("*.ap.meta"))).first_sample
        0
        """
        return int(self.fields.get("firstSample", "0"))

    @property
    def part_number(self) -> str:
        """Part number of the probe; empty for 3A probes and where the file states none.

        Examples
        --------
        >>> written = write_recording("run_4", duration=0.5, n_units=2, n_channels=16, form="spikeglx", probe="NP2013")
        >>> read_spikeglx_meta(next(Path("run_4").rglob("*.ap.meta"))).part_number
        'NP2013'
        """
        stated = self.fields.get("imDatPrb_pn", "")
        return stated if stated or _is_3a(self.fields) else PART_OF_TYPE.get(_kind(self.fields), "")

    @property
    def link_errors(self) -> dict[str, int]:
        """Errors that SpikeGLX counted on the probe's link, those that occurred: samples may have been lost.

        Examples
        --------
        >>> written = write_recording("run_5", duration=0.5, n_units=2, n_channels=16, form="spikeglx")
        >>> read_spikeglx_meta(next(Path("run_5").rglob("*.ap.meta"))).link_errors  # none
        {}
        """
        found: dict[str, int] = {}
        for key, value in self.fields.items():
            if key.startswith("imErrFlags"):
                names = re.findall(r"_([A-Z]{2})(?=_|$)", key)
                counts = (int(n) for n in value.split())
                for name, count in zip(names, counts, strict=False):
                    if name != "IS" and count:  # IS says whether the others are to be believed
                        found[name] = found.get(name, 0) + count
        return found


def read_spikeglx_meta(path: str | os.PathLike[str]) -> SpikeGlxMeta:
    """Read a SpikeGLX ``.meta`` file of an imec probe (3A, 1.0, 2.0, Ultra, NHP, Quad Base, or one not known yet).

    Raises
    ------
    MissingFileError
        If there is no such file.
    FileFormatError
        If it is not the metadata of a probe, or contradicts itself.
    """
    place = Path(path)
    fields = meta_fields(place)
    if fields.get("typeThis") != "imec":
        kind = fields.get("typeThis", "file without typeThis")
        msg = f"{place} describes a {kind}, not a probe; name the .meta file of an imec stream"
        raise FileFormatError(msg)
    try:
        return _meta(place, fields)
    except FileFormatError:
        raise
    except (ValueError, IndexError, OverflowError) as error:
        msg = f"{place} holds a line that makes no sense ({error}); it was edited or damaged. Copy it again."
        raise FileFormatError(msg) from error


def _meta(place: Path, fields: dict[str, str]) -> SpikeGlxMeta:
    if not _is_3a(fields) and not {"imDatPrb_pn", "imDatPrb_type"} & fields.keys():
        msg = (
            f"{place} has neither a line imDatPrb_pn=... nor imDatPrb_type=..., so it is not told which probe it was; "
            "the file was edited or cut. Copy it again"
        )
        raise FileFormatError(msg)
    acquired = _counts(fields, "acqApLfSy", place)
    n_ap, n_lf, n_sync = _counts(fields, "snsApLfSy", place)
    if n_ap and n_lf:
        msg = f"{place} holds {n_ap} AP and {n_lf} LF channels in one file; SpikeGLX writes them apart. Split the file."
        raise FileFormatError(msg)
    band: Literal["ap", "lf"] = "ap" if n_ap else "lf"
    numbers = _saved_numbers(fields, sum(acquired), place)
    first, stop = (0, acquired[0]) if n_ap else (acquired[0], acquired[0] + acquired[1])
    saved = numbers[(numbers >= first) & (numbers < stop)] - first
    columns = _whole(fields, "nSavedChans", place)
    if len(saved) != n_ap + n_lf or n_ap + n_lf + n_sync != columns:
        msg = (
            f"{place} contradicts itself: snsApLfSy names {n_ap + n_lf} channels and {n_sync} sync words, "
            f"snsSaveChanSubset {len(saved)} channels, nSavedChans {columns} columns; the file was edited or damaged"
        )
        raise FileFormatError(msg)
    rate = _number(fields, "imSampRate", place)
    if not (math.isfinite(rate) and rate >= 1):
        msg = f"{place}: imSampRate={rate} is no sampling rate; the file was edited or damaged"
        raise FileFormatError(msg)
    counters = [_whole(fields, key, place) for key in ("fileSizeBytes", "firstSample") if key in fields]
    if not all(0 <= n <= LARGEST_NUMBER for n in counters):
        msg = f"{place}: fileSizeBytes or firstSample is negative, or no counter's; the file was edited or damaged"
        raise FileFormatError(msg)
    steps = _steps(fields, place)
    return SpikeGlxMeta(
        path=place, fields=fields, band=band, saved_channels=saved, n_sync=n_sync, sampling_rate=rate,
        uv_per_bit=_uv_per_bit(fields, saved, band, steps, place),
        reference_channels=_unused(fields, saved, max(acquired[0], acquired[1]), place),
        full_scale=steps,
    )  # fmt: skip


def meta_fields(path: Path) -> dict[str, str]:
    """Return the lines of a file that Windows wrote: keys are ASCII, but notes and folders may be in any code page."""
    if not path.is_file():
        msg = f"there is no {path}; copy the .meta file that belongs to the .bin"
        raise MissingFileError(msg)
    try:
        text = read_text(path)
    except FileFormatError as error:
        msg = f"{path} is not text, so it is no .meta file; name the .meta beside the .bin"
        raise FileFormatError(msg) from error
    lines = (line.partition("=") for line in re.split(r"\r\n|\r|\n", text) if "=" in line)
    return {key.strip().removeprefix("~"): value.strip() for key, _, value in lines}


def _required(fields: dict[str, str], key: str, path: Path) -> str:
    if key not in fields:
        msg = f"{path} has no line {key}=...; it is not the .meta file of a SpikeGLX probe, or it was cut"
        raise FileFormatError(msg)
    return fields[key]


def _whole(fields: dict[str, str], key: str, path: Path) -> int:
    return int(_parsed(fields, key, path, int, "whole number"))


def _number(fields: dict[str, str], key: str, path: Path) -> float:
    return _parsed(fields, key, path, float, "number")


def _parsed(fields: dict[str, str], key: str, path: Path, parse: Callable[[str], float], kind: str) -> float:
    text = _required(fields, key, path)
    try:
        return parse(text)
    except ValueError as error:
        msg = f"{path}: {key}={text:.80} is no {kind}; the file was edited or damaged. Copy it again"
        raise FileFormatError(msg) from error


def _counts(fields: dict[str, str], key: str, path: Path) -> tuple[int, int, int]:
    parts = _required(fields, key, path).split(",")
    numbers = [int(part) for part in parts if part.strip().isdecimal()]
    if len(numbers) != len(parts) or len(numbers) != 3 or not all(0 <= n <= MOST_CHANNELS for n in numbers):
        msg = f"{path}: {key}={fields[key]:.80} is not three counts (AP, LF, SY)"
        raise FileFormatError(msg)
    return numbers[0], numbers[1], numbers[2]


def _saved_numbers(fields: dict[str, str], n_acquired: int, path: Path) -> Int64:
    subset = fields.get("snsSaveChanSubset", "all")
    if subset in {"all", ""}:
        return np.arange(n_acquired, dtype=np.int64)
    numbers: list[int] = []
    for part in subset.split(","):
        low, _, high = part.partition(":")
        if not low.strip().isdecimal() or not (high or low).strip().isdecimal():
            msg = f"{path}: snsSaveChanSubset names {part!r:.80}, which is no channel; the file was edited or damaged"
            raise FileFormatError(msg)
        first, last = int(low), int(high or low)
        if last < first:
            msg = (
                f"{path}: snsSaveChanSubset names channels {part:.80}, from the last to the first; SpikeGLX writes "
                f"{last}:{first}. The file was edited or damaged; copy it again"
            )
            raise FileFormatError(msg)
        if not 0 <= first <= last < n_acquired:
            msg = f"{path}: snsSaveChanSubset names channels {part}, but {n_acquired} were acquired"
            raise FileFormatError(msg)
        numbers.extend(range(first, last + 1))
    if len(numbers) > n_acquired:
        msg = f"{path}: snsSaveChanSubset names {len(numbers)} channels, but {n_acquired} were acquired"
        raise FileFormatError(msg)
    return np.array(numbers, dtype=np.int64)


def _entries(text: str) -> list[str]:
    return re.findall(r"\(([^()]*)\)", text)


def _is_3a(fields: dict[str, str]) -> bool:
    return "typeEnabled" in fields or "imProbeOpt" in fields


def _kind(fields: dict[str, str]) -> int:
    """Return the type of a probe, by its part number where that says more; -1 for one that is not known."""
    if _is_3a(fields):
        return 0
    part = fields.get("imDatPrb_pn", "")
    of_part = next((kind for start, kind in TYPE_OF_PART.items() if part.startswith(start)), None)
    if of_part is not None:
        return of_part
    if re.fullmatch(r"NP\d{4}", part):  # files give all probes of a family the type of the first
        return int(part[2:])
    return int(fields.get("imDatPrb_type", "-1" if part else "0"))


def _has_ten_bits(kind: int) -> bool:
    return kind in {0, 3000} or 1000 <= kind < 2000


def _steps(fields: dict[str, str], path: Path) -> int:
    """Return the counts of half the converter's range."""
    kind = _kind(fields)
    if "imMaxInt" in fields:
        steps = _whole(fields, "imMaxInt", path)
    elif kind in FIXED_GAINS:
        steps = FIXED_GAINS[kind][1]
    elif _has_ten_bits(kind):
        steps = STEPS_1_0
    else:
        msg = f"{path} has no line imMaxInt=..., and probe {_named(fields)} is not known; volts per count are not told"
        raise FileFormatError(msg)
    if not 0 < steps <= 2**31:
        msg = f"{path}: imMaxInt={steps} is no number of steps; the file was edited or damaged"
        raise FileFormatError(msg)
    return steps


def _named(fields: dict[str, str]) -> str:
    return f"{fields.get('imDatPrb_pn', 'without part number')} (type {fields.get('imDatPrb_type', 'not stated')})"


def _uv_per_bit(fields: dict[str, str], saved: Int64, band: str, steps: int, path: Path) -> npt.NDArray[np.float64]:
    full_range = _number(fields, "imAiRangeMax", path)
    gains = _gains(fields, band, path)
    if len(gains) > 1 and saved.max(initial=-1) >= len(gains):
        msg = f"{path}: channel {saved.max()} was saved, but ~imroTbl lists {len(gains)} channels; the file was edited"
        raise FileFormatError(msg)
    chosen = gains[saved] if len(gains) > 1 else np.full(len(saved), gains[0])
    if not (math.isfinite(full_range) and full_range > 0 and np.isfinite(chosen).all() and (chosen > 0).all()):
        msg = f"{path}: a range of {full_range} V or a gain of {chosen.min(initial=np.inf):g} makes no voltage"
        raise FileFormatError(msg)
    return np.asarray(1e6 * full_range / steps / chosen)


def _gains(fields: dict[str, str], band: str, path: Path) -> npt.NDArray[np.float64]:
    """Return one gain per acquired channel, or a single one."""
    kind = _kind(fields)
    header, *entries = _entries(fields.get("imroTbl", "")) or [""]
    width = len(entries[0].split()) if entries else 0
    stated = fields.get("imChan0apGain" if band == "ap" else "imChan0lfGain")
    if _has_ten_bits(kind) and width in {5, 6}:  # channel bank reference apGain lfGain [filter]
        return np.array([float(entry.split()[3 if band == "ap" else 4]) for entry in entries])
    if kind == 1110:  # Ultra with active switching: (type, columns, reference, apGain, lfGain, filter) for all channels
        return np.array([float(header.split(",")[3 if band == "ap" else 4])])
    if stated is not None:
        return np.array([_number(fields, "imChan0apGain" if band == "ap" else "imChan0lfGain", path)])
    if kind in FIXED_GAINS:
        return np.array([FIXED_GAINS[kind][0]])
    if width == 6:
        return np.array([float(entry.split()[3 if band == "ap" else 4]) for entry in entries])
    msg = f"{path}: no gain is known for probe {_named(fields)}: neither imChan0apGain nor a table of gains is there"
    raise FileFormatError(msg)


def _unused(fields: dict[str, str], saved: Int64, n_acquired: int, path: Path) -> Int64:
    """Return saved channels whose site is a reference: the last number of their entry in the site map is 0."""
    sites = _entries(fields.get("snsGeomMap", fields.get("snsShankMap", "")))[1:]
    used = np.array([site.split(":")[-1] != "0" for site in sites], dtype=bool)
    if len(used) == len(saved):
        return np.flatnonzero(~used).astype(np.int64)
    if len(used) == n_acquired:
        return np.flatnonzero(~used[saved]).astype(np.int64)
    if len(used):
        msg = f"{path}: the site map lists {len(used)} sites for {len(saved)} channels; the file was edited"
        raise FileFormatError(msg)
    # Files of the LFP band carry no site map; the references are those of the probe's type.
    return np.flatnonzero(np.isin(saved, _references_of_kind(fields))).astype(np.int64)


def _references_of_kind(fields: dict[str, str]) -> tuple[int, ...]:
    if _is_3a(fields):
        return REFERENCE_CHANNELS_3A
    kind = _kind(fields)
    if kind in {21, 24}:
        return REFERENCE_CHANNELS_2_0
    # 1.0 and NHP probes; Ultra probes and those of 128 channels have no reference among their channels.
    return REFERENCE_CHANNELS_1_0 if kind == 0 or 1000 <= kind < 1100 or kind in {1300, 1400} else ()


@dataclass(frozen=True, eq=False)
class SpikeGlxSites:
    """Where the saved channels of a recording lie: positions in um, shanks, and when each is digitised (or None)."""

    positions: npt.NDArray[np.float64]
    shanks: Int64
    adc: AdcWiring | None


def spikeglx_sites(meta: SpikeGlxMeta) -> SpikeGlxSites:
    """Return the sites of a recording's saved channels.

    Those of a probe in the catalogue are as probeinterface reads them; those of another as the site map in the file
    says, counted from the first column.

    Raises
    ------
    GeometryError
        If the tables in the file do not name a site for each channel.
    MissingExtraError
        If probeinterface is not installed.
    """
    if not _is_3a(meta.fields) and catalogue_probe(meta.part_number) is None:
        positions, shanks = _mapped_sites(meta)
        logger.warning(
            "%s: probe %s is in no catalogue; sites are those of the map in the file", meta.path, _named(meta.fields)
        )
    else:
        positions, shanks = _catalogue_sites(meta)
    return SpikeGlxSites(positions, shanks, spikeglx_wiring(meta))


def spikeglx_geometry(meta: SpikeGlxMeta) -> npt.NDArray[np.float64]:
    """Return positions of a recording's saved channels, float64 (n_channels, 2) in um; see :func:`spikeglx_sites`."""
    return spikeglx_sites(meta).positions


def _catalogue_sites(meta: SpikeGlxMeta) -> tuple[npt.NDArray[np.float64], Int64]:
    """Return sites as probeinterface reads them, from the lines that matter: it reads AP files in UTF-8 only."""
    _check_listed_channels(meta)
    numbers = ",".join(str(channel) for channel in meta.saved_channels)
    fields = {k: v for k, v in meta.fields.items() if k.startswith(("im", "type", "sns", "acq")) and v.isascii()}
    fields |= {"snsSaveChanSubset": numbers, "nSavedChans": str(len(meta.saved_channels))}
    if not _is_3a(fields):  # the part number says more than the type that old versions write before the table
        fields["imDatPrb_pn"] = meta.part_number
        fields["imroTbl"] = re.sub(r"^\(\d+,", f"({meta.part_number},", fields.get("imroTbl", ""))
    tables = ("imroTbl", "snsChanMap", "snsGeomMap", "snsShankMap", "muxTbl")
    lines = (f"{'~' * (key in tables)}{key}={value}\n" for key, value in fields.items())
    with tempfile.TemporaryDirectory() as folder:
        stand_in = Path(folder) / "sites.ap.meta"
        stand_in.write_text("".join(lines), encoding="ascii")
        try:
            positions, shanks = read_spikeglx_probe(stand_in)
        except GeometryError as error:
            if "snsGeomMap" in meta.fields:
                return _mapped_sites(meta)
            why = _fault_of_site_table(fields.get("imroTbl", ""), meta.part_number, error.__cause__)
            msg = f"{meta.path} does not tell the sites of its channels: {why}. Copy it again, or {GIVE_POSITIONS}"
            raise GeometryError(msg) from error
    if len(positions) != len(meta.saved_channels):
        msg = (
            f"{meta.path}: ~imroTbl gives {len(positions)} sites for {len(meta.saved_channels)} channels; it was edited"
        )
        raise GeometryError(msg)
    return positions, shanks


def _check_listed_channels(meta: SpikeGlxMeta) -> None:
    """Raise if ``~imroTbl`` lists a channel twice: another one's site would then count as its own."""
    if _kind(meta.fields) == 1110:  # its entries are groups of channels
        return
    listed = Counter(entry.split()[0] for entry in _entries(meta.fields.get("imroTbl", ""))[1:] if entry.strip())
    twice = [channel for channel, count in listed.items() if count > 1]
    if twice:
        msg = f"{meta.path}: ~imroTbl lists channel {twice[0]:.80} more than once; the file was edited. Copy it again"
        raise GeometryError(msg)


def _fault_of_site_table(table: str, part_number: str, error: BaseException | None) -> str:
    """Say why probeinterface found no sites in ``~imroTbl``: it gives no reasons."""
    if len(_entries(table)) < 2:
        return "it has no ~imroTbl"
    missing = re.search(r"e(\d+)", str(error)) if isinstance(error, KeyError) else None
    if missing is not None:
        return f"~imroTbl names site {missing[1]}, which a {part_number or '3A probe'} does not have"
    return f"~imroTbl names a site twice, or sites that a {part_number or '3A probe'} does not have; it was edited"


def _mapped_sites(meta: SpikeGlxMeta) -> tuple[npt.NDArray[np.float64], Int64]:
    """Return sites by ``~snsGeomMap``: shank, x from the shank's edge and z from the lowest row, in um."""
    try:
        header, *entries = _entries(meta.fields.get("snsGeomMap", ""))
        pitch = float(header.split(",")[2])
        table = np.array([[float(n) for n in entry.split(":")] for entry in entries]).reshape(len(entries), 4)
        shanks = table[:, 0].astype(np.int64)
        positions = np.column_stack([table[:, 1] - table[:, 1].min() + pitch * shanks, table[:, 2]])
    except (ValueError, IndexError, OverflowError) as error:
        msg = (
            f"{meta.path}: probe {_named(meta.fields)} is in no catalogue, and the file has no ~snsGeomMap that says "
            f"where its sites are. Copy it again, or {GIVE_POSITIONS}"
        )
        raise GeometryError(msg) from error
    if len(positions) != len(meta.saved_channels):
        found, wanted = len(positions), len(meta.saved_channels)
        msg = f"{meta.path}: ~snsGeomMap has {found} sites for {wanted} channels; it was edited"
        raise GeometryError(msg)
    return positions, shanks


def spikeglx_wiring(meta: SpikeGlxMeta) -> AdcWiring | None:
    """Return when each saved channel is digitised, by the probe's kind or the table in the file; None if neither.

    All at the same instant where CatGT has aligned them already (its step "tshift", which newer versions take unless
    told not to): a second time would shift them apart again. What converters share stays.
    """
    wiring = _wiring_of_probe(meta)
    if wiring is None or not _is_aligned(meta.fields):
        return wiring
    logger.info("%s: CatGT has undone the turns of the converters (tshift); they are not undone again", meta.path)
    return AdcWiring(np.zeros_like(wiring.turns), wiring.n_turns, wiring.groups)


def _is_aligned(fields: dict[str, str]) -> bool:
    """Tell whether CatGT wrote the file and aligned its channels, by the command line that it leaves in it."""
    commands = [value.split() for key, value in fields.items() if key.startswith("catGTCmdline")]
    newer = "catGVals" in fields or "catNFiles" in fields  # older versions aligned channels only where told to
    words = [[word.strip("<>") for word in command] for command in commands]
    return any("-tshift" in told or (newer and "-no_tshift" not in told) for told in words)


def _wiring_of_probe(meta: SpikeGlxMeta) -> AdcWiring | None:
    if _is_3a(meta.fields):
        return neuropixels_1_wiring(meta.saved_channels)
    known = adc_wiring(meta.part_number, meta.saved_channels)
    if known is not None or "muxTbl" not in meta.fields:
        return known
    try:
        return wiring_of_table(meta.fields["muxTbl"], meta.saved_channels)
    except ValueError as error:
        msg = f"{meta.path}: ~muxTbl is no table of channels digitised together ({error}); it was edited or damaged"
        raise FileFormatError(msg) from error
