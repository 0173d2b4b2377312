"""SpikeGLX recordings: ``*.ap.bin`` / ``*.lf.bin`` with their ``.meta``.

What the metadata means is in SpikeGLX's "Metadata guide" and "Geometry map" documents: volts per count are
``imAiRangeMax / imMaxInt / gain``; gains stand in ``~imroTbl`` for probes whose gain can be chosen, and are fixed for
2.0 probes; reference sites carry ``used = 0`` in ``~snsGeomMap`` or ``~snsShankMap``.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import CorruptFileError, FileFormatError, MissingDataError

from ..probes import (
    REFERENCE_CHANNELS_1_0,
    REFERENCE_CHANNELS_3A,
    AdcWiring,
    adc_wiring,
    neuropixels_1_wiring,
    read_spikeglx_geometry,
)
from ..recording import chunk_bounds
from .binary import BinaryRecording

#: Probe types with a fixed gain, where the file does not state it (``imChan0apGain``): early 2.0 parts, then later.
FIXED_GAINS: Final = {21: 80.0, 24: 80.0, 2003: 80.0, 2004: 80.0, 2013: 100.0, 2014: 100.0, 2020: 100.0, 2021: 100.0}
DEFAULT_MAX_INT: Final = 512
#: Bit of the synchronization word that carries the sync input of imec cards.
SYNC_BIT: Final = 6


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
    """

    path: Path
    fields: dict[str, str]
    band: Literal["ap", "lf"]
    saved_channels: npt.NDArray[np.int64]
    n_sync: int
    sampling_rate: float
    uv_per_bit: npt.NDArray[np.float64]
    reference_channels: npt.NDArray[np.int64]

    @property
    def n_columns(self) -> int:
        """Values per sample in the file."""
        return len(self.saved_channels) + self.n_sync

    @property
    def file_size(self) -> int | None:
        """Bytes that the file had when it was closed, or None if the recording was cut off."""
        return int(self.fields["fileSizeBytes"]) if "fileSizeBytes" in self.fields else None


def read_spikeglx_meta(path: str | os.PathLike[str]) -> SpikeGlxMeta:
    """Read a SpikeGLX ``.meta`` file of an imec probe (3A, 1.0, 2.0, Ultra, NHP, Quad-Base).

    Raises
    ------
    FileFormatError
        If it is not the metadata of a probe, or contradicts itself.
    """
    place = Path(path)
    fields = _fields(place)
    if fields.get("typeThis") != "imec":
        kind = fields.get("typeThis", "file without typeThis")
        msg = f"{place} describes a {kind}, not a probe; name the .meta file of an imec stream"
        raise FileFormatError(msg)
    acquired = _counts(fields, "acqApLfSy", place)
    n_ap, n_lf, n_sync = _counts(fields, "snsApLfSy", place)
    if n_ap and n_lf:
        msg = f"{place} holds {n_ap} AP and {n_lf} LF channels in one file; SpikeGLX writes them apart. Split the file."
        raise FileFormatError(msg)
    band: Literal["ap", "lf"] = "ap" if n_ap else "lf"
    numbers = _saved_numbers(fields, sum(acquired))
    first, stop = (0, acquired[0]) if n_ap else (acquired[0], acquired[0] + acquired[1])
    saved = numbers[(numbers >= first) & (numbers < stop)] - first
    columns = int(_required(fields, "nSavedChans", place))
    if len(saved) != n_ap + n_lf or n_ap + n_lf + n_sync != columns:
        msg = (
            f"{place} contradicts itself: snsApLfSy names {n_ap + n_lf} channels and {n_sync} sync words, "
            f"snsSaveChanSubset {len(saved)} channels, nSavedChans {columns} columns; the file was edited or damaged"
        )
        raise FileFormatError(msg)
    return SpikeGlxMeta(
        path=place, fields=fields, band=band, saved_channels=saved, n_sync=n_sync,
        sampling_rate=float(_required(fields, "imSampRate", place)),
        uv_per_bit=_uv_per_bit(fields, saved, band, place),
        reference_channels=_unused(fields, saved, max(acquired[0], acquired[1])),
    )  # fmt: skip


def _fields(path: Path) -> dict[str, str]:
    try:
        text = path.read_text(encoding="utf-8", errors="strict")
    except UnicodeDecodeError as error:
        msg = f"{path} is not text, so it is no .meta file; name the .meta beside the .bin"
        raise FileFormatError(msg) from error
    lines = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {key.strip().removeprefix("~"): value.strip() for key, _, value in lines}


def _required(fields: dict[str, str], key: str, path: Path) -> str:
    if key not in fields:
        msg = f"{path} has no line {key}=...; it is not the .meta file of a SpikeGLX probe, or it was cut"
        raise FileFormatError(msg)
    return fields[key]


