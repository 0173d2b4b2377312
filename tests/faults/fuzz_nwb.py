"""Damage to NWB files, and everything that is read of them."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from fuzzing import cut, flip, noise, zeros
from small_nwb import PROBE

from allen_ecephys import EcephysSession, UnitFilter
from allen_ecephys.nwb.reader import NwbReader
from allen_ecephys.signals.lfp import open_lfp, read_current_source_density

TEXT = h5py.string_dtype()

# --- damage to what a dataset is ------------------------------------------------------------------------------------

Change = Callable[[h5py.File, str, random.Random], None]


def replaced(file: h5py.File, path: str, values: Any, **storage: Any) -> None:
    """Put another dataset in the place of one, with its attributes."""
    attributes = dict(file[path].attrs)
    del file[path]
    if values is None:
        file.create_dataset(path, **storage)
    else:
        file.create_dataset(path, data=values, **storage)
    file[path].attrs.update(attributes)


def as_type(file: h5py.File, path: str, rng: random.Random) -> None:
    """Another type: text, flags, whole numbers, few bits, complex, times and records."""
    shape = file[path].shape
    kinds: list[Any] = [
        bool,
        "i1",
        "u8",
        "f2",
        ">f8",
        "c16",
        [("a", "f8"), ("b", "i4")],
        TEXT,
        "S3",
        "S0",
        h5py.ref_dtype,
    ]
    kind = rng.choice(kinds)
    if kind == "S0":
        replaced(file, path, None, shape=shape, dtype=h5py.vlen_dtype(np.float64))
    elif kind is TEXT:
        replaced(file, path, np.full(shape, rng.choice([b"\xff\xfe", b"", b"text", b"1.5"]), dtype=object), dtype=TEXT)
    elif kind is h5py.ref_dtype:
        replaced(file, path, np.full(shape, file["/"].ref, dtype=object), dtype=kind)
    else:
        replaced(file, path, np.ones(shape, dtype=kind))


def as_shape(file: h5py.File, path: str, rng: random.Random) -> None:
    """Another shape: shorter, longer, empty, one value, columns in two dimensions, none at all, beyond all memory."""
    values = file[path][()]
    flat = np.atleast_1d(values)
    choice = rng.randrange(8)
    if choice == 0:
        replaced(file, path, flat[:-1])
    elif choice == 1:
        replaced(file, path, np.concatenate([flat, flat[:1]]))
    elif choice == 2:
        replaced(file, path, flat[:0])
    elif choice == 3:
        replaced(file, path, flat[0] if flat.size else 0.0)
    elif choice == 4:
        replaced(file, path, np.stack([flat, flat], axis=-1))
    elif choice == 5:
        replaced(file, path, h5py.Empty("f8"))
    elif choice == 6:
        replaced(file, path, None, shape=(10 ** rng.randint(4, 15),), dtype="f8", chunks=(1000,))
    else:
        replaced(file, path, None, shape=np.shape(values), dtype="f8")


def as_values(file: h5py.File, path: str, rng: random.Random) -> None:
    """Numbers that make no sense."""
    values = np.asarray(file[path][()])
    if values.dtype.kind not in "iuf" or not values.size:
        return
    odd = np.array(values, dtype=np.float64) if rng.random() < 0.7 else values.copy()
    wrong = [np.nan, np.inf, -np.inf, -1.0, 0.5, 1e300, 2.0**63] if odd.dtype.kind == "f" else [-1, 0, 10**9]
    if rng.random() < 0.5:
        odd.reshape(-1)[rng.randrange(odd.size)] = rng.choice(wrong)
    else:
        odd[...] = rng.choice(wrong)
    replaced(file, path, odd)


def as_object(file: h5py.File, path: str, rng: random.Random) -> None:
    """Something else than a dataset, or nothing."""
    del file[path]
    choice = rng.randrange(5)
    if choice == 0:
        file.create_group(path)
    elif choice == 1:
        file[path] = h5py.SoftLink("/" + rng.choice(["nowhere", path, "units/id", "identifier", "units"]))
    elif choice == 2:
        file[path] = h5py.ExternalLink("/etc/hostname", "/x")
    elif choice == 3:
        virtual = h5py.VirtualLayout((3,), "f8")
        virtual[:] = h5py.VirtualSource(".", rng.choice(["gone", "identifier"]), (3,))
        file.create_virtual_dataset(path, virtual)


def as_attribute(file: h5py.File, path: str, rng: random.Random) -> None:
    """An attribute of a group on the way that is gone or nonsense."""
    steps = path.split("/")
    holders = ["/".join(steps[: i + 1]) for i in range(len(steps))]
    found = [(holder, name) for holder in holders for name in file[holder].attrs]
    if not found:
        return
    holder, name = rng.choice(found)
    odd: list[Any] = [np.bytes_(b"\xff"), "text", "", np.nan, -1, [1, 2, 3], [], h5py.Empty("f8"), [b"\xff"], True]
    del file[holder].attrs[name]
    if rng.random() < 0.8:
        file[holder].attrs[name] = rng.choice(odd)


CHANGES: tuple[Change, ...] = (as_type, as_shape, as_values, as_object, as_attribute)

# --- what is read of a file -----------------------------------------------------------------------------------------


Reads = dict[str, Callable[[], Any]]


def session_reads(path: Path) -> Reads:
    """Return everything that a session says, unread."""
    session = EcephysSession(path, unit_filter=UnitFilter.none())
    edges = np.linspace(-0.1, 0.2, 7)
    return {
        "identity": lambda: session.metadata,
        "start": lambda: session.session_start_time,
        "probes": lambda: session.probes,
        "channels": lambda: session.channels,
        "units": lambda: session.units,
        "default units": lambda: session.with_units(UnitFilter()).units,
        "presentations": lambda: session.stimulus_presentations,
        "conditions": lambda: session.stimulus_conditions,
        "epochs": lambda: session.get_stimulus_epochs(),
        "invalid": lambda: session.invalid_times,
        "spikes": lambda: dict(session.spike_times.items()),
        "amplitudes": lambda: dict(session.spike_amplitudes.items()),
        "waveforms": lambda: dict(session.mean_waveforms.items()),
        "counts": lambda: session.presentationwise_spike_counts(edges),
        "aligned": lambda: session.presentationwise_spike_times(),
        "statistics": lambda: session.conditionwise_spike_statistics(),
        "running": lambda: session.get_running_speed(include_rotation=True),
        "pupil": lambda: session.get_pupil_data(),
        "gaze": lambda: session.get_screen_gaze_data(include_filtered_data=True),
        "light": lambda: session.optogenetic_stimulation_epochs,
        "rig": lambda: session.rig_geometry_data,
        "shown": lambda: repr(session).split("\n", 2)[2],
        "closed": lambda: session.close(),
    }


def lfp_reads(path: Path) -> Reads:
    """Return everything that an LFP file says, unread."""
    reader = NwbReader(path)
    return {
        "slice": lambda: open_lfp(reader, PROBE).sel(time=slice(5.3, 5.4)).load(),
        "nearest": lambda: open_lfp(reader, PROBE).sel(time=[5.2, 5.7], method="nearest").load(),
        "whole": lambda: open_lfp(reader, PROBE).load(),
        "density": lambda: read_current_source_density(reader, PROBE),
        "closed": lambda: reader.close(),
    }


def damaged(intact: Path, target: Path, rng: random.Random) -> str:
    """Write a damaged copy; return what was done."""
    content = intact.read_bytes()
    if rng.random() < 0.4:
        damage = rng.choice([flip, flip, noise, zeros, cut])
        target.write_bytes(damage(content, rng))
        return damage.__name__
    target.write_bytes(content)
    with h5py.File(target, "r+") as file:
        paths: list[str] = []
        file.visititems(lambda name, item: paths.append(name) if isinstance(item, h5py.Dataset) else None)
        path, change = rng.choice(sorted(paths)), rng.choice(CHANGES)
        change(file, path, rng)
    return f"{change.__name__} {path}"
