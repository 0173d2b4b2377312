"""SpikeGLX recordings: ``*.ap.bin`` / ``*.lf.bin`` with their ``.meta`` (:mod:`.spikeglx_meta`), also compressed."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import (
    CorruptFileError,
    FileFormatError,
    MissingDataError,
    MissingFileError,
    UnknownNameError,
    suggest,
)

from ..recording import checked_geometry, chunk_bounds
from ..shanks import shanks_by_position
from .binary import BinaryRecording
from .compressed import COMPRESSED, DESCRIPTION, CompressedSamples, is_compressed
from .finding import ARCHIVED, band_called, called, files_below, partner
from .spikeglx_meta import SpikeGlxMeta, SpikeGlxSites, read_spikeglx_meta, spikeglx_sites, spikeglx_wiring

logger = logging.getLogger(__name__)

NAMES_OF_BANDS: Final = {"ap": "spike band", "lf": "LFP"}
#: ``run_g0_t0.imec0.ap.bin``; 3A probes are ``imec``, and renamed files may have no such part. Compressed files end in
#: ``.cbin``, may have the number of an archive before that, and excerpts that were streamed from one, ``.stream``.
FILE_NAME: Final = re.compile(
    rf".*?(?:\.(?P<probe>imec\d*))?\.(?P<band>ap|lf)(?:\.stream)?(?:{ARCHIVED.pattern[:-1]})?\.c?bin", re.IGNORECASE
)
#: How much (relative) the rate that was told when a file was compressed may differ from the calibrated one.
_SAME_RATE: Final = 0.01
#: Which trigger of a run a file is of, or that it was joined from several.
TRIGGER: Final = re.compile(r"_t(\d+|cat)\.")
#: Bit of the synchronization word that carries the sync input of imec cards.
SYNC_BIT: Final = 6


class SpikeGlxRecording(BinaryRecording):
    """One band of a SpikeGLX recording; its channels are the saved ones, without the synchronization words.

    Attributes
    ----------
    meta
        The metadata.

    Examples
    --------
    >>> written = write_recording("run_6", duration=0.5, n_units=2, n_channels=16, form="spikeglx")
    >>> band = open_bands("run_6").spike_band
    >>> band.meta.band, band.n_samples
    ('ap', 15000)
    """

    def __init__(
        self, path: str | os.PathLike[str], meta: SpikeGlxMeta, sites: SpikeGlxSites, *, allow_cut: bool = False
    ) -> None:
        place = Path(path)
        compressed = CompressedSamples(place) if is_compressed(place) else None
        if compressed is not None:
            _check_same_recording(compressed, meta)
            if not allow_cut:
                compressed.check_whole()
        held = None if compressed is None else compressed.n_held
        size = place.stat().st_size if held is None else held * 2 * meta.n_columns
        if meta.file_size not in {None, size} and not allow_cut:
            samples = size // (2 * max(meta.n_columns, 1))
            shorter = size < (meta.file_size or 0)
            why = "it was cut, or is another file" if shorter else "it is longer, so one of the two is of another file"
            msg = (
                f"{place} has {size:,} bytes{'' if held is None else ' of samples'}, its .meta says "
                f"{meta.file_size:,} ({meta.n_columns} columns): {why}. "
                f"Copy {'it' if shorter else 'both'} again, or pass allow_cut=True (--allow-cut) to use the "
                f"{samples:,} samples there are."
            )
            raise CorruptFileError(msg)
        super().__init__(
            place,
            n_columns=meta.n_columns,
            channels=np.arange(len(meta.saved_channels)),
            sampling_rate=meta.sampling_rate,
            uv_per_bit=meta.uv_per_bit,
            geometry=sites.positions,
            shanks=sites.shanks,
            adc=sites.adc,
            reference_channels=meta.reference_channels,
            n_samples=held,
            full_scale_uv=float(meta.uv_per_bit.max()) * meta.full_scale,
            compressed=compressed,
        )
        self.meta = meta
        self.part_number = meta.part_number
        named = FILE_NAME.fullmatch(place.name)
        self.probe_name = ((named["probe"] if named else None) or "").lower()
        if meta.link_errors:
            counted = ", ".join(f"{name} {count:,}" for name, count in meta.link_errors.items())
            logger.warning(
                "%s: SpikeGLX counted errors on the probe's link (%s); samples may be missing, it is not told where",
                place, counted,
            )  # fmt: skip

    def sync_edges(self, bit: int = SYNC_BIT, chunk_samples: int = 1_000_000) -> npt.NDArray[np.int64]:
        """Return the edges of the sync input, int64 (n, 2): sample number, and +1 for rising or -1 for falling.

        Raises
        ------
        MissingDataError
            If the file was saved without its synchronization word.

        Examples
        --------
        >>> written = write_recording("run_7", duration=0.5, n_units=2, n_channels=16, form="spikeglx")
        >>> open_bands("run_7").spike_band.sync_edges(6)
        array([], shape=(0, 2), dtype=int64)
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


