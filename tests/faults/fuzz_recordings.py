"""Damage to the folders of sorters and recorders, and everything that is read of them."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
from fuzzing import BYTES

from allen_ecephys.errors import FileFormatError
from allen_ecephys.processing.readers import list_probes, open_bands, read_phy
from allen_ecephys.processing.simulation.raw.open_ephys_folder import ProbeSetup

#: What stands in the place of a number or a word.
ODD = (
    b"", b"-1", b"0", b"1e99", b"-1e99", b"inf", b"nan", b"99999999999999999999", b"0.5", b"True", b"None", b"x" * 999,
    b"0:100000000000", b"(", b"[]", b"{}", b'"', b"\xff\xfe", b"../..", b"()" * 500,
)  # fmt: skip

#: Types in the header of an .npy file, all of one length.
NPY_TYPES = (b"<f8", b"<i8", b"<u8", b"|b1", b"|O8", b">f4", b"<c8", b"<U9", b"<M8", b"|V4", b"<f2", b"|S5")


def odd_token(content: bytes, rng: random.Random) -> bytes:
    """Put something odd in the place of a number or a word of a text."""
    found = list(re.finditer(rb"-?\d[\d.e+]*|[A-Za-z_]+", content))
    if not found:
        return content
    token = rng.choice(found)
    return content[: token.start()] + rng.choice(ODD) + content[token.end() :]


def odd_line(content: bytes, rng: random.Random) -> bytes:
    """Lose a line of a text, repeat it, or put something odd behind its sign of equality."""
    lines = content.split(b"\n")
    at, choice = rng.randrange(len(lines)), rng.randrange(3)
    if choice == 0:
        del lines[at]
    elif choice == 1:
        lines.insert(at, lines[at])
    else:
        lines[at] = lines[at].partition(b"=")[0] + b"=" + rng.choice(ODD)
    return b"\n".join(lines)


def odd_header(content: bytes, rng: random.Random) -> bytes:
    """Another type, shape or order in the header of an .npy file."""
    if rng.random() < 0.5:
        return re.sub(rb"'descr': '...'", b"'descr': '" + rng.choice(NPY_TYPES) + b"'", content, count=1)
    header, shape = content[:128], re.search(rb"\(([^)]*)\)", content[:128])
    if shape is None:
        return content
    odd = rng.choice([b"()", b"(-1,)", b"(99999999999,)", b"(2,2)", b"(0,)", b"(1e9,)", b"(3,1,1)", b"(None,)"])
    changed = header[: shape.start()] + odd + header[shape.end() :].rstrip(b"\n ")
    return changed[:127].ljust(127) + b"\n" + content[128:]


def damaged(intact: Path, target: Path, rng: random.Random) -> str:
    """Write a damaged copy of a folder; return what was done."""
    shutil.copytree(intact, target)
    file = rng.choice(sorted(path for path in target.rglob("*") if path.is_file()))
    if rng.random() < 0.05:
        file.unlink()
        return f"{file.name} removed"
    own = (odd_header,) if file.suffix == ".npy" else () if file.suffix in {".bin", ".dat"} else (odd_token, odd_line)
    damage = rng.choice([*BYTES, *own * 4])
    file.write_bytes(damage(file.read_bytes(), rng))
    return f"{damage.__name__} {file.name}"


def _tests_of(name: str) -> Any:
    """Return a module of the readers' tests, which write folders of any probe."""
    path = Path(__file__).parents[1] / "processing" / "readers" / f"{name}.py"
    spec = spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_phy(folder: Path) -> None:
    """Write what a sorter leaves of three spikes."""
    folder.mkdir()
    _tests_of("test_phy_folders").write_phy(folder)


def write_spikeglx(folder: Path) -> None:
    """Write both bands of a Neuropixels 1.0 probe."""
    _tests_of("test_spikeglx_probes").write_glx(folder, ProbeSetup("imec0", "NP1010", np.arange(384)))


def write_open_ephys(folder: Path) -> None:
    """Write both bands of a Neuropixels 1.0 probe."""
    writer = _tests_of("test_open_ephys_sites")
    writer.write(folder, writer.np1())


def phy_reads(folder: Path) -> dict[str, Callable[[], Any]]:
    """Return everything that a folder of sorted spikes says, unread."""

    def read() -> list[Any]:
        found = read_phy(folder, n_samples=31)
        named = ("spike_rows", "spike_templates", "amplitudes", "templates", "channel_map", "groups", "sampling_rate")
        return [found.spikes.samples, found.spikes.unit_ids, *(getattr(found, name) for name in named)]

    return {"sorting": read}


def raw_reads(folder: Path) -> dict[str, Callable[[], Any]]:
    """Return everything that a raw recording says, unread."""

    def read() -> list[Any]:
        bands = open_bands(folder)
        found: list[Any] = []
        for band in (bands.spike_band, bands.lfp):
            if band is not None:
                found += [band.read(0, min(band.n_samples, 1000)), band.sampling_rate, band.uv_per_bit, band.geometry]
                found += [band.shanks, band.reference_channels]
        return found

    def listed() -> list[str]:
        probes = list_probes(folder)
        if any(probe.problem for probe in probes):
            raise FileFormatError(probes[0].problem)  # the listing says it, and goes on
        return [str(probe).replace(str(folder), "") for probe in probes]

    return {"probes": listed, "bands": read}
