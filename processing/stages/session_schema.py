"""What a session's file may say: its schema, made from the parameters that the stages take."""

from __future__ import annotations

from typing import Any, Final

from ..packaging.session_description import CLOCKS, LONGEST_NAME
from ..pipeline.schema import Schema, schema_of, table
from ..quality_metrics import QualitySettings
from ..spike_band.probe_info import DepthParameters
from ..synchronization.sync_file import LINE_NAMES
from ..unit_cleaning import NoiseThresholds
from .units import UnitParameters

#: Names that a probe cannot have: its folder lies beside these.
RESERVED: Final = ("whole_session", "stimulus_metrics", "session", "session.html", "log.jsonl", "served.json")
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

_VECTOR: Final[Schema] = {"type": "array", "items": {"type": "number"}, "minItems": 3, "maxItems": 3}


def _text(description: str, **rules: Any) -> Schema:
    return {"type": "string", "description": description, "minLength": 1} | rules


def _number(description: str, kind: str = "number", **rules: Any) -> Schema:
    return {"type": kind, "description": description} | rules


def _file(what: str) -> Schema:
    return _text(f"{what}, relative to this file's folder")


def session_schema() -> Schema:
    """Return the JSON Schema of a session's file (TOML, or JSON with the same keys).

    Examples
    --------
    >>> schema = session_schema()
    >>> schema["required"]
    ['session_id', 'session_start_time', 'probes']
    >>> schema["properties"]["stages"]["properties"]["mean_waveforms"]["properties"]["spikes_per_unit"]["default"]
    1000
    """
    found = table(
        "A session as its rig left it, and how to process it",
        {
            "session_id": _number(
                "id of the session, from which those of probes, channels and units are made", "integer", minimum=1
            ),
            "session_start_time": _text("start of the session, as 2019-01-19T08:54:18-08:00"),
            "session_type": _text("set of stimuli, such as brain_observatory_1.1"),
            "institution": _text("where it was recorded"),
            "sync": _file("file of the sync computer, where there is one"),
            "stimulus": _file("pickle of the stimulus computer"),
            "presentations": _file("table (CSV) of what was shown, where there is no stimulus pickle"),
            "optotagging": _file("pickle of the light"),
            "eye_ellipses": _file("file (HDF5) of ellipses fitted to the eye"),
            "monitor_lag": _number("from a vsync to the screen (s), for sessions without a photodiode"),
            "square_wave": _text("line of the sync file that saw the square wave of the probes"),
            "lines": table(
                "which line of the sync file serves a purpose, where its names do not tell: its name or bit; of a NI "
                "card XD3 (a digital line) or XA0 > 2.5 (an analog input, high above so many volts)",
                {purpose: {"description": f"the line of {purpose}"} for purpose in LINE_NAMES},
            ),
            "output": _file("folder that gets everything made of the session; by default the file's name, processed"),
            "cache": _file("folder of the project cache that serves the session at the end; none by default"),
            "seed": _number("of all random draws, the sorter's apart; 0 by default", "integer", minimum=0),
            "file_create_date": _text(
                "when the session's files count as made; by default its start: equal inputs give equal bytes"
            ),
            "subject": _subject(),
            "rig": _rig(),
            "invalid_times": _invalid_times(),
            "probes": {
                "type": "array",
                "minItems": 1,
                "description": "one [[probes]] for each probe",
                "items": _probe(),
            },
            "stages": _stages(),
            "run": _run(),
        },
        ("session_id", "session_start_time", "probes"),
    )
    return {"$schema": DIALECT, "title": "Session of allen-ecephys"} | found


def _subject() -> Schema:
    return table(
        "who was recorded; what is not known is left out",
        {
            "specimen_name": _text("name of the animal in the colony"),
            "subject_id": _text("its id"),
            "age_in_days": _number("age", minimum=0),
            "full_genotype": _text("genotype"),
            "sex": _text("M, F, U (looked for, not known) or O", enum=["M", "F", "U", "O"]),
            "strain": _text("strain"),
            "species": _text("species, as Mus musculus"),
        },
    )


