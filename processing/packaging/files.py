"""Making an NWB file: atomic publication, the file's metadata and probes, and ids that follow from its contents."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_OID, UUID, uuid5

import numpy as np

from allen_ecephys.errors import AlreadyPresentError, MissingFileError
from allen_ecephys.files import (
    disk_full,
    naming_a_full_disk,
    publish,
    remove_abandoned_drafts,
    scratch_folder,
    sync,
    sync_folder,
)
from allen_ecephys.nwb import layout

if TYPE_CHECKING:
    import h5py
    import pandas as pd

    from .contents import SessionMetadata


def checked_target(path: str | os.PathLike[str], *, overwrite: bool) -> Path:
    """Return the path of a file that is to be written.

    Raises
    ------
    MissingFileError
        If its folder does not exist: more often a slip of the pen than a wish.
    AlreadyPresentError
        If the file exists and may not be replaced.
    """
    final = Path(path)
    if not final.parent.is_dir():
        msg = f"there is no folder {final.parent} to write {final.name} into; make it first, or check the path"
        raise MissingFileError(msg)
    if final.exists() and not overwrite:
        remove_abandoned_drafts(final.parent)  # of a process that was killed when it had just published the file
        msg = f"{final} exists already; choose another name or pass overwrite=True"
        raise AlreadyPresentError(msg)
    return final


@contextmanager
def published(path: str | os.PathLike[str], *, overwrite: bool, needs: int) -> Iterator[Path]:
    """Give a name to write to; what was written there takes the final name if, and only if, all went well."""
    final = checked_target(path, overwrite=overwrite)
    if shutil.disk_usage(final.parent).free < needs:
        raise disk_full(final.parent, needs)
    with naming_a_full_disk(final.parent):
        with scratch_folder(final) as folder:
            part = folder / "part.nwb"  # pynwb warns of any other ending
            yield part
            with part.open("rb") as written:
                sync(written.fileno())
            publish(part, final, replace=overwrite)
        sync_folder(final.parent)


def write_with_pynwb(nwbfile: Any, path: Path) -> None:
    """Write a file's containers with the extension's types, its specification cached in the file."""
    import h5py
    from pynwb import NWBHDF5IO

    from .extension import build_manager

    # Ids are drawn when objects are made, and stay in the file as unused bytes when name_objects replaces them.
    for number, container in enumerate(nwbfile.all_children()):
        vars(container)["_AbstractContainer__object_id"] = str(UUID(int=number))
    # Without HDF5's cache of chunks each lies where it was written: else their places in the file follow from when
    # Python let go of a table's columns, and equal contents give other bytes, now and then.
    with h5py.File(path, "w", rdcc_nbytes=0) as file, NWBHDF5IO(file=file, mode="w", manager=build_manager()) as io:
        io.write(nwbfile)


def name_objects(file: h5py.File) -> None:
    """Give every object an id that follows from the file's identity and its path: equal input gives equal ids."""
    created = b"".join(np.atleast_1d(file["file_create_date"][()]))
    root = uuid5(NAMESPACE_OID, f"{file[layout.IDENTIFIER][()]!r} {created!r}")

    def name(path: str, item: Any) -> None:
        if "object_id" in item.attrs:
            item.attrs["object_id"] = str(uuid5(root, path))

    name("/", file)
    file.visititems(name)


def new_file(metadata: SessionMetadata, identifier: str, description: str) -> Any:
    """Return a file with its metadata and subject, and nothing else."""
    from pynwb import NWBFile

    from .extension import extension_class

    nwbfile = NWBFile(
        session_description=description,
        identifier=identifier,
        session_id=str(metadata.session_id),
        session_start_time=metadata.session_start_time,
        timestamps_reference_time=metadata.session_start_time,
        file_create_date=metadata.file_create_date,
        institution=metadata.institution,
        stimulus_notes=metadata.session_type,
    )
    age = None if metadata.age_in_days is None or np.isnan(metadata.age_in_days) else float(metadata.age_in_days)
    known = {
        "specimen_name": metadata.specimen_name,
        "age_in_days": age,
        "age": None if age is None else f"P{age:.0f}D",
        "genotype": metadata.full_genotype,
        "sex": metadata.sex,
        "strain": metadata.strain,
        "species": metadata.species,
        "subject_id": metadata.subject_id,
    }
    known = {name: value for name, value in known.items() if value is not None}
    if known:
        nwbfile.subject = extension_class("EcephysSpecimen")(**known)
    return nwbfile


def add_probes(nwbfile: Any, probes: pd.DataFrame, channels: pd.DataFrame) -> None:
    """Add devices, electrode groups and the electrodes table."""
    from .extension import extension_class
    from .tables import electrodes_table

    groups = {}
    for probe_id, probe in probes.iterrows():
        name = str(probe["description"])
        device = extension_class("EcephysProbe")(
            name=name, probe_id=int(str(probe_id)), sampling_rate=float(probe["sampling_rate"])
        )
        groups[int(str(probe_id))] = extension_class("EcephysElectrodeGroup")(
            name=name,
            description="Ecephys Electrode Group",
            location=layout.ELECTRODE_LOCATION,
            device=device,
            probe_id=int(str(probe_id)),
            has_lfp_data=bool(probe["has_lfp_data"]),
            lfp_sampling_rate=float(probe["lfp_sampling_rate"]),
        )
        nwbfile.add_device(device)
        nwbfile.add_electrode_group(groups[int(str(probe_id))])
    nwbfile.electrodes = electrodes_table(channels, groups)
