"""What a folder holds that is no recording which is read here: half of one, one of another system, something else."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from .finding import files_below

_LFP_ONLY: Final = "holds an LFP band only ({name}); the spike band (.ap.bin) is missing. Copy it too"
_NO_SAMPLES: Final = "holds {name} without its .bin; copy the samples too"
_NI_CARD: Final = "holds {name}, of SpikeGLX's NI card, and no probe (.ap.bin)"
#: Name patterns of what is half of a recording, or no spike band, and what to say of the first such file.
HALVES: Final = (
    ("*.lf.bin", _LFP_ONLY),
    ("*.lf.*cbin", _LFP_ONLY),
    ("*.ap.meta", _NO_SAMPLES),
    ("*.ap.*ch", "holds {name} without its .cbin; copy the samples too"),
    (
        "continuous.dat",
        "holds {name} without the structure.oebin of its recording, which lies beside the folder `continuous`; copy "
        "that too, or name the folder that holds both",
    ),
    ("*.nidq.bin", _NI_CARD),
    ("*.nidq.*cbin", _NI_CARD),
    ("*.obx.bin", "holds {name}, of a OneBox's analog inputs, and no probe (.ap.bin)"),
    (
        "spike_times.npy",
        "holds a sorting ({name}), not the raw data it was made from; name the recording's folder, and this one with "
        "--spikes",
    ),
)
#: Name patterns of recordings of other systems.
SYSTEMS: Final = {
    "*.continuous": "Open Ephys's older format",
    "experiment*.nwb": "Open Ephys's NWB format",
    "*.kwd": "Open Ephys's Kwik format",
    "*.rec": "SpikeGadgets",
    "*.rhd": "Intan",
    "*.rhs": "Intan",
    "*.ns5": "Blackrock",
    "*.ns6": "Blackrock",
    "*.pl2": "Plexon",
    "*.plx": "Plexon",
    "*.tbk": "TDT",
    "*.ncs": "Neuralynx",
    "*.edf": "EDF",
    "*.raw": "a program that describes it elsewhere",
    "*.nwb": "NWB",
    "*.zarr": "Zarr",
}
#: What is left to say, after the halves and other systems.
REST: Final = (
    (
        "settings.xml",
        "holds the settings of Open Ephys but no structure.oebin; name the recording's folder, or copy it",
    ),
    (
        "*bin",
        "holds {name}, which is no spike band by its name (*.ap.bin); if it is one, name the file itself, with its "
        ".meta beside it",
    ),
)
EXPECTED: Final = (
    "recording of Open Ephys (structure.oebin or continuous.dat) or SpikeGLX (.ap.bin or .ap.cbin with .ap.meta)"
)


def what_there_is(place: Path) -> str:
    """Say what a path holds that is no recording, and what to do."""
    if place.is_file():
        system = next((name for pattern, name in SYSTEMS.items() if place.match(pattern)), None)
        if system is not None:
            return f"{place} is {_foreign(system)}"
        return f"{place} is no file of a {EXPECTED}; name the recording's folder"
    for pattern, said in HALVES:
        found = next(iter(files_below(place, pattern)), None)
        if found is not None:
            return f"{place} {said.format(name=found.relative_to(place))}"
    for pattern, system in SYSTEMS.items():
        found = next(iter(files_below(place, pattern)), None)
        if found is not None:
            return f"{place} holds {found.relative_to(place)}, {_foreign(system)}"
    for pattern, said in REST:
        found = next(iter(files_below(place, pattern)), None)
        if found is not None:
            return f"{place} {said.format(name=found.relative_to(place))}"
    return f"{place} holds no recording: no {EXPECTED} is in it or below it"


def _foreign(system: str) -> str:
    return (
        f"a file of {system}, which is not read here: write its samples as a plain binary file (SpikeInterface reads "
        "most systems and writes one), and open that with open_binary"
    )