def _check_same_recording(compressed: CompressedSamples, meta: SpikeGlxMeta) -> None:
    """Refuse a description of compressed samples that is not of the recording of a ``.meta``."""
    rate = compressed.sampling_rate
    if compressed.n_columns != meta.n_columns or abs(rate / meta.sampling_rate - 1) > _SAME_RATE:
        msg = (
            f"{compressed.description} describes {compressed.n_columns} columns at {rate:.10g} Hz, {meta.path.name} "
            f"{meta.n_columns} at {meta.sampling_rate:.10g}: one of the two is of another recording, or of the other "
            "band. Copy both again"
        )
        raise CorruptFileError(msg)


@dataclass(frozen=True)
class SpikeGlxFile:
    """A ``.bin`` or ``.cbin`` file of a probe, by its name: ``<run>_t<trigger>.<probe>.<band>.bin``."""

    path: Path
    probe: str
    band: Literal["ap", "lf"]

    @property
    def names(self) -> set[str]:
        """Everything its probe may be called by, in whatever case."""
        return {self.probe, f"{self.probe}.{self.band}", self.path.name, self.path.parent.name}


def spikeglx_files(folder: Path) -> list[SpikeGlxFile]:
    """Return the files of probes in or below a folder, sorted; of one that was expanded, not the compressed one."""
    binary, compressed = (files_below(folder, f"*.{c}[bB][iI][nN]") for c in ("", "[cC]"))
    expanded = {path.with_suffix("").as_posix().lower() for path in binary}
    paths = [*binary, *(path for path in compressed if path.with_suffix("").as_posix().lower() not in expanded)]
    found = ((path, FILE_NAME.fullmatch(path.name)) for path in sorted(paths))
    return [
        SpikeGlxFile(path, (name["probe"] or "").lower(), "ap" if name["band"].lower() == "ap" else "lf")
        for path, name in found
        if name
    ]


def choose_file(folder: Path, band: str, probe: str | None = None) -> Path:
    """Return the file of a band, and of a probe where the folder holds several.

    Raises
    ------
    MissingFileError
        If there is no such file, or more than one.
    UnknownNameError
        If there are files of the band, and none of the probe.
    """
    files = spikeglx_files(folder)
    of_band = [file for file in files if file.band == band]
    fitting = of_band if probe is None else [of_band[i] for i in called(probe, [file.names for file in of_band])]
    if len(fitting) == 1:
        return fitting[0].path
    names = ", ".join(str(file.path.relative_to(folder)) for file in fitting[:6])
    if len({file.probe for file in fitting}) == 1:
        msg = (
            f"{folder} holds {len(fitting)} files *.{band}.bin of one probe ({names}): gates and triggers (_g0_t0, "
            "_g0_t1, ...) of a run, or several runs. Name one of the files, or join those of a run with CatGT first"
        )
    elif of_band and not fitting:
        probes = sorted({file.probe or file.path.name for file in of_band})
        near = suggest(str(probe), probes) or "."
        msg = f"{folder} holds no *.{band}.bin of a probe {probe!r}{near} There are: {', '.join(probes)}"
        raise UnknownNameError(msg)
    elif fitting:
        of_probe = "" if probe is None else f" of probe {probe!r}"
        msg = (
            f"{folder} holds {len(fitting)} files *.{band}.bin{of_probe} ({names}); name one of them, or its probe "
            "with stream='imec0' (--stream imec0)"
        )
    elif files:
        msg = f"{folder} holds no *.{band}.bin, only {', '.join(f.path.name for f in files[:6])}"
    elif files_below(folder, "structure.oebin"):
        msg = (
            f"{folder} is an Open Ephys recording (structure.oebin), not one of SpikeGLX; open it with open_open_ephys"
        )
    else:
        msg = f"{folder} holds 0 files *.{band}.bin (none); name one of them"
    raise MissingFileError(msg)