def _counts(fields: dict[str, str], key: str, path: Path) -> tuple[int, int, int]:
    numbers = [int(n) for n in _required(fields, key, path).split(",")]
    if len(numbers) != 3:
        msg = f"{path}: {key}={fields[key]} is not three counts (AP, LF, SY)"
        raise FileFormatError(msg)
    return numbers[0], numbers[1], numbers[2]


def _saved_numbers(fields: dict[str, str], n_acquired: int) -> npt.NDArray[np.int64]:
    subset = fields.get("snsSaveChanSubset", "all")
    if subset in {"all", ""}:
        return np.arange(n_acquired, dtype=np.int64)
    numbers: list[int] = []
    for part in subset.split(","):
        low, _, high = part.partition(":")
        numbers.extend(range(int(low), int(high or low) + 1))
    return np.array(numbers, dtype=np.int64)


def _entries(text: str) -> list[str]:
    return re.findall(r"\(([^()]*)\)", text)


def _uv_per_bit(fields: dict[str, str], saved: npt.NDArray[np.int64], band: str, path: Path) -> npt.NDArray[np.float64]:
    full_range = float(_required(fields, "imAiRangeMax", path))
    steps = float(fields.get("imMaxInt", DEFAULT_MAX_INT))
    gains = _gains(fields, band, path)
    if len(gains) > 1 and saved.max(initial=-1) >= len(gains):
        msg = f"{path}: channel {saved.max()} was saved, but ~imroTbl lists {len(gains)} channels; the file was edited"
        raise FileFormatError(msg)
    chosen = gains[saved] if len(gains) > 1 else np.full(len(saved), gains[0])
    return np.asarray(1e6 * full_range / steps / chosen)


def _gains(fields: dict[str, str], band: str, path: Path) -> npt.NDArray[np.float64]:
    """One gain per acquired channel, or a single one."""
    kind = int(fields.get("imDatPrb_type", 0))
    header, *entries = _entries(_required(fields, "imroTbl", path)) if "imroTbl" in fields else ["", ""]
    row = entries[0].split()
    if len(row) in {5, 6} and kind not in FIXED_GAINS:  # 3A, 1.0, NHP, Ultra: channel bank reference apGain lfGain
        return np.array([float(entry.split()[3 if band == "ap" else 4]) for entry in entries])
    if kind == 1110:  # Ultra with active switching: (type, columns, reference, apGain, lfGain, filter) for all channels
        return np.array([float(header.split(",")[3 if band == "ap" else 4])])
    if band == "ap" and "imChan0apGain" in fields:
        return np.array([float(fields["imChan0apGain"])])
    if kind in FIXED_GAINS:
        return np.array([FIXED_GAINS[kind]])
    msg = f"{path}: no gain is known for probe type {kind} ({fields.get('imDatPrb_pn', 'no part number')})"
    raise FileFormatError(msg)


def _unused(fields: dict[str, str], saved: npt.NDArray[np.int64], n_acquired: int) -> npt.NDArray[np.int64]:
    """Return saved channels whose site is a reference: the last number of their entry in the site map is 0."""
    sites = _entries(fields.get("snsGeomMap", fields.get("snsShankMap", "")))[1:]
    used = np.array([site.split(":")[-1] != "0" for site in sites], dtype=bool)
    if len(used) == len(saved):
        return np.flatnonzero(~used).astype(np.int64)
    if len(used) == n_acquired:
        return np.flatnonzero(~used[saved]).astype(np.int64)
    # Files of the LFP band carry no site map; the references are those of the probe's type.
    known = REFERENCE_CHANNELS_3A if "typeEnabled" in fields else REFERENCE_CHANNELS_1_0
    listed = known if fields.get("imDatPrb_type", "0") == "0" else ()
    return np.flatnonzero(np.isin(saved, listed)).astype(np.int64)


