"""Write the arrays of a session or LFP file with pynwb 2.8 and AllenSDK's extension, so that AllenSDK can read them.

Run by AllenSDK's interpreter: ``python write_with_allensdk.py SOURCE DESTINATION``. The source, in current NWB, is read
with plain h5py (pynwb 2.8 cannot open it).
"""

import sys
import warnings
from datetime import datetime

warnings.simplefilter("ignore")

import h5py  # noqa: E402
import numpy as np  # noqa: E402
from allensdk.brain_observatory.ecephys.nwb import (  # noqa: E402
    EcephysCSD,
    EcephysElectrodeGroup,
    EcephysEyeTrackingRigMetadata,
    EcephysProbe,
    EcephysSpecimen,
)
from hdmf.backends.hdf5 import H5DataIO  # noqa: E402
from hdmf.common import DynamicTable, VectorData, VectorIndex  # noqa: E402
from pynwb import NWBHDF5IO, NWBFile, TimeSeries  # noqa: E402
from pynwb.base import TimeSeriesReference, TimeSeriesReferenceVectorData  # noqa: E402
from pynwb.ecephys import LFP, ElectricalSeries  # noqa: E402
from pynwb.epoch import TimeIntervals  # noqa: E402
from pynwb.misc import Units  # noqa: E402


def text(dataset):
    return dataset.asstr()[()]


def values(dataset):
    """Return a column's values: texts as a list, everything else as an array (row ends as int64)."""
    if h5py.check_string_dtype(dataset.dtype):
        return list(text(dataset))
    return dataset[()]


def columns(group, series=None, groups=None):
    """Return the columns of a table, indices included, and their order."""
    made = []
    for name in group.attrs["colnames"]:
        dataset = group[name]
        if name == "timeseries":
            references = [TimeSeriesReference(int(row["idx_start"]), 1, series) for row in dataset[()]]
            column = TimeSeriesReferenceVectorData(name=name, description="reference", data=references)
        elif name == "group":
            column = VectorData(name=name, description="group", data=[groups[n] for n in text(group["group_name"])])
        else:
            column = VectorData(name=name, description=str(dataset.attrs["description"]), data=values(dataset))
        made.append(column)
        index = f"{name}_index"
        if index in group:
            made.append(VectorIndex(name=index, target=column, data=group[index][()].astype(np.int64)))
    return {"columns": made, "colnames": [str(name) for name in group.attrs["colnames"]], "id": group["id"][()]}


def time_series(group, written):
    """Return a time series; linked timestamps stay linked."""
    link = group.get("timestamps", getlink=True)
    times = written[link.path.rsplit("/", 1)[0]] if isinstance(link, h5py.SoftLink) else group["timestamps"][()]
    name = group.name.rsplit("/", 1)[1]
    data = group["data"]
    series = TimeSeries(name=name, data=data[()], timestamps=times, unit=str(data.attrs["unit"]))
    written[group.name] = series
    return series


def new_file(source):
    start = datetime.fromisoformat(text(source["session_start_time"]))
    subject = source["general/subject"]
    return NWBFile(
        session_description=text(source["session_description"]),
        identifier=text(source["identifier"]),
        session_id=text(source["general/session_id"]),
        session_start_time=start,
        institution=text(source["general/institution"]),
        stimulus_notes=text(source["general/stimulus"]),
        subject=EcephysSpecimen(
            specimen_name=str(subject.attrs["specimen_name"]),
            age_in_days=float(subject.attrs["age_in_days"]),
            strain="",
            **{name: text(subject[name]) for name in ("age", "genotype", "sex", "species", "subject_id")},
        ),
    )