def _rig() -> Schema:
    places = {
        f"{part}_{what}": _VECTOR | {"description": f"{what} of the {part}, {unit}"}
        for part, what, unit in (
            *((part, "position", "mm") for part in ("monitor", "camera", "led")),
            *((part, "rotation", "degrees") for part in ("monitor", "camera")),
        )
    }
    names = ("equipment", *places)
    return table("where monitor, camera and light stood", {"equipment": _text("name of the rig")} | places, names)


def _invalid_times() -> Schema:
    row = {
        "start_time": _number("start (s)"),
        "stop_time": _number("end (s)"),
        "type": _text("what is invalid, as EcephysProbe"),
        "id": {"description": "its id"},
        "label": _text("its name"),
    }
    return {
        "type": "array",
        "description": "intervals in which something was wrong",
        "items": table("one interval", row, tuple(row)),
    }


def _probe() -> Schema:
    return table(
        "one probe",
        {
            "name": _text(
                "as probeA; each probe has a name of its own",
                pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
                maxLength=LONGEST_NAME,
            )
            | {"$comment": "a text of letters, digits, '_', '.' and '-' that begins with a letter or a digit"},
            "recording": _file("folder of its raw data"),
            "channels": _file("table (CSV) of where its channels are in the brain"),
            "events": _file("folder with the events of its barcode line"),
            "stream": _text("which of several probes in `recording`"),
            "settings": _file("settings.xml of Open Ephys, where it is not in its place in `recording`"),
            "part_number": _text("which probe it was (NP2013), for Open Ephys recordings without settings"),
            "clock": _text("what puts its samples in time, barcodes by default", enum=list(CLOCKS)),
            "start": _number("about when its sample 0 was taken (s), for a square wave"),
        },
        ("name", "recording"),
    )


def _stages() -> Schema:
    epoch = {"type": "array", "items": {"type": "number", "minimum": 0}, "minItems": 2, "maxItems": 2}
    defaults = UnitParameters()
    return table(
        "parameters of stages, where they are not the defaults",
        {
            "depth_estimation": schema_of(DepthParameters(), "limits of the look at channels and brain surface"),
            "median_subtraction": table(
                "the spike band less its medians",
                {
                    "write": {
                        "type": "boolean",
                        "description": "whether it is written, as large as the raw one; if not, later stages subtract "
                        "on the way and find the same",
                        "default": True,
                    }
                },
            ),
            "sorting": table(
                "the sorter",
                {
                    "sorter": _text("native, or a sorter of SpikeInterface", default="native"),
                    "python": _text("Python that SpikeInterface and its sorter are installed for"),
                    "parameters": {"type": "object", "description": "the sorter's own parameters"},
                },
            ),
            "mean_waveforms": table(
                "averaging waveforms",
                {
                    "spikes_per_unit": _number(
                        "spikes averaged of each unit and epoch", "integer", minimum=1, default=defaults.spikes_per_unit
                    ),
                    "epochs": {
                        "type": "object",
                        "description": "name = [start, stop] (s) of epochs to average besides the whole recording",
                        "additionalProperties": epoch,
                    },
                },
            ),
            "noise_units": schema_of(NoiseThresholds(), "limits of the rules that call a unit noise"),
            "units": schema_of(QualitySettings(), "parameters of the quality metrics", leave_out=("seed",)),
            "whole_session": table(
                "the session's files", {"lfp": {"type": "boolean", "description": "whether LFP files are written"}}
            ),
            "stimulus_metrics": table(
                "how units respond to stimuli",
                {
                    "definition": _text("whose definitions hold", enum=["release", "allensdk", "corrected"]),
                    "n_shuffles": _number("shuffles of the tests of significance", "integer", minimum=1),
                },
            ),
        },
    )


def _run() -> Schema:
    return table(
        "where it runs; the command line says the same",
        {
            "workers": _number("processes that work at once; 1 by default", "integer", minimum=1),
            "threads": _number("threads of each of them", "integer", minimum=1),
            "scheduler": _text("address of a running dask scheduler, as tcp://node1:8786"),
            "cluster": table(
                "a job queue that starts the workers, through dask-jobqueue",
                {
                    "kind": _text("which queue", enum=["slurm", "pbs", "lsf", "sge"]),
                    "jobs": _number("jobs to ask for", "integer", minimum=1),
                    "options": {
                        "type": "object",
                        "description": "what its cluster in dask-jobqueue takes: cores, memory, queue, walltime",
                    },
                },
                ("kind",),
            ),
        },
    )