def lf_file_of(ap_file: Path) -> Path | None:
    """Return the LFP file that belongs to a spike band's: of the same name, or else the only one of its probe.

    CatGT joins the files of one band into a ``_tcat`` and leaves those of the other, so names may differ; the file of
    another trigger (``_t1`` beside ``_t0``) is of another time, and is not taken.
    """
    name = FILE_NAME.fullmatch(ap_file.name)
    probe = (name["probe"] or "").lower() if name else None
    files = [f for f in spikeglx_files(ap_file.parent) if f.band == "lf"]
    # Of one name, whether or not the bands are compressed, and whatever numbers an archive gave them.
    same = re.sub(r"\.ap(\.|$)", r".lf\1", _bare_name(ap_file))
    of_name = [f.path for f in files if _bare_name(f.path) == same]
    if len(of_name) == 1:
        return of_name[0]
    others = [f.path for f in files if f.probe == probe]
    triggers = {found[1] for path in (ap_file, *others) if (found := TRIGGER.search(path.name))}
    return others[0] if len(others) == 1 and len(triggers - {"cat"}) < 2 else None


def _bare_name(path: Path) -> str:
    """Return a file's name in small letters without its ending and the number that an archive put before it."""
    return ARCHIVED.sub("", path.stem).lower()


def open_spikeglx(
    path: str | os.PathLike[str],
    band: Literal["ap", "lf", "lfp"] | None = None,
    *,
    probe: str | None = None,
    geometry: npt.ArrayLike | None = None,
    allow_cut: bool = False,
) -> SpikeGlxRecording:
    """Open one band of a SpikeGLX recording.

    Parameters
    ----------
    path
        A ``.bin`` or ``.meta`` file, or a folder that holds one recording of the band; compressed files (``.cbin``
        with their ``.ch``) are inflated while they are read.
    band
        ``"ap"`` (the default for a folder) or ``"lfp"`` (also ``"lf"``); a file says it by itself, and must not
        say another.
    probe
        Name of the probe (``imec0``), where the folder holds several.
    geometry
        Channel positions (n_channels, 2) in um; by default as :func:`.spikeglx_meta.spikeglx_sites` finds them.
    allow_cut
        Accept a file that is shorter than its metadata says.

    Raises
    ------
    MissingFileError
        If there is no such file or pair of files.
    FileFormatError
        If the metadata contradict themselves or name another band, or a file is compressed in a way not known.
    CorruptFileError
        If the file's size is not the one in its metadata, or its ``.ch`` is of another recording.
    UnknownNameError
        If there is no such band, or the folder holds nothing of the probe.
    GeometryError
        If no positions are given and the metadata name none.
    MissingExtraError
        If probeinterface is not installed and no geometry is given.
    """
    if band is not None:
        band = "ap" if band_called(band) == "ap" else "lf"
    binary = _binary_file(Path(path), band, probe)
    meta_path = partner(binary, ".meta")
    if not meta_path.exists():
        msg = (
            f"{binary} has no {meta_path.name} beside it, which says how many channels it has; copy both files"
            f"{_renamed(binary, '.meta')}"
        )
        raise MissingFileError(msg)
    meta = read_spikeglx_meta(meta_path)
    if band is not None and meta.band != band:
        msg = f"{binary} holds the {NAMES_OF_BANDS[meta.band]} by its .meta, not the {NAMES_OF_BANDS[band]}"
        raise FileFormatError(msg)
    if geometry is None:
        sites = spikeglx_sites(meta)
    else:
        positions = checked_geometry(geometry, len(meta.saved_channels), str(binary))
        sites = SpikeGlxSites(positions, shanks_by_position(positions), spikeglx_wiring(meta))
    return SpikeGlxRecording(binary, meta, sites, allow_cut=allow_cut)


def _renamed(file: Path, suffix: str) -> str:
    """Say which file beside a lone half of a pair may be the other half, whose own partner is missing, too."""
    other = {".meta": file.suffix, ".bin": ".meta"}[suffix]
    lone = [f.name for f in sorted(file.parent.glob(f"*{suffix}")) if not f.with_suffix(other).exists()]
    return f". If {lone[0]} belongs to it, give both the same name again" if len(lone) == 1 else ""


def _binary_file(path: Path, band: str | None, probe: str | None) -> Path:
    if path.is_dir():
        return choose_file(path, band or "ap", probe)
    binary = samples_beside(path)
    if path.name in {"continuous.dat", "structure.oebin", "settings.xml"}:
        msg = f"{path} is a file of Open Ephys, not of SpikeGLX (.ap.bin with .ap.meta); open it with open_open_ephys"
        raise FileFormatError(msg)
    if not binary.is_file():
        msg = f"there is no {binary}"
        raise MissingFileError(msg)
    return binary


def samples_beside(path: Path) -> Path:
    """Return the samples that a ``.meta`` or ``.ch`` describes, expanded rather than compressed; others as they are."""
    if path.suffix.lower() not in {".meta", DESCRIPTION}:
        return path
    binary = partner(path, ".bin")
    compressed = partner(path, COMPRESSED)
    return compressed if compressed.is_file() and not binary.is_file() else binary