def add_probes(nwbfile, source):
    groups = {}
    for name, device in source["general/devices"].items():
        made = EcephysProbe(
            name=name,
            probe_id=int(device.attrs["probe_id"]),
            sampling_rate=float(device.attrs["sampling_rate"]),
            description="Neuropixels 1.0 Probe",
            manufacturer="imec",
        )
        attrs = source[f"general/extracellular_ephys/{name}"].attrs
        groups[name] = EcephysElectrodeGroup(
            name=name,
            device=made,
            description=str(attrs["description"]),
            location=str(attrs["location"]),
            probe_id=int(attrs["probe_id"]),
            has_lfp_data=bool(attrs["has_lfp_data"]),
            lfp_sampling_rate=float(attrs["lfp_sampling_rate"]),
        )
        nwbfile.add_device(made)
        nwbfile.add_electrode_group(groups[name])
    table = source["general/extracellular_ephys/electrodes"]
    nwbfile.electrodes = DynamicTable(name="electrodes", description="electrodes", **columns(table, groups=groups))


def add_module(nwbfile, module, written):
    name = module.name.rsplit("/", 1)[1]
    made = nwbfile.create_processing_module(name, str(module.attrs["description"]))
    # A series whose timestamps are linked comes after the one it links to.
    linked = [k for k in module if isinstance(module[k].get("timestamps", getlink=True), h5py.SoftLink)]
    for key in [*(k for k in module if k not in linked), *linked]:
        item = module[key]
        kind = item.attrs["neurodata_type"]
        if kind == "TimeSeries":
            made.add(time_series(item, written))
        elif kind == "DynamicTable":
            made.add(DynamicTable(name=key, description=str(item.attrs["description"]), **columns(item)))
        elif kind == "EcephysEyeTrackingRigMetadata":
            vectors = {k: item[k][()] for k in item}
            units = {f"{k}__unit": str(item[k].attrs["unit"]) for k in item}
            equipment = str(item.attrs["equipment"])
            made.add(EcephysEyeTrackingRigMetadata(name=key, equipment=equipment, **vectors, **units))
        elif kind == "EcephysCSD":
            positions = [k for k in item if k.startswith("virtual")]
            vectors = {k: item[k][()] for k in positions}
            units = {f"{k}__unit": "um" for k in positions}
            series = time_series(item["current_source_density"], written)
            made.add(EcephysCSD(name=key, time_series=series, **vectors, **units))
    if "optogenetic_stimulation" in module:
        table = module["optogenetic_stimulation"]
        series = written[f"{module.name}/optotagging"]
        made.add(TimeIntervals(name="optogenetic_stimulation", description="light", **columns(table, series)))


def add_lfp(nwbfile, item):
    name = item.name.rsplit("/", 1)[1]
    lfp = LFP(name=name)
    nwbfile.add_acquisition(lfp)
    source = item[f"{name}_data"]
    region = nwbfile.create_electrode_table_region(list(range(source["data"].shape[1])), "lfp channels")
    data = H5DataIO(source["data"][()], chunks=source["data"].chunks, compression="gzip", compression_opts=1)
    series = ElectricalSeries(name=f"{name}_data", data=data, timestamps=source["timestamps"][()], electrodes=region)
    lfp.add_electrical_series(series)
    nwbfile.add_acquisition(series)


def main(source_path, destination):
    with h5py.File(source_path, "r") as source:
        nwbfile = new_file(source)
        add_probes(nwbfile, source)
        written = {}
        acquisition = source["acquisition"]
        linked = [k for k in acquisition if isinstance(acquisition[k].get("timestamps", getlink=True), h5py.SoftLink)]
        for key in [*(k for k in acquisition if k not in linked), *linked]:
            if acquisition[key].attrs["neurodata_type"] == "TimeSeries":
                nwbfile.add_acquisition(time_series(acquisition[key], written))
            elif acquisition[key].attrs["neurodata_type"] == "LFP":
                add_lfp(nwbfile, acquisition[key])
        for module in source.get("processing", {}).values():
            add_module(nwbfile, module, written)
        for name, table in source.get("intervals", {}).items():
            series = written.get("/processing/stimulus/timestamps")
            made = TimeIntervals(name=name, description=str(table.attrs["description"]), **columns(table, series))
            if name == "invalid_times":
                nwbfile.invalid_times = made
            else:
                nwbfile.add_time_intervals(made)
        if "units" in source:
            nwbfile.units = Units(name="units", description="units", **columns(source["units"]))
        with NWBHDF5IO(destination, "w") as io:
            io.write(nwbfile)


if __name__ == "__main__":
    main(*sys.argv[1:])
