"""The ``ndx-aibs-ecephys`` types of the released files, defined with pynwb's specification API.

The types: a probe (device), its group of electrodes, the specimen (subject), the geometry of the eye-tracking rig, and
a current source density. They are registered in a type map of our own, so that writing a file changes nothing for
other users of pynwb in the same process, and their specification is cached in every file written.

Against version 0.2.0 of the released files two things differ: a specimen's strain is the dataset that NWB itself has
had since 2.3, not an attribute of the extension (two fields of one name cannot both be written), and a specimen whose
name or age is not known has none.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from allen_ecephys.nwb import layout

if TYPE_CHECKING:
    from hdmf.build import TypeMap

NAMESPACE = "ndx-aibs-ecephys"
VERSION = "0.2.1"


def _vector(name: str, meaning: str) -> Any:
    from pynwb.spec import NWBAttributeSpec, NWBDatasetSpec

    unit = NWBAttributeSpec(name="unit", doc="unit of measurement", dtype="text")
    return NWBDatasetSpec(
        doc=meaning, dtype="float32", shape=(None,), dims=("num_values",), name=name, attributes=[unit]
    )


def _type(
    name: str, parent: str, meaning: str, attributes: dict[str, tuple[str, str]], *, required: bool = True, **parts: Any
) -> Any:
    from pynwb.spec import NWBAttributeSpec, NWBGroupSpec

    specs = [
        NWBAttributeSpec(name=key, doc=doc, dtype=dtype, required=required) for key, (doc, dtype) in attributes.items()
    ]
    return NWBGroupSpec(doc=meaning, neurodata_type_def=name, neurodata_type_inc=parent, attributes=specs, **parts)


def _definitions() -> list[Any]:
    """Return the specification of every type of the extension."""
    from pynwb.spec import NWBGroupSpec

    probe_id = ("id of the probe", "int")
    csd = NWBGroupSpec(doc="current source density: times x virtual electrodes", neurodata_type_inc="TimeSeries")
    return [
        _type(
            "EcephysProbe",
            "Device",
            "a Neuropixels probe",
            {"sampling_rate": ("sampling rate of the spike band (Hz)", "float64"), "probe_id": probe_id},
        ),
        _type(
            "EcephysElectrodeGroup",
            "ElectrodeGroup",
            "the electrodes of one Neuropixels probe",
            {
                "has_lfp_data": ("whether there is an LFP file of this probe", "bool"),
                "probe_id": probe_id,
                "lfp_sampling_rate": ("sampling rate of the LFP of these electrodes (Hz)", "float64"),
            },
        ),
        _type(
            "EcephysSpecimen",
            "Subject",
            "the animal that was recorded from",
            {"specimen_name": ("name of the specimen", "text"), "age_in_days": ("age (days)", "float")},
            required=False,
        ),
        _type(
            "EcephysEyeTrackingRigMetadata",
            "NWBDataInterface",
            "geometry of the rig that tracks the eye",
            {"equipment": ("name of the rig", "text")},
            datasets=[_vector(name, meaning) for name, (_, meaning) in layout.RIG_VECTORS.items()],
        ),
        _type(
            "EcephysCSD",
            "NWBDataInterface",
            "current source density and where its virtual electrodes are",
            {},
            groups=[csd],
            datasets=[
                _vector("virtual_electrode_x_positions", "position of each virtual electrode across the probe"),
                _vector("virtual_electrode_y_positions", "position of each virtual electrode along the probe"),
            ],
        ),
    ]


@lru_cache(maxsize=1)
def _registered() -> TypeMap:
    """Return pynwb's type map with the extension added to it (built once a process)."""
    from pynwb import get_type_map
    from pynwb.spec import NWBNamespaceBuilder

    builder = NWBNamespaceBuilder(
        doc="Types of the Allen Visual Coding - Neuropixels files",
        name=NAMESPACE,
        version=VERSION,
        author=["allen-ecephys"],
        contact=["none"],
    )
    builder.include_namespace("core")
    for definition in _definitions():
        builder.add_spec("ndx-aibs-ecephys.extension.yaml", definition)
    type_map = get_type_map()
    # hdmf takes specifications from files only.
    with TemporaryDirectory(prefix="ndx_aibs_ecephys_") as folder:
        builder.export("ndx-aibs-ecephys.namespace.yaml", outdir=folder)
        type_map.load_namespaces(str(Path(folder) / "ndx-aibs-ecephys.namespace.yaml"))
    return type_map


def build_manager() -> Any:
    """Return a build manager (for ``NWBHDF5IO(manager=...)``) that knows the extension."""
    from hdmf.build import BuildManager

    return BuildManager(_registered())


def extension_class(name: str) -> Any:
    """Return the container class of one of the extension's types, for example ``EcephysProbe``."""
    return _registered().get_dt_container_cls(name, NAMESPACE)