class SpikeGlxRecording(BinaryRecording):
    """One band of a SpikeGLX recording; its channels are the saved ones, without the synchronization words.

    Attributes
    ----------
    meta
        The metadata.
    """

    def __init__(
        self, path: str | os.PathLike[str], meta: SpikeGlxMeta, geometry: npt.ArrayLike, *, allow_cut: bool = False
    ) -> None:
        place = Path(path)
        size = place.stat().st_size
        if meta.file_size not in {None, size} and not allow_cut:
            samples = size // (2 * meta.n_columns)
            msg = (
                f"{place} has {size:,} bytes, its .meta says {meta.file_size:,} ({meta.n_columns} columns): it was cut "
                f"or is another file. Copy it again, or pass allow_cut=True to use the {samples:,} samples there are."
            )
            raise CorruptFileError(msg)
        super().__init__(
            place,
            n_columns=meta.n_columns,
            channels=np.arange(len(meta.saved_channels)),
            sampling_rate=meta.sampling_rate,
            uv_per_bit=meta.uv_per_bit,
            geometry=geometry,
            adc=_wiring(meta),
            reference_channels=meta.reference_channels,
            full_scale_uv=float(meta.uv_per_bit.max()) * float(meta.fields.get("imMaxInt", DEFAULT_MAX_INT)),
        )
        self.meta = meta

    def sync_edges(self, bit: int = SYNC_BIT, chunk_samples: int = 1_000_000) -> npt.NDArray[np.int64]:
        """Return the edges of the sync input, int64 (n, 2): sample number, and +1 for rising or -1 for falling.

        Raises
        ------
        MissingDataError
            If the file was saved without its synchronization word.
        """
        if not self.meta.n_sync:
            msg = f"{self.path} was saved without its synchronization word; the pulses are in no column of it"
            raise MissingDataError(msg)
        edges = list(self._edges(bit, chunk_samples))
        return np.concatenate(edges) if edges else np.empty((0, 2), np.int64)

    def _edges(self, bit: int, chunk_samples: int) -> Iterator[npt.NDArray[np.int64]]:
        last: int | None = None
        for start, stop in chunk_bounds(self.n_samples, chunk_samples):
            word = self.read_columns(start, stop)[:, len(self.meta.saved_channels)]
            level = ((word.view(np.uint16) if word.flags.c_contiguous else word.astype(np.uint16)) >> bit) & 1
            change = np.diff(level.astype(np.int64), prepend=int(level[0]) if last is None else last)
            where = np.flatnonzero(change)
            yield np.column_stack([start + where, change[where]]).astype(np.int64)
            last = int(level[-1])


def open_spikeglx(
    path: str | os.PathLike[str],
    band: Literal["ap", "lf"] | None = None,
    *,
    geometry: npt.ArrayLike | None = None,
    allow_cut: bool = False,
) -> SpikeGlxRecording:
    """Open one band of a SpikeGLX recording.

    Parameters
    ----------
    path
        A ``.bin`` or ``.meta`` file, or a folder that holds one recording of the band.
    band
        ``"ap"`` (the default for a folder) or ``"lf"``; a file's name says it by itself.
    geometry
        Channel positions (n_channels, 2) in um; by default probeinterface's reading of the metadata.
    allow_cut
        Accept a file that is shorter than its metadata says.

    Raises
    ------
    FileNotFoundError
        If there is no such file or pair of files.
    CorruptFileError
        If the file's size is not the one in its metadata.
    MissingExtraError
        If probeinterface is not installed and no geometry is given.
    """
    binary = _binary_file(Path(path), band)
    meta_path = binary.with_suffix(".meta")
    if not meta_path.exists():
        msg = f"{binary} has no {meta_path.name} beside it, which says how many channels it has; copy both files"
        raise FileNotFoundError(msg)
    meta = read_spikeglx_meta(meta_path)
    places = spikeglx_geometry(meta) if geometry is None else geometry
    return SpikeGlxRecording(binary, meta, places, allow_cut=allow_cut)


def spikeglx_geometry(meta: SpikeGlxMeta) -> npt.NDArray[np.float64]:
    """Return positions of a recording's saved channels, float64 (n_channels, 2) in um, as probeinterface reads them.

    probeinterface reads the metadata of the AP band only; the LF band has the same sites.
    """
    if meta.band == "ap":
        return read_spikeglx_geometry(meta.path)
    numbers = ",".join(str(channel) for channel in meta.saved_channels)
    text = re.sub(r"(?m)^snsSaveChanSubset=.*$", f"snsSaveChanSubset={numbers}", meta.path.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        stand_in = Path(folder) / meta.path.name
        stand_in.write_text(text, encoding="utf-8")
        return read_spikeglx_geometry(stand_in)


def _wiring(meta: SpikeGlxMeta) -> AdcWiring | None:
    if "typeEnabled" in meta.fields:
        return neuropixels_1_wiring(meta.saved_channels)
    return adc_wiring(meta.fields.get("imDatPrb_pn", ""), meta.saved_channels)


def _binary_file(path: Path, band: str | None) -> Path:
    if not path.is_dir():
        return path.with_suffix(".bin") if path.suffix == ".meta" else path
    pattern = f"*.{band or 'ap'}.bin"
    found = sorted(path.rglob(pattern))
    if len(found) != 1:
        names = ", ".join(str(f.relative_to(path)) for f in found[:6]) or "none"
        msg = f"{path} holds {len(found)} files {pattern} ({names}); name one of them"
        raise FileNotFoundError(msg)
    return found[0]
